/* config.json, and behind a NUL byte what -s gives. Whatever is accepted must keep the promises of conf.h. */
#include "controller/conf/conf.h"
#include "tincan/base/secret.h"

#include <arpa/inet.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const IpopConf *conf) {
    struct in6_addr ip;
    g_assert_true(strchr(conf->xmpp_username, '@') && !strchr(conf->xmpp_username, '/'));
    g_assert_true(conf->ip4[0] == '\0' || inet_pton(AF_INET, conf->ip4, &ip) == 1);
    g_assert_true(conf->ip4_mask >= 8 && conf->ip4_mask <= 30 && conf->ip6_mask >= 16 && conf->ip6_mask <= 64);
    g_assert_true(inet_pton(AF_INET, conf->ip4_network, &ip) == 1 && inet_pton(AF_INET6, conf->ip6_prefix, &ip) == 1);
    g_assert_true(conf->n_stun <= IPOP_CONF_SERVERS_MAX && conf->n_turn <= IPOP_CONF_SERVERS_MAX);
    for (unsigned i = 0; i < conf->n_stun; i++)
        g_assert_nonnull(strrchr(conf->stun[i], ':'));
    for (unsigned i = 0; i < conf->n_turn; i++)
        g_assert_true(conf->turn[i].server && conf->turn[i].user && conf->turn[i].pass);
    g_assert_true(ipop_name_valid(conf->name));
    g_assert_true(conf->svpn_port != conf->contr_port && conf->svpn_port > 0 && conf->contr_port <= 65535);
    for (char **warning = conf->warnings; *warning; warning++)
        g_assert_null(strpbrk(*warning, "\r\n\033"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    if (!ready)
        ipop_secret_init();
    ready = true;

    const uint8_t *nul = memchr(data, '\0', size);
    g_autofree char *overlay = nul ? g_strndup((const char *)nul + 1, size - (size_t)(nul - data) - 1) : NULL;
    GError *error = NULL;
    IpopConf *conf = ipop_conf_parse((const char *)data, nul ? (size_t)(nul - data) : size, "fuzz", overlay, &error);
    g_assert_true((conf == NULL) == (error != NULL));
    if (conf)
        check(conf);
    else
        g_assert_null(strpbrk(error->message, "\r\n\033"));
    g_clear_error(&error);
    ipop_conf_free(conf);
    return 0;
}
