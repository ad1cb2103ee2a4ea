/* ipop why PEER: how it is reached, or why it is not, in sentences. */
#include "tincan/ctl/nat.h"
#include "tools/text.h"
#include "tools/tool.h"
#include "tools/view.h"

#include <string.h>

typedef struct {
    const char *name, *meaning;
} Meaning;

static const char *lookup(const Meaning *table, size_t n, const char *name, const char *otherwise) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].meaning;
    return otherwise;
}

static const char *explain_state(const char *state) {
    static const Meaning states[] = {
        {"idle", "no link is being made"},
        {"gathering", "this node is collecting its own addresses"},
        {"checking", "the two nodes are trying each other's addresses"},
        {"handshake", "an address answers; the nodes are agreeing on keys"},
        {"online", "the link carries encrypted traffic both ways"},
        {"failed", "the link could not be made"},
    };
    return lookup(states, G_N_ELEMENTS(states), state, "no more is known about it");
}

static const char *explain_path(const char *path) {
    static const Meaning paths[] = {
        {"direct", "directly"},
        {"relayed", "through a TURN server"},
        {"via", "through another member"},
    };
    return lookup(paths, G_N_ELEMENTS(paths), path, "on an unknown path");
}

static const char *explain_type(const char *type) {
    static const Meaning types[] = {
        {"host", "an address of its own"},
        {"srflx", "its address as a STUN server sees it"},
        {"prflx", "its address as the other node sees it"},
        {"relay", "an address on a TURN server"},
        {"via", "another member"},
    };
    return lookup(types, G_N_ELEMENTS(types), type, "unknown");
}

static void print_age(FILE *out, const char *what, const json_t *peer, const char *key) {
    json_int_t seconds = json_integer_value(json_object_get(peer, key));
    if (json_is_integer(json_object_get(peer, key)) && seconds >= 0)
        ipop_text_line(out, "%s %" JSON_INTEGER_FORMAT " s ago.", what, seconds);
}

static void print_drops(FILE *out, const json_t *path) {
    const char *cause;
    json_t *count;
    json_object_foreach(json_object_get(path, "drops"), cause, count)
        if (json_integer_value(count) > 0)
            ipop_text_line(out, "Dropped for %s: %" JSON_INTEGER_FORMAT " packets.", cause, json_integer_value(count));
}

static void print_path(FILE *out, const json_t *path) {
    const char *local = ipop_view_text(path, "local_type"), *remote = ipop_view_text(path, "rem_type");
    ipop_text_line(out, "%s, here %s (%s: %s), there %s (%s: %s).",
                   json_is_true(json_object_get(path, "best_conn")) ? "The path in use" : "A path",
                   ipop_view_text(path, "local_addr"), local, explain_type(local), ipop_view_text(path, "rem_addr"), remote,
                   explain_type(remote));
    g_autofree char *sent = ipop_text_bytes(json_integer_value(json_object_get(path, "sent_total_bytes")));
    g_autofree char *received = ipop_text_bytes(json_integer_value(json_object_get(path, "recv_total_bytes")));
    ipop_text_line(out, "Round trip %.1f ms, MTU %" JSON_INTEGER_FORMAT ", %s sent, %s received.",
                   json_number_value(json_object_get(path, "rtt")), json_integer_value(json_object_get(path, "mtu")), sent,
                   received);
    print_drops(out, path);
}

static void print_state(FILE *out, const json_t *peer) {
    const char *state = ipop_view_text(peer, "state"), *via = ipop_view_text(peer, "via"),
               *reason = ipop_view_text(peer, "reason"), *ip6 = ipop_view_text(peer, "ip6");
    g_autofree char *name = ipop_view_name(peer);
    if (ipop_view_online(peer))
        ipop_text_line(out, "%s is online, reached %s%s%s.", name, explain_path(ipop_view_text(peer, "path")),
                       *via ? ": " : "", via);
    else
        ipop_text_line(out, "%s is not reached: %s (%s).", name, explain_state(state), state);
    if (*reason)
        ipop_text_line(out, "Reason: %s", reason);
    const char *remedy = ipop_view_text(json_object_get(peer, "why"), "remedy");
    if (*remedy)
        ipop_text_line(out, "What helps: %s", remedy);
    ipop_text_line(out, "Its addresses are %s%s%s, its uid is %s.", ipop_view_text(peer, "ip4"), *ip6 ? " and " : "", ip6,
                   ipop_view_text(peer, "uid"));
}

static const char *explain_nat(const char *text) {
    IpopNat nat;
    return ipop_nat_parse(text, &nat) ? ipop_nat_sentence(nat) : "not known";
}

static void print_networks(FILE *out, const json_t *local, const json_t *why) {
    const char *outside = ipop_view_text(local, "_outside");
    ipop_text_line(out, "This node's network: %s%s%s.", explain_nat(ipop_view_text(local, "_nat")),
                   *outside ? "; from outside it is " : "", outside);
    ipop_text_line(out, "The peer's network: %s.", explain_nat(ipop_view_text(why, "nat")));
}

static void print_upnp(FILE *out, const json_t *local) {
    const char *upnp = ipop_view_text(local, "_upnp");
    if (strcmp(upnp, "none") == 0)
        ipop_text_line(out, "UPnP is on, and no router maps ports.");
    else if (*upnp && strcmp(upnp, "off") != 0)
        ipop_text_line(out, "UPnP: the router maps ports of %s.", upnp);
}

