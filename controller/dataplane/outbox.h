/* outbox.h - what tincan is to be told: the wanted state, said again to each new tincan, and requests for now. Pure: time
 * comes in, texts go out by a callback, answers come in by their id. Main thread.
 *
 * In order per peer: of one uid at most one request is under way, and one without a uid (set_local, ...) has the line to
 * itself, so that a lost and repeated datagram never overtakes what it rests on. At most IPOP_OUTBOX_WINDOW are under way.
 */
#pragma once

#include "tincan/base/clock.h"
#include "tincan/ctl/ids.h"

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPOP_OUTBOX_WINDOW 32
#define IPOP_OUTBOX_MAX 16384                 /* waiting requests; more are refused */
#define IPOP_OUTBOX_REPEAT (IPOP_SECOND / 4)  /* unanswered: again */
#define IPOP_OUTBOX_LIMIT (5 * IPOP_SECOND)   /* unanswered for so long: nobody is there */
#define IPOP_OUTBOX_FIRST_ID 1000             /* ids below are the caller's */

typedef struct IpopOutbox IpopOutbox;

typedef struct {
    void (*send)(void *user, const char *text, size_t n); /* text is wiped afterwards */
    void (*refused)(void *user, const char *what, const char *error); /* tincan does not take a wanted state */
} IpopOutboxEvents;

IpopOutbox *ipop_outbox_new(const IpopOutboxEvents *events, void *user);
void ipop_outbox_free(IpopOutbox *outbox);

/* As ipop_dataplane_want and _do; done is called exactly once. */
void ipop_outbox_want(IpopOutbox *outbox, const char *what, json_t *message);
void ipop_outbox_do(IpopOutbox *outbox, const char *what, json_t *message, void (*done)(void *user, const char *error),
                    void *user);

/* A tincan is there: the whole wanted state waits to be sent. */
void ipop_outbox_open(IpopOutbox *outbox);

/* It is gone: what was for now fails, the wanted state stays. */
void ipop_outbox_close(IpopOutbox *outbox);

/* The wanted peers that are not in known (a set of uid texts) are said again. */
void ipop_outbox_compare(IpopOutbox *outbox, GHashTable *known);

/* An answer; error is NULL for success. False when nobody asked. */
bool ipop_outbox_answer(IpopOutbox *outbox, int64_t id, const char *error);

/* Sends what may go and repeats what is due. The time to be called again at (INT64_MAX: after the next change), or -1 when
 * something is unanswered for IPOP_OUTBOX_LIMIT. */
int64_t ipop_outbox_run(IpopOutbox *outbox, int64_t now);
