#include "tincan/packet/icmp.h"

#include "tincan/packet/headers.h"

#include <glib.h>
#include <string.h>

#define ICMP_HEADER 8
#define ICMP4_UNREACHABLE 3
#define ICMP4_FRAGMENTATION_NEEDED 4
#define ICMP6_TOO_BIG 2
#define HOP_LIMIT 64
#define SECOND INT64_C(1000000)
#define FLOW_INTERVAL (SECOND / 10)
#define PER_SECOND 32

/* Queries and answers; all others are, or may be, errors. */
static bool is_icmp4_error(uint8_t type) {
    return type != 0 && type != 8 && type != 13 && type != 14;
}

static bool is_unicast4(const uint8_t *address) {
    return address[0] != 0 && address[0] != 127 && address[0] < 224;
}

static bool may_answer4(const uint8_t *packet, size_t n, size_t header) {
    return !(ipop_get16(packet + 6) & 0x1fff) && is_unicast4(packet + 12) && is_unicast4(packet + 16) &&
           !(packet[9] == IPPROTO_ICMP && is_icmp4_error(packet[header]));
}

static bool is_unicast6(const uint8_t *address) {
    static const uint8_t none[15];
    return address[0] != 0xff && (memcmp(address, none, sizeof none) != 0 || address[15] > 1);
}

/* Errors have types below 128. A fragment header is looked behind only as far as its offset. */
static bool may_answer6(const uint8_t *packet, size_t n) {
    const uint8_t *next = packet + IPOP_IP6_HEADER;
    bool later = packet[6] == IPPROTO_FRAGMENT && ipop_get16(next + 2) & 0xfff8;
    bool error = packet[6] == IPPROTO_ICMPV6 && next[0] < 128;
    return !later && !error && is_unicast6(packet + 8) && is_unicast6(packet + 24);
}

static void put_checksum(uint8_t *at, uint64_t sum) {
    uint16_t checksum = (uint16_t)~ipop_checksum_fold(sum);
    memcpy(at, &checksum, sizeof checksum);
}

static size_t make4(const uint8_t *packet, size_t quote, size_t mtu, uint8_t *ret) {
    size_t n = IPOP_IP4_HEADER + ICMP_HEADER + quote;
    memset(ret, 0, IPOP_IP4_HEADER + ICMP_HEADER);
    ret[0] = 0x45;
    ret[1] = 0xc0; /* internetwork control: RFC 1812, section 4.3.2.5 */
    ipop_put16(ret + 2, n);
    ret[8] = HOP_LIMIT;
    ret[9] = IPPROTO_ICMP;
    memcpy(ret + 12, packet + 16, 4);
    memcpy(ret + 16, packet + 12, 4);
    put_checksum(ret + 10, ipop_checksum_add(0, ret, IPOP_IP4_HEADER));
    uint8_t *icmp = ret + IPOP_IP4_HEADER;
    icmp[0] = ICMP4_UNREACHABLE;
    icmp[1] = ICMP4_FRAGMENTATION_NEEDED;
    ipop_put16(icmp + 6, MIN(mtu, 0xffff));
    memcpy(icmp + ICMP_HEADER, packet, quote);
    put_checksum(icmp + 2, ipop_checksum_add(0, icmp, ICMP_HEADER + quote));
    return n;
}

static size_t make6(const uint8_t *packet, size_t quote, size_t mtu, uint8_t *ret) {
    memset(ret, 0, IPOP_IP6_HEADER + ICMP_HEADER);
    ret[0] = 0x60;
    ipop_put16(ret + 4, ICMP_HEADER + quote);
    ret[6] = IPPROTO_ICMPV6;
    ret[7] = HOP_LIMIT;
    memcpy(ret + 8, packet + 24, 16);
    memcpy(ret + 24, packet + 8, 16);
    uint8_t *icmp = ret + IPOP_IP6_HEADER;
    icmp[0] = ICMP6_TOO_BIG;
    ipop_put32(icmp + 4, (uint32_t)mtu);
    memcpy(icmp + ICMP_HEADER, packet, quote);
    uint64_t sum = ipop_checksum_pseudo(ret, AF_INET6, IPPROTO_ICMPV6) + htons((uint16_t)(ICMP_HEADER + quote));
    put_checksum(icmp + 2, ipop_checksum_add(sum, icmp, ICMP_HEADER + quote));
    return IPOP_IP6_HEADER + ICMP_HEADER + quote;
}

size_t ipop_icmp_too_big(const uint8_t *packet, size_t n, size_t mtu, uint8_t ret[static IPOP_ICMP_MAX]) {
    if (n >= IPOP_IP4_HEADER + ICMP_HEADER && packet[0] >> 4 == 4) {
        size_t header = (size_t)(packet[0] & 0x0f) * 4;
        /* The header and eight bytes are what the sender needs. */
        if (header < IPOP_IP4_HEADER || n < header + 8 || !may_answer4(packet, n, header))
            return 0;
        return make4(packet, MIN(n, IPOP_ICMP_MAX - IPOP_IP4_HEADER - ICMP_HEADER), mtu, ret);
    }
    if (n >= IPOP_IP6_HEADER + ICMP_HEADER && packet[0] >> 4 == 6 && may_answer6(packet, n))
        return make6(packet, MIN(n, IPOP_ICMP_MAX - IPOP_IP6_HEADER - ICMP_HEADER), mtu, ret);
    return 0;
}

static uint32_t mix(uint32_t hash, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 16777619; /* FNV-1a */
    return hash;
}

uint32_t ipop_icmp_flow(const uint8_t *packet, size_t n) {
    const uint32_t seed = 2166136261;
    if (n >= IPOP_IP4_HEADER && packet[0] >> 4 == 4) {
        size_t header = (size_t)(packet[0] & 0x0f) * 4;
        uint32_t hash = mix(mix(seed, packet + 12, 8), packet + 9, 1);
        return n >= header + 4 ? mix(hash, packet + header, 4) : hash;
    }
    if (n >= IPOP_IP6_HEADER + 4)
        return mix(mix(seed, packet + 6, 1), packet + 8, 32 + 4);
    return mix(seed, packet, n);
}

bool ipop_icmp_allow(IpopIcmpLimit *limit, uint32_t flow, int64_t now) {
    int64_t *last = &limit->last[flow % IPOP_ICMP_FLOWS];
    if (limit->second != now / SECOND) {
        limit->second = now / SECOND;
        limit->sent = 0;
    }
    if ((*last && now - *last < FLOW_INTERVAL) || limit->sent >= PER_SECOND)
        return false;
    *last = now;
    limit->sent++;
    return true;
}
