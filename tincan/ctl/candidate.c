#include "tincan/ctl/candidate.h"

#include "tincan/ctl/json.h"

#include <string.h>

#define TEXT_MAX 64 /* more than any type or address, so that what is too long is seen and refused */

static const char *const type_names[] = {
    [IPOP_CANDIDATE_HOST] = "host",
    [IPOP_CANDIDATE_SRFLX] = "srflx",
    [IPOP_CANDIDATE_PRFLX] = "prflx",
    [IPOP_CANDIDATE_RELAY] = "relay",
};

#define N_TYPES (sizeof type_names / sizeof type_names[0])

/* ice-char of RFC 8839 section 5.1; not isalnum(), which knows locales. */
static bool ice_chars(const char *text, size_t min, size_t max) {
    size_t n = strnlen(text, max + 1);
    return n >= min && n <= max &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") == n;
}

bool ipop_ice_credentials_valid(const char *ufrag, const char *pwd) {
    return ufrag && pwd && ice_chars(ufrag, 4, IPOP_ICE_UFRAG_MAX) && ice_chars(pwd, 22, IPOP_ICE_PWD_MAX);
}

const char *ipop_candidate_type_name(IpopCandidateType type) {
    return type_names[type];
}

bool ipop_candidate_type_parse(const char *name, IpopCandidateType *ret_type) {
    for (unsigned i = 0; name && i < N_TYPES; i++)
        if (strcmp(name, type_names[i]) == 0) {
            *ret_type = (IpopCandidateType)i;
            return true;
        }
    return false;
}

static bool usable4(struct in_addr address) {
    uint32_t a = ntohl(address.s_addr);
    uint32_t top = a >> 24;
    return top != 0 && top != 127 && !IN_MULTICAST(a) && a != INADDR_BROADCAST;
}

static bool usable6(const struct in6_addr *a) {
    /* A mapped or compatible address is an IPv4 one in disguise and would pass by the check above. */
    return !IN6_IS_ADDR_UNSPECIFIED(a) && !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_MULTICAST(a) &&
           !IN6_IS_ADDR_LINKLOCAL(a) && !IN6_IS_ADDR_V4MAPPED(a) && !IN6_IS_ADDR_V4COMPAT(a);
}

/* Numeric text to its usual form; usable is whether a packet may be sent there. */
static bool parse_ip(const char *text, char ret_text[static INET6_ADDRSTRLEN], bool *ret_usable) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        *ret_usable = usable4(v4);
        return inet_ntop(AF_INET, &v4, ret_text, INET6_ADDRSTRLEN) != NULL;
    }
    if (inet_pton(AF_INET6, text, &v6) == 1) {
        *ret_usable = usable6(&v6);
        return inet_ntop(AF_INET6, &v6, ret_text, INET6_ADDRSTRLEN) != NULL;
    }
    return false;
}

bool ipop_candidate_ip_usable(const char *ip) {
    char text[INET6_ADDRSTRLEN];
    bool usable = false;
    return parse_ip(ip, text, &usable) && usable;
}

bool ipop_candidate_make(IpopCandidate *ret, const char *type, const char *foundation, uint64_t priority, const char *ip,
                         uint64_t port, const char *rel_ip, uint64_t rel_port) {
    IpopCandidate c = {0};
    bool usable, ignored;

    if (!ipop_candidate_type_parse(type, &c.type))
        return false;
    if (!foundation || !ice_chars(foundation, 1, IPOP_FOUNDATION_MAX))
        return false;
    if (priority < 1 || priority > INT32_MAX || port < 1 || port > UINT16_MAX)
        return false;
    if (!ip || !parse_ip(ip, c.ip, &usable) || !usable)
        return false;
    strcpy(c.foundation, foundation);
    c.priority = (uint32_t)priority;
    c.port = (uint16_t)port;

    /* Nothing is ever sent to the related address, and 0.0.0.0 is how a peer hides it (RFC 8839 section 5.1). */
    if (rel_ip && *rel_ip) {
        if (rel_port > UINT16_MAX || !parse_ip(rel_ip, c.rel_ip, &ignored))
            return false;
        c.rel_port = (uint16_t)rel_port;
    }
    *ret = c;
    return true;
}

json_t *ipop_candidate_to_json(const IpopCandidate *c) {
    return json_pack("{s:s, s:s, s:I, s:s, s:i, s:s, s:i}", "type", ipop_candidate_type_name(c->type), "foundation",
                     c->foundation, "priority", (json_int_t)c->priority, "ip", c->ip, "port", (int)c->port, "rel_ip",
                     c->rel_ip, "rel_port", (int)c->rel_port);
}

bool ipop_candidate_from_json(const json_t *object, IpopCandidate *ret) {
    const char *type, *foundation, *ip, *rel_ip = "";
    int64_t priority, port, rel_port = 0;

    if (!ipop_json_string(object, "type", TEXT_MAX, &type) ||
        !ipop_json_string(object, "foundation", TEXT_MAX, &foundation) ||
        !ipop_json_int(object, "priority", 1, INT32_MAX, &priority) ||
        !ipop_json_string(object, "ip", TEXT_MAX, &ip) || !ipop_json_int(object, "port", 1, UINT16_MAX, &port))
        return false;
    if (json_object_get(object, "rel_ip") && !ipop_json_string(object, "rel_ip", TEXT_MAX, &rel_ip))
        return false;
    if (json_object_get(object, "rel_port") && !ipop_json_int(object, "rel_port", 0, UINT16_MAX, &rel_port))
        return false;
    return ipop_candidate_make(ret, type, foundation, (uint64_t)priority, ip, (uint64_t)port, rel_ip,
                               (uint64_t)rel_port);
}
