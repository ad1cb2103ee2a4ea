/* The bare Noise pattern against the published vectors; our messages around it against every kind of ill will. */
#include "tincan/base/secret.h"
#include "tincan/crypto/cookie.h"
#include "tincan/crypto/handshake.h"
#include "tincan/crypto/noise.h"

#include <glib.h>
#include <jansson.h>
#include <sodium.h>
#include <string.h>

#define HEX_MAX 1024
#define assert_bytes(a, a_n, b, b_n) g_assert_cmpmem(a, (int)(a_n), b, (int)(b_n))

/* ---- published vectors ---- */

static size_t hex(const json_t *object, const char *key, uint8_t *ret, size_t size) {
    const json_t *member = json_object_get(object, key);
    const char *text = json_string_value(json_is_array(member) ? json_array_get(member, 0) : member);
    size_t n = 0;
    g_assert_nonnull(text);
    g_assert_cmpint(sodium_hex2bin(ret, size, text, strlen(text), NULL, &n, NULL), ==, 0);
    return n;
}

static void pair_of(const json_t *vector, const char *key, IpopNoisePair *ret) {
    uint8_t secret[32];
    g_assert_cmpuint(hex(vector, key, secret, sizeof secret), ==, sizeof secret);
    ipop_noise_pair(ret, secret);
}

/* Message i of a vector in both forms. */
typedef struct {
    uint8_t payload[HEX_MAX];
    uint8_t ciphertext[HEX_MAX];
    size_t payload_n;
    size_t ciphertext_n;
} Message;

static Message message_of(const json_t *vector, size_t i) {
    const json_t *entry = json_array_get(json_object_get(vector, "messages"), i);
    Message m;
    g_assert_nonnull(entry);
    m.payload_n = hex(entry, "payload", m.payload, sizeof m.payload);
    m.ciphertext_n = hex(entry, "ciphertext", m.ciphertext, sizeof m.ciphertext);
    return m;
}

static void run_handshake(const json_t *vector, const IpopAead *aead, IpopNoise *init, IpopNoise *resp) {
    uint8_t prologue[HEX_MAX], psk[32], hash[32], out[HEX_MAX];
    IpopNoisePair s, e;
    uint8_t remote[32];
    Message first = message_of(vector, 0), second = message_of(vector, 1);

    g_assert_cmpuint(hex(vector, "init_remote_static", remote, sizeof remote), ==, 32);
    size_t prologue_n = hex(vector, "init_prologue", prologue, sizeof prologue);
    pair_of(vector, "init_static", &s);
    ipop_noise_init(init, aead, prologue, prologue_n, &s, remote);
    prologue_n = hex(vector, "resp_prologue", prologue, sizeof prologue);
    pair_of(vector, "resp_static", &s);
    assert_bytes(s.public, 32, remote, 32);
    ipop_noise_init(resp, aead, prologue, prologue_n, &s, NULL);

    pair_of(vector, "init_ephemeral", &e);
    g_assert_cmpuint(first.payload_n + IPOP_NOISE_FIRST_OVERHEAD, ==, first.ciphertext_n);
    g_assert_cmpint(ipop_noise_write_first(init, &e, first.payload, first.payload_n, out), ==, IPOP_NOISE_OK);
    assert_bytes(out, first.ciphertext_n, first.ciphertext, first.ciphertext_n);
    g_assert_cmpint(ipop_noise_read_first(resp, first.ciphertext, out, first.payload_n), ==, IPOP_NOISE_OK);
    assert_bytes(out, first.payload_n, first.payload, first.payload_n);
    assert_bytes(resp->rs, 32, init->s.public, 32);

    pair_of(vector, "resp_ephemeral", &e);
    g_assert_cmpuint(hex(vector, "resp_psks", psk, sizeof psk), ==, 32);
    g_assert_cmpuint(second.payload_n + IPOP_NOISE_SECOND_OVERHEAD, ==, second.ciphertext_n);
    g_assert_cmpint(ipop_noise_write_second(resp, &e, psk, second.payload, second.payload_n, out), ==, IPOP_NOISE_OK);
    assert_bytes(out, second.ciphertext_n, second.ciphertext, second.ciphertext_n);
    g_assert_cmpuint(hex(vector, "init_psks", psk, sizeof psk), ==, 32);
    g_assert_cmpint(ipop_noise_read_second(init, psk, second.ciphertext, out, second.payload_n), ==, IPOP_NOISE_OK);
    assert_bytes(out, second.payload_n, second.payload, second.payload_n);

    g_assert_cmpuint(hex(vector, "handshake_hash", hash, sizeof hash), ==, 32);
    assert_bytes(init->hash, 32, hash, 32);
    assert_bytes(resp->hash, 32, hash, 32);
}

