#include "tincan/tun/netlink.h"

#include "tincan/base/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#define REQUEST_MAX 512 /* the largest of ours has 80 bytes */

struct IpopNetlink {
    struct mnl_socket *socket;
    uint32_t sequence;
};

IpopNetlink *ipop_netlink_open(GError **error) {
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't open a netlink socket: %s; does a sandbox forbid AF_NETLINK?",
                    g_strerror(errno));
        if (socket)
            mnl_socket_close(socket);
        return NULL;
    }
    IpopNetlink *netlink = g_new0(IpopNetlink, 1);
    netlink->socket = socket;
    return netlink;
}

void ipop_netlink_close(IpopNetlink *netlink) {
    if (!netlink)
        return;
    mnl_socket_close(netlink->socket);
    g_free(netlink);
}

/* Sends the request and waits for its acknowledgement; 0 or a negative errno. An answer to an earlier request (one whose
 * wait was cut short by an error) has another sequence number: libmnl says ESRCH, and it is passed over. */
static int request(IpopNetlink *netlink, struct nlmsghdr *message) {
    char answer[4096];
    message->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    message->nlmsg_seq = ++netlink->sequence;
    if (mnl_socket_sendto(netlink->socket, message, message->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(netlink->socket, answer, sizeof answer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        const struct nlmsghdr *head = (const struct nlmsghdr *)answer;
        if ((size_t)n < sizeof *head || head->nlmsg_seq != netlink->sequence)
            continue;
        if (mnl_cb_run(answer, (size_t)n, netlink->sequence, mnl_socket_get_portid(netlink->socket), NULL, NULL) < 0)
            return -errno;
        return 0;
    }
}

static struct nlmsghdr *begin_link(char *buffer, int ifindex, struct ifinfomsg **ret_info) {
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = RTM_NEWLINK;
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    info->ifi_index = ifindex;
    *ret_info = info;
    return message;
}

int ipop_netlink_set_link(IpopNetlink *netlink, int ifindex, unsigned mtu, unsigned txqueuelen, bool up) {
    char buffer[REQUEST_MAX];
    struct ifinfomsg *info;
    struct nlmsghdr *message = begin_link(buffer, ifindex, &info);
    info->ifi_change = IFF_UP;
    info->ifi_flags = up ? IFF_UP : 0;
    mnl_attr_put_u32(message, IFLA_MTU, mtu);
    mnl_attr_put_u32(message, IFLA_TXQLEN, txqueuelen);
    return request(netlink, message);
}

int ipop_netlink_set_segments(IpopNetlink *netlink, int ifindex, unsigned segments) {
    char buffer[REQUEST_MAX];
    struct ifinfomsg *info;
    struct nlmsghdr *message = begin_link(buffer, ifindex, &info);
    mnl_attr_put_u32(message, IFLA_GSO_MAX_SEGS, segments);
    return request(netlink, message);
}

int ipop_netlink_no_link_local(IpopNetlink *netlink, int ifindex) {
    char buffer[REQUEST_MAX];
    struct ifinfomsg *info;
    struct nlmsghdr *message = begin_link(buffer, ifindex, &info);
    struct nlattr *families = mnl_attr_nest_start(message, IFLA_AF_SPEC);
    struct nlattr *ip6 = mnl_attr_nest_start(message, AF_INET6);
    mnl_attr_put_u8(message, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(message, ip6);
    mnl_attr_nest_end(message, families);
    return request(netlink, message);
}

int ipop_netlink_no_discipline(IpopNetlink *netlink, int ifindex) {
    char buffer[REQUEST_MAX];
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = RTM_NEWQDISC;
    message->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
    struct tcmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->tcm_family = AF_UNSPEC;
    info->tcm_ifindex = ifindex;
    info->tcm_parent = TC_H_ROOT;
    mnl_attr_put_strz(message, TCA_KIND, "noqueue");
    return request(netlink, message);
}

static int change_address(IpopNetlink *netlink, unsigned type, unsigned flags, int ifindex, int family, const void *address,
                          unsigned prefix) {
    char buffer[REQUEST_MAX];
    size_t n = family == AF_INET ? 4 : 16;
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = (uint16_t)type;
    message->nlmsg_flags = (uint16_t)flags;
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifa_family = (uint8_t)family;
    info->ifa_prefixlen = (uint8_t)prefix;
    /* No duplicate detection: there is no neighbour to ask on a TUN device, and it would delay the address's use. */
    info->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
    info->ifa_scope = RT_SCOPE_UNIVERSE;
    info->ifa_index = (uint32_t)ifindex;
    mnl_attr_put(message, IFA_LOCAL, n, address);
    mnl_attr_put(message, IFA_ADDRESS, n, address);
    return request(netlink, message);
}

int ipop_netlink_add_address(IpopNetlink *netlink, int ifindex, int family, const void *address, unsigned prefix) {
    return change_address(netlink, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifindex, family, address, prefix);
}

int ipop_netlink_remove_address(IpopNetlink *netlink, int ifindex, int family, const void *address, unsigned prefix) {
    return change_address(netlink, RTM_DELADDR, 0, ifindex, family, address, prefix);
}

static struct nlmsghdr *begin_route(char *buffer, unsigned type, int ifindex, int family, const void *host) {
    size_t n = family == AF_INET ? 4 : 16;
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = (uint16_t)type;
    struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
    route->rtm_family = (uint8_t)family;
    route->rtm_dst_len = (uint8_t)(n * 8);
    route->rtm_table = RT_TABLE_MAIN;
    route->rtm_protocol = RTPROT_STATIC;
    route->rtm_scope = family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    route->rtm_type = RTN_UNICAST;
    mnl_attr_put(message, RTA_DST, n, host);
    mnl_attr_put_u32(message, RTA_OIF, (uint32_t)ifindex);
    return message;
}

int ipop_netlink_set_route(IpopNetlink *netlink, int ifindex, int family, const void *host, const void *source,
                           unsigned mtu) {
    char buffer[REQUEST_MAX];
    struct nlmsghdr *message = begin_route(buffer, RTM_NEWROUTE, ifindex, family, host);
    message->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
    if (source)
        mnl_attr_put(message, RTA_PREFSRC, family == AF_INET ? 4 : 16, source);
    struct nlattr *metrics = mnl_attr_nest_start(message, RTA_METRICS);
    mnl_attr_put_u32(message, RTAX_MTU, mtu);
    mnl_attr_nest_end(message, metrics);
    return request(netlink, message);
}

int ipop_netlink_remove_route(IpopNetlink *netlink, int ifindex, int family, const void *host) {
    char buffer[REQUEST_MAX];
    return request(netlink, begin_route(buffer, RTM_DELROUTE, ifindex, family, host));
}
