/* icmp.h - tells the sender of a packet that it is too big for the way on: ICMPv4 "fragmentation needed" (RFC 1191,
 * section 4) and ICMPv6 "packet too big" (RFC 4443, section 3.2). Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_ICMP_MAX 576   /* the longest we make; what every host takes (RFC 1812, section 4.3.2.3) */
#define IPOP_ICMP_QUOTE 64  /* so much of a packet is enough for the sender to know it again: IPv6, TCP, 4 bytes */
#define IPOP_ICMP_FLOWS 64

/* Writes a packet that says that this one, of which the first n bytes are there, is longer than mtu. Its source is
 * where the packet was going: an address that the sender's own kernel takes an ICMP message from. Returns the
 * length; 0 when there must not be one (RFC 1122, section 3.2.2; RFC 4443, section 2.4): about an ICMP error, a
 * later fragment, to or from a group. */
size_t ipop_icmp_too_big(const uint8_t *packet, size_t n, size_t mtu, uint8_t ret[static IPOP_ICMP_MAX]);

/* A number for the flow that the packet belongs to, n >= 0 bytes of it being there: addresses, protocol and ports. */
uint32_t ipop_icmp_flow(const uint8_t *packet, size_t n);

/* How many of these may be sent: one in 100 ms for each flow, 32 a second in all. All zero is a new one. */
typedef struct {
    int64_t second;
    unsigned sent; /* in this second */
    int64_t last[IPOP_ICMP_FLOWS];
} IpopIcmpLimit;

/* True when one more may be sent about that flow now (microseconds), and counts it. */
bool ipop_icmp_allow(IpopIcmpLimit *limit, uint32_t flow, int64_t now);
