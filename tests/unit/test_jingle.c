#include "controller/jingle/presence.h"
#include "controller/jingle/stanza.h"
#include "controller/jingle/xml.h"

#include <string.h>

#define INITIATOR "anna@example.org/ipop-0a1b2c3d"

/* A payload as it comes in. */
static char *in_iq(const char *payload) {
    return g_strdup_printf("<iq type='set' from='" INITIATOR "' to='x@y/z' id='i7'>%s</iq>", payload);
}

static IpopIqKind parse(const char *xml, IpopIq *iq) {
    return ipop_iq_parse(xml, strlen(xml), iq);
}

static void random_text(char *to, size_t min, size_t max, const char *alphabet) {
    size_t n = (size_t)g_test_rand_int_range((gint32)min, (gint32)max + 1);
    for (size_t i = 0; i < n; i++)
        to[i] = alphabet[g_test_rand_int_range(0, (gint32)strlen(alphabet))];
    to[n] = '\0';
}

#define ICE_CHARS "abcXYZ0189+/"

static IpopCandidate random_candidate(void) {
    static const char *const types[] = {"host", "srflx", "prflx", "relay"};
    static const char *const ips[] = {"192.0.2.7", "10.1.2.3", "2001:db8::7", "fd00::1"};
    char foundation[IPOP_FOUNDATION_MAX + 1];
    IpopCandidate candidate;
    random_text(foundation, 1, IPOP_FOUNDATION_MAX, ICE_CHARS);
    bool related = g_test_rand_bit();
    g_assert_true(ipop_candidate_make(&candidate, types[g_test_rand_int_range(0, 4)], foundation,
                                      (uint64_t)g_test_rand_int_range(1, G_MAXINT32), ips[g_test_rand_int_range(0, 4)],
                                      (uint64_t)g_test_rand_int_range(1, 65536), related ? ips[g_test_rand_int_range(0, 4)] : NULL,
                                      related ? (uint64_t)g_test_rand_int_range(0, 65536) : 0));
    return candidate;
}

static IpopJingle random_jingle(void) {
    static const char *const texts[] = {"", "a pin says no", "<&>\"'", "gr\303\274n \342\202\254"};
    IpopJingle jingle = {.action = (IpopJingleAction)g_test_rand_int_range(0, 4)};
    random_text(jingle.sid, 1, IPOP_SID_MAX, "0123456789abcdefXYZ.-_");
    if (jingle.action == IPOP_JINGLE_TERMINATE) {
        jingle.reason = (IpopJingleReason)g_test_rand_int_range(0, IPOP_REASON_OTHER + 1);
        strcpy(jingle.text, texts[g_test_rand_int_range(0, G_N_ELEMENTS(texts))]);
        return jingle;
    }
    if (jingle.action == IPOP_JINGLE_TRANSPORT_INFO)
        jingle.generation = (unsigned)g_test_rand_int_range(0, G_MAXINT32);
    else
        random_text(jingle.uid.hex, 40, 40, "0123456789abcdef");
    if (jingle.action != IPOP_JINGLE_TRANSPORT_INFO && g_test_rand_bit())
        strcpy(jingle.nat, "dependent/port");
    random_text(jingle.ufrag, 4, g_test_rand_bit() ? 8 : IPOP_ICE_UFRAG_MAX, ICE_CHARS);
    random_text(jingle.pwd, 22, g_test_rand_bit() ? 24 : IPOP_ICE_PWD_MAX, ICE_CHARS);
    jingle.end = g_test_rand_bit();
    jingle.n_candidates = (unsigned)g_test_rand_int_range(0, g_test_rand_bit() ? 4 : IPOP_CANDIDATES_MAX + 1);
    for (unsigned i = 0; i < jingle.n_candidates; i++)
        jingle.candidates[i] = random_candidate();
    return jingle;
}

static void assert_candidate_equal(const IpopCandidate *a, const IpopCandidate *b) {
    g_assert_cmpint(a->type, ==, b->type);
    g_assert_cmpstr(a->foundation, ==, b->foundation);
    g_assert_cmpuint(a->priority, ==, b->priority);
    g_assert_cmpstr(a->ip, ==, b->ip);
    g_assert_cmpuint(a->port, ==, b->port);
    g_assert_cmpstr(a->rel_ip, ==, b->rel_ip);
    g_assert_cmpuint(a->rel_port, ==, b->rel_port);
}

