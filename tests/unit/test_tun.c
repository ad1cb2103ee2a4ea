/* The TUN device, in a network namespace of its own. Needs root and /dev/net/tun. */
#include "tincan/base/error.h"
#include "tincan/packet/vnet.h"
#include "tincan/tun/device.h"
#include "tincan/tun/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#define NAME "tst0"

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The interface's addresses of a family as "address/prefix", sorted and joined by ' '. */
static char *addresses_of(const char *name, int family) {
    struct ifaddrs *all = NULL;
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
    g_assert_cmpint(getifaddrs(&all), ==, 0);
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        if (strcmp(one->ifa_name, name) != 0 || !one->ifa_addr || one->ifa_addr->sa_family != family)
            continue;
        char text[INET6_ADDRSTRLEN];
        unsigned prefix = 0;
        const uint8_t *mask;
        if (family == AF_INET) {
            inet_ntop(family, &((struct sockaddr_in *)one->ifa_addr)->sin_addr, text, sizeof text);
            mask = (uint8_t *)&((struct sockaddr_in *)one->ifa_netmask)->sin_addr;
        } else {
            inet_ntop(family, &((struct sockaddr_in6 *)one->ifa_addr)->sin6_addr, text, sizeof text);
            mask = (uint8_t *)&((struct sockaddr_in6 *)one->ifa_netmask)->sin6_addr;
        }
        for (unsigned i = 0; i < (family == AF_INET ? 4U : 16U); i++)
            prefix += (unsigned)__builtin_popcount(mask[i]);
        g_ptr_array_add(found, g_strdup_printf("%s/%u", text, prefix));
    }
    freeifaddrs(all);
    g_ptr_array_sort(found, compare_texts);
    g_ptr_array_add(found, NULL);
    return g_strjoinv(" ", (char **)found->pdata);
}

#define assert_addresses(family, expected)                        \
    do {                                                          \
        g_autofree char *addresses_ = addresses_of(NAME, family); \
        g_assert_cmpstr(addresses_, ==, expected);                \
    } while (0)

static int get(const char *name, unsigned long what) {
    struct ifreq request = {0};
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(ioctl(fd, what, &request), ==, 0);
    close(fd);
    return what == SIOCGIFMTU ? request.ifr_mtu : what == SIOCGIFTXQLEN ? request.ifr_qlen : request.ifr_flags;
}

static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
    close(fd);
}

static IpopTun *open_tun(void) {
    g_autoptr(GError) error = NULL;
    IpopTun *tun = ipop_tun_open(NAME, &error);
    g_assert_no_error(error);
    return tun;
}

static bool configure(IpopTun *tun, const char *ip4, unsigned ip4_mask, const char *ip6, unsigned ip6_mask, unsigned mtu) {
    IpopTunConfig config = {.ip4_mask = ip4_mask, .ip6_mask = ip6_mask, .mtu = mtu};
    g_autoptr(GError) error = NULL;
    bool no_ip6 = true;
    g_strlcpy(config.ip4, ip4, sizeof config.ip4);
    g_strlcpy(config.ip6, ip6, sizeof config.ip6);
    g_assert_true(ipop_tun_configure(tun, &config, &no_ip6, &error));
    g_assert_no_error(error);
    return no_ip6;
}

static void test_open(void) {
    IpopTun *tun = open_tun();
    g_assert_cmpstr(ipop_tun_name(tun), ==, NAME);
    g_assert_cmpint(ipop_tun_ifindex(tun), ==, (int)if_nametoindex(NAME));
    g_assert_true(fcntl(ipop_tun_fd(tun, 0), F_GETFL) & O_NONBLOCK);
    g_assert_true(fcntl(ipop_tun_fd(tun, 0), F_GETFD) & FD_CLOEXEC);
    char byte;
    g_assert_cmpint(read(ipop_tun_fd(tun, 0), &byte, 1), ==, -1); /* nothing there, and no waiting */
    ipop_tun_close(tun);
    g_assert_cmpint((int)if_nametoindex(NAME), ==, 0);
    ipop_tun_close(NULL);
}

