/* The client of the control port, against a twin of tincan: it finds it, loses it, and says again what is wanted. */
#include "controller/dataplane/dataplane.h"

#include "controller/dataplane/outbox.h"
#include "tests/unit/tincan_twin.h"

/* --- the outbox, with the time made up --- */

typedef struct {
    IpopOutbox *outbox;
    GPtrArray *sent; /* json_t */
    GString *done;   /* of each: "ok," or the error and "," */
    unsigned refused;
} Box;

static void box_send(void *user, const char *text, size_t n) {
    json_t *message = ipop_json_parse(text, n);
    g_assert_nonnull(message);
    g_ptr_array_add(((Box *)user)->sent, message);
}

static void box_refused(void *user, const char *what, const char *error) {
    ((Box *)user)->refused++;
}

static void box_done(void *user, const char *error) {
    g_string_append_printf(user, "%s,", error != NULL ? error : "ok");
}

static Box box_new(void) {
    return (Box){.sent = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref), .done = g_string_new("")};
}

static void box_init(Box *box) {
    *box = box_new();
    box->outbox = ipop_outbox_new(&(IpopOutboxEvents){box_send, box_refused}, box);
}

static void box_clear(Box *box) {
    ipop_outbox_free(box->outbox);
    g_ptr_array_free(box->sent, TRUE);
    g_string_free(box->done, TRUE);
}

static json_t *nth(const Box *box, guint i) {
    g_assert_cmpuint(i, <, box->sent->len);
    return box->sent->pdata[i];
}

static const char *method_of(const Box *box, guint i) {
    return json_string_value(json_object_get(nth(box, i), "m"));
}

static bool answer(Box *box, guint i, const char *error) {
    return ipop_outbox_answer(box->outbox, json_integer_value(json_object_get(nth(box, i), "id")), error);
}

static json_t *of_peer(const char *uid) {
    return json_pack("{ss}", "uid", uid);
}

static void test_outbox_repeats(void) {
    Box box;
    box_init(&box);
    ipop_outbox_open(box.outbox);
    g_assert_cmpint(ipop_outbox_run(box.outbox, 1), ==, INT64_MAX);
    ipop_outbox_do(box.outbox, "create_link", of_peer("a"), box_done, box.done);
    int64_t now = IPOP_SECOND;
    g_assert_cmpint(ipop_outbox_run(box.outbox, now), ==, now + IPOP_OUTBOX_REPEAT);
    ipop_outbox_run(box.outbox, now + IPOP_OUTBOX_REPEAT - 1);
    g_assert_cmpuint(box.sent->len, ==, 1);
    ipop_outbox_run(box.outbox, now + IPOP_OUTBOX_REPEAT);
    g_assert_cmpuint(box.sent->len, ==, 2);
    g_assert_true(json_equal(nth(&box, 0), nth(&box, 1)));
    g_assert_cmpint(ipop_outbox_run(box.outbox, now + IPOP_OUTBOX_LIMIT), ==, -1);
    g_assert_true(answer(&box, 1, NULL));
    g_assert_false(answer(&box, 0, NULL));
    g_assert_cmpstr(box.done->str, ==, "ok,");
    g_assert_cmpint(ipop_outbox_run(box.outbox, now + IPOP_OUTBOX_LIMIT), ==, INT64_MAX);
    box_clear(&box);
}

static void test_outbox_keeps_order(void) {
    Box box;
    box_init(&box);
    ipop_outbox_open(box.outbox);
    ipop_outbox_do(box.outbox, "create_link", of_peer("a"), NULL, NULL);
    ipop_outbox_do(box.outbox, "set_remote", of_peer("a"), NULL, NULL);
    ipop_outbox_do(box.outbox, "create_link", of_peer("b"), NULL, NULL);
    ipop_outbox_want(box.outbox, "set_local", json_pack("{ss}", "name", "x"));
    ipop_outbox_do(box.outbox, "create_link", of_peer("c"), NULL, NULL);
    ipop_outbox_run(box.outbox, 1);
    g_assert_cmpuint(box.sent->len, ==, 2); /* a and b; c waits behind set_local, which waits for both */
    answer(&box, 1, NULL);
    ipop_outbox_run(box.outbox, 2);
    g_assert_cmpuint(box.sent->len, ==, 2);
    answer(&box, 0, NULL);
    ipop_outbox_run(box.outbox, 3);
    g_assert_cmpstr(method_of(&box, 2), ==, "set_remote");
    answer(&box, 2, NULL);
    ipop_outbox_run(box.outbox, 4);
    g_assert_cmpstr(method_of(&box, 3), ==, "set_local");
    g_assert_cmpuint(box.sent->len, ==, 4);
    answer(&box, 3, NULL);
    ipop_outbox_run(box.outbox, 5);
    g_assert_cmpstr(method_of(&box, 4), ==, "create_link");
    box_clear(&box);
}

