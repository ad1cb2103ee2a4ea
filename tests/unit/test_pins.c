/* known_peers: the first to have a name or an address keeps it, whoever writes the file meanwhile. */
#include "controller/peer/pins.h"
#include "controller/xmpp/xmpp.h"
#include "tincan/base/error.h"
#include "tincan/base/secret.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char *dir, *file;
    IpopPins *pins;
} State;

/* A node with a key of its own made from id. */
static IpopNode node(uint8_t id, const char *name, const char *ip4) {
    IpopNode made = {.suites = IPOP_SUITE_CHACHAPOLY};
    memset(made.key, id, sizeof made.key);
    made.uid = ipop_uid_from_key(made.key);
    g_strlcpy(made.name, name, sizeof made.name);
    g_strlcpy(made.ip4, ip4, sizeof made.ip4);
    return made;
}

static IpopNode auto_node(uint8_t id, const char *name, const char *ip4) {
    IpopNode made = node(id, name, ip4);
    made.auto_name = true;
    return made;
}

static IpopPins *load(const char *dir, const IpopConf *conf) {
    GError *error = NULL;
    IpopPins *pins = ipop_pins_load(dir, conf, &error);
    g_assert_no_error(error);
    return pins;
}

static void remember(IpopPins *pins, IpopNode made) {
    GError *error = NULL;
    g_assert_true(ipop_pins_remember(pins, &made, "user@example.org/ipop-1", &error));
    g_assert_no_error(error);
}

/* rest: what the sentence must hold, or NULL when there must be none. */
static void judged(const IpopPins *pins, IpopNode made, IpopPinVerdict verdict, const char *rest) {
    g_autofree char *why = NULL;
    g_assert_cmpint(ipop_pins_judge(pins, &made, "user@example.org/ipop-1", &why), ==, verdict);
    g_assert_true((why == NULL) == (rest == NULL));
    if (rest && !strstr(why, rest))
        g_error("\"%s\" does not say \"%s\"", why, rest);
}

static void set_up(State *state, const void *unused) {
    state->dir = g_dir_make_tmp("ipop-pins-XXXXXX", NULL);
    state->file = g_build_filename(state->dir, "known_peers", NULL);
    state->pins = load(state->dir, NULL);
}

static void tear_down(State *state, const void *unused) {
    ipop_pins_free(state->pins);
    g_autofree char *lock = g_strconcat(state->file, ".lock", NULL);
    g_remove(lock);
    g_remove(state->file);
    g_assert_cmpint(g_rmdir(state->dir), ==, 0); /* so no temporary file was left */
    g_free(state->dir);
    g_free(state->file);
}

