"""What the routers do, as nft rules. The outside interface is "wan", the inside "lan".

A home router drops what comes to its own outside address unasked: without that ("bare") a peer's early packet takes
the connection-tracking entry that the host's own packet needs, and the mapping moves to another port.
"""

_TRANSLATE = """
table ip nat {
  %(map)s
  chain prerouting {
    type nat hook prerouting priority dstnat;
    %(inwards)s
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    %(outwards)s
  }
}
"""

_FIREWALL = """
table inet filter {
  chain input {
    type filter hook input priority filter;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto ipv6-icmp accept
    iifname "wan" drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    %(forward)s
    iifname "lan" accept
  }
}
"""

_MASQUERADE = 'oifname "wan" masquerade'

KINDS = {
    # Mapping by the inside socket's port, filter by address and port: the common home router.
    "home": dict(outwards=_MASQUERADE),
    # A random port for each destination.
    "symmetric": dict(outwards=_MASQUERADE + " fully-random"),
    # Whatever comes to the outside address reaches the host: no filter.
    "fullcone": dict(outwards=_MASQUERADE, inwards='iifname "wan" meta l4proto udp dnat to %(host)s',
                     forward='iifname "wan" meta l4proto udp accept'),
    # As home, with the mapping kept explicitly: endpoint-independent whatever comes in.
    "strict": dict(map="map ports { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 5m; }",
                   inwards='iifname "wan" meta l4proto udp dnat ip to udp dport map @ports',
                   outwards='oifname "wan" meta l4proto udp update @ports { udp sport : ip saddr . udp sport }; '
                            'oifname "wan" snat to %(outside)s'),
    # No firewall on the router itself.
    "bare": dict(outwards=_MASQUERADE, firewall=False),
    # Nothing but TCP gets out (and names, which such networks answer themselves).
    "udpblocked": dict(outwards=_MASQUERADE, forward='iifname "lan" udp dport != 53 drop'),
    # Home for IPv4, routed IPv6 behind the same firewall.
    "dual": dict(outwards=_MASQUERADE),
    # Home for IPv4, and IPv6 addresses that lead nowhere.
    "brokenv6": dict(outwards=_MASQUERADE, forward="meta nfproto ipv6 drop"),
}


def rules(kind, outside, host):
    """The rule set for a router of that kind with the outside address, and the (first) host behind it."""
    k = KINDS[kind]
    names = dict(outside=outside, host=host)
    text = _TRANSLATE % {part: k.get(part, "") % names for part in ("map", "inwards", "outwards")}
    if k.get("firewall", True):
        text += _FIREWALL % {"forward": k.get("forward", "")}
    return text


# Customers of one carrier, on ports of one bridge, do not reach each other.
APART = """
table bridge apart {
  chain forward {
    type filter hook forward priority filter;
    drop
  }
}
"""

# A public host whose own firewall lets in only answers.
HOST_FIREWALL = """
table inet filter {
  chain input {
    type filter hook input priority filter;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto ipv6-icmp accept
    iifname "wan" drop
  }
}
"""
