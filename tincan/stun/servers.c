#include "tincan/stun/servers.h"

#include "tincan/base/giotypes.h"
#include "tincan/ctl/candidate.h"
#include "tincan/stun/filter.h"
#include "tincan/stun/server.h"

#include <gio/gio.h>
#include <glib-unix.h>
#include <stun/stunagent.h>
#include <stun/usages/bind.h>
#include <string.h>
#include <unistd.h>

#define REFRESH_S 300
#define REPEAT_MS 500        /* RTO of RFC 8489 section 6.2.1 */
#define REQUESTS_MAX 3       /* per server and round */
#define READS_MAX 64         /* per turn of the main loop: nobody may keep it busy */
#define DATAGRAM_MAX 1500
#define RESOLVING_US 1000000 /* so long may names hold a link up */
#define CHOOSING_US 150000   /* and STUN servers of which none has answered yet */
#define OTHER_ADDRESS 0x802c /* RFC 5780 section 7.4 */

typedef struct {
    IpopServer server[IPOP_SERVERS_MAX];
    unsigned n;
    bool offered; /* by the Jabber server */
} List;

struct IpopServers {
    IpopServersEvents events;
    void *user;
    List stun, turn;
    unsigned round, answers; /* answers: of this round */
    int64_t round_at;        /* when it began, monotonic */
    unsigned lookups;        /* names still being looked up */
    GCancellable *cancel;    /* of this round's lookups */
    StunAgent agent;         /* knows the transactions of this round */
    int fd[IPOP_FAMILIES];
    guint fd_source[IPOP_FAMILIES], repeat_source, refresh_source;
    IpopFilterTrial *filter;
    unsigned filtered; /* the round of the last filter trial */
    IpopNat nat;
    char outside[INET6_ADDRSTRLEN];
};

/* --- verdicts --- */

static IpopServerStatus status_of(const IpopServer *server) {
    return (IpopServerStatus){server->user != NULL, server->text, server->transport, server->verdict, server->before,
                              server->verdict_text ? server->verdict_text : ""};
}

static void judge(IpopServers *servers, IpopServer *server, IpopServerVerdict verdict, const char *text) {
    bool news = verdict != server->verdict || (verdict == IPOP_SERVER_BAD && g_strcmp0(text, server->verdict_text) != 0);
    g_free(server->verdict_text);
    server->verdict_text = g_strdup(text);
    if (verdict != server->verdict)
        server->before = server->verdict;
    server->verdict = verdict;
    IpopServerStatus status = status_of(server);
    if (news && servers->events.server)
        servers->events.server(servers->user, &status);
}

static void set_nat(IpopServers *servers, IpopNat nat) {
    bool news = nat.mapping != servers->nat.mapping || nat.filter != servers->nat.filter;
    servers->nat = nat;
    if (news && servers->events.nat)
        servers->events.nat(servers->user, nat);
}

/* What this round's answers over one family tell. */
static IpopNatMapping find_mapping(const IpopServers *servers, unsigned family) {
    const IpopEndpoint *first = NULL;
    IpopNatMapping mapping = IPOP_NAT_UNKNOWN;
    for (unsigned i = 0; i < servers->stun.n; i++) {
        const IpopEndpoint *e = &servers->stun.server[i].endpoint[family];
        if (!e->answered || e->answered != servers->round)
            continue;
        if (e->own)
            return IPOP_NAT_NONE;
        if (!first)
            first = e;
        else if (!ipop_address_equal(&first->mapped, &e->mapped))
            return IPOP_NAT_DEPENDENT;
        else if (!ipop_address_same_ip(&first->address, &e->address))
            mapping = IPOP_NAT_INDEPENDENT;
    }
    return mapping;
}

