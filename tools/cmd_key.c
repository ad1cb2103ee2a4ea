/* ipop key: own fingerprint, pinned keys, and forgetting one. */
#include "controller/peer/pins.h"
#include "tools/text.h"
#include "tools/tool.h"
#include "tools/view.h"

#include <time.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(IpopPins, ipop_pins_free)

/* "" for a peer pinned by hand that was never met: its key is not known, only its uid. */
static void pin_fingerprint(const IpopPin *pin, char ret_text[static IPOP_FPR_SIZE]) {
    uint8_t key[IPOP_KEY_BYTES];
    *ret_text = '\0';
    if (ipop_key_from_text(pin->key, key))
        ipop_fingerprint(key, ret_text);
}

static void print_pin(const IpopPin *pin, FILE *out) {
    char fpr[IPOP_FPR_SIZE], date[16] = "";
    struct tm tm;
    time_t seen = (time_t)pin->first_seen;
    pin_fingerprint(pin, fpr);
    if (seen > 0 && localtime_r(&seen, &tm))
        strftime(date, sizeof date, "%F", &tm);
    ipop_text_line(out, "%s  %s  %s%s%s", *pin->name ? pin->name : "(no name of its own)", pin->ip4, pin->jid,
                   *date ? "  since " : "", date);
    ipop_text_line(out, "  uid          %s", pin->uid.hex);
    if (*fpr)
        ipop_text_line(out, "  fingerprint  %s", fpr);
}

static json_t *pin_json(const IpopPin *pin) {
    char fpr[IPOP_FPR_SIZE];
    pin_fingerprint(pin, fpr);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "uid", pin->uid.hex, "fpr", fpr, "name", pin->name, "ip4", pin->ip4,
                     "jid", pin->jid, "first_seen", (json_int_t)pin->first_seen);
}

static void print_json(const IpopView *view, const IpopPins *pins, FILE *out) {
    json_t *list = json_array();
    for (unsigned i = 0; i < ipop_pins_count(pins); i++)
        json_array_append_new(list, pin_json(ipop_pins_nth(pins, i)));
    json_t *answer = json_pack("{s:o}", "pinned", list);
    if (view->local)
        json_object_set_new(answer, "own", json_pack("{s:s, s:s, s:s}", "uid", ipop_view_text(view->local, "_uid"), "fpr",
                                                     ipop_view_text(view->local, "_fpr"), "name",
                                                     ipop_view_text(view->local, "_name")));
    ipop_text_json(out, answer);
}

static void print_all(const IpopView *view, const IpopPins *pins, FILE *out) {
    if (view->local) {
        ipop_text_line(out, "this node  %s", ipop_view_text(view->local, "_name"));
        ipop_text_line(out, "  uid          %s", ipop_view_text(view->local, "_uid"));
        ipop_text_line(out, "  fingerprint  %s", ipop_view_text(view->local, "_fpr"));
    }
    ipop_text_line(out, ipop_pins_count(pins) ? "pinned:" : "no keys are pinned");
    for (unsigned i = 0; i < ipop_pins_count(pins); i++)
        print_pin(ipop_pins_nth(pins, i), out);
}

static int forget(const IpopTool *tool, IpopPins *pins) {
    IpopPin pin;
    GError *error = NULL;
    if (!ipop_pins_forget(pins, tool->forget, &pin, &error)) {
        ipop_text_error(tool->err, error);
        return IPOP_TOOL_BAD;
    }
    if (tool->json)
        ipop_text_json(tool->out, json_pack("{s:o}", "forgotten", pin_json(&pin)));
    else
        ipop_text_line(tool->out, "forgot %s (%s, uid %s): whoever says next to be this node is pinned anew",
                       *pin.name ? pin.name : "a node without a name of its own", pin.ip4, pin.uid.hex);
    return IPOP_TOOL_GOOD;
}

/* The pins are shown whether or not a tincan runs, but its silence is an answer too. */
int ipop_cmd_key(const IpopTool *tool, const char *operand) {
    g_auto(IpopView) view = {0};
    GError *error = NULL;
    g_autoptr(IpopPins) pins = ipop_pins_load(tool->state_dir, NULL, &error);
    if (!pins) {
        ipop_text_error(tool->err, error);
        return IPOP_TOOL_BAD;
    }
    if (tool->forget)
        return forget(tool, pins);
    bool answered = ipop_view_ask((unsigned)tool->port, NULL, &view, &error);
    if (!answered)
        ipop_text_error(tool->err, error);
    if (tool->json)
        print_json(&view, pins, tool->out);
    else
        print_all(&view, pins, tool->out);
    return answered ? IPOP_TOOL_GOOD : IPOP_TOOL_USAGE;
}
