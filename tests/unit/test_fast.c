/* test_fast.c - our socket beside a negotiator's, between two addresses of a namespace of the test's own. */
#include "tincan/link/fast.h"

#include "tests/unit/net.h"

#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>

#define DATA 0xf1
#define SEGMENT 1400

typedef union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} Address;

typedef struct {
    int negotiator;
    const char *ip; /* where it is reached */
    uint16_t port;
    IpopFast *fast;
    IpopPath *path; /* to the other end */
} End;

typedef struct {
    const char *name, *bind[2], *ip[2];
} Case;

static const Case cases[] = {
    {"ipv4", {"10.99.0.1", "10.99.0.2"}, {"10.99.0.1", "10.99.0.2"}},
    {"ipv4-any", {"0.0.0.0", "0.0.0.0"}, {"10.99.0.1", "10.99.0.2"}},
    {"ipv6", {"2001:db8:99::1", "2001:db8:99::2"}, {"2001:db8:99::1", "2001:db8:99::2"}},
    {"ipv6-any", {"::", "::"}, {"2001:db8:99::1", "2001:db8:99::2"}},
};

/* --- two ends --- */

static socklen_t make_address(const char *ip, uint16_t port, Address *ret) {
    *ret = (Address){0};
    if (inet_pton(AF_INET, ip, &ret->in.sin_addr) == 1) {
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons(port);
        return sizeof ret->in;
    }
    g_assert_cmpint(inet_pton(AF_INET6, ip, &ret->in6.sin6_addr), ==, 1);
    ret->in6.sin6_family = AF_INET6;
    ret->in6.sin6_port = htons(port);
    return sizeof ret->in6;
}

/* As GLib opens one: no SO_REUSEPORT. */
static int open_negotiator(const char *ip, uint16_t *ret_port) {
    Address address;
    socklen_t n = make_address(ip, 0, &address);
    int fd = socket(address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(fd, &address.any, n), ==, 0);
    g_assert_cmpint(getsockname(fd, &address.any, &n), ==, 0);
    *ret_port = ntohs(address.any.sa_family == AF_INET ? address.in.sin_port : address.in6.sin6_port);
    return fd;
}

static void pair_open(End *a, End *b, const Case *c) {
    *a = (End){.ip = c->ip[0]};
    *b = (End){.ip = c->ip[1]};
    a->negotiator = open_negotiator(c->bind[0], &a->port);
    b->negotiator = open_negotiator(c->bind[1], &b->port);
    a->fast = ipop_fast_new(a->negotiator);
    b->fast = ipop_fast_new(b->negotiator);
    g_assert_true(a->fast && b->fast);
    a->path = ipop_fast_path(a->fast, b->ip, b->port);
    b->path = ipop_fast_path(b->fast, a->ip, a->port);
    g_assert_true(a->path && b->path);
}

