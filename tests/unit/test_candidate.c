/* test_candidate.c - what of a candidate is accepted, and that it survives the way through JSON. */
#include "tincan/ctl/candidate.h"

#include <glib.h>
#include <string.h>

#define UFRAG "abcd"
#define PWD "abcdefghijklmnopqrstuv"

static bool make(IpopCandidate *c, const char *ip) {
    return ipop_candidate_make(c, "host", "1", 100, ip, 4711, NULL, 0);
}

static void test_credentials(void) {
    g_autofree char *ufrag_max = g_strnfill(IPOP_ICE_UFRAG_MAX, 'a');
    g_autofree char *ufrag_long = g_strnfill(IPOP_ICE_UFRAG_MAX + 1, 'a');
    g_autofree char *pwd_max = g_strnfill(IPOP_ICE_PWD_MAX, '/');
    g_autofree char *pwd_long = g_strnfill(IPOP_ICE_PWD_MAX + 1, '+');

    g_assert_true(ipop_ice_credentials_valid(UFRAG, PWD));
    g_assert_true(ipop_ice_credentials_valid(ufrag_max, pwd_max));
    g_assert_false(ipop_ice_credentials_valid("abc", PWD));
    g_assert_false(ipop_ice_credentials_valid(UFRAG, "abcdefghijklmnopqrstu"));
    g_assert_false(ipop_ice_credentials_valid(ufrag_long, PWD));
    g_assert_false(ipop_ice_credentials_valid(UFRAG, pwd_long));
    g_assert_false(ipop_ice_credentials_valid("ab:d", PWD));
    g_assert_false(ipop_ice_credentials_valid("abc\xc3\xa9", PWD));
    g_assert_false(ipop_ice_credentials_valid(UFRAG, "abcdefghijklmnopqrstuv\n"));
    g_assert_false(ipop_ice_credentials_valid("", PWD));
    g_assert_false(ipop_ice_credentials_valid(NULL, PWD));
    g_assert_false(ipop_ice_credentials_valid(UFRAG, NULL));
}

static void test_types(void) {
    IpopCandidateType type;
    for (int i = IPOP_CANDIDATE_HOST; i <= IPOP_CANDIDATE_RELAY; i++) {
        g_assert_true(ipop_candidate_type_parse(ipop_candidate_type_name((IpopCandidateType)i), &type));
        g_assert_cmpint(type, ==, i);
    }
    g_assert_false(ipop_candidate_type_parse("Host", &type));
    g_assert_false(ipop_candidate_type_parse("", &type));
    g_assert_false(ipop_candidate_type_parse(NULL, &type));
}

static void test_addresses(void) {
    static const char *const good[] = {
        "192.0.2.1", "10.0.0.1", "169.254.3.4", "223.255.255.255", "2001:db8::1", "fd50::1", "64:ff9b::192.0.2.1",
    };
    static const char *const bad[] = {
        "",
        "example.org",
        "localhost",
        "a1b2c3d4.local",
        "192.0.2",
        "192.0.2.256",
        "0300.0.2.1",
        "0xc0000201",
        "3221225985",
        " 192.0.2.1",
        "192.0.2.1 ",
        "192.0.2.1:80",
        "[2001:db8::1]",
        "2001:db8::1%eth0",
        "2001:db8::1/64",
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "fe80::1",
        "febf::1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.1",
        "::192.0.2.1",
    };
    IpopCandidate c, before;

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
        if (!make(&c, good[i]))
            g_error("refused: %s", good[i]);
    memset(&before, 0x5a, sizeof before);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        c = before;
        if (make(&c, bad[i]))
            g_error("accepted: %s", bad[i]);
        g_assert_cmpmem(&c, sizeof c, &before, sizeof before);
    }
    g_assert_false(make(&c, NULL));
    g_assert_true(make(&c, "2001:DB8:0:0::1"));
    g_assert_cmpstr(c.ip, ==, "2001:db8::1");
}