/* Only IPv4 is commonly translated. What the last round found stands until this one tells something. */
static void update_nat(IpopServers *servers, bool over) {
    IpopNat nat = servers->nat;
    IpopNatMapping v4 = find_mapping(servers, IPOP_V4);
    IpopNatMapping mapping = v4 ? v4 : find_mapping(servers, IPOP_V6);
    if (over && servers->answers == 0 && servers->stun.n > 0)
        mapping = IPOP_NAT_BLOCKED;
    if (mapping != IPOP_NAT_UNKNOWN || over)
        nat.mapping = mapping;
    set_nat(servers, nat);
}

/* --- asking STUN servers --- */

static void on_filter(void *user, IpopNatFilter filter) {
    IpopServers *servers = user;
    IpopNat nat = {servers->nat.mapping, filter};
    g_clear_pointer(&servers->filter, ipop_filter_trial_free);
    set_nat(servers, nat);
}

/* A socket can be bound to nothing but the host's own addresses. */
static bool is_own(const IpopAddress *address) {
    IpopAddress any_port = *address;
    if (address->any.sa_family == AF_INET6)
        any_port.v6.sin6_port = 0;
    else
        any_port.v4.sin_port = 0;
    int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool own = fd >= 0 && bind(fd, &any_port.any, ipop_address_size(&any_port)) == 0;
    if (fd >= 0)
        close(fd);
    return own;
}

static IpopServer *find_server(IpopServers *servers, const IpopAddress *address, unsigned family) {
    for (unsigned i = 0; i < servers->stun.n; i++)
        if (ipop_address_equal(&servers->stun.server[i].endpoint[family].address, address))
            return &servers->stun.server[i];
    return NULL;
}

static void take_mapped(IpopServers *servers, IpopServer *server, IpopEndpoint *e) {
    char text[IPOP_ADDRESS_TEXT_SIZE];
    ipop_address_text(&e->mapped, text);
    g_autofree char *sees = g_strdup_printf("sees this host as %s", text);
    judge(servers, server, IPOP_SERVER_GOOD, sees);
    if (!*servers->outside || e->address.any.sa_family == AF_INET)
        ipop_address_ip(&e->mapped, servers->outside);
    if (e->two && servers->filtered != servers->round) {
        servers->filtered = servers->round;
        ipop_filter_trial_free(servers->filter);
        servers->filter = ipop_filter_try(&e->address, on_filter, servers);
    }
    update_nat(servers, false);
}

/* Only an answer to a request of this round, from the address it went to, counts. One that names another server is not
 * followed: nobody but the configured servers is ever contacted. */
static void handle_answer(IpopServers *servers, const uint8_t *datagram, size_t n, const IpopAddress *from) {
    StunMessage message;
    IpopAddress mapped = {0}, other;
    socklen_t mapped_size = sizeof mapped, other_size = sizeof other;
    uint16_t attribute_size;
    unsigned family = from->any.sa_family == AF_INET6 ? IPOP_V6 : IPOP_V4;
    IpopServer *server = find_server(servers, from, family);
    IpopEndpoint *e = server ? &server->endpoint[family] : NULL;

    if (!e || e->answered == servers->round)
        return;
    if (stun_agent_validate(&servers->agent, &message, datagram, n, NULL, NULL) != STUN_VALIDATION_SUCCESS ||
        stun_usage_bind_process(&message, &mapped.any, &mapped_size, &other.any, &other_size) !=
            STUN_USAGE_BIND_RETURN_SUCCESS)
        return;
    e->mapped = mapped;
    e->own = is_own(&mapped);
    e->two = stun_message_find(&message, (StunAttribute)OTHER_ADDRESS, &attribute_size) != NULL;
    e->answered = servers->round;
    e->rank = servers->answers++;
    take_mapped(servers, server, e);
}

static void close_sockets(IpopServers *servers) {
    for (unsigned f = 0; f < IPOP_FAMILIES; f++) {
        if (servers->fd[f] < 0)
            continue;
        g_clear_handle_id(&servers->fd_source[f], g_source_remove);
        close(servers->fd[f]);
        servers->fd[f] = -1;
    }
}

