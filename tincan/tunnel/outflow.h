/* outflow.h - what waits in a path's socket for an interface that takes less than is sent, and what part to drop so that
 * nothing waits long there (aqm.h). Such a socket holds megabytes: seconds of a slow uplink.
 *
 * The kernel tells how many bytes a socket still holds, by its own measure, overhead included; how long the last of them wait
 * follows from the rate at which they leave (RFC 8033, section 4.3). Pure, one per peer.
 */
#pragma once

#include "tincan/tunnel/aqm.h"

#include <stddef.h>

#define IPOP_OUTFLOW_INTERVAL (INT64_C(5) * 1000) /* microseconds between looks */

/* All zero: nothing is known. */
typedef struct {
    IpopAqm aqm;
    int fd;         /* whose; another's tells nothing of this one's */
    int64_t looked; /* when */
    size_t held;    /* then */
    size_t sent;    /* bytes since */
    double measure; /* what the kernel counts for a byte of these, a mean; 0 unknown */
    double rate;    /* at which it holds less, per microsecond */
    bool asks;      /* for ipop_outflow_measured, at the next send */
} IpopOutflow;

/* Whether to look at that socket, before more is sent by it. */
static inline bool ipop_outflow_is_due(const IpopOutflow *outflow, int fd, int64_t now) {
    return fd >= 0 && (fd != outflow->fd || now - outflow->looked >= IPOP_OUTFLOW_INTERVAL);
}

/* The kernel counts that it holds so much. */
void ipop_outflow_look(IpopOutflow *outflow, int fd, size_t held, int64_t now);

/* n bytes were sent. */
static inline void ipop_outflow_sent(IpopOutflow *outflow, size_t n) {
    outflow->sent += n;
}

/* And so much more does it hold for them; 0: they have left already. */
void ipop_outflow_measured(IpopOutflow *outflow, size_t n, size_t more);
