#include "tincan/peer.h"

#include "tincan/base/log.h"
#include "tincan/daemon.h"
#include "tincan/link/explain.h"

#include <string.h>

#define PING_LIMIT_MS 1000
#define MTU_MIN 1280 /* the kernel takes IPv6 away from what has less */

IpopPeer *ipop_peer_new(IpopDaemon *daemon, const uint8_t key[static IPOP_KEY_BYTES]) {
    IpopPeer *peer = g_new0(IpopPeer, 1);
    peer->daemon = daemon;
    memcpy(peer->key, key, IPOP_KEY_BYTES);
    peer->uid = ipop_uid_from_key(key);
    peer->jid = g_strdup("");
    peer->tunnel_peer = ipop_tunnel_add_peer(daemon->tunnel, peer);
    peer->link = ipop_link_new(&daemon->env, peer->tunnel_peer, key, peer);
    ipop_peer_device_changed(peer);
    return peer;
}

/* --- the size of packets --- */

/* While larger packets than the path takes could be sent to that address, the kernel knows the path's size. */
static void set_route(IpopPeer *peer, unsigned which, const char *host) {
    static const int families[] = {AF_INET, AF_INET6};
    IpopTun *tun = peer->daemon->tun;
    unsigned mtu = peer->mtu ? MAX(peer->mtu, MTU_MIN) : 0;
    if (mtu >= ipop_daemon_mtu(peer->daemon) || !*host)
        mtu = 0;
    bool moved = strcmp(peer->routes[which].host, host) != 0;
    if (!moved && mtu == peer->routes[which].mtu)
        return;
    if (peer->routes[which].mtu && (moved || !mtu))
        ipop_tun_set_host_mtu(tun, families[which], peer->routes[which].host, 0);
    g_strlcpy(peer->routes[which].host, host, sizeof peer->routes[which].host);
    bool good = !mtu || ipop_tun_set_host_mtu(tun, families[which], host, mtu) == 0;
    peer->routes[which].mtu = good ? mtu : 0; /* without, packets that are too long are refused one by one */
}

static void set_routes(IpopPeer *peer) {
    set_route(peer, 0, peer->refused ? "" : peer->ip4);
    set_route(peer, 1, peer->refused ? "" : peer->ip6);
}

static void log_mtu(IpopPeer *peer, bool hole) {
    const char *name = *peer->name ? peer->name : peer->uid.hex;
    unsigned before = peer->mtu_logged ? peer->mtu_logged : ipop_daemon_mtu(peer->daemon);
    if (hole)
        ipop_log(IPOP_LOG_INFO, "mtu", "peer=%s: large packets vanish on the way; looking for what arrives", name);
    else if (peer->mtu != before)
        ipop_log(IPOP_LOG_INFO, "mtu", "peer=%s mtu=%u: the path takes %s packets%s", name, peer->mtu,
                 peer->mtu < before ? "smaller" : "larger", peer->mtu < before ? " only" : " again");
    if (!hole)
        peer->mtu_logged = peer->mtu;
}

void ipop_peer_mtu(IpopPeer *peer, unsigned mtu, bool hole) {
    peer->mtu = mtu;
    set_routes(peer);
    ipop_tunnel_mtu_told(peer->tunnel_peer, mtu, hole);
    log_mtu(peer, hole);
}

void ipop_peer_device_changed(IpopPeer *peer) {
    ipop_tunnel_set_mtu(peer->tunnel_peer, ipop_daemon_mtu(peer->daemon));
    set_route(peer, 0, "");
    set_route(peer, 1, "");
    set_routes(peer);
}

/* --- life --- */

static void answer_ping(IpopPeer *peer, json_t *answer) {
    g_clear_handle_id(&peer->ping_timeout, g_source_remove);
    IpopRequest *request = g_steal_pointer(&peer->ping);
    ipop_control_answer(request, answer);
    ipop_request_free(request);
}

void ipop_peer_free(IpopPeer *peer) {
    if (!peer)
        return;
    if (peer->ping)
        answer_ping(peer, json_pack("{ss}", "error", "the peer was forgotten"));
    ipop_link_free(peer->link);
    set_route(peer, 0, "");
    set_route(peer, 1, "");
    ipop_tunnel_remove_peer(peer->tunnel_peer);
    g_free(peer->jid);
    g_free(peer->refused);
    g_free(peer->told);
    g_free(peer);
}

void ipop_peer_route(IpopPeer *peer) {
    bool refused = peer->refused != NULL;
    ipop_tunnel_set_addresses(peer->tunnel_peer, refused ? "" : peer->ip4, refused ? "" : peer->ip6);
    set_routes(peer);
}

