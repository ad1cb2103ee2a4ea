#include "controller/xmpp/inbox.h"
#include "controller/xmpp/pool.h"
#include "controller/xmpp/sasl.h"
#include "controller/xmpp/trouble.h"
#include "controller/xmpp/xmpp.h"
#include "tincan/base/clock.h"
#include "tincan/base/error.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <sodium.h>
#include <string.h>

/* --- a server on loopback that says one thing, however it is talked to --- */

typedef struct {
    GSocketListener *listener;
    GCancellable *cancellable;
    GThread *thread;
    unsigned port;
    const char *says; /* after the stream's head has come in; NULL: never anything */
    GString *heard;   /* by all connections; read it when the server is down */
} Server;

static void serve(Server *server, GSocketConnection *connection) {
    GInputStream *in = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    bool answered = false;
    char buffer[512];
    ssize_t n;
    size_t before = server->heard->len;
    while ((n = g_input_stream_read(in, buffer, sizeof buffer, server->cancellable, NULL)) > 0) {
        g_string_append_len(server->heard, buffer, n);
        if (answered || !server->says || !strstr(server->heard->str + before, "<stream:stream"))
            continue;
        g_output_stream_write_all(out, server->says, strlen(server->says), NULL, server->cancellable, NULL);
        answered = true;
    }
}

/* One after the other: first comes the probe for an address that answers, which says nothing and goes. */
static void *run_server(void *user) {
    Server *server = user;
    GSocketConnection *connection;
    while ((connection = g_socket_listener_accept(server->listener, NULL, server->cancellable, NULL))) {
        serve(server, connection);
        g_object_unref(connection);
    }
    return NULL;
}

static Server *server_new(const char *says) {
    Server *server = g_new0(Server, 1);
    server->says = says;
    server->heard = g_string_new(NULL);
    server->cancellable = g_cancellable_new();
    server->listener = g_socket_listener_new();
    g_autoptr(GInetAddress) loopback = g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4);
    g_autoptr(GSocketAddress) any = g_inet_socket_address_new(loopback, 0), bound = NULL;
    g_assert_true(g_socket_listener_add_address(server->listener, any, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL,
                                                &bound, NULL));
    server->port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound));
    server->thread = g_thread_new("server", run_server, server);
    return server;
}

static char *server_free(Server *server) {
    g_cancellable_cancel(server->cancellable);
    g_thread_join(server->thread);
    g_object_unref(server->listener);
    g_object_unref(server->cancellable);
    char *heard = g_string_free(server->heard, FALSE);
    g_free(server);
    return heard;
}

/* A port where nobody listens, and nobody else will while the socket is held. */
static GSocket *refusing(unsigned *ret_port) {
    GSocket *socket = g_socket_new(G_SOCKET_FAMILY_IPV4, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL);
    g_autoptr(GInetAddress) loopback = g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4);
    g_autoptr(GSocketAddress) any = g_inet_socket_address_new(loopback, 0);
    g_assert_true(g_socket_bind(socket, any, FALSE, NULL));
    g_autoptr(GSocketAddress) bound = g_socket_get_local_address(socket, NULL);
    *ret_port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound));
    return socket;
}

static IpopXmppConfig config_for(unsigned port) {
    return (IpopXmppConfig){
        .jid = "net@example.org", .resource = "ipop-1", .password = "open sesame", .host = "127.0.0.1", .port = port};
}

static void assert_contains(const char *text, const char *part) {
    g_test_message("%s", text);
    g_assert_nonnull(text);
    g_assert_nonnull(strstr(text, part));
}

/* --- logins that can't succeed --- */

static void test_refused(void) {
    unsigned port;
    g_autoptr(GSocket) socket = refusing(&port);
    IpopXmppConfig config = config_for(port);
    g_autofree char *error = ipop_xmpp_try_login(&config, 10000, NULL, NULL);
    assert_contains(error, "refuses connections");
    assert_contains(error, "xmpp_port");
}

static void test_silent(void) {
    Server *server = server_new(NULL);
    IpopXmppConfig config = config_for(server->port);
    g_autofree char *error = ipop_xmpp_try_login(&config, 2000, NULL, NULL);
    assert_contains(error, "accepts connections and says nothing");
    g_autofree char *heard = server_free(server);
    assert_contains(heard, "to=\"example.org\"");
}

static void test_ends_before_it_begins(void) {
    Server *server = server_new(NULL);
    IpopXmppConfig config = config_for(server->port);
    g_autofree char *error = ipop_xmpp_try_login(&config, 0, NULL, NULL);
    g_assert_nonnull(error);
    g_free(server_free(server));
}

