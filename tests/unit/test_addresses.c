/* The host's addresses and word of their change, in a network namespace of its own. Needs root and /dev/net/tun: TUN devices
 * stand in for the host's interfaces. */
#include "tincan/tun/addresses.h"
#include "tincan/tun/device.h"
#include "tincan/tun/netlink.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OWN "own0" /* the node's TUN device */

typedef struct {
    IpopTun *own, *lan, *dsl;
    IpopNetlink *netlink;
} Host;

static IpopTun *make(const char *name, const char *ip4, const char *ip6) {
    g_autoptr(GError) error = NULL;
    IpopTun *tun = ipop_tun_open(name, &error);
    g_assert_no_error(error);
    IpopTunConfig config = {.ip4_mask = 24, .ip6_mask = 64, .mtu = 1400};
    g_strlcpy(config.ip4, ip4, sizeof config.ip4);
    g_strlcpy(config.ip6, ip6, sizeof config.ip6);
    bool no_ip6;
    g_assert_true(ipop_tun_configure(tun, &config, &no_ip6, &error));
    g_assert_no_error(error);
    return tun;
}

static void set_up(Host *host, const void *unused) {
    host->own = make(OWN, "172.31.0.1", "fd50::1");
    host->lan = make("lan0", "192.168.7.2", "2001:db8:7::2");
    host->dsl = make("dsl0", "", "");
    host->netlink = ipop_netlink_open(NULL);
    ipop_netlink_set_link(host->netlink, 1, 65536, 1000, true); /* lo, with 127.0.0.1 and ::1 */
}

static void tear_down(Host *host, const void *unused) {
    ipop_netlink_close(host->netlink);
    ipop_tun_close(host->own);
    ipop_tun_close(host->lan);
    ipop_tun_close(host->dsl);
}

static void add4(const Host *host, const IpopTun *tun, const char *text, unsigned prefix) {
    struct in_addr address;
    inet_pton(AF_INET, text, &address);
    g_assert_cmpint(ipop_netlink_add_address(host->netlink, ipop_tun_ifindex(tun), AF_INET, &address, prefix), ==, 0);
}

static void remove4(const Host *host, const IpopTun *tun, const char *text, unsigned prefix) {
    struct in_addr address;
    inet_pton(AF_INET, text, &address);
    g_assert_cmpint(ipop_netlink_remove_address(host->netlink, ipop_tun_ifindex(tun), AF_INET, &address, prefix), ==, 0);
}

/* An IPv6 address with these flags and preferred lifetime in seconds; 0 makes it deprecated. */
static void add6(const IpopTun *tun, const char *text, uint32_t flags, uint32_t preferred) {
    char buffer[512];
    uint8_t address[16];
    struct ifa_cacheinfo lifetime = {.ifa_prefered = preferred, .ifa_valid = 3600};
    inet_pton(AF_INET6, text, address);
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = RTM_NEWADDR;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifa_family = AF_INET6;
    info->ifa_prefixlen = 64;
    info->ifa_index = (uint32_t)ipop_tun_ifindex(tun);
    mnl_attr_put(message, IFA_LOCAL, sizeof address, address);
    mnl_attr_put(message, IFA_CACHEINFO, sizeof lifetime, &lifetime);
    mnl_attr_put_u32(message, IFA_FLAGS, flags);

    struct mnl_socket *socket = mnl_socket_open(NETLINK_ROUTE);
    g_assert_cmpint(mnl_socket_sendto(socket, message, message->nlmsg_len), >, 0);
    ssize_t n = mnl_socket_recvfrom(socket, buffer, sizeof buffer);
    g_assert_cmpint(mnl_cb_run(buffer, (size_t)n, 0, 0, NULL, NULL), ==, 0);
    mnl_socket_close(socket);
}

static void set_default_route(const char *device, bool add) {
    struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = (char *)device};
    route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(ioctl(fd, add ? SIOCADDRT : SIOCDELRT, &route), ==, 0);
    close(fd);
}

static void assert_list(const char *expected, const char *const *ignore) {
    g_auto(GStrv) list = ipop_addresses_list(OWN, ignore);
    g_autofree char *text = g_strjoinv(" ", list);
    g_assert_cmpstr(text, ==, expected);
}

static void test_list(Host *host, const void *unused) {
    assert_list("192.168.7.2 2001:db8:7::2", NULL); /* not the own device, lo, fe80 */

    add4(host, host->dsl, "203.0.113.9", 24);
    add4(host, host->dsl, "127.1.2.3", 24);
    add6(host->dsl, "2001:db8:9::9", IFA_F_NODAD, 1800);
    add6(host->dsl, "2001:db8:9::dead", IFA_F_NODAD, 0); /* deprecated */
    add6(host->dsl, "fe80::9", IFA_F_NODAD, 1800);
    assert_list("192.168.7.2 2001:db8:7::2 203.0.113.9 2001:db8:9::9", NULL);

    /* Where the default route leads comes first. */
    set_default_route("dsl0", true);
    assert_list("203.0.113.9 2001:db8:9::9 192.168.7.2 2001:db8:7::2", NULL);

    static const char *const none[] = {NULL}, *const lan[] = {"nosuch", "lan0", NULL}, *const both[] = {"lan0", "dsl0", NULL};
    assert_list("203.0.113.9 2001:db8:9::9 192.168.7.2 2001:db8:7::2", none);
    assert_list("203.0.113.9 2001:db8:9::9", lan);
    assert_list("", both);

    ipop_netlink_set_link(host->netlink, ipop_tun_ifindex(host->dsl), 1400, 100, false);
    assert_list("192.168.7.2 2001:db8:7::2", NULL);

    g_auto(GStrv) all = ipop_addresses_list(NULL, NULL);
    g_assert_true(g_strv_contains((const char *const *)all, "172.31.0.1"));
}

