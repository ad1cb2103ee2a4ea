/* clamp.h - lowers the MSS that a TCP connection announces, for a host that can't know how large a packet the tunnel
 * takes (RFC 9293, section 3.7.1; as TCPMSS of iptables). Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In a TCP packet with SYN whose MSS option is above what fits packets of mtu bytes the option is lowered, and the
 * checksum follows; partial (segment.h): there is none yet. True when that was done. Whatever else there is stays as
 * it is: a packet without the option, one that contradicts itself, options that end before they should. */
bool ipop_clamp_mss(uint8_t *packet, size_t n, size_t mtu, bool partial);
