/* tunnel.c - the data thread, and the commands and events between it and the main thread. */
#include "tincan/tunnel/tunnel.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/tunnel/internal.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define RAW_MAX 512

const char *ipop_drop_name(IpopDrop cause) {
    static const char *const names[IPOP_DROP_CAUSES] = {
        [IPOP_DROP_MALFORMED] = "malformed", [IPOP_DROP_MULTICAST] = "multicast", [IPOP_DROP_NO_ROUTE] = "no_route",
        [IPOP_DROP_NO_LINK] = "no_link",     [IPOP_DROP_SEND] = "send",           [IPOP_DROP_NO_SESSION] = "no_session",
        [IPOP_DROP_FORGED] = "forged",       [IPOP_DROP_REPLAYED] = "replayed",   [IPOP_DROP_EXPIRED] = "expired",
        [IPOP_DROP_SOURCE] = "source",       [IPOP_DROP_DEVICE] = "device",       [IPOP_DROP_QUEUE] = "queue",
    };
    return names[cause];
}

/* --- the data thread --- */

#define EVENTS_MAX 64

static bool watch(IpopTunnel *tunnel, int fd, void *what) {
    return epoll_ctl(tunnel->epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = what}) == 0;
}

/* The inbox first: what it says may concern what else came. A listener it takes away is not looked at any more. */
static void run_once(IpopTunnel *tunnel) {
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(tunnel->epoll, events, EVENTS_MAX, -1);
    bool outbound = false, more = false;
    tunnel->now = ipop_clock_now();
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr == tunnel->inbox)
            ipop_inbox_drain(tunnel->inbox, tunnel, ipop_inbound_datagram);
    for (int i = 0; i < n; i++) {
        void *what = events[i].data.ptr;
        if (what == tunnel)
            outbound = true;
        else if (what != tunnel->inbox && g_hash_table_contains(tunnel->listeners, what))
            more |= ipop_inbound_run(tunnel, g_hash_table_lookup(tunnel->listeners, what));
    }
    if (!more)
        ipop_inbound_flush(tunnel);
    if (outbound)
        ipop_outbound_run(tunnel);
}

static void *run(void *data) {
    IpopTunnel *tunnel = data;
    while (!tunnel->stop)
        run_once(tunnel);
    return NULL;
}

/* --- events: data thread -> main loop --- */

typedef enum { CONFIRMED, PONG, BYE, HANDSHAKE, RELEASED, REMOVED } EventKind;

typedef struct {
    EventKind kind;
    IpopTunnel *tunnel;
    IpopTunnelPeer *peer;
    IpopSession *session;
    IpopPath *path;
    int64_t value;
    size_t n;
    uint8_t message[IPOP_WIRE_INIT_SIZE]; /* the longest of a handshake */
} Event;

static gboolean handle_event(gpointer data) {
    Event *event = data;
    const IpopTunnelEvents *to = &event->tunnel->events;
    void *peer = event->peer ? event->peer->user : NULL;
    if (event->kind == RELEASED) {
        to->released(event->tunnel->user, ipop_session_local_index(event->session));
        ipop_session_free(event->session);
    } else if (event->kind == REMOVED) {
        g_free(event->peer);
    } else if (peer) {
        if (event->kind == CONFIRMED)
            to->confirmed(peer, (uint32_t)event->value);
        else if (event->kind == PONG)
            to->pong(peer, event->value);
        else if (event->kind == HANDSHAKE)
            to->handshake(peer, event->path, event->message, event->n);
        else
            to->bye(peer);
    }
    if (event->kind == HANDSHAKE) {
        atomic_fetch_sub(&event->tunnel->handshakes, 1);
        ipop_path_unref(event->path);
    }
    return G_SOURCE_REMOVE;
}

static void tell(Event event) {
    /* An idle source of default priority: unlike g_main_context_invoke it never runs inside the caller. */
    g_idle_add_full(G_PRIORITY_DEFAULT, handle_event, g_memdup2(&event, sizeof event), g_free);
}

void ipop_tunnel_tell_confirmed(IpopTunnelPeer *peer, uint32_t index) {
    tell((Event){.kind = CONFIRMED, .tunnel = peer->tunnel, .peer = peer, .value = index});
}