static void test_first_use(State *state, const void *unused) {
    g_assert_cmpuint(ipop_pins_count(state->pins), ==, 0);
    judged(state->pins, node(1, "alice", "172.31.0.1"), IPOP_PIN_NEW, NULL);
    remember(state->pins, node(1, "alice", "172.31.0.1"));
    judged(state->pins, node(1, "alice", "172.31.0.1"), IPOP_PIN_KNOWN, NULL);
    judged(state->pins, node(2, "alice", "172.31.0.2"), IPOP_PIN_NAME_TAKEN, "run: ipop key --forget alice");
    judged(state->pins, node(2, "ALICE", "172.31.0.2"), IPOP_PIN_NAME_TAKEN, "the name ALICE belongs to");
    judged(state->pins, node(2, "bob", "172.31.0.1"), IPOP_PIN_IP4_TAKEN, "run: ipop key --forget alice");
    judged(state->pins, node(2, "bob", "172.31.0.2"), IPOP_PIN_NEW, NULL);

    struct stat st;
    g_assert_cmpint(stat(state->file, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0640);
    IpopPins *again = load(state->dir, NULL);
    g_assert_cmpuint(ipop_pins_count(again), ==, 1);
    const IpopPin *a = ipop_pins_nth(state->pins, 0), *b = ipop_pins_nth(again, 0);
    g_assert_cmpstr(a->uid.hex, ==, b->uid.hex);
    g_assert_cmpstr(a->key, ==, b->key);
    g_assert_cmpstr(b->name, ==, "alice");
    g_assert_cmpstr(b->ip4, ==, "172.31.0.1");
    g_assert_cmpstr(b->jid, ==, "user@example.org/ipop-1");
    g_assert_cmpint(b->first_seen, ==, a->first_seen);
    g_assert_cmpint(b->first_seen, >, 1500000000);
    g_assert_false(b->configured);
    ipop_pins_free(again);
}

/* A node that changes its name and address keeps the old ones from everybody else. */
static void test_claims_stay(State *state, const void *unused) {
    remember(state->pins, node(1, "alice", "172.31.0.1"));
    judged(state->pins, node(1, "anna", "172.31.0.9"), IPOP_PIN_KNOWN, NULL);
    remember(state->pins, node(1, "anna", "172.31.0.9"));
    g_assert_cmpstr(ipop_pins_nth(state->pins, 0)->name, ==, "alice");
    judged(state->pins, node(2, "alice", "172.31.0.2"), IPOP_PIN_NAME_TAKEN, "alice");
    judged(state->pins, node(2, "bob", "172.31.0.1"), IPOP_PIN_IP4_TAKEN, "172.31.0.1");
    /* The later ones are nobody's until somebody is pinned with them; then they are his. */
    remember(state->pins, node(2, "anna", "172.31.0.2"));
    judged(state->pins, node(1, "anna", "172.31.0.1"), IPOP_PIN_NAME_TAKEN, "anna");
    judged(state->pins, node(1, "alice", "172.31.0.2"), IPOP_PIN_IP4_TAKEN, "--forget anna");
    judged(state->pins, node(1, "alice", "172.31.0.1"), IPOP_PIN_KNOWN, NULL);
}

static void test_auto_names(State *state, const void *unused) {
    remember(state->pins, auto_node(1, "debian", "172.31.0.1"));
    g_assert_cmpstr(ipop_pins_nth(state->pins, 0)->name, ==, "");
    judged(state->pins, auto_node(2, "debian", "172.31.0.2"), IPOP_PIN_NEW, NULL);
    judged(state->pins, node(2, "debian", "172.31.0.2"), IPOP_PIN_NEW, NULL);
    remember(state->pins, node(2, "debian", "172.31.0.2"));
    judged(state->pins, auto_node(1, "debian", "172.31.0.1"), IPOP_PIN_KNOWN, NULL);
    judged(state->pins, node(1, "debian", "172.31.0.1"), IPOP_PIN_NAME_TAKEN, "debian");
    /* An address is pinned however it came about. Without a name, the uid says whom to forget. */
    g_autofree char *remedy = g_strdup_printf("--forget %s", node(1, "", "").uid.hex);
    judged(state->pins, auto_node(3, "x", "172.31.0.1"), IPOP_PIN_IP4_TAKEN, remedy);
    /* The first name given by a person is pinned when it comes. */
    remember(state->pins, node(1, "anna", "172.31.0.1"));
    judged(state->pins, node(3, "anna", "172.31.0.3"), IPOP_PIN_NAME_TAKEN, "anna");
}

/* What a node calls itself must not become a command when somebody follows the advice. */
static void test_advice_is_harmless(State *state, const void *unused) {
    remember(state->pins, node(1, "$(reboot)", "172.31.0.1"));
    remember(state->pins, node(2, "--state-dir", "172.31.0.2"));
    g_autofree char *one = g_strdup_printf("--forget %s", node(1, "", "").uid.hex);
    g_autofree char *two = g_strdup_printf("--forget %s", node(2, "", "").uid.hex);
    judged(state->pins, node(3, "x", "172.31.0.1"), IPOP_PIN_IP4_TAKEN, one);
    judged(state->pins, node(3, "x", "172.31.0.2"), IPOP_PIN_IP4_TAKEN, two);
}

static IpopConf *conf_with(const char *trust, const IpopNode *peer, const char *members) {
    g_autofree char *text = g_strdup_printf("{\"xmpp_username\": \"user@example.org\", \"trust\": \"%s\", "
                                            "\"peers\": [{\"uid\": \"%s\"%s}]}", trust, peer->uid.hex, members);
    IpopConf *conf = ipop_conf_parse(text, strlen(text), "test", NULL, NULL);
    g_assert_nonnull(conf);
    return conf;
}

static void test_configured(State *state, const void *unused) {
    IpopNode bob = node(1, "bob", "172.31.0.1");
    remember(state->pins, node(2, "bob", "172.31.0.2"));
    IpopConf *conf = conf_with("first-use", &bob, ", \"name\": \"bob\", \"ip4\": \"172.31.0.1\"");
    IpopPins *pins = load(state->dir, conf);
    ipop_conf_free(conf);
    g_assert_cmpuint(ipop_pins_count(pins), ==, 2);
    g_assert_true(ipop_pins_nth(pins, 0)->configured);
    g_assert_cmpstr(ipop_pins_nth(pins, 0)->key, ==, "");
    /* The configuration's word goes before the file's. */
    judged(pins, bob, IPOP_PIN_KNOWN, NULL);
    judged(pins, node(2, "bob", "172.31.0.2"), IPOP_PIN_NAME_TAKEN, "change it there");
    remember(pins, bob);
    g_assert_cmpuint(strlen(ipop_pins_nth(pins, 0)->key), ==, IPOP_KEY_TEXT_SIZE - 1);
    remember(pins, node(3, "carol", "172.31.0.3"));

    GError *error = NULL;
    g_assert_false(ipop_pins_forget(pins, bob.uid.hex, NULL, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED);
    g_assert_nonnull(strstr(error->message, "remove it there"));
    g_error_free(error);
    ipop_pins_free(pins);

    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(state->file, &text, NULL, NULL));
    g_assert_null(strstr(text, bob.uid.hex));
    g_assert_nonnull(strstr(text, "carol"));
}

/* A peer configured by uid alone holds what it first had for as long as we run. */
static void test_configured_by_uid(State *state, const void *unused) {
    IpopNode bob = node(1, "bob", "172.31.0.1");
    remember(state->pins, node(2, "carol", "172.31.0.2"));
    IpopConf *conf = conf_with("first-use", &bob, "");
    IpopPins *pins = load(state->dir, conf);
    ipop_conf_free(conf);
    GError *error = NULL;
    IpopNode posing = node(1, "carol", "172.31.0.1");
    g_assert_false(ipop_pins_remember(pins, &posing, NULL, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED);
    g_error_free(error);
    remember(pins, bob);
    judged(pins, node(3, "bob", "172.31.0.3"), IPOP_PIN_NAME_TAKEN, "configuration");
    ipop_pins_free(pins);
}

static void test_trust_pinned(State *state, const void *unused) {
    IpopNode bob = node(1, "bob", "172.31.0.1");
    remember(state->pins, node(2, "carol", "172.31.0.2"));
    IpopConf *conf = conf_with("pinned", &bob, "");
    IpopPins *pins = load(state->dir, conf);
    ipop_conf_free(conf);
    judged(pins, bob, IPOP_PIN_KNOWN, NULL);
    judged(pins, node(2, "carol", "172.31.0.2"), IPOP_PIN_KNOWN, NULL);
    IpopNode dave = node(3, "dave", "172.31.0.3");
    judged(pins, dave, IPOP_PIN_UNTRUSTED, dave.uid.hex);
    GError *error = NULL;
    g_assert_false(ipop_pins_remember(pins, &dave, NULL, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED);
    g_error_free(error);
    ipop_pins_free(pins);
}

static void forget_fails(IpopPins *pins, const char *what, const char *says) {
    GError *error = NULL;
    IpopPin untouched = {.first_seen = 7};
    g_assert_false(ipop_pins_forget(pins, what, &untouched, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED);
    g_assert_nonnull(strstr(error->message, says));
    g_assert_cmpint(untouched.first_seen, ==, 7);
    g_error_free(error);
}

static void test_forget(State *state, const void *unused) {
    IpopPin forgotten;
    char beginning[41];
    for (int i = 1; i <= 20; i++) {
        g_autofree char *name = g_strdup_printf("n%d", i), *ip4 = g_strdup_printf("172.31.0.%d", i);
        remember(state->pins, node((uint8_t)i, name, ip4));
    }
    forget_fails(state->pins, "nobody", "no key is pinned as \"nobody\"");
    forget_fails(state->pins, "", "no key is pinned");
    g_assert_true(ipop_pins_forget(state->pins, "N1", &forgotten, NULL));
    g_assert_cmpstr(forgotten.name, ==, "n1");
    judged(state->pins, node(99, "n1", "172.31.0.1"), IPOP_PIN_NEW, NULL);
    g_assert_true(ipop_pins_forget(state->pins, "172.31.0.2", &forgotten, NULL));
    g_assert_cmpstr(forgotten.name, ==, "n2");
    g_assert_true(ipop_pins_forget(state->pins, node(3, "", "").uid.hex, &forgotten, NULL));
    g_assert_cmpstr(forgotten.name, ==, "n3");

    /* The shortest unique beginning forgets; one digit less is refused where it is not unique. */
    g_strlcpy(beginning, node(4, "", "").uid.hex, sizeof beginning);
    unsigned shortest = 1;
    for (unsigned i = 0; i < ipop_pins_count(state->pins); i++) {
        const char *other = ipop_pins_nth(state->pins, i)->uid.hex;
        unsigned same = 0;
        while (other[same] && other[same] == beginning[same])
            same++;
        if (same < 40)
            shortest = MAX(shortest, same + 1);
    }
    g_assert_cmpuint(shortest, >, 1);
    char last = beginning[shortest - 1];
    beginning[shortest - 1] = '\0';
    forget_fails(state->pins, beginning, "give more of it");
    beginning[shortest - 1] = last;
    beginning[shortest] = '\0';
    g_assert_true(ipop_pins_forget(state->pins, beginning, &forgotten, NULL));
    g_assert_cmpstr(forgotten.name, ==, "n4");

    /* A whole name goes before the beginning of a uid. */
    beginning[1] = '\0';
    g_strlcpy(beginning, node(5, "", "").uid.hex, 2);
    remember(state->pins, node(50, beginning, "172.31.0.50"));
    g_assert_true(ipop_pins_forget(state->pins, beginning, &forgotten, NULL));
    g_assert_cmpstr(forgotten.ip4, ==, "172.31.0.50");
    g_assert_cmpuint(ipop_pins_count(state->pins), ==, 16);
}

/* The controller and `ipop key` never lose each other's change, and who comes first keeps the name. */
static void test_two_processes(State *state, const void *unused) {
    IpopPins *other = load(state->dir, NULL);
    remember(state->pins, node(1, "alice", "172.31.0.1"));
    remember(other, node(2, "bob", "172.31.0.2"));
    remember(state->pins, node(3, "carol", "172.31.0.3"));
    g_assert_cmpuint(ipop_pins_count(state->pins), ==, 3);
    g_assert_true(ipop_pins_forget(other, "carol", NULL, NULL));
    g_assert_cmpuint(ipop_pins_count(other), ==, 2);

    IpopNode posing = node(4, "dave", "172.31.0.4");
    remember(other, posing);
    posing = node(5, "dave", "172.31.0.5");
    judged(state->pins, posing, IPOP_PIN_NEW, NULL); /* it has not read the file again yet */
    GError *error = NULL;
    g_assert_false(ipop_pins_remember(state->pins, &posing, NULL, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_REFUSED);
    g_error_free(error);
    ipop_pins_free(other);
}

static void test_many_writers(State *state, const void *unused) {
    enum { WRITERS = 4, EACH = 10 };
    pid_t children[WRITERS];
    for (int w = 0; w < WRITERS; w++) {
        children[w] = fork();
        g_assert_cmpint(children[w], >=, 0);
        if (children[w] > 0)
            continue;
        for (int i = 0; i < EACH; i++) {
            g_autofree char *name = g_strdup_printf("w%d-%d", w, i), *ip4 = g_strdup_printf("172.31.%d.%d", w, i);
            remember(state->pins, node((uint8_t)(1 + w * EACH + i), name, ip4));
        }
        _exit(0);
    }
    for (int w = 0; w < WRITERS; w++) {
        int status;
        g_assert_cmpint(waitpid(children[w], &status, 0), ==, children[w]);
        g_assert_cmpint(status, ==, 0);
    }
    IpopPins *all = load(state->dir, NULL);
    g_assert_cmpuint(ipop_pins_count(all), ==, WRITERS * EACH);
    ipop_pins_free(all);
}

static void test_damaged(State *state, const void *unused) {
    IpopNode one = node(1, "alice", "172.31.0.1");
    char key[IPOP_KEY_TEXT_SIZE];
    ipop_key_to_text(one.key, key);
    g_autofree char *entry = g_strdup_printf("{\"uid\":\"%s\",\"key\":\"%s\",\"name\":\"alice\",\"ip4\":\"172.31.0.1\","
                                             "\"jid\":\"\",\"first_seen\":1}", one.uid.hex, key);
    g_autofree char *fine = g_strdup_printf("{\"peers\":[%s]}", entry);
    g_assert_true(g_file_set_contents(state->file, fine, -1, NULL));
    IpopPins *pins = load(state->dir, NULL);
    g_assert_cmpuint(ipop_pins_count(pins), ==, 1);
    ipop_pins_free(pins);

    const struct {
        const char *from, *to, *says;
    } cases[] = {{"{\"peers\"", "", "no JSON object"}, {"]}", "", "no JSON object"},
                 {"\"peers\"", "\"peer\"", "no JSON object"},
                 {one.uid.hex, "0011", "\"uid\" of entry 1 is missing or wrong"},
                 {one.uid.hex, "00112233445566778899aabbccddeeff00112233", "\"key\" of entry 1"},
                 {key, "", "\"key\" of entry 1"}, {"\"alice\"", "\"a/b\"", "\"name\" of entry 1"},
                 {"\"name\"", "\"nome\"", "\"name\" of entry 1"}, {"172.31.0.1", "172.31.0", "\"ip4\" of entry 1"},
                 {"172.31.0.1", "", "\"ip4\" of entry 1"}, {"\"jid\":\"\"", "\"jid\":\"\\n\"", "\"jid\" of entry 1"},
                 {":1}", ":-1}", "\"first_seen\" of entry 1"}, {":1}", ":\"1\"}", "\"first_seen\" of entry 1"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GString *text = g_string_new(fine);
        g_assert_cmpuint(g_string_replace(text, cases[i].from, cases[i].to, 1), ==, 1);
        g_assert_true(g_file_set_contents(state->file, text->str, -1, NULL));
        GError *error = NULL;
        g_assert_null(ipop_pins_load(state->dir, NULL, &error));
        g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
        g_assert_nonnull(strstr(error->message, cases[i].says));
        g_assert_nonnull(strstr(error->message, "move it away"));
        g_assert_null(strchr(error->message, '\n'));
        g_error_free(error);
        /* Nor does one who has it open write over it. */
        error = NULL;
        g_assert_false(ipop_pins_remember(state->pins, &one, NULL, &error));
        g_error_free(error);
        g_assert_false(ipop_pins_forget(state->pins, "alice", NULL, NULL));
        g_autofree char *after = NULL;
        g_assert_true(g_file_get_contents(state->file, &after, NULL, NULL));
        g_assert_cmpstr(after, ==, text->str);
        g_string_free(text, TRUE);
    }

    g_autofree char *twice = g_strdup_printf("{\"peers\":[%s,%s]}", entry, entry);
    g_assert_true(g_file_set_contents(state->file, twice, -1, NULL));
    GError *error = NULL;
    g_assert_null(ipop_pins_load(state->dir, NULL, &error));
    g_assert_nonnull(strstr(error->message, "\"uid\" of entry 2 stands in an earlier one too"));
    g_error_free(error);
}

static void test_not_a_file(State *state, const void *unused) {
    GError *error = NULL;
    g_assert_cmpint(mkfifo(state->file, 0600), ==, 0);
    g_assert_null(ipop_pins_load(state->dir, NULL, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
    g_error_free(error);
    g_remove(state->file);
    g_assert_cmpint(g_mkdir(state->file, 0700), ==, 0);
    g_assert_null(ipop_pins_load(state->dir, NULL, NULL));
    g_assert_cmpint(g_rmdir(state->file), ==, 0);
    g_assert_true(g_file_set_contents(state->file, "", 0, NULL));
    g_assert_cmpint(truncate(state->file, 4 * 1024 * 1024 + 1), ==, 0);
    g_assert_null(ipop_pins_load(state->dir, NULL, NULL));

    /* No such directory: nothing is pinned, and nothing can be. */
    g_autofree char *missing = g_build_filename(state->dir, "missing", NULL);
    IpopPins *pins = load(missing, NULL);
    IpopNode one = node(1, "alice", "172.31.0.1");
    error = NULL;
    g_assert_false(ipop_pins_remember(pins, &one, NULL, &error));
    g_assert_error(error, IPOP_ERROR, IPOP_ERROR_SYSTEM);
    g_assert_cmpuint(ipop_pins_count(pins), ==, 0);
    g_error_free(error);
    ipop_pins_free(pins);
}

/* The longest and strangest of everything fits, comes back as it went, and one more is refused. */
static void test_full(State *state, const void *unused) {
    g_autofree char *longest = g_strnfill(IPOP_NAME_MAX - 4, 'n');
    GString *text = g_string_new("{\"peers\":[");
    for (int i = 0; i < IPOP_PINS_MAX; i++) {
        IpopNode made = node(0, "", "");
        memcpy(made.key, &i, sizeof i);
        made.uid = ipop_uid_from_key(made.key);
        char key[IPOP_KEY_TEXT_SIZE];
        ipop_key_to_text(made.key, key);
        g_string_append_printf(text, "%s{\"uid\":\"%s\",\"key\":\"%s\",\"name\":\"%s%d\",\"ip4\":\"10.0.%d.%d\","
                               "\"jid\":\"user@example.org/ipop-%d\",\"first_seen\":1}", i ? "," : "", made.uid.hex, key,
                               longest, i, i >> 8, i & 255, i);
    }
    g_string_append(text, "]}");
    g_assert_true(g_file_set_contents(state->file, text->str, -1, NULL));
    g_string_free(text, TRUE);
    IpopPins *pins = load(state->dir, NULL);
    g_assert_cmpuint(ipop_pins_count(pins), ==, IPOP_PINS_MAX);
    judged(pins, node(77, "alice", "172.31.0.1"), IPOP_PIN_FULL, "ipop key --forget");
    g_assert_true(ipop_pins_forget(pins, "10.0.0.5", NULL, NULL));

    g_autofree char *jid = g_strnfill(IPOP_JID_MAX, '"');
    IpopNode alice = node(77, "Zoë $;|`\u00e9", "255.0.0.1");
    GError *error = NULL;
    g_assert_true(ipop_pins_remember(pins, &alice, jid, &error));
    g_assert_no_error(error);
    ipop_pins_free(pins);
    pins = load(state->dir, NULL);
    const IpopPin *last = ipop_pins_nth(pins, IPOP_PINS_MAX - 1);
    g_assert_cmpstr(last->name, ==, alice.name);
    g_assert_cmpstr(last->jid, ==, jid);
    ipop_pins_free(pins);
}

/* Root's `ipop key` leaves the file, and a new one and its lock, to whom the controller runs as. */
static void test_owner(State *state, const void *unused) {
    if (geteuid() != 0) {
        g_test_skip("only root can give a file away");
        return;
    }
    struct stat st;
    g_autofree char *lock = g_strconcat(state->file, ".lock", NULL);
    g_assert_cmpint(chown(state->dir, 65534, 65533), ==, 0);
    remember(state->pins, node(1, "alice", "172.31.0.1"));
    g_assert_cmpint(stat(state->file, &st), ==, 0);
    g_assert_cmpuint(st.st_uid, ==, 65534);
    g_assert_cmpuint(st.st_gid, ==, 65533);
    g_assert_cmpint(stat(lock, &st), ==, 0);
    g_assert_cmpuint(st.st_gid, ==, 65533);
    g_assert_cmpint(chown(state->file, 65532, 65531), ==, 0);
    g_assert_true(ipop_pins_forget(state->pins, "alice", NULL, NULL));
    g_assert_cmpint(stat(state->file, &st), ==, 0);
    g_assert_cmpuint(st.st_uid, ==, 65532);
    g_assert_cmpuint(st.st_gid, ==, 65531);
}

/* A Jabber address that can't be written is left out; the pin is made all the same. */
static void test_bad_jid(State *state, const void *unused) {
    IpopNode one = node(1, "alice", "172.31.0.1");
    g_assert_true(ipop_pins_remember(state->pins, &one, "user\xff@example.org", NULL));
    g_assert_cmpstr(ipop_pins_nth(state->pins, 0)->jid, ==, "");
    IpopPins *again = load(state->dir, NULL);
    g_assert_cmpuint(ipop_pins_count(again), ==, 1);
    ipop_pins_free(again);
}

static void on_changed(void *user) {
    g_main_loop_quit(user);
}

static gboolean on_too_late(void *unused) {
    g_error("no word of the change within 10 s");
    return G_SOURCE_REMOVE;
}

static void test_watch(State *state, const void *unused) {
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    guint guard = g_timeout_add_seconds(10, on_too_late, NULL);
    ipop_pins_watch(state->pins, on_changed, loop);
    remember(state->pins, node(1, "alice", "172.31.0.1"));
    IpopPins *other = load(state->dir, NULL);
    g_assert_true(ipop_pins_forget(other, "alice", NULL, NULL));
    g_main_loop_run(loop);
    g_assert_cmpuint(ipop_pins_count(state->pins), ==, 0);

    /* A change that our own writing met first is announced too. */
    remember(other, node(2, "bob", "172.31.0.2"));
    remember(state->pins, node(3, "carol", "172.31.0.3"));
    g_main_loop_run(loop);
    g_assert_cmpuint(ipop_pins_count(state->pins), ==, 2);

    /* A file that was removed pins nobody; a damaged one is as if it had not changed. */
    g_assert_true(g_file_set_contents(state->file, "damaged", -1, NULL));
    g_main_context_iteration(NULL, FALSE);
    g_assert_cmpuint(ipop_pins_count(state->pins), ==, 2);
    g_assert_cmpint(g_remove(state->file), ==, 0);
    g_main_loop_run(loop);
    g_assert_cmpuint(ipop_pins_count(state->pins), ==, 0);
    ipop_pins_free(other);
    g_source_remove(guard);
    g_main_loop_unref(loop);
}

/* Whatever is pinned in whatever order: no name and no address ever has two keys, and the first one keeps it. */
static void test_property(State *state, const void *unused) {
    uint8_t name_owner[6] = {0}, ip4_owner[6] = {0};
    bool pinned[9] = {false};
    for (int round = 0; round < 300; round++) {
        uint8_t id = (uint8_t)g_test_rand_int_range(1, 9);
        int n = g_test_rand_int_range(0, 6), a = g_test_rand_int_range(0, 6);
        g_autofree char *name = g_strdup_printf("name%d", n), *ip4 = g_strdup_printf("10.0.0.%d", a + 1), *why = NULL;
        IpopNode made = node(id, name, ip4);
        bool free_of_others = (!name_owner[n] || name_owner[n] == id) && (!ip4_owner[a] || ip4_owner[a] == id);
        IpopPinVerdict verdict = ipop_pins_judge(state->pins, &made, NULL, &why);
        g_assert_cmpint(verdict <= IPOP_PIN_NEW, ==, free_of_others);
        g_assert_cmpint(ipop_pins_remember(state->pins, &made, NULL, NULL), ==, free_of_others);
        if (free_of_others && !pinned[id]) {
            pinned[id] = true;
            name_owner[n] = ip4_owner[a] = id;
        }
    }
}

int main(int argc, char **argv) {
    ipop_secret_init();
    g_test_init(&argc, &argv, NULL);
    static const struct {
        const char *path;
        void (*run)(State *state, const void *unused);
    } tests[] = {{"/pins/first-use", test_first_use}, {"/pins/claims-stay", test_claims_stay},
                 {"/pins/auto-names", test_auto_names}, {"/pins/advice-is-harmless", test_advice_is_harmless},
                 {"/pins/configured", test_configured}, {"/pins/configured-by-uid", test_configured_by_uid},
                 {"/pins/trust-pinned", test_trust_pinned}, {"/pins/forget", test_forget},
                 {"/pins/two-processes", test_two_processes}, {"/pins/many-writers", test_many_writers},
                 {"/pins/damaged", test_damaged}, {"/pins/not-a-file", test_not_a_file}, {"/pins/full", test_full},
                 {"/pins/owner", test_owner}, {"/pins/bad-jid", test_bad_jid}, {"/pins/watch", test_watch}, {"/pins/property", test_property}};
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, State, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
