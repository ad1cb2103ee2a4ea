/* Data packets: the format on the wire, replay, age, tampering. */
#include "tincan/base/secret.h"
#include "tincan/crypto/aead.h"
#include "tincan/crypto/session.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

#define ROOM 2048
#define BORN (INT64_C(1000) * 1000000)

typedef struct {
    IpopSession *a; /* initiator, index 0x0a0b0c */
    IpopSession *b; /* index 0xffffff */
} Pair;

static IpopSessionKeys keys_of(IpopSuite suite, bool initiator) {
    IpopSessionKeys keys = {.suite = suite, .initiator = initiator};
    memset(keys.send, initiator ? 1 : 2, sizeof keys.send);
    memset(keys.recv, initiator ? 2 : 1, sizeof keys.recv);
    keys.local_index = initiator ? 0x0a0b0c : 0xffffff;
    keys.remote_index = initiator ? 0xffffff : 0x0a0b0c;
    return keys;
}

static Pair pair_new(IpopSuite suite) {
    IpopSessionKeys a = keys_of(suite, true), b = keys_of(suite, false);
    Pair pair = {ipop_session_new(&a, BORN), ipop_session_new(&b, BORN)};
    g_assert_true(sodium_is_zero(a.send, 32) && sodium_is_zero(a.recv, 32));
    g_assert_true(sodium_is_zero(b.send, 32) && sodium_is_zero(b.recv, 32));
    return pair;
}

static void pair_free(Pair *pair) {
    ipop_session_free(pair->a);
    ipop_session_free(pair->b);
}

static size_t seal(IpopSession *session, uint8_t *packet, const char *text, int64_t now) {
    return ipop_session_seal(session, packet, (const uint8_t *)text, strlen(text), now);
}

static void assert_opens(IpopSession *session, const uint8_t *packet, size_t n, const char *text) {
    uint8_t frame[ROOM];
    size_t frame_n = 0;
    g_assert_cmpint(ipop_session_open(session, frame, packet, n, BORN, &frame_n), ==, IPOP_OPEN_OK);
    g_assert_cmpmem(frame, (int)frame_n, text, (int)strlen(text));
}

static void assert_refused(IpopSession *session, const uint8_t *packet, size_t n, int64_t now, IpopOpenResult wanted) {
    g_autofree uint8_t *copy = g_memdup2(packet, n); /* of that very length */
    uint8_t frame[ROOM], before[ROOM];
    size_t frame_n = 42;
    memset(frame, 0x5a, sizeof frame);
    memset(before, 0x5a, sizeof before);
    g_assert_cmpint(ipop_session_open(session, frame, copy, n, now, &frame_n), ==, wanted);
    g_assert_true(frame_n == 42);
    if (wanted != IPOP_OPEN_FORGED)
        g_assert_cmpint(memcmp(frame, before, sizeof frame), ==, 0);
}

static void check_wire(IpopSuite suite) {
    Pair pair = pair_new(suite);
    const IpopAead *aead = ipop_aead_for(suite);
    uint8_t packet[ROOM], wanted[ROOM];
    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmpuint(ipop_session_sent(pair.a), ==, i);
        size_t n = seal(pair.a, packet, "\x80 a packet", BORN);
        g_assert_cmpuint(n, ==, IPOP_WIRE_DATA_HEADER + 10 + IPOP_WIRE_TAG);

        uint8_t header[12] = {0xf4, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};
        g_assert_cmpmem(packet, 12, header, 12);
        uint8_t key_bytes[32];
        memset(key_bytes, 1, 32);
        void *key = aead->key_new(key_bytes);
        aead->seal(key, i, NULL, 0, (const uint8_t *)"\x80 a packet", 10, wanted);
        g_assert_cmpmem(packet + 12, (int)n - 12, wanted, 26);
        ipop_secret_free(key);

        g_assert_cmphex(ipop_session_index_of(packet), ==, 0xffffff);
        assert_opens(pair.b, packet, n, "\x80 a packet");
    }
    size_t n = seal(pair.b, packet, "back", BORN);
    g_assert_cmphex(ipop_session_index_of(packet), ==, 0x0a0b0c);
    assert_opens(pair.a, packet, n, "back");
    assert_refused(pair.b, packet, n, BORN, IPOP_OPEN_REPLAYED); /* counter 0 is taken there */
    pair_free(&pair);
}

static void test_wire(void) {
    check_wire(IPOP_SUITE_CHACHAPOLY);
    if (ipop_aead_supports(IPOP_SUITE_AESGCM))
        check_wire(IPOP_SUITE_AESGCM);
}

/* Frame and datagram in the same buffer. */
static void check_in_place(IpopSuite suite) {
    Pair pair = pair_new(suite);
    uint8_t packet[ROOM], *frame = packet + IPOP_WIRE_DATA_HEADER;
    for (size_t n = 1; n <= ROOM - IPOP_WIRE_DATA_HEADER - IPOP_WIRE_TAG; n += 1 + n / 8) {
        g_autofree uint8_t *plain = g_malloc(n);
        randombytes_buf(plain, n);
        memcpy(frame, plain, n);
        size_t size = ipop_session_seal(pair.a, packet, frame, n, BORN), opened;
        g_assert_cmpuint(size, ==, IPOP_WIRE_DATA_HEADER + n + IPOP_WIRE_TAG);
        g_assert_cmpint(ipop_session_open(pair.b, frame, packet, size, BORN, &opened), ==, IPOP_OPEN_OK);
        g_assert_cmpuint(opened, ==, n);
        g_assert_cmpint(memcmp(frame, plain, n), ==, 0);
    }
    pair_free(&pair);
}

