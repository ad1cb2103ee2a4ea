#include "tincan/crypto/identity.h"

#include "tincan/base/error.h"
#include "tincan/base/secret.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_NAME "identity.key"

/* 32 random bytes; X25519 clamps them when it uses them (RFC 7748, section 5). Two processes may be here at once: the one
 * that is late finds the other's key. */
static bool make_key(const char *path, GError **error) {
    uint8_t *secret = ipop_secret_new(IPOP_KEY_BYTES);
    g_autoptr(GError) local = NULL;
    randombytes_buf(secret, IPOP_KEY_BYTES);
    bool made = ipop_secret_create(path, secret, IPOP_KEY_BYTES, &local);
    ipop_secret_free(secret);
    if (made || g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_EXIST))
        return true;
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

/* Stricter than ipop_secret_load: this key is no group's either. */
static bool check_private(const char *path, GError **error) {
    struct stat st;
    if (stat(path, &st) < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "can't read %s: %s", path, g_strerror(errno));
        return false;
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED,
                    "%s is open to others (mode %04o): a key others can read is no key; if nobody did, chmod 600 it",
                    path, st.st_mode & 07777);
        return false;
    }
    return true;
}

static uint8_t *load_or_make(const char *path, GError **error) {
    g_autoptr(GError) local = NULL;
    uint8_t *secret = ipop_secret_load(path, IPOP_KEY_BYTES, &local);
    if (g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        if (!make_key(path, error))
            return NULL;
        return ipop_secret_load(path, IPOP_KEY_BYTES, error);
    }
    if (!secret)
        g_propagate_error(error, g_steal_pointer(&local));
    return secret;
}

IpopIdentity *ipop_identity_from_secret(const uint8_t secret[static IPOP_KEY_BYTES]) {
    IpopIdentity *identity = g_new0(IpopIdentity, 1);
    identity->secret = memcpy(ipop_secret_new(IPOP_KEY_BYTES), secret, IPOP_KEY_BYTES);
    crypto_scalarmult_base(identity->public_key, identity->secret);
    identity->uid = ipop_uid_from_key(identity->public_key);
    return identity;
}

IpopIdentity *ipop_identity_load(const char *state_dir, GError **error) {
    g_autofree char *path = g_build_filename(state_dir, FILE_NAME, NULL);
    if (g_mkdir_with_parents(state_dir, 0755) < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "can't make the state directory %s: %s; name another with --state-dir", state_dir, g_strerror(errno));
        return NULL;
    }
    uint8_t *secret = load_or_make(path, error);
    if (!secret)
        return NULL;

    IpopIdentity *identity = NULL;
    if (sodium_is_zero(secret, IPOP_KEY_BYTES))
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED,
                    "%s is damaged (only zeros): restore it, or move it away for a new one", path);
    else if (check_private(path, error))
        identity = ipop_identity_from_secret(secret);
    ipop_secret_free(secret);
    return identity;
}

void ipop_identity_free(IpopIdentity *identity) {
    if (!identity)
        return;
    ipop_secret_free(identity->secret);
    g_free(identity);
}