static void run_idle(void) {
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static void end_close(End *end) {
    ipop_fast_close(end->fast);
    ipop_path_unref(end->path);
    if (end->negotiator >= 0)
        close(end->negotiator);
    run_idle();
}

static void wait_readable(int fd) {
    struct pollfd p = {fd, POLLIN, 0};
    g_assert_cmpint(poll(&p, 1, 60000), ==, 1);
}

static bool is_empty(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/* Its own bytes for each datagram of the train. */
static void fill(uint8_t *train, size_t n, size_t segment) {
    for (size_t i = 0; i < n; i++)
        train[i] = (uint8_t)(i % segment == 0 ? DATA : i / segment + i % 251);
}

/* Reads one train: each datagram must be there once, in order and as it was. Says in how many reads it came. */
static unsigned expect_train(int fd, size_t n, size_t segment) {
    g_autofree uint8_t *expected = g_malloc(n), *got = g_malloc(65536);
    unsigned reads = 0;
    fill(expected, n, segment);
    for (size_t at = 0; at < n; reads++) {
        size_t size = 0;
        wait_readable(fd);
        ssize_t taken = net_receive(fd, got, 65536, &size);
        g_assert_cmpint(taken, >, 0);
        g_assert_cmpuint(at + (size_t)taken, <=, n);
        g_assert_cmpuint(size, ==, MIN(segment, n - at));
        g_assert_true((size_t)taken % segment == 0 || at + (size_t)taken == n);
        g_assert_true(memcmp(got, expected + at, (size_t)taken) == 0);
        at += (size_t)taken;
    }
    g_assert_true(is_empty(fd));
    return reads;
}

static unsigned send_train(End *from, size_t n, size_t segment) {
    g_autofree uint8_t *train = g_malloc(n);
    fill(train, n, segment);
    return from->path->send(from->path, train, n, segment);
}

static void expect_one(int fd, uint8_t first, size_t n) {
    uint8_t got[2000];
    size_t segment;
    wait_readable(fd);
    g_assert_cmpint(net_receive(fd, got, sizeof got, &segment), ==, n);
    g_assert_cmpuint(got[0], ==, first);
}

static unsigned send_one(End *from, uint8_t first, size_t n) {
    uint8_t bytes[2000] = {first};
    return from->path->send(from->path, bytes, n, n);
}

/* --- the tests --- */

static bool is_negotiators(unsigned first) {
    return first <= 3 || (first >= 0x40 && first <= 0x4f);
}

/* Each datagram is delivered once: where it is looked for, and so nowhere else. */
static void test_steering(gconstpointer c) {
    unsigned before = net_count_fds();
    End a, b;
    pair_open(&a, &b, c);
    for (unsigned first = 0; first < 256; first++) {
        g_assert_cmpuint(send_one(&a, (uint8_t)first, 1 + first), ==, 1);
        expect_one(is_negotiators(first) ? b.negotiator : b.path->fd, (uint8_t)first, 1 + first);
    }
    Address to;
    socklen_t n = make_address(b.ip, b.port, &to);
    g_assert_cmpint(sendto(a.negotiator, "", 0, 0, &to.any, n), ==, 0);
    wait_readable(b.negotiator);
    g_assert_cmpint(recv(b.negotiator, &(char){0}, 1, MSG_DONTWAIT), ==, 0);
    g_assert_true(is_empty(b.negotiator) && is_empty(b.path->fd));
    end_close(&a);
    end_close(&b);
    g_assert_cmpuint(net_count_fds(), ==, before);
}

static void test_train(gconstpointer c) {
    static const struct {
        size_t n, segment;
    } trains[] = {{45 * SEGMENT, SEGMENT}, {44 * SEGMENT + 17, SEGMENT}, {64 * 1015, 1015}, {63 * 20 + 1, 20},
                  {2 * SEGMENT, SEGMENT},  {SEGMENT + 1, SEGMENT},       {SEGMENT, SEGMENT}, {1, 1},
                  {3, SEGMENT}};
    End a, b;
    pair_open(&a, &b, c);
    for (unsigned i = 0; i < G_N_ELEMENTS(trains); i++) {
        size_t n = trains[i].n, segment = trains[i].segment;
        g_assert_cmpuint(send_train(&a, n, segment), ==, (n + segment - 1) / segment);
        expect_train(b.path->fd, n, segment);
        g_assert_cmpuint(send_train(&b, n, segment), ==, (n + segment - 1) / segment);
        expect_train(a.path->fd, n, segment);
    }
    end_close(&a);
    end_close(&b);
}

/* What does not fit the device does not leave, and that is said; unless fragments are asked for. */
static void test_too_large(gconstpointer c) {
    End a, b;
    pair_open(&a, &b, c);
    g_assert_cmpuint(send_train(&a, 45 * SEGMENT, SEGMENT), ==, 45);
    expect_train(b.path->fd, 45 * SEGMENT, SEGMENT);
    g_assert_false(a.path->too_big);
    net_ip("link set lo mtu 1300");
    const size_t trains[] = {45 * SEGMENT, 9 * SEGMENT + 5, SEGMENT};
    for (unsigned i = 0; i < G_N_ELEMENTS(trains); i++) {
        a.path->too_big = false;
        g_assert_cmpuint(send_train(&a, trains[i], SEGMENT), ==, 0);
        g_assert_true(a.path->too_big);
        g_assert_true(is_empty(b.path->fd));
        g_autofree uint8_t *train = g_malloc(trains[i]);
        fill(train, trains[i], SEGMENT);
        unsigned count = (unsigned)((trains[i] + SEGMENT - 1) / SEGMENT);
        g_assert_cmpuint(a.path->send_fragmented(a.path, train, trains[i], SEGMENT), ==, count);
        g_assert_cmpuint(expect_train(b.path->fd, trains[i], SEGMENT), ==, count);
    }
    /* That was for that once. What fits just so, with the headers that the path names, passes. */
    size_t fits = 1300 - a.path->around;
    g_assert_cmpuint(send_train(&a, fits + 1, fits + 1), ==, 0);
    a.path->too_big = false;
    g_assert_cmpuint(send_train(&a, 4 * fits, fits), ==, 4);
    expect_train(b.path->fd, 4 * fits, fits);
    g_assert_false(a.path->too_big);
    net_ip("link set lo mtu 65536");
    /* The loopback passes a train on as it is, and it is read as one. */
    g_assert_cmpuint(send_train(&a, 45 * SEGMENT, SEGMENT), ==, 45);
    g_assert_cmpuint(expect_train(b.path->fd, 45 * SEGMENT, SEGMENT), <, 45);
    end_close(&a);
    end_close(&b);
}

static void test_unsendable(void) {
    End a, b;
    uint8_t *huge = g_malloc0(65508); /* one more than a datagram can have */
    pair_open(&a, &b, &cases[0]);
    g_assert_cmpuint(a.path->send(a.path, huge, 65508, 65508), ==, 0);
    g_free(huge);
    end_close(&a);
    end_close(&b);

    pair_open(&a, &b, &cases[2]);
    ipop_path_unref(a.path);
    a.path = ipop_fast_path(a.fast, "2001:db8:77::1", 9); /* no route */
    g_assert_cmpuint(send_train(&a, 10 * SEGMENT, SEGMENT), ==, 0);
    g_assert_cmpuint(send_one(&a, DATA, 10), ==, 0);
    end_close(&a);
    end_close(&b);
}

static int receive_ttl(int fd) {
    union {
        char bytes[CMSG_SPACE(sizeof(int)) * 2];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_control = &control, .msg_controllen = sizeof control.bytes};
    int ttl = -1;
    wait_readable(fd);
    g_assert_cmpint(recvmsg(fd, &message, MSG_DONTWAIT), >=, 0);
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg))
        if ((cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_TTL) ||
            (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_HOPLIMIT))
            memcpy(&ttl, CMSG_DATA(cmsg), sizeof ttl);
    return ttl;
}

