#include "tincan/base/secret.h"
#include "tincan/ctl/ids.h"
#include "tincan/ctl/json.h"
#include "tools/tool.h"

#include <arpa/inet.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BOB "b0b0000000000000000000000000000000000001"
#define CAROL "b0b0000000000000000000000000000000000002"
#define DAVE "dada000000000000000000000000000000000003"

/* --- a stand-in for tincan --- */

typedef struct {
    int fd;
    unsigned port;
    GThread *thread;
    const char *const *state; /* answers to get_state, NULL-terminated */
} Tincan;

static void say(const Tincan *t, const char *json, const struct sockaddr *to, socklen_t to_n) {
    g_autofree char *datagram = g_strconcat("\2\1", json, "\n", NULL);
    sendto(t->fd, datagram, strlen(datagram), 0, to, to_n);
}

static void answer(const Tincan *t, const json_t *request, const struct sockaddr *to, socklen_t to_n) {
    const char *method = "", *uid = "";
    ipop_json_string(request, "m", 20, &method);
    ipop_json_string(request, "uid", 40, &uid);
    if (strcmp(method, "get_state") == 0)
        for (const char *const *s = t->state; *s; s++)
            say(t, *s, to, to_n);
    else if (strcmp(method, "ping") == 0 && strcmp(uid, BOB) == 0)
        say(t, "{\"type\":\"pong\",\"uid\":\"" BOB "\",\"rtt\":1.25}", to, to_n);
    else
        say(t, "{\"error\":\"no answer within a second\"}", to, to_n);
}

static void *serve(void *user) {
    const Tincan *t = user;
    char datagram[4096];
    struct sockaddr_storage from;
    for (;;) {
        socklen_t from_n = sizeof from;
        ssize_t n = recvfrom(t->fd, datagram, sizeof datagram, 0, (struct sockaddr *)&from, &from_n);
        if (n < 2)
            return NULL;
        json_t *request = ipop_json_parse(datagram + 2, (size_t)n - 2);
        answer(t, request, (struct sockaddr *)&from, from_n);
        json_decref(request);
    }
}

static int bind_loopback(unsigned *ret_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, n), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &n), ==, 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void tincan_start(Tincan *t, const char *const *state) {
    t->state = state;
    t->fd = bind_loopback(&t->port);
    t->thread = g_thread_new("tincan", serve, t);
}

static void tincan_stop(Tincan *t) {
    shutdown(t->fd, SHUT_RDWR);
    g_thread_join(t->thread);
    close(t->fd);
}

/* --- running ipop --- */

typedef struct {
    int status;
    char *out, *err;
} Result;

static void result_clear(Result *r) {
    free(r->out);
    free(r->err);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Result, result_clear)

/* The arguments are split at spaces; "" gives none at all. */
static Result run(unsigned port, const char *arguments) {
    g_autofree char *line = *arguments ? g_strdup_printf("ipop --port %u %s", port, arguments) : g_strdup("ipop");
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    Result r = {0};
    size_t out_n, err_n;
    FILE *out = open_memstream(&r.out, &out_n), *err = open_memstream(&r.err, &err_n);
    r.status = ipop_tool_run((int)g_strv_length(argv), argv, out, err);
    fclose(out);
    fclose(err);
    return r;
}

