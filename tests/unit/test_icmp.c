/* "Too big" messages: their bytes, when there must be none, and how many. */
#include "packets.h"

#include "tincan/packet/icmp.h"

#define SECOND INT64_C(1000000)

/* Of just so many bytes, so that reading beyond is seen. */
static size_t make(const uint8_t *packet, size_t n, size_t mtu, uint8_t *ret) {
    g_autofree uint8_t *exact = g_memdup2(packet, n);
    return ipop_icmp_too_big(exact, n, mtu, ret);
}

static void check4(const uint8_t *packet, size_t n, size_t mtu) {
    uint8_t icmp[IPOP_ICMP_MAX];
    size_t quote = MIN(n, IPOP_ICMP_MAX - 28);
    g_assert_cmpuint(make(packet, n, mtu, icmp), ==, 28 + quote);
    g_assert_cmpuint(icmp[0], ==, 0x45);
    g_assert_cmpuint(at16(icmp + 2), ==, 28 + quote);
    g_assert_cmpuint(icmp[9], ==, IPPROTO_ICMP);
    g_assert_cmpuint(sum_up(0, icmp, 20), ==, 0xffff);
    g_assert_true(memcmp(icmp + 12, packet + 16, 4) == 0 && memcmp(icmp + 16, packet + 12, 4) == 0);
    g_assert_true(icmp[20] == 3 && icmp[21] == 4 && at16(icmp + 24) == 0 && at16(icmp + 26) == mtu);
    g_assert_cmpuint(sum_up(0, icmp + 20, 8 + quote), ==, 0xffff);
    g_assert_true(memcmp(icmp + 28, packet, quote) == 0);
}

static void check6(const uint8_t *packet, size_t n, size_t mtu) {
    uint8_t icmp[IPOP_ICMP_MAX];
    size_t quote = MIN(n, IPOP_ICMP_MAX - 48);
    g_assert_cmpuint(make(packet, n, mtu, icmp), ==, 48 + quote);
    g_assert_cmpuint(icmp[0], ==, 0x60);
    g_assert_cmpuint(at16(icmp + 4), ==, 8 + quote);
    g_assert_cmpuint(icmp[6], ==, IPPROTO_ICMPV6);
    g_assert_true(memcmp(icmp + 8, packet + 24, 16) == 0 && memcmp(icmp + 24, packet + 8, 16) == 0);
    g_assert_true(icmp[40] == 2 && icmp[41] == 0 && at16(icmp + 44) == 0 && at16(icmp + 46) == mtu);
    g_assert_cmpuint(sum_up(pseudo_sum(icmp, true, IPPROTO_ICMPV6, 8 + quote), icmp + 40, 8 + quote), ==, 0xffff);
    g_assert_true(memcmp(icmp + 48, packet, quote) == 0);
}

static void test_bytes(void) {
    static uint8_t packet[PACKET_MAX];
    for (unsigned i = 0; i < 2000; i++) {
        Shape s;
        shape_random(&s);
        s.payload = (size_t)g_test_rand_int_range(0, 1460);
        s.ip_extra = g_test_rand_bit() ? 0 : 8;
        s.host = (uint8_t)g_test_rand_int_range(2, 250);
        size_t n = make_packet(packet, &s), mtu = (size_t)g_test_rand_int_range(1280, 9000);
        size_t there = MAX(MIN(n, (size_t)g_test_rand_int_range(48, 1400)), shape_header(&s));
        (s.ip6 ? check6 : check4)(packet, there, mtu);
        if (n >= IPOP_ICMP_QUOTE)
            (s.ip6 ? check6 : check4)(packet, IPOP_ICMP_QUOTE, mtu);
    }
}

static void refused(const uint8_t *packet, size_t n) {
    uint8_t icmp[IPOP_ICMP_MAX];
    g_assert_cmpuint(make(packet, n, 1280, icmp), ==, 0);
}

