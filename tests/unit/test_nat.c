/* test_nat.c - the NAT's kind as a word and as a sentence. */
#include "tincan/ctl/nat.h"

#include <glib.h>
#include <string.h>

static void test_text(void) {
    for (unsigned m = 0; m < IPOP_NAT_MAPPINGS; m++)
        for (unsigned f = 0; f < IPOP_NAT_FILTERS; f++) {
            IpopNat nat = {(IpopNatMapping)m, (IpopNatFilter)f}, read = {IPOP_NAT_BLOCKED, IPOP_NAT_FILTER_PORT};
            char text[IPOP_NAT_TEXT_MAX + 1];
            ipop_nat_text(nat, text);
            g_assert_true(ipop_nat_parse(text, &read));
            g_assert_cmpint(read.mapping, ==, m);
            g_assert_cmpint(read.filter, ==, f);
            g_assert_cmpuint(strlen(ipop_nat_sentence(nat)), >, 5);
        }
}

static void test_bad(void) {
    static const char *const bad[] = {"", "/", "none", "none/", "/none", "none/none ", "None/none", "dependent/dependent"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        IpopNat nat = {IPOP_NAT_NONE, IPOP_NAT_FILTER_ADDRESS};
        g_assert_false(ipop_nat_parse(bad[i], &nat));
        g_assert_cmpint(nat.mapping, ==, IPOP_NAT_NONE);
    }
}

/* What differs for the reader reads differently. */
static void test_sentences(void) {
    const IpopNat different[] = {{IPOP_NAT_UNKNOWN, 0},
                                 {IPOP_NAT_BLOCKED, 0},
                                 {IPOP_NAT_DEPENDENT, 0},
                                 {IPOP_NAT_NONE, IPOP_NAT_FILTER_UNKNOWN},
                                 {IPOP_NAT_NONE, IPOP_NAT_FILTER_NONE},
                                 {IPOP_NAT_NONE, IPOP_NAT_FILTER_PORT},
                                 {IPOP_NAT_INDEPENDENT, IPOP_NAT_FILTER_UNKNOWN},
                                 {IPOP_NAT_INDEPENDENT, IPOP_NAT_FILTER_NONE},
                                 {IPOP_NAT_INDEPENDENT, IPOP_NAT_FILTER_ADDRESS}};
    for (unsigned i = 0; i < G_N_ELEMENTS(different); i++)
        for (unsigned j = 0; j < i; j++)
            g_assert_cmpstr(ipop_nat_sentence(different[i]), !=, ipop_nat_sentence(different[j]));
}

int main(int argc, char **argv) {
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nat/text", test_text);
    g_test_add_func("/nat/bad", test_bad);
    g_test_add_func("/nat/sentences", test_sentences);
    return g_test_run();
}
