#include "tools/text.h"
#include "tools/tool.h"

#include <glib.h>
#include <string.h>

typedef struct {
    const char *name;
    const char *operand; /* NULL: none */
    const char *summary;
    int (*run)(const IpopTool *tool, const char *operand);
} Command;

static const Command commands[] = {
    {"status", NULL, "this node and a table of its peers", ipop_cmd_status},
    {"peers", NULL, "one line per peer: name, address, state", ipop_cmd_peers},
    {"why", "PEER", "how a peer is reached, or why it is not", ipop_cmd_why},
    {"ping", "PEER", "round trip through the tunnel (-c N times)", ipop_cmd_ping},
    {"check", NULL, "-c FILE: configuration, Jabber login, STUN and TURN servers", ipop_cmd_check},
    {"key", NULL, "own fingerprint and pinned keys (--forget NAME)", ipop_cmd_key},
};

static const Command *find_command(const char *name) {
    for (const Command *c = commands; c < commands + G_N_ELEMENTS(commands); c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static char *describe_commands(void) {
    GString *text = g_string_new("Commands:\n");
    for (const Command *c = commands; c < commands + G_N_ELEMENTS(commands); c++) {
        g_autofree char *usage = g_strdup_printf("%s %s", c->name, c->operand ? c->operand : "");
        g_string_append_printf(text, "  %-14s%s\n", usage, c->summary);
    }
    g_string_append(text, "\nPEER is a name, an overlay address, a uid or its unique beginning.\n"
                          "Exit status: 0 good, 1 the thing asked about is not well, 2 wrong usage or nothing answers.");
    return g_string_free(text, FALSE);
}

typedef struct {
    IpopTool tool;
    gboolean json, version;
} Arguments;

static void arguments_clear(Arguments *a) {
    g_free(a->tool.state_dir);
    g_free(a->tool.runtime_dir);
    g_free(a->tool.config);
    g_free(a->tool.forget);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

static void replace(char **where, const char *value) {
    g_free(*where);
    *where = g_strdup(value);
}

static GOptionContext *make_context(Arguments *a, const Command *command) {
    const GOptionEntry common[] = {
        {"port", 0, 0, G_OPTION_ARG_INT, &a->tool.port, "Control port of ipop-tincan (5800)", "N"},
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &a->tool.state_dir, "Where known_peers is (/var/lib/ipop)", "DIR"},
        {"runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &a->tool.runtime_dir, "Where the daemons meet (/run/ipop)", "DIR"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &a->json, "Answer with one JSON object", NULL},
        {NULL},
    };
    const GOptionEntry version[] = {{"version", 0, 0, G_OPTION_ARG_NONE, &a->version, "Show the version", NULL}, {NULL}};
    const GOptionEntry ping[] = {{"count", 'c', 0, G_OPTION_ARG_INT, &a->tool.count, "How often (4)", "N"}, {NULL}};
    const GOptionEntry check[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &a->tool.config, "The configuration to check", "FILE"}, {NULL}};
    const GOptionEntry key[] = {{"forget", 0, 0, G_OPTION_ARG_FILENAME, &a->tool.forget,
                                 "Forget the key of this name, address or uid, so that another may have it", "NAME"},
                                {NULL}};
    GOptionContext *context = g_option_context_new(command ? command->operand : "COMMAND ...");
    g_option_context_add_main_entries(context, common, NULL);
    if (!command)
        g_option_context_add_main_entries(context, version, NULL);
    if (command && command->run == ipop_cmd_ping)
        g_option_context_add_main_entries(context, ping, NULL);
    if (command && command->run == ipop_cmd_check)
        g_option_context_add_main_entries(context, check, NULL);
    if (command && command->run == ipop_cmd_key)
        g_option_context_add_main_entries(context, key, NULL);
    return context;
}

static int wrong_usage(FILE *err, const char *command, const char *message) {
    ipop_text_line(err, "ipop: %s; see: ipop %s%s--help", message, command, *command ? " " : "");
    return IPOP_TOOL_USAGE;
}

/* The options before the command, up to it: what stands behind belongs to the command, which may give the same letter
 * another meaning. */
static bool parse_before(Arguments *a, char ***args, GError **error) {
    g_autoptr(GOptionContext) context = make_context(a, NULL);
    g_autofree char *description = describe_commands();
    g_option_context_set_strict_posix(context, TRUE);
    g_option_context_set_description(context, description);
    g_set_prgname("ipop");
    return g_option_context_parse_strv(context, args, error);
}

static bool parse_after(Arguments *a, const Command *command, char ***args, GError **error) {
    g_autoptr(GOptionContext) context = make_context(a, command);
    g_autofree char *program = g_strdup_printf("ipop %s", command->name);
    g_option_context_set_summary(context, command->summary);
    g_set_prgname(program);
    return g_option_context_parse_strv(context, args, error);
}

static int run_command(Arguments *a, const Command *command, char **args) {
    g_auto(GStrv) rest = g_strdupv(args);
    g_autoptr(GError) error = NULL;
    IpopTool *tool = &a->tool;
    if (!parse_after(a, command, &rest, &error))
        return wrong_usage(tool->err, command->name, error->message);
    if (tool->port < 1 || tool->port > 65535)
        return wrong_usage(tool->err, command->name, "--port is 1 to 65535");
    if (tool->count < 1)
        return wrong_usage(tool->err, command->name, "-c is 1 or more");
    if (command->operand && !rest[1])
        return wrong_usage(tool->err, command->name, "which peer is not said");
    if (rest[1] && (!command->operand || rest[2]))
        return wrong_usage(tool->err, command->name, "too many arguments");
    if (!tool->state_dir)
        replace(&tool->state_dir, "/var/lib/ipop");
    if (!tool->runtime_dir)
        replace(&tool->runtime_dir, "/run/ipop");
    tool->json = a->json;
    return command->run(tool, rest[1]);
}

int ipop_tool_run(int argc, char *const *argv, FILE *out, FILE *err) {
    g_auto(Arguments) a = {.tool = {.out = out, .err = err, .port = 5800, .count = 4}};
    g_auto(GStrv) args = g_new0(char *, (size_t)argc + 1);
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < argc; i++)
        args[i] = g_strdup(argv[i]);
    if (!parse_before(&a, &args, &error))
        return wrong_usage(err, "", error->message);
    if (a.version) {
        ipop_text_line(out, "ipop " IPOP_VERSION);
        return IPOP_TOOL_GOOD;
    }
    if (!args[0] || !args[1])
        return wrong_usage(err, "", "no command is given");
    const Command *command = find_command(args[1]);
    if (!command) {
        g_autofree char *message = g_strdup_printf("there is no command \"%s\"", args[1]);
        return wrong_usage(err, "", message);
    }
    return run_command(&a, command, args + 1);
}