static void test_outbox_wanted(void) {
    Box box;
    box_init(&box);
    ipop_outbox_want(box.outbox, "set_remote_ip", json_pack("{ss ss sb}", "uid", "a", "name", "one", "heard", 1));
    ipop_outbox_want(box.outbox, "set_local", json_pack("{ss}", "name", "x"));
    ipop_outbox_run(box.outbox, 1);
    g_assert_cmpuint(box.sent->len, ==, 0);
    for (guint round = 0; round < 2; round++) {
        ipop_outbox_open(box.outbox);
        ipop_outbox_run(box.outbox, 1);
        g_assert_cmpstr(method_of(&box, 2 * round), ==, "set_local");
        answer(&box, 2 * round, NULL);
        ipop_outbox_run(box.outbox, 2);
        g_assert_cmpstr(method_of(&box, 2 * round + 1), ==, "set_remote_ip");
        g_assert_true(json_is_boolean(json_object_get(nth(&box, 2 * round + 1), "heard")));
        /* It was just heard only once. */
        g_assert_true(json_is_true(json_object_get(nth(&box, 2 * round + 1), "heard")) == (round == 0));
        ipop_outbox_close(box.outbox);
    }
    ipop_outbox_open(box.outbox);
    ipop_outbox_run(box.outbox, 3);
    answer(&box, 4, NULL);
    ipop_outbox_run(box.outbox, 4);
    /* Changed while under way: said again; the same: not. */
    ipop_outbox_want(box.outbox, "set_remote_ip", json_pack("{ss ss}", "uid", "a", "name", "two"));
    ipop_outbox_run(box.outbox, 5);
    g_assert_cmpuint(box.sent->len, ==, 6);
    answer(&box, 5, NULL);
    ipop_outbox_run(box.outbox, 6);
    g_assert_cmpuint(box.sent->len, ==, 7);
    g_assert_cmpstr(json_string_value(json_object_get(nth(&box, 6), "name")), ==, "two");
    answer(&box, 6, NULL);
    ipop_outbox_want(box.outbox, "set_remote_ip", json_pack("{ss ss}", "name", "two", "uid", "a"));
    g_assert_cmpint(ipop_outbox_run(box.outbox, 7), ==, INT64_MAX);
    box_clear(&box);
}

static void test_outbox_forgets(void) {
    Box box;
    box_init(&box);
    ipop_outbox_open(box.outbox);
    ipop_outbox_want(box.outbox, "set_remote_ip", of_peer("a"));
    ipop_outbox_run(box.outbox, 1);
    answer(&box, 0, "no");
    g_assert_cmpuint(box.refused, ==, 1);
    ipop_outbox_want(box.outbox, "forget_peer", of_peer("a"));
    ipop_outbox_run(box.outbox, 2);
    answer(&box, 1, "no such peer");
    g_assert_cmpuint(box.refused, ==, 1);
    ipop_outbox_close(box.outbox);
    ipop_outbox_open(box.outbox);
    ipop_outbox_run(box.outbox, 3);
    g_assert_cmpuint(box.sent->len, ==, 2);
    box_clear(&box);
}

static void test_outbox_compares(void) {
    Box box;
    box_init(&box);
    g_autoptr(GHashTable) known = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_add(known, "a");
    ipop_outbox_open(box.outbox);
    ipop_outbox_want(box.outbox, "set_remote_ip", of_peer("a"));
    ipop_outbox_want(box.outbox, "set_remote_ip", of_peer("b"));
    ipop_outbox_run(box.outbox, 1);
    answer(&box, 0, NULL);
    answer(&box, 1, NULL);
    ipop_outbox_compare(box.outbox, known);
    ipop_outbox_run(box.outbox, 2);
    g_assert_cmpuint(box.sent->len, ==, 3);
    g_assert_cmpstr(json_string_value(json_object_get(nth(&box, 2), "uid")), ==, "b");
    box_clear(&box);
}

