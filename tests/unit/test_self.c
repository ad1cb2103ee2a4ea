/* Self: what is configured stays, what was chosen gives way, and of two exactly one moves. */
#include "controller/peer/self.h"

#include "tincan/base/secret.h"

#include <glib/gstdio.h>
#include <string.h>

static char *dir;

static IpopConf *make_conf(const char *more) {
    g_autofree char *text = g_strdup_printf("{\"xmpp_username\":\"a@b.example\",\"xmpp_password\":\"x\"%s}", more);
    g_autoptr(GError) error = NULL;
    IpopConf *conf = ipop_conf_parse(text, strlen(text), "test", NULL, &error);
    g_assert_no_error(error);
    return conf;
}

static IpopSelf *make_self(const IpopConf *conf, uint8_t seed) {
    uint8_t key[IPOP_KEY_BYTES];
    memset(key, seed, sizeof key);
    IpopUid uid = ipop_uid_from_key(key);
    return ipop_self_new(conf, dir, &uid, key, IPOP_SUITE_CHACHAPOLY);
}

static void forget_address(void) {
    g_autofree char *file = g_build_filename(dir, "address", NULL);
    g_unlink(file);
}

static void write_address(const char *text) {
    g_autofree char *file = g_build_filename(dir, "address", NULL);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
}

static uint32_t number(const char *ip4) {
    struct in_addr address;
    g_assert_cmpint(inet_pton(AF_INET, ip4, &address), ==, 1);
    return ntohl(address.s_addr);
}

static void test_configured(void) {
    IpopConf *conf = make_conf(",\"name\":\"alpha\",\"ip4\":\"172.31.0.100\"");
    IpopSelf *self = make_self(conf, 1);
    g_assert_cmpstr(self->node.name, ==, "alpha");
    g_assert_cmpstr(self->node.ip4, ==, "172.31.0.100");
    g_assert_false(self->node.auto_name || self->node.auto_ip4);
    g_assert_cmpuint(ipop_self_ip4_mask(self), ==, 24);
    g_assert_cmpuint(strlen(self->resource), ==, 13);
    g_assert_true(g_str_has_prefix(self->resource, "ipop-"));
    g_assert_true(strncmp(self->resource + 5, self->node.uid.hex, 8) == 0);
    IpopNode other = self->node;
    memset(other.uid.hex, '0', 40); /* lower than any */
    g_assert_false(ipop_self_meet(self, &other, IPOP_CLAIM_HEARD));
    g_assert_false(ipop_self_meet(self, &other, IPOP_CLAIM_PINNED));
    g_assert_true(ipop_self_keep_address(self, NULL));
    g_autofree char *file = g_build_filename(dir, "address", NULL);
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
    ipop_self_free(self);
    ipop_conf_free(conf);
}

static void test_ip6(void) {
    IpopConf *conf = make_conf("");
    IpopUid uid;
    char ip6[INET6_ADDRSTRLEN];
    g_assert_true(ipop_uid_parse("0123456789abcdef0123456789abcdef01234567", &uid));
    ipop_self_ip6(conf, &uid, ip6);
    g_assert_cmpstr(ip6, ==, "fd50:dbc:41f2:4a3c:123:4567:89ab:cdef");
    ipop_conf_free(conf);
}

static void test_chosen_and_kept(void) {
    forget_address();
    IpopConf *conf = make_conf("");
    IpopSelf *self = make_self(conf, 1);
    g_assert_true(self->node.auto_ip4 && self->node.auto_name);
    g_assert_cmpuint(number(self->node.ip4) >> 16, ==, 172 * 256 + 31);
    g_assert_cmpuint(ipop_self_ip4_mask(self), ==, 16);
    IpopNode other = self->node;
    memset(other.uid.hex, '0', 40);
    g_strlcpy(other.name, "other", sizeof other.name);
    g_autofree char *before = g_strdup(self->node.ip4);
    g_assert_true(ipop_self_meet(self, &other, IPOP_CLAIM_HEARD));
    g_assert_cmpstr(self->node.ip4, !=, before);
    g_assert_true(ipop_self_keep_address(self, NULL));
    IpopSelf *again = make_self(conf, 1);
    g_assert_cmpstr(again->node.ip4, ==, self->node.ip4);
    ipop_self_free(again);
    ipop_self_free(self);
    ipop_conf_free(conf);
}

