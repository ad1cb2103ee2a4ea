/* Every back-end against libsodium's own calls, at every length and alignment, in place and not, and against tampering. */
#include "tincan/base/secret.h"
#include "tincan/crypto/aead.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

#define LENGTH_MAX 3000
#define SHIFT_MAX 64
#define AD_MAX 48
#define ROOM (LENGTH_MAX + IPOP_WIRE_TAG + SHIFT_MAX)
#define CANARY 0xa5

static const uint8_t key_bytes[32] = "an example of a key of 32 bytes";

static void reference_seal(const IpopAead *aead, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *text,
                           size_t n, uint8_t *ret) {
    uint8_t nonce[12] = {0};
    bool gcm = aead->suite == IPOP_SUITE_AESGCM;
    for (int i = 0; i < 8; i++)
        nonce[gcm ? 11 - i : 4 + i] = (uint8_t)(counter >> 8 * i);
    if (gcm)
        crypto_aead_aes256gcm_encrypt(ret, NULL, text, n, ad, ad_n, NULL, nonce, key_bytes);
    else
        crypto_aead_chacha20poly1305_ietf_encrypt(ret, NULL, text, n, ad, ad_n, NULL, nonce, key_bytes);
}

static bool missing(const IpopAead *aead) {
    if (!aead->available())
        g_test_skip("this machine has no AES-NI and PCLMULQDQ");
    return !aead->available();
}

/* Memory that ends where no access is allowed: assembly is not seen by the sanitizers. */
typedef struct {
    uint8_t *bytes;
    size_t size;
} Guarded;

static Guarded guarded_new(size_t size) {
    return (Guarded){ipop_secret_new(size), size};
}

/* The place for n bytes, shift bytes before the end; the rest is canaries. */
static uint8_t *place(Guarded guarded, size_t n, size_t shift) {
    memset(guarded.bytes, CANARY, guarded.size);
    return guarded.bytes + guarded.size - shift - n;
}

static void assert_canaries(Guarded guarded, const uint8_t *at, size_t n) {
    for (const uint8_t *byte = guarded.bytes; byte < guarded.bytes + guarded.size; byte++)
        g_assert_true((byte >= at && byte < at + n) || *byte == CANARY);
}

typedef struct {
    const IpopAead *aead;
    void *key;
    Guarded source, destination, ad;
    uint8_t plain[LENGTH_MAX];
    uint8_t wanted[LENGTH_MAX + IPOP_WIRE_TAG];
} Fixture;

static void check_apart(Fixture *f, uint64_t counter, const uint8_t *ad, size_t ad_n, size_t n, size_t from, size_t to) {
    uint8_t *text = place(f->source, n, from), *sealed = place(f->destination, n + IPOP_WIRE_TAG, to);
    memcpy(text, f->plain, n);
    f->aead->seal(f->key, counter, ad, ad_n, text, n, sealed);
    g_assert_cmpint(memcmp(sealed, f->wanted, n + IPOP_WIRE_TAG), ==, 0);
    g_assert_cmpint(memcmp(text, f->plain, n), ==, 0);
    assert_canaries(f->source, text, n);
    assert_canaries(f->destination, sealed, n + IPOP_WIRE_TAG);

    text = place(f->source, n, to);
    g_assert_true(f->aead->open(f->key, counter, ad, ad_n, sealed, n, text));
    g_assert_cmpint(memcmp(text, f->plain, n), ==, 0);
    g_assert_cmpint(memcmp(sealed, f->wanted, n + IPOP_WIRE_TAG), ==, 0);
    assert_canaries(f->source, text, n);
}

static void check_in_place(Fixture *f, uint64_t counter, const uint8_t *ad, size_t ad_n, size_t n, size_t shift) {
    uint8_t *text = place(f->destination, n + IPOP_WIRE_TAG, shift);
    memcpy(text, f->plain, n);
    f->aead->seal(f->key, counter, ad, ad_n, text, n, text);
    g_assert_cmpint(memcmp(text, f->wanted, n + IPOP_WIRE_TAG), ==, 0);
    g_assert_true(f->aead->open(f->key, counter, ad, ad_n, text, n, text));
    g_assert_cmpint(memcmp(text, f->plain, n), ==, 0);
    assert_canaries(f->destination, text, n + IPOP_WIRE_TAG);
}

