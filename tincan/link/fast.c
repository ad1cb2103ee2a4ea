#include "tincan/link/fast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (8 * 1024 * 1024) /* a burst at full speed while this thread does not run */
#define NEGOTIATOR_TTL 65              /* another than ours: GRO never joins the negotiator's packets to a train */

typedef IpopPathSource Address;

struct IpopFast {
    unsigned refs;  /* main thread: one of the owner, one of each path */
    int fd;         /* ours; once closed, a duplicate of the negotiator's */
    int negotiator; /* a duplicate, to end GRO on it; -1: the socket is on a port of its own */
    Address local;
};

typedef struct {
    IpopPath base;
    IpopFast *fast;
    GMutex lock; /* for who is not the data thread, which alone changes `to` */
    Address to;
    socklen_t to_n;
    bool segmentation;    /* UDP_SEGMENT has worked: what is refused from then on has another reason */
    bool no_segmentation; /* the device refused it */
    bool one_by_one;      /* nor is there sendmmsg */
} FastPath;

static void set(int fd, int level, int name, int value) {
    setsockopt(fd, level, name, &value, sizeof value);
}

/* Index 0 is who came first, the negotiator. */
static bool attach_steering(int fd) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), /* the first byte of the datagram */
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x50, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x04, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {G_N_ELEMENTS(code), code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0;
}

/* DF on every packet, whatever an ICMP message of anybody's says of the way: we find out ourselves what passes. */
static void forbid_fragments(int fd, bool ip6) {
    set(fd, ip6 ? IPPROTO_IPV6 : IPPROTO_IP, ip6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
        ip6 ? IPV6_PMTUDISC_PROBE : IP_PMTUDISC_PROBE);
}

static void allow_fragments(int fd, bool ip6) {
    set(fd, ip6 ? IPPROTO_IPV6 : IPPROTO_IP, ip6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
        ip6 ? IPV6_PMTUDISC_OMIT : IP_PMTUDISC_OMIT);
}

