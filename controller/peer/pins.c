#include "controller/peer/pins.h"

#include "controller/peer/pinfile.h"
#include "tincan/base/error.h"

#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

#define WATCH_RATE_MS 100

struct IpopPins {
    char *path;
    bool only_pinned;
    GPtrArray *configured; /* of IpopPin */
    GPtrArray *met;        /* of IpopPin: those in the file */
    GPtrArray *all;        /* both, borrowed, without those of the file that are configured too */
    uint8_t digest[IPOP_PINFILE_DIGEST_BYTES]; /* of the file that `met` is */
    bool news;                                 /* another process's change was read and not yet announced */
    GFileMonitor *monitor;
    void (*changed)(void *user);
    void *user;
};

/* --- finding --- */

static IpopPin *find_uid(const GPtrArray *pins, const IpopUid *uid) {
    for (guint i = 0; i < pins->len; i++) {
        IpopPin *pin = pins->pdata[i];
        if (ipop_uid_equal(&pin->uid, uid))
            return pin;
    }
    return NULL;
}

static IpopPin *find_claim(const GPtrArray *pins, const char *name, const char *ip4) {
    for (guint i = 0; i < pins->len; i++) {
        IpopPin *pin = pins->pdata[i];
        if ((name && pin->name[0] && g_ascii_strcasecmp(pin->name, name) == 0) ||
            (ip4 && pin->ip4[0] && strcmp(pin->ip4, ip4) == 0))
            return pin;
    }
    return NULL;
}

/* Who else than uid holds the name, or the address. The configuration's word goes before the file's. */
static const IpopPin *other_holder(const IpopPins *pins, const IpopUid *uid, const char *name, const char *ip4) {
    const IpopPin *pin = find_claim(pins->configured, name, ip4);
    if (!pin)
        pin = find_claim(pins->met, name, ip4);
    return pin && !ipop_uid_equal(&pin->uid, uid) ? pin : NULL;
}

/* --- loading --- */

static void list_all(IpopPins *pins) {
    g_ptr_array_set_size(pins->all, 0);
    g_ptr_array_extend(pins->all, pins->configured, NULL, NULL);
    for (guint i = 0; i < pins->met->len; i++) {
        IpopPin *pin = pins->met->pdata[i];
        if (!find_uid(pins->configured, &pin->uid))
            g_ptr_array_add(pins->all, pin);
    }
}

static bool read_again(IpopPins *pins, GError **error) {
    uint8_t before[sizeof pins->digest];
    memcpy(before, pins->digest, sizeof before);
    GPtrArray *met = ipop_pinfile_read(pins->path, pins->digest, error);
    if (!met)
        return false;
    pins->news |= memcmp(before, pins->digest, sizeof before) != 0;
    g_clear_pointer(&pins->met, g_ptr_array_unref);
    pins->met = met;
    list_all(pins);
    return true;
}

static IpopPin *configured_new(const IpopConfPeer *peer) {
    IpopPin *pin = g_new0(IpopPin, 1);
    pin->uid = peer->uid;
    pin->configured = true;
    g_strlcpy(pin->name, peer->name ? peer->name : "", sizeof pin->name);
    g_strlcpy(pin->ip4, peer->ip4, sizeof pin->ip4);
    return pin;
}

IpopPins *ipop_pins_load(const char *state_dir, const IpopConf *conf, GError **error) {
    IpopPins *pins = g_new0(IpopPins, 1);
    pins->path = g_build_filename(state_dir, "known_peers", NULL);
    pins->only_pinned = conf && conf->trust_pinned;
    pins->configured = g_ptr_array_new_with_free_func(g_free);
    pins->all = g_ptr_array_new();
    for (unsigned i = 0; conf && i < conf->n_peers; i++)
        g_ptr_array_add(pins->configured, configured_new(&conf->peers[i]));
    if (!read_again(pins, error))
        g_clear_pointer(&pins, ipop_pins_free);
    else
        pins->news = false;
    return pins;
}

void ipop_pins_free(IpopPins *pins) {
    if (!pins)
        return;
    if (pins->monitor) {
        g_signal_handlers_disconnect_by_data(pins->monitor, pins);
        g_object_unref(pins->monitor);
    }
    g_ptr_array_unref(pins->all);
    g_ptr_array_unref(pins->configured);
    g_clear_pointer(&pins->met, g_ptr_array_unref);
    g_free(pins->path);
    g_free(pins);
}