static void test_busy(void) {
    IpopTun *tun = open_tun();
    g_autoptr(GError) error = NULL;
    g_assert_null(ipop_tun_open(NAME, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, NAME " is in use"));
    ipop_tun_close(tun);

    g_clear_error(&error);
    g_assert_null(ipop_tun_open("lo", &error));
    g_assert_nonnull(strstr(error->message, "not a TUN device"));
}

static void test_bad_names(void) {
    static const char *const bad[] = {"", "0123456789abcdef", "a/b", "a b", "tun%d", "a\tb", "a:1", ".", "..", "n\303\266", "a\n"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(ipop_tun_open(bad[i], &error));
        g_assert_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG);
    }
    g_autoptr(GError) error = NULL;
    IpopTun *longest = ipop_tun_open("0123456789abcde", &error);
    g_assert_no_error(error);
    ipop_tun_close(longest);
}

static void test_configure(void) {
    IpopTun *tun = open_tun();
    g_assert_false(configure(tun, "172.31.4.5", 16, "fd50:dbc:41f2:4a3c::5", 64, 1400));
    assert_addresses(AF_INET, "172.31.4.5/16");
    assert_addresses(AF_INET6, "fd50:dbc:41f2:4a3c::5/64"); /* and no fe80 */
    g_assert_cmpint(get(NAME, SIOCGIFMTU), ==, 1400);
    g_assert_cmpint(get(NAME, SIOCGIFTXQLEN), ==, 4000);
    g_assert_true(get(NAME, SIOCGIFFLAGS) & IFF_UP);

    /* Usable at once: no duplicate address detection. */
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    inet_pton(AF_INET6, "fd50:dbc:41f2:4a3c::5", &address.sin6_addr);
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);

    /* The kernel made the connected routes: a packet to a neighbour comes out of the device. */
    inet_pton(AF_INET6, "fd50:dbc:41f2:4a3c::6", &address.sin6_addr);
    address.sin6_port = htons(9);
    g_assert_cmpint(sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address), ==, 1);
    uint8_t packet[128];
    g_assert_true(ipop_tun_vnet(tun));
    g_assert_cmpint(read(ipop_tun_fd(tun, 0), packet, sizeof packet), ==, IPOP_VNET_HEADER + 40 + 8 + 1);
    g_assert_cmphex(packet[IPOP_VNET_HEADER] >> 4, ==, 6);
    close(fd);

    /* Again, then others, then fewer. */
    configure(tun, "172.31.4.5", 16, "fd50:dbc:41f2:4a3c::5", 64, 1400);
    assert_addresses(AF_INET, "172.31.4.5/16");
    assert_addresses(AF_INET6, "fd50:dbc:41f2:4a3c::5/64");
    configure(tun, "172.31.4.6", 16, "fd50:dbc:41f2:4a3c::6", 64, 9000);
    assert_addresses(AF_INET, "172.31.4.6/16");
    assert_addresses(AF_INET6, "fd50:dbc:41f2:4a3c::6/64");
    g_assert_cmpint(get(NAME, SIOCGIFMTU), ==, 9000);
    configure(tun, "172.31.4.6", 24, "fd50:dbc:41f2:4a3c::6", 48, 1280);
    assert_addresses(AF_INET, "172.31.4.6/24");
    assert_addresses(AF_INET6, "fd50:dbc:41f2:4a3c::6/48");
    configure(tun, "", 0, "", 0, 1280);
    assert_addresses(AF_INET, "");
    assert_addresses(AF_INET6, "");
    ipop_tun_close(tun);
}

/* From the host, a datagram of one byte to there. */
static void send_to(const char *host) {
    struct sockaddr_storage to = {.ss_family = strchr(host, ':') ? AF_INET6 : AF_INET};
    struct sockaddr_in *in4 = (struct sockaddr_in *)&to;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&to;
    in4->sin_port = htons(9); /* at the same place as sin6_port */
    void *address = to.ss_family == AF_INET6 ? (void *)&in6->sin6_addr : (void *)&in4->sin_addr;
    g_assert_cmpint(inet_pton(to.ss_family, host, address), ==, 1);
    int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, to.ss_family == AF_INET6 ? sizeof *in6 : sizeof *in4), ==, 1);
    close(fd);
}

