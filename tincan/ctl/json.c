#include "tincan/ctl/json.h"

#include <string.h>

/* Brackets inside strings don't nest. Whether they match is the parser's business; here only its recursion is bounded. */
static bool depth_ok(const char *text, size_t n) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > IPOP_CTL_DEPTH_MAX)
                return false;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

json_t *ipop_json_parse(const char *text, size_t n) {
    if (n == 0 || memchr(text, '\0', n) || !depth_ok(text, n))
        return NULL;
    json_t *value = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

bool ipop_json_string(const json_t *object, const char *key, size_t max, const char **ret) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value) || json_string_length(value) > max)
        return false;
    *ret = json_string_value(value);
    return true;
}

bool ipop_json_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *ret) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max)
        return false;
    *ret = json_integer_value(value);
    return true;
}

bool ipop_json_bool(const json_t *object, const char *key, bool *ret) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value))
        return false;
    *ret = json_is_true(value);
    return true;
}
