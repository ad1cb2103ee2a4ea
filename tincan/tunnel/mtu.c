/* mtu.c - what the length of a packet has to do with its way: probes and reports for the search (pmtu.h), and what
 * becomes of packets that are longer than the way takes. */
#include "tincan/base/clock.h"
#include "tincan/packet/clamp.h"
#include "tincan/packet/headers.h"
#include "tincan/tunnel/internal.h"

#include <string.h>
#include <unistd.h>

#define REPORT_INTERVAL (IPOP_SECOND / 2)
#define PROBE_HEADER 5  /* kind, which way */
#define IP_MTU_MIN 1280 /* what IPv6 asks of every link (RFC 8200, section 5); nobody is told of less */

/* --- time --- */

static int64_t due_of(const IpopTunnelPeer *peer) {
    return peer->report_due ? MIN(peer->report_due, peer->pmtu.due) : peer->pmtu.due;
}

/* An idle peer is not among them, so that nothing wakes an idle worker. */
static void schedule(IpopWorker *worker, IpopTunnelPeer *peer) {
    int64_t due = due_of(peer);
    if (due == IPOP_PMTU_NEVER)
        return;
    if (!peer->timed)
        g_ptr_array_add(worker->timed, peer);
    peer->timed = true;
    worker->due = MIN(worker->due, due);
}

/* --- news for the main thread --- */

static void look(IpopWorker *worker, IpopTunnelPeer *peer) {
    const IpopPmtu *pmtu = &peer->pmtu;
    peer->inner = pmtu->size - IPOP_WIRE_DATA_OVERHEAD;
    size_t mtu = MIN(peer->inner, peer->mtu);
    atomic_store_explicit(&peer->counters.mtu, mtu, memory_order_relaxed);
    bool news = pmtu->known ? peer->announced != mtu || peer->announced_hole : pmtu->hole && !peer->announced_hole;
    if (news) {
        peer->announced = mtu;
        peer->announced_hole = !pmtu->known;
        ipop_tunnel_tell_mtu(peer, (unsigned)mtu, !pmtu->known);
    }
    schedule(worker, peer);
}

void ipop_mtu_begin(IpopWorker *worker, IpopTunnelPeer *peer) {
    const IpopPath *path = peer->path;
    size_t top = MIN(peer->mtu + IPOP_WIRE_DATA_OVERHEAD, IPOP_TRAIN_BYTES);
    if (path && path->most > 0)
        top = MIN(top, path->most);
    ipop_pmtu_begin(&peer->pmtu, path ? path->around : 0, top, worker->now);
    peer->told = peer->announced = 0;
    peer->announced_hole = false;
    if (path)
        look(worker, peer);
}

void ipop_mtu_end(IpopWorker *worker, IpopTunnelPeer *peer) {
    g_ptr_array_remove_fast(worker->timed, peer);
    g_clear_pointer(&peer->reassembly, ipop_reassembly_free);
}

void ipop_mtu_rekeyed(IpopTunnelPeer *peer) {
    ipop_pmtu_rekeyed(&peer->pmtu);
    peer->report_due = 0;
    peer->reported = 0;
    peer->largest_counter = 0;
}

/* --- probes and reports --- */

static int64_t rtt_of(const IpopTunnelPeer *peer) {
    return atomic_load_explicit(&peer->counters.rtt, memory_order_relaxed);
}

static void send_probe(IpopWorker *worker, IpopTunnelPeer *peer, size_t size) {
    uint8_t *datagram = worker->train.datagrams, *frame = datagram + IPOP_WIRE_DATA_HEADER;
    IpopPath *path = peer->path;
    ipop_outbound_flush(worker);
    if (!path || !peer->current)
        return;
    size_t n = size - IPOP_WIRE_DATA_HEADER - IPOP_WIRE_TAG;
    memset(frame, 0, n);
    frame[0] = IPOP_FRAME_PROBE;
    ipop_put32(frame + 1, peer->pmtu.way);
    if (ipop_session_seal(peer->current, datagram, frame, n, worker->now) > 0)
        path->send(path, datagram, size, size);
    if (path->too_big)
        ipop_pmtu_refused(&peer->pmtu, size, worker->now);
    path->too_big = false;
}

void ipop_mtu_take_probe(IpopWorker *worker, IpopTunnelPeer *peer, const uint8_t *frame, size_t n) {
    if (n < PROBE_HEADER)
        return;
    uint8_t answer[8];
    uint64_t value;
    memcpy(answer, frame + 1, 4);
    ipop_put32(answer + 4, (uint32_t)(IPOP_WIRE_DATA_HEADER + n + IPOP_WIRE_TAG));
    memcpy(&value, answer, sizeof value);
    ipop_outbound_frame(worker, peer, peer->path, IPOP_FRAME_PROBED, value);
}

void ipop_mtu_take_probed(IpopWorker *worker, IpopTunnelPeer *peer, uint64_t value) {
    uint8_t answer[8];
    memcpy(answer, &value, sizeof value);
    ipop_pmtu_answer(&peer->pmtu, ipop_get32(answer), ipop_get32(answer + 4), worker->now);
    look(worker, peer);
}

