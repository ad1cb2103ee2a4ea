#include "tincan/link/ice.h"

#include "tincan/base/clock.h"
#include "tincan/base/error.h"
#include "tincan/link/attempt.h"
#include "tincan/link/fast.h"

#include <netinet/in.h>
#include <nice/agent.h>
#include <string.h>

#define COMPONENT 1
#define LOCAL_MAX 16             /* addresses offered: a socket and a round of checks each */
#define PACING_MS 5              /* libnice's own 20 doubles the time to connect */
#define BATCH_US 50000           /* between two messages with candidates */
#define RELAY_DELAY_US 20000     /* how long the STUN request goes ahead of the TURN ones */
#define END_LIMIT_US 5000000     /* candidates that come later than this are not waited for */
#define POLL_US 5000             /* while something of others is waited for: names, a router */
#define DATA_FIRST_BYTE 0x80     /* ours; below are STUN and ChannelData (RFC 7983) */
#define EVENTS_MAX 256           /* waiting for the main loop; only a broken libnice makes so many */
#define RELAYED_MAX 1400         /* a TURN server may fragment what is longer, and then nobody would know */
#define CHANNEL_DATA 4           /* what a relay puts in front of a datagram */
#define REFLEXIVE_PREFERENCE 64  /* type preferences above are of direct ways: libnice sends 110 for those, 30 and less for relays */
#define LOOKS_MAX 3              /* for direct pairs, while a relayed one is selected */
#define LOOK_US 100000           /* between the first two; four times that to the third */

typedef struct {
    enum { EVENT_CANDIDATE, EVENT_LEARNED, EVENT_GATHERED, EVENT_HEARD, EVENT_STATE, EVENT_PAIR } type;
    union {
        IpopCandidate candidate; /* ours, or one of the peer's that its checks came from */
        IpopTransportState state;
        struct {
            IpopPathInfo info;
            char remote_ip[INET6_ADDRSTRLEN];
            uint16_t remote_port;
        } pair;
    };
} Event;

/* libnice calls back from whichever thread leaves its lock, the data thread too. So its callbacks only put an event into
 * the queue, and everything else happens in dispatch(), on the main thread, with no call into libnice on the stack.
 *
 * References (main thread): one of the owner, given up when closing is over, and one of each path. */
typedef struct {
    IpopTransport base;
    unsigned refs;
    IpopTransportEvents events;
    void *user;
    NiceAgent *agent;
    guint stream;
    IpopFast *fast; /* beside the socket of the selected pair; NULL when there is none */
    atomic_bool closed;

    GMutex lock;
    GQueue queue; /* of Event, under the lock */
    GSource *source;

    const IpopServers *servers;
    IpopTransportState state;
    char *ufrag, *pwd, *remote_ufrag, *remote_pwd;
    unsigned n_flushed;   /* of the attempt's local candidates: told already */
    int64_t gather_at, batch_at, relays_at, end_at; /* monotonic; INT64_MAX: not planned; relays_at 0: not yet */
    int64_t relay_delay;
    unsigned n_relays; /* servers asked for one */
    bool relays_asked, gathered, ended;
    bool again; /* this is the second try with new ports */
    IpopPortmapSet *ports; /* NULL: none are mapped */
    Event pair; /* the last one */

    bool has_remote, remote_end;
    /* Bits per remote candidate of the attempt. */
    uint32_t applied; /* libnice has it */
    uint32_t paired;  /* it was learned, and libnice has it as a host candidate and paired it with all own ones */
    unsigned looks;
    int64_t look_at; /* monotonic; INT64_MAX: not planned */
} Ice;

typedef struct {
    IpopPath base;
    Ice *ice;
} IcePath;

typedef struct {
    GSource base;
    Ice *ice;
} IceSource;

static void ice_unref(Ice *ice) {
    if (--ice->refs > 0)
        return;
    g_object_unref(ice->agent);
    g_queue_clear_full(&ice->queue, g_free);
    g_mutex_clear(&ice->lock);
    ipop_attempt_unref(ice->base.attempt);
    g_free(ice->ufrag);
    g_free(ice->pwd);
    g_free(ice->remote_ufrag);
    g_free(ice->remote_pwd);
    g_free(ice);
}

/* --- from libnice, on any thread --- */

static void post(Ice *ice, const Event *event) {
    g_mutex_lock(&ice->lock);
    if (!atomic_load(&ice->closed) && ice->queue.length < EVENTS_MAX) {
        g_queue_push_tail(&ice->queue, g_memdup2(event, sizeof *event));
        g_source_set_ready_time(ice->source, 0);
    }
    g_mutex_unlock(&ice->lock);
}

