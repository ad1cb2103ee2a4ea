#include "tincan/crypto/noise.h"

#include "tincan/base/secret.h"

#include <sodium.h>
#include <string.h>

G_STATIC_ASSERT(crypto_hash_sha256_BYTES == IPOP_NOISE_HASH);
G_STATIC_ASSERT(crypto_auth_hmacsha256_BYTES == IPOP_NOISE_HASH && crypto_auth_hmacsha256_KEYBYTES == IPOP_NOISE_HASH);

/* Section 5.2, the SymmetricState. */

static void mix_hash(IpopNoise *noise, const uint8_t *data, size_t n) {
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, noise->hash, IPOP_NOISE_HASH);
    crypto_hash_sha256_update(&state, data, n);
    crypto_hash_sha256_final(&state, noise->hash);
}

/* HKDF as in section 4.3: count (2 or 3) outputs of one hash each. */
static void hkdf(const uint8_t *chaining, const uint8_t *input, size_t input_n, uint8_t (*ret)[IPOP_NOISE_HASH],
                 uint8_t count) {
    crypto_auth_hmacsha256_state state;
    uint8_t key[IPOP_NOISE_HASH];
    crypto_auth_hmacsha256(key, input, input_n, chaining);
    for (uint8_t i = 1; i <= count; i++) {
        crypto_auth_hmacsha256_init(&state, key, sizeof key);
        if (i > 1)
            crypto_auth_hmacsha256_update(&state, ret[i - 2], IPOP_NOISE_HASH);
        crypto_auth_hmacsha256_update(&state, &i, 1);
        crypto_auth_hmacsha256_final(&state, ret[i - 1]);
    }
    sodium_memzero(key, sizeof key);
    sodium_memzero(&state, sizeof state);
}

static void set_key(IpopNoise *noise, const uint8_t *key) {
    memcpy(noise->key, key, IPOP_NOISE_KEY);
    noise->counter = 0;
}

static void mix_key(IpopNoise *noise, const uint8_t *input) {
    uint8_t out[2][IPOP_NOISE_HASH];
    hkdf(noise->chaining, input, IPOP_NOISE_KEY, out, 2);
    memcpy(noise->chaining, out[0], IPOP_NOISE_HASH);
    set_key(noise, out[1]);
    sodium_memzero(out, sizeof out);
}

static void mix_key_and_hash(IpopNoise *noise, const uint8_t *psk) {
    uint8_t out[3][IPOP_NOISE_HASH];
    hkdf(noise->chaining, psk, IPOP_NOISE_KEY, out, 3);
    memcpy(noise->chaining, out[0], IPOP_NOISE_HASH);
    mix_hash(noise, out[1], IPOP_NOISE_HASH);
    set_key(noise, out[2]);
    sodium_memzero(out, sizeof out);
}

/* ret_message: n bytes and the tag. */
static void encrypt_and_hash(IpopNoise *noise, const uint8_t *text, size_t n, uint8_t *ret_message) {
    void *key = noise->aead->key_new(noise->key);
    noise->aead->seal(key, noise->counter++, noise->hash, IPOP_NOISE_HASH, text, n, ret_message);
    ipop_secret_free(key);
    mix_hash(noise, ret_message, n + IPOP_WIRE_TAG);
}

/* message: n bytes and the tag. */
static bool decrypt_and_hash(IpopNoise *noise, const uint8_t *message, size_t n, uint8_t *ret_text) {
    void *key = noise->aead->key_new(noise->key);
    bool good = noise->aead->open(key, noise->counter++, noise->hash, IPOP_NOISE_HASH, message, n, ret_text);
    ipop_secret_free(key);
    mix_hash(noise, message, n + IPOP_WIRE_TAG);
    return good;
}

/* Section 9.2: with a psk in the pattern, e is mixed into the key too. */
static void mix_ephemeral(IpopNoise *noise, const uint8_t *public) {
    mix_hash(noise, public, IPOP_NOISE_KEY);
    mix_key(noise, public);
}

static bool mix_dh(IpopNoise *noise, const uint8_t *secret, const uint8_t *public) {
    uint8_t shared[IPOP_NOISE_KEY];
    bool good = crypto_scalarmult(shared, secret, public) == 0; /* fails when the result would be zero */
    if (good)
        mix_key(noise, shared);
    sodium_memzero(shared, sizeof shared);
    return good;
}

void ipop_noise_init(IpopNoise *noise, const IpopAead *aead, const uint8_t *prologue, size_t prologue_n,
                     const IpopNoisePair *self, const uint8_t *remote) {
    const char *name = aead->suite == IPOP_SUITE_AESGCM ? "Noise_IKpsk2_25519_AESGCM_SHA256"
                                                        : "Noise_IKpsk2_25519_ChaChaPoly_SHA256";
    memset(noise, 0, sizeof *noise);
    noise->aead = aead;
    noise->s = *self;
    if (remote)
        memcpy(noise->rs, remote, IPOP_NOISE_KEY);

    /* A name of up to a hash's length stands for itself. */
    size_t name_n = strlen(name);
    if (name_n <= IPOP_NOISE_HASH)
        memcpy(noise->hash, name, name_n);
    else
        crypto_hash_sha256(noise->hash, (const uint8_t *)name, name_n);
    memcpy(noise->chaining, noise->hash, IPOP_NOISE_HASH);
    mix_hash(noise, prologue, prologue_n);
    mix_hash(noise, remote ? remote : self->public, IPOP_NOISE_KEY);
}

