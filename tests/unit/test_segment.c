/* Super-packets cut to what a naive writer of packets makes, and every contradiction refused. */
#include "packets.h"

#include "tincan/packet/segment.h"

/* Of exactly the size the header asks for, so that a byte too far is seen. */
static uint8_t *device_read(const IpopVnetHeader *vnet, const uint8_t *packet, size_t n) {
    uint8_t *room = g_malloc(IPOP_SEGMENT_HEADROOM + IPOP_VNET_HEADER + n);
    memset(room, 0xdd, IPOP_SEGMENT_HEADROOM);
    memcpy(room + IPOP_SEGMENT_HEADROOM, vnet, sizeof *vnet);
    if (n > 0)
        memcpy(room + IPOP_SEGMENT_HEADROOM + IPOP_VNET_HEADER, packet, n);
    return room;
}

/* What a caller may do to a packet it has had. */
static void spoil(uint8_t *packet, size_t n) {
    memset(packet - IPOP_SEGMENT_HEADROOM, 0xee, IPOP_SEGMENT_HEADROOM + n);
}

static bool next_is(IpopSegmenter *s, const uint8_t *wanted, size_t wanted_n, bool wanted_partial) {
    uint8_t *packet;
    size_t n;
    bool partial;
    if (!ipop_segment_next(s, &packet, &n, &partial))
        return false;
    g_assert_cmpuint(n, ==, wanted_n);
    g_assert_true(memcmp(packet, wanted, n) == 0);
    g_assert_true(partial == wanted_partial);
    spoil(packet, n);
    return true;
}

static void ends(IpopSegmenter *s) {
    uint8_t *packet;
    size_t n;
    bool partial;
    g_assert_false(ipop_segment_next(s, &packet, &n, &partial));
    g_assert_false(ipop_segment_next(s, &packet, &n, &partial));
}

static bool begins(const IpopVnetHeader *vnet, const uint8_t *packet, size_t n) {
    IpopSegmenter s;
    g_autofree uint8_t *room = device_read(vnet, packet, n);
    bool good = ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n, 0);
    if (!good)
        ends(&s);
    return good;
}

/* shape is the super-packet; size what its segments are to carry. */
static void check_cut(const Shape *shape, const IpopVnetHeader *vnet, size_t max_packet, size_t size) {
    g_autofree uint8_t *super = g_malloc(PACKET_MAX), *wanted = g_malloc(PACKET_MAX);
    size_t n = make_packet(super, shape);
    g_autofree uint8_t *room = device_read(vnet, super, n);
    IpopSegmenter s;
    g_assert_true(ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n, max_packet));
    for (size_t i = 0; i == 0 || i * size < shape->payload; i++) {
        Shape segment = shape_segment(shape, size, i);
        segment.complete = shape->ip_extra > 0;
        size_t wanted_n = make_packet(wanted, &segment);
        g_assert_true(next_is(&s, wanted, wanted_n, !segment.complete));
    }
    ends(&s);
}

static size_t most_payload(const Shape *s) {
    return 65535 + (s->ip6 ? 40 : 0) - shape_header(s);
}

static void test_cut_random(void) {
    for (int i = 0; i < 1500; i++) {
        Shape s;
        shape_random(&s);
        if (g_test_rand_int_range(0, 4) == 0)
            s.ip_extra = (size_t)g_test_rand_int_range(0, 5) * 8;
        size_t size = (size_t)(g_test_rand_bit() ? g_test_rand_int_range(1000, 1460) : g_test_rand_int_range(1, 80));
        size_t segments = g_test_rand_bit() ? 5 : 128;
        s.payload = (size_t)g_test_rand_int_range(1, (int)MIN(most_payload(&s), size * segments) + 1);
        IpopVnetHeader vnet = shape_vnet(&s, size);
        vnet.hdr_len = (uint16_t)g_test_rand_int(); /* only a hint */
        check_cut(&s, &vnet, 0, size);
        vnet.flags = s.ip_extra ? vnet.flags : IPOP_VNET_DATA_VALID;
        if (s.payload > size)
            check_cut(&s, &vnet, 0, size);
    }
}