static IpopCandidateType from_nice_type(NiceCandidateType type) {
    switch (type) {
    case NICE_CANDIDATE_TYPE_HOST:
        return IPOP_CANDIDATE_HOST;
    case NICE_CANDIDATE_TYPE_SERVER_REFLEXIVE:
        return IPOP_CANDIDATE_SRFLX;
    case NICE_CANDIDATE_TYPE_PEER_REFLEXIVE:
        return IPOP_CANDIDATE_PRFLX;
    case NICE_CANDIDATE_TYPE_RELAYED:
        return IPOP_CANDIDATE_RELAY;
    }
    g_assert_not_reached();
}

/* A server or a peer may have said anything: what we would refuse from a peer is neither offered to one nor shown. */
static bool read_candidate(const NiceCandidate *candidate, IpopCandidate *ret) {
    char ip[NICE_ADDRESS_STRING_LEN], base[NICE_ADDRESS_STRING_LEN] = "";
    IpopCandidateType type = from_nice_type(candidate->type);
    nice_address_to_string(&candidate->addr, ip);
    if (type == IPOP_CANDIDATE_SRFLX)
        nice_address_to_string(&candidate->base_addr, base);
    return candidate->transport == NICE_CANDIDATE_TRANSPORT_UDP &&
           ipop_candidate_make(ret, ipop_candidate_type_name(type), candidate->foundation, candidate->priority, ip,
                               nice_address_get_port(&candidate->addr), base, nice_address_get_port(&candidate->base_addr));
}

static void on_candidate(NiceAgent *agent, NiceCandidate *candidate, gpointer data) {
    Event event = {EVENT_CANDIDATE};
    if (candidate->type != NICE_CANDIDATE_TYPE_PEER_REFLEXIVE && read_candidate(candidate, &event.candidate))
        post(data, &event);
}

/* Checks of the peer came from an address that was not signalled. With what priority they came tells whether by a relay. */
static void on_learned(NiceAgent *agent, NiceCandidate *candidate, gpointer data) {
    Event event = {EVENT_LEARNED};
    if (!read_candidate(candidate, &event.candidate))
        return;
    if (candidate->priority >> 24 < REFLEXIVE_PREFERENCE)
        event.candidate.type = IPOP_CANDIDATE_RELAY;
    post(data, &event);
}

static void on_heard(NiceAgent *agent, guint stream, gpointer data) {
    post(data, &(Event){EVENT_HEARD});
}

static void on_gathered(NiceAgent *agent, guint stream, gpointer data) {
    post(data, &(Event){EVENT_GATHERED});
}

static void on_state(NiceAgent *agent, guint stream, guint component, guint state, gpointer data) {
    Event event = {EVENT_STATE};
    switch (state) {
    case NICE_COMPONENT_STATE_CONNECTING:
        event.state = IPOP_TRANSPORT_CHECKING;
        break;
    case NICE_COMPONENT_STATE_CONNECTED:
    case NICE_COMPONENT_STATE_READY:
        event.state = IPOP_TRANSPORT_CONNECTED;
        break;
    case NICE_COMPONENT_STATE_FAILED:
        event.state = IPOP_TRANSPORT_FAILED;
        break;
    default:
        return;
    }
    post(data, &event);
}

static void format_address(const NiceAddress *address, char *ret_text, size_t size) {
    char ip[NICE_ADDRESS_STRING_LEN];
    nice_address_to_string(address, ip);
    g_snprintf(ret_text, size, strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, nice_address_get_port(address));
}

static void on_pair(NiceAgent *agent, guint stream, guint component, NiceCandidate *local, NiceCandidate *remote,
                    gpointer data) {
    Event event = {EVENT_PAIR};
    IpopPathInfo *pair = &event.pair.info;
    pair->local_type = from_nice_type(local->type);
    pair->remote_type = from_nice_type(remote->type);
    pair->relayed = pair->local_type == IPOP_CANDIDATE_RELAY || pair->remote_type == IPOP_CANDIDATE_RELAY;
    format_address(&local->addr, pair->local_addr, sizeof pair->local_addr);
    format_address(&remote->addr, pair->remote_addr, sizeof pair->remote_addr);
    nice_address_to_string(&remote->addr, event.pair.remote_ip);
    event.pair.remote_port = (uint16_t)nice_address_get_port(&remote->addr);
    post(data, &event);
}

