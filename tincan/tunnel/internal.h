/* internal.h - what the data threads work with. Included by tunnel/ alone.
 *
 * A worker is one data thread and all that it needs for a packet; no other thread touches it, unless marked otherwise. Each
 * peer is one worker's, and so are its paths, sessions and counters. A worker reads some of the device's queues, and hands what
 * is for another worker's peers over by that one's queue. */
#pragma once

#include "tincan/packet/coalesce.h"
#include "tincan/packet/icmp.h"
#include "tincan/packet/segment.h"
#include "tincan/route/table.h"
#include "tincan/tunnel/aqm.h"
#include "tincan/tunnel/inbox.h"
#include "tincan/tunnel/outflow.h"
#include "tincan/tunnel/pieces.h"
#include "tincan/tunnel/pmtu.h"
#include "tincan/tunnel/queue.h"
#include "tincan/tunnel/tunnel.h"

#include <arpa/inet.h>

#define IPOP_RECEIVE_TRAINS 8
#define IPOP_RECEIVE_BYTES 65536
#define IPOP_HANDSHAKES_MAX 64 /* on their way to the main thread */
#define IPOP_QUOTES_MAX 8
#define IPOP_MTU_LARGE (IPOP_PMTU_BASE - IPOP_WIRE_DATA_OVERHEAD) /* packets up to here pass wherever anything does */

typedef struct IpopWorker IpopWorker;

/* The beginning of a large packet that was sent: what its sender is told by when the way turns out to swallow such. */
typedef struct {
    bool used;
    uint8_t bytes[IPOP_ICMP_QUOTE];
} IpopQuote;

struct IpopTunnelPeer {
    void *user; /* main thread; NULL once removed */
    IpopTunnel *tunnel;
    IpopWorker *worker;   /* whose it is; never changes */
    unsigned queue;       /* of the device, by which its packets come; never changes */
    char ip4[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN]; /* main thread */
    atomic_uint routed;   /* workers that may have routes to it */
    IpopTunnelCounters counters;
    IpopPath *path;
    IpopOutflow outflow; /* of the path's socket */
    /* As in WireGuard's paper, section 6: `next` waits, at the responder, for proof that the initiator has it. */
    IpopSession *current, *previous, *next;
    const IpopSession *heard; /* the one that the peer's newest packet came under; to be compared only */
    IpopPath *next_path; /* what the peer moves to with `next` */
    uint32_t confirmed;  /* index of the last session whose confirmation was told */
    bool bye_told;       /* once per session, however often the peer says it */
    uint64_t ping;      /* what the outstanding ping carries; 0 none */

    /* Where it is, by what it sends: roam.c. */
    int64_t roamed;     /* when it last was somewhere else than before; 0 never */
    bool unproved;      /* nothing says yet that it is there indeed */
    uint64_t allowance; /* bytes that may go there meanwhile */

    /* The size of packets: mtu.c. */
    size_t mtu;   /* the device's */
    size_t inner; /* longer packets are cut, refused, or sent in pieces */
    size_t told;  /* what the kernel knows of it: longer packets may be refused; 0: it knows nothing yet */
    size_t announced;    /* to the main thread */
    bool announced_hole;
    bool timed;          /* among the worker's */
    IpopPmtu pmtu;
    int64_t report_due, reported; /* when a report of large datagrams is to be sent, 0 none; when the last one was */
    uint64_t largest_counter;     /* the highest of a large datagram that came */
    IpopQuote quotes[IPOP_QUOTES_MAX];
    uint16_t pieces_id;
    IpopReassembly *reassembly; /* NULL until a piece comes */
};

/* What an index of ours stands for. */
typedef struct {
    IpopSession *session;
    IpopTunnelPeer *peer;
} IpopTunnelSession;

/* What a worker waits for, besides its queues and the inbox: a path's own socket. */
typedef struct {
    IpopPath *path; /* one reference */
    IpopTunnelPeer *peer;
    IpopAqm aqm;
    uint32_t overflown; /* datagrams that the socket had no room for */
} IpopListener;

