"""Where two ends are compared: on one cable, or behind a router each."""

import os
import tempfile

from lab.bulk import offload
from lab.certs import Authority
from lab.world import World

# What the cable's devices do without, by ethtool's names. "nic": the kernel cuts and joins, as for a network card that can't.
CABLES = {
    "whole": ([], []),
    "nic": (["gro"], ["tso", "tx-udp-segmentation"]),
    "bare": ([], ["tso", "gso", "gro", "tx", "rx", "sg", "tx-udp-segmentation"]),
}


class End:
    def __init__(self, ns, name, ip4, overlay):
        self.ns, self.name, self.ip4, self.ip6, self.overlay = ns, name, ip4, "", overlay
        self.addresses = (ip4,)


class Pair(World):
    """Two hosts and a cable, in place of the lab's internet. The cable has no IPv6, so that all use the same underlay.

    a [192.0.2.10] wan --- veth, MTU 1500 --- wan [192.0.2.20] b          overlay: 172.31.0.1 and .2
    """

    DEVICE = "wan"

    def __init__(self, cable):
        super().__init__()
        self._cable = CABLES[cable]

    def _build(self):
        self.tmp = tempfile.mkdtemp(prefix=self.prefix)
        os.chmod(self.tmp, 0o755)
        self._write_resolv_conf()
        self.authority = Authority(f"{self.tmp}/ca")
        self.ends = (End(self.namespace("a"), "a", self.XMPP, "172.31.0.1"),
                     End(self.namespace("b"), "b", self.EJABBERD, "172.31.0.2"))
        a, b = self.ends
        a.ns.ip(f"link add {self.DEVICE} mtu 1500 type veth peer name {self.DEVICE} mtu 1500 netns {b.ns.name}")
        on, off = self._cable
        for end in self.ends:
            end.ns.sysctl(f"net.ipv6.conf.{self.DEVICE}.disable_ipv6=1")
            end.ns.ip(f"addr add {end.ip4}/24 dev {self.DEVICE}", f"link set {self.DEVICE} up")
            if on or off:
                offload(end.ns, self.DEVICE, on, off)

    def close(self):
        for node in list(self.nodes):
            node.close()
        super().close()


class Routers(World):
    """The lab's internet, and a host behind a router each: with NAT, or with the same routers and none.

    a [192.168.n.2] --- router --- internet --- router --- [192.168.m.2] b
    """

    def __init__(self, nat):
        super().__init__()
        self._nat = nat

    def _build(self):
        super()._build()
        sites = [self.site("home") for _ in range(2)]
        if not self._nat:
            self.internet.ns.nft("flush ruleset")  # it would not carry private addresses
            for site in sites:
                site.router.nft("flush ruleset")
                self.internet.ns.ip(f"route add {site.host.ip4}/32 via {site.ip4} dev {self._port(site)}")
        self.ends = [End(site.host.ns, name, site.host.ip4, overlay)
                     for site, name, overlay in zip(sites, "ab", ("172.31.0.1", "172.31.0.2"))]

    def _port(self, site):
        return self.internet.ns.run("ip", "-o", "route", "get", site.ip4).stdout.split(" dev ")[1].split()[0]

    def close(self):
        for node in list(self.nodes):
            node.close()
        super().close()
