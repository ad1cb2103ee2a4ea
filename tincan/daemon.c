#include "tincan/daemon.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/base/log.h"
#include "tincan/base/memory.h"
#include "tincan/base/sandbox.h"
#include "tincan/base/secret.h"
#include "tincan/control/handlers.h"
#include "tincan/control/state.h"
#include "tincan/link/ice.h"
#include "tincan/peer.h"

#include <errno.h>
#include <glib-unix.h>
#include <sched.h>
#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SETTLE_SECONDS 3
#define CONTROLLER_SILENT (5 * IPOP_SECOND) /* it says something every second */
#define SLEPT (3 * IPOP_SECOND)             /* a tick as late as this: we stood still */
#define FAREWELL_MS 300                     /* for TURN servers to free what they hold for us */
#define UNMAP_MS 1000                       /* and for a router to take its mappings back */

/* --- what links need --- */

static uint32_t index_new(void *node) {
    IpopDaemon *daemon = node;
    uint32_t index;
    do
        index = 1 + randombytes_uniform(IPOP_WIRE_INDEX_MAX);
    while (!g_hash_table_add(daemon->indices, GUINT_TO_POINTER(index)));
    return index;
}

static void index_free(void *node, uint32_t index) {
    IpopDaemon *daemon = node;
    g_hash_table_remove(daemon->indices, GUINT_TO_POINTER(index));
}

static IpopTransport *transport_new(void *node, bool controlling, const IpopTransportEvents *events, void *user,
                                    GError **error) {
    IpopDaemon *daemon = node;
    g_auto(GStrv) addresses = ipop_addresses_list(ipop_tun_name(daemon->tun), (const char *const *)daemon->local.ignore);
    IpopIceConfig config = {controlling, addresses, daemon->servers, daemon->upnp ? daemon->portmap : NULL};
    return ipop_ice_new(&config, events, user, error);
}

static gboolean settle(gpointer data) {
    ((IpopDaemon *)data)->settle = 0;
    ipop_memory_settle();
    return G_SOURCE_REMOVE;
}

/* Some seconds after the last change it is quiet. */
static void settle_later(IpopDaemon *daemon) {
    g_clear_handle_id(&daemon->settle, g_source_remove);
    daemon->settle = g_timeout_add_seconds(SETTLE_SECONDS, settle, daemon);
}

/* What came of it, once: an attempt that fails as the last one did is no news. */
static void tell_link(IpopPeer *peer) {
    IpopLinkState state = ipop_link_state(peer->link);
    const IpopPathInfo *info = ipop_link_path_info(peer->link);
    bool online = state == IPOP_LINK_ONLINE;
    const char *name = *peer->name ? peer->name : peer->uid.hex;
    if (!online && state != IPOP_LINK_FAILED) {
        ipop_log(IPOP_LOG_DEBUG, "link", "name=%s state=%s", name, ipop_link_state_name(state));
        return;
    }
    g_autofree char *reason = ipop_peer_reason(peer);
    g_autofree char *told = g_strdup_printf("state=%s%s%s%s%s%s%s%s%s", ipop_link_state_name(state), online ? " path=" : "",
                                            ipop_peer_path(peer), online ? " local=" : "", online ? info->local_addr : "",
                                            online ? " remote=" : "", online ? info->remote_addr : "", *reason ? " " : "", reason);
    if (g_strcmp0(told, peer->told) == 0)
        return;
    ipop_log(IPOP_LOG_INFO, "link", "name=%s %s", name, told);
    g_free(peer->told);
    peer->told = g_steal_pointer(&told);
}

static void link_changed(void *user) {
    IpopPeer *peer = user;
    tell_link(peer);
    ipop_control_notify(peer->daemon->control, ipop_state_link(peer));
    settle_later(peer->daemon);
}

static char *link_explain(void *user, const IpopAttempt *attempt) {
    return ipop_peer_explain_failed(user, attempt);
}

static void link_doubt(void *user) {
    IpopPeer *peer = user;
    json_t *message = ipop_state_link(peer);
    json_object_set_new(message, "doubt", json_true());
    ipop_control_notify(peer->daemon->control, message);
}

