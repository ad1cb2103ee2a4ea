/* hub.h - one tunnel with several peers on several data threads. Socket pairs stand for the device's queues and the peers'
 * paths; the test holds the other ends of them, and of the sessions. */
#pragma once

#include "tincan/base/clock.h"
#include "tincan/tunnel/tunnel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEERS 6
#define WINDOW 8 /* packets under way: a socket pair holds ten */
#define HEADER 20
#define ROOM 65536
#define LIMIT_MS 30000

typedef struct Hub Hub;

typedef struct {
    IpopPath base;
    Hub *hub;
    pthread_mutex_t gate; /* who holds it holds the data thread that sends */
    atomic_int work;      /* microseconds of it that each datagram takes */
} Wire;

typedef struct {
    Hub *hub;
    unsigned number; /* 10.0.0.number */
    IpopTunnelPeer *peer;
    Wire *wire;
    int fd;
    IpopSession *session; /* the peer's own; the tunnel has the other */
    uint32_t index;       /* the tunnel's */
    unsigned confirmed, pongs;
} Far;

struct Hub {
    IpopTunnel *tunnel;
    int tun[IPOP_TUNNEL_QUEUES_MAX], inner[IPOP_TUNNEL_QUEUES_MAX];
    unsigned queues;
    unsigned queue_of[256]; /* by the last byte of an address */
    Far far[PEERS];
    uint32_t next_index;
    unsigned sessions, wires; /* alive */
};

/* --- the hub --- */

static inline void work(gint64 microseconds) {
    for (gint64 end = g_get_monotonic_time() + microseconds; g_get_monotonic_time() < end;)
        ;
}

static inline unsigned wire_send(IpopPath *base, const uint8_t *train, size_t n, size_t segment) {
    Wire *wire = (Wire *)base;
    unsigned sent = 0;
    pthread_mutex_lock(&wire->gate);
    for (size_t at = 0; at < n; at += segment, work(atomic_load(&wire->work)))
        sent += send(base->fd, train + at, MIN(segment, n - at), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    pthread_mutex_unlock(&wire->gate);
    return sent;
}

static inline void wire_release(IpopPath *base) {
    Wire *wire = (Wire *)base;
    wire->hub->wires--;
    close(base->fd);
    pthread_mutex_destroy(&wire->gate);
    g_free(wire);
}

static inline void on_confirmed(void *peer, uint32_t index) {
    Far *far = peer;
    far->confirmed += index == far->index;
}

static inline void on_released(void *user, uint32_t index) {
    ((Hub *)user)->sessions--;
}

static inline void on_pong(void *peer, int64_t rtt) {
    ((Far *)peer)->pongs++;
}

static inline void on_roamed(void *user, const char *remote) {
}

static inline void on_bye(void *peer) {
}

static inline void on_mtu(void *peer, unsigned mtu, bool hole) {
}

static inline void on_handshake(void *peer, IpopPath *path, const uint8_t *message, size_t n) {
}

static inline void hub_steer(void *user, int family, const uint8_t *address, unsigned queue) {
    if (family == AF_INET)
        ((Hub *)user)->queue_of[address[3]] = queue;
}

static inline void hub_mark(void *user, const void *bytes, size_t n) {
    Hub *hub = user;
    ssize_t sent = write(hub->tun[((const uint8_t *)bytes)[1]], bytes, n);
    (void)sent;
}

static inline Hub *hub_new(unsigned threads, unsigned queues) {
    static const IpopTunnelEvents events = {on_confirmed, on_released, on_pong, on_roamed, on_bye, on_mtu, on_handshake};
    Hub *hub = g_new0(Hub, 1);
    IpopTunnelDevice device = {.queues = queues, .steer = queues > 1 ? hub_steer : NULL, .mark = hub_mark, .user = hub};
    hub->queues = queues;
    for (unsigned i = 0; i < queues; i++) {
        int pair[2];
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), ==, 0);
        hub->tun[i] = pair[0];
        device.fd[i] = hub->inner[i] = pair[1];
    }
    hub->tunnel = ipop_tunnel_new(&device, threads, &events, hub, NULL);
    g_assert_nonnull(hub->tunnel);
    return hub;
}

/* A responder's session at the tunnel: the peer's first packet makes it current. */
static inline void far_connect(Far *far) {
    IpopSessionKeys mine = {.suite = IPOP_SUITE_CHACHAPOLY, .local_index = 1, .remote_index = ++far->hub->next_index,
                            .initiator = true};
    memset(mine.send, (int)far->number, sizeof mine.send);
    memset(mine.recv, (int)far->number + 100, sizeof mine.recv);
    IpopSessionKeys tunnels = {.suite = IPOP_SUITE_CHACHAPOLY, .local_index = mine.remote_index, .remote_index = 1};
    memcpy(tunnels.send, mine.recv, sizeof mine.recv);
    memcpy(tunnels.recv, mine.send, sizeof mine.send);
    far->index = mine.remote_index;
    far->hub->sessions++;
    far->session = ipop_session_new(&mine, ipop_clock_now());
    ipop_tunnel_add_session(far->peer, ipop_session_new(&tunnels, ipop_clock_now()), &far->wire->base);
}

static inline void far_add(Hub *hub, Far *far, unsigned number) {
    int pair[2];
    g_autofree char *ip4 = g_strdup_printf("10.0.0.%u", number);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), ==, 0);
    *far = (Far){.hub = hub, .number = number, .fd = pair[0], .wire = g_new0(Wire, 1)};
    far->wire->hub = hub;
    far->wire->base = (IpopPath){
        .refs = 1, .fd = pair[1], .burst = IPOP_TRAIN_SEGMENTS, .send = wire_send, .release = wire_release};
    pthread_mutex_init(&far->wire->gate, NULL);
    hub->wires++;
    far->peer = ipop_tunnel_add_peer(hub->tunnel, far);
    ipop_tunnel_set_addresses(far->peer, ip4, "");
    ipop_tunnel_listen(far->peer, &far->wire->base);
    far_connect(far);
}

