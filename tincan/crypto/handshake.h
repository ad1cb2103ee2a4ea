/* handshake.h - Noise_IKpsk2 with ChaChaPoly or AESGCM and SHA256 (Noise revision 34): bytes and time in, bytes out.
 *
 * Pure but for ephemeral keys. Not thread-safe per object. State is in locked memory and wiped by _free. The prologue is
 * "ipop-tunnel-1" followed by the first four bytes of message 1 (so the suite is bound). A message's mac1 is checked
 * before any Diffie-Hellman; mac2 is the caller's to fill and check (cookie.h).
 */
#pragma once

#include "tincan/crypto/identity.h"
#include "tincan/crypto/session.h"
#include "tincan/crypto/wire.h"

#define IPOP_PSK_BYTES 32

typedef struct IpopHandshake IpopHandshake;

typedef enum {
    IPOP_HANDSHAKE_OK,
    IPOP_HANDSHAKE_MALFORMED,  /* length, type, suite or a reserved byte */
    IPOP_HANDSHAKE_BAD_MAC,    /* mac1 is not for our key */
    IPOP_HANDSHAKE_BAD_KEY,    /* a low-order point */
    IPOP_HANDSHAKE_FORGED,     /* does not decrypt: other keys, other passphrase, altered */
    IPOP_HANDSHAKE_UNSUPPORTED /* a suite this machine does not have */
} IpopHandshakeResult;

/* Suites this machine can do (bits of IpopSuite): AESGCM only with hardware for it. */
unsigned ipop_handshake_suites(void);

/* The suite for a pair: AESGCM when both have it. */
IpopSuite ipop_handshake_choose(unsigned ours, unsigned theirs);

/* Initiator: writes message 1. identity, peer_key and psk (32 zero bytes: none) are copied. index: ours, timestamp: higher
 * than in any earlier message to this peer, microseconds. The suite must be one of ipop_handshake_suites, the index 1 to
 * IPOP_WIRE_INDEX_MAX. claims: what we say of ourselves (ids.h). mac2 is left zero. NULL when peer_key is a low-order point. */
IpopHandshake *ipop_handshake_initiate(const IpopIdentity *self, const uint8_t peer_key[static IPOP_KEY_BYTES],
                                       const uint8_t psk[static IPOP_PSK_BYTES], IpopSuite suite, uint32_t index,
                                       uint64_t timestamp, uint64_t claims,
                                       uint8_t ret_message[static IPOP_WIRE_INIT_SIZE]);

/* Initiator: reads message 2, gives the keys of both directions. On any other result the object is as before, so that a
 * forged answer does not end the attempt. The keys are given once: a repeated answer is IPOP_HANDSHAKE_FORGED. */
IpopHandshakeResult ipop_handshake_finish(IpopHandshake *handshake, const uint8_t *message, size_t n,
                                          IpopSessionKeys *ret_keys, uint64_t *ret_claims);

/* The local index the initiation was written with. */
uint32_t ipop_handshake_index(const IpopHandshake *handshake);

/* Responder: reads message 1; tells whose it is. The caller looks the peer up, checks the timestamp, then answers. */
IpopHandshake *ipop_handshake_accept(const IpopIdentity *self, const uint8_t *message, size_t n,
                                     IpopHandshakeResult *ret_result, uint8_t ret_peer_key[static IPOP_KEY_BYTES],
                                     uint64_t *ret_timestamp, uint64_t *ret_claims);

/* Responder: writes message 2 and gives the keys. Once per object. */
IpopHandshakeResult ipop_handshake_answer(IpopHandshake *handshake, const uint8_t psk[static IPOP_PSK_BYTES],
                                          uint32_t index, uint64_t claims,
                                          uint8_t ret_message[static IPOP_WIRE_RESPONSE_SIZE],
                                          IpopSessionKeys *ret_keys);

void ipop_handshake_free(IpopHandshake *handshake);
