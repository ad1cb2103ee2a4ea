/* test_fallback.c - what a kernel refuses, or does differently than is good for us: real system calls, under a filter. */
#include "tests/unit/net.h"
#include "tests/unit/one_peer.h"
#include "tests/unit/refuse.h"
#include "tincan/base/secret.h"
#include "tincan/link/fast.h"
#include "tincan/tun/device.h"

#define SEGMENT 1400
#define DATAGRAMS 45

static int open_negotiator(struct sockaddr_in *ret) {
    socklen_t n = sizeof *ret;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a630001)};
    g_assert_cmpint(bind(fd, (struct sockaddr *)ret, sizeof *ret), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)ret, &n), ==, 0);
    return fd;
}

/* --- in a thread with a poorer kernel --- */

typedef struct {
    unsigned what;
    void (*work)(void *data);
    void *data;
    atomic_int listener;
} Refused;

static gpointer work_refused(gpointer data) {
    Refused *refused = data;
    atomic_store(&refused->listener, refuse_install(refused->what));
    refused->work(refused->data);
    return NULL;
}

/* Only that thread is under the filter; this one answers for the kernel until it has ended. */
static void with_refused(unsigned what, void (*work)(void *data), void *data) {
    Refused refused = {what, work, data, 0};
    GThread *thread = g_thread_new("refused", work_refused, &refused);
    ONE_PEER_WAIT(atomic_load(&refused.listener) != 0);
    g_assert_cmpint(refused.listener, >, 0);
    refuse_serve(refused.listener);
    g_thread_join(thread);
}

/* --- sending --- */

typedef struct {
    IpopPath *path;
    uint8_t train[DATAGRAMS * SEGMENT];
} Sender;

static void send_twice(void *data) {
    Sender *sender = data;
    for (int i = 0; i < 2; i++)
        g_assert_cmpuint(sender->path->send(sender->path, sender->train, sizeof sender->train, SEGMENT), ==, DATAGRAMS);
    g_assert_false(sender->path->too_big);
    g_assert_cmpuint(sender->path->send(sender->path, sender->train, 10, 10), ==, 1);
}

static void test_segment(gconstpointer data) {
    struct sockaddr_in from, to;
    int negotiator = open_negotiator(&from), receiver = open_negotiator(&to);
    IpopFast *fast = ipop_fast_new(negotiator);
    g_autofree Sender *sender = g_new0(Sender, 1);
    uint8_t got[2000];
    sender->path = ipop_fast_path(fast, "10.99.0.1", ntohs(to.sin_port));
    for (size_t i = 0; i < sizeof sender->train; i++)
        sender->train[i] = (uint8_t)(i / SEGMENT + i % 251);
    with_refused((unsigned)GPOINTER_TO_INT(data), send_twice, sender);
    for (unsigned i = 0; i < 2 * DATAGRAMS; i++) {
        g_assert_cmpint(recv(receiver, got, sizeof got, 0), ==, SEGMENT);
        g_assert_cmpint(memcmp(got, sender->train + i % DATAGRAMS * SEGMENT, SEGMENT), ==, 0);
    }
    g_assert_cmpint(recv(receiver, got, sizeof got, 0), ==, 10);
    g_assert_cmpint(recv(receiver, got, sizeof got, 0), ==, -1);
    ipop_path_unref(sender->path);
    ipop_fast_close(fast);
    close(negotiator);
    close(receiver);
}

/* --- receiving --- */

static void open_fast(void *data) {
    int *negotiator = data;
    IpopFast *fast = ipop_fast_new(*negotiator);
    *negotiator = fast ? 1 : 0;
    ipop_fast_close(fast);
}

static void test_steer(void) {
    struct sockaddr_in address;
    unsigned before = net_count_fds();
    int fd = open_negotiator(&address), result = fd;
    with_refused(REFUSE_STEER, open_fast, &result);
    g_assert_cmpint(result, ==, 0);
    result = fd;
    with_refused(REFUSE_GRO, open_fast, &result);
    g_assert_cmpint(result, ==, 1);
    close(fd);
    g_assert_cmpuint(net_count_fds(), ==, before);
}

static int joins(int fd) {
    int value = -1;
    socklen_t n = sizeof value;
    g_assert_cmpint(getsockopt(fd, IPPROTO_UDP, UDP_GRO, &value, &n), ==, 0);
    return value;
}

/* Sealed packets of one length, and behind them what the peer's negotiator sent, as GRO hands them up when nothing tells the
 * two apart. The loopback device passes the train on as it is. */
