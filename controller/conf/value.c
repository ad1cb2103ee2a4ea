#include "controller/conf/value.h"

#include <arpa/inet.h>
#include <glib.h>
#include <stdint.h>
#include <string.h>

#define JID_PART_MAX 1023 /* RFC 7622 */
#define JID_BARE_MAX 1000
#define HOST_MAX 253
#define LABEL_MAX 63
#define NAME_COMPARED 64 /* of an unknown key no more is looked at */

/* Bytes of UTF-8 above ASCII pass: internationalised names are the resolver's business. */
static bool labels_valid(const char *text, size_t n) {
    size_t label = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (!(g_ascii_isalnum(c) || c == '-' || c == '_' || c >= 0x80) || ++label > LABEL_MAX) {
            return false;
        }
    }
    return label > 0 && n <= HOST_MAX;
}

bool ipop_value_host(const char *text) {
    struct in6_addr ip;
    if (inet_pton(AF_INET, text, &ip) == 1 || inet_pton(AF_INET6, text, &ip) == 1)
        return true;
    /* No top-level domain is a number: this is a mistyped address. */
    const char *dot = strrchr(text, '.');
    const char *last = dot ? dot + 1 : text;
    return last[strspn(last, "0123456789")] && labels_valid(text, strlen(text));
}

bool ipop_value_jid(const char *text) {
    const char *at = strchr(text, '@');
    if (!at || at == text || at - text > JID_PART_MAX || strlen(text) > JID_BARE_MAX)
        return false;
    for (const char *c = text; c < at; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr("\"&'/:<>", *c))
            return false;
    return ipop_value_host(at + 1);
}

static bool port_parse(const char *text, unsigned *ret_port) {
    guint64 port;
    if (!g_ascii_string_to_unsigned(text, 10, 1, 65535, &port, NULL))
        return false;
    *ret_port = (unsigned)port;
    return true;
}

char *ipop_value_host_port(const char *text, unsigned default_port) {
    unsigned port = default_port;
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (!end || (end[1] && (end[1] != ':' || !port_parse(end + 2, &port))))
            return NULL;
        g_autofree char *ip = g_strndup(text + 1, (size_t)(end - text - 1));
        struct in6_addr parsed;
        return inet_pton(AF_INET6, ip, &parsed) == 1 ? g_strdup_printf("[%s]:%u", ip, port) : NULL;
    }
    const char *colon = strchr(text, ':');
    if (colon && !port_parse(colon + 1, &port))
        return NULL;
    g_autofree char *host = colon ? g_strndup(text, (size_t)(colon - text)) : g_strdup(text);
    return ipop_value_host(host) ? g_strdup_printf("%s:%u", host, port) : NULL;
}

bool ipop_value_ip4_host(const char *text, unsigned prefix) {
    struct in_addr parsed;
    if (inet_pton(AF_INET, text, &parsed) != 1)
        return false;
    uint32_t ip = ntohl(parsed.s_addr);
    if (ip >> 24 == 0 || ip >> 24 == IN_LOOPBACKNET || ip >> 28 >= 0xe)
        return false;
    if (prefix == 32)
        return true;
    uint32_t host_bits = UINT32_MAX >> prefix;
    return (ip & host_bits) != 0 && (ip & host_bits) != host_bits;
}

bool ipop_value_network(const char *text, char ret_ip[static 16], unsigned *ret_prefix) {
    const char *slash = strchr(text, '/');
    guint64 prefix;
    if (!slash || slash - text >= 16 || !g_ascii_string_to_unsigned(slash + 1, 10, 8, 30, &prefix, NULL))
        return false;
    char ip[16] = "";
    memcpy(ip, text, (size_t)(slash - text));
    struct in_addr parsed;
    if (inet_pton(AF_INET, ip, &parsed) != 1 || ntohl(parsed.s_addr) & (UINT32_MAX >> prefix))
        return false;
    parsed.s_addr |= htonl(1);
    char first_host[16];
    inet_ntop(AF_INET, &parsed, first_host, sizeof first_host);
    if (!ipop_value_ip4_host(first_host, (unsigned)prefix))
        return false;
    memcpy(ret_ip, ip, sizeof ip);
    *ret_prefix = (unsigned)prefix;
    return true;
}

bool ipop_value_ip6_prefix(const char *text, char ret_prefix[static 46]) {
    if (strlen(text) >= INET6_ADDRSTRLEN)
        return false;
    struct in6_addr ip;
    g_autofree char *completed = strstr(text, "::") ? g_strdup(text) : g_strconcat(text, "::", NULL);
    unsigned colons = 0;
    for (const char *c = text; *c; c++)
        colons += *c == ':';
    static const uint8_t zero[8];
    if ((!strstr(text, "::") && colons != 3) || inet_pton(AF_INET6, completed, &ip) != 1 ||
        memcmp(ip.s6_addr + 8, zero, 8) != 0)
        return false;
    /* 0000::/8 holds the special addresses; fe80::/10 and ff00::/8 are no network of hosts. */
    if (ip.s6_addr[0] == 0 || ip.s6_addr[0] == 0xff || IN6_IS_ADDR_LINKLOCAL(&ip))
        return false;
    return inet_ntop(AF_INET6, &ip, ret_prefix, 46) != NULL;
}

/* Levenshtein's distance, one row at a time. */
static size_t distance(const char *a, const char *b) {
    size_t row[NAME_COMPARED + 1];
    size_t n = strnlen(b, NAME_COMPARED);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t changed = diagonal + (g_ascii_tolower(a[i]) != g_ascii_tolower(b[j]));
            diagonal = row[j + 1];
            row[j + 1] = MIN(changed, MIN(row[j], row[j + 1]) + 1);
        }
    }
    return row[n];
}

size_t ipop_value_nearest(const char *const *names, size_t n, const char *text) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (distance(names[i], text) < distance(names[best], text))
            best = i;
    return best;
}
