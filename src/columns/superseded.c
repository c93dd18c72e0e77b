/* Columns: which archived rows of an entity table newer versions have superseded. See S1 to S6 in
 * README.md.
 *
 * Bits by seq give the answer for nearly every row; for seqs whose bit is set, shards of hash
 * tables tell by what. Writers hold the superseded mutex; readers load, with a pin. A page of bits,
 * once there, stays; what grows (a shard's table, the root of the bits) is replaced by a copy, and
 * the old one goes when no pin is left that was there before. */
#include "columns/columns_internal.h"

#include <stdlib.h>

#define TABLE_ENTRIES_FIRST 16u
#define ROOT_GROUPS_FIRST 16u
#define PAIRS_FIRST 64u

tape_status superseded_create(column_table *t) {
    t->map = calloc(1, sizeof *t->map);
    return t->map == NULL ? TAPE_NO_MEMORY : TAPE_OK;
}

void superseded_free(column_table *t) {
    superseded_map *map = t->map;
    if (map == NULL) {
        return;
    }
    superseded_root *root = atomic_load_explicit(&map->root, memory_order_relaxed);
    for (uint64_t g = 0; root != NULL && g < root->count; g++) {
        superseded_group *group = atomic_load_explicit(&root->groups[g], memory_order_relaxed);
        for (uint32_t p = 0; group != NULL && p < SUPERSEDED_GROUP_PAGES; p++) {
            free(atomic_load_explicit(&group->pages[p], memory_order_relaxed));
        }
        free(group);
    }
    free(root);
    for (uint32_t s = 0; s < SUPERSEDED_SHARDS; s++) {
        free(atomic_load_explicit(&map->shards[s], memory_order_relaxed));
    }
    free(map->pairs);
    free(map);
}

/* --- bits --- */

static bool root_reserve(columns *c, superseded_map *map, uint64_t group) {
    superseded_root *old = atomic_load_explicit(&map->root, memory_order_relaxed);
    uint64_t count = old == NULL ? ROOT_GROUPS_FIRST : old->count;
    if (old != NULL && group < count) {
        return true;
    }
    while (count <= group) {
        count *= 2;
    }
    superseded_root *root = calloc(1, sizeof *root + count * sizeof root->groups[0]);
    if (root == NULL) {
        return false;
    }
    root->count = count;
    for (uint64_t g = 0; old != NULL && g < old->count; g++) {
        atomic_store_explicit(&root->groups[g],
                              atomic_load_explicit(&old->groups[g], memory_order_relaxed),
                              memory_order_relaxed);
    }
    memory_add(c, sizeof *root + count * sizeof root->groups[0]);
    atomic_store_explicit(&map->root, root, memory_order_release);
    if (old != NULL) {
        memory_retire(c, &old->retired, sizeof *old + old->count * sizeof old->groups[0]);
    }
    return true;
}

/* The page with the bit of `seq`, made if need be; NULL: no memory. */
static superseded_page *page_reserve(columns *c, superseded_map *map, uint64_t seq) {
    uint64_t page = seq / SUPERSEDED_PAGE_BITS;
    if (!root_reserve(c, map, page / SUPERSEDED_GROUP_PAGES)) {
        return NULL;
    }
    superseded_root *root = atomic_load_explicit(&map->root, memory_order_relaxed);
    _Atomic(superseded_group *) *g = &root->groups[page / SUPERSEDED_GROUP_PAGES];
    superseded_group *group = atomic_load_explicit(g, memory_order_relaxed);
    if (group == NULL) {
        group = calloc(1, sizeof *group);
        if (group == NULL) {
            return NULL;
        }
        memory_add(c, sizeof *group);
        atomic_store_explicit(g, group, memory_order_release);
    }
    _Atomic(superseded_page *) *p = &group->pages[page % SUPERSEDED_GROUP_PAGES];
    superseded_page *bits = atomic_load_explicit(p, memory_order_relaxed);
    if (bits == NULL) {
        bits = calloc(1, sizeof *bits);
        if (bits == NULL) {
            return NULL;
        }
        memory_add(c, sizeof *bits);
        atomic_store_explicit(p, bits, memory_order_release);
    }
    return bits;
}

