#include "tincan/link/servers.h"

#include <arpa/inet.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <stun/stunagent.h>
#include <stun/usages/bind.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT_DEFAULT 3478    /* RFC 8489 section 18.6 */
#define HOST_MAX 253         /* RFC 1035 section 2.3.4 */
#define REFRESH_S 300
#define REPEAT_MS 500        /* RTO of RFC 8489 section 6.2.1 */
#define REQUESTS_MAX 3       /* per server and round */
#define READS_MAX 64         /* per turn of the main loop: nobody may keep it busy */
#define DATAGRAM_MAX 1500

enum { V4, V6, N_FAMILIES };

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address; /* sa_family AF_UNSPEC: not known */

/* One address of a server, and what asking it gave. */
typedef struct {
    Address address;
    Address mapped;    /* how the server saw our spare socket */
    unsigned answered; /* the round of the last answer, 0 when there was none */
    unsigned rank;     /* the place of that answer in its round */
    unsigned requests; /* sent in this round */
} Endpoint;

typedef struct {
    char *text; /* as configured */
    char *host;
    uint16_t port;
    Endpoint endpoint[N_FAMILIES];
    char *user, *pass; /* TURN */
    IpopTurnTransport transport;
} Server;

typedef struct {
    Server server[IPOP_SERVERS_MAX];
    unsigned n;
} List;

struct IpopServers {
    List stun, turn;
    unsigned round, answers; /* answers: of this round */
    unsigned lookups;        /* names still being looked up */
    GCancellable *cancel;    /* of this round's lookups */
    StunAgent agent;         /* knows the transactions of this round */
    int fd[N_FAMILIES];
    guint fd_source[N_FAMILIES], repeat_source, refresh_source;
};

static socklen_t address_size(const Address *a) {
    return a->any.sa_family == AF_INET6 ? sizeof a->v6 : sizeof a->v4;
}

static bool address_equal(const Address *a, const Address *b) {
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->v6.sin6_port == b->v6.sin6_port && memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0;
}

static void address_text(const Address *a, char ret_ip[static 46], uint16_t *ret_port) {
    bool is4 = a->any.sa_family == AF_INET;
    inet_ntop(a->any.sa_family, is4 ? (const void *)&a->v4.sin_addr : (const void *)&a->v6.sin6_addr, ret_ip, 46);
    *ret_port = ntohs(is4 ? a->v4.sin_port : a->v6.sin6_port);
}

static void server_clear(Server *server) {
    g_free(server->text);
    g_free(server->host);
    g_free(server->user);
    if (server->pass)
        explicit_bzero(server->pass, strlen(server->pass));
    g_free(server->pass);
    *server = (Server){0};
}

/* "host", "host:port", "[v6]", "[v6]:port". No service names: they would be looked up. */
static bool parse_server(const char *text, char **ret_host, uint16_t *ret_port) {
    bool literal = *text == '[';
    const char *host = literal ? text + 1 : text;
    size_t n = strcspn(host, literal ? "]" : ":");
    const char *rest = host + n;
    guint64 port = PORT_DEFAULT;

    if (literal && *rest++ != ']')
        return false;
    if (n == 0 || n > HOST_MAX || (*rest && *rest != ':'))
        return false;
    if (*rest && !g_ascii_string_to_unsigned(rest + 1, 10, 1, UINT16_MAX, &port, NULL))
        return false;
    g_autofree char *name = g_strndup(host, n);
    if (literal ? !g_hostname_is_ip_address(name) : strpbrk(name, "[]/@%\"' \t\r\n") != NULL)
        return false;
    *ret_host = g_steal_pointer(&name);
    *ret_port = (uint16_t)port;
    return true;
}

static bool server_init(Server *server, const char *text) {
    Server s = {0};
    if (!parse_server(text, &s.host, &s.port))
        return false;
    s.text = g_strdup(text);
    *server = s;
    return true;
}

