#include "tincan/link/link.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"

#include <sodium.h>
#include <string.h>

#define PING_IDLE (5 * IPOP_SECOND)    /* nothing heard for so long: ask */
#define PING_WAITING (2 * IPOP_SECOND) /* the same while we send */
#define DEAD_AFTER (9 * IPOP_SECOND)   /* nothing heard for so long, though asked */
#define HANDSHAKE_LIMIT (15 * IPOP_SECOND)
#define CONTROLLED_WAIT (3 * IPOP_SECOND) /* then the controlled side begins the handshake, too */
#define RESPONDER_REKEY_SLACK (10 * IPOP_SECOND)
#define CLOSE_OLD_MS 5000
#define DOUBT IPOP_SECOND /* what carries and leaves us so long without an answer may be dead */
/* A generation beside a link that is online is closed: so long after it connected when we did not move to it, and so long
 * after its beginning when it did not connect (signalling is less patient). */
#define UNUSED_LIMIT (20 * IPOP_SECOND)
#define UNCONNECTED_LIMIT (60 * IPOP_SECOND)
#define UNPROVED_MAX 3 /* answers without confirmation; one or two may just be lost */
#define INIT_INTERVAL (IPOP_SECOND / 20) /* at most one handshake per link in this time */
#define LOAD_MAX 64                      /* handshakes per second of the whole node before cookies are asked for */

/* One transport beneath the link. */
typedef struct {
    IpopLink *link;
    uint32_t number;
    bool controlling, has_remote;
    bool held; /* connected, but by a relay as what carries is: no handshake as long as that lives */
    IpopTransport *transport;
    IpopTransportState state;
    IpopPath *path; /* NULL until connected */
    IpopPathInfo info;
    int64_t since; /* begun; then: to be used from then on */
    /* A first message that overtook our own ICE: kept until there is a path to answer by. */
    uint8_t early[IPOP_WIRE_INIT_SIZE];
    bool has_early;
} Generation;

struct IpopLink {
    IpopLinkEnv *env;
    IpopTunnelPeer *tunnel_peer;
    void *peer;
    uint8_t peer_key[IPOP_KEY_BYTES];
    unsigned suites;

    Generation *carrying, *newest; /* may be the same; carrying has, or had, a confirmed session */
    uint32_t number; /* the highest begun since the last trim; that generation may have been given up */
    guint close_old;
    Generation *old; /* left by the last move, still open for what is under way */

    IpopHandshake *handshake; /* ours, by handshake_generation */
    uint32_t handshake_generation;
    int64_t handshake_begun;
    unsigned handshake_tries;
    guint handshake_timer;
    bool answer_forged; /* an answer came and did not decrypt */
    unsigned unproved;  /* answers of ours since the last confirmation */
    uint64_t peer_timestamp;
    int64_t last_init;
    IpopCookie cookie;

    /* The newest session made by each side's handshake, waiting for its first packet: index and generation. */
    uint32_t session_index[2], session_generation[2];
    bool confirmed, session_initiator, online;
    int64_t session_born;
    int64_t asked; /* since when pings go unanswered; 0: none out */

    IpopLinkState state;
    char *reason;
};

static const IpopTunnelCounters *counters(const IpopLink *link) {
    return ipop_tunnel_peer_counters(link->tunnel_peer);
}

const char *ipop_link_state_name(IpopLinkState state) {
    static const char *const names[] = {"idle", "gathering", "checking", "handshake", "online", "failed"};
    return names[state];
}

