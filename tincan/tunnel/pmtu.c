#include "tincan/tunnel/pmtu.h"

#include <glib.h>

#define MILLISECOND INT64_C(1000)
#define SECOND (1000 * MILLISECOND)
#define TRIES 3
#define RTT_MAX (5 * SECOND)
#define RAISE_AFTER (600 * SECOND)
#define RAISE_AFTER_HOLE (60 * SECOND)
#define AGAIN_AFTER_SILENCE (10 * SECOND)

/* Of whole IP packets. Those below the base are tried only where nothing else is answered: such ways exist too. */
static const size_t ladder[] = {576,  800,  1000, 1120, 1200, 1280, 1300, 1320, 1340, 1360, 1380, 1400,
                                1420, 1440, 1460, 1472, 1480, 1492, 1500, 4000, 8000, 9000};

static void add_rung(IpopPmtu *pmtu, size_t size) {
    unsigned i = pmtu->n_rungs++;
    for (; i > 0 && pmtu->rungs[i - 1] > size; i--)
        pmtu->rungs[i] = pmtu->rungs[i - 1];
    pmtu->rungs[i] = (uint16_t)size;
}

static void search(IpopPmtu *pmtu, size_t limit, size_t answered, int64_t now) {
    pmtu->state = IPOP_PMTU_SEARCHING;
    pmtu->limit = limit;
    pmtu->answered = answered;
    pmtu->tries = 0;
    pmtu->waiting_since = 0;
    pmtu->due = now;
}

static size_t top_rung(const IpopPmtu *pmtu) {
    return pmtu->rungs[pmtu->n_rungs - 1];
}

static size_t rung_below(const IpopPmtu *pmtu, size_t size) {
    for (unsigned i = pmtu->n_rungs; i > 0; i--)
        if (pmtu->rungs[i - 1] < size)
            return pmtu->rungs[i - 1];
    return size - 1;
}

/* Whether the search could still find something. */
static bool is_better_left(const IpopPmtu *pmtu) {
    for (unsigned i = 0; i < pmtu->n_rungs; i++)
        if (pmtu->rungs[i] > pmtu->answered && pmtu->rungs[i] <= pmtu->limit)
            return true;
    return false;
}

void ipop_pmtu_begin(IpopPmtu *pmtu, size_t around, size_t top, int64_t now) {
    *pmtu = (IpopPmtu){.way = pmtu->way + 1, .size = top, .known = true, .due = IPOP_PMTU_NEVER};
    if (around == 0)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(ladder); i++)
        if (ladder[i] - around < top)
            add_rung(pmtu, ladder[i] - around);
    if (IPOP_PMTU_BASE < top)
        add_rung(pmtu, IPOP_PMTU_BASE);
    add_rung(pmtu, top);
    pmtu->size = MIN(top, IPOP_PMTU_BASE);
    pmtu->known = false;
    search(pmtu, top, 0, now);
}

static void rest(IpopPmtu *pmtu) {
    pmtu->state = IPOP_PMTU_SETTLED;
    pmtu->n_burst = 0;
    pmtu->waiting_since = 0;
    pmtu->due = IPOP_PMTU_NEVER;
}

static void end_search(IpopPmtu *pmtu, int64_t now) {
    rest(pmtu);
    /* When nothing at all was answered the peer is silent for another reason. */
    pmtu->known = pmtu->answered > 0;
    if (pmtu->known)
        pmtu->size = pmtu->answered;
    pmtu->raise_at = now + (!pmtu->known ? AGAIN_AFTER_SILENCE : pmtu->hole ? RAISE_AFTER_HOLE : RAISE_AFTER);
}

/* Two of the same size in a burst are one. */
static void add_probe(IpopPmtu *pmtu, size_t size) {
    if (pmtu->n_burst == 0 || pmtu->burst[pmtu->n_burst - 1] != size)
        pmtu->burst[pmtu->n_burst++] = (uint16_t)size;
}

/* The largest goes first, so that the first answer is the best, if none is lost. */
static void fill_search(IpopPmtu *pmtu) {
    size_t low = pmtu->answered;
    if (!low && pmtu->tries == 0)
        low = MIN(pmtu->size, IPOP_PMTU_BASE) - 1;
    for (unsigned i = 0; i < pmtu->n_rungs; i++)
        if (pmtu->rungs[i] > low && pmtu->rungs[i] <= pmtu->limit)
            add_probe(pmtu, pmtu->rungs[i]);
}

static void fill_suspicion(IpopPmtu *pmtu) {
    add_probe(pmtu, MIN(pmtu->rungs[0], pmtu->size));
    if (pmtu->size > IPOP_PMTU_BASE)
        add_probe(pmtu, IPOP_PMTU_BASE);
    add_probe(pmtu, pmtu->size);
}

