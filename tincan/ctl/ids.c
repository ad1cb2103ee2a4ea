#include "tincan/ctl/ids.h"

#include <arpa/inet.h>
#include <glib.h>
#include <sodium.h>
#include <string.h>

#define UID_BYTES 20
#define HASH_BYTES 32

static void hash_key(const uint8_t key[static IPOP_KEY_BYTES], uint8_t ret_hash[static HASH_BYTES]) {
    crypto_generichash(ret_hash, HASH_BYTES, key, IPOP_KEY_BYTES, NULL, 0);
}

IpopUid ipop_uid_from_key(const uint8_t key[static IPOP_KEY_BYTES]) {
    IpopUid uid;
    uint8_t hash[HASH_BYTES];
    hash_key(key, hash);
    sodium_bin2hex(uid.hex, sizeof uid.hex, hash, UID_BYTES);
    return uid;
}

bool ipop_uid_parse(const char *text, IpopUid *ret_uid) {
    if (!text || strnlen(text, 2 * UID_BYTES + 1) != 2 * UID_BYTES)
        return false;
    for (const char *c = text; *c; c++)
        if (!g_ascii_isxdigit(*c))
            return false;
    for (size_t i = 0; i <= 2 * UID_BYTES; i++)
        ret_uid->hex[i] = g_ascii_tolower(text[i]);
    return true;
}

bool ipop_uid_equal(const IpopUid *a, const IpopUid *b) {
    return ipop_uid_compare(a, b) == 0;
}

int ipop_uid_compare(const IpopUid *a, const IpopUid *b) {
    return strcmp(a->hex, b->hex);
}

void ipop_fingerprint(const uint8_t key[static IPOP_KEY_BYTES], char ret_text[static IPOP_FPR_SIZE]) {
    static const char digits[] = "0123456789ABCDEF";
    uint8_t hash[HASH_BYTES];
    hash_key(key, hash);
    char *out = ret_text;
    for (size_t i = 0; i < HASH_BYTES; i++) {
        *out++ = digits[hash[i] >> 4];
        *out++ = digits[hash[i] & 15];
        *out++ = i + 1 < HASH_BYTES ? ':' : '\0';
    }
}

void ipop_key_to_text(const uint8_t key[static IPOP_KEY_BYTES], char ret_text[static IPOP_KEY_TEXT_SIZE]) {
    sodium_bin2base64(ret_text, IPOP_KEY_TEXT_SIZE, key, IPOP_KEY_BYTES, sodium_base64_VARIANT_ORIGINAL);
}

bool ipop_key_from_text(const char *text, uint8_t ret_key[static IPOP_KEY_BYTES]) {
    uint8_t key[IPOP_KEY_BYTES];
    size_t n;
    if (!text || strnlen(text, IPOP_KEY_TEXT_SIZE) != IPOP_KEY_TEXT_SIZE - 1)
        return false;
    if (sodium_base642bin(key, sizeof key, text, IPOP_KEY_TEXT_SIZE - 1, NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 || n != sizeof key)
        return false;
    memcpy(ret_key, key, sizeof key);
    return true;
}

static unsigned suite_from_name(const char *name, size_t n) {
    if (n == strlen("chachapoly") && memcmp(name, "chachapoly", n) == 0)
        return IPOP_SUITE_CHACHAPOLY;
    if (n == strlen("aesgcm") && memcmp(name, "aesgcm", n) == 0)
        return IPOP_SUITE_AESGCM;
    return 0;
}

unsigned ipop_suites_parse(const char *text) {
    unsigned suites = 0;
    while (text && *text) {
        size_t n = strcspn(text, " ");
        suites |= suite_from_name(text, n);
        text += n + (text[n] == ' ');
    }
    return suites;
}

const char *ipop_suites_text(unsigned suites) {
    return suites & IPOP_SUITE_AESGCM ? "aesgcm chachapoly" : "chachapoly";
}

/* Format characters (zero width, change of direction) and line separators can disguise a name on a terminal as well as
 * control characters can. */
static bool name_char_valid(gunichar c) {
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
        return false;
    default:
        return c > 0x7f || !strchr("<>&\"'/\\", (int)c);
    }
}

bool ipop_name_valid(const char *name) {
    size_t n = name ? strnlen(name, IPOP_NAME_MAX + 1) : 0;
    if (n == 0 || n > IPOP_NAME_MAX || !g_utf8_validate(name, (gssize)n, NULL))
        return false;
    for (const char *c = name; *c; c = g_utf8_next_char(c))
        if (!name_char_valid(g_utf8_get_char(c)))
            return false;
    const char *last = g_utf8_prev_char(name + n);
    return !g_unichar_isspace(g_utf8_get_char(name)) && !g_unichar_isspace(g_utf8_get_char(last));
}

uint64_t ipop_claims(const char *name, const char *ip4) {
    uint8_t hash[HASH_BYTES];
    uint64_t first;
    g_autofree char *text = g_strdup_printf("%s %s", name, ip4); /* a name neither begins nor ends with a space */
    crypto_generichash(hash, sizeof hash, (const uint8_t *)text, strlen(text), NULL, 0);
    memcpy(&first, hash, sizeof first);
    return MAX(GUINT64_FROM_BE(first), 1);
}

bool ipop_ip_normalise(const char *text, int family, char *ret_text) {
    uint8_t address[sizeof(struct in6_addr)];
    return text && inet_pton(family, text, address) == 1 && inet_ntop(family, address, ret_text, INET6_ADDRSTRLEN);
}