static void link_candidates(void *user, uint32_t generation, const char *ufrag, const char *pwd,
                            const IpopCandidate *candidates, unsigned n, bool end) {
    IpopPeer *peer = user;
    IpopNat own = ipop_servers_nat(peer->daemon->servers);
    json_t *list = json_array();
    for (unsigned i = 0; i < n; i++)
        json_array_append_new(list, ipop_candidate_to_json(&candidates[i]));
    json_t *message = json_pack("{sssssIsssssosb}", "type", "local_candidates", "uid", peer->uid.hex, "generation",
                                (json_int_t)generation, "ufrag", ufrag, "pwd", pwd, "candidates", list, "end", (int)end);
    if (own.mapping != IPOP_NAT_UNKNOWN) {
        char nat[IPOP_NAT_TEXT_MAX + 1];
        ipop_nat_text(own, nat);
        json_object_set_new(message, "nat", json_string(nat));
    }
    ipop_control_notify(peer->daemon->control, message);
}

/* --- what the tunnel says --- */

static void tunnel_confirmed(void *user, uint32_t index) {
    ipop_link_confirmed(((IpopPeer *)user)->link, index);
}

static void tunnel_released(void *node, uint32_t index) {
    index_free(node, index);
}

static void tunnel_pong(void *user, int64_t rtt) {
    ipop_peer_pong(user, rtt);
}

static void tunnel_roamed(void *user, const char *remote) {
    ipop_link_roamed(((IpopPeer *)user)->link, remote);
}

static void tunnel_bye(void *user) {
    ipop_link_bye(((IpopPeer *)user)->link);
}

static void tunnel_mtu(void *user, unsigned mtu, bool hole) {
    ipop_peer_mtu(user, mtu, hole);
}

static void tunnel_handshake(void *user, IpopPath *path, const uint8_t *message, size_t n) {
    ipop_link_handshake(((IpopPeer *)user)->link, path, message, n);
}

/* --- time and network --- */

static void check_links(IpopDaemon *daemon) {
    GHashTableIter iter;
    gpointer peer;
    g_hash_table_iter_init(&iter, daemon->peers);
    while (g_hash_table_iter_next(&iter, NULL, &peer))
        ipop_link_check(((IpopPeer *)peer)->link);
}

/* The host slept, or this process was stopped. Peers and servers may think that we are gone, and what the kernel said
 * meanwhile waits behind us. */
static void wake_up(IpopDaemon *daemon, int64_t slept) {
    ipop_log(IPOP_LOG_INFO, "network", "awake after %.0f s: asking all peers", (double)slept / IPOP_SECOND);
    ipop_address_watch_look(daemon->watch);
    check_links(daemon);
    ipop_control_notify(daemon->control, json_pack("{ss}", "type", "woken"));
}

/* The timer runs by the clock that runs through sleep, so the first thing after it is a tick that is late. */
static gboolean tick(int fd, GIOCondition condition, gpointer data) {
    IpopDaemon *daemon = data;
    uint64_t expirations;
    if (read(fd, &expirations, sizeof expirations) != sizeof expirations)
        return G_SOURCE_CONTINUE;
    int64_t now = ipop_clock_now(), late = now - daemon->ticked - IPOP_SECOND;
    daemon->ticked = now;
    if (late > SLEPT)
        wake_up(daemon, late);
    int64_t heard = ipop_control_heard(daemon->control);
    if (heard && now - heard > CONTROLLER_SILENT && late <= SLEPT)
        ipop_state_set_xmpp(daemon, "disconnected", "ipop-controller does not answer any more: is it running?");
    GHashTableIter iter;
    gpointer peer;
    g_hash_table_iter_init(&iter, daemon->peers);
    while (g_hash_table_iter_next(&iter, NULL, &peer))
        ipop_peer_tick(peer, now);
    return G_SOURCE_CONTINUE;
}

static void network_changed(void *user, IpopNetworkChange change) {
    IpopDaemon *daemon = user;
    if (change == IPOP_NETWORK_GONE) {
        ipop_log(IPOP_LOG_INFO, "network", "this host has no address that a peer could reach");
        return;
    }
    ipop_log(IPOP_LOG_INFO, "network", change == IPOP_NETWORK_BACK ? "the host's addresses are back, as they were"
                                                                   : "the host's addresses or routes changed");
    ipop_servers_refresh(daemon->servers);
    check_links(daemon);
    ipop_control_notify(daemon->control, json_pack("{ss}", "type", change == IPOP_NETWORK_BACK ? "woken" : "network_changed"));
}

