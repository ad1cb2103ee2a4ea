/* login.h - one login and the session that follows, by libstrophe. All on the thread whose thread-default context drives
 * it.
 *
 * TLS is a must and the certificate is verified; the password is given to libstrophe only once the server, over TLS, offers
 * SCRAM, and taken back before libstrophe would turn to anything weaker. No stream management: see the README.
 */
#pragma once

#include "controller/xmpp/hangup.h"
#include "controller/xmpp/inbox.h"

typedef struct {
    const char *jid, *domain, *resource; /* jid is bare */
    const char *password;                /* in locked memory */
    const char *host, *cafile;           /* may be NULL */
    unsigned short port;
} IpopAccount;

typedef struct {
    /* ONLINE and what follows it. The strings of the event are handed over. */
    void (*event)(void *user, const IpopEvent *event);
    /* After each run of libstrophe: counters may have changed. */
    void (*ran)(void *user);
    /* The end, exactly once, with CLOSED as event; free the login here. tls_failed: on a port found by XEP-0368, which may
     * want ALPN that libstrophe does not have; leave those out next time. */
    void (*ended)(void *user, const IpopEvent *event, bool tls_failed);
} IpopLoginOwner;

typedef struct IpopLogin IpopLogin;

/* account, hangup and owner must live as long as the login. */
IpopLogin *ipop_login_new(const IpopAccount *account, IpopHangup *hangup, bool direct_tls, const IpopLoginOwner *owner,
                          void *user);

/* In `ended` only. */
void ipop_login_free(IpopLogin *login);

/* Drops the stanza when not online. */
void ipop_login_send(IpopLogin *login, const char *xml, size_t n);

/* Whether all that was sent has been handed to the kernel. */
bool ipop_login_all_written(const IpopLogin *login);

/* Stops and starts reading from the server. */
void ipop_login_hold(IpopLogin *login, bool held);

/* Sends </stream:stream>; `ended` follows when the server has answered it. Not online: ends at once. */
void ipop_login_log_out(IpopLogin *login);

/* Stanzas left out so far because they were longer than IPOP_STANZA_MAX. */
unsigned ipop_login_dropped(const IpopLogin *login);
