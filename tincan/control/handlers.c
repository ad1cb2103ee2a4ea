#include "tincan/control/handlers.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/base/log.h"
#include "tincan/control/state.h"
#include "tincan/ctl/json.h"

#include <sodium.h>
#include <string.h>

#define JID_MAX 1023
#define REASON_MAX 512
#define SERVER_MAX 300
#define CREDENTIAL_MAX 512
#define IGNORE_MAX 64
#define PINGS_PER_SECOND 20

/* A handler answers by itself, or returns NULL for {"type":"ok"} or the name of the member that is wrong. */
typedef const char *(*Handler)(IpopDaemon *daemon, const json_t *message, const IpopRequest *request);

static const char ANSWERED[] = "";

static const char *answer_error(const IpopRequest *request, const char *text) {
    ipop_control_answer(request, json_pack("{ss}", "error", text));
    return ANSWERED;
}

static IpopPeer *find_peer(IpopDaemon *daemon, const json_t *message) {
    const char *text;
    IpopUid uid;
    if (!ipop_json_string(message, "uid", 40, &text) || !ipop_uid_parse(text, &uid))
        return NULL;
    return g_hash_table_lookup(daemon->peers, uid.hex);
}

static bool get_text(const json_t *message, const char *key, size_t size, char *ret) {
    const char *text;
    if (!ipop_json_string(message, key, size - 1, &text))
        return false;
    g_strlcpy(ret, text, size);
    return true;
}

/* "" or an address of the family. */
static bool get_address(const json_t *message, const char *key, int family, char *ret) {
    const char *text;
    if (!ipop_json_string(message, key, INET6_ADDRSTRLEN - 1, &text))
        return false;
    *ret = '\0';
    return !*text || ipop_ip_normalise(text, family, ret);
}

/* --- reading --- */

static const char *get_state(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    int64_t now = ipop_clock_now();
    bool stats = false, why = false;
    if (json_object_get(message, "stats") && !ipop_json_bool(message, "stats", &stats))
        return "stats";
    if (json_object_get(message, "why") && !ipop_json_bool(message, "why", &why))
        return "why";
    IpopPeer *one = find_peer(daemon, message);
    if (json_object_get(message, "uid") && !one)
        return answer_error(request, "no such peer");
    json_t *local = ipop_state_local(daemon, stats);
    if (one)
        json_object_set_new(local, "_peers", json_integer(1));
    ipop_control_answer(request, local);
    GHashTableIter iter;
    gpointer peer;
    g_hash_table_iter_init(&iter, daemon->peers);
    while (g_hash_table_iter_next(&iter, NULL, &peer))
        if (!one || one == peer)
            ipop_control_answer(request, ipop_state_peer(peer, stats, why, now));
    return ANSWERED;
}

static const char *echo_request(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    json_t *answer = json_copy((json_t *)message);
    json_object_set_new(answer, "type", json_string("echo_reply"));
    ipop_control_answer(request, answer);
    return ANSWERED;
}

static const char *ping(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    int64_t second = ipop_clock_now() / IPOP_SECOND;
    IpopPeer *peer = find_peer(daemon, message);
    if (!peer)
        return answer_error(request, "no such peer");
    if (ipop_link_state(peer->link) != IPOP_LINK_ONLINE)
        return answer_error(request, "the peer is not online");
    if (daemon->ping_second != second)
        daemon->pings = 0;
    daemon->ping_second = second;
    if (peer->ping || ++daemon->pings > PINGS_PER_SECOND)
        return answer_error(request, "too many pings at once: ask again");
    ipop_peer_ping(peer, ipop_request_copy(request));
    return ANSWERED;
}

/* --- changing --- */

static const char *set_cb_endpoint(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    ipop_control_attach(daemon->control, request);
    return NULL;
}