/* By libnice's source of the main loop, its lock released. */
static void on_datagram(NiceAgent *agent, guint stream, guint component, guint n, gchar *datagram, gpointer data) {
    Ice *ice = data;
    if (!atomic_load(&ice->closed) && n > 0 && (uint8_t)datagram[0] >= DATA_FIRST_BYTE)
        ice->events.receive(ice->user, (uint8_t *)datagram, n);
}

/* --- the path --- */

/* A datagram that can't be sent (too long, no route) is left out and the next one tried; a full socket ends it. */
static unsigned send_messages(Ice *ice, const NiceOutputMessage *messages, unsigned n) {
    unsigned sent = 0;
    for (unsigned done = 0; done < n;) {
        g_autoptr(GError) error = NULL;
        int taken = nice_agent_send_messages_nonblocking(ice->agent, ice->stream, COMPONENT, messages + done, n - done,
                                                         NULL, &error);
        if (taken > 0) {
            done += (unsigned)taken;
            sent += (unsigned)taken;
        } else if (error && !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            done++;
        } else {
            break;
        }
    }
    return sent;
}

static unsigned path_send(IpopPath *path, const uint8_t *train, size_t n, size_t segment) {
    Ice *ice = ((IcePath *)path)->ice;
    GOutputVector vectors[IPOP_TRAIN_SEGMENTS];
    NiceOutputMessage messages[IPOP_TRAIN_SEGMENTS];
    unsigned count = 0;
    for (size_t at = 0; at < n && count < IPOP_TRAIN_SEGMENTS; at += segment, count++) {
        vectors[count] = (GOutputVector){train + at, MIN(segment, n - at)};
        messages[count] = (NiceOutputMessage){&vectors[count], 1};
    }
    return atomic_load(&ice->closed) ? 0 : send_messages(ice, messages, count);
}

static void path_release(IpopPath *path) {
    ice_unref(((IcePath *)path)->ice);
    g_free(path);
}

static IpopPath *path_new(Ice *ice, bool ip6) {
    IcePath *path = g_new0(IcePath, 1);
    path->base = (IpopPath){
        .refs = 1, .fd = -1, .around = ip6 ? 40 + 8 : 20 + 8, .send = path_send, .release = path_release};
    path->ice = ice;
    ice->refs++;
    return &path->base;
}

/* --- on the main thread --- */

static void flush(Ice *ice, bool end) {
    IpopAttempt *attempt = ice->base.attempt;
    unsigned from = ice->n_flushed;
    ice->n_flushed = attempt->n_local;
    ice->batch_at = INT64_MAX;
    ice->ended = end;
    if (end)
        attempt->gathered = ipop_clock_now();
    ice->events.candidates(ice->user, ice->ufrag, ice->pwd, &attempt->local[from], attempt->n_local - from, end);
}

static void handle_candidate(Ice *ice, const IpopCandidate *c) {
    bool first = ice->base.attempt->n_local == 0;
    if (ice->ended || !ipop_attempt_add_local(ice->base.attempt, c))
        return;
    if (ice->ports)
        ipop_portmap_set_add(ice->ports, c);
    /* The host candidates are there at once, all together; the later ones come one by one. */
    if (ice->batch_at == INT64_MAX)
        ice->batch_at = g_get_monotonic_time() + (first ? 0 : BATCH_US);
}

/* libnice need not know: what comes in by it comes to the host candidate's socket. */
static void on_mapped(void *user, const IpopCandidate *candidate) {
    Ice *ice = user;
    handle_candidate(ice, candidate);
    g_source_set_ready_time(ice->source, 0);
}

static bool has_family(const IpopCandidate *candidates, unsigned n, bool v6) {
    for (unsigned i = 0; i < n; i++)
        if ((strchr(candidates[i].ip, ':') != NULL) == v6)
            return true;
    return false;
}

static const char *explain_failure(const IpopAttempt *attempt) {
    bool v4 = has_family(attempt->local, attempt->n_local, false);
    bool remote_v4 = has_family(attempt->remote, attempt->n_remote, false);
    if (attempt->connected)
        return "the peer stopped answering the checks of a path that had worked";
    if (attempt->n_local == 0)
        return "no local address to reach the peer from";
    if (attempt->n_remote == 0)
        return "no candidates came from the peer";
    if (ipop_attempt_count_pairs(attempt) > 0 || v4 == remote_v4)
        return NULL;
    return v4 ? "this host has IPv4 addresses only and the peer IPv6 ones only"
              : "this host has IPv6 addresses only and the peer IPv4 ones only";
}