static void test_in_place(void) {
    check_in_place(IPOP_SUITE_CHACHAPOLY);
    if (ipop_aead_supports(IPOP_SUITE_AESGCM))
        check_in_place(IPOP_SUITE_AESGCM);
}

static void test_properties(void) {
    Pair pair = pair_new(IPOP_SUITE_CHACHAPOLY);
    g_assert_cmphex(ipop_session_local_index(pair.a), ==, 0x0a0b0c);
    g_assert_cmphex(ipop_session_local_index(pair.b), ==, 0xffffff);
    g_assert_true(ipop_session_initiator(pair.a) && !ipop_session_initiator(pair.b));
    g_assert_cmpint(ipop_session_born(pair.a), ==, BORN);
    pair_free(&pair);
    ipop_session_free(NULL);
}

static void test_replay(void) {
    Pair pair = pair_new(IPOP_SUITE_CHACHAPOLY);
    uint8_t first[ROOM], second[ROOM], later[ROOM];
    size_t n = seal(pair.a, first, "one", BORN);
    seal(pair.a, second, "two", BORN);
    assert_opens(pair.b, second, n, "two");
    assert_opens(pair.b, first, n, "one"); /* late is not replayed */
    assert_refused(pair.b, first, n, BORN, IPOP_OPEN_REPLAYED);
    assert_refused(pair.b, second, n, BORN, IPOP_OPEN_REPLAYED);
    size_t late = seal(pair.a, first, "three", BORN);
    for (unsigned i = 0; i < IPOP_REPLAY_WINDOW; i++)
        n = seal(pair.a, later, "more", BORN);
    assert_opens(pair.b, later, n, "more");
    assert_refused(pair.b, first, late, BORN, IPOP_OPEN_REPLAYED); /* just out of the window */
    pair_free(&pair);
}

/* A forged packet with a high counter must not move the window. */
static void test_forged(void) {
    Pair pair = pair_new(IPOP_SUITE_CHACHAPOLY);
    uint8_t packet[ROOM], forged[ROOM];
    size_t n = seal(pair.a, packet, "true", BORN);
    for (size_t bit = 8 * 4; bit < 8 * n; bit++) { /* type and index only choose the session */
        memcpy(forged, packet, n);
        forged[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_refused(pair.b, forged, n, BORN, IPOP_OPEN_FORGED);
    }
    for (size_t shorter = IPOP_WIRE_DATA_OVERHEAD; shorter < n; shorter++)
        assert_refused(pair.b, packet, shorter, BORN, IPOP_OPEN_FORGED);
    for (size_t shorter = 0; shorter < IPOP_WIRE_DATA_OVERHEAD; shorter++)
        assert_refused(pair.b, packet, shorter, BORN, IPOP_OPEN_SHORT);
    assert_refused(pair.a, packet, n, BORN, IPOP_OPEN_FORGED); /* reflected */
    assert_opens(pair.b, packet, n, "true");
    pair_free(&pair);
}

static void test_age(void) {
    Pair pair = pair_new(IPOP_SUITE_CHACHAPOLY);
    uint8_t packet[ROOM];
    int64_t last = BORN + IPOP_REJECT_AFTER - 1;
    size_t n = seal(pair.a, packet, "late", last);
    g_assert_cmpuint(n, >, 0);
    g_assert_cmpuint(seal(pair.a, packet + 1000, "too late", last + 1), ==, 0);
    g_assert_cmpuint(ipop_session_sent(pair.a), ==, 1);
    assert_refused(pair.b, packet, n, last + 1, IPOP_OPEN_EXPIRED);
    assert_opens(pair.b, packet, n, "late");
    pair_free(&pair);
}

/* An authentic packet whose counter is beyond the last that may be used. */
static void test_count(void) {
    static const struct {
        uint64_t counter;
        IpopOpenResult wanted;
    } cases[] = {
        {UINT64_MAX, IPOP_OPEN_EXPIRED},
        {IPOP_REJECT_AFTER_MESSAGES, IPOP_OPEN_EXPIRED},
        {IPOP_REJECT_AFTER_MESSAGES - 1, IPOP_OPEN_OK},
    };
    Pair pair = pair_new(IPOP_SUITE_CHACHAPOLY);
    uint8_t key_bytes[32];
    memset(key_bytes, 1, 32);
    void *key = ipop_aead_chachapoly.key_new(key_bytes);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t packet[ROOM] = {0xf4, 0xff, 0xff, 0xff}, frame[5];
        size_t n;
        uint64_t wire = GUINT64_TO_BE(cases[i].counter);
        memcpy(packet + 4, &wire, 8);
        ipop_aead_chachapoly.seal(key, cases[i].counter, NULL, 0, (const uint8_t *)"frame", 5, packet + 12);
        g_assert_cmpint(ipop_session_open(pair.b, frame, packet, 12 + 5 + 16, BORN, &n), ==, cases[i].wanted);
    }
    ipop_secret_free(key);
    pair_free(&pair);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/session/wire", test_wire);
    g_test_add_func("/session/in-place", test_in_place);
    g_test_add_func("/session/properties", test_properties);
    g_test_add_func("/session/replay", test_replay);
    g_test_add_func("/session/forged", test_forged);
    g_test_add_func("/session/age", test_age);
    g_test_add_func("/session/count", test_count);
    return g_test_run();
}
