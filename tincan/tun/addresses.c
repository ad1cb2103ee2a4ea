#include "tincan/tun/addresses.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#define LIST_MAX 16
#define DUMP_TRIES 3         /* a dump that changes run into is cut off (NLM_F_DUMP_INTR) and asked for again */
#define BUFFER_SIZE 32768    /* the largest part of a dump that the kernel makes */
#define READS_PER_TURN 64
#define ATTRIBUTES 64        /* those we read have lower numbers */
#define QUIET_US (50 * 1000) /* after the last message of a burst */
#define LONGEST_US (300 * 1000)

typedef struct {
    char text[INET6_ADDRSTRLEN];
    int family;
    unsigned rank; /* lower first */
} Address;

/* What the kernel says at one moment. */
typedef struct {
    const char *except;
    const char *const *ignore;
    GHashTable *links;   /* index of each interface that counts -> 1, or 2 if a default route leads there */
    GPtrArray *routes;   /* default routes, as text to compare */
    GArray *addresses;   /* Address */
} Look;

static int store_attribute(const struct nlattr *attr, void *user) {
    const struct nlattr **table = user;
    if (mnl_attr_get_type(attr) < ATTRIBUTES)
        table[mnl_attr_get_type(attr)] = attr;
    return MNL_CB_OK;
}

/* Fills a table of ATTRIBUTES pointers, NULL where the message has no such attribute. */
static void read_attributes(const struct nlmsghdr *message, unsigned head, const struct nlattr **table) {
    memset(table, 0, ATTRIBUTES * sizeof *table);
    mnl_attr_parse(message, head, store_attribute, table);
}

static int on_link(const struct nlmsghdr *message, void *user) {
    Look *look = user;
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
    const struct nlattr *attributes[ATTRIBUTES];
    read_attributes(message, sizeof *info, attributes);
    const char *name = attributes[IFLA_IFNAME] ? mnl_attr_get_str(attributes[IFLA_IFNAME]) : "";
    bool ignored = g_strcmp0(name, look->except) == 0 || (look->ignore && g_strv_contains(look->ignore, name));
    if (!ignored && info->ifi_flags & IFF_UP && info->ifi_flags & IFF_RUNNING && !(info->ifi_flags & IFF_LOOPBACK))
        g_hash_table_insert(look->links, GINT_TO_POINTER(info->ifi_index), GINT_TO_POINTER(1));
    return MNL_CB_OK;
}

/* A default route becomes a text of what decides where it leads; its remaining lifetime and the like would make every router
 * advertisement look like a change. */
static int on_route(const struct nlmsghdr *message, void *user) {
    Look *look = user;
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    if (route->rtm_dst_len != 0 || route->rtm_type != RTN_UNICAST || route->rtm_flags & RTM_F_CLONED)
        return MNL_CB_OK;

    const struct nlattr *attributes[ATTRIBUTES];
    read_attributes(message, sizeof *route, attributes);
    if (attributes[RTA_OIF]) {
        gpointer link = GINT_TO_POINTER((int)mnl_attr_get_u32(attributes[RTA_OIF]));
        if (!g_hash_table_contains(look->links, link))
            return MNL_CB_OK;
        g_hash_table_insert(look->links, link, GINT_TO_POINTER(2));
    }
    static const int telling[] = {RTA_TABLE, RTA_OIF, RTA_GATEWAY, RTA_VIA, RTA_PRIORITY, RTA_MULTIPATH, RTA_NH_ID};
    GString *text = g_string_new(NULL);
    g_string_printf(text, "default/%u", route->rtm_family);
    for (size_t i = 0; i < G_N_ELEMENTS(telling); i++) {
        const struct nlattr *attr = attributes[telling[i]];
        g_string_append_c(text, ' ');
        for (unsigned k = 0; attr && k < mnl_attr_get_payload_len(attr); k++)
            g_string_append_printf(text, "%02x", ((const uint8_t *)mnl_attr_get_payload(attr))[k]);
    }
    g_ptr_array_add(look->routes, g_string_free(text, FALSE));
    return MNL_CB_OK;
}

static bool is_usable(int family, const void *bytes, uint32_t flags) {
    if (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED))
        return false;
    if (family == AF_INET)
        return *(const uint8_t *)bytes != 127;
    return !IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)bytes) && !IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)bytes);
}

