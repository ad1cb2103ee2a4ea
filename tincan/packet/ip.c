#include "tincan/packet/ip.h"

#include <string.h>
#include <sys/socket.h>

#define IP4_HEADER 20
#define IP6_HEADER 40

static size_t be16(const uint8_t *p) {
    return (size_t)p[0] << 8 | p[1];
}

/* RFC 791, section 3.1 */
static bool parse_ip4(const uint8_t *packet, size_t n, IpopIpInfo *ret) {
    if (n < IP4_HEADER)
        return false;
    size_t header = (size_t)(packet[0] & 0x0f) * 4;
    size_t total = be16(packet + 2);
    if (header < IP4_HEADER || total < header || total > n)
        return false;
    *ret = (IpopIpInfo){AF_INET, packet + 12, packet + 16, total};
    return true;
}

/* RFC 8200, section 3. A payload length of zero is an empty packet: jumbograms (RFC 2675) do not fit a datagram of ours. */
static bool parse_ip6(const uint8_t *packet, size_t n, IpopIpInfo *ret) {
    if (n < IP6_HEADER)
        return false;
    size_t total = IP6_HEADER + be16(packet + 4);
    if (total > n)
        return false;
    *ret = (IpopIpInfo){AF_INET6, packet + 8, packet + 24, total};
    return true;
}

bool ipop_ip_parse(const uint8_t *packet, size_t n, IpopIpInfo *ret) {
    if (n == 0)
        return false;
    switch (packet[0] >> 4) {
    case 4: return parse_ip4(packet, n, ret);
    case 6: return parse_ip6(packet, n, ret);
    default: return false;
    }
}

bool ipop_ip_is_multicast(const IpopIpInfo *info) {
    static const uint8_t broadcast[4] = {255, 255, 255, 255};
    if (info->family == AF_INET6)
        return info->dest[0] == 0xff;
    return info->dest[0] >> 4 == 0xe || memcmp(info->dest, broadcast, sizeof broadcast) == 0;
}
