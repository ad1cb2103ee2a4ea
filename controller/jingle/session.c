#include "controller/jingle/session.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

#define ACKNOWLEDGE IPOP_SESSION_DO_ACKNOWLEDGE
#define END IPOP_SESSION_DO_END

typedef struct {
    IpopSessionState next;
    unsigned actions;
} Transition;

#define OVER IPOP_SESSION_OVER
#define STAY(state, actions) {IPOP_SESSION_##state, actions}
#define REPLACED {OVER, IPOP_SESSION_DO_REPLACE}
#define OUT_OF_ORDER(state) {IPOP_SESSION_##state, IPOP_SESSION_DO_REFUSE_ORDER}
#define ENDED {OVER, END}
#define SAID_AND_ENDED {OVER, IPOP_SESSION_DO_TERMINATE | END}
#define TERMINATED {OVER, ACKNOWLEDGE | END}

/* [state][event] */
static const Transition table[IPOP_SESSION_STATES][IPOP_SESSION_EVENTS] = {
    [IPOP_SESSION_OFFERING] = {
        [IPOP_SESSION_LOCAL] = {IPOP_SESSION_OFFERED, IPOP_SESSION_DO_INITIATE},
        [IPOP_SESSION_FAILED] = ENDED, /* the peer does not know of it */
        [IPOP_SESSION_OFFER_LOSES] = STAY(OFFERING, IPOP_SESSION_DO_REFUSE_TIE),
        [IPOP_SESSION_OFFER_WINS] = REPLACED,
        [IPOP_SESSION_ACCEPT] = OUT_OF_ORDER(OFFERING),
        [IPOP_SESSION_INFO] = OUT_OF_ORDER(OFFERING),
        [IPOP_SESSION_TERMINATE] = TERMINATED,
        [IPOP_SESSION_RESULT] = STAY(OFFERING, 0),
        [IPOP_SESSION_TIE_BREAK] = ENDED,
        [IPOP_SESSION_ERROR] = ENDED,
    },
    [IPOP_SESSION_OFFERED] = {
        [IPOP_SESSION_LOCAL] = STAY(OFFERED, 0),
        [IPOP_SESSION_FAILED] = SAID_AND_ENDED,
        [IPOP_SESSION_OFFER_LOSES] = STAY(OFFERED, IPOP_SESSION_DO_REFUSE_TIE),
        [IPOP_SESSION_OFFER_WINS] = REPLACED,
        [IPOP_SESSION_ACCEPT] = {IPOP_SESSION_ACTIVE, ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE | IPOP_SESSION_DO_TRICKLE},
        [IPOP_SESSION_INFO] = STAY(OFFERED, ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE),
        [IPOP_SESSION_TERMINATE] = TERMINATED,
        [IPOP_SESSION_RESULT] = {IPOP_SESSION_ACKNOWLEDGED, IPOP_SESSION_DO_TRICKLE},
        [IPOP_SESSION_TIE_BREAK] = ENDED,
        [IPOP_SESSION_ERROR] = ENDED,
    },
    [IPOP_SESSION_ACKNOWLEDGED] = {
        [IPOP_SESSION_LOCAL] = STAY(ACKNOWLEDGED, IPOP_SESSION_DO_TRICKLE),
        [IPOP_SESSION_FAILED] = SAID_AND_ENDED,
        /* It has our offer and makes its own all the same: it was restarted. No glare. */
        [IPOP_SESSION_OFFER_LOSES] = REPLACED,
        [IPOP_SESSION_OFFER_WINS] = REPLACED,
        [IPOP_SESSION_ACCEPT] = {IPOP_SESSION_ACTIVE, ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE},
        [IPOP_SESSION_INFO] = STAY(ACKNOWLEDGED, ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE),
        [IPOP_SESSION_TERMINATE] = TERMINATED,
        [IPOP_SESSION_RESULT] = STAY(ACKNOWLEDGED, 0),
        [IPOP_SESSION_TIE_BREAK] = ENDED,
        [IPOP_SESSION_ERROR] = ENDED,
    },
    [IPOP_SESSION_ANSWERING] = {
        [IPOP_SESSION_LOCAL] = {IPOP_SESSION_ANSWERED, IPOP_SESSION_DO_SEND_ACCEPT},
        [IPOP_SESSION_FAILED] = SAID_AND_ENDED,
        [IPOP_SESSION_OFFER_LOSES] = REPLACED,
        [IPOP_SESSION_OFFER_WINS] = REPLACED,
        [IPOP_SESSION_ACCEPT] = OUT_OF_ORDER(ANSWERING),
        [IPOP_SESSION_INFO] = STAY(ANSWERING, ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE),
        [IPOP_SESSION_TERMINATE] = TERMINATED,
        [IPOP_SESSION_RESULT] = STAY(ANSWERING, 0),
        [IPOP_SESSION_TIE_BREAK] = ENDED,
        [IPOP_SESSION_ERROR] = ENDED,
    },
    [IPOP_SESSION_ANSWERED] = {
        /* session-accept is ahead of all else in the send queue, so candidates may follow it at once. */
        [IPOP_SESSION_LOCAL] = STAY(ANSWERED, IPOP_SESSION_DO_TRICKLE),
        [IPOP_SESSION_FAILED] = SAID_AND_ENDED,
        [IPOP_SESSION_OFFER_LOSES] = REPLACED,
        [IPOP_SESSION_OFFER_WINS] = REPLACED,
        [IPOP_SESSION_ACCEPT] = OUT_OF_ORDER(ANSWERED),
        [IPOP_SESSION_INFO] = STAY(ANSWERED, ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE),
        [IPOP_SESSION_TERMINATE] = TERMINATED,
        [IPOP_SESSION_RESULT] = {IPOP_SESSION_ACTIVE, IPOP_SESSION_DO_TRICKLE},
        [IPOP_SESSION_TIE_BREAK] = ENDED,
        [IPOP_SESSION_ERROR] = ENDED,
    },
    [IPOP_SESSION_ACTIVE] = {
        [IPOP_SESSION_LOCAL] = STAY(ACTIVE, IPOP_SESSION_DO_TRICKLE),
        [IPOP_SESSION_FAILED] = SAID_AND_ENDED,
        [IPOP_SESSION_OFFER_LOSES] = REPLACED,
        [IPOP_SESSION_OFFER_WINS] = REPLACED,
        [IPOP_SESSION_ACCEPT] = OUT_OF_ORDER(ACTIVE),
        [IPOP_SESSION_INFO] = STAY(ACTIVE, ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE),
        [IPOP_SESSION_TERMINATE] = TERMINATED,
        [IPOP_SESSION_RESULT] = STAY(ACTIVE, 0),
        [IPOP_SESSION_TIE_BREAK] = ENDED,
        [IPOP_SESSION_ERROR] = ENDED,
    },
    [IPOP_SESSION_OVER] = {
        [IPOP_SESSION_LOCAL] = STAY(OVER, 0),
        [IPOP_SESSION_FAILED] = STAY(OVER, 0),
        [IPOP_SESSION_OFFER_LOSES] = REPLACED,
        [IPOP_SESSION_OFFER_WINS] = REPLACED,
        [IPOP_SESSION_ACCEPT] = OUT_OF_ORDER(OVER),
        [IPOP_SESSION_INFO] = OUT_OF_ORDER(OVER),
        [IPOP_SESSION_TERMINATE] = STAY(OVER, ACKNOWLEDGE),
        [IPOP_SESSION_RESULT] = STAY(OVER, 0),
        [IPOP_SESSION_TIE_BREAK] = STAY(OVER, 0),
        [IPOP_SESSION_ERROR] = STAY(OVER, 0),
    },
};