/* Our own writing wakes us too, and then there is no news. */
static void on_file_event(GFileMonitor *monitor, GFile *file, GFile *other, GFileMonitorEvent event, void *data) {
    IpopPins *pins = data;
    read_again(pins, NULL);
    bool news = pins->news;
    pins->news = false;
    if (news)
        pins->changed(pins->user);
}

void ipop_pins_watch(IpopPins *pins, void (*changed)(void *user), void *user) {
    g_assert(!pins->monitor);
    g_autoptr(GFile) file = g_file_new_for_path(pins->path);
    pins->changed = changed;
    pins->user = user;
    pins->monitor = g_file_monitor_file(file, G_FILE_MONITOR_NONE, NULL, NULL);
    if (!pins->monitor) /* no inotify left: changes are then seen at the next ipop_pins_remember */
        return;
    g_file_monitor_set_rate_limit(pins->monitor, WATCH_RATE_MS);
    g_signal_connect(pins->monitor, "changed", G_CALLBACK(on_file_event), pins);
}

/* --- judging --- */

/* How to name a pin on a command line. The name was chosen by the node: unless it is harmless to a shell, the uid. */
static const char *forget_word(const IpopPin *pin) {
    bool plain = pin->name[0] && pin->name[0] != '-';
    for (const char *c = pin->name; *c; c++)
        plain = plain && (g_ascii_isalnum(*c) || strchr("-_.", *c));
    return plain ? pin->name : pin->uid.hex;
}

static char *explain_taken(const char *what, const char *claim, const IpopPin *holder) {
    if (holder->configured)
        return g_strdup_printf("the %s %s belongs to the key with uid %.10s by \"peers\" in the configuration: if that "
                               "is no longer so, change it there", what, claim, holder->uid.hex);
    return g_strdup_printf("the %s %s belongs to the key with uid %.10s, which had it first: if this is the same machine "
                           "with a new key, run: ipop key --forget %s", what, claim, holder->uid.hex, forget_word(holder));
}

IpopPinVerdict ipop_pins_judge(const IpopPins *pins, const IpopNode *node, const char *jid, char **ret_why) {
    bool known = find_uid(pins->configured, &node->uid) || find_uid(pins->met, &node->uid);
    const IpopPin *holder;
    *ret_why = NULL;
    if (!known && pins->only_pinned) {
        *ret_why = g_strdup_printf("%s (%s) is not pinned and \"trust\" is \"pinned\": to accept it, add its uid %s to "
                                   "\"peers\" in the configuration", node->name,
                                   jid && ipop_pinfile_jid_valid(jid) ? jid : "of no account", node->uid.hex);
        return IPOP_PIN_UNTRUSTED;
    }
    if (!node->auto_name && (holder = other_holder(pins, &node->uid, node->name, NULL))) {
        *ret_why = explain_taken("name", node->name, holder);
        return IPOP_PIN_NAME_TAKEN;
    }
    if ((holder = other_holder(pins, &node->uid, NULL, node->ip4))) {
        *ret_why = explain_taken("address", node->ip4, holder);
        return IPOP_PIN_IP4_TAKEN;
    }
    if (!known && pins->met->len >= IPOP_PINS_MAX) {
        *ret_why = g_strdup_printf("%d nodes are pinned already and no more fit: run: ipop key --forget for nodes that are "
                                   "gone", IPOP_PINS_MAX);
        return IPOP_PIN_FULL;
    }
    return known ? IPOP_PIN_KNOWN : IPOP_PIN_NEW;
}

/* --- changing --- */

/* Fills what is empty, and only that. True when something was. */
static bool complete(IpopPin *pin, const IpopNode *node, const char *jid) {
    bool changed = false;
    if (!pin->key[0]) {
        ipop_key_to_text(node->key, pin->key);
        changed = true;
    }
    if (!pin->name[0] && !node->auto_name)
        changed |= g_strlcpy(pin->name, node->name, sizeof pin->name) > 0;
    if (!pin->ip4[0])
        changed |= g_strlcpy(pin->ip4, node->ip4, sizeof pin->ip4) > 0;
    if (!pin->jid[0] && jid && ipop_pinfile_jid_valid(jid))
        changed |= g_strlcpy(pin->jid, jid, sizeof pin->jid) > 0;
    return changed;
}

static bool judge_again(const IpopPins *pins, const IpopNode *node, const char *jid, GError **error) {
    g_autofree char *why = NULL;
    ipop_pins_judge(pins, node, jid, &why);
    if (why)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED, "%s", why);
    return !why;
}

