/* state.h - what get_state and the notifications say (ctl/PROTOCOL.md). Main thread. */
#pragma once

#include "tincan/daemon.h"
#include "tincan/peer.h"

/* Each a new reference. */
json_t *ipop_state_local(const IpopDaemon *daemon, bool stats);
json_t *ipop_state_peer(const IpopPeer *peer, bool stats, bool why, int64_t now);
json_t *ipop_state_why(const IpopPeer *peer, int64_t now); /* in why.c */
json_t *ipop_state_link(const IpopPeer *peer); /* the link_state notification */

/* What Jabber is like: "connected", "connecting", "disconnected", and why ("" when there is nothing to say). */
void ipop_state_set_xmpp(IpopDaemon *daemon, const char *state, const char *error);
