/* lists.c - the keys whose values are arrays. */
#include "controller/conf/read.h"
#include "controller/conf/value.h"
#include "tincan/base/error.h"

#include <string.h>

#define STUN_PORT 3478    /* also TURN's: RFC 8489 section 18.6, RFC 8656 section 18 */
#define MEMBER_MAX 508    /* bytes; RFC 8489 section 14.3 for a TURN user */
#define INTERFACE_MAX 15  /* IFNAMSIZ - 1 */

bool ipop_conf_take_stun(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    if (!json_is_array(value) || (int64_t)json_array_size(value) > key->max)
        return false;
    reader->conf->stun_given = true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        g_autofree char *where = g_strdup_printf("\"stun\"[%zu]", i);
        char *server = json_is_string(entry) ? ipop_value_host_port(json_string_value(entry), STUN_PORT) : NULL;
        if (!server)
            return ipop_conf_fail(reader, where, FORM_SERVER, entry, false);
        reader->conf->stun[reader->conf->n_stun++] = server;
    }
    return true;
}

bool ipop_conf_take_ignore(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    if (!json_is_array(value) || (int64_t)json_array_size(value) > key->max)
        return false;
    reader->conf->network_ignore_list = g_new0(char *, json_array_size(value) + 1);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *text = ipop_conf_text(entry, 1, INTERFACE_MAX);
        g_autofree char *where = g_strdup_printf("\"network_ignore_list\"[%zu]", i);
        if (!text || strpbrk(text, " /"))
            return ipop_conf_fail(reader, where, "the name of an interface such as \"docker0\"", entry, false);
        reader->conf->network_ignore_list[i] = g_strdup(text);
    }
    return true;
}

/* A string member of an entry of an array. *ret is NULL when it is absent and need not be there. */
static bool read_member(IpopConfReader *reader, const char *where, const json_t *object, const char *name,
                        bool required, const char **ret) {
    *ret = NULL;
    const json_t *value = json_object_get(object, name);
    if (!value && !required)
        return true;
    g_autofree char *member = g_strdup_printf("%s.\"%s\"", where, name);
    if (!value) {
        reader->error = g_error_new(IPOP_ERROR, IPOP_ERROR_CONFIG, "%s: %s is missing; it must be a string", reader->origin,
                                    member);
        return false;
    }
    *ret = ipop_conf_text(value, 1, MEMBER_MAX);
    return *ret || ipop_conf_fail(reader, member, "a string of 1 to " G_STRINGIFY(MEMBER_MAX) " bytes without control "
                                  "characters", value, true);
}

/* An error that repeats what one member of an entry holds: not for secrets. */
static bool fail_member(IpopConfReader *reader, const char *where, const json_t *object, const char *name,
                        const char *want) {
    g_autofree char *member = g_strdup_printf("%s.\"%s\"", where, name);
    return ipop_conf_fail(reader, member, want, json_object_get(object, name), false);
}

static bool take_turn_entry(IpopConfReader *reader, const char *where, const json_t *entry, IpopConfTurn *turn) {
    static const char *const known[] = {"server", "user", "pass", "transport"};
    const char *server, *user, *pass, *transport;
    if (!json_is_object(entry))
        return ipop_conf_fail(reader, where, "an object with \"server\", \"user\" and \"pass\"", entry, true);
    if (!read_member(reader, where, entry, "server", true, &server) ||
        !read_member(reader, where, entry, "user", true, &user) ||
        !read_member(reader, where, entry, "pass", true, &pass) ||
        !read_member(reader, where, entry, "transport", false, &transport))
        return false;
    turn->server = ipop_value_host_port(server, STUN_PORT);
    if (!turn->server)
        return fail_member(reader, where, entry, "server", FORM_SERVER);
    turn->user = g_strdup(user);
    turn->pass = ipop_conf_secret_copy(pass);
    turn->tcp = g_strcmp0(transport, "tcp") == 0;
    if (transport && !turn->tcp && strcmp(transport, "udp") != 0)
        return fail_member(reader, where, entry, "transport", "\"udp\" or \"tcp\"");
    g_autofree char *prefix = g_strconcat(where, ": ", NULL);
    ipop_conf_warn_unknown(reader, prefix, entry, known, G_N_ELEMENTS(known));
    return true;
}

bool ipop_conf_take_turn(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    if (!json_is_array(value) || (int64_t)json_array_size(value) > key->max)
        return false;
    reader->conf->turn_given = true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        g_autofree char *where = g_strdup_printf("\"turn\"[%zu]", i);
        if (!take_turn_entry(reader, where, json_array_get(value, i), &reader->conf->turn[reader->conf->n_turn++]))
            return false;
    }
    return true;
}

/* seen holds what earlier entries took, as "uid ...", "name ..." or "ip4 ..." in lower case. */
static bool take_peer(IpopConfReader *reader, const char *where, const json_t *entry, IpopConfPeer *peer,
                      GHashTable *seen) {
    static const char *const known[] = {"name", "uid", "ip4"};
    const char *texts[G_N_ELEMENTS(known)];
    if (!json_is_object(entry))
        return ipop_conf_fail(reader, where, "an object with \"uid\", and \"name\" or \"ip4\" if wanted", entry, false);
    if (!read_member(reader, where, entry, "name", false, &texts[0]) ||
        !read_member(reader, where, entry, "uid", true, &texts[1]) ||
        !read_member(reader, where, entry, "ip4", false, &texts[2]))
        return false;
    if (!ipop_uid_parse(texts[1], &peer->uid))
        return fail_member(reader, where, entry, "uid", "40 hex digits, as `ipop key` shows them");
    if (texts[0] && !ipop_name_valid(texts[0]))
        return fail_member(reader, where, entry, "name", "a name of 1 to 63 bytes without any of <>&\"'/\\");
    if (texts[2] && !ipop_value_ip4_host(texts[2], 32))
        return fail_member(reader, where, entry, "ip4", FORM_IP4);
    peer->name = g_strdup(texts[0]);
    g_strlcpy(peer->ip4, texts[2] ? texts[2] : "", sizeof peer->ip4);

    texts[1] = peer->uid.hex;
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *taken = g_strconcat(known[i], " ", texts[i], NULL);
        if (texts[i] && !g_hash_table_add(seen, g_ascii_strdown(taken, -1)))
            return fail_member(reader, where, entry, known[i], "another than that of an earlier entry");
    }
    g_autofree char *prefix = g_strconcat(where, ": ", NULL);
    ipop_conf_warn_unknown(reader, prefix, entry, known, G_N_ELEMENTS(known));
    return true;
}

bool ipop_conf_take_peers(IpopConfReader *reader, const IpopConfKey *key, const json_t *value) {
    if (!json_is_array(value) || (int64_t)json_array_size(value) > key->max)
        return false;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    reader->conf->peers = g_new0(IpopConfPeer, json_array_size(value) + 1);
    for (size_t i = 0; i < json_array_size(value); i++) {
        g_autofree char *where = g_strdup_printf("\"peers\"[%zu]", i);
        if (!take_peer(reader, where, json_array_get(value, i), &reader->conf->peers[reader->conf->n_peers++], seen))
            return false;
    }
    return true;
}
