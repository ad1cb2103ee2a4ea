#include "tests/unit/twin.h"

#include "tincan/base/clock.h"
#include "tincan/base/secret.h"

#include <string.h>

static atomic_uint_least64_t *drop(TwinNode *node, IpopDrop cause) {
    return (atomic_uint_least64_t *)&ipop_tunnel_peer_counters(node->tunnel_peer)->drops[cause];
}

static void exchange(Twin *twin) {
    for (unsigned side = 0; side < 2; side++) {
        twin_write_packet(&twin->node[side], 1 + side, 2 - side, side ? "to the left" : "to the right");
        g_autofree char *payload = twin_read_payload(&twin->node[!side]);
        g_assert_cmpstr(payload, ==, side ? "to the left" : "to the right");
    }
}

static void test_connects(void) {
    Twin *twin = twin_new();
    g_assert_cmpint(ipop_link_state(twin->node[0].link), ==, IPOP_LINK_IDLE);
    /* The negative first: nothing passes before there is a link. */
    twin_write_packet(&twin->node[0], 1, 2, "too early");
    twin_wait_count(drop(&twin->node[0], IPOP_DROP_NO_LINK), 1);

    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    g_assert_true(twin_silent(&twin->node[1]));
    g_assert_nonnull(ipop_link_path_info(twin->node[0].link));
    g_assert_cmpstr(ipop_link_reason(twin->node[0].link), ==, "");
    exchange(twin);
    twin_free(twin);
}

static void test_generation_rules(void) {
    Twin *twin = twin_new();
    IpopLink *link = twin->node[0].link;
    g_autoptr(GError) error = NULL;
    twin_connect(twin, 5);
    g_assert_true(ipop_link_create(link, 5, true, NULL)); /* again: nothing happens */
    g_assert_cmpuint(twin->transports, ==, 2);
    g_assert_false(ipop_link_create(link, 4, true, &error));
    g_assert_nonnull(error);
    g_assert_false(ipop_link_set_remote(link, 4, "ufrag", "pwd", NULL, 0, true));
    g_assert_cmpuint(ipop_link_generation(link), ==, 5);
    twin_free(twin);
}

static void test_moves_to_new_generation(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    twin_connect(twin, 2);
    /* Make before break: it stays online, and packets pass all the while. */
    g_assert_cmpint(ipop_link_state(twin->node[0].link), ==, IPOP_LINK_ONLINE);
    exchange(twin);
    unsigned before = twin->passed[0];
    exchange(twin);
    g_assert_cmpuint(twin->passed[0], >, before);
    g_assert_cmpint(ipop_link_state(twin->node[0].link), ==, IPOP_LINK_ONLINE);
    twin_free(twin);
}

static void test_other_psk(void) {
    Twin *twin = twin_new();
    memset(twin->node[1].psk, 7, IPOP_PSK_BYTES);
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_HANDSHAKE, IPOP_LINK_HANDSHAKE);
    while (!strstr(ipop_link_reason(twin->node[0].link), "psk") || !strstr(ipop_link_reason(twin->node[1].link), "psk"))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(ipop_link_state(twin->node[0].link), ==, IPOP_LINK_HANDSHAKE);
    g_assert_cmpint(ipop_link_state(twin->node[1].link), ==, IPOP_LINK_HANDSHAKE);
    twin_write_packet(&twin->node[0], 1, 2, "secret");
    twin_wait_count(drop(&twin->node[0], IPOP_DROP_NO_LINK), 1);
    g_assert_true(twin_silent(&twin->node[1]));
    twin_free(twin);
}

static unsigned wire_count;

static bool lose_first_two(Twin *twin, int from, uint8_t *datagram, size_t n) {
    return ++wire_count > 2;
}

static bool alter_handshakes_once(Twin *twin, int from, uint8_t *datagram, size_t n) {
    if (datagram[0] != IPOP_WIRE_DATA && ++wire_count <= 4)
        datagram[n / 2] ^= 1;
    return true;
}

static void test_bad_wire(gconstpointer wire) {
    Twin *twin = twin_new();
    wire_count = 0;
    twin->wire = (bool (*)(Twin *, int, uint8_t *, size_t))wire;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    exchange(twin);
    twin_free(twin);
}

static void test_source_is_checked(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    twin_write_packet(&twin->node[0], 77, 2, "pretending to be 10.0.0.77");
    twin_wait_count(drop(&twin->node[1], IPOP_DROP_SOURCE), 1);
    g_assert_true(twin_silent(&twin->node[1]));
    exchange(twin);
    twin_free(twin);
}

