"""A hostile Jabber server: it forges, swaps, floods and lies; and no link that works is lost or taken over by it, memory stays
bounded, and the log tells once what happened."""

import base64
import hashlib
import os
import re
import socket
import time
from contextlib import contextmanager
from xml.sax.saxutils import quoteattr

from lab.case import LabTest
from lab.node import wait_pair
from lab.rogue import Rogue
from lab.wait import wait_for
from test_resources import memory

MIB = 1024  # of the KiB that memory() counts in
BOUND = 16 * MIB

_JINGLE = ("<iq type='set' from={sender} to={to} id={id}><jingle xmlns='urn:xmpp:jingle:1' action='{action}' sid='{sid}'>"
           "{body}</jingle></iq>")
_TRANSPORT = "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='{ufrag}' pwd='{pwd}'>{candidates}</transport>"
_CONTENT = ("<content creator='initiator' name='tunnel'><description xmlns='urn:ipop:tunnel:1' uid='{uid}'/>" + _TRANSPORT +
            "</content>")


def presence(sender, key, name, ip4, uid=None, more="suites='aesgcm chachapoly'"):
    uid = uid or hashlib.blake2b(key, digest_size=32).hexdigest()[:40]
    return (f"<presence from={quoteattr(sender)}><priority>-1</priority><tunnel xmlns='urn:ipop:tunnel:1' v='1' uid='{uid}' "
            f"key='{base64.b64encode(key).decode()}' name='{name}' ip4='{ip4}' {more}/></presence>")


def candidate(address, port, number=1):
    return (f"<candidate component='1' foundation='{number}' generation='0' id='c{number}' ip='{address}' network='0' "
            f"port='{port}' priority='{2130706431 - number}' protocol='udp' type='host'/>")


