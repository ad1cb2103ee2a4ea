#include "tincan/control/state.h"

#include "tincan/base/clock.h"

#include <inttypes.h>

static uint64_t load(const atomic_uint_least64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* The address a layer 2 device of this node has: locally administered, made of the uid. */
static void make_mac(const IpopUid *uid, char ret_text[static 18]) {
    const char *h = uid->hex;
    g_snprintf(ret_text, 18, "02:%.2s:%.2s:%.2s:%.2s:%.2s", h, h + 2, h + 4, h + 6, h + 8);
}

static json_t *servers(const IpopServers *all) {
    static const char *const verdicts[] = {"unknown", "good", "bad"};
    json_t *list = json_array();
    IpopServerStatus status;
    for (unsigned i = 0; ipop_servers_status(all, i, &status); i++)
        json_array_append_new(list, json_pack("{ss ss ss ss ss}", "kind", status.turn ? "turn" : "stun", "server", status.server,
                                              "transport", status.transport == IPOP_TURN_TCP ? "tcp" : "udp", "verdict",
                                              verdicts[status.verdict], "text", status.text));
    return list;
}

static json_t *drops(const IpopTunnelCounters *counters) {
    json_t *object = json_object();
    for (unsigned i = 0; i < IPOP_DROP_CAUSES; i++)
        json_object_set_new(object, ipop_drop_name(i), json_integer((json_int_t)load(&counters->drops[i])));
    return object;
}

static const char *upnp(const IpopDaemon *daemon) {
    if (!daemon->upnp)
        return "off";
    const char *router = ipop_portmap_router(daemon->portmap);
    return *router ? router : "none";
}

json_t *ipop_state_local(const IpopDaemon *daemon, bool stats) {
    const IpopLocal *local = &daemon->local;
    const IpopTunConfig *addresses = &local->addresses;
    char fpr[IPOP_FPR_SIZE], key[IPOP_KEY_TEXT_SIZE], mac[18] = "", nat[IPOP_NAT_TEXT_MAX + 1];
    ipop_fingerprint(daemon->identity->public_key, fpr);
    ipop_key_to_text(daemon->identity->public_key, key);
    if (*addresses->ip4)
        make_mac(&daemon->identity->uid, mac);
    ipop_nat_text(ipop_servers_nat(daemon->servers), nat);
    return json_pack("{ss ss ss ss ss ss ss ss ss ss ss ss ss sI ss ss so ss so*}", "type", "local_state", "_uid",
                     daemon->identity->uid.hex, "_fpr", fpr, "_key", key, "_suites", ipop_suites_text(ipop_handshake_suites()),
                     "_ip4", addresses->ip4, "_ip6", addresses->ip6, "_mac", mac, "_name", local->name, "_jid", local->jid,
                     "_xmpp", local->xmpp, "_xmpp_error", local->xmpp_error, "_version", IPOP_VERSION, "_peers",
                     (json_int_t)g_hash_table_size(daemon->peers), "_nat", nat, "_outside",
                     ipop_servers_outside(daemon->servers), "_servers", servers(daemon->servers), "_upnp", upnp(daemon),
                     "_drops", stats ? drops(ipop_tunnel_counters(daemon->tunnel)) : NULL);
}

static json_t *paths(const IpopPeer *peer) {
    const IpopPathInfo *info = ipop_link_path_info(peer->link);
    const IpopTunnelCounters *counters = ipop_tunnel_peer_counters(peer->tunnel_peer);
    json_t *list = json_array();
    if (!info)
        return list;
    json_array_append_new(
        list, json_pack("{ss ss ss ss sb sf si sI sI sI sI so}", "local_addr", info->local_addr, "rem_addr",
                        info->remote_addr, "local_type", ipop_candidate_type_name(info->local_type), "rem_type",
                        ipop_candidate_type_name(info->remote_type), "best_conn",
                        ipop_link_state(peer->link) == IPOP_LINK_ONLINE, "rtt",
                        (double)atomic_load_explicit(&counters->rtt, memory_order_relaxed) / 1000, "mtu",
                        (int)load(&counters->mtu), "sent_total_bytes", (json_int_t)load(&counters->sent_bytes),
                        "sent_bytes_second", (json_int_t)peer->sent_rate, "recv_total_bytes",
                        (json_int_t)load(&counters->recv_bytes), "recv_bytes_second", (json_int_t)peer->recv_rate, "drops",
                        drops(counters)));
    return list;
}

static json_int_t seconds_since(int64_t then, int64_t now) {
    return then ? (now - then) / IPOP_SECOND : -1;
}

/* "" before a link has proved any. */
static const char *claims_text(const IpopPeer *peer, char ret_text[static 17]) {
    uint64_t claims = ipop_link_claims(peer->link);
    *ret_text = '\0';
    if (claims)
        g_snprintf(ret_text, 17, "%016" PRIx64, claims);
    return ret_text;
}

json_t *ipop_state_peer(const IpopPeer *peer, bool stats, bool why, int64_t now) {
    g_autofree char *reason = ipop_peer_reason(peer);
    const IpopTunnelCounters *counters = ipop_tunnel_peer_counters(peer->tunnel_peer);
    IpopLinkState state = ipop_link_state(peer->link);
    char fpr[IPOP_FPR_SIZE], claims[17];
    ipop_fingerprint(peer->key, fpr);
    json_t *object = json_pack(
        "{ss ss ss ss ss ss ss ss ss ss ss ss ss ss ss sI sI sI}", "type", "peer_state", "uid", peer->uid.hex, "fpr", fpr, "ip4",
        peer->ip4, "ip6", peer->ip6, "name", peer->name, "jid", peer->jid, "status",
        state == IPOP_LINK_ONLINE ? "online" : "offline", "state", peer->refused ? "failed" : ipop_link_state_name(state),
        "reason", reason, "path", ipop_peer_path(peer), "via", "", "presence",
        peer->available ? "available" : "unavailable", "security", "noise", "claims", claims_text(peer, claims),
        "xmpp_time", seconds_since(peer->jabber_heard, now),
        "last_time", seconds_since(atomic_load_explicit(&counters->last_heard, memory_order_relaxed), now), "generation",
        (json_int_t)ipop_link_generation(peer->link));
    if (stats)
        json_object_set_new(object, "stats", paths(peer));
    if (why)
        json_object_set_new(object, "why", ipop_state_why(peer, now));
    return object;
}

json_t *ipop_state_link(const IpopPeer *peer) {
    g_autofree char *reason = ipop_peer_reason(peer);
    const IpopPathInfo *info = ipop_link_path_info(peer->link);
    const IpopTunnelCounters *counters = ipop_tunnel_peer_counters(peer->tunnel_peer);
    char claims[17];
    return json_pack("{ss ss ss sI ss ss ss ss ss ss sf}", "type", "link_state", "uid", peer->uid.hex, "claims",
                     claims_text(peer, claims), "generation", (json_int_t)ipop_link_generation(peer->link), "state", ipop_link_state_name(ipop_link_state(peer->link)),
                     "path", ipop_peer_path(peer), "reason", reason, "local_type",
                     info ? ipop_candidate_type_name(info->local_type) : "", "rem_type",
                     info ? ipop_candidate_type_name(info->remote_type) : "", "rem_addr", info ? info->remote_addr : "", "rtt",
                     (double)atomic_load_explicit(&counters->rtt, memory_order_relaxed) / 1000);
}

void ipop_state_set_xmpp(IpopDaemon *daemon, const char *state, const char *error) {
    g_free(daemon->local.xmpp);
    g_free(daemon->local.xmpp_error);
    daemon->local.xmpp = g_strdup(state);
    daemon->local.xmpp_error = g_strdup(error);
}