static void open_socket(IpopServers *servers, unsigned family);

/* Each request is a transaction of its own, so a late answer to an earlier one counts too. A request that can't be sent
 * (no route) is as good as lost. */
static void ask(IpopServers *servers, IpopEndpoint *e, unsigned family) {
    uint8_t buffer[DATAGRAM_MAX];
    StunMessage message;

    if (e->address.any.sa_family == AF_UNSPEC || e->answered == servers->round || e->requests == REQUESTS_MAX)
        return;
    if (servers->fd[family] < 0)
        open_socket(servers, family);
    size_t n = stun_usage_bind_create(&servers->agent, &message, buffer, sizeof buffer);
    e->requests++;
    ssize_t sent = sendto(servers->fd[family], buffer, n, 0, &e->address.any, ipop_address_size(&e->address));
    (void)sent;
}

static void ask_server(IpopServers *servers, IpopServer *server) {
    for (unsigned f = 0; f < IPOP_FAMILIES; f++)
        ask(servers, &server->endpoint[f], f);
}

static bool waiting(const IpopServers *servers) {
    for (unsigned i = 0; i < servers->stun.n; i++)
        for (unsigned f = 0; f < IPOP_FAMILIES; f++) {
            const IpopEndpoint *e = &servers->stun.server[i].endpoint[f];
            if (e->address.any.sa_family != AF_UNSPEC && e->answered != servers->round && e->requests < REQUESTS_MAX)
                return true;
        }
    return servers->lookups > 0;
}

static void end_asking(IpopServers *servers) {
    close_sockets(servers);
    for (unsigned i = 0; i < servers->stun.n; i++) {
        IpopServer *server = &servers->stun.server[i];
        bool answered = server->endpoint[IPOP_V4].answered == servers->round ||
                        server->endpoint[IPOP_V6].answered == servers->round;
        if (!answered && ipop_server_has_address(server))
            judge(servers, server, IPOP_SERVER_BAD,
                  "does not answer over UDP: is it running, and do firewalls let that through?");
    }
    update_nat(servers, true);
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer data) {
    IpopServers *servers = data;
    uint8_t datagram[DATAGRAM_MAX];
    for (unsigned i = 0; i < READS_MAX; i++) {
        IpopAddress from = {0};
        socklen_t from_size = sizeof from;
        ssize_t n = recvfrom(fd, datagram, sizeof datagram, 0, &from.any, &from_size);
        if (n < 0)
            break;
        handle_answer(servers, datagram, (size_t)n, &from);
    }
    if (!waiting(servers)) {
        g_clear_handle_id(&servers->repeat_source, g_source_remove);
        end_asking(servers);
    }
    return G_SOURCE_CONTINUE;
}

