/* internal.h - what the files of a link share: link.c (states, what the transport says, life), generation.c (transports
 * beside one another), keys.c (handshakes). Included by these alone. Main thread.
 */
#pragma once

#include "tincan/base/clock.h"
#include "tincan/link/link.h"
#include "tincan/link/liveness.h"

typedef struct IpopGeneration IpopGeneration;

/* One transport beneath the link. */
struct IpopGeneration {
    IpopLink *link;
    uint32_t number;
    bool controlling, has_remote;
    bool stale; /* relayed by what a TURN server will not know for much longer */
    bool held; /* connected, but by a relay, beside one that carries: no handshake as long as that lives */
    IpopTransport *transport;
    IpopTransportState state;
    int64_t failed_at; /* the transport gave itself up, whatever the packets say; 0: not */
    IpopPath *path; /* NULL until connected */
    IpopPathInfo info;
    int64_t since; /* begun; then: to be used from then on */
    /* A first message that overtook our own ICE: kept until there is a path to answer by. */
    uint8_t early[IPOP_WIRE_INIT_SIZE];
    bool has_early;
};

struct IpopLink {
    IpopLinkEnv *env;
    IpopTunnelPeer *tunnel_peer;
    void *peer;
    uint8_t peer_key[IPOP_KEY_BYTES];
    unsigned suites;

    IpopGeneration *carrying, *newest; /* may be the same; carrying has, or had, a confirmed session */
    uint32_t number; /* the highest begun since the last trim; that generation may have been given up */
    IpopAttempt *attempt; /* that one's */
    guint close_old;
    IpopGeneration *old; /* left by the last move, still open for what is under way */

    IpopHandshake *handshake; /* ours, by handshake_generation */
    uint32_t handshake_generation;
    int64_t handshake_begun;
    unsigned handshake_tries;
    uint64_t handshake_claims; /* our own, as its last message had them */
    guint handshake_timer;
    bool answer_forged; /* an answer came and did not decrypt */
    unsigned unproved;  /* answers of ours since the last confirmation */
    uint64_t peer_timestamp;
    int64_t last_init;
    IpopCookie cookie;

    /* The newest session made by each side's handshake, waiting for its first packet: index and generation. */
    uint32_t session_index[2], session_generation[2];
    uint64_t session_claims[2], session_told[2]; /* the peer's, and ours, in its handshake */
    uint64_t claims, told;                       /* those of the session that was confirmed last; 0: none */
    bool confirmed, session_initiator, online;
    int64_t session_born;
    IpopLiveness liveness;
    guint look_timer; /* sooner than the next tick */

    IpopLinkState state;
    char *reason;
};

/* --- link.c --- */

/* False when that is no news. reason may be NULL. */
bool ipop_link_set_state(IpopLink *link, IpopLinkState state, const char *reason);

/* Looks whether the peer is there, and does what follows; plans the next look. */
void ipop_link_look(IpopLink *link, int64_t now);

/* The next look asks the peer at once. */
void ipop_link_ask(IpopLink *link, int64_t now);

/* --- generation.c --- */

/* Closes the transport; accepts NULL. */
void ipop_generation_free(IpopGeneration *generation);

/* Its path from now on, instead of the one that it had. Takes a reference. */
void ipop_generation_take_path(IpopGeneration *generation, IpopPath *path);

/* The newest or the carrying one, by its number; NULL when it is neither. */
IpopGeneration *ipop_generation_find(IpopLink *link, uint32_t number);

/* The newest generation has a proven session: it carries now. */
void ipop_generation_move(IpopLink *link);

/* The newest one is closed, unless it carries: what does goes on as if there had been no other. */
void ipop_generation_give_up_newest(IpopLink *link);

/* False while the newest one would be no gain. */
bool ipop_generation_worth_moving(const IpopLink *link, int64_t now);

/* Once a second, and while in doubt: begins the handshake of the newest generation when it is time, and closes what came to
 * nothing. */
void ipop_generation_check_newest(IpopLink *link, int64_t now);

/* --- keys.c --- */

#define IPOP_KEYS_LIMIT (15 * IPOP_SECOND) /* for a handshake, all its tries together */

/* Begins a handshake by that generation's path, unless one is under way by it. */
void ipop_keys_begin(IpopLink *link, IpopGeneration *generation, int64_t now);
void ipop_keys_stop(IpopLink *link);

/* A handshake message that came in by that generation. */
void ipop_keys_take(IpopLink *link, IpopGeneration *generation, const uint8_t *message, size_t n);