static void handle_state(Ice *ice, IpopTransportState state) {
    if (state == ice->state)
        return;
    ice->state = state;
    if (state == IPOP_TRANSPORT_FAILED)
        ice->base.attempt->failed = ipop_clock_now();
    ice->events.state(ice->user, state, state == IPOP_TRANSPORT_FAILED ? explain_failure(ice->base.attempt) : NULL);
}

/* Our own socket beside the one that the pair uses; NULL when that is a relay's, or TCP. Ours stays only with a path that
 * reads it. */
static IpopPath *fast_path(Ice *ice, const Event *event) {
    g_autoptr(GSocket) socket = nice_agent_get_selected_socket(ice->agent, ice->stream, COMPONENT);
    bool usable = socket && g_socket_get_protocol(socket) == G_SOCKET_PROTOCOL_UDP &&
                  event->pair.info.local_type != IPOP_CANDIDATE_RELAY;
    int fd = usable ? g_socket_get_fd(socket) : -1;
    if (ice->fast && !ipop_fast_beside(ice->fast, fd))
        g_clear_pointer(&ice->fast, ipop_fast_close);
    if (!ice->fast)
        ice->fast = ipop_fast_new(fd);
    IpopPath *path = ice->fast ? ipop_fast_path(ice->fast, event->pair.remote_ip, event->pair.remote_port) : NULL;
    if (!path)
        g_clear_pointer(&ice->fast, ipop_fast_close);
    return path;
}

/* As fast.c does it; what libnice itself sends is small. */
static void forbid_fragments(Ice *ice) {
    g_autoptr(GPtrArray) sockets = nice_agent_get_sockets(ice->agent, ice->stream, COMPONENT);
    for (guint i = 0; sockets && i < sockets->len; i++) {
        GSocket *socket = g_ptr_array_index(sockets, i);
        bool ip6 = g_socket_get_family(socket) == G_SOCKET_FAMILY_IPV6;
        g_socket_set_option(socket, ip6 ? IPPROTO_IPV6 : IPPROTO_IP, ip6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
                            ip6 ? IPV6_PMTUDISC_PROBE : IP_PMTUDISC_PROBE, NULL);
    }
}

/* libnice knows a candidate that a check of the peer came from first as peer-reflexive, and others by a type that we made up
 * (pair_learned). */
static void correct_type(const Ice *ice, Event *event) {
    const IpopAttempt *attempt = ice->base.attempt;
    IpopPathInfo *info = &event->pair.info;
    for (unsigned i = 0; i < attempt->n_remote; i++) {
        const IpopCandidate *c = &attempt->remote[i];
        if (c->port == event->pair.remote_port && strcmp(c->ip, event->pair.remote_ip) == 0) {
            info->remote_type = c->type;
            info->relayed = info->local_type == IPOP_CANDIDATE_RELAY || c->type == IPOP_CANDIDATE_RELAY;
            return;
        }
    }
}

/* libnice says the same pair again at changes of its own state; the peer may be elsewhere by now, as its packets say. */
static bool is_news(const Ice *ice, const Event *event) {
    const IpopPathInfo *old = &ice->pair.pair.info, *new = &event->pair.info;
    return ice->base.attempt->n_pairs == 0 || strcmp(old->local_addr, new->local_addr) != 0 ||
           strcmp(old->remote_addr, new->remote_addr) != 0 || old->local_type != new->local_type ||
           old->remote_type != new->remote_type;
}

static NiceCandidate *to_nice(const Ice *ice, const IpopCandidate *c) {
    static const NiceCandidateType types[] = {
        [IPOP_CANDIDATE_HOST] = NICE_CANDIDATE_TYPE_HOST,
        [IPOP_CANDIDATE_SRFLX] = NICE_CANDIDATE_TYPE_SERVER_REFLEXIVE,
        [IPOP_CANDIDATE_PRFLX] = NICE_CANDIDATE_TYPE_PEER_REFLEXIVE,
        [IPOP_CANDIDATE_RELAY] = NICE_CANDIDATE_TYPE_RELAYED,
    };
    NiceCandidate *candidate = nice_candidate_new(types[c->type]);
    candidate->transport = NICE_CANDIDATE_TRANSPORT_UDP;
    candidate->stream_id = ice->stream;
    candidate->component_id = COMPONENT;
    candidate->priority = c->priority;
    g_strlcpy(candidate->foundation, c->foundation, sizeof candidate->foundation);
    nice_address_set_from_string(&candidate->addr, c->ip);
    nice_address_set_port(&candidate->addr, c->port);
    if (nice_address_set_from_string(&candidate->base_addr, c->rel_ip))
        nice_address_set_port(&candidate->base_addr, c->rel_port);
    return candidate;
}

