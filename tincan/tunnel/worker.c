/* worker.c - a data thread: waits for the device or what is handed over, for its peers' sockets, and for orders. */
#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/tunnel/internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 64

bool ipop_worker_watch(IpopWorker *worker, int fd, void *what) {
    return epoll_ctl(worker->epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = what}) == 0;
}

static void free_listener(gpointer data) {
    IpopListener *listener = data;
    epoll_ctl(listener->peer->worker->epoll, EPOLL_CTL_DEL, listener->path->fd, NULL);
    ipop_path_unref(listener->path);
    g_free(listener);
}

/* In milliseconds, as epoll wants it: rounded up, so that it is not too early. */
static int patience(const IpopWorker *worker) {
    if (worker->due == IPOP_PMTU_NEVER)
        return -1;
    return (int)(MAX(worker->due - ipop_clock_now(), 0) / 1000 + 1);
}

/* The inbox first: what it says may concern what else came. A listener it takes away is not looked at any more. */
static void run_once(IpopWorker *worker) {
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(worker->epoll, events, EVENTS_MAX, patience(worker));
    bool outbound = false, more = false;
    worker->now = ipop_clock_now();
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr == worker->inbox)
            ipop_inbox_drain(worker->inbox, worker, ipop_inbound_datagram);
    for (int i = 0; i < n; i++) {
        void *what = events[i].data.ptr;
        if (what == worker)
            outbound = true;
        else if (what != worker->inbox && g_hash_table_contains(worker->listeners, what))
            more |= ipop_inbound_run(worker, g_hash_table_lookup(worker->listeners, what));
    }
    if (!more)
        ipop_inbound_flush(worker);
    if (outbound)
        ipop_outbound_run(worker);
    if (worker->now >= worker->due)
        ipop_mtu_run(worker);
}

static void *run(void *data) {
    IpopWorker *worker = data;
    while (!worker->stop)
        run_once(worker);
    return NULL;
}

/* The first reads the device, the others what it hands over. */
static bool open_worker(IpopWorker *worker) {
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->inbox = ipop_inbox_new();
    if (worker->epoll < 0 || !worker->inbox || !ipop_worker_watch(worker, ipop_inbox_fd(worker->inbox), worker->inbox))
        return false;
    if (worker == worker->tunnel->workers[0])
        return ipop_worker_watch(worker, worker->tunnel->device.fd, worker);
    worker->queue = ipop_queue_new();
    return worker->queue && ipop_worker_watch(worker, ipop_queue_fd(worker->queue), worker);
}

bool ipop_worker_start(IpopTunnel *tunnel, unsigned number, GError **error) {
    IpopWorker *worker = tunnel->workers[number] = g_new0(IpopWorker, 1);
    worker->tunnel = tunnel;
    worker->routes = ipop_routes_new();
    worker->sessions = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    worker->listeners = g_hash_table_new_full(NULL, NULL, NULL, free_listener);
    worker->timed = g_ptr_array_new();
    worker->due = IPOP_PMTU_NEVER;
    worker->now = ipop_clock_now();
    ipop_coalesce_table_init(&worker->joining, tunnel->device.vnet && tunnel->device.join_udp);
    if (!open_worker(worker)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "cannot wait for the device: %s", g_strerror(errno));
        return false;
    }
    g_autofree char *name = g_strdup_printf("data-%u", number);
    worker->thread = g_thread_try_new(name, run, worker, error);
    return worker->thread;
}

void ipop_worker_free(IpopWorker *worker) {
    if (!worker)
        return;
    g_hash_table_unref(worker->listeners);
    if (worker->epoll >= 0)
        close(worker->epoll);
    ipop_inbox_free(worker->inbox);
    ipop_queue_free(worker->queue);
    ipop_routes_free(worker->routes);
    g_hash_table_unref(worker->sessions);
    g_ptr_array_unref(worker->timed);
    g_free(worker);
}
