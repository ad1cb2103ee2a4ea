"""The grid: every kind of place with every other, what each pair should come to, and a picture of what it came to."""

import html
import statistics

from .node import servers

# The facts behind this table are measured: a symmetric NAT needs a peer that anyone may write to; IPv6 alone needs one with
# IPv6; behind a router without a firewall of its own ("bare") it is chance whose packet comes first.
ORDER = ("open", "hostfw", "fullcone", "home", "strict", "bare", "symmetric", "cgnat", "udpblocked", "dual", "brokenv6",
         "v6only")
_EXPECTED = {
    "open": "DDDDDDDDrDDD",
    "hostfw": "DDDDDDrDrDDD",
    "fullcone": "DDDDDDDDrDDr",
    "home": "DDDDD?rDrDDr",
    "strict": "DDDDD?rDrDDr",
    "bare": "DDD???r?r??r",
    "symmetric": "DrDrrrrrrrrr",
    "cgnat": "DDDDD?rDrDDr",
    "udpblocked": "rrrrrrrrrrrr",
    "dual": "DDDDD?rDrDDD",
    "brokenv6": "DDDDD?rDrDDr",
    "v6only": "DDrrrrrrrDrD",
}
_PATHS = {"D": "direct", "r": "relayed", "?": ""}

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


def expected(a, b):
    """ "direct", "relayed", or "" when either will do."""
    path = _EXPECTED[a][ORDER.index(b)]
    assert path == _EXPECTED[b][ORDER.index(a)], f"the table says two things of {a} x {b}"
    return _PATHS[path]


def cells(kinds=()):
    """All pairs, each once; with kinds: those with one of them."""
    return [(a, b) for i, a in enumerate(ORDER) for b in ORDER[:i + 1] if not kinds or {a, b} & set(kinds)]


def node_keys(world, kind, host):
    """The servers that a node at such a place is given: TURN over TCP where it takes that."""
    return servers(world, host, turn=("udp", "tcp") if kind == "udpblocked" else ("udp",))


class Result:
    """One run of one cell. online: seconds until both were; settled: until both had the expected path; None: never."""

    def __init__(self, a, b, path, online, settled, trouble=""):
        self.kinds, self.path, self.online, self.settled, self.trouble = (a, b), path, online, settled, trouble

    @property
    def good(self):
        return self.settled is not None

    @property
    def group(self):
        """What a user may expect of it in time."""
        if "udpblocked" in self.kinds:
            return "udpblocked"
        return expected(*self.kinds) or self.path


def _median(results):
    times = [r.settled for r in results if r.good]
    return statistics.median(times) if times else None


def _of_cell(results, a, b):
    return [r for r in results if sorted(r.kinds) == sorted((a, b))]


def _cell_text(found):
    if not found:
        return ""
    bad = [r for r in found if not r.good]
    if bad:
        return f"!{bad[0].path[:1] or '-'}"
    return f"{'D' if found[-1].path == 'direct' else 'r'} {_median(found):.2f}"


def table(results):
    """Lines of text: D direct, r relayed, ! not what it should be, and the median seconds."""
    lines = [" " * 11 + "".join(f"{kind[:7]:>8}" for kind in ORDER)]
    for a in ORDER:
        lines.append(f"{a:<11}" + "".join(f"{_cell_text(_of_cell(results, a, b)):>8}" for b in ORDER))
    return lines


def summary(results):
    """Lines: how many connected, and the times of each group."""
    connected = sum(r.online is not None for r in results)
    good = sum(r.good for r in results)
    lines = [f"{connected} of {len(results)} connected, {good} by the expected path"]
    for group, limit in (("direct", 2), ("relayed", 3), ("udpblocked", 4)):
        times = sorted(r.settled for r in results if r.good and r.group == group)
        if times:
            lines.append(f"{group}: {len(times)}, median {statistics.median(times):.2f} s, worst {times[-1]:.2f} s, "
                         f"{sum(t > limit for t in times)} above {limit} s")
    return lines


_COLOURS = {"direct": "#bfe3c0", "relayed": "#f7dfa3", "": "#e88"}


def svg(results):
    """The table as a picture."""
    width, height, left, top = 78, 34, 96, 96
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width * len(ORDER) + 10}" '
             f'height="{top + height * len(ORDER) + 60}" font-family="sans-serif" font-size="12">',
             f'<text x="{left}" y="24" font-size="16">Pairs of networks: path, and seconds from the start of the second node</text>']
    for i, a in enumerate(ORDER):
        parts.append(f'<text x="{left - 8}" y="{top + i * height + 21}" text-anchor="end">{a}</text>')
        parts.append(f'<text x="{left + i * width + width / 2}" y="{top - 10}" text-anchor="middle">{a}</text>')
        for j, b in enumerate(ORDER):
            found = _of_cell(results, a, b)
            if not found:
                continue
            good = all(r.good for r in found)
            x, y = left + j * width, top + i * height
            text = f"{found[-1].path or 'none'} {_median(found):.2f}" if good else "not as expected"
            parts.append(f'<rect x="{x}" y="{y}" width="{width - 2}" height="{height - 2}" '
                         f'fill="{_COLOURS[found[-1].path if good else ""]}"/>'
                         f'<text x="{x + width / 2 - 1}" y="{y + 20}" text-anchor="middle" font-size="10">{text}</text>')
    for i, line in enumerate(summary(results)[:3]):
        parts.append(f'<text x="{left}" y="{top + height * len(ORDER) + 18 + 15 * i}">{html.escape(line)}</text>')
    return "\n".join([*parts, "</svg>", ""])