/* A queue of the device's. How long packets wait in it the kernel does not tell: now and then, while it is not empty, a marker
 * is put in it, which says when that was. */
typedef struct {
    int fd;
    uint8_t number;
    int64_t marked; /* the last time */
    IpopAqm aqm;
} IpopIntake;

typedef struct {
    uint8_t zero, queue; /* see IpopTunnelDevice */
    uint64_t key;        /* random: it is ours */
    int64_t sent;
} __attribute__((packed)) IpopMarker;

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
    IpopQueue *queue; /* from the other workers; NULL: there are none */
    IpopIntake intakes[IPOP_TUNNEL_QUEUES_MAX];
    unsigned intakes_n;
    int device; /* to write to */
    uint64_t marker_key;
    int epoll;
    bool stop;
    int64_t now; /* taken once per wake-up */
    IpopRoutes *routes;    /* every worker has all of them */
    GHashTable *sessions;  /* local index -> IpopTunnelSession, owned */
    GHashTable *listeners; /* path -> IpopListener, owned */
    int64_t due;      /* when ipop_mtu_run wants to be called; IPOP_PMTU_NEVER */
    GPtrArray *timed; /* the peers that want it */
    IpopIcmpLimit icmp;
    struct in_addr own4; /* this node's overlay addresses; zero: none */
    struct in6_addr own6;
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
    unsigned queue_peers[IPOP_TUNNEL_QUEUES_MAX]; /* main thread: how many come by each */
    IpopWorker *workers[IPOP_TUNNEL_THREADS_MAX];
    unsigned workers_n;
};

_Static_assert(IPOP_QUEUE_HEADROOM >= IPOP_SEGMENT_HEADROOM, "a packet from the queue is cut like one from the device");

