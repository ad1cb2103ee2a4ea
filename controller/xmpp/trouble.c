#include "controller/xmpp/trouble.h"

#include "tincan/base/clock.h"

#include <glib.h>
#include <string.h>
#include <strophe.h>

void ipop_trouble_copy(char *ret_text, size_t size, const char *text) {
    g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);
    size_t n = 0;
    for (const char *c = valid; *c; c = g_utf8_next_char(c)) {
        size_t width = (size_t)(g_utf8_next_char(c) - c);
        bool printable = g_unichar_isprint(g_utf8_get_char(c));
        if (n + (printable ? width : 1) >= size)
            break;
        for (size_t i = 0; i < (printable ? width : 1); i++)
            ret_text[n++] = printable ? c[i] : ' ';
    }
    ret_text[n] = '\0';
}

static char *certificate_text(const IpopTrouble *trouble, const char *domain) {
    const char *what = trouble->certificate;
    g_autofree char *remedy = NULL;
    if (g_strrstr(what, "hostname mismatch"))
        remedy = g_strdup_printf("it must name %s, the domain in xmpp_username", domain);
    else if (g_strrstr(what, "expired") || g_strrstr(what, "not yet valid"))
        remedy = g_strdup("renew it at the server, or set this machine's clock");
    else
        remedy = g_strdup("give its CA in xmpp_cafile");
    return g_strdup_printf("the server's certificate is not trusted: %s; %s", what, remedy);
}

static char *stream_error_text(const IpopTrouble *trouble, const char *jid, const char *resource, const char *where) {
    const char *said = trouble->server_text;
    switch (trouble->stream_error) {
    case XMPP_SE_CONFLICT:
        return g_strdup_printf("another program has logged in to %s as %s, or the account has more logins than the server "
                               "allows (ejabberd: max_user_sessions): end the other one or raise the limit; the next try is "
                               "in a few minutes", jid, resource);
    case XMPP_SE_HOST_UNKNOWN:
    case XMPP_SE_HOST_GONE:
        return g_strdup_printf("the server at %s does not serve %s: check the domain in xmpp_username, and xmpp_host", where,
                               strchr(jid, '@') + 1);
    case XMPP_SE_SYSTEM_SHUTDOWN:
        return g_strdup_printf("the server at %s is shutting down; trying again", where);
    default:
        return g_strdup_printf("the server at %s ended the connection%s%s; trying again; its log says more", where,
                               *said ? ": " : "", said);
    }
}

static char *timeout_text(const IpopTrouble *trouble, const char *where) {
    if (trouble->stranded)
        return g_strdup_printf("this host left the address by which it was connected to %s; connecting anew", where);
    switch (trouble->stage) {
    case IPOP_STAGE_RESOLVE:
        return g_strdup("no address of the server was found in time: check this machine's network and name service, and "
                        "xmpp_host");
    case IPOP_STAGE_CONNECT:
        return g_strdup_printf("%s does not answer: check the network, firewalls, and xmpp_host and xmpp_port", where);
    case IPOP_STAGE_STREAM:
        return g_strdup_printf("%s accepts connections and says nothing: check that a Jabber server runs there, and xmpp_port",
                               where);
    case IPOP_STAGE_TLS:
        return g_strdup_printf("the TLS handshake with %s does not end: check the server", where);
    case IPOP_STAGE_ONLINE:
        return g_strdup_printf("the server at %s no longer answers; trying again", where);
    default:
        return g_strdup_printf("the server at %s does not finish the login: check the server", where);
    }
}

static char *ended_text(const IpopTrouble *trouble, const char *where) {
    switch (trouble->stage) {
    case IPOP_STAGE_RESOLVE:
    case IPOP_STAGE_CONNECT:
        return g_strdup_printf("can't connect to %s: check that the Jabber server runs, and xmpp_host and xmpp_port", where);
    case IPOP_STAGE_STREAM:
        return g_strdup_printf("%s closed the connection at once: check that a Jabber server runs there, and xmpp_host and xmpp_port", where);
    case IPOP_STAGE_TLS:
        return g_strdup_printf("the TLS handshake with %s failed: check the server's TLS settings, and xmpp_port (5223 means "
                               "TLS from the first byte)", where);
    case IPOP_STAGE_ONLINE:
        return g_strdup_printf("the connection to %s was lost%s; trying again", where,
                               trouble->error == 0 ? ": the server closed it" : "");
    default:
        return g_strdup_printf("the server at %s closed the connection during the login: its log says why", where);
    }
}

char *ipop_trouble_text(const IpopTrouble *trouble, const char *jid, const char *resource, const char *where,
                        const char *cafile) {
    if (trouble->bad_cafile)
        return g_strdup_printf("no CA certificate can be read from xmpp_cafile %s: give a file with PEM certificates",
                               cafile ? cafile : "");
    if (*trouble->certificate)
        return certificate_text(trouble, strchr(jid, '@') + 1);
    if (trouble->no_scram)
        return g_strdup("the server offers no SCRAM login, and the password is not sent any other way: switch SCRAM-SHA-1 or "
                        "SCRAM-SHA-256 on at the server");
    if (trouble->auth_failed)
        return g_strdup_printf("the server refuses the login of %s%s%s: check xmpp_username and xmpp_password", jid,
                               *trouble->server_text ? ": " : "", trouble->server_text);
    if (trouble->no_tls)
        return g_strdup_printf("the server at %s offers no TLS, so nothing was sent to it: switch TLS on there", where);
    if (trouble->too_big)
        return g_strdup_printf("the server at %s sent more in one stanza than can be taken; trying again", where);
    if (trouble->no_xmpp)
        return g_strdup_printf("%s does not speak XMPP: check xmpp_host and xmpp_port", where);
    if (trouble->stream_error >= 0)
        return stream_error_text(trouble, jid, resource, where);
    if (trouble->timed_out)
        return timeout_text(trouble, where);
    if (*trouble->connect)
        return g_strdup(trouble->connect);
    return ended_text(trouble, where);
}

bool ipop_trouble_is_stubborn(const IpopTrouble *trouble) {
    return trouble->auth_failed || trouble->stream_error == XMPP_SE_CONFLICT;
}

#define RESTART_TRIES 40 /* some minutes: a server that is only restarted finds its nodes again in seconds */

int64_t ipop_trouble_wait(unsigned failures, bool stubborn, uint32_t random) {
    int64_t first = stubborn ? 75 : 2, most = stubborn ? 300 : failures <= RESTART_TRIES ? 10 : 60, spread = stubborn ? 5 : 2;
    int64_t wait = MIN(first << MIN(failures - 1, 6), most) * IPOP_SECOND;
    return wait - wait / spread * (int64_t)(random % 1024) / 1024;
}
