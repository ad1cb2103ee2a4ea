"""Starting and ending: one line and status 1 when it can't be, nothing left behind when it ends."""

import itertools
import json
import os
import shutil
import signal
import socket
import time

from lab.case import LabTest
from lab.node import CONTROLLER, IPOP, TINCAN, TOP

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all")

TURN = dict(server="192.0.2.10:3478", user="u", **{"pass": "p"})
WRONG = {
    "xmpp_username": [5, "", "nobody", "@lab.test", "a@", "a b@lab.test"],
    "xmpp_password": [5, []],
    "xmpp_password_file": [5],
    "xmpp_host": [5, ""],
    "xmpp_port": ["5222", 0, -1, 65536, 1.5],
    "xmpp_cafile": [5],
    "ip4": [5, "", "300.1.1.1", "172.31.0", "fd50::1", "172.31.0.1/24"],
    "ip4_mask": ["24", -1, 33, 2.5],
    "ip4_network": [5, "172.31.0.0", "172.31.0.0/33", "fd50::/64"],
    "ip6_prefix": [5, "prefix", "172.31.0.0"],
    "ip6_mask": ["64", -1, 129],
    "stun": ["192.0.2.10:3478", [5], ["192.0.2.10:99999"], [""], {}],
    "turn": [TURN, [5], [{"server": "192.0.2.10:3478"}], [dict(TURN, user=5)], [dict(TURN, transport="pigeon")]],
    "name": [5, ""],
    "peers": [{}, [5], [{"name": "x"}], [{"name": "x", "uid": "zz", "ip4": "172.31.0.9"}]],
    "trust": [5, "never"],
    "psk": [5, []],
    "tincan_logging": ["1", -1, 4],
    "controller_logging": [5, "LOUD"],
    "on-demand_connection": ["yes"],
    "on-demand_inactive_timeout": ["600", -1],
    "network_ignore_list": ["eth0", [5]],
    "switchmode": ["0", -1, 2],
    "svpn_port": ["5800", 0, 65536],
    "contr_port": ["5801", 0, 65536],
    "wait_time": ["15", 0, -1],
    "mtu": ["1280", 100, 70000],
}