void ipop_tunnel_tell_pong(IpopTunnelPeer *peer, int64_t rtt) {
    tell((Event){.kind = PONG, .tunnel = peer->tunnel, .peer = peer, .value = rtt});
}

void ipop_tunnel_tell_bye(IpopTunnelPeer *peer) {
    tell((Event){.kind = BYE, .tunnel = peer->tunnel, .peer = peer});
}

/* Anybody may send these: so few at a time, and none longer than the longest there is. */
void ipop_tunnel_tell_handshake(IpopListener *listener, const uint8_t *message, size_t n) {
    IpopTunnel *tunnel = listener->peer->tunnel;
    Event event = {.kind = HANDSHAKE, .tunnel = tunnel, .peer = listener->peer, .n = n};
    if (n > sizeof event.message || atomic_load(&tunnel->handshakes) >= IPOP_HANDSHAKES_MAX) {
        atomic_fetch_add(&tunnel->counters.drops[n > sizeof event.message ? IPOP_DROP_MALFORMED : IPOP_DROP_QUEUE], 1);
        return;
    }
    memcpy(event.message, message, n);
    event.path = ipop_path_ref(listener->path);
    atomic_fetch_add(&tunnel->handshakes, 1);
    tell(event);
}

/* --- sessions, on the data thread --- */

static void release_session(IpopTunnel *tunnel, IpopSession **session) {
    if (!*session)
        return;
    g_hash_table_remove(tunnel->sessions, GUINT_TO_POINTER(ipop_session_local_index(*session)));
    tell((Event){.kind = RELEASED, .tunnel = tunnel, .session = *session});
    *session = NULL;
}

static void take_path(IpopTunnelPeer *peer, IpopPath **path) {
    ipop_path_unref(peer->path);
    peer->path = *path;
    *path = NULL;
}

static void make_current(IpopTunnel *tunnel, IpopTunnelPeer *peer, IpopSession **session, IpopPath **path) {
    release_session(tunnel, &peer->previous);
    peer->previous = peer->current;
    peer->current = *session;
    *session = NULL;
    peer->bye_told = false;
    take_path(peer, path);
}

void ipop_tunnel_promote_next(IpopTunnel *tunnel, IpopTunnelPeer *peer) {
    make_current(tunnel, peer, &peer->next, &peer->next_path);
}

/* --- commands: main thread -> data thread --- */

typedef struct {
    IpopTunnelPeer *peer;
    IpopSession *session;
    IpopPath *path;
    char ip4[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN];
    size_t n;
    uint8_t bytes[];
} Order;

static void post(IpopTunnel *tunnel, IpopCommand command, Order order, const void *bytes, size_t n) {
    Order *copy = g_malloc(sizeof order + n);
    *copy = order;
    copy->n = n;
    if (n)
        memcpy(copy->bytes, bytes, n);
    ipop_inbox_post(tunnel->inbox, command, copy);
}

static void run_stop(void *context, void *argument) {
    ((IpopTunnel *)context)->stop = true;
    g_free(argument);
}

static void run_drop_sessions(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopTunnelPeer *peer = order->peer;
    release_session(context, &peer->current);
    release_session(context, &peer->previous);
    release_session(context, &peer->next);
    g_clear_pointer(&peer->next_path, ipop_path_unref);
}

static void run_listen(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopTunnel *tunnel = context;
    IpopListener *listener = g_new(IpopListener, 1);
    *listener = (IpopListener){order->path, order->peer};
    g_hash_table_insert(tunnel->listeners, order->path, listener);
    watch(tunnel, order->path->fd, order->path);
}

static void free_listener(gpointer data) {
    IpopListener *listener = data;
    epoll_ctl(listener->peer->tunnel->epoll, EPOLL_CTL_DEL, listener->path->fd, NULL);
    ipop_path_unref(listener->path);
    g_free(listener);
}

static void run_ignore(void *context, void *argument) {
    g_autofree Order *order = argument;
    g_hash_table_remove(((IpopTunnel *)context)->listeners, order->path);
    ipop_path_unref(order->path);
}

