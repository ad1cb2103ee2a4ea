/* Sessions: two ends of the table talk to each other over a network that keeps the order, as XMPP does. */
#include "controller/jingle/session.h"

#include <glib.h>
#include <string.h>

static const IpopUid LOW = {"1111111111111111111111111111111111111111"};
static const IpopUid HIGH = {"2222222222222222222222222222222222222222"};

static IpopCandidate candidate(unsigned i) {
    IpopCandidate ret;
    char ip[16];
    g_snprintf(ip, sizeof ip, "192.0.2.%u", i + 1);
    g_assert_true(ipop_candidate_make(&ret, "host", "f", 1000 + i, ip, 4000, "", 0));
    return ret;
}

static void give_local(IpopSession *session, unsigned first, unsigned n, bool end) {
    IpopCandidate list[IPOP_CANDIDATES_MAX];
    for (unsigned i = 0; i < n; i++)
        list[i] = candidate(first + i);
    ipop_session_add_local(session, "ufra", "passwordpasswordpassword", list, n, end);
}

static void test_offer_and_answer(void) {
    IpopSession ours, theirs;
    IpopJingle message;
    ipop_session_init_ours(&ours, &LOW, 5);
    g_assert_true(ours.ours);
    g_assert_cmpuint(strlen(ours.sid), >=, 16);

    give_local(&ours, 0, 2, false);
    g_assert_cmpuint(ipop_session_step(&ours, IPOP_SESSION_LOCAL), ==, IPOP_SESSION_DO_INITIATE);
    g_assert_true(ipop_session_take_local(&ours, IPOP_JINGLE_INITIATE, &message));
    g_assert_cmpuint(message.n_candidates, ==, 2);
    g_assert_true(ipop_uid_equal(&message.uid, &LOW));

    ipop_session_init_theirs(&theirs, &HIGH, 9, &message);
    g_assert_cmpstr(theirs.sid, ==, ours.sid);
    g_assert_false(theirs.ours);
    g_assert_true(ipop_session_take_remote(&theirs, &message));

    /* What is found before the offer is acknowledged must not overtake it. */
    give_local(&ours, 2, 1, true);
    g_assert_cmpuint(ipop_session_step(&ours, IPOP_SESSION_LOCAL), ==, 0);
    g_assert_cmpuint(ipop_session_step(&ours, IPOP_SESSION_RESULT), ==, IPOP_SESSION_DO_TRICKLE);
    g_assert_true(ipop_session_take_local(&ours, IPOP_JINGLE_TRANSPORT_INFO, &message));
    g_assert_cmpuint(message.n_candidates, ==, 1);
    g_assert_true(message.end);
    g_assert_false(ipop_session_take_local(&ours, IPOP_JINGLE_TRANSPORT_INFO, &message));

    g_assert_cmpuint(ipop_session_step(&theirs, IPOP_SESSION_INFO), ==,
                     IPOP_SESSION_DO_ACKNOWLEDGE | IPOP_SESSION_DO_SET_REMOTE);
    give_local(&theirs, 7, 1, false);
    g_assert_cmpuint(ipop_session_step(&theirs, IPOP_SESSION_LOCAL), ==, IPOP_SESSION_DO_SEND_ACCEPT);
    g_assert_cmpuint(ipop_session_step(&ours, IPOP_SESSION_ACCEPT) & IPOP_SESSION_DO_SET_REMOTE, !=, 0);
    g_assert_cmpint(ours.state, ==, IPOP_SESSION_ACTIVE);
    ipop_session_step(&theirs, IPOP_SESSION_RESULT);
    g_assert_cmpint(theirs.state, ==, IPOP_SESSION_ACTIVE);

    g_assert_cmpuint(ipop_session_step(&theirs, IPOP_SESSION_TERMINATE), ==,
                     IPOP_SESSION_DO_ACKNOWLEDGE | IPOP_SESSION_DO_END);
    g_assert_cmpint(theirs.state, ==, IPOP_SESSION_OVER);
}