/* Probes were sent and the large ones stayed without an answer. */
static void judge(IpopPmtu *pmtu, int64_t now) {
    if (!pmtu->answered) { /* nothing gets through: that is not the size's fault */
        rest(pmtu);
        return;
    }
    size_t before = pmtu->size;
    pmtu->size = pmtu->answered;
    pmtu->known = false;
    pmtu->hole = true;
    search(pmtu, before, pmtu->size, now);
}

static int64_t interval(int64_t rtt) {
    return MAX(2 * MIN(rtt, RTT_MAX) + 50 * MILLISECOND, 250 * MILLISECOND);
}

static void next_burst(IpopPmtu *pmtu, int64_t rtt, int64_t now) {
    if (pmtu->state == IPOP_PMTU_SETTLED) {
        pmtu->state = IPOP_PMTU_SUSPICIOUS;
        pmtu->answered = 0;
        pmtu->tries = 0;
    } else if (pmtu->tries == TRIES && pmtu->state == IPOP_PMTU_SUSPICIOUS) {
        judge(pmtu, now);
    }
    if (pmtu->state == IPOP_PMTU_SUSPICIOUS)
        fill_suspicion(pmtu);
    else if (pmtu->state == IPOP_PMTU_SEARCHING && pmtu->tries < TRIES)
        fill_search(pmtu);
    pmtu->tries++;
    pmtu->due = now + interval(rtt);
    if (pmtu->n_burst == 0 && pmtu->state == IPOP_PMTU_SEARCHING)
        end_search(pmtu, now);
}

size_t ipop_pmtu_probe(IpopPmtu *pmtu, int64_t rtt, int64_t now) {
    if (pmtu->n_burst == 0 && now >= pmtu->due)
        next_burst(pmtu, rtt, now);
    return pmtu->n_burst > 0 ? pmtu->burst[--pmtu->n_burst] : 0;
}

void ipop_pmtu_answer(IpopPmtu *pmtu, uint32_t way, size_t size, int64_t now) {
    if (way != pmtu->way || pmtu->n_rungs == 0 || size > top_rung(pmtu))
        return;
    pmtu->answered = MAX(pmtu->answered, size);
    if (pmtu->state == IPOP_PMTU_SUSPICIOUS && size >= pmtu->size)
        rest(pmtu);
    pmtu->known |= pmtu->state == IPOP_PMTU_SETTLED && size >= pmtu->size; /* so late that it was given up */
    pmtu->size = MAX(pmtu->size, size);
    if (pmtu->state == IPOP_PMTU_SEARCHING && !is_better_left(pmtu))
        end_search(pmtu, now);
}

void ipop_pmtu_refused(IpopPmtu *pmtu, size_t size, int64_t now) {
    unsigned n = 0;
    for (unsigned i = 0; i < pmtu->n_burst; i++)
        if (pmtu->burst[i] < size)
            pmtu->burst[n++] = pmtu->burst[i];
    pmtu->n_burst = n;
    pmtu->limit = MIN(pmtu->limit, size - 1);
    pmtu->answered = MIN(pmtu->answered, pmtu->limit);
    if (size > pmtu->size || pmtu->n_rungs == 0)
        return;
    pmtu->size = MIN(rung_below(pmtu, size), IPOP_PMTU_BASE);
    pmtu->known = false;
    if (pmtu->state != IPOP_PMTU_SEARCHING)
        search(pmtu, pmtu->limit, 0, now);
}

void ipop_pmtu_sent(IpopPmtu *pmtu, size_t size, uint64_t counter, int64_t rtt, int64_t now) {
    if (pmtu->state != IPOP_PMTU_SETTLED || pmtu->n_rungs == 0)
        return;
    if (now >= pmtu->raise_at && pmtu->size < top_rung(pmtu)) {
        pmtu->hole = false;
        search(pmtu, top_rung(pmtu), pmtu->known ? pmtu->size : 0, now);
    } else if (size > IPOP_PMTU_BASE && !pmtu->waiting_since) {
        pmtu->waiting_since = now;
        pmtu->waiting_counter = counter;
        pmtu->due = now + MAX(SECOND, 3 * MIN(rtt, RTT_MAX));
    }
}

void ipop_pmtu_rekeyed(IpopPmtu *pmtu) {
    pmtu->waiting_counter = 0;
}

void ipop_pmtu_report(IpopPmtu *pmtu, uint64_t counter) {
    if (pmtu->waiting_since && counter >= pmtu->waiting_counter)
        rest(pmtu);
}
