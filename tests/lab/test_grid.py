"""What a node finds out about its own place in the network, and tells."""

import json

from lab.case import LabTest
from lab.node import servers
from lab.site import KINDS
from lab.wait import wait_for

# What the STUN servers tell of each kind: mapping/filter. coturn has two addresses, so it can tell both.
NAT = {
    "open": "none/none",
    "hostfw": "none/port",
    "fullcone": "independent/none",
    "home": "independent/port",
    "strict": "independent/port",
    "bare": "independent/port",
    "symmetric": "dependent/port",
    "cgnat": "independent/port",
    "udpblocked": "blocked/unknown",
    "dual": "independent/port",
    "brokenv6": "independent/port",
    "v6only": "none/none",
}


class Place(LabTest):
    def test_kinds(self):
        """the NAT's kind is found at each kind of place"""
        self.assertEqual(set(NAT), set(KINDS))
        nodes = {kind: self.node(self.site(kind).host, kind).start() for kind in NAT}

        def wrong():
            return {kind: found for kind, found in ((k, (n.local() or {}).get("_nat")) for k, n in nodes.items())
                    if found != NAT[kind]}

        wait_for(lambda: f"all kinds are found: {wrong()}", lambda: not wrong())