/* Writes what `met` is now; when that fails, what the file holds counts again. */
static bool write_or_revert(IpopPins *pins, GError **error) {
    bool ok = ipop_pinfile_write(pins->path, pins->met, pins->digest, error);
    if (!ok)
        read_again(pins, NULL);
    list_all(pins);
    return ok;
}

static bool remember_locked(IpopPins *pins, const IpopNode *node, const char *jid, GError **error) {
    if (!read_again(pins, error) || !judge_again(pins, node, jid, error))
        return false;
    IpopPin *pin = find_uid(pins->met, &node->uid);
    if (!pin) {
        pin = g_new0(IpopPin, 1);
        pin->uid = node->uid;
        pin->first_seen = g_get_real_time() / G_USEC_PER_SEC;
        g_ptr_array_add(pins->met, pin);
    }
    complete(pin, node, jid);
    return write_or_revert(pins, error);
}

bool ipop_pins_remember(IpopPins *pins, const IpopNode *node, const char *jid, GError **error) {
    if (!judge_again(pins, node, jid, error))
        return false;
    IpopPin *pin = find_uid(pins->configured, &node->uid);
    if (pin) {
        complete(pin, node, jid);
        return true;
    }
    pin = find_uid(pins->met, &node->uid);
    IpopPin copy = pin ? *pin : (IpopPin){0};
    if (pin && !complete(&copy, node, jid))
        return true;
    int lock = ipop_pinfile_lock(pins->path, error);
    if (lock < 0)
        return false;
    bool ok = remember_locked(pins, node, jid, error);
    close(lock);
    return ok;
}

/* --- forgetting --- */

/* ret_n: how many there are whose uid begins so. */
static IpopPin *find_beginning(const GPtrArray *pins, const char *beginning, unsigned *ret_n) {
    IpopPin *found = NULL;
    *ret_n = 0;
    for (guint i = 0; i < pins->len && beginning[0]; i++) {
        IpopPin *pin = pins->pdata[i];
        if (g_ascii_strncasecmp(pin->uid.hex, beginning, strlen(beginning)) == 0) {
            found = pin;
            (*ret_n)++;
        }
    }
    return found;
}

/* A whole name or address goes before the beginning of a uid. NULL and error when it is none or several. */
static IpopPin *find_what(const GPtrArray *pins, const char *what, GError **error) {
    unsigned n;
    IpopPin *pin = find_claim(pins, what, what);
    if (pin)
        return pin;
    pin = find_beginning(pins, what, &n);
    if (n == 1)
        return pin;
    if (n == 0)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED, "no key is pinned as \"%s\": run `ipop key` for a list", what);
    else
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED, "%u pinned keys have a uid that begins with \"%s\": give more of "
                    "it", n, what);
    return NULL;
}

static bool forget_locked(IpopPins *pins, const char *what, IpopPin *ret_forgotten, GError **error) {
    if (!read_again(pins, error))
        return false;
    g_autoptr(GError) failed = NULL;
    IpopPin *pin = find_what(pins->met, what, &failed);
    const IpopPin *configured = pin ? NULL : find_what(pins->configured, what, NULL);
    if (configured)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED, "\"%s\" (uid %.10s) stands in \"peers\" of the configuration: "
                    "remove it there", what, configured->uid.hex);
    else if (!pin)
        g_propagate_error(error, g_steal_pointer(&failed));
    if (!pin)
        return false;
    IpopPin forgotten = *pin;
    g_ptr_array_remove(pins->met, pin);
    if (!write_or_revert(pins, error))
        return false;
    if (ret_forgotten)
        *ret_forgotten = forgotten;
    return true;
}

bool ipop_pins_forget(IpopPins *pins, const char *what, IpopPin *ret_forgotten, GError **error) {
    int lock = ipop_pinfile_lock(pins->path, error);
    if (lock < 0)
        return false;
    bool ok = forget_locked(pins, what, ret_forgotten, error);
    close(lock);
    return ok;
}

const IpopPin *ipop_pins_get(const IpopPins *pins, const IpopUid *uid) {
    return find_uid(pins->all, uid);
}

unsigned ipop_pins_count(const IpopPins *pins) {
    return pins->all->len;
}

const IpopPin *ipop_pins_nth(const IpopPins *pins, unsigned i) {
    return pins->all->pdata[i];
}
