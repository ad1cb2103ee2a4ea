/* receive.c - a path's own socket -> inbound.c.
 *
 * Where more comes than can be opened, some of it is left unopened, so that the rest does not wait long (aqm.h). */
#include "tincan/base/clock.h"
#include "tincan/tunnel/internal.h"

#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* Not the negotiator's, unless GRO glued one of its packets to a train: it is lost, and must not happen again. */
static bool dispatch(IpopWorker *worker, IpopListener *listener, uint8_t *datagram, size_t n) {
    if (datagram[0] == IPOP_WIRE_DATA && ipop_aqm_drops(&listener->aqm, worker->now))
        ipop_count(&listener->peer->counters.drops[IPOP_DROP_LATE], 1);
    else if (datagram[0] == IPOP_WIRE_DATA)
        return ipop_inbound_open(worker, datagram, n);
    else if (datagram[0] == IPOP_WIRE_INIT || datagram[0] == IPOP_WIRE_RESPONSE || datagram[0] == IPOP_WIRE_COOKIE)
        ipop_tunnel_tell_handshake(listener, datagram, n);
    else
        ipop_count_shared(&worker->tunnel->counters.drops[IPOP_DROP_MALFORMED]);
    return false;
}

/* What the kernel says of a train. */
typedef struct {
    size_t segment;     /* length of its datagrams, but the last one's */
    int64_t came;       /* by the system's clock; 0 unknown */
    uint32_t overflown; /* datagrams that the socket had no room for, so far */
} Notes;

typedef union {
    char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t))];
    struct cmsghdr align;
} Control;

static int64_t microseconds(const struct timespec *time) {
    return (int64_t)time->tv_sec * IPOP_SECOND + time->tv_nsec / 1000;
}

static Notes read_notes(struct msghdr *message, size_t n, uint32_t overflown) {
    Notes notes = {n, 0, overflown};
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        struct timespec time;
        int size;
        if (cmsg->cmsg_level == IPPROTO_UDP && cmsg->cmsg_type == UDP_GRO) {
            memcpy(&size, CMSG_DATA(cmsg), sizeof size);
            notes.segment = size > 0 ? (size_t)size : n;
        } else if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_TIMESTAMPNS) {
            memcpy(&time, CMSG_DATA(cmsg), sizeof time);
            notes.came = microseconds(&time);
        } else if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SO_RXQ_OVFL) {
            memcpy(&notes.overflown, CMSG_DATA(cmsg), sizeof notes.overflown);
        }
    }
    return notes;
}

void ipop_receive_prepare(IpopListener *listener) {
    int fd = listener->path->fd, on = 1;
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t n = sizeof memory;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &n);
    listener->overflown = memory[SK_MEMINFO_DROPS];
}

static void take_train(IpopWorker *worker, IpopListener *listener, uint8_t *train, size_t n, const Notes *notes,
                       const IpopPathSource *from) {
    bool newest = false;
    if (notes->overflown != listener->overflown)
        ipop_count(&listener->peer->counters.drops[IPOP_DROP_LATE], notes->overflown - listener->overflown);
    listener->overflown = notes->overflown;
    for (size_t at = 0; at < n; at += notes->segment) {
        if (train[at] < IPOP_WIRE_INIT && at > 0)
            listener->path->unglue(listener->path);
        newest |= dispatch(worker, listener, train + at, MIN(notes->segment, n - at));
    }
    /* Not by a path that the peer is to leave, or has left. */
    if (newest && listener->path == listener->peer->path)
        ipop_roam_heard(worker, listener->peer, from, n);
}

/* By the system's clock, which the kernel notes when a train comes. No train waits for a second: that clock has been set. */
static void look_at_wait(IpopWorker *worker, IpopListener *listener, int64_t came) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t waited = microseconds(&now) - came;
    ipop_aqm_waited(&listener->aqm, waited > 0 && waited < IPOP_SECOND ? waited : 0, worker->now);
}

bool ipop_receive_run(IpopWorker *worker, IpopListener *listener, unsigned most) {
    struct mmsghdr messages[IPOP_RECEIVE_TRAINS];
    struct iovec vectors[IPOP_RECEIVE_TRAINS];
    Control controls[IPOP_RECEIVE_TRAINS];
    IpopPathSource from[IPOP_RECEIVE_TRAINS];
    int got = IPOP_RECEIVE_TRAINS;
    int64_t came = 0;
    for (unsigned i = 0; i < most && got == IPOP_RECEIVE_TRAINS; i++) {
        for (unsigned m = 0; m < IPOP_RECEIVE_TRAINS; m++) {
            vectors[m] = (struct iovec){worker->received[m], IPOP_RECEIVE_BYTES};
            messages[m].msg_hdr = (struct msghdr){.msg_name = &from[m],
                                                  .msg_namelen = sizeof from[m],
                                                  .msg_iov = &vectors[m],
                                                  .msg_iovlen = 1,
                                                  .msg_control = &controls[m],
                                                  .msg_controllen = sizeof controls[m].bytes};
        }
        got = recvmmsg(listener->path->fd, messages, IPOP_RECEIVE_TRAINS, MSG_DONTWAIT, NULL);
        for (int m = 0; m < got; m++) {
            size_t n = messages[m].msg_len;
            Notes notes = read_notes(&messages[m].msg_hdr, n, listener->overflown);
            came = notes.came;
            take_train(worker, listener, worker->received[m], n, &notes, &from[m]);
        }
    }
    if (got != IPOP_RECEIVE_TRAINS)
        ipop_aqm_waited(&listener->aqm, 0, worker->now); /* it is empty */
    else
        look_at_wait(worker, listener, came);
    return got == IPOP_RECEIVE_TRAINS;
}
