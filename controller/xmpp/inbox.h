/* inbox.h - what libstrophe's thread tells the main thread: a bounded queue of plain events.
 *
 * The writer never waits and nothing is lost: when the queue is full the writer is told to stop reading from the server, and
 * when it has been worked off `drained` says to go on.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#define IPOP_INBOX_EVENTS 2048
#define IPOP_INBOX_BYTES (2 * 1024 * 1024)

typedef enum {
    IPOP_EVENT_ONLINE, /* logged in; text is the full JID */
    IPOP_EVENT_PRESENCE,
    IPOP_EVENT_REQUEST, /* iq get or set */
    IPOP_EVENT_RESULT,  /* iq result, with id and from */
    IPOP_EVENT_ERROR,   /* iq error, with id and from */
    IPOP_EVENT_CLOSED,  /* the login or the session ended; text is the sentence that says why */
} IpopEventKind;

typedef struct {
    IpopEventKind kind;
    char *text;
    size_t n;
    char *id, *from; /* may be NULL */
    bool stubborn;   /* of CLOSED: ipop_trouble_is_stubborn */
} IpopEvent;

typedef struct IpopInbox IpopInbox;

typedef struct {
    void (*event)(void *user, const IpopEvent *event);
    void (*drained)(void *user);
} IpopInboxReader;

/* The reader is called on the thread-default context of this call. */
IpopInbox *ipop_inbox_new(const IpopInboxReader *reader, void *user);

/* On the reader's thread, not from inside the reader, when no writer is left. Accepts NULL. */
void ipop_inbox_free(IpopInbox *inbox);

/* Any thread. Takes the strings of the event. False: full now, wait for drained. */
bool ipop_inbox_push(IpopInbox *inbox, const IpopEvent *event);

/* Any thread. From now on events are thrown away and nothing is ever full. */
void ipop_inbox_shut(IpopInbox *inbox);
