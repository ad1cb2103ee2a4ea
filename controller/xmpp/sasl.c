#include "controller/xmpp/sasl.h"

#include <glib.h>
#include <string.h>

static const char *const names[] = {"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"};

static unsigned known_as(xmpp_stanza_t *mechanism) {
    const char *tag = xmpp_stanza_get_name(mechanism);
    if (!tag || strcmp(tag, "mechanism") != 0)
        return 0;
    unsigned bit = 0;
    char *name = xmpp_stanza_get_text(mechanism);
    for (unsigned i = 0; name && i < G_N_ELEMENTS(names); i++)
        if (g_ascii_strcasecmp(name, names[i]) == 0)
            bit = 1U << i;
    xmpp_free(xmpp_stanza_get_context(mechanism), name);
    return bit;
}

unsigned ipop_sasl_count_scram(xmpp_stanza_t *features) {
    xmpp_stanza_t *mechanisms = xmpp_stanza_get_child_by_name_and_ns(features, "mechanisms", XMPP_NS_SASL);
    unsigned found = 0;
    for (xmpp_stanza_t *child = mechanisms ? xmpp_stanza_get_children(mechanisms) : NULL; child;
         child = xmpp_stanza_get_next(child))
        found |= known_as(child);
    return (unsigned)__builtin_popcount(found);
}
