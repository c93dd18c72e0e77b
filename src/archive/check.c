/* check.c: reading files again, all at once or one after the other. */
#include "archive/archive_internal.h"

#include <inttypes.h>

#define RESTORE_HINT "restore it from a snapshot or a backup"
#define VERIFY_MEMORY_BYTES MIB(512)

/* Whether a listed file's bytes are those that were written. */
static tape_status check_bytes(const archive *a, const archive_file *f,
                               bool (*go_on)(void *context, uint64_t bytes), void *context,
                               tape_error *error) {
    uint64_t size = 0;
    uint64_t xxh3 = 0;
    tape_error local;
    tape_status status = archive_hash_file(a, f->path, &size, &xxh3, go_on, context, &local);
    if (status == TAPE_NOT_FOUND) {
        return error_set_file(error, TAPE_CORRUPT, f->path, TAPE_NO_OFFSET,
                              "%s: the manifest lists it, but it is not there; " RESTORE_HINT,
                              f->path);
    }
    if (status == TAPE_OK && size != f->info.size_bytes) {
        return error_set_file(error, TAPE_CORRUPT, f->path, size,
                              "%s: damaged: size expected %" PRIu64 ", actual %" PRIu64
                              "; " RESTORE_HINT,
                              f->path, f->info.size_bytes, size);
    }
    if (status == TAPE_OK && xxh3 != f->info.content_xxh3) {
        return error_set_file(error, TAPE_CORRUPT, f->path, 0,
                              "%s: damaged: checksum of its %" PRIu64 " bytes expected %016" PRIx64
                              ", actual %016" PRIx64 "; " RESTORE_HINT,
                              f->path, size, f->info.content_xxh3, xxh3);
    }
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}

/* Whether what Parquet says of the file's rows is what the manifest says. */
static tape_status check_rows(duck_session *s, const archive_file *f, tape_error *error) {
    int64_t values[3];
    char *sql = mem_printf("SELECT count(*), min(seq), max(seq) FROM "
                           "read_parquet(%s, hive_partitioning = false)",
                           f->literal);
    tape_error local;
    tape_status status = archive_run_integers(s, sql, values, COUNT_OF(values), &local);
    free(sql);
    if (status != TAPE_OK) {
        return error_set_file(error, TAPE_CORRUPT, f->path, TAPE_NO_OFFSET,
                              "%s: cannot be read as Parquet: %s; " RESTORE_HINT, f->path,
                              local.text);
    }
    if ((uint64_t)values[0] != f->info.rows || (uint64_t)values[1] != f->info.min_seq ||
        (uint64_t)values[2] != f->info.max_seq) {
        return error_set_file(error, TAPE_CORRUPT, f->path, TAPE_NO_OFFSET,
                              "%s: the manifest says %" PRIu64 " rows with seq %" PRIu64
                              " to %" PRIu64 ", but it has %" PRId64 " with seq %" PRId64
                              " to %" PRId64 "; " RESTORE_HINT,
                              f->path, f->info.rows, f->info.min_seq, f->info.max_seq, values[0],
                              values[1], values[2]);
    }
    return TAPE_OK;
}

/* The manifest on disk, once there is one. */
static tape_status check_manifest(archive *a, uint64_t seq, uint64_t *files, tape_error *error) {
    char *data = NULL;
    size_t size = 0;
    archive_manifest m = {0};
    tape_error local;
    tape_status status = os_read_small(a->disk, a->manifest_path, &data, &size, &local);
    if (status == TAPE_NOT_FOUND && seq == 0) {
        return TAPE_OK;
    }
    if (status == TAPE_OK) {
        (*files)++;
        status = archive_manifest_decode(data, size, a->manifest_path, &m, &local);
    }
    if (status == TAPE_OK && m.seq < seq) {
        status = error_set_file(&local, TAPE_CORRUPT, a->manifest_path, TAPE_NO_OFFSET,
                                "%s: ends at seq %" PRIu64 ", expected at least %" PRIu64
                                "; restore the store from a snapshot or a backup",
                                a->manifest_path, m.seq, seq);
    }
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    free(m.files);
    free(data);
    return status;
}

