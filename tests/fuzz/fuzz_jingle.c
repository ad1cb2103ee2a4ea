/* fuzz_jingle.c - a request, or an error answer, as anybody on the server may send it: never a crash, every request can be
 * answered, and Jingle that is accepted comes back the same from what we would send for it. */
#include "controller/jingle/stanza.h"

#include <assert.h>
#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_jingle(const IpopJingle *a) {
    assert(a->n_candidates <= IPOP_CANDIDATES_MAX);
    g_autofree char *payload = ipop_jingle_build(a, "a@b/c");
    g_autofree char *xml = g_strdup_printf("<iq type='set' id='1'>%s</iq>", payload);
    g_autofree IpopIq *iq = g_new0(IpopIq, 1);
    assert(ipop_iq_parse(xml, strlen(xml), iq) == IPOP_IQ_JINGLE);
    const IpopJingle *b = &iq->jingle;
    assert(a->action == b->action && a->generation == b->generation && a->end == b->end && a->reason == b->reason);
    assert(strcmp(a->sid, b->sid) == 0 && strcmp(a->ufrag, b->ufrag) == 0 && strcmp(a->pwd, b->pwd) == 0);
    assert(a->action == IPOP_JINGLE_TRANSPORT_INFO || ipop_uid_equal(&a->uid, &b->uid));
    assert(a->n_candidates == b->n_candidates && b->dropped == 0);
    for (unsigned i = 0; i < a->n_candidates; i++)
        assert(memcmp(&a->candidates[i], &b->candidates[i], sizeof a->candidates[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    g_autofree IpopIq *iq = g_new0(IpopIq, 1);
    IpopIqKind kind = ipop_iq_parse((const char *)data, size, iq);
    if (kind != IPOP_IQ_MALFORMED) {
        assert(*iq->id && strlen(iq->id) <= IPOP_IQ_ID_MAX && strlen(iq->from) <= IPOP_JID_MAX);
        g_autofree char *info = ipop_disco_info(kind == IPOP_IQ_DISCO_INFO ? iq->disco_node : NULL);
        g_autofree char *result = ipop_iq_result(iq->from, iq->id, info);
        g_autofree char *refusal = ipop_iq_error(iq->from, iq->id, IPOP_STANZA_BAD_REQUEST, iq->id);
        IpopStanzaError error;
        char text[IPOP_REASON_MAX + 1];
        assert(ipop_iq_error_parse(refusal, strlen(refusal), &error, text) && error == IPOP_STANZA_BAD_REQUEST);
    }
    if (kind == IPOP_IQ_JINGLE)
        check_jingle(&iq->jingle);

    IpopStanzaError error;
    char text[IPOP_REASON_MAX + 1];
    if (ipop_iq_error_parse((const char *)data, size, &error, text))
        assert(strlen(text) <= IPOP_REASON_MAX && g_utf8_validate(text, -1, NULL));
    return 0;
}
