/* archive.c: opening, closing, figures. */
#include "archive/archive_internal.h"

#include <inttypes.h>

static tape_status load(archive *a, tape_error *error) {
    char *data = NULL;
    size_t size = 0;
    archive_manifest m = {0};
    archive_version *v = NULL;
    tape_error local;
    tape_status status = os_read_small(a->disk, a->manifest_path, &data, &size, &local);
    if (status == TAPE_NOT_FOUND) {
        m.next_number = 1; /* an empty archive */
        status = TAPE_OK;
    } else if (status == TAPE_OK) {
        status = archive_manifest_decode(data, size, a->manifest_path, &m, &local);
    }
    if (status == TAPE_OK && data != NULL &&
        memcmp(m.store_id, a->store_id, sizeof m.store_id) != 0) {
        status = error_set_file(&local, TAPE_CORRUPT, a->manifest_path, 24,
                                "%s belongs to another store; put the archive of this one there",
                                a->manifest_path);
    }
    if (status == TAPE_OK) {
        archive_file **files = mem_alloc((m.file_count + 1) * sizeof(archive_file *));
        for (size_t i = 0; i < m.file_count; i++) {
            files[i] = archive_file_make(a, &m.files[i]);
        }
        v = archive_version_make(files, m.file_count);
        v->seq = m.seq;
        memcpy(v->history_seq, m.history_seq, sizeof v->history_seq);
        a->next_number = m.next_number;
        archive_version_publish(a, v);
    } else if (error != NULL) {
        *error = local;
    }
    free(m.files);
    free(data);
    return status;
}

tape_status archive_open(archive **out, const archive_options *options, tape_error *error) {
    archive *a = mem_zalloc(sizeof *a);
    *out = NULL;
    a->disk = options->disk;
    a->dir = mem_strdup(options->dir);
    a->manifest_path = mem_printf("%s/MANIFEST", a->dir);
    a->tmp_dir = mem_printf("%s/tmp", a->dir);
    /* DuckDB takes every file there for its own: a directory that no other database has. */
    a->temp_dir = options->temp_dir == NULL ? NULL : mem_printf("%s/archive", options->temp_dir);
    memcpy(a->store_id, options->store_id, sizeof a->store_id);
    a->options = *options;
    a->options.dir = a->dir;
    a->options.temp_dir = a->temp_dir;
    a->options.store_id = a->store_id;
    if (a->options.memory_bytes == 0) {
        a->options.memory_bytes = GIB(1);
    }
    if (a->options.threads == 0) {
        a->options.threads = 1;
    }
    if (a->options.file_rows_max == 0) {
        a->options.file_rows_max = ARCHIVE_FILE_ROWS_DEFAULT;
    }
    ASSERT(pthread_mutex_init(&a->write_lock, NULL) == 0);
    ASSERT(pthread_mutex_init(&a->lock, NULL) == 0);
    ASSERT(pthread_mutex_init(&a->scrub_lock, NULL) == 0);
    tape_status status = load(a, error);
    if (status == TAPE_OK) {
        *out = a;
    } else {
        archive_close(&a);
    }
    return status;
}

void archive_close(archive **a) {
    if (a == NULL || *a == NULL) {
        return;
    }
    archive *closing = *a;
    *a = NULL;
    ASSERT(closing->oldest == closing->current);
    duck_close(&closing->duck);
    if (closing->current != NULL) {
        ASSERT(closing->current->refs == 1);
        archive_version_release(closing, closing->current);
    }
    pthread_mutex_destroy(&closing->write_lock);
    pthread_mutex_destroy(&closing->lock);
    pthread_mutex_destroy(&closing->scrub_lock);
    free(closing->forgets);
    free(closing->dir);
    free(closing->manifest_path);
    free(closing->tmp_dir);
    free(closing->temp_dir);
    free(closing);
}

uint64_t archive_seq(const archive *a) {
    return atomic_load(&a->seq);
}

/* --- attaching --- */

static tape_status load_pairs(archive *a, archive_edit *e, const tape_table_info *table,
                              tape_error *error) {
    size_t first = e->base->first[table->id];
    size_t end = e->base->first[table->id + 1];
    while (first < end && e->base->files[first]->info.kind != ARCHIVE_SUPERSEDED) {
        first++;
    }
    if (first == end) {
        return TAPE_OK;
    }
    duck_result *r = NULL;
    buffer sql = {0};
    buffer_append_text(&sql, "SELECT seq, superseded_by FROM ");
    archive_put_files(&sql, e->base->files + first, end - first);
    buffer_append_text(&sql, " ORDER BY superseded_by");
    buffer_end(&sql);
    size_t rows = 0;
    tape_status status = duck_session_start(e->session, (const char *)sql.data, &r, error);
    while (status == TAPE_OK) {
        status = duck_result_next(r, &rows, error);
        if (status != TAPE_OK || rows == 0) {
            break;
        }
        for (size_t i = 0; status == TAPE_OK && i < rows; i++) {
            duck_value seq;
            duck_value by;
            duck_result_value(r, 0, i, &seq);
            duck_result_value(r, 1, i, &by);
            status = columns_supersede(atomic_load(&a->columns), table->id, (uint64_t)seq.integer,
                                       (uint64_t)by.integer, error);
        }
    }
    duck_result_close(&r);
    buffer_deinit(&sql);
    return status;
}

tape_status archive_attach(archive *a, columns *c, tape_error *error) {
    tape_status status = TAPE_OK;
    archive_edit e = {0};
    bool pairs = false;
    pthread_mutex_lock(&a->write_lock);
    ASSERT(atomic_load(&a->columns) == NULL && columns_base(c) == archive_seq(a));
    atomic_store(&a->columns, c);
    for (size_t i = 0; i < a->current->file_count; i++) {
        pairs = pairs || a->current->files[i]->info.kind == ARCHIVE_SUPERSEDED;
    }
    if (pairs) {
        status = archive_edit_begin(&e, a, true, (archive_beat){0}, error);
        for (uint16_t t = 1; status == TAPE_OK && t <= TAPE_TABLE_COUNT; t++) {
            status = load_pairs(a, &e, record_table(t), error);
        }
        archive_edit_end(&e);
    }
    if (status != TAPE_OK) { /* another attempt may be made, with other columns */
        duck_close(&a->duck);
        atomic_store(&a->columns, NULL);
    }
    pthread_mutex_unlock(&a->write_lock);
    return status;
}

void archive_stats_read(archive *a, archive_stats *out) {
    *out = (archive_stats){
        .takes = atomic_load(&a->takes),
        .merges = atomic_load(&a->merges),
        .expired_files = atomic_load(&a->expired_files),
        .taken_rows = atomic_load(&a->taken_rows),
        .take_ns = atomic_load(&a->take_ns),
        .merge_ns = atomic_load(&a->merge_ns),
        .scrubbed_files = atomic_load(&a->scrubbed_files),
        .scrub_findings = atomic_load(&a->scrub_findings),
    };
    archive_version *v = archive_version_hold(a);
    out->seq = v->seq;
    out->files = v->file_count;
    for (size_t i = 0; i < v->file_count; i++) {
        const archive_file_info *f = &v->files[i]->info;
        out->bytes += f->size_bytes;
        out->rows[f->table] += f->kind == ARCHIVE_SUPERSEDED ? 0 : f->rows;
    }
    archive_version_release(a, v);
}
