/* When something is dropped, and how much, in a model of a queue. */
#include "tincan/tunnel/aqm.h"

#include <glib.h>

#define MS INT64_C(1000)
#define SECOND (1000 * MS)

/* Packets that come and are served at steady rates; what finds no room is lost. */
typedef struct {
    IpopAqm aqm;
    int64_t now;
    double offered, served; /* packets per ms */
    double waiting, room;
    unsigned passed, dropped;
    int64_t wait, longest; /* of the last packet; of all since it was reset */
} Model;

/* Packets wait for what is before them. What is dropped costs nothing. */
static void run(Model *m, int64_t duration) {
    for (int64_t end = m->now + duration; m->now < end; m->now += MS) {
        double budget = m->served, before = m->waiting;
        m->waiting = MIN(m->waiting + m->offered, m->room);
        while (m->waiting >= 1 && budget >= 1) {
            bool drop = ipop_aqm_drops(&m->aqm, m->now);
            m->waiting--;
            budget -= !drop;
            m->passed += !drop;
            m->dropped += drop;
        }
        m->wait = (int64_t)((before + m->waiting) / 2 / MAX(m->offered, 1) * MS);
        m->longest = MAX(m->longest, m->wait);
        ipop_aqm_waited(&m->aqm, m->waiting < 1 ? 0 : m->wait, m->now);
    }
}

static void test_in_time(void) {
    Model m = {.now = SECOND, .offered = 99, .served = 100, .room = 1e6};
    run(&m, 10 * SECOND);
    g_assert_cmpuint(m.dropped, ==, 0);
    g_assert_cmpuint(m.passed, >, 900000);
}

/* A wait below the target, for good: a connection with a large window. */
static void test_standing(void) {
    IpopAqm aqm = {0};
    for (int64_t now = SECOND; now < 10 * SECOND; now += MS) {
        ipop_aqm_waited(&aqm, IPOP_AQM_TARGET - MS, now);
        for (unsigned i = 0; i < 500; i++)
            g_assert_false(ipop_aqm_drops(&aqm, now));
    }
}

/* However long one had to wait, as long as the queue is empty now and then. */
static void test_bursts(void) {
    IpopAqm aqm = {0};
    for (int64_t now = SECOND; now < 10 * SECOND; now += MS) {
        ipop_aqm_waited(&aqm, now / MS % 12 ? 200 * MS : 0, now);
        for (unsigned i = 0; i < 500; i++)
            g_assert_false(ipop_aqm_drops(&aqm, now));
    }
}

/* Who does not slow down loses what is too much, and soon the rest waits no longer than it should. */
static void test_overload(gconstpointer times) {
    unsigned factor = GPOINTER_TO_UINT(times);
    Model m = {.now = SECOND, .offered = 100 * factor, .served = 100, .room = 1e5};
    run(&m, 5 * SECOND);
    m.longest = 0;
    m.passed = m.dropped = 0;
    run(&m, 3 * SECOND);
    g_assert_cmpint(m.longest, <, 2 * IPOP_AQM_TARGET);
    g_assert_cmpuint(m.passed, >, 3000 * 100 * 9 / 10);
    g_assert_cmpuint(m.dropped, >, m.passed * (factor - 1) * 9 / 10);
    g_assert_true(ipop_aqm_is_flooded(&m.aqm));
    /* It is soon forgotten when less comes. */
    m.offered = 50;
    run(&m, 2 * SECOND);
    m.dropped = 0;
    run(&m, SECOND);
    g_assert_cmpuint(m.dropped, ==, 0);
}

/* A little too much costs little: one in many, and never several at once. */
static void test_gentle(void) {
    Model m = {.now = SECOND, .offered = 102, .served = 100, .room = 1e6};
    run(&m, 3 * SECOND);
    m.passed = m.dropped = 0;
    run(&m, SECOND);
    g_assert_cmpuint(m.dropped, <, m.passed / 20);
    g_assert_false(ipop_aqm_is_flooded(&m.aqm));
    m.aqm.part = 0.01;
    unsigned since = 1000;
    for (unsigned i = 0; i < 100000; i++, since++)
        if (ipop_aqm_drops(&m.aqm, m.now)) {
            g_assert_cmpuint(since, >=, 49);
            since = 0;
        }
}

/* After a while without a word everything is new. */
static void test_forgets(void) {
    Model m = {.now = SECOND, .offered = 1000, .served = 100, .room = 1e5};
    run(&m, 3 * SECOND);
    g_assert_true(ipop_aqm_drops(&m.aqm, m.now) || ipop_aqm_drops(&m.aqm, m.now));
    ipop_aqm_waited(&m.aqm, 100 * MS, m.now + 2 * SECOND);
    for (unsigned i = 0; i < 1000; i++)
        g_assert_false(ipop_aqm_drops(&m.aqm, m.now));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aqm/in-time", test_in_time);
    g_test_add_func("/aqm/standing", test_standing);
    g_test_add_func("/aqm/bursts", test_bursts);
    g_test_add_data_func("/aqm/overload/3", GUINT_TO_POINTER(3), test_overload);
    g_test_add_data_func("/aqm/overload/5", GUINT_TO_POINTER(5), test_overload);
    g_test_add_data_func("/aqm/overload/20", GUINT_TO_POINTER(20), test_overload);
    g_test_add_func("/aqm/gentle", test_gentle);
    g_test_add_func("/aqm/forgets", test_forgets);
    return g_test_run();
}
