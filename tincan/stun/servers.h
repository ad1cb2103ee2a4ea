/* servers.h - the STUN and TURN servers: which address of theirs to use, whether they do their work, and what they tell of
 * this host's NAT. Main thread.
 *
 * In rounds: at each ipop_servers_set, ipop_servers_refresh and every five minutes names are resolved (GResolver,
 * asynchronously), every STUN server is asked from one spare socket, one of them for the NAT's filter (filter.h), and every
 * TURN server has to relay for a moment (turn.h). No other host than those of the lists is ever contacted.
 */
#pragma once

#include "tincan/ctl/nat.h"
#include "tincan/stun/address.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define IPOP_SERVERS_MAX 8 /* of each kind */

typedef enum {
    IPOP_TURN_UDP,
    IPOP_TURN_TCP,
} IpopTurnTransport;

typedef struct {
    char *server; /* as for STUN */
    char *user;
    char *pass;
    IpopTurnTransport transport;
} IpopTurnServer;

/* offered: they are not the user's choice but what the Jabber server says, which may be a lie that is to make this host talk to
 * itself or to what only it can reach: an address that no other host has (ipop_candidate_ip_usable) or that is link-local is
 * refused then. */
typedef struct {
    const char *const *stun; /* "host", "host:port", "[v6]", "[v6]:port"; port 3478 when there is none */
    unsigned n_stun;
    bool stun_offered;
    const IpopTurnServer *turn;
    unsigned n_turn;
    bool turn_offered;
} IpopServerLists;

typedef enum {
    IPOP_SERVER_UNKNOWN, /* not yet asked, or not yet given up */
    IPOP_SERVER_GOOD,
    IPOP_SERVER_BAD,
} IpopServerVerdict;

/* Strings are borrowed until the next turn of the main loop. */
typedef struct {
    bool turn;
    const char *server; /* as configured */
    IpopTurnTransport transport; /* UDP for STUN */
    IpopServerVerdict verdict, before; /* before: the last other one */
    const char *text; /* one sentence, with the remedy when it is bad; in part the server's words, to be cleaned; "" unknown */
} IpopServerStatus;

/* From the main loop. */
typedef struct {
    /* A verdict, or what is bad, changed. */
    void (*server)(void *user, const IpopServerStatus *status);
    /* What ipop_servers_nat gives changed. */
    void (*nat)(void *user, IpopNat nat);
} IpopServersEvents;

typedef struct IpopServers IpopServers;

/* events: NULL when nobody wants to know. */
IpopServers *ipop_servers_new(const IpopServersEvents *events, void *user);
void ipop_servers_free(IpopServers *servers);

/* Copies the lists. What is no server's text, and what is more than IPOP_SERVERS_MAX of a kind, is left out. True when the TURN
 * servers, or what they know us by, are others than before. */
bool ipop_servers_set(IpopServers *servers, const IpopServerLists *lists);

/* A round now: the network changed. */
void ipop_servers_refresh(IpopServers *servers);

/* Nothing of this round is still waited for. */
bool ipop_servers_settled(const IpopServers *servers);

/* Names are still being looked up, for less than a second: a link that is made now would lack what they bring. */
bool ipop_servers_resolving(const IpopServers *servers);

/* A moment more (150 ms at most, a second for names) may tell which STUN server answers: none ever has. */
bool ipop_servers_choosing(const IpopServers *servers);

/* The STUN server to use, numeric; false when none has answered or been resolved. One that is numeric but silent so far is
 * given too: its answer may only be late. */
bool ipop_servers_stun(const IpopServers *servers, char ret_ip[static INET6_ADDRSTRLEN], uint16_t *ret_port);

/* The i-th address of a TURN server: good ones before unknown before bad, then IPv4 ones before IPv6; false when there are no
 * more. A name may have one of each family. Strings are borrowed until the next ipop_servers_set. */
bool ipop_servers_turn(const IpopServers *servers, unsigned i, char ret_ip[static INET6_ADDRSTRLEN], uint16_t *ret_port,
                       const char **ret_user, const char **ret_pass, IpopTurnTransport *ret_transport);

/* STUN servers first, in the order configured; false when there are no more. */
bool ipop_servers_status(const IpopServers *servers, unsigned i, IpopServerStatus *ret);

/* Of IPv4, or of IPv6 when only such servers answer; as the last round that told something found. */
IpopNat ipop_servers_nat(const IpopServers *servers);

/* This host's address as the servers see it, "" when none has said. */
const char *ipop_servers_outside(const IpopServers *servers);
