/* outbound.c - tun -> route -> session -> path. */
#include "tincan/packet/ip.h"
#include "tincan/tunnel/internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BURST 32 /* reads per wake-up, so that the network is not kept waiting */

static bool seal_and_send(IpopTunnel *tunnel, IpopTunnelPeer *peer, IpopPath *path, size_t frame_n) {
    const uint8_t *frame = tunnel->out + IPOP_WIRE_DATA_HEADER;
    size_t n = peer->current && path ? ipop_session_seal(peer->current, tunnel->out, frame, frame_n, tunnel->now) : 0;
    if (n == 0) {
        ipop_count(&peer->counters.drops[IPOP_DROP_NO_LINK], 1);
        return false;
    }
    if (path->send(path, &(struct iovec){tunnel->out, n}, 1) != 1) {
        ipop_count(&peer->counters.drops[IPOP_DROP_SEND], 1);
        return false;
    }
    atomic_store_explicit(&peer->counters.last_sent, tunnel->now, memory_order_relaxed);
    return true;
}

void ipop_outbound_frame(IpopTunnel *tunnel, IpopTunnelPeer *peer, IpopPath *path, uint8_t kind, uint64_t value) {
    uint8_t *frame = tunnel->out + IPOP_WIRE_DATA_HEADER;
    size_t n = kind == IPOP_FRAME_PING || kind == IPOP_FRAME_PONG ? 1 + sizeof value : 1;
    frame[0] = kind;
    memcpy(frame + 1, &value, sizeof value);
    seal_and_send(tunnel, peer, path, n);
}

static void forward(IpopTunnel *tunnel, const uint8_t *packet, size_t n) {
    IpopIpInfo info;
    if (!ipop_ip_parse(packet, n, &info)) {
        ipop_count(&tunnel->counters.drops[IPOP_DROP_MALFORMED], 1);
        return;
    }
    IpopTunnelPeer *peer = ipop_routes_lookup(tunnel->routes, info.family, info.dest);
    if (!peer) {
        bool group = ipop_ip_is_multicast(&info);
        ipop_count(&tunnel->counters.drops[group ? IPOP_DROP_MULTICAST : IPOP_DROP_NO_ROUTE], 1);
        return;
    }
    if (seal_and_send(tunnel, peer, peer->path, 1 + info.length)) {
        ipop_count(&peer->counters.sent_bytes, info.length);
        ipop_count(&peer->counters.sent_packets, 1);
    }
}

bool ipop_outbound_run(IpopTunnel *tunnel) {
    uint8_t *frame = tunnel->out + IPOP_WIRE_DATA_HEADER;
    for (unsigned i = 0; i < BURST; i++) {
        ssize_t n = read(tunnel->tun_fd, frame + 1, IPOP_TUNNEL_PACKET_MAX);
        if (n <= 0)
            return n < 0 && errno == EINTR;
        frame[0] = IPOP_FRAME_PACKET;
        forward(tunnel, frame + 1, (size_t)n);
    }
    return true;
}
