#include "tools/probe.h"

#include <stun/stunagent.h>
#include <stun/usages/bind.h>
#include <stun/usages/turn.h>

#include <string.h>

#define MESSAGE_MAX 1500
#define ADDRESSES_MAX 4
#define RESEND_US (400 * 1000)                              /* RFC 8489 section 6.2.1: a lost datagram is sent again */
#define ADDRESS_US (IPOP_PROBE_SECONDS * 1000 * 1000 * 2 / 5) /* then the next address, if there is one */
#define RELEASE_US (300 * 1000)

typedef struct {
    GSocket *socket;
    bool stream;
    gint64 deadline; /* g_get_monotonic_time */
    GCancellable *cancellable;
} Line;

/* A message and the bytes it stands on. */
typedef struct {
    StunMessage message;
    uint8_t bytes[MESSAGE_MAX];
} Message;

typedef enum {
    ANSWERED_WELL,
    ANSWERED_BADLY,
    SILENT, /* the next address may do better */
} Outcome;

/* What to try at each address of a server. */
typedef struct {
    const char *user, *pass; /* NULL: STUN */
    bool stream;
} Want;

static bool wait_readable(const Line *line, gint64 until) {
    gint64 left = MIN(until, line->deadline) - g_get_monotonic_time();
    return left > 0 && g_socket_condition_timed_wait(line->socket, G_IO_IN, left, line->cancellable, NULL);
}

