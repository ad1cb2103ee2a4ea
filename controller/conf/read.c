#include "controller/conf/read.h"

#include "controller/conf/value.h"
#include "tincan/base/error.h"
#include "tincan/base/secret.h"

#include <string.h>

#define SHOWN_MAX 60 /* bytes of a wrong value that an error repeats */
#define WARNINGS_MAX 64

/* What was found, for an error of one line. Secrets and whole structures are only described. */
static char *shown(const json_t *value, bool secret) {
    static const char *const types[] = {"an object", "an array", "a string", "an integer", "a fraction", "true", "false",
                                        "null"};
    if (secret && json_is_string(value))
        return g_strdup_printf("a string of %zu bytes", json_string_length(value));
    if (json_is_array(value))
        return g_strdup_printf("an array of %zu", json_array_size(value));
    if (secret || json_is_object(value))
        return g_strdup(types[json_typeof(value)]);
    char *dump = json_dumps(value, JSON_ENCODE_ANY);
    GString *text = g_string_new(NULL);
    for (const char *c = dump; *c; c = g_utf8_next_char(c)) {
        if (text->len >= SHOWN_MAX) {
            g_string_append(text, "...");
            break;
        }
        g_string_append_unichar(text, g_unichar_isprint(g_utf8_get_char(c)) ? g_utf8_get_char(c) : '?');
    }
    free(dump);
    return g_string_free(text, FALSE);
}

bool ipop_conf_fail(IpopConfReader *reader, const char *where, const char *want, const json_t *value, bool secret) {
    g_autofree char *found = shown(value, secret);
    if (!reader->error)
        reader->error = g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: %s must be %s, not %s", reader->origin, where, want,
                                    found);
    return false;
}

void ipop_conf_warn(IpopConf *conf, char *warning) {
    guint n = conf->warnings ? g_strv_length(conf->warnings) : 0;
    if (n == WARNINGS_MAX) {
        g_free(warning);
        return;
    }
    conf->warnings = g_renew(char *, conf->warnings, n + 2);
    conf->warnings[n] = warning;
    conf->warnings[n + 1] = NULL;
}

void ipop_conf_warn_unknown(IpopConfReader *reader, const char *where, const json_t *object, const char *const *known,
                            size_t n) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        size_t i = 0;
        while (i < n && strcmp(known[i], name) != 0)
            i++;
        if (i < n)
            continue;
        json_auto_t *text = json_string(name);
        g_autofree char *found = shown(text, false);
        ipop_conf_warn(reader->conf, g_strdup_printf("%s: %sunknown key %s is ignored; the nearest known one is \"%s\"",
                                                     reader->origin, where, found,
                                                     known[ipop_value_nearest(known, n, name)]));
    }
}

static bool has_control(const char *text) {
    for (; *text; text++)
        if (g_ascii_iscntrl(*text))
            return true;
    return false;
}

const char *ipop_conf_text(const json_t *value, int64_t min, int64_t max) {
    if (!json_is_string(value) || (int64_t)json_string_length(value) < min || (int64_t)json_string_length(value) > max)
        return NULL;
    const char *text = json_string_value(value);
    return has_control(text) ? NULL : text;
}

char *ipop_conf_secret_copy(const char *text) {
    size_t n = strlen(text) + 1;
    return memcpy(ipop_secret_new(n), text, n);
}