/* The one queue that has something, which is taken. */
static int queue_with_packet(IpopTun *tun, uint8_t *ret_packet, size_t room) {
    int found = -1;
    for (unsigned i = 0; i < ipop_tun_queues(tun); i++)
        if (read(ipop_tun_fd(tun, i), ret_packet, room) > 0) {
            g_assert_cmpint(found, ==, -1);
            found = (int)i;
        }
    return found;
}

static void test_queues(void) {
    IpopTun *tun = open_tun();
    uint8_t packet[256], address[16];
    g_assert_cmpuint(ipop_tun_queues(tun), ==, IPOP_TUN_QUEUES);
    configure(tun, "10.9.0.1", 24, "fd09::1", 64, 1400);
    for (int i = 2; i < 60; i++) {
        g_autofree char *ip4 = g_strdup_printf("10.9.0.%d", i), *ip6 = g_strdup_printf("fd09::%d", i);
        send_to(ip4);
        g_assert_cmpint(queue_with_packet(tun, packet, sizeof packet), ==, 0);
        inet_pton(AF_INET, ip4, address);
        ipop_tun_steer(tun, AF_INET, address, (unsigned)i % IPOP_TUN_QUEUES);
        inet_pton(AF_INET6, ip6, address);
        ipop_tun_steer(tun, AF_INET6, address, (unsigned)(i + 1) % IPOP_TUN_QUEUES);
        send_to(ip4);
        g_assert_cmpint(queue_with_packet(tun, packet, sizeof packet), ==, i % IPOP_TUN_QUEUES);
        send_to(ip6);
        g_assert_cmpint(queue_with_packet(tun, packet, sizeof packet), ==, (i + 1) % IPOP_TUN_QUEUES);
    }
    for (uint8_t i = 0; i < IPOP_TUN_QUEUES; i++) {
        const uint8_t marker[] = {0, i, 77};
        ipop_tun_mark(tun, marker, sizeof marker);
        g_assert_cmpint(queue_with_packet(tun, packet, sizeof packet), ==, i);
        g_assert_cmpint(memcmp(packet + IPOP_VNET_HEADER, marker, sizeof marker), ==, 0);
    }
    ipop_tun_close(tun);
}

