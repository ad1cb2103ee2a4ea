/* ice.h - the transport that is ICE (RFC 8445, trickled as RFC 8838), made of libnice. ice.c is the one file that includes
 * it. Main thread; its path is sent on by the data thread. */
#pragma once

#include "tincan/link/portmap.h"
#include "tincan/link/transport.h"
#include "tincan/stun/servers.h"

typedef struct {
    bool controlling;
    char **addresses;           /* local addresses to offer, numeric, NULL-terminated; borrowed for the call */
    const IpopServers *servers; /* outlives the transport, as does: */
    IpopPortmap *portmap;       /* NULL: no ports are mapped */
} IpopIceConfig;

/* Starts gathering; host candidates come with the first turn of the main loop. NULL and error when there is no address
 * to offer. */
IpopTransport *ipop_ice_new(const IpopIceConfig *config, const IpopTransportEvents *events, void *user, GError **error);
