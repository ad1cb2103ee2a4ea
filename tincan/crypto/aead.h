/* aead.h - the per-packet cipher, behind one small table.
 *
 * In place, 16-byte tag behind the text, 12-byte nonce made of the counter as Noise says for the cipher (section 12).
 * A key object is used by one thread at a time.
 */
#pragma once

#include "tincan/ctl/ids.h"
#include "tincan/crypto/wire.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct IpopAead {
    const char *name;
    IpopSuite suite;
    bool (*available)(void); /* this machine can do it */
    void *(*key_new)(const uint8_t key[static 32]); /* locked memory; freed by ipop_secret_free */
    /* text: n bytes, with room for the tag behind. */
    void (*seal)(const void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, uint8_t *text, size_t n);
    /* text: n bytes and the tag behind. False leaves the text undefined. */
    bool (*open)(const void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, uint8_t *text, size_t n);
} IpopAead;

extern const IpopAead ipop_aead_chachapoly; /* libsodium, RFC 8439 */
extern const IpopAead ipop_aead_aesgcm;     /* libsodium, needs AES-NI and PCLMULQDQ */

/* The fastest available for the suite; NULL when there is none. */
const IpopAead *ipop_aead_for(IpopSuite suite);
