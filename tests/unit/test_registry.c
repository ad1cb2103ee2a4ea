/* The registry: two indexes that always agree, and a bound. */
#include "controller/peer/registry.h"

#include <string.h>

static IpopUid make_uid(unsigned i) {
    IpopUid uid;
    g_snprintf(uid.hex, sizeof uid.hex, "%040x", i);
    return uid;
}

static void test_add_and_find(void) {
    IpopRegistry *registry = ipop_registry_new(IPOP_REGISTRY_MAX);
    IpopUid a = make_uid(1), b = make_uid(2);
    g_assert_null(ipop_registry_get(registry, &a));
    IpopPeer *peer = ipop_registry_add(registry, &a);
    g_assert_true(ipop_registry_add(registry, &a) == peer);
    g_assert_true(ipop_registry_get(registry, &a) == peer);
    g_assert_null(ipop_registry_get(registry, &b));
    g_assert_cmpstr(peer->jid, ==, "");
    g_assert_null(ipop_registry_by_jid(registry, ""));
    ipop_registry_set_jid(registry, peer, "x@y/1");
    g_assert_true(ipop_registry_by_jid(registry, "x@y/1") == peer);
    ipop_registry_set_jid(registry, peer, "x@y/2");
    g_assert_null(ipop_registry_by_jid(registry, "x@y/1"));
    ipop_registry_remove(registry, peer);
    g_assert_null(ipop_registry_get(registry, &a));
    g_assert_null(ipop_registry_by_jid(registry, "x@y/2"));
    g_assert_cmpuint(ipop_registry_count(registry), ==, 0);
    ipop_registry_free(registry);
    ipop_registry_free(NULL);
}

static void test_jid_is_one_peers(void) {
    IpopRegistry *registry = ipop_registry_new(2);
    IpopUid a = make_uid(1), b = make_uid(2);
    IpopPeer *first = ipop_registry_add(registry, &a), *second = ipop_registry_add(registry, &b);
    ipop_registry_set_jid(registry, first, "x@y/z");
    ipop_registry_set_jid(registry, second, "x@y/z");
    g_assert_cmpstr(first->jid, ==, "");
    g_assert_true(ipop_registry_by_jid(registry, "x@y/z") == second);
    ipop_registry_remove(registry, first);
    g_assert_true(ipop_registry_by_jid(registry, "x@y/z") == second);
    ipop_registry_free(registry);
}

static void test_bound(void) {
    IpopRegistry *registry = ipop_registry_new(3);
    IpopUid uid;
    for (unsigned i = 0; i < 3; i++) {
        uid = make_uid(i);
        g_assert_nonnull(ipop_registry_add(registry, &uid));
    }
    uid = make_uid(7);
    g_assert_null(ipop_registry_add(registry, &uid));
    IpopUid known = make_uid(1);
    g_assert_nonnull(ipop_registry_add(registry, &known));
    ipop_registry_remove(registry, ipop_registry_get(registry, &known));
    g_assert_nonnull(ipop_registry_add(registry, &uid));
    ipop_registry_free(registry);
}

/* Against a naive reference: an array of JIDs by uid. */
static void test_random(void) {
    enum { PEERS = 16, JIDS = 8 };
    IpopRegistry *registry = ipop_registry_new(PEERS);
    int jid_of[PEERS]; /* -2: not there, -1: there without one */
    char jid[16];
    for (unsigned i = 0; i < PEERS; i++)
        jid_of[i] = -2;
    for (unsigned round = 0; round < 20000; round++) {
        int who = g_random_int_range(0, PEERS), what = g_random_int_range(0, JIDS);
        IpopUid uid = make_uid((unsigned)who);
        IpopPeer *peer = ipop_registry_get(registry, &uid);
        g_assert_true((peer != NULL) == (jid_of[who] != -2));
        if (peer != NULL && g_random_int_range(0, 4) == 0) {
            ipop_registry_remove(registry, peer);
            jid_of[who] = -2;
        } else {
            g_snprintf(jid, sizeof jid, "x@y/%d", what);
            ipop_registry_set_jid(registry, ipop_registry_add(registry, &uid), jid);
            for (unsigned i = 0; i < PEERS; i++)
                if (jid_of[i] == what)
                    jid_of[i] = -1;
            jid_of[who] = what;
        }
        unsigned count = 0;
        for (unsigned i = 0; i < PEERS; i++)
            count += jid_of[i] != -2;
        g_assert_cmpuint(ipop_registry_count(registry), ==, count);
        for (int j = 0; j < JIDS; j++) {
            g_snprintf(jid, sizeof jid, "x@y/%d", j);
            IpopPeer *owner = ipop_registry_by_jid(registry, jid);
            for (unsigned i = 0; i < PEERS; i++) {
                IpopUid other = make_uid(i);
                g_assert_true((jid_of[i] == j) == (owner != NULL && ipop_uid_equal(&owner->uid, &other)));
            }
        }
    }
    ipop_registry_free(registry);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/registry/add-and-find", test_add_and_find);
    g_test_add_func("/registry/jid-is-one-peers", test_jid_is_one_peers);
    g_test_add_func("/registry/bound", test_bound);
    g_test_add_func("/registry/random", test_random);
    return g_test_run();
}
