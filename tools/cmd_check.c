/* ipop check: configuration, Jabber login, STUN and TURN servers, NAT, each said good or bad with the remedy. */
#include "controller/conf/conf.h"
#include "controller/jingle/extdisco.h"
#include "controller/xmpp/xmpp.h"
#include "tincan/base/secret.h"
#include "tincan/stun/servers.h"
#include "tools/text.h"
#include "tools/tool.h"

#include <jansson.h>
#include <string.h>

#define LOGIN_MS 10000
#define SERVERS_MS 7000 /* TURN over two families, and names */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(IpopConf, ipop_conf_free)

typedef struct {
    const IpopTool *tool;
    json_t *checks;
    bool bad;
} Report;

typedef enum {
    GOOD,
    BAD,
    NOTE, /* worth knowing, and no fault */
} Verdict;

static void report(Report *r, const char *what, const char *name, Verdict verdict, const char *text) {
    static const char *const words[] = {"good", "bad ", "note"};
    r->bad = r->bad || verdict == BAD;
    if (!r->tool->json) {
        ipop_text_line(r->tool->out, "%-6s  %s  %s%s%s", what, words[verdict], name, *name && *text ? ": " : "", text);
        fflush(r->tool->out);
        return;
    }
    g_autofree char *clean_name = ipop_text_clean(name, IPOP_LINE_MAX);
    g_autofree char *clean_text = ipop_text_clean(text, IPOP_LINE_MAX);
    json_array_append_new(r->checks, json_pack("{s:s, s:s, s:b, s:s}", "what", what, "name", clean_name, "good",
                                               verdict != BAD, "text", clean_text));
}

static int finish(Report *r) {
    if (r->tool->json)
        ipop_text_json(r->tool->out, json_pack("{s:b, s:o}", "good", !r->bad, "checks", r->checks));
    else
        json_decref(r->checks);
    return r->bad ? IPOP_TOOL_BAD : IPOP_TOOL_GOOD;
}

/* --- STUN and TURN servers --- */

/* The configured ones, and of a kind that is not configured those that the account's server offers, as the controller does it.
 * offered: NULL when it does not say. */
static void set_servers(IpopServers *servers, const IpopConf *conf, const IpopServices *offered) {
    const char *stun[IPOP_SERVERS_MAX];
    IpopTurnServer turn[IPOP_SERVERS_MAX];
    unsigned n_stun = 0, n_turn = 0;
    for (unsigned i = 0; i < conf->n_stun && n_stun < IPOP_SERVERS_MAX; i++)
        stun[n_stun++] = conf->stun[i];
    for (unsigned i = 0; offered && !conf->stun_given && i < offered->n_stun && n_stun < IPOP_SERVERS_MAX; i++)
        stun[n_stun++] = offered->stun[i].server;
    for (unsigned i = 0; i < conf->n_turn && n_turn < IPOP_SERVERS_MAX; i++)
        turn[n_turn++] = (IpopTurnServer){conf->turn[i].server, conf->turn[i].user, conf->turn[i].pass,
                                          conf->turn[i].tcp ? IPOP_TURN_TCP : IPOP_TURN_UDP};
    for (unsigned i = 0; offered && !conf->turn_given && i < offered->n_turn && n_turn < IPOP_SERVERS_MAX; i++) {
        const IpopService *service = &offered->turn[i];
        turn[n_turn++] = (IpopTurnServer){(char *)service->server, (char *)service->user, (char *)service->pass,
                                          service->tcp ? IPOP_TURN_TCP : IPOP_TURN_UDP};
    }
    const IpopServerLists lists = {stun, n_stun, !conf->stun_given, turn, n_turn, !conf->turn_given};
    ipop_servers_set(servers, &lists);
}

/* One that is still being looked up has no verdict. */
static void report_server(Report *r, const IpopServerStatus *status) {
    bool silent = status->verdict == IPOP_SERVER_UNKNOWN;
    g_autofree char *name =
        g_strdup_printf("%s%s", status->server, !status->turn ? "" : status->transport == IPOP_TURN_TCP ? " (TCP)" : " (UDP)");
    report(r, status->turn ? "TURN" : "STUN", name, status->verdict == IPOP_SERVER_GOOD ? GOOD : BAD,
           silent ? "its name can't be resolved (no answer): see to DNS" : status->text);
}

static bool relays(const IpopServers *servers, IpopTurnTransport transport) {
    IpopServerStatus status;
    for (unsigned i = 0; ipop_servers_status(servers, i, &status); i++)
        if (status.turn && status.verdict == IPOP_SERVER_GOOD && status.transport == transport)
            return true;
    return false;
}

/* What this host's place in the network means for its links. */
static void report_nat(Report *r, const IpopServers *servers) {
    IpopNat nat = ipop_servers_nat(servers);
    const char *outside = ipop_servers_outside(servers), *meaning = "";
    Verdict verdict = GOOD;
    if (nat.mapping == IPOP_NAT_BLOCKED && relays(servers, IPOP_TURN_UDP)) {
        meaning = "; a TURN server does over UDP, so it is the STUN servers that are down";
        verdict = BAD;
    } else if (nat.mapping == IPOP_NAT_BLOCKED && relays(servers, IPOP_TURN_TCP)) {
        meaning = "; links go by the TURN server that answers over TCP";
        verdict = NOTE;
    } else if (nat.mapping == IPOP_NAT_BLOCKED) {
        meaning = "; a TURN server with \"transport\": \"tcp\" gets through where only UDP is blocked";
        verdict = BAD;
    } else if (nat.mapping == IPOP_NAT_DEPENDENT) {
        meaning = relays(servers, IPOP_TURN_UDP) || relays(servers, IPOP_TURN_TCP)
                      ? "; links to hosts behind a NAT or firewall go by a TURN server"
                      : "; links to hosts behind a NAT or firewall need a TURN server";
        verdict = NOTE;
    } else if (nat.mapping == IPOP_NAT_UNKNOWN) {
        verdict = NOTE;
    }
    g_autofree char *text = g_strconcat(ipop_nat_sentence(nat), meaning, NULL);
    report(r, "NAT", outside, verdict, text);
}

