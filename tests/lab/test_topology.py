"""The lab itself, without ipop: each NAT is what its name says, and the servers serve."""

import re
import socket

from lab import stun
from lab.capture import Capture
from lab.case import LabTest
from lab.chat import Chat
from lab.raw import Injector
from lab.traffic import Ping, can_ping, tcp_transfer, udp_echo
from lab.wait import wait_for


class Nats(LabTest):
    def probe(self, kind):
        """From one socket: (how many ports two servers see, whether a stranger's packet comes in, whether the host, writing
        to that stranger afterwards, still has the port it had)."""
        site = self.site(kind)
        ns = site.host.ns
        if kind == "udpblocked":
            with ns.socket() as s:
                return stun.mapped(s, self.world.STUN[0], timeout=0.3, tries=2), None, None
        with ns.socket() as s, self.world.broker.ns.socket() as stranger:
            s.bind(("0.0.0.0", 0))
            seen = [stun.mapped(s, server) for server in self.world.STUN]
            self.assertEqual(seen[0][0], site.ip4)
            stranger.bind(("192.0.2.11", 0))
            stranger.sendto(b"unasked", seen[0])
            s.settimeout(0.3)
            try:
                comes_in = s.recv(100) == b"unasked"
            except TimeoutError:
                comes_in = False
            s.sendto(b"now asked", stranger.getsockname())
            stranger.settimeout(2)
            port_kept = stranger.recvfrom(100)[1][1] == seen[0][1]
            return len(set(seen)), comes_in, port_kept

    def test_open(self):
        """open: one port, anyone may write"""
        self.assertEqual(self.probe("open"), (1, True, True))

    def test_hostfw(self):
        """hostfw: one port, only answers"""
        self.assertEqual(self.probe("hostfw"), (1, False, True))

    def test_home(self):
        """home: one port, only answers, an early packet does no harm"""
        self.assertEqual(self.probe("home"), (1, False, True))

    def test_strict(self):
        """strict: as home"""
        self.assertEqual(self.probe("strict"), (1, False, True))

    def test_cgnat(self):
        """cgnat: two home routers in a row are as one"""
        self.assertEqual(self.probe("cgnat"), (1, False, True))

    def test_fullcone(self):
        """fullcone: one port, anyone may write"""
        self.assertEqual(self.probe("fullcone"), (1, True, True))

    def test_bare(self):
        """bare: an early packet moves the mapping"""
        self.assertEqual(self.probe("bare"), (1, False, False))

    def test_symmetric(self):
        """symmetric: a port for each destination"""
        self.assertEqual(self.probe("symmetric"), (2, False, False))

    def test_udpblocked(self):
        """udpblocked: no STUN, but names and TCP"""
        self.assertEqual(self.probe("udpblocked"), (None, None, None))
        ns = self.site("udpblocked").host.ns
        self.assertIn("192.0.2.10", ns.run("getent", "ahostsv4", "xmpp.lab.test").stdout)
        with ns.socket(kind=socket.SOCK_STREAM) as s:
            s.settimeout(5)
            s.connect(("192.0.2.10", 5222))

    def test_ipv6(self):
        """v6only and dual: IPv6 reaches the servers and nothing comes in to dual unasked; brokenv6: nothing gets out"""
        only, dual, broken = (self.site(kind).host for kind in ("v6only", "dual", "brokenv6"))
        self.assertTrue(can_ping(only.ns, self.world.XMPP6))
        self.assertFalse(can_ping(only.ns, self.world.XMPP))
        self.assertTrue(can_ping(dual.ns, self.world.XMPP6))
        self.assertTrue(can_ping(dual.ns, self.world.XMPP))
        self.assertTrue(can_ping(dual.ns, only.ip6))
        self.assertFalse(can_ping(only.ns, dual.ip6))
        self.assertFalse(can_ping(broken.ns, self.world.XMPP6))
        self.assertTrue(can_ping(broken.ns, self.world.XMPP))
        with only.ns.socket(socket.AF_INET6) as s:
            self.assertEqual(stun.mapped(s, self.world.XMPP6)[0], only.ip6)

    def test_private(self):
        """two homes see no private address of each other, hosts of one home do"""
        a, b = self.site(hosts=2), self.site()
        self.assertFalse(can_ping(a.host.ns, b.host.ip4))
        self.assertFalse(can_ping(a.host.ns, b.ip4))
        self.assertTrue(can_ping(a.hosts[0].ns, a.hosts[1].ip4))

    def test_carrier(self):
        """two homes behind one carrier have one public address, and no way to each other by it"""
        carrier = self.world.carrier()
        self.addCleanup(carrier.close)
        hosts = [self.site(behind=carrier).host for _ in range(2)]
        with hosts[0].ns.socket() as a, hosts[1].ns.socket() as b:
            seen = [stun.mapped(s, self.world.STUN[0]) for s in (a, b)]
            self.assertEqual([address for address, _ in seen], [carrier.ip4] * 2)
            a.sendto(b"to b", seen[1])
            b.sendto(b"to a", seen[0])
            b.settimeout(0.3)
            with self.assertRaises(OSError):
                b.recv(100)