static int on_address(const struct nlmsghdr *message, void *user) {
    Look *look = user;
    const struct ifaddrmsg *info = mnl_nlmsg_get_payload(message);
    int link = GPOINTER_TO_INT(g_hash_table_lookup(look->links, GINT_TO_POINTER((int)info->ifa_index)));
    unsigned size = info->ifa_family == AF_INET ? 4 : 16;
    if (!link || (info->ifa_family != AF_INET && info->ifa_family != AF_INET6))
        return MNL_CB_OK;

    const struct nlattr *attributes[ATTRIBUTES];
    read_attributes(message, sizeof *info, attributes);
    uint32_t flags = attributes[IFA_FLAGS] ? mnl_attr_get_u32(attributes[IFA_FLAGS]) : info->ifa_flags;
    /* On a point-to-point interface IFA_ADDRESS is the other end. */
    const struct nlattr *own = attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
    if (!own || mnl_attr_get_payload_len(own) != size || !is_usable(info->ifa_family, mnl_attr_get_payload(own), flags))
        return MNL_CB_OK;

    Address found = {.family = info->ifa_family};
    /* Interfaces with a default route first: a host may have dozens of bridges that lead nowhere. */
    found.rank = (link == 2 ? 0 : 2) + (info->ifa_family == AF_INET6 && !(flags & IFA_F_TEMPORARY) ? 1 : 0);
    inet_ntop(info->ifa_family, mnl_attr_get_payload(own), found.text, sizeof found.text);
    g_array_append_val(look->addresses, found);
    return MNL_CB_OK;
}

static bool dump(struct mnl_socket *socket, unsigned sequence, uint16_t type, size_t head, mnl_cb_t callback, void *user) {
    char buffer[BUFFER_SIZE];
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message->nlmsg_seq = sequence;
    mnl_nlmsg_put_extra_header(message, head); /* zeroed: any family */
    if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
        return false;
    int more = 1;
    while (more > 0) {
        ssize_t n = mnl_socket_recvfrom(socket, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        more = n < 0 ? -1 : mnl_cb_run(buffer, (size_t)n, sequence, mnl_socket_get_portid(socket), callback, user);
    }
    return more == 0;
}

static int compare_ranks(const void *a, const void *b) {
    return (int)((const Address *)a)->rank - (int)((const Address *)b)->rank;
}

static void look_clear(Look *look) {
    g_hash_table_unref(look->links);
    g_ptr_array_unref(look->routes);
    g_array_unref(look->addresses);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Look, look_clear)

static bool look_once(Look *look) {
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!socket)
        return false;
    /* In this order, since addresses and routes refer to links, and addresses to routes. */
    bool good = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
                dump(socket, 1, RTM_GETLINK, sizeof(struct ifinfomsg), on_link, look) &&
                dump(socket, 2, RTM_GETROUTE, sizeof(struct rtmsg), on_route, look) &&
                dump(socket, 3, RTM_GETADDR, sizeof(struct ifaddrmsg), on_address, look);
    mnl_socket_close(socket);
    return good;
}

/* Fills look (to be cleared); false when the kernel would not say. */
static bool look_around(Look *look, const char *except, const char *const *ignore) {
    *look = (Look){except, ignore, g_hash_table_new(NULL, NULL), g_ptr_array_new_with_free_func(g_free),
                   g_array_new(FALSE, FALSE, sizeof(Address))};
    bool good = false;
    for (int i = 0; i < DUMP_TRIES && !good; i++) {
        g_hash_table_remove_all(look->links);
        g_ptr_array_set_size(look->routes, 0);
        g_array_set_size(look->addresses, 0);
        good = look_once(look);
    }
    g_array_sort(look->addresses, compare_ranks); /* stable */
    return good;
}

/* The next address of this family from *position on, or NULL. */
static const Address *next_of(const GArray *addresses, guint *position, int family) {
    while (*position < addresses->len) {
        const Address *address = &g_array_index(addresses, Address, (*position)++);
        if (address->family == family)
            return address;
    }
    return NULL;
}

/* GPtrArray of at most LIST_MAX texts, IPv4 and IPv6 in turn; owned by the caller. */
static GPtrArray *interleave(const GArray *addresses) {
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    guint positions[2] = {0, 0};
    while (list->len < LIST_MAX && (positions[0] < addresses->len || positions[1] < addresses->len))
        for (int i = 0; i < 2 && list->len < LIST_MAX; i++) {
            const Address *address = next_of(addresses, &positions[i], i == 0 ? AF_INET : AF_INET6);
            if (address && !g_ptr_array_find_with_equal_func(list, address->text, g_str_equal, NULL))
                g_ptr_array_add(list, g_strdup(address->text));
        }
    return list;
}

