/* store.c: opening, applying, reading. See store.h; version.c for what readers see, flush.c for how
 * records reach files. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define MEMTABLE_BYTES_DEFAULT MIB(128)
#define TABLE_BYTES_DEFAULT MIB(64)
#define UPPER_SHARE_DEFAULT 0.3
#define MAPPED_MAX_DEFAULT 32768u

/* --- open and close --- */

/* The manifest, and that a missing one is a store that holds nothing yet. */
static tape_status open_manifest(store *s, tape_error *error) {
    store_listing listing = {0};
    tape_status status = manifest_load(&s->manifest, &s->place, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (s->manifest.present) {
        if (s->manifest.cut_bytes > 0) {
            log_line(
                LOG_WARN,
                "%s: the last edit, %" PRIu64 " bytes at offset %" PRIu64 ", is not whole and does "
                "not count; the files hold records up to seq %" PRIu64,
                s->manifest.path, s->manifest.cut_bytes, s->manifest.end, s->manifest.flushed_seq);
        }
        return s->options.read_only ? TAPE_OK : directory_check(&s->manifest, error);
    }
    if (!s->options.read_only) {
        status = directory_make(s->disk, s->dir, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    status = directory_list(s->disk, s->dir, &listing, error);
    if (status == TAPE_NOT_FOUND && s->options.read_only) {
        return TAPE_OK;
    }
    if (status != TAPE_OK) {
        return status;
    }
    if (listing.tables > 0) {
        return error_set_file(
            error, TAPE_CORRUPT, s->manifest.path, TAPE_NO_OFFSET,
            "%s: the manifest is missing, but %" PRIu64
            " table files are there; restore the store from a snapshot or a backup",
            s->manifest.path, listing.tables);
    }
    return s->options.read_only ? TAPE_OK : manifest_settle(&s->manifest, error);
}

/* A reader beside the owner opens every file at once: the owner may remove them. */
static tape_status open_every_file(store *s, tape_error *error) {
    const file_set *files = version_current(s)->files;
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            const table_level *level = &files->trees[t].levels[l];
            for (size_t i = 0; i < level->count; i++) {
                sstable *table = NULL;
                tape_status status = table_acquire(s, level->files[i], &table, error);
                if (status != TAPE_OK) {
                    return status;
                }
                table_done(level->files[i], &table);
            }
        }
    }
    return TAPE_OK;
}

static tape_status open_version(store *s, tape_error *error) {
    tape_status status = open_manifest(s, error);
    if (status == TAPE_OK) {
        atomic_store(&s->flushed_seq, s->manifest.flushed_seq);
        atomic_store(&s->applied_seq, s->manifest.flushed_seq);
        pthread_mutex_lock(&s->lock);
        version_publish(s, store_create_memtable(s), NULL, 0, file_set_load(&s->manifest));
        pthread_mutex_unlock(&s->lock);
    }
    return status;
}

/* While the owner goes on, a file that the manifest listed may be gone before it is opened; then
 * the manifest has changed, too. */
static tape_status open_beside_owner(store *s, tape_error *error) {
    for (;;) {
        tape_status status = open_version(s, error);
        if (status == TAPE_OK) {
            status = open_every_file(s, error);
        }
        if (status != TAPE_CORRUPT) {
            return status;
        }
        manifest again;
        tape_status loaded = manifest_load(&again, &s->place, NULL);
        bool changed = loaded == TAPE_OK && again.next_edit != s->manifest.next_edit;
        if (loaded == TAPE_OK) {
            manifest_deinit(&again);
        }
        if (!changed) {
            return status;
        }
        version_free_all(s);
        manifest_deinit(&s->manifest);
    }
}

static void options_fill(store *s, const store_options *options) {
    store_options *o = &s->options;
    *o = *options;
    o->dir = s->dir;
    o->store_id = s->store_id;
    o->memtable_bytes = o->memtable_bytes == 0 ? MEMTABLE_BYTES_DEFAULT : o->memtable_bytes;
    o->table_bytes = o->table_bytes == 0 ? TABLE_BYTES_DEFAULT : o->table_bytes;
    o->upper_share = o->upper_share == 0 ? UPPER_SHARE_DEFAULT : o->upper_share;
    o->compact_threads = o->compact_threads == 0 ? 1 : o->compact_threads;
    o->mapped_max = o->mapped_max == 0 ? MAPPED_MAX_DEFAULT : o->mapped_max;
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
    options_fill(s, options);
    s->stock = memtable_stock_create(s->options.memtable_bytes);
    pthread_mutex_t *locks[] = {&s->lock,         &s->open_lock,     &s->flush_lock,
                                &s->compact_lock, &s->manifest_lock, &s->scrub_lock};
    for (size_t i = 0; i < COUNT_OF(locks); i++) {
        ASSERT(pthread_mutex_init(locks[i], NULL) == 0);
    }
    tape_status status =
        s->options.read_only ? open_beside_owner(s, error) : open_version(s, error);
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
    ASSERT(s->pins == NULL);
    version_free_all(s);
    memtable_stock_destroy(&s->stock);
    manifest_deinit(&s->manifest);
    pthread_mutex_t *locks[] = {&s->lock,         &s->open_lock,     &s->flush_lock,
                                &s->compact_lock, &s->manifest_lock, &s->scrub_lock};
    for (size_t i = 0; i < COUNT_OF(locks); i++) {
        pthread_mutex_destroy(locks[i]);
    }
    free(s->leftovers);
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
    return !s->options.read_only && memtable_bytes(v->active) >= s->options.memtable_bytes;
}

static void note_stall(store *s, bool stalled) {
    int64_t since = atomic_load_explicit(&s->counters.stalled_since_ns, memory_order_relaxed);
    if (stalled && since == 0) {
        atomic_store(&s->counters.stalled_since_ns, clock_monotonic_ns());
    } else if (UNLIKELY(!stalled && since != 0)) {
        atomic_fetch_add(&s->counters.stall_ns, clock_monotonic_ns() - since);
        atomic_store(&s->counters.stalled_since_ns, 0);
    }
}

tape_status store_apply(store *s, const record_view *records, size_t count, tape_error *error) {
    uint64_t applied = store_applied_seq(s);
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&s->lock);
    bool stalled = active_is_full(s, version_current(s)) &&
                   version_current(s)->waiting_count == STORE_WAITING_MAX;
    note_stall(s, stalled);
    if (stalled) {
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
        uint64_t hash[2];
        slice key = {bytes, record_key(record->table, record->payload, bytes)};
        record_key_hash(key, hash);
        if (!memtable_insert(v->active, key, hash, record)) {
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

/* --- figures --- */

/* What the files of a table take by what those of its last level take. */
static void add_space(const table_tree *tree, store_stats *out, uint64_t *all, uint64_t *last) {
    size_t deepest = STORE_LEVELS;
    for (size_t l = 0; l < STORE_LEVELS; l++) {
        const table_level *level = &tree->levels[l];
        uint64_t bytes = level_bytes(level);
        out->level_files[l] += level->count;
        out->level_bytes[l] += bytes;
        out->table_files += level->count;
        out->table_bytes += bytes;
        for (size_t i = 0; i < level->count; i++) {
            out->table_entries += level->files[i]->info.entries;
        }
        deepest = level->count > 0 ? l : deepest;
        *all += bytes;
    }
    if (deepest > 0 && deepest < STORE_LEVELS) {
        *last += level_bytes(&tree->levels[deepest]);
    } else if (deepest == 0) { /* nothing has been compacted: nothing is known to be superseded */
        *last += level_bytes(&tree->levels[0]);
    }
}

void store_stats_read(store *s, store_stats *out) {
    *out = (store_stats){
        .flushed_seq = store_flushed_seq(s),
        .applied_seq = store_applied_seq(s),
        .mapped_files = atomic_load(&s->mapped_files),
        .gets = atomic_load_explicit(&s->gets, memory_order_relaxed),
        .bloom_negatives = atomic_load_explicit(&s->bloom_negatives, memory_order_relaxed),
        .bloom_false_positives =
            atomic_load_explicit(&s->bloom_false_positives, memory_order_relaxed),
        .damaged_reads = atomic_load_explicit(&s->damaged_reads, memory_order_relaxed),
        .flushed_payload_bytes = atomic_load(&s->counters.flushed_payload_bytes),
        .flush_written_bytes = atomic_load(&s->counters.flush_written_bytes),
        .compact_read_bytes = atomic_load(&s->counters.compact_read_bytes),
        .compact_written_bytes = atomic_load(&s->counters.compact_written_bytes),
        .compactions = atomic_load(&s->counters.compactions),
        .compact_moves = atomic_load(&s->counters.compact_moves),
        .dropped_records = atomic_load(&s->counters.dropped_records),
        .compact_ns = atomic_load(&s->counters.compact_ns),
        .stall_ns = atomic_load(&s->counters.stall_ns),
        .scrubbed_bytes = atomic_load(&s->counters.scrubbed_bytes),
        .scrubbed_files = atomic_load(&s->counters.scrubbed_files),
        .scrub_findings = atomic_load(&s->counters.scrub_findings),
        .score = store_compaction_score(s),
    };
    int64_t since = atomic_load(&s->counters.stalled_since_ns);
    if (since != 0) {
        out->stall_ns += clock_monotonic_ns() - since;
    }
    pthread_mutex_lock(&s->lock);
    out->pins = s->pin_count;
    pthread_mutex_unlock(&s->lock);
    store_version *v = version_pin(s);
    out->memtable_bytes = memtable_bytes(v->active);
    for (size_t i = 0; i < v->waiting_count; i++) {
        out->memtable_bytes += memtable_bytes(v->waiting[i]);
    }
    uint64_t all = 0;
    uint64_t last = 0;
    for (size_t t = 0; t < STORE_TABLES; t++) {
        add_space(&v->files->trees[t], out, &all, &last);
    }
    version_unpin(v);
    out->space_amplification = last == 0 ? 1 : (double)all / (double)last;
}
