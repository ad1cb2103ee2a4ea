/* noise.h - the bare pattern Noise_IKpsk2_25519_{ChaChaPoly,AESGCM}_SHA256 (The Noise Protocol Framework, revision 34).
 *
 *     <- s
 *     ...
 *     -> e, es, s, ss
 *     <- e, ee, se, psk
 *
 * Pure: the ephemeral keys are given, so that the published vectors can be run. handshake.h puts our messages around it.
 * Keep the state in locked memory (base/secret.h); it may be copied. After any result but OK it is spoilt: go back to a
 * copy. Not thread-safe per object.
 */
#pragma once

#include "tincan/crypto/aead.h"

#define IPOP_NOISE_KEY 32
#define IPOP_NOISE_HASH 32
/* What a message adds to its payload: e, the encrypted s, the payload's tag; e, the payload's tag. */
#define IPOP_NOISE_FIRST_OVERHEAD (IPOP_NOISE_KEY + IPOP_NOISE_KEY + IPOP_WIRE_TAG + IPOP_WIRE_TAG)
#define IPOP_NOISE_SECOND_OVERHEAD (IPOP_NOISE_KEY + IPOP_WIRE_TAG)

typedef enum {
    IPOP_NOISE_OK,
    IPOP_NOISE_BAD_KEY, /* Diffie-Hellman with a low-order point */
    IPOP_NOISE_FORGED,  /* does not decrypt */
} IpopNoiseResult;

typedef struct {
    uint8_t secret[IPOP_NOISE_KEY];
    uint8_t public[IPOP_NOISE_KEY];
} IpopNoisePair;

typedef struct {
    const IpopAead *aead;
    uint8_t hash[IPOP_NOISE_HASH];     /* h */
    uint8_t chaining[IPOP_NOISE_HASH]; /* ck */
    uint8_t key[IPOP_NOISE_KEY];       /* k */
    uint64_t counter;                  /* n */
    IpopNoisePair s;
    IpopNoisePair e;
    uint8_t rs[IPOP_NOISE_KEY];
    uint8_t re[IPOP_NOISE_KEY];
} IpopNoise;

/* remote: the responder's static public key; NULL makes this the responder. aead: of this machine. */
void ipop_noise_init(IpopNoise *noise, const IpopAead *aead, const uint8_t *prologue, size_t prologue_n,
                     const IpopNoisePair *self, const uint8_t *remote);

/* The public half of a secret key. */
void ipop_noise_pair(IpopNoisePair *pair, const uint8_t secret[static IPOP_NOISE_KEY]);

/* Initiator: message is IPOP_NOISE_FIRST_OVERHEAD bytes longer than the payload of n bytes. */
IpopNoiseResult ipop_noise_write_first(IpopNoise *noise, const IpopNoisePair *ephemeral, const uint8_t *payload, size_t n,
                                       uint8_t *ret_message);
/* Responder: n is the payload's length, message IPOP_NOISE_FIRST_OVERHEAD longer. On OK noise->rs says whose it is. */
IpopNoiseResult ipop_noise_read_first(IpopNoise *noise, const uint8_t *message, uint8_t *ret_payload, size_t n);

/* Responder, then initiator: the same with IPOP_NOISE_SECOND_OVERHEAD. psk: 32 bytes. */
IpopNoiseResult ipop_noise_write_second(IpopNoise *noise, const IpopNoisePair *ephemeral, const uint8_t *psk,
                                        const uint8_t *payload, size_t n, uint8_t *ret_message);
IpopNoiseResult ipop_noise_read_second(IpopNoise *noise, const uint8_t *psk, const uint8_t *message, uint8_t *ret_payload,
                                       size_t n);

/* After the second message: what the initiator sends with, then what the responder sends with (section 5.2, Split). */
void ipop_noise_split(const IpopNoise *noise, uint8_t ret_initiator[static IPOP_NOISE_KEY],
                      uint8_t ret_responder[static IPOP_NOISE_KEY]);
