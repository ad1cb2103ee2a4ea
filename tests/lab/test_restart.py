"""Either program, or the Jabber server, goes and comes again while traffic runs."""

from lab.case import LabTest
from lab.node import wait_pair
from lab.wait import wait_for


class Restart(LabTest):
    def setUp(self):
        super().setUp()
        self.a, self.b = self.two()

    def connected_with_ping(self):
        self.connect(self.a, self.b)
        ping = self.ping(self.a, self.b.ip4)
        ping.wait_replies(3)
        return ping

    def test_controller_first(self):
        """the controller started before tincan: the same result"""
        self.a.start_controller()
        self.b.start_controller()
        self.a.wait_log(r"(?i)tincan")
        self.a.start_tincan()
        self.b.start_tincan()
        wait_pair(self.a, self.b)
        self.assert_ping(self.a, self.b.ip4)

    def test_tincan_first(self):
        """tincan started before the controller: it waits, unconfigured"""
        self.a.start_tincan()
        local = self.a.wait_ready()
        self.assertEqual((local["_ip4"], local["_jid"], local["_peers"]), ("", "", 0))
        self.assertEqual(local["_xmpp"], "disconnected")
        self.a.start_controller()
        self.b.start()
        wait_pair(self.a, self.b)
        self.assert_ping(self.a, self.b.ip4)

    def test_controller_killed(self):
        """the controller killed and started again: no ping lost"""
        ping = self.connected_with_ping()
        self.a.controller.kill()
        ping.wait_replies(10)
        self.assertEqual(self.a.peer(self.b)["status"], "online")
        self.a.start_controller()
        self.a.wait_connected()
        ping.wait_replies(15)
        sent, received = ping.stop()
        self.assertEqual(received, sent)
        self.assertEqual(self.a.peer(self.b)["status"], "online")
        self.assertEqual(self.b.peer(self.a)["status"], "online")

    def test_tincan_killed(self):
        """tincan killed and started again: the ping goes on"""
        ping = self.connected_with_ping()
        uid = self.a.uid
        self.a.tincan.kill()
        self.assertNotIn("ipop", self.a.ns.link_names())
        self.a.start_tincan()
        self.a.wait_online(self.b)
        ping.wait_replies(5, 30)
        self.assertEqual(self.a.uid, uid)
        sent, received = ping.stop()
        self.say(f"{sent - received} of {sent} pings (5 a second) lost")

    def test_both_killed(self):
        """both killed and started again: they meet anew"""
        ping = self.connected_with_ping()
        self.a.controller.kill()
        self.a.tincan.kill()
        self.a.start()
        self.a.wait_online(self.b, 40)
        ping.wait_replies(5, 30)

    def test_other_end_killed(self):
        """the other end's tincan killed for good: offline within 20 s, though Jabber still has it"""
        self.connected_with_ping()
        self.b.tincan.kill()
        self.a.wait_offline(self.b, 20)

    def test_server_stopped(self):
        """the Jabber server away for 20 s: no ping lost, both log in again, and the log has one line for each of that"""
        ping = self.connected_with_ping()
        self.world.prosody.stop()
        try:
            wait_for("not connected", lambda: self.a.local()["_xmpp"] != "connected", 10)
            ping.wait_replies(100)
            self.assertEqual(self.a.peer(self.b)["status"], "online")
        finally:
            self.world.prosody.start()
        self.a.wait_connected(60)
        self.b.wait_connected(60)
        ping.wait_replies(10)
        sent, received = ping.stop()
        self.assertEqual(received, sent)
        for node in (self.a, self.b):
            lines = [line for line in node.controller.output().splitlines() if " jabber: " in line and " offers " not in line]
            self.assertEqual(len(lines), 3 + ("refuses" in lines[2]), lines)  # logged in; lost, perhaps refused; logged in

    def test_login_while_linked(self):
        """a third node meets both after the Jabber server's return"""
        self.connect(self.a, self.b)
        self.world.prosody.stop()
        self.world.prosody.start()
        c = self.node(self.site("home").host, "carol", "172.31.0.3").start()
        wait_pair(self.a, c, 60)
        wait_pair(self.b, c, 60)
