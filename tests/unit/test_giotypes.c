/* Two threads that meet GIO's classes at the same moment do not wait for each other for ever. */
#include "tincan/base/giotypes.h"

#include <gio/gio.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#define RACES 300
#define PATIENCE_MS 10000

static pthread_barrier_t start;

static void *resolver_thread(void *user) {
    pthread_barrier_wait(&start);
    g_object_unref(g_socket_client_new());
    return NULL;
}

/* Classes are met once in a process, so each race is run in a child of its own. Without the call some 1 in 80 hang. */
static void race(void) {
    pthread_t thread;
    ipop_giotypes_init();
    pthread_barrier_init(&start, NULL, 2);
    pthread_create(&thread, NULL, resolver_thread, NULL);
    pthread_barrier_wait(&start);
    g_autoptr(GInetAddress) ip = g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4);
    g_object_unref(g_inet_socket_address_new(ip, 1));
    pthread_join(thread, NULL);
}

static void test_race(void) {
    for (unsigned i = 0; i < RACES; i++) {
        int ends[2];
        g_assert_cmpint(pipe(ends), ==, 0);
        pid_t child = fork();
        if (child == 0) {
            race();
            _exit(0);
        }
        g_assert_cmpint(child, >, 0);
        close(ends[1]);
        struct pollfd closed = {.fd = ends[0], .events = POLLIN};
        bool ended = poll(&closed, 1, PATIENCE_MS) == 1; /* the child's end closes with the child */
        if (!ended)
            kill(child, SIGKILL);
        int status;
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_assert_true(ended);
        g_assert_cmpint(status, ==, 0);
        close(ends[0]);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/giotypes/two threads at once", test_race);
    return g_test_run();
}
