#include "controller/internal.h"

#include "tincan/ctl/json.h"

#include <string.h>

/* Each offer makes tincan open sockets, and takes the place of the one before. An honest peer backs off. */
#define OFFERS_MAX 4
#define OFFERS_INTERVAL (2 * IPOP_SECOND)

/* Answers to a flood would keep back all else there is to say. A session takes some five; a pinned peer has a budget of its
 * own. */
#define ANSWERS_MAX 100
#define ANSWERS_INTERVAL (IPOP_SECOND / 20)

static void perform(IpopTalk *talk, unsigned actions, const char *why);

/* --- requests to tincan --- */

/* A create_link under way; its talk may be gone before the answer comes. */
typedef struct {
    IpopController *controller;
    IpopUid uid;
    unsigned generation;
} Creation;

static void created(void *user, const char *error) {
    g_autofree Creation *creation = user;
    if (error == NULL)
        return;
    IpopPeer *peer = ipop_registry_get(creation->controller->registry, &creation->uid);
    if (peer != NULL && peer->talk != NULL && peer->talk->session.generation == creation->generation)
        ipop_signalling_failed(peer, error);
}

static void create_link(const IpopTalk *talk) {
    Creation *creation = g_new(Creation, 1);
    *creation = (Creation){talk->controller, talk->peer->uid, talk->session.generation};
    ipop_dataplane_do(talk->controller->dataplane, "create_link",
                      json_pack("{ss sI sb}", "uid", talk->peer->uid.hex, "generation", (json_int_t)talk->session.generation,
                                "controlling", talk->session.ours),
                      created, creation);
}

static void set_remote(const IpopTalk *talk, const IpopJingle *message) {
    json_t *candidates = json_array();
    for (unsigned i = 0; i < message->n_candidates; i++)
        json_array_append_new(candidates, ipop_candidate_to_json(&message->candidates[i]));
    json_t *remote = json_pack("{ss sI ss ss so sb}", "uid", talk->peer->uid.hex, "generation",
                               (json_int_t)talk->session.generation, "ufrag", message->ufrag, "pwd", message->pwd, "candidates",
                               candidates, "end", message->end);
    if (*message->nat)
        json_object_set_new(remote, "nat", json_string(message->nat));
    ipop_dataplane_do(talk->controller->dataplane, "set_remote", remote, NULL, NULL);
}

/* --- talks --- */

static IpopTalk *talk_new(IpopController *c, IpopPeer *peer) {
    IpopTalk *talk = g_new0(IpopTalk, 1);
    talk->controller = c;
    talk->peer = peer;
    talk->renewal = peer->link == IPOP_POLICY_LINK_ONLINE;
    peer->generation = peer->generation < INT32_MAX ? peer->generation + 1 : INT32_MAX;
    peer->talk = talk;
    return talk;
}

void ipop_signalling_drop(IpopPeer *peer) {
    IpopTalk *talk = g_steal_pointer(&peer->talk);
    if (talk == NULL)
        return;
    if (talk->controller->xmpp != NULL)
        ipop_xmpp_cancel(talk->controller->xmpp, talk);
    g_free(talk);
}

static void end_talk(IpopTalk *talk, IpopEnd end, const char *why) {
    IpopController *c = talk->controller;
    IpopPeer *peer = talk->peer;
    if (end == IPOP_END_LOST && talk->renewal)
        peer->renew_at = ipop_clock_now();
    ipop_signalling_drop(peer);
    ipop_links_ended(c, peer, end, why);
}

void ipop_signalling_offer(IpopController *c, IpopPeer *peer) {
    ipop_signalling_drop(peer);
    IpopTalk *talk = talk_new(c, peer);
    ipop_session_init_ours(&talk->session, &c->self->node.uid, peer->generation);
    create_link(talk);
}

/* --- requests to the peer --- */

/* What went wrong with a request, as a sentence; the end that it is. */
static IpopEnd read_failure(const IpopTalk *talk, IpopIqOutcome outcome, const char *xml, size_t n, char **ret_why) {
    const char *name = ipop_peer_label(talk->peer);
    IpopStanzaError error = IPOP_STANZA_SERVICE_UNAVAILABLE;
    char text[IPOP_REASON_MAX + 1] = "";
    *ret_why = NULL;
    if (outcome == IPOP_IQ_LOST)
        return IPOP_END_LOST;
    if (outcome == IPOP_IQ_TIMEOUT)
        *ret_why = g_strdup_printf("%s does not answer by Jabber", name);
    else if (!ipop_iq_error_parse(xml, n, &error, text))
        *ret_why = g_strdup_printf("%s gives an answer that is none", name);
    else if (error == IPOP_STANZA_TIE_BREAK)
        return IPOP_END_YIELDED;
    else if (error == IPOP_STANZA_FORBIDDEN)
        *ret_why = g_strdup_printf("%s refuses this node: %s", name, text[0] != '\0' ? text : "it does not say why");
    else if (error == IPOP_STANZA_ITEM_NOT_FOUND)
        *ret_why = g_strdup_printf("%s does not know this session any more", name);
    else if (text[0] != '\0')
        *ret_why = g_strdup_printf("%s can't take the session: %s", name, text);
    else
        *ret_why = g_strdup_printf("%s can't be reached by Jabber", name);
    return error == IPOP_STANZA_FORBIDDEN ? IPOP_END_REFUSED : IPOP_END_FAILED;
}

