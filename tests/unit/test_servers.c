/* test_servers.c - which STUN server is chosen, what is believed, which TURN servers come out. */
#include "tincan/stun/servers.h"

#include "tests/unit/net.h"

static void assert_stun(const IpopServers *servers, const char *ip, uint16_t port) {
    char got[46];
    uint16_t got_port;
    g_assert_true(ipop_servers_stun(servers, got, &got_port));
    g_assert_cmpstr(got, ==, ip);
    g_assert_cmpuint(got_port, ==, port);
}

static bool chosen(const IpopServers *servers, const char *ip, uint16_t port) {
    char got[46];
    uint16_t got_port;
    return ipop_servers_stun(servers, got, &got_port) && strcmp(got, ip) == 0 && got_port == port;
}

static char *at(const char *ip, uint16_t port) {
    return g_strdup_printf("%s:%u", ip, port);
}

static void set_stun(IpopServers *servers, const char *a, const char *b) {
    const char *const stun[] = {a, b};
    ipop_servers_set(servers, &(IpopServerLists){.stun = stun, .n_stun = b ? 2 : a ? 1 : 0});
}

static void test_none(void) {
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    char ip[46];
    uint16_t port;
    g_assert_false(ipop_servers_stun(servers, ip, &port));
    set_stun(servers, NULL, NULL);
    g_assert_false(ipop_servers_stun(servers, ip, &port));
    g_assert_cmpint(ipop_servers_nat(servers).mapping, ==, IPOP_NAT_UNKNOWN);
    ipop_servers_refresh(servers);
    ipop_servers_free(servers);
    ipop_servers_free(NULL);
}

static void test_texts(void) {
    static const char *const good[][2] = {{"192.0.2.1", "192.0.2.1"},
                                          {"192.0.2.1:3478", "192.0.2.1"},
                                          {"[2001:db8::1]:3478", "2001:db8::1"},
                                          {"[2001:db8::1]", "2001:db8::1"}};
    static const char *const bad[] = {"",
                                      ":3478",
                                      "[]",
                                      "192.0.2.1:",
                                      "192.0.2.1:0",
                                      "192.0.2.1:65536",
                                      "192.0.2.1:x",
                                      "192.0.2.1:domain",
                                      "192.0.2.1:1:2",
                                      "192.0.2.1 :1",
                                      "2001:db8::1",
                                      "[2001:db8::1",
                                      "[2001:db8::1]1",
                                      "[localhost]:1",
                                      "[::1]]:1",
                                      "localhost/x"};
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    char ip[46];
    uint16_t port;
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        set_stun(servers, good[i][0], NULL);
        assert_stun(servers, good[i][1], 3478);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        set_stun(servers, bad[i], NULL);
        if (ipop_servers_stun(servers, ip, &port))
            g_error("accepted: %s", bad[i]);
    }
    ipop_servers_free(servers);
}

/* A silent one is given until another answers, wherever it stands in the list; then that one is. */
static void test_first_answer(void) {
    NetStun silent, good;
    net_stun_start(&silent, "10.99.0.1", NULL, 0);
    net_stun_start(&good, "10.99.0.2", NULL, 0);
    silent.mood = NET_STUN_SILENT;
    g_autofree char *a = at("10.99.0.1", silent.port), *b = at("10.99.0.2", good.port);
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    set_stun(servers, a, b);
    assert_stun(servers, "10.99.0.1", silent.port);
    NET_WAIT(chosen(servers, "10.99.0.2", good.port));
    g_assert_cmpuint(silent.asked, >=, 1);

    /* The other way round after a refresh: the newest answers count. */
    silent.mood = NET_STUN_GOOD;
    good.mood = NET_STUN_SILENT;
    ipop_servers_refresh(servers);
    assert_stun(servers, "10.99.0.2", good.port);
    NET_WAIT(chosen(servers, "10.99.0.1", silent.port));
    ipop_servers_free(servers);
    net_stun_stop(&silent);
    net_stun_stop(&good);
}

