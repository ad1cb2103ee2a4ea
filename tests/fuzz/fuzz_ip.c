/* IP headers: whatever comes, addresses and length stay inside the packet. */
#include "tincan/packet/ip.h"

#include <glib.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    IpopIpInfo info;
    if (!ipop_ip_parse(data, n, &info))
        return 0;
    size_t address = info.family == AF_INET ? 4 : 16;
    g_assert(info.family == AF_INET || info.family == AF_INET6);
    g_assert(info.length <= n && info.length >= (info.family == AF_INET ? 20 : 40));
    g_assert(info.source >= data && info.source + address == info.dest && info.dest + address <= data + info.length);
    ipop_ip_is_multicast(&info);
    return 0;
}
