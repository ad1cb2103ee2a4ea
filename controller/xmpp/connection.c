#include "controller/xmpp/connection.h"

#include "controller/xmpp/login.h"
#include "tincan/base/secret.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define GOODBYE_TIMEOUT_NS 500000000

struct IpopConnection {
    IpopConnectionReader reader;
    void *user;
    IpopInbox *inbox;
    uint64_t handed; /* bytes sent, this session's and earlier ones' */
    bool online;
    char *jid, *resource, *host, *cafile, *password;
    IpopAccount account;

    GThread *thread;
    GMainContext *context;
    GMainLoop *loop;
    IpopHangup hangup;
    atomic_uint_fast64_t written; /* of `handed`: taken by the kernel, or lost with a session */
    atomic_uint_fast64_t dropped;
    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t cond;
    bool finished;
    GQueue outbox;

    /* The thread's own. */
    IpopLogin *login;
    uint64_t taken; /* of `handed`: given to libstrophe or lost */
    unsigned login_dropped;
    bool direct_tls, quitting;
};

/* g_main_context_invoke would run it here and now while the thread has not begun to iterate. */
static void post(IpopConnection *self, GSourceFunc function, void *user) {
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, function, user, NULL);
    g_source_attach(source, self->context);
}

/* --- the thread's side --- */

static void push(IpopConnection *self, const IpopEvent *event) {
    if (!ipop_inbox_push(self->inbox, event) && self->login)
        ipop_login_hold(self->login, true);
}

static void count_written(IpopConnection *self) {
    if (!self->login || ipop_login_all_written(self->login))
        atomic_store(&self->written, self->taken);
    if (self->login) {
        unsigned dropped = ipop_login_dropped(self->login);
        atomic_fetch_add(&self->dropped, dropped - self->login_dropped);
        self->login_dropped = dropped;
    }
}

static void on_login_event(void *user, const IpopEvent *event) {
    push(user, event);
}

static void on_login_ended(void *user, const IpopEvent *event, bool tls_failed) {
    IpopConnection *self = user;
    self->direct_tls = !tls_failed;
    count_written(self);
    g_clear_pointer(&self->login, ipop_login_free);
    count_written(self);
    push(self, event);
    if (self->quitting)
        g_main_loop_quit(self->loop);
}

static void on_login_ran(void *user) {
    count_written(user);
}

static const IpopLoginOwner owner = {.event = on_login_event, .ended = on_login_ended, .ran = on_login_ran};

static gboolean do_open(void *user) {
    IpopConnection *self = user;
    self->login_dropped = 0;
    self->login = ipop_login_new(&self->account, &self->hangup, self->direct_tls, &owner, self);
    return G_SOURCE_REMOVE;
}

static gboolean do_send(void *user) {
    IpopConnection *self = user;
    pthread_mutex_lock(&self->mutex);
    g_autofree char *xml = g_queue_pop_head(&self->outbox);
    pthread_mutex_unlock(&self->mutex);
    size_t n = strlen(xml);
    if (self->login)
        ipop_login_send(self->login, xml, n);
    self->taken += n;
    count_written(self);
    return G_SOURCE_REMOVE;
}

static gboolean do_go_on(void *user) {
    IpopConnection *self = user;
    if (self->login)
        ipop_login_hold(self->login, false);
    return G_SOURCE_REMOVE;
}

static gboolean do_quit(void *user) {
    IpopConnection *self = user;
    self->quitting = true;
    do_go_on(self);
    if (self->login)
        ipop_login_log_out(self->login);
    else
        g_main_loop_quit(self->loop);
    return G_SOURCE_REMOVE;
}