static void test_none4(void) {
    static uint8_t good[PACKET_MAX], packet[PACKET_MAX];
    size_t n = make_packet(good, &(Shape){.udp = true, .payload = 100});
    check4(good, n, 1280);
    for (size_t cut = 0; cut < 28; cut++)
        refused(good, cut);
    memcpy(packet, good, n);
    packet[7] = 1; /* a later fragment */
    refused(packet, n);
    packet[6] = 0x20, packet[7] = 0; /* the first one */
    check4(packet, n, 1280);
    static const uint8_t addresses[][4] = {{0, 0, 0, 0}, {127, 0, 0, 1}, {224, 0, 0, 5}, {255, 255, 255, 255}};
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(addresses); i++) {
        memcpy(packet, good, n);
        memcpy(packet + (i % 2 ? 12 : 16), addresses[i / 2], 4);
        refused(packet, n);
    }
    memcpy(packet, good, n);
    packet[0] = 0x44;
    refused(packet, n);
    packet[0] = 0x4f; /* a header of 60 bytes, of which 48 are there */
    refused(packet, 48);
    packet[0] = 0x45;
    packet[9] = IPPROTO_ICMP;
    for (unsigned type = 0; type < 256; type++) {
        packet[20] = (uint8_t)type;
        if (type == 0 || type == 8 || type == 13 || type == 14)
            check4(packet, n, 1280);
        else
            refused(packet, n);
    }
}

static void test_none6(void) {
    static uint8_t good[PACKET_MAX], packet[PACKET_MAX];
    size_t n = make_packet(good, &(Shape){.ip6 = true, .udp = true, .payload = 100});
    check6(good, n, 1280);
    for (size_t cut = 0; cut < 48; cut++)
        refused(good, cut);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(packet, good, n);
        packet[i ? 8 : 24] = 0xff;
        refused(packet, n);
        memcpy(packet, good, n);
        memset(packet + (i ? 8 : 24), 0, 16);
        refused(packet, n);
        packet[(i ? 8 : 24) + 15] = 1; /* ::1 */
        refused(packet, n);
    }
    memcpy(packet, good, n);
    packet[6] = IPPROTO_ICMPV6;
    packet[40] = 1;
    refused(packet, n);
    packet[40] = 128;
    check6(packet, n, 1280);
    packet[6] = IPPROTO_FRAGMENT;
    put16(packet + 42, 8);
    refused(packet, n);
    put16(packet + 42, 1); /* the first, and more */
    check6(packet, n, 1280);
    packet[0] = 0x50;
    refused(packet, n);
}

static void test_flow(void) {
    static uint8_t a[PACKET_MAX], b[PACKET_MAX];
    for (unsigned ip6 = 0; ip6 < 2; ip6++) {
        Shape s = {.ip6 = ip6, .payload = 1000, .sport = 1000, .dport = 2000, .host = 9};
        size_t n = make_packet(a, &s);
        Shape other = s;
        other.sequence += 1000, other.id++;
        make_packet(b, &other);
        g_assert_cmpuint(ipop_icmp_flow(a, n), ==, ipop_icmp_flow(b, n));
        other.sport++;
        make_packet(b, &other);
        g_assert_cmpuint(ipop_icmp_flow(a, n), !=, ipop_icmp_flow(b, n));
        other = s;
        other.host++;
        make_packet(b, &other);
        g_assert_cmpuint(ipop_icmp_flow(a, n), !=, ipop_icmp_flow(b, n));
        for (size_t cut = 0; cut < 70; cut++) {
            g_autofree uint8_t *exact = g_memdup2(a, cut);
            ipop_icmp_flow(exact, cut);
        }
    }
}

static void test_limit(void) {
    IpopIcmpLimit limit = {0};
    int64_t now = 7 * SECOND;
    g_assert_true(ipop_icmp_allow(&limit, 1, now));
    g_assert_false(ipop_icmp_allow(&limit, 1, now + SECOND / 10 - 1));
    g_assert_true(ipop_icmp_allow(&limit, 1, now + SECOND / 10));
    unsigned allowed = 2;
    for (uint32_t flow = 2; flow < 60; flow++)
        allowed += ipop_icmp_allow(&limit, flow, now + SECOND / 5);
    g_assert_cmpuint(allowed, ==, 32);
    g_assert_true(ipop_icmp_allow(&limit, 1, now + SECOND));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/icmp/bytes", test_bytes);
    g_test_add_func("/icmp/none-ip4", test_none4);
    g_test_add_func("/icmp/none-ip6", test_none6);
    g_test_add_func("/icmp/flow", test_flow);
    g_test_add_func("/icmp/limit", test_limit);
    return g_test_run();
}
