/* test_ice.c - two transports in one process find each other over a device in a namespace of their own. */
#include "tincan/link/ice.h"

#include "tests/unit/net.h"

#include <linux/filter.h>
#include <string.h>
#include <sys/resource.h>

#define DATA 0xf1

typedef struct Side Side;

struct Side {
    IpopTransport *transport;
    Side *peer;
    IpopServers *servers;
    IpopPath *path;
    guint watch; /* of the path's own socket */
    IpopPathInfo info;
    char *ufrag, *pwd;
    IpopCandidate seen[IPOP_CANDIDATES_MAX];
    unsigned batches, n_seen, received, paths;
    unsigned count[4];
    bool mute;     /* its candidates don't reach the peer */
    bool ended;
    bool calling;  /* inside a call into the transport: no event may come */
    bool close_in_candidates, close_in_state, close_in_path, close_in_receive;
    IpopTransportState state;
    char *why;
};

static void side_close(Side *side) {
    g_clear_handle_id(&side->watch, g_source_remove);
    if (!side->transport)
        return;
    side->transport->ops->close(side->transport);
    side->transport = NULL;
}

static void side_set_remote(Side *side, const char *ufrag, const char *pwd) {
    side->calling = true;
    side->transport->ops->set_remote(side->transport, ufrag, pwd);
    side->calling = false;
}

static void side_add(Side *side, const IpopCandidate *candidates, unsigned n, bool end) {
    side->calling = true;
    side->transport->ops->add_candidates(side->transport, candidates, n, end);
    side->calling = false;
}

static void on_candidates(void *user, const char *ufrag, const char *pwd, const IpopCandidate *candidates, unsigned n,
                          bool end) {
    Side *side = user;
    g_assert_true(side->transport && !side->calling);
    g_assert_true(ipop_ice_credentials_valid(ufrag, pwd));
    g_assert_true(!side->ufrag || (strcmp(side->ufrag, ufrag) == 0 && strcmp(side->pwd, pwd) == 0));
    g_assert_false(side->ended);
    g_assert_true(n > 0 || end);
    if (!side->ufrag) {
        side->ufrag = g_strdup(ufrag);
        side->pwd = g_strdup(pwd);
    }
    for (unsigned i = 0; i < n; i++) {
        side->seen[side->n_seen++] = candidates[i];
        side->count[candidates[i].type]++;
    }
    side->batches++;
    side->ended = end;
    if (side->peer && side->peer->transport && !side->mute) {
        side_set_remote(side->peer, ufrag, pwd);
        side_add(side->peer, candidates, n, end);
    }
    if (side->close_in_candidates)
        side_close(side);
}

static void on_state(void *user, IpopTransportState state, const char *why) {
    Side *side = user;
    g_assert_true(side->transport && !side->calling);
    g_assert_cmpint(state, !=, side->state);
    g_assert_true(!why || state == IPOP_TRANSPORT_FAILED);
    side->state = state;
    g_free(side->why);
    side->why = g_strdup(why);
    if (side->close_in_state)
        side_close(side);
}

static void on_seen(void *user, IpopPath *path) {
}

static void on_receive(void *user, uint8_t *datagram, size_t n) {
    Side *side = user;
    g_assert_true(side->transport && !side->calling);
    g_assert_cmpuint(n, >, 0);
    g_assert_cmpuint(datagram[0], ==, DATA);
    memset(datagram, 0, n);
    side->received++;
    if (side->close_in_receive)
        side_close(side);
}

/* What the data thread does for a path with a socket of its own. */
static gboolean on_readable(int fd, GIOCondition condition, gpointer user) {
    uint8_t train[65536];
    size_t segment;
    ssize_t n = net_receive(fd, train, sizeof train, &segment);
    for (size_t at = 0; n > 0 && at < (size_t)n; at += segment)
        on_receive(user, train + at, MIN(segment, (size_t)n - at));
    return G_SOURCE_CONTINUE;
}

