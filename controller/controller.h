/* controller.h - the composition root of the controller: Jabber account on one side, tincan on the other. Main thread. */
#pragma once

#include "controller/conf/conf.h"

#include <glib.h>

typedef struct IpopController IpopController;

typedef struct {
    const IpopConf *conf; /* with its password read; outlives the controller */
    const char *state_dir, *runtime_dir;
    /* Something that only a person can mend came up later: the receiver ends the program. From the main loop. */
    void (*failed)(void *user, const char *sentence);
    void *user;
} IpopControllerConfig;

/* Reads known_peers and takes contr_port; all else happens in the main loop of the thread's default context. */
IpopController *ipop_controller_new(const IpopControllerConfig *config, GError **error);

/* Logs out and lets tincan be: its links stay. Within 1 s. */
void ipop_controller_free(IpopController *controller);
