/* Duck: what SQL asks about archived rows whose place newer versions have taken.
 *
 *   tape_newest(table, seq)         scalar, BOOLEAN
 *   tape_superseded_by(table, seq)  scalar, UBIGINT
 *   tape_superseded(table)          table function: seq, superseded_by
 *
 * Invariants
 *  F1 A scalar function's session is found when it is bound; the seq at which it looks is read from
 *     the session when it is executed: a bound plan may be run again at a later seq. While a
 *     statement runs its session's seq stays, so all calls of one run see the same.
 *  F2 They are not volatile, so a statement's other filters still reach the Parquet files. DuckDB
 *     may then work out a call with constant arguments when it plans; the archive's statements give
 *     a column.
 * Threads: calls come on DuckDB's threads, several at once, and only read. */
#include "duck/duck_internal.h"

#include <stdlib.h>

#define VECTOR_ROWS 2048u

typedef struct scalar_bind {
    const columns *columns;
    duck_session *session;
    uint16_t table;
} scalar_bind;

/* --- tape_newest and tape_superseded_by --- */

static void *scalar_bind_copy(void *from) {
    scalar_bind *copy = mem_alloc(sizeof *copy);
    DUCK_TAKE_OVER(from);
    *copy = *(const scalar_bind *)from;
    DUCK_HAND_ON(copy);
    return copy;
}

/* The text a scalar function's first argument is, when it is a constant; caller frees. */
static char *constant_text(duckdb_bind_info info) {
    duckdb_expression argument = duckdb_scalar_function_bind_get_argument(info, 0);
    duckdb_client_context context;
    duckdb_value value = NULL;
    char *text = NULL;
    duckdb_scalar_function_get_client_context(info, &context);
    if (duckdb_expression_is_foldable(argument)) {
        duckdb_error_data failed = duckdb_expression_fold(context, argument, &value);
        if (value != NULL && !duckdb_is_null_value(value)) {
            text = duckdb_get_varchar(value);
        }
        duckdb_destroy_error_data(&failed);
    }
    duckdb_destroy_value(&value);
    duckdb_destroy_client_context(&context);
    duckdb_destroy_expression(&argument);
    return text;
}

static void scalar_bind_run(duckdb_bind_info info) {
    duck *d = duckdb_scalar_function_bind_get_extra_info(info);
    char *name = constant_text(info);
    const tape_table_info *table = name == NULL ? NULL : record_table_named(name);
    duck_session *session = duck_scalar_bound_session(d, info);
    duckdb_free(name);
    if (table == NULL || table->kind != TAPE_KIND_ENTITY || session == NULL) {
        duckdb_scalar_function_bind_set_error(
            info, "the first argument must be the name of a table whose rows are superseded");
        return;
    }
    scalar_bind *bind = mem_alloc(sizeof *bind);
    *bind = (scalar_bind){.columns = d->columns, .session = session, .table = table->id};
    DUCK_HAND_ON(bind);
    duckdb_scalar_function_set_bind_data(info, bind, free);
    duckdb_scalar_function_set_bind_data_copy(info, scalar_bind_copy);
}

static uint64_t seen_seq(const duck_session *s) {
    return atomic_load_explicit(&s->seq, memory_order_acquire);
}

/* DuckDB calls for rows of NULL as well; their result is NULL. */
static void copy_nulls(duckdb_vector from, duckdb_vector to, idx_t rows) {
    uint64_t *validity = duckdb_vector_get_validity(from);
    if (validity != NULL) {
        duckdb_vector_ensure_validity_writable(to);
        memcpy(duckdb_vector_get_validity(to), validity, (rows + 63) / 64 * sizeof *validity);
    }
}

static void newest_run(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output) {
    scalar_bind *bind = duckdb_scalar_function_get_bind_data(info);
    DUCK_TAKE_OVER(bind);
    idx_t rows = duckdb_data_chunk_get_size(input);
    duckdb_vector seqs = duckdb_data_chunk_get_vector(input, 1);
    columns_archived_newest(bind->columns, bind->table, duckdb_vector_get_data(seqs),
                            (uint32_t)rows, seen_seq(bind->session),
                            duckdb_vector_get_data(output));
    copy_nulls(seqs, output, rows);
    DUCK_HAND_ON(&bind->session->after);
}

static void superseded_by_run(duckdb_function_info info, duckdb_data_chunk input,
                              duckdb_vector output) {
    scalar_bind *bind = duckdb_scalar_function_get_bind_data(info);
    DUCK_TAKE_OVER(bind);
    idx_t rows = duckdb_data_chunk_get_size(input);
    duckdb_vector from = duckdb_data_chunk_get_vector(input, 1);
    const uint64_t *seqs = duckdb_vector_get_data(from);
    uint64_t *by = duckdb_vector_get_data(output);
    uint64_t seq = seen_seq(bind->session);
    copy_nulls(from, output, rows);
    duckdb_vector_ensure_validity_writable(output);
    uint64_t *validity = duckdb_vector_get_validity(output);
    for (idx_t i = 0; i < rows; i++) {
        by[i] = columns_superseded_by(bind->columns, bind->table, seqs[i], seq);
        if (by[i] == 0) {
            duckdb_validity_set_row_invalid(validity, i);
        }
    }
    DUCK_HAND_ON(&bind->session->after);
}