static void test_garbage(void) {
    static const char *const garbage[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "<html><body/></html>",
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><</a>",
        "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><x>&b;</y>",
        "\x80 is no character",
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(garbage); i++) {
        Server *server = server_new(garbage[i]);
        IpopXmppConfig config = config_for(server->port);
        g_autofree char *error = ipop_xmpp_try_login(&config, 10000, NULL, NULL);
        assert_contains(error, "does not speak XMPP");
        g_free(server_free(server));
    }
}

#define HEAD "<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' id='1' from='example.org' " \
             "xmlns:stream='http://etherx.jabber.org/streams'>"
#define PLAIN "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
#define SCRAM "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism></mechanisms>"

/* Without TLS nothing of the account goes out, whatever is on offer. */
static void test_no_tls(void) {
    static const char *const offers[] = {HEAD "<stream:features>" PLAIN "</stream:features>",
                                         HEAD "<stream:features>" SCRAM "</stream:features>",
                                         HEAD "<stream:features/>"};
    for (unsigned i = 0; i < G_N_ELEMENTS(offers); i++) {
        Server *server = server_new(offers[i]);
        IpopXmppConfig config = config_for(server->port);
        g_autofree char *error = ipop_xmpp_try_login(&config, 10000, NULL, NULL);
        assert_contains(error, "offers no TLS");
        g_autofree char *heard = server_free(server);
        assert_contains(heard, "<stream:stream");
        g_assert_null(strstr(heard, "<auth"));
        g_assert_null(strstr(heard, "net@"));
        g_autofree char *plain = g_base64_encode((const uint8_t *)"\0net\0open sesame", 16);
        g_assert_null(strstr(heard, plain));
    }
}

static void test_stream_error(void) {
    Server *server = server_new(HEAD "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
                                     "</stream:stream>");
    IpopXmppConfig config = config_for(server->port);
    g_autofree char *error = ipop_xmpp_try_login(&config, 10000, NULL, NULL);
    assert_contains(error, "does not serve example.org");
    g_free(server_free(server));
}

/* What follows <proceed/> is no TLS. */
static void test_bad_handshake(void) {
    Server *server = server_new(HEAD "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
                                     "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\r\nno TLS, but something else");
    IpopXmppConfig config = config_for(server->port);
    g_autofree char *error = ipop_xmpp_try_login(&config, 300, NULL, NULL);
    g_test_message("%s", error);
    g_assert_nonnull(error);
    g_autofree char *heard = server_free(server);
    g_assert_null(strstr(heard, "<auth"));
}

/* --- the account's life without a server --- */

typedef struct {
    GMainLoop *loop;
    IpopXmpp *xmpp;
    unsigned attempts;
    bool moved;
} Life;

static void on_state(void *user, IpopXmppState state, const char *jid, const char *error) {
    Life *life = user;
    g_assert_null(jid);
    g_assert_cmpint(state, !=, IPOP_XMPP_CONNECTED);
    if (state == IPOP_XMPP_CONNECTING) {
        g_assert_true((error != NULL) == (life->attempts > 0));
        life->attempts++;
        return;
    }
    assert_contains(error, "refuses connections");
    g_assert_false(ipop_xmpp_send(life->xmpp, IPOP_XMPP_REPLY, "<presence/>"));
    g_assert_false(ipop_xmpp_request(life->xmpp, IPOP_XMPP_REPLY, "get", NULL, "<x/>", NULL, NULL));
    if (life->moved)
        g_main_loop_quit(life->loop);
    life->moved = true;
    ipop_xmpp_network_changed(life->xmpp);
}

static void on_stanza(void *user, const char *xml, size_t n) {
    g_assert_not_reached();
}

static void test_states(void) {
    static const IpopXmppEvents events = {on_state, on_stanza, on_stanza};
    unsigned port;
    g_autoptr(GSocket) socket = refusing(&port);
    IpopXmppConfig config = config_for(port);
    Life life = {.loop = g_main_loop_new(NULL, FALSE)};
    life.xmpp = ipop_xmpp_new(&config, &events, &life, NULL);
    g_assert_cmpuint(life.attempts, ==, 0);
    g_main_loop_run(life.loop);
    g_assert_cmpuint(life.attempts, ==, 2);
    g_assert_cmpuint(ipop_xmpp_dropped(life.xmpp), ==, 0);
    ipop_xmpp_free(life.xmpp);
    ipop_xmpp_free(NULL);
    g_main_loop_unref(life.loop);
}

