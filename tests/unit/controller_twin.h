/* controller_twin.h - whole controllers in one process: each with a twin of tincan below it, and a Jabber server made of a
 * queue above. The server stands in for controller/xmpp: the same functions, with the ways of Prosody (order kept, presences
 * of the account to all its resources, service-unavailable for who is not there).
 */
#pragma once

#include "controller/controller.h"

#include "controller/jingle/presence.h"
#include "controller/xmpp/xmpp.h"
#include "tests/unit/tincan_twin.h"
#include "tincan/ctl/candidate.h"
#include "tincan/base/error.h"
#include "tincan/base/log.h"

#include <inttypes.h>

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

static inline gboolean deliver(gpointer user);

static inline void post(IpopXmpp *to, bool presence, char *xml) {
    Delivery *delivery = g_new(Delivery, 1);
    *delivery = (Delivery){to, xml, presence};
    g_queue_push_tail(&server.queue, delivery);
    if (server.idle == 0)
        server.idle = g_idle_add(deliver, NULL);
}

/* <presence ...> -> <presence from='...' ...> */
static inline char *with_from(const char *xml, const char *from) {
    size_t name = strcspn(xml, " >/");
    return g_strdup_printf("%.*s from='%s'%s", (int)name, xml, from, xml + name);
}

static inline char *attribute(const char *xml, const char *name) {
    g_autofree char *pattern = g_strdup_printf("^<[^>]* %s=[\"']([^\"']*)", name);
    g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    return g_regex_match(regex, xml, 0, &match) ? g_match_info_fetch(match, 1) : NULL;
}

static inline void free_delivery(gpointer data) {
    Delivery *delivery = data;
    g_free(delivery->xml);
    g_free(delivery);
}

static inline void finish(guint i, IpopIqOutcome outcome, const char *xml) {
    g_autofree Pending *pending = g_ptr_array_steal_index(server.pending, i);
    pending->callback(pending->user, outcome, xml, xml != NULL ? strlen(xml) : 0);
}

