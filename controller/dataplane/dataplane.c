#include "controller/dataplane/dataplane.h"

#include "controller/dataplane/outbox.h"
#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/base/secret.h"
#include "tincan/ctl/json.h"
#include "tincan/ctl/seal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPALIVE IPOP_SECOND
#define KEEPALIVE_UNANSWERED 3
#define SLEPT (3 * IPOP_SECOND) /* it runs at least once a second */
#define TELL_AFTER (3 * IPOP_SECOND)
#define PEERS_MAX 4096
#define DATAGRAMS_PER_TURN 256

enum { ID_RECEIVER = 1, ID_ECHO, ID_STATE };

typedef enum {
    SEEKING,  /* hello */
    ENTERING, /* set_cb_endpoint */
    READING,  /* get_state */
    ATTACHED,
} Stage;

/* One get_state under way. */
typedef struct {
    bool active;
    int64_t id;
    int64_t first, last;
    json_t *local;
    GHashTable *peers; /* uid -> peer_state */
} Survey;

struct IpopDataplane {
    IpopDataplaneEvents events;
    void *user;
    unsigned port;
    char *key_file;
    int fd;
    GSource *source;
    gpointer fd_tag;
    uint8_t *datagram; /* IPOP_CTL_DATAGRAM_MAX */
    IpopOutbox *outbox;

    Stage stage;
    uint8_t *secret; /* the one seal was made of */
    IpopSealClient *seal;
    int64_t hello_at;           /* when the next one is due */
    int64_t enter_first;        /* of set_cb_endpoint */
    int64_t enter_last;
    Survey survey;
    int64_t next_survey_id;
    int64_t heard, echoed;      /* the last authentic datagram; the last echo_request */
    unsigned unanswered;
    int64_t ran; /* last; 0: not yet */
    int64_t seeking_since;      /* 0: not yet looked */
    bool told;
    char *key_error;
    char epoch[2 * IPOP_SEAL_EPOCH_BYTES + 1]; /* of the last one attached to, "" for none */
    bool fresh;
};

typedef struct {
    GSource source;
    IpopDataplane *dataplane;
} Source;

static void run(IpopDataplane *dataplane, int64_t now);

/* --- sending --- */

