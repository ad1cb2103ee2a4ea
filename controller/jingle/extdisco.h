/* extdisco.h - the STUN and TURN servers that the account's own server offers (XEP-0215). Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_SERVICES_MAX 8 /* of each kind; more are left out */
#define IPOP_SERVICE_TEXT_MAX 255
#define IPOP_SERVICES_REFRESH_MAX (12 * 3600) /* seconds */

typedef struct {
    char server[IPOP_SERVICE_TEXT_MAX + 16]; /* "host:port", IPv6 in brackets */
    char user[IPOP_SERVICE_TEXT_MAX + 1], pass[IPOP_SERVICE_TEXT_MAX + 1]; /* "" for STUN */
    bool tcp;
} IpopService;

/* Holds passwords: belongs in locked memory. */
typedef struct {
    IpopService stun[IPOP_SERVICES_MAX], turn[IPOP_SERVICES_MAX];
    unsigned n_stun, n_turn;
    int64_t expires; /* seconds since 1970 when the first of the credentials ends; INT64_MAX: none says so */
} IpopServices;

/* The payload to ask with: version 2, or 1 for servers that know no other. Static storage. */
const char *ipop_services_request(unsigned version);

/* Reads an answer. Services of other types or transports (TLS), without credentials where they are needed, with a host that
 * is none, or that are said to be deleted, are left out. False when xml is no answer to such a request. */
bool ipop_services_parse(const char *xml, size_t n, IpopServices *ret);

/* In how many seconds to ask for others: at half the credentials' life. now: seconds since 1970 by this host's clock. */
int64_t ipop_services_refresh_after(const IpopServices *services, int64_t now);
