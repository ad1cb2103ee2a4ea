#include "controller/xmpp/iq.h"

#include <sodium.h>
#include <string.h>

typedef struct {
    IpopIqTable *table;
    unsigned called[4]; /* by outcome */
    char xml[64];
    void *cancels;      /* the user whose requests the next callback cancels */
    bool asks_again;
} Asker;

static void on_answer(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    Asker *asker = user;
    asker->called[outcome]++;
    g_strlcpy(asker->xml, xml ? xml : "", sizeof asker->xml);
    g_assert_cmpuint(n, ==, xml ? strlen(xml) : 0);
    if (asker->cancels)
        ipop_iq_table_cancel(asker->table, asker->cancels);
    if (asker->asks_again)
        g_assert_nonnull(ipop_iq_table_add(asker->table, "x@y", INT64_MAX, on_answer, asker));
}

static unsigned calls(const Asker *asker) {
    return asker->called[0] + asker->called[1] + asker->called[2] + asker->called[3];
}

static char *ask(Asker *asker, const char *to, int64_t deadline) {
    return g_strdup(ipop_iq_table_add(asker->table, to, deadline, on_answer, asker));
}

static bool answer(const Asker *asker, const char *id, const char *from) {
    return ipop_iq_table_answer(asker->table, id, from, IPOP_IQ_RESULT, "<iq/>", 5);
}

static void test_answer(void) {
    Asker asker = {.table = ipop_iq_table_new("net@example.org")};
    g_autofree char *id = ask(&asker, "net@example.org/peer", 100);
    g_autofree char *other = ask(&asker, "net@example.org/peer", 100);
    g_assert_cmpstr(id, !=, other);
    g_assert_false(answer(&asker, NULL, "net@example.org/peer"));
    g_assert_false(answer(&asker, "nonsense", "net@example.org/peer"));
    g_assert_true(answer(&asker, id, "net@example.org/peer"));
    g_assert_cmpuint(asker.called[IPOP_IQ_RESULT], ==, 1);
    g_assert_cmpstr(asker.xml, ==, "<iq/>");
    g_assert_false(answer(&asker, id, "net@example.org/peer"));
    g_assert_true(ipop_iq_table_answer(asker.table, other, "NET@Example.org/peer", IPOP_IQ_ERROR, "<e/>", 4));
    g_assert_cmpuint(asker.called[IPOP_IQ_ERROR], ==, 1);
    g_assert_cmpuint(calls(&asker), ==, 2);
    g_assert_cmpuint(ipop_iq_table_size(asker.table), ==, 0);
    ipop_iq_table_free(asker.table);
}

/* Who may answer what was asked of whom. */
static void test_from(void) {
    static const struct {
        const char *to, *from;
        bool good;
    } cases[] = {
        {"net@example.org/a", "net@example.org/a", true},
        {"net@example.org/a", "net@example.org/b", false},
        {"net@example.org/a", "net@example.org/A", false},
        {"net@example.org/a", "net@example.org", false},
        {"net@example.org/a", "example.org", false},
        {"net@example.org/a", NULL, false},
        {"net@example.org/a", "evil@example.org/a", false},
        {"example.org", "example.org", true},
        {"example.org", "EXAMPLE.org", true},
        {"example.org", NULL, true},
        {"example.org", "net@example.org", true},
        {"example.org", "net@example.org/session", true},
        {"example.org", "evil@example.org", false},
        {"example.org", "net@example.org.evil", false},
        {"example.org", "evil.org", false},
        {"net@example.org", NULL, true},
        {"net@example.org", "net@example.org", true},
        {"net@example.org", "evil@example.org", false},
        {"turn.example.org", "example.org", false},
        {"turn.example.org", "turn.example.org", true},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Asker asker = {.table = ipop_iq_table_new("net@example.org")};
        g_autofree char *id = ask(&asker, cases[i].to, 100);
        g_test_message("%s answered by %s", cases[i].to, cases[i].from ? cases[i].from : "(none)");
        g_assert_true(answer(&asker, id, cases[i].from) == cases[i].good);
        g_assert_cmpuint(calls(&asker), ==, cases[i].good);
        ipop_iq_table_free(asker.table);
    }
}

static void test_deadlines(void) {
    Asker asker = {.table = ipop_iq_table_new("net@example.org")};
    g_assert_cmpint(ipop_iq_table_next(asker.table), ==, INT64_MAX);
    g_autofree char *late = ask(&asker, "x@y", 200);
    g_autofree char *early = ask(&asker, "x@y", 100);
    g_autofree char *unsent = ask(&asker, "x@y", INT64_MAX);
    g_assert_cmpint(ipop_iq_table_next(asker.table), ==, 100);
    g_assert_cmpuint(ipop_iq_table_expire(asker.table, 99), ==, 0);
    g_assert_cmpuint(ipop_iq_table_expire(asker.table, 100), ==, 1);
    g_assert_false(answer(&asker, early, "x@y"));
    g_assert_cmpint(ipop_iq_table_next(asker.table), ==, 200);
    g_assert_cmpuint(ipop_iq_table_expire(asker.table, 1000), ==, 1);
    g_assert_cmpint(ipop_iq_table_next(asker.table), ==, INT64_MAX);
    ipop_iq_table_set_deadline(asker.table, unsent, 1500);
    ipop_iq_table_set_deadline(asker.table, late, 1200); /* no longer there */
    g_assert_cmpint(ipop_iq_table_next(asker.table), ==, 1500);
    g_assert_cmpuint(asker.called[IPOP_IQ_TIMEOUT], ==, 2);
    ipop_iq_table_free(asker.table);
    g_assert_cmpuint(calls(&asker), ==, 2);
}

