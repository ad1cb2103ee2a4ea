/* test_tunnel.c - one tunnel with several peers on several data threads. A socket pair stands for the device, one for each
 * peer's path; the test holds the peers' ends of them, and of the sessions. */
#include "tincan/base/clock.h"
#include "tincan/base/secret.h"
#include "tincan/tunnel/queue.h"
#include "tincan/tunnel/tunnel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS 3
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
    int tun, tun_inner;
    Far far[PEERS];
    uint32_t next_index;
    unsigned sessions, wires; /* alive */
};

/* --- the hub --- */

static unsigned wire_send(IpopPath *base, const uint8_t *train, size_t n, size_t segment) {
    Wire *wire = (Wire *)base;
    unsigned sent = 0;
    pthread_mutex_lock(&wire->gate);
    for (size_t at = 0; at < n; at += segment)
        sent += send(base->fd, train + at, MIN(segment, n - at), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    pthread_mutex_unlock(&wire->gate);
    return sent;
}

static void wire_release(IpopPath *base) {
    Wire *wire = (Wire *)base;
    wire->hub->wires--;
    close(base->fd);
    pthread_mutex_destroy(&wire->gate);
    g_free(wire);
}

static void on_confirmed(void *peer, uint32_t index) {
    Far *far = peer;
    far->confirmed += index == far->index;
}

static void on_released(void *user, uint32_t index) {
    ((Hub *)user)->sessions--;
}

static void on_pong(void *peer, int64_t rtt) {
    ((Far *)peer)->pongs++;
}

static void on_roamed(void *user, const char *remote) {
}

static void on_bye(void *peer) {
}

static void on_mtu(void *peer, unsigned mtu, bool hole) {
}

static void on_handshake(void *peer, IpopPath *path, const uint8_t *message, size_t n) {
}

static Hub *hub_new(void) {
    static const IpopTunnelEvents events = {on_confirmed, on_released, on_pong, on_roamed, on_bye, on_mtu, on_handshake};
    Hub *hub = g_new0(Hub, 1);
    int pair[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), ==, 0);
    hub->tun = pair[0];
    hub->tun_inner = pair[1];
    hub->tunnel = ipop_tunnel_new(&(IpopTunnelDevice){hub->tun_inner, false, false}, THREADS, &events, hub, NULL);
    g_assert_nonnull(hub->tunnel);
    return hub;
}

