/* internal.h - what the files of the controller share. Main thread.
 *
 *   xmpp -> discovery (who is there, may it be a peer) -> links (what should be done about it) -> signalling (the session)
 *   tincan -> links, signalling
 */
#pragma once

#include "controller/budget.h"
#include "controller/conf/conf.h"
#include "controller/controller.h"
#include "controller/dataplane/dataplane.h"
#include "controller/jingle/extdisco.h"
#include "controller/jingle/session.h"
#include "controller/netwatch.h"
#include "controller/peer/pins.h"
#include "controller/peer/registry.h"
#include "controller/peer/self.h"
#include "controller/xmpp/xmpp.h"
#include "tincan/base/clock.h"
#include "tincan/base/log.h"

#include <glib.h>

struct IpopController {
    const IpopConf *conf;
    char *state_dir;
    void (*failed)(void *user, const char *sentence);
    void *user;

    IpopDataplane *dataplane;
    bool tincan;    /* it answers */
    IpopNetwatch *netwatch; /* while it does not; NULL: none */
    IpopSelf *self; /* NULL before tincan first answered: only it knows the key */
    IpopPins *pins;
    IpopRegistry *registry;

    IpopXmpp *xmpp;
    IpopXmppState xmpp_state;
    char *jid;         /* own full JID while logged in, else "" */
    char *xmpp_error;  /* of the last attempt; NULL none */
    char *xmpp_told;   /* the last line of the log about it, but for a login: NULL */
    IpopBudget xmpp_lines;
    unsigned login;    /* number of the present one; 0 before the first */
    int64_t login_at;
    bool swept;        /* those who did not come back after it have been marked */

    IpopServices *services; /* what the account's server offers; locked memory; NULL before it said */
    int64_t services_at;    /* when to ask it again */

    GSource *timer;
    int64_t timer_at;
    int64_t housekeeping_at;
    guint settle;
    int64_t renewed_at; /* when links get a new generation for a change of the network, or last did */
    IpopBudget renewals;

    bool catching_up; /* this host slept: offers that come now may be long past */
    unsigned strangers; /* peers without a pin that a session is under way with */
    GHashTable *oddities; /* JIDs whose invalid presence was logged */
    uint64_t dropped;     /* stanzas too long, as last looked */
    IpopLogLimit long_limit, full_limit, twin_limit, claim_limit, odd_limit, pins_limit, trouble_limit, flood_limit;
    IpopBudget moves;          /* own name or address changed for a presence */
    IpopBudget stranger_lines; /* log lines about peers without a pin */
    bool hushed;               /* there are too many, and that was said */
    IpopBudget answers;        /* to requests of others than pinned peers */
};

/* --- controller.c --- */

/* Calls ipop_links_consider for the peers whose wake_at has come, at that time or before. */
void ipop_controller_wake_at(IpopController *controller, int64_t at);

/* What people call it: its name, or the beginning of its uid. Borrowed. */
const char *ipop_peer_label(const IpopPeer *peer);

/* The level for a line of a peer's story: IPOP_LOG_INFO for news, unless there have been too many lines of it lately, or of
 * all those without a pin together. Else IPOP_LOG_DEBUG. */
IpopLogLevel ipop_controller_level(IpopController *controller, IpopPeer *peer, bool news);

#define ipop_controller_tell(controller, peer, topic, ...) \
    ipop_log(ipop_controller_level(controller, peer, true), topic, __VA_ARGS__)

/* Tells tincan and the account's other nodes what this node is called and where: after a change of self. */
void ipop_controller_announce(IpopController *controller);

/* --- services.c: STUN and TURN servers --- */

/* Tells tincan. */
void ipop_services_want(IpopController *controller);

/* Asks the account's server, if there is a kind that is not configured. While logged in. */
void ipop_services_ask(IpopController *controller);

/* --- discovery.c: who is there, and may it be a peer --- */

void ipop_discovery_presence(void *user, const char *xml, size_t n);

/* Makes self agree with all that is pinned and seen. True when it changed. */
bool ipop_discovery_settle_self(IpopController *controller);

/* The peer's link came online, or proved that it says something else of itself than before: pins it, and judges those again
 * who claim what it does. Until then several may: the first to prove its key has the claim. */
void ipop_discovery_proved(IpopController *controller, IpopPeer *peer);

/* Its link is gone. */
void ipop_discovery_unproved(IpopController *controller, IpopPeer *peer);

/* Why a peer that says this of itself may not be one (g_free); NULL: it may. */
char *ipop_discovery_objection(IpopController *controller, const IpopPeer *peer, const IpopNode *said);