static void test_bad_config(void) {
    static const IpopXmppEvents events = {on_state, on_stanza, on_stanza};
    static const char *const jids[] = {"", "net", "@example.org", "net@", "net@a/b", "a@b@c", "net@ex ample", "n\"t@example.org",
                                       "net@<evil>", "net@exam\nple", "net@\xff"};
    for (unsigned i = 0; i < G_N_ELEMENTS(jids); i++) {
        IpopXmppConfig config = config_for(1);
        config.jid = jids[i];
        g_autoptr(GError) error = NULL;
        g_assert_null(ipop_xmpp_new(&config, &events, NULL, &error));
        g_assert_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG);
        g_assert_nonnull(strstr(error->message, "xmpp_username"));
    }

    IpopXmppConfig config = config_for(1);
    config.cafile = "/nonexistent/ca.pem";
    g_autofree char *missing = ipop_xmpp_try_login(&config, 1000, NULL, NULL);
    assert_contains(missing, "/nonexistent/ca.pem");
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("ipop-ca-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    config.cafile = path;
    g_autofree char *empty = ipop_xmpp_try_login(&config, 1000, NULL, NULL);
    assert_contains(empty, "holds no certificate");
    g_unlink(path);
}

/* --- the pieces --- */

static unsigned count_scram(xmpp_ctx_t *ctx, const char *mechanisms) {
    g_autofree char *xml = g_strdup_printf("<features xmlns='http://etherx.jabber.org/streams'>%s</features>", mechanisms);
    xmpp_stanza_t *features = xmpp_stanza_new_from_string(ctx, xml);
    g_assert_nonnull(features);
    unsigned count = ipop_sasl_count_scram(features);
    xmpp_stanza_release(features);
    return count;
}

static void test_scram(void) {
    static const struct {
        const char *mechanisms;
        unsigned count;
    } cases[] = {
        {"", 0},
        {PLAIN, 0},
        {SCRAM, 1},
        {PLAIN SCRAM, 0}, /* only the first element counts, for libstrophe too */
        {SCRAM PLAIN, 1},
        {"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", 0},
        {"<mechanisms xmlns='urn:other'><mechanism>SCRAM-SHA-1</mechanism></mechanisms>", 0},
        {"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><other>SCRAM-SHA-1</other></mechanisms>", 0},
        {"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism>"
         "<mechanism>PLAIN</mechanism><mechanism/></mechanisms>", 0},
        {"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>scram-sha-256</mechanism>"
         "<mechanism>SCRAM-SHA-512</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>SCRAM-SHA-1</mechanism>"
         "<mechanism>DIGEST-MD5</mechanism></mechanisms>", 3},
    };
    IpopPool *pool = ipop_pool_new();
    xmpp_ctx_t *ctx = xmpp_ctx_new(ipop_pool_mem(pool), NULL);
    size_t used = ipop_pool_used(pool);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].mechanisms);
        g_assert_cmpuint(count_scram(ctx, cases[i].mechanisms), ==, cases[i].count);
    }
    g_assert_cmpuint(ipop_pool_used(pool), ==, used);
    xmpp_ctx_free(ctx);
    ipop_pool_free(pool);
}

static void test_pool(void) {
    IpopPool *pool = ipop_pool_new();
    const xmpp_mem_t *mem = ipop_pool_mem(pool);
    char *a = mem->alloc(10, mem->userdata), *b = mem->realloc(NULL, 20, mem->userdata);
    memcpy(a, "012345678", 10);
    a = mem->realloc(a, 4000, mem->userdata);
    g_assert_cmpstr(a, ==, "012345678");
    g_assert_cmpuint(ipop_pool_used(pool), >=, 4020);
    a = mem->realloc(a, 3, mem->userdata);
    g_assert_cmpmem(a, 3, "012", 3);
    mem->free(b, mem->userdata);
    mem->free(NULL, mem->userdata);
    g_assert_cmpuint(ipop_pool_used(pool), >, 0);
    mem->free(a, mem->userdata);
    g_assert_cmpuint(ipop_pool_used(pool), ==, 0);
    mem->alloc(100, mem->userdata); /* left behind */
    ipop_pool_free(pool);
    ipop_pool_free(NULL);
}

typedef struct {
    IpopInbox *inbox;
    GMainLoop *loop;
    unsigned expected, drained;
    GAsyncQueue *go; /* to the writer, which waits when full */
} Flood;

#define FLOOD 20000

