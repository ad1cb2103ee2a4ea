"""Traffic through the overlay: pings that run on and are counted, TCP with a checksum, UDP."""

import contextlib
import hashlib
import os
import re
import signal
import socket
import threading
import time

from .wait import wait_for


def can_ping(namespace, address, count=1, wait=1, size=None, pattern=None):
    """Whether all count pings come back."""
    argv = ["ping", "-n", "-q", "-c", count, "-i", "0.05", "-W", wait]
    argv += ["-s", size] if size else []
    argv += ["-p", pattern] if pattern else []
    return namespace.run(*argv, address, check=False, timeout=wait * count + 30).returncode == 0


class Ping:
    """A ping every so many seconds that runs until stop()."""

    def __init__(self, world, namespace, address, interval=0.2):
        self._process = namespace.start(f"ping {address}", ["ping", "-n", "-i", interval, address],
                                        world.folder("ping") + "/log")

    def replies(self):
        return self._process.output().count(" bytes from ")

    def times(self):
        """How long each took that came back, in ms."""
        return [float(time) for time in re.findall(r" time=([0-9.]+) ms", self._process.output())]

    def wait_replies(self, more, timeout=None):
        """Until that many further replies have come."""
        wanted = self.replies() + more
        wait_for(lambda: f"{wanted} replies to ping, {self.replies()} came", lambda: self.replies() >= wanted,
                 timeout or 10 + more / 2)

    def stop(self):
        """(sent, received). Ends right behind a reply, so that none is under way."""
        self.wait_replies(1)
        self._process.send(signal.SIGINT)
        self._process.wait()
        sent, received = re.search(r"(\d+) packets transmitted, (\d+) received", self._process.output()).groups()
        return int(sent), int(received)

    def close(self):
        self._process.stop()


def tcp_transfer(sender, receiver, address, megabytes=16, port=7001):
    """Sends random bytes from one namespace to address in the other; True when all of them came as they were, and Mbit/s.
    OSError when the connection is cut off or stands still."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    block = os.urandom(1 << 20)
    got = hashlib.sha256()

    def receive(listener):
        with contextlib.suppress(OSError):  # the sender will hear of it
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                while data := connection.recv(1 << 18):
                    got.update(data)
                connection.sendall(b".")

    with receiver.socket(family, socket.SOCK_STREAM) as listener, sender.socket(family, socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(30)
        listener.bind((address, port))
        listener.listen(1)
        thread = threading.Thread(target=receive, args=(listener,))
        thread.start()
        try:
            sent = hashlib.sha256()
            client.settimeout(30)
            begin = time.monotonic()
            client.connect((address, port))
            for i in range(megabytes):
                data = block[i:] + block[:i]
                sent.update(data)
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            if not client.recv(1):
                raise ConnectionError("the receiver gave up")
        finally:
            thread.join()
    return got.digest() == sent.digest(), megabytes * 8.388608 / (time.monotonic() - begin)


def udp_echo(sender, receiver, address, payload, port=7002):
    """Sends one datagram and returns what the other side received and then sent back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with receiver.socket(family) as far, sender.socket(family) as near:
        far.bind((address, port))
        far.settimeout(5)
        near.settimeout(5)
        near.sendto(payload, (address, port))
        data, back = far.recvfrom(65536)
        far.sendto(data, back)
        return near.recv(65536)