static void send_glued(OnePeer *one, IpopPath *from, unsigned packets) {
    uint8_t train[10 * SEGMENT], frame[1 + 100] = {IPOP_FRAME_PACKET, 0x45, [4] = 100, [9] = 64, 17, [13] = 10, 0, 0, 2, 10, 0, 0, 1};
    size_t n = 0, segment = 0;
    for (unsigned i = 0; i < packets; i++)
        n += segment = ipop_session_seal(one->session, train + n, frame, sizeof frame, ipop_clock_now());
    memcpy(train + n, "\0\1\0\0\x21\x12\xa4\x42transaction!", 20);
    g_assert_cmpuint(from->send(from, train, n + 20, segment), ==, packets + 1);
}

static void test_glued(void) {
    struct sockaddr_in here, there;
    int negotiators[] = {open_negotiator(&here), open_negotiator(&there)}, tun[2];
    IpopFast *fast = ipop_fast_new(negotiators[0]), *far = ipop_fast_new(negotiators[1]);
    IpopPath *from = ipop_fast_path(far, "10.99.0.1", ntohs(here.sin_port));
    uint8_t got[2000];
    OnePeer one;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun), ==, 0);
    one_peer_open(&one, &(IpopTunnelDevice){.fd = {tun[1]}, .queues = 1}, ipop_fast_path(fast, "10.99.0.1", ntohs(there.sin_port)), "10.0.0.2", "");
    g_assert_cmpint(joins(one.path->fd), ==, 1);
    send_glued(&one, from, 3);
    ONE_PEER_WAIT(one_peer_drops(&one, IPOP_DROP_MALFORMED) == 1);
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(recv(tun[0], got, sizeof got, 0), ==, 100);
    ONE_PEER_WAIT(!joins(one.path->fd) && !joins(negotiators[0]));
    /* The sender on this machine can glue still, a network can't: then nothing is taken for data that is none. */
    send_glued(&one, from, 3);
    ONE_PEER_WAIT(one_peer_drops(&one, IPOP_DROP_MALFORMED) == 2);
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(recv(tun[0], got, sizeof got, 0), ==, 100);
    g_assert_cmpuint(one_peer_all_drops(&one), ==, 2);
    one_peer_close(&one);
    ipop_path_unref(from);
    ipop_fast_close(fast);
    ipop_fast_close(far);
    for (int i = 0; i < 2; i++) {
        close(negotiators[i]);
        close(tun[i]);
    }
}

/* --- the device --- */

typedef struct {
    bool vnet, uso;
    unsigned queues;
} Device;

static void open_device(void *data) {
    Device *device = data;
    g_autoptr(GError) error = NULL;
    IpopTun *tun = ipop_tun_open("ipopfall", &error);
    g_assert_no_error(error);
    *device = (Device){ipop_tun_vnet(tun), ipop_tun_uso(tun), ipop_tun_queues(tun)};
    ipop_tun_close(tun);
}

static void test_device(void) {
    Device device;
    with_refused(REFUSE_VNET, open_device, &device);
    g_assert_false(device.vnet || device.uso);
    g_assert_cmpuint(device.queues, ==, IPOP_TUN_QUEUES);
    with_refused(REFUSE_USO, open_device, &device);
    g_assert_true(device.vnet && !device.uso);
    with_refused(REFUSE_BPF, open_device, &device);
    g_assert_true(device.vnet);
    g_assert_cmpuint(device.queues, ==, 1);
    with_refused(REFUSE_BPF | REFUSE_VNET, open_device, &device);
    g_assert_false(device.vnet);
    g_assert_cmpuint(device.queues, ==, 1);
    with_refused(0, open_device, &device);
    g_assert_true(device.vnet);
    g_assert_cmpuint(device.queues, ==, IPOP_TUN_QUEUES);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    if (!net_enter()) {
        g_print("1..0 # SKIP a network namespace needs root\n");
        return 0;
    }
    g_test_add_data_func("/fallback/segment/sendmmsg", GINT_TO_POINTER(REFUSE_SEGMENT), test_segment);
    g_test_add_data_func("/fallback/segment/sendmsg", GINT_TO_POINTER(REFUSE_SEGMENT | REFUSE_MMSG), test_segment);
    g_test_add_func("/fallback/steer", test_steer);
    g_test_add_func("/fallback/glued", test_glued);
    g_test_add_func("/fallback/device", test_device);
    return g_test_run();
}
