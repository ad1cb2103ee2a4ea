#!/usr/bin/python3
"""tools/quickstart: two hosts behind two home routers, a Jabber server and a relay, all on this machine, and ipop between
the two. What is started is shown as a user would type it."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from lab.control import Control  # noqa: E402
from lab.node import CONTROLLER, IPOP, TINCAN, TOP, overlay, servers  # noqa: E402
from lab.wait import wait_for  # noqa: E402
from lab.world import World, on_signals  # noqa: E402

PICTURE = """
   alice                                                              bob
   192.168.2.2 -- home router -- (an internet of namespaces) -- home router -- 192.168.3.2
                                   |
                             Prosody, coturn
"""

REAL = """
The same between two real machines
  1. An account at any Jabber server; both machines may use the same one.
  2. On each: a config.json as above (begin with config/config.json), each with its own "ip4". Leave out xmpp_host,
     xmpp_cafile, stun and turn where the server's own are good: `ipop check -c config.json` tells.
  3. On each, as root:  ipop-tincan 1> out.log 2> err.log &
                        ipop-controller -c config.json &> log.txt &
  4. ipop status
"""


class Machine:
    """One host. /run and /var/lib are its own, so that the programs find the folders they have on a machine of their own."""

    def __init__(self, world, name, ip4, account):
        host = world.site("home").host
        self.name, self.ns = name, host.ns
        self._folder = world.folder(name)
        for sub in ("run", "lib"):
            os.makedirs(f"{self._folder}/{sub}")
        self._mounts = (f"mount --bind {self._folder}/run /run", f"mount --bind {self._folder}/lib /var/lib")
        # The netcat of the article; Debian's other one, by openbsd, stops listening too early with -q.
        os.symlink("/bin/nc.traditional", f"{self._folder}/netcat")
        folders = (os.path.dirname(p) for p in (TINCAN, CONTROLLER, IPOP))
        self._path = ":".join([*folders, self._folder, os.environ["PATH"]])
        with open(f"{TOP}/config/config.json", encoding="utf-8") as f:
            self.config = {**json.load(f), **overlay(world, host, account, name, ip4), **servers(world, host)}
        with open(f"{self._folder}/config.json", "w", encoding="utf-8") as f:
            json.dump(self.config, f, indent=2)
        os.chmod(f"{self._folder}/config.json", 0o600)

    def _argv(self, command):
        return ["env", f"PATH={self._path}", "bash", "-c", f"cd {self._folder} && {command}"]

    def start(self, command, log):
        """Starts a program in the background, as the shell's & does."""
        print(f"{self.name}# {command} &> {log} &")
        return self.ns.start(command, self._argv(f"exec {command}"), f"{self._folder}/{log}", mounts=self._mounts)

    def show(self, command):
        """Runs a command line to its end and prints what it said."""
        print(f"\n{self.name}# {command}")
        done = self.ns.run(*self._argv(command), mounts=self._mounts, check=False)
        print((done.stdout + done.stderr).replace("\x02\x01", "..").rstrip(), flush=True)

    def logs(self):
        """What the two programs have logged."""
        for name in ("tincan.log", "controller.log"):
            path = f"{self._folder}/{name}"
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    yield f"--- {self.name}'s {name}\n{f.read()}"

    def online(self, control):
        answers = control.ask({"m": "get_state"}) or []
        return any(a.get("status") == "online" for a in answers[1:])


def connect(machines):
    begin = time.monotonic()
    for machine in machines:
        print()
        machine.start("ipop-tincan", "tincan.log")
        machine.start("ipop-controller -c config.json", "controller.log")
    for machine in machines:
        control = Control(machine.ns)
        wait_for(lambda: f"{machine.name} has a link", lambda: machine.online(control), 30)
        control.close()
    print(f"\nThe two are connected, {time.monotonic() - begin:.1f} s after the start.", flush=True)


def show(world):
    print(PICTURE, flush=True)
    account = world.prosody.account()
    alice, bob = machines = Machine(world, "alice", "172.31.0.1", account), Machine(world, "bob", "172.31.0.2", account)
    print(f"alice's config.json; bob's differs in name and ip4:\n{json.dumps(alice.config, indent=2)}")
    try:
        connect(machines)
    except AssertionError as error:
        sys.exit("\n".join([f"They did not connect: {error}", *alice.logs(), *bob.logs()]))
    for machine in machines:
        machine.show("ipop status")
    alice.show("ping -c 3 172.31.0.2")
    print()
    server = bob.start("iperf3 -s -1 --forceflush", "iperf3.log")
    server.wait_output("Server listening")
    alice.show("iperf3 -c 172.31.0.2 -t 3 | grep -E 'sender|receiver'")
    alice.show(r"""echo -e '\x02\x01{"m":"get_state"}' | netcat -q 1 -u 127.0.0.1 5800""")
    print(REAL)


def main():
    if os.geteuid() != 0:
        sys.exit("network namespaces need root; run: sudo tools/quickstart")
    on_signals()
    world = World()
    try:
        with world:
            show(world)
    except KeyboardInterrupt:
        print("interrupted")
    left = world.leftovers()
    print(f"left behind:\n{left}" if left else "All that was made for this is removed again.")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
