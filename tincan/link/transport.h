/* transport.h - how two hosts come to exchange datagrams: negotiation on the main thread, a path (path.h) for the data
 * thread. ICE is the one that exists; a test twin can stand in its place. One transport is one generation of one link.
 */
#pragma once

#include "tincan/ctl/candidate.h"
#include "tincan/link/path.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct IpopTransport IpopTransport;

typedef enum {
    IPOP_TRANSPORT_GATHERING,
    IPOP_TRANSPORT_CHECKING,
    IPOP_TRANSPORT_CONNECTED,
    IPOP_TRANSPORT_FAILED,
} IpopTransportState;

/* What is known of the pair in use. */
typedef struct {
    IpopCandidateType local_type, remote_type;
    char local_addr[IPOP_PATH_ADDRESS]; /* "192.0.2.1:4711", "[2001:db8::1]:4711" */
    char remote_addr[IPOP_PATH_ADDRESS];
    bool relayed; /* either type is relay */
} IpopPathInfo;

/* All called on the main thread from the main loop, never from inside a call into the transport. */
typedef struct {
    /* New local candidates; the credentials are the same each time. end: there will be no more. */
    void (*candidates)(void *user, const char *ufrag, const char *pwd, const IpopCandidate *candidates, unsigned n, bool end);
    /* A change of state. why is a sentence for IPOP_TRANSPORT_FAILED, or NULL when no more is known than the attempt holds. */
    void (*state)(void *user, IpopTransportState state, const char *why);
    /* There is a (new) path; the receiver takes a reference if it wants it. */
    void (*path)(void *user, IpopPath *path, const IpopPathInfo *info);
    /* The peer was seen at another address than that of the path: a path there, to ask by. */
    void (*seen)(void *user, IpopPath *path);
    /* A datagram that came in by the negotiator's own socket. Not owned; may be changed in place. */
    void (*receive)(void *user, uint8_t *datagram, size_t n);
} IpopTransportEvents;

struct IpopTransport {
    const struct IpopTransportOps *ops;
    struct IpopAttempt *attempt; /* what it tries and sees (attempt.h); whoever wants it for longer takes a reference */
};

typedef struct IpopTransportOps {
    void (*set_remote)(IpopTransport *transport, const char *ufrag, const char *pwd);
    /* Those beyond IPOP_CANDIDATES_MAX in all are dropped. end: the peer has no more. */
    void (*add_candidates)(IpopTransport *transport, const IpopCandidate *candidates, unsigned n, bool end);
    /* Ends it. No event comes afterwards. Its paths stay valid until they are unreferenced, sending or not; the socket that
     * a path sends by goes with its last reference. */
    void (*close)(IpopTransport *transport);
} IpopTransportOps;
