/* Packets in pieces: cut and put together again, in any order, with losses, and made up by a hostile peer. */
#include "tincan/crypto/wire.h"
#include "tincan/tunnel/pieces.h"

#include <glib.h>
#include <string.h>

#define SECOND INT64_C(1000000)

typedef struct {
    size_t n;
    uint8_t bytes[IPOP_PIECE_PACKET_MAX + IPOP_PIECE_HEADER];
} Frame;

static void fill(uint8_t *packet, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++)
        packet[i] = (uint8_t)(i * 31 + i / 251 + seed);
}

/* Cuts a packet made of seed; returns how many. */
static unsigned cut(Frame *frames, size_t n, uint8_t flags, uint16_t id, size_t max, unsigned seed) {
    g_autofree uint8_t *room = g_malloc(IPOP_PIECE_HEADER - 1 + n);
    IpopCutter cutter;
    unsigned count = 0;
    fill(room + IPOP_PIECE_HEADER - 1, n, seed);
    /* What is in front of the first piece must be the caller's: one byte more is its own. */
    g_autofree uint8_t *whole = g_malloc(1 + IPOP_PIECE_HEADER - 1 + n);
    memcpy(whole + 1, room, IPOP_PIECE_HEADER - 1 + n);
    g_assert_true(ipop_cutter_begin(&cutter, whole + IPOP_PIECE_HEADER, n, flags, id, max));
    size_t frame_n;
    for (uint8_t *frame; (frame = ipop_cutter_next(&cutter, &frame_n)); count++) {
        g_assert_cmpuint(frame_n, <=, max);
        g_assert_cmpuint(count, <, IPOP_PIECES_MAX);
        g_assert_true(count == 0 || frame_n <= frames[0].n);
        frames[count].n = frame_n;
        memcpy(frames[count].bytes, frame, frame_n);
        memset(frame, 0xee, frame_n); /* as sealing does */
    }
    return count;
}

static IpopPieceResult give(IpopReassembly *r, const Frame *frame, int64_t now, size_t n, uint8_t flags,
                            unsigned seed) {
    g_autofree uint8_t *exact = g_memdup2(frame->bytes, frame->n);
    g_autofree uint8_t *expected = g_malloc(n + 1);
    uint8_t *packet, got_flags;
    size_t got;
    IpopPieceResult result = ipop_reassembly_add(r, exact, frame->n, now, &packet, &got, &got_flags);
    if (result != IPOP_PIECE_COMPLETE)
        return result;
    fill(expected, n, seed);
    g_assert_cmpuint(got, ==, n);
    g_assert_cmpuint(got_flags, ==, flags);
    g_assert_true(memcmp(packet, expected, n) == 0);
    return result;
}