static void on_flood_event(void *user, const IpopEvent *event) {
    Flood *flood = user;
    g_assert_cmpuint((unsigned)strtoul(event->text, NULL, 10), ==, flood->expected);
    if (++flood->expected == FLOOD)
        g_main_loop_quit(flood->loop);
}

static void on_flood_drained(void *user) {
    Flood *flood = user;
    flood->drained++;
    g_async_queue_push(flood->go, flood);
}

static void *write_flood(void *user) {
    Flood *flood = user;
    for (unsigned i = 0; i < FLOOD; i++) {
        char *text = g_strdup_printf("%u", i);
        if (!ipop_inbox_push(flood->inbox, &(IpopEvent){.kind = IPOP_EVENT_PRESENCE, .text = text, .n = strlen(text)}))
            g_async_queue_pop(flood->go);
    }
    return NULL;
}

/* All of it, in order, and the writer held back when the reader is slow. */
static void test_inbox_flood(void) {
    static const IpopInboxReader reader = {on_flood_event, on_flood_drained};
    Flood flood = {.loop = g_main_loop_new(NULL, FALSE), .go = g_async_queue_new()};
    flood.inbox = ipop_inbox_new(&reader, &flood);
    GThread *writer = g_thread_new("writer", write_flood, &flood);
    g_main_loop_run(flood.loop);
    g_thread_join(writer);
    g_assert_cmpuint(flood.expected, ==, FLOOD);
    ipop_inbox_free(flood.inbox);
    g_async_queue_unref(flood.go);
    g_main_loop_unref(flood.loop);
}

static bool push_text(IpopInbox *inbox, size_t n) {
    return ipop_inbox_push(inbox, &(IpopEvent){.kind = IPOP_EVENT_RESULT, .text = g_malloc0(n), .n = n, .id = g_strdup("i")});
}

static void test_inbox_bounds(void) {
    static const IpopInboxReader reader = {on_flood_event, on_flood_drained};
    IpopInbox *inbox = ipop_inbox_new(&reader, NULL);
    for (unsigned i = 1; i < IPOP_INBOX_EVENTS; i++)
        g_assert_true(push_text(inbox, 1));
    g_assert_false(push_text(inbox, 1));
    g_assert_false(push_text(inbox, 1));
    ipop_inbox_shut(inbox);
    g_assert_true(push_text(inbox, 1));
    ipop_inbox_free(inbox);

    inbox = ipop_inbox_new(&reader, NULL);
    for (unsigned i = 1; i < IPOP_INBOX_BYTES / IPOP_STANZA_MAX; i++)
        g_assert_true(push_text(inbox, IPOP_STANZA_MAX));
    g_assert_false(push_text(inbox, IPOP_STANZA_MAX));
    ipop_inbox_free(inbox);
    ipop_inbox_free(NULL);
}

static void test_trouble_text(void) {
    static const struct {
        IpopTrouble trouble;
        const char *part;
        bool stubborn;
    } cases[] = {
        {{.stage = IPOP_STAGE_TLS, .stream_error = -1, .certificate = "unable to get local issuer certificate", .error = 103},
         "the server's certificate is not trusted: unable to get local issuer certificate; give its CA in xmpp_cafile"},
        {{.stage = IPOP_STAGE_TLS, .stream_error = -1, .certificate = "hostname mismatch"}, "must name example.org"},
        {{.stage = IPOP_STAGE_TLS, .stream_error = -1, .certificate = "certificate has expired"}, "clock"},
        {{.stage = IPOP_STAGE_STREAM, .stream_error = -1, .bad_cafile = true, .no_tls = true}, "xmpp_cafile /ca.pem"},
        {{.stage = IPOP_STAGE_STREAM, .stream_error = -1, .no_tls = true}, "offers no TLS"},
        {{.stage = IPOP_STAGE_TLS, .stream_error = -1, .timed_out = true}, "TLS handshake with 10.0.0.1:5222 does not end"},
        {{.stage = IPOP_STAGE_TLS, .stream_error = -1, .error = 103}, "TLS handshake with 10.0.0.1:5222 failed"},
        {{.stage = IPOP_STAGE_AUTH, .stream_error = -1, .no_scram = true}, "SCRAM"},
        {{.stage = IPOP_STAGE_AUTH, .stream_error = -1, .auth_failed = true}, "check xmpp_username and xmpp_password", true},
        {{.stage = IPOP_STAGE_AUTH, .stream_error = -1, .auth_failed = true, .server_text = "disabled"}, ": disabled:", true},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = XMPP_SE_CONFLICT}, "max_user_sessions", true},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = XMPP_SE_CONFLICT}, "ipop-1", true},
        {{.stage = IPOP_STAGE_STREAM, .stream_error = XMPP_SE_HOST_UNKNOWN}, "does not serve example.org"},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = XMPP_SE_SYSTEM_SHUTDOWN}, "shutting down"},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = XMPP_SE_POLICY_VIOLATION, .server_text = "too fast"}, "too fast"},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = -1, .timed_out = true}, "no longer answers"},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = -1, .error = 5}, "was lost"},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = -1}, "the server closed it"},
        {{.stage = IPOP_STAGE_ONLINE, .stream_error = -1, .too_big = true, .timed_out = true}, "one stanza"},
        {{.stage = IPOP_STAGE_RESOLVE, .stream_error = -1, .timed_out = true}, "name service"},
        {{.stage = IPOP_STAGE_RESOLVE, .stream_error = -1, .connect = "words of resolve.c"}, "words of resolve.c"},
        {{.stage = IPOP_STAGE_CONNECT, .stream_error = -1, .timed_out = true}, "does not answer"},
        {{.stage = IPOP_STAGE_BIND, .stream_error = -1, .timed_out = true}, "does not finish the login"},
        {{.stage = IPOP_STAGE_BIND, .stream_error = -1}, "during the login"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text =
            ipop_trouble_text(&cases[i].trouble, "net@example.org", "ipop-1", "10.0.0.1:5222", "/ca.pem");
        assert_contains(text, cases[i].part);
        g_assert_null(strchr(text, '\n'));
        g_assert_true(ipop_trouble_is_stubborn(&cases[i].trouble) == cases[i].stubborn);
    }
}

