#include "controller/conf/read.h"
#include "tincan/base/error.h"
#include "tincan/base/secret.h"
#include "tincan/ctl/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define EXAMPLE "{\"xmpp_username\": \"user@example.org\"}"
#define PASSWORD_MAX 1023
#define PASSWORD_BUFFER (PASSWORD_MAX + 4) /* with "\r\n", one byte to tell that it is too long, and the NUL */

/* --- JSON --- */

/* Jansson repeats the text at the fault, which may be a password; only with a duplicate key it surely is the key. */
static GError *syntax_error(const char *origin, const json_error_t *fault) {
    bool duplicate = json_error_code(fault) == json_error_duplicate_key;
    const char *near = strstr(fault->text, " near '");
    int n = near && !duplicate ? (int)(near - fault->text) : (int)strlen(fault->text);
    return g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: line %d, column %d: %s%.*s%s", origin, fault->line,
                       MAX(fault->column, 1), duplicate ? "" : "not valid JSON: ", n, fault->text,
                       duplicate ? ": remove one of the two" : "");
}

/* For text that ipop_json_parse refused. Jansson's own limit of depth is enough to keep this harmless. */
static GError *why_refused(const char *text, size_t n, const char *origin) {
    size_t blank = 0;
    while (blank < n && g_ascii_isspace(text[blank]))
        blank++;
    if (blank == n)
        return g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: is empty; it must hold a JSON object such as " EXAMPLE,
                           origin);
    json_error_t fault;
    json_auto_t *value = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);
    if (!value)
        return syntax_error(origin, &fault);
    if (!json_is_object(value))
        return g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: must hold one JSON object such as " EXAMPLE ", not %s",
                           origin, json_is_array(value) ? "an array" : "a single value");
    return g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: is nested more than %d deep; no key needs that", origin,
                       IPOP_CTL_DEPTH_MAX);
}

static json_t *parse_object(const char *text, size_t n, const char *origin, GError **error) {
    json_t *object = ipop_json_parse(text, n);
    if (!object)
        g_propagate_error(error, why_refused(text, n, origin));
    return object;
}

/* Overwrites every string, since some are secrets. The depth is that of ipop_json_parse at most. */
static void wipe(json_t *value) {
    const char *name;
    json_t *member;
    size_t i;
    json_object_foreach(value, name, member)
        wipe(member);
    json_array_foreach(value, i, member)
        wipe(member);
    if (json_is_string(value))
        sodium_memzero((char *)json_string_value(value), json_string_length(value));
}

static void wipe_and_free(json_t *value) {
    wipe(value);
    json_decref(value);
}

static bool holds_secret(const json_t *object) {
    return json_object_get(object, "xmpp_password") || json_object_get(object, "psk") ||
           json_array_size(json_object_get(object, "turn")) > 0;
}

static IpopConf *parse(const char *text, size_t n, const char *origin, const char *overlay_json, bool *ret_secret,
                       GError **error) {
    json_t *file = NULL, *overlay = NULL;
    IpopConf *conf = NULL;
    if (!text && !overlay_json)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "no configuration: give -c FILE, or -s with a JSON object");
    else if ((!text || (file = parse_object(text, n, origin, error))) &&
             (!overlay_json || (overlay = parse_object(overlay_json, strlen(overlay_json), "-s", error))))
        conf = ipop_conf_build(file, origin, overlay, error);
    *ret_secret = holds_secret(file);
    wipe_and_free(file);
    wipe_and_free(overlay);
    return conf;
}

IpopConf *ipop_conf_parse(const char *text, size_t n, const char *origin, const char *overlay_json, GError **error) {
    bool secret;
    return parse(text, n, origin, overlay_json, &secret, error);
}

/* --- files --- */

/* what: "configuration" or "password". */
static void set_file_error(GError **error, const char *path, const char *what, int code) {
    const char *remedy = code == ENOENT || code == ENOTDIR ? "check the path"
                         : code == EACCES                  ? "let the user that runs this read it (chgrp, chmod g+r)"
                         : code == EISDIR                  ? "give the path of a file"
                                                           : "check the disk";
    g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: the %s can't be read: %s: %s", path, what, g_strerror(code),
                remedy);
}

/* Reads to the end, max bytes at most; more than that has not fitted. -1 and errno on failure. */
static ssize_t read_up_to(int fd, char *buffer, size_t max) {
    size_t n = 0;
    while (n < max) {
        ssize_t got = read(fd, buffer + n, max - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

/* -1 and errno on failure. */
static ssize_t read_file(const char *path, char *buffer, size_t max) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    ssize_t n = read_up_to(fd, buffer, max);
    int code = errno;
    close(fd);
    errno = code;
    return n;
}

static void warn_if_open_to_all(IpopConf *conf, const char *path) {
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH))
        ipop_conf_warn(conf, g_strdup_printf("%s: holds a password, and every user of this machine can read it: run: "
                                             "chmod 600 %s", path, path));
}

