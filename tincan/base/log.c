#include "tincan/base/log.h"

#include "tincan/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static int log_level = IPOP_LOG_INFO;

void ipop_log_set_level(int level) {
    __atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
}

bool ipop_log_enabled(IpopLogLevel level) {
    return (int)level <= __atomic_load_n(&log_level, __ATOMIC_RELAXED);
}

static void make_printable(char *s) {
    for (char *bad = s; !g_utf8_validate(bad, -1, (const char **)&bad);)
        *bad = '?';
    for (; *s; s++)
        if (g_ascii_iscntrl(*s))
            *s = '?';
}

void ipop_log(IpopLogLevel level, const char *topic, const char *format, ...) {
    static const char *const names[] = {"CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"};
    if (!ipop_log_enabled(level))
        return;

    char line[LINE_MAX_BYTES];
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    localtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%F %T", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ld %s %s: ", ts.tv_nsec / 1000000, names[level], topic);

    va_list ap;
    va_start(ap, format);
    vsnprintf(line + n, sizeof line - n - 1, format, ap);
    va_end(ap);
    make_printable(line + n);
    n = strlen(line);
    line[n++] = '\n';
    /* One write, so that lines of several threads never mix. There is nobody to tell when it fails. */
    ssize_t written = write(STDERR_FILENO, line, n);
    (void)written;
}

bool ipop_log_limit(IpopLogLimit *limit, int64_t now) {
    if (now < limit->next)
        return false;
    limit->next = now + 60 * IPOP_SECOND;
    return true;
}
