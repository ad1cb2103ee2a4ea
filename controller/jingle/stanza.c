#include "controller/jingle/stanza.h"

#include "controller/jingle/presence.h"
#include "controller/jingle/xml.h"

#include <string.h>

#define NS_JINGLE "urn:xmpp:jingle:1"
#define NS_ICE_UDP "urn:xmpp:jingle:transports:ice-udp:1"
#define NS_JINGLE_ERRORS "urn:xmpp:jingle:errors:1"
#define NS_STANZAS "urn:ietf:params:xml:ns:xmpp-stanzas"
#define NS_DISCO_INFO "http://jabber.org/protocol/disco#info"
#define NS_PING "urn:xmpp:ping"
#define CONTENT "tunnel"
#define GENERATION_MAX INT32_MAX
#define ATTRIBUTE_MAX 255

static const char *const actions[] = {
    [IPOP_JINGLE_INITIATE] = "session-initiate",
    [IPOP_JINGLE_ACCEPT] = "session-accept",
    [IPOP_JINGLE_TRANSPORT_INFO] = "transport-info",
    [IPOP_JINGLE_TERMINATE] = "session-terminate",
};

static const char *const reasons[] = {
    [IPOP_REASON_SUCCESS] = "success",
    [IPOP_REASON_SECURITY_ERROR] = "security-error",
    [IPOP_REASON_CONNECTIVITY_ERROR] = "connectivity-error",
    [IPOP_REASON_GONE] = "gone",
    [IPOP_REASON_OTHER] = "general-error",
};

static const struct {
    const char *type, *condition, *jingle; /* RFC 6120 section 8.3; XEP-0166 section 9 */
} errors[] = {
    [IPOP_STANZA_BAD_REQUEST] = {"modify", "bad-request", NULL},
    [IPOP_STANZA_SERVICE_UNAVAILABLE] = {"cancel", "service-unavailable", NULL},
    [IPOP_STANZA_ITEM_NOT_FOUND] = {"cancel", "item-not-found", "unknown-session"},
    [IPOP_STANZA_TIE_BREAK] = {"cancel", "conflict", "tie-break"},
    [IPOP_STANZA_FORBIDDEN] = {"auth", "forbidden", NULL},
    [IPOP_STANZA_RESOURCE_CONSTRAINT] = {"wait", "resource-constraint", NULL},
};

/* Session ids are opaque; these characters are what XEP-0166's NMTOKEN and ASCII have in common. */
static bool sid_valid(const char *sid) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:";
    return sid && *sid && sid[strspn(sid, allowed)] == '\0';
}

