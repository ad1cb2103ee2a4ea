#include "controller/xmpp/sendqueue.h"

#include "tincan/base/clock.h"

#include <string.h>

typedef struct {
    char *xml, *id;
    size_t n;
    const void *user;
} Item;

struct IpopSendQueue {
    GQueue waiting[IPOP_XMPP_PRIORITIES];
    size_t bytes;
    /* The bucket in millionths of a byte, so that no time between two calls is lost to rounding. Negative: a debt. */
    int64_t credit;
    int64_t filled;
};

#define FULL (IPOP_SENDQUEUE_BURST * IPOP_SECOND)

IpopSendQueue *ipop_sendqueue_new(void) {
    IpopSendQueue *queue = g_new0(IpopSendQueue, 1);
    queue->credit = FULL;
    return queue;
}

static void item_free(void *data) {
    Item *item = data;
    g_free(item->xml);
    g_free(item->id);
    g_free(item);
}

static void clear(IpopSendQueue *queue) {
    for (int i = 0; i < IPOP_XMPP_PRIORITIES; i++)
        g_queue_clear_full(&queue->waiting[i], item_free);
    queue->bytes = 0;
}

void ipop_sendqueue_free(IpopSendQueue *queue) {
    if (!queue)
        return;
    clear(queue);
    g_free(queue);
}

void ipop_sendqueue_reset(IpopSendQueue *queue, int64_t now) {
    clear(queue);
    queue->credit = FULL;
    queue->filled = now;
}

bool ipop_sendqueue_push(IpopSendQueue *queue, IpopXmppPriority priority, const char *xml, const char *id, const void *user) {
    size_t n = strlen(xml);
    if (n == 0 || n > IPOP_STANZA_MAX || n > IPOP_SENDQUEUE_MAX - queue->bytes)
        return false;
    Item *item = g_new(Item, 1);
    *item = (Item){g_strdup(xml), g_strdup(id), n, user};
    g_queue_push_tail(&queue->waiting[priority], item);
    queue->bytes += n;
    return true;
}

void ipop_sendqueue_cancel(IpopSendQueue *queue, const void *user) {
    for (int i = 0; i < IPOP_XMPP_PRIORITIES; i++)
        for (GList *link = queue->waiting[i].head, *next; link; link = next) {
            Item *item = link->data;
            next = link->next;
            if (item->user != user)
                continue;
            queue->bytes -= item->n;
            item_free(item);
            g_queue_delete_link(&queue->waiting[i], link);
        }
}

static int64_t credit_at(const IpopSendQueue *queue, int64_t now) {
    int64_t elapsed = MAX(now - queue->filled, 0);
    if (elapsed > (FULL - queue->credit) / IPOP_SENDQUEUE_RATE)
        return FULL;
    return queue->credit + elapsed * IPOP_SENDQUEUE_RATE;
}

static int first(const IpopSendQueue *queue) {
    for (int i = 0; i < IPOP_XMPP_PRIORITIES; i++)
        if (queue->waiting[i].head)
            return i;
    return -1;
}

static int64_t price(const Item *item) {
    return (int64_t)item->n * IPOP_SECOND;
}

int64_t ipop_sendqueue_wait(const IpopSendQueue *queue, int64_t now) {
    int i = first(queue);
    if (i < 0)
        return -1;
    int64_t missing = MIN(price(queue->waiting[i].head->data), FULL) - credit_at(queue, now);
    return missing <= 0 ? 0 : (missing + IPOP_SENDQUEUE_RATE - 1) / IPOP_SENDQUEUE_RATE;
}

char *ipop_sendqueue_pop(IpopSendQueue *queue, int64_t now, char **ret_id) {
    if (ipop_sendqueue_wait(queue, now) != 0)
        return NULL;
    g_autofree Item *item = g_queue_pop_head(&queue->waiting[first(queue)]);
    queue->credit = credit_at(queue, now) - price(item);
    queue->filled = MAX(now, queue->filled);
    queue->bytes -= item->n;
    *ret_id = item->id;
    return item->xml;
}
