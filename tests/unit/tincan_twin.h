/* tincan_twin.h - a tincan without a device, for the controller's tests: its control port on a free loopback port, with the
 * real sealing, and as much of its answers as a test needs. On the default main context.
 */
#pragma once

#include "tincan/base/clock.h"
#include "tincan/base/secret.h"
#include "tincan/ctl/ids.h"
#include "tincan/ctl/json.h"
#include "tincan/ctl/seal.h"

#include <arpa/inet.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct TincanTwin TincanTwin;

struct TincanTwin {
    char *runtime_dir;
    unsigned port;
    int fd; /* -1: stopped */
    guint source;
    IpopSealServer *seal;
    uint8_t key[IPOP_KEY_BYTES];
    IpopUid uid;
    bool receiver; /* set_cb_endpoint came */
    uint8_t client[IPOP_SEAL_NONCE_BYTES];
    struct sockaddr_in address;
    unsigned drop;       /* so many datagrams are lost */
    bool mute;           /* takes all, answers nothing */
    bool stale;          /* answers "stale" to the next sealed one */
    GPtrArray *requests; /* json_t of each changing request, in order */
    GHashTable *peers;   /* uid -> json_t of peer_state */
    unsigned echoes;
    /* A changing request; the error to answer, or NULL. */
    const char *(*on_request)(TincanTwin *twin, const char *method, json_t *message);
    void *user;
};

static inline unsigned twin_free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, size), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &size), ==, 0);
    close(fd);
    return ntohs(address.sin_port);
}

static inline void twin_send_sealed(TincanTwin *twin, const uint8_t *client, const struct sockaddr_in *to, json_t *message) {
    size_t n;
    g_autofree char *text = json_dumps(message, JSON_COMPACT);
    g_autofree uint8_t *datagram = ipop_seal_server_seal(twin->seal, client, text, strlen(text), ipop_clock_now(), &n);
    sendto(twin->fd, datagram, n, 0, (const struct sockaddr *)to, sizeof *to);
    json_decref(message);
}

static inline void twin_send_plain(TincanTwin *twin, const struct sockaddr_in *to, const char *text) {
    g_autofree char *datagram = g_strdup_printf("%c%c%s\n", IPOP_CTL_VERSION, IPOP_CTL_PLAIN, text);
    sendto(twin->fd, datagram, strlen(datagram), 0, (const struct sockaddr *)to, sizeof *to);
}

/* Reference stolen. */
static inline void twin_notify(TincanTwin *twin, json_t *message) {
    g_assert_true(twin->receiver);
    twin_send_sealed(twin, twin->client, &twin->address, message);
}

static inline json_t *twin_with_id(json_t *answer, json_t *request) {
    json_object_set(answer, "id", json_object_get(request, "id"));
    return answer;
}

static inline void twin_answer_state(TincanTwin *twin, const uint8_t *client, const struct sockaddr_in *to, json_t *request) {
    char key[IPOP_KEY_TEXT_SIZE];
    ipop_key_to_text(twin->key, key);
    json_t *local = json_pack("{ss ss ss ss sI}", "type", "local_state", "_uid", twin->uid.hex, "_key", key, "_suites",
                              "aesgcm chachapoly", "_peers", (json_int_t)g_hash_table_size(twin->peers));
    twin_send_sealed(twin, client, to, twin_with_id(local, request));
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, twin->peers);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        twin_send_sealed(twin, client, to, twin_with_id(json_copy(value), request));
}

static inline void twin_set_peer(TincanTwin *twin, const char *uid, json_t *state) {
    json_object_set_new(state, "type", json_string("peer_state"));
    json_object_set_new(state, "uid", json_string(uid));
    g_hash_table_replace(twin->peers, g_strdup(uid), state);
}

static inline void twin_take_sealed(TincanTwin *twin, const uint8_t *datagram, size_t n, const struct sockaddr_in *from) {
    uint8_t client[IPOP_SEAL_NONCE_BYTES];
    char *text;
    size_t size;
    IpopSealResult result = ipop_seal_server_open(twin->seal, datagram, n, ipop_clock_now(), &text, &size, client);
    if (result == IPOP_SEAL_OK && twin->stale) {
        twin->stale = false;
        g_free(text);
        result = IPOP_SEAL_STALE;
    }
    if (result != IPOP_SEAL_OK) {
        twin_send_plain(twin, from, result == IPOP_SEAL_STALE ? "{\"error\":\"stale\"}" : "{\"error\":\"not authenticated\"}");
        return;
    }
    json_t *message = ipop_json_parse(text, size);
    const char *method = json_string_value(json_object_get(message, "m"));
    g_assert_nonnull(method);
    if (strcmp(method, "get_state") == 0) {
        twin_answer_state(twin, client, from, message);
    } else if (strcmp(method, "echo_request") == 0) {
        twin->echoes++;
        twin_send_sealed(twin, client, from, twin_with_id(json_pack("{ss}", "type", "echo_reply"), message));
    } else {
        if (strcmp(method, "set_cb_endpoint") == 0) {
            twin->receiver = true;
            twin->address = *from;
            memcpy(twin->client, client, sizeof client);
        }
        g_ptr_array_add(twin->requests, json_incref(message));
        const char *error = twin->on_request != NULL ? twin->on_request(twin, method, message) : NULL;
        json_t *answer = error != NULL ? json_pack("{ss}", "error", error) : json_pack("{ss}", "type", "ok");
        twin_send_sealed(twin, client, from, twin_with_id(answer, message));
    }
    json_decref(message);
    g_free(text);
}