/* Copies an element's text, cut at a character's border. */
static void copy_text(IpopXml *element, char *to, size_t size) {
    char *text = element ? xmpp_stanza_get_text(element) : NULL;
    g_strlcpy(to, text ? text : "", size);
    if (text)
        xmpp_free(xmpp_stanza_get_context(element), text);
    const char *end;
    if (!g_utf8_validate(to, -1, &end))
        to[end - to] = '\0';
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

static bool read_candidate(IpopXml *element, IpopCandidate *ret, uint64_t *ret_generation) {
    uint64_t component, priority, port, rel_port = 0;
    const char *protocol = ipop_xml_get(element, "protocol", 8);
    const char *rel_ip = ipop_xml_get(element, "rel-addr", ATTRIBUTE_MAX);
    *ret_generation = 0;
    if (!protocol || g_ascii_strcasecmp(protocol, "udp") != 0 || !ipop_xml_get_uint(element, "component", 1, 1, &component))
        return false;
    if (!ipop_xml_get_uint(element, "priority", 1, UINT32_MAX, &priority) ||
        !ipop_xml_get_uint(element, "port", 1, UINT16_MAX, &port))
        return false;
    if (xmpp_stanza_get_attribute(element, "generation") &&
        !ipop_xml_get_uint(element, "generation", 0, GENERATION_MAX, ret_generation))
        return false;
    if (rel_ip && xmpp_stanza_get_attribute(element, "rel-port") &&
        !ipop_xml_get_uint(element, "rel-port", 0, UINT16_MAX, &rel_port))
        return false;
    const char *type = ipop_xml_get(element, "type", ATTRIBUTE_MAX), *ip = ipop_xml_get(element, "ip", ATTRIBUTE_MAX);
    return type && ip && ipop_candidate_make(ret, type, ipop_xml_get(element, "foundation", ATTRIBUTE_MAX), priority, ip, port,
                                             rel_ip, rel_port);
}

/* The generation is that of the first good candidate, or the transport's own where there is none; a candidate of another
 * generation is left out. */
static bool read_transport(IpopXml *transport, IpopJingle *jingle) {
    uint64_t generation = 0;
    const char *ufrag = ipop_xml_get(transport, "ufrag", IPOP_ICE_UFRAG_MAX);
    const char *pwd = ipop_xml_get(transport, "pwd", IPOP_ICE_PWD_MAX);
    if (!ipop_ice_credentials_valid(ufrag, pwd))
        return false;
    if (xmpp_stanza_get_attribute(transport, "generation") &&
        !ipop_xml_get_uint(transport, "generation", 0, GENERATION_MAX, &generation))
        return false;
    strcpy(jingle->ufrag, ufrag);
    strcpy(jingle->pwd, pwd);
    jingle->end = ipop_xml_next(transport, NULL, "gathering-complete", NS_ICE_UDP);

    bool fixed = jingle->action != IPOP_JINGLE_TRANSPORT_INFO;
    jingle->generation = fixed ? 0 : (unsigned)generation;
    for (IpopXml *element = NULL; (element = ipop_xml_next(transport, element, "candidate", NS_ICE_UDP));) {
        IpopCandidate candidate;
        if (jingle->n_candidates == IPOP_CANDIDATES_MAX || !read_candidate(element, &candidate, &generation) ||
            (fixed && generation != jingle->generation)) {
            jingle->dropped++;
            continue;
        }
        fixed = true;
        jingle->generation = (unsigned)generation;
        jingle->candidates[jingle->n_candidates++] = candidate;
    }
    return true;
}

static bool read_content(IpopXml *element, IpopJingle *jingle) {
    IpopXml *content = ipop_xml_only(element, "content", NS_JINGLE);
    const char *name = content ? ipop_xml_get(content, "name", ATTRIBUTE_MAX) : NULL;
    IpopXml *transport = name && strcmp(name, CONTENT) == 0 ? ipop_xml_only(content, "transport", NS_ICE_UDP) : NULL;
    if (!transport)
        return false;
    if (jingle->action != IPOP_JINGLE_TRANSPORT_INFO) {
        IpopXml *description = ipop_xml_only(content, "description", IPOP_NS_TUNNEL);
        if (!description || !ipop_uid_parse(ipop_xml_get(description, "uid", ATTRIBUTE_MAX), &jingle->uid))
            return false;
        const char *nat = ipop_xml_get(description, "nat", IPOP_NAT_TEXT_MAX);
        IpopNat known;
        if (nat && ipop_nat_parse(nat, &known))
            strcpy(jingle->nat, nat);
    }
    return read_transport(transport, jingle);
}

static void read_reason(IpopXml *element, IpopJingle *jingle) {
    IpopXml *reason = ipop_xml_next(element, NULL, "reason", NS_JINGLE);
    jingle->reason = IPOP_REASON_OTHER;
    if (!reason)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(reasons); i++)
        if (ipop_xml_next(reason, NULL, reasons[i], NS_JINGLE))
            jingle->reason = (IpopJingleReason)i;
    copy_text(ipop_xml_next(reason, NULL, "text", NS_JINGLE), jingle->text, sizeof jingle->text);
}

static bool read_jingle(IpopXml *element, IpopJingle *jingle) {
    const char *action = ipop_xml_get(element, "action", ATTRIBUTE_MAX);
    const char *sid = ipop_xml_get(element, "sid", IPOP_SID_MAX);
    unsigned i = 0;
    while (action && i < G_N_ELEMENTS(actions) && strcmp(action, actions[i]) != 0)
        i++;
    if (!action || i == G_N_ELEMENTS(actions) || !sid_valid(sid))
        return false;
    *jingle = (IpopJingle){.action = (IpopJingleAction)i};
    strcpy(jingle->sid, sid);
    if (jingle->action != IPOP_JINGLE_TERMINATE)
        return read_content(element, jingle);
    read_reason(element, jingle);
    return true;
}

