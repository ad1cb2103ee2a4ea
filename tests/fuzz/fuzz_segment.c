/* What the device gives, whatever it says of itself: segments stay in the buffer, carry the payload once, and agree with
 * their headers. The input's first byte is the limit (0 none), the rest is the buffer. */
#include "tincan/packet/headers.h"
#include "tincan/packet/ip.h"
#include "tincan/packet/segment.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* One of several, cut out of the packet whose headers are h and whose payload stands at left. */
static size_t check_cut(const uint8_t *packet, size_t n, bool partial, const IpopHeaders *h, const uint8_t *left, size_t left_n) {
    IpopHeaders segment;
    g_assert(ipop_headers_parse(packet, n, &segment));
    g_assert(segment.length == n && segment.payload == h->payload && segment.transport == h->transport);
    g_assert(segment.protocol == h->protocol && partial == h->plain);
    size_t payload = n - h->payload;
    g_assert(payload > 0 && payload <= left_n && memcmp(packet + h->payload, left, payload) == 0);
    size_t ip_header = (packet[0] & 0x0f) * 4;
    if (h->family == AF_INET)
        g_assert(ipop_checksum_fold(ipop_checksum_add(0, packet, ip_header)) == 0xffff);
    if (partial) {
        uint16_t sum;
        memcpy(&sum, packet + h->transport + ipop_headers_checksum_offset(h), sizeof sum);
        uint64_t pseudo = ipop_checksum_pseudo(packet, h->family, h->protocol) + htons((uint16_t)(n - h->transport));
        g_assert(sum == ipop_checksum_fold(pseudo));
    }
    return payload;
}

static void check(uint8_t *buffer, size_t n, size_t limit, const uint8_t *original) {
    IpopSegmenter s;
    uint8_t *packet, *before = buffer;
    size_t packet_n, left_n = 0, first_n = 0, seen = 0;
    bool partial;
    if (!ipop_segment_begin(&s, buffer, n, limit)) {
        g_assert(!ipop_segment_next(&s, &packet, &packet_n, &partial));
        return;
    }
    IpopHeaders h;
    if (ipop_headers_parse(original, n - IPOP_VNET_HEADER, &h))
        left_n = h.length - h.payload;
    for (; ipop_segment_next(&s, &packet, &packet_n, &partial); seen++) {
        g_assert(packet > before && packet + packet_n <= buffer + n);
        g_assert(seen == 0 || packet_n <= first_n);
        if (seen == 0)
            first_n = packet_n;
        IpopIpInfo ip;
        g_assert(ipop_ip_parse(packet, packet_n, &ip) && ip.length == packet_n);
        if (seen > 0 || s.left > 0) {
            size_t payload = check_cut(packet, packet_n, partial, &h, original + h.length - left_n, left_n);
            left_n -= payload;
            g_assert((left_n == 0) == (s.left == 0) && (left_n == 0 || packet_n == first_n));
        }
        before = packet;
        memset(packet - IPOP_SEGMENT_HEADROOM, 0xee, IPOP_SEGMENT_HEADROOM + packet_n);
    }
    g_assert(seen > 0 && (seen == 1 || left_n == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 1)
        return 0;
    size_t limit = data[0] ? IPOP_SEGMENT_LIMIT_MIN + (size_t)(data[0] - 1) * 4 : 0;
    data++;
    n--;
    if (n > IPOP_VNET_HEADER + IPOP_SEGMENT_PACKET_MAX)
        return 0;
    uint8_t *room = g_malloc(IPOP_SEGMENT_HEADROOM + n);
    memcpy(room + IPOP_SEGMENT_HEADROOM, data, n);
    check(room + IPOP_SEGMENT_HEADROOM, n, limit, data + MIN(n, IPOP_VNET_HEADER));
    g_free(room);
    return 0;
}
