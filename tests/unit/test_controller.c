/* Whole controllers in one process: each with a twin of tincan below it, and a Jabber server made of a queue above. The
 * server stands in for controller/xmpp: the same functions, with the ways of Prosody (order kept, presences of the account
 * to all its resources, service-unavailable for who is not there).
 */
#include "controller/controller.h"

#include "controller/jingle/presence.h"
#include "controller/xmpp/xmpp.h"
#include "tests/unit/tincan_twin.h"
#include "tincan/ctl/candidate.h"
#include "tincan/base/error.h"
#include "tincan/base/log.h"

#define ACCOUNT "a@b.example"

/* --- the server --- */

struct IpopXmpp {
    char jid[64];
    IpopXmppEvents events;
    void *user;
    bool connected;
    char *presence; /* the last one, "" when unavailable */
    char *last_answer; /* to a request made by the test */
};

typedef struct {
    IpopXmpp *to;
    char *xml;
    bool presence;
} Delivery;

typedef struct {
    IpopXmpp *from;
    char to[64], id[16];
    IpopIqCallback callback;
    void *user;
} Pending;

static struct {
    GPtrArray *clients; /* IpopXmpp */
    GQueue queue;       /* Delivery: one order for all */
    GPtrArray *pending; /* Pending */
    unsigned next_id, initiates;
    guint idle;
} server;

static gboolean deliver(gpointer user);

static void post(IpopXmpp *to, bool presence, char *xml) {
    Delivery *delivery = g_new(Delivery, 1);
    *delivery = (Delivery){to, xml, presence};
    g_queue_push_tail(&server.queue, delivery);
    if (server.idle == 0)
        server.idle = g_idle_add(deliver, NULL);
}

/* <presence ...> -> <presence from='...' ...> */
static char *with_from(const char *xml, const char *from) {
    size_t name = strcspn(xml, " >/");
    return g_strdup_printf("%.*s from='%s'%s", (int)name, xml, from, xml + name);
}

static char *attribute(const char *xml, const char *name) {
    g_autofree char *pattern = g_strdup_printf("^<[^>]* %s=[\"']([^\"']*)", name);
    g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    return g_regex_match(regex, xml, 0, &match) ? g_match_info_fetch(match, 1) : NULL;
}

static void free_delivery(gpointer data) {
    Delivery *delivery = data;
    g_free(delivery->xml);
    g_free(delivery);
}

static void finish(guint i, IpopIqOutcome outcome, const char *xml) {
    g_autofree Pending *pending = g_ptr_array_steal_index(server.pending, i);
    pending->callback(pending->user, outcome, xml, xml != NULL ? strlen(xml) : 0);
}

static gboolean deliver(gpointer user) {
    Delivery *delivery = g_queue_pop_head(&server.queue);
    if (delivery == NULL) {
        server.idle = 0;
        return G_SOURCE_REMOVE;
    }
    if (g_str_has_prefix(delivery->xml, "<login")) {
        delivery->to->connected = true;
        delivery->to->events.state(delivery->to->user, IPOP_XMPP_CONNECTED, delivery->to->jid, NULL);
    } else if (delivery->presence && delivery->to->connected) {
        delivery->to->events.presence(delivery->to->user, delivery->xml, strlen(delivery->xml));
    } else if (delivery->to->connected) {
        g_autofree char *type = attribute(delivery->xml, "type"), *id = attribute(delivery->xml, "id");
        if (strcmp(type, "set") == 0 || strcmp(type, "get") == 0) {
            delivery->to->events.iq(delivery->to->user, delivery->xml, strlen(delivery->xml));
        } else {
            for (guint i = 0; i < server.pending->len; i++) {
                const Pending *pending = server.pending->pdata[i];
                if (pending->from == delivery->to && strcmp(pending->id, id) == 0) {
                    finish(i, strcmp(type, "result") == 0 ? IPOP_IQ_RESULT : IPOP_IQ_ERROR, delivery->xml);
                    break;
                }
            }
        }
    }
    free_delivery(delivery);
    return G_SOURCE_CONTINUE;
}

static IpopXmpp *client_of(const char *jid) {
    for (guint i = 0; i < server.clients->len; i++) {
        IpopXmpp *client = server.clients->pdata[i];
        if (client->connected && strcmp(client->jid, jid) == 0)
            return client;
    }
    return NULL;
}