static void test_list_bound(Host *host, const void *unused) {
    for (unsigned i = 1; i <= 40; i++) {
        g_autofree char *text = g_strdup_printf("10.0.%u.1", i);
        add4(host, host->dsl, text, 24);
    }
    add6(host->dsl, "2001:db8:9::9", IFA_F_NODAD, 1800);
    g_auto(GStrv) list = ipop_addresses_list(OWN, NULL);
    g_assert_cmpuint(g_strv_length(list), ==, 16);
    g_assert_cmpstr(list[1], ==, "2001:db8:7::2");
    g_assert_cmpstr(list[3], ==, "2001:db8:9::9"); /* many of one family don't crowd out the other */
    add4(host, host->dsl, "192.168.7.2", 32);      /* twice on the host, once in the list */
    g_auto(GStrv) again = ipop_addresses_list(OWN, NULL);
    for (guint i = 0; again[i]; i++)
        g_assert_false(g_strv_contains((const char *const *)again + i + 1, again[i]));
}

static void count(void *user, IpopNetworkChange change) {
    ++*(unsigned *)user;
}

static gboolean too_late(void *unused) {
    g_error("waited for an event in vain");
    return G_SOURCE_REMOVE;
}

static void wait_for(const unsigned *counter, unsigned value) {
    guint guard = g_timeout_add_seconds(20, too_late, NULL);
    while (*counter < value)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(guard);
}

/* With privacy extensions the kernel makes a temporary address beside each stable one. */
static void test_temporary_first(Host *host, const void *unused) {
    int fd = open("/proc/sys/net/ipv6/conf/dsl0/use_tempaddr", O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(write(fd, "2", 1), ==, 1);
    close(fd);
    unsigned changes = 0;
    static const char *const lan[] = {"lan0", NULL};
    IpopAddressWatch *watch = ipop_address_watch_new(OWN, count, &changes, NULL);
    add6(host->dsl, "2001:db8:9::9", IFA_F_NODAD | IFA_F_MANAGETEMPADDR, 1800);
    g_auto(GStrv) list = NULL;
    for (unsigned seen = 1; !list || g_strv_length(list) < 2; seen++) {
        wait_for(&changes, seen); /* it may be tentative for a moment */
        g_strfreev(list);
        list = ipop_addresses_list(OWN, lan);
    }
    ipop_address_watch_free(watch);
    g_assert_cmpuint(g_strv_length(list), ==, 2);
    g_assert_true(g_str_has_prefix(list[0], "2001:db8:9:"));
    g_assert_cmpstr(list[1], ==, "2001:db8:9::9");
}

static void test_watch(Host *host, const void *unused) {
    unsigned changes = 0;
    g_autoptr(GError) error = NULL;
    IpopAddressWatch *watch = ipop_address_watch_new(OWN, count, &changes, &error);
    g_assert_no_error(error);

    add4(host, host->dsl, "203.0.113.9", 24);
    wait_for(&changes, 1);
    set_default_route("dsl0", true); /* same addresses, another way out */
    wait_for(&changes, 2);
    add6(host->dsl, "2001:db8:9::9", IFA_F_NODAD, 1800);
    wait_for(&changes, 3);
    add6(host->dsl, "2001:db8:9::9", IFA_F_NODAD, 0); /* deprecated from now on */
    wait_for(&changes, 4);
    remove4(host, host->dsl, "203.0.113.9", 24);
    wait_for(&changes, 5);
    ipop_netlink_set_link(host->netlink, ipop_tun_ifindex(host->lan), 1400, 100, false);
    wait_for(&changes, 6);

    /* A burst is one change. */
    ipop_netlink_set_link(host->netlink, ipop_tun_ifindex(host->lan), 1400, 100, true);
    for (unsigned i = 1; i <= 20; i++) {
        g_autofree char *text = g_strdup_printf("10.0.%u.1", i);
        add4(host, host->dsl, text, 24);
    }
    wait_for(&changes, 7);
    g_assert_cmpuint(changes, ==, 7);
    ipop_address_watch_free(watch);
    ipop_address_watch_free(NULL);
}

static void note(void *user, IpopNetworkChange change) {
    g_array_append_val((GArray *)user, change);
}

static void wait_changes(const GArray *changes, guint n) {
    gint64 limit = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
    while (changes->len < n) {
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
        g_main_context_iteration(NULL, FALSE);
        g_usleep(1000);
    }
    g_assert_cmpuint(changes->len, ==, n);
}

/* All addresses gone and back is less than a change. */
static void test_watch_gone_and_back(Host *host, const void *unused) {
    g_autoptr(GArray) changes = g_array_new(FALSE, FALSE, sizeof(IpopNetworkChange));
    /* Of IPv4 alone: an IPv6 address does not survive its interface going down. */
    ipop_netlink_set_link(host->netlink, ipop_tun_ifindex(host->lan), 1400, 100, false);
    add4(host, host->dsl, "203.0.113.9", 24);
    IpopAddressWatch *watch = ipop_address_watch_new(OWN, note, changes, NULL);
    static const IpopNetworkChange expected[] = {IPOP_NETWORK_GONE, IPOP_NETWORK_BACK, IPOP_NETWORK_GONE, IPOP_NETWORK_OTHER};
    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        if (i == 3)
            add4(host, host->dsl, "203.0.113.10", 24);
        ipop_netlink_set_link(host->netlink, ipop_tun_ifindex(host->dsl), 1400, 100, i % 2);
        wait_changes(changes, i + 1);
        g_assert_cmpint(g_array_index(changes, IpopNetworkChange, i), ==, expected[i]);
    }
    ipop_address_watch_free(watch);
}