static void test_cut_largest(void) {
    for (int kind = 0; kind < 4; kind++) {
        Shape s = {.ip6 = kind & 1, .udp = kind & 2, .flags = 0x99, .id = 0xfff0, .sequence = 0xffffff00, .options = 0};
        s.payload = most_payload(&s);
        IpopVnetHeader vnet = shape_vnet(&s, 1372);
        check_cut(&s, &vnet, 0, 1372);
        vnet = shape_vnet(&s, 65000);
        check_cut(&s, &vnet, 0, 65000);
    }
    Shape tiny = {.udp = true, .payload = 128};
    IpopVnetHeader vnet = shape_vnet(&tiny, 1);
    check_cut(&tiny, &vnet, 0, 1);
}

/* A path narrower than the device: TCP is cut again, whether the kernel cut it or not. */
static void test_recut(void) {
    for (int i = 0; i < 500; i++) {
        Shape s;
        shape_random(&s);
        s.udp = false;
        size_t limit = (size_t)g_test_rand_int_range(IPOP_SEGMENT_LIMIT_MIN, 1500), fits = limit - shape_header(&s);
        s.payload = (size_t)g_test_rand_int_range(1, 9000);
        IpopVnetHeader vnet = shape_vnet(&s, 0);
        check_cut(&s, &vnet, limit, fits);
        size_t size = (size_t)g_test_rand_int_range(1, 1460);
        vnet = shape_vnet(&s, size);
        check_cut(&s, &vnet, limit, MIN(size, fits));
    }
}

static void check_whole(const Shape *shape, const IpopVnetHeader *vnet, size_t max_packet) {
    g_autofree uint8_t *packet = g_malloc(PACKET_MAX);
    size_t n = make_packet(packet, shape);
    g_autofree uint8_t *room = device_read(vnet, packet, n);
    IpopSegmenter s;
    g_assert_true(ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n, max_packet));
    g_assert_true(next_is(&s, packet, n, vnet->flags & IPOP_VNET_NEEDS_CSUM));
    ends(&s);
}

static void test_not_recut(void) {
    const IpopVnetHeader none = {0}, valid = {.flags = IPOP_VNET_DATA_VALID};
    Shape s = {.payload = 1400, .flags = 0x10, .complete = true};
    check_whole(&s, &none, 1280); /* its checksum is not ours */
    check_whole(&s, &valid, 1280);
    s.complete = false;
    for (int i = 0; i < 3; i++) {
        s.flags = (const uint8_t[]){0x12, 0x14, 0x30}[i]; /* SYN, RST, URG */
        IpopVnetHeader vnet = shape_vnet(&s, 0);
        check_whole(&s, &vnet, 1280);
    }
    Shape udp = {.udp = true, .payload = 1400};
    IpopVnetHeader vnet = shape_vnet(&udp, 0);
    check_whole(&udp, &vnet, 1280);
    udp.payload = 4200;
    vnet = shape_vnet(&udp, 1400);
    check_cut(&udp, &vnet, 1280, 1400);
}

