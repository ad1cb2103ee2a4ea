#include "tincan/stun/filter.h"

#include <glib-unix.h>
#include <glib.h>
#include <string.h>
#include <stun/stunagent.h>
#include <stun/usages/bind.h>
#include <unistd.h>

#define DATAGRAM_MAX 1500
#define REPEAT_MS 500 /* RTO of RFC 8489 section 6.2.1 */
#define ROUNDS 3
#define CHANGE_PORT 0x02 /* RFC 5780 section 7.2 */
#define CHANGE_IP 0x04

/* What the server is asked: to answer from where it was asked, from another port, from another address. */
enum { PLAIN, OTHER_PORT, OTHER_ADDRESS, QUESTIONS };

struct IpopFilterTrial {
    StunAgent agent;
    IpopAddress server;
    IpopFilterDone done;
    void *user;
    int fd;
    guint fd_source, timer;
    unsigned rounds;
    StunTransactionId asked[ROUNDS][QUESTIONS];
    bool answered[QUESTIONS];
    bool incapable; /* the server answers from the same place whatever it is asked */
};

/* On a socket of its own: one that has written to the server's other address would be answered from there anyway. */
static void ask(IpopFilterTrial *trial, unsigned question) {
    static const uint32_t change[QUESTIONS] = {0, CHANGE_PORT, CHANGE_PORT | CHANGE_IP};
    uint8_t buffer[DATAGRAM_MAX];
    StunMessage message;
    if (trial->answered[question] ||
        !stun_agent_init_request(&trial->agent, &message, buffer, sizeof buffer, STUN_BINDING))
        return;
    if (change[question])
        stun_message_append32(&message, STUN_ATTRIBUTE_CHANGE_REQUEST, change[question]);
    size_t n = stun_agent_finish_message(&trial->agent, &message, NULL, 0);
    stun_message_id(&message, trial->asked[trial->rounds][question]);
    ssize_t sent = sendto(trial->fd, buffer, n, 0, &trial->server.any, ipop_address_size(&trial->server));
    (void)sent; /* as good as lost */
}

static void finish(IpopFilterTrial *trial) {
    IpopNatFilter filter = trial->answered[OTHER_ADDRESS]                    ? IPOP_NAT_FILTER_NONE
                           : trial->answered[OTHER_PORT]                     ? IPOP_NAT_FILTER_ADDRESS
                           : trial->answered[PLAIN] && !trial->incapable     ? IPOP_NAT_FILTER_PORT
                                                                             : IPOP_NAT_FILTER_UNKNOWN;
    g_clear_handle_id(&trial->timer, g_source_remove);
    g_clear_handle_id(&trial->fd_source, g_source_remove);
    trial->done(trial->user, filter);
}

static void take_answer(IpopFilterTrial *trial, unsigned question, const IpopAddress *from) {
    bool moved = question == OTHER_ADDRESS ? !ipop_address_same_ip(from, &trial->server)
                                           : !ipop_address_equal(from, &trial->server);
    if (question == PLAIN || moved)
        trial->answered[question] = true;
    else
        trial->incapable = true;
}

/* Wherever it comes from: only the server knows the transaction's 96 random bits. */
static gboolean on_readable(int fd, GIOCondition condition, gpointer data) {
    IpopFilterTrial *trial = data;
    uint8_t datagram[DATAGRAM_MAX];
    StunMessage message;
    StunTransactionId id;
    IpopAddress from = {0};
    socklen_t from_size = sizeof from;
    ssize_t n = recvfrom(fd, datagram, sizeof datagram, 0, &from.any, &from_size);
    if (n <= 0 || stun_agent_validate(&trial->agent, &message, datagram, (size_t)n, NULL, NULL) != STUN_VALIDATION_SUCCESS ||
        stun_message_get_class(&message) != STUN_RESPONSE)
        return G_SOURCE_CONTINUE;
    stun_message_id(&message, id);
    for (unsigned i = 0; i < ROUNDS * QUESTIONS; i++)
        if (memcmp(trial->asked[i / QUESTIONS][i % QUESTIONS], id, sizeof id) == 0)
            take_answer(trial, i % QUESTIONS, &from);
    if (trial->answered[OTHER_ADDRESS])
        finish(trial);
    return G_SOURCE_CONTINUE;
}

static gboolean on_timer(gpointer data) {
    IpopFilterTrial *trial = data;
    if (trial->fd < 0 || trial->rounds == ROUNDS) {
        trial->timer = 0;
        finish(trial);
        return G_SOURCE_REMOVE;
    }
    for (unsigned question = 0; question < QUESTIONS; question++)
        ask(trial, question);
    trial->rounds++;
    return G_SOURCE_CONTINUE;
}

IpopFilterTrial *ipop_filter_try(const IpopAddress *server, IpopFilterDone done, void *user) {
    IpopFilterTrial *trial = g_new0(IpopFilterTrial, 1);
    trial->server = *server;
    trial->done = done;
    trial->user = user;
    stun_agent_init(&trial->agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389, STUN_AGENT_USAGE_IGNORE_CREDENTIALS);
    trial->fd = socket(server->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (trial->fd >= 0)
        trial->fd_source = g_unix_fd_add(trial->fd, G_IO_IN, on_readable, trial);
    trial->timer = g_timeout_add(REPEAT_MS, on_timer, trial);
    if (trial->fd >= 0)
        on_timer(trial);
    return trial;
}

void ipop_filter_trial_free(IpopFilterTrial *trial) {
    if (!trial)
        return;
    g_clear_handle_id(&trial->timer, g_source_remove);
    g_clear_handle_id(&trial->fd_source, g_source_remove);
    if (trial->fd >= 0)
        close(trial->fd);
    g_free(trial);
}
