/* ipop check: configuration, Jabber login, STUN and TURN servers, each said good or bad with the remedy. */
#include "controller/conf/conf.h"
#include "controller/xmpp/xmpp.h"
#include "tools/probe.h"
#include "tools/text.h"
#include "tools/tool.h"

#include <jansson.h>

#define LOGIN_MS 10000

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

/* --- STUN and TURN servers, all at once, each in a thread --- */

typedef struct {
    const char *server;
    const IpopConfTurn *turn; /* NULL: STUN */
    GCancellable *cancellable;
    GAsyncQueue *done;
    GThread *thread;
    bool good;
    char *text;
} Probe;

typedef struct {
    Probe probes[2 * IPOP_CONF_SERVERS_MAX];
    unsigned n;
    GCancellable *cancellable;
    GAsyncQueue *done;
    gint64 deadline;
} Probes;

static void *run_probe(void *user) {
    Probe *p = user;
    if (p->turn)
        p->good = ipop_probe_turn(p->server, p->turn->user, p->turn->pass, p->turn->tcp, p->cancellable, &p->text);
    else
        p->good = ipop_probe_stun(p->server, p->cancellable, &p->text);
    g_async_queue_push(p->done, p);
    return NULL;
}

static void start_probe(Probes *all, const char *server, const IpopConfTurn *turn) {
    Probe *p = &all->probes[all->n++];
    *p = (Probe){.server = server, .turn = turn, .cancellable = all->cancellable, .done = all->done};
    p->thread = g_thread_new("probe", run_probe, p);
}

static void start_probes(Probes *all, const IpopConf *conf) {
    all->cancellable = g_cancellable_new();
    all->done = g_async_queue_new();
    all->deadline = g_get_monotonic_time() + IPOP_PROBE_SECONDS * G_USEC_PER_SEC;
    for (unsigned i = 0; i < conf->n_stun; i++)
        start_probe(all, conf->stun[i], NULL);
    for (unsigned i = 0; i < conf->n_turn; i++)
        start_probe(all, conf->turn[i].server, &conf->turn[i]);
}

static void finish_probes(Probes *all, Report *r) {
    unsigned answered = 0;
    for (gint64 left; answered < all->n && (left = all->deadline - g_get_monotonic_time()) > 0;)
        answered += g_async_queue_timeout_pop(all->done, (guint64)left) ? 1 : 0;
    g_cancellable_cancel(all->cancellable);
    for (unsigned i = 0; i < all->n; i++) {
        Probe *p = &all->probes[i];
        g_thread_join(p->thread);
        g_autofree char *name = g_strdup_printf("%s%s", p->server, !p->turn ? "" : p->turn->tcp ? " (TCP)" : " (UDP)");
        report(r, p->turn ? "TURN" : "STUN", name, p->good ? GOOD : BAD, p->text);
        g_free(p->text);
    }
    g_object_unref(all->cancellable);
    g_async_queue_unref(all->done);
}

static void note_absent_servers(Report *r, const IpopConf *conf) {
    if (conf->n_stun == 0)
        report(r, "STUN", "", NOTE, conf->stun_given ? "none, as configured: nodes behind different NATs need TURN then"
                                                     : "none configured: what the Jabber server offers is used");
    if (conf->n_turn == 0)
        report(r, "TURN", "", NOTE, conf->turn_given ? "none, as configured: some pairs of NATs can't be crossed then"
                                                     : "none configured: what the Jabber server offers is used");
}

/* --- the rest --- */

static void check_login(Report *r, const IpopConf *conf) {
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
    g_autofree char *trouble = ipop_xmpp_try_login(&config, LOGIN_MS);
    report(r, "Jabber", conf->xmpp_username, trouble ? BAD : GOOD, trouble ? trouble : "logged in");
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

    /* Asked for first, so that waiting for a person does not use up the servers' time. */
    bool have_password = ipop_conf_read_password(conf, &error);
    Probes probes = {0};
    start_probes(&probes, conf);
    if (have_password)
        check_login(&r, conf);
    else
        report(&r, "Jabber", conf->xmpp_username, BAD, error->message);
    finish_probes(&probes, &r);
    note_absent_servers(&r, conf);
    return finish(&r);
}
