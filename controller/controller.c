#include "controller/internal.h"

#include "tincan/base/error.h"
#include "tincan/base/memory.h"
#include "tincan/base/secret.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_SECONDS 3

/* --- the timer --- */

typedef struct {
    GSource source;
    IpopController *controller;
} Timer;

void ipop_controller_wake_at(IpopController *c, int64_t at) {
    if (at >= c->timer_at)
        return;
    c->timer_at = at;
    /* The source counts on CLOCK_MONOTONIC. */
    g_source_set_ready_time(c->timer, g_get_monotonic_time() + MAX(at - ipop_clock_now(), 0));
}

static void tell_dropped(IpopController *c, int64_t now) {
    uint64_t dropped = c->xmpp != NULL ? ipop_xmpp_dropped(c->xmpp) : 0;
    if (dropped > c->dropped && ipop_log_limit(&c->long_limit, now))
        ipop_log(IPOP_LOG_WARNING, "jabber", "stanzas longer than %d KiB come from the server: left out", IPOP_STANZA_MAX / 1024);
    c->dropped = dropped;
}

static void housekeeping(IpopController *c, int64_t now) {
    tell_dropped(c, now);
    int64_t wait_time = (int64_t)c->conf->wait_time * IPOP_SECOND;
    c->housekeeping_at = now + wait_time;
    if (!c->swept && c->xmpp_state == IPOP_XMPP_CONNECTED) {
        if (now - c->login_at >= wait_time) {
            c->swept = true;
            ipop_discovery_sweep(c);
        } else {
            c->housekeeping_at = c->login_at + wait_time;
        }
    }
    ipop_dataplane_refresh(c->dataplane);
}

