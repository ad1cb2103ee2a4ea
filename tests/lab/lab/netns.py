"""One network namespace: commands, background processes and sockets inside it."""

import ctypes
import os
import signal
import socket

from .process import Process
from .shell import run
from .wait import wait_for

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def names(prefix):
    """The namespaces there are whose names begin so."""
    lines = run("ip", "netns", "list").stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith(prefix)]


def remove(name):
    """Ends whatever runs in the namespace, by pid, then removes it with its interfaces."""
    def emptied():
        pids = [int(p) for p in run("ip", "netns", "pids", name, check=False).stdout.split()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError):
                pass
        return not pids
    wait_for(f"the processes in {name} end", emptied)
    run("ip", "netns", "del", name, check=False)


class Namespace:
    """resolv_conf: a file that programs inside see as /etc/resolv.conf (in a mount namespace of their own)."""

    def __init__(self, name, resolv_conf=None):
        self.name = name
        self._resolv_conf = resolv_conf
        run("ip", "netns", "add", name)
        self._fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self.ip("link set lo up")
        self.sysctl("net.ipv6.conf.default.accept_dad=0")  # else link-local addresses, and with them routers, take a second

    def close(self):
        """Ends whatever still runs inside, then removes the namespace with its interfaces."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            remove(self.name)

    def wrap(self, *argv, mounts=()):
        """The command line that runs argv inside; its pid is argv's own. mounts: shell lines for the private mounts."""
        lines = list(mounts)
        if self._resolv_conf:
            lines.append(f"mount --bind {self._resolv_conf} /etc/resolv.conf")
        prefix = ["ip", "netns", "exec", self.name]
        if lines:
            prefix += ["sh", "-c", " && ".join(lines) + ' && exec "$@"', "sh"]
        return prefix + [str(a) for a in argv]

    def run(self, *argv, mounts=(), **options):
        return run(*self.wrap(*argv, mounts=mounts), **options)

    def start(self, name, argv, log, mounts=(), **options):
        return Process(name, self.wrap(*argv, mounts=mounts), log, **options)

    def ip(self, *lines):
        """Lines as `ip` takes them: "addr add 192.0.2.1/24 dev wan"."""
        run("ip", "-n", self.name, "-batch", "-", text_in="\n".join(lines) + "\n")

    def nft(self, rules):
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", text_in=rules)

    def sysctl(self, *settings):
        run("ip", "netns", "exec", self.name, "sysctl", "-qw", *settings)

    def link_names(self):
        """The interfaces, without lo."""
        lines = run("ip", "-n", self.name, "-o", "link").stdout.splitlines()
        return sorted({line.split(": ")[1].split("@")[0] for line in lines} - {"lo"})

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, protocol=0):
        """A socket that lives in this namespace, for use from here."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._fd)
            try:
                return socket.socket(family, kind, protocol)
            finally:
                _setns(home)
        finally:
            os.close(home)
