/* Both ciphers against libsodium's own calls, at every length and alignment, and against tampering. */
#include "tincan/base/secret.h"
#include "tincan/crypto/aead.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

#define LENGTH_MAX 3000
#define AD "associated"

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

static void test_lengths(gconstpointer data) {
    const IpopAead *aead = data;
    if (missing(aead))
        return;
    void *key = aead->key_new(key_bytes);
    g_autofree uint8_t *plain = g_malloc(LENGTH_MAX);
    g_autofree uint8_t *wanted = g_malloc(LENGTH_MAX + IPOP_WIRE_TAG);
    randombytes_buf(plain, LENGTH_MAX);
    for (size_t n = 0; n < LENGTH_MAX; n++) {
        /* Exact allocations, so that touching a byte too many is seen. 12 is where a frame begins in a datagram. */
        static const size_t alignments[] = {0, 12, 1, 15};
        size_t shift = alignments[n % G_N_ELEMENTS(alignments)];
        uint64_t counter = (uint64_t)n * UINT64_C(0x0123456789abcdef);
        size_t ad_n = n % 3 ? 0 : strlen(AD);
        uint8_t *buffer = g_malloc(shift + n + IPOP_WIRE_TAG);
        uint8_t *text = buffer + shift;

        memcpy(text, plain, n);
        reference_seal(aead, counter, (const uint8_t *)AD, ad_n, plain, n, wanted);
        aead->seal(key, counter, (const uint8_t *)AD, ad_n, text, n);
        g_assert_cmpint(memcmp(text, wanted, n + IPOP_WIRE_TAG), ==, 0);
        g_assert_true(aead->open(key, counter, (const uint8_t *)AD, ad_n, text, n));
        g_assert_cmpint(memcmp(text, plain, n), ==, 0);
        g_free(buffer);
    }
    ipop_secret_free(key);
}

static void test_tampering(gconstpointer data) {
    static const size_t lengths[] = {0, 1, 16, 100};
    const IpopAead *aead = data;
    if (missing(aead))
        return;
    void *key = aead->key_new(key_bytes);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        size_t n = lengths[i];
        uint8_t sealed[128] = {0}, text[128], ad[4] = {1, 2, 3, 4};
        aead->seal(key, 7, ad, sizeof ad, sealed, n);
        for (size_t bit = 0; bit < 8 * (n + IPOP_WIRE_TAG); bit++) {
            memcpy(text, sealed, sizeof text);
            text[bit / 8] ^= (uint8_t)(1 << bit % 8);
            g_assert_false(aead->open(key, 7, ad, sizeof ad, text, n));
        }
        for (size_t bit = 0; bit < 64; bit++) {
            memcpy(text, sealed, sizeof text);
            g_assert_false(aead->open(key, 7 ^ UINT64_C(1) << bit, ad, sizeof ad, text, n));
        }
        for (size_t at = 0; at < sizeof ad; at++) {
            memcpy(text, sealed, sizeof text);
            ad[at] ^= 0x10;
            g_assert_false(aead->open(key, 7, ad, sizeof ad, text, n));
            ad[at] ^= 0x10;
        }
        memcpy(text, sealed, sizeof text);
        g_assert_false(aead->open(key, 7, ad, 3, text, n));
        memcpy(text, sealed, sizeof text);
        g_assert_true(aead->open(key, 7, ad, sizeof ad, text, n));
    }
    ipop_secret_free(key);
}

static void test_keys(gconstpointer data) {
    const IpopAead *aead = data;
    if (missing(aead))
        return;
    uint8_t text[32] = "text", other_bytes[32];
    memcpy(other_bytes, key_bytes, 32);
    other_bytes[31] ^= 1;
    void *key = aead->key_new(key_bytes), *other = aead->key_new(other_bytes);
    aead->seal(key, 0, NULL, 0, text, 4);
    g_assert_false(aead->open(other, 0, NULL, 0, text, 4));
    ipop_secret_free(key);
    ipop_secret_free(other);
}

static void test_choice(void) {
    g_assert_true(ipop_aead_for(IPOP_SUITE_CHACHAPOLY) != NULL);
    g_assert_cmpint(ipop_aead_for(IPOP_SUITE_CHACHAPOLY)->suite, ==, IPOP_SUITE_CHACHAPOLY);
    const IpopAead *gcm = ipop_aead_for(IPOP_SUITE_AESGCM);
    g_assert_true(!gcm == !crypto_aead_aes256gcm_is_available());
    g_assert_true(!gcm || gcm->suite == IPOP_SUITE_AESGCM);
    g_assert_null(ipop_aead_for((IpopSuite)0));
    g_assert_null(ipop_aead_for((IpopSuite)(IPOP_SUITE_CHACHAPOLY | IPOP_SUITE_AESGCM)));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_data_func("/aead/chachapoly/lengths", &ipop_aead_chachapoly, test_lengths);
    g_test_add_data_func("/aead/chachapoly/tampering", &ipop_aead_chachapoly, test_tampering);
    g_test_add_data_func("/aead/chachapoly/keys", &ipop_aead_chachapoly, test_keys);
    g_test_add_data_func("/aead/aesgcm/lengths", &ipop_aead_aesgcm, test_lengths);
    g_test_add_data_func("/aead/aesgcm/tampering", &ipop_aead_aesgcm, test_tampering);
    g_test_add_data_func("/aead/aesgcm/keys", &ipop_aead_aesgcm, test_keys);
    g_test_add_func("/aead/choice", test_choice);
    return g_test_run();
}
