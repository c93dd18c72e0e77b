/* A B+tree without a hash index: the memtable's tree of nodes with leaves that are kept in order. A
 * leaf that gets a key is copied; a new version of a key takes the place of the one before in the
 * leaf. Readers look at a node's version before and after. */
#include "candidate.h"

/* The inner nodes are the memtable's, but of another size, and its functions for them are not for
 * other modules. */
#define key_order_insert btree_unused_insert
#define key_order_find btree_unused_find
#define order_pool_init btree_unused_pool_init
#include "../../src/memtable/key_order.c"

#include <stdlib.h>

#define NODE_KEYS 64u

typedef struct btree {
    memory memory;
    order_pool pool;
    key_order order;
} btree;

static void *tree_create(uint64_t bytes_expected) {
    (void)bytes_expected;
    btree *b = mem_zalloc(sizeof *b);
    b->pool = (order_pool){.memory = &b->memory, .node_keys = NODE_KEYS};
    b->order.pool = &b->pool;
    return b;
}

static void tree_destroy(void *table) {
    btree *b = table;
    memory_deinit(&b->memory);
    free(b);
}

static memtable_entry *entry_at(order_node *leaf, uint32_t at) {
    return (memtable_entry *)(uintptr_t)LOAD_ACQUIRE(&node_links(leaf)[at]);
}

/* The first place in the leaf whose key is >= the key; *same: it is the key. Entries that are
 * looked at may be of another leaf by now: then the version has changed. */
static uint32_t leaf_seek(order_node *leaf, const order_key *k, bool *same) {
    slice key = {k->bytes, k->size};
    uint32_t from = 0;
    uint32_t end = LOAD_ACQUIRE(&leaf->count);
    uint32_t skip = LOAD_ACQUIRE(&leaf->skip);
    uint32_t shared;
    int beside = order_key_compare_prefix(k, leaf->prefix, skip, &shared);
    *same = false;
    if (beside != 0) {
        return beside < 0 ? 0 : end;
    }
    uint64_t word = order_key_word(k, skip);
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        uint64_t there = LOAD_ACQUIRE(&leaf->words[middle]);
        if (there == word) {
            beside = entry_compare_key(key, entry_at(leaf, middle));
            if (beside == 0) {
                *same = true;
                return middle;
            }
        }
        bool right = there < word || (there == word && beside > 0);
        from = right ? middle + 1 : from;
        end = right ? end : middle;
    }
    return from;
}

/* A copy of the leaf with one key more, or two halves of it. */
static void leaf_insert(btree *b, const order_path *path, const order_key *k, memtable_entry *e,
                        uint32_t at) {
    order_pool *p = &b->pool;
    order_node *old = path->steps[0].node;
    uint32_t skip;
    uint32_t count = leaf_gather(p, old);
    bool fits = node_fits(old, k, &skip);
    memmove(p->pairs + at + 1, p->pairs + at, (count - at) * sizeof *p->pairs);
    p->pairs[at] = (order_pair){order_key_word(k, skip), e};
    count++;
    if (!fits) {
        pairs_set_words(p->pairs, count, skip);
    }
    if (count <= old->room) {
        leaf_replace(&b->order, path, leaf_build(p, p->pairs, count, count, k, skip));
        return;
    }
    uint32_t half = count / 2;
    const memtable_entry *low = p->pairs[half].entry;
    order_node *left = leaf_build_sorted(p, p->pairs, half, skip, true);
    order_node *right = leaf_build_sorted(p, p->pairs + half, count - half, skip, true);
    b->order.last = b->order.last == old ? right : b->order.last;
    link_pair(&b->order, path, left, right, low);
}

static memtable_entry *create_entry(btree *b, const record_view *record) {
    size_t bytes = ALIGN_UP(sizeof(memtable_entry) + record->size, ENTRY_ALIGN);
    memtable_entry *e = memory_take(&b->memory, bytes, ENTRY_ALIGN);
    ASSERT(e != NULL);
    *e = (memtable_entry){.seq = record->seq,
                          .append_ts = record->append_ts,
                          .size = record->size,
                          .version = record->version,
                          .flags = (uint8_t)record->flags,
                          .table = (uint8_t)record->table->id};
    memcpy(e->payload, record->payload, record->size);
    return e;
}

