/* aqm.h - active queue management: what part of the packets in a queue to drop so that none waits long there, however much
 * comes. PIE (RFC 8033), with measured waits. Pure, one per queue.
 *
 * Of an interval the shortest wait counts: a burst, or a thread that was not scheduled for a while, is no overload. So
 * nothing is dropped as long as the queue is empty now and then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IPOP_AQM_TARGET (INT64_C(15) * 1000) /* microseconds */

/* All zero drops nothing. */
typedef struct {
    double part;                    /* of the packets, to be dropped */
    double due, next;               /* what of a packet has come due; one is dropped when it is that much */
    int64_t updated, least, before; /* when, the shortest wait since, the shortest before that */
    uint32_t random;
} IpopAqm;

/* A packet was taken from the queue now that had waited so long, or (0) the queue is empty. Microseconds. */
void ipop_aqm_waited(IpopAqm *aqm, int64_t waited, int64_t now);

/* Whether the next packet is to be dropped. */
bool ipop_aqm_drops(IpopAqm *aqm, int64_t now);

/* So much comes that it is better not even looked at: ask ipop_aqm_drops for super-packets, before they are read, instead of for
 * the packets in them. */
static inline bool ipop_aqm_is_flooded(const IpopAqm *aqm) {
    return aqm->part >= 0.5;
}
