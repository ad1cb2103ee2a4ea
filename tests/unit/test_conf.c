/* config.json: what is right comes out as said in the table, what is wrong is named in one line. */
#include "controller/conf/conf.h"
#include "controller/conf/value.h"
#include "tincan/base/error.h"
#include "tincan/base/log.h"
#include "tincan/base/secret.h"

#include <glib/gstdio.h>
#include <pty.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define USER "\"xmpp_username\": \"user@example.org\""
#define UID_A "00112233445566778899aabbccddeeff00112233"
#define UID_B "ffeeddccbbaa99887766554433221100ffeeddcc"

static IpopConf *good(const char *text, const char *overlay) {
    GError *error = NULL;
    IpopConf *conf = ipop_conf_parse(text, text ? strlen(text) : 0, "config.json", overlay, &error);
    g_assert_no_error(error);
    g_assert_nonnull(conf);
    return conf;
}

/* The error must be this one line. */
static void bad(const char *text, const char *overlay, const char *message) {
    GError *error = NULL;
    IpopConf *conf = ipop_conf_parse(text, text ? strlen(text) : 0, "config.json", overlay, &error);
    g_assert_null(conf);
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG);
    g_assert_cmpstr(error->message, ==, message);
    g_error_free(error);
}

/* One key's value is wrong; want is what the error says is right, found what it was. */
static void bad_key(const char *key, const char *value, const char *want, const char *found) {
    g_autofree char *text = strcmp(key, "xmpp_username") == 0 ? g_strdup_printf("{\"%s\": %s}", key, value)
                                                              : g_strdup_printf("{" USER ", \"%s\": %s}", key, value);
    g_autofree char *message = g_strdup_printf("config.json: \"%s\" must be %s, not %s", key, want, found);
    bad(text, NULL, message);
}

static IpopConf *good_key(const char *key, const char *value) {
    g_autofree char *text = g_strdup_printf("{" USER ", \"%s\": %s}", key, value);
    return good(text, NULL);
}

static void test_defaults(void) {
    IpopConf *conf = good("{" USER "}", NULL);
    g_assert_cmpstr(conf->xmpp_username, ==, "user@example.org");
    g_assert_null(conf->xmpp_password);
    g_assert_null(conf->xmpp_password_file);
    g_assert_null(conf->xmpp_host);
    g_assert_null(conf->xmpp_cafile);
    g_assert_cmpuint(conf->xmpp_port, ==, 5222);
    g_assert_false(conf->xmpp_port_given);
    g_assert_cmpstr(conf->ip4, ==, "");
    g_assert_cmpuint(conf->ip4_mask, ==, 24);
    g_assert_cmpstr(conf->ip4_network, ==, "172.31.0.0");
    g_assert_cmpuint(conf->ip4_network_prefix, ==, 16);
    g_assert_cmpstr(conf->ip6_prefix, ==, "fd50:dbc:41f2:4a3c::");
    g_assert_cmpuint(conf->ip6_mask, ==, 64);
    g_assert_false(conf->stun_given);
    g_assert_false(conf->turn_given);
    g_assert_cmpuint(conf->n_stun + conf->n_turn + conf->n_peers, ==, 0);
    g_assert_true(ipop_name_valid(conf->name));
    g_assert_false(conf->name_given);
    g_assert_false(conf->trust_pinned);
    g_assert_null(conf->psk);
    g_assert_cmpuint(conf->tincan_logging, ==, 1);
    g_assert_cmpint(conf->controller_logging, ==, IPOP_LOG_INFO);
    g_assert_false(conf->on_demand_connection);
    g_assert_cmpuint(conf->on_demand_inactive_timeout, ==, 600);
    g_assert_null(conf->network_ignore_list[0]);
    g_assert_false(conf->switchmode);
    g_assert_cmpuint(conf->svpn_port, ==, 5800);
    g_assert_cmpuint(conf->contr_port, ==, 5801);
    g_assert_cmpuint(conf->wait_time, ==, 15);
    g_assert_cmpuint(conf->mtu, ==, 0);
    g_assert_null(conf->warnings[0]);
    ipop_conf_free(conf);
    ipop_conf_free(NULL);
}

