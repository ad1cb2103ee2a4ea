/* Packets from a peer, joined or not: cut again they are what was given, in order.
 *
 * The input is a row of records. A control byte: 1 partial, 2 the packet follows (a length of two bytes, little-endian, and
 * the bytes), else it is the last one again; 4 advance its counters by its payload and mend its IPv4 checksum; 8 cut a byte
 * off its end and mend the lengths; 16 take everything first. */
#include "tincan/packet/coalesce.h"
#include "tincan/packet/ip.h"
#include "tincan/packet/segment.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { PARTIAL = 1, FOLLOWS = 2, ADVANCE = 4, SHORTEN = 8, TAKE = 16 };

#define SEGMENT_MAX 3000

typedef struct {
    IpopCoalesceTable *table;
    GQueue given[IPOP_COALESCE_FLOWS]; /* GByteArray, first the byte that says partial */
} State;

/* Fields that may change on the way: what makes them right again is checked by the unit tests. */
static void blank(uint8_t *packet, size_t n) {
    IpopHeaders h;
    if (!ipop_headers_parse(packet, n, &h) || !h.plain)
        return;
    if (h.family == AF_INET && ipop_get16(packet + 6) & IPOP_IP4_DF) {
        memset(packet + 4, 0, 2); /* the identification means nothing then */
        memset(packet + 10, 0, 2);
    }
    memset(packet + h.transport + ipop_headers_checksum_offset(&h), 0, 2);
}

static void compare(GQueue *given, uint8_t *packet, size_t n, bool partial) {
    g_autoptr(GByteArray) wanted = g_queue_pop_head(given);
    g_assert(wanted && wanted->len == n + 1);
    if (partial) {
        g_assert(wanted->data[0]);
        blank(packet, n);
        blank(wanted->data + 1, n);
    }
    g_assert(memcmp(wanted->data + 1, packet, n) == 0);
}

static void take(State *state, IpopCoalescer *c) {
    GQueue *given = &state->given[c - state->table->flows];
    unsigned segments = c->segments;
    uint8_t *buffer, *packet;
    size_t n, packet_n;
    bool partial;
    if (!ipop_coalesce_take(c, &buffer, &n))
        return;
    g_assert(n > IPOP_VNET_HEADER && n <= IPOP_VNET_HEADER + IPOP_COALESCE_PACKET_MAX);
    uint8_t *room = g_malloc(IPOP_SEGMENT_HEADROOM + n);
    memcpy(room + IPOP_SEGMENT_HEADROOM, buffer, n);
    IpopSegmenter s;
    if (ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, n, 0)) {
        while (ipop_segment_next(&s, &packet, &packet_n, &partial))
            compare(given, packet, packet_n, partial);
    } else {
        g_assert(segments == 1);
        compare(given, buffer + IPOP_VNET_HEADER, n - IPOP_VNET_HEADER, false);
    }
    g_assert(g_queue_is_empty(given));
    g_free(room);
}

static void give(State *state, const uint8_t *packet, size_t n, bool partial) {
    IpopCoalescer *c;
    uint8_t *exact = g_memdup2(packet, n);
    if (ipop_coalesce_table_add(state->table, exact, n, partial, &c) == IPOP_COALESCE_FLUSH_FIRST) {
        g_assert(c->n > 0);
        take(state, c);
        g_assert(ipop_coalesce_table_add(state->table, exact, n, partial, &c) == IPOP_COALESCE_TAKEN);
    }
    g_free(exact);
    IpopIpInfo ip;
    size_t kept = ipop_ip_parse(packet, n, &ip) ? ip.length : n;
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, &(uint8_t){partial}, 1);
    g_byte_array_append(copy, packet, (guint)kept);
    g_queue_push_tail(&state->given[c - state->table->flows], copy);
}

/* Makes of a packet the next one of its flow. */
static size_t change(uint8_t *packet, size_t n, uint8_t control) {
    IpopHeaders h;
    if (!(control & (ADVANCE | SHORTEN)) || !ipop_headers_parse(packet, n, &h))
        return n;
    uint8_t *transport = packet + h.transport;
    size_t payload = h.length - h.payload;
    if (control & ADVANCE && h.protocol == IPPROTO_TCP)
        ipop_put32(transport + 4, ipop_get32(transport + 4) + (uint32_t)payload);
    if (control & SHORTEN && payload > 0)
        h.length--;
    if (h.protocol == IPPROTO_UDP)
        ipop_put16(transport + 4, h.length - h.transport);
    if (h.family == AF_INET6) {
        ipop_put16(packet + 4, h.length - IPOP_IP6_HEADER);
    } else {
        if (control & ADVANCE)
            ipop_put16(packet + 4, ipop_get16(packet + 4) + 1u);
        ipop_put16(packet + 2, h.length);
        memset(packet + 10, 0, 2);
        uint16_t sum = (uint16_t)~ipop_checksum_fold(ipop_checksum_add(0, packet, (packet[0] & 0x0f) * 4));
        memcpy(packet + 10, &sum, sizeof sum);
    }
    return h.length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static IpopCoalesceTable table;
    State state = {.table = &table};
    uint8_t packet[SEGMENT_MAX];
    size_t packet_n = 0;
    ipop_coalesce_table_init(&table, n & 1);
    while (n > 0) {
        uint8_t control = *data++;
        n--;
        if (control & TAKE)
            for (unsigned i = 0; i < IPOP_COALESCE_FLOWS; i++)
                take(&state, &table.flows[i]);
        if (control & FOLLOWS) {
            if (n < 2)
                break;
            packet_n = MIN((size_t)data[0] | (size_t)data[1] << 8, MIN(n - 2, SEGMENT_MAX));
            memcpy(packet, data + 2, packet_n);
            data += 2 + packet_n;
            n -= 2 + packet_n;
        }
        packet_n = change(packet, packet_n, control);
        if (packet_n > 0)
            give(&state, packet, packet_n, control & PARTIAL);
    }
    for (unsigned i = 0; i < IPOP_COALESCE_FLOWS; i++)
        take(&state, &table.flows[i]);
    return 0;
}
