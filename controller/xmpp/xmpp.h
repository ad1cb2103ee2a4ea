/* xmpp.h - one Jabber account, kept logged in. Knows XMPP and nothing of peers.
 *
 * libstrophe runs in a thread of its own (its DNS and TLS handshakes block); what crosses is text and plain events. All
 * functions and all callbacks are on the main thread. Reconnects by itself: jittered exponential back-off 1 s to 10 s, later
 * 60 s, at once after ipop_xmpp_network_changed, long (60 s and more) after a conflict or a wrong password.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_STANZA_MAX 65536
#define IPOP_JID_MAX 1023

typedef struct IpopXmpp IpopXmpp;

typedef struct {
    const char *jid;      /* bare */
    const char *resource;
    const char *password; /* copied to locked memory */
    const char *host;     /* NULL: SRV (XEP-0368, RFC 6120), then the domain */
    unsigned port;
    const char *cafile;   /* NULL: the system's CAs alone */
} IpopXmppConfig;

typedef enum {
    IPOP_XMPP_DISCONNECTED,
    IPOP_XMPP_CONNECTING,
    IPOP_XMPP_CONNECTED,
} IpopXmppState;

/* Order in which waiting stanzas go out; the queue releases 9 kB/s after a burst of 4 kB, since servers throttle. */
typedef enum {
    IPOP_XMPP_REPLY,   /* answers to requests, session-accept, terminate */
    IPOP_XMPP_URGENT,  /* for a peer with waiting traffic; presence */
    IPOP_XMPP_TRICKLE, /* transport-info */
    IPOP_XMPP_OFFER,   /* session-initiate */
    IPOP_XMPP_PRIORITIES,
} IpopXmppPriority;

typedef enum {
    IPOP_IQ_RESULT,
    IPOP_IQ_ERROR,   /* the other side said no; xml is its answer */
    IPOP_IQ_TIMEOUT, /* 10 s without an answer since it left the queue: gone */
    IPOP_IQ_LOST,    /* the connection ended first: say it again after the next login */
} IpopIqOutcome;

typedef struct {
    /* error: a sentence with cause and remedy while not connected, else NULL. jid: the full JID when connected. */
    void (*state)(void *user, IpopXmppState state, const char *jid, const char *error);
    void (*presence)(void *user, const char *xml, size_t n);
    /* A request (get or set): the receiver must answer each. */
    void (*iq)(void *user, const char *xml, size_t n);
} IpopXmppEvents;

/* Starts the thread and the first login. NULL and error when the cafile can't be read or the JID is none. The callbacks come
 * on the thread-default context of this call. Makes the process ignore SIGPIPE. */
IpopXmpp *ipop_xmpp_new(const IpopXmppConfig *config, const IpopXmppEvents *events, void *user, GError **error);

/* Logs out (</stream:stream>) and joins the thread, within 1 s whatever the server does. Not from inside a callback. */
void ipop_xmpp_free(IpopXmpp *xmpp);

/* Queues a whole stanza. Dropped when not connected or the queue (256 KiB) is full: false. */
bool ipop_xmpp_send(IpopXmpp *xmpp, IpopXmppPriority priority, const char *xml);

/* Sends <iq type= to= id=>payload</iq> and calls back exactly once, unless freed first; LOST comes after the state has become
 * DISCONNECTED. type: "get" or "set"; to: NULL for the own server's domain; callback: NULL when nobody cares. False, and no
 * callback, when not connected, the queue is full or 4096 requests wait. */
typedef void (*IpopIqCallback)(void *user, IpopIqOutcome outcome, const char *xml, size_t n);
bool ipop_xmpp_request(IpopXmpp *xmpp, IpopXmppPriority priority, const char *type, const char *to, const char *payload,
                       IpopIqCallback callback, void *user);

/* Stanzas from the server left out so far, since they were longer than IPOP_STANZA_MAX. */
uint64_t ipop_xmpp_dropped(const IpopXmpp *xmpp);

/* Calls off requests whose user is this one: no callback, and those that still wait in the queue are not sent. */
void ipop_xmpp_cancel(IpopXmpp *xmpp, const void *user);

/* The host's addresses changed, or it slept: connect anew at once if the connection's own address is gone, else check it with
 * a ping (XEP-0199) and connect anew when 2 s bring no answer. After a conflict or a wrong password the long wait stays. */
void ipop_xmpp_network_changed(IpopXmpp *xmpp);

/* One login and out, blocking, for `ipop check`: NULL on success, else the sentence that says what is wrong (g_free). Use a
 * resource of its own: the one of a running controller would be thrown out. questions (NULL-terminated payloads, or NULL) are
 * put to the own server one after the other until one has a result: *ret_answer is the whole stanza (g_free), NULL when none
 * has. */
char *ipop_xmpp_try_login(const IpopXmppConfig *config, unsigned timeout_ms, const char *const *questions, char **ret_answer);
