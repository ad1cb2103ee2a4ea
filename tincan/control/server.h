/* server.h - the control port: datagrams in and out, plain or sealed. What they mean is in handlers.c. Main thread.
 *
 * tincan/ctl/PROTOCOL.md has the protocol.
 */
#pragma once

#include "tincan/ctl/seal.h"

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

typedef struct IpopControl IpopControl;

/* Where an answer goes, and how. */
typedef struct IpopRequest IpopRequest;

/* Called for each request that is a JSON object with a method. */
typedef void (*IpopControlHandler)(void *user, const char *method, const json_t *message, const IpopRequest *request);

/* Binds both loopback addresses (the IPv6 one where there is IPv6) and writes a new secret to runtime_dir/control.key. */
IpopControl *ipop_control_new(unsigned port, const char *runtime_dir, IpopControlHandler handler, void *user,
                              GError **error);
void ipop_control_free(IpopControl *control);

/* True when whoever asks holds the secret. */
bool ipop_request_authentic(const IpopRequest *request);

/* To answer later. */
IpopRequest *ipop_request_copy(const IpopRequest *request);
void ipop_request_free(IpopRequest *request);

/* One datagram back, with the request's id. The reference to answer is stolen. */
void ipop_control_answer(const IpopRequest *request, json_t *answer);

/* The sender of this authentic request gets the notifications from now on. */
void ipop_control_attach(IpopControl *control, const IpopRequest *request);

/* To the receiver, if there is one. The reference is stolen. */
void ipop_control_notify(IpopControl *control, json_t *notification);

/* When the receiver last sent something authentic, ipop_clock_now; 0: there is none. */
int64_t ipop_control_heard(const IpopControl *control);
