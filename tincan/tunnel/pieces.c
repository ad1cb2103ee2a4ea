#include "tincan/tunnel/pieces.h"

#include "tincan/crypto/wire.h"
#include "tincan/packet/headers.h"

#include <glib.h>
#include <string.h>

#define LIFETIME (INT64_C(2) * 1000000)

/* --- cutting --- */

bool ipop_cutter_begin(IpopCutter *cutter, uint8_t *packet, size_t n, uint8_t flags, uint16_t id, size_t max) {
    if (max <= IPOP_PIECE_HEADER || n == 0 || n > IPOP_PIECE_PACKET_MAX)
        return false;
    size_t room = max - IPOP_PIECE_HEADER;
    size_t count = (n + room - 1) / room;
    *cutter = (IpopCutter){packet, n, 0, (n + count - 1) / count, id, IPOP_FRAME_PIECE | flags};
    return count <= IPOP_PIECES_MAX;
}

uint8_t *ipop_cutter_next(IpopCutter *cutter, size_t *ret_n) {
    if (cutter->at >= cutter->n)
        return NULL;
    uint8_t *frame = cutter->packet + cutter->at - IPOP_PIECE_HEADER;
    size_t n = MIN(cutter->size, cutter->n - cutter->at);
    frame[0] = cutter->kind;
    ipop_put16(frame + 1, cutter->id);
    ipop_put16(frame + 3, cutter->n);
    ipop_put16(frame + 5, cutter->at);
    cutter->at += n;
    *ret_n = IPOP_PIECE_HEADER + n;
    return frame;
}

/* --- putting together --- */

typedef struct {
    uint16_t id;
    uint8_t flags;
    unsigned n; /* pieces that came; 0: free */
    size_t length, have;
    int64_t since;
    struct {
        size_t begin, end;
    } pieces[IPOP_PIECES_MAX];
    uint8_t *bytes; /* kept for the next one */
} Packet;

struct IpopReassembly {
    Packet packets[IPOP_REASSEMBLIES_MAX];
};

IpopReassembly *ipop_reassembly_new(void) {
    return g_new0(IpopReassembly, 1);
}

void ipop_reassembly_free(IpopReassembly *reassembly) {
    for (unsigned i = 0; reassembly && i < IPOP_REASSEMBLIES_MAX; i++)
        g_free(reassembly->packets[i].bytes);
    g_free(reassembly);
}

/* The one with that id, or else one that is free, or else the oldest. */
static Packet *find(IpopReassembly *reassembly, uint16_t id, int64_t now) {
    Packet *best = &reassembly->packets[0];
    for (unsigned i = 0; i < IPOP_REASSEMBLIES_MAX; i++) {
        Packet *packet = &reassembly->packets[i];
        if (packet->n > 0 && now - packet->since > LIFETIME)
            packet->n = 0;
        if (packet->n > 0 && packet->id == id)
            return packet;
        if (best->n > 0 && (packet->n == 0 || packet->since < best->since))
            best = packet;
    }
    best->n = 0;
    return best;
}

static void begin(Packet *packet, uint16_t id, uint8_t flags, size_t length, int64_t now) {
    packet->id = id;
    packet->flags = flags;
    packet->length = length;
    packet->have = packet->n = 0;
    packet->since = now;
    if (!packet->bytes)
        packet->bytes = g_malloc(IPOP_PIECE_PACKET_MAX);
}

static bool overlaps(const Packet *packet, size_t from, size_t end) {
    for (unsigned i = 0; i < packet->n; i++)
        if (from < packet->pieces[i].end && packet->pieces[i].begin < end)
            return true;
    return false;
}

IpopPieceResult ipop_reassembly_add(IpopReassembly *reassembly, const uint8_t *frame, size_t n, int64_t now,
                                    uint8_t **ret_packet, size_t *ret_n, uint8_t *ret_flags) {
    if (n <= IPOP_PIECE_HEADER)
        return IPOP_PIECE_WRONG;
    uint16_t id = ipop_get16(frame + 1);
    uint8_t flags = frame[0] & (uint8_t)~IPOP_FRAME_KIND;
    size_t length = ipop_get16(frame + 3), from = ipop_get16(frame + 5), end = from + n - IPOP_PIECE_HEADER;
    if (length > IPOP_PIECE_PACKET_MAX || end > length)
        return IPOP_PIECE_WRONG;
    Packet *packet = find(reassembly, id, now);
    bool same = packet->n > 0 && packet->n < IPOP_PIECES_MAX && packet->length == length && packet->flags == flags;
    if (!same || overlaps(packet, from, end))
        begin(packet, id, flags, length, now);
    memcpy(packet->bytes + from, frame + IPOP_PIECE_HEADER, end - from);
    packet->pieces[packet->n].begin = from;
    packet->pieces[packet->n++].end = end;
    packet->have += end - from;
    if (packet->have < length)
        return IPOP_PIECE_TAKEN;
    packet->n = 0;
    *ret_packet = packet->bytes;
    *ret_n = length;
    *ret_flags = flags;
    return IPOP_PIECE_COMPLETE;
}
