/* pinfile.h - the file known_peers: text <-> array of IpopPin, its lock, its replacement. Private to controller/peer. */
#pragma once

#include "controller/peer/pins.h"

#define IPOP_PINFILE_MAX (4 * 1024 * 1024)
#define IPOP_PINFILE_DIGEST_BYTES 32

/* The text of the file as an array of IpopPin. path names it in errors. Owned by the caller. */
GPtrArray *ipop_pinfile_parse(const char *text, size_t n, const char *path, GError **error);

/* Reads and checks every field; a key must be its uid's, and no uid, name or address may stand there twice. Owned by the
 * caller. A missing file gives an empty array and a digest of zeros. NULL and error for any other fault, naming the entry;
 * ret_digest (of the text) is not written then. */
GPtrArray *ipop_pinfile_read(const char *path, uint8_t ret_digest[static IPOP_PINFILE_DIGEST_BYTES], GError **error);

/* Replaces the file in one step: temporary file, fsync, rename, fsync of the directory. Owner and group of an existing file
 * stay, those of a new one are the directory's as far as we may set them, so that root's `ipop key` does not lock the
 * controller out. */
bool ipop_pinfile_write(const char *path, const GPtrArray *pins, uint8_t ret_digest[static IPOP_PINFILE_DIGEST_BYTES],
                        GError **error);

/* Waits for the lock "PATH.lock". The lock is held until the descriptor is closed; -1 and error when it can't be had. */
int ipop_pinfile_lock(const char *path, GError **error);

/* Whether a Jabber address may be written: UTF-8 of at most IPOP_JID_MAX bytes without control characters. */
bool ipop_pinfile_jid_valid(const char *jid);
