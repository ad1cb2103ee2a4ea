/* intake.c - tun -> route (-> another worker) -> outbound.c, at once or in its turn.
 *
 * As long as the device is emptied now and then, each packet goes on when it is read. Otherwise what is there waits in the
 * backlog, where a peer gets its share of the work, and what has waited too long is dropped. */
#include "tincan/packet/ip.h"
#include "tincan/tunnel/internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BURST 32 /* packets per wake-up, and bytes, so that the network is not kept waiting */
#define BURST_BYTES (512 * 1024)
#define LOOK_AFTER (IPOP_SECOND / 100)
#define LOOK_AGAIN (IPOP_SECOND / 500)
#define LOOK_MOST 4096                /* packets: as many as the device holds */
#define LOOK_BYTES (16 * 1024 * 1024) /* more than anybody sends who waits for answers */
#define SHED_BYTES 2048               /* a longer packet is not worth reading */

/* All segments go where the super-packet goes. */
static IpopTunnelPeer *find_peer(IpopWorker *worker, const uint8_t *packet, size_t n) {
    IpopIpInfo info;
    if (!ipop_ip_parse(packet, n, &info)) {
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_MALFORMED], 1);
        return NULL;
    }
    IpopTunnelPeer *peer = ipop_routes_lookup(worker->routes, info.family, info.dest);
    if (!peer) {
        bool group = ipop_ip_is_multicast(&info);
        ipop_count_shared(&worker->tunnel->counters.drops[group ? IPOP_DROP_MULTICAST : IPOP_DROP_NO_ROUTE], 1);
    }
    return peer;
}

/* The first worker is the queue's one producer. */
static void hand_over(IpopWorker *worker, IpopTunnelPeer *peer, const uint8_t *buffer, size_t n) {
    if (worker->queue)
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_NO_ROUTE], 1); /* routed anew on its way here */
    else if (!ipop_queue_push(peer->worker->queue, buffer, n))
        ipop_count_shared(&peer->counters.drops[IPOP_DROP_QUEUE], 1);
}

/* A vnet header and a packet, with IPOP_SEGMENT_HEADROOM in front. */
static void forward(IpopWorker *worker, uint8_t *buffer, size_t n) {
    IpopTunnelPeer *peer = find_peer(worker, buffer + IPOP_VNET_HEADER, n - IPOP_VNET_HEADER);
    if (peer && peer->worker == worker)
        ipop_outbound_packet(worker, peer, buffer, n, false);
    else if (peer)
        hand_over(worker, peer, buffer, n);
}