static const superseded_page *page_of(const superseded_map *map, uint64_t seq) {
    uint64_t page = seq / SUPERSEDED_PAGE_BITS;
    const superseded_root *root = atomic_load_explicit(&map->root, memory_order_acquire);
    if (root == NULL || page / SUPERSEDED_GROUP_PAGES >= root->count) {
        return NULL;
    }
    const superseded_group *group =
        atomic_load_explicit(&root->groups[page / SUPERSEDED_GROUP_PAGES], memory_order_acquire);
    return group == NULL ? NULL
                         : atomic_load_explicit(&group->pages[page % SUPERSEDED_GROUP_PAGES],
                                                memory_order_acquire);
}

static bool page_has(const superseded_page *page, uint64_t seq) {
    uint64_t bit = seq % SUPERSEDED_PAGE_BITS;
    return page != NULL &&
           (atomic_load_explicit(&page->words[bit / 64], memory_order_acquire) >> (bit % 64) & 1) !=
               0;
}

static void page_set(superseded_page *page, uint64_t seq) {
    uint64_t bit = seq % SUPERSEDED_PAGE_BITS;
    (void)atomic_fetch_or_explicit(&page->words[bit / 64], UINT64_C(1) << (bit % 64),
                                   memory_order_release);
}

/* --- seq to by --- */

static uint64_t seq_hash(uint64_t seq) {
    return hash_end(hash_mix(HASH_START, seq));
}

static uint32_t shard_of(uint64_t hash) {
    return (uint32_t)(hash >> (64 - SUPERSEDED_SHARD_BITS));
}

static uint64_t table_bytes(uint64_t entries) {
    return sizeof(superseded_table) + entries * sizeof(superseded_entry);
}

static superseded_table *table_create(columns *c, uint64_t entries) {
    superseded_table *t = calloc(1, table_bytes(entries));
    if (t != NULL) {
        t->mask = entries - 1;
        memory_add(c, table_bytes(entries));
    }
    return t;
}

static void table_put(superseded_table *t, uint64_t seq, uint64_t by) {
    uint64_t at = seq_hash(seq) & t->mask;
    while (atomic_load_explicit(&t->entries[at].seq, memory_order_relaxed) != 0) {
        at = (at + 1) & t->mask;
    }
    atomic_store_explicit(&t->entries[at].by, by, memory_order_relaxed);
    atomic_store_explicit(&t->entries[at].seq, seq, memory_order_release);
}

/* By what `seq` was superseded; 0: not in the map. */
static uint64_t map_find(const superseded_map *map, uint64_t seq) {
    uint64_t hash = seq_hash(seq);
    const superseded_table *t =
        atomic_load_explicit(&map->shards[shard_of(hash)], memory_order_acquire);
    if (t == NULL) {
        return 0;
    }
    for (uint64_t at = hash & t->mask;; at = (at + 1) & t->mask) {
        uint64_t found = atomic_load_explicit(&t->entries[at].seq, memory_order_acquire);
        if (found == seq) {
            return atomic_load_explicit(&t->entries[at].by, memory_order_relaxed);
        }
        if (found == 0) {
            return 0;
        }
    }
}

