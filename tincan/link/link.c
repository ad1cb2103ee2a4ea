#include "tincan/link/internal.h"

#include "tincan/base/error.h"

#include <sodium.h>
#include <string.h>

#define UNDER_WAY (2 * IPOP_SECOND)    /* so long a new generation may take before another one is asked for */
#define FAILED_LIMIT (5 * IPOP_SECOND) /* a transport that gave itself up may come back in this time */
#define RESPONDER_REKEY_SLACK (10 * IPOP_SECOND)

static const IpopTunnelCounters *counters(const IpopLink *link) {
    return ipop_tunnel_peer_counters(link->tunnel_peer);
}

const char *ipop_link_state_name(IpopLinkState state) {
    static const char *const names[] = {"idle", "gathering", "checking", "handshake", "online", "failed"};
    return names[state];
}

bool ipop_link_set_state(IpopLink *link, IpopLinkState state, const char *reason) {
    if (link->state == state && g_strcmp0(link->reason, reason ? reason : "") == 0)
        return false;
    link->state = state;
    g_free(link->reason);
    link->reason = g_strdup(reason ? reason : "");
    link->env->changed(link->peer);
    return true;
}

/* Why it is online in no better way; NULL when there is none. */
static const char *online_reason(const IpopLink *link) {
    const IpopPathInfo *info = ipop_link_path_info(link);
    return info && info->relayed ? "relayed: no direct path answered" : NULL;
}

/* --- what the transport says --- */

static void on_candidates(void *user, const char *ufrag, const char *pwd, const IpopCandidate *candidates, unsigned n,
                          bool end) {
    IpopGeneration *generation = user;
    IpopLink *link = generation->link;
    link->env->candidates(link->peer, generation->number, ufrag, pwd, candidates, n, end);
}

static void on_state(void *user, IpopTransportState state, const char *why) {
    IpopGeneration *generation = user;
    IpopLink *link = generation->link;
    generation->state = state;
    generation->failed_at = state == IPOP_TRANSPORT_FAILED ? ipop_clock_now() : 0;
    if (link->online || generation != link->newest)
        return;
    if (state == IPOP_TRANSPORT_FAILED) {
        g_autofree char *explained = why ? g_strdup(why) : link->env->explain(link->peer, link->attempt);
        ipop_link_set_state(link, IPOP_LINK_FAILED, explained);
    } else if (state == IPOP_TRANSPORT_CHECKING || (state == IPOP_TRANSPORT_GATHERING && generation->has_remote)) {
        ipop_link_set_state(link, IPOP_LINK_CHECKING, NULL);
    }
}

/* The first path of the newest generation. */
static void on_connected(IpopLink *link, IpopGeneration *generation, int64_t now) {
    generation->since = now;
    /* Signalling vouches for this generation: a peer whose clock was set back is heard again. */
    link->peer_timestamp = 0;
    link->last_init = 0;
    link->answer_forged = false;
    link->unproved = 0;
    if (!link->online)
        ipop_link_set_state(link, IPOP_LINK_HANDSHAKE, NULL);
    if (generation->has_early)
        ipop_keys_take(link, generation, generation->early, sizeof generation->early);
}

static void on_path(void *user, IpopPath *path, const IpopPathInfo *info) {
    IpopGeneration *generation = user;
    IpopLink *link = generation->link;
    int64_t now = ipop_clock_now();
    bool first = !generation->path;
    ipop_generation_take_path(generation, path);
    generation->info = *info;
    if (generation == link->carrying) {
        ipop_tunnel_set_path(link->tunnel_peer, path);
        ipop_tunnel_ping(link->tunnel_peer);
        if (!link->online || !ipop_link_set_state(link, IPOP_LINK_ONLINE, online_reason(link)))
            link->env->changed(link->peer);
    }
    if (generation != link->newest || (!first && !generation->held))
        return;
    if (first)
        on_connected(link, generation, now);
    generation->held = !ipop_generation_worth_moving(link, now);
    if (generation->held) {
        /* Is what carries alive, as we believe? */
        if (!link->liveness.asked)
            ipop_link_ask(link, now);
        return;
    }
    generation->since = now;
    if (generation->controlling || (link->online && ipop_liveness_doubtful(&link->liveness, now)))
        ipop_keys_begin(link, generation, now);
}

