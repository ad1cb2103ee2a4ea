#include "tincan/packet/coalesce.h"

#include "tincan/packet/ip.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>

#define TCP_ENDS (IPOP_TCP_FIN | IPOP_TCP_PSH)
#define TCP_ALONE (IPOP_TCP_SYN | IPOP_TCP_RST | IPOP_TCP_URG)

/* A packet as it comes in. */
typedef struct {
    const uint8_t *bytes;
    size_t n;
    bool known; /* TCP or UDP: see headers */
    bool partial;
    IpopHeaders headers;
} Packet;

static void look_at(Packet *p, const uint8_t *bytes, size_t n, bool partial) {
    g_assert(n > 0 && n <= IPOP_COALESCE_PACKET_MAX);
    IpopIpInfo ip;
    p->bytes = bytes;
    p->n = n;
    p->known = ipop_headers_parse(bytes, n, &p->headers);
    p->partial = partial && p->known && p->headers.plain;
    if (p->known)
        p->n = p->headers.length;
    else if (ipop_ip_parse(bytes, n, &ip))
        p->n = ip.length;
}

static uint8_t tcp_flags(const Packet *p) {
    return p->headers.protocol == IPPROTO_TCP ? p->bytes[p->headers.transport + 13] : 0;
}

/* Whether it may be joined with others at all. */
static bool is_joinable(const IpopCoalescer *c, const Packet *p) {
    if (!p->partial || p->headers.payload == p->n || tcp_flags(p) & TCP_ALONE)
        return false;
    if (p->headers.protocol == IPPROTO_UDP && !c->join_udp)
        return false;
    /* What the kernel would refuse must not be mended by writing a new header. */
    return p->headers.family == AF_INET6 ||
           (!(ipop_get16(p->bytes + 6) & ~IPOP_IP4_DF) &&
            ipop_checksum_fold(ipop_checksum_add(0, p->bytes, IPOP_IP4_HEADER)) == 0xffff);
}

/* Both headers are plain, of one length and protocol. All but the lengths, checksums and counters must be the same; so a
 * segment marked by a congested router (RFC 3168) is never joined with an unmarked one. */
static bool same_ip(const IpopCoalescer *c, const uint8_t *first, const uint8_t *next) {
    if (c->headers.family == AF_INET6)
        return memcmp(first, next, 4) == 0 && memcmp(first + 6, next + 6, IPOP_IP6_HEADER - 6) == 0;
    if (memcmp(first, next, 2) != 0 || memcmp(first + 6, next + 6, 4) != 0 || memcmp(first + 12, next + 12, 8) != 0)
        return false;
    uint16_t step = (uint16_t)(ipop_get16(next + 4) - ipop_get16(first + 4));
    if (c->segments == 1)
        return step == 1 || (step == 0 && ipop_get16(first + 6) & IPOP_IP4_DF);
    return step == (uint16_t)(c->id_step * c->segments);
}

static bool same_tcp(const IpopCoalescer *c, const uint8_t *first, const uint8_t *next, size_t header_n) {
    uint8_t differ = (first[13] ^ next[13]) & (uint8_t)~(TCP_ENDS | IPOP_TCP_CWR);
    return memcmp(first, next, 4) == 0 && ipop_get32(next + 4) == c->sequence && /* ports */
           memcmp(first + 8, next + 8, 5) == 0 &&                                /* acknowledged, header length */
           differ == 0 && !(next[13] & IPOP_TCP_CWR) &&                          /* CWR belongs to the first alone */
           memcmp(first + 14, next + 14, 2) == 0 &&                              /* window */
           memcmp(first + 18, next + 18, header_n - 18) == 0;                    /* options */
}

static bool continues(const IpopCoalescer *c, const Packet *p) {
    const IpopHeaders *h = &p->headers;
    size_t payload = p->n - h->payload;
    if (h->family != c->headers.family || h->protocol != c->headers.protocol || h->payload != c->headers.payload)
        return false;
    if (payload > c->size || c->n + payload > IPOP_COALESCE_PACKET_MAX)
        return false;
    const uint8_t *first = c->buffer + IPOP_VNET_HEADER;
    if (!same_ip(c, first, p->bytes))
        return false;
    if (h->protocol == IPPROTO_TCP)
        return same_tcp(c, first + h->transport, p->bytes + h->transport, h->payload - h->transport);
    return c->segments < IPOP_COALESCE_UDP_SEGMENTS && memcmp(first + h->transport, p->bytes + h->transport, 4) == 0;
}

static void start(IpopCoalescer *c, const Packet *p) {
    memcpy(c->buffer + IPOP_VNET_HEADER, p->bytes, p->n);
    c->n = p->n;
    c->segments = 1;
    c->partial = p->partial;
    c->headers = p->headers;
    c->open = is_joinable(c, p) && !(tcp_flags(p) & TCP_ENDS);
    if (!c->open)
        return;
    c->size = p->n - p->headers.payload;
    if (p->headers.protocol == IPPROTO_TCP)
        c->sequence = ipop_get32(p->bytes + p->headers.transport + 4) + (uint32_t)c->size;
}

static void append(IpopCoalescer *c, const Packet *p) {
    uint8_t *first = c->buffer + IPOP_VNET_HEADER;
    size_t payload = p->n - p->headers.payload;
    uint8_t ends = tcp_flags(p) & TCP_ENDS;
    memcpy(first + c->n, p->bytes + p->headers.payload, payload);
    if (c->segments == 1 && c->headers.family == AF_INET)
        c->id_step = (uint16_t)(ipop_get16(p->bytes + 4) - ipop_get16(first + 4));
    if (ends)
        first[c->headers.transport + 13] |= ends;
    c->n += payload;
    c->sequence += (uint32_t)payload;
    c->segments++;
    c->open = payload == c->size && !ends;
}

