"""What the tests build on: sites and nodes that go when the test or its class ends, and assertions about links."""

import unittest

from .node import Node, wait_pair
from .traffic import Ping, can_ping


def long_only(test):
    """A test that has no short form: left out without --long."""
    test.long_only = True
    return test


class LabTest(unittest.TestCase):
    """world is set by the runner; long, when tests shall run at full length; repeat, how often an event that is measured shall
    happen. The first line of a test's docstring is its title."""

    world = None
    long = False
    repeat = 1
    notes = ()

    def setUp(self):
        self.notes = []

    def say(self, text):
        """A figure to print below the test's line."""
        self.notes.append(text)

    # --- for the whole class

    @classmethod
    def shared_site(cls, *args, **options):
        site = cls.world.site(*args, **options)
        cls.addClassCleanup(site.close)
        return site

    @classmethod
    def account(cls):
        """The class's own Jabber account."""
        if "_account" not in cls.__dict__:
            cls._account = cls.world.prosody.account()
        return cls._account

    @classmethod
    def shared_node(cls, host, name, ip4=None, **keys):
        node = Node(cls.world, host, name, keys.pop("account", None) or cls.account(), ip4, **keys)
        cls.addClassCleanup(node.close)
        return node

    # --- for one test

    def site(self, *args, **options):
        site = self.world.site(*args, **options)
        self.addCleanup(site.close)
        return site

    def node(self, host, name, ip4=None, **keys):
        node = Node(self.world, host, name, keys.pop("account", None) or self.account(), ip4, **keys)
        self.addCleanup(node.close)
        return node

    def two(self, first="home", second="home", **keys):
        """Nodes alice and bob at two new sites of these kinds."""
        return (self.node(self.site(first).host, "alice", "172.31.0.1", **keys),
                self.node(self.site(second).host, "bob", "172.31.0.2", **keys))

    def ping(self, source, address, **options):
        """A ping that runs on."""
        ping = Ping(self.world, source.ns, address, **options)
        self.addCleanup(ping.close)
        return ping

    # --- assertions

    def assert_ping(self, source, address, **options):
        self.assertTrue(can_ping(source.ns, address, **options), f"{source.name} can't ping {address} {options or ''}")

    def assert_no_ping(self, source, address):
        self.assertFalse(can_ping(source.ns, address), f"{source.name} can ping {address}, and should not")

    def assert_path(self, peer, path, local=None, remote=None):
        """peer: a peer_state with stats. local, remote: the candidate types allowed for the best pair."""
        best = peer["stats"][0]
        shown = f"{peer['name']}: {peer['path']} {best['local_type']}/{best['rem_type']} {best['rem_addr']}"
        self.assertEqual(peer["path"], path, shown)
        relayed = "relay" in (best["local_type"], best["rem_type"])
        self.assertEqual(relayed, path == "relayed", shown)
        if local:
            self.assertIn(best["local_type"], local, shown)
        if remote:
            self.assertIn(best["rem_type"], remote, shown)

    def connect(self, a, b, path=None):
        """Proves that there is no way yet, starts both, waits for the link, pings both ways. The two views, with stats."""
        self.assert_no_ping(a, b.ip4)
        a.start()
        b.start()
        views = wait_pair(a, b)
        self.assert_ping(a, b.ip4)
        self.assert_ping(b, a.ip4)
        for view in views if path else ():
            self.assert_path(view, path)
        return views