void ipop_noise_pair(IpopNoisePair *pair, const uint8_t secret[static IPOP_NOISE_KEY]) {
    memcpy(pair->secret, secret, IPOP_NOISE_KEY);
    crypto_scalarmult_base(pair->public, secret);
}

IpopNoiseResult ipop_noise_write_first(IpopNoise *noise, const IpopNoisePair *ephemeral, const uint8_t *payload, size_t n,
                                       uint8_t *ret_message) {
    uint8_t *e = ret_message;
    uint8_t *s = e + IPOP_NOISE_KEY;
    uint8_t *text = s + IPOP_NOISE_KEY + IPOP_WIRE_TAG;

    noise->e = *ephemeral;
    memcpy(e, noise->e.public, IPOP_NOISE_KEY);
    mix_ephemeral(noise, e);
    if (!mix_dh(noise, noise->e.secret, noise->rs)) /* es */
        return IPOP_NOISE_BAD_KEY;
    encrypt_and_hash(noise, noise->s.public, IPOP_NOISE_KEY, s);
    if (!mix_dh(noise, noise->s.secret, noise->rs)) /* ss */
        return IPOP_NOISE_BAD_KEY;
    encrypt_and_hash(noise, payload, n, text);
    return IPOP_NOISE_OK;
}

IpopNoiseResult ipop_noise_read_first(IpopNoise *noise, const uint8_t *message, uint8_t *ret_payload, size_t n) {
    const uint8_t *s = message + IPOP_NOISE_KEY;
    const uint8_t *text = s + IPOP_NOISE_KEY + IPOP_WIRE_TAG;
    uint8_t remote[IPOP_NOISE_KEY];

    memcpy(noise->re, message, IPOP_NOISE_KEY);
    mix_ephemeral(noise, noise->re);
    if (!mix_dh(noise, noise->s.secret, noise->re)) /* es */
        return IPOP_NOISE_BAD_KEY;
    if (!decrypt_and_hash(noise, s, IPOP_NOISE_KEY, remote))
        return IPOP_NOISE_FORGED;
    memcpy(noise->rs, remote, IPOP_NOISE_KEY);
    if (!mix_dh(noise, noise->s.secret, noise->rs)) /* ss */
        return IPOP_NOISE_BAD_KEY;
    return decrypt_and_hash(noise, text, n, ret_payload) ? IPOP_NOISE_OK : IPOP_NOISE_FORGED;
}

IpopNoiseResult ipop_noise_write_second(IpopNoise *noise, const IpopNoisePair *ephemeral, const uint8_t *psk,
                                        const uint8_t *payload, size_t n, uint8_t *ret_message) {
    uint8_t *e = ret_message;
    uint8_t *text = e + IPOP_NOISE_KEY;

    noise->e = *ephemeral;
    memcpy(e, noise->e.public, IPOP_NOISE_KEY);
    mix_ephemeral(noise, e);
    if (!mix_dh(noise, noise->e.secret, noise->re)) /* ee */
        return IPOP_NOISE_BAD_KEY;
    if (!mix_dh(noise, noise->e.secret, noise->rs)) /* se */
        return IPOP_NOISE_BAD_KEY;
    mix_key_and_hash(noise, psk);
    encrypt_and_hash(noise, payload, n, text);
    return IPOP_NOISE_OK;
}

IpopNoiseResult ipop_noise_read_second(IpopNoise *noise, const uint8_t *psk, const uint8_t *message, uint8_t *ret_payload,
                                       size_t n) {
    memcpy(noise->re, message, IPOP_NOISE_KEY);
    mix_ephemeral(noise, noise->re);
    if (!mix_dh(noise, noise->e.secret, noise->re)) /* ee */
        return IPOP_NOISE_BAD_KEY;
    if (!mix_dh(noise, noise->s.secret, noise->re)) /* se */
        return IPOP_NOISE_BAD_KEY;
    mix_key_and_hash(noise, psk);
    return decrypt_and_hash(noise, message + IPOP_NOISE_KEY, n, ret_payload) ? IPOP_NOISE_OK : IPOP_NOISE_FORGED;
}

void ipop_noise_split(const IpopNoise *noise, uint8_t ret_initiator[static IPOP_NOISE_KEY],
                      uint8_t ret_responder[static IPOP_NOISE_KEY]) {
    uint8_t out[2][IPOP_NOISE_HASH];
    hkdf(noise->chaining, NULL, 0, out, 2);
    memcpy(ret_initiator, out[0], IPOP_NOISE_KEY);
    memcpy(ret_responder, out[1], IPOP_NOISE_KEY);
    sodium_memzero(out, sizeof out);
}
