#include "tincan/route/table.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>

/* An address from its most significant bit on: IPv4 is the upper half of the first word. */
typedef struct {
    uint64_t word[2];
} Key;

/* A prefix, or (value NULL) a fork of two. A child's prefix is longer than its parent's and starts with it, so no way
 * down has more than 129 nodes; a fork has both children, so there are fewer forks than prefixes. */
typedef struct Node Node;
struct Node {
    Key key; /* zero beyond prefix */
    unsigned prefix;
    void *value;
    Node *child[2]; /* by the bit after the prefix */
};

#define DEPTH_MAX 129

struct IpopRoutes {
    Node *root[2]; /* IPv4, IPv6 */
    size_t count;
};

static unsigned width_of(int family) {
    g_assert(family == AF_INET || family == AF_INET6);
    return family == AF_INET ? 32 : 128;
}

static Node **root_of(IpopRoutes *routes, int family) {
    return &routes->root[family == AF_INET6];
}

static Key key_of(const uint8_t *address, unsigned width) {
    Key key = {{0, 0}};
    memcpy(&key, address, width / 8);
    return (Key){{GUINT64_FROM_BE(key.word[0]), GUINT64_FROM_BE(key.word[1])}};
}

static Key key_cut(Key key, unsigned prefix) {
    uint64_t first = prefix >= 64 ? UINT64_MAX : ~(UINT64_MAX >> prefix);
    uint64_t second = prefix <= 64 ? 0 : prefix == 128 ? UINT64_MAX : ~(UINT64_MAX >> (prefix - 64));
    return (Key){{key.word[0] & first, key.word[1] & second}};
}

static unsigned key_bit(Key key, unsigned i) {
    return key.word[i / 64] >> (63 - i % 64) & 1;
}

/* How many leading bits are the same, 0 to 128. */
static unsigned key_common(Key a, Key b) {
    uint64_t first = a.word[0] ^ b.word[0];
    uint64_t second = a.word[1] ^ b.word[1];
    if (first)
        return (unsigned)__builtin_clzll(first);
    return second ? 64 + (unsigned)__builtin_clzll(second) : 128;
}

static Node *node_new(Key key, unsigned prefix, void *value) {
    Node *node = g_new0(Node, 1);
    node->key = key_cut(key, prefix);
    node->prefix = prefix;
    node->value = value;
    return node;
}

IpopRoutes *ipop_routes_new(void) {
    return g_new0(IpopRoutes, 1);
}

/* Every node of a trie, parents first. The next node is read before visit is called, which may free its own. */
static void each_node(Node *root, void (*visit)(Node *node, void *data), void *data) {
    Node *stack[DEPTH_MAX + 1];
    size_t n = 0;
    if (root)
        stack[n++] = root;
    while (n) {
        Node *node = stack[--n];
        for (int side = 1; side >= 0; side--)
            if (node->child[side]) {
                g_assert(n < G_N_ELEMENTS(stack));
                stack[n++] = node->child[side];
            }
        visit(node, data);
    }
}

static void free_node(Node *node, void *data) {
    g_free(node);
}

void ipop_routes_free(IpopRoutes *routes) {
    if (!routes)
        return;
    each_node(routes->root[0], free_node, NULL);
    each_node(routes->root[1], free_node, NULL);
    g_free(routes);
}

/* Puts a new prefix where a node is that does not contain it: above that node, or beside it under a fork at the first bit
 * in which they differ. */
static void insert_above(Node **slot, Node *added, unsigned common) {
    Node *below = *slot;
    if (common == added->prefix) {
        added->child[key_bit(below->key, common)] = below;
        *slot = added;
        return;
    }
    Node *fork = node_new(added->key, common, NULL);
    fork->child[key_bit(below->key, common)] = below;
    fork->child[key_bit(added->key, common)] = added;
    *slot = fork;
}

bool ipop_routes_add(IpopRoutes *routes, int family, const uint8_t *address, unsigned prefix, void *value) {
    unsigned width = width_of(family);
    g_assert(prefix <= width && value);
    Key key = key_cut(key_of(address, width), prefix);

    Node **slot = root_of(routes, family);
    unsigned common = 0;
    while (*slot) {
        Node *node = *slot;
        common = MIN(key_common(key, node->key), MIN(prefix, node->prefix));
        if (common < node->prefix)
            break;
        if (node->prefix == prefix) {
            if (!node->value && routes->count == IPOP_ROUTES_MAX)
                return false;
            routes->count += !node->value;
            node->value = value;
            return true;
        }
        slot = &node->child[key_bit(key, node->prefix)];
    }

    if (routes->count == IPOP_ROUTES_MAX)
        return false;
    routes->count++;
    Node *added = node_new(key, prefix, value);
    if (*slot)
        insert_above(slot, added, common);
    else
        *slot = added;
    return true;
}

/* Takes a node without value out of *slot unless it is a fork. */
static void prune(Node **slot) {
    Node *node = *slot;
    if (node->value || (node->child[0] && node->child[1]))
        return;
    *slot = node->child[0] ? node->child[0] : node->child[1];
    g_free(node);
}

static bool remove_key(IpopRoutes *routes, int family, Key key, unsigned prefix, const void *value) {
    Node **parent = NULL;
    Node **slot = root_of(routes, family);
    while (*slot && (*slot)->prefix < prefix && key_common(key, (*slot)->key) >= (*slot)->prefix) {
        parent = slot;
        slot = &(*slot)->child[key_bit(key, (*slot)->prefix)];
    }
    Node *node = *slot;
    if (!node || node->prefix != prefix || key_common(key, node->key) < prefix || node->value != value)
        return false;

    node->value = NULL;
    routes->count--;
    prune(slot);
    if (parent)
        prune(parent); /* a fork that has lost a side */
    return true;
}

bool ipop_routes_remove(IpopRoutes *routes, int family, const uint8_t *address, unsigned prefix, void *value) {
    unsigned width = width_of(family);
    g_assert(prefix <= width && value);
    return remove_key(routes, family, key_cut(key_of(address, width), prefix), prefix, value);
}

typedef struct {
    Key key;
    unsigned prefix;
} Found;

typedef struct {
    const void *value;
    GArray *found; /* Found */
} Search;

static void find_value(Node *node, void *data) {
    Search *search = data;
    if (node->value != search->value)
        return;
    Found found = {node->key, node->prefix};
    g_array_append_val(search->found, found);
}

void ipop_routes_remove_value(IpopRoutes *routes, const void *value) {
    static const int families[] = {AF_INET, AF_INET6};
    g_assert(value);
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
        g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(Found));
        each_node(*root_of(routes, families[i]), find_value, &(Search){value, found});
        for (guint j = 0; j < found->len; j++) {
            const Found *f = &g_array_index(found, Found, j);
            remove_key(routes, families[i], f->key, f->prefix, value);
        }
    }
}

void *ipop_routes_lookup(const IpopRoutes *routes, int family, const uint8_t *address) {
    unsigned width = width_of(family);
    Key key = key_of(address, width);
    const Node *node = routes->root[family == AF_INET6];
    void *best = NULL;
    while (node && key_common(key, node->key) >= node->prefix) {
        if (node->value)
            best = node->value;
        if (node->prefix == width)
            break;
        node = node->child[key_bit(key, node->prefix)];
    }
    return best;
}

size_t ipop_routes_count(const IpopRoutes *routes) {
    return routes->count;
}
