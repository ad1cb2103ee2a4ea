/* explain.h - why a link is relayed, or could not be made, and what a person could do about it: sentences from what was
 * observed. Pure; main thread.
 */
#pragma once

#include "tincan/ctl/nat.h"
#include "tincan/link/attempt.h"

typedef struct {
    const IpopAttempt *attempt;
    IpopNat own, peer; /* the peer's as it said; unknown when it did not */
    bool turn;         /* this node has a TURN server, whatever its state */
    const char *turn_trouble; /* what is wrong with it: "TURN server HOST:PORT (UDP) does not answer ..."; NULL: nothing known */
} IpopFacts;

/* Why there is no direct path, as one sentence without a full stop. Owned by the caller. */
char *ipop_explain_relayed(const IpopFacts *facts);

/* Why no check was answered. Owned by the caller. */
char *ipop_explain_failed(const IpopFacts *facts);

/* What would make it better, "" when nothing is known to. Static storage. */
const char *ipop_explain_remedy(const IpopFacts *facts);