static void take_failure(IpopTalk *talk, IpopIqOutcome outcome, const char *xml, size_t n) {
    g_autofree char *why = NULL;
    IpopEnd end = read_failure(talk, outcome, xml, n, &why);
    unsigned actions =
        ipop_session_step(&talk->session, end == IPOP_END_YIELDED ? IPOP_SESSION_TIE_BREAK : IPOP_SESSION_ERROR);
    if (actions & IPOP_SESSION_DO_END)
        end_talk(talk, end, why);
}

/* To session-initiate and session-accept. */
static void on_answer(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    IpopTalk *talk = user;
    if (outcome != IPOP_IQ_RESULT) {
        take_failure(talk, outcome, xml, n);
        return;
    }
    ipop_discovery_heard(talk->controller, talk->peer);
    perform(talk, ipop_session_step(&talk->session, IPOP_SESSION_RESULT), NULL);
}

static void on_info_answer(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    if (outcome != IPOP_IQ_RESULT)
        take_failure(user, outcome, xml, n);
}

static void on_terminate_answer(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    /* Whatever it says: the session is over. */
}

static bool send_message(IpopTalk *talk, IpopXmppPriority priority, const IpopJingle *message, IpopIqCallback callback) {
    IpopController *c = talk->controller;
    g_autofree char *payload = ipop_jingle_build(message, talk->session.ours ? c->jid : talk->peer->jid);
    void *user = message->action == IPOP_JINGLE_TERMINATE ? (void *)c : (void *)talk;
    return ipop_xmpp_request(c->xmpp, priority, "set", talk->peer->jid, payload, callback, user);
}

static bool send_local(IpopTalk *talk, IpopJingleAction action) {
    IpopJingle message;
    bool any = ipop_session_take_local(&talk->session, action, &message);
    if (action == IPOP_JINGLE_INITIATE)
        return send_message(talk, IPOP_XMPP_OFFER, &message, on_answer);
    if (action == IPOP_JINGLE_ACCEPT)
        return send_message(talk, IPOP_XMPP_REPLY, &message, on_answer);
    return !any || send_message(talk, IPOP_XMPP_TRICKLE, &message, on_info_answer);
}

static void send_terminate(IpopTalk *talk, IpopJingleReason reason, const char *text) {
    IpopJingle message = {.action = IPOP_JINGLE_TERMINATE, .uid = talk->session.own, .reason = reason};
    g_strlcpy(message.sid, talk->session.sid, sizeof message.sid);
    g_strlcpy(message.text, text != NULL ? text : "", sizeof message.text);
    send_message(talk, IPOP_XMPP_REPLY, &message, on_terminate_answer);
}

void ipop_signalling_terminate(IpopPeer *peer, IpopJingleReason reason, const char *text) {
    if (peer->talk != NULL && peer->talk->session.state != IPOP_SESSION_OFFERING)
        send_terminate(peer->talk, reason, text);
}

/* What is left of a step's actions after those that answer a request. The talk may be gone afterwards. */
static void perform(IpopTalk *talk, unsigned actions, const char *why) {
    bool sent = true;
    if (actions & IPOP_SESSION_DO_INITIATE)
        sent = send_local(talk, IPOP_JINGLE_INITIATE);
    if (actions & IPOP_SESSION_DO_SEND_ACCEPT)
        sent = send_local(talk, IPOP_JINGLE_ACCEPT);
    if (actions & IPOP_SESSION_DO_TRICKLE)
        sent = send_local(talk, IPOP_JINGLE_TRANSPORT_INFO);
    if (!sent) {
        bool login = talk->controller->xmpp_state == IPOP_XMPP_CONNECTED;
        end_talk(talk, login ? IPOP_END_FAILED : IPOP_END_LOST, "too much is waiting to be sent by Jabber");
        return;
    }
    if (actions & IPOP_SESSION_DO_TERMINATE)
        send_terminate(talk, IPOP_REASON_CONNECTIVITY_ERROR, why);
    if (actions & IPOP_SESSION_DO_END)
        end_talk(talk, IPOP_END_FAILED, why);
}

