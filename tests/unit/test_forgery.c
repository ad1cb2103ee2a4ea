/* What others than its peers have a node hear by Jabber: nothing that a link has proved is lost by it. */
#include "tests/unit/controller_twin.h"

#define ALPHA ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\""
#define BETA ",\"name\":\"beta\",\"ip4\":\"172.31.0.2\""
#define KNOWN 1024 /* so many nodes are known that no link was ever made to */
#define FLOOD 6000

static IpopNode node_of(const Node *node) {
    json_t *local = twin_last(node->twin, "set_local", NULL);
    IpopNode said = {.uid = node->twin->uid, .suites = IPOP_SUITE_CHACHAPOLY};
    memcpy(said.key, node->twin->key, sizeof said.key);
    g_strlcpy(said.name, text_of(local, "name"), sizeof said.name);
    g_strlcpy(said.ip4, text_of(local, "ip4"), sizeof said.ip4);
    return said;
}

/* All that was heard so far has had its effect: what is heard after it has. */
static void work_off(Node *a) {
    static unsigned marks = 100;
    IpopNode mark = make_node(++marks);
    g_autofree char *from = g_strdup_printf(ACCOUNT "/mark%u", marks);
    hear(a, from, &mark);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", mark.uid.hex) != NULL);
}

/* Two nodes with a link, and the JID of the second. */
static char *meet(Node **ret_a, Node **ret_b, const char *settings_a, const char *settings_b) {
    server_start();
    *ret_a = node_new(1, settings_a);
    *ret_b = node_new(2, settings_b);
    WAIT_FOR(online(*ret_a, *ret_b));
    work_off(*ret_a);
    return g_strdup(login_of(*ret_b)->jid);
}

static void part(Node *a, Node *b) {
    node_free(a);
    node_free(b);
    server_stop();
}

static void expect_unharmed(Node *a, Node *b, const char *name, const char *ip4) {
    work_off(a);
    g_assert_true(online(a, b));
    g_assert_null(twin_last(a->twin, "trim_link", b->twin->uid.hex));
    g_assert_null(text_of(told_of(a, b), "reason"));
    g_assert_cmpstr(text_of(told_of(a, b), "name"), ==, name);
    g_assert_cmpstr(text_of(told_of(a, b), "ip4"), ==, ip4);
}

/* A presence of the peer itself, as it seems, with its own name and address, another's, a free one, or none. */
static void test_of_a_peer(void) {
    Node *a, *b;
    g_autofree char *jid = meet(&a, &b, ALPHA, BETA);
    static const char *const lies[][2] = {
        {"beta", "172.31.0.1"}, {"alpha", "172.31.0.2"}, {"gamma", "172.31.0.2"}, {"beta", "172.31.0.77"}, {"beta", "8.8.8.8"}};
    unsigned links = twin_count(a->twin, "create_link");
    for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
        IpopNode lie = node_of(b);
        g_strlcpy(lie.name, lies[i][0], sizeof lie.name);
        g_strlcpy(lie.ip4, lies[i][1], sizeof lie.ip4);
        hear(a, jid, &lie);
        expect_unharmed(a, b, "beta", "172.31.0.2");
        post(login_of(a), true, g_strdup_printf("<presence type='unavailable' from='%s'/>", jid));
        hear(a, jid, &lie);
        expect_unharmed(a, b, "beta", "172.31.0.2");
    }
    g_assert_cmpuint(twin_count(a->twin, "create_link"), ==, links);
    /* The last one is what is left when the link ends: it may be true, but can't make a pinned peer unwelcome. */
    notify_link(a->twin, b->twin->uid.hex, 100, "failed", "the peer stopped answering");
    notify_link(b->twin, a->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(twin_count(a->twin, "create_link") > links && online(a, b));
    expect_unharmed(a, b, "beta", "172.31.0.2");
    part(a, b);
}

