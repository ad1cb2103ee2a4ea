#include "tincan/link/liveness.h"

#define PATIENCE_MAX (3 * IPOP_SECOND)
#define DOUBT_AGAIN (4 * IPOP_SECOND)
#define DOUBLINGS_MAX 4 /* of that */

/* A slow way gets more time. */
void ipop_liveness_ask(IpopLiveness *l, int64_t now, int64_t patience, int64_t rtt) {
    int64_t usual = 3 * rtt < PATIENCE_MAX ? 3 * rtt : PATIENCE_MAX;
    *l = (IpopLiveness){
        .asked = now, .patience = usual > patience ? usual : patience, .received = l->received, .fed = l->fed};
}

void ipop_liveness_answered(IpopLiveness *l) {
    *l = (IpopLiveness){.received = l->received};
}

void ipop_liveness_put_off(IpopLiveness *l, int64_t until) {
    l->doubt_at = until;
}

bool ipop_liveness_doubtful(const IpopLiveness *l, int64_t now) {
    return l->asked && now - l->asked >= l->patience;
}

/* While nothing is asked. Returns when to look again. */
static int64_t listen(IpopLiveness *l, const IpopLivenessFacts *f) {
    bool busy = l->fed || f->sent > f->heard;
    int64_t late = f->heard + (busy ? IPOP_LIVENESS_LATE : IPOP_LIVENESS_IDLE);
    if (f->now >= late)
        ipop_liveness_ask(l, f->now, IPOP_LIVENESS_PATIENCE, f->rtt);
    return busy ? late : INT64_MAX;
}

/* While something is asked. */
static unsigned insist(IpopLiveness *l, const IpopLivenessFacts *f) {
    unsigned todo = 0;
    if (f->now - l->pinged >= (l->doubts ? IPOP_SECOND : IPOP_LIVENESS_AGAIN)) {
        l->pinged = f->now;
        todo |= IPOP_LIVENESS_DO_PING;
    }
    if (ipop_liveness_doubtful(l, f->now) && f->now >= l->doubt_at) {
        l->doubt_at = f->now + (DOUBT_AGAIN << l->doubts);
        l->doubts += l->doubts < DOUBLINGS_MAX;
        todo |= IPOP_LIVENESS_DO_DOUBT;
    }
    if (f->now - f->heard >= IPOP_LIVENESS_DEAD && f->now - l->asked >= IPOP_LIVENESS_DEAD / 2)
        todo |= IPOP_LIVENESS_DO_GIVE_UP;
    return todo;
}

unsigned ipop_liveness_look(IpopLiveness *l, const IpopLivenessFacts *f, int64_t *ret_again) {
    if (l->asked && f->heard > l->asked)
        ipop_liveness_answered(l);
    l->fed |= f->received != l->received;
    l->received = f->received;
    *ret_again = l->asked ? INT64_MAX : listen(l, f);
    if (!l->asked)
        return 0;
    unsigned todo = insist(l, f);
    if (!l->doubts)
        *ret_again = f->now + IPOP_LIVENESS_AGAIN;
    return todo;
}
