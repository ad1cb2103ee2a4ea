#include "controller/xmpp/iq.h"

#include <sodium.h>
#include <string.h>

typedef struct {
    char *id, *to;
    int64_t deadline;
    IpopIqCallback callback;
    void *user;
} Request;

struct IpopIqTable {
    GHashTable *waiting; /* id -> Request */
    /* Taken out of `waiting` and not yet called back. Apart from it, since callbacks add and cancel requests. */
    GQueue ending;
    char *jid;
    const char *domain; /* inside jid */
};

static void request_free(void *data) {
    Request *request = data;
    g_free(request->id);
    g_free(request->to);
    g_free(request);
}

IpopIqTable *ipop_iq_table_new(const char *jid) {
    IpopIqTable *table = g_new0(IpopIqTable, 1);
    table->waiting = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, request_free);
    table->jid = g_strdup(jid);
    const char *at = strchr(table->jid, '@');
    table->domain = at ? at + 1 : table->jid;
    return table;
}

void ipop_iq_table_free(IpopIqTable *table) {
    if (!table)
        return;
    g_hash_table_unref(table->waiting);
    g_queue_clear_full(&table->ending, request_free);
    g_free(table->jid);
    g_free(table);
}

/* Whoever is asked learns one, which must tell nothing of the others. */
static char *random_id(void) {
    uint8_t bytes[IPOP_IQ_ID_BYTES];
    char hex[2 * sizeof bytes + 1];
    randombytes_buf(bytes, sizeof bytes);
    return g_strdup(sodium_bin2hex(hex, sizeof hex, bytes, sizeof bytes));
}

const char *ipop_iq_table_add(IpopIqTable *table, const char *to, int64_t deadline, IpopIqCallback callback, void *user) {
    if (ipop_iq_table_size(table) >= IPOP_IQ_PENDING_MAX)
        return NULL;
    Request *request = g_new(Request, 1);
    *request = (Request){
        .id = random_id(),
        .to = g_strdup(to),
        .deadline = deadline,
        .callback = callback,
        .user = user,
    };
    g_hash_table_insert(table->waiting, request->id, request);
    return request->id;
}

void ipop_iq_table_remove(IpopIqTable *table, const char *id) {
    g_hash_table_remove(table->waiting, id);
}

/* The node and the domain are case-insensitive, the resource is not (RFC 7622 section 3). ASCII is enough: servers hand
 * out JIDs normalised, and ours come from them, but for the account's own, which a person typed. */
static bool jid_equal(const char *a, const char *b) {
    size_t bare = strcspn(a, "/");
    return bare == strcspn(b, "/") && g_ascii_strncasecmp(a, b, bare) == 0 && strcmp(a + bare, b + bare) == 0;
}

/* The server speaks for itself and for the account, and then may leave `from` out (RFC 6120 section 8.1.2.1); some put the
 * full JID of the session there. */
static bool from_own_server(const IpopIqTable *table, const char *from) {
    size_t bare = strlen(table->jid);
    return !from || jid_equal(from, table->domain) || jid_equal(from, table->jid) ||
           (g_ascii_strncasecmp(from, table->jid, bare) == 0 && from[bare] == '/');
}

static bool answers(const IpopIqTable *table, const Request *request, const char *from) {
    if (jid_equal(request->to, table->domain) || jid_equal(request->to, table->jid))
        return from_own_server(table, from);
    return from && jid_equal(from, request->to);
}

static void finish(Request *request, IpopIqOutcome outcome, const char *xml, size_t n) {
    if (request->callback)
        request->callback(request->user, outcome, xml, n);
    request_free(request);
}

bool ipop_iq_table_answer(IpopIqTable *table, const char *id, const char *from, IpopIqOutcome outcome, const char *xml,
                          size_t n) {
    Request *request = id ? g_hash_table_lookup(table->waiting, id) : NULL;
    if (!request || !answers(table, request, from))
        return false;
    g_hash_table_steal(table->waiting, id);
    finish(request, outcome, xml, n);
    return true;
}

void ipop_iq_table_set_deadline(IpopIqTable *table, const char *id, int64_t deadline) {
    Request *request = g_hash_table_lookup(table->waiting, id);
    if (request)
        request->deadline = deadline;
}

static unsigned end_until(IpopIqTable *table, int64_t deadline, IpopIqOutcome outcome) {
    GHashTableIter iter;
    Request *request;
    unsigned ended = 0;
    g_hash_table_iter_init(&iter, table->waiting);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&request)) {
        if (request->deadline > deadline)
            continue;
        g_hash_table_iter_steal(&iter);
        g_queue_push_tail(&table->ending, request);
    }
    while ((request = g_queue_pop_head(&table->ending))) {
        finish(request, outcome, NULL, 0);
        ended++;
    }
    return ended;
}

unsigned ipop_iq_table_expire(IpopIqTable *table, int64_t now) {
    return end_until(table, now, IPOP_IQ_TIMEOUT);
}

void ipop_iq_table_lose(IpopIqTable *table) {
    end_until(table, INT64_MAX, IPOP_IQ_LOST);
}

int64_t ipop_iq_table_next(const IpopIqTable *table) {
    GHashTableIter iter;
    Request *request;
    int64_t next = INT64_MAX;
    g_hash_table_iter_init(&iter, table->waiting);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&request))
        next = MIN(next, request->deadline);
    return next;
}

void ipop_iq_table_cancel(IpopIqTable *table, const void *user) {
    GHashTableIter iter;
    Request *request;
    g_hash_table_iter_init(&iter, table->waiting);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&request))
        if (request->user == user)
            g_hash_table_iter_remove(&iter);
    for (GList *item = table->ending.head, *next; item; item = next) {
        next = item->next;
        request = item->data;
        if (request->user == user) {
            request_free(request);
            g_queue_delete_link(&table->ending, item);
        }
    }
}

unsigned ipop_iq_table_size(const IpopIqTable *table) {
    return g_hash_table_size(table->waiting) + table->ending.length;
}
