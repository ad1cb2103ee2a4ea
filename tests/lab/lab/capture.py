"""tcpdump on one interface: what really goes over the wire."""

import signal
import struct


class Capture:
    """expression: tcpdump's filter."""

    def __init__(self, world, namespace, interface, expression=""):
        folder = world.folder("capture")
        self._file = f"{folder}/packets"
        with open(self._file, "wb") as out:
            argv = ["tcpdump", "-i", interface, "--immediate-mode", "-U", "-s", "0", "-w", "-"] + ([expression] if expression else [])
            self._process = namespace.start("tcpdump", argv, f"{folder}/log", stdout=out)
        self._process.wait_output("listening on")

    def packets(self):
        """The frames so far, link-layer header and all."""
        with open(self._file, "rb") as f:
            data = f.read()
        frames, at = [], 24
        while at + 16 <= len(data):
            size = struct.unpack_from("<I", data, at + 8)[0]
            if at + 16 + size > len(data):
                break
            frames.append(data[at + 16:at + 16 + size])
            at += 16 + size
        return frames

    def udp(self, to=None):
        """Of the IPv4 UDP ones, without fragments: (source, source port, destination, destination port, payload)."""
        found = []
        for frame in self.packets():
            packet = frame[14:] if frame[12:14] == b"\x08\x00" else b""
            if len(packet) < 28 or packet[9] != 17:
                continue
            udp = packet[(packet[0] & 15) * 4:]
            source, destination = (".".join(map(str, packet[i:i + 4])) for i in (12, 16))
            if to in (None, destination):
                port, to_port = struct.unpack_from(">HH", udp)
                found.append((source, port, destination, to_port, udp[8:]))
        return found

    def close(self):
        self._process.stop(signal.SIGINT)