/* False when that is no news. */
static bool set_state(IpopLink *link, IpopLinkState state, const char *reason) {
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

/* --- generations --- */

static void drop_path(Generation *generation) {
    if (!generation->path)
        return;
    ipop_tunnel_ignore(generation->link->env->tunnel, generation->path);
    g_clear_pointer(&generation->path, ipop_path_unref);
}

static void generation_free(Generation *generation) {
    if (!generation)
        return;
    if (generation->transport)
        generation->transport->ops->close(generation->transport);
    drop_path(generation);
    g_free(generation);
}

static gboolean close_old(gpointer data) {
    IpopLink *link = data;
    link->close_old = 0;
    g_clear_pointer(&link->old, generation_free);
    return G_SOURCE_REMOVE;
}

/* The newest generation has a proven session: it carries now. */
static void move_to_newest(IpopLink *link) {
    if (link->carrying && link->carrying != link->newest) {
        generation_free(link->old);
        link->old = link->carrying;
        g_clear_handle_id(&link->close_old, g_source_remove);
        link->close_old = g_timeout_add(CLOSE_OLD_MS, close_old, link);
    }
    link->carrying = link->newest;
    link->carrying->held = false;
}

static Generation *generation_by_number(IpopLink *link, uint32_t number) {
    if (link->newest && link->newest->number == number)
        return link->newest;
    return link->carrying && link->carrying->number == number ? link->carrying : NULL;
}

/* --- handshake --- */

static void handshake_stop(IpopLink *link) {
    g_clear_handle_id(&link->handshake_timer, g_source_remove);
    if (link->handshake) {
        link->env->index_free(link->env->node, ipop_handshake_index(link->handshake));
        g_clear_pointer(&link->handshake, ipop_handshake_free);
    }
}

/* What the handshake has met so far, as a sentence; NULL when nothing speaks against it. */
static const char *handshake_trouble(const IpopLink *link) {
    if (link->answer_forged)
        return "the peer's handshake does not decrypt: its psk differs from ours";
    if (link->unproved >= UNPROVED_MAX)
        return "the peer does not take our handshake: its psk probably differs from ours";
    return NULL;
}

static void handshake_fail(IpopLink *link) {
    handshake_stop(link);
    if (link->online)
        return; /* a rekey or a move that did not work out: what carries goes on */
    const char *why = handshake_trouble(link);
    set_state(link, IPOP_LINK_FAILED, why ? why : "the peer does not answer the handshake: its packets are lost, or it "
                                                  "knows this node by another key");
}

/* Says at once what is wrong, though the handshake goes on: a forged answer may be an attacker's. */
static void tell_trouble(IpopLink *link) {
    const char *trouble = handshake_trouble(link);
    if (trouble && link->state == IPOP_LINK_HANDSHAKE)
        set_state(link, IPOP_LINK_HANDSHAKE, trouble);
}

static gboolean handshake_send(gpointer data);

static void handshake_begin(IpopLink *link, Generation *generation, int64_t now) {
    if (!generation->path || (link->handshake && link->handshake_generation == generation->number))
        return;
    handshake_stop(link);
    link->handshake_generation = generation->number;
    link->handshake_begun = now;
    link->handshake_tries = 0;
    handshake_send(link);
}

/* Each try is a new first message: a lost one costs nothing, and a late answer to an older one just does not fit. */
static gboolean handshake_send(gpointer data) {
    static const guint intervals_ms[] = {250, 250, 500, 1000};
    IpopLink *link = data;
    IpopLinkEnv *env = link->env;
    int64_t now = ipop_clock_now();
    Generation *generation = generation_by_number(link, link->handshake_generation);
    link->handshake_timer = 0;
    if (!generation || now - link->handshake_begun > HANDSHAKE_LIMIT) {
        handshake_fail(link);
        return G_SOURCE_REMOVE;
    }
    handshake_stop(link);
    uint8_t message[IPOP_WIRE_INIT_SIZE];
    IpopSuite suite = ipop_handshake_choose(ipop_handshake_suites(), link->suites);
    uint32_t index = env->index_new(env->node);
    link->handshake = ipop_handshake_initiate(env->identity, link->peer_key, env->psk, suite, index,
                                              (uint64_t)(env->realtime_offset + now), 0, message);
    if (!link->handshake) { /* the peer's key is a low-order point: it can never answer */
        env->index_free(env->node, index);
        handshake_fail(link);
        return G_SOURCE_REMOVE;
    }
    ipop_cookie_stamp(&link->cookie, link->peer_key, message, sizeof message, now);
    ipop_tunnel_send(env->tunnel, generation->path, message, sizeof message);
    guint interval = intervals_ms[MIN(link->handshake_tries, G_N_ELEMENTS(intervals_ms) - 1)];
    link->handshake_tries++;
    link->handshake_timer = g_timeout_add(interval + g_random_int_range(0, 32), handshake_send, link);
    return G_SOURCE_REMOVE;
}

static void add_session(IpopLink *link, Generation *generation, IpopSessionKeys *keys, int64_t now) {
    link->session_index[keys->initiator] = keys->local_index;
    link->session_generation[keys->initiator] = generation->number;
    ipop_tunnel_add_session(link->env->tunnel, link->tunnel_peer, ipop_session_new(keys, now), generation->path);
}

static void take_response(IpopLink *link, Generation *generation, const uint8_t *message, size_t n, int64_t now) {
    if (!link->handshake || link->handshake_generation != generation->number || !generation->path)
        return;
    IpopSessionKeys keys;
    uint32_t features;
    IpopHandshakeResult result = ipop_handshake_finish(link->handshake, message, n, &keys, &features);
    if (result == IPOP_HANDSHAKE_FORGED) {
        link->answer_forged = true;
        tell_trouble(link);
    }
    if (result != IPOP_HANDSHAKE_OK)
        return;
    /* The index lives on with the session. */
    g_clear_handle_id(&link->handshake_timer, g_source_remove);
    g_clear_pointer(&link->handshake, ipop_handshake_free);
    add_session(link, generation, &keys, now);
}

static bool under_load(IpopLinkEnv *env, int64_t now) {
    if (now / IPOP_SECOND != env->load_second) {
        env->load_second = now / IPOP_SECOND;
        env->load = 0;
    }
    return ++env->load > LOAD_MAX;
}

static void take_init(IpopLink *link, Generation *generation, const uint8_t *message, size_t n, int64_t now) {
    IpopLinkEnv *env = link->env;
    if (!generation->path) {
        generation->has_early = n == sizeof generation->early;
        if (generation->has_early)
            memcpy(generation->early, message, n);
        return;
    }
    if (now - link->last_init < INIT_INTERVAL || n != IPOP_WIRE_INIT_SIZE ||
        !ipop_cookie_mac1_valid(env->identity->public_key, message, n))
        return;
    const char *source = generation->info.remote_addr;
    if (under_load(env, now) && !ipop_cookie_check(env->jar, message, n, source, strlen(source), now)) {
        uint8_t reply[IPOP_WIRE_COOKIE_SIZE];
        ipop_cookie_reply(env->jar, message, n, source, strlen(source), now, reply);
        ipop_tunnel_send(env->tunnel, generation->path, reply, sizeof reply);
        return;
    }
    link->last_init = now;

    IpopHandshakeResult result;
    uint8_t key[IPOP_KEY_BYTES];
    uint64_t timestamp;
    uint32_t features;
    IpopHandshake *handshake = ipop_handshake_accept(env->identity, message, n, &result, key, &timestamp, &features);
    if (!handshake)
        return;
    /* A transport is one peer's: another node's key has no business here, nor has an old message. */
    if (memcmp(key, link->peer_key, sizeof key) == 0 && timestamp > link->peer_timestamp) {
        IpopSessionKeys keys;
        uint8_t response[IPOP_WIRE_RESPONSE_SIZE];
        uint32_t index = env->index_new(env->node);
        result = ipop_handshake_answer(handshake, env->psk, index, 0, response, &keys);
        if (result == IPOP_HANDSHAKE_OK) {
            link->peer_timestamp = timestamp;
            link->unproved++;
            tell_trouble(link);
            ipop_cookie_stamp(&link->cookie, link->peer_key, response, sizeof response, now);
            add_session(link, generation, &keys, now);
            ipop_tunnel_send(env->tunnel, generation->path, response, sizeof response);
        } else {
            env->index_free(env->node, index);
        }
    }
    ipop_handshake_free(handshake);
}

/* --- a newer generation beside one that carries --- */

/* What carries owes us an answer: to check_life's ping, or to the one sent when the newest was held back. */
static bool in_doubt(const IpopLink *link, int64_t now) {
    int64_t heard = atomic_load_explicit(&counters(link)->last_heard, memory_order_relaxed);
    int64_t asked = link->asked;
    if (!asked && heard < link->newest->since)
        asked = link->newest->since;
    return asked && now - asked >= DOUBT;
}

/* Nothing is won by going from one relay to another, unless the first one died. */
static bool worth_moving(const IpopLink *link, int64_t now) {
    bool relays = link->newest->info.relayed && link->carrying && link->carrying->info.relayed;
    return !relays || !link->online || in_doubt(link, now);
}

/* What carries goes on as if there had been no other. */
static void give_up_newest(IpopLink *link) {
    generation_free(link->newest);
    link->newest = link->carrying;
}

static void check_newest(IpopLink *link, int64_t now) {
    Generation *newest = link->newest;
    if (!newest || newest == link->carrying || link->handshake)
        return;
    if (newest->held && worth_moving(link, now)) {
        newest->held = false;
        newest->since = now;
        handshake_begin(link, newest, now);
        return;
    }
    int64_t waited = now - newest->since;
    if (link->online && waited >= (newest->path ? UNUSED_LIMIT : UNCONNECTED_LIMIT))
        give_up_newest(link);
    else if (newest->path && !newest->held && waited >= CONTROLLED_WAIT && waited < HANDSHAKE_LIMIT)
        handshake_begin(link, newest, now);
}

/* --- what the transport says --- */

static void on_candidates(void *user, const char *ufrag, const char *pwd, const IpopCandidate *candidates, unsigned n,
                          bool end) {
    Generation *generation = user;
    IpopLink *link = generation->link;
    link->env->candidates(link->peer, generation->number, ufrag, pwd, candidates, n, end);
}

static void on_state(void *user, IpopTransportState state, const char *why) {
    Generation *generation = user;
    IpopLink *link = generation->link;
    generation->state = state;
    if (link->online || generation != link->newest)
        return;
    if (state == IPOP_TRANSPORT_FAILED)
        set_state(link, IPOP_LINK_FAILED, why);
    else if (state == IPOP_TRANSPORT_CHECKING || (state == IPOP_TRANSPORT_GATHERING && generation->has_remote))
        set_state(link, IPOP_LINK_CHECKING, NULL);
}

/* The first path of the newest generation. */
static void on_connected(IpopLink *link, Generation *generation, int64_t now) {
    generation->since = now;
    /* Signalling vouches for this generation: a peer whose clock was set back is heard again. */
    link->peer_timestamp = 0;
    link->last_init = 0;
    link->answer_forged = false;
    link->unproved = 0;
    if (!link->online)
        set_state(link, IPOP_LINK_HANDSHAKE, NULL);
    if (generation->has_early)
        take_init(link, generation, generation->early, sizeof generation->early, now);
}

static void on_path(void *user, IpopPath *path, const IpopPathInfo *info) {
    Generation *generation = user;
    IpopLink *link = generation->link;
    int64_t now = ipop_clock_now();
    bool first = !generation->path;
    drop_path(generation);
    generation->path = ipop_path_ref(path);
    generation->info = *info;
    ipop_tunnel_listen(link->env->tunnel, link->tunnel_peer, path);
    if (generation == link->carrying) {
        ipop_tunnel_set_path(link->env->tunnel, link->tunnel_peer, path);
        ipop_tunnel_ping(link->env->tunnel, link->tunnel_peer);
        if (!link->online || !set_state(link, IPOP_LINK_ONLINE, online_reason(link)))
            link->env->changed(link->peer);
    }
    if (generation != link->newest || (!first && !generation->held))
        return;
    if (first)
        on_connected(link, generation, now);
    generation->held = !worth_moving(link, now);
    if (generation->held) {
        ipop_tunnel_ping(link->env->tunnel, link->tunnel_peer); /* is it alive, as we believe? */
        return;
    }
    generation->since = now;
    if (generation->controlling)
        handshake_begin(link, generation, now);
}

static void take_handshake(IpopLink *link, Generation *generation, const uint8_t *datagram, size_t n) {
    int64_t now = ipop_clock_now();
    switch (datagram[0]) {
    case IPOP_WIRE_INIT:
        take_init(link, generation, datagram, n, now);
        break;
    case IPOP_WIRE_RESPONSE:
        take_response(link, generation, datagram, n, now);
        break;
    case IPOP_WIRE_COOKIE:
        ipop_cookie_take(&link->cookie, link->peer_key, datagram, n, now);
        break;
    default:
        break;
    }
}

static void on_receive(void *user, uint8_t *datagram, size_t n) {
    Generation *generation = user;
    if (datagram[0] == IPOP_WIRE_DATA)
        ipop_tunnel_input(generation->link->env->tunnel, datagram, n);
    else
        take_handshake(generation->link, generation, datagram, n);
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
    handshake_stop(link);
    g_clear_handle_id(&link->close_old, g_source_remove);
    if (link->carrying != link->newest)
        generation_free(link->carrying);
    generation_free(link->newest);
    generation_free(link->old);
    link->carrying = link->newest = link->old = NULL;
    link->number = 0;
    link->confirmed = link->online = false;
    link->asked = 0;
    ipop_tunnel_drop_sessions(link->env->tunnel, link->tunnel_peer);
    ipop_tunnel_set_path(link->env->tunnel, link->tunnel_peer, NULL);
}

void ipop_link_free(IpopLink *link) {
    if (!link)
        return;
    close_all(link);
    sodium_memzero(&link->cookie, sizeof link->cookie);
    g_free(link->reason);
    g_free(link);
}

void ipop_link_set_suites(IpopLink *link, unsigned suites) {
    link->suites = suites;
}

bool ipop_link_create(IpopLink *link, uint32_t number, bool controlling, GError **error) {
    static const IpopTransportEvents events = {on_candidates, on_state, on_path, on_receive};
    if (link->number == number)
        return true;
    if (link->number > number) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_PROTOCOL, "generation %u is older than %u", number, link->number);
        return false;
    }
    Generation *generation = g_new0(Generation, 1);
    generation->link = link;
    generation->number = number;
    generation->controlling = controlling;
    generation->since = ipop_clock_now();
    generation->transport = link->env->transport_new(link->env->node, controlling, &events, generation, error);
    if (!generation->transport) {
        g_free(generation);
        if (!link->online && error && *error)
            set_state(link, IPOP_LINK_FAILED, (*error)->message);
        return false;
    }
    if (link->newest != link->carrying) {
        if (link->handshake && link->handshake_generation == link->newest->number)
            handshake_stop(link);
        generation_free(link->newest);
    }
    link->newest = generation;
    link->number = number;
    if (!link->online)
        set_state(link, IPOP_LINK_GATHERING, NULL);
    return true;
}

