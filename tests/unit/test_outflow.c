/* How long what a socket holds is found to wait, and what is dropped for it, in a model of a socket before a slow interface. */
#include "tincan/tunnel/outflow.h"

#include <glib.h>

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define FD 7

typedef struct {
    IpopOutflow outflow;
    int64_t now;
    double offered, rate; /* bytes per ms: what is to be sent, what the interface takes */
    size_t packet;        /* bytes */
    double overhead;      /* what the kernel counts for each byte */
    double due, held, room;
    uint64_t passed, dropped, lost; /* packets */
    double longest;                 /* microseconds that one had to wait */
} Model;

static void send_packet(Model *m) {
    if (ipop_outflow_is_due(&m->outflow, FD, m->now))
        ipop_outflow_look(&m->outflow, FD, (size_t)(m->held * m->overhead), m->now);
    if (ipop_aqm_drops(&m->outflow.aqm, m->now)) {
        m->dropped++;
        return;
    }
    bool fits = m->held + (double)m->packet <= m->room;
    m->longest = MAX(m->longest, m->held / m->rate * MS);
    m->held += fits ? (double)m->packet : 0;
    m->passed += fits;
    m->lost += !fits;
    if (fits && m->outflow.asks)
        ipop_outflow_measured(&m->outflow, m->packet, (size_t)((double)m->packet * m->overhead));
    if (fits)
        ipop_outflow_sent(&m->outflow, m->packet);
}

static void run(Model *m, int64_t duration) {
    for (int64_t end = m->now + duration; m->now < end; m->now += MS) {
        m->held = MAX(m->held - m->rate, 0);
        for (m->due += m->offered; m->due >= (double)m->packet; m->due -= (double)m->packet)
            send_packet(m);
    }
}

typedef struct {
    double rate; /* bytes per ms */
    size_t packet;
    double overhead;
} Case;

/* 1.6 Mbit/s to 1 Gbit/s. */
static const Case cases[] = {{200, 1200, 2}, {2000, 1400, 1.5}, {12500, 100, 8}, {125000, 60000, 1.1}};

static Model model(const Case *c) {
    return (Model){.now = SECOND, .rate = c->rate, .packet = c->packet, .overhead = c->overhead, .room = 8e6};
}

static void test_in_time(void) {
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Model m = model(&cases[i]);
        m.offered = m.rate * 0.9;
        run(&m, 20 * SECOND);
        g_assert_cmpuint(m.dropped + m.lost, ==, 0);
    }
}

/* Who does not slow down loses what is too much, and the rest waits no longer than it should: nothing is lost for the room. */
static void test_overload(void) {
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Model m = model(&cases[i]);
        m.offered = m.rate * 2;
        run(&m, 10 * SECOND);
        m.passed = m.lost = 0;
        m.longest = 0;
        run(&m, 10 * SECOND);
        g_test_message("%.0f bytes/ms: waits up to %.0f ms", m.rate, m.longest / MS);
        g_assert_cmpfloat(m.longest, <, 3 * IPOP_AQM_TARGET + 6.0 * (double)m.packet / m.rate * MS);
        g_assert_cmpfloat((double)(m.passed * m.packet), >, m.rate * 10000 * 0.9);
        g_assert_cmpuint(m.lost, ==, 0);
    }
}

/* The interface becomes slower, and faster. */
static void test_changes(void) {
    Model m = model(&cases[1]);
    m.offered = m.rate * 1.2;
    run(&m, 10 * SECOND);
    m.rate /= 4;
    run(&m, 10 * SECOND);
    m.longest = 0;
    run(&m, 10 * SECOND);
    g_assert_cmpfloat(m.longest, <, 6 * IPOP_AQM_TARGET);
    m.rate *= 8;
    run(&m, 5 * SECOND);
    m.dropped = 0;
    run(&m, 5 * SECOND);
    g_assert_cmpuint(m.dropped, ==, 0);
}

/* It asks once for each look, also where all leaves at once. */
static void test_asks(void) {
    IpopOutflow outflow = {0};
    for (int64_t now = SECOND; now < 2 * SECOND; now += IPOP_OUTFLOW_INTERVAL) {
        g_assert_true(ipop_outflow_is_due(&outflow, FD, now));
        ipop_outflow_look(&outflow, FD, 0, now);
        g_assert_true(outflow.asks);
        ipop_outflow_measured(&outflow, 1400, 0);
        ipop_outflow_sent(&outflow, 1400);
        g_assert_false(outflow.asks || ipop_aqm_drops(&outflow.aqm, now));
    }
}

/* Another socket is another story. */
static void test_another(void) {
    Model m = model(&cases[1]);
    m.offered = m.rate * 3;
    run(&m, 10 * SECOND);
    g_assert_cmpuint(m.dropped, >, 0);
    g_assert_true(ipop_outflow_is_due(&m.outflow, FD + 1, m.now));
    ipop_outflow_look(&m.outflow, FD + 1, 1000000, m.now);
    for (unsigned i = 0; i < 1000; i++)
        g_assert_false(ipop_aqm_drops(&m.outflow.aqm, m.now));
    g_assert_false(ipop_outflow_is_due(&m.outflow, -1, m.now + SECOND));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/outflow/in-time", test_in_time);
    g_test_add_func("/outflow/overload", test_overload);
    g_test_add_func("/outflow/changes", test_changes);
    g_test_add_func("/outflow/another", test_another);
    g_test_add_func("/outflow/asks", test_asks);
    return g_test_run();
}