/* A signed segment is not the same when cut. An option list that breaks off may hide a signature. */
static void test_signed(void) {
    static const char *const signatures[] = {"\1\23\22sixteen bytes...", "\35\20and more of it", "\1\1\10\1", "\1\1\1\10"};
    static const char *const harmless[] = {"\1\1\10\12stampsta", "\1\1\1\0\23\22", "\2\4\5\264\10\12stampsta\0"};
    uint8_t packet[40 + 24 + 1400];
    IpopSegmenter s;
    uint8_t *segment;
    size_t n;
    bool partial;
    for (size_t i = 0; i < 7; i++) {
        Shape shape = {.payload = 1400, .options = i < 4 && i >= 2 ? 4 : 24, .flags = 0x10};
        size_t packet_n = make_packet(packet, &shape);
        const char *options = i < 4 ? signatures[i] : harmless[i - 4];
        memcpy(packet + 40, options, MIN(strlen(options) + 1, shape.options));
        IpopVnetHeader vnet = shape_vnet(&shape, 0);
        g_autofree uint8_t *room = device_read(&vnet, packet, packet_n);
        g_assert_true(ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + packet_n, 1280));
        g_assert_true(ipop_segment_next(&s, &segment, &n, &partial));
        g_assert_cmpuint(n, ==, i < 4 ? packet_n : 1280);
    }
}

static void test_whole(void) {
    const IpopVnetHeader none = {0}, valid = {.flags = IPOP_VNET_DATA_VALID};
    for (int i = 0; i < 300; i++) {
        Shape s;
        shape_random(&s);
        s.payload = (size_t)g_test_rand_int_range(0, 1500);
        IpopVnetHeader vnet = shape_vnet(&s, 0);
        check_whole(&s, &vnet, 0);
        check_whole(&s, &vnet, 2000);
        if (s.payload > 0) {
            vnet = shape_vnet(&s, s.payload); /* a train of one */
            check_whole(&s, &vnet, 0);
        }
        s.ip_extra = 8;
        s.complete = true;
        check_whole(&s, &none, 0);
        check_whole(&s, &valid, 0);
    }
}

static void test_padding(void) {
    uint8_t packet[1500] = {0};
    Shape shape = {.payload = 3, .flags = 0x10};
    size_t n = make_packet(packet, &shape);
    IpopVnetHeader vnet = shape_vnet(&shape, 0);
    g_autofree uint8_t *room = device_read(&vnet, packet, n + 17);
    IpopSegmenter s;
    g_assert_true(ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n + 17, 0));
    g_assert_true(next_is(&s, packet, n, true));
    ends(&s);
}

/* The kernel may leave any sum to us: behind options, inside a tunnel of its own, in a protocol we do not know. */
static void test_completed_here(void) {
    uint8_t packet[1500], wanted[1500];
    IpopSegmenter s;
    for (int i = 0; i < 200; i++) {
        Shape shape;
        shape_random(&shape);
        shape.ip_extra = 8;
        shape.payload = (size_t)g_test_rand_int_range(0, 1300);
        size_t n = make_packet(packet, &shape);
        IpopVnetHeader vnet = shape_vnet(&shape, 0);
        shape.complete = true;
        make_packet(wanted, &shape);
        g_autofree uint8_t *room = device_read(&vnet, packet, n);
        g_assert_true(ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n, 0));
        g_assert_true(next_is(&s, wanted, n, false));
        ends(&s);
    }
    /* UDP around an inner TCP packet, whose sum is asked for. */
    Shape outer = {.udp = true, .complete = true, .payload = 700}, inner = {.payload = 660, .flags = 0x10};
    size_t n = make_packet(packet, &outer);
    g_assert_cmpuint(make_packet(packet + 28, &inner), ==, 700);
    memcpy(wanted, packet, n);
    inner.complete = true;
    make_packet(wanted + 28, &inner);
    IpopVnetHeader vnet = {.flags = IPOP_VNET_NEEDS_CSUM, .csum_start = 48, .csum_offset = 16};
    g_autofree uint8_t *room = device_read(&vnet, packet, n);
    g_assert_true(ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n, 0));
    g_assert_true(next_is(&s, wanted, n, false));
    /* A sum of zero is written as its other form. */
    memset(packet + 20, 0, n - 20);
    packet[9] = 253;
    packet[30] = packet[31] = 0xff;
    vnet.csum_start = 20;
    vnet.csum_offset = 2;
    g_autofree uint8_t *other = device_read(&vnet, packet, n);
    packet[22] = packet[23] = 0xff;
    g_assert_true(ipop_segment_begin(&s, other + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n, 0));
    g_assert_true(next_is(&s, packet, n, false));
}