/* The messages after the handshake, in turn from initiator and responder, with a counter for each direction. */
static void run_transport(const json_t *vector, const IpopAead *aead, const IpopNoise *init, const IpopNoise *resp) {
    uint8_t key[2][32], other[2][32];
    ipop_noise_split(init, key[0], key[1]);
    ipop_noise_split(resp, other[0], other[1]);
    assert_bytes(key, sizeof key, other, sizeof other);

    void *ours[2] = {aead->key_new(key[0]), aead->key_new(key[1])};
    size_t count = json_array_size(json_object_get(vector, "messages"));
    g_assert_cmpuint(count, ==, 6);
    for (size_t i = 2; i < count; i++) {
        Message m = message_of(vector, i);
        uint64_t counter = (i - 2) / 2;
        uint8_t text[HEX_MAX];
        aead->seal(ours[i % 2], counter, NULL, 0, m.payload, m.payload_n, text);
        assert_bytes(text, m.payload_n + IPOP_WIRE_TAG, m.ciphertext, m.ciphertext_n);
        g_assert_true(aead->open(ours[i % 2], counter, NULL, 0, m.ciphertext, m.payload_n, text));
        assert_bytes(text, m.payload_n, m.payload, m.payload_n);
    }
    ipop_secret_free(ours[0]);
    ipop_secret_free(ours[1]);
}

static void test_vector(const char *protocol, const IpopAead *aead) {
    const char *vectors = g_getenv("IPOP_TEST_VECTORS");
    if (!vectors)
        g_error("IPOP_TEST_VECTORS must name tests/vectors");
    g_autofree char *path = g_build_filename(vectors, "noise_ikpsk2.json", NULL);
    json_error_t error;
    json_t *file = json_load_file(path, 0, &error);
    if (!file)
        g_error("%s: %s", path, error.text);

    size_t i, seen = 0;
    json_t *vector;
    json_array_foreach(json_object_get(file, "vectors"), i, vector) {
        if (strcmp(json_string_value(json_object_get(vector, "protocol_name")), protocol) != 0)
            continue;
        IpopNoise init, resp;
        run_handshake(vector, aead, &init, &resp);
        run_transport(vector, aead, &init, &resp);
        seen++;
    }
    g_assert_cmpuint(seen, ==, 1);
    json_decref(file);
}

static void test_vector_chachapoly(void) {
    test_vector("Noise_IKpsk2_25519_ChaChaPoly_SHA256", &ipop_aead_chachapoly);
}

static void test_vector_aesgcm(void) {
    if (!ipop_aead_aesgcm.available()) {
        g_test_skip("this machine has no AES-NI and PCLMULQDQ");
        return;
    }
    test_vector("Noise_IKpsk2_25519_AESGCM_SHA256", &ipop_aead_aesgcm);
}

/* ---- our messages ---- */

typedef struct {
    IpopIdentity *alice; /* initiator */
    IpopIdentity *bob;
    uint8_t psk[32];
    IpopHandshake *attempt;
    uint8_t init[IPOP_WIRE_INIT_SIZE];
} World;

#define ALICE_INDEX 0x123456
#define BOB_INDEX 0xabcdef
#define ALICE_CLAIMS UINT64_C(0xdecade0000000001)
#define BOB_CLAIMS UINT64_C(0x0000000500facede)
#define TIMESTAMP UINT64_C(0x0123456789abcdef)

static void world_start(World *w, IpopSuite suite) {
    uint8_t secret[32];
    memset(secret, 1, sizeof secret);
    w->alice = ipop_identity_from_secret(secret);
    memset(secret, 2, sizeof secret);
    w->bob = ipop_identity_from_secret(secret);
    memset(w->psk, 3, sizeof w->psk);
    w->attempt = ipop_handshake_initiate(w->alice, w->bob->public_key, w->psk, suite, ALICE_INDEX, TIMESTAMP, ALICE_CLAIMS,
                                         w->init);
    g_assert_nonnull(w->attempt);
}

static void world_end(World *w) {
    ipop_handshake_free(w->attempt);
    ipop_identity_free(w->alice);
    ipop_identity_free(w->bob);
}