static void test_address_file_is_checked(void) {
    static const char *const bad[] = {"", "\n", "10.0.0.1\n", "172.31.0.0", "172.31.255.255", "172.31.1.2.3", "172.31.1.2 x", "::1",
                                      "172.32.0.1", "172.31.01.2x"};
    IpopConf *conf = make_conf("");
    forget_address();
    IpopSelf *fresh = make_self(conf, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        write_address(bad[i]);
        IpopSelf *self = make_self(conf, 1);
        g_assert_cmpstr(self->node.ip4, ==, fresh->node.ip4);
        ipop_self_free(self);
    }
    g_autofree char *large = g_strnfill(100000, ' ');
    write_address(large);
    IpopSelf *self = make_self(conf, 1);
    g_assert_cmpstr(self->node.ip4, ==, fresh->node.ip4);
    ipop_self_free(self);
    write_address("172.31.9.9\n");
    self = make_self(conf, 1);
    g_assert_cmpstr(self->node.ip4, ==, "172.31.9.9");
    ipop_self_free(self);
    ipop_self_free(fresh);
    ipop_conf_free(conf);
    forget_address();
}

/* Small networks fill; every address is still a host's. */
static void test_addresses_are_hosts(void) {
    IpopConf *conf = make_conf(",\"ip4_network\":\"10.9.8.16/29\"");
    forget_address();
    IpopSelf *self = make_self(conf, 7);
    bool seen[8] = {false};
    for (unsigned i = 0; i < 200; i++) {
        uint32_t host = number(self->node.ip4) - number("10.9.8.16");
        g_assert_cmpuint(host, >=, 1);
        g_assert_cmpuint(host, <=, 6);
        seen[host] = true;
        IpopNode other = {.auto_ip4 = false};
        memset(other.uid.hex, 'f', 40);
        g_strlcpy(other.ip4, self->node.ip4, sizeof other.ip4);
        g_assert_true(ipop_self_meet(self, &other, IPOP_CLAIM_HEARD));
    }
    for (unsigned i = 1; i <= 6; i++)
        g_assert_true(seen[i]);
    ipop_self_free(self);
    ipop_conf_free(conf);
}

static void test_one_of_two_moves(void) {
    IpopConf *conf = make_conf("");
    forget_address();
    write_address("172.31.5.5");
    for (uint8_t seed = 1; seed < 50; seed++) {
        IpopSelf *a = make_self(conf, seed), *b = make_self(conf, (uint8_t)(seed + 100));
        IpopNode was_a = a->node, was_b = b->node;
        g_assert_cmpstr(was_a.ip4, ==, was_b.ip4);
        bool moved_a = ipop_self_meet(a, &was_b, IPOP_CLAIM_HEARD), moved_b = ipop_self_meet(b, &was_a, IPOP_CLAIM_HEARD);
        g_assert_true(moved_a != moved_b);
        g_assert_true(moved_a == (ipop_uid_compare(&was_a.uid, &was_b.uid) > 0));
        g_assert_cmpstr(a->node.ip4, !=, b->node.ip4);
        g_assert_cmpstr(a->node.name, !=, b->node.name);
        g_assert_false(ipop_self_meet(a, &b->node, IPOP_CLAIM_HEARD) || ipop_self_meet(b, &a->node, IPOP_CLAIM_HEARD));
        ipop_self_free(a);
        ipop_self_free(b);
    }
    ipop_conf_free(conf);
    forget_address();
}

/* Once others know a node by its name and address, only what is proved moves it; a newcomer that is not yet known moves. */
static void test_settled_stays(void) {
    IpopConf *conf = make_conf("");
    forget_address();
    for (uint8_t seed = 1; seed < 50; seed++) {
        IpopSelf *self = make_self(conf, seed);
        IpopNode other = self->node, was = self->node;
        memset(other.uid.hex, '0', 40); /* lower than any */
        self->node.settled = true;
        g_assert_false(ipop_self_meet(self, &other, IPOP_CLAIM_HEARD));
        other.auto_name = other.auto_ip4 = false;
        g_assert_false(ipop_self_meet(self, &other, IPOP_CLAIM_HEARD));
        g_assert_true(ipop_self_meet(self, &other, IPOP_CLAIM_PROVED));
        g_assert_cmpstr(self->node.ip4, !=, was.ip4);
        self->node = was;
        g_assert_true(ipop_self_meet(self, &other, IPOP_CLAIM_PINNED));

        self->node = other = was;
        other.settled = true;
        memset(other.uid.hex, 'f', 40); /* higher than any */
        g_assert_true(ipop_self_meet(self, &other, IPOP_CLAIM_HEARD));
        g_assert_cmpstr(self->node.name, !=, was.name);
        ipop_self_free(self);
    }
    ipop_conf_free(conf);
}