/* What happens on our own device, or changes nothing, is no news. The witness tells when the burst is over; had the watch
 * called back for it, there would be two calls after the next real change. */
static void test_watch_silent(Host *host, const void *unused) {
    unsigned changes = 0, seen = 0;
    IpopAddressWatch *watch = ipop_address_watch_new(OWN, count, &changes, NULL);
    IpopAddressWatch *witness = ipop_address_watch_new(NULL, count, &seen, NULL);
    set_default_route(OWN, true);
    add4(host, host->own, "172.31.0.2", 32);
    ipop_netlink_set_link(host->netlink, ipop_tun_ifindex(host->lan), 1401, 100, true);
    wait_for(&seen, 1);
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_assert_cmpuint(changes, ==, 0);

    add4(host, host->lan, "192.168.7.3", 24);
    wait_for(&changes, 1);
    wait_for(&seen, 2);
    g_assert_cmpuint(changes, ==, 1);
    ipop_address_watch_free(watch);
    ipop_address_watch_free(witness);
}

static void test_watch_ignore(Host *host, const void *unused) {
    static const char *const lan[] = {"lan0", NULL};
    unsigned changes = 0;
    IpopAddressWatch *watch = ipop_address_watch_new(OWN, count, &changes, NULL);
    ipop_address_watch_set_ignore(watch, lan);
    wait_for(&changes, 1);
    add4(host, host->lan, "192.168.7.3", 24); /* ignored */
    add4(host, host->dsl, "203.0.113.9", 24);
    wait_for(&changes, 2);
    ipop_address_watch_set_ignore(watch, NULL);
    wait_for(&changes, 3);
    ipop_address_watch_free(watch);
}

/* So many messages that the socket's buffer overflows: the watch looks again all the same. */
static void test_watch_overflow(Host *host, const void *unused) {
    unsigned changes = 0;
    IpopAddressWatch *watch = ipop_address_watch_new(OWN, count, &changes, NULL);
    for (unsigned i = 0; i < 2000; i++) {
        add4(host, host->own, "172.31.0.9", 32);
        remove4(host, host->own, "172.31.0.9", 32);
    }
    add4(host, host->dsl, "203.0.113.9", 24);
    wait_for(&changes, 1);
    ipop_address_watch_free(watch);
}

typedef struct {
    IpopAddressWatch *watch;
    unsigned changes;
} Freeing;

static void free_watch(void *user, IpopNetworkChange change) {
    Freeing *freeing = user;
    freeing->changes++;
    ipop_address_watch_free(freeing->watch);
}

static void test_watch_freed_inside(Host *host, const void *unused) {
    Freeing freeing = {.changes = 0};
    freeing.watch = ipop_address_watch_new(OWN, free_watch, &freeing, NULL);
    add4(host, host->dsl, "203.0.113.9", 24);
    wait_for(&freeing.changes, 1);
}

static void test_impossible(void) {
    g_test_skip("needs root and /dev/net/tun");
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    if (access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0) {
        g_test_add_func("/addresses/all", test_impossible);
        return g_test_run();
    }
#define ADD(path, function) g_test_add(path, Host, NULL, set_up, function, tear_down)
    ADD("/addresses/list", test_list);
    ADD("/addresses/list-bound", test_list_bound);
    ADD("/addresses/temporary-first", test_temporary_first);
    ADD("/addresses/watch", test_watch);
    ADD("/addresses/watch-gone-and-back", test_watch_gone_and_back);
    ADD("/addresses/watch-silent", test_watch_silent);
    ADD("/addresses/watch-ignore", test_watch_ignore);
    ADD("/addresses/watch-overflow", test_watch_overflow);
    ADD("/addresses/watch-freed-inside", test_watch_freed_inside);
    return g_test_run();
}
