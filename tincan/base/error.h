/* error.h - the one error domain for failures of the environment.
 *
 * The habit of the house: a bug asserts; an expected outcome is an enum the caller looks at; a failure of the
 * environment (file, device, port, configuration) is a GError that main() prints once, as one line that says what,
 * where and what to do. A bad packet or message is counted, never reported this way.
 */
#pragma once

#include <glib.h>

#define IPOP_ERROR (ipop_error_quark())

typedef enum {
    IPOP_ERROR_CONFIG,     /* the configuration or an option is wrong */
    IPOP_ERROR_SYSTEM,     /* the kernel or the file system said no */
    IPOP_ERROR_PROTOCOL,   /* the other side does not speak as agreed */
    IPOP_ERROR_REFUSED,    /* policy says no */
} IpopErrorCode;

GQuark ipop_error_quark(void);
