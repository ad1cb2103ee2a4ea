"""More traffic than can be carried: whose it is loses it, the others do not notice, and nothing waits long."""

import statistics
import sys
import time

from lab.bulk import Transfer
from lab.case import LabTest
from lab.node import wait_pair
from lab.traffic import can_ping
from lab.wait import wait_for

PORT = 7010
# Trains of datagrams (UDP_SEGMENT), as an application with QUIC sends them: cheap to make, dear to seal.
FLOOD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 1200)
s.connect((sys.argv[1], int(sys.argv[2])))
train = bytes(40 * 1200)
while True:
    try:
        s.send(train)
    except OSError:  # the buffer is full
        pass
"""


class Flood(LabTest):
    def drops(self, node, peer):
        return node.peer(peer, stats=True)["stats"][0]["drops"]

    def test_one_peer(self):
        """a flood to one peer: pings to another come back, and the drops are the first one's"""
        a, b, c = (self.node(self.site("open").host, name, f"172.31.0.{i}").start()
                   for i, name in enumerate(("alice", "bob", "carol"), 1))
        wait_pair(a, b)
        wait_pair(a, c)
        self.assert_ping(a, b.ip4)
        self.assert_ping(a, c.ip4)
        self.assertEqual(self.drops(a, b)["queue"], 0)
        with b.ns.socket() as sink:
            sink.bind((b.ip4, PORT))
            flood = a.ns.start("flood", [sys.executable, "-c", FLOOD, b.ip4, PORT], f"{self.world.folder('flood')}/log")
            self.addCleanup(flood.stop)
            wait_for("drops of bob's", lambda: self.drops(a, b)["queue"] > 0)
            ping = self.ping(a, c.ip4, interval=0.05)
            took = []
            while ping.replies() < 50:
                begin = time.monotonic()
                self.assertTrue(a.local())
                took.append(1000 * (time.monotonic() - begin))
            sent, received = ping.stop()
            flood.stop()
        self.say(f"{sent - received} of {sent} pings lost, {statistics.median(ping.times()):.1f} ms; "
                 f"get_state in {statistics.median(took):.0f} ms, at most {max(took):.0f}")
        self.assertGreaterEqual(received, sent * 9 // 10)
        drops = self.drops(a, c)
        self.assertEqual({cause: n for cause, n in drops.items() if n}, {})
        wait_for("a ping to bob, whose packets need not be dropped any more", lambda: can_ping(a.ns, b.ip4))

    def test_slow_uplink(self):
        """TCP that fills an interface of 20 Mbit/s whose buffer holds seconds of it: pings do not wait behind it"""
        a, b = self.two()
        self.connect(a, b)
        a.ns.run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "20mbit", "burst", "64kb", "limit", "20mb")
        transfer = Transfer(self.world, a, b, b.ip4, connections=16)
        self.addCleanup(transfer.close)
        transfer.wait_more(10)
        ping = self.ping(a, b.ip4, interval=0.1)
        ping.wait_replies(50)
        times = ping.times()
        rate = transfer.wait()
        self.say(f"{rate:.0f} Mbit/s; pings took {statistics.median(times):.0f} ms (median), {max(times):.0f} (worst); "
                 f"{self.drops(a, b)['send']} packets dropped")
        self.assertGreater(rate, 5)
        self.assertLess(statistics.median(times), 150)
