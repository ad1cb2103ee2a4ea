"""What is fast may not be there: on older kernels, poorer devices, odd paths. Then it is slower, and as correct."""

import os

from lab.bulk import Transfer, offload
from lab.capture import Capture
from lab.case import LabTest
from lab.node import BUILD
from lab.traffic import udp_echo

REFUSE = f"{BUILD}/tests/lab/refuse"
OFFLOADS = ("tso", "gso", "gro", "tx", "rx", "sg", "tx-udp-segmentation")

class Fallback(LabTest):
    def pair(self, *refused, both=False):
        """Alice's kernel refuses these (tests/lab/refuse.c), and bob's does or does not. Proves that they were asked for."""
        under = [REFUSE, *refused, "--"] if refused else []
        self.sites = [self.site("home") for _ in range(2)]
        self.a = self.node(self.sites[0].host, "alice", "172.31.0.1", under=under)
        self.b = self.node(self.sites[1].host, "bob", "172.31.0.2", under=under if both else [])
        self.connect(self.a, self.b, path="direct")

    def carry(self, megabytes=16):
        """TCP each way, by both IP versions, and datagrams, also in fragments."""
        for near, far in ((self.a, self.b), (self.b, self.a)):
            for address in (far.ip4, far.local()["_ip6"]):
                transfer = Transfer(self.world, near, far, address)
                self.addCleanup(transfer.close)
                transfer.wait_more(megabytes)
                self.say(f"{near.name} to {address}: {transfer.wait():.0f} Mbit/s")
                for size in (1, 1200, 20000):
                    payload = os.urandom(size)
                    self.assertEqual(udp_echo(near.ns, far.ns, address, payload), payload)

    def trains(self, node):
        """Whether what leaves the node's host in one piece is more than a cable takes."""
        other = self.b if node is self.a else self.a
        capture = Capture(self.world, node.ns, "eth0", f"udp and src host {node.host.ip4}")
        transfer = Transfer(self.world, node, other, other.ip4, port=7011)
        self.addCleanup(transfer.close)
        transfer.wait_more(4)
        transfer.wait()
        capture.close()
        return any(len(frame) > 1514 for frame in capture.packets())

    def segments(self, node, kind):
        """Whether the node's device takes super-packets of that kind, by ethtool's name."""
        lines = node.ns.run("ethtool", "-k", "ipop").stdout.splitlines()
        return next(line for line in lines if line.strip().startswith(f"{kind}:")).split()[1] == "on"

    def queues(self, node):
        """How many queues the node's device has been opened with."""
        return sum(os.readlink(f"/proc/{node.tincan.pid}/fd/{fd}") == "/dev/net/tun"
                   for fd in os.listdir(f"/proc/{node.tincan.pid}/fd"))

    def test_nothing_refused(self):
        """without any of that it is fast (else the other tests prove nothing)"""
        self.pair()
        self.assertTrue(self.trains(self.a) and self.trains(self.b))
        self.assertTrue(self.segments(self.a, "tcp-segmentation-offload"))
        self.assertTrue(self.segments(self.a, "tx-udp-segmentation"))

    def test_no_segmentation(self):
        """UDP_SEGMENT refused with EIO: datagrams leave one by one"""
        self.pair("segment")
        self.carry()
        self.assertFalse(self.trains(self.a))
        self.assertTrue(self.trains(self.b))

    def test_no_sendmmsg(self):
        """nor is there sendmmsg"""
        self.pair("segment", "mmsg")
        self.carry()
        self.assertFalse(self.trains(self.a))

    def test_no_gro(self):
        """UDP_GRO refused"""
        self.pair("gro")
        self.carry()

    def test_no_steering(self):
        """no socket beside the negotiator's: data goes by that one"""
        self.pair("steer")
        self.carry(4)
        self.assertFalse(self.trains(self.a))

    def test_no_uso(self):
        """a TUN device without UDP segmentation"""
        self.pair("uso")
        self.assertFalse(self.segments(self.a, "tx-udp-segmentation"))
        self.assertTrue(self.segments(self.a, "tcp-segmentation-offload"))
        self.carry()

    def test_no_vnet(self):
        """a TUN device without vnet headers"""
        self.pair("vnet")
        self.assertFalse(self.segments(self.a, "tcp-segmentation-offload"))
        self.carry(4)

    def test_no_bpf(self):
        """no program that steers to queues: a TUN device with one"""
        self.pair("bpf")
        self.assertEqual([self.queues(node) for node in (self.a, self.b)], [1, 16])
        self.carry()

    def test_nothing_at_all(self):
        """all of that at both ends (but sendmmsg, which GLib can't do without)"""
        self.pair("segment", "gro", "steer", "uso", "vnet", "bpf", both=True)
        self.carry(2)

    def test_no_offload(self):
        """cables without any offload"""
        self.pair()
        for site in self.sites:
            offload(site.host.ns, "eth0", off=OFFLOADS)
            for device in ("p2", "wan"):
                offload(site.router, device, off=OFFLOADS)
        self.carry()
