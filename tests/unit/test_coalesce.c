/* What segment.h cuts is joined again; whatever does not belong together stays apart, whole and in order. */
#include "packets.h"

#include "tincan/packet/coalesce.h"
#include "tincan/packet/segment.h"

/* From an allocation of just that size, so that reading beyond is seen. */
static IpopCoalesceResult give_bytes(IpopCoalescer *c, const uint8_t *packet, size_t n, bool partial) {
    uint8_t *exact = g_memdup2(packet, n);
    IpopCoalesceResult result = ipop_coalesce_add(c, exact, n, partial);
    g_free(exact);
    return result;
}

static IpopCoalesceResult give(IpopCoalescer *c, const Shape *s) {
    static uint8_t packet[PACKET_MAX];
    return give_bytes(c, packet, make_packet(packet, s), !s->complete);
}

static void takes(IpopCoalescer *c, const Shape *s) {
    g_assert_cmpint(give(c, s), ==, IPOP_COALESCE_TAKEN);
}

static void refuses(IpopCoalescer *c, const Shape *s) {
    size_t n = c->n;
    g_assert_cmpint(give(c, s), ==, IPOP_COALESCE_FLUSH_FIRST);
    g_assert_cmpuint(c->n, ==, n);
}

static void gives(IpopCoalescer *c, const IpopVnetHeader *vnet, const uint8_t *packet, size_t n) {
    uint8_t *buffer;
    size_t buffer_n;
    g_assert_true(ipop_coalesce_take(c, &buffer, &buffer_n));
    g_assert_cmpuint(buffer_n, ==, IPOP_VNET_HEADER + n);
    g_assert_true(memcmp(buffer, vnet, sizeof *vnet) == 0);
    g_assert_true(memcmp(buffer + IPOP_VNET_HEADER, packet, n) == 0);
    g_assert_false(ipop_coalesce_take(c, &buffer, &buffer_n));
}

/* The super-packet of this shape, cut at size; 0: one packet. */
static void gives_shape(IpopCoalescer *c, const Shape *s, size_t size) {
    static uint8_t packet[PACKET_MAX];
    size_t n = make_packet(packet, s);
    IpopVnetHeader vnet = s->complete ? (IpopVnetHeader){0} : shape_vnet(s, size);
    if (size == 0)
        vnet.hdr_len = 0;
    gives(c, &vnet, packet, n);
}

static IpopCoalescer *coalescer(void) {
    IpopCoalescer *c = g_new(IpopCoalescer, 1);
    memset(c, 0xaa, sizeof *c);
    ipop_coalesce_init(c, true);
    return c;
}

static void test_round_trip(void) {
    g_autofree IpopCoalescer *c = coalescer();
    g_autofree uint8_t *room = g_malloc(IPOP_SEGMENT_HEADROOM + IPOP_VNET_HEADER + PACKET_MAX);
    uint8_t *buffer = room + IPOP_SEGMENT_HEADROOM, *packet = buffer + IPOP_VNET_HEADER;
    for (int i = 0; i < 2000; i++) {
        Shape s;
        shape_random(&s);
        size_t size = (size_t)(g_test_rand_bit() ? g_test_rand_int_range(1000, 1460) : g_test_rand_int_range(1, 80));
        size_t most = s.udp ? MIN(64 * size, 65535 - shape_header(&s)) : 65535 - shape_header(&s);
        s.payload = (size_t)g_test_rand_int_range(1, (int)most + 1);
        IpopVnetHeader vnet = shape_vnet(&s, s.payload > size ? size : 0);
        memcpy(buffer, &vnet, sizeof vnet);
        IpopSegmenter segmenter;
        g_assert_true(ipop_segment_begin(&segmenter, buffer, IPOP_VNET_HEADER + make_packet(packet, &s), 0));
        uint8_t *segment;
        size_t n;
        bool partial;
        while (ipop_segment_next(&segmenter, &segment, &n, &partial)) {
            if (g_test_rand_bit()) /* what the field says must not matter */
                segment[shape_ip_header(&s) + (s.udp ? 6 : 16)] ^= 0x5a;
            g_assert_cmpint(give_bytes(c, segment, n, partial), ==, IPOP_COALESCE_TAKEN);
        }
        gives_shape(c, &s, vnet.gso_size);
    }
}