static void test_glare(void) {
    IpopSession low, high;
    ipop_session_init_ours(&low, &LOW, 1);
    ipop_session_init_ours(&high, &HIGH, 1);
    g_assert_cmpstr(low.sid, !=, high.sid);
    ipop_session_step(&low, IPOP_SESSION_LOCAL);
    ipop_session_step(&high, IPOP_SESSION_LOCAL);
    g_assert_cmpint(ipop_session_offer(&LOW, &HIGH), ==, IPOP_SESSION_OFFER_LOSES);
    g_assert_cmpint(ipop_session_offer(&HIGH, &LOW), ==, IPOP_SESSION_OFFER_WINS);
    g_assert_cmpuint(ipop_session_step(&low, IPOP_SESSION_OFFER_LOSES), ==, IPOP_SESSION_DO_REFUSE_TIE);
    g_assert_cmpint(low.state, ==, IPOP_SESSION_OFFERED);
    g_assert_cmpuint(ipop_session_step(&high, IPOP_SESSION_OFFER_WINS), ==, IPOP_SESSION_DO_REPLACE);
    /* The tie-break reaches a session that is over already, or ends one that waits. */
    g_assert_cmpuint(ipop_session_step(&high, IPOP_SESSION_TIE_BREAK), ==, 0);
    ipop_session_init_ours(&high, &HIGH, 2);
    ipop_session_step(&high, IPOP_SESSION_LOCAL);
    g_assert_cmpuint(ipop_session_step(&high, IPOP_SESSION_TIE_BREAK), ==, IPOP_SESSION_DO_END);
}

/* An offer is refused as a tie only while the own one may still be on its way: else the peer was restarted. */
static void test_restarted_peer_replaces(void) {
    for (IpopSessionState state = 0; state < IPOP_SESSION_STATES; state++) {
        IpopSession session = {.state = state};
        bool tie = state == IPOP_SESSION_OFFERING || state == IPOP_SESSION_OFFERED;
        g_assert_cmpuint(ipop_session_step(&session, IPOP_SESSION_OFFER_LOSES), ==,
                         tie ? IPOP_SESSION_DO_REFUSE_TIE : IPOP_SESSION_DO_REPLACE);
    }
}

/* Whatever comes in whatever order: every request is answered once, nothing happens after the end, and a session that is
 * not over can still end. */
static void test_any_order(void) {
    const unsigned answers =
        IPOP_SESSION_DO_ACKNOWLEDGE | IPOP_SESSION_DO_REFUSE_TIE | IPOP_SESSION_DO_REFUSE_ORDER | IPOP_SESSION_DO_REPLACE;
    for (unsigned round = 0; round < 20000; round++) {
        IpopSession session = {.state = (IpopSessionState)g_random_int_range(0, IPOP_SESSION_STATES)};
        IpopSessionEvent event = (IpopSessionEvent)g_random_int_range(0, IPOP_SESSION_EVENTS);
        bool over = session.state == IPOP_SESSION_OVER;
        unsigned actions = ipop_session_step(&session, event);
        bool request = event >= IPOP_SESSION_OFFER_LOSES && event <= IPOP_SESSION_TERMINATE;
        g_assert_cmpint(__builtin_popcount(actions & answers), ==, request ? 1 : 0);
        g_assert_true(!(actions & IPOP_SESSION_DO_END) || session.state == IPOP_SESSION_OVER);
        if (over) {
            g_assert_cmpint(session.state, ==, IPOP_SESSION_OVER);
            g_assert_cmpuint(actions & (IPOP_SESSION_DO_END | IPOP_SESSION_DO_SET_REMOTE | IPOP_SESSION_DO_TERMINATE), ==, 0);
        } else if (event == IPOP_SESSION_FAILED || event == IPOP_SESSION_ERROR || event == IPOP_SESSION_TERMINATE) {
            g_assert_cmpuint(actions & IPOP_SESSION_DO_END, !=, 0);
        }
    }
}

static void test_candidates_are_bounded(void) {
    IpopSession session;
    IpopJingle message;
    unsigned sent = 0;
    ipop_session_init_ours(&session, &LOW, 1);
    for (unsigned i = 0; i < 20; i++) {
        give_local(&session, i, 5, false);
        ipop_session_take_local(&session, IPOP_JINGLE_TRANSPORT_INFO, &message);
        sent += message.n_candidates;
    }
    g_assert_cmpuint(sent, ==, IPOP_CANDIDATES_MAX);

    unsigned taken = 0;
    for (unsigned i = 0; i < 20; i++) {
        message = (IpopJingle){.ufrag = "abcd", .n_candidates = 5};
        g_assert_true(ipop_session_take_remote(&session, &message));
        taken += message.n_candidates;
    }
    g_assert_cmpuint(taken, ==, IPOP_CANDIDATES_MAX);
    message = (IpopJingle){.ufrag = "efgh"};
    g_assert_false(ipop_session_take_remote(&session, &message));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/session/offer-and-answer", test_offer_and_answer);
    g_test_add_func("/session/glare", test_glare);
    g_test_add_func("/session/restarted-peer-replaces", test_restarted_peer_replaces);
    g_test_add_func("/session/any-order", test_any_order);
    g_test_add_func("/session/candidates-are-bounded", test_candidates_are_bounded);
    return g_test_run();
}
