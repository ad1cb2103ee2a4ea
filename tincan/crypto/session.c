#include "tincan/crypto/session.h"

#include "tincan/base/secret.h"
#include "tincan/crypto/aead.h"
#include "tincan/crypto/replay.h"

#include <glib.h>
#include <sodium.h>
#include <string.h>

/* The keys themselves are in locked memory; the rest is no secret. */
struct IpopSession {
    const IpopAead *aead;
    void *send_key;
    void *recv_key;
    uint64_t sent; /* counter of the next message */
    int64_t born;
    uint32_t local_index;
    uint32_t remote_index;
    bool initiator;
    IpopReplay replay;
};

IpopSession *ipop_session_new(IpopSessionKeys *keys, int64_t now) {
    const IpopAead *aead = ipop_aead_for(keys->suite);
    g_assert(aead); /* no handshake is made with a suite this machine does not have */

    IpopSession *session = g_new0(IpopSession, 1);
    session->aead = aead;
    session->send_key = aead->key_new(keys->send);
    session->recv_key = aead->key_new(keys->recv);
    session->born = now;
    session->local_index = keys->local_index;
    session->remote_index = keys->remote_index;
    session->initiator = keys->initiator;
    sodium_memzero(keys->send, sizeof keys->send);
    sodium_memzero(keys->recv, sizeof keys->recv);
    return session;
}

void ipop_session_free(IpopSession *session) {
    if (!session)
        return;
    ipop_secret_free(session->send_key);
    ipop_secret_free(session->recv_key);
    g_free(session);
}

uint32_t ipop_session_local_index(const IpopSession *session) {
    return session->local_index;
}

bool ipop_session_initiator(const IpopSession *session) {
    return session->initiator;
}

int64_t ipop_session_born(const IpopSession *session) {
    return session->born;
}

uint64_t ipop_session_sent(const IpopSession *session) {
    return session->sent;
}

static bool too_old(const IpopSession *session, int64_t now) {
    return now - session->born >= IPOP_REJECT_AFTER;
}

static void put_header(uint8_t *packet, uint32_t index, uint64_t counter) {
    uint32_t type_and_index = GUINT32_TO_BE((uint32_t)IPOP_WIRE_DATA << 24 | index);
    uint64_t wire_counter = GUINT64_TO_BE(counter);
    memcpy(packet, &type_and_index, 4);
    memcpy(packet + 4, &wire_counter, 8);
}

uint32_t ipop_session_index_of(const uint8_t *packet) {
    uint32_t type_and_index;
    memcpy(&type_and_index, packet, 4);
    return GUINT32_FROM_BE(type_and_index) & IPOP_WIRE_INDEX_MAX;
}

uint64_t ipop_session_counter_of(const uint8_t *packet) {
    uint64_t wire_counter;
    memcpy(&wire_counter, packet + 4, 8);
    return GUINT64_FROM_BE(wire_counter);
}

bool ipop_session_newest(const IpopSession *session, uint64_t counter) {
    return counter + 1 == session->replay.next;
}

size_t ipop_session_seal(IpopSession *session, uint8_t *out, const uint8_t *frame, size_t n, int64_t now) {
    g_assert(n > 0);
    if (too_old(session, now) || session->sent >= IPOP_REJECT_AFTER_MESSAGES)
        return 0;
    put_header(out, session->remote_index, session->sent);
    session->aead->seal(session->send_key, session->sent, NULL, 0, frame, n, out + IPOP_WIRE_DATA_HEADER);
    session->sent++;
    return IPOP_WIRE_DATA_HEADER + n + IPOP_WIRE_TAG;
}

IpopOpenResult ipop_session_open(IpopSession *session, uint8_t *out, const uint8_t *packet, size_t n, int64_t now,
                                 size_t *ret_n) {
    if (n < IPOP_WIRE_DATA_OVERHEAD)
        return IPOP_OPEN_SHORT;
    uint64_t counter = ipop_session_counter_of(packet);
    if (too_old(session, now) || counter >= IPOP_REJECT_AFTER_MESSAGES)
        return IPOP_OPEN_EXPIRED;
    if (!ipop_replay_check(&session->replay, counter))
        return IPOP_OPEN_REPLAYED;

    size_t frame_n = n - IPOP_WIRE_DATA_HEADER - IPOP_WIRE_TAG;
    if (!session->aead->open(session->recv_key, counter, NULL, 0, packet + IPOP_WIRE_DATA_HEADER, frame_n, out))
        return IPOP_OPEN_FORGED;
    ipop_replay_accept(&session->replay, counter);
    *ret_n = frame_n;
    return IPOP_OPEN_OK;
}
