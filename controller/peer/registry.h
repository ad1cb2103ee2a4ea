/* registry.h - every node this one knows of, found by uid or by JID. Bounded. Main thread. */
#pragma once

#include "controller/budget.h"
#include "controller/jingle/presence.h"
#include "controller/jingle/stanza.h"
#include "controller/policy/policy.h"

#include <glib.h>

#define IPOP_REGISTRY_MAX 4096

/* A session and what belongs to it; links.c's. */
typedef struct IpopTalk IpopTalk;

typedef struct {
    IpopUid uid;
    bool met;       /* node and jid are from a presence; else only tincan knew it */
    IpopNode node;
    IpopNode *aside; /* said by a presence that was not believed (claims.c); NULL none */
    uint64_t proved; /* what the link that is online proves of it (tincan/ctl/ids.h); 0 nothing */
    char *jid;      /* full JID, "" when unknown; changed by ipop_registry_set_jid only */
    bool available;
    unsigned login; /* number of the own login in which it was last seen */
    char *refused;  /* why it may not be a peer; NULL when it may */
    int64_t pushed; /* when tincan was last told that it was heard */

    IpopPolicyLink link;
    char path[16];  /* while online */
    int64_t since;  /* of link and available together (policy.h) */
    int64_t found;  /* when the present effort for a link began: for the log */
    int64_t retry_at, renew_at; /* policy.h */
    int64_t offered_at; /* when this node last opened a session with it */
    int64_t upgrade_at; /* when to look for a direct path again, the link being relayed; 0: not */
    unsigned upgrades;  /* attempts at that since it is relayed, or since the network changed */
    int64_t wake_at; /* when policy wants to look again; INT64_MAX: not by itself */
    unsigned failures; /* in a row */
    bool first;      /* the own tincan lost the link: see policy.h */
    unsigned generation; /* of the newest link asked for or seen; only grows */
    char *why;       /* the last failure, as it was logged; NULL none */
    IpopBudget offers;  /* a peer may not make us gather without end */
    IpopBudget answers; /* to its requests */
    IpopBudget lines;   /* of the log */
    bool stranger;   /* counted among those without a pin that a session is under way with */
    IpopTalk *talk;  /* NULL: none */
} IpopPeer;

typedef struct IpopRegistry IpopRegistry;

/* limit: peers beyond it are not added (IPOP_REGISTRY_MAX but in tests). */
IpopRegistry *ipop_registry_new(unsigned limit);

/* Talks must have been ended. */
void ipop_registry_free(IpopRegistry *registry);

/* Finds or adds. NULL when the registry is full. Owned by the registry. */
IpopPeer *ipop_registry_add(IpopRegistry *registry, const IpopUid *uid);
IpopPeer *ipop_registry_get(const IpopRegistry *registry, const IpopUid *uid);
IpopPeer *ipop_registry_by_jid(const IpopRegistry *registry, const char *jid);

/* Takes the JID from whatever other peer had it: a JID is one login. */
void ipop_registry_set_jid(IpopRegistry *registry, IpopPeer *peer, const char *jid);

/* Frees the peer; its talk must have been ended. */
void ipop_registry_remove(IpopRegistry *registry, IpopPeer *peer);

/* In no order; NULL beyond the last. Removing the i-th puts the last in its place: go downwards to remove. */
unsigned ipop_registry_count(const IpopRegistry *registry);
IpopPeer *ipop_registry_nth(const IpopRegistry *registry, unsigned i);