static void *run(void *user) {
    IpopConnection *self = user;
    g_main_context_push_thread_default(self->context);
    g_main_loop_run(self->loop);
    g_main_context_pop_thread_default(self->context);
    pthread_mutex_lock(&self->mutex);
    self->finished = true;
    pthread_cond_signal(&self->cond);
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

/* --- the main thread's side --- */

static void on_inbox_event(void *user, const IpopEvent *event) {
    IpopConnection *self = user;
    if (event->kind == IPOP_EVENT_ONLINE)
        self->online = true;
    if (event->kind == IPOP_EVENT_CLOSED)
        self->online = false;
    self->reader(self->user, event);
}

static void on_inbox_drained(void *user) {
    post(user, do_go_on, user);
}

static void copy_account(IpopConnection *self, const IpopXmppConfig *config) {
    self->jid = g_strdup(config->jid);
    self->resource = g_strdup(config->resource);
    self->host = g_strdup(config->host);
    self->cafile = g_strdup(config->cafile);
    size_t size = strlen(config->password) + 1;
    self->password = ipop_secret_new(size);
    memcpy(self->password, config->password, size);
    self->account = (IpopAccount){
        .jid = self->jid,
        .domain = strchr(self->jid, '@') + 1,
        .resource = self->resource,
        .password = self->password,
        .host = self->host,
        .cafile = self->cafile,
        .port = (unsigned short)config->port,
    };
}

IpopConnection *ipop_connection_new(const IpopXmppConfig *config, IpopConnectionReader reader, void *user) {
    static const IpopInboxReader inbox_reader = {.event = on_inbox_event, .drained = on_inbox_drained};
    IpopConnection *self = g_new0(IpopConnection, 1);
    self->reader = reader;
    self->user = user;
    self->direct_tls = true;
    copy_account(self, config);
    ipop_hangup_init(&self->hangup);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->cond, NULL);
    self->inbox = ipop_inbox_new(&inbox_reader, self);
    self->context = g_main_context_new();
    self->loop = g_main_loop_new(self->context, FALSE);
    self->thread = g_thread_new("xmpp", run, self);
    return self;
}

static void wait_for_goodbye(IpopConnection *self) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += GOODBYE_TIMEOUT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&self->mutex);
    while (!self->finished && pthread_cond_clockwait(&self->cond, &self->mutex, CLOCK_MONOTONIC, &until) == 0)
        ;
    pthread_mutex_unlock(&self->mutex);
}

void ipop_connection_free(IpopConnection *self) {
    if (!self)
        return;
    ipop_inbox_shut(self->inbox);
    post(self, do_quit, self);
    if (self->online)
        wait_for_goodbye(self);
    ipop_hangup_pull(&self->hangup);
    g_thread_join(self->thread);

    g_queue_clear_full(&self->outbox, g_free);
    g_main_loop_unref(self->loop);
    g_main_context_unref(self->context);
    ipop_inbox_free(self->inbox);
    ipop_hangup_clear(&self->hangup);
    pthread_mutex_destroy(&self->mutex);
    pthread_cond_destroy(&self->cond);
    g_free(self->jid);
    g_free(self->resource);
    g_free(self->host);
    g_free(self->cafile);
    ipop_secret_free(self->password);
    g_free(self);
}

void ipop_connection_open(IpopConnection *self) {
    ipop_hangup_rearm(&self->hangup);
    post(self, do_open, self);
}

void ipop_connection_hang_up(IpopConnection *self) {
    ipop_hangup_pull(&self->hangup);
}

bool ipop_connection_stranded(IpopConnection *self) {
    return ipop_hangup_stranded(&self->hangup);
}

void ipop_connection_send(IpopConnection *self, char *xml) {
    self->handed += strlen(xml);
    pthread_mutex_lock(&self->mutex);
    g_queue_push_tail(&self->outbox, xml);
    pthread_mutex_unlock(&self->mutex);
    post(self, do_send, self);
}

size_t ipop_connection_backlog(const IpopConnection *self) {
    return (size_t)(self->handed - atomic_load(&self->written));
}

uint64_t ipop_connection_dropped(const IpopConnection *self) {
    return atomic_load(&self->dropped);
}
