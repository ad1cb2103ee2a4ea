"""miniupnpd on a router: a UPnP internet gateway whose LAN side is "lan" and whose outside is "wan".

It forwards by DNAT in a table of its own, and the router's firewall (nat.py) then lets in what was so redirected. It refuses to
serve when its outside address is one that nobody can have on the internet, so such a site needs a real-looking one.
"""

import os

_TABLE = """
table inet miniupnpd {
  chain miniupnpd {
  }
  chain prerouting_miniupnpd {
  }
  chain postrouting_miniupnpd {
  }
  chain forward {
    type filter hook forward priority filter;
    jump miniupnpd
  }
  chain prerouting {
    type nat hook prerouting priority dstnat - 5;
    jump prerouting_miniupnpd
  }
  chain postrouting {
    type nat hook postrouting priority srcnat - 5;
    jump postrouting_miniupnpd
  }
}
"""

_CONFIG = """
ext_ifname=wan
listening_ip=lan
port=0
ipv6_disable=yes
enable_upnp=yes
enable_natpmp=no
secure_mode=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
lease_file={directory}/leases
uuid=0722bebb-dfce-43f8-b575-91552453b6e4
allow 1024-65535 0.0.0.0/0 1024-65535
"""


class Miniupnpd:
    def __init__(self, router, directory):
        os.makedirs(directory, exist_ok=True)
        self._router = router
        self._leases = f"{directory}/leases"
        with open(f"{directory}/miniupnpd.conf", "w", encoding="ascii") as f:
            f.write(_CONFIG.format(directory=directory))
        router.nft(_TABLE)
        router.nft("insert rule inet filter forward ct status dnat accept")
        router.ip("route add 239.0.0.0/8 dev lan")
        argv = ["miniupnpd", "-d", "-f", f"{directory}/miniupnpd.conf", "-P", f"{directory}/miniupnpd.pid"]
        self.process = router.start("miniupnpd", argv, f"{directory}/miniupnpd.log")
        self.process.wait_output("HTTP listening")

    def mappings(self):
        """The redirections that exist, one line each."""
        listing = self._router.run("nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd").stdout
        return [line.strip() for line in listing.splitlines() if "dnat" in line]

    def ends(self):
        """When each mapping that a client asked for ends by itself; 0: never."""
        with open(self._leases, encoding="ascii") as f:
            return [int(line.split(":")[4]) for line in f if line.strip()]
