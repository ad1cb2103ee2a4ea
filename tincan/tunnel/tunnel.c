/* tunnel.c - what the main thread tells the data threads. */
#include "tincan/tunnel/tunnel.h"

#include "tincan/tunnel/internal.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>

#define RAW_MAX 512

const char *ipop_drop_name(IpopDrop cause) {
    static const char *const names[IPOP_DROP_CAUSES] = {
        [IPOP_DROP_MALFORMED] = "malformed", [IPOP_DROP_MULTICAST] = "multicast", [IPOP_DROP_NO_ROUTE] = "no_route",
        [IPOP_DROP_NO_LINK] = "no_link",     [IPOP_DROP_SEND] = "send",           [IPOP_DROP_NO_SESSION] = "no_session",
        [IPOP_DROP_FORGED] = "forged",       [IPOP_DROP_REPLAYED] = "replayed",   [IPOP_DROP_EXPIRED] = "expired",
        [IPOP_DROP_SOURCE] = "source",       [IPOP_DROP_DEVICE] = "device",       [IPOP_DROP_QUEUE] = "queue",
        [IPOP_DROP_LATE] = "late",           [IPOP_DROP_TOO_BIG] = "too_big",
    };
    return names[cause];
}

/* --- sessions, on their worker --- */

static void release_session(IpopWorker *worker, IpopSession **session) {
    if (!*session)
        return;
    g_hash_table_remove(worker->sessions, GUINT_TO_POINTER(ipop_session_local_index(*session)));
    ipop_tunnel_tell_released(worker->tunnel, *session);
    *session = NULL;
}

/* The same again is nothing new. */
static void take_path(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath **path) {
    bool same = peer->path == *path;
    ipop_path_unref(peer->path);
    peer->path = *path;
    *path = NULL;
    if (same)
        return;
    ipop_roam_end(peer);
    ipop_mtu_begin(worker, peer);
}

static void make_current(IpopWorker *worker, IpopTunnelPeer *peer, IpopSession **session, IpopPath **path) {
    release_session(worker, &peer->previous);
    peer->previous = peer->current;
    peer->current = *session;
    *session = NULL;
    peer->bye_told = false;
    ipop_mtu_rekeyed(peer);
    take_path(worker, peer, path);
}

void ipop_tunnel_promote_next(IpopWorker *worker, IpopTunnelPeer *peer) {
    make_current(worker, peer, &peer->next, &peer->next_path);
}

/* --- commands, on the worker that they are posted to --- */

typedef struct {
    IpopTunnelPeer *peer;
    IpopSession *session;
    IpopPath *path;
    char ip4[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN];
    unsigned mtu;
    bool hole;
    size_t n;
    uint8_t bytes[];
} Order;

static void run_stop(void *context, void *argument) {
    ((IpopWorker *)context)->stop = true;
    g_free(argument);
}

static void drop_sessions(IpopWorker *worker, IpopTunnelPeer *peer) {
    release_session(worker, &peer->current);
    release_session(worker, &peer->previous);
    release_session(worker, &peer->next);
    g_clear_pointer(&peer->next_path, ipop_path_unref);
}

static void run_drop_sessions(void *context, void *argument) {
    g_autofree Order *order = argument;
    drop_sessions(context, order->peer);
}

static void run_listen(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopWorker *worker = context;
    IpopListener *listener = g_new(IpopListener, 1);
    *listener = (IpopListener){.path = order->path, .peer = order->peer};
    ipop_receive_prepare(listener);
    g_hash_table_insert(worker->listeners, order->path, listener);
    ipop_worker_watch(worker, order->path->fd, order->path);
}

static void run_ignore(void *context, void *argument) {
    g_autofree Order *order = argument;
    g_hash_table_remove(((IpopWorker *)context)->listeners, order->path);
    ipop_path_unref(order->path);
}

static gboolean listens_for(gpointer path, gpointer listener, gpointer peer) {
    return ((IpopListener *)listener)->peer == peer;
}