IpopIqKind ipop_iq_parse(const char *xml, size_t n, IpopIq *ret) {
    g_autoptr(IpopXml) iq = ipop_xml_parse(xml, n);
    if (!iq || !ipop_xml_is(iq, "iq", XMPP_NS_CLIENT))
        return IPOP_IQ_MALFORMED;
    const char *type = ipop_xml_get(iq, "type", ATTRIBUTE_MAX), *id = ipop_xml_get(iq, "id", IPOP_IQ_ID_MAX);
    bool has_from = xmpp_stanza_get_from(iq), is_get = g_strcmp0(type, "get") == 0;
    const char *from = has_from ? ipop_xml_get(iq, "from", IPOP_JID_MAX) : "";
    if (!from || !id || !*id || (!is_get && g_strcmp0(type, "set") != 0))
        return IPOP_IQ_MALFORMED;
    strcpy(ret->from, from);
    strcpy(ret->id, id);
    ret->disco_node[0] = '\0';

    /* A request has exactly one child element (RFC 6120 section 8.2.3). */
    IpopXml *payload = ipop_xml_next(iq, NULL, NULL, NULL);
    if (!payload || ipop_xml_next(iq, payload, NULL, NULL))
        return IPOP_IQ_UNKNOWN;
    if (!is_get && ipop_xml_is(payload, "jingle", NS_JINGLE))
        return read_jingle(payload, &ret->jingle) ? IPOP_IQ_JINGLE : IPOP_IQ_JINGLE_BAD;
    if (is_get && ipop_xml_is(payload, "ping", NS_PING))
        return IPOP_IQ_PING;
    if (!is_get || !ipop_xml_is(payload, "query", NS_DISCO_INFO))
        return IPOP_IQ_UNKNOWN;
    if (!xmpp_stanza_get_attribute(payload, "node"))
        return IPOP_IQ_DISCO_INFO;
    const char *node = ipop_xml_get(payload, "node", sizeof ret->disco_node - 1);
    if (!node)
        return IPOP_IQ_UNKNOWN;
    strcpy(ret->disco_node, node);
    return IPOP_IQ_DISCO_INFO;
}

/* What others mean by conditions that we don't send ourselves; anything else is taken for service-unavailable. */
static IpopStanzaError read_condition(IpopXml *error) {
    static const struct {
        const char *condition;
        IpopStanzaError meaning;
    } others[] = {
        {"not-allowed", IPOP_STANZA_FORBIDDEN},
        {"not-authorized", IPOP_STANZA_FORBIDDEN},
        {"policy-violation", IPOP_STANZA_FORBIDDEN},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
        if (ipop_xml_next(error, NULL, others[i].condition, NS_STANZAS))
            return others[i].meaning;
    for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
        if (!ipop_xml_next(error, NULL, errors[i].condition, NS_STANZAS))
            continue;
        /* A conflict of another kind is no tie-break. */
        if (i != IPOP_STANZA_TIE_BREAK || ipop_xml_next(error, NULL, errors[i].jingle, NS_JINGLE_ERRORS))
            return (IpopStanzaError)i;
    }
    return IPOP_STANZA_SERVICE_UNAVAILABLE;
}

