/* Two nodes and a way that takes less than they would like: what becomes of packets of all kinds. */
#include "tests/unit/packets.h"
#include "tests/unit/twin.h"

#include "tincan/base/secret.h"
#include "tincan/packet/headers.h"
#include "tincan/packet/vnet.h"

#include <poll.h>
#include <unistd.h>

#define DEVICE_MTU 1443
#define AROUND 28
#define OVERHEAD 29
#define ROOM (IPOP_VNET_HEADER + PACKET_MAX)

static size_t takes;       /* the longest datagram that the wire carries */
static unsigned swallowed; /* longer ones */
static bool no_answers;    /* to pings and probes of node 0 */

static bool narrow(Twin *twin, int from, uint8_t *datagram, size_t n) {
    swallowed += n > takes;
    return n <= takes && !(no_answers && from == 1 && n == IPOP_WIRE_DATA_HEADER + 1 + 8 + IPOP_WIRE_TAG);
}

static void turn(gint64 begun, const char *what) {
    if (g_get_monotonic_time() - begun > 20 * G_USEC_PER_SEC)
        g_error("still waiting for: %s", what);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_usleep(500);
}

#define WAIT(condition)                         \
    do {                                        \
        gint64 begun_ = g_get_monotonic_time(); \
        while (!(condition))                    \
            turn(begun_, #condition);           \
    } while (0)

static void connect_over(Twin *twin, size_t path) {
    takes = path - AROUND;
    twin->around = AROUND;
    twin->wire = narrow;
    for (int side = 0; side < 2; side++)
        ipop_tunnel_set_mtu(twin->node[side].tunnel_peer, DEVICE_MTU);
    ipop_tunnel_set_local(twin->node[0].tunnel, "10.0.0.1", "fd00::1");
    ipop_tunnel_set_local(twin->node[1].tunnel, "10.0.0.2", "fd00::2");
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
}

static void wait_mtu(Twin *twin, unsigned mtu) {
    WAIT(twin->node[0].mtu == mtu && twin->node[1].mtu == mtu);
    for (int side = 0; side < 2; side++) {
        /* What was answered to that has arrived, too. */
        ipop_tunnel_sync(twin->node[side].tunnel);
        g_assert_cmpuint(atomic_load(&ipop_tunnel_peer_counters(twin->node[side].tunnel_peer)->mtu), ==, mtu);
    }
}

static Twin *twin_over(size_t path) {
    Twin *twin = twin_new();
    connect_over(twin, path);
    wait_mtu(twin, (unsigned)path - AROUND - OVERHEAD);
    return twin;
}

static uint64_t too_big(const Twin *twin) {
    return atomic_load(&ipop_tunnel_peer_counters(twin->node[0].tunnel_peer)->drops[IPOP_DROP_TOO_BIG]);
}

/* From node 0 to node 1, n bytes in all. */
static size_t make(uint8_t *packet, Shape s, size_t n) {
    s.ttl = 64;
    s.payload = n - shape_header(&s);
    make_packet(packet, &s);
    if (s.ip6) {
        memcpy(packet + 8, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
        memcpy(packet + 24, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16);
    } else {
        memcpy(packet + 12, "\12\0\0\1\12\0\0\2", 8);
        put16(packet + 10, 0);
        put16(packet + 10, ~sum_up(0, packet, 20));
    }
    return n;
}

static void send_packet(Twin *twin, const uint8_t *packet, size_t n) {
    g_assert_cmpint(write(twin->node[0].tun, packet, n), ==, n);
}

static ssize_t receive(TwinNode *node, uint8_t *packet) {
    WAIT(!twin_silent(node));
    return read(node->tun, packet, ROOM);
}

static void arrives(Twin *twin, Shape s, size_t n) {
    static uint8_t packet[ROOM], got[ROOM];
    make(packet, s, n);
    send_packet(twin, packet, n);
    g_assert_cmpint(receive(&twin->node[1], got), ==, n);
    g_assert_true(memcmp(packet, got, n) == 0);
}

static void is_refused(Twin *twin, Shape s, size_t n, size_t mtu) {
    static uint8_t packet[ROOM], got[ROOM];
    uint64_t before = too_big(twin);
    make(packet, s, n);
    send_packet(twin, packet, n);
    ssize_t got_n = receive(&twin->node[0], got);
    size_t header = s.ip6 ? 40 : 20;
    g_assert_cmpint(got_n, >, header + 8 + 48);
    g_assert_cmpuint(got[s.ip6 ? 6 : 9], ==, s.ip6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    g_assert_true(memcmp(got + (s.ip6 ? 24 : 16), packet + (s.ip6 ? 8 : 12), s.ip6 ? 16 : 4) == 0);
    g_assert_cmpuint(at16(got + header + 6), ==, mtu);
    g_assert_true(memcmp(got + header + 8, packet, (size_t)got_n - header - 8) == 0);
    WAIT(too_big(twin) == before + 1); /* counted behind the answer */
    g_assert_true(twin_silent(&twin->node[1]));
}

static const Shape udp4 = {.udp = true}, udp4_df = {.udp = true, .df = true}, udp6 = {.udp = true, .ip6 = true};

static void test_whole(void) {
    Twin *twin = twin_over(1500);
    arrives(twin, udp4_df, DEVICE_MTU);
    arrives(twin, udp6, DEVICE_MTU);
    g_assert_cmpuint(twin->node[0].holes, ==, 0);
    twin_free(twin);
}

/* The edges, by two bytes. */
static void test_edges(void) {
    Twin *twin = twin_over(1400);
    const size_t mtu = 1400 - AROUND - OVERHEAD;
    swallowed = 0;
    for (size_t n = mtu - 2; n <= mtu + 2; n++)
        arrives(twin, udp4, n);
    for (size_t n = mtu - 2; n <= mtu; n++) {
        arrives(twin, udp4_df, n);
        arrives(twin, udp6, n);
    }
    arrives(twin, udp4, 4000);
    g_assert_cmpuint(too_big(twin), ==, 0);
    Shape s = udp4_df, s6 = udp6;
    for (size_t n = mtu + 1; n <= mtu + 2; n++, s.sport++, s6.sport++) {
        is_refused(twin, s, n, mtu);
        is_refused(twin, s6, n, mtu);
    }
    g_assert_cmpuint(swallowed, ==, 0);
    twin_free(twin);
}

/* Nobody is told of less than 1280: what is between goes in pieces. */
static void test_below_1280(void) {
    Twin *twin = twin_over(1300);
    arrives(twin, udp4_df, 1280);
    arrives(twin, udp6, 1280);
    is_refused(twin, udp4_df, 1281, 1280);
    is_refused(twin, udp6, 1281, 1280);
    twin_free(twin);

    twin = twin_over(576);
    arrives(twin, udp4_df, 1280);
    arrives(twin, udp6, 1280);
    arrives(twin, udp4, 9000);
    twin_free(twin);
}

/* As long as nothing is known everything arrives, in pieces. */
static void test_unknown(void) {
    Twin *twin = twin_new();
    no_answers = true;
    connect_over(twin, 1400);
    for (unsigned i = 0; i < 100; i++) {
        arrives(twin, udp4_df, DEVICE_MTU);
        arrives(twin, udp6, DEVICE_MTU);
    }
    g_assert_cmpuint(twin->node[0].mtu, ==, 0);
    no_answers = false;
    twin_free(twin);
}

static void test_limited(void) {
    Twin *twin = twin_over(1400);
    uint8_t packet[ROOM];
    is_refused(twin, udp6, 1400, 1343);
    for (unsigned i = 0; i < 5; i++)
        send_packet(twin, packet, make(packet, udp6, 1400));
    WAIT(too_big(twin) == 6);
    g_assert_true(twin_silent(&twin->node[0])); /* said a moment ago */
    twin_free(twin);
}

/* The way narrows in the middle: found, and the sender is told of what it lost. */
static void test_black_hole(void) {
    Twin *twin = twin_over(1500);
    static uint8_t packet[ROOM], got[ROOM];
    Shape s = {.df = true, .complete = true, .flags = 0x10, .sport = 1234};
    takes = 1400 - AROUND;
    gint64 begun = g_get_monotonic_time();
    while (twin->node[0].holes == 0) {
        send_packet(twin, packet, make(packet, s, 1400));
        turn(begun, "a black hole");
        g_usleep(5000);
    }
    g_assert_cmpint(receive(&twin->node[0], got), >, 48);
    g_assert_true(got[20] == 3 && got[21] == 4);
    g_assert_true(memcmp(got + 28, packet, 48) == 0);
    g_assert_cmpuint(at16(got + 26), >=, 1280);
    g_assert_cmpuint(at16(got + 26), <=, 1343);
    WAIT(twin->node[0].mtu == 1343);
    g_assert_cmpuint(twin->node[0].holes, ==, 1);
    g_assert_cmpuint(twin->node[1].mtu, ==, DEVICE_MTU); /* the way back is another */
    twin_free(twin);
}

/* A new way begins at the beginning, and may turn out larger. */
static void test_new_generation(void) {
    Twin *twin = twin_over(1400);
    takes = 1500 - AROUND;
    twin_connect(twin, 2);
    wait_mtu(twin, DEVICE_MTU);
    arrives(twin, udp4_df, DEVICE_MTU);
    twin_free(twin);
}

static void test_device_mtu(void) {
    Twin *twin = twin_over(1500);
    for (int side = 0; side < 2; side++)
        ipop_tunnel_set_mtu(twin->node[side].tunnel_peer, 1300);
    wait_mtu(twin, 1300);
    twin_free(twin);
}

/* TCP's super-packets are cut to what fits, though the kernel meant more: nothing is lost, nothing sent again. */
static void test_super_packets(void) {
    static uint8_t buffer[ROOM], got[ROOM], stream[ROOM];
    Twin *twin = twin_new_vnet();
    connect_over(twin, 1400);
    wait_mtu(twin, 1343);
    swallowed = 0;
    for (unsigned ip6 = 0; ip6 < 2; ip6++) {
        Shape s = {.ip6 = ip6, .df = true, .options = 12, .flags = 0x10, .sequence = 77};
        size_t payload = 30000, header = shape_header(&s), at = 0;
        IpopVnetHeader vnet = shape_vnet(&s, DEVICE_MTU - header);
        memcpy(buffer, &vnet, sizeof vnet);
        make(buffer + IPOP_VNET_HEADER, s, header + payload);
        memcpy(stream, buffer + IPOP_VNET_HEADER + header, payload);
        send_packet(twin, buffer, IPOP_VNET_HEADER + header + payload);
        while (at < payload) {
            size_t n = (size_t)receive(&twin->node[1], got) - IPOP_VNET_HEADER - header;
            IpopVnetHeader got_vnet;
            memcpy(&got_vnet, got, sizeof got_vnet);
            g_assert_cmpuint(header + got_vnet.gso_size, <=, 1343);
            g_assert_cmpuint(ipop_get32(got + IPOP_VNET_HEADER + header - 32 + 4), ==, 77 + at);
            g_assert_true(at + n <= payload && memcmp(stream + at, got + IPOP_VNET_HEADER + header, n) == 0);
            at += n;
        }
        /* And it is told, for the next time. */
        ssize_t n = receive(&twin->node[0], got);
        g_assert_cmpint(n, >, IPOP_VNET_HEADER + 48);
        g_assert_cmpuint(got[IPOP_VNET_HEADER + (ip6 ? 6 : 9)], ==, ip6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    }
    g_assert_cmpuint(swallowed, ==, 0);
    g_assert_cmpuint(too_big(twin), ==, 0);
    twin_free(twin);
}

static unsigned mss_after(Twin *twin, unsigned mss) {
    static uint8_t packet[ROOM], got[ROOM];
    Shape s = {.complete = true, .options = 4, .flags = 0x02};
    size_t n = make(packet, s, 44);
    memcpy(packet + 40, "\2\4", 2);
    put16(packet + 42, mss);
    put16(packet + 36, 0);
    put16(packet + 36, ~sum_up(pseudo_sum(packet, false, IPPROTO_TCP, 24), packet + 20, 24));
    send_packet(twin, packet, n);
    g_assert_cmpint(receive(&twin->node[1], got), ==, n);
    g_assert_cmpuint(sum_up(pseudo_sum(got, false, IPPROTO_TCP, 24), got + 20, 24), ==, 0xffff);
    return at16(got + 42);
}

/* Only for hosts behind a node, at the sending and at the receiving end; the node's own kernel knows by itself. */
static void test_clamp(void) {
    Twin *twin = twin_over(1400);
    g_assert_cmpuint(mss_after(twin, 9000), ==, 9000);
    for (int side = 0; side < 2; side++) {
        ipop_tunnel_set_local(twin->node[side].tunnel, "10.0.0.99", "");
        ipop_tunnel_sync(twin->node[side].tunnel);
        g_assert_cmpuint(mss_after(twin, 9000), ==, 1343 - 40);
        g_assert_cmpuint(mss_after(twin, 1000), ==, 1000);
        ipop_tunnel_set_local(twin->node[side].tunnel, side ? "10.0.0.2" : "10.0.0.1", "");
        ipop_tunnel_sync(twin->node[side].tunnel);
    }
    g_assert_cmpuint(mss_after(twin, 9000), ==, 9000);
    twin_free(twin);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/mtu/whole", test_whole);
    g_test_add_func("/mtu/edges", test_edges);
    g_test_add_func("/mtu/below-1280", test_below_1280);
    g_test_add_func("/mtu/unknown", test_unknown);
    g_test_add_func("/mtu/limited", test_limited);
    g_test_add_func("/mtu/black-hole", test_black_hole);
    g_test_add_func("/mtu/new-generation", test_new_generation);
    g_test_add_func("/mtu/device-mtu", test_device_mtu);
    g_test_add_func("/mtu/super-packets", test_super_packets);
    g_test_add_func("/mtu/clamp", test_clamp);
    return g_test_run();
}