static void on_path(void *user, IpopPath *path, const IpopPathInfo *info) {
    Side *side = user;
    g_assert_true(side->transport && !side->calling);
    g_clear_handle_id(&side->watch, g_source_remove);
    ipop_path_unref(side->path);
    side->path = ipop_path_ref(path);
    side->info = *info;
    side->paths++;
    if (path->fd >= 0)
        side->watch = g_unix_fd_add(path->fd, G_IO_IN, on_readable, side);
    if (side->close_in_path)
        side_close(side);
}

static const IpopTransportEvents events = {on_candidates, on_state, on_path, on_seen, on_receive};

static void side_open(Side *side, IpopServers *servers, bool controlling, const char *address, const char *second) {
    const char *addresses[] = {address, second, NULL};
    const IpopIceConfig config = {controlling, (char **)addresses, servers, NULL};
    g_autoptr(GError) error = NULL;
    *side = (Side){.servers = servers};
    side->calling = true;
    side->transport = ipop_ice_new(&config, &events, side, &error);
    side->calling = false;
    g_assert_no_error(error);
    g_assert_nonnull(side->transport);
}

static void side_clear(Side *side) {
    side_close(side);
    ipop_path_unref(side->path);
    g_free(side->ufrag);
    g_free(side->pwd);
    g_free(side->why);
}

static void pair_open(Side *a, Side *b, IpopServers *servers) {
    side_open(a, servers, true, "10.99.0.1", NULL);
    side_open(b, servers, false, "10.99.0.2", NULL);
    a->peer = b;
    b->peer = a;
}

static bool pair_connected(const Side *a, const Side *b) {
    return a->path && b->path && a->state == IPOP_TRANSPORT_CONNECTED && b->state == IPOP_TRANSPORT_CONNECTED;
}

static unsigned fds_at_rest;

/* What is closing needs some turns of the main loop. */
static void wait_until_gone(void) {
    NET_WAIT(net_count_fds() <= fds_at_rest);
    g_assert_cmpuint(net_count_fds(), ==, fds_at_rest);
}

/* Every test of data runs twice: with our own socket, and where there is none, since no descriptor was left for it. */
static void pair_connect(Side *a, Side *b, IpopServers *servers, bool own_socket) {
    struct rlimit all, none;
    wait_until_gone(); /* nothing may be closed, and its number be free again, while none is to be had */
    pair_open(a, b, servers);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &all), ==, 0);
    int next = dup(1);
    close(next);
    none = (struct rlimit){(rlim_t)next, all.rlim_max};
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, own_socket ? &all : &none), ==, 0);
    NET_WAIT(pair_connected(a, b));
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &all), ==, 0);
    g_assert_true((a->path->fd >= 0) == own_socket && (b->path->fd >= 0) == own_socket);
}

/* As it is before our own socket is there: everything comes to the negotiator's. */
static void steer_to_negotiator(const Side *side) {
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {G_N_ELEMENTS(code), code};
    if (side->path->fd >= 0)
        g_assert_cmpint(
            setsockopt(side->path->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program), ==, 0);
}

static unsigned send_one(IpopPath *path, uint8_t first, size_t n) {
    g_autofree uint8_t *datagram = g_malloc0(n);
    datagram[0] = first;
    return path->send(path, datagram, n, n);
}

static void test_connect(void) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    Side a, b;
    pair_open(&a, &b, servers);
    g_assert_cmpuint(a.batches, ==, 0);
    NET_WAIT(pair_connected(&a, &b));
    NET_WAIT(a.ended && b.ended);
    g_assert_cmpuint(a.n_seen, ==, 1);
    g_assert_cmpstr(a.seen[0].ip, ==, "10.99.0.1");
    g_assert_cmpint(a.seen[0].type, ==, IPOP_CANDIDATE_HOST);
    g_assert_cmpint(a.info.local_type, ==, IPOP_CANDIDATE_HOST);
    g_assert_false(a.info.relayed);
    g_autofree char *local = g_strdup_printf("10.99.0.1:%u", a.seen[0].port);
    g_assert_cmpstr(a.info.local_addr, ==, local);
    g_assert_cmpstr(b.info.remote_addr, ==, local);
    side_clear(&a);
    side_clear(&b);
    wait_until_gone();
    ipop_servers_free(servers);
}

