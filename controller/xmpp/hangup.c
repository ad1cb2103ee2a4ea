#include "controller/xmpp/hangup.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void ipop_hangup_init(IpopHangup *hangup) {
    *hangup = (IpopHangup){.fd = -1};
    pthread_mutex_init(&hangup->mutex, NULL);
    hangup->cancellable = g_cancellable_new();
}

void ipop_hangup_clear(IpopHangup *hangup) {
    g_clear_object(&hangup->cancellable);
    pthread_mutex_destroy(&hangup->mutex);
}

typedef union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} Address;

static bool same_host(const Address *a, const Address *b) {
    if (a->any.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
}

/* The local address that the system would take to get there now. */
static bool find_source(const Address *to, socklen_t n, Address *ret) {
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *ret;
    bool found = fd >= 0 && connect(fd, &to->any, n) == 0 && getsockname(fd, &ret->any, &size) == 0;
    if (fd >= 0)
        close(fd);
    return found;
}

bool ipop_hangup_stranded(IpopHangup *hangup) {
    Address local, server, source;
    socklen_t local_n = sizeof local, server_n = sizeof server;
    pthread_mutex_lock(&hangup->mutex);
    bool known = hangup->fd >= 0 && getsockname(hangup->fd, &local.any, &local_n) == 0 &&
                 getpeername(hangup->fd, &server.any, &server_n) == 0;
    pthread_mutex_unlock(&hangup->mutex);
    return known && find_source(&server, server_n, &source) && !same_host(&source, &local);
}

void ipop_hangup_pull(IpopHangup *hangup) {
    bool stranded = ipop_hangup_stranded(hangup);
    pthread_mutex_lock(&hangup->mutex);
    hangup->stranded |= stranded;
    hangup->pulled = true;
    if (hangup->fd >= 0)
        shutdown(hangup->fd, SHUT_RDWR);
    g_autoptr(GCancellable) cancellable = g_object_ref(hangup->cancellable);
    pthread_mutex_unlock(&hangup->mutex);
    g_cancellable_cancel(cancellable);
}

void ipop_hangup_rearm(IpopHangup *hangup) {
    pthread_mutex_lock(&hangup->mutex);
    hangup->pulled = hangup->stranded = false;
    g_object_unref(hangup->cancellable);
    hangup->cancellable = g_cancellable_new();
    pthread_mutex_unlock(&hangup->mutex);
}

bool ipop_hangup_set_fd(IpopHangup *hangup, int fd) {
    pthread_mutex_lock(&hangup->mutex);
    if (hangup->fd >= 0)
        close(hangup->fd);
    hangup->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    bool good = !hangup->pulled && (fd < 0 || hangup->fd >= 0);
    pthread_mutex_unlock(&hangup->mutex);
    return good;
}

GCancellable *ipop_hangup_get_cancellable(IpopHangup *hangup) {
    pthread_mutex_lock(&hangup->mutex);
    GCancellable *cancellable = g_object_ref(hangup->cancellable);
    pthread_mutex_unlock(&hangup->mutex);
    return cancellable;
}

bool ipop_hangup_is_pulled(IpopHangup *hangup, bool *ret_stranded) {
    pthread_mutex_lock(&hangup->mutex);
    bool pulled = hangup->pulled;
    *ret_stranded = hangup->stranded;
    pthread_mutex_unlock(&hangup->mutex);
    return pulled;
}