bool ipop_iq_error_parse(const char *xml, size_t n, IpopStanzaError *ret_error, char ret_text[static IPOP_REASON_MAX + 1]) {
    g_autoptr(IpopXml) iq = ipop_xml_parse(xml, n);
    if (!iq || !ipop_xml_is(iq, "iq", XMPP_NS_CLIENT) || g_strcmp0(xmpp_stanza_get_type(iq), "error") != 0)
        return false;
    IpopXml *error = ipop_xml_next(iq, NULL, "error", XMPP_NS_CLIENT);
    *ret_error = error ? read_condition(error) : IPOP_STANZA_SERVICE_UNAVAILABLE;
    copy_text(error ? ipop_xml_next(error, NULL, "text", NS_STANZAS) : NULL, ret_text, IPOP_REASON_MAX + 1);
    return true;
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

static void write_candidate(IpopXml *transport, const IpopCandidate *candidate, unsigned generation) {
    IpopXml *element = ipop_xml_add(transport, "candidate", NULL);
    char id[12];
    /* Priorities differ within an agent, in more than the last byte, which is the component's (RFC 8445 section 5.1.2).
     * Every byte counts where servers throttle: so no `network`, which is for diagnosis only, and no generation of 0,
     * which is what its absence means (XEP-0371 made it optional). */
    g_snprintf(id, sizeof id, "c%x", candidate->priority >> 8);
    ipop_xml_set(element, "id", id);
    ipop_xml_set(element, "component", "1");
    ipop_xml_set(element, "protocol", "udp");
    if (generation > 0)
        ipop_xml_set_uint(element, "generation", generation);
    ipop_xml_set(element, "type", ipop_candidate_type_name(candidate->type));
    ipop_xml_set(element, "foundation", candidate->foundation);
    ipop_xml_set_uint(element, "priority", candidate->priority);
    ipop_xml_set(element, "ip", candidate->ip);
    ipop_xml_set_uint(element, "port", candidate->port);
    if (*candidate->rel_ip) {
        ipop_xml_set(element, "rel-addr", candidate->rel_ip);
        ipop_xml_set_uint(element, "rel-port", candidate->rel_port);
    }
}

static void write_content(IpopXml *element, const IpopJingle *jingle) {
    IpopXml *content = ipop_xml_add(element, "content", NULL);
    ipop_xml_set(content, "creator", "initiator");
    ipop_xml_set(content, "name", CONTENT);
    if (jingle->action != IPOP_JINGLE_TRANSPORT_INFO) {
        IpopXml *description = ipop_xml_add(content, "description", IPOP_NS_TUNNEL);
        ipop_xml_set(description, "uid", jingle->uid.hex);
        if (*jingle->nat)
            ipop_xml_set(description, "nat", jingle->nat);
    }

    IpopXml *transport = ipop_xml_add(content, "transport", NS_ICE_UDP);
    ipop_xml_set(transport, "ufrag", jingle->ufrag);
    ipop_xml_set(transport, "pwd", jingle->pwd);
    if (jingle->n_candidates == 0 && jingle->generation > 0)
        ipop_xml_set_uint(transport, "generation", jingle->generation); /* no candidate says it */
    for (unsigned i = 0; i < jingle->n_candidates; i++)
        write_candidate(transport, &jingle->candidates[i], jingle->generation);
    if (jingle->end)
        ipop_xml_add(transport, "gathering-complete", NULL);
}

char *ipop_jingle_build(const IpopJingle *jingle, const char *initiator) {
    IpopXml *element = ipop_xml_new("jingle", NS_JINGLE);
    ipop_xml_set(element, "action", actions[jingle->action]);
    ipop_xml_set(element, "sid", jingle->sid);
    if (jingle->action == IPOP_JINGLE_INITIATE && initiator)
        ipop_xml_set(element, "initiator", initiator);
    if (jingle->action != IPOP_JINGLE_TERMINATE) {
        write_content(element, jingle);
    } else {
        IpopXml *reason = ipop_xml_add(element, "reason", NULL);
        ipop_xml_add(reason, reasons[jingle->reason], NULL);
        if (*jingle->text)
            ipop_xml_set_text(ipop_xml_add(reason, "text", NULL), jingle->text);
    }
    return ipop_xml_finish(element);
}

static IpopXml *begin_answer(const char *type, const char *to, const char *id) {
    IpopXml *iq = ipop_xml_new("iq", NULL);
    ipop_xml_set(iq, "type", type);
    ipop_xml_set(iq, "id", id);
    if (*to)
        ipop_xml_set(iq, "to", to);
    return iq;
}

char *ipop_iq_result(const char *to, const char *id, const char *payload) {
    IpopXml *iq = begin_answer("result", to, id);
    if (payload) {
        IpopXml *child = ipop_xml_parse(payload, strlen(payload));
        g_assert(child);
        xmpp_stanza_add_child_ex(iq, child, 0);
    }
    return ipop_xml_finish(iq);
}

char *ipop_iq_error(const char *to, const char *id, IpopStanzaError error, const char *text) {
    IpopXml *iq = begin_answer("error", to, id);
    IpopXml *element = ipop_xml_add(iq, "error", NULL);
    ipop_xml_set(element, "type", errors[error].type);
    ipop_xml_add(element, errors[error].condition, NS_STANZAS);
    if (text && *text)
        ipop_xml_set_text(ipop_xml_add(element, "text", NS_STANZAS), text);
    if (errors[error].jingle)
        ipop_xml_add(element, errors[error].jingle, NS_JINGLE_ERRORS);
    return ipop_xml_finish(iq);
}
