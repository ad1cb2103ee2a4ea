"""Which pairs of places connect, and by which path."""

import re

from lab import grid
from lab.case import LabTest
from lab.node import servers, wait_pair
from lab.site import KINDS
from lab.wait import wait_for

OUTSIDE = ("srflx", "prflx")


class Pairs(LabTest):
    def pair(self, a, b, **keys):
        """A node on each of two hosts."""
        return self.node(a, "alice", "172.31.0.1", **keys), self.node(b, "bob", "172.31.0.2", **keys)

    def test_lan(self):
        """two hosts of one LAN connect by their own addresses"""
        site = self.site(hosts=2)
        a, b = self.pair(*site.hosts)
        for view, other in zip(self.connect(a, b), (b, a)):
            self.assert_path(view, "direct", ["host"], ["host"])
            self.assertTrue(view["stats"][0]["rem_addr"].startswith(other.host.ip4 + ":"), view)

    def test_two_interfaces(self):
        """two interfaces: the peer's own LAN is used, and when that fails the other one"""
        site, other = self.site(hosts=2), self.site()
        other.plug(site.host, "eth1", 9, 200)
        a, b = self.pair(*site.hosts)
        for view in self.connect(a, b):
            self.assert_path(view, "direct", ["host"], ["host"])
            self.assertTrue(view["stats"][0]["rem_addr"].startswith(site.host.ip4.rsplit(".", 1)[0]), view)
        self.assertIn(f"host {other.host.ip4.rsplit('.', 1)[0]}.9:", a.ipop("why", "bob").stdout)
        site.host.ns.ip("link set eth0 down")

        def moved():
            view = b.peer(a, stats=True)
            return view["status"] == "online" and view["stats"][0]["rem_addr"].startswith(other.ip4 + ":")

        wait_for(lambda: f"bob reaches alice at {other.ip4}: {b.peer(a, stats=True)}", moved, 30)
        self.assert_ping(a, b.ip4)

    def test_home(self):
        """home x home is direct, through both mappings"""
        for view in self.connect(*self.two("home", "home")):
            self.assert_path(view, "direct", OUTSIDE + ("host",), OUTSIDE)

    def test_stun_only(self):
        """home x home is direct with STUN alone"""
        host = self.site("home").host
        only_stun = servers(self.world, host, turn=())
        for view in self.connect(*self.pair(host, self.site("home").host, **only_stun)):
            self.assert_path(view, "direct", OUTSIDE + ("host",), OUTSIDE)

    def test_same_lan_addresses(self):
        """two homes with the same private addresses are direct"""
        sites = [self.site("home", lan="192.168.1") for _ in range(2)]
        self.connect(*self.pair(sites[0].host, sites[1].host), path="direct")

    def test_symmetric(self):
        """symmetric x symmetric is relayed, and the reason is said"""
        a, b = self.two("symmetric", "symmetric")
        self.connect(a, b, path="relayed")
        for node, other in ((a, b), (b, a)):
            node.wait_peer(other, lambda p: "both NATs are symmetric" in p["reason"], "with the reason", 30)
        why = a.ipop("why", "bob").stdout
        for part in ("What helps: port mapping by UPnP", "This node's network: a symmetric NAT", "The peer's network: a symmetric NAT",
                     "Own addresses: host ", "Its addresses: host ", "Answered after ", "TURN server 192.0.2.10:3478 (udp): good"):
            self.assertIn(part, why)

    def test_no_relay(self):
        """symmetric x symmetric without TURN: not online, and the reason is said"""
        host = self.site("symmetric").host
        a, b = self.pair(host, self.site("symmetric").host, **servers(self.world, host, turn=()))
        a.start()
        b.start()
        view = a.wait_peer(b, lambda p: "no answer" in p["reason"], "without an answer", 40)
        self.assertEqual(view["status"], "offline")
        self.assertIn("TURN", view["reason"])
        self.assert_no_ping(a, b.ip4)

    def test_v6only(self):
        """IPv6 alone: direct, and IPv4 works inside"""
        for view in self.connect(*self.two("v6only", "v6only")):
            self.assert_path(view, "direct", ["host", "prflx"], ["host", "prflx"])
            self.assertIn("2001:db8:", view["stats"][0]["rem_addr"])

    def test_dual_v6only(self):
        """IPv6 behind a firewall x IPv6 alone is direct"""
        self.connect(*self.two("dual", "v6only"), path="direct")

    def test_udpblocked(self):
        """where only TCP gets out, TURN over TCP relays"""
        host = self.site("udpblocked").host
        tcp = servers(self.world, host, turn=("udp", "tcp"))
        self.connect(*self.pair(host, self.site("home").host, **tcp), path="relayed")

    def test_carrier(self):
        """two homes behind one carrier's NAT without hairpin are relayed"""
        carrier = self.world.carrier()
        self.addCleanup(carrier.close)
        a, b = (self.site("home", behind=carrier).host for _ in range(2))
        self.connect(*self.pair(a, b), path="relayed")

    def test_dead_turn(self):
        """a TURN server that is dead, or refuses the password, does not keep two homes apart"""
        host = self.site("home").host
        good = servers(self.world, host)
        bad = [dict(server="192.0.2.99:3478", user="lab", **{"pass": "x"}),
               dict(good["turn"][0], **{"pass": "wrong"})]
        a, b = self.pair(host, self.site("home").host, stun=good["stun"], turn=bad)
        self.connect(a, b, path="direct")

    def test_account_servers(self):
        """with neither stun nor turn configured the account's server tells of its own (XEP-0215)"""
        keys = dict(stun=None, turn=None)
        self.connect(*self.two("home", "home", **keys), path="direct")

    def test_account_relay(self):
        """and the relay it tells of is used"""
        keys = dict(stun=None, turn=None)
        self.connect(*self.two("symmetric", "symmetric", **keys), path="relayed")

    def test_config_stun_turn(self):
        """config/config-stun-turn.json as it stands, with the servers laid over it"""
        host = self.site("home").host
        self.connect(*self.pair(host, self.site("home").host, config="config-stun-turn.json", **servers(self.world, host)),
                     path="direct")