/* What Bob says to a message that he should not take. */
static IpopHandshakeResult refused(const World *w, const uint8_t *message, size_t n) {
    IpopHandshakeResult result = IPOP_HANDSHAKE_OK;
    uint8_t key[32] = {0x55}, was[32] = {0x55};
    uint64_t timestamp = 42;
    uint64_t claims = 42;
    g_assert_null(ipop_handshake_accept(w->bob, message, n, &result, key, &timestamp, &claims));
    assert_bytes(key, 32, was, 32);
    g_assert_cmpuint(timestamp, ==, 42);
    g_assert_cmpuint(claims, ==, 42);
    return result;
}

/* mac1 is no secret: whoever forges can make a right one. */
static void restamp(const IpopIdentity *receiver, uint8_t *message, size_t n) {
    ipop_cookie_stamp(&(IpopCookie){0}, receiver->public_key, message, n, 1);
}

static void bob_answers(const World *w, uint8_t response[static IPOP_WIRE_RESPONSE_SIZE], IpopSessionKeys *ret_keys) {
    IpopHandshakeResult result;
    uint8_t key[32];
    uint64_t timestamp;
    uint64_t claims;
    IpopHandshake *bobs = ipop_handshake_accept(w->bob, w->init, sizeof w->init, &result, key, &timestamp, &claims);
    g_assert_nonnull(bobs);
    g_assert_cmpint(result, ==, IPOP_HANDSHAKE_OK);
    assert_bytes(key, 32, w->alice->public_key, 32);
    g_assert_cmphex(timestamp, ==, TIMESTAMP);
    g_assert_cmphex(claims, ==, ALICE_CLAIMS);
    g_assert_cmpint(ipop_handshake_answer(bobs, w->psk, BOB_INDEX, BOB_CLAIMS, response, ret_keys), ==, IPOP_HANDSHAKE_OK);
    ipop_handshake_free(bobs);
}

static IpopHandshakeResult finish(World *w, const uint8_t *message, size_t n, IpopSessionKeys *ret_keys) {
    uint64_t claims = 42;
    IpopHandshakeResult result = ipop_handshake_finish(w->attempt, message, n, ret_keys, &claims);
    g_assert_cmphex(claims, ==, result == IPOP_HANDSHAKE_OK ? BOB_CLAIMS : 42);
    return result;
}

static void talk(IpopSessionKeys *from_keys, IpopSessionKeys *to_keys) {
    uint8_t packet[IPOP_WIRE_DATA_OVERHEAD + 64], frame[64];
    size_t n;
    IpopSession *from = ipop_session_new(from_keys, 0), *to = ipop_session_new(to_keys, 0);
    size_t size = ipop_session_seal(from, packet, (const uint8_t *)"\0hello", 6, 1);
    g_assert_cmpuint(ipop_session_index_of(packet), ==, ipop_session_local_index(to));
    g_assert_cmpint(ipop_session_open(to, frame, packet, size, 1, &n), ==, IPOP_OPEN_OK);
    assert_bytes(frame, n, "\0hello", 6);
    ipop_session_free(from);
    ipop_session_free(to);
}

static void check_good(IpopSuite suite) {
    World w;
    uint8_t response[IPOP_WIRE_RESPONSE_SIZE];
    IpopSessionKeys alices, bobs;
    world_start(&w, suite);
    g_assert_cmpuint(ipop_handshake_index(w.attempt), ==, ALICE_INDEX);
    g_assert_cmpint(w.init[0], ==, IPOP_WIRE_INIT);
    g_assert_true(sodium_is_zero(w.init + sizeof w.init - 16, 16));
    bob_answers(&w, response, &bobs);
    g_assert_cmpint(response[0], ==, IPOP_WIRE_RESPONSE);
    g_assert_cmpint(finish(&w, response, sizeof response, &alices), ==, IPOP_HANDSHAKE_OK);

    assert_bytes(alices.send, 32, bobs.recv, 32);
    assert_bytes(alices.recv, 32, bobs.send, 32);
    g_assert_true(memcmp(alices.send, alices.recv, 32) != 0);
    g_assert_cmpint(alices.suite, ==, suite);
    g_assert_cmpint(bobs.suite, ==, suite);
    g_assert_true(alices.initiator && !bobs.initiator);
    g_assert_cmpuint(alices.local_index, ==, ALICE_INDEX);
    g_assert_cmpuint(alices.remote_index, ==, BOB_INDEX);
    g_assert_cmpuint(bobs.local_index, ==, BOB_INDEX);
    g_assert_cmpuint(bobs.remote_index, ==, ALICE_INDEX);

    /* The same answer again gives no second session with the same counters. */
    IpopSessionKeys again;
    g_assert_cmpint(finish(&w, response, sizeof response, &again), ==, IPOP_HANDSHAKE_FORGED);
    IpopSessionKeys alices2 = alices, bobs2 = bobs;
    talk(&alices, &bobs);
    talk(&bobs2, &alices2);
    world_end(&w);
}

