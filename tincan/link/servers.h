/* servers.h - the STUN and TURN servers as usable addresses. Main thread.
 *
 * Names are resolved (GResolver, asynchronously) and every STUN server is asked once from a spare socket: libnice takes
 * only one, so it gets the first that answered. Done again every five minutes and after ipop_servers_refresh.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define IPOP_SERVERS_MAX 8 /* of each kind */

typedef enum {
    IPOP_TURN_UDP,
    IPOP_TURN_TCP,
} IpopTurnTransport;

typedef struct {
    char *server; /* "host:port", "[v6]:port" */
    char *user;
    char *pass;
    IpopTurnTransport transport;
} IpopTurnServer;

typedef struct IpopServers IpopServers;

IpopServers *ipop_servers_new(void);
void ipop_servers_free(IpopServers *servers);

/* Copies the lists: "host", "host:port", "[v6]" or "[v6]:port", port 3478 when there is none. What is no such text, and what is
 * more than IPOP_SERVERS_MAX of a kind, is left out. */
void ipop_servers_set(IpopServers *servers, const char *const *stun, unsigned n_stun, const IpopTurnServer *turn,
                      unsigned n_turn);

/* Resolve and ask again now: the network changed. */
void ipop_servers_refresh(IpopServers *servers);

/* The STUN server to use, numeric; false when none has answered or been resolved. One that is numeric but silent so far is
 * given too: its answer may only be late. */
bool ipop_servers_stun(const IpopServers *servers, char ret_ip[static 46], uint16_t *ret_port);

/* The i-th address of a TURN server, IPv4 ones first; false when there are no more. A name may have one of each family.
 * Strings are borrowed until the next ipop_servers_set. */
bool ipop_servers_turn(const IpopServers *servers, unsigned i, char ret_ip[static 46], uint16_t *ret_port,
                       const char **ret_user, const char **ret_pass, IpopTurnTransport *ret_transport);

/* How the host's NAT maps an IPv4 socket, by what the STUN servers said of one and the same socket (RFC 4787 section 4.1). */
typedef enum {
    IPOP_NAT_UNKNOWN,     /* fewer than two servers have answered since the last question */
    IPOP_NAT_INDEPENDENT, /* all see it at one address and port, be there a NAT or none */
    IPOP_NAT_DEPENDENT,   /* "symmetric": another port for another destination */
} IpopNatMapping;

IpopNatMapping ipop_servers_nat(const IpopServers *servers);
