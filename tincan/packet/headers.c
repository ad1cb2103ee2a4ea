#include "tincan/packet/headers.h"

#include "tincan/packet/ip.h"

#include <string.h>
#include <sys/socket.h>

#define TCP_HEADER 20
#define UDP_HEADER 8

/* The offset behind the extension headers; *protocol becomes what follows them. Stops at one that is cut off. */
static size_t skip_extensions(const uint8_t *packet, size_t n, uint8_t *protocol) {
    size_t at = IPOP_IP6_HEADER;
    while (*protocol == IPPROTO_HOPOPTS || *protocol == IPPROTO_ROUTING || *protocol == IPPROTO_DSTOPTS) {
        if (n - at < 8)
            break;
        size_t header = ((size_t)packet[at + 1] + 1) * 8;
        if (n - at < header)
            break;
        *protocol = packet[at];
        at += header;
    }
    return at;
}

/* The length of the transport's header, 0 if it is not whole or contradicts the rest of the packet. */
static size_t transport_header(uint8_t protocol, const uint8_t *transport, size_t rest) {
    if (protocol == IPPROTO_TCP && rest >= TCP_HEADER) {
        size_t header = (size_t)(transport[12] >> 4) * 4;
        return header >= TCP_HEADER && header <= rest ? header : 0;
    }
    if (protocol == IPPROTO_UDP && rest >= UDP_HEADER)
        return ipop_get16(transport + 4) == rest ? UDP_HEADER : 0;
    return 0;
}

bool ipop_headers_parse(const uint8_t *packet, size_t n, IpopHeaders *ret) {
    IpopIpInfo ip;
    if (!ipop_ip_parse(packet, n, &ip))
        return false;
    size_t transport;
    uint8_t protocol;
    if (ip.family == AF_INET) {
        if (ipop_get16(packet + 6) & IPOP_IP4_FRAGMENT)
            return false;
        protocol = packet[9];
        transport = (size_t)(packet[0] & 0x0f) * 4;
    } else {
        protocol = packet[6];
        transport = skip_extensions(packet, ip.length, &protocol);
    }
    size_t header = transport_header(protocol, packet + transport, ip.length - transport);
    if (header == 0)
        return false;
    bool plain = transport == (ip.family == AF_INET ? IPOP_IP4_HEADER : IPOP_IP6_HEADER);
    *ret = (IpopHeaders){ip.family, protocol, plain, transport, transport + header, ip.length};
    return true;
}

uint64_t ipop_checksum_add(uint64_t sum, const uint8_t *bytes, size_t n) {
    uint32_t word;
    for (; n >= sizeof word; bytes += sizeof word, n -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        sum += word;
    }
    /* Missing bytes count as zeros behind (RFC 1071, section 1). */
    word = 0;
    memcpy(&word, bytes, n);
    return sum + word;
}

uint64_t ipop_checksum_pseudo(const uint8_t *packet, int family, uint8_t protocol) {
    /* Source and destination stand next to each other. */
    return family == AF_INET ? ipop_checksum_add(htons(protocol), packet + 12, 8)
                             : ipop_checksum_add(htons(protocol), packet + 8, 32);
}

void ipop_checksum_complete(uint8_t *packet, size_t n, size_t start, size_t offset) {
    uint16_t checksum = (uint16_t)~ipop_checksum_fold(ipop_checksum_add(0, packet + start, n - start));
    /* Zero would mean "none" to UDP (RFC 768); to others 0xffff is the same. */
    if (checksum == 0)
        checksum = 0xffff;
    memcpy(packet + start + offset, &checksum, sizeof checksum);
}