char **ipop_addresses_list(const char *except, const char *const *ignore) {
    g_auto(Look) look;
    look_around(&look, except, ignore);
    GPtrArray *list = interleave(look.addresses);
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

struct IpopAddressWatch {
    char *except;
    char **ignore;
    void (*changed)(void *user, IpopNetworkChange change);
    void *user;
    struct mnl_socket *socket;
    guint readable; /* source ids */
    guint timer;
    int64_t burst;  /* when the first message of the present burst came */
    int64_t looked; /* last */
    char *state;    /* addresses and default routes as last seen */
    char *before;   /* and before there was no address; NULL while there is one */
};

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted text of the list and the default routes, or NULL when the kernel would not say. (g_free) */
static char *watch_state(const IpopAddressWatch *watch, bool *ret_none) {
    g_auto(Look) look;
    if (!look_around(&look, watch->except, (const char *const *)watch->ignore))
        return NULL;
    g_autoptr(GPtrArray) all = interleave(look.addresses);
    *ret_none = all->len == 0;
    g_ptr_array_extend_and_steal(all, g_ptr_array_ref(look.routes));
    g_ptr_array_sort(all, compare_texts);
    g_ptr_array_add(all, NULL);
    return g_strjoinv("\n", (char **)all->pdata);
}

/* Takes the new state. False when that is no news. */
static bool compare(IpopAddressWatch *watch, char *state, bool none, IpopNetworkChange *ret) {
    bool same = g_strcmp0(state, watch->state) == 0;
    if (same || (none && watch->before)) {
        g_free(state);
        return false;
    }
    *ret = none ? IPOP_NETWORK_GONE : g_strcmp0(state, watch->before) == 0 ? IPOP_NETWORK_BACK : IPOP_NETWORK_OTHER;
    g_free(watch->before);
    watch->before = none ? g_steal_pointer(&watch->state) : NULL;
    g_free(watch->state);
    watch->state = state;
    return true;
}

void ipop_address_watch_look(IpopAddressWatch *watch) {
    bool none;
    IpopNetworkChange change;
    g_clear_handle_id(&watch->timer, g_source_remove);
    watch->burst = 0;
    watch->looked = ipop_clock_now();
    char *state = watch_state(watch, &none);
    if (state && compare(watch, state, none, &change))
        watch->changed(watch->user, change); /* last: it may free the watch */
}

static gboolean on_quiet(void *user) {
    IpopAddressWatch *watch = user;
    watch->timer = 0;
    ipop_address_watch_look(watch);
    return G_SOURCE_REMOVE;
}

static void look_soon(IpopAddressWatch *watch) {
    int64_t now = ipop_clock_now();
    if (watch->burst == 0)
        watch->burst = now;
    int64_t delay = CLAMP(watch->burst + LONGEST_US - now, 0, QUIET_US);
    g_clear_handle_id(&watch->timer, g_source_remove);
    watch->timer = g_timeout_add((guint)(delay / 1000), on_quiet, watch);
}

/* Every message means "look again" but one on a route that is none of the default ones: those can be many, and ours. */
static bool matters(const struct nlmsghdr *message) {
    if (message->nlmsg_type != RTM_NEWROUTE && message->nlmsg_type != RTM_DELROUTE)
        return true;
    return ((const struct rtmsg *)mnl_nlmsg_get_payload(message))->rtm_dst_len == 0;
}

/* Something was lost, which a path may use. */
static bool is_loss(const struct nlmsghdr *message) {
    return message->nlmsg_type == RTM_DELADDR || message->nlmsg_type == RTM_DELLINK ||
           (message->nlmsg_type == RTM_NEWLINK &&
            !(((const struct ifinfomsg *)mnl_nlmsg_get_payload(message))->ifi_flags & IFF_RUNNING));
}

static gboolean on_readable(int fd, GIOCondition condition, void *user) {
    IpopAddressWatch *watch = user;
    char buffer[BUFFER_SIZE];
    bool look = false, loss = false;
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t n = mnl_socket_recvfrom(watch->socket, buffer, sizeof buffer);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            look = true; /* ENOBUFS: messages were lost */
            continue;
        }
        int left = (int)n;
        for (const struct nlmsghdr *m = (void *)buffer; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left)) {
            look = look || matters(m);
            loss = loss || is_loss(m);
        }
    }
    if (loss && ipop_clock_now() - watch->looked >= QUIET_US)
        ipop_address_watch_look(watch);
    else if (look)
        look_soon(watch);
    return G_SOURCE_CONTINUE;
}

IpopAddressWatch *ipop_address_watch_new(const char *except, void (*changed)(void *user, IpopNetworkChange change), void *user,
                                         GError **error) {
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    if (!socket || mnl_socket_bind(socket, groups, MNL_SOCKET_AUTOPID) < 0) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "can't watch the host's addresses by netlink: %s; does a sandbox forbid AF_NETLINK?", g_strerror(errno));
        if (socket)
            mnl_socket_close(socket);
        return NULL;
    }
    IpopAddressWatch *watch = g_new0(IpopAddressWatch, 1);
    *watch = (IpopAddressWatch){.except = g_strdup(except), .changed = changed, .user = user, .socket = socket};
    watch->readable = g_unix_fd_add(mnl_socket_get_fd(socket), G_IO_IN, on_readable, watch);
    bool none;
    watch->state = watch_state(watch, &none);
    return watch;
}

void ipop_address_watch_set_ignore(IpopAddressWatch *watch, const char *const *ignore) {
    g_strfreev(watch->ignore);
    watch->ignore = g_strdupv((char **)ignore);
    look_soon(watch);
}

void ipop_address_watch_free(IpopAddressWatch *watch) {
    if (!watch)
        return;
    g_source_remove(watch->readable);
    g_clear_handle_id(&watch->timer, g_source_remove);
    mnl_socket_close(watch->socket);
    g_strfreev(watch->ignore);
    g_free(watch->except);
    g_free(watch->state);
    g_free(watch->before);
    g_free(watch);
}
