/* All is on the loopback of a network namespace of the test's own, where nobody else takes a port. */
#include "tests/unit/net.h"
#include "tools/probe.h"

#include <glib/gstdio.h>
#include <sys/wait.h>

/* --- a stand-in for a server, on an ephemeral loopback port, that does one thing to what it is asked --- */

typedef struct Standin Standin;
typedef size_t (*Act)(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size);

struct Standin {
    int fd;
    bool stream;
    Act act;
    char server[32];
    GThread *thread;
    GCancellable *cancellable; /* the asker's */
    unsigned asked;
};

static size_t read_request(int fd, uint8_t *request, size_t size) {
    if (recv(fd, request, 20, MSG_WAITALL) != 20)
        return 0;
    size_t body = (size_t)request[2] << 8 | request[3];
    g_assert_cmpuint(20 + body, <=, size);
    return recv(fd, request + 20, body, MSG_WAITALL) == (ssize_t)body ? 20 + body : 0;
}

static void *serve_stream(void *user) {
    Standin *s = user;
    uint8_t request[1500], answer[1500];
    int fd = accept(s->fd, NULL, NULL);
    for (size_t n; fd >= 0 && (n = read_request(fd, request, sizeof request)) > 0;) {
        s->asked++;
        size_t answer_n = s->act(s, request, n, answer, sizeof answer);
        for (size_t i = 0; i < answer_n; i++) /* in the smallest pieces */
            if (send(fd, answer + i, 1, MSG_NOSIGNAL) != 1)
                break;
        if (answer_n == 0)
            break;
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void *serve_datagrams(void *user) {
    Standin *s = user;
    uint8_t request[1500], answer[1500];
    struct sockaddr_in from;
    for (;;) {
        socklen_t from_n = sizeof from;
        ssize_t n = recvfrom(s->fd, request, sizeof request, 0, (struct sockaddr *)&from, &from_n);
        if (n <= 0)
            return NULL;
        s->asked++;
        size_t answer_n = s->act(s, request, (size_t)n, answer, sizeof answer);
        if (answer_n > 0)
            sendto(s->fd, answer, answer_n, 0, (struct sockaddr *)&from, from_n);
    }
}

static unsigned bind_loopback(int fd) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof address;
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, n), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &n), ==, 0);
    return ntohs(address.sin_port);
}