static gboolean listens_for(gpointer path, gpointer listener, gpointer peer) {
    return ((IpopListener *)listener)->peer == peer;
}

static void run_remove_peer(void *context, void *argument) {
    IpopTunnel *tunnel = context;
    IpopTunnelPeer *peer = ((Order *)argument)->peer;
    ipop_routes_remove_value(tunnel->routes, peer);
    g_hash_table_foreach_remove(tunnel->listeners, listens_for, peer);
    run_drop_sessions(context, argument);
    g_clear_pointer(&peer->path, ipop_path_unref);
    /* Behind every event that still names the peer. */
    tell((Event){.kind = REMOVED, .tunnel = tunnel, .peer = peer});
}

static void run_set_addresses(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopTunnel *tunnel = context;
    struct in6_addr address;
    ipop_routes_remove_value(tunnel->routes, order->peer);
    if (inet_pton(AF_INET, order->ip4, &address) == 1)
        ipop_routes_add(tunnel->routes, AF_INET, (const uint8_t *)&address, 32, order->peer);
    if (inet_pton(AF_INET6, order->ip6, &address) == 1)
        ipop_routes_add(tunnel->routes, AF_INET6, (const uint8_t *)&address, 128, order->peer);
}

static void run_set_path(void *context, void *argument) {
    g_autofree Order *order = argument;
    take_path(order->peer, &order->path);
}

static void run_add_session(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopTunnel *tunnel = context;
    IpopTunnelPeer *peer = order->peer;
    uint32_t index = ipop_session_local_index(order->session);
    IpopTunnelSession *entry = g_new(IpopTunnelSession, 1);
    *entry = (IpopTunnelSession){order->session, peer};
    g_hash_table_insert(tunnel->sessions, GUINT_TO_POINTER(index), entry);
    if (ipop_session_initiator(order->session)) {
        make_current(tunnel, peer, &order->session, &order->path);
        peer->ping = (uint64_t)tunnel->now;
        ipop_outbound_frame(tunnel, peer, peer->path, IPOP_FRAME_PING, peer->ping);
    } else {
        release_session(tunnel, &peer->next);
        ipop_path_unref(peer->next_path);
        peer->next = order->session;
        peer->next_path = order->path;
    }
}

static void run_ping(void *context, void *argument) {
    g_autofree Order *order = argument;
    IpopTunnel *tunnel = context;
    order->peer->ping = (uint64_t)tunnel->now;
    ipop_outbound_frame(tunnel, order->peer, order->peer->path, IPOP_FRAME_PING, order->peer->ping);
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

static bool start(IpopTunnel *tunnel, GError **error) {
    tunnel->inbox = ipop_inbox_new();
    tunnel->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!tunnel->inbox || tunnel->epoll < 0 || !watch(tunnel, tunnel->device.fd, tunnel) ||
        !watch(tunnel, ipop_inbox_fd(tunnel->inbox), tunnel->inbox)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "cannot wait for the device: %s", g_strerror(errno));
        return false;
    }
    tunnel->thread = g_thread_try_new("data", run, tunnel, error);
    return tunnel->thread;
}

IpopTunnel *ipop_tunnel_new(const IpopTunnelDevice *device, const IpopTunnelEvents *events, void *user, GError **error) {
    IpopTunnel *tunnel = g_new0(IpopTunnel, 1);
    tunnel->device = *device;
    tunnel->events = *events;
    tunnel->user = user;
    tunnel->routes = ipop_routes_new();
    tunnel->sessions = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    tunnel->listeners = g_hash_table_new_full(NULL, NULL, NULL, free_listener);
    tunnel->now = ipop_clock_now();
    ipop_coalesce_table_init(&tunnel->joining, device->vnet && device->join_udp);
    if (!start(tunnel, error)) {
        ipop_tunnel_free(tunnel);
        return NULL;
    }
    return tunnel;
}