static void ask_for_ttl(int fd, const char *ip) {
    bool ip6 = strchr(ip, ':');
    int on = 1;
    g_assert_cmpint(setsockopt(fd, ip6 ? IPPROTO_IPV6 : IPPROTO_IP, ip6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, &on, sizeof on),
                    ==, 0);
}

static void test_ttl(gconstpointer c) {
    End a, b;
    Address to;
    pair_open(&a, &b, c);
    ask_for_ttl(b.negotiator, b.ip);
    ask_for_ttl(b.path->fd, b.ip);
    socklen_t n = make_address(b.ip, b.port, &to);
    g_assert_cmpint(sendto(a.negotiator, "\0\1", 2, 0, &to.any, n), ==, 2);
    g_assert_cmpint(receive_ttl(b.negotiator), ==, 65);
    g_assert_cmpuint(send_one(&a, DATA, 10), ==, 1);
    g_assert_cmpint(receive_ttl(b.path->fd), ==, 64);
    end_close(&a);
    end_close(&b);
}

static int joins(int fd) {
    int value = -1;
    socklen_t n = sizeof value;
    g_assert_cmpint(getsockopt(fd, IPPROTO_UDP, UDP_GRO, &value, &n), ==, 0);
    return value;
}

static void test_unglue(gconstpointer c) {
    End a, b;
    pair_open(&a, &b, c);
    g_assert_cmpint(joins(b.negotiator), ==, 1);
    g_assert_cmpint(joins(b.path->fd), ==, 1);
    b.path->unglue(b.path);
    g_assert_cmpint(joins(b.negotiator), ==, 0);
    g_assert_cmpint(joins(b.path->fd), ==, 0);
    g_assert_cmpuint(send_train(&a, 45 * SEGMENT, SEGMENT), ==, 45);
    g_assert_cmpuint(expect_train(b.path->fd, 45 * SEGMENT, SEGMENT), ==, 45);
    ipop_fast_close(g_steal_pointer(&b.fast));
    b.path->unglue(b.path);
    end_close(&a);
    end_close(&b);
}

