/* Policy: every pair comes together, from one side at a time, and nothing is kept for ever. */
#include "controller/policy/policy.h"

#include "controller/budget.h"

#include <glib.h>

#define NOW (INT64_C(1000) * IPOP_SECOND)

static IpopPolicyFacts good(void) {
    return (IpopPolicyFacts){
        .tincan = true, .login = true, .available = true, .lower = true, .since = NOW, .wait_time = 15 * IPOP_SECOND};
}

static void expect(IpopPolicyFacts facts, int64_t now, IpopPolicyVerb verb, int64_t at) {
    IpopPolicyDecision decision = ipop_policy_decide(&facts, now);
    g_assert_cmpint(decision.verb, ==, verb);
    if (verb == IPOP_POLICY_WAIT)
        g_assert_cmpint(decision.at, ==, at);
}

static void test_lower_starts_at_once(void) {
    expect(good(), NOW, IPOP_POLICY_START, 0);
}

static void test_higher_gives_it_two_seconds(void) {
    IpopPolicyFacts facts = good();
    facts.lower = false;
    expect(facts, NOW, IPOP_POLICY_WAIT, NOW + 2 * IPOP_SECOND);
    expect(facts, NOW + 2 * IPOP_SECOND - 1, IPOP_POLICY_WAIT, NOW + 2 * IPOP_SECOND);
    expect(facts, NOW + 2 * IPOP_SECOND, IPOP_POLICY_START, 0);
    facts.first = true;
    expect(facts, NOW, IPOP_POLICY_START, 0);
}

static void test_not_without(void) {
    IpopPolicyFacts facts = good();
    facts.tincan = false;
    expect(facts, NOW, IPOP_POLICY_NOTHING, 0);
    facts = good();
    facts.login = false;
    expect(facts, NOW, IPOP_POLICY_NOTHING, 0);
    facts = good();
    facts.refused = true;
    expect(facts, NOW, IPOP_POLICY_NOTHING, 0);
    facts.first = true;
    expect(facts, NOW + 1000 * IPOP_SECOND, IPOP_POLICY_NOTHING, 0);
}

static void test_backs_off(void) {
    IpopPolicyFacts facts = good();
    facts.retry_at = NOW + 4 * IPOP_SECOND;
    expect(facts, NOW, IPOP_POLICY_WAIT, NOW + 4 * IPOP_SECOND);
    expect(facts, NOW + 4 * IPOP_SECOND, IPOP_POLICY_START, 0);
    facts.lower = false;
    expect(facts, NOW + 4 * IPOP_SECOND, IPOP_POLICY_WAIT, NOW + 6 * IPOP_SECOND);
}

static void test_gives_up(void) {
    IpopPolicyFacts facts = good();
    facts.link = IPOP_POLICY_LINK_TRYING;
    expect(facts, NOW + 1, IPOP_POLICY_WAIT, NOW + IPOP_POLICY_PATIENCE);
    expect(facts, NOW + IPOP_POLICY_PATIENCE, IPOP_POLICY_GIVE_UP, 0);
    facts.available = false; /* an unavailable presence ends nothing */
    expect(facts, NOW + 1, IPOP_POLICY_WAIT, NOW + IPOP_POLICY_PATIENCE);
}

static void test_online_is_left_alone(void) {
    IpopPolicyFacts facts = good();
    facts.link = IPOP_POLICY_LINK_ONLINE;
    expect(facts, NOW + 1000 * IPOP_SECOND, IPOP_POLICY_NOTHING, 0);
    facts.available = false;
    expect(facts, NOW + 1000 * IPOP_SECOND, IPOP_POLICY_NOTHING, 0);
    facts.renew_at = NOW;
    expect(facts, NOW, IPOP_POLICY_START, 0); /* the presence may be forged */
    expect(facts, NOW - 1, IPOP_POLICY_WAIT, NOW);
    facts.login = false;
    expect(facts, NOW, IPOP_POLICY_NOTHING, 0);
}

static void test_forgets(void) {
    IpopPolicyFacts facts = good();
    facts.available = false;
    for (int refused = 0; refused < 2; refused++)
        for (int login = 0; login < 2; login++) {
            facts.refused = refused;
            facts.login = login;
            expect(facts, NOW, IPOP_POLICY_WAIT, NOW + 30 * IPOP_SECOND);
            expect(facts, NOW + 30 * IPOP_SECOND, IPOP_POLICY_FORGET, 0);
        }
}