/* On every worker. Who is last to know no route to the peer any more says that it can go. */
static void run_remove_peer(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopWorker *worker = context;
    IpopTunnelPeer *peer = order->peer;
    ipop_routes_remove_value(worker->routes, peer);
    if (peer->worker == worker) {
        g_hash_table_foreach_remove(worker->listeners, listens_for, peer);
        drop_sessions(worker, peer);
        g_clear_pointer(&peer->path, ipop_path_unref);
        ipop_mtu_end(worker, peer);
    }
    if (atomic_fetch_sub(&peer->routed, 1) == 1)
        ipop_tunnel_tell_removed(peer);
}

/* On every worker. */
static void run_set_addresses(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopRoutes *routes = ((IpopWorker *)context)->routes;
    struct in6_addr address;
    ipop_routes_remove_value(routes, order->peer);
    if (inet_pton(AF_INET, order->ip4, &address) == 1)
        ipop_routes_add(routes, AF_INET, (const uint8_t *)&address, 32, order->peer);
    if (inet_pton(AF_INET6, order->ip6, &address) == 1)
        ipop_routes_add(routes, AF_INET6, (const uint8_t *)&address, 128, order->peer);
}

/* On every worker. */
static void run_set_local(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopWorker *worker = context;
    if (inet_pton(AF_INET, order->ip4, &worker->own4) != 1)
        worker->own4 = (struct in_addr){0};
    if (inet_pton(AF_INET6, order->ip6, &worker->own6) != 1)
        worker->own6 = (struct in6_addr){0};
}

static void run_set_mtu(void *context, void *argument) {
    g_autofree Order *order = argument;
    if (order->peer->mtu == order->mtu)
        return;
    order->peer->mtu = order->mtu;
    ipop_mtu_begin(context, order->peer);
}

static void run_mtu_told(void *context, void *argument) {
    g_autofree Order *order = argument;
    ipop_mtu_told(context, order->peer, order->mtu, order->hole);
}

static void run_set_path(void *context, void *argument) {
    g_autofree Order *order = argument;
    take_path(context, order->peer, &order->path);
}

void ipop_tunnel_send_ping(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath *path) {
    peer->ping = (uint64_t)worker->now;
    ipop_outbound_frame(worker, peer, path, IPOP_FRAME_PING, peer->ping);
}

static void run_add_session(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopWorker *worker = context;
    IpopTunnelPeer *peer = order->peer;
    uint32_t index = ipop_session_local_index(order->session);
    IpopTunnelSession *entry = g_new(IpopTunnelSession, 1);
    *entry = (IpopTunnelSession){order->session, peer};
    g_hash_table_insert(worker->sessions, GUINT_TO_POINTER(index), entry);
    if (ipop_session_initiator(order->session)) {
        /* Two handshakes at once leave each side with the other's session as the previous one: what the peer sends by stays. */
        if (peer->previous && peer->heard == peer->previous) {
            IpopSession *kept = peer->previous;
            peer->previous = peer->current;
            peer->current = kept;
        }
        make_current(worker, peer, &order->session, &order->path);
        ipop_tunnel_send_ping(worker, peer, peer->path);
    } else {
        release_session(worker, &peer->next);
        ipop_path_unref(peer->next_path);
        peer->next = order->session;
        peer->next_path = order->path;
    }
}

static void run_ping(void *context, void *argument) {
    g_autofree Order *order = argument;
    ipop_tunnel_send_ping(context, order->peer, order->path ? order->path : order->peer->path);
    ipop_path_unref(order->path);
}

static void run_bye(void *context, void *argument) {
    g_autofree Order *order = argument;
    ipop_outbound_frame(context, order->peer, order->peer->path, IPOP_FRAME_BYE, 0);
}

static void run_sync(void *context, void *argument) {
    sem_post(argument);
}

static void run_send(void *context, void *argument) {
    g_autofree Order *order = argument;
    order->path->send(order->path, order->bytes, order->n, order->n);
    ipop_path_unref(order->path);
}

/* --- the main thread's side --- */

static void post(IpopWorker *worker, IpopCommand command, Order order, const void *bytes, size_t n) {
    Order *copy = g_malloc(sizeof order + n);
    *copy = order;
    copy->n = n;
    if (n)
        memcpy(copy->bytes, bytes, n);
    ipop_inbox_post(worker->inbox, command, copy);
}

