/* test_hostile.c - a device that lies about its super-packets, and an authenticated peer that sends whatever it likes: each
 * packet is carried or counted once, what goes on is well-formed, and costs no more than what came. */
#include "tests/unit/net.h"
#include "tests/unit/one_peer.h"
#include "tests/unit/packets.h"
#include "tincan/base/secret.h"
#include "tincan/link/fast.h"
#include "tincan/packet/ip.h"
#include "tincan/packet/segment.h"
#include "tincan/tun/device.h"

#define PEER4 "172.31.0.1" /* as packets.h has it for host 1; ours is .2 */
#define PEER6 "fd73:6f75:7263:6520:6f66:2061:6e20:6901"
#define ROUNDS 4000
#define WORSE 4 /* fields altered at most */

/* --- what the tunnel sends is opened here --- */

typedef struct {
    IpopPath base;
    OnePeer *one;
    unsigned packets; /* or pieces of them */
} Sink;

static bool is_packet(uint8_t kind) {
    kind &= (uint8_t)~IPOP_FRAME_PARTIAL_CHECKSUM;
    return kind == IPOP_FRAME_PACKET || kind == IPOP_FRAME_PIECE;
}

static void take_frame(Sink *sink, const uint8_t *frame, size_t n) {
    IpopIpInfo info;
    if (!is_packet(frame[0]))
        return;
    if ((frame[0] & IPOP_FRAME_KIND) == IPOP_FRAME_PACKET) {
        g_assert_true(ipop_ip_parse(frame + 1, n - 1, &info));
        g_assert_cmpuint(info.length, ==, n - 1);
    }
    sink->packets++;
}

static unsigned sink_send(IpopPath *base, const uint8_t *train, size_t n, size_t segment) {
    Sink *sink = (Sink *)base;
    static uint8_t frame[65536];
    unsigned count = 0;
    for (size_t at = 0; at < n; at += segment, count++) {
        size_t frame_n;
        g_assert_cmpint(ipop_session_open(sink->one->session, frame, train + at, MIN(segment, n - at), ipop_clock_now(), &frame_n),
                        ==, IPOP_OPEN_OK);
        take_frame(sink, frame, frame_n);
    }
    g_assert_cmpuint(count, <=, IPOP_TRAIN_SEGMENTS);
    return count;
}

static void sink_release(IpopPath *base) {
    g_free(base);
}

static Sink *sink_new(OnePeer *one) {
    Sink *sink = g_new0(Sink, 1);
    sink->base = (IpopPath){.refs = 1, .fd = -1, .burst = IPOP_TRAIN_SEGMENTS, .send = sink_send, .release = sink_release};
    sink->one = one;
    return sink;
}

/* --- lies --- */

static size_t random_size(size_t most) {
    static const size_t odd[] = {0, 1, 2, 7, 8, 19, 20, 28, 40, 255, 256, 1279, 1280, 1400, 1500, 32767, 32768, 65535};
    size_t n = g_test_rand_bit() ? odd[g_test_rand_int_range(0, G_N_ELEMENTS(odd))] : (size_t)g_test_rand_int_range(0, 65536);
    return MIN(n, most);
}

/* A super-packet as a kernel gives it, with some fields of the vnet header or the packet's headers altered, or cut off. */
static size_t make_lie(uint8_t *buffer) {
    Shape shape;
    shape_random(&shape);
    shape.host = 2; /* from us ... */
    shape.payload = random_size(60000);
    IpopVnetHeader vnet = shape_vnet(&shape, g_test_rand_bit() ? random_size(65535) : 1400);
    size_t n = IPOP_VNET_HEADER + make_packet(buffer + IPOP_VNET_HEADER, &shape);
    memcpy(buffer, &vnet, sizeof vnet);
    uint8_t *ip = buffer + IPOP_VNET_HEADER;
    if (shape.ip6) /* ... to the peer */
        memcpy(ip + 24, "\xfdsource of an i\1", 16);
    else
        ip[19] = 1;
    for (int i = g_test_rand_int_range(0, WORSE + 1); i > 0; i--)
        buffer[g_test_rand_int_range(0, MIN((int)n, 70))] = g_test_rand_bit() ? (uint8_t)g_test_rand_int() : 0;
    return g_test_rand_int_range(0, 8) ? n : (size_t)g_test_rand_int_range(1, (int)n + 1);
}

static void drain(int fd) {
    char byte;
    while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0)
        ;
}

