#include "controller/xmpp/resolve.h"

#include "tincan/base/error.h"

#include <string.h>

#define SRV_TIMEOUT_MS 3000 /* some home routers swallow questions for SRV records */
#define CONNECT_TIMEOUT_S 4 /* per target, so that the next one gets its turn within the login's 10 s */
#define TARGETS_MAX 8
#define PORT_DIRECT_TLS 5223

typedef struct {
    char *host;
    unsigned short port, priority;
    bool direct_tls;
} Target;

typedef struct {
    GSocketClient *client;
    GCancellable *cancellable; /* the caller's */
    GCancellable *srv_cancellable;
    GSource *srv_timeout;
    unsigned long srv_cancel;
    unsigned srv_pending;
    char *domain;
    unsigned short port;
    GArray *targets;
    unsigned next;
    GError *error; /* of the last target */
    IpopResolved callback;
    void *user;
} Resolve;

static void target_clear(void *data) {
    g_free(((Target *)data)->host);
}

/* GResolver has put each kind in order of priority and weight; of one priority, direct TLS comes first. */
static bool comes_before(const Target *a, const Target *b) {
    return a->priority < b->priority || (a->priority == b->priority && a->direct_tls && !b->direct_tls);
}

static void add_target(Resolve *self, const char *host, unsigned short port, unsigned short priority, bool direct_tls) {
    Target target = {g_strdup(host), port, priority, direct_tls};
    unsigned i = self->targets->len;
    while (i > 0 && comes_before(&target, &g_array_index(self->targets, Target, i - 1)))
        i--;
    g_array_insert_val(self->targets, i, target);
}

static void finish(Resolve *self, const IpopEndpoint *endpoint) {
    self->callback(self->user, endpoint, self->error);
    g_clear_error(&self->error);
    g_array_unref(self->targets);
    g_clear_object(&self->client);
    g_clear_object(&self->cancellable);
    g_clear_object(&self->srv_cancellable);
    g_free(self->domain);
    g_free(self);
}

/* GIO's error in our words: who, what, what to do. */
static GError *explain(const Target *target, const GError *error) {
    g_autofree char *where = g_strdup_printf(strchr(target->host, ':') ? "[%s]:%u" : "%s:%u", target->host, target->port);
    if (error->domain == G_RESOLVER_ERROR)
        return g_error_new(IPOP_ERROR, IPOP_ERROR_SYSTEM,
                           "can't find the address of %s: check the domain in xmpp_username or xmpp_host, and this machine's "
                           "name service (%s)", target->host, error->message);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED))
        return g_error_new(IPOP_ERROR, IPOP_ERROR_SYSTEM,
                           "%s refuses connections: check that the Jabber server runs, and xmpp_host and xmpp_port", where);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
        return g_error_new(IPOP_ERROR, IPOP_ERROR_SYSTEM,
                           "%s does not answer: check the network, firewalls, and xmpp_host and xmpp_port", where);
    return g_error_new(IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't connect to %s: %s: check this machine's network", where,
                       error->message);
}

static void try_next(Resolve *self);

static char *numeric(GInetSocketAddress *remote) {
    GInetAddress *address = g_inet_socket_address_get_address(remote);
    g_autofree char *text = g_inet_address_to_string(address);
    unsigned scope =
        g_inet_address_get_family(address) == G_SOCKET_FAMILY_IPV6 ? g_inet_socket_address_get_scope_id(remote) : 0;
    return scope ? g_strdup_printf("%s%%%u", text, scope) : g_steal_pointer(&text);
}

static void on_connected(GObject *object, GAsyncResult *result, void *user) {
    Resolve *self = user;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host_finish(self->client, result, &error);
    g_autoptr(GSocketAddress) remote =
        connection ? g_socket_connection_get_remote_address(connection, &error) : NULL;
    const Target *target = &g_array_index(self->targets, Target, self->next);
    if (!G_IS_INET_SOCKET_ADDRESS(remote)) {
        g_clear_error(&self->error);
        self->error = explain(target, error);
        self->next++;
        try_next(self);
        return;
    }
    g_autofree char *address = numeric(G_INET_SOCKET_ADDRESS(remote));
    IpopEndpoint endpoint = {address, target->port, target->direct_tls};
    g_io_stream_close(G_IO_STREAM(connection), NULL, NULL);
    g_clear_error(&self->error);
    finish(self, &endpoint);
}

