"""A site: one or more hosts at one place of the internet, with whatever router stands before them."""

from . import nat

PUBLIC = ("open", "hostfw", "v6only")  # no router: the host has the public address itself
KINDS = PUBLIC + tuple(nat.KINDS) + ("cgnat",)


class Host:
    """ip4, ip6: its addresses on the underlay, "" when it has none."""

    def __init__(self, namespace, ip4="", ip6="", gateway=""):
        self.ns = namespace
        self.ip4 = ip4
        self.ip6 = ip6
        self.gateway = gateway


class Site:
    """make(label) makes a namespace; uplink is an Internet, or a CarrierSite to be behind its NAT. lan: the first three
    numbers of the private network; two sites may well have the same. real: an outside address that is not for
    documentation, as a UPnP router wants it."""

    def __init__(self, make, uplink, kind="home", hosts=1, lan=None, real=False):
        self.kind = kind
        self.hosts = []
        self.routers = []
        self._namespaces = []
        self._numbers = []  # further ones
        self._make = make
        self._uplink = uplink
        if kind in PUBLIC:
            assert hosts == 1, "a public site is one host"
            self._number, self.ip4, self.ip6 = uplink.addresses()
            self._public_host(uplink)
        elif kind == "cgnat":
            carrier = CarrierSite(make, uplink)
            self._namespaces += carrier.namespaces
            self.routers += carrier.routers
            self._private_hosts(carrier, "home", hosts, lan)
            self.ip4, self._number = carrier.ip4, carrier.number
        else:
            self._private_hosts(uplink, kind, hosts, lan, real)

    @property
    def host(self):
        return self.hosts[0]

    @property
    def router(self):
        """The outermost one's namespace."""
        return self.routers[0]

    def close(self):
        for namespace in reversed(self._namespaces):
            namespace.close()
        for number in (self._number, *self._numbers):
            self._uplink.release(number)

    # --- what may happen to it

    def renumber(self, host):
        """The host gets another address in the private network, as by DHCP."""
        net, last = host.ip4.rsplit(".", 1)
        new = f"{net}.{int(last) + 100 if int(last) < 100 else int(last) - 100}"
        host.ns.ip(f"addr del {host.ip4}/24 dev eth0", f"addr add {new}/24 dev eth0", f"route replace default via {net}.1")
        host.ip4 = new

    def move(self):
        """The outermost router, or the public host itself, gets another public address."""
        number, new, _ = self._uplink.addresses()
        self._uplink.move(self.routers[0] if self.routers else self.host.ns, self._port, self.ip4, new)
        self._uplink.release(self._number)
        self._number = number
        self.ip4 = new
        if not self.routers:
            self.host.ip4 = new

    def rebind(self):
        """The router forgets its mappings; new ones get other ports."""
        self.router.nft("flush chain ip nat postrouting\nadd rule ip nat postrouting oifname wan masquerade random")
        self.router.run("conntrack", "-F")

    def second_gateway(self):
        """One more router in the private network, with a public address of its own; its address inside."""
        number, ip4, _ = self._uplink.addresses()
        self._numbers.append(number)
        net = self.host.ip4.rsplit(".", 1)[0]
        router = self._namespace("second-router")
        router.sysctl("net.ipv4.ip_forward=1")
        # Else the first router tracks what only passes its bridge, and does not translate it later on.
        self.router.sysctl("net.bridge.bridge-nf-call-iptables=0")
        self._uplink.attach(router, [ip4])
        self.router.ip(f"link add q254 type veth peer name lan netns {router.name}", "link set q254 master lan up")
        router.ip(f"addr add {net}.254/24 dev lan", "link set lan up")
        router.nft(nat.rules("home", ip4, f"{net}.2"))
        return f"{net}.254"

    def plug(self, host, name, last, metric):
        """Gives a host of another site an interface in this private network, with a default route."""
        net = self.host.ip4.rsplit(".", 1)[0]
        self.router.ip(f"link add q{last} type veth peer name {name} netns {host.ns.name}", f"link set q{last} master lan up")
        host.ns.ip(f"addr add {net}.{last}/24 dev {name}", f"link set {name} up",
                   f"route add default via {net}.1 dev {name} metric {metric}")

    def cable(self, host, state):
        """state "down": out at the router's end; "up": in again."""
        self.router.ip(f"link set p{int(host.ip4.rsplit('.', 1)[1]) % 100} {state}")

    def switch(self, state):
        """state "down": the router is dead to its hosts, which keep their carrier; "up": it is well again."""
        self.router.ip(f"link set lan {state}")

    def _namespace(self, label):
        self._namespaces.append(self._make(label))
        return self._namespaces[-1]

    def _public_host(self, uplink):
        ns = self._namespace(self.kind)
        ip4, ip6 = "" if self.kind == "v6only" else self.ip4, self.ip6
        self._port = uplink.attach(ns, [ip4] if ip4 else [], [ip6] if ip6 else [])
        if self.kind == "hostfw":
            ns.nft(nat.HOST_FIREWALL)
        self.hosts.append(Host(ns, ip4, ip6))

    def _private_hosts(self, uplink, kind, hosts, lan, real=False):
        self._number, self.ip4, self.ip6 = uplink.addresses(real)
        number = self._number
        routed6 = kind in ("dual", "brokenv6")
        lan = lan or f"192.168.{number % 250 + 1}"
        lan6 = f"2001:db8:{number:x}:1::"
        router = self._namespace(f"{kind}-router")
        self.routers.append(router)
        router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self._port = uplink.attach(router, [self.ip4], *([[self.ip6], f"{lan6}/64"] if routed6 else []))
        router.ip("link add lan type bridge", f"addr add {lan}.1/24 dev lan", "link set lan up",
                  *([f"addr add {lan6}1/64 dev lan nodad"] if routed6 else []))
        router.nft(nat.rules(kind, self.ip4, f"{lan}.2"))
        for i in range(2, 2 + hosts):
            ns = self._namespace(f"{kind}-host")
            router.ip(f"link add p{i} type veth peer name eth0 netns {ns.name}", f"link set p{i} master lan up")
            ns.ip(f"addr add {lan}.{i}/24 dev eth0",
                  *([f"addr add {lan6}{i}/64 dev eth0 nodad"] if routed6 else []), "link set eth0 up",
                  f"route add default via {lan}.1", *([f"route add ::/0 via {lan6}1"] if routed6 else []))
            self.hosts.append(Host(ns, f"{lan}.{i}", f"{lan6}{i}" if routed6 else "", f"{lan}.1"))


