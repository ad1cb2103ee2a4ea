"""A link does not stay relayed by accident, and looking for a direct path costs nothing."""

import os

from lab.case import LabTest
from lab.coturn import Coturn
from lab.node import wait_pair
from lab.rogue import Rogue
from lab.wait import wait_for
from lab.world import Server

_BLOCKED = """
table inet blocked {
  chain forward {
    type filter hook forward priority filter - 10;
    ip daddr %s meta l4proto udp drop
  }
}
"""


class Upgrade(LabTest):
    def relayed(self, kind):
        """Two sites, alice and bob there with a relayed link, and a ping between them."""
        sites = [self.site(kind) for _ in range(2)]
        for site, other in zip(sites, reversed(sites)):
            site.router.nft(_BLOCKED % other.ip4)
        a = self.node(sites[0].host, "alice", "172.31.0.1")
        b = self.node(sites[1].host, "bob", "172.31.0.2")
        self.first = [view["generation"] for view in self.connect(a, b, path="relayed")]
        ping = self.ping(a, b.ip4, interval=0.05)
        ping.wait_replies(3)
        return sites, a, b, ping

    def wait_attempt(self, a, b):
        """Until a generation after the one that carries has begun at both ends."""
        for node, other, first in zip((a, b), (b, a), self.first):
            node.wait_peer(other, lambda p, n=first: p["generation"] > n, "tried again")

    def test_upgrade(self):
        """a path that opens later is taken within a minute, and no packet is lost"""
        sites, a, b, ping = self.relayed("home")
        self.wait_attempt(a, b)
        for view in (a.peer(b), b.peer(a)):
            self.assertEqual((view["status"], view["path"]), ("online", "relayed"))
        for site in sites:
            site.router.nft("delete table inet blocked")
        for node, other in ((a, b), (b, a)):
            node.wait_peer(other, lambda p: p["path"] == "direct", "directly", 60)
            node.wait_log("moved name=.* path=direct")
            self.assert_path(node.peer(other, stats=True), "direct")
        ping.wait_replies(150)  # beyond the end of the old generation
        sent, received = ping.stop()
        self.assertEqual(sent, received, "packets were lost on the way from the relay to the direct path")

    def test_in_vain(self):
        """where there is no direct path the attempts disturb nothing, and leave nothing open"""
        _, a, b, ping = self.relayed("symmetric")

        def opened():
            return [len(os.listdir(f"/proc/{node.tincan.pid}/fd")) - n for node, n in zip((a, b), before)]

        before = [0, 0]
        ping.wait_replies(30)  # the pair first selected gives way to a better relayed one, with other sockets
        before = opened()
        self.wait_attempt(a, b)
        wait_for(lambda: f"sockets of the attempt: {opened()} more", lambda: min(opened()) > 0)
        wait_for(lambda: f"sockets closed again: {opened()} more", lambda: max(opened()) <= 0, 60)
        for view in (a.peer(b), b.peer(a)):
            self.assertEqual((view["status"], view["path"]), ("online", "relayed"))
        sent, received = ping.stop()
        self.assertEqual(sent, received, "looking for a better path lost packets")


class SlowServers(LabTest):
    """Checks of a peer come before its credentials and candidates when Jabber is slower than the way between the two, and before
    this host's own candidates when STUN and TURN are."""

    @classmethod
    def setUpClass(cls):
        cls.rogue = Rogue(cls.world, "192.0.2.11", 5303)
        cls.addClassCleanup(cls.rogue.close)
        cls.rogue.latency = 0.03
        host = Server(cls.world, "turn", "192.0.2.50")
        cls.addClassCleanup(host.ns.close)
        coturn = Coturn(host, f"{cls.world.folder('turn')}/coturn", "lab.test")
        cls.addClassCleanup(coturn.stop)
        host.ns.run("tc", "qdisc", "replace", "dev", "wan", "root", "tbf", "rate", "30kbit", "burst", "200", "limit", "100kb")
        credentials = dict(user=Coturn.USER, **{"pass": Coturn.PASSWORD})
        cls.servers = dict(stun=["192.0.2.10:3478"], turn=[dict(server="192.0.2.50:3478", transport="udp", **credentials)])

    def meet(self, first, second):
        """Twice, since chance says which of the two asks. Direct at once, not by a later attempt."""
        for _ in range(2):
            sites = [self.world.site(kind) for kind in (first, second)]
            a, b = [self.node(site.host, name, f"172.31.0.{i + 1}", **self.rogue.keys(), **self.servers)
                    for i, (site, name) in enumerate(zip(sites, ("alice", "bob")))]
            a.start()
            b.start()
            views = wait_pair(a, b)
            for node, other, view in zip((a, b), (b, a), views):
                node.wait_peer(other, lambda p: p["path"] == "direct", "directly", 3)
                self.assertEqual(node.peer(other)["generation"], view["generation"])
            for part in (a, b, *sites):
                part.close()

    def test_open_home(self):
        """a public host and one behind a NAT are direct at once"""
        self.meet("open", "home")

    def test_fullcone_home(self):
        """two behind NATs, one of which lets everybody in, are direct at once"""
        self.meet("fullcone", "home")

    def test_symmetric_open(self):
        """a public host and one behind a symmetric NAT are direct at once"""
        self.meet("symmetric", "open")

    def test_home_home(self):
        """two behind home routers are direct at once"""
        self.meet("home", "home")