static void test_ipv6(void) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    Side a, b;
    side_open(&a, servers, true, "2001:db8:99::1", NULL);
    side_open(&b, servers, false, "2001:db8:99::2", NULL);
    a.peer = &b;
    b.peer = &a;
    NET_WAIT(pair_connected(&a, &b));
    g_assert_true(g_str_has_prefix(a.info.local_addr, "[2001:db8:99::1]:"));
    g_assert_cmpint(send_one(a.path, DATA, 1300), ==, 1);
    NET_WAIT(b.received == 1);
    side_clear(&a);
    side_clear(&b);
    wait_until_gone();
    ipop_servers_free(servers);
}

typedef struct {
    IpopPath *path;
    unsigned taken;
    atomic_bool done;
} Sender;

#define DATAGRAMS 150 /* several trains, fewer than fill the socket's buffer */
#define TRAIN 50

static gpointer send_many(gpointer data) {
    Sender *sender = data;
    uint8_t train[TRAIN * 100];
    memset(train, DATA, sizeof train);
    for (unsigned i = 0; i < DATAGRAMS / TRAIN; i++)
        sender->taken += sender->path->send(sender->path, train, sizeof train, 100);
    ipop_path_unref(sender->path);
    atomic_store(&sender->done, true);
    g_main_context_wakeup(NULL);
    return NULL;
}

/* Both ways at once, each from a thread of its own, as the data thread does. */
static void test_threads(gconstpointer own_socket) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    Side a, b;
    pair_connect(&a, &b, servers, own_socket);
    Sender sender[2] = {{ipop_path_ref(a.path)}, {ipop_path_ref(b.path)}};
    GThread *thread[2];
    for (unsigned i = 0; i < 2; i++)
        thread[i] = g_thread_new("sender", send_many, &sender[i]);
    NET_WAIT(sender[0].done && sender[1].done);
    for (unsigned i = 0; i < 2; i++)
        g_thread_join(thread[i]);
    g_assert_cmpuint(sender[0].taken, ==, DATAGRAMS);
    g_assert_cmpuint(sender[1].taken, ==, DATAGRAMS);
    NET_WAIT(a.received == DATAGRAMS && b.received == DATAGRAMS);
    side_clear(&a);
    side_clear(&b);
    wait_until_gone();
    ipop_servers_free(servers);
}

/* What isn't ours is not passed on; what is too long for a datagram spoils nothing behind it. */
static void test_datagrams(gconstpointer own_socket) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    Side a, b;
    uint8_t *huge = g_malloc0(70001);
    pair_connect(&a, &b, servers, own_socket);
    g_assert_cmpuint(send_one(a.path, 0x00, 40), ==, 1);
    g_assert_cmpuint(send_one(a.path, 0x4f, 40), ==, 1);
    huge[0] = huge[70000] = DATA;
    g_assert_cmpuint(a.path->send(a.path, huge, 70000, 70000), ==, 0);
    g_assert_cmpuint(send_one(a.path, DATA, 40), ==, 1);
    NET_WAIT(b.received == 1);
    /* The negotiator's socket can tell what is too long from what is to come. */
    if (!own_socket)
        g_assert_cmpuint(a.path->send(a.path, huge, 70001, 70000), ==, 1);
    steer_to_negotiator(&b);
    g_assert_cmpuint(send_one(a.path, 0x00, 40), ==, 1);
    g_assert_cmpuint(send_one(a.path, 0x7f, 40), ==, 1);
    g_assert_cmpuint(send_one(a.path, DATA, 40), ==, 1);
    NET_WAIT(b.received == (own_socket ? 2 : 3));
    g_free(huge);
    side_clear(&a);
    side_clear(&b);
    wait_until_gone();
    ipop_servers_free(servers);
}

