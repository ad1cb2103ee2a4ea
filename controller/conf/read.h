/* read.h - from JSON to IpopConf: what the keys' readers share. Private to controller/conf. */
#pragma once

#include "controller/conf/conf.h"

#define FORM_SERVER "\"host:port\" or \"[IPv6]:port\""
#define FORM_IP4 "the IPv4 address of a host such as \"172.31.0.5\""

typedef struct {
    IpopConf *conf;
    const char *origin; /* where the key being read comes from */
    GError *error;
} IpopConfReader;

/* A row of the table in conf.c. */
typedef struct IpopConfKey IpopConfKey;
struct IpopConfKey {
    const char *name;
    /* Stores the value. False when it is wrong; a more exact error than the general one may be set then. */
    bool (*take)(IpopConfReader *reader, const IpopConfKey *key, const json_t *value);
    int64_t min, max;      /* of an integer; bytes of a string; entries of an array */
    const char *otherwise; /* the default as JSON */
    const char *want;      /* for the error; NULL: made from min and max */
    size_t offset;         /* of the field, when `take` is one of the general ones */
    enum { REQUIRED = 1, SECRET = 2, NOT_YET = 4 } flags;
};

/* file and overlay may be NULL, not both; origin names the file in errors. Both are borrowed; secrets in them are the
 * caller's to wipe. */
IpopConf *ipop_conf_build(const json_t *file, const char *origin, const json_t *overlay, GError **error);

/* Says that what stands at `where` must be `want`, and what was found; a secret is only described. The first error stays,
 * it is the most exact. Always false. */
bool ipop_conf_fail(IpopConfReader *reader, const char *where, const char *want, const json_t *value, bool secret);

/* Adds a line to conf->warnings and takes it. */
void ipop_conf_warn(IpopConf *conf, char *warning);

/* Warns of each member that is not among the n known ones. where: "" or the entry, as in "\"turn\"[0]: ". */
void ipop_conf_warn_unknown(IpopConfReader *reader, const char *where, const json_t *object, const char *const *known,
                            size_t n);

/* The text of a string of min to max bytes without control characters, borrowed; NULL for anything else. */
const char *ipop_conf_text(const json_t *value, int64_t min, int64_t max);

/* A copy in locked memory. */
char *ipop_conf_secret_copy(const char *text);

bool ipop_conf_take_stun(IpopConfReader *reader, const IpopConfKey *key, const json_t *value);
bool ipop_conf_take_turn(IpopConfReader *reader, const IpopConfKey *key, const json_t *value);
bool ipop_conf_take_peers(IpopConfReader *reader, const IpopConfKey *key, const json_t *value);
bool ipop_conf_take_ignore(IpopConfReader *reader, const IpopConfKey *key, const json_t *value);
