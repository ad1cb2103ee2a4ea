/* fast.h - our own UDP socket on the port that a negotiator's socket holds: the negotiator keeps STUN, data comes to us.
 *
 * Both sockets are in one SO_REUSEPORT group, and a classic BPF program steers by the first byte: STUN (0 to 3) and
 * ChannelData (0x40 to 0x4f) to the negotiator, the rest to us (RFC 7983). When the negotiator's
 * closes, data still comes to us; when ours closes, everything comes to the negotiator. Received datagrams are joined (UDP_GRO), sent ones cut (UDP_SEGMENT) by the kernel.
 */
#pragma once

#include "tincan/link/path.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct IpopFast IpopFast;

/* Beside fd, an UDP socket of the negotiator, bound to a port, which stays its own. NULL when the kernel does not let us;
 * then the negotiator's socket has to do. Main thread. */
IpopFast *ipop_fast_new(int fd);

/* Hands the port back to the negotiator, at once: data comes to its socket from now on, each datagram by itself. Paths stay
 * valid until they are unreferenced; they send by the negotiator's socket, which their fd now is, so it must not be read.
 * Main thread; accepts NULL. */
void ipop_fast_close(IpopFast *fast);

/* True when this is the one beside that descriptor's socket. */
bool ipop_fast_beside(const IpopFast *fast, int fd);

/* A path to a numeric address, with one reference, the caller's. Paths share one fd. NULL when the address does not fit the
 * socket. */
IpopPath *ipop_fast_path(IpopFast *fast, const char *ip, uint16_t port);