static void send_bytes(IpopDataplane *dataplane, const void *bytes, size_t n) {
    /* A full buffer is a loss like any other: all is repeated until answered. ECONNREFUSED also comes by the next read. */
    ssize_t sent = send(dataplane->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent;
}

static void send_plain(IpopDataplane *dataplane, const char *json) {
    g_autofree char *datagram = g_strdup_printf("%c%c%s", IPOP_CTL_VERSION, IPOP_CTL_PLAIN, json);
    send_bytes(dataplane, datagram, strlen(datagram));
}

static void send_sealed(void *user, const char *json, size_t n) {
    IpopDataplane *dataplane = user;
    size_t size;
    g_autofree uint8_t *datagram = ipop_seal_client_seal(dataplane->seal, json, n, ipop_clock_now(), &size);
    if (datagram != NULL)
        send_bytes(dataplane, datagram, size);
}

static void send_request(IpopDataplane *dataplane, const char *method, int64_t id) {
    g_autofree char *json = g_strdup_printf("{\"m\":\"%s\",\"id\":%" G_GINT64_FORMAT "}", method, id);
    send_sealed(dataplane, json, strlen(json));
}

/* --- stages --- */

static void survey_end(Survey *survey) {
    survey->active = false;
    g_clear_pointer(&survey->local, json_decref);
    g_hash_table_remove_all(survey->peers);
}

static void survey_start(IpopDataplane *dataplane, int64_t now) {
    Survey *survey = &dataplane->survey;
    survey_end(survey);
    survey->active = true;
    survey->id = ID_STATE + dataplane->next_survey_id++ % (IPOP_OUTBOX_FIRST_ID - ID_STATE);
    survey->first = survey->last = now;
    send_request(dataplane, "get_state", survey->id);
}

static void seek(IpopDataplane *dataplane) {
    bool was_attached = dataplane->stage == ATTACHED;
    dataplane->stage = SEEKING;
    dataplane->hello_at = 0;
    dataplane->seeking_since = 0;
    dataplane->told = false;
    survey_end(&dataplane->survey);
    /* First, so that the receiver does not take what fails now for failures of links. */
    if (was_attached)
        dataplane->events.down(dataplane->user);
    ipop_outbox_close(dataplane->outbox);
}

/* The secret is another at each start of tincan, so it is read before each hello. */
static bool read_secret(IpopDataplane *dataplane) {
    g_autoptr(GError) error = NULL;
    uint8_t *secret = ipop_secret_load(dataplane->key_file, IPOP_SEAL_SECRET_BYTES, &error);
    g_clear_pointer(&dataplane->key_error, g_free);
    if (secret == NULL) {
        if (!g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            dataplane->key_error = g_strdup(error->message);
        return false;
    }
    if (dataplane->secret != NULL && sodium_memcmp(secret, dataplane->secret, IPOP_SEAL_SECRET_BYTES) == 0) {
        ipop_secret_free(secret);
        return true;
    }
    ipop_secret_free(dataplane->secret);
    ipop_seal_client_free(dataplane->seal);
    dataplane->secret = secret;
    dataplane->seal = ipop_seal_client_new(secret);
    return true;
}

static void say_hello(IpopDataplane *dataplane) {
    g_autofree char *hello = ipop_seal_client_hello(dataplane->seal);
    send_plain(dataplane, hello);
}

static void tell_silence(IpopDataplane *dataplane) {
    g_autofree char *text = NULL;
    if (dataplane->key_error != NULL)
        text = g_strdup_printf("can't use the secret of ipop-tincan: %s; run as root or as a member of the group that may "
                               "read %s (ipop), or check --runtime-dir", dataplane->key_error, dataplane->key_file);
    else
        text = g_strdup_printf("no ipop-tincan answers on port %u with the secret in %s; start it as root: "
                               "ipop-tincan ipop %u (or set svpn_port and --runtime-dir to those it was started with)",
                               dataplane->port, dataplane->key_file, dataplane->port);
    dataplane->told = true;
    dataplane->events.trouble(dataplane->user, text);
}

static int64_t run_seeking(IpopDataplane *dataplane, int64_t now) {
    if (dataplane->seeking_since == 0)
        dataplane->seeking_since = now;
    if (now >= dataplane->hello_at) {
        if (read_secret(dataplane))
            say_hello(dataplane);
        dataplane->hello_at = now + IPOP_OUTBOX_REPEAT;
    }
    if (!dataplane->told && now - dataplane->seeking_since >= TELL_AFTER)
        tell_silence(dataplane);
    return dataplane->hello_at;
}

static int64_t run_entering(IpopDataplane *dataplane, int64_t now) {
    if (now - dataplane->enter_first >= IPOP_OUTBOX_LIMIT)
        return -1;
    if (now - dataplane->enter_last >= IPOP_OUTBOX_REPEAT) {
        dataplane->enter_last = now;
        send_request(dataplane, "set_cb_endpoint", ID_RECEIVER);
    }
    return dataplane->enter_last + IPOP_OUTBOX_REPEAT;
}

/* --- get_state --- */

static void survey_report(IpopDataplane *dataplane) {
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, dataplane->survey.peers);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        IpopUid uid;
        if (ipop_uid_parse(json_string_value(json_object_get(value, "uid")), &uid))
            dataplane->events.link(dataplane->user, &uid, value);
    }
}

static bool read_node(const json_t *local, IpopDataplaneNode *ret) {
    const char *uid, *key, *suites;
    if (!ipop_json_string(local, "_uid", 40, &uid) || !ipop_uid_parse(uid, &ret->uid) ||
        !ipop_json_string(local, "_key", IPOP_KEY_TEXT_SIZE, &key) || !ipop_key_from_text(key, ret->key))
        return false;
    ret->suites = ipop_json_string(local, "_suites", 255, &suites) ? ipop_suites_parse(suites) : 0;
    if (ret->suites == 0)
        ret->suites = IPOP_SUITE_CHACHAPOLY;
    return true;
}

