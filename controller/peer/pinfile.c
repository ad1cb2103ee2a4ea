#include "controller/peer/pinfile.h"

#include "controller/xmpp/xmpp.h"
#include "tincan/base/error.h"
#include "tincan/ctl/json.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sodium.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

G_STATIC_ASSERT(IPOP_JID_MAX < sizeof(((IpopPin *)NULL)->jid));

#define REMEDY "repair it, or move it away, after which every key is trusted anew at its first use"

/* --- text -> pins --- */

bool ipop_pinfile_jid_valid(const char *jid) {
    if (!g_utf8_validate(jid, -1, NULL) || strlen(jid) > IPOP_JID_MAX)
        return false;
    for (; *jid; jid++)
        if (g_ascii_iscntrl(*jid))
            return false;
    return true;
}

static bool read_key(const json_t *entry, const IpopUid *uid, IpopPin *pin) {
    const char *text;
    uint8_t key[IPOP_KEY_BYTES];
    if (!ipop_json_string(entry, "key", IPOP_KEY_TEXT_SIZE - 1, &text) || !ipop_key_from_text(text, key))
        return false;
    IpopUid own = ipop_uid_from_key(key);
    g_strlcpy(pin->key, text, sizeof pin->key);
    return ipop_uid_equal(&own, uid);
}

/* The member that is wrong, or NULL. */
static const char *read_pin(const json_t *entry, IpopPin *pin) {
    const char *uid, *name, *ip4, *jid;
    char normal[INET6_ADDRSTRLEN];
    if (!ipop_json_string(entry, "uid", 40, &uid) || !ipop_uid_parse(uid, &pin->uid))
        return "uid";
    if (!read_key(entry, &pin->uid, pin))
        return "key";
    if (!ipop_json_string(entry, "name", IPOP_NAME_MAX, &name) || (*name && !ipop_name_valid(name)))
        return "name";
    if (!ipop_json_string(entry, "ip4", INET_ADDRSTRLEN - 1, &ip4) || !ipop_ip_normalise(ip4, AF_INET, normal))
        return "ip4";
    if (!ipop_json_string(entry, "jid", IPOP_JID_MAX, &jid) || !ipop_pinfile_jid_valid(jid))
        return "jid";
    if (!ipop_json_int(entry, "first_seen", 0, G_MAXINT64, &pin->first_seen))
        return "first_seen";
    g_strlcpy(pin->name, name, sizeof pin->name);
    g_strlcpy(pin->ip4, normal, sizeof pin->ip4);
    g_strlcpy(pin->jid, jid, sizeof pin->jid);
    return NULL;
}

/* seen: what earlier pins hold. The member that is another's, or NULL. */
static const char *find_twice(const IpopPin *pin, GHashTable *seen) {
    if (!g_hash_table_add(seen, g_strdup(pin->uid.hex)))
        return "uid";
    if (pin->name[0] && !g_hash_table_add(seen, g_strconcat("name ", pin->name, NULL)))
        return "name";
    return g_hash_table_add(seen, g_strdup(pin->ip4)) ? NULL : "ip4";
}

static guint hash_lower(const void *text) {
    g_autofree char *lower = g_ascii_strdown(text, -1);
    return g_str_hash(lower);
}

static gboolean equal_lower(const void *a, const void *b) {
    return g_ascii_strcasecmp(a, b) == 0;
}

GPtrArray *ipop_pinfile_parse(const char *text, size_t n, const char *path, GError **error) {
    json_auto_t *root = ipop_json_parse(text, n);
    const json_t *peers = json_object_get(root, "peers");
    if (!json_is_array(peers) || json_array_size(peers) > IPOP_PINS_MAX) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "%s: is damaged (no JSON object with an array \"peers\" of at "
                    "most %d): " REMEDY, path, IPOP_PINS_MAX);
        return NULL;
    }
    g_autoptr(GHashTable) seen = g_hash_table_new_full(hash_lower, equal_lower, g_free, NULL);
    GPtrArray *pins = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < json_array_size(peers); i++) {
        IpopPin *pin = g_new0(IpopPin, 1);
        g_ptr_array_add(pins, pin);
        const char *wrong = read_pin(json_array_get(peers, i), pin);
        const char *twice = wrong ? NULL : find_twice(pin, seen);
        if (wrong || twice) {
            g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "%s: is damaged (\"%s\" of entry %zu %s): " REMEDY, path,
                        wrong ? wrong : twice, i + 1, wrong ? "is missing or wrong" : "stands in an earlier one too");
            g_ptr_array_unref(pins);
            return NULL;
        }
    }
    return pins;
}

/* --- pins -> text --- */

/* To be freed with free. NULL when a text of it is not UTF-8. */
static char *dump(const GPtrArray *pins) {
    json_auto_t *root = json_pack("{s:[]}", "peers");
    for (guint i = 0; i < pins->len; i++) {
        const IpopPin *pin = pins->pdata[i];
        json_array_append_new(json_object_get(root, "peers"),
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "uid", pin->uid.hex, "key", pin->key, "name",
                                        pin->name, "ip4", pin->ip4, "jid", pin->jid, "first_seen",
                                        (json_int_t)pin->first_seen));
    }
    return json_array_size(json_object_get(root, "peers")) == pins->len ? json_dumps(root, JSON_INDENT(1)) : NULL;
}