/* Paths may be used as long as they are held, and only they keep anything open. */
static void test_send_after_close(gconstpointer own_socket) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    Side a, b;
    pair_connect(&a, &b, servers, own_socket);
    side_close(&a);
    send_one(a.path, DATA, 100);
    side_close(&b);
    unsigned held = own_socket ? 2 : 0; /* descriptors of a path */
    NET_WAIT(net_count_fds() <= fds_at_rest + 2 * held);
    Sender sender = {ipop_path_ref(a.path)};
    GThread *thread = g_thread_new("sender", send_many, &sender);
    NET_WAIT(sender.done);
    g_thread_join(thread);
    g_assert_cmpuint(sender.taken, ==, own_socket ? DATAGRAMS : 0);
    side_clear(&a);
    NET_WAIT(net_count_fds() <= fds_at_rest + held);
    side_clear(&b);
    wait_until_gone();
    ipop_servers_free(servers);
}

typedef struct {
    IpopPath *path;
    atomic_bool stop;
} Stream;

static gpointer send_on(gpointer data) {
    Stream *stream = data;
    while (!atomic_load(&stream->stop))
        send_one(stream->path, DATA, 1000);
    ipop_path_unref(stream->path);
    return NULL;
}

/* The last reference may be the data thread's, given up at any moment of the closing. */
static void test_close_while_sending(gconstpointer own_socket) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    for (unsigned i = 0; i < 20; i++) {
        Side a, b;
        pair_connect(&a, &b, servers, own_socket);
        Stream stream = {ipop_path_ref(a.path)};
        GThread *thread = g_thread_new("sender", send_on, &stream);
        NET_WAIT(b.received > 10);
        side_clear(&a);
        for (unsigned turns = 0; turns < i; turns++)
            g_main_context_iteration(NULL, FALSE);
        atomic_store(&stream.stop, true);
        g_thread_join(thread);
        side_clear(&b);
    }
    wait_until_gone();
    ipop_servers_free(servers);
}

/* From inside every event, and before any: nothing comes afterwards (the callbacks check), and nothing stays behind. */
static void test_close_anywhere(void) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    for (unsigned when = 0; when < 5; when++) {
        Side a, b;
        pair_open(&a, &b, servers);
        a.close_in_candidates = when == 1;
        a.close_in_state = when == 2;
        a.close_in_path = when == 3;
        a.close_in_receive = when == 4;
        if (when == 0)
            side_close(&a);
        if (when == 4) {
            NET_WAIT(pair_connected(&a, &b));
            steer_to_negotiator(&a);
            g_assert_cmpuint(send_one(b.path, DATA, 10), ==, 1);
            g_assert_cmpuint(send_one(b.path, DATA, 10), ==, 1);
        }
        NET_WAIT(!a.transport);
        side_clear(&b);
        side_clear(&a);
        wait_until_gone();
        g_assert_cmpuint(a.received, <=, 1);
    }
    ipop_servers_free(servers);
}

/* The peer's candidates may come before its credentials, several times, and in any number. */
static void test_early_candidates(void) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    Side a, b;
    pair_open(&a, &b, servers);
    a.mute = b.mute = true;
    NET_WAIT(a.ended && b.ended);

    side_add(&a, b.seen, b.n_seen, true);
    side_set_remote(&a, "bad", "bad");
    side_set_remote(&a, b.ufrag, b.pwd);
    side_set_remote(&a, b.ufrag, b.pwd);
    side_set_remote(&a, "other", "otherotherotherotherother");
    side_add(&a, b.seen, b.n_seen, true);

    /* Repeats take no room: the good one still finds its place as the last of 32. */
    IpopCandidate far;
    side_set_remote(&b, a.ufrag, a.pwd);
    for (unsigned i = 1; i <= 4 * (IPOP_CANDIDATES_MAX - 1); i++) {
        g_assert_true(ipop_candidate_make(&far, "host", "9", 1, "198.51.100.1", (i - 1) % 31 + 1, NULL, 0));
        side_add(&b, &far, 1, false);
    }
    side_add(&b, a.seen, a.n_seen, false);
    for (unsigned port = 1000; port < 1100; port++) {
        g_assert_true(ipop_candidate_make(&far, "relay", "8", 1, "198.51.100.2", port, NULL, 0));
        side_add(&b, &far, 1, port == 1099);
    }
    NET_WAIT(pair_connected(&a, &b));
    side_clear(&a);
    side_clear(&b);
    wait_until_gone();
    ipop_servers_free(servers);
}