/* Replaces a shard by a table of `entries` with what was superseded after `by`. */
static bool shard_replace(columns *c, superseded_map *map, uint32_t shard, uint64_t entries,
                          uint64_t by) {
    superseded_table *t = table_create(c, entries);
    if (t == NULL) {
        return false;
    }
    superseded_table *old = atomic_load_explicit(&map->shards[shard], memory_order_relaxed);
    map->counts[shard] = 0;
    for (uint64_t n = 0; old != NULL && n <= old->mask; n++) {
        uint64_t seq = atomic_load_explicit(&old->entries[n].seq, memory_order_relaxed);
        uint64_t its_by = atomic_load_explicit(&old->entries[n].by, memory_order_relaxed);
        if (seq != 0 && its_by > by) {
            table_put(t, seq, its_by);
            map->counts[shard]++;
        }
    }
    atomic_store_explicit(&map->shards[shard], t, memory_order_release);
    if (old != NULL) {
        memory_retire(c, &old->retired, table_bytes(old->mask + 1));
    }
    return true;
}

/* Everything readers need to find the pair; the bit comes last (S2). */
static bool map_put(columns *c, superseded_map *map, uint64_t seq, uint64_t by) {
    uint32_t shard = shard_of(seq_hash(seq));
    superseded_page *page = page_reserve(c, map, seq);
    superseded_table *t = atomic_load_explicit(&map->shards[shard], memory_order_relaxed);
    uint64_t entries = t == NULL ? 0 : t->mask + 1;
    /* At most 7 of 10 entries are taken, so that probing stays short. */
    if (page == NULL ||
        ((uint64_t)map->counts[shard] * 10 >= entries * 7 &&
         !shard_replace(c, map, shard, entries == 0 ? TABLE_ENTRIES_FIRST : entries * 2, 0))) {
        return false;
    }
    table_put(atomic_load_explicit(&map->shards[shard], memory_order_relaxed), seq, by);
    map->counts[shard]++;
    if (by > atomic_load_explicit(&map->last_by, memory_order_relaxed)) {
        atomic_store_explicit(&map->last_by, by, memory_order_relaxed);
    }
    page_set(page, seq);
    return true;
}

/* --- pairs in the order of `by` --- */

static bool pairs_reserve(columns *c, superseded_map *map, uint64_t more) {
    uint64_t capacity = map->pair_capacity == 0 ? PAIRS_FIRST : map->pair_capacity;
    while (capacity - map->pair_count < more) {
        capacity *= 2;
    }
    if (capacity == map->pair_capacity) {
        return true;
    }
    columns_superseded *pairs = realloc(map->pairs, capacity * sizeof *pairs);
    if (pairs == NULL) {
        return false;
    }
    memory_add(c, (capacity - map->pair_capacity) * sizeof *pairs);
    map->pairs = pairs;
    map->pair_capacity = capacity;
    return true;
}

static void pairs_shrink(columns *c, superseded_map *map) {
    uint64_t capacity = map->pair_capacity;
    while (capacity > PAIRS_FIRST && capacity / 4 >= map->pair_count) {
        capacity /= 2;
    }
    columns_superseded *pairs = realloc(map->pairs, capacity * sizeof *pairs);
    if (pairs != NULL) {
        memory_give(c, (map->pair_capacity - capacity) * sizeof *pairs);
        map->pairs = pairs;
        map->pair_capacity = capacity;
    }
}

