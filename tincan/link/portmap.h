/* portmap.h - ports that a router on the LAN forwards to this host, by UPnP IGD (gupnp-igd, the library that libnice would use).
 * Main thread.
 *
 * Why not libnice's own: it makes a thread and a search of the LAN for each agent, drops the mapped address behind a symmetric
 * NAT, where it is worth most, and its mappings have no lease and stay for good after a crash. Here is one search per node, a
 * lease of an hour (renewed by the library), and the mapped address is a candidate like any other.
 *
 * Off unless asked for: it speaks HTTP and XML with whoever on the LAN says to be a router, and listens for announcements.
 */
#pragma once

#include "tincan/ctl/candidate.h"

#include <glib.h>

typedef struct IpopPortmap IpopPortmap;

/* Looks for routers on every interface but these (NULL-terminated; copied). */
IpopPortmap *ipop_portmap_new(const char *const *ignore);
void ipop_portmap_free(IpopPortmap *portmap); /* accepts NULL; after its sets */

/* Takes all mappings back; true when that is done. Until then the main loop must run; ask again. */
bool ipop_portmap_close(IpopPortmap *portmap);

/* The outside address of the router that maps, "" when none has. Borrowed. */
const char *ipop_portmap_router(const IpopPortmap *portmap);

/* The ports of one transport. */
typedef struct IpopPortmapSet IpopPortmapSet;

/* A port was mapped: the reflexive candidate that it makes, of the host candidate it belongs to. From the main loop. */
typedef void (*IpopPortmapMapped)(void *user, const IpopCandidate *candidate);

IpopPortmapSet *ipop_portmap_set_new(IpopPortmap *portmap, IpopPortmapMapped mapped, void *user);
void ipop_portmap_set_free(IpopPortmapSet *set); /* takes its mappings back; accepts NULL */

/* Asks for the port of an IPv4 host candidate; others are left alone. */
void ipop_portmap_set_add(IpopPortmapSet *set, const IpopCandidate *host);

/* An answer may still come: one is out for less than a second, and a router is known or the search has only begun. */
bool ipop_portmap_set_waiting(const IpopPortmapSet *set);
