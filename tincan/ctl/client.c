#include "tincan/ctl/client.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/ctl/json.h"
#include "tincan/ctl/seal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for the answers of thousands of peers, which come in one burst. */
#define RECEIVE_BUFFER (8 * 1024 * 1024)
#define ANSWERS_MAX 4100
#define HEADER_BYTES 2

typedef struct {
    json_t *answers;
    bool is_state;    /* more than one answer is to come */
    int64_t expected; /* peer_state answers; -1 until the local_state says */
    int64_t n_peers;
} Gathering;

static int connect_loopback(int family, unsigned port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback};
    const struct sockaddr *address = family == AF_INET ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    socklen_t n = family == AF_INET ? sizeof v4 : sizeof v6;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = RECEIVE_BUFFER;
    if (fd < 0)
        return -1;
    /* The first needs privilege, the second gives what the system allows; with neither an answer may be lost. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (connect(fd, address, n) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool send_request(int fd, const json_t *request) {
    uint8_t *datagram = g_malloc(IPOP_CTL_DATAGRAM_MAX);
    datagram[0] = IPOP_CTL_VERSION;
    datagram[1] = IPOP_CTL_PLAIN;
    size_t n = json_dumpb(request, (char *)datagram + HEADER_BYTES, IPOP_CTL_DATAGRAM_MAX - HEADER_BYTES, JSON_COMPACT);
    bool sent = n > 0 && n <= IPOP_CTL_DATAGRAM_MAX - HEADER_BYTES && send(fd, datagram, HEADER_BYTES + n, 0) >= 0;
    g_free(datagram);
    return sent;
}

/* True when no further answer is to be waited for. */
static bool take_answer(Gathering *g, const uint8_t *datagram, size_t n) {
    if (n <= HEADER_BYTES || datagram[0] != IPOP_CTL_VERSION || datagram[1] != IPOP_CTL_PLAIN)
        return false;
    json_t *answer = ipop_json_parse((const char *)datagram + HEADER_BYTES, n - HEADER_BYTES);
    if (!answer)
        return false;
    json_array_append_new(g->answers, answer);
    const char *type = "";
    ipop_json_string(answer, "type", 16, &type);
    if (g->is_state && strcmp(type, "local_state") == 0)
        ipop_json_int(answer, "_peers", 0, ANSWERS_MAX, &g->expected);
    else if (g->is_state && strcmp(type, "peer_state") == 0)
        g->n_peers++;
    else
        return true;
    return (g->expected >= 0 && g->n_peers >= g->expected) || json_array_size(g->answers) >= ANSWERS_MAX;
}

static void gather(int fd, Gathering *g, int64_t deadline) {
    g_autofree uint8_t *datagram = g_malloc(IPOP_CTL_DATAGRAM_MAX);
    for (;;) {
        int64_t left = deadline - ipop_clock_now();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0)
            return;
        int ready = poll(&p, 1, (int)(left / 1000) + 1);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        ssize_t n = recv(fd, datagram, IPOP_CTL_DATAGRAM_MAX, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return; /* ECONNREFUSED: nobody has the port */
        if (n >= 0 && take_answer(g, datagram, (size_t)n))
            return;
    }
}

static json_t *ask_one(int family, unsigned port, const json_t *request, unsigned timeout_ms) {
    const char *method = "";
    ipop_json_string(request, "m", 16, &method);
    Gathering g = {.answers = json_array(), .is_state = strcmp(method, "get_state") == 0, .expected = -1};
    int fd = connect_loopback(family, port);
    if (fd >= 0) {
        if (send_request(fd, request))
            gather(fd, &g, ipop_clock_now() + (int64_t)timeout_ms * 1000);
        close(fd);
    }
    if (json_array_size(g.answers) > 0)
        return g.answers;
    json_decref(g.answers);
    return NULL;
}

json_t *ipop_ctl_ask(unsigned port, const json_t *request, unsigned timeout_ms, GError **error) {
    json_t *answers = ask_one(AF_INET, port, request, timeout_ms);
    if (!answers)
        answers = ask_one(AF_INET6, port, request, timeout_ms);
    if (!answers && port == 5800)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "nothing answers on 127.0.0.1:%u: is ipop-tincan running? start it as root: ipop-tincan", port);
    else if (!answers)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "nothing answers on 127.0.0.1:%u: is ipop-tincan running? start it as root: ipop-tincan TAPNAME %u", port,
                    port);
    return answers;
}