static unsigned lines(const char *text) {
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

#define assert_contains(text, part)                                                         \
    do {                                                                                    \
        if (!strstr((text), (part)))                                                        \
            g_error("no \"%s\" in: %s", (part), (text));                                    \
    } while (0)

#define LOCAL(xmpp, n)                                                                                                    \
    "{\"type\":\"local_state\",\"_uid\":\"a11ce00000000000000000000000000000000000\",\"_fpr\":\"AA:11\"," \
    "\"_ip4\":\"172.31.0.1\",\"_ip6\":\"fd50:dbc::1\",\"_name\":\"alice\",\"_version\":\"1\"," xmpp ",\"_peers\":" n "," \
    "\"_nat\":\"dependent/port\",\"_outside\":\"198.51.100.1\",\"_servers\":[{\"kind\":\"turn\",\"server\":\"t:1\"," \
    "\"transport\":\"udp\",\"verdict\":\"bad\",\"text\":\"refuses these credentials\"}]}"
#define CONNECTED "\"_xmpp\":\"connected\",\"_jid\":\"u@example.org/ipop-a11ce000\""

#define PEER_BOB                                                                                                          \
    "{\"type\":\"peer_state\",\"uid\":\"" BOB "\",\"name\":\"bob\",\"ip4\":\"172.31.0.2\",\"ip6\":\"fd50:dbc::2\"," \
    "\"status\":\"online\",\"state\":\"online\",\"path\":\"direct\",\"reason\":\"\",\"presence\":\"available\","       \
    "\"jid\":\"u@example.org/ipop-b0b00000\",\"xmpp_time\":5,\"last_time\":0,\"stats\":[{\"local_addr\":\"10.0.0.1:4000\"," \
    "\"rem_addr\":\"192.0.2.2:5000\",\"local_type\":\"host\",\"rem_type\":\"srflx\",\"best_conn\":true,\"rtt\":1.5,"    \
    "\"mtu\":1420,\"sent_total_bytes\":1500,\"recv_total_bytes\":2000000,\"drops\":{\"replay\":3,\"source\":0}}]}"
#define PEER_CAROL                                                                                                        \
    "{\"type\":\"peer_state\",\"uid\":\"" CAROL "\",\"name\":\"carol\",\"ip4\":\"172.31.0.3\",\"ip6\":\"fd50:dbc::3\"," \
    "\"status\":\"offline\",\"state\":\"failed\",\"path\":\"\",\"reason\":\"no pair of addresses answered\","          \
    "\"presence\":\"available\",\"stats\":[],\"why\":{\"nat\":\"none/port\",\"remedy\":\"let UDP in\",\"attempts\":["        \
    "{\"carries\":false,\"age\":9,\"heard\":40,\"connected\":-1,\"failed\":7100,\"pairs\":2,\"local\":[{\"type\":\"host\"," \
    "\"addr\":\"10.0.0.1:1\"}],\"remote\":[{\"type\":\"prflx\",\"addr\":\"192.0.2.3:3\",\"learned\":true}],\"answered\":[]}]}}"
#define PEER_GONE                                                                                                         \
    "{\"type\":\"peer_state\",\"uid\":\"" DAVE "\",\"name\":\"dave\",\"ip4\":\"172.31.0.4\",\"status\":\"offline\","    \
    "\"state\":\"idle\",\"path\":\"\",\"reason\":\"\",\"presence\":\"unavailable\"}"
#define PEER_HOSTILE                                                                                                      \
    "{\"type\":\"peer_state\",\"uid\":\"" DAVE "\",\"name\":\"m\\u001b[2J\\u009b31m\\u202eal\\n\\u2028lory\\u007f\","   \
    "\"ip4\":\"172.31.0.4\\r\\t\",\"status\":\"online\\u001b\",\"state\":\"fa\\biled\",\"reason\":\"x\\u001b]0;t\\u0007\"," \
    "\"via\":\"\\u001b\",\"path\":\"v\\u001bia\",\"presence\":\"\\u001b\",\"jid\":\"\\u001b\","                         \
    "\"stats\":[{\"local_type\":\"\\u001b\",\"rem_addr\":\"\\u001b\",\"drops\":{\"\\u001b\":4}}]}"

static const char *const well[] = {LOCAL(CONNECTED, "2"), PEER_BOB, PEER_GONE, NULL};
static const char *const unwell[] = {LOCAL(CONNECTED, "2"), PEER_CAROL, PEER_BOB, NULL};
static const char *const logged_out[] = {
    LOCAL("\"_xmpp\":\"disconnected\",\"_jid\":\"\",\"_xmpp_error\":\"wrong password\"", "1"), PEER_BOB, NULL};
static const char *const hostile[] = {LOCAL("\"_xmpp\":\"\\u001b\",\"_xmpp_error\":\"\\u001b[0m\"", "1"), PEER_HOSTILE, NULL};

/* --- tests --- */

static void test_usage(void) {
    const char *const wrong[] = {"", "nosuch", "status extra", "why", "ping", "ping a b", "check", "--bogus status", "status --bogus",
                                 "--port 0 peers", "--port 65536 peers", "ping -c 0 bob", "ping -c x bob", "status -c 3",
                                 "--port x peers", "key extra", "--state-dir"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_auto(Result) r = run(1, wrong[i]);
        g_assert_cmpint(r.status, ==, IPOP_TOOL_USAGE);
        g_assert_cmpstr(r.out, ==, "");
        g_assert_cmpuint(lines(r.err), ==, 1);
    }
    g_auto(Result) version = run(1, "--version");
    g_assert_cmpint(version.status, ==, IPOP_TOOL_GOOD);
    g_assert_cmpstr(version.out, ==, "ipop " IPOP_VERSION "\n");
}

static void test_nothing_answers(void) {
    const char *const commands[] = {"status", "peers", "why bob", "ping bob", "status --json"};
    unsigned port;
    close(bind_loopback(&port));
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_auto(Result) r = run(port, commands[i]);
        g_assert_cmpint(r.status, ==, IPOP_TOOL_USAGE);
        g_assert_cmpstr(r.out, ==, "");
        g_assert_cmpuint(lines(r.err), ==, 1);
        assert_contains(r.err, "is ipop-tincan running?");
    }
}