static void test_everything(void) {
    IpopConf *conf = good("{" USER ", \"xmpp_password\": \"s3cret\", \"xmpp_password_file\": \"/etc/ipop/pw\","
                          "\"xmpp_host\": \"192.0.2.1\", \"xmpp_port\": 443, \"xmpp_cafile\": \"/ca.pem\","
                          "\"ip4\": \"172.31.5.9\", \"ip4_mask\": 16, \"ip4_network\": \"10.7.0.0/20\","
                          "\"ip6_prefix\": \"fd00:1:2:3\", \"ip6_mask\": 48,"
                          "\"stun\": [\"stun.example.org\", \"[2001:db8::1]:5000\", \"192.0.2.3:3479\"],"
                          "\"turn\": [{\"server\": \"turn.example.org\", \"user\": \"u\", \"pass\": \"p\"},"
                          "{\"server\": \"[::2]\", \"user\": \"u2\", \"pass\": \"p2\", \"transport\": \"tcp\"}],"
                          "\"name\": \"laid over\", \"peers\": [],"
                          "\"trust\": \"pinned\", \"psk\": \"correct horse\", \"tincan_logging\": 3,"
                          "\"controller_logging\": \"DEBUG\", \"on-demand_connection\": false,"
                          "\"network_ignore_list\": [\"docker0\", \"virbr0\"], \"switchmode\": 0, \"svpn_port\": 5900,"
                          "\"contr_port\": 5901, \"wait_time\": 3600, \"mtu\": 1280}",
                          "{\"name\": \"Zoë\", \"peers\": [{\"uid\": \"" UID_A "\", \"name\": \"bob\", \"ip4\": "
                          "\"172.31.5.10\"}, {\"uid\": \"" UID_B "\"}]}");
    g_assert_cmpstr(conf->xmpp_password, ==, "s3cret");
    g_assert_cmpstr(conf->xmpp_password_file, ==, "/etc/ipop/pw");
    g_assert_cmpstr(conf->xmpp_host, ==, "192.0.2.1");
    g_assert_cmpuint(conf->xmpp_port, ==, 443);
    g_assert_true(conf->xmpp_port_given);
    g_assert_cmpstr(conf->ip4, ==, "172.31.5.9");
    g_assert_cmpuint(conf->ip4_mask, ==, 16);
    g_assert_cmpstr(conf->ip4_network, ==, "10.7.0.0");
    g_assert_cmpuint(conf->ip4_network_prefix, ==, 20);
    g_assert_cmpstr(conf->ip6_prefix, ==, "fd00:1:2:3::");
    g_assert_cmpuint(conf->ip6_mask, ==, 48);
    g_assert_cmpuint(conf->n_stun, ==, 3);
    g_assert_cmpstr(conf->stun[0], ==, "stun.example.org:3478");
    g_assert_cmpstr(conf->stun[1], ==, "[2001:db8::1]:5000");
    g_assert_cmpstr(conf->stun[2], ==, "192.0.2.3:3479");
    g_assert_cmpuint(conf->n_turn, ==, 2);
    g_assert_cmpstr(conf->turn[0].server, ==, "turn.example.org:3478");
    g_assert_false(conf->turn[0].tcp);
    g_assert_cmpstr(conf->turn[1].server, ==, "[::2]:3478");
    g_assert_cmpstr(conf->turn[1].user, ==, "u2");
    g_assert_cmpstr(conf->turn[1].pass, ==, "p2");
    g_assert_true(conf->turn[1].tcp);
    g_assert_cmpstr(conf->name, ==, "Zoë");
    g_assert_true(conf->name_given);
    g_assert_cmpuint(conf->n_peers, ==, 2);
    g_assert_cmpstr(conf->peers[0].name, ==, "bob");
    g_assert_cmpstr(conf->peers[0].uid.hex, ==, UID_A);
    g_assert_cmpstr(conf->peers[0].ip4, ==, "172.31.5.10");
    g_assert_null(conf->peers[1].name);
    g_assert_cmpstr(conf->peers[1].ip4, ==, "");
    g_assert_true(conf->trust_pinned);
    g_assert_nonnull(conf->psk);
    g_assert_cmpint(conf->controller_logging, ==, IPOP_LOG_DEBUG);
    g_assert_cmpstr(conf->network_ignore_list[1], ==, "virbr0");
    g_assert_null(conf->network_ignore_list[2]);
    g_assert_cmpuint(conf->mtu, ==, 1280);
    g_assert_null(conf->warnings[0]);
    ipop_conf_free(conf);
}

/* Each integer key at its edges: the table's ranges. */
static void test_integers(void) {
    static const struct {
        const char *key;
        int min, max;
    } cases[] = {{"xmpp_port", 1, 65535},      {"ip4_mask", 8, 30},
                 {"ip6_mask", 16, 64},         {"tincan_logging", 0, 3},
                 {"svpn_port", 1, 65535},      {"contr_port", 1, 65535},
                 {"wait_time", 1, 3600},       {"mtu", 1280, 9000},
                 {"on-demand_inactive_timeout", 1, 86400}, {"switchmode", 0, 1}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *key = cases[i].key;
        g_autofree char *want = g_strdup_printf("an integer from %d to %d", cases[i].min, cases[i].max);
        g_autofree char *below = g_strdup_printf("%d", cases[i].min - 1), *above = g_strdup_printf("%d", cases[i].max + 1);
        g_autofree char *min = g_strdup_printf("%d", cases[i].min), *max = g_strdup_printf("%d", cases[i].max);
        g_autofree char *quoted = g_strdup_printf("\"%d\"", cases[i].min);
        ipop_conf_free(good_key(key, min));
        ipop_conf_free(good_key(key, max));
        bad_key(key, below, want, below);
        bad_key(key, above, want, above);
        bad_key(key, quoted, want, quoted);
        bad_key(key, "9223372036854775807", want, "9223372036854775807");
        bad_key(key, "4294967297", want, "4294967297");
        bad_key(key, "1.0", want, "1.0");
        bad_key(key, "true", want, "true");
        bad_key(key, "null", want, "null");
        bad_key(key, "[8]", want, "an array of 1");
        bad_key(key, "{}", want, "an object");
    }
}

