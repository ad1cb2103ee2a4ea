#include "tincan/packet/segment.h"

#include "tincan/packet/headers.h"
#include "tincan/packet/ip.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>

#define UDP_SEGMENTS_MAX 128 /* the kernel's own bound */

/* TCP options (RFC 2385, RFC 5925) that sign the segment as it is. */
#define TCP_OPTION_MD5 19
#define TCP_OPTION_AO 29

static bool is_signed(const uint8_t *option, const uint8_t *end) {
    while (option < end && *option != 0) {
        if (*option == TCP_OPTION_MD5 || *option == TCP_OPTION_AO)
            return true;
        if (*option == 1) {
            option++;
            continue;
        }
        if (end - option < 2 || option[1] < 2)
            return true; /* who knows */
        option += MIN(option[1], end - option);
    }
    return false;
}

static bool may_be_recut(const uint8_t *packet, const IpopHeaders *h) {
    return h->protocol == IPPROTO_TCP &&
           !(packet[h->transport + 13] & (IPOP_TCP_SYN | IPOP_TCP_RST | IPOP_TCP_URG)) &&
           !is_signed(packet + h->transport + 20, packet + h->payload);
}

/* Whether the kernel asks for the sum of that very header. */
static bool asks_for(const IpopVnetHeader *vnet, const IpopHeaders *h) {
    return vnet->csum_start == h->transport && vnet->csum_offset == ipop_headers_checksum_offset(h);
}

/* The payload of a segment of this super-packet, 0 if it can't be one. TCP that the kernel joined on its way here may have
 * segments of any size. */
static size_t gso_size(const IpopVnetHeader *vnet, const uint8_t *packet, const IpopHeaders *h) {
    bool known_sum = vnet->flags & IPOP_VNET_NEEDS_CSUM ? asks_for(vnet, h) : h->plain && vnet->flags & IPOP_VNET_DATA_VALID;
    if (!known_sum || h->payload > IPOP_SEGMENT_HEADER_MAX)
        return 0;
    if (h->protocol == IPPROTO_UDP) {
        bool good = vnet->gso_type == IPOP_VNET_GSO_UDP && h->length - h->payload <= (size_t)vnet->gso_size * UDP_SEGMENTS_MAX;
        return good ? vnet->gso_size : 0;
    }
    uint8_t type = h->family == AF_INET ? IPOP_VNET_GSO_TCP4 : IPOP_VNET_GSO_TCP6;
    bool good = (vnet->gso_type & ~IPOP_VNET_GSO_ECN) == type &&
                !(packet[h->transport + 13] & (IPOP_TCP_SYN | IPOP_TCP_RST));
    return good ? vnet->gso_size : 0;
}

static bool whole(IpopSegmenter *s, uint8_t *packet, size_t n, bool partial) {
    s->at = packet;
    s->left = s->size = n;
    s->header_n = 0;
    s->partial = partial;
    return true;
}

/* Takes what all segments have in common, so that each costs little. */
static bool cut(IpopSegmenter *s, uint8_t *packet, const IpopHeaders *h, size_t size) {
    s->at = packet + h->payload;
    s->left = h->length - h->payload;
    s->size = size;
    s->header_n = h->payload;
    s->transport = h->transport;
    s->checksum = h->transport + ipop_headers_checksum_offset(h);
    s->ip4 = h->family == AF_INET;
    s->tcp = h->protocol == IPPROTO_TCP;
    s->partial = h->plain;
    memcpy(s->header, packet, h->payload);
    if (h->plain)
        s->pseudo = ipop_checksum_pseudo(packet, h->family, h->protocol);
    else /* Source routing puts another destination into the sum: believe the kernel's, but take its length out again. */
        s->pseudo = ipop_checksum_add((uint16_t)~htons((uint16_t)(h->length - h->transport)), packet + s->checksum, 2);
    if (s->ip4) {
        s->id = ipop_get16(packet + 4);
        memset(s->header + 2, 0, 4);  /* length and identification */
        memset(s->header + 10, 0, 2); /* checksum */
        s->ip_sum = ipop_checksum_add(0, s->header, h->transport);
    }
    if (s->tcp) {
        s->sequence = ipop_get32(packet + h->transport + 4);
        s->flags = packet[h->transport + 13];
        s->flags_mask = (uint8_t)~(IPOP_TCP_FIN | IPOP_TCP_PSH);
    }
    return true;
}

