/* packets.h - TCP and UDP packets made in the plainest way, to compare with. */
#pragma once

#include "tincan/packet/vnet.h"

#include <arpa/inet.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>

#define PACKET_MAX (65535 + 40)

typedef struct {
    bool ip6, udp;
    bool complete;                 /* else the checksum is left at the pseudo-header's sum */
    size_t ip_extra;               /* of IPv4 options (multiple of 4) or an IPv6 extension header (of 8) */
    size_t options;                /* of TCP options (multiple of 4) */
    size_t payload;
    size_t offset;                 /* of the payload in its stream: chooses the bytes */
    uint8_t tos, ttl, flags;
    uint8_t host;                  /* last byte of the source address */
    bool df;
    uint16_t id, sport, dport, window;
    uint32_t sequence, ack;
    uint32_t stamp;                /* fills the TCP options */
} Shape;

static inline void put16(uint8_t *p, size_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline unsigned at16(const uint8_t *p) {
    return (unsigned)p[0] << 8 | p[1];
}

static inline uint32_t sum_up(uint32_t sum, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static inline uint32_t pseudo_sum(const uint8_t *packet, bool ip6, uint8_t protocol, size_t n) {
    uint8_t tail[4] = {0, protocol, (uint8_t)(n >> 8), (uint8_t)n};
    return sum_up(ip6 ? sum_up(0, packet + 8, 32) : sum_up(0, packet + 12, 8), tail, 4);
}

static inline size_t shape_ip_header(const Shape *s) {
    return (s->ip6 ? 40 : 20) + s->ip_extra;
}

static inline size_t shape_header(const Shape *s) {
    return shape_ip_header(s) + (s->udp ? 8 : 20 + s->options);
}

static inline void make_ip(uint8_t *p, const Shape *s, size_t n) {
    uint8_t protocol = s->udp ? IPPROTO_UDP : IPPROTO_TCP;
    memset(p, 0, shape_ip_header(s));
    if (s->ip6) {
        p[0] = (uint8_t)(0x60 | s->tos >> 4);
        p[1] = (uint8_t)(s->tos << 4 | 5); /* and a flow label */
        put16(p + 4, n - 40);
        p[6] = s->ip_extra ? IPPROTO_DSTOPTS : protocol;
        p[7] = s->ttl;
        memcpy(p + 8, "\xfdsource of an ip", 16);
        memcpy(p + 24, "\xfd" "estination, ip", 16);
        p[23] = s->host;
        if (s->ip_extra) {
            p[40] = protocol;
            p[41] = (uint8_t)(s->ip_extra / 8 - 1);
            p[42] = 1; /* PadN */
            p[43] = (uint8_t)(s->ip_extra - 4);
        }
        return;
    }
    p[0] = (uint8_t)(0x40 | (20 + s->ip_extra) / 4);
    p[1] = s->tos;
    put16(p + 2, n);
    put16(p + 4, s->id);
    put16(p + 6, s->df ? 0x4000 : 0);
    p[8] = s->ttl;
    p[9] = protocol;
    memcpy(p + 12, "\xac\x1f\x00\x01\xac\x1f\x00\x02", 8);
    p[15] = s->host;
    memset(p + 20, 1, s->ip_extra); /* "no operation" */
    put16(p + 10, ~sum_up(0, p, 20 + s->ip_extra));
}

static inline size_t make_packet(uint8_t *p, const Shape *s) {
    size_t ip = shape_ip_header(s), header = shape_header(s), n = header + s->payload;
    make_ip(p, s, n);
    uint8_t *t = p + ip;
    memset(t, 0, header - ip);
    put16(t, s->sport);
    put16(t + 2, s->dport);
    if (s->udp) {
        put16(t + 4, n - ip);
    } else {
        put16(t + 4, s->sequence >> 16);
        put16(t + 6, s->sequence & 0xffff);
        put16(t + 8, s->ack >> 16);
        put16(t + 10, s->ack & 0xffff);
        t[12] = (uint8_t)((20 + s->options) / 4 << 4);
        t[13] = s->flags;
        put16(t + 14, s->window);
        memset(t + 20, 1, s->options);
        if (s->options >= 12) {
            memcpy(t + 20, "\1\1\10\12", 4);
            memcpy(t + 24, &s->stamp, 4);
        }
    }
    for (size_t i = 0; i < s->payload; i++) {
        size_t o = s->offset + i;
        p[header + i] = (uint8_t)(o * 7 + (o >> 8) * 13 + s->sport);
    }
    uint8_t *field = t + (s->udp ? 6 : 16);
    uint32_t sum = pseudo_sum(p, s->ip6, s->udp ? IPPROTO_UDP : IPPROTO_TCP, n - ip);
    if (s->complete) {
        sum = ~sum_up(sum, t, n - ip) & 0xffff;
        if (sum == 0)
            sum = 0xffff;
    }
    put16(field, sum);
    return n;
}

static inline void shape_random(Shape *s) {
    *s = (Shape){.ip6 = g_test_rand_bit(), .udp = g_test_rand_bit(), .tos = (uint8_t)g_test_rand_int(),
                 .ttl = (uint8_t)g_test_rand_int_range(1, 256), .host = (uint8_t)g_test_rand_int(), .df = g_test_rand_bit(),
                 .id = (uint16_t)g_test_rand_int(), .sport = (uint16_t)g_test_rand_int(), .dport = (uint16_t)g_test_rand_int(),
                 .window = (uint16_t)g_test_rand_int(), .sequence = (uint32_t)g_test_rand_int(),
                 .ack = (uint32_t)g_test_rand_int(), .stamp = (uint32_t)g_test_rand_int()};
    s->options = s->udp ? 0 : (size_t)g_test_rand_int_range(0, 11) * 4;
    s->flags = (uint8_t)(0x10 | (g_test_rand_int() & (0x01 | 0x08 | 0x40 | 0x80))); /* ACK, and FIN PSH ECE CWR */
}

static inline IpopVnetHeader shape_vnet(const Shape *s, size_t gso_size) {
    IpopVnetHeader vnet = {.flags = IPOP_VNET_NEEDS_CSUM, .csum_start = (uint16_t)shape_ip_header(s),
                           .csum_offset = s->udp ? 6 : 16};
    if (gso_size > 0) {
        vnet.gso_size = (uint16_t)gso_size;
        vnet.hdr_len = (uint16_t)shape_header(s);
        vnet.gso_type = s->udp ? IPOP_VNET_GSO_UDP : s->ip6 ? IPOP_VNET_GSO_TCP6 : IPOP_VNET_GSO_TCP4;
        if (!s->udp && s->flags & 0x80)
            vnet.gso_type |= IPOP_VNET_GSO_ECN;
    }
    return vnet;
}

/* The i-th segment of a super-packet, cut at size. */
static inline Shape shape_segment(const Shape *s, size_t size, size_t i) {
    Shape segment = *s;
    bool last = (i + 1) * size >= s->payload;
    segment.offset += i * size;
    segment.payload = last ? s->payload - i * size : size;
    segment.sequence += (uint32_t)(i * size);
    segment.id = (uint16_t)(s->id + i);
    if (!last)
        segment.flags &= (uint8_t)~0x09;
    if (i > 0)
        segment.flags &= 0x7f;
    return segment;
}