static const char *set_psk(IpopDaemon *daemon, const json_t *message) {
    const char *text;
    size_t n;
    if (!json_object_get(message, "psk")) {
        sodium_memzero(daemon->psk, IPOP_PSK_BYTES);
        return NULL;
    }
    if (!ipop_json_string(message, "psk", 2 * IPOP_PSK_BYTES, &text) ||
        sodium_hex2bin(daemon->psk, IPOP_PSK_BYTES, text, strlen(text), NULL, &n, NULL) != 0 || n != IPOP_PSK_BYTES)
        return "psk";
    return NULL;
}

static const char *set_ignore(IpopDaemon *daemon, const json_t *message) {
    const json_t *list = json_object_get(message, "ignore");
    if (!list)
        return NULL;
    if (!json_is_array(list) || json_array_size(list) > IGNORE_MAX)
        return "ignore";
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name)
            return "ignore";
        g_strv_builder_add(builder, name);
    }
    g_strfreev(daemon->local.ignore);
    daemon->local.ignore = g_strv_builder_end(builder);
    ipop_address_watch_set_ignore(daemon->watch, (const char *const *)daemon->local.ignore);
    return NULL;
}

static void device_changed(IpopDaemon *daemon) {
    GHashTableIter iter;
    gpointer peer;
    ipop_tunnel_set_local(daemon->tunnel, daemon->local.addresses.ip4, daemon->local.addresses.ip6);
    g_hash_table_iter_init(&iter, daemon->peers);
    while (g_hash_table_iter_next(&iter, NULL, &peer))
        ipop_peer_device_changed(peer);
}

/* The search begins here, so that a router is known when the first link wants it. */
static void set_upnp(IpopDaemon *daemon, bool wanted) {
    daemon->upnp = wanted;
    if (!wanted || daemon->portmap)
        return;
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_strv_builder_add_many(builder, "lo", ipop_tun_name(daemon->tun), NULL);
    g_strv_builder_addv(builder, (const char **)daemon->local.ignore);
    g_auto(GStrv) ignore = g_strv_builder_end(builder);
    daemon->portmap = ipop_portmap_new((const char *const *)ignore);
}

static const char *set_local(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    IpopLocal *local = &daemon->local;
    IpopTunConfig config = {0};
    char name[sizeof local->name];
    int64_t mask4, mask6, mtu;
    if (!get_text(message, "name", sizeof name, name) || !ipop_name_valid(name))
        return "name";
    if (!get_address(message, "ip4", AF_INET, config.ip4))
        return "ip4";
    if (!ipop_json_int(message, "ip4_mask", 1, 32, &mask4))
        return "ip4_mask";
    if (!get_address(message, "ip6", AF_INET6, config.ip6))
        return "ip6";
    if (!ipop_json_int(message, "ip6_mask", 1, 128, &mask6))
        return "ip6_mask";
    if (!ipop_json_int(message, "mtu", 0, 65535, &mtu) || (mtu && mtu < 1280))
        return "mtu";
    bool upnp = false;
    if (json_object_get(message, "upnp") && !ipop_json_bool(message, "upnp", &upnp))
        return "upnp";
    const char *wrong = set_psk(daemon, message);
    if (!wrong)
        wrong = set_ignore(daemon, message);
    if (wrong)
        return wrong;
    config.ip4_mask = (unsigned)mask4;
    config.ip6_mask = (unsigned)mask6;
    config.mtu = mtu ? (unsigned)mtu : IPOP_DEFAULT_MTU;
    bool no_ip6;
    g_autoptr(GError) error = NULL;
    if (!ipop_tun_configure(daemon->tun, &config, &no_ip6, &error)) {
        ipop_log(IPOP_LOG_ERROR, "device", "%s", error->message);
        return answer_error(request, error->message);
    }
    if (no_ip6)
        ipop_log(IPOP_LOG_INFO, "device", "%s: no IPv6 address, since IPv6 is switched off on this host", ipop_tun_name(daemon->tun));
    set_upnp(daemon, upnp);
    local->addresses = config;
    device_changed(daemon);
    g_strlcpy(local->name, name, sizeof local->name);
    daemon->env.claims = ipop_claims(local->name, local->addresses.ip4);
    return NULL;
}