static void try_next(Resolve *self) {
    if (self->next == self->targets->len || (self->next > 0 && g_cancellable_is_cancelled(self->cancellable))) {
        finish(self, NULL);
        return;
    }
    const Target *target = &g_array_index(self->targets, Target, self->next);
    g_socket_client_connect_to_host_async(self->client, target->host, target->port, self->cancellable, on_connected, self);
}

static void add_records(Resolve *self, GList *records, bool direct_tls) {
    for (GList *item = records; item && self->targets->len < 2 * TARGETS_MAX; item = item->next) {
        GSrvTarget *record = item->data;
        const char *host = g_srv_target_get_hostname(record);
        if (*host && strcmp(host, ".") != 0) /* "." means: no such service here (RFC 2782) */
            add_target(self, host, g_srv_target_get_port(record), g_srv_target_get_priority(record), direct_tls);
    }
}

static void on_records(Resolve *self, GResolver *resolver, GAsyncResult *result, bool direct_tls) {
    GList *records = g_resolver_lookup_service_finish(resolver, result, NULL);
    add_records(self, records, direct_tls);
    g_resolver_free_targets(records);
    if (--self->srv_pending)
        return;
    g_cancellable_disconnect(self->cancellable, self->srv_cancel);
    g_source_destroy(self->srv_timeout);
    g_clear_pointer(&self->srv_timeout, g_source_unref);
    if (self->targets->len == 0)
        add_target(self, self->domain, self->port, 0, false);
    try_next(self);
}

static void on_xmpps(GObject *object, GAsyncResult *result, void *user) {
    on_records(user, G_RESOLVER(object), result, true);
}

static void on_xmpp(GObject *object, GAsyncResult *result, void *user) {
    on_records(user, G_RESOLVER(object), result, false);
}

static gboolean on_srv_timeout(void *user) {
    g_cancellable_cancel(((Resolve *)user)->srv_cancellable);
    return G_SOURCE_REMOVE;
}

static void on_cancelled(GCancellable *cancellable, void *user) {
    g_cancellable_cancel(user);
}

static void look_up_records(Resolve *self, bool direct_tls) {
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    self->srv_cancellable = g_cancellable_new();
    self->srv_timeout = g_timeout_source_new(SRV_TIMEOUT_MS);
    g_source_set_callback(self->srv_timeout, on_srv_timeout, self, NULL);
    g_source_attach(self->srv_timeout, g_main_context_get_thread_default());
    self->srv_pending = direct_tls ? 2 : 1;
    if (direct_tls)
        g_resolver_lookup_service_async(resolver, "xmpps-client", "tcp", self->domain, self->srv_cancellable, on_xmpps, self);
    g_resolver_lookup_service_async(resolver, "xmpp-client", "tcp", self->domain, self->srv_cancellable, on_xmpp, self);
    /* Last, since it calls at once when it is too late already. */
    self->srv_cancel = g_cancellable_connect(self->cancellable, G_CALLBACK(on_cancelled),
                                             g_object_ref(self->srv_cancellable), g_object_unref);
}

void ipop_resolve(const char *domain, const char *host, unsigned short port, bool direct_tls,
                  GCancellable *cancellable, IpopResolved callback, void *user) {
    Resolve *self = g_new0(Resolve, 1);
    self->client = g_socket_client_new();
    g_socket_client_set_enable_proxy(self->client, FALSE);
    g_socket_client_set_timeout(self->client, CONNECT_TIMEOUT_S);
    self->cancellable = g_object_ref(cancellable);
    self->domain = g_strdup(domain);
    self->port = port;
    self->targets = g_array_new(FALSE, FALSE, sizeof(Target));
    g_array_set_clear_func(self->targets, target_clear);
    self->callback = callback;
    self->user = user;
    if (!host && g_hostname_is_ip_address(domain))
        host = domain;
    if (host) {
        add_target(self, host, port, 0, port == PORT_DIRECT_TLS);
        try_next(self);
    } else {
        look_up_records(self, direct_tls);
    }
}