static void test_trouble_copy(void) {
    char text[8];
    ipop_trouble_copy(text, sizeof text, NULL);
    g_assert_cmpstr(text, ==, "");
    ipop_trouble_copy(text, sizeof text, "a\n\033b");
    g_assert_cmpstr(text, ==, "a  b");
    ipop_trouble_copy(text, sizeof text, "12345678");
    g_assert_cmpstr(text, ==, "1234567");
    ipop_trouble_copy(text, sizeof text, "12345\xe2\x82\xac");
    g_assert_cmpstr(text, ==, "12345");
    ipop_trouble_copy(text, sizeof text, "\xff" "a");
    g_assert_true(g_utf8_validate(text, -1, NULL));
}

static void test_trouble_wait(void) {
    g_assert_cmpint(ipop_trouble_wait(1, false, 0), ==, 2 * IPOP_SECOND);
    for (unsigned failures = 1; failures < 1000; failures += failures < 20 ? 1 : 97)
        for (unsigned i = 0; i < 100; i++) {
            int64_t wait = ipop_trouble_wait(failures, false, g_test_rand_int());
            int64_t most = (failures <= 40 ? 10 : 60) * IPOP_SECOND;
            g_assert_cmpint(wait, >=, MIN(IPOP_SECOND << MIN(failures - 1, 20), most / 2));
            g_assert_cmpint(wait, <=, MIN(IPOP_SECOND << MIN(failures, 20), most));
            wait = ipop_trouble_wait(failures, true, g_test_rand_int());
            g_assert_cmpint(wait, >=, 60 * IPOP_SECOND);
            g_assert_cmpint(wait, <=, 300 * IPOP_SECOND);
        }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    if (sodium_init() < 0)
        return 1;
    g_test_add_func("/xmpp/login/refused", test_refused);
    g_test_add_func("/xmpp/login/silent", test_silent);
    g_test_add_func("/xmpp/login/ends-before-it-begins", test_ends_before_it_begins);
    g_test_add_func("/xmpp/login/garbage", test_garbage);
    g_test_add_func("/xmpp/login/no-tls", test_no_tls);
    g_test_add_func("/xmpp/login/stream-error", test_stream_error);
    g_test_add_func("/xmpp/login/bad-handshake", test_bad_handshake);
    g_test_add_func("/xmpp/states", test_states);
    g_test_add_func("/xmpp/bad-config", test_bad_config);
    g_test_add_func("/xmpp/scram", test_scram);
    g_test_add_func("/xmpp/pool", test_pool);
    g_test_add_func("/xmpp/inbox/flood", test_inbox_flood);
    g_test_add_func("/xmpp/inbox/bounds", test_inbox_bounds);
    g_test_add_func("/xmpp/trouble/text", test_trouble_text);
    g_test_add_func("/xmpp/trouble/copy", test_trouble_copy);
    g_test_add_func("/xmpp/trouble/wait", test_trouble_wait);
    return g_test_run();
}
