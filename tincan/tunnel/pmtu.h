/* pmtu.h - how large a datagram the way to a peer takes: found by padded probes that the peer answers, watched by what
 * it says of the large packets that came (RFC 8899). Needs no ICMP. Pure: time and events in, probes out. Data thread.
 *
 * Sizes are those of our datagrams, times microseconds. A new way begins with IPOP_PMTU_BASE and one burst of probes of
 * all the sizes above; the largest that is answered is used at once, the others are tried twice more. Afterwards
 * nothing is sent without traffic: large packets that the peer does not report for a while make it suspect, probes
 * settle whether the way has become narrower (only small ones answered: a black hole), and after ten minutes larger
 * sizes are tried again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_PMTU_BASE 1228 /* within IPv6's minimum of 1280 with every header around it, a relay's included */
#define IPOP_PMTU_NEVER INT64_MAX
#define IPOP_PMTU_RUNGS 24

typedef enum {
    IPOP_PMTU_SETTLED,    /* the size is as good as known, until further notice */
    IPOP_PMTU_SEARCHING,  /* the size is what is safe; a larger one may come any moment */
    IPOP_PMTU_SUSPICIOUS, /* large packets went unreported; probes are under way */
} IpopPmtuState;

/* May be read; changed by the functions alone. */
typedef struct {
    size_t size;  /* no datagram above it should be sent */
    int64_t due;  /* when ipop_pmtu_probe wants to be called; IPOP_PMTU_NEVER */
    IpopPmtuState state;
    bool known;   /* measured on this way, and no black hole has been met since */
    bool hole;    /* the last measurement was for a black hole */
    uint32_t way; /* grows with each ipop_pmtu_begin; what the peer's answers carry */

    uint16_t rungs[IPOP_PMTU_RUNGS]; /* ascending */
    uint16_t burst[IPOP_PMTU_RUNGS]; /* still to be sent now, the last one first */
    unsigned n_rungs, n_burst;
    size_t limit;    /* not above it: what the interface takes, and in a black hole the size before */
    size_t answered; /* largest of this search or suspicion; 0 none */
    unsigned tries;
    int64_t raise_at;
    int64_t waiting_since;    /* the first large packet after the last report; 0 none */
    uint64_t waiting_counter; /* and its counter */
} IpopPmtu;

/* A new way, of which nothing is known. around: bytes that IP, UDP and a relay put around a datagram; 0 when the way
 * takes everything. top: the largest datagram that is of any use, at most 65535. */
void ipop_pmtu_begin(IpopPmtu *pmtu, size_t around, size_t top, int64_t now);

/* The size of a probe to be sent now; 0 when there is none (then look at due). rtt: 0 unknown. */
size_t ipop_pmtu_probe(IpopPmtu *pmtu, int64_t rtt, int64_t now);

/* The peer has received a probe of that size by that way. */
void ipop_pmtu_answer(IpopPmtu *pmtu, uint32_t way, size_t size, int64_t now);

/* The interface did not take a datagram of that size. If that was no probe it has changed, and the search begins
 * anew. */
void ipop_pmtu_refused(IpopPmtu *pmtu, size_t size, int64_t now);

/* Datagrams, the longest of that size, were sent, the first of them with that counter. Cheap. */
void ipop_pmtu_sent(IpopPmtu *pmtu, size_t size, uint64_t counter, int64_t rtt, int64_t now);

/* The keys are new, and their counters begin at zero. */
void ipop_pmtu_rekeyed(IpopPmtu *pmtu);

/* The peer reports a datagram above IPOP_PMTU_BASE with that counter, under the present keys. */
void ipop_pmtu_report(IpopPmtu *pmtu, uint64_t counter);
