#include "tests/unit/twin.h"

#include "tincan/base/clock.h"
#include "tincan/base/secret.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIMIT_US (20 * G_USEC_PER_SEC)

/* --- the transport's twin --- */

typedef struct {
    IpopTransport base;
    TwinNode *node;
    unsigned number;
    const IpopTransportEvents *events;
    void *user;
} TwinTransport;

typedef struct {
    IpopPath base;
    Twin *twin;
    int from;
    unsigned number;
} TwinPath;

typedef struct {
    Twin *twin;
    int from;
    unsigned number;
    size_t n;
    uint8_t bytes[];
} Datagram;

/* Of one side, newest first: the n-th of each side belong together. */
static GList *transports[2];

static TwinTransport *find_transport(int side, unsigned number) {
    for (GList *link = transports[side]; link; link = link->next)
        if (((TwinTransport *)link->data)->number == number)
            return link->data;
    return NULL;
}

static gboolean deliver(gpointer data) {
    Datagram *datagram = data;
    Twin *twin = datagram->twin;
    TwinTransport *to = find_transport(!datagram->from, datagram->number);
    if (to && to->number > twin->cut &&
        (!twin->wire || twin->wire(twin, datagram->from, datagram->bytes, datagram->n))) {
        twin->passed[datagram->from]++;
        to->events->receive(to->user, datagram->bytes, datagram->n);
    }
    return G_SOURCE_REMOVE;
}

static unsigned path_send(IpopPath *path, const uint8_t *train, size_t n, size_t segment) {
    TwinPath *self = (TwinPath *)path;
    unsigned count = 0;
    for (size_t at = 0; at < n; at += segment, count++) {
        size_t size = MIN(segment, n - at);
        Datagram *copy = g_malloc(sizeof *copy + size);
        *copy = (Datagram){self->twin, self->from, self->number, size};
        memcpy(copy->bytes, train + at, size);
        g_idle_add_full(G_PRIORITY_DEFAULT, deliver, copy, g_free);
    }
    return count;
}

static void path_release(IpopPath *path) {
    ((TwinPath *)path)->twin->paths--;
    g_free(path);
}

static gboolean introduce(gpointer data) {
    TwinTransport *self = data;
    TwinPath *path = g_new0(TwinPath, 1);
    path->base = (IpopPath){.refs = 1,
                            .fd = -1,
                            .burst = IPOP_TRAIN_SEGMENTS,
                            .around = self->node->twin->around,
                            .send = path_send,
                            .release = path_release};
    path->twin = self->node->twin;
    path->from = self->node->side;
    path->number = self->number;
    path->twin->paths++;
    IpopCandidateType type = path->twin->relayed ? IPOP_CANDIDATE_RELAY : IPOP_CANDIDATE_HOST;
    IpopPathInfo info = {type, IPOP_CANDIDATE_HOST, "192.0.2.1:1", "192.0.2.2:2", path->twin->relayed};
    self->events->state(self->user, IPOP_TRANSPORT_CONNECTED, NULL);
    self->events->path(self->user, &path->base, &info);
    ipop_path_unref(&path->base);
    return G_SOURCE_REMOVE;
}

static void set_remote(IpopTransport *transport, const char *ufrag, const char *pwd) {
    TwinTransport *self = (TwinTransport *)transport;
    g_idle_add(introduce, self);
}

static void add_candidates(IpopTransport *transport, const IpopCandidate *candidates, unsigned n, bool end) {
}

static void close_transport(IpopTransport *transport) {
    TwinTransport *self = (TwinTransport *)transport;
    while (g_idle_remove_by_data(self))
        ;
    transports[self->node->side] = g_list_remove(transports[self->node->side], self);
    self->node->twin->transports--;
    g_free(self);
}

static IpopTransport *transport_new(void *data, bool controlling, const IpopTransportEvents *events, void *user,
                                    GError **error) {
    static const IpopTransportOps ops = {set_remote, add_candidates, close_transport};
    TwinNode *node = data;
    TwinTransport *self = g_new0(TwinTransport, 1);
    self->base.ops = &ops;
    self->node = node;
    self->events = events;
    self->user = user;
    self->number = ++node->transports;
    transports[node->side] = g_list_prepend(transports[node->side], self);
    node->twin->transports++;
    return &self->base;
}

