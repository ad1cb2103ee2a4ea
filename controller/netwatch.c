#include "controller/netwatch.h"

#include <glib-unix.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOGETHER_MS 50

struct IpopNetwatch {
    void (*changed)(void *user);
    void *user;
    int fd;
    GSource *source;
    GSource *soon; /* changed is to be called; NULL: not */
};

static void drop(GSource **source) {
    if (*source == NULL)
        return;
    g_source_destroy(*source);
    g_source_unref(*source);
    *source = NULL;
}

static GSource *attach(GSource *source, GSourceFunc function, void *user) {
    g_source_set_callback(source, function, user, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

static gboolean on_soon(gpointer user) {
    IpopNetwatch *watch = user;
    drop(&watch->soon);
    watch->changed(watch->user);
    return G_SOURCE_REMOVE;
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer user) {
    IpopNetwatch *watch = user;
    char message[8192];
    /* What it says does not matter, not even that some was lost (ENOBUFS). */
    while (recv(fd, message, sizeof message, MSG_DONTWAIT) > 0)
        continue;
    if (watch->soon == NULL)
        watch->soon = attach(g_timeout_source_new(TOGETHER_MS), on_soon, watch);
    return G_SOURCE_CONTINUE;
}

IpopNetwatch *ipop_netwatch_new(void (*changed)(void *user), void *user) {
    struct sockaddr_nl address = {.nl_family = AF_NETLINK,
                                  .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    IpopNetwatch *watch = g_new0(IpopNetwatch, 1);
    watch->changed = changed;
    watch->user = user;
    watch->fd = fd;
    watch->source = attach(g_unix_fd_source_new(fd, G_IO_IN), G_SOURCE_FUNC(on_readable), watch);
    return watch;
}

void ipop_netwatch_free(IpopNetwatch *watch) {
    if (watch == NULL)
        return;
    drop(&watch->soon);
    drop(&watch->source);
    close(watch->fd);
    g_free(watch);
}
