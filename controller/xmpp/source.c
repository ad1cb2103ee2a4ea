#include "controller/xmpp/source.h"

#include <poll.h>
#include <sys/ioctl.h>

#define RUNS_AFTER_INPUT 5
#define TICK G_USEC_PER_SEC

typedef struct {
    GSource source;
    xmpp_ctx_t *ctx;
    int fd;
    void *tag; /* of the watched fd */
    GIOCondition watched;
    unsigned runs; /* to be done without waiting */
    bool held;
} StropheSource;

/* The length of libstrophe's queue does not tell whether it has something to write (it leaves out its own stanzas and a
 * half-written one), so the socket says whether there is something to wait for. While TCP connects it is not writable. */
static GIOCondition condition_now(int fd) {
    struct pollfd socket = {.fd = fd, .events = POLLOUT};
    return poll(&socket, 1, 0) == 0 ? G_IO_IN | G_IO_OUT : G_IO_IN;
}

static void unwatch(StropheSource *self) {
    if (self->tag)
        g_source_remove_unix_fd(&self->source, self->tag);
    self->tag = NULL;
}

static void arm(StropheSource *self) {
    if (self->held) {
        unwatch(self);
        g_source_set_ready_time(&self->source, -1);
        return;
    }
    if (self->fd >= 0) {
        GIOCondition condition = condition_now(self->fd);
        if (!self->tag)
            self->tag = g_source_add_unix_fd(&self->source, self->fd, condition);
        else if (condition != self->watched)
            g_source_modify_unix_fd(&self->source, self->tag, condition);
        self->watched = condition;
    }
    g_source_set_ready_time(&self->source, self->runs ? 0 : g_get_monotonic_time() + TICK);
}

static gboolean dispatch(GSource *source, GSourceFunc callback, void *user) {
    StropheSource *self = (StropheSource *)source;
    int waiting = 0;
    bool input = self->fd >= 0 && ioctl(self->fd, FIONREAD, &waiting) == 0 && waiting > 0;
    if (input || (self->tag && g_source_query_unix_fd(source, self->tag)))
        self->runs = RUNS_AFTER_INPUT;
    else if (self->runs)
        self->runs--;

    xmpp_run_once(self->ctx, 0);
    arm(self);
    return ((IpopStropheRan)(void (*)(void))callback)(input, user);
}

static GSourceFuncs functions = {.dispatch = dispatch};

GSource *ipop_strophe_source_new(xmpp_ctx_t *ctx, IpopStropheRan ran, void *user) {
    GSource *source = g_source_new(&functions, sizeof(StropheSource));
    StropheSource *self = (StropheSource *)source;
    self->ctx = ctx;
    self->fd = -1;
    g_source_set_name(source, "libstrophe");
    g_source_set_callback(source, (GSourceFunc)(void (*)(void))ran, user, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

void ipop_strophe_source_set_fd(GSource *source, int fd) {
    StropheSource *self = (StropheSource *)source;
    unwatch(self);
    self->fd = fd;
    self->runs = RUNS_AFTER_INPUT; /* a connection to this very machine is there at once */
    ipop_strophe_source_wake(source);
}

void ipop_strophe_source_wake(GSource *source) {
    StropheSource *self = (StropheSource *)source;
    self->runs = MAX(self->runs, 1);
    if (!self->held)
        g_source_set_ready_time(source, 0);
}

void ipop_strophe_source_hold(GSource *source, bool held) {
    StropheSource *self = (StropheSource *)source;
    self->held = held;
    if (held)
        arm(self);
    else
        ipop_strophe_source_wake(source);
}
