/* link.h - the link to one peer: transports come and go beneath it (generations), a Noise session runs above them.
 *
 * A new generation is made beside the one that carries; the link moves over when a handshake by the new one is confirmed.
 * To one that is relayed it moves only when the old one leaves us without an answer; one that came to nothing is closed.
 * The link is online from authenticated data alone, never from what ICE believes (liveness.h): it goes offline when
 * authenticated pings stay unanswered, and comes back by itself when something authentic arrives. Main thread.
 */
#pragma once

#include "tincan/crypto/cookie.h"
#include "tincan/crypto/handshake.h"
#include "tincan/link/attempt.h"
#include "tincan/tunnel/tunnel.h"

#include <glib.h>

typedef struct IpopLink IpopLink;

typedef enum {
    IPOP_LINK_IDLE,
    IPOP_LINK_GATHERING,
    IPOP_LINK_CHECKING,
    IPOP_LINK_HANDSHAKE,
    IPOP_LINK_ONLINE,
    IPOP_LINK_FAILED,
} IpopLinkState;

/* "idle", "gathering", ... Static storage. */
const char *ipop_link_state_name(IpopLinkState state);

/* What links share: one per node, filled by the daemon, outliving every link. */
typedef struct {
    void *node;
    const IpopIdentity *identity;
    const uint8_t *psk; /* IPOP_PSK_BYTES in locked memory, zero when there is none */
    IpopCookieJar *jar;
    uint64_t claims; /* what this node says of itself (ids.h); when it changes, the peers of all links are told */
    int64_t realtime_offset; /* what makes ipop_clock_now the date, as of the start: handshake timestamps only grow */
    /* Handshakes that came in during this second, over all links: above a bound, cookies are asked for. */
    int64_t load_second;
    unsigned load;
    uint32_t (*index_new)(void *node); /* a random unused session index */
    void (*index_free)(void *node, uint32_t index);
    IpopTransport *(*transport_new)(void *node, bool controlling, const IpopTransportEvents *events, void *user,
                                    GError **error);
    /* The state, path or reason of a link is another than before, or what the peer says of itself. */
    void (*changed)(void *peer);
    /* The sentence for an attempt that no check of was answered; owned by the caller. */
    char *(*explain)(void *peer, const IpopAttempt *attempt);
    /* It carries, but leaves us without an answer, or will not last: another generation should be tried beside it. */
    void (*doubt)(void *peer);
    void (*candidates)(void *peer, uint32_t generation, const char *ufrag, const char *pwd,
                       const IpopCandidate *candidates, unsigned n, bool end);
} IpopLinkEnv;

/* peer: what the callbacks of env get. tunnel_peer outlives the link. */
IpopLink *ipop_link_new(IpopLinkEnv *env, IpopTunnelPeer *tunnel_peer, const uint8_t peer_key[static IPOP_KEY_BYTES],
                        void *peer);
void ipop_link_free(IpopLink *link);

/* Bits of IpopSuite that the peer has. */
void ipop_link_set_suites(IpopLink *link, unsigned suites);

/* Begins a generation. The present one again is no error and does nothing, even when it came to nothing and is closed; an
 * older one is refused. */
bool ipop_link_create(IpopLink *link, uint32_t generation, bool controlling, GError **error);

/* The peer's side of that generation. False when it is not the newest one that is open. */
bool ipop_link_set_remote(IpopLink *link, uint32_t generation, const char *ufrag, const char *pwd,
                          const IpopCandidate *candidates, unsigned n, bool end);

/* What the TURN servers know this node by is new: a relayed link moves to the next generation, be it relayed too. */
void ipop_link_relays_changed(IpopLink *link);

/* The newest attempt came to nothing, why may be NULL. What carried before stays open as long as its keys live: the peer may
 * only have slept. */
void ipop_link_give_up(IpopLink *link, const char *why);

/* Ends everything; why may be NULL. */
void ipop_link_trim(IpopLink *link, const char *why);

/* From the tunnel: the peer proved a session; said goodbye; answered a ping. */
void ipop_link_confirmed(IpopLink *link, uint32_t index);
void ipop_link_bye(IpopLink *link);
void ipop_link_pong(IpopLink *link);

/* From the tunnel: the peer's path leads there now. */
void ipop_link_roamed(IpopLink *link, const char *remote);

/* A handshake message that came in by a path's own socket. */
void ipop_link_handshake(IpopLink *link, const IpopPath *path, const uint8_t *message, size_t n);

/* Something happened that may have ended the path (the network changed, the host slept): asks the peer at once, from another
 * socket where the path's own leads nowhere any more. */
void ipop_link_check(IpopLink *link);

/* Once a second: pings, rekeys, finds out what died. */
void ipop_link_tick(IpopLink *link, int64_t now);

IpopLinkState ipop_link_state(const IpopLink *link);
uint32_t ipop_link_generation(const IpopLink *link); /* the newest, though it may be closed; 0 none */
const char *ipop_link_reason(const IpopLink *link);  /* a sentence, or "" */
uint64_t ipop_link_claims(const IpopLink *link);     /* what the peer has proved to say of itself (ids.h); 0 nothing yet */
/* What was tried: 0 by the generation that carries, 1 by the newest one, which may be closed. NULL when there is none (of its
 * own). */
const IpopAttempt *ipop_link_attempt(const IpopLink *link, unsigned i);
/* Of the generation that carries; NULL when none does. */
const IpopPathInfo *ipop_link_path_info(const IpopLink *link);
