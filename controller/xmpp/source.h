/* source.h - drives libstrophe from a GMainContext without polling. The thread that owns the context.
 *
 * One xmpp_run_once reads at most 4 KiB, while a TLS record of 16 KiB then waits where poll does not see it, and what a
 * handler or the library queues is written by the next run only. So five more runs follow each readable one; and a safety
 * tick of 1 s covers libstrophe's own timers and half-written stanzas. Idle, that tick is all.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <strophe.h>

/* Called after each run, outside of libstrophe, with whether there was something to read. May destroy the source, and
 * release the connection then. G_SOURCE_CONTINUE or G_SOURCE_REMOVE. */
typedef gboolean (*IpopStropheRan)(bool input, void *user);

/* Attached to the thread-default context. Owned by the caller: g_source_destroy and g_source_unref. */
GSource *ipop_strophe_source_new(xmpp_ctx_t *ctx, IpopStropheRan ran, void *user);

/* Watches this socket; -1 when libstrophe has closed it (call it before anything else can take the number). */
void ipop_strophe_source_set_fd(GSource *source, int fd);

/* Runs again soon: something was queued. */
void ipop_strophe_source_wake(GSource *source);

/* Stops and starts running, so that the server has to wait. */
void ipop_strophe_source_hold(GSource *source, bool held);
