/* ipop-controller -c FILE [-s JSON] [--state-dir DIR] [--runtime-dir DIR] [-v] [-h] */
#include "controller/controller.h"
#include "tincan/base/error.h"
#include "tincan/base/log.h"
#include "tincan/base/sandbox.h"
#include "tincan/base/secret.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define USAGE "ipop-controller -c FILE [-s JSON] [--state-dir DIR] [--runtime-dir DIR] [-v] [-h]"

typedef struct {
    char *file, *overlay, *state_dir, *runtime_dir;
    gboolean version;
} Arguments;

typedef struct {
    GMainLoop *loop;
    GError **error;
} Run;

static bool read_arguments(int *argc, char ***argv, Arguments *arguments, GError **error) {
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &arguments->file, "the configuration, a JSON object", "FILE"},
        {"settings", 's', 0, G_OPTION_ARG_STRING, &arguments->overlay, "an object laid over the file's; alone it is enough", "JSON"},
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->state_dir, "where known_peers is kept (/var/lib/ipop)", "DIR"},
        {"runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->runtime_dir, "where ipop-tincan's secret is (/run/ipop)", "DIR"},
        {"version", 'v', 0, G_OPTION_ARG_NONE, &arguments->version, "print the version", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- Jabber side of the ipop peer-to-peer VPN");
    g_option_context_set_description(context, "It tells ipop-tincan, which has to run on this machine, whom to connect to.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (*argc > 1) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "\"%s\" is one argument too many; usage: " USAGE, (*argv)[1]);
        return false;
    }
    if (!arguments->version && arguments->file == NULL && arguments->overlay == NULL) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "no configuration given; usage: " USAGE);
        return false;
    }
    return true;
}

static gboolean on_signal(gpointer user) {
    g_main_loop_quit(user);
    return G_SOURCE_CONTINUE;
}

static void on_failed(void *user, const char *sentence) {
    Run *run = user;
    if (*run->error == NULL)
        g_set_error(run->error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "%s", sentence);
    g_main_loop_quit(run->loop);
}

static void introduce(const IpopConf *conf) {
    ipop_log(IPOP_LOG_INFO, "start", "ipop-controller " IPOP_VERSION " account=%s", conf->xmpp_username);
    ipop_log(IPOP_LOG_INFO, "start", "it logs in to that account, finds the account's other nodes, and has the ipop-tincan on port "
             "%u connect to each of them", conf->svpn_port);
    for (char **warning = conf->warnings; warning != NULL && *warning != NULL; warning++)
        ipop_log(IPOP_LOG_WARNING, "config", "%s", *warning);
}

static void run(const IpopConf *conf, const char *state_dir, const char *runtime_dir, GError **error) {
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    Run context = {.loop = loop, .error = error};
    IpopControllerConfig config = {
        .conf = conf, .state_dir = state_dir, .runtime_dir = runtime_dir, .failed = on_failed, .user = &context};
    /* For good: another signal while it logs out must not end the program before it has. */
    g_unix_signal_add(SIGTERM, on_signal, loop);
    g_unix_signal_add(SIGINT, on_signal, loop);
    IpopController *controller = ipop_controller_new(&config, error);
    if (controller != NULL) {
        introduce(conf);
        g_main_loop_run(loop);
    }
    ipop_controller_free(controller);
}

/* All files that only root may read are read before the sandbox closes. */
static void start(const Arguments *arguments, GError **error) {
    const char *state_dir = arguments->state_dir != NULL ? arguments->state_dir : "/var/lib/ipop";
    const char *runtime_dir = arguments->runtime_dir != NULL ? arguments->runtime_dir : "/run/ipop";
    ipop_secret_init();
    IpopConf *conf = ipop_conf_load(arguments->file, arguments->overlay, error);
    if (conf != NULL && ipop_conf_read_password(conf, error) && ipop_sandbox_make_dir(state_dir, error) &&
        ipop_sandbox_controller(state_dir, error)) {
        ipop_log_set_level(conf->controller_logging);
        run(conf, state_dir, runtime_dir, error);
    }
    ipop_conf_free(conf);
}

int main(int argc, char **argv) {
    Arguments arguments = {0};
    g_autoptr(GError) error = NULL;
    signal(SIGPIPE, SIG_IGN);
    if (read_arguments(&argc, &argv, &arguments, &error)) {
        if (arguments.version)
            printf("ipop-controller " IPOP_VERSION "\n");
        else
            start(&arguments, &error);
    }
    if (error != NULL)
        fprintf(stderr, "ipop-controller: %s\n", error->message);
    g_free(arguments.file);
    g_free(arguments.overlay);
    g_free(arguments.state_dir);
    g_free(arguments.runtime_dir);
    return error != NULL ? EXIT_FAILURE : EXIT_SUCCESS;
}
