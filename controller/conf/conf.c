#include "controller/conf/conf.h"

#include "controller/conf/read.h"
#include "controller/conf/value.h"
#include "tincan/base/error.h"
#include "tincan/base/log.h"
#include "tincan/base/secret.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#define OVERLAY_ORIGIN "-s"
#define IGNORED_MAX 64

/* --- general kinds of values --- */

#define FIELD(reader, key, type) ((type *)((char *)(reader)->conf + (key)->offset))

static bool take_int(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    if (!json_is_integer(value) || json_integer_value(value) < key->min || json_integer_value(value) > key->max)
        return false;
    *FIELD(reader, key, unsigned) = (unsigned)json_integer_value(value);
    return true;
}

static bool take_bool(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    if (!json_is_boolean(value))
        return false;
    *FIELD(reader, key, bool) = json_is_true(value);
    return true;
}

static bool take_text(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = ipop_conf_text(value, key->min, key->max);
    if (!text)
        return false;
    *FIELD(reader, key, char *) = g_strdup(text);
    return true;
}

static bool take_password(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = ipop_conf_text(value, key->min, key->max);
    if (!text)
        return false;
    reader->conf->xmpp_password = ipop_conf_secret_copy(text);
    return true;
}

/* --- kinds of single keys --- */

static bool take_jid(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = json_string_value(value);
    return text && ipop_value_jid(text) && take_text(reader, key, value);
}

static bool take_host(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = json_string_value(value);
    return text && ipop_value_host(text) && take_text(reader, key, value);
}

static bool take_name(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = json_string_value(value);
    return text && ipop_name_valid(text) && take_text(reader, key, value);
}

/* Whether it fits its network is for check_together: that needs ip4_mask. */
static bool take_ip4(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = json_string_value(value);
    if (!text || !ipop_value_ip4_host(text, 32))
        return false;
    g_strlcpy(reader->conf->ip4, text, sizeof reader->conf->ip4);
    return true;
}

static bool take_network(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = json_string_value(value);
    return text && ipop_value_network(text, reader->conf->ip4_network, &reader->conf->ip4_network_prefix);
}

static bool take_ip6_prefix(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = json_string_value(value);
    return text && ipop_value_ip6_prefix(text, reader->conf->ip6_prefix);
}

static bool take_trust(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    const char *text = json_string_value(value);
    reader->conf->trust_pinned = g_strcmp0(text, "pinned") == 0;
    return reader->conf->trust_pinned || g_strcmp0(text, "first-use") == 0;
}

static bool take_level(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    static const char *const names[] = {[IPOP_LOG_CRITICAL] = "CRITICAL", [IPOP_LOG_ERROR] = "ERROR",
                                        [IPOP_LOG_WARNING] = "WARNING", [IPOP_LOG_INFO] = "INFO",
                                        [IPOP_LOG_DEBUG] = "DEBUG"};
    for (int i = 0; i < (int)G_N_ELEMENTS(names); i++)
        if (g_strcmp0(json_string_value(value), names[i]) == 0) {
            reader->conf->controller_logging = i;
            return true;
        }
    return false;
}

static bool take_switchmode(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    reader->conf->switchmode = json_integer_value(value) == 1;
    return json_is_integer(value) && (json_integer_value(value) == 0 || json_integer_value(value) == 1);
}

/* Only the length here; derive_psk does the rest when all else is known to be right, since it costs 64 MiB. */
static bool take_psk(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    return json_is_string(value) && (int64_t)json_string_length(value) >= key->min &&
           (int64_t)json_string_length(value) <= key->max;
}

/* --- the table --- */

#define IN(field) .offset = G_STRUCT_OFFSET(IpopConf, field)
#define PORT .take = take_int, .min = 1, .max = 65535
#define PATH .take = take_text, .min = 1, .max = 4095, .want = "the path of a file"
#define SERVERS .max = IPOP_CONF_SERVERS_MAX

