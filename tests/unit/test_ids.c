#include "tincan/ctl/ids.h"

#include <arpa/inet.h>
#include <glib.h>
#include <sodium.h>
#include <string.h>

/* BLAKE2b-256 of 32 zero bytes, from Python's hashlib. */
static const char zero_uid[] = "89eb0d6a8a691dae2cd15ed0369931ce0a949eca";
static const char zero_fpr[] = "89:EB:0D:6A:8A:69:1D:AE:2C:D1:5E:D0:36:99:31:CE:"
                               "0A:94:9E:CA:FA:5C:3F:93:F8:12:18:33:64:6E:15:C3";

static void test_uid_from_key(void) {
    const uint8_t zero[IPOP_KEY_BYTES] = {0};
    IpopUid uid = ipop_uid_from_key(zero);
    g_assert_cmpstr(uid.hex, ==, zero_uid);

    char fpr[IPOP_FPR_SIZE];
    ipop_fingerprint(zero, fpr);
    g_assert_cmpstr(fpr, ==, zero_fpr);
}

static void test_uid_parse(void) {
    IpopUid uid = {"untouched"}, lower;
    const char *const bad[] = {NULL, "", "89eb", "89eb0d6a8a691dae2cd15ed0369931ce0a949ec",
                               "89eb0d6a8a691dae2cd15ed0369931ce0a949ecag", "89eb0d6a8a691dae2cd15ed0369931ce0a949ecaa",
                               "89eb0d6a8a691dae2cd15ed0369931ce0a949ecg", " 9eb0d6a8a691dae2cd15ed0369931ce0a949eca",
                               "0x89eb0d6a8a691dae2cd15ed0369931ce0a949e"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(ipop_uid_parse(bad[i], &uid));
        g_assert_cmpstr(uid.hex, ==, "untouched");
    }
    g_assert_true(ipop_uid_parse("89EB0D6A8A691DAE2CD15ED0369931CE0A949ECA", &uid));
    g_assert_true(ipop_uid_parse(zero_uid, &lower));
    g_assert_true(ipop_uid_equal(&uid, &lower));
    g_assert_cmpstr(uid.hex, ==, zero_uid);
}

static void test_uid_order(void) {
    IpopUid low, high;
    g_assert_true(ipop_uid_parse("0000000000000000000000000000000000000009", &low));
    g_assert_true(ipop_uid_parse("000000000000000000000000000000000000000a", &high));
    g_assert_cmpint(ipop_uid_compare(&low, &high), <, 0);
    g_assert_cmpint(ipop_uid_compare(&high, &low), >, 0);
    g_assert_cmpint(ipop_uid_compare(&low, &low), ==, 0);
    g_assert_false(ipop_uid_equal(&low, &high));
}

static void test_key_text(void) {
    for (int i = 0; i < 200; i++) {
        uint8_t key[IPOP_KEY_BYTES], back[IPOP_KEY_BYTES];
        char text[IPOP_KEY_TEXT_SIZE];
        randombytes_buf(key, sizeof key);
        ipop_key_to_text(key, text);
        g_assert_cmpuint(strlen(text), ==, 44);
        g_assert_true(ipop_key_from_text(text, back));
        g_assert_cmpmem(key, sizeof key, back, sizeof back);
    }
    uint8_t key[IPOP_KEY_BYTES];
    const char *const bad[] = {NULL, "", "AAAA",
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",   /* no padding */
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",  /* 33 bytes */
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",  /* 31 bytes */
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",  /* bits past the end */
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA A=",
                               "-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(ipop_key_from_text(bad[i], key));
}

static void test_suites(void) {
    g_assert_cmpuint(ipop_suites_parse(NULL), ==, 0);
    g_assert_cmpuint(ipop_suites_parse(""), ==, 0);
    g_assert_cmpuint(ipop_suites_parse("rot13 chacha aesgcm2"), ==, 0);
    g_assert_cmpuint(ipop_suites_parse("chachapoly"), ==, IPOP_SUITE_CHACHAPOLY);
    g_assert_cmpuint(ipop_suites_parse("  x aesgcm  chachapoly y"), ==, IPOP_SUITE_AESGCM | IPOP_SUITE_CHACHAPOLY);
    for (unsigned suites = IPOP_SUITE_CHACHAPOLY; suites <= 3; suites += 2)
        g_assert_cmpuint(ipop_suites_parse(ipop_suites_text(suites)), ==, suites);
}

static void test_names(void) {
    const char *const good[] = {"a", "alice", "alice-2", "my laptop", "host.example.org", "J\xc3\xbcrgen", "\xe6\x9c\xba",
                                "123456789012345678901234567890123456789012345678901234567890123"};
    const char *const bad[] = {NULL, "", " a", "a ", "\xc2\xa0" "a", "a\xe3\x80\x80", "a\nb", "a\x1b[2J", "a\x7f", "a<b", "a>b",
                               "a&b", "a\"b", "a'b", "a/b", "a\\b", "\xff", "a\xc3", "a\xc0\x80",
                               "a\xc2\x9b" "31m",        /* C1 control sequence introducer */
                               "a\xe2\x80\xae" "b",      /* right-to-left override */
                               "a\xe2\x80\x8b" "b",      /* zero-width space */
                               "a\xe2\x80\xa8" "b",      /* line separator */
                               "1234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(ipop_name_valid(good[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(ipop_name_valid(bad[i]));
}

static void test_ips(void) {
    char text[INET6_ADDRSTRLEN] = "untouched";
    const char *const bad[] = {NULL, "", "host", "1.2.3", "1.2.3.4 ", "01.2.3.4", "fd50::1%eth0", "1.2.3.4/24", "::1"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(ipop_ip_normalise(bad[i], AF_INET, text));
    g_assert_false(ipop_ip_normalise("1.2.3.4", AF_INET6, text));
    g_assert_false(ipop_ip_normalise("fd50::1%eth0", AF_INET6, text));
    g_assert_cmpstr(text, ==, "untouched");
    g_assert_true(ipop_ip_normalise("172.31.0.1", AF_INET, text));
    g_assert_cmpstr(text, ==, "172.31.0.1");
    g_assert_true(ipop_ip_normalise("FD50:0dbc:0:0:0:0:0:1", AF_INET6, text));
    g_assert_cmpstr(text, ==, "fd50:dbc::1");
    g_assert_true(ipop_ip_normalise(text, AF_INET6, text)); /* in place */
    g_assert_cmpstr(text, ==, "fd50:dbc::1");
}

static void test_claims(void) {
    /* printf %s 'alpha 172.31.0.1' | b2sum -l 256 */
    g_assert_cmphex(ipop_claims("alpha", "172.31.0.1"), ==, UINT64_C(0xef38e66d6c3e16bc));
    g_assert_cmphex(ipop_claims("alpha", "172.31.0.1"), !=, ipop_claims("alpha", "172.31.0.2"));
    g_assert_cmphex(ipop_claims("alpha", "172.31.0.1"), !=, ipop_claims("alpha 172.31.0.1", ""));
    g_assert_cmphex(ipop_claims("", ""), !=, 0);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(sodium_init(), >=, 0);
    g_test_add_func("/ids/claims", test_claims);
    g_test_add_func("/ids/uid-from-key", test_uid_from_key);
    g_test_add_func("/ids/uid-parse", test_uid_parse);
    g_test_add_func("/ids/uid-order", test_uid_order);
    g_test_add_func("/ids/key-text", test_key_text);
    g_test_add_func("/ids/suites", test_suites);
    g_test_add_func("/ids/names", test_names);
    g_test_add_func("/ids/ips", test_ips);
    return g_test_run();
}