bool ipop_link_set_remote(IpopLink *link, uint32_t number, const char *ufrag, const char *pwd,
                          const IpopCandidate *candidates, unsigned n, bool end) {
    Generation *generation = link->newest;
    if (!generation || generation->number != number)
        return false;
    const IpopTransportOps *ops = generation->transport->ops;
    if (!generation->has_remote) {
        ops->set_remote(generation->transport, ufrag, pwd);
        generation->has_remote = true;
        if (link->state == IPOP_LINK_GATHERING)
            set_state(link, IPOP_LINK_CHECKING, NULL);
    }
    ops->add_candidates(generation->transport, candidates, n, end);
    return true;
}

void ipop_link_trim(IpopLink *link, const char *why) {
    close_all(link);
    set_state(link, IPOP_LINK_IDLE, why);
}

static void come_online(IpopLink *link) {
    link->online = true;
    link->asked = 0;
    set_state(link, IPOP_LINK_ONLINE, online_reason(link));
}

void ipop_link_confirmed(IpopLink *link, uint32_t index) {
    for (int initiator = 0; initiator < 2; initiator++) {
        if (link->session_index[initiator] != index)
            continue;
        Generation *generation = generation_by_number(link, link->session_generation[initiator]);
        if (!generation)
            return;
        if (generation == link->newest)
            move_to_newest(link);
        /* The pair may have changed since the handshake went by it. */
        if (generation->path)
            ipop_tunnel_set_path(link->env->tunnel, link->tunnel_peer, generation->path);
        link->confirmed = true;
        link->session_initiator = initiator;
        link->session_born = ipop_clock_now();
        link->unproved = 0;
        if (!initiator && link->handshake && link->handshake_generation == generation->number)
            handshake_stop(link); /* the peer was first */
        come_online(link);
        return;
    }
}