/* A flow's first two segments. */
static Shape two(Shape *second, bool ip6, bool udp) {
    Shape s = {.ip6 = ip6, .udp = udp, .payload = 2000, .options = udp ? 0 : 12, .flags = 0x10, .sequence = 0xfffffe00,
               .ttl = 64, .tos = 2, .window = 500, .ack = 77, .id = 0xffff, .sport = 4000, .dport = 80, .stamp = 9};
    *second = shape_segment(&s, 1000, 1);
    return shape_segment(&s, 1000, 0);
}

#define EACH_KIND(kind) for (int kind = 0; kind < 4; kind++)
#define IP6(kind) ((kind)&1)
#define UDP(kind) ((kind) >> 1)

static void differ(IpopCoalescer *c, const Shape *first, const Shape *second) {
    takes(c, first);
    refuses(c, second);
    gives_shape(c, first, 0);
    takes(c, second);
    gives_shape(c, second, 0);
}

static void test_other_flow(void) {
    g_autofree IpopCoalescer *c = coalescer();
    EACH_KIND (kind) {
        Shape second, first = two(&second, IP6(kind), UDP(kind)), s;
        differ(c, &first, (s = second, s.host ^= 1, &s));
        differ(c, &first, (s = second, s.sport ^= 1, &s));
        differ(c, &first, (s = second, s.dport ^= 1, &s));
        differ(c, &first, (s = second, s.ttl ^= 1, &s));
        differ(c, &first, (s = second, s.tos = 3, &s)); /* CE */
        differ(c, &first, (s = second, s.tos ^= 0x40, &s));
        differ(c, &first, (s = second, s.udp = !s.udp, s.options = 0, &s));
        differ(c, &first, (s = second, s.ip6 = !s.ip6, &s));
        differ(c, &first, (s = second, s.payload = 1001, &s));
        differ(c, &first, (s = second, s.payload = 0, &s));
        differ(c, &first, (s = second, s.complete = true, &s));
        differ(c, (s = first, s.complete = true, &s), &second);
        differ(c, (s = first, s.payload = 0, &s), (second.payload = 0, &second));
    }
}

static void test_flow_label(void) {
    g_autofree IpopCoalescer *c = coalescer();
    Shape second, first = two(&second, true, false);
    uint8_t packet[1500];
    size_t n = make_packet(packet, &second);
    takes(c, &first);
    packet[3] ^= 1;
    g_assert_cmpint(give_bytes(c, packet, n, true), ==, IPOP_COALESCE_FLUSH_FIRST);
    packet[3] ^= 1;
    g_assert_cmpint(give_bytes(c, packet, n, true), ==, IPOP_COALESCE_TAKEN);
}

static void test_other_tcp(void) {
    g_autofree IpopCoalescer *c = coalescer();
    for (int ip6 = 0; ip6 < 2; ip6++) {
        Shape second, first = two(&second, ip6, false), s;
        differ(c, &first, (s = second, s.sequence++, &s));
        differ(c, &first, (s = second, s.sequence--, &s));
        differ(c, &first, &first);
        differ(c, &second, &first);
        differ(c, &first, (s = second, s.ack++, &s));
        differ(c, &first, (s = second, s.window++, &s));
        differ(c, &first, (s = second, s.stamp++, &s));
        differ(c, &first, (s = second, s.options = 16, &s));
        differ(c, &first, (s = second, s.options = 0, &s));
        for (unsigned bit = 1; bit < 256; bit <<= 1) {
            bool ends = bit == 1 || bit == 8; /* FIN, PSH */
            s = second;
            s.flags ^= (uint8_t)bit;
            if (!ends)
                differ(c, &first, &s);
            /* Both alike: SYN, RST, URG and CWR still not, and after FIN or PSH nothing may follow. */
            Shape f = first;
            f.flags ^= (uint8_t)bit;
            takes(c, &f);
            g_assert_cmpint(give(c, &s), ==, bit == 0x10 || bit == 0x40 ? IPOP_COALESCE_TAKEN : IPOP_COALESCE_FLUSH_FIRST);
            ipop_coalesce_init(c, true);
        }
    }
}

