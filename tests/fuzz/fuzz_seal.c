/* A genuine datagram and a genuine welcome, changed by the input: each is taken exactly when nothing was changed. The input
 * is also tried as it is, as a datagram, a nonce and a welcome.
 *
 * Input: a byte (bit 0: toward the client), then pairs of position and a byte to XOR there, modulo the length. */
#include "tincan/base/secret.h"
#include "tincan/ctl/seal.h"

#include <string.h>

#define NOW (INT64_C(1000) * 1000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t secret[IPOP_SEAL_SECRET_BYTES] = "a secret of exactly thirty-two b";

/* True when something is different afterwards. */
static bool change(uint8_t *bytes, size_t n, const uint8_t *data, size_t size) {
    g_autofree uint8_t *before = g_memdup2(bytes, n);
    for (size_t i = 0; i + 1 < size; i += 2)
        bytes[data[i] % n] ^= data[i + 1];
    return memcmp(before, bytes, n) != 0;
}

static void try_raw(IpopSealServer *server, IpopSealClient *client, const uint8_t *data, size_t size) {
    g_autofree char *text = g_strndup((const char *)data, size);
    char *json = NULL;
    size_t n;
    bool new_epoch;
    uint8_t sender[IPOP_SEAL_NONCE_BYTES];
    g_autofree char *hello = ipop_seal_server_hello(server, text, NOW);
    g_assert_cmpint(ipop_seal_server_open(server, data, size, NOW, &json, &n, sender), !=, IPOP_SEAL_OK);
    g_assert_cmpint(ipop_seal_client_open(client, data, size, &json, &n), !=, IPOP_SEAL_OK);
    g_assert_false(ipop_seal_client_welcome(client, (const char *)data, size, NOW, &new_epoch));
}

static void try_changed(IpopSealServer *server, IpopSealClient *client, const uint8_t *data, size_t size) {
    static const char body[] = "{\"m\":\"set_cb_endpoint\"}";
    uint8_t sender[IPOP_SEAL_NONCE_BYTES];
    g_autofree char *json = NULL;
    size_t n, json_n;
    g_autofree uint8_t *datagram = ipop_seal_client_seal(client, body, strlen(body), NOW, &n);
    IpopSealResult result;
    bool changed;
    if (data[0] & 1) {
        g_autofree uint8_t *answer = ipop_seal_server_seal(server, datagram + 2, body, strlen(body), NOW, &n);
        changed = change(answer, n, data + 1, size - 1);
        result = ipop_seal_client_open(client, answer, n, &json, &json_n);
    } else {
        changed = change(datagram, n, data + 1, size - 1);
        result = ipop_seal_server_open(server, datagram, n, NOW, &json, &json_n, sender);
    }
    g_assert_cmpint(result == IPOP_SEAL_OK, ==, !changed);
    g_assert_cmpint(json != NULL, ==, !changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    ipop_secret_init();
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *client = ipop_seal_client_new(secret);
    try_raw(server, client, data, size);

    g_autofree char *hello = ipop_seal_client_hello(client);
    g_autofree char *nonce = g_strndup(strstr(hello, "\"nonce\":\"") + strlen("\"nonce\":\""), 2 * IPOP_SEAL_NONCE_BYTES);
    g_autofree char *welcome = ipop_seal_server_hello(server, nonce, NOW);
    bool new_epoch;
    g_assert_true(ipop_seal_client_welcome(client, welcome, strlen(welcome), NOW, &new_epoch));
    try_raw(server, client, data, size);
    try_changed(server, client, data, size);
    ipop_seal_client_free(client);
    ipop_seal_server_free(server);
    return 0;
}
