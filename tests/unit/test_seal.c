#include "tincan/base/secret.h"
#include "tincan/ctl/json.h"
#include "tincan/ctl/seal.h"

#include <sodium.h>
#include <string.h>

#define START (INT64_C(5000) * 1000000)
#define CLIENT_START INT64_C(77) /* clients may have another clock */

static const uint8_t secret[IPOP_SEAL_SECRET_BYTES] = "a secret of exactly thirty-two b";
static const uint8_t other_secret[IPOP_SEAL_SECRET_BYTES] = "b secret of exactly thirty-two b";

typedef struct {
    uint8_t *bytes;
    size_t n;
} Datagram;

static char *nonce_of(const IpopSealClient *client) {
    g_autofree char *hello = ipop_seal_client_hello(client);
    json_t *object = ipop_json_parse(hello, strlen(hello));
    const char *nonce;
    g_assert_nonnull(object);
    g_assert_true(ipop_json_string(object, "nonce", 32, &nonce));
    char *copy = g_strdup(nonce);
    json_decref(object);
    return copy;
}

static bool greet(IpopSealServer *server, IpopSealClient *client, int64_t server_now, int64_t client_now, bool *new_epoch) {
    g_autofree char *nonce = nonce_of(client);
    g_autofree char *welcome = ipop_seal_server_hello(server, nonce, server_now);
    g_assert_nonnull(welcome);
    return ipop_seal_client_welcome(client, welcome, strlen(welcome), client_now, new_epoch);
}

static IpopSealClient *greeted_client(IpopSealServer *server, int64_t server_now) {
    IpopSealClient *client = ipop_seal_client_new(secret);
    bool new_epoch = false;
    g_assert_true(greet(server, client, server_now, CLIENT_START, &new_epoch));
    g_assert_true(new_epoch);
    return client;
}

static Datagram seal_at(IpopSealClient *client, int64_t now, const char *json) {
    Datagram d;
    d.bytes = ipop_seal_client_seal(client, json, strlen(json), now, &d.n);
    g_assert_nonnull(d.bytes);
    g_assert_cmpuint(d.n, ==, strlen(json) + IPOP_SEAL_OVERHEAD);
    return d;
}

static IpopSealResult open_at(IpopSealServer *server, Datagram d, int64_t now) {
    g_autofree char *json = NULL;
    size_t n = 12345;
    uint8_t sender[IPOP_SEAL_NONCE_BYTES];
    IpopSealResult result = ipop_seal_server_open(server, d.bytes, d.n, now, &json, &n, sender);
    g_assert_cmpint(json != NULL, ==, result == IPOP_SEAL_OK);
    g_assert_cmpint(n != 12345, ==, result == IPOP_SEAL_OK);
    return result;
}

static void test_both_ways(void) {
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *client = greeted_client(server, START);
    for (size_t n = 0; n < 300; n++) {
        g_autofree char *text = g_strnfill(n, 'x');
        Datagram d = seal_at(client, CLIENT_START + (int64_t)n, text);
        g_autofree char *json = NULL, *back = NULL;
        size_t json_n, back_n, answer_n;
        uint8_t sender[IPOP_SEAL_NONCE_BYTES];
        int64_t now = START + (int64_t)n;
        g_assert_cmpint(ipop_seal_server_open(server, d.bytes, d.n, now, &json, &json_n, sender), ==, IPOP_SEAL_OK);
        g_assert_cmpmem(json, (int)json_n + 1, text, (int)n + 1);
        g_assert_null(n > 16 ? memmem(d.bytes, d.n, text, 16) : NULL);
        g_autofree uint8_t *answer = ipop_seal_server_seal(server, sender, json, json_n, now, &answer_n);
        g_assert_cmpint(ipop_seal_client_open(client, answer, answer_n, &back, &back_n), ==, IPOP_SEAL_OK);
        g_assert_cmpmem(back, (int)back_n + 1, text, (int)n + 1);
        g_free(d.bytes);
    }
    ipop_seal_client_free(client);
    ipop_seal_server_free(server);
}

static void test_layout(void) {
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *client = greeted_client(server, START);
    g_autofree char *nonce = nonce_of(client);
    Datagram d = seal_at(client, CLIENT_START + 5, "{}");
    char sent_nonce[33];
    sodium_bin2hex(sent_nonce, sizeof sent_nonce, d.bytes + 2, IPOP_SEAL_NONCE_BYTES);
    const uint8_t counter[8] = {0, 0, 0, 1, 0x2a, 0x05, 0xf2, 0x05}; /* START + 5 */
    g_assert_cmpint(d.bytes[0], ==, 2);
    g_assert_cmpint(d.bytes[1], ==, 2);
    g_assert_cmpstr(sent_nonce, ==, nonce);
    g_assert_cmpmem(d.bytes + 18, 8, counter, 8);
    g_assert_cmpuint(d.n, ==, 26 + 2 + 16);
    g_free(d.bytes);
    ipop_seal_client_free(client);
    ipop_seal_server_free(server);
}

