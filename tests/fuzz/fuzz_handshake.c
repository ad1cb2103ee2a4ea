/* Handshake messages and cookie replies from a stranger who knows every public key. The first byte chooses what is done
 * with the rest. */
#include "tincan/base/secret.h"
#include "tincan/crypto/cookie.h"
#include "tincan/crypto/handshake.h"
#include "tincan/crypto/noise.h"

#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define SIZE_MAX_TAKEN 256

static const uint8_t psk[IPOP_PSK_BYTES];
static IpopIdentity *alice;
static IpopIdentity *bob;

static void prepare(void) {
    ipop_secret_init();
    alice = ipop_identity_from_secret((const uint8_t *)"the secret of the first of them.");
    bob = ipop_identity_from_secret((const uint8_t *)"the secret of the second of them");
}

/* Anyone can make mac1 right. */
static void restamp(const IpopIdentity *receiver, uint8_t *message, size_t n) {
    if (n > 32)
        ipop_cookie_stamp(&(IpopCookie){0}, receiver->public_key, message, n, 1);
}

static IpopHandshake *accept_message(const uint8_t *message, size_t n, IpopHandshakeResult *ret_result) {
    uint8_t key[IPOP_KEY_BYTES];
    uint64_t timestamp;
    uint64_t claims;
    return ipop_handshake_accept(bob, message, n, ret_result, key, &timestamp, &claims);
}

/* A stranger can write a message 1 that is in order: it says whose it is, and that decides. */
static void accept_strange(const uint8_t *message, size_t n) {
    IpopHandshakeResult result;
    IpopHandshake *handshake = accept_message(message, n, &result);
    g_assert(!handshake == (result != IPOP_HANDSHAKE_OK));
    ipop_handshake_free(handshake);
}

/* Authentic but for the payload and the header, which are the input's. */
static void accept_authentic(const uint8_t *data, size_t n) {
    uint8_t message[IPOP_WIRE_INIT_SIZE] = {0}, prologue[17] = "ipop-tunnel-1";
    IpopNoise noise;
    IpopNoisePair s, e;
    if (n < 8 + IPOP_WIRE_INIT_PAYLOAD)
        return;
    memcpy(message, data, 8);
    memcpy(prologue + 13, message, 4);
    const IpopAead *aead = ipop_aead_for((IpopSuite)message[1]);
    ipop_noise_pair(&s, alice->secret);
    ipop_noise_pair(&e, (const uint8_t *)"an ephemeral key that never ends");
    ipop_noise_init(&noise, aead ? aead : &ipop_aead_chachapoly, prologue, sizeof prologue, &s, bob->public_key);
    g_assert(ipop_noise_write_first(&noise, &e, data + 8, IPOP_WIRE_INIT_PAYLOAD, message + 8) == IPOP_NOISE_OK);
    restamp(bob, message, sizeof message);

    IpopHandshakeResult result;
    IpopHandshake *handshake = accept_message(message, sizeof message, &result);
    g_assert(result == IPOP_HANDSHAKE_OK || result == IPOP_HANDSHAKE_MALFORMED || result == IPOP_HANDSHAKE_UNSUPPORTED);
    g_assert(!handshake == (result != IPOP_HANDSHAKE_OK));
    ipop_handshake_free(handshake);
}

static void finish_strange(uint8_t *message, size_t n, bool stamped) {
    uint8_t init[IPOP_WIRE_INIT_SIZE];
    IpopSessionKeys keys;
    uint64_t claims;
    IpopHandshake *handshake =
        ipop_handshake_initiate(alice, bob->public_key, psk, IPOP_SUITE_CHACHAPOLY, 0x010203, 1, 0, init);
    if (stamped)
        restamp(alice, message, n);
    g_assert(ipop_handshake_finish(handshake, message, n, &keys, &claims) != IPOP_HANDSHAKE_OK);
    g_assert(ipop_handshake_index(handshake) == 0x010203);
    ipop_handshake_free(handshake);
}

static void check_cookie(const uint8_t *message, size_t n) {
    IpopCookie cookie = {.last_mac1 = {1}};
    g_assert(!ipop_cookie_take(&cookie, bob->public_key, message, n, 1));
    ipop_cookie_mac1_valid(bob->public_key, message, n);
    if (n <= 32)
        return;
    IpopCookieJar *jar = ipop_cookie_jar_new(bob->public_key);
    g_assert(!ipop_cookie_check(jar, message, n, "source", 6, 1));
    ipop_cookie_jar_free(jar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        prepare();
        g_once_init_leave(&ready, 1);
    }
    if (n == 0 || n > SIZE_MAX_TAKEN)
        return 0;
    g_autofree uint8_t *message = g_memdup2(data + 1, n - 1);
    n--;
    switch (data[0] % 6) {
    case 0: accept_strange(message, n); break;
    case 1: restamp(bob, message, n), accept_strange(message, n); break;
    case 2: finish_strange(message, n, false); break;
    case 3: finish_strange(message, n, true); break;
    case 4: check_cookie(message, n); break;
    case 5: accept_authentic(message, n); break;
    }
    return 0;
}
