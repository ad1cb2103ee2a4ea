/* daemon.h - the composition root of ipop-tincan: everything hangs from here, nothing is global. Main thread. */
#pragma once

#include "tincan/control/server.h"
#include "tincan/crypto/identity.h"
#include "tincan/link/link.h"
#include "tincan/link/portmap.h"
#include "tincan/stun/servers.h"
#include "tincan/tun/addresses.h"
#include "tincan/tun/device.h"
#include "tincan/tunnel/tunnel.h"

#include <glib.h>

#define IPOP_PEERS_MAX 4096
/* What a path of 1500 takes by IPv4 without a relay; of other paths it is found out how much less. */
#define IPOP_DEFAULT_MTU (1500 - 20 - 8 - IPOP_WIRE_DATA_OVERHEAD)

typedef struct {
    const char *device;
    unsigned port;
    const char *state_dir, *runtime_dir;
} IpopDaemonOptions;

/* What the controller last said of this node. */
typedef struct {
    char name[IPOP_NAME_MAX + 1];
    char *jid;
    IpopTunConfig addresses;
    char *xmpp, *xmpp_error; /* "connected", ... and why not */
    char **ignore;           /* interfaces not used for candidates */
} IpopLocal;

typedef struct IpopDaemon {
    GMainLoop *loop;
    IpopIdentity *identity;
    IpopTun *tun;
    IpopTunnel *tunnel;
    IpopControl *control;
    IpopServers *servers;
    IpopPortmap *portmap; /* NULL until it is first wanted */
    bool upnp;            /* it is wanted for new links */
    IpopAddressWatch *watch;
    IpopLinkEnv env;
    uint8_t *psk;
    IpopLocal local;
    GHashTable *peers;   /* uid text -> IpopPeer, owned */
    GHashTable *indices; /* session indices in use */
    int ticks; /* a timer, once a second */
    int64_t ticked;
    guint tick, settle;
    int64_t ping_second; /* pings asked for on the control port */
    unsigned pings;
} IpopDaemon;

/* The device's, as configured or, before that, as it will be. */
unsigned ipop_daemon_mtu(const IpopDaemon *daemon);

/* Opens port, device and identity, gives up privilege, starts the data thread. NULL and one line of error otherwise. */
IpopDaemon *ipop_daemon_new(const IpopDaemonOptions *options, GError **error);

/* Runs until SIGTERM or SIGINT, which end nothing any more from then on: once, and ipop_daemon_free and exit follow. */
void ipop_daemon_run(IpopDaemon *daemon);

/* Says goodbye to the peers, frees what servers hold for us, takes the device away. */
void ipop_daemon_free(IpopDaemon *daemon);
