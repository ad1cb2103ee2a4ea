/* netlink.h - the few rtnetlink requests we make (rtnetlink(7)), each answered by the kernel before it returns. Main thread. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct IpopNetlink IpopNetlink;

IpopNetlink *ipop_netlink_open(GError **error);
void ipop_netlink_close(IpopNetlink *netlink);

/* Each returns 0 or a negative errno of the kernel. Addresses are in network order, 4 or 16 bytes. Adding one that is there
 * already with this prefix is no error; removing one that is not there is EADDRNOTAVAIL. */
int ipop_netlink_set_link(IpopNetlink *netlink, int ifindex, unsigned mtu, unsigned txqueuelen, bool up);
/* How many segments one super-packet given to the device may have. */
int ipop_netlink_set_segments(IpopNetlink *netlink, int ifindex, unsigned segments);

/* Takes away the queueing discipline, of which a device with several queues would have one for each of 256. A TUN device never
 * makes one wait, so nothing is lost. */
int ipop_netlink_no_discipline(IpopNetlink *netlink, int ifindex);

int ipop_netlink_add_address(IpopNetlink *netlink, int ifindex, int family, const void *address, unsigned prefix);
int ipop_netlink_remove_address(IpopNetlink *netlink, int ifindex, int family, const void *address, unsigned prefix);

/* A route to one host over the interface, with source as the address of our own packets there (NULL: the kernel's
 * choice) and with its own MTU; replaces the one that is there. Removing one that is not there is ESRCH. */
int ipop_netlink_set_route(IpopNetlink *netlink, int ifindex, int family, const void *host, const void *source,
                           unsigned mtu);
int ipop_netlink_remove_route(IpopNetlink *netlink, int ifindex, int family, const void *host);

/* Keeps the kernel from giving the device an fe80 address of its own when it comes up, and with it from sending router
 * solicitations into the tunnel. Fails where IPv6 is switched off. */
int ipop_netlink_no_link_local(IpopNetlink *netlink, int ifindex);