static void tree_insert(void *table, slice key, const uint64_t hash[2], const record_view *record) {
    (void)hash;
    btree *b = table;
    order_key k;
    order_key_set(&k, key);
    memtable_entry *e = create_entry(b, record);
    versions_link(e, NULL);
    if (atomic_load_explicit(&b->order.root, memory_order_relaxed) == NULL) {
        (void)insert_first(&b->order, &k, e);
        return;
    }
    order_path path;
    bool same;
    descend(&b->order, &k, &path);
    order_node *leaf = path.steps[0].node;
    uint32_t at = leaf_seek(leaf, &k, &same);
    if (same) {
        memtable_entry *newest = entry_at(leaf, at);
        versions_link(e, newest);
        STORE_RELEASE(&node_links(leaf)[at], (uintptr_t)e);
        STORE_RELEASE(&newest->newer, e);
        return;
    }
    bool reserved = pool_reserve(&b->pool, 2, inner_needed(&path));
    ASSERT(reserved);
    uint32_t skip;
    uint32_t count = relaxed(&leaf->count);
    if (at == count && count < leaf->room && node_fits(leaf, &k, &skip)) {
        STORE_RELEASE(&leaf->sorted, count + 1);
        STORE_RELEASE(&leaf->words[count], order_key_word(&k, skip));
        STORE_RELEASE(&node_links(leaf)[count], (uintptr_t)e);
        STORE_RELEASE(&leaf->count, count + 1);
    } else if (at == leaf->room) {
        order_node *next = leaf_build_one(&b->pool, &k, e);
        link_pair(&b->order, &path, leaf, next, e);
    } else {
        leaf_insert(b, &path, &k, e, at);
    }
}

/* The key's newest entry, by one attempt; false when a node was taken out meanwhile. */
static bool try_find(const btree *b, const order_key *k, const memtable_entry **out) {
    order_node *n = LOAD_ACQUIRE(&b->order.root);
    *out = NULL;
    if (n == NULL) {
        return true;
    }
    uint64_t version = LOAD_ACQUIRE(&n->version);
    if (LOAD_ACQUIRE(&b->order.root) != n) {
        return false;
    }
    while (LOAD_ACQUIRE(&n->level) > 0) {
        uint32_t at = node_child_at(n, k, false);
        order_node *child = node_child(n, at);
        uint64_t child_version = LOAD_ACQUIRE(&child->version);
        if (node_child(n, at) != child || LOAD_ACQUIRE(&n->version) != version) {
            return false;
        }
        n = child;
        version = child_version;
    }
    bool same;
    uint32_t at = leaf_seek(n, k, &same);
    *out = same ? entry_at(n, at) : NULL;
    return LOAD_ACQUIRE(&n->version) == version;
}

static bool tree_get(const void *table, slice key, const uint64_t hash[2], uint64_t at,
                     record_view *out) {
    (void)hash;
    order_key k;
    order_key_set(&k, key);
    const memtable_entry *e;
    while (!try_find(table, &k, &e)) {
        cpu_pause();
    }
    e = versions_at(e, at);
    if (e != NULL) {
        entry_view(e, out);
    }
    return e != NULL;
}

static void tree_scan(const void *table, slice from, uint64_t limit, candidate_visit visit,
                      void *context) {
    const btree *b = table;
    order_pair pairs[2 * NODE_KEYS];
    order_run run = {.pairs = pairs, .scratch = pairs + NODE_KEYS};
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    while (key_order_read(&b->order, from, false, &run)) {
        order_run_seek(&run, from);
        for (const memtable_entry *e; (e = order_run_next(&run)) != NULL;) {
            order_run_forward(&run);
            for (; e != NULL; e = e->older) {
                if (limit-- == 0) {
                    return;
                }
                record_view view;
                entry_view(e, &view);
                visit(context, &view);
            }
        }
        if (run.high == NULL) {
            return;
        }
        const memtable_entry *high = run.high;
        from = (slice){bytes, record_key(record_table(high->table), high->payload, bytes)};
    }
}

static uint64_t tree_bytes(const void *table) {
    return ((const btree *)table)->memory.used_bytes;
}

const candidate candidate_btree = {"B+tree", tree_create, tree_destroy, tree_insert,
                                   tree_get, tree_scan,   tree_bytes};
