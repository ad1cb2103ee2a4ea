/* Pieces from an authenticated peer that means ill: frames one after another, each with its length (2) and how many
 * 100 ms later it came (1) in front. Whatever becomes whole has the length that was said. */
#include "tincan/crypto/wire.h"
#include "tincan/packet/headers.h"
#include "tincan/tunnel/pieces.h"

#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    IpopReassembly *r = ipop_reassembly_new();
    int64_t now = 1;
    while (n > 3) {
        size_t frame_n = MIN(ipop_get16(data), n - 3);
        now += data[2] * INT64_C(100000);
        uint8_t *frame = g_memdup2(data + 3, frame_n), *packet, flags;
        size_t packet_n;
        if (ipop_reassembly_add(r, frame, frame_n, now, &packet, &packet_n, &flags) == IPOP_PIECE_COMPLETE) {
            g_assert(packet_n == ipop_get16(frame + 3) && packet_n <= IPOP_PIECE_PACKET_MAX);
            g_assert(flags == (frame[0] & ~IPOP_FRAME_KIND));
            size_t at = ipop_get16(frame + 5);
            g_assert(memcmp(packet + at, frame + IPOP_PIECE_HEADER, frame_n - IPOP_PIECE_HEADER) == 0);
        }
        g_free(frame);
        data += 3 + frame_n;
        n -= 3 + frame_n;
    }
    ipop_reassembly_free(r);
    return 0;
}