/* One bit of the message, the tag, the additional data or the counter. */
static void check_tampering(Fixture *f, uint64_t counter, uint8_t *ad, size_t ad_n, size_t n, bool in_place) {
    uint8_t *text = place(f->source, n, 0), *sealed = place(f->destination, n + IPOP_WIRE_TAG, 0);
    uint8_t *out = in_place ? sealed : text;
    size_t spot = (size_t)g_test_rand_int_range(0, (int)(n + IPOP_WIRE_TAG));
    uint8_t bit = (uint8_t)(1 << g_test_rand_int_range(0, 8));
    memcpy(sealed, f->wanted, n + IPOP_WIRE_TAG);
    sealed[spot] ^= bit;
    g_assert_false(f->aead->open(f->key, counter, ad, ad_n, sealed, n, out));

    memcpy(sealed, f->wanted, n + IPOP_WIRE_TAG);
    g_assert_false(f->aead->open(f->key, counter ^ UINT64_C(1) << spot % 64, ad, ad_n, sealed, n, out));

    if (ad_n > 0) {
        memcpy(sealed, f->wanted, n + IPOP_WIRE_TAG);
        ad[spot % ad_n] ^= bit;
        g_assert_false(f->aead->open(f->key, counter, ad, ad_n, sealed, n, out));
        ad[spot % ad_n] ^= bit;
        memcpy(sealed, f->wanted, n + IPOP_WIRE_TAG);
        g_assert_false(f->aead->open(f->key, counter, ad, ad_n - 1, sealed, n, out));
    }
    memcpy(sealed, f->wanted, n + IPOP_WIRE_TAG);
    g_assert_true(f->aead->open(f->key, counter, ad, ad_n, sealed, n, out));
}

static void test_lengths(gconstpointer data) {
    if (missing(data))
        return;
    Fixture *f = g_new0(Fixture, 1);
    f->aead = data;
    f->key = f->aead->key_new(key_bytes);
    f->source = guarded_new(ROOM);
    f->destination = guarded_new(ROOM);
    f->ad = guarded_new(AD_MAX);
    randombytes_buf(f->plain, sizeof f->plain);
    for (size_t n = 0; n <= LENGTH_MAX; n++) {
        uint64_t counter = (uint64_t)g_test_rand_int() << 32 | (uint32_t)g_test_rand_int();
        size_t ad_n = n % 2 ? 0 : (size_t)g_test_rand_int_range(0, AD_MAX + 1);
        uint8_t *ad = place(f->ad, ad_n, 0);
        size_t from = n % 3 ? (size_t)g_test_rand_int_range(0, SHIFT_MAX) : 0;
        size_t to = n % 3 ? (size_t)g_test_rand_int_range(0, SHIFT_MAX) : 0;
        reference_seal(f->aead, counter, ad, ad_n, f->plain, n, f->wanted);
        check_apart(f, counter, ad, ad_n, n, from, to);
        check_in_place(f, counter, ad, ad_n, n, from);
        check_tampering(f, counter, ad, ad_n, n, n % 4 < 2);
    }
    ipop_secret_free(f->key);
    ipop_secret_free(f->source.bytes);
    ipop_secret_free(f->destination.bytes);
    ipop_secret_free(f->ad.bytes);
    g_free(f);
}

