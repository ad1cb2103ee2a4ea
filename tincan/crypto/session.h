/* session.h - the transport keys of one handshake: seals and opens data packets.
 *
 * Made on the main thread, then owned and used by the data thread alone. Additional data is empty: counter and index are
 * bound by the nonce and the choice of key.
 */
#pragma once

#include "tincan/ctl/ids.h"
#include "tincan/crypto/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t send[32];
    uint8_t recv[32];
    IpopSuite suite;
    uint32_t local_index;
    uint32_t remote_index;
    bool initiator;
} IpopSessionKeys;

typedef struct IpopSession IpopSession;

typedef enum {
    IPOP_OPEN_OK,
    IPOP_OPEN_SHORT,
    IPOP_OPEN_REPLAYED,
    IPOP_OPEN_FORGED,
    IPOP_OPEN_EXPIRED,
} IpopOpenResult;

/* Copies the keys into locked memory and wipes those given. now: microseconds. */
IpopSession *ipop_session_new(IpopSessionKeys *keys, int64_t now);
void ipop_session_free(IpopSession *session);

uint32_t ipop_session_local_index(const IpopSession *session);
bool ipop_session_initiator(const IpopSession *session);
int64_t ipop_session_born(const IpopSession *session);
uint64_t ipop_session_sent(const IpopSession *session); /* messages sealed */

/* Writes a whole datagram of a frame of n bytes, at least 1: out has room for IPOP_WIRE_DATA_HEADER + n + IPOP_WIRE_TAG
 * bytes, and the frame is at out + IPOP_WIRE_DATA_HEADER or does not overlap it. Returns the datagram's length, or 0 when
 * the session may send no more (age or count). */
size_t ipop_session_seal(IpopSession *session, uint8_t *out, const uint8_t *frame, size_t n, int64_t now);

/* Opens a datagram of type IPOP_WIRE_DATA. out has room for n - IPOP_WIRE_DATA_HEADER - IPOP_WIRE_TAG bytes, and is at
 * packet + IPOP_WIRE_DATA_HEADER or does not overlap it. On IPOP_OPEN_OK the frame (at least one byte) is there and its
 * length in *ret_n; after IPOP_OPEN_FORGED there may be anything; otherwise nothing was written. */
IpopOpenResult ipop_session_open(IpopSession *session, uint8_t *out, const uint8_t *packet, size_t n, int64_t now,
                                 size_t *ret_n);

/* The receiver index and the counter of a data datagram of at least IPOP_WIRE_DATA_HEADER bytes. */
uint32_t ipop_session_index_of(const uint8_t *packet);
uint64_t ipop_session_counter_of(const uint8_t *packet);

/* True when nothing with a higher counter has been opened yet. */
bool ipop_session_newest(const IpopSession *session, uint64_t counter);
