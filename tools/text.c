#include "tools/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#define CELL_MAX 80
#define LAST_CELL_MAX 400

struct IpopTable {
    unsigned columns;
    GPtrArray *rows; /* of char **, NULL-terminated */
};

static bool printable(gunichar c) {
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
        return false;
    default:
        return true;
    }
}

char *ipop_text_clean(const char *s, size_t max) {
    GString *clean = g_string_new(NULL);
    for (size_t i = 0; *s && i < max; i++) {
        gunichar c = g_utf8_get_char_validated(s, -1);
        bool valid = c != (gunichar)-1 && c != (gunichar)-2;
        if (valid && printable(c))
            g_string_append_unichar(clean, c);
        else
            g_string_append_c(clean, '?');
        s = valid ? g_utf8_next_char(s) : s + 1;
    }
    return g_string_free(clean, FALSE);
}

void ipop_text_line(FILE *out, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    g_autofree char *line = g_strdup_vprintf(format, ap);
    va_end(ap);
    g_autofree char *clean = ipop_text_clean(line, IPOP_LINE_MAX);
    fprintf(out, "%s\n", clean);
}

void ipop_text_error(FILE *err, GError *error) {
    ipop_text_line(err, "ipop: %s", error->message);
    g_error_free(error);
}

char *ipop_text_bytes(int64_t bytes) {
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    if (bytes < 1000)
        return g_strdup_printf("%" G_GINT64_FORMAT " B", bytes);
    unsigned unit = 0;
    double value = (double)bytes / 1000;
    for (; value >= 1000 && unit + 1 < G_N_ELEMENTS(units); unit++)
        value /= 1000;
    return g_strdup_printf(value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static unsigned display_width(const char *clean) {
    unsigned width = 0;
    for (const char *c = clean; *c; c = g_utf8_next_char(c)) {
        gunichar u = g_utf8_get_char(c);
        width += g_unichar_iszerowidth(u) ? 0 : g_unichar_iswide(u) ? 2 : 1;
    }
    return width;
}

IpopTable *ipop_table_new(unsigned columns) {
    IpopTable *table = g_new0(IpopTable, 1);
    table->columns = columns;
    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    return table;
}

void ipop_table_free(IpopTable *table) {
    if (!table)
        return;
    g_ptr_array_unref(table->rows);
    g_free(table);
}

void ipop_table_row(IpopTable *table, const char *const *cells) {
    char **row = g_new0(char *, table->columns + 1);
    for (unsigned i = 0; i < table->columns; i++)
        row[i] = ipop_text_clean(*cells[i] ? cells[i] : "-", i + 1 < table->columns ? CELL_MAX : LAST_CELL_MAX);
    g_ptr_array_add(table->rows, row);
}

static unsigned column_width(const IpopTable *table, unsigned column) {
    unsigned widest = 0;
    for (unsigned i = 0; i < table->rows->len; i++) {
        char **row = g_ptr_array_index(table->rows, i);
        widest = MAX(widest, display_width(row[column]));
    }
    return widest;
}

void ipop_table_print(const IpopTable *table, FILE *out) {
    g_autofree unsigned *widths = g_new(unsigned, table->columns);
    for (unsigned c = 0; c < table->columns; c++)
        widths[c] = column_width(table, c);
    for (unsigned i = 0; i < table->rows->len; i++) {
        char **row = g_ptr_array_index(table->rows, i);
        for (unsigned c = 0; c + 1 < table->columns; c++)
            fprintf(out, "%s%*s", row[c], (int)(widths[c] - display_width(row[c]) + 2), "");
        fprintf(out, "%s\n", row[table->columns - 1]);
    }
}

void ipop_text_json(FILE *out, json_t *value) {
    json_dumpf(value, out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    fputc('\n', out);
    json_decref(value);
}
