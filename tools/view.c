#include "tools/view.h"

#include "tincan/base/error.h"
#include "tincan/ctl/client.h"
#include "tincan/ctl/ids.h"
#include "tincan/ctl/json.h"

#include <arpa/inet.h>
#include <string.h>

#define ASK_MS 2000

const char *ipop_view_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

char *ipop_view_name(const json_t *peer) {
    const char *name = ipop_view_text(peer, "name");
    return *name ? g_strdup(name) : g_strdup_printf("%.12s", ipop_view_text(peer, "uid"));
}

const json_t *ipop_view_best(const json_t *peer) {
    return json_array_get(json_object_get(peer, "stats"), 0);
}

bool ipop_view_online(const json_t *peer) {
    return strcmp(ipop_view_text(peer, "status"), "online") == 0;
}

static int by_name(gconstpointer a, gconstpointer b) {
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int order = strcmp(ipop_view_text(x, "name"), ipop_view_text(y, "name"));
    return order ? order : strcmp(ipop_view_text(x, "uid"), ipop_view_text(y, "uid"));
}

bool ipop_view_ask(unsigned port, const char *uid, IpopView *ret_view, GError **error) {
    json_t *request = uid ? json_pack("{s:s, s:b, s:b, s:s}", "m", "get_state", "stats", 1, "why", 1, "uid", uid)
                          : json_pack("{s:s, s:b}", "m", "get_state", "stats", 1);
    g_auto(IpopView) view = {.answers = ipop_ctl_ask(port, request, ASK_MS, error)};
    json_decref(request);
    if (!view.answers)
        return false;
    view.peers = g_ptr_array_new();
    size_t i;
    json_t *answer;
    json_array_foreach(view.answers, i, answer) {
        const char *type = ipop_view_text(answer, "type");
        if (strcmp(type, "local_state") == 0)
            view.local = answer;
        else if (strcmp(type, "peer_state") == 0)
            g_ptr_array_add(view.peers, answer);
    }
    if (!view.local) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_PROTOCOL,
                    "what answers on port %u does not tell its state: is it ipop-tincan?", port);
        return false;
    }
    int64_t expected = view.peers->len;
    ipop_json_int(view.local, "_peers", 0, INT32_MAX, &expected);
    view.n_lost = MAX(0, expected - view.peers->len);
    g_ptr_array_sort(view.peers, by_name);
    *ret_view = view;
    view = (IpopView){0};
    return true;
}

void ipop_view_clear(IpopView *view) {
    json_decref(view->answers);
    g_clear_pointer(&view->peers, g_ptr_array_unref);
    view->answers = view->local = NULL;
}

static bool matches_exactly(const json_t *peer, const char *what) {
    char ip[INET6_ADDRSTRLEN];
    IpopUid uid;
    if (strcmp(ipop_view_text(peer, "name"), what) == 0)
        return true;
    if (ipop_ip_normalise(what, AF_INET, ip))
        return strcmp(ipop_view_text(peer, "ip4"), ip) == 0;
    if (ipop_ip_normalise(what, AF_INET6, ip)) {
        char own[INET6_ADDRSTRLEN];
        return ipop_ip_normalise(ipop_view_text(peer, "ip6"), AF_INET6, own) && strcmp(own, ip) == 0;
    }
    return ipop_uid_parse(what, &uid) && strcmp(ipop_view_text(peer, "uid"), uid.hex) == 0;
}

static bool matches_uid(const json_t *peer, const char *what) {
    return g_ascii_strncasecmp(ipop_view_text(peer, "uid"), what, strlen(what)) == 0;
}

static GPtrArray *find_all(const IpopView *view, const char *what, bool (*matches)(const json_t *, const char *)) {
    GPtrArray *found = g_ptr_array_new();
    for (unsigned i = 0; *what && i < view->peers->len; i++)
        if (matches(g_ptr_array_index(view->peers, i), what))
            g_ptr_array_add(found, g_ptr_array_index(view->peers, i));
    return found;
}

const json_t *ipop_view_find(const IpopView *view, const char *what, GError **error) {
    g_autoptr(GPtrArray) found = find_all(view, what, matches_exactly);
    if (found->len == 0) {
        g_ptr_array_unref(found);
        found = find_all(view, what, matches_uid);
    }
    if (found->len == 1)
        return g_ptr_array_index(found, 0);
    if (found->len == 0) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED, "no peer is known as \"%s\": see ipop peers", what);
        return NULL;
    }
    g_autofree char *first = ipop_view_name(g_ptr_array_index(found, 0));
    g_autofree char *second = ipop_view_name(g_ptr_array_index(found, 1));
    g_set_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED,
                "\"%s\" may be %s (uid %.12s) or %s (uid %.12s)%s: give more digits of the uid", what, first,
                ipop_view_text(g_ptr_array_index(found, 0), "uid"), second,
                ipop_view_text(g_ptr_array_index(found, 1), "uid"), found->len > 2 ? " or others" : "");
    return NULL;
}