static void test_strings(void) {
    const char *jid = "a bare JID such as \"user@example.org\"";
    static const char *const bad_jids[] = {"\"user\"", "\"@example.org\"", "\"user@\"", "\"user@example.org/phone\"",
                                           "\"a b@example.org\"", "\"a@b@example.org\"", "\"user@exa mple.org\"", "\"\"",
                                           "\"user@example..org\"", "\"<x>@example.org\"", "5", "\"user@300.1.2.3\""};
    for (size_t i = 0; i < G_N_ELEMENTS(bad_jids); i++)
        bad_key("xmpp_username", bad_jids[i], jid, bad_jids[i]);

    const char *host = "a host name or address without a port (that is \"xmpp_port\")";
    bad_key("xmpp_host", "\"example.org:5222\"", host, "\"example.org:5222\"");
    bad_key("xmpp_host", "\"\"", host, "\"\"");
    bad_key("xmpp_host", "\"192.0.2\"", host, "\"192.0.2\"");
    ipop_conf_free(good_key("xmpp_host", "\"2001:db8::5\""));

    const char *bytes = "a string of 1 to 1023 bytes without control characters";
    bad_key("xmpp_password", "12345", bytes, "an integer");
    bad_key("xmpp_password", "\"\"", bytes, "a string of 0 bytes");
    bad_key("xmpp_password", "\"a\\nb\"", bytes, "a string of 3 bytes");
    bad_key("psk", "\"1234567\"", "a string of 8 to 1024 bytes", "a string of 7 bytes");
    bad_key("xmpp_cafile", "\"\"", "the path of a file", "\"\"");
    bad_key("trust", "\"never\"", "\"first-use\" or \"pinned\"", "\"never\"");
    bad_key("trust", "true", "\"first-use\" or \"pinned\"", "true");
    bad_key("controller_logging", "\"info\"", "\"DEBUG\", \"INFO\", \"WARNING\", \"ERROR\" or \"CRITICAL\"", "\"info\"");
    bad_key("on-demand_connection", "1", "true or false", "1");
    bad_key("name", "\"a/b\"", "a name of 1 to 63 bytes without any of <>&\"'/\\ and without spaces at its ends",
            "\"a/b\"");
    /* A long value is cut, and nothing in it can break the line. */
    g_autofree char *text = g_strdup_printf("\"\\u001b\u202e%0100d\"", 0);
    g_autofree char *found = g_strdup_printf("\"\\u001B?%052d...", 0);
    bad_key("xmpp_host", text, host, found);
}

static void test_addresses(void) {
    const char *form = "the IPv4 address of a host such as \"172.31.0.5\"";
    static const char *const bad_ip4[] = {"\"172.31.0\"", "\"172.31.0.256\"", "\"127.0.0.1\"", "\"224.0.0.1\"",
                                          "\"0.1.2.3\"", "\"255.255.255.255\"", "\"172.31.0.1/24\"", "\"fd00::1\"", "7"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad_ip4); i++)
        bad_key("ip4", bad_ip4[i], form, bad_ip4[i]);
    bad("{" USER ", \"ip4\": \"172.31.0.255\"}", NULL,
        "config.json: \"ip4\" must be the address of a host, but 172.31.0.255 is the first or last one of its network "
        "(\"ip4_mask\" 24): take one in between");
    bad("{" USER ", \"ip4\": \"172.31.0.4\", \"ip4_mask\": 30}", NULL,
        "config.json: \"ip4\" must be the address of a host, but 172.31.0.4 is the first or last one of its network "
        "(\"ip4_mask\" 30): take one in between");
    ipop_conf_free(good("{" USER ", \"ip4\": \"172.31.0.255\", \"ip4_mask\": 16}", NULL));

    const char *network = "a network such as \"172.31.0.0/16\", with a prefix from 8 to 30 and no bits behind it";
    static const char *const bad_networks[] = {"\"172.31.0.0\"", "\"172.31.0.1/16\"", "\"10.0.0.0/7\"", "\"10.0.0.0/31\"",
                                               "\"10.0.0.0/ 8\"", "\"127.0.0.0/8\"", "\"/8\"", "\"0010.0.0.0.0.0.0/8\""};
    for (size_t i = 0; i < G_N_ELEMENTS(bad_networks); i++)
        bad_key("ip4_network", bad_networks[i], network, bad_networks[i]);

    const char *prefix = "four groups of hex digits such as \"fd50:0dbc:41f2:4a3c\"";
    static const char *const bad_prefixes[] = {"\"fd50:0dbc:41f2\"", "\"fd50:0dbc:41f2:4a3c::/64\"", "\"fd50::1\"",
                                               "\"fe80::\"", "\"ff02::\"", "\"::\"", "\"fd50:0dbc:41f2:4a3c:1\"",
                                               "\"fd50:0dbc:41f2:4a3g\"", "\"10.0.0.0\"", "64"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad_prefixes); i++)
        bad_key("ip6_prefix", bad_prefixes[i], prefix, bad_prefixes[i]);
    IpopConf *conf = good_key("ip6_prefix", "\"FD50:0DBC:41f2:4a3c::\"");
    g_assert_cmpstr(conf->ip6_prefix, ==, "fd50:dbc:41f2:4a3c::");
    ipop_conf_free(conf);
}