static const IpopConfKey keys[] = {
    {"xmpp_username", take_jid, 1, 1000, IN(xmpp_username), .want = "a bare JID such as \"user@example.org\"",
     .flags = REQUIRED},
    {"xmpp_password", take_password, 1, 1023, .flags = SECRET},
    {"xmpp_password_file", PATH, IN(xmpp_password_file)},
    {"xmpp_host", take_host, 1, 253, IN(xmpp_host),
     .want = "a host name or address without a port (that is \"xmpp_port\")"},
    {"xmpp_port", PORT, "5222", IN(xmpp_port)},
    {"xmpp_cafile", PATH, IN(xmpp_cafile)},
    {"ip4", take_ip4, .want = FORM_IP4},
    {"ip4_mask", take_int, 8, 30, "24", IN(ip4_mask)},
    {"ip4_network", take_network, .otherwise = "\"172.31.0.0/16\"",
     .want = "a network such as \"172.31.0.0/16\", with a prefix from 8 to 30 and no bits behind it"},
    {"ip6_prefix", take_ip6_prefix, .otherwise = "\"fd50:0dbc:41f2:4a3c\"",
     .want = "four groups of hex digits such as \"fd50:0dbc:41f2:4a3c\""},
    {"ip6_mask", take_int, 16, 64, "64", IN(ip6_mask)},
    {"stun", ipop_conf_take_stun, SERVERS, .want = "an array of at most 8 strings " FORM_SERVER},
    {"turn", ipop_conf_take_turn, SERVERS, .want = "an array of at most 8 objects with \"server\", \"user\" and \"pass\"",
     .flags = SECRET},
    {"name", take_name, 1, IPOP_NAME_MAX, IN(name),
     .want = "a name of 1 to 63 bytes without any of <>&\"'/\\ and without spaces at its ends"},
    {"peers", ipop_conf_take_peers, 0, IPOP_CONF_PEERS_MAX, .want = "an array of at most 4096 objects with \"uid\""},
    {"trust", take_trust, .otherwise = "\"first-use\"", .want = "\"first-use\" or \"pinned\""},
    {"psk", take_psk, 8, 1024, .want = "a string of 8 to 1024 bytes", .flags = SECRET},
    {"tincan_logging", take_int, 0, 3, "1", IN(tincan_logging)},
    {"controller_logging", take_level, .otherwise = "\"INFO\"",
     .want = "\"DEBUG\", \"INFO\", \"WARNING\", \"ERROR\" or \"CRITICAL\""},
    {"on-demand_connection", take_bool, 0, 0, "false", "true or false", IN(on_demand_connection),
     .flags = NOT_YET},
    {"on-demand_inactive_timeout", take_int, 1, 86400, "600", IN(on_demand_inactive_timeout), .flags = NOT_YET},
    {"network_ignore_list", ipop_conf_take_ignore, 0, IGNORED_MAX, "[]", "an array of at most 64 names of interfaces"},
    {"switchmode", take_switchmode, 0, 1, "0", .flags = NOT_YET},
    {"upnp", take_bool, 0, 0, "false", "true or false", IN(upnp)},
    {"svpn_port", PORT, "5800", IN(svpn_port)},
    {"contr_port", PORT, "5801", IN(contr_port)},
    {"wait_time", take_int, 1, 3600, "15", IN(wait_time)},
    {"mtu", take_int, 1280, 9000, IN(mtu)}, /* IPv6 needs 1280: RFC 8200 section 5 */
};

static bool fail_key(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    bool number = key->take == take_int || key->take == take_switchmode;
    g_autofree char *where = g_strdup_printf("\"%s\"", key->name);
    g_autofree char *made = g_strdup_printf(number ? "an integer from %" PRId64 " to %" PRId64
                                                   : "a string of %" PRId64 " to %" PRId64
                                                     " bytes without control characters", key->min, key->max);
    return ipop_conf_fail(reader, where, key->want ? key->want : made, value, key->flags & SECRET);
}

static void warn_not_yet(IpopConfReader *reader, const IpopConfKey *key, const json_t *value, const json_t *otherwise) {
    /* A time-out says nothing about connections that are not made on demand. */
    bool idle = key->take == take_int && !reader->conf->on_demand_connection;
    if (!idle && !json_equal(value, otherwise))
        ipop_conf_warn(reader->conf,
                       g_strdup_printf("%s: \"%s\" is accepted but not yet in effect", reader->origin, key->name));
}

static bool read_key(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    json_auto_t *otherwise = key->otherwise ? json_loads(key->otherwise, JSON_DECODE_ANY, NULL) : NULL;
    if (!value && (key->flags & REQUIRED)) {
        reader->error = g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: \"%s\" is missing; it must be %s", reader->origin,
                                    key->name, key->want);
        return false;
    }
    if (!value && !otherwise)
        return true;
    if (!key->take(reader, key, value ? value : otherwise))
        return fail_key(reader, key, value ? value : otherwise);
    if (value && (key->flags & NOT_YET))
        warn_not_yet(reader, key, value, otherwise);
    return true;
}

/* --- what concerns several keys --- */

