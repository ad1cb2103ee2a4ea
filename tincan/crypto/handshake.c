#include "tincan/crypto/handshake.h"

#include "tincan/base/secret.h"
#include "tincan/crypto/cookie.h"
#include "tincan/crypto/noise.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

/* Where the parts of the messages are (wire.h). */
#define HEAD 4
#define SENDER 4
#define INIT_NOISE 8
#define RESPONSE_RECEIVER 8
#define RESPONSE_NOISE 12
#define MACS 32

G_STATIC_ASSERT(INIT_NOISE + IPOP_NOISE_FIRST_OVERHEAD + IPOP_WIRE_INIT_PAYLOAD + MACS == IPOP_WIRE_INIT_SIZE);
G_STATIC_ASSERT(RESPONSE_NOISE + IPOP_NOISE_SECOND_OVERHEAD + IPOP_WIRE_RESPONSE_PAYLOAD + MACS ==
                IPOP_WIRE_RESPONSE_SIZE);

/* All of it in locked memory. */
struct IpopHandshake {
    IpopNoise noise;
    uint8_t psk[IPOP_PSK_BYTES]; /* initiator's */
    uint32_t local_index;
    uint32_t remote_index;
    bool spent; /* keys were given: never again the same ones */
};

static void put32(uint8_t *to, uint32_t value) {
    uint32_t wire = GUINT32_TO_BE(value);
    memcpy(to, &wire, 4);
}

static uint32_t get32(const uint8_t *from) {
    uint32_t wire;
    memcpy(&wire, from, 4);
    return GUINT32_FROM_BE(wire);
}

static void put64(uint8_t *to, uint64_t value) {
    uint64_t wire = GUINT64_TO_BE(value);
    memcpy(to, &wire, 8);
}

static uint64_t get64(const uint8_t *from) {
    uint64_t wire;
    memcpy(&wire, from, 8);
    return GUINT64_FROM_BE(wire);
}

static bool index_valid(uint32_t index) {
    return index > 0 && index <= IPOP_WIRE_INDEX_MAX;
}

unsigned ipop_handshake_suites(void) {
    unsigned suites = 0;
    if (ipop_aead_supports(IPOP_SUITE_CHACHAPOLY))
        suites |= IPOP_SUITE_CHACHAPOLY;
    if (ipop_aead_supports(IPOP_SUITE_AESGCM))
        suites |= IPOP_SUITE_AESGCM;
    return suites;
}

IpopSuite ipop_handshake_choose(unsigned ours, unsigned theirs) {
    return ours & theirs & IPOP_SUITE_AESGCM ? IPOP_SUITE_AESGCM : IPOP_SUITE_CHACHAPOLY;
}

/* head: the first four bytes of message 1. remote: NULL for the responder. */
static void begin(IpopHandshake *handshake, const IpopIdentity *self, const uint8_t *remote, const IpopAead *aead,
                  const uint8_t head[static HEAD]) {
    uint8_t prologue[] = "ipop-tunnel-1....";
    size_t prologue_n = sizeof prologue - 1;
    IpopNoisePair pair;
    memcpy(prologue + prologue_n - HEAD, head, HEAD);
    memcpy(pair.secret, self->secret, IPOP_KEY_BYTES);
    memcpy(pair.public, self->public_key, IPOP_KEY_BYTES);
    ipop_noise_init(&handshake->noise, aead, prologue, prologue_n, &pair, remote);
    sodium_memzero(&pair, sizeof pair);
}

static void make_ephemeral(IpopNoisePair *pair) {
    uint8_t secret[IPOP_NOISE_KEY];
    randombytes_buf(secret, sizeof secret);
    ipop_noise_pair(pair, secret);
    sodium_memzero(secret, sizeof secret);
}

/* mac1 alone; the caller has the cookie. */
static void stamp(const uint8_t *receiver_key, uint8_t *message, size_t n) {
    ipop_cookie_stamp(&(IpopCookie){0}, receiver_key, message, n, 0);
}

static IpopHandshakeResult result_of(IpopNoiseResult result) {
    switch (result) {
    case IPOP_NOISE_OK: return IPOP_HANDSHAKE_OK;
    case IPOP_NOISE_BAD_KEY: return IPOP_HANDSHAKE_BAD_KEY;
    case IPOP_NOISE_FORGED: return IPOP_HANDSHAKE_FORGED;
    }
    g_assert_not_reached();
}

