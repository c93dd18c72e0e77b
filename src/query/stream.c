/* Stream: a result of DuckDB's as an ArrowArrayStream.
 *
 * A stream owns its session from query_run until it is released; the arrays it gave outlive it.
 * What is read to its end may be kept for others. */
#include "query/query_internal.h"

#include <errno.h>
#include <stdlib.h>

typedef struct stream {
    stream_start start;
    struct ArrowSchema schema; /* release NULL: not asked for yet */
    tape_error error;          /* status TAPE_OK while all is well */
    bool ended;
} stream;

static int errno_of(tape_status status) {
    switch (status) {
    case TAPE_OK:
        return 0;
    case TAPE_TIMEOUT:
        return ETIMEDOUT;
    case TAPE_CANCELLED:
        return ECANCELED;
    case TAPE_NO_MEMORY:
        return ENOMEM;
    case TAPE_NO_SPACE:
        return ENOSPC;
    case TAPE_FORBIDDEN:
        return EACCES;
    default:
        return EIO;
    }
}

static int stream_fail(stream *t, tape_status status) {
    t->ended = true;
    kept_result_release(&t->start.keep);
    t->error.status =
        session_failed(t->start.query, t->start.session, status, t->start.timeout_ns, &t->error);
    return errno_of(t->error.status);
}

static int stream_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
    stream *t = self->private_data;
    tape_status status = duck_result_arrow_schema(t->start.result, out, &t->error);
    return status == TAPE_OK ? 0 : stream_fail(t, status);
}

/* Passes on what was read, and keeps it if it can be kept. */
static tape_status keep(stream *t, struct ArrowArray *batch) {
    tape_status status = TAPE_OK;
    if (t->schema.release == NULL) {
        status = duck_result_arrow_schema(t->start.result, &t->schema, &t->error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    if (batch->release == NULL) {
        results_end(t->start.query->results, &t->start.keep, &t->schema);
    } else {
        (void)results_add(t->start.query->results, &t->start.keep, &t->schema, batch);
    }
    return TAPE_OK;
}

static int stream_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
    stream *t = self->private_data;
    memset(out, 0, sizeof *out);
    if (t->ended) {
        return errno_of(t->error.status);
    }
    if (t->start.head.release != NULL) {
        *out = t->start.head;
        t->start.head.release = NULL;
        return 0;
    }
    tape_status status = duck_result_arrow_next(t->start.result, out, &t->error);
    if (status == TAPE_OK && t->start.keep != NULL) {
        status = keep(t, out);
        if (status != TAPE_OK && out->release != NULL) {
            out->release(out);
        }
    }
    if (status != TAPE_OK) {
        return stream_fail(t, status);
    }
    if (out->release == NULL) {
        t->ended = true;
        (void)session_ended(t->start.query, t->start.session);
    }
    return 0;
}

static const char *stream_last_error(struct ArrowArrayStream *self) {
    stream *t = self->private_data;
    return t->error.status == TAPE_OK ? NULL : t->error.text;
}

static void stream_release(struct ArrowArrayStream *self) {
    stream *t = self->private_data;
    (void)session_ended(t->start.query, t->start.session);
    duck_result_close(&t->start.result);
    statement_end(t->start.session);
    session_release(t->start.query, t->start.session);
    kept_result_release(&t->start.keep);
    if (t->start.head.release != NULL) {
        t->start.head.release(&t->start.head);
    }
    if (t->schema.release != NULL) {
        t->schema.release(&t->schema);
    }
    free(t);
    *self = (struct ArrowArrayStream){0};
}

void stream_open(const stream_start *start, struct ArrowArrayStream *out) {
    stream *t = mem_zalloc(sizeof *t);
    t->start = *start;
    *out = (struct ArrowArrayStream){.get_schema = stream_schema,
                                     .get_next = stream_next,
                                     .get_last_error = stream_last_error,
                                     .release = stream_release,
                                     .private_data = t};
}
