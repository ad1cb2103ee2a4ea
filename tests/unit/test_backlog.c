/* Packets that wait: order, shares, bounds; and when they have waited too long. */
#include "tincan/tunnel/backlog.h"

#include <string.h>

#define FLOWS 5
#define OWNERS 4

typedef struct {
    IpopBacklog *backlog;
    IpopBacklogQueue queues[OWNERS];
    size_t served[OWNERS]; /* bytes */
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
    f->backlog = ipop_backlog_new();
    for (unsigned i = 0; i < OWNERS; i++)
        f->queues[i].owner = GUINT_TO_POINTER(i);
}

static void tear_down(Fixture *f, gconstpointer data) {
    for (unsigned i = 0; i < OWNERS; i++)
        ipop_backlog_forget(f->backlog, &f->queues[i]);
    g_assert_true(ipop_backlog_empty(f->backlog));
    ipop_backlog_free(f->backlog);
}

/* What a packet says of itself, at its beginning; and its last byte. */
typedef struct {
    uint32_t owner, flow, number;
} Mark;

/* False when there is no room. */
static bool add(Fixture *f, uint32_t owner, uint32_t flow, uint32_t number, size_t n, int64_t now, unsigned *dropped) {
    uint8_t *room = ipop_backlog_room(f->backlog);
    if (!room)
        return false;
    Mark mark = {owner, flow, number};
    room[n - 1] = (uint8_t)number;
    memcpy(room, &mark, sizeof mark);
    *dropped += ipop_backlog_add(f->backlog, &f->queues[owner], flow, n, now);
    return true;
}

static bool take(Fixture *f, int64_t now, Mark *ret, IpopBacklogTaken *ret_taken) {
    if (!ipop_backlog_take(f->backlog, now, ret_taken))
        return false;
    memcpy(ret, ret_taken->bytes, sizeof *ret);
    g_assert_cmpuint(GPOINTER_TO_UINT(ret_taken->owner), ==, ret->owner);
    if (ret_taken->n > sizeof *ret)
        g_assert_cmpuint(ret_taken->bytes[ret_taken->n - 1], ==, (uint8_t)ret->number);
    memset(ret_taken->bytes - IPOP_BACKLOG_HEADROOM, 0xff, IPOP_BACKLOG_HEADROOM + ret_taken->n); /* it is ours */
    f->served[ret->owner] += ret_taken->n;
    return true;
}

/* As long as nothing is dropped, each packet comes once, as it was, and in the order of its flow. */
static void test_order(Fixture *f, gconstpointer data) {
    uint32_t put[OWNERS][FLOWS] = {0}, got[OWNERS][FLOWS] = {0};
    unsigned dropped = 0, waiting = 0;
    IpopBacklogTaken taken;
    Mark mark;
    for (unsigned i = 0; i < 40000; i++) {
        uint32_t owner = (uint32_t)g_test_rand_int_range(0, OWNERS), flow = (uint32_t)g_test_rand_int_range(0, FLOWS);
        size_t n = (size_t)g_test_rand_int_range(sizeof(Mark), i % 3 ? 1500 : IPOP_BACKLOG_PACKET_MAX + 1);
        if (waiting < 120) {
            g_assert_true(add(f, owner, flow, put[owner][flow]++, n, 0, &dropped));
            waiting++;
        }
        for (int more = g_test_rand_int_range(0, 3); more && take(f, 0, &mark, &taken); more--, waiting--)
            g_assert_cmpuint(mark.number, ==, got[mark.owner][mark.flow]++);
    }
    while (take(f, 0, &mark, &taken))
        g_assert_cmpuint(mark.number, ==, got[mark.owner][mark.flow]++);
    g_assert_cmpuint(dropped, ==, 0);
    g_assert_cmpmem(put, sizeof put, got, sizeof got);
}

