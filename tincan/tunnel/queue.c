#include "tincan/tunnel/queue.h"

#include <glib.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Packets lie in one piece: what is left at the end of the ring and too short is filled by a record without a packet. */
typedef struct {
    alignas(16) uint32_t n; /* of the packet; 0: filling */
    uint32_t size;          /* to the next record */
} Record;

struct IpopQueue {
    int event;
    pthread_mutex_t turn; /* the producers' */
    uint8_t *ring;
    /* Bytes ever taken and put; each has one writer. In cache lines of their own. */
    alignas(64) atomic_size_t head;
    alignas(64) atomic_size_t tail;
};

IpopQueue *ipop_queue_new(void) {
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (event < 0)
        return NULL;
    IpopQueue *queue = g_aligned_alloc0(1, sizeof *queue, alignof(IpopQueue));
    queue->event = event;
    pthread_mutex_init(&queue->turn, NULL);
    queue->ring = g_aligned_alloc(1, IPOP_QUEUE_BYTES, alignof(Record)); /* pages come as they are used */
    return queue;
}

void ipop_queue_free(IpopQueue *queue) {
    if (!queue)
        return;
    close(queue->event);
    pthread_mutex_destroy(&queue->turn);
    g_aligned_free(queue->ring);
    g_aligned_free(queue);
}

int ipop_queue_fd(const IpopQueue *queue) {
    return queue->event;
}

static void wake(IpopQueue *queue) {
    uint64_t one = 1;
    ssize_t n = write(queue->event, &one, sizeof one);
    (void)n; /* full: then it is readable */
}

static bool push(IpopQueue *queue, const uint8_t *packet, size_t n) {
    size_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    size_t used = tail - atomic_load_explicit(&queue->head, memory_order_acquire);
    size_t size = (sizeof(Record) + IPOP_QUEUE_HEADROOM + n + alignof(Record) - 1) / alignof(Record) * alignof(Record);
    size_t to_end = IPOP_QUEUE_BYTES - tail % IPOP_QUEUE_BYTES;
    size_t filling = to_end < size ? to_end : 0;
    if (used + filling + size > IPOP_QUEUE_BYTES)
        return false;
    if (filling)
        *(Record *)(queue->ring + tail % IPOP_QUEUE_BYTES) = (Record){0, (uint32_t)filling};
    Record *record = (Record *)(queue->ring + (tail + filling) % IPOP_QUEUE_BYTES);
    *record = (Record){(uint32_t)n, (uint32_t)size};
    memcpy((uint8_t *)(record + 1) + IPOP_QUEUE_HEADROOM, packet, n);
    /* Both sides write theirs, then read the other's, in one order for all: either the consumer sees this packet before it
     * sleeps, or we see that it had taken all. */
    atomic_store(&queue->tail, tail + filling + size);
    if (atomic_load(&queue->head) == tail)
        wake(queue);
    return true;
}

bool ipop_queue_push(IpopQueue *queue, const uint8_t *packet, size_t n) {
    pthread_mutex_lock(&queue->turn);
    bool pushed = push(queue, packet, n);
    pthread_mutex_unlock(&queue->turn);
    return pushed;
}

void ipop_queue_run(IpopQueue *queue, unsigned most, void *context, void (*take)(void *context, uint8_t *packet, size_t n)) {
    uint64_t count;
    ssize_t got = read(queue->event, &count, sizeof count);
    (void)got;
    size_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    while (head != atomic_load(&queue->tail)) {
        if (most == 0) {
            wake(queue); /* ourselves: there is more */
            return;
        }
        Record *record = (Record *)(queue->ring + head % IPOP_QUEUE_BYTES);
        if (record->n) {
            take(context, (uint8_t *)(record + 1) + IPOP_QUEUE_HEADROOM, record->n);
            most--;
        }
        head += record->size;
        atomic_store(&queue->head, head);
    }
}