static void test_vnet_lies(void) {
    uint8_t packet[5000];
    for (int kind = 0; kind < 4; kind++) {
        Shape s = {.ip6 = kind & 1, .udp = kind & 2, .flags = 0x10, .payload = 4000};
        size_t n = make_packet(packet, &s);
        const IpopVnetHeader good = shape_vnet(&s, 1000);
        g_assert_true(begins(&good, packet, n));
        IpopVnetHeader vnet = good;
        for (unsigned type = 1; type < 256; type++) {
            bool ecn = !s.udp && (type & ~IPOP_VNET_GSO_ECN) == good.gso_type;
            vnet.gso_type = (uint8_t)type;
            g_assert_true(begins(&vnet, packet, n) == (type == good.gso_type || ecn));
        }
        vnet = good;
        for (unsigned flags = 0; flags < 256; flags++) {
            vnet.flags = (uint8_t)flags;
            g_assert_true(begins(&vnet, packet, n) == (flags >= 1 && flags <= 3));
        }
        vnet = good;
        for (unsigned start = 0; start < 65536; start++) {
            vnet.csum_start = (uint16_t)start;
            g_assert_true(begins(&vnet, packet, n) == (start == good.csum_start));
        }
        vnet = good;
        for (unsigned offset = 0; offset < 65536; offset++) {
            vnet.csum_offset = (uint16_t)offset;
            g_assert_true(begins(&vnet, packet, n) == (offset == good.csum_offset));
        }
        vnet = good;
        for (unsigned size = 0; size < 65536; size += size < 100 ? 1 : 311) {
            vnet.gso_size = (uint16_t)size;
            g_assert_true(begins(&vnet, packet, n) == (size * (s.udp ? 128 : 4000) >= 4000));
        }
        g_assert_false(begins(&good, packet, n - 1));
        packet[n] = 0;
        g_assert_false(begins(&good, packet, n + 1));
    }
}

static void test_checksum_place(void) {
    uint8_t packet[128];
    for (int ip6 = 0; ip6 < 2; ip6++) {
        Shape s = {.ip6 = ip6, .payload = 20, .flags = 0x10};
        size_t n = make_packet(packet, &s), header = ip6 ? 40 : 20;
        for (unsigned start = 0; start < 128; start++)
            for (unsigned offset = 0; offset < 128; offset++) {
                IpopVnetHeader vnet = {.flags = 1, .csum_start = (uint16_t)start, .csum_offset = (uint16_t)offset};
                g_assert_true(begins(&vnet, packet, n) == (start >= header && start + offset + 2 <= n));
            }
        IpopVnetHeader vnet = {.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff};
        g_assert_false(begins(&vnet, packet, n));
    }
}

static void test_packet_lies(void) {
    uint8_t packet[4200];
    Shape s = {.flags = 0x10, .payload = 4000};
    const IpopVnetHeader vnet = shape_vnet(&s, 1000), none = {0};
    size_t n = make_packet(packet, &s);
    static const struct { uint8_t at, value; } lies[] = {
        {0, 0x44}, {0, 0x46}, {0, 0x4f}, {0, 0x55}, {0, 0x65}, {2, 0xff}, {2, 1}, {6, 0x20}, {7, 1}, {9, 17}, {9, 1},
        {32, 0x40}, {32, 0}, {33, 0x12}, {33, 0x14},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
        uint8_t was = packet[lies[i].at];
        packet[lies[i].at] = lies[i].value;
        g_assert_false(begins(&vnet, packet, n));
        packet[lies[i].at] = was;
    }
    g_assert_true(begins(&vnet, packet, n));
    for (size_t cut = 0; cut < 64; cut++) {
        g_assert_false(begins(&vnet, packet, cut));
        g_assert_false(begins(&none, packet, cut));
    }
    IpopSegmenter segmenter;
    for (size_t cut = 0; cut <= IPOP_VNET_HEADER; cut++) {
        uint8_t *few = g_malloc0(MAX(cut, 1));
        g_assert_false(ipop_segment_begin(&segmenter, few, cut, 0));
        g_free(few);
    }
}

