/* twin.h - two whole nodes in one process, without network and privilege: a socket pair stands for each TUN device, and a
 * twin of the transport hands datagrams over in memory. What is tested is the real link, handshake, session and tunnel. */
#pragma once

#include "tincan/link/link.h"

#include <glib.h>

typedef struct Twin Twin;

typedef struct {
    Twin *twin;
    int side; /* 0 or 1 */
    IpopIdentity *identity;
    uint8_t psk[IPOP_PSK_BYTES];
    IpopTunnel *tunnel;
    int tun;  /* the tunnel's end of the device is the other one of the pair */
    int tun_inner;
    IpopLinkEnv env;
    IpopTunnelPeer *tunnel_peer;
    IpopTunnelPeer *bystander; /* another, so that the first is not on the first data thread where there are several */
    IpopLink *link;
    uint32_t next_index;
    unsigned transports; /* made so far */
    unsigned changes;
    unsigned mtu, holes; /* as last told; how often */
    unsigned doubts; /* told so far */
} TwinNode;

struct Twin {
    TwinNode node[2];
    /* What the wire does with each datagram on its way; true: deliver it, perhaps altered. On the main thread. NULL: all. */
    bool (*wire)(Twin *twin, int from, uint8_t *datagram, size_t n);
    bool relayed;       /* the pairs selected from now on are */
    unsigned around;    /* of paths from now on: see path.h */
    unsigned cut;       /* the wires of the first so many generations are dead */
    unsigned passed[2]; /* datagrams delivered, by sender */
    unsigned paths;     /* alive */
    unsigned transports;
};

/* Overlay addresses are 10.0.0.1 (fd00::1) and 10.0.0.2 (fd00::2). */
Twin *twin_new(void);
Twin *twin_new_vnet(void); /* with a virtio_net_hdr in front of each packet at the devices */
void twin_free(Twin *twin);

/* Begins a generation at both ends and introduces them to each other: what signalling does. */
void twin_connect(Twin *twin, uint32_t generation);

/* Another pair is selected at each end of the newest generation. */
void twin_select(Twin *twin);

/* Runs the main loop until so many paths are alive. */
void twin_wait_paths(Twin *twin, unsigned n);

/* Runs the main loop until both links are in that state; fails the test after 20 s. */
void twin_wait(Twin *twin, IpopLinkState a, IpopLinkState b);

/* Runs the main loop until *counter reaches n. */
void twin_wait_count(const atomic_uint_least64_t *counter, uint64_t n);

/* Puts an IPv4 UDP packet from 10.0.0.(from) to 10.0.0.(to) with that payload into the node's device. */
void twin_write_packet(TwinNode *node, unsigned from, unsigned to, const char *payload);

/* Waits for a packet at the node's device and gives its payload (g_free). */
char *twin_read_payload(TwinNode *node);

/* True when nothing is to be read at the device. */
bool twin_silent(const TwinNode *node);
