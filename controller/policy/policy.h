/* policy.h - which links should exist: facts about one peer in, what to do now (and when to look again) out. Pure.
 *
 * Every pair of nodes that may know each other has a link. Both ends decide alone and alike: the lower uid opens the
 * session at once, the higher one only after giving it IPOP_POLICY_GRACE.
 */
#pragma once

#include "tincan/base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define IPOP_POLICY_GRACE (2 * IPOP_SECOND)    /* for the lower uid's offer to come */
#define IPOP_POLICY_PATIENCE (30 * IPOP_SECOND) /* from the start of a session to its link */
#define IPOP_POLICY_BACKOFF_MIN IPOP_SECOND
#define IPOP_POLICY_BACKOFF_MAX (60 * IPOP_SECOND)

typedef enum {
    IPOP_POLICY_LINK_DOWN,
    IPOP_POLICY_LINK_TRYING, /* a session is under way */
    IPOP_POLICY_LINK_ONLINE,
} IpopPolicyLink;

/* Times in microseconds of ipop_clock_now. */
typedef struct {
    bool tincan;      /* the data plane answers */
    bool login;       /* own Jabber login, in which the peer was seen */
    bool available;   /* the peer's, as last heard */
    bool refused;
    bool lower;       /* own uid is the lower one */
    bool first;       /* start whoever is lower: the own tincan lost its links, which the peer can't know */
    IpopPolicyLink link;
    int64_t since;    /* of `link` and `available` together: since when there could be a session */
    int64_t retry_at; /* back-off: not before; 0 none */
    int64_t renew_at; /* an online link wants another generation from then on: the host's network changed, or it is
                       * relayed; 0 no */
    int64_t wait_time;
} IpopPolicyFacts;

typedef enum {
    IPOP_POLICY_NOTHING, /* until a fact changes */
    IPOP_POLICY_WAIT,    /* look again at `at` */
    IPOP_POLICY_START,   /* open a session */
    IPOP_POLICY_GIVE_UP, /* end the session under way, back off */
    IPOP_POLICY_FORGET,  /* gone from Jabber, without a link, for 2 * wait_time */
} IpopPolicyVerb;

typedef struct {
    IpopPolicyVerb verb;
    int64_t at;
} IpopPolicyDecision;

IpopPolicyDecision ipop_policy_decide(const IpopPolicyFacts *facts, int64_t now);

/* How long to wait after so many failures in a row (1: the first): 1 s, 2 s, 4 s ... 60 s, less up to a quarter by random. */
int64_t ipop_policy_backoff(unsigned failures, uint32_t random);

/* How long to wait with the next attempt to find a direct path for a relayed link, after so many: 5 s, 30 s, 2 min, 10 min,
 * then 30 min, less up to a quarter by random. Only a new generation at both ends finds one that opened later. */
int64_t ipop_policy_upgrade(unsigned attempts, uint32_t random);
