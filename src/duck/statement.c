/* Duck: statements that are prepared once and run any number of times.
 *
 * Invariants
 *  P1 The values of a run stay bound until the next run, so that the run can be repeated for the
 *     reason alone.
 *  P2 A statement has one run at a time: its result is closed before the next one starts.
 *  P3 What DuckDB may answer by an ASOF join or an IE join runs once and is then prepared anew: in
 *     DuckDB 1.5 those operators keep their state from run to run, and the second run fails with an
 *     error that invalidates the whole database. The text alone decides: it may be prepared anew
 *     without need, never the reverse.
 * Threads: one at a time, the session's. */
#include "duck/duck_internal.h"

#include <stdlib.h>
#include <string.h>

#define REASON_ATTEMPTS 5

/* How often any of `what` is in `text`, without regard to case. */
static size_t count_text(const char *text, const char *what) {
    size_t count = 0;
    for (const char *at = text; (at = strcasestr(at, what)) != NULL; at += strlen(what)) {
        count++;
    }
    return count;
}

/* P3: an IE join takes two relations and two inequalities. */
static bool runs_once(const char *sql) {
    const char *from = strcasestr(sql, "from");
    if (from == NULL) {
        return false;
    }
    if (count_text(sql, "asof") > 0) {
        return true;
    }
    bool several = strchr(from, ',') != NULL || count_text(from, "join") > 0 ||
                   count_text(sql, "from") > 1 || count_text(sql, "table") > 0;
    size_t bounds = 2 * count_text(sql, "between") + count_text(sql, "<") + count_text(sql, ">");
    return several && bounds >= 2;
}

static tape_status prepare(duck_statement *st, const char *sql, tape_error *error) {
    if (duckdb_prepare(st->session->connection, sql, &st->prepared) != DuckDBSuccess) {
        return duck_fail(error, duckdb_prepare_error(st->prepared));
    }
    st->param_count = duckdb_nparams(st->prepared);
    return TAPE_OK;
}

static void drop_values(duck_statement *st) {
    for (size_t n = 0; n < st->value_count; n++) {
        if (st->values[n].type == TAPE_TYPE_TEXT) {
            free((void *)(uintptr_t)st->values[n].text.data);
        }
    }
    free(st->values);
    st->values = NULL;
    st->value_count = 0;
}

tape_status duck_statement_prepare(duck_session *s, const char *sql, duck_statement **out,
                                   tape_error *error) {
    duck_statement *st = mem_zalloc(sizeof *st);
    *out = NULL;
    st->session = s;
    tape_status status = prepare(st, sql, error);
    if (status != TAPE_OK) {
        duck_statement_close(&st);
        return status;
    }
    st->once_sql = runs_once(sql) ? mem_strdup(sql) : NULL;
    *out = st;
    return TAPE_OK;
}

size_t duck_statement_params(const duck_statement *st) {
    return st->param_count;
}

void duck_statement_close(duck_statement **handle) {
    duck_statement *st = *handle;
    *handle = NULL;
    if (st == NULL) {
        return;
    }
    duckdb_destroy_prepare(&st->prepared);
    drop_values(st);
    free(st->once_sql);
    free(st);
}

/* --- values --- */

static duckdb_state bind_time(duck_statement *st, idx_t index, int64_t ns) {
    duckdb_value value = duckdb_create_timestamp_ns((duckdb_timestamp_ns){.nanos = ns});
    duckdb_state state = duckdb_bind_value(st->prepared, index, value);
    duckdb_destroy_value(&value);
    return state;
}

static duckdb_state bind_one(duck_statement *st, idx_t index, const tape_value *v) {
    if (v->is_null) {
        return duckdb_bind_null(st->prepared, index);
    }
    switch (v->type) {
    case TAPE_TYPE_BOOL:
        return duckdb_bind_boolean(st->prepared, index, v->boolean);
    case TAPE_TYPE_INT64:
        return duckdb_bind_int64(st->prepared, index, v->int64);
    case TAPE_TYPE_UINT64:
        return duckdb_bind_uint64(st->prepared, index, v->uint64);
    case TAPE_TYPE_DOUBLE:
        return duckdb_bind_double(st->prepared, index, v->real);
    case TAPE_TYPE_TEXT:
        return duckdb_bind_varchar_length(
            st->prepared, index, v->text.data == NULL ? "" : v->text.data, v->text.size_bytes);
    case TAPE_TYPE_TIME:
        return bind_time(st, index, v->int64);
    }
    return DuckDBError;
}