static void test_ends(void) {
    g_autofree IpopCoalescer *c = coalescer();
    EACH_KIND (kind) {
        Shape super = {.ip6 = IP6(kind), .udp = UDP(kind), .payload = 2999, .flags = 0x90, .ttl = 3};
        Shape third = shape_segment(&super, 1000, 2);
        for (int flags = 0; flags < (super.udp ? 1 : 4); flags++) {
            super.flags = (uint8_t)(0x90 | (flags & 1) | (flags & 2) << 2); /* FIN, PSH */
            for (size_t i = 0; i < 3; i++) {
                Shape segment = shape_segment(&super, 1000, i);
                takes(c, &segment);
            }
            Shape more = third;
            more.sequence += 999;
            more.id++;
            more.payload = 1;
            refuses(c, &more);
            gives_shape(c, &super, 1000);
        }
        /* FIN or PSH on a full segment ends it too. */
        Shape second, first = two(&second, IP6(kind), false);
        second.flags |= 8;
        takes(c, &first);
        takes(c, &second);
        first = second;
        first.sequence += 1000;
        first.id++;
        refuses(c, &first);
        ipop_coalesce_init(c, true);
    }
}

/* An identification that counts, or with DF one that stands still; not both. */
static void test_ip_id(void) {
    g_autofree IpopCoalescer *c = coalescer();
    static const struct { bool df; uint16_t id[3]; unsigned taken; } cases[] = {
        {false, {0xffff, 0, 1}, 3}, {true, {0xffff, 0, 1}, 3}, {false, {5, 5, 5}, 1}, {true, {5, 5, 5}, 3}, {true, {0, 0, 0}, 3},
        {true, {5, 5, 6}, 2},       {true, {5, 6, 6}, 2},      {true, {5, 7, 9}, 1},  {true, {5, 4, 3}, 1}, {false, {5, 6, 8}, 2},
        {true, {5, 5, 7}, 2},
    };
    for (int udp = 0; udp < 2; udp++)
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            Shape super = {.udp = udp, .payload = 3000, .flags = 0x10, .df = cases[i].df};
            unsigned taken = 0;
            for (; taken < 3; taken++) {
                Shape s = shape_segment(&super, 1000, taken);
                s.id = cases[i].id[taken];
                if (give(c, &s) != IPOP_COALESCE_TAKEN)
                    break;
            }
            g_assert_cmpuint(taken, ==, cases[i].taken);
            ipop_coalesce_init(c, true);
        }
    Shape second, first = two(&second, false, false);
    second.df = true;
    differ(c, &first, &second);
}

/* No larger than a packet can say, no more datagrams than every kernel takes. */
static void test_limits(void) {
    g_autofree IpopCoalescer *c = coalescer();
    EACH_KIND (kind)
        for (size_t size = 500; size <= 1400; size += 900) {
            Shape super = {.ip6 = IP6(kind), .udp = UDP(kind), .payload = 200000, .flags = 0x10};
            size_t fits = (65535 - shape_header(&super)) / size, wanted = super.udp ? MIN(fits, 64) : fits, i = 0;
            Shape s = shape_segment(&super, size, 0);
            while (give(c, &s) == IPOP_COALESCE_TAKEN)
                s = shape_segment(&super, size, ++i);
            g_assert_cmpuint(i, ==, wanted);
            super.payload = wanted * size;
            gives_shape(c, &super, size);
        }
    /* One byte more or less at the very end. */
    Shape super = {.payload = 65535 - 40, .flags = 0x10};
    for (size_t more = 0; more < 2; more++) {
        super.payload += more;
        Shape s = shape_segment(&super, 65000, 0), tail = shape_segment(&super, 65000, 1);
        takes(c, &s);
        more ? refuses(c, &tail) : takes(c, &tail);
        gives_shape(c, more ? &s : &super, more ? 0 : 65000);
    }
    /* One packet of the largest size, and without meaning. */
    static uint8_t blob[IPOP_COALESCE_PACKET_MAX];
    g_assert_cmpint(give_bytes(c, blob, sizeof blob, true), ==, IPOP_COALESCE_TAKEN);
    gives(c, &(IpopVnetHeader){0}, blob, sizeof blob);
}

