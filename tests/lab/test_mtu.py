"""Paths that take less than the usual 1500 bytes, and say nothing: what passes, what is told, what it costs."""

import json
import time

from lab.bulk import Transfer, nft_packets, offload
from lab.case import LabTest
from lab.traffic import udp_echo
from lab.wait import wait_for

HEADERS = {4: 20 + 8 + 29, 6: 40 + 8 + 29}  # around an inner packet
CHANNEL_DATA = 4  # and that, by a relay

# In the middle of the internet: longer datagrams vanish, and nobody is told.
_SWALLOW = """
table inet swallow {
  chain forward {
    type filter hook forward priority filter - 10;
    meta l4proto udp meta length > %d counter drop
  }
}
"""


class Narrow(LabTest):
    sites = ()

    def narrow(self, mtu):
        """The path takes no more from now on. Call again for another size."""
        self.widen()
        for site in self.sites:
            for device in site.host.ns.link_names():
                if device in ("wan", "eth0"):
                    offload(site.host.ns, device, off=["tx-udp-segmentation"])  # no train crosses a cable as one packet
        self.world.internet.ns.nft(_SWALLOW % mtu)
        self.addCleanup(self.widen)

    def widen(self):
        self.world.internet.ns.nft("table inet swallow {}\ndelete table inet swallow\n")

    def swallowed(self):
        return nft_packets(self.world.internet.ns, "inet swallow")

    def pair(self, kind="open", **keys):
        self.sites = [self.site(kind) for _ in range(2)]
        self.a, self.b = (self.node(site.host, name, ip4, **keys)
                          for site, name, ip4 in zip(self.sites, ("alice", "bob"), ("172.31.0.1", "172.31.0.2")))

    def paths(self):
        """How alice sees the path, and bob."""
        return [node.peer(other, stats=True)["stats"][0] for node, other in ((self.a, self.b), (self.b, self.a))]

    def mtus(self):
        return [path["mtu"] for path in self.paths()]

    def wait_mtu(self, mtu, ends=2, extra=0):
        """Until both ends, or the sending one, have found what a path of that MTU takes, within 20 bytes."""
        def found():
            return [(path["mtu"], mtu - HEADERS[6 if "[" in path["rem_addr"] else 4] - extra) for path in self.paths()[:ends]]
        wait_for(lambda: f"what is found is what is right: {found()}",
                 lambda: all(right - 20 < mtu <= right for mtu, right in found()))

    def transfer(self, address):
        """From alice, unless the address is hers."""
        ends = (self.b, self.a) if address == self.a.ip4 else (self.a, self.b)
        self.port = getattr(self, "port", 7010) + 1
        transfer = Transfer(self.world, *ends, address, port=self.port)
        self.addCleanup(transfer.close)
        return transfer


    def route(self, node, address):
        """What the kernel says of the way to there: its own MTU, 0 when it has none."""
        family = ("-6",) if ":" in address else ()
        shown = json.loads(node.ns.run("ip", "-j", *family, "route", "get", address).stdout)[0]
        return next((metric["mtu"] for metric in shown.get("metrics", ()) if "mtu" in metric), 0)

    def assert_carries(self, addresses, largest=60000):
        """TCP, and UDP of sizes around all that matters here, in fragments of their own, too."""
        for address in addresses:
            transfer = self.transfer(address)
            transfer.wait_more(16)
            self.say(f"TCP to {address}: {transfer.wait():.0f} Mbit/s")
            for size in (1100, 1252, 1300, 1400, 1453, 3000, largest):
                payload = bytes([size % 256]) * size
                self.assert_echo(address, payload)

    def assert_echo(self, address, payload):
        try:
            self.assertEqual(udp_echo(self.a.ns, self.b.ns, address, payload), payload)
        except TimeoutError:
            self.fail(f"UDP of {len(payload)} bytes to {address} does not come back: {self.paths()}")


class Paths(Narrow):
    def test_narrow(self):
        """a path of 1400 bytes, from the first packet on"""
        self.pair()
        self.narrow(1400)
        self.connect(self.a, self.b, path="direct")
        self.assert_carries([self.b.ip4])
        self.wait_mtu(1400)
        wait_for("the kernel knows", lambda: self.route(self.a, self.b.ip4) and self.route(self.b, self.a.ip4))
        for node, other in ((self.a, self.b), (self.b, self.a)):
            for address in (other.ip4, other.local()["_ip6"]):
                self.assertEqual(self.route(node, address), self.mtus()[0])
        before = self.swallowed()
        self.assertGreater(before, 0)
        self.assert_carries([self.b.ip4, self.b.local()["_ip6"]])
        self.assertEqual(self.swallowed(), before)  # whatever was sent, nothing was too large

    def test_smaller_than_ip6(self):
        """1300 bytes: inside, that is less than IPv6 may be told of"""
        self.pair()
        self.narrow(1300)
        self.connect(self.a, self.b, path="direct")
        self.wait_mtu(1300)
        wait_for("the kernel knows", lambda: self.route(self.a, self.b.ip4))
        self.assertEqual(self.route(self.a, self.b.ip4), 1280)
        self.assert_carries([self.b.ip4, self.b.local()["_ip6"]])

    def test_relayed(self):
        """a relayed path of 1340 bytes, found end to end"""
        self.pair("symmetric")
        self.narrow(1340)
        self.connect(self.a, self.b, path="relayed")
        self.wait_mtu(1340, extra=CHANNEL_DATA)
        self.assert_carries([self.b.ip4], largest=8000)  # the TURN server loses longer bursts

    def test_v6(self):
        """by IPv6: all of 1500 bytes, and 1320"""
        self.pair("v6only")
        self.connect(self.a, self.b, path="direct")
        self.wait_mtu(1500)
        self.assert_carries([self.b.ip4])
        self.narrow(1320)
        transfers = [self.transfer(address) for address in (self.b.ip4, self.a.ip4)]
        self.wait_mtu(1320)
        for transfer in transfers:
            transfer.wait_more(16)
            transfer.wait()
        self.assert_carries([self.b.ip4, self.b.local()["_ip6"]])

    def test_interface(self):
        """the host's own interface goes down to 1350 bytes in the middle of a transfer"""
        self.pair()
        self.connect(self.a, self.b, path="direct")
        self.wait_mtu(1500)
        transfer = self.transfer(self.b.ip4)
        transfer.wait_more(64)
        self.a.ns.ip("link set wan mtu 1350")
        self.wait_mtu(1350, ends=1)
        transfer.wait_more(64)
        transfer.wait()