static inline void far_remove(Far *far) {
    ipop_tunnel_remove_peer(far->peer);
    ipop_path_unref(&far->wire->base);
    ipop_session_free(far->session);
    close(far->fd);
}

static inline void hub_free(Hub *hub) {
    for (unsigned i = 0; i < PEERS; i++)
        if (hub->far[i].peer)
            far_remove(&hub->far[i]);
    ipop_tunnel_free(hub->tunnel);
    g_assert_cmpuint(hub->sessions, ==, 0);
    g_assert_cmpuint(hub->wires, ==, 0);
    for (unsigned i = 0; i < hub->queues; i++) {
        close(hub->tun[i]);
        close(hub->inner[i]);
    }
    g_free(hub);
}

static inline void hub_fill(Hub *hub) {
    for (unsigned i = 0; i < PEERS; i++)
        far_add(hub, &hub->far[i], i + 1);
}

/* --- packets --- */

static inline void wait_for(int fd, short events) {
    struct pollfd p = {fd, events, 0};
    g_assert_cmpint(poll(&p, 1, LIMIT_MS), ==, 1);
}

static inline size_t make_packet(uint8_t *packet, unsigned from, unsigned to, uint32_t value, size_t payload) {
    size_t n = HEADER + payload;
    memset(packet, 0, n);
    const uint8_t header[HEADER] = {0x45, 0, (uint8_t)(n >> 8), (uint8_t)n,    [8] = 64, 17, [12] = 10, 0, 0, (uint8_t)from,
                                    10,   0, 0,                 (uint8_t)to};
    memcpy(packet, header, HEADER);
    memcpy(packet + HEADER, &value, sizeof value);
    return n;
}

static inline uint32_t value_of(const uint8_t *packet) {
    uint32_t value;
    memcpy(&value, packet + HEADER, sizeof value);
    return value;
}

/* From the host to the peer of that number; false when the device's end is full. */
static inline bool tun_try(Hub *hub, unsigned to, uint32_t value, size_t payload) {
    uint8_t packet[ROOM];
    size_t n = make_packet(packet, 100, to, value, payload);
    return write(hub->tun[hub->queue_of[to]], packet, n) == (ssize_t)n;
}

static inline void tun_write(Hub *hub, unsigned to, uint32_t value, size_t payload) {
    while (!tun_try(hub, to, value, payload))
        wait_for(hub->tun[hub->queue_of[to]], POLLOUT);
}

static inline void far_frame(Far *far, const uint8_t *frame, size_t n) {
    uint8_t datagram[ROOM];
    size_t sealed = ipop_session_seal(far->session, datagram, frame, n, ipop_clock_now());
    g_assert_cmpuint(sealed, >, 0);
    if (send(far->fd, datagram, sealed, 0) < 0)
        g_assert_true(errno == EAGAIN || errno == ECONNREFUSED);
}

static inline size_t packet_frame(uint8_t *frame, unsigned from, uint32_t value) {
    frame[0] = IPOP_FRAME_PACKET;
    return 1 + make_packet(frame + 1, from, 100, value, sizeof value);
}

static inline void far_send(Far *far, uint32_t value) {
    uint8_t frame[64];
    far_frame(far, frame, packet_frame(frame, far->number, value));
}

/* The next packet that came to the peer; frames without one are passed over. */
static inline uint32_t far_receive(Far *far) {
    static uint8_t datagram[ROOM], frame[ROOM];
    size_t n;
    do {
        wait_for(far->fd, POLLIN);
        ssize_t got = recv(far->fd, datagram, sizeof datagram, 0);
        IpopOpenResult result = ipop_session_open(far->session, frame, datagram, (size_t)got, ipop_clock_now(), &n);
        g_assert_cmpint(result, ==, IPOP_OPEN_OK);
    } while (frame[0] != IPOP_FRAME_PACKET);
    g_assert_cmpuint(frame[1 + 19], ==, far->number);
    return value_of(frame + 1);
}

/* The next packet that came to the host: its value, and whose it is. */
static inline uint32_t tun_receive(Hub *hub, unsigned *ret_from) {
    uint8_t packet[ROOM];
    struct pollfd ends[IPOP_TUNNEL_QUEUES_MAX];
    for (unsigned i = 0; i < hub->queues; i++)
        ends[i] = (struct pollfd){hub->tun[i], POLLIN, 0};
    g_assert_cmpint(poll(ends, hub->queues, LIMIT_MS), >=, 1);
    for (unsigned i = 0; i < hub->queues; i++)
        if (ends[i].revents) {
            g_assert_cmpint(read(hub->tun[i], packet, sizeof packet), ==, HEADER + 4);
            break;
        }
    *ret_from = packet[15];
    return value_of(packet);
}

/* One packet from each, so that the tunnel has their keys. */
static inline void hub_greet(Hub *hub) {
    for (unsigned i = 0; i < PEERS; i++) {
        unsigned from;
        far_send(&hub->far[i], 7);
        g_assert_cmpuint(tun_receive(hub, &from), ==, 7);
        g_assert_cmpuint(from, ==, i + 1);
    }
}

static inline void wait_count(const atomic_uint_least64_t *counter, uint64_t n) {
    gint64 limit = g_get_monotonic_time() + LIMIT_MS * 1000;
    while (atomic_load(counter) < n) {
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
        g_thread_yield();
    }
}

static inline uint64_t drops(const Far *far, IpopDrop cause) {
    return atomic_load(&ipop_tunnel_peer_counters(far->peer)->drops[cause]);
}