/* Three questions, then the socket is closed and nobody is bothered any more. */
static void test_gives_up(void) {
    NetStun silent;
    net_stun_start(&silent, "10.99.0.1", NULL, 0);
    silent.mood = NET_STUN_SILENT;
    g_autofree char *a = at("10.99.0.1", silent.port);
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    unsigned before = net_count_fds();
    set_stun(servers, a, NULL);
    g_assert_cmpuint(net_count_fds(), ==, before + 1);
    NET_WAIT(net_count_fds() == before);
    g_assert_cmpuint(silent.asked, ==, 3);
    ipop_servers_free(servers);
    net_stun_stop(&silent);
}

/* None of these is an answer, so the one behind them is chosen, and no third host is asked. */
static void test_false_answers(void) {
    static const NetStunMood moods[] = {NET_STUN_OTHER_SOCKET, NET_STUN_OTHER_TRANSACTION, NET_STUN_REDIRECTS};
    for (unsigned i = 0; i < G_N_ELEMENTS(moods); i++) {
        NetStun liar, good, third;
        net_stun_start(&third, "10.99.0.3", NULL, 0);
        net_stun_start(&liar, "10.99.0.1", "10.99.0.3", moods[i] == NET_STUN_REDIRECTS ? third.port : 0);
        net_stun_start(&good, "10.99.0.2", NULL, 0);
        liar.mood = moods[i];
        good.mood = NET_STUN_SILENT;
        g_autofree char *a = at("10.99.0.1", liar.port), *b = at("10.99.0.2", good.port);
        IpopServers *servers = ipop_servers_new(NULL, NULL);
        set_stun(servers, a, b);
        NET_WAIT(liar.asked >= 2);
        good.mood = NET_STUN_GOOD;
        NET_WAIT(chosen(servers, "10.99.0.2", good.port));
        g_assert_cmpuint(third.asked, ==, 0);
        g_assert_cmpint(ipop_servers_nat(servers).mapping, ==, IPOP_NAT_UNKNOWN);
        ipop_servers_free(servers);
        net_stun_stop(&liar);
        net_stun_stop(&good);
        net_stun_stop(&third);
    }
}

static void test_mapping(void) {
    static const struct {
        const char *first_ip, *second_ip;
        uint16_t first_claim, second_claim;
        IpopNatMapping expected;
    } cases[] = {
        {"10.99.0.1", "10.99.0.2", 0, 0, IPOP_NAT_INDEPENDENT},
        {"10.99.0.1", "10.99.0.2", 1000, 1001, IPOP_NAT_DEPENDENT},
        {"10.99.0.1", "10.99.0.1", 0, 0, IPOP_NAT_UNKNOWN},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        NetStun one, two;
        net_stun_start(&one, cases[i].first_ip, NULL, cases[i].first_claim);
        net_stun_start(&two, cases[i].second_ip, NULL, cases[i].second_claim);
        g_autofree char *a = at(cases[i].first_ip, one.port), *b = at(cases[i].second_ip, two.port);
        IpopServers *servers = ipop_servers_new(NULL, NULL);
        unsigned before = net_count_fds();
        set_stun(servers, a, b);
        NET_WAIT(net_count_fds() == before); /* the round is over */
        g_assert_cmpuint(one.asked + two.asked, ==, 2);
        g_assert_cmpint(ipop_servers_nat(servers).mapping, ==, cases[i].expected);
        ipop_servers_free(servers);
        net_stun_stop(&one);
        net_stun_stop(&two);
    }
}