static void broadcast(const char *from, const char *xml) {
    for (guint i = 0; i < server.clients->len; i++) {
        IpopXmpp *client = server.clients->pdata[i];
        if (client->connected)
            post(client, true, with_from(xml, from));
    }
}

IpopXmpp *ipop_xmpp_new(const IpopXmppConfig *config, const IpopXmppEvents *events, void *user, GError **error) {
    g_assert_cmpstr(config->jid, ==, ACCOUNT);
    IpopXmpp *client = g_new0(IpopXmpp, 1);
    g_snprintf(client->jid, sizeof client->jid, "%s/%s", config->jid, config->resource);
    client->events = *events;
    client->user = user;
    client->presence = g_strdup("");
    g_ptr_array_add(server.clients, client);
    post(client, false, g_strdup("<login/>"));
    return client;
}

static void log_out(IpopXmpp *client, bool tell) {
    if (!client->connected)
        return;
    client->connected = false;
    for (guint i = server.pending->len; i-- > 0;)
        if (i < server.pending->len && ((Pending *)server.pending->pdata[i])->from == client) {
            if (tell)
                finish(i, IPOP_IQ_LOST, NULL);
            else
                g_free(g_ptr_array_steal_index(server.pending, i));
        }
    if (client->presence[0] != '\0')
        broadcast(client->jid, "<presence type='unavailable'/>");
    g_free(client->presence);
    client->presence = g_strdup("");
    if (tell)
        client->events.state(client->user, IPOP_XMPP_DISCONNECTED, NULL, "the server went away");
}

static void log_in_again(IpopXmpp *client) {
    post(client, false, g_strdup("<login/>"));
}

void ipop_xmpp_free(IpopXmpp *client) {
    log_out(client, false);
    for (GList *link = server.queue.head; link != NULL;) {
        GList *next = link->next;
        if (((Delivery *)link->data)->to == client) {
            free_delivery(link->data);
            g_queue_delete_link(&server.queue, link);
        }
        link = next;
    }
    g_ptr_array_remove(server.clients, client);
    g_free(client->presence);
    g_free(client->last_answer);
    g_free(client);
}

static void send_presence(IpopXmpp *client, const char *xml) {
    bool first = client->presence[0] == '\0';
    g_free(client->presence);
    client->presence = g_strdup(xml);
    for (guint i = 0; first && i < server.clients->len; i++) {
        IpopXmpp *other = server.clients->pdata[i];
        if (other != client && other->connected && other->presence[0] != '\0')
            post(client, true, with_from(other->presence, other->jid));
    }
    broadcast(client->jid, xml);
}

bool ipop_xmpp_send(IpopXmpp *client, IpopXmppPriority priority, const char *xml) {
    g_autofree char *to = attribute(xml, "to");
    if (!client->connected)
        return false;
    if (g_str_has_prefix(xml, "<presence")) {
        send_presence(client, xml);
    } else if (to != NULL && strcmp(to, "test@b.example/test") == 0) {
        g_free(client->last_answer);
        client->last_answer = g_strdup(xml);
    } else {
        IpopXmpp *other = to != NULL ? client_of(to) : NULL;
        if (other != NULL)
            post(other, false, with_from(xml, client->jid));
    }
    return true;
}

bool ipop_xmpp_request(IpopXmpp *client, IpopXmppPriority priority, const char *type, const char *to, const char *payload,
                       IpopIqCallback callback, void *user) {
    if (!client->connected)
        return false;
    if (to == NULL)
        to = "b.example"; /* the server itself, which offers nothing */
    Pending *pending = g_new0(Pending, 1);
    *pending = (Pending){.from = client, .callback = callback, .user = user};
    g_strlcpy(pending->to, to, sizeof pending->to);
    g_snprintf(pending->id, sizeof pending->id, "i%u", ++server.next_id);
    g_ptr_array_add(server.pending, pending);
    server.initiates += strstr(payload, "session-initiate") != NULL;
    IpopXmpp *other = client_of(to);
    if (other != NULL)
        post(other, false, g_strdup_printf("<iq xmlns='jabber:client' type='%s' from='%s' to='%s' id='%s'>%s</iq>", type,
                                           client->jid, to, pending->id, payload));
    else
        post(client, false,
             g_strdup_printf("<iq xmlns='jabber:client' type='error' from='%s' to='%s' id='%s'><error type='cancel'>"
                             "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
                             to, client->jid, pending->id));
    return true;
}