/* What the peer sends would tell us, but it may have nothing to send. */
static void on_seen(void *user, IpopPath *path) {
    const IpopGeneration *generation = user;
    if (generation == generation->link->carrying)
        ipop_tunnel_ping_by(generation->link->tunnel_peer, path);
}

static void on_receive(void *user, uint8_t *datagram, size_t n) {
    IpopGeneration *generation = user;
    if (datagram[0] == IPOP_WIRE_DATA)
        ipop_tunnel_input(generation->link->tunnel_peer, datagram, n);
    else
        ipop_keys_take(generation->link, generation, datagram, n);
}

/* --- the public side --- */

IpopLink *ipop_link_new(IpopLinkEnv *env, IpopTunnelPeer *tunnel_peer, const uint8_t peer_key[static IPOP_KEY_BYTES],
                        void *peer) {
    IpopLink *link = g_new0(IpopLink, 1);
    link->env = env;
    link->tunnel_peer = tunnel_peer;
    link->peer = peer;
    link->suites = IPOP_SUITE_CHACHAPOLY;
    link->reason = g_strdup("");
    memcpy(link->peer_key, peer_key, IPOP_KEY_BYTES);
    return link;
}

static void close_all(IpopLink *link) {
    ipop_keys_stop(link);
    g_clear_handle_id(&link->close_old, g_source_remove);
    if (link->carrying != link->newest)
        ipop_generation_free(link->carrying);
    ipop_generation_free(link->newest);
    ipop_generation_free(link->old);
    link->carrying = link->newest = link->old = NULL;
    link->number = 0;
    link->confirmed = link->online = false;
    link->claims = link->told = 0;
    g_clear_handle_id(&link->look_timer, g_source_remove);
    link->liveness = (IpopLiveness){0};
    ipop_tunnel_drop_sessions(link->tunnel_peer);
    ipop_tunnel_set_path(link->tunnel_peer, NULL);
}

void ipop_link_free(IpopLink *link) {
    if (!link)
        return;
    close_all(link);
    sodium_memzero(&link->cookie, sizeof link->cookie);
    ipop_attempt_unref(link->attempt);
    g_free(link->reason);
    g_free(link);
}

void ipop_link_set_suites(IpopLink *link, unsigned suites) {
    link->suites = suites;
}

bool ipop_link_create(IpopLink *link, uint32_t number, bool controlling, GError **error) {
    static const IpopTransportEvents events = {on_candidates, on_state, on_path, on_seen, on_receive};
    if (link->number == number)
        return true;
    if (link->number > number) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_PROTOCOL, "generation %u is older than %u", number, link->number);
        return false;
    }
    IpopGeneration *generation = g_new0(IpopGeneration, 1);
    generation->link = link;
    generation->number = number;
    generation->controlling = controlling;
    generation->since = ipop_clock_now();
    generation->transport = link->env->transport_new(link->env->node, controlling, &events, generation, error);
    if (!generation->transport) {
        g_free(generation);
        if (!link->online && error && *error)
            ipop_link_set_state(link, IPOP_LINK_FAILED, (*error)->message);
        return false;
    }
    ipop_generation_give_up_newest(link);
    link->newest = generation;
    link->number = number;
    ipop_attempt_unref(link->attempt);
    link->attempt = generation->transport->attempt ? ipop_attempt_ref(generation->transport->attempt) : NULL;
    if (!link->online)
        ipop_link_set_state(link, IPOP_LINK_GATHERING, NULL);
    return true;
}

bool ipop_link_set_remote(IpopLink *link, uint32_t number, const char *ufrag, const char *pwd,
                          const IpopCandidate *candidates, unsigned n, bool end) {
    IpopGeneration *generation = link->newest;
    if (!generation || generation->number != number)
        return false;
    const IpopTransportOps *ops = generation->transport->ops;
    if (!generation->has_remote) {
        ops->set_remote(generation->transport, ufrag, pwd);
        generation->has_remote = true;
        if (link->state == IPOP_LINK_GATHERING)
            ipop_link_set_state(link, IPOP_LINK_CHECKING, NULL);
    }
    ops->add_candidates(generation->transport, candidates, n, end);
    return true;
}