static void test_status_well(void) {
    Tincan t;
    tincan_start(&t, well);
    g_auto(Result) r = run(t.port, "status");
    g_assert_cmpint(r.status, ==, IPOP_TOOL_GOOD);
    g_assert_cmpstr(r.err, ==, "");
    assert_contains(r.out, "this node  alice (uid a11ce0000000), ipop 1\n");
    assert_contains(r.out, "172.31.0.1, fd50:dbc::1\n");
    assert_contains(r.out, "connected as u@example.org/ipop-a11ce000\n");
    assert_contains(r.out, "PEER  ADDRESS     STATE   PATH    THROUGH                    RTT     SENT    RECEIVED  REASON\n");
    assert_contains(r.out, "bob   172.31.0.2  online  direct  host/srflx 192.0.2.2:5000  1.5 ms  1.5 kB  2.0 MB    -\n");
    assert_contains(r.out, "dave  172.31.0.4  idle    -       -                          -       -       -         not logged in to Jabber\n");
    tincan_stop(&t);
}

static void test_status_unwell(void) {
    Tincan t;
    tincan_start(&t, unwell);
    g_auto(Result) peer_failed = run(t.port, "status");
    g_assert_cmpint(peer_failed.status, ==, IPOP_TOOL_BAD);
    assert_contains(peer_failed.out, "no pair of addresses answered\n");
    g_assert_true(strstr(peer_failed.out, "bob ") < strstr(peer_failed.out, "carol ")); /* by name */
    tincan_stop(&t);
    tincan_start(&t, logged_out);
    g_auto(Result) r = run(t.port, "status");
    g_assert_cmpint(r.status, ==, IPOP_TOOL_BAD);
    assert_contains(r.out, "disconnected: wrong password\n");
    tincan_stop(&t);
}

static void test_status_lonely(void) {
    static const char *const lonely[] = {LOCAL(CONNECTED, "0"), NULL};
    Tincan t;
    tincan_start(&t, lonely);
    g_auto(Result) r = run(t.port, "status");
    g_assert_cmpint(r.status, ==, IPOP_TOOL_GOOD);
    assert_contains(r.out, "no peers");
    tincan_stop(&t);
}

static void test_json(void) {
    Tincan t;
    tincan_start(&t, unwell);
    g_auto(Result) before = run(t.port, "--json status");
    g_auto(Result) after = run(t.port, "status --json");
    g_assert_cmpstr(before.out, ==, after.out);
    g_assert_cmpint(before.status, ==, IPOP_TOOL_BAD);
    json_t *object = ipop_json_parse(before.out, strlen(before.out));
    g_assert_nonnull(object);
    json_t *local = json_loads(unwell[0], 0, NULL), *bob = json_loads(unwell[2], 0, NULL);
    g_assert_true(json_equal(json_object_get(object, "local"), local));
    g_assert_cmpuint(json_array_size(json_object_get(object, "peers")), ==, 2);
    g_assert_true(json_equal(json_array_get(json_object_get(object, "peers"), 0), bob));
    json_decref(object);
    json_decref(local);
    json_decref(bob);
    tincan_stop(&t);
}

