"""Much TCP through the overlay, on one connection or many at once, with a digest at both ends; and what a link does to it."""

import hashlib
import json
import os
import socket
import threading
import time

from .shell import run
from .wait import wait_for

_BLOCK = os.urandom(1 << 20)
STALL = 60  # seconds without a byte: given up


class Transfer:
    """Sends on so many connections from one namespace to address in the other, in the background, until wait()."""

    def __init__(self, sender, receiver, address, connections=1, port=7010):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._connections, self._enough = connections, False
        self._sent, self._got = {}, {}
        self._received = [0] * connections
        self._errors = []
        self._listener = receiver.socket(family, socket.SOCK_STREAM)
        self._sockets = [self._listener] + [sender.socket(family, socket.SOCK_STREAM) for _ in range(connections)]
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(connections)
        self._begin = time.monotonic()
        self._threads = []
        self._run(self._accept)
        for number in range(connections):
            self._run(self._send, number, self._sockets[1 + number], (address, port))

    def _run(self, function, *arguments):
        def guarded():
            try:
                function(*arguments)
            except OSError as error:
                self._errors.append(f"{function.__name__}: {error}")
        self._threads.append(threading.Thread(target=guarded))
        self._threads[-1].start()

    def _send(self, number, connection, to):
        digest = hashlib.sha256()
        connection.settimeout(STALL)
        connection.connect(to)
        connection.sendall(bytes([number]))
        at = number * 4099
        while not self._enough:
            at = (at + 257) % len(_BLOCK)  # never twice the same megabyte
            for part in (memoryview(_BLOCK)[at:], memoryview(_BLOCK)[:at]):
                digest.update(part)
                connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        self._sent[number] = digest.digest()

    def _accept(self):
        self._listener.settimeout(STALL)
        for _ in range(self._connections):
            connection, _ = self._listener.accept()
            self._sockets.append(connection)
            self._run(self._receive, connection)

    def _receive(self, connection):
        digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
        connection.settimeout(STALL)
        number = connection.recv(1)[0]
        while n := connection.recv_into(buffer):
            digest.update(buffer[:n])
            self._received[number] += n
        self._got[number] = digest.digest()

    def received(self):
        """Bytes so far."""
        return sum(self._received)

    def wait_more(self, megabytes):
        """Until so many more have arrived."""
        wanted = self.received() + (megabytes << 20)
        wait_for(lambda: f"{wanted} bytes, {self.received()} came", lambda: self.received() >= wanted or self._errors, 20 + megabytes)
        assert not self._errors, self._errors

    def wait(self):
        """Until all that was begun is there, as it was sent. Mbit/s."""
        self._enough = True
        for thread in self._threads:  # grows while it accepts, and then no more
            thread.join()
        assert not self._errors, self._errors
        assert len(self._got) == self._connections and self._got == self._sent, "other bytes came than were sent"
        return self.received() * 8e-6 / (time.monotonic() - self._begin)

    def close(self):
        self._enough = True
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()


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
        rate = end.get("sum_received", end.get("sum"))["bits_per_second"] / 1e6
        return f"{self._title}: {rate:.0f} Mbit/s{lost}"


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
