/* self.h - this node as others see it: name, addresses, key; and what it does when another has its name or address.
 *
 * What is configured never changes. What the node chose itself gives way: to a configured claim always, to another chosen
 * one when the own uid is the higher, so that of two exactly one moves. Once a link has proved it to another node it is
 * settled, and a claim that may be forged moves it no more: the newcomer does. Main thread.
 */
#pragma once

#include "controller/conf/conf.h"
#include "controller/jingle/presence.h"

#include <glib.h>

#define IPOP_RESOURCE_SIZE 14 /* "ipop-" and eight digits */

typedef struct {
    const IpopConf *conf; /* borrowed */
    char *address_file;   /* STATE_DIR/address: the chosen ip4, kept */
    IpopNode node;
    char resource[IPOP_RESOURCE_SIZE];
    unsigned name_attempt, ip4_attempt;
} IpopSelf;

/* Chooses what is not configured: an address from ip4_network by a hash of the uid, or the one in STATE_DIR/address when it
 * is a host address of that network. */
IpopSelf *ipop_self_new(const IpopConf *conf, const char *state_dir, const IpopUid *uid,
                        const uint8_t key[static IPOP_KEY_BYTES], unsigned suites);
void ipop_self_free(IpopSelf *self);

/* How another node's claim is known. */
typedef enum {
    IPOP_CLAIM_HEARD,  /* by Jabber, where it may be forged */
    IPOP_CLAIM_PROVED, /* by a link */
    IPOP_CLAIM_PINNED, /* only the pin is known: it counts as configured */
} IpopClaim;

/* Another node's claim. True when self->node changed, and has to be announced and checked again against all others. */
bool ipop_self_meet(IpopSelf *self, const IpopNode *other, IpopClaim claim);

/* Keeps the address for the next start; a no-op when it is configured. */
bool ipop_self_keep_address(const IpopSelf *self, GError **error);

/* The prefix length of the device: ip4_mask, or what makes all of ip4_network reachable when the address is chosen. */
unsigned ipop_self_ip4_mask(const IpopSelf *self);

/* Why that node can't be a peer of this one: it has this node's own address or name, or an ip4 outside the overlay. One
 * sentence with the remedy (g_free), or NULL. */
char *ipop_self_objection(const IpopSelf *self, const IpopNode *other);

/* The one IPv6 overlay address that belongs to a uid: ip6_prefix and its first 16 digits. */
void ipop_self_ip6(const IpopConf *conf, const IpopUid *uid, char ret_ip6[static INET6_ADDRSTRLEN]);
