/* pool.h - the memory of one libstrophe context: counted, wiped, and given back as a whole. One thread.
 *
 * libstrophe copies the password and what it makes of it into plain strings, puts no bound on a stanza, and leaks a
 * half-read one when the connection breaks. So all it allocates comes from here.
 */
#pragma once

#include <stddef.h>
#include <strophe.h>

typedef struct IpopPool IpopPool;

IpopPool *ipop_pool_new(void);

/* Wipes and frees all that is still out. Accepts NULL. */
void ipop_pool_free(IpopPool *pool);

/* For xmpp_ctx_new; lives as long as the pool. */
const xmpp_mem_t *ipop_pool_mem(const IpopPool *pool);

/* Bytes that are out, with what it takes to keep them. */
size_t ipop_pool_used(const IpopPool *pool);
