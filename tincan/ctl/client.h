/* client.h - asking a tincan, blocking, for the tools: one socket, plain reads.
 *
 * The controller has its own asynchronous client in controller/dataplane/. Any thread; one call at a time.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

/* Sends {"m":...} to 127.0.0.1:port, then ::1 when nothing answers there, and gathers answers until the local_state's
 * "_peers" count is complete, or one answer for other methods, or timeout_ms passed. New reference to an array of
 * objects; NULL and error (one line with the remedy) when nothing answers. */
json_t *ipop_ctl_ask(unsigned port, const json_t *request, unsigned timeout_ms, GError **error);
