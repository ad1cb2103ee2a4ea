#include "tincan/crypto/cookie.h"

#include "tincan/base/secret.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

#define MAC 16
#define SECRET 32
#define NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define LABEL 8

G_STATIC_ASSERT(8 + NONCE + MAC + crypto_aead_xchacha20poly1305_ietf_ABYTES == IPOP_WIRE_COOKIE_SIZE);

struct IpopCookieJar {
    uint8_t key[IPOP_KEY_BYTES];
    uint8_t current[SECRET];
    uint8_t previous[SECRET];
    int64_t made; /* when current was; 0: not yet */
};

static void keyed_mac(uint8_t ret[static MAC], const uint8_t *key, size_t key_n, const void *data, size_t n) {
    crypto_generichash(ret, MAC, data, n, key, key_n);
}

/* HASH(label || public key), the paper's way to key what anyone who knows the receiver may compute. */
static void label_key(uint8_t ret[static 32], const char label[static LABEL], const uint8_t *public_key) {
    uint8_t input[LABEL + IPOP_KEY_BYTES];
    memcpy(input, label, LABEL);
    memcpy(input + LABEL, public_key, IPOP_KEY_BYTES);
    crypto_generichash(ret, 32, input, sizeof input, NULL, 0);
}

static void mac1_of(uint8_t ret[static MAC], const uint8_t *public_key, const uint8_t *message, size_t n) {
    uint8_t key[32];
    label_key(key, "mac1----", public_key);
    keyed_mac(ret, key, sizeof key, message, n - 2 * MAC);
}

IpopCookieJar *ipop_cookie_jar_new(const uint8_t own_key[static IPOP_KEY_BYTES]) {
    IpopCookieJar *jar = ipop_secret_new(sizeof *jar);
    memcpy(jar->key, own_key, IPOP_KEY_BYTES);
    randombytes_buf(jar->current, SECRET);
    randombytes_buf(jar->previous, SECRET);
    return jar;
}

void ipop_cookie_jar_free(IpopCookieJar *jar) {
    ipop_secret_free(jar);
}

/* A secret is handed out for one lifetime and understood for two, so that each cookie is good for a whole one. */
static void renew(IpopCookieJar *jar, int64_t now) {
    int64_t age = now - jar->made;
    if (age < IPOP_COOKIE_LIFETIME)
        return;
    memcpy(jar->previous, jar->current, SECRET);
    randombytes_buf(jar->current, SECRET);
    if (age >= 2 * IPOP_COOKIE_LIFETIME)
        randombytes_buf(jar->previous, SECRET);
    jar->made = now;
}

static void bake(uint8_t ret[static MAC], const uint8_t secret[static SECRET], const void *source, size_t source_n) {
    keyed_mac(ret, secret, SECRET, source, source_n);
}

static bool mac2_valid(const uint8_t secret[static SECRET], const uint8_t *message, size_t n, const void *source,
                       size_t source_n) {
    uint8_t cookie[MAC];
    uint8_t mac[MAC];
    bake(cookie, secret, source, source_n);
    keyed_mac(mac, cookie, MAC, message, n - MAC);
    return sodium_memcmp(mac, message + n - MAC, MAC) == 0;
}

bool ipop_cookie_check(IpopCookieJar *jar, const uint8_t *message, size_t n, const void *source, size_t source_n,
                       int64_t now) {
    g_assert(n > 2 * MAC);
    renew(jar, now);
    return mac2_valid(jar->current, message, n, source, source_n) ||
           mac2_valid(jar->previous, message, n, source, source_n);
}

void ipop_cookie_reply(IpopCookieJar *jar, const uint8_t *message, size_t n, const void *source, size_t source_n,
                       int64_t now, uint8_t ret_reply[static IPOP_WIRE_COOKIE_SIZE]) {
    uint8_t key[32];
    uint8_t cookie[MAC];
    const uint8_t *mac1 = message + n - 2 * MAC;
    uint8_t *nonce = ret_reply + 8;

    g_assert(n > 2 * MAC);
    renew(jar, now);
    memset(ret_reply, 0, 4);
    ret_reply[0] = IPOP_WIRE_COOKIE;
    memcpy(ret_reply + 4, message + 4, 4); /* their sender index */
    randombytes_buf(nonce, NONCE);
    bake(cookie, jar->current, source, source_n);
    label_key(key, "cookie--", jar->key);
    crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + NONCE, NULL, cookie, MAC, mac1, MAC, NULL, nonce, key);
    sodium_memzero(cookie, sizeof cookie);
}

void ipop_cookie_stamp(IpopCookie *cookie, const uint8_t peer_key[static IPOP_KEY_BYTES], uint8_t *message, size_t n,
                       int64_t now) {
    uint8_t *mac1 = message + n - 2 * MAC;
    uint8_t *mac2 = message + n - MAC;

    g_assert(n > 2 * MAC);
    mac1_of(mac1, peer_key, message, n);
    memcpy(cookie->last_mac1, mac1, MAC);
    if (cookie->received && now - cookie->received < IPOP_COOKIE_LIFETIME)
        keyed_mac(mac2, cookie->cookie, MAC, message, n - MAC);
    else
        memset(mac2, 0, MAC);
}

bool ipop_cookie_mac1_valid(const uint8_t own_key[static IPOP_KEY_BYTES], const uint8_t *message, size_t n) {
    uint8_t mac[MAC];
    if (n <= 2 * MAC)
        return false;
    mac1_of(mac, own_key, message, n);
    return sodium_memcmp(mac, message + n - 2 * MAC, MAC) == 0;
}

bool ipop_cookie_take(IpopCookie *cookie, const uint8_t peer_key[static IPOP_KEY_BYTES], const uint8_t *message, size_t n,
                      int64_t now) {
    static const uint8_t head[4] = {IPOP_WIRE_COOKIE};
    uint8_t key[32];
    uint8_t taken[MAC];
    const uint8_t *nonce = message + 8;

    if (n != IPOP_WIRE_COOKIE_SIZE || memcmp(message, head, sizeof head) != 0)
        return false;
    if (sodium_is_zero(cookie->last_mac1, MAC)) /* nothing sent, or answered already */
        return false;
    label_key(key, "cookie--", peer_key);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(taken, NULL, NULL, nonce + NONCE,
                                                   MAC + crypto_aead_xchacha20poly1305_ietf_ABYTES, cookie->last_mac1,
                                                   MAC, nonce, key) != 0)
        return false;
    memcpy(cookie->cookie, taken, MAC);
    memset(cookie->last_mac1, 0, MAC);
    cookie->received = now;
    return true;
}
