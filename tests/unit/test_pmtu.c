/* The search for a way's largest datagram, against a way of made-up size, delay and loss, in made-up time. */
#include "tincan/tunnel/pmtu.h"

#include <glib.h>
#include <string.h>

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define AROUND 28
#define TOP (1500 - AROUND)
#define ANSWERS 256

/* The world: a way, and what is under way on it. */
typedef struct {
    IpopPmtu pmtu;
    int64_t now, rtt;
    size_t takes;     /* the largest datagram that arrives */
    size_t interface; /* the largest that leaves; 0: any */
    bool dead;
    unsigned probes;  /* sent so far */
    unsigned lose;    /* so many of the next ones */
    struct {
        int64_t at;
        size_t size;
    } answers[ANSWERS];
    unsigned n_answers;
    uint64_t counter;
    /* The peer's side: a report at most every 500 ms, and one after the last packet. */
    int64_t reported;
    uint64_t arrived;
    bool to_report;
} World;

static void begin(World *w) {
    ipop_pmtu_begin(&w->pmtu, AROUND, TOP, w->now);
}

static World *world(size_t takes, int64_t rtt) {
    World *w = g_new0(World, 1);
    w->now = 1000 * SECOND;
    w->takes = takes;
    w->rtt = rtt;
    begin(w);
    return w;
}

static void send_probe(World *w, size_t size) {
    w->probes++;
    if (w->interface && size > w->interface) {
        ipop_pmtu_refused(&w->pmtu, size, w->now);
        return;
    }
    bool lost = w->lose > 0;
    w->lose -= lost;
    if (lost || w->dead || size > w->takes)
        return;
    g_assert_cmpuint(w->n_answers, <, ANSWERS);
    w->answers[w->n_answers].at = w->now + w->rtt;
    w->answers[w->n_answers++].size = size;
}

static void take_answers(World *w) {
    unsigned n = 0;
    for (unsigned i = 0; i < w->n_answers; i++)
        if (w->answers[i].at <= w->now)
            ipop_pmtu_answer(&w->pmtu, w->pmtu.way, w->answers[i].size, w->now);
        else
            w->answers[n++] = w->answers[i];
    w->n_answers = n;
}

static void report(World *w) {
    if (!w->to_report || w->now - w->reported < 500 * MS)
        return;
    w->reported = w->now;
    w->to_report = false;
    ipop_pmtu_report(&w->pmtu, w->arrived);
}

static void step(World *w, int64_t by) {
    for (int64_t end = w->now + by; w->now < end; w->now += MS) {
        take_answers(w);
        report(w);
        for (size_t size; (size = ipop_pmtu_probe(&w->pmtu, w->rtt, w->now));)
            send_probe(w, size);
    }
}

static void send_packet(World *w, size_t size) {
    ipop_pmtu_sent(&w->pmtu, size, ++w->counter, w->rtt, w->now);
    if (w->dead || size > w->takes || size <= IPOP_PMTU_BASE)
        return;
    w->arrived = w->counter;
    w->to_report = true;
    report(w);
}

static void stream(World *w, int64_t by, int64_t interval) {
    for (int64_t end = w->now + by; w->now < end;) {
        send_packet(w, w->pmtu.size);
        step(w, interval);
    }
}

static void assert_idle(const World *w) {
    g_assert_cmpint(w->pmtu.state, ==, IPOP_PMTU_SETTLED);
    g_assert_cmpint(w->pmtu.due, ==, IPOP_PMTU_NEVER);
}