static void test_no_udp(void) {
    g_autofree IpopCoalescer *c = coalescer();
    ipop_coalesce_init(c, false);
    Shape second, first = two(&second, false, true);
    differ(c, &first, &second);
    first = two(&second, false, false);
    takes(c, &first);
    takes(c, &second);
}

/* What can't be partial, or can't be read, goes as it came, and alone. */
static void alone(const uint8_t *packet, size_t n, size_t kept, bool partial, const IpopVnetHeader *vnet) {
    g_autofree IpopCoalescer *c = coalescer();
    g_assert_cmpint(give_bytes(c, packet, n, partial), ==, IPOP_COALESCE_TAKEN);
    g_assert_cmpint(give_bytes(c, packet, n, partial), ==, IPOP_COALESCE_FLUSH_FIRST);
    gives(c, vnet, packet, kept);
}

static void test_alone(void) {
    const IpopVnetHeader none = {0};
    uint8_t packet[2000];
    EACH_KIND (kind) {
        Shape second, s = two(&second, IP6(kind), UDP(kind));
        s.ip_extra = 8; /* options or extensions */
        size_t n = make_packet(packet, &s);
        alone(packet, n, n, true, &none);
        s.ip_extra = 0;
        n = make_packet(packet, &s);
        packet[n] = 7; /* padding */
        alone(packet, n + 1, n, false, &none);
        packet[IP6(kind) ? 6 : 9] = 47; /* GRE */
        alone(packet, n, n, true, &none);
        alone(packet, n + 1, n, true, &none);
        for (size_t cut = 1; cut < n; cut += 7) {
            make_packet(packet, &s);
            alone(packet, cut, cut, true, &none);
        }
    }
    /* Fragments: more to come, or not the first. */
    Shape s = {.payload = 1000, .flags = 0x10};
    size_t n = make_packet(packet, &s);
    packet[6] = 0x20;
    alone(packet, n, n, true, &none);
    packet[6] = 0;
    packet[7] = 1;
    alone(packet, n, n, true, &none);
    /* A TCP header that does not fit; UDP with another length. */
    make_packet(packet, &s);
    packet[32] = 0x40;
    alone(packet, n, n, true, &none);
    s.payload = 39;
    n = make_packet(packet, &s);
    packet[32] = 0xf0;
    alone(packet, n, n, true, &none);
    s.udp = true;
    n = make_packet(packet, &s);
    for (int more = -1; more <= 1; more += 2) {
        put16(packet + 24, (size_t)(8 + 39 + more));
        alone(packet, n, n, true, &none);
    }
}

/* Extension and transport headers that the packet's end cuts off, though the IP header is content. */
static void test_cut_headers(void) {
    const IpopVnetHeader none = {0};
    uint8_t packet[128] = {0};
    for (int kind = 0; kind < 4; kind++)
        for (size_t extra = 0; extra <= 16; extra += 8) {
            Shape s = {.ip6 = IP6(kind), .udp = UDP(kind), .ip_extra = extra};
            size_t n = make_packet(packet, &s);
            for (size_t left = shape_ip_header(&s) - extra; left < n; left++) {
                put16(packet + (s.ip6 ? 4 : 2), s.ip6 ? left - 40 : left);
                alone(packet, left, left, true, &none);
            }
        }
}