static void test_forged(void) {
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *client = greeted_client(server, START);
    Datagram d = seal_at(client, CLIENT_START, "{\"m\":\"set_logging\",\"logging\":3}");
    for (size_t i = 0; i < d.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            d.bytes[i] ^= (uint8_t)(1 << bit);
            g_assert_cmpint(open_at(server, d, START), ==, i < 2 ? IPOP_SEAL_MALFORMED : IPOP_SEAL_FORGED);
            d.bytes[i] ^= (uint8_t)(1 << bit);
        }
    for (size_t n = 0; n < d.n; n++) {
        g_autofree uint8_t *exact = g_memdup2(d.bytes, n);
        Datagram cut = {exact, n};
        g_assert_cmpint(open_at(server, cut, START), ==, n < IPOP_SEAL_OVERHEAD ? IPOP_SEAL_MALFORMED : IPOP_SEAL_FORGED);
    }
    g_assert_cmpint(open_at(server, d, START), ==, IPOP_SEAL_OK); /* none of it spoilt the genuine one */

    size_t answer_n, n;
    g_autofree char *json = NULL;
    g_autofree uint8_t *answer = ipop_seal_server_seal(server, d.bytes + 2, "{}", 2, START, &answer_n);
    for (size_t i = 0; i < answer_n; i++) {
        answer[i] ^= 0x10;
        g_assert_cmpint(ipop_seal_client_open(client, answer, answer_n, &json, &n), ==,
                        i < 2 ? IPOP_SEAL_MALFORMED : IPOP_SEAL_FORGED);
        answer[i] ^= 0x10;
    }
    Datagram reflected = {answer, answer_n}; /* each direction has its own key */
    g_assert_cmpint(open_at(server, reflected, START), ==, IPOP_SEAL_FORGED);
    g_assert_cmpint(ipop_seal_client_open(client, d.bytes, d.n, &json, &n), ==, IPOP_SEAL_FORGED);
    g_assert_null(json);
    g_free(d.bytes);
    ipop_seal_client_free(client);
    ipop_seal_server_free(server);
}

static void test_replay_and_order(void) {
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *client = greeted_client(server, START);
    Datagram first = seal_at(client, CLIENT_START, "{}"), second = seal_at(client, CLIENT_START, "{}"),
             third = seal_at(client, CLIENT_START - 100, "{}"); /* our clock stepping back does no harm */
    g_assert_cmpint(open_at(server, second, START), ==, IPOP_SEAL_OK);
    g_assert_cmpint(open_at(server, second, START), ==, IPOP_SEAL_STALE);
    g_assert_cmpint(open_at(server, first, START), ==, IPOP_SEAL_STALE);
    g_assert_cmpint(open_at(server, third, START), ==, IPOP_SEAL_OK);
    g_assert_cmpint(open_at(server, third, START), ==, IPOP_SEAL_STALE);

    size_t n1, n2, n;
    char *json = NULL;
    g_autofree uint8_t *a1 = ipop_seal_server_seal(server, first.bytes + 2, "{}", 2, START, &n1);
    g_autofree uint8_t *a2 = ipop_seal_server_seal(server, first.bytes + 2, "{}", 2, START, &n2);
    g_assert_cmpint(memcmp(a1 + 18, a2 + 18, 8), <, 0);
    g_assert_cmpint(ipop_seal_client_open(client, a2, n2, &json, &n), ==, IPOP_SEAL_OK);
    g_clear_pointer(&json, g_free);
    g_assert_cmpint(ipop_seal_client_open(client, a2, n2, &json, &n), ==, IPOP_SEAL_STALE);
    g_assert_cmpint(ipop_seal_client_open(client, a1, n1, &json, &n), ==, IPOP_SEAL_STALE);
    g_assert_null(json);
    g_free(first.bytes);
    g_free(second.bytes);
    g_free(third.bytes);
    ipop_seal_client_free(client);
    ipop_seal_server_free(server);
}

