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

/* Its handshakes are older than those before then: another generation takes them all the same. */
static void test_clock_set_back(void) {
    Twin *twin = twin_new();
    for (int side = 0; side < 2; side++)
        twin->node[side].env.realtime_offset = 24 * 3600 * IPOP_SECOND;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    for (int side = 0; side < 2; side++) {
        ipop_link_trim(twin->node[side].link, NULL);
        twin->node[side].env.realtime_offset = 0;
    }
    twin_connect(twin, 2);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    exchange(twin);
    twin_free(twin);
}

/* What a node says of itself is told with its keys, and anew when it changes: by whichever end it does. */
static void test_claims(void) {
    Twin *twin = twin_new();
    TwinNode *a = &twin->node[0], *b = &twin->node[1];
    a->env.claims = 11;
    b->env.claims = 22;
    g_assert_cmpuint(ipop_link_claims(a->link), ==, 0);
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    g_assert_cmpuint(ipop_link_claims(a->link), ==, 22);
    g_assert_cmpuint(ipop_link_claims(b->link), ==, 11);
    for (int side = 0; side < 2; side++) {
        TwinNode *one = &twin->node[side], *other = &twin->node[!side];
        unsigned changes = other->changes;
        one->env.claims += 100;
        ipop_link_tick(one->link, ipop_clock_now());
        while (ipop_link_claims(other->link) != one->env.claims || other->changes == changes)
            g_main_context_iteration(NULL, TRUE);
        g_assert_cmpint(ipop_link_state(one->link), ==, IPOP_LINK_ONLINE);
        g_assert_cmpint(ipop_link_state(other->link), ==, IPOP_LINK_ONLINE);
    }
    ipop_link_trim(a->link, NULL);
    g_assert_cmpuint(ipop_link_claims(a->link), ==, 0);
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
    ipop_tunnel_input(node->tunnel_peer, kept, kept_n);
    twin_wait_count(drop(node, IPOP_DROP_REPLAYED), 1);
    kept[11] = 0xff; /* a counter not seen, so that it gets as far as the cipher */
    ipop_tunnel_input(node->tunnel_peer, kept, kept_n);
    twin_wait_count(drop(node, IPOP_DROP_FORGED), 1);
    ipop_tunnel_input(node->tunnel_peer, kept, IPOP_WIRE_DATA_OVERHEAD - 1);
    twin_wait_count(&ipop_tunnel_counters(node->tunnel)->drops[IPOP_DROP_MALFORMED], 1);
    kept[1] ^= 0x55;
    ipop_tunnel_input(node->tunnel_peer, kept, kept_n);
    twin_wait_count(&ipop_tunnel_counters(node->tunnel)->drops[IPOP_DROP_NO_SESSION], 1);
    g_assert_true(twin_silent(node));
    exchange(twin);
    twin_free(twin);
}

