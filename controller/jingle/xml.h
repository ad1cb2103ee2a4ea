/* xml.h - stanzas as trees: libstrophe's, read with bounds and written clean. Any thread, one tree by one thread at a time.
 *
 * What others sent is looked at before libstrophe parses it: it recurses over the tree, and it passes a document type or an
 * entity on to expat.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <strophe.h>

#define IPOP_XML_DEPTH_MAX 16

typedef xmpp_stanza_t IpopXml;

/* The tree of one element. NULL when xml is not well-formed, is more than IPOP_STANZA_MAX bytes or IPOP_XML_DEPTH_MAX
 * levels, or has a NUL, more than one root, or anything that RFC 6120 section 11.1 forbids (comments, processing
 * instructions, document types) or libstrophe never writes (CDATA). Owned by the caller (g_autoptr(IpopXml)). */
IpopXml *ipop_xml_parse(const char *xml, size_t n);

/* A new tree, or a new element at the end of a parent (owned by it). ns: NULL for the parent's. */
IpopXml *ipop_xml_new(const char *name, const char *ns);
IpopXml *ipop_xml_add(IpopXml *parent, const char *name, const char *ns);

/* Sets an attribute, or adds text. Invalid UTF-8 and characters that XML has no room for come out as '?' or U+FFFD. */
void ipop_xml_set(IpopXml *element, const char *name, const char *value);
void ipop_xml_set_uint(IpopXml *element, const char *name, uint64_t value);
void ipop_xml_set_text(IpopXml *element, const char *text);

/* The tree as text; frees the tree. (g_free) */
char *ipop_xml_finish(IpopXml *root);

/* True for this name and namespace. ns "jabber:client" is also met by none at all. */
bool ipop_xml_is(IpopXml *element, const char *name, const char *ns);

/* The next element after `previous` (NULL: the first) among parent's children; name NULL: any. NULL at the end. */
IpopXml *ipop_xml_next(IpopXml *parent, IpopXml *previous, const char *name, const char *ns);

/* The child element of this name and namespace if there is exactly one, else NULL. */
IpopXml *ipop_xml_only(IpopXml *parent, const char *name, const char *ns);

/* An attribute of at most max bytes; NULL when it is missing or longer. Lives as long as the tree. */
const char *ipop_xml_get(IpopXml *element, const char *name, size_t max);

/* A decimal attribute without sign or spaces, from min to max. False when it is missing or another. */
bool ipop_xml_get_uint(IpopXml *element, const char *name, uint64_t min, uint64_t max, uint64_t *ret);

void ipop_xml_free(IpopXml *root);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IpopXml, ipop_xml_free)
