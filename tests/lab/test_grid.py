"""What a node finds out about its own place in the network and its servers, and tells."""

import re

from lab.case import LabTest
from lab.coturn import Coturn
from lab.node import servers
from lab.wait import wait_for


def turn(world, **changes):
    return dict(servers(world, Place)["turn"][0], **changes)


class Place:
    """A host with IPv4, for servers()."""
    ip4 = "any"


class Servers(LabTest):
    def pair(self, kind, **keys):
        """A node at each of two places of that kind."""
        return (self.node(self.site(kind).host, "alice", "172.31.0.1", **keys),
                self.node(self.site(kind).host, "bob", "172.31.0.2", **keys))

    def test_names(self):
        """STUN and TURN servers given by name: the first attempt already has what they give"""
        a, b = self.pair("home", stun=["turn.lab.test", "stun.lab.test:3478"], turn=[turn(self.world, server="turn.lab.test")])
        self.connect(a, b, path="direct")
        for node, other in ((a, b), (b, a)):
            self.assertEqual(node.peer(other)["generation"], 1)
            self.assertRegex(node.ipop("why", other.name).stdout, "Own addresses: host .* srflx .* relay ")

    def test_bad_names(self):
        """a name that does not exist is told once, and keeps nobody from the other server"""
        a, b = self.pair("home", stun=["nosuch.lab.test", "stun.lab.test"], turn=[])
        self.connect(a, b, path="direct")
        a.wait_log(r"STUN server=nosuch.lab.test:3478 .* bad: its name can't be resolved", of="tincan")
        self.assertIn("nosuch.lab.test:3478 (udp): its name can't be resolved", a.ipop("status").stdout)

    def test_failover(self):
        """of several TURN servers the first may be dead, the second refuse the password: the third relays, the log names both"""
        bad = [turn(self.world, server="192.0.2.99:3478"), turn(self.world, **{"pass": "wrong"})]
        a, b = self.pair("symmetric", stun=servers(self.world, Place)["stun"],
                         turn=[*bad, turn(self.world, server="192.0.2.11:3478")])
        self.connect(a, b, path="relayed")
        self.assertEqual(a.peer(b)["generation"], 1)
        for words in (r"TURN server=192.0.2.99:3478 transport=udp bad: does not answer over UDP",
                      r"TURN server=192.0.2.10:3478 transport=udp bad: refuses these credentials"):
            a.wait_log(words, of="tincan")
            self.assertEqual(len(re.findall(words, a.tincan.output())), 1)

    def test_refused(self):
        """when no TURN server does its work the reason names one"""
        a, b = self.pair("symmetric", stun=servers(self.world, Place)["stun"], turn=[turn(self.world, **{"pass": "wrong"})])
        a.start()
        b.start()
        a.wait_peer(b, lambda p: "TURN server 192.0.2.10:3478 (UDP) refuses these credentials" in p["reason"],
                    "with the reason", 40)
        self.assertEqual(a.peer(b)["status"], "offline")
        status = a.ipop("status")
        self.assertIn("192.0.2.10:3478 (udp): refuses these credentials", status.stdout)
        self.assertEqual(status.returncode, 1)

    def test_ejabberd(self):
        """ejabberd tells of its own STUN and TURN (XEP-0215, mod_stun_disco): symmetric NATs meet by it"""
        keys = dict(account=self.world.ejabberd.account(), stun=None, turn=None)
        self.connect(*self.pair("symmetric", **keys), path="relayed")

    def test_account_tcp(self):
        """where UDP is blocked, with no line of configuration: the account's server tells of TURN over TCP"""
        keys = dict(stun=None, turn=None)
        a = self.node(self.site("udpblocked").host, "alice", "172.31.0.1", **keys)
        b = self.node(self.site("home").host, "bob", "172.31.0.2", **keys)
        self.connect(a, b, path="relayed")
        a.wait_peer(b, lambda p: "UDP seems to be blocked in this node's network" in p["reason"], "with the reason")
        check = a.ipop("check", "-c", a.write_config(), timeout=20)
        self.assertRegex(check.stdout, r"TURN +good +192.0.2.10:3478 \(TCP\): relays at")

    def test_refresh(self):
        """credentials that end are renewed at half their life, and the relayed link with them, without losing a packet"""
        coturn = Coturn(self.world.broker, self.world.folder("coturn") + "/rest", self.world.DOMAIN, Coturn.SECRET)
        self.addCleanup(coturn.stop)
        keys = dict(account=self.world.prosody.account(domain=self.world.prosody.brief_domain), stun=None, turn=None)
        a, b = self.pair("symmetric", **keys)
        self.connect(a, b, path="relayed")
        ping = self.ping(a, b.ip4, interval=0.05)
        ping.wait_replies(3)
        first = a.peer(b, stats=True)["stats"][0]

        def renewed():
            best = a.peer(b, stats=True)["stats"][0]
            return (best["local_addr"], best["rem_addr"]) != (first["local_addr"], first["rem_addr"])

        wait_for(lambda: f"another relay: {a.peer(b, stats=True)}", renewed, self.world.prosody.LIFETIME)
        self.assertEqual(a.peer(b)["path"], "relayed")
        ping.wait_replies(120)  # beyond the end of the old generation
        sent, received = ping.stop()
        self.assertEqual(sent, received, "packets were lost when the credentials were renewed")

    def test_check_blocked(self):
        """`ipop check` where UDP is blocked says so, and what still works"""
        keys = dict(stun=servers(self.world, Place)["stun"], turn=[turn(self.world, transport=t) for t in ("udp", "tcp")])
        node = self.node(self.site("udpblocked").host, "alice", **keys)
        check = node.ipop("check", "-c", node.write_config(), timeout=20)
        self.assertEqual(check.returncode, 1)
        for words in (r"STUN +bad +192.0.2.10:3478: does not answer", r"TURN +bad +192.0.2.10:3478 \(UDP\): does not answer",
                      r"TURN +good +192.0.2.10:3478 \(TCP\): relays at", r"NAT +note .*links go by the TURN server .* over TCP"):
            self.assertRegex(check.stdout, words)

    def test_check_symmetric(self):
        """`ipop check` behind a symmetric NAT says what that means"""
        node = self.node(self.site("symmetric").host, "alice")
        check = node.ipop("check", "-c", node.write_config(), timeout=20)
        self.assertEqual(check.returncode, 0, check)
        self.assertRegex(check.stdout, r"NAT +note +\S+: a symmetric NAT: .*go by a TURN server")