static void test_good(void) {
    check_good(IPOP_SUITE_CHACHAPOLY);
    if (ipop_handshake_suites() & IPOP_SUITE_AESGCM)
        check_good(IPOP_SUITE_AESGCM);
}

static void test_fresh(void) {
    World a, b;
    world_start(&a, IPOP_SUITE_CHACHAPOLY);
    world_start(&b, IPOP_SUITE_CHACHAPOLY);
    g_assert_true(memcmp(a.init + 8, b.init + 8, 32) != 0);
    world_end(&a);
    world_end(&b);
}

static void test_init_altered(void) {
    World w;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    for (size_t i = 0; i < IPOP_WIRE_INIT_SIZE - 16; i++) /* all but mac2, which is the cookie jar's */
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t message[IPOP_WIRE_INIT_SIZE];
            memcpy(message, w.init, sizeof message);
            message[i] ^= (uint8_t)(1 << bit);
            IpopHandshakeResult result = refused(&w, message, sizeof message);
            g_assert_true(result == IPOP_HANDSHAKE_BAD_MAC || (i < 8 && result == IPOP_HANDSHAKE_MALFORMED));
        }
    world_end(&w);
}

/* The same with a mac1 that fits what was altered. The sender's index is bound by nothing else, as in WireGuard: the answer
 * then goes to a wrong one, and is dropped there. */
static void test_init_forged(void) {
    World w;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    for (size_t i = 8; i < IPOP_WIRE_INIT_SIZE - 32; i++) {
        uint8_t message[IPOP_WIRE_INIT_SIZE];
        memcpy(message, w.init, sizeof message);
        message[i] ^= (uint8_t)(1 << i % 8);
        restamp(w.bob, message, sizeof message);
        IpopHandshakeResult result = refused(&w, message, sizeof message);
        /* X25519 ignores the top bit of a public key (RFC 7748), but the hash does not. */
        g_assert_cmpint(result, ==, IPOP_HANDSHAKE_FORGED);
    }
    world_end(&w);
}

static void test_init_malformed(void) {
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {{0, 0xf2}, {0, 0}, {1, 0}, {1, 3}, {1, 4}, {1, 0xff}, {2, 1}, {3, 1}, {4, 1}};
    World w;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t message[IPOP_WIRE_INIT_SIZE];
        memcpy(message, w.init, sizeof message);
        message[cases[i].at] = cases[i].value;
        restamp(w.bob, message, sizeof message);
        g_assert_cmpint(refused(&w, message, sizeof message), ==, IPOP_HANDSHAKE_MALFORMED);
    }
    uint8_t message[IPOP_WIRE_INIT_SIZE + 1] = {0};
    memcpy(message, w.init, IPOP_WIRE_INIT_SIZE);
    for (size_t n = 0; n <= sizeof message; n++)
        if (n != IPOP_WIRE_INIT_SIZE) {
            uint8_t *exact = g_memdup2(message, n); /* so that reading beyond is seen */
            g_assert_cmpint(refused(&w, exact, n), ==, IPOP_HANDSHAKE_MALFORMED);
            g_free(exact);
        }
    memset(message + 4, 0, 4);
    restamp(w.bob, message, IPOP_WIRE_INIT_SIZE);
    g_assert_cmpint(refused(&w, message, IPOP_WIRE_INIT_SIZE), ==, IPOP_HANDSHAKE_MALFORMED);
    world_end(&w);
}

