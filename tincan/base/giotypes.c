#include "tincan/base/giotypes.h"

#include <gio/gio.h>

void ipop_giotypes_init(void) {
    static GType (*const types[])(void) = {
        g_cancellable_get_type,         g_task_get_type,           g_inet_address_get_type, g_inet_socket_address_get_type,
        g_network_address_get_type,     g_network_service_get_type, g_socket_get_type,       g_tcp_connection_get_type,
        g_socket_client_get_type,
    };
    static gsize done;
    if (!g_once_init_enter(&done))
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++)
        g_type_class_ref(types[i]()); /* for good */
    g_object_unref(g_resolver_get_default());
    g_once_init_leave(&done, 1);
}
