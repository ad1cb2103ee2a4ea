/* hangup.h - a handle by which another thread ends a login, also out of a TLS handshake that hangs. Any thread, but what is the
 * login's own to say.
 */
#pragma once

#include <gio/gio.h>
#include <pthread.h>
#include <stdbool.h>

typedef struct {
    pthread_mutex_t mutex;
    GCancellable *cancellable; /* of the search for an address */
    int fd;                    /* our own duplicate of the socket, so that it never names another; -1: none */
    bool pulled, stranded;     /* and whether it was stranded then */
} IpopHangup;

void ipop_hangup_init(IpopHangup *hangup);
void ipop_hangup_clear(IpopHangup *hangup);

/* Ends the login that is under way, or that comes before the next rearm, as one that took too long. Any thread. */
void ipop_hangup_pull(IpopHangup *hangup);

/* Before a login is asked for, when the one before has ended. */
void ipop_hangup_rearm(IpopHangup *hangup);

/* What the login says of itself: its socket, which is duplicated (-1: it has none any more); false when it is pulled already. */
bool ipop_hangup_set_fd(IpopHangup *hangup, int fd);
bool ipop_hangup_is_pulled(IpopHangup *hangup, bool *ret_stranded);
GCancellable *ipop_hangup_get_cancellable(IpopHangup *hangup); /* g_object_unref */

/* True when the socket's local address is no longer the one by which this host reaches the server: nothing will come to it. */
bool ipop_hangup_stranded(IpopHangup *hangup);
