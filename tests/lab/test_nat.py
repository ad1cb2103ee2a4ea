"""Which pairs of places connect, and by which path."""

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


# What each pair comes to, by the measured table: D direct, r relayed, ? online by one or the other.
ORDER = ("open", "hostfw", "fullcone", "home", "strict", "bare", "symmetric", "cgnat", "udpblocked", "dual", "brokenv6",
         "v6only")
EXPECTED = {
    "open": "DDDDDDDDrDDD",
    "hostfw": "DDDDDDrDrDDD",
    "fullcone": "DDDDDDDDrDDr",
    "home": "DDDDD?rDrDDr",
    "strict": "DDDDD?rDrDDr",
    "bare": "DDD???r?r??r",
    "symmetric": "DrDrrrrrrrrr",
    "cgnat": "DDDDD?rDrDDr",
    "udpblocked": "rrrrrrrrrrrr",
    "dual": "DDDDD?rDrDDD",
    "brokenv6": "DDDDD?rDrDDr",
    "v6only": "DDrrrrrrrDrD",
}


class Grid(LabTest):
    def test_grid(self):
        """one node at each kind of place, all pairs: each by the path it should have"""
        self.assertEqual(set(ORDER), set(KINDS))
        nodes = {}
        for i, kind in enumerate(ORDER):
            host = self.site(kind).host
            keys = servers(self.world, host, turn=("udp", "tcp") if kind == "udpblocked" else ("udp",))
            nodes[kind] = self.node(host, kind, f"172.31.0.{i + 1}", **keys)
        for node in nodes.values():
            node.start()
        expected, wrong = [], []
        for i, a in enumerate(ORDER):
            for j, b in enumerate(ORDER[:i]):
                wanted = {"D": "direct", "r": "relayed", "?": ""}[EXPECTED[a][j]]
                self.assertEqual(EXPECTED[a][j], EXPECTED[b][i], f"the table says two things of {a} x {b}")
                wait_pair(nodes[a], nodes[b], 40)
                if wanted:
                    expected.append((a, b, wanted))

        def find_wrong():
            wrong.clear()
            for a, b, wanted in expected:
                for view in wait_pair(nodes[a], nodes[b], 40):
                    if view["path"] != wanted:
                        best = view["stats"][0]
                        wrong.append(f"{a} x {b}: {view['path']} instead of {wanted}, {best['local_addr']} "
                                     f"{best['local_type']} to {best['rem_addr']} {best['rem_type']}")
            return not wrong

        wait_for(lambda: "\n".join(["all paths as they should be", *wrong]), find_wrong, 60)