static void test_peers(void) {
    Tincan t;
    tincan_start(&t, unwell);
    g_auto(Result) r = run(t.port, "peers");
    g_assert_cmpint(r.status, ==, IPOP_TOOL_GOOD);
    g_assert_cmpstr(r.out, ==, "bob    172.31.0.2  online\ncarol  172.31.0.3  failed\n");
    tincan_stop(&t);
}

static void assert_harmless(const char *text, unsigned expected_lines) {
    g_assert_true(g_utf8_validate(text, -1, NULL));
    g_assert_cmpuint(lines(text), ==, expected_lines);
    for (const char *c = text; *c; c = g_utf8_next_char(c)) {
        gunichar u = g_utf8_get_char(c);
        g_assert_true(u == '\n' || (g_unichar_isprint(u) && u != 0x2028));
    }
}

static void test_hostile(void) {
    Tincan t;
    tincan_start(&t, hostile);
    g_auto(Result) status = run(t.port, "status"), peers = run(t.port, "peers"), why = run(t.port, "why dada"),
                   json = run(t.port, "status --json"), unknown = run(t.port, "why x\x1b[2J"), ping = run(t.port, "ping -c 1 dada");
    assert_harmless(status.out, 7);
    assert_harmless(peers.out, 1);
    assert_harmless(why.out, 11);
    assert_harmless(unknown.err, 1);
    assert_harmless(ping.out, 2);
    g_assert_cmpint(status.status, ==, IPOP_TOOL_BAD);
    for (const char *c = json.out; *c; c++)
        g_assert_true(*c == '\n' || (*c >= ' ' && *c <= 0x7f));
    tincan_stop(&t);
}

static void test_why(void) {
    Tincan t;
    tincan_start(&t, unwell);
    g_auto(Result) bob = run(t.port, "why bob"), carol = run(t.port, "why carol"), json = run(t.port, "why bob --json");
    g_assert_cmpint(bob.status, ==, IPOP_TOOL_GOOD);
    assert_contains(bob.out, "bob is online, reached directly.\n");
    assert_contains(bob.out, "192.0.2.2:5000 (srflx: its address as a STUN server sees it)");
    assert_contains(bob.out, "Round trip 1.5 ms, MTU 1420");
    assert_contains(bob.out, "Dropped for replay: 3 packets.\n");
    g_assert_null(strstr(bob.out, "source"));
    assert_contains(bob.out, "Last heard by Jabber 5 s ago.\n");
    g_assert_cmpint(carol.status, ==, IPOP_TOOL_BAD);
    assert_contains(carol.out, "carol is not reached: the link could not be made (failed).\n");
    assert_contains(carol.out, "Reason: no pair of addresses answered\n");
    assert_contains(carol.out, "What helps: let UDP in\n");
    assert_contains(carol.out, "This node's network: a symmetric NAT: each destination sees another port; from outside it is 198.51.100.1.");
    assert_contains(carol.out, "The peer's network: no NAT, but a firewall");
    assert_contains(carol.out, "Own addresses: host 10.0.0.1:1.\n");
    assert_contains(carol.out, "Its addresses: prflx 192.0.2.3:3 (its checks came from there).\n");
    assert_contains(carol.out, "the first one after 40 ms");
    assert_contains(carol.out, "None of this node's checks has been answered.\n");
    assert_contains(carol.out, "Given up after 7.1 s.\n");
    assert_contains(carol.out, "TURN server t:1 (udp): bad, refuses these credentials.\n");
    assert_contains(bob.out, "The peer's network: not known.\n");
    g_assert_cmpint(json.status, ==, IPOP_TOOL_GOOD);
    json_t *object = ipop_json_parse(json.out, strlen(json.out));
    g_assert_nonnull(json_object_get(object, "peer"));
    json_decref(object);
    tincan_stop(&t);
}

