#include "tincan/tun/device.h"

#include "tincan/base/error.h"
#include "tincan/packet/vnet.h"
#include "tincan/tun/netlink.h"
#include "tincan/tun/steer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUN_NODE "/dev/net/tun"
#define TUN_USO4 0x20 /* Linux 6.2; the system's headers may be older */
#define TUN_USO6 0x40
#define TX_QUEUE_LENGTH 4000 /* the default of 500 drops when many flows start at once */
#define SEND_MAX 65000       /* so many segments in a super-packet that it is one send: of so many bytes at most, */
#define SEND_HEADER 29       /* this much before and behind each segment included, */
#define SEND_SEGMENTS 64     /* and of so many segments */
#define MTU_MIN 1280
#define MTU_MAX 65535

struct IpopTun {
    char name[IFNAMSIZ];
    int fd[IPOP_TUN_QUEUES];
    unsigned queues;
    IpopSteer *steer;
    int marker; /* -1: there is none */
    int flags; /* as given to TUNSETIFF */
    int ifindex;
    bool uso;
    IpopNetlink *netlink;
    IpopTunConfig set; /* the addresses the device has from us */
};

/* Names that the kernel takes as they are: '%' would make it fill in a number, ':' is an alias. */
static bool name_valid(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (const char *c = name; *c; c++)
        if (*c == '/' || *c == '%' || *c == ':' || !g_ascii_isgraph(*c))
            return false;
    return true;
}

static void load_module(void) {
    static const char *const programs[] = {"/sbin/modprobe", "/usr/sbin/modprobe"};
    for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
        char *argv[] = {(char *)programs[i], "-q", "tun", NULL};
        char *environment[] = {NULL};
        /* Whether it helped shows when the node is opened again. */
        if (g_spawn_sync(NULL, argv, environment, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL,
                         NULL, NULL, NULL))
            return;
    }
}

static int open_node(GError **error) {
    int fd = open(TUN_NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO)) {
        load_module();
        fd = open(TUN_NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (fd >= 0)
        return fd;
    int e = errno;
    if (e == EACCES || e == EPERM)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "no right to open " TUN_NODE ": run as root or give it CAP_NET_ADMIN (in a container also the device)");
    else
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "can't open " TUN_NODE ": %s; load the module with \"modprobe tun\" (in a container pass the device through)",
                    g_strerror(e));
    return -1;
}

static bool is_tun(const char *name) {
    struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq request = {.ifr_data = (void *)&driver};
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), e = errno;
    bool is = fd >= 0 && ioctl(fd, SIOCETHTOOL, &request) == 0 && strcmp(driver.bus_info, "tun") == 0;
    if (fd >= 0)
        close(fd);
    errno = e;
    return is;
}

static bool attach_with(int fd, const char *name, int flags) {
    struct ifreq request = {.ifr_flags = (short)flags};
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    return ioctl(fd, TUNSETIFF, &request) == 0;
}

/* With several queues only a device of our own: to another ipop-tincan's we would be one more reader. One that was made by
 * hand has a single queue. */
static bool attach_any(IpopTun *tun, int fd) {
    static const int ways[] = {IFF_TUN_EXCL | IFF_MULTI_QUEUE | IFF_VNET_HDR, IFF_TUN_EXCL | IFF_MULTI_QUEUE, IFF_VNET_HDR, 0};
    for (unsigned i = tun->steer ? 0 : 2; i < G_N_ELEMENTS(ways); i++) {
        tun->flags = IFF_TUN | IFF_NO_PI | (ways[i] & ~IFF_TUN_EXCL);
        if (attach_with(fd, tun->name, tun->flags | ways[i]))
            return true;
        if (errno != EINVAL && (errno != EBUSY || i >= 2))
            return false;
    }
    if (is_tun(tun->name))
        errno = EBUSY; /* another one's, with several queues */
    return false;
}

static bool attach(IpopTun *tun, int fd, GError **error) {
    const char *name = tun->name;
    if (attach_any(tun, fd))
        return true;
    switch (errno) {
    case EPERM:
    case EACCES:
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "no right to make the device %s: run as root or give it CAP_NET_ADMIN", name);
        break;
    case EBUSY:
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "the device %s is in use by another ipop-tincan or VPN: stop that or give another TAPNAME", name);
        break;
    case EINVAL:
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "the device %s exists and is not a TUN device: give another TAPNAME", name);
        break;
    default:
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't make the device %s: %s", name, g_strerror(errno));
    }
    return false;
}