void ipop_link_relays_changed(IpopLink *link) {
    if (link->carrying)
        link->carrying->stale = true;
}

void ipop_link_trim(IpopLink *link, const char *why) {
    close_all(link);
    ipop_link_set_state(link, IPOP_LINK_IDLE, why);
}

void ipop_link_give_up(IpopLink *link, const char *why) {
    if (!link->confirmed) {
        ipop_link_trim(link, why);
        return;
    }
    ipop_generation_give_up_newest(link);
    if (!link->online)
        ipop_link_set_state(link, IPOP_LINK_FAILED, why);
}

/* False when that is no news. */
static bool come_online(IpopLink *link) {
    link->online = true;
    ipop_liveness_answered(&link->liveness);
    return ipop_link_set_state(link, IPOP_LINK_ONLINE, online_reason(link));
}

void ipop_link_confirmed(IpopLink *link, uint32_t index) {
    for (int initiator = 0; initiator < 2; initiator++) {
        if (link->session_index[initiator] != index)
            continue;
        IpopGeneration *generation = ipop_generation_find(link, link->session_generation[initiator]);
        if (!generation)
            return;
        if (generation == link->newest)
            ipop_generation_move(link);
        /* The pair may have changed since the handshake went by it. */
        if (generation->path)
            ipop_tunnel_set_path(link->tunnel_peer, generation->path);
        link->confirmed = true;
        link->session_initiator = initiator;
        link->session_born = ipop_clock_now();
        link->unproved = 0;
        if (!initiator && link->handshake && link->handshake_generation == generation->number)
            ipop_keys_stop(link); /* the peer was first */
        link->told = link->session_told[initiator];
        bool other_claims = link->claims != link->session_claims[initiator];
        link->claims = link->session_claims[initiator];
        if (!come_online(link) && other_claims)
            link->env->changed(link->peer);
        return;
    }
}

void ipop_link_handshake(IpopLink *link, const IpopPath *path, const uint8_t *message, size_t n) {
    IpopGeneration *both[] = {link->newest, link->carrying};
    for (unsigned i = 0; i < G_N_ELEMENTS(both); i++)
        if (both[i] && both[i]->path == path) {
            ipop_keys_take(link, both[i], message, n);
            return;
        }
}

void ipop_link_bye(IpopLink *link) {
    ipop_link_trim(link, "the peer was stopped");
}

void ipop_link_pong(IpopLink *link) {
    ipop_liveness_answered(&link->liveness);
    if (link->confirmed && !link->online)
        come_online(link);
}

void ipop_link_roamed(IpopLink *link, const char *remote) {
    if (!link->carrying)
        return;
    g_strlcpy(link->carrying->info.remote_addr, remote, sizeof link->carrying->info.remote_addr);
    link->env->changed(link->peer);
}

/* --- life --- */

/* An attempt at another way is under way already, or has just found one. One that was held back does not count: it may go by
 * the same relay, which is gone. */
static bool has_prospect(const IpopLink *link, int64_t now) {
    return link->newest != link->carrying && !link->newest->held && now - link->newest->since < UNDER_WAY;
}

static gboolean look_again(gpointer data) {
    IpopLink *link = data;
    int64_t now = ipop_clock_now();
    link->look_timer = 0;
    ipop_link_look(link, now);
    ipop_generation_check_newest(link, now);
    return G_SOURCE_REMOVE;
}

