"""The figures of one VPN that is up between the two ends of a pair."""

import json
import os
import re
import time

from lab.shell import Failed

UDP_SIZES = (1200, 64)        # payload bytes
UDP_BEGIN = 400e6             # bit/s: where the search begins with the first size
UDP_STEPS = 6
LOSS = 1.0                    # percent; a rate with less counts
QUIC = f"{os.path.dirname(os.path.abspath(__file__))}/quic.py"
QUIC_BEGIN = 3000             # Mbit/s
QUIC_LOSS = 0.1               # percent
PINGS, PING_INTERVAL = 1000, 0.002
SETTLE = 8                    # seconds between being up and being called idle: longer than anything still starts up


def cpu_seconds(process):
    """Processor time so far, of all its threads."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(running):
    """MiB: of the processes at one end together, of the end that has more."""
    def of(process):
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) / 1024
    return max(sum(map(of, end)) for end in running)


def iperf(pair, seconds, *options):
    """Its report's "end"."""
    a, b = pair.ends
    done = a.ns.run("iperf3", "-c", b.overlay, "-J", "-t", seconds, *options, check=False, timeout=seconds + 20)
    report = json.loads(done.stdout)
    if "error" in report:
        raise Failed(f"iperf3 {' '.join(map(str, options))}: {report['error']}")
    return report["end"]


def tcp(pair, running, seconds, flows):
    """Mbit/s, retransmits, and processor seconds of the VPN per GB that arrived (None without processes)."""
    processes = [process for end in running for process in end]
    before = sum(map(cpu_seconds, processes))
    end = iperf(pair, seconds, "-P", flows)
    spent = sum(map(cpu_seconds, processes)) - before
    received = end["sum_received"]
    return {f"tcp{flows}": received["bits_per_second"] / 1e6, f"tcp{flows}_retransmits": end["sum_sent"]["retransmits"],
            f"tcp{flows}_cpu": spent / (received["bytes"] / 1e9) if processes else None}


def udp_window():
    """Socket buffers of 2 MB, or as much as this machine allows."""
    limits = []
    for name in ("rmem_max", "wmem_max"):
        with open(f"/proc/sys/net/core/{name}", encoding="ascii") as f:
            limits.append(int(f.read()))
    return min(2 << 20, *limits)


def udp(pair, seconds, size, rate):
    """The highest rate in bit/s that arrives with less than LOSS percent lost; None when no rate did. Doubles or halves until
    the verdict turns, then bisects. Also ends where iperf3 itself can't send faster."""
    best, factor, last = None, 2, None
    for _ in range(UDP_STEPS):
        end = iperf(pair, seconds, "-u", "-l", size, "-b", int(rate), "-w", udp_window())
        received = end["sum_received"]
        good = received["lost_percent"] < LOSS
        if good:
            best = max(best or 0, received["bits_per_second"])
            if end["sum_sent"]["bits_per_second"] < 0.9 * rate:
                break
        if factor < 2 or last not in (None, good):
            factor **= 0.5
        last = good
        rate = rate * factor if good else rate / factor
    return best


def udp_all(pair, seconds):
    """Mbit/s and thousands of packets a second, by size; a further size begins at the packet rate of the one before."""
    figures, packets = {}, UDP_BEGIN / 8 / UDP_SIZES[0]
    for size in UDP_SIZES:
        rate = udp(pair, seconds, size, packets * 8 * size)
        packets = rate / 8 / size if rate else packets
        figures[f"udp{size}"] = rate and rate / 1e6
        figures[f"udp{size}_kpps"] = rate and packets / 1e3
    return figures


def quic(pair, seconds):
    """The highest rate in Mbit/s of trains of datagrams (quic.py) that arrives with less than QUIC_LOSS lost, found as in udp()."""
    a, b = pair.ends
    best, factor, last, rate = 0, 2, None, QUIC_BEGIN
    for _ in range(UDP_STEPS):
        log = f"{pair.folder('quic')}/log"
        receiver = b.ns.start("quic.py", ["/usr/bin/python3", QUIC, "receive", b.overlay, 7020], log)
        receiver.wait_output("ready")
        sent, reached = map(float, a.ns.run("/usr/bin/python3", QUIC, "send", b.overlay, 7020, rate, seconds).stdout.split())
        got = int(receiver.wait_output(r"^(\d+)$")[1])
        good = got >= sent * (1 - QUIC_LOSS / 100)
        if good:
            best = max(best, reached * got / sent)
            if reached < 0.9 * rate:
                break
        if factor < 2 or last not in (None, good):
            factor **= 0.5
        last = good
        rate = rate * factor if good else rate / factor
    return dict(quic=best or None)


def ping(pair):
    """Round trip in µs: median and 99th percentile."""
    a, b = pair.ends
    output = a.ns.run("ping", "-n", "-i", PING_INTERVAL, "-c", PINGS, "-w", 30, b.overlay, check=False).stdout
    times = sorted(float(t) * 1000 for t in re.findall(r"time=([\d.]+) ms", output))
    if len(times) < PINGS * 0.9:
        raise Failed(f"{PINGS - len(times)} of {PINGS} pings were lost")
    return dict(ping_p50=times[len(times) // 2], ping_p99=times[len(times) * 99 // 100], ping_lost=PINGS - len(times))


def measure(pair, running, seconds, quick):
    """All figures of the VPN whose processes are running, as a flat dictionary."""
    b = pair.ends[1]
    server = b.ns.start("iperf3", ["iperf3", "-s", "--forceflush"], f"{pair.folder('iperf3')}/log")
    server.wait_output("Server listening")
    time.sleep(SETTLE)
    any_process = any(running)
    figures = dict(load=os.getloadavg()[0], rss_idle=resident(running) if any_process else None)
    figures.update(ping(pair))
    for flows in (1, 4):
        figures.update(tcp(pair, running, seconds, flows))
    if not quick:
        figures.update(udp_all(pair, max(1, seconds // 2)))
        figures.update(quic(pair, max(1, seconds // 2)))
    figures["rss_after"] = resident(running) if any_process else None
    return figures
