#include "controller/internal.h"

#include "tincan/ctl/json.h"

#include <stdio.h>
#include <string.h>

#define RELAY_INTERVAL (IPOP_SECOND / 5) /* between two of those that are renewed for new credentials */
#define STRANGERS_MAX 32 /* sessions at a time with nodes without a pin: each opens sockets, and any number can be made up */
#define STRANGERS_WAIT (IPOP_SECOND / 2)
#define RENEW_INTERVAL (2 * IPOP_SECOND) /* between new generations of a link that tincan asks for */
#define RENEW_BURST 3                    /* changes of the network that are followed at once */
#define REFUSED_FAILURES 7 /* as if it had failed so often: back-off at its longest */

static void set_link(IpopController *c, IpopPeer *peer, IpopPolicyLink link) {
    if (peer->link != link)
        peer->since = ipop_clock_now();
    c->strangers -= peer->stranger;
    peer->stranger = link == IPOP_POLICY_LINK_TRYING && ipop_pins_get(c->pins, &peer->uid) == NULL;
    c->strangers += peer->stranger;
    peer->link = link;
}

static bool is_lower(const IpopController *c, const IpopPeer *peer) {
    return c->self != NULL && ipop_uid_compare(&c->self->node.uid, &peer->uid) < 0;
}

/* When the link is to get another generation; 0: not. */
static int64_t renewal_time(const IpopPeer *peer) {
    if (peer->renew_at == 0 || peer->upgrade_at == 0)
        return MAX(peer->renew_at, peer->upgrade_at);
    return MIN(peer->renew_at, peer->upgrade_at);
}

/* Which path a link got may be chance: a busy machine, a firewall that was slow to open. One end is enough to try again. */
static void plan_upgrade(const IpopController *c, IpopPeer *peer) {
    bool relayed = peer->link == IPOP_POLICY_LINK_ONLINE && strcmp(peer->path, "relayed") == 0;
    peer->upgrade_at =
        relayed && is_lower(c, peer) ? ipop_clock_now() + ipop_policy_upgrade(peer->upgrades, g_random_int()) : 0;
}

static IpopPolicyDecision decide(const IpopController *c, const IpopPeer *peer, int64_t now) {
    IpopPolicyFacts facts = {
        .tincan = c->tincan,
        .login = c->xmpp_state == IPOP_XMPP_CONNECTED && peer->login == c->login && peer->jid[0] != '\0',
        .available = peer->met && peer->available,
        .refused = peer->refused != NULL,
        .lower = is_lower(c, peer),
        .first = peer->first,
        .link = peer->link,
        .since = peer->since,
        .retry_at = peer->retry_at,
        .renew_at = renewal_time(peer),
        .wait_time = (int64_t)c->conf->wait_time * IPOP_SECOND,
    };
    return ipop_policy_decide(&facts, now);
}

static void trim(IpopController *c, IpopPeer *peer, const char *why) {
    if (c->tincan)
        ipop_dataplane_do(c->dataplane, "trim_link", json_pack("{ss ss}", "uid", peer->uid.hex, "reason", why), NULL, NULL);
}

bool ipop_links_room(const IpopController *c, const IpopPeer *peer) {
    return peer->stranger || c->strangers < STRANGERS_MAX || ipop_pins_get(c->pins, &peer->uid) != NULL;
}

void ipop_links_forget(IpopController *c, IpopPeer *peer) {
    ipop_controller_tell(c, peer, "peer", "forgotten name=%s uid=%.8s: gone from Jabber and without a link", ipop_peer_label(peer),
             peer->uid.hex);
    ipop_dataplane_want(c->dataplane, "forget_peer", json_pack("{ss}", "uid", peer->uid.hex));
    ipop_signalling_drop(peer);
    ipop_registry_remove(c->registry, peer);
}

static void start(IpopController *c, IpopPeer *peer) {
    peer->first = false;
    peer->renew_at = 0;
    peer->offered_at = ipop_clock_now();
    if (peer->link == IPOP_POLICY_LINK_ONLINE) {
        peer->upgrades++;
        plan_upgrade(c, peer);
        ipop_log(IPOP_LOG_DEBUG, "link", "looking for a better path name=%s address=%s path=%s attempt=%u", ipop_peer_label(peer),
                 peer->node.ip4, peer->path, peer->upgrades);
    } else {
        ipop_log(ipop_controller_level(c, peer, peer->failures == 0), "link", "trying name=%s address=%s attempt=%u",
                 ipop_peer_label(peer), peer->node.ip4, peer->failures + 1);
        set_link(c, peer, IPOP_POLICY_LINK_TRYING);
    }
    ipop_signalling_offer(c, peer);
}