static bool get_turn(const json_t *object, IpopTurnServer *ret) {
    const char *server, *user, *pass, *transport;
    if (!ipop_json_string(object, "server", SERVER_MAX, &server) || !ipop_json_string(object, "user", CREDENTIAL_MAX, &user) ||
        !ipop_json_string(object, "pass", CREDENTIAL_MAX, &pass) || !ipop_json_string(object, "transport", 3, &transport) ||
        (strcmp(transport, "udp") != 0 && strcmp(transport, "tcp") != 0))
        return false;
    /* Borrowed from the message: ipop_servers_set copies. */
    *ret = (IpopTurnServer){(char *)server, (char *)user, (char *)pass, *transport == 'u' ? IPOP_TURN_UDP : IPOP_TURN_TCP};
    return true;
}

static const char *set_servers(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    const json_t *stun = json_object_get(message, "stun"), *turn = json_object_get(message, "turn");
    const char *stun_servers[IPOP_SERVERS_MAX];
    IpopTurnServer turn_servers[IPOP_SERVERS_MAX];
    IpopServerLists lists = {.stun = stun_servers, .turn = turn_servers};
    if (!json_is_array(stun) || json_array_size(stun) > IPOP_SERVERS_MAX)
        return "stun";
    if (!json_is_array(turn) || json_array_size(turn) > IPOP_SERVERS_MAX)
        return "turn";
    for (size_t i = 0; i < json_array_size(stun); i++) {
        const json_t *server = json_array_get(stun, i);
        if (!json_is_string(server) || json_string_length(server) > SERVER_MAX)
            return "stun";
        stun_servers[i] = json_string_value(server);
    }
    for (size_t i = 0; i < json_array_size(turn); i++)
        if (!get_turn(json_array_get(turn, i), &turn_servers[i]))
            return "turn";
    lists.n_stun = (unsigned)json_array_size(stun);
    lists.n_turn = (unsigned)json_array_size(turn);
    if (json_object_get(message, "stun_offered") && !ipop_json_bool(message, "stun_offered", &lists.stun_offered))
        return "stun_offered";
    if (json_object_get(message, "turn_offered") && !ipop_json_bool(message, "turn_offered", &lists.turn_offered))
        return "turn_offered";
    GHashTableIter iter;
    gpointer peer;
    g_hash_table_iter_init(&iter, daemon->peers);
    if (ipop_servers_set(daemon->servers, &lists))
        while (g_hash_table_iter_next(&iter, NULL, &peer))
            ipop_link_relays_changed(((IpopPeer *)peer)->link);
    return NULL;
}

static const char *set_logging(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    static const int levels[] = {-1, IPOP_LOG_ERROR, IPOP_LOG_INFO, IPOP_LOG_DEBUG};
    int64_t level;
    if (!ipop_json_int(message, "logging", 0, 3, &level))
        return "logging";
    ipop_log_set_level(levels[level]);
    return NULL;
}

static const char *set_xmpp(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    const char *state, *jid, *error;
    if (!ipop_json_string(message, "state", 16, &state) ||
        (strcmp(state, "connected") != 0 && strcmp(state, "connecting") != 0 && strcmp(state, "disconnected") != 0))
        return "state";
    if (!ipop_json_string(message, "jid", JID_MAX, &jid))
        return "jid";
    if (!ipop_json_string(message, "error", REASON_MAX, &error))
        return "error";
    ipop_state_set_xmpp(daemon, state, error);
    g_free(daemon->local.jid);
    daemon->local.jid = g_strdup(jid);
    return NULL;
}

/* What set_remote_ip says of a peer, read whole before anything is changed. */
typedef struct {
    char name[IPOP_NAME_MAX + 1];
    const char *jid, *refused;
    char ip4[INET6_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN];
    unsigned suites;
    bool available, heard;
} Remote;

