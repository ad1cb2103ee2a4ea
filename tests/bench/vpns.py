"""What is compared. Each sets itself up on the two ends of a pair and returns what runs: a list of processes per end."""

import hashlib
import os
import shutil
import ssl

from lab.node import BUILD, CONTROLLER, TINCAN, Node, wait_pair
from lab.prosody import Prosody
from lab.shell import run
from lab.wait import wait_for
from worlds import Pair, Routers


def wait_device(process, end, device):
    """Until the process has made its device."""
    def made():
        assert process.running(), f"{process.name} ended:\n{process.output()}"
        return device in end.ns.link_names()
    wait_for(lambda: f"{process.name} makes {device}:\n{process.output()}", made)


class Vpn:
    name = ""
    remedy = ""  # for one who lacks it

    def world(self, cable):
        return Pair(cable)

    def programs(self):
        """Paths of what it takes; None where it is not there."""
        return []

    def version(self):
        paths = self.programs()
        said = run(paths[0], "--version", check=False).stdout.split("\n") if paths else [""]
        return said[0].strip()

    def start(self, pair):
        raise NotImplementedError


class Direct(Vpn):
    """The veth itself: no VPN, the most that the machine could do."""

    name = "direct"

    def start(self, pair):
        for end in pair.ends:
            end.ns.ip(f"addr add {end.overlay}/24 dev {pair.DEVICE}")
        return [], []


class Ipop(Vpn):
    """As a user starts it. The Jabber server at one end introduces the two, and then has nothing to do.

    without: a library that takes something away (without_*.c)."""

    remedy = "build it: tools/bench does"

    def __init__(self, name="ipop", without=None):
        self.name = name
        self._without = [f"{BUILD}/tests/bench/lib{without}.so"] if without else []

    def programs(self):
        return [path if os.access(path, os.R_OK) else None for path in (TINCAN, CONTROLLER, *self._without)]

    def start(self, pair):
        server = Prosody(pair.ends[0], f"{pair.tmp}/prosody", pair.DOMAIN, pair.authority)
        return self.start_nodes(pair, server.account(), stun=None, turn=None)

    def start_nodes(self, pair, account, **keys):
        under = [f"LD_PRELOAD={path}" for path in self._without]
        nodes = [Node(pair, end, end.name, account, end.overlay, under=["env", *under], **keys).start() for end in pair.ends]
        for view in wait_pair(*nodes):
            assert view["path"] == "direct", view
        return [[node.tincan, node.controller] for node in nodes]


class IpopRouters(Ipop):
    """With a router before each end, which does NAT or not; the lab's servers stand in the internet between."""

    def __init__(self, name, nat):
        super().__init__(name)
        self._nat = nat

    def world(self, cable):
        return Routers(self._nat)

    def start(self, pair):
        return self.start_nodes(pair, pair.prosody.account())


