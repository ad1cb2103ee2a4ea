#include "controller/xmpp/pool.h"

#include <glib.h>
#include <sodium.h>
#include <stdalign.h>
#include <string.h>

typedef struct Block Block;
struct Block {
    Block *prev, *next;
    size_t size;
    alignas(max_align_t) char data[];
};

struct IpopPool {
    Block all; /* head of the ring */
    size_t used;
    xmpp_mem_t mem;
};

static void *allocate(size_t size, void *user) {
    IpopPool *pool = user;
    Block *block = g_malloc(sizeof *block + size);
    block->size = size;
    block->prev = &pool->all;
    block->next = pool->all.next;
    block->next->prev = block->prev->next = block;
    pool->used += sizeof *block + size;
    return block->data;
}

static Block *block_of(void *data) {
    return (Block *)((char *)data - offsetof(Block, data));
}

static void release(void *data, void *user) {
    IpopPool *pool = user;
    if (!data)
        return;
    Block *block = block_of(data);
    block->prev->next = block->next;
    block->next->prev = block->prev;
    pool->used -= sizeof *block + block->size;
    sodium_memzero(block->data, block->size);
    g_free(block);
}

/* Never in place: realloc would leave a copy behind that nobody wipes. */
static void *reallocate(void *data, size_t size, void *user) {
    void *moved = allocate(size, user);
    if (data)
        memcpy(moved, data, MIN(block_of(data)->size, size));
    release(data, user);
    return moved;
}

IpopPool *ipop_pool_new(void) {
    IpopPool *pool = g_new0(IpopPool, 1);
    pool->all.prev = pool->all.next = &pool->all;
    pool->mem = (xmpp_mem_t){.alloc = allocate, .free = release, .realloc = reallocate, .userdata = pool};
    return pool;
}

void ipop_pool_free(IpopPool *pool) {
    if (!pool)
        return;
    while (pool->all.next != &pool->all)
        release(pool->all.next->data, pool);
    g_free(pool);
}

const xmpp_mem_t *ipop_pool_mem(const IpopPool *pool) {
    return &pool->mem;
}

size_t ipop_pool_used(const IpopPool *pool) {
    return pool->used;
}
