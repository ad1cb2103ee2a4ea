/* seal.h - the authenticated form of a control datagram: who may change something, and that it is said only once.
 *
 * tincan writes a secret of 32 bytes to RUNTIME_DIR/control.key at each start (mode 0640, group ipop). A sealed datagram
 * is encrypted under a key derived from that secret, so whoever sits on the port in tincan's place learns nothing from
 * what he is sent, and can't answer. PROTOCOL.md has the bytes. Freshness: every datagram carries the sender's random id
 * and a counter that starts at tincan's clock; tincan takes it only when the counter is within IPOP_SEAL_WINDOW of its
 * own clock and higher than the last from that sender. The epoch, made anew at each start of tincan and mixed into
 * everything, ends replays across restarts. Pure but for randomness; not thread-safe.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_SEAL_SECRET_BYTES 32
#define IPOP_SEAL_EPOCH_BYTES 16
#define IPOP_SEAL_NONCE_BYTES 16
#define IPOP_SEAL_OVERHEAD (2 + IPOP_SEAL_NONCE_BYTES + 8 + 16)
#define IPOP_SEAL_WINDOW (10 * INT64_C(1000000)) /* microseconds */
#define IPOP_SEAL_SENDERS_MAX 32

#define IPOP_CTL_VERSION 0x02
#define IPOP_CTL_PLAIN 0x01
#define IPOP_CTL_SEALED 0x02

typedef enum {
    IPOP_SEAL_OK,
    IPOP_SEAL_MALFORMED,
    IPOP_SEAL_FORGED,   /* not made with this secret and epoch, or for another client */
    IPOP_SEAL_STALE,    /* genuine, but too old, too far ahead, or seen before */
    IPOP_SEAL_FULL,     /* more than IPOP_SEAL_SENDERS_MAX senders inside the window */
} IpopSealResult;

/* --- tincan's end --- */
typedef struct IpopSealServer IpopSealServer;

/* Takes a copy of the secret into locked memory. now: microseconds, the clock of the epoch. */
IpopSealServer *ipop_seal_server_new(const uint8_t secret[static IPOP_SEAL_SECRET_BYTES]);
void ipop_seal_server_free(IpopSealServer *server);

/* The answer to a hello: JSON with "type":"hello","epoch","time","mac" over the client's nonce (hex of 16 bytes). NULL
 * when the nonce is not that. Owned by the caller (g_free). Reading, hence open to anyone; changes nothing. */
char *ipop_seal_server_hello(const IpopSealServer *server, const char *nonce_hex, int64_t now);

/* Opens a sealed datagram. On IPOP_SEAL_OK *ret_json is its text (NUL-terminated, owned by the caller) and ret_sender the
 * sender's nonce, to be used to answer it. */
IpopSealResult ipop_seal_server_open(IpopSealServer *server, const uint8_t *datagram, size_t n, int64_t now,
                                     char **ret_json, size_t *ret_n, uint8_t ret_sender[static IPOP_SEAL_NONCE_BYTES]);

/* Seals an answer or a notification for that sender. Owned by the caller. */
uint8_t *ipop_seal_server_seal(IpopSealServer *server, const uint8_t sender[static IPOP_SEAL_NONCE_BYTES],
                               const char *json, size_t n, int64_t now, size_t *ret_n);

/* --- the client's end (controller, tools) --- */
typedef struct IpopSealClient IpopSealClient;

IpopSealClient *ipop_seal_client_new(const uint8_t secret[static IPOP_SEAL_SECRET_BYTES]);
void ipop_seal_client_free(IpopSealClient *client);

/* {"m":"hello","nonce":...}. Owned by the caller. */
char *ipop_seal_client_hello(const IpopSealClient *client);

/* Takes the answer to hello (its JSON text). False when it was not made by the holder of the secret, or is older than one
 * taken before. *ret_new_epoch: tincan is another process than before (or the first). now: the client's own clock,
 * microseconds. A tincan that was started anew has a new secret: load it and make a new client. */
bool ipop_seal_client_welcome(IpopSealClient *client, const char *json, size_t n, int64_t now, bool *ret_new_epoch);

/* NULL before the first welcome. Owned by the caller. */
uint8_t *ipop_seal_client_seal(IpopSealClient *client, const char *json, size_t n, int64_t now, size_t *ret_n);

/* Opens what tincan sent to this client: IPOP_SEAL_STALE when its counter is not higher than the last. On IPOP_SEAL_OK
 * *ret_json is NUL-terminated and owned by the caller; never IPOP_SEAL_FULL. */
IpopSealResult ipop_seal_client_open(IpopSealClient *client, const uint8_t *datagram, size_t n, char **ret_json,
                                     size_t *ret_n);
