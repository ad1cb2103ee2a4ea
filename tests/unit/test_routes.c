/* The trie against a plain list. */
#include "tincan/route/table.h"

#include <arpa/inet.h>
#include <glib.h>
#include <string.h>

static char red, green, blue;

static const uint8_t *ip(const char *text, int family) {
    static uint8_t address[4][16];
    static unsigned turn;
    uint8_t *ret = address[turn++ % 4];
    g_assert_cmpint(inet_pton(family, text, ret), ==, 1);
    return ret;
}

static bool add4(IpopRoutes *routes, const char *address, unsigned prefix, void *value) {
    return ipop_routes_add(routes, AF_INET, ip(address, AF_INET), prefix, value);
}

static bool remove4(IpopRoutes *routes, const char *address, unsigned prefix, void *value) {
    return ipop_routes_remove(routes, AF_INET, ip(address, AF_INET), prefix, value);
}

static void *lookup4(IpopRoutes *routes, const char *address) {
    return ipop_routes_lookup(routes, AF_INET, ip(address, AF_INET));
}

static void test_longest(void) {
    IpopRoutes *routes = ipop_routes_new();
    g_assert_null(lookup4(routes, "10.0.0.1"));
    g_assert_true(add4(routes, "10.1.2.3", 8, &red)); /* bits beyond the prefix do not count */
    g_assert_true(add4(routes, "10.1.0.0", 16, &green));
    g_assert_true(add4(routes, "10.1.2.3", 32, &blue));
    g_assert_true(lookup4(routes, "10.1.2.3") == &blue);
    g_assert_true(lookup4(routes, "10.1.2.2") == &green);
    g_assert_true(lookup4(routes, "10.2.0.0") == &red);
    g_assert_null(lookup4(routes, "11.0.0.0"));
    g_assert_true(add4(routes, "0.0.0.0", 0, &blue));
    g_assert_true(lookup4(routes, "11.0.0.0") == &blue);
    g_assert_cmpuint(ipop_routes_count(routes), ==, 4);

    /* The families are apart. */
    g_assert_null(ipop_routes_lookup(routes, AF_INET6, ip("a01::", AF_INET6)));
    g_assert_true(ipop_routes_add(routes, AF_INET6, ip("fd50::1", AF_INET6), 128, &red));
    g_assert_true(ipop_routes_add(routes, AF_INET6, ip("fd50::", AF_INET6), 64, &green));
    g_assert_true(ipop_routes_lookup(routes, AF_INET6, ip("fd50::1", AF_INET6)) == &red);
    g_assert_true(ipop_routes_lookup(routes, AF_INET6, ip("fd50::2", AF_INET6)) == &green);
    g_assert_null(ipop_routes_lookup(routes, AF_INET6, ip("fd50:0:0:1::2", AF_INET6)));
    ipop_routes_free(routes);
    ipop_routes_free(NULL);
}

static void test_replace_and_remove(void) {
    IpopRoutes *routes = ipop_routes_new();
    add4(routes, "10.0.0.0", 24, &red);
    add4(routes, "10.0.0.0", 24, &green);
    g_assert_cmpuint(ipop_routes_count(routes), ==, 1);
    g_assert_true(lookup4(routes, "10.0.0.9") == &green);
    g_assert_false(remove4(routes, "10.0.0.0", 24, &red)); /* not its value any more */
    g_assert_false(remove4(routes, "10.0.0.0", 25, &green));
    g_assert_false(remove4(routes, "10.0.0.0", 23, &green));
    g_assert_false(remove4(routes, "10.0.1.0", 24, &green));
    g_assert_true(remove4(routes, "10.0.0.77", 24, &green));
    g_assert_false(remove4(routes, "10.0.0.0", 24, &green));
    g_assert_null(lookup4(routes, "10.0.0.9"));
    g_assert_cmpuint(ipop_routes_count(routes), ==, 0);
    ipop_routes_free(routes);
}

/* The deepest way: every prefix of one address. */
static void test_depth(void) {
    IpopRoutes *routes = ipop_routes_new();
    char values[129];
    uint8_t ones[16];
    memset(ones, 0xff, sizeof ones);
    for (unsigned prefix = 0; prefix <= 128; prefix++) {
        unsigned p = prefix % 2 ? prefix : 128 - prefix; /* neither up nor down */
        g_assert_true(ipop_routes_add(routes, AF_INET6, ones, p, &values[p]));
    }
    for (unsigned bits = 0; bits <= 128; bits++) {
        uint8_t address[16];
        memset(address, 0xff, sizeof address);
        if (bits < 128)
            address[bits / 8] ^= (uint8_t)(0x80 >> bits % 8);
        g_assert_true(ipop_routes_lookup(routes, AF_INET6, address) == &values[bits]);
    }
    for (unsigned prefix = 0; prefix <= 128; prefix++)
        ipop_routes_remove_value(routes, &values[prefix]);
    g_assert_cmpuint(ipop_routes_count(routes), ==, 0);
    g_assert_null(ipop_routes_lookup(routes, AF_INET6, ones));
    ipop_routes_free(routes);
}

