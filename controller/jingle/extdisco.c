#include "controller/jingle/extdisco.h"

#include "controller/jingle/xml.h"

#include <string.h>

#define NS_EXTDISCO_2 "urn:xmpp:extdisco:2"
#define NS_EXTDISCO_1 "urn:xmpp:extdisco:1"
#define REFRESH_MIN 5
#define REFRESH_BLIND 600

const char *ipop_services_request(unsigned version) {
    return version == 2 ? "<services xmlns='" NS_EXTDISCO_2 "'/>" : "<services xmlns='" NS_EXTDISCO_1 "'/>";
}

/* A name or a numeric address, and nothing that could be taken for more. */
static bool read_server(IpopXml *element, char *ret, size_t size) {
    static const char allowed[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS ".-_:";
    const char *host = ipop_xml_get(element, "host", IPOP_SERVICE_TEXT_MAX);
    uint64_t port = 3478;
    if (host == NULL || host[0] == '\0' || strspn(host, allowed) != strlen(host))
        return false;
    if (ipop_xml_get(element, "port", 16) != NULL && !ipop_xml_get_uint(element, "port", 1, 65535, &port))
        return false;
    g_snprintf(ret, (gulong)size, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
    return true;
}

static void note_expiry(IpopXml *element, IpopServices *services) {
    const char *text = ipop_xml_get(element, "expires", 64);
    g_autoptr(GDateTime) date = text != NULL ? g_date_time_new_from_iso8601(text, NULL) : NULL;
    if (date != NULL)
        services->expires = MIN(services->expires, g_date_time_to_unix(date));
}

static void read_service(IpopXml *element, IpopServices *services) {
    IpopService service = {0};
    const char *type = ipop_xml_get(element, "type", 16), *transport = ipop_xml_get(element, "transport", 16);
    const char *action = ipop_xml_get(element, "action", 16);
    const char *user = ipop_xml_get(element, "username", IPOP_SERVICE_TEXT_MAX);
    const char *pass = ipop_xml_get(element, "password", IPOP_SERVICE_TEXT_MAX);
    service.tcp = transport != NULL && strcmp(transport, "tcp") == 0;
    if (type == NULL || (transport != NULL && !service.tcp && strcmp(transport, "udp") != 0) ||
        (action != NULL && strcmp(action, "delete") == 0) || !read_server(element, service.server, sizeof service.server))
        return;
    if (strcmp(type, "stun") == 0 && !service.tcp && services->n_stun < IPOP_SERVICES_MAX) {
        services->stun[services->n_stun++] = service;
    } else if (strcmp(type, "turn") == 0 && user != NULL && pass != NULL && services->n_turn < IPOP_SERVICES_MAX) {
        g_strlcpy(service.user, user, sizeof service.user);
        g_strlcpy(service.pass, pass, sizeof service.pass);
        services->turn[services->n_turn++] = service;
        note_expiry(element, services);
    }
}

bool ipop_services_parse(const char *xml, size_t n, IpopServices *ret) {
    g_autoptr(IpopXml) iq = ipop_xml_parse(xml, n);
    IpopXml *list = iq != NULL ? ipop_xml_only(iq, "services", NS_EXTDISCO_2) : NULL;
    const char *ns = NS_EXTDISCO_2;
    if (iq != NULL && list == NULL)
        list = ipop_xml_only(iq, "services", ns = NS_EXTDISCO_1);
    if (list == NULL)
        return false;
    memset(ret, 0, sizeof *ret);
    ret->expires = INT64_MAX;
    for (IpopXml *service = NULL; (service = ipop_xml_next(list, service, "service", ns)) != NULL;)
        read_service(service, ret);
    return true;
}

int64_t ipop_services_refresh_after(const IpopServices *services, int64_t now) {
    /* No server offers what has ended: one of the clocks is wrong, and how long these are good is anyone's guess. */
    if (services->expires < now)
        return REFRESH_BLIND;
    return CLAMP((services->expires - now) / 2, REFRESH_MIN, IPOP_SERVICES_REFRESH_MAX);
}
