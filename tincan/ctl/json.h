/* json.h - the one careful reader of JSON datagrams, and getters that check type and range.
 *
 * Pure; any thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_CTL_DATAGRAM_MAX 65507 /* the largest UDP payload over IPv4 */
#define IPOP_CTL_DEPTH_MAX 16       /* nesting; checked before the parser sees the text */

/* Parses one JSON object of n bytes with white space after it allowed. NULL for anything else: other values, duplicate
 * keys, nesting deeper than IPOP_CTL_DEPTH_MAX, NUL bytes. New reference. */
json_t *ipop_json_parse(const char *text, size_t n);

/* Each gives false, writing nothing, when the key is absent, of another type or outside the range. Strings are borrowed
 * from the object and have at most max bytes. */
bool ipop_json_string(const json_t *object, const char *key, size_t max, const char **ret);
bool ipop_json_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *ret);
bool ipop_json_bool(const json_t *object, const char *key, bool *ret);
