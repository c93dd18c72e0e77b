/* tape_write_parquet: a stream of record batches to one Parquet file, by a DuckDB of its own.
 *
 * Invariants
 *  P1 `path` is replaced as a whole or not at all: the file is written beside it and renamed.
 *  P2 The stream is released in any case, once DuckDB no longer looks at it.
 * Failure: an error of the stream comes back as the stream words it, not as DuckDB passes it on. */
#include "query/query_internal.h"

#include "os/os.h"

#include <errno.h>
#include <stdlib.h>

#define DUCK_BYTES MIB(512)
#define DUCK_THREADS 2

/* Stands between DuckDB and the caller's stream to keep its error. DuckDB may release what it was
 * given, or forget to (it asks for the schema twice and keeps one); stream and schema are released
 * by us. */
typedef struct relay {
    struct ArrowArrayStream *inner;
    struct ArrowSchema schema; /* release NULL until it was asked for */
    int failure;               /* errno value of the inner stream's error, or 0 */
    tape_error error;
} relay;

static tape_status status_of_errno(int failure) {
    switch (failure) {
    case ETIMEDOUT:
        return TAPE_TIMEOUT;
    case ECANCELED:
        return TAPE_CANCELLED;
    case ENOMEM:
        return TAPE_NO_MEMORY;
    case ENOSPC:
        return TAPE_NO_SPACE;
    case EACCES:
        return TAPE_FORBIDDEN;
    default:
        return TAPE_SQL;
    }
}

static int relay_outcome(relay *r, int failure) {
    if (failure != 0 && r->failure == 0) {
        const char *text = r->inner->get_last_error(r->inner);
        r->failure = failure;
        (void)error_set(&r->error, status_of_errno(failure), "%s",
                        text == NULL ? "the result ended with an error" : text);
    }
    return failure;
}

static void schema_release(struct ArrowSchema *self) {
    self->release = NULL;
}

static int relay_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
    relay *r = self->private_data;
    if (r->schema.release == NULL) {
        int failure = relay_outcome(r, r->inner->get_schema(r->inner, &r->schema));
        if (failure != 0) {
            return failure;
        }
    }
    *out = r->schema;
    out->release = schema_release;
    return 0;
}

static int relay_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
    relay *r = self->private_data;
    return relay_outcome(r, r->inner->get_next(r->inner, out));
}

static const char *relay_last_error(struct ArrowArrayStream *self) {
    relay *r = self->private_data;
    return r->failure != 0 ? r->error.text : NULL;
}

static void relay_release(struct ArrowArrayStream *self) {
    self->release = NULL;
}

static tape_status write_file(struct ArrowArrayStream *stream, const char *path, uint64_t *rows,
                              tape_error *error) {
    const duck_options options = {
        .memory_bytes = DUCK_BYTES, .threads = DUCK_THREADS, .paths = &path, .path_count = 1};
    duck *d = NULL;
    duck_session *s = NULL;
    tape_status status = duck_open(&d, &options, error);
    if (status == TAPE_OK) {
        status = duck_session_open(d, &s, error);
    }
    if (status == TAPE_OK) {
        status = duck_session_write_parquet(s, stream, path, rows, error);
    }
    duck_session_close(&s);
    duck_close(&d);
    return status;
}

tape_status tape_write_parquet(struct ArrowArrayStream *stream, const char *path, uint64_t *rows,
                               tape_error *error) {
    relay r = {.inner = stream};
    struct ArrowArrayStream outer = {.get_schema = relay_schema,
                                     .get_next = relay_next,
                                     .get_last_error = relay_last_error,
                                     .release = relay_release,
                                     .private_data = &r};
    uint64_t id;
    uint64_t written = 0;
    os_file *file = NULL;
    os_random(&id, sizeof id);
    char *part = mem_printf("%s.%016llx.part", path, (unsigned long long)id);
    /* DuckDB's words for a file that cannot be made tell less than ours. */
    tape_status status =
        os_file_open(os_disk_linux(), part, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file, error);
    os_file_close(&file);
    bool made = status == TAPE_OK;
    if (status == TAPE_OK) {
        status = write_file(&outer, part, &written, error);
    }
    if (status != TAPE_OK && r.failure != 0) {
        status = r.error.status;
        if (error != NULL) {
            *error = r.error;
        }
    }
    if (status == TAPE_OK) {
        status = os_rename(os_disk_linux(), part, path, error);
    }
    if (status != TAPE_OK && made) {
        tape_error ignored;
        if (os_remove(os_disk_linux(), part, &ignored) != TAPE_OK) {
            log_line(LOG_WARN, "%s", ignored.text);
        }
    }
    if (status == TAPE_OK && rows != NULL) {
        *rows = written;
    }
    if (r.schema.release != NULL) {
        r.schema.release(&r.schema);
    }
    stream->release(stream);
    free(part);
    return status;
}
