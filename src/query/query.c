/* Query: which way a statement goes.
 *
 * A statement seen before has a plan, which tells whether the store answers it or a kept result
 * may. Everything else takes a session; a statement not seen before is admitted there first. */
#include "query/query_internal.h"

/* Ways that need no session. *done: there is an answer, or there will be none (the status). */
static tape_status run_without_session(query *q, plan *p, uint64_t seq,
                                       const tape_query_options *options,
                                       struct ArrowArrayStream *out, bool *done,
                                       tape_error *error) {
    bool leave = true;
    tape_status status = TAPE_OK;
    if (p->point != NULL) {
        status = p->explain ? explain_point(q, p, seq, options, out, &leave, error)
                            : point_run(q, p, seq, options, out, &leave, error);
    }
    *done = !leave || status != TAPE_OK;
    return status;
}

static tape_status find_result(query *q, const plan *p, uint64_t seq,
                               const tape_query_options *options, int64_t deadline_ns,
                               struct ArrowArrayStream *out, bool *done, tape_error *error) {
    columns_pin *pin = NULL;
    archive_view *view = NULL;
    const result_key key = {
        .plan = p, .params = options->params, .param_count = options->param_count};
    *done = false;
    if (q->results == NULL || options->no_cache || !p->keepable || p->explain) {
        return TAPE_OK;
    }
    if (p->relations != 0) {
        tape_status status = query_reach(q, seq, options, deadline_ns, error);
        if (status != TAPE_OK) {
            *done = true;
            return status;
        }
        pin = columns_pin_open(q->options.columns);
        view = q->options.archive == NULL ? NULL : archive_view_open(q->options.archive);
    }
    kept_result *kept = results_find(q->results, &key, seq, q->options.columns, pin, view);
    archive_view_close(&view);
    columns_pin_close(&pin);
    if (kept != NULL) {
        atomic_fetch_add_explicit(&q->from_cache, 1, memory_order_relaxed);
        kept_result_stream(kept, out);
        *done = true;
    }
    return TAPE_OK;
}

/* A plan for a statement that was not seen before. */
static tape_status learn(query *q, session *s, const char *sql, plan **out, tape_error *error) {
    admitted a;
    *out = NULL;
    tape_status status = admit(s->duck, &q->forbidden, sql, true, &a, error);
    if (status != TAPE_OK) {
        return status;
    }
    plan *p = plan_make(sql, &a.tree, &atomic_load(&q->names)->functions);
    p->explain = a.explain != EXPLAIN_NOT;
    p->analyze = a.explain == EXPLAIN_ANALYZE;
    admitted_deinit(&a);
    plan_settle(p, s->duck);
    *out = p;
    return TAPE_OK;
}

static tape_status run_in_session(query *q, session *s, const plan *p, uint64_t seq,
                                  const tape_query_options *options, int64_t deadline_ns,
                                  struct ArrowArrayStream *out, tape_error *error) {
    stream_start start = {.query = q, .session = s, .timeout_ns = options->timeout_ns};
    const result_key key = {
        .plan = p, .params = options->params, .param_count = options->param_count};
    tape_status status = statement_start(q, s, p, seq, options, deadline_ns, &start.result, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (q->results != NULL) {
        start.keep = results_begin(q->results, &key, seq, q->options.columns, s->pin, s->view);
    }
    if (p->explain) {
        explain_route(s, p, seq, &start.head);
    }
    stream_open(&start, out);
    return TAPE_OK;
}

tape_status query_run(query *q, const char *sql, uint64_t seq, const tape_query_options *options,
                      struct ArrowArrayStream *out, tape_error *error) {
    int64_t deadline_ns = clock_deadline_ns(options->timeout_ns);
    session *s = NULL;
    bool done = false;
    bool learnt = false;
    tape_status status = TAPE_OK;
    *out = (struct ArrowArrayStream){0};
    atomic_fetch_add_explicit(&q->statements, 1, memory_order_relaxed);
    plan *p = plans_find(q->plans, sql);
    if (p != NULL) {
        status = run_without_session(q, p, seq, options, out, &done, error);
        if (!done) {
            status = find_result(q, p, seq, options, deadline_ns, out, &done, error);
        }
        if (done) {
            goto out;
        }
    }
    status = session_acquire(q, options, deadline_ns, &s, error);
    if (status != TAPE_OK) {
        goto out;
    }
    if (p == NULL) {
        status = learn(q, s, sql, &p, error);
        learnt = status == TAPE_OK;
        if (learnt) {
            status = run_without_session(q, p, seq, options, out, &done, error);
        }
    }
    if (status == TAPE_OK && !done) {
        status = run_in_session(q, s, p, seq, options, deadline_ns, out, error);
        s = status == TAPE_OK ? NULL : s; /* the stream's now */
    }
    /* What was interrupted while it was learnt may not be all there is to know. */
    if (status == TAPE_OK && learnt) {
        plans_keep(q->plans, p);
    }
    if (status != TAPE_OK) {
        status = session_failed(q, s, status, options->timeout_ns, error);
    }
    if (s != NULL) {
        (void)session_ended(q, s);
        session_release(q, s);
    }
out:
    plan_release(p);
    return status;
}
