/* inbound.c - path -> session -> source check -> tun. */
#include "tincan/packet/ip.h"
#include "tincan/tunnel/internal.h"

#include <string.h>
#include <unistd.h>

static void deliver(IpopTunnel *tunnel, IpopTunnelPeer *peer, const uint8_t *packet, size_t n) {
    IpopIpInfo info;
    if (!ipop_ip_parse(packet, n, &info)) {
        ipop_count(&peer->counters.drops[IPOP_DROP_MALFORMED], 1);
        return;
    }
    if (ipop_routes_lookup(tunnel->routes, info.family, info.source) != peer) {
        ipop_count(&peer->counters.drops[IPOP_DROP_SOURCE], 1);
        return;
    }
    if (write(tunnel->tun_fd, packet, info.length) < 0) {
        ipop_count(&peer->counters.drops[IPOP_DROP_DEVICE], 1);
        return;
    }
    ipop_count(&peer->counters.recv_bytes, info.length);
    ipop_count(&peer->counters.recv_packets, 1);
}

static void take_pong(IpopTunnel *tunnel, IpopTunnelPeer *peer, uint64_t sent) {
    /* Only the answer to the ping that is out counts, once. */
    if (!peer->ping || sent != peer->ping)
        return;
    peer->ping = 0;
    int64_t rtt = tunnel->now - (int64_t)sent;
    atomic_store_explicit(&peer->counters.rtt, rtt, memory_order_relaxed);
    ipop_tunnel_tell_pong(peer, rtt);
}

static void take_frame(IpopTunnel *tunnel, IpopTunnelPeer *peer, const uint8_t *frame, size_t n) {
    uint64_t value = 0;
    if (n == 1 + sizeof value)
        memcpy(&value, frame + 1, sizeof value);
    switch (frame[0]) {
    case IPOP_FRAME_PACKET:
        deliver(tunnel, peer, frame + 1, n - 1);
        break;
    case IPOP_FRAME_KEEPALIVE:
        break;
    case IPOP_FRAME_PING:
        ipop_outbound_frame(tunnel, peer, peer->path, IPOP_FRAME_PONG, value);
        break;
    case IPOP_FRAME_PONG:
        take_pong(tunnel, peer, value);
        break;
    case IPOP_FRAME_BYE:
        if (!peer->bye_told)
            ipop_tunnel_tell_bye(peer);
        peer->bye_told = true;
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

void ipop_inbound_datagram(void *context, uint8_t *datagram, size_t n) {
    IpopTunnel *tunnel = context;
    if (n < IPOP_WIRE_DATA_OVERHEAD || datagram[0] != IPOP_WIRE_DATA) {
        ipop_count(&tunnel->counters.drops[IPOP_DROP_MALFORMED], 1);
        return;
    }
    uint32_t index = ipop_session_index_of(datagram);
    IpopTunnelSession *entry = g_hash_table_lookup(tunnel->sessions, GUINT_TO_POINTER(index));
    if (!entry) {
        ipop_count(&tunnel->counters.drops[IPOP_DROP_NO_SESSION], 1);
        return;
    }
    IpopTunnelPeer *peer = entry->peer;
    uint8_t *frame = datagram + IPOP_WIRE_DATA_HEADER;
    size_t frame_n;
    IpopOpenResult result = ipop_session_open(entry->session, frame, datagram, n, tunnel->now, &frame_n);
    if (result != IPOP_OPEN_OK) {
        ipop_count(&peer->counters.drops[cause_of(result)], 1);
        return;
    }
    if (entry->session == peer->next)
        ipop_tunnel_promote_next(tunnel, peer);
    atomic_store_explicit(&peer->counters.last_heard, tunnel->now, memory_order_relaxed);
    if (peer->confirmed != index && entry->session == peer->current) {
        peer->confirmed = index;
        ipop_tunnel_tell_confirmed(peer, index);
    }
    take_frame(tunnel, peer, frame, frame_n);
}
