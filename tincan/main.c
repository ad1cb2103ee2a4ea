/* ipop-tincan [--state-dir DIR] [--runtime-dir DIR] [-v] [-h] [TAPNAME PORT] */
#include "tincan/base/error.h"
#include "tincan/base/log.h"
#include "tincan/base/secret.h"
#include "tincan/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_DEVICE "ipop"
#define DEFAULT_PORT 5800

typedef struct {
    char *state_dir, *runtime_dir;
    gboolean version;
    char **rest;
} Arguments;

static bool read_port(const char *text, unsigned *ret_port, GError **error) {
    guint64 port;
    if (!g_ascii_string_to_unsigned(text, 10, 1, 65535, &port, NULL)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "PORT must be a number from 1 to 65535, not \"%s\"", text);
        return false;
    }
    *ret_port = (unsigned)port;
    return true;
}

static bool read_arguments(int *argc, char ***argv, Arguments *arguments, IpopDaemonOptions *ret, GError **error) {
    const GOptionEntry entries[] = {
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->state_dir, "where the identity key is kept (/var/lib/ipop)", "DIR"},
        {"runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->runtime_dir, "where the control secret is written (/run/ipop)", "DIR"},
        {"version", 'v', 0, G_OPTION_ARG_NONE, &arguments->version, "print the version", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &arguments->rest, NULL, "[TAPNAME PORT]"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- data plane of the ipop peer-to-peer VPN");
    g_option_context_set_description(context, "TAPNAME is the device to make (ipop), PORT the UDP control port on loopback (5800).");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    guint n = arguments->rest ? g_strv_length(arguments->rest) : 0;
    if (n > 2) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "too many arguments at \"%s\": usage: ipop-tincan [OPTION...] [TAPNAME PORT]",
                    arguments->rest[2]);
        return false;
    }
    *ret = (IpopDaemonOptions){
        .device = n > 0 ? arguments->rest[0] : DEFAULT_DEVICE,
        .port = DEFAULT_PORT,
        .state_dir = arguments->state_dir ? arguments->state_dir : "/var/lib/ipop",
        .runtime_dir = arguments->runtime_dir ? arguments->runtime_dir : "/run/ipop",
    };
    return n < 2 || read_port(arguments->rest[1], &ret->port, error);
}

static int run(const IpopDaemonOptions *options, GError **error) {
    ipop_secret_init();
    IpopDaemon *daemon = ipop_daemon_new(options, error);
    if (!daemon)
        return EXIT_FAILURE;
    ipop_log(IPOP_LOG_INFO, "start", "ipop-tincan " IPOP_VERSION " device=%s port=%u uid=%s", options->device, options->port,
             daemon->identity->uid.hex);
    ipop_daemon_run(daemon);
    ipop_daemon_free(daemon);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    Arguments arguments = {0};
    IpopDaemonOptions options;
    g_autoptr(GError) error = NULL;
    int status = EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN);
    if (read_arguments(&argc, &argv, &arguments, &options, &error)) {
        if (arguments.version) {
            printf("ipop-tincan " IPOP_VERSION "\n");
            status = EXIT_SUCCESS;
        } else {
            status = run(&options, &error);
        }
    }
    if (error)
        fprintf(stderr, "ipop-tincan: %s\n", error->message);
    g_free(arguments.state_dir);
    g_free(arguments.runtime_dir);
    g_strfreev(arguments.rest);
    return status;
}