IpopConf *ipop_conf_load(const char *file, const char *overlay_json, GError **error) {
    bool secret;
    if (!file)
        return parse(NULL, 0, NULL, overlay_json, &secret, error);

    IpopConf *conf = NULL;
    char *text = g_malloc(IPOP_CONF_FILE_MAX + 1);
    ssize_t n = read_file(file, text, IPOP_CONF_FILE_MAX + 1);
    if (n < 0)
        set_file_error(error, file, "configuration", errno);
    else if (n > IPOP_CONF_FILE_MAX)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: is larger than 1 MiB: this is no configuration", file);
    else
        conf = parse(text, (size_t)n, file, overlay_json, &secret, error);
    sodium_memzero(text, IPOP_CONF_FILE_MAX + 1);
    g_free(text);
    if (conf && secret)
        warn_if_open_to_all(conf, file);
    if (conf && conf->xmpp_password_file)
        warn_if_open_to_all(conf, conf->xmpp_password_file);
    return conf;
}

/* --- the password --- */

/* Cuts the end of the line. buffer holds n bytes and a NUL behind them. */
static bool password_line_valid(char *buffer, size_t n) {
    if (n > 0 && buffer[n - 1] == '\n')
        buffer[--n] = '\0';
    if (n > 0 && buffer[n - 1] == '\r')
        buffer[--n] = '\0';
    if (n == 0 || n > PASSWORD_MAX || strlen(buffer) != n)
        return false;
    for (const char *c = buffer; *c; c++)
        if (g_ascii_iscntrl(*c))
            return false;
    return g_utf8_validate(buffer, (gssize)n, NULL);
}

/* Locked memory. NULL and error, or with may_lack NULL alone when there is no such file. */
static char *password_from_file(const char *path, bool may_lack, GError **error) {
    char *buffer = ipop_secret_new(PASSWORD_BUFFER);
    ssize_t n = read_file(path, buffer, PASSWORD_BUFFER - 1);
    if (n >= 0 && password_line_valid(buffer, (size_t)n))
        return buffer;
    if (n >= 0)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG,
                    "%s: must hold the password alone, as one line of 1 to %d bytes", path, PASSWORD_MAX);
    else if (!may_lack || errno != ENOENT)
        set_file_error(error, path, "password", errno);
    ipop_secret_free(buffer);
    return NULL;
}

/* Reads a line with echo off; -1 when a signal came first. Signals wait until echo is on again. */
static ssize_t read_hidden_line(int tty, const char *prompt, char *buffer, size_t max) {
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGQUIT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTSTP);
    pthread_sigmask(SIG_BLOCK, &signals, &before);

    struct termios normal, hidden;
    tcgetattr(tty, &normal);
    hidden = normal;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    hidden.c_lflag |= ECHONL | ICANON;
    tcsetattr(tty, TCSAFLUSH, &hidden);
    dprintf(tty, "%s", prompt);

    struct pollfd fds[] = {{signalfd(-1, &signals, SFD_CLOEXEC), POLLIN, 0}, {tty, POLLIN, 0}};
    ssize_t n = poll(fds, G_N_ELEMENTS(fds), -1) > 0 && fds[0].revents == 0 ? read(tty, buffer, max) : -1;

    tcsetattr(tty, TCSAFLUSH, &normal);
    close(fds[0].fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n;
}

/* Locked memory. NULL alone when there is no terminal to ask on: none as standard input, or (started with &) not ours to
 * read: that would stop us for ever. */
static char *password_from_terminal(const char *jid, GError **error) {
    int tty = isatty(STDIN_FILENO) ? open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY) : -1;
    if (tty < 0)
        return NULL;
    char *buffer = NULL;
    if (tcgetpgrp(tty) == getpgrp()) {
        g_autofree char *prompt = g_strdup_printf("Password for %s: ", jid);
        buffer = ipop_secret_new(PASSWORD_BUFFER);
        ssize_t n = read_hidden_line(tty, prompt, buffer, PASSWORD_BUFFER - 1);
        if (n < 0 || !password_line_valid(buffer, (size_t)n)) {
            g_clear_pointer(&buffer, ipop_secret_free);
            g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "no password for %s was typed: it has 1 to %d bytes", jid,
                        PASSWORD_MAX);
        }
    }
    close(tty);
    return buffer;
}

bool ipop_conf_read_password(IpopConf *conf, GError **error) {
    GError *failed = NULL;
    const char *credentials = g_getenv("CREDENTIALS_DIRECTORY");
    if (!conf->xmpp_password && conf->xmpp_password_file)
        conf->xmpp_password = password_from_file(conf->xmpp_password_file, false, &failed);
    if (!conf->xmpp_password && !failed && credentials) {
        g_autofree char *path = g_build_filename(credentials, "xmpp_password", NULL);
        conf->xmpp_password = password_from_file(path, true, &failed);
    }
    if (!conf->xmpp_password && !failed)
        conf->xmpp_password = password_from_terminal(conf->xmpp_username, &failed);
    if (!conf->xmpp_password && !failed)
        failed = g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG,
                             "no password for %s: give \"xmpp_password\" or \"xmpp_password_file\" in the configuration, "
                             "or the systemd credential xmpp_password, or start on a terminal to be asked",
                             conf->xmpp_username);
    if (failed)
        g_propagate_error(error, failed);
    return conf->xmpp_password != NULL;
}