class Starts(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.ns = cls.shared_site("home").host.ns

    def setUp(self):
        super().setUp()
        self.folder = self.world.folder("start")
        self.folders = ("--state-dir", f"{self.folder}/state", "--runtime-dir", f"{self.folder}/run")
        self.good = dict(xmpp_username="a@lab.test", xmpp_password="p", ip4="172.31.0.1")

    def fails(self, argv, pattern, prefix=(), mounts=()):
        """Status 1 within 2 s, and exactly one line, which matches."""
        begin = time.monotonic()
        done = self.ns.run(*prefix, *argv, check=False, timeout=10, mounts=mounts)
        took = time.monotonic() - begin
        self.assertEqual(done.returncode, 1, f"{argv[1:]}: {done}")
        self.assertEqual(len(done.stderr.splitlines()), 1, f"{argv[1:]}: {done.stderr}")
        self.assertRegex(done.stderr, pattern, argv[1:])
        self.assertLess(took, 2, argv)
        self.assertEqual(self.ns.link_names(), ["eth0"])

    def controller_fails(self, pattern, *arguments, **options):
        self.fails([CONTROLLER, *arguments, *self.folders], pattern, **options)

    def tincan_fails(self, pattern, *arguments, **options):
        self.fails([TINCAN, *self.folders, *arguments], pattern, **options)

    def file(self, content, name="config.json"):
        path = f"{self.folder}/{name}"
        with open(path, "wb") as f:
            f.write(content)
        return path

    def test_config_files(self):
        """files that are no configuration: missing, empty, huge, unreadable, not JSON"""
        self.controller_fails(r"/no/such/file\.json", "-c", "/no/such/file.json")
        self.controller_fails(self.folder, "-c", self.folder)
        self.controller_fails(r"config\.json", "-c", self.file(b""))
        self.controller_fails(r"config\.json", "-c", self.file(b"{" + b" " * (2 << 20) + b"}"))
        self.controller_fails(r"config\.json", "-c", self.file(os.urandom(5000)))
        self.controller_fails(r"config\.json", "-c", self.file(b"[1, 2]"))
        self.controller_fails(r"config\.json", "-c", self.file(b"[" * 100000))
        self.controller_fails(r"config\.json.*\b3\b.*\b\d+", "-c", self.file(b'{\n "name": "a",\n "ip4" "x"\n}'))
        good = self.file(json.dumps(self.good).encode())
        os.chmod(good, 0o600)
        self.controller_fails(r"config\.json.*[Pp]ermission", "-c", good, prefix=NOBODY)

    def test_overlays(self):
        """-s that is no object, neither -c nor -s, unknown options"""
        for overlay in ("", "{", "[]", "5", '{"a":}'):
            self.controller_fails(r"-s", "-s", overlay)
        self.controller_fails(r"-c")
        self.controller_fails(r"no-such-option", "--no-such-option")
        self.controller_fails(r"xmpp_username", "-s", "{}")
        self.controller_fails(r"xmpp_password", "-s", '{"xmpp_username":"a@lab.test"}')
        self.controller_fails(r"no/such/password", "-s", json.dumps(dict(xmpp_username="a@lab.test",
                                                                         xmpp_password_file="/no/such/password")))

    def test_keys(self):
        """every key of a wrong type or out of range is named"""
        for key, values in WRONG.items():
            for value in values:
                with self.subTest(key=key, value=value):
                    self.controller_fails(rf"\b{key}\b", "-s", json.dumps({**self.good, key: value}))

    def test_unknown_key(self):
        """an unknown key is a warning with the nearest known one, and not fatal"""
        node = self.node(self.site("home").host, "alice", "172.31.0.1", xmpp_pasword="x").start()
        node.wait_connected()
        self.assertRegex(node.controller.output(), r"xmpp_pasword.*xmpp_password")

    def test_tincan_arguments(self):
        """tincan: names and ports that are none"""
        for name in ("a-name-that-is-too-long", "a/b", "a b", ""):
            self.tincan_fails(r"(?i)name|a-name|a/b|a b", name, "5800")
        for port in ("0", "65536", "x", "5800x", "99999999999999999999", ""):
            self.tincan_fails(r"(?i)port", "ipop", port)
        self.tincan_fails(r"no-such-option", "--no-such-option")
        self.tincan_fails(r"argument|extra", "ipop", "5800", "extra")

    def test_port_taken(self):
        """the control port is taken: tincan's and the controller's"""
        with self.ns.socket() as s:
            s.bind(("127.0.0.1", 5800))
            self.tincan_fails(r"5800", "ipop", "5800")
        with self.ns.socket() as s:
            s.bind(("127.0.0.1", 5801))
            self.controller_fails(r"5801", "-s", json.dumps(self.good))

    def test_no_device(self):
        """no /dev/net/tun, no right to use it, a name that is in use"""
        self.tincan_fails(r"/dev/net/tun", mounts=("mount -t tmpfs tmpfs /dev/net",))
        os.makedirs(f"{self.folder}/state", exist_ok=True)
        os.makedirs(f"{self.folder}/run", exist_ok=True)
        for path in (self.folder, f"{self.folder}/state", f"{self.folder}/run"):
            os.chown(path, 65534, 65534)
        self.tincan_fails(r"(?i)root|privilege|CAP_NET_ADMIN|permi", prefix=NOBODY)

    def test_name_in_use(self):
        """the device's name is another's"""
        self.ns.ip("link add taken type bridge")
        try:
            done = self.ns.run(TINCAN, *self.folders, "taken", "5800", check=False, timeout=10)
        finally:
            self.ns.ip("link del taken")
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("taken", done.stderr)

    def test_folders(self):
        """folders that can't be made, files in them that are damaged"""
        self.fails([TINCAN, "--state-dir", "/proc/nowhere", "--runtime-dir", f"{self.folder}/run"], r"/proc/nowhere")
        self.fails([TINCAN, "--state-dir", f"{self.folder}/state", "--runtime-dir", "/proc/nowhere"], r"/proc/nowhere")
        os.makedirs(f"{self.folder}/state", exist_ok=True)
        for content in (b"", b"short", os.urandom(5000)):
            self.file(content, "state/identity.key")
            os.chmod(f"{self.folder}/state/identity.key", 0o600)
            self.tincan_fails(r"identity\.key")
        for content in (b"", b"{", b"[]", os.urandom(5000)):
            self.file(content, "state/known_peers")
            self.controller_fails(r"known_peers", "-s", json.dumps(self.good))
            with open(f"{self.folder}/state/known_peers", "rb") as f:
                self.assertEqual(f.read(), content, "a damaged file was overwritten")

    def test_help(self):
        """-h explains, and a tool without a tincan says so"""
        for program in (TINCAN, CONTROLLER, IPOP):
            done = self.ns.run(program, "-h", check=False)
            self.assertEqual(done.returncode, 0, done)
            self.assertIn("sage", done.stdout)
        done = self.ns.run(IPOP, "status", check=False)
        self.assertEqual(done.returncode, 2, done)
        self.assertEqual(len(done.stderr.splitlines()), 1, done)
        self.assertIn("5800", done.stderr)

    def test_example_configs(self):
        """the example configurations load: what is missing is only a server"""
        for name in ("config.json", "config-stun-turn.json"):
            with open(f"{TOP}/config/{name}", encoding="utf-8") as f:
                self.assertIn("xmpp_username", json.load(f))


class Ends(LabTest):
    def ends(self, number, server=None):
        node = self.node(self.site("home").host, "alice", "172.31.0.1", **({"xmpp_host": server} if server else {}))
        node.start()
        node.wait_ready()
        if not server:
            node.wait_connected()
            self.assertEqual(node.ns.link_names(), ["eth0", "ipop"])
        for process in (node.controller, node.tincan):
            process.send(number)
            self.assertEqual(process.wait(2), 0, process.output())
        self.assertEqual(node.ns.link_names(), ["eth0"])

    def test_sigterm(self):
        """SIGTERM: status 0 within 2 s, no device left"""
        self.ends(signal.SIGTERM)

    def test_sigint(self):
        """SIGINT: the same"""
        self.ends(signal.SIGINT)

    def test_while_logging_in(self):
        """SIGTERM while the server is silent: the same"""
        with self.world.broker.ns.socket(kind=socket.SOCK_STREAM) as listener:
            listener.bind(("192.0.2.11", 5222 + 10))
            listener.listen(4)
            self.ends(signal.SIGTERM, "192.0.2.99")

    def test_while_linked(self):
        """SIGTERM with a link up: the same, and the peer knows at once"""
        a, b = self.two()
        self.connect(a, b)
        begin = time.monotonic()
        self.assertEqual(a.stop(), [0, 0])
        self.assertLess(time.monotonic() - begin, 4)
        b.wait_offline(a, 5)

    def test_impatient(self):
        """SIGTERM and SIGINT again and again until it has ended: status 0 all the same, and no device left"""
        a, b = self.two()
        self.connect(a, b)
        for process in (a.controller, a.tincan):
            signals = itertools.cycle((signal.SIGTERM, signal.SIGINT))
            end = time.monotonic() + 2
            while process.running() and time.monotonic() < end:
                process.send(next(signals))
            self.assertEqual(process.wait(0), 0, process.output())
        self.assertEqual(a.ns.link_names(), ["eth0"])
        b.wait_offline(a, 5)

    def test_unprivileged_controller(self):
        """the controller runs as nobody in group ipop"""
        folder = self.world.folder("group")
        group = f"{folder}/group"
        with open("/etc/group", encoding="utf-8") as f, open(group, "w", encoding="utf-8") as out:
            out.write("".join(line for line in f if not line.startswith("ipop:")) + "ipop:x:4242:\n")
        node = self.node(self.site("home").host, "alice", "172.31.0.1")
        other = self.node(self.site("home").host, "bob", "172.31.0.2").start()
        mounts = (f"mount --bind {group} /etc/group",)
        node.tincan = node.ns.start("tincan", node.tincan_command(), f"{folder}/tincan.log", mounts=mounts)
        node.wait_ready()
        self.assertEqual(os.stat(f"{node.runtime_dir}/control.key").st_gid, 4242)
        command = node.controller_command()
        # The checkout may be in a folder that is root's alone.
        for i in (0, command.index("-c") + 1):
            command[i] = shutil.copy(command[i], folder)
        own_state = f"{folder}/state"
        os.makedirs(own_state)
        os.chown(own_state, 65534, 4242)
        command[command.index("--state-dir") + 1] = own_state
        node.controller = node.ns.start("controller", ["setpriv", "--reuid", "65534", "--regid", "4242", "--clear-groups",
                                                       *command], f"{folder}/controller.log", mounts=mounts)
        node.wait_online(other)
        self.assert_ping(node, other.ip4)
