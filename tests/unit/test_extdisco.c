/* The servers that the account's server offers, as Prosody and ejabberd write them. */
#include "controller/jingle/extdisco.h"

#include <glib.h>
#include <string.h>

static bool parse(const char *services, IpopServices *ret) {
    g_autofree char *xml = g_strdup_printf("<iq xmlns='jabber:client' type='result' id='1' from='b.example'>%s</iq>", services);
    return ipop_services_parse(xml, strlen(xml), ret);
}

static void test_prosody(void) {
    IpopServices services;
    g_assert_true(parse("<services xmlns='urn:xmpp:extdisco:2'>"
                        "<service type='stun' transport='udp' host='turn.b.example' port='3478'/>"
                        "<service type='turn' transport='udp' host='turn.b.example' port='3478' username='1900000000' password='p+/='"
                        " restricted='1' expires='2030-03-17T17:46:40Z'/>"
                        "<service type='turn' transport='tcp' host='2001:db8::1' port='443' username='u' password='p'"
                        " restricted='1' expires='2031-03-17T17:46:40Z'/>"
                        "<service type='turns' transport='tcp' host='turn.b.example' port='5349'/></services>",
                        &services));
    g_assert_cmpuint(services.n_stun, ==, 1);
    g_assert_cmpstr(services.stun[0].server, ==, "turn.b.example:3478");
    g_assert_cmpuint(services.n_turn, ==, 2);
    g_assert_cmpstr(services.turn[0].user, ==, "1900000000");
    g_assert_cmpstr(services.turn[0].pass, ==, "p+/=");
    g_assert_false(services.turn[0].tcp);
    g_assert_cmpstr(services.turn[1].server, ==, "[2001:db8::1]:443");
    g_assert_true(services.turn[1].tcp);
    g_assert_cmpint(services.expires, ==, 1900000000);
}

static void test_left_out(void) {
    static const char *const bad[] = {
        "<service type='turn' host='h' port='1'/>",                                         /* no credentials */
        "<service type='stun' host='h' transport='tcp'/>",
        "<service type='stun' host='h' transport='tls'/>",
        "<service type='stun' host=''/>",
        "<service type='stun'/>",
        "<service type='stun' host='h' port='0'/>",
        "<service type='stun' host='h' port='65536'/>",
        "<service type='stun' host='h x'/>",
        "<service type='stun' host='h]:1' port='2'/>",
        "<service type='stun' host='h' action='delete'/>",
        "<service type='ftp' host='h'/>",
        "<service host='h'/>",
        "<other type='stun' host='h'/>",
    };
    IpopServices services;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("<services xmlns='urn:xmpp:extdisco:2'>%s<service type='stun' host='good'/></services>",
                                                bad[i]);
        g_assert_true(parse(text, &services));
        g_assert_cmpuint(services.n_stun + services.n_turn, ==, 1);
        g_assert_cmpstr(services.stun[0].server, ==, "good:3478");
        g_assert_cmpint(services.expires, ==, INT64_MAX);
    }
}

static void test_no_answer(void) {
    IpopServices services = {.n_stun = 7};
    g_assert_false(parse("", &services));
    g_assert_false(parse("<services xmlns='urn:other'/>", &services));
    g_assert_false(ipop_services_parse("<iq", 3, &services));
    g_assert_cmpuint(services.n_stun, ==, 7);
    g_assert_true(parse("<services xmlns='urn:xmpp:extdisco:1'><service type='stun' host='h'/></services>", &services));
    g_assert_cmpuint(services.n_stun, ==, 1);
}

static void test_bounds(void) {
    IpopServices services;
    g_autoptr(GString) text = g_string_new("<services xmlns='urn:xmpp:extdisco:2'>");
    for (unsigned i = 0; i < 100; i++)
        g_string_append_printf(text, "<service type='stun' host='h%u'/><service type='turn' host='h%u' username='u' password='p'/>", i,
                               i);
    g_string_append(text, "</services>");
    g_assert_true(parse(text->str, &services));
    g_assert_cmpuint(services.n_stun, ==, IPOP_SERVICES_MAX);
    g_assert_cmpuint(services.n_turn, ==, IPOP_SERVICES_MAX);
    g_autofree char *name = g_strnfill(300, 'a');
    g_autofree char *longer = g_strdup_printf("<services xmlns='urn:xmpp:extdisco:2'><service type='stun' host='%s'/></services>", name);
    g_assert_true(parse(longer, &services));
    g_assert_cmpuint(services.n_stun, ==, 0);
}

static void test_refresh(void) {
    const int64_t now = 1900000000;
    const struct {
        int64_t expires, after;
    } cases[] = {
        {now + 3600, 1800}, {now + 1, 5},         {now, 5}, {now + 7 * 86400, 12 * 3600}, {INT64_MAX, 12 * 3600},
        {now - 3600, 600},  {now - 86400, 600}, {INT64_MIN, 600}, /* this host's clock is ahead */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpint(ipop_services_refresh_after(&(IpopServices){.expires = cases[i].expires}, now), ==, cases[i].after);
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/extdisco/prosody", test_prosody);
    g_test_add_func("/extdisco/left-out", test_left_out);
    g_test_add_func("/extdisco/no-answer", test_no_answer);
    g_test_add_func("/extdisco/bounds", test_bounds);
    g_test_add_func("/extdisco/refresh", test_refresh);
    return g_test_run();
}
