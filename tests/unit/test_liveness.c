#include "tincan/link/liveness.h"

#include <glib.h>

#define MS (IPOP_SECOND / 1000)
#define START (1000 * IPOP_SECOND)

/* A peer and a way to it, in time that only the test moves. Looks as often as it is told to, and once a second. */
typedef struct {
    IpopLiveness liveness;
    IpopLivenessFacts facts;
    bool way;       /* pings come back, after rtt */
    int64_t answer; /* when the next one does; 0: none is under way */
    int64_t again, tick;
    unsigned pings, doubts, ends;
    int64_t first_doubt, first_end;
} World;

static World world_new(void) {
    return (World){.facts = {.now = START, .heard = START, .sent = START, .rtt = 10 * MS}, .way = true, .again = INT64_MAX};
}

static void look(World *w) {
    unsigned todo = ipop_liveness_look(&w->liveness, &w->facts, &w->again);
    if (todo & IPOP_LIVENESS_DO_PING) {
        w->pings++;
        w->facts.sent = w->facts.now;
        if (w->way && w->answer == 0)
            w->answer = w->facts.now + w->facts.rtt;
    }
    if (todo & IPOP_LIVENESS_DO_DOUBT && w->doubts++ == 0)
        w->first_doubt = w->facts.now;
    if (todo & IPOP_LIVENESS_DO_GIVE_UP && w->ends++ == 0)
        w->first_end = w->facts.now;
}

/* send, receive: packets each 20 ms. */
static void run(World *w, int64_t time, bool send, bool receive) {
    int64_t end = w->facts.now + time;
    for (; w->facts.now < end; w->facts.now += MS) {
        bool beat = w->facts.now % (20 * MS) == 0;
        if (beat && send)
            w->facts.sent = w->facts.now;
        if (beat && receive) {
            w->facts.received++;
            w->facts.heard = w->facts.now;
        }
        if (w->answer != 0 && w->facts.now >= w->answer) {
            w->facts.heard = w->facts.now;
            w->answer = 0;
        }
        if (w->facts.now >= w->tick || w->facts.now >= w->again) {
            if (w->facts.now >= w->tick)
                w->tick = w->facts.now + IPOP_SECOND;
            look(w);
        }
    }
}

static void test_idle(void) {
    World w = world_new();
    run(&w, 100 * IPOP_SECOND, false, false);
    g_assert_cmpuint(w.pings, >=, 15);
    g_assert_cmpuint(w.pings, <=, 20);
    g_assert_cmpuint(w.doubts + w.ends, ==, 0);
}

static void test_traffic_needs_no_pings(void) {
    World w = world_new();
    run(&w, 100 * IPOP_SECOND, true, true);
    g_assert_cmpuint(w.pings + w.doubts + w.ends, ==, 0);
}

/* Whether it sends, receives or both: the end is noticed soon, told with back-off, and the link given up in time. */
static void test_way_ends(gconstpointer data) {
    int which = GPOINTER_TO_INT(data);
    World w = world_new();
    run(&w, 10500 * MS, which & 1, which & 2);
    g_assert_cmpuint(w.doubts, ==, 0);
    w.way = false;
    w.answer = 0;
    int64_t end = w.facts.heard;
    run(&w, 30 * IPOP_SECOND, which & 1, false);
    g_assert_cmpint(w.first_doubt - end, <, which ? 2300 * MS : 7300 * MS);
    g_assert_cmpint(w.first_doubt - end, >=, 1400 * MS);
    g_assert_cmpint(w.first_end - end, >=, 9 * IPOP_SECOND);
    g_assert_cmpint(w.first_end - end, <=, 11 * IPOP_SECOND);
    g_assert_cmpuint(w.doubts, >=, 3); /* after 4 s, after 8 s, ... */
    g_assert_cmpuint(w.doubts, <=, 4);
    w.way = true;
    run(&w, 3 * IPOP_SECOND, false, false);
    g_assert_false(ipop_liveness_doubtful(&w.liveness, w.facts.now));
    g_assert_cmpint(w.liveness.asked, ==, 0);
}

/* A flow that ends by itself costs one ping. */
static void test_flow_ends(void) {
    World w = world_new();
    run(&w, 10 * IPOP_SECOND, true, true);
    run(&w, 4 * IPOP_SECOND, false, false);
    g_assert_cmpuint(w.pings, ==, 1);
    g_assert_cmpuint(w.doubts, ==, 0);
}

static void test_slow_way(void) {
    World w = world_new();
    w.facts.rtt = 900 * MS;
    run(&w, 60 * IPOP_SECOND, true, false);
    g_assert_cmpuint(w.doubts, ==, 0);
    w.facts.rtt = 3600 * IPOP_SECOND; /* the ping that the host slept over */
    w.way = false;
    run(&w, 10 * IPOP_SECOND, true, false);
    g_assert_cmpuint(w.doubts, >=, 1);
}

/* After a sleep of any length: asked at once, and given up only if nobody answers. */
static void test_event(void) {
    World w = world_new();
    run(&w, 1500 * MS, false, false);
    w.facts.now += 3600 * IPOP_SECOND;
    ipop_liveness_ask(&w.liveness, w.facts.now, IPOP_LIVENESS_SOON, w.facts.rtt);
    look(&w);
    g_assert_cmpuint(w.pings, ==, 1);
    run(&w, 2 * IPOP_SECOND, false, false);
    g_assert_cmpuint(w.doubts + w.ends, ==, 0);
    g_assert_cmpint(w.liveness.asked, ==, 0);

    w.facts.now += 3600 * IPOP_SECOND;
    w.way = false;
    int64_t woken = w.facts.now;
    ipop_liveness_ask(&w.liveness, w.facts.now, IPOP_LIVENESS_SOON, w.facts.rtt);
    look(&w);
    run(&w, 2 * IPOP_SECOND, false, false);
    g_assert_cmpint(w.first_doubt - woken, <=, 600 * MS);
    g_assert_cmpuint(w.ends, ==, 0);
    run(&w, 4 * IPOP_SECOND, false, false);
    g_assert_cmpint(w.first_end, >, 0);
}

/* Another way is being tried already: the doubt is not lost, it comes when that had its time. */
static void test_put_off(void) {
    World w = world_new();
    w.way = false;
    ipop_liveness_ask(&w.liveness, w.facts.now, IPOP_LIVENESS_SOON, w.facts.rtt);
    run(&w, IPOP_SECOND, false, false);
    g_assert_cmpuint(w.doubts, ==, 1);
    ipop_liveness_put_off(&w.liveness, w.facts.now + IPOP_SECOND / 2);
    run(&w, 1600 * MS, false, false);
    g_assert_cmpuint(w.doubts, ==, 2);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/liveness/idle", test_idle);
    g_test_add_func("/liveness/traffic-needs-no-pings", test_traffic_needs_no_pings);
    g_test_add_data_func("/liveness/way-ends/idle", GINT_TO_POINTER(0), test_way_ends);
    g_test_add_data_func("/liveness/way-ends/sending", GINT_TO_POINTER(1), test_way_ends);
    g_test_add_data_func("/liveness/way-ends/receiving", GINT_TO_POINTER(2), test_way_ends);
    g_test_add_data_func("/liveness/way-ends/both", GINT_TO_POINTER(3), test_way_ends);
    g_test_add_func("/liveness/flow-ends", test_flow_ends);
    g_test_add_func("/liveness/slow-way", test_slow_way);
    g_test_add_func("/liveness/event", test_event);
    g_test_add_func("/liveness/put-off", test_put_off);
    return g_test_run();
}