/* A changed address starts anew; the same one keeps its answer until the next. */
static void set_endpoint(Server *server, GInetAddress *ip) {
    g_autoptr(GSocketAddress) full = g_inet_socket_address_new(ip, server->port);
    Address address = {0};
    if (!g_socket_address_to_native(full, &address, sizeof address, NULL))
        return;
    Endpoint *e = &server->endpoint[address.any.sa_family == AF_INET6 ? V6 : V4];
    if (!address_equal(&e->address, &address))
        *e = (Endpoint){.address = address};
}

static Endpoint *find_endpoint(IpopServers *servers, const Address *address) {
    for (unsigned i = 0; i < servers->stun.n; i++)
        for (unsigned f = 0; f < N_FAMILIES; f++)
            if (address_equal(&servers->stun.server[i].endpoint[f].address, address))
                return &servers->stun.server[i].endpoint[f];
    return NULL;
}

/* Only an answer to a request of this round, from the address it went to, counts. One that names another server is not
 * followed: nobody but the configured servers is ever contacted. */
static void handle_answer(IpopServers *servers, const uint8_t *datagram, size_t n, const Address *from) {
    StunMessage message;
    Address mapped = {0}, other;
    socklen_t mapped_size = sizeof mapped, other_size = sizeof other;
    Endpoint *e = find_endpoint(servers, from);

    if (!e || e->answered == servers->round)
        return;
    if (stun_agent_validate(&servers->agent, &message, datagram, n, NULL, NULL) != STUN_VALIDATION_SUCCESS ||
        stun_usage_bind_process(&message, &mapped.any, &mapped_size, &other.any, &other_size) !=
            STUN_USAGE_BIND_RETURN_SUCCESS)
        return;
    e->mapped = mapped;
    e->answered = servers->round;
    e->rank = servers->answers++;
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer data) {
    uint8_t datagram[DATAGRAM_MAX];
    for (unsigned i = 0; i < READS_MAX; i++) {
        Address from = {0};
        socklen_t from_size = sizeof from;
        ssize_t n = recvfrom(fd, datagram, sizeof datagram, 0, &from.any, &from_size);
        if (n < 0)
            break;
        handle_answer(data, datagram, (size_t)n, &from);
    }
    return G_SOURCE_CONTINUE;
}

static void close_sockets(IpopServers *servers) {
    for (unsigned f = 0; f < N_FAMILIES; f++) {
        if (servers->fd[f] < 0)
            continue;
        g_clear_handle_id(&servers->fd_source[f], g_source_remove);
        close(servers->fd[f]);
        servers->fd[f] = -1;
    }
}