static uint8_t kept[2048];
static size_t kept_n;

static bool keep_data(Twin *twin, int from, uint8_t *datagram, size_t n) {
    if (datagram[0] == IPOP_WIRE_DATA && from == 0 && n > IPOP_WIRE_DATA_OVERHEAD + 8) {
        memcpy(kept, datagram, n);
        kept_n = n;
    }
    return true;
}

static void test_replay_and_rubbish(void) {
    Twin *twin = twin_new();
    twin->wire = keep_data;
    kept_n = 0;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    exchange(twin);
    g_assert_cmpuint(kept_n, >, 0);

    TwinNode *node = &twin->node[1];
    ipop_tunnel_input(node->tunnel, kept, kept_n);
    twin_wait_count(drop(node, IPOP_DROP_REPLAYED), 1);
    kept[11] = 0xff; /* a counter not seen, so that it gets as far as the cipher */
    ipop_tunnel_input(node->tunnel, kept, kept_n);
    twin_wait_count(drop(node, IPOP_DROP_FORGED), 1);
    ipop_tunnel_input(node->tunnel, kept, IPOP_WIRE_DATA_OVERHEAD - 1);
    twin_wait_count(&ipop_tunnel_counters(node->tunnel)->drops[IPOP_DROP_MALFORMED], 1);
    kept[1] ^= 0x55;
    ipop_tunnel_input(node->tunnel, kept, kept_n);
    twin_wait_count(&ipop_tunnel_counters(node->tunnel)->drops[IPOP_DROP_NO_SESSION], 1);
    g_assert_true(twin_silent(node));
    exchange(twin);
    twin_free(twin);
}

static void test_bye(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    ipop_tunnel_bye(twin->node[0].tunnel, twin->node[0].tunnel_peer);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_IDLE);
    g_assert_cmpstr(ipop_link_reason(twin->node[1].link), ==, "the peer was stopped");
    twin_free(twin);
}

static bool dead_wire(Twin *twin, int from, uint8_t *datagram, size_t n) {
    return false;
}

/* Time is passed in: an hour of it is no time. */
static void test_death_and_revival(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    twin->wire = dead_wire;
    int64_t now = ipop_clock_now();
    for (int second = 1; second <= 15; second++)
        ipop_link_tick(twin->node[0].link, now + second * IPOP_SECOND);
    g_assert_cmpint(ipop_link_state(twin->node[0].link), ==, IPOP_LINK_FAILED);
    g_assert_cmpstr(ipop_link_reason(twin->node[0].link), ==, "the peer stopped answering");
    /* Nothing was torn down: when the wire works again, so does the link. */
    twin->wire = NULL;
    ipop_link_tick(twin->node[0].link, now + 16 * IPOP_SECOND);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    exchange(twin);
    twin_free(twin);
}

static void test_rekey(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    uint32_t index = twin->node[0].next_index;
    ipop_link_tick(twin->node[0].link, ipop_clock_now() + IPOP_REKEY_AFTER + IPOP_SECOND);
    g_assert_cmpuint(twin->node[0].next_index, ==, index + 1);
    exchange(twin);
    exchange(twin);
    g_assert_cmpuint(atomic_load(drop(&twin->node[1], IPOP_DROP_FORGED)), ==, 0);
    twin_free(twin);
}

static void test_trim_and_again(void) {
    Twin *twin = twin_new();
    for (uint32_t generation = 1; generation <= 200; generation++) {
        twin_connect(twin, generation);
        twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
        for (int side = 0; side < 2; side++)
            ipop_link_trim(twin->node[side].link, NULL);
        g_assert_cmpuint(twin->transports, ==, 0);
    }
    twin_free(twin); /* asserts that no path is left */
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/link/connects", test_connects);
    g_test_add_func("/link/generation-rules", test_generation_rules);
    g_test_add_func("/link/moves-to-new-generation", test_moves_to_new_generation);
    g_test_add_func("/link/other-psk", test_other_psk);
    g_test_add_data_func("/link/losses", lose_first_two, test_bad_wire);
    g_test_add_data_func("/link/alterations", alter_handshakes_once, test_bad_wire);
    g_test_add_func("/link/source-is-checked", test_source_is_checked);
    g_test_add_func("/link/replay-and-rubbish", test_replay_and_rubbish);
    g_test_add_func("/link/bye", test_bye);
    g_test_add_func("/link/death-and-revival", test_death_and_revival);
    g_test_add_func("/link/rekey", test_rekey);
    g_test_add_func("/link/trim-200-times", test_trim_and_again);
    return g_test_run();
}