/* The suite is in the prologue: nobody can make the two use another. */
static void test_suite_bound(void) {
    World w;
    if (!(ipop_handshake_suites() & IPOP_SUITE_AESGCM)) {
        g_test_skip("this machine has no AES-NI and PCLMULQDQ");
        return;
    }
    world_start(&w, IPOP_SUITE_AESGCM);
    uint8_t message[IPOP_WIRE_INIT_SIZE], response[IPOP_WIRE_RESPONSE_SIZE];
    memcpy(message, w.init, sizeof message);
    message[1] = IPOP_SUITE_CHACHAPOLY;
    restamp(w.bob, message, sizeof message);
    g_assert_cmpint(refused(&w, message, sizeof message), ==, IPOP_HANDSHAKE_FORGED);

    IpopSessionKeys alices, bobs;
    bob_answers(&w, response, &bobs);
    response[1] = IPOP_SUITE_CHACHAPOLY;
    restamp(w.alice, response, sizeof response);
    g_assert_cmpint(finish(&w, response, sizeof response, &alices), ==, IPOP_HANDSHAKE_MALFORMED);
    world_end(&w);
}

static void test_response_altered(void) {
    World w;
    uint8_t response[IPOP_WIRE_RESPONSE_SIZE];
    IpopSessionKeys alices, bobs;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    bob_answers(&w, response, &bobs);
    for (size_t i = 0; i < sizeof response - 16; i++)
        for (unsigned forged = 0; forged < 2; forged++) {
            uint8_t message[IPOP_WIRE_RESPONSE_SIZE];
            memcpy(message, response, sizeof message);
            message[i] ^= (uint8_t)(0x80 >> i % 8);
            if (forged && (i >= sizeof response - 32 || (i >= 4 && i < 8)))
                continue; /* mac1 itself; and the sender's index, bound by mac1 alone */
            if (forged)
                restamp(w.alice, message, sizeof message);
            IpopHandshakeResult result = finish(&w, message, sizeof message, &alices);
            if (forged)
                g_assert_cmpint(result, ==, i < 12 ? IPOP_HANDSHAKE_MALFORMED : IPOP_HANDSHAKE_FORGED);
            else
                g_assert_true(result == IPOP_HANDSHAKE_BAD_MAC || (i < 8 && result == IPOP_HANDSHAKE_MALFORMED));
        }
    for (size_t n = 0; n < sizeof response; n++)
        g_assert_cmpint(finish(&w, response, n, &alices), ==, IPOP_HANDSHAKE_MALFORMED);

    /* After all that the true answer still counts. */
    g_assert_cmpint(finish(&w, response, sizeof response, &alices), ==, IPOP_HANDSHAKE_OK);
    assert_bytes(alices.send, 32, bobs.recv, 32);
    world_end(&w);
}

static void test_other_psk(void) {
    World w;
    uint8_t response[IPOP_WIRE_RESPONSE_SIZE];
    IpopSessionKeys alices, bobs;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    w.psk[31] ^= 1;
    bob_answers(&w, response, &bobs);
    g_assert_cmpint(finish(&w, response, sizeof response, &alices), ==, IPOP_HANDSHAKE_FORGED);
    w.psk[31] ^= 1;
    bob_answers(&w, response, &bobs);
    g_assert_cmpint(finish(&w, response, sizeof response, &alices), ==, IPOP_HANDSHAKE_OK);
    world_end(&w);
}

/* A message for somebody else, and one with somebody else's mac1. */
static void test_other_receiver(void) {
    World w;
    uint8_t secret[32];
    IpopHandshakeResult result;
    uint8_t key[32];
    uint64_t timestamp;
    uint64_t claims;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    memset(secret, 9, sizeof secret);
    IpopIdentity *carol = ipop_identity_from_secret(secret);
    g_assert_null(ipop_handshake_accept(carol, w.init, sizeof w.init, &result, key, &timestamp, &claims));
    g_assert_cmpint(result, ==, IPOP_HANDSHAKE_BAD_MAC);
    restamp(carol, w.init, sizeof w.init);
    g_assert_null(ipop_handshake_accept(carol, w.init, sizeof w.init, &result, key, &timestamp, &claims));
    g_assert_cmpint(result, ==, IPOP_HANDSHAKE_FORGED);
    ipop_identity_free(carol);
    world_end(&w);
}

/* Points of order 1, 2, 4 and 8, of the curve and its twist, some not reduced (RFC 7748, section 6.1). */
static const char *const low_order[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
};

