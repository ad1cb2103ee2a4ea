"""What moves, sleeps or dies, and how soon traffic flows again. With --repeat N each event happens so often, and median and
worst are said; the bounds asserted are twice the worst that is wanted."""

import statistics
import time

from lab.case import LabTest
from lab.flow import Flow


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
