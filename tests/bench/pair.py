#!/usr/bin/python3
"""tools/bench: ipop side by side with other VPNs in user space, in interleaved rounds on this machine."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../lab"]
sys.dont_write_bytecode = True

from lab.traffic import can_ping  # noqa: E402
from lab.wait import wait_for  # noqa: E402
from lab.world import on_signals  # noqa: E402
from measure import measure  # noqa: E402
from vpns import DEFAULT, VPNS  # noqa: E402
from worlds import CABLES  # noqa: E402


def one(vpn, options):
    """The figures of one round of one VPN, in a world of its own; an "error" in their place when it failed."""
    pair = vpn.world(options.cable)
    try:
        with pair:
            running = vpn.start(pair)
            a, b = pair.ends
            wait_for(f"{vpn.name} carries a ping", lambda: can_ping(a.ns, b.overlay), 30)
            figures = measure(pair, running, options.t, options.quick)
    except (AssertionError, LookupError, OSError, ValueError, subprocess.SubprocessError) as error:
        figures = dict(error=f"{type(error).__name__}: {error}")
    if left := pair.leftovers():
        sys.exit(f"left behind:\n{left}")
    return figures


# --- the table

# Key of a figure, its column, decimals, and which is better: more, less, or not compared.
COLUMNS = (
    ("tcp1", "TCP 1 flow Mbit/s", 0, max),
    ("tcp1_retransmits", "retransmits", 0, None),
    ("tcp4", "TCP 4 flows Mbit/s", 0, max),
    ("tcp4_retransmits", "retransmits", 0, None),
    ("udp1200", "UDP 1200 B Mbit/s", 0, max),
    ("quic", "QUIC-like Mbit/s", 0, max),
    ("udp64_kpps", "UDP 64 B kpps", 0, max),
    ("ping_p50", "ping p50 µs", 0, min),
    ("ping_p99", "p99 µs", 0, min),
    ("tcp1_cpu", "CPU s/GB", 2, min),
    ("rss_idle", "RSS MiB idle", 1, min),
    ("rss_after", "after", 1, min),
)


def values(rounds, key):
    return [r[key] for r in rounds if r.get(key) is not None]


def cell(rounds, key, decimals):
    """ "median (min–max)" """
    found = values(rounds, key)
    if not found:
        return "–"
    middle, low, high = (f"{f(found):.{decimals}f}" for f in (statistics.median, min, max))
    return middle if low == high else f"{middle} ({low}–{high})"


def ratio(results, key, better):
    """ "2.50 tinc": ipop's median is 2.5 times that of the best other VPN, which is tinc """
    medians = {name: statistics.median(found) for name, rounds in results.items()
               if name != "direct" and not name.startswith("ipop-") and (found := values(rounds, key))}
    own = medians.pop("ipop", None)
    if own is None or not medians or better is None:
        return ""
    best = better(medians, key=medians.get)
    return f"{own / medians[best]:.2f} {best}" if medians[best] else ""


def table(results):
    """Markdown: a line for each VPN, and one for ipop's figure divided by the best other VPN's."""
    columns = [c for c in COLUMNS if any(values(rounds, c[0]) for rounds in results.values())]
    lines = [["", *(title for _, title, _, _ in columns)], ["---"] + ["---:"] * len(columns)]
    lines += [[name, *(cell(rounds, key, decimals) for key, _, decimals, _ in columns)] for name, rounds in results.items()]
    ratios = [ratio(results, key, better) for key, _, _, better in columns]
    if any(ratios):
        lines.append(["ipop : best other", *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- the run

def arguments():
    parser = argparse.ArgumentParser(prog="tools/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=__doc__.partition(": ")[2])
    parser.add_argument("-r", type=int, default=3, metavar="ROUNDS", help="rounds; 3")
    parser.add_argument("-t", type=int, default=4, metavar="SECONDS", help="of each TCP measurement; 4")
    parser.add_argument("--cable", choices=CABLES, default="whole", help="what the cable's devices can do: all; cut and join "
                        "nothing themselves (nic); nothing (bare)")
    parser.add_argument("--quick", action="store_true", help="TCP and ping only")
    parser.add_argument("-o", metavar="FILE", help="write all figures of all rounds there, as JSON")
    parser.add_argument("peer", nargs="*", metavar="PEER", help="of: " + " ".join(VPNS) + "; " + " ".join(DEFAULT))
    options = parser.parse_args()
    if options.r < 1 or options.t < 1:
        parser.error("-r and -t begin at 1")
    if unknown := [name for name in options.peer if name not in VPNS]:
        parser.error(f"unknown peer {unknown[0]}; there are: {' '.join(VPNS)}")
    return options


def choose(names):
    """Those that are there, by name; says which are not."""
    chosen = {}
    for name in names or DEFAULT:
        if None in VPNS[name].programs():
            print(f"{name}: left out, it is not here ({VPNS[name].remedy})", flush=True)
        else:
            chosen[name] = VPNS[name]
    return chosen


def rounds(vpns, options, results):
    """Fills results: a list of rounds for each name. Interleaved, so that whatever else the machine does disturbs all alike."""
    for number in range(1, options.r + 1):
        for name, vpn in vpns.items():
            begin = time.monotonic()
            figures = one(vpn, options)
            results[name].append(figures)
            said = figures.get("error") or ", ".join(f"{title} {figures[key]:.{decimals}f}" for key, title, decimals, _ in COLUMNS
                                                     if figures.get(key) is not None)
            print(f"round {number} {name} ({time.monotonic() - begin:.0f} s): {said}", flush=True)


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("network namespaces need root; run: sudo tools/bench")
    on_signals()
    vpns = choose(options.peer)
    if not vpns:
        sys.exit("nothing to measure")
    results = {name: [] for name in vpns}
    status = 0
    try:
        rounds(vpns, options, results)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        status = 1
    versions = {name: vpn.version() for name, vpn in vpns.items() if vpn.programs()}
    if any(results.values()):
        print("\n" + table(results) + "\n")
        print("\n".join(f"{name}: {version}" for name, version in versions.items()))
    if options.o:
        with open(options.o, "w", encoding="utf-8") as f:
            json.dump(dict(kernel=platform.release(), cores=os.cpu_count(), seconds=options.t, cable=options.cable, versions=versions,
                           rounds=results), f, indent=1)
    return status or int(any("error" in r for found in results.values() for r in found))


if __name__ == "__main__":
    sys.exit(main())
