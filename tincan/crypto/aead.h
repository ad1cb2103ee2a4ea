/* aead.h - the per-packet cipher, behind one small table.
 *
 * From a source to a destination, which are the same or do not overlap; 16-byte tag behind the text, 12-byte nonce made
 * of the counter as Noise says for the cipher (section 12). A key object is used by one thread at a time.
 */
#pragma once

#include "tincan/ctl/ids.h"
#include "tincan/crypto/wire.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct IpopAead {
    const char *name;
    IpopSuite suite;
    /* This machine can do it. From any thread. The first call may take milliseconds: see ipop_aead_mb. */
    bool (*available)(void);
    void *(*key_new)(const uint8_t key[static 32]); /* locked memory; freed by ipop_secret_free */
    /* text: n bytes. ret_sealed: n bytes and the tag. */
    void (*seal)(void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *text, size_t n,
                 uint8_t *ret_sealed);
    /* sealed: n bytes and the tag. ret_text: n bytes, not to be used when the result is false. */
    bool (*open)(void *key, uint64_t counter, const uint8_t *ad, size_t ad_n, const uint8_t *sealed, size_t n,
                 uint8_t *ret_text);
} IpopAead;

extern const IpopAead ipop_aead_chachapoly; /* libsodium, RFC 8439 */
extern const IpopAead ipop_aead_aesgcm;     /* libsodium, needs AES-NI and PCLMULQDQ */
/* intel-ipsec-mb, where that is built in: asking whether it is available loads the library's code for this processor
 * (3 MiB of the file become resident) and tries it against libsodium. */
extern const IpopAead ipop_aead_mb;

/* This machine can do the suite. Loads nothing. */
bool ipop_aead_supports(IpopSuite suite);

/* The fastest available for the suite; NULL when it is not supported. */
const IpopAead *ipop_aead_for(IpopSuite suite);

/* All that are built in, the fastest of each suite first, available or not; NULL past the last. */
const IpopAead *ipop_aead_nth(size_t i);