static void post_all(IpopTunnel *tunnel, IpopCommand command, Order order) {
    for (unsigned i = 0; i < tunnel->workers_n; i++)
        post(tunnel->workers[i], command, order, NULL, 0);
}

IpopTunnel *ipop_tunnel_new(const IpopTunnelDevice *device, unsigned threads, const IpopTunnelEvents *events, void *user,
                            GError **error) {
    IpopTunnel *tunnel = g_new0(IpopTunnel, 1);
    tunnel->device = *device;
    tunnel->events = *events;
    tunnel->user = user;
    threads = CLAMP(threads, 1, IPOP_TUNNEL_THREADS_MAX);
    while (tunnel->workers_n < threads) {
        bool started = ipop_worker_start(tunnel, tunnel->workers_n, threads, error);
        tunnel->workers_n++;
        if (!started) {
            ipop_tunnel_free(tunnel);
            return NULL;
        }
    }
    return tunnel;
}

static void stop_worker(IpopWorker *worker) {
    if (!worker->thread)
        return;
    post(worker, run_stop, (Order){0}, NULL, 0);
    g_thread_join(worker->thread);
}

void ipop_tunnel_free(IpopTunnel *tunnel) {
    if (!tunnel)
        return;
    for (unsigned i = 0; i < tunnel->workers_n; i++)
        stop_worker(tunnel->workers[i]);
    /* Events that were under way still name the tunnel. */
    while (g_main_context_iteration(NULL, FALSE))
        ;
    for (unsigned i = 0; i < tunnel->workers_n; i++)
        ipop_worker_free(tunnel->workers[i]);
    g_free(tunnel);
}

const IpopTunnelCounters *ipop_tunnel_counters(const IpopTunnel *tunnel) {
    return &tunnel->counters;
}

/* The worker with the fewest; so a lone peer's packets need not be handed over. */
static IpopWorker *choose_worker(const IpopTunnel *tunnel) {
    IpopWorker *best = tunnel->workers[0];
    for (unsigned i = 1; i < tunnel->workers_n; i++)
        if (tunnel->workers[i]->peers < best->peers)
            best = tunnel->workers[i];
    return best;
}

/* Of the worker's queues the one with the fewest, but not the first, where all comes by that is for nobody. */
static unsigned choose_queue(const IpopTunnel *tunnel, const IpopWorker *worker) {
    unsigned best = 0;
    for (unsigned i = 0; i < worker->intakes_n; i++) {
        unsigned queue = worker->intakes[i].number;
        if (queue > 0 && (best == 0 || tunnel->queue_peers[queue] < tunnel->queue_peers[best]))
            best = queue;
    }
    return best;
}

IpopTunnelPeer *ipop_tunnel_add_peer(IpopTunnel *tunnel, void *user) {
    IpopTunnelPeer *peer = g_new0(IpopTunnelPeer, 1);
    peer->tunnel = tunnel;
    peer->worker = choose_worker(tunnel);
    peer->worker->peers++;
    peer->queue = choose_queue(tunnel, peer->worker);
    tunnel->queue_peers[peer->queue]++;
    peer->routed = tunnel->workers_n;
    peer->user = user;
    peer->mtu = peer->inner = IPOP_SEGMENT_PACKET_MAX;
    peer->pmtu.due = IPOP_PMTU_NEVER;
    return peer;
}

/* What the device sends to the peer's addresses comes by that queue. */
static void steer(const IpopTunnelPeer *peer, unsigned queue) {
    const IpopTunnelDevice *device = &peer->tunnel->device;
    uint8_t address[sizeof(struct in6_addr)];
    if (!device->steer)
        return;
    if (inet_pton(AF_INET, peer->ip4, address) == 1)
        device->steer(device->user, AF_INET, address, queue);
    if (inet_pton(AF_INET6, peer->ip6, address) == 1)
        device->steer(device->user, AF_INET6, address, queue);
}

void ipop_tunnel_remove_peer(IpopTunnelPeer *peer) {
    peer->user = NULL;
    peer->worker->peers--;
    peer->tunnel->queue_peers[peer->queue]--;
    steer(peer, 0);
    post_all(peer->tunnel, run_remove_peer, (Order){.peer = peer});
}

const IpopTunnelCounters *ipop_tunnel_peer_counters(const IpopTunnelPeer *peer) {
    return &peer->counters;
}