/* Hands libnice these of the peer's candidates, relays left out, as host candidates or as reflexive ones. */
static void give(Ice *ice, uint32_t which, uint32_t as_host) {
    const IpopAttempt *attempt = ice->base.attempt;
    GSList *list = NULL;
    for (unsigned i = 0; i < attempt->n_remote; i++) {
        IpopCandidate c = attempt->remote[i];
        c.type = as_host >> i & 1 ? IPOP_CANDIDATE_HOST : IPOP_CANDIDATE_SRFLX;
        if (which >> i & 1 && attempt->remote[i].type != IPOP_CANDIDATE_RELAY)
            list = g_slist_prepend(list, to_nice(ice, &c));
    }
    list = g_slist_reverse(list);
    if (list)
        nice_agent_set_remote_candidates(ice->agent, ice->stream, COMPONENT, list);
    g_slist_free_full(list, (GDestroyNotify)nice_candidate_free);
}

/* libnice 0.1.21 loses direct pairs. One whose check came before the credentials is tried without them, fails, and is dropped with
 * the next new one. A candidate that was learned from a check is paired with the socket that it came to and with no other, though
 * it be signalled later. What waits for its turn is dropped when any pair is nominated, were it the worst, and whenever a
 * candidate is given that is known. A candidate is paired anew when it is given under another type than libnice first had for
 * that address; for one that was learned the first type that it is given under becomes that. */
static void pair_learned(Ice *ice, uint32_t which) {
    ice->paired |= which;
    give(ice, which, which);
    give(ice, which, 0);
}

static void look_for_direct(Ice *ice, int64_t now) {
    const IpopAttempt *attempt = ice->base.attempt;
    uint32_t as_host = 0;
    for (unsigned i = 0; i < attempt->n_remote; i++)
        if (!(ice->paired >> i & 1) && attempt->remote[i].type != IPOP_CANDIDATE_HOST)
            as_host |= 1u << i;
    give(ice, ice->applied | ice->paired, as_host);
    ice->look_at = ++ice->looks < LOOKS_MAX ? now + (LOOK_US << 2 * (ice->looks - 1)) : INT64_MAX;
}

static void handle_pair(Ice *ice, Event *event) {
    correct_type(ice, event);
    if (!is_news(ice, event))
        return;
    ice->pair = *event;
    bool relayed = event->pair.info.relayed;
    IpopPath *path = fast_path(ice, event);
    if (!path) {
        forbid_fragments(ice);
        path = path_new(ice, strchr(event->pair.remote_ip, ':'));
    }
    path->burst = relayed ? IPOP_TRAIN_RELAYED : IPOP_TRAIN_SEGMENTS;
    if (relayed) {
        path->around += CHANNEL_DATA;
        path->most = RELAYED_MAX - path->around;
    }
    ipop_attempt_add_pair(ice->base.attempt, &event->pair.info);
    ice->events.path(ice->user, path, &event->pair.info);
    ipop_path_unref(path);
    if (!relayed)
        ice->look_at = INT64_MAX;
    else if (ice->looks == 0)
        ice->look_at = g_get_monotonic_time();
}

static void tell_seen(Ice *ice, const IpopCandidate *candidate) {
    IpopPath *path = ice->fast ? ipop_fast_path(ice->fast, candidate->ip, candidate->port) : NULL;
    if (!path)
        return;
    ice->events.seen(ice->user, path);
    ipop_path_unref(path);
}

static void handle(Ice *ice, Event *event) {
    IpopAttempt *attempt = ice->base.attempt;
    switch (event->type) {
    case EVENT_CANDIDATE:
        handle_candidate(ice, &event->candidate);
        break;
    case EVENT_LEARNED:
        ipop_attempt_add_remote(attempt, &event->candidate, true);
        tell_seen(ice, &event->candidate);
        break;
    case EVENT_HEARD:
        attempt->heard = attempt->heard ? attempt->heard : ipop_clock_now();
        break;
    case EVENT_GATHERED:
        ice->gathered = true;
        break;
    case EVENT_STATE:
        handle_state(ice, event->state);
        break;
    case EVENT_PAIR:
        handle_pair(ice, event);
        break;
    }
}

/* A TURN/UDP server that is dead or refuses us makes libnice throw away the answer to its STUN query on the same socket,
 * unless that query stands first in its list: hence only now. Says how many were asked. UDP first, since of two at one
 * address libnice keeps only the first candidate. */
