/* generation.c - transports beneath one link, an old and a new one beside each other. */
#include "tincan/link/internal.h"

#define CLOSE_OLD_MS 5000
#define CONTROLLED_WAIT (3 * IPOP_SECOND) /* then the controlled side begins the handshake, too */
/* A generation beside a link that is online is closed: so long after it connected when we did not move to it, and so long
 * after its beginning when it did not connect (signalling is less patient). */
#define UNUSED_LIMIT (20 * IPOP_SECOND)
#define UNCONNECTED_LIMIT (60 * IPOP_SECOND)

static void drop_path(IpopGeneration *generation) {
    if (!generation->path)
        return;
    ipop_tunnel_ignore(generation->link->tunnel_peer, generation->path);
    g_clear_pointer(&generation->path, ipop_path_unref);
}

void ipop_generation_take_path(IpopGeneration *generation, IpopPath *path) {
    const IpopLink *link = generation->link;
    drop_path(generation);
    generation->path = ipop_path_ref(path);
    ipop_tunnel_listen(link->tunnel_peer, path);
}

void ipop_generation_free(IpopGeneration *generation) {
    if (!generation)
        return;
    if (generation->transport)
        generation->transport->ops->close(generation->transport);
    drop_path(generation);
    g_free(generation);
}

static gboolean close_old(gpointer data) {
    IpopLink *link = data;
    link->close_old = 0;
    g_clear_pointer(&link->old, ipop_generation_free);
    return G_SOURCE_REMOVE;
}

void ipop_generation_move(IpopLink *link) {
    if (link->carrying && link->carrying != link->newest) {
        ipop_generation_free(link->old);
        link->old = link->carrying;
        g_clear_handle_id(&link->close_old, g_source_remove);
        link->close_old = g_timeout_add(CLOSE_OLD_MS, close_old, link);
    }
    link->carrying = link->newest;
    link->carrying->held = false;
}

IpopGeneration *ipop_generation_find(IpopLink *link, uint32_t number) {
    if (link->newest && link->newest->number == number)
        return link->newest;
    return link->carrying && link->carrying->number == number ? link->carrying : NULL;
}

/* Nothing is won by going to a relay, unless what carries died, or is one that is about to. */
bool ipop_generation_worth_moving(const IpopLink *link, int64_t now) {
    const IpopGeneration *carrying = link->carrying;
    bool relay = link->newest->info.relayed && carrying;
    return !relay || (carrying->stale && carrying->info.relayed) || !link->online ||
           ipop_liveness_doubtful(&link->liveness, now);
}

void ipop_generation_give_up_newest(IpopLink *link) {
    if (link->newest == link->carrying)
        return;
    if (link->handshake && link->handshake_generation == link->newest->number)
        ipop_keys_stop(link);
    ipop_generation_free(link->newest);
    link->newest = link->carrying;
}

void ipop_generation_check_newest(IpopLink *link, int64_t now) {
    IpopGeneration *newest = link->newest;
    if (!newest || newest == link->carrying || link->handshake)
        return;
    int64_t waited = now - newest->since;
    bool doubtful = link->online && ipop_liveness_doubtful(&link->liveness, now);
    if (newest->held && ipop_generation_worth_moving(link, now)) {
        newest->held = false;
        newest->since = now;
        ipop_keys_begin(link, newest, now);
    } else if (link->online && waited >= (newest->path ? UNUSED_LIMIT : UNCONNECTED_LIMIT)) {
        ipop_generation_give_up_newest(link);
    } else if (newest->path && !newest->held && waited >= (doubtful ? 0 : CONTROLLED_WAIT) && waited < IPOP_KEYS_LIMIT) {
        ipop_keys_begin(link, newest, now);
    }
}
