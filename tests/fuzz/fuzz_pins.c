/* known_peers: whatever is accepted has keys that are their uids' own, and no claim twice. */
#include "controller/peer/pinfile.h"
#include "tincan/base/secret.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const GPtrArray *pins) {
    g_assert_cmpuint(pins->len, <=, IPOP_PINS_MAX);
    for (guint i = 0; i < pins->len; i++) {
        const IpopPin *pin = pins->pdata[i];
        uint8_t key[IPOP_KEY_BYTES];
        g_assert_true(ipop_key_from_text(pin->key, key));
        IpopUid uid = ipop_uid_from_key(key);
        g_assert_true(ipop_uid_equal(&uid, &pin->uid));
        g_assert_true(!pin->name[0] || ipop_name_valid(pin->name));
        for (guint j = 0; j < i; j++) {
            const IpopPin *other = pins->pdata[j];
            g_assert_false(ipop_uid_equal(&pin->uid, &other->uid) || strcmp(pin->ip4, other->ip4) == 0);
            g_assert_false(pin->name[0] && g_ascii_strcasecmp(pin->name, other->name) == 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    if (!ready)
        ipop_secret_init();
    ready = true;

    GError *error = NULL;
    GPtrArray *pins = ipop_pinfile_parse((const char *)data, size, "fuzz", &error);
    g_assert_true((pins == NULL) == (error != NULL));
    if (pins) {
        check(pins);
        g_ptr_array_unref(pins);
    }
    g_clear_error(&error);
    return 0;
}