void ipop_tunnel_set_addresses(IpopTunnelPeer *peer, const char *ip4, const char *ip6) {
    Order order = {.peer = peer};
    steer(peer, 0);
    g_strlcpy(peer->ip4, ip4, sizeof peer->ip4);
    g_strlcpy(peer->ip6, ip6, sizeof peer->ip6);
    steer(peer, peer->queue);
    memcpy(order.ip4, peer->ip4, sizeof order.ip4);
    memcpy(order.ip6, peer->ip6, sizeof order.ip6);
    post_all(peer->tunnel, run_set_addresses, order);
}

void ipop_tunnel_set_mtu(IpopTunnelPeer *peer, unsigned mtu) {
    post(peer->worker, run_set_mtu, (Order){.peer = peer, .mtu = mtu}, NULL, 0);
}

void ipop_tunnel_set_local(IpopTunnel *tunnel, const char *ip4, const char *ip6) {
    Order order = {0};
    g_strlcpy(order.ip4, ip4, sizeof order.ip4);
    g_strlcpy(order.ip6, ip6, sizeof order.ip6);
    post_all(tunnel, run_set_local, order);
}

void ipop_tunnel_mtu_told(IpopTunnelPeer *peer, unsigned mtu, bool hole) {
    post(peer->worker, run_mtu_told, (Order){.peer = peer, .mtu = mtu, .hole = hole}, NULL, 0);
}

void ipop_tunnel_set_path(IpopTunnelPeer *peer, IpopPath *path) {
    post(peer->worker, run_set_path, (Order){.peer = peer, .path = path ? ipop_path_ref(path) : NULL}, NULL, 0);
}

void ipop_tunnel_listen(IpopTunnelPeer *peer, IpopPath *path) {
    if (path->fd >= 0)
        post(peer->worker, run_listen, (Order){.peer = peer, .path = ipop_path_ref(path)}, NULL, 0);
}

void ipop_tunnel_ignore(IpopTunnelPeer *peer, IpopPath *path) {
    if (path->fd >= 0)
        post(peer->worker, run_ignore, (Order){.path = ipop_path_ref(path)}, NULL, 0);
}

void ipop_tunnel_add_session(IpopTunnelPeer *peer, IpopSession *session, IpopPath *path) {
    post(peer->worker, run_add_session, (Order){.peer = peer, .session = session, .path = ipop_path_ref(path)}, NULL, 0);
}

void ipop_tunnel_drop_sessions(IpopTunnelPeer *peer) {
    post(peer->worker, run_drop_sessions, (Order){.peer = peer}, NULL, 0);
}

void ipop_tunnel_ping(IpopTunnelPeer *peer) {
    post(peer->worker, run_ping, (Order){.peer = peer}, NULL, 0);
}

void ipop_tunnel_ping_by(IpopTunnelPeer *peer, IpopPath *path) {
    post(peer->worker, run_ping, (Order){.peer = peer, .path = ipop_path_ref(path)}, NULL, 0);
}

void ipop_tunnel_bye(IpopTunnelPeer *peer) {
    post(peer->worker, run_bye, (Order){.peer = peer}, NULL, 0);
}

void ipop_tunnel_sync(IpopTunnel *tunnel) {
    sem_t done;
    sem_init(&done, 0, 0);
    for (unsigned i = 0; i < tunnel->workers_n; i++)
        ipop_inbox_post(tunnel->workers[i]->inbox, run_sync, &done);
    for (unsigned i = 0; i < tunnel->workers_n; i++)
        while (sem_wait(&done) < 0 && errno == EINTR)
            ;
    sem_destroy(&done);
}

void ipop_tunnel_send(IpopTunnelPeer *peer, IpopPath *path, const uint8_t *datagram, size_t n) {
    g_assert(n <= RAW_MAX);
    post(peer->worker, run_send, (Order){.path = ipop_path_ref(path)}, datagram, n);
}

void ipop_tunnel_input(IpopTunnelPeer *peer, const uint8_t *datagram, size_t n) {
    if (!ipop_inbox_push(peer->worker->inbox, datagram, n))
        ipop_count_shared(&peer->tunnel->counters.drops[IPOP_DROP_QUEUE]);
}
