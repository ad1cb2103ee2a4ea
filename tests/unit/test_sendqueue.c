#include "controller/xmpp/sendqueue.h"
#include "tincan/base/clock.h"

#include <string.h>

#define MS (IPOP_SECOND / 1000)

/* A stanza of n bytes that begins with this letter. */
static char *stanza(char letter, size_t n) {
    char *xml = g_malloc(n + 1);
    memset(xml, letter, n);
    xml[n] = '\0';
    return xml;
}

static bool push(IpopSendQueue *queue, IpopXmppPriority priority, char letter, size_t n) {
    g_autofree char *xml = stanza(letter, n);
    return ipop_sendqueue_push(queue, priority, xml, NULL, NULL);
}

/* The letter of what comes out, '-' when nothing may go. */
static char pop(IpopSendQueue *queue, int64_t now) {
    g_autofree char *id = NULL;
    g_autofree char *xml = ipop_sendqueue_pop(queue, now, &id);
    g_assert_null(id);
    return xml ? xml[0] : '-';
}

static void test_order(void) {
    IpopSendQueue *queue = ipop_sendqueue_new();
    g_assert_cmpint(ipop_sendqueue_wait(queue, 0), ==, -1);
    g_assert_cmpint(pop(queue, 0), ==, '-');
    g_assert_true(push(queue, IPOP_XMPP_OFFER, 'f', 10));
    g_assert_true(push(queue, IPOP_XMPP_TRICKLE, 'd', 10));
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 'a', 10));
    g_assert_true(push(queue, IPOP_XMPP_URGENT, 'c', 10));
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 'b', 10));
    g_assert_true(push(queue, IPOP_XMPP_TRICKLE, 'e', 10));
    for (char expected = 'a'; expected <= 'f'; expected++)
        g_assert_cmpint(pop(queue, 0), ==, expected);
    g_assert_cmpint(ipop_sendqueue_wait(queue, 0), ==, -1);
    ipop_sendqueue_free(queue);
}

static void test_id(void) {
    IpopSendQueue *queue = ipop_sendqueue_new();
    g_assert_true(ipop_sendqueue_push(queue, IPOP_XMPP_REPLY, "<iq/>", "id-1", NULL));
    g_autofree char *id = NULL;
    g_autofree char *xml = ipop_sendqueue_pop(queue, 0, &id);
    g_assert_cmpstr(xml, ==, "<iq/>");
    g_assert_cmpstr(id, ==, "id-1");
    ipop_sendqueue_free(queue);
}

/* What was called off neither goes out nor costs those behind it any time or room. */
static void test_cancel(void) {
    IpopSendQueue *queue = ipop_sendqueue_new();
    ipop_sendqueue_reset(queue, 0);
    g_autofree char *large = stanza('l', IPOP_STANZA_MAX);
    int mine, other;
    for (int i = 0; i < IPOP_SENDQUEUE_MAX / IPOP_STANZA_MAX; i++)
        g_assert_true(ipop_sendqueue_push(queue, i % IPOP_XMPP_PRIORITIES, large, "id", &mine));
    ipop_sendqueue_cancel(queue, &other);
    g_assert_false(push(queue, IPOP_XMPP_OFFER, 'x', 1));
    ipop_sendqueue_cancel(queue, &mine);
    g_assert_cmpint(ipop_sendqueue_wait(queue, 0), ==, -1);

    g_assert_true(push(queue, IPOP_XMPP_OFFER, 'a', 10));
    g_assert_true(ipop_sendqueue_push(queue, IPOP_XMPP_OFFER, large, "id", &mine));
    g_assert_true(push(queue, IPOP_XMPP_OFFER, 'b', 10));
    ipop_sendqueue_cancel(queue, &mine);
    g_assert_cmpint(pop(queue, 0), ==, 'a');
    g_assert_cmpint(pop(queue, 0), ==, 'b');
    g_assert_cmpint(ipop_sendqueue_wait(queue, 0), ==, -1);
    ipop_sendqueue_free(queue);
}

static void test_rate(void) {
    IpopSendQueue *queue = ipop_sendqueue_new();
    ipop_sendqueue_reset(queue, 0);
    for (int i = 0; i < 3; i++)
        g_assert_true(push(queue, IPOP_XMPP_REPLY, 'x', IPOP_SENDQUEUE_BURST / 2));
    g_assert_cmpint(pop(queue, 0), ==, 'x');
    g_assert_cmpint(pop(queue, 0), ==, 'x');
    g_assert_cmpint(pop(queue, 0), ==, '-');
    int64_t wait = ipop_sendqueue_wait(queue, 0);
    g_assert_cmpint(wait, ==, (IPOP_SENDQUEUE_BURST / 2 * IPOP_SECOND + 8999) / 9000);
    g_assert_cmpint(pop(queue, wait - 1), ==, '-');
    g_assert_cmpint(pop(queue, wait), ==, 'x');
    ipop_sendqueue_free(queue);
}

