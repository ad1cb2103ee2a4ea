/* The MSS in a SYN: found wherever it stands, lowered, the checksum as if it had been so from the beginning. */
#include "packets.h"

#include "tincan/packet/clamp.h"

#define SYN 0x02
#define OPTIONS 20

/* A SYN with these options (padded with zeros to OPTIONS bytes). */
static size_t make_syn(uint8_t *packet, bool ip6, bool complete, uint8_t flags, const uint8_t *options) {
    Shape s = {.ip6 = ip6, .complete = complete, .options = OPTIONS, .flags = flags, .sport = 40000, .dport = 80,
               .sequence = 0x12345678, .ttl = 64};
    size_t n = make_packet(packet, &s), at = shape_ip_header(&s);
    memcpy(packet + at + 20, options, OPTIONS);
    if (complete) {
        put16(packet + at + 16, 0);
        put16(packet + at + 16, ~sum_up(pseudo_sum(packet, ip6, IPPROTO_TCP, n - at), packet + at, n - at));
    }
    return n;
}

static bool clamp(uint8_t *packet, size_t n, size_t mtu, bool partial) {
    g_autofree uint8_t *exact = g_memdup2(packet, n);
    bool changed = ipop_clamp_mss(exact, n, mtu, partial);
    memcpy(packet, exact, n);
    return changed;
}

static void test_lowered(void) {
    static uint8_t packet[PACKET_MAX], expected[PACKET_MAX];
    for (unsigned i = 0; i < 4000; i++) {
        bool ip6 = g_test_rand_bit(), complete = g_test_rand_bit();
        unsigned at = (unsigned)g_test_rand_int_range(0, OPTIONS - 3); /* also at odd places */
        uint8_t options[OPTIONS];
        memset(options, 1, sizeof options);
        unsigned mss = (unsigned)g_test_rand_int_range(0, 65536), mtu = (unsigned)g_test_rand_int_range(1280, 9000);
        unsigned fits = mtu - (ip6 ? 60 : 40);
        options[at] = 2, options[at + 1] = 4;
        put16(options + at + 2, mss);
        uint8_t flags = g_test_rand_bit() ? SYN : SYN | 0x10;
        size_t n = make_syn(packet, ip6, complete, flags, options);
        put16(options + at + 2, MIN(mss, fits));
        make_syn(expected, ip6, complete, flags, options);
        g_assert_true(clamp(packet, n, mtu, !complete) == (mss > fits));
        /* 0 and 0xffff are the same sum. */
        size_t sum = (ip6 ? 40 : 20) + 16;
        if (at16(packet + sum) % 0xffff == at16(expected + sum) % 0xffff)
            memcpy(packet + sum, expected + sum, 2);
        g_assert_true(memcmp(packet, expected, n) == 0);
    }
}

static void unchanged(const uint8_t *packet, size_t n, size_t mtu) {
    g_autofree uint8_t *exact = g_memdup2(packet, n);
    g_assert_false(ipop_clamp_mss(exact, n, mtu, false));
    g_assert_true(n == 0 || memcmp(exact, packet, n) == 0);
}

static void test_left_alone(void) {
    static uint8_t packet[PACKET_MAX];
    static const uint8_t good[OPTIONS] = {2, 4, 0x23, 0x28, 1, 1, 1, 1};
    static const uint8_t bad[][OPTIONS] = {
        {1, 1, 1, 1, 0, 2, 4, 0x23, 0x28},             /* behind the end */
        {8, 10, 1, 2, 3, 4, 5, 6, 7, 8},               /* there is none */
        {2, 5, 0x23, 0x28, 0},                         /* of another length */
        {3, 0, 2, 4, 0x23, 0x28},                      /* an option of no length */
        {3, 1, 2, 4, 0x23, 0x28},
        {3, 40, 2, 4, 0x23, 0x28},                     /* beyond the header */
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 0x23},
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2},
    };
    size_t n = make_syn(packet, false, true, SYN, good);
    for (size_t cut = 0; cut < n; cut++)
        unchanged(packet, cut, 1400);
    unchanged(packet, n, 40);
    unchanged(packet, n, 9040); /* it fits */
    packet[6] = 0x20;           /* a fragment */
    unchanged(packet, n, 1400);
    unchanged(packet, make_syn(packet, false, true, 0x10, good), 1400); /* no SYN */
    packet[9] = IPPROTO_UDP;
    unchanged(packet, n, 1400);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        unchanged(packet, make_syn(packet, i % 2, true, SYN, bad[i]), 1400);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clamp/lowered", test_lowered);
    g_test_add_func("/clamp/left-alone", test_left_alone);
    return g_test_run();
}
