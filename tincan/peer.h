/* peer.h - a known peer: what the controller told of it, its link, and its part of the tunnel. Main thread. */
#pragma once

#include "tincan/control/server.h"
#include "tincan/ctl/nat.h"
#include "tincan/link/link.h"

#include <arpa/inet.h>

typedef struct IpopDaemon IpopDaemon;

typedef struct IpopPeer {
    IpopDaemon *daemon;
    IpopUid uid;
    uint8_t key[IPOP_KEY_BYTES];
    char name[IPOP_NAME_MAX + 1];
    char *jid;
    char ip4[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN];
    bool available;
    int64_t jabber_heard; /* ipop_clock_now; 0 never */
    IpopNat nat;          /* as it said of itself */
    char *told;           /* what the log last said of its link */
    char *refused;        /* why it may not be a peer; NULL when it may */
    IpopTunnelPeer *tunnel_peer;
    IpopLink *link;
    /* Totals a second ago, and what came since. */
    uint64_t sent_last, recv_last, sent_rate, recv_rate;
    unsigned mtu, mtu_logged; /* the largest packet that its path takes; 0 unknown */
    /* What the kernel has been told of that: a route for each address. */
    struct {
        char host[INET6_ADDRSTRLEN];
        unsigned mtu; /* 0: none */
    } routes[2];
    IpopRequest *ping; /* who asked for the ping that is out */
    guint ping_timeout;
} IpopPeer;

IpopPeer *ipop_peer_new(IpopDaemon *daemon, const uint8_t key[static IPOP_KEY_BYTES]);
void ipop_peer_free(IpopPeer *peer);

/* Refuses the peer (why: not NULL), or admits it. Its addresses are routed to it only while admitted. */
void ipop_peer_set_refused(IpopPeer *peer, const char *why);

/* Routes its addresses to it unless it is refused, also when another peer had them before. */
void ipop_peer_route(IpopPeer *peer);

/* The tunnel has found out how large packets to it may be. */
void ipop_peer_mtu(IpopPeer *peer, unsigned mtu, bool hole);

/* The device has been configured anew: its MTU may be another, and routes may have gone with an address. */
void ipop_peer_device_changed(IpopPeer *peer);

/* Pings by the link for somebody who asked; takes the request over. */
void ipop_peer_ping(IpopPeer *peer, IpopRequest *request);
void ipop_peer_pong(IpopPeer *peer, int64_t rtt);

/* Once a second. */
void ipop_peer_tick(IpopPeer *peer, int64_t now);

/* Why it is not online, or why it is relayed, as one sentence; "" when neither. Owned by the caller. */
char *ipop_peer_reason(const IpopPeer *peer);

/* What would make it better, "" when nothing is known to. Static storage. */
const char *ipop_peer_remedy(const IpopPeer *peer);

/* The sentence for an attempt no check of which was answered. Owned by the caller. */
char *ipop_peer_explain_failed(const IpopPeer *peer, const IpopAttempt *attempt);

/* "direct", "relayed" or "". */
const char *ipop_peer_path(const IpopPeer *peer);
