"""The internet: one namespace that is everyone's next router, public-looking addresses, and no way to private ones.

    site .. wan --- veth --- [192.0.2.1, fe80::1] --- veth --- wan .. servers

Each site has a link of its own. What goes to a private or unknown address vanishes without an answer, as in the real
internet; an "unreachable" would make coturn close the whole session.
"""

_NO_PRIVATE = """
table inet filter {
  chain forward {
    type filter hook forward priority filter;
    ip daddr { 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } drop
    ip6 daddr { fc00::/7, fe80::/10 } drop
  }
}
"""

GATEWAY, GATEWAY6 = "192.0.2.1", "fe80::1"


class Internet:
    def __init__(self, namespace):
        self.ns = namespace
        self._links = 0
        self._sites = 0
        self._free = []  # numbers of sites that are gone, oldest first
        self.ns.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.ns.ip(f"addr add {GATEWAY}/32 dev lo", "route add blackhole default", "route add blackhole ::/0")
        self.ns.nft(_NO_PRIVATE)

    def attach(self, namespace, ip4=(), ip6=(), behind6=None):
        """Gives the namespace an interface "wan" with the addresses, and the default routes; the name of the other end. behind6:
        an IPv6 prefix that is routed to the first IPv6 address."""
        self._links += 1
        port = f"p{self._links}"
        self.ns.ip(f"link add {port} type veth peer name wan netns {namespace.name}",
                   f"link set {port} up", f"addr add {GATEWAY6}/64 dev {port} nodad",
                   *(f"route add {a} dev {port}" for a in (*ip4, *ip6)),
                   *([f"route add {behind6} via {ip6[0]} dev {port}"] if behind6 else []))
        lines = [f"addr add {a}/32 dev wan" for a in ip4] + [f"addr add {a}/128 dev wan nodad" for a in ip6]
        lines.append("link set wan up")
        if ip4:
            lines += [f"route add {GATEWAY} dev wan", f"route add default via {GATEWAY} src {ip4[0]}"]
        if ip6:
            lines.append(f"route add ::/0 via {GATEWAY6} dev wan src {ip6[0]}")
        namespace.ip(*lines)
        return port

    def move(self, namespace, port, old, new):
        """The provider gives the namespace, attached at that port, another IPv4 address."""
        self.ns.ip(f"route del {old} dev {port}", f"route add {new} dev {port}")
        namespace.ip(f"addr del {old}/32 dev wan", f"addr add {new}/32 dev wan", f"route replace {GATEWAY} dev wan",
                     f"route replace default via {GATEWAY} src {new}")

    def addresses(self, real=False):
        """A new site's number with its public IPv4 and IPv6 address; neighbours are in different IPv4 ranges. real: the IPv4
        one is not from a range for documentation."""
        if self._sites < 470:
            self._sites += 1
            n = self._sites
        else:
            assert self._free, "out of public addresses"
            n = self._free.pop(0)
        if real:
            return n, f"45.45.{n // 250}.{1 + n % 250}", f"2001:db8::{0x100 + n:x}"
        return n, f"{('198.51.100', '203.0.113')[n % 2]}.{10 + n // 2}", f"2001:db8::{0x100 + n:x}"

    def release(self, number):
        """The site of that number is gone."""
        self._free.append(number)
