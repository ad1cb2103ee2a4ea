/* test_stream.c - numbered packets run both ways between the twins while keys and paths change under them: each arrives once,
 * in order and as it was. */
#include "tests/unit/twin.h"

#include "tincan/base/clock.h"
#include "tincan/base/secret.h"

#include <string.h>

#define WINDOW 48  /* packets under way at most: less than any queue holds, so that nothing may be lost */
#define EVENTS 4   /* one after another */
#define OLD_ENOUGH (IPOP_REKEY_AFTER + 11 * IPOP_SECOND) /* for the responder, too */
#define BETWEEN 99 /* packets with new keys before the next event */

typedef struct {
    const char *name;
    void (*happens)(Twin *twin, unsigned number);
    bool loses_handshakes; /* three messages in a row */
} Case;

static const Case *current;

/* The session of the newest data from each side: what the packets are sealed for. */
static uint32_t session[2];

static bool watch(Twin *twin, int from, uint8_t *datagram, size_t n) {
    static unsigned seen;
    if (datagram[0] != IPOP_WIRE_DATA)
        return !current->loses_handshakes || seen++ % 5 < 2;
    session[from] = ipop_session_index_of(datagram);
    return true;
}

/* Of a length of its own, and other bytes in each. */
static char *payload_of(unsigned i, int side) {
    return g_strdup_printf("%d:%0*u:%u", side, (int)(8 + i * 37 % 1300), i, i * 2654435761u);
}

static void send_one(TwinNode *node, unsigned i) {
    g_autofree char *payload = payload_of(i, node->side);
    twin_write_packet(node, (unsigned)node->side + 1, 2 - (unsigned)node->side, payload);
}

static void expect_one(TwinNode *node, unsigned i) {
    g_autofree char *expected = payload_of(i, !node->side), *got = twin_read_payload(node);
    g_assert_cmpstr(got, ==, expected);
}

static uint64_t dropped(const Twin *twin) {
    uint64_t sum = 0;
    for (int side = 0; side < 2; side++)
        for (unsigned cause = 0; cause < IPOP_DROP_CAUSES; cause++)
            sum += atomic_load(&ipop_tunnel_counters(twin->node[side].tunnel)->drops[cause]) +
                   atomic_load(&ipop_tunnel_peer_counters(twin->node[side].tunnel_peer)->drops[cause]);
    return sum;
}

typedef struct {
    Twin *twin;
    unsigned sent, got;
} Stream;

/* One packet more at each end, and as many under way as may be. */
static void carry(Stream *stream) {
    for (; stream->sent < stream->got + WINDOW; stream->sent++)
        for (int side = 0; side < 2; side++)
            send_one(&stream->twin->node[side], stream->sent);
    for (int side = 0; side < 2; side++)
        expect_one(&stream->twin->node[side], stream->got);
    stream->got++;
}

static void test_stream(gconstpointer data) {
    Twin *twin = twin_new();
    Stream stream = {.twin = twin};
    current = data;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    twin->wire = watch;
    uint64_t before = dropped(twin);
    for (unsigned event = 0; event < EVENTS; event++) {
        for (unsigned i = 0; i < BETWEEN; i++)
            carry(&stream);
        uint32_t old[] = {session[0], session[1]};
        current->happens(twin, event);
        while (session[0] == old[0] || session[1] == old[1])
            carry(&stream);
    }
    for (unsigned i = 0; i < WINDOW; i++)
        carry(&stream);
    g_assert_cmpuint(dropped(twin), ==, before);
    g_test_message("%u packets each way", stream.got);
    twin_free(twin);
}

static void rekey(Twin *twin, int side) {
    ipop_link_tick(twin->node[side].link, ipop_clock_now() + OLD_ENOUGH);
}

static void rekey_by_turns(Twin *twin, unsigned number) {
    rekey(twin, number % 2);
}

static void rekey_at_once(Twin *twin, unsigned number) {
    rekey(twin, 0);
    rekey(twin, 1);
}

static void next_generation(Twin *twin, unsigned number) {
    twin_connect(twin, 2 + number);
}

static void next_pair(Twin *twin, unsigned number) {
    twin_select(twin);
    rekey(twin, number % 2);
}

static const Case cases[] = {
    {"rekey/by-turns", rekey_by_turns, false},
    {"rekey/both-at-once", rekey_at_once, false},
    {"rekey/handshakes-lost", rekey_by_turns, true},
    {"new-generation", next_generation, false},
    {"new-pair", next_pair, false},
};

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/stream/%s", cases[i].name);
        g_test_add_data_func(path, &cases[i], test_stream);
    }
    return g_test_run();
}
