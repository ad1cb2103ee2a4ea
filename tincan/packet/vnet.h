/* vnet.h - what stands in front of each packet on a TUN device with IFF_VNET_HDR: struct virtio_net_hdr of
 * <linux/virtio_net.h>, spelt out because that header lacks the UDP segmentation of Linux 6.2 on older systems.
 *
 * A packet with a gso_type is a super-packet: one header and the payload of many segments (virtio 1.2, section 5.1.6).
 */
#pragma once

#include <stdint.h>

/* Integers are in the host's order: that is the device's default (TUNSETVNETLE not used). */
typedef struct {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;     /* a hint: all headers together */
    uint16_t gso_size;    /* payload of each segment but the last */
    uint16_t csum_start;  /* from the IP header: where summing starts */
    uint16_t csum_offset; /* from csum_start: where the sum belongs */
} IpopVnetHeader;

#define IPOP_VNET_HEADER 10
_Static_assert(sizeof(IpopVnetHeader) == IPOP_VNET_HEADER, "as the kernel has it");

enum {
    IPOP_VNET_NEEDS_CSUM = 1, /* the checksum field holds the pseudo-header's sum only */
    IPOP_VNET_DATA_VALID = 2, /* the checksum has been verified */
};

enum {
    IPOP_VNET_GSO_NONE = 0,
    IPOP_VNET_GSO_TCP4 = 1,
    IPOP_VNET_GSO_TCP6 = 4,
    IPOP_VNET_GSO_UDP = 5,    /* Linux 6.2 */
    IPOP_VNET_GSO_ECN = 0x80, /* added to one of TCP: CWR is set, and belongs to the first segment alone */
};