static void test_low_order(void) {
    World w;
    uint8_t response[IPOP_WIRE_RESPONSE_SIZE];
    IpopSessionKeys alices, bobs;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    bob_answers(&w, response, &bobs);
    for (size_t i = 0; i < G_N_ELEMENTS(low_order); i++) {
        uint8_t point[32], message[IPOP_WIRE_INIT_SIZE], answer[IPOP_WIRE_RESPONSE_SIZE];
        g_assert_cmpint(sodium_hex2bin(point, 32, low_order[i], 64, NULL, NULL, NULL), ==, 0);

        memcpy(message, w.init, sizeof message);
        memcpy(message + 8, point, 32);
        restamp(w.bob, message, sizeof message);
        g_assert_cmpint(refused(&w, message, sizeof message), ==, IPOP_HANDSHAKE_BAD_KEY);

        memcpy(answer, response, sizeof answer);
        memcpy(answer + 12, point, 32);
        restamp(w.alice, answer, sizeof answer);
        g_assert_cmpint(finish(&w, answer, sizeof answer, &alices), ==, IPOP_HANDSHAKE_BAD_KEY);

        memset(message, 0x55, sizeof message);
        g_assert_null(ipop_handshake_initiate(w.alice, point, w.psk, IPOP_SUITE_CHACHAPOLY, 1, 1, 0, message));
        g_assert_cmpint(message[0], ==, 0x55);
    }
    g_assert_cmpint(finish(&w, response, sizeof response, &alices), ==, IPOP_HANDSHAKE_OK);
    world_end(&w);
}

/* A message that is ours in every way but whose static key is a low-order point: made with the bare pattern. */
static void test_low_order_static(void) {
    static const uint8_t prologue[] = "ipop-tunnel-1\xf1\x01\0";
    World w;
    world_start(&w, IPOP_SUITE_CHACHAPOLY);
    for (size_t i = 0; i < G_N_ELEMENTS(low_order); i++) {
        IpopNoise noise;
        IpopNoisePair s = {.secret = {1}}, e;
        uint8_t payload[IPOP_WIRE_INIT_PAYLOAD] = {0}, message[IPOP_WIRE_INIT_SIZE];
        g_assert_cmpint(sodium_hex2bin(s.public, 32, low_order[i], 64, NULL, NULL, NULL), ==, 0);
        memcpy(message, w.init, sizeof message);
        ipop_noise_pair(&e, (const uint8_t[32]){7});
        ipop_noise_init(&noise, &ipop_aead_chachapoly, prologue, 17, &s, w.bob->public_key);
        g_assert_cmpint(ipop_noise_write_first(&noise, &e, payload, sizeof payload, message + 8), ==, IPOP_NOISE_OK);
        restamp(w.bob, message, sizeof message);
        g_assert_cmpint(refused(&w, message, sizeof message), ==, IPOP_HANDSHAKE_BAD_KEY);
    }
    world_end(&w);
}

static void test_choose(void) {
    unsigned both = IPOP_SUITE_AESGCM | IPOP_SUITE_CHACHAPOLY;
    g_assert_cmpint(ipop_handshake_choose(both, both), ==, IPOP_SUITE_AESGCM);
    g_assert_cmpint(ipop_handshake_choose(both, IPOP_SUITE_CHACHAPOLY), ==, IPOP_SUITE_CHACHAPOLY);
    g_assert_cmpint(ipop_handshake_choose(IPOP_SUITE_CHACHAPOLY, both), ==, IPOP_SUITE_CHACHAPOLY);
    g_assert_cmpint(ipop_handshake_choose(both, 0), ==, IPOP_SUITE_CHACHAPOLY);
    g_assert_true(ipop_handshake_suites() & IPOP_SUITE_CHACHAPOLY);
    g_assert_true(!(ipop_handshake_suites() & IPOP_SUITE_AESGCM) == !crypto_aead_aes256gcm_is_available());
    ipop_handshake_free(NULL);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/noise/vector/chachapoly", test_vector_chachapoly);
    g_test_add_func("/noise/vector/aesgcm", test_vector_aesgcm);
    g_test_add_func("/handshake/good", test_good);
    g_test_add_func("/handshake/fresh", test_fresh);
    g_test_add_func("/handshake/init/altered", test_init_altered);
    g_test_add_func("/handshake/init/forged", test_init_forged);
    g_test_add_func("/handshake/init/malformed", test_init_malformed);
    g_test_add_func("/handshake/suite", test_suite_bound);
    g_test_add_func("/handshake/response/altered", test_response_altered);
    g_test_add_func("/handshake/psk", test_other_psk);
    g_test_add_func("/handshake/receiver", test_other_receiver);
    g_test_add_func("/handshake/low-order", test_low_order);
    g_test_add_func("/handshake/low-order/static", test_low_order_static);
    g_test_add_func("/handshake/choose", test_choose);
    return g_test_run();
}