void ipop_xmpp_cancel(IpopXmpp *client, const void *user) {
    for (guint i = server.pending->len; i-- > 0;)
        if (((Pending *)server.pending->pdata[i])->user == user)
            g_free(g_ptr_array_steal_index(server.pending, i));
}

void ipop_xmpp_network_changed(IpopXmpp *client) {
}

/* --- nodes --- */

typedef struct {
    TincanTwin *twin;
    IpopConf *conf;
    IpopController *controller;
    char *state_dir;
    bool links_fail; /* its tincan never gets a link online */
    bool relayed;    /* its links come online by a relay */
} Node;

static void notify_link(TincanTwin *twin, const char *uid, json_int_t generation, const char *state, const char *reason) {
    const Node *node = twin->user;
    const char *path = strcmp(state, "online") != 0 ? "" : node->relayed ? "relayed" : "direct";
    twin_set_peer(twin, uid, json_pack("{ss sI ss}", "state", state, "generation", generation, "path", path));
    twin_notify(twin, json_pack("{ss ss sI ss ss ss}", "type", "link_state", "uid", uid, "generation", generation, "state", state,
                                "path", path, "reason", reason));
}

/* Links come online as soon as both sides are known. */
static const char *on_request(TincanTwin *twin, const char *method, json_t *message) {
    Node *node = twin->user;
    const char *uid = json_string_value(json_object_get(message, "uid"));
    json_int_t generation = json_integer_value(json_object_get(message, "generation"));
    if (strcmp(method, "set_remote_ip") == 0 && !g_hash_table_contains(twin->peers, uid))
        twin_set_peer(twin, uid, json_pack("{ss}", "state", "idle"));
    if (strcmp(method, "forget_peer") == 0)
        g_hash_table_remove(twin->peers, uid);
    if (strcmp(method, "create_link") == 0) {
        json_t *known = g_hash_table_lookup(twin->peers, uid);
        if (known == NULL)
            return "no such peer";
        g_assert_cmpint(generation, >, json_integer_value(json_object_get(known, "generation")));
        if (node->links_fail) {
            notify_link(twin, uid, generation, "failed", "no address to offer");
            return NULL;
        }
        json_object_set_new(known, "generation", json_integer(generation));
        IpopCandidate candidate;
        g_assert_true(ipop_candidate_make(&candidate, "host", "1", 1000, "192.0.2.1", 4000, "", 0));
        twin_notify(twin, json_pack("{ss ss sI ss ss s[o] sb}", "type", "local_candidates", "uid", uid, "generation", generation,
                                    "ufrag", "ufrag", "pwd", "passwordpasswordpassword", "candidates",
                                    ipop_candidate_to_json(&candidate), "end", 1));
    }
    if (strcmp(method, "set_remote") == 0)
        notify_link(twin, uid, generation, "online", "");
    return NULL;
}

static void node_start(Node *node) {
    g_autoptr(GError) error = NULL;
    node->controller = ipop_controller_new(
        &(IpopControllerConfig){.conf = node->conf, .state_dir = node->state_dir, .runtime_dir = node->twin->runtime_dir}, &error);
    g_assert_no_error(error);
}

static void node_stop(Node *node) {
    g_clear_pointer(&node->controller, ipop_controller_free);
}

static Node *node_new(uint8_t seed, const char *settings) {
    Node *node = g_new0(Node, 1);
    g_autoptr(GError) error = NULL;
    node->twin = twin_new(seed);
    node->twin->user = node;
    node->twin->on_request = on_request;
    twin_start(node->twin); /* first, so that its port is no longer among the free ones */
    node->state_dir = g_dir_make_tmp("ipop-test-node-XXXXXX", NULL);
    g_autofree char *text = g_strdup_printf("{\"xmpp_username\":\"" ACCOUNT "\",\"xmpp_password\":\"x\",\"svpn_port\":%u,"
                                            "\"contr_port\":%u,\"wait_time\":1%s}",
                                            node->twin->port, twin_free_port(), settings);
    node->conf = ipop_conf_parse(text, strlen(text), "test", NULL, &error);
    g_assert_no_error(error);
    node_start(node);
    return node;
}