/* A responder's session at the tunnel: the peer's first packet makes it current. */
static void far_connect(Far *far) {
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

static void far_add(Hub *hub, Far *far, unsigned number) {
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

static void far_remove(Far *far) {
    ipop_tunnel_remove_peer(far->peer);
    ipop_path_unref(&far->wire->base);
    ipop_session_free(far->session);
    close(far->fd);
}

static void hub_free(Hub *hub) {
    for (unsigned i = 0; i < PEERS; i++)
        if (hub->far[i].peer)
            far_remove(&hub->far[i]);
    ipop_tunnel_free(hub->tunnel);
    g_assert_cmpuint(hub->sessions, ==, 0);
    g_assert_cmpuint(hub->wires, ==, 0);
    close(hub->tun);
    close(hub->tun_inner);
    g_free(hub);
}

static void hub_fill(Hub *hub) {
    for (unsigned i = 0; i < PEERS; i++)
        far_add(hub, &hub->far[i], i + 1);
}

/* --- packets --- */

static void wait_for(int fd, short events) {
    struct pollfd p = {fd, events, 0};
    g_assert_cmpint(poll(&p, 1, LIMIT_MS), ==, 1);
}

static size_t make_packet(uint8_t *packet, unsigned from, unsigned to, uint32_t value, size_t payload) {
    size_t n = HEADER + payload;
    memset(packet, 0, n);
    const uint8_t header[HEADER] = {0x45, 0, (uint8_t)(n >> 8), (uint8_t)n,    [8] = 64, 17, [12] = 10, 0, 0, (uint8_t)from,
                                    10,   0, 0,                 (uint8_t)to};
    memcpy(packet, header, HEADER);
    memcpy(packet + HEADER, &value, sizeof value);
    return n;
}

static uint32_t value_of(const uint8_t *packet) {
    uint32_t value;
    memcpy(&value, packet + HEADER, sizeof value);
    return value;
}

/* From the host to the peer of that number; false when the device's end is full. */
static bool tun_try(Hub *hub, unsigned to, uint32_t value, size_t payload) {
    uint8_t packet[ROOM];
    size_t n = make_packet(packet, 100, to, value, payload);
    return write(hub->tun, packet, n) == (ssize_t)n;
}

static void tun_write(Hub *hub, unsigned to, uint32_t value, size_t payload) {
    while (!tun_try(hub, to, value, payload))
        wait_for(hub->tun, POLLOUT);
}

static void far_frame(Far *far, const uint8_t *frame, size_t n) {
    uint8_t datagram[ROOM];
    size_t sealed = ipop_session_seal(far->session, datagram, frame, n, ipop_clock_now());
    g_assert_cmpuint(sealed, >, 0);
    if (send(far->fd, datagram, sealed, 0) < 0)
        g_assert_true(errno == EAGAIN || errno == ECONNREFUSED);
}

static size_t packet_frame(uint8_t *frame, unsigned from, uint32_t value) {
    frame[0] = IPOP_FRAME_PACKET;
    return 1 + make_packet(frame + 1, from, 100, value, sizeof value);
}

static void far_send(Far *far, uint32_t value) {
    uint8_t frame[64];
    far_frame(far, frame, packet_frame(frame, far->number, value));
}

/* The next packet that came to the peer; frames without one are passed over. */
static uint32_t far_receive(Far *far) {
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
static uint32_t tun_receive(Hub *hub, unsigned *ret_from) {
    uint8_t packet[ROOM];
    wait_for(hub->tun, POLLIN);
    g_assert_cmpint(read(hub->tun, packet, sizeof packet), ==, HEADER + 4);
    *ret_from = packet[15];
    return value_of(packet);
}

/* One packet from each, so that the tunnel has their keys. */
static void hub_greet(Hub *hub) {
    for (unsigned i = 0; i < PEERS; i++) {
        unsigned from;
        far_send(&hub->far[i], 7);
        g_assert_cmpuint(tun_receive(hub, &from), ==, 7);
        g_assert_cmpuint(from, ==, i + 1);
    }
}

static void wait_count(const atomic_uint_least64_t *counter, uint64_t n) {
    gint64 limit = g_get_monotonic_time() + LIMIT_MS * 1000;
    while (atomic_load(counter) < n) {
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
        g_thread_yield();
    }
}

static uint64_t drops(const Far *far, IpopDrop cause) {
    return atomic_load(&ipop_tunnel_peer_counters(far->peer)->drops[cause]);
}

/* --- what is tested --- */

static void test_spreads(void) {
    Hub *hub = hub_new();
    hub_fill(hub);
    hub_greet(hub);
    for (uint32_t value = 0; value < 50; value++) {
        for (unsigned i = 0; i < PEERS; i++)
            for (uint32_t k = 0; k < WINDOW; k++)
                tun_write(hub, i + 1, value * WINDOW + k, 100);
        for (unsigned i = 0; i < PEERS; i++)
            for (uint32_t k = 0; k < WINDOW; k++)
                g_assert_cmpuint(far_receive(&hub->far[i]), ==, value * WINDOW + k);
    }
    for (unsigned i = 0; i < PEERS; i++) {
        const IpopTunnelCounters *counters = ipop_tunnel_peer_counters(hub->far[i].peer);
        wait_count(&counters->sent_packets, 50 * WINDOW);
        for (int cause = 0; cause < IPOP_DROP_CAUSES; cause++)
            g_assert_cmpuint(atomic_load(&counters->drops[cause]), ==, 0);
        while (!hub->far[i].confirmed)
            g_main_context_iteration(NULL, TRUE);
    }
    hub_free(hub);
}

static void test_inbound(void) {
    Hub *hub = hub_new();
    uint32_t expected[PEERS] = {0};
    hub_fill(hub);
    hub_greet(hub);
    for (unsigned n = 0; n < 100 * PEERS; n++) {
        unsigned from;
        /* At most one of each is under way. */
        if (n % PEERS == 0)
            for (unsigned i = 0; i < PEERS; i++)
                far_send(&hub->far[i], n / PEERS);
        uint32_t value = tun_receive(hub, &from);
        g_assert_cmpuint(value, ==, expected[from - 1]++);
    }
    /* By the negotiator's socket, too. */
    for (unsigned i = 0; i < PEERS; i++) {
        uint8_t frame[64], datagram[128];
        size_t n = packet_frame(frame, i + 1, 1000 + i);
        n = ipop_session_seal(hub->far[i].session, datagram, frame, n, ipop_clock_now());
        ipop_tunnel_input(hub->far[i].peer, datagram, n);
        unsigned from;
        g_assert_cmpuint(tun_receive(hub, &from), ==, 1000 + i);
        g_assert_cmpuint(from, ==, i + 1);
    }
    hub_free(hub);
}

/* An address goes to a peer of another data thread: packets to it, and the right to send from it. */
static void test_address_moves(void) {
    Hub *hub = hub_new();
    uint8_t frame[64];
    unsigned from;
    hub_fill(hub);
    hub_greet(hub);
    for (unsigned i = 0; i < PEERS; i++) {
        Far *old = &hub->far[i], *new = &hub->far[(i + 1) % PEERS];
        ipop_tunnel_set_addresses(old->peer, "", "");
        ipop_tunnel_set_addresses(new->peer, "10.0.0.50", "");
        ipop_tunnel_sync(hub->tunnel);
        tun_write(hub, 50, i, 8);
        unsigned number = new->number;
        new->number = 50;
        g_assert_cmpuint(far_receive(new), ==, i);
        far_frame(old, frame, packet_frame(frame, 50, 1));
        wait_count(&ipop_tunnel_peer_counters(old->peer)->drops[IPOP_DROP_SOURCE], 1);
        far_frame(new, frame, packet_frame(frame, 50, 2));
        g_assert_cmpuint(tun_receive(hub, &from), ==, 2);
        new->number = number;
    }
    hub_free(hub);
}

/* A data thread that is held up loses what is its own, counted, and holds up nobody else. */
static void test_queue_is_bounded(void) {
    Hub *hub = hub_new();
    hub_fill(hub);
    hub_greet(hub);
    Far *held = &hub->far[1], *other = &hub->far[2], *first = &hub->far[0];
    size_t payload = 60000;
    unsigned flood = IPOP_QUEUE_BYTES / (unsigned)payload * 2;
    pthread_mutex_lock(&held->wire->gate);
    for (uint32_t i = 0; i < flood; i++) {
        tun_write(hub, held->number, i, payload);
        if (i % WINDOW)
            continue;
        tun_write(hub, other->number, i, 8);
        tun_write(hub, first->number, i, 8);
        g_assert_cmpuint(far_receive(other), ==, i);
        g_assert_cmpuint(far_receive(first), ==, i);
    }
    wait_count(&ipop_tunnel_peer_counters(held->peer)->drops[IPOP_DROP_QUEUE], flood / 3);
    g_assert_cmpuint(drops(other, IPOP_DROP_QUEUE) + drops(first, IPOP_DROP_QUEUE), ==, 0);
    pthread_mutex_unlock(&held->wire->gate);
    /* All that was taken comes, or is counted: nothing is kept. */
    ipop_tunnel_sync(hub->tunnel);
    const IpopTunnelCounters *counters = ipop_tunnel_peer_counters(held->peer);
    gint64 limit = g_get_monotonic_time() + LIMIT_MS * 1000;
    while (atomic_load(&counters->sent_packets) + drops(held, IPOP_DROP_SEND) + drops(held, IPOP_DROP_QUEUE) < flood) {
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
        g_thread_yield();
    }
    hub_free(hub);
}

/* Peers come and go in full traffic both ways; hub_free counts what they leave. */
static void test_removal_in_traffic(void) {
    Hub *hub = hub_new();
    hub_fill(hub);
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < PEERS; i++) {
            far_send(&hub->far[i], round);
            for (unsigned k = 0; k < 4; k++)
                tun_try(hub, i + 1, round, i % 2 ? 1000 : 30000);
        }
        Far *far = &hub->far[round % PEERS];
        if (round % 3 == 0)
            ipop_tunnel_drop_sessions(far->peer);
        far_remove(far);
        far_add(hub, far, round % PEERS + 1);
        ipop_tunnel_ping(far->peer);
        uint8_t packet[ROOM];
        while (read(hub->tun, packet, sizeof packet) > 0)
            ;
        g_main_context_iteration(NULL, FALSE);
    }
    hub_free(hub);
}

/* --- the queue by itself --- */

typedef struct {
    uint32_t next;
    unsigned taken;
} Expect;

static size_t length_of(uint32_t i) {
    return 4 + i * 7919 % 60000;
}

static void take(void *data, uint8_t *packet, size_t n) {
    Expect *expect = data;
    uint32_t value;
    memcpy(&value, packet, sizeof value);
    g_assert_cmpuint(value, ==, expect->next);
    g_assert_cmpuint(n, ==, length_of(value));
    g_assert_cmpuint(packet[n - 1], ==, n == 4 ? packet[3] : (uint8_t)value);
    memset(packet - IPOP_QUEUE_HEADROOM, 0xff, IPOP_QUEUE_HEADROOM); /* it is ours */
    expect->next++;
    expect->taken++;
}

static bool push(IpopQueue *queue, uint32_t value) {
    static uint8_t packet[ROOM];
    size_t n = length_of(value);
    packet[n - 1] = (uint8_t)value;
    memcpy(packet, &value, sizeof value);
    return ipop_queue_push(queue, packet, n);
}

static bool readable(const IpopQueue *queue) {
    struct pollfd p = {ipop_queue_fd(queue), POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static void test_queue(void) {
    IpopQueue *queue = ipop_queue_new();
    Expect expect = {0};
    uint32_t value = 0;
    g_assert_false(readable(queue));
    for (unsigned round = 0; round < 20; round++) {
        while (push(queue, value))
            value++;
        g_assert_cmpuint(value - expect.next, >, IPOP_QUEUE_BYTES / ROOM);
        expect.taken = 0;
        ipop_queue_run(queue, 3, &expect, take);
        g_assert_cmpuint(expect.taken, ==, 3);
        g_assert_true(readable(queue)); /* there is more */
        ipop_queue_run(queue, 1000000, &expect, take);
        g_assert_cmpuint(expect.next, ==, value);
        g_assert_false(readable(queue));
        g_assert_true(push(queue, value++));
        g_assert_true(readable(queue));
        ipop_queue_run(queue, 1, &expect, take);
    }
    ipop_queue_free(queue);
}

#define STREAM 20000

static void *produce(void *queue) {
    for (uint32_t value = 0; value < STREAM; value++)
        while (!push(queue, value))
            g_thread_yield();
    return NULL;
}

/* No wake-up is lost: the consumer sleeps without limit. */
static void test_queue_threads(void) {
    IpopQueue *queue = ipop_queue_new();
    Expect expect = {0};
    pthread_t producer;
    g_assert_cmpint(pthread_create(&producer, NULL, produce, queue), ==, 0);
    while (expect.next < STREAM) {
        wait_for(ipop_queue_fd(queue), POLLIN);
        ipop_queue_run(queue, 16, &expect, take);
    }
    pthread_join(producer, NULL);
    ipop_queue_free(queue);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/tunnel/queue", test_queue);
    g_test_add_func("/tunnel/queue-threads", test_queue_threads);
    g_test_add_func("/tunnel/spreads", test_spreads);
    g_test_add_func("/tunnel/inbound", test_inbound);
    g_test_add_func("/tunnel/address-moves", test_address_moves);
    g_test_add_func("/tunnel/queue-is-bounded", test_queue_is_bounded);
    g_test_add_func("/tunnel/removal-in-traffic", test_removal_in_traffic);
    return g_test_run();
}
