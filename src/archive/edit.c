/* edit.c: one change of the archive's files, from the first byte written to the manifest.
 *
 * States of what is on disk
 *   unsettled   after opening, and after the manifest could not be written: which of two manifests
 *               is on disk, or will be after a power loss, is not known. Nothing is removed.
 *   settled     the manifest of `current` is durable, and what it does not list, and no view reads,
 *               is not there.
 * archive_edit_begin settles: writes the manifest again, then sweeps. A failed write of the
 * manifest unsettles.
 *
 * Invariants
 *  E1 A file is listed only when its bytes and its name are durable and were read back.
 *  E2 A file is removed only when the durable manifest does not list it. */
#include "archive/archive_internal.h"

#define BEAT_NS (NS_PER_SECOND / 50)

/* --- the beat: asked by a thread of its own, since a statement of DuckDB's knows of none --- */

struct archive_watch {
    archive_beat beat;
    duck_session *session;
    os_thread *thread;
    _Atomic uint32_t stop;
    _Atomic bool cancelled;
    _Atomic uint64_t done, next, total;
};

static void watch_run(void *argument) {
    archive_watch *w = argument;
    while (atomic_load(&w->stop) == 0) {
        uint64_t next = atomic_load(&w->next);
        double share = duck_session_progress(w->session);
        uint64_t part = share > 0 && share <= 1 ? (uint64_t)(share * (double)next) : 0;
        uint64_t total = atomic_load(&w->total);
        uint64_t done = atomic_load(&w->done) + part;
        if (!w->beat.beat(w->beat.context, done < total ? done : total, total)) {
            atomic_store(&w->cancelled, true);
        }
        /* Again and again: an interrupt between two statements is forgotten. */
        if (atomic_load(&w->cancelled)) {
            duck_session_interrupt(w->session);
        }
        os_futex_wait(&w->stop, 0, clock_monotonic_ns() + BEAT_NS);
    }
}

static tape_status watch_start(archive_edit *e, archive_beat beat, tape_error *error) {
    archive_watch *w = mem_zalloc(sizeof *w);
    w->beat = beat;
    w->session = e->session;
    tape_status status = os_thread_start(&w->thread, "tape-archbeat", -1, watch_run, w, error);
    if (status != TAPE_OK) {
        free(w);
        return status;
    }
    e->watch = w;
    return TAPE_OK;
}

static void watch_stop(archive_edit *e) {
    if (e->watch != NULL) {
        atomic_store(&e->watch->stop, 1);
        os_futex_wake(&e->watch->stop, 1);
        os_thread_join(&e->watch->thread);
        free(e->watch);
        e->watch = NULL;
    }
}

void archive_watch_step(archive_edit *e, uint64_t done, uint64_t next, uint64_t total) {
    if (e->watch != NULL) {
        atomic_store(&e->watch->next, 0);
        atomic_store(&e->watch->total, total);
        atomic_store(&e->watch->done, done);
        atomic_store(&e->watch->next, next);
    }
}

tape_status archive_watch_check(const archive_edit *e, tape_error *error) {
    if (e->watch != NULL && atomic_load(&e->watch->cancelled)) {
        return error_set(error, TAPE_CANCELLED,
                         "archiving was stopped before it was done; it begins anew the next time");
    }
    return TAPE_OK;
}

/* --- the manifest --- */

static int by_number(const void *left, const void *right) {
    const archive_file_info *a = left;
    const archive_file_info *b = right;
    return (a->number > b->number) - (a->number < b->number);
}

static tape_status write_manifest(archive *a, const archive_version *v, tape_error *error) {
    archive_manifest m = {
        .seq = v->seq, .next_number = a->next_number, .file_count = v->file_count};
    buffer bytes = {0};
    memcpy(m.store_id, a->store_id, sizeof m.store_id);
    memcpy(m.history_seq, v->history_seq, sizeof m.history_seq);
    m.files = mem_alloc((v->file_count + 1) * sizeof *m.files);
    for (size_t i = 0; i < v->file_count; i++) {
        m.files[i] = v->files[i]->info;
    }
    qsort(m.files, m.file_count, sizeof *m.files, by_number);
    archive_manifest_encode(&m, &bytes);
    tape_status status = os_write_small(a->disk, a->manifest_path, bytes.data, bytes.size, error);
    a->settled = status == TAPE_OK;
    buffer_deinit(&bytes);
    free(m.files);
    return status;
}

static tape_status settle(archive *a, const archive_version *current, tape_error *error) {
    const char *slash = strrchr(a->dir, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - a->dir);
    char *parent = slash == NULL     ? mem_strdup(".")
                   : slash == a->dir ? mem_strdup("/")
                                     : mem_printf("%.*s", (int)length, a->dir);
    tape_status status = archive_make_dir(a, a->dir, error);
    if (status == TAPE_OK) {
        status = archive_make_dir(a, a->tmp_dir, error);
    }
    if (status == TAPE_OK) {
        status = os_dir_sync(a->disk, parent, error);
    }
    if (status == TAPE_OK) {
        status = write_manifest(a, current, error);
    }
    if (status == TAPE_OK) {
        status = archive_sweep(a, error);
        a->settled = status == TAPE_OK;
    }
    free(parent);
    return status;
}

/* --- the edit --- */