static void assert_jingle_equal(const IpopJingle *a, const IpopJingle *b) {
    g_assert_cmpint(a->action, ==, b->action);
    g_assert_cmpstr(a->sid, ==, b->sid);
    g_assert_cmpstr(a->uid.hex, ==, b->uid.hex);
    g_assert_cmpstr(a->nat, ==, b->nat);
    g_assert_cmpstr(a->ufrag, ==, b->ufrag);
    g_assert_cmpstr(a->pwd, ==, b->pwd);
    g_assert_cmpuint(a->generation, ==, b->generation);
    g_assert_cmpuint(a->n_candidates, ==, b->n_candidates);
    for (unsigned i = 0; i < a->n_candidates; i++)
        assert_candidate_equal(&a->candidates[i], &b->candidates[i]);
    g_assert_true(a->end == b->end);
    g_assert_cmpint(a->reason, ==, b->reason);
    g_assert_cmpstr(a->text, ==, b->text);
}

static void test_round_trip(void) {
    for (int round = 0; round < 300; round++) {
        IpopJingle jingle = random_jingle();
        g_autofree char *payload = ipop_jingle_build(&jingle, INITIATOR), *xml = in_iq(payload);
        IpopIq iq;
        g_assert_cmpint(parse(xml, &iq), ==, IPOP_IQ_JINGLE);
        g_assert_cmpstr(iq.from, ==, INITIATOR);
        g_assert_cmpstr(iq.id, ==, "i7");
        g_assert_cmpuint(iq.jingle.dropped, ==, 0);
        assert_jingle_equal(&jingle, &iq.jingle);
    }
}

static IpopJingle an_offer(void) {
    IpopJingle jingle = {.action = IPOP_JINGLE_INITIATE, .sid = "5f3a9c0d12e4b678", .ufrag = "aB3+", .n_candidates = 3};
    strcpy(jingle.uid.hex, "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567");
    strcpy(jingle.pwd, "0123456789abcdefghijkl");
    ipop_candidate_make(&jingle.candidates[0], "host", "1", 2015363327, "192.168.178.123", 50123, NULL, 0);
    ipop_candidate_make(&jingle.candidates[1], "host", "2", 2015363583, "2001:db8:f0a:b200:9abc:def0:1234:5678", 50124, NULL, 0);
    ipop_candidate_make(&jingle.candidates[2], "srflx", "3", 1679819007, "203.0.113.201", 50123, "192.168.178.123", 50123);
    return jingle;
}

/* The budget is 1 kB per peer in all. */
static void test_size(void) {
    IpopJingle jingle = an_offer();
    g_autofree char *payload = ipop_jingle_build(&jingle, NULL), *full = ipop_jingle_build(&jingle, INITIATOR);
    g_autofree char *iq = g_strdup_printf("<iq type='set' id='0123456789abcdef-12' to='" INITIATOR "'>%s</iq>", payload);
    g_test_message("offer with three candidates: %zu bytes, %zu more with the initiator", strlen(iq), strlen(full) - strlen(payload));
    g_assert_cmpuint(strlen(iq), <, 900);
}

/* Written by hand after the examples of XEP-0166 and XEP-0176, with what another implementation might add. */
static void test_foreign(void) {
    static const char xml[] =
        "<iq xmlns='jabber:client' from='romeo@montague.example/dr4hcr0st3lup4c' id='ixt174g9' to='j@c.example/balcony' type='set'>"
        "<jingle xmlns='urn:xmpp:jingle:1' action='transport-info' initiator='romeo@montague.example/dr4hcr0st3lup4c' "
        "sid='a73sjjvkla37jfea' x='1'><content creator='initiator' name='tunnel' senders='both'>"
        "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' pwd='asd88fgpdd777uzjYhagZg' ufrag='8hhy'>"
        "<remote-candidate component='1' ip='192.0.2.3' port='45664'/><other xmlns='urn:x'/>"
        "<candidate component='1' foundation='1' generation='2' id='el0747fg11' ip='192.0.2.3' network='1' port='8998' "
        "priority='2130706431' protocol='UDP' type='host'/>"
        "<candidate component='1' foundation='2' generation='2' id='y3s2b30v3r' ip='192.0.2.9' network='1' port='45664' "
        "priority='1694498815' protocol='udp' rel-addr='10.0.1.1' rel-port='8998' type='srflx'/>"
        "</transport></content></jingle></iq>";
    IpopIq iq;
    g_assert_cmpint(parse(xml, &iq), ==, IPOP_IQ_JINGLE);
    g_assert_cmpint(iq.jingle.action, ==, IPOP_JINGLE_TRANSPORT_INFO);
    g_assert_cmpstr(iq.jingle.ufrag, ==, "8hhy");
    g_assert_cmpuint(iq.jingle.generation, ==, 2);
    g_assert_cmpuint(iq.jingle.n_candidates, ==, 2);
    g_assert_cmpstr(iq.jingle.candidates[1].rel_ip, ==, "10.0.1.1");
    g_assert_false(iq.jingle.end);
}

