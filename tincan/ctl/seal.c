#include "tincan/ctl/seal.h"

#include "tincan/base/secret.h"
#include "tincan/ctl/json.h"

#include <sodium.h>
#include <string.h>

#define KEY_BYTES crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define MAC_BYTES 32
#define HEADER_BYTES (2 + IPOP_SEAL_NONCE_BYTES + 8)
#define NEVER INT64_MIN

_Static_assert(IPOP_SEAL_NONCE_BYTES + 8 == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce = sender nonce, counter");
_Static_assert(IPOP_SEAL_OVERHEAD == HEADER_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES, "overhead");

/* In locked memory. */
typedef struct {
    uint8_t secret[IPOP_SEAL_SECRET_BYTES];
    uint8_t to_tincan[KEY_BYTES];
    uint8_t to_client[KEY_BYTES];
} Keys;

typedef struct {
    uint8_t nonce[IPOP_SEAL_NONCE_BYTES];
    int64_t last; /* its newest counter, NEVER in a free entry */
} Sender;

struct IpopSealServer {
    Keys *keys;
    uint8_t epoch[IPOP_SEAL_EPOCH_BYTES];
    int64_t last_sent;
    Sender senders[IPOP_SEAL_SENDERS_MAX];
};

struct IpopSealClient {
    Keys *keys;
    uint8_t nonce[IPOP_SEAL_NONCE_BYTES];
    uint8_t epoch[IPOP_SEAL_EPOCH_BYTES];
    bool welcomed;
    int64_t hello_time; /* tincan's clock in the newest welcome */
    int64_t offset;     /* tincan's clock minus ours */
    int64_t last_sent;
    int64_t last_received;
};

static void derive(const uint8_t *secret, const char *purpose, uint8_t ret_key[static KEY_BYTES]) {
    crypto_generichash(ret_key, KEY_BYTES, (const uint8_t *)purpose, strlen(purpose), secret, IPOP_SEAL_SECRET_BYTES);
}

static Keys *keys_new(const uint8_t secret[static IPOP_SEAL_SECRET_BYTES]) {
    Keys *keys = ipop_secret_new(sizeof *keys);
    memcpy(keys->secret, secret, sizeof keys->secret);
    derive(secret, "ipop ctl to tincan", keys->to_tincan);
    derive(secret, "ipop ctl to client", keys->to_client);
    return keys;
}

static void put_be64(uint8_t out[static 8], uint64_t value) {
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (uint8_t)value;
}

static uint64_t get_be64(const uint8_t in[static 8]) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | in[i];
    return value;
}

static void hello_mac(const Keys *keys, const uint8_t nonce[static IPOP_SEAL_NONCE_BYTES],
                      const uint8_t epoch[static IPOP_SEAL_EPOCH_BYTES], int64_t time, uint8_t ret_mac[static MAC_BYTES]) {
    static const char purpose[] = "ipop ctl hello";
    uint8_t be_time[8];
    put_be64(be_time, (uint64_t)time);
    crypto_generichash_state state;
    crypto_generichash_init(&state, keys->secret, sizeof keys->secret, MAC_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)purpose, strlen(purpose));
    crypto_generichash_update(&state, nonce, IPOP_SEAL_NONCE_BYTES);
    crypto_generichash_update(&state, epoch, IPOP_SEAL_EPOCH_BYTES);
    crypto_generichash_update(&state, be_time, sizeof be_time);
    crypto_generichash_final(&state, ret_mac, MAC_BYTES);
}

/* Additional data: what a datagram was made for, and its bytes outside the ciphertext. */
typedef struct {
    uint8_t epoch[IPOP_SEAL_EPOCH_BYTES];
    uint8_t header[HEADER_BYTES];
} Additional;

static Additional additional(const uint8_t epoch[static IPOP_SEAL_EPOCH_BYTES], const uint8_t header[static HEADER_BYTES]) {
    Additional a;
    memcpy(a.epoch, epoch, sizeof a.epoch);
    memcpy(a.header, header, sizeof a.header);
    return a;
}

static uint8_t *seal(const uint8_t key[static KEY_BYTES], const uint8_t epoch[static IPOP_SEAL_EPOCH_BYTES],
                     const uint8_t nonce[static IPOP_SEAL_NONCE_BYTES], int64_t counter, const char *json, size_t n,
                     size_t *ret_n) {
    uint8_t *datagram = g_malloc(IPOP_SEAL_OVERHEAD + n);
    datagram[0] = IPOP_CTL_VERSION;
    datagram[1] = IPOP_CTL_SEALED;
    memcpy(datagram + 2, nonce, IPOP_SEAL_NONCE_BYTES);
    put_be64(datagram + 2 + IPOP_SEAL_NONCE_BYTES, (uint64_t)counter);
    Additional ad = additional(epoch, datagram);
    crypto_aead_xchacha20poly1305_ietf_encrypt(datagram + HEADER_BYTES, NULL, (const uint8_t *)json, n, (uint8_t *)&ad,
                                               sizeof ad, NULL, datagram + 2, key);
    *ret_n = IPOP_SEAL_OVERHEAD + n;
    return datagram;
}

