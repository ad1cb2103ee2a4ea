/* test_explain.c - what an attempt remembers, and the sentences made of it. */
#include "tincan/link/explain.h"

#include <string.h>

static IpopCandidate candidate(const char *type, const char *ip, uint16_t port) {
    IpopCandidate c;
    g_assert_true(ipop_candidate_make(&c, type, "1", 100, ip, port, NULL, 0));
    return c;
}

/* Candidates as "type ip, type ip": one letter and the address. */
static void add(IpopAttempt *a, bool local, const char *list) {
    static const char *const types[] = {"host", "srflx", "relay"};
    g_auto(GStrv) parts = g_strsplit(list, " ", -1);
    for (char **p = parts; *p && **p; p++) {
        const char *type = types[**p == 'h' ? 0 : **p == 's' ? 1 : 2];
        IpopCandidate c = candidate(type, *p + 1, 1000);
        g_assert_true(local ? ipop_attempt_add_local(a, &c) : ipop_attempt_add_remote(a, &c, false));
    }
}

static void test_remote(void) {
    IpopAttempt *a = ipop_attempt_new(true);
    IpopCandidate learned = candidate("prflx", "192.0.2.1", 7), signalled = candidate("relay", "192.0.2.1", 7);
    IpopCandidate other = candidate("host", "192.0.2.1", 7);
    g_assert_true(ipop_attempt_add_remote(a, &learned, true));
    g_assert_false(ipop_attempt_add_remote(a, &learned, true));
    g_assert_cmpuint(a->learned, ==, 1);
    g_assert_true(ipop_attempt_add_remote(a, &signalled, false));
    g_assert_cmpuint(a->learned, ==, 0);
    g_assert_cmpuint(a->n_remote, ==, 1);
    g_assert_cmpint(a->remote[0].type, ==, IPOP_CANDIDATE_RELAY);
    g_assert_false(ipop_attempt_add_remote(a, &signalled, false));
    g_assert_true(ipop_attempt_add_remote(a, &other, false)); /* of one address, but another type */
    for (uint16_t port = 1; port <= 100; port++) {
        IpopCandidate c = candidate("host", "192.0.2.9", port);
        g_assert_true(ipop_attempt_add_remote(a, &c, port % 2) == (port <= IPOP_CANDIDATES_MAX - 2));
        g_assert_true(ipop_attempt_add_local(a, &c) == (port <= IPOP_CANDIDATES_MAX));
    }
    ipop_attempt_unref(a);
    ipop_attempt_unref(NULL);
}

static void test_pairs(void) {
    IpopAttempt *a = ipop_attempt_new(true), *same = ipop_attempt_ref(a);
    IpopPathInfo info = {.local_addr = "10.0.0.1:1"};
    for (unsigned i = 0; i < 20; i++) {
        g_snprintf(info.remote_addr, sizeof info.remote_addr, "192.0.2.1:%u", i + 1);
        ipop_attempt_add_pair(a, &info);
    }
    g_assert_cmpuint(a->n_pairs, ==, IPOP_ATTEMPT_PAIRS_MAX);
    g_assert_cmpstr(a->pair[0].info.remote_addr, ==, "192.0.2.1:13");
    g_strlcpy(info.remote_addr, "192.0.2.1:15", sizeof info.remote_addr);
    ipop_attempt_add_pair(a, &info);
    g_assert_cmpuint(a->n_pairs, ==, IPOP_ATTEMPT_PAIRS_MAX);
    g_assert_cmpstr(a->pair[IPOP_ATTEMPT_PAIRS_MAX - 1].info.remote_addr, ==, "192.0.2.1:15");
    g_assert_cmpstr(a->pair[2].info.remote_addr, ==, "192.0.2.1:16");
    g_assert_cmpint(a->connected, >=, a->begun);

    add(a, true, "h10.0.0.1 s198.51.100.1 r192.0.2.10 h2001:db8::1");
    add(a, false, "h10.0.0.2 s198.51.100.2 h2001:db8::2");
    g_assert_cmpuint(ipop_attempt_count_pairs(a), ==, 2 * 2 + 1);
    ipop_attempt_unref(a);
    ipop_attempt_unref(same);
}

