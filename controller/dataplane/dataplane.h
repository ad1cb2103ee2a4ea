/* dataplane.h - the controller's asynchronous client of tincan's control port (tincan/ctl/PROTOCOL.md). Main thread.
 *
 * Holds the wanted state (local settings, servers, peers) and says it again to every new tincan; links are the
 * controller's to make anew then. Each request is repeated every 250 ms until answered. While nobody answers, a hello goes out
 * every 250 ms; while someone does, an echo_request a second notices its end.
 */
#pragma once

#include "tincan/ctl/candidate.h"
#include "tincan/ctl/ids.h"

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

typedef struct IpopDataplane IpopDataplane;

/* What a tincan says of itself. */
typedef struct {
    IpopUid uid;
    uint8_t key[IPOP_KEY_BYTES];
    unsigned suites; /* bits of IpopSuite */
    bool fresh;      /* another process than before, which has no links; else it was adopted with what it carries */
} IpopDataplaneNode;

typedef struct {
    /* tincan answers. Called after link() has been called for each peer it knows. */
    void (*up)(void *user, const IpopDataplaneNode *node);
    void (*down)(void *user);
    /* "local_candidates" of PROTOCOL.md; the object is borrowed. */
    void (*local_candidates)(void *user, const IpopUid *uid, const json_t *message);
    /* "link_state", and "peer_state" when adopting or refreshing. */
    void (*link)(void *user, const IpopUid *uid, const json_t *message);
    void (*network_changed)(void *user);
    void (*woken)(void *user); /* the host slept, or its network was away: what was open may be so no more */
    /* This process did not run for more than 3 s: the machine slept, or somebody stopped it. */
    void (*slept)(void *user, double seconds);
    /* A sentence for the log, with the remedy: once when nobody has answered for 3 s; when tincan refuses a wanted state. */
    void (*trouble)(void *user, const char *sentence);
} IpopDataplaneEvents;

/* Binds 127.0.0.1:own_port (error when taken) and begins to look for a tincan on 127.0.0.1:port whose secret is in
 * runtime_dir/control.key. No event comes before the main loop runs. */
IpopDataplane *ipop_dataplane_new(unsigned port, unsigned own_port, const char *runtime_dir,
                                  const IpopDataplaneEvents *events, void *user, GError **error);
void ipop_dataplane_free(IpopDataplane *dataplane);

/* Wanted state. `what` is a changing method of PROTOCOL.md (set_local, set_servers, set_logging, set_xmpp, or
 * set_remote_ip and forget_peer with their uid); message is its members, reference stolen. Remembered, sent now if there
 * is a tincan, sent again to each new one. What is the same as before is not sent. "heard" is said once and not remembered.
 * The texts of set_local and set_servers are wiped. */
void ipop_dataplane_want(IpopDataplane *dataplane, const char *what, json_t *message);

/* Something for now: create_link, set_remote, trim_link. Not remembered. Reference stolen. done (may be NULL) gets the error
 * text, or NULL for success: exactly once, also when tincan goes or the data plane client is freed. */
void ipop_dataplane_do(IpopDataplane *dataplane, const char *what, json_t *message,
                       void (*done)(void *user, const char *error), void *user);

/* Compares what tincan has with what is wanted: link() comes for each peer it has, and what it lacks is said again. */
void ipop_dataplane_refresh(IpopDataplane *dataplane);
