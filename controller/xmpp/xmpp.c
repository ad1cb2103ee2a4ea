#include "controller/xmpp/xmpp.h"

#include "controller/xmpp/connection.h"
#include "controller/xmpp/iq.h"
#include "controller/xmpp/sendqueue.h"
#include "controller/xmpp/trouble.h"
#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/base/giotypes.h"

#include <signal.h>
#include <string.h>
#include <strophe.h>

#define LOGIN_TIMEOUT (10 * IPOP_SECOND)
#define LOGIN_TIMEOUT_MOVED (3 * IPOP_SECOND) /* of a login that began on the network there was before */
#define REQUEST_TIMEOUT (10 * IPOP_SECOND)
#define PING_TIMEOUT_MOVED (2 * IPOP_SECOND)
#define PING_TIMEOUT (10 * IPOP_SECOND)
#define SILENCE (60 * IPOP_SECOND) /* nothing heard for so long: is the server still there? */
#define AT_ONCE ((int)(IPOP_SECOND / 4))
#define STABLE (10 * IPOP_SECOND) /* a session this long was a good one */
#define BACKLOG_MAX (16 * 1024) /* the server does not read: stanzas keep their order of priority */
#define BACKLOG_PAUSE (IPOP_SECOND / 10)

struct IpopXmpp {
    IpopXmppEvents events;
    void *user;
    char *domain;
    IpopConnection *connection;
    IpopSendQueue *queue;
    IpopIqTable *requests;
    IpopXmppState state;
    char *error; /* of the last attempt or session; NULL when connected */

    GSource *login_timer; /* disconnected: the next attempt; connecting: the watchdog */
    GSource *send_timer;
    GSource *request_timer;
    GSource *silence_timer;
    int64_t heard; /* when something last came in */
    int64_t request_due; /* when request_timer rings */
    int64_t online_since;
    unsigned failures, refusals; /* in a row, ordinary and stubborn ones */
    bool moved;                  /* the network changed: when this ends, the next attempt follows at once */
    bool tried_at_once;          /* when the last good session ended */
    bool stubborn;               /* the last end was: a change of network does not shorten the wait */
    bool pinging;
};

/* --- timers: sources on the context of ipop_xmpp_new --- */

static gboolean dispatch_timer(GSource *source, GSourceFunc callback, void *user) {
    g_source_set_ready_time(source, -1);
    return callback(user);
}

