/* steer.h - which queue of a TUN device with several the kernel puts a packet in: by its destination address, as a table
 * says, so that what waits for one peer does not wait behind another's. An eBPF program (bpf(2)) that the device runs.
 * Any thread; one at a time changes the table.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct IpopSteer IpopSteer;

/* All addresses lead to queue 0. NULL where the kernel lets us load no such program (Linux before 5.5, no CAP_BPF or
 * CAP_SYS_ADMIN, a sandbox). */
IpopSteer *ipop_steer_new(void);
void ipop_steer_free(IpopSteer *steer); /* accepts NULL; the device goes on by the last table */

/* Lets the device of that descriptor steer by it. */
bool ipop_steer_attach(const IpopSteer *steer, int fd);

/* Packets to that address (network order, 4 or 16 bytes by the family) go to that queue from now on. The table is by a hash of
 * 16 bits: now and then two addresses share their place, and the one that was set last decides. What is no IP packet says in
 * its second byte where it goes. */
void ipop_steer_set(IpopSteer *steer, int family, const uint8_t *address, uint8_t queue);
