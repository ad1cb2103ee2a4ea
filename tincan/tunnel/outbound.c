/* outbound.c - tun -> route (-> another worker) -> session -> path.
 *
 * A super-packet from the device is cut, and each piece sealed from the device's buffer straight into the train. Where more
 * comes than can be sealed and sent, some of it is left out, so that the rest does not wait long (aqm.h). */
#include "tincan/base/clock.h"
#include "tincan/packet/ip.h"
#include "tincan/tunnel/internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BIG_READ 20000 /* bytes: what is worth a send of its own */
#define MARKER_INTERVAL (IPOP_SECOND / 200)
#define SHED_BYTES 64 /* of a packet that is not to be sent: its IP header, or a marker */

/* The interface takes less than it did: what is sealed leaves in fragments, and what follows is shorter. */
static unsigned send_fragmented(IpopWorker *worker, IpopTrain *train, unsigned done) {
    IpopPath *path = train->path;
    size_t at = done * train->segment;
    path->too_big = false;
    if (path == train->peer->path)
        ipop_mtu_refused(worker, train->peer, train->segment);
    if (!path->send_fragmented)
        return 0;
    return path->send_fragmented(path, train->datagrams + at, train->n - at, train->segment);
}

static size_t held_by(int fd) {
    int held = 0;
    return ioctl(fd, SIOCOUTQ, &held) == 0 ? (size_t)held : 0;
}

static unsigned send_train(const IpopTrain *train, IpopOutflow *outflow) {
    IpopPath *path = train->path;
    bool measure = outflow->asks && outflow->fd == path->fd;
    size_t before = measure ? held_by(path->fd) : 0;
    unsigned sent = path->send(path, train->datagrams, train->n, train->segment);
    if (sent == 0 || outflow->fd != path->fd)
        return sent;
    size_t after = measure ? held_by(path->fd) : 0;
    if (measure)
        ipop_outflow_measured(outflow, train->n, after > before ? after - before : 0);
    ipop_outflow_sent(outflow, train->n);
    return sent;
}

void ipop_outbound_flush(IpopWorker *worker) {
    IpopTrain *train = &worker->train;
    IpopTunnelPeer *peer = train->peer;
    if (!peer)
        return;
    IpopPath *path = train->path;
    bool allowed = path != peer->path || ipop_roam_allows(peer, train->n);
    unsigned sent = allowed ? send_train(train, &peer->outflow) : 0;
    if (sent < train->count && path->too_big)
        sent += send_fragmented(worker, train, sent);
    if (path == peer->path && peer->current && (train->packets > 0 || !peer->pmtu.known))
        ipop_mtu_sent(worker, peer, train->segment, ipop_session_sent(peer->current) - train->count);
    if (sent < train->count) {
        ipop_count(&peer->counters.drops[IPOP_DROP_SEND], train->count - sent);
        train->bytes = train->bytes * sent / train->count;
        train->packets = MIN(train->packets, sent);
    }
    ipop_count(&peer->counters.sent_bytes, train->bytes);
    ipop_count(&peer->counters.sent_packets, train->packets);
    atomic_store_explicit(&peer->counters.last_sent, worker->now, memory_order_relaxed);
    train->peer = NULL;
    train->n = train->segment = train->count = train->packets = 0;
    train->bytes = 0;
}

/* Makes room for a datagram of n bytes in the train to that peer by that path. */
static void make_room(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath *path, size_t n) {
    IpopTrain *train = &worker->train;
    if (train->peer != peer || train->path != path || n > train->segment || train->count >= path->burst ||
        train->n + n > IPOP_TRAIN_BYTES)
        ipop_outbound_flush(worker);
    if (!train->peer) {
        train->peer = peer;
        train->path = path;
        train->segment = n;
    }
}

/* frame: its first byte may be written to, and n counts it. */
static void seal(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath *path, const uint8_t *frame, size_t n) {
    IpopTrain *train = &worker->train;
    size_t sealed_n = IPOP_WIRE_DATA_HEADER + n + IPOP_WIRE_TAG;
    if (!peer->current || !path || sealed_n > IPOP_TRAIN_BYTES) {
        ipop_count(&peer->counters.drops[IPOP_DROP_NO_LINK], 1);
        return;
    }
    uint8_t kind = *frame & IPOP_FRAME_KIND;
    make_room(worker, peer, path, sealed_n);
    if (ipop_session_seal(peer->current, train->datagrams + train->n, frame, n, worker->now) == 0) {
        ipop_count(&peer->counters.drops[IPOP_DROP_NO_LINK], 1);
        if (train->count == 0)
            train->peer = NULL;
        return;
    }
    train->n += sealed_n;
    train->count++;
    if (kind == IPOP_FRAME_PACKET || kind == IPOP_FRAME_PIECE) {
        train->bytes += n - (kind == IPOP_FRAME_PIECE ? IPOP_PIECE_HEADER : 1);
        train->packets += kind == IPOP_FRAME_PACKET || ipop_piece_is_first(frame);
    }
    if (sealed_n < train->segment)
        ipop_outbound_flush(worker); /* only the last may be shorter */
}

