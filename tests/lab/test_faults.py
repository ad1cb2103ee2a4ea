"""The faults of others: servers that hang, end, close, throttle, refuse; peers that vanish, come back elsewhere, or are there
twice. What carries goes on, what was lost comes back by itself, and the log stays short."""

import datetime
import re
import shutil
import signal
import time

from lab.bulk import nft_packets
from lab.case import LabTest
from lab.clock import Clock
from lab.node import wait_pair
from lab.prosody import Prosody
from lab.rogue import Rogue
from lab.wait import wait_for
from lab.world import Server

# How often a Jabber server is called from an address.
_CALLS = """
table inet calls {
  chain input {
    type filter hook input priority filter - 10;
    ip saddr %s tcp dport { 5222, 5223 } tcp flags & (syn | ack) == syn counter
  }
}
"""


def jabber(node, pattern="."):
    """The lines of the node's log about the Jabber server."""
    return [line for line in node.controller.output().splitlines() if " jabber: " in line and re.search(pattern, line)]


class Faults(LabTest):
    def connected_with_ping(self, *nodes):
        a, b = nodes or self.two()
        self.connect(a, b)
        ping = self.ping(a, b.ip4)
        ping.wait_replies(3)
        return a, b, ping

    def assert_nothing_lost(self, ping):
        ping.wait_replies(3)
        sent, received = ping.stop()
        self.assertEqual(received, sent)

    def wait_logins(self, node, n, timeout=60):
        """The n-th login of this controller."""
        return wait_for(lambda: f"login {n} of {node.name}: {jabber(node)}", lambda: len(jabber(node, "logged in jid=")) >= n,
                        timeout)


class JabberServers(Faults):
    def test_hung(self):
        """a Jabber server that hangs: a login ends in time, a session is found dead when asked, and all is well when it goes on"""
        a, b, ping = self.connected_with_ping()
        c = self.node(self.site("home").host, "carol", "172.31.0.3")
        server = self.world.prosody.process
        server.send(signal.SIGSTOP)
        try:
            begin = time.monotonic()
            c.start()
            a.controller.send(signal.SIGSTOP)  # as long as a machine sleeps
            c.wait_trouble(r"says nothing|TLS handshake|does not finish|answer")
            self.say(f"a login is given up after {time.monotonic() - begin:.1f} s")
            begin = time.monotonic()
            a.controller.send(signal.SIGCONT)
            a.wait_trouble("no longer answers")
            self.say(f"a session is found dead {time.monotonic() - begin:.1f} s after waking up")
            self.assertEqual(a.peer(b)["status"], "online")
        finally:
            a.controller.send(signal.SIGCONT)
            server.send(signal.SIGCONT)
        begin = time.monotonic()
        for node in (b, c):
            a.wait_online(node, 90)
        self.say(f"back {time.monotonic() - begin:.1f} s after it goes on")
        self.assert_nothing_lost(ping)
        for node in (a, b, c):
            self.assertLessEqual(len(jabber(node)), 8, jabber(node))

    def test_ejabberd_restarted(self):
        """ejabberd restarted: nothing is lost, all log in again, and the log has a line for each"""
        account = self.world.ejabberd.account()
        a, b, ping = self.connected_with_ping(*self.two(account=account))
        self.world.ejabberd.stop()
        a.wait_log("not logged in")
        self.world.ejabberd.start()
        for node in (a, b):
            self.wait_logins(node, 2)
            self.assertLessEqual(len(jabber(node)), 5, jabber(node))
        self.assert_nothing_lost(ping)

    def test_long_away(self):
        """the Jabber server long away (--long: five minutes, with new keys), a controller killed meanwhile: nothing is lost"""
        sites = [self.site("home") for _ in range(2)]
        a, b, ping = self.connected_with_ping(*(self.node(site.host, name, f"172.31.0.{i}")
                                                for i, (site, name) in enumerate(zip(sites, ("alice", "bob")), 1)))
        broker = self.world.broker.ns
        broker.nft(_CALLS % sites[0].ip4)
        self.addCleanup(broker.run, "nft", "delete", "table", "inet", "calls")

        def wait_calls(more):
            wanted = nft_packets(broker, "inet calls") + more
            wait_for(f"{more} more attempts to log in", lambda: nft_packets(broker, "inet calls") >= wanted, 60)

        self.world.prosody.stop()
        try:
            wait_calls(3)
            self.assertLessEqual(len(jabber(a)), 4, jabber(a))
            a.controller.kill()
            a.start_controller()
            wait_calls(3)
            ping.wait_replies(1500 if self.long else 1)
            for node, other in ((a, b), (b, a)):
                node.wait_trouble("check that the Jabber server runs")
                self.assertEqual(node.peer(other)["status"], "online")
        finally:
            self.world.prosody.start()
        begin = time.monotonic()
        self.wait_logins(a, 1, 90)  # after minutes they try once a minute
        self.wait_logins(b, 2, 90)
        self.say(f"both are logged in {time.monotonic() - begin:.1f} s after the server is back")
        self.assert_nothing_lost(ping)
        for node in (a, b):
            self.assertLessEqual(len(jabber(node)), 5, jabber(node))
            for program in (node.tincan, node.controller):
                self.assertLess(len(program.output().splitlines()), 30, program.output())
        b.stop()
        b.start()
        wait_pair(a, b)
        self.assert_ping(a, b.ip4)

    def mesh(self, n, **keys):
        """All pairs of so many nodes on one LAN, started at once, and how long that took."""
        nodes = [self.node(host, f"n{i}", f"172.31.0.{i}", stun=[], turn=[], **keys)
                 for i, host in enumerate(self.site("home", hosts=n).hosts, 1)]
        begin = time.monotonic()
        for node in nodes:
            node.start()

        def linked():
            return sum(p["status"] == "online" for node in nodes for p in node.peers())
        wait_for(lambda: f"{n * (n - 1)} ends of links, {linked()} are there", lambda: linked() == n * (n - 1), 30 + 10 * n)
        self.say(f"{n} nodes, {n * (n - 1) // 2} links: {time.monotonic() - begin:.1f} s")
        return nodes

    def test_throttled(self):
        """a Jabber server that reads 3 kB/s of each client: a mesh comes together all the same (--long: of 20)"""
        host = Server(self.world, "slow", "192.0.2.30")
        self.addCleanup(host.ns.close)
        slow = Prosody(host, self.world.folder("slow") + "/prosody", "slow.test", self.world.authority, rate="3kb/s")
        self.addCleanup(slow.stop)
        self.mesh(20 if self.long else 6, account=slow.account(), xmpp_host="192.0.2.30")


