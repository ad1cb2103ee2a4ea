/* queue.h - packets on their way from one data thread to another: in order, bounded. One producer, one
 * consumer, no lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the reader of the device may be ahead of a busy thread: a few milliseconds at full speed. */
#define IPOP_QUEUE_BYTES (4 * 1024 * 1024)
#define IPOP_QUEUE_PACKET_MAX (65535 + 128)

typedef struct IpopQueue IpopQueue;

/* NULL, with errno, when there is no descriptor left. */
IpopQueue *ipop_queue_new(void);
void ipop_queue_free(IpopQueue *queue);

/* Readable when there is something. */
int ipop_queue_fd(const IpopQueue *queue);

/* Producer. Copies 1 to IPOP_QUEUE_PACKET_MAX bytes; false when there is no room. */
bool ipop_queue_push(IpopQueue *queue, const uint8_t *packet, size_t n);

/* Consumer: copies the next packet to where there is room for IPOP_QUEUE_PACKET_MAX bytes; its length, 0 when there is
 * none. The descriptor stays readable until then. */
size_t ipop_queue_pop(IpopQueue *queue, uint8_t *packet);
