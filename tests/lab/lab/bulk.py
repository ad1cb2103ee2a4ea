#!/usr/bin/python3
"""Much TCP through the overlay, on one connection or many at once, with a digest at both ends; and what a link does to it.

bulk.py receive|send ADDRESS PORT CONNECTIONS [PROGRESS]: a program of its own for each end, so that neither this process nor
the other end waits for it. Sends until SIGTERM; prints "ready", and at the end the digest of each connection.
"""

import hashlib
import json
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time

if __name__ != "__main__":
    from .shell import run
    from .wait import wait_for

STALL = 60  # seconds without a byte: given up


class Transfer:
    """Sends on so many connections from one node or host to address at another, in the background, until wait()."""

    def __init__(self, world, sender, receiver, address, connections=1, port=7010):
        folder = world.folder("bulk")
        self._progress = f"{folder}/progress"
        with open(self._progress, "wb") as f:
            f.write(bytes(8))
        arguments = (address, port, connections, self._progress)
        self._processes = [ns.start(f"bulk {role}", ["/usr/bin/python3", __file__, role, *arguments], f"{folder}/{role}")
                           for ns, role in ((receiver.ns, "receive"),)]
        self._processes[0].wait_output("ready")
        self._processes.append(sender.ns.start("bulk send", ["/usr/bin/python3", __file__, "send", *arguments], f"{folder}/send"))
        self._begin = time.monotonic()

    def received(self):
        """Bytes so far."""
        with open(self._progress, "rb") as f:
            return struct.unpack("q", f.read(8))[0]

    def wait_more(self, megabytes):
        """Until so many more have arrived."""
        wanted = self.received() + (megabytes << 20)

        def arrived():
            assert all(process.running() for process in self._processes), [process.output() for process in self._processes]
            return self.received() >= wanted
        wait_for(lambda: f"{wanted} bytes, {self.received()} came", arrived, 20 + megabytes)

    def wait(self):
        """Until all that was begun is there, as it was sent. Mbit/s."""
        receiver, sender = self._processes
        sender.send(signal.SIGTERM)
        for process in (sender, receiver):
            assert process.wait(STALL * 2) == 0, process.output()
        rate = self.received() * 8e-6 / (time.monotonic() - self._begin)
        got, sent = (process.output().removeprefix("ready\n") for process in (receiver, sender))
        assert sent and got == sent, f"other bytes came than were sent:\n{sent}{got}"
        return rate

    def close(self):
        for process in self._processes:
            process.stop()


class Iperf:
    """iperf3 from one node to another, in the background."""

    def __init__(self, test, sender, receiver, port, seconds, *options):
        folder = test.world.folder("iperf3")
        server = receiver.ns.start("iperf3", ["iperf3", "-s", "-1", "-p", port, "--forceflush"], f"{folder}/server")
        test.addCleanup(server.stop)
        server.wait_output("Server listening")
        self._seconds, self._title = seconds, f"{sender.name} to {receiver.name}, iperf3 {' '.join(map(str, options))}"
        self._client = sender.ns.start("iperf3", ["iperf3", "-c", receiver.ip4, "-p", port, "-t", seconds, "-J", *options],
                                       f"{folder}/client")
        test.addCleanup(self._client.stop)

    def wait(self):
        """Until it has ended well. What came of it, as text."""
        status = self._client.wait(self._seconds + 60)
        report = json.loads(self._client.output())
        assert status == 0, f"{self._title}: {report.get('error')}"
        end = report["end"]
        lost = f", {end['sum']['lost_percent']:.1f} % lost" if "lost_percent" in end.get("sum", ()) else ""
        total = end.get("sum_received") or end.get("sum")
        assert total, f"{self._title}: {report}"
        return f"{self._title}: {total['bits_per_second'] / 1e6:.0f} Mbit/s{lost}"


def offload(namespace, device, on=(), off=()):
    """Switches offloads of a device, by ethtool's names; the kernel may do in software what is off."""
    run("ip", "netns", "exec", namespace.name, "ethtool", "-K", device,
        *(word for feature in on for word in (feature, "on")), *(word for feature in off for word in (feature, "off")))


def nft_packets(namespace, table):
    """What the counters in a table have counted together."""
    shown = json.loads(namespace.run("nft", "-j", "list", "table", *table.split()).stdout)
    rules = (entry["rule"]["expr"] for entry in shown["nftables"] if "rule" in entry)
    return sum(part["counter"]["packets"] for expr in rules for part in expr if "counter" in part)


def tcp_counter(namespace, name):
    """One of the kernel's own, of the namespace's whole life: "TcpExtTCPOFOQueue"."""
    shown = namespace.run("nstat", "-asz", name).stdout
    return int(next(line.split()[1] for line in shown.splitlines() if line.startswith(name)))


# --- the program

def _send(connection, number, block, enough, digests):
    digest = hashlib.sha256()
    connection.sendall(bytes([number]))
    at = number * 4099
    while not enough.is_set():
        at = (at + 257) % len(block)  # never twice the same
        for part in (memoryview(block)[at:], memoryview(block)[:at]):
            digest.update(part)
            connection.sendall(part)
    connection.shutdown(socket.SHUT_WR)
    digests[number] = digest.hexdigest()


def _receive(connection, received, digests):
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
    number = connection.recv(1)[0]
    while n := connection.recv_into(buffer):
        digest.update(buffer[:n])
        received[number] += n
    digests[number] = digest.hexdigest()


def _main():
    role, address, port, connections, progress = sys.argv[1:]
    count, to = int(connections), (address, int(port))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    received, digests, threads = [0] * count, {}, []

    def begin(connection, function, *arguments):
        connection.settimeout(STALL)
        threads.append(threading.Thread(target=function, args=(connection, *arguments, digests)))
        threads[-1].start()

    if role == "send":
        enough, block = threading.Event(), os.urandom(1 << 18)
        signal.signal(signal.SIGTERM, lambda *_: enough.set())
        for number in range(count):
            begin(socket.create_connection(to, STALL), _send, number, block, enough)
    else:
        listener = socket.create_server(to, family=family, backlog=count)
        print("ready", flush=True)
        for _ in range(count):
            begin(listener.accept()[0], _receive, received)
    with open(progress, "r+b") as f, mmap.mmap(f.fileno(), 8) as shared:
        while any(thread.is_alive() for thread in threads):
            threads[0].join(0.01) if threads[0].is_alive() else time.sleep(0.01)
            if role == "receive":
                shared[:] = struct.pack("q", sum(received))
    print("\n".join(f"{number} {digests[number]}" for number in range(count)))


if __name__ == "__main__":
    _main()
