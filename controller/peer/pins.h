/* pins.h - STATE_DIR/known_peers: which uid first had a name and an address. Trust on first use, kept.
 *
 * The key is the identity; what is pinned are its claims. A pin keeps its first name and address until it is forgotten, so
 * neither becomes free for somebody else when the node changes them. The node itself may go on under another name or
 * address that nobody has pinned; such a later one is not pinned, and goes to whoever is first pinned with it. Peers of the
 * configuration come before those of the file, and names are compared without regard to the case of A to Z.
 *
 * The file is JSON {"peers":[{"uid","key","name","ip4","jid","first_seen"}]}, written atomically, mode 0640. `ipop key`
 * edits the same file: every change is made under a lock (known_peers.lock) to what the file holds at that moment, so that
 * neither loses the other's; the controller watches it. Main thread.
 */
#pragma once

#include "controller/conf/conf.h"
#include "controller/jingle/presence.h"

#include <glib.h>

#define IPOP_PINS_MAX 4096

typedef struct {
    IpopUid uid;
    char key[IPOP_KEY_TEXT_SIZE]; /* "" when pinned by configuration without having been met */
    char name[IPOP_NAME_MAX + 1]; /* "" when it was only the host's default name */
    char ip4[INET_ADDRSTRLEN];
    char jid[1024];
    int64_t first_seen; /* seconds since 1970; for people only */
    bool configured;    /* from "peers" of the configuration: not written to the file */
} IpopPin;

typedef struct IpopPins IpopPins;

/* Loads the file; a missing one is empty, a damaged one an error (it is never overwritten). conf may be NULL and is not
 * kept. */
IpopPins *ipop_pins_load(const char *state_dir, const IpopConf *conf, GError **error);
void ipop_pins_free(IpopPins *pins);

/* Calls changed(user) on the main thread after another process changed the file and it has been read again. A file that is
 * damaged meanwhile changes nothing; the next ipop_pins_remember that has something to write reports it. */
void ipop_pins_watch(IpopPins *pins, void (*changed)(void *user), void *user);

/* Whether a node may be a peer. */
typedef enum {
    IPOP_PIN_KNOWN,      /* pinned, and nothing it claims is another's */
    IPOP_PIN_NEW,        /* unknown and free to be pinned (never with trust "pinned") */
    IPOP_PIN_NAME_TAKEN, /* its configured name is another uid's: ret_why */
    IPOP_PIN_IP4_TAKEN,  /* its address is another uid's: ret_why */
    IPOP_PIN_UNTRUSTED,  /* trust is "pinned" and nobody pinned it: ret_why */
    IPOP_PIN_FULL,       /* IPOP_PINS_MAX reached: ret_why */
} IpopPinVerdict;

/* ret_why: one sentence with the remedy ("run: ipop key --forget NAME"), owned by the caller, NULL when accepted. Names
 * with auto_name neither cause nor meet refusal. */
IpopPinVerdict ipop_pins_judge(const IpopPins *pins, const IpopNode *node, const char *jid, char **ret_why);

/* Pins a node judged KNOWN or NEW and writes the file when something is new; for nodes whose link has proved their key, since
 * a presence alone may be forged. Judged again on what the file holds now: false with IPOP_ERROR_REFUSED when another process
 * was first. After any error nothing more is pinned than before. A peer of the configuration is completed in memory alone. */
bool ipop_pins_remember(IpopPins *pins, const IpopNode *node, const char *jid, GError **error);

/* Forgets by name, address, uid or its unique beginning. False when there is no such pin or several, or when it stands in
 * the configuration. ret_forgotten may be NULL. */
bool ipop_pins_forget(IpopPins *pins, const char *what, IpopPin *ret_forgotten, GError **error);

/* The pin of a uid; NULL when there is none. Holds as those below. */
const IpopPin *ipop_pins_get(const IpopPins *pins, const IpopUid *uid);

/* Those of the configuration first. Pointers hold until pins are changed or the main loop runs. */
unsigned ipop_pins_count(const IpopPins *pins);
const IpopPin *ipop_pins_nth(const IpopPins *pins, unsigned i);
