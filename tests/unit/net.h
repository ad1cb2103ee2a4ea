/* net.h - a network of a test's own: a namespace with one device, and a STUN server that says what it is told to.
 *
 * Nothing here touches the machine's network. Call net_enter before anything starts a thread.
 */
#pragma once

#include <arpa/inet.h>
#include <glib-unix.h>
#include <glib.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <stun/stunagent.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void net_ip(const char *arguments) {
    g_autofree char *command = g_strconcat("ip ", arguments, NULL);
    g_autoptr(GError) error = NULL;
    int status;
    if (!g_spawn_command_line_sync(command, NULL, NULL, &status, &error) || !g_spawn_check_wait_status(status, &error))
        g_error("%s: %s", command, error->message);
}

/* Moves into a new namespace with 10.99.0.1 to .4 and 2001:db8:99::1 and ::2 on a device at whose other end nobody answers.
 * False when that is not allowed. */
static inline bool net_enter(void) {
    if (unshare(CLONE_NEWNET) < 0)
        return false;
    net_ip("link set lo up");
    net_ip("link add d0 type veth peer name d1");
    for (int i = 1; i <= 4; i++) {
        g_autofree char *add = g_strdup_printf("addr add 10.99.0.%d/24 dev d0", i);
        net_ip(add);
    }
    net_ip("addr add 2001:db8:99::1/64 dev d0 nodad");
    net_ip("addr add 2001:db8:99::2/64 dev d0 nodad");
    net_ip("link set d0 up");
    net_ip("link set d1 up");
    net_ip("route add default dev d0");
    /* GLib's own descriptors come now and not while descriptors are counted. */
    g_main_context_default();
    g_source_unref(g_unix_signal_source_new(SIGUSR1));
    return true;
}

static inline gboolean net_give_up(gpointer what) {
    g_error("still waiting for: %s", (const char *)what);
    return G_SOURCE_REMOVE;
}