static gboolean on_timer(GSource *source, GSourceFunc callback, gpointer user) {
    IpopController *c = ((Timer *)source)->controller;
    int64_t now = ipop_clock_now();
    c->timer_at = INT64_MAX;
    g_source_set_ready_time(source, -1);
    if (now >= c->housekeeping_at)
        housekeeping(c, now);
    ipop_controller_wake_at(c, c->housekeeping_at);
    if (c->xmpp_state == IPOP_XMPP_CONNECTED && now >= c->services_at)
        ipop_services_ask(c);
    else if (c->xmpp_state == IPOP_XMPP_CONNECTED)
        ipop_controller_wake_at(c, c->services_at);
    for (unsigned i = ipop_registry_count(c->registry); i-- > 0;) {
        IpopPeer *peer = ipop_registry_nth(c->registry, i);
        if (now >= peer->wake_at)
            ipop_links_consider(c, peer);
        else
            ipop_controller_wake_at(c, peer->wake_at);
    }
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_funcs = {.dispatch = on_timer};

static void timer_new(IpopController *c) {
    c->timer = g_source_new(&timer_funcs, sizeof(Timer));
    ((Timer *)c->timer)->controller = c;
    c->timer_at = INT64_MAX;
    g_source_attach(c->timer, g_main_context_get_thread_default());
    c->housekeeping_at = ipop_clock_now() + (int64_t)c->conf->wait_time * IPOP_SECOND;
    ipop_controller_wake_at(c, c->housekeeping_at);
}

const char *ipop_peer_label(const IpopPeer *peer) {
    return peer->node.name[0] != '\0' ? peer->node.name : peer->uid.hex;
}

#define LINES_MAX 20 /* of one peer's story at once, then one a minute */
#define STRANGER_LINES_MAX 60
#define LINES_INTERVAL (60 * IPOP_SECOND)

IpopLogLevel ipop_controller_level(IpopController *c, IpopPeer *peer, bool news) {
    int64_t now = ipop_clock_now();
    if (!news)
        return IPOP_LOG_DEBUG;
    if (ipop_pins_get(c->pins, &peer->uid) != NULL)
        return ipop_budget_take(&peer->lines, LINES_MAX, LINES_INTERVAL, now) ? IPOP_LOG_INFO : IPOP_LOG_DEBUG;
    if (ipop_budget_take(&c->stranger_lines, STRANGER_LINES_MAX, LINES_INTERVAL, now))
        return IPOP_LOG_INFO;
    if (!c->hushed)
        ipop_log(IPOP_LOG_WARNING, "peer", "so many nodes appear that were never connected to, that the log will have one line a "
                 "minute of them");
    c->hushed = true;
    return IPOP_LOG_DEBUG;
}

/* --- what tincan is told of this node --- */

static void want_local(IpopController *c) {
    const IpopConf *conf = c->conf;
    const IpopNode *node = &c->self->node;
    json_t *ignore = json_array();
    for (char **name = conf->network_ignore_list; name != NULL && *name != NULL; name++)
        json_array_append_new(ignore, json_string(*name));
    json_t *message = json_pack("{ss ss ss sI ss sI sI so sb}", "name", node->name, "jid", conf->xmpp_username, "ip4", node->ip4,
                                "ip4_mask", (json_int_t)ipop_self_ip4_mask(c->self), "ip6", node->ip6, "ip6_mask",
                                (json_int_t)conf->ip6_mask, "mtu", (json_int_t)conf->mtu, "ignore", ignore, "upnp",
                                (int)conf->upnp);
    if (conf->psk != NULL) {
        char psk[65];
        sodium_bin2hex(psk, sizeof psk, conf->psk, 32);
        json_object_set_new(message, "psk", json_string(psk));
        sodium_memzero(psk, sizeof psk);
    }
    ipop_dataplane_want(c->dataplane, "set_local", message);
}

static void want_settings(IpopController *c) {
    ipop_services_want(c);
    ipop_dataplane_want(c->dataplane, "set_logging", json_pack("{sI}", "logging", (json_int_t)c->conf->tincan_logging));
}

static void want_xmpp(IpopController *c) {
    static const char *const names[] = {"disconnected", "connecting", "connected"};
    /* While the next attempt runs, the last one's error still says why this node is not logged in. */
    g_autofree char *text = g_utf8_make_valid(c->xmpp_error != NULL ? c->xmpp_error : "", -1);
    if (strlen(text) > 512)
        *g_utf8_find_prev_char(text, text + 512) = '\0';
    ipop_dataplane_want(c->dataplane, "set_xmpp",
                        json_pack("{ss ss ss}", "state", names[c->xmpp_state], "jid", c->jid, "error", text));
}

static void send_presence(IpopController *c) {
    if (c->xmpp_state != IPOP_XMPP_CONNECTED)
        return;
    g_autofree char *xml = ipop_presence_build(&c->self->node);
    ipop_xmpp_send(c->xmpp, IPOP_XMPP_URGENT, xml);
}

void ipop_controller_announce(IpopController *c) {
    want_local(c);
    send_presence(c);
}

/* --- Jabber --- */

#define XMPP_LINES_MAX 10 /* that it is not logged in: so many at once, then one in so long, while it comes and goes */
#define XMPP_LINES_INTERVAL (600 * IPOP_SECOND)

/* Each trouble once, until it is over. A login is told of after a trouble that was. */
static void tell_xmpp(IpopController *c, const char *error) {
    bool in = c->xmpp_state == IPOP_XMPP_CONNECTED;
    if (in && (c->xmpp_told != NULL || c->login == 0)) {
        ipop_log(IPOP_LOG_INFO, "jabber", "logged in jid=%s", c->jid);
        g_clear_pointer(&c->xmpp_told, g_free);
    } else if (error != NULL && g_strcmp0(error, c->xmpp_told) != 0 &&
               ipop_budget_take(&c->xmpp_lines, XMPP_LINES_MAX, XMPP_LINES_INTERVAL, ipop_clock_now())) {
        ipop_log(IPOP_LOG_WARNING, "jabber", "not logged in: %s%s", error,
                 ipop_registry_count(c->registry) > 0 ? "; links stay as they are" : "");
        g_free(c->xmpp_told);
        c->xmpp_told = g_strdup(error);
    }
    if (in || error != NULL) {
        g_free(c->xmpp_error);
        c->xmpp_error = in ? NULL : g_strdup(error);
    }
}

/* The login is over, with its certificates and its first peers. */
static gboolean settle(gpointer user) {
    ((IpopController *)user)->settle = 0;
    ipop_memory_settle();
    return G_SOURCE_REMOVE;
}

static void on_xmpp_state(void *user, IpopXmppState state, const char *jid, const char *error) {
    IpopController *c = user;
    bool login = state == IPOP_XMPP_CONNECTED && c->xmpp_state != IPOP_XMPP_CONNECTED;
    c->xmpp_state = state;
    g_free(c->jid);
    c->jid = g_strdup(state == IPOP_XMPP_CONNECTED && jid != NULL ? jid : "");
    if (login || state != IPOP_XMPP_CONNECTED)
        tell_xmpp(c, error);
    want_xmpp(c);
    if (!login)
        return;
    c->login++;
    c->login_at = ipop_clock_now();
    c->swept = false;
    c->housekeeping_at = MIN(c->housekeeping_at, c->login_at + (int64_t)c->conf->wait_time * IPOP_SECOND);
    ipop_controller_wake_at(c, c->housekeeping_at);
    g_clear_handle_id(&c->settle, g_source_remove);
    c->settle = g_timeout_add_seconds(SETTLE_SECONDS, settle, c);
    /* In this order, so that the first link already has the servers. */
    ipop_services_ask(c);
    send_presence(c);
}

/* Only tincan knows the uid that the resource is made of, so the first login waits for it. */
static void log_in(IpopController *c) {
    static const IpopXmppEvents events = {on_xmpp_state, ipop_discovery_presence, ipop_signalling_request};
    const IpopConf *conf = c->conf;
    IpopXmppConfig config = {
        .jid = conf->xmpp_username,
        .resource = c->self->resource,
        .password = conf->xmpp_password,
        .host = conf->xmpp_host,
        .port = conf->xmpp_port,
        .cafile = conf->xmpp_cafile,
    };
    g_autoptr(GError) error = NULL;
    c->xmpp = ipop_xmpp_new(&config, &events, c, &error);
    if (c->xmpp == NULL)
        c->failed(c->user, error->message);
}

/* --- tincan --- */

static void become(IpopController *c, const IpopDataplaneNode *node) {
    ipop_self_free(c->self);
    c->self = ipop_self_new(c->conf, c->state_dir, &node->uid, node->key, node->suites);
    for (unsigned i = 0; i < ipop_registry_count(c->registry); i++)
        c->self->node.settled |= ipop_registry_nth(c->registry, i)->link == IPOP_POLICY_LINK_ONLINE;
    ipop_discovery_settle_self(c);
    char fingerprint[IPOP_FPR_SIZE];
    ipop_fingerprint(node->key, fingerprint);
    ipop_log(IPOP_LOG_INFO, "self", "this node is name=%s address=%s/%u ip6=%s uid=%s key=%s", c->self->node.name,
             c->self->node.ip4, ipop_self_ip4_mask(c->self), c->self->node.ip6, node->uid.hex, fingerprint);
}

static void check_xmpp(void *user) {
    IpopController *c = user;
    if (c->xmpp != NULL)
        ipop_xmpp_network_changed(c->xmpp);
}

static void on_up(void *user, const IpopDataplaneNode *node) {
    IpopController *c = user;
    bool other = c->self == NULL || !ipop_uid_equal(&c->self->node.uid, &node->uid);
    c->tincan = true;
    g_clear_pointer(&c->netwatch, ipop_netwatch_free);
    ipop_log(IPOP_LOG_INFO, "tincan", "ipop-tincan answers on port %u%s", c->conf->svpn_port,
             node->fresh ? ": it was restarted, links are made anew" : "");
    if (other) {
        /* With another identity everything is another's: the resource, and what the peers know. */
        g_clear_pointer(&c->xmpp, ipop_xmpp_free);
        c->catching_up = false; /* what was asked of it is never answered */
        c->xmpp_state = IPOP_XMPP_DISCONNECTED;
        become(c, node);
    }
    want_settings(c);
    want_local(c);
    if (c->xmpp == NULL)
        log_in(c);
    ipop_links_up(c, node->fresh);
}

static void on_down(void *user) {
    IpopController *c = user;
    c->tincan = false;
    c->netwatch = ipop_netwatch_new(check_xmpp, c);
    ipop_log(IPOP_LOG_WARNING, "tincan", "ipop-tincan answers no more on port %u: waiting for it", c->conf->svpn_port);
    ipop_links_down(c);
}

static void on_network_changed(void *user) {
    IpopController *c = user;
    ipop_log(IPOP_LOG_INFO, "tincan", "this host's addresses changed: looking for better ways");
    check_xmpp(c);
    ipop_links_network_changed(c);
}

static void on_woken(void *user) {
    check_xmpp(user);
    ipop_links_woken(user);
}

/* What the server sent before it answered was said while this host slept. */
static void on_caught_up(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    IpopController *c = user;
    c->catching_up = false;
    ipop_links_caught_up(c);
}

static void on_slept(void *user, double seconds) {
    IpopController *c = user;
    ipop_log(IPOP_LOG_INFO, "jabber", "this host slept for %.0f s: checking the connection", seconds);
    c->catching_up = c->xmpp != NULL && ipop_xmpp_request(c->xmpp, IPOP_XMPP_REPLY, "get", NULL, "<ping xmlns='urn:xmpp:ping'/>",
                                                          on_caught_up, c);
    check_xmpp(c);
}

static void on_trouble(void *user, const char *sentence) {
    IpopController *c = user;
    if (ipop_log_limit(&c->trouble_limit, ipop_clock_now()))
        ipop_log(IPOP_LOG_WARNING, "tincan", "%s", sentence);
}

static void on_pins_changed(void *user) {
    IpopController *c = user;
    ipop_log(IPOP_LOG_INFO, "peer", "known_peers was changed: all peers are judged again");
    if (c->self != NULL)
        ipop_discovery_judge_all(c);
}

/* --- the object --- */

/* The first login may be long in coming; what can be known of its failure is said at the start. */
static bool cafile_readable(const IpopConf *conf, GError **error) {
    if (conf->xmpp_cafile == NULL || access(conf->xmpp_cafile, R_OK) == 0)
        return true;
    g_set_error(error, IPOP_ERROR, IPOP_ERROR_CONFIG, "xmpp_cafile %s can't be read: %s: check the path and who may read it",
                conf->xmpp_cafile, g_strerror(errno));
    return false;
}

IpopController *ipop_controller_new(const IpopControllerConfig *config, GError **error) {
    static const IpopDataplaneEvents events = {
        .up = on_up,
        .down = on_down,
        .local_candidates = ipop_signalling_local,
        .link = ipop_links_event,
        .network_changed = on_network_changed,
        .woken = on_woken,
        .slept = on_slept,
        .trouble = on_trouble,
    };
    const IpopConf *conf = config->conf;
    if (!cafile_readable(conf, error))
        return NULL;
    IpopPins *pins = ipop_pins_load(config->state_dir, conf, error);
    if (pins == NULL)
        return NULL;
    IpopController *c = g_new0(IpopController, 1);
    c->dataplane = ipop_dataplane_new(conf->svpn_port, conf->contr_port, config->runtime_dir, &events, c, error);
    if (c->dataplane == NULL) {
        ipop_pins_free(pins);
        g_free(c);
        return NULL;
    }
    c->conf = conf;
    c->state_dir = g_strdup(config->state_dir);
    c->failed = config->failed;
    c->user = config->user;
    c->pins = pins;
    c->registry = ipop_registry_new(IPOP_REGISTRY_MAX);
    c->oddities = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    c->jid = g_strdup("");
    timer_new(c);
    ipop_pins_watch(pins, on_pins_changed, c);
    return c;
}

void ipop_controller_free(IpopController *c) {
    if (c == NULL)
        return;
    g_clear_handle_id(&c->settle, g_source_remove);
    for (unsigned i = 0; i < ipop_registry_count(c->registry); i++)
        ipop_signalling_drop(ipop_registry_nth(c->registry, i));
    if (c->xmpp != NULL)
        ipop_xmpp_free(c->xmpp);
    ipop_dataplane_free(c->dataplane);
    ipop_netwatch_free(c->netwatch);
    g_source_destroy(c->timer);
    g_source_unref(c->timer);
    ipop_registry_free(c->registry);
    ipop_self_free(c->self);
    ipop_secret_free(c->services);
    ipop_pins_free(c->pins);
    g_hash_table_destroy(c->oddities);
    g_free(c->xmpp_error);
    g_free(c->xmpp_told);
    g_free(c->jid);
    g_free(c->state_dir);
    g_free(c);
}