class ScriptedServers(Faults):
    def setUp(self):
        super().setUp()
        self.rogue = Rogue(self.world, "192.0.2.11", 5302)
        self.addCleanup(self.rogue.close)

    def test_errors(self):
        """a Jabber server that answers every session with an error: the nodes meet soon after it does better"""
        conditions = ["internal-server-error", "remote-server-timeout", "resource-constraint", "not-acceptable"]
        refused = []

        def refuse(client, stanza):
            if "urn:xmpp:jingle:1" not in stanza.text or stanza.attributes["type"] != "set":
                return stanza.text
            condition = conditions[len(refused) % len(conditions)]
            refused.append(condition)
            client.send(f"<iq type='error' from='{stanza.attributes['to']}' to='{client.jid}' id='{stanza.attributes['id']}'>"
                        f"<error type='wait'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
            return None
        self.rogue.change = refuse
        a, b = self.two(**self.rogue.keys())
        a.start()
        b.start()
        wait_for("three refusals", lambda: len(refused) >= 3, 30)
        self.rogue.change = None
        begin = time.monotonic()
        wait_pair(a, b, 30)
        self.say(f"linked {time.monotonic() - begin:.1f} s after the last error")
        for node in (a, b):
            links = [line for line in node.controller.output().splitlines() if " link: " in line]
            self.assertLess(len(links), 10, links)

    def test_closing(self):
        """a Jabber server that closes every connection after the login: tried with back-off, told once"""
        self.rogue.after_login = lambda client: client.close()
        a, b = self.two(**self.rogue.keys())
        begin = time.monotonic()
        a.start()
        b.start()
        wait_for("some logins", lambda: self.rogue.logins >= 8, 60)
        self.assertGreater(time.monotonic() - begin, 2)
        self.rogue.after_login = None
        wait_pair(a, b, 60)
        for node in (a, b):
            self.assertLess(len(jabber(node)), 12, jabber(node))

    def test_there_twice(self):
        """two nodes with one identity, and so one resource: the first says so, and does not come back to throw the other out"""
        a, b = self.two()
        a.start()
        a.wait_connected()
        b.start_tincan()
        b.wait_ready()
        b.tincan.stop()
        shutil.copy(f"{a.state_dir}/identity.key", f"{b.state_dir}/identity.key")
        b.start()
        b.wait_connected()
        a.wait_trouble("another program has logged in")
        a.wait_log("another program has logged in")
        self.assertEqual(len(jabber(a, "logged in jid=") + jabber(b, "logged in jid=")), 2)


class Peers(Faults):
    def test_same_instant(self):
        """two nodes whose ipop-tincan starts at the same instant offer each other a session: one link comes of it (--long: 50)"""
        hosts = self.site("home", hosts=2).hosts
        a, b = self.node(hosts[0], "alice", "172.31.0.1"), self.node(hosts[1], "bob", "172.31.0.2")
        a.start()
        b.start()
        wait_pair(a, b)
        times = []
        for _ in range(50 if self.long else 5):
            for node in (a, b):
                node.tincan.kill()
            begin = time.monotonic()
            for node in (a, b):
                node.start_tincan()
            wait_pair(a, b)
            times.append(time.monotonic() - begin)
        self.assert_ping(a, b.ip4)
        self.say(f"linked after {sorted(times)[len(times) // 2]:.2f} s (median), {max(times):.2f} s (worst) of {len(times)}")

    def test_vanished(self):
        """a peer that vanishes without a word and comes back with another address within a second"""
        sites = [self.site("home"), self.site("home")]
        a, b = (self.node(site.host, name, f"172.31.0.{i}") for i, (site, name) in enumerate(zip(sites, ("alice", "bob")), 1))
        a, b, ping = self.connected_with_ping(a, b)
        b.tincan.kill()
        b.controller.kill()
        sites[1].renumber(b.host)
        begin = time.monotonic()
        b.start()
        ping.wait_replies(3, 30)
        self.say(f"answers again {time.monotonic() - begin:.2f} s after its start")
        self.assertLess(time.monotonic() - begin, 15)
        wait_pair(a, b)


class Relays(Faults):
    def test_restarted(self):
        """coturn restarted: the link by it comes back"""
        a, b, ping = self.connected_with_ping(*self.two("symmetric", "symmetric"))
        self.world.coturn.stop()
        self.world.coturn.start()
        begin = time.monotonic()
        ping.wait_replies(5, 60)
        self.say(f"answers again after {time.monotonic() - begin:.1f} s")
        wait_pair(a, b)


class Moves(Faults):
    def test_address(self):
        """another address on the host: the Jabber connection moves at once, with and without ipop-tincan to tell"""
        site = self.site("home")
        node = self.node(site.host, "alice", "172.31.0.1").start()
        self.wait_logins(node, 1)
        for n, what in ((2, "told by ipop-tincan"), (3, "without ipop-tincan")):
            if n == 3:
                node.tincan.kill()
                node.wait_log("answers no more")
            begin = time.monotonic()
            site.renumber(node.host)
            self.wait_logins(node, n, 20)
            self.say(f"{what}: logged in again after {time.monotonic() - begin:.2f} s")
        self.assertLessEqual(len(jabber(node)), 7, jabber(node))


class Clocks(Faults):
    def setUp(self):
        super().setUp()
        self.clocks = [Clock(self.world) for _ in range(2)]
        self.nodes = [self.node(self.site("home").host, name, f"172.31.0.{i}", clock=clock, tincan_logging=3)
                      for i, (name, clock) in enumerate(zip(("alice", "bob"), self.clocks), 1)]

    def assert_shows(self, process, days):
        """The last line of its log has been written so many days from now."""
        written = datetime.datetime.fromisoformat(process.output().splitlines()[-1][:19])
        self.assertAlmostEqual((written - datetime.datetime.now()) / datetime.timedelta(days=1), days, delta=0.1)

    def move(self, node, last):
        """The node gets one more address: another generation of the link takes over."""
        before = {n: n.peer(other)["generation"] for n, other in zip(self.nodes, reversed(self.nodes))}
        node.ns.ip(f"addr add 10.0.0.{last}/32 dev eth0")
        for n, other in zip(self.nodes, reversed(self.nodes)):
            n.wait_peer(other, lambda p: p["generation"] > before[n], f"in a generation after {before[n]}")

    def test_set(self):
        """clocks set back a day and on a year, one node's, then the other's: links stay (--long: with new keys), and come anew"""
        a, b = self.nodes
        self.connect(a, b)
        for i, (node, other, days) in enumerate(((a, b, -1), (a, b, 365), (b, a, -1), (b, a, 365)), 1):
            ping = self.ping(other, node.ip4)
            ping.wait_replies(3)
            for program in (node.tincan, node.controller):
                with self.assertRaises(AssertionError):
                    self.assert_shows(program, days)
            self.clocks[self.nodes.index(node)].set(days)
            self.move(node, i)
            for program in (node.tincan, node.controller):
                self.assert_shows(program, days)
            ping.wait_replies(1000 if self.long and days < 0 else 1)  # longer than keys live
            self.assert_nothing_lost(ping)
            for restarted in (other, node):
                begin = time.monotonic()
                restarted.tincan.kill()
                restarted.start_tincan()
                wait_pair(a, b)
                self.assert_ping(a, b.ip4)
                self.say(f"{node.name} by {days:+d} days, {restarted.name}'s tincan restarted: linked after "
                         f"{time.monotonic() - begin:.2f} s")

    def test_login(self):
        """a login by a clock that is wrong: the server's certificate is not valid then, it is told why, and the link stays"""
        a, b, ping = self.connected_with_ping(*self.nodes)
        for days, why in ((-1, "not yet valid"), (365, "expired")):
            self.clocks[0].set(days)
            a.controller.kill()
            a.start_controller()
            a.wait_trouble(f"certificate is not trusted: .*{why}.* clock")
            a.wait_log(f"not logged in: .*{why}.* clock")
            self.assert_shows(a.controller, days)
            self.assertEqual(a.peer(b)["status"], "online")
            self.clocks[0].set(0)
            begin = time.monotonic()
            a.wait_connected()
            self.say(f"{why}: logged in {time.monotonic() - begin:.1f} s after the clock was right again")
            self.assertLessEqual(len(jabber(a)), 3, jabber(a))
        self.assert_nothing_lost(ping)
