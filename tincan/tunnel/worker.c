/* worker.c - a data thread: waits for the device and what is handed over, for its peers' sockets, and for orders. */
#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/tunnel/internal.h"

#include <errno.h>
#include <sodium.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 64
/* Packets from the device, and calls of a socket, of one that is alone; and when others wait, too, so that none waits long. */
#define BURST 32
#define BURST_SHARED 8
#define CALLS 4
#define CALLS_SHARED 1

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

static bool is_intake(const IpopWorker *worker, const void *what) {
    return (const IpopIntake *)what >= worker->intakes && (const IpopIntake *)what < worker->intakes + worker->intakes_n;
}

/* The inbox first: what it says may concern what else came. A listener it takes away is not looked at any more. Then what came
 * in, which may be answered by what goes out. */
static void run_once(IpopWorker *worker) {
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(worker->epoll, events, EVENTS_MAX, patience(worker));
    bool more = false;
    worker->now = ipop_clock_now();
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr == worker->inbox)
            ipop_inbox_drain(worker->inbox, worker, ipop_inbound_datagram);
    for (int i = 0; i < n; i++) {
        IpopListener *listener = g_hash_table_lookup(worker->listeners, events[i].data.ptr);
        if (listener)
            more |= ipop_receive_run(worker, listener, n > 1 ? CALLS_SHARED : CALLS);
    }
    if (!more)
        ipop_inbound_flush(worker);
    for (int i = 0; i < n; i++) {
        if (is_intake(worker, events[i].data.ptr))
            ipop_outbound_run(worker, events[i].data.ptr, n > 1 ? BURST_SHARED : BURST);
        else if (events[i].data.ptr == worker->queue)
            ipop_outbound_run_queue(worker, n > 1 ? BURST_SHARED : BURST);
    }
    if (worker->now >= worker->due)
        ipop_mtu_run(worker);
}

static void *run(void *data) {
    IpopWorker *worker = data;
    while (!worker->stop)
        run_once(worker);
    return NULL;
}

/* The queues are dealt out: with two workers the first has those of even numbers. */
static bool watch_device(IpopWorker *worker, unsigned number, unsigned workers) {
    const IpopTunnelDevice *device = &worker->tunnel->device;
    randombytes_buf(&worker->marker_key, sizeof worker->marker_key);
    worker->device = device->fd[number % device->queues];
    for (unsigned queue = number; queue < device->queues; queue += workers) {
        IpopIntake *intake = &worker->intakes[worker->intakes_n++];
        *intake = (IpopIntake){.fd = device->fd[queue], .number = (uint8_t)queue};
        if (!ipop_worker_watch(worker, intake->fd, intake))
            return false;
    }
    return true;
}

static bool open_worker(IpopWorker *worker, unsigned number, unsigned workers) {
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->inbox = ipop_inbox_new();
    if (worker->epoll < 0 || !worker->inbox || !ipop_worker_watch(worker, ipop_inbox_fd(worker->inbox), worker->inbox) ||
        !watch_device(worker, number, workers))
        return false;
    if (workers == 1)
        return true;
    worker->queue = ipop_queue_new();
    return worker->queue && ipop_worker_watch(worker, ipop_queue_fd(worker->queue), worker->queue);
}

bool ipop_worker_start(IpopTunnel *tunnel, unsigned number, unsigned workers, GError **error) {
    IpopWorker *worker = tunnel->workers[number] = g_new0(IpopWorker, 1);
    worker->tunnel = tunnel;
    worker->routes = ipop_routes_new();
    worker->sessions = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    worker->listeners = g_hash_table_new_full(NULL, NULL, NULL, free_listener);
    worker->timed = g_ptr_array_new();
    worker->due = IPOP_PMTU_NEVER;
    worker->now = ipop_clock_now();
    ipop_coalesce_table_init(&worker->joining, tunnel->device.vnet && tunnel->device.join_udp);
    if (!open_worker(worker, number, workers)) {
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
