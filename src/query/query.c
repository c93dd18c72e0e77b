/* Query: which way a statement goes. */
#include "query/query_internal.h"

#include <stdlib.h>

static tape_status run_in_session(query *q, session *s, const char *sql, uint64_t seq,
                                  const tape_query_options *options, int64_t deadline_ns,
                                  duck_result **result, tape_error *error) {
    admitted a;
    tape_status status = admit(s->duck, &q->forbidden, sql, true, &a, error);
    if (status != TAPE_OK) {
        return status;
    }
    plan *p = plan_make(sql, a.tree, &q->functions);
    free(a.tree);
    status = statement_start(q, s, p, seq, options, deadline_ns, result, error);
    plan_free(p);
    return status;
}

tape_status query_run(query *q, const char *sql, uint64_t seq, const tape_query_options *options,
                      struct ArrowArrayStream *out, tape_error *error) {
    int64_t deadline_ns = clock_deadline_ns(options->timeout_ns);
    session *s;
    duck_result *result = NULL;
    *out = (struct ArrowArrayStream){0};
    atomic_fetch_add_explicit(&q->statements, 1, memory_order_relaxed);
    tape_status status = session_acquire(q, options, deadline_ns, &s, error);
    if (status != TAPE_OK) {
        return status;
    }
    status = run_in_session(q, s, sql, seq, options, deadline_ns, &result, error);
    if (status != TAPE_OK) {
        status = session_failed(q, s, status, options->timeout_ns, error);
        session_release(q, s);
        return status;
    }
    stream_open(q, s, result, options->timeout_ns, out);
    return TAPE_OK;
}
