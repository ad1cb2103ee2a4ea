#include "controller/peer/self.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ADDRESS_FILE_MAX 64

static uint32_t ip4_number(const char *text) {
    struct in_addr address;
    return inet_pton(AF_INET, text, &address) == 1 ? ntohl(address.s_addr) : 0;
}

static uint32_t mask_of(unsigned prefix) {
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

static bool inside(uint32_t address, const char *network, unsigned prefix) {
    return ((address ^ ip4_number(network)) & mask_of(prefix)) == 0;
}

/* Neither the network's own address nor its broadcast. */
static bool is_host_of(uint32_t address, const char *network, unsigned prefix) {
    uint32_t host = address & ~mask_of(prefix);
    return inside(address, network, prefix) && (prefix >= 31 || (host != 0 && host != ~mask_of(prefix)));
}

void ipop_self_ip6(const IpopConf *conf, const IpopUid *uid, char ret_ip6[static INET6_ADDRSTRLEN]) {
    struct in6_addr address;
    size_t n;
    if (inet_pton(AF_INET6, conf->ip6_prefix, &address) != 1)
        memset(&address, 0, sizeof address);
    sodium_hex2bin(address.s6_addr + 8, 8, uid->hex, 16, NULL, &n, NULL);
    inet_ntop(AF_INET6, &address, ret_ip6, INET6_ADDRSTRLEN);
}

static void choose_ip4(IpopSelf *self) {
    const IpopConf *conf = self->conf;
    unsigned bits = 32 - conf->ip4_network_prefix;
    uint32_t hosts = bits >= 32 ? UINT32_MAX : bits < 2 ? 1u << bits : (1u << bits) - 2;
    uint8_t input[sizeof(IpopUid) + 4] = {0};
    uint64_t hash;
    memcpy(input, self->node.uid.hex, sizeof self->node.uid.hex);
    for (int i = 0; i < 4; i++)
        input[sizeof(IpopUid) + i] = (uint8_t)(self->ip4_attempt >> (24 - 8 * i));
    crypto_generichash((uint8_t *)&hash, sizeof hash, input, sizeof input, NULL, 0);

    uint32_t number = (ip4_number(conf->ip4_network) & mask_of(conf->ip4_network_prefix)) +
                      (uint32_t)(GUINT64_FROM_LE(hash) % hosts) + (bits < 2 ? 0 : 1);
    inet_ntop(AF_INET, &(struct in_addr){htonl(number)}, self->node.ip4, sizeof self->node.ip4);
    self->ip4_attempt++;
}

static bool load_ip4(IpopSelf *self) {
    g_autofree char *text = NULL;
    gsize n;
    char address[INET6_ADDRSTRLEN];
    if (!g_file_get_contents(self->address_file, &text, &n, NULL) || n > ADDRESS_FILE_MAX)
        return false;
    g_strchomp(text);
    if (!ipop_ip_normalise(text, AF_INET, address) ||
        !is_host_of(ip4_number(address), self->conf->ip4_network, self->conf->ip4_network_prefix))
        return false;
    g_strlcpy(self->node.ip4, address, sizeof self->node.ip4);
    return true;
}

/* "alpha" -> "alpha-2", "alpha-3" ..., shortened at a character's beginning to stay a valid name. */
static void choose_name(IpopSelf *self) {
    char suffix[16] = "";
    size_t room = IPOP_NAME_MAX, n = strlen(self->conf->name);
    if (self->name_attempt > 0)
        room -= (size_t)snprintf(suffix, sizeof suffix, "-%u", self->name_attempt + 1);
    if (n > room)
        for (n = room; n > 0 && ((unsigned char)self->conf->name[n] & 0xc0) == 0x80;)
            n--;
    snprintf(self->node.name, sizeof self->node.name, "%.*s%s", (int)n, self->conf->name, suffix);
    self->name_attempt++;
}

IpopSelf *ipop_self_new(const IpopConf *conf, const char *state_dir, const IpopUid *uid,
                        const uint8_t key[static IPOP_KEY_BYTES], unsigned suites) {
    IpopSelf *self = g_new0(IpopSelf, 1);
    self->conf = conf;
    self->address_file = g_build_filename(state_dir, "address", NULL);
    self->node.uid = *uid;
    memcpy(self->node.key, key, IPOP_KEY_BYTES);
    self->node.suites = suites;
    self->node.auto_name = !conf->name_given;
    self->node.auto_ip4 = conf->ip4[0] == '\0';
    choose_name(self);
    if (!self->node.auto_ip4)
        g_strlcpy(self->node.ip4, conf->ip4, sizeof self->node.ip4);
    else if (!load_ip4(self))
        choose_ip4(self);
    ipop_self_ip6(conf, uid, self->node.ip6);
    snprintf(self->resource, sizeof self->resource, "ipop-%.8s", uid->hex);
    return self;
}

void ipop_self_free(IpopSelf *self) {
    if (self == NULL)
        return;
    g_free(self->address_file);
    g_free(self);
}

/* Which of two equal claims moves. */
static bool gives_way(const IpopSelf *self, const IpopNode *other, bool own_auto, bool other_auto) {
    bool other_stays = !other_auto || (other->settled && !self->node.settled);
    return own_auto && (other_stays || ipop_uid_compare(&self->node.uid, &other->uid) > 0);
}

bool ipop_self_meet(IpopSelf *self, const IpopNode *other, IpopClaim claim) {
    bool changed = false, pinned = claim == IPOP_CLAIM_PINNED;
    if (ipop_uid_equal(&self->node.uid, &other->uid) || (self->node.settled && claim == IPOP_CLAIM_HEARD))
        return false;
    if (strcmp(self->node.name, other->name) == 0 &&
        gives_way(self, other, self->node.auto_name, other->auto_name && !pinned)) {
        choose_name(self);
        changed = true;
    }
    if (strcmp(self->node.ip4, other->ip4) == 0 &&
        gives_way(self, other, self->node.auto_ip4, other->auto_ip4 && !pinned)) {
        choose_ip4(self);
        changed = true;
    }
    return changed;
}

bool ipop_self_keep_address(const IpopSelf *self, GError **error) {
    if (!self->node.auto_ip4)
        return true;
    g_autofree char *text = g_strconcat(self->node.ip4, "\n", NULL);
    return g_file_set_contents_full(self->address_file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, error);
}

unsigned ipop_self_ip4_mask(const IpopSelf *self) {
    const IpopConf *conf = self->conf;
    return self->node.auto_ip4 ? MIN(conf->ip4_mask, conf->ip4_network_prefix) : conf->ip4_mask;
}

char *ipop_self_objection(const IpopSelf *self, const IpopNode *other) {
    const IpopNode *own = &self->node;
    const IpopConf *conf = self->conf;
    if (strcmp(own->ip4, other->ip4) == 0)
        return g_strdup_printf("address %s is this node's own; give one of the two another ip4", own->ip4);
    if (strcmp(own->name, other->name) == 0 && !own->auto_name && !other->auto_name)
        return g_strdup_printf("name %s is this node's own; give one of the two another name", own->name);
    uint32_t ip4 = ip4_number(other->ip4);
    if (!is_host_of(ip4, own->ip4, ipop_self_ip4_mask(self)) &&
        !is_host_of(ip4, conf->ip4_network, conf->ip4_network_prefix))
        return g_strdup_printf("address %s is outside this overlay (%s/%u); give the two an ip4 in one network", other->ip4,
                               own->ip4, ipop_self_ip4_mask(self));
    return NULL;
}