/* A device that was made by hand has one queue. */
static void test_made_by_hand(void) {
    const char *const argv[] = {"ip", "tuntap", "add", "mode", "tun", "name", NAME, NULL};
    const char *const undo[] = {"ip", "link", "delete", NAME, NULL};
    int status = -1;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, NULL)) {
        g_test_skip("no program \"ip\" to make the device with");
        return;
    }
    g_assert_cmpint(status, ==, 0);
    IpopTun *tun = open_tun();
    uint8_t packet[256];
    g_assert_cmpuint(ipop_tun_queues(tun), ==, 1);
    configure(tun, "10.9.0.1", 24, "", 0, 1400);
    ipop_tun_steer(tun, AF_INET, (const uint8_t[]){10, 9, 0, 2}, 3);
    send_to("10.9.0.2");
    g_assert_cmpint(queue_with_packet(tun, packet, sizeof packet), ==, 0);
    g_assert_null(ipop_tun_open(NAME, NULL));
    ipop_tun_close(tun);
    g_assert_true(g_spawn_sync(NULL, (char **)undo, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

/* What others did to the device in the meantime is put right. */
static void test_repair(void) {
    IpopTun *tun = open_tun();
    IpopNetlink *netlink = ipop_netlink_open(NULL);
    configure(tun, "10.9.0.1", 24, "fd09::1", 64, 1400);
    g_assert_cmpint(ipop_netlink_set_link(netlink, ipop_tun_ifindex(tun), 1300, 10, false), ==, 0);
    assert_addresses(AF_INET6, "");
    configure(tun, "10.9.0.1", 24, "fd09::1", 64, 1400);
    assert_addresses(AF_INET, "10.9.0.1/24");
    assert_addresses(AF_INET6, "fd09::1/64");
    g_assert_cmpint(get(NAME, SIOCGIFMTU), ==, 1400);

    struct in_addr own;
    inet_pton(AF_INET, "10.9.0.1", &own);
    g_assert_cmpint(ipop_netlink_remove_address(netlink, ipop_tun_ifindex(tun), AF_INET, &own, 24), ==, 0);
    configure(tun, "10.9.0.2", 24, "", 0, 1400);
    assert_addresses(AF_INET, "10.9.0.2/24");
    ipop_netlink_close(netlink);
    ipop_tun_close(tun);
}

/* What the kernel says of the way to there. */
static char *route_to(const char *host) {
    const char *const argv[] = {"ip", "-o", "route", "get", host, NULL};
    char *out = NULL;
    int status = -1;
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    return out;
}

static void assert_route(const char *host, const char *source, const char *mtu) {
    g_autofree char *route = route_to(host);
    g_assert_nonnull(strstr(route, "dev " NAME));
    g_assert_nonnull(strstr(route, source));
    g_assert_cmpint(strstr(route, "mtu ") != NULL, ==, mtu != NULL);
    g_assert_true(!mtu || strstr(route, mtu));
}

static void test_host_mtu(void) {
    g_autofree char *program = g_find_program_in_path("ip");
    if (!program) {
        g_test_skip("no program \"ip\" to ask for routes with");
        return;
    }
    IpopTun *tun = open_tun();
    configure(tun, "10.9.0.1", 24, "fd09::1", 64, 1443);
    /* Another address that the kernel might choose. */
    struct in_addr other;
    inet_pton(AF_INET, "10.8.0.1", &other);
    IpopNetlink *netlink = ipop_netlink_open(NULL);
    g_assert_cmpint(ipop_netlink_add_address(netlink, ipop_tun_ifindex(tun), AF_INET, &other, 24), ==, 0);
    static const struct {
        int family;
        const char *host, *neighbour, *source;
    } cases[] = {{AF_INET, "10.9.0.7", "10.9.0.8", "src 10.9.0.1"}, {AF_INET6, "fd09::7", "fd09::8", "src fd09::1"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        int family = cases[i].family;
        const char *host = cases[i].host, *source = cases[i].source;
        g_assert_cmpint(ipop_tun_set_host_mtu(tun, family, host, 0), ==, 0); /* none there: none removed */
        assert_route(host, source, NULL);
        g_assert_cmpint(ipop_tun_set_host_mtu(tun, family, host, 1343), ==, 0);
        assert_route(host, source, "mtu 1343");
        assert_route(cases[i].neighbour, source, NULL);
        g_assert_cmpint(ipop_tun_set_host_mtu(tun, family, host, 1280), ==, 0);
        assert_route(host, source, "mtu 1280");
        g_assert_cmpint(ipop_tun_set_host_mtu(tun, family, host, 0), ==, 0);
        assert_route(host, source, NULL);
        g_assert_cmpint(ipop_tun_set_host_mtu(tun, family, "", 1400), ==, 0);
    }
    configure(tun, "", 0, "", 0, 1443);
    g_assert_cmpint(ipop_tun_set_host_mtu(tun, AF_INET, "10.9.0.7", 1300), ==, 0);
    ipop_netlink_close(netlink);
    ipop_tun_close(tun);
}

static void test_no_ip6(void) {
    IpopTun *tun = open_tun();
    write_file("/proc/sys/net/ipv6/conf/" NAME "/disable_ipv6", "1");
    g_assert_true(configure(tun, "10.9.0.1", 24, "fd09::1", 64, 1400));
    assert_addresses(AF_INET, "10.9.0.1/24");
    assert_addresses(AF_INET6, "");
    g_assert_false(configure(tun, "10.9.0.1", 24, "", 0, 1400)); /* none wanted, none missing */
    write_file("/proc/sys/net/ipv6/conf/" NAME "/disable_ipv6", "0");
    g_assert_false(configure(tun, "10.9.0.1", 24, "fd09::1", 64, 1400));
    assert_addresses(AF_INET6, "fd09::1/64");

    /* Switched off under our feet: neither replacing nor removing is an error. */
    write_file("/proc/sys/net/ipv6/conf/" NAME "/disable_ipv6", "1");
    g_assert_true(configure(tun, "10.9.0.1", 24, "fd09::2", 64, 1400));
    g_assert_false(configure(tun, "10.9.0.1", 24, "", 0, 1400));
    ipop_tun_close(tun);
}

static void test_bad_config(void) {
    static const IpopTunConfig bad[] = {
        {.ip4 = "10.9.0.1", .ip4_mask = 33, .mtu = 1400}, {.ip4 = "10.9.0.1", .ip4_mask = 0, .mtu = 1400},
        {.ip4 = "10.9.0", .ip4_mask = 24, .mtu = 1400},   {.ip6 = "fd09::1", .ip6_mask = 129, .mtu = 1400},
        {.ip6 = "10.9.0.1", .ip6_mask = 64, .mtu = 1400}, {.mtu = 1279},
        {.mtu = 65536},
    };
    IpopTun *tun = open_tun();
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        bool no_ip6;
        g_assert_false(ipop_tun_configure(tun, &bad[i], &no_ip6, &error));
        g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
    }
    ipop_tun_close(tun);
}

static void test_netlink_errors(void) {
    IpopNetlink *netlink = ipop_netlink_open(NULL);
    struct in_addr address = {htonl(0x0a090001)};
    g_assert_cmpint(ipop_netlink_set_link(netlink, 9999, 1400, 100, true), ==, -ENODEV);
    g_assert_cmpint(ipop_netlink_add_address(netlink, 9999, AF_INET, &address, 24), ==, -ENODEV);
    g_assert_cmpint(ipop_netlink_remove_address(netlink, 1, AF_INET, &address, 24), ==, -EADDRNOTAVAIL);
    g_assert_cmpint(ipop_netlink_no_link_local(netlink, 9999), ==, -ENODEV);
    ipop_netlink_close(netlink);
    ipop_netlink_close(NULL);
}

/* A device that somebody deleted is reported as that. */
static void test_deleted(void) {
    IpopTun *tun = open_tun();
    const char *const argv[] = {"ip", "link", "delete", NAME, NULL};
    int status = -1;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, NULL)) {
        g_test_skip("no program \"ip\" to delete the device with");
    } else {
        IpopTunConfig config = {.mtu = 1400};
        g_autoptr(GError) error = NULL;
        bool no_ip6;
        g_assert_cmpint(status, ==, 0);
        g_assert_false(ipop_tun_configure(tun, &config, &no_ip6, &error));
        g_assert_nonnull(strstr(error->message, "removed the device"));
    }
    ipop_tun_close(tun);
}