static void test_fields(void) {
    IpopCandidate c;
    g_autofree char *longest = g_strnfill(IPOP_FOUNDATION_MAX, 'f');
    g_autofree char *too_long = g_strnfill(IPOP_FOUNDATION_MAX + 1, 'f');
#define MAKE(type, foundation, priority, port, rel_ip, rel_port) \
    ipop_candidate_make(&c, type, foundation, priority, "192.0.2.1", port, rel_ip, rel_port)

    g_assert_true(MAKE("srflx", longest, INT32_MAX, 65535, "10.0.0.1", 65535));
    g_assert_cmpint(c.type, ==, IPOP_CANDIDATE_SRFLX);
    g_assert_cmpstr(c.foundation, ==, longest);
    g_assert_cmpuint(c.priority, ==, INT32_MAX);
    g_assert_cmpuint(c.port, ==, 65535);
    g_assert_cmpstr(c.rel_ip, ==, "10.0.0.1");
    g_assert_cmpuint(c.rel_port, ==, 65535);
    g_assert_true(MAKE("relay", "1", 1, 1, "0.0.0.0", 0));
    g_assert_true(MAKE("prflx", "1", 1, 1, "", 77));
    g_assert_cmpstr(c.rel_ip, ==, "");
    g_assert_cmpuint(c.rel_port, ==, 0);

    g_assert_false(MAKE("tcp", "1", 1, 1, NULL, 0));
    g_assert_false(MAKE(NULL, "1", 1, 1, NULL, 0));
    g_assert_false(MAKE("host", "", 1, 1, NULL, 0));
    g_assert_false(MAKE("host", NULL, 1, 1, NULL, 0));
    g_assert_false(MAKE("host", too_long, 1, 1, NULL, 0));
    g_assert_false(MAKE("host", "a b", 1, 1, NULL, 0));
    g_assert_false(MAKE("host", "1", 0, 1, NULL, 0));
    g_assert_false(MAKE("host", "1", UINT64_C(1) << 31, 1, NULL, 0));
    g_assert_false(MAKE("host", "1", (UINT64_C(1) << 32) + 1, 1, NULL, 0));
    g_assert_false(MAKE("host", "1", 1, 0, NULL, 0));
    g_assert_false(MAKE("host", "1", 1, 65536, NULL, 0));
    g_assert_false(MAKE("host", "1", 1, (UINT64_C(1) << 32) + 1, NULL, 0));
    g_assert_false(MAKE("host", "1", 1, 1, "router.example", 1));
    g_assert_false(MAKE("host", "1", 1, 1, "10.0.0.1", 65536));
#undef MAKE
}

static void test_json_bad(void) {
    static const char *const bad[] = {
        "{}",
        "{'type':'host','foundation':'1','priority':1,'ip':'192.0.2.1'}",
        "{'type':'host','foundation':'1','priority':1,'ip':'192.0.2.1','port':'1'}",
        "{'type':'host','foundation':'1','priority':1,'ip':'192.0.2.1','port':1.0}",
        "{'type':'host','foundation':'1','priority':-1,'ip':'192.0.2.1','port':1}",
        "{'type':'host','foundation':1,'priority':1,'ip':'192.0.2.1','port':1}",
        "{'type':'host','foundation':'1','priority':1,'ip':'192.0.2.1','port':1,'rel_ip':7}",
        "{'type':'host','foundation':'1','priority':1,'ip':'192.0.2.1','port':1,'rel_ip':null}",
        "{'type':'host','foundation':'1','priority':1,'ip':'192.0.2.1','port':1,'rel_port':-1}",
    };
    IpopCandidate c;
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdelimit(g_strdup(bad[i]), "'", '"');
        json_t *object = json_loads(text, 0, NULL);
        g_assert_nonnull(object);
        if (ipop_candidate_from_json(object, &c))
            g_error("accepted: %s", text);
        json_decref(object);
    }
    json_t *array = json_array();
    g_assert_false(ipop_candidate_from_json(array, &c));
    g_assert_false(ipop_candidate_from_json(NULL, &c));
    json_decref(array);
}

/* from_json(to_json(x)) = x for whatever make() accepts. */
static void test_json_round(void) {
    for (unsigned i = 0; i < 2000; i++) {
        IpopCandidate a, b;
        g_autofree char *v4 = g_strdup_printf("%d.%d.%d.%d", g_test_rand_int_range(1, 224), g_test_rand_int_range(0, 256),
                                              g_test_rand_int_range(0, 256), g_test_rand_int_range(0, 256));
        g_autofree char *v6 = g_strdup_printf("2001:db8:%x::%x", g_test_rand_int_range(0, 65536),
                                              g_test_rand_int_range(0, 65536));
        const char *type = ipop_candidate_type_name((IpopCandidateType)g_test_rand_int_range(0, 4));
        if (!ipop_candidate_make(&a, type, "f/+9", (uint64_t)g_test_rand_int_range(1, INT32_MAX), i % 2 ? v4 : v6,
                                 (uint64_t)g_test_rand_int_range(1, 65536), i % 3 ? v6 : "",
                                 (uint64_t)g_test_rand_int_range(0, 65536))) {
            g_assert_true(g_str_has_prefix(v4, "127."));
            continue;
        }
        json_t *object = ipop_candidate_to_json(&a);
        g_assert_true(ipop_candidate_from_json(object, &b));
        g_assert_cmpmem(&a, sizeof a, &b, sizeof b);
        json_decref(object);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/candidate/credentials", test_credentials);
    g_test_add_func("/candidate/types", test_types);
    g_test_add_func("/candidate/addresses", test_addresses);
    g_test_add_func("/candidate/fields", test_fields);
    g_test_add_func("/candidate/json/bad", test_json_bad);
    g_test_add_func("/candidate/json/round-trip", test_json_round);
    return g_test_run();
}
