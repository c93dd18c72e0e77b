/* get.c: the newest version of a key at a moment.
 *
 * The memtables are asked first, the active one, then the waiting ones from the newest; then the
 * files of the key's table: level 0 from the newest, then one file of each level below. For one key
 * everything in one of them is newer than everything in those asked later (but for exact copies
 * while a compaction is under way), so the first version found with seq <= at is the newest.
 *
 * Threads: any; nobody waits. */
#include "store/store_internal.h"

#include <inttypes.h>

/* A key being looked for, and what was met on the way. */
typedef struct lookup {
    slice key;
    uint64_t hash[2];
    uint64_t at;
    record_view record;
    bool found;
    /* The record may lie in one of these: they are given back when it has been copied. */
    sstable_scratch scratch;
    table_file *file;
    sstable *table;
    uint32_t filtered;
    uint32_t false_positives;
} lookup;

static void get_from_memtables(const store_version *v, lookup *l) {
    l->found = memtable_get(v->active, l->key, l->hash, l->at, &l->record);
    for (size_t i = v->waiting_count; i > 0 && !l->found; i--) {
        l->found = memtable_get(v->waiting[i - 1], l->key, l->hash, l->at, &l->record);
    }
}

static tape_status get_from_file(store *s, table_file *f, lookup *l, tape_error *error) {
    const sstable_info *info = &f->info;
    if (l->at < info->min_seq ||
        slice_compare(l->key, (slice){info->min_key, info->min_key_size}) < 0 ||
        slice_compare(l->key, (slice){info->max_key, info->max_key_size}) > 0) {
        return TAPE_OK;
    }
    sstable_outcome outcome = SSTABLE_OUT_OF_RANGE;
    tape_status status = table_acquire(s, f, &l->table, error);
    if (status == TAPE_OK) {
        status =
            sstable_get(l->table, l->key, l->hash, l->at, &l->scratch, &l->record, &outcome, error);
        l->file = f;
    }
    if (UNLIKELY(status != TAPE_OK)) {
        atomic_fetch_add_explicit(&s->damaged_reads, status == TAPE_CORRUPT, memory_order_relaxed);
        return status;
    }
    l->found = outcome == SSTABLE_FOUND;
    l->filtered += outcome == SSTABLE_FILTERED;
    l->false_positives += outcome == SSTABLE_FALSE_POSITIVE;
    if (!l->found) {
        table_done(f, &l->table);
    }
    return TAPE_OK;
}

static tape_status get_from_tree(store *s, const table_tree *tree, lookup *l, tape_error *error) {
    tape_status status = TAPE_OK;
    const table_level *top = &tree->levels[0];
    for (size_t i = top->count; i > 0 && !l->found && status == TAPE_OK; i--) {
        status = get_from_file(s, top->files[i - 1], l, error);
    }
    for (size_t n = 1; n < STORE_LEVELS && !l->found && status == TAPE_OK; n++) {
        const table_level *level = &tree->levels[n];
        size_t i = level->count == 0 ? 0 : level_seek(level, l->key, l->at);
        if (i < level->count) {
            status = get_from_file(s, level->files[i], l, error);
        }
    }
    return status;
}

static void lookup_done(store *s, lookup *l) {
    if (l->table != NULL) {
        table_done(l->file, &l->table);
    }
    buffer_deinit(&l->scratch);
    if (l->filtered > 0) {
        atomic_fetch_add_explicit(&s->bloom_negatives, l->filtered, memory_order_relaxed);
    }
    if (l->false_positives > 0) {
        atomic_fetch_add_explicit(&s->bloom_false_positives, l->false_positives,
                                  memory_order_relaxed);
    }
}

