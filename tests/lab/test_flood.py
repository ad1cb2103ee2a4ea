"""More traffic than can be carried: whose it is loses it, the others do not notice."""

import statistics
import sys
import time

from lab.case import LabTest
from lab.node import wait_pair
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
        self.say(f"{sent - received} of {sent} pings lost; get_state in {statistics.median(took):.0f} ms, at most {max(took):.0f}")
        self.assertGreaterEqual(received, sent * 9 // 10)
        drops = self.drops(a, c)
        self.assertEqual({cause: n for cause, n in drops.items() if n}, {})
        self.assert_ping(a, b.ip4)