/* --- a node --- */

static char *explain(void *peer, const IpopAttempt *attempt) {
    return g_strdup("no answer");
}

static uint32_t index_new(void *data) {
    TwinNode *node = data;
    return ++node->next_index + (uint32_t)node->side * 1000;
}

static void index_free(void *data, uint32_t index) {
}

static void changed(void *data) {
    ((TwinNode *)data)->changes++;
}

static void doubt(void *data) {
    ((TwinNode *)data)->doubts++;
}

static void candidates(void *data, uint32_t generation, const char *ufrag, const char *pwd, const IpopCandidate *list,
                       unsigned n, bool end) {
}

static void confirmed(void *data, uint32_t index) {
    ipop_link_confirmed(((TwinNode *)data)->link, index);
}

static void released(void *data, uint32_t index) {
}

static void pong(void *data, int64_t rtt) {
    ipop_link_pong(((TwinNode *)data)->link);
}

static void roamed(void *data, const char *remote) {
    ipop_link_roamed(((TwinNode *)data)->link, remote);
}

static void bye(void *data) {
    ipop_link_bye(((TwinNode *)data)->link);
}

static void mtu(void *data, unsigned size, bool hole) {
    TwinNode *node = data;
    node->mtu = size;
    node->holes += hole;
    ipop_tunnel_mtu_told(node->tunnel_peer, size, hole);
}

static void handshake(void *data, IpopPath *path, const uint8_t *message, size_t n) {
    ipop_link_handshake(((TwinNode *)data)->link, path, message, n);
}

/* How many data threads a node has. */
static unsigned threads(void) {
    const char *number = g_getenv("IPOP_TWIN_THREADS");
    return number ? (unsigned)g_ascii_strtoull(number, NULL, 10) : 1;
}

static void node_start(TwinNode *node, const uint8_t peer_key[static IPOP_KEY_BYTES], bool vnet) {
    static const IpopTunnelEvents events = {confirmed, released, pong, roamed, bye, mtu, handshake};
    int pair[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), ==, 0);
    node->tun = pair[0];
    node->tun_inner = pair[1];
    node->tunnel = ipop_tunnel_new(&(IpopTunnelDevice){.fd = {node->tun_inner}, .queues = 1, .vnet = vnet, .join_udp = vnet}, threads(),
                                   &events, node, NULL);
    g_assert_nonnull(node->tunnel);
    node->bystander = ipop_tunnel_add_peer(node->tunnel, NULL);
    node->env = (IpopLinkEnv){
        .node = node,
        .identity = node->identity,
        .psk = node->psk,
        .jar = ipop_cookie_jar_new(node->identity->public_key),
        .index_new = index_new,
        .index_free = index_free,
        .transport_new = transport_new,
        .changed = changed,
        .explain = explain,
        .doubt = doubt,
        .candidates = candidates,
    };
    node->tunnel_peer = ipop_tunnel_add_peer(node->tunnel, node);
    g_autofree char *ip4 = g_strdup_printf("10.0.0.%d", 2 - node->side);
    g_autofree char *ip6 = g_strdup_printf("fd00::%d", 2 - node->side);
    ipop_tunnel_set_addresses(node->tunnel_peer, ip4, ip6);
    node->link = ipop_link_new(&node->env, node->tunnel_peer, peer_key, node);
}

static Twin *make(bool vnet) {
    Twin *twin = g_new0(Twin, 1);
    for (int side = 0; side < 2; side++) {
        uint8_t secret[IPOP_KEY_BYTES];
        memset(secret, 0x10 + side, sizeof secret);
        twin->node[side].twin = twin;
        twin->node[side].side = side;
        twin->node[side].identity = ipop_identity_from_secret(secret);
    }
    for (int side = 0; side < 2; side++)
        node_start(&twin->node[side], twin->node[!side].identity->public_key, vnet);
    return twin;
}

Twin *twin_new(void) {
    return make(false);
}

