/* conf.h - config.json as a validated struct that nobody changes afterwards.
 *
 * One table (conf.c) holds every key with its type, range, default and whether it is in effect yet; the members are named after the
 * JSON keys. Any thread once loaded.
 */
#pragma once

#include "tincan/ctl/ids.h"

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#define IPOP_CONF_FILE_MAX (1024 * 1024)
#define IPOP_CONF_SERVERS_MAX 8
#define IPOP_CONF_PEERS_MAX 4096

typedef struct {
    char *server; /* "host:port" with the port filled in; IPv6 in brackets */
    char *user, *pass;
    bool tcp;
} IpopConfTurn;

typedef struct {
    char *name; /* NULL when not given */
    IpopUid uid;
    char ip4[16]; /* "" when not given */
} IpopConfPeer;

typedef struct {
    char *xmpp_username;
    char *xmpp_password; /* locked memory (secret.h); NULL when it is still to be asked for */
    char *xmpp_password_file, *xmpp_host, *xmpp_cafile;
    unsigned xmpp_port;
    bool xmpp_port_given;
    char ip4[16]; /* "" when absent */
    unsigned ip4_mask;
    char ip4_network[16];
    unsigned ip4_network_prefix;
    char ip6_prefix[46]; /* normalised network address, e.g. "fd50:dbc:41f2:4a3c::" */
    unsigned ip6_mask;
    bool stun_given, turn_given; /* absent means: what the account's server offers */
    char *stun[IPOP_CONF_SERVERS_MAX];
    unsigned n_stun;
    IpopConfTurn turn[IPOP_CONF_SERVERS_MAX];
    unsigned n_turn;
    char *name; /* the host's name when absent */
    bool name_given;
    IpopConfPeer *peers;
    unsigned n_peers;
    bool trust_pinned;
    uint8_t *psk; /* 32 bytes in locked memory, Argon2id of the passphrase; NULL: none */
    unsigned tincan_logging;
    int controller_logging; /* IpopLogLevel */
    bool on_demand_connection;
    unsigned on_demand_inactive_timeout;
    char **network_ignore_list; /* NULL-terminated */
    bool switchmode, upnp;
    unsigned svpn_port, contr_port;
    unsigned wait_time;
    unsigned mtu; /* 0: automatic */

    char **warnings; /* NULL-terminated lines: unknown keys with the nearest known one, keys not yet in effect */
} IpopConf;

/* Reads the file (NULL: none) and lays overlay_json (NULL: none) over it, key by key; null there takes a
 * key away. The error is one line: what, where (file, line and column, or key) and what to do. The password is not read
 * here. */
IpopConf *ipop_conf_load(const char *file, const char *overlay_json, GError **error);

/* Parses text already in memory (fuzzing, tests). origin names it in errors. */
IpopConf *ipop_conf_parse(const char *text, size_t n, const char *origin, const char *overlay_json, GError **error);

/* Fills xmpp_password: configuration, else xmpp_password_file, else $CREDENTIALS_DIRECTORY/xmpp_password, else asks on the
 * terminal. Error when there is none of these. */
bool ipop_conf_read_password(IpopConf *conf, GError **error);

void ipop_conf_free(IpopConf *conf);