static void server_judged(void *user, const IpopServerStatus *status) {
    const char *kind = status->turn ? "TURN" : "STUN", *transport = status->transport == IPOP_TURN_TCP ? "tcp" : "udp";
    bool bad = status->verdict == IPOP_SERVER_BAD, again = !bad && status->before == IPOP_SERVER_BAD;
    /* Who reads of an error shall read of its end. */
    ipop_log(bad || again ? IPOP_LOG_ERROR : IPOP_LOG_INFO, "servers", "%s server=%s transport=%s %s: %s", kind, status->server,
             transport, bad ? "bad" : again ? "good again" : "good", status->text);
}

static void nat_judged(void *user, IpopNat nat) {
    IpopDaemon *daemon = user;
    ipop_log(IPOP_LOG_INFO, "network", "nat=%s filter=%s outside=%s: %s", ipop_nat_mapping_name(nat.mapping),
             ipop_nat_filter_name(nat.filter), ipop_servers_outside(daemon->servers), ipop_nat_sentence(nat));
}

static gboolean on_signal(gpointer data) {
    g_main_loop_quit(((IpopDaemon *)data)->loop);
    return G_SOURCE_CONTINUE;
}

/* --- life --- */

/* A link costs a descriptor per address: have as many as the system gives. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void free_peer(gpointer peer) {
    ipop_peer_free(peer);
}

/* One on one or two processors; on more, one is left to everything else. IPOP_DATA_THREADS is for tests. */
static unsigned data_threads(void) {
    const char *forced = g_getenv("IPOP_DATA_THREADS");
    cpu_set_t cpus;
    if (forced)
        return (unsigned)g_ascii_strtoull(forced, NULL, 10);
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        return IPOP_TUNNEL_THREADS_MAX; /* more than a set holds */
    return CPU_COUNT(&cpus) <= 2 ? 1 : (unsigned)CPU_COUNT(&cpus) - 1;
}

static void steer(void *tun, int family, const uint8_t *address, unsigned queue) {
    ipop_tun_steer(tun, family, address, queue);
}

static void mark(void *tun, const void *bytes, size_t n) {
    ipop_tun_mark(tun, bytes, n);
}

static IpopTunnel *start_tunnel(IpopDaemon *daemon, const IpopTunnelEvents *events, GError **error) {
    IpopTun *tun = daemon->tun;
    IpopTunnelDevice device = {.queues = MIN(ipop_tun_queues(tun), IPOP_TUNNEL_QUEUES_MAX),
                               .vnet = ipop_tun_vnet(tun),
                               .join_udp = ipop_tun_uso(tun),
                               .steer = steer,
                               .mark = mark,
                               .user = tun};
    for (unsigned i = 0; i < device.queues; i++)
        device.fd[i] = ipop_tun_fd(tun, i);
    return ipop_tunnel_new(&device, data_threads(), events, daemon, error);
}

static bool start_ticking(IpopDaemon *daemon, GError **error) {
    const struct itimerspec second = {{1, 0}, {1, 0}};
    daemon->ticks = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (daemon->ticks < 0 || timerfd_settime(daemon->ticks, 0, &second, NULL) < 0) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "cannot make a timer: %s", g_strerror(errno));
        return false;
    }
    daemon->ticked = ipop_clock_now();
    daemon->tick = g_unix_fd_add(daemon->ticks, G_IO_IN, tick, daemon);
    return true;
}

/* What other local programs or the kernel may refuse, in the order that leaves nothing behind. */
static bool open_resources(IpopDaemon *daemon, const IpopDaemonOptions *options, GError **error) {
    static const IpopTunnelEvents events = {tunnel_confirmed, tunnel_released, tunnel_pong, tunnel_roamed, tunnel_bye,
                                            tunnel_mtu,       tunnel_handshake};
    return ipop_sandbox_make_dir(options->runtime_dir, error) && ipop_sandbox_make_dir(options->state_dir, error) &&
           (daemon->identity = ipop_identity_load(options->state_dir, error)) &&
           (daemon->control = ipop_control_new(options->port, options->runtime_dir, ipop_handle_request, daemon, error)) &&
           (daemon->tun = ipop_tun_open(options->device, error)) &&
           (daemon->watch = ipop_address_watch_new(options->device, network_changed, daemon, error)) &&
           ipop_sandbox_data_plane(error) && start_ticking(daemon, error) && (daemon->tunnel = start_tunnel(daemon, &events, error));
}

