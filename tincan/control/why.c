/* why.c - the member "why" of a peer_state: what was tried and seen (PROTOCOL.md). */
#include "tincan/control/state.h"

#include "tincan/base/clock.h"

static json_t *address(const char *ip, uint16_t port) {
    return json_sprintf(strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
}

static json_t *candidates(const IpopCandidate *list, unsigned n, uint32_t learned) {
    json_t *array = json_array();
    for (unsigned i = 0; i < n; i++) {
        const IpopCandidate *c = &list[i];
        json_t *object = json_pack("{ss so}", "type", ipop_candidate_type_name(c->type), "addr", address(c->ip, c->port));
        if (*c->rel_ip)
            json_object_set_new(object, "base", address(c->rel_ip, c->rel_port));
        if (learned >> i & 1)
            json_object_set_new(object, "learned", json_true());
        json_array_append_new(array, object);
    }
    return array;
}

/* Milliseconds from the beginning; -1: it did not happen. */
static json_int_t after(const IpopAttempt *attempt, int64_t when) {
    return when ? (when - attempt->begun) / (IPOP_SECOND / 1000) : -1;
}

static json_t *answered(const IpopAttempt *attempt) {
    json_t *array = json_array();
    for (unsigned i = 0; i < attempt->n_pairs; i++) {
        const IpopPathInfo *info = &attempt->pair[i].info;
        json_array_append_new(array, json_pack("{ss ss ss ss sI}", "local_type", ipop_candidate_type_name(info->local_type),
                                               "local_addr", info->local_addr, "rem_type",
                                               ipop_candidate_type_name(info->remote_type), "rem_addr", info->remote_addr, "after",
                                               after(attempt, attempt->pair[i].at)));
    }
    return array;
}

static json_t *describe(const IpopAttempt *attempt, bool carries, int64_t now) {
    return json_pack("{sb sb sI sI sI sI sI sI so so so}", "carries", (int)carries, "controlling", (int)attempt->controlling, "age",
                     (json_int_t)((now - attempt->begun) / IPOP_SECOND), "gathered", after(attempt, attempt->gathered), "heard",
                     after(attempt, attempt->heard), "connected", after(attempt, attempt->connected), "failed",
                     after(attempt, attempt->failed), "pairs", (json_int_t)ipop_attempt_count_pairs(attempt), "local",
                     candidates(attempt->local, attempt->n_local, 0), "remote",
                     candidates(attempt->remote, attempt->n_remote, attempt->learned), "answered", answered(attempt));
}

json_t *ipop_state_why(const IpopPeer *peer, int64_t now) {
    char nat[IPOP_NAT_TEXT_MAX + 1];
    json_t *attempts = json_array();
    ipop_nat_text(peer->nat, nat);
    for (unsigned i = 0; i < 2; i++) {
        const IpopAttempt *attempt = ipop_link_attempt(peer->link, i);
        if (attempt)
            json_array_append_new(attempts, describe(attempt, i == 0, now));
    }
    return json_pack("{ss ss so}", "nat", nat, "remedy", ipop_peer_remedy(peer), "attempts", attempts);
}