/* Opens without a look at freshness. */
static IpopSealResult open_genuine(const uint8_t key[static KEY_BYTES], const uint8_t epoch[static IPOP_SEAL_EPOCH_BYTES],
                                   const uint8_t *datagram, size_t n, char **ret_json, size_t *ret_n) {
    if (n < IPOP_SEAL_OVERHEAD || datagram[0] != IPOP_CTL_VERSION || datagram[1] != IPOP_CTL_SEALED)
        return IPOP_SEAL_MALFORMED;
    size_t json_n = n - IPOP_SEAL_OVERHEAD;
    char *json = g_malloc(json_n + 1);
    Additional ad = additional(epoch, datagram);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)json, NULL, NULL, datagram + HEADER_BYTES, n - HEADER_BYTES,
                                                   (uint8_t *)&ad, sizeof ad, datagram + 2, key) != 0) {
        g_free(json);
        return IPOP_SEAL_FORGED;
    }
    json[json_n] = '\0';
    *ret_json = json;
    *ret_n = json_n;
    return IPOP_SEAL_OK;
}

/* What is beyond the range of clocks counts as the furthest future. */
static int64_t counter_of(const uint8_t *datagram) {
    return (int64_t)MIN(get_be64(datagram + 2 + IPOP_SEAL_NONCE_BYTES), (uint64_t)INT64_MAX);
}

static bool parse_hex(const char *text, uint8_t *ret_bytes, size_t n) {
    return strlen(text) == 2 * n && sodium_hex2bin(ret_bytes, n, text, 2 * n, NULL, NULL, NULL) == 0;
}

/* --- tincan's end --- */

IpopSealServer *ipop_seal_server_new(const uint8_t secret[static IPOP_SEAL_SECRET_BYTES]) {
    IpopSealServer *server = g_new0(IpopSealServer, 1);
    server->keys = keys_new(secret);
    randombytes_buf(server->epoch, sizeof server->epoch);
    for (unsigned i = 0; i < IPOP_SEAL_SENDERS_MAX; i++)
        server->senders[i].last = NEVER;
    return server;
}

void ipop_seal_server_free(IpopSealServer *server) {
    if (!server)
        return;
    ipop_secret_free(server->keys);
    g_free(server);
}

char *ipop_seal_server_hello(const IpopSealServer *server, const char *nonce_hex, int64_t now) {
    uint8_t nonce[IPOP_SEAL_NONCE_BYTES], mac[MAC_BYTES];
    char epoch_hex[2 * IPOP_SEAL_EPOCH_BYTES + 1], mac_hex[2 * MAC_BYTES + 1];
    if (!parse_hex(nonce_hex, nonce, sizeof nonce))
        return NULL;
    hello_mac(server->keys, nonce, server->epoch, now, mac);
    sodium_bin2hex(epoch_hex, sizeof epoch_hex, server->epoch, sizeof server->epoch);
    sodium_bin2hex(mac_hex, sizeof mac_hex, mac, sizeof mac);
    return g_strdup_printf("{\"type\":\"hello\",\"epoch\":\"%s\",\"time\":%" G_GINT64_FORMAT ",\"mac\":\"%s\"}", epoch_hex, now,
                           mac_hex);
}

/* The sender's entry, else one that is free or so old that nothing of its sender would be taken any more. */
static Sender *find_sender(IpopSealServer *server, const uint8_t *nonce, int64_t now) {
    Sender *vacant = NULL;
    for (Sender *s = server->senders; s < server->senders + IPOP_SEAL_SENDERS_MAX; s++) {
        if (s->last != NEVER && memcmp(s->nonce, nonce, sizeof s->nonce) == 0)
            return s;
        if (s->last < now - IPOP_SEAL_WINDOW)
            vacant = s;
    }
    if (vacant) {
        memcpy(vacant->nonce, nonce, sizeof vacant->nonce);
        vacant->last = NEVER;
    }
    return vacant;
}

static IpopSealResult take_counter(IpopSealServer *server, const uint8_t *datagram, int64_t now) {
    int64_t counter = counter_of(datagram);
    if (counter < now - IPOP_SEAL_WINDOW || counter > now + IPOP_SEAL_WINDOW)
        return IPOP_SEAL_STALE;
    Sender *sender = find_sender(server, datagram + 2, now);
    if (!sender)
        return IPOP_SEAL_FULL;
    if (counter <= sender->last)
        return IPOP_SEAL_STALE;
    sender->last = counter;
    return IPOP_SEAL_OK;
}

IpopSealResult ipop_seal_server_open(IpopSealServer *server, const uint8_t *datagram, size_t n, int64_t now, char **ret_json,
                                     size_t *ret_n, uint8_t ret_sender[static IPOP_SEAL_NONCE_BYTES]) {
    g_autofree char *json = NULL;
    size_t json_n;
    IpopSealResult result = open_genuine(server->keys->to_tincan, server->epoch, datagram, n, &json, &json_n);
    if (result == IPOP_SEAL_OK)
        result = take_counter(server, datagram, now);
    if (result != IPOP_SEAL_OK)
        return result;
    memcpy(ret_sender, datagram + 2, IPOP_SEAL_NONCE_BYTES);
    *ret_json = g_steal_pointer(&json);
    *ret_n = json_n;
    return IPOP_SEAL_OK;
}

