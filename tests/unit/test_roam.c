/* test_roam.c - a peer that sends from somewhere else than before. The peer's places are sockets on loopback. */
#include "tests/unit/one_peer.h"
#include "tincan/base/secret.h"
#include "tincan/link/fast.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACES 3
#define INTERVAL_US 100000 /* between two changes of place that are believed */
#define PACKET 1000

typedef struct {
    OnePeer one;
    int place[PLACES]; /* the first is where the path leads at first */
    struct sockaddr_in at[PLACES];
    int negotiator;
    struct sockaddr_in home; /* ours */
    IpopFast *fast;
    int tun[2];
} Fixture;

typedef struct {
    uint8_t bytes[256];
    size_t n;
} Sealed;

static int open_place(struct sockaddr_in *ret) {
    socklen_t size = sizeof *ret;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    g_assert_cmpint(bind(fd, (struct sockaddr *)ret, size), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)ret, &size), ==, 0);
    return fd;
}

static void set_up(Fixture *f, gconstpointer data) {
    for (unsigned i = 0; i < PLACES; i++)
        f->place[i] = open_place(&f->at[i]);
    f->negotiator = open_place(&f->home);
    f->fast = ipop_fast_new(f->negotiator);
    g_assert_nonnull(f->fast);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, f->tun), ==, 0);
    IpopPath *path = ipop_fast_path(f->fast, "127.0.0.1", ntohs(f->at[0].sin_port));
    path->burst = IPOP_TRAIN_SEGMENTS;
    one_peer_open(&f->one, &(IpopTunnelDevice){.fd = {f->tun[1]}, .queues = 1}, path, "10.0.0.2", "");
}

static void tear_down(Fixture *f, gconstpointer data) {
    one_peer_close(&f->one);
    ipop_fast_close(f->fast);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    for (unsigned i = 0; i < PLACES; i++)
        close(f->place[i]);
    close(f->negotiator);
    close(f->tun[0]);
    close(f->tun[1]);
}

static Sealed seal(Fixture *f, const uint8_t *frame, size_t n) {
    Sealed sealed;
    sealed.n = ipop_session_seal(f->one.session, sealed.bytes, frame, n, ipop_clock_now());
    return sealed;
}

static Sealed seal_keepalive(Fixture *f) {
    return seal(f, &(uint8_t){IPOP_FRAME_KEEPALIVE}, 1);
}

static void send_from(Fixture *f, unsigned place, const Sealed *sealed) {
    g_assert_cmpint(sendto(f->place[place], sealed->bytes, sealed->n, 0, (struct sockaddr *)&f->home, sizeof f->home), ==,
                    sealed->n);
}

/* The frame of the next datagram at that place, without its kind; the kind. */
static uint8_t next_frame(Fixture *f, unsigned place, uint8_t ret[static 2048]) {
    uint8_t datagram[65536];
    size_t n;
    struct pollfd fd = {f->place[place], POLLIN, 0};
    g_assert_cmpint(poll(&fd, 1, 20000), ==, 1);
    ssize_t got = recv(f->place[place], datagram, sizeof datagram, 0);
    g_assert_cmpint(got, >, 0);
    g_assert_cmpint(ipop_session_open(f->one.session, datagram + IPOP_WIRE_DATA_HEADER, datagram, (size_t)got, ipop_clock_now(), &n), ==,
                    IPOP_OPEN_OK);
    memcpy(ret, datagram + IPOP_WIRE_DATA_HEADER + 1, MIN(n - 1, 2048));
    return datagram[IPOP_WIRE_DATA_HEADER];
}

/* The answer that proves to be there. */
static void answer_ping(Fixture *f, unsigned place) {
    uint8_t value[2048], frame[9] = {IPOP_FRAME_PONG};
    while (next_frame(f, place, value) != IPOP_FRAME_PING)
        ;
    memcpy(frame + 1, value, 8);
    Sealed pong = seal(f, frame, sizeof frame);
    send_from(f, place, &pong);
}

static bool silent(Fixture *f, unsigned place) {
    struct pollfd fd = {f->place[place], POLLIN, 0};
    return poll(&fd, 1, 0) == 0;
}

static uint64_t heard(const Fixture *f) {
    return (uint64_t)atomic_load(&ipop_tunnel_peer_counters(f->one.peer)->last_heard);
}

/* Sends it from there, and waits until it was taken. */
static void send_and_settle(Fixture *f, unsigned place, const Sealed *sealed) {
    uint64_t before = heard(f);
    send_from(f, place, sealed);
    ONE_PEER_WAIT(heard(f) > before);
    one_peer_settle(&f->one);
}

static void write_packets(Fixture *f, unsigned n) {
    uint8_t packet[PACKET] = {0x45, [2] = PACKET >> 8, PACKET & 255, [8] = 64, 17, [12] = 10, 0, 0, 1, 10, 0, 0, 2};
    for (unsigned i = 0; i < n; i++)
        ONE_PEER_WAIT(write(f->tun[0], packet, sizeof packet) == sizeof packet);
}

static unsigned count_packets(Fixture *f, unsigned place) {
    uint8_t frame[2048];
    unsigned n = 0;
    while (!silent(f, place))
        n += next_frame(f, place, frame) == IPOP_FRAME_PACKET;
    return n;
}

