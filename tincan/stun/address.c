#include "tincan/stun/address.h"

#include <glib.h>
#include <string.h>

static bool is_v6(const IpopAddress *address) {
    return address->any.sa_family == AF_INET6;
}

socklen_t ipop_address_size(const IpopAddress *address) {
    return is_v6(address) ? sizeof address->v6 : sizeof address->v4;
}

bool ipop_address_same_ip(const IpopAddress *a, const IpopAddress *b) {
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (is_v6(a))
        return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
    return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}

bool ipop_address_equal(const IpopAddress *a, const IpopAddress *b) {
    return ipop_address_same_ip(a, b) && ipop_address_port(a) == ipop_address_port(b);
}

uint16_t ipop_address_port(const IpopAddress *address) {
    return ntohs(is_v6(address) ? address->v6.sin6_port : address->v4.sin_port);
}

void ipop_address_ip(const IpopAddress *address, char ret_ip[static INET6_ADDRSTRLEN]) {
    const void *ip = is_v6(address) ? (const void *)&address->v6.sin6_addr : (const void *)&address->v4.sin_addr;
    if (!inet_ntop(address->any.sa_family, ip, ret_ip, INET6_ADDRSTRLEN))
        *ret_ip = '\0';
}

void ipop_address_text(const IpopAddress *address, char ret_text[static IPOP_ADDRESS_TEXT_SIZE]) {
    char ip[INET6_ADDRSTRLEN];
    ipop_address_ip(address, ip);
    g_snprintf(ret_text, IPOP_ADDRESS_TEXT_SIZE, is_v6(address) ? "[%s]:%u" : "%s:%u", ip, ipop_address_port(address));
}
