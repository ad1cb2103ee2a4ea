/* dataplane.h - the controller's asynchronous client of tincan's control port (tincan/ctl/PROTOCOL.md). Main thread.
 *
 * Holds the wanted state (local settings, servers, peers) and says it again to every new tincan; links are the
 * controller's to make anew then. Each request is repeated every 250 ms until answered.
 */
#pragma once

#include "tincan/ctl/candidate.h"
#include "tincan/ctl/ids.h"

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

typedef struct IpopDataplane IpopDataplane;

typedef struct {
    /* tincan answers; uid and key are its own. fresh: another process than before, which has no links; else it was adopted
     * with what it carries. Called after link() has been called for each link it has. */
    void (*up)(void *user, const IpopUid *uid, const uint8_t key[static IPOP_KEY_BYTES], bool fresh);
    void (*down)(void *user);
    /* "local_candidates" and "link_state" of PROTOCOL.md; the object is borrowed. */
    void (*local_candidates)(void *user, const IpopUid *uid, const json_t *message);
    void (*link)(void *user, const IpopUid *uid, const json_t *message);
    void (*network_changed)(void *user);
} IpopDataplaneEvents;

/* Binds 127.0.0.1:own_port (error when taken) and begins to look for a tincan on 127.0.0.1:port whose secret is in
 * runtime_dir/control.key. */
IpopDataplane *ipop_dataplane_new(unsigned port, unsigned own_port, const char *runtime_dir,
                                  const IpopDataplaneEvents *events, void *user, GError **error);
void ipop_dataplane_free(IpopDataplane *dataplane);

/* Wanted state. `what` is a changing method of PROTOCOL.md (set_local, set_servers, set_logging, set_xmpp, or
 * set_remote_ip and forget_peer with their uid); message is its members, reference stolen. Remembered, sent now if there
 * is a tincan, sent again to each new one. */
void ipop_dataplane_want(IpopDataplane *dataplane, const char *what, json_t *message);

/* Something for now: create_link, set_remote, trim_link. Not remembered. Reference stolen. done (may be NULL) gets the error
 * text, or NULL for success. */
void ipop_dataplane_do(IpopDataplane *dataplane, const char *what, json_t *message,
                       void (*done)(void *user, const char *error), void *user);
