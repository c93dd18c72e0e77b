/* store.c: opening, applying, reading. See store.h; version.c for what readers see, flush.c for how
 * records reach files. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define MEMTABLE_BYTES_DEFAULT MIB(128)

/* --- open and close --- */

/* The manifest, and that a missing one is a store that holds nothing yet. */
static tape_status open_manifest(store *s, tape_error *error) {
    store_listing listing = {0};
    tape_status status = manifest_load(&s->manifest, &s->place, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (!s->manifest.present && !s->read_only) {
        status = directory_make(s->disk, s->dir, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    status = directory_list(s->disk, s->dir, &listing, error);
    if (status == TAPE_NOT_FOUND && s->read_only) {
        return TAPE_OK;
    }
    if (status != TAPE_OK) {
        return status;
    }
    s->next_number = listing.greatest_number + 1;
    if (s->manifest.present) {
        if (s->manifest.cut_bytes > 0) {
            log_line(
                LOG_WARN,
                "%s: the last edit, %" PRIu64 " bytes at offset %" PRIu64 ", is not whole and does "
                "not count; the files hold records up to seq %" PRIu64,
                s->manifest.path, s->manifest.cut_bytes, s->manifest.end, s->manifest.flushed_seq);
        }
        return TAPE_OK;
    }
    if (listing.tables > 0) {
        return error_set_file(
            error, TAPE_CORRUPT, s->manifest.path, TAPE_NO_OFFSET,
            "%s: the manifest is missing, but %" PRIu64
            " table files are there; restore the store from a snapshot or a backup",
            s->manifest.path, listing.tables);
    }
    return s->read_only ? TAPE_OK : manifest_settle(&s->manifest, error);
}

static tape_status open_tables(store *s, tape_error *error) {
    size_t count = s->manifest.table_count;
    sstable **tables = mem_zalloc((count + 1) * sizeof(sstable *));
    tape_status status = TAPE_OK;
    for (size_t i = 0; i < count && status == TAPE_OK; i++) {
        const sstable_info *info = &s->manifest.tables[i];
        status = sstable_open(&tables[i], &s->place, info->number, info, OS_MAP_RANDOM, error);
    }
    if (status == TAPE_OK) {
        pthread_mutex_lock(&s->lock);
        version_publish(s, memtable_create(), NULL, 0, table_set_create(tables, count));
        pthread_mutex_unlock(&s->lock);
    } else {
        for (size_t i = 0; i < count; i++) {
            sstable_close(&tables[i]);
        }
    }
    free(tables);
    return status;
}

tape_status store_open(store **out, const store_options *options, tape_error *error) {
    size_t bytes = ALIGN_UP(sizeof(store), CACHE_LINE_BYTES);
    store *s = aligned_alloc(CACHE_LINE_BYTES, bytes);
    if (s == NULL) {
        return error_set(error, TAPE_NO_MEMORY, "out of memory while opening %s", options->dir);
    }
    memset(s, 0, bytes);
    s->disk = options->disk;
    s->dir = mem_strdup(options->dir);
    memcpy(s->store_id, options->store_id, sizeof s->store_id);
    s->place = (sstable_place){s->disk, s->dir, s->store_id};
    s->memtable_bytes =
        options->memtable_bytes == 0 ? MEMTABLE_BYTES_DEFAULT : options->memtable_bytes;
    s->read_only = options->read_only;
    s->next_number = 1;
    ASSERT(pthread_mutex_init(&s->lock, NULL) == 0);
    ASSERT(pthread_mutex_init(&s->flush_lock, NULL) == 0);
    tape_status status = open_manifest(s, error);
    if (status == TAPE_OK) {
        atomic_store(&s->flushed_seq, s->manifest.flushed_seq);
        atomic_store(&s->applied_seq, s->manifest.flushed_seq);
        status = open_tables(s, error);
    }
    if (status != TAPE_OK) {
        store_close(&s);
        return status;
    }
    *out = s;
    return TAPE_OK;
}

void store_close(store **store_handle) {
    store *s = *store_handle;
    if (s == NULL) {
        return;
    }
    version_free_all(s);
    manifest_deinit(&s->manifest);
    pthread_mutex_destroy(&s->flush_lock);
    pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
    *store_handle = NULL;
}

uint64_t store_flushed_seq(const store *s) {
    return atomic_load_explicit(&s->flushed_seq, memory_order_acquire);
}

uint64_t store_applied_seq(const store *s) {
    return atomic_load_explicit(&s->applied_seq, memory_order_acquire);
}

/* --- apply --- */

/* A read-only store never flushes, so its memtable has to hold everything. */
static bool active_is_full(const store *s, const store_version *v) {
    return !s->read_only && memtable_bytes(v->active) >= s->memtable_bytes;
}

tape_status store_apply(store *s, const record_view *records, size_t count, tape_error *error) {
    uint64_t applied = store_applied_seq(s);
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&s->lock);
    if (active_is_full(s, version_current(s)) &&
        version_current(s)->waiting_count == STORE_WAITING_MAX) {
        pthread_mutex_unlock(&s->lock);
        return error_set(
            error, TAPE_BUSY,
            "%d full memtables wait to be flushed to %s; try again when a flush is done",
            STORE_WAITING_MAX, s->dir);
    }
    for (size_t i = 0; i < count; i++) {
        const record_view *record = &records[i];
        ASSERT(record->seq == applied + 1 && load_u64(record->payload) == record->seq);
        store_version *v = version_current(s);
        if (active_is_full(s, v) && v->waiting_count < STORE_WAITING_MAX) {
            store_switch_memtable(s);
            v = version_current(s);
        }
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        slice key = {bytes, record_key(record->table, record->payload, bytes)};
        if (!memtable_insert(v->active, key, record)) {
            status =
                error_set(error, TAPE_NO_MEMORY,
                          "out of memory at seq %" PRIu64 " while applying records to the store",
                          record->seq);
            break;
        }
        applied++;
    }
    atomic_store_explicit(&s->applied_seq, applied, memory_order_release);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* --- get --- */

static bool get_from_memtables(const store_version *v, slice key, uint64_t at, record_view *out) {
    if (memtable_get(v->active, key, at, out)) {
        return true;
    }
    for (size_t i = v->waiting_count; i > 0; i--) {
        if (memtable_get(v->waiting[i - 1], key, at, out)) {
            return true;
        }
    }
    return false;
}

/* Newest file first: a file's seqs are all above those of the files before it (N3), so the first
 * version found is the newest. */
static tape_status get_from_tables(store *s, const table_set *set, slice encoded, uint64_t at,
                                   record_view *out, bool *found, tape_error *error) {
    sstable_key key = sstable_key_of(encoded);
    uint64_t filtered = 0;
    uint64_t false_positives = 0;
    tape_status status = TAPE_OK;
    *found = false;
    for (size_t i = set->count; i > 0 && !*found; i--) {
        sstable_outcome outcome = SSTABLE_OUT_OF_RANGE;
        status = sstable_get(set->tables[i - 1], &key, at, out, &outcome, error);
        if (status != TAPE_OK) {
            break;
        }
        *found = outcome == SSTABLE_FOUND;
        filtered += outcome == SSTABLE_FILTERED;
        false_positives += outcome == SSTABLE_FALSE_POSITIVE;
    }
    if (filtered > 0) {
        atomic_fetch_add_explicit(&s->bloom_negatives, filtered, memory_order_relaxed);
    }
    if (false_positives > 0) {
        atomic_fetch_add_explicit(&s->bloom_false_positives, false_positives, memory_order_relaxed);
    }
    return status;
}

tape_status store_get(store *s, const tape_table_info *table, const uint8_t *key, size_t key_size,
                      uint64_t at, void *out, uint16_t *version, tape_error *error) {
    atomic_fetch_add_explicit(&s->gets, 1, memory_order_relaxed);
    /* Before pinning: a version pinned later has everything up to here. The other way round,
     * records up to here could lie in a memtable that became active in between. */
    uint64_t applied = store_applied_seq(s);
    at = at < applied ? at : applied;
    slice encoded = {key, key_size};
    record_view record;
    tape_status status = TAPE_OK;
    store_version *v = version_pin(s);
    bool found = get_from_memtables(v, encoded, at, &record);
    if (!found) {
        status = get_from_tables(s, v->set, encoded, at, &record, &found, error);
    }
    if (found && status == TAPE_OK) {
        ASSERT(record.table == table);
        record_upgrade(table, record.version, record.payload, record.size, out);
        if (version != NULL) {
            *version = record.version;
        }
    }
    version_unpin(v);
    if (status == TAPE_OK && !found) {
        return error_set(error, TAPE_NOT_FOUND, "%s has no record of that key at seq %" PRIu64,
                         table->name, at);
    }
    return status;
}

/* --- everything flushed, figures --- */

static tape_status visit_table(store *s, const sstable_info *info,
                               bool (*visit)(void *context, const record_view *record),
                               void *context, bool *go_on, tape_error *error) {
    /* A mapping of its own, because it is read from one end to the other. */
    sstable *t = NULL;
    tape_status status = sstable_open(&t, &s->place, info->number, info, OS_MAP_SEQUENTIAL, error);
    if (status != TAPE_OK) {
        return status;
    }
    sstable_iterator it;
    sstable_iterate(t, &it);
    for (bool found = true; found && *go_on;) {
        record_view record;
        status = sstable_next(&it, &record, &found, error);
        if (status != TAPE_OK) {
            break;
        }
        *go_on = !found || visit(context, &record);
    }
    sstable_close(&t);
    return status;
}

tape_status store_visit_flushed(store *s, bool (*visit)(void *context, const record_view *record),
                                void *context, tape_error *error) {
    store_version *v = version_pin(s);
    tape_status status = TAPE_OK;
    bool go_on = true;
    for (size_t i = 0; i < v->set->count && go_on && status == TAPE_OK; i++) {
        status = visit_table(s, sstable_facts(v->set->tables[i]), visit, context, &go_on, error);
    }
    version_unpin(v);
    return status;
}

void store_stats_read(store *s, store_stats *out) {
    *out = (store_stats){
        .flushed_seq = store_flushed_seq(s),
        .applied_seq = store_applied_seq(s),
        .gets = atomic_load_explicit(&s->gets, memory_order_relaxed),
        .bloom_negatives = atomic_load_explicit(&s->bloom_negatives, memory_order_relaxed),
        .bloom_false_positives =
            atomic_load_explicit(&s->bloom_false_positives, memory_order_relaxed),
    };
    store_version *v = version_pin(s);
    out->memtable_bytes = memtable_bytes(v->active);
    for (size_t i = 0; i < v->waiting_count; i++) {
        out->memtable_bytes += memtable_bytes(v->waiting[i]);
    }
    out->table_files = v->set->count;
    for (size_t i = 0; i < v->set->count; i++) {
        const sstable_info *info = sstable_facts(v->set->tables[i]);
        out->table_bytes += info->size_bytes;
        out->table_entries += info->entries;
    }
    version_unpin(v);
}
