/* sendqueue.h - stanzas that wait to go out, in order of priority, at the pace servers accept. Pure; one thread.
 *
 * Prosody reads 10 kB/s per client and has no burst, ejabberd less after 20 kB; what is sent faster waits in the socket in an
 * order that can't be changed any more. So it waits here. Time comes in as an argument (ipop_clock_now).
 */
#pragma once

#include "controller/xmpp/xmpp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_SENDQUEUE_RATE 9000 /* bytes per second */
#define IPOP_SENDQUEUE_BURST 4096
#define IPOP_SENDQUEUE_MAX (256 * 1024) /* bytes that may wait, all priorities together */

typedef struct IpopSendQueue IpopSendQueue;

IpopSendQueue *ipop_sendqueue_new(void);
void ipop_sendqueue_free(IpopSendQueue *queue);

/* Drops everything and allows a full burst: the state for a new connection. */
void ipop_sendqueue_reset(IpopSendQueue *queue, int64_t now);

/* Copies the stanza, and the id (may be NULL) that the caller wants back with it. False, and nothing is kept, when it is
 * empty, longer than IPOP_STANZA_MAX or the queue is full. user: whose it is; may be NULL. */
bool ipop_sendqueue_push(IpopSendQueue *queue, IpopXmppPriority priority, const char *xml, const char *id, const void *user);

/* Takes out what waits of this user: it is as if it had never been pushed. */
void ipop_sendqueue_cancel(IpopSendQueue *queue, const void *user);

/* The next stanza, when one may go now, else NULL. The lowest priority number first, first in first out inside one. A
 * stanza longer than the burst goes when the whole burst is there and leaves a debt. (g_free both) */
char *ipop_sendqueue_pop(IpopSendQueue *queue, int64_t now, char **ret_id);

/* Microseconds until ipop_sendqueue_pop gives a stanza: 0 now, -1 when none waits. */
int64_t ipop_sendqueue_wait(const IpopSendQueue *queue, int64_t now);
