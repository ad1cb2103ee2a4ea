/* presence.h - what a node says of itself in its presence, and reading it from others. Pure (text <-> struct); any thread.
 *
 *   <presence><priority>-1</priority>
 *     <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:ipop:tunnel:1' ver='...'/>   XEP-0115
 *     <tunnel xmlns='urn:ipop:tunnel:1' v='1' uid='...' key='base64' name='...' ip4='...' ip6='...'
 *             suites='aesgcm chachapoly' auto='name ip4 settled'/></presence>
 *
 * At most 600 bytes. `auto` names what was not configured but chosen by the node itself, and may therefore change; "settled"
 * says that it will not any more, since other nodes know it by that.
 */
#pragma once

#include "tincan/ctl/ids.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>

#define IPOP_NS_TUNNEL "urn:ipop:tunnel:1"

typedef struct {
    IpopUid uid;
    uint8_t key[IPOP_KEY_BYTES]; /* the uid is its hash: checked */
    char name[IPOP_NAME_MAX + 1];
    char ip4[INET_ADDRSTRLEN];   /* never "" */
    char ip6[INET6_ADDRSTRLEN];  /* "" when it has none */
    unsigned suites;             /* bits of IpopSuite, never 0 */
    bool auto_name, auto_ip4, settled;
} IpopNode;

typedef enum {
    IPOP_PRESENCE_MALFORMED,   /* not a presence, or larger than allowed */
    IPOP_PRESENCE_OTHER,       /* no node: a person's client, an error, a subscription */
    IPOP_PRESENCE_INVALID,     /* says it is a node, but its element is wrong; ret_why says how */
    IPOP_PRESENCE_AVAILABLE,   /* ret_node is filled */
    IPOP_PRESENCE_UNAVAILABLE, /* of any resource; only ret_from is filled */
} IpopPresenceKind;

/* ret_from: the full JID when the result is UNAVAILABLE, AVAILABLE or INVALID, else ""; at least IPOP_JID_MAX + 1 bytes.
 * ret_why: static text that goes on from "it ...", set when the result is INVALID. */
IpopPresenceKind ipop_presence_parse(const char *xml, size_t n, char *ret_from, IpopNode *ret_node, const char **ret_why);

/* The presence to send. Owned by the caller (g_free). */
char *ipop_presence_build(const IpopNode *node);
