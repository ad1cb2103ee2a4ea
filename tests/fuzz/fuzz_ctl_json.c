/* Any bytes as the body of a control datagram: what is taken is an object no deeper than allowed, and says the same when
 * written and read again. */
#include "tincan/ctl/json.h"

#include <glib.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int depth_of(const json_t *value) {
    int deepest = 0;
    const char *key;
    json_t *child;
    size_t i;
    if (json_is_object(value))
        json_object_foreach((json_t *)value, key, child)
            deepest = MAX(deepest, depth_of(child));
    else if (json_is_array(value))
        json_array_foreach(value, i, child)
            deepest = MAX(deepest, depth_of(child));
    else
        return 0;
    return 1 + deepest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *object = ipop_json_parse((const char *)data, size);
    if (!object)
        return 0;
    g_assert_true(json_is_object(object));
    g_assert_cmpint(depth_of(object), <=, IPOP_CTL_DEPTH_MAX);

    const char *text = NULL;
    int64_t number = 0;
    bool flag;
    if (ipop_json_string(object, "m", 16, &text))
        g_assert_cmpuint(json_string_length(json_object_get(object, "m")), <=, 16);
    if (ipop_json_int(object, "id", -5, 5, &number))
        g_assert_true(number >= -5 && number <= 5);
    ipop_json_bool(object, "stats", &flag);

    char *written = json_dumps(object, JSON_COMPACT);
    g_assert_nonnull(written);
    json_t *again = ipop_json_parse(written, strlen(written));
    g_assert_nonnull(again);
    free(written);
    json_decref(again);
    json_decref(object);
    return 0;
}
