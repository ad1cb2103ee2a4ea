/* Data packets. The input is a row of records: a kind, a length, and as many bytes.
 *
 * kind even: the bytes are a datagram as they stand, which must not open. kind odd: they are a counter (8) and a frame,
 * sealed with the true key; that opens at most once. Bit 1 of the first kind chooses
 * the suite. */
#include "tincan/base/secret.h"
#include "tincan/crypto/aead.h"
#include "tincan/crypto/session.h"

#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint8_t key_bytes[32] = "the key that the fuzzer has not.";

static IpopSession *session_new(IpopSuite suite) {
    IpopSessionKeys keys = {.suite = suite, .local_index = 1, .remote_index = 2};
    memcpy(keys.recv, key_bytes, 32);
    memcpy(keys.send, key_bytes, 32);
    return ipop_session_new(&keys, 0);
}

static IpopOpenResult open_packet(IpopSession *session, const uint8_t *packet, size_t n) {
    g_autofree uint8_t *copy = g_memdup2(packet, n);
    g_autofree uint8_t *frame = g_malloc(MAX(n, IPOP_WIRE_DATA_OVERHEAD) - IPOP_WIRE_DATA_HEADER - IPOP_WIRE_TAG);
    size_t frame_n;
    IpopOpenResult result = ipop_session_open(session, frame, copy, n, 0, &frame_n);
    if (result == IPOP_OPEN_OK)
        g_assert(frame_n > 0 && frame_n == n - IPOP_WIRE_DATA_HEADER - IPOP_WIRE_TAG);
    if (n >= IPOP_WIRE_DATA_HEADER)
        g_assert(ipop_session_index_of(packet) <= IPOP_WIRE_INDEX_MAX);
    return result;
}

static void open_authentic(IpopSession *session, const IpopAead *aead, void *key, const uint8_t *data, size_t n) {
    uint8_t packet[IPOP_WIRE_DATA_HEADER + 256 + IPOP_WIRE_TAG] = {IPOP_WIRE_DATA};
    if (n < 9)
        return;
    uint64_t counter;
    memcpy(&counter, data, 8);
    memcpy(packet + 4, data, 8);
    aead->seal(key, GUINT64_FROM_BE(counter), NULL, 0, data + 8, n - 8, packet + IPOP_WIRE_DATA_HEADER);
    size_t size = IPOP_WIRE_DATA_HEADER + n - 8 + IPOP_WIRE_TAG;
    IpopOpenResult result = open_packet(session, packet, size);
    g_assert(result == IPOP_OPEN_OK || result == IPOP_OPEN_REPLAYED || result == IPOP_OPEN_EXPIRED);
    g_assert(open_packet(session, packet, size) != IPOP_OPEN_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        ipop_secret_init();
        g_once_init_leave(&ready, 1);
    }
    const IpopAead *aead = n && data[0] & 2 ? ipop_aead_for(IPOP_SUITE_AESGCM) : NULL;
    if (!aead)
        aead = ipop_aead_for(IPOP_SUITE_CHACHAPOLY);
    IpopSession *session = session_new(aead->suite);
    void *key = aead->key_new(key_bytes);
    while (n >= 2) {
        uint8_t kind = data[0];
        size_t size = MIN(data[1], n - 2);
        if (kind & 1)
            open_authentic(session, aead, key, data + 2, size);
        else
            g_assert(open_packet(session, data + 2, size) != IPOP_OPEN_OK);
        data += 2 + size;
        n -= 2 + size;
    }
    ipop_secret_free(key);
    ipop_session_free(session);
    return 0;
}
