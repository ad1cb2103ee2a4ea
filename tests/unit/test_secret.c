/* Key files: whole or not at all, and nobody else's. */
#include "tincan/base/secret.h"

#include "tincan/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <sodium.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 32
#define NOBODY 65534

static const uint8_t one[SIZE] = "the first secret of this test is";
static const uint8_t two[SIZE] = "another one, to be told from it.";

typedef struct {
    char *directory;
    char *path;
} Place;

static void setup(Place *place, gconstpointer data) {
    place->directory = g_dir_make_tmp("ipop-secret-XXXXXX", NULL);
    g_assert_nonnull(place->directory);
    place->path = g_build_filename(place->directory, "key", NULL);
}

static unsigned files_in(const char *directory) {
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    unsigned n = 0;
    while (g_dir_read_name(dir))
        n++;
    return n;
}

static void teardown(Place *place, gconstpointer data) {
    g_assert_cmpuint(files_in(place->directory), <=, 1); /* no temporary is left */
    g_remove(place->path);
    g_assert_cmpint(g_rmdir(place->directory), ==, 0);
    g_free(place->path);
    g_free(place->directory);
}

static mode_t mode_of(const char *path) {
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_mode & 07777;
}

static void assert_holds(const char *path, const uint8_t *wanted) {
    g_autoptr(GError) error = NULL;
    uint8_t *secret = ipop_secret_load(path, SIZE, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(secret, SIZE, wanted, SIZE);
    ipop_secret_free(secret);
}

/* The message is one line and names the file. */
static void assert_refused(const char *path, GQuark domain, int code, const char *word) {
    g_autoptr(GError) error = NULL;
    g_assert_null(ipop_secret_load(path, SIZE, &error));
    g_assert_error(error, domain, code);
    g_assert_nonnull(strstr(error->message, path));
    g_assert_nonnull(strstr(error->message, word));
    g_assert_null(strchr(error->message, '\n'));
}

static void test_memory(void) {
    for (size_t n = 1; n < 10000; n = n * 3 + 1) {
        uint8_t *secret = ipop_secret_new(n);
        g_assert_true(sodium_is_zero(secret, n));
        memset(secret, 0xaa, n);
        ipop_secret_free(secret);
    }
    ipop_secret_free(NULL);
}

static void test_no_core(void) {
    struct rlimit limit;
    g_assert_cmpint(prctl(PR_GET_DUMPABLE), ==, 0);
    g_assert_cmpint(getrlimit(RLIMIT_CORE, &limit), ==, 0);
    g_assert_true(limit.rlim_cur == 0 && limit.rlim_max == 0);
}

static void test_store(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    mode_t mask = umask(0);
    g_assert_true(ipop_secret_store(place->path, one, SIZE, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpint(mode_of(place->path), ==, 0600);
    assert_holds(place->path, one);
    g_assert_true(ipop_secret_store(place->path, two, SIZE, "no-such-group-here", &error));
    umask(mask);
    g_assert_no_error(error);
    g_assert_cmpint(mode_of(place->path), ==, 0600);
    assert_holds(place->path, two);
}

static void test_store_group(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    const struct group *own = getgrgid(getegid());
    if (!own) {
        g_test_skip("the group of this process has no name");
        return;
    }
    g_autofree char *name = g_strdup(own->gr_name);
    g_assert_true(ipop_secret_store(place->path, one, SIZE, name, &error));
    g_assert_no_error(error);
    g_assert_cmpint(mode_of(place->path), ==, 0640);
    struct stat st;
    g_assert_cmpint(stat(place->path, &st), ==, 0);
    g_assert_cmpuint(st.st_gid, ==, getegid());
    assert_holds(place->path, one);
}

static void test_create(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    g_assert_true(ipop_secret_create(place->path, one, SIZE, &error));
    g_assert_no_error(error);
    g_assert_cmpint(mode_of(place->path), ==, 0600);
    g_assert_false(ipop_secret_create(place->path, two, SIZE, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST);
    assert_holds(place->path, one);
}

static void test_missing(Place *place, gconstpointer data) {
    assert_refused(place->path, G_FILE_ERROR, G_FILE_ERROR_NOENT, "No such file");
    g_autofree char *below = g_build_filename(place->path, "key", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_false(ipop_secret_store(below, one, SIZE, NULL, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
}

static void test_length(Place *place, gconstpointer data) {
    static const gssize lengths[] = {0, 1, SIZE - 1, SIZE + 1, 4096};
    char content[4096] = {0};
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autofree char *word = g_strdup_printf("damaged (%d bytes instead of 32)", (int)lengths[i]);
        g_remove(place->path); /* GLib would leave what a longer file had behind */
        g_assert_true(
            g_file_set_contents_full(place->path, content, lengths[i], G_FILE_SET_CONTENTS_NONE, 0600, NULL));
        assert_refused(place->path, IPOP_ERROR, IPOP_ERROR_REFUSED, word);
    }
}

static void test_open(Place *place, gconstpointer data) {
    static const struct {
        mode_t mode;
        bool good;
    } cases[] = {{0600, true},  {0400, true},  {0640, true},  {0440, true},  {0660, false}, {0620, false},
                 {0604, false}, {0602, false}, {0601, false}, {0644, false}, {0666, false}, {0777, false}};
    g_assert_true(ipop_secret_store(place->path, one, SIZE, NULL, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(chmod(place->path, cases[i].mode), ==, 0);
        if (cases[i].good)
            assert_holds(place->path, one);
        else
            assert_refused(place->path, IPOP_ERROR, IPOP_ERROR_REFUSED, "chmod 600");
    }
}

/* Neither hangs on a FIFO without a writer nor takes a directory for a file. */
static void test_kinds(Place *place, gconstpointer data) {
    g_assert_cmpint(mkfifo(place->path, 0600), ==, 0);
    assert_refused(place->path, IPOP_ERROR, IPOP_ERROR_REFUSED, "regular");
    g_assert_cmpint(unlink(place->path), ==, 0);
    assert_refused(place->directory, IPOP_ERROR, IPOP_ERROR_REFUSED, "regular");
}

static void test_permission(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    g_assert_true(ipop_secret_store(place->path, one, SIZE, NULL, NULL));
    g_assert_cmpint(chmod(place->directory, 0500), ==, 0);
    g_assert_cmpint(chmod(place->path, 0), ==, 0);
    bool root = geteuid() == 0;
    if (root && seteuid(NOBODY) < 0) {
        g_test_skip("can't become nobody");
        chmod(place->directory, 0700);
        return;
    }
    assert_refused(place->path, G_FILE_ERROR, G_FILE_ERROR_ACCES, "as root");
    g_assert_false(ipop_secret_store(place->path, two, SIZE, NULL, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ACCES);
    if (root)
        g_assert_cmpint(seteuid(0), ==, 0);
    g_assert_cmpint(chmod(place->path, 0600), ==, 0);
    g_assert_cmpint(chmod(place->directory, 0700), ==, 0);
    assert_holds(place->path, one);
}

/* When the new one can't be put in place the old one stays. */
static void test_store_fails(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(g_mkdir(place->path, 0700), ==, 0);
    g_assert_false(ipop_secret_store(place->path, one, SIZE, NULL, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ISDIR);
    g_assert_cmpuint(files_in(place->directory), ==, 1);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/secret/memory", test_memory);
    g_test_add_func("/secret/no-core", test_no_core);
    g_test_add("/secret/store", Place, NULL, setup, test_store, teardown);
    g_test_add("/secret/store/group", Place, NULL, setup, test_store_group, teardown);
    g_test_add("/secret/store/fails", Place, NULL, setup, test_store_fails, teardown);
    g_test_add("/secret/create", Place, NULL, setup, test_create, teardown);
    g_test_add("/secret/missing", Place, NULL, setup, test_missing, teardown);
    g_test_add("/secret/length", Place, NULL, setup, test_length, teardown);
    g_test_add("/secret/open", Place, NULL, setup, test_open, teardown);
    g_test_add("/secret/kinds", Place, NULL, setup, test_kinds, teardown);
    g_test_add("/secret/permission", Place, NULL, setup, test_permission, teardown);
    return g_test_run();
}