/* Headers longer than are kept don't get cut. */
static void test_long_headers(void) {
    g_autofree uint8_t *packet = g_malloc(PACKET_MAX);
    Shape s = {.ip6 = true, .flags = 0x10, .payload = 4000, .ip_extra = IPOP_SEGMENT_HEADER_MAX - 60};
    s.ip_extra -= s.ip_extra % 8;
    IpopVnetHeader vnet = shape_vnet(&s, 1000);
    check_cut(&s, &vnet, 0, 1000);
    s.ip_extra += 8;
    vnet = shape_vnet(&s, 1000);
    g_assert_false(begins(&vnet, packet, make_packet(packet, &s)));
}

/* Whatever is wrong in header or packet, what comes out lies in the buffer, and no more payload than went in. */
static void test_mutations(void) {
    g_autofree uint8_t *packet = g_malloc(PACKET_MAX);
    for (int i = 0; i < 20000; i++) {
        Shape shape;
        shape_random(&shape);
        shape.ip_extra = g_test_rand_bit() ? 0 : 8;
        shape.payload = (size_t)g_test_rand_int_range(0, 4000);
        size_t n = make_packet(packet, &shape);
        IpopVnetHeader vnet = shape_vnet(&shape, g_test_rand_bit() ? 0 : (size_t)g_test_rand_int_range(1, 2000));
        for (int flips = g_test_rand_int_range(1, 4); flips > 0; flips--) {
            uint8_t *where = g_test_rand_bit() ? (uint8_t *)&vnet + g_test_rand_int_range(0, IPOP_VNET_HEADER)
                                               : packet + g_test_rand_int_range(0, (int)shape_header(&shape));
            *where ^= (uint8_t)(1 << g_test_rand_int_range(0, 8));
        }
        n = g_test_rand_int_range(0, 4) ? n : (size_t)g_test_rand_int_range(0, (int)n + 1);
        g_autofree uint8_t *room = device_read(&vnet, packet, n);
        uint8_t *end = room + IPOP_SEGMENT_HEADROOM + IPOP_VNET_HEADER + n, *out, *before = room + IPOP_SEGMENT_HEADROOM;
        size_t out_n, limit = g_test_rand_bit() ? 0 : 1280;
        bool partial;
        IpopSegmenter s;
        if (!ipop_segment_begin(&s, room + IPOP_SEGMENT_HEADROOM, IPOP_VNET_HEADER + n, limit))
            continue;
        while (ipop_segment_next(&s, &out, &out_n, &partial)) {
            g_assert_true(out > before && out_n >= 20 && out + out_n <= end);
            before = out;
            spoil(out, out_n);
        }
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/segment/cut-random", test_cut_random);
    g_test_add_func("/segment/cut-largest", test_cut_largest);
    g_test_add_func("/segment/recut", test_recut);
    g_test_add_func("/segment/not-recut", test_not_recut);
    g_test_add_func("/segment/signed", test_signed);
    g_test_add_func("/segment/whole", test_whole);
    g_test_add_func("/segment/padding", test_padding);
    g_test_add_func("/segment/completed-here", test_completed_here);
    g_test_add_func("/segment/vnet-lies", test_vnet_lies);
    g_test_add_func("/segment/checksum-place", test_checksum_place);
    g_test_add_func("/segment/packet-lies", test_packet_lies);
    g_test_add_func("/segment/long-headers", test_long_headers);
    g_test_add_func("/segment/mutations", test_mutations);
    return g_test_run();
}
