#include "tincan/tunnel/aqm.h"

#define INTERVAL IPOP_AQM_TARGET
#define FORGET (INT64_C(100) * 1000) /* after so long without a word it is another load */
#define ALPHA 0.125                   /* per second of wait above the target, and */
#define BETA 1.25                     /* per second that it grew by */
#define DECAY 0.1 /* per interval, once the queue is empty; the RFC's 0.02 is for round trips of 100 ms */

/* RFC 8033, section 5.6: small steps while little is dropped. */
static double scale_of(double part) {
    static const struct {
        double below, scale;
    } steps[] = {{0.000001, 1.0 / 2048}, {0.00001, 1.0 / 512}, {0.0001, 1.0 / 128}, {0.001, 1.0 / 32}, {0.01, 1.0 / 8}, {0.1, 1.0 / 2}};
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++)
        if (part < steps[i].below)
            return steps[i].scale;
    return 1;
}

static void update(IpopAqm *aqm) {
    double above = (double)(aqm->least - IPOP_AQM_TARGET) / 1e6, grown = (double)(aqm->least - aqm->before) / 1e6;
    double step = (ALPHA * above + BETA * grown) * scale_of(aqm->part);
    if (aqm->part >= 0.1 && step > 0.02)
        step = 0.02;
    aqm->part += step;
    if (aqm->least == 0 && aqm->before == 0)
        aqm->part -= DECAY * aqm->part * (1 - aqm->part); /* nor does what passes grow faster than that */
    aqm->part = aqm->part < 0 ? 0 : aqm->part > 1 ? 1 : aqm->part;
    aqm->before = aqm->least;
}

void ipop_aqm_waited(IpopAqm *aqm, int64_t waited, int64_t now) {
    if (now - aqm->updated >= FORGET) {
        *aqm = (IpopAqm){.updated = now, .least = waited, .before = waited, .random = aqm->random};
        return;
    }
    if (waited < aqm->least)
        aqm->least = waited;
    if (now - aqm->updated < INTERVAL)
        return;
    update(aqm);
    aqm->updated = now;
    aqm->least = INT64_MAX;
}

/* Not every n-th exactly, as other traffic may have that rhythm, too. */
static double around_one(IpopAqm *aqm) {
    aqm->random = aqm->random * 1664525 + 1013904223; /* Numerical Recipes, section 7.1 */
    return 0.5 + (double)(aqm->random >> 8) / (1 << 24);
}

bool ipop_aqm_drops(IpopAqm *aqm, int64_t now) {
    if (aqm->part <= 0 || now - aqm->updated >= FORGET)
        return false;
    if (aqm->next <= 0)
        aqm->next = around_one(aqm);
    aqm->due += aqm->part;
    if (aqm->due < aqm->next)
        return false;
    aqm->due -= aqm->next;
    aqm->next = 0;
    return true;
}
