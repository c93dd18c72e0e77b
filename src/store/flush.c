/* flush.c: memtables become table files, one for each table of the catalogue that has records.
 *
 * Order of a flush, each step durable before the next:
 *   1 the manifest's end is made certain, leftovers of a crash are removed (once after opening)
 *   2 the files: temporary file, sync, rename, directory sync
 *   3 the manifest's edit that adds them all, sync
 *   4 readers get a version with the files and without the memtable; then flushed_seq rises
 * A crash before 3 is done leaves an orphan and the old state; the journal still has the records,
 * because nobody was told otherwise.
 *
 * Leftovers are removed by the first flush and not by opening: only when its owner flushes has the
 * store been found to fit the journal. If the manifest lost its last edit to rot, the file that
 * this edit named may be the only copy of its records, and the owner will refuse to go on.
 *
 * Invariants
 *  S1 The files of a flush hold the records with flushed_seq < seq <= the new flushed_seq, all but
 *     those that may be dropped; none lies beyond the committed seq.
 *  S2 A memtable leaves the version in the step that brings the files with the rest of its records.
 *
 * Failure: disk full and the like leave the state as it was; the next flush tries again. After
 * FAILED (a sync failed) every flush fails until the store is opened again. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

memtable *store_create_memtable(store *s) {
    memtable *m = memtable_create(s->options.memtable_bytes);
    memtable_share(m, s->stock);
    return m;
}

void store_switch_memtable(store *s) {
    store_version *v = version_current(s);
    ASSERT(v->waiting_count < STORE_WAITING_MAX);
    memtable *waiting[STORE_WAITING_MAX];
    for (size_t i = 0; i < v->waiting_count; i++) {
        waiting[i] = v->waiting[i];
    }
    waiting[v->waiting_count] = v->active;
    v->files->references++;
    version_publish(s, store_create_memtable(s), waiting, v->waiting_count + 1, v->files);
}

typedef struct flush_pick {
    memtable *memtable; /* NULL: nothing to do */
    uint64_t last_seq;  /* its records up to here */
    bool whole;         /* they are its last: it can go */
} flush_pick;

/* The oldest memtable that has something to flush. With `all` the active one too: as a whole when
 * all of it is at or below `bound`, else in part, and then it stays active. */
static flush_pick pick_memtable(store *s, uint64_t bound, bool all) {
    flush_pick pick = {0};
    pthread_mutex_lock(&s->lock);
    store_version *v = version_current(s);
    memtable *m = v->waiting_count > 0 ? v->waiting[0] : v->active;
    uint64_t last = memtable_max_seq(m);
    bool whole = last <= bound;
    if (bound > store_flushed_seq(s) && (all || (whole && v->waiting_count > 0))) {
        if (whole && m == v->active) {
            store_switch_memtable(s);
        }
        pick = (flush_pick){m, whole ? last : bound, whole};
    }
    pthread_mutex_unlock(&s->lock);
    return pick;
}

/* --- what flush and compaction share: writing table files and editing the manifest --- */

uint64_t store_take_number(store *s) {
    pthread_mutex_lock(&s->manifest_lock);
    uint64_t number = s->manifest.next_number++;
    pthread_mutex_unlock(&s->manifest_lock);
    return number;
}

/* Holding manifest_lock. A file may only go when no edit that might count names it. */
static void remove_leftovers(store *s) {
    for (size_t i = 0; i < s->leftover_count; i++) {
        char *path = sstable_path(s->dir, s->leftovers[i]);
        tape_status ignored = os_remove(s->disk, path, NULL); /* else removed after the next open */
        (void)ignored;
        free(path);
    }
    s->leftover_count = 0;
}

void store_discard(store *s, const manifest_entry *entries, size_t count) {
    pthread_mutex_lock(&s->manifest_lock);
    s->leftovers = mem_realloc(s->leftovers, (s->leftover_count + count + 1) * sizeof(uint64_t));
    for (size_t i = 0; i < count; i++) {
        s->leftovers[s->leftover_count++] = entries[i].info.number;
    }
    if (!s->manifest.doubtful) {
        remove_leftovers(s);
    }
    pthread_mutex_unlock(&s->manifest_lock);
}

static tape_status refuse_failed(const store *s, tape_error *error) {
    return error_set_file(error, TAPE_FAILED, s->dir, TAPE_NO_OFFSET,
                          "%s: stopped after a failed sync; close the store and open it again",
                          s->dir);
}

