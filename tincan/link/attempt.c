#include "tincan/link/attempt.h"

#include "tincan/base/clock.h"

#include <string.h>

G_STATIC_ASSERT(IPOP_CANDIDATES_MAX <= 32); /* bits of learned */

IpopAttempt *ipop_attempt_new(bool controlling) {
    IpopAttempt *attempt = g_new0(IpopAttempt, 1);
    attempt->refs = 1;
    attempt->controlling = controlling;
    attempt->begun = ipop_clock_now();
    return attempt;
}

IpopAttempt *ipop_attempt_ref(IpopAttempt *attempt) {
    attempt->refs++;
    return attempt;
}

void ipop_attempt_unref(IpopAttempt *attempt) {
    if (attempt && --attempt->refs == 0)
        g_free(attempt);
}

bool ipop_attempt_add_local(IpopAttempt *attempt, const IpopCandidate *candidate) {
    if (attempt->n_local == IPOP_CANDIDATES_MAX)
        return false;
    attempt->local[attempt->n_local++] = *candidate;
    return true;
}

static IpopCandidate *find(IpopAttempt *attempt, const IpopCandidate *candidate, unsigned *ret_index) {
    for (unsigned i = 0; i < attempt->n_remote; i++) {
        IpopCandidate *c = &attempt->remote[i];
        bool learned = attempt->learned >> i & 1;
        if (c->port == candidate->port && strcmp(c->ip, candidate->ip) == 0 && (learned || c->type == candidate->type)) {
            *ret_index = i;
            return c;
        }
    }
    return NULL;
}

bool ipop_attempt_add_remote(IpopAttempt *attempt, const IpopCandidate *candidate, bool learned) {
    unsigned i;
    IpopCandidate *known = find(attempt, candidate, &i);
    if (known && (learned || !(attempt->learned >> i & 1)))
        return false;
    if (!known && attempt->n_remote == IPOP_CANDIDATES_MAX)
        return false;
    if (!known)
        i = attempt->n_remote++;
    attempt->remote[i] = *candidate;
    attempt->learned = learned ? attempt->learned | 1u << i : attempt->learned & ~(1u << i);
    return true;
}

static bool same_pair(const IpopPathInfo *a, const IpopPathInfo *b) {
    return strcmp(a->local_addr, b->local_addr) == 0 && strcmp(a->remote_addr, b->remote_addr) == 0;
}

void ipop_attempt_add_pair(IpopAttempt *attempt, const IpopPathInfo *info) {
    IpopAttemptPair pair = {*info, ipop_clock_now()};
    unsigned drop = 0;
    while (drop < attempt->n_pairs && !same_pair(&attempt->pair[drop].info, info))
        drop++;
    if (drop < attempt->n_pairs)
        pair.at = attempt->pair[drop].at;
    else if (drop == IPOP_ATTEMPT_PAIRS_MAX)
        drop = 0;
    if (drop < attempt->n_pairs)
        memmove(&attempt->pair[drop], &attempt->pair[drop + 1], (--attempt->n_pairs - drop) * sizeof pair);
    attempt->pair[attempt->n_pairs++] = pair;
    if (!attempt->connected)
        attempt->connected = pair.at;
}

static bool is_v6(const IpopCandidate *candidate) {
    return strchr(candidate->ip, ':') != NULL;
}

unsigned ipop_attempt_count_pairs(const IpopAttempt *attempt) {
    unsigned n = 0;
    for (unsigned l = 0; l < attempt->n_local; l++)
        for (unsigned r = 0; r < attempt->n_remote; r++) {
            /* A reflexive address is its host candidate's socket (RFC 8445 section 6.1.2.4). */
            bool socket = attempt->local[l].type == IPOP_CANDIDATE_HOST || attempt->local[l].type == IPOP_CANDIDATE_RELAY;
            n += socket && is_v6(&attempt->local[l]) == is_v6(&attempt->remote[r]);
        }
    return n;
}
