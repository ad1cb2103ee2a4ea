#include "controller/jingle/disco.h"
#include "controller/jingle/presence.h"
#include "controller/jingle/stanza.h"

#include <string.h>

#define FROM "anna@example.org/ipop-0a1b2c3d"

static IpopNode a_node(void) {
    IpopNode node = {.name = "laptop", .ip4 = "172.31.4.5", .ip6 = "fd50:dbc:41f2:4a3c::5", .suites = IPOP_SUITE_CHACHAPOLY};
    memset(node.key, 7, sizeof node.key);
    node.uid = ipop_uid_from_key(node.key);
    return node;
}

/* As the server passes it on. */
static char *with_from(const char *xml, const char *from) {
    g_assert_true(g_str_has_prefix(xml, "<presence>"));
    return g_strdup_printf("<presence from='%s' to='x@y/z'>%s", from, xml + strlen("<presence>"));
}

static IpopPresenceKind parse(const char *xml, IpopNode *ret_node, const char **ret_why) {
    char from[IPOP_JID_MAX + 1];
    IpopPresenceKind kind = ipop_presence_parse(xml, strlen(xml), from, ret_node, ret_why);
    bool named = kind == IPOP_PRESENCE_AVAILABLE || kind == IPOP_PRESENCE_UNAVAILABLE || kind == IPOP_PRESENCE_INVALID;
    g_assert_true(named == (*from != '\0'));
    return kind;
}

static void assert_node_equal(const IpopNode *a, const IpopNode *b) {
    g_assert_true(ipop_uid_equal(&a->uid, &b->uid));
    g_assert_cmpmem(a->key, sizeof a->key, b->key, sizeof b->key);
    g_assert_cmpstr(a->name, ==, b->name);
    g_assert_cmpstr(a->ip4, ==, b->ip4);
    g_assert_cmpstr(a->ip6, ==, b->ip6);
    g_assert_cmpuint(a->suites, ==, b->suites);
    g_assert_true(a->auto_name == b->auto_name && a->auto_ip4 == b->auto_ip4 && a->settled == b->settled);
}

static void test_round_trip(void) {
    static const char *const names[] = {"a", "laptop", "Annas Rechner 2", "B\303\274ro", "\346\227\245\346\234\254", "x-y_z.w#1"};
    for (int round = 0; round < 200; round++) {
        IpopNode node = {.suites = g_test_rand_bit() ? IPOP_SUITE_CHACHAPOLY : IPOP_SUITE_CHACHAPOLY | IPOP_SUITE_AESGCM};
        for (size_t i = 0; i < sizeof node.key; i++)
            node.key[i] = (uint8_t)g_test_rand_int();
        node.uid = ipop_uid_from_key(node.key);
        g_strlcpy(node.name, names[g_test_rand_int_range(0, G_N_ELEMENTS(names))], sizeof node.name);
        g_snprintf(node.ip4, sizeof node.ip4, "10.%d.%d.%d", g_test_rand_int_range(0, 256), g_test_rand_int_range(0, 256),
                   g_test_rand_int_range(0, 256));
        if (g_test_rand_bit())
            g_snprintf(node.ip6, sizeof node.ip6, "fd50:%x::%x", g_test_rand_int_range(1, 65536), g_test_rand_int_range(1, 65536));
        node.auto_name = g_test_rand_bit();
        node.settled = g_test_rand_bit();
        node.auto_ip4 = g_test_rand_bit();

        g_autofree char *built = ipop_presence_build(&node), *xml = with_from(built, FROM);
        char from[IPOP_JID_MAX + 1];
        IpopNode back;
        const char *why = "";
        g_assert_cmpint(ipop_presence_parse(xml, strlen(xml), from, &back, &why), ==, IPOP_PRESENCE_AVAILABLE);
        g_assert_cmpstr(from, ==, FROM);
        assert_node_equal(&node, &back);
    }
}

static void test_size(void) {
    IpopNode node = a_node();
    node.suites |= IPOP_SUITE_AESGCM;
    node.auto_name = node.auto_ip4 = true;
    memset(node.name, 'x', IPOP_NAME_MAX);
    strcpy(node.ip4, "172.131.104.205");
    strcpy(node.ip6, "fd50:1dbc:41f2:4a3c:1234:5678:9abc:def0");
    g_autofree char *xml = ipop_presence_build(&node);
    g_test_message("largest presence: %zu bytes", strlen(xml));
    g_assert_cmpuint(strlen(xml), <=, 600);
}