/* The port is the negotiator's again at once, though a path is still held; and that one still sends from there. */
static void test_close_ours(gconstpointer c) {
    unsigned before = net_count_fds();
    End a, b;
    pair_open(&a, &b, c);
    ipop_fast_close(g_steal_pointer(&b.fast));
    g_assert_cmpint(joins(b.negotiator), ==, 0);
    for (unsigned turn = 0; turn < 2; turn++) {
        g_assert_cmpuint(send_train(&a, 45 * SEGMENT, SEGMENT), ==, 45);
        g_assert_cmpuint(expect_train(b.negotiator, 45 * SEGMENT, SEGMENT), ==, 45);
        g_assert_cmpuint(send_one(&a, 0, 20), ==, 1);
        expect_one(b.negotiator, 0, 20);
        if (b.path) {
            g_assert_cmpuint(send_train(&b, 45 * SEGMENT, SEGMENT), ==, 45);
            expect_train(a.path->fd, 45 * SEGMENT, SEGMENT);
        }
        g_clear_pointer(&b.path, ipop_path_unref);
        run_idle();
    }
    end_close(&a);
    end_close(&b);
    g_assert_cmpuint(net_count_fds(), ==, before);
}

/* A pair that was left is selected once more, while somebody holds its old path. */
static void test_again(gconstpointer c) {
    unsigned before = net_count_fds();
    End a, b;
    pair_open(&a, &b, c);
    for (unsigned turn = 0; turn < 10; turn++) {
        IpopPath *old = b.path;
        ipop_fast_close(b.fast);
        b.fast = ipop_fast_new(b.negotiator);
        g_assert_nonnull(b.fast);
        b.path = ipop_fast_path(b.fast, a.ip, a.port);
        for (unsigned held = 0; held < 2; held++) {
            g_assert_cmpuint(send_train(&a, 45 * SEGMENT, SEGMENT), ==, 45);
            expect_train(b.path->fd, 45 * SEGMENT, SEGMENT);
            g_assert_cmpuint(send_one(&a, 1, 20), ==, 1);
            expect_one(b.negotiator, 1, 20);
            g_clear_pointer(&old, ipop_path_unref);
            run_idle();
        }
    }
    end_close(&a);
    end_close(&b);
    g_assert_cmpuint(net_count_fds(), ==, before);
}

static void test_close_negotiator(gconstpointer c) {
    unsigned before = net_count_fds();
    End a, b;
    pair_open(&a, &b, c);
    close(b.negotiator);
    b.negotiator = -1;
    g_assert_cmpuint(send_train(&a, 45 * SEGMENT, SEGMENT), ==, 45);
    expect_train(b.path->fd, 45 * SEGMENT, SEGMENT);
    ipop_fast_close(g_steal_pointer(&b.fast));
    g_assert_cmpuint(send_train(&b, 45 * SEGMENT, SEGMENT), ==, 45);
    expect_train(a.path->fd, 45 * SEGMENT, SEGMENT);
    end_close(&a);
    end_close(&b);
    g_assert_cmpuint(net_count_fds(), ==, before);
}

