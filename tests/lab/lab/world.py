"""One run's world: everything that was made, so that all of it can be taken away again, whatever happened."""

import json
import os
import shutil
import signal
import tempfile

from . import dns
from .certs import Authority
from .coturn import Coturn
from .ejabberd import Ejabberd
from .internet import Internet
from .netns import Namespace, names, remove
from .prosody import Prosody
from .site import CarrierSite, Site

TOP = os.path.abspath(f"{os.path.dirname(__file__)}/../../..")


def on_signals():
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, once: nothing disturbs the tidying up that follows."""
    def interrupted(*_):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)


class Server:
    """A public host for servers."""

    def __init__(self, world, label, *addresses):
        self.addresses = addresses
        self.ns = world.namespace(label)
        world.internet.attach(self.ns, [a for a in addresses if ":" not in a], [a for a in addresses if ":" in a])


class World:
    """Use as a context manager. The Jabber server's domain is DOMAIN; coturn answers on two addresses of each family."""

    DOMAIN, EJABBERD_DOMAIN = "lab.test", "ejabberd.test"
    XMPP, XMPP6 = "192.0.2.10", "2001:db8::10"
    STUN = ("192.0.2.10", "192.0.2.11")
    EJABBERD = "192.0.2.20"
    NAMES = {
        "lab.test": {"A": [], "AAAA": []},
        "xmpp.lab.test": {"A": ["192.0.2.10"], "AAAA": ["2001:db8::10"]},
        "turn.lab.test": {"A": ["192.0.2.10"], "AAAA": ["2001:db8::10"]},
        "stun.lab.test": {"A": ["192.0.2.11"], "AAAA": ["2001:db8::11"]},
        "_xmpp-client._tcp.lab.test": {"SRV": [[5, 0, 5222, "xmpp.lab.test"]]},
        "ejabberd.test": {"A": ["192.0.2.20"]},
        "refused.test": {"A": ["192.0.2.11"]},
        "silent.test": {"A": ["192.0.2.99"]},
    }

    def __init__(self):
        self.prefix = f"ipoplab{os.getpid()}-"
        self.tmp = None
        self.nodes = []
        self._namespaces = []
        self._count = 0
        self._ejabberd = None

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _build(self):
        self.tmp = tempfile.mkdtemp(prefix=self.prefix)
        os.chmod(self.tmp, 0o755)  # programs that give up root must get to their files
        self._write_resolv_conf()
        self.internet = Internet(self.namespace("internet"))
        self.authority = Authority(f"{self.tmp}/ca")
        self.broker = Server(self, "broker", *self.STUN, self.XMPP6, "2001:db8::11")
        self._start_names()
        self.coturn = Coturn(self.broker, f"{self.tmp}/coturn", self.DOMAIN)
        self.prosody = Prosody(self.broker, f"{self.tmp}/prosody", self.DOMAIN, self.authority, self.coturn)

    def _write_resolv_conf(self):
        with open(f"{self.tmp}/resolv.conf", "w", encoding="ascii") as f:
            f.write(f"nameserver {self.XMPP}\nnameserver {self.XMPP6}\noptions timeout:1 attempts:2\n")

    def _start_names(self):
        with open(f"{self.tmp}/names.json", "w", encoding="utf-8") as f:
            json.dump(self.NAMES, f)
        argv = ["/usr/bin/python3", dns.__file__, f"{self.tmp}/names.json", self.XMPP, self.XMPP6]
        self.broker.ns.start("dns", argv, f"{self.tmp}/dns.log").wait_output("ready")

    @property
    def ejabberd(self):
        """Started when first asked for: it takes seconds."""
        if not self._ejabberd:
            self._ejabberd = Ejabberd(Server(self, "ejabberd", self.EJABBERD), f"{self.tmp}/ejabberd", self.EJABBERD_DOMAIN,
                                      self.authority)
        return self._ejabberd

    def namespace(self, label):
        self._count += 1
        namespace = Namespace(f"{self.prefix}{label}-{self._count}", f"{self.tmp}/resolv.conf")
        self._namespaces.append(namespace)
        return namespace

    def site(self, kind="home", hosts=1, lan=None, behind=None, real=False):
        """behind: a carrier; else at the internet."""
        return Site(self.namespace, behind or self.internet, kind, hosts, lan, real)

    def carrier(self):
        return CarrierSite(self.namespace, self.internet)

    def folder(self, label):
        """A new directory in the world's temporary one."""
        self._count += 1
        path = f"{self.tmp}/{label}-{self._count}"
        os.makedirs(path)
        return path

    def close(self):
        """Stops every process, removes every namespace and file. Can be called again."""
        while self._namespaces:
            self._namespaces.pop().close()
        for name in names(self.prefix):  # one that was being made when a signal came
            remove(name)
        if self.tmp:
            shutil.rmtree(self.tmp, ignore_errors=True)
            self.tmp = None

    def leftovers(self):
        """What is still there after close(), as text; "" when nothing is."""
        found = [f"namespace {name}" for name in names(self.prefix)]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    line = f.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if self.prefix in line:
                found.append(f"process {pid}: {line}")
        return "\n".join(found)