class Grid(LabTest):
    def connect_all(self, nodes):
        """Waits until each pair has the path that it should, whatever it has at first."""
        wrong = []

        def find_wrong():
            wrong.clear()
            for a, b in self.pairs:
                for view in wait_pair(nodes[a], nodes[b], 40):
                    if view["path"] != (grid.expected(a, b) or view["path"]):
                        best = view["stats"][0]
                        wrong.append(f"{a} x {b}: {view['path']}, {best['local_addr']} {best['local_type']} to "
                                     f"{best['rem_addr']} {best['rem_type']}")
            return not wrong

        wait_for(lambda: "\n".join(["all paths as they should be", *wrong]), find_wrong, 60)

    def result(self, node, other, kinds):
        """What the controller's log says of it, timed from when the two saw each other."""
        after = [float(t) for t in re.findall(rf"connected name={other.name} .* after=(\d+) ms", node.controller.output())]
        return grid.Result(*kinds, node.peer(other)["path"], after[0] / 1000, after[0] / 1000)

    def test_grid(self):
        """one node at each kind of place, all pairs: each by the path it should have, and each knows its NAT"""
        self.assertEqual(set(grid.ORDER), set(KINDS))
        self.pairs = [(a, b) for a, b in grid.cells() if a != b]
        nodes = {}
        for i, kind in enumerate(grid.ORDER):
            host = self.site(kind).host
            nodes[kind] = self.node(host, kind, f"172.31.0.{i + 1}", **grid.node_keys(self.world, kind, host))
        for node in nodes.values():
            node.start()
        self.connect_all(nodes)
        for kind, node in nodes.items():
            mapping = grid.NAT[kind].split("/")[0]
            wait_for(lambda: f"{kind} is {mapping}: {node.local()['_nat']}", lambda: node.local()["_nat"].split("/")[0] == mapping)
            if node.local()["_nat"] != grid.NAT[kind]:  # an answer that is lost looks like one that was filtered
                self.say(f"{kind} took itself for {node.local()['_nat']}")
        for line in grid.table([self.result(nodes[a], nodes[b], (a, b)) for a, b in self.pairs]):
            self.say(line)