void ipop_mtu_take_report(IpopWorker *worker, IpopTunnelPeer *peer, uint64_t value) {
    ipop_pmtu_report(&peer->pmtu, GUINT64_FROM_BE(value));
    look(worker, peer);
}

static void report(IpopWorker *worker, IpopTunnelPeer *peer) {
    peer->report_due = 0;
    peer->reported = worker->now;
    if (peer->current && peer->path)
        ipop_outbound_frame(worker, peer, peer->path, IPOP_FRAME_REPORT, GUINT64_TO_BE(peer->largest_counter));
}

void ipop_mtu_received(IpopWorker *worker, IpopTunnelPeer *peer, uint64_t counter) {
    peer->largest_counter = MAX(peer->largest_counter, counter);
    if (peer->report_due)
        return;
    /* At once if it is long ago, else when it will be: also the last packet of many is reported. */
    peer->report_due = MAX(peer->reported + REPORT_INTERVAL, worker->now);
    schedule(worker, peer);
}

static void run_peer(IpopWorker *worker, IpopTunnelPeer *peer) {
    if (peer->report_due && worker->now >= peer->report_due)
        report(worker, peer);
    for (size_t size; (size = ipop_pmtu_probe(&peer->pmtu, rtt_of(peer), worker->now));)
        send_probe(worker, peer, size);
    look(worker, peer);
}

void ipop_mtu_run(IpopWorker *worker) {
    worker->due = IPOP_PMTU_NEVER;
    for (guint i = worker->timed->len; i > 0; i--) {
        IpopTunnelPeer *peer = g_ptr_array_index(worker->timed, i - 1);
        run_peer(worker, peer);
        peer->timed = due_of(peer) != IPOP_PMTU_NEVER;
        if (!peer->timed)
            g_ptr_array_remove_index_fast(worker->timed, i - 1);
    }
}

void ipop_mtu_sent(IpopWorker *worker, IpopTunnelPeer *peer, size_t size, uint64_t counter) {
    int64_t due = peer->pmtu.due;
    ipop_pmtu_sent(&peer->pmtu, size, counter, rtt_of(peer), worker->now);
    if (peer->pmtu.due != due)
        schedule(worker, peer);
}

void ipop_mtu_refused(IpopWorker *worker, IpopTunnelPeer *peer, size_t size) {
    ipop_pmtu_refused(&peer->pmtu, size, worker->now);
    look(worker, peer);
}

/* --- packets that are too long --- */

static void tell_sender(IpopWorker *worker, const uint8_t *packet, size_t n, size_t mtu) {
    static const uint8_t no_vnet[IPOP_VNET_HEADER];
    uint8_t buffer[IPOP_VNET_HEADER + IPOP_ICMP_MAX];
    size_t icmp_n = ipop_icmp_too_big(packet, n, mtu, buffer + IPOP_VNET_HEADER);
    if (icmp_n == 0 || !ipop_icmp_allow(&worker->icmp, ipop_icmp_flow(packet, n), worker->now))
        return;
    memcpy(buffer, no_vnet, sizeof no_vnet);
    size_t skip = worker->tunnel->device.vnet ? 0 : IPOP_VNET_HEADER;
    ipop_inbound_write(worker, buffer + skip, IPOP_VNET_HEADER + icmp_n - skip);
}

/* The ports choose the place: so there is one of each flow, mostly. */
void ipop_mtu_remember(IpopTunnelPeer *peer, const uint8_t *packet) {
    const uint8_t *ports = packet + (packet[0] >> 4 == 4 ? IPOP_IP4_HEADER : IPOP_IP6_HEADER);
    IpopQuote *quote = &peer->quotes[(ports[1] ^ ports[3]) % IPOP_QUOTES_MAX];
    quote->used = true;
    memcpy(quote->bytes, packet, sizeof quote->bytes);
}

bool ipop_mtu_refuse(IpopWorker *worker, IpopTunnelPeer *peer, const uint8_t *packet, size_t n) {
    bool fragile = packet[0] >> 4 == 6 || ipop_get16(packet + 6) & IPOP_IP4_DF;
    if (fragile)
        tell_sender(worker, packet, n, peer->told);
    return fragile;
}

void ipop_mtu_told(IpopWorker *worker, IpopTunnelPeer *peer, unsigned mtu, bool hole) {
    if (peer->announced != mtu || peer->announced_hole != hole)
        return; /* it is another one meanwhile */
    if (!hole)
        peer->told = MAX(mtu, IP_MTU_MIN);
    for (unsigned i = 0; hole && i < IPOP_QUOTES_MAX; i++) {
        if (peer->quotes[i].used)
            tell_sender(worker, peer->quotes[i].bytes, sizeof peer->quotes[i].bytes, MAX(peer->inner, IP_MTU_MIN));
        peer->quotes[i].used = false;
    }
}

void ipop_mtu_clamp(const IpopTunnelPeer *peer, uint8_t *packet, size_t n, bool partial) {
    ipop_clamp_mss(packet, n, peer->pmtu.known ? MIN(peer->inner, peer->mtu) : peer->mtu, partial);
}