static void node_free(Node *node) {
    static const char *const files[] = {"known_peers", "known_peers.lock", "address"};
    node_stop(node);
    twin_free(node->twin);
    ipop_conf_free(node->conf);
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *file = g_build_filename(node->state_dir, files[i], NULL);
        g_unlink(file);
    }
    g_rmdir(node->state_dir);
    g_free(node->state_dir);
    g_free(node);
}

static IpopXmpp *login_of(const Node *node) {
    for (guint i = 0; i < server.clients->len; i++) {
        IpopXmpp *client = server.clients->pdata[i];
        if (client->user == node->controller)
            return client;
    }
    return NULL;
}

static const char *text_of(const json_t *message, const char *key) {
    return json_string_value(json_object_get(message, key));
}

static const char *link_of(const Node *node, const Node *peer) {
    json_t *state = g_hash_table_lookup(node->twin->peers, peer->twin->uid.hex);
    return state != NULL ? text_of(state, "state") : "unknown";
}

static bool online(const Node *a, const Node *b) {
    return strcmp(link_of(a, b), "online") == 0 && strcmp(link_of(b, a), "online") == 0;
}

static json_t *told_of(const Node *node, const Node *peer) {
    return twin_last(node->twin, "set_remote_ip", peer->twin->uid.hex);
}

static bool told_presence(const Node *node, const Node *peer, const char *presence) {
    json_t *told = told_of(node, peer);
    return told != NULL && strcmp(text_of(told, "presence"), presence) == 0;
}

static Node *lower_of(Node *a, Node *b) {
    return ipop_uid_compare(&a->twin->uid, &b->twin->uid) < 0 ? a : b;
}

/* Lets all that is under way come to rest: nothing is queued, and both tincans answered a request sent after it. */
static void settle(Node *a, Node *b) {
    unsigned echoes_a = a->twin->echoes, echoes_b = b->twin->echoes;
    WAIT_FOR(server.queue.length == 0 && a->twin->echoes > echoes_a && b->twin->echoes > echoes_b);
}

static void server_start(void) {
    memset(&server, 0, sizeof server);
    server.clients = g_ptr_array_new();
    server.pending = g_ptr_array_new_with_free_func(g_free);
}

static void server_stop(void) {
    g_assert_cmpuint(server.clients->len, ==, 0);
    g_ptr_array_free(server.clients, TRUE);
    g_ptr_array_free(server.pending, TRUE);
    g_queue_clear_full(&server.queue, free_delivery);
    if (server.idle != 0)
        g_source_remove(server.idle);
}

/* --- tests --- */

