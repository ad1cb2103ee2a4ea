#include "tincan/link/explain.h"

#include <string.h>

/* What keeps the two from a direct path. */
typedef enum {
    UNKNOWN,        /* too little is known */
    CHANCE,         /* nothing that is known forbids one */
    FAMILIES,       /* they have no kind of address in common */
    OWN_BLOCKED,    /* no UDP gets out here */
    PEER_BLOCKED,   /* nor there */
    NO_HAIRPIN,     /* both behind one NAT that does not let them meet */
    BOTH_SYMMETRIC,
    OWN_SYMMETRIC,  /* and the peer's NAT or firewall lets only answers in */
    PEER_SYMMETRIC,
} Obstacle;

static bool is_v6(const IpopCandidate *c) {
    return strchr(c->ip, ':') != NULL;
}

/* Some address that is not a relay's. */
static bool has_direct(const IpopCandidate *candidates, unsigned n, bool v6) {
    for (unsigned i = 0; i < n; i++)
        if (candidates[i].type != IPOP_CANDIDATE_RELAY && is_v6(&candidates[i]) == v6)
            return true;
    return false;
}

static bool share_family(const IpopAttempt *a) {
    for (int v6 = 0; v6 < 2; v6++)
        if (has_direct(a->local, a->n_local, v6) && has_direct(a->remote, a->n_remote, v6))
            return true;
    return false;
}

/* The address that both have outside; NULL when they have none in common. */
static const char *shared_outside(const IpopAttempt *a) {
    for (unsigned l = 0; l < a->n_local; l++)
        for (unsigned r = 0; r < a->n_remote; r++)
            if (a->local[l].type == IPOP_CANDIDATE_SRFLX && a->remote[r].type == IPOP_CANDIDATE_SRFLX &&
                strcmp(a->local[l].ip, a->remote[r].ip) == 0)
                return a->local[l].ip;
    return NULL;
}

/* Nobody but whom it has written to can write to it; where no server could tell, that is the common case for a NAT. */
static bool is_closed(IpopNat nat) {
    return nat.filter == IPOP_NAT_FILTER_UNKNOWN ? nat.mapping == IPOP_NAT_INDEPENDENT : nat.filter != IPOP_NAT_FILTER_NONE;
}

static Obstacle find_obstacle(const IpopFacts *facts) {
    const IpopAttempt *a = facts->attempt;
    IpopNat own = facts->own, peer = facts->peer;
    if (a->n_local > 0 && a->n_remote > 0 && !share_family(a))
        return FAMILIES;
    if (own.mapping == IPOP_NAT_BLOCKED)
        return OWN_BLOCKED;
    if (peer.mapping == IPOP_NAT_BLOCKED)
        return PEER_BLOCKED;
    if (shared_outside(a))
        return NO_HAIRPIN;
    if (own.mapping == IPOP_NAT_DEPENDENT && peer.mapping == IPOP_NAT_DEPENDENT)
        return BOTH_SYMMETRIC;
    if (own.mapping == IPOP_NAT_DEPENDENT && is_closed(peer))
        return OWN_SYMMETRIC;
    if (peer.mapping == IPOP_NAT_DEPENDENT && is_closed(own))
        return PEER_SYMMETRIC;
    return own.mapping == IPOP_NAT_UNKNOWN || peer.mapping == IPOP_NAT_UNKNOWN ? UNKNOWN : CHANCE;
}

static char *explain_obstacle(const IpopFacts *facts) {
    switch (find_obstacle(facts)) {
    case FAMILIES:
        return g_strdup_printf("this node has %s addresses only and the peer %s ones only",
                               has_direct(facts->attempt->local, facts->attempt->n_local, false) ? "IPv4" : "IPv6",
                               has_direct(facts->attempt->remote, facts->attempt->n_remote, false) ? "IPv4" : "IPv6");
    case OWN_BLOCKED:
        return g_strdup("UDP seems to be blocked in this node's network: no STUN server answers");
    case PEER_BLOCKED:
        return g_strdup("UDP seems to be blocked in the peer's network: no STUN server answers it");
    case NO_HAIRPIN:
        return g_strdup_printf("both are behind the NAT %s, which does not let them reach each other through it",
                               shared_outside(facts->attempt));
    case BOTH_SYMMETRIC:
        return g_strdup("both NATs are symmetric, so neither side can be told where to send");
    case OWN_SYMMETRIC:
        return g_strdup("this node's NAT is symmetric, and what is before the peer lets only answers in");
    case PEER_SYMMETRIC:
        return g_strdup("the peer's NAT is symmetric, and what is before this node lets only answers in");
    case CHANCE:
        return g_strdup("no direct path answered, though the NATs as they are known would allow one");
    default:
        return g_strdup("no direct path answered");
    }
}

char *ipop_explain_relayed(const IpopFacts *facts) {
    g_autofree char *obstacle = explain_obstacle(facts);
    return g_strconcat("relayed: ", obstacle, NULL);
}

static bool has_relay(const IpopCandidate *candidates, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        if (candidates[i].type == IPOP_CANDIDATE_RELAY)
            return true;
    return false;
}

char *ipop_explain_failed(const IpopFacts *facts) {
    const IpopAttempt *a = facts->attempt;
    g_autofree char *obstacle = explain_obstacle(facts);
    Obstacle kind = find_obstacle(facts);
    const char *turn = facts->turn_trouble;
    if (has_relay(a->local, a->n_local) || has_relay(a->remote, a->n_remote))
        turn = NULL;
    else if (!turn)
        turn = facts->turn ? "no relay address came from the TURN servers" : "a TURN server would help, and none is configured";
    bool known = kind != UNKNOWN && kind != CHANCE;
    return g_strconcat("no answer from the peer to any check", known ? ": " : "", known ? obstacle : "", turn ? "; " : "",
                       turn ? turn : "", NULL);
}

const char *ipop_explain_remedy(const IpopFacts *facts) {
    switch (find_obstacle(facts)) {
    case FAMILIES:
        return "IPv6 at the side that has none, or IPv4 at the other, would make it direct";
    case OWN_BLOCKED:
        return "let UDP out of this node's network";
    case PEER_BLOCKED:
        return "let UDP out of the peer's network";
    case NO_HAIRPIN:
        return "IPv6 at both would make it direct, or hairpinning (NAT loopback) on that NAT";
    case BOTH_SYMMETRIC:
        return "port mapping by UPnP at either side (\"upnp\": true, and a router that does it) or IPv6 at both would make it "
               "direct";
    case OWN_SYMMETRIC:
    case PEER_SYMMETRIC:
        return "port mapping by UPnP at either side (\"upnp\": true, and a router that does it), a firewall that lets UDP in, "
               "or IPv6 at both would make it direct";
    case CHANCE:
    case UNKNOWN:
        break;
    }
    return "";
}