/* Whatever is wrong with a node's element, it is INVALID and says what. */
static void test_invalid(void) {
    static const struct {
        const char *from, *to, *why;
    } cases[] = {
        {" v=\"1\"", " v=\"2\"", "version"},
        {" v=\"1\"", "", "version"},
        {"key=\"", "key=\"A", "key"},
        {"key=\"Bw", "key=\"B", "key"},
        {"key=\"Bw", "key=\"Cw", "uid"}, /* another key */
        {"key=", "yek=", "key"},
        {"uid=\"", "uid=\"0", "uid"},
        {"uid=", "diu=", "uid"},
        {"name=\"laptop\"", "name=\"\"", "name"},
        {"name=\"laptop\"", "name=\" laptop\"", "name"},
        {"name=\"laptop\"", "name=\"a&lt;b\"", "name"},
        {"name=\"laptop\"", "name=\"a&#10;b\"", "name"},
        {"name=\"laptop\"", "name=\"1234567890123456789012345678901234567890123456789012345678901234\"", "name"},
        {"name=\"laptop\"", "", "name"},
        {"172.31.4.5", "172.31.4", "IPv4"},
        {"172.31.4.5", "node.example.org", "IPv4"},
        {"172.31.4.5", "127.0.0.1", "IPv4"},
        {"172.31.4.5", "0.0.0.0", "IPv4"},
        {"172.31.4.5", "224.0.0.1", "IPv4"},
        {"172.31.4.5", "255.255.255.255", "IPv4"},
        {"172.31.4.5", "fd50::1", "IPv4"},
        {"172.31.4.5", "", "IPv4"},
        {"ip4=", "ip5=", "IPv4"},
        {"fd50:dbc:41f2:4a3c::5", "172.31.4.5", "IPv6"},
        {"fd50:dbc:41f2:4a3c::5", "", "IPv6"},
        {"fd50:dbc:41f2:4a3c::5", "::", "IPv6"},
        {"fd50:dbc:41f2:4a3c::5", "::1", "IPv6"},
        {"fd50:dbc:41f2:4a3c::5", "fe80::1", "IPv6"},
        {"fd50:dbc:41f2:4a3c::5", "ff02::1", "IPv6"},
        {"fd50:dbc:41f2:4a3c::5", "::ffff:10.0.0.1", "IPv6"},
        {"chachapoly", "rot13", "cipher"},
        {"chachapoly", "", "cipher"},
        {"suites=", "s=", "cipher"},
        {"</presence>", "<tunnel xmlns='urn:ipop:tunnel:1'/></presence>", "twice"},
    };
    IpopNode node = a_node();
    g_autofree char *built = ipop_presence_build(&node), *good = with_from(built, FROM);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GString) xml = g_string_new(good);
        g_assert_cmpuint(g_string_replace(xml, cases[i].from, cases[i].to, 1), ==, 1);
        IpopNode back = {.name = "untouched"};
        const char *why = "";
        g_assert_cmpint(parse(xml->str, &back, &why), ==, IPOP_PRESENCE_INVALID);
        g_assert_nonnull(strstr(why, cases[i].why));
        g_assert_cmpstr(back.name, ==, "untouched");
    }
}

static void test_tolerant(void) {
    IpopNode node = a_node();
    g_autofree char *built = ipop_presence_build(&node), *good = with_from(built, FROM);
    static const char *const changes[][2] = {
        {"chachapoly", "kyber chachapoly none"}, /* suites to come */
        {"suites=", "more='1' suites="},
        {"</presence>", "<tunnel xmlns='urn:ipop:tunnel:2' v='9'/><show>dnd</show><status>&amp;</status></presence>"},
        {"<presence ", "<presence xmlns='jabber:client' xml:lang='en' id='7' "},
        {"172.31.4.5\"", "172.31.4.5\" auto=\"other\""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GString) xml = g_string_new(good);
        g_assert_cmpuint(g_string_replace(xml, changes[i][0], changes[i][1], 1), ==, 1);
        IpopNode back;
        const char *why = "";
        g_assert_cmpint(parse(xml->str, &back, &why), ==, IPOP_PRESENCE_AVAILABLE);
        assert_node_equal(&node, &back);
    }
}

