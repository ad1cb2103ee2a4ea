"""More than two nodes, on one machine or many."""

from itertools import permutations

from lab.case import LabTest
from lab.node import wait_pair
from lab.wait import wait_for


class Mesh(LabTest):
    def test_three(self):
        """three nodes at three places: every pair connects, and pings both ways"""
        nodes = [self.node(self.site(kind).host, name, f"172.31.0.{i}")
                 for i, (kind, name) in enumerate([("home", "alice"), ("symmetric", "bob"), ("open", "carol")], 1)]
        self.assert_no_ping(nodes[0], nodes[1].ip4)
        for node in nodes:
            node.start()
        for a, b in permutations(nodes, 2):
            a.wait_online(b)
        for a, b in permutations(nodes, 2):
            self.assert_ping(a, b.ip4)
            self.assert_ping(a, b.local()["_ip6"])
        for node in nodes:
            self.assertEqual({p["name"] for p in node.peers()}, {n.name for n in nodes if n is not node})

    def test_late(self):
        """a node that joins later connects to those that are there"""
        a, b = self.two()
        c = self.node(self.site("home").host, "carol", "172.31.0.3")
        self.connect(a, b)
        self.assert_no_ping(a, c.ip4)
        c.start()
        wait_pair(a, c)
        wait_pair(b, c)
        self.assert_ping(c, a.ip4)
        self.assert_ping(c, b.ip4)

    def test_leaves(self):
        """a node that logs out is offline at once, and forgotten after two housekeeping periods"""
        a, b = self.two(wait_time=2)
        self.connect(a, b)
        b.stop()
        a.wait_offline(b, 5)
        self.assert_no_ping(a, b.ip4)
        wait_for(lambda: f"a forgets b: {a.peers()}", lambda: a.local() and not a.peer(b), 30)

    def test_one_machine(self):
        """two pairs of programs on one machine, each with its own device, ports and folders"""
        host = self.site("home").host
        first = self.node(host, "first", "172.31.0.1")
        second = self.node(host, "second", "172.30.0.2", tap="ipop2", port=5900, contr_port=5901,
                           account=self.world.prosody.account())
        far = [self.node(self.site("home").host, "far-first", "172.31.0.3"),
               self.node(self.site("home").host, "far-second", "172.30.0.4", account=(second.overlay["xmpp_username"],
                                                                                     second.overlay["xmpp_password"]))]
        for node in (first, second, *far):
            node.start()
        wait_pair(first, far[0])
        wait_pair(second, far[1])
        self.assert_ping(far[0], first.ip4)
        self.assert_ping(far[1], second.ip4)
        self.assertIn("ipop2", host.ns.link_names())
        self.assertEqual([p["name"] for p in second.peers()], ["far-second"])

    def test_chosen_addresses(self):
        """without ip4 each node chooses an address of its own and keeps it over a restart"""
        a, b = (self.node(self.site("home").host, name) for name in ("a", "b"))
        a.start()
        b.start()
        wait_pair(a, b)
        addresses = [n.local()["_ip4"] for n in (a, b)]
        self.assertTrue(all(x.startswith("172.31.") for x in addresses), addresses)
        self.assertNotEqual(*addresses)
        self.assert_ping(a, addresses[1])
        a.stop()
        a.start()
        a.wait_online(b)
        self.assertEqual(a.local()["_ip4"], addresses[0])
