#include "controller/internal.h"

#include <string.h>

#define ODDITIES_MAX 64
#define HEARD_INTERVAL IPOP_SECOND
#define UNPROVED_MAX 1024 /* nodes without a pin that are known at a time; any number can be made up */
#define MOVES_MAX 16 /* at once, then one in so long */
#define MOVES_INTERVAL (10 * IPOP_SECOND)
#define SETTLE_MAX 4096 /* each round moves to a name or address not tried before */

/* --- telling tincan --- */

void ipop_discovery_push(IpopController *c, IpopPeer *peer, bool heard) {
    char key[IPOP_KEY_TEXT_SIZE], ip6[INET6_ADDRSTRLEN];
    if (!peer->met)
        return;
    ipop_key_to_text(peer->node.key, key);
    /* Its IPv6 address follows from its uid; another one would be another node's. */
    ipop_self_ip6(c->conf, &peer->uid, ip6);
    if (strcmp(peer->node.ip6, ip6) != 0)
        ip6[0] = '\0';
    json_t *message = json_pack("{ss ss ss ss ss ss ss ss sb}", "uid", peer->uid.hex, "key", key, "name", peer->node.name,
                                "jid", peer->jid, "ip4", peer->node.ip4, "ip6", ip6, "suites",
                                ipop_suites_text(peer->node.suites), "presence",
                                peer->available ? "available" : "unavailable", "heard", heard);
    if (peer->refused != NULL)
        json_object_set_new(message, "reason", json_string(peer->refused));
    ipop_dataplane_want(c->dataplane, "set_remote_ip", message);
    if (heard)
        peer->pushed = ipop_clock_now();
}

void ipop_discovery_heard(IpopController *c, IpopPeer *peer) {
    if (ipop_clock_now() - peer->pushed >= HEARD_INTERVAL)
        ipop_discovery_push(c, peer, true);
}

/* --- own name and address --- */

static IpopClaim claim_of(const IpopPeer *peer) {
    return ipop_claims_proved(peer) ? IPOP_CLAIM_PROVED : IPOP_CLAIM_HEARD;
}

static bool meet_all(IpopController *c) {
    bool changed = false;
    for (unsigned i = 0; i < ipop_registry_count(c->registry); i++) {
        const IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (peer->met && peer->available)
            changed |= ipop_self_meet(c->self, &peer->node, claim_of(peer));
    }
    for (unsigned i = 0; i < ipop_pins_count(c->pins); i++) {
        const IpopPin *pin = ipop_pins_nth(c->pins, i);
        const IpopPeer *peer = ipop_registry_get(c->registry, &pin->uid);
        if (peer != NULL && peer->met && peer->available)
            continue; /* what it says of itself now counts */
        IpopNode node = {.uid = pin->uid};
        g_strlcpy(node.name, pin->name, sizeof node.name);
        g_strlcpy(node.ip4, pin->ip4, sizeof node.ip4);
        changed |= ipop_self_meet(c->self, &node, IPOP_CLAIM_PINNED);
    }
    return changed;
}

bool ipop_discovery_settle_self(IpopController *c) {
    IpopNode before = c->self->node;
    for (unsigned i = 0; i < SETTLE_MAX && meet_all(c); i++)
        continue;
    bool changed = strcmp(before.name, c->self->node.name) != 0 || strcmp(before.ip4, c->self->node.ip4) != 0;
    g_autoptr(GError) error = NULL;
    if (!ipop_self_keep_address(c->self, &error) && ipop_log_limit(&c->pins_limit, ipop_clock_now()))
        ipop_log(IPOP_LOG_WARNING, "self", "the chosen address can't be kept for the next start: %s", error->message);
    if (changed)
        ipop_log(IPOP_LOG_INFO, "self", "another node has this one's name or address, and this one's was not configured: now "
                 "name=%s address=%s (were %s, %s)", c->self->node.name, c->self->node.ip4, before.name, before.ip4);
    return changed;
}

/* True when self changed. What is only heard can't make it move again and again. */
static bool meet(IpopController *c, const IpopPeer *peer) {
    int64_t now = ipop_clock_now();
    bool heard = claim_of(peer) == IPOP_CLAIM_HEARD;
    if ((heard && !ipop_budget_left(&c->moves, MOVES_MAX, MOVES_INTERVAL, now)) ||
        !ipop_self_meet(c->self, &peer->node, claim_of(peer)))
        return false;
    if (heard)
        ipop_budget_take(&c->moves, MOVES_MAX, MOVES_INTERVAL, now);
    ipop_discovery_settle_self(c);
    ipop_controller_announce(c);
    ipop_discovery_judge_all(c);
    return true;
}

