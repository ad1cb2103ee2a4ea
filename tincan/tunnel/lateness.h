/* lateness.h - when to drop from a queue that does not get shorter, judged by how long its packets waited (as CoDel does,
 * RFC 8289; the later, the more often, as RED does). Times in microseconds.
 *
 * A burst is no overload, nor is a thread that was not let run: only when every packet for a while was late are
 * senders signalled, by the loss of one packet now and then, which is all that TCP needs to slow down. Beyond the limit all
 * is dropped: that is for what does not slow down.
 */
#pragma once

#include "tincan/base/clock.h"

#include <stdint.h>
#include <time.h>

#define IPOP_LATE_TARGET (IPOP_SECOND / 200)   /* later than this is late */
#define IPOP_LATE_PATIENCE (IPOP_SECOND / 100) /* all were late for so long: it is an overload */
#define IPOP_LATE_DEBT (IPOP_SECOND / 10)      /* so much lateness, of all packets together, is one signal */
#define IPOP_LATE_LIMIT (IPOP_SECOND / 50)

typedef enum {
    IPOP_IN_TIME,
    IPOP_LATE_SIGNAL, /* drop a little of it: one of the packets in a super-packet or train */
    IPOP_LATE_DROP,
} IpopLateness;

/* Of one queue; all zero at first. */
typedef struct {
    int64_t since; /* the first of the late ones; 0: the last was in time */
    int64_t debt;  /* lateness that was not signalled yet */
} IpopLate;

/* How long this thread has run. */
static inline int64_t ipop_late_clock(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * IPOP_SECOND + time.tv_nsec / 1000;
}

/* Of the queue's packets in order, each when its turn has come after so long. now: by ipop_late_clock. */
static inline IpopLateness ipop_late_judge(IpopLate *late, int64_t waited, int64_t now) {
    if (waited <= IPOP_LATE_TARGET)
        late->since = 0;
    else if (late->since == 0)
        late->since = now;
    if (late->since == 0 || now - late->since <= IPOP_LATE_PATIENCE)
        return IPOP_IN_TIME;
    if (waited > IPOP_LATE_LIMIT)
        return IPOP_LATE_DROP;
    late->debt += waited - IPOP_LATE_TARGET;
    if (late->debt <= IPOP_LATE_DEBT)
        return IPOP_IN_TIME;
    late->debt -= IPOP_LATE_DEBT;
    return IPOP_LATE_SIGNAL;
}