void ipop_links_consider(IpopController *c, IpopPeer *peer) {
    int64_t now = ipop_clock_now();
    IpopPolicyDecision decision = decide(c, peer, now);
    peer->wake_at = INT64_MAX;
    switch (decision.verb) {
    case IPOP_POLICY_NOTHING:
        break;
    case IPOP_POLICY_WAIT:
        peer->wake_at = decision.at;
        break;
    case IPOP_POLICY_START:
        if (!ipop_links_room(c, peer)) {
            peer->wake_at = now + STRANGERS_WAIT + g_random_int_range(0, STRANGERS_WAIT);
            break;
        }
        start(c, peer);
        /* Now it is to be given up in time; a start that failed at once has seen to the next one itself. */
        decision = decide(c, peer, now);
        if (decision.verb == IPOP_POLICY_WAIT)
            peer->wake_at = decision.at;
        break;
    case IPOP_POLICY_GIVE_UP:
        ipop_signalling_failed(peer, "no way to it was found within 30 s");
        break;
    case IPOP_POLICY_FORGET:
        ipop_links_forget(c, peer);
        return;
    }
    ipop_controller_wake_at(c, peer->wake_at);
}

void ipop_links_retry(IpopController *c, IpopPeer *peer) {
    peer->failures = 0;
    peer->retry_at = 0;
    if (peer->link == IPOP_POLICY_LINK_DOWN)
        peer->since = ipop_clock_now();
    ipop_links_consider(c, peer);
}

static void drop_attempt(IpopController *c, IpopPeer *peer) {
    if (peer->link != IPOP_POLICY_LINK_TRYING)
        return;
    ipop_signalling_drop(peer);
    set_link(c, peer, IPOP_POLICY_LINK_DOWN);
}

void ipop_links_anew(IpopController *c, IpopPeer *peer) {
    /* What was under way was with whoever had that login before. */
    drop_attempt(c, peer);
    if (peer->talk != NULL && peer->talk->renewal && peer->talk->session.state != IPOP_SESSION_ACTIVE) {
        ipop_signalling_drop(peer);
        peer->renew_at = ipop_clock_now();
    }
    ipop_links_retry(c, peer);
}

void ipop_links_refuse(IpopController *c, IpopPeer *peer) {
    ipop_signalling_terminate(peer, IPOP_REASON_SECURITY_ERROR, peer->refused);
    ipop_signalling_drop(peer);
    /* tincan ends the link of a peer that it is given a reason against. */
    set_link(c, peer, IPOP_POLICY_LINK_DOWN);
}

void ipop_links_answering(IpopController *c, IpopPeer *peer) {
    peer->first = false;
    peer->renew_at = 0;
    plan_upgrade(c, peer); /* theirs does for the next one of ours */
    if (peer->link != IPOP_POLICY_LINK_ONLINE) {
        ipop_log(ipop_controller_level(c, peer, peer->failures == 0), "link", "answering name=%s address=%s",
                 ipop_peer_label(peer), peer->node.ip4);
        peer->since = ipop_clock_now();
        set_link(c, peer, IPOP_POLICY_LINK_TRYING);
    }
    ipop_links_consider(c, peer);
}

/* --- what became of it --- */

static void tell_failure(IpopController *c, IpopPeer *peer, const char *why) {
    int64_t now = ipop_clock_now();
    IpopPolicyDecision next = decide(c, peer, now);
    IpopLogLevel level = ipop_controller_level(c, peer, g_strcmp0(why, peer->why) != 0);
    char again[48] = "";
    if (next.verb == IPOP_POLICY_WAIT && peer->available)
        snprintf(again, sizeof again, "; next attempt in %.1f s", (double)(next.at - now) / (double)IPOP_SECOND);
    g_free(peer->why);
    peer->why = g_strdup(why);
    ipop_log(level, "link", "failed name=%s address=%s: %s%s", ipop_peer_label(peer), peer->node.ip4, why, again);
}

