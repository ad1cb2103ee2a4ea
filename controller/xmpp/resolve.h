/* resolve.h - from the account's domain to an address that answers. The thread that owns the thread-default context.
 *
 * libstrophe resolves blocking and tries one address only. So a connection is tried here first, with SRV records (XEP-0368
 * and RFC 6120 section 3.2.1) and Happy Eyeballs (RFC 8305), closed again, and libstrophe given what answered.
 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

typedef struct {
    char *address; /* numeric */
    unsigned short port;
    bool direct_tls; /* TLS from the first byte, not STARTTLS */
} IpopEndpoint;

/* endpoint is NULL when nothing answered, and error then a sentence with cause and remedy (it may be NULL when cancelled).
 * Both are the caller's of this callback. */
typedef void (*IpopResolved)(void *user, const IpopEndpoint *endpoint, const GError *error);

/* host: dial this name or address at port (5223 means direct TLS, as it always did); NULL: the SRV records of the domain, in
 * order, those of XEP-0368 only with direct_tls, else the domain itself at port. Calls back exactly once, later, also when
 * cancelled (from any thread). */
void ipop_resolve(const char *domain, const char *host, unsigned short port, bool direct_tls, GCancellable *cancellable,
                  IpopResolved callback, void *user);