/* Who gets in: the server's answers from other places do, do not, or are not given. */
static void test_filter(void) {
    enum { LOST, SAME, OTHER };
    static const struct {
        int port, ip;
        IpopNatFilter expected;
    } cases[] = {{OTHER, OTHER, IPOP_NAT_FILTER_NONE},
                 {OTHER, LOST, IPOP_NAT_FILTER_ADDRESS},
                 {LOST, LOST, IPOP_NAT_FILTER_PORT},
                 {SAME, SAME, IPOP_NAT_FILTER_UNKNOWN}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        NetStun one, port, ip;
        net_stun_start(&one, "10.99.0.1", "10.99.0.1", 0); /* the host's own address: no NAT */
        net_stun_start(&port, "10.99.0.1", NULL, 0);
        net_stun_start(&ip, "10.99.0.2", NULL, 0);
        one.two = true;
        one.other_port_fd = (int[]){-1, one.fd, port.fd}[cases[i].port];
        one.other_ip_fd = (int[]){-1, one.fd, ip.fd}[cases[i].ip];
        g_autofree char *a = at("10.99.0.1", one.port);
        IpopServers *servers = ipop_servers_new(NULL, NULL);
        set_stun(servers, a, NULL);
        NET_WAIT(ipop_servers_settled(servers));
        g_assert_cmpint(ipop_servers_nat(servers).mapping, ==, IPOP_NAT_NONE);
        g_assert_cmpint(ipop_servers_nat(servers).filter, ==, cases[i].expected);
        g_assert_cmpstr(ipop_servers_outside(servers), ==, "10.99.0.1");
        ipop_servers_free(servers);
        g_assert_cmpuint(port.asked + ip.asked, ==, 0);
        net_stun_stop(&one);
        net_stun_stop(&port);
        net_stun_stop(&ip);
    }
}

typedef struct {
    unsigned servers, nats;
    char *text; /* of the last one */
    IpopServerVerdict verdict;
    IpopNat nat;
} Told;

static void on_server(void *user, const IpopServerStatus *status) {
    Told *told = user;
    told->servers++;
    told->verdict = status->verdict;
    g_free(told->text);
    told->text = g_strdup(status->text);
}

static void on_nat(void *user, IpopNat nat) {
    Told *told = user;
    told->nats++;
    told->nat = nat;
}

/* What is wrong is told once, with its cause, and again when it is well. */
static void test_verdicts(void) {
    static const IpopServersEvents events = {on_server, on_nat};
    NetStun stun;
    Told told = {0};
    IpopServerStatus status;
    net_stun_start(&stun, "10.99.0.1", NULL, 0);
    stun.mood = NET_STUN_SILENT;
    g_autofree char *a = at("10.99.0.1", stun.port);
    IpopServers *servers = ipop_servers_new(&events, &told);
    set_stun(servers, a, NULL);
    g_assert_false(ipop_servers_settled(servers));
    g_assert_true(ipop_servers_status(servers, 0, &status));
    g_assert_cmpint(status.verdict, ==, IPOP_SERVER_UNKNOWN);
    for (unsigned round = 0; round < 2; round++) {
        NET_WAIT(ipop_servers_settled(servers));
        g_assert_cmpuint(told.servers, ==, 1);
        g_assert_cmpint(told.verdict, ==, IPOP_SERVER_BAD);
        g_assert_nonnull(strstr(told.text, "does not answer"));
        g_assert_cmpint(told.nat.mapping, ==, IPOP_NAT_BLOCKED);
        stun.mood = round ? NET_STUN_GOOD : NET_STUN_SILENT;
        ipop_servers_refresh(servers);
    }
    NET_WAIT(ipop_servers_settled(servers));
    g_assert_cmpuint(told.servers, ==, 2);
    g_assert_cmpint(told.verdict, ==, IPOP_SERVER_GOOD);
    g_assert_cmpuint(told.nats, ==, 2); /* one server alone can't tell the mapping */
    g_assert_cmpint(told.nat.mapping, ==, IPOP_NAT_UNKNOWN);

    set_stun(servers, "nowhere.invalid", NULL);
    g_assert_true(ipop_servers_resolving(servers));
    g_assert_true(ipop_servers_choosing(servers));
    NET_WAIT(ipop_servers_settled(servers));
    g_assert_false(ipop_servers_resolving(servers));
    g_assert_cmpint(told.verdict, ==, IPOP_SERVER_BAD);
    g_assert_nonnull(strstr(told.text, "can't be resolved"));
    g_assert_false(ipop_servers_status(servers, 1, &status));
    ipop_servers_free(servers);
    g_free(told.text);
    net_stun_stop(&stun);
}

