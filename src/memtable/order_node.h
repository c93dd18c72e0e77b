/* order_node: a node of the tree of keys, and what its writer and its readers do alike. See
 * key_order.c. */
#ifndef ORDER_NODE_H
#define ORDER_NODE_H

#include "memtable/memtable_internal.h"

/* `words`, and then as many `links` (a leaf's entries, an inner node's children) and, in inner
 * nodes, `lows` (entries). */
struct order_node {
    _Atomic uint64_t version; /* K3 */
    _Atomic uint32_t level;   /* 0: leaf */
    _Atomic uint32_t skip;
    _Atomic uint32_t count;
    _Atomic uint32_t sorted; /* a leaf's keys in order; inner nodes: not used */
    _Atomic uint64_t prefix[RECORD_KEY_BYTES_MAX / 8];
    uint32_t room;                /* keys; never changes */
    struct order_node *next_free; /* the writer's */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t words[];
};

static inline _Atomic uint64_t *node_links(order_node *n) {
    return n->words + n->room;
}

static inline _Atomic uint64_t *node_lows(order_node *n) {
    return n->words + 2 * (size_t)n->room;
}

static inline order_node *node_child(order_node *n, uint32_t at) {
    return (order_node *)(uintptr_t)LOAD_ACQUIRE(&node_links(n)[at]);
}

static inline const memtable_entry *node_low(order_node *n, uint32_t at) {
    return (const memtable_entry *)(uintptr_t)LOAD_ACQUIRE(&node_lows(n)[at]);
}

static inline void order_key_set(order_key *k, slice key) {
    ASSERT(key.size <= RECORD_KEY_BYTES_MAX);
    memset(k->bytes, 0, sizeof k->bytes);
    if (key.size > 0) {
        memcpy(k->bytes, key.data, key.size);
    }
    k->size = key.size;
}

static inline void order_key_of(order_key *k, const memtable_entry *e) {
    memset(k->bytes, 0, sizeof k->bytes);
    k->size = record_key(record_table(e->table), e->payload, k->bytes);
}

static inline uint64_t order_key_word(const order_key *k, uint32_t skip) {
    return __builtin_bswap64(load_u64(k->bytes + skip));
}

/* The key beside a prefix of `skip` bytes, given in words: below 0, 0, above 0. *shared is how much
 * of it the key has. */
static inline int order_key_compare_prefix(const order_key *k, const _Atomic uint64_t *prefix,
                                           uint32_t skip, uint32_t *shared) {
    for (uint32_t at = 0; at < skip; at += 8) {
        uint64_t there = LOAD_ACQUIRE(&prefix[at / 8]);
        uint64_t here = load_u64(k->bytes + at);
        if (LIKELY(there == here)) {
            continue;
        }
        uint32_t same = at + (uint32_t)__builtin_ctzll(there ^ here) / 8;
        if (same < skip) {
            *shared = same;
            return __builtin_bswap64(here) < __builtin_bswap64(there) ? -1 : 1;
        }
    }
    *shared = skip;
    return 0;
}

/* The child in whose range the key falls; with `before`, that in whose range the keys just before
 * it fall. */
uint32_t node_child_at(order_node *n, const order_key *k, bool before);

#endif
