"""Traffic that runs on through events, and how long each of them kept it from flowing."""

import socket
import threading
import time

from .wait import wait_for

INTERVAL = 0.02
GAP = 0.3   # seconds without an answer that count as an interruption: the machine may be busy
CALM = 1.5  # seconds without one after which traffic is said to flow again


class Flow:
    """A datagram to and fro every 20 ms, from one node to another, and a TCP connection that stays the same one."""

    def __init__(self, a, b, port=7010):
        self.name = f"{a.name} to {b.name}"
        self.sent = 0
        self._answers = []  # (when it came, its number)
        self._stop = threading.Event()
        self._near, self._far = a.ns.socket(), b.ns.socket()
        self._to = (b.ip4, port)
        self._far.bind(("0.0.0.0", port))
        for s in (self._near, self._far):
            s.settimeout(0.2)
        with a.ns.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, b.ns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.settimeout(10)
            listener.bind(self._to)
            listener.listen(1)
            tcp.settimeout(10)
            tcp.connect(self._to)
            self._tcp = tcp.dup(), listener.accept()[0]
        self._threads = [threading.Thread(target=run) for run in (self._send, self._echo, self._receive)]
        for thread in self._threads:
            thread.start()
        wait_for(f"answers from {self.name}", lambda: len(self._answers) >= 10)

    def close(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for s in (self._near, self._far, *self._tcp):
            s.close()

    def _send(self):
        while not self._stop.wait(INTERVAL):
            try:
                self._near.sendto(self.sent.to_bytes(8, "big"), self._to)
            except OSError:
                pass  # no way there, or no device, for a while
            self.sent += 1

    def _echo(self):
        while not self._stop.is_set():
            try:
                data, source = self._far.recvfrom(100)
                self._far.sendto(data, source)
            except OSError:
                pass

    def _receive(self):
        while not self._stop.is_set():
            try:
                data = self._near.recv(100)
            except OSError:
                continue
            self._answers.append((time.monotonic(), int.from_bytes(data, "big")))

    def lost(self):
        """How many so far came to nothing; those under way left out."""
        last = max(number for _, number in self._answers)
        return last + 1 - len({number for _, number in self._answers})

    def recovery(self, since, timeout=60):
        """Waits until traffic flows without interruption; the seconds from `since` to the end of the last interruption
        after it, 0 when there was none."""
        def flows():
            end = time.monotonic()
            times = [when for when, _ in self._answers[-int(CALM / INTERVAL):] if when > end - CALM]
            return (end - since > CALM and times and end - times[-1] < GAP and times[0] < end - CALM + GAP and
                    all(b - a < GAP for a, b in zip(times, times[1:])))
        wait_for(lambda: f"traffic from {self.name} flows, the last {time.monotonic() - self._answers[-1][0]:.1f} s ago", flows,
                 timeout)
        times = [when for when, _ in self._answers]
        return max((b - since for a, b in zip(times, times[1:]) if b > since and b - a >= GAP), default=0.0)

    def tcp_lives(self, timeout=30):
        """Whether the connection that was made at the beginning still carries, both ways."""
        near, far = self._tcp
        try:
            for sender, receiver in ((near, far), (far, near)):
                receiver.settimeout(timeout)
                sender.sendall(b"still there?")
                if receiver.recv(12, socket.MSG_WAITALL) != b"still there?":
                    return False
        except OSError:
            return False
        return True