/* Every single bit of a few short ones. */
static void test_tampering(gconstpointer data) {
    static const size_t lengths[] = {0, 1, 16, 100};
    const IpopAead *aead = data;
    if (missing(aead))
        return;
    void *key = aead->key_new(key_bytes);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        size_t n = lengths[i];
        uint8_t sealed[128] = {0}, text[128], ad[4] = {1, 2, 3, 4};
        aead->seal(key, 7, ad, sizeof ad, sealed, n, sealed);
        for (size_t bit = 0; bit < 8 * (n + IPOP_WIRE_TAG); bit++) {
            sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
            g_assert_false(aead->open(key, 7, ad, sizeof ad, sealed, n, text));
            sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t bit = 0; bit < 64; bit++)
            g_assert_false(aead->open(key, 7 ^ UINT64_C(1) << bit, ad, sizeof ad, sealed, n, text));
        for (size_t bit = 0; bit < 8 * sizeof ad; bit++) {
            ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
            g_assert_false(aead->open(key, 7, ad, sizeof ad, sealed, n, text));
            ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        g_assert_true(aead->open(key, 7, ad, sizeof ad, sealed, n, text));
    }
    ipop_secret_free(key);
}

/* Two keys in turn: one does not disturb the other, nor open what is the other's. */
static void test_keys(gconstpointer data) {
    const IpopAead *aead = data;
    if (missing(aead))
        return;
    uint8_t sealed[32], text[32], other_bytes[32];
    memcpy(other_bytes, key_bytes, 32);
    other_bytes[31] ^= 1;
    void *key = aead->key_new(key_bytes), *other = aead->key_new(other_bytes);
    aead->seal(key, 0, NULL, 0, (const uint8_t *)"text", 4, sealed);
    g_assert_false(aead->open(other, 0, NULL, 0, sealed, 4, text));
    g_assert_true(aead->open(key, 0, NULL, 0, sealed, 4, text));
    g_assert_cmpmem(text, 4, "text", 4);
    ipop_secret_free(key);
    ipop_secret_free(other);
}

/* The first of a suite in the list that this machine can do. */
static const IpopAead *first_available(IpopSuite suite) {
    const IpopAead *aead;
    for (size_t i = 0; (aead = ipop_aead_nth(i)); i++)
        if (aead->suite == suite && aead->available())
            return aead;
    return NULL;
}

static void test_choice(void) {
    bool hardware = crypto_aead_aes256gcm_is_available();
    g_assert_true(ipop_aead_supports(IPOP_SUITE_CHACHAPOLY));
    g_assert_cmpint(ipop_aead_supports(IPOP_SUITE_AESGCM), ==, hardware);
    const IpopAead *aead;
    for (size_t i = 0; (aead = ipop_aead_nth(i)); i++) /* what is built in works, else it is as good as not there */
        g_assert_cmpint(aead->available(), ==, ipop_aead_supports(aead->suite));
    g_assert_true(ipop_aead_for(IPOP_SUITE_CHACHAPOLY) == &ipop_aead_chachapoly);
    g_assert_true(!ipop_aead_for(IPOP_SUITE_AESGCM) == !hardware);
    g_assert_true(ipop_aead_for(IPOP_SUITE_AESGCM) == first_available(IPOP_SUITE_AESGCM));

    static const IpopSuite none[] = {(IpopSuite)0, (IpopSuite)(IPOP_SUITE_CHACHAPOLY | IPOP_SUITE_AESGCM)};
    for (size_t i = 0; i < G_N_ELEMENTS(none); i++) {
        g_assert_null(ipop_aead_for(none[i]));
        g_assert_false(ipop_aead_supports(none[i]));
    }
    g_assert_null(ipop_aead_nth(SIZE_MAX));
}

static void add(const IpopAead *aead, const char *what, GTestDataFunc test) {
    g_autofree char *path = g_strdup_printf("/aead/%s/%s", aead->name, what);
    g_test_add_data_func(g_strdelimit(path, " ", '-'), aead, test);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    const IpopAead *aead;
    for (size_t i = 0; (aead = ipop_aead_nth(i)); i++) {
        add(aead, "lengths", test_lengths);
        add(aead, "tampering", test_tampering);
        add(aead, "keys", test_keys);
    }
    g_test_add_func("/aead/choice", test_choice);
    return g_test_run();
}
