/* table.h - longest-prefix match from an overlay address to whoever it belongs to (a path-compressed binary trie per
 * family). Used by one thread at a time. Values are not owned; NULL means none. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_ROUTES_MAX 131072

typedef struct IpopRoutes IpopRoutes;

IpopRoutes *ipop_routes_new(void);
void ipop_routes_free(IpopRoutes *routes);

/* address: 4 (AF_INET) or 16 (AF_INET6) bytes; bits beyond prefix are ignored. Replaces what was there. False when the
 * table is full. */
bool ipop_routes_add(IpopRoutes *routes, int family, const uint8_t *address, unsigned prefix, void *value);

/* Removes that very prefix when its value is `value`; true when it was there. */
bool ipop_routes_remove(IpopRoutes *routes, int family, const uint8_t *address, unsigned prefix, void *value);

/* Removes every prefix with this value. */
void ipop_routes_remove_value(IpopRoutes *routes, const void *value);

void *ipop_routes_lookup(const IpopRoutes *routes, int family, const uint8_t *address);

size_t ipop_routes_count(const IpopRoutes *routes);
