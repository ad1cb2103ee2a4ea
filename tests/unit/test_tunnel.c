/* test_tunnel.c - one tunnel with several peers on several data threads (hub.h). */
#include "tests/unit/hub.h"
#include "tincan/base/secret.h"
#include "tincan/tunnel/queue.h"

#define THREADS 3
#define QUEUES 8

/* --- what is tested --- */

static void test_spreads(gconstpointer queues) {
    Hub *hub = hub_new(THREADS, GPOINTER_TO_UINT(queues));
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

static void test_inbound(gconstpointer queues) {
    Hub *hub = hub_new(THREADS, GPOINTER_TO_UINT(queues));
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
static void test_address_moves(gconstpointer queues) {
    Hub *hub = hub_new(THREADS, GPOINTER_TO_UINT(queues));
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
    Hub *hub = hub_new(THREADS, 1);
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
static void test_removal_in_traffic(gconstpointer queues) {
    Hub *hub = hub_new(THREADS, GPOINTER_TO_UINT(queues));
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
        for (unsigned i = 0; i < hub->queues; i++)
            while (read(hub->tun[i], packet, sizeof packet) > 0)
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
    g_test_add_func("/tunnel/queue-is-bounded", test_queue_is_bounded);
#define ADD(name, test)                                                                 \
    g_test_add_data_func("/tunnel/" name "/one-queue", GUINT_TO_POINTER(1), test);      \
    g_test_add_data_func("/tunnel/" name "/many-queues", GUINT_TO_POINTER(QUEUES), test)
    ADD("spreads", test_spreads);
    ADD("inbound", test_inbound);
    ADD("address-moves", test_address_moves);
    ADD("removal-in-traffic", test_removal_in_traffic);
    return g_test_run();
}
