/* Giving up privileges, each in a process of its own. What needs root is skipped without. The user and group ipop are made in
 * a mount namespace, by other files in place of /etc/passwd and /etc/group. */
#include "tincan/base/error.h"
#include "tincan/base/sandbox.h"

#include <cap-ng.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UID 61234
#define GID 61235
#define PRIMARY_GID 61236

static char *scratch; /* a directory for the present test */

static void lay_over(const char *path, const char *text) {
    g_autofree char *file = g_build_filename(scratch, "overlay", NULL);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
    g_assert_cmpint(chmod(file, 0644), ==, 0);
    g_assert_cmpint(mount(file, path, NULL, MS_BIND, NULL), ==, 0);
    g_unlink(file);
}

static void make_account(void) {
    g_assert_cmpint(unshare(CLONE_NEWNS), ==, 0);
    g_assert_cmpint(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), ==, 0);
    lay_over("/etc/passwd", "root:x:0:0::/root:/bin/sh\nipop:x:61234:61236::/:/bin/false\n");
    lay_over("/etc/group", "root:x:0:\nipop:x:61235:\nsomething:x:61236:\n");
}

static bool in_group(gid_t gid) {
    gid_t groups[64];
    int n = getgroups(G_N_ELEMENTS(groups), groups);
    for (int i = 0; i < n; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

static void assert_only(int capability) {
    capng_get_caps_process();
    for (unsigned i = 0; i <= (unsigned)CAP_LAST_CAP; i++) {
        bool wanted = (int)i == capability;
        g_assert_true(capng_have_capability(CAPNG_EFFECTIVE, i) == wanted);
        g_assert_true(capng_have_capability(CAPNG_PERMITTED, i) == wanted);
        g_assert_false(capng_have_capability(CAPNG_INHERITABLE, i));
        g_assert_false(capng_have_capability(CAPNG_BOUNDING_SET, i));
        g_assert_false(capng_have_capability(CAPNG_AMBIENT, i));
    }
    g_assert_cmpint(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), ==, 1);
}

static void data_plane(void) {
    g_autoptr(GError) error = NULL;
    g_assert_true(ipop_sandbox_data_plane(&error));
    g_assert_no_error(error);
    assert_only(CAP_NET_ADMIN);
    g_assert_cmpint((int)getuid(), ==, 0);
    g_assert_true(ipop_sandbox_data_plane(&error)); /* nothing left to do */
    assert_only(CAP_NET_ADMIN);
}

static void controller_without_user(void) {
    g_autoptr(GError) error = NULL;
    g_assert_true(ipop_sandbox_controller(scratch, &error));
    g_assert_no_error(error);
    assert_only(-1);
    g_assert_cmpint((int)getuid(), ==, 0);
}

static void controller_with_user(void) {
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = g_build_filename(scratch, "state", NULL);
    g_autofree char *file = g_build_filename(dir, "known_peers", NULL);
    struct stat status;
    make_account();
    g_assert_cmpint(chmod(scratch, 0755), ==, 0);
    g_assert_true(ipop_sandbox_make_dir(dir, &error));
    g_assert_cmpint(stat(dir, &status), ==, 0);
    g_assert_cmpint((int)(status.st_mode & 07777), ==, 01770);
    g_assert_cmpint((int)status.st_gid, ==, GID);

    g_assert_true(ipop_sandbox_controller(dir, &error));
    g_assert_no_error(error);
    assert_only(-1);
    g_assert_cmpint((int)getuid(), ==, UID);
    g_assert_cmpint((int)geteuid(), ==, UID);
    g_assert_cmpint((int)getegid(), ==, PRIMARY_GID);
    g_assert_true(in_group(GID));
    g_assert_false(in_group(0));
    g_assert_cmpint(setuid(0), ==, -1);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_unlink(file);
}

static void controller_with_user_shut_out(void) {
    g_autoptr(GError) error = NULL;
    make_account();
    g_assert_cmpint(chmod(scratch, 0755), ==, 0); /* readable, not writable */
    gid_t before = getegid();
    g_assert_true(ipop_sandbox_controller(scratch, &error));
    g_assert_no_error(error);
    assert_only(-1);
    g_assert_cmpint((int)geteuid(), ==, 0);
    g_assert_cmpint((int)getegid(), ==, (int)before);
    g_assert_false(in_group(GID));
}

static void without_privilege(void) {
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = g_build_filename(scratch, "private", NULL);
    struct stat status;
    make_account();
    g_assert_cmpint(chmod(scratch, 0777), ==, 0);
    g_assert_cmpint(setresuid(65534, 65534, 65534), ==, 0);
    g_assert_true(ipop_sandbox_make_dir(dir, &error)); /* the group exists, but is not ours to give */
    g_assert_cmpint(stat(dir, &status), ==, 0);
    g_assert_cmpint((int)(status.st_mode & 07777), ==, 0700);
    g_assert_true(ipop_sandbox_data_plane(&error));
    g_assert_true(ipop_sandbox_controller(scratch, &error));
    g_assert_no_error(error);
    g_assert_cmpint((int)getuid(), ==, 65534);
    g_rmdir(dir);
}

static void test_in_subprocess(const void *function) {
    if (geteuid() != 0) {
        g_test_skip("needs root");
        return;
    }
    if (g_test_subprocess()) {
        scratch = g_dir_make_tmp("ipop-sandbox-XXXXXX", NULL);
        pid_t child = fork(); /* so that root is left to clean up */
        if (child == 0) {
            ((void (*)(void))function)();
            _exit(0);
        }
        int status = -1;
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_autofree char *state = g_build_filename(scratch, "state", NULL);
        g_rmdir(state);
        g_assert_cmpint(g_rmdir(scratch), ==, 0);
        g_assert_cmpint(status, ==, 0);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed();
}

static void test_make_dir(void) {
    g_autoptr(GError) error = NULL;
    g_autofree char *root = g_dir_make_tmp("ipop-sandbox-XXXXXX", NULL);
    g_autofree char *dir = g_build_filename(root, "run", NULL);
    g_autofree char *deep = g_build_filename(root, "no", "such", NULL);
    g_autofree char *file = g_build_filename(root, "file", NULL);
    struct stat status;

    g_assert_true(ipop_sandbox_make_dir(dir, &error));
    g_assert_cmpint(stat(dir, &status), ==, 0);
    g_assert_cmpint((int)(status.st_mode & 0007), ==, 0); /* never open to all */
    g_assert_cmpint(chmod(dir, 0750), ==, 0);
    g_assert_true(ipop_sandbox_make_dir(dir, &error)); /* as it is */
    g_assert_no_error(error);
    g_assert_cmpint(stat(dir, &status), ==, 0);
    g_assert_cmpint((int)(status.st_mode & 07777), ==, 0750);

    g_assert_false(ipop_sandbox_make_dir(deep, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, deep));
    g_clear_error(&error);

    g_assert_true(g_file_set_contents(file, "", 0, NULL));
    g_assert_false(ipop_sandbox_make_dir(file, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
    g_unlink(file);
    g_rmdir(dir);
    g_rmdir(root);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sandbox/make-dir", test_make_dir);
    g_test_add_data_func("/sandbox/data-plane", data_plane, test_in_subprocess);
    g_test_add_data_func("/sandbox/controller-without-user", controller_without_user, test_in_subprocess);
    g_test_add_data_func("/sandbox/controller-with-user", controller_with_user, test_in_subprocess);
    g_test_add_data_func("/sandbox/controller-with-user-shut-out", controller_with_user_shut_out, test_in_subprocess);
    g_test_add_data_func("/sandbox/without-privilege", without_privilege, test_in_subprocess);
    return g_test_run();
}
