/* replay.h - sliding window over received counters (RFC 6479). Pure. Zero-initialised is valid. */
#pragma once

#include "tincan/crypto/wire.h"

#include <stdbool.h>

typedef struct {
    uint64_t next; /* one above the highest accepted */
    uint64_t bits[IPOP_REPLAY_WINDOW / 64 + 1];
} IpopReplay;

/* True when the counter was not accepted before and is not too old. Changes nothing: ask before decryption. */
bool ipop_replay_check(const IpopReplay *replay, uint64_t counter);

/* Marks the counter, after authentication. False when another took it meanwhile. */
bool ipop_replay_accept(IpopReplay *replay, uint64_t counter);
