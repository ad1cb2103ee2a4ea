/* budget.h - how often something may happen: so many times at once, then once in a while. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One per cause; zero is a full one. */
typedef struct {
    int64_t due; /* when it will be full again */
} IpopBudget;

/* Whether there is something left. `burst` times can be taken from a full one, and one more each `interval` microseconds;
 * both must be the same in each call for this budget. now: ipop_clock_now. */
static inline bool ipop_budget_left(const IpopBudget *budget, unsigned burst, int64_t interval, int64_t now) {
    return budget->due - now <= (int64_t)(burst - 1) * interval;
}

/* Takes one; false when none is left. */
static inline bool ipop_budget_take(IpopBudget *budget, unsigned burst, int64_t interval, int64_t now) {
    if (!ipop_budget_left(budget, burst, interval, now))
        return false;
    budget->due = (budget->due > now ? budget->due : now) + interval;
    return true;
}

/* When one can be taken, now or later, and takes it. */
static inline int64_t ipop_budget_reserve(IpopBudget *budget, unsigned burst, int64_t interval, int64_t now) {
    int64_t due = budget->due > now ? budget->due : now, spare = (int64_t)(burst - 1) * interval;
    budget->due = due + interval;
    return due - spare > now ? due - spare : now;
}
