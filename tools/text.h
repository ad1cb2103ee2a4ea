/* text.h - what peers and servers say, made safe for a terminal; tables; JSON output. Any thread. */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define IPOP_LINE_MAX 2000 /* characters of a line; the rest is cut */

/* At most max characters of s, with '?' for what is not UTF-8 and for control and format characters (Unicode Cc, Cf, Zl,
 * Zp), so that nobody can move the cursor, change colours or direction, or forge a line. Owned by the caller. */
char *ipop_text_clean(const char *s, size_t max);

/* Writes one line, cleaned, and a newline. */
void ipop_text_line(FILE *out, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* "Name: what is wrong" for a GError, to err, and frees the error. */
void ipop_text_error(FILE *err, GError *error);

/* "512 B", "1.5 kB", "20 MB". Owned by the caller. */
char *ipop_text_bytes(int64_t bytes);

/* Rows of cells, aligned by display width; the last column is not padded. */
typedef struct IpopTable IpopTable;
IpopTable *ipop_table_new(unsigned columns);
void ipop_table_free(IpopTable *table);
void ipop_table_row(IpopTable *table, const char *const *cells); /* copies and cleans; "" is shown as "-" */
void ipop_table_print(const IpopTable *table, FILE *out);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IpopTable, ipop_table_free)

/* Writes the value indented, in ASCII alone, and a newline. Takes over the reference. */
void ipop_text_json(FILE *out, json_t *value);
