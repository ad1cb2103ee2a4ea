/* inbox.h - what the main thread hands to the data thread: commands, in order and never lost, and datagrams, bounded.
 *
 * Each data thread has one. One producer (main), one consumer (data thread). A command posted before a datagram is pushed
 * runs before it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_INBOX_SLOTS 256
#define IPOP_INBOX_SLOT_BYTES 2048

typedef struct IpopInbox IpopInbox;

typedef void (*IpopCommand)(void *context, void *argument);

IpopInbox *ipop_inbox_new(void);
void ipop_inbox_free(IpopInbox *inbox);

/* Readable when there is something. */
int ipop_inbox_fd(const IpopInbox *inbox);

/* Main thread. The argument is the command's to free. */
void ipop_inbox_post(IpopInbox *inbox, IpopCommand command, void *argument);

/* Main thread. Copies; false when full or n is more than a slot holds. */
bool ipop_inbox_push(IpopInbox *inbox, const uint8_t *datagram, size_t n);

/* Data thread: runs every command, then gives each datagram to input, which may change it in place. */
void ipop_inbox_drain(IpopInbox *inbox, void *context, void (*input)(void *context, uint8_t *datagram, size_t n));