static GSource *timer_new(GSourceFunc function, IpopXmpp *xmpp) {
    static GSourceFuncs functions = {.dispatch = dispatch_timer};
    GSource *source = g_source_new(&functions, sizeof(GSource));
    g_source_set_callback(source, function, xmpp, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

static void timer_free(GSource *source) {
    g_source_destroy(source);
    g_source_unref(source);
}

static void ring_in(GSource *timer, int64_t delay) {
    g_source_set_ready_time(timer, g_get_monotonic_time() + MAX(delay, 0));
}

/* --- state --- */

static void set_state(IpopXmpp *xmpp, IpopXmppState state, const char *jid) {
    xmpp->state = state;
    xmpp->events.state(xmpp->user, state, jid, xmpp->error);
}

static gboolean on_login_timer(void *user) {
    IpopXmpp *xmpp = user;
    if (xmpp->state == IPOP_XMPP_CONNECTING) {
        ipop_connection_hang_up(xmpp->connection);
    } else if (xmpp->state == IPOP_XMPP_DISCONNECTED) {
        xmpp->moved = false;
        ipop_connection_open(xmpp->connection);
        ring_in(xmpp->login_timer, LOGIN_TIMEOUT);
        set_state(xmpp, IPOP_XMPP_CONNECTING, NULL);
    }
    return G_SOURCE_CONTINUE;
}

static void on_online(IpopXmpp *xmpp, const char *jid) {
    g_source_set_ready_time(xmpp->login_timer, -1);
    xmpp->online_since = ipop_clock_now();
    xmpp->moved = xmpp->pinging = false;
    ring_in(xmpp->silence_timer, SILENCE);
    ipop_sendqueue_reset(xmpp->queue, xmpp->online_since);
    g_clear_pointer(&xmpp->error, g_free);
    set_state(xmpp, IPOP_XMPP_CONNECTED, jid);
}

static int64_t wait_after(IpopXmpp *xmpp, bool stubborn) {
    bool was_stable = xmpp->state == IPOP_XMPP_CONNECTED && ipop_clock_now() - xmpp->online_since >= STABLE;
    if (was_stable || xmpp->moved)
        xmpp->failures = 0;
    if (was_stable)
        xmpp->refusals = 0;
    /* It may be the way there that ended, not the server. Not all nodes of a server at the same moment. */
    bool at_once = xmpp->state == IPOP_XMPP_CONNECTED && !stubborn && (was_stable || !xmpp->tried_at_once);
    xmpp->tried_at_once |= at_once;
    if (at_once && !xmpp->moved)
        return g_random_int_range(0, AT_ONCE);
    unsigned *count = stubborn ? &xmpp->refusals : &xmpp->failures;
    ++*count;
    xmpp->stubborn = stubborn;
    return xmpp->moved && !stubborn ? 0 : ipop_trouble_wait(*count, stubborn, g_random_int());
}

static void on_closed(IpopXmpp *xmpp, const IpopEvent *event) {
    ring_in(xmpp->login_timer, wait_after(xmpp, event->stubborn));
    g_free(xmpp->error);
    xmpp->error = g_strdup(event->text);
    ipop_sendqueue_reset(xmpp->queue, ipop_clock_now());
    /* The state comes first: who is called back with LOST should find that nothing can be sent. */
    set_state(xmpp, IPOP_XMPP_DISCONNECTED, NULL);
    ipop_iq_table_lose(xmpp->requests);
}

static void on_answer(IpopXmpp *xmpp, const IpopEvent *event) {
    IpopIqOutcome outcome = event->kind == IPOP_EVENT_RESULT ? IPOP_IQ_RESULT : IPOP_IQ_ERROR;
    ipop_iq_table_answer(xmpp->requests, event->id, event->from, outcome, event->text, event->n);
}

static void on_event(void *user, const IpopEvent *event) {
    IpopXmpp *xmpp = user;
    xmpp->heard = ipop_clock_now();
    switch (event->kind) {
    case IPOP_EVENT_ONLINE:
        on_online(xmpp, event->text);
        break;
    case IPOP_EVENT_PRESENCE:
        xmpp->events.presence(xmpp->user, event->text, event->n);
        break;
    case IPOP_EVENT_REQUEST:
        xmpp->events.iq(xmpp->user, event->text, event->n);
        break;
    case IPOP_EVENT_RESULT:
    case IPOP_EVENT_ERROR:
        on_answer(xmpp, event);
        break;
    case IPOP_EVENT_CLOSED:
        on_closed(xmpp, event);
        break;
    }
}

/* --- sending --- */

static void watch_deadline(IpopXmpp *xmpp, int64_t deadline) {
    if (deadline >= xmpp->request_due)
        return;
    xmpp->request_due = deadline;
    ring_in(xmpp->request_timer, deadline - ipop_clock_now());
}

static void send_next(IpopXmpp *xmpp) {
    int64_t now = ipop_clock_now(), deadline = now + REQUEST_TIMEOUT;
    g_autofree char *id = NULL;
    char *xml = ipop_sendqueue_pop(xmpp->queue, now, &id);
    if (id) {
        ipop_iq_table_set_deadline(xmpp->requests, id, deadline);
        watch_deadline(xmpp, deadline);
    }
    ipop_connection_send(xmpp->connection, xml);
}

static gboolean on_send_timer(void *user) {
    IpopXmpp *xmpp = user;
    int64_t wait;
    while ((wait = ipop_sendqueue_wait(xmpp->queue, ipop_clock_now())) == 0) {
        if (ipop_connection_backlog(xmpp->connection) > BACKLOG_MAX) {
            wait = BACKLOG_PAUSE;
            break;
        }
        send_next(xmpp);
    }
    if (wait > 0)
        ring_in(xmpp->send_timer, wait);
    return G_SOURCE_CONTINUE;
}

static bool queue(IpopXmpp *xmpp, IpopXmppPriority priority, const char *xml, const char *id, const void *user) {
    if (xmpp->state != IPOP_XMPP_CONNECTED || !ipop_sendqueue_push(xmpp->queue, priority, xml, id, user))
        return false;
    /* Not at once: what is said in one go is sorted by priority first. */
    ring_in(xmpp->send_timer, 0);
    return true;
}

bool ipop_xmpp_send(IpopXmpp *xmpp, IpopXmppPriority priority, const char *xml) {
    return queue(xmpp, priority, xml, NULL, NULL);
}

/* --- requests --- */

static char *request_xml(const char *type, const char *to, const char *id, const char *payload) {
    g_autofree char *head = g_markup_printf_escaped("<iq type='%s' to='%s' id='%s'>", type, to, id);
    return g_strconcat(head, payload, "</iq>", NULL);
}

bool ipop_xmpp_request(IpopXmpp *xmpp, IpopXmppPriority priority, const char *type, const char *to, const char *payload,
                       IpopIqCallback callback, void *user) {
    if (!to)
        to = xmpp->domain;
    const char *id = ipop_iq_table_add(xmpp->requests, to, INT64_MAX, callback, user);
    if (!id)
        return false;
    g_autofree char *xml = request_xml(type, to, id, payload);
    if (!queue(xmpp, priority, xml, id, user)) {
        ipop_iq_table_remove(xmpp->requests, id);
        return false;
    }
    return true;
}

void ipop_xmpp_cancel(IpopXmpp *xmpp, const void *user) {
    ipop_iq_table_cancel(xmpp->requests, user);
    /* What comes after all is worse than nothing: an offer ends the session that took its place. */
    ipop_sendqueue_cancel(xmpp->queue, user);
    ring_in(xmpp->send_timer, 0);
}

/* --- is the server still there? --- */

static void on_pong(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    IpopXmpp *xmpp = user;
    if (outcome == IPOP_IQ_TIMEOUT) {
        ipop_connection_hang_up(xmpp->connection);
        return;
    }
    xmpp->moved = xmpp->pinging = false; /* an error is an answer too */
}

/* The time runs from now, not from when the ping leaves the queue: a server that does not read is no server. */
static void ping_server(IpopXmpp *xmpp, int64_t timeout) {
    int64_t deadline = ipop_clock_now() + timeout;
    const char *id = ipop_iq_table_add(xmpp->requests, xmpp->domain, deadline, on_pong, xmpp);
    if (!id)
        return;
    g_autofree char *xml = request_xml("get", xmpp->domain, id, "<ping xmlns='urn:xmpp:ping'/>");
    queue(xmpp, IPOP_XMPP_REPLY, xml, NULL, NULL);
    watch_deadline(xmpp, deadline);
    xmpp->pinging = true;
}

static gboolean on_request_timer(void *user) {
    IpopXmpp *xmpp = user;
    xmpp->request_due = INT64_MAX;
    unsigned expired = ipop_iq_table_expire(xmpp->requests, ipop_clock_now());
    /* Gone may be the one who was asked, or the server. */
    if (expired && !xmpp->pinging && xmpp->state == IPOP_XMPP_CONNECTED)
        ping_server(xmpp, PING_TIMEOUT);
    watch_deadline(xmpp, ipop_iq_table_next(xmpp->requests));
    return G_SOURCE_CONTINUE;
}

static gboolean on_silence_timer(void *user) {
    IpopXmpp *xmpp = user;
    int64_t silent = ipop_clock_now() - xmpp->heard;
    if (xmpp->state != IPOP_XMPP_CONNECTED)
        return G_SOURCE_CONTINUE;
    if (silent >= SILENCE && !xmpp->pinging)
        ping_server(xmpp, PING_TIMEOUT);
    ring_in(xmpp->silence_timer, silent >= SILENCE ? SILENCE : SILENCE - silent);
    return G_SOURCE_CONTINUE;
}

void ipop_xmpp_network_changed(IpopXmpp *xmpp) {
    switch (xmpp->state) {
    case IPOP_XMPP_CONNECTED:
        if (ipop_connection_stranded(xmpp->connection))
            ipop_connection_hang_up(xmpp->connection);
        else if (!xmpp->moved || !xmpp->pinging) /* one ping does for all who doubt */
            ping_server(xmpp, PING_TIMEOUT_MOVED);
        xmpp->moved = true;
        break;
    case IPOP_XMPP_CONNECTING:
        if (!xmpp->moved)
            ring_in(xmpp->login_timer, LOGIN_TIMEOUT_MOVED);
        xmpp->moved = true;
        break;
    case IPOP_XMPP_DISCONNECTED:
        xmpp->failures = 0;
        if (!xmpp->stubborn)
            ring_in(xmpp->login_timer, 0);
        break;
    }
}

/* --- coming and going --- */

/* Also what libstrophe would put into the stream's head as it is. */
static bool is_bare_jid(const char *jid) {
    for (const char *c = jid; *c; c++)
        if (g_ascii_iscntrl(*c) || strchr("\"&'/<> ", *c))
            return false;
    const char *at = strchr(jid, '@');
    return at && at != jid && at[1] && !strchr(at + 1, '@') && strlen(jid) <= IPOP_JID_MAX &&
           g_utf8_validate(jid, -1, NULL);
}

static bool check_cafile(const char *cafile, GError **error) {
    g_autofree char *text = NULL;
    size_t n;
    g_autoptr(GError) cause = NULL;
    if (!g_file_get_contents(cafile, &text, &n, &cause)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "can't read xmpp_cafile: %s", cause->message);
        return false;
    }
    if (!g_strstr_len(text, (ssize_t)n, "-----BEGIN CERTIFICATE-----")) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG,
                    "xmpp_cafile %s holds no certificate: give a file in PEM form (-----BEGIN CERTIFICATE-----)", cafile);
        return false;
    }
    return true;
}