/* Runs the main loop until the condition holds; a test that waits for nothing ends after a minute. */
#define NET_WAIT(condition)                                                       \
    do {                                                                          \
        guint net_watchdog = g_timeout_add_seconds(60, net_give_up, #condition);  \
        while (!(condition))                                                      \
            g_main_context_iteration(NULL, TRUE);                                 \
        g_source_remove(net_watchdog);                                            \
    } while (0)

typedef enum {
    NET_STUN_GOOD,
    NET_STUN_SILENT,
    NET_STUN_OTHER_SOCKET,      /* answers from another port */
    NET_STUN_OTHER_TRANSACTION, /* answers what was not asked */
    NET_STUN_REDIRECTS,         /* names another server (RFC 8489 section 10) */
} NetStunMood;

typedef struct NetStun {
    int fd;
    guint source;
    uint16_t port;
    NetStunMood mood;
    struct sockaddr_in claim; /* said as the mapped address; port 0: that of the asker */
    unsigned asked;
    /* It names another address of its own (RFC 5780), and answers from these when asked to; fd -1: what is answered so gets lost. */
    bool two;
    int other_port_fd, other_ip_fd;
} NetStun;

static inline size_t net_stun_answer(const NetStun *stun, uint8_t *request, size_t n, const struct sockaddr_in *from,
                                     uint8_t *buffer, size_t size) {
    StunAgent agent;
    StunMessage in, out;
    struct sockaddr_in mapped = stun->claim;
    /* Requests of RFC 3489 have no cookie; libnice asks so. */
    bool cookie = n >= 8 && memcmp(request + 4, "\x21\x12\xa4\x42", 4) == 0;
    stun_agent_init(&agent, STUN_ALL_KNOWN_ATTRIBUTES, cookie ? STUN_COMPATIBILITY_RFC5389 : STUN_COMPATIBILITY_RFC3489,
                    STUN_AGENT_USAGE_IGNORE_CREDENTIALS);
    if (stun->mood == NET_STUN_OTHER_TRANSACTION)
        request[n > 12 ? 12 : 0] ^= 1;
    if (stun_agent_validate(&agent, &in, request, n, NULL, NULL) != STUN_VALIDATION_SUCCESS)
        return 0;
    if (mapped.sin_port == 0)
        mapped.sin_port = from->sin_port;
    if (stun->mood == NET_STUN_REDIRECTS) {
        stun_agent_init_error(&agent, &out, buffer, size, &in, STUN_ERROR_TRY_ALTERNATE);
        stun_message_append_addr(&out, STUN_ATTRIBUTE_ALTERNATE_SERVER, (struct sockaddr *)&mapped, sizeof mapped);
    } else {
        stun_agent_init_response(&agent, &out, buffer, size, &in);
        if (cookie)
            stun_message_append_xor_addr(&out, STUN_ATTRIBUTE_XOR_MAPPED_ADDRESS,
                                         (struct sockaddr_storage *)&mapped, sizeof mapped);
        else
            stun_message_append_addr(&out, STUN_ATTRIBUTE_MAPPED_ADDRESS, (struct sockaddr *)&mapped, sizeof mapped);
    }
    if (stun->two)
        stun_message_append_addr(&out, (StunAttribute)0x802c, (struct sockaddr *)&mapped, sizeof mapped);
    return stun_agent_finish_message(&agent, &out, NULL, 0);
}

/* The socket to answer from: the last byte of CHANGE-REQUEST, the first attribute, says it. */
static inline int net_stun_choose(const NetStun *stun, const uint8_t *request, size_t n) {
    bool asks = n >= 28 && request[20] == 0 && request[21] == STUN_ATTRIBUTE_CHANGE_REQUEST;
    if (!stun->two || !asks)
        return stun->fd;
    return request[27] & 4 ? stun->other_ip_fd : stun->other_port_fd;
}

static inline gboolean net_stun_readable(int fd, GIOCondition condition, gpointer data) {
    NetStun *stun = data;
    uint8_t request[1500], answer[1500];
    struct sockaddr_in from;
    socklen_t from_size = sizeof from;
    ssize_t n = recvfrom(fd, request, sizeof request, 0, (struct sockaddr *)&from, &from_size);
    if (n <= 0)
        return G_SOURCE_CONTINUE;
    stun->asked++;
    size_t size = net_stun_answer(stun, request, (size_t)n, &from, answer, sizeof answer);
    if (size == 0 || stun->mood == NET_STUN_SILENT)
        return G_SOURCE_CONTINUE;
    bool stray = stun->mood == NET_STUN_OTHER_SOCKET;
    int out = stray ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : net_stun_choose(stun, request, (size_t)n);
    if (out < 0)
        return G_SOURCE_CONTINUE;
    g_assert_cmpint(sendto(out, answer, size, 0, (struct sockaddr *)&from, from_size), ==, size);
    if (stray)
        close(out);
    return G_SOURCE_CONTINUE;
}

/* A server on ip, any port. It claims to see the asker at claim_ip (NULL: ip 198.51.100.7) and claim_port (0: the asker's). */
static inline void net_stun_start(NetStun *stun, const char *ip, const char *claim_ip, uint16_t claim_port) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    *stun = (NetStun){.claim.sin_family = AF_INET, .claim.sin_port = htons(claim_port)};
    g_assert_cmpint(inet_pton(AF_INET, claim_ip ? claim_ip : "198.51.100.7", &stun->claim.sin_addr), ==, 1);
    g_assert_cmpint(inet_pton(AF_INET, ip, &address.sin_addr), ==, 1);
    stun->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(stun->fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(getsockname(stun->fd, (struct sockaddr *)&address, &size), ==, 0);
    stun->port = ntohs(address.sin_port);
    stun->source = g_unix_fd_add(stun->fd, G_IO_IN, net_stun_readable, stun);
}

static inline void net_stun_stop(NetStun *stun) {
    g_source_remove(stun->source);
    close(stun->fd);
}

/* One read of a socket that may join datagrams (UDP_GRO): all but the last are *ret_segment bytes long. -1: nothing there. */
static inline ssize_t net_receive(int fd, uint8_t *buffer, size_t size, size_t *ret_segment) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec vector = {buffer, size};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
    if (n < 0)
        return -1;
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
    int segment = (int)n;
    if (cmsg && cmsg->cmsg_level == IPPROTO_UDP && cmsg->cmsg_type == UDP_GRO)
        memcpy(&segment, CMSG_DATA(cmsg), sizeof segment);
    *ret_segment = (size_t)segment;
    return n;
}

/* How many descriptors the process has open. */
static inline unsigned net_count_fds(void) {
    unsigned n = 0;
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    while (g_dir_read_name(dir))
        n++;
    return n;
}