/* Equal for packets of one flow: from addresses, protocol, and ports where each packet has them. */
static unsigned flow_of(const uint8_t *packet, size_t n) {
    bool ip4 = packet[0] >> 4 == 4;
    size_t header = ip4 ? 4 * (size_t)(packet[0] & 15) : 40, end = ip4 ? 20 : 40;
    uint32_t protocol = packet[ip4 ? 9 : 6], sum = protocol, word;
    for (size_t at = ip4 ? 12 : 8; at < end; at += sizeof word) {
        memcpy(&word, packet + at, sizeof word);
        sum += word;
    }
    bool fragment = ip4 && (packet[6] & 0x3f || packet[7]);
    if ((protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && !fragment && n >= header + sizeof word) {
        memcpy(&word, packet + header, sizeof word);
        sum += word;
    }
    return sum * 0x9e3779b1u >> 16;
}

static void put_off(IpopWorker *worker, uint8_t *buffer, size_t n) {
    const uint8_t *packet = buffer + IPOP_VNET_HEADER;
    size_t packet_n = n - IPOP_VNET_HEADER;
    IpopTunnelPeer *peer = find_peer(worker, packet, packet_n);
    if (peer && peer->worker == worker)
        ipop_count_shared(&peer->counters.drops[IPOP_DROP_QUEUE],
                          ipop_backlog_add(worker->backlog, &peer->waiting, flow_of(packet, packet_n), n, worker->ran));
    else if (peer)
        hand_over(worker, peer, buffer, n);
}

/* Of a packet that was not read to its end nothing is kept but whom it would have gone to. */
static void shed(IpopWorker *worker, uint8_t *buffer, size_t n) {
    if (n < SHED_BYTES) {
        put_off(worker, buffer, n);
        return;
    }
    IpopTunnelPeer *peer = find_peer(worker, buffer + IPOP_VNET_HEADER, IPOP_SEGMENT_PACKET_MAX);
    if (peer)
        ipop_count_shared(&peer->counters.drops[IPOP_DROP_QUEUE], 1);
}

/* The next packet, at most so many bytes of it, with an empty vnet header in front where the device has none; 0 when
 * there is none. */
static size_t read_device(IpopWorker *worker, uint8_t *buffer, size_t most) {
    const IpopTunnelDevice *device = &worker->tunnel->device;
    size_t skip = device->vnet ? 0 : IPOP_VNET_HEADER;
    memset(buffer, 0, skip);
    ssize_t n;
    do {
        n = read(device->fd, buffer + skip, most - skip);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : (size_t)n + skip;
}

typedef void (*Take)(IpopWorker *worker, uint8_t *buffer, size_t n);

/* Calls take with up to so many packets or bytes. True when there are no more. */
static bool fetch(IpopWorker *worker, unsigned most, size_t most_bytes, Take take) {
    size_t longest = take == shed ? SHED_BYTES : IPOP_VNET_HEADER + IPOP_SEGMENT_PACKET_MAX;
    size_t bytes = 0, n;
    uint8_t *buffer;
    for (unsigned i = 0; i < most && bytes < most_bytes && (buffer = ipop_backlog_room(worker->backlog)); i++, bytes += n) {
        n = worker->queue ? ipop_queue_pop(worker->queue, buffer) : read_device(worker, buffer, longest);
        if (n == 0)
            return true;
        if (n > IPOP_VNET_HEADER)
            take(worker, buffer, n);
        else
            ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_MALFORMED], 1);
    }
    return false;
}

static void work_off(IpopWorker *worker) {
    IpopBacklogTaken taken;
    size_t bytes = 0;
    for (unsigned i = 0; i < BURST && bytes < BURST_BYTES && ipop_backlog_take(worker->backlog, worker->ran, &taken);) {
        IpopTunnelPeer *peer = taken.owner;
        if (taken.late == IPOP_LATE_DROP) {
            ipop_count_shared(&peer->counters.drops[IPOP_DROP_QUEUE], 1);
            continue;
        }
        ipop_outbound_packet(worker, peer, taken.bytes, taken.n, taken.late == IPOP_LATE_SIGNAL);
        i++;
        bytes += taken.n;
    }
}

/* The device does not say how much waits in it. When it was not seen empty for long, all is fetched at once: then it is
 * known how much there is, whose, and since when. */
static bool must_look(IpopWorker *worker) {
    if (worker->empty) /* when we last looked: what is there came after that */
        worker->emptied = worker->now;
    worker->empty = false;
    bool pressing = ipop_intake_waits(worker) && worker->ran - ipop_backlog_oldest(worker->backlog) > IPOP_LATE_TARGET;
    return worker->now - worker->emptied >= (pressing ? LOOK_AGAIN : LOOK_AFTER);
}

/* Who writes faster to the device than we could even read it is not read: at the second look in a row without end. */
static void look(IpopWorker *worker) {
    worker->empty = fetch(worker, LOOK_MOST, LOOK_BYTES, worker->shed ? shed : put_off);
    worker->shed = !worker->empty;
    worker->emptied = worker->now;
}

bool ipop_intake_waits(const IpopWorker *worker) {
    return !ipop_backlog_empty(worker->backlog);
}

void ipop_intake_run(IpopWorker *worker) {
    if (must_look(worker))
        look(worker);
    if (ipop_intake_waits(worker))
        work_off(worker);
    else
        worker->empty = fetch(worker, BURST, BURST_BYTES, forward);
    ipop_outbound_flush(worker);
}
