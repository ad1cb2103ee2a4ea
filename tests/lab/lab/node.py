"""One node of ipop: ipop-tincan and ipop-controller in a host's namespace, started as a user starts them."""

import json
import os
import re
import signal

from .control import Control
from .wait import NotYet, wait_for

TOP = os.path.abspath(f"{os.path.dirname(__file__)}/../../..")
BUILD = os.environ.get("IPOP_BUILD", f"{TOP}/build")
TINCAN = f"{BUILD}/tincan/ipop-tincan"
CONTROLLER = f"{BUILD}/controller/ipop-controller"
IPOP = f"{BUILD}/tools/ipop"

CONNECT = 20  # seconds within which a link must be there; far more than it takes


def overlay(world, host, account, name, ip4=None, **keys):
    """What a lab's node lays over the configuration file. None: the key shall be absent."""
    jid, password = account
    ejabberd = jid.endswith("@" + world.EJABBERD_DOMAIN)
    server = world.EJABBERD if ejabberd else world.XMPP if host.ip4 else world.XMPP6
    result = dict(xmpp_username=jid, xmpp_password=password, xmpp_host=server, xmpp_cafile=world.authority.cafile, name=name,
                  ip4=ip4)
    return {**result, **keys}


def servers(world, host, turn=("udp",)):
    """Configuration of the lab's STUN servers, and its TURN server by these transports."""
    addresses = world.STUN if host.ip4 else ["[" + world.XMPP6 + "]"]
    credentials = dict(user=world.coturn.USER, **{"pass": world.coturn.PASSWORD})
    return dict(stun=[f"{a}:3478" for a in addresses],
                turn=[dict(server=f"{addresses[0]}:3478", transport=t, **credentials) for t in turn])