static const char *read_remote(const json_t *message, Remote *ret) {
    const char *suites, *presence;
    if (!get_text(message, "name", sizeof ret->name, ret->name) || (*ret->name && !ipop_name_valid(ret->name)))
        return "name";
    if (!ipop_json_string(message, "jid", JID_MAX, &ret->jid))
        return "jid";
    if (!get_address(message, "ip4", AF_INET, ret->ip4))
        return "ip4";
    if (!get_address(message, "ip6", AF_INET6, ret->ip6))
        return "ip6";
    if (!ipop_json_string(message, "suites", 64, &suites) || !(ret->suites = ipop_suites_parse(suites)))
        return "suites";
    if (!ipop_json_string(message, "presence", 16, &presence))
        return "presence";
    ret->available = strcmp(presence, "available") == 0;
    if (!ipop_json_bool(message, "heard", &ret->heard))
        return "heard";
    ret->refused = NULL;
    if (json_object_get(message, "reason") && !ipop_json_string(message, "reason", REASON_MAX, &ret->refused))
        return "reason";
    return NULL;
}

/* A peer gives up its address: whoever else claims it has it now. Of two that nobody has proved to be theirs, the controller
 * refuses one only after the other's link came online, and the route may have been at either. */
static void hand_on_ip4(IpopDaemon *daemon, const IpopPeer *from) {
    GHashTableIter iter;
    gpointer value;
    if (!*from->ip4)
        return;
    g_hash_table_iter_init(&iter, daemon->peers);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        IpopPeer *peer = value;
        if (peer != from && strcmp(peer->ip4, from->ip4) == 0)
            ipop_peer_route(peer);
    }
}

static const char *set_remote_ip(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    const char *uid_text, *key_text;
    IpopUid uid;
    uint8_t key[IPOP_KEY_BYTES];
    Remote remote;
    if (!ipop_json_string(message, "uid", 40, &uid_text) || !ipop_uid_parse(uid_text, &uid))
        return "uid";
    if (!ipop_json_string(message, "key", IPOP_KEY_TEXT_SIZE - 1, &key_text) || !ipop_key_from_text(key_text, key))
        return "key";
    IpopUid from_key = ipop_uid_from_key(key);
    if (!ipop_uid_equal(&uid, &from_key))
        return answer_error(request, "the uid is not that of the key");
    const char *wrong = read_remote(message, &remote);
    if (wrong)
        return wrong;

    IpopPeer *peer = g_hash_table_lookup(daemon->peers, uid.hex);
    if (!peer) {
        if (g_hash_table_size(daemon->peers) >= IPOP_PEERS_MAX)
            return answer_error(request, "too many peers");
        peer = ipop_peer_new(daemon, key);
        g_hash_table_insert(daemon->peers, peer->uid.hex, peer);
    }
    bool same = strcmp(peer->ip4, remote.ip4) == 0 && strcmp(peer->ip6, remote.ip6) == 0 &&
                g_strcmp0(peer->refused, remote.refused) == 0;
    if (!same)
        hand_on_ip4(daemon, peer);
    g_strlcpy(peer->name, remote.name, sizeof peer->name);
    g_strlcpy(peer->ip4, remote.ip4, sizeof peer->ip4);
    g_strlcpy(peer->ip6, remote.ip6, sizeof peer->ip6);
    g_free(peer->jid);
    peer->jid = g_strdup(remote.jid);
    peer->available = remote.available;
    if (remote.heard)
        peer->jabber_heard = ipop_clock_now();
    ipop_link_set_suites(peer->link, remote.suites);
    if (!same)
        ipop_peer_set_refused(peer, remote.refused);
    return NULL;
}

static const char *forget_peer(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    IpopPeer *peer = find_peer(daemon, message);
    if (!peer)
        return NULL;
    hand_on_ip4(daemon, peer);
    g_hash_table_remove(daemon->peers, peer->uid.hex);
    return NULL;
}