static void test_names(void) {
    IpopConf *conf = make_conf("");
    g_free(conf->name);
    conf->name = g_strdup("häuschen-mit-einem-sehr-langen-namen-der-fast-zu-lang-ist-ää"); /* 63 bytes */
    g_assert_cmpuint(strlen(conf->name), ==, 63);
    IpopSelf *self = make_self(conf, 1);
    g_assert_cmpstr(self->node.name, ==, conf->name);
    for (unsigned i = 2; i < 1200; i++) {
        IpopNode other = {.auto_name = false};
        memset(other.uid.hex, 'f', 40);
        g_strlcpy(other.name, self->node.name, sizeof other.name);
        g_assert_true(ipop_self_meet(self, &other, IPOP_CLAIM_HEARD));
        g_autofree char *suffix = g_strdup_printf("-%u", i);
        g_assert_true(g_str_has_suffix(self->node.name, suffix));
        g_assert_true(ipop_name_valid(self->node.name));
    }
    ipop_self_free(self);
    ipop_conf_free(conf);
}

static void expect_objection(const IpopSelf *self, const IpopNode *other, const char *part) {
    g_autofree char *why = ipop_self_objection(self, other);
    if (part == NULL) {
        g_assert_null(why);
        return;
    }
    g_assert_nonnull(strstr(why, part));
}

static void test_objections(void) {
    IpopConf *conf = make_conf(",\"name\":\"alpha\",\"ip4\":\"172.31.0.100\"");
    IpopSelf *self = make_self(conf, 1);
    IpopNode other = {.name = "beta", .ip4 = "172.31.0.101"};
    expect_objection(self, &other, NULL);
    g_strlcpy(other.ip4, "172.31.0.100", sizeof other.ip4);
    expect_objection(self, &other, "address 172.31.0.100 is this node's own; give one of the two another ip4");
    other.auto_ip4 = true;
    expect_objection(self, &other, "address 172.31.0.100");
    g_strlcpy(other.ip4, "172.31.77.1", sizeof other.ip4); /* outside the mask, inside ip4_network */
    expect_objection(self, &other, NULL);
    static const char *const outside[] = {"8.8.8.8", "172.32.0.1", "172.31.0.0", "172.31.255.255", "0.0.0.0"};
    for (size_t i = 0; i < G_N_ELEMENTS(outside); i++) {
        g_strlcpy(other.ip4, outside[i], sizeof other.ip4);
        expect_objection(self, &other, "outside this overlay");
    }
    g_strlcpy(other.ip4, "172.31.0.101", sizeof other.ip4);
    g_strlcpy(other.name, "alpha", sizeof other.name);
    expect_objection(self, &other, "name alpha is this node's own");
    other.auto_name = true;
    expect_objection(self, &other, NULL);
    ipop_self_free(self);
    ipop_conf_free(conf);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    dir = g_dir_make_tmp("ipop-test-self-XXXXXX", NULL);
    g_test_add_func("/self/configured", test_configured);
    g_test_add_func("/self/ip6", test_ip6);
    g_test_add_func("/self/chosen-and-kept", test_chosen_and_kept);
    g_test_add_func("/self/address-file-is-checked", test_address_file_is_checked);
    g_test_add_func("/self/addresses-are-hosts", test_addresses_are_hosts);
    g_test_add_func("/self/one-of-two-moves", test_one_of_two_moves);
    g_test_add_func("/self/settled-stays", test_settled_stays);
    g_test_add_func("/self/names", test_names);
    g_test_add_func("/self/objections", test_objections);
    int status = g_test_run();
    forget_address();
    g_rmdir(dir);
    g_free(dir);
    return status;
}
