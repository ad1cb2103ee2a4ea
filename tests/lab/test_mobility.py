"""What moves, sleeps or dies, and how soon traffic flows again. With --repeat N each event happens so often, and median and
worst are said; the bounds asserted are twice the worst that is wanted."""

import signal
import statistics
import time

from lab.case import LabTest
from lab.coturn import Coturn
from lab.flow import Flow
from lab.node import wait_pair
from lab.wait import wait_for
from lab.world import Server

# What one router keeps from going to, and coming from, the other.
_SHUT = """
table inet shut {
  chain forward {
    type filter hook forward priority filter - 10;
    ip daddr %s meta l4proto udp drop
  }
}
"""


class Moves(LabTest):
    def flow(self, a, b):
        flow = Flow(a, b)
        self.addCleanup(flow.close)
        return flow

    def pair(self, first="home", second="home", **keys):
        """Sites, nodes with a link, and traffic both ways."""
        self.sites = [self.site(first), self.site(second)]
        keys.setdefault("account", self.world.prosody.account())
        a = self.node(self.sites[0].host, "alice", "172.31.0.1", **keys)
        b = self.node(self.sites[1].host, "bob", "172.31.0.2", **keys)
        self.connect(a, b)
        return a, b

    def measure(self, event, flows, action, bound):
        """action(i) makes the event happen, the i-th time, and may return when; all flows must flow again in time."""
        times = []
        for i in range(self.repeat):
            since = time.monotonic()
            since = action(i) or since
            times.append(max(flow.recovery(since, 2 * bound + 60) for flow in flows))
        said = ", ".join(f"{t:.2f}" for t in times[:3]) if self.repeat <= 3 else (
            f"median {statistics.median(times):.2f}, worst {max(times):.2f}, of {len(times)}")
        self.say(f"{event}: flows again after {said} s")
        self.assertLess(max(times), 2 * bound, f"{event}: {times}")
        for flow in flows:
            self.assertTrue(flow.tcp_lives(), f"{event}: the TCP connection {flow.name} died")

    # --- the host's own addresses

    def test_address_open(self):
        """another address on a host, the peer public"""
        a, b = self.pair("home", "open")
        self.measure("another address, peer public", [self.flow(a, b)], lambda _: self.sites[0].renumber(a.host), 2)

    def test_address_home(self):
        """another address on a host, the peer behind a NAT, too"""
        a, b = self.pair("home", "home")
        self.measure("another address, peer behind a NAT", [self.flow(a, b)], lambda _: self.sites[0].renumber(a.host), 2)

    # --- what is before the host

    def rebinding(self, asker):
        """asker: 0 when the host behind the router asks and the public one answers, 1 the other way round."""
        a, b = self.pair("home", "open")
        flow = self.flow(a, b) if asker == 0 else self.flow(b, a)

        def rebind(_):
            before = b.peer(a, stats=True)["stats"][0]["rem_addr"]
            since = time.monotonic()
            self.sites[0].rebind()
            b.wait_peer(a, lambda _: b.peer(a, stats=True)["stats"][0]["rem_addr"] != before, "at another port")
            return since

        self.world.prosody.stop()
        try:
            self.measure(f"NAT rebinding, asked from {'behind it' if asker == 0 else 'outside'}", [flow], rebind, 3)
        finally:
            self.world.prosody.start()

    def test_rebind(self):
        """a router that forgets its mappings while the host behind it sends, without a Jabber server"""
        self.rebinding(0)

    def test_rebind_outside(self):
        """a router that forgets its mappings while the host behind it only answers, without a Jabber server"""
        self.rebinding(1)

    def test_public_address(self):
        """another public address at the router"""
        a, b = self.pair()
        self.measure("another public address", [self.flow(a, b)], lambda _: self.sites[0].move(), 6)

    # --- cables

    def cable(self, what, switch):
        """switch("down") takes the cable of the first host out, switch("up") puts it in again."""
        a, b = self.pair()

        def pull(_):
            switch("down")
            a.wait_offline(b)
            b.wait_offline(a)
            time.sleep(20 if self.long else 0)  # that is the event: half a minute in all
            since = time.monotonic()
            switch("up")
            return since

        self.measure(what, [self.flow(a, b), self.flow(b, a)], pull, 3)

    def test_cable(self):
        """the host's cable out until the link is lost at both ends (--long: half a minute), and in again"""
        self.cable("cable of the host", lambda state: self.sites[0].cable(self.sites[0].host, state))

    def test_cable_behind(self):
        """the same with a cable behind the host's switch, so that the host is not told"""
        self.cable("cable behind the switch", lambda state: self.sites[0].switch(state))

    # --- other ways

    def test_interface(self):
        """the interface in use goes down and another is there; and it comes back"""
        a, b = self.pair()
        self.site("home").plug(a.host, "eth1", 7, 200)

        def turn(i):
            if i % 2 == 0:
                a.ns.ip("link set eth0 down")
            else:
                a.ns.ip("link set eth0 up", f"route replace default via {a.host.gateway} dev eth0")

        self.measure("another interface", [self.flow(a, b)], turn, 2)

    def test_gateway(self):
        """another gateway in the same network"""
        a, b = self.pair()
        gateways = [self.sites[0].second_gateway(), a.host.gateway]
        self.measure("another gateway", [self.flow(a, b)], lambda i: a.ns.ip(f"route replace default via {gateways[i % 2]}"), 2)

    # --- relays

    def star(self, n, **keys):
        """A node with n relayed peers, and the flows to them. It is the one whose offers give way to theirs."""
        keys.setdefault("account", self.world.prosody.account())
        nodes = [self.node(self.site("symmetric").host, f"n{i}", f"172.31.0.{i}", **keys).start() for i in range(1, n + 2)]
        for node in nodes:
            node.wait_ready()
        *others, a = sorted(nodes, key=lambda node: node.uid)
        for b in others:
            for view in wait_pair(a, b):
                self.assert_path(view, "relayed")
        return a, others, [self.flow(a, b) for b in others]

    def relay_dies(self, event, n):
        """Of two TURN servers that are configured the one dies that more ends of the n pairs use."""
        coturns = {}
        for i in (1, 2):
            address = f"192.0.2.{30 + 2 * n + i}"  # a closed namespace keeps its address for a while
            host = Server(self.world, "turn", address)
            self.addCleanup(host.ns.close)
            coturns[address] = Coturn(host, f"{self.world.folder('turn')}/coturn", "lab.test")
            self.addCleanup(coturns[address].stop)
        credentials = dict(user=Coturn.USER, **{"pass": Coturn.PASSWORD})
        turn = [dict(server=f"{address}:3478", transport="udp", **credentials) for address in coturns]
        a, others, flows = self.star(n, stun=["192.0.2.10:3478"], turn=turn)
        dead = []

        def kill(_):
            for coturn in dead:
                coturn.start()
            pairs = [a.peer(b, stats=True)["stats"][0] for b in others]
            ends = [pair[end].split(":")[0] for pair in pairs for end in ("local_addr", "rem_addr")]
            dead[:] = [coturns[max(coturns, key=ends.count)]]
            since = time.monotonic()
            dead[0].process.kill()
            return since

        self.measure(event, flows, kill, 10)

    def test_relay_dies(self):
        """the TURN server in use dies, another one is configured"""
        self.relay_dies("the relay dies", 1)

    def test_relay_dies_four(self):
        """the TURN server in use by four pairs dies, another one is configured"""
        self.relay_dies("the relay of four pairs dies", 4)

    def test_relay_restarted_six(self):
        """coturn restarted under six relayed pairs of one node: all come back"""
        _, _, flows = self.star(6)

        def restart(_):
            self.world.coturn.stop()
            self.world.coturn.start()
        self.measure("coturn restarted under six pairs", flows, restart, 10)

    def test_falls_back(self):
        """the direct path is shut, and the relay takes over; and back without a packet lost"""
        a, b = self.pair()
        flow = self.flow(a, b)

        def shut(_):
            for site in self.sites:
                site.router.run("nft", "delete", "table", "inet", "shut", check=False)
            for node, other in ((a, b), (b, a)):
                node.wait_peer(other, lambda p: p["path"] == "direct", "directly", 60)
            since = time.monotonic()
            for site, other in zip(self.sites, reversed(self.sites)):
                site.router.nft(_SHUT % other.ip4)
            return since

        self.measure("direct path shut", [flow], shut, 10)
        self.assertEqual(a.peer(b)["path"], "relayed")

    # --- programs

    def test_tincan_killed(self):
        """tincan killed and started again"""
        a, b = self.pair()

        def kill(_):
            since = time.monotonic()
            a.tincan.kill()
            a.start_tincan()
            return since

        self.measure("tincan killed", [self.flow(a, b)], kill, 4)

    def sleeps(self, event, bound, a, others, flows):
        """Both programs of a stand still until the others have given it up (--long: a minute), and wake."""
        programs = (a.tincan, a.controller)

        def sleep(_):
            for program in programs:
                program.send(signal.SIGSTOP)
            for b in others:
                b.wait_offline(a)
            time.sleep(48 if self.long else 3)  # that is the event: a minute in all
            for program in programs:
                program.send(signal.SIGCONT)
            return time.monotonic()

        self.measure(event, flows, sleep, bound)

    def test_sleeps(self):
        """both programs stand still for so long that the peer gives the link up, and wake"""
        a, b = self.pair()
        self.sleeps("asleep", 3, a, [b], [self.flow(a, b)])

    def test_sleeps_long(self):
        """both programs stand still while six peers call in vain, again and again, and wake"""
        self.sleeps("asleep, six relayed peers", 5, *self.star(6))

    def test_moves_and_restarts(self):
        """both programs killed, another address, both started again within a second"""
        a, b = self.pair()

        def vanish(_):
            since = time.monotonic()
            a.controller.kill()
            a.tincan.kill()
            self.sites[0].renumber(a.host)
            a.start()
            return since

        self.measure("vanished and back elsewhere", [self.flow(a, b)], vanish, 4)
