/* inbound.c - session -> source check -> tun. A datagram is opened in place, and the packets are joined again on their way to the
 * device. */
#include "tincan/base/clock.h"
#include "tincan/packet/ip.h"
#include "tincan/tunnel/internal.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RTT_MAX (10 * IPOP_SECOND) /* a later answer waited here while this host slept: no measure of the way */

void ipop_inbound_write(IpopWorker *worker, const uint8_t *buffer, size_t n) {
    if (write(worker->device, buffer, n) < 0)
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_DEVICE]);
}

/* For a device without vnet headers: each packet by itself, its checksum finished here. */
static void write_single(IpopWorker *worker, uint8_t *packet, size_t n, bool partial) {
    IpopHeaders headers;
    if (partial && ipop_headers_parse(packet, n, &headers) && headers.plain) {
        size_t offset = ipop_headers_checksum_offset(&headers);
        uint64_t length = htons((uint16_t)(headers.length - headers.transport));
        uint16_t sum = ipop_checksum_fold(ipop_checksum_pseudo(packet, headers.family, headers.protocol) + length);
        memcpy(packet + headers.transport + offset, &sum, sizeof sum);
        ipop_checksum_complete(packet, headers.length, headers.transport, offset);
    }
    ipop_inbound_write(worker, packet, n);
}

void ipop_inbound_flush(IpopWorker *worker) {
    uint8_t *buffer;
    size_t n;
    while (ipop_coalesce_table_take(&worker->joining, &buffer, &n))
        ipop_inbound_write(worker, buffer, n);
}

static void join(IpopWorker *worker, const uint8_t *packet, size_t n, bool partial) {
    IpopCoalescer *full;
    uint8_t *buffer;
    size_t buffer_n;
    while (ipop_coalesce_table_add(&worker->joining, packet, n, partial, &full) == IPOP_COALESCE_FLUSH_FIRST)
        if (ipop_coalesce_take(full, &buffer, &buffer_n))
            ipop_inbound_write(worker, buffer, buffer_n);
}

/* For a host behind this node. */
static bool is_for_another(const IpopWorker *worker, const IpopIpInfo *info) {
    return info->family == AF_INET ? memcmp(info->dest, &worker->own4, sizeof worker->own4) != 0
                                   : memcmp(info->dest, &worker->own6, sizeof worker->own6) != 0;
}

static void deliver(IpopWorker *worker, IpopTunnelPeer *peer, uint8_t *packet, size_t n, bool partial) {
    IpopIpInfo info;
    if (!ipop_ip_parse(packet, n, &info)) {
        ipop_count(&peer->counters.drops[IPOP_DROP_MALFORMED], 1);
        return;
    }
    if (ipop_routes_lookup(worker->routes, info.family, info.source) != peer) {
        ipop_count(&peer->counters.drops[IPOP_DROP_SOURCE], 1);
        return;
    }
    if (is_for_another(worker, &info))
        ipop_mtu_clamp(peer, packet, info.length, partial);
    if (worker->tunnel->device.vnet)
        join(worker, packet, info.length, partial);
    else
        write_single(worker, packet, info.length, partial);
    ipop_count(&peer->counters.recv_bytes, info.length);
    ipop_count(&peer->counters.recv_packets, 1);
}

static void take_pong(IpopWorker *worker, IpopTunnelPeer *peer, uint64_t sent) {
    ipop_roam_answered(worker, peer, (int64_t)sent);
    /* Only the answer to the ping that is out counts, once. */
    if (!peer->ping || sent != peer->ping)
        return;
    peer->ping = 0;
    int64_t rtt = worker->now - (int64_t)sent;
    if (rtt > RTT_MAX)
        return;
    atomic_store_explicit(&peer->counters.rtt, rtt, memory_order_relaxed);
    ipop_tunnel_tell_pong(peer, rtt);
}

static void take_piece(IpopWorker *worker, IpopTunnelPeer *peer, const uint8_t *frame, size_t n) {
    uint8_t *packet, flags;
    size_t packet_n;
    if (!peer->reassembly)
        peer->reassembly = ipop_reassembly_new();
    IpopPieceResult result = ipop_reassembly_add(peer->reassembly, frame, n, worker->now, &packet, &packet_n, &flags);
    if (result == IPOP_PIECE_COMPLETE)
        deliver(worker, peer, packet, packet_n, flags & IPOP_FRAME_PARTIAL_CHECKSUM);
    else if (result == IPOP_PIECE_WRONG)
        ipop_count(&peer->counters.drops[IPOP_DROP_MALFORMED], 1);
}

