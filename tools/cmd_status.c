/* ipop status, ipop peers */
#include "tools/text.h"
#include "tools/tool.h"
#include "tools/view.h"

#include <string.h>

static const char *xmpp_error(const json_t *local) {
    const char *error = ipop_view_text(local, "_xmpp_error");
    return *error ? error : "is ipop-controller running? start it: ipop-controller -c FILE";
}

static bool connected(const json_t *local) {
    return strcmp(ipop_view_text(local, "_xmpp"), "connected") == 0;
}

static void print_bad_servers(const json_t *local, FILE *out) {
    size_t i;
    json_t *server;
    json_array_foreach(json_object_get(local, "_servers"), i, server)
        if (strcmp(ipop_view_text(server, "verdict"), "bad") == 0)
            ipop_text_line(out, "%s       %s (%s): %s", strcmp(ipop_view_text(server, "kind"), "turn") == 0 ? "TURN" : "STUN",
                           ipop_view_text(server, "server"), ipop_view_text(server, "transport"), ipop_view_text(server, "text"));
}

static void print_local(const json_t *local, FILE *out) {
    const char *name = ipop_view_text(local, "_name"), *ip4 = ipop_view_text(local, "_ip4"),
               *ip6 = ipop_view_text(local, "_ip6"), *xmpp = ipop_view_text(local, "_xmpp");
    ipop_text_line(out, "this node  %s (uid %.12s), ipop %s", *name ? name : "(no name yet)", ipop_view_text(local, "_uid"),
                   ipop_view_text(local, "_version"));
    ipop_text_line(out, "address    %s%s%s", *ip4 ? ip4 : "none yet: the controller gives it", *ip6 ? ", " : "", ip6);
    if (connected(local))
        ipop_text_line(out, "Jabber     connected as %s", ipop_view_text(local, "_jid"));
    else
        ipop_text_line(out, "Jabber     %s: %s", *xmpp ? xmpp : "disconnected", xmpp_error(local));
    print_bad_servers(local, out);
}

static char *describe_via(const json_t *peer, const json_t *best) {
    const char *via = ipop_view_text(peer, "via");
    if (*via)
        return g_strdup(via);
    if (!best || !ipop_view_online(peer))
        return g_strdup("");
    return g_strdup_printf("%s/%s %s", ipop_view_text(best, "local_type"), ipop_view_text(best, "rem_type"),
                           ipop_view_text(best, "rem_addr"));
}

static char *describe_rtt(const json_t *peer, const json_t *best) {
    double rtt = json_number_value(json_object_get(best, "rtt"));
    return ipop_view_online(peer) && rtt > 0 ? g_strdup_printf("%.1f ms", rtt) : g_strdup("");
}

static char *describe_bytes(const json_t *best, const char *key) {
    return best ? ipop_text_bytes(json_integer_value(json_object_get(best, key))) : g_strdup("");
}

static bool available(const json_t *peer) {
    return strcmp(ipop_view_text(peer, "presence"), "available") == 0;
}

static const char *reason(const json_t *peer) {
    const char *text = ipop_view_text(peer, "reason");
    return *text || available(peer) ? text : "not logged in to Jabber";
}

static void add_peer(IpopTable *table, const json_t *peer) {
    const json_t *best = ipop_view_best(peer);
    g_autofree char *name = ipop_view_name(peer), *via = describe_via(peer, best), *rtt = describe_rtt(peer, best),
                    *sent = describe_bytes(best, "sent_total_bytes"), *received = describe_bytes(best, "recv_total_bytes");
    const char *cells[] = {name, ipop_view_text(peer, "ip4"), ipop_view_text(peer, "state"), ipop_view_text(peer, "path"),
                           via,  rtt, sent, received, reason(peer)};
    ipop_table_row(table, cells);
}

static void print_peers(const IpopView *view, FILE *out) {
    static const char *const heads[] = {"PEER", "ADDRESS", "STATE", "PATH", "THROUGH", "RTT", "SENT", "RECEIVED", "REASON"};
    g_autoptr(IpopTable) table = ipop_table_new(G_N_ELEMENTS(heads));
    if (view->peers->len == 0) {
        ipop_text_line(out, connected(view->local) ? "no peers: no other node is logged in to this Jabber account"
                                                   : "no peers are known");
        return;
    }
    ipop_table_row(table, heads);
    for (unsigned i = 0; i < view->peers->len; i++)
        add_peer(table, g_ptr_array_index(view->peers, i));
    ipop_table_print(table, out);
}

static bool all_well(const IpopView *view) {
    for (unsigned i = 0; i < view->peers->len; i++) {
        const json_t *peer = g_ptr_array_index(view->peers, i);
        if (available(peer) && !ipop_view_online(peer))
            return false;
    }
    return connected(view->local);
}

static void print_json(const IpopView *view, FILE *out) {
    json_t *peers = json_array();
    for (unsigned i = 0; i < view->peers->len; i++)
        json_array_append(peers, g_ptr_array_index(view->peers, i));
    ipop_text_json(out, json_pack("{s:O, s:o}", "local", view->local, "peers", peers));
}

static bool ask(const IpopTool *tool, IpopView *ret_view) {
    GError *error = NULL;
    if (!ipop_view_ask((unsigned)tool->port, NULL, ret_view, &error)) {
        ipop_text_error(tool->err, error);
        return false;
    }
    if (ret_view->n_lost > 0)
        ipop_text_line(tool->err, "ipop: the answers about %" G_GINT64_FORMAT " peers got lost: ask again",
                       ret_view->n_lost);
    return true;
}

int ipop_cmd_status(const IpopTool *tool, const char *operand) {
    g_auto(IpopView) view = {0};
    if (!ask(tool, &view))
        return IPOP_TOOL_USAGE;
    if (tool->json) {
        print_json(&view, tool->out);
    } else {
        print_local(view.local, tool->out);
        ipop_text_line(tool->out, "%s", "");
        print_peers(&view, tool->out);
    }
    return all_well(&view) ? IPOP_TOOL_GOOD : IPOP_TOOL_BAD;
}

int ipop_cmd_peers(const IpopTool *tool, const char *operand) {
    g_auto(IpopView) view = {0};
    if (!ask(tool, &view))
        return IPOP_TOOL_USAGE;
    if (tool->json) {
        print_json(&view, tool->out);
        return IPOP_TOOL_GOOD;
    }
    g_autoptr(IpopTable) table = ipop_table_new(3);
    for (unsigned i = 0; i < view.peers->len; i++) {
        const json_t *peer = g_ptr_array_index(view.peers, i);
        g_autofree char *name = ipop_view_name(peer);
        const char *cells[] = {name, ipop_view_text(peer, "ip4"), ipop_view_text(peer, "state")};
        ipop_table_row(table, cells);
    }
    ipop_table_print(table, tool->out);
    return IPOP_TOOL_GOOD;
}