static void standin_start(Standin *s, bool stream, Act act) {
    *s = (Standin){.stream = stream, .act = act, .cancellable = g_cancellable_new()};
    s->fd = socket(AF_INET, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    g_snprintf(s->server, sizeof s->server, "127.0.0.1:%u", bind_loopback(s->fd));
    if (stream)
        g_assert_cmpint(listen(s->fd, 1), ==, 0);
    s->thread = g_thread_new("standin", stream ? serve_stream : serve_datagrams, s);
}

static void standin_stop(Standin *s) {
    shutdown(s->fd, SHUT_RDWR);
    g_thread_join(s->thread);
    close(s->fd);
    g_object_unref(s->cancellable);
}

/* --- what it can do --- */

static size_t be_silent(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size) {
    g_cancellable_cancel(s->cancellable);
    return 0;
}

/* Says nothing the first time: the datagram got lost. */
static size_t answer_binding(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size) {
    struct sockaddr_in mapped = {.sin_family = AF_INET, .sin_port = htons(5), .sin_addr = {htonl(0xcb007107)}};
    StunAgent agent;
    StunMessage in, out;
    if (s->asked == 1)
        return 0;
    stun_agent_init(&agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389, STUN_AGENT_USAGE_IGNORE_CREDENTIALS);
    g_assert_cmpint(stun_agent_validate(&agent, &in, request, n, NULL, NULL), ==, STUN_VALIDATION_SUCCESS);
    stun_agent_init_response(&agent, &out, answer, size, &in);
    stun_message_append_xor_addr(&out, STUN_ATTRIBUTE_XOR_MAPPED_ADDRESS, (struct sockaddr_storage *)&mapped, sizeof mapped);
    return stun_agent_finish_message(&agent, &out, NULL, 0);
}

/* An answer to another request, then nothing. */
static size_t answer_another(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size) {
    request[12] ^= 1;
    if (s->asked > 1)
        return be_silent(s, request, n, answer, size);
    s->asked++;
    size_t answer_n = answer_binding(s, request, n, answer, size);
    s->asked--;
    return answer_n;
}

/* Asks for credentials, then refuses them with the code that stands in the user's name. */
static size_t refuse(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size) {
    StunAgent agent;
    StunMessage in, out;
    uint16_t user_n = 0;
    stun_agent_init(&agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389,
                    STUN_AGENT_USAGE_LONG_TERM_CREDENTIALS | STUN_AGENT_USAGE_IGNORE_CREDENTIALS);
    g_assert_cmpint(stun_agent_validate(&agent, &in, request, n, NULL, NULL), ==, STUN_VALIDATION_SUCCESS);
    const char *user = stun_message_find(&in, STUN_ATTRIBUTE_USERNAME, &user_n);
    g_autofree char *code = user ? g_strndup(user, user_n) : g_strdup("401");
    stun_agent_init_error(&agent, &out, answer, size, &in, (StunError)g_ascii_strtoull(code, NULL, 10));
    stun_message_append_string(&out, STUN_ATTRIBUTE_REALM, "lab");
    stun_message_append_string(&out, STUN_ATTRIBUTE_NONCE, "n");
    return stun_agent_finish_message(&agent, &out, NULL, 0);
}

/* Bytes that are no STUN, and over TCP a length that never comes. */
static size_t babble(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size) {
    memset(answer, 0xff, 40);
    if (s->asked > 1)
        g_cancellable_cancel(s->cancellable);
    return 40;
}

/* --- tests --- */

static void test_stun_good(void) {
    Standin s;
    g_autofree char *text = NULL;
    standin_start(&s, false, answer_binding);
    g_assert_true(ipop_probe_stun(s.server, s.cancellable, &text));
    g_assert_cmpstr(text, ==, "sees this host as 203.0.113.7:5");
    standin_stop(&s);
    g_assert_cmpuint(s.asked, ==, 2);
}

static void test_stun_bad(void) {
    const Act acts[] = {be_silent, answer_another, babble};
    for (size_t i = 0; i < G_N_ELEMENTS(acts); i++) {
        Standin s;
        g_autofree char *text = NULL;
        standin_start(&s, false, acts[i]);
        g_assert_false(ipop_probe_stun(s.server, s.cancellable, &text));
        g_assert_nonnull(strstr(text, "does not answer over UDP"));
        standin_stop(&s);
    }
}

static void test_nobody(void) {
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autofree char *udp_server = g_strdup_printf("127.0.0.1:%u", bind_loopback(udp));
    g_autofree char *tcp_server = g_strdup_printf("127.0.0.1:%u", bind_loopback(tcp)); /* bound, and does not listen */
    g_autofree char *stun = NULL, *turn = NULL, *turn_tcp = NULL;
    close(udp);
    g_assert_false(ipop_probe_stun(udp_server, cancellable, &stun));
    g_assert_false(ipop_probe_turn(udp_server, "u", "p", false, cancellable, &turn));
    g_assert_false(ipop_probe_turn(tcp_server, "u", "p", true, cancellable, &turn_tcp));
    g_assert_cmpstr(stun, ==, turn);
    g_assert_nonnull(strstr(turn_tcp, "does not answer over TCP"));
    close(tcp);
}

static void test_no_address(void) {
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    const char *const bad[] = {"", "a:b:c", "host:99999", "[::1"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = NULL;
        g_assert_false(ipop_probe_stun(bad[i], cancellable, &text));
        g_assert_nonnull(text);
    }
}

static void test_turn_refused(void) {
    const struct {
        const char *code, *part;
    } cases[] = {{"401", "refuses these credentials"}, {"403", "forbids"},        {"442", "does not relay UDP"},
                 {"486", "quota"},                   {"508", "no relay address"}, {"438", "error 438"},
                 {"500", "error 500"}};
    for (int stream = 0; stream < 2; stream++)
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            Standin s;
            g_autofree char *text = NULL;
            standin_start(&s, stream, refuse);
            g_assert_false(ipop_probe_turn(s.server, cases[i].code, "p", stream, s.cancellable, &text));
            if (!strstr(text, cases[i].part))
                g_error("no \"%s\" in: %s", cases[i].part, text);
            standin_stop(&s);
            g_assert_cmpuint(s.asked, <=, 3);
        }
}