static void test_servers(void) {
    const char *stun = "an array of at most 8 strings \"host:port\" or \"[IPv6]:port\"";
    bad_key("stun", "\"stun.example.org\"", stun, "\"stun.example.org\"");
    bad_key("stun", "[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]", stun, "an array of 9");
    static const char *const wrong[] = {"\"\"", "\":3478\"", "\"a:\"", "\"a:0\"", "\"a:65536\"", "\"2001:db8::1\"",
                                        "\"[2001:db8::1\"", "\"[a]:5\"", "\"[::1]x\"", "\"a b:5\"", "\"stun:a:5\"", "3478"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *text = g_strdup_printf("{" USER ", \"stun\": [\"a\", %s]}", wrong[i]);
        g_autofree char *message = g_strdup_printf("config.json: \"stun\"[1] must be \"host:port\" or \"[IPv6]:port\", not %s",
                                                   wrong[i]);
        bad(text, NULL, message);
    }
    IpopConf *conf = good_key("stun", "[]");
    g_assert_true(conf->stun_given);
    g_assert_cmpuint(conf->n_stun, ==, 0);
    ipop_conf_free(conf);

    bad("{" USER ", \"turn\": [\"turn.example.org\"]}", NULL,
        "config.json: \"turn\"[0] must be an object with \"server\", \"user\" and \"pass\", not a string of 16 bytes");
    bad("{" USER ", \"turn\": [{\"server\": \"a\", \"user\": \"u\"}]}", NULL,
        "config.json: \"turn\"[0].\"pass\" is missing; it must be a string");
    bad("{" USER ", \"turn\": [{\"server\": \"a\", \"user\": \"u\", \"pass\": 4711}]}", NULL,
        "config.json: \"turn\"[0].\"pass\" must be a string of 1 to 508 bytes without control characters, not an integer");
    bad("{" USER ", \"turn\": [{\"server\": \"a\", \"user\": \"u\", \"pass\": \"p\", \"transport\": \"tls\"}]}", NULL,
        "config.json: \"turn\"[0].\"transport\" must be \"udp\" or \"tcp\", not \"tls\"");
    bad("{" USER ", \"turn\": [{\"server\": \"a:b\", \"user\": \"u\", \"pass\": \"p\"}]}", NULL,
        "config.json: \"turn\"[0].\"server\" must be \"host:port\" or \"[IPv6]:port\", not \"a:b\"");
    bad_key("turn", "{\"pass\": \"p\"}", "an array of at most 8 objects with \"server\", \"user\" and \"pass\"", "an object");
    conf = good_key("turn", "[{\"server\": \"a\", \"user\": \"u\", \"pass\": \"p\", \"username\": \"x\"}]");
    g_assert_cmpstr(conf->warnings[0], ==,
                    "config.json: \"turn\"[0]: unknown key \"username\" is ignored; the nearest known one is \"user\"");
    ipop_conf_free(conf);
}

static void test_lists(void) {
    bad("{" USER ", \"peers\": [{\"uid\": \"" UID_A "\"}, {\"uid\": \"00112233445566778899AABBCCDDEEFF00112233\"}]}", NULL,
        "config.json: \"peers\"[1].\"uid\" must be another than that of an earlier entry, not "
        "\"00112233445566778899AABBCCDDEEFF00112233\"");
    bad("{" USER ", \"peers\": [{\"uid\": \"" UID_A "\", \"name\": \"bob\"}, {\"uid\": \"" UID_B "\", \"name\": \"Bob\"}]}",
        NULL, "config.json: \"peers\"[1].\"name\" must be another than that of an earlier entry, not \"Bob\"");
    bad("{" USER ", \"peers\": [{\"uid\": \"0011\"}]}", NULL,
        "config.json: \"peers\"[0].\"uid\" must be 40 hex digits, as `ipop key` shows them, not \"0011\"");
    bad("{" USER ", \"peers\": [{\"name\": \"bob\"}]}", NULL,
        "config.json: \"peers\"[0].\"uid\" is missing; it must be a string");
    bad("{" USER ", \"peers\": [{\"uid\": \"" UID_A "\", \"ip4\": \"127.0.0.1\"}]}", NULL,
        "config.json: \"peers\"[0].\"ip4\" must be the IPv4 address of a host such as \"172.31.0.5\", not \"127.0.0.1\"");
    bad("{" USER ", \"peers\": [[]]}", NULL,
        "config.json: \"peers\"[0] must be an object with \"uid\", and \"name\" or \"ip4\" if wanted, not an array of 0");
    bad("{" USER ", \"network_ignore_list\": [\"averyverylonginterface\"]}", NULL,
        "config.json: \"network_ignore_list\"[0] must be the name of an interface such as \"docker0\", not "
        "\"averyverylonginterface\"");
    bad_key("network_ignore_list", "\"docker0\"", "an array of at most 64 names of interfaces", "\"docker0\"");
}