void ipop_links_ended(IpopController *c, IpopPeer *peer, IpopEnd end, const char *why) {
    int64_t now = ipop_clock_now();
    if (peer->link == IPOP_POLICY_LINK_ONLINE) {
        /* The old generation goes on carrying. */
        ipop_links_consider(c, peer);
        return;
    }
    set_link(c, peer, IPOP_POLICY_LINK_DOWN);
    switch (end) {
    case IPOP_END_FAILED:
        peer->failures++;
        break;
    case IPOP_END_REFUSED:
        peer->failures = REFUSED_FAILURES;
        break;
    case IPOP_END_YIELDED: /* which may be a lie */
        peer->retry_at = now + IPOP_POLICY_GRACE;
        ipop_links_consider(c, peer);
        return;
    case IPOP_END_LOST:
        peer->retry_at = 0;
        ipop_links_consider(c, peer);
        return;
    }
    trim(c, peer, why);
    peer->retry_at = now + ipop_policy_backoff(peer->failures, g_random_int());
    tell_failure(c, peer, why);
    ipop_links_consider(c, peer);
}

static void tell_online(IpopController *c, IpopPeer *peer, bool moved, const json_t *message) {
    const char *local = "", *remote = "", *address = "", *reason = "";
    char after[48] = "";
    ipop_json_string(message, "local_type", 16, &local);
    ipop_json_string(message, "rem_type", 16, &remote);
    ipop_json_string(message, "rem_addr", 64, &address);
    ipop_json_string(message, "reason", 512, &reason);
    if (!moved && peer->talk == NULL) {
        ipop_controller_tell(c, peer, "link", "connected name=%s address=%s path=%s: it still is", ipop_peer_label(peer),
                 peer->node.ip4, peer->path);
        return;
    }
    if (!moved)
        snprintf(after, sizeof after, " after=%.0f ms", (double)(ipop_clock_now() - peer->found) / 1000);
    ipop_controller_tell(c, peer, "link", "%s name=%s address=%s path=%s local=%s remote=%s %s rtt=%.1f ms%s%s%s",
             moved ? "moved" : "connected", ipop_peer_label(peer), peer->node.ip4, peer->path, local, remote, address,
             json_number_value(json_object_get(message, "rtt")), after, *reason ? " " : "", reason);
}

static void come_online(IpopController *c, IpopPeer *peer, const json_t *message) {
    const char *path = "", *claims = "";
    bool was_online = peer->link == IPOP_POLICY_LINK_ONLINE;
    ipop_json_string(message, "path", sizeof peer->path - 1, &path);
    bool news = !was_online || strcmp(peer->path, path) != 0;
    g_strlcpy(peer->path, path, sizeof peer->path);
    set_link(c, peer, IPOP_POLICY_LINK_ONLINE);
    peer->failures = 0;
    peer->retry_at = 0;
    peer->first = false;
    g_clear_pointer(&peer->why, g_free);
    ipop_json_string(message, "claims", 16, &claims);
    bool proved = ipop_claims_prove(c, peer, g_ascii_strtoull(claims, NULL, 16));
    if (news) {
        peer->upgrades = 0;
        plan_upgrade(c, peer);
        tell_online(c, peer, was_online, message);
    }
    if (proved || !was_online)
        ipop_discovery_proved(c, peer);
}

static void lose(IpopController *c, IpopPeer *peer, const char *why) {
    ipop_controller_tell(c, peer, "link", "lost name=%s address=%s: %s", ipop_peer_label(peer), peer->node.ip4,
             why[0] != '\0' ? why : "it stopped answering");
    peer->path[0] = '\0';
    peer->found = ipop_clock_now();
    peer->first = peer->renew_at != 0; /* our network changed, and we came to nothing before the link went */
    peer->renew_at = 0;
    ipop_signalling_drop(peer);
    set_link(c, peer, IPOP_POLICY_LINK_DOWN);
    ipop_discovery_unproved(c, peer);
    ipop_links_consider(c, peer);
}

/* It carries, but tincan gets no answer: another generation now, beside it. */
static void doubt(IpopController *c, IpopPeer *peer) {
    int64_t now = ipop_clock_now();
    int64_t at = MAX(now, peer->offered_at + RENEW_INTERVAL);
    if (peer->renew_at == 0 || peer->renew_at > at)
        peer->renew_at = at;
    /* It may be this host's way out that changed, and the session by Jabber goes by it, too. */
    if (c->xmpp_state == IPOP_XMPP_CONNECTED)
        ipop_xmpp_network_changed(c->xmpp);
    ipop_log(IPOP_LOG_INFO, "link", "silent name=%s address=%s path=%s: looking for another way", ipop_peer_label(peer),
             peer->node.ip4, peer->path);
}

