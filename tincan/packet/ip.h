/* ip.h - reading the outside of an IP packet: version, addresses, length. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int family;            /* AF_INET or AF_INET6 */
    const uint8_t *source; /* 4 or 16 bytes, inside the packet */
    const uint8_t *dest;
    size_t length;         /* of the whole packet, from its header; at most n */
} IpopIpInfo;

/* False for anything whose header is not all there or whose lengths contradict each other or n. */
bool ipop_ip_parse(const uint8_t *packet, size_t n, IpopIpInfo *ret);

/* 224.0.0.0/4, ff00::/8, or 255.255.255.255. */
bool ipop_ip_is_multicast(const IpopIpInfo *info);