void ipop_link_handshake(IpopLink *link, const IpopPath *path, const uint8_t *message, size_t n) {
    Generation *both[] = {link->newest, link->carrying};
    for (unsigned i = 0; i < G_N_ELEMENTS(both); i++)
        if (both[i] && both[i]->path == path) {
            take_handshake(link, both[i], message, n);
            return;
        }
}

void ipop_link_bye(IpopLink *link) {
    ipop_link_trim(link, "the peer was stopped");
}

void ipop_link_pong(IpopLink *link) {
    link->asked = 0;
    if (link->confirmed && !link->online)
        come_online(link);
}

/* Online means heard from: ask when it is silent, give up when it stays so. */
static void check_life(IpopLink *link, int64_t now) {
    int64_t heard = atomic_load_explicit(&counters(link)->last_heard, memory_order_relaxed);
    int64_t sent = atomic_load_explicit(&counters(link)->last_sent, memory_order_relaxed);
    int64_t silent = now - heard;
    if (silent < PING_WAITING || (silent < PING_IDLE && sent <= heard)) {
        ipop_link_pong(link);
        return;
    }
    if (!link->asked)
        link->asked = now;
    ipop_tunnel_ping(link->env->tunnel, link->tunnel_peer);
    if (link->online && silent >= DEAD_AFTER && now - link->asked >= DEAD_AFTER / 2) {
        link->online = false;
        set_state(link, IPOP_LINK_FAILED, "the peer stopped answering");
    }
}

static void check_key(IpopLink *link, int64_t now) {
    Generation *generation = link->carrying;
    int64_t age = now - link->session_born;
    int64_t limit = IPOP_REKEY_AFTER + (link->session_initiator ? 0 : RESPONDER_REKEY_SLACK);
    if (age >= limit && generation)
        handshake_begin(link, generation, now);
    if (age >= IPOP_REJECT_AFTER && link->confirmed) {
        link->confirmed = link->online = false;
        set_state(link, IPOP_LINK_FAILED, "the session's keys ran out and no new ones could be agreed on");
    }
}

void ipop_link_tick(IpopLink *link, int64_t now) {
    if (link->confirmed) {
        check_life(link, now);
        check_key(link, now);
    }
    check_newest(link, now);
}

IpopLinkState ipop_link_state(const IpopLink *link) {
    return link->state;
}

uint32_t ipop_link_generation(const IpopLink *link) {
    return link->number;
}

const char *ipop_link_reason(const IpopLink *link) {
    return link->reason;
}

const IpopPathInfo *ipop_link_path_info(const IpopLink *link) {
    return link->carrying ? &link->carrying->info : NULL;
}