/* Super-packets, and checksums left to whoever needs them. */
static void set_offloads(IpopTun *tun) {
    if (!ipop_tun_vnet(tun))
        return;
    unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    int header = IPOP_VNET_HEADER;
    ioctl(tun->fd[0], TUNSETVNETHDRSZ, &header);
    tun->uso = ioctl(tun->fd[0], TUNSETOFFLOAD, tcp | TUN_USO4 | TUN_USO6) == 0;
    if (!tun->uso)
        ioctl(tun->fd[0], TUNSETOFFLOAD, tcp);
}

/* Several queues are of use only when we say what goes where; without, the kernel would choose by flow. */
static bool open_queues(IpopTun *tun, GError **error) {
    int fd = open_node(error);
    if (fd < 0)
        return false;
    tun->fd[tun->queues++] = fd;
    tun->steer = ipop_steer_new();
    if (!attach(tun, fd, error))
        return false;
    if (!(tun->flags & IFF_MULTI_QUEUE) || !ipop_steer_attach(tun->steer, fd))
        return true;
    while (tun->queues < IPOP_TUN_QUEUES && (fd = open_node(NULL)) >= 0) {
        if (!attach_with(fd, tun->name, tun->flags)) {
            close(fd);
            break;
        }
        tun->fd[tun->queues++] = fd;
    }
    return true;
}

/* Past any queueing discipline, and past whoever listens: what goes in there is no traffic. */
static int open_marker(int ifindex) {
    struct sockaddr_ll device = {.sll_family = AF_PACKET, .sll_ifindex = ifindex};
    int on = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&device, sizeof device) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

IpopTun *ipop_tun_open(const char *name, GError **error) {
    if (!name_valid(name)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG,
                    "\"%s\" can't be the name of a device: give 1 to 15 letters, digits, '-' or '_'", name);
        return NULL;
    }
    IpopTun *tun = g_new0(IpopTun, 1);
    tun->marker = -1;
    g_strlcpy(tun->name, name, sizeof tun->name);
    tun->netlink = open_queues(tun, error) ? ipop_netlink_open(error) : NULL;
    if (!tun->netlink) {
        ipop_tun_close(tun);
        return NULL;
    }
    tun->ifindex = (int)if_nametoindex(name);
    if (tun->ifindex == 0) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "the device %s is gone: %s; does another program rename it?", name,
                    g_strerror(errno));
        ipop_tun_close(tun);
        return NULL;
    }
    set_offloads(tun);
    tun->marker = open_marker(tun->ifindex);
    return tun;
}

static bool set_failed(GError **error, const IpopTun *tun, const char *what, int e) {
    if (e == -EPERM)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "no right to set %s on %s: run as root or give it CAP_NET_ADMIN", what,
                    tun->name);
    else if (e == -ENODEV)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't set %s on %s: somebody removed the device; start ipop-tincan again",
                    what, tun->name);
    else
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't set %s on %s: %s", what, tun->name, g_strerror(-e));
    return false;
}

/* Gives the device `to`/`mask` of this family (NULL or "" for none) in place of what it had from us, which stands in
 * `set` and `set_mask`. 0 or a negative errno. The address is set even if it seems to be there: setting the link down
 * takes IPv6 addresses away behind our back. */
static int replace_address(IpopTun *tun, int family, char *set, size_t set_size, unsigned *set_mask, const char *to,
                           unsigned mask) {
    uint8_t address[sizeof(struct in6_addr)];
    if (*set && (strcmp(set, to) != 0 || *set_mask != mask)) {
        inet_pton(family, set, address);
        int e = ipop_netlink_remove_address(tun->netlink, tun->ifindex, family, address, *set_mask);
        if (e < 0 && e != -EADDRNOTAVAIL)
            return e;
        *set = '\0';
    }
    if (!*to)
        return 0;
    if (inet_pton(family, to, address) != 1 || mask == 0 || mask > (family == AF_INET ? 32 : 128))
        return -EINVAL;
    int e = ipop_netlink_add_address(tun->netlink, tun->ifindex, family, address, mask);
    if (e < 0)
        return e;
    g_strlcpy(set, to, set_size);
    *set_mask = mask;
    return 0;
}

