/* fuzz_candidate.c - a candidate object as a peer might send it: never a crash, and what is accepted is usable and comes
 * back the same. */
#include "tincan/ctl/candidate.h"
#include "tincan/ctl/json.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *object = ipop_json_parse((const char *)data, size);
    IpopCandidate a, b;
    if (object && ipop_candidate_from_json(object, &a)) {
        struct in6_addr address;
        assert(a.port != 0 && a.priority != 0 && a.priority <= INT32_MAX);
        assert(inet_pton(AF_INET, a.ip, &address) == 1 || inet_pton(AF_INET6, a.ip, &address) == 1);
        json_t *again = ipop_candidate_to_json(&a);
        assert(again && ipop_candidate_from_json(again, &b) && memcmp(&a, &b, sizeof a) == 0);
        json_decref(again);
    }
    const char *ufrag, *pwd;
    if (object && ipop_json_string(object, "ufrag", IPOP_ICE_UFRAG_MAX, &ufrag) &&
        ipop_json_string(object, "pwd", IPOP_ICE_PWD_MAX, &pwd) && ipop_ice_credentials_valid(ufrag, pwd))
        assert(!strpbrk(ufrag, "\r\n:") && !strpbrk(pwd, "\r\n:"));
    json_decref(object);
    return 0;
}