static void test_find(void) {
    Tincan t;
    tincan_start(&t, unwell);
    const char *const bobs[] = {"why bob", "why 172.31.0.2", "why FD50:0dbc:0::2", "why " BOB,
                                "why B0B0000000000000000000000000000000000001"};
    for (size_t i = 0; i < G_N_ELEMENTS(bobs); i++) {
        g_auto(Result) r = run(t.port, bobs[i]);
        g_assert_cmpint(r.status, ==, IPOP_TOOL_GOOD);
        assert_contains(r.out, "bob is online");
    }
    g_auto(Result) ambiguous = run(t.port, "why b0b");
    g_assert_cmpint(ambiguous.status, ==, IPOP_TOOL_USAGE);
    assert_contains(ambiguous.err, "give more digits of the uid");
    const char *const none[] = {"why bo", "why 172.31.0.9", "why ::1", "why " DAVE, "why %s%n", "why  "};
    for (size_t i = 0; i < G_N_ELEMENTS(none); i++) {
        g_auto(Result) r = run(t.port, none[i]);
        g_assert_cmpint(r.status, ==, IPOP_TOOL_USAGE);
        g_assert_cmpuint(lines(r.err), ==, 1);
    }
    tincan_stop(&t);
}

static void test_ping(void) {
    Tincan t;
    tincan_start(&t, unwell);
    g_auto(Result) bob = run(t.port, "ping bob -c 1"), carol = run(t.port, "ping -c 1 carol"),
                   json = run(t.port, "ping -c 1 --json bob");
    g_assert_cmpint(bob.status, ==, IPOP_TOOL_GOOD);
    g_assert_cmpstr(bob.out, ==, "bob (172.31.0.2) answers: rtt 1.25 ms\n"
                                 "1 sent, 1 answered, rtt 1.25/1.25/1.25 ms (least/mean/most)\n");
    g_assert_cmpint(carol.status, ==, IPOP_TOOL_BAD);
    g_assert_cmpstr(carol.out, ==, "carol (172.31.0.3) does not answer: no answer within a second\n"
                                   "1 sent, none answered: see why with: ipop why carol\n");
    g_assert_cmpint(json.status, ==, IPOP_TOOL_GOOD);
    json_t *object = ipop_json_parse(json.out, strlen(json.out));
    g_assert_cmpint(json_integer_value(json_object_get(object, "answered")), ==, 1);
    json_decref(object);
    tincan_stop(&t);
}

