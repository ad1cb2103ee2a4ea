/* netlink.h - the few rtnetlink requests we make (rtnetlink(7)), each answered by the kernel before it returns. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct IpopNetlink IpopNetlink;

IpopNetlink *ipop_netlink_open(GError **error);
void ipop_netlink_close(IpopNetlink *netlink);

/* Each returns 0 or a negative errno of the kernel. */
int ipop_netlink_set_link(IpopNetlink *netlink, int ifindex, unsigned mtu, unsigned txqueuelen, bool up);
int ipop_netlink_add_address(IpopNetlink *netlink, int ifindex, int family, const void *address, unsigned prefix);
int ipop_netlink_remove_address(IpopNetlink *netlink, int ifindex, int family, const void *address, unsigned prefix);
