/* flush.c: memtables become table files.
 *
 * Order of a flush, each step durable before the next:
 *   1 the manifest's end is made certain, leftovers of a crash are removed (once after opening)
 *   2 the table: temporary file, sync, rename, directory sync
 *   3 the manifest's edit, sync
 *   4 readers get a version with the table and without the memtable; then flushed_seq rises
 * A crash before 3 is done leaves an orphan and the old state; the journal still has the records,
 * because nobody was told otherwise.
 *
 * Leftovers are removed by the first flush and not by opening: only when its owner flushes has the
 * store been found to fit the journal. If the manifest lost its last edit to rot, the file that
 * this edit named may be the only copy of its records, and the owner will refuse to go on.
 *
 * Invariants
 *  S1 A file's records are those with flushed_seq < seq <= the new flushed_seq, all of them: files
 *     follow each other in seq without gaps, and none lies beyond the committed seq.
 *  S2 A memtable leaves the version in the step that brings the file with the rest of its records.
 *
 * Failure: disk full and the like leave the state as it was; the next flush tries again. After
 * FAILED (a sync failed) every flush fails until the store is opened again. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

void store_switch_memtable(store *s) {
    store_version *v = version_current(s);
    ASSERT(v->waiting_count < STORE_WAITING_MAX);
    memtable *waiting[STORE_WAITING_MAX];
    for (size_t i = 0; i < v->waiting_count; i++) {
        waiting[i] = v->waiting[i];
    }
    waiting[v->waiting_count] = v->active;
    v->set->references++;
    version_publish(s, memtable_create(), waiting, v->waiting_count + 1, v->set);
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
    if (bound > s->manifest.flushed_seq && (all || (whole && v->waiting_count > 0))) {
        if (whole && m == v->active) {
            store_switch_memtable(s);
        }
        pick = (flush_pick){m, whole ? last : bound, whole};
    }
    pthread_mutex_unlock(&s->lock);
    return pick;
}

/* S1: its records with flushed_seq < seq <= last_seq, as a durable file. */
static tape_status write_table(store *s, const flush_pick *pick, sstable_info *info,
                               tape_error *error) {
    sstable_writer *w = NULL;
    tape_status status = sstable_writer_open(&w, &s->place, s->next_number++, error);
    memtable_iterator it;
    for (bool more = memtable_first(pick->memtable, &it); more && status == TAPE_OK;
         more = memtable_next(&it)) {
        if (it.record.seq > s->manifest.flushed_seq && it.record.seq <= pick->last_seq) {
            status = sstable_writer_add(w, it.key, &it.record, error);
        }
    }
    if (status != TAPE_OK) {
        sstable_writer_abandon(&w);
        return status;
    }
    return sstable_writer_finish(&w, info, error);
}

/* S2 */
static void publish_table(store *s, const flush_pick *pick, sstable *t) {
    pthread_mutex_lock(&s->lock);
    store_version *v = version_current(s);
    const table_set *old = v->set;
    sstable **tables = mem_alloc((old->count + 1) * sizeof(sstable *));
    memcpy(tables, old->tables, old->count * sizeof(sstable *));
    tables[old->count] = t;
    size_t gone = pick->whole ? 1 : 0;
    ASSERT(gone == 0 || v->waiting[0] == pick->memtable);
    memtable *waiting[STORE_WAITING_MAX];
    for (size_t i = gone; i < v->waiting_count; i++) {
        waiting[i - gone] = v->waiting[i];
    }
    version_publish(s, v->active, waiting, v->waiting_count - gone,
                    table_set_create(tables, old->count + 1));
    pthread_mutex_unlock(&s->lock);
    free(tables);
}

static tape_status flush_memtable(store *s, const flush_pick *pick, tape_error *error) {
    sstable_info info;
    tape_status status = write_table(s, pick, &info, error);
    if (status != TAPE_OK) {
        return status;
    }
    /* Opened first: once the edit is durable nothing may fail any more. */
    sstable *t = NULL;
    status = sstable_open(&t, &s->place, info.number, &info, OS_MAP_RANDOM, error);
    if (status == TAPE_OK) {
        status = manifest_add_table(&s->manifest, &info, error);
    }
    if (status != TAPE_OK) {
        sstable_close(&t);
        s->orphans_removed = false;
        return status;
    }
    publish_table(s, pick, t);
    atomic_store_explicit(&s->flushed_seq, s->manifest.flushed_seq, memory_order_release);
    return TAPE_OK;
}

static tape_status prepare(store *s, tape_error *error) {
    if (s->failed) {
        return error_set_file(error, TAPE_FAILED, s->dir, TAPE_NO_OFFSET,
                              "%s: stopped after a failed sync; close the store and open it again",
                              s->dir);
    }
    tape_status status = manifest_settle(&s->manifest, error);
    if (status != TAPE_OK || s->orphans_removed) {
        return status;
    }
    tape_error trouble;
    if (directory_remove_orphans(&s->manifest, &trouble) != TAPE_OK) {
        log_line(LOG_WARN, "leftover files stay in %s: %s", s->dir, trouble.text);
    }
    s->orphans_removed = true;
    return TAPE_OK;
}

tape_status store_flush(store *s, uint64_t committed_seq, bool all, tape_error *error) {
    if (s->read_only) {
        return error_set_file(error, TAPE_FORBIDDEN, s->dir, TAPE_NO_OFFSET,
                              "%s: the store is open for reading only; nothing can be flushed",
                              s->dir);
    }
    uint64_t applied = store_applied_seq(s);
    uint64_t bound = committed_seq < applied ? committed_seq : applied;
    pthread_mutex_lock(&s->flush_lock);
    tape_status status = prepare(s, error);
    while (status == TAPE_OK) {
        flush_pick pick = pick_memtable(s, bound, all);
        if (pick.memtable == NULL) {
            break;
        }
        status = flush_memtable(s, &pick, error);
    }
    s->failed = s->failed || status == TAPE_FAILED;
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