/* From now on this node's own name and address do not change for what may be forged. */
void ipop_discovery_settled(IpopController *controller);

/* Judges all peers again: the pins, or self, changed. */
void ipop_discovery_judge_all(IpopController *controller);

/* Something came from it: tells tincan, at most once a second. */
void ipop_discovery_heard(IpopController *controller, IpopPeer *peer);

/* Tells tincan what there is to know of a peer; nothing is sent when it knows. */
void ipop_discovery_push(IpopController *controller, IpopPeer *peer, bool heard);

/* Marks as unavailable whoever has not been seen in this login. */
void ipop_discovery_sweep(IpopController *controller);

/* --- claims.c: what a peer says of itself ---
 *
 * A presence may be forged. It counts while there is nothing better, but not against a pinned peer: such a one may be told of
 * what makes it unwelcome by its link alone. A link proves name and address (tincan/ctl/ids.h); a presence that says
 * something else is then put aside, until a link proves it or the present one ends.
 */

/* A presence says this. */
void ipop_claims_hear(IpopController *controller, IpopPeer *peer, const IpopNode *said);

/* Its link proves this. True when that is news. */
bool ipop_claims_prove(IpopController *controller, IpopPeer *peer, uint64_t proved);

/* Its link is gone. True when what was put aside counts now. */
bool ipop_claims_unprove(IpopController *controller, IpopPeer *peer);

/* Whether peer->node is what its link proves. */
bool ipop_claims_proved(const IpopPeer *peer);

/* --- links.c: what should be done about a peer, and what became of it --- */

/* How a session ended without a link. */
typedef enum {
    IPOP_END_FAILED,  /* try again with back-off */
    IPOP_END_REFUSED, /* by the peer's policy: back off long */
    IPOP_END_YIELDED, /* tie-break: its offer is under way */
    IPOP_END_LOST,    /* the login ended: try again after the next one */
} IpopEnd;

/* Asks policy, and does it. */
void ipop_links_consider(IpopController *controller, IpopPeer *peer);

/* "link_state" or "peer_state" of tincan. */
void ipop_links_event(void *user, const IpopUid *uid, const json_t *message);

/* From signalling.c: the peer opened a session; the one under way is over (its talk is already freed). */
void ipop_links_answering(IpopController *controller, IpopPeer *peer);
void ipop_links_ended(IpopController *controller, IpopPeer *peer, IpopEnd end, const char *why);

/* Forgets back-off. */
void ipop_links_retry(IpopController *controller, IpopPeer *peer);

/* The peer logged in anew: a session under way is given up, and back-off forgotten. */
void ipop_links_anew(IpopController *controller, IpopPeer *peer);

/* Ends session and link of a peer that may not be one any more. */
void ipop_links_refuse(IpopController *controller, IpopPeer *peer);

/* False when so many sessions with unknown nodes are under way that there is no room for one with this peer. */
bool ipop_links_room(const IpopController *controller, const IpopPeer *peer);

/* Takes it out of the registry, and of tincan. */
void ipop_links_forget(IpopController *controller, IpopPeer *peer);

/* tincan is gone; is back, with or without its links (called after ipop_links_event for each). */
void ipop_links_down(IpopController *controller);
void ipop_links_up(IpopController *controller, bool fresh);

void ipop_links_network_changed(IpopController *controller);

/* What came by Jabber while this host slept has been seen: those without a link, and those who had called, are
 * called. */
void ipop_links_caught_up(IpopController *controller);

/* This host was away for a while, and is back where it was: tincan asks who carries whether it still does. */
void ipop_links_woken(IpopController *controller);

/* The relays will not know the old credentials for much longer: relayed links get a new generation. */
void ipop_links_relays_changed(IpopController *controller);

/* --- signalling.c: sessions, by IQ --- */

struct IpopTalk {
    IpopController *controller;
    IpopPeer *peer;
    bool renewal; /* beside a link that is online */
    IpopSession session;
};

/* Any request: answered, whatever it is. */
void ipop_signalling_request(void *user, const char *xml, size_t n);

/* Opens a session: peer->talk. */
void ipop_signalling_offer(IpopController *controller, IpopPeer *peer);

/* "local_candidates" of tincan. */
void ipop_signalling_local(void *user, const IpopUid *uid, const json_t *message);

/* The link of the session under way failed, for the reason given. */
void ipop_signalling_failed(IpopPeer *peer, const char *why);

/* Ends the session without a word of it to anybody. Accepts that there is none. */
void ipop_signalling_drop(IpopPeer *peer);

/* Tells the peer that its session ends. */
void ipop_signalling_terminate(IpopPeer *peer, IpopJingleReason reason, const char *text);
