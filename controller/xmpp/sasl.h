/* sasl.h - which logins a server offers. Pure; any thread. */
#pragma once

#include <strophe.h>

/* How many of the SCRAM mechanisms that libstrophe 0.12 speaks (SCRAM-SHA-1, -256 and -512, without channel binding; RFC 5802,
 * RFC 7677) are on offer in <features/>. It is read the same way as libstrophe reads it, since on that it depends whether
 * libstrophe would send the password as it is. */
unsigned ipop_sasl_count_scram(xmpp_stanza_t *features);