static tape_status bind_fail(const duck_statement *st, size_t index, const tape_value *v,
                             tape_error *error) {
    const char *text = duckdb_prepare_error(st->prepared);
    if (!v->is_null && (v->type < TAPE_TYPE_BOOL || v->type > TAPE_TYPE_TIME)) {
        return error_set(error, TAPE_INVALID, "the value of parameter $%zu has no known type: %d",
                         index, (int)v->type);
    }
    if (text != NULL && *text != '\0') {
        return duck_fail(error, text);
    }
    return error_set(error, TAPE_SQL, "the value of parameter $%zu is not taken", index);
}

static void keep_values(duck_statement *st, const tape_value *params, size_t count) {
    drop_values(st);
    st->values = mem_zalloc((count + 1) * sizeof *st->values);
    st->value_count = count;
    for (size_t n = 0; n < count; n++) {
        st->values[n] = params[n];
        if (params[n].type == TAPE_TYPE_TEXT) {
            char *copy = mem_alloc(params[n].text.size_bytes + 1);
            if (!params[n].is_null && params[n].text.size_bytes > 0) {
                memcpy(copy, params[n].text.data, params[n].text.size_bytes);
            }
            st->values[n].text.data = copy;
        }
    }
}

static tape_status bind_values(duck_statement *st, const tape_value *params, size_t count,
                               tape_error *error) {
    for (size_t n = 0; n < count; n++) {
        if (bind_one(st, n + 1, &params[n]) != DuckDBSuccess) {
            return bind_fail(st, n + 1, &params[n], error);
        }
    }
    return TAPE_OK;
}

static tape_status prepare_anew(duck_statement *st, tape_error *error) {
    duckdb_destroy_prepare(&st->prepared);
    st->spent = false;
    tape_status status = prepare(st, st->once_sql, error);
    st->spent = status != TAPE_OK;
    return status;
}

tape_status duck_statement_bind(duck_statement *st, const tape_value *params, size_t count,
                                tape_error *error) {
    if (count != st->param_count) {
        if (count == 0) {
            return error_set(error, TAPE_SQL,
                             "the statement has parameters, but no values were given");
        }
        return error_set(error, TAPE_SQL, "the statement has %zu parameters, not %zu",
                         st->param_count, count);
    }
    if (st->once_sql != NULL && st->spent) {
        tape_status status = prepare_anew(st, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    tape_status status = bind_values(st, params, count, error);
    if (status == TAPE_OK && st->once_sql != NULL) {
        keep_values(st, params, count);
    }
    return status;
}

/* --- runs --- */

tape_status duck_execution_start(duck_execution *run, duck_statement *st, tape_error *error) {
    st->spent = true;
    duck_forget_progress(st->session);
    if (duckdb_pending_prepared_streaming(st->prepared, &run->pending) != DuckDBSuccess) {
        return duck_fail(error, duckdb_pending_error(run->pending));
    }
    if (duckdb_execute_pending(run->pending, &run->result) != DuckDBSuccess) {
        return duck_fail(error, duckdb_result_error(&run->result));
    }
    return TAPE_OK;
}

void duck_execution_end(duck_execution *run) {
    duckdb_destroy_result(&run->result);
    duckdb_destroy_pending(&run->pending);
}

/* Reads a result to its end without looking at it. */
static tape_status drain(duck_execution *run, tape_error *error) {
    for (;;) {
        duckdb_data_chunk chunk = duckdb_stream_fetch_chunk(run->result);
        if (chunk == NULL) {
            const char *text = duckdb_result_error(&run->result);
            return text == NULL ? TAPE_OK : duck_fail(error, text);
        }
        duckdb_destroy_data_chunk(&chunk);
    }
}

static tape_status run_again(duck_statement *st, tape_error *error) {
    duck_execution again = {0};
    if (st->once_sql != NULL) {
        tape_status status = prepare_anew(st, error);
        if (status == TAPE_OK) {
            status = bind_values(st, st->values, st->value_count, error);
        }
        if (status != TAPE_OK) {
            return status;
        }
    }
    tape_status status = duck_execution_start(&again, st, error);
    if (status == TAPE_OK) {
        status = drain(&again, error);
    }
    duck_execution_end(&again);
    return status;
}

/* When one of DuckDB's threads fails, it interrupts the others, and now and then a run ends with
 * that interrupt in place of the reason. The statement sees the same rows when it is run again, so
 * it fails again, and then most often says why. */
tape_status duck_statement_find_reason(duck_statement *st, tape_error *error) {
    for (int attempt = 0; attempt < REASON_ATTEMPTS; attempt++) {
        tape_status status = run_again(st, error);
        bool told = status != TAPE_OK && status != TAPE_CANCELLED;
        if (told || atomic_load(&st->session->interrupted)) {
            return status == TAPE_OK ? TAPE_CANCELLED : status;
        }
    }
    return error_set(error, TAPE_SQL,
                     "the statement failed while it ran, for a reason DuckDB lost");
}
