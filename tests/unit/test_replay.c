/* The sliding window against a reference that remembers everything. */
#include "tincan/crypto/replay.h"

#include <glib.h>

static bool step(IpopReplay *replay, uint64_t counter) {
    IpopReplay before = *replay;
    bool checked = ipop_replay_check(replay, counter);
    g_assert_cmpmem(&before, (int)sizeof before, replay, (int)sizeof *replay);
    g_assert_true(ipop_replay_accept(replay, counter) == checked);
    if (checked)
        g_assert_false(ipop_replay_check(replay, counter));
    return checked;
}

static void test_edges(void) {
    IpopReplay replay = {0};
    g_assert_true(step(&replay, 0));
    g_assert_false(step(&replay, 0));
    g_assert_true(step(&replay, IPOP_REPLAY_WINDOW)); /* 0 is out, 1 the oldest */
    g_assert_false(step(&replay, 0));
    g_assert_true(step(&replay, 1));
    g_assert_false(step(&replay, 1));
    g_assert_true(step(&replay, IPOP_REPLAY_WINDOW - 1));
    g_assert_true(step(&replay, UINT64_MAX - 1));
    g_assert_false(step(&replay, UINT64_MAX - 1));
    g_assert_false(step(&replay, UINT64_MAX)); /* never: there would be no next */
    g_assert_false(step(&replay, UINT64_MAX - 1 - IPOP_REPLAY_WINDOW));
    g_assert_true(step(&replay, UINT64_MAX - IPOP_REPLAY_WINDOW));
}

static void test_in_order(void) {
    IpopReplay replay = {0};
    for (uint64_t i = 0; i < 3 * IPOP_REPLAY_WINDOW; i++)
        g_assert_true(step(&replay, i));
    for (uint64_t i = 0; i < 3 * IPOP_REPLAY_WINDOW; i++)
        g_assert_false(step(&replay, i));
}

static void test_backwards(void) {
    IpopReplay replay = {0};
    uint64_t top = 5 * IPOP_REPLAY_WINDOW + 17;
    for (uint64_t i = 0; i < 2 * IPOP_REPLAY_WINDOW; i++)
        g_assert_true(step(&replay, top - i) == (i < IPOP_REPLAY_WINDOW));
}

/* A first counter far from zero must not find what was never written. */
static void test_jump(void) {
    static const uint64_t jumps[] = {63, 64, 65, 8191, 8192, 8193, 8255, 8256, 8257, UINT64_C(1) << 40};
    for (size_t i = 0; i < G_N_ELEMENTS(jumps); i++) {
        IpopReplay replay = {0};
        for (uint64_t j = 0; j < 200; j++)
            g_assert_true(step(&replay, j));
        uint64_t top = 199 + jumps[i];
        g_assert_true(step(&replay, top));
        for (uint64_t c = top > 9000 ? top - 9000 : 0; c < top; c++) {
            bool fresh = c > 199 && top - c < IPOP_REPLAY_WINDOW;
            g_assert_true(ipop_replay_check(&replay, c) == fresh);
        }
    }
}

/* Counters wander like a lossy, reordering, duplicating path, with jumps of all sizes. */
static void test_random(void) {
    for (int round = 0; round < 20; round++) {
        IpopReplay replay = {0};
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
        uint64_t next = 0, base = 0;
        for (int i = 0; i < 20000; i++) {
            if (g_test_rand_int_range(0, 500) == 0)
                base += (uint64_t)g_test_rand_int_range(0, 4 * IPOP_REPLAY_WINDOW);
            base += (uint64_t)g_test_rand_int_range(0, 3);
            uint64_t back = (uint64_t)g_test_rand_int_range(0, g_test_rand_bit() ? 100 : 2 * IPOP_REPLAY_WINDOW);
            uint64_t counter = base > back ? base - back : 0;

            bool fresh = !g_hash_table_contains(seen, &counter) &&
                         (counter >= next || next - counter <= IPOP_REPLAY_WINDOW);
            g_assert_true(step(&replay, counter) == fresh);
            if (fresh)
                g_hash_table_add(seen, g_memdup2(&counter, sizeof counter));
            if (fresh && counter >= next)
                next = counter + 1;
        }
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/replay/edges", test_edges);
    g_test_add_func("/replay/in-order", test_in_order);
    g_test_add_func("/replay/backwards", test_backwards);
    g_test_add_func("/replay/jump", test_jump);
    g_test_add_func("/replay/random", test_random);
    return g_test_run();
}
