/* Packets of a local program, and pieces of them: what is said of one is a packet that carries the quote and right
 * sums; and lowering the MSS changes the MSS and the checksum alone. */
#include "tincan/packet/clamp.h"
#include "tincan/packet/headers.h"
#include "tincan/packet/icmp.h"
#include "tincan/packet/ip.h"

#include <glib.h>
#include <string.h>

#define MTU 1400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_icmp(const uint8_t *packet, size_t n) {
    uint8_t icmp[IPOP_ICMP_MAX];
    IpopIpInfo ip;
    size_t length = ipop_icmp_too_big(packet, n, MTU, icmp);
    ipop_icmp_flow(packet, n);
    if (length == 0)
        return;
    g_assert(length <= IPOP_ICMP_MAX && ipop_ip_parse(icmp, length, &ip) && ip.length == length);
    size_t quote = length - (ip.family == AF_INET ? 28 : 48);
    g_assert(quote <= n && memcmp(icmp + length - quote, packet, quote) == 0);
    g_assert(ip.family == AF_INET6 || ipop_checksum_fold(ipop_checksum_add(0, icmp, 20)) == 0xffff);
    uint8_t again[IPOP_ICMP_MAX];
    g_assert(ipop_icmp_too_big(icmp, length, MTU, again) == 0); /* no error about an error */
}

static uint16_t transport_sum(const uint8_t *packet, const IpopHeaders *h) {
    uint64_t sum = ipop_checksum_pseudo(packet, h->family, h->protocol) + htons((uint16_t)(h->length - h->transport));
    return ipop_checksum_fold(ipop_checksum_add(sum, packet + h->transport, h->length - h->transport));
}

static void check_clamp(uint8_t *packet, size_t n) {
    IpopHeaders h;
    bool known = ipop_headers_parse(packet, n, &h);
    uint16_t before = known ? transport_sum(packet, &h) : 0;
    g_autofree uint8_t *original = g_memdup2(packet, n);
    if (!ipop_clamp_mss(packet, n, MTU, false)) {
        g_assert(n == 0 || memcmp(original, packet, n) == 0);
        return;
    }
    g_assert(known && h.protocol == IPPROTO_TCP && transport_sum(packet, &h) % 0xffff == before % 0xffff);
    g_assert(!ipop_clamp_mss(packet, n, MTU, false));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    check_icmp(data, n);
    uint8_t *packet = g_memdup2(data, n);
    check_clamp(packet, n);
    g_free(packet);
    return 0;
}
