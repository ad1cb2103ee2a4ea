/* liveness.h - whether the other end is there, judged by what authenticated and nothing else. Pure; times in microseconds.
 *
 *   quiet for LATE while packets go or came   -> ask (ping), and again every AGAIN
 *   quiet for IDLE                            -> the same
 *   no answer to that for patience            -> doubt: look for another way, this one may still come back
 *   quiet for DEAD                            -> dead
 */
#pragma once

#include "tincan/base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define IPOP_LIVENESS_LATE (IPOP_SECOND / 2)
#define IPOP_LIVENESS_IDLE (5 * IPOP_SECOND)
#define IPOP_LIVENESS_AGAIN (IPOP_SECOND / 4)
#define IPOP_LIVENESS_PATIENCE IPOP_SECOND
#define IPOP_LIVENESS_SOON (2 * IPOP_SECOND / 5) /* patience after an event that may well have ended it */
#define IPOP_LIVENESS_DEAD (9 * IPOP_SECOND)

/* Zero-initialised is valid. */
typedef struct {
    int64_t asked;     /* since when there is no answer; 0: nothing is asked */
    int64_t pinged;    /* when the last ping went out */
    int64_t patience;  /* for an answer to what is asked */
    int64_t doubt_at;  /* not before this again */
    unsigned doubts;   /* since the last answer */
    uint64_t received; /* packets as of the last look */
    bool fed;          /* packets came since the last answer: when they end, that may be the way back's end */
} IpopLiveness;

typedef struct {
    int64_t now;
    int64_t heard;     /* when something last authenticated; 0 never */
    int64_t sent;      /* when something was last sent */
    uint64_t received; /* packets in all */
    int64_t rtt;       /* 0 unknown */
} IpopLivenessFacts;

/* What to do now, as bits. */
enum {
    IPOP_LIVENESS_DO_PING = 1,
    IPOP_LIVENESS_DO_DOUBT = 2, /* told again after 4 s, 8 s, 16 s, ... 64 s without an answer */
    IPOP_LIVENESS_DO_GIVE_UP = 4,
};

/* ret_again: when to look again at the latest; INT64_MAX: once a second does. */
unsigned ipop_liveness_look(IpopLiveness *liveness, const IpopLivenessFacts *facts, int64_t *ret_again);

/* Something happened that may have ended it: the next look asks at once. patience: how long the answer may take, more if
 * rtt says so. */
void ipop_liveness_ask(IpopLiveness *liveness, int64_t now, int64_t patience, int64_t rtt);

/* The peer was heard. */
void ipop_liveness_answered(IpopLiveness *liveness);

/* The doubt is not to be told now, but at that time if it still holds. */
void ipop_liveness_put_off(IpopLiveness *liveness, int64_t until);

/* Asked for longer than it has patience. */
bool ipop_liveness_doubtful(const IpopLiveness *liveness, int64_t now);