/* A candidate that is wrong in one point is left out, the others stay. */
static void test_bad_candidates(void) {
    static const char good[] = "<candidate component=\"1\" foundation=\"1\" generation=\"0\" id=\"a\" ip=\"192.0.2.7\" network=\"0\" "
                               "port=\"4000\" priority=\"100\" protocol=\"udp\" type=\"srflx\" rel-addr=\"10.0.0.1\" rel-port=\"7\"/>";
    static const char *const changes[][2] = {
        {"component=\"1\"", "component=\"2\""}, {"component=\"1\"", "component=\"\""}, {"component=\"1\"", ""},
        {"foundation=\"1\"", "foundation=\"\""}, {"foundation=\"1\"", ""}, {"foundation=\"1\"", "foundation=\"a b\""},
        {"foundation=\"1\"", "foundation=\"123456789012345678901234567890123\""},
        {"generation=\"0\"", "generation=\"1\""}, {"generation=\"0\"", "generation=\"-0\""},
        {"192.0.2.7", "peer.example.org"}, {"192.0.2.7", "127.0.0.1"}, {"192.0.2.7", "0.0.0.0"}, {"192.0.2.7", "fe80::1%eth0"},
        {"192.0.2.7", "192.0.2.7 "}, {"192.0.2.7", ""}, {" ip=\"192.0.2.7\"", ""}, {"192.0.2.7", "224.0.0.251"},
        {"\"4000\"", "\"0\""}, {"\"4000\"", "\"65536\""}, {"\"4000\"", "\"+4000\""}, {"\"4000\"", "\"4e3\""}, {" port=\"4000\"", ""},
        {"\"4000\"", "\"99999999999999999999999\""}, {"\"100\"", "\"0\""}, {"\"100\"", "\"2147483648\""}, {"\"100\"", "\"-1\""},
        {"protocol=\"udp\"", "protocol=\"tcp\""}, {"protocol=\"udp\"", ""}, {"\"srflx\"", "\"local\""}, {"type=\"srflx\"", ""},
        {"10.0.0.1", "name.example.org"}, {"rel-port=\"7\"", "rel-port=\"65536\""}, {"rel-port=\"7\"", "rel-port=\"x\""},
    };
    g_autoptr(GString) xml = g_string_new("<jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='s'><content name='tunnel'>"
                                          "<description xmlns='urn:ipop:tunnel:1' uid='0A1B2C3D4E5F60718293A4B5C6D7E8F901234567' "
                                          "nat='of another kind'/>"
                                          "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='abcd' "
                                          "pwd='0123456789abcdefghijkl'>");
    g_string_append(xml, good);
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GString) bad = g_string_new(good);
        g_assert_cmpuint(g_string_replace(bad, changes[i][0], changes[i][1], 1), ==, 1);
        g_string_append(xml, bad->str);
    }
    g_string_append(xml, good);
    g_string_append(xml, "<gathering-complete/></transport></content></jingle>");
    g_autofree char *stanza = in_iq(xml->str);
    IpopIq iq;
    g_assert_cmpint(parse(stanza, &iq), ==, IPOP_IQ_JINGLE);
    g_assert_cmpuint(iq.jingle.n_candidates, ==, 2);
    g_assert_cmpuint(iq.jingle.dropped, ==, G_N_ELEMENTS(changes));
    g_assert_cmpuint(iq.jingle.generation, ==, 0);
    g_assert_true(iq.jingle.end);
    g_assert_cmpstr(iq.jingle.uid.hex, ==, "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567");
    g_assert_cmpstr(iq.jingle.nat, ==, "");
}

