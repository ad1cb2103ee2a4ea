#include "tincan/ctl/json.h"

#include <glib.h>
#include <string.h>

static json_t *parse(const char *text) {
    return ipop_json_parse(text, strlen(text));
}

static void refused(const char *text, size_t n) {
    g_autofree char *exact = g_memdup2(text, n); /* so that a read past the end is seen */
    g_assert_null(ipop_json_parse(exact, n));
}

static void test_accepts(void) {
    const char *const good[] = {"{}", "{\"m\":\"get_state\"}\n", " \t\r\n{\"a\":[1,2,{\"b\":null}]} \r\n\t ",
                                "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[{{{{{{\"}", "{\"a\":\"\\\"[\\\\\"}"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        json_t *object = parse(good[i]);
        g_assert_true(json_is_object(object));
        json_decref(object);
    }
}

static void test_refuses(void) {
    const char *const bad[] = {"", " ", "[]", "[{}]", "1", "\"x\"", "null", "{", "}", "{}x", "{}{}", "{\"a\":1,\"a\":2}",
                               "{\"a\":}", "{a:1}", "{\"a\":1,}", "{\"a\":\"\\u0000\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\n\"}",
                               "{\"a\":1e999}", "{\"a\":99999999999999999999}", "{\"a", "{\"a\\", "{\"a\":\"\\"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        refused(bad[i], strlen(bad[i]));
    refused("{}\0", 3);
    refused("{\"a\0\":1}", 8);
}

static void test_depth(void) {
    for (unsigned depth = 1; depth <= 2 * IPOP_CTL_DEPTH_MAX; depth++) {
        g_autoptr(GString) text = g_string_new("{\"a\":");
        for (unsigned i = 1; i < depth; i++)
            g_string_append_c(text, '[');
        for (unsigned i = 1; i < depth; i++)
            g_string_append_c(text, ']');
        g_string_append(text, depth == 1 ? "1}" : "}");
        json_t *object = ipop_json_parse(text->str, text->len);
        g_assert_cmpint(object != NULL, ==, depth <= IPOP_CTL_DEPTH_MAX);
        json_decref(object);
    }
    g_autofree char *nested = g_malloc(65536);
    memset(nested, '[', 65536);
    refused(nested, 65536);
    memcpy(nested, "{\"a\":", 5);
    refused(nested, 65536);
    for (size_t i = 5; i + 5 <= 65536; i += 5)
        memcpy(nested + i, "{\"a\":", 5);
    refused(nested, 65536);
    memset(nested, ']', 65536);
    refused(nested, 65536);
}

/* Every prefix of a good text is refused, and none of its bytes changed to another makes the parser misbehave. */
static void test_mutations(void) {
    const char text[] = "{\"m\":\"ping\",\"uid\":\"89eb\\\\0d\\\"\",\"id\":-7,\"x\":[true,{\"y\":1.5}]}";
    for (size_t n = 0; n < strlen(text); n++)
        refused(text, n);
    for (size_t i = 0; i < strlen(text); i++)
        for (int c = 0; c < 256; c++) {
            char changed[sizeof text];
            memcpy(changed, text, sizeof text);
            changed[i] = (char)c;
            json_t *object = ipop_json_parse(changed, strlen(text));
            g_assert_true(!object || json_is_object(object));
            json_decref(object);
        }
}

static void test_getters(void) {
    json_t *object = parse("{\"s\":\"four\",\"e\":\"\",\"i\":10,\"n\":-3,\"r\":1.0,\"t\":true,\"f\":false,\"z\":null}");
    const char *s = "untouched";
    int64_t i = 77;
    bool b = true;

    g_assert_false(ipop_json_string(object, "none", 10, &s));
    g_assert_false(ipop_json_string(object, "i", 10, &s));
    g_assert_false(ipop_json_string(object, "z", 10, &s));
    g_assert_false(ipop_json_string(object, "s", 3, &s));
    g_assert_cmpstr(s, ==, "untouched");
    g_assert_true(ipop_json_string(object, "s", 4, &s));
    g_assert_cmpstr(s, ==, "four");
    g_assert_true(ipop_json_string(object, "e", 0, &s));
    g_assert_cmpstr(s, ==, "");

    g_assert_false(ipop_json_int(object, "none", INT64_MIN, INT64_MAX, &i));
    g_assert_false(ipop_json_int(object, "s", INT64_MIN, INT64_MAX, &i));
    g_assert_false(ipop_json_int(object, "r", INT64_MIN, INT64_MAX, &i));
    g_assert_false(ipop_json_int(object, "i", 11, 20, &i));
    g_assert_false(ipop_json_int(object, "i", 0, 9, &i));
    g_assert_cmpint(i, ==, 77);
    g_assert_true(ipop_json_int(object, "i", 10, 10, &i));
    g_assert_cmpint(i, ==, 10);
    g_assert_true(ipop_json_int(object, "n", -3, 0, &i));
    g_assert_cmpint(i, ==, -3);

    g_assert_false(ipop_json_bool(object, "i", &b));
    g_assert_false(ipop_json_bool(object, "none", &b));
    g_assert_true(b);
    g_assert_true(ipop_json_bool(object, "f", &b));
    g_assert_false(b);
    g_assert_true(ipop_json_bool(object, "t", &b));
    g_assert_true(b);
    json_decref(object);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/accepts", test_accepts);
    g_test_add_func("/json/refuses", test_refuses);
    g_test_add_func("/json/depth", test_depth);
    g_test_add_func("/json/mutations", test_mutations);
    g_test_add_func("/json/getters", test_getters);
    return g_test_run();
}