void ipop_signalling_failed(IpopPeer *peer, const char *why) {
    if (peer->talk != NULL)
        perform(peer->talk, ipop_session_step(&peer->talk->session, IPOP_SESSION_FAILED), why);
}

/* --- from tincan --- */

void ipop_signalling_local(void *user, const IpopUid *uid, const json_t *message) {
    IpopController *c = user;
    IpopPeer *peer = ipop_registry_get(c->registry, uid);
    const char *ufrag, *pwd;
    int64_t generation;
    bool end = false;
    if (peer == NULL || peer->talk == NULL || !ipop_json_int(message, "generation", 1, INT32_MAX, &generation) ||
        (unsigned)generation != peer->talk->session.generation ||
        !ipop_json_string(message, "ufrag", IPOP_ICE_UFRAG_MAX, &ufrag) ||
        !ipop_json_string(message, "pwd", IPOP_ICE_PWD_MAX, &pwd))
        return;
    IpopCandidate candidates[IPOP_CANDIDATES_MAX];
    unsigned n = 0;
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(message, "candidates"), i, value)
        if (n < IPOP_CANDIDATES_MAX && ipop_candidate_from_json(value, &candidates[n]))
            n++;
    ipop_json_bool(message, "end", &end);
    IpopSession *session = &peer->talk->session;
    const char *nat;
    if (ipop_json_string(message, "nat", IPOP_NAT_TEXT_MAX, &nat))
        g_strlcpy(session->nat, nat, sizeof session->nat);
    ipop_session_add_local(session, ufrag, pwd, candidates, n, end);
    perform(peer->talk, ipop_session_step(session, IPOP_SESSION_LOCAL), NULL);
}

/* --- the peer's requests --- */

static void reply(IpopController *c, const IpopIq *iq, const char *payload) {
    g_autofree char *xml = ipop_iq_result(iq->from, iq->id, payload);
    ipop_xmpp_send(c->xmpp, IPOP_XMPP_REPLY, xml);
}

static void reply_error(IpopController *c, const IpopIq *iq, IpopStanzaError error, const char *text) {
    g_autofree char *xml = ipop_iq_error(iq->from, iq->id, error, text);
    ipop_xmpp_send(c->xmpp, IPOP_XMPP_REPLY, xml);
}

static void answer_offer(IpopController *c, IpopPeer *peer, IpopIq *iq) {
    ipop_signalling_drop(peer);
    IpopTalk *talk = talk_new(c, peer);
    ipop_session_init_theirs(&talk->session, &c->self->node.uid, peer->generation, &iq->jingle);
    ipop_session_take_remote(&talk->session, &iq->jingle);
    reply(c, iq, NULL);
    create_link(talk);
    set_remote(talk, &iq->jingle);
    ipop_links_answering(c, peer);
}

static void take_offer(IpopController *c, IpopPeer *peer, IpopIq *iq) {
    if (peer->refused != NULL) {
        reply_error(c, iq, IPOP_STANZA_FORBIDDEN, peer->refused);
    } else if (!ipop_uid_equal(&iq->jingle.uid, &peer->uid)) {
        reply_error(c, iq, IPOP_STANZA_BAD_REQUEST, "the uid is not that of your presence");
    } else if (!c->tincan) {
        reply_error(c, iq, IPOP_STANZA_RESOURCE_CONSTRAINT, "its ipop-tincan is not running");
    } else if (c->catching_up) {
        /* It may be the last of many. Answered all the same: while one is open, the peer may refuse ours. */
        reply_error(c, iq, IPOP_STANZA_RESOURCE_CONSTRAINT, "its host slept: it calls by itself");
        peer->renew_at = ipop_clock_now(); /* a link that seems good from here is not for the peer */
    } else if (!ipop_links_room(c, peer) ||
               !ipop_budget_take(&peer->offers, OFFERS_MAX, OFFERS_INTERVAL, ipop_clock_now())) {
        reply_error(c, iq, IPOP_STANZA_RESOURCE_CONSTRAINT, "too many sessions in a short time");
    } else if (peer->talk != NULL && (ipop_session_step(&peer->talk->session, ipop_session_offer(&c->self->node.uid, &peer->uid)) &
                                      IPOP_SESSION_DO_REFUSE_TIE)) {
        reply_error(c, iq, IPOP_STANZA_TIE_BREAK, NULL);
    } else {
        answer_offer(c, peer, iq);
    }
}