void ipop_session_init_ours(IpopSession *session, const IpopUid *own, unsigned generation) {
    uint8_t random[12];
    randombytes_buf(random, sizeof random);
    *session = (IpopSession){.state = IPOP_SESSION_OFFERING, .ours = true, .own = *own, .generation = generation};
    sodium_bin2hex(session->sid, sizeof session->sid, random, sizeof random);
}

void ipop_session_init_theirs(IpopSession *session, const IpopUid *own, unsigned generation, const IpopJingle *offer) {
    *session = (IpopSession){.state = IPOP_SESSION_ANSWERING, .own = *own, .generation = generation};
    g_strlcpy(session->sid, offer->sid, sizeof session->sid);
}

unsigned ipop_session_step(IpopSession *session, IpopSessionEvent event) {
    Transition transition = table[session->state][event];
    session->state = transition.next;
    return transition.actions;
}

IpopSessionEvent ipop_session_offer(const IpopUid *own, const IpopUid *peer) {
    return ipop_uid_compare(own, peer) < 0 ? IPOP_SESSION_OFFER_LOSES : IPOP_SESSION_OFFER_WINS;
}

void ipop_session_add_local(IpopSession *session, const char *ufrag, const char *pwd, const IpopCandidate *candidates,
                            unsigned n, bool end) {
    g_strlcpy(session->ufrag, ufrag, sizeof session->ufrag);
    g_strlcpy(session->pwd, pwd, sizeof session->pwd);
    for (unsigned i = 0; i < n && session->n_local < IPOP_CANDIDATES_MAX; i++, session->n_local++)
        session->waiting[session->n_waiting++] = candidates[i];
    session->end |= end;
}

bool ipop_session_take_local(IpopSession *session, IpopJingleAction action, IpopJingle *ret) {
    bool end = session->end && !session->end_sent;
    *ret = (IpopJingle){.action = action, .uid = session->own, .end = end, .n_candidates = session->n_waiting};
    g_strlcpy(ret->sid, session->sid, sizeof ret->sid);
    g_strlcpy(ret->nat, session->nat, sizeof ret->nat);
    g_strlcpy(ret->ufrag, session->ufrag, sizeof ret->ufrag);
    g_strlcpy(ret->pwd, session->pwd, sizeof ret->pwd);
    memcpy(ret->candidates, session->waiting, session->n_waiting * sizeof *session->waiting);
    session->n_waiting = 0;
    session->end_sent |= end;
    return ret->n_candidates > 0 || end;
}

bool ipop_session_take_remote(IpopSession *session, IpopJingle *message) {
    if (session->remote_ufrag[0] != '\0' && strcmp(session->remote_ufrag, message->ufrag) != 0)
        return false;
    g_strlcpy(session->remote_ufrag, message->ufrag, sizeof session->remote_ufrag);
    message->n_candidates = MIN(message->n_candidates, IPOP_CANDIDATES_MAX - session->n_remote);
    session->n_remote += message->n_candidates;
    return true;
}
