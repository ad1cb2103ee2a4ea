#include "tincan/tunnel/inbox.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct {
    IpopCommand run;
    void *argument;
} Command;

typedef struct {
    uint16_t n;
    uint8_t bytes[IPOP_INBOX_SLOT_BYTES];
} Slot;

struct IpopInbox {
    int event;
    pthread_mutex_t lock; /* of commands; not a GMutex, which the thread sanitizer does not understand */
    GArray *commands, *running;
    /* A ring with one producer and one consumer: each writes one of the two counters. */
    atomic_uint head, tail;
    Slot slots[IPOP_INBOX_SLOTS];
};

IpopInbox *ipop_inbox_new(void) {
    IpopInbox *inbox = g_new0(IpopInbox, 1);
    inbox->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (inbox->event < 0) {
        g_free(inbox);
        return NULL;
    }
    pthread_mutex_init(&inbox->lock, NULL);
    inbox->commands = g_array_new(FALSE, FALSE, sizeof(Command));
    inbox->running = g_array_new(FALSE, FALSE, sizeof(Command));
    return inbox;
}

void ipop_inbox_free(IpopInbox *inbox) {
    if (!inbox)
        return;
    close(inbox->event);
    pthread_mutex_destroy(&inbox->lock);
    g_array_unref(inbox->commands);
    g_array_unref(inbox->running);
    g_free(inbox);
}

int ipop_inbox_fd(const IpopInbox *inbox) {
    return inbox->event;
}

static void wake(IpopInbox *inbox) {
    uint64_t one = 1;
    /* Fails only when the counter is full, and then the reader is awake anyway. */
    ssize_t n = write(inbox->event, &one, sizeof one);
    (void)n;
}

void ipop_inbox_post(IpopInbox *inbox, IpopCommand command, void *argument) {
    pthread_mutex_lock(&inbox->lock);
    g_array_append_vals(inbox->commands, &(Command){command, argument}, 1);
    pthread_mutex_unlock(&inbox->lock);
    wake(inbox);
}

bool ipop_inbox_push(IpopInbox *inbox, const uint8_t *datagram, size_t n) {
    unsigned tail = atomic_load_explicit(&inbox->tail, memory_order_relaxed);
    unsigned head = atomic_load_explicit(&inbox->head, memory_order_acquire);
    if (tail - head == IPOP_INBOX_SLOTS || n > IPOP_INBOX_SLOT_BYTES)
        return false;
    Slot *slot = &inbox->slots[tail % IPOP_INBOX_SLOTS];
    slot->n = (uint16_t)n;
    memcpy(slot->bytes, datagram, n);
    atomic_store_explicit(&inbox->tail, tail + 1, memory_order_release);
    wake(inbox);
    return true;
}

static void run_commands(IpopInbox *inbox, void *context) {
    pthread_mutex_lock(&inbox->lock);
    GArray *todo = inbox->commands;
    inbox->commands = inbox->running;
    inbox->running = todo;
    pthread_mutex_unlock(&inbox->lock);
    for (guint i = 0; i < todo->len; i++) {
        Command *command = &g_array_index(todo, Command, i);
        command->run(context, command->argument);
    }
    g_array_set_size(todo, 0);
}

void ipop_inbox_drain(IpopInbox *inbox, void *context, void (*input)(void *context, uint8_t *datagram, size_t n)) {
    uint64_t count;
    ssize_t n = read(inbox->event, &count, sizeof count);
    (void)n;
    /* The end of the datagrams is taken before the commands run, so that none overtakes a command posted before it. */
    unsigned tail = atomic_load_explicit(&inbox->tail, memory_order_acquire);
    run_commands(inbox, context);
    for (unsigned head = atomic_load_explicit(&inbox->head, memory_order_relaxed); head != tail; head++) {
        Slot *slot = &inbox->slots[head % IPOP_INBOX_SLOTS];
        input(context, slot->bytes, slot->n);
        atomic_store_explicit(&inbox->head, head + 1, memory_order_release);
    }
}
