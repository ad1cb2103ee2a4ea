#include "controller/jingle/disco.h"

#include "controller/jingle/presence.h"
#include "controller/jingle/stanza.h"
#include "controller/jingle/xml.h"

#include <string.h>

#define NS_DISCO_INFO "http://jabber.org/protocol/disco#info"

static const IpopDisco own = {
    .category = "client",
    .type = "bot",
    .lang = "",
    .name = "ipop",
    .features = (const char *const[]){"http://jabber.org/protocol/caps", NS_DISCO_INFO, IPOP_NS_TUNNEL, "urn:xmpp:jingle:1",
                                      "urn:xmpp:jingle:transports:ice-udp:1", "urn:xmpp:ping", NULL},
};

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char *ipop_disco_hash(const IpopDisco *disco) {
    size_t n = g_strv_length((char **)disco->features);
    g_autofree const char **sorted = g_memdup2(disco->features, n * sizeof *sorted);
    if (n > 0)
        qsort(sorted, n, sizeof *sorted, compare_texts);

    g_autoptr(GString) text = g_string_new(NULL);
    g_string_printf(text, "%s/%s/%s/%s<", disco->category, disco->type, disco->lang, disco->name);
    for (size_t i = 0; i < n; i++)
        g_string_append_printf(text, "%s<", sorted[i]);

    guint8 digest[20];
    gsize size = sizeof digest;
    g_autoptr(GChecksum) sha1 = g_checksum_new(G_CHECKSUM_SHA1);
    g_checksum_update(sha1, (const guchar *)text->str, (gssize)text->len);
    g_checksum_get_digest(sha1, digest, &size);
    return g_base64_encode(digest, size);
}

char *ipop_disco_ver(void) {
    return ipop_disco_hash(&own);
}

char *ipop_disco_info(const char *node) {
    IpopXml *query = ipop_xml_new("query", NS_DISCO_INFO);
    if (node && *node)
        ipop_xml_set(query, "node", node);
    IpopXml *identity = ipop_xml_add(query, "identity", NULL);
    ipop_xml_set(identity, "category", own.category);
    ipop_xml_set(identity, "type", own.type);
    ipop_xml_set(identity, "name", own.name);
    for (const char *const *feature = own.features; *feature; feature++)
        ipop_xml_set(ipop_xml_add(query, "feature", NULL), "var", *feature);
    return ipop_xml_finish(query);
}
