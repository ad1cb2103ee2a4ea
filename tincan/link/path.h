/* path.h - the sending end of one way to a peer, as the data thread sees it.
 *
 * A transport (transport.h) makes one for each selected pair; the tunnel holds a reference while it sends by it. Reference
 * counting is atomic; `release` always runs on the main thread, whichever thread lets go last.
 */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one send takes: datagrams lie one behind the other, all but the last equally long. The kernel takes 64 segments in
 * any version, and 65,507 bytes less what a relay or an option may add. */
#define IPOP_TRAIN_SEGMENTS 64
#define IPOP_TRAIN_BYTES 65000
#define IPOP_TRAIN_RELAYED 8 /* a TURN server reads them one by one, from a buffer that longer trains overflow */

#define IPOP_PATH_ADDRESS 54 /* "[" IPv6 address "]:" port and the end of the string */

/* Where a datagram came from. */
typedef union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} IpopPathSource;

typedef struct IpopPath IpopPath;

struct IpopPath {
    atomic_int refs;
    /* Datagrams from the peer come in here, joined by UDP GRO; -1: they come by the transport's receive event. */
    int fd;
    unsigned burst; /* datagrams in a train at most: IPOP_TRAIN_SEGMENTS, or fewer where a relay would lose them */
    /* Bytes that IP, UDP and a relay put around a datagram; 0: datagrams of any length pass. */
    unsigned around;
    size_t most;  /* longer datagrams are not to be tried; 0: no such bound */
    bool too_big; /* send() met a datagram that is longer than the interface takes. Data thread, which clears it */
    /* Sends a train of n bytes, cut every `segment` bytes; data thread only, never blocks. Returns how many datagrams were
     * taken; the rest are the caller's to count as dropped. None is fragmented, here or on the way. */
    unsigned (*send)(IpopPath *path, const uint8_t *train, size_t n, size_t segment);
    /* The same, but what is longer than the interface takes leaves in fragments. NULL where there is no such way. */
    unsigned (*send_fragmented)(IpopPath *path, const uint8_t *train, size_t n, size_t segment);
    /* Called when something of the negotiator's came in glued to a train: stop joining. NULL where fd is -1. */
    void (*unglue)(IpopPath *path);
    /* Data thread, and NULL where the far end can't move: whether that is where sends go; makes them go there from now on, and
     * says where that is as text. */
    bool (*leads_to)(const IpopPath *path, const IpopPathSource *from);
    void (*roam)(IpopPath *path, const IpopPathSource *from, char ret_remote[static IPOP_PATH_ADDRESS]);
    /* Main thread, and NULL where fd is -1: a path to the same address by a socket of its own, with the local address as text,
     * where this one's local address is gone, or its interface down. NULL: they are not, or there is no way. */
    IpopPath *(*rebind)(IpopPath *path, char ret_local[static IPOP_PATH_ADDRESS]);
    void (*release)(IpopPath *path); /* main thread */
};

IpopPath *ipop_path_ref(IpopPath *path);
void ipop_path_unref(IpopPath *path); /* any thread; accepts NULL */