/* One socket for all servers of a family: that they see it at different ports is what tells the NAT's kind. */
static void open_socket(IpopServers *servers, unsigned family) {
    int fd = socket(family == IPOP_V6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    servers->fd[family] = fd;
    servers->fd_source[family] = g_unix_fd_add(fd, G_IO_IN, on_readable, servers);
}

static gboolean on_repeat(gpointer data) {
    IpopServers *servers = data;
    if (waiting(servers)) {
        for (unsigned i = 0; i < servers->stun.n; i++)
            ask_server(servers, &servers->stun.server[i]);
        return G_SOURCE_CONTINUE;
    }
    servers->repeat_source = 0;
    end_asking(servers);
    return G_SOURCE_REMOVE;
}

/* --- trying TURN servers --- */

static void try_turn(IpopServer *server, unsigned family);

static void on_turn(void *user, IpopTurnOutcome outcome, const char *text) {
    IpopServer *server = user;
    bool more = server->tried == IPOP_V4 && server->endpoint[IPOP_V6].address.any.sa_family != AF_UNSPEC;
    server->trying = false;
    if (outcome == IPOP_TURN_SILENT && more)
        try_turn(server, IPOP_V6);
    else
        judge(server->list, server, outcome == IPOP_TURN_GOOD ? IPOP_SERVER_GOOD : IPOP_SERVER_BAD, text);
}

static void try_turn(IpopServer *server, unsigned family) {
    ipop_turn_trial_free(server->trial);
    server->tried = family;
    server->trying = true;
    server->trial = ipop_turn_try(&server->endpoint[family].address, server->transport == IPOP_TURN_TCP, server->user,
                                  server->pass, on_turn, server);
}

/* --- names --- */

typedef struct {
    GCancellable *cancel;
    IpopServers *servers; /* both gone once cancelled */
    IpopServer *server;
} Lookup;

static void found_address(IpopServers *servers, IpopServer *server) {
    if (server->user)
        try_turn(server, server->endpoint[IPOP_V4].address.any.sa_family != AF_UNSPEC ? IPOP_V4 : IPOP_V6);
    else
        ask_server(servers, server);
}

/* The first of each family; a server that has none now keeps what it had. */
static void take_ips(IpopServers *servers, IpopServer *server, GList *ips, const GError *error) {
    bool offered = server->user ? servers->turn.offered : servers->stun.offered, seen[IPOP_FAMILIES] = {false};
    g_autofree char *refused = NULL;
    for (GList *i = ips; i; i = i->next) {
        unsigned f = g_inet_address_get_family(i->data) == G_SOCKET_FAMILY_IPV6 ? IPOP_V6 : IPOP_V4;
        g_autofree char *ip = g_inet_address_to_string(i->data);
        if (offered && (!ipop_candidate_ip_usable(ip) || g_inet_address_get_is_link_local(i->data))) {
            g_free(refused);
            refused = g_steal_pointer(&ip);
            continue;
        }
        if (!seen[f])
            ipop_server_set_endpoint(server, i->data);
        seen[f] = true;
    }
    if (ipop_server_has_address(server)) {
        found_address(servers, server);
        return;
    }
    g_autofree char *text =
        refused ? g_strdup_printf("the Jabber server offers it, and it is at %s, which is no other host: configure it if it is meant",
                                  refused)
                : g_strdup_printf("its name can't be resolved (%s): correct it, or see to DNS",
                                  error ? error->message : "no address");
    judge(servers, server, IPOP_SERVER_BAD, text);
}

static void on_resolved(GObject *resolver, GAsyncResult *result, gpointer data) {
    Lookup *lookup = data;
    g_autoptr(GError) error = NULL;
    GList *ips = g_resolver_lookup_by_name_finish(G_RESOLVER(resolver), result, &error);
    if (!g_cancellable_is_cancelled(lookup->cancel)) {
        lookup->servers->lookups--;
        take_ips(lookup->servers, lookup->server, ips, error);
    }
    g_resolver_free_addresses(ips);
    g_object_unref(lookup->cancel);
    g_free(lookup);
}

static void resolve(IpopServers *servers, IpopServer *server) {
    g_autoptr(GInetAddress) literal = g_inet_address_new_from_string(server->host);
    if (literal) {
        GList only = {.data = literal};
        take_ips(servers, server, &only, NULL);
        return;
    }
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    Lookup *lookup = g_new(Lookup, 1);
    *lookup = (Lookup){g_object_ref(servers->cancel), servers, server};
    servers->lookups++;
    g_resolver_lookup_by_name_async(resolver, server->host, servers->cancel, on_resolved, lookup);
}

/* --- rounds --- */

static void stop_round(IpopServers *servers) {
    g_cancellable_cancel(servers->cancel);
    g_clear_object(&servers->cancel);
    g_clear_handle_id(&servers->repeat_source, g_source_remove);
    g_clear_pointer(&servers->filter, ipop_filter_trial_free);
    close_sockets(servers);
}

static void start_round(IpopServers *servers) {
    stop_round(servers);
    servers->cancel = g_cancellable_new();
    servers->lookups = 0;
    servers->answers = 0;
    servers->round++;
    servers->round_at = g_get_monotonic_time();
    stun_agent_init(&servers->agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389,
                    STUN_AGENT_USAGE_IGNORE_CREDENTIALS);
    for (unsigned i = 0; i < servers->stun.n; i++) {
        for (unsigned f = 0; f < IPOP_FAMILIES; f++)
            servers->stun.server[i].endpoint[f].requests = 0;
        resolve(servers, &servers->stun.server[i]);
    }
    for (unsigned i = 0; i < servers->turn.n; i++)
        resolve(servers, &servers->turn.server[i]);
    if (servers->stun.n > 0)
        servers->repeat_source = g_timeout_add(REPEAT_MS, on_repeat, servers);
    else
        update_nat(servers, true);
}

static gboolean on_refresh(gpointer data) {
    start_round(data);
    return G_SOURCE_CONTINUE;
}

IpopServers *ipop_servers_new(const IpopServersEvents *events, void *user) {
    IpopServers *servers = g_new0(IpopServers, 1);
    ipop_giotypes_init();
    if (events)
        servers->events = *events;
    servers->user = user;
    servers->fd[IPOP_V4] = servers->fd[IPOP_V6] = -1;
    servers->refresh_source = g_timeout_add_seconds(REFRESH_S, on_refresh, servers);
    return servers;
}

static void list_clear(List *list) {
    for (unsigned i = 0; i < list->n; i++)
        ipop_server_clear(&list->server[i]);
    list->n = 0;
}

void ipop_servers_free(IpopServers *servers) {
    if (!servers)
        return;
    stop_round(servers);
    g_clear_handle_id(&servers->refresh_source, g_source_remove);
    list_clear(&servers->stun);
    list_clear(&servers->turn);
    g_free(servers);
}

/* Adds a server unless its text is none. What is known of one that stays in the list is still true: new credentials must
 * not lose its address. */
static IpopServer *list_add(IpopServers *servers, List *list, const List *old, const char *text) {
    IpopServer *server = &list->server[list->n];
    if (list->n == IPOP_SERVERS_MAX || !ipop_server_init(server, text))
        return NULL;
    server->list = servers;
    list->n++;
    for (unsigned i = 0; i < old->n && list->offered == old->offered; i++)
        if (strcmp(text, old->server[i].text) == 0)
            memcpy(server->endpoint, old->server[i].endpoint, sizeof server->endpoint);
    return server;
}

static bool same_relays(const List *a, const List *b) {
    bool same = a->n == b->n;
    for (unsigned i = 0; same && i < a->n; i++)
        same = strcmp(a->server[i].text, b->server[i].text) == 0 && strcmp(a->server[i].user, b->server[i].user) == 0 &&
               strcmp(a->server[i].pass, b->server[i].pass) == 0 && a->server[i].transport == b->server[i].transport;
    return same;
}

bool ipop_servers_set(IpopServers *servers, const IpopServerLists *lists) {
    List new_stun = {.offered = lists->stun_offered}, new_turn = {.offered = lists->turn_offered};

    for (unsigned i = 0; i < lists->n_stun; i++)
        list_add(servers, &new_stun, &servers->stun, lists->stun[i]);
    for (unsigned i = 0; i < lists->n_turn; i++) {
        const IpopTurnServer *turn = &lists->turn[i];
        IpopServer *server = list_add(servers, &new_turn, &servers->turn, turn->server);
        if (!server)
            continue;
        server->user = g_strdup(turn->user);
        server->pass = g_strdup(turn->pass);
        server->transport = turn->transport;
    }
    bool news = !same_relays(&servers->turn, &new_turn);
    stop_round(servers);
    list_clear(&servers->stun);
    list_clear(&servers->turn);
    servers->stun = new_stun;
    servers->turn = new_turn;
    start_round(servers);
    return news;
}

void ipop_servers_refresh(IpopServers *servers) {
    start_round(servers);
}

/* --- what to use --- */

bool ipop_servers_settled(const IpopServers *servers) {
    bool trying = false;
    for (unsigned i = 0; i < servers->turn.n; i++)
        trying = trying || servers->turn.server[i].trying;
    return !trying && servers->lookups == 0 && !servers->repeat_source && !servers->filter;
}

bool ipop_servers_resolving(const IpopServers *servers) {
    return servers->lookups > 0 && g_get_monotonic_time() - servers->round_at < RESOLVING_US;
}

/* The newest round counts, and in it who was first; without any answer, who stands first. */
static const IpopEndpoint *best_of_family(const IpopServers *servers, unsigned family) {
    const IpopEndpoint *best = NULL;
    for (unsigned i = 0; i < servers->stun.n; i++) {
        const IpopEndpoint *e = &servers->stun.server[i].endpoint[family];
        if (e->address.any.sa_family == AF_UNSPEC)
            continue;
        if (!best || e->answered > best->answered ||
            (e->answered && e->answered == best->answered && e->rank < best->rank))
            best = e;
    }
    return best;
}

bool ipop_servers_choosing(const IpopServers *servers) {
    const IpopEndpoint *v4 = best_of_family(servers, IPOP_V4), *v6 = best_of_family(servers, IPOP_V6);
    if (servers->stun.n == 0 || (v4 && v4->answered) || (v6 && v6->answered))
        return false;
    bool any = v4 || v6;
    return ipop_servers_resolving(servers) ||
           (any && servers->stun.n > 1 && g_get_monotonic_time() - servers->round_at < CHOOSING_US);
}

bool ipop_servers_stun(const IpopServers *servers, char ret_ip[static INET6_ADDRSTRLEN], uint16_t *ret_port) {
    /* Only IPv4 is commonly translated: an answer over IPv6 says nothing that the host candidates don't. */
    const IpopEndpoint *v4 = best_of_family(servers, IPOP_V4), *v6 = best_of_family(servers, IPOP_V6);
    const IpopEndpoint *best = v4 && (v4->answered || !v6 || !v6->answered) ? v4 : v6;
    if (!best)
        return false;
    ipop_address_ip(&best->address, ret_ip);
    *ret_port = ipop_address_port(&best->address);
    return true;
}

bool ipop_servers_turn(const IpopServers *servers, unsigned i, char ret_ip[static INET6_ADDRSTRLEN], uint16_t *ret_port,
                       const char **ret_user, const char **ret_pass, IpopTurnTransport *ret_transport) {
    static const IpopServerVerdict order[] = {IPOP_SERVER_GOOD, IPOP_SERVER_UNKNOWN, IPOP_SERVER_BAD};
    for (unsigned k = 0; k < G_N_ELEMENTS(order) * IPOP_FAMILIES * servers->turn.n; k++) {
        const IpopServer *server = &servers->turn.server[k % servers->turn.n];
        const IpopAddress *address = &server->endpoint[k / servers->turn.n % IPOP_FAMILIES].address;
        if (server->verdict != order[k / servers->turn.n / IPOP_FAMILIES] || address->any.sa_family == AF_UNSPEC || i-- > 0)
            continue;
        ipop_address_ip(address, ret_ip);
        *ret_port = ipop_address_port(address);
        *ret_user = server->user;
        *ret_pass = server->pass;
        *ret_transport = server->transport;
        return true;
    }
    return false;
}

bool ipop_servers_status(const IpopServers *servers, unsigned i, IpopServerStatus *ret) {
    if (i >= servers->stun.n + servers->turn.n)
        return false;
    *ret = status_of(i < servers->stun.n ? &servers->stun.server[i] : &servers->turn.server[i - servers->stun.n]);
    return true;
}

IpopNat ipop_servers_nat(const IpopServers *servers) {
    return servers->nat;
}

const char *ipop_servers_outside(const IpopServers *servers) {
    return servers->outside;
}