static void shuffle(Frame **order, unsigned n) {
    for (unsigned i = n; i > 1; i--) {
        unsigned j = (unsigned)g_test_rand_int_range(0, (int)i);
        Frame *kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

static void test_any_order(void) {
    static Frame frames[IPOP_PIECES_MAX];
    IpopReassembly *r = ipop_reassembly_new();
    for (unsigned round = 0; round < 2000; round++) {
        size_t n = (size_t)g_test_rand_int_range(1, IPOP_PIECE_PACKET_MAX + 1);
        size_t least = (n + IPOP_PIECES_MAX - 1) / IPOP_PIECES_MAX + IPOP_PIECE_HEADER;
        size_t max = least + (size_t)g_test_rand_int_range(0, 1500);
        uint8_t flags = g_test_rand_bit() ? IPOP_FRAME_PARTIAL_CHECKSUM : 0;
        unsigned count = cut(frames, n, flags, (uint16_t)round, max, round);
        Frame *order[IPOP_PIECES_MAX];
        for (unsigned i = 0; i < count; i++)
            order[i] = &frames[i];
        shuffle(order, count);
        for (unsigned i = 0; i < count; i++)
            g_assert_cmpint(give(r, order[i], SECOND, n, flags, round), ==,
                            i + 1 < count ? IPOP_PIECE_TAKEN : IPOP_PIECE_COMPLETE);
    }
    ipop_reassembly_free(r);
}

static void test_not_cut(void) {
    uint8_t packet[64];
    IpopCutter cutter;
    g_assert_false(ipop_cutter_begin(&cutter, packet + 8, 50, 0, 1, IPOP_PIECE_HEADER));
    g_assert_false(ipop_cutter_begin(&cutter, packet + 8, 50, 0, 1, IPOP_PIECE_HEADER + 1));
    g_assert_false(ipop_cutter_begin(&cutter, packet + 8, IPOP_PIECE_PACKET_MAX + 1, 0, 1, 1500));
    g_assert_false(ipop_cutter_begin(&cutter, packet + 8, 0, 0, 1, 1500));
}

/* Several at once; the oldest goes when there are too many. */
static void test_interleaved(void) {
    static Frame frames[IPOP_REASSEMBLIES_MAX + 1][IPOP_PIECES_MAX];
    IpopReassembly *r = ipop_reassembly_new();
    for (unsigned i = 0; i <= IPOP_REASSEMBLIES_MAX; i++) {
        g_assert_cmpuint(cut(frames[i], 2000, 0, (uint16_t)i, 1100, i), ==, 2);
        g_assert_cmpint(give(r, &frames[i][0], SECOND + i, 2000, 0, i), ==, IPOP_PIECE_TAKEN);
    }
    /* This one's beginning is gone. */
    g_assert_cmpint(give(r, &frames[0][1], SECOND + 20, 2000, 0, 0), ==, IPOP_PIECE_TAKEN);
    for (unsigned i = 2; i <= IPOP_REASSEMBLIES_MAX; i++)
        g_assert_cmpint(give(r, &frames[i][1], SECOND + 20 + i, 2000, 0, i), ==, IPOP_PIECE_COMPLETE);
    ipop_reassembly_free(r);
}

static void test_too_late(void) {
    static Frame frames[IPOP_PIECES_MAX];
    IpopReassembly *r = ipop_reassembly_new();
    cut(frames, 2000, 0, 7, 1100, 1);
    g_assert_cmpint(give(r, &frames[0], SECOND, 2000, 0, 1), ==, IPOP_PIECE_TAKEN);
    g_assert_cmpint(give(r, &frames[1], 4 * SECOND, 2000, 0, 1), ==, IPOP_PIECE_TAKEN);
    g_assert_cmpint(give(r, &frames[0], 4 * SECOND, 2000, 0, 1), ==, IPOP_PIECE_COMPLETE);
    ipop_reassembly_free(r);
}

/* An identification that comes again is another packet's. */
static void test_same_id(void) {
    static Frame old[IPOP_PIECES_MAX], new[IPOP_PIECES_MAX];
    IpopReassembly *r = ipop_reassembly_new();
    cut(old, 2000, 0, 7, 1100, 1);
    cut(new, 2000, 0, 7, 1100, 2);
    g_assert_cmpint(give(r, &old[0], SECOND, 2000, 0, 1), ==, IPOP_PIECE_TAKEN);
    g_assert_cmpint(give(r, &new[0], SECOND, 2000, 0, 2), ==, IPOP_PIECE_TAKEN);
    g_assert_cmpint(give(r, &new[1], SECOND, 2000, 0, 2), ==, IPOP_PIECE_COMPLETE);
    cut(new, 1900, IPOP_FRAME_PARTIAL_CHECKSUM, 7, 1100, 3);
    g_assert_cmpint(give(r, &old[1], SECOND, 2000, 0, 1), ==, IPOP_PIECE_TAKEN);
    g_assert_cmpint(give(r, &new[1], SECOND, 1900, IPOP_FRAME_PARTIAL_CHECKSUM, 3), ==, IPOP_PIECE_TAKEN);
    g_assert_cmpint(give(r, &new[0], SECOND, 1900, IPOP_FRAME_PARTIAL_CHECKSUM, 3), ==, IPOP_PIECE_COMPLETE);
    ipop_reassembly_free(r);
}

static void test_wrong(void) {
    static const struct {
        uint8_t bytes[12];
        size_t n;
    } wrong[] = {
        {{IPOP_FRAME_PIECE, 0, 1, 0, 8, 0, 0}, 7},                /* empty */
        {{IPOP_FRAME_PIECE, 0, 1, 0, 8, 0, 5, 1, 2, 3, 4}, 11},   /* beyond the end */
        {{IPOP_FRAME_PIECE, 0, 1, 0, 0, 0, 0, 1}, 8},             /* of nothing */
        {{IPOP_FRAME_PIECE, 0, 1, 0xff, 0xff, 0, 0, 1}, 8},       /* of too much */
        {{IPOP_FRAME_PIECE}, 1},
    };
    IpopReassembly *r = ipop_reassembly_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        Frame frame = {.n = wrong[i].n};
        memcpy(frame.bytes, wrong[i].bytes, wrong[i].n);
        g_assert_cmpint(give(r, &frame, SECOND, 0, 0, 0), ==, IPOP_PIECE_WRONG);
    }
    ipop_reassembly_free(r);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pieces/any-order", test_any_order);
    g_test_add_func("/pieces/not-cut", test_not_cut);
    g_test_add_func("/pieces/interleaved", test_interleaved);
    g_test_add_func("/pieces/too-late", test_too_late);
    g_test_add_func("/pieces/same-id", test_same_id);
    g_test_add_func("/pieces/wrong", test_wrong);
    return g_test_run();
}
