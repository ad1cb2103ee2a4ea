/* clock.h - time for the benchmarks. */
#pragma once

#include <time.h>

/* Nanoseconds of processor time of this thread, so that other programs disturb less. */
static inline double thread_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}
