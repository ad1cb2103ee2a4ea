/* mac1, cookies and their replies: who may have which, for how long. */
#include "tincan/base/secret.h"
#include "tincan/crypto/cookie.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

#define SIZE IPOP_WIRE_INIT_SIZE
#define START (INT64_C(5000) * 1000000)
#define SOURCE "198.51.100.7:4321"

static const uint8_t bob[IPOP_KEY_BYTES] = "the public key of the responder";
static const uint8_t carol[IPOP_KEY_BYTES] = "the public key of someone else.";

static void make_message(uint8_t message[static SIZE]) {
    randombytes_buf(message, SIZE);
    message[0] = IPOP_WIRE_INIT;
}

static bool check(IpopCookieJar *jar, const uint8_t *message, const char *source, int64_t now) {
    return ipop_cookie_check(jar, message, SIZE, source, strlen(source), now);
}

/* Sends, is told to prove its address, takes the cookie. */
static void get_cookie(IpopCookieJar *jar, IpopCookie *cookie, int64_t now) {
    uint8_t message[SIZE], reply[IPOP_WIRE_COOKIE_SIZE];
    make_message(message);
    ipop_cookie_stamp(cookie, bob, message, SIZE, now);
    ipop_cookie_reply(jar, message, SIZE, SOURCE, strlen(SOURCE), now, reply);
    g_assert_true(ipop_cookie_take(cookie, bob, reply, sizeof reply, now));
}

static bool stamped_passes(IpopCookieJar *jar, IpopCookie *cookie, const char *source, int64_t now) {
    uint8_t message[SIZE];
    make_message(message);
    ipop_cookie_stamp(cookie, bob, message, SIZE, now);
    g_assert_true(ipop_cookie_mac1_valid(bob, message, SIZE));
    return check(jar, message, source, now);
}

/* The formula of the paper, section 5.4.4, by hand. */
static void test_mac1(void) {
    uint8_t message[SIZE], key[32], mac[16], input[40] = "mac1----";
    IpopCookie cookie = {0};
    make_message(message);
    ipop_cookie_stamp(&cookie, bob, message, SIZE, START);
    memcpy(input + 8, bob, 32);
    crypto_generichash(key, 32, input, 40, NULL, 0);
    crypto_generichash(mac, 16, message, SIZE - 32, key, 32);
    g_assert_cmpmem(message + SIZE - 32, 16, mac, 16);
    g_assert_true(sodium_is_zero(message + SIZE - 16, 16));
    g_assert_cmpmem(cookie.last_mac1, 16, mac, 16);

    g_assert_true(ipop_cookie_mac1_valid(bob, message, SIZE));
    g_assert_false(ipop_cookie_mac1_valid(carol, message, SIZE));
    for (size_t bit = 0; bit < 8 * (SIZE - 16); bit++) {
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
        g_assert_false(ipop_cookie_mac1_valid(bob, message, SIZE));
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t n = 0; n < SIZE; n++)
        g_assert_false(ipop_cookie_mac1_valid(bob, message, n));
}

static void test_cookie(void) {
    IpopCookieJar *jar = ipop_cookie_jar_new(bob);
    IpopCookie cookie = {0};
    g_assert_false(stamped_passes(jar, &cookie, SOURCE, START)); /* mac2 is zero */
    get_cookie(jar, &cookie, START);
    g_assert_true(stamped_passes(jar, &cookie, SOURCE, START));
    g_assert_true(stamped_passes(jar, &cookie, SOURCE, START + 1));
    g_assert_false(stamped_passes(jar, &cookie, "198.51.100.7:4322", START));
    g_assert_false(stamped_passes(jar, &cookie, "198.51.100.8:4321", START));
    g_assert_false(stamped_passes(jar, &cookie, "", START));

    IpopCookieJar *other = ipop_cookie_jar_new(bob);
    g_assert_false(stamped_passes(other, &cookie, SOURCE, START));
    ipop_cookie_jar_free(other);
    ipop_cookie_jar_free(jar);
    ipop_cookie_jar_free(NULL);
}

