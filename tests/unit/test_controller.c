/* Whole controllers in one process (controller_twin.h): how two nodes meet, part, and meet again. */
#include "tests/unit/controller_twin.h"

static void test_two_meet(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\",\"psk\":\"a passphrase\"");
    Node *b = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.2\",\"psk\":\"a passphrase\"");
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_cmpuint(server.initiates, ==, 1);
    Node *low = lower_of(a, b), *high = low == a ? b : a;
    g_assert_true(json_is_true(json_object_get(twin_last(low->twin, "create_link", NULL), "controlling")));
    g_assert_true(json_is_false(json_object_get(twin_last(high->twin, "create_link", NULL), "controlling")));
    g_assert_cmpuint(twin_count(low->twin, "create_link") + twin_count(high->twin, "create_link"), ==, 2);
    g_assert_cmpstr(text_of(told_of(a, b), "name"), ==, "beta");
    g_assert_cmpstr(text_of(told_of(a, b), "ip4"), ==, "172.31.0.2");
    g_assert_cmpuint(strlen(text_of(told_of(a, b), "ip6")), >, 10);
    json_t *local = twin_last(a->twin, "set_local", NULL);
    g_assert_cmpstr(text_of(local, "ip4"), ==, "172.31.0.1");
    g_assert_cmpuint(strlen(text_of(local, "psk")), ==, 64);
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_xmpp", NULL), "state"), ==, "connected");
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_restarted_tincans(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    Node *pair[] = {a, b};
    for (unsigned i = 0; i < 2; i++) {
        Node *node = pair[i], *other = pair[1 - i];
        unsigned links = twin_count(other->twin, "create_link");
        twin_stop(node->twin);
        twin_start(node->twin);
        /* The other end believes that all is well, and is asked for another link all the same. */
        WAIT_FOR(online(a, b) && twin_count(other->twin, "create_link") > links);
    }
    settle(a, b);
    /* Both at once: the offers cross, and one of them stays. */
    twin_stop(a->twin);
    twin_stop(b->twin);
    twin_start(a->twin);
    twin_start(b->twin);
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_true(online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_restarted_controller(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned links = twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link");
    node_stop(a);
    WAIT_FOR(told_presence(b, a, "unavailable"));
    g_assert_true(online(a, b));
    node_start(a);
    WAIT_FOR(told_presence(b, a, "available") && told_presence(a, b, "available"));
    settle(a, b);
    g_assert_cmpuint(twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link"), ==, links);
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_login_lost(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned links = twin_count(a->twin, "create_link");
    log_out(login_of(a), true);
    WAIT_FOR(told_presence(b, a, "unavailable"));
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_xmpp", NULL), "state"), ==, "disconnected");
    settle(a, b);
    g_assert_true(online(a, b));
    log_in_again(login_of(a));
    WAIT_FOR(told_presence(b, a, "available"));
    settle(a, b);
    g_assert_cmpuint(twin_count(a->twin, "create_link"), ==, links);
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_gone_is_forgotten(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    node_stop(b);
    WAIT_FOR(told_presence(a, b, "unavailable"));
    settle(a, a);
    g_assert_null(twin_last(a->twin, "forget_peer", NULL)); /* the link carries */
    notify_link(a->twin, b->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(twin_last(a->twin, "forget_peer", b->twin->uid.hex) != NULL);
    WAIT_FOR(g_hash_table_size(a->twin->peers) == 0);
    node_start(b);
    WAIT_FOR(online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_lost_link_comes_back(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned initiates = server.initiates;
    /* The higher end alone notices; the lower one has nothing to do of itself. */
    Node *high = lower_of(a, b) == a ? b : a;
    json_t *state = g_hash_table_lookup(high->twin->peers, lower_of(a, b)->twin->uid.hex);
    notify_link(high->twin, lower_of(a, b)->twin->uid.hex, json_integer_value(json_object_get(state, "generation")), "failed",
                "the peer stopped answering");
    WAIT_FOR(server.initiates > initiates && online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

/* Both stand still for longer than a timer may be late, and what is offered afterwards is taken. */
static void test_slept(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    g_usleep(3200 * 1000);
    settle(a, b);
    unsigned initiates = server.initiates;
    Node *high = lower_of(a, b) == a ? b : a;
    notify_link(high->twin, lower_of(a, b)->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(server.initiates > initiates && online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_network_changed(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned links = twin_count(a->twin, "create_link"), others = twin_count(b->twin, "create_link");
    twin_notify(a->twin, json_pack("{ss}", "type", "network_changed"));
    WAIT_FOR(twin_count(a->twin, "create_link") > links && twin_count(b->twin, "create_link") > others);
    settle(a, b);
    g_assert_true(online(a, b));
    g_assert_cmpuint(twin_count(a->twin, "create_link"), ==, links + 1);
    node_free(a);
    node_free(b);
    server_stop();
}

/* tincan gets no answer any more: another generation at once, not again within two seconds, and none after a sleep. */
static void test_doubt(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    for (unsigned i = 0; i < 3; i++)
        twin_notify(a->twin, json_pack("{ss ss sI ss ss ss sb}", "type", "link_state", "uid", b->twin->uid.hex, "generation",
                                       (json_int_t)1, "state", "online", "path", "direct", "reason", "", "doubt", 1));
    WAIT_FOR(twin_count(a->twin, "create_link") == 2 && twin_count(b->twin, "create_link") == 2);
    twin_notify(a->twin, json_pack("{ss}", "type", "woken"));
    settle(a, b);
    g_assert_true(online(a, b));
    g_assert_cmpuint(twin_count(a->twin, "create_link"), ==, 2);
    node_free(a);
    node_free(b);
    server_stop();
}

/* A relayed link gets another generation, from the lower end alone, and is left alone once it is direct. */
static void test_relayed_is_tried_again(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    a->relayed = b->relayed = true;
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_cmpuint(server.initiates, ==, 1);
    Node *low = lower_of(a, b), *high = low == a ? b : a;
    WAIT_FOR(twin_count(low->twin, "create_link") == 2 && twin_count(high->twin, "create_link") == 2);
    g_assert_true(json_is_true(json_object_get(twin_last(low->twin, "create_link", NULL), "controlling")));
    settle(a, b);
    g_assert_true(online(a, b));
    /* The network changes before the next attempt is due, and the path becomes direct. */
    a->relayed = b->relayed = false;
    twin_notify(high->twin, json_pack("{ss}", "type", "network_changed"));
    WAIT_FOR(twin_count(low->twin, "create_link") == 3 && twin_count(high->twin, "create_link") == 3);
    settle(a, b);
    g_assert_cmpuint(server.initiates, ==, 3);
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_failing_links_back_off(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    a->links_fail = true;
    b->links_fail = true;
    unsigned links = twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link");
    notify_link(a->twin, b->twin->uid.hex, 100, "failed", "the peer stopped answering");
    notify_link(b->twin, a->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link") >= links + 2);
    g_assert_cmpstr(text_of(twin_last(lower_of(a, b)->twin, "trim_link", NULL), "reason"), ==, "no address to offer");
    a->links_fail = b->links_fail = false;
    WAIT_FOR(online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_same_address_is_refused(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.100\"");
    Node *b = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.100\"");
    WAIT_FOR(told_of(a, b) != NULL && told_of(b, a) != NULL);
    settle(a, b);
    settle(a, b);
    g_assert_cmpstr(text_of(told_of(a, b), "reason"), ==,
                    "address 172.31.0.100 is this node's own; give one of the two another ip4");
    g_assert_nonnull(text_of(told_of(b, a), "reason"));
    g_assert_null(twin_last(a->twin, "create_link", NULL));
    g_assert_null(twin_last(b->twin, "create_link", NULL));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_chosen_address_gives_way(void) {
    server_start();
    Node *a = node_new(1, "");
    WAIT_FOR(twin_last(a->twin, "set_local", NULL) != NULL);
    g_autofree char *address = g_strdup(text_of(twin_last(a->twin, "set_local", NULL), "ip4"));
    g_autofree char *settings = g_strdup_printf(",\"name\":\"beta\",\"ip4\":\"%s\"", address);
    Node *b = node_new(2, settings);
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_local", NULL), "ip4"), !=, address);
    g_assert_cmpstr(text_of(told_of(a, b), "ip4"), ==, address);
    g_assert_null(text_of(told_of(a, b), "reason"));
    g_assert_cmpstr(text_of(told_of(b, a), "ip4"), ==, text_of(twin_last(a->twin, "set_local", NULL), "ip4"));
    g_assert_null(text_of(told_of(b, a), "reason"));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_same_default_name(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, ""), *d = node_new(3, "");
    WAIT_FOR(online(a, b) && online(a, d) && online(b, d));
    settle(a, b);
    const char *names[] = {text_of(twin_last(a->twin, "set_local", NULL), "name"),
                           text_of(twin_last(b->twin, "set_local", NULL), "name"),
                           text_of(twin_last(d->twin, "set_local", NULL), "name")};
    g_assert_cmpstr(names[0], !=, names[1]);
    g_assert_cmpstr(names[0], !=, names[2]);
    g_assert_cmpstr(names[1], !=, names[2]);
    node_free(a);
    node_free(b);
    node_free(d);
    server_stop();
}

/* A node that one other refuses learns why, whichever of the two has the lower uid; pins that go make it welcome. */
static void test_refusal_is_told(gconstpointer data) {
    bool higher_refuses = GPOINTER_TO_INT(data);
    server_start();
    Node *first = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\"");
    Node *second = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.2\"");
    WAIT_FOR(online(first, second));
    Node *low = lower_of(first, second), *high = low == first ? second : first;
    Node *refuser = higher_refuses ? high : low, *refused = higher_refuses ? low : high;
    /* Another machine takes the name and address of the one that was pinned. */
    g_autofree char *settings = g_strdup_printf(",\"name\":\"%s\",\"ip4\":\"%s\"",
                                                text_of(twin_last(refused->twin, "set_local", NULL), "name"),
                                                text_of(twin_last(refused->twin, "set_local", NULL), "ip4"));
    notify_link(refuser->twin, refused->twin->uid.hex, 100, "failed", "the peer stopped answering");
    node_free(refused);
    Node *impostor = NULL;
    for (uint8_t seed = 10; impostor == NULL; seed++) {
        uint8_t key[IPOP_KEY_BYTES];
        memset(key, seed, sizeof key);
        IpopUid uid = ipop_uid_from_key(key);
        if ((ipop_uid_compare(&uid, &refuser->twin->uid) < 0) == higher_refuses)
            impostor = node_new(seed, settings);
    }
    WAIT_FOR(told_of(refuser, impostor) != NULL && twin_last(impostor->twin, "trim_link", NULL) != NULL);
    g_assert_nonnull(strstr(text_of(told_of(refuser, impostor), "reason"), "ipop key --forget"));
    g_assert_nonnull(strstr(text_of(twin_last(impostor->twin, "trim_link", NULL), "reason"), "refuses this node"));
    g_assert_null(twin_last(refuser->twin, "create_link", impostor->twin->uid.hex));

    g_autofree char *file = g_build_filename(refuser->state_dir, "known_peers", NULL);
    g_assert_true(g_file_set_contents(file, "{\"peers\":[]}", -1, NULL));
    WAIT_FOR(online(refuser, impostor));
    g_assert_null(text_of(told_of(refuser, impostor), "reason"));
    node_free(refuser);
    node_free(impostor);
    server_stop();
}

/* --- strangers --- */

static void say(Node *node, const char *type, const char *payload) {
    IpopXmpp *client = login_of(node);
    post(client, false, g_strdup_printf("<iq xmlns='jabber:client' type='%s' from='test@b.example/test' to='%s' id='t1'>%s</iq>",
                                        type, client->jid, payload));
    g_clear_pointer(&client->last_answer, g_free);
    WAIT_FOR(client->last_answer != NULL);
    g_autofree char *id = attribute(client->last_answer, "id");
    g_assert_cmpstr(id, ==, "t1");
}

static void expect_answer(Node *node, const char *part) {
    if (strstr(login_of(node)->last_answer, part) == NULL)
        g_error("no %s in %s", part, login_of(node)->last_answer);
}

static void test_every_request_is_answered(void) {
    server_start();
    Node *a = node_new(1, "");
    WAIT_FOR(login_of(a) != NULL && login_of(a)->connected);
    say(a, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    expect_answer(a, IPOP_NS_TUNNEL);
    say(a, "get", "<ping xmlns='urn:xmpp:ping'/>");
    expect_answer(a, "result");
    say(a, "get", "<query xmlns='jabber:iq:version'/>");
    expect_answer(a, "service-unavailable");
    say(a, "set", "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'/>");
    expect_answer(a, "bad-request");
    say(a, "set", "<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='x'><reason><success/></reason></jingle>");
    expect_answer(a, "item-not-found");
    g_assert_null(twin_last(a->twin, "create_link", NULL));
    node_free(a);
    server_stop();
}

static void test_who_is_a_peer(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\"");
    WAIT_FOR(login_of(a) != NULL && login_of(a)->connected);
    IpopNode good = make_node(1), other = make_node(2), own = make_node(3);
    memset(own.key, 1, sizeof own.key);
    own.uid = a->twin->uid;
    hear(a, "stranger@b.example/x", &good); /* another account */
    hear(a, ACCOUNT "/twin", &own);         /* our own key */
    hear(a, ACCOUNT "/good", &good);
    hear(a, ACCOUNT "/thief", &good); /* the same node from a second login */
    hear(a, ACCOUNT "/other", &other);
    post(login_of(a), true, g_strdup("<presence from='" ACCOUNT "/bad'><tunnel xmlns='" IPOP_NS_TUNNEL "' v='1'/></presence>"));
    post(login_of(a), true, g_strdup("<presence from='" ACCOUNT "/phone'/>"));
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", other.uid.hex) != NULL);
    json_t *told = twin_last(a->twin, "set_remote_ip", good.uid.hex);
    g_assert_cmpstr(text_of(told, "jid"), ==, ACCOUNT "/good");
    g_assert_null(twin_last(a->twin, "set_remote_ip", own.uid.hex));
    g_assert_cmpuint(g_hash_table_size(a->twin->peers), ==, 2);

    /* An address outside the overlay would take a route from the host. */
    IpopNode greedy = make_node(4);
    g_strlcpy(greedy.ip4, "8.8.8.8", sizeof greedy.ip4);
    hear(a, ACCOUNT "/greedy", &greedy);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", greedy.uid.hex) != NULL);
    g_assert_nonnull(strstr(text_of(twin_last(a->twin, "set_remote_ip", greedy.uid.hex), "reason"), "outside this overlay"));
    /* An IPv6 address that is another's. */
    IpopNode liar = make_node(5);
    g_strlcpy(liar.ip6, "fd50:dbc:41f2:4a3c::1", sizeof liar.ip6);
    hear(a, ACCOUNT "/liar", &liar);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", liar.uid.hex) != NULL);
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_remote_ip", liar.uid.hex), "ip6"), ==, "");
    node_free(a);
    server_stop();
}

/* --- who may be remembered --- */

static bool remembers(const Node *node, const char *uid) {
    g_autofree char *file = g_build_filename(node->state_dir, "known_peers", NULL), *text = NULL;
    return g_file_get_contents(file, &text, NULL, NULL) && strstr(text, uid) != NULL;
}

/* A presence that anybody may have forged takes neither name nor address; a link does. */
static void test_pinned_when_proved(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\"");
    WAIT_FOR(login_of(a) != NULL && login_of(a)->connected);
    IpopNode forged = make_node(7);
    g_strlcpy(forged.name, "BETA", sizeof forged.name);
    g_strlcpy(forged.ip4, "172.31.0.2", sizeof forged.ip4);
    hear(a, ACCOUNT "/forged", &forged);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", forged.uid.hex) != NULL);
    settle(a, a);
    g_assert_null(text_of(twin_last(a->twin, "set_remote_ip", forged.uid.hex), "reason"));
    g_assert_false(remembers(a, forged.uid.hex));

    Node *b = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.2\"");
    WAIT_FOR(online(a, b));
    WAIT_FOR(text_of(twin_last(a->twin, "set_remote_ip", forged.uid.hex), "reason") != NULL);
    g_assert_nonnull(strstr(text_of(twin_last(a->twin, "set_remote_ip", forged.uid.hex), "reason"), "ipop key --forget beta"));
    g_assert_null(text_of(told_of(a, b), "reason"));
    g_assert_true(remembers(a, b->twin->uid.hex));
    g_assert_false(remembers(a, forged.uid.hex));
    node_free(a);
    node_free(b);
    server_stop();
}

/* A link older than this controller proves as much as a new one. */
static void test_pinned_when_adopted(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    settle(a, b);
    node_stop(a);
    g_autofree char *file = g_build_filename(a->state_dir, "known_peers", NULL);
    g_assert_cmpint(g_unlink(file), ==, 0);
    node_start(a);
    WAIT_FOR(remembers(a, b->twin->uid.hex));
    node_free(a);
    node_free(b);
    server_stop();
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    ipop_log_set_level(g_test_verbose() ? IPOP_LOG_DEBUG : -1);
    g_test_add_func("/controller/two-meet", test_two_meet);
    g_test_add_func("/controller/restarted-tincans", test_restarted_tincans);
    g_test_add_func("/controller/restarted-controller", test_restarted_controller);
    g_test_add_func("/controller/login-lost", test_login_lost);
    g_test_add_func("/controller/gone-is-forgotten", test_gone_is_forgotten);
    g_test_add_func("/controller/lost-link-comes-back", test_lost_link_comes_back);
    g_test_add_func("/controller/slept", test_slept);
    g_test_add_func("/controller/network-changed", test_network_changed);
    g_test_add_func("/controller/doubt", test_doubt);
    g_test_add_func("/controller/relayed-is-tried-again", test_relayed_is_tried_again);
    g_test_add_func("/controller/failing-links-back-off", test_failing_links_back_off);
    g_test_add_func("/controller/same-address-is-refused", test_same_address_is_refused);
    g_test_add_func("/controller/chosen-address-gives-way", test_chosen_address_gives_way);
    g_test_add_func("/controller/same-default-name", test_same_default_name);
    g_test_add_data_func("/controller/refusal-is-told/by-the-lower", GINT_TO_POINTER(false), test_refusal_is_told);
    g_test_add_data_func("/controller/refusal-is-told/by-the-higher", GINT_TO_POINTER(true), test_refusal_is_told);
    g_test_add_func("/controller/every-request-is-answered", test_every_request_is_answered);
    g_test_add_func("/controller/who-is-a-peer", test_who_is_a_peer);
    g_test_add_func("/controller/pinned-when-proved", test_pinned_when_proved);
    g_test_add_func("/controller/pinned-when-adopted", test_pinned_when_adopted);
    return g_test_run();
}