#define HOME {IPOP_NAT_INDEPENDENT, IPOP_NAT_FILTER_PORT}
#define SYMMETRIC {IPOP_NAT_DEPENDENT, IPOP_NAT_FILTER_PORT}
#define OPEN {IPOP_NAT_NONE, IPOP_NAT_FILTER_NONE}
#define FIREWALL {IPOP_NAT_NONE, IPOP_NAT_FILTER_PORT}
#define UNTOLD {IPOP_NAT_UNKNOWN, IPOP_NAT_FILTER_UNKNOWN}
#define BLOCKED {IPOP_NAT_BLOCKED, IPOP_NAT_FILTER_UNKNOWN}

static void test_relayed(void) {
    static const char a[] = "h192.168.1.2 s198.51.100.1 r192.0.2.10", b[] = "h192.168.2.2 s198.51.100.2 r192.0.2.11";
    static const struct {
        const char *local, *remote;
        IpopNat own, peer;
        const char *says;
        bool remedy;
    } cases[] = {
        {a, b, SYMMETRIC, SYMMETRIC, "both NATs are symmetric", true},
        {a, b, SYMMETRIC, HOME, "this node's NAT is symmetric", true},
        {a, b, SYMMETRIC, FIREWALL, "this node's NAT is symmetric", true},
        {a, b, HOME, SYMMETRIC, "the peer's NAT is symmetric", true},
        {a, b, {IPOP_NAT_INDEPENDENT, IPOP_NAT_FILTER_UNKNOWN}, SYMMETRIC, "the peer's NAT is symmetric", true},
        {a, b, SYMMETRIC, OPEN, "would allow one", false},
        {a, b, HOME, HOME, "would allow one", false},
        {a, b, HOME, UNTOLD, "relayed: no direct path answered", false},
        {a, b, BLOCKED, HOME, "UDP seems to be blocked in this node's network", true},
        {a, b, HOME, BLOCKED, "UDP seems to be blocked in the peer's network", true},
        {a, "h192.168.2.2 s198.51.100.1", HOME, HOME, "both are behind the NAT 198.51.100.1", true},
        {a, "h2001:db8::1 r192.0.2.11", HOME, OPEN, "this node has IPv4 addresses only and the peer IPv6 ones only", true},
        {"h2001:db8::1", b, OPEN, OPEN, "this node has IPv6 addresses only and the peer IPv4 ones only", true},
        {"h2001:db8::1 h192.168.1.2", "h2001:db8::2", OPEN, OPEN, "would allow one", false},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        IpopAttempt *attempt = ipop_attempt_new(false);
        add(attempt, true, cases[i].local);
        add(attempt, false, cases[i].remote);
        IpopFacts facts = {.attempt = attempt, .own = cases[i].own, .peer = cases[i].peer};
        g_autofree char *text = ipop_explain_relayed(&facts);
        g_assert_true(g_str_has_prefix(text, "relayed: "));
        if (!strstr(text, cases[i].says))
            g_error("case %u: no \"%s\" in: %s", i, cases[i].says, text);
        g_assert_true((*ipop_explain_remedy(&facts) != '\0') == cases[i].remedy);
        ipop_attempt_unref(attempt);
    }
}

static void test_failed(void) {
    static const struct {
        const char *local;
        bool turn;
        const char *trouble, *end;
    } cases[] = {
        {"h192.168.1.2", false, NULL, "; a TURN server would help, and none is configured"},
        {"h192.168.1.2", true, NULL, "; no relay address came from the TURN servers"},
        {"h192.168.1.2", true, "TURN server x refuses", "; TURN server x refuses"},
        {"h192.168.1.2 r192.0.2.10", true, "TURN server x refuses", ": both NATs are symmetric, so neither side can be told where to send"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        IpopAttempt *attempt = ipop_attempt_new(false);
        add(attempt, true, cases[i].local);
        add(attempt, false, "h192.168.2.2");
        IpopFacts facts = {attempt, SYMMETRIC, SYMMETRIC, cases[i].turn, cases[i].trouble};
        g_autofree char *text = ipop_explain_failed(&facts);
        g_assert_true(g_str_has_prefix(text, "no answer from the peer to any check: both NATs are symmetric"));
        if (!g_str_has_suffix(text, cases[i].end))
            g_error("case %u: %s", i, text);
        ipop_attempt_unref(attempt);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/attempt/remote", test_remote);
    g_test_add_func("/attempt/pairs", test_pairs);
    g_test_add_func("/explain/relayed", test_relayed);
    g_test_add_func("/explain/failed", test_failed);
    return g_test_run();
}
