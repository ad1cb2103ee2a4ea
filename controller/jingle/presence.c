#include "controller/jingle/presence.h"

#include "controller/jingle/stanza.h"
#include "controller/jingle/xml.h"

#include <string.h>

#define NS_CAPS "http://jabber.org/protocol/caps"
#define VERSION "1"
#define WORDS_MAX 256 /* of suites and auto: room for names that are not ours yet */

/* Overlay addresses are those of one host: nothing that means many, none or the machine itself. */
static bool parse_ip4(const char *text, char ret_text[static INET_ADDRSTRLEN]) {
    char normal[INET6_ADDRSTRLEN];
    struct in_addr address;
    if (!ipop_ip_normalise(text, AF_INET, normal) || inet_pton(AF_INET, normal, &address) != 1)
        return false;
    uint32_t top = ntohl(address.s_addr) >> 24;
    if (top == 0 || top == 127 || top >= 224)
        return false;
    g_strlcpy(ret_text, normal, INET_ADDRSTRLEN);
    return true;
}

static bool parse_ip6(const char *text, char ret_text[static INET6_ADDRSTRLEN]) {
    char normal[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (!ipop_ip_normalise(text, AF_INET6, normal) || inet_pton(AF_INET6, normal, &address) != 1)
        return false;
    if (IN6_IS_ADDR_UNSPECIFIED(&address) || IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_MULTICAST(&address) ||
        IN6_IS_ADDR_LINKLOCAL(&address) || IN6_IS_ADDR_V4MAPPED(&address) || IN6_IS_ADDR_V4COMPAT(&address))
        return false;
    g_strlcpy(ret_text, normal, INET6_ADDRSTRLEN);
    return true;
}

static bool has_word(const char *text, const char *word) {
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    return g_strv_contains((const char *const *)words, word);
}

/* NULL when the element is right and node is filled, else what is wrong with it. */
static const char *read_node(IpopXml *tunnel, IpopNode *node) {
    const char *version = ipop_xml_get(tunnel, "v", 16);
    if (!version || strcmp(version, VERSION) != 0)
        return "speaks another version of the protocol";
    if (!ipop_key_from_text(ipop_xml_get(tunnel, "key", IPOP_KEY_TEXT_SIZE), node->key))
        return "has no valid public key";
    IpopUid uid = ipop_uid_from_key(node->key);
    if (!ipop_uid_parse(ipop_xml_get(tunnel, "uid", sizeof uid.hex), &node->uid) || !ipop_uid_equal(&uid, &node->uid))
        return "has a uid that is not its key's";

    const char *name = ipop_xml_get(tunnel, "name", IPOP_NAME_MAX);
    if (!ipop_name_valid(name))
        return "has no valid name";
    g_strlcpy(node->name, name, sizeof node->name);
    if (!parse_ip4(ipop_xml_get(tunnel, "ip4", INET6_ADDRSTRLEN), node->ip4))
        return "has no valid IPv4 address";
    if (xmpp_stanza_get_attribute(tunnel, "ip6") && !parse_ip6(ipop_xml_get(tunnel, "ip6", INET6_ADDRSTRLEN), node->ip6))
        return "has an IPv6 address that is none";

    node->suites = ipop_suites_parse(ipop_xml_get(tunnel, "suites", WORDS_MAX));
    if (node->suites == 0)
        return "names no cipher suite that we know";
    const char *chosen = ipop_xml_get(tunnel, "auto", WORDS_MAX);
    node->auto_name = chosen && has_word(chosen, "name");
    node->auto_ip4 = chosen && has_word(chosen, "ip4");
    node->settled = chosen && has_word(chosen, "settled");
    return NULL;
}

IpopPresenceKind ipop_presence_parse(const char *xml, size_t n, char *ret_from, IpopNode *ret_node, const char **ret_why) {
    *ret_from = '\0';
    g_autoptr(IpopXml) presence = ipop_xml_parse(xml, n);
    if (!presence || !ipop_xml_is(presence, "presence", XMPP_NS_CLIENT))
        return IPOP_PRESENCE_MALFORMED;
    const char *from = xmpp_stanza_get_from(presence), *type = xmpp_stanza_get_type(presence);
    if (from && strnlen(from, IPOP_JID_MAX + 1) > IPOP_JID_MAX)
        return IPOP_PRESENCE_MALFORMED;
    const char *resource = from ? strchr(from, '/') : NULL;
    if (!resource || resource == from || !resource[1])
        return IPOP_PRESENCE_OTHER;
    if (type) {
        if (strcmp(type, "unavailable") != 0)
            return IPOP_PRESENCE_OTHER;
        strcpy(ret_from, from);
        return IPOP_PRESENCE_UNAVAILABLE;
    }

    IpopXml *tunnel = ipop_xml_next(presence, NULL, "tunnel", IPOP_NS_TUNNEL);
    if (!tunnel)
        return IPOP_PRESENCE_OTHER;
    strcpy(ret_from, from);
    IpopNode node = {0};
    bool twice = ipop_xml_next(presence, tunnel, "tunnel", IPOP_NS_TUNNEL);
    const char *why = twice ? "describes itself twice" : read_node(tunnel, &node);
    if (why) {
        *ret_why = why;
        return IPOP_PRESENCE_INVALID;
    }
    *ret_node = node;
    return IPOP_PRESENCE_AVAILABLE;
}

char *ipop_presence_build(const IpopNode *node) {
    char key[IPOP_KEY_TEXT_SIZE];
    g_autofree char *ver = ipop_disco_ver();
    ipop_key_to_text(node->key, key);

    IpopXml *presence = ipop_xml_new("presence", NULL);
    /* Negative: messages to the bare JID stay with the account's clients (RFC 6121 section 8.5.2). */
    ipop_xml_set_text(ipop_xml_add(presence, "priority", NULL), "-1");
    IpopXml *caps = ipop_xml_add(presence, "c", NS_CAPS);
    ipop_xml_set(caps, "hash", "sha-1");
    ipop_xml_set(caps, "node", IPOP_NS_TUNNEL);
    ipop_xml_set(caps, "ver", ver);

    IpopXml *tunnel = ipop_xml_add(presence, "tunnel", IPOP_NS_TUNNEL);
    ipop_xml_set(tunnel, "v", VERSION);
    ipop_xml_set(tunnel, "uid", node->uid.hex);
    ipop_xml_set(tunnel, "key", key);
    ipop_xml_set(tunnel, "name", node->name);
    ipop_xml_set(tunnel, "ip4", node->ip4);
    if (*node->ip6)
        ipop_xml_set(tunnel, "ip6", node->ip6);
    ipop_xml_set(tunnel, "suites", ipop_suites_text(node->suites));
    g_autofree char *chosen = g_strconcat(node->auto_name ? " name" : "", node->auto_ip4 ? " ip4" : "",
                                          node->settled ? " settled" : "", NULL);
    if (*chosen)
        ipop_xml_set(tunnel, "auto", chosen + 1);
    return ipop_xml_finish(presence);
}