void ipop_discovery_settled(IpopController *c) {
    if (c->self == NULL || c->self->node.settled)
        return;
    c->self->node.settled = true;
    if (c->self->node.auto_name || c->self->node.auto_ip4)
        ipop_controller_announce(c);
}

/* --- may it be a peer --- */

static bool claim_the_same(const IpopNode *a, const IpopNode *b) {
    return g_ascii_strcasecmp(a->name, b->name) == 0 || strcmp(a->ip4, b->ip4) == 0;
}

/* Pins keep a node's first name and address; this, those by which it is linked now. */
static char *find_holder(IpopController *c, const IpopNode *said) {
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        const IpopPeer *peer = ipop_registry_nth(c->registry, i);
        bool same_name = !said->auto_name && !peer->node.auto_name && g_ascii_strcasecmp(peer->node.name, said->name) == 0;
        bool same_ip4 = strcmp(peer->node.ip4, said->ip4) == 0;
        if ((same_name || same_ip4) && ipop_claims_proved(peer) && !ipop_uid_equal(&peer->uid, &said->uid))
            return g_strdup_printf("the %s %s is that of %s (uid %.10s), which is online", same_ip4 ? "address" : "name",
                                   same_ip4 ? said->ip4 : said->name, ipop_peer_label(peer), peer->uid.hex);
    }
    return NULL;
}

char *ipop_discovery_objection(IpopController *c, const IpopPeer *peer, const IpopNode *said) {
    char *why = ipop_self_objection(c->self, said);
    if (why == NULL)
        ipop_pins_judge(c->pins, said, peer->jid, &why);
    if (why == NULL && !ipop_claims_proved(peer))
        why = find_holder(c, said);
    return why;
}

static bool remember(IpopController *c, const IpopPeer *peer) {
    g_autoptr(GError) error = NULL;
    bool ok = ipop_pins_remember(c->pins, &peer->node, peer->jid, &error);
    if (!ok && ipop_log_limit(&c->pins_limit, ipop_clock_now()))
        ipop_log(IPOP_LOG_WARNING, "peer", "%s can't be remembered: %s", ipop_peer_label(peer), error->message);
    return ok;
}

/* A presence may be forged, so nothing is pinned before a link has proved the key. When another process pinned something
 * meanwhile, the node may have become one that is refused. */
static char *find_objection_or_pin(IpopController *c, const IpopPeer *peer) {
    char *why = ipop_discovery_objection(c, peer, &peer->node);
    if (why == NULL && ipop_claims_proved(peer) && !remember(c, peer))
        why = ipop_discovery_objection(c, peer, &peer->node);
    return why;
}

/* Whether the peer is refused, and all that follows from a change of that. */
static void judge(IpopController *c, IpopPeer *peer) {
    g_autofree char *why = find_objection_or_pin(c, peer);
    bool was_refused = peer->refused != NULL;
    bool changed = g_strcmp0(why, peer->refused) != 0;
    g_free(peer->refused);
    peer->refused = g_strdup(why);
    if (!changed)
        return;
    if (why != NULL) {
        ipop_controller_tell(c, peer, "peer", "refused name=%s address=%s uid=%.8s: %s", ipop_peer_label(peer), peer->node.ip4,
                             peer->uid.hex, why);
        ipop_links_refuse(c, peer);
    } else if (was_refused) {
        ipop_controller_tell(c, peer, "peer", "no longer refused name=%s address=%s uid=%.8s", ipop_peer_label(peer),
                             peer->node.ip4, peer->uid.hex);
        ipop_links_retry(c, peer);
    }
}

/* What it holds, or held, is another's to claim or is not. */
static void judge_rivals(IpopController *c, const IpopPeer *peer, const IpopNode *node) {
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *other = ipop_registry_nth(c->registry, i);
        if (other == peer || !other->met || !other->available || !claim_the_same(&other->node, node))
            continue;
        judge(c, other);
        ipop_discovery_push(c, other, false);
    }
}

void ipop_discovery_proved(IpopController *c, IpopPeer *peer) {
    ipop_discovery_settled(c);
    if (!peer->met)
        return;
    if (!meet(c, peer))
        judge(c, peer);
    ipop_discovery_push(c, peer, false);
    judge_rivals(c, peer, &peer->node);
}