/* Looks in a pinned version and copies what is found. */
static tape_status get_in_version(store *s, const store_version *v, const store_moment *moment,
                                  const tape_table_info *table, lookup *l, void *out,
                                  uint16_t *version, tape_error *error) {
    tape_status status = TAPE_OK;
    get_from_memtables(v, l);
    if (!l->found) {
        status = get_from_tree(s, &v->files->trees[table->id], l, error);
    }
    if (status == TAPE_OK && l->found &&
        UNLIKELY(store_expired(s, table, l->record.append_ts, moment->now_ns))) {
        l->found = false;
    }
    if (status == TAPE_OK && l->found) {
        ASSERT(l->record.table == table);
        record_upgrade(table, l->record.version, l->record.payload, l->record.size, out);
        if (version != NULL) {
            *version = l->record.version;
        }
    }
    lookup_done(s, l);
    return status;
}

tape_status store_get(store *s, const store_moment *moment, const tape_table_info *table, slice key,
                      void *out, uint16_t *version, tape_error *error) {
    atomic_fetch_add_explicit(&s->gets, 1, memory_order_relaxed);
    lookup l;
    l.key = key;
    l.found = false;
    l.scratch = (sstable_scratch){0};
    l.table = NULL;
    l.filtered = l.false_positives = 0;
    record_key_hash(key, l.hash);
    store_version *v = NULL;
    tape_status status = version_pin_at(s, moment->at, table, &v, &l.at, error);
    if (status != TAPE_OK) {
        return status;
    }
    status = get_in_version(s, v, moment, table, &l, out, version, error);
    version_unpin(v);
    if (status == TAPE_OK && !l.found) {
        return error_set(error, TAPE_NOT_FOUND, "%s has no record of that key at seq %" PRIu64,
                         table->name, l.at);
    }
    return status;
}

/* So many keys ahead are what memtables and filters look at first brought into the cache. */
#define AHEAD 8u

static void prefetch_file(table_file *f, const uint64_t hash[2]) {
    const sstable *t = atomic_load_explicit(&f->opened, memory_order_acquire);
    if (t != NULL) {
        sstable_prefetch(t, hash);
    }
}

static void prefetch(const store_version *v, const table_tree *tree, slice key, uint64_t at,
                     const uint64_t hash[2]) {
    memtable_prefetch(v->active, hash);
    for (size_t i = 0; i < v->waiting_count; i++) {
        memtable_prefetch(v->waiting[i], hash);
    }
    for (size_t i = 0; i < tree->levels[0].count; i++) {
        prefetch_file(tree->levels[0].files[i], hash);
    }
    for (size_t n = 1; n < STORE_LEVELS; n++) {
        const table_level *level = &tree->levels[n];
        size_t i = level->count == 0 ? 0 : level_seek(level, key, at);
        if (i < level->count) {
            prefetch_file(level->files[i], hash);
        }
    }
}

tape_status store_get_many(store *s, const store_moment *moment, const tape_table_info *table,
                           const slice *keys, size_t count, void *out, bool *found,
                           tape_error *error) {
    atomic_fetch_add_explicit(&s->gets, count, memory_order_relaxed);
    store_version *v = NULL;
    uint64_t at = 0;
    tape_status status = version_pin_at(s, moment->at, table, &v, &at, error);
    if (status != TAPE_OK) {
        return status;
    }
    const table_tree *tree = &v->files->trees[table->id];
    uint64_t hashes[AHEAD][2];
    for (size_t i = 0; i < count + AHEAD && status == TAPE_OK; i++) {
        if (i >= AHEAD) {
            size_t k = i - AHEAD;
            lookup l = {.key = keys[k], .at = at};
            memcpy(l.hash, hashes[k % AHEAD], sizeof l.hash);
            status = get_in_version(s, v, moment, table, &l, (uint8_t *)out + k * table->size_bytes,
                                    NULL, error);
            found[k] = l.found;
        }
        if (i < count) {
            record_key_hash(keys[i], hashes[i % AHEAD]);
            prefetch(v, tree, keys[i], at, hashes[i % AHEAD]);
        }
    }
    version_unpin(v);
    return status;
}
