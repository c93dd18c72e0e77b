/* order_read.c: how readers find and copy a leaf while the writer goes on. key_order.c says what
 * they may rely on. */
#include "memtable/order_node.h"

/* Of each part of a run, keys whose entries are brought into the cache ahead. */
#define AHEAD_KEYS 6u

/* The first of words[from .. count) that is >= word, or > word with `above`. */
static uint32_t words_seek(const _Atomic uint64_t *words, uint32_t from, uint32_t count,
                           uint64_t word, bool above) {
    uint32_t size = count - from;
    while (size > 0) {
        uint32_t half = size / 2;
        uint64_t there = LOAD_ACQUIRE(&words[from + half]);
        bool right = above ? there <= word : there < word;
        from = right ? from + half + 1 : from;
        size = right ? size - half - 1 : half;
    }
    return from;
}

uint32_t node_child_at(order_node *n, const order_key *k, bool before) {
    uint32_t count = LOAD_ACQUIRE(&n->count);
    uint32_t skip = LOAD_ACQUIRE(&n->skip);
    uint32_t shared;
    int order = order_key_compare_prefix(k, n->prefix, skip, &shared);
    if (count <= 1 || order < 0) {
        return 0;
    }
    if (order > 0) {
        return count - 1;
    }
    uint64_t word = order_key_word(k, skip);
    uint32_t from = words_seek(n->words, 1, count, word, false);
    uint32_t end = words_seek(n->words, from, count, word, true);
    /* Children whose words are the key's: their low keys decide. */
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        const memtable_entry *low = node_low(n, middle);
        int beside = low == NULL ? -1 : entry_compare_key((slice){k->bytes, k->size}, low);
        if (beside > 0 || (beside == 0 && !before)) {
            from = middle + 1;
        } else {
            end = middle;
        }
    }
    return from - 1;
}

typedef struct found_leaf {
    order_node *node;
    uint64_t version;
    const memtable_entry *low, *high;
} found_leaf;

/* One attempt; false when the writer took a node out meanwhile. */
static bool descend(const key_order *o, const order_key *k, bool before, found_leaf *out) {
    order_node *n = LOAD_ACQUIRE(&o->root);
    uint64_t version = LOAD_ACQUIRE(&n->version);
    if (LOAD_ACQUIRE(&o->root) != n) {
        return false;
    }
    *out = (found_leaf){0};
    while (LOAD_ACQUIRE(&n->level) > 0) {
        uint32_t at = node_child_at(n, k, before);
        const memtable_entry *low = at > 0 ? node_low(n, at) : out->low;
        const memtable_entry *high =
            at + 1 < LOAD_ACQUIRE(&n->count) ? node_low(n, at + 1) : out->high;
        order_node *child = node_child(n, at);
        uint64_t child_version = LOAD_ACQUIRE(&child->version);
        if (node_child(n, at) != child || LOAD_ACQUIRE(&n->version) != version) {
            return false;
        }
        n = child;
        version = child_version;
        out->low = low;
        out->high = high;
    }
    out->node = n;
    out->version = version;
    return true;
}

/* Copies the leaf's pairs; false when it was taken out meanwhile. */
static bool copy_leaf(const found_leaf *leaf, order_run *run) {
    order_node *n = leaf->node;
    uint32_t count = LOAD_ACQUIRE(&n->count);
    uint32_t sorted = LOAD_ACQUIRE(&n->sorted);
    sorted = sorted < count ? sorted : count;
    run->skip = LOAD_ACQUIRE(&n->skip);
    for (uint32_t i = 0; i < RECORD_KEY_BYTES_MAX / 8; i++) {
        atomic_init(&run->prefix[i], LOAD_ACQUIRE(&n->prefix[i]));
    }
    const _Atomic uint64_t *links = node_links(n);
    for (uint32_t i = 0; i < count; i++) {
        run->pairs[i].word = LOAD_ACQUIRE(&n->words[i]);
        run->pairs[i].entry = (const memtable_entry *)(uintptr_t)LOAD_ACQUIRE(&links[i]);
    }
    run->parts[0] = run->pairs;
    run->parts[1] = run->pairs + sorted;
    run->counts[0] = sorted;
    run->counts[1] = count - sorted;
    run->low = leaf->low;
    run->high = leaf->high;
    return LOAD_ACQUIRE(&n->version) == leaf->version;
}

