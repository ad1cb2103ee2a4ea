#include "tincan/ctl/nat.h"

#include <glib.h>
#include <string.h>

static const char *const mappings[IPOP_NAT_MAPPINGS] = {
    [IPOP_NAT_UNKNOWN] = "unknown",         [IPOP_NAT_NONE] = "none",       [IPOP_NAT_INDEPENDENT] = "independent",
    [IPOP_NAT_DEPENDENT] = "dependent",     [IPOP_NAT_BLOCKED] = "blocked",
};

static const char *const filters[IPOP_NAT_FILTERS] = {
    [IPOP_NAT_FILTER_UNKNOWN] = "unknown",
    [IPOP_NAT_FILTER_NONE] = "none",
    [IPOP_NAT_FILTER_ADDRESS] = "address",
    [IPOP_NAT_FILTER_PORT] = "port",
};

const char *ipop_nat_mapping_name(IpopNatMapping mapping) {
    return mappings[mapping];
}

const char *ipop_nat_filter_name(IpopNatFilter filter) {
    return filters[filter];
}

void ipop_nat_text(IpopNat nat, char ret_text[static IPOP_NAT_TEXT_MAX + 1]) {
    g_snprintf(ret_text, IPOP_NAT_TEXT_MAX + 1, "%s/%s", mappings[nat.mapping], filters[nat.filter]);
}

bool ipop_nat_parse(const char *text, IpopNat *ret) {
    for (unsigned m = 0; m < IPOP_NAT_MAPPINGS; m++)
        for (unsigned f = 0; f < IPOP_NAT_FILTERS; f++) {
            char known[IPOP_NAT_TEXT_MAX + 1];
            IpopNat nat = {(IpopNatMapping)m, (IpopNatFilter)f};
            ipop_nat_text(nat, known);
            if (strcmp(text, known) == 0) {
                *ret = nat;
                return true;
            }
        }
    return false;
}

const char *ipop_nat_sentence(IpopNat nat) {
    bool open = nat.filter == IPOP_NAT_FILTER_NONE, closed = nat.filter > IPOP_NAT_FILTER_NONE;
    switch (nat.mapping) {
    case IPOP_NAT_NONE:
        return open     ? "no NAT and no firewall: anyone can reach it"
               : closed ? "no NAT, but a firewall that lets only answers in"
                        : "no NAT";
    case IPOP_NAT_INDEPENDENT:
        return open     ? "a full cone NAT: one port for all, and anyone may write to it"
               : closed ? "a NAT as most homes have it: one port for all, and only answers come in"
                        : "a NAT that keeps one port for all destinations";
    case IPOP_NAT_DEPENDENT:
        return "a symmetric NAT: each destination sees another port";
    case IPOP_NAT_BLOCKED:
        return "no STUN server answers: UDP is blocked there, or the servers are down";
    default:
        return "not known: it takes two STUN servers that answer";
    }
}
