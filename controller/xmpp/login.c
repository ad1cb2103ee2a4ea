#include "controller/xmpp/login.h"

#include "controller/xmpp/pool.h"
#include "controller/xmpp/resolve.h"
#include "controller/xmpp/sasl.h"
#include "controller/xmpp/source.h"
#include "controller/xmpp/trouble.h"
#include "controller/xmpp/xmpp.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a server may make us hold for one stanza, as a tree and before it has become one (4 to 16 KiB per readable run). Servers
 * pass on up to 256 KiB of text. libstrophe appends to a list by walking it, so 20,000 elements take it 1.5 s and 60,000 half
 * a minute, and it frees a tree by recursion, which ends its stack at a depth of 100,000. */
#define TREE_MAX (2 * 1024 * 1024)
#define INPUTS_MAX 512

struct IpopLogin {
    const IpopAccount *account;
    IpopHangup *hangup;
    const IpopLoginOwner *owner;
    void *user;

    IpopTrouble trouble;
    char *where;
    bool direct_tls; /* by XEP-0368 */
    unsigned scrams; /* mechanisms not tried yet */
    unsigned inputs; /* since the last whole stanza */
    unsigned dropped;
    bool closed; /* libstrophe is done */
    xmpp_log_t log;
    IpopPool *pool;
    xmpp_ctx_t *ctx;
    xmpp_conn_t *conn;
    GSource *source;
};

/* libstrophe gives its socket and certificate callbacks no user data; a thread has one login at a time. */
static _Thread_local IpopLogin *login_of_thread;

/* The last thing a login does. Not from inside libstrophe. */
static void end(IpopLogin *self) {
    if (self->source) {
        g_source_destroy(self->source);
        g_clear_pointer(&self->source, g_source_unref);
    }
    self->trouble.timed_out = ipop_hangup_is_pulled(self->hangup, &self->trouble.stranded);
    self->closed = true;
    if (self->conn)
        xmpp_conn_release(self->conn);
    if (self->ctx)
        xmpp_ctx_free(self->ctx);
    self->conn = NULL; /* the owner, told below, may still ask */
    self->ctx = NULL;
    g_clear_pointer(&self->pool, ipop_pool_free);
    malloc_trim(0); /* OpenSSL's and expat's buffers, which else stay for good */
    ipop_hangup_set_fd(self->hangup, -1);
    login_of_thread = NULL;

    const IpopAccount *account = self->account;
    IpopEvent event = {
        .kind = IPOP_EVENT_CLOSED,
        .text = ipop_trouble_text(&self->trouble, account->jid, account->resource, self->where, account->cafile),
        .stubborn = ipop_trouble_is_stubborn(&self->trouble),
    };
    bool tls_failed = self->direct_tls && self->trouble.stage == IPOP_STAGE_TLS && !*self->trouble.certificate;
    self->owner->ended(self->user, &event, tls_failed);
}

void ipop_login_free(IpopLogin *self) {
    g_free(self->where);
    g_free(self);
}

/* libstrophe closes its socket once more when a stream that it has given up ends in the same breath (<html></html>), and by
 * then the number may be another thread's. So it gets one that nobody else is given. select() bounds it from above. */
static int move_out_of_the_way(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FD_SETSIZE - 64);
    if (moved < 0) { /* a low RLIMIT_NOFILE */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        return fd;
    }
    close(fd);
    return moved;
}