/* All there is to know of that tincan is here (or as much as came through in five seconds). */
static void survey_done(IpopDataplane *dataplane) {
    IpopDataplaneNode node;
    if (!read_node(dataplane->survey.local, &node)) {
        dataplane->events.trouble(dataplane->user, "ipop-tincan answers without _uid and _key: its version does not fit this "
                                                   "controller; install both from the same package");
        seek(dataplane);
        return;
    }
    bool attached = dataplane->stage == ATTACHED;
    dataplane->stage = ATTACHED;
    dataplane->survey.active = false;
    if (attached)
        ipop_outbox_compare(dataplane->outbox, dataplane->survey.peers);
    else
        ipop_outbox_open(dataplane->outbox);
    survey_report(dataplane);
    survey_end(&dataplane->survey);
    if (attached)
        return;
    node.fresh = dataplane->fresh;
    dataplane->events.up(dataplane->user, &node);
}

static bool survey_complete(const Survey *survey) {
    int64_t n;
    return survey->local != NULL && (!ipop_json_int(survey->local, "_peers", 0, INT32_MAX, &n) ||
                                     g_hash_table_size(survey->peers) >= (guint)MIN(n, PEERS_MAX));
}

static int64_t run_survey(IpopDataplane *dataplane, int64_t now) {
    Survey *survey = &dataplane->survey;
    if (!survey->active)
        return INT64_MAX;
    if (now - survey->first >= IPOP_OUTBOX_LIMIT) {
        if (survey->local == NULL)
            return -1;
        survey_done(dataplane);
        return now;
    }
    if (now - survey->last >= IPOP_OUTBOX_REPEAT) {
        survey->last = now;
        send_request(dataplane, "get_state", survey->id);
    }
    return survey->last + IPOP_OUTBOX_REPEAT;
}

static void survey_take(IpopDataplane *dataplane, const char *type, json_t *message) {
    Survey *survey = &dataplane->survey;
    const char *uid;
    if (strcmp(type, "local_state") == 0) {
        g_clear_pointer(&survey->local, json_decref);
        survey->local = json_incref(message);
    } else if (strcmp(type, "peer_state") == 0 && ipop_json_string(message, "uid", 40, &uid) &&
               g_hash_table_size(survey->peers) < PEERS_MAX) {
        g_hash_table_replace(survey->peers, (gpointer)uid, json_incref(message));
    }
    if (survey_complete(survey))
        survey_done(dataplane);
}

/* --- attached --- */

static int64_t run_keepalive(IpopDataplane *dataplane, int64_t now) {
    int64_t last = MAX(dataplane->heard, dataplane->echoed);
    if (now - last >= KEEPALIVE) {
        if (dataplane->unanswered >= KEEPALIVE_UNANSWERED)
            return -1;
        dataplane->unanswered++;
        dataplane->echoed = last = now;
        send_request(dataplane, "echo_request", ID_ECHO);
    }
    return last + KEEPALIVE;
}

static int64_t run_stage(IpopDataplane *dataplane, int64_t now) {
    switch (dataplane->stage) {
    case SEEKING:
        return run_seeking(dataplane, now);
    case ENTERING:
        return run_entering(dataplane, now);
    case READING:
        return run_survey(dataplane, now);
    case ATTACHED:
        break;
    }
    int64_t next = run_keepalive(dataplane, now);
    next = MIN(next, run_survey(dataplane, now));
    return MIN(next, ipop_outbox_run(dataplane->outbox, now));
}

static void run(IpopDataplane *dataplane, int64_t now) {
    int64_t next = run_stage(dataplane, now);
    if (next < 0) {
        seek(dataplane);
        next = now;
    }
    /* The source counts on CLOCK_MONOTONIC. */
    g_source_set_ready_time(dataplane->source, next == INT64_MAX ? -1 : g_get_monotonic_time() + MAX(next - now, 0));
}

/* Something new may wait to be sent. */
static void wake(IpopDataplane *dataplane) {
    if (dataplane->stage == ATTACHED)
        g_source_set_ready_time(dataplane->source, 0);
}

/* --- receiving --- */

static void take_hello(IpopDataplane *dataplane, const char *text, size_t n, const json_t *message, int64_t now) {
    bool new_epoch;
    const char *epoch;
    if (dataplane->seal == NULL || !ipop_seal_client_welcome(dataplane->seal, text, n, now, &new_epoch) ||
        !ipop_json_string(message, "epoch", sizeof dataplane->epoch - 1, &epoch))
        return;
    bool same = strcmp(epoch, dataplane->epoch) == 0;
    if (dataplane->stage != SEEKING) {
        if (same)
            return;
        seek(dataplane);
    }
    dataplane->fresh = !same && dataplane->epoch[0] != '\0';
    g_strlcpy(dataplane->epoch, epoch, sizeof dataplane->epoch);
    dataplane->stage = ENTERING;
    dataplane->enter_first = now;
    dataplane->enter_last = 0;
}