IpopXmpp *ipop_xmpp_new(const IpopXmppConfig *config, const IpopXmppEvents *events, void *user, GError **error) {
    if (!is_bare_jid(config->jid)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "xmpp_username \"%s\" is no Jabber account: it looks like user@domain",
                    config->jid);
        return NULL;
    }
    if (config->cafile && !check_cafile(config->cafile, error))
        return NULL;
    ipop_giotypes_init();
    /* Neither libstrophe nor OpenSSL writes with MSG_NOSIGNAL. */
    signal(SIGPIPE, SIG_IGN);

    IpopXmpp *xmpp = g_new0(IpopXmpp, 1);
    xmpp->events = *events;
    xmpp->user = user;
    xmpp->domain = g_strdup(strchr(config->jid, '@') + 1);
    xmpp->queue = ipop_sendqueue_new();
    xmpp->requests = ipop_iq_table_new(config->jid);
    xmpp->request_due = INT64_MAX;
    xmpp->login_timer = timer_new(on_login_timer, xmpp);
    xmpp->send_timer = timer_new(on_send_timer, xmpp);
    xmpp->request_timer = timer_new(on_request_timer, xmpp);
    xmpp->silence_timer = timer_new(on_silence_timer, xmpp);
    xmpp->connection = ipop_connection_new(config, on_event, xmpp);
    ring_in(xmpp->login_timer, 0);
    return xmpp;
}

