/* filter.h - who may write to a port of this host that a NAT or firewall has opened (RFC 5780 section 4.4). It takes a server
 * with two addresses, which is asked to answer from the other one. Main thread.
 */
#pragma once

#include "tincan/ctl/nat.h"
#include "tincan/stun/address.h"

typedef struct IpopFilterTrial IpopFilterTrial;

/* Called once from the main loop, after at most 1.5 s. */
typedef void (*IpopFilterDone)(void *user, IpopNatFilter filter);

/* The server is one that answered and named its other address (OTHER-ADDRESS, which is not contacted). */
IpopFilterTrial *ipop_filter_try(const IpopAddress *server, IpopFilterDone done, void *user);

/* At any time, also from inside done; done is not called afterwards. Accepts NULL. */
void ipop_filter_trial_free(IpopFilterTrial *trial);