/* How many pairs have a `by` of at most `by`. */
static uint64_t pairs_up_to(const superseded_map *map, uint64_t by) {
    uint64_t low = 0, high = map->pair_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (map->pairs[middle].by <= by) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

tape_status superseded_note(columns *c, superseded_map *map, uint64_t seq, uint64_t by) {
    ASSERT(seq > 0 && seq < by);
    pthread_mutex_lock(&c->superseded_mutex);
    bool done = pairs_reserve(c, map, 1) && map_put(c, map, seq, by);
    if (done) {
        ASSERT(map->pair_count == 0 || map->pairs[map->pair_count - 1].by < by);
        map->pairs[map->pair_count++] = (columns_superseded){.seq = seq, .by = by};
    }
    pthread_mutex_unlock(&c->superseded_mutex);
    return done ? TAPE_OK : TAPE_NO_MEMORY;
}

static superseded_map *map_of(const columns *c, uint16_t table) {
    ASSERT(table_of(c, table)->map != NULL);
    return table_of(c, table)->map;
}

tape_status columns_supersede(columns *c, uint16_t table, uint64_t seq, uint64_t by,
                              tape_error *error) {
    tape_status status = superseded_note(c, map_of(c, table), seq, by);
    return status == TAPE_OK
               ? TAPE_OK
               : error_set(error, status, "no memory for what superseded the archive's rows");
}

/* --- taking over --- */

static int pair_compare(const void *a, const void *b) {
    uint64_t x = ((const columns_superseded *)a)->by, y = ((const columns_superseded *)b)->by;
    return (x > y) - (x < y);
}

/* Of rows [first, end) that the archive takes up to `seq`: those superseded after it but at or
 * before `added`, which the map does not have yet. False: no memory. */
static bool handed_collect(const column_table *t, uint64_t first, uint64_t end, uint64_t seq,
                           uint64_t added, columns_superseded **out, size_t *count) {
    size_t capacity = 0;
    for (uint64_t row = first; row < end; row++) {
        const chunk *k = table_chunk(t, row);
        uint64_t at = row % COLUMNS_CHUNK_ROWS;
        uint64_t by = atomic_load_explicit(&k->superseded[at], memory_order_relaxed);
        if (by <= seq || by > added) {
            continue;
        }
        uint64_t its_seq = ((const uint64_t *)k->arrays[0])[at];
        if (map_find(t->map, its_seq) != 0) {
            continue;
        }
        if (*count == capacity) {
            capacity = capacity == 0 ? PAIRS_FIRST : capacity * 2;
            columns_superseded *more = realloc(*out, capacity * sizeof *more);
            if (more == NULL) {
                return false;
            }
            *out = more;
        }
        (*out)[(*count)++] = (columns_superseded){.seq = its_seq, .by = by};
    }
    return true;
}

/* Adds pairs that are in the order of `by` to those that are there. */
static bool pairs_merge(columns *c, superseded_map *map, const columns_superseded *more,
                        size_t count) {
    if (!pairs_reserve(c, map, count)) {
        return false;
    }
    for (size_t n = 0; n < count; n++) {
        if (!map_put(c, map, more[n].seq, more[n].by)) {
            return false;
        }
    }
    uint64_t old = map->pair_count;
    map->pair_count += count;
    for (uint64_t to = map->pair_count; count > 0; to--) {
        bool keep = old > 0 && map->pairs[old - 1].by > more[count - 1].by;
        map->pairs[to - 1] = keep ? map->pairs[--old] : more[--count];
    }
    return true;
}

static bool hand_over_table(columns *c, column_table *t, uint64_t from, uint64_t seq,
                            uint64_t added) {
    columns_superseded *pairs = NULL;
    size_t count = 0;
    bool done = handed_collect(t, table_row_after(t, from), table_row_after(t, seq), seq, added,
                               &pairs, &count);
    if (done && count > 0) {
        qsort(pairs, count, sizeof *pairs, pair_compare);
        pthread_mutex_lock(&c->superseded_mutex);
        done = pairs_merge(c, t->map, pairs, count);
        pthread_mutex_unlock(&c->superseded_mutex);
    }
    free(pairs);
    return done;
}

tape_status columns_hand_over(columns *c, uint64_t seq, tape_error *error) {
    columns_pin pin;
    uint64_t added[TAPE_TABLE_COUNT + 1] = {0};
    ASSERT(seq <= columns_seq(c));
    pthread_mutex_lock(&c->apply_mutex);
    pin_add(c, &pin);
    if (seq > c->handed_seq) {
        c->handed_seq = seq;
        for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
            if (c->tables[id] != NULL) {
                c->tables[id]->handed_row = table_row_after(c->tables[id], seq);
            }
        }
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        added[id] = c->tables[id] == NULL ? 0 : c->tables[id]->added_seq;
    }
    pthread_mutex_unlock(&c->apply_mutex);
    bool done = true;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT && done && seq > pin.base; id++) {
        if (c->tables[id] != NULL && c->tables[id]->map != NULL) {
            done = hand_over_table(c, c->tables[id], pin.base, seq, added[id]);
        }
    }
    if (done && seq > atomic_load_explicit(&c->handed_done, memory_order_relaxed)) {
        atomic_store_explicit(&c->handed_done, seq, memory_order_release);
    }
    pin_remove(&pin);
    return done ? TAPE_OK
                : error_set(error, TAPE_NO_MEMORY,
                            "no memory for what supersedes the rows up to seq %llu",
                            (unsigned long long)seq);
}