static bool register_scalar(duck *d, duckdb_connection connection, const char *name,
                            duckdb_type result, duckdb_scalar_function_t run) {
    duckdb_scalar_function f = duckdb_create_scalar_function();
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_UBIGINT);
    duckdb_logical_type returned = duckdb_create_logical_type(result);
    duckdb_scalar_function_set_name(f, name);
    duckdb_scalar_function_add_parameter(f, text);
    duckdb_scalar_function_add_parameter(f, number);
    duckdb_scalar_function_set_return_type(f, returned);
    duckdb_scalar_function_set_extra_info(f, d, NULL);
    duckdb_scalar_function_set_bind(f, scalar_bind_run);
    duckdb_scalar_function_set_function(f, run);
    bool done = duckdb_register_scalar_function(connection, f) == DuckDBSuccess;
    duckdb_destroy_logical_type(&returned);
    duckdb_destroy_logical_type(&number);
    duckdb_destroy_logical_type(&text);
    duckdb_destroy_scalar_function(&f);
    return done;
}

/* --- tape_superseded --- */

typedef struct pairs_bind {
    const columns *columns;
    duck_session *session;
    uint16_t table;
} pairs_bind;

typedef struct pairs_scan {
    uint64_t from, to;
    uint64_t done;
    columns_superseded pairs[VECTOR_ROWS];
    idx_t output_count;
    idx_t outputs[2]; /* by output column: 0 seq, 1 superseded_by, anything else neither */
} pairs_scan;

static void pairs_bind_run(duckdb_bind_info info) {
    duck *d = duckdb_bind_get_extra_info(info);
    const tape_table_info *table = duck_bound_table(info, "tape_superseded");
    if (table == NULL) {
        return;
    }
    if (table->kind != TAPE_KIND_ENTITY) {
        duckdb_bind_set_error(info, "tape_superseded: no rows of the table are superseded");
        return;
    }
    duck_bind_column(info, "seq", DUCKDB_TYPE_UBIGINT);
    duck_bind_column(info, "superseded_by", DUCKDB_TYPE_UBIGINT);
    pairs_bind *bind = mem_zalloc(sizeof *bind);
    bind->columns = d->columns;
    bind->session = duck_bound_session(d, info);
    bind->table = table->id;
    DUCK_HAND_ON(bind);
    duckdb_bind_set_bind_data(info, bind, free);
}

static void pairs_init_run(duckdb_init_info info) {
    pairs_bind *bind = duckdb_init_get_bind_data(info);
    DUCK_TAKE_OVER(bind);
    pairs_scan *scan = mem_zalloc(sizeof *scan);
    scan->from = atomic_load_explicit(&bind->session->after, memory_order_relaxed);
    scan->to = seen_seq(bind->session);
    scan->output_count = duckdb_init_get_column_count(info);
    ASSERT(scan->output_count <= COUNT_OF(scan->outputs));
    for (idx_t n = 0; n < scan->output_count; n++) {
        scan->outputs[n] = duckdb_init_get_column_index(info, n);
    }
    DUCK_HAND_ON(scan);
    duckdb_init_set_init_data(info, scan, free);
}

static void pairs_run(duckdb_function_info info, duckdb_data_chunk output) {
    const pairs_bind *bind = duckdb_function_get_bind_data(info);
    pairs_scan *scan = duckdb_function_get_init_data(info);
    DUCK_TAKE_OVER(scan);
    size_t count = columns_superseded_read(bind->columns, bind->table, scan->from, scan->to,
                                           scan->done, scan->pairs, VECTOR_ROWS);
    for (idx_t n = 0; n < scan->output_count; n++) {
        if (scan->outputs[n] > 1) {
            continue;
        }
        uint64_t *to = duckdb_vector_get_data(duckdb_data_chunk_get_vector(output, n));
        for (size_t i = 0; i < count; i++) {
            to[i] = scan->outputs[n] == 0 ? scan->pairs[i].seq : scan->pairs[i].by;
        }
    }
    scan->done += count;
    duckdb_data_chunk_set_size(output, count);
    DUCK_HAND_ON(scan);
    DUCK_HAND_ON(&bind->session->after);
}

static bool register_pairs(duck *d, duckdb_connection connection) {
    duckdb_table_function f = duckdb_create_table_function();
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_table_function_set_name(f, "tape_superseded");
    duckdb_table_function_add_parameter(f, text);
    duckdb_table_function_set_extra_info(f, d, NULL);
    duckdb_table_function_set_bind(f, pairs_bind_run);
    duckdb_table_function_set_init(f, pairs_init_run);
    duckdb_table_function_set_function(f, pairs_run);
    duckdb_table_function_supports_projection_pushdown(f, true);
    bool done = duckdb_register_table_function(connection, f) == DuckDBSuccess;
    duckdb_destroy_logical_type(&text);
    duckdb_destroy_table_function(&f);
    return done;
}

bool duck_register_superseded(duck *d, duckdb_connection connection) {
    return register_scalar(d, connection, "tape_newest", DUCKDB_TYPE_BOOLEAN, newest_run) &&
           register_scalar(d, connection, "tape_superseded_by", DUCKDB_TYPE_UBIGINT,
                           superseded_by_run) &&
           register_pairs(d, connection);
}