void ipop_link_look(IpopLink *link, int64_t now) {
    const IpopTunnelCounters *c = counters(link);
    IpopLivenessFacts facts = {
        .now = now,
        .heard = atomic_load_explicit(&c->last_heard, memory_order_relaxed),
        .sent = atomic_load_explicit(&c->last_sent, memory_order_relaxed),
        .received = atomic_load_explicit(&c->recv_packets, memory_order_relaxed),
        .rtt = atomic_load_explicit(&c->rtt, memory_order_relaxed),
    };
    int64_t again;
    g_clear_handle_id(&link->look_timer, g_source_remove);
    if (!link->confirmed)
        return;
    unsigned todo = ipop_liveness_look(&link->liveness, &facts, &again);
    if (!link->liveness.asked && !link->online)
        come_online(link);
    if (todo & IPOP_LIVENESS_DO_PING)
        ipop_tunnel_ping(link->tunnel_peer);
    if (todo & IPOP_LIVENESS_DO_GIVE_UP && link->online) {
        link->online = false;
        ipop_link_set_state(link, IPOP_LINK_FAILED, "the peer stopped answering");
    }
    if (todo & IPOP_LIVENESS_DO_DOUBT && link->online && has_prospect(link, now))
        ipop_liveness_put_off(&link->liveness, now + IPOP_SECOND);
    else if (todo & IPOP_LIVENESS_DO_DOUBT && link->online)
        link->env->doubt(link->peer);
    if (again < now + IPOP_SECOND)
        link->look_timer = g_timeout_add((guint)((again - now) / 1000) + 1, look_again, link);
}

void ipop_link_ask(IpopLink *link, int64_t now) {
    ipop_liveness_ask(&link->liveness, now, IPOP_LIVENESS_SOON, atomic_load_explicit(&counters(link)->rtt, memory_order_relaxed));
    ipop_link_look(link, now);
}

void ipop_link_check(IpopLink *link) {
    IpopGeneration *carrying = link->carrying;
    char local[sizeof carrying->info.local_addr];
    IpopPath *path = carrying && carrying->path && carrying->path->rebind ? carrying->path->rebind(carrying->path, local) : NULL;
    if (path) {
        ipop_generation_take_path(carrying, path);
        g_strlcpy(carrying->info.local_addr, local, sizeof local);
        ipop_tunnel_set_path(link->tunnel_peer, path);
        ipop_path_unref(path);
    }
    ipop_link_ask(link, ipop_clock_now());
}

/* The packets may go on by a path that the transport has given up, but nothing would mend it any more. */
static void check_transport(IpopLink *link, int64_t now) {
    IpopGeneration *carrying = link->carrying;
    if (!link->online || !carrying->failed_at || now - carrying->failed_at < FAILED_LIMIT)
        return;
    carrying->failed_at = 0;
    if (!has_prospect(link, now))
        link->env->doubt(link->peer);
}

static void check_key(IpopLink *link, int64_t now) {
    IpopGeneration *generation = link->carrying;
    int64_t age = now - link->session_born;
    int64_t limit = IPOP_REKEY_AFTER + (link->session_initiator ? 0 : RESPONDER_REKEY_SLACK);
    bool untold = link->told != link->env->claims && !link->handshake;
    if ((age >= limit || untold) && generation)
        ipop_keys_begin(link, generation, now);
    if (age >= IPOP_REJECT_AFTER && link->confirmed) {
        link->confirmed = link->online = false;
        ipop_link_set_state(link, IPOP_LINK_FAILED, "the session's keys ran out and no new ones could be agreed on");
    }
}

void ipop_link_tick(IpopLink *link, int64_t now) {
    ipop_link_look(link, now);
    if (link->confirmed)
        check_key(link, now);
    check_transport(link, now);
    ipop_generation_check_newest(link, now);
}

IpopLinkState ipop_link_state(const IpopLink *link) {
    return link->state;
}

uint32_t ipop_link_generation(const IpopLink *link) {
    return link->number;
}

uint64_t ipop_link_claims(const IpopLink *link) {
    return link->claims;
}

const char *ipop_link_reason(const IpopLink *link) {
    return link->reason;
}

const IpopAttempt *ipop_link_attempt(const IpopLink *link, unsigned i) {
    const IpopAttempt *carrying = link->carrying ? link->carrying->transport->attempt : NULL;
    if (i == 0)
        return carrying;
    return i == 1 && link->attempt != carrying ? link->attempt : NULL;
}

const IpopPathInfo *ipop_link_path_info(const IpopLink *link) {
    return link->carrying ? &link->carrying->info : NULL;
}