/* --- readers --- */

void columns_archived_newest(const columns *c, uint16_t table, const uint64_t *seqs, uint32_t count,
                             uint64_t at, bool *newest) {
    const superseded_map *map = map_of(c, table);
    const superseded_page *page = NULL;
    uint64_t number = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (seqs[i] / SUPERSEDED_PAGE_BITS != number) {
            number = seqs[i] / SUPERSEDED_PAGE_BITS;
            page = page_of(map, seqs[i]);
        }
        newest[i] = !page_has(page, seqs[i]) ||
                    (atomic_load_explicit(&map->last_by, memory_order_relaxed) > at &&
                     map_find(map, seqs[i]) > at);
    }
}

uint64_t columns_superseded_by(const columns *c, uint16_t table, uint64_t seq, uint64_t at) {
    const superseded_map *map = map_of(c, table);
    uint64_t by = page_has(page_of(map, seq), seq) ? map_find(map, seq) : 0;
    return by <= at ? by : 0;
}

size_t columns_superseded_read(const columns *c, uint16_t table, uint64_t from, uint64_t to,
                               uint64_t skip, columns_superseded *out, size_t max) {
    const superseded_map *map = map_of(c, table);
    pthread_mutex_t *mutex = (pthread_mutex_t *)&c->superseded_mutex;
    pthread_mutex_lock(mutex);
    uint64_t first = pairs_up_to(map, from);
    uint64_t end = to > from ? pairs_up_to(map, to) : first;
    size_t count = 0;
    if (skip < end - first) {
        count = end - first - skip < max ? (size_t)(end - first - skip) : max;
        memcpy(out, map->pairs + first + skip, count * sizeof *out);
    }
    pthread_mutex_unlock(mutex);
    return count;
}

static bool shard_forget(columns *c, superseded_map *map, uint32_t shard, uint64_t by) {
    const superseded_table *t = atomic_load_explicit(&map->shards[shard], memory_order_relaxed);
    uint64_t left = 0;
    for (uint64_t n = 0; t != NULL && n <= t->mask; n++) {
        left += atomic_load_explicit(&t->entries[n].seq, memory_order_relaxed) != 0 &&
                atomic_load_explicit(&t->entries[n].by, memory_order_relaxed) > by;
    }
    if (left == map->counts[shard]) {
        return true;
    }
    uint64_t entries = TABLE_ENTRIES_FIRST;
    while (left * 10 >= entries * 7) {
        entries *= 2;
    }
    return shard_replace(c, map, shard, entries, by);
}

void columns_superseded_forget(columns *c, uint16_t table, uint64_t by) {
    superseded_map *map = map_of(c, table);
    pthread_mutex_lock(&c->superseded_mutex);
    uint64_t gone = pairs_up_to(map, by);
    bool done = true;
    for (uint32_t s = 0; s < SUPERSEDED_SHARDS && gone > 0 && done; s++) {
        done = shard_forget(c, map, s, by);
    }
    if (gone > 0 && done) {
        map->pair_count -= gone;
        memmove(map->pairs, map->pairs + gone, map->pair_count * sizeof *map->pairs);
        pairs_shrink(c, map);
    }
    pthread_mutex_unlock(&c->superseded_mutex);
}
