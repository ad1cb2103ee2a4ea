/* pieces.h - a packet that is longer than the way takes goes in pieces, each a frame (IPOP_FRAME_PIECE in
 * crypto/wire.h) of its own. Fragments of the outer IP would be dropped by many a router. Pure. Data thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_PIECE_HEADER 7 /* kind, identification (2), length of the whole (2), offset in it (2) */
#define IPOP_PIECE_PACKET_MAX 9216
#define IPOP_PIECES_MAX 24
#define IPOP_REASSEMBLIES_MAX 16 /* per peer */

/* Cuts. Opaque; needs no clean-up. */
typedef struct {
    uint8_t *packet;
    size_t n, at, size;
    uint16_t id;
    uint8_t kind;
} IpopCutter;

/* Begins with a packet of n bytes, with room for IPOP_PIECE_HEADER - 1 in front, which is what each piece's header
 * is written over: when the next is asked for, the one before is gone. flags: IPOP_FRAME_PARTIAL_CHECKSUM or 0. max:
 * the longest frame. False when it would take too many. */
bool ipop_cutter_begin(IpopCutter *cutter, uint8_t *packet, size_t n, uint8_t flags, uint16_t id, size_t max);

/* The next frame; NULL when there is none. All but the last are equally long. */
uint8_t *ipop_cutter_next(IpopCutter *cutter, size_t *ret_n);

static inline bool ipop_piece_is_first(const uint8_t *frame) {
    return (frame[5] | frame[6]) == 0;
}

/* What one peer's packets are put together in. Holds at most IPOP_REASSEMBLIES_MAX of IPOP_PIECE_PACKET_MAX bytes
 * each; one that is not complete after 2 s is given up, and so is the oldest when there are too many, and one that a
 * further piece of the same identification contradicts. */
typedef struct IpopReassembly IpopReassembly;

IpopReassembly *ipop_reassembly_new(void);
void ipop_reassembly_free(IpopReassembly *reassembly); /* accepts NULL */

typedef enum {
    IPOP_PIECE_TAKEN,    /* some are missing yet */
    IPOP_PIECE_COMPLETE,
    IPOP_PIECE_WRONG,    /* contradicts itself, or is of too long a packet */
} IpopPieceResult;

/* Takes a frame of kind IPOP_FRAME_PIECE. On IPOP_PIECE_COMPLETE there is the packet, valid until the next call, and
 * its flags. now: microseconds. */
IpopPieceResult ipop_reassembly_add(IpopReassembly *reassembly, const uint8_t *frame, size_t n, int64_t now,
                                    uint8_t **ret_packet, size_t *ret_n, uint8_t *ret_flags);
