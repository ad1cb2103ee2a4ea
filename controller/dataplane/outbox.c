#include "controller/dataplane/outbox.h"

#include "tincan/base/secret.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* One JSON object without its last brace, ready to have members added. */
typedef struct {
    char *bytes;
    size_t n;
    bool secret; /* in locked memory: it holds the psk or TURN passwords */
} Text;

typedef struct {
    char *what;
    char key[41]; /* the peer's uid, or the method of what concerns no peer */
    bool peer;
    Text text;
    bool heard;   /* not yet said; never said again to another tincan */
    bool changed; /* since it was last sent */
    bool queued;  /* a request for it waits or is under way */
} Wanted;

typedef struct {
    int64_t id;
    char uid[41]; /* "" when it concerns no peer */
    Wanted *wanted; /* NULL for something for now, and then: */
    Text text;
    void (*done)(void *user, const char *error);
    void *user;
    int64_t first, last; /* sent */
} Request;

struct IpopOutbox {
    IpopOutboxEvents events;
    void *user;
    bool open;
    int64_t next_id;
    GHashTable *wanted; /* key -> Wanted */
    GQueue waiting;
    GPtrArray *flying;
};

static Text text_make(const char *what, json_t *message) {
    json_object_set_new(message, "m", json_string(what));
    bool secret = strcmp(what, "set_local") == 0 || strcmp(what, "set_servers") == 0;
    size_t n = json_dumpb(message, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS);
    char *bytes = secret ? ipop_secret_new(n) : g_malloc(n);
    json_dumpb(message, bytes, n, JSON_COMPACT | JSON_SORT_KEYS);
    return (Text){.bytes = bytes, .n = n - 1, .secret = secret};
}

static void text_clear(Text *text) {
    if (text->secret)
        ipop_secret_free(text->bytes);
    else
        g_free(text->bytes);
    *text = (Text){0};
}

/* jansson frees strings without wiping them. */
static void wipe_strings(json_t *value) {
    const char *key;
    size_t i;
    json_t *member;
    if (json_is_string(value))
        sodium_memzero((char *)json_string_value(value), json_string_length(value));
    json_object_foreach(value, key, member)
        wipe_strings(member);
    json_array_foreach(value, i, member)
        wipe_strings(member);
}

static void message_free(json_t *message, bool secret) {
    if (secret)
        wipe_strings(message);
    json_decref(message);
}

static void wanted_free(gpointer data) {
    Wanted *wanted = data;
    text_clear(&wanted->text);
    g_free(wanted->what);
    g_free(wanted);
}

/* The callback may change the outbox, so the request must be in no list any more. */
static void request_end(Request *request, const char *error) {
    if (request->done != NULL)
        request->done(request->user, error);
    text_clear(&request->text);
    g_free(request);
}

IpopOutbox *ipop_outbox_new(const IpopOutboxEvents *events, void *user) {
    IpopOutbox *outbox = g_new0(IpopOutbox, 1);
    outbox->events = *events;
    outbox->user = user;
    outbox->next_id = IPOP_OUTBOX_FIRST_ID;
    outbox->wanted = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, wanted_free);
    g_queue_init(&outbox->waiting);
    outbox->flying = g_ptr_array_new();
    return outbox;
}

void ipop_outbox_free(IpopOutbox *outbox) {
    if (outbox == NULL)
        return;
    ipop_outbox_close(outbox);
    g_ptr_array_free(outbox->flying, TRUE);
    g_hash_table_destroy(outbox->wanted);
    g_free(outbox);
}

static Request *request_new(IpopOutbox *outbox, const char *uid) {
    Request *request = g_new0(Request, 1);
    request->id = outbox->next_id++;
    g_strlcpy(request->uid, uid, sizeof request->uid);
    return request;
}

static void queue_wanted(IpopOutbox *outbox, Wanted *wanted) {
    if (!outbox->open || wanted->queued)
        return;
    Request *request = request_new(outbox, wanted->peer ? wanted->key : "");
    request->wanted = wanted;
    wanted->queued = true;
    g_queue_push_tail(&outbox->waiting, request);
}

void ipop_outbox_want(IpopOutbox *outbox, const char *what, json_t *message) {
    const char *uid = json_string_value(json_object_get(message, "uid"));
    bool heard = json_is_true(json_object_get(message, "heard"));
    json_object_del(message, "heard");
    Text text = text_make(what, message);

    Wanted *wanted = g_hash_table_lookup(outbox->wanted, uid != NULL ? uid : what);
    if (wanted == NULL) {
        wanted = g_new0(Wanted, 1);
        g_strlcpy(wanted->key, uid != NULL ? uid : what, sizeof wanted->key);
        wanted->peer = uid != NULL;
        g_hash_table_insert(outbox->wanted, wanted->key, wanted);
    }
    message_free(message, text.secret);

    bool same = wanted->text.n == text.n && memcmp(wanted->text.bytes, text.bytes, text.n) == 0;
    wanted->heard |= heard;
    if (same) {
        text_clear(&text);
        if (!heard)
            return;
    } else {
        text_clear(&wanted->text);
        wanted->text = text;
        g_free(wanted->what);
        wanted->what = g_strdup(what);
    }
    wanted->changed = true;
    queue_wanted(outbox, wanted);
}

