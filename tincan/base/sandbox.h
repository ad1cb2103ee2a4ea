/* sandbox.h - giving up what a process no longer needs. Main thread, before any other thread starts. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Keeps CAP_NET_ADMIN (the TUN device, addresses, SO_RCVBUFFORCE) and drops every other capability, also from the
 * bounding set, and sets no_new_privs. A no-op without privilege. */
bool ipop_sandbox_data_plane(GError **error);

/* Drops everything. When started as root and the user `ipop` exists and may write state_dir, becomes that user. */
bool ipop_sandbox_controller(const char *state_dir, GError **error);

/* Makes the directory (mode 01770, group ipop where that group exists, else 0700) when it is missing. An existing one is
 * left as it is. */
bool ipop_sandbox_make_dir(const char *dir, GError **error);
