#include "tincan/stun/server.h"

#include <string.h>

#define PORT_DEFAULT 3478 /* RFC 8489 section 18.6 */
#define HOST_MAX 253      /* RFC 1035 section 2.3.4 */

/* "host", "host:port", "[v6]", "[v6]:port". No service names: they would be looked up. */
static bool parse(const char *text, char **ret_host, uint16_t *ret_port) {
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

bool ipop_server_init(IpopServer *ret, const char *text) {
    IpopServer server = {0};
    if (!parse(text, &server.host, &server.port))
        return false;
    server.text = g_strdup(text);
    *ret = server;
    return true;
}

void ipop_server_clear(IpopServer *server) {
    ipop_turn_trial_free(server->trial);
    g_free(server->text);
    g_free(server->host);
    g_free(server->user);
    if (server->pass)
        explicit_bzero(server->pass, strlen(server->pass));
    g_free(server->pass);
    g_free(server->verdict_text);
    *server = (IpopServer){0};
}

void ipop_server_set_endpoint(IpopServer *server, GInetAddress *ip) {
    g_autoptr(GSocketAddress) full = g_inet_socket_address_new(ip, server->port);
    IpopAddress address = {0};
    if (!g_socket_address_to_native(full, &address, sizeof address, NULL))
        return;
    IpopEndpoint *e = &server->endpoint[address.any.sa_family == AF_INET6 ? IPOP_V6 : IPOP_V4];
    if (!ipop_address_equal(&e->address, &address))
        *e = (IpopEndpoint){.address = address};
}

bool ipop_server_has_address(const IpopServer *server) {
    return server->endpoint[IPOP_V4].address.any.sa_family != AF_UNSPEC ||
           server->endpoint[IPOP_V6].address.any.sa_family != AF_UNSPEC;
}