/* Called from inside xmpp_connect_client, before it connects. */
static int on_socket(xmpp_conn_t *conn, void *socket) {
    IpopLogin *self = login_of_thread;
    int *fd = socket, on = 1, idle_s = 5, interval_s = 5, probes = 3, unacknowledged_ms = 15000;
    *fd = move_out_of_the_way(*fd);
    if (*fd >= FD_SETSIZE)
        return -1;
    setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(*fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(*fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(*fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(*fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(*fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
    if (!ipop_hangup_set_fd(self->hangup, *fd))
        return -1;
    ipop_strophe_source_set_fd(self->source, *fd);
    return 0;
}

static int on_bad_certificate(const xmpp_tlscert_t *certificate, const char *text) {
    IpopLogin *self = login_of_thread;
    ipop_trouble_copy(self->trouble.certificate, sizeof self->trouble.certificate, text);
    return 0;
}

/* The server's features, before libstrophe acts on them. */
static void on_features(IpopLogin *self, xmpp_stanza_t *features) {
    if (self->trouble.stage >= IPOP_STAGE_BIND || !xmpp_conn_is_secured(self->conn))
        return;
    self->trouble.stage = IPOP_STAGE_AUTH;
    self->scrams = ipop_sasl_count_scram(features);
    self->trouble.no_scram = self->scrams == 0;
    xmpp_conn_set_pass(self->conn, self->scrams ? self->account->password : NULL);
}

/* libstrophe turns to the next mechanism now; after the last SCRAM there must be none. */
static void on_failure(IpopLogin *self, xmpp_stanza_t *failure) {
    self->trouble.auth_failed = true;
    if (self->scrams <= 1)
        xmpp_conn_set_pass(self->conn, NULL);
    else
        self->scrams--;
    xmpp_stanza_t *text = xmpp_stanza_get_child_by_name(failure, "text");
    /* Of a wrong password servers say what we say ourselves. */
    if (!text || xmpp_stanza_get_child_by_name(failure, "not-authorized"))
        return;
    char *said = xmpp_stanza_get_text(text);
    ipop_trouble_copy(self->trouble.server_text, sizeof self->trouble.server_text, said);
    xmpp_free(self->ctx, said);
}

static void on_success(IpopLogin *self, xmpp_stanza_t *success) {
    self->trouble.stage = IPOP_STAGE_BIND;
    self->trouble.auth_failed = false;
    xmpp_conn_set_pass(self->conn, NULL);
}

static void on_proceed(IpopLogin *self, xmpp_stanza_t *proceed) {
    self->trouble.stage = IPOP_STAGE_TLS;
}

/* Stanzas of the login, which user handlers do not get to see. */
static void on_login_stanza(IpopLogin *self, const char *xml) {
    static const struct {
        const char *name, *ns;
        void (*handle)(IpopLogin *self, xmpp_stanza_t *stanza);
    } handlers[] = {
        {"features", XMPP_NS_STREAMS, on_features},
        {"proceed", XMPP_NS_TLS, on_proceed},
        {"failure", XMPP_NS_SASL, on_failure},
        {"success", XMPP_NS_SASL, on_success},
    };
    xmpp_stanza_t *stanza = xmpp_stanza_new_from_string(self->ctx, xml);
    const char *name = stanza ? xmpp_stanza_get_name(stanza) : NULL, *ns = stanza ? xmpp_stanza_get_ns(stanza) : NULL;
    for (unsigned i = 0; name && ns && i < G_N_ELEMENTS(handlers); i++)
        if (strcmp(name, handlers[i].name) == 0 && strcmp(ns, handlers[i].ns) == 0)
            handlers[i].handle(self, stanza);
    if (stanza)
        xmpp_stanza_release(stanza);
}

/* libstrophe's log is the only place where the login can be watched and steered. It holds credentials: nothing of it goes
 * anywhere else. */
static void on_log(void *user, xmpp_log_level_t level, const char *area, const char *line) {
    IpopLogin *self = user;
    if (g_str_has_prefix(line, "RECV: ")) {
        self->inputs = 0;
        bool stanza = !g_str_has_prefix(line, "RECV: <stream:stream") && !g_str_has_prefix(line, "RECV: </");
        if (stanza && self->trouble.stage < IPOP_STAGE_ONLINE)
            on_login_stanza(self, line + strlen("RECV: "));
    } else if (strcmp(line, "connection successful") == 0) {
        self->trouble.stage = IPOP_STAGE_STREAM;
    } else if (g_str_has_prefix(line, "using legacy SSL")) {
        self->trouble.stage = IPOP_STAGE_TLS;
    } else if (g_str_has_prefix(line, "SSL_CTX_load_verify_locations() failed")) {
        self->trouble.bad_cafile = self->account->cafile; /* it says so too when there is none */
    } else if (g_str_has_prefix(line, "TLS is not supported")) {
        self->trouble.no_tls = true;
    } else if (g_str_has_prefix(line, "parse error") || g_str_has_prefix(line, "Server did not open valid stream")) {
        self->trouble.no_xmpp = true; /* libstrophe would go on listening */
    }
}

static void emit(IpopLogin *self, IpopEventKind kind, xmpp_stanza_t *stanza, const char *text, size_t n) {
    IpopEvent event = {.kind = kind, .text = g_strndup(text, n), .n = n};
    if (kind == IPOP_EVENT_RESULT || kind == IPOP_EVENT_ERROR) {
        event.id = g_strdup(xmpp_stanza_get_id(stanza));
        event.from = g_strdup(xmpp_stanza_get_from(stanza));
    }
    self->owner->event(self->user, &event);
}

static int on_stanza(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *user) {
    static const struct {
        const char *name, *type;
        IpopEventKind kind;
    } kinds[] = {
        {"presence", NULL, IPOP_EVENT_PRESENCE}, {"iq", "get", IPOP_EVENT_REQUEST},   {"iq", "set", IPOP_EVENT_REQUEST},
        {"iq", "result", IPOP_EVENT_RESULT},     {"iq", "error", IPOP_EVENT_ERROR},
    };
    IpopLogin *self = user;
    const char *name = xmpp_stanza_get_name(stanza), *type = xmpp_stanza_get_type(stanza);
    const char *id = xmpp_stanza_get_id(stanza);
    if (id && g_str_has_prefix(id, "_xmpp_")) /* the answer to libstrophe's own last step of the login */
        return 1;
    unsigned i = 0;
    while (i < G_N_ELEMENTS(kinds) && (strcmp(name, kinds[i].name) != 0 || (kinds[i].type && g_strcmp0(type, kinds[i].type) != 0)))
        i++;
    char *text = NULL;
    size_t n = 0;
    if (i == G_N_ELEMENTS(kinds) || xmpp_stanza_to_text(stanza, &text, &n) != XMPP_EOK)
        return 1;
    if (n <= IPOP_STANZA_MAX)
        emit(self, kinds[i].kind, stanza, text, n);
    else
        self->dropped++;
    xmpp_free(self->ctx, text);
    return 1;
}

static void on_connection(xmpp_conn_t *conn, xmpp_conn_event_t event, int error, xmpp_stream_error_t *stream_error,
                          void *user) {
    IpopLogin *self = user;
    if (event == XMPP_CONN_CONNECT) {
        const char *jid = xmpp_conn_get_bound_jid(conn);
        self->trouble.stage = IPOP_STAGE_ONLINE;
        emit(self, IPOP_EVENT_ONLINE, NULL, jid ? jid : "", jid ? strlen(jid) : 0);
        return;
    }
    if (self->closed)
        return;
    self->closed = true;
    self->trouble.error = error;
    if (stream_error) {
        self->trouble.stream_error = (int)stream_error->type;
        ipop_trouble_copy(self->trouble.server_text, sizeof self->trouble.server_text, stream_error->text);
    }
    /* The socket is closed by now: our duplicate must go too, for the server to see it, and nobody may poll the number. */
    ipop_hangup_set_fd(self->hangup, -1);
    ipop_strophe_source_set_fd(self->source, -1);
}

static gboolean on_ran(bool input, void *user) {
    IpopLogin *self = user;
    self->owner->ran(self->user);
    self->inputs += input;
    self->trouble.too_big = self->inputs > INPUTS_MAX || ipop_pool_used(self->pool) > TREE_MAX;
    if (self->trouble.too_big || self->trouble.no_xmpp)
        ipop_hangup_pull(self->hangup); /* so that TLS does not wait for the server to say goodbye */
    else if (!self->closed)
        return G_SOURCE_CONTINUE;
    end(self);
    return G_SOURCE_REMOVE;
}

static bool dial(IpopLogin *self, const IpopEndpoint *endpoint) {
    const IpopAccount *account = self->account;
    self->pool = ipop_pool_new();
    self->log = (xmpp_log_t){.handler = on_log, .userdata = self};
    self->ctx = xmpp_ctx_new(ipop_pool_mem(self->pool), &self->log);
    self->source = ipop_strophe_source_new(self->ctx, on_ran, self);
    self->conn = xmpp_conn_new(self->ctx);

    g_autofree char *jid = g_strdup_printf("%s/%s", account->jid, account->resource);
    xmpp_conn_set_jid(self->conn, jid);
    if (account->cafile)
        xmpp_conn_set_cafile(self->conn, account->cafile);
    xmpp_conn_set_flags(self->conn, XMPP_CONN_FLAG_MANDATORY_TLS | XMPP_CONN_FLAG_DISABLE_SM |
                                        (endpoint->direct_tls ? XMPP_CONN_FLAG_LEGACY_SSL : 0));
    xmpp_conn_set_certfail_handler(self->conn, on_bad_certificate);
    xmpp_conn_set_sockopt_callback(self->conn, on_socket);
    xmpp_handler_add(self->conn, on_stanza, NULL, NULL, NULL, self);
    return xmpp_connect_client(self->conn, endpoint->address, endpoint->port, on_connection, self) == XMPP_EOK;
}

static void on_resolved(void *user, const IpopEndpoint *endpoint, const GError *error) {
    IpopLogin *self = user;
    if (!endpoint) {
        ipop_trouble_copy(self->trouble.connect, sizeof self->trouble.connect, error ? error->message : NULL);
        end(self);
        return;
    }
    g_free(self->where);
    self->where = g_strdup_printf(strchr(endpoint->address, ':') ? "[%s]:%u" : "%s:%u", endpoint->address, endpoint->port);
    self->direct_tls = endpoint->direct_tls && !self->account->host;
    self->trouble.stage = IPOP_STAGE_CONNECT;
    if (!dial(self, endpoint))
        end(self);
}

IpopLogin *ipop_login_new(const IpopAccount *account, IpopHangup *hangup, bool direct_tls, const IpopLoginOwner *owner,
                          void *user) {
    IpopLogin *self = g_new0(IpopLogin, 1);
    self->account = account;
    self->hangup = hangup;
    self->owner = owner;
    self->user = user;
    self->where = g_strdup(account->host ? account->host : account->domain);
    self->trouble.stream_error = -1;
    login_of_thread = self;
    g_autoptr(GCancellable) cancellable = ipop_hangup_get_cancellable(hangup);
    ipop_resolve(account->domain, account->host, account->port, direct_tls, cancellable, on_resolved, self);
    return self;
}

void ipop_login_send(IpopLogin *self, const char *xml, size_t n) {
    if (!self->conn || !xmpp_conn_is_connected(self->conn))
        return;
    xmpp_send_raw(self->conn, xml, n);
    ipop_strophe_source_wake(self->source);
}

bool ipop_login_all_written(const IpopLogin *self) {
    return !self->conn || xmpp_conn_send_queue_len(self->conn) == 0;
}

void ipop_login_hold(IpopLogin *self, bool held) {
    if (self->source)
        ipop_strophe_source_hold(self->source, held);
}

void ipop_login_log_out(IpopLogin *self) {
    if (self->conn && xmpp_conn_is_connected(self->conn)) {
        xmpp_disconnect(self->conn);
        ipop_strophe_source_wake(self->source);
    } else {
        ipop_hangup_pull(self->hangup);
    }
}

unsigned ipop_login_dropped(const IpopLogin *self) {
    return self->dropped;
}
