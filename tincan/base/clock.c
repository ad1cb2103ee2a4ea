#include "tincan/base/clock.h"

#include <time.h>

int64_t ipop_clock_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * IPOP_SECOND + ts.tv_nsec / 1000;
}
