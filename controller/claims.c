#include "controller/internal.h"

#include <string.h>

static uint64_t claims_of(const IpopNode *node) {
    return ipop_claims(node->name, node->ip4);
}

bool ipop_claims_proved(const IpopPeer *peer) {
    return peer->link == IPOP_POLICY_LINK_ONLINE && peer->proved != 0 && claims_of(&peer->node) == peer->proved;
}

/* What the pin says, if that is all there is to say. */
static bool pinned_claims(const IpopController *c, const IpopPeer *peer, IpopNode *ret_node) {
    const IpopPin *pin = ipop_pins_get(c->pins, &peer->uid);
    if (pin == NULL || pin->name[0] == '\0' || pin->ip4[0] == '\0')
        return false;
    g_strlcpy(ret_node->name, pin->name, sizeof ret_node->name);
    g_strlcpy(ret_node->ip4, pin->ip4, sizeof ret_node->ip4);
    ret_node->auto_name = ret_node->auto_ip4 = false;
    return true;
}

static void set_claims(IpopNode *node, const IpopNode *from) {
    g_strlcpy(node->name, from->name, sizeof node->name);
    g_strlcpy(node->ip4, from->ip4, sizeof node->ip4);
    node->auto_name = from->auto_name;
    node->auto_ip4 = from->auto_ip4;
}

static bool credible(IpopController *c, const IpopPeer *peer, const IpopNode *said) {
    if (peer->link == IPOP_POLICY_LINK_ONLINE && peer->proved != 0)
        return claims_of(said) == peer->proved;
    if (ipop_pins_get(c->pins, &peer->uid) == NULL)
        return true;
    g_autofree char *why = ipop_discovery_objection(c, peer, said);
    return why == NULL;
}

/* What was credible before. */
static bool fall_back(const IpopController *c, const IpopPeer *peer, IpopNode *node) {
    uint64_t proved = peer->link == IPOP_POLICY_LINK_ONLINE ? peer->proved : 0;
    IpopNode pinned;
    if (peer->node.ip4[0] != '\0' && (proved != 0 ? claims_of(&peer->node) == proved : peer->refused == NULL))
        set_claims(node, &peer->node);
    else if (pinned_claims(c, peer, &pinned) && (proved == 0 || claims_of(&pinned) == proved))
        set_claims(node, &pinned);
    else
        return false;
    return true;
}

static void put_aside(IpopController *c, IpopPeer *peer, const IpopNode *said) {
    bool news = peer->aside == NULL; /* of many lies the first is told */
    g_free(peer->aside);
    peer->aside = g_memdup2(said, sizeof *said);
    if (news)
        ipop_controller_tell(c, peer, "peer", "a presence says that %s (%s) is name=%s address=%s now: "
                 "not believed unless its link proves it", ipop_peer_label(peer), peer->node.ip4, said->name, said->ip4);
}

void ipop_claims_hear(IpopController *c, IpopPeer *peer, const IpopNode *said) {
    IpopNode node = *said;
    if (credible(c, peer, said) || !fall_back(c, peer, &node))
        g_clear_pointer(&peer->aside, g_free);
    else
        put_aside(c, peer, said);
    if (peer->met && peer->link == IPOP_POLICY_LINK_ONLINE)
        node.suites = peer->node.suites; /* what its keys were agreed on with */
    peer->node = node;
}

bool ipop_claims_prove(IpopController *c, IpopPeer *peer, uint64_t proved) {
    IpopNode pinned;
    bool news = peer->proved != proved;
    peer->proved = proved;
    if (proved == 0 || !peer->met || claims_of(&peer->node) == proved)
        return news;
    if (peer->aside != NULL && claims_of(peer->aside) == proved)
        set_claims(&peer->node, peer->aside);
    else if (pinned_claims(c, peer, &pinned) && claims_of(&pinned) == proved)
        set_claims(&peer->node, &pinned);
    else {
        if (news)
            ipop_controller_tell(c, peer, "peer", "%s (%s) is not what its link proves: waiting for a "
                 "presence that says the same", ipop_peer_label(peer), peer->node.ip4);
        return news;
    }
    g_clear_pointer(&peer->aside, g_free);
    ipop_controller_tell(c, peer, "peer", "proved name=%s address=%s uid=%.8s", peer->node.name,
             peer->node.ip4, peer->uid.hex);
    return true;
}

bool ipop_claims_unprove(IpopController *c, IpopPeer *peer) {
    peer->proved = 0;
    if (peer->aside == NULL || !credible(c, peer, peer->aside))
        return false;
    IpopNode was = peer->node;
    set_claims(&peer->node, peer->aside);
    *peer->aside = was; /* the next link may prove that it was right after all */
    return true;
}