static void test_many_candidates(void) {
    g_autoptr(GString) xml = g_string_new("<jingle xmlns='urn:xmpp:jingle:1' action='transport-info' sid='s'><content name='tunnel'>"
                                          "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='abcd' "
                                          "pwd='0123456789abcdefghijkl'>");
    for (int i = 1; i <= 100; i++)
        g_string_append_printf(xml, "<candidate component='1' foundation='1' generation='%d' ip='192.0.2.%d' port='4000' priority='%d' "
                               "protocol='udp' type='host'/>", i == 7 ? 4 : 3, i, i);
    g_string_append(xml, "</transport></content></jingle>");
    g_autofree char *stanza = in_iq(xml->str);
    IpopIq iq;
    g_assert_cmpint(parse(stanza, &iq), ==, IPOP_IQ_JINGLE);
    g_assert_cmpuint(iq.jingle.n_candidates, ==, IPOP_CANDIDATES_MAX);
    g_assert_cmpuint(iq.jingle.dropped, ==, 100 - IPOP_CANDIDATES_MAX);
    g_assert_cmpuint(iq.jingle.generation, ==, 3);
    g_assert_cmpstr(iq.jingle.candidates[6].ip, ==, "192.0.2.8"); /* the seventh was of another generation */
}

/* Jingle that is wrong as a whole. */
static void test_bad_jingle(void) {
    static const char *const changes[][2] = {
        {"session-initiate", "session-info"}, {"session-initiate", ""}, {" action=", " x="},
        {" sid=", " dis="}, {"5f3a9c0d12e4b678", ""}, {"5f3a9c0d12e4b678", "a b"}, {"5f3a9c0d12e4b678", "a&#10;b"},
        {"5f3a9c0d12e4b678", "1234567890123456789012345678901234567890123456789012345678901234"},
        {"name=\"tunnel\"", "name=\"voice\""}, {"name=\"tunnel\"", ""},
        {"<content ", "<content name=\"tunnel\"/><content "}, /* two contents */
        {"<transport ", "<transport xmlns=\"urn:xmpp:jingle:transports:ice-udp:1\"/><transport "},
        {"urn:xmpp:jingle:transports:ice-udp:1", "urn:xmpp:jingle:transports:raw-udp:1"},
        {"<description ", "<description xmlns=\"urn:ipop:tunnel:1\"/><description "},
        {"urn:ipop:tunnel:1", "urn:ipop:tunnel:2"}, {"\"0a1b2c3d", "\"0a1b2c3"}, {"\"0a1b2c3d", "\"ga1b2c3d"}, {" uid=", " diu="},
        {"\"aB3+\"", "\"aB3\""}, {"\"aB3+\"", "\"aB3_\""}, {" ufrag=", " x="}, {" pwd=", " x="}, {"abcdefghijkl\"", "abcdefghijk\""},
    };
    IpopJingle jingle = an_offer();
    g_autofree char *payload = ipop_jingle_build(&jingle, INITIATOR), *good = in_iq(payload);
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GString) xml = g_string_new(good);
        g_assert_cmpuint(g_string_replace(xml, changes[i][0], changes[i][1], 1), ==, 1);
        IpopIq iq;
        g_assert_cmpint(parse(xml->str, &iq), ==, IPOP_IQ_JINGLE_BAD);
        g_assert_cmpstr(iq.id, ==, "i7"); /* enough to answer it */
        g_assert_cmpstr(iq.from, ==, INITIATOR);
    }
    g_autofree char *credential = g_strnfill(IPOP_ICE_PWD_MAX + 1, 'a');
    g_autoptr(GString) xml = g_string_new(good);
    g_assert_cmpuint(g_string_replace(xml, "0123456789abcdefghijkl", credential, 1), ==, 1);
    IpopIq iq;
    g_assert_cmpint(parse(xml->str, &iq), ==, IPOP_IQ_JINGLE_BAD);
}