static unsigned ask_relays(Ice *ice) {
    static const IpopTurnTransport order[] = {IPOP_TURN_UDP, IPOP_TURN_TCP};
    unsigned n = 0;
    for (unsigned o = 0; o < G_N_ELEMENTS(order); o++) {
        char ip[46];
        uint16_t port;
        const char *user, *pass;
        IpopTurnTransport transport;
        for (unsigned i = 0; ipop_servers_turn(ice->servers, i, ip, &port, &user, &pass, &transport); i++)
            if (transport == order[o] && n < IPOP_SERVERS_MAX &&
                nice_agent_set_relay_info(ice->agent, ice->stream, COMPONENT, ip, port, user, pass,
                                          transport == IPOP_TURN_UDP ? NICE_RELAY_TYPE_TURN_UDP
                                                                     : NICE_RELAY_TYPE_TURN_TCP))
                n++;
    }
    return n;
}

/* Gives libnice what has come so far; it needs the credentials first, and own candidates to pair them with. */
static void apply_remote(Ice *ice) {
    if (!ice->has_remote || ice->gather_at != INT64_MAX)
        return;
    const IpopAttempt *attempt = ice->base.attempt;
    GSList *list = NULL;
    for (unsigned i = 0; i < attempt->n_remote; i++)
        if (!((ice->applied | attempt->learned) >> i & 1)) {
            ice->applied |= 1u << i;
            list = g_slist_prepend(list, to_nice(ice, &attempt->remote[i]));
        }
    list = g_slist_reverse(list);
    if (list)
        nice_agent_set_remote_candidates(ice->agent, ice->stream, COMPONENT, list);
    g_slist_free_full(list, (GDestroyNotify)nice_candidate_free);
    if (ice->remote_end)
        nice_agent_peer_candidate_gathering_done(ice->agent, ice->stream);
}

/* With no STUN server the relays need not wait for anything. */
static void set_stun(Ice *ice) {
    char ip[INET6_ADDRSTRLEN];
    uint16_t port;
    if (!ipop_servers_stun(ice->servers, ip, &port))
        return;
    g_object_set(ice->agent, "stun-server", ip, "stun-server-port", (guint)port, NULL);
    ice->relay_delay = RELAY_DELAY_US;
}

/* libnice takes the STUN server when gathering begins, and never later. */
static bool gather(Ice *ice) {
    ice->gather_at = INT64_MAX;
    ice->relays_at = 0;
    set_stun(ice);
    bool gathering = nice_agent_gather_candidates(ice->agent, ice->stream);
    apply_remote(ice);
    return gathering;
}

static void run_gathering(Ice *ice, int64_t now) {
    if (ipop_servers_choosing(ice->servers))
        ice->gather_at = now + POLL_US;
    else if (!gather(ice))
        handle_state(ice, IPOP_TRANSPORT_FAILED);
}

static void run_relays(Ice *ice, int64_t now) {
    if (ipop_servers_resolving(ice->servers)) {
        ice->relays_at = now + POLL_US;
        return;
    }
    ice->relays_at = INT64_MAX;
    ice->relays_asked = true;
    /* libnice says a second time that it is done when it was asked for relays. */
    ice->n_relays = ask_relays(ice);
    if (ice->n_relays > 0)
        ice->gathered = false;
}

/* A server that relays for us gave none: most likely it still holds what a process of ours, killed within the last ten
 * minutes, had by the same outside port, and answers 437. Other ports help. */
static bool lacks_relay(const Ice *ice) {
    const IpopAttempt *attempt = ice->base.attempt;
    IpopServerStatus status;
    bool good = false;
    for (unsigned i = 0; i < attempt->n_local; i++)
        if (attempt->local[i].type == IPOP_CANDIDATE_RELAY)
            return false;
    for (unsigned i = 0; ipop_servers_status(ice->servers, i, &status); i++)
        good = good || (status.turn && status.verdict == IPOP_SERVER_GOOD);
    return good && ice->n_relays > 0;
}

static bool open_stream(Ice *ice) {
    ice->stream = nice_agent_add_stream(ice->agent, 1);
    return ice->stream > 0 && nice_agent_attach_recv(ice->agent, ice->stream, COMPONENT, NULL, on_datagram, ice);
}

/* The credentials stay: it is the same generation. */
static void gather_again(Ice *ice) {
    ice->again = true;
    ice->relays_asked = ice->gathered = false;
    ice->applied = ice->paired = 0;
    nice_agent_remove_stream(ice->agent, ice->stream);
    if (!open_stream(ice) || !nice_agent_set_local_credentials(ice->agent, ice->stream, ice->ufrag, ice->pwd))
        return;
    if (ice->has_remote)
        nice_agent_set_remote_credentials(ice->agent, ice->stream, ice->remote_ufrag, ice->remote_pwd);
    gather(ice);
}

