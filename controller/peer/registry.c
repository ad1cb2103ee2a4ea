#include "controller/peer/registry.h"

#include <string.h>

struct IpopRegistry {
    unsigned limit;
    GPtrArray *peers;
    GHashTable *by_uid; /* peer->uid.hex -> peer */
    GHashTable *by_jid; /* peer->jid -> peer */
};

static void peer_free(gpointer data) {
    IpopPeer *peer = data;
    g_assert(peer->talk == NULL);
    g_free(peer->jid);
    g_free(peer->refused);
    g_free(peer->aside);
    g_free(peer->why);
    g_free(peer);
}

IpopRegistry *ipop_registry_new(unsigned limit) {
    IpopRegistry *registry = g_new0(IpopRegistry, 1);
    registry->limit = limit;
    registry->peers = g_ptr_array_new_with_free_func(peer_free);
    registry->by_uid = g_hash_table_new(g_str_hash, g_str_equal);
    registry->by_jid = g_hash_table_new(g_str_hash, g_str_equal);
    return registry;
}

void ipop_registry_free(IpopRegistry *registry) {
    if (registry == NULL)
        return;
    g_hash_table_destroy(registry->by_jid);
    g_hash_table_destroy(registry->by_uid);
    g_ptr_array_free(registry->peers, TRUE);
    g_free(registry);
}

IpopPeer *ipop_registry_get(const IpopRegistry *registry, const IpopUid *uid) {
    return g_hash_table_lookup(registry->by_uid, uid->hex);
}

IpopPeer *ipop_registry_by_jid(const IpopRegistry *registry, const char *jid) {
    return jid[0] == '\0' ? NULL : g_hash_table_lookup(registry->by_jid, jid);
}

IpopPeer *ipop_registry_add(IpopRegistry *registry, const IpopUid *uid) {
    IpopPeer *peer = ipop_registry_get(registry, uid);
    if (peer != NULL || registry->peers->len >= registry->limit)
        return peer;
    peer = g_new0(IpopPeer, 1);
    peer->uid = *uid;
    peer->jid = g_strdup("");
    peer->wake_at = INT64_MAX;
    g_ptr_array_add(registry->peers, peer);
    g_hash_table_insert(registry->by_uid, peer->uid.hex, peer);
    return peer;
}

void ipop_registry_set_jid(IpopRegistry *registry, IpopPeer *peer, const char *jid) {
    if (strcmp(peer->jid, jid) == 0)
        return;
    IpopPeer *other = ipop_registry_by_jid(registry, jid);
    if (other != NULL)
        ipop_registry_set_jid(registry, other, "");
    if (peer->jid[0] != '\0')
        g_hash_table_remove(registry->by_jid, peer->jid);
    g_free(peer->jid);
    peer->jid = g_strdup(jid);
    if (jid[0] != '\0')
        g_hash_table_insert(registry->by_jid, peer->jid, peer);
}

void ipop_registry_remove(IpopRegistry *registry, IpopPeer *peer) {
    ipop_registry_set_jid(registry, peer, "");
    g_hash_table_remove(registry->by_uid, peer->uid.hex);
    g_ptr_array_remove_fast(registry->peers, peer);
}

unsigned ipop_registry_count(const IpopRegistry *registry) {
    return registry->peers->len;
}

IpopPeer *ipop_registry_nth(const IpopRegistry *registry, unsigned i) {
    return i < registry->peers->len ? registry->peers->pdata[i] : NULL;
}
