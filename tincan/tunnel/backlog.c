#include "tincan/tunnel/backlog.h"

#include <stdalign.h>
#include <sys/mman.h>

#define FLOWS 256                /* of a peer are told apart */
#define PACKET_COST 3000         /* what a packet costs besides its bytes, in bytes */
#define QUANTUM (64 * 1024)      /* of a peer's turn */
#define FLOW_QUANTUM (16 * 1024) /* of a flow's */
#define KEPT (1024 * 1024)       /* of the ring, when it is shrunk */
#define SHARE 4                  /* a queue's part to the room that is left: alone it gets four fifths */

typedef struct Packet Packet;

/* In a ring, each in one piece. Room is taken back from the oldest on: one that waits keeps the room of those after it. */
struct Packet {
    alignas(16) Packet *next; /* of its flow */
    size_t size;              /* to the next in the ring */
    size_t n;
    int64_t since;
    bool gone; /* taken, or only filling the end of the ring */
};

struct IpopBacklogFlow {
    Packet *first, *last;
    size_t bytes, credit;
    IpopLate late;
    GList turn; /* among its queue's */
};

#define BEFORE (sizeof(Packet) + IPOP_BACKLOG_HEADROOM)
#define NEED (BEFORE + IPOP_BACKLOG_PACKET_MAX + alignof(Packet))

struct IpopBacklog {
    size_t head, tail; /* bytes ever taken back and put, since it was empty */
    GQueue turns;      /* queues that wait; the first is being served */
    size_t reached;    /* the highest tail since it was shrunk */
    uint8_t *ring;     /* pages come as they are used */
};