static void test_together(void) {
    bad("{" USER ", \"svpn_port\": 5801}", NULL,
        "config.json: \"contr_port\" must be another port than \"svpn_port\"; both are 5801");
    bad("{\"ip4\": \"172.31.0.1\"}", NULL,
        "config.json: \"xmpp_username\" is missing; it must be a bare JID such as \"user@example.org\"");
}

static void test_overlay(void) {
    IpopConf *conf = good("{" USER ", \"ip4_mask\": 16, \"stun\": [\"a\"]}",
                          "{\"ip4_mask\": 20, \"stun\": [\"b\"], \"xmpp_port\": 5222}");
    g_assert_cmpuint(conf->ip4_mask, ==, 20);
    g_assert_cmpstr(conf->stun[0], ==, "b:3478");
    g_assert_true(conf->xmpp_port_given);
    ipop_conf_free(conf);
    ipop_conf_free(good(NULL, "{" USER "}"));
    /* null takes away. */
    conf = good("{" USER ", \"ip4\": \"172.31.0.100\", \"ip4_mask\": 20}", "{\"ip4\": null, \"ip4_mask\": null}");
    g_assert_cmpstr(conf->ip4, ==, "");
    g_assert_cmpuint(conf->ip4_mask, ==, 24);
    ipop_conf_free(conf);
    /* What is overlaid need not be right. */
    ipop_conf_free(good("{" USER ", \"ip4_mask\": \"x\"}", "{\"ip4_mask\": 20}"));
    bad("{" USER "}", "{\"ip4_mask\": 0}", "-s: \"ip4_mask\" must be an integer from 8 to 30, not 0");
    bad("{" USER "}", "{\"ip4_mask\" 0}", "-s: line 1, column 13: not valid JSON: ':' expected");
    bad(NULL, "{}", "-s: \"xmpp_username\" is missing; it must be a bare JID such as \"user@example.org\"");
    bad(NULL, NULL, "no configuration: give -c FILE, or -s with a JSON object");
}