/* Length, type, suite, reserved bytes and sender index of either message. */
static bool well_formed(const uint8_t *message, size_t n, uint8_t type, size_t size) {
    if (n != size || message[0] != type || message[2] || message[3])
        return false;
    if (message[1] != IPOP_SUITE_CHACHAPOLY && message[1] != IPOP_SUITE_AESGCM)
        return false;
    return index_valid(get32(message + SENDER));
}

IpopHandshake *ipop_handshake_initiate(const IpopIdentity *self, const uint8_t peer_key[static IPOP_KEY_BYTES],
                                       const uint8_t psk[static IPOP_PSK_BYTES], IpopSuite suite, uint32_t index,
                                       uint64_t timestamp, uint64_t claims,
                                       uint8_t ret_message[static IPOP_WIRE_INIT_SIZE]) {
    const IpopAead *aead = ipop_aead_for(suite);
    g_assert(aead && index_valid(index));

    uint8_t message[IPOP_WIRE_INIT_SIZE] = {IPOP_WIRE_INIT, (uint8_t)suite};
    put32(message + SENDER, index);
    uint8_t payload[IPOP_WIRE_INIT_PAYLOAD] = {0};
    put64(payload, timestamp);
    put64(payload + 8, claims);

    IpopHandshake *handshake = ipop_secret_new(sizeof *handshake);
    handshake->local_index = index;
    memcpy(handshake->psk, psk, IPOP_PSK_BYTES);
    begin(handshake, self, peer_key, aead, message);

    IpopNoisePair ephemeral;
    make_ephemeral(&ephemeral);
    IpopNoiseResult result =
        ipop_noise_write_first(&handshake->noise, &ephemeral, payload, sizeof payload, message + INIT_NOISE);
    sodium_memzero(&ephemeral, sizeof ephemeral);
    if (result != IPOP_NOISE_OK) {
        ipop_handshake_free(handshake);
        return NULL;
    }
    stamp(peer_key, message, sizeof message);
    memcpy(ret_message, message, sizeof message);
    return handshake;
}

uint32_t ipop_handshake_index(const IpopHandshake *handshake) {
    return handshake->local_index;
}

/* Message 2 on a state of which the caller keeps the original. */
static IpopHandshakeResult read_response(IpopNoise *noise, const uint8_t *psk, const uint8_t *message,
                                         uint64_t *ret_claims) {
    uint8_t payload[IPOP_WIRE_RESPONSE_PAYLOAD];
    IpopNoiseResult result =
        ipop_noise_read_second(noise, psk, message + RESPONSE_NOISE, payload, IPOP_WIRE_RESPONSE_PAYLOAD);
    if (result != IPOP_NOISE_OK)
        return result_of(result);
    *ret_claims = get64(payload);
    return IPOP_HANDSHAKE_OK;
}

static void give_keys(IpopHandshake *handshake, const IpopNoise *noise, bool initiator, IpopSessionKeys *ret_keys) {
    *ret_keys = (IpopSessionKeys){.suite = noise->aead->suite,
                                  .local_index = handshake->local_index,
                                  .remote_index = handshake->remote_index,
                                  .initiator = initiator};
    if (initiator)
        ipop_noise_split(noise, ret_keys->send, ret_keys->recv);
    else
        ipop_noise_split(noise, ret_keys->recv, ret_keys->send);
    sodium_memzero(&handshake->noise, sizeof handshake->noise);
    handshake->spent = true;
}

IpopHandshakeResult ipop_handshake_finish(IpopHandshake *handshake, const uint8_t *message, size_t n,
                                          IpopSessionKeys *ret_keys, uint64_t *ret_claims) {
    if (!well_formed(message, n, IPOP_WIRE_RESPONSE, IPOP_WIRE_RESPONSE_SIZE))
        return IPOP_HANDSHAKE_MALFORMED;
    if (handshake->spent)
        return IPOP_HANDSHAKE_FORGED;
    if (!ipop_cookie_mac1_valid(handshake->noise.s.public, message, n))
        return IPOP_HANDSHAKE_BAD_MAC;
    if (message[1] != handshake->noise.aead->suite || get32(message + RESPONSE_RECEIVER) != handshake->local_index)
        return IPOP_HANDSHAKE_MALFORMED;

    IpopNoise *trial = ipop_secret_new(sizeof *trial);
    *trial = handshake->noise;
    IpopHandshakeResult result = read_response(trial, handshake->psk, message, ret_claims);
    if (result == IPOP_HANDSHAKE_OK) {
        handshake->remote_index = get32(message + SENDER);
        give_keys(handshake, trial, true, ret_keys);
    }
    ipop_secret_free(trial);
    return result;
}