/* Many flows of large packets at one peer, a single one of small packets at another, one of large ones at a third. */
static void test_peers_in_turn(Fixture *f, gconstpointer data) {
    unsigned dropped = 0;
    IpopBacklogTaken taken;
    Mark mark;
    for (uint32_t i = 0; i < 100; i++) {
        g_assert_true(add(f, 0, i, i, 50000, 0, &dropped));
        g_assert_true(add(f, 2, 7, i, 50000, 0, &dropped));
    }
    g_assert_true(add(f, 1, 3, 0, 100, 0, &dropped));
    g_assert_cmpuint(dropped, ==, 0);
    bool seen = false;
    for (unsigned i = 0; i < 100; i++) {
        g_assert_true(take(f, 0, &mark, &taken));
        seen |= mark.owner == 1;
        g_assert_true(seen || i < 5);
    }
    g_assert_cmpuint(f->served[0], >, f->served[2] * 9 / 10);
    g_assert_cmpuint(f->served[2], >, f->served[0] * 9 / 10);
}

static void test_flows_in_turn(Fixture *f, gconstpointer data) {
    unsigned dropped = 0, before = 0;
    IpopBacklogTaken taken;
    Mark mark = {0};
    for (uint32_t i = 0; i < 1000; i++)
        g_assert_true(add(f, 0, 1, i, 1400, 0, &dropped));
    g_assert_true(add(f, 0, 2, 0, 84, 0, &dropped));
    for (; mark.flow != 2; before++)
        g_assert_true(take(f, 0, &mark, &taken));
    g_assert_cmpuint(before, <, 20);
}

/* One peer's flood: bounded, and it is the flood that is dropped, its oldest first. */
static void test_room(Fixture *f, gconstpointer data) {
    unsigned dropped = 0, none = 0;
    uint32_t flood = 0, i;
    IpopBacklogTaken taken;
    Mark mark;
    g_assert_true(add(f, 0, 2, 0, 84, 0, &none));
    for (i = 0; i < 10000 && add(f, 0, 1, flood, 1400, 0, &dropped); i++)
        flood++;
    g_assert_cmpuint(flood, ==, 10000);
    for (; dropped < 1000; flood++) {
        if (!add(f, 0, 1, flood, 60000, 0, &dropped))
            break;
        g_assert_true(add(f, 1 + flood % 3, flood, flood, 100, 0, &none));
    }
    g_assert_cmpuint(dropped, >, 0);
    g_assert_cmpuint(none, ==, 0); /* the others, and the other flow, lost nothing */
    size_t bytes = 0, others = 0, small = 0;
    uint32_t next = dropped;
    while (take(f, 0, &mark, &taken)) {
        bytes += taken.n;
        others += mark.owner != 0;
        small += mark.owner == 0 && mark.flow == 2;
        if (mark.owner == 0 && mark.flow == 1)
            g_assert_cmpuint(mark.number, ==, next++);
    }
    g_assert_cmpuint(next, ==, flood);
    g_assert_cmpuint(small, ==, 1);
    g_assert_cmpuint(others, ==, flood - 10000);
    g_assert_cmpuint(bytes, <, IPOP_BACKLOG_BYTES);
}

static void test_full(Fixture *f, gconstpointer data) {
    unsigned dropped = 0;
    IpopBacklogTaken taken;
    Mark mark;
    uint32_t i = 0;
    /* The first one waits, and with it the room of all that come after, though they are gone. */
    g_assert_true(add(f, 1, 0, 0, 60000, 0, &dropped));
    while (add(f, 0, 0, i++, 60000, 0, &dropped))
        ;
    g_assert_cmpuint(dropped, >, IPOP_BACKLOG_BYTES / 60000 / 10);
    ipop_backlog_forget(f->backlog, &f->queues[0]);
    g_assert_null(ipop_backlog_room(f->backlog));
    g_assert_true(take(f, 0, &mark, &taken));
    g_assert_cmpuint(mark.owner, ==, 1);
    g_assert_true(ipop_backlog_empty(f->backlog));
    g_assert_true(add(f, 0, 0, 0, 60000, 0, &dropped));
}