/* The wrong IPv4 checksum of a segment must not vanish in a new header. */
static void test_bad_ip_checksum(void) {
    uint8_t packet[2000];
    Shape second, first = two(&second, false, false);
    size_t n = make_packet(packet, &second);
    IpopVnetHeader vnet = shape_vnet(&second, 0);
    packet[11] ^= 1;
    alone(packet, n, n, true, &vnet);
    g_autofree IpopCoalescer *c = coalescer();
    takes(c, &first);
    g_assert_cmpint(give_bytes(c, packet, n, true), ==, IPOP_COALESCE_FLUSH_FIRST);
    /* Nor a reserved flag, even if both have it. */
    ipop_coalesce_init(c, true);
    for (int i = 0; i < 2; i++) {
        make_packet(packet, i ? &second : &first);
        packet[6] = 0x80;
        put16(packet + 10, 0);
        put16(packet + 10, ~sum_up(0, packet, 20));
        g_assert_cmpint(give_bytes(c, packet, n, true), ==, i ? IPOP_COALESCE_FLUSH_FIRST : IPOP_COALESCE_TAKEN);
    }
}

/* ---- several flows ---- */

#define FLOWS 7

typedef struct {
    Shape shape;    /* of the next segment */
    GQueue packets; /* GBytes, what was given and not seen again */
} Flow;

/* The next that was given to its flow and did not come out yet, to the byte. */
static void see(Flow *flows, uint8_t *packet, size_t n, bool partial) {
    bool ip6 = packet[0] >> 4 == 6;
    uint8_t *transport = packet + (ip6 ? 40 : 20);
    unsigned port = at16(transport);
    g_assert_cmpuint(port, <, FLOWS);
    g_autoptr(GBytes) bytes = g_queue_pop_head(&flows[port].packets);
    g_assert_nonnull(bytes);
    size_t wanted_n;
    const uint8_t *wanted = g_bytes_get_data(bytes, &wanted_n);
    g_assert_cmpuint(n, ==, wanted_n);
    g_assert_true(memcmp(packet, wanted, n) == 0);
    g_assert_true(partial != flows[port].shape.complete);
}

static bool take_and_see(Flow *flows, uint8_t *buffer, size_t n) {
    /* The segmenter wants room in front. */
    g_autofree uint8_t *room = g_malloc(IPOP_SEGMENT_HEADROOM + n);
    memcpy(room + IPOP_SEGMENT_HEADROOM, buffer, n);
    IpopSegmenter s;
    g_assert_true(ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, n, 0));
    uint8_t *packet;
    size_t packet_n, segments = 0;
    bool partial;
    for (; ipop_segment_next(&s, &packet, &packet_n, &partial); segments++)
        see(flows, packet, packet_n, partial);
    return segments > 1;
}

static Shape next_of(Flow *flow) {
    Shape s = flow->shape;
    if (g_test_rand_int_range(0, 40) == 0)
        s.payload = (size_t)g_test_rand_int_range(0, 1400);
    if (g_test_rand_int_range(0, 40) == 0)
        s.flags |= 8;
    flow->shape.id++;
    flow->shape.sequence += (uint32_t)s.payload;
    flow->shape.offset += s.payload;
    return s;
}

static void offer(IpopCoalesceTable *table, Flow *flows, Flow *flow, const Shape *s, size_t *joined) {
    uint8_t packet[2000], *buffer;
    size_t n = make_packet(packet, s), buffer_n;
    IpopCoalescer *full;
    g_queue_push_tail(&flow->packets, g_bytes_new(packet, n));
    uint8_t *exact = g_memdup2(packet, n);
    if (ipop_coalesce_table_add(table, exact, n, !s->complete, &full) == IPOP_COALESCE_FLUSH_FIRST) {
        g_assert_true(ipop_coalesce_take(full, &buffer, &buffer_n));
        *joined += take_and_see(flows, buffer, buffer_n);
        g_assert_cmpint(ipop_coalesce_table_add(table, exact, n, !s->complete, &full), ==, IPOP_COALESCE_TAKEN);
    }
    g_free(exact);
}