void ipop_outbound_frame(IpopWorker *worker, IpopTunnelPeer *peer, IpopPath *path, uint8_t kind, uint64_t value) {
    uint8_t frame[1 + sizeof value] = {kind};
    size_t n = kind == IPOP_FRAME_KEEPALIVE || kind == IPOP_FRAME_BYE ? 1 : sizeof frame;
    memcpy(frame + 1, &value, sizeof value);
    seal(worker, peer, path, frame, n);
    ipop_outbound_flush(worker);
}

/* All segments go where the super-packet goes. */
static IpopTunnelPeer *find_peer(IpopWorker *worker, const uint8_t *packet, size_t n) {
    IpopIpInfo info;
    if (!ipop_ip_parse(packet, n, &info)) {
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_MALFORMED]);
        return NULL;
    }
    IpopTunnelPeer *peer = ipop_routes_lookup(worker->routes, info.family, info.dest);
    if (!peer) {
        bool group = ipop_ip_is_multicast(&info);
        ipop_count_shared(&worker->tunnel->counters.drops[group ? IPOP_DROP_MULTICAST : IPOP_DROP_NO_ROUTE]);
    }
    return peer;
}

/* From a host behind this node. */
static bool is_from_another(const IpopWorker *worker, const uint8_t *packet) {
    return packet[0] >> 4 == 4 ? memcmp(packet + 12, &worker->own4, sizeof worker->own4) != 0
                               : memcmp(packet + 8, &worker->own6, sizeof worker->own6) != 0;
}

/* packet: longer than the way takes, with room in front. */
static void seal_pieces(IpopWorker *worker, IpopTunnelPeer *peer, uint8_t *packet, size_t n, uint8_t flags) {
    IpopCutter cutter;
    size_t frame_n;
    if (!ipop_cutter_begin(&cutter, packet, n, flags, peer->pieces_id++, 1 + peer->inner)) {
        ipop_count(&peer->counters.drops[IPOP_DROP_TOO_BIG], 1);
        return;
    }
    for (uint8_t *frame; (frame = ipop_cutter_next(&cutter, &frame_n));)
        seal(worker, peer, peer->path, frame, frame_n);
}

/* From the packet that the device gave. False: there are no segments. */
static bool begin_segments(IpopWorker *worker, IpopTunnelPeer *peer, uint8_t *buffer, size_t n, IpopSegmenter *ret,
                           bool *ret_refuse) {
    uint8_t *packet = buffer + IPOP_VNET_HEADER;
    if (is_from_another(worker, packet))
        ipop_mtu_clamp(peer, packet, n - IPOP_VNET_HEADER, buffer[0] & IPOP_VNET_NEEDS_CSUM);
    if (!ipop_segment_begin(ret, buffer, n, MAX(peer->inner, IPOP_SEGMENT_LIMIT_MIN)))
        return false;
    if (ret->longest > IPOP_MTU_LARGE)
        ipop_mtu_remember(peer, packet);
    bool above = peer->told && ret->longest > peer->told;
    *ret_refuse = above && ipop_mtu_refuse(worker, peer, packet, n - IPOP_VNET_HEADER);
    return true;
}

/* TCP is cut so that it fits. Of the rest, what is too long is refused if its sender may learn from that, or else goes
 * in pieces. */
static void seal_all(IpopWorker *worker, IpopTunnelPeer *peer, uint8_t *buffer, size_t n, IpopAqm *aqm) {
    IpopSegmenter segments;
    bool refuse, partial;
    if (!begin_segments(worker, peer, buffer, n, &segments, &refuse)) {
        ipop_count(&peer->counters.drops[IPOP_DROP_MALFORMED], 1);
        return;
    }
    if (peer->path && ipop_outflow_is_due(&peer->outflow, peer->path->fd, worker->now))
        ipop_outflow_look(&peer->outflow, peer->path->fd, held_by(peer->path->fd), worker->now);
    uint8_t *packet;
    size_t packet_n;
    while (ipop_segment_next(&segments, &packet, &packet_n, &partial)) {
        if (aqm && !ipop_aqm_is_flooded(aqm) && ipop_aqm_drops(aqm, worker->now)) {
            ipop_count_shared(&peer->counters.drops[IPOP_DROP_QUEUE]);
            continue;
        }
        if (ipop_aqm_drops(&peer->outflow.aqm, worker->now)) {
            ipop_count(&peer->counters.drops[IPOP_DROP_SEND], 1);
            continue;
        }
        uint8_t *frame = packet - 1; /* the segmenter leaves headroom */
        uint8_t flags = partial ? IPOP_FRAME_PARTIAL_CHECKSUM : 0;
        *frame = IPOP_FRAME_PACKET | flags;
        if (packet_n <= peer->inner)
            seal(worker, peer, peer->path, frame, 1 + packet_n);
        else if (refuse)
            ipop_count(&peer->counters.drops[IPOP_DROP_TOO_BIG], 1);
        else
            seal_pieces(worker, peer, packet, packet_n, flags);
    }
    if (n > BIG_READ)
        ipop_outbound_flush(worker);
}

