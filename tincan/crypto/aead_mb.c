/* aead_mb.c - AES-256-GCM of intel-ipsec-mb, by its direct calls for one whole message. */
#include "tincan/crypto/aead.h"

#include "tincan/base/secret.h"

#include <emmintrin.h>
#include <glib.h>
#include <intel-ipsec-mb.h>
#include <sodium.h>
#include <string.h>

#define TRIAL_MAX 9000

/* The library's functions for this processor. They keep nothing but what they are given, so its manager (200 kB), which
 * exists for the job interface, is only needed to find them. Written once, before any key is made. */
static struct {
    aes_gcm_pre_t prepare;
    aes_gcm_enc_dec_t seal;
    aes_gcm_enc_dec_t open;
} mb;

/* The context is only for messages in parts, but the last one's hash may stay there, and hash and message together give
 * the hash key away: so it lives with the key. */
typedef struct {
    _Alignas(64) struct gcm_key_data expanded;
    struct gcm_context_data context;
} Key;
G_STATIC_ASSERT(sizeof(Key) % 64 == 0); /* what makes sodium_malloc align it */
G_STATIC_ASSERT(crypto_verify_16_BYTES == IPOP_WIRE_TAG);

/* Noise section 12.4, AESGCM: 32 zero bits, then the counter big-endian; four more bytes fill the register. Stored by one
 * instruction: the library loads it by one, and two shorter stores would have to reach the cache first, which takes as long
 * as sealing 64 bytes. */
static __m128i nonce_of(uint64_t counter) {
    uint64_t wire = GUINT64_TO_BE(counter);
    return _mm_slli_si128(_mm_cvtsi64_si128((long long)wire), 4);
}

static void *mb_key_new(const uint8_t key_bytes[static 32]) {
    Key *key = ipop_secret_new(sizeof *key);
    mb.prepare(key_bytes, &key->expanded);
    return key;
}

static void mb_seal(void *key_object, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *text, size_t n,
                    uint8_t *ret_sealed) {
    Key *key = key_object;
    __m128i nonce = nonce_of(counter);
    mb.seal(&key->expanded, &key->context, ret_sealed, text, n, (const uint8_t *)&nonce, ad, ad_n, ret_sealed + n, IPOP_WIRE_TAG);
}

static bool mb_open(void *key_object, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *sealed, size_t n,
                    uint8_t *ret_text) {
    Key *key = key_object;
    uint8_t tag[crypto_verify_16_BYTES];
    __m128i nonce = nonce_of(counter);
    mb.open(&key->expanded, &key->context, ret_text, sealed, n, (const uint8_t *)&nonce, ad, ad_n, tag, sizeof tag);
    return crypto_verify_16(tag, sealed + n) == 0;
}

static bool load(void) {
    IMB_MGR *manager = alloc_mb_mgr(0);
    if (!manager)
        return false;
    init_mb_mgr_auto(manager, NULL);
    const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ; /* it also has an emulation, slower than libsodium */
    bool good = imb_get_errno(manager) == 0 && (manager->features & needed) == needed;
    mb.prepare = manager->gcm256_pre;
    mb.seal = manager->gcm256_enc;
    mb.open = manager->gcm256_dec;
    free_mb_mgr(manager);
    return good;
}

/* One message of n bytes: the same as libsodium's, opened again, and refused when altered. */
static bool agrees(void *key, void *reference, const uint8_t *text, size_t n) {
    uint8_t wanted[TRIAL_MAX + IPOP_WIRE_TAG], sealed[TRIAL_MAX + IPOP_WIRE_TAG];
    uint64_t counter = n * UINT64_C(0x0123456789abcdef);
    size_t ad_n = n % 40;
    ipop_aead_aesgcm.seal(reference, counter, text, ad_n, text, n, wanted);
    mb_seal(key, counter, text, ad_n, text, n, sealed);
    if (memcmp(sealed, wanted, n + IPOP_WIRE_TAG) != 0)
        return false;
    if (!mb_open(key, counter, text, ad_n, sealed, n, sealed) || memcmp(sealed, text, n) != 0)
        return false;
    wanted[n / 2] ^= 1;
    return !mb_open(key, counter, text, ad_n, wanted, n, sealed);
}

static bool try_out(void) {
    static const uint8_t seed[randombytes_SEEDBYTES] = "a message to try the cipher with";
    uint8_t text[TRIAL_MAX];
    randombytes_buf_deterministic(text, sizeof text, seed);
    void *key = mb_key_new(seed), *reference = ipop_aead_aesgcm.key_new(seed);
    bool good = true;
    /* Every short length, then ever fewer: the library's code differs by the number of blocks and by what is left over. */
    for (size_t n = 0; good && n <= TRIAL_MAX; n += 1 + n / 32)
        good = agrees(key, reference, text, n);
    ipop_secret_free(key);
    ipop_secret_free(reference);
    return good;
}

static bool mb_available(void) {
    enum { NO = 1, YES };
    static gsize answer;
    if (g_once_init_enter(&answer))
        g_once_init_leave(&answer, ipop_aead_aesgcm.available() && load() && try_out() ? YES : NO);
    return answer == YES;
}

const IpopAead ipop_aead_mb = {
    .name = "ipsec-mb AES-256-GCM",
    .suite = IPOP_SUITE_AESGCM,
    .available = mb_available,
    .key_new = mb_key_new,
    .seal = mb_seal,
    .open = mb_open,
};
