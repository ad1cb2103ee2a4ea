/* test_overload.c - more comes than one data thread can carry: whose it is loses it, the others do not notice. */
#include "tests/unit/hub.h"
#include "tincan/base/secret.h"

#include <fcntl.h>
#include <sched.h>

#define QUEUES (PEERS + 1) /* one for each peer */
#define WORK 200           /* microseconds that a datagram takes */

typedef struct {
    Hub *hub;
    Far *far;
    atomic_bool stop;
} Flood;

static void *flood_out(void *data) {
    Flood *flood = data;
    for (uint32_t i = 0; !atomic_load(&flood->stop); i++)
        if (!tun_try(flood->hub, flood->far->number, i, 1000))
            poll(&(struct pollfd){flood->hub->tun[flood->hub->queue_of[flood->far->number]], POLLOUT, 0}, 1, 1);
    return NULL;
}

/* Forged: nearly as much work to find out as to open, and none to make. */
static void *flood_in(void *data) {
    Flood *flood = data;
    uint8_t datagram[8000] = {0};
    ipop_session_seal(flood->far->session, datagram, datagram, 1, ipop_clock_now());
    while (!atomic_load(&flood->stop))
        if (send(flood->far->fd, datagram, sizeof datagram, 0) < 0)
            poll(&(struct pollfd){flood->far->fd, POLLOUT, 0}, 1, 1);
    return NULL;
}

static void assert_unharmed(const Hub *hub, const Far *flooded) {
    for (unsigned i = 0; i < PEERS; i++)
        for (int cause = 0; cause < IPOP_DROP_CAUSES && &hub->far[i] != flooded; cause++)
            g_assert_cmpuint(drops(&hub->far[i], (IpopDrop)cause), ==, 0);
}

static void drain(int fd) {
    uint8_t rubbish[ROOM];
    while (recv(fd, rubbish, sizeof rubbish, MSG_DONTWAIT) > 0)
        ;
}

/* Whoever sends one packet at a time loses none while another peer is flooded. */
static void test_to_a_peer(void) {
    Hub *hub = hub_new(1, QUEUES);
    Flood flood = {hub, &hub->far[0], false};
    pthread_t thread;
    hub_fill(hub);
    hub_greet(hub);
    atomic_store(&flood.far->wire->work, WORK);
    g_assert_cmpint(pthread_create(&thread, NULL, flood_out, &flood), ==, 0);
    for (uint32_t i = 0; i < 50 || drops(flood.far, IPOP_DROP_QUEUE) < 1000; i++) {
        Far *far = &hub->far[1 + i % (PEERS - 1)];
        tun_write(hub, far->number, i, 8);
        g_assert_cmpuint(far_receive(far), ==, i);
        drain(flood.far->fd);
    }
    atomic_store(&flood.stop, true);
    pthread_join(thread, NULL);
    assert_unharmed(hub, flood.far);
    hub_free(hub);
}

/* The same of what comes in: what is too much is dropped before it is looked at. */
static void test_from_a_peer(void) {
    Hub *hub = hub_new(1, QUEUES);
    Flood flood = {hub, &hub->far[0], false};
    pthread_t thread;
    hub_fill(hub);
    hub_greet(hub);
    g_assert_cmpint(setsockopt(flood.far->fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){1 << 28}, sizeof(int)), ==, 0);
    g_assert_cmpint(pthread_create(&thread, NULL, flood_in, &flood), ==, 0);
    for (uint32_t i = 0; i < 50 || drops(flood.far, IPOP_DROP_LATE) < 1000; i++) {
        unsigned from, number = 1 + i % (PEERS - 1);
        far_send(&hub->far[number], i);
        g_assert_cmpuint(tun_receive(hub, &from), ==, i);
        g_assert_cmpuint(from, ==, number + 1);
    }
    atomic_store(&flood.stop, true);
    pthread_join(thread, NULL);
    assert_unharmed(hub, flood.far);
    hub_free(hub);
}

/* In a network namespace of our own socket pairs may hold more than ten datagrams. */
static bool long_queues(void) {
    int fd = unshare(CLONE_NEWNET) == 0 ? open("/proc/sys/net/unix/max_dgram_qlen", O_WRONLY | O_CLOEXEC) : -1;
    bool done = fd >= 0 && write(fd, "4000", 4) == 4;
    if (fd >= 0)
        close(fd);
    return done;
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    if (!long_queues()) {
        g_print("1..0 # SKIP a network namespace needs root\n");
        return 0;
    }
    g_test_add_func("/overload/to-a-peer", test_to_a_peer);
    g_test_add_func("/overload/from-a-peer", test_from_a_peer);
    return g_test_run();
}
