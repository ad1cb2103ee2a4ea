#include "tincan/base/error.h"
#include "tincan/ctl/client.h"
#include "tincan/ctl/json.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A stand-in for tincan: answers the first datagram on an ephemeral loopback port with the given bodies. */
typedef struct {
    int fd;
    unsigned port;
    GThread *thread;
    const char *const *answers; /* whole datagrams, NULL-terminated */
    char request[512];
} Standin;

static void *serve(void *user) {
    Standin *s = user;
    struct sockaddr_storage from;
    socklen_t from_n = sizeof from;
    ssize_t n = recvfrom(s->fd, s->request, sizeof s->request - 1, 0, (struct sockaddr *)&from, &from_n);
    if (n > 0)
        for (const char *const *a = s->answers; *a; a++)
            sendto(s->fd, *a, strlen(*a), 0, (struct sockaddr *)&from, from_n);
    return NULL;
}

static void standin_start(Standin *s, int family, const char *const *answers) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t n = family == AF_INET ? sizeof v4 : sizeof v6;
    *s = (Standin){.fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), .answers = answers};
    g_assert_cmpint(bind(s->fd, address, n), ==, 0);
    g_assert_cmpint(getsockname(s->fd, address, &n), ==, 0);
    s->port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
    s->thread = g_thread_new("standin", serve, s);
}

static void standin_stop(Standin *s) {
    shutdown(s->fd, SHUT_RDWR);
    g_thread_join(s->thread);
    close(s->fd);
}

static json_t *ask(unsigned port, const char *method, unsigned timeout_ms, GError **error) {
    json_t *request = json_pack("{s:s}", "m", method);
    json_t *answers = ipop_ctl_ask(port, request, timeout_ms, error);
    json_decref(request);
    return answers;
}

#define LONG_MS 60000 /* reached only when the test has failed */

static void test_state(void) {
    const char *const bodies[] = {"\2\1{\"type\":\"peer_state\",\"uid\":\"a\"}\n", "\2\1{\"type\":\"local_state\",\"_peers\":2}\n",
                                  "\2\1{\"type\":\"peer_state\",\"uid\":\"b\"}\n", NULL};
    Standin s;
    standin_start(&s, AF_INET, bodies);
    g_autoptr(GError) error = NULL;
    json_t *answers = ask(s.port, "get_state", LONG_MS, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(json_array_size(answers), ==, 3);
    g_assert_cmpstr(s.request, ==, "\2\1{\"m\":\"get_state\"}");
    json_decref(answers);
    standin_stop(&s);
}

static void test_no_peers(void) {
    const char *const bodies[] = {"\2\1{\"type\":\"local_state\",\"_peers\":0}\n", NULL};
    Standin s;
    standin_start(&s, AF_INET, bodies);
    json_t *answers = ask(s.port, "get_state", LONG_MS, NULL);
    g_assert_cmpuint(json_array_size(answers), ==, 1);
    json_decref(answers);
    standin_stop(&s);
}

/* One answer ends it; what is no answer is passed over. */
static void test_garbage_then_pong(void) {
    const char *const bodies[] = {"", "\2", "\2\1", "\1\1{}", "\2\2{}", "\2\1[]", "\2\1{", "\2\1{\"type\":\"pong\",\"rtt\":1.5}",
                                  "\2\1{\"type\":\"pong\",\"rtt\":2.5}", NULL};
    Standin s;
    standin_start(&s, AF_INET, bodies);
    json_t *answers = ask(s.port, "ping", LONG_MS, NULL);
    g_assert_cmpuint(json_array_size(answers), ==, 1);
    g_assert_cmpfloat(json_real_value(json_object_get(json_array_get(answers, 0), "rtt")), ==, 1.5);
    json_decref(answers);
    standin_stop(&s);
}

static void test_error_ends_state(void) {
    const char *const bodies[] = {"\2\1{\"error\":\"uid: not 40 hex digits\"}\n", NULL};
    Standin s;
    standin_start(&s, AF_INET, bodies);
    json_t *answers = ask(s.port, "get_state", LONG_MS, NULL);
    g_assert_cmpuint(json_array_size(answers), ==, 1);
    json_decref(answers);
    standin_stop(&s);
}

static void test_lost_answer(void) {
    const char *const bodies[] = {"\2\1{\"type\":\"local_state\",\"_peers\":2}\n", "\2\1{\"type\":\"peer_state\"}\n", NULL};
    Standin s;
    standin_start(&s, AF_INET, bodies);
    json_t *answers = ask(s.port, "get_state", 2000, NULL);
    g_assert_cmpuint(json_array_size(answers), ==, 2);
    json_decref(answers);
    standin_stop(&s);
}

static void test_v6(void) {
    int probe = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    bool have = probe >= 0 && bind(probe, (struct sockaddr *)&loopback, sizeof loopback) == 0;
    if (probe >= 0)
        close(probe);
    if (!have) {
        g_test_skip("this machine has no ::1");
        return;
    }
    const char *const bodies[] = {"\2\1{\"type\":\"echo_reply\"}\n", NULL};
    Standin s;
    standin_start(&s, AF_INET6, bodies);
    json_t *answers = ask(s.port, "echo_request", LONG_MS, NULL);
    g_assert_cmpuint(json_array_size(answers), ==, 1);
    json_decref(answers);
    standin_stop(&s);
}

static void test_nothing_answers(void) {
    /* A port that was free a moment ago. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, n), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &n), ==, 0);
    close(fd);
    g_autoptr(GError) error = NULL;
    g_assert_null(ask(ntohs(address.sin_port), "get_state", LONG_MS, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, "ipop-tincan"));
    g_assert_null(strchr(error->message, '\n'));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/client/state", test_state);
    g_test_add_func("/client/no-peers", test_no_peers);
    g_test_add_func("/client/garbage-then-pong", test_garbage_then_pong);
    g_test_add_func("/client/error-ends-state", test_error_ends_state);
    g_test_add_func("/client/lost-answer", test_lost_answer);
    g_test_add_func("/client/v6", test_v6);
    g_test_add_func("/client/nothing-answers", test_nothing_answers);
    return g_test_run();
}
