"""What it takes: time to the first packet, memory, and that nothing is lost over many rounds."""

import os
import time

from lab.case import LabTest
from lab.node import wait_pair
from lab.wait import wait_for


def memory(pid):
    """Resident KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


class FirstContact(LabTest):
    def measure(self, what, a, b, wanted):
        a.start()
        a.wait_connected()
        begin = time.monotonic()
        b.start()
        wait_pair(a, b)
        took = time.monotonic() - begin
        self.say(f"{what}: {took:.2f} s from start to a link (wanted: {wanted} s)")
        self.assertLess(took, 10)  # a sanity bound; the figure is for people
        self.assert_ping(b, a.ip4)

    def test_lan(self):
        """first contact on a LAN"""
        hosts = self.site("home", hosts=2).hosts
        self.measure("LAN", self.node(hosts[0], "a", "172.31.0.1"), self.node(hosts[1], "b", "172.31.0.2"), 1)

    def test_homes(self):
        """first contact of two homes"""
        self.measure("home x home", self.node(self.site("home").host, "a", "172.31.0.1"),
                     self.node(self.site("home").host, "b", "172.31.0.2"), 2)

    def test_relay(self):
        """first contact over a relay"""
        self.measure("symmetric x symmetric", self.node(self.site("symmetric").host, "a", "172.31.0.1"),
                     self.node(self.site("symmetric").host, "b", "172.31.0.2"), 2)


class Rounds(LabTest):
    def test_idle(self):
        """what an idle pair takes"""
        a, b = self.two()
        self.connect(a, b)
        seconds = 5
        before = {p: ticks(p.pid) for p in (a.tincan, a.controller)}
        time.sleep(seconds)  # the measurement itself
        for process, was in before.items():
            share = (ticks(process.pid) - was) / os.sysconf("SC_CLK_TCK") / seconds
            self.say(f"{process.name}: {memory(process.pid) / 1024:.1f} MiB, {100 * share:.1f} % of a core, "
                     f"{threads(process.pid)} threads, {descriptors(process.pid)} descriptors")
            self.assertLess(share, 0.2)
            self.assertLess(memory(process.pid), 64 * 1024)

    def test_twenty_rounds(self):
        """a peer that comes and goes twenty times leaves nothing in tincan or controller"""
        hosts = self.site("home", hosts=2).hosts
        a, b = self.node(hosts[0], "a", "172.31.0.1", wait_time=2), self.node(hosts[1], "b", "172.31.0.2")
        a.start()
        a.wait_connected()
        settled = {}
        for number in range(1, 21):
            b.start()
            wait_pair(a, b)
            b.stop()
            a.wait_offline(b)
            if number in (3, 20):
                wait_for("b is forgotten", lambda: a.local()["_peers"] == 0, 30)
            if number == 3:
                settled = {p: (descriptors(p.pid), threads(p.pid), memory(p.pid)) for p in (a.tincan, a.controller)}
        for process, (fds, tasks, kib) in settled.items():
            wait_for(lambda: f"{process.name}: {descriptors(process.pid)} descriptors, {threads(process.pid)} threads; after "
                             f"three rounds {fds}, {tasks}",
                     lambda: descriptors(process.pid) <= fds and threads(process.pid) <= tasks, 15)
            grown = memory(process.pid) - kib
            self.say(f"{process.name}: {fds} descriptors, {tasks} threads, {grown:+d} KiB over 17 rounds")
            self.assertLess(grown, 4096)