/* A state directory with one pin, named bob. */
static char *make_state_dir(char ret_fpr[static IPOP_FPR_SIZE]) {
    const uint8_t key[IPOP_KEY_BYTES] = {7};
    char text[IPOP_KEY_TEXT_SIZE];
    IpopUid uid = ipop_uid_from_key(key);
    ipop_key_to_text(key, text);
    ipop_fingerprint(key, ret_fpr);
    char *dir = g_dir_make_tmp("ipop-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "known_peers", NULL);
    g_autofree char *json = g_strdup_printf("{\"peers\":[{\"uid\":\"%s\",\"key\":\"%s\",\"name\":\"bob\",\"ip4\":\"172.31.0.2\","
                                            "\"jid\":\"u@example.org\",\"first_seen\":1600000000}]}", uid.hex, text);
    g_assert_true(g_file_set_contents_full(path, json, -1, G_FILE_SET_CONTENTS_NONE, 0640, NULL));
    return dir;
}

static void remove_dir(const char *dir) {
    GDir *open = g_dir_open(dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(open));) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_dir_close(open);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

static void test_key(void) {
    char fpr[IPOP_FPR_SIZE];
    g_autofree char *dir = make_state_dir(fpr);
    g_autofree char *list = g_strdup_printf("--state-dir %s key", dir);
    g_autofree char *as_json = g_strdup_printf("key --json --state-dir %s", dir);
    g_autofree char *forget = g_strdup_printf("key --forget bob --state-dir %s", dir);
    unsigned closed;
    close(bind_loopback(&closed));
    Tincan t;
    tincan_start(&t, well);
    g_auto(Result) r = run(t.port, list), json = run(t.port, as_json), alone = run(closed, list), forgot = run(closed, forget),
                   again = run(closed, forget), after = run(t.port, list);
    g_assert_cmpint(r.status, ==, IPOP_TOOL_GOOD);
    assert_contains(r.out, "this node  alice\n  uid          a11ce00000000000000000000000000000000000\n  fingerprint  AA:11\n");
    assert_contains(r.out, "bob  172.31.0.2  u@example.org  since 2020-09-1");
    assert_contains(r.out, fpr);
    g_assert_cmpint(json.status, ==, IPOP_TOOL_GOOD);
    json_t *object = ipop_json_parse(json.out, strlen(json.out));
    g_assert_cmpuint(json_array_size(json_object_get(object, "pinned")), ==, 1);
    json_decref(object);
    g_assert_cmpint(alone.status, ==, IPOP_TOOL_USAGE); /* nothing answers, and yet the pins are told */
    assert_contains(alone.out, fpr);
    g_assert_cmpint(forgot.status, ==, IPOP_TOOL_GOOD);
    assert_contains(forgot.out, "forgot bob (172.31.0.2");
    g_assert_cmpint(again.status, ==, IPOP_TOOL_BAD);
    g_assert_cmpuint(lines(again.err), ==, 1);
    assert_contains(after.out, "no keys are pinned\n");
    tincan_stop(&t);
    remove_dir(dir);
}

static void test_key_damaged(void) {
    g_autofree char *dir = g_dir_make_tmp("ipop-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "known_peers", NULL);
    g_autofree char *list = g_strdup_printf("--state-dir %s key", dir);
    g_assert_true(g_file_set_contents_full(path, "{\"peers\":", -1, G_FILE_SET_CONTENTS_NONE, 0640, NULL));
    g_auto(Result) r = run(1, list);
    g_assert_cmpint(r.status, ==, IPOP_TOOL_BAD);
    g_assert_cmpuint(lines(r.err), ==, 1);
    remove_dir(dir);
}

static void test_check(void) {
    g_autofree char *dir = g_dir_make_tmp("ipop-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "config.json", NULL);
    g_autofree char *check = g_strdup_printf("check -c %s", path);
    g_autofree char *as_json = g_strdup_printf("--json check --config %s", path);
    unsigned closed;
    close(bind_loopback(&closed));

    g_auto(Result) missing = run(1, check);
    g_assert_cmpint(missing.status, ==, IPOP_TOOL_BAD);
    g_assert_cmpuint(lines(missing.out), ==, 1);
    assert_contains(missing.out, "config  bad ");

    /* Nothing listens on any of these. */
    g_autofree char *config =
        g_strdup_printf("{\"xmpp_username\":\"u@example.org\",\"xmpp_password\":\"p\",\"xmpp_host\":\"127.0.0.1\",\"xmpp_port\":%u,"
                        "\"stun\":[\"127.0.0.1:%u\"],\"turn\":[{\"server\":\"127.0.0.1:%u\",\"user\":\"u\",\"pass\":\"p\","
                        "\"transport\":\"tcp\"}]}", closed, closed, closed);
    g_assert_true(g_file_set_contents_full(path, config, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    g_auto(Result) bad = run(1, check), json = run(1, as_json);
    g_assert_cmpint(bad.status, ==, IPOP_TOOL_BAD);
    assert_contains(bad.out, "config  good  ");
    assert_contains(bad.out, "Jabber  bad   u@example.org: ");
    assert_contains(bad.out, "STUN    bad   127.0.0.1:");
    assert_contains(bad.out, "TURN    bad   127.0.0.1:");
    assert_contains(bad.out, "NAT     bad ");
    assert_contains(bad.out, "\"transport\": \"tcp\"");
    g_assert_cmpuint(lines(bad.out), ==, 5);
    g_assert_cmpint(json.status, ==, IPOP_TOOL_BAD);
    json_t *object = ipop_json_parse(json.out, strlen(json.out));
    g_assert_true(json_is_false(json_object_get(object, "good")));
    g_assert_cmpuint(json_array_size(json_object_get(object, "checks")), ==, 5);
    json_decref(object);
    remove_dir(dir);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/ipop/usage", test_usage);
    g_test_add_func("/ipop/nothing-answers", test_nothing_answers);
    g_test_add_func("/ipop/status-well", test_status_well);
    g_test_add_func("/ipop/status-unwell", test_status_unwell);
    g_test_add_func("/ipop/status-lonely", test_status_lonely);
    g_test_add_func("/ipop/json", test_json);
    g_test_add_func("/ipop/peers", test_peers);
    g_test_add_func("/ipop/hostile", test_hostile);
    g_test_add_func("/ipop/why", test_why);
    g_test_add_func("/ipop/find", test_find);
    g_test_add_func("/ipop/ping", test_ping);
    g_test_add_func("/ipop/key", test_key);
    g_test_add_func("/ipop/key-damaged", test_key_damaged);
    g_test_add_func("/ipop/check", test_check);
    return g_test_run();
}
