/* value.h - the forms that single values of config.json may have. Pure; any thread. Private to controller/conf. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A bare JID "local@domain" (RFC 7622 sections 3.2 and 3.3, without the tables of PRECIS), short enough that our resource
 * still fits. */
bool ipop_value_jid(const char *text);

/* A numeric address, or a name whose labels have 1 to 63 bytes, 253 in all (RFC 1123 section 2.1). */
bool ipop_value_host(const char *text);

/* "host", "host:port" or "[v6]:port" with the port filled in. NULL for anything else. Owned by the caller (g_free). */
char *ipop_value_host_port(const char *text, unsigned default_port);

/* An address that one host can have: not 0/8, loopback, multicast or reserved, nor the network or broadcast address of its
 * own network. prefix: 1 to 30, or 32 when the network is not known. */
bool ipop_value_ip4_host(const char *text, unsigned prefix);

/* "a.b.c.d/n" with n from 8 to 30 and no host bits. */
bool ipop_value_network(const char *text, char ret_ip[static 16], unsigned *ret_prefix);

/* Four groups "fd50:0dbc:41f2:4a3c", or a network address whose lower 64 bits are zero. Comes out normalised. */
bool ipop_value_ip6_prefix(const char *text, char ret_prefix[static 46]);

/* The index of the name nearest to text, by edit distance without regard to case. n is at least 1. */
size_t ipop_value_nearest(const char *const *names, size_t n, const char *text);
