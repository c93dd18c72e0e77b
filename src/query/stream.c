/* Stream: a result of DuckDB's as an ArrowArrayStream.
 *
 * A stream owns its session from query_run until it is released; the arrays it gave outlive it. */
#include "query/query_internal.h"

#include <errno.h>
#include <stdlib.h>

typedef struct stream {
    query *query;
    session *session;
    duck_result *result;
    int64_t timeout_ns;
    tape_error error; /* status TAPE_OK while all is well */
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
    t->error.status = session_failed(t->query, t->session, status, t->timeout_ns, &t->error);
    return errno_of(t->error.status);
}

static int stream_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
    stream *t = self->private_data;
    tape_status status = duck_result_arrow_schema(t->result, out, &t->error);
    return status == TAPE_OK ? 0 : stream_fail(t, status);
}

static int stream_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
    stream *t = self->private_data;
    memset(out, 0, sizeof *out);
    if (t->ended) {
        return errno_of(t->error.status);
    }
    tape_status status = duck_result_arrow_next(t->result, out, &t->error);
    if (status != TAPE_OK) {
        return stream_fail(t, status);
    }
    if (out->release == NULL) {
        t->ended = true;
        (void)session_ended(t->query, t->session);
    }
    return 0;
}

static const char *stream_last_error(struct ArrowArrayStream *self) {
    stream *t = self->private_data;
    return t->error.status == TAPE_OK ? NULL : t->error.text;
}

static void stream_release(struct ArrowArrayStream *self) {
    stream *t = self->private_data;
    (void)session_ended(t->query, t->session);
    duck_result_close(&t->result);
    statement_end(t->session);
    session_release(t->query, t->session);
    free(t);
    *self = (struct ArrowArrayStream){0};
}

void stream_open(query *q, session *s, duck_result *result, int64_t timeout_ns,
                 struct ArrowArrayStream *out) {
    stream *t = mem_zalloc(sizeof *t);
    t->query = q;
    t->session = s;
    t->result = result;
    t->timeout_ns = timeout_ns;
    *out = (struct ArrowArrayStream){.get_schema = stream_schema,
                                     .get_next = stream_next,
                                     .get_last_error = stream_last_error,
                                     .release = stream_release,
                                     .private_data = t};
}