static bool receive_exactly(const Line *line, uint8_t *bytes, size_t n) {
    for (size_t have = 0; have < n;) {
        if (!wait_readable(line, line->deadline))
            return false;
        gssize got = g_socket_receive(line->socket, (char *)bytes + have, n - have, line->cancellable, NULL);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

/* Bytes of one message, 0 when none came in time, -1 when none will. Over TCP its own length frames it (RFC 8489 section
 * 6.2.2). */
static gssize receive(const Line *line, uint8_t bytes[static MESSAGE_MAX], gint64 until) {
    if (!wait_readable(line, until))
        return 0;
    if (!line->stream)
        return g_socket_receive(line->socket, (char *)bytes, MESSAGE_MAX, line->cancellable, NULL);
    if (!receive_exactly(line, bytes, STUN_MESSAGE_HEADER_LENGTH))
        return -1;
    size_t body = (size_t)bytes[2] << 8 | bytes[3];
    if (STUN_MESSAGE_HEADER_LENGTH + body > MESSAGE_MAX ||
        !receive_exactly(line, bytes + STUN_MESSAGE_HEADER_LENGTH, body))
        return -1;
    return (gssize)(STUN_MESSAGE_HEADER_LENGTH + body);
}

/* An error response to a request with credentials need not be signed; it is a diagnosis, no more. */
static bool is_reply(StunAgent *agent, Message *reply, size_t n) {
    StunValidationStatus status = stun_agent_validate(agent, &reply->message, reply->bytes, n, NULL, NULL);
    return status == STUN_VALIDATION_SUCCESS || status == STUN_VALIDATION_UNKNOWN_ATTRIBUTE ||
           (status == STUN_VALIDATION_UNAUTHORIZED && stun_message_get_class(&reply->message) == STUN_ERROR);
}

/* Sends a request until its reply comes. False when none does. */
static bool exchange(const Line *line, StunAgent *agent, const Message *request, size_t n, Message *reply) {
    gint64 now = g_get_monotonic_time();
    while (now < line->deadline && !g_cancellable_is_cancelled(line->cancellable)) {
        gint64 resend = line->stream ? line->deadline : now + RESEND_US;
        if (g_socket_send(line->socket, (const char *)request->bytes, n, line->cancellable, NULL) != (gssize)n)
            return false;
        gssize got;
        while ((got = receive(line, reply->bytes, resend)) > 0)
            if (is_reply(agent, reply, (size_t)got))
                return true;
        if (got < 0 || line->stream)
            return false;
        now = g_get_monotonic_time();
    }
    return false;
}

static char *address_text(const struct sockaddr_storage *address) {
    g_autoptr(GSocketAddress) a = g_socket_address_new_from_native((gpointer)address, sizeof *address);
    return a ? g_socket_connectable_to_string(G_SOCKET_CONNECTABLE(a)) : g_strdup("an unknown address");
}

static int error_code(const StunMessage *message) {
    int code = 0;
    return stun_message_find_error(message, &code) == STUN_MESSAGE_RETURN_SUCCESS ? code : 0;
}

static Outcome stun_at(const Line *line, char **ret_text) {
    StunAgent agent;
    Message request, reply;
    struct sockaddr_storage mapped, alternate;
    socklen_t mapped_n = sizeof mapped, alternate_n = sizeof alternate;
    stun_agent_init(&agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389, 0);
    size_t n = stun_usage_bind_create(&agent, &request.message, request.bytes, sizeof request.bytes);
    if (!exchange(line, &agent, &request, n, &reply))
        return SILENT;
    switch (stun_usage_bind_process(&reply.message, (struct sockaddr *)&mapped, &mapped_n, (struct sockaddr *)&alternate,
                                    &alternate_n)) {
    case STUN_USAGE_BIND_RETURN_SUCCESS: {
        g_autofree char *text = address_text(&mapped);
        *ret_text = g_strdup_printf("sees this host as %s", text);
        return ANSWERED_WELL;
    }
    case STUN_USAGE_BIND_RETURN_ALTERNATE_SERVER: {
        g_autofree char *text = address_text(&alternate);
        *ret_text = g_strdup_printf("sends its clients to %s: configure that one", text);
        return ANSWERED_BADLY;
    }
    default:
        *ret_text = g_strdup_printf("answers with error %d: use another server", error_code(&reply.message));
        return ANSWERED_BADLY;
    }
}

static char *explain_refusal(StunMessage *reply) {
    uint16_t n = 0;
    const char *value = stun_message_find(reply, STUN_ATTRIBUTE_ERROR_CODE, &n);
    g_autofree char *phrase = value && n > 4 ? g_strndup(value + 4, n - 4u) : g_strdup("");
    switch (error_code(reply)) {
    case 401:
    case 441:
        return g_strdup("refuses these credentials: correct \"user\" and \"pass\"");
    case 403:
        return g_strdup("forbids this user to allocate: ask whoever runs it");
    case 442:
        return g_strdup("does not relay UDP: use another server");
    case 486:
        return g_strdup("this user has as many allocations as are allowed: raise the quota or try again later");
    case 508:
        return g_strdup("has no relay address left: try again later, or use another server");
    default:
        return g_strdup_printf("refuses to allocate with error %d %s", error_code(reply), phrase);
    }
}

static size_t make_allocate(StunAgent *agent, const Want *want, Message *challenge, Message *request) {
    return stun_usage_turn_create(agent, &request->message, request->bytes, sizeof request->bytes,
                                  challenge ? &challenge->message : NULL, STUN_USAGE_TURN_REQUEST_PORT_NORMAL, -1, -1,
                                  (uint8_t *)want->user, strlen(want->user), (uint8_t *)want->pass, strlen(want->pass),
                                  STUN_USAGE_TURN_COMPATIBILITY_RFC5766);
}

/* Its answer changes nothing: an allocation that stays ends by itself after ten minutes. */
static void release(const Line *line, StunAgent *agent, const Want *want, Message *challenge) {
    Message request, reply;
    Line briefly = *line;
    briefly.deadline = g_get_monotonic_time() + RELEASE_US;
    size_t n = stun_usage_turn_create_refresh(
        agent, &request.message, request.bytes, sizeof request.bytes, challenge ? &challenge->message : NULL, 0,
        (uint8_t *)want->user, strlen(want->user), (uint8_t *)want->pass, strlen(want->pass),
        STUN_USAGE_TURN_COMPATIBILITY_RFC5766);
    exchange(&briefly, agent, &request, n, &reply);
}

static Outcome turn_result(Message *reply, char **ret_text) {
    struct sockaddr_storage relay, mapped, alternate;
    socklen_t relay_n = sizeof relay, mapped_n = sizeof mapped, alternate_n = sizeof alternate;
    uint32_t bandwidth, lifetime;
    switch (stun_usage_turn_process(&reply->message, &relay, &relay_n, &mapped, &mapped_n, &alternate, &alternate_n,
                                    &bandwidth, &lifetime, STUN_USAGE_TURN_COMPATIBILITY_RFC5766)) {
    case STUN_USAGE_TURN_RETURN_RELAY_SUCCESS:
    case STUN_USAGE_TURN_RETURN_MAPPED_SUCCESS: {
        g_autofree char *text = address_text(&relay);
        *ret_text = g_strdup_printf("relays at %s", text);
        return ANSWERED_WELL;
    }
    case STUN_USAGE_TURN_RETURN_ALTERNATE_SERVER: {
        g_autofree char *text = address_text(&alternate);
        *ret_text = g_strdup_printf("sends its clients to %s: configure that one", text);
        return ANSWERED_BADLY;
    }
    case STUN_USAGE_TURN_RETURN_ERROR:
        *ret_text = explain_refusal(&reply->message);
        return ANSWERED_BADLY;
    default:
        *ret_text = g_strdup("answers, but not as a TURN server: is it one?");
        return ANSWERED_BADLY;
    }
}

/* The first request has no credentials; its refusal brings the realm and nonce for the second (RFC 8489 section 9.2).
 * A stale nonce brings another. */
static Outcome turn_at(const Line *line, const Want *want, char **ret_text) {
    StunAgent agent;
    Message request, reply, challenge;
    Message *challenged = NULL;
    stun_agent_init(&agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389, STUN_AGENT_USAGE_LONG_TERM_CREDENTIALS);
    size_t n = make_allocate(&agent, want, challenged, &request);
    if (!exchange(line, &agent, &request, n, &reply))
        return SILENT;
    for (int attempt = 0; attempt < 2; attempt++) {
        int code = error_code(&reply.message);
        if (!(code == 401 && attempt == 0) && code != 438)
            break;
        challenge = reply;
        challenge.message.buffer = challenge.bytes;
        challenged = &challenge;
        n = make_allocate(&agent, want, challenged, &request);
        if (!exchange(line, &agent, &request, n, &reply))
            return SILENT;
    }
    Outcome outcome = turn_result(&reply, ret_text);
    if (outcome == ANSWERED_WELL)
        release(line, &agent, want, challenged);
    return outcome;
}

static Outcome try_address(GInetAddress *address, guint16 port, const Want *want, gint64 deadline, GCancellable *cancellable,
                           char **ret_text) {
    g_autoptr(GSocketAddress) to = g_inet_socket_address_new(address, port);
    g_autoptr(GSocket) socket = g_socket_new(g_inet_address_get_family(address),
                                             want->stream ? G_SOCKET_TYPE_STREAM : G_SOCKET_TYPE_DATAGRAM,
                                             G_SOCKET_PROTOCOL_DEFAULT, NULL);
    g_autoptr(GError) error = NULL;
    if (!socket)
        return SILENT;
    g_socket_set_timeout(socket, IPOP_PROBE_SECONDS);
    Line line = {.socket = socket, .stream = want->stream, .deadline = deadline, .cancellable = cancellable};
    if (!g_socket_connect(socket, to, cancellable, &error))
        return SILENT;
    return want->user ? turn_at(&line, want, ret_text) : stun_at(&line, ret_text);
}

static GList *resolve(const char *server, guint16 *ret_port, GCancellable *cancellable, char **ret_text) {
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketConnectable) connectable = g_network_address_parse(server, 3478, &error);
    if (!connectable) {
        *ret_text = g_strdup("is no \"host:port\": correct it");
        return NULL;
    }
    GNetworkAddress *name = G_NETWORK_ADDRESS(connectable);
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    GList *addresses = g_resolver_lookup_by_name(resolver, g_network_address_get_hostname(name), cancellable, &error);
    if (!addresses)
        *ret_text = g_strdup_printf("its name can't be resolved (%s): correct it, or see to DNS",
                                    g_cancellable_is_cancelled(cancellable) ? "no answer" : error->message);
    *ret_port = g_network_address_get_port(name);
    return addresses;
}

static bool probe(const char *server, const Want *want, GCancellable *cancellable, char **ret_text) {
    guint16 port = 0;
    GList *addresses = resolve(server, &port, cancellable, ret_text);
    if (!addresses)
        return false;
    Outcome outcome = SILENT;
    unsigned tried = 0;
    for (GList *a = addresses; a && outcome == SILENT && tried < ADDRESSES_MAX; a = a->next, tried++) {
        gint64 deadline = a->next ? g_get_monotonic_time() + ADDRESS_US : G_MAXINT64;
        outcome = try_address(a->data, port, want, deadline, cancellable, ret_text);
    }
    g_resolver_free_addresses(addresses);
    if (outcome == SILENT)
        *ret_text = g_strdup_printf("does not answer over %s: is it running, and do firewalls let that through?",
                                    want->stream ? "TCP" : "UDP");
    return outcome == ANSWERED_WELL;
}

bool ipop_probe_stun(const char *server, GCancellable *cancellable, char **ret_text) {
    return probe(server, &(Want){0}, cancellable, ret_text);
}

bool ipop_probe_turn(const char *server, const char *user, const char *pass, bool tcp, GCancellable *cancellable,
                     char **ret_text) {
    return probe(server, &(Want){.user = user, .pass = pass, .stream = tcp}, cancellable, ret_text);
}