static void test_turn_babble(void) {
    for (int stream = 0; stream < 2; stream++) {
        Standin s;
        g_autofree char *text = NULL;
        standin_start(&s, stream, babble);
        g_assert_false(ipop_probe_turn(s.server, "u", "p", stream, s.cancellable, &text));
        g_assert_nonnull(strstr(text, "does not answer"));
        standin_stop(&s);
    }
}

/* --- a real one --- */

typedef struct {
    char *dir;
    char *server;
    GPid pid;
} Coturn;

static bool coturn_start(Coturn *c) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port = bind_loopback(fd);
    close(fd);
    c->dir = g_dir_make_tmp("ipop-test-XXXXXX", NULL);
    c->server = g_strdup_printf("127.0.0.1:%u", port);
    g_autofree char *port_text = g_strdup_printf("%u", port), *pid_file = g_build_filename(c->dir, "pid", NULL),
                    *database = g_build_filename(c->dir, "db", NULL);
    char *argv[] = {(char *)"turnserver", (char *)"-n", (char *)"-L", (char *)"127.0.0.1", (char *)"-E", (char *)"127.0.0.1",
                    (char *)"-p", port_text, (char *)"--lt-cred-mech", (char *)"-r", (char *)"lab", (char *)"-u",
                    (char *)"alice:secret", (char *)"--no-tls", (char *)"--no-dtls", (char *)"--no-cli", (char *)"--log-file",
                    (char *)"stdout", (char *)"--pidfile", pid_file, (char *)"-b", database, NULL};
    return g_spawn_async(c->dir, argv, NULL,
                         G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                             G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &c->pid, NULL);
}

static void coturn_stop(Coturn *c) {
    if (c->pid) {
        kill(c->pid, SIGTERM);
        waitpid(c->pid, NULL, 0);
    }
    GDir *open = g_dir_open(c->dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(open));) {
        g_autofree char *path = g_build_filename(c->dir, name, NULL);
        g_unlink(path);
    }
    g_dir_close(open);
    g_rmdir(c->dir);
    g_free(c->dir);
    g_free(c->server);
}

static void test_coturn(void) {
    Coturn c = {0};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    if (!coturn_start(&c)) {
        g_test_skip("coturn is not installed");
        coturn_stop(&c);
        return;
    }
    alarm(60); /* a server that never comes up ends the test */
    for (bool up = false; !up;) {
        g_autofree char *text = NULL;
        g_thread_yield();
        g_assert_cmpint(waitpid(c.pid, NULL, WNOHANG), ==, 0);
        up = ipop_probe_stun(c.server, cancellable, &text);
    }
    alarm(0);
    for (int tcp = 0; tcp < 2; tcp++) {
        g_autofree char *good = NULL, *wrong_pass = NULL, *wrong_user = NULL;
        g_assert_true(ipop_probe_turn(c.server, "alice", "secret", tcp, cancellable, &good));
        g_assert_true(g_str_has_prefix(good, "relays at 127.0.0.1:"));
        g_assert_false(ipop_probe_turn(c.server, "alice", "wrong", tcp, cancellable, &wrong_pass));
        g_assert_nonnull(strstr(wrong_pass, "refuses these credentials"));
        g_assert_false(ipop_probe_turn(c.server, "bob", "secret", tcp, cancellable, &wrong_user));
        g_assert_nonnull(strstr(wrong_user, "refuses these credentials"));
    }
    coturn_stop(&c);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    if (!net_enter()) {
        g_print("1..0 # SKIP a network namespace needs root\n");
        return 0;
    }
    g_test_add_func("/probe/stun-good", test_stun_good);
    g_test_add_func("/probe/stun-bad", test_stun_bad);
    g_test_add_func("/probe/nobody", test_nobody);
    g_test_add_func("/probe/no-address", test_no_address);
    g_test_add_func("/probe/turn-refused", test_turn_refused);
    g_test_add_func("/probe/turn-babble", test_turn_babble);
    g_test_add_func("/probe/coturn", test_coturn);
    return g_test_run();
}