/* DuckDB makes the directory for its own files, but none above it. */
static tape_status make_temp_dir(const archive *a, tape_error *error) {
    if (a->temp_dir == NULL || a->disk != os_disk_linux()) {
        return TAPE_OK;
    }
    char *above = mem_strdup(a->temp_dir);
    *strrchr(above, '/') = '\0';
    tape_status status = archive_make_dir(a, above, error);
    free(above);
    return status;
}

static tape_status open_session(archive_edit *e, archive_beat beat, tape_error *error) {
    archive *a = e->a;
    tape_status status = TAPE_OK;
    if (a->duck == NULL) {
        status = make_temp_dir(a, error);
    }
    if (a->duck == NULL && status == TAPE_OK) {
        const char *const directories[] = {a->dir};
        duck_options options = {
            .memory_bytes = a->options.memory_bytes,
            .threads = a->options.threads,
            .temp_dir = a->temp_dir,
            .directories = directories,
            .directory_count = 1,
            .columns = atomic_load(&a->columns),
        };
        status = duck_open(&a->duck, &options, error);
    }
    if (status == TAPE_OK) {
        status = duck_session_open(a->duck, &e->session, error);
    }
    if (status == TAPE_OK) {
        e->pin = columns_pin_open(atomic_load(&a->columns));
        duck_session_see(e->session, e->base->seq, e->base->seq);
        status = beat.beat != NULL ? watch_start(e, beat, error) : TAPE_OK;
    }
    return status;
}

tape_status archive_edit_begin(archive_edit *e, archive *a, bool sql, archive_beat beat,
                               tape_error *error) {
    *e = (archive_edit){.a = a, .base = archive_version_hold(a)};
    e->seq = e->base->seq;
    memcpy(e->history_seq, e->base->history_seq, sizeof e->history_seq);
    tape_status status = a->settled ? TAPE_OK : settle(a, e->base, error);
    if (status == TAPE_OK && sql) {
        status = open_session(e, beat, error);
    }
    return status;
}

void archive_edit_remove(archive_edit *e, archive_file *f) {
    if (e->removed_count == e->removed_capacity) {
        e->removed_capacity = e->removed_capacity == 0 ? 16 : 2 * e->removed_capacity;
        e->removed = mem_realloc(e->removed, e->removed_capacity * sizeof(archive_file *));
    }
    e->removed[e->removed_count++] = f;
}

static bool is_removed(const archive_edit *e, const archive_file *f) {
    for (size_t i = 0; i < e->removed_count; i++) {
        if (e->removed[i] == f) {
            return true;
        }
    }
    return false;
}

/* Every directory on the way to the files added, so that their names last. Those that were there
 * before too: whether an earlier sync of them came to its end is not known. */
static tape_status sync_dirs(const archive_edit *e, tape_error *error) {
    tape_status status = TAPE_OK;
    for (size_t i = 0; status == TAPE_OK && i < e->added_count; i++) {
        const archive_file_info *f = &e->added[i]->info;
        char *day = archive_day_dir(e->a, f);
        char *table = archive_table_dir(e->a, f);
        status = os_dir_sync(e->a->disk, day, error);
        if (status == TAPE_OK && strcmp(day, table) != 0) {
            status = os_dir_sync(e->a->disk, table, error);
        }
        *strrchr(table, '/') = '\0'; /* the archive's, or that of all pairs */
        if (status == TAPE_OK && strcmp(table, e->a->dir) != 0) {
            status = os_dir_sync(e->a->disk, table, error);
        }
        free(day);
        free(table);
    }
    return status == TAPE_OK && e->added_count > 0 ? os_dir_sync(e->a->disk, e->a->dir, error)
                                                   : status;
}

tape_status archive_edit_commit(archive_edit *e, tape_error *error) {
    archive *a = e->a;
    tape_status status = archive_watch_check(e, error);
    if (status == TAPE_OK) {
        status = sync_dirs(e, error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    archive_file **files =
        mem_alloc((e->base->file_count + e->added_count + 1) * sizeof(archive_file *));
    size_t count = 0;
    for (size_t i = 0; i < e->base->file_count; i++) {
        if (!is_removed(e, e->base->files[i])) {
            files[count++] = e->base->files[i];
        }
    }
    for (size_t i = 0; i < e->added_count; i++) {
        files[count++] = e->added[i];
    }
    archive_version *v = archive_version_make(files, count);
    v->seq = e->seq;
    memcpy(v->history_seq, e->history_seq, sizeof v->history_seq);
    status = write_manifest(a, v, error);
    if (status != TAPE_OK) {
        free(v->files);
        free(v);
        return status;
    }
    for (size_t i = 0; i < e->removed_count; i++) {
        e->removed[i]->unlisted = true; /* read by whoever lets the last version go, later */
    }
    e->added_count = 0;
    archive_version_publish(a, v);
    return TAPE_OK;
}

void archive_edit_end(archive_edit *e) {
    archive *a = e->a;
    watch_stop(e);
    duck_session_close(&e->session);
    columns_pin_close(&e->pin);
    for (size_t i = 0; i < e->added_count; i++) {
        /* Unless a manifest may list it that could not be written for certain. */
        if (a->settled && os_remove(a->disk, e->added[i]->path, NULL) != TAPE_OK) {
            a->settled = false;
        }
        archive_file_free(e->added[i]);
    }
    free(e->added);
    free(e->removed);
    archive_version_release(a, e->base);
    *e = (archive_edit){0};
}
