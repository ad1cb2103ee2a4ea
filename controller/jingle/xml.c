#include "controller/jingle/xml.h"

#include "controller/xmpp/xmpp.h"

#include <string.h>

/* Stanza functions use the context for memory alone, which is malloc's: one serves all threads. */
static xmpp_ctx_t *context(void) {
    static gsize made;
    if (g_once_init_enter(&made))
        g_once_init_leave(&made, (gsize)xmpp_ctx_new(NULL, NULL));
    return (xmpp_ctx_t *)made;
}

/* The index of the '>' that ends the tag at i; n when there is none. */
static size_t tag_end(const char *xml, size_t n, size_t i) {
    char quote = '\0';
    for (i++; i < n; i++) {
        char c = xml[i];
        if (quote)
            quote = c == quote ? '\0' : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '>')
            return i;
    }
    return n;
}

/* One root, tags that open and close in balance and not too deep, nothing but elements and text. Whether the names agree,
 * and all else, is expat's to say. */
static bool shape_allowed(const char *xml, size_t n) {
    unsigned depth = 0, roots = 0;
    for (size_t i = 0; i < n; i++) {
        if (xml[i] != '<') {
            if (depth == 0 && !g_ascii_isspace(xml[i]))
                return false;
            continue;
        }
        size_t end = tag_end(xml, n, i);
        if (end == n || xml[i + 1] == '!' || xml[i + 1] == '?')
            return false;
        if (xml[i + 1] == '/') {
            if (depth-- == 0)
                return false;
        } else {
            if (depth == 0 && roots++ > 0)
                return false;
            if (depth == IPOP_XML_DEPTH_MAX)
                return false;
            if (xml[end - 1] != '/')
                depth++;
        }
        i = end;
    }
    return depth == 0 && roots == 1;
}

IpopXml *ipop_xml_parse(const char *xml, size_t n) {
    if (n > IPOP_STANZA_MAX || memchr(xml, '\0', n) || !shape_allowed(xml, n))
        return NULL;
    g_autofree char *text = g_strndup(xml, n);
    return xmpp_stanza_new_from_string(context(), text);
}

IpopXml *ipop_xml_new(const char *name, const char *ns) {
    IpopXml *root = xmpp_stanza_new(context());
    xmpp_stanza_set_name(root, name);
    if (ns)
        xmpp_stanza_set_ns(root, ns);
    return root;
}

IpopXml *ipop_xml_add(IpopXml *parent, const char *name, const char *ns) {
    IpopXml *child = ipop_xml_new(name, ns);
    xmpp_stanza_add_child_ex(parent, child, 0); /* hands over our reference */
    return child;
}

/* Control characters, and U+FFFE and U+FFFF, may not stand in XML at all (XML 1.0 section 2.2). */
static char *clean(const char *text) {
    char *valid = g_utf8_make_valid(text, -1);
    for (char *c = valid; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = '?';
        else if (strncmp(c, "\xef\xbf\xbe", 3) == 0 || strncmp(c, "\xef\xbf\xbf", 3) == 0)
            c[2] = '\xbd';
    return valid;
}

void ipop_xml_set(IpopXml *element, const char *name, const char *value) {
    g_autofree char *valid = clean(value);
    xmpp_stanza_set_attribute(element, name, valid);
}

void ipop_xml_set_uint(IpopXml *element, const char *name, uint64_t value) {
    char text[24];
    g_snprintf(text, sizeof text, "%" G_GUINT64_FORMAT, value);
    xmpp_stanza_set_attribute(element, name, text);
}

void ipop_xml_set_text(IpopXml *element, const char *text) {
    g_autofree char *valid = clean(text);
    IpopXml *node = xmpp_stanza_new(context());
    xmpp_stanza_set_text(node, valid);
    xmpp_stanza_add_child_ex(element, node, 0);
}

char *ipop_xml_finish(IpopXml *root) {
    char *text = NULL;
    size_t n;
    int result = xmpp_stanza_to_text(root, &text, &n);
    g_assert(result == XMPP_EOK);
    char *copy = g_strdup(text);
    xmpp_free(context(), text);
    ipop_xml_free(root);
    return copy;
}

bool ipop_xml_is(IpopXml *element, const char *name, const char *ns) {
    if (!xmpp_stanza_is_tag(element) || strcmp(xmpp_stanza_get_name(element), name) != 0)
        return false;
    const char *own = xmpp_stanza_get_ns(element);
    return strcmp(own ? own : XMPP_NS_CLIENT, ns) == 0;
}

IpopXml *ipop_xml_next(IpopXml *parent, IpopXml *previous, const char *name, const char *ns) {
    IpopXml *element = previous ? xmpp_stanza_get_next(previous) : xmpp_stanza_get_children(parent);
    while (element && (name ? !ipop_xml_is(element, name, ns) : !xmpp_stanza_is_tag(element)))
        element = xmpp_stanza_get_next(element);
    return element;
}

IpopXml *ipop_xml_only(IpopXml *parent, const char *name, const char *ns) {
    IpopXml *element = ipop_xml_next(parent, NULL, name, ns);
    return element && !ipop_xml_next(parent, element, name, ns) ? element : NULL;
}

const char *ipop_xml_get(IpopXml *element, const char *name, size_t max) {
    const char *value = xmpp_stanza_get_attribute(element, name);
    return value && strnlen(value, max + 1) <= max ? value : NULL;
}

bool ipop_xml_get_uint(IpopXml *element, const char *name, uint64_t min, uint64_t max, uint64_t *ret) {
    const char *text = ipop_xml_get(element, name, 20);
    return text && g_ascii_string_to_unsigned(text, 10, min, max, ret, NULL);
}

void ipop_xml_free(IpopXml *root) {
    if (root)
        xmpp_stanza_release(root);
}