class Servers(LabTest):
    def test_names(self):
        """names: known, unknown, and the Jabber service of a domain"""
        ns = self.site().host.ns
        self.assertIn("2001:db8::10", ns.run("getent", "ahosts", "xmpp.lab.test").stdout)
        self.assertEqual(ns.run("getent", "ahosts", "no-such-host.test", check=False).returncode, 2)

    def login(self, server, address, account, right=True):
        jid, password = account
        chat = Chat(self.world, self.site().host.ns, jid, password if right else "wrong", address)
        self.addCleanup(chat.close)
        return chat

    def check_chat(self, server, address):
        account, friend = server.account(), server.account("friend")
        self.login(server, address, account, right=False).wait_refused()
        chat = self.login(server, address, account).wait_online()
        other = self.login(server, address, friend).wait_online()
        other.send(account[0], "good morning")
        chat.wait_message("good morning")

    def test_prosody(self):
        """Prosody: a wrong password is refused, messages arrive"""
        self.check_chat(self.world.prosody, self.world.XMPP)

    def test_ejabberd(self):
        """ejabberd: a wrong password is refused, messages arrive"""
        self.check_chat(self.world.ejabberd, self.world.EJABBERD)

    def turn(self, host, *options):
        """Messages through an allocation: (sent, received) as turnutils says."""
        peer = self.world.broker.ns.start("turnutils_peer", ["turnutils_peer", "-L", "192.0.2.11", "-p", "3480"],
                                          self.world.folder("turn") + "/log")
        self.addCleanup(peer.stop)
        coturn = self.world.coturn
        output = host.ns.run("turnutils_uclient", "-u", coturn.USER, "-w", coturn.PASSWORD, "-e", "192.0.2.11", "-r", "3480",
                             "-n", "5", "-c", "-y", *options, "192.0.2.10", check=False, timeout=30).stdout
        totals = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", output)
        self.assertTrue(totals, output)
        return tuple(map(int, totals[-1]))

    def test_turn(self):
        """coturn: relays for who knows the password, over UDP, and over TCP where UDP is blocked"""
        sent, received = self.turn(self.site().host)
        self.assertGreater(sent, 0)
        self.assertEqual(sent, received)
        sent, received = self.turn(self.site("udpblocked").host, "-t")
        self.assertGreater(sent, 0)
        self.assertEqual(sent, received)


class Tools(LabTest):
    """What the other tests measure with, tried where the outcome is known."""

    @classmethod
    def setUpClass(cls):
        cls.hosts = cls.shared_site("home", hosts=2).hosts

    def test_traffic(self):
        """a ping that runs on, TCP and UDP count what came"""
        a, b = self.hosts
        ping = Ping(self.world, a.ns, b.ip4)
        self.addCleanup(ping.close)
        ping.wait_replies(3)
        b.ns.ip("link set eth0 down")
        self.assertFalse(can_ping(a.ns, b.ip4))
        b.ns.ip("link set eth0 up")
        ping.wait_replies(2)
        sent, received = ping.stop()
        self.assertGreater(sent, received)
        self.assertGreaterEqual(received, 5)
        self.assertTrue(tcp_transfer(a.ns, b.ns, b.ip4, 4)[0])
        self.assertEqual(udp_echo(a.ns, b.ns, b.ip4, b"x" * 5000), b"x" * 5000)

    def test_capture(self):
        """a capture holds what an injector sent in another's name"""
        a, b = self.hosts
        capture = Capture(self.world, b.ns, "eth0", "udp port 4000")
        self.addCleanup(capture.close)
        injector = Injector(a.ns)
        self.addCleanup(injector.close)
        injector.send("192.168.250.9", 4001, b.ip4, 4000, b"in the clear")
        wait_for("the packet", capture.udp, 5)
        self.assertEqual(capture.udp(b.ip4), [("192.168.250.9", 4001, b.ip4, 4000, b"in the clear")])