/* The sockets stand for the device, so that it may say what it wants. */
static void test_device_lies(void) {
    OnePeer one;
    Sink *sink = sink_new(&one);
    int tun[2];
    g_autofree uint8_t *buffer = g_malloc(IPOP_VNET_HEADER + PACKET_MAX);
    unsigned carried = 0, dropped = 0;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun), ==, 0);
    one_peer_open(&one, &(IpopTunnelDevice){.fd = {tun[1]}, .queues = 1, .vnet = true, .join_udp = true}, &sink->base, PEER4, PEER6);
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t n = make_lie(buffer);
        uint64_t drops = one_peer_all_drops(&one);
        unsigned packets = sink->packets;
        g_assert_cmpint(write(tun[0], buffer, n), ==, n);
        ONE_PEER_WAIT(one_peer_all_drops(&one) > drops || sink->packets > packets);
        one_peer_settle(&one); /* behind all that came of it */
        dropped += one_peer_all_drops(&one) > drops;
        carried += sink->packets > packets;
        /* At most one byte of payload each. */
        g_assert_cmpuint(sink->packets - packets, <=, n);
        drain(tun[0]); /* what the tunnel answers: too big */
    }
    g_test_message("%u carried as %u packets, %u dropped", carried, sink->packets, dropped);
    g_assert_cmpuint(carried, >, ROUNDS / 10);
    g_assert_cmpuint(dropped, >, ROUNDS / 10);
    one_peer_close(&one);
    close(tun[0]);
    close(tun[1]);
}

/* --- a peer --- */

#define FLOWS 6 /* more than are joined at once */
#define BATCH 64

/* The next packet of a flow: mostly it continues it, and now and then it does not, or is altered. */
static size_t next_frame(Shape *flow, uint8_t *frame) {
    if (g_test_rand_int_range(0, 20) == 0)
        shape_random(flow);
    flow->host = 1;
    flow->complete = g_test_rand_int_range(0, 4) == 0;
    flow->payload = g_test_rand_bit() ? 1 : (size_t)g_test_rand_int_range(0, 1300);
    if (g_test_rand_int_range(0, 10) == 0)
        flow->flags = (uint8_t)g_test_rand_int(); /* SYN and RST, URG, nothing: as they come */
    size_t n = make_packet(frame + 1, flow);
    if (flow->ip6)
        memcpy(frame + 1 + 24, "\xfdsource of an i\2", 16);
    else
        frame[1 + 19] = 2;
    flow->sequence += (uint32_t)flow->payload;
    flow->offset += flow->payload;
    flow->id++;
    frame[0] = g_test_rand_int_range(0, 4) ? IPOP_FRAME_PACKET | IPOP_FRAME_PARTIAL_CHECKSUM : IPOP_FRAME_PACKET;
    if (g_test_rand_int_range(0, 3) == 0)
        for (int i = g_test_rand_int_range(1, WORSE); i > 0; i--)
            frame[g_test_rand_int_range(0, (int)MIN(n, 60))] = (uint8_t)g_test_rand_int();
    return 1 + n;
}

static uint64_t received(const OnePeer *one) {
    return atomic_load(&ipop_tunnel_peer_counters(one->peer)->recv_packets);
}

/* Into a real device: the kernel takes whatever is made of it. */
static void test_peer_lies(void) {
    g_autoptr(GError) error = NULL;
    IpopTun *tun = ipop_tun_open("ipophost", &error);
    g_assert_no_error(error);
    IpopTunConfig config = {.ip4 = "172.31.0.2", .ip4_mask = 24, .ip6 = "fd73:6f75:7263:6520:6f66:2061:6e20:6902", .ip6_mask = 64,
                            .mtu = 1400};
    bool no_ip6;
    g_assert_true(ipop_tun_configure(tun, &config, &no_ip6, &error));
    OnePeer one;
    Sink *sink = sink_new(&one);
    Shape flows[FLOWS];
    uint8_t frame[2048];
    IpopTunnelDevice device = {.fd = {ipop_tun_fd(tun, 0)}, .queues = 1, .vnet = ipop_tun_vnet(tun), .join_udp = ipop_tun_uso(tun)};
    one_peer_open(&one, &device, &sink->base, PEER4, PEER6);
    for (unsigned i = 0; i < FLOWS; i++)
        shape_random(&flows[i]);
    for (unsigned i = 0; i < ROUNDS * 5; i++) {
        size_t n = next_frame(&flows[g_test_rand_int_range(0, FLOWS)], frame);
        one_peer_frame(&one, frame, n);
        if (i % BATCH == 0)
            one_peer_settle(&one);
    }
    one_peer_settle(&one);
    g_test_message("%" G_GUINT64_FORMAT " taken, %" G_GUINT64_FORMAT " dropped, %u answers", received(&one),
                   one_peer_all_drops(&one), sink->packets);
    g_assert_cmpuint(one_peer_drops(&one, IPOP_DROP_DEVICE), ==, 0);
    g_assert_cmpuint(one_peer_drops(&one, IPOP_DROP_QUEUE), ==, 0);
    g_assert_cmpuint(received(&one), >, ROUNDS);
    one_peer_close(&one);
    ipop_tun_close(tun);
}