bool key_order_read(const key_order *o, slice key, bool before, order_run *run) {
    order_key k;
    order_key_set(&k, key);
    if (LOAD_ACQUIRE(&o->root) == NULL) {
        return false;
    }
    found_leaf leaf;
    while (!descend(o, &k, before, &leaf) || !copy_leaf(&leaf, run)) {
    }
    (void)order_sort(run->parts[1], run->counts[1], run->scratch);
    return true;
}

/* --- places in a copy --- */

static uint32_t pairs_seek(const order_pair *pairs, uint32_t count, uint64_t word, slice key) {
    uint32_t from = 0;
    uint32_t end = count;
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        const order_pair *pair = &pairs[middle];
        bool right =
            pair->word < word || (pair->word == word && entry_compare_key(key, pair->entry) > 0);
        from = right ? middle + 1 : from;
        end = right ? end : middle;
    }
    return from;
}

void order_run_seek(order_run *run, slice key) {
    order_key k;
    order_key_set(&k, key);
    uint32_t shared;
    int order = order_key_compare_prefix(&k, run->prefix, run->skip, &shared);
    for (int part = 0; part < 2; part++) {
        const order_pair *pairs = run->parts[part];
        uint32_t count = run->counts[part];
        uint32_t at = order < 0 ? 0 : count;
        if (order == 0) {
            at = pairs_seek(pairs, count, order_key_word(&k, run->skip), key);
        }
        run->at[part] = at;
        for (uint32_t i = at; i < count && i < at + AHEAD_KEYS; i++) {
            entry_prefetch(pairs[i].entry);
        }
    }
}

/* Which of two pairs has the lower key. */
static inline int lower_of(const order_pair *a, const order_pair *b) {
    if (LIKELY(a->word != b->word)) {
        return b->word < a->word;
    }
    return record_key_compare_payloads(record_table(a->entry->table), b->entry->payload,
                                       a->entry->payload) < 0;
}

/* The part of the pair behind a place, or -1. */
static inline int part_behind(const order_run *run, const uint32_t at[2]) {
    bool none[2] = {at[0] == run->counts[0], at[1] == run->counts[1]};
    if (none[0] || none[1]) {
        return none[0] && none[1] ? -1 : none[0];
    }
    return lower_of(run->parts[0] + at[0], run->parts[1] + at[1]);
}

static inline int part_before(const order_run *run) {
    bool none[2] = {run->at[0] == 0, run->at[1] == 0};
    if (none[0] || none[1]) {
        return none[0] && none[1] ? -1 : none[0];
    }
    return !lower_of(run->parts[0] + run->at[0] - 1, run->parts[1] + run->at[1] - 1);
}

const memtable_entry *order_run_next(const order_run *run) {
    int part = part_behind(run, run->at);
    return part < 0 ? NULL : run->parts[part][run->at[part]].entry;
}

const memtable_entry *order_run_after_next(const order_run *run) {
    uint32_t at[2] = {run->at[0], run->at[1]};
    int part = part_behind(run, at);
    if (part < 0) {
        return NULL;
    }
    at[part]++;
    part = part_behind(run, at);
    return part < 0 ? NULL : run->parts[part][at[part]].entry;
}

const memtable_entry *order_run_prev(const order_run *run) {
    int part = part_before(run);
    return part < 0 ? NULL : run->parts[part][run->at[part] - 1].entry;
}

void order_run_forward(order_run *run) {
    int part = part_behind(run, run->at);
    uint32_t at = ++run->at[part];
    if (at + AHEAD_KEYS <= run->counts[part]) {
        entry_prefetch(run->parts[part][at + AHEAD_KEYS - 1].entry);
    }
}

void order_run_back(order_run *run) {
    int part = part_before(run);
    uint32_t at = --run->at[part];
    if (at >= AHEAD_KEYS) {
        entry_prefetch(run->parts[part][at - AHEAD_KEYS].entry);
    }
}