static void test_terminate(void) {
    static const struct {
        const char *inside;
        IpopJingleReason reason;
        const char *text;
    } cases[] = {
        {"", IPOP_REASON_OTHER, ""},
        {"<reason/>", IPOP_REASON_OTHER, ""},
        {"<reason><gone/></reason>", IPOP_REASON_GONE, ""},
        {"<reason><busy/><text>later &amp; <b/>again</text></reason>", IPOP_REASON_OTHER, "later & again"},
        {"<reason><text>why</text><security-error/></reason>", IPOP_REASON_SECURITY_ERROR, "why"},
        {"<reason xmlns='urn:x'><gone/></reason>", IPOP_REASON_OTHER, ""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *payload =
            g_strdup_printf("<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='s'>%s</jingle>", cases[i].inside);
        g_autofree char *xml = in_iq(payload);
        IpopIq iq;
        g_assert_cmpint(parse(xml, &iq), ==, IPOP_IQ_JINGLE);
        g_assert_cmpint(iq.jingle.reason, ==, cases[i].reason);
        g_assert_cmpstr(iq.jingle.text, ==, cases[i].text);
        g_assert_cmpstr(iq.jingle.ufrag, ==, "");
    }

    /* A text that is too long is cut between characters. */
    g_autoptr(GString) text = g_string_new("");
    for (int i = 0; i < 200; i++)
        g_string_append(text, "\342\202\254");
    g_autofree char *payload = g_strdup_printf("<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='s'><reason><gone/>"
                                               "<text>%s</text></reason></jingle>", text->str);
    g_autofree char *xml = in_iq(payload);
    IpopIq iq;
    g_assert_cmpint(parse(xml, &iq), ==, IPOP_IQ_JINGLE);
    g_assert_cmpuint(strlen(iq.jingle.text), ==, IPOP_REASON_MAX / 3 * 3);
    g_assert_true(g_utf8_validate(iq.jingle.text, -1, NULL));
}

static void test_kinds(void) {
    static const struct {
        const char *xml;
        IpopIqKind kind;
    } cases[] = {
        {"<iq type='get' id='1' from='a@b/c'><ping xmlns='urn:xmpp:ping'/></iq>", IPOP_IQ_PING},
        {"<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", IPOP_IQ_PING},
        {"<iq type='get' id='1'> <ping xmlns='urn:xmpp:ping'/> </iq>", IPOP_IQ_PING},
        {"<iq type='set' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", IPOP_IQ_UNKNOWN},
        {"<iq type='get' id='1'><ping/></iq>", IPOP_IQ_UNKNOWN},
        {"<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", IPOP_IQ_DISCO_INFO},
        {"<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>", IPOP_IQ_UNKNOWN},
        {"<iq type='get' id='1'><query xmlns='jabber:iq:version'/></iq>", IPOP_IQ_UNKNOWN},
        {"<iq type='get' id='1'/>", IPOP_IQ_UNKNOWN},
        {"<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/></iq>", IPOP_IQ_UNKNOWN},
        {"<iq type='get' id='1'><jingle xmlns='urn:xmpp:jingle:1'/></iq>", IPOP_IQ_UNKNOWN},
        {"<iq type='set' id='1'><jingle xmlns='urn:xmpp:jingle:1'/></iq>", IPOP_IQ_JINGLE_BAD},
        {"<iq type='result' id='1'/>", IPOP_IQ_MALFORMED},
        {"<iq type='error' id='1'/>", IPOP_IQ_MALFORMED},
        {"<iq id='1'><ping xmlns='urn:xmpp:ping'/></iq>", IPOP_IQ_MALFORMED},
        {"<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>", IPOP_IQ_MALFORMED},
        {"<iq type='get' id=''><ping xmlns='urn:xmpp:ping'/></iq>", IPOP_IQ_MALFORMED},
        {"<message type='get' id='1'/>", IPOP_IQ_MALFORMED},
        {"<iq type='get' id='1'", IPOP_IQ_MALFORMED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        IpopIq iq;
        g_assert_cmpint(parse(cases[i].xml, &iq), ==, cases[i].kind);
    }

    IpopIq iq;
    g_autofree char *node = g_strnfill(sizeof iq.disco_node - 1, 'n');
    g_autofree char *asked =
        g_strdup_printf("<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info' node='%s'/></iq>", node);
    g_autofree char *too_long =
        g_strdup_printf("<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info' node='%sn'/></iq>", node);
    g_assert_cmpint(parse(asked, &iq), ==, IPOP_IQ_DISCO_INFO);
    g_assert_cmpstr(iq.disco_node, ==, node);
    g_assert_cmpint(parse(too_long, &iq), ==, IPOP_IQ_UNKNOWN);

    g_autofree char *id = g_strnfill(IPOP_IQ_ID_MAX + 1, 'i'), *jid = g_strnfill(IPOP_JID_MAX + 1, 'j');
    g_autofree char *long_id = g_strdup_printf("<iq type='get' id='%s'><ping xmlns='urn:xmpp:ping'/></iq>", id);
    g_autofree char *long_from = g_strdup_printf("<iq type='get' id='1' from='%s'><ping xmlns='urn:xmpp:ping'/></iq>", jid);
    g_assert_cmpint(parse(long_id, &iq), ==, IPOP_IQ_MALFORMED);
    g_assert_cmpint(parse(long_from, &iq), ==, IPOP_IQ_MALFORMED);
}

static void test_answers(void) {
    g_autofree char *info = ipop_disco_info("n&<\"'");
    g_autofree char *result = ipop_iq_result("a@b/c'\"<", "i<1", info), *empty = ipop_iq_result("", "7", NULL);
    g_autoptr(IpopXml) xml = ipop_xml_parse(result, strlen(result));
    g_assert_nonnull(xml);
    g_assert_cmpstr(ipop_xml_get(xml, "to", 100), ==, "a@b/c'\"<");
    g_assert_cmpstr(ipop_xml_get(xml, "id", 100), ==, "i<1");
    IpopXml *query = ipop_xml_only(xml, "query", "http://jabber.org/protocol/disco#info");
    g_assert_cmpstr(ipop_xml_get(query, "node", 100), ==, "n&<\"'");
    g_autoptr(IpopXml) bare = ipop_xml_parse(empty, strlen(empty));
    g_assert_null(ipop_xml_get(bare, "to", 100));
    g_assert_null(ipop_xml_next(bare, NULL, NULL, NULL));

    for (int i = IPOP_STANZA_BAD_REQUEST; i <= IPOP_STANZA_RESOURCE_CONSTRAINT; i++) {
        IpopStanzaError error;
        char text[IPOP_REASON_MAX + 1];
        g_autofree char *plain = ipop_iq_error("a@b/c", "7", (IpopStanzaError)i, NULL);
        g_autofree char *said = ipop_iq_error("a@b/c", "7", (IpopStanzaError)i, "a \x01<\xff&\xef\xbf\xbf");
        g_assert_true(ipop_iq_error_parse(plain, strlen(plain), &error, text));
        g_assert_cmpint(error, ==, i);
        g_assert_cmpstr(text, ==, "");
        g_assert_true(ipop_iq_error_parse(said, strlen(said), &error, text));
        g_assert_cmpint(error, ==, i);
        g_assert_cmpstr(text, ==, "a ?<\xef\xbf\xbd&\xef\xbf\xbd");
    }
}

#define ERROR(inside) "<iq type='error' id='1' from='a@b/c'><jingle xmlns='urn:xmpp:jingle:1'/><error type='cancel'>" inside "</error></iq>"
#define NS " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"

static void test_errors(void) {
    static const struct {
        const char *xml;
        IpopStanzaError error;
    } cases[] = {
        {ERROR("<conflict" NS "/><tie-break xmlns='urn:xmpp:jingle:errors:1'/>"), IPOP_STANZA_TIE_BREAK},
        {ERROR("<conflict" NS "/>"), IPOP_STANZA_SERVICE_UNAVAILABLE},
        {ERROR("<item-not-found" NS "/>"), IPOP_STANZA_ITEM_NOT_FOUND},
        {ERROR("<not-allowed" NS "/>"), IPOP_STANZA_FORBIDDEN},
        {ERROR("<forbidden/>"), IPOP_STANZA_SERVICE_UNAVAILABLE}, /* no namespace */
        {ERROR("<remote-server-not-found" NS "/>"), IPOP_STANZA_SERVICE_UNAVAILABLE},
        {"<iq type='error' id='1'/>", IPOP_STANZA_SERVICE_UNAVAILABLE},
    };
    IpopStanzaError error;
    char text[IPOP_REASON_MAX + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_true(ipop_iq_error_parse(cases[i].xml, strlen(cases[i].xml), &error, text));
        g_assert_cmpint(error, ==, cases[i].error);
    }
    static const char *const none[] = {"<iq type='result' id='1'/>", "<presence type='error'/>", "<iq type='error'", ""};
    for (size_t i = 0; i < G_N_ELEMENTS(none); i++)
        g_assert_false(ipop_iq_error_parse(none[i], strlen(none[i]), &error, text));
}

static bool parses(const char *xml) {
    g_autoptr(IpopXml) root = ipop_xml_parse(xml, strlen(xml));
    return root;
}

static char *nested(unsigned levels) {
    GString *xml = g_string_new(NULL);
    for (unsigned i = 0; i < levels; i++)
        g_string_append(xml, "<a>");
    for (unsigned i = 0; i < levels; i++)
        g_string_append(xml, "</a>");
    return g_string_free(xml, FALSE);
}

static void test_xml_bounds(void) {
    static const char *const good[] = {"<a/>", " <a/>\n", "<a b='>'/>", "<a b=\"'\" c='\"'>x</a >", "<a>&#x41;&amp;</a>"};
    static const char *const bad[] = {
        "", " ", "x", "<a>", "</a>", "<a/><b/>", "<a/>x", "x<a/>", "<a></b>", "<a", "<a b='", "<", "<a/><", "</", "<a b='<'/>",
        "<a>&b;</a>", "<a>&#0;</a>", "<a>\xff</a>", "<!-- --><a/>", "<a><!-- --></a>", "<a><![CDATA[x]]></a>", "<?xml version='1.0'?><a/>",
        "<a><?b?></a>", "<!DOCTYPE a><a/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<a b='1' b='2'/>", "<x:a/>", "<a>\x01</a>",
        "<a></stream>", "</stream><a/>", "<a/ >", "<>", "</>", "< a/>",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(parses(good[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(parses(bad[i]));
    g_assert_null(ipop_xml_parse("<a>\0</a>", 8));

    g_autofree char *deepest = nested(IPOP_XML_DEPTH_MAX), *deeper = nested(IPOP_XML_DEPTH_MAX + 1), *abyss = nested(9000);
    g_assert_true(parses(deepest));
    g_assert_false(parses(deeper));
    g_assert_false(parses(abyss));

    g_autofree char *text = g_strnfill(IPOP_STANZA_MAX - 7, 'x'), *largest = g_strdup_printf("<a>%s</a>", text);
    g_autofree char *larger = g_strdup_printf("<a>%sx</a>", text);
    g_assert_true(parses(largest));
    g_assert_false(parses(larger));
}

/* Cut or changed anywhere, a stanza may be refused, but never read past its end (for the sanitizers). */
static void test_damage(void) {
    IpopJingle jingle = an_offer();
    g_autofree char *payload = ipop_jingle_build(&jingle, INITIATOR), *xml = in_iq(payload);
    size_t n = strlen(xml);
    for (size_t i = 0; i < n; i++) {
        IpopIq iq;
        g_autofree char *cut = g_memdup2(xml, i + 1);
        g_assert_cmpint(ipop_iq_parse(cut, i, &iq), ==, IPOP_IQ_MALFORMED);
        g_autofree char *changed = g_memdup2(xml, n);
        changed[i] = (char)g_test_rand_int();
        ipop_iq_parse(changed, n, &iq);
    }
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/jingle/round-trip", test_round_trip);
    g_test_add_func("/jingle/size", test_size);
    g_test_add_func("/jingle/foreign", test_foreign);
    g_test_add_func("/jingle/bad-candidates", test_bad_candidates);
    g_test_add_func("/jingle/many-candidates", test_many_candidates);
    g_test_add_func("/jingle/bad-jingle", test_bad_jingle);
    g_test_add_func("/jingle/terminate", test_terminate);
    g_test_add_func("/jingle/kinds", test_kinds);
    g_test_add_func("/jingle/answers", test_answers);
    g_test_add_func("/jingle/errors", test_errors);
    g_test_add_func("/jingle/xml-bounds", test_xml_bounds);
    g_test_add_func("/jingle/damage", test_damage);
    return g_test_run();
}
