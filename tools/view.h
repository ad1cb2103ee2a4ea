/* view.h - what tincan answers to get_state, in a form to look things up in. */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    json_t *answers;  /* holds all of it */
    json_t *local;    /* borrowed */
    GPtrArray *peers; /* borrowed json_t, by name */
    int64_t n_lost;   /* peers whose answer got lost */
} IpopView;

/* Asks with "stats"; about one peer, with "why" too, when uid is not NULL. False and error (one line with the remedy) when
 * nothing answers; *ret_view is then untouched. */
bool ipop_view_ask(unsigned port, const char *uid, IpopView *ret_view, GError **error);
void ipop_view_clear(IpopView *view);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(IpopView, ipop_view_clear)

/* The peer of that name, overlay address, uid or unique beginning of a uid. Borrowed; NULL and error when there is none or
 * there are several. */
const json_t *ipop_view_find(const IpopView *view, const char *what, GError **error);

/* A string member, borrowed; "" when it is missing. */
const char *ipop_view_text(const json_t *object, const char *key);

/* Its name, else its uid's first digits. Owned by the caller. */
char *ipop_view_name(const json_t *peer);

/* The best path's statistics, borrowed; NULL when it has none. */
const json_t *ipop_view_best(const json_t *peer);

bool ipop_view_online(const json_t *peer);