tape_status store_prepare(store *s, tape_error *error) {
    if (s->options.read_only) {
        return error_set_file(error, TAPE_FORBIDDEN, s->dir, TAPE_NO_OFFSET,
                              "%s: the store is open for reading only; nothing can be written",
                              s->dir);
    }
    if (atomic_load(&s->failed)) {
        return refuse_failed(s, error);
    }
    pthread_mutex_lock(&s->manifest_lock);
    /* What was found at opening may be in the page cache alone: its writer was killed before the
     * sync, or the sync failed, and then no later one writes it. So nothing is added to it. */
    s->manifest.doubtful = s->manifest.doubtful || !s->orphans_removed;
    tape_status status = manifest_settle(&s->manifest, error);
    if (status == TAPE_OK && !s->orphans_removed) {
        tape_error trouble;
        if (directory_remove_orphans(&s->manifest, &trouble) != TAPE_OK) {
            log_line(LOG_WARN, "leftover files stay in %s: %s", s->dir, trouble.text);
        }
        s->orphans_removed = true;
    }
    if (status == TAPE_OK) {
        remove_leftovers(s);
    }
    pthread_mutex_unlock(&s->manifest_lock);
    if (status == TAPE_FAILED) {
        atomic_store(&s->failed, true);
    }
    return status;
}

/* S2. Holding manifest_lock, so that nobody else changes the file set. */
static void publish(store *s, const manifest_change *change, const memtable *gone) {
    pthread_mutex_lock(&s->lock);
    store_version *v = version_current(s);
    file_set *files = file_set_apply(v->files, change);
    memtable *waiting[STORE_WAITING_MAX];
    size_t count = 0;
    for (size_t i = 0; i < v->waiting_count; i++) {
        if (v->waiting[i] != gone) {
            waiting[count++] = v->waiting[i];
        }
    }
    ASSERT(gone == NULL || count + 1 == v->waiting_count);
    version_publish(s, v->active, waiting, count, files);
    pthread_mutex_unlock(&s->lock);
}

tape_status store_commit(store *s, const manifest_change *change, const memtable *gone,
                         tape_error *error) {
    pthread_mutex_lock(&s->manifest_lock);
    tape_status status =
        atomic_load(&s->failed) ? refuse_failed(s, error) : manifest_settle(&s->manifest, error);
    manifest_change now = *change;
    now.flushed_seq = change->flushed_seq > s->manifest.flushed_seq ? change->flushed_seq
                                                                    : s->manifest.flushed_seq;
    if (status == TAPE_OK) {
        status = manifest_commit(&s->manifest, &now, error);
    }
    if (status == TAPE_OK) {
        publish(s, &now, gone);
        atomic_store_explicit(&s->flushed_seq, now.flushed_seq, memory_order_release);
    }
    pthread_mutex_unlock(&s->manifest_lock);
    if (status == TAPE_FAILED) {
        atomic_store(&s->failed, true);
    }
    if (status == TAPE_OK) {
        files_collect(s);
    }
    return status;
}

/* --- flush --- */

typedef struct flush_output {
    manifest_entry entries[STORE_TABLES];
    size_t count;
    uint64_t payload_bytes;
    uint64_t dropped;
    uint16_t history_table[STORE_TABLES];
    uint64_t history_seq[STORE_TABLES];
} flush_output;

/* The records of one table of the catalogue with flushed_seq < seq <= last_seq, as a durable file,
 * if there are any. */
static tape_status write_table(store *s, const flush_pick *pick, uint16_t id, memtable_cursor *c,
                               const store_horizon *horizon, flush_output *out, tape_error *error) {
    const uint8_t bound = (uint8_t)id;
    uint64_t flushed = store_flushed_seq(s);
    sstable_writer *w = NULL;
    drop_filter drop;
    drop_init(&drop, record_table(id), horizon);
    tape_status status = TAPE_OK;
    memtable_cursor_seek(c, (slice){&bound, 1}, UINT64_MAX);
    for (; status == TAPE_OK && c->valid && c->record.table->id == id; memtable_cursor_next(c)) {
        if (c->record.seq <= flushed || c->record.seq > pick->last_seq) {
            continue;
        }
        out->payload_bytes += c->record.size;
        if (drop_record(&drop, &c->record)) {
            continue;
        }
        if (w == NULL) {
            status =
                sstable_writer_open(&w, &s->place, store_take_number(s), id, SSTABLE_PLAIN, error);
        }
        if (status == TAPE_OK) {
            status = sstable_writer_add(w, &c->record, error);
        }
    }
    if (status != TAPE_OK) {
        sstable_writer_abandon(&w);
        return status;
    }
    out->dropped += drop.dropped;
    out->history_seq[id] = drop.history_seq;
    if (w == NULL) {
        return TAPE_OK;
    }
    manifest_entry *e = &out->entries[out->count];
    *e = (manifest_entry){.level = 0};
    status = sstable_writer_finish(&w, &e->info, error);
    out->count += status == TAPE_OK;
    return status;
}