/* "stale" and "not authenticated": only hints, since anybody on that port could say so. */
static void take_hint(IpopDataplane *dataplane, int64_t now) {
    if (dataplane->stage == SEEKING || now < dataplane->hello_at)
        return;
    dataplane->hello_at = now + IPOP_OUTBOX_REPEAT;
    if (read_secret(dataplane))
        say_hello(dataplane);
}

static void take_plain(IpopDataplane *dataplane, const char *text, size_t n, int64_t now) {
    json_t *message = ipop_json_parse(text, n);
    const char *type, *error;
    if (ipop_json_string(message, "type", 63, &type) && strcmp(type, "hello") == 0)
        take_hello(dataplane, text, n, message, now);
    else if (ipop_json_string(message, "error", 255, &error) &&
             (strcmp(error, "stale") == 0 || g_str_has_prefix(error, "not authenticated")))
        take_hint(dataplane, now);
    json_decref(message);
}

static void take_notification(IpopDataplane *dataplane, const char *type, const json_t *message) {
    const char *text;
    IpopUid uid;
    if (dataplane->stage != ATTACHED)
        return;
    if (strcmp(type, "network_changed") == 0)
        dataplane->events.network_changed(dataplane->user);
    if (strcmp(type, "woken") == 0)
        dataplane->events.woken(dataplane->user);
    if (!ipop_json_string(message, "uid", 40, &text) || !ipop_uid_parse(text, &uid))
        return;
    if (strcmp(type, "local_candidates") == 0)
        dataplane->events.local_candidates(dataplane->user, &uid, message);
    else if (strcmp(type, "link_state") == 0)
        dataplane->events.link(dataplane->user, &uid, message);
}

static void take_answer(IpopDataplane *dataplane, int64_t id, const char *type, const char *error, json_t *message,
                        int64_t now) {
    if (id >= IPOP_OUTBOX_FIRST_ID) {
        ipop_outbox_answer(dataplane->outbox, id, error);
    } else if (id == ID_RECEIVER && dataplane->stage == ENTERING && error == NULL) {
        dataplane->stage = READING;
        survey_start(dataplane, now);
    } else if (dataplane->survey.active && id == dataplane->survey.id && type != NULL) {
        survey_take(dataplane, type, message);
    }
}

static void take_sealed(IpopDataplane *dataplane, const uint8_t *datagram, size_t n, int64_t now) {
    char *text = NULL;
    size_t size;
    if (dataplane->stage == SEEKING || ipop_seal_client_open(dataplane->seal, datagram, n, &text, &size) != IPOP_SEAL_OK)
        return;
    json_t *message = ipop_json_parse(text, size);
    sodium_memzero(text, size);
    g_free(text);
    dataplane->heard = now;
    dataplane->unanswered = 0;

    const char *type = NULL, *error = NULL;
    int64_t id;
    ipop_json_string(message, "type", 63, &type);
    ipop_json_string(message, "error", 4096, &error);
    if (ipop_json_int(message, "id", 0, INT64_MAX, &id))
        take_answer(dataplane, id, type, error, message, now);
    else if (type != NULL)
        take_notification(dataplane, type, message);
    json_decref(message);
}

static void receive(IpopDataplane *dataplane, int64_t now) {
    for (unsigned i = 0; i < DATAGRAMS_PER_TURN; i++) {
        ssize_t n = recv(dataplane->fd, dataplane->datagram, IPOP_CTL_DATAGRAM_MAX, MSG_DONTWAIT);
        if (n < 0) {
            if (errno == ECONNREFUSED && dataplane->stage != SEEKING)
                seek(dataplane);
            if (errno == ECONNREFUSED || errno == EINTR)
                continue;
            return;
        }
        if (n < 3 || dataplane->datagram[0] != IPOP_CTL_VERSION)
            continue;
        if (dataplane->datagram[1] == IPOP_CTL_PLAIN)
            take_plain(dataplane, (const char *)dataplane->datagram + 2, (size_t)n - 2, now);
        else if (dataplane->datagram[1] == IPOP_CTL_SEALED)
            take_sealed(dataplane, dataplane->datagram, (size_t)n, now);
    }
}

