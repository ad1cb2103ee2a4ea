/* path.h - the sending end of one way to a peer, as the data thread sees it.
 *
 * A transport (transport.h) makes one for each selected pair; the tunnel holds a reference while it sends by it. Reference
 * counting is atomic; `release` always runs on the main thread, whichever thread lets go last.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <sys/uio.h>

typedef struct IpopPath IpopPath;

struct IpopPath {
    atomic_int refs;
    /* Sends n datagrams, one per element; data thread only, never blocks. Returns how many were taken; the rest are the
     * caller's to count as dropped. */
    unsigned (*send)(IpopPath *path, const struct iovec *datagrams, unsigned n);
    void (*release)(IpopPath *path); /* main thread */
};

IpopPath *ipop_path_ref(IpopPath *path);
void ipop_path_unref(IpopPath *path); /* any thread; accepts NULL */