static void take_frame(IpopWorker *worker, IpopTunnelPeer *peer, const IpopSession *session, uint8_t *frame, size_t n) {
    uint64_t value = 0;
    if (n == 1 + sizeof value)
        memcpy(&value, frame + 1, sizeof value);
    switch (frame[0]) {
    case IPOP_FRAME_PACKET:
    case IPOP_FRAME_PACKET | IPOP_FRAME_PARTIAL_CHECKSUM:
        deliver(worker, peer, frame + 1, n - 1, frame[0] != IPOP_FRAME_PACKET);
        break;
    case IPOP_FRAME_KEEPALIVE:
        break;
    case IPOP_FRAME_PING:
        ipop_outbound_frame(worker, peer, peer->path, IPOP_FRAME_PONG, value);
        break;
    case IPOP_FRAME_PONG:
        take_pong(worker, peer, value);
        break;
    case IPOP_FRAME_BYE:
        if (!peer->bye_told)
            ipop_tunnel_tell_bye(peer);
        peer->bye_told = true;
        break;
    case IPOP_FRAME_PROBE:
        ipop_mtu_take_probe(worker, peer, frame, n);
        break;
    case IPOP_FRAME_PROBED:
        ipop_mtu_take_probed(worker, peer, value);
        break;
    case IPOP_FRAME_REPORT:
        if (session == peer->current)
            ipop_mtu_take_report(worker, peer, value);
        break;
    case IPOP_FRAME_PIECE:
    case IPOP_FRAME_PIECE | IPOP_FRAME_PARTIAL_CHECKSUM:
        take_piece(worker, peer, frame, n);
        break;
    default:
        ipop_count(&peer->counters.drops[IPOP_DROP_MALFORMED], 1);
    }
}

static IpopDrop cause_of(IpopOpenResult result) {
    switch (result) {
    case IPOP_OPEN_REPLAYED:
        return IPOP_DROP_REPLAYED;
    case IPOP_OPEN_FORGED:
        return IPOP_DROP_FORGED;
    case IPOP_OPEN_EXPIRED:
        return IPOP_DROP_EXPIRED;
    default:
        return IPOP_DROP_MALFORMED;
    }
}

bool ipop_inbound_open(IpopWorker *worker, uint8_t *datagram, size_t n) {
    if (n < IPOP_WIRE_DATA_OVERHEAD || datagram[0] != IPOP_WIRE_DATA) {
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_MALFORMED]);
        return false;
    }
    uint32_t index = ipop_session_index_of(datagram);
    IpopTunnelSession *entry = g_hash_table_lookup(worker->sessions, GUINT_TO_POINTER(index));
    if (!entry) {
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_NO_SESSION]);
        return false;
    }
    IpopTunnelPeer *peer = entry->peer;
    uint8_t *frame = datagram + IPOP_WIRE_DATA_HEADER;
    size_t frame_n;
    IpopOpenResult result = ipop_session_open(entry->session, frame, datagram, n, worker->now, &frame_n);
    if (result != IPOP_OPEN_OK) {
        ipop_count(&peer->counters.drops[cause_of(result)], 1);
        return false;
    }
    if (entry->session == peer->next)
        ipop_tunnel_promote_next(worker, peer);
    peer->heard = entry->session;
    atomic_store_explicit(&peer->counters.last_heard, worker->now, memory_order_relaxed);
    if (peer->confirmed != index && entry->session == peer->current) {
        peer->confirmed = index;
        ipop_tunnel_tell_confirmed(peer, index);
    }
    uint64_t counter = ipop_session_counter_of(datagram);
    bool newest = entry->session == peer->current && ipop_session_newest(entry->session, counter);
    if (n > IPOP_PMTU_BASE && frame[0] != IPOP_FRAME_PROBE && entry->session == peer->current)
        ipop_mtu_received(worker, peer, counter);
    take_frame(worker, peer, entry->session, frame, frame_n);
    return newest;
}

void ipop_inbound_datagram(void *context, uint8_t *datagram, size_t n) {
    ipop_inbound_open(context, datagram, n);
}
