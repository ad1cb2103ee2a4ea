/* handlers.h - what each method of the control protocol does. Main thread. */
#pragma once

#include "tincan/control/server.h"

/* An IpopControlHandler; user is the IpopDaemon. */
void ipop_handle_request(void *user, const char *method, const json_t *message, const IpopRequest *request);
