/* tunnel.h - the data plane proper: threads that carry packets both ways between the TUN device and the peers.
 *
 *   outbound: tun -> route -> session -> path          (outbound.c)
 *   inbound:  path -> session -> source check -> tun   (receive.c, inbound.c)
 *
 * On one or two processors there is one data thread, for both directions. On more, peers are spread over several, and a
 * peer stays with its thread. Each thread reads some of the device's queues, where its peers' packets come by; what comes by
 * another's is handed over (queue.h). It owns its peers' sessions and paths; nothing it needs for a packet of its own is behind
 * a lock. The main thread changes them by commands (inbox.h), is told of events through the main loop, and reads counters,
 * which are atomic. All functions here are the main thread's and, but for ipop_tunnel_sync, return at once.
 */
#pragma once

#include "tincan/crypto/session.h"
#include "tincan/link/path.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct IpopTunnel IpopTunnel;
typedef struct IpopTunnelPeer IpopTunnelPeer;

/* Why a packet was dropped. Those of one peer are in its counters; those that can't be laid to a peer in the tunnel's. */
typedef enum {
    IPOP_DROP_MALFORMED,  /* a header contradicts itself or the length */
    IPOP_DROP_MULTICAST,  /* from the device, to a group or the broadcast address */
    IPOP_DROP_NO_ROUTE,   /* from the device, to an address of no peer */
    IPOP_DROP_NO_LINK,    /* to a peer without a path or session */
    IPOP_DROP_SEND,       /* the path takes no more */
    IPOP_DROP_NO_SESSION, /* from the network, with an index we don't have */
    IPOP_DROP_FORGED,     /* does not authenticate */
    IPOP_DROP_REPLAYED,   /* authentic before, or older than the window */
    IPOP_DROP_EXPIRED,    /* under a key past its life */
    IPOP_DROP_SOURCE,     /* authentic, but the inner source address is not that peer's */
    IPOP_DROP_DEVICE,     /* the device took no more */
    IPOP_DROP_QUEUE,      /* to a peer: more comes than can be sealed and sent */
    IPOP_DROP_LATE,       /* from a peer: more comes than can be opened */
    IPOP_DROP_TOO_BIG,    /* longer than the way takes, and not to be cut: its sender is told */
    IPOP_DROP_CAUSES,
} IpopDrop;

/* "malformed", "multicast", ... Static storage. */
const char *ipop_drop_name(IpopDrop cause);

/* Bytes are those of inner packets. Written by the data threads, read by any. */
typedef struct {
    atomic_uint_least64_t sent_bytes, sent_packets;
    atomic_uint_least64_t recv_bytes, recv_packets;
    atomic_uint_least64_t drops[IPOP_DROP_CAUSES];
    atomic_int_least64_t last_heard; /* when a packet last authenticated, ipop_clock_now; 0 never */
    atomic_int_least64_t last_sent;  /* when a packet was last sealed */
    atomic_int_least64_t rtt;        /* of the last ping, microseconds; 0 unknown */
    atomic_uint_least64_t mtu;       /* the largest packet that the path takes, not above the device's MTU; 0 unknown */
} IpopTunnelCounters;

#define IPOP_TUNNEL_QUEUES_MAX 16

/* The TUN device, or what stands for it. */
typedef struct {
    int fd[IPOP_TUNNEL_QUEUES_MAX]; /* what comes from it waits in so many queues; it may be written to any */
    unsigned queues;
    bool vnet;     /* each packet has a virtio_net_hdr (packet/vnet.h) in front, and may be a super-packet */
    bool join_udp; /* it takes UDP super-packets (Linux 6.2) */
    /* Packets to that address are to come by that queue. Main thread. NULL: all come by the first. */
    void (*steer)(void *user, int family, const uint8_t *address, unsigned queue);
    /* Puts bytes in the queue that the second one names, behind what waits there; the first is 0, as no packet's. It may fail.
     * Data threads. NULL: there is no such way, and nobody knows how long packets wait. */
    void (*mark)(void *user, const void *bytes, size_t n);
    void *user;
} IpopTunnelDevice;

/* On the main thread, from the main loop. peer is the user pointer of ipop_tunnel_add_peer; no event comes for a peer after
 * ipop_tunnel_remove_peer. */