/* Nothing more of our own is to come. */
static bool is_complete(const Ice *ice, int64_t now) {
    return now >= ice->end_at || (ice->gathered && ice->relays_asked && !(ice->ports && ipop_portmap_set_waiting(ice->ports)));
}

static void run_timers(Ice *ice, int64_t now) {
    /* Not before libnice has the credentials to check them with. */
    uint32_t learned = ice->has_remote && ice->gather_at == INT64_MAX ? ice->base.attempt->learned & ~ice->paired : 0;
    if (learned)
        pair_learned(ice, learned);
    /* From the first turn on: libnice makes its STUN query in that one, however late it comes. */
    if (ice->relays_at == 0)
        ice->relays_at = now + ice->relay_delay;
    if (now >= ice->gather_at)
        run_gathering(ice, now);
    else if (now >= ice->relays_at)
        run_relays(ice, now);
    if (now >= ice->look_at)
        look_for_direct(ice, now);
    bool complete = !ice->ended && is_complete(ice, now);
    if (complete && ice->gathered && !ice->again && ice->base.attempt->n_pairs == 0 && lacks_relay(ice))
        gather_again(ice);
    else if (complete)
        flush(ice, true);
    else if (now >= ice->batch_at)
        flush(ice, false);
}

/* Without a single pair to check libnice never comes to an end, so we say it. */
static void check_hopeless(Ice *ice) {
    if (ice->state == IPOP_TRANSPORT_GATHERING && ice->ended && ice->remote_end && ipop_attempt_count_pairs(ice->base.attempt) == 0)
        handle_state(ice, IPOP_TRANSPORT_FAILED);
}

static void on_closed(GObject *agent, GAsyncResult *result, gpointer data) {
    Ice *ice = data;
    nice_agent_remove_stream(ice->agent, ice->stream);
    ice_unref(ice);
}

/* Relays are given back to their servers first: else a server holds them for ten minutes, and answers 437 to the next one
 * who comes from the same port. The sockets must be read until then, for the servers' answers; with a dead server it takes
 * two seconds. */
static void tear_down(Ice *ice) {
    g_clear_pointer(&ice->fast, ipop_fast_close);
    g_source_destroy(ice->source);
    g_source_unref(ice->source);
    nice_agent_close_async(ice->agent, on_closed, ice);
}

static Event *pop(Ice *ice) {
    g_mutex_lock(&ice->lock);
    Event *event = g_queue_pop_head(&ice->queue);
    g_mutex_unlock(&ice->lock);
    return event;
}

static void plan_next(Ice *ice, int64_t now) {
    int64_t next = MIN(MIN(ice->gather_at, ice->batch_at), MIN(ice->relays_at, ice->look_at));
    if (!ice->ended)
        next = MIN(next, ice->ports && ipop_portmap_set_waiting(ice->ports) ? now + POLL_US : ice->end_at);
    g_mutex_lock(&ice->lock);
    if (ice->closed || ice->queue.length > 0)
        next = 0;
    g_source_set_ready_time(ice->source, next == INT64_MAX ? -1 : next);
    g_mutex_unlock(&ice->lock);
}

/* Any event may make the owner close us, from inside. */
static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data) {
    Ice *ice = ((IceSource *)source)->ice;
    Event *event;

    while (!ice->closed && (event = pop(ice))) {
        handle(ice, event);
        g_free(event);
    }
    if (!ice->closed)
        run_timers(ice, g_get_monotonic_time());
    if (!ice->closed && ice->base.attempt->n_pairs > 0) {
        Event again = ice->pair; /* a candidate that came since may say more of it */
        handle_pair(ice, &again);
    }
    if (!ice->closed)
        check_hopeless(ice);
    if (ice->closed)
        tear_down(ice);
    else
        plan_next(ice, g_get_monotonic_time());
    return G_SOURCE_CONTINUE;
}

static GSource *source_new(Ice *ice) {
    static GSourceFuncs functions = {.dispatch = dispatch};
    GSource *source = g_source_new(&functions, sizeof(IceSource));
    ((IceSource *)source)->ice = ice;
    g_source_set_static_name(source, "ice");
    g_source_attach(source, NULL);
    return source;
}

/* --- from the owner --- */

/* A generation has one pair of credentials: others than the first belong to another one and are ignored. */
static void set_remote(IpopTransport *transport, const char *ufrag, const char *pwd) {
    Ice *ice = (Ice *)transport;
    if (ice->closed || ice->has_remote || !ipop_ice_credentials_valid(ufrag, pwd))
        return;
    ice->has_remote = nice_agent_set_remote_credentials(ice->agent, ice->stream, ufrag, pwd);
    ice->remote_ufrag = g_strdup(ufrag);
    ice->remote_pwd = g_strdup(pwd);
    apply_remote(ice);
}