static void test_two_meet(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\",\"psk\":\"a passphrase\"");
    Node *b = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.2\",\"psk\":\"a passphrase\"");
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_cmpuint(server.initiates, ==, 1);
    Node *low = lower_of(a, b), *high = low == a ? b : a;
    g_assert_true(json_is_true(json_object_get(twin_last(low->twin, "create_link", NULL), "controlling")));
    g_assert_true(json_is_false(json_object_get(twin_last(high->twin, "create_link", NULL), "controlling")));
    g_assert_cmpuint(twin_count(low->twin, "create_link") + twin_count(high->twin, "create_link"), ==, 2);
    g_assert_cmpstr(text_of(told_of(a, b), "name"), ==, "beta");
    g_assert_cmpstr(text_of(told_of(a, b), "ip4"), ==, "172.31.0.2");
    g_assert_cmpuint(strlen(text_of(told_of(a, b), "ip6")), >, 10);
    json_t *local = twin_last(a->twin, "set_local", NULL);
    g_assert_cmpstr(text_of(local, "ip4"), ==, "172.31.0.1");
    g_assert_cmpuint(strlen(text_of(local, "psk")), ==, 64);
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_xmpp", NULL), "state"), ==, "connected");
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_restarted_tincans(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    Node *pair[] = {a, b};
    for (unsigned i = 0; i < 2; i++) {
        Node *node = pair[i], *other = pair[1 - i];
        unsigned links = twin_count(other->twin, "create_link");
        twin_stop(node->twin);
        twin_start(node->twin);
        /* The other end believes that all is well, and is asked for another link all the same. */
        WAIT_FOR(online(a, b) && twin_count(other->twin, "create_link") > links);
    }
    settle(a, b);
    /* Both at once: the offers cross, and one of them stays. */
    twin_stop(a->twin);
    twin_stop(b->twin);
    twin_start(a->twin);
    twin_start(b->twin);
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_true(online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_restarted_controller(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned links = twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link");
    node_stop(a);
    WAIT_FOR(told_presence(b, a, "unavailable"));
    g_assert_true(online(a, b));
    node_start(a);
    WAIT_FOR(told_presence(b, a, "available") && told_presence(a, b, "available"));
    settle(a, b);
    g_assert_cmpuint(twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link"), ==, links);
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_login_lost(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned links = twin_count(a->twin, "create_link");
    log_out(login_of(a), true);
    WAIT_FOR(told_presence(b, a, "unavailable"));
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_xmpp", NULL), "state"), ==, "disconnected");
    settle(a, b);
    g_assert_true(online(a, b));
    log_in_again(login_of(a));
    WAIT_FOR(told_presence(b, a, "available"));
    settle(a, b);
    g_assert_cmpuint(twin_count(a->twin, "create_link"), ==, links);
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_gone_is_forgotten(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    node_stop(b);
    WAIT_FOR(told_presence(a, b, "unavailable"));
    settle(a, a);
    g_assert_null(twin_last(a->twin, "forget_peer", NULL)); /* the link carries */
    notify_link(a->twin, b->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(twin_last(a->twin, "forget_peer", b->twin->uid.hex) != NULL);
    WAIT_FOR(g_hash_table_size(a->twin->peers) == 0);
    node_start(b);
    WAIT_FOR(online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_lost_link_comes_back(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned initiates = server.initiates;
    /* The higher end alone notices; the lower one has nothing to do of itself. */
    Node *high = lower_of(a, b) == a ? b : a;
    json_t *state = g_hash_table_lookup(high->twin->peers, lower_of(a, b)->twin->uid.hex);
    notify_link(high->twin, lower_of(a, b)->twin->uid.hex, json_integer_value(json_object_get(state, "generation")), "failed",
                "the peer stopped answering");
    WAIT_FOR(server.initiates > initiates && online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_network_changed(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    unsigned links = twin_count(a->twin, "create_link"), others = twin_count(b->twin, "create_link");
    twin_notify(a->twin, json_pack("{ss}", "type", "network_changed"));
    WAIT_FOR(twin_count(a->twin, "create_link") > links && twin_count(b->twin, "create_link") > others);
    settle(a, b);
    g_assert_true(online(a, b));
    g_assert_cmpuint(twin_count(a->twin, "create_link"), ==, links + 1);
    node_free(a);
    node_free(b);
    server_stop();
}

/* A relayed link gets another generation, from the lower end alone, and is left alone once it is direct. */
static void test_relayed_is_tried_again(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    a->relayed = b->relayed = true;
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_cmpuint(server.initiates, ==, 1);
    Node *low = lower_of(a, b), *high = low == a ? b : a;
    WAIT_FOR(twin_count(low->twin, "create_link") == 2 && twin_count(high->twin, "create_link") == 2);
    g_assert_true(json_is_true(json_object_get(twin_last(low->twin, "create_link", NULL), "controlling")));
    settle(a, b);
    g_assert_true(online(a, b));
    /* The network changes before the next attempt is due, and the path becomes direct. */
    a->relayed = b->relayed = false;
    twin_notify(high->twin, json_pack("{ss}", "type", "network_changed"));
    WAIT_FOR(twin_count(low->twin, "create_link") == 3 && twin_count(high->twin, "create_link") == 3);
    settle(a, b);
    g_assert_cmpuint(server.initiates, ==, 3);
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_failing_links_back_off(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    a->links_fail = true;
    b->links_fail = true;
    unsigned links = twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link");
    notify_link(a->twin, b->twin->uid.hex, 100, "failed", "the peer stopped answering");
    notify_link(b->twin, a->twin->uid.hex, 100, "failed", "the peer stopped answering");
    WAIT_FOR(twin_count(a->twin, "create_link") + twin_count(b->twin, "create_link") >= links + 2);
    g_assert_cmpstr(text_of(twin_last(lower_of(a, b)->twin, "trim_link", NULL), "reason"), ==, "no address to offer");
    a->links_fail = b->links_fail = false;
    WAIT_FOR(online(a, b));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_same_address_is_refused(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.100\"");
    Node *b = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.100\"");
    WAIT_FOR(told_of(a, b) != NULL && told_of(b, a) != NULL);
    settle(a, b);
    settle(a, b);
    g_assert_cmpstr(text_of(told_of(a, b), "reason"), ==,
                    "address 172.31.0.100 is this node's own; give one of the two another ip4");
    g_assert_nonnull(text_of(told_of(b, a), "reason"));
    g_assert_null(twin_last(a->twin, "create_link", NULL));
    g_assert_null(twin_last(b->twin, "create_link", NULL));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_chosen_address_gives_way(void) {
    server_start();
    Node *a = node_new(1, "");
    WAIT_FOR(twin_last(a->twin, "set_local", NULL) != NULL);
    g_autofree char *address = g_strdup(text_of(twin_last(a->twin, "set_local", NULL), "ip4"));
    g_autofree char *settings = g_strdup_printf(",\"name\":\"beta\",\"ip4\":\"%s\"", address);
    Node *b = node_new(2, settings);
    WAIT_FOR(online(a, b));
    settle(a, b);
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_local", NULL), "ip4"), !=, address);
    g_assert_cmpstr(text_of(told_of(a, b), "ip4"), ==, address);
    g_assert_null(text_of(told_of(a, b), "reason"));
    g_assert_cmpstr(text_of(told_of(b, a), "ip4"), ==, text_of(twin_last(a->twin, "set_local", NULL), "ip4"));
    g_assert_null(text_of(told_of(b, a), "reason"));
    node_free(a);
    node_free(b);
    server_stop();
}

static void test_same_default_name(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, ""), *d = node_new(3, "");
    WAIT_FOR(online(a, b) && online(a, d) && online(b, d));
    settle(a, b);
    const char *names[] = {text_of(twin_last(a->twin, "set_local", NULL), "name"),
                           text_of(twin_last(b->twin, "set_local", NULL), "name"),
                           text_of(twin_last(d->twin, "set_local", NULL), "name")};
    g_assert_cmpstr(names[0], !=, names[1]);
    g_assert_cmpstr(names[0], !=, names[2]);
    g_assert_cmpstr(names[1], !=, names[2]);
    node_free(a);
    node_free(b);
    node_free(d);
    server_stop();
}

/* A node that one other refuses learns why, whichever of the two has the lower uid; pins that go make it welcome. */
static void test_refusal_is_told(gconstpointer data) {
    bool higher_refuses = GPOINTER_TO_INT(data);
    server_start();
    Node *first = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\"");
    Node *second = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.2\"");
    WAIT_FOR(online(first, second));
    Node *low = lower_of(first, second), *high = low == first ? second : first;
    Node *refuser = higher_refuses ? high : low, *refused = higher_refuses ? low : high;
    /* Another machine takes the name and address of the one that was pinned. */
    g_autofree char *settings = g_strdup_printf(",\"name\":\"%s\",\"ip4\":\"%s\"",
                                                text_of(twin_last(refused->twin, "set_local", NULL), "name"),
                                                text_of(twin_last(refused->twin, "set_local", NULL), "ip4"));
    node_free(refused);
    Node *impostor = NULL;
    for (uint8_t seed = 10; impostor == NULL; seed++) {
        uint8_t key[IPOP_KEY_BYTES];
        memset(key, seed, sizeof key);
        IpopUid uid = ipop_uid_from_key(key);
        if ((ipop_uid_compare(&uid, &refuser->twin->uid) < 0) == higher_refuses)
            impostor = node_new(seed, settings);
    }
    WAIT_FOR(told_of(refuser, impostor) != NULL && twin_last(impostor->twin, "trim_link", NULL) != NULL);
    g_assert_nonnull(strstr(text_of(told_of(refuser, impostor), "reason"), "ipop key --forget"));
    g_assert_nonnull(strstr(text_of(twin_last(impostor->twin, "trim_link", NULL), "reason"), "refuses this node"));
    g_assert_null(twin_last(refuser->twin, "create_link", impostor->twin->uid.hex));

    g_autofree char *file = g_build_filename(refuser->state_dir, "known_peers", NULL);
    g_assert_true(g_file_set_contents(file, "{\"peers\":[]}", -1, NULL));
    WAIT_FOR(online(refuser, impostor));
    g_assert_null(text_of(told_of(refuser, impostor), "reason"));
    node_free(refuser);
    node_free(impostor);
    server_stop();
}

/* --- strangers --- */

static void say(Node *node, const char *type, const char *payload) {
    IpopXmpp *client = login_of(node);
    post(client, false, g_strdup_printf("<iq xmlns='jabber:client' type='%s' from='test@b.example/test' to='%s' id='t1'>%s</iq>",
                                        type, client->jid, payload));
    g_clear_pointer(&client->last_answer, g_free);
    WAIT_FOR(client->last_answer != NULL);
    g_autofree char *id = attribute(client->last_answer, "id");
    g_assert_cmpstr(id, ==, "t1");
}

static void expect_answer(Node *node, const char *part) {
    if (strstr(login_of(node)->last_answer, part) == NULL)
        g_error("no %s in %s", part, login_of(node)->last_answer);
}

static void test_every_request_is_answered(void) {
    server_start();
    Node *a = node_new(1, "");
    WAIT_FOR(login_of(a) != NULL && login_of(a)->connected);
    say(a, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    expect_answer(a, IPOP_NS_TUNNEL);
    say(a, "get", "<ping xmlns='urn:xmpp:ping'/>");
    expect_answer(a, "result");
    say(a, "get", "<query xmlns='jabber:iq:version'/>");
    expect_answer(a, "service-unavailable");
    say(a, "set", "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'/>");
    expect_answer(a, "bad-request");
    say(a, "set", "<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='x'><reason><success/></reason></jingle>");
    expect_answer(a, "item-not-found");
    g_assert_null(twin_last(a->twin, "create_link", NULL));
    node_free(a);
    server_stop();
}

static void hear(Node *node, const char *from, const IpopNode *said) {
    g_autofree char *xml = ipop_presence_build(said);
    post(login_of(node), true, with_from(xml, from));
}

static IpopNode make_node(unsigned i) {
    IpopNode node = {.suites = IPOP_SUITE_CHACHAPOLY};
    memcpy(node.key, &i, sizeof i);
    node.uid = ipop_uid_from_key(node.key);
    g_snprintf(node.name, sizeof node.name, "node%u", i);
    g_snprintf(node.ip4, sizeof node.ip4, "172.31.%u.%u", 1 + i / 200, 1 + i % 200);
    return node;
}

static void test_who_is_a_peer(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\"");
    WAIT_FOR(login_of(a) != NULL && login_of(a)->connected);
    IpopNode good = make_node(1), other = make_node(2), own = make_node(3);
    memset(own.key, 1, sizeof own.key);
    own.uid = a->twin->uid;
    hear(a, "stranger@b.example/x", &good); /* another account */
    hear(a, ACCOUNT "/twin", &own);         /* our own key */
    hear(a, ACCOUNT "/good", &good);
    hear(a, ACCOUNT "/thief", &good); /* the same node from a second login */
    hear(a, ACCOUNT "/other", &other);
    post(login_of(a), true, g_strdup("<presence from='" ACCOUNT "/bad'><tunnel xmlns='" IPOP_NS_TUNNEL "' v='1'/></presence>"));
    post(login_of(a), true, g_strdup("<presence from='" ACCOUNT "/phone'/>"));
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", other.uid.hex) != NULL);
    json_t *told = twin_last(a->twin, "set_remote_ip", good.uid.hex);
    g_assert_cmpstr(text_of(told, "jid"), ==, ACCOUNT "/good");
    g_assert_null(twin_last(a->twin, "set_remote_ip", own.uid.hex));
    g_assert_cmpuint(g_hash_table_size(a->twin->peers), ==, 2);

    /* An address outside the overlay would take a route from the host. */
    IpopNode greedy = make_node(4);
    g_strlcpy(greedy.ip4, "8.8.8.8", sizeof greedy.ip4);
    hear(a, ACCOUNT "/greedy", &greedy);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", greedy.uid.hex) != NULL);
    g_assert_nonnull(strstr(text_of(twin_last(a->twin, "set_remote_ip", greedy.uid.hex), "reason"), "outside this overlay"));
    /* An IPv6 address that is another's. */
    IpopNode liar = make_node(5);
    g_strlcpy(liar.ip6, "fd50:dbc:41f2:4a3c::1", sizeof liar.ip6);
    hear(a, ACCOUNT "/liar", &liar);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", liar.uid.hex) != NULL);
    g_assert_cmpstr(text_of(twin_last(a->twin, "set_remote_ip", liar.uid.hex), "ip6"), ==, "");
    node_free(a);
    server_stop();
}

/* --- who may be remembered --- */

static bool remembers(const Node *node, const char *uid) {
    g_autofree char *file = g_build_filename(node->state_dir, "known_peers", NULL), *text = NULL;
    return g_file_get_contents(file, &text, NULL, NULL) && strstr(text, uid) != NULL;
}

/* A presence that anybody may have forged takes neither name nor address; a link does. */
static void test_pinned_when_proved(void) {
    server_start();
    Node *a = node_new(1, ",\"name\":\"alpha\",\"ip4\":\"172.31.0.1\"");
    WAIT_FOR(login_of(a) != NULL && login_of(a)->connected);
    IpopNode forged = make_node(7);
    g_strlcpy(forged.name, "BETA", sizeof forged.name);
    g_strlcpy(forged.ip4, "172.31.0.2", sizeof forged.ip4);
    hear(a, ACCOUNT "/forged", &forged);
    WAIT_FOR(twin_last(a->twin, "set_remote_ip", forged.uid.hex) != NULL);
    settle(a, a);
    g_assert_null(text_of(twin_last(a->twin, "set_remote_ip", forged.uid.hex), "reason"));
    g_assert_false(remembers(a, forged.uid.hex));

    Node *b = node_new(2, ",\"name\":\"beta\",\"ip4\":\"172.31.0.2\"");
    WAIT_FOR(online(a, b));
    WAIT_FOR(text_of(twin_last(a->twin, "set_remote_ip", forged.uid.hex), "reason") != NULL);
    g_assert_nonnull(strstr(text_of(twin_last(a->twin, "set_remote_ip", forged.uid.hex), "reason"), "ipop key --forget beta"));
    g_assert_null(text_of(told_of(a, b), "reason"));
    g_assert_true(remembers(a, b->twin->uid.hex));
    g_assert_false(remembers(a, forged.uid.hex));
    node_free(a);
    node_free(b);
    server_stop();
}

/* A link older than this controller proves as much as a new one. */
static void test_pinned_when_adopted(void) {
    server_start();
    Node *a = node_new(1, ""), *b = node_new(2, "");
    WAIT_FOR(online(a, b));
    settle(a, b);
    node_stop(a);
    g_autofree char *file = g_build_filename(a->state_dir, "known_peers", NULL);
    g_assert_cmpint(g_unlink(file), ==, 0);
    node_start(a);
    WAIT_FOR(remembers(a, b->twin->uid.hex));
    node_free(a);
    node_free(b);
    server_stop();
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    ipop_secret_init();
    ipop_log_set_level(g_test_verbose() ? IPOP_LOG_DEBUG : -1);
    g_test_add_func("/controller/two-meet", test_two_meet);
    g_test_add_func("/controller/restarted-tincans", test_restarted_tincans);
    g_test_add_func("/controller/restarted-controller", test_restarted_controller);
    g_test_add_func("/controller/login-lost", test_login_lost);
    g_test_add_func("/controller/gone-is-forgotten", test_gone_is_forgotten);
    g_test_add_func("/controller/lost-link-comes-back", test_lost_link_comes_back);
    g_test_add_func("/controller/network-changed", test_network_changed);
    g_test_add_func("/controller/relayed-is-tried-again", test_relayed_is_tried_again);
    g_test_add_func("/controller/failing-links-back-off", test_failing_links_back_off);
    g_test_add_func("/controller/same-address-is-refused", test_same_address_is_refused);
    g_test_add_func("/controller/chosen-address-gives-way", test_chosen_address_gives_way);
    g_test_add_func("/controller/same-default-name", test_same_default_name);
    g_test_add_data_func("/controller/refusal-is-told/by-the-lower", GINT_TO_POINTER(false), test_refusal_is_told);
    g_test_add_data_func("/controller/refusal-is-told/by-the-higher", GINT_TO_POINTER(true), test_refusal_is_told);
    g_test_add_func("/controller/every-request-is-answered", test_every_request_is_answered);
    g_test_add_func("/controller/who-is-a-peer", test_who_is_a_peer);
    g_test_add_func("/controller/pinned-when-proved", test_pinned_when_proved);
    g_test_add_func("/controller/pinned-when-adopted", test_pinned_when_adopted);
    return g_test_run();
}