/* Reads the vnet header; false when it can't be true of this packet. */
static bool take_vnet(const uint8_t *buffer, const IpopIpInfo *ip, const uint8_t *packet, IpopVnetHeader *ret) {
    memcpy(ret, buffer, sizeof *ret);
    if (ret->flags & ~(IPOP_VNET_NEEDS_CSUM | IPOP_VNET_DATA_VALID))
        return false;
    size_t ip_header = ip->family == AF_INET ? (size_t)(packet[0] & 0x0f) * 4 : IPOP_IP6_HEADER;
    return !(ret->flags & IPOP_VNET_NEEDS_CSUM) ||
           (ret->csum_start >= ip_header && (size_t)ret->csum_start + ret->csum_offset + 2 <= ip->length);
}

bool ipop_segment_begin(IpopSegmenter *s, uint8_t *buffer, size_t n, size_t max_packet) {
    g_assert(max_packet == 0 || max_packet >= IPOP_SEGMENT_LIMIT_MIN);
    s->left = 0;
    uint8_t *packet = buffer + IPOP_VNET_HEADER;
    IpopVnetHeader vnet;
    IpopIpInfo ip;
    if (n < IPOP_VNET_HEADER || !ipop_ip_parse(packet, n - IPOP_VNET_HEADER, &ip) || !take_vnet(buffer, &ip, packet, &vnet))
        return false;
    IpopHeaders h;
    bool known = ipop_headers_parse(packet, ip.length, &h);
    bool needs_csum = vnet.flags & IPOP_VNET_NEEDS_CSUM;
    bool partial = needs_csum && known && h.plain && asks_for(&vnet, &h);

    /* The payload per segment: what the kernel says, then what fits. */
    size_t payload = known ? ip.length - h.payload : 0;
    size_t size = payload;
    if (vnet.gso_type != IPOP_VNET_GSO_NONE) {
        size = known && ip.length == n - IPOP_VNET_HEADER ? gso_size(&vnet, packet, &h) : 0;
        if (size == 0)
            return false;
    }
    s->longest = vnet.gso_type == IPOP_VNET_GSO_NONE ? ip.length : h.payload + MIN(size, payload);
    bool ours = partial || vnet.gso_type != IPOP_VNET_GSO_NONE;
    if (ours && max_packet > 0 && h.payload + MIN(size, payload) > max_packet && may_be_recut(packet, &h))
        size = max_packet - h.payload;
    if (size < payload)
        return cut(s, packet, &h, size);

    if (needs_csum && !partial)
        ipop_checksum_complete(packet, ip.length, vnet.csum_start, vnet.csum_offset);
    return whole(s, packet, ip.length, partial);
}

/* The fields in which the segments differ. */
static void write_header(IpopSegmenter *s, uint8_t *packet, size_t n, bool last) {
    memcpy(packet, s->header, s->header_n);
    if (s->ip4) {
        ipop_put16(packet + 2, n);
        ipop_put16(packet + 4, s->id);
        uint16_t sum = (uint16_t)~ipop_checksum_fold(s->ip_sum + htons((uint16_t)n) + htons(s->id++));
        memcpy(packet + 10, &sum, sizeof sum);
    } else {
        ipop_put16(packet + 4, n - IPOP_IP6_HEADER);
    }
    uint8_t *transport = packet + s->transport;
    if (s->tcp) {
        ipop_put32(transport + 4, s->sequence);
        s->sequence += (uint32_t)s->size;
        transport[13] = s->flags & (last ? s->flags_mask | IPOP_TCP_FIN | IPOP_TCP_PSH : s->flags_mask);
        s->flags_mask &= (uint8_t)~IPOP_TCP_CWR;
    } else {
        ipop_put16(transport + 4, n - s->transport);
    }
    uint16_t sum = ipop_checksum_fold(s->pseudo + htons((uint16_t)(n - s->transport)));
    memcpy(packet + s->checksum, &sum, sizeof sum);
}

bool ipop_segment_next(IpopSegmenter *s, uint8_t **ret_packet, size_t *ret_n, bool *ret_partial) {
    if (s->left == 0)
        return false;
    size_t payload = MIN(s->left, s->size);
    uint8_t *packet = s->at - s->header_n;
    size_t n = s->header_n + payload;
    s->at += payload;
    s->left -= payload;
    if (s->header_n > 0) {
        write_header(s, packet, n, s->left == 0);
        if (!s->partial)
            ipop_checksum_complete(packet, n, s->transport, s->checksum - s->transport);
    }
    *ret_packet = packet;
    *ret_n = n;
    *ret_partial = s->partial;
    return true;
}