static void test_syntax(void) {
    bad("", NULL, "config.json: is empty; it must hold a JSON object such as {\"xmpp_username\": \"user@example.org\"}");
    bad(" \n\t", NULL, "config.json: is empty; it must hold a JSON object such as {\"xmpp_username\": \"user@example.org\"}");
    bad("[]", NULL,
        "config.json: must hold one JSON object such as {\"xmpp_username\": \"user@example.org\"}, not an array");
    bad("7", NULL,
        "config.json: must hold one JSON object such as {\"xmpp_username\": \"user@example.org\"}, not a single value");
    bad("{\n  \"ip4\": \"172.31.0.1\",\n}", NULL, "config.json: line 3, column 1: not valid JSON: string or '}' expected");
    /* The text at the fault may be a password. */
    bad("{\"xmpp_password\": \"hunter2\n}", NULL, "config.json: line 1, column 26: not valid JSON: unexpected newline");
    bad("{\"psk\": 1 \"hunter2\"}", NULL, "config.json: line 1, column 19: not valid JSON: '}' expected");
    bad("{" USER ",\n \"ip4\": 1, \"ip4\": 2}", NULL,
        "config.json: line 2, column 16: duplicate object key near '\"ip4\"': remove one of the two");
    bad("{\"ip4_mask\": 99999999999999999999}", NULL,
        "config.json: line 1, column 33: not valid JSON: too big integer");

    GString *bomb = g_string_new("{\"a\": ");
    for (int i = 0; i < 17; i++)
        g_string_append_c(bomb, '[');
    for (int i = 0; i < 17; i++)
        g_string_append_c(bomb, ']');
    g_string_append_c(bomb, '}');
    bad(bomb->str, NULL, "config.json: is nested more than 16 deep; no key needs that");
    g_string_free(bomb, TRUE);
    g_autofree char *deep = g_strnfill(1000000, '[');
    bad(deep, NULL, "config.json: line 1, column 2049: not valid JSON: maximum parsing depth reached");

    GError *error = NULL;
    static const char nul[] = "{" USER "}\0";
    g_assert_null(ipop_conf_parse(nul, sizeof nul - 1, "f", NULL, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG);
    g_error_free(error);
}

static void test_warnings(void) {
    IpopConf *conf = good("{" USER ", \"xmpp_pasword\": \"hunter2\", \"on-demand_connection\": true,"
                          "\"on-demand_inactive_timeout\": 60, \"switchmode\": 1}", "{\"STUNN\": []}");
    static const char *const expected[] = {
        "config.json: unknown key \"xmpp_pasword\" is ignored; the nearest known one is \"xmpp_password\"",
        "-s: unknown key \"STUNN\" is ignored; the nearest known one is \"stun\"",
        "config.json: \"on-demand_connection\" is accepted but not yet in effect",
        "config.json: \"on-demand_inactive_timeout\" is accepted but not yet in effect",
        "config.json: \"switchmode\" is accepted but not yet in effect", NULL};
    g_assert_cmpstrv(conf->warnings, expected);
    g_assert_true(conf->on_demand_connection);
    g_assert_true(conf->switchmode);
    ipop_conf_free(conf);

    conf = good("{" USER ", \"on-demand_connection\": false, \"on-demand_inactive_timeout\": 60, \"switchmode\": 0}", NULL);
    g_assert_null(conf->warnings[0]);
    ipop_conf_free(conf);

    GString *many = g_string_new("{" USER);
    for (int i = 0; i < 1000; i++)
        g_string_append_printf(many, ", \"%0200d\": 0", i);
    g_string_append_c(many, '}');
    conf = good(many->str, NULL);
    g_assert_cmpuint(g_strv_length(conf->warnings), ==, 64);
    g_assert_cmpuint(strlen(conf->warnings[0]), <, 200);
    ipop_conf_free(conf);
    g_string_free(many, TRUE);
}

static void test_nearest(void) {
    static const char *const names[] = {"ip4", "ip4_mask", "stun", "turn", "name"};
    static const struct {
        const char *text;
        size_t index;
    } cases[] = {{"ip4mask", 1}, {"IP4", 0}, {"trn", 3}, {"", 0}, {"nmae", 4}, {"stun_servers", 2}, {"ip4-mask", 1}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpuint(ipop_value_nearest(names, G_N_ELEMENTS(names), cases[i].text), ==, cases[i].index);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        g_assert_cmpuint(ipop_value_nearest(names, G_N_ELEMENTS(names), names[i]), ==, i);
}

/* Whatever is accepted is accepted again in the form it comes out in, and does not change any more. */
static void test_host_port_idempotent(void) {
    static const char alphabet[] = "ab1.:[]-09";
    for (int i = 0; i < 20000; i++) {
        char text[13] = "";
        int n = g_test_rand_int_range(0, 13);
        for (int j = 0; j < n; j++)
            text[j] = alphabet[g_test_rand_int_range(0, sizeof alphabet - 1)];
        g_autofree char *once = ipop_value_host_port(text, 3478);
        g_autofree char *twice = once ? ipop_value_host_port(once, 1) : NULL;
        g_assert_cmpstr(once, ==, twice);
    }
}

static void test_psk(void) {
    IpopConf *a = good_key("psk", "\"correct horse\""), *b = good_key("psk", "\"correct horsf\"");
    IpopConf *c = good(NULL, "{" USER ", \"psk\": \"correct horse\", \"ip4\": \"172.31.0.3\"}");
    g_assert_cmpmem(a->psk, 32, c->psk, 32);
    g_assert_true(memcmp(a->psk, b->psk, 32) != 0);
    ipop_conf_free(a);
    ipop_conf_free(b);
    ipop_conf_free(c);

    /* The derivation is part of the protocol between nodes: it may not change. */
    uint8_t expected[32], salt[crypto_pwhash_SALTBYTES];
    crypto_generichash(salt, sizeof salt, (const uint8_t *)"ipop psk v1", 11, NULL, 0);
    g_assert_cmpint(crypto_pwhash(expected, 32, "pässword", 9, salt, 2, 64 * 1024 * 1024, crypto_pwhash_ALG_ARGON2ID13), ==,
                    0);
    IpopConf *d = good_key("psk", "\"pässword\"");
    g_assert_cmpmem(d->psk, 32, expected, 32);
    ipop_conf_free(d);
}

/* --- files --- */

typedef struct {
    char *dir, *file;
} Dir;

static void dir_set_up(Dir *dir, const void *unused) {
    dir->dir = g_dir_make_tmp("ipop-conf-XXXXXX", NULL);
    dir->file = g_build_filename(dir->dir, "config.json", NULL);
    g_unsetenv("CREDENTIALS_DIRECTORY");
}

static void dir_tear_down(Dir *dir, const void *unused) {
    static const char *const names[] = {"config.json", "xmpp_password", "sub"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(dir->dir, names[i], NULL);
        g_remove(path);
    }
    g_assert_cmpint(g_rmdir(dir->dir), ==, 0);
    g_free(dir->dir);
    g_free(dir->file);
}

static void write_file(const char *path, const char *text, gssize n, mode_t mode) {
    g_assert_true(g_file_set_contents(path, text, n, NULL));
    g_assert_cmpint(g_chmod(path, mode), ==, 0);
}

static void load_fails(const char *path, const char *rest) {
    GError *error = NULL;
    g_assert_null(ipop_conf_load(path, NULL, &error));
    g_autofree char *message = g_strdup_printf("%s: %s", path, rest);
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG);
    g_assert_cmpstr(error->message, ==, message);
    g_error_free(error);
}

static void test_files(Dir *dir, const void *unused) {
    load_fails(dir->file, "the configuration can't be read: No such file or directory: check the path");
    load_fails(dir->dir, "the configuration can't be read: Is a directory: give the path of a file");
    write_file(dir->file, "", 0, 0600);
    load_fails(dir->file, "is empty; it must hold a JSON object such as {\"xmpp_username\": \"user@example.org\"}");

    g_autofree char *huge = g_strnfill(IPOP_CONF_FILE_MAX + 1, ' ');
    memcpy(huge, "{" USER "}", strlen("{" USER "}"));
    write_file(dir->file, huge, IPOP_CONF_FILE_MAX + 1, 0600);
    load_fails(dir->file, "is larger than 1 MiB: this is no configuration");
    write_file(dir->file, huge, IPOP_CONF_FILE_MAX, 0600);
    IpopConf *conf = ipop_conf_load(dir->file, NULL, NULL);
    g_assert_nonnull(conf);
    ipop_conf_free(conf);

    conf = ipop_conf_load(NULL, "{" USER "}", NULL);
    g_assert_nonnull(conf);
    ipop_conf_free(conf);

    if (geteuid() != 0) {
        g_assert_cmpint(g_chmod(dir->file, 0), ==, 0);
        load_fails(dir->file, "the configuration can't be read: Permission denied: let the user that runs this read it (chgrp, chmod g+r)");
    }
}

static void test_open_to_all(Dir *dir, const void *unused) {
    g_autofree char *warning = g_strdup_printf("%s: holds a password, and every user of this machine can read it: run: "
                                               "chmod 600 %s", dir->file, dir->file);
    static const char *const with_secret[] = {"\"xmpp_password\": \"x\"", "\"psk\": \"12345678\"",
                                              "\"turn\": [{\"server\":\"a\",\"user\":\"u\",\"pass\":\"p\"}]"};
    for (size_t i = 0; i < G_N_ELEMENTS(with_secret); i++) {
        g_autofree char *text = g_strdup_printf("{" USER ", %s}", with_secret[i]);
        write_file(dir->file, text, -1, 0644);
        IpopConf *conf = ipop_conf_load(dir->file, NULL, NULL);
        g_assert_cmpstr(conf->warnings[0], ==, warning);
        g_assert_null(conf->warnings[1]);
        ipop_conf_free(conf);
        g_assert_cmpint(g_chmod(dir->file, 0640), ==, 0);
        conf = ipop_conf_load(dir->file, NULL, NULL);
        g_assert_null(conf->warnings[0]);
        ipop_conf_free(conf);
    }
    write_file(dir->file, "{" USER "}", -1, 0644);
    IpopConf *conf = ipop_conf_load(dir->file, "{\"xmpp_password\": \"x\"}", NULL);
    g_assert_null(conf->warnings[0]);
    ipop_conf_free(conf);

    /* The password's own file, wherever it is named. */
    g_autofree char *overlay = g_strdup_printf("{\"xmpp_password_file\": \"%s\"}", dir->file);
    conf = ipop_conf_load(dir->file, overlay, NULL);
    g_assert_cmpstr(conf->warnings[0], ==, warning);
    ipop_conf_free(conf);
}

/* --- the password --- */

static void test_password_order(Dir *dir, const void *unused) {
    g_autofree char *credential = g_build_filename(dir->dir, "xmpp_password", NULL);
    g_autofree char *with_file = g_strdup_printf("{" USER ", \"xmpp_password_file\": \"%s\"}", dir->file);
    g_autofree char *with_both = g_strdup_printf("{" USER ", \"xmpp_password\": \"c\", \"xmpp_password_file\": \"%s\"}",
                                                 dir->file);
    write_file(dir->file, "from file\n", -1, 0600);
    write_file(credential, "from credential", -1, 0600);
    g_setenv("CREDENTIALS_DIRECTORY", dir->dir, TRUE);
    const struct {
        const char *text, *password;
    } cases[] = {{with_both, "c"}, {with_file, "from file"}, {"{" USER "}", "from credential"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        IpopConf *conf = good(NULL, cases[i].text);
        GError *error = NULL;
        g_assert_true(ipop_conf_read_password(conf, &error));
        g_assert_no_error(error);
        g_assert_cmpstr(conf->xmpp_password, ==, cases[i].password);
        ipop_conf_free(conf);
    }
    g_unsetenv("CREDENTIALS_DIRECTORY");
}

static void test_password_file(Dir *dir, const void *unused) {
    g_autofree char *text = g_strdup_printf("{" USER ", \"xmpp_password_file\": \"%s\"}", dir->file);
    g_autofree char *longest = g_strnfill(1023, 'x'), *too_long = g_strnfill(1024, 'x');
    g_autofree char *longest_line = g_strconcat(longest, "\r\n", NULL);
    const struct {
        const char *content;
        gssize n;
        const char *password; /* NULL: refused */
    } cases[] = {{"pä ss", -1, "pä ss"}, {"pass\r\n", -1, "pass"}, {" pass \n", -1, " pass "},
                 {longest_line, -1, longest}, {too_long, -1, NULL}, {"", 0, NULL}, {"\n", -1, NULL},
                 {"two\nlines\n", -1, NULL}, {"pass\n\n", -1, NULL}, {"nul\0", 4, NULL}, {"\xff\xfe", -1, NULL}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        write_file(dir->file, cases[i].content, cases[i].n, 0600);
        IpopConf *conf = good(NULL, text);
        GError *error = NULL;
        g_assert_cmpint(ipop_conf_read_password(conf, &error), ==, cases[i].password != NULL);
        g_assert_cmpstr(conf->xmpp_password, ==, cases[i].password);
        if (!cases[i].password) {
            g_assert_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG);
            g_assert_true(g_str_has_suffix(error->message, ": must hold the password alone, as one line of 1 to 1023 bytes"));
            g_error_free(error);
        }
        ipop_conf_free(conf);
    }
    g_remove(dir->file);
    IpopConf *conf = good(NULL, text);
    GError *error = NULL;
    g_assert_false(ipop_conf_read_password(conf, &error));
    g_assert_true(g_str_has_suffix(error->message, ": the password can't be read: No such file or directory: check the path"));
    g_error_free(error);
    ipop_conf_free(conf);
}

/* Runs ipop_conf_read_password in a child with a terminal (or in the background of it), types line, and gives
 * back all that the terminal showed. The child shows the outcome itself. */
static char *on_terminal(bool background, const char *line) {
    int master;
    pid_t child = forkpty(&master, NULL, NULL, NULL);
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        if (background && fork() == 0)
            setpgid(0, 0);
        else if (background)
            _exit(wait(NULL) < 0);
        IpopConf *conf = good(NULL, "{" USER "}");
        GError *error = NULL;
        struct termios after;
        bool got = ipop_conf_read_password(conf, &error);
        g_assert_cmpint(tcgetattr(0, &after), ==, 0);
        g_autofree char *reversed = got ? g_strreverse(g_strdup(conf->xmpp_password)) : NULL;
        g_print("%s echo=%d\n", got ? reversed : error->message, (after.c_lflag & ECHO) != 0);
        fflush(stdout);
        _exit(0);
    }
    GString *seen = g_string_new(NULL);
    char buffer[256];
    bool typed = false;
    for (ssize_t n; (n = read(master, buffer, sizeof buffer)) > 0;) {
        g_string_append_len(seen, buffer, n);
        if (!typed && strstr(seen->str, "Password for user@example.org: ")) {
            g_assert_cmpint(write(master, line, strlen(line)), ==, (gssize)strlen(line));
            typed = true;
        }
    }
    waitpid(child, NULL, 0);
    close(master);
    return g_string_free(seen, FALSE);
}