static void test_mac2_altered(void) {
    IpopCookieJar *jar = ipop_cookie_jar_new(bob);
    IpopCookie cookie = {0};
    uint8_t message[SIZE];
    get_cookie(jar, &cookie, START);
    make_message(message);
    ipop_cookie_stamp(&cookie, bob, message, SIZE, START);
    g_assert_true(check(jar, message, SOURCE, START));
    for (size_t bit = 0; bit < 8 * SIZE; bit++) {
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
        g_assert_false(check(jar, message, SOURCE, START));
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ipop_cookie_jar_free(jar);
}

/* Whenever it is given, it is good for a whole life and never for two; and its owner does not use it longer. */
static void test_lifetime(void) {
    for (int64_t given = 0; given < 2 * IPOP_COOKIE_LIFETIME; given += IPOP_COOKIE_LIFETIME / 7) {
        for (int64_t age = 0; age < 3 * IPOP_COOKIE_LIFETIME; age += IPOP_COOKIE_LIFETIME / 6) {
            IpopCookieJar *jar = ipop_cookie_jar_new(bob);
            IpopCookie first = {0}, cookie = {0};
            get_cookie(jar, &first, START); /* from here on the jar's secret ages */
            get_cookie(jar, &cookie, START + given);
            int64_t now = START + given + age;

            uint8_t message[SIZE];
            make_message(message);
            IpopCookie copy = cookie;
            copy.received = now; /* an owner with a slow clock */
            ipop_cookie_stamp(&copy, bob, message, SIZE, now);
            bool good = check(jar, message, SOURCE, now);
            g_assert_true(good || age >= IPOP_COOKIE_LIFETIME);
            g_assert_true(!good || age < 2 * IPOP_COOKIE_LIFETIME);

            ipop_cookie_stamp(&cookie, bob, message, SIZE, now);
            g_assert_true(sodium_is_zero(message + SIZE - 16, 16) == (age >= IPOP_COOKIE_LIFETIME));
            ipop_cookie_jar_free(jar);
        }
    }
}

static void test_reply(void) {
    static const uint8_t index[4] = {0, 0xab, 0xcd, 0xef};
    IpopCookieJar *jar = ipop_cookie_jar_new(bob);
    IpopCookie cookie = {0}, before;
    uint8_t message[SIZE], reply[IPOP_WIRE_COOKIE_SIZE], again[IPOP_WIRE_COOKIE_SIZE];
    make_message(message);
    memcpy(message + 4, index, 4);
    ipop_cookie_stamp(&cookie, bob, message, SIZE, START);
    ipop_cookie_reply(jar, message, SIZE, SOURCE, strlen(SOURCE), START, reply);
    ipop_cookie_reply(jar, message, SIZE, SOURCE, strlen(SOURCE), START, again);
    g_assert_cmpmem(reply, 4, "\xf3\0\0\0", 4);
    g_assert_cmpmem(reply + 4, 4, index, 4);
    g_assert_true(memcmp(reply + 8, again + 8, 24) != 0); /* a new nonce each time */

    before = cookie;
    for (size_t bit = 0; bit < 8 * sizeof reply; bit++) {
        if (bit >= 32 && bit < 64)
            continue; /* the receiver's index: the caller found us by it */
        reply[bit / 8] ^= (uint8_t)(1 << bit % 8);
        g_assert_false(ipop_cookie_take(&cookie, bob, reply, sizeof reply, START));
        reply[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t n = 0; n < sizeof reply; n++) {
        uint8_t *exact = g_memdup2(reply, n);
        g_assert_false(ipop_cookie_take(&cookie, bob, exact, n, START));
        g_free(exact);
    }
    g_assert_false(ipop_cookie_take(&cookie, carol, reply, sizeof reply, START));
    g_assert_cmpmem(&before, (int)sizeof before, &cookie, (int)sizeof cookie);

    g_assert_true(ipop_cookie_take(&cookie, bob, reply, sizeof reply, START));
    g_assert_cmpint(cookie.received, ==, START);
    g_assert_false(ipop_cookie_take(&cookie, bob, again, sizeof again, START)); /* answered */
    ipop_cookie_jar_free(jar);
}

static void test_reply_to_other(void) {
    IpopCookieJar *jar = ipop_cookie_jar_new(bob);
    IpopCookie cookie = {0}, nothing_sent = {0};
    uint8_t old[SIZE], message[SIZE], reply[IPOP_WIRE_COOKIE_SIZE];
    make_message(old);
    make_message(message);
    ipop_cookie_stamp(&cookie, bob, old, SIZE, START);
    ipop_cookie_stamp(&cookie, bob, message, SIZE, START);
    ipop_cookie_reply(jar, old, SIZE, SOURCE, strlen(SOURCE), START, reply);
    g_assert_false(ipop_cookie_take(&cookie, bob, reply, sizeof reply, START));

    memset(old + SIZE - 32, 0, 16); /* a reply to the mac1 of somebody who sent nothing */
    ipop_cookie_reply(jar, old, SIZE, SOURCE, strlen(SOURCE), START, reply);
    g_assert_false(ipop_cookie_take(&nothing_sent, bob, reply, sizeof reply, START));
    ipop_cookie_jar_free(jar);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/cookie/mac1", test_mac1);
    g_test_add_func("/cookie/cookie", test_cookie);
    g_test_add_func("/cookie/mac2-altered", test_mac2_altered);
    g_test_add_func("/cookie/lifetime", test_lifetime);
    g_test_add_func("/cookie/reply", test_reply);
    g_test_add_func("/cookie/reply-to-other", test_reply_to_other);
    return g_test_run();
}