static void test_name(void) {
    NetStun stun;
    net_stun_start(&stun, "127.0.0.1", NULL, 0);
    g_autofree char *name = at("localhost", stun.port);
    const char *const list[] = {name};
    const IpopTurnServer turn[] = {{"localhost:99", "u", "p", IPOP_TURN_TCP}};
    char ip[46];
    uint16_t port;
    const char *user, *pass;
    IpopTurnTransport transport;

    IpopServers *servers = ipop_servers_new(NULL, NULL);
    ipop_servers_set(servers, &(IpopServerLists){.stun = list, .n_stun = 1, .turn = turn, .n_turn = 1});
    g_assert_false(ipop_servers_stun(servers, ip, &port));
    g_assert_false(ipop_servers_turn(servers, 0, ip, &port, &user, &pass, &transport));
    NET_WAIT(chosen(servers, "127.0.0.1", stun.port) && stun.asked > 0);
    NET_WAIT(ipop_servers_turn(servers, 0, ip, &port, &user, &pass, &transport));
    g_assert_cmpstr(ip, ==, "127.0.0.1");
    g_assert_cmpuint(port, ==, 99);

    /* With other credentials the address is still known at once. */
    const IpopTurnServer changed[] = {{"localhost:99", "u2", "p2", IPOP_TURN_TCP}};
    ipop_servers_set(servers, &(IpopServerLists){.stun = list, .n_stun = 1, .turn = changed, .n_turn = 1});
    assert_stun(servers, "127.0.0.1", stun.port);
    g_assert_true(ipop_servers_turn(servers, 0, ip, &port, &user, &pass, &transport));
    g_assert_cmpstr(user, ==, "u2");
    g_assert_cmpstr(pass, ==, "p2");

    /* Freed with lookups under way. */
    ipop_servers_refresh(servers);
    ipop_servers_free(servers);
    net_stun_stop(&stun);
}

static void test_turn(void) {
    const IpopTurnServer turn[] = {
        {"[2001:db8::1]:5349", "six", "p6", IPOP_TURN_UDP},
        {"bad:port:here]", "bad", "bad", IPOP_TURN_UDP},
        {"192.0.2.1", "four", "p4", IPOP_TURN_TCP},
    };
    char ip[46];
    uint16_t port;
    const char *user, *pass;
    IpopTurnTransport transport;
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    ipop_servers_set(servers, &(IpopServerLists){.turn = turn, .n_turn = G_N_ELEMENTS(turn)});
    g_assert_true(ipop_servers_turn(servers, 0, ip, &port, &user, &pass, &transport));
    g_assert_cmpstr(ip, ==, "192.0.2.1");
    g_assert_cmpuint(port, ==, 3478);
    g_assert_cmpstr(user, ==, "four");
    g_assert_cmpstr(pass, ==, "p4");
    g_assert_cmpint(transport, ==, IPOP_TURN_TCP);
    g_assert_true(ipop_servers_turn(servers, 1, ip, &port, &user, &pass, &transport));
    g_assert_cmpstr(ip, ==, "2001:db8::1");
    g_assert_cmpuint(port, ==, 5349);
    g_assert_cmpint(transport, ==, IPOP_TURN_UDP);
    g_assert_false(ipop_servers_turn(servers, 2, ip, &port, &user, &pass, &transport));
    ipop_servers_free(servers);
}

