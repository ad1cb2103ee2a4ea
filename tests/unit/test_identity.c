/* The node's key: made once, kept, and never replaced by accident. */
#include "tincan/base/error.h"
#include "tincan/base/secret.h"
#include "tincan/crypto/identity.h"

#include <glib/gstdio.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    char *directory; /* does not exist at first */
    char *parent;
    char *path;
} Place;

static void setup(Place *place, gconstpointer data) {
    place->parent = g_dir_make_tmp("ipop-identity-XXXXXX", NULL);
    g_assert_nonnull(place->parent);
    place->directory = g_build_filename(place->parent, "state", NULL);
    place->path = g_build_filename(place->directory, "identity.key", NULL);
}

static void teardown(Place *place, gconstpointer data) {
    g_remove(place->path);
    g_rmdir(place->directory); /* fails below when a temporary is left */
    g_assert_cmpint(g_rmdir(place->parent), ==, 0);
    g_free(place->parent);
    g_free(place->directory);
    g_free(place->path);
}

static IpopIdentity *load(const Place *place) {
    g_autoptr(GError) error = NULL;
    IpopIdentity *identity = ipop_identity_load(place->directory, &error);
    g_assert_no_error(error);
    g_assert_nonnull(identity);
    return identity;
}

static void write_file(const Place *place, const void *content, gssize n, int mode) {
    g_assert_cmpint(g_mkdir_with_parents(place->directory, 0700), ==, 0);
    g_remove(place->path); /* GLib would leave what a longer file had behind */
    g_assert_true(g_file_set_contents_full(place->path, content, n, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    g_assert_cmpint(chmod(place->path, (mode_t)mode), ==, 0);
}

/* Refused, with a line that names the file, and the file untouched. */
static void assert_refused(const Place *place, const char *word) {
    g_autofree char *before = NULL, *after = NULL;
    gsize before_n, after_n;
    g_autoptr(GError) error = NULL;
    g_assert_true(g_file_get_contents(place->path, &before, &before_n, NULL));
    g_assert_null(ipop_identity_load(place->directory, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED);
    g_assert_nonnull(strstr(error->message, place->path));
    g_assert_nonnull(strstr(error->message, word));
    g_assert_true(g_file_get_contents(place->path, &after, &after_n, NULL));
    g_assert_cmpmem(before, (int)before_n, after, (int)after_n);
}

static void test_made_and_kept(Place *place, gconstpointer data) {
    IpopIdentity *first = load(place), *again = load(place);
    struct stat st;
    g_assert_cmpint(stat(place->path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpint(st.st_size, ==, IPOP_KEY_BYTES);
    g_assert_cmpmem(first->secret, 32, again->secret, 32);
    g_assert_cmpmem(first->public_key, 32, again->public_key, 32);
    g_assert_cmpstr(first->uid.hex, ==, again->uid.hex);
    g_assert_false(sodium_is_zero(first->secret, 32));

    g_assert_cmpint(unlink(place->path), ==, 0);
    IpopIdentity *other = load(place);
    g_assert_true(memcmp(first->secret, other->secret, 32) != 0);
    ipop_identity_free(first);
    ipop_identity_free(again);
    ipop_identity_free(other);
    ipop_identity_free(NULL);
}

/* Alice's key pair of RFC 7748, section 6.1, and its BLAKE2b as another program makes it. */
static void test_known(void) {
    uint8_t secret[32], public_key[32];
    sodium_hex2bin(secret, 32, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", 64, NULL, NULL, NULL);
    sodium_hex2bin(public_key, 32, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", 64, NULL, NULL,
                   NULL);
    IpopIdentity *identity = ipop_identity_from_secret(secret);
    g_assert_cmpmem(identity->public_key, 32, public_key, 32);
    g_assert_cmpstr(identity->uid.hex, ==, "7a91869e4c114964206972403b0a3d81603f2bd9");
    g_assert_true(identity->secret != secret);
    ipop_identity_free(identity);
}

static void test_damaged(Place *place, gconstpointer data) {
    static const gssize lengths[] = {0, 31, 33, 64};
    char content[64];
    memset(content, 'k', sizeof content);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        write_file(place, content, lengths[i], 0600);
        assert_refused(place, "damaged");
    }
    memset(content, 0, sizeof content); /* what some file systems leave after a power failure */
    write_file(place, content, 32, 0600);
    assert_refused(place, "only zeros");
}

static void test_open(Place *place, gconstpointer data) {
    static const int modes[] = {0640, 0604, 0660, 0622, 0644, 0666};
    char content[32] = "a key that others may have seen";
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        write_file(place, content, 32, modes[i]);
        assert_refused(place, "chmod 600");
    }
    write_file(place, content, 32, 0400);
    ipop_identity_free(load(place));
}

static void test_no_directory(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    g_autofree char *below = g_build_filename(place->path, "further", NULL);
    write_file(place, "x", 1, 0600);
    g_assert_null(ipop_identity_load(below, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOTDIR);
    g_assert_nonnull(strstr(error->message, below));
    g_assert_nonnull(strstr(error->message, "--state-dir"));
}

static void test_unreadable(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(g_mkdir(place->directory, 0), ==, 0);
    bool root = geteuid() == 0;
    g_assert_cmpint(chmod(place->parent, 0755), ==, 0);
    if (root && seteuid(65534) < 0) {
        g_test_skip("can't become nobody");
        return;
    }
    g_assert_null(ipop_identity_load(place->directory, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ACCES);
    g_assert_nonnull(strstr(error->message, place->path));
    if (root)
        g_assert_cmpint(seteuid(0), ==, 0);
    g_assert_cmpint(chmod(place->directory, 0700), ==, 0);
}

/* No key yet, and no right to make one. */
static void test_unwritable(Place *place, gconstpointer data) {
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(g_mkdir(place->directory, 0555), ==, 0);
    g_assert_cmpint(chmod(place->parent, 0755), ==, 0);
    bool root = geteuid() == 0;
    if (root && seteuid(65534) < 0) {
        g_test_skip("can't become nobody");
        return;
    }
    g_assert_null(ipop_identity_load(place->directory, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ACCES);
    g_assert_nonnull(strstr(error->message, "can't write"));
    if (root)
        g_assert_cmpint(seteuid(0), ==, 0);
}

static gpointer load_in_thread(gpointer data) {
    return load(data);
}

/* Many that start at once on an empty directory all get the same key. */
static void test_race(Place *place, gconstpointer data) {
    for (int round = 0; round < 20; round++) {
        GThread *threads[8];
        IpopIdentity *identities[8];
        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
            threads[i] = g_thread_new("load", load_in_thread, place);
        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
            identities[i] = g_thread_join(threads[i]);
        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
            g_assert_cmpstr(identities[i]->uid.hex, ==, identities[0]->uid.hex);
        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
            ipop_identity_free(identities[i]);
        g_assert_cmpint(unlink(place->path), ==, 0);
        g_assert_cmpint(g_rmdir(place->directory), ==, 0); /* and no temporary stays */
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    g_test_add_func("/identity/known", test_known);
    g_test_add("/identity/made-and-kept", Place, NULL, setup, test_made_and_kept, teardown);
    g_test_add("/identity/damaged", Place, NULL, setup, test_damaged, teardown);
    g_test_add("/identity/open", Place, NULL, setup, test_open, teardown);
    g_test_add("/identity/no-directory", Place, NULL, setup, test_no_directory, teardown);
    g_test_add("/identity/unreadable", Place, NULL, setup, test_unreadable, teardown);
    g_test_add("/identity/unwritable", Place, NULL, setup, test_unwritable, teardown);
    g_test_add("/identity/race", Place, NULL, setup, test_race, teardown);
    return g_test_run();
}