/* One edit has room for the history of one table: those of others come in edits of their own,
 * before. A history that is announced too early costs nothing but reads of versions long gone. */
static tape_status commit_flush(store *s, const flush_pick *pick, const flush_output *out,
                                tape_error *error) {
    tape_status status = TAPE_OK;
    for (uint16_t id = 1; id < STORE_TABLES && status == TAPE_OK; id++) {
        if (out->history_seq[id] > 0) {
            manifest_change change = {.history_table = id, .history_seq = out->history_seq[id]};
            status = store_commit(s, &change, NULL, error);
        }
    }
    manifest_change change = {
        .flushed_seq = pick->last_seq,
        .added = out->entries,
        .added_count = out->count,
    };
    return status == TAPE_OK ? store_commit(s, &change, pick->whole ? pick->memtable : NULL, error)
                             : status;
}

/* Whether pins allow what was left out; else the flush is done again without leaving out. */
static bool drops_allowed(store *s, const flush_output *out) {
    uint64_t seq = 0;
    for (uint16_t id = 1; id < STORE_TABLES; id++) {
        bool pins_care = record_table(id)->kind == TAPE_KIND_ENTITY; /* R1 */
        seq = pins_care && out->history_seq[id] > seq ? out->history_seq[id] : seq;
    }
    return seq == 0 || store_history_begin(s, seq);
}

static tape_status write_tables(store *s, const flush_pick *pick, const store_horizon *horizon,
                                flush_output *out, tape_error *error) {
    memtable_cursor *c = memtable_cursor_open(pick->memtable);
    tape_status status = TAPE_OK;
    *out = (flush_output){0};
    for (uint16_t id = 1; id < STORE_TABLES && status == TAPE_OK; id++) {
        status = write_table(s, pick, id, c, horizon, out, error);
    }
    memtable_cursor_close(&c);
    if (status != TAPE_OK) {
        store_discard(s, out->entries, out->count);
    }
    return status;
}

static tape_status flush_memtable(store *s, const flush_pick *pick, tape_error *error) {
    flush_output out;
    store_horizon horizon = store_horizon_now(s, clock_realtime_ns());
    tape_status status = write_tables(s, pick, &horizon, &out, error);
    if (status == TAPE_OK && !drops_allowed(s, &out)) {
        store_discard(s, out.entries, out.count);
        horizon.seq = 0;
        status = write_tables(s, pick, &horizon, &out, error);
    }
    if (status == TAPE_OK) {
        status = commit_flush(s, pick, &out, error);
        if (status != TAPE_OK) {
            store_discard(s, out.entries, out.count);
        }
    }
    if (status != TAPE_OK) {
        if (status == TAPE_FAILED) {
            atomic_store(&s->failed, true);
        }
        return status;
    }
    uint64_t written = 0;
    for (size_t i = 0; i < out.count; i++) {
        written += out.entries[i].info.size_bytes;
    }
    atomic_fetch_add(&s->counters.flushed_payload_bytes, out.payload_bytes);
    atomic_fetch_add(&s->counters.flush_written_bytes, written);
    atomic_fetch_add(&s->counters.dropped_records, out.dropped);
    return TAPE_OK;
}

tape_status store_flush(store *s, uint64_t committed_seq, bool all, tape_error *error) {
    uint64_t applied = store_applied_seq(s);
    uint64_t bound = committed_seq < applied ? committed_seq : applied;
    pthread_mutex_lock(&s->flush_lock);
    tape_status status = store_prepare(s, error);
    while (status == TAPE_OK) {
        flush_pick pick = pick_memtable(s, bound, all);
        if (pick.memtable == NULL) {
            break;
        }
        status = flush_memtable(s, &pick, error);
    }
    pthread_mutex_unlock(&s->flush_lock);
    return status;
}

bool store_wants_flush(const store *s) {
    /* The handle is the caller's; only the pin count, which is nobody's state, is written. */
    store_version *v = version_pin((store *)s);
    bool waits = v->waiting_count > 0;
    version_unpin(v);
    return waits;
}
