/* cookie.h - mac1, mac2 and cookie replies (WireGuard paper, sections 5.4.4 and 5.4.7; MACs are keyed BLAKE2b-128, the
 * reply is XChaCha20-Poly1305). "source" is whatever names where a datagram came from: address and port. */
#pragma once

#include "tincan/crypto/identity.h"
#include "tincan/crypto/wire.h"

#include <stdbool.h>
#include <stddef.h>

/* The checker's end: one per node. */
typedef struct IpopCookieJar IpopCookieJar;
IpopCookieJar *ipop_cookie_jar_new(const uint8_t own_key[static IPOP_KEY_BYTES]);
void ipop_cookie_jar_free(IpopCookieJar *jar);

/* True when mac2 of a handshake message is a cookie we gave to that source less than IPOP_COOKIE_LIFETIME ago; never when
 * it was twice that. */
bool ipop_cookie_check(IpopCookieJar *jar, const uint8_t *message, size_t n, const void *source, size_t source_n,
                       int64_t now);

/* A cookie reply to that message, whose mac1 has been checked. */
void ipop_cookie_reply(IpopCookieJar *jar, const uint8_t *message, size_t n, const void *source, size_t source_n,
                       int64_t now, uint8_t ret_reply[static IPOP_WIRE_COOKIE_SIZE]);

/* The sender's end: one per peer. Zero-initialised is valid. */
typedef struct {
    uint8_t cookie[16];
    int64_t received; /* 0: none */
    uint8_t last_mac1[16];
} IpopCookie;

/* Writes mac1 (keyed with the receiver's public key) and, when there is a fresh cookie, mac2, into the last 32 bytes of the
 * message, and remembers mac1. */
void ipop_cookie_stamp(IpopCookie *cookie, const uint8_t peer_key[static IPOP_KEY_BYTES], uint8_t *message, size_t n,
                       int64_t now);

/* True when mac1 of the message is right for this key. */
bool ipop_cookie_mac1_valid(const uint8_t own_key[static IPOP_KEY_BYTES], const uint8_t *message, size_t n);

/* Takes a cookie reply; false when it is not for our last message, that one was answered already, or it does not decrypt.
 * now: above 0. */
bool ipop_cookie_take(IpopCookie *cookie, const uint8_t peer_key[static IPOP_KEY_BYTES], const uint8_t *message, size_t n,
                      int64_t now);