static inline gboolean twin_receive(gint fd, GIOCondition condition, gpointer user) {
    TincanTwin *twin = user;
    uint8_t datagram[65536];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t n = recvfrom(fd, datagram, sizeof datagram - 1, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
    if (n < 3 || twin->mute)
        return G_SOURCE_CONTINUE;
    if (twin->drop > 0) {
        twin->drop--;
        return G_SOURCE_CONTINUE;
    }
    if (datagram[1] == IPOP_CTL_SEALED) {
        twin_take_sealed(twin, datagram, (size_t)n, &from);
        return G_SOURCE_CONTINUE;
    }
    json_t *message = ipop_json_parse((char *)datagram + 2, (size_t)n - 2);
    g_assert_cmpstr(json_string_value(json_object_get(message, "m")), ==, "hello");
    g_autofree char *answer =
        ipop_seal_server_hello(twin->seal, json_string_value(json_object_get(message, "nonce")), ipop_clock_now());
    twin_send_plain(twin, &from, answer);
    json_decref(message);
    return G_SOURCE_CONTINUE;
}

/* Another process: new secret, new epoch, no peers; the same port and identity. */
static inline void twin_start(TincanTwin *twin) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)twin->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    g_autofree char *file = g_build_filename(twin->runtime_dir, "control.key", NULL);
    uint8_t secret[IPOP_SEAL_SECRET_BYTES];
    randombytes_buf(secret, sizeof secret);
    g_assert_true(ipop_secret_store(file, secret, sizeof secret, NULL, NULL));
    twin->seal = ipop_seal_server_new(secret);
    twin->receiver = false;
    g_hash_table_remove_all(twin->peers);
    g_ptr_array_set_size(twin->requests, 0);
    twin->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(twin->fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    twin->source = g_unix_fd_add(twin->fd, G_IO_IN, twin_receive, twin);
}

static inline void twin_stop(TincanTwin *twin) {
    if (twin->fd < 0)
        return;
    g_source_remove(twin->source);
    close(twin->fd);
    twin->fd = -1;
    g_clear_pointer(&twin->seal, ipop_seal_server_free);
}

/* Not started. seed: of the identity. */
static inline TincanTwin *twin_new(uint8_t seed) {
    TincanTwin *twin = g_new0(TincanTwin, 1);
    twin->runtime_dir = g_dir_make_tmp("ipop-test-twin-XXXXXX", NULL);
    twin->port = twin_free_port();
    twin->fd = -1;
    memset(twin->key, seed, sizeof twin->key);
    twin->uid = ipop_uid_from_key(twin->key);
    twin->requests = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    twin->peers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)json_decref);
    return twin;
}

static inline void twin_free(TincanTwin *twin) {
    twin_stop(twin);
    g_autofree char *file = g_build_filename(twin->runtime_dir, "control.key", NULL);
    g_unlink(file);
    g_rmdir(twin->runtime_dir);
    g_free(twin->runtime_dir);
    g_ptr_array_free(twin->requests, TRUE);
    g_hash_table_destroy(twin->peers);
    g_free(twin);
}

/* The last request of that method (and uid, if not NULL); NULL when none came. Borrowed. */
static inline json_t *twin_last(const TincanTwin *twin, const char *method, const char *uid) {
    for (guint i = twin->requests->len; i-- > 0;) {
        json_t *message = twin->requests->pdata[i];
        if (strcmp(json_string_value(json_object_get(message, "m")), method) == 0 &&
            (uid == NULL || g_strcmp0(json_string_value(json_object_get(message, "uid")), uid) == 0))
            return message;
    }
    return NULL;
}

static inline unsigned twin_count(const TincanTwin *twin, const char *method) {
    unsigned n = 0;
    for (guint i = 0; i < twin->requests->len; i++)
        n += strcmp(json_string_value(json_object_get(twin->requests->pdata[i], "m")), method) == 0;
    return n;
}

static inline gboolean twin_too_late(gpointer what) {
    g_printerr("waited too long for: %s\n", (const char *)what);
    abort();
    return G_SOURCE_REMOVE;
}

/* Runs the main loop until the condition holds. */
#define WAIT_FOR(condition)                                                             \
    do {                                                                                \
        guint wait_limit = g_timeout_add_seconds(60, twin_too_late, (gpointer)#condition); \
        while (!(condition))                                                            \
            g_main_context_iteration(NULL, TRUE);                                       \
        g_source_remove(wait_limit);                                                    \
    } while (0)
