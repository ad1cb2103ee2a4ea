/* ipop ping PEER: authenticated round trips through the tunnel, without its device. */
#include "tincan/base/clock.h"
#include "tincan/ctl/client.h"
#include "tools/text.h"
#include "tools/tool.h"
#include "tools/view.h"

#include <string.h>

#define ANSWER_MS 1500 /* tincan gives up after a second and says so */

typedef struct {
    unsigned sent, answered;
    double least, most, sum; /* ms */
    json_t *rtts;
} Tally;

static void count(Tally *t, double rtt) {
    t->least = t->answered ? MIN(t->least, rtt) : rtt;
    t->most = MAX(t->most, rtt);
    t->sum += rtt;
    t->answered++;
    json_array_append_new(t->rtts, json_real(rtt));
}

/* False and error when tincan itself does not answer. */
static bool ping_once(const IpopTool *tool, const json_t *peer, const char *name, Tally *t, GError **error) {
    json_t *request = json_pack("{s:s, s:s}", "m", "ping", "uid", ipop_view_text(peer, "uid"));
    json_t *answers = ipop_ctl_ask((unsigned)tool->port, request, ANSWER_MS, error);
    json_decref(request);
    if (!answers)
        return false;
    const json_t *answer = json_array_get(answers, 0);
    const json_t *rtt = json_object_get(answer, "rtt");
    bool pong = strcmp(ipop_view_text(answer, "type"), "pong") == 0 && json_is_number(rtt);
    t->sent++;
    if (pong)
        count(t, json_number_value(rtt));
    if (!tool->json && pong)
        ipop_text_line(tool->out, "%s (%s) answers: rtt %.2f ms", name, ipop_view_text(peer, "ip4"), json_number_value(rtt));
    else if (!tool->json)
        ipop_text_line(tool->out, "%s (%s) does not answer: %s", name, ipop_view_text(peer, "ip4"),
                       ipop_view_text(answer, "error"));
    json_decref(answers);
    return true;
}

static void print_summary(const IpopTool *tool, const json_t *peer, const char *name, const Tally *t) {
    if (tool->json)
        ipop_text_json(tool->out, json_pack("{s:s, s:s, s:i, s:i, s:O}", "uid", ipop_view_text(peer, "uid"), "name", name,
                                            "sent", (int)t->sent, "answered", (int)t->answered, "rtt", t->rtts));
    else if (t->answered)
        ipop_text_line(tool->out, "%u sent, %u answered, rtt %.2f/%.2f/%.2f ms (least/mean/most)", t->sent, t->answered,
                       t->least, t->sum / t->answered, t->most);
    else
        ipop_text_line(tool->out, "%u sent, none answered: see why with: ipop why %s", t->sent, name);
}

static int ping_often(const IpopTool *tool, const json_t *peer) {
    g_autofree char *name = ipop_view_name(peer);
    Tally t = {.rtts = json_array()};
    GError *error = NULL;
    int64_t next = ipop_clock_now();
    while (t.sent < (unsigned)tool->count) {
        if (t.sent > 0)
            g_usleep((gulong)MAX(0, next - ipop_clock_now()));
        next = ipop_clock_now() + IPOP_SECOND;
        if (!ping_once(tool, peer, name, &t, &error))
            break;
        fflush(tool->out);
    }
    if (error)
        ipop_text_error(tool->err, error);
    else
        print_summary(tool, peer, name, &t);
    json_decref(t.rtts);
    return error ? IPOP_TOOL_USAGE : t.answered ? IPOP_TOOL_GOOD : IPOP_TOOL_BAD;
}

int ipop_cmd_ping(const IpopTool *tool, const char *operand) {
    g_auto(IpopView) view = {0};
    GError *error = NULL;
    const json_t *peer = NULL;
    if (ipop_view_ask((unsigned)tool->port, NULL, &view, &error))
        peer = ipop_view_find(&view, operand, &error);
    if (!peer) {
        ipop_text_error(tool->err, error);
        return IPOP_TOOL_USAGE;
    }
    return ping_often(tool, peer);
}
