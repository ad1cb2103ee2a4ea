#include "tincan/stun/turn.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <stun/stunagent.h>
#include <stun/usages/turn.h>
#include <unistd.h>

#define MESSAGE_MAX 1500
#define RESEND_MS 400  /* RFC 8489 section 6.2.1: a lost datagram is sent again */
#define RELEASE_MS 300 /* how long the answer to the release is waited for; an allocation that stays ends after 10 min */
#define CHALLENGES_MAX 2

/* A message and the bytes it stands on. */
typedef struct {
    StunMessage message;
    uint8_t bytes[MESSAGE_MAX];
} Message;

struct IpopTurnTrial {
    StunAgent agent;
    bool tcp;
    const char *user_name, *password;
    IpopTurnDone done;
    void *user;
    int fd;
    guint fd_source, deadline, resend;

    Message request, reply, challenge;
    size_t request_n, reply_n; /* reply_n: bytes of a TCP answer so far */
    unsigned challenges;
    bool releasing;
};

/* --- what an answer means --- */

static int error_code(const StunMessage *message) {
    int code = 0;
    return stun_message_find_error(message, &code) == STUN_MESSAGE_RETURN_SUCCESS ? code : 0;
}

static char *explain_refusal(StunMessage *reply) {
    uint16_t n = 0;
    const char *value = stun_message_find(reply, STUN_ATTRIBUTE_ERROR_CODE, &n);
    g_autofree char *phrase = value && n > 4 ? g_utf8_make_valid(value + 4, n - 4u) : g_strdup("");
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

static char *join_address(const char *before, const struct sockaddr_storage *address, const char *after) {
    char text[IPOP_ADDRESS_TEXT_SIZE];
    ipop_address_text((const IpopAddress *)address, text);
    return g_strconcat(before, text, after, NULL);
}

static IpopTurnOutcome read_result(StunMessage *reply, char **ret_text) {
    struct sockaddr_storage relay = {0}, mapped = {0}, alternate = {0};
    socklen_t relay_n = sizeof relay, mapped_n = sizeof mapped, alternate_n = sizeof alternate;
    uint32_t bandwidth, lifetime;
    switch (stun_usage_turn_process(reply, &relay, &relay_n, &mapped, &mapped_n, &alternate, &alternate_n, &bandwidth, &lifetime,
                                    STUN_USAGE_TURN_COMPATIBILITY_RFC5766)) {
    case STUN_USAGE_TURN_RETURN_RELAY_SUCCESS:
    case STUN_USAGE_TURN_RETURN_MAPPED_SUCCESS:
        *ret_text = join_address("relays at ", &relay, "");
        return IPOP_TURN_GOOD;
    case STUN_USAGE_TURN_RETURN_ALTERNATE_SERVER:
        *ret_text = join_address("sends its clients to ", &alternate, ": configure that one");
        return IPOP_TURN_BAD;
    case STUN_USAGE_TURN_RETURN_ERROR:
        *ret_text = explain_refusal(reply);
        return IPOP_TURN_BAD;
    default:
        *ret_text = g_strdup("answers, but not as a TURN server: is it one?");
        return IPOP_TURN_BAD;
    }
}

/* --- the conversation --- */

static void disconnect(IpopTurnTrial *trial) {
    g_clear_handle_id(&trial->fd_source, g_source_remove);
    g_clear_handle_id(&trial->deadline, g_source_remove);
    g_clear_handle_id(&trial->resend, g_source_remove);
    if (trial->fd >= 0)
        close(trial->fd);
    trial->fd = -1;
}

/* done may free the trial. */
static void finish(IpopTurnTrial *trial, IpopTurnOutcome outcome, const char *text) {
    if (!trial->releasing)
        disconnect(trial);
    trial->done(trial->user, outcome, text);
}

static void finish_silent(IpopTurnTrial *trial) {
    g_autofree char *text =
        g_strdup_printf("does not answer over %s: is it running, and do firewalls let that through?", trial->tcp ? "TCP" : "UDP");
    finish(trial, IPOP_TURN_SILENT, text);
}

static bool send_request(IpopTurnTrial *trial) {
    return send(trial->fd, trial->request.bytes, trial->request_n, MSG_NOSIGNAL) == (ssize_t)trial->request_n;
}

static gboolean on_resend(gpointer data) {
    IpopTurnTrial *trial = data;
    send_request(trial); /* the deadline is what ends it */
    return G_SOURCE_CONTINUE;
}

/* The first request has no credentials; its refusal brings the realm and nonce for the next (RFC 8489 section 9.2). */
static bool send_allocate(IpopTurnTrial *trial) {
    StunMessage *challenge = trial->challenges > 0 ? &trial->challenge.message : NULL;
    trial->request_n = stun_usage_turn_create(
        &trial->agent, &trial->request.message, trial->request.bytes, MESSAGE_MAX, challenge, STUN_USAGE_TURN_REQUEST_PORT_NORMAL,
        -1, -1, (uint8_t *)trial->user_name, strlen(trial->user_name), (uint8_t *)trial->password, strlen(trial->password),
        STUN_USAGE_TURN_COMPATIBILITY_RFC5766);
    return trial->request_n > 0 && send_request(trial);
}

static gboolean on_released_late(gpointer data) {
    IpopTurnTrial *trial = data;
    trial->deadline = 0;
    disconnect(trial);
    return G_SOURCE_REMOVE;
}

static void release(IpopTurnTrial *trial) {
    StunMessage *challenge = trial->challenges > 0 ? &trial->challenge.message : NULL;
    trial->request_n = stun_usage_turn_create_refresh(
        &trial->agent, &trial->request.message, trial->request.bytes, MESSAGE_MAX, challenge, 0, (uint8_t *)trial->user_name,
        strlen(trial->user_name), (uint8_t *)trial->password, strlen(trial->password), STUN_USAGE_TURN_COMPATIBILITY_RFC5766);
    trial->releasing = true;
    g_clear_handle_id(&trial->resend, g_source_remove);
    g_source_remove(trial->deadline);
    trial->deadline = g_timeout_add(RELEASE_MS, on_released_late, trial);
    send_request(trial);
}

/* An error response to a request with credentials need not be signed; it is a diagnosis, no more. */
static bool is_reply(IpopTurnTrial *trial, size_t n) {
    StunMessage *message = &trial->reply.message;
    StunValidationStatus status = stun_agent_validate(&trial->agent, message, trial->reply.bytes, n, NULL, NULL);
    return status == STUN_VALIDATION_SUCCESS || status == STUN_VALIDATION_UNKNOWN_ATTRIBUTE ||
           (status == STUN_VALIDATION_UNAUTHORIZED && stun_message_get_class(message) == STUN_ERROR);
}

/* The trial may be gone afterwards. */
static void handle_reply(IpopTurnTrial *trial, size_t n) {
    g_autofree char *text = NULL;
    if (!is_reply(trial, n))
        return;
    if (trial->releasing) {
        disconnect(trial);
        return;
    }
    int code = error_code(&trial->reply.message);
    if (((code == 401 && trial->challenges == 0) || code == 438) && trial->challenges < CHALLENGES_MAX) {
        trial->challenge = trial->reply;
        trial->challenge.message.buffer = trial->challenge.bytes;
        trial->challenges++;
        if (!send_allocate(trial))
            finish_silent(trial);
        return;
    }
    IpopTurnOutcome outcome = read_result(&trial->reply.message, &text);
    if (outcome == IPOP_TURN_GOOD)
        release(trial);
    finish(trial, outcome, text);
}

static gboolean on_datagram(int fd, GIOCondition condition, gpointer data) {
    IpopTurnTrial *trial = data;
    ssize_t n = recv(fd, trial->reply.bytes, MESSAGE_MAX, 0);
    /* An ICMP error may be forged, or a router's that is just starting: only time tells that nobody is there. */
    if (n > 0)
        handle_reply(trial, (size_t)n);
    return G_SOURCE_CONTINUE;
}

/* Bytes of the whole message, as far as that is known: its own length frames it (RFC 8489 section 6.2.2). */
static size_t frame(const IpopTurnTrial *trial) {
    const uint8_t *bytes = trial->reply.bytes;
    if (trial->reply_n < STUN_MESSAGE_HEADER_LENGTH)
        return STUN_MESSAGE_HEADER_LENGTH;
    return STUN_MESSAGE_HEADER_LENGTH + ((size_t)bytes[2] << 8 | bytes[3]);
}

static gboolean on_stream(int fd, GIOCondition condition, gpointer data) {
    IpopTurnTrial *trial = data;
    size_t wanted = frame(trial);
    ssize_t n = wanted <= MESSAGE_MAX ? recv(fd, trial->reply.bytes + trial->reply_n, wanted - trial->reply_n, 0) : 0;
    if (n < 0 && errno == EAGAIN)
        return G_SOURCE_CONTINUE;
    if (n <= 0) {
        if (trial->releasing)
            disconnect(trial);
        else
            finish_silent(trial);
        return G_SOURCE_CONTINUE;
    }
    size_t have = trial->reply_n += (size_t)n;
    if (have >= STUN_MESSAGE_HEADER_LENGTH && have == frame(trial)) {
        trial->reply_n = 0;
        handle_reply(trial, have);
    }
    return G_SOURCE_CONTINUE;
}

/* An error shows when the request is sent. */
static gboolean on_connected(int fd, GIOCondition condition, gpointer data) {
    IpopTurnTrial *trial = data;
    trial->fd_source = g_unix_fd_add(fd, G_IO_IN, on_stream, trial);
    if (!send_allocate(trial))
        finish_silent(trial);
    return G_SOURCE_REMOVE;
}

static gboolean on_deadline(gpointer data) {
    IpopTurnTrial *trial = data;
    trial->deadline = 0;
    finish_silent(trial);
    return G_SOURCE_REMOVE;
}

static bool start(IpopTurnTrial *trial, const IpopAddress *server) {
    int type = (trial->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    trial->fd = socket(server->any.sa_family, type, 0);
    if (trial->fd < 0 || (connect(trial->fd, &server->any, ipop_address_size(server)) < 0 && errno != EINPROGRESS))
        return false;
    if (trial->tcp) {
        trial->fd_source = g_unix_fd_add(trial->fd, G_IO_OUT, on_connected, trial);
        return true;
    }
    trial->fd_source = g_unix_fd_add(trial->fd, G_IO_IN, on_datagram, trial);
    trial->resend = g_timeout_add(RESEND_MS, on_resend, trial);
    return send_allocate(trial);
}

IpopTurnTrial *ipop_turn_try(const IpopAddress *server, bool tcp, const char *user_name, const char *password, IpopTurnDone done,
                             void *user) {
    IpopTurnTrial *trial = g_new0(IpopTurnTrial, 1);
    trial->tcp = tcp;
    trial->user_name = user_name;
    trial->password = password;
    trial->done = done;
    trial->user = user;
    stun_agent_init(&trial->agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389,
                    STUN_AGENT_USAGE_LONG_TERM_CREDENTIALS);
    /* What can't even be started is told from the main loop like everything else. */
    trial->deadline = g_timeout_add(start(trial, server) ? IPOP_TURN_TRIAL_MS : 0, on_deadline, trial);
    return trial;
}

void ipop_turn_trial_free(IpopTurnTrial *trial) {
    if (!trial)
        return;
    disconnect(trial);
    explicit_bzero(trial, sizeof *trial);
    g_free(trial);
}