/* What costs next to nothing comes first: a flood of nonsense must not reach Diffie-Hellman or the allocator. */
static IpopHandshakeResult check_init(const IpopIdentity *self, const uint8_t *message, size_t n, const IpopAead **ret_aead) {
    if (!well_formed(message, n, IPOP_WIRE_INIT, IPOP_WIRE_INIT_SIZE))
        return IPOP_HANDSHAKE_MALFORMED;
    if (!ipop_cookie_mac1_valid(self->public_key, message, n))
        return IPOP_HANDSHAKE_BAD_MAC;
    *ret_aead = ipop_aead_for((IpopSuite)message[1]);
    return *ret_aead ? IPOP_HANDSHAKE_OK : IPOP_HANDSHAKE_UNSUPPORTED;
}

static IpopHandshakeResult read_init(IpopNoise *noise, const uint8_t *message,
                                     uint8_t payload[static IPOP_WIRE_INIT_PAYLOAD]) {
    return result_of(ipop_noise_read_first(noise, message + INIT_NOISE, payload, IPOP_WIRE_INIT_PAYLOAD));
}

IpopHandshake *ipop_handshake_accept(const IpopIdentity *self, const uint8_t *message, size_t n,
                                     IpopHandshakeResult *ret_result, uint8_t ret_peer_key[static IPOP_KEY_BYTES],
                                     uint64_t *ret_timestamp, uint64_t *ret_claims) {
    const IpopAead *aead;
    *ret_result = check_init(self, message, n, &aead);
    if (*ret_result != IPOP_HANDSHAKE_OK)
        return NULL;

    uint8_t payload[IPOP_WIRE_INIT_PAYLOAD];
    IpopHandshake *handshake = ipop_secret_new(sizeof *handshake);
    begin(handshake, self, NULL, aead, message);
    *ret_result = read_init(&handshake->noise, message, payload);
    if (*ret_result != IPOP_HANDSHAKE_OK) {
        ipop_handshake_free(handshake);
        return NULL;
    }
    handshake->remote_index = get32(message + SENDER);
    memcpy(ret_peer_key, handshake->noise.rs, IPOP_KEY_BYTES);
    *ret_timestamp = get64(payload);
    *ret_claims = get64(payload + 8);
    return handshake;
}

IpopHandshakeResult ipop_handshake_answer(IpopHandshake *handshake, const uint8_t psk[static IPOP_PSK_BYTES],
                                          uint32_t index, uint64_t claims,
                                          uint8_t ret_message[static IPOP_WIRE_RESPONSE_SIZE],
                                          IpopSessionKeys *ret_keys) {
    g_assert(!handshake->spent && index_valid(index));

    uint8_t message[IPOP_WIRE_RESPONSE_SIZE] = {IPOP_WIRE_RESPONSE, (uint8_t)handshake->noise.aead->suite};
    put32(message + SENDER, index);
    put32(message + RESPONSE_RECEIVER, handshake->remote_index);
    uint8_t payload[IPOP_WIRE_RESPONSE_PAYLOAD] = {0};
    put64(payload, claims);

    IpopNoisePair ephemeral;
    make_ephemeral(&ephemeral);
    IpopNoiseResult result = ipop_noise_write_second(&handshake->noise, &ephemeral, psk, payload, sizeof payload,
                                                     message + RESPONSE_NOISE);
    sodium_memzero(&ephemeral, sizeof ephemeral);
    if (result != IPOP_NOISE_OK)
        return result_of(result);
    stamp(handshake->noise.rs, message, sizeof message);
    memcpy(ret_message, message, sizeof message);
    handshake->local_index = index;
    give_keys(handshake, &handshake->noise, false, ret_keys);
    return IPOP_HANDSHAKE_OK;
}

void ipop_handshake_free(IpopHandshake *handshake) {
    ipop_secret_free(handshake);
}
