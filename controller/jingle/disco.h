/* disco.h - what an entity says it is and can do (XEP-0030), and the hash of that in presence (XEP-0115). Pure; any thread. */
#pragma once

/* One identity, without forms (XEP-0128). */
typedef struct {
    const char *category, *type, *lang, *name; /* XEP-0030 section 3.1; "" where there is none */
    const char *const *features;               /* NULL-terminated, in any order */
} IpopDisco;

/* The verification string of XEP-0115 section 5.1: SHA-1 in base64, 28 characters. (g_free) */
char *ipop_disco_hash(const IpopDisco *disco);