static void set_buffers(int fd) {
    /* The system's limit clips the plain option silently; the forced one needs CAP_NET_ADMIN. */
    set(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
    set(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES);
    set(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
    set(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES);
}

/* libnice ties its sockets to the interface of their address, else the best route would take the packets of all of them. Network
 * order; 0: to none. */
static int interface_of(int fd, bool ip6) {
    int index = 0;
    socklen_t n = sizeof index;
    getsockopt(fd, ip6 ? IPPROTO_IPV6 : IPPROTO_IP, ip6 ? IPV6_UNICAST_IF : IP_UNICAST_IF, &index, &n);
    return index;
}

/* Not connected: a connected socket takes everything from that address, past the steering. */
static int open_beside(int negotiator, Address *ret_local) {
    socklen_t n = sizeof *ret_local;
    int on = 1;
    if (getsockname(negotiator, &ret_local->any, &n) < 0 ||
        setsockopt(negotiator, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -1;
    int fd = socket(ret_local->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    bool ip6 = ret_local->any.sa_family == AF_INET6;
    set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    set(fd, ip6 ? IPPROTO_IPV6 : IPPROTO_IP, ip6 ? IPV6_UNICAST_IF : IP_UNICAST_IF, interface_of(negotiator, ip6));
    set_buffers(fd);
    if (bind(fd, &ret_local->any, n) == 0 && attach_steering(fd))
        return fd;
    close(fd);
    return -1;
}

static void fast_unref(IpopFast *fast) {
    if (--fast->refs > 0)
        return;
    if (fast->negotiator >= 0)
        close(fast->negotiator);
    close(fast->fd);
    g_free(fast);
}

IpopFast *ipop_fast_new(int negotiator) {
    Address local;
    int duplicate = fcntl(negotiator, F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0)
        return NULL;
    int fd = open_beside(negotiator, &local);
    if (fd < 0) {
        close(duplicate);
        return NULL;
    }
    bool ip6 = local.any.sa_family == AF_INET6;
    forbid_fragments(fd, ip6);
    set(negotiator, ip6 ? IPPROTO_IPV6 : IPPROTO_IP, ip6 ? IPV6_UNICAST_HOPS : IP_TTL, NEGOTIATOR_TTL);
    /* On both: GRO picks its socket by hash, not by the program. */
    set(fd, IPPROTO_UDP, UDP_GRO, 1);
    set(negotiator, IPPROTO_UDP, UDP_GRO, 1);
    IpopFast *fast = g_new(IpopFast, 1);
    *fast = (IpopFast){1, fd, duplicate, local};
    return fast;
}

void ipop_fast_close(IpopFast *fast) {
    if (!fast)
        return;
    /* Before ours is gone: else the negotiator would read trains as one datagram. */
    set(fast->negotiator, IPPROTO_UDP, UDP_GRO, 0);
    /* This closes ours even while paths are held: nobody may read it any more, and data would still come to it. */
    dup3(fast->negotiator, fast->fd, O_CLOEXEC);
    fast_unref(fast);
}

bool ipop_fast_beside(const IpopFast *fast, int fd) {
    Address local;
    socklen_t n = sizeof local;
    return getsockname(fd, &local.any, &n) == 0 && memcmp(&local, &fast->local, n) == 0;
}

/* --- the path --- */

static unsigned count_of(size_t n, size_t segment) {
    return (unsigned)((n + segment - 1) / segment);
}

/* At least one; sandboxes are known that have no sendmmsg. How many, or -1. */
static int send_some(FastPath *path, struct mmsghdr *messages, unsigned n) {
    if (!path->one_by_one) {
        int taken = sendmmsg(path->base.fd, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (taken >= 0 || errno != ENOSYS)
            return taken;
        path->one_by_one = true;
    }
    return sendmsg(path->base.fd, &messages->msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 1;
}

/* One system call per train even where the kernel does not cut. */
static unsigned send_each(FastPath *path, const uint8_t *train, size_t n, size_t segment) {
    struct mmsghdr messages[IPOP_TRAIN_SEGMENTS];
    struct iovec vectors[IPOP_TRAIN_SEGMENTS];
    unsigned count = MIN(count_of(n, segment), IPOP_TRAIN_SEGMENTS), sent = 0;
    for (unsigned i = 0; i < count; i++) {
        vectors[i] = (struct iovec){(void *)(train + i * segment), MIN(segment, n - i * segment)};
        messages[i] = (struct mmsghdr){
            .msg_hdr = {.msg_name = &path->to, .msg_namelen = path->to_n, .msg_iov = &vectors[i], .msg_iovlen = 1}};
    }
    while (sent < count) {
        int taken = send_some(path, messages + sent, count - sent);
        if (taken <= 0) {
            path->base.too_big |= errno == EMSGSIZE;
            break;
        }
        sent += (unsigned)taken;
    }
    return sent;
}

static unsigned send_fragmented(IpopPath *base, const uint8_t *train, size_t n, size_t segment) {
    FastPath *path = (FastPath *)base;
    bool ip6 = path->to.any.sa_family == AF_INET6;
    allow_fragments(base->fd, ip6);
    unsigned sent = send_each(path, train, n, segment);
    forbid_fragments(base->fd, ip6);
    return sent;
}

static unsigned send_train(IpopPath *base, const uint8_t *train, size_t n, size_t segment) {
    FastPath *path = (FastPath *)base;
    if (path->no_segmentation && n > segment)
        return send_each(path, train, n, segment);

    struct iovec vector = {(void *)train, n};
    struct msghdr message = {.msg_name = &path->to, .msg_namelen = path->to_n, .msg_iov = &vector, .msg_iovlen = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control;
    if (n > segment) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        *cmsg = (struct cmsghdr){.cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
        memcpy(CMSG_DATA(cmsg), &(uint16_t){(uint16_t)segment}, sizeof(uint16_t));
    }
    if (sendmsg(base->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        path->segmentation |= n > segment;
        return count_of(n, segment);
    }
    /* Kernels before 6.14 say EINVAL when a segment is longer than the interface takes. */
    if (errno == EMSGSIZE || (errno == EINVAL && path->segmentation && n > segment)) {
        base->too_big = true;
        return 0;
    }
    if (n <= segment || (errno != EIO && errno != EINVAL))
        return 0;
    path->no_segmentation = true; /* EIO: the device can't checksum what it would cut */
    return send_each(path, train, n, segment);
}

static void unglue(IpopPath *base) {
    set(base->fd, IPPROTO_UDP, UDP_GRO, 0);
    set(((FastPath *)base)->fast->negotiator, IPPROTO_UDP, UDP_GRO, 0); /* fails quietly where there is none */
}

static void release(IpopPath *base) {
    FastPath *path = (FastPath *)base;
    fast_unref(path->fast);
    g_mutex_clear(&path->lock);
    g_free(path);
}

static bool make_address(const char *ip, uint16_t port, const Address *like, Address *ret, socklen_t *ret_n) {
    *ret = (Address){0};
    ret->any.sa_family = like->any.sa_family;
    if (like->any.sa_family == AF_INET) {
        ret->in.sin_port = htons(port);
        *ret_n = sizeof ret->in;
        return inet_pton(AF_INET, ip, &ret->in.sin_addr) == 1;
    }
    ret->in6.sin6_port = htons(port);
    ret->in6.sin6_scope_id = like->in6.sin6_scope_id;
    *ret_n = sizeof ret->in6;
    return inet_pton(AF_INET6, ip, &ret->in6.sin6_addr) == 1;
}

/* --- the far address --- */

static bool same_host(const Address *a, const Address *b) {
    return a->any.sa_family == AF_INET ? a->in.sin_addr.s_addr == b->in.sin_addr.s_addr
                                       : IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
}

static uint16_t port_of(const Address *a) {
    return a->any.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port;
}

/* That address, that port (in network order). */
static void format(const Address *a, uint16_t port, char ret[static IPOP_PATH_ADDRESS]) {
    bool ip4 = a->any.sa_family == AF_INET;
    char ip[INET6_ADDRSTRLEN];
    inet_ntop(a->any.sa_family, ip4 ? (const void *)&a->in.sin_addr : &a->in6.sin6_addr, ip, sizeof ip);
    g_snprintf(ret, IPOP_PATH_ADDRESS, ip4 ? "%s:%u" : "[%s]:%u", ip, ntohs(port));
}

static bool leads_to(const IpopPath *base, const Address *from) {
    const Address *to = &((const FastPath *)base)->to;
    return port_of(to) == port_of(from) && same_host(to, from);
}

static void roam(IpopPath *base, const Address *from, char ret_remote[static IPOP_PATH_ADDRESS]) {
    FastPath *path = (FastPath *)base;
    g_mutex_lock(&path->lock);
    path->to = *from;
    g_mutex_unlock(&path->lock);
    format(from, port_of(from), ret_remote);
}

/* --- a path whose local address is gone --- */

static bool is_any(const Address *a) {
    return same_host(a, &(Address){.any.sa_family = a->any.sa_family});
}

/* The address that the system would take to get there. */
static bool find_source(const Address *to, socklen_t to_n, Address *ret) {
    socklen_t n = sizeof *ret;
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, &to->any, to_n) == 0 && getsockname(fd, &ret->any, &n) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

/* Is the address still the host's, and its interface up? */
static bool is_usable(const IpopFast *fast, socklen_t n) {
    Address local = fast->local;
    bool ip6 = local.any.sa_family == AF_INET6;
    *(ip6 ? &local.in6.sin6_port : &local.in.sin_port) = 0;
    int fd = socket(local.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    bool named = if_indextoname(ntohl((uint32_t)interface_of(fast->fd, ip6)), request.ifr_name) != NULL;
    bool good = fd >= 0 && bind(fd, &local.any, n) == 0 &&
                (!named || (ioctl(fd, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_RUNNING));
    if (fd >= 0)
        close(fd);
    return good;
}

/* Of no negotiator, on all addresses: it follows every further change by itself. */
static IpopFast *fast_new_anywhere(sa_family_t family) {
    IpopFast fast = {.fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .negotiator = -1};
    socklen_t n = sizeof fast.local;
    fast.local.any.sa_family = family;
    if (fast.fd < 0)
        return NULL;
    forbid_fragments(fast.fd, family == AF_INET6);
    set_buffers(fast.fd);
    set(fast.fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set(fast.fd, IPPROTO_UDP, UDP_GRO, 1);
    if (bind(fast.fd, &fast.local.any, family == AF_INET ? sizeof fast.local.in : sizeof fast.local.in6) == 0 &&
        getsockname(fast.fd, &fast.local.any, &n) == 0)
        return g_memdup2(&fast, sizeof fast);
    close(fast.fd);
    return NULL;
}

static IpopPath *path_new(IpopFast *fast, const Address *to, socklen_t to_n);

static IpopPath *rebind(IpopPath *base, char ret_local[static IPOP_PATH_ADDRESS]) {
    FastPath *path = (FastPath *)base;
    const Address *local = &path->fast->local;
    Address source;
    g_mutex_lock(&path->lock);
    Address to = path->to;
    g_mutex_unlock(&path->lock);
    if (is_any(local) || is_usable(path->fast, path->to_n) || !find_source(&to, path->to_n, &source))
        return NULL;
    IpopFast *fast = fast_new_anywhere(local->any.sa_family);
    if (!fast)
        return NULL;
    IpopPath *other = path_new(fast, &to, path->to_n);
    other->burst = base->burst;
    other->around = base->around;
    other->most = base->most;
    format(&source, port_of(&fast->local), ret_local);
    return other;
}

/* --- making one --- */

static IpopPath *path_new(IpopFast *fast, const Address *to, socklen_t to_n) {
    FastPath *path = g_new0(FastPath, 1);
    path->base = (IpopPath){.refs = 1,
                            .fd = fast->fd,
                            .around = fast->local.any.sa_family == AF_INET6 ? 40 + 8 : 20 + 8,
                            .send = send_train,
                            .send_fragmented = send_fragmented,
                            .unglue = unglue,
                            .leads_to = leads_to,
                            .roam = roam,
                            .rebind = rebind,
                            .release = release};
    path->fast = fast;
    g_mutex_init(&path->lock);
    path->to = *to;
    path->to_n = to_n;
    fast->refs++;
    return &path->base;
}

IpopPath *ipop_fast_path(IpopFast *fast, const char *ip, uint16_t port) {
    Address to;
    socklen_t to_n;
    return make_address(ip, port, &fast->local, &to, &to_n) ? path_new(fast, &to, to_n) : NULL;
}