static void test_no_right(void) {
    if (g_test_subprocess()) {
        g_assert_cmpint(setresuid(65534, 65534, 65534), ==, 0);
        g_autoptr(GError) error = NULL;
        g_assert_null(ipop_tun_open(NAME, &error));
        g_assert_nonnull(strstr(error->message, "CAP_NET_ADMIN"));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

static void test_no_node(void) {
    if (g_test_subprocess()) {
        g_assert_cmpint(unshare(CLONE_NEWNS), ==, 0);
        g_assert_cmpint(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), ==, 0);
        g_assert_cmpint(mount("none", "/dev/net", "tmpfs", 0, NULL), ==, 0);
        g_autoptr(GError) error = NULL;
        g_assert_null(ipop_tun_open(NAME, &error));
        g_assert_nonnull(strstr(error->message, "modprobe tun"));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

static void test_impossible(void) {
    g_test_skip("needs root and /dev/net/tun");
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    if (access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0) {
        g_test_add_func("/tun/all", test_impossible);
        return g_test_run();
    }
    g_test_add_func("/tun/open", test_open);
    g_test_add_func("/tun/busy", test_busy);
    g_test_add_func("/tun/bad-names", test_bad_names);
    g_test_add_func("/tun/configure", test_configure);
    g_test_add_func("/tun/queues", test_queues);
    g_test_add_func("/tun/made-by-hand", test_made_by_hand);
    g_test_add_func("/tun/repair", test_repair);
    g_test_add_func("/tun/host-mtu", test_host_mtu);
    g_test_add_func("/tun/no-ip6", test_no_ip6);
    g_test_add_func("/tun/bad-config", test_bad_config);
    g_test_add_func("/tun/netlink-errors", test_netlink_errors);
    g_test_add_func("/tun/deleted", test_deleted);
    g_test_add_func("/tun/no-right", test_no_right);
    g_test_add_func("/tun/no-node", test_no_node);
    return g_test_run();
}
