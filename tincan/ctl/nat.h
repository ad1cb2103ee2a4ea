/* nat.h - what stands between a host and the internet, as the STUN servers see it (RFC 4787, RFC 5780), as a word that travels
 * and as a sentence for people. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

/* How a socket of the host is mapped (RFC 4787 section 4.1). */
typedef enum {
    IPOP_NAT_UNKNOWN,     /* not yet asked, or by fewer servers than it takes */
    IPOP_NAT_NONE,        /* the host has the address that the servers see */
    IPOP_NAT_INDEPENDENT, /* one outside port, whoever is written to */
    IPOP_NAT_DEPENDENT,   /* "symmetric": another port for another destination */
    IPOP_NAT_BLOCKED,     /* no server answers over UDP */
    IPOP_NAT_MAPPINGS,
} IpopNatMapping;

/* Who may write to a mapped port (RFC 4787 section 5), or through a firewall. */
typedef enum {
    IPOP_NAT_FILTER_UNKNOWN, /* no server can tell (RFC 5780 section 4.4 takes one with two addresses) */
    IPOP_NAT_FILTER_NONE,    /* anyone */
    IPOP_NAT_FILTER_ADDRESS, /* any port of a host that was written to */
    IPOP_NAT_FILTER_PORT,    /* only what was written to */
    IPOP_NAT_FILTERS,
} IpopNatFilter;

typedef struct {
    IpopNatMapping mapping;
    IpopNatFilter filter;
} IpopNat;

/* "unknown", "none", "independent", "dependent", "blocked"; "unknown", "none", "address", "port". Static storage. */
const char *ipop_nat_mapping_name(IpopNatMapping mapping);
const char *ipop_nat_filter_name(IpopNatFilter filter);

/* MAPPING "/" FILTER, as it travels to the peer. */
#define IPOP_NAT_TEXT_MAX 31
void ipop_nat_text(IpopNat nat, char ret_text[static IPOP_NAT_TEXT_MAX + 1]);

/* False, and nothing written, when that is no such text. */
bool ipop_nat_parse(const char *text, IpopNat *ret);

/* What it is, without a full stop: "a symmetric NAT: each destination sees another port". Static storage. */
const char *ipop_nat_sentence(IpopNat nat);