static void test_outbox_closes(void) {
    Box box;
    box_init(&box);
    ipop_outbox_do(box.outbox, "trim_link", of_peer("a"), box_done, box.done);
    g_assert_cmpstr(box.done->str, ==, "no ipop-tincan answers,");
    g_string_truncate(box.done, 0);
    ipop_outbox_open(box.outbox);
    for (unsigned i = 0; i < 3; i++)
        ipop_outbox_do(box.outbox, "trim_link", of_peer("a"), box_done, box.done);
    ipop_outbox_run(box.outbox, 1);
    ipop_outbox_close(box.outbox);
    g_assert_cmpstr(box.done->str, ==, "ipop-tincan is gone,ipop-tincan is gone,ipop-tincan is gone,");
    box_clear(&box);
}

static void test_outbox_is_bounded(void) {
    Box box;
    box_init(&box);
    char uid[16];
    ipop_outbox_open(box.outbox);
    for (unsigned i = 0; i < IPOP_OUTBOX_MAX + 10; i++) {
        g_snprintf(uid, sizeof uid, "%u", i);
        ipop_outbox_do(box.outbox, "trim_link", of_peer(uid), box_done, box.done);
    }
    ipop_outbox_run(box.outbox, 1);
    g_assert_cmpuint(box.sent->len, ==, IPOP_OUTBOX_WINDOW);
    g_auto(GStrv) ended = g_strsplit(box.done->str, ",", -1);
    g_assert_cmpuint(g_strv_length(ended), ==, 11);
    box_clear(&box);
}

/* --- the client --- */

typedef struct {
    TincanTwin *twin;
    IpopDataplane *dataplane;
    unsigned ups, downs, links, candidates, changes, wakings, sleeps, troubles, done;
    bool fresh;
    IpopDataplaneNode node;
    char *trouble, *done_error;
} Fixture;

static void on_up(void *user, const IpopDataplaneNode *node) {
    Fixture *f = user;
    f->ups++;
    f->node = *node;
    f->fresh = node->fresh;
}

static void on_down(void *user) {
    ((Fixture *)user)->downs++;
}

static void on_candidates(void *user, const IpopUid *uid, const json_t *message) {
    ((Fixture *)user)->candidates++;
}

static void on_link(void *user, const IpopUid *uid, const json_t *message) {
    ((Fixture *)user)->links++;
}

static void on_network(void *user) {
    ((Fixture *)user)->changes++;
}

static void on_woken(void *user) {
    ((Fixture *)user)->wakings++;
}

static void on_slept(void *user, double seconds) {
    g_assert_cmpfloat(seconds, >, 3);
    ((Fixture *)user)->sleeps++;
}

static void on_trouble(void *user, const char *sentence) {
    Fixture *f = user;
    f->troubles++;
    g_free(f->trouble);
    f->trouble = g_strdup(sentence);
}

static void on_done(void *user, const char *error) {
    Fixture *f = user;
    f->done++;
    g_free(f->done_error);
    f->done_error = g_strdup(error);
}

static const IpopDataplaneEvents events = {on_up, on_down, on_candidates, on_link, on_network, on_woken, on_slept, on_trouble};

