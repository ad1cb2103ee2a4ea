/* turn.h - does a TURN server do its work? One Allocate with the credentials (RFC 8656 section 6), over UDP or TCP; what was
 * allocated is given back at once. Main thread, by the default main context.
 */
#pragma once

#include "tincan/stun/address.h"

#include <glib.h>

#define IPOP_TURN_TRIAL_MS 3000 /* for all of it */

typedef enum {
    IPOP_TURN_GOOD,
    IPOP_TURN_BAD,    /* it answers, and does not relay for us */
    IPOP_TURN_SILENT, /* nothing came in time, or it can't be sent to */
} IpopTurnOutcome;

/* Called once from the main loop. text: one sentence, with the remedy unless it is good; part of it is the server's, so it
 * must be cleaned before it is shown. */
typedef void (*IpopTurnDone)(void *user, IpopTurnOutcome outcome, const char *text);

typedef struct IpopTurnTrial IpopTurnTrial;

/* user_name and password are borrowed as long as the trial is. */
IpopTurnTrial *ipop_turn_try(const IpopAddress *server, bool tcp, const char *user_name, const char *password, IpopTurnDone done,
                             void *user);

/* At any time, also from inside done; done is not called afterwards. */
void ipop_turn_trial_free(IpopTurnTrial *trial);
