/* Cutting a super-packet from the device into packets, and joining packets from the network to super-packets, of one flow and
 * of several that come interleaved. The fastest of several rounds. */
#include "tests/bench/clock.h"
#include "tests/unit/packets.h"
#include "tincan/packet/coalesce.h"
#include "tincan/packet/segment.h"

#include <stdio.h>

#define PACKETS 40 /* in a train; of one flow or divided among several */
#define TRAINS 2000
#define ROUNDS 7
#define PACKET_ROOM 1536

typedef struct {
    IpopVnetHeader vnet;
    size_t n; /* of the super-packet */
    uint8_t super[PACKET_MAX];
    uint8_t room[IPOP_SEGMENT_HEADROOM + IPOP_VNET_HEADER + PACKET_MAX];
    uint8_t packets[PACKETS][PACKET_ROOM];
    size_t packet_n[PACKETS];
    unsigned flows;
    IpopCoalesceTable table;
} Bench;

/* Only the headers are as read() brings them each time: cutting does not read the payload. */
static void cut_train(Bench *b) {
    uint8_t *buffer = b->room + IPOP_SEGMENT_HEADROOM, *packet;
    size_t n, count = 0;
    bool partial;
    IpopSegmenter s;
    memcpy(buffer, &b->vnet, sizeof b->vnet);
    memcpy(buffer + IPOP_VNET_HEADER, b->super, b->vnet.hdr_len);
    if (!ipop_segment_begin(&s, buffer, IPOP_VNET_HEADER + b->n, 0))
        g_error("the super-packet is refused");
    while (ipop_segment_next(&s, &packet, &n, &partial))
        count++;
    if (count != PACKETS)
        g_error("%zu packets out of a super-packet of %d", count, PACKETS);
}

static void join_train(Bench *b) {
    IpopCoalescer *full;
    uint8_t *buffer;
    size_t n;
    unsigned count = 0;
    for (size_t i = 0; i < PACKETS; i++)
        if (ipop_coalesce_table_add(&b->table, b->packets[i], b->packet_n[i], true, &full) != IPOP_COALESCE_TAKEN)
            g_error("packet %zu is not joined", i);
    while (ipop_coalesce_table_take(&b->table, &buffer, &n))
        count++;
    if (count != b->flows)
        g_error("%u super-packets out of %u flows", count, b->flows);
}

/* Nanoseconds per packet. */
static double measure(Bench *b, void (*train)(Bench *)) {
    double best = G_MAXDOUBLE;
    for (int round = 0; round < ROUNDS; round++) {
        double start = thread_time();
        for (int i = 0; i < TRAINS; i++)
            train(b);
        best = MIN(best, (thread_time() - start) / (TRAINS * PACKETS));
    }
    return best;
}

static double measure_join(Bench *b, const Shape *shape, size_t size, unsigned flows) {
    b->flows = flows;
    for (size_t i = 0; i < PACKETS; i++) {
        Shape packet = shape_segment(shape, size, i / flows);
        packet.sport += (uint16_t)(i % flows);
        b->packet_n[i] = make_packet(b->packets[i], &packet);
    }
    return measure(b, join_train);
}

static void bench(Bench *b, const char *name, Shape shape, size_t size) {
    shape.payload = PACKETS * size;
    b->vnet = shape_vnet(&shape, size);
    b->n = make_packet(b->super, &shape);
    double cut = measure(b, cut_train), join = measure_join(b, &shape, size, 1);
    printf("%-10s %6zu %8.1f %8.1f %14.1f\n", name, size, cut, join, measure_join(b, &shape, size, IPOP_COALESCE_FLOWS));
}

int main(void) {
    static const size_t sizes[] = {64, 1200, 1400};
    static const Shape tcp = {.options = 12, .ttl = 64, .flags = 0x10, .df = true, .sport = 50000, .dport = 5201, .window = 500};
    static const Shape udp = {.udp = true, .ttl = 64, .df = true, .sport = 50000, .dport = 5201};
    Bench *b = g_new0(Bench, 1);
    ipop_coalesce_table_init(&b->table, true);
    printf("%-10s %6s %8s %8s %11s %u\n", "ns/packet", "bytes", "cut", "join", "join, flows", IPOP_COALESCE_FLOWS);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (int ip6 = 0; ip6 < 2; ip6++) {
            Shape t = tcp, u = udp;
            t.ip6 = u.ip6 = ip6;
            bench(b, ip6 ? "TCP IPv6" : "TCP IPv4", t, sizes[i]);
            bench(b, ip6 ? "UDP IPv6" : "UDP IPv4", u, sizes[i]);
        }
    g_free(b);
    return 0;
}