static void test_no_address(void) {
    static char *const lists[][3] = {{NULL}, {"fe80::1", NULL}, {"example.org", "", NULL}, {"192.0.2.77", NULL}};
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        Side side = {0};
        g_autoptr(GError) error = NULL;
        const IpopIceConfig config = {true, (char **)lists[i], servers, NULL};
        g_assert_null(ipop_ice_new(&config, &events, &side, &error));
        g_assert_nonnull(error);
        g_assert_null(strchr(error->message, '\n'));
    }
    wait_until_gone();
    ipop_servers_free(servers);
}

/* A dead TURN server, over UDP and TCP, must not cost the STUN server's answer; the end comes after the relays. */
static void test_dead_turn(void) {
    NetStun stun;
    net_stun_start(&stun, "10.99.0.3", "198.51.100.7", 0);
    g_autofree char *stun_text = g_strdup_printf("10.99.0.3:%u", stun.port);
    const char *const stuns[] = {stun_text};
    const IpopTurnServer turns[] = {{"10.99.0.4:9", "u", "p", IPOP_TURN_TCP},
                                    {"10.99.0.4:9", "u", "p", IPOP_TURN_UDP},
                                    {"[2001:db8:99::2]:9", "u", "p", IPOP_TURN_UDP},
                                    {"10.99.0.99:9", "u", "p", IPOP_TURN_UDP}};
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    ipop_servers_set(servers, &(IpopServerLists){.stun = stuns, .n_stun = 1, .turn = turns, .n_turn = G_N_ELEMENTS(turns)});
    Side side;
    side_open(&side, servers, true, "10.99.0.1", "2001:db8:99::1");
    NET_WAIT(side.n_seen == 3);
    g_assert_cmpuint(side.count[IPOP_CANDIDATE_HOST], ==, 2);
    g_assert_cmpuint(side.count[IPOP_CANDIDATE_SRFLX], ==, 1);
    g_assert_cmpuint(side.batches, ==, 2);
    g_assert_cmpstr(side.seen[2].ip, ==, "198.51.100.7");
    g_assert_cmpstr(side.seen[2].rel_ip, ==, "10.99.0.1");
    g_assert_false(side.ended);
    NET_WAIT(side.ended);
    side_clear(&side);
    net_stun_stop(&stun);
    wait_until_gone();
    ipop_servers_free(servers);
}

/* A TURN server over UDP for the user u with the password p. It still holds what somebody had from the second port that asks. */
typedef struct {
    int fd;
    guint source;
    uint16_t port, asked_by[8];
    unsigned n;
} Turn;

static unsigned turn_number(Turn *turn, uint16_t port) {
    for (unsigned i = 0; i < turn->n; i++)
        if (turn->asked_by[i] == port)
            return i;
    g_assert_cmpuint(turn->n, <, G_N_ELEMENTS(turn->asked_by));
    turn->asked_by[turn->n] = port;
    return turn->n++;
}

static size_t turn_answer(Turn *turn, StunAgent *agent, StunMessage *in, bool known, const struct sockaddr_in *from,
                          uint8_t *buffer, size_t size) {
    StunMessage out;
    struct sockaddr_in relay = {.sin_family = AF_INET, .sin_port = htons(9999), .sin_addr.s_addr = htonl(0xcb007109)};
    if (!known || turn_number(turn, from->sin_port) == 1) {
        stun_agent_init_error(agent, &out, buffer, size, in, known ? STUN_ERROR_ALLOCATION_MISMATCH : STUN_ERROR_UNAUTHORIZED);
        stun_message_append_string(&out, STUN_ATTRIBUTE_REALM, "lab");
        stun_message_append_string(&out, STUN_ATTRIBUTE_NONCE, "nonce");
    } else {
        stun_agent_init_response(agent, &out, buffer, size, in);
        stun_message_append_xor_addr(&out, STUN_ATTRIBUTE_XOR_RELAYED_ADDRESS, (struct sockaddr_storage *)&relay, sizeof relay);
        stun_message_append_xor_addr(&out, STUN_ATTRIBUTE_XOR_MAPPED_ADDRESS, (struct sockaddr_storage *)from, sizeof *from);
        stun_message_append32(&out, STUN_ATTRIBUTE_LIFETIME, 600);
    }
    return stun_agent_finish_message(agent, &out, NULL, 0);
}