static uint64_t accounted(const Fixture *f) {
    return atomic_load(&ipop_tunnel_peer_counters(f->one.peer)->sent_packets) + one_peer_drops(&f->one, IPOP_DROP_SEND);
}

static void test_follows(Fixture *f, gconstpointer data) {
    Sealed first = seal_keepalive(f);
    send_and_settle(f, 0, &first);
    g_assert_true(silent(f, 1));
    /* Little goes there before an answer: three times what came. */
    Sealed second = seal_keepalive(f);
    send_and_settle(f, 1, &second);
    write_packets(f, 10);
    ONE_PEER_WAIT(accounted(f) == 10);
    g_assert_cmpuint(one_peer_drops(&f->one, IPOP_DROP_SEND), ==, 10);
    uint64_t before = heard(f);
    answer_ping(f, 1);
    ONE_PEER_WAIT(heard(f) > before);
    one_peer_settle(&f->one);
    write_packets(f, 10);
    ONE_PEER_WAIT(accounted(f) == 20);
    g_assert_cmpuint(one_peer_drops(&f->one, IPOP_DROP_SEND), ==, 10);
    ONE_PEER_WAIT(count_packets(f, 1) > 0);
    g_assert_cmpuint(count_packets(f, 0), ==, 0);
    while (!*f->one.remote)
        g_main_context_iteration(NULL, TRUE);
    g_autofree char *expected = g_strdup_printf("127.0.0.1:%u", ntohs(f->at[1].sin_port));
    g_assert_cmpstr(f->one.remote, ==, expected);
}

/* An answer to what was asked at the old place proves nothing of the new one. */
static void test_old_answer(Fixture *f, gconstpointer data) {
    uint8_t value[2048], frame[9] = {IPOP_FRAME_PONG};
    ipop_tunnel_ping(f->one.peer);
    while (next_frame(f, 0, value) != IPOP_FRAME_PING)
        ;
    memcpy(frame + 1, value, 8);
    Sealed keepalive = seal_keepalive(f), pong = seal(f, frame, sizeof frame);
    send_and_settle(f, 1, &keepalive);
    send_and_settle(f, 1, &pong);
    write_packets(f, 10);
    ONE_PEER_WAIT(accounted(f) == 10);
    g_assert_cmpuint(one_peer_drops(&f->one, IPOP_DROP_SEND), ==, 10);
}

/* What is not newer than all before moves nothing: late ones, copies, rubbish. */
static void test_only_the_newest(Fixture *f, gconstpointer data) {
    Sealed old = seal_keepalive(f), newer = seal_keepalive(f), rubbish = seal_keepalive(f);
    rubbish.bytes[rubbish.n - 1] ^= 1;
    send_and_settle(f, 0, &newer);
    send_and_settle(f, 1, &old);
    send_from(f, 1, &newer);
    ONE_PEER_WAIT(one_peer_drops(&f->one, IPOP_DROP_REPLAYED) == 1);
    send_from(f, 1, &rubbish);
    ONE_PEER_WAIT(one_peer_drops(&f->one, IPOP_DROP_FORGED) == 1);
    one_peer_settle(&f->one);
    g_assert_true(silent(f, 1));
    write_packets(f, 1);
    ONE_PEER_WAIT(count_packets(f, 0) == 1);
}

static void test_not_too_often(Fixture *f, gconstpointer data) {
    unsigned moves = 0;
    gint64 begin = g_get_monotonic_time();
    for (unsigned i = 0; g_get_monotonic_time() - begin < 5 * INTERVAL_US; i++) {
        Sealed sealed = seal_keepalive(f);
        send_and_settle(f, 1 + i % 2, &sealed);
        while (g_main_context_iteration(NULL, FALSE))
            ;
        moves += *f->one.remote != '\0';
        f->one.remote[0] = '\0';
    }
    g_assert_cmpuint(moves, >=, 1);
    g_assert_cmpint(moves, <=, 1 + (g_get_monotonic_time() - begin) / INTERVAL_US);
}

/* The peer is led by another path now: what comes in by this one moves nothing. */
static void test_not_by_another_path(Fixture *f, gconstpointer data) {
    IpopPath *other = ipop_fast_path(f->fast, "127.0.0.1", ntohs(f->at[2].sin_port));
    other->burst = IPOP_TRAIN_SEGMENTS;
    ipop_tunnel_set_path(f->one.peer, other);
    ipop_path_unref(other);
    one_peer_settle(&f->one);
    Sealed sealed = seal_keepalive(f);
    send_and_settle(f, 1, &sealed);
    g_assert_true(silent(f, 1));
    write_packets(f, 1);
    ONE_PEER_WAIT(count_packets(f, 2) == 1);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
#define ADD(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)
    ADD("/roam/follows", test_follows);
    ADD("/roam/old-answer", test_old_answer);
    ADD("/roam/only-the-newest", test_only_the_newest);
    ADD("/roam/not-too-often", test_not_too_often);
    ADD("/roam/not-by-another-path", test_not_by_another_path);
    return g_test_run();
}
