/* test_turn.c - what the trial of a TURN server finds out. All is on the loopback of a network namespace of the test's own,
 * where nobody else takes a port. */
#include "tests/unit/net.h"
#include "tincan/stun/turn.h"

#include <glib/gstdio.h>
#include <sys/wait.h>

/* --- a stand-in for a server, on an ephemeral loopback port, that does one thing to what it is asked --- */

typedef struct Standin Standin;
typedef size_t (*Act)(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size);

struct Standin {
    int fd;
    bool stream;
    Act act;
    IpopAddress server;
    GThread *thread;
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

static IpopAddress bind_loopback(int fd) {
    IpopAddress address = {.v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}};
    socklen_t n = sizeof address.v4;
    g_assert_cmpint(bind(fd, &address.any, n), ==, 0);
    g_assert_cmpint(getsockname(fd, &address.any, &n), ==, 0);
    return address;
}

static void standin_start(Standin *s, bool stream, Act act) {
    *s = (Standin){.stream = stream, .act = act};
    s->fd = socket(AF_INET, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    s->server = bind_loopback(s->fd);
    if (stream)
        g_assert_cmpint(listen(s->fd, 1), ==, 0);
    s->thread = g_thread_new("standin", stream ? serve_stream : serve_datagrams, s);
}

static void standin_stop(Standin *s) {
    shutdown(s->fd, SHUT_RDWR);
    g_thread_join(s->thread);
    close(s->fd);
}

/* --- what it can do --- */

static size_t be_silent(Standin *s, uint8_t *request, size_t n, uint8_t *answer, size_t size) {
    return 0;
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
    return 40;
}

/* --- tests --- */

typedef struct {
    bool done;
    IpopTurnOutcome outcome;
    char *text;
} Result;

static void on_done(void *user, IpopTurnOutcome outcome, const char *text) {
    Result *result = user;
    g_assert_false(result->done);
    *result = (Result){true, outcome, g_strdup(text)};
}

/* The sentence, owned by the caller. */
static char *trial(const IpopAddress *server, bool tcp, const char *user, const char *password, IpopTurnOutcome expected) {
    Result result = {0};
    unsigned before = net_count_fds();
    IpopTurnTrial *t = ipop_turn_try(server, tcp, user, password, on_done, &result);
    NET_WAIT(result.done);
    g_assert_cmpint(result.outcome, ==, expected);
    if (expected == IPOP_TURN_GOOD)
        NET_WAIT(net_count_fds() == before); /* what was allocated is released */
    ipop_turn_trial_free(t);
    return result.text;
}

static void test_nobody(void) {
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    IpopAddress gone = bind_loopback(udp), deaf = bind_loopback(tcp); /* bound, and does not listen */
    IpopAddress no_route = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(3478)}};
    g_assert_cmpint(inet_pton(AF_INET6, "2001:db8:1::1", &no_route.v6.sin6_addr), ==, 1);
    close(udp);
    g_autofree char *turn = trial(&gone, false, "u", "p", IPOP_TURN_SILENT);
    g_autofree char *turn_tcp = trial(&deaf, true, "u", "p", IPOP_TURN_SILENT);
    g_autofree char *unsent = trial(&no_route, false, "u", "p", IPOP_TURN_SILENT);
    g_assert_nonnull(strstr(turn, "does not answer over UDP"));
    g_assert_nonnull(strstr(turn_tcp, "does not answer over TCP"));
    g_assert_cmpstr(unsent, ==, turn);
    close(tcp);
}

static void test_refused(void) {
    const struct {
        const char *code, *part;
    } cases[] = {{"401", "refuses these credentials"}, {"403", "forbids"},        {"442", "does not relay UDP"},
                 {"486", "quota"},                   {"508", "no relay address"}, {"438", "error 438"},
                 {"500", "error 500"}};
    for (int stream = 0; stream < 2; stream++)
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            Standin s;
            standin_start(&s, stream, refuse);
            g_autofree char *text = trial(&s.server, stream, cases[i].code, "p", IPOP_TURN_BAD);
            if (!strstr(text, cases[i].part))
                g_error("no \"%s\" in: %s", cases[i].part, text);
            standin_stop(&s);
            g_assert_cmpuint(s.asked, <=, 3);
        }
}

static void test_no_answer(void) {
    const Act acts[] = {be_silent, babble};
    for (int stream = 0; stream < 2; stream++)
        for (size_t i = 0; i < G_N_ELEMENTS(acts); i++) {
            Standin s;
            standin_start(&s, stream, acts[i]);
            g_autofree char *text = trial(&s.server, stream, "u", "p", IPOP_TURN_SILENT);
            g_assert_nonnull(strstr(text, "does not answer"));
            standin_stop(&s);
        }
}

/* Freed before, and from inside, the answer. */
static IpopTurnTrial *to_free;

static void free_inside(void *user, IpopTurnOutcome outcome, const char *text) {
    g_clear_pointer(&to_free, ipop_turn_trial_free);
}

static void test_free(void) {
    for (int stream = 0; stream < 2; stream++) {
        Standin s;
        unsigned before = net_count_fds();
        standin_start(&s, stream, refuse);
        ipop_turn_trial_free(ipop_turn_try(&s.server, stream, "u", "p", free_inside, NULL));
        if (stream) /* the stand-in takes one connection */
            standin_stop(&s), standin_start(&s, stream, refuse);
        to_free = ipop_turn_try(&s.server, stream, "401", "p", free_inside, NULL);
        NET_WAIT(!to_free);
        standin_stop(&s);
        g_assert_cmpuint(net_count_fds(), ==, before);
    }
    ipop_turn_trial_free(NULL);
}

/* --- a real one --- */

typedef struct {
    char *dir;
    IpopAddress server;
    GPid pid;
} Coturn;

static bool coturn_start(Coturn *c) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->server = bind_loopback(fd);
    close(fd);
    c->dir = g_dir_make_tmp("ipop-test-XXXXXX", NULL);
    g_autofree char *port_text = g_strdup_printf("%u", ipop_address_port(&c->server)), *pid_file = g_build_filename(c->dir, "pid", NULL),
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
}

/* It listens. */
static bool coturn_up(const Coturn *c) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up = connect(fd, &c->server.any, sizeof c->server.v4) == 0;
    close(fd);
    return up;
}

static void test_coturn(void) {
    Coturn c = {0};
    if (!coturn_start(&c)) {
        g_test_skip("coturn is not installed");
        coturn_stop(&c);
        return;
    }
    alarm(60); /* a server that never comes up ends the test */
    while (!coturn_up(&c)) {
        g_thread_yield();
        g_assert_cmpint(waitpid(c.pid, NULL, WNOHANG), ==, 0);
    }
    alarm(0);
    for (int tcp = 0; tcp < 2; tcp++) {
        g_autofree char *good = trial(&c.server, tcp, "alice", "secret", IPOP_TURN_GOOD);
        g_autofree char *wrong_pass = trial(&c.server, tcp, "alice", "wrong", IPOP_TURN_BAD);
        g_autofree char *wrong_user = trial(&c.server, tcp, "bob", "secret", IPOP_TURN_BAD);
        g_assert_true(g_str_has_prefix(good, "relays at 127.0.0.1:"));
        g_assert_nonnull(strstr(wrong_pass, "refuses these credentials"));
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
    g_test_add_func("/turn/nobody", test_nobody);
    g_test_add_func("/turn/refused", test_refused);
    g_test_add_func("/turn/no-answer", test_no_answer);
    g_test_add_func("/turn/free", test_free);
    g_test_add_func("/turn/coturn", test_coturn);
    return g_test_run();
}
