/* ids.h - what names a node: its key, the uid made from it, its fingerprint.
 *
 * Pure; any thread. Functions that read a text take NULL as a text that is not valid, and write nothing when they fail.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IPOP_KEY_BYTES 32

/* 40 lower-case hex digits: the first 20 bytes of BLAKE2b-256 (RFC 7693) of the X25519 public key, so that nobody can
 * claim a uid without its key. */
typedef struct {
    char hex[41];
} IpopUid;

IpopUid ipop_uid_from_key(const uint8_t key[static IPOP_KEY_BYTES]);

/* True for exactly 40 hex digits; they come out in lower case. */
bool ipop_uid_parse(const char *text, IpopUid *ret_uid);

bool ipop_uid_equal(const IpopUid *a, const IpopUid *b);

/* <0, 0, >0 as strcmp. The lower uid opens sessions and wins ties. */
int ipop_uid_compare(const IpopUid *a, const IpopUid *b);

/* BLAKE2b-256 of the key as 32 upper-case hex pairs joined by ':'. */
#define IPOP_FPR_SIZE 96
void ipop_fingerprint(const uint8_t key[static IPOP_KEY_BYTES], char ret_text[static IPOP_FPR_SIZE]);

/* Public keys travel as standard base64 with padding: 44 characters. */
#define IPOP_KEY_TEXT_SIZE 45
void ipop_key_to_text(const uint8_t key[static IPOP_KEY_BYTES], char ret_text[static IPOP_KEY_TEXT_SIZE]);
bool ipop_key_from_text(const char *text, uint8_t ret_key[static IPOP_KEY_BYTES]);

/* Cipher suites, as bits of what a node can do. The names are those of the presence element. */
typedef enum {
    IPOP_SUITE_CHACHAPOLY = 1, /* Noise_IKpsk2_25519_ChaChaPoly_SHA256: everybody has it; "chachapoly" */
    IPOP_SUITE_AESGCM = 2,     /* Noise_IKpsk2_25519_AESGCM_SHA256: with hardware for it; "aesgcm" */
} IpopSuite;

/* Bits from a list of names separated by spaces; unknown names are passed over. 0 when none is known. */
unsigned ipop_suites_parse(const char *text);

/* "chachapoly" or "aesgcm chachapoly". Static storage. */
const char *ipop_suites_text(unsigned suites);

/* Names people give to nodes: 1 to 63 bytes of UTF-8 without control or format characters (Unicode Cc, Cf, Zl, Zp), white
 * space at either end, or any of <>&"'/\ . A dot is allowed, as in a host's name. */
#define IPOP_NAME_MAX 63
bool ipop_name_valid(const char *name);

/* What a node says of itself, as a number: the first 8 bytes of BLAKE2b-256 of name and overlay address. It goes into every
 * handshake, so that the peer can tell by it whether a presence, which anybody may have forged, says the same. Never 0. */
uint64_t ipop_claims(const char *name, const char *ip4);

/* Numeric addresses, normalised. True when text is one of that family. ret_text needs INET6_ADDRSTRLEN bytes. */
bool ipop_ip_normalise(const char *text, int family, char *ret_text);