IpopBacklog *ipop_backlog_new(void) {
    void *ring = mmap(NULL, IPOP_BACKLOG_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return NULL;
    IpopBacklog *backlog = g_new0(IpopBacklog, 1);
    backlog->ring = ring;
    return backlog;
}

void ipop_backlog_free(IpopBacklog *backlog) {
    if (!backlog)
        return;
    munmap(backlog->ring, IPOP_BACKLOG_BYTES);
    g_free(backlog);
}

bool ipop_backlog_is_large(const IpopBacklog *backlog) {
    return backlog->reached > KEPT;
}

void ipop_backlog_shrink(IpopBacklog *backlog) {
    if (!ipop_backlog_empty(backlog) || !ipop_backlog_is_large(backlog))
        return;
    madvise(backlog->ring + KEPT, IPOP_BACKLOG_BYTES - KEPT, MADV_DONTNEED);
    backlog->head = backlog->tail = backlog->reached = 0;
}

bool ipop_backlog_empty(const IpopBacklog *backlog) {
    return backlog->turns.length == 0;
}

static Packet *packet_at(const IpopBacklog *backlog, size_t position) {
    return (Packet *)(backlog->ring + position % IPOP_BACKLOG_BYTES);
}

static void take_room_back(IpopBacklog *backlog) {
    while (backlog->head != backlog->tail && packet_at(backlog, backlog->head)->gone)
        backlog->head += packet_at(backlog, backlog->head)->size;
    /* From the beginning again: memory that is still in the processor's cache. */
    if (backlog->head == backlog->tail)
        backlog->head = backlog->tail = 0;
}

static size_t room_left(const IpopBacklog *backlog) {
    return IPOP_BACKLOG_BYTES - (backlog->tail - backlog->head);
}

uint8_t *ipop_backlog_room(IpopBacklog *backlog) {
    take_room_back(backlog);
    size_t to_end = IPOP_BACKLOG_BYTES - backlog->tail % IPOP_BACKLOG_BYTES;
    size_t filling = to_end < NEED ? to_end : 0;
    if (room_left(backlog) < filling + NEED)
        return NULL;
    if (filling) {
        Packet *end = packet_at(backlog, backlog->tail);
        end->size = filling;
        end->gone = true;
        backlog->tail += filling;
    }
    return (uint8_t *)packet_at(backlog, backlog->tail) + BEFORE;
}

static void line_up(GQueue *turns, GList *turn, void *what) {
    *turn = (GList){.data = what};
    g_queue_push_tail_link(turns, turn);
}

static void to_the_end(GQueue *turns, GList *turn) {
    g_queue_unlink(turns, turn);
    g_queue_push_tail_link(turns, turn);
}

static void append(IpopBacklogQueue *queue, IpopBacklogFlow *flow, Packet *packet) {
    if (flow->first) {
        flow->last->next = packet;
    } else {
        flow->first = packet;
        flow->credit = FLOW_QUANTUM;
        line_up(&queue->turns, &flow->turn, flow);
    }
    flow->last = packet;
    flow->bytes += packet->size;
    queue->bytes += packet->size;
}

static void take_first(IpopBacklog *backlog, IpopBacklogQueue *queue, IpopBacklogFlow *flow) {
    Packet *packet = flow->first;
    packet->gone = true;
    flow->first = packet->next;
    flow->bytes -= packet->size;
    queue->bytes -= packet->size;
    if (!flow->first)
        g_queue_unlink(&queue->turns, &flow->turn);
    if (queue->turns.length == 0) {
        g_queue_unlink(&backlog->turns, &queue->turn);
        g_clear_pointer(&queue->flows, g_free);
    }
}

/* Of its longest flow. */
static void drop_one(IpopBacklog *backlog, IpopBacklogQueue *queue) {
    IpopBacklogFlow *longest = queue->turns.head->data;
    for (GList *turn = queue->turns.head; turn; turn = turn->next)
        if (((IpopBacklogFlow *)turn->data)->bytes > longest->bytes)
            longest = turn->data;
    take_first(backlog, queue, longest);
}

unsigned ipop_backlog_add(IpopBacklog *backlog, IpopBacklogQueue *queue, unsigned flow, size_t n, int64_t now) {
    size_t size = (BEFORE + n + alignof(Packet) - 1) / alignof(Packet) * alignof(Packet);
    unsigned dropped = 0;
    for (; queue->flows && queue->bytes + size > SHARE * room_left(backlog); dropped++)
        drop_one(backlog, queue);
    Packet *packet = packet_at(backlog, backlog->tail);
    *packet = (Packet){.size = size, .n = n, .since = now};
    backlog->tail += size;
    backlog->reached = MAX(backlog->reached, backlog->tail);
    if (!queue->flows) {
        queue->flows = g_new0(IpopBacklogFlow, FLOWS);
        queue->credit = QUANTUM;
        line_up(&backlog->turns, &queue->turn, queue);
    }
    append(queue, &queue->flows[flow % FLOWS], packet);
    return dropped;
}

static size_t cost_of(const Packet *packet) {
    return packet->n + PACKET_COST;
}

/* The flow whose turn it is, and that may take its first packet. */
static IpopBacklogFlow *next_flow(IpopBacklogQueue *queue) {
    for (;;) {
        IpopBacklogFlow *flow = queue->turns.head->data;
        if (flow->credit >= cost_of(flow->first))
            return flow;
        flow->credit += FLOW_QUANTUM;
        to_the_end(&queue->turns, &flow->turn);
    }
}

static IpopBacklogQueue *next_queue(IpopBacklog *backlog) {
    for (;;) {
        IpopBacklogQueue *queue = backlog->turns.head->data;
        if (queue->credit >= cost_of(next_flow(queue)->first))
            return queue;
        queue->credit += QUANTUM;
        to_the_end(&backlog->turns, &queue->turn);
    }
}

int64_t ipop_backlog_oldest(IpopBacklog *backlog) {
    take_room_back(backlog);
    return packet_at(backlog, backlog->head)->since;
}

bool ipop_backlog_take(IpopBacklog *backlog, int64_t now, IpopBacklogTaken *ret) {
    if (ipop_backlog_empty(backlog))
        return false;
    IpopBacklogQueue *queue = next_queue(backlog);
    IpopBacklogFlow *flow = next_flow(queue);
    const Packet *packet = flow->first;
    IpopLateness late = ipop_late_judge(&flow->late, now - packet->since, now);
    *ret = (IpopBacklogTaken){queue->owner, (uint8_t *)packet + BEFORE, packet->n, late};
    flow->credit -= cost_of(packet);
    queue->credit -= cost_of(packet);
    take_first(backlog, queue, flow);
    return true;
}

void ipop_backlog_forget(IpopBacklog *backlog, IpopBacklogQueue *queue) {
    while (queue->flows)
        take_first(backlog, queue, queue->turns.head->data);
}