static bool check_together(IpopConfReader *reader) {
    const IpopConf *conf = reader->conf;
    if (conf->ip4[0] && !ipop_value_ip4_host(conf->ip4, conf->ip4_mask))
        reader->error = g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG,
                                    "%s: \"ip4\" must be the address of a host, but %s is the first or last one of its "
                                    "network (\"ip4_mask\" %u): take one in between", reader->origin, conf->ip4,
                                    conf->ip4_mask);
    else if (conf->svpn_port == conf->contr_port)
        reader->error = g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG,
                                    "%s: \"contr_port\" must be another port than \"svpn_port\"; both are %u",
                                    reader->origin, conf->contr_port);
    return !reader->error;
}

/* The same passphrase must give the same key at every node, none of which has anything in common but the passphrase. So
 * the salt is fixed; Argon2id's cost per guess is what protects a weak passphrase. */
static bool derive_psk(IpopConfReader *reader, const json_t *value) {
    static const char label[] = "ipop psk v1";
    uint8_t salt[crypto_pwhash_SALTBYTES];
    crypto_generichash(salt, sizeof salt, (const uint8_t *)label, strlen(label), NULL, 0);
    reader->conf->psk = ipop_secret_new(32);
    if (crypto_pwhash(reader->conf->psk, 32, json_string_value(value), json_string_length(value), salt,
                      crypto_pwhash_OPSLIMIT_INTERACTIVE, crypto_pwhash_MEMLIMIT_INTERACTIVE,
                      crypto_pwhash_ALG_ARGON2ID13) == 0)
        return true;
    reader->error = g_error_new(IPOP_ERROR, IPOP_ERROR_SYSTEM,
                                "%s: no memory to derive the key from \"psk\": 64 MiB are needed for it", reader->origin);
    return false;
}

static void name_after_host(IpopConf *conf) {
    conf->name_given = conf->name != NULL;
    if (!conf->name)
        conf->name = g_strdup(ipop_name_valid(g_get_host_name()) ? g_get_host_name() : "ipop");
}

static const json_t *find(IpopConfReader *reader, const json_t *file, const char *origin, const json_t *overlay,
                          const char *name) {
    const json_t *over = json_object_get(overlay, name);
    reader->origin = over || !file ? OVERLAY_ORIGIN : origin;
    if (json_is_null(over)) /* takes the file's away, as in a merge patch (RFC 7396) */
        return NULL;
    return over ? over : json_object_get(file, name);
}

static bool read_all(IpopConfReader *reader, const json_t *file, const char *origin, const json_t *overlay) {
    const char *known[G_N_ELEMENTS(keys)];
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        known[i] = keys[i].name;
    reader->origin = origin;
    ipop_conf_warn_unknown(reader, "", file, known, G_N_ELEMENTS(known));
    reader->origin = OVERLAY_ORIGIN;
    ipop_conf_warn_unknown(reader, "", overlay, known, G_N_ELEMENTS(known));
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if (!read_key(reader, &keys[i], find(reader, file, origin, overlay, keys[i].name)))
            return false;
    reader->conf->xmpp_port_given = find(reader, file, origin, overlay, "xmpp_port") != NULL;
    name_after_host(reader->conf);
    reader->origin = file ? origin : OVERLAY_ORIGIN;
    if (!check_together(reader))
        return false;
    const json_t *psk = find(reader, file, origin, overlay, "psk");
    return !psk || derive_psk(reader, psk);
}

IpopConf *ipop_conf_build(const json_t *file, const char *origin, const json_t *overlay, GError **error) {
    IpopConfReader reader = {.conf = g_new0(IpopConf, 1)};
    reader.conf->warnings = g_new0(char *, 1);
    if (read_all(&reader, file, origin, overlay))
        return reader.conf;
    g_propagate_error(error, reader.error);
    ipop_conf_free(reader.conf);
    return NULL;
}

void ipop_conf_free(IpopConf *conf) {
    if (!conf)
        return;
    g_free(conf->xmpp_username);
    ipop_secret_free(conf->xmpp_password);
    g_free(conf->xmpp_password_file);
    g_free(conf->xmpp_host);
    g_free(conf->xmpp_cafile);
    for (unsigned i = 0; i < conf->n_stun; i++)
        g_free(conf->stun[i]);
    for (unsigned i = 0; i < conf->n_turn; i++) {
        g_free(conf->turn[i].server);
        g_free(conf->turn[i].user);
        ipop_secret_free(conf->turn[i].pass);
    }
    g_free(conf->name);
    for (unsigned i = 0; i < conf->n_peers; i++)
        g_free(conf->peers[i].name);
    g_free(conf->peers);
    ipop_secret_free(conf->psk);
    g_strfreev(conf->network_ignore_list);
    g_strfreev(conf->warnings);
    g_free(conf);
}
