/* roam.c - a peer is where its newest packet came from (WireGuard's paper, section 2.1). Somebody on the way may copy a packet and
 * send it on from another address, so: not too often, and little goes there until an answer shows that the peer is there. */
#include "tincan/base/clock.h"
#include "tincan/tunnel/internal.h"

#define INTERVAL (IPOP_SECOND / 10) /* between two changes, and between two questions */
#define AMPLIFICATION 3

void ipop_roam_heard(IpopWorker *worker, IpopTunnelPeer *peer, const IpopPathSource *from, size_t n) {
    IpopPath *path = peer->path;
    if (!path->leads_to)
        return;
    if (path->leads_to(path, from)) {
        if (!peer->unproved)
            return;
        peer->allowance += AMPLIFICATION * n;
        if (worker->now - (int64_t)peer->ping < INTERVAL)
            return;
    } else {
        char remote[IPOP_PATH_ADDRESS] = "";
        if (worker->now - peer->roamed < INTERVAL)
            return;
        ipop_outbound_flush(worker); /* what waits was for the old address */
        path->roam(path, from, remote);
        peer->roamed = worker->now;
        peer->unproved = true;
        peer->allowance = AMPLIFICATION * n;
        ipop_tunnel_tell_roamed(peer, remote);
    }
    ipop_tunnel_send_ping(worker, peer, path);
}

bool ipop_roam_allows(IpopTunnelPeer *peer, size_t n) {
    if (!peer->unproved)
        return true;
    if (n > peer->allowance)
        return false;
    peer->allowance -= n;
    return true;
}

void ipop_roam_answered(IpopWorker *worker, IpopTunnelPeer *peer, int64_t sent) {
    if (!peer->unproved || sent < peer->roamed || sent > worker->now)
        return;
    peer->unproved = false;
    ipop_mtu_begin(worker, peer);
}

void ipop_roam_end(IpopTunnelPeer *peer) {
    peer->unproved = false;
}
