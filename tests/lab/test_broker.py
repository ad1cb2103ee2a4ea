"""The Jabber server: which, found how, and what is said when it does not work."""

import socket

from lab.certs import Authority
from lab.chat import Chat
from lab.case import LabTest


class Servers(LabTest):
    def test_ejabberd(self):
        """two nodes meet through ejabberd"""
        self.connect(*self.two(account=self.world.ejabberd.account()), path="direct")

    def test_found_by_srv(self):
        """without xmpp_host the server is found by the SRV record of the domain"""
        node = self.node(self.site("home").host, "a", "172.31.0.1", xmpp_host=None).start()
        node.wait_connected()

    def test_ipv6(self):
        """a name with both address families works where IPv6 leads nowhere, and where there is only IPv6"""
        for kind in ("brokenv6", "v6only"):
            self.node(self.site(kind).host, kind, xmpp_host="xmpp.lab.test").start().wait_connected()

    def test_state(self):
        """local_state has the full JID; the resource is not the uid of another"""
        node = self.node(self.site("home").host, "a", "172.31.0.1").start()
        local = node.wait_connected()
        self.assertEqual(local["_jid"], f"{node.overlay['xmpp_username']}/ipop-{local['_uid'][:8]}")
        self.assertEqual(local["_name"], "a")
        self.assertEqual(local["_ip4"], "172.31.0.1")


class Trouble(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.host = cls.shared_site("home").host

    def refused(self, pattern, **keys):
        """The node says in get_state, in its log and in `ipop check` what matches pattern; and neither waits for ever."""
        node = self.node(self.host, "a", "172.31.0.1", **keys).start()

        local = node.wait_trouble(pattern)
        self.assertEqual(local["_jid"], "")
        node.wait_log(pattern)
        check = node.ipop("check", "-c", node.write_config(), timeout=12)
        self.assertEqual(check.returncode, 1, check)
        self.assertRegex(check.stdout + check.stderr, pattern)
        for secret in (node.overlay["xmpp_password"],):
            self.assertNotIn(secret, node.controller.output() + check.stdout + check.stderr)

    def test_good(self):
        """`ipop check` says good when all is well, and names STUN and TURN"""
        node = self.node(self.host, "a", "172.31.0.1")
        check = node.ipop("check", "-c", node.write_config(), timeout=40)
        self.assertEqual(check.returncode, 0, check)
        for word in ("jabber", "stun", "turn"):
            self.assertIn(word, check.stdout.lower())

    def test_check_disturbs_nobody(self):
        """`ipop check` logs in with a resource of its own and throws nobody out"""
        node = self.node(self.host, "a", "172.31.0.1")
        jid = f"{node.overlay['xmpp_username']}/ipop-check"
        chat = Chat(self.world, self.host.ns, jid, node.overlay["xmpp_password"], self.world.XMPP)
        self.addCleanup(chat.close)
        chat.wait_online()
        check = node.ipop("check", "-c", node.write_config(), timeout=12)
        self.assertEqual(check.returncode, 0, check)
        chat.send(jid, "still here")
        chat.wait_message("still here")

    def test_password(self):
        """wrong password"""
        self.refused(r"(?i)password", xmpp_password="not the password")

    def test_certificate(self):
        """certificate of an authority that is not trusted"""
        other = Authority(self.world.folder("other") + "/ca", "Another CA")
        self.refused(r"(?i)certificate", xmpp_cafile=other.cafile)

    def test_certificate_of_another(self):
        """certificate of another domain"""
        jid = self.account()[0].replace(self.world.DOMAIN, "elsewhere.test")
        self.refused(r"(?i)certificate|host.?unknown|does not (serve|know)", xmpp_username=jid)

    def test_unknown_name(self):
        """xmpp_host is a name that does not exist"""
        self.refused(r"no-such-host\.test", xmpp_host="no-such-host.test")

    def test_refused(self):
        """nobody listens there"""
        self.refused(r"(?i)refuse", xmpp_host="192.0.2.10", xmpp_port=5999)

    def test_silent_address(self):
        """nothing answers at that address"""
        self.refused(r"(?i)192\.0\.2\.99|time|answer", xmpp_host="192.0.2.99")

    def test_silent_server(self):
        """a server that accepts and says nothing"""
        with self.world.broker.ns.socket(kind=socket.SOCK_STREAM) as listener:
            listener.bind(("192.0.2.11", 5998))
            listener.listen(8)
            self.refused(r"(?i)time|answer|says nothing", xmpp_host="192.0.2.11", xmpp_port=5998)

    def test_cafile(self):
        """a CA file that can't be read ends the controller with its name"""
        node = self.node(self.host, "a", "172.31.0.1", xmpp_cafile="/no/such/ca.pem")
        node.start_controller()
        self.assertEqual(node.controller.wait(5), 1)
        self.assertIn("/no/such/ca.pem", node.controller.output())

    def test_recovers(self):
        """a server that comes later is found without help"""
        node = self.node(self.host, "a", "172.31.0.1")
        self.world.prosody.stop()
        try:
            node.start()
            node.wait_trouble(r"(?i)refuse")
        finally:
            self.world.prosody.start()
        node.wait_connected(60)
        self.assertFalse(node.local().get("_xmpp_error"))


class ChatClient(LabTest):
    def test_chat(self):
        """a chat client of the same account gets its messages, and is no peer"""
        jid, password = self.account()
        friend = self.world.prosody.account("friend")
        home = self.site("home").host
        phone = Chat(self.world, home.ns, f"{jid}/phone", password, self.world.XMPP)
        self.addCleanup(phone.close)
        other = Chat(self.world, home.ns, *friend, self.world.XMPP)
        self.addCleanup(other.close)
        phone.wait_online()
        other.wait_online()
        a, b = self.two()
        self.connect(a, b)
        for i in range(5):
            other.send(jid, f"message {i}")
        for i in range(5):
            phone.wait_message(f"message {i}")
        self.assertEqual(len(phone.events("message")), 5, "the nodes' signalling reached a person")
        for node in (a, b):
            self.assertEqual(len(node.peers()), 1, node.peers())
            self.assertNotIn("phone", str(node.peers()))
