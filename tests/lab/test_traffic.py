"""What goes through the overlay arrives as it was, and what is seen outside tells nothing."""

import os
import random

from lab.capture import Capture
from lab.case import LabTest
from lab.raw import Injector
from lab.traffic import tcp_transfer, udp_echo
from lab.wait import wait_for


def endpoint(text):
    """ "192.0.2.1:99" as a pair """
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)


class Homes(LabTest):
    """One pair of homes for all."""

    @classmethod
    def setUpClass(cls):
        cls.sites = [cls.shared_site("home") for _ in range(2)]
        cls.a = cls.shared_node(cls.sites[0].host, "alice", "172.31.0.1").start()
        cls.b = cls.shared_node(cls.sites[1].host, "bob", "172.31.0.2").start()
        cls.a.wait_online(cls.b)
        cls.b.wait_online(cls.a)

    def test_ping(self):
        """IPv4 and IPv6, by the addresses get_state names"""
        for source, other in ((self.a, self.b), (self.b, self.a)):
            view = source.peer(other)
            self.assertEqual(view["ip4"], other.ip4)
            self.assertTrue(view["ip6"].startswith("fd50:"), view)
            self.assert_ping(source, view["ip4"], count=5)
            self.assert_ping(source, view["ip6"], count=5)

    def test_big_pings(self):
        """packets of every size up to the largest IP has"""
        for size in (1, 1200, 1252, 1253, 1400, 1472, 1473, 9000, 65507):
            self.assert_ping(self.a, self.b.ip4, size=size)
        for size in (1232, 1233, 1452, 9000, 65487):
            self.assert_ping(self.b, self.a.local()["_ip6"], size=size)

    def test_tcp(self):
        """TCP both ways over IPv4 and IPv6 with a checksum"""
        for source, other in ((self.a, self.b), (self.b, self.a)):
            for address in (other.ip4, other.local()["_ip6"]):
                same, rate = tcp_transfer(source.ns, other.ns, address)
                self.assertTrue(same, f"{address}: other bytes came than were sent")
                self.say(f"TCP to {address}: {rate:.0f} Mbit/s")

    def test_udp(self):
        """UDP of all kinds of sizes, also in fragments"""
        for size in (0, 1, 1000, 1400, 1473, 20000, 65000):
            payload = os.urandom(size)
            self.assertEqual(udp_echo(self.a.ns, self.b.ns, self.b.ip4, payload), payload)

    def test_nothing_in_clear(self):
        """on the router no inner byte is seen, while the packets are"""
        marker = b"TheSecretMarker!"
        outside = Capture(self.world, self.sites[0].router, "wan", "udp")
        inside = Capture(self.world, self.a.ns, "ipop")
        self.addCleanup(outside.close)
        self.addCleanup(inside.close)
        self.assert_ping(self.a, self.b.ip4, count=20, size=800, pattern=marker.hex())
        udp_echo(self.a.ns, self.b.ns, self.b.ip4, marker * 40)
        self.assert_ping(self.a, self.b.ip4, count=20)
        wait_for("40 packets with the marker inside", lambda: sum(marker in p for p in inside.packets()) >= 40)
        wait_for("40 large packets outside", lambda: sum(len(p) > 800 for p in outside.packets()) >= 40)
        for packet in outside.packets():
            self.assertNotIn(marker, packet)
            self.assertNotIn(marker[:8], packet)

    def test_stats(self):
        """stats count the bytes that went, and name the path"""
        before = self.a.peer(self.b, stats=True)["stats"][0]
        self.assert_ping(self.a, self.b.ip4, count=10, size=1000)
        after = self.a.peer(self.b, stats=True)["stats"][0]
        for key in ("sent_total_bytes", "recv_total_bytes"):
            self.assertGreaterEqual(after[key] - before[key], 10 * 1000)
        for key in ("local_addr", "rem_addr", "local_type", "rem_type", "best_conn", "rtt", "mtu", "sent_bytes_second",
                    "recv_bytes_second", "drops"):
            self.assertIn(key, after)
        self.assertGreater(after["mtu"], 1200)
        self.assertNotIn("stats", self.a.peer(self.b))
        self.assertEqual(endpoint(after["rem_addr"])[0], self.sites[1].ip4)

    def test_commands(self):
        """the commands for people: status, peers, why, ping, key"""
        status = self.a.ipop("status")
        self.assertEqual(status.returncode, 0, status)
        self.assertRegex(status.stdout, r"(?m)^.*bob.*172\.31\.0\.2.*direct|bob.*direct.*172\.31\.0\.2")
        self.assertIn("bob", self.a.ipop("peers").stdout)
        for who in ("bob", self.b.ip4, self.b.uid, self.b.uid[:8]):
            self.assertEqual(self.a.ipop("ping", who).returncode, 0, who)
            why = self.a.ipop("why", who)
            self.assertEqual(why.returncode, 0, why)
            self.assertIn("direct", why.stdout)
        fingerprint = self.b.local()["_fpr"]
        self.assertRegex(fingerprint, r"^([0-9A-F]{2}:)+[0-9A-F]{2}$")
        self.assertEqual(self.a.peer(self.b)["fpr"], fingerprint)
        self.assertIn(fingerprint, self.b.ipop("key").stdout)
        self.assertIn(self.a.ipop("ping", "nobody").returncode, (1, 2))
        self.assertEqual(self.a.ipop("no-such-command").returncode, 2)
        self.assertEqual(self.a.ipop().returncode, 2)