/* One socket for all servers of a family: that they see it at different ports is what tells the NAT's kind. */
static void open_socket(IpopServers *servers, unsigned family) {
    int fd = socket(family == V6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    servers->fd[family] = fd;
    servers->fd_source[family] = g_unix_fd_add(fd, G_IO_IN, on_readable, servers);
}

/* Each request is a transaction of its own, so a late answer to an earlier one counts too. A request that can't be sent
 * (no route) is as good as lost. */
static void ask(IpopServers *servers, Endpoint *e, unsigned family) {
    uint8_t buffer[DATAGRAM_MAX];
    StunMessage message;

    if (e->address.any.sa_family == AF_UNSPEC || e->answered == servers->round || e->requests == REQUESTS_MAX)
        return;
    if (servers->fd[family] < 0)
        open_socket(servers, family);
    size_t n = stun_usage_bind_create(&servers->agent, &message, buffer, sizeof buffer);
    e->requests++;
    ssize_t sent = sendto(servers->fd[family], buffer, n, 0, &e->address.any, address_size(&e->address));
    (void)sent;
}

static void ask_all(IpopServers *servers) {
    for (unsigned i = 0; i < servers->stun.n; i++)
        for (unsigned f = 0; f < N_FAMILIES; f++)
            ask(servers, &servers->stun.server[i].endpoint[f], f);
}

static bool waiting(const IpopServers *servers) {
    for (unsigned i = 0; i < servers->stun.n; i++)
        for (unsigned f = 0; f < N_FAMILIES; f++) {
            const Endpoint *e = &servers->stun.server[i].endpoint[f];
            if (e->address.any.sa_family != AF_UNSPEC && e->answered != servers->round && e->requests < REQUESTS_MAX)
                return true;
        }
    return servers->lookups > 0;
}

static gboolean on_repeat(gpointer data) {
    IpopServers *servers = data;
    if (waiting(servers)) {
        ask_all(servers);
        return G_SOURCE_CONTINUE;
    }
    close_sockets(servers);
    servers->repeat_source = 0;
    return G_SOURCE_REMOVE;
}

typedef struct {
    GCancellable *cancel;
    IpopServers *servers; /* both gone once cancelled */
    Server *server;
} Lookup;

static void take_ips(Lookup *lookup, GList *ips) {
    bool seen[N_FAMILIES] = {false};
    for (GList *i = ips; i; i = i->next) {
        unsigned f = g_inet_address_get_family(i->data) == G_SOCKET_FAMILY_IPV6 ? V6 : V4;
        if (!seen[f])
            set_endpoint(lookup->server, i->data);
        seen[f] = true;
    }
    lookup->servers->lookups--;
    ask_all(lookup->servers);
}

/* A name that can't be resolved now keeps the address it had. */
static void on_resolved(GObject *resolver, GAsyncResult *result, gpointer data) {
    Lookup *lookup = data;
    GList *ips = g_resolver_lookup_by_name_finish(G_RESOLVER(resolver), result, NULL);
    if (!g_cancellable_is_cancelled(lookup->cancel))
        take_ips(lookup, ips);
    g_resolver_free_addresses(ips);
    g_object_unref(lookup->cancel);
    g_free(lookup);
}

static void resolve(IpopServers *servers, Server *server) {
    g_autoptr(GInetAddress) literal = g_inet_address_new_from_string(server->host);
    if (literal) {
        set_endpoint(server, literal);
        return;
    }
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    Lookup *lookup = g_new(Lookup, 1);
    *lookup = (Lookup){g_object_ref(servers->cancel), servers, server};
    servers->lookups++;
    g_resolver_lookup_by_name_async(resolver, server->host, servers->cancel, on_resolved, lookup);
}

static void stop_round(IpopServers *servers) {
    g_cancellable_cancel(servers->cancel);
    g_clear_object(&servers->cancel);
    g_clear_handle_id(&servers->repeat_source, g_source_remove);
    close_sockets(servers);
}

static void start_round(IpopServers *servers) {
    stop_round(servers);
    servers->cancel = g_cancellable_new();
    servers->lookups = 0;
    servers->answers = 0;
    servers->round++;
    stun_agent_init(&servers->agent, STUN_ALL_KNOWN_ATTRIBUTES, STUN_COMPATIBILITY_RFC5389,
                    STUN_AGENT_USAGE_IGNORE_CREDENTIALS);
    for (unsigned i = 0; i < servers->stun.n; i++) {
        for (unsigned f = 0; f < N_FAMILIES; f++)
            servers->stun.server[i].endpoint[f].requests = 0;
        resolve(servers, &servers->stun.server[i]);
    }
    for (unsigned i = 0; i < servers->turn.n; i++)
        resolve(servers, &servers->turn.server[i]);
    ask_all(servers);
    if (servers->stun.n > 0)
        servers->repeat_source = g_timeout_add(REPEAT_MS, on_repeat, servers);
}

static gboolean on_refresh(gpointer data) {
    start_round(data);
    return G_SOURCE_CONTINUE;
}

IpopServers *ipop_servers_new(void) {
    IpopServers *servers = g_new0(IpopServers, 1);
    servers->fd[V4] = servers->fd[V6] = -1;
    servers->refresh_source = g_timeout_add_seconds(REFRESH_S, on_refresh, servers);
    return servers;
}

static void list_clear(List *list) {
    for (unsigned i = 0; i < list->n; i++)
        server_clear(&list->server[i]);
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
static Server *list_add(List *list, const List *old, const char *text) {
    Server *server = &list->server[list->n];
    if (list->n == IPOP_SERVERS_MAX || !server_init(server, text))
        return NULL;
    list->n++;
    for (unsigned i = 0; i < old->n; i++)
        if (strcmp(text, old->server[i].text) == 0)
            memcpy(server->endpoint, old->server[i].endpoint, sizeof server->endpoint);
    return server;
}

void ipop_servers_set(IpopServers *servers, const char *const *stun, unsigned n_stun, const IpopTurnServer *turn,
                      unsigned n_turn) {
    List new_stun = {0}, new_turn = {0};

    for (unsigned i = 0; i < n_stun; i++)
        list_add(&new_stun, &servers->stun, stun[i]);
    for (unsigned i = 0; i < n_turn; i++) {
        Server *server = list_add(&new_turn, &servers->turn, turn[i].server);
        if (!server)
            continue;
        server->user = g_strdup(turn[i].user);
        server->pass = g_strdup(turn[i].pass);
        server->transport = turn[i].transport;
    }
    stop_round(servers);
    list_clear(&servers->stun);
    list_clear(&servers->turn);
    servers->stun = new_stun;
    servers->turn = new_turn;
    start_round(servers);
}

void ipop_servers_refresh(IpopServers *servers) {
    start_round(servers);
}

/* The newest round counts, and in it who was first; without any answer, who stands first. */
static const Endpoint *best_of_family(const IpopServers *servers, unsigned family) {
    const Endpoint *best = NULL;
    for (unsigned i = 0; i < servers->stun.n; i++) {
        const Endpoint *e = &servers->stun.server[i].endpoint[family];
        if (e->address.any.sa_family == AF_UNSPEC)
            continue;
        if (!best || e->answered > best->answered ||
            (e->answered && e->answered == best->answered && e->rank < best->rank))
            best = e;
    }
    return best;
}

bool ipop_servers_stun(const IpopServers *servers, char ret_ip[static 46], uint16_t *ret_port) {
    /* Only IPv4 is commonly translated: an answer over IPv6 says nothing that the host candidates don't. */
    const Endpoint *v4 = best_of_family(servers, V4), *v6 = best_of_family(servers, V6);
    const Endpoint *best = v4 && (v4->answered || !v6 || !v6->answered) ? v4 : v6;
    if (!best)
        return false;
    address_text(&best->address, ret_ip, ret_port);
    return true;
}

bool ipop_servers_turn(const IpopServers *servers, unsigned i, char ret_ip[static 46], uint16_t *ret_port,
                       const char **ret_user, const char **ret_pass, IpopTurnTransport *ret_transport) {
    for (unsigned f = 0; f < N_FAMILIES; f++)
        for (unsigned s = 0; s < servers->turn.n; s++) {
            const Server *server = &servers->turn.server[s];
            const Address *address = &server->endpoint[f].address;
            if (address->any.sa_family == AF_UNSPEC || i-- > 0)
                continue;
            address_text(address, ret_ip, ret_port);
            *ret_user = server->user;
            *ret_pass = server->pass;
            *ret_transport = server->transport;
            return true;
        }
    return false;
}

IpopNatMapping ipop_servers_nat(const IpopServers *servers) {
    const Endpoint *first = NULL;
    IpopNatMapping mapping = IPOP_NAT_UNKNOWN;
    for (unsigned i = 0; i < servers->stun.n; i++) {
        const Endpoint *e = &servers->stun.server[i].endpoint[V4];
        if (!e->answered || e->answered != servers->round)
            continue;
        if (!first)
            first = e;
        else if (!address_equal(&first->mapped, &e->mapped))
            return IPOP_NAT_DEPENDENT;
        else if (first->address.v4.sin_addr.s_addr != e->address.v4.sin_addr.s_addr)
            mapping = IPOP_NAT_INDEPENDENT;
    }
    return mapping;
}