/* Of two paths to different peers each sends to its own, and either may go first. */
static void test_two_paths(void) {
    End a, b, other;
    pair_open(&a, &b, &cases[0]);
    IpopPath *to_a = b.path;
    other = (End){.ip = "10.99.0.3"};
    other.negotiator = open_negotiator(other.ip, &other.port);
    b.path = ipop_fast_path(b.fast, other.ip, other.port);
    g_assert_cmpuint(send_one(&b, DATA, 30), ==, 1);
    expect_one(other.negotiator, DATA, 30);
    g_clear_pointer(&b.path, ipop_path_unref);
    run_idle();
    b.path = to_a;
    g_assert_cmpuint(send_one(&b, DATA, 40), ==, 1);
    expect_one(a.path->fd, DATA, 40);
    g_assert_cmpuint(send_one(&a, DATA, 50), ==, 1);
    expect_one(b.path->fd, DATA, 50);
    end_close(&a);
    end_close(&b);
    end_close(&other);
}

static void test_beside(void) {
    End a, b;
    pair_open(&a, &b, &cases[0]);
    int duplicate = dup(a.negotiator);
    g_assert_true(ipop_fast_beside(a.fast, a.negotiator));
    g_assert_true(ipop_fast_beside(a.fast, duplicate));
    g_assert_false(ipop_fast_beside(a.fast, b.negotiator));
    g_assert_false(ipop_fast_beside(a.fast, -1));
    close(duplicate);
    g_assert_null(ipop_fast_path(a.fast, "2001:db8:99::1", 1));
    g_assert_null(ipop_fast_path(a.fast, "localhost", 1));
    g_assert_null(ipop_fast_path(a.fast, "", 1));
    end_close(&a);
    end_close(&b);
    ipop_fast_close(NULL);
    g_assert_null(ipop_fast_new(-1));
}

/* A negotiator's socket on that address, tied to its interface as libnice's, and ours beside it, with a path to `to`. */
static End tied_open(const char *ip, const End *to) {
    End end = {.ip = ip};
    int index = (int)htonl(if_nametoindex("d0")), got = 0;
    socklen_t n = sizeof got;
    end.negotiator = open_negotiator(ip, &end.port);
    g_assert_cmpint(setsockopt(end.negotiator, IPPROTO_IP, IP_UNICAST_IF, &index, sizeof index), ==, 0);
    end.fast = ipop_fast_new(end.negotiator);
    end.path = ipop_fast_path(end.fast, to->ip, to->port);
    g_assert_cmpint(getsockopt(end.path->fd, IPPROTO_IP, IP_UNICAST_IF, &got, &n), ==, 0);
    g_assert_cmpint(got, ==, index);
    return end;
}

/* The same way from a socket of its own, which the other end hears, and which needs no other again. */
static void expect_rebound(End *end, const End *to) {
    char local[IPOP_PATH_ADDRESS], again[IPOP_PATH_ADDRESS];
    IpopPath *other = end->path->rebind(end->path, local);
    g_assert_nonnull(other);
    g_assert_cmpint(other->fd, !=, end->path->fd);
    g_assert_true(g_str_has_prefix(local, "10.99.0."));
    g_assert_false(g_str_has_prefix(local, end->ip));
    End own = {.path = other};
    g_assert_cmpuint(send_one(&own, DATA, 100), ==, 1);
    expect_one(to->path->fd, DATA, 100);
    g_assert_null(other->rebind(other, again));
    ipop_path_unref(other);
}