class Foreign(LabTest):
    """Packets that someone on the way makes up, cuts, or sends again."""

    @classmethod
    def setUpClass(cls):
        hosts = cls.shared_site("home", hosts=3).hosts
        cls.a = cls.shared_node(hosts[0], "alice", "172.31.0.1").start()
        cls.b = cls.shared_node(hosts[1], "bob", "172.31.0.2").start()
        cls.stranger = hosts[2]
        cls.a.wait_online(cls.b)
        cls.b.wait_online(cls.a)

    def setUp(self):
        super().setUp()
        best = self.a.peer(self.b, stats=True)["stats"][0]
        self.here, self.there = endpoint(best["local_addr"]), endpoint(best["rem_addr"])
        self.injector = Injector(self.stranger.ns)
        self.addCleanup(self.injector.close)

    def drops(self):
        return sum(sum(path["drops"].values()) for path in self.a.peer(self.b, stats=True)["stats"])

    def survives(self, packets):
        """Throws them at alice's port, as bob and as a stranger, while a ping runs: nothing may change but the counters."""
        ping = self.ping(self.a, self.b.ip4)
        ping.wait_replies(2)
        before = self.drops()
        for packet in packets:
            for source in (self.there, (self.stranger.ip4, 40000)):
                self.injector.send(*source, *self.here, packet)
        ping.wait_replies(5)
        sent, received = ping.stop()
        self.assertEqual(received, sent)
        self.assertTrue(self.a.tincan.running())
        best = self.a.peer(self.b, stats=True)["stats"][0]
        self.assertEqual(endpoint(best["rem_addr"]), self.there, "a made-up packet moved the peer")
        return self.drops() - before

    def captured(self):
        """The data packets that bob sent alice just now."""
        capture = Capture(self.world, self.b.ns, "eth0", "udp")
        self.assert_ping(self.a, self.b.ip4, count=20)
        self.addCleanup(capture.close)

        def enough():
            packets = [p[4] for p in capture.udp(self.a.host.ip4) if p[4] and p[4][0] >= 0x80]
            return packets if len(packets) >= 20 else None
        return wait_for("20 data packets", enough)

    def test_random(self):
        """random bytes of all lengths, first bytes of every kind"""
        rng = random.Random(1)
        packets = [rng.randbytes(n) for n in range(200)] + [rng.randbytes(1472) for _ in range(50)]
        packets += [bytes([first]) + rng.randbytes(rng.randrange(200)) for first in range(256) for _ in range(2)]
        self.say(f"{self.survives(packets)} of {2 * len(packets)} were counted as this peer's")

    def test_cut(self):
        """real packets, cut at every length, and with one bit turned"""
        packet = self.captured()[-1]
        cut = [packet[:n] for n in range(len(packet))]
        turned = [packet[:i] + bytes([packet[i] ^ 1 << i % 8]) + packet[i + 1:] for i in range(len(packet))]
        self.assertGreater(self.survives(cut + turned), 0)

    def test_replayed(self):
        """real packets sent again, from their own address and from another"""
        packets = self.captured()
        self.assertGreaterEqual(self.survives(packets * 3), len(packets))

    def test_inner_source(self):
        """an inner packet with an address that is not the sender's own is dropped"""
        before = self.drops()
        inside = Capture(self.world, self.a.ns, "ipop", "udp")
        self.addCleanup(inside.close)
        with self.b.ns.socket() as marker:
            marker.sendto(b"own address", (self.a.ip4, 9))
        forger = Injector(self.b.ns)
        self.addCleanup(forger.close)
        forger.send("172.31.0.77", 1234, self.a.ip4, 9, b"forged address")
        self.assert_ping(self.b, self.a.ip4)
        wait_for("the honest packet", lambda: any(b"own address" in p for p in inside.packets()))
        wait_for("the drop is counted", lambda: self.drops() > before)
        self.assertFalse(any(b"forged address" in p for p in inside.packets()))
