/* attempt.h - what one transport tried and what it saw, for people: which addresses the two sides have, whose checks came in,
 * which pairs answered. It outlives the transport. Main thread.
 *
 * It holds what was observed and no more: how many checks went out on each pair libnice does not tell.
 */
#pragma once

#include "tincan/link/transport.h"

#include <glib.h>

#define IPOP_ATTEMPT_PAIRS_MAX 8 /* the newest of those that answered */

typedef struct {
    IpopPathInfo info;
    int64_t at;
} IpopAttemptPair;

typedef struct IpopAttempt {
    unsigned refs;
    bool controlling;
    /* ipop_clock_now; 0: not, or not yet. */
    int64_t begun;
    int64_t gathered;  /* there are no more own candidates */
    int64_t heard;     /* the peer's first check came in */
    int64_t connected; /* the first pair answered */
    int64_t failed;
    IpopCandidate local[IPOP_CANDIDATES_MAX], remote[IPOP_CANDIDATES_MAX];
    unsigned n_local, n_remote;
    uint32_t learned; /* bit per remote candidate: not signalled, but where checks of the peer came from */
    IpopAttemptPair pair[IPOP_ATTEMPT_PAIRS_MAX]; /* oldest first */
    unsigned n_pairs;
} IpopAttempt;

IpopAttempt *ipop_attempt_new(bool controlling);
IpopAttempt *ipop_attempt_ref(IpopAttempt *attempt);
void ipop_attempt_unref(IpopAttempt *attempt); /* accepts NULL */

/* False when there are IPOP_CANDIDATES_MAX already, or for a remote one that is known. One that was learned and is signalled
 * later takes the signalled one's type. */
bool ipop_attempt_add_local(IpopAttempt *attempt, const IpopCandidate *candidate);
bool ipop_attempt_add_remote(IpopAttempt *attempt, const IpopCandidate *candidate, bool learned);

/* A pair answered; the same one again only counts as the newest. */
void ipop_attempt_add_pair(IpopAttempt *attempt, const IpopPathInfo *info);

/* Pairs of addresses that ICE has to check: each own socket with each remote address of its family. */
unsigned ipop_attempt_count_pairs(const IpopAttempt *attempt);
