/* one_peer.h - a tunnel with one data thread and one peer, which is the test: it holds the peer's end of the session, and
 * whatever ends of device and path the tunnel does not have. */
#pragma once

#include "tincan/base/clock.h"
#include "tincan/tunnel/tunnel.h"

#include <glib.h>
#include <string.h>

#define ONE_PEER_LIMIT (30 * G_USEC_PER_SEC)

typedef struct {
    IpopTunnel *tunnel;
    IpopTunnelPeer *peer;
    IpopPath *path;       /* one reference */
    IpopSession *session; /* the peer's */
    unsigned released;
    char remote[IPOP_PATH_ADDRESS]; /* where it was last said to be; "" never */
} OnePeer;

static inline void one_peer_on_index(void *user, uint32_t index) {
}

static inline void one_peer_on_released(void *user, uint32_t index) {
    ((OnePeer *)user)->released++;
}

static inline void one_peer_on_pong(void *user, int64_t rtt) {
}

static inline void one_peer_on_roamed(void *user, const char *remote) {
    OnePeer *one = user;
    g_strlcpy(one->remote, remote, sizeof one->remote);
}

static inline void one_peer_on_bye(void *user) {
}

static inline void one_peer_on_mtu(void *user, unsigned mtu, bool hole) {
}

static inline void one_peer_on_handshake(void *user, IpopPath *path, const uint8_t *message, size_t n) {
}

static inline void one_peer_frame(OnePeer *one, const uint8_t *frame, size_t n) {
    g_autofree uint8_t *datagram = g_malloc(IPOP_WIRE_DATA_OVERHEAD + n);
    size_t sealed = ipop_session_seal(one->session, datagram, frame, n, ipop_clock_now());
    g_assert_cmpuint(sealed, >, 0);
    ipop_tunnel_input(one->peer, datagram, sealed);
}

/* Until all is done that came so far: the orders of one round come before its packets. */
static inline void one_peer_settle(const OnePeer *one) {
    ipop_tunnel_sync(one->tunnel);
    ipop_tunnel_sync(one->tunnel);
}

/* Takes the reference to path over, and listens to it where it can be listened to. The peer's addresses: ip4, ip6. */
static inline void one_peer_open(OnePeer *one, const IpopTunnelDevice *device, IpopPath *path, const char *ip4, const char *ip6) {
    static const IpopTunnelEvents events = {one_peer_on_index, one_peer_on_released, one_peer_on_pong, one_peer_on_roamed,
                                            one_peer_on_bye,   one_peer_on_mtu,      one_peer_on_handshake};
    IpopSessionKeys ours = {.suite = IPOP_SUITE_CHACHAPOLY, .local_index = 1, .remote_index = 2, .initiator = true};
    IpopSessionKeys theirs = {.suite = IPOP_SUITE_CHACHAPOLY, .local_index = 2, .remote_index = 1};
    memset(ours.send, 1, sizeof ours.send);
    memset(ours.recv, 2, sizeof ours.recv);
    memcpy(theirs.send, ours.recv, sizeof ours.recv);
    memcpy(theirs.recv, ours.send, sizeof ours.send);
    *one = (OnePeer){.path = path};
    one->tunnel = ipop_tunnel_new(device, 1, &events, one, NULL);
    g_assert_nonnull(one->tunnel);
    one->peer = ipop_tunnel_add_peer(one->tunnel, one);
    ipop_tunnel_set_addresses(one->peer, ip4, ip6);
    ipop_tunnel_listen(one->peer, path);
    one->session = ipop_session_new(&ours, ipop_clock_now());
    ipop_tunnel_add_session(one->peer, ipop_session_new(&theirs, ipop_clock_now()), path);
    one_peer_frame(one, &(uint8_t){IPOP_FRAME_KEEPALIVE}, 1); /* makes the session current */
    one_peer_settle(one);
}

static inline void one_peer_close(OnePeer *one) {
    ipop_tunnel_remove_peer(one->peer);
    ipop_path_unref(one->path);
    ipop_tunnel_free(one->tunnel);
    ipop_session_free(one->session);
    g_assert_cmpuint(one->released, ==, 1);
}

static inline uint64_t one_peer_drops(const OnePeer *one, IpopDrop cause) {
    return atomic_load(&ipop_tunnel_counters(one->tunnel)->drops[cause]) +
           atomic_load(&ipop_tunnel_peer_counters(one->peer)->drops[cause]);
}

static inline uint64_t one_peer_all_drops(const OnePeer *one) {
    uint64_t sum = 0;
    for (unsigned cause = 0; cause < IPOP_DROP_CAUSES; cause++)
        sum += one_peer_drops(one, cause);
    return sum;
}

/* Until it holds, with the main loop standing. */
#define ONE_PEER_WAIT(condition)                                              \
    do {                                                                      \
        gint64 one_peer_end = g_get_monotonic_time() + ONE_PEER_LIMIT;        \
        while (!(condition)) {                                                \
            g_assert_cmpint(g_get_monotonic_time(), <, one_peer_end);         \
            g_thread_yield();                                                 \
        }                                                                     \
    } while (0)
