#include "tincan/link/path.h"

#include <glib.h>

IpopPath *ipop_path_ref(IpopPath *path) {
    atomic_fetch_add_explicit(&path->refs, 1, memory_order_relaxed);
    return path;
}

static gboolean release(gpointer data) {
    IpopPath *path = data;
    path->release(path);
    return G_SOURCE_REMOVE;
}

void ipop_path_unref(IpopPath *path) {
    /* By the main loop, not g_main_context_invoke: that would run in this thread while the loop is not running. */
    if (path && atomic_fetch_sub_explicit(&path->refs, 1, memory_order_acq_rel) == 1)
        g_idle_add_full(G_PRIORITY_DEFAULT, release, path, NULL);
}