static gboolean turn_readable(int fd, GIOCondition condition, gpointer data) {
    StunDefaultValidaterData users[] = {{(uint8_t *)"u", 1, (uint8_t *)"p", 1}, {NULL, 0, NULL, 0}};
    uint8_t request[1500], answer[1500];
    struct sockaddr_in from;
    socklen_t from_size = sizeof from;
    StunAgent agent;
    StunMessage in;
    stun_agent_init(&agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389, STUN_AGENT_USAGE_LONG_TERM_CREDENTIALS);
    ssize_t n = recvfrom(fd, request, sizeof request, 0, (struct sockaddr *)&from, &from_size);
    StunValidationStatus status = stun_agent_validate(&agent, &in, request, (size_t)n, stun_agent_default_validater, users);
    if (status != STUN_VALIDATION_SUCCESS && status != STUN_VALIDATION_UNAUTHORIZED &&
        status != STUN_VALIDATION_UNAUTHORIZED_BAD_REQUEST)
        return G_SOURCE_CONTINUE;
    size_t size = turn_answer(data, &agent, &in, status == STUN_VALIDATION_SUCCESS, &from, answer, sizeof answer);
    g_assert_cmpint(sendto(fd, answer, size, 0, (struct sockaddr *)&from, from_size), ==, size);
    return G_SOURCE_CONTINUE;
}

static void turn_start(Turn *turn, const char *ip) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    *turn = (Turn){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    g_assert_cmpint(inet_pton(AF_INET, ip, &address.sin_addr), ==, 1);
    g_assert_cmpint(bind(turn->fd, (struct sockaddr *)&address, size), ==, 0);
    g_assert_cmpint(getsockname(turn->fd, (struct sockaddr *)&address, &size), ==, 0);
    turn->port = ntohs(address.sin_port);
    turn->source = g_unix_fd_add(turn->fd, G_IO_IN, turn_readable, turn);
}

/* What a killed process left at the server keeps it from us (437): other ports get a relay, with the same credentials. */
static void test_other_ports(void) {
    Turn turn;
    turn_start(&turn, "10.99.0.4");
    g_autofree char *text = g_strdup_printf("10.99.0.4:%u", turn.port);
    const IpopTurnServer turns[] = {{text, (char *)"u", (char *)"p", IPOP_TURN_UDP}};
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    ipop_servers_set(servers, &(IpopServerLists){.turn = turns, .n_turn = 1});
    NET_WAIT(ipop_servers_settled(servers)); /* that was the first port, and a good one */
    g_assert_cmpuint(turn.n, ==, 1);
    Side side;
    side_open(&side, servers, true, "10.99.0.1", NULL);
    NET_WAIT(side.ended);
    g_assert_cmpuint(turn.n, ==, 3);
    g_assert_cmpuint(side.count[IPOP_CANDIDATE_HOST], ==, 2);
    g_assert_cmpuint(side.count[IPOP_CANDIDATE_RELAY], ==, 1);
    side_clear(&side);
    ipop_servers_free(servers);
    g_source_remove(turn.source);
    close(turn.fd);
    wait_until_gone();
}