void ipop_tunnel_free(IpopTunnel *tunnel) {
    if (!tunnel)
        return;
    if (tunnel->thread) {
        post(tunnel, run_stop, (Order){0}, NULL, 0);
        g_thread_join(tunnel->thread);
        /* Events that were under way still name the tunnel. */
        while (g_main_context_iteration(NULL, FALSE))
            ;
    }
    g_hash_table_unref(tunnel->listeners);
    if (tunnel->epoll >= 0)
        close(tunnel->epoll);
    ipop_inbox_free(tunnel->inbox);
    ipop_routes_free(tunnel->routes);
    g_hash_table_unref(tunnel->sessions);
    g_free(tunnel);
}

const IpopTunnelCounters *ipop_tunnel_counters(const IpopTunnel *tunnel) {
    return &tunnel->counters;
}

IpopTunnelPeer *ipop_tunnel_add_peer(IpopTunnel *tunnel, void *user) {
    IpopTunnelPeer *peer = g_new0(IpopTunnelPeer, 1);
    peer->tunnel = tunnel;
    peer->user = user;
    return peer;
}

void ipop_tunnel_remove_peer(IpopTunnel *tunnel, IpopTunnelPeer *peer) {
    peer->user = NULL;
    post(tunnel, run_remove_peer, (Order){.peer = peer}, NULL, 0);
}

const IpopTunnelCounters *ipop_tunnel_peer_counters(const IpopTunnelPeer *peer) {
    return &peer->counters;
}

void ipop_tunnel_set_addresses(IpopTunnel *tunnel, IpopTunnelPeer *peer, const char *ip4, const char *ip6) {
    Order order = {.peer = peer};
    g_strlcpy(order.ip4, ip4, sizeof order.ip4);
    g_strlcpy(order.ip6, ip6, sizeof order.ip6);
    post(tunnel, run_set_addresses, order, NULL, 0);
}

void ipop_tunnel_set_path(IpopTunnel *tunnel, IpopTunnelPeer *peer, IpopPath *path) {
    post(tunnel, run_set_path, (Order){.peer = peer, .path = path ? ipop_path_ref(path) : NULL}, NULL, 0);
}

void ipop_tunnel_listen(IpopTunnel *tunnel, IpopTunnelPeer *peer, IpopPath *path) {
    if (path->fd >= 0)
        post(tunnel, run_listen, (Order){.peer = peer, .path = ipop_path_ref(path)}, NULL, 0);
}

void ipop_tunnel_ignore(IpopTunnel *tunnel, IpopPath *path) {
    if (path->fd >= 0)
        post(tunnel, run_ignore, (Order){.path = ipop_path_ref(path)}, NULL, 0);
}

void ipop_tunnel_add_session(IpopTunnel *tunnel, IpopTunnelPeer *peer, IpopSession *session, IpopPath *path) {
    post(tunnel, run_add_session, (Order){.peer = peer, .session = session, .path = ipop_path_ref(path)}, NULL, 0);
}

void ipop_tunnel_drop_sessions(IpopTunnel *tunnel, IpopTunnelPeer *peer) {
    post(tunnel, run_drop_sessions, (Order){.peer = peer}, NULL, 0);
}

void ipop_tunnel_ping(IpopTunnel *tunnel, IpopTunnelPeer *peer) {
    post(tunnel, run_ping, (Order){.peer = peer}, NULL, 0);
}

void ipop_tunnel_bye(IpopTunnel *tunnel, IpopTunnelPeer *peer) {
    post(tunnel, run_bye, (Order){.peer = peer}, NULL, 0);
}

void ipop_tunnel_sync(IpopTunnel *tunnel) {
    sem_t done;
    sem_init(&done, 0, 0);
    ipop_inbox_post(tunnel->inbox, run_sync, &done);
    while (sem_wait(&done) < 0 && errno == EINTR)
        ;
    sem_destroy(&done);
}

void ipop_tunnel_send(IpopTunnel *tunnel, IpopPath *path, const uint8_t *datagram, size_t n) {
    g_assert(n <= RAW_MAX);
    post(tunnel, run_send, (Order){.path = ipop_path_ref(path)}, datagram, n);
}

void ipop_tunnel_input(IpopTunnel *tunnel, const uint8_t *datagram, size_t n) {
    if (!ipop_inbox_push(tunnel->inbox, datagram, n))
        atomic_fetch_add(&tunnel->counters.drops[IPOP_DROP_QUEUE], 1); /* both threads count these */
}
