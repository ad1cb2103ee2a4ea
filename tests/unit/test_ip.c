/* Headers of IP packets, whole and contradictory. */
#include "tincan/packet/ip.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>

/* In an allocation of just that size, so that reading beyond is seen. */
static bool parse(const uint8_t *packet, size_t n, IpopIpInfo *ret) {
    uint8_t *exact = g_memdup2(packet, n);
    bool good = ipop_ip_parse(exact, n, ret);
    if (good) {
        g_assert_cmpuint(ret->length, <=, n);
        g_assert_true(ret->source > exact && ret->source < exact + n);
        g_assert_true(ret->dest > ret->source && ret->dest + (ret->family == AF_INET ? 4 : 16) <= exact + n);
        ret->source = packet + (ret->source - exact);
        ret->dest = packet + (ret->dest - exact);
    }
    g_free(exact);
    return good;
}

static size_t make4(uint8_t *packet, unsigned ihl, unsigned total) {
    memset(packet, 0, 128);
    packet[0] = (uint8_t)(0x40 | ihl);
    packet[2] = (uint8_t)(total >> 8);
    packet[3] = (uint8_t)total;
    memcpy(packet + 12, "\xac\x1f\x00\x01\xac\x1f\x00\x02", 8);
    return total;
}

static size_t make6(uint8_t *packet, unsigned payload) {
    memset(packet, 0, 128);
    packet[0] = 0x60;
    packet[4] = (uint8_t)(payload >> 8);
    packet[5] = (uint8_t)payload;
    memcpy(packet + 8, "source of an ip6", 16);
    memcpy(packet + 24, "destination, ip6", 16);
    return 40 + payload;
}

static void test_good(void) {
    uint8_t packet[128];
    IpopIpInfo info;
    size_t n = make4(packet, 5, 60);
    g_assert_true(parse(packet, n, &info));
    g_assert_cmpint(info.family, ==, AF_INET);
    g_assert_true(info.source == packet + 12 && info.dest == packet + 16);
    g_assert_cmpuint(info.length, ==, 60);

    n = make6(packet, 30);
    g_assert_true(parse(packet, n, &info));
    g_assert_cmpint(info.family, ==, AF_INET6);
    g_assert_true(info.source == packet + 8 && info.dest == packet + 24);
    g_assert_cmpuint(info.length, ==, 70);
}

/* The header's length counts; a frame from Ethernet may be padded behind it. */
static void test_padding(void) {
    uint8_t packet[128];
    IpopIpInfo info;
    make4(packet, 5, 21);
    g_assert_true(parse(packet, 46, &info));
    g_assert_cmpuint(info.length, ==, 21);
    make6(packet, 0);
    g_assert_true(parse(packet, 46, &info));
    g_assert_cmpuint(info.length, ==, 40);
}

static void test_every_length(void) {
    uint8_t packet[128];
    IpopIpInfo info;
    for (unsigned ihl = 0; ihl < 16; ihl++)
        for (unsigned total = 0; total < 128; total++)
            for (size_t n = 0; n < 128; n++) {
                make4(packet, ihl, total);
                bool good = ihl >= 5 && total >= ihl * 4 && total <= n;
                g_assert_true(parse(packet, n, &info) == good);
            }
    for (unsigned payload = 0; payload < 100; payload++)
        for (size_t n = 0; n < 128; n++) {
            make6(packet, payload);
            g_assert_true(parse(packet, n, &info) == (40 + payload <= n));
        }
    make6(packet, 65535);
    g_assert_false(parse(packet, 128, &info));
    make4(packet, 5, 65535);
    g_assert_false(parse(packet, 128, &info));
}

static void test_versions(void) {
    uint8_t packet[128];
    IpopIpInfo info, untouched = {.family = 42};
    for (unsigned version = 0; version < 16; version++) {
        make4(packet, 5, 60);
        packet[0] = (uint8_t)(version << 4 | 5);
        packet[4] = packet[5] = 0;
        info = untouched;
        bool good = parse(packet, 60, &info);
        g_assert_true(good == (version == 4 || version == 6));
        if (!good)
            g_assert_cmpint(info.family, ==, 42);
    }
}

/* A super-packet of the kernel's segmentation offload is as long as a header can say. */
static void test_largest(void) {
    g_autofree uint8_t *packet = g_malloc0(40 + 65535);
    IpopIpInfo info;
    make4(packet, 5, 65535);
    g_assert_true(ipop_ip_parse(packet, 65535, &info));
    g_assert_cmpuint(info.length, ==, 65535);
    make6(packet, 65535);
    g_assert_true(ipop_ip_parse(packet, 40 + 65535, &info));
    g_assert_cmpuint(info.length, ==, 40 + 65535);
    g_assert_false(ipop_ip_parse(packet, 40 + 65534, &info));
}

static bool multicast4(const char *dest) {
    return ipop_ip_is_multicast(&(IpopIpInfo){.family = AF_INET, .dest = (const uint8_t *)dest});
}

static void test_multicast(void) {
    g_assert_true(multicast4("\xe0\x00\x00\x01"));
    g_assert_true(multicast4("\xef\xff\xff\xff"));
    g_assert_true(multicast4("\xff\xff\xff\xff"));
    g_assert_false(multicast4("\xff\xff\xff\xfe"));
    g_assert_false(multicast4("\xf0\x00\x00\x01"));
    g_assert_false(multicast4("\xdf\xff\xff\xff"));
    uint8_t dest[16] = {0xff, 2};
    g_assert_true(ipop_ip_is_multicast(&(IpopIpInfo){.family = AF_INET6, .dest = dest}));
    dest[0] = 0xfe;
    g_assert_false(ipop_ip_is_multicast(&(IpopIpInfo){.family = AF_INET6, .dest = dest}));
    dest[0] = 0xe0;
    g_assert_false(ipop_ip_is_multicast(&(IpopIpInfo){.family = AF_INET6, .dest = dest}));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ip/good", test_good);
    g_test_add_func("/ip/padding", test_padding);
    g_test_add_func("/ip/every-length", test_every_length);
    g_test_add_func("/ip/versions", test_versions);
    g_test_add_func("/ip/largest", test_largest);
    g_test_add_func("/ip/multicast", test_multicast);
    return g_test_run();
}