/* What the Jabber server offers may be a lie: this host is not made to talk to itself. */
static void test_offered(void) {
    NetStun stun, other;
    net_stun_start(&stun, "127.0.0.1", NULL, 0);
    net_stun_start(&other, "127.0.0.1", NULL, 0);
    g_autofree char *name = at("localhost", stun.port), *numeric = at("127.0.0.1", other.port);
    const char *const list[] = {name, numeric, "[::1]:3478", "[::ffff:127.0.0.1]:3478",
                                "0.0.0.0", "224.0.0.1", "[fe80::1]", "169.254.169.254"};
    const IpopTurnServer turn[] = {{name, "u", "p", IPOP_TURN_TCP}, {numeric, "u", "p", IPOP_TURN_UDP}};
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    IpopServerStatus status;
    unsigned n = 0;

    /* That it was configured before does not help. */
    set_stun(servers, name, NULL);
    NET_WAIT(chosen(servers, "127.0.0.1", stun.port));
    ipop_servers_set(servers, &(IpopServerLists){list, G_N_ELEMENTS(list), true, turn, G_N_ELEMENTS(turn), true});
    NET_WAIT(ipop_servers_settled(servers));
    for (; ipop_servers_status(servers, n, &status); n++) {
        g_assert_cmpint(status.verdict, ==, IPOP_SERVER_BAD);
        g_assert_nonnull(strstr(status.text, "the Jabber server offers it"));
    }
    g_assert_cmpuint(n, ==, G_N_ELEMENTS(list) + G_N_ELEMENTS(turn));
    g_assert_cmpuint(other.asked, ==, 0);
    g_assert_false(ipop_servers_stun(servers, (char[46]){0}, &(uint16_t){0}));
    ipop_servers_free(servers);
    net_stun_stop(&stun);
    net_stun_stop(&other);
}

static void test_bounded(void) {
    const char *stun[IPOP_SERVERS_MAX + 5];
    IpopTurnServer turn[IPOP_SERVERS_MAX + 5];
    char ip[46];
    uint16_t port;
    const char *user, *pass;
    IpopTurnTransport transport;
    for (unsigned i = 0; i < G_N_ELEMENTS(stun); i++) {
        stun[i] = "192.0.2.1";
        turn[i] = (IpopTurnServer){"192.0.2.1", "u", "p", IPOP_TURN_UDP};
    }
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    ipop_servers_set(servers, &(IpopServerLists){.stun = stun, .n_stun = G_N_ELEMENTS(stun), .turn = turn,
                                                 .n_turn = G_N_ELEMENTS(turn)});
    g_assert_true(ipop_servers_turn(servers, IPOP_SERVERS_MAX - 1, ip, &port, &user, &pass, &transport));
    g_assert_false(ipop_servers_turn(servers, IPOP_SERVERS_MAX, ip, &port, &user, &pass, &transport));
    ipop_servers_free(servers);
}

int main(int argc, char **argv) {
    g_setenv("RES_OPTIONS", "timeout:1 attempts:1", TRUE); /* nobody answers for names here */
    g_test_init(&argc, &argv, NULL);
    if (!net_enter()) {
        g_print("1..0 # SKIP a network namespace needs root\n");
        return 0;
    }
    g_test_add_func("/servers/none", test_none);
    g_test_add_func("/servers/texts", test_texts);
    g_test_add_func("/servers/first-answer", test_first_answer);
    g_test_add_func("/servers/gives-up", test_gives_up);
    g_test_add_func("/servers/false-answers", test_false_answers);
    g_test_add_func("/servers/nat-mapping", test_mapping);
    g_test_add_func("/servers/nat-filter", test_filter);
    g_test_add_func("/servers/verdicts", test_verdicts);
    g_test_add_func("/servers/name", test_name);
    g_test_add_func("/servers/turn", test_turn);
    g_test_add_func("/servers/offered", test_offered);
    g_test_add_func("/servers/bounded", test_bounded);
    return g_test_run();
}
