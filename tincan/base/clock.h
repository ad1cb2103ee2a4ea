/* clock.h - the one clock of the data plane and the controller.
 *
 * Everything that ages (keys, links, peers) is measured on CLOCK_BOOTTIME, which also runs while the machine sleeps
 * and never steps with the date. Pure modules take the time as an argument, so tests set it as they like.
 */
#pragma once

#include <stdint.h>

#define IPOP_SECOND INT64_C(1000000)

/* Microseconds since boot. Any thread. */
int64_t ipop_clock_now(void);