static void test_longer_than_the_burst(void) {
    IpopSendQueue *queue = ipop_sendqueue_new();
    ipop_sendqueue_reset(queue, 0);
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 'l', IPOP_STANZA_MAX));
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 's', 1));
    g_assert_cmpint(pop(queue, 0), ==, 'l');
    /* The debt is paid before anything else goes. */
    int64_t debt = ((int64_t)IPOP_STANZA_MAX - IPOP_SENDQUEUE_BURST) * IPOP_SECOND / 9000;
    g_assert_cmpint(pop(queue, debt), ==, '-');
    g_assert_cmpint(pop(queue, debt + MS), ==, 's');
    ipop_sendqueue_free(queue);
}

static void test_bounds(void) {
    IpopSendQueue *queue = ipop_sendqueue_new();
    g_assert_false(ipop_sendqueue_push(queue, IPOP_XMPP_REPLY, "", NULL, NULL));
    g_assert_false(push(queue, IPOP_XMPP_REPLY, 'x', IPOP_STANZA_MAX + 1));
    for (int i = 0; i < IPOP_SENDQUEUE_MAX / IPOP_STANZA_MAX; i++)
        g_assert_true(push(queue, i % IPOP_XMPP_PRIORITIES, 'x', IPOP_STANZA_MAX));
    g_assert_false(push(queue, IPOP_XMPP_REPLY, 'x', 1));
    g_assert_cmpint(pop(queue, 0), ==, 'x');
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 'y', IPOP_STANZA_MAX));
    g_assert_false(push(queue, IPOP_XMPP_REPLY, 'x', 1));

    ipop_sendqueue_reset(queue, 0);
    g_assert_cmpint(ipop_sendqueue_wait(queue, 0), ==, -1);
    g_assert_true(push(queue, IPOP_XMPP_OFFER, 'z', IPOP_SENDQUEUE_BURST));
    g_assert_cmpint(pop(queue, 0), ==, 'z');
    ipop_sendqueue_free(queue);
}

static void test_clock_does_odd_things(void) {
    IpopSendQueue *queue = ipop_sendqueue_new();
    ipop_sendqueue_reset(queue, 1000 * IPOP_SECOND);
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 'a', IPOP_SENDQUEUE_BURST));
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 'b', IPOP_SENDQUEUE_BURST));
    g_assert_true(push(queue, IPOP_XMPP_REPLY, 'c', IPOP_SENDQUEUE_BURST));
    g_assert_cmpint(pop(queue, 999 * IPOP_SECOND), ==, 'a');
    g_assert_cmpint(pop(queue, 999 * IPOP_SECOND), ==, '-');
    /* A night asleep is worth one burst, and nothing overflows. */
    g_assert_cmpint(pop(queue, INT64_MAX), ==, 'b');
    g_assert_cmpint(pop(queue, INT64_MAX), ==, '-');
    ipop_sendqueue_free(queue);
}

/* Whatever comes when: never more than burst + rate * time (and one debt), nothing lost, and no wait that is too short. */
static void test_property(void) {
    for (unsigned seed = 0; seed < 50; seed++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
        IpopSendQueue *queue = ipop_sendqueue_new();
        ipop_sendqueue_reset(queue, 0);
        int64_t now = 0, in = 0, out = 0, longest = 0;
        for (unsigned step = 0; step < 2000; step++) {
            size_t n = (size_t)g_rand_int_range(rand, 1, g_rand_boolean(rand) ? 300 : 6000);
            if (g_rand_boolean(rand) && push(queue, g_rand_int_range(rand, 0, IPOP_XMPP_PRIORITIES), 'x', n))
                in += (int64_t)n;
            int64_t wait = ipop_sendqueue_wait(queue, now);
            g_autofree char *id = NULL;
            g_autofree char *xml = ipop_sendqueue_pop(queue, now, &id);
            g_assert_true((xml != NULL) == (wait == 0));
            if (xml) {
                out += (int64_t)strlen(xml);
                longest = MAX(longest, (int64_t)strlen(xml));
            }
            g_assert_cmpint(out, <=, IPOP_SENDQUEUE_BURST + longest + now / 1000 * 9 + 9);
            if (wait > 0)
                now += g_rand_boolean(rand) ? wait : g_rand_int_range(rand, 0, (int)wait + 1);
        }
        for (int64_t wait; (wait = ipop_sendqueue_wait(queue, now)) >= 0; now += wait) {
            g_autofree char *id = NULL;
            g_autofree char *xml = ipop_sendqueue_pop(queue, now, &id);
            out += xml ? (int64_t)strlen(xml) : 0;
        }
        g_assert_cmpint(in, ==, out);
        ipop_sendqueue_free(queue);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sendqueue/order", test_order);
    g_test_add_func("/sendqueue/id", test_id);
    g_test_add_func("/sendqueue/cancel", test_cancel);
    g_test_add_func("/sendqueue/rate", test_rate);
    g_test_add_func("/sendqueue/longer-than-the-burst", test_longer_than_the_burst);
    g_test_add_func("/sendqueue/bounds", test_bounds);
    g_test_add_func("/sendqueue/clock", test_clock_does_odd_things);
    g_test_add_func("/sendqueue/property", test_property);
    return g_test_run();
}