static void test_window(void) {
    const struct {
        int64_t off;
        IpopSealResult result;
    } cases[] = {{-IPOP_SEAL_WINDOW - 1, IPOP_SEAL_STALE}, {-IPOP_SEAL_WINDOW, IPOP_SEAL_OK}, {0, IPOP_SEAL_OK},
                 {IPOP_SEAL_WINDOW, IPOP_SEAL_OK}, {IPOP_SEAL_WINDOW + 1, IPOP_SEAL_STALE}, {INT64_C(1) << 40, IPOP_SEAL_STALE}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        IpopSealServer *server = ipop_seal_server_new(secret);
        IpopSealClient *client = greeted_client(server, START);
        Datagram d = seal_at(client, CLIENT_START + cases[i].off, "{}");
        g_assert_cmpint(open_at(server, d, START), ==, cases[i].result);
        g_free(d.bytes);
        ipop_seal_client_free(client);
        ipop_seal_server_free(server);
    }
}

/* At every time after it was taken, a replay is refused, however many others came in between. */
static void test_no_replay_ever(void) {
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *client = greeted_client(server, START);
    Datagram d = seal_at(client, CLIENT_START + IPOP_SEAL_WINDOW / 2, "{}");
    g_assert_cmpint(open_at(server, d, START), ==, IPOP_SEAL_OK);
    for (int64_t now = START; now < START + 3 * IPOP_SEAL_WINDOW; now += IPOP_SEAL_WINDOW / 50) {
        IpopSealClient *passer_by = greeted_client(server, now);
        Datagram other = seal_at(passer_by, CLIENT_START, "{}");
        IpopSealResult result = open_at(server, other, now);
        g_assert_true(result == IPOP_SEAL_OK || result == IPOP_SEAL_FULL);
        g_assert_cmpint(open_at(server, d, now), ==, IPOP_SEAL_STALE);
        g_free(other.bytes);
        ipop_seal_client_free(passer_by);
    }
    g_free(d.bytes);
    ipop_seal_client_free(client);
    ipop_seal_server_free(server);
}

static void test_full(void) {
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *clients[IPOP_SEAL_SENDERS_MAX + 1];
    for (int i = 0; i <= IPOP_SEAL_SENDERS_MAX; i++) {
        clients[i] = greeted_client(server, START);
        Datagram d = seal_at(clients[i], CLIENT_START + i, "{}");
        g_assert_cmpint(open_at(server, d, START), ==, i < IPOP_SEAL_SENDERS_MAX ? IPOP_SEAL_OK : IPOP_SEAL_FULL);
        g_free(d.bytes);
    }
    /* The first goes on; the newcomer gets room once the second has been silent for the window. */
    Datagram again = seal_at(clients[0], CLIENT_START + 100, "{}");
    g_assert_cmpint(open_at(server, again, START), ==, IPOP_SEAL_OK);
    int64_t later = START + 1 + IPOP_SEAL_WINDOW;
    Datagram early = seal_at(clients[IPOP_SEAL_SENDERS_MAX], CLIENT_START + 1 + IPOP_SEAL_WINDOW, "{}");
    g_assert_cmpint(open_at(server, early, later), ==, IPOP_SEAL_FULL);
    g_assert_cmpint(open_at(server, early, later + 1), ==, IPOP_SEAL_OK);
    g_free(early.bytes);
    g_free(again.bytes);
    for (int i = 0; i <= IPOP_SEAL_SENDERS_MAX; i++)
        ipop_seal_client_free(clients[i]);
    ipop_seal_server_free(server);
}

static void test_other_epoch(void) {
    IpopSealServer *before = ipop_seal_server_new(secret), *after = ipop_seal_server_new(secret);
    IpopSealClient *client = greeted_client(before, START);
    bool new_epoch = true;
    g_assert_true(greet(before, client, START + 10, CLIENT_START + 10, &new_epoch));
    g_assert_false(new_epoch);

    Datagram d = seal_at(client, CLIENT_START + 20, "{}");
    g_assert_cmpint(open_at(after, d, START + 20), ==, IPOP_SEAL_FORGED);
    g_free(d.bytes);

    /* The new tincan's clock may have begun anew. */
    g_autofree char *old_nonce = nonce_of(client);
    g_assert_true(greet(after, client, 1000, CLIENT_START + 30, &new_epoch));
    g_assert_true(new_epoch);
    g_autofree char *new_nonce = nonce_of(client);
    g_assert_cmpstr(old_nonce, !=, new_nonce);
    d = seal_at(client, CLIENT_START + 40, "{}");
    g_assert_cmpint(open_at(after, d, 1010), ==, IPOP_SEAL_OK);
    g_assert_cmpint(open_at(before, d, START + 40), ==, IPOP_SEAL_FORGED);

    size_t answer_n, n;
    char *json = NULL;
    g_autofree uint8_t *old_answer = ipop_seal_server_seal(before, d.bytes + 2, "{}", 2, START, &answer_n);
    g_assert_cmpint(ipop_seal_client_open(client, old_answer, answer_n, &json, &n), ==, IPOP_SEAL_FORGED);
    g_autofree uint8_t *answer = ipop_seal_server_seal(after, d.bytes + 2, "{}", 2, 1020, &answer_n);
    g_assert_cmpint(ipop_seal_client_open(client, answer, answer_n, &json, &n), ==, IPOP_SEAL_OK);
    g_free(json);
    g_free(d.bytes);
    ipop_seal_client_free(client);
    ipop_seal_server_free(before);
    ipop_seal_server_free(after);
}

