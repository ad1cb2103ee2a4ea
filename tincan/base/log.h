/* log.h - one line per event on standard error.
 *
 * A line is "TIME LEVEL topic: message key=value ...". At the default level the lines tell the story of a connection;
 * nothing that repeats is logged more than once per cause and minute (ipop_log_limit). Secrets have no formatter.
 * Any thread. Library modules return errors and do not log; their callers do, once.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    IPOP_LOG_CRITICAL,
    IPOP_LOG_ERROR,
    IPOP_LOG_WARNING,
    IPOP_LOG_INFO,
    IPOP_LOG_DEBUG,
} IpopLogLevel;

/* Lines above this level are not written. Default IPOP_LOG_INFO; -1 writes nothing. */
void ipop_log_set_level(int level);

bool ipop_log_enabled(IpopLogLevel level);

/* Writes one line. Control characters and invalid UTF-8 in the arguments come out as '?', and a line is cut at 1 KiB:
 * what a server or a peer says can't forge or flood the log. */
void ipop_log(IpopLogLevel level, const char *topic, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* A limiter for one cause of a line: static IpopLogLimit limit; if (ipop_log_limit(&limit, now)) ipop_log(...). True at
 * most once per minute. */
typedef struct {
    int64_t next;
} IpopLogLimit;

bool ipop_log_limit(IpopLogLimit *limit, int64_t now);
