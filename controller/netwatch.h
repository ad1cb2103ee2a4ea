/* netwatch.h - notices that something about the host's addresses or routes changed (rtnetlink). Main thread.
 *
 * For the time when there is no ipop-tincan to tell: it looks closer, and tells of what matters alone.
 */
#pragma once

typedef struct IpopNetwatch IpopNetwatch;

/* changed comes on the thread-default context, once for changes that come close together. NULL when the kernel gives no such
 * socket. */
IpopNetwatch *ipop_netwatch_new(void (*changed)(void *user), void *user);

/* Accepts NULL. */
void ipop_netwatch_free(IpopNetwatch *watch);