static void test_full_size(void) {
    World *w = world(TOP, 50 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, IPOP_PMTU_BASE);
    g_assert_false(w->pmtu.known);
    step(w, 52 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    g_assert_true(w->pmtu.known);
    assert_idle(w);
    g_assert_cmpuint(w->probes, <=, 16);
    g_free(w);
}

/* Whatever the way takes: what is found is at most 20 bytes below, and never above. */
static void test_every_size(void) {
    for (size_t takes = 548; takes <= TOP + 10; takes += 7) {
        World *w = world(takes, 20 * MS);
        step(w, 2 * SECOND);
        assert_idle(w);
        g_assert_true(w->pmtu.known);
        g_assert_cmpuint(w->pmtu.size, <=, takes);
        if (takes >= 1280 - AROUND)
            g_assert_cmpuint(w->pmtu.size + 20, >, MIN(takes, TOP));
        g_free(w);
    }
}

/* What was lost is tried again, and is used when it is answered. */
static void test_lost_probes(void) {
    World *w = world(TOP, 10 * MS);
    w->lose = 5;
    step(w, 20 * MS);
    size_t first = w->pmtu.size;
    g_assert_cmpuint(first, >, IPOP_PMTU_BASE);
    g_assert_cmpuint(first, <, TOP);
    step(w, SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    assert_idle(w);
    g_free(w);
}

static void test_long_way(void) {
    World *w = world(TOP, 900 * MS);
    step(w, 902 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    /* It may have been given up meanwhile, when the round trip was not known. */
    World *slow = world(TOP, 0);
    slow->rtt = 2 * SECOND;
    IpopPmtu *pmtu = &slow->pmtu;
    while (ipop_pmtu_probe(pmtu, 0, slow->now))
        ;
    for (int i = 0; i < 4; i++) {
        slow->now += 250 * MS;
        while (ipop_pmtu_probe(pmtu, 0, slow->now))
            ;
    }
    g_assert_cmpint(pmtu->state, ==, IPOP_PMTU_SETTLED);
    g_assert_cmpuint(pmtu->size, ==, IPOP_PMTU_BASE);
    g_assert_false(pmtu->known);
    ipop_pmtu_answer(pmtu, pmtu->way, 576 - AROUND, slow->now);
    g_assert_false(pmtu->known);
    ipop_pmtu_answer(pmtu, pmtu->way, TOP, slow->now);
    g_assert_cmpuint(pmtu->size, ==, TOP);
    g_assert_true(pmtu->known);
    g_free(slow);
    g_free(w);
}

static void test_interface(void) {
    World *w = world(TOP, 10 * MS);
    w->interface = 1400 - AROUND;
    step(w, SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, 1400 - AROUND);
    assert_idle(w);
    /* It shrinks: what is safe is used at once, and what it takes is found. */
    w->interface = 1330 - AROUND;
    ipop_pmtu_refused(&w->pmtu, w->pmtu.size, w->now);
    g_assert_cmpuint(w->pmtu.size, ==, IPOP_PMTU_BASE);
    g_assert_false(w->pmtu.known);
    step(w, SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, 1320 - AROUND);
    assert_idle(w);
    /* Below the base, too. */
    w->interface = 1001 - AROUND;
    ipop_pmtu_refused(&w->pmtu, w->pmtu.size, w->now);
    for (size_t size; (size = w->pmtu.size) > w->interface; step(w, 5 * MS))
        ipop_pmtu_refused(&w->pmtu, size, w->now);
    step(w, 2 * SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, 1000 - AROUND);
    assert_idle(w);
    g_free(w);
}

static void test_silent_peer(void) {
    World *w = world(TOP, 10 * MS);
    w->dead = true;
    begin(w);
    w->n_answers = 0;
    step(w, 3 * SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, IPOP_PMTU_BASE); /* nothing speaks against it */
    g_assert_false(w->pmtu.known);
    assert_idle(w);
    /* It is tried again when there is something to send. */
    w->dead = false;
    unsigned before = w->probes;
    step(w, 60 * SECOND);
    g_assert_cmpuint(w->probes, ==, before);
    stream(w, 50 * MS, 10 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    g_assert_true(w->pmtu.known);
    g_free(w);
}

/* An idle way costs nothing for ever, and so does one with small packets alone. */
static void test_idle(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    unsigned before = w->probes;
    for (int i = 0; i < 3600; i++) {
        w->now += SECOND;
        ipop_pmtu_sent(&w->pmtu, 100 + (size_t)i % 1000, w->counter++, w->rtt, w->now);
        assert_idle(w);
    }
    g_assert_cmpuint(ipop_pmtu_probe(&w->pmtu, w->rtt, w->now), ==, 0);
    g_assert_cmpuint(w->probes, ==, before);
    g_free(w);
}

/* Reports keep it quiet; a single large packet that is reported does, too. */
static void test_reported(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    unsigned before = w->probes;
    stream(w, 20 * SECOND, 20 * MS);
    g_assert_cmpuint(w->probes, ==, before);
    stream(w, 60 * SECOND, 5 * SECOND);
    g_assert_cmpuint(w->probes, ==, before);
    g_free(w);
}

static void test_black_hole(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    stream(w, 5 * SECOND, 20 * MS);
    w->takes = 1400 - AROUND;
    int64_t begun = w->now;
    while (w->pmtu.size == TOP && w->now < begun + 10 * SECOND) {
        g_assert_true(w->pmtu.known);
        stream(w, 20 * MS, 20 * MS);
    }
    g_assert_cmpint(w->now - begun, <, 2500 * MS);
    g_assert_true(w->pmtu.hole);
    stream(w, 50 * MS, 10 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, 1400 - AROUND);
    stream(w, SECOND, 20 * MS);
    g_assert_true(w->pmtu.known);
    step(w, SECOND);
    assert_idle(w);

    /* It widens again: found a minute later, if there is traffic. */
    w->takes = TOP;
    stream(w, 50 * SECOND, 100 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, 1400 - AROUND);
    step(w, SECOND);
    w->now += 3600 * SECOND;
    g_assert_cmpuint(ipop_pmtu_probe(&w->pmtu, w->rtt, w->now), ==, 0);
    stream(w, 200 * MS, 20 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    g_assert_false(w->pmtu.hole);
    g_free(w);
}

/* Small probes are no proof: they are answered all the while. */
static void test_hole_to_the_base(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    w->takes = IPOP_PMTU_BASE;
    stream(w, 3 * SECOND, 20 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, IPOP_PMTU_BASE);
    w->takes = 600; /* and even there it can be seen, with a larger size only */
    begin(w);
    step(w, 3 * SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, 576 - AROUND);
    g_free(w);
}

/* A hole below the base is found, too. */
static void test_deep_hole(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    w->takes = 1124 - AROUND;
    stream(w, 4 * SECOND, 20 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, 1120 - AROUND);
    step(w, SECOND);
    assert_idle(w);
    g_free(w);
}

static void test_false_alarm(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    w->reported = INT64_MAX / 2; /* never again */
    stream(w, SECOND, 100 * MS);
    unsigned before = w->probes;
    stream(w, 100 * MS, 20 * MS);
    g_assert_cmpuint(w->probes, >, before);
    g_assert_cmpuint(w->probes, <=, before + 3);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    g_assert_true(w->pmtu.known);
    g_free(w);
}

/* When nothing is answered the way is dead, which is another's to find. */
static void test_dead(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    w->dead = true;
    stream(w, 30 * SECOND, 100 * MS);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    g_assert_true(w->pmtu.known);
    g_free(w);
}

static void test_raise_after_ten_minutes(void) {
    World *w = world(1400 - AROUND, 10 * MS);
    step(w, SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, 1400 - AROUND);
    w->takes = TOP;
    unsigned before = w->probes;
    stream(w, 590 * SECOND, SECOND);
    g_assert_cmpuint(w->probes, ==, before);
    stream(w, 20 * SECOND, SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, TOP);
    before = w->probes;
    stream(w, 1200 * SECOND, SECOND);
    g_assert_cmpuint(w->probes, ==, before); /* there is nothing more to find */
    g_free(w);
}

/* What is said of another way, or of sizes that were never sent, changes nothing. */
static void test_answers_that_lie(void) {
    World *w = world(TOP, 10 * MS);
    ipop_pmtu_answer(&w->pmtu, w->pmtu.way - 1, TOP, w->now);
    ipop_pmtu_answer(&w->pmtu, w->pmtu.way, TOP + 1, w->now);
    g_assert_cmpuint(w->pmtu.size, ==, IPOP_PMTU_BASE);
    step(w, SECOND);
    begin(w); /* a new way: everything from the beginning */
    g_assert_cmpuint(w->pmtu.size, ==, IPOP_PMTU_BASE);
    ipop_pmtu_answer(&w->pmtu, w->pmtu.way - 1, TOP, w->now);
    g_assert_cmpuint(w->pmtu.size, ==, IPOP_PMTU_BASE);
    g_free(w);
}

/* An old report is none; one under new keys begins at zero. */
static void test_counters(void) {
    World *w = world(TOP, 10 * MS);
    step(w, SECOND);
    ipop_pmtu_sent(&w->pmtu, TOP, 1000, w->rtt, w->now);
    ipop_pmtu_report(&w->pmtu, 999);
    g_assert_cmpint(w->pmtu.due, !=, IPOP_PMTU_NEVER);
    ipop_pmtu_rekeyed(&w->pmtu);
    ipop_pmtu_report(&w->pmtu, 3);
    assert_idle(w);
    ipop_pmtu_sent(&w->pmtu, TOP, 4, w->rtt, w->now);
    ipop_pmtu_report(&w->pmtu, 4);
    assert_idle(w);
    g_free(w);
}

static void test_no_limit(void) {
    IpopPmtu pmtu = {0};
    ipop_pmtu_begin(&pmtu, 0, 9000, 0);
    g_assert_cmpuint(pmtu.size, ==, 9000);
    g_assert_true(pmtu.known);
    g_assert_cmpuint(ipop_pmtu_probe(&pmtu, 0, 0), ==, 0);
    ipop_pmtu_sent(&pmtu, 9000, 0, 0, 1);
    ipop_pmtu_answer(&pmtu, pmtu.way, 1, 1);
    g_assert_cmpuint(pmtu.size, ==, 9000);
    g_assert_cmpint(pmtu.due, ==, IPOP_PMTU_NEVER);
}

static void test_jumbo(void) {
    World *w = world(8000, 10 * MS);
    ipop_pmtu_begin(&w->pmtu, AROUND, 8972, w->now);
    step(w, 2 * SECOND);
    g_assert_cmpuint(w->pmtu.size, ==, 8000 - AROUND);
    g_free(w);
}

/* Loss alone makes no hole; and the search always comes to an end. */
static void test_random_loss(void) {
    for (int round = 0; round < 100; round++) {
        World *w = world(TOP, 30 * MS);
        for (int i = 0; i < 100; i++) {
            w->lose = g_test_rand_int_range(0, 20) == 0;
            stream(w, 20 * MS, 20 * MS);
        }
        w->lose = 0;
        stream(w, SECOND, 20 * MS);
        g_assert_cmpuint(w->pmtu.size, ==, TOP);
        g_free(w);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pmtu/full-size", test_full_size);
    g_test_add_func("/pmtu/every-size", test_every_size);
    g_test_add_func("/pmtu/lost-probes", test_lost_probes);
    g_test_add_func("/pmtu/long-way", test_long_way);
    g_test_add_func("/pmtu/interface", test_interface);
    g_test_add_func("/pmtu/silent-peer", test_silent_peer);
    g_test_add_func("/pmtu/idle", test_idle);
    g_test_add_func("/pmtu/reported", test_reported);
    g_test_add_func("/pmtu/black-hole", test_black_hole);
    g_test_add_func("/pmtu/hole-to-the-base", test_hole_to_the_base);
    g_test_add_func("/pmtu/deep-hole", test_deep_hole);
    g_test_add_func("/pmtu/false-alarm", test_false_alarm);
    g_test_add_func("/pmtu/dead", test_dead);
    g_test_add_func("/pmtu/raise", test_raise_after_ten_minutes);
    g_test_add_func("/pmtu/answers-that-lie", test_answers_that_lie);
    g_test_add_func("/pmtu/counters", test_counters);
    g_test_add_func("/pmtu/no-limit", test_no_limit);
    g_test_add_func("/pmtu/jumbo", test_jumbo);
    g_test_add_func("/pmtu/random-loss", test_random_loss);
    return g_test_run();
}
