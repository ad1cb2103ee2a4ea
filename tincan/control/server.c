#include "tincan/control/server.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/base/secret.h"
#include "tincan/ctl/json.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <sodium.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BURST 32 /* datagrams per turn of the main loop */
#define SOCKET_BUFFER (1024 * 1024)

typedef union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} Address;

struct IpopRequest {
    IpopControl *control;
    int fd;
    Address from;
    socklen_t from_n;
    bool sealed;
    uint8_t sender[IPOP_SEAL_NONCE_BYTES];
    bool has_id;
    json_int_t id;
};

struct IpopControl {
    int fds[2];
    guint sources[2];
    IpopSealServer *seal;
    IpopControlHandler handler;
    void *user;
    IpopRequest receiver; /* fd < 0: none */
    int64_t receiver_heard;
    uint8_t datagram[IPOP_CTL_DATAGRAM_MAX];
};

static void send_datagram(const IpopRequest *to, const uint8_t *datagram, size_t n) {
    /* A receiver that does not read loses datagrams; it must not hold us up. */
    sendto(to->fd, datagram, n, MSG_DONTWAIT | MSG_NOSIGNAL, &to->from.any, to->from_n);
}

static void send_plain(const IpopRequest *to, const char *text) {
    g_autofree char *datagram = g_strdup_printf("%c%c%s\n", IPOP_CTL_VERSION, IPOP_CTL_PLAIN, text);
    send_datagram(to, (uint8_t *)datagram, strlen(datagram));
}

static void send_json(const IpopRequest *to, const json_t *message) {
    char *text = json_dumps(message, JSON_INDENT(3) | JSON_SORT_KEYS);
    if (!text)
        return; /* not valid UTF-8: nothing of ours is that */
    if (to->sealed) {
        size_t n;
        g_autofree uint8_t *datagram =
            ipop_seal_server_seal(to->control->seal, to->sender, text, strlen(text), ipop_clock_now(), &n);
        send_datagram(to, datagram, n);
    } else {
        send_plain(to, text);
    }
    free(text);
}

void ipop_control_answer(const IpopRequest *request, json_t *answer) {
    if (request->has_id)
        json_object_set_new(answer, "id", json_integer(request->id));
    send_json(request, answer);
    json_decref(answer);
}

static void answer_hello(const IpopRequest *request, const json_t *message) {
    const char *nonce;
    char *text = NULL;
    if (ipop_json_string(message, "nonce", 2 * IPOP_SEAL_NONCE_BYTES, &nonce))
        text = ipop_seal_server_hello(request->control->seal, nonce, ipop_clock_now());
    if (text)
        send_plain(request, text);
    else
        ipop_control_answer(request, json_pack("{ss}", "error", "nonce must be 32 hex digits"));
    g_free(text);
}

static void take_json(IpopRequest *request, const char *text, size_t n) {
    json_t *message = ipop_json_parse(text, n);
    if (!message) {
        send_plain(request, "{\"error\":\"json parsing failed\"}");
        return;
    }
    int64_t id;
    request->has_id = ipop_json_int(message, "id", 0, INT64_MAX, &id);
    request->id = request->has_id ? id : 0;
    const char *method;
    if (!ipop_json_string(message, "m", 64, &method))
        ipop_control_answer(request, json_pack("{ss}", "error", "\"m\" must name a method"));
    else if (strcmp(method, "hello") == 0)
        answer_hello(request, message);
    else
        request->control->handler(request->control->user, method, message, request);
    json_decref(message);
}

static void take_sealed(IpopRequest *request, const uint8_t *datagram, size_t n) {
    IpopControl *control = request->control;
    g_autofree char *text = NULL;
    size_t text_n;
    int64_t now = ipop_clock_now();
    IpopSealResult result = ipop_seal_server_open(control->seal, datagram, n, now, &text, &text_n, request->sender);
    if (result == IPOP_SEAL_OK) {
        request->sealed = true;
        if (control->receiver.fd >= 0 && memcmp(control->receiver.sender, request->sender, sizeof request->sender) == 0)
            control->receiver_heard = now;
        take_json(request, text, text_n);
        sodium_memzero(text, text_n); /* may hold the psk or a password */
    } else if (result == IPOP_SEAL_STALE || result == IPOP_SEAL_FULL) {
        send_plain(request, "{\"error\":\"stale\"}");
    } else {
        send_plain(request, "{\"error\":\"not authenticated\"}");
    }
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data) {
    IpopControl *control = data;
    for (unsigned i = 0; i < BURST; i++) {
        IpopRequest request = {.control = control, .fd = fd, .from_n = sizeof request.from};
        ssize_t n = recvfrom(fd, control->datagram, sizeof control->datagram, MSG_DONTWAIT, &request.from.any, &request.from_n);
        if (n < 0 && errno != EINTR && errno != ECONNREFUSED)
            break;
        if (n < 3 || control->datagram[0] != IPOP_CTL_VERSION)
            continue;
        if (control->datagram[1] == IPOP_CTL_PLAIN)
            take_json(&request, (char *)control->datagram + 2, (size_t)n - 2);
        else if (control->datagram[1] == IPOP_CTL_SEALED)
            take_sealed(&request, control->datagram, (size_t)n);
    }
    return G_SOURCE_CONTINUE;
}

