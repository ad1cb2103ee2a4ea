/* segment.h - cuts what the TUN device gives (vnet.h) into packets for the network. Pure, allocates nothing, copies no
 * payload. The caller's thread.
 *
 * The device runs with IFF_VNET_HDR and the offloads CSUM, TSO4, TSO6, TSO_ECN and, where the kernel has them, USO4 and
 * USO6. The buffer, as read() filled it:
 *
 *   | IPOP_SEGMENT_HEADROOM, the caller's | buffer: vnet header | IP packet, at most IPOP_SEGMENT_PACKET_MAX |
 *
 * A segment is one contiguous IP packet inside this buffer: its header is written in front of its payload, over the end of
 * the segment before. So when the next segment is asked for, the last one is gone. Until then it is the caller's, who may
 * change it, and the IPOP_SEGMENT_HEADROOM bytes in front of it, but nothing behind it.
 *
 * A "partial" packet has only the pseudo-header's sum, not inverted, in its TCP or UDP checksum field; the payload is still
 * to be added. It is always TCP or UDP right behind an IP header without options or extensions, so that the receiver can
 * compute the sum again from the packet alone, as ipop_coalesce_take() does, and need not believe the field. Where the
 * kernel leaves the sum to us behind anything else, it is completed here.
 */
#pragma once

#include "tincan/packet/vnet.h"

#include <stdbool.h>
#include <stddef.h>

#define IPOP_SEGMENT_HEADROOM 16
#define IPOP_SEGMENT_PACKET_MAX (65535 + 40) /* IPv6 does not count its header */
#define IPOP_SEGMENT_HEADER_MAX 256          /* longer headers are not cut */
#define IPOP_SEGMENT_LIMIT_MIN 576

/* Opaque; needs no clean-up. */
typedef struct {
    uint8_t *at;        /* payload of the next segment; of a packet that passes whole, its header */
    size_t left;        /* from there to the end */
    size_t size;        /* payload of each segment but the last */
    size_t header_n;    /* 0: the packet passes whole */
    size_t longest;     /* packet that the kernel meant to be sent, whatever max_packet made of it */
    size_t transport;   /* offset of the TCP or UDP header */
    size_t checksum;    /* offset of its checksum */
    bool ip4, tcp;
    bool partial;       /* else each segment's checksum is completed here */
    uint8_t flags;      /* TCP's, of the super-packet */
    uint8_t flags_mask; /* those that may still show */
    uint16_t id;        /* the next segment's IPv4 identification */
    uint32_t sequence;  /* the next segment's */
    uint64_t ip_sum;    /* of the IPv4 header without length and identification */
    uint64_t pseudo;    /* of the pseudo-header without the length */
    uint8_t header[IPOP_SEGMENT_HEADER_MAX];
} IpopSegmenter;

/* Begins with n bytes as read from the device: vnet header and packet. max_packet, 0 or at least IPOP_SEGMENT_LIMIT_MIN, is
 * the longest packet that the way to the receiver takes: a TCP packet above it is cut to smaller segments than the
 * kernel meant, provided that its checksum is ours to compute and that it may be cut (no SYN, RST, URG, no TCP-MD5 or
 * TCP-AO signature). Other packets come out as they are; the caller sees their length. False, and nothing to give, when the
 * vnet header and the packet contradict each other. */
bool ipop_segment_begin(IpopSegmenter *s, uint8_t *buffer, size_t n, size_t max_packet);

/* The next packet; false when there is none. All but the last are equally long. */
bool ipop_segment_next(IpopSegmenter *s, uint8_t **ret_packet, size_t *ret_n, bool *ret_partial);
