/* iq.h - requests that wait for their answer (RFC 6120 section 8.2.3). Pure; one thread.
 *
 * An answer counts when its id is one we gave and it comes from whom we asked. `from` alone proves nothing (README.md): what
 * others can't know is the id.
 */
#pragma once

#include "controller/xmpp/xmpp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_IQ_PENDING_MAX 4096
#define IPOP_IQ_ID_BYTES 12 /* of random, in each id */

typedef struct IpopIqTable IpopIqTable;

/* jid: the account's bare JID. What is asked of its domain may also be answered in the account's name or in none. */
IpopIqTable *ipop_iq_table_new(const char *jid);

/* Forgets what waits without a callback. Not from inside one. Accepts NULL. */
void ipop_iq_table_free(IpopIqTable *table);

/* Enters a request to the JID `to`, due by the time deadline; INT64_MAX: it has not been sent yet. The id to send it with
 * (valid until the table changes), or NULL when IPOP_IQ_PENDING_MAX wait already. callback may be NULL when nobody cares for
 * the answer. */
const char *ipop_iq_table_add(IpopIqTable *table, const char *to, int64_t deadline, IpopIqCallback callback, void *user);

/* It has been sent now. Nothing happens when it is no longer there. */
void ipop_iq_table_set_deadline(IpopIqTable *table, const char *id, int64_t deadline);

/* Takes back a request that could not be sent. */
void ipop_iq_table_remove(IpopIqTable *table, const char *id);

/* An answer of type result or error came in. True when it was waited for and called back. id and from may be NULL. */
bool ipop_iq_table_answer(IpopIqTable *table, const char *id, const char *from, IpopIqOutcome outcome, const char *xml,
                          size_t n);

/* Calls back those whose time has come (IPOP_IQ_TIMEOUT) and returns how many these were. */
unsigned ipop_iq_table_expire(IpopIqTable *table, int64_t now);

/* The earliest deadline, INT64_MAX when none runs. */
int64_t ipop_iq_table_next(const IpopIqTable *table);

/* Calls back all (IPOP_IQ_LOST). */
void ipop_iq_table_lose(IpopIqTable *table);

/* Forgets those of this user without a callback. */
void ipop_iq_table_cancel(IpopIqTable *table, const void *user);

unsigned ipop_iq_table_size(const IpopIqTable *table);