tape_status archive_verify(archive *a, void (*damage)(void *context, const tape_error *finding),
                           void *context, uint64_t *files, uint64_t *records, tape_error *error) {
    duck *d = NULL;
    duck_session *session = NULL;
    uint64_t findings = 0;
    tape_error finding;
    archive_version *v = archive_version_hold(a);
    tape_status status = TAPE_OK;
    /* DuckDB sees real files alone. */
    if (v->file_count > 0 && a->disk == os_disk_linux()) {
        const char *const directories[] = {a->dir};
        duck_options options = {.memory_bytes = VERIFY_MEMORY_BYTES,
                                .threads = 1,
                                .directories = directories,
                                .directory_count = 1};
        status = duck_open(&d, &options, error);
        if (status == TAPE_OK) {
            status = duck_session_open(d, &session, error);
        }
    }
    if (status == TAPE_OK && check_manifest(a, v->seq, files, &finding) != TAPE_OK) {
        damage(context, &finding);
        findings++;
    }
    for (size_t i = 0; status == TAPE_OK && i < v->file_count; i++) {
        const archive_file *f = v->files[i];
        tape_status checked = check_bytes(a, f, NULL, NULL, &finding);
        if (checked == TAPE_OK && session != NULL) {
            checked = check_rows(session, f, &finding);
        }
        if (checked != TAPE_OK) {
            damage(context, &finding);
            findings++;
        }
        (*files)++;
        *records += f->info.kind == ARCHIVE_SUPERSEDED ? 0 : f->info.rows;
    }
    duck_session_close(&session);
    duck_close(&d);
    archive_version_release(a, v);
    if (status == TAPE_OK && findings > 0) {
        status = error_set_file(error, TAPE_CORRUPT, a->dir, TAPE_NO_OFFSET,
                                "%s: %" PRIu64
                                " damages found; restore the store from a snapshot or a backup",
                                a->dir, findings);
    }
    return status;
}

/* --- scrub --- */

/* The file with the lowest number above `after`, or with the lowest of all. */
static const archive_file *next_file(const archive_version *v, uint64_t after) {
    const archive_file *next = NULL;
    const archive_file *first = NULL;
    for (size_t i = 0; i < v->file_count; i++) {
        const archive_file *f = v->files[i];
        if (first == NULL || f->info.number < first->info.number) {
            first = f;
        }
        if (f->info.number > after && (next == NULL || f->info.number < next->info.number)) {
            next = f;
        }
    }
    return next != NULL ? next : first;
}

typedef struct scrub_state {
    archive_beat beat;
    uint64_t done, total;
} scrub_state;

static bool scrub_go_on(void *context, uint64_t bytes) {
    scrub_state *s = context;
    s->done += bytes;
    return s->beat.beat == NULL || s->beat.beat(s->beat.context, s->done, s->total);
}

tape_status archive_scrub(archive *a, archive_beat beat, bool *worked, tape_error *error) {
    tape_error local = {0};
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&a->scrub_lock);
    archive_version *v = archive_version_hold(a);
    const archive_file *f = next_file(v, a->scrub_number);
    *worked = f != NULL;
    if (f != NULL) {
        scrub_state s = {.beat = beat, .total = f->info.size_bytes};
        status = check_bytes(a, f, scrub_go_on, &s, &local);
        if (status != TAPE_CANCELLED) {
            a->scrub_number = f->info.number;
            atomic_fetch_add(&a->scrubbed_files, 1);
        }
        if (status == TAPE_CORRUPT) {
            atomic_fetch_add(&a->scrub_findings, 1);
            log_line(LOG_ERROR, "found by scrubbing: %s", local.text);
        }
    }
    archive_version_release(a, v);
    pthread_mutex_unlock(&a->scrub_lock);
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}