/* A peer that only tincan knows: of a controller before this one. */
static IpopPeer *adopt(IpopController *c, const IpopUid *uid, const json_t *message) {
    const char *text;
    IpopPeer *peer = ipop_registry_get(c->registry, uid);
    if (peer != NULL || (peer = ipop_registry_add(c->registry, uid)) == NULL)
        return peer;
    peer->since = peer->found = ipop_clock_now();
    if (ipop_json_string(message, "name", IPOP_NAME_MAX, &text) && ipop_name_valid(text))
        g_strlcpy(peer->node.name, text, sizeof peer->node.name);
    if (ipop_json_string(message, "ip4", INET_ADDRSTRLEN - 1, &text))
        g_strlcpy(peer->node.ip4, text, sizeof peer->node.ip4);
    return peer;
}

void ipop_links_event(void *user, const IpopUid *uid, const json_t *message) {
    IpopController *c = user;
    const char *state, *why = "";
    int64_t generation = 0;
    if (!ipop_json_string(message, "state", 16, &state))
        return;
    IpopPeer *peer = adopt(c, uid, message);
    if (peer == NULL)
        return;
    ipop_json_string(message, "reason", 512, &why);
    if (ipop_json_int(message, "generation", 0, INT32_MAX, &generation))
        peer->generation = MAX(peer->generation, (unsigned)generation);
    bool of_session = peer->talk != NULL && (unsigned)generation == peer->talk->session.generation;

    if (peer->refused != NULL)
        return;
    if (strcmp(state, "online") == 0) {
        come_online(c, peer, message);
        if (json_is_true(json_object_get(message, "doubt")))
            doubt(c, peer);
        ipop_links_consider(c, peer);
    } else if (peer->link == IPOP_POLICY_LINK_ONLINE) {
        lose(c, peer, why);
    } else if (strcmp(state, "failed") == 0 && of_session) {
        ipop_signalling_failed(peer, why[0] != '\0' ? why : "no way to it was found");
    } else if (peer->link == IPOP_POLICY_LINK_DOWN) {
        ipop_links_consider(c, peer);
    }
}

/* --- all of them --- */

void ipop_links_down(IpopController *c) {
    for (unsigned i = 0; i < ipop_registry_count(c->registry); i++) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        ipop_signalling_drop(peer);
        set_link(c, peer, IPOP_POLICY_LINK_DOWN);
        peer->wake_at = INT64_MAX;
    }
}

void ipop_links_up(IpopController *c, bool fresh) {
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        peer->first = fresh;
        if (peer->link == IPOP_POLICY_LINK_DOWN)
            peer->found = ipop_clock_now();
        ipop_links_retry(c, peer);
    }
}

/* renew_at: when those that are online are to get another generation; 0: not. */
static void shake(IpopController *c, int64_t renew_at) {
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (peer->link != IPOP_POLICY_LINK_ONLINE)
            peer->first = true; /* the peer does not know that it is worth another attempt */
        else if (renew_at != 0)
            peer->renew_at = renew_at;
        if (renew_at != 0)
            peer->upgrades = 0;
        drop_attempt(c, peer);
        ipop_links_retry(c, peer);
    }
}

void ipop_links_network_changed(IpopController *c) {
    int64_t now = ipop_clock_now();
    if (c->renewed_at <= now)
        c->renewed_at = ipop_budget_reserve(&c->renewals, RENEW_BURST, RENEW_INTERVAL, now);
    shake(c, c->renewed_at);
}

void ipop_links_woken(IpopController *c) {
    shake(c, 0);
}

void ipop_links_caught_up(IpopController *c) {
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (peer->link != IPOP_POLICY_LINK_DOWN) {
            ipop_links_consider(c, peer);
            continue;
        }
        peer->first = true;
        ipop_links_retry(c, peer);
    }
}

void ipop_links_relays_changed(IpopController *c) {
    int64_t at = ipop_clock_now();
    for (unsigned i = 0; i < ipop_registry_count(c->registry); i++) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (peer->link != IPOP_POLICY_LINK_ONLINE || strcmp(peer->path, "relayed") != 0)
            continue;
        peer->renew_at = at += RELAY_INTERVAL;
        ipop_links_consider(c, peer);
    }
}