static void test_other_client(void) {
    IpopSealServer *server = ipop_seal_server_new(secret);
    IpopSealClient *a = greeted_client(server, START), *b = greeted_client(server, START);
    Datagram d = seal_at(a, CLIENT_START, "{}");
    size_t answer_n, n;
    char *json = NULL;
    g_autofree uint8_t *answer = ipop_seal_server_seal(server, d.bytes + 2, "{}", 2, START, &answer_n);
    g_assert_cmpint(ipop_seal_client_open(b, answer, answer_n, &json, &n), ==, IPOP_SEAL_FORGED);
    g_assert_cmpint(ipop_seal_client_open(a, answer, answer_n, &json, &n), ==, IPOP_SEAL_OK);
    g_free(json);
    g_free(d.bytes);
    ipop_seal_client_free(a);
    ipop_seal_client_free(b);
    ipop_seal_server_free(server);
}

static void test_hello(void) {
    IpopSealServer *server = ipop_seal_server_new(secret), *impostor = ipop_seal_server_new(other_secret);
    const char *const bad_nonces[] = {"", "00", "0000000000000000000000000000000g", "000000000000000000000000000000",
                                      "0000000000000000000000000000000", "000000000000000000000000000000000000"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad_nonces); i++)
        g_assert_null(ipop_seal_server_hello(server, bad_nonces[i], START));

    IpopSealClient *client = ipop_seal_client_new(secret);
    size_t n = 0;
    char *json = NULL;
    bool new_epoch = false;
    g_assert_null(ipop_seal_client_seal(client, "{}", 2, CLIENT_START, &n));
    g_assert_false(greet(impostor, client, START, CLIENT_START, &new_epoch));
    g_assert_null(ipop_seal_client_seal(client, "{}", 2, CLIENT_START, &n));

    g_autofree char *nonce = nonce_of(client);
    g_autofree char *welcome = ipop_seal_server_hello(server, nonce, START);
    size_t length = strlen(welcome);
    for (size_t i = 0; i < length; i++) {
        /* Flips no letter to its other case, which would say the same. */
        char was = welcome[i];
        welcome[i] ^= 1;
        g_assert_false(ipop_seal_client_welcome(client, welcome, length, CLIENT_START, &new_epoch));
        welcome[i] = was;
        g_assert_false(ipop_seal_client_welcome(client, welcome, i, CLIENT_START, &new_epoch));
    }
    g_assert_false(new_epoch);
    g_autofree char *later = ipop_seal_server_hello(server, nonce, START + 1);
    g_assert_true(ipop_seal_client_welcome(client, later, strlen(later), CLIENT_START, &new_epoch));
    g_assert_true(new_epoch);
    g_assert_false(ipop_seal_client_welcome(client, welcome, length, CLIENT_START, &new_epoch)); /* older */

    /* Before the welcome even an answer under an epoch of zeros, or any other, is not taken. */
    IpopSealClient *shy = ipop_seal_client_new(secret);
    const uint8_t zeros[64] = {IPOP_CTL_VERSION, IPOP_CTL_SEALED};
    g_assert_cmpint(ipop_seal_client_open(shy, zeros, sizeof zeros, &json, &n), ==, IPOP_SEAL_FORGED);
    ipop_seal_client_free(shy);
    ipop_seal_client_free(client);
    ipop_seal_server_free(server);
    ipop_seal_server_free(impostor);
    ipop_seal_client_free(NULL);
    ipop_seal_server_free(NULL);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/seal/both-ways", test_both_ways);
    g_test_add_func("/seal/layout", test_layout);
    g_test_add_func("/seal/forged", test_forged);
    g_test_add_func("/seal/replay-and-order", test_replay_and_order);
    g_test_add_func("/seal/window", test_window);
    g_test_add_func("/seal/no-replay-ever", test_no_replay_ever);
    g_test_add_func("/seal/full", test_full);
    g_test_add_func("/seal/other-epoch", test_other_epoch);
    g_test_add_func("/seal/other-client", test_other_client);
    g_test_add_func("/seal/hello", test_hello);
    return g_test_run();
}