static bool has(const IpopServers *servers, bool turn) {
    IpopServerStatus status;
    for (unsigned i = 0; ipop_servers_status(servers, i, &status); i++)
        if (status.turn == turn)
            return true;
    return false;
}

static void report_servers(Report *r, const IpopServers *servers, const IpopConf *conf) {
    IpopServerStatus status;
    for (unsigned i = 0; ipop_servers_status(servers, i, &status); i++)
        report_server(r, &status);
    if (has(servers, false))
        report_nat(r, servers);
    else
        report(r, "STUN", "", NOTE, conf->stun_given ? "none, as configured: nodes behind different NATs need TURN then"
                                                     : "none configured, and the Jabber server offers none");
    if (!has(servers, true))
        report(r, "TURN", "", NOTE, conf->turn_given ? "none, as configured: some pairs of NATs can't be crossed then"
                                                     : "none configured, and the Jabber server offers none");
}

/* --- Jabber, in a thread beside --- */

typedef struct {
    const IpopConf *conf;
    char *trouble; /* NULL: logged in */
    char *offer;   /* what the server said of its STUN and TURN servers; NULL: nothing */
    gint done;
} Login;

static void *log_in(void *user) {
    Login *login = user;
    const IpopConf *conf = login->conf;
    /* A login with the resource of another throws that one out. */
    g_autofree char *resource = g_strdup_printf("ipop-check-%08x", g_random_int());
    const IpopXmppConfig config = {
        .jid = conf->xmpp_username,
        .resource = resource,
        .password = conf->xmpp_password,
        .host = conf->xmpp_host,
        .port = conf->xmpp_port,
        .cafile = conf->xmpp_cafile,
    };
    const char *const questions[] = {ipop_services_request(2), ipop_services_request(1), NULL};
    bool ask = !conf->stun_given || !conf->turn_given;
    login->trouble = ipop_xmpp_try_login(&config, LOGIN_MS, ask ? questions : NULL, &login->offer);
    g_atomic_int_set(&login->done, 1);
    g_main_context_wakeup(NULL);
    return NULL;
}

static gboolean end_servers(gpointer data) {
    *(bool *)data = true;
    return G_SOURCE_REMOVE;
}

static void wait_settled(const IpopServers *servers) {
    bool late = false;
    guint limit = g_timeout_add(SERVERS_MS, end_servers, &late);
    while (!late && !ipop_servers_settled(servers))
        g_main_context_iteration(NULL, TRUE);
    if (!late)
        g_source_remove(limit);
}

static void set_offered(IpopServers *servers, const IpopConf *conf, const char *offer) {
    IpopServices *services = ipop_secret_new(sizeof *services);
    if (offer && ipop_services_parse(offer, strlen(offer), services))
        set_servers(servers, conf, services);
    ipop_secret_free(services);
}

/* Both at once, since each takes seconds where something is wrong. */
static void check_network(Report *r, const IpopConf *conf, const char *no_password) {
    Login login = {.conf = conf, .trouble = g_strdup(no_password), .done = no_password != NULL};
    GThread *thread = no_password ? NULL : g_thread_new("login", log_in, &login);
    IpopServers *servers = ipop_servers_new(NULL, NULL);
    set_servers(servers, conf, NULL);
    while (!g_atomic_int_get(&login.done))
        g_main_context_iteration(NULL, TRUE);
    if (thread)
        g_thread_join(thread);
    if (login.offer)
        set_offered(servers, conf, login.offer);
    wait_settled(servers);
    report(r, "Jabber", conf->xmpp_username, login.trouble ? BAD : GOOD, login.trouble ? login.trouble : "logged in");
    report_servers(r, servers, conf);
    ipop_servers_free(servers);
    g_free(login.trouble);
    g_free(login.offer);
}

int ipop_cmd_check(const IpopTool *tool, const char *operand) {
    g_autoptr(GError) error = NULL;
    if (!tool->config) {
        ipop_text_line(tool->err, "ipop: check what? Name the configuration: ipop check -c FILE");
        return IPOP_TOOL_USAGE;
    }
    Report r = {.tool = tool, .checks = json_array()};
    g_autoptr(IpopConf) conf = ipop_conf_load(tool->config, NULL, &error);
    if (!conf) {
        report(&r, "config", "", BAD, error->message);
        return finish(&r);
    }
    report(&r, "config", tool->config, GOOD, "");
    for (char **warning = conf->warnings; warning && *warning; warning++)
        report(&r, "config", "", NOTE, *warning);
    bool have_password = ipop_conf_read_password(conf, &error);
    check_network(&r, conf, have_password ? NULL : error->message);
    return finish(&r);
}
