/* internal.h - what the data thread works with. Included by tunnel/ alone; everything in it is the data thread's, unless
 * marked otherwise. */
#pragma once

#include "tincan/route/table.h"
#include "tincan/tunnel/inbox.h"
#include "tincan/tunnel/tunnel.h"

#include <arpa/inet.h>

#define IPOP_TUNNEL_PACKET_MAX 65535

struct IpopTunnelPeer {
    void *user; /* main thread; NULL once removed */
    IpopTunnel *tunnel;
    IpopTunnelCounters counters;
    IpopPath *path;
    /* As in WireGuard's paper, section 6: `next` waits, at the responder, for proof that the initiator has it. */
    IpopSession *current, *previous, *next;
    IpopPath *next_path; /* what the peer moves to with `next` */
    uint32_t confirmed;  /* index of the last session whose confirmation was told */
    bool bye_told;       /* once per session, however often the peer says it */
    uint64_t ping;      /* what the outstanding ping carries; 0 none */
};

/* What an index of ours stands for. */
typedef struct {
    IpopSession *session;
    IpopTunnelPeer *peer;
} IpopTunnelSession;

struct IpopTunnel {
    int tun_fd;
    IpopTunnelEvents events; /* main thread */
    void *user;              /* main thread */
    IpopTunnelCounters counters;
    IpopInbox *inbox;
    GThread *thread;
    bool stop;
    int64_t now; /* taken once per wake-up */
    IpopRoutes *routes;
    GHashTable *sessions; /* local index -> IpopTunnelSession, owned */
    /* One packet on its way out, with room before and behind it for what sealing adds. */
    uint8_t out[IPOP_WIRE_DATA_OVERHEAD + IPOP_TUNNEL_PACKET_MAX];
};

static inline void ipop_count(atomic_uint_least64_t *counter, uint64_t n) {
    /* One writer: no need for a locked add. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* outbound.c: takes what the device has, at most a burst. True when there may be more. */
bool ipop_outbound_run(IpopTunnel *tunnel);

/* Seals a frame without a packet (a ping, ...) of kind and up to 8 bytes, and sends it by that path. */
void ipop_outbound_frame(IpopTunnel *tunnel, IpopTunnelPeer *peer, IpopPath *path, uint8_t kind, uint64_t value);

/* inbound.c: one datagram of type IPOP_WIRE_DATA, changed in place. */
void ipop_inbound_datagram(void *tunnel, uint8_t *datagram, size_t n);

/* tunnel.c */
void ipop_tunnel_promote_next(IpopTunnel *tunnel, IpopTunnelPeer *peer);
void ipop_tunnel_tell_confirmed(IpopTunnelPeer *peer, uint32_t index);
void ipop_tunnel_tell_pong(IpopTunnelPeer *peer, int64_t rtt);
void ipop_tunnel_tell_bye(IpopTunnelPeer *peer);
