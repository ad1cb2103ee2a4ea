"""Ports that a router forwards by UPnP: a real miniupnpd."""

import signal

from lab.case import LabTest
from lab.upnp import Miniupnpd


class Upnp(LabTest):
    def router(self, site):
        daemon = Miniupnpd(site.router, self.world.folder("upnp"))
        self.addCleanup(daemon.process.stop)
        return daemon

    def pair(self, first, second):
        """alice with UPnP behind a first, bob without behind a second; alice's router."""
        site = self.site(first, real=True)
        router = self.router(site)
        return (self.node(site.host, "alice", "172.31.0.1", upnp=True),
                self.node(self.site(second).host, "bob", "172.31.0.2"), router)

    def connect_mapped(self, a, b, router):
        a.start_tincan()
        a.start_controller()
        a.wait_connected()
        self.assertEqual(router.mappings(), [])
        b.start()
        for node, other in ((a, b), (b, a)):
            node.wait_online(other)
            node.wait_peer(other, lambda p: p["path"] == "direct", "directly", 5)
        self.assert_ping(a, b.ip4)
        self.assertTrue(router.mappings())

    def test_home(self):
        """home with UPnP x symmetric is direct; the mapping goes when the node stops"""
        a, b, router = self.pair("home", "symmetric")
        self.connect_mapped(a, b, router)
        self.assertEqual(a.local()["_upnp"], a.local()["_outside"])
        self.assertIn("UPnP: the router maps ports", a.ipop("why", "bob").stdout)
        self.assertEqual(a.stop(), [0, 0])
        self.assertEqual(router.mappings(), [])

    def test_symmetric(self):
        """symmetric with UPnP x symmetric is direct: the mapped address is told to the peer"""
        a, b, router = self.pair("symmetric", "symmetric")
        self.connect_mapped(a, b, router)
        self.assertEqual(a.peer(b)["generation"], 1)
        a.stop()
        self.assertEqual(router.mappings(), [])

    def test_none(self):
        """where no router does it nothing is late"""
        a, b = self.two(upnp=True)
        self.connect(a, b, path="direct")
        self.assertEqual(a.local()["_upnp"], "none")
        a.wait_log("connected name=bob .* after=\\d{1,3} ms")

    def test_carrier(self):
        """behind a carrier's NAT the router declines, and no harm is done"""
        carrier = self.world.carrier()
        self.addCleanup(carrier.close)
        site = self.site("home", behind=carrier)
        router = self.router(site)
        a = self.node(site.host, "alice", "172.31.0.1", upnp=True)
        b = self.node(self.site("home").host, "bob", "172.31.0.2", upnp=True)
        self.connect(a, b, path="direct")
        self.assertEqual(router.mappings(), [])

    def test_killed(self):
        """a node that is killed leaves no mapping for good: it has a lease"""
        a, b, router = self.pair("home", "symmetric")
        self.connect_mapped(a, b, router)
        a.tincan.stop(signal.SIGKILL)
        self.assertTrue(router.mappings())
        self.assertTrue(all(router.ends()), router.ends())