Twin *twin_new_vnet(void) {
    return make(true);
}

void twin_free(Twin *twin) {
    for (int side = 0; side < 2; side++) {
        TwinNode *node = &twin->node[side];
        ipop_link_free(node->link);
        ipop_tunnel_remove_peer(node->tunnel_peer);
        ipop_tunnel_remove_peer(node->bystander);
    }
    for (int side = 0; side < 2; side++) {
        TwinNode *node = &twin->node[side];
        ipop_tunnel_free(node->tunnel);
        ipop_cookie_jar_free(node->env.jar);
        ipop_identity_free(node->identity);
        close(node->tun);
        close(node->tun_inner);
    }
    g_assert_cmpuint(twin->transports, ==, 0);
    g_assert_cmpuint(twin->paths, ==, 0);
    g_free(twin);
}

void twin_connect(Twin *twin, uint32_t generation) {
    for (int side = 0; side < 2; side++)
        g_assert_true(ipop_link_create(twin->node[side].link, generation, side == 0, NULL));
    for (int side = 0; side < 2; side++)
        g_assert_true(ipop_link_set_remote(twin->node[side].link, generation, "ufrag", "pwd", NULL, 0, true));
}

void twin_select(Twin *twin) {
    for (int side = 0; side < 2; side++)
        g_idle_add(introduce, transports[side]->data);
}

/* --- waiting --- */

static gboolean tick(gpointer data) {
    return G_SOURCE_CONTINUE; /* only to let the loop turn */
}

static void iterate_until(bool (*done)(void *data), void *data) {
    gint64 limit = g_get_monotonic_time() + LIMIT_US;
    guint source = g_timeout_add(10, tick, NULL);
    while (!done(data)) {
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
        g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(source);
}

typedef struct {
    Twin *twin;
    IpopLinkState state[2];
} WantedStates;

static bool states_reached(void *data) {
    WantedStates *wanted = data;
    return ipop_link_state(wanted->twin->node[0].link) == wanted->state[0] &&
           ipop_link_state(wanted->twin->node[1].link) == wanted->state[1];
}

void twin_wait(Twin *twin, IpopLinkState a, IpopLinkState b) {
    iterate_until(states_reached, &(WantedStates){twin, {a, b}});
}

typedef struct {
    Twin *twin;
    unsigned n;
} WantedPaths;

static bool paths_reached(void *data) {
    WantedPaths *wanted = data;
    return wanted->twin->paths == wanted->n;
}

void twin_wait_paths(Twin *twin, unsigned n) {
    iterate_until(paths_reached, &(WantedPaths){twin, n});
}

typedef struct {
    const atomic_uint_least64_t *counter;
    uint64_t n;
} WantedCount;

static bool count_reached(void *data) {
    WantedCount *wanted = data;
    return atomic_load(wanted->counter) >= wanted->n;
}

void twin_wait_count(const atomic_uint_least64_t *counter, uint64_t n) {
    iterate_until(count_reached, &(WantedCount){counter, n});
}

/* --- packets --- */

void twin_write_packet(TwinNode *node, unsigned from, unsigned to, const char *payload) {
    uint8_t packet[1500] = {0x45, [8] = 64, 17, [12] = 10, 0, 0, (uint8_t)from, 10, 0, 0, (uint8_t)to};
    size_t n = 28 + strlen(payload);
    packet[2] = (uint8_t)(n >> 8);
    packet[3] = (uint8_t)n;
    memcpy(packet + 28, payload, n - 28);
    g_assert_cmpint(write(node->tun, packet, n), ==, n);
}

static bool readable(void *data) {
    return !twin_silent(data);
}

char *twin_read_payload(TwinNode *node) {
    uint8_t packet[1500];
    iterate_until(readable, node);
    ssize_t n = read(node->tun, packet, sizeof packet);
    g_assert_cmpint(n, >=, 28);
    return g_strndup((char *)packet + 28, (size_t)n - 28);
}

bool twin_silent(const TwinNode *node) {
    struct pollfd fd = {node->tun, POLLIN, 0};
    return poll(&fd, 1, 0) == 0;
}
