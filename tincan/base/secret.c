#include "tincan/base/secret.h"

#include "tincan/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

void ipop_secret_init(void) {
    if (sodium_init() < 0)
        g_error("no source of randomness: is /dev/urandom missing?");

    /* The limit alone does not stop a core_pattern that is a pipe. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, 0);
}

void *ipop_secret_new(size_t size) {
    void *secret = sodium_malloc(size);
    if (!secret)
        g_error("no memory for a key of %zu bytes", size);
    return memset(secret, 0, size);
}

void ipop_secret_free(void *secret) {
    sodium_free(secret);
}

static void set_file_error(GError **error, const char *verb, const char *path, int code) {
    const char *remedy = code == EACCES || code == EPERM ? ": run as root or as a member of the file's group" : "";
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(code), "can't %s %s: %s%s", verb, path, g_strerror(code),
                remedy);
}

/* Up to size bytes; fewer only at the end of the file. -1 with errno. */
static ssize_t read_all(int fd, uint8_t *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(fd, data + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static bool write_all(int fd, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        data += put;
        size -= (size_t)put;
    }
    return true;
}

static bool check_file(int fd, const char *path, size_t size, GError **error) {
    struct stat st;
    if (fstat(fd, &st) < 0) {
        set_file_error(error, "read", path, errno);
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED, "%s is not a regular file: move it away", path);
        return false;
    }
    if (st.st_mode & (S_IWGRP | S_IRWXO)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED,
                    "%s is open to others (mode %04o): a key others can read is no key; if nobody did, chmod 600 it",
                    path, st.st_mode & 07777);
        return false;
    }
    if ((uint64_t)st.st_size != size) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED,
                    "%s is damaged (%" G_GINT64_FORMAT " bytes instead of %zu): restore it, or move it away for a new one",
                    path, (gint64)st.st_size, size);
        return false;
    }
    return true;
}

static uint8_t *load_fd(int fd, const char *path, size_t size, GError **error) {
    if (!check_file(fd, path, size, error))
        return NULL;

    uint8_t *secret = ipop_secret_new(size);
    ssize_t got = read_all(fd, secret, size);
    if (got == (ssize_t)size)
        return secret;

    /* Short only when it shrank since it was looked at. */
    set_file_error(error, "read", path, got < 0 ? errno : EIO);
    ipop_secret_free(secret);
    return NULL;
}

uint8_t *ipop_secret_load(const char *path, size_t size, GError **error) {
    /* Nonblocking: a FIFO in the file's place must not stop us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        set_file_error(error, "read", path, errno);
        return NULL;
    }
    uint8_t *secret = load_fd(fd, path, size, error);
    close(fd);
    return secret;
}

/* The group before the mode: at no time may the wrong group read. */
static bool give_to_group(int fd, const char *group) {
    char buffer[16384];
    struct group entry;
    struct group *found = NULL;
    if (!group || getgrnam_r(group, &entry, buffer, sizeof buffer, &found) != 0 || !found)
        return true;
    return fchown(fd, (uid_t)-1, found->gr_gid) == 0 && fchmod(fd, 0640) == 0;
}

/* A synced file next to path. temporary is a template for mkostemp. False with errno, and no file. */
static bool write_temporary(char *temporary, const uint8_t *secret, size_t size, const char *group) {
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return false;
    bool good = give_to_group(fd, group) && write_all(fd, secret, size) && fsync(fd) == 0;
    int code = errno;
    close(fd);
    if (!good)
        unlink(temporary);
    errno = code;
    return good;
}

/* Best effort: some file systems can't sync a directory, and the file is whole either way. */
static void sync_directory_of(const char *path) {
    g_autofree char *directory = g_path_get_dirname(path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

static int link_new(const char *from, const char *to) {
    int result = link(from, to); /* unlike rename it fails when `to` exists */
    int code = errno;
    unlink(from);
    errno = code;
    return result;
}

static bool store(const char *path, const uint8_t *secret, size_t size, const char *group,
                  int (*place)(const char *from, const char *to), GError **error) {
    g_autofree char *temporary = g_strconcat(path, ".XXXXXX", NULL);
    if (!write_temporary(temporary, secret, size, group)) {
        set_file_error(error, "write", path, errno);
        return false;
    }
    if (place(temporary, path) < 0) {
        set_file_error(error, "write", path, errno);
        unlink(temporary);
        return false;
    }
    sync_directory_of(path);
    return true;
}

bool ipop_secret_store(const char *path, const uint8_t *secret, size_t size, const char *group, GError **error) {
    return store(path, secret, size, group, rename, error);
}

bool ipop_secret_create(const char *path, const uint8_t *secret, size_t size, GError **error) {
    return store(path, secret, size, NULL, link_new, error);
}
