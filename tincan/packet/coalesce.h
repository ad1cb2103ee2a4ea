/* coalesce.h - joins packets from the network into super-packets (vnet.h) for the TUN device: the reverse of segment.h, by
 * the rules of the kernel's own GRO. Pure, allocates nothing, copies each packet once. The caller's thread.
 *
 * Nothing is lost, and nothing overtakes within a flow. A packet that can't be joined waits alone in the same way. Only
 * partial packets (segment.h) are joined: what an authenticated sender vouches for needs no checksum, while a super-packet
 * makes the kernel believe one. Fragments, packets with IPv4 options or IPv6 extension headers, TCP without payload or with
 * SYN, RST or URG, and anything but TCP and UDP pass alone. FIN, PSH or a segment shorter than the first ends a train.
 */
#pragma once

#include "tincan/packet/headers.h"
#include "tincan/packet/vnet.h"

#define IPOP_COALESCE_PACKET_MAX 65535
#define IPOP_COALESCE_UDP_SEGMENTS 64 /* what every kernel with USO takes */
#define IPOP_COALESCE_FLOWS 4

typedef enum {
    IPOP_COALESCE_TAKEN,
    IPOP_COALESCE_FLUSH_FIRST, /* it does not continue what is there: take that, then add again */
} IpopCoalesceResult;

/* One flow. Opaque; all zero is empty and joins TCP alone. */
typedef struct {
    size_t n;            /* bytes of the packet so far; 0 empty */
    unsigned segments;
    bool join_udp;
    bool open;           /* more may follow */
    bool partial;
    IpopHeaders headers; /* of the first segment; unknown unless partial */
    size_t size;         /* payload of the first segment */
    uint32_t sequence;   /* the next segment's */
    uint16_t id_step;    /* IPv4 identification grows by it: 1, or 0 with DF */
    uint32_t hash;       /* the table's */
    uint8_t buffer[IPOP_VNET_HEADER + IPOP_COALESCE_PACKET_MAX];
} IpopCoalescer;

/* Empties it. join_udp: the device takes USO (Linux 6.2). */
void ipop_coalesce_init(IpopCoalescer *c, bool join_udp);

/* Takes a copy of a packet of 1 to IPOP_COALESCE_PACKET_MAX bytes; what lies behind the IP header's length is left out. An
 * empty coalescer takes anything. A packet said to be partial that can't be (see segment.h) goes to the kernel as complete,
 * which will judge its checksum. */
IpopCoalesceResult ipop_coalesce_add(IpopCoalescer *c, const uint8_t *packet, size_t n, bool partial);

/* What there is, ready for one write() to the device, and empties it; the bytes stay until the next add. False: nothing. */
bool ipop_coalesce_take(IpopCoalescer *c, uint8_t **ret_buffer, size_t *ret_n);

/* Several flows at once, so that they may come interleaved. All zero is empty. */
typedef struct {
    IpopCoalescer flows[IPOP_COALESCE_FLOWS];
    unsigned oldest; /* the next to make room */
} IpopCoalesceTable;

void ipop_coalesce_table_init(IpopCoalesceTable *table, bool join_udp);

/* As ipop_coalesce_add(), to the packet's flow. On IPOP_COALESCE_FLUSH_FIRST *ret is what must be taken first. */
IpopCoalesceResult ipop_coalesce_table_add(IpopCoalesceTable *table, const uint8_t *packet, size_t n, bool partial,
                                           IpopCoalescer **ret);

/* As ipop_coalesce_take(), from any flow; false when all are empty. */
bool ipop_coalesce_table_take(IpopCoalesceTable *table, uint8_t **ret_buffer, size_t *ret_n);