/* --- the object --- */

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data) {
    IpopDataplane *dataplane = ((Source *)source)->dataplane;
    int64_t now = ipop_clock_now(), slept = dataplane->ran != 0 ? now - dataplane->ran : 0;
    dataplane->ran = now;
    if (slept > SLEPT)
        dataplane->events.slept(dataplane->user, (double)slept / (double)IPOP_SECOND);
    if (g_source_query_unix_fd(source, dataplane->fd_tag) != 0)
        receive(dataplane, now);
    run(dataplane, now);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = {.dispatch = dispatch};

/* Connected, so that the kernel takes datagrams of that one address only and tells when nobody has the port. */
static int open_socket(unsigned port, unsigned own_port, GError **error) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)own_port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in peer = own;
    peer.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof own) == 0 &&
        connect(fd, (struct sockaddr *)&peer, sizeof peer) == 0) {
        int size = 4 * 1024 * 1024; /* a get_state answers with a datagram for each peer; the kernel gives what it may */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        return fd;
    }
    if (errno == EADDRINUSE)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "UDP port %u on 127.0.0.1 is taken, perhaps by another "
                    "ipop-controller; stop it or set contr_port to a free port", own_port);
    else
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't use UDP port %u on 127.0.0.1 (contr_port): %s", own_port,
                    g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static void wanted_refused(void *user, const char *what, const char *refusal) {
    IpopDataplane *dataplane = user;
    g_autofree char *text = g_strdup_printf("ipop-tincan does not take %s: %s", what, refusal);
    dataplane->events.trouble(dataplane->user, text);
}

IpopDataplane *ipop_dataplane_new(unsigned port, unsigned own_port, const char *runtime_dir,
                                  const IpopDataplaneEvents *events, void *user, GError **error) {
    int fd = open_socket(port, own_port, error);
    if (fd < 0)
        return NULL;
    IpopDataplane *dataplane = g_new0(IpopDataplane, 1);
    dataplane->events = *events;
    dataplane->user = user;
    dataplane->port = port;
    dataplane->key_file = g_build_filename(runtime_dir, "control.key", NULL);
    dataplane->fd = fd;
    dataplane->datagram = g_malloc(IPOP_CTL_DATAGRAM_MAX);
    dataplane->survey.peers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)json_decref);
    dataplane->outbox =
        ipop_outbox_new(&(IpopOutboxEvents){.send = send_sealed, .refused = wanted_refused}, dataplane);
    dataplane->source = g_source_new(&source_funcs, sizeof(Source));
    ((Source *)dataplane->source)->dataplane = dataplane;
    dataplane->fd_tag = g_source_add_unix_fd(dataplane->source, fd, G_IO_IN | G_IO_ERR);
    g_source_set_ready_time(dataplane->source, 0);
    g_source_attach(dataplane->source, g_main_context_get_thread_default());
    return dataplane;
}

void ipop_dataplane_free(IpopDataplane *dataplane) {
    if (dataplane == NULL)
        return;
    g_source_destroy(dataplane->source);
    g_source_unref(dataplane->source);
    ipop_outbox_free(dataplane->outbox);
    survey_end(&dataplane->survey);
    g_hash_table_destroy(dataplane->survey.peers);
    ipop_seal_client_free(dataplane->seal);
    ipop_secret_free(dataplane->secret);
    close(dataplane->fd);
    g_free(dataplane->datagram);
    g_free(dataplane->key_error);
    g_free(dataplane->key_file);
    g_free(dataplane);
}

void ipop_dataplane_want(IpopDataplane *dataplane, const char *what, json_t *message) {
    ipop_outbox_want(dataplane->outbox, what, message);
    wake(dataplane);
}

void ipop_dataplane_do(IpopDataplane *dataplane, const char *what, json_t *message,
                       void (*done)(void *user, const char *error), void *user) {
    ipop_outbox_do(dataplane->outbox, what, message, done, user);
    wake(dataplane);
}

void ipop_dataplane_refresh(IpopDataplane *dataplane) {
    if (dataplane->stage == ATTACHED && !dataplane->survey.active) {
        survey_start(dataplane, ipop_clock_now());
        wake(dataplane);
    }
}