void ipop_xmpp_free(IpopXmpp *xmpp) {
    if (!xmpp)
        return;
    ipop_connection_free(xmpp->connection);
    timer_free(xmpp->login_timer);
    timer_free(xmpp->send_timer);
    timer_free(xmpp->request_timer);
    timer_free(xmpp->silence_timer);
    ipop_iq_table_free(xmpp->requests);
    ipop_sendqueue_free(xmpp->queue);
    g_free(xmpp->error);
    g_free(xmpp->domain);
    g_free(xmpp);
}

uint64_t ipop_xmpp_dropped(const IpopXmpp *xmpp) {
    return ipop_connection_dropped(xmpp->connection);
}

/* --- ipop check --- */

typedef struct {
    IpopXmpp *xmpp;
    GMainLoop *loop;
    bool in;
    char *error;
    const char *const *questions; /* those still to be asked */
    char *answer;
} Trial;

static void ask_next(Trial *trial);

static void on_trial_answer(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    Trial *trial = user;
    if (outcome == IPOP_IQ_RESULT) {
        trial->answer = g_strndup(xml, n);
        g_main_loop_quit(trial->loop);
    } else {
        ask_next(trial);
    }
}

static void ask_next(Trial *trial) {
    const char *question = trial->questions ? *trial->questions : NULL;
    if (question)
        trial->questions++;
    if (!question || !ipop_xmpp_request(trial->xmpp, IPOP_XMPP_REPLY, "get", NULL, question, on_trial_answer, trial))
        g_main_loop_quit(trial->loop);
}

static void on_trial_state(void *user, IpopXmppState state, const char *jid, const char *error) {
    Trial *trial = user;
    if (state == IPOP_XMPP_CONNECTED) {
        trial->in = true;
        ask_next(trial);
    } else if (state == IPOP_XMPP_DISCONNECTED) {
        trial->error = trial->in ? NULL : g_strdup(error); /* that it ended afterwards is another story */
        g_main_loop_quit(trial->loop);
    }
}

static void on_trial_stanza(void *user, const char *xml, size_t n) {
}

static gboolean on_trial_timeout(void *user) {
    /* Which ends it with a sentence that says how far it got. */
    ipop_connection_hang_up(((Trial *)user)->xmpp->connection);
    return G_SOURCE_REMOVE;
}

char *ipop_xmpp_try_login(const IpopXmppConfig *config, unsigned timeout_ms, const char *const *questions, char **ret_answer) {
    static const IpopXmppEvents events = {on_trial_state, on_trial_stanza, on_trial_stanza};
    g_autoptr(GMainContext) context = g_main_context_new();
    g_main_context_push_thread_default(context);
    Trial trial = {.loop = g_main_loop_new(context, FALSE), .questions = questions};
    g_autoptr(GError) error = NULL;
    trial.xmpp = ipop_xmpp_new(config, &events, &trial, &error);
    if (trial.xmpp) {
        g_autoptr(GSource) timeout = g_timeout_source_new(timeout_ms);
        g_source_set_callback(timeout, on_trial_timeout, &trial, NULL);
        g_source_attach(timeout, context);
        g_main_loop_run(trial.loop);
        g_source_destroy(timeout);
    } else {
        trial.error = g_strdup(error->message);
    }
    ipop_xmpp_free(trial.xmpp);
    g_main_loop_unref(trial.loop);
    g_main_context_pop_thread_default(context);
    if (ret_answer)
        *ret_answer = trial.answer;
    return trial.error;
}
