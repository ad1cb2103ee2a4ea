"""Who is let in: passphrases, pinned keys, names and addresses that are another's."""

import json
import os
import re

from lab.case import LabTest
from lab.node import wait_pair
from lab.wait import wait_for


class Trust(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.hosts = cls.shared_site("home", hosts=3).hosts

    def two(self, a=None, b=None):
        """Two nodes of one LAN, with these further keys."""
        return (self.node(self.hosts[0], "alice", "172.31.0.1", **(a or {})),
                self.node(self.hosts[1], "bob", "172.31.0.2", **(b or {})))

    def refuses(self, node, other, pattern):
        """node knows the other, is not linked to it, and says why."""
        view = node.wait_peer(other, lambda p: re.search(pattern, p["reason"]), f"refused with /{pattern}/")
        self.assertEqual(view["status"], "offline", view)
        return view

    def test_same_psk(self):
        """the same passphrase: online"""
        self.connect(*self.two(dict(psk="open sesame"), dict(psk="open sesame")))

    def test_other_psk(self):
        """another passphrase: never online, and both say so"""
        a, b = self.two(dict(psk="open sesame"), dict(psk="open barley"))
        a.start()
        b.start()
        for node, other in ((a, b), (b, a)):
            self.refuses(node, other, r"(?i)passphrase|psk")
        self.assert_no_ping(a, b.ip4)
        self.assertNotIn("sesame", a.tincan.output() + a.controller.output())

    def test_psk_against_none(self):
        """a passphrase at one end only: never online"""
        a, b = self.two(dict(psk="open sesame"))
        a.start()
        b.start()
        self.refuses(a, b, r"(?i)passphrase|psk")
        self.assert_no_ping(a, b.ip4)

    def new_key(self, node):
        """What a thief of name and address looks like: same name, same address, another key."""
        node.stop()
        os.unlink(f"{node.state_dir}/identity.key")
        node.start()
        node.wait_connected()

    def test_changed_key(self):
        """a changed key is refused with a reason at both ends until `ipop key --forget`"""
        a, b = self.two()
        self.connect(a, b)
        was = b.uid
        self.new_key(b)
        self.assertNotEqual(b.uid, was)
        uid = b.uid
        view = a.wait_peer(uid, lambda p: "key --forget" in p["reason"], "refused")
        self.assertEqual(view["status"], "offline")
        self.refuses(b, a, r"(?i)refuse|forget")
        self.assert_no_ping(b, a.ip4)
        a.wait_log(r"(?i)forget")
        shown = a.ipop("key")
        self.assertIn("bob", shown.stdout)
        forgotten = a.ipop("key", "--forget", "bob")
        self.assertEqual(forgotten.returncode, 0, forgotten)
        a.wait_peer(uid, lambda p: p["status"] == "online", "let in")
        b.wait_online(a)
        self.assert_ping(a, b.ip4)

    def test_pins_survive(self):
        """a pin outlives a restart of both programs"""
        a, b = self.two()
        self.connect(a, b)
        a.stop()
        self.new_key(b)
        a.start()
        a.wait_peer(b.uid, lambda p: "key --forget" in p["reason"], "refused")
        self.assert_no_ping(b, a.ip4)

    def test_pinned(self):
        """trust "pinned": strangers stay out, whoever is in peers comes in"""
        a, b = self.two(dict(trust="pinned"))
        a.start()
        b.start()
        a.wait_connected()
        uid = b.wait_connected()["_uid"]
        self.refuses(a, b, r"(?i)pinned")
        self.assert_no_ping(b, a.ip4)
        a.stop()
        a.overlay["peers"] = [dict(name="bob", uid=uid, ip4=b.ip4)]
        a.start()
        wait_pair(a, b)
        self.assert_ping(b, a.ip4)

    def test_same_ip4(self):
        """two nodes with one address: the later is told, the earlier not disturbed"""
        a, b = self.two()
        self.connect(a, b)
        ping = self.ping(a, b.ip4)
        ping.wait_replies(3)
        c = self.node(self.hosts[2], "carol", b.ip4).start()
        view = self.refuses(a, c, r"172\.31\.0\.2")
        self.assertEqual(view["path"], "")
        c.wait_log(r"172\.31\.0\.2.*(taken|used|another)|(taken|used|another).*172\.31\.0\.2")
        wait_for(lambda: f"carol is told: {c.peers()}", lambda: any("172.31.0.2" in p["reason"] for p in c.peers()), 20)
        ping.wait_replies(5)
        sent, received = ping.stop()
        self.assertEqual(sent, received)
        self.assertEqual(a.peer(b)["status"], "online")

    def test_same_ip4_unproven(self):
        """two with one address, both unknown so far: the first whose link proves its key has it, and the route"""
        alice, bob = self.two()
        carol = self.node(self.hosts[2], "carol", bob.ip4)
        uids = {node: node.start().wait_connected()["_uid"] for node in (bob, carol)}
        alice.start()

        def settled():
            views = [alice.peer(uid) for uid in uids.values()]
            return all(views) and sorted(v["status"] for v in views) == ["offline", "online"] and any(
                "key --forget" in v["reason"] for v in views)
        wait_for(lambda: f"one online and one refused: {alice.peers()}", settled, 20)
        self.assert_ping(alice, bob.ip4)
        with open(f"{alice.state_dir}/known_peers", encoding="utf-8") as f:
            pinned = {peer["uid"] for peer in json.load(f)["peers"]}
        self.assertEqual(pinned, {uid for uid in uids.values() if alice.peer(uid)["status"] == "online"})

    def test_same_name(self):
        """two nodes with one host name and nothing configured: the later takes another name"""
        a, b = self.two()
        for node in (a, b):
            del node.overlay["name"]
        a.start()
        a.wait_connected()
        b.start()
        a.wait_online(b.ip4)
        wait_for(lambda: f"different names: {a.local()} {b.local()}", lambda: a.local()["_name"] != b.local()["_name"], 20)

    def test_identity_is_private(self):
        """key and secret are readable by root (and group ipop) alone"""
        a, _ = self.two()
        a.start()
        a.wait_ready()
        self.assertEqual(os.stat(f"{a.state_dir}/identity.key").st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(f"{a.runtime_dir}/control.key").st_mode & 0o137, 0)