/* The peer ended the session: it found no way, or we are refused. */
static void take_terminate(IpopTalk *talk, const IpopJingle *jingle) {
    const char *name = ipop_peer_label(talk->peer);
    IpopEnd end = jingle->reason == IPOP_REASON_SECURITY_ERROR ? IPOP_END_REFUSED : IPOP_END_FAILED;
    g_autofree char *why =
        g_strdup_printf("%s %s: %s", name, end == IPOP_END_REFUSED ? "refuses this node" : "ended the session",
                        jingle->text[0] != '\0' ? jingle->text : "it does not say why");
    end_talk(talk, end, why);
}

static void take_in_session(IpopController *c, IpopPeer *peer, IpopIq *iq) {
    static const IpopSessionEvent events[] = {
        [IPOP_JINGLE_ACCEPT] = IPOP_SESSION_ACCEPT,
        [IPOP_JINGLE_TRANSPORT_INFO] = IPOP_SESSION_INFO,
        [IPOP_JINGLE_TERMINATE] = IPOP_SESSION_TERMINATE,
    };
    IpopTalk *talk = peer->talk;
    IpopJingle *jingle = &iq->jingle;
    if (talk == NULL || strcmp(talk->session.sid, jingle->sid) != 0) {
        reply_error(c, iq, IPOP_STANZA_ITEM_NOT_FOUND, NULL);
        return;
    }
    if (jingle->action == IPOP_JINGLE_ACCEPT && !ipop_uid_equal(&jingle->uid, &peer->uid)) {
        reply_error(c, iq, IPOP_STANZA_BAD_REQUEST, "the uid is not that of your presence");
        return;
    }
    unsigned actions = ipop_session_step(&talk->session, events[jingle->action]);
    bool remote = actions & IPOP_SESSION_DO_SET_REMOTE;
    if ((actions & IPOP_SESSION_DO_REFUSE_ORDER) || (remote && !ipop_session_take_remote(&talk->session, jingle))) {
        reply_error(c, iq, IPOP_STANZA_BAD_REQUEST, "not at this point of the session");
        return;
    }
    reply(c, iq, NULL);
    if (remote && (jingle->n_candidates > 0 || jingle->end || jingle->action == IPOP_JINGLE_ACCEPT))
        set_remote(talk, jingle);
    if (jingle->action == IPOP_JINGLE_TERMINATE)
        take_terminate(talk, jingle);
    else
        perform(talk, actions, NULL);
}

static void take_jingle(IpopController *c, IpopPeer *peer, IpopIq *iq) {
    bool offer = iq->jingle.action == IPOP_JINGLE_INITIATE;
    if (peer == NULL) {
        reply_error(c, iq, offer ? IPOP_STANZA_SERVICE_UNAVAILABLE : IPOP_STANZA_ITEM_NOT_FOUND, NULL);
        return;
    }
    ipop_discovery_heard(c, peer);
    if (offer)
        take_offer(c, peer, iq);
    else
        take_in_session(c, peer, iq);
}

static bool may_answer(IpopController *c, IpopPeer *peer, const char *from) {
    int64_t now = ipop_clock_now();
    bool pinned = peer != NULL && ipop_pins_get(c->pins, &peer->uid) != NULL;
    if (ipop_budget_take(pinned ? &peer->answers : &c->answers, ANSWERS_MAX, ANSWERS_INTERVAL, now))
        return true;
    if (ipop_log_limit(&c->flood_limit, now))
        ipop_log(IPOP_LOG_WARNING, "jabber", "more requests than can be answered, the last from %s: the rest is not",
                 from[0] != '\0' ? from : "the server");
    return false;
}

void ipop_signalling_request(void *user, const char *xml, size_t n) {
    IpopController *c = user;
    IpopIq iq;
    g_autofree char *disco = NULL;
    IpopIqKind kind = ipop_iq_parse(xml, n, &iq);
    IpopPeer *peer = kind != IPOP_IQ_MALFORMED ? ipop_registry_by_jid(c->registry, iq.from) : NULL;
    if (kind == IPOP_IQ_MALFORMED || !may_answer(c, peer, iq.from))
        return;
    switch (kind) {
    case IPOP_IQ_MALFORMED:
        break;
    case IPOP_IQ_JINGLE:
        take_jingle(c, peer, &iq);
        break;
    case IPOP_IQ_JINGLE_BAD:
        reply_error(c, &iq, IPOP_STANZA_BAD_REQUEST, NULL);
        break;
    case IPOP_IQ_DISCO_INFO:
        disco = ipop_disco_info(iq.disco_node);
        reply(c, &iq, disco);
        break;
    case IPOP_IQ_PING:
        reply(c, &iq, NULL);
        break;
    case IPOP_IQ_UNKNOWN:
        reply_error(c, &iq, IPOP_STANZA_SERVICE_UNAVAILABLE, NULL);
        break;
    }
}