unsigned ipop_daemon_mtu(const IpopDaemon *daemon) {
    return daemon->local.addresses.mtu ? daemon->local.addresses.mtu : IPOP_DEFAULT_MTU;
}

IpopDaemon *ipop_daemon_new(const IpopDaemonOptions *options, GError **error) {
    IpopDaemon *daemon = g_new0(IpopDaemon, 1);
    daemon->ticks = -1;
    daemon->loop = g_main_loop_new(NULL, FALSE);
    daemon->psk = ipop_secret_new(IPOP_PSK_BYTES);
    daemon->local.jid = g_strdup("");
    daemon->local.xmpp = g_strdup("disconnected");
    daemon->local.xmpp_error = g_strdup("no ipop-controller has spoken to this ipop-tincan yet");
    daemon->peers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_peer);
    daemon->indices = g_hash_table_new(NULL, NULL);
    daemon->servers = ipop_servers_new(&(IpopServersEvents){server_judged, nat_judged}, daemon);
    raise_descriptor_limit();
    if (!open_resources(daemon, options, error)) {
        ipop_daemon_free(daemon);
        return NULL;
    }
    daemon->env = (IpopLinkEnv){
        .node = daemon,
        .identity = daemon->identity,
        .psk = daemon->psk,
        .jar = ipop_cookie_jar_new(daemon->identity->public_key),
        .realtime_offset = g_get_real_time() - ipop_clock_now(),
        .index_new = index_new,
        .index_free = index_free,
        .transport_new = transport_new,
        .changed = link_changed,
        .explain = link_explain,
        .doubt = link_doubt,
        .candidates = link_candidates,
    };
    settle_later(daemon);
    return daemon;
}

void ipop_daemon_run(IpopDaemon *daemon) {
    /* For good: another signal while the peers are told must not end the program before they are. */
    g_unix_signal_add(SIGTERM, on_signal, daemon);
    g_unix_signal_add(SIGINT, on_signal, daemon);
    g_main_loop_run(daemon->loop);
}

static gboolean end_farewell(gpointer data) {
    *(bool *)data = true;
    return G_SOURCE_REMOVE;
}

/* Peers learn at once that we go, and TURN servers free our allocations, which would block the port for ten minutes. */
static void say_goodbye(IpopDaemon *daemon) {
    GHashTableIter iter;
    gpointer value;
    bool done = g_hash_table_size(daemon->peers) == 0;
    g_hash_table_iter_init(&iter, daemon->peers);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        IpopPeer *peer = value;
        ipop_tunnel_bye(peer->tunnel_peer);
    }
    ipop_tunnel_sync(daemon->tunnel); /* before the links, and with them the ways out, are closed */
    g_hash_table_remove_all(daemon->peers);
    if (!done)
        g_timeout_add(FAREWELL_MS, end_farewell, &done);
    while (!done)
        g_main_context_iteration(NULL, TRUE);
    if (!daemon->portmap)
        return;
    done = false;
    guint limit = g_timeout_add(UNMAP_MS, end_farewell, &done);
    while (!done && !ipop_portmap_close(daemon->portmap))
        g_main_context_iteration(NULL, TRUE);
    if (!done)
        g_source_remove(limit);
}

void ipop_daemon_free(IpopDaemon *daemon) {
    if (!daemon)
        return;
    g_clear_handle_id(&daemon->tick, g_source_remove);
    if (daemon->ticks >= 0)
        close(daemon->ticks);
    g_clear_handle_id(&daemon->settle, g_source_remove);
    if (daemon->tunnel)
        say_goodbye(daemon);
    ipop_control_free(daemon->control);
    g_hash_table_unref(daemon->peers);
    ipop_tunnel_free(daemon->tunnel);
    ipop_address_watch_free(daemon->watch);
    ipop_servers_free(daemon->servers);
    ipop_portmap_free(daemon->portmap);
    ipop_tun_close(daemon->tun);
    ipop_cookie_jar_free(daemon->env.jar);
    ipop_identity_free(daemon->identity);
    ipop_secret_free(daemon->psk);
    g_hash_table_unref(daemon->indices);
    g_free(daemon->local.jid);
    g_free(daemon->local.xmpp);
    g_free(daemon->local.xmpp_error);
    g_strfreev(daemon->local.ignore);
    g_main_loop_unref(daemon->loop);
    g_free(daemon);
}