class Shrinking(Narrow):
    def test_shrinks(self):
        """1500 bytes become 1280 in the middle of a transfer, and then 1500 again"""
        self.pair(tincan_logging=2)
        self.connect(self.a, self.b, path="direct")
        self.wait_mtu(1500)
        for times, address in enumerate((self.b.ip4, self.b.local()["_ip6"]), 1):
            transfer = self.transfer(address)
            transfer.wait_more(64)
            gap = self.gap(transfer, lambda: self.narrow(1280))
            self.say(f"TCP to {address}: {gap:.2f} s without a byte")
            self.assertLess(gap, 8)
            transfer.wait()
            self.wait_mtu(1280, ends=1)
            wait_for("it is said", lambda: self.a.tincan.output().count("smaller packets only") == times)
            self.renew()
        log = self.a.tincan.output()
        for text in ("large packets vanish", "smaller packets only", "larger packets again"):
            self.assertEqual(log.count(text), 2, log)

    def gap(self, transfer, happens):
        """The longest time without a byte until 32 MB have arrived after it happened."""
        wanted, samples = 0, []

        def arrived():
            samples.append((time.monotonic(), transfer.received()))
            return samples[-1][1] >= wanted

        happens()
        wanted = transfer.received() + (32 << 20)
        wait_for("32 MB more", arrived, 30)
        changes = [samples[0]] + [now for before, now in zip(samples, samples[1:]) if now[1] != before[1]]
        return max(now[0] - before[0] for before, now in zip(changes, changes[1:]))

    def renew(self):
        """The path is whole again, and a new generation of the link finds it so."""
        generation = self.a.peer(self.b)["generation"]
        self.widen()
        self.a.ns.ip(f"addr add 198.51.100.{200 + generation}/32 dev wan")
        wait_for("a new generation", lambda: self.a.peer(self.b)["generation"] > generation)
        self.wait_mtu(1500)
        wait_for("the kernel knows", lambda: not self.route(self.a, self.b.ip4))


class Edges(Narrow):
    """One pair with a path of 1400 bytes for all."""

    @classmethod
    def setUpClass(cls):
        cls.sites = [cls.shared_site("open") for _ in range(2)]
        cls.a, cls.b = (cls.shared_node(site.host, name, ip4)
                        for site, name, ip4 in zip(cls.sites, ("alice", "bob"), ("172.31.0.1", "172.31.0.2")))

    def setUp(self):
        super().setUp()
        self.narrow(1400)
        if not self.a.controller:
            self.connect(self.a, self.b, path="direct")
        self.wait_mtu(1400)
        wait_for("the kernel knows", lambda: self.route(self.a, self.b.ip4) and self.route(self.b, self.a.ip4))
        self.mtu = self.mtus()[0]
        self.six = self.b.local()["_ip6"]

    def pings(self, address, size, df):
        """A packet of so many bytes, all headers counted, and its answer."""
        headers = 48 if ":" in address else 28
        done = self.a.ns.run("ping", "-n", "-q", "-c", 1, "-W", 1, "-M", "do" if df else "dont", "-s", size - headers, address,
                             check=False)
        return done.returncode == 0

    def test_ping(self):
        """packets of the path's size and two bytes to each side, with and without DF, by IPv4 and IPv6"""
        for address in (self.b.ip4, self.six):
            for size in range(self.mtu - 2, self.mtu + 3):
                self.assertEqual(self.pings(address, size, True), size <= self.mtu, f"{address} {size} DF")
                self.assertTrue(self.pings(address, size, False), f"{address} {size}")

    def test_udp(self):
        """UDP around the path's size and the device's"""
        for address in (self.b.ip4, self.six):
            headers = 48 if ":" in address else 28
            for middle in (1280, self.mtu, 1443):
                for size in range(middle - headers - 2, middle - headers + 3):
                    payload = bytes([size % 256]) * size
                    self.assert_echo(address, payload)

    def test_told(self):
        """a sender that does not know is told: by ICMP, from the node itself"""
        for family, address in (("-4", self.b.ip4), ("-6", self.six)):
            self.a.ns.run("ip", family, "route", "del", address, "dev", "ipop")
            self.assertEqual(self.route(self.a, address), 0)
            self.assertFalse(self.pings(address, self.mtu + 1, True))
            wait_for("it was told", lambda: self.route(self.a, address) == self.mtu)
            self.assertTrue(self.pings(address, self.mtu, True))
            transfer = self.transfer(address)
            transfer.wait_more(8)
            transfer.wait()
        drops = self.a.peer(self.b, stats=True)["stats"][0]["drops"]
        self.assertEqual(drops["too_big"], 2, drops)
