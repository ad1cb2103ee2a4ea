/* internal.h - what the data threads work with. Included by tunnel/ alone.
 *
 * A worker is one data thread and all that it needs for a packet; no other thread touches it, unless marked otherwise. Each
 * peer is one worker's, and so are its paths, sessions and counters. The first worker reads the device, and hands what is
 * for another worker's peers over by that one's queue. */
#pragma once

#include "tincan/packet/coalesce.h"
#include "tincan/packet/segment.h"
#include "tincan/route/table.h"
#include "tincan/tunnel/inbox.h"
#include "tincan/tunnel/queue.h"
#include "tincan/tunnel/tunnel.h"

#include <arpa/inet.h>

#define IPOP_RECEIVE_TRAINS 8
#define IPOP_RECEIVE_BYTES 65536
#define IPOP_HANDSHAKES_MAX 64 /* on their way to the main thread */

typedef struct IpopWorker IpopWorker;

struct IpopTunnelPeer {
    void *user; /* main thread; NULL once removed */
    IpopTunnel *tunnel;
    IpopWorker *worker;   /* whose it is; never changes */
    atomic_uint routed;   /* workers that may have routes to it */
    IpopTunnelCounters counters;
    IpopPath *path;
    /* As in WireGuard's paper, section 6: `next` waits, at the responder, for proof that the initiator has it. */
    IpopSession *current, *previous, *next;
    const IpopSession *heard; /* the one that the peer's newest packet came under; to be compared only */
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

/* What a worker waits for, besides the device or queue and the inbox: a path's own socket. */
typedef struct {
    IpopPath *path; /* one reference */
    IpopTunnelPeer *peer;
} IpopListener;

/* Sealed datagrams that leave together: all of one length but the last, all for one peer. */
typedef struct {
    IpopTunnelPeer *peer; /* NULL: none */
    IpopPath *path;       /* its, or the one of a frame that goes another way */
    size_t n, segment;
    unsigned count;
    uint64_t bytes; /* of inner packets */
    unsigned packets;
    uint8_t datagrams[IPOP_TRAIN_BYTES];
} IpopTrain;

struct IpopWorker {
    IpopTunnel *tunnel;
    GThread *thread;  /* main thread */
    unsigned peers;   /* main thread: how many are its */
    IpopInbox *inbox; /* what the main thread wants */
    IpopQueue *queue; /* from the first worker, which has none itself */
    int epoll;
    bool stop;
    int64_t now; /* taken once per wake-up */
    IpopRoutes *routes;    /* every worker has all of them */
    GHashTable *sessions;  /* local index -> IpopTunnelSession, owned */
    GHashTable *listeners; /* path -> IpopListener, owned */
    IpopTrain train;
    IpopCoalesceTable joining;
    /* From the device: room for a frame's first byte, vnet header, packet. */
    uint8_t packet[IPOP_SEGMENT_HEADROOM + IPOP_VNET_HEADER + IPOP_SEGMENT_PACKET_MAX];
    uint8_t received[IPOP_RECEIVE_TRAINS][IPOP_RECEIVE_BYTES];
};

struct IpopTunnel {
    IpopTunnelDevice device;
    IpopTunnelEvents events; /* main thread */
    void *user;              /* main thread */
    IpopTunnelCounters counters;
    atomic_uint handshakes; /* on their way to the main thread */
    IpopWorker *workers[IPOP_TUNNEL_THREADS_MAX];
    unsigned workers_n;
};

_Static_assert(IPOP_QUEUE_HEADROOM >= IPOP_SEGMENT_HEADROOM, "a packet from the queue is cut like one from the device");

static inline void ipop_count(atomic_uint_least64_t *counter, uint64_t n) {
    /* One writer: no need for a locked add. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* The tunnel's own counters, which every thread writes. */
static inline void ipop_count_shared(atomic_uint_least64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* worker.c: makes the tunnel's worker of that number, and starts it. False: what there is of it is to be freed. */
bool ipop_worker_start(IpopTunnel *tunnel, unsigned number, GError **error);
void ipop_worker_free(IpopWorker *worker); /* main thread, when it has ended; accepts NULL */
bool ipop_worker_watch(IpopWorker *worker, int fd, void *what);

/* outbound.c: takes what the device or the queue has, at most a burst. */
void ipop_outbound_run(IpopWorker *worker);

/* Sends what waits in the train. */
void ipop_outbound_flush(IpopWorker *worker);

/* Seals a frame without a packet (a ping, ...) of kind and up to 8 bytes, and sends it by that path. */
void ipop_outbound_frame(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath *path, uint8_t kind, uint64_t value);

/* inbound.c: one datagram of type IPOP_WIRE_DATA, changed in place. */
void ipop_inbound_datagram(void *worker, uint8_t *datagram, size_t n);

/* What a path's socket has, at most a burst. True when there may be more. */
bool ipop_inbound_run(IpopWorker *worker, IpopListener *listener);

/* Gives the device what waits to be joined with more. */
void ipop_inbound_flush(IpopWorker *worker);

/* tunnel.c */
void ipop_tunnel_promote_next(IpopWorker *worker, IpopTunnelPeer *peer);

/* events.c */
void ipop_tunnel_tell_confirmed(IpopTunnelPeer *peer, uint32_t index);
void ipop_tunnel_tell_pong(IpopTunnelPeer *peer, int64_t rtt);
void ipop_tunnel_tell_bye(IpopTunnelPeer *peer);
void ipop_tunnel_tell_handshake(IpopListener *listener, const uint8_t *message, size_t n);
void ipop_tunnel_tell_released(IpopTunnel *tunnel, IpopSession *session); /* takes it */
void ipop_tunnel_tell_removed(IpopTunnelPeer *peer); /* takes it, behind every event that names it */
