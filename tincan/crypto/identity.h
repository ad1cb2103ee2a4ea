/* identity.h - the node's static X25519 key: made at first start, kept in STATE_DIR/identity.key (32 bytes, 0600), never
 * leaving this process. */
#pragma once

#include "tincan/ctl/ids.h"

#include <glib.h>

typedef struct {
    uint8_t *secret; /* locked memory, IPOP_KEY_BYTES */
    uint8_t public_key[IPOP_KEY_BYTES];
    IpopUid uid;
} IpopIdentity;

/* Loads the key, or makes and stores one (and the directory) when there is none; of two processes that do so at once both
 * get the same. NULL and error otherwise: a damaged or readable-by-others
 * file is never replaced, since that would give the node another name. */
IpopIdentity *ipop_identity_load(const char *state_dir, GError **error);

/* For tests: an identity from a given secret. */
IpopIdentity *ipop_identity_from_secret(const uint8_t secret[static IPOP_KEY_BYTES]);

void ipop_identity_free(IpopIdentity *identity);