uint8_t *ipop_seal_server_seal(IpopSealServer *server, const uint8_t sender[static IPOP_SEAL_NONCE_BYTES], const char *json,
                               size_t n, int64_t now, size_t *ret_n) {
    server->last_sent = MAX(now, server->last_sent + 1);
    return seal(server->keys->to_client, server->epoch, sender, server->last_sent, json, n, ret_n);
}

/* --- the client's end --- */

IpopSealClient *ipop_seal_client_new(const uint8_t secret[static IPOP_SEAL_SECRET_BYTES]) {
    IpopSealClient *client = g_new0(IpopSealClient, 1);
    client->keys = keys_new(secret);
    randombytes_buf(client->nonce, sizeof client->nonce);
    return client;
}

void ipop_seal_client_free(IpopSealClient *client) {
    if (!client)
        return;
    ipop_secret_free(client->keys);
    g_free(client);
}

char *ipop_seal_client_hello(const IpopSealClient *client) {
    char nonce_hex[2 * IPOP_SEAL_NONCE_BYTES + 1];
    sodium_bin2hex(nonce_hex, sizeof nonce_hex, client->nonce, sizeof client->nonce);
    return g_strdup_printf("{\"m\":\"hello\",\"nonce\":\"%s\"}", nonce_hex);
}

static bool parse_welcome(const json_t *hello, uint8_t ret_epoch[static IPOP_SEAL_EPOCH_BYTES], int64_t *ret_time,
                          uint8_t ret_mac[static MAC_BYTES]) {
    const char *type, *epoch, *mac;
    return hello && ipop_json_string(hello, "type", 8, &type) && strcmp(type, "hello") == 0 &&
           ipop_json_string(hello, "epoch", 2 * IPOP_SEAL_EPOCH_BYTES, &epoch) &&
           parse_hex(epoch, ret_epoch, IPOP_SEAL_EPOCH_BYTES) && ipop_json_int(hello, "time", 0, INT64_MAX / 2, ret_time) &&
           ipop_json_string(hello, "mac", 2 * MAC_BYTES, &mac) && parse_hex(mac, ret_mac, MAC_BYTES);
}

/* A clock that begins anew may run over counters already used, so a new epoch also gets a new sender nonce. */
static void enter_epoch(IpopSealClient *client, const uint8_t epoch[static IPOP_SEAL_EPOCH_BYTES]) {
    if (client->welcomed)
        randombytes_buf(client->nonce, sizeof client->nonce);
    memcpy(client->epoch, epoch, sizeof client->epoch);
    client->welcomed = true;
    client->last_sent = client->last_received = 0;
}

bool ipop_seal_client_welcome(IpopSealClient *client, const char *json, size_t n, int64_t now, bool *ret_new_epoch) {
    uint8_t epoch[IPOP_SEAL_EPOCH_BYTES], mac[MAC_BYTES], expected[MAC_BYTES];
    int64_t time;
    json_t *hello = ipop_json_parse(json, n);
    bool parsed = parse_welcome(hello, epoch, &time, mac);
    json_decref(hello);
    if (!parsed)
        return false;
    hello_mac(client->keys, client->nonce, epoch, time, expected);
    if (sodium_memcmp(mac, expected, sizeof mac) != 0)
        return false;

    bool new_epoch = !client->welcomed || memcmp(epoch, client->epoch, sizeof epoch) != 0;
    if (!new_epoch && time < client->hello_time)
        return false;
    if (new_epoch)
        enter_epoch(client, epoch);
    client->hello_time = time;
    client->offset = time - now;
    *ret_new_epoch = new_epoch;
    return true;
}

uint8_t *ipop_seal_client_seal(IpopSealClient *client, const char *json, size_t n, int64_t now, size_t *ret_n) {
    if (!client->welcomed)
        return NULL;
    client->last_sent = MAX(now + client->offset, client->last_sent + 1);
    return seal(client->keys->to_tincan, client->epoch, client->nonce, client->last_sent, json, n, ret_n);
}

IpopSealResult ipop_seal_client_open(IpopSealClient *client, const uint8_t *datagram, size_t n, char **ret_json,
                                     size_t *ret_n) {
    g_autofree char *json = NULL;
    size_t json_n;
    IpopSealResult result = open_genuine(client->keys->to_client, client->epoch, datagram, n, &json, &json_n);
    if (result != IPOP_SEAL_OK)
        return result;
    if (!client->welcomed || memcmp(datagram + 2, client->nonce, sizeof client->nonce) != 0)
        return IPOP_SEAL_FORGED;
    if (counter_of(datagram) <= client->last_received)
        return IPOP_SEAL_STALE;
    client->last_received = counter_of(datagram);
    *ret_json = g_steal_pointer(&json);
    *ret_n = json_n;
    return IPOP_SEAL_OK;
}
