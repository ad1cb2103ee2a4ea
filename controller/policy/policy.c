#include "controller/policy/policy.h"

static IpopPolicyDecision when(IpopPolicyVerb verb, int64_t at, int64_t now) {
    return (IpopPolicyDecision){.verb = now >= at ? verb : IPOP_POLICY_WAIT, .at = at};
}

static int64_t start_time(const IpopPolicyFacts *facts) {
    int64_t at = facts->retry_at > facts->since ? facts->retry_at : facts->since;
    return facts->lower || facts->first ? at : at + IPOP_POLICY_GRACE;
}

IpopPolicyDecision ipop_policy_decide(const IpopPolicyFacts *facts, int64_t now) {
    bool may_start = facts->login && facts->available && !facts->refused;
    if (!facts->tincan)
        return (IpopPolicyDecision){.verb = IPOP_POLICY_NOTHING};
    switch (facts->link) {
    case IPOP_POLICY_LINK_TRYING:
        return when(IPOP_POLICY_GIVE_UP, facts->since + IPOP_POLICY_PATIENCE, now);
    case IPOP_POLICY_LINK_ONLINE:
        /* Whatever its presence says: the link shows that it is there. */
        if (facts->login && !facts->refused && facts->renew_at != 0)
            return when(IPOP_POLICY_START, facts->renew_at, now);
        break;
    case IPOP_POLICY_LINK_DOWN:
        if (!facts->available)
            return when(IPOP_POLICY_FORGET, facts->since + 2 * facts->wait_time, now);
        if (may_start)
            return when(IPOP_POLICY_START, start_time(facts), now);
        break;
    }
    return (IpopPolicyDecision){.verb = IPOP_POLICY_NOTHING};
}

/* Lest all do it at once. */
static int64_t jitter(int64_t delay, uint32_t random) {
    return delay - (int64_t)(random % (uint32_t)(delay / 4));
}

int64_t ipop_policy_backoff(unsigned failures, uint32_t random) {
    int64_t delay = IPOP_POLICY_BACKOFF_MIN;
    while (failures-- > 1 && delay < IPOP_POLICY_BACKOFF_MAX)
        delay *= 2;
    if (delay > IPOP_POLICY_BACKOFF_MAX)
        delay = IPOP_POLICY_BACKOFF_MAX;
    return jitter(delay, random);
}

int64_t ipop_policy_upgrade(unsigned attempts, uint32_t random) {
    static const int64_t seconds[] = {5, 30, 120, 600, 1800};
    unsigned last = sizeof seconds / sizeof *seconds - 1;
    return jitter(seconds[attempts < last ? attempts : last] * IPOP_SECOND, random);
}
