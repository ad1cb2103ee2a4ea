/* addresses.h - the host's own addresses that a peer might reach, and word when they change. Main thread. */
#pragma once

#include <glib.h>

/* Numeric addresses, usable for candidates: interfaces that are up, without loopback, without the interface `except`
 * (our TUN device), without those in `ignore` (NULL-terminated, may be NULL), without fe80::, tentative, deprecated.
 * Temporary IPv6 addresses come before their stable ones. At most 16, IPv4 and IPv6 in turn. Owned by the caller
 * (g_strfreev). */
char **ipop_addresses_list(const char *except, const char *const *ignore);

/* Calls changed(user) from the main context 50 ms after the last rtnetlink message of a burst (300 ms after the first at
 * most) whenever the list, or the set of default routes, is another than before. */
typedef struct IpopAddressWatch IpopAddressWatch;
IpopAddressWatch *ipop_address_watch_new(const char *except, void (*changed)(void *user), void *user, GError **error);
void ipop_address_watch_set_ignore(IpopAddressWatch *watch, const char *const *ignore);
void ipop_address_watch_free(IpopAddressWatch *watch);
