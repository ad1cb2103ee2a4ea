#include "tincan/tunnel/outflow.h"

#define FORGET (INT64_C(1) * 1000000)
#define WINDOW (INT64_C(50) * 1000) /* over which the rate is a mean */
#define LITTLE 5000                 /* two packets, which the slowest link may have under way (RFC 8033, section 4.1) */
#define LONGEST (INT64_C(1) * 1000000)

/* By what has left since the last look. */
static void update_rate(IpopOutflow *outflow, size_t held, int64_t passed) {
    double left = (double)outflow->held + (double)outflow->sent * outflow->measure - (double)held;
    double weight = passed < WINDOW && outflow->rate > 0 ? (double)passed / WINDOW : 1;
    outflow->rate += weight * ((left > 0 ? left / (double)passed : 0) - outflow->rate);
}

static int64_t wait_of(const IpopOutflow *outflow, size_t held) {
    if (held <= LITTLE)
        return 0;
    return outflow->rate * (double)LONGEST > (double)held ? (int64_t)((double)held / outflow->rate) : LONGEST;
}

void ipop_outflow_look(IpopOutflow *outflow, int fd, size_t held, int64_t now) {
    int64_t passed = now - outflow->looked;
    if (fd != outflow->fd || passed >= FORGET)
        *outflow = (IpopOutflow){.fd = fd};
    if (outflow->measure > 0) {
        update_rate(outflow, held, passed);
        ipop_aqm_waited(&outflow->aqm, wait_of(outflow, held), now);
    }
    outflow->looked = now;
    outflow->held = held;
    outflow->sent = 0;
    outflow->asks = true;
}

void ipop_outflow_measured(IpopOutflow *outflow, size_t n, size_t more) {
    double measure = (double)more / (double)n;
    outflow->asks = false;
    if (more > 0)
        outflow->measure += outflow->measure > 0 ? (measure - outflow->measure) / 8 : measure;
}
