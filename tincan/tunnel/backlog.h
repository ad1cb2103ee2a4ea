/* backlog.h - packets from the device that wait to be sealed, when more come than can be sealed at once. One thread's.
 *
 * Each peer has a queue, and in it each flow its own; peers are served in turn, a share of the work to each, and so are a
 * peer's flows within its share (deficit round robin, Shreedhar and Varghese 1995; flows as in fq_codel, RFC 8290). A flow
 * stays in order. How long a peer's queue may become depends on the room that is left (dynamic threshold, Choudhury and
 * Hahne 1998): one peer's flood leaves room for the others.
 */
#pragma once

#include "tincan/tunnel/lateness.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#define IPOP_BACKLOG_BYTES (20 * 1024 * 1024)
#define IPOP_BACKLOG_PACKET_MAX (65535 + 128) /* with its vnet header */
#define IPOP_BACKLOG_HEADROOM 16              /* in front of each packet, whoever takes it may write to it */

typedef struct IpopBacklog IpopBacklog;
typedef struct IpopBacklogFlow IpopBacklogFlow;

/* Of one peer. All zero but the owner is empty. */
typedef struct {
    void *owner;
    IpopBacklogFlow *flows; /* by hash; NULL when it is empty */
    GQueue turns;           /* flows that wait; the first is being served */
    size_t bytes;
    size_t credit; /* what it may still take in this turn */
    GList turn;    /* among the queues that wait */
} IpopBacklogQueue;

typedef struct {
    void *owner;    /* of its queue */
    uint8_t *bytes; /* until the next call */
    size_t n;
    IpopLateness late;
} IpopBacklogTaken;

/* NULL, with errno, when there is no memory. */
IpopBacklog *ipop_backlog_new(void);
void ipop_backlog_free(IpopBacklog *backlog);

/* True when it holds more memory than it is worth in quiet times; gives that back when it is empty. */
bool ipop_backlog_is_large(const IpopBacklog *backlog);
void ipop_backlog_shrink(IpopBacklog *backlog);

bool ipop_backlog_empty(const IpopBacklog *backlog);

/* Where to put the next packet, of at most IPOP_BACKLOG_PACKET_MAX bytes; NULL when there is no room. */
uint8_t *ipop_backlog_room(IpopBacklog *backlog);

/* What was put there, n bytes of the flow with that hash, waits from now on. Returns how many packets were dropped from the
 * queue's longest flow, so that it does not get more than its share of the room. */
unsigned ipop_backlog_add(IpopBacklog *backlog, IpopBacklogQueue *queue, unsigned flow, size_t n, int64_t now);

/* Since when the oldest packet waits; only when there is one. */
int64_t ipop_backlog_oldest(IpopBacklog *backlog);

/* The next packet; false when none waits. */
bool ipop_backlog_take(IpopBacklog *backlog, int64_t now, IpopBacklogTaken *ret);

/* Drops all that is in a queue. */
void ipop_backlog_forget(IpopBacklog *backlog, IpopBacklogQueue *queue);
