/* queue.h - packets on their way from other data threads to one: in order, copied once, bounded. Any number of producers, who
 * take turns, one consumer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the others may be ahead of a busy thread: a few milliseconds at full speed. */
#define IPOP_QUEUE_BYTES (4 * 1024 * 1024)
#define IPOP_QUEUE_HEADROOM 16 /* in front of each packet, for the consumer to write to */

typedef struct IpopQueue IpopQueue;

/* NULL, with errno, when there is no descriptor left. */
IpopQueue *ipop_queue_new(void);
void ipop_queue_free(IpopQueue *queue);

/* Readable when there is something. */
int ipop_queue_fd(const IpopQueue *queue);

/* A producer. Copies 1 byte or more; false when there is no room. */
bool ipop_queue_push(IpopQueue *queue, const uint8_t *packet, size_t n);

/* Consumer: gives at most so many packets to take(), which may change them and the headroom in place. */
void ipop_queue_run(IpopQueue *queue, unsigned most, void *context, void (*take)(void *context, uint8_t *packet, size_t n));
