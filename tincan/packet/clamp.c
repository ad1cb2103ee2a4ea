#include "tincan/packet/clamp.h"

#include "tincan/packet/headers.h"

#include <string.h>

#define TCP_HEADER 20
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_MSS_SIZE 4

/* The offset of the MSS in the packet; 0 when there is none. */
static size_t find_mss(const uint8_t *packet, size_t at, size_t end) {
    while (at < end && packet[at] != OPTION_END) {
        if (packet[at] == OPTION_NOP) {
            at++;
            continue;
        }
        if (end - at < 2 || packet[at + 1] < 2 || packet[at + 1] > end - at)
            return 0;
        if (packet[at] == OPTION_MSS)
            return packet[at + 1] == OPTION_MSS_SIZE ? at + 2 : 0;
        at += packet[at + 1];
    }
    return 0;
}

/* RFC 1624, section 3, for two bytes that may stand across two words. */
static void update_checksum(uint8_t *checksum, const uint8_t *before, const uint8_t *after, bool odd) {
    uint16_t old, sum;
    uint8_t was[4] = {0}, is[4] = {0};
    memcpy(was + odd, before, 2);
    memcpy(is + odd, after, 2);
    for (unsigned i = 0; i < sizeof was; i++)
        was[i] = (uint8_t)~was[i];
    memcpy(&old, checksum, sizeof old);
    sum = (uint16_t)~ipop_checksum_fold(ipop_checksum_add(ipop_checksum_add((uint16_t)~old, was, sizeof was), is, sizeof is));
    memcpy(checksum, &sum, sizeof sum);
}

bool ipop_clamp_mss(uint8_t *packet, size_t n, size_t mtu, bool partial) {
    IpopHeaders h;
    if (!ipop_headers_parse(packet, n, &h) || h.protocol != IPPROTO_TCP || !(packet[h.transport + 13] & IPOP_TCP_SYN))
        return false;
    size_t headers = (h.family == AF_INET ? IPOP_IP4_HEADER : IPOP_IP6_HEADER) + TCP_HEADER;
    size_t at = find_mss(packet, h.transport + TCP_HEADER, h.payload);
    if (at == 0 || mtu <= headers || ipop_get16(packet + at) <= mtu - headers)
        return false;
    uint8_t before[2];
    memcpy(before, packet + at, sizeof before);
    ipop_put16(packet + at, mtu - headers);
    if (!partial)
        update_checksum(packet + h.transport + IPOP_TCP_CHECKSUM, before, packet + at, (at - h.transport) % 2);
    return true;
}
