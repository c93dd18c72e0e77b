/* version.c: what readers see, and when it may be freed.
 *
 * A reader pins the current version without a lock, in three steps:
 *   R1  v = current        R2  v->pins += 1        R3  current == v ? done : (v->pins -= 1, again)
 * Whoever replaces it does so in two:
 *   W1  current = other    W2  v->pins == 0 ? v may be emptied and reused : later
 * All five are sequentially consistent, so they have one order that everybody agrees on.
 *
 * Why a pinned version is never emptied: take a reader whose R3 found v current. R2 comes before
 * R3, and R3 comes before the W1 that ended that time of being current, which comes before its W2.
 * So W2 sees the pin, unless it has been taken back. Why touching the pins of a version that is not
 * current is harmless: a store_version is never freed before the store is closed, only reused, and
 * a reader whose R3 fails has looked at nothing but `pins`. If v was emptied, reused and made
 * current again between R1 and R3, then R3 makes the pin one on what v is now, by the same
 * argument. A reader tries again only when somebody else got ahead, and each time means a whole new
 * version: nobody waits for a reader, and readers wait for nobody.
 *
 * Emptying reads `pins` with acquire and unpinning releases, so what a reader did with a memtable
 * is over before the memtable is freed. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

store_version *version_pin(store *s) {
    for (;;) {
        store_version *v = atomic_load(&s->current);
        atomic_fetch_add(&v->pins, 1);
        if (LIKELY(atomic_load(&s->current) == v)) {
            return v;
        }
        atomic_fetch_sub(&v->pins, 1);
    }
}

tape_status version_pin_at(store *s, uint64_t wanted, const tape_table_info *table,
                           store_version **out, uint64_t *at, tape_error *error) {
    for (uint64_t last = UINT64_MAX;;) {
        /* Before pinning: a version pinned later has everything up to here. The other way round,
         * records up to here could lie in a memtable that became active in between. */
        uint64_t applied = store_applied_seq(s);
        *at = wanted < applied ? wanted : applied;
        *out = version_pin(s);
        uint64_t history = (*out)->files->trees[table->id].history_seq;
        if (LIKELY(*at >= history) || table->kind == TAPE_KIND_EVENT) {
            return TAPE_OK;
        }
        version_unpin(*out);
        *out = NULL;
        if (wanted <= applied || applied == last) { /* the latter: nobody has applied so far yet */
            return error_set(error, TAPE_TOO_OLD,
                             "%s cannot be read at seq %" PRIu64
                             ": older versions were let go, they are whole from seq %" PRIu64
                             " on; read there, hold a pin while reading, or keep versions for "
                             "longer (keep_ns)",
                             table->name, *at, history);
        }
        /* Asked for the newest, and versions older than it went between the two: again. */
        last = applied;
    }
}

void version_unpin(store_version *v) {
    atomic_fetch_sub(&v->pins, 1);
}

store_version *version_current(store *s) {
    return atomic_load_explicit(&s->current, memory_order_relaxed);
}

static bool version_names(const store_version *v, const memtable *m) {
    for (size_t i = 0; i < v->waiting_count; i++) {
        if (v->waiting[i] == m) {
            return true;
        }
    }
    return v->active == m;
}

static bool somebody_names(store *s, const memtable *m) {
    if (version_names(version_current(s), m)) {
        return true;
    }
    for (const store_version *v = s->retired; v != NULL; v = v->next) {
        if (version_names(v, m)) {
            return true;
        }
    }
    return false;
}

/* `v` is in no list any more. */
static void version_empty(store *s, store_version *v) {
    for (size_t i = 0; i < v->waiting_count; i++) {
        if (!somebody_names(s, v->waiting[i])) {
            memtable_destroy(&v->waiting[i]);
        }
    }
    if (!somebody_names(s, v->active)) {
        memtable_destroy(&v->active);
    }
    file_set_release(s, v->files);
    v->next = s->spare;
    s->spare = v;
}

void version_sweep(store *s) {
    store_version **link = &s->retired;
    while (*link != NULL) {
        store_version *v = *link;
        if (atomic_load(&v->pins) != 0) {
            link = &v->next;
            continue;
        }
        *link = v->next;
        version_empty(s, v);
    }
}

void version_publish(store *s, memtable *active, memtable *const *waiting, size_t waiting_count,
                     file_set *files) {
    ASSERT(waiting_count <= STORE_WAITING_MAX);
    store_version *v = s->spare;
    if (v != NULL) {
        s->spare = v->next;
    } else {
        v = mem_zalloc(sizeof *v);
    }
    /* `pins` stays: a reader with a stale pointer may just be trying it. */
    v->active = active;
    v->waiting_count = waiting_count;
    for (size_t i = 0; i < waiting_count; i++) {
        v->waiting[i] = waiting[i];
    }
    v->files = files;
    v->next = NULL;
    store_version *old = version_current(s);
    atomic_store(&s->current, v);
    if (old != NULL) {
        old->next = s->retired;
        s->retired = old;
        version_sweep(s);
    }
}

void version_free_all(store *s) {
    store_version *last = version_current(s);
    if (last != NULL) {
        version_sweep(s);
        ASSERT(s->retired == NULL && atomic_load(&last->pins) == 0); /* nobody is reading */
        for (size_t i = 0; i < last->waiting_count; i++) {
            memtable_destroy(&last->waiting[i]);
        }
        memtable_destroy(&last->active);
        file_set_release(s, last->files);
        free(last);
        atomic_store(&s->current, NULL);
        files_collect(s);
    }
    while (s->spare != NULL) {
        store_version *next = s->spare->next;
        free(s->spare);
        s->spare = next;
    }
}