static void test_oldest(Fixture *f, gconstpointer data) {
    unsigned dropped = 0;
    IpopBacklogTaken taken;
    Mark mark;
    for (uint32_t i = 0; i < 4; i++)
        g_assert_true(add(f, i, 0, i, 100, 1000 + i, &dropped));
    for (uint32_t i = 0; i < 4; i++) {
        g_assert_cmpint(ipop_backlog_oldest(f->backlog), ==, 1000 + i);
        g_assert_true(take(f, 2000, &mark, &taken));
        g_assert_cmpuint(mark.owner, ==, i);
    }
}

/* --- lateness --- */

#define MS (IPOP_SECOND / 1000)

/* Packets one after the other, a hundredth of a millisecond each, all after the same wait. */
static void run(IpopLate *late, int64_t *now, int64_t waited, int64_t duration, unsigned counts[3]) {
    memset(counts, 0, 3 * sizeof *counts);
    for (int64_t end = *now + duration; *now < end; *now += MS / 100)
        counts[ipop_late_judge(late, waited, *now)]++;
}

static void test_in_time(void) {
    IpopLate late = {0};
    unsigned counts[3];
    int64_t now = IPOP_SECOND;
    run(&late, &now, IPOP_LATE_TARGET, 10 * IPOP_SECOND, counts);
    g_assert_cmpuint(counts[IPOP_IN_TIME], ==, 1000 * 1000);
}

/* However late, as long as it is soon over. */
static void test_burst(void) {
    IpopLate late = {0};
    unsigned counts[3];
    int64_t now = IPOP_SECOND;
    for (unsigned i = 0; i < 100; i++) {
        run(&late, &now, IPOP_SECOND, IPOP_LATE_PATIENCE - MS, counts);
        g_assert_cmpuint(counts[IPOP_LATE_SIGNAL] + counts[IPOP_LATE_DROP], ==, 0);
        g_assert_cmpint(ipop_late_judge(&late, 0, now), ==, IPOP_IN_TIME);
    }
}

static void test_overload(void) {
    IpopLate late = {0};
    unsigned counts[3], before = 0;
    int64_t now = IPOP_SECOND;
    run(&late, &now, IPOP_LATE_LIMIT, IPOP_LATE_PATIENCE, counts);
    g_assert_cmpuint(counts[IPOP_LATE_DROP], ==, 0);
    /* The later, the more signals; never more than some. */
    for (int64_t waited = IPOP_LATE_TARGET + MS; waited <= IPOP_LATE_LIMIT; waited += MS) {
        run(&late, &now, waited, IPOP_SECOND, counts);
        g_assert_cmpuint(counts[IPOP_LATE_DROP], ==, 0);
        g_assert_cmpuint(counts[IPOP_LATE_SIGNAL], >, before);
        g_assert_cmpuint(counts[IPOP_LATE_SIGNAL], <, 20000);
        before = counts[IPOP_LATE_SIGNAL];
    }
    run(&late, &now, IPOP_LATE_LIMIT + 1, IPOP_SECOND, counts);
    g_assert_cmpuint(counts[IPOP_LATE_DROP], ==, 100000);
    g_assert_cmpint(ipop_late_judge(&late, 0, now), ==, IPOP_IN_TIME);
    g_assert_cmpint(ipop_late_judge(&late, IPOP_SECOND, now), ==, IPOP_IN_TIME);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/backlog/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("order", test_order);
    ADD("peers-in-turn", test_peers_in_turn);
    ADD("flows-in-turn", test_flows_in_turn);
    ADD("room", test_room);
    ADD("full", test_full);
    ADD("oldest", test_oldest);
    g_test_add_func("/late/in-time", test_in_time);
    g_test_add_func("/late/burst", test_burst);
    g_test_add_func("/late/overload", test_overload);
    return g_test_run();
}