/* A server that says we are at a place where nobody can be is not believed. */
static void test_lying_stun(void) {
    NetStun stun;
    net_stun_start(&stun, "10.99.0.3", "127.0.0.1", 0);
    g_autofree char *stun_text = g_strdup_printf("10.99.0.3:%u", stun.port);
    const char *const stuns[] = {stun_text};
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    ipop_servers_set(servers, &(IpopServerLists){.stun = stuns, .n_stun = 1});
    Side side;
    side_open(&side, servers, true, "10.99.0.1", NULL);
    NET_WAIT(side.ended);
    g_assert_cmpuint(stun.asked, >=, 2);
    g_assert_cmpuint(side.n_seen, ==, 1);
    side_clear(&side);
    net_stun_stop(&stun);
    wait_until_gone();
    ipop_servers_free(servers);
}

/* Side by side, since libnice takes its time to be sure. */
static void test_reasons(void) {
    static const char *const reasons[] = {
        NULL, /* told from the attempt */
        "this host has IPv4 addresses only and the peer IPv6 ones only",
        "no candidates came from the peer",
    };
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    Side side[G_N_ELEMENTS(reasons)], a, b;
    IpopCandidate c;
    pair_open(&a, &b, servers);
    NET_WAIT(pair_connected(&a, &b));
    side_clear(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(reasons); i++) {
        side_open(&side[i], servers, true, "10.99.0.1", NULL);
        side_set_remote(&side[i], "abcd", "abcdefghijklmnopqrstuv");
    }
    g_assert_true(ipop_candidate_make(&c, "host", "1", 100, "10.99.0.77", 7, NULL, 0));
    side_add(&side[0], &c, 1, true);
    g_assert_true(ipop_candidate_make(&c, "host", "1", 100, "2001:db8:99::2", 7, NULL, 0));
    side_add(&side[1], &c, 1, true);
    side_add(&side[2], NULL, 0, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(reasons); i++) {
        NET_WAIT(side[i].state == IPOP_TRANSPORT_FAILED);
        g_assert_cmpstr(side[i].why, ==, reasons[i]);
        side_clear(&side[i]);
    }
    NET_WAIT(a.state == IPOP_TRANSPORT_FAILED);
    g_assert_cmpstr(a.why, ==, "the peer stopped answering the checks of a path that had worked");
    side_clear(&a);
    wait_until_gone();
    ipop_servers_free(servers);
}

/* Links come and go for months: nothing may stay behind. */
static void test_cycles(void) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    for (unsigned i = 0; i < 200; i++) {
        Side a, b;
        pair_open(&a, &b, servers);
        NET_WAIT(pair_connected(&a, &b));
        g_assert_cmpuint(send_one(a.path, DATA, 100), ==, 1);
        g_assert_cmpuint(send_one(b.path, DATA, 100), ==, 1);
        NET_WAIT(a.received == 1 && b.received == 1);
        side_clear(&a);
        side_clear(&b);
    }
    wait_until_gone();
    ipop_servers_free(servers);
}

static void add_both(const char *name, GTestDataFunc test) {
    g_autofree char *own = g_strconcat("/ice/", name, "/own-socket", NULL);
    g_autofree char *negotiator = g_strconcat("/ice/", name, "/negotiator", NULL);
    g_test_add_data_func(own, "yes", test);
    g_test_add_data_func(negotiator, NULL, test);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    if (!net_enter()) {
        g_print("1..0 # SKIP a network namespace needs root\n");
        return 0;
    }
    fds_at_rest = net_count_fds();
    g_test_add_func("/ice/connect", test_connect);
    g_test_add_func("/ice/ipv6", test_ipv6);
    add_both("threads", test_threads);
    add_both("datagrams", test_datagrams);
    add_both("send-after-close", test_send_after_close);
    add_both("close-while-sending", test_close_while_sending);
    g_test_add_func("/ice/close-anywhere", test_close_anywhere);
    g_test_add_func("/ice/early-candidates", test_early_candidates);
    g_test_add_func("/ice/no-address", test_no_address);
    g_test_add_func("/ice/dead-turn", test_dead_turn);
    g_test_add_func("/ice/other-ports", test_other_ports);
    g_test_add_func("/ice/lying-stun", test_lying_stun);
    g_test_add_func("/ice/reasons", test_reasons);
    g_test_add_func("/ice/cycles", test_cycles);
    return g_test_run();
}