static IpopCoalesceResult add(IpopCoalescer *c, const Packet *p) {
    if (c->n == 0)
        start(c, p);
    else if (c->open && is_joinable(c, p) && continues(c, p))
        append(c, p);
    else
        return IPOP_COALESCE_FLUSH_FIRST;
    return IPOP_COALESCE_TAKEN;
}

/* The lengths of what was joined, and the IPv4 header's checksum. */
static void write_lengths(IpopCoalescer *c, uint8_t *packet) {
    size_t transport = c->headers.transport;
    if (c->headers.family == AF_INET) {
        ipop_put16(packet + 2, c->n);
        memset(packet + 10, 0, 2);
        uint16_t sum = (uint16_t)~ipop_checksum_fold(ipop_checksum_add(0, packet, IPOP_IP4_HEADER));
        memcpy(packet + 10, &sum, sizeof sum);
    } else {
        ipop_put16(packet + 4, c->n - IPOP_IP6_HEADER);
    }
    if (c->headers.protocol == IPPROTO_UDP)
        ipop_put16(packet + transport + 4, c->n - transport);
}

static uint8_t gso_type(const IpopCoalescer *c, const uint8_t *packet) {
    if (c->headers.protocol == IPPROTO_UDP)
        return IPOP_VNET_GSO_UDP;
    uint8_t type = c->headers.family == AF_INET ? IPOP_VNET_GSO_TCP4 : IPOP_VNET_GSO_TCP6;
    return packet[c->headers.transport + 13] & IPOP_TCP_CWR ? type | IPOP_VNET_GSO_ECN : type;
}

void ipop_coalesce_init(IpopCoalescer *c, bool join_udp) {
    c->n = 0;
    c->join_udp = join_udp;
}

IpopCoalesceResult ipop_coalesce_add(IpopCoalescer *c, const uint8_t *packet, size_t n, bool partial) {
    Packet p;
    look_at(&p, packet, n, partial);
    return add(c, &p);
}

bool ipop_coalesce_take(IpopCoalescer *c, uint8_t **ret_buffer, size_t *ret_n) {
    if (c->n == 0)
        return false;
    uint8_t *packet = c->buffer + IPOP_VNET_HEADER;
    const IpopHeaders *h = &c->headers;
    IpopVnetHeader vnet = {0};
    if (c->segments > 1) {
        write_lengths(c, packet);
        vnet.gso_type = gso_type(c, packet);
        vnet.gso_size = (uint16_t)c->size;
        vnet.hdr_len = (uint16_t)h->payload;
    }
    if (c->partial) {
        vnet.flags = IPOP_VNET_NEEDS_CSUM;
        vnet.csum_start = (uint16_t)h->transport;
        vnet.csum_offset = (uint16_t)ipop_headers_checksum_offset(h);
        uint64_t pseudo = ipop_checksum_pseudo(packet, h->family, h->protocol) + htons((uint16_t)(c->n - h->transport));
        uint16_t sum = ipop_checksum_fold(pseudo);
        memcpy(packet + h->transport + vnet.csum_offset, &sum, sizeof sum);
    }
    memcpy(c->buffer, &vnet, sizeof vnet);
    *ret_buffer = c->buffer;
    *ret_n = IPOP_VNET_HEADER + c->n;
    c->n = 0;
    return true;
}

void ipop_coalesce_table_init(IpopCoalesceTable *table, bool join_udp) {
    table->oldest = 0;
    for (unsigned i = 0; i < IPOP_COALESCE_FLOWS; i++)
        ipop_coalesce_init(&table->flows[i], join_udp);
}

/* The same for all packets of a flow. Fragments have no ports, and are a flow of their own. */
static uint32_t flow_hash(const Packet *p) {
    uint64_t sum = 0;
    if (p->known) {
        uint32_t ports;
        memcpy(&ports, p->bytes + p->headers.transport, sizeof ports);
        sum = ipop_checksum_pseudo(p->bytes, p->headers.family, p->headers.protocol) * 31 + ports;
    } else {
        IpopIpInfo ip;
        if (ipop_ip_parse(p->bytes, p->n, &ip))
            sum = ipop_checksum_pseudo(p->bytes, ip.family, 0);
    }
    return (uint32_t)(sum * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/* Where that flow is, else an empty place, else NULL. */
static IpopCoalescer *find(IpopCoalesceTable *table, uint32_t hash) {
    IpopCoalescer *empty = NULL;
    for (unsigned i = 0; i < IPOP_COALESCE_FLOWS; i++) {
        IpopCoalescer *c = &table->flows[i];
        if (c->n > 0 && c->hash == hash)
            return c;
        if (c->n == 0 && !empty)
            empty = c;
    }
    return empty;
}

IpopCoalesceResult ipop_coalesce_table_add(IpopCoalesceTable *table, const uint8_t *packet, size_t n, bool partial,
                                           IpopCoalescer **ret) {
    Packet p;
    look_at(&p, packet, n, partial);
    uint32_t hash = flow_hash(&p);
    IpopCoalescer *c = find(table, hash);
    if (!c) {
        *ret = &table->flows[table->oldest++ % IPOP_COALESCE_FLOWS];
        return IPOP_COALESCE_FLUSH_FIRST;
    }
    c->hash = hash;
    *ret = c;
    return add(c, &p);
}

bool ipop_coalesce_table_take(IpopCoalesceTable *table, uint8_t **ret_buffer, size_t *ret_n) {
    for (unsigned i = 0; i < IPOP_COALESCE_FLOWS; i++)
        if (ipop_coalesce_take(&table->flows[i], ret_buffer, ret_n))
            return true;
    return false;
}
