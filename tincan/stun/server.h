/* server.h - one configured server: its text, its addresses, what asking it gave. For servers.c. */
#pragma once

#include "tincan/stun/servers.h"
#include "tincan/stun/turn.h"

#include <gio/gio.h>

enum { IPOP_V4, IPOP_V6, IPOP_FAMILIES };

/* One address of a server. */
typedef struct {
    IpopAddress address;
    IpopAddress mapped; /* how the server saw our spare socket */
    bool own;           /* and that is an address of this host */
    bool two;           /* it has another address to answer from (OTHER-ADDRESS of RFC 5780) */
    unsigned answered;  /* the round of the last answer, 0 when there was none */
    unsigned rank;      /* the place of that answer in its round */
    unsigned requests;  /* sent in this round */
} IpopEndpoint;

typedef struct {
    char *text; /* as configured */
    char *host;
    uint16_t port;
    IpopEndpoint endpoint[IPOP_FAMILIES];
    char *user, *pass; /* TURN; NULL for STUN */
    IpopTurnTransport transport;
    IpopServers *list;    /* whose it is */
    IpopTurnTrial *trial; /* stays for a moment after its end, to release what was allocated */
    bool trying;
    unsigned tried; /* the family it is about */
    IpopServerVerdict verdict, before;
    char *verdict_text; /* NULL: none */
} IpopServer;

/* False when the text is none. */
bool ipop_server_init(IpopServer *ret, const char *text);
void ipop_server_clear(IpopServer *server);

/* A changed address starts anew; the same one keeps its answer until the next. */
void ipop_server_set_endpoint(IpopServer *server, GInetAddress *ip);

bool ipop_server_has_address(const IpopServer *server);