static void test_backoff(void) {
    int64_t base = IPOP_SECOND;
    for (unsigned failures = 1; failures < 100; failures++) {
        for (uint32_t random = 0; random < 5; random++) {
            int64_t delay = ipop_policy_backoff(failures, random * 858993459u);
            g_assert_cmpint(delay, <=, base);
            g_assert_cmpint(delay, >, base * 3 / 4 - 1);
        }
        base = MIN(2 * base, 60 * IPOP_SECOND);
    }
    g_assert_cmpint(ipop_policy_backoff(0, 0), ==, IPOP_SECOND);
}

static void test_upgrade(void) {
    static const int64_t seconds[] = {5, 30, 120, 600, 1800, 1800, 1800};
    for (unsigned attempts = 0; attempts < G_N_ELEMENTS(seconds); attempts++)
        for (uint32_t random = 0; random < 5; random++) {
            int64_t delay = ipop_policy_upgrade(attempts, random * 858993459u);
            g_assert_cmpint(delay, <=, seconds[attempts] * IPOP_SECOND);
            g_assert_cmpint(delay, >, seconds[attempts] * IPOP_SECOND * 3 / 4 - 1);
        }
    g_assert_cmpint(ipop_policy_upgrade(UINT_MAX, 0), ==, 1800 * IPOP_SECOND);
}

/* Whatever the facts: a wait lies ahead, and something comes of it when nothing changes. */
static void test_never_stuck(void) {
    for (unsigned bits = 0; bits < 1u << 8; bits++) {
        IpopPolicyFacts facts = {
            .tincan = bits & 1, .login = bits & 2, .available = bits & 4, .refused = bits & 8, .lower = bits & 16,
            .first = bits & 32, .link = (bits >> 6) % 3, .since = NOW, .wait_time = 15 * IPOP_SECOND};
        IpopPolicyDecision decision = ipop_policy_decide(&facts, NOW);
        if (decision.verb != IPOP_POLICY_WAIT)
            continue;
        g_assert_cmpint(decision.at, >, NOW);
        decision = ipop_policy_decide(&facts, decision.at);
        g_assert_cmpint(decision.verb, !=, IPOP_POLICY_WAIT);
        g_assert_cmpint(decision.verb, !=, IPOP_POLICY_NOTHING);
    }
}

/* Three at once, then one each two seconds; one that is reserved is taken. */
static void test_budget(void) {
    const int64_t interval = 2 * IPOP_SECOND;
    IpopBudget budget = {0};
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(ipop_budget_reserve(&budget, 3, interval, NOW), ==, NOW);
    g_assert_false(ipop_budget_left(&budget, 3, interval, NOW + interval - 1));
    g_assert_cmpint(ipop_budget_reserve(&budget, 3, interval, NOW + 1), ==, NOW + interval);
    g_assert_false(ipop_budget_take(&budget, 3, interval, NOW + interval));
    g_assert_true(ipop_budget_take(&budget, 3, interval, NOW + 2 * interval));
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(ipop_budget_reserve(&budget, 3, interval, 2 * NOW), ==, 2 * NOW);
    g_assert_cmpint(ipop_budget_reserve(&budget, 3, interval, 2 * NOW), ==, 2 * NOW + interval);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/lower-starts-at-once", test_lower_starts_at_once);
    g_test_add_func("/policy/higher-gives-it-two-seconds", test_higher_gives_it_two_seconds);
    g_test_add_func("/policy/not-without", test_not_without);
    g_test_add_func("/policy/backs-off", test_backs_off);
    g_test_add_func("/policy/gives-up", test_gives_up);
    g_test_add_func("/policy/online-is-left-alone", test_online_is_left_alone);
    g_test_add_func("/policy/forgets", test_forgets);
    g_test_add_func("/policy/backoff", test_backoff);
    g_test_add_func("/policy/upgrade", test_upgrade);
    g_test_add_func("/policy/never-stuck", test_never_stuck);
    g_test_add_func("/policy/budget", test_budget);
    return g_test_run();
}
