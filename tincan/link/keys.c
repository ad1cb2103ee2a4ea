/* keys.c - agreeing on a session with the peer, by the path of one generation. */
#include "tincan/link/internal.h"

#include <string.h>

#define UNPROVED_MAX 3 /* answers without confirmation; one or two may just be lost */
#define INIT_INTERVAL (IPOP_SECOND / 20) /* at most one handshake per link in this time */
#define LOAD_MAX 64                      /* handshakes per second of the whole node before cookies are asked for */

void ipop_keys_stop(IpopLink *link) {
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
    ipop_keys_stop(link);
    if (link->online)
        return; /* a rekey or a move that did not work out: what carries goes on */
    const char *why = handshake_trouble(link);
    ipop_link_set_state(link, IPOP_LINK_FAILED,
                        why ? why : "the peer does not answer the handshake: its packets are lost, or it knows this node by "
                                    "another key");
}

/* Says at once what is wrong, though the handshake goes on: a forged answer may be an attacker's. */
static void tell_trouble(IpopLink *link) {
    const char *trouble = handshake_trouble(link);
    if (trouble && link->state == IPOP_LINK_HANDSHAKE)
        ipop_link_set_state(link, IPOP_LINK_HANDSHAKE, trouble);
}

static gboolean handshake_send(gpointer data);

void ipop_keys_begin(IpopLink *link, IpopGeneration *generation, int64_t now) {
    if (!generation->path || (link->handshake && link->handshake_generation == generation->number))
        return;
    ipop_keys_stop(link);
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
    IpopGeneration *generation = ipop_generation_find(link, link->handshake_generation);
    link->handshake_timer = 0;
    if (!generation || now - link->handshake_begun > IPOP_KEYS_LIMIT) {
        handshake_fail(link);
        return G_SOURCE_REMOVE;
    }
    ipop_keys_stop(link);
    uint8_t message[IPOP_WIRE_INIT_SIZE];
    IpopSuite suite = ipop_handshake_choose(ipop_handshake_suites(), link->suites);
    uint32_t index = env->index_new(env->node);
    link->handshake = ipop_handshake_initiate(env->identity, link->peer_key, env->psk, suite, index,
                                              (uint64_t)(env->realtime_offset + now), env->claims, message);
    link->handshake_claims = env->claims;
    if (!link->handshake) { /* the peer's key is a low-order point: it can never answer */
        env->index_free(env->node, index);
        handshake_fail(link);
        return G_SOURCE_REMOVE;
    }
    ipop_cookie_stamp(&link->cookie, link->peer_key, message, sizeof message, now);
    ipop_tunnel_send(link->tunnel_peer, generation->path, message, sizeof message);
    guint interval = intervals_ms[MIN(link->handshake_tries, G_N_ELEMENTS(intervals_ms) - 1)];
    link->handshake_tries++;
    link->handshake_timer = g_timeout_add(interval + g_random_int_range(0, 32), handshake_send, link);
    return G_SOURCE_REMOVE;
}

static void add_session(IpopLink *link, IpopGeneration *generation, IpopSessionKeys *keys, uint64_t claims, int64_t now) {
    link->session_claims[keys->initiator] = claims;
    link->session_told[keys->initiator] = keys->initiator ? link->handshake_claims : link->env->claims;
    link->session_index[keys->initiator] = keys->local_index;
    link->session_generation[keys->initiator] = generation->number;
    ipop_tunnel_add_session(link->tunnel_peer, ipop_session_new(keys, now), generation->path);
}

static void take_response(IpopLink *link, IpopGeneration *generation, const uint8_t *message, size_t n, int64_t now) {
    if (!link->handshake || link->handshake_generation != generation->number || !generation->path)
        return;
    IpopSessionKeys keys;
    uint64_t claims;
    IpopHandshakeResult result = ipop_handshake_finish(link->handshake, message, n, &keys, &claims);
    if (result == IPOP_HANDSHAKE_FORGED) {
        link->answer_forged = true;
        tell_trouble(link);
    }
    if (result != IPOP_HANDSHAKE_OK)
        return;
    /* The index lives on with the session. */
    g_clear_handle_id(&link->handshake_timer, g_source_remove);
    g_clear_pointer(&link->handshake, ipop_handshake_free);
    add_session(link, generation, &keys, claims, now);
}

static bool under_load(IpopLinkEnv *env, int64_t now) {
    if (now / IPOP_SECOND != env->load_second) {
        env->load_second = now / IPOP_SECOND;
        env->load = 0;
    }
    return ++env->load > LOAD_MAX;
}

static void take_init(IpopLink *link, IpopGeneration *generation, const uint8_t *message, size_t n, int64_t now) {
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
        ipop_tunnel_send(link->tunnel_peer, generation->path, reply, sizeof reply);
        return;
    }
    link->last_init = now;

    IpopHandshakeResult result;
    uint8_t key[IPOP_KEY_BYTES];
    uint64_t timestamp;
    uint64_t claims;
    IpopHandshake *handshake = ipop_handshake_accept(env->identity, message, n, &result, key, &timestamp, &claims);
    if (!handshake)
        return;
    /* A transport is one peer's: another node's key has no business here, nor has an old message. */
    if (memcmp(key, link->peer_key, sizeof key) == 0 && timestamp > link->peer_timestamp) {
        IpopSessionKeys keys;
        uint8_t response[IPOP_WIRE_RESPONSE_SIZE];
        uint32_t index = env->index_new(env->node);
        result = ipop_handshake_answer(handshake, env->psk, index, env->claims, response, &keys);
        if (result == IPOP_HANDSHAKE_OK) {
            link->peer_timestamp = timestamp;
            link->unproved++;
            tell_trouble(link);
            ipop_cookie_stamp(&link->cookie, link->peer_key, response, sizeof response, now);
            add_session(link, generation, &keys, claims, now);
            ipop_tunnel_send(link->tunnel_peer, generation->path, response, sizeof response);
        } else {
            env->index_free(env->node, index);
        }
    }
    ipop_handshake_free(handshake);
}

void ipop_keys_take(IpopLink *link, IpopGeneration *generation, const uint8_t *datagram, size_t n) {
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
