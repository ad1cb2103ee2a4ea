#include "controller/internal.h"

#include "tincan/base/secret.h"

#include <string.h>

/* The STUN and TURN servers that links are made with: the configured ones, and of a kind that is not configured those that
 * the account's own server offers. */

#define ASK_AGAIN (60 * IPOP_SECOND) /* when nothing was answered */

static void add_turn(json_t *list, const char *server, const char *user, const char *pass, bool tcp) {
    json_array_append_new(list, json_pack("{ss ss ss ss}", "server", server, "user", user, "pass", pass, "transport",
                                          tcp ? "tcp" : "udp"));
}

void ipop_services_want(IpopController *c) {
    const IpopConf *conf = c->conf;
    json_t *stun = json_array(), *turn = json_array();
    for (unsigned i = 0; i < conf->n_stun; i++)
        json_array_append_new(stun, json_string(conf->stun[i]));
    for (unsigned i = 0; i < conf->n_turn; i++)
        add_turn(turn, conf->turn[i].server, conf->turn[i].user, conf->turn[i].pass, conf->turn[i].tcp);
    for (unsigned i = 0; c->services != NULL && !conf->stun_given && i < c->services->n_stun; i++)
        json_array_append_new(stun, json_string(c->services->stun[i].server));
    for (unsigned i = 0; c->services != NULL && !conf->turn_given && i < c->services->n_turn; i++) {
        const IpopService *service = &c->services->turn[i];
        add_turn(turn, service->server, service->user, service->pass, service->tcp);
    }
    ipop_dataplane_want(c->dataplane, "set_servers",
                        json_pack("{so so sb sb}", "stun", stun, "turn", turn, "stun_offered", !conf->stun_given, "turn_offered",
                                  !conf->turn_given));
}

static void ask_at(IpopController *c, int64_t at) {
    c->services_at = at;
    ipop_controller_wake_at(c, at);
}

static void take_answer(IpopController *c, const char *xml, size_t n) {
    IpopServices *services = ipop_secret_new(sizeof *services);
    if (!ipop_services_parse(xml, n, services)) {
        ipop_secret_free(services);
        return;
    }
    bool renewed = c->services != NULL && memcmp(c->services->turn, services->turn, sizeof services->turn) != 0;
    ipop_log(c->services == NULL ? IPOP_LOG_INFO : IPOP_LOG_DEBUG, "jabber", "the account's server offers stun=%u turn=%u",
             services->n_stun, services->n_turn);
    ipop_secret_free(c->services);
    c->services = services;
    ask_at(c, ipop_clock_now() + ipop_services_refresh_after(services, g_get_real_time() / IPOP_SECOND) * IPOP_SECOND);
    ipop_services_want(c);
    if (renewed && !c->conf->turn_given)
        ipop_links_relays_changed(c);
}

static void on_answer_1(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    if (outcome == IPOP_IQ_RESULT)
        take_answer(user, xml, n);
    else if (outcome == IPOP_IQ_TIMEOUT)
        ask_at(user, ipop_clock_now() + ASK_AGAIN);
}

static void on_answer_2(void *user, IpopIqOutcome outcome, const char *xml, size_t n) {
    IpopController *c = user;
    if (outcome == IPOP_IQ_RESULT)
        take_answer(c, xml, n);
    else if (outcome == IPOP_IQ_TIMEOUT)
        ask_at(c, ipop_clock_now() + ASK_AGAIN);
    else if (outcome == IPOP_IQ_ERROR)
        ipop_xmpp_request(c->xmpp, IPOP_XMPP_REPLY, "get", NULL, ipop_services_request(1), on_answer_1, c);
}

void ipop_services_ask(IpopController *c) {
    if (c->conf->stun_given && c->conf->turn_given)
        return;
    c->services_at = ipop_clock_now() + IPOP_SERVICES_REFRESH_MAX * IPOP_SECOND;
    ipop_xmpp_request(c->xmpp, IPOP_XMPP_REPLY, "get", NULL, ipop_services_request(2), on_answer_2, c);
}