static const char *create_link(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    int64_t generation;
    bool controlling;
    g_autoptr(GError) error = NULL;
    IpopPeer *peer = find_peer(daemon, message);
    if (!peer || peer->refused)
        return answer_error(request, peer ? "the peer is refused" : "no such peer");
    if (!ipop_json_int(message, "generation", 1, INT32_MAX, &generation))
        return "generation";
    if (!ipop_json_bool(message, "controlling", &controlling))
        return "controlling";
    if (!ipop_link_create(peer->link, (uint32_t)generation, controlling, &error))
        return answer_error(request, error->message);
    return NULL;
}

static const char *set_remote(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    int64_t generation;
    const char *ufrag, *pwd;
    bool end;
    const json_t *list = json_object_get(message, "candidates");
    IpopCandidate candidates[IPOP_CANDIDATES_MAX];
    IpopPeer *peer = find_peer(daemon, message);
    if (!peer)
        return answer_error(request, "no such peer");
    if (!ipop_json_int(message, "generation", 1, INT32_MAX, &generation))
        return "generation";
    if (!ipop_json_string(message, "ufrag", IPOP_ICE_UFRAG_MAX, &ufrag) ||
        !ipop_json_string(message, "pwd", IPOP_ICE_PWD_MAX, &pwd) || !ipop_ice_credentials_valid(ufrag, pwd))
        return "ufrag";
    if (!json_is_array(list) || json_array_size(list) > IPOP_CANDIDATES_MAX)
        return "candidates";
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!ipop_candidate_from_json(json_array_get(list, i), &candidates[i]))
            return "candidates";
    if (!ipop_json_bool(message, "end", &end))
        return "end";
    const char *nat;
    if (json_object_get(message, "nat") &&
        (!ipop_json_string(message, "nat", IPOP_NAT_TEXT_MAX, &nat) || !ipop_nat_parse(nat, &peer->nat)))
        return "nat";
    if (!ipop_link_set_remote(peer->link, (uint32_t)generation, ufrag, pwd, candidates, (unsigned)json_array_size(list), end))
        return answer_error(request, "not the newest generation");
    return NULL;
}

static const char *trim_link(IpopDaemon *daemon, const json_t *message, const IpopRequest *request) {
    const char *why = NULL;
    IpopPeer *peer = find_peer(daemon, message);
    if (json_object_get(message, "reason") && !ipop_json_string(message, "reason", REASON_MAX, &why))
        return "reason";
    if (peer)
        ipop_link_give_up(peer->link, why);
    return NULL;
}

static const struct {
    const char *method;
    bool changes;
    Handler run;
} table[] = {
    {"get_state", false, get_state},
    {"echo_request", false, echo_request},
    {"ping", false, ping},
    {"set_cb_endpoint", true, set_cb_endpoint},
    {"set_local", true, set_local},
    {"set_servers", true, set_servers},
    {"set_logging", true, set_logging},
    {"set_xmpp", true, set_xmpp},
    {"set_remote_ip", true, set_remote_ip},
    {"forget_peer", true, forget_peer},
    {"create_link", true, create_link},
    {"set_remote", true, set_remote},
    {"trim_link", true, trim_link},
};

static void answer_about(const IpopRequest *request, const char *what, const char *name) {
    g_autofree char *text = g_strdup_printf("%s: %s", what, name);
    ipop_control_answer(request, json_pack("{ss}", "error", text));
}

void ipop_handle_request(void *user, const char *method, const json_t *message, const IpopRequest *request) {
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (strcmp(method, table[i].method) != 0)
            continue;
        if (table[i].changes && !ipop_request_authentic(request)) {
            answer_about(request, "not authenticated", method);
            return;
        }
        const char *wrong = table[i].run(user, message, request);
        if (!wrong)
            ipop_control_answer(request, json_pack("{ss}", "type", "ok"));
        else if (wrong != ANSWERED)
            answer_about(request, "wrong or missing member", wrong);
        return;
    }
    answer_about(request, "unknown method", method);
}