class CarrierSite:
    """A carrier's NAT: homes attach to it as they do to the Internet, with addresses from 100.64/10. No hairpin."""

    def __init__(self, make, uplink):
        self._uplink = uplink
        self.number, self.ip4, _ = uplink.addresses()
        self._net = f"100.64.{self.number % 250}"
        self._homes = 0
        ns = make("carrier")
        self.namespaces = [ns]
        self.routers = [ns]
        ns.sysctl("net.ipv4.ip_forward=1")
        uplink.attach(ns, [self.ip4])
        ns.ip("link add lan type bridge", f"addr add {self._net}.1/24 dev lan", "link set lan up")
        ns.nft(nat.rules("home", self.ip4, f"{self._net}.2") + nat.APART)

    def addresses(self, real=False):
        self._homes += 1
        return self._homes, f"{self._net}.{self._homes + 1}", ""

    def release(self, number):
        """A home is gone; its address is not given again."""

    def attach(self, namespace, ip4):
        port = f"p{ip4[0].rsplit('.', 1)[1]}"
        self.routers[0].ip(f"link add {port} type veth peer name wan netns {namespace.name}",
                           f"link set {port} master lan up")
        namespace.ip(f"addr add {ip4[0]}/24 dev wan", "link set wan up", f"route add default via {self._net}.1")

    def close(self):
        for namespace in self.namespaces:
            namespace.close()
        self._uplink.release(self.number)
