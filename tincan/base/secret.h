/* secret.h - memory for keys: locked, wiped when freed, never in a core dump, with no formatter.
 *
 * Compare secrets with sodium_memcmp, wipe copies on the stack with sodium_memzero.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Calls sodium_init and forbids core dumps. Call once at the start of main; aborts when the system has no randomness. */
void ipop_secret_init(void);

/* Locked and guarded memory of size bytes (> 0), zeroed. Owned by the caller; ipop_secret_free wipes it and accepts NULL.
 * Each takes a page and four mappings: for keys, not for tables of them. Aborts when there is no memory, as g_malloc. */
void *ipop_secret_new(size_t size);
void ipop_secret_free(void *secret);

/* Reads exactly size bytes of a key file into locked memory. The file must be a regular one that others can neither
 * read nor write, nor its group write. NULL and error when it is missing (G_FILE_ERROR_NOENT) or unreadable (G_FILE_ERROR),
 * or short, long or too open (IPOP_ERROR_REFUSED). */
uint8_t *ipop_secret_load(const char *path, size_t size, GError **error);

/* Writes a key file atomically (temporary file, fsync, rename), mode 0600; when group is not NULL and exists, 0640 and
 * that group. False and error (G_FILE_ERROR) leaves what was there. */
bool ipop_secret_store(const char *path, const uint8_t *secret, size_t size, const char *group, GError **error);

/* As ipop_secret_store with mode 0600, but never replaces: G_FILE_ERROR_EXIST when there is a file already, so that of
 * two processes that start at once exactly one makes the key. */
bool ipop_secret_create(const char *path, const uint8_t *secret, size_t size, GError **error);
