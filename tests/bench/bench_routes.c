/* Looking up the peer of an address among 10, 1,000 and 100,000 random prefixes, in random order. */
#include "tests/bench/clock.h"
#include "tincan/route/table.h"

#include <glib.h>
#include <netinet/in.h>
#include <stdio.h>

#define LOOKUPS 1000000
#define ROUNDS 5

typedef struct {
    int family;
    size_t size; /* bytes in an address */
    unsigned prefix_min;
} Family;

static void random_bytes(GRand *random, uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)g_rand_int(random);
}

/* Nanoseconds per lookup. */
static double measure(const Family *family, size_t count) {
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    g_autofree uint8_t *addresses = g_malloc(count * family->size);
    g_autofree uint32_t *order = g_new(uint32_t, LOOKUPS);
    IpopRoutes *routes = ipop_routes_new();
    random_bytes(random, addresses, count * family->size);
    for (size_t i = 0; i < count; i++) {
        unsigned prefix = (unsigned)g_rand_int_range(random, (gint32)family->prefix_min, (gint32)(8 * family->size + 1));
        if (!ipop_routes_add(routes, family->family, addresses + i * family->size, prefix, addresses))
            g_error("the table is full at %zu", i);
    }
    for (size_t i = 0; i < LOOKUPS; i++)
        order[i] = (uint32_t)g_rand_int_range(random, 0, (gint32)count);

    double best = G_MAXDOUBLE;
    for (int round = 0; round < ROUNDS; round++) {
        size_t found = 0;
        double start = thread_time();
        for (size_t i = 0; i < LOOKUPS; i++)
            found += ipop_routes_lookup(routes, family->family, addresses + order[i] * family->size) != NULL;
        best = MIN(best, (thread_time() - start) / LOOKUPS);
        g_assert_cmpuint(found, ==, LOOKUPS);
    }
    ipop_routes_free(routes);
    return best;
}

int main(void) {
    static const size_t counts[] = {10, 1000, 100000};
    static const Family ip4 = {AF_INET, 4, 16}, ip6 = {AF_INET6, 16, 32};
    printf("%8s %10s %10s\n", "prefixes", "IPv4 ns", "IPv6 ns");
    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++)
        printf("%8zu %10.0f %10.0f\n", counts[i], measure(&ip4, counts[i]), measure(&ip6, counts[i]));
    return 0;
}