static void print_candidates(FILE *out, const char *whose, const json_t *list) {
    GString *text = g_string_new(NULL);
    size_t i;
    json_t *c;
    json_array_foreach(list, i, c)
        g_string_append_printf(text, "%s%s %s%s", i > 0 ? ", " : "", ipop_view_text(c, "type"), ipop_view_text(c, "addr"),
                               json_is_true(json_object_get(c, "learned")) ? " (its checks came from there)" : "");
    ipop_text_line(out, "  %s addresses: %s.", whose, *text->str ? text->str : "none");
    g_string_free(text, TRUE);
}

static json_int_t number(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static void print_answered(FILE *out, const json_t *attempt) {
    const json_t *answered = json_object_get(attempt, "answered");
    size_t i;
    json_t *pair;
    if (json_array_size(answered) == 0)
        ipop_text_line(out, "  None of this node's checks has been answered.");
    json_array_foreach(answered, i, pair)
        ipop_text_line(out, "  Answered after %" JSON_INTEGER_FORMAT " ms: from %s %s to %s %s.", number(pair, "after"),
                       ipop_view_text(pair, "local_type"), ipop_view_text(pair, "local_addr"), ipop_view_text(pair, "rem_type"),
                       ipop_view_text(pair, "rem_addr"));
}

static void print_attempt(FILE *out, const json_t *attempt) {
    json_int_t heard = number(attempt, "heard"), failed = number(attempt, "failed");
    ipop_text_line(out, "%s, begun %" JSON_INTEGER_FORMAT " s ago:",
                   json_is_true(json_object_get(attempt, "carries")) ? "The attempt that made this path" : "The last attempt",
                   number(attempt, "age"));
    print_candidates(out, "Own", json_object_get(attempt, "local"));
    print_candidates(out, "Its", json_object_get(attempt, "remote"));
    ipop_text_line(out, "  Pairs of addresses to check: %" JSON_INTEGER_FORMAT ".", number(attempt, "pairs"));
    if (heard >= 0)
        ipop_text_line(out, "  The peer's checks reach this node, the first one after %" JSON_INTEGER_FORMAT " ms.", heard);
    else
        ipop_text_line(out, "  No check of the peer has reached this node.");
    print_answered(out, attempt);
    if (failed >= 0)
        ipop_text_line(out, "  Given up after %.1f s.", (double)failed / 1000);
}

/* Servers that are well are shown by what they did. */
static void print_servers(FILE *out, const json_t *local) {
    size_t i;
    json_t *server;
    json_array_foreach(json_object_get(local, "_servers"), i, server) {
        const char *text = ipop_view_text(server, "text");
        ipop_text_line(out, "%s server %s (%s): %s%s%s.", strcmp(ipop_view_text(server, "kind"), "turn") == 0 ? "TURN" : "STUN",
                       ipop_view_text(server, "server"), ipop_view_text(server, "transport"), ipop_view_text(server, "verdict"),
                       *text ? ", " : "", text);
    }
}

static void print_why(FILE *out, const json_t *local, const json_t *peer) {
    const json_t *why = json_object_get(peer, "why");
    size_t i;
    json_t *attempt;
    print_networks(out, local, why);
    print_upnp(out, local);
    json_array_foreach(json_object_get(why, "attempts"), i, attempt)
        print_attempt(out, attempt);
    print_servers(out, local);
}

static void print_jabber(FILE *out, const json_t *local, const json_t *peer) {
    const char *jid = ipop_view_text(peer, "jid"), *xmpp = ipop_view_text(local, "_xmpp"),
               *error = ipop_view_text(local, "_xmpp_error");
    if (strcmp(xmpp, "connected") != 0)
        ipop_text_line(out, "This node is not logged in to Jabber (%s)%s%s; what follows may be old.", xmpp,
                       *error ? ": " : "", error);
    ipop_text_line(out, "Jabber says that it is %s%s%s.", ipop_view_text(peer, "presence"), *jid ? " as " : "", jid);
    print_age(out, "Last heard by Jabber", peer, "xmpp_time");
    print_age(out, "Last heard over the link", peer, "last_time");
}

int ipop_cmd_why(const IpopTool *tool, const char *operand) {
    g_auto(IpopView) all = {0}, view = {0};
    GError *error = NULL;
    const json_t *peer = NULL;
    if (ipop_view_ask((unsigned)tool->port, NULL, &all, &error))
        peer = ipop_view_find(&all, operand, &error);
    if (peer && !ipop_view_ask((unsigned)tool->port, ipop_view_text(peer, "uid"), &view, &error))
        peer = NULL;
    if (peer)
        peer = ipop_view_find(&view, ipop_view_text(peer, "uid"), &error);
    if (!peer) {
        ipop_text_error(tool->err, error);
        return IPOP_TOOL_USAGE;
    }
    if (tool->json) {
        ipop_text_json(tool->out, json_pack("{s:O, s:O}", "local", view.local, "peer", peer));
    } else {
        size_t i;
        json_t *path;
        print_state(tool->out, peer);
        json_array_foreach(json_object_get(peer, "stats"), i, path)
            print_path(tool->out, path);
        print_why(tool->out, view.local, peer);
        print_jabber(tool->out, view.local, peer);
    }
    return ipop_view_online(peer) ? IPOP_TOOL_GOOD : IPOP_TOOL_BAD;
}