static void test_password_terminal(Dir *dir, const void *unused) {
    g_autofree char *good_line = on_terminal(false, "hunter2\n");
    g_assert_cmpstr(good_line, ==, "Password for user@example.org: \r\n2retnuh echo=1\r\n");
    g_autofree char *empty = on_terminal(false, "\n");
    g_assert_nonnull(strstr(empty, "no password for user@example.org was typed"));
    g_assert_nonnull(strstr(empty, "echo=1"));
    /* Started with &: reading would stop the process for ever. */
    g_autofree char *background = on_terminal(true, "");
    g_assert_cmpstr(background, ==,
                    "no password for user@example.org: give \"xmpp_password\" or \"xmpp_password_file\" in the "
                    "configuration, or the systemd credential xmpp_password, or start on a terminal to be asked echo=1\r\n");
    /* Ctrl-C ends the process, with echo on again: the terminal's last word is ours, not the prompt's. */
    g_autofree char *interrupted = on_terminal(false, "\003");
    g_assert_null(strstr(interrupted, "echo="));
}

int main(int argc, char **argv) {
    ipop_secret_init();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/conf/defaults", test_defaults);
    g_test_add_func("/conf/everything", test_everything);
    g_test_add_func("/conf/integers", test_integers);
    g_test_add_func("/conf/strings", test_strings);
    g_test_add_func("/conf/addresses", test_addresses);
    g_test_add_func("/conf/servers", test_servers);
    g_test_add_func("/conf/lists", test_lists);
    g_test_add_func("/conf/together", test_together);
    g_test_add_func("/conf/overlay", test_overlay);
    g_test_add_func("/conf/syntax", test_syntax);
    g_test_add_func("/conf/warnings", test_warnings);
    g_test_add_func("/conf/nearest", test_nearest);
    g_test_add_func("/conf/host-port-idempotent", test_host_port_idempotent);
    g_test_add_func("/conf/psk", test_psk);
    g_test_add("/conf/files", Dir, NULL, dir_set_up, test_files, dir_tear_down);
    g_test_add("/conf/open-to-all", Dir, NULL, dir_set_up, test_open_to_all, dir_tear_down);
    g_test_add("/conf/password/order", Dir, NULL, dir_set_up, test_password_order, dir_tear_down);
    g_test_add("/conf/password/file", Dir, NULL, dir_set_up, test_password_file, dir_tear_down);
    g_test_add("/conf/password/terminal", Dir, NULL, dir_set_up, test_password_terminal, dir_tear_down);
    return g_test_run();
}
