/* stanza.h - Jingle (XEP-0166) with ICE-UDP (XEP-0176): text <-> struct, checked to the last attribute. Pure; any thread.
 *
 * One content named "tunnel", description <description xmlns='urn:ipop:tunnel:1' uid='...' nat='...'/> with the sender's uid and, if
 * known, what its NAT is like.
 */
#pragma once

#include "tincan/ctl/candidate.h"
#include "tincan/ctl/ids.h"
#include "tincan/ctl/nat.h"
#include "controller/xmpp/xmpp.h"

#include <stdbool.h>
#include <stddef.h>

#define IPOP_SID_MAX 63
#define IPOP_IQ_ID_MAX 255
#define IPOP_REASON_MAX 255

typedef enum {
    IPOP_JINGLE_INITIATE,
    IPOP_JINGLE_ACCEPT,
    IPOP_JINGLE_TRANSPORT_INFO,
    IPOP_JINGLE_TERMINATE,
} IpopJingleAction;

/* Why a session ended (XEP-0166 section 7.4); the text goes to the other side's log and `reason`. */
typedef enum {
    IPOP_REASON_SUCCESS,            /* <success/>: replaced or no longer wanted */
    IPOP_REASON_SECURITY_ERROR,     /* <security-error/>: refused by a pin */
    IPOP_REASON_CONNECTIVITY_ERROR, /* <connectivity-error/> */
    IPOP_REASON_GONE,               /* <gone/> */
    IPOP_REASON_OTHER,              /* anything else */
} IpopJingleReason;

typedef struct {
    IpopJingleAction action;
    char sid[IPOP_SID_MAX + 1];
    IpopUid uid;       /* of initiate and accept: the sender's */
    char nat[IPOP_NAT_TEXT_MAX + 1]; /* of initiate and accept: the sender's NAT (ctl/nat.h), "" when it does not say */
    char ufrag[IPOP_ICE_UFRAG_MAX + 1], pwd[IPOP_ICE_PWD_MAX + 1]; /* "" in terminate */
    unsigned generation; /* 0 in initiate and accept; in transport-info that of its first candidate, or of the transport
                            element when there is none; candidates of another one are left out */
    IpopCandidate candidates[IPOP_CANDIDATES_MAX];
    unsigned n_candidates; /* those beyond the limit and malformed ones are left out */
    unsigned dropped;      /* how many were */
    bool end;              /* <gathering-complete/> (XEP-0371 section 5.8's signal, here inside transport) */
    IpopJingleReason reason;
    char text[IPOP_REASON_MAX + 1];
} IpopJingle;

/* The kinds of requests a node gets. */
typedef enum {
    IPOP_IQ_MALFORMED,   /* not an answerable request */
    IPOP_IQ_JINGLE,
    IPOP_IQ_JINGLE_BAD,  /* Jingle, but wrong: answer bad-request */
    IPOP_IQ_DISCO_INFO,  /* ret_node_attr is its node */
    IPOP_IQ_PING,        /* XEP-0199 */
    IPOP_IQ_UNKNOWN,     /* answer service-unavailable */
} IpopIqKind;

typedef struct {
    char from[IPOP_JID_MAX + 1]; /* "" : the own server */
    char id[IPOP_IQ_ID_MAX + 1];
    char disco_node[128];
    IpopJingle jingle;           /* for IPOP_IQ_JINGLE */
} IpopIq;

IpopIqKind ipop_iq_parse(const char *xml, size_t n, IpopIq *ret);

/* The payload <jingle .../> for ipop_xmpp_request. initiator: full JID of the session's initiator, or NULL to leave it
 * out; written in initiate alone (XEP-0166 section 7.1). (g_free) */
char *ipop_jingle_build(const IpopJingle *jingle, const char *initiator);

/* Conditions of RFC 6120 section 8.3.3 and XEP-0166 section 9 with which requests are refused. */
typedef enum {
    IPOP_STANZA_BAD_REQUEST,
    IPOP_STANZA_SERVICE_UNAVAILABLE,
    IPOP_STANZA_ITEM_NOT_FOUND, /* with <unknown-session/> */
    IPOP_STANZA_TIE_BREAK,      /* <conflict/> with <tie-break/> */
    IPOP_STANZA_FORBIDDEN,      /* refused by policy; text says why */
    IPOP_STANZA_RESOURCE_CONSTRAINT,
} IpopStanzaError;

/* Whole stanzas that answer a request. to: "" for the own server; payload: one element or NULL; text: may be NULL.
 * (g_free) */
char *ipop_iq_result(const char *to, const char *id, const char *payload);
char *ipop_iq_error(const char *to, const char *id, IpopStanzaError error, const char *text);

/* Reads an error answer: its condition (one that is not in the list counts as the nearest, or as service-unavailable), and
 * its <text/> ("" when none). False when xml is no error answer. */
bool ipop_iq_error_parse(const char *xml, size_t n, IpopStanzaError *ret_error, char ret_text[static IPOP_REASON_MAX + 1]);

/* XEP-0030 answer (query element) to disco#info, with the node of the request ("" or NULL: none), and the XEP-0115
 * verification string (section 5.1, sha-1, base64) of it. In disco.c. (g_free) */
char *ipop_disco_info(const char *node);
char *ipop_disco_ver(void);
