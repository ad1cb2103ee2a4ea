/* addresses.h - the host's own addresses that a peer might reach, and word when they change. Main thread. */
#pragma once

#include <glib.h>

/* Numeric addresses, usable for candidates: interfaces that are up and have a carrier, without loopback, without the interface `except`
 * (our TUN device), without those in `ignore` (NULL-terminated, may be NULL), without fe80::, tentative, deprecated.
 * Temporary IPv6 addresses come before their stable ones. At most 16, IPv4 and IPv6 in turn. Owned by the caller
 * (g_strfreev). */
char **ipop_addresses_list(const char *except, const char *const *ignore);

typedef enum {
    IPOP_NETWORK_GONE,  /* no address is left */
    IPOP_NETWORK_BACK,  /* after that: all as it was before */
    IPOP_NETWORK_OTHER, /* the list, or the set of default routes, is another than before */
} IpopNetworkChange;

/* Calls changed(user) from the main context 50 ms after the last rtnetlink message of a burst (300 ms after the first at
 * most), and at once when an address or a carrier was lost, whenever the list or the set of default routes is another than
 * before. */
typedef struct IpopAddressWatch IpopAddressWatch;
IpopAddressWatch *ipop_address_watch_new(const char *except, void (*changed)(void *user, IpopNetworkChange change), void *user,
                                         GError **error);
void ipop_address_watch_set_ignore(IpopAddressWatch *watch, const char *const *ignore);

/* Looks at once, whatever messages came. changed() may be called from inside. */
void ipop_address_watch_look(IpopAddressWatch *watch);
void ipop_address_watch_free(IpopAddressWatch *watch);
