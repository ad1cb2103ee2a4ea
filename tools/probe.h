/* probe.h - does a STUN or TURN server do its work? Blocking; any thread, several at once.
 *
 * Each resolves the name (GResolver) and tries the addresses in turn until one answers or the cancellable is cancelled;
 * the caller bounds the time that way. *ret_text is one sentence, with the remedy when the probe failed; part of it is
 * the server's, so it must be cleaned before it is shown. Owned by the caller.
 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#define IPOP_PROBE_SECONDS 3 /* what the callers grant */

/* A Binding request (RFC 8489 section 3) over UDP. server: "host:port", "[v6]:port". */
bool ipop_probe_stun(const char *server, GCancellable *cancellable, char **ret_text);

/* An Allocate with these credentials (RFC 8656 section 6) over UDP or TCP; what was allocated is released again. */
bool ipop_probe_turn(const char *server, const char *user, const char *pass, bool tcp, GCancellable *cancellable,
                     char **ret_text);