static void test_rebind(void) {
    End a, b;
    char local[IPOP_PATH_ADDRESS];
    unsigned before = net_count_fds();
    pair_open(&a, &b, &cases[0]);
    End tied = tied_open("10.99.0.4", &b);
    g_assert_null(tied.path->rebind(tied.path, local));
    net_ip("addr del 10.99.0.4/24 dev d0");
    expect_rebound(&tied, &b);
    net_ip("addr add 10.99.0.4/24 dev d0");
    g_assert_null(tied.path->rebind(tied.path, local));
    net_ip("link set d1 down"); /* no carrier */
    expect_rebound(&tied, &b);
    net_ip("link set d1 up");
    end_close(&tied);
    end_close(&a);
    end_close(&b);
    g_assert_cmpuint(net_count_fds(), ==, before);
}

/* With no descriptors left the negotiator's socket stays alone, and nothing leaks. */
static void test_no_descriptors(void) {
    uint16_t port;
    int negotiator = open_negotiator("10.99.0.1", &port);
    unsigned before = net_count_fds();
    struct rlimit all, few;
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &all), ==, 0);
    int next = dup(negotiator);
    close(next);
    for (rlim_t more = 0; more < 2; more++) {
        few = (struct rlimit){(rlim_t)next + more, all.rlim_max};
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
        IpopFast *fast = ipop_fast_new(negotiator);
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &all), ==, 0);
        g_assert_null(fast);
        g_assert_cmpuint(net_count_fds(), ==, before);
    }
    g_assert_cmpint(joins(negotiator), ==, 0);
    close(negotiator);
}

typedef struct {
    IpopPath *path;
    atomic_uint rounds;
    atomic_bool stop;
} Worker;

/* As the data thread: sends, receives, unglues at any moment, and lets go last. */
static gpointer work(gpointer data) {
    Worker *worker = data;
    g_autofree uint8_t *train = g_malloc(45 * SEGMENT), *got = g_malloc(65536);
    fill(train, 45 * SEGMENT, SEGMENT);
    while (!atomic_load(&worker->stop)) {
        size_t segment;
        worker->path->send(worker->path, train, 45 * SEGMENT, SEGMENT);
        net_receive(worker->path->fd, got, 65536, &segment);
        worker->path->unglue(worker->path);
        atomic_fetch_add(&worker->rounds, 1);
        g_main_context_wakeup(NULL);
    }
    ipop_path_unref(worker->path);
    return NULL;
}

static void test_threads(void) {
    unsigned before = net_count_fds();
    for (unsigned i = 0; i < 50; i++) {
        End a, b;
        pair_open(&a, &b, &cases[i % G_N_ELEMENTS(cases)]);
        Worker worker = {.path = ipop_path_ref(a.path)};
        GThread *thread = g_thread_new("data", work, &worker);
        NET_WAIT(atomic_load(&worker.rounds) > i % 3);
        end_close(&a);
        unsigned rounds = atomic_load(&worker.rounds);
        NET_WAIT(atomic_load(&worker.rounds) > rounds);
        atomic_store(&worker.stop, true);
        g_thread_join(thread);
        end_close(&b);
    }
    g_assert_cmpuint(net_count_fds(), ==, before);
}

static void add_cases(const char *name, GTestDataFunc test) {
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/fast/%s/%s", name, cases[i].name);
        g_test_add_data_func(path, &cases[i], test);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    if (!net_enter()) {
        g_print("1..0 # SKIP a network namespace needs root\n");
        return 0;
    }
    add_cases("steering", test_steering);
    add_cases("train", test_train);
    add_cases("too-large", test_too_large);
    add_cases("ttl", test_ttl);
    add_cases("unglue", test_unglue);
    add_cases("close-ours", test_close_ours);
    add_cases("again", test_again);
    add_cases("close-negotiator", test_close_negotiator);
    g_test_add_func("/fast/unsendable", test_unsendable);
    g_test_add_func("/fast/two-paths", test_two_paths);
    g_test_add_func("/fast/beside", test_beside);
    g_test_add_func("/fast/rebind", test_rebind);
    g_test_add_func("/fast/no-descriptors", test_no_descriptors);
    g_test_add_func("/fast/threads", test_threads);
    return g_test_run();
}