static void test_others(void) {
    static const struct {
        const char *xml;
        IpopPresenceKind kind;
    } cases[] = {
        {"<presence from='a@b/c'/>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b/c'><show>away</show></presence>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b/c' type='unavailable'/>", IPOP_PRESENCE_UNAVAILABLE},
        {"<presence from='a@b/c' type='unavailable'><tunnel xmlns='urn:ipop:tunnel:1'/></presence>", IPOP_PRESENCE_UNAVAILABLE},
        {"<presence from='a@b/c' type='error'><tunnel xmlns='urn:ipop:tunnel:1'/></presence>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b/c' type='subscribe'/>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b/c' type='unsubscribed'/>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b/c' type=''/>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b' type='unavailable'/>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b/'><tunnel xmlns='urn:ipop:tunnel:1'/></presence>", IPOP_PRESENCE_OTHER},
        {"<presence from='/c'><tunnel xmlns='urn:ipop:tunnel:1'/></presence>", IPOP_PRESENCE_OTHER},
        {"<presence><tunnel xmlns='urn:ipop:tunnel:1'/></presence>", IPOP_PRESENCE_OTHER},
        {"<presence from='a@b/c'><tunnel xmlns='urn:ipop:tunnel:1'/></presence>", IPOP_PRESENCE_INVALID},
        {"<presence from='a@b/c'><tunnel/></presence>", IPOP_PRESENCE_OTHER},
        {"<message from='a@b/c'/>", IPOP_PRESENCE_MALFORMED},
        {"<presence xmlns='jabber:server' from='a@b/c'/>", IPOP_PRESENCE_MALFORMED},
        {"<presence from='a@b/c'>", IPOP_PRESENCE_MALFORMED},
        {"", IPOP_PRESENCE_MALFORMED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        IpopNode node;
        const char *why;
        g_assert_cmpint(parse(cases[i].xml, &node, &why), ==, cases[i].kind);
    }
    IpopNode node;
    const char *why;
    g_autofree char *resource = g_strnfill(IPOP_JID_MAX - 4, 'r');
    g_autofree char *longest = g_strdup_printf("<presence from='a@b/%s' type='unavailable'/>", resource);
    g_autofree char *longer = g_strdup_printf("<presence from='a@b/%sr' type='unavailable'/>", resource);
    g_assert_cmpint(parse(longest, &node, &why), ==, IPOP_PRESENCE_UNAVAILABLE);
    g_assert_cmpint(parse(longer, &node, &why), ==, IPOP_PRESENCE_MALFORMED);
}

/* XEP-0115 section 5.2, features in another order. */
static void test_caps_example(void) {
    static const char *const features[] = {"http://jabber.org/protocol/muc", "http://jabber.org/protocol/disco#items",
                                           "http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info", NULL};
    IpopDisco exodus = {"client", "pc", "", "Exodus 0.9.1", features};
    g_autofree char *ver = ipop_disco_hash(&exodus);
    g_assert_cmpstr(ver, ==, "QgayPKawpkPSDYmwT/WM94uAlu0=");
}

/* Another client computes the hash from our answer to disco#info, and must find what our presence says. */
static void test_caps_consistent(void) {
    g_autofree char *info = ipop_disco_info("urn:ipop:tunnel:1#x"), *bare = ipop_disco_info("");
    g_assert_nonnull(strstr(info, "node=\"urn:ipop:tunnel:1#x\""));
    g_assert_null(strstr(bare, "node="));
    g_autoptr(GPtrArray) features = g_ptr_array_new_with_free_func(g_free);
    for (const char *at = bare; (at = strstr(at, "var=\"")); at++)
        g_ptr_array_add(features, g_strndup(at + 5, strcspn(at + 5, "\"")));
    g_assert_cmpuint(features->len, ==, 6);
    g_ptr_array_add(features, NULL);
    g_assert_true(g_strv_contains((const char *const *)features->pdata, "urn:ipop:tunnel:1"));
    g_assert_nonnull(strstr(bare, "type=\"bot\""));

    IpopDisco seen = {"client", "bot", "", "ipop", (const char *const *)features->pdata};
    g_autofree char *expected = ipop_disco_hash(&seen), *ver = ipop_disco_ver();
    g_assert_cmpstr(ver, ==, expected);
    IpopNode node = a_node();
    g_autofree char *presence = ipop_presence_build(&node), *attribute = g_strdup_printf("ver=\"%s\"", ver);
    g_assert_nonnull(strstr(presence, attribute));
    g_assert_nonnull(strstr(presence, "<priority>-1</priority>"));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/presence/round-trip", test_round_trip);
    g_test_add_func("/presence/size", test_size);
    g_test_add_func("/presence/invalid", test_invalid);
    g_test_add_func("/presence/tolerant", test_tolerant);
    g_test_add_func("/presence/others", test_others);
    g_test_add_func("/presence/caps-example", test_caps_example);
    g_test_add_func("/presence/caps-consistent", test_caps_consistent);
    return g_test_run();
}
