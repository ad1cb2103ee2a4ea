/* device.h - the TUN device (layer 3). Opening and configuring on the main thread; the fd belongs to the data thread. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define IPOP_TUN_QUEUES 16

typedef struct IpopTun IpopTun;

typedef struct {
    char ip4[16];       /* "" none */
    unsigned ip4_mask;
    char ip6[46];       /* "" none */
    unsigned ip6_mask;
    unsigned mtu;       /* 1280 to 65535 */
} IpopTunConfig;

/* Makes the device; it goes when the process does. Where ipop_tun_vnet says so, every packet has a virtio_net_hdr
 * (packet/vnet.h) in front and may be a super-packet of TCP, and of UDP where ipop_tun_uso says so. Loads the tun module
 * where /dev/net/tun is missing. Errors name the cause (no right, no module, name busy, bad name) and the remedy. The fds are
 * non-blocking. */
IpopTun *ipop_tun_open(const char *name, GError **error);

/* Sets MTU and addresses (removing those set before and not wanted now) and brings the device up. May be called again. An
 * IPv6 address that the kernel refuses because IPv6 is switched off is no error: *ret_no_ip6 says so. */
bool ipop_tun_configure(IpopTun *tun, const IpopTunConfig *config, bool *ret_no_ip6, GError **error);

/* Tells the kernel that packets to this host (numeric; "" is passed over) should have at most mtu bytes, 0: as many as
 * the device's: by a route of its own, which the device takes with it. Returns 0 or a negative errno of the kernel. */
int ipop_tun_set_host_mtu(IpopTun *tun, int family, const char *host, unsigned mtu);

/* What the kernel sends by the device waits in 1 to IPOP_TUN_QUEUES queues, each read by a descriptor of its own; it may be
 * written to any of them. All is in the first, unless packets to an address have been steered to another (steer.h). */
unsigned ipop_tun_queues(const IpopTun *tun);
int ipop_tun_fd(const IpopTun *tun, unsigned queue);
void ipop_tun_steer(IpopTun *tun, int family, const uint8_t *address, unsigned queue);

/* Puts bytes in the queue that the second one names, behind what waits there; the first must be 0, so that they can be told from
 * a packet of the kernel's. Lost when the queue is full. Any thread. */
void ipop_tun_mark(IpopTun *tun, const void *bytes, size_t n);

bool ipop_tun_vnet(const IpopTun *tun);
bool ipop_tun_uso(const IpopTun *tun); /* Linux 6.2 */
int ipop_tun_ifindex(const IpopTun *tun);
const char *ipop_tun_name(const IpopTun *tun);
void ipop_tun_close(IpopTun *tun);
