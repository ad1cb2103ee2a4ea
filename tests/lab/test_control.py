"""The control port: what anyone on the machine may ask, and what only those with the secret may change."""

import json
import os

from lab.capture import Capture
from lab.case import LabTest
from lab.control import HEADER, Control
from lab.wait import wait_for

# The line as printed in 2014. Debian 12's other netcat, the OpenBSD one, shuts the socket in both directions when -q is given
# and its input ends, and then shows no answer to anything sent by UDP; it needs -w 1 in place of -q 1.
ARTICLE = r"""echo -e '\x02\x01{"m":"get_state"}' | %s -u 127.0.0.1 5800"""
NETCATS = ("nc.traditional -q 1", "nc.openbsd -w 1")

CHANGING = {
    "set_cb_endpoint": {},
    "set_local": dict(name="mallory", jid="m@m/m", ip4="10.9.9.9", ip4_mask=24, ip6="", ip6_mask=64, mtu=0, ignore=[]),
    "set_servers": dict(stun=[], turn=[]),
    "set_logging": dict(logging=0),
    "set_xmpp": dict(state="disconnected", jid="", error="mallory was here"),
    "set_remote_ip": dict(uid="ab" * 20, key="A" * 43 + "=", name="mallory", jid="m@m/m", ip4="10.9.9.8", ip6="", suites=[],
                          presence="available", heard=True),
    "forget_peer": {},
    "create_link": dict(generation=1000, controlling=True),
    "set_remote": dict(generation=1000, ufrag="abcd", pwd="x" * 22, candidates=[], end=True),
    "trim_link": {},
}