void ipop_discovery_unproved(IpopController *c, IpopPeer *peer) {
    IpopNode held = peer->node;
    if (ipop_claims_unprove(c, peer)) {
        judge(c, peer);
        ipop_discovery_push(c, peer, false);
    }
    judge_rivals(c, peer, &held);
}

void ipop_discovery_judge_all(IpopController *c) {
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (!peer->met || !peer->available)
            continue; /* who has left must not take a name or an address that is free now */
        judge(c, peer);
        ipop_discovery_push(c, peer, false);
        ipop_links_retry(c, peer);
    }
}

/* --- presences --- */

static bool is_own_account(const IpopController *c, const char *jid) {
    const char *slash = strchr(jid, '/');
    size_t n = strlen(c->conf->xmpp_username);
    return slash != NULL && (size_t)(slash - jid) == n && g_ascii_strncasecmp(jid, c->conf->xmpp_username, n) == 0;
}

static void tell_oddity(IpopController *c, const char *jid, const char *why) {
    if (g_hash_table_contains(c->oddities, jid))
        return;
    if (g_hash_table_size(c->oddities) < ODDITIES_MAX)
        g_hash_table_add(c->oddities, g_strdup(jid));
    else if (!ipop_log_limit(&c->odd_limit, ipop_clock_now()))
        return;
    ipop_log(IPOP_LOG_WARNING, "peer", "%s says it is a node, but it %s: ignored", jid, why);
}

static void take_own_uid(IpopController *c, const char *jid) {
    if (g_ascii_strcasecmp(jid, c->jid) == 0 || !ipop_log_limit(&c->twin_limit, ipop_clock_now()))
        return;
    ipop_log(IPOP_LOG_ERROR, "peer", "%s has this node's own identity: its identity.key was copied to another machine, or that "
             "is an old login of this one; if copied, delete it on one of the two and restart ipop-tincan there", jid);
}

static void set_unavailable(IpopController *c, IpopPeer *peer) {
    bool news = peer->link != IPOP_POLICY_LINK_ONLINE; /* the link goes on as if nothing had been */
    peer->available = false;
    if (peer->link == IPOP_POLICY_LINK_DOWN)
        peer->since = ipop_clock_now();
    ipop_log(ipop_controller_level(c, peer, news), "peer", "left Jabber name=%s uid=%.8s", ipop_peer_label(peer), peer->uid.hex);
    ipop_discovery_push(c, peer, true);
    ipop_links_consider(c, peer);
}

/* The resource a node asks for is made of its uid (self.c). Most servers give it, not all. */
static bool is_own_resource(const char *jid, const IpopUid *uid) {
    const char *resource = strchr(jid, '/');
    return resource != NULL && g_str_has_prefix(resource, "/ipop-") && strlen(resource) == strlen("/ipop-") + 8 &&
           strncmp(resource + strlen("/ipop-"), uid->hex, 8) == 0;
}

/* Whether a node that is known by a JID is to be known by this other one from now on. */
static bool may_change_jid(const IpopController *c, const IpopPeer *peer, const char *jid) {
    bool own = is_own_resource(peer->jid, &peer->uid), other_own = is_own_resource(jid, &peer->uid);
    bool there = peer->available && peer->login == c->login;
    if (own != other_own)
        return other_own || (!there && peer->link != IPOP_POLICY_LINK_ONLINE);
    return !there;
}

/* Whether a JID that a node is known by is to be another one's from now on. */
static bool may_lose_jid(const IpopController *c, const IpopPeer *holder, const IpopUid *uid) {
    bool own = is_own_resource(holder->jid, &holder->uid), other_own = is_own_resource(holder->jid, uid);
    if (own != other_own)
        return other_own;
    return holder->link != IPOP_POLICY_LINK_ONLINE && ipop_pins_get(c->pins, &holder->uid) == NULL;
}

static bool too_many(const IpopController *c, const IpopUid *uid) {
    unsigned n = ipop_registry_count(c->registry);
    if (ipop_pins_get(c->pins, uid) != NULL)
        return false;
    for (unsigned i = 0; i < ipop_pins_count(c->pins) && n >= UNPROVED_MAX; i++)
        n -= ipop_registry_get(c->registry, &ipop_pins_nth(c->pins, i)->uid) != NULL;
    return n >= UNPROVED_MAX;
}