static void test_full(void) {
    IpopRoutes *routes = ipop_routes_new();
    for (uint32_t i = 0; i < IPOP_ROUTES_MAX; i++) {
        uint32_t address = g_htonl(i << 8);
        g_assert_true(ipop_routes_add(routes, AF_INET, (const uint8_t *)&address, 24, &red));
    }
    g_assert_false(add4(routes, "240.0.0.0", 24, &red));
    g_assert_false(add4(routes, "0.0.0.0", 1, &red)); /* above all the others */
    g_assert_false(add4(routes, "0.0.0.0", 8, &red)); /* in a fork that is there */
    g_assert_false(ipop_routes_add(routes, AF_INET6, ip("::", AF_INET6), 0, &red));
    g_assert_true(add4(routes, "0.0.1.0", 24, &green)); /* replacing needs no room */
    g_assert_null(lookup4(routes, "240.0.0.0"));
    g_assert_true(remove4(routes, "0.0.1.0", 24, &green));
    g_assert_true(add4(routes, "240.0.0.0", 24, &red));
    ipop_routes_remove_value(routes, &red);
    g_assert_cmpuint(ipop_routes_count(routes), ==, 0);
    ipop_routes_free(routes);
}

/* ---- the reference ---- */

typedef struct {
    int family;
    uint8_t address[16];
    unsigned prefix;
    void *value;
} Entry;

static bool covers(const Entry *e, int family, const uint8_t *address) {
    if (e->family != family)
        return false;
    for (unsigned i = 0; i < e->prefix; i++)
        if ((e->address[i / 8] ^ address[i / 8]) >> (7 - i % 8) & 1)
            return false;
    return true;
}

static Entry *find(GArray *list, int family, const uint8_t *address, unsigned prefix) {
    for (guint i = 0; i < list->len; i++) {
        Entry *e = &g_array_index(list, Entry, i);
        if (e->prefix == prefix && covers(e, family, address))
            return e;
    }
    return NULL;
}

static void *reference_lookup(GArray *list, int family, const uint8_t *address) {
    const Entry *best = NULL;
    for (guint i = 0; i < list->len; i++) {
        const Entry *e = &g_array_index(list, Entry, i);
        if (covers(e, family, address) && (!best || e->prefix > best->prefix))
            best = e;
    }
    return best ? best->value : NULL;
}

static bool reference_remove(GArray *list, int family, const uint8_t *address, unsigned prefix, const void *value) {
    Entry *e = find(list, family, address, prefix);
    if (!e || e->value != value)
        return false;
    g_array_remove_index_fast(list, (guint)(e - (Entry *)(void *)list->data));
    return true;
}

/* Few different bits, so that prefixes often overlap, meet and part late. */
static void random_address(int family, uint8_t *address) {
    size_t n = family == AF_INET ? 4 : 16;
    memset(address, g_test_rand_bit() ? 0xff : 0, 16);
    for (int flips = g_test_rand_int_range(0, 4); flips > 0; flips--)
        address[g_test_rand_int_range(0, (int)n)] ^= (uint8_t)(1 << g_test_rand_int_range(0, 8));
}

static unsigned random_prefix(int family) {
    return (unsigned)g_test_rand_int_range(0, family == AF_INET ? 33 : 129);
}

static void change(IpopRoutes *routes, GArray *list, char *values, size_t values_n) {
    int family = g_test_rand_bit() ? AF_INET : AF_INET6;
    uint8_t address[16];
    random_address(family, address);
    unsigned prefix = random_prefix(family);
    void *value = &values[g_test_rand_int_range(0, (int)values_n)];

    switch (g_test_rand_int_range(0, 12)) {
    case 0:
        ipop_routes_remove_value(routes, value);
        for (guint i = list->len; i-- > 0;)
            if (g_array_index(list, Entry, i).value == value)
                g_array_remove_index_fast(list, i);
        break;
    case 1:
    case 2:
    case 3:
        if (list->len && g_test_rand_bit()) { /* one that is there */
            Entry e = g_array_index(list, Entry, g_test_rand_int_range(0, (int)list->len));
            family = e.family;
            memcpy(address, e.address, sizeof address);
            prefix = e.prefix;
            value = e.value;
        }
        g_assert_true(ipop_routes_remove(routes, family, address, prefix, value) ==
                      reference_remove(list, family, address, prefix, value));
        break;
    default: {
        Entry *e = find(list, family, address, prefix), added = {.family = family, .prefix = prefix, .value = value};
        g_assert_true(ipop_routes_add(routes, family, address, prefix, value));
        memcpy(added.address, address, sizeof address);
        if (e)
            e->value = value;
        else
            g_array_append_val(list, added);
    }
    }
}

static void test_random(void) {
    for (int round = 0; round < 10; round++) {
        IpopRoutes *routes = ipop_routes_new();
        g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(Entry));
        char values[12];
        for (int i = 0; i < 600; i++) {
            change(routes, list, values, sizeof values);
            g_assert_cmpuint(ipop_routes_count(routes), ==, list->len);
            for (int j = 0; j < 8; j++) {
                int family = j % 2 ? AF_INET : AF_INET6;
                uint8_t address[16];
                random_address(family, address);
                g_assert_true(ipop_routes_lookup(routes, family, address) == reference_lookup(list, family, address));
            }
        }
        ipop_routes_free(routes);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/routes/longest", test_longest);
    g_test_add_func("/routes/remove", test_replace_and_remove);
    g_test_add_func("/routes/depth", test_depth);
    g_test_add_func("/routes/full", test_full);
    g_test_add_func("/routes/random", test_random);
    return g_test_run();
}