class ControlPort(LabTest):
    @classmethod
    def setUpClass(cls):
        hosts = cls.shared_site("home", hosts=2).hosts
        cls.a = cls.shared_node(hosts[0], "alice", "172.31.0.1").start()
        cls.b = cls.shared_node(hosts[1], "bob", "172.31.0.2").start()
        cls.a.wait_online(cls.b)
        cls.b.wait_online(cls.a)

    def setUp(self):
        super().setUp()
        self.control = Control(self.a.ns)
        self.addCleanup(self.control.close)

    def answers(self, datagram, timeout=0.4):
        return list(self.control.exchange(datagram, timeout))

    def objects(self, **request):
        return [json.loads(answer[2:]) for answer in self.answers(HEADER + json.dumps(request).encode())]

    def one(self, datagram):
        """The one answer's object."""
        answers = self.answers(datagram)
        self.assertEqual(len(answers), 1, answers)
        self.assertEqual(answers[0][:2], HEADER)
        return json.loads(answers[0][2:])

    def facts(self):
        """What must not change by what strangers send."""
        local = self.a.local()
        peers = [{k: p[k] for k in ("uid", "name", "ip4", "status", "path", "presence")} for p in self.a.peers()]
        return {k: local[k] for k in ("_uid", "_ip4", "_ip6", "_name", "_jid", "_xmpp")}, peers

    def test_article(self):
        """the article's netcat line is answered as the article says"""
        for netcat in NETCATS:
            said = self.a.ns.run("bash", "-c", ARTICLE % netcat).stdout
            parts = said.split("\x02\x01")[1:]
            self.assertEqual(len(parts), 2, f"{netcat}: {said}")
            self.assertTrue(all(part.endswith("\n") for part in parts))
        local, peer = map(json.loads, parts)
        self.assertEqual((local["type"], peer["type"]), ("local_state", "peer_state"))
        for key in ("_uid", "_fpr", "_ip4", "_ip6", "_mac", "_name", "_jid", "_xmpp", "_version"):
            self.assertIn(key, local)
        for key in ("uid", "fpr", "ip4", "ip6", "name", "jid", "status", "state", "reason", "path", "presence", "security",
                    "xmpp_time", "last_time"):
            self.assertIn(key, peer)
        self.assertRegex(local["_uid"], r"^[0-9a-f]{40}$")
        self.assertEqual((peer["uid"], peer["status"], peer["state"], peer["security"]),
                         (self.b.uid, "online", "online", "noise"))

    def test_ipv6_loopback(self):
        """[::1] answers too"""
        control = Control(self.a.ns, address="::1")
        self.addCleanup(control.close)
        self.assertEqual(len(control.ask({"m": "get_state"})), 2)

    def test_not_from_outside(self):
        """the port is closed to the network"""
        with self.b.ns.socket() as s:
            s.settimeout(0.3)
            for address in (self.a.host.ip4, self.a.ip4):
                s.sendto(HEADER + b'{"m":"get_state"}', (address, 5800))
                with self.assertRaises(OSError):
                    s.recv(100)

    def test_members(self):
        """uid asks for one peer, stats for figures; white space may follow"""
        self.assertEqual(len(self.answers(HEADER + b'{"m":"get_state"}\r\n \n')), 2)
        uid = self.b.uid
        only = self.objects(m="get_state", uid=uid, stats=True)
        self.assertEqual([o.get("uid") for o in only if o["type"] == "peer_state"], [uid])
        self.assertIn("stats", only[-1])
        none = self.objects(m="get_state", uid="0" * 40)
        self.assertFalse([o for o in none if o.get("type") == "peer_state"], none)

    def test_echo(self):
        """echo_request comes back as echo_reply"""
        reply = self.one(HEADER + b'{"m":"echo_request","text":"hello","id":7}')
        self.assertEqual((reply["type"], reply["text"], reply["id"]), ("echo_reply", "hello", 7))

    def test_errors(self):
        """bad JSON and unknown methods get an error that says so"""
        for bad in (b"{", b"nonsense", b'{"m":', b"\xff\xfe\x00", b"{} {}", b"[" * 65000, b'{"m":"get_state"}garbage'):
            self.assertEqual(self.one(HEADER + bad).get("error"), "json parsing failed", bad[:20])
        self.assertIn("no_such_method", self.one(HEADER + b'{"m":"no_such_method"}')["error"])
        for wrong in (b"[]", b"5", b"{}", b'{"m":5}', b'{"m":null}', b'{"m":"get_state","uid":5}',
                      b'{"m":"get_state","uid":"zz"}', b'{"m":"get_state","stats":"maybe"}'):
            self.assertIn("error", self.one(HEADER + wrong), wrong)

    def test_not_ours(self):
        """empty, short, or of another version or type: no answer, no harm"""
        for datagram in (b"", b"\x02", b"\x02\x01", b"\x01\x01{}", b"\x03\x01{}", b"\x02\x03{}", b"\x02\x00{}", bytes(1000)):
            self.assertEqual(self.answers(datagram, 0.1), [], datagram[:4])
        self.assertEqual(len(self.a.ask("get_state")), 2)

    def test_changing(self):
        """methods that change something are refused without the secret, and do nothing"""
        before = self.facts()
        for method, members in CHANGING.items():
            request = {"m": method, "uid": self.b.uid, **members}
            self.assertEqual(self.one(HEADER + json.dumps(request).encode())["error"], f"not authenticated: {method}")
        self.assertEqual(self.facts(), before)
        self.assert_ping(self.a, self.b.ip4)

    def test_forged_seal(self):
        """sealed datagrams that are made up, cut, changed or sent again do nothing"""
        capture = Capture(self.world, self.a.ns, "lo", "udp dst port 5800")
        self.addCleanup(capture.close)
        self.a.controller.stop()
        self.a.start_controller()

        def enough():
            packets = [p[4] for p in capture.udp() if p[4][:2] == b"\x02\x02"]
            return packets if len(packets) > 3 else None
        sealed = wait_for("sealed datagrams of the controller", enough)
        self.a.wait_connected()
        self.a.wait_online(self.b)
        for packet in sealed:
            self.assertNotIn(b'"m"', packet)
        before = self.facts()
        made_up = [b"\x02\x02" + os.urandom(n) for n in (0, 1, 23, 24, 40, 200, 60000)]
        cut = [sealed[-1][:n] for n in range(3, len(sealed[-1]), 7)]
        changed = [sealed[-1][:30] + bytes([sealed[-1][30] ^ 1]) + sealed[-1][31:]]
        for packet in made_up + cut + changed + sealed:
            for answer in self.answers(packet, 0.02):
                self.assertRegex(answer, rb"not authenticated|stale")
        self.assertEqual(self.facts(), before)
        self.assert_ping(self.a, self.b.ip4)

    def test_secret_stays(self):
        """the secret is in no datagram of the control port"""
        with open(f"{self.a.runtime_dir}/control.key", "rb") as f:
            secret = f.read()
        capture = Capture(self.world, self.a.ns, "lo", "udp")
        self.addCleanup(capture.close)
        self.a.controller.stop()
        self.a.start_controller()
        wait_for("some traffic", lambda: len(capture.packets()) > 20)
        frames = b"".join(capture.packets())
        for shape in (secret, secret.hex().encode()):
            self.assertNotIn(shape, frames)

    def test_many(self):
        """a thousand requests at once hurt nobody"""
        with self.a.ns.socket() as s:
            for _ in range(1000):
                s.sendto(HEADER + b'{"m":"get_state","stats":true}', ("127.0.0.1", 5800))
        self.a.wait_ready()
        self.assert_ping(self.a, self.b.ip4)


class Port(LabTest):
    def test_taken_first(self):
        """who takes the port before tincan learns nothing from the controller"""
        node = self.node(self.site("home").host, "alice", "172.31.0.1")
        node.start_tincan()
        node.wait_ready()
        node.tincan.kill()  # its secret stays in the runtime directory
        with node.ns.socket() as thief:
            thief.bind(("127.0.0.1", 5800))
            thief.settimeout(10)
            node.start_controller()
            forged = dict(type="hello", epoch="0" * 32, time=1, mac="0" * 64)
            for _ in range(5):
                data, sender = thief.recvfrom(65536)
                self.assertEqual(data[:2], HEADER, "something sealed for a thief")
                request = json.loads(data[2:])
                self.assertIn(request["m"], ("hello", "get_state"), data)
                self.assertNotIn("jid", str(request))
                thief.sendto(HEADER + json.dumps({**forged, "id": request.get("id")}).encode(), sender)