/* Room for a pinned node, at the cost of one that is not and has no link. */
static void make_room(IpopController *c, const IpopUid *uid) {
    if (ipop_registry_count(c->registry) < IPOP_REGISTRY_MAX || ipop_pins_get(c->pins, uid) == NULL)
        return;
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (peer->link == IPOP_POLICY_LINK_DOWN && peer->talk == NULL && ipop_pins_get(c->pins, &peer->uid) == NULL) {
            ipop_links_forget(c, peer);
            return;
        }
    }
}

/* The peer whose presence this is; NULL when it is not to be believed, or there are too many. */
static IpopPeer *find_peer(IpopController *c, const char *jid, const IpopNode *node) {
    int64_t now = ipop_clock_now();
    IpopPeer *peer = ipop_registry_get(c->registry, &node->uid), *holder = ipop_registry_by_jid(c->registry, jid);
    if (peer != NULL && peer->jid[0] != '\0' && strcmp(peer->jid, jid) != 0 && !may_change_jid(c, peer, jid)) {
        if (ipop_log_limit(&c->claim_limit, now))
            ipop_log(IPOP_LOG_WARNING, "peer", "%s says it is %s, which is logged in as %s: ignored until that one leaves", jid,
                     ipop_peer_label(peer), peer->jid);
        return NULL;
    }
    if (holder != NULL && holder != peer && !may_lose_jid(c, holder, &node->uid)) {
        if (ipop_log_limit(&c->claim_limit, now))
            ipop_log(IPOP_LOG_WARNING, "peer", "%s says it is %s, and is %s: ignored", jid, node->name, ipop_peer_label(holder));
        return NULL;
    }
    make_room(c, &node->uid);
    if (peer == NULL && (too_many(c, &node->uid) || (peer = ipop_registry_add(c->registry, &node->uid)) == NULL)) {
        if (ipop_log_limit(&c->full_limit, now))
            ipop_log(IPOP_LOG_WARNING, "peer", "more than %d nodes on this account that were never connected to: further ones are "
                     "ignored until some leave", UNPROVED_MAX);
        return NULL;
    }
    if (holder != NULL && holder != peer) {
        ipop_registry_set_jid(c->registry, holder, "");
        set_unavailable(c, holder);
    }
    return peer;
}

static void take_available(IpopController *c, const char *jid, const IpopNode *said) {
    if (ipop_uid_equal(&said->uid, &c->self->node.uid)) {
        take_own_uid(c, jid);
        return;
    }
    IpopPeer *peer = find_peer(c, jid, said);
    if (peer == NULL)
        return;
    IpopNode before = peer->node;
    bool anew = !peer->met || !peer->available || peer->login != c->login;
    bool known = peer->met;
    ipop_registry_set_jid(c->registry, peer, jid);
    ipop_claims_hear(c, peer, said);
    peer->met = peer->available = true;
    peer->login = c->login;
    if (!anew && memcmp(&peer->node, &before, sizeof before) == 0) {
        ipop_discovery_heard(c, peer);
        return;
    }
    if (anew && peer->link != IPOP_POLICY_LINK_ONLINE)
        peer->found = ipop_clock_now();
    if (!known || (anew && peer->link == IPOP_POLICY_LINK_DOWN))
        ipop_controller_tell(c, peer, "peer", "found name=%s address=%s uid=%.8s jid=%s", peer->node.name, peer->node.ip4,
                             peer->uid.hex, jid);
    if (!meet(c, peer))
        judge(c, peer);
    ipop_discovery_push(c, peer, true);
    if (anew)
        ipop_links_anew(c, peer);
    else
        ipop_links_retry(c, peer);
}

void ipop_discovery_presence(void *user, const char *xml, size_t n) {
    IpopController *c = user;
    char from[IPOP_JID_MAX + 1];
    IpopNode node;
    memset(&node, 0, sizeof node);
    const char *why = NULL;
    IpopPresenceKind kind = ipop_presence_parse(xml, n, from, &node, &why);
    if (kind == IPOP_PRESENCE_MALFORMED || kind == IPOP_PRESENCE_OTHER || !is_own_account(c, from))
        return;
    IpopPeer *peer = ipop_registry_by_jid(c->registry, from);
    if (kind == IPOP_PRESENCE_AVAILABLE)
        take_available(c, from, &node);
    else if (kind == IPOP_PRESENCE_INVALID)
        tell_oddity(c, from, why);
    else if (peer != NULL && peer->available)
        set_unavailable(c, peer);
}

void ipop_discovery_sweep(IpopController *c) {
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (peer->available && peer->login != c->login)
            set_unavailable(c, peer);
    }
}
