#include "tincan/base/error.h"

G_DEFINE_QUARK(ipop-error-quark, ipop_error)
