/* events.c - what the data threads tell the main loop. */
#include "tincan/tunnel/internal.h"

#include <string.h>

typedef enum { CONFIRMED, PONG, ROAMED, BYE, MTU, HANDSHAKE, RELEASED, REMOVED } EventKind;

typedef struct {
    EventKind kind;
    IpopTunnel *tunnel;
    IpopTunnelPeer *peer;
    IpopSession *session;
    IpopPath *path;
    int64_t value;
    bool hole;
    size_t n;
    uint8_t message[IPOP_WIRE_INIT_SIZE]; /* the longest of a handshake */
} Event;

static gboolean handle_event(gpointer data) {
    Event *event = data;
    const IpopTunnelEvents *to = &event->tunnel->events;
    void *peer = event->peer ? event->peer->user : NULL;
    if (event->kind == RELEASED) {
        to->released(event->tunnel->user, ipop_session_local_index(event->session));
        ipop_session_free(event->session);
    } else if (event->kind == REMOVED) {
        g_free(event->peer);
    } else if (peer) {
        if (event->kind == CONFIRMED)
            to->confirmed(peer, (uint32_t)event->value);
        else if (event->kind == PONG)
            to->pong(peer, event->value);
        else if (event->kind == ROAMED)
            to->roamed(peer, (const char *)event->message);
        else if (event->kind == MTU)
            to->mtu(peer, (unsigned)event->value, event->hole);
        else if (event->kind == HANDSHAKE)
            to->handshake(peer, event->path, event->message, event->n);
        else
            to->bye(peer);
    }
    if (event->kind == HANDSHAKE) {
        atomic_fetch_sub(&event->tunnel->handshakes, 1);
        ipop_path_unref(event->path);
    }
    return G_SOURCE_REMOVE;
}

static void tell(Event event) {
    /* An idle source of default priority: unlike g_main_context_invoke it never runs inside the caller. */
    g_idle_add_full(G_PRIORITY_DEFAULT, handle_event, g_memdup2(&event, sizeof event), g_free);
}

void ipop_tunnel_tell_confirmed(IpopTunnelPeer *peer, uint32_t index) {
    tell((Event){.kind = CONFIRMED, .tunnel = peer->tunnel, .peer = peer, .value = index});
}

void ipop_tunnel_tell_pong(IpopTunnelPeer *peer, int64_t rtt) {
    tell((Event){.kind = PONG, .tunnel = peer->tunnel, .peer = peer, .value = rtt});
}

void ipop_tunnel_tell_roamed(IpopTunnelPeer *peer, const char remote[static IPOP_PATH_ADDRESS]) {
    Event event = {.kind = ROAMED, .tunnel = peer->tunnel, .peer = peer};
    memcpy(event.message, remote, IPOP_PATH_ADDRESS);
    tell(event);
}

void ipop_tunnel_tell_bye(IpopTunnelPeer *peer) {
    tell((Event){.kind = BYE, .tunnel = peer->tunnel, .peer = peer});
}

void ipop_tunnel_tell_mtu(IpopTunnelPeer *peer, unsigned mtu, bool hole) {
    tell((Event){.kind = MTU, .tunnel = peer->tunnel, .peer = peer, .value = mtu, .hole = hole});
}

/* Anybody may send these: so few at a time, and none longer than the longest there is. */
void ipop_tunnel_tell_handshake(IpopListener *listener, const uint8_t *message, size_t n) {
    IpopTunnel *tunnel = listener->peer->tunnel;
    Event event = {.kind = HANDSHAKE, .tunnel = tunnel, .peer = listener->peer, .n = n};
    if (n > sizeof event.message || atomic_load(&tunnel->handshakes) >= IPOP_HANDSHAKES_MAX) {
        ipop_count_shared(&tunnel->counters.drops[n > sizeof event.message ? IPOP_DROP_MALFORMED : IPOP_DROP_QUEUE]);
        return;
    }
    memcpy(event.message, message, n);
    event.path = ipop_path_ref(listener->path);
    atomic_fetch_add(&tunnel->handshakes, 1);
    tell(event);
}

void ipop_tunnel_tell_released(IpopTunnel *tunnel, IpopSession *session) {
    tell((Event){.kind = RELEASED, .tunnel = tunnel, .session = session});
}

void ipop_tunnel_tell_removed(IpopTunnelPeer *peer) {
    tell((Event){.kind = REMOVED, .tunnel = peer->tunnel, .peer = peer});
}
