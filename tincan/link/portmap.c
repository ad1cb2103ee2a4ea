#include "tincan/link/portmap.h"

#include <gio/gio.h>
#include <libgupnp-igd/gupnp-simple-igd.h>
#include <string.h>

#define LEASE_S 3600
#define WAIT_US 1000000
#define SET_MAX 16      /* ports of one transport */
#define PORTS_MAX 1024  /* of the node: a router has not many more to give */
#define SRFLX_PREFERENCE 100u /* RFC 8445 section 5.1.2.2 */

struct IpopPortmap {
    GUPnPSimpleIgd *igd;
    char **ignore;
    GPtrArray *sets; /* borrowed */
    unsigned n_ports;
    int64_t begun; /* monotonic */
    char router[INET_ADDRSTRLEN];
};

typedef struct {
    IpopCandidate host;
    bool mapped;
} Port;

struct IpopPortmapSet {
    IpopPortmap *portmap;
    IpopPortmapMapped mapped;
    void *user;
    Port port[SET_MAX];
    unsigned n;
    int64_t asked; /* the last one */
};

/* What a router behind another NAT has as its outside is no address for a peer (RFC 1918, RFC 6598). */
static bool is_private(const char *ip) {
    static const char *const networks[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"};
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(ip);
    for (unsigned i = 0; address && i < G_N_ELEMENTS(networks); i++) {
        g_autoptr(GInetAddressMask) network = g_inet_address_mask_new_from_string(networks[i], NULL);
        if (g_inet_address_mask_matches(network, address))
            return true;
    }
    return !address;
}

static void take(IpopPortmapSet *set, Port *port, const char *ip, guint number) {
    const IpopCandidate *host = &port->host;
    IpopCandidate c;
    uint32_t priority = SRFLX_PREFERENCE << 24 | (host->priority & 0xffffff);
    port->mapped = true;
    if (ipop_candidate_make(&c, "srflx", "upnp", priority, ip, number, host->ip, host->port))
        set->mapped(set->user, &c);
}

static void on_mapped(GUPnPSimpleIgd *igd, const char *protocol, const char *external_ip, const char *replaced,
                      guint external_port, const char *local_ip, guint local_port, const char *description, gpointer data) {
    IpopPortmap *portmap = data;
    if (!external_ip || is_private(external_ip))
        return;
    g_strlcpy(portmap->router, external_ip, sizeof portmap->router);
    for (guint s = 0; s < portmap->sets->len; s++) {
        IpopPortmapSet *set = g_ptr_array_index(portmap->sets, s);
        for (unsigned i = 0; i < set->n; i++)
            if (set->port[i].host.port == local_port && g_strcmp0(set->port[i].host.ip, local_ip) == 0) {
                take(set, &set->port[i], external_ip, external_port);
                return;
            }
    }
}

/* TRUE: don't use it. The overlay's own device is among those. */
static gboolean on_context(GUPnPSimpleIgd *igd, GObject *context, gpointer data) {
    const IpopPortmap *portmap = data;
    g_autofree char *interface = NULL;
    g_object_get(context, "interface", &interface, NULL);
    return !interface || g_strv_contains((const char *const *)portmap->ignore, interface);
}

IpopPortmap *ipop_portmap_new(const char *const *ignore) {
    IpopPortmap *portmap = g_new0(IpopPortmap, 1);
    portmap->ignore = g_strdupv((char **)ignore);
    portmap->sets = g_ptr_array_new();
    portmap->begun = g_get_monotonic_time();
    portmap->igd = gupnp_simple_igd_new();
    g_signal_connect(portmap->igd, "mapped-external-port", G_CALLBACK(on_mapped), portmap);
    g_signal_connect(portmap->igd, "context-available", G_CALLBACK(on_context), portmap);
    return portmap;
}

void ipop_portmap_free(IpopPortmap *portmap) {
    if (!portmap)
        return;
    g_signal_handlers_disconnect_by_data(portmap->igd, portmap);
    g_object_unref(portmap->igd);
    g_ptr_array_unref(portmap->sets);
    g_strfreev(portmap->ignore);
    g_free(portmap);
}

bool ipop_portmap_close(IpopPortmap *portmap) {
    return gupnp_simple_igd_delete_all_mappings(portmap->igd);
}

const char *ipop_portmap_router(const IpopPortmap *portmap) {
    return portmap->router;
}

IpopPortmapSet *ipop_portmap_set_new(IpopPortmap *portmap, IpopPortmapMapped mapped, void *user) {
    IpopPortmapSet *set = g_new0(IpopPortmapSet, 1);
    set->portmap = portmap;
    set->mapped = mapped;
    set->user = user;
    g_ptr_array_add(portmap->sets, set);
    return set;
}

void ipop_portmap_set_free(IpopPortmapSet *set) {
    if (!set)
        return;
    for (unsigned i = 0; i < set->n; i++)
        gupnp_simple_igd_remove_port_local(set->portmap->igd, "UDP", set->port[i].host.ip, set->port[i].host.port);
    set->portmap->n_ports -= set->n;
    g_ptr_array_remove(set->portmap->sets, set);
    g_free(set);
}

void ipop_portmap_set_add(IpopPortmapSet *set, const IpopCandidate *host) {
    IpopPortmap *portmap = set->portmap;
    if (host->type != IPOP_CANDIDATE_HOST || strchr(host->ip, ':') || set->n == SET_MAX || portmap->n_ports >= PORTS_MAX)
        return;
    portmap->n_ports++;
    set->port[set->n++] = (Port){.host = *host};
    set->asked = g_get_monotonic_time();
    gupnp_simple_igd_add_port(portmap->igd, "UDP", host->port, host->ip, host->port, LEASE_S, "ipop");
}

bool ipop_portmap_set_waiting(const IpopPortmapSet *set) {
    int64_t now = g_get_monotonic_time();
    bool hopeful = *set->portmap->router || now - set->portmap->begun < WAIT_US;
    bool missing = false;
    for (unsigned i = 0; i < set->n; i++)
        missing = missing || !set->port[i].mapped;
    return missing && hopeful && now - set->asked < WAIT_US;
}
