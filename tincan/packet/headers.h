/* headers.h - the TCP or UDP header inside an IP packet, and Internet checksums (RFC 1071). Pure; any thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_IP4_HEADER 20
#define IPOP_IP6_HEADER 40
#define IPOP_IP4_DF 0x4000       /* of the 16 bits at 6 */
#define IPOP_IP4_FRAGMENT 0x3fff /* of the same: more fragments, or an offset */
#define IPOP_TCP_CHECKSUM 16     /* offset in the header */
#define IPOP_UDP_CHECKSUM 6      /* offset in the header */

/* RFC 9293, section 3.1: the byte at 13 */
enum {
    IPOP_TCP_FIN = 0x01,
    IPOP_TCP_SYN = 0x02,
    IPOP_TCP_RST = 0x04,
    IPOP_TCP_PSH = 0x08,
    IPOP_TCP_URG = 0x20,
    IPOP_TCP_CWR = 0x80,
};

/* Offsets count from the IP header. */
typedef struct {
    int family;       /* AF_INET or AF_INET6 */
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    bool plain;       /* no IPv4 options and no IPv6 extension headers before it */
    size_t transport; /* offset of the TCP or UDP header */
    size_t payload;   /* offset of what follows it */
    size_t length;    /* of the whole packet, at most n */
} IpopHeaders;

/* False unless there is one whole TCP or UDP header in an IP packet that is no fragment, and all lengths agree. Hop-by-hop,
 * routing and destination options of IPv6 are skipped (RFC 8200, section 4). */
bool ipop_headers_parse(const uint8_t *packet, size_t n, IpopHeaders *ret);

/* Where the transport's checksum stands in its header. */
static inline size_t ipop_headers_checksum_offset(const IpopHeaders *headers) {
    return headers->protocol == IPPROTO_TCP ? IPOP_TCP_CHECKSUM : IPOP_UDP_CHECKSUM;
}

/* Adds these bytes to a sum; only the last piece of several may have odd length. */
uint64_t ipop_checksum_add(uint64_t sum, const uint8_t *bytes, size_t n);

/* The sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1) without the length, which the caller adds as
 * htons(). The packet's own destination is taken: right only for plain headers. */
uint64_t ipop_checksum_pseudo(const uint8_t *packet, int family, uint8_t protocol);

/* A sum to 16 bits, not inverted; to be stored with memcpy, as is. */
static inline uint16_t ipop_checksum_fold(uint64_t sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* Completes a checksum whose field holds the pseudo-header's sum: over packet[start, n), to start + offset. */
void ipop_checksum_complete(uint8_t *packet, size_t n, size_t start, size_t offset);

/* Big-endian fields. */
static inline uint16_t ipop_get16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t ipop_get32(const uint8_t *p) {
    return (uint32_t)ipop_get16(p) << 16 | ipop_get16(p + 2);
}

static inline void ipop_put16(uint8_t *p, size_t value) {
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void ipop_put32(uint8_t *p, uint32_t value) {
    ipop_put16(p, value >> 16);
    ipop_put16(p + 2, value & 0xffff);
}