static void add_candidates(IpopTransport *transport, const IpopCandidate *candidates, unsigned n, bool end) {
    Ice *ice = (Ice *)transport;
    if (ice->closed)
        return;
    for (unsigned i = 0; i < n; i++)
        ipop_attempt_add_remote(ice->base.attempt, &candidates[i], false);
    ice->remote_end |= end;
    apply_remote(ice);
    g_source_set_ready_time(ice->source, 0);
}

static void close_transport(IpopTransport *transport) {
    Ice *ice = (Ice *)transport;
    g_clear_pointer(&ice->ports, ipop_portmap_set_free);
    g_mutex_lock(&ice->lock);
    atomic_store(&ice->closed, true);
    g_source_set_ready_time(ice->source, 0);
    g_mutex_unlock(&ice->lock);
}

static const IpopTransportOps ops = {set_remote, add_candidates, close_transport};

/* Only what a peer would take from us. So no fe80 ones: libnice would prefer them on a LAN, and they need a scope that
 * nobody else knows. */
static unsigned add_addresses(Ice *ice, char **addresses) {
    unsigned n = 0;
    for (char **a = addresses; *a && n < LOCAL_MAX; a++) {
        IpopCandidate c;
        NiceAddress address;
        nice_address_init(&address);
        if (ipop_candidate_make(&c, "host", "1", 1, *a, 1, NULL, 0) && nice_address_set_from_string(&address, c.ip) &&
            nice_agent_add_local_address(ice->agent, &address))
            n++;
    }
    return n;
}

static NiceAgent *agent_new(Ice *ice, bool controlling) {
    /* Aggressive nomination: with the regular one a relayed pair would never move to a direct one found later. */
    NiceAgent *agent = nice_agent_new_full(NULL, NICE_COMPATIBILITY_RFC5245,
                                           NICE_AGENT_OPTION_ICE_TRICKLE | NICE_AGENT_OPTION_CONSENT_FRESHNESS);
    g_object_set(agent, "controlling-mode", (gboolean)controlling, "stun-pacing-timer", PACING_MS,
                 "keepalive-conncheck", TRUE, "ice-tcp", FALSE, "upnp", FALSE, NULL);
    g_signal_connect(agent, "new-candidate-full", G_CALLBACK(on_candidate), ice);
    g_signal_connect(agent, "new-remote-candidate-full", G_CALLBACK(on_learned), ice);
    g_signal_connect(agent, "initial-binding-request-received", G_CALLBACK(on_heard), ice);
    g_signal_connect(agent, "candidate-gathering-done", G_CALLBACK(on_gathered), ice);
    g_signal_connect(agent, "component-state-changed", G_CALLBACK(on_state), ice);
    g_signal_connect(agent, "new-selected-pair-full", G_CALLBACK(on_pair), ice);
    return agent;
}

static bool start(Ice *ice, const IpopIceConfig *config) {
    return open_stream(ice) && add_addresses(ice, config->addresses) > 0 &&
           nice_agent_get_local_credentials(ice->agent, ice->stream, &ice->ufrag, &ice->pwd) &&
           (ipop_servers_choosing(ice->servers) || gather(ice));
}

IpopTransport *ipop_ice_new(const IpopIceConfig *config, const IpopTransportEvents *events, void *user, GError **error) {
    Ice *ice = g_new0(Ice, 1);
    ice->base.ops = &ops;
    ice->base.attempt = ipop_attempt_new(config->controlling);
    ice->refs = 1;
    ice->events = *events;
    ice->user = user;
    ice->servers = config->servers;
    ice->ports = config->portmap ? ipop_portmap_set_new(config->portmap, on_mapped, ice) : NULL;
    ice->state = IPOP_TRANSPORT_GATHERING;
    ice->batch_at = ice->relays_at = ice->look_at = INT64_MAX;
    ice->end_at = g_get_monotonic_time() + END_LIMIT_US;
    g_mutex_init(&ice->lock);
    ice->agent = agent_new(ice, config->controlling);
    ice->source = source_new(ice);

    if (!start(ice, config)) {
        g_set_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM,
                    "no address of this host can be offered to a peer: connect it to a network, or shorten network_ignore_list");
        close_transport(&ice->base);
        return NULL;
    }
    plan_next(ice, g_get_monotonic_time());
    return &ice->base;
}