/* --- files --- */

static void set_system_error(GError **error, const char *path, const char *what) {
    g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "%s: can't be %s: %s: check the directory's owner and space, or "
                "give another with --state-dir", path, what, g_strerror(errno));
}

static void digest(const char *text, size_t n, uint8_t ret[static IPOP_PINFILE_DIGEST_BYTES]) {
    crypto_generichash(ret, IPOP_PINFILE_DIGEST_BYTES, (const uint8_t *)text, n, NULL, 0);
}

static GPtrArray *read_open(int fd, const char *path, uint8_t ret_digest[static IPOP_PINFILE_DIGEST_BYTES],
                            GError **error) {
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > IPOP_PINFILE_MAX) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "%s: is damaged (no file of at most 4 MiB): " REMEDY, path);
        return NULL;
    }
    g_autofree char *text = g_malloc((size_t)st.st_size + 1);
    ssize_t n = read(fd, text, (size_t)st.st_size);
    if (n < 0) {
        set_system_error(error, path, "read");
        return NULL;
    }
    GPtrArray *pins = ipop_pinfile_parse(text, (size_t)n, path, error);
    if (pins)
        digest(text, (size_t)n, ret_digest);
    return pins;
}

GPtrArray *ipop_pinfile_read(const char *path, uint8_t ret_digest[static IPOP_PINFILE_DIGEST_BYTES], GError **error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe in its place must not make us wait */
    if (fd < 0 && errno == ENOENT) {
        memset(ret_digest, 0, IPOP_PINFILE_DIGEST_BYTES);
        return g_ptr_array_new_with_free_func(g_free);
    }
    if (fd < 0) {
        set_system_error(error, path, "read");
        return NULL;
    }
    GPtrArray *pins = read_open(fd, path, ret_digest, error);
    close(fd);
    return pins;
}

/* Gives it the owner of the file at path, or else of its directory. Only root can do so; for others it is right already. */
static void take_owner_of(int fd, const char *path) {
    struct stat st;
    g_autofree char *dir = g_path_get_dirname(path);
    if (stat(path, &st) < 0 && stat(dir, &st) < 0)
        return;
    int unused = fchown(fd, st.st_uid, st.st_gid);
    (void)unused;
}

static bool write_all(int fd, const char *text, size_t n) {
    while (n > 0) {
        ssize_t written = write(fd, text, n);
        if (written < 0 && errno != EINTR)
            return false;
        text += MAX(written, 0);
        n -= (size_t)MAX(written, 0);
    }
    return fsync(fd) == 0;
}

static bool replace(const char *path, const char *text, size_t n) {
    g_autofree char *temporary = g_strconcat(path, ".XXXXXX", NULL);
    int fd = g_mkstemp_full(temporary, O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    take_owner_of(fd, path);
    bool ok = fchmod(fd, 0640) == 0 && write_all(fd, text, n) && rename(temporary, path) == 0;
    int code = errno;
    close(fd);
    if (!ok)
        unlink(temporary);
    errno = code;
    return ok;
}

static void sync_directory_of(const char *path) {
    g_autofree char *dir = g_path_get_dirname(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

bool ipop_pinfile_write(const char *path, const GPtrArray *pins, uint8_t ret_digest[static IPOP_PINFILE_DIGEST_BYTES],
                        GError **error) {
    char *text = dump(pins);
    size_t n = text ? strlen(text) : 0;
    bool ok = n > 0 && n <= IPOP_PINFILE_MAX;
    if (!ok)
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "%s: would be larger than 4 MiB: run: ipop key --forget for "
                    "nodes that are gone", path);
    else if (!(ok = replace(path, text, n)))
        set_system_error(error, path, "written");
    if (ok) {
        sync_directory_of(path);
        digest(text, n, ret_digest);
    }
    free(text);
    return ok;
}

/* Creates only what is missing: in a sticky directory the kernel may forbid O_CREAT on another user's file
 * (fs.protected_regular). flock needs no right to write. */
static int open_lock(const char *lock, const char *path) {
    for (;;) {
        int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 || errno != ENOENT)
            return fd;
        fd = open(lock, O_RDONLY | O_CLOEXEC | O_CREAT | O_EXCL, 0640);
        if (fd >= 0)
            take_owner_of(fd, path);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
}

int ipop_pinfile_lock(const char *path, GError **error) {
    g_autofree char *lock = g_strconcat(path, ".lock", NULL);
    int fd = open_lock(lock, path);
    int locked = -1;
    while (fd >= 0 && (locked = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
        ;
    if (locked == 0)
        return fd;
    set_system_error(error, lock, "locked");
    if (fd >= 0)
        close(fd);
    return -1;
}
