/* fuzz_presence.c - a presence as anybody on the account may send it: never a crash, and a node that is accepted is sound and
 * comes back the same from what we would send for it. */
#include "controller/jingle/presence.h"
#include "controller/jingle/stanza.h"

#include <assert.h>
#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_node(const IpopNode *node) {
    IpopUid uid = ipop_uid_from_key(node->key);
    assert(ipop_uid_equal(&uid, &node->uid));
    assert(ipop_name_valid(node->name) && *node->ip4 && node->suites);

    g_autofree char *built = ipop_presence_build(node);
    assert(strlen(built) <= 600);
    g_autofree char *xml = g_strdup_printf("<presence from='a@b/c'>%s", built + strlen("<presence>"));
    char from[IPOP_JID_MAX + 1];
    IpopNode back;
    const char *why;
    assert(ipop_presence_parse(xml, strlen(xml), from, &back, &why) == IPOP_PRESENCE_AVAILABLE);
    assert(strcmp(node->name, back.name) == 0 && strcmp(node->ip4, back.ip4) == 0 && strcmp(node->ip6, back.ip6) == 0);
    assert(ipop_uid_equal(&node->uid, &back.uid) && memcmp(node->key, back.key, sizeof back.key) == 0);
    assert(node->auto_name == back.auto_name && node->auto_ip4 == back.auto_ip4 && node->settled == back.settled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char from[IPOP_JID_MAX + 1];
    IpopNode node;
    const char *why = NULL;
    IpopPresenceKind kind = ipop_presence_parse((const char *)data, size, from, &node, &why);
    bool named = kind == IPOP_PRESENCE_AVAILABLE || kind == IPOP_PRESENCE_UNAVAILABLE || kind == IPOP_PRESENCE_INVALID;
    assert(named == (*from != '\0'));
    assert((kind == IPOP_PRESENCE_INVALID) == (why != NULL));
    if (kind == IPOP_PRESENCE_AVAILABLE)
        check_node(&node);
    return 0;
}