static inline gboolean deliver(gpointer user) {
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

static inline IpopXmpp *client_of(const char *jid) {
    for (guint i = 0; i < server.clients->len; i++) {
        IpopXmpp *client = server.clients->pdata[i];
        if (client->connected && strcmp(client->jid, jid) == 0)
            return client;
    }
    return NULL;
}

static inline void broadcast(const char *from, const char *xml) {
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

static inline void log_out(IpopXmpp *client, bool tell) {
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

static inline void log_in_again(IpopXmpp *client) {
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

static inline void send_presence(IpopXmpp *client, const char *xml) {
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

uint64_t ipop_xmpp_dropped(const IpopXmpp *client) {
    return 0;
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

static GPtrArray *nodes; /* Node */

static inline json_t *claims_of(const char *uid) {
    for (guint i = 0; nodes != NULL && i < nodes->len; i++) {
        const Node *node = nodes->pdata[i];
        json_t *local = twin_last(node->twin, "set_local", NULL);
        if (strcmp(node->twin->uid.hex, uid) == 0 && local != NULL)
            return json_sprintf("%016" PRIx64, ipop_claims(json_string_value(json_object_get(local, "name")),
                                                           json_string_value(json_object_get(local, "ip4"))));
    }
    return json_string("");
}

static inline void notify_link(TincanTwin *twin, const char *uid, json_int_t generation, const char *state, const char *reason) {
    const Node *node = twin->user;
    const char *path = strcmp(state, "online") != 0 ? "" : node->relayed ? "relayed" : "direct";
    twin_set_peer(twin, uid, json_pack("{ss sI ss so}", "state", state, "generation", generation, "path", path, "claims",
                                       claims_of(uid)));
    twin_notify(twin, json_pack("{ss ss sI ss ss ss so}", "type", "link_state", "uid", uid, "generation", generation, "state",
                                state, "path", path, "reason", reason, "claims", claims_of(uid)));
}

/* What a node says of itself is another: its links tell the other ends. */
static inline void tell_claims(const TincanTwin *twin) {
    for (guint i = 0; nodes != NULL && i < nodes->len; i++) {
        TincanTwin *other = ((Node *)nodes->pdata[i])->twin;
        json_t *state = g_hash_table_lookup(other->peers, twin->uid.hex);
        const char *word = json_string_value(json_object_get(state, "state"));
        if (other->receiver && word != NULL && strcmp(word, "online") == 0)
            notify_link(other, twin->uid.hex, json_integer_value(json_object_get(state, "generation")), "online", "");
    }
}

/* Links come online as soon as both sides are known. */
static inline const char *on_request(TincanTwin *twin, const char *method, json_t *message) {
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
    if (strcmp(method, "set_local") == 0)
        tell_claims(twin);
    if (strcmp(method, "set_remote") == 0)
        notify_link(twin, uid, generation, "online", "");
    return NULL;
}

static inline void node_start(Node *node) {
    g_autoptr(GError) error = NULL;
    node->controller = ipop_controller_new(
        &(IpopControllerConfig){.conf = node->conf, .state_dir = node->state_dir, .runtime_dir = node->twin->runtime_dir}, &error);
    g_assert_no_error(error);
}

static inline void node_stop(Node *node) {
    g_clear_pointer(&node->controller, ipop_controller_free);
}

static inline Node *node_new(uint8_t seed, const char *settings) {
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
    if (nodes == NULL)
        nodes = g_ptr_array_new();
    g_ptr_array_add(nodes, node);
    node_start(node);
    return node;
}

static inline void node_free(Node *node) {
    static const char *const files[] = {"known_peers", "known_peers.lock", "address"};
    node_stop(node);
    g_ptr_array_remove(nodes, node);
    if (nodes->len == 0)
        g_clear_pointer(&nodes, g_ptr_array_unref);
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

static inline IpopXmpp *login_of(const Node *node) {
    for (guint i = 0; i < server.clients->len; i++) {
        IpopXmpp *client = server.clients->pdata[i];
        if (client->user == node->controller)
            return client;
    }
    return NULL;
}

static inline const char *text_of(const json_t *message, const char *key) {
    return json_string_value(json_object_get(message, key));
}

static inline const char *link_of(const Node *node, const Node *peer) {
    json_t *state = g_hash_table_lookup(node->twin->peers, peer->twin->uid.hex);
    return state != NULL ? text_of(state, "state") : "unknown";
}

static inline bool online(const Node *a, const Node *b) {
    return strcmp(link_of(a, b), "online") == 0 && strcmp(link_of(b, a), "online") == 0;
}

static inline json_t *told_of(const Node *node, const Node *peer) {
    return twin_last(node->twin, "set_remote_ip", peer->twin->uid.hex);
}

static inline bool told_presence(const Node *node, const Node *peer, const char *presence) {
    json_t *told = told_of(node, peer);
    return told != NULL && strcmp(text_of(told, "presence"), presence) == 0;
}

static inline Node *lower_of(Node *a, Node *b) {
    return ipop_uid_compare(&a->twin->uid, &b->twin->uid) < 0 ? a : b;
}

/* Lets all that is under way come to rest: nothing is queued, and both tincans answered a request sent after it. */
static inline void settle(Node *a, Node *b) {
    unsigned echoes_a = a->twin->echoes, echoes_b = b->twin->echoes;
    WAIT_FOR(server.queue.length == 0 && a->twin->echoes > echoes_a && b->twin->echoes > echoes_b);
}

static inline void server_start(void) {
    memset(&server, 0, sizeof server);
    server.clients = g_ptr_array_new();
    server.pending = g_ptr_array_new_with_free_func(g_free);
}

static inline void server_stop(void) {
    g_assert_cmpuint(server.clients->len, ==, 0);
    g_ptr_array_free(server.clients, TRUE);
    g_ptr_array_free(server.pending, TRUE);
    g_queue_clear_full(&server.queue, free_delivery);
    if (server.idle != 0)
        g_source_remove(server.idle);
}

static inline void hear(Node *node, const char *from, const IpopNode *said) {
    g_autofree char *xml = ipop_presence_build(said);
    post(login_of(node), true, with_from(xml, from));
}

static inline IpopNode make_node(unsigned i) {
    IpopNode node = {.suites = IPOP_SUITE_CHACHAPOLY};
    memcpy(node.key, &i, sizeof i);
    node.uid = ipop_uid_from_key(node.key);
    g_snprintf(node.name, sizeof node.name, "node%u", i);
    g_snprintf(node.ip4, sizeof node.ip4, "172.31.%u.%u", 1 + i / 200, 1 + i % 200);
    return node;
}