void ipop_outbox_do(IpopOutbox *outbox, const char *what, json_t *message, void (*done)(void *user, const char *error),
                    void *user) {
    const char *uid = json_string_value(json_object_get(message, "uid"));
    Request *request = request_new(outbox, uid != NULL ? uid : "");
    request->text = text_make(what, message);
    request->done = done;
    request->user = user;
    message_free(message, request->text.secret);
    if (!outbox->open)
        request_end(request, "no ipop-tincan answers");
    else if (outbox->waiting.length >= IPOP_OUTBOX_MAX)
        request_end(request, "too many requests to ipop-tincan are waiting");
    else
        g_queue_push_tail(&outbox->waiting, request);
}

void ipop_outbox_open(IpopOutbox *outbox) {
    GHashTableIter iter;
    gpointer value;
    outbox->open = true;
    /* What concerns no peer first: a link made before set_local would lack the passphrase. */
    for (int peers = 0; peers < 2; peers++) {
        g_hash_table_iter_init(&iter, outbox->wanted);
        while (g_hash_table_iter_next(&iter, NULL, &value))
            if (((Wanted *)value)->peer == (peers == 1))
                queue_wanted(outbox, value);
    }
}

void ipop_outbox_close(IpopOutbox *outbox) {
    g_autoptr(GPtrArray) ended = g_ptr_array_new();
    outbox->open = false;
    g_ptr_array_extend(ended, outbox->flying, NULL, NULL);
    g_ptr_array_set_size(outbox->flying, 0);
    for (Request *request; (request = g_queue_pop_head(&outbox->waiting)) != NULL;)
        g_ptr_array_add(ended, request);
    for (guint i = 0; i < ended->len; i++) {
        Request *request = ended->pdata[i];
        if (request->wanted != NULL)
            request->wanted->queued = false;
        request_end(request, "ipop-tincan is gone");
    }
}

void ipop_outbox_compare(IpopOutbox *outbox, GHashTable *known) {
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, outbox->wanted);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Wanted *wanted = value;
        if (wanted->peer && !g_hash_table_contains(known, wanted->key))
            queue_wanted(outbox, wanted);
    }
}

static void answer_wanted(IpopOutbox *outbox, Wanted *wanted, const char *error) {
    wanted->queued = false;
    if (wanted->changed)
        queue_wanted(outbox, wanted);
    else if (strcmp(wanted->what, "forget_peer") == 0)
        g_hash_table_remove(outbox->wanted, wanted->key);
    else if (error != NULL && outbox->events.refused != NULL)
        outbox->events.refused(outbox->user, wanted->what, error);
}

bool ipop_outbox_answer(IpopOutbox *outbox, int64_t id, const char *error) {
    for (guint i = 0; i < outbox->flying->len; i++) {
        Request *request = outbox->flying->pdata[i];
        if (request->id != id)
            continue;
        g_ptr_array_remove_index_fast(outbox->flying, i);
        if (request->wanted != NULL)
            answer_wanted(outbox, request->wanted, error);
        request_end(request, error);
        return true;
    }
    return false;
}

static void transmit(IpopOutbox *outbox, Request *request, int64_t now) {
    const Text *text = request->wanted != NULL ? &request->wanted->text : &request->text;
    char tail[64];
    const char *heard = "";
    if (request->wanted != NULL && strcmp(request->wanted->what, "set_remote_ip") == 0)
        heard = request->wanted->heard ? ",\"heard\":true" : ",\"heard\":false";
    int n = snprintf(tail, sizeof tail, "%s,\"id\":%" G_GINT64_FORMAT "}", heard, request->id);
    size_t size = text->n + (size_t)n;
    char *whole = text->secret ? ipop_secret_new(size) : g_malloc(size);
    memcpy(whole, text->bytes, text->n);
    memcpy(whole + text->n, tail, (size_t)n);
    if (request->wanted != NULL) {
        request->wanted->changed = false;
        request->wanted->heard = false;
    }
    request->last = now;
    outbox->events.send(outbox->user, whole, size);
    if (text->secret)
        ipop_secret_free(whole);
    else
        g_free(whole);
}

/* Whether a waiting request may go. *ret_stop: nothing behind it may either. */
static bool may_go(const IpopOutbox *outbox, const Request *request, bool *ret_stop) {
    bool peer = request->uid[0] != '\0';
    *ret_stop = !peer && outbox->flying->len > 0;
    if (*ret_stop)
        return false;
    for (guint i = 0; i < outbox->flying->len; i++) {
        const Request *other = outbox->flying->pdata[i];
        *ret_stop = other->uid[0] == '\0';
        if (*ret_stop || strcmp(other->uid, request->uid) == 0)
            return false;
    }
    return true;
}

static void fill_window(IpopOutbox *outbox, int64_t now) {
    for (GList *link = outbox->waiting.head; link != NULL && outbox->flying->len < IPOP_OUTBOX_WINDOW;) {
        GList *next = link->next;
        Request *request = link->data;
        bool stop;
        if (may_go(outbox, request, &stop)) {
            g_queue_delete_link(&outbox->waiting, link);
            g_ptr_array_add(outbox->flying, request);
            request->first = now;
            transmit(outbox, request, now);
        } else if (stop) {
            break;
        }
        link = next;
    }
}

int64_t ipop_outbox_run(IpopOutbox *outbox, int64_t now) {
    int64_t next = INT64_MAX;
    for (guint i = 0; i < outbox->flying->len; i++) {
        Request *request = outbox->flying->pdata[i];
        if (now - request->first >= IPOP_OUTBOX_LIMIT)
            return -1;
        if (now - request->last >= IPOP_OUTBOX_REPEAT)
            transmit(outbox, request, now);
    }
    fill_window(outbox, now);
    for (guint i = 0; i < outbox->flying->len; i++)
        next = MIN(next, ((Request *)outbox->flying->pdata[i])->last + IPOP_OUTBOX_REPEAT);
    return next;
}