class Hostile(LabTest):
    """alice and bob are online by a server that turns hostile then."""

    @classmethod
    def setUpClass(cls):
        cls.rogue = Rogue(cls.world, "192.0.2.11", 5300)
        cls.addClassCleanup(cls.rogue.close)
        cls.seen = []  # what passed: (sender's JID, Stanza)
        cls.rogue.change = lambda client, stanza: cls.seen.append((client.jid, stanza)) or stanza.text
        cls.alice, cls.bob = (cls.shared_node(cls.shared_site("home").host, name, f"172.31.0.{i}", wait_time=2, **cls.rogue.keys())
                              for i, name in enumerate(("alice", "bob"), 1))
        for node in (cls.alice, cls.bob):
            node.start()
        wait_pair(cls.alice, cls.bob)
        cls.jids = {node: cls.rogue.client(node).jid for node in (cls.alice, cls.bob)}
        cls.uids = {node: node.uid for node in (cls.alice, cls.bob)}
        cls.keys = {node: base64.b64decode(node.local()["_key"]) for node in (cls.alice, cls.bob)}

    def setUp(self):
        super().setUp()
        for node in (self.alice, self.bob):
            node.wait_connected(90)

    def attack(self, text, node=None):
        """To alice, as it is."""
        self.assertTrue(self.rogue.client(node or self.alice).send(text), "the node is gone")

    def settle(self, node=None):
        """All that was sent to the node before this has been worked off."""
        mark = os.urandom(6).hex()
        to = quoteattr(self.jids[node or self.alice])

        def answered():  # some of a flood are not
            self.attack(f"<iq type='get' from='{self.rogue.domain}' to={to} id='{mark}'><ping xmlns='urn:xmpp:ping'/></iq>", node)
            return any(s.attributes.get("id") == mark for _, s in self.seen)
        wait_for("the node answers", answered, 30)

    @contextmanager
    def unharmed(self, lines, what="", lost=0):
        """The link carries all the time, nobody's name or address changes, memory stays bounded, and the two controllers
        together write at most so many lines, given to the with block's end in self.lines."""
        nodes = (self.alice, self.bob)
        logs = {n: len(n.controller.output()) for n in nodes}
        ping = self.ping(self.alice, self.bob.ip4, interval=0.1)
        ping.wait_replies(3)
        kib = {n: memory(n.controller.pid) for n in nodes}
        yield
        ping.wait_replies(5)
        grown = {n: memory(n.controller.pid) - kib[n] for n in nodes}
        sent, received = ping.stop()
        self.lines = [line for n in nodes for line in n.controller.output()[logs[n]:].splitlines()]
        self.say(f"{what or self._testMethodName}: {sent - received} of {sent} pings lost, {len(self.lines)} lines, alice "
                 f"{grown[self.alice]:+d} KiB")
        self.assertLessEqual(sent - received, lost)
        for a, b in (nodes, nodes[::-1]):
            view = a.peer(self.uids[b])  # a thief has the name, too
            self.assertEqual((view["status"], view["name"], view["ip4"]), ("online", b.name, b.ip4), view)
            self.assertLess(grown[a], BOUND)
        told = "\n".join(self.lines)
        self.assertNotRegex(told, r"link: (lost|failed) name=(alice|bob)", told)
        self.assertLessEqual(len(self.lines), lines, told)

    # --- presences

    def forged(self, **changes):
        """A presence of bob's own JID and key that says something else."""
        values = dict(sender=self.jids[self.bob], key=self.keys[self.bob], name="bob", ip4=self.bob.ip4)
        return presence(**{**values, **changes})

    def test_forged_presences(self):
        """presences forged in the name of a peer: with our address, another name, another address, other keys; unavailable"""
        gone = f"<presence type='unavailable' from={quoteattr(self.jids[self.bob])}/>"
        thief = os.urandom(32)
        with self.unharmed(8):
            for lie in (dict(ip4=self.alice.ip4), dict(name="alice"), dict(ip4="172.31.0.77"), dict(ip4="8.8.8.8"),
                        dict(name="mallory"), dict(more="suites='chachapoly'"), dict(more="suites='none'"), dict(key=thief),
                        dict(key=thief, uid=self.uids[self.bob]), dict(sender=f"{self.rogue.account[0]}/thief"),
                        dict(sender=f"{self.rogue.account[0]}/ipop-{'0' * 8}", key=thief), dict(sender="x@elsewhere.test/y")):
                self.attack(self.forged(**lie))
                self.attack(gone)
                self.attack(self.forged(**lie))
            for i in range(300):
                self.attack(gone + self.forged(ip4=f"172.31.1.{i % 250 + 1}"))
            self.attack(self.forged())
            self.settle()
        self.assertRegex("\n".join(self.lines), "not believed unless its link proves it")

    def test_presence_flood(self):
        """10,000 nodes that do not exist appear, more than fit"""
        tincan = memory(self.alice.tincan.pid)
        with self.unharmed(80):
            for i in range(100):
                self.attack("".join(presence(f"{self.rogue.account[0]}/flood{100 * i + j}", os.urandom(32), f"node{100 * i + j}",
                                             f"172.31.{1 + i}.{1 + j}") for j in range(100)))
            self.settle()
            begin = time.monotonic()
            self.assertTrue(self.alice.local())
            self.say(f"get_state in {1000 * (time.monotonic() - begin):.0f} ms with {self.alice.local()['_peers']} peers")
        self.assertLessEqual(self.alice.local()["_peers"], 1100)
        self.say(f"tincan: {memory(self.alice.tincan.pid) - tincan:+d} KiB")
        told = "\n".join(self.lines)
        self.assertEqual(len(re.findall("more than 1024 nodes", told)), 1, told)
        self.assertEqual(len(re.findall("so many nodes appear", told)), 1, told)

    # --- sessions

    def jingle(self, action, sid, body, node=None, sender=None):
        node = node or self.alice
        other = self.bob if node is self.alice else self.alice
        self.attack(_JINGLE.format(sender=quoteattr(sender or self.jids[other]), to=quoteattr(self.jids[node]),
                                   id=quoteattr(os.urandom(6).hex()), action=action, sid=sid, body=body), node)

    def content(self, uid, candidates=""):
        return _CONTENT.format(uid=uid, ufrag="evil", pwd="e" * 24, candidates=candidates)

    def session(self):
        """The sid of the session that made the link."""
        return next(re.search(r"sid=['\"](\w+)", s.text)[1] for _, s in reversed(self.seen) if "session-initiate" in s.text)

    def test_forged_sessions(self):
        """sessions of unknown JIDs, and forged ones of the peer: opened, accepted, ended, refused, again and again"""
        sid, uid = self.session(), self.uids[self.bob]
        with self.unharmed(10):
            for sender in ("x@elsewhere.test/y", f"{self.rogue.account[0]}/unknown", self.rogue.domain, "not a jid"):
                self.jingle("session-initiate", "s1", self.content(uid), sender=sender)
            for node in (self.alice, self.bob):
                for reason in ("success", "security-error", "gone", "connectivity-error"):
                    for s in (sid, "guessed"):
                        self.jingle("session-terminate", s, f"<reason><{reason}/><text>go away</text></reason>", node)
                self.jingle("session-accept", sid, self.content(self.uids[self.alice]), node)
            for i in range(100):
                self.jingle("session-initiate", f"evil{i}", self.content(uid, candidate("192.0.2.99", 4000 + i)))
                self.jingle("transport-info", f"evil{i}", self.content(uid, candidate("192.0.2.98", 4000 + i, 2)))
                self.jingle("session-terminate", f"evil{i}", "<reason><security-error/></reason>")
            self.settle()
        generation = self.alice.peer(self.uids[self.bob])["generation"]
        self.assertLess(generation, 20)

    def test_transport_info(self):
        """transport-info without end, for the true session and for others"""
        with self.unharmed(10):
            self.jingle("session-initiate", "endless", self.content(self.uids[self.bob]))
            for i in range(2000):
                self.jingle("transport-info", ("endless", self.session(), "other")[i % 3],
                            self.content(self.uids[self.bob], candidate(f"198.51.{i % 250}.1", 1024 + i, i + 1)))
            self.settle()

    def test_requests(self):
        """a flood of requests, roster pushes, messages, and answers that nobody waits for"""
        to = quoteattr(self.jids[self.alice])
        with self.unharmed(10):
            for i in range(1500):
                sender = quoteattr((self.rogue.domain, self.jids[self.bob], f"x{i}@y.test/z")[i % 3])
                self.attack(
                    f"<iq type='get' from={sender} to={to} id='q{i}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
                    f"<iq type='set' from={sender} to={to} id='r{i}'><query xmlns='jabber:iq:roster'><item jid='a{i}@b.c'/></query>"
                    f"</iq><iq type='result' from={sender} to={to} id='{i:032x}'/><iq type='error' from={sender} to={to} "
                    f"id='i{i}'/><message from={sender} to={to} type='chat'><body>{'spam ' * 20}</body></message>"
                    f"<presence type='subscribe' from={sender} to={to}/>")
            self.settle()

    # --- stanzas beyond measure

    def beyond(self, what, text, node=None, said=None):
        """The login may be lost by it, and comes back."""
        node = node or self.alice
        logins = self.rogue.logins
        with self.unharmed(6, what):
            self.rogue.client(node).send(text)  # it may hang up in the middle
            if said:
                node.wait_log(said)
            else:
                wait_for("a new login", lambda: self.rogue.logins > logins, 30)

    def test_large(self):
        """stanzas of 256 KiB, a huge attribute, a deep tree, a long list, one that never ends"""
        self.beyond("40 of 256 KiB", 40 * f"<presence><status>{'x' * 262144}</status></presence>", said="longer than 64 KiB")
        self.beyond("an attribute of 1 MiB", f"<presence id='{'y' * 1048576}'/>")
        self.beyond("5000 levels", f"<iq type='get' id='d'>{'<a>' * 5000}{'</a>' * 5000}</iq>")
        self.beyond("a list of 20,000", f"<iq type='set' id='l'>{'<a/>' * 20000}</iq>", self.bob)
        self.beyond("without end", f"<presence>{'<status>no end</status>' * 100000}", self.bob)