static void test_lose_and_cancel(void) {
    IpopIqTable *table = ipop_iq_table_new("net@example.org");
    Asker a = {.table = table}, b = {.table = table};
    g_free(ask(&a, "x@y", INT64_MAX));
    g_free(ask(&a, "x@y", 100));
    g_free(ask(&b, "x@y", 100));
    ipop_iq_table_cancel(table, &a);
    g_assert_cmpuint(ipop_iq_table_size(table), ==, 1);
    ipop_iq_table_lose(table);
    g_assert_cmpuint(calls(&a), ==, 0);
    g_assert_cmpuint(b.called[IPOP_IQ_LOST], ==, 1);

    /* Two that cancel each other: the first one called wins, whichever it is. */
    g_free(ask(&a, "x@y", 100));
    g_free(ask(&b, "x@y", 100));
    a.cancels = &b;
    b.cancels = &a;
    b.called[IPOP_IQ_LOST] = 0;
    ipop_iq_table_lose(table);
    g_assert_cmpuint(calls(&a) + calls(&b), ==, 1);

    /* What a callback asks anew is not lost with the rest. */
    Asker c = {.table = table, .asks_again = true};
    g_free(ask(&c, "x@y", 100));
    ipop_iq_table_lose(table);
    g_assert_cmpuint(c.called[IPOP_IQ_LOST], ==, 1);
    g_assert_cmpuint(ipop_iq_table_size(table), ==, 1);
    g_autofree char *taken_back = g_strdup(ipop_iq_table_add(table, "x@y", 100, NULL, NULL));
    ipop_iq_table_remove(table, taken_back);
    g_assert_cmpuint(ipop_iq_table_size(table), ==, 1);
    ipop_iq_table_free(table);
    g_assert_cmpuint(calls(&c), ==, 1);
}

static void test_bound(void) {
    Asker asker = {.table = ipop_iq_table_new("net@example.org")};
    for (unsigned i = 0; i < IPOP_IQ_PENDING_MAX; i++)
        g_assert_nonnull(ipop_iq_table_add(asker.table, "x@y", i, on_answer, &asker));
    g_assert_null(ipop_iq_table_add(asker.table, "x@y", 0, on_answer, &asker));
    g_assert_cmpuint(ipop_iq_table_expire(asker.table, 9), ==, 10);
    g_assert_nonnull(ipop_iq_table_add(asker.table, "x@y", 0, NULL, NULL));
    g_assert_cmpuint(ipop_iq_table_expire(asker.table, IPOP_IQ_PENDING_MAX), ==, IPOP_IQ_PENDING_MAX - 9);
    g_assert_cmpuint(calls(&asker), ==, IPOP_IQ_PENDING_MAX);
    ipop_iq_table_free(asker.table);
}

/* Every id is random from its first digit to its last: of two, no digit repeats more often than chance has it. */
static void test_ids(void) {
    IpopIqTable *table = ipop_iq_table_new("net@example.org");
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    unsigned same[2 * IPOP_IQ_ID_BYTES] = {0};
    g_autofree char *first = g_strdup(ipop_iq_table_add(table, "x@y", 1, NULL, NULL));
    for (unsigned i = 0; i < 1000; i++) {
        const char *id = ipop_iq_table_add(table, "x@y", 1, NULL, NULL);
        g_assert_cmpuint(strlen(id), ==, G_N_ELEMENTS(same));
        for (unsigned k = 0; k < G_N_ELEMENTS(same); k++)
            same[k] += id[k] == first[k];
        g_assert_true(g_hash_table_add(seen, g_strdup(id)));
    }
    for (unsigned k = 0; k < G_N_ELEMENTS(same); k++)
        g_assert_cmpuint(same[k], <, 300); /* 63 are expected */
    ipop_iq_table_free(table);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    if (sodium_init() < 0)
        return 1;
    g_test_add_func("/iq/answer", test_answer);
    g_test_add_func("/iq/from", test_from);
    g_test_add_func("/iq/deadlines", test_deadlines);
    g_test_add_func("/iq/lose-and-cancel", test_lose_and_cancel);
    g_test_add_func("/iq/bound", test_bound);
    g_test_add_func("/iq/ids", test_ids);
    return g_test_run();
}
