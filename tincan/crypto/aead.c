#include "tincan/crypto/aead.h"

#include "tincan/base/secret.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

#define NONCE_BYTES 12
G_STATIC_ASSERT(crypto_aead_chacha20poly1305_ietf_NPUBBYTES == NONCE_BYTES);
G_STATIC_ASSERT(crypto_aead_aes256gcm_NPUBBYTES == NONCE_BYTES);
G_STATIC_ASSERT(crypto_aead_chacha20poly1305_ietf_ABYTES == IPOP_WIRE_TAG);
G_STATIC_ASSERT(crypto_aead_aes256gcm_ABYTES == IPOP_WIRE_TAG);

/* Noise section 12.3, ChaChaPoly: 32 zero bits, then the counter little-endian. */
static void chachapoly_nonce(uint8_t nonce[static NONCE_BYTES], uint64_t counter) {
    uint64_t wire = GUINT64_TO_LE(counter);
    memset(nonce, 0, 4);
    memcpy(nonce + 4, &wire, 8);
}

/* Noise section 12.4, AESGCM: 32 zero bits, then the counter big-endian. */
static void aesgcm_nonce(uint8_t nonce[static NONCE_BYTES], uint64_t counter) {
    uint64_t wire = GUINT64_TO_BE(counter);
    memset(nonce, 0, 4);
    memcpy(nonce + 4, &wire, 8);
}

static bool always(void) {
    return true;
}

static void *chachapoly_key_new(const uint8_t key[static 32]) {
    return memcpy(ipop_secret_new(32), key, 32);
}

static void chachapoly_seal(void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *text, size_t n,
                            uint8_t *ret_sealed) {
    uint8_t nonce[NONCE_BYTES];
    chachapoly_nonce(nonce, counter);
    crypto_aead_chacha20poly1305_ietf_encrypt(ret_sealed, NULL, text, n, ad, ad_n, NULL, nonce, key);
}

static bool chachapoly_open(void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *sealed, size_t n,
                            uint8_t *ret_text) {
    uint8_t nonce[NONCE_BYTES];
    chachapoly_nonce(nonce, counter);
    return crypto_aead_chacha20poly1305_ietf_decrypt(ret_text, NULL, NULL, sealed, n + IPOP_WIRE_TAG, ad, ad_n, nonce,
                                                     key) == 0;
}

const IpopAead ipop_aead_chachapoly = {
    .name = "libsodium ChaCha20-Poly1305",
    .suite = IPOP_SUITE_CHACHAPOLY,
    .available = always,
    .key_new = chachapoly_key_new,
    .seal = chachapoly_seal,
    .open = chachapoly_open,
};

static bool aesgcm_available(void) {
    return crypto_aead_aes256gcm_is_available();
}

static void *aesgcm_key_new(const uint8_t key[static 32]) {
    crypto_aead_aes256gcm_state *state = ipop_secret_new(sizeof *state);
    crypto_aead_aes256gcm_beforenm(state, key);
    return state;
}

static void aesgcm_seal(void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *text, size_t n,
                        uint8_t *ret_sealed) {
    uint8_t nonce[NONCE_BYTES];
    aesgcm_nonce(nonce, counter);
    crypto_aead_aes256gcm_encrypt_afternm(ret_sealed, NULL, text, n, ad, ad_n, NULL, nonce, key);
}

static bool aesgcm_open(void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *sealed, size_t n,
                        uint8_t *ret_text) {
    uint8_t nonce[NONCE_BYTES];
    aesgcm_nonce(nonce, counter);
    return crypto_aead_aes256gcm_decrypt_afternm(ret_text, NULL, NULL, sealed, n + IPOP_WIRE_TAG, ad, ad_n, nonce,
                                                 key) == 0;
}

const IpopAead ipop_aead_aesgcm = {
    .name = "libsodium AES-256-GCM",
    .suite = IPOP_SUITE_AESGCM,
    .available = aesgcm_available,
    .key_new = aesgcm_key_new,
    .seal = aesgcm_seal,
    .open = aesgcm_open,
};

static const IpopAead *const fastest_first[] = {
#ifdef IPOP_IPSEC_MB
    &ipop_aead_mb,
#endif
    &ipop_aead_aesgcm,
    &ipop_aead_chachapoly,
};

/* libsodium's answer goes for all: what is faster needs the same of the processor, and is tried against libsodium. */
bool ipop_aead_supports(IpopSuite suite) {
    return suite == IPOP_SUITE_CHACHAPOLY || (suite == IPOP_SUITE_AESGCM && aesgcm_available());
}

const IpopAead *ipop_aead_for(IpopSuite suite) {
    for (size_t i = 0; i < G_N_ELEMENTS(fastest_first); i++)
        if (fastest_first[i]->suite == suite && fastest_first[i]->available())
            return fastest_first[i];
    return NULL;
}

const IpopAead *ipop_aead_nth(size_t i) {
    return i < G_N_ELEMENTS(fastest_first) ? fastest_first[i] : NULL;
}