class FirstContact(LabTest):
    """Nodes that don't know each other yet meet by a hostile server."""

    def setUp(self):
        super().setUp()
        self.rogue = Rogue(self.world, "192.0.2.11", 5301)
        self.addCleanup(self.rogue.close)

    def test_candidates_swapped(self):
        """candidates swapped for a victim's addresses: it gets few packets, and the nodes meet when the server is honest"""
        victim = self.site("open").host
        offers, lost = [], []

        def swap(_, stanza):
            if "session-initiate" in stanza.text:
                offers.append(stanza)
            lies = "".join(candidate(victim.ip4, 20000 + i, i) for i in range(100))
            return re.sub(r"(<candidate [^>]*/>)+", lies, stanza.text)

        def count():
            try:
                while True:
                    lost.append(catcher.recv(2048))
            except BlockingIOError:
                return len(lost)
        catcher = victim.ns.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_UDP)
        self.addCleanup(catcher.close)
        catcher.setblocking(False)
        self.rogue.change = swap
        a, b = self.two(**self.rogue.keys())
        a.start()
        b.start()
        a.wait_log("failed name=bob", 40)
        b.wait_log("failed name=alice", 40)
        self.say(f"{count()} packets to the victim in {len(offers)} sessions")
        self.assertLess(count(), len(offers) * 2 * 32 * 20)  # two ends, the limit of candidates, sockets times repeats
        self.assertEqual(a.peer(b)["status"], "offline")
        self.rogue.change = None
        wait_pair(a, b, 60)

    def test_keys_replaced(self):
        """the key in a presence replaced by the server's own: no link to it, and to the right one later"""
        thief = os.urandom(32)
        a, b = self.two(**self.rogue.keys())
        a.start()
        a.wait_connected()

        def replace(client, stanza):
            if stanza.name != "presence" or client.jid == self.rogue.client(a).jid:
                return stanza.text
            return presence(client.jid, thief, b.name, b.ip4)
        self.rogue.change = replace
        b.start()
        false = hashlib.blake2b(thief, digest_size=32).hexdigest()[:40]
        a.wait_log("failed name=bob")
        b.wait_connected()
        self.assert_no_ping(a, b.ip4)
        self.assertEqual(a.peer(false)["status"], "offline")
        self.rogue.change = None
        b.controller.stop()
        b.start_controller()
        a.wait_peer(b.uid, lambda p: p["status"] == "online", "online", 60)
        self.assert_ping(a, b.ip4)
        self.assertEqual(a.peer(false)["status"], "offline")

    def test_services(self):
        """hundreds of STUN and TURN servers offered that are none, one of them this host itself"""
        hosts = ["x" * 300, "", "-", "a b", "192.0.2.99:1", "127.0.0.1", "::1", "'&quot;&lt;", "ä.test", "no-such-host.test"]
        hosts += [f"192.0.2.{i % 250}" for i in range(200)]
        answer = "<services xmlns='urn:xmpp:extdisco:2'>" + "".join(
            f"<service type='{('stun', 'turn')[i % 2]}' host=\"{host}\" port='{(3478, 3478, 0, 99999)[i % 4]}' transport='udp' "
            f"username='{'u' * (i % 300)}' password='p{i}' expires='{('now', '1970-01-01T00:00:00Z', '')[i % 3]}'/>"
            for i, host in enumerate(hosts)) + "</services>"
        self.assertLess(len(answer), 65000)
        self.rogue.services = lambda: answer
        keys = dict(stun=None, turn=None, wait_time=2, **self.rogue.keys())
        hosts = self.site("home", hosts=2).hosts
        a, b = self.node(hosts[0], "alice", "172.31.0.1", **keys), self.node(hosts[1], "bob", "172.31.0.2", **keys)
        self.connect(a, b)
        a.wait_log("offers stun=8 turn=8")
        a.wait_log(r"127\.0\.0\.1:3478.* the Jabber server offers it, and it is at 127\.0\.0\.1", of="tincan")