/* A vnet header and a packet, with IPOP_SEGMENT_HEADROOM in front. */
static void forward(IpopWorker *worker, uint8_t *buffer, size_t n, IpopAqm *aqm) {
    IpopTunnelPeer *peer = find_peer(worker, buffer + IPOP_VNET_HEADER, n - IPOP_VNET_HEADER);
    if (!peer)
        return;
    if (peer->worker == worker)
        seal_all(worker, peer, buffer, n, aqm);
    else if (!ipop_queue_push(peer->worker->queue, buffer, n))
        ipop_count_shared(&peer->counters.drops[IPOP_DROP_QUEUE]);
}

static void take_handed(void *context, uint8_t *buffer, size_t n) {
    IpopWorker *worker = context;
    IpopTunnelPeer *peer = find_peer(worker, buffer + IPOP_VNET_HEADER, n - IPOP_VNET_HEADER);
    if (peer && peer->worker == worker)
        seal_all(worker, peer, buffer, n, NULL);
    else if (peer)
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_NO_ROUTE]); /* routed anew on its way here */
}

void ipop_outbound_run_queue(IpopWorker *worker, unsigned most) {
    ipop_queue_run(worker->queue, most, worker, take_handed);
    ipop_outbound_flush(worker);
}

/* --- the device --- */

/* When the queue is full it is lost, and the next one tells. */
static void put_marker(IpopWorker *worker, IpopIntake *intake) {
    const IpopTunnelDevice *device = &worker->tunnel->device;
    IpopMarker marker = {.queue = intake->number, .key = worker->marker_key, .sent = ipop_clock_now()};
    if (device->mark)
        device->mark(device->user, &marker, sizeof marker);
    intake->marked = worker->now;
}

static bool take_marker(const IpopWorker *worker, IpopIntake *intake, const uint8_t *packet, size_t n) {
    IpopMarker marker;
    if (packet[0] != 0 || n != sizeof marker)
        return false;
    memcpy(&marker, packet, sizeof marker);
    if (marker.key != worker->marker_key)
        return false;
    int64_t now = ipop_clock_now();
    ipop_aqm_waited(&intake->aqm, now - marker.sent, now);
    return true;
}

/* The next packet, at most so many bytes of it, with an empty vnet header in front where the device has none; 0 when there is
 * none. */
static size_t read_device(IpopWorker *worker, const IpopIntake *intake, uint8_t *buffer, size_t most) {
    size_t skip = worker->tunnel->device.vnet ? 0 : IPOP_VNET_HEADER;
    memset(buffer, 0, skip);
    ssize_t n;
    do
        n = read(intake->fd, buffer + skip, IPOP_VNET_HEADER + most - skip);
    while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : (size_t)n + skip;
}

/* Of a packet that is not to be sent, which may not be all there, nothing is kept but whom it would have gone to. */
static void shed(IpopWorker *worker, const uint8_t *packet) {
    IpopTunnelPeer *peer = find_peer(worker, packet, IPOP_SEGMENT_PACKET_MAX);
    if (peer)
        ipop_count_shared(&peer->counters.drops[IPOP_DROP_QUEUE]);
}

void ipop_outbound_run(IpopWorker *worker, IpopIntake *intake, unsigned most) {
    uint8_t *buffer = worker->packet + IPOP_SEGMENT_HEADROOM, *packet = buffer + IPOP_VNET_HEADER;
    size_t n = 1;
    for (unsigned i = 0; i < most; i++) {
        bool drop = ipop_aqm_is_flooded(&intake->aqm) && ipop_aqm_drops(&intake->aqm, worker->now);
        n = read_device(worker, intake, buffer, drop ? SHED_BYTES : IPOP_SEGMENT_PACKET_MAX);
        if (n == 0)
            break;
        if (n <= IPOP_VNET_HEADER)
            ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_MALFORMED]);
        else if (take_marker(worker, intake, packet, n - IPOP_VNET_HEADER))
            continue;
        else if (drop)
            shed(worker, packet);
        else
            forward(worker, buffer, n, &intake->aqm);
    }
    if (n == 0)
        ipop_aqm_waited(&intake->aqm, 0, worker->now);
    else if (worker->now - intake->marked >= MARKER_INTERVAL)
        put_marker(worker, intake);
    ipop_outbound_flush(worker);
}
