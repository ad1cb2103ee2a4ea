/* client.h - asking a tincan, blocking, for the tools: one socket, plain reads.
 *
 * The controller has its own asynchronous client in controller/dataplane/. Any thread; one call at a time.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

/* Sends the request, {"m":...}, to 127.0.0.1:port, then ::1 when nothing answers there, and gathers answers until the
 * local_state's "_peers" count is complete (get_state), or one answer came (other methods), or timeout_ms passed at that
 * address. Answers can be lost: then there are fewer peer_state than "_peers". New reference to an array of objects, never
 * empty; NULL and error (one line with the remedy) when nothing answers. */
json_t *ipop_ctl_ask(unsigned port, const json_t *request, unsigned timeout_ms, GError **error);
