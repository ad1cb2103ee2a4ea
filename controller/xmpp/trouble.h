/* trouble.h - why a login or a session ended: gathered on the way, told in one sentence with the remedy. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_TROUBLE_TEXT_MAX 160

typedef enum {
    IPOP_STAGE_RESOLVE, /* finding an address that answers */
    IPOP_STAGE_CONNECT, /* libstrophe's own TCP connection to it */
    IPOP_STAGE_STREAM,  /* connected; nothing from the server yet, or not yet asked for TLS */
    IPOP_STAGE_TLS,     /* the handshake */
    IPOP_STAGE_AUTH,
    IPOP_STAGE_BIND,    /* logged in, asking for the resource */
    IPOP_STAGE_ONLINE,
} IpopStage;

typedef struct {
    IpopStage stage;
    bool timed_out;    /* the watchdog ended it */
    bool stranded;     /* so, since this host reaches the server from another address now */
    bool bad_cafile;   /* OpenSSL could not read it */
    bool no_tls;       /* not on offer */
    bool no_scram;     /* not on offer */
    bool auth_failed;
    bool too_big;      /* a stanza beyond all measure */
    bool no_xmpp;      /* what came in is none */
    int error;         /* of libstrophe's DISCONNECT: errno and SSL_ERROR_* mixed */
    int stream_error;  /* xmpp_error_type_t, -1: none */
    char connect[2 * IPOP_TROUBLE_TEXT_MAX];   /* sentence of resolve.h, "": none */
    char certificate[IPOP_TROUBLE_TEXT_MAX];   /* OpenSSL's text for what is wrong with it, "": nothing */
    char server_text[IPOP_TROUBLE_TEXT_MAX];   /* what the server said, "": nothing */
} IpopTrouble;

/* Copies text of others, cut at a character's end, with everything unprintable made a space. NULL is "". */
void ipop_trouble_copy(char *ret_text, size_t size, const char *text);

/* One sentence (g_free). jid: bare; resource; where: address and port, "" when not known yet; cafile may be NULL. */
char *ipop_trouble_text(const IpopTrouble *trouble, const char *jid, const char *resource, const char *where,
                        const char *cafile);

/* Whether trying again soon would do harm: two programs that throw each other out for ever, an address banned for guessing
 * passwords. */
bool ipop_trouble_is_stubborn(const IpopTrouble *trouble);

/* Microseconds to wait after so many failures in a row (>= 1): 1-2 s, doubling to 5-10 s, and 30-60 s
 * when that went on for minutes; stubborn 60-75 s to 240-300 s. The random part keeps nodes that fell together from coming
 * back together. */
int64_t ipop_trouble_wait(unsigned failures, bool stubborn, uint32_t random);
