#include "tincan/base/sandbox.h"

#include "tincan/base/error.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCOUNT "ipop" /* user and group */

static bool failed(GError **error, const char *what) {
    g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't %s: %s", what, g_strerror(errno));
    return false;
}

/* Drops every capability but `keep` (-1: none), and of this one what we don't have anyway. The bounding set can be
 * changed with CAP_SETPCAP only; no_new_privs makes up for that where we haven't it. */
static bool keep_only(int keep, GError **error) {
    capng_get_caps_process();
    bool has = keep >= 0 && capng_have_capability(CAPNG_PERMITTED, (unsigned)keep);
    capng_select_t sets = CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT;
    if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
        sets |= CAPNG_SELECT_BOUNDS;
    capng_clear(CAPNG_SELECT_ALL);
    if (has)
        capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, (unsigned)keep);
    if (capng_apply(sets) != 0)
        return failed(error, "give up capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed(error, "set no_new_privs");
    return true;
}

bool ipop_sandbox_data_plane(GError **error) {
    return keep_only(CAP_NET_ADMIN, error);
}

/* Takes on the user for looking only (the effective ids), looks, and goes back to root. */
static bool user_may_write(const struct passwd *user, gid_t group, const char *dir) {
    gid_t before[256];
    int n = getgroups(G_N_ELEMENTS(before), before);
    if (n < 0 || initgroups(user->pw_name, group) < 0)
        return false;
    bool may = setegid(user->pw_gid) == 0 && seteuid(user->pw_uid) == 0 && faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) == 0;
    if (seteuid(0) < 0 || setegid(0) < 0 || setgroups((size_t)n, before) < 0)
        g_error("can't go back to root after a look at %s", dir);
    return may;
}

/* Becomes the user for good; the group ipop goes along, since the control port's secret is readable by it alone. */
static bool become(const struct passwd *user, gid_t group, GError **error) {
    if (initgroups(user->pw_name, group) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
        return failed(error, "become the user " ACCOUNT);
    return true;
}

/* The bounding set has to go while we are root still, the other sets after. */
static bool drop_bounding_set(GError **error) {
    capng_get_caps_process();
    if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
        return true;
    capng_clear(CAPNG_SELECT_BOUNDS);
    return capng_apply(CAPNG_SELECT_BOUNDS) == 0 || failed(error, "give up the capability bounding set");
}

bool ipop_sandbox_controller(const char *state_dir, GError **error) {
    const struct passwd *user = geteuid() == 0 ? getpwnam(ACCOUNT) : NULL;
    if (user && user->pw_uid != 0) {
        const struct group *entry = getgrnam(ACCOUNT);
        gid_t group = entry ? entry->gr_gid : user->pw_gid;
        if (user_may_write(user, group, state_dir) && (!drop_bounding_set(error) || !become(user, group, error)))
            return false;
    }
    return keep_only(-1, error);
}

bool ipop_sandbox_make_dir(const char *dir, GError **error) {
    struct stat status;
    if (mkdir(dir, 0700) < 0) {
        if (errno == EEXIST && stat(dir, &status) == 0 && S_ISDIR(status.st_mode))
            return true;
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM, "can't make the directory %s: %s; make it by hand or name another one",
                    dir, g_strerror(errno));
        return false;
    }
    const struct group *entry = getgrnam(ACCOUNT);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* Who may not hand it to the group keeps it private. */
    bool good = fd >= 0 && (!entry || fchown(fd, (uid_t)-1, entry->gr_gid) < 0 || fchmod(fd, 01770) == 0);
    if (!good)
        failed(error, "set the mode of a new directory");
    if (fd >= 0)
        close(fd);
    return good;
}