static void test_bye(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    ipop_tunnel_bye(twin->node[0].tunnel_peer);
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

/* A peer that slept: what was tried meanwhile came to nothing, and it is heard again at once when it wakes. */
static void test_survives_failed_attempts(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    IpopLink *link = twin->node[0].link;
    twin->wire = dead_wire;
    int64_t now = ipop_clock_now();
    for (int second = 1; second <= 15; second++)
        ipop_link_tick(link, now + second * IPOP_SECOND);
    g_assert_cmpint(ipop_link_state(link), ==, IPOP_LINK_FAILED);
    g_assert_true(ipop_link_create(link, 2, true, NULL));
    g_assert_cmpint(ipop_link_state(link), ==, IPOP_LINK_GATHERING);
    ipop_link_give_up(link, "no answer by Jabber");
    g_assert_cmpint(ipop_link_state(link), ==, IPOP_LINK_FAILED);
    g_assert_cmpstr(ipop_link_reason(link), ==, "no answer by Jabber");
    g_assert_cmpuint(twin->transports, ==, 2);
    twin->wire = NULL;
    ipop_link_tick(link, now + 16 * IPOP_SECOND);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    exchange(twin);
    /* Without a session there is nothing to keep. */
    ipop_link_trim(link, NULL);
    g_assert_true(ipop_link_create(link, 3, true, NULL));
    ipop_link_give_up(link, "no answer");
    g_assert_cmpint(ipop_link_state(link), ==, IPOP_LINK_IDLE);
    g_assert_cmpuint(twin->transports, ==, 1);
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

static unsigned handshakes;

static bool count_handshakes(Twin *twin, int from, uint8_t *datagram, size_t n) {
    handshakes += datagram[0] != IPOP_WIRE_DATA;
    return true;
}

/* A relayed link, and beside it a second generation that found nothing but the relay, too. */
static Twin *twin_held(void) {
    Twin *twin = twin_new();
    twin->relayed = true;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    handshakes = 0;
    twin->wire = count_handshakes;
    twin_connect(twin, 2);
    twin_wait_paths(twin, 4);
    exchange(twin); /* so what carries is alive */
    return twin;
}

static void tick_both(Twin *twin, int64_t now) {
    for (int side = 0; side < 2; side++)
        ipop_link_tick(twin->node[side].link, now);
}

static void answer_both(Twin *twin) {
    for (int side = 0; side < 2; side++)
        ipop_link_pong(twin->node[side].link);
}

/* Until both carry by another generation than that of these. */
static void wait_moved(Twin *twin, const IpopPathInfo *const before[2]) {
    for (int side = 0; side < 2; side++)
        while (ipop_link_path_info(twin->node[side].link) == before[side])
            g_main_context_iteration(NULL, TRUE);
}

static void test_relay_to_relay_is_held(void) {
    Twin *twin = twin_held();
    IpopLink *link = twin->node[0].link;
    const IpopPathInfo *before = ipop_link_path_info(link);
    int64_t now = ipop_clock_now();
    for (int second = 1; second <= 18; second++) { /* less than 20, were the test itself slow */
        tick_both(twin, now + second * IPOP_SECOND);
        answer_both(twin);
    }
    exchange(twin);
    g_assert_cmpuint(handshakes, ==, 0);
    g_assert_cmpuint(twin->transports, ==, 4);
    g_assert_true(ipop_link_path_info(link) == before);
    g_assert_true(strstr(ipop_link_reason(link), "relayed") != NULL);
    /* Nothing came of it: closed, and still the newest that there was. */
    tick_both(twin, ipop_clock_now() + 20 * IPOP_SECOND);
    g_assert_cmpuint(twin->transports, ==, 2);
    g_assert_cmpuint(ipop_link_generation(link), ==, 2);
    g_assert_true(ipop_link_create(link, 2, true, NULL));
    g_assert_cmpuint(twin->transports, ==, 2);
    g_assert_false(ipop_link_create(link, 1, true, NULL));
    g_assert_false(ipop_link_set_remote(link, 2, "ufrag", "pwd", NULL, 0, true));
    exchange(twin);
    twin->relayed = false;
    const IpopPathInfo *const old[] = {before, ipop_link_path_info(twin->node[1].link)};
    twin_connect(twin, 3);
    wait_moved(twin, old);
    exchange(twin);
    twin_free(twin);
}

/* ... unless the old one's credentials are about to end: then the controlling side moves both. */
static void test_stale_relay_is_left(void) {
    Twin *twin = twin_new();
    twin->relayed = true;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    const IpopPathInfo *const before[] = {ipop_link_path_info(twin->node[0].link), ipop_link_path_info(twin->node[1].link)};
    ipop_link_relays_changed(twin->node[0].link);
    twin_connect(twin, 2);
    wait_moved(twin, before);
    exchange(twin);
    twin_free(twin);
}

static void test_direct_pair_is_taken(void) {
    Twin *twin = twin_held();
    const IpopPathInfo *const before[] = {ipop_link_path_info(twin->node[0].link), ipop_link_path_info(twin->node[1].link)};
    g_assert_cmpuint(handshakes, ==, 0);
    twin->relayed = false;
    twin_select(twin);
    wait_moved(twin, before);
    for (int side = 0; side < 2; side++) {
        g_assert_false(ipop_link_path_info(twin->node[side].link)->relayed);
        g_assert_cmpstr(ipop_link_reason(twin->node[side].link), ==, "");
        g_assert_cmpint(ipop_link_state(twin->node[side].link), ==, IPOP_LINK_ONLINE);
    }
    exchange(twin);
    twin_free(twin);
}

/* The same generation may find a direct path later, too: the reason goes. */
static void test_direct_pair_of_what_carries(void) {
    Twin *twin = twin_new();
    twin->relayed = true;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    g_assert_cmpstr(ipop_link_reason(twin->node[0].link), !=, "");
    twin->relayed = false;
    twin_select(twin);
    for (int side = 0; side < 2; side++)
        while (ipop_link_path_info(twin->node[side].link)->relayed)
            g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(ipop_link_reason(twin->node[0].link), ==, "");
    exchange(twin);
    twin_free(twin);
}

/* The relay that carries dies: the other one is used before the link is given up. Either end may be the first to see it. */
static void test_held_is_used_when_needed(gconstpointer data) {
    int side = GPOINTER_TO_INT(data);
    Twin *twin = twin_held();
    const IpopPathInfo *const before[] = {ipop_link_path_info(twin->node[0].link), ipop_link_path_info(twin->node[1].link)};
    twin->cut = 1;
    int64_t now = ipop_clock_now();
    ipop_link_tick(twin->node[side].link, now + 6 * IPOP_SECOND); /* asks */
    g_assert_cmpuint(handshakes, ==, 0);
    /* An answer to an earlier question may have come in between. */
    ipop_link_tick(twin->node[side].link, now + 7 * IPOP_SECOND);
    ipop_link_tick(twin->node[side].link, now + 8 * IPOP_SECOND);
    wait_moved(twin, before);
    g_assert_cmpint(ipop_link_state(twin->node[side].link), ==, IPOP_LINK_ONLINE);
    exchange(twin);
    twin_free(twin);
}

/* It was dead before, as after a change of the network: one ping shows it. */
static void test_held_is_used_after_silence(void) {
    Twin *twin = twin_new();
    twin->relayed = true;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    const IpopPathInfo *const before[] = {ipop_link_path_info(twin->node[0].link), ipop_link_path_info(twin->node[1].link)};
    twin->cut = 1;
    twin_connect(twin, 2);
    twin_wait_paths(twin, 4);
    ipop_link_tick(twin->node[0].link, ipop_clock_now() + IPOP_SECOND);
    wait_moved(twin, before);
    exchange(twin);
    twin_free(twin);
}

/* A relay does not take over from a direct path that lives, only from one that died. */
static void test_relay_waits_for_direct(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    const IpopPathInfo *const before[] = {ipop_link_path_info(twin->node[0].link), ipop_link_path_info(twin->node[1].link)};
    twin->relayed = true;
    handshakes = 0;
    twin->wire = count_handshakes;
    twin_connect(twin, 2);
    twin_wait_paths(twin, 4);
    exchange(twin);
    int64_t now = ipop_clock_now();
    for (int second = 1; second <= 10; second++) {
        tick_both(twin, now + second * IPOP_SECOND);
        answer_both(twin);
    }
    g_assert_cmpuint(handshakes, ==, 0);
    g_assert_true(ipop_link_path_info(twin->node[0].link) == before[0]);
    twin->cut = 1;
    for (int second = 16; second <= 18; second++)
        tick_both(twin, now + second * IPOP_SECOND);
    wait_moved(twin, before);
    g_assert_true(ipop_link_path_info(twin->node[0].link)->relayed);
    exchange(twin);
    twin_free(twin);
}

/* Silence is told while the link is still online, once, and not where another way is at hand already. */
static void test_doubt(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    TwinNode *node = &twin->node[0];
    twin->cut = 1;
    int64_t now = ipop_clock_now();
    ipop_link_tick(node->link, now + 6 * IPOP_SECOND);
    g_assert_cmpuint(node->doubts, ==, 0);
    ipop_link_tick(node->link, now + 7 * IPOP_SECOND);
    ipop_link_tick(node->link, now + 8 * IPOP_SECOND);
    g_assert_cmpuint(node->doubts, ==, 1);
    g_assert_cmpint(ipop_link_state(node->link), ==, IPOP_LINK_ONLINE);
    g_assert_true(ipop_link_create(node->link, 2, true, NULL));
    ipop_link_check(node->link); /* as of now: impatient */
    ipop_link_tick(node->link, ipop_clock_now() + IPOP_SECOND);
    g_assert_cmpuint(node->doubts, ==, 1);
    twin_free(twin);
}

/* And when the link is offline there is nothing to wait for. */
static void test_offline_takes_any(void) {
    Twin *twin = twin_new();
    twin->relayed = true;
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    twin->cut = 1;
    int64_t now = ipop_clock_now();
    for (int second = 1; second <= 15; second++)
        tick_both(twin, now + second * IPOP_SECOND);
    twin_wait(twin, IPOP_LINK_FAILED, IPOP_LINK_FAILED);
    twin_connect(twin, 2);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    exchange(twin);
    twin_free(twin);
}

static void test_unconnected_is_closed(void) {
    Twin *twin = twin_new();
    twin_connect(twin, 1);
    twin_wait(twin, IPOP_LINK_ONLINE, IPOP_LINK_ONLINE);
    IpopLink *link = twin->node[0].link;
    g_assert_true(ipop_link_create(link, 2, true, NULL));
    ipop_link_tick(link, ipop_clock_now() + 59 * IPOP_SECOND);
    g_assert_cmpuint(twin->transports, ==, 3);
    exchange(twin);
    ipop_link_tick(link, ipop_clock_now() + 60 * IPOP_SECOND);
    g_assert_cmpuint(twin->transports, ==, 2);
    g_assert_cmpuint(ipop_link_generation(link), ==, 2);
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
    g_test_add_func("/link/clock-set-back", test_clock_set_back);
    g_test_add_func("/link/claims", test_claims);
    g_test_add_func("/link/other-psk", test_other_psk);
    g_test_add_data_func("/link/losses", lose_first_two, test_bad_wire);
    g_test_add_data_func("/link/alterations", alter_handshakes_once, test_bad_wire);
    g_test_add_func("/link/source-is-checked", test_source_is_checked);
    g_test_add_func("/link/replay-and-rubbish", test_replay_and_rubbish);
    g_test_add_func("/link/bye", test_bye);
    g_test_add_func("/link/death-and-revival", test_death_and_revival);
    g_test_add_func("/link/survives-failed-attempts", test_survives_failed_attempts);
    g_test_add_func("/link/rekey", test_rekey);
    g_test_add_func("/link/relay-to-relay-is-held", test_relay_to_relay_is_held);
    g_test_add_func("/link/stale-relay-is-left", test_stale_relay_is_left);
    g_test_add_func("/link/direct-pair-is-taken", test_direct_pair_is_taken);
    g_test_add_func("/link/direct-pair-of-what-carries", test_direct_pair_of_what_carries);
    g_test_add_data_func("/link/held-is-used/by-controlling", GINT_TO_POINTER(0), test_held_is_used_when_needed);
    g_test_add_data_func("/link/held-is-used/by-controlled", GINT_TO_POINTER(1), test_held_is_used_when_needed);
    g_test_add_func("/link/held-is-used/after-silence", test_held_is_used_after_silence);
    g_test_add_func("/link/relay-waits-for-direct", test_relay_waits_for_direct);
    g_test_add_func("/link/doubt", test_doubt);
    g_test_add_func("/link/offline-takes-any", test_offline_takes_any);
    g_test_add_func("/link/unconnected-is-closed", test_unconnected_is_closed);
    g_test_add_func("/link/trim-200-times", test_trim_and_again);
    return g_test_run();
}