class Node:
    """config: a file below config/, used as it stands. keys: laid over it; by default the lab's STUN and TURN servers are
    among them; None takes the file's own away. tap, port, contr_port: for several nodes on one host. under: the command that
    ipop-tincan is started by. clock: the Clock that both programs see."""

    def __init__(self, world, host, name, account, ip4=None, config="config.json", tap="ipop", port=5800, contr_port=5801,
                 under=(), clock=None, **keys):
        if not os.access(TINCAN, os.X_OK) or not os.access(CONTROLLER, os.X_OK):
            raise AssertionError(f"{BUILD} has no programs; build them: meson setup build && ninja -C build")
        self.world, self.host, self.ns, self.name, self.ip4 = world, host, host.ns, name, ip4
        self.folder = world.folder(name)
        self.state_dir, self.runtime_dir = f"{self.folder}/state", f"{self.folder}/run"
        self.tap, self.port, self._under, self._clock = tap, port, under, clock
        self.config = f"{TOP}/config/{config}"
        if config == "config.json" and not {"stun", "turn"} & keys.keys():
            keys = {**servers(world, host), **keys}
        if (port, contr_port) != (5800, 5801):
            keys.update(svpn_port=port, contr_port=contr_port)
        wanted = overlay(world, host, account, name, ip4, **keys)
        self.overlay = {key: value for key, value in wanted.items() if value is not None}
        self._without(wanted.keys() - self.overlay.keys())
        self.tincan = self.controller = None
        self._control = Control(self.ns, port)
        world.nodes.append(self)

    def _without(self, keys):
        """Uses a copy of the configuration file where these are not."""
        with open(self.config, encoding="utf-8") as f:
            content = json.load(f)
        if keys & content.keys():
            self.config = f"{self.folder}/config.json"
            with open(self.config, "w", encoding="utf-8") as f:
                json.dump({key: value for key, value in content.items() if key not in keys}, f)

    # --- the two programs

    def tincan_command(self):
        return [*self._under, TINCAN, "--state-dir", self.state_dir, "--runtime-dir", self.runtime_dir, self.tap, self.port]

    def controller_command(self):
        return [CONTROLLER, "-c", self.config, "-s", json.dumps(self.overlay), "--state-dir", self.state_dir,
                "--runtime-dir", self.runtime_dir]

    def _start(self, program, command):
        command, mounts = (self._clock.wrap(command), self._clock.MOUNTS) if self._clock else (command, ())
        return self.ns.start(f"{self.name}'s {program}", command, f"{self.folder}/{program}.log", mounts)

    def start_tincan(self):
        self.tincan = self._start("tincan", self.tincan_command())

    def start_controller(self):
        self.controller = self._start("controller", self.controller_command())

    def start(self):
        self.start_tincan()
        self.start_controller()
        return self

    def stop(self):
        """Both, asked politely; their exit statuses."""
        running = [p for p in (self.controller, self.tincan) if p and p.running()]
        for process in running:
            process.send(signal.SIGTERM)
        return [process.stop(0) for process in running]  # 0: asked once is enough

    def close(self):
        self.stop()
        self._control.close()
        if self in self.world.nodes:
            self.world.nodes.remove(self)

    def ipop(self, *arguments, **options):
        """Runs the command for people; the finished process, whatever its status."""
        return self.ns.run(IPOP, "--port", self.port, "--state-dir", self.state_dir, "--runtime-dir", self.runtime_dir,
                           *arguments, check=False, **options)

    def write_config(self, **keys):
        """Writes file and overlay as one file, for `ipop check -c`; returns its path."""
        with open(self.config, encoding="utf-8") as f:
            merged = {**json.load(f), **self.overlay, **keys}
        path = f"{self.folder}/check.json"
        with open(path, "w", encoding="utf-8") as f:
            json.dump(merged, f)
        return path

    # --- what it says of itself

    def ask(self, method, **members):
        return self._control.ask({"m": method, **members})

    def local(self):
        """The local_state; None while nobody answers."""
        answers = self.ask("get_state")
        return answers and answers[0]

    def peers(self, stats=False):
        """All peer_states; [] while nobody answers."""
        answers = self.ask("get_state", stats=True) if stats else self.ask("get_state")
        return answers[1:] if answers else []

    def peer(self, who, stats=False):
        """The peer_state of a Node, or of whatever has this name, address or uid; None when it is not known."""
        keys = {who.name} if isinstance(who, Node) else {who}
        return next((p for p in self.peers(stats) if keys & {p.get("name"), p.get("ip4"), p.get("uid")}), None)

    @property
    def uid(self):
        return self.local()["_uid"]

    # --- waiting

    def wait_ready(self, timeout=CONNECT):
        """tincan answers."""
        return wait_for(f"{self.name} answers get_state", self.local, timeout)

    def wait_connected(self, timeout=CONNECT):
        """Logged in to the Jabber server."""
        def connected():
            local = self.local()
            return local if local and local["_xmpp"] == "connected" else None
        return wait_for(lambda: f"{self.name} logged in: {self.local()}", connected, timeout)

    def wait_trouble(self, pattern, timeout=CONNECT):
        """Not logged in, for a reason that matches the regular expression; the local_state."""
        def trouble():
            local = self.local()
            found = local and local["_xmpp"] != "connected" and re.search(pattern, local.get("_xmpp_error", ""))
            return local if found else None
        return wait_for(lambda: f"{self.name} says /{pattern}/: {self.local()}", trouble, timeout)

    def wait_peer(self, who, condition, what, timeout=CONNECT):
        """The peer_state of who once condition(peer_state) holds."""
        def holds():
            peer = self.peer(who)
            return peer if peer and condition(peer) else None
        name = who.name if isinstance(who, Node) else who
        return wait_for(lambda: f"{self.name} sees {name} {what}: {self.peer(who)}", holds, timeout)

    def wait_online(self, who, timeout=CONNECT):
        return self.wait_peer(who, lambda p: p["status"] == "online", "online", timeout)

    def wait_offline(self, who, timeout=CONNECT):
        return self.wait_peer(who, lambda p: p["status"] == "offline", "offline", timeout)

    def wait_log(self, pattern, timeout=CONNECT, of="controller"):
        return getattr(self, of).wait_output(pattern, timeout)

    # --- for reports

    def report(self, lines=40):
        """State and the ends of the logs, as text."""
        parts = [f"--- {self.name} ({self.ns.name})"]
        try:
            parts += [json.dumps(answer) for answer in self.ask("get_state", stats=True) or ["no answer to get_state"]]
        except (OSError, ValueError, NotYet) as e:
            parts.append(f"get_state: {e}")
        for log in ("tincan.log", "controller.log"):
            path = f"{self.folder}/{log}"
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    parts += [f"  {log}:"] + ["    " + line.rstrip() for line in f.readlines()[-lines:]]
        return "\n".join(parts)


def wait_pair(a, b, timeout=CONNECT):
    """Both see each other online; returns (a's view of b, b's view of a), with stats."""
    a.wait_online(b, timeout)
    b.wait_online(a, timeout)
    return a.peer(b, stats=True), b.peer(a, stats=True)
