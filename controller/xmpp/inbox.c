#include "controller/xmpp/inbox.h"

#include <pthread.h>

/* So many events in one go, so that a flood leaves the main loop time for the rest. */
#define BATCH 64

struct IpopInbox {
    GSource *source;
    IpopInboxReader reader;
    void *user;

    pthread_mutex_t mutex; /* for what follows; not a GMutex, which the thread sanitizer does not understand */
    GQueue events;
    size_t bytes;
    bool full, shut;
};

typedef struct {
    GSource source;
    IpopInbox *inbox;
} InboxSource;

static void event_free(void *data) {
    IpopEvent *event = data;
    g_free(event->text);
    g_free(event->id);
    g_free(event->from);
    g_free(event);
}

static IpopEvent *pop(IpopInbox *inbox, bool *ret_drained) {
    pthread_mutex_lock(&inbox->mutex);
    IpopEvent *event = g_queue_pop_head(&inbox->events);
    if (event)
        inbox->bytes -= event->n;
    *ret_drained = inbox->full && inbox->events.length < IPOP_INBOX_EVENTS / 2 && inbox->bytes < IPOP_INBOX_BYTES / 2;
    if (*ret_drained)
        inbox->full = false;
    g_source_set_ready_time(inbox->source, inbox->events.length ? 0 : -1);
    pthread_mutex_unlock(&inbox->mutex);
    return event;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, void *user) {
    IpopInbox *inbox = ((InboxSource *)source)->inbox;
    for (int i = 0; i < BATCH; i++) {
        bool drained;
        IpopEvent *event = pop(inbox, &drained);
        if (!event)
            break;
        if (drained)
            inbox->reader.drained(inbox->user);
        inbox->reader.event(inbox->user, event);
        event_free(event);
    }
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs functions = {.dispatch = dispatch};

IpopInbox *ipop_inbox_new(const IpopInboxReader *reader, void *user) {
    IpopInbox *inbox = g_new0(IpopInbox, 1);
    inbox->reader = *reader;
    inbox->user = user;
    pthread_mutex_init(&inbox->mutex, NULL);
    inbox->source = g_source_new(&functions, sizeof(InboxSource));
    ((InboxSource *)inbox->source)->inbox = inbox;
    g_source_set_name(inbox->source, "xmpp inbox");
    g_source_attach(inbox->source, g_main_context_get_thread_default());
    return inbox;
}

void ipop_inbox_free(IpopInbox *inbox) {
    if (!inbox)
        return;
    g_source_destroy(inbox->source);
    g_source_unref(inbox->source);
    g_queue_clear_full(&inbox->events, event_free);
    pthread_mutex_destroy(&inbox->mutex);
    g_free(inbox);
}

bool ipop_inbox_push(IpopInbox *inbox, const IpopEvent *event) {
    IpopEvent *copy = g_memdup2(event, sizeof *event);
    pthread_mutex_lock(&inbox->mutex);
    bool shut = inbox->shut;
    if (!shut) {
        g_queue_push_tail(&inbox->events, copy);
        inbox->bytes += copy->n;
        inbox->full = inbox->full || inbox->events.length >= IPOP_INBOX_EVENTS || inbox->bytes >= IPOP_INBOX_BYTES;
        g_source_set_ready_time(inbox->source, 0);
    }
    bool full = inbox->full && !shut;
    pthread_mutex_unlock(&inbox->mutex);
    if (shut)
        event_free(copy);
    return !full;
}

void ipop_inbox_shut(IpopInbox *inbox) {
    pthread_mutex_lock(&inbox->mutex);
    inbox->shut = true;
    pthread_mutex_unlock(&inbox->mutex);
}
