#include "tincan/crypto/replay.h"

#include <stddef.h>

/* One word more than the window, so that a window which starts within a word still fits: a word is never shared by two
 * counters that are both within the window. */
#define WORDS (IPOP_REPLAY_WINDOW / 64 + 1)

bool ipop_replay_check(const IpopReplay *replay, uint64_t counter) {
    if (counter == UINT64_MAX) /* `next` could not follow */
        return false;
    if (counter >= replay->next)
        return true;
    if (replay->next - counter > IPOP_REPLAY_WINDOW)
        return false;
    return !(replay->bits[counter / 64 % WORDS] >> counter % 64 & 1);
}

bool ipop_replay_accept(IpopReplay *replay, uint64_t counter) {
    if (!ipop_replay_check(replay, counter))
        return false;

    if (counter >= replay->next) {
        uint64_t top = replay->next ? (replay->next - 1) / 64 : 0;
        uint64_t fresh = counter / 64 - top;
        for (uint64_t i = 1; i <= fresh && i <= WORDS; i++)
            replay->bits[(top + i) % WORDS] = 0;
        replay->next = counter + 1;
    }
    replay->bits[counter / 64 % WORDS] |= UINT64_C(1) << counter % 64;
    return true;
}