class WireguardGo(Vpn):
    name = "wireguard-go"
    remedy = "packages wireguard-go and wireguard-tools; WIREGUARD_GO names another binary"

    def programs(self):
        return [shutil.which(os.environ.get("WIREGUARD_GO", "wireguard-go")), shutil.which("wg")]

    def start(self, pair):
        program = self.programs()[0]
        secrets = [f"{pair.tmp}/wireguard-{end.name}" for end in pair.ends]
        publics = []
        for secret in secrets:
            key = run("wg", "genkey").stdout
            publics.append(run("wg", "pubkey", text_in=key).stdout.strip())
            with open(secret, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
                f.write(key)
        return [[self._start_end(program, pair, i, secrets[i], publics[1 - i])] for i in range(2)]

    def _start_end(self, program, pair, i, secret, other_public):
        end, other = pair.ends[i], pair.ends[1 - i]
        private_run = pair.folder(f"run-{end.name}")  # both programs meet in /run/wireguard
        mounts = (f"mount --bind {private_run} /run",)
        process = end.ns.start(self.name, [program, "-f", "wg0"], f"{private_run}/log", mounts=mounts)
        wait_device(process, end, "wg0")
        wait_for("wireguard-go's socket", lambda: os.path.exists(f"{private_run}/wireguard/wg0.sock"))
        end.ns.run("wg", "set", "wg0", "private-key", secret, "listen-port", 51820, "peer", other_public,
                   "allowed-ips", f"{other.overlay}/32", "endpoint", f"{other.ip4}:51820", mounts=mounts)
        end.ns.ip(f"addr add {end.overlay}/24 dev wg0", "link set wg0 mtu 1420 up")
        return process


class Tinc(Vpn):
    """Its defaults, but a TUN device: layer 3 as the others."""

    name = "tinc"
    remedy = "package tinc"

    def programs(self):
        return [shutil.which("tincd")]

    def start(self, pair):
        folders = [self._configure(pair, i) for i in range(2)]
        for i in range(2):
            name = pair.ends[i].name
            shutil.copy(f"{folders[i]}/hosts/{name}", f"{folders[1 - i]}/hosts/{name}")
        return [[self._start_end(end, folder)] for end, folder in zip(pair.ends, folders)]

    def _configure(self, pair, i):
        end, other = pair.ends[i], pair.ends[1 - i]
        folder = pair.folder(f"tinc-{end.name}")
        os.makedirs(f"{folder}/hosts")
        with open(f"{folder}/tinc.conf", "w", encoding="ascii") as f:
            f.write(f"Name = {end.name}\nDeviceType = tun\nInterface = tinc0\nMode = router\nAddressFamily = ipv4\n"
                    f"BindToAddress = {end.ip4}\nConnectTo = {other.name}\n")
        with open(f"{folder}/hosts/{end.name}", "w", encoding="ascii") as f:
            f.write(f"Address = {end.ip4}\nSubnet = {end.overlay}/32\n")
        run("tincd", "-c", folder, "-K2048")
        return folder

    def _start_end(self, end, folder):
        process = end.ns.start(self.name, ["tincd", "-c", folder, "-D", f"--pidfile={folder}/pid"], f"{folder}/log")
        wait_device(process, end, "tinc0")
        end.ns.ip(f"addr add {end.overlay}/24 dev tinc0", "link set tinc0 up")
        return process


class Openvpn(Vpn):
    """TLS between two, over UDP, AES-256-GCM; without the kernel module (DCO), which would not be user space."""

    name = "openvpn"
    remedy = "package openvpn"

    def programs(self):
        return [shutil.which("openvpn")]

    def start(self, pair):
        folders = [pair.folder(f"openvpn-{end.name}") for end in pair.ends]
        prints = [self._certificate(folder) for folder in folders]
        return [[self._start_end(pair, i, folders[i], prints[1 - i])] for i in range(2)]

    def _certificate(self, folder):
        """Makes one; its fingerprint, by which the other end knows it."""
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-subj", "/CN=bench", "-keyout", f"{folder}/key", "-out", f"{folder}/certificate")
        with open(f"{folder}/certificate", encoding="ascii") as f:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(f.read())).digest().hex(":")

    def _start_end(self, pair, i, folder, other_print):
        end, other = pair.ends[i], pair.ends[1 - i]
        role = ["--tls-client"] if i else ["--tls-server", "--dh", "none"]
        process = end.ns.start(self.name, [
            "openvpn", "--dev", "tun0", "--dev-type", "tun", "--proto", "udp", "--local", end.ip4, "--remote", other.ip4,
            "--ifconfig", end.overlay, other.overlay, *role, "--cert", f"{folder}/certificate", "--key", f"{folder}/key",
            "--peer-fingerprint", other_print, "--data-ciphers", "AES-256-GCM", "--disable-dco", "--fast-io",
            "--txqueuelen", 1000, "--keepalive", 10, 60, "--allow-compression", "no"], f"{folder}/log")
        wait_device(process, end, "tun0")
        return process


VPNS = {vpn.name: vpn for vpn in (Direct(), Ipop(), WireguardGo(), Tinc(), Openvpn(), Ipop("ipop-aes", "without_mb"),
                                  Ipop("ipop-chacha", "without_aes"), IpopRouters("ipop-routers", False),
                                  IpopRouters("ipop-nat", True))}
DEFAULT = ("direct", "ipop", "wireguard-go", "tinc", "openvpn")