/* A lie that came first lasts no longer than until the link proves the truth. */
static void test_before_the_link(void) {
    Node *a, *b;
    g_autofree char *jid = meet(&a, &b, ALPHA, BETA);
    IpopNode lie = node_of(b);
    g_strlcpy(lie.ip4, "172.31.0.77", sizeof lie.ip4);
    a->links_fail = b->links_fail = true;
    notify_link(a->twin, b->twin->uid.hex, 100, "failed", "the peer stopped answering");
    notify_link(b->twin, a->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(strcmp(link_of(a, b), "online") != 0);
    hear(a, jid, &lie);
    WAIT_FOR(strcmp(text_of(told_of(a, b), "ip4"), "172.31.0.77") == 0);
    a->links_fail = b->links_fail = false;
    WAIT_FOR(online(a, b) && strcmp(text_of(told_of(a, b), "ip4"), "172.31.0.2") == 0);
    part(a, b);
}

/* The truth counts, whichever comes first: the presence, or the proof. */
static void test_true_change(gconstpointer data) {
    bool presence_first = GPOINTER_TO_INT(data);
    Node *a, *b;
    g_autofree char *jid = meet(&a, &b, ALPHA, "");
    IpopNode now = node_of(b);
    g_autofree char *was = g_strdup(now.ip4);
    g_strlcpy(now.ip4, "172.31.0.78", sizeof now.ip4);
    if (presence_first) {
        hear(a, jid, &now);
        expect_unharmed(a, b, now.name, was);
    }
    json_object_set_new(twin_last(b->twin, "set_local", NULL), "ip4", json_string(now.ip4));
    tell_claims(b->twin);
    if (!presence_first)
        hear(a, jid, &now);
    WAIT_FOR(strcmp(text_of(told_of(a, b), "ip4"), "172.31.0.78") == 0);
    expect_unharmed(a, b, now.name, "172.31.0.78");
    part(a, b);
}

/* What is proved counts against a peer, too. */
static void test_proved_clash(void) {
    Node *a, *b;
    g_autofree char *jid = meet(&a, &b, ALPHA, BETA);
    IpopNode now = node_of(b);
    g_strlcpy(now.ip4, "172.31.0.1", sizeof now.ip4);
    hear(a, jid, &now);
    json_object_set_new(twin_last(b->twin, "set_local", NULL), "ip4", json_string(now.ip4));
    tell_claims(b->twin);
    WAIT_FOR(text_of(told_of(a, b), "reason") != NULL);
    g_assert_nonnull(strstr(text_of(told_of(a, b), "reason"), "this node's own"));
    part(a, b);
}

/* A stranger who claims what a peer holds, by the peer's JID or by another; and the peer itself from elsewhere. */
static void test_of_a_stranger(void) {
    Node *a, *b;
    g_autofree char *jid = meet(&a, &b, "", ""); /* names and addresses that no pin keeps for them */
    IpopNode thief = make_node(9), moved = node_of(b);
    g_autofree char *name = g_strdup(moved.name), *ip4 = g_strdup(moved.ip4);
    g_autofree char *own = g_strdup(text_of(twin_last(a->twin, "set_local", NULL), "ip4"));
    hear(a, jid, &thief);
    hear(a, ACCOUNT "/elsewhere", &moved);
    g_strlcpy(thief.ip4, ip4, sizeof thief.ip4);
    hear(a, ACCOUNT "/thief", &thief);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", thief.uid.hex) != NULL);
    g_assert_nonnull(text_of(twin_last(a->twin, "set_remote_ip", thief.uid.hex), "reason"));
    g_strlcpy(thief.ip4, own, sizeof thief.ip4); /* which was chosen, and would once have given way */
    hear(a, ACCOUNT "/thief", &thief);
    expect_unharmed(a, b, name, ip4);
    g_assert_cmpstr(text_of(told_of(a, b), "jid"), ==, jid);
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_local", NULL), "ip4"), ==, own);
    part(a, b);
}

static void offer(Node *to, const char *from, const IpopUid *uid, unsigned sid) {
    post(login_of(to), false,
         g_strdup_printf("<iq xmlns='jabber:client' type='set' from='%s' to='%s' id='f%u'><jingle xmlns='urn:xmpp:jingle:1' "
                         "action='session-initiate' sid='sid%u'><content creator='initiator' name='tunnel'><description "
                         "xmlns='urn:ipop:tunnel:1' uid='%s'/><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' "
                         "ufrag='abcd' pwd='passwordpasswordpassword'/></content></jingle></iq>",
                         from, login_of(to)->jid, sid, sid, uid->hex));
}

static void test_offers(void) {
    Node *a, *b;
    g_autofree char *jid = meet(&a, &b, ALPHA, BETA);
    unsigned links = twin_count(a->twin, "create_link");
    for (unsigned i = 0; i < 50; i++)
        offer(a, jid, &b->twin->uid, i);
    WAIT_FOR(twin_count(a->twin, "create_link") > links);
    g_assert_cmpuint(twin_count(a->twin, "create_link"), <=, links + 5);
    expect_unharmed(a, b, "beta", "172.31.0.2");
    part(a, b);
}

/* More nodes than are remembered, none of which exists: the pinned peer that comes after them is taken. */
static void test_flood(void) {
    Node *a, *b;
    g_autofree char *jid = meet(&a, &b, ALPHA, BETA);
    node_stop(b);
    notify_link(a->twin, b->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(!g_hash_table_contains(a->twin->peers, b->twin->uid.hex));
    for (unsigned i = 0; i < FLOOD; i++) {
        g_autofree char *from = g_strdup_printf(ACCOUNT "/flood%u", i);
        IpopNode node = make_node(1000 + i);
        g_snprintf(node.ip4, sizeof node.ip4, "172.31.%u.%u", 1 + i / 200, 1 + i % 200);
        hear(a, from, &node);
    }
    WAIT_FOR(server.queue.length == 0 && g_hash_table_size(a->twin->peers) >= KNOWN - 1);
    node_start(b);
    WAIT_FOR(online(a, b));
    g_assert_cmpuint(g_hash_table_size(a->twin->peers), <=, KNOWN + 1);
    part(a, b);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    ipop_log_set_level(g_test_verbose() ? IPOP_LOG_DEBUG : -1);
    g_test_add_func("/forgery/of-a-peer", test_of_a_peer);
    g_test_add_func("/forgery/before-the-link", test_before_the_link);
    g_test_add_data_func("/forgery/true-change/presence-first", GINT_TO_POINTER(true), test_true_change);
    g_test_add_data_func("/forgery/true-change/proof-first", GINT_TO_POINTER(false), test_true_change);
    g_test_add_func("/forgery/proved-clash", test_proved_clash);
    g_test_add_func("/forgery/of-a-stranger", test_of_a_stranger);
    g_test_add_func("/forgery/offers", test_offers);
    g_test_add_func("/forgery/flood", test_flood);
    return g_test_run();
}
