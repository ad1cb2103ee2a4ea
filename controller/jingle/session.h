/* session.h - one Jingle session (XEP-0166 section 6, XEP-0176 section 5) as a transition table: events in, actions out.
 * Pure; the caller carries out the actions and calls off the ones it can't.
 *
 *   ours:    OFFERING -> OFFERED -> ACKNOWLEDGED -> ACTIVE
 *   theirs:  ANSWERING -> ANSWERED -> ACTIVE                  (and from everywhere to OVER)
 *
 * Candidates found while nothing may be sent yet wait in the session: a transport-info must not overtake the offer it
 * belongs to, which it would in the send queue.
 */
#pragma once

#include "controller/jingle/stanza.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    IPOP_SESSION_OFFERING,     /* waiting for tincan's credentials, then session-initiate */
    IPOP_SESSION_OFFERED,      /* sent, not acknowledged */
    IPOP_SESSION_ACKNOWLEDGED, /* session-accept not yet here */
    IPOP_SESSION_ANSWERING,    /* waiting for tincan's credentials, then session-accept */
    IPOP_SESSION_ANSWERED,     /* sent, not acknowledged */
    IPOP_SESSION_ACTIVE,       /* both sides have said all but further candidates */
    IPOP_SESSION_OVER,
    IPOP_SESSION_STATES,
} IpopSessionState;

typedef enum {
    /* from tincan */
    IPOP_SESSION_LOCAL,  /* credentials and candidates were added (ipop_session_add_local) */
    IPOP_SESSION_FAILED, /* the link failed, or took too long */
    /* requests of the peer, of this session's sid but for an offer */
    IPOP_SESSION_OFFER_LOSES, /* its session-initiate, and glare is ours to win (ipop_session_offer) */
    IPOP_SESSION_OFFER_WINS,
    IPOP_SESSION_ACCEPT,
    IPOP_SESSION_INFO,
    IPOP_SESSION_TERMINATE,
    /* answers of the peer to our requests */
    IPOP_SESSION_RESULT,
    IPOP_SESSION_TIE_BREAK,
    IPOP_SESSION_ERROR, /* any other error, no answer, or the login ended */
    IPOP_SESSION_EVENTS,
} IpopSessionEvent;

/* In the order in which they are to be done. */
enum {
    IPOP_SESSION_DO_ACKNOWLEDGE = 1 << 0,  /* answer the peer's request with a result */
    IPOP_SESSION_DO_REFUSE_TIE = 1 << 1,   /* ... with conflict and tie-break */
    IPOP_SESSION_DO_REFUSE_ORDER = 1 << 2, /* ... with bad-request: out of order */
    IPOP_SESSION_DO_SET_REMOTE = 1 << 3,   /* hand the request's credentials and candidates to tincan */
    IPOP_SESSION_DO_INITIATE = 1 << 4,     /* send session-initiate with what ipop_session_take_local gives */
    IPOP_SESSION_DO_SEND_ACCEPT = 1 << 5,
    IPOP_SESSION_DO_TRICKLE = 1 << 6,      /* send transport-info if ipop_session_take_local has something */
    IPOP_SESSION_DO_TERMINATE = 1 << 7,    /* send session-terminate */
    IPOP_SESSION_DO_REPLACE = 1 << 8,      /* end this one, begin one from the peer's offer */
    IPOP_SESSION_DO_END = 1 << 9,          /* it is over without a link: trim, policy decides what next */
};

typedef struct {
    IpopSessionState state;
    bool ours; /* this node is the initiator, and the controlling agent */
    char sid[IPOP_SID_MAX + 1];
    unsigned generation;
    IpopUid own;
    char ufrag[IPOP_ICE_UFRAG_MAX + 1], pwd[IPOP_ICE_PWD_MAX + 1]; /* the own ones; "" before tincan gave them */
    char remote_ufrag[IPOP_ICE_UFRAG_MAX + 1]; /* "" before the peer gave it */
    IpopCandidate waiting[IPOP_CANDIDATES_MAX];
    unsigned n_waiting, n_local, n_remote; /* in all at most IPOP_CANDIDATES_MAX of each side */
    bool end, end_sent;
    char nat[IPOP_NAT_TEXT_MAX + 1]; /* this node's, "" when tincan did not say */
} IpopSession;

/* An own session with a random sid, or an answer to the peer's offer. */
void ipop_session_init_ours(IpopSession *session, const IpopUid *own, unsigned generation);
void ipop_session_init_theirs(IpopSession *session, const IpopUid *own, unsigned generation, const IpopJingle *offer);

/* The next state and what to do: bits of IPOP_SESSION_DO_. */
unsigned ipop_session_step(IpopSession *session, IpopSessionEvent event);

/* The event that a session-initiate from that peer is. XEP-0166 section 7.2.16: of two that crossed, the lower uid's stays. */
IpopSessionEvent ipop_session_offer(const IpopUid *own, const IpopUid *peer);

/* tincan's credentials and further candidates; those beyond the limit are dropped. */
void ipop_session_add_local(IpopSession *session, const char *ufrag, const char *pwd, const IpopCandidate *candidates,
                            unsigned n, bool end);

/* Fills the message with all that waits, which then waits no more. False when nothing does. */
bool ipop_session_take_local(IpopSession *session, IpopJingleAction action, IpopJingle *ret);

/* Notes what the peer sent: cuts the candidates to the limit. False when its credentials are not those of before, which
 * would be an ICE restart inside a session (XEP-0176 section 5.8): we open a new session instead. */
bool ipop_session_take_remote(IpopSession *session, IpopJingle *message);