/* What is written to the device is in sum no more than what came, though every packet has a header of its own. */
static void test_peer_costs(void) {
    OnePeer one;
    Sink *sink = sink_new(&one);
    int tun[2];
    Shape flow = {.ttl = 64, .flags = 0x10, .df = true, .sport = 1, .dport = 2, .host = 1, .payload = 1};
    uint8_t frame[2048], got[65536];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun), ==, 0);
    one_peer_open(&one, &(IpopTunnelDevice){.fd = {tun[1]}, .queues = 1, .vnet = true, .join_udp = true}, &sink->base, PEER4, PEER6);
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        size_t in = 0, out = 0;
        ssize_t n;
        flow.udp = i % 2;
        for (unsigned k = 0; k < 8; k++) { /* a socket pair holds ten */
            frame[0] = IPOP_FRAME_PACKET | IPOP_FRAME_PARTIAL_CHECKSUM;
            flow.flags = i % 3 ? 0x10 : 0x18;
            in += make_packet(frame + 1, &flow);
            one_peer_frame(&one, frame, 1 + shape_header(&flow) + flow.payload);
            flow.sequence++;
            flow.id++;
        }
        one_peer_settle(&one);
        while ((n = recv(tun[0], got, sizeof got, MSG_DONTWAIT)) > 0)
            out += (size_t)n - IPOP_VNET_HEADER;
        g_assert_cmpuint(out, <=, in);
    }
    g_assert_cmpuint(one_peer_all_drops(&one), ==, 0);
    one_peer_close(&one);
    close(tun[0]);
    close(tun[1]);
}

static int open_negotiator(uint16_t *ret_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a630001)};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, n), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &n), ==, 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* By real sockets, joined by the kernel: as long as it can be, as many as there can be, as short as can be. */
static void test_trains_of_rubbish(void) {
    static const struct {
        size_t n, segment;
    } trains[] = {{65507, 65507}, {45 * 1400, 1400}, {64 * IPOP_WIRE_DATA_OVERHEAD, IPOP_WIRE_DATA_OVERHEAD}, {64, 1}, {63 * 2 + 1, 2}};
    uint16_t here, there;
    int negotiators[] = {open_negotiator(&here), open_negotiator(&there)}, tun[2];
    IpopFast *fast = ipop_fast_new(negotiators[0]), *far = ipop_fast_new(negotiators[1]);
    IpopPath *from = ipop_fast_path(far, "10.99.0.1", here);
    g_autofree uint8_t *train = g_malloc(65507);
    uint64_t expected = 0;
    OnePeer one;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun), ==, 0);
    one_peer_open(&one, &(IpopTunnelDevice){.fd = {tun[1]}, .queues = 1}, ipop_fast_path(fast, "10.99.0.1", there), PEER4, "");
    memset(train, IPOP_WIRE_DATA, 65507); /* an index that nobody has, or too short to have one */
    for (unsigned i = 0; i < G_N_ELEMENTS(trains); i++)
        expected += from->send(from, train, trains[i].n, trains[i].segment);
    g_assert_cmpuint(expected, ==, 1 + 45 + 64 + 64 + 64);
    ONE_PEER_WAIT(one_peer_all_drops(&one) == expected);
    g_assert_cmpuint(one_peer_drops(&one, IPOP_DROP_NO_SESSION), ==, 1 + 45 + 64);
    one_peer_close(&one);
    ipop_path_unref(from);
    ipop_fast_close(fast);
    ipop_fast_close(far);
    for (int i = 0; i < 2; i++) {
        close(negotiators[i]);
        close(tun[i]);
    }
}

static void test_impossible(void) {
    g_test_skip("needs root and /dev/net/tun");
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/hostile/device-lies", test_device_lies);
    g_test_add_func("/hostile/peer-costs", test_peer_costs);
    if (access("/dev/net/tun", R_OK | W_OK) == 0 && net_enter()) {
        g_test_add_func("/hostile/peer-lies", test_peer_lies);
        g_test_add_func("/hostile/trains-of-rubbish", test_trains_of_rubbish);
    } else {
        g_test_add_func("/hostile/others", test_impossible);
    }
    return g_test_run();
}