static void test_interleaved(void) {
    g_autofree IpopCoalesceTable *table = g_new(IpopCoalesceTable, 1);
    memset(table, 0x55, sizeof *table);
    for (int flows_n = 1; flows_n <= FLOWS; flows_n++) {
        Flow flows[FLOWS] = {0};
        size_t joined = 0;
        uint8_t *buffer;
        size_t n;
        ipop_coalesce_table_init(table, true);
        g_assert_false(ipop_coalesce_table_take(table, &buffer, &n));
        for (int i = 0; i < flows_n; i++)
            flows[i].shape = (Shape){.ip6 = i & 1, .udp = i & 2, .complete = i == 4, .payload = 1400, .flags = 0x10, .ttl = 9,
                                     .sport = (uint16_t)i, .sequence = (uint32_t)g_test_rand_int()};
        for (int i = 0; i < 3000; i++) {
            Flow *flow = &flows[g_test_rand_int_range(0, flows_n)];
            Shape s = next_of(flow);
            if (g_test_rand_int_range(0, 30) == 0) { /* overtaken on the way */
                Shape late = s;
                s = next_of(flow);
                offer(table, flows, flow, &s, &joined);
                s = late;
            }
            offer(table, flows, flow, &s, &joined);
            if (g_test_rand_int_range(0, 200) == 0)
                while (ipop_coalesce_table_take(table, &buffer, &n))
                    joined += take_and_see(flows, buffer, n);
        }
        while (ipop_coalesce_table_take(table, &buffer, &n))
            joined += take_and_see(flows, buffer, n);
        for (int i = 0; i < flows_n; i++)
            g_assert_cmpuint(flows[i].packets.length, ==, 0);
        g_assert_cmpuint(joined, >, 50);
    }
}

/* As many flows as there are places don't disturb each other. */
static void test_places(void) {
    g_autofree IpopCoalesceTable *table = g_new0(IpopCoalesceTable, 1);
    uint8_t packet[1500];
    IpopCoalescer *where, *first = NULL;
    ipop_coalesce_table_init(table, true);
    for (size_t i = 0; i < 40; i++)
        for (unsigned flow = 0; flow < IPOP_COALESCE_FLOWS; flow++) {
            Shape super = {.payload = 100000, .flags = 0x10, .sport = (uint16_t)flow}, s = shape_segment(&super, 1400, i);
            size_t n = make_packet(packet, &s);
            g_assert_cmpint(ipop_coalesce_table_add(table, packet, n, true, &where), ==, IPOP_COALESCE_TAKEN);
            g_assert_cmpuint(where->segments, ==, i + 1);
            if (!first)
                first = where;
        }
    /* The next one makes room for itself. */
    Shape s = {.payload = 100, .flags = 0x10, .sport = 99};
    size_t n = make_packet(packet, &s), taken = 0, buffer_n;
    uint8_t *buffer;
    g_assert_cmpint(ipop_coalesce_table_add(table, packet, n, true, &where), ==, IPOP_COALESCE_FLUSH_FIRST);
    g_assert_true(where == first && ipop_coalesce_take(where, &buffer, &buffer_n));
    g_assert_cmpint(ipop_coalesce_table_add(table, packet, n, true, &where), ==, IPOP_COALESCE_TAKEN);
    s.sport++;
    n = make_packet(packet, &s);
    g_assert_cmpint(ipop_coalesce_table_add(table, packet, n, true, &where), ==, IPOP_COALESCE_FLUSH_FIRST);
    g_assert_true(where != first);
    while (ipop_coalesce_table_take(table, &buffer, &buffer_n))
        taken++;
    g_assert_cmpuint(taken, ==, IPOP_COALESCE_FLOWS);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coalesce/round-trip", test_round_trip);
    g_test_add_func("/coalesce/other-flow", test_other_flow);
    g_test_add_func("/coalesce/flow-label", test_flow_label);
    g_test_add_func("/coalesce/other-tcp", test_other_tcp);
    g_test_add_func("/coalesce/ends", test_ends);
    g_test_add_func("/coalesce/ip-id", test_ip_id);
    g_test_add_func("/coalesce/limits", test_limits);
    g_test_add_func("/coalesce/no-udp", test_no_udp);
    g_test_add_func("/coalesce/alone", test_alone);
    g_test_add_func("/coalesce/cut-headers", test_cut_headers);
    g_test_add_func("/coalesce/bad-ip-checksum", test_bad_ip_checksum);
    g_test_add_func("/coalesce/interleaved", test_interleaved);
    g_test_add_func("/coalesce/places", test_places);
    return g_test_run();
}
