/* connection.h - libstrophe in a thread of its own, so that nobody waits for its TLS handshakes. Main thread (that is, the
 * thread that made it, on whose thread-default context the reader is called).
 */
#pragma once

#include "controller/xmpp/inbox.h"
#include "controller/xmpp/xmpp.h"

typedef struct IpopConnection IpopConnection;
typedef void (*IpopConnectionReader)(void *user, const IpopEvent *event);

/* Copies the configuration, the password to locked memory, and starts the thread; no login yet. */
IpopConnection *ipop_connection_new(const IpopXmppConfig *config, IpopConnectionReader reader, void *user);

/* Logs out, waiting half a second for the server to agree, and joins the thread. Not from inside the reader. Accepts NULL. */
void ipop_connection_free(IpopConnection *connection);

/* One login; exactly one CLOSED event follows sooner or later, and then the next may be opened. */
void ipop_connection_open(IpopConnection *connection);

/* Ends the login or the session at once as one that took too long, also out of a hung TLS handshake. */
void ipop_connection_hang_up(IpopConnection *connection);

/* True when this host reaches the server from another address by now than the session's. */
bool ipop_connection_stranded(IpopConnection *connection);

/* Takes the stanza. Lost when the session ends first. */
void ipop_connection_send(IpopConnection *connection, char *xml);

/* Bytes sent that the kernel has not taken yet, as far as is known. */
size_t ipop_connection_backlog(const IpopConnection *connection);

/* Stanzas from the server that were left out: too long, or of no kind that is wanted. */
uint64_t ipop_connection_dropped(const IpopConnection *connection);
