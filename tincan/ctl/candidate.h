/* candidate.h - one ICE candidate (RFC 8445 section 5), as it travels between tincan, controller and peer.
 *
 * Component 1 over UDP only. Addresses are numeric; a host name in a candidate is refused, so that no peer can make us
 * ask a name server. Pure; any thread.
 */
#pragma once

#include <arpa/inet.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define IPOP_CANDIDATES_MAX 32   /* per session and side; more are dropped */
#define IPOP_FOUNDATION_MAX 32   /* RFC 8839 section 5.1 */

typedef enum {
    IPOP_CANDIDATE_HOST,
    IPOP_CANDIDATE_SRFLX,
    IPOP_CANDIDATE_PRFLX,
    IPOP_CANDIDATE_RELAY,
} IpopCandidateType;

typedef struct {
    IpopCandidateType type;
    char foundation[IPOP_FOUNDATION_MAX + 1]; /* ice-char only: letters, digits, '+', '/' */
    uint32_t priority;                        /* 1 to 2^31 - 1 */
    char ip[INET6_ADDRSTRLEN];
    uint16_t port;                            /* never 0 */
    char rel_ip[INET6_ADDRSTRLEN];            /* "" when there is no related address */
    uint16_t rel_port;
} IpopCandidate;

/* ICE credentials (RFC 8445 section 5.3): ice-char only, ufrag 4 to 256, pwd 22 to 256 characters. */
#define IPOP_ICE_UFRAG_MAX 256
#define IPOP_ICE_PWD_MAX 256
bool ipop_ice_credentials_valid(const char *ufrag, const char *pwd);

/* "host", "srflx", "prflx", "relay". Static storage. */
const char *ipop_candidate_type_name(IpopCandidateType type);
bool ipop_candidate_type_parse(const char *name, IpopCandidateType *ret_type);

/* Whether ip is a numeric address that another host may have: not unspecified, loopback, link-local (of IPv6), multicast,
 * broadcast, or an IPv4 one in IPv6's clothes. */
bool ipop_candidate_ip_usable(const char *ip);

/* Fills a candidate from texts, checking every one: false (and nothing written) for a host name, an unspecified,
 * multicast or loopback address, port 0, a bad foundation or priority. rel_ip may be NULL or "". Loopback is refused
 * since a peer has no business there; an fe80 address because it needs a scope. */
bool ipop_candidate_make(IpopCandidate *ret, const char *type, const char *foundation, uint64_t priority, const char *ip,
                         uint64_t port, const char *rel_ip, uint64_t rel_port);

/* JSON object {"type","foundation","priority","ip","port","rel_ip","rel_port"}. New reference. */
json_t *ipop_candidate_to_json(const IpopCandidate *candidate);
bool ipop_candidate_from_json(const json_t *object, IpopCandidate *ret);