static inline void ipop_count(atomic_uint_least64_t *counter, uint64_t n) {
    /* One writer: no need for a locked add. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* The tunnel's own counters and IPOP_DROP_QUEUE, which every thread writes. */
static inline void ipop_count_shared(atomic_uint_least64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* worker.c: makes the tunnel's worker of that number, of so many, and starts it. False: what there is of it is to be freed. */
bool ipop_worker_start(IpopTunnel *tunnel, unsigned number, unsigned workers, GError **error);
void ipop_worker_free(IpopWorker *worker); /* main thread, when it has ended; accepts NULL */
bool ipop_worker_watch(IpopWorker *worker, int fd, void *what);

/* outbound.c: takes what a queue of the device's has, or what other workers hand over, at most so many packets. */
void ipop_outbound_run(IpopWorker *worker, IpopIntake *intake, unsigned most);
void ipop_outbound_run_queue(IpopWorker *worker, unsigned most);

/* Sends what waits in the train. */
void ipop_outbound_flush(IpopWorker *worker);

/* Seals a frame without a packet (a ping, ...) of kind and 8 bytes, if the kind has them, and sends it by that path. */
void ipop_outbound_frame(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath *path, uint8_t kind, uint64_t value);

/* inbound.c: one datagram of type IPOP_WIRE_DATA, changed in place. */
void ipop_inbound_datagram(void *worker, uint8_t *datagram, size_t n);

/* The same; true when it was the newest so far under the peer's current keys. */
bool ipop_inbound_open(IpopWorker *worker, uint8_t *datagram, size_t n);

/* Gives the device what waits to be joined with more. */
void ipop_inbound_flush(IpopWorker *worker);

/* Gives the device bytes as it wants them, vnet header and all. */
void ipop_inbound_write(IpopWorker *worker, const uint8_t *buffer, size_t n);

/* receive.c: lets the path's socket say how long a datagram waited in it, and how many it had no room for. */
void ipop_receive_prepare(IpopListener *listener);

/* What the socket has, at most so many calls of it. True when there may be more. */
bool ipop_receive_run(IpopWorker *worker, IpopListener *listener, unsigned most);

/* roam.c: n bytes came from there, with something newer under the current keys than all before, by the peer's own path. */
void ipop_roam_heard(IpopWorker *worker, IpopTunnelPeer *peer, const IpopPathSource *from, size_t n);

/* Whether n bytes may go to where the peer seems to be; counts them. */
bool ipop_roam_allows(IpopTunnelPeer *peer, size_t n);

/* The peer answered what was sent at that time; it got another path. */
void ipop_roam_answered(IpopWorker *worker, IpopTunnelPeer *peer, int64_t sent);
void ipop_roam_end(IpopTunnelPeer *peer);

/* mtu.c: the peer's path is another, or the device's MTU; the keys are new; the peer goes. */
void ipop_mtu_begin(IpopWorker *worker, IpopTunnelPeer *peer);
void ipop_mtu_rekeyed(IpopTunnelPeer *peer);
void ipop_mtu_end(IpopWorker *worker, IpopTunnelPeer *peer);

/* It is worker->due. */
void ipop_mtu_run(IpopWorker *worker);

/* Datagrams of at most that size have left by the peer's path, the first with that counter; the interface took none of
 * that size. */
void ipop_mtu_sent(IpopWorker *worker, IpopTunnelPeer *peer, size_t size, uint64_t counter);
void ipop_mtu_refused(IpopWorker *worker, IpopTunnelPeer *peer, size_t size);

/* A datagram above IPOP_PMTU_BASE came, under the current keys, and is no probe. */
void ipop_mtu_received(IpopWorker *worker, IpopTunnelPeer *peer, uint64_t counter);

/* Frames. */
void ipop_mtu_take_probe(IpopWorker *worker, IpopTunnelPeer *peer, const uint8_t *frame, size_t n);
void ipop_mtu_take_probed(IpopWorker *worker, IpopTunnelPeer *peer, uint64_t value);
void ipop_mtu_take_report(IpopWorker *worker, IpopTunnelPeer *peer, uint64_t value);

/* A packet above IPOP_MTU_LARGE is about to be sent: keeps its beginning. */
void ipop_mtu_remember(IpopTunnelPeer *peer, const uint8_t *packet);

/* Of a packet above peer->told: true when it may not be cut by anybody; then its sender is told. */
bool ipop_mtu_refuse(IpopWorker *worker, IpopTunnelPeer *peer, const uint8_t *packet, size_t n);

/* The main thread has passed on what ipop_tunnel_tell_mtu said: the kernel knows. */
void ipop_mtu_told(IpopWorker *worker, IpopTunnelPeer *peer, unsigned mtu, bool hole);

/* Lowers the MSS of a TCP connection of a host behind this node or the peer; other packets stay as they are. */
void ipop_mtu_clamp(const IpopTunnelPeer *peer, uint8_t *packet, size_t n, bool partial);

/* tunnel.c */
void ipop_tunnel_send_ping(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath *path);
void ipop_tunnel_promote_next(IpopWorker *worker, IpopTunnelPeer *peer);

/* events.c */
void ipop_tunnel_tell_confirmed(IpopTunnelPeer *peer, uint32_t index);
void ipop_tunnel_tell_pong(IpopTunnelPeer *peer, int64_t rtt);
void ipop_tunnel_tell_bye(IpopTunnelPeer *peer);
void ipop_tunnel_tell_roamed(IpopTunnelPeer *peer, const char remote[static IPOP_PATH_ADDRESS]);
void ipop_tunnel_tell_mtu(IpopTunnelPeer *peer, unsigned mtu, bool hole);
void ipop_tunnel_tell_handshake(IpopListener *listener, const uint8_t *message, size_t n);
void ipop_tunnel_tell_released(IpopTunnel *tunnel, IpopSession *session); /* takes it */
void ipop_tunnel_tell_removed(IpopTunnelPeer *peer); /* takes it, behind every event that names it */