/* What the kernel says where IPv6 is off: by sysctl, by boot option, or not built in. */
static bool means_no_ip6(int e) {
    return e == -EACCES || e == -EPERM || e == -EOPNOTSUPP || e == -EADDRNOTAVAIL || e == -EAFNOSUPPORT;
}

bool ipop_tun_configure(IpopTun *tun, const IpopTunConfig *config, bool *ret_no_ip6, GError **error) {
    if (config->mtu < MTU_MIN || config->mtu > MTU_MAX)
        return set_failed(error, tun, "the MTU", -EINVAL);
    /* Before the device comes up for the first time; there is nothing to be done when the kernel refuses. */
    ipop_netlink_no_link_local(tun->netlink, tun->ifindex);
    ipop_netlink_no_discipline(tun->netlink, tun->ifindex);
    int e = ipop_netlink_set_link(tun->netlink, tun->ifindex, config->mtu, TX_QUEUE_LENGTH, true);
    if (e < 0)
        return set_failed(error, tun, "the MTU", e);
    unsigned segments = SEND_MAX / (config->mtu + SEND_HEADER);
    ipop_netlink_set_segments(tun->netlink, tun->ifindex, CLAMP(segments, 1, SEND_SEGMENTS));

    IpopTunConfig *set = &tun->set;
    e = replace_address(tun, AF_INET, set->ip4, sizeof set->ip4, &set->ip4_mask, config->ip4, config->ip4_mask);
    if (e < 0)
        return set_failed(error, tun, "the IPv4 address", e);
    e = replace_address(tun, AF_INET6, set->ip6, sizeof set->ip6, &set->ip6_mask, config->ip6, config->ip6_mask);
    if (e < 0 && !means_no_ip6(e))
        return set_failed(error, tun, "the IPv6 address", e);
    *ret_no_ip6 = e < 0;
    return true;
}

int ipop_tun_set_host_mtu(IpopTun *tun, int family, const char *host, unsigned mtu) {
    uint8_t address[sizeof(struct in6_addr)], source[sizeof address];
    const char *own = family == AF_INET ? tun->set.ip4 : tun->set.ip6;
    if (!*host || inet_pton(family, host, address) != 1)
        return 0;
    if (mtu == 0) {
        int e = ipop_netlink_remove_route(tun->netlink, tun->ifindex, family, address);
        return e == -ESRCH ? 0 : e;
    }
    bool has_source = *own && inet_pton(family, own, source) == 1;
    return ipop_netlink_set_route(tun->netlink, tun->ifindex, family, address, has_source ? source : NULL, mtu);
}

unsigned ipop_tun_queues(const IpopTun *tun) {
    return tun->queues;
}

int ipop_tun_fd(const IpopTun *tun, unsigned queue) {
    return tun->fd[queue];
}

void ipop_tun_mark(IpopTun *tun, const void *bytes, size_t n) {
    ssize_t sent = send(tun->marker, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent;
}

void ipop_tun_steer(IpopTun *tun, int family, const uint8_t *address, unsigned queue) {
    if (tun->queues > 1)
        ipop_steer_set(tun->steer, family, address, (uint8_t)queue);
}

bool ipop_tun_vnet(const IpopTun *tun) {
    return tun->flags & IFF_VNET_HDR;
}

bool ipop_tun_uso(const IpopTun *tun) {
    return tun->uso;
}

int ipop_tun_ifindex(const IpopTun *tun) {
    return tun->ifindex;
}

const char *ipop_tun_name(const IpopTun *tun) {
    return tun->name;
}

void ipop_tun_close(IpopTun *tun) {
    if (!tun)
        return;
    ipop_netlink_close(tun->netlink);
    ipop_steer_free(tun->steer);
    if (tun->marker >= 0)
        close(tun->marker);
    for (unsigned i = 0; i < tun->queues; i++)
        close(tun->fd[i]);
    g_free(tun);
}