static void set_up(Fixture *f, gconstpointer data) {
    f->twin = twin_new(3);
    g_autoptr(GError) error = NULL;
    f->dataplane = ipop_dataplane_new(f->twin->port, twin_free_port(), f->twin->runtime_dir, &events, f, &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *f, gconstpointer data) {
    ipop_dataplane_free(f->dataplane);
    twin_free(f->twin);
    g_free(f->trouble);
    g_free(f->done_error);
}

static void test_attaches(Fixture *f, gconstpointer data) {
    ipop_dataplane_want(f->dataplane, "set_logging", json_pack("{si}", "logging", 2));
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    g_assert_false(f->fresh);
    g_assert_true(ipop_uid_equal(&f->node.uid, &f->twin->uid));
    g_assert_cmpmem(f->node.key, IPOP_KEY_BYTES, f->twin->key, IPOP_KEY_BYTES);
    g_assert_cmpuint(f->node.suites, ==, IPOP_SUITE_AESGCM | IPOP_SUITE_CHACHAPOLY);
    g_assert_true(f->twin->receiver);
    WAIT_FOR(twin_last(f->twin, "set_logging", NULL) != NULL);
    g_assert_cmpuint(f->downs, ==, 0);
}

static void test_adopts(Fixture *f, gconstpointer data) {
    char uid[41];
    twin_start(f->twin);
    for (unsigned i = 0; i < 200; i++) {
        g_snprintf(uid, sizeof uid, "%040x", i);
        twin_set_peer(f->twin, uid, json_pack("{ss}", "state", "online"));
    }
    WAIT_FOR(f->ups == 1);
    g_assert_cmpuint(f->links, ==, 200);
    ipop_dataplane_refresh(f->dataplane);
    WAIT_FOR(f->links == 400);
    g_assert_cmpuint(f->ups, ==, 1);
}

static void test_survives_losses(Fixture *f, gconstpointer data) {
    f->twin->drop = 2;
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    f->twin->drop = 2;
    ipop_dataplane_do(f->dataplane, "create_link", json_pack("{ss}", "uid", f->twin->uid.hex), on_done, f);
    WAIT_FOR(f->done == 1);
    g_assert_null(f->done_error);
    f->twin->drop = 1;
    ipop_dataplane_refresh(f->dataplane);
    WAIT_FOR(f->twin->drop == 0 && twin_last(f->twin, "create_link", NULL) != NULL);
    g_assert_cmpuint(f->downs, ==, 0);
}

/* What a suspended machine looks like, and a stopped process. */
static void test_slept(Fixture *f, gconstpointer data) {
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    unsigned echoes = f->twin->echoes;
    WAIT_FOR(f->twin->echoes > echoes);
    g_assert_cmpuint(f->sleeps, ==, 0);
    g_usleep(3500000);
    WAIT_FOR(f->sleeps == 1);
    echoes = f->twin->echoes;
    WAIT_FOR(f->twin->echoes > echoes);
    g_assert_cmpuint(f->sleeps, ==, 1);
    g_assert_cmpuint(f->downs, ==, 0);
}

static void test_restarted_tincan(Fixture *f, gconstpointer data) {
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    ipop_dataplane_want(f->dataplane, "set_local", json_pack("{ss}", "name", "x"));
    WAIT_FOR(twin_last(f->twin, "set_local", NULL) != NULL);
    twin_stop(f->twin);
    WAIT_FOR(f->downs == 1); /* ECONNREFUSED at the next keep-alive */
    ipop_dataplane_do(f->dataplane, "trim_link", json_pack("{ss}", "uid", f->twin->uid.hex), on_done, f);
    g_assert_cmpuint(f->done, ==, 1);
    g_assert_nonnull(f->done_error);
    twin_start(f->twin);
    WAIT_FOR(f->ups == 2);
    g_assert_true(f->fresh);
    WAIT_FOR(twin_last(f->twin, "set_local", NULL) != NULL);
}

/* So quick that no keep-alive falls in between: the answer to it shows that the secret is another. */
static void test_quickly_restarted_tincan(Fixture *f, gconstpointer data) {
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    twin_stop(f->twin);
    twin_start(f->twin);
    WAIT_FOR(f->ups == 2);
    g_assert_true(f->fresh);
    g_assert_cmpuint(f->downs, ==, 1);
}

static void test_stale_is_no_end(Fixture *f, gconstpointer data) {
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    f->twin->stale = true;
    ipop_dataplane_do(f->dataplane, "trim_link", json_pack("{ss}", "uid", f->twin->uid.hex), on_done, f);
    WAIT_FOR(f->done == 1);
    g_assert_null(f->done_error);
    g_assert_cmpuint(f->downs, ==, 0);
}

static void test_hung_tincan(Fixture *f, gconstpointer data) {
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    f->twin->mute = true;
    WAIT_FOR(f->downs == 1);
    f->twin->mute = false;
    WAIT_FOR(f->ups == 2);
    g_assert_false(f->fresh); /* the same process as before: it was adopted */
}

static void test_notifications(Fixture *f, gconstpointer data) {
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    twin_notify(f->twin, json_pack("{ss ss}", "type", "link_state", "uid", f->twin->uid.hex));
    twin_notify(f->twin, json_pack("{ss ss}", "type", "local_candidates", "uid", f->twin->uid.hex));
    twin_notify(f->twin, json_pack("{ss}", "type", "local_candidates"));
    twin_notify(f->twin, json_pack("{ss ss}", "type", "link_state", "uid", "none"));
    twin_notify(f->twin, json_pack("{ss}", "type", "something"));
    twin_notify(f->twin, json_pack("{ss}", "type", "network_changed"));
    twin_notify(f->twin, json_pack("{ss}", "type", "woken"));
    WAIT_FOR(f->wakings == 1);
    g_assert_cmpuint(f->changes, ==, 1);
    g_assert_cmpuint(f->links, ==, 1);
    g_assert_cmpuint(f->candidates, ==, 1);
}

/* What is not sealed with the secret is nothing, even from tincan's port. */
static void test_forgeries(Fixture *f, gconstpointer data) {
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    twin_send_plain(f->twin, &f->twin->address, "{\"type\":\"network_changed\"}");
    twin_send_plain(f->twin, &f->twin->address, "{\"type\":\"ok\",\"id\":1}");
    twin_send_plain(f->twin, &f->twin->address, "rubbish");
    twin_send_plain(f->twin, &f->twin->address, "{\"type\":\"hello\",\"epoch\":\"00\",\"time\":1,\"mac\":\"00\"}");
    uint8_t sealed[80] = {IPOP_CTL_VERSION, IPOP_CTL_SEALED};
    sendto(f->twin->fd, sealed, sizeof sealed, 0, (struct sockaddr *)&f->twin->address, sizeof f->twin->address);
    sendto(f->twin->fd, sealed, 2, 0, (struct sockaddr *)&f->twin->address, sizeof f->twin->address);
    twin_notify(f->twin, json_pack("{ss ss}", "type", "link_state", "uid", f->twin->uid.hex));
    WAIT_FOR(f->links == 1);
    g_assert_cmpuint(f->changes, ==, 0);
    g_assert_cmpuint(f->downs, ==, 0);
}

static void test_says_once_that_nobody_answers(Fixture *f, gconstpointer data) {
    WAIT_FOR(f->troubles == 1);
    g_autofree char *port = g_strdup_printf("port %u", f->twin->port);
    g_assert_nonnull(strstr(f->trouble, port));
    g_assert_nonnull(strstr(f->trouble, "start it as root"));
    twin_start(f->twin);
    WAIT_FOR(f->ups == 1);
    g_assert_cmpuint(f->troubles, ==, 1);
}

static void test_port_taken(Fixture *f, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    twin_start(f->twin);
    g_assert_null(ipop_dataplane_new(1, f->twin->port, f->twin->runtime_dir, &events, f, &error));
    g_assert_nonnull(strstr(error->message, "contr_port"));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/dataplane/outbox/repeats", test_outbox_repeats);
    g_test_add_func("/dataplane/outbox/keeps-order", test_outbox_keeps_order);
    g_test_add_func("/dataplane/outbox/wanted", test_outbox_wanted);
    g_test_add_func("/dataplane/outbox/forgets", test_outbox_forgets);
    g_test_add_func("/dataplane/outbox/compares", test_outbox_compares);
    g_test_add_func("/dataplane/outbox/closes", test_outbox_closes);
    g_test_add_func("/dataplane/outbox/is-bounded", test_outbox_is_bounded);
#define ADD(name, function) g_test_add("/dataplane/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("attaches", test_attaches);
    ADD("adopts", test_adopts);
    ADD("survives-losses", test_survives_losses);
    ADD("slept", test_slept);
    ADD("restarted-tincan", test_restarted_tincan);
    ADD("quickly-restarted-tincan", test_quickly_restarted_tincan);
    ADD("stale-is-no-end", test_stale_is_no_end);
    ADD("hung-tincan", test_hung_tincan);
    ADD("notifications", test_notifications);
    ADD("forgeries", test_forgeries);
    ADD("says-once-that-nobody-answers", test_says_once_that_nobody_answers);
    ADD("port-taken", test_port_taken);
    return g_test_run();
}