static int bind_loopback(int family, unsigned port, GError **error) {
    Address address = {0};
    socklen_t n;
    if (family == AF_INET) {
        address.in = (struct sockaddr_in){AF_INET, htons((uint16_t)port), {htonl(INADDR_LOOPBACK)}, {0}};
        n = sizeof address.in;
    } else {
        address.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback};
        n = sizeof address.in6;
    }
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int size = SOCKET_BUFFER, only = 1;
    if (fd >= 0 && family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (fd >= 0 && bind(fd, &address.any, n) == 0)
        return fd;
    int reason = errno;
    if (fd >= 0)
        close(fd);
    if (reason == EADDRINUSE)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED,
                    "control port %u is taken: another ipop-tincan runs there; stop it, or give this one another PORT (and "
                    "the same \"svpn_port\" to its controller)",
                    port);
    else
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "cannot bind control port %u on the loopback address: %s%s", port,
                    g_strerror(reason), reason == EADDRNOTAVAIL ? "; is the interface lo up?" : "");
    return -1;
}

static IpopSealServer *make_secret(const char *runtime_dir, GError **error) {
    g_autofree char *path = g_build_filename(runtime_dir, "control.key", NULL);
    uint8_t *secret = ipop_secret_new(IPOP_SEAL_SECRET_BYTES);
    randombytes_buf(secret, IPOP_SEAL_SECRET_BYTES);
    IpopSealServer *seal = NULL;
    if (ipop_secret_store(path, secret, IPOP_SEAL_SECRET_BYTES, "ipop", error))
        seal = ipop_seal_server_new(secret);
    ipop_secret_free(secret);
    return seal;
}

IpopControl *ipop_control_new(unsigned port, const char *runtime_dir, IpopControlHandler handler, void *user,
                              GError **error) {
    IpopControl *control = g_new0(IpopControl, 1);
    GError *no_ip6 = NULL;
    control->handler = handler;
    control->user = user;
    control->receiver.fd = -1;
    control->fds[1] = -1;
    control->fds[0] = bind_loopback(AF_INET, port, error);
    if (control->fds[0] >= 0)
        control->fds[1] = bind_loopback(AF_INET6, port, &no_ip6);
    /* Without IPv6 on the loopback, IPv4 serves; a port taken there by somebody else is a mistake to be told. */
    bool taken = g_error_matches(no_ip6, IPOP_ERROR, IPOP_ERROR_REFUSED);
    if (taken)
        g_propagate_error(error, g_steal_pointer(&no_ip6));
    g_clear_error(&no_ip6);
    /* Only who holds the port writes the secret: a second program started by mistake must not replace it. */
    if (control->fds[0] >= 0 && !taken)
        control->seal = make_secret(runtime_dir, error);
    if (!control->seal) {
        ipop_control_free(control);
        return NULL;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(control->fds); i++)
        if (control->fds[i] >= 0)
            control->sources[i] = g_unix_fd_add(control->fds[i], G_IO_IN, on_readable, control);
    return control;
}

void ipop_control_free(IpopControl *control) {
    if (!control)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(control->fds); i++) {
        g_clear_handle_id(&control->sources[i], g_source_remove);
        if (control->fds[i] >= 0)
            close(control->fds[i]);
    }
    ipop_seal_server_free(control->seal);
    sodium_memzero(control->datagram, sizeof control->datagram);
    g_free(control);
}

bool ipop_request_authentic(const IpopRequest *request) {
    return request->sealed;
}

IpopRequest *ipop_request_copy(const IpopRequest *request) {
    return g_memdup2(request, sizeof *request);
}

void ipop_request_free(IpopRequest *request) {
    g_free(request);
}

void ipop_control_attach(IpopControl *control, const IpopRequest *request) {
    control->receiver = *request;
    control->receiver.has_id = false;
    control->receiver_heard = ipop_clock_now();
}

void ipop_control_notify(IpopControl *control, json_t *notification) {
    if (control->receiver.fd >= 0)
        send_json(&control->receiver, notification);
    json_decref(notification);
}

int64_t ipop_control_heard(const IpopControl *control) {
    return control->receiver.fd >= 0 ? control->receiver_heard : 0;
}