typedef struct {
    /* The first packet of that session authenticated: the peer has the keys too. */
    void (*confirmed)(void *peer, uint32_t local_index);
    /* A session is no longer in use; its index may be given again. */
    void (*released)(void *user, uint32_t local_index);
    void (*pong)(void *peer, int64_t rtt);
    /* It is somewhere else than before, by what it sends, and its path leads there now. */
    void (*roamed)(void *peer, const char *remote);
    void (*bye)(void *peer);
    /* The largest packet that the peer's path takes is known, or has changed. hole: larger ones turned out to vanish;
     * how large they may be is being found out. ipop_tunnel_mtu_told is to be called when the kernel knows. */
    void (*mtu)(void *peer, unsigned mtu, bool hole);
    /* A handshake message came in by that path's own socket. */
    void (*handshake)(void *peer, IpopPath *path, const uint8_t *message, size_t n);
} IpopTunnelEvents;

#define IPOP_TUNNEL_THREADS_MAX 4

/* Starts so many data threads, 1 to IPOP_TUNNEL_THREADS_MAX (what is beyond is brought within). device stays the caller's
 * and must outlive the tunnel. */
IpopTunnel *ipop_tunnel_new(const IpopTunnelDevice *device, unsigned threads, const IpopTunnelEvents *events, void *user,
                            GError **error);

/* Ends the threads and frees all that is left. Peers must have been removed. */
void ipop_tunnel_free(IpopTunnel *tunnel);

const IpopTunnelCounters *ipop_tunnel_counters(const IpopTunnel *tunnel);

IpopTunnelPeer *ipop_tunnel_add_peer(IpopTunnel *tunnel, void *user);
void ipop_tunnel_remove_peer(IpopTunnelPeer *peer);
const IpopTunnelCounters *ipop_tunnel_peer_counters(const IpopTunnelPeer *peer);

/* Makes these the peer's addresses, instead of those it had: numeric, "" for none. */
void ipop_tunnel_set_addresses(IpopTunnelPeer *peer, const char *ip4, const char *ip6);

/* The device's MTU, at least 1280; and its addresses, numeric, "" for none. */
void ipop_tunnel_set_mtu(IpopTunnelPeer *peer, unsigned mtu);
void ipop_tunnel_set_local(IpopTunnel *tunnel, const char *ip4, const char *ip6);

/* What events.mtu said has been passed on to the kernel: from now on packets above it and above 1280 may be refused. */
void ipop_tunnel_mtu_told(IpopTunnelPeer *peer, unsigned mtu, bool hole);

/* What the peer's packets leave by from now on; NULL: nothing. Takes a reference of its own. */
void ipop_tunnel_set_path(IpopTunnelPeer *peer, IpopPath *path);

/* Reads datagrams for the peer from path->fd from now on, until ipop_tunnel_ignore. Nothing for a path without one. */
void ipop_tunnel_listen(IpopTunnelPeer *peer, IpopPath *path);
void ipop_tunnel_ignore(IpopTunnelPeer *peer, IpopPath *path);

/* Hands a new session over (ownership too), with the path its handshake went by, which becomes the peer's together with
 * the session: at once for the initiator, who announces it with a ping; when its first packet comes for the responder. So
 * a peer moves to a new path only when both have proved it. */
void ipop_tunnel_add_session(IpopTunnelPeer *peer, IpopSession *session, IpopPath *path);

/* Forgets all keys of the peer. */
void ipop_tunnel_drop_sessions(IpopTunnelPeer *peer);

/* Sends an authenticated ping by the peer's path; pong() tells when it comes back. */
void ipop_tunnel_ping(IpopTunnelPeer *peer);

/* The same by another path, where the peer may be: if it is, its answer brings the peer's path there. */
void ipop_tunnel_ping_by(IpopTunnelPeer *peer, IpopPath *path);

/* Tells the peer that this node goes away. */
void ipop_tunnel_bye(IpopTunnelPeer *peer);

/* Waits until the data threads have done all that they were told so far: what it was to send has left. */
void ipop_tunnel_sync(IpopTunnel *tunnel);

/* Sends a datagram as it is (a handshake message; at most 512 bytes) by that path of the peer. */
void ipop_tunnel_send(IpopTunnelPeer *peer, IpopPath *path, const uint8_t *datagram, size_t n);

/* A data datagram that came in from the peer by a transport's own socket: copied, decrypted by the peer's data thread. */
void ipop_tunnel_input(IpopTunnelPeer *peer, const uint8_t *datagram, size_t n);