void ipop_peer_set_refused(IpopPeer *peer, const char *why) {
    if (why && ipop_link_generation(peer->link))
        ipop_link_trim(peer->link, NULL);
    g_free(peer->refused);
    peer->refused = g_strdup(why);
    ipop_peer_route(peer);
}

static gboolean ping_timed_out(gpointer data) {
    IpopPeer *peer = data;
    peer->ping_timeout = 0;
    answer_ping(peer, json_pack("{ss}", "error", "the peer did not answer within 1 s"));
    return G_SOURCE_REMOVE;
}

void ipop_peer_ping(IpopPeer *peer, IpopRequest *request) {
    peer->ping = request;
    peer->ping_timeout = g_timeout_add(PING_LIMIT_MS, ping_timed_out, peer);
    ipop_tunnel_ping(peer->tunnel_peer);
}

void ipop_peer_pong(IpopPeer *peer, int64_t rtt) {
    ipop_link_pong(peer->link);
    if (peer->ping)
        answer_ping(peer, json_pack("{sssssf}", "type", "pong", "uid", peer->uid.hex, "rtt", (double)rtt / 1000));
}

void ipop_peer_tick(IpopPeer *peer, int64_t now) {
    const IpopTunnelCounters *counters = ipop_tunnel_peer_counters(peer->tunnel_peer);
    uint64_t sent = atomic_load_explicit(&counters->sent_bytes, memory_order_relaxed);
    uint64_t recv = atomic_load_explicit(&counters->recv_bytes, memory_order_relaxed);
    peer->sent_rate = sent - peer->sent_last;
    peer->recv_rate = recv - peer->recv_last;
    peer->sent_last = sent;
    peer->recv_last = recv;
    ipop_link_tick(peer->link, now);
}

/* The first TURN server that is known not to do its work. */
static char *turn_trouble(const IpopServers *servers, bool *ret_turn) {
    IpopServerStatus status;
    *ret_turn = false;
    for (unsigned i = 0; ipop_servers_status(servers, i, &status); i++) {
        *ret_turn = *ret_turn || status.turn;
        if (status.turn && status.verdict == IPOP_SERVER_BAD)
            return g_strdup_printf("TURN server %s (%s) %s", status.server, status.transport == IPOP_TURN_TCP ? "TCP" : "UDP",
                                   status.text);
    }
    return NULL;
}

static IpopFacts collect_facts(const IpopPeer *peer, const IpopAttempt *attempt) {
    return (IpopFacts){.attempt = attempt, .own = ipop_servers_nat(peer->daemon->servers), .peer = peer->nat};
}

char *ipop_peer_explain_failed(const IpopPeer *peer, const IpopAttempt *attempt) {
    IpopFacts facts = collect_facts(peer, attempt);
    g_autofree char *trouble = turn_trouble(peer->daemon->servers, &facts.turn);
    facts.turn_trouble = trouble;
    return ipop_explain_failed(&facts);
}

char *ipop_peer_reason(const IpopPeer *peer) {
    const IpopPathInfo *info = ipop_link_path_info(peer->link);
    const IpopAttempt *attempt = ipop_link_attempt(peer->link, 0);
    if (peer->refused)
        return g_strdup(peer->refused);
    if (ipop_link_state(peer->link) != IPOP_LINK_ONLINE || !info->relayed || !attempt)
        return g_strdup(ipop_link_reason(peer->link));
    IpopFacts facts = collect_facts(peer, attempt);
    return ipop_explain_relayed(&facts);
}

const char *ipop_peer_remedy(const IpopPeer *peer) {
    const IpopPathInfo *info = ipop_link_path_info(peer->link);
    bool online = ipop_link_state(peer->link) == IPOP_LINK_ONLINE;
    const IpopAttempt *attempt = ipop_link_attempt(peer->link, 0);
    if (!attempt)
        attempt = ipop_link_attempt(peer->link, 1);
    if (peer->refused || !attempt || (online && !info->relayed) || (!online && attempt->connected))
        return "";
    IpopFacts facts = collect_facts(peer, attempt);
    return ipop_explain_remedy(&facts);
}

const char *ipop_peer_path(const IpopPeer *peer) {
    const IpopPathInfo *info = ipop_link_path_info(peer->link);
    if (!info || ipop_link_state(peer->link) != IPOP_LINK_ONLINE)
        return "";
    return info->relayed ? "relayed" : "direct";
}
