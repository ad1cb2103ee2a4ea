/* Sealing and opening by every cipher that this machine has, as the data path does: a buffer full of messages of one size
 * from one place to another. The fastest of several rounds. */
#include "tests/bench/clock.h"
#include "tincan/base/secret.h"
#include "tincan/crypto/aead.h"

#include <stdio.h>

#define TRAIN 65000 /* bytes: what one send takes */
#define TRAINS 100  /* per round */
#define ROUNDS 7

typedef struct {
    const IpopAead *aead;
    void *key;
    size_t n;     /* bytes in a message */
    size_t count; /* messages in a train */
    uint8_t text[TRAIN];
    uint8_t sealed[TRAIN];
} Bench;

static void seal_train(Bench *b) {
    for (size_t i = 0; i < b->count; i++)
        b->aead->seal(b->key, i, NULL, 0, b->text + i * b->n, b->n, b->sealed + i * (b->n + IPOP_WIRE_TAG));
}

static void open_train(Bench *b) {
    for (size_t i = 0; i < b->count; i++)
        if (!b->aead->open(b->key, i, NULL, 0, b->sealed + i * (b->n + IPOP_WIRE_TAG), b->n, b->text + i * b->n))
            g_error("%s: does not open what it sealed", b->aead->name);
}

/* Nanoseconds per message. */
static double measure(Bench *b, void (*train)(Bench *)) {
    double best = G_MAXDOUBLE;
    for (int round = 0; round < ROUNDS; round++) {
        double start = thread_time();
        for (int i = 0; i < TRAINS; i++)
            train(b);
        best = MIN(best, (thread_time() - start) / (double)(TRAINS * b->count));
    }
    return best;
}

static void bench(Bench *b, const IpopAead *aead) {
    static const size_t sizes[] = {64, 1400, 8900};
    static const uint8_t key[32] = "an example of a key of 32 bytes";
    b->aead = aead;
    b->key = aead->key_new(key);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        b->n = sizes[i];
        b->count = TRAIN / (b->n + IPOP_WIRE_TAG);
        double seal = measure(b, seal_train), open = measure(b, open_train), bytes = (double)b->n;
        printf("%-28s %6zu %8.0f %7.2f %8.0f %7.2f\n", aead->name, b->n, seal, bytes / seal, open, bytes / open);
    }
    ipop_secret_free(b->key);
}

int main(void) {
    ipop_secret_init();
    Bench *b = g_new0(Bench, 1);
    const IpopAead *aead;
    printf("%-28s %6s %8s %7s %8s %7s\n", "", "bytes", "seal ns", "GB/s", "open ns", "GB/s");
    for (size_t i = 0; (aead = ipop_aead_nth(i)); i++)
        if (aead->available())
            bench(b, aead);
        else
            printf("%-28s not on this machine\n", aead->name);
    g_free(b);
    return 0;
}
