/* Duck: results, as Arrow or as values.
 *
 * Invariants
 *  E1 A result is read either as Arrow or as values, never both.
 *  E2 Arrow arrays handed out own their memory: they outlive result, session and database.
 *  E3 What only readers of values need is worked out when the first of them asks.
 * Threads: one at a time; DuckDB's own threads run ahead by its streaming buffer. */
#include "duck/duck_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_US INT64_C(1000)
#define NS_PER_DAY (INT64_C(86400) * NS_PER_SECOND)

/* How to read the elements of a vector of one type. */
typedef struct reader {
    duckdb_type type; /* physical, for decimals and enums */
    duckdb_type logical;
    duck_kind kind;
    uint8_t scale;
    int64_t unit_ns;
    uint64_t array_size; /* 0: a list */
    char **names;        /* of an enum */
    uint32_t name_count;
} reader;

typedef struct vector {
    const void *data;
    const uint64_t *validity; /* NULL: all valid */
} vector;

struct duck_result {
    duck_statement *statement;
    bool owned; /* the statement ends with the result */
    duck_execution run;
    duckdb_arrow_options arrow;
    duckdb_data_chunk chunk;
    idx_t column_count;
    duck_column *columns;
    reader *readers;  /* by column */
    reader *elements; /* by column, for lists */
    vector *vectors;
    vector *children;
    char **names; /* sql_type texts that had to be made */
};

/* --- types --- */

static const char *type_name(duckdb_type type) {
    static const char *const NAMES[] = {
        [DUCKDB_TYPE_BOOLEAN] = "BOOLEAN",
        [DUCKDB_TYPE_TINYINT] = "TINYINT",
        [DUCKDB_TYPE_SMALLINT] = "SMALLINT",
        [DUCKDB_TYPE_INTEGER] = "INTEGER",
        [DUCKDB_TYPE_BIGINT] = "BIGINT",
        [DUCKDB_TYPE_UTINYINT] = "UTINYINT",
        [DUCKDB_TYPE_USMALLINT] = "USMALLINT",
        [DUCKDB_TYPE_UINTEGER] = "UINTEGER",
        [DUCKDB_TYPE_UBIGINT] = "UBIGINT",
        [DUCKDB_TYPE_FLOAT] = "FLOAT",
        [DUCKDB_TYPE_DOUBLE] = "DOUBLE",
        [DUCKDB_TYPE_TIMESTAMP] = "TIMESTAMP",
        [DUCKDB_TYPE_DATE] = "DATE",
        [DUCKDB_TYPE_TIME] = "TIME",
        [DUCKDB_TYPE_INTERVAL] = "INTERVAL",
        [DUCKDB_TYPE_HUGEINT] = "HUGEINT",
        [DUCKDB_TYPE_UHUGEINT] = "UHUGEINT",
        [DUCKDB_TYPE_VARCHAR] = "VARCHAR",
        [DUCKDB_TYPE_BLOB] = "BLOB",
        [DUCKDB_TYPE_DECIMAL] = "DECIMAL",
        [DUCKDB_TYPE_TIMESTAMP_S] = "TIMESTAMP_S",
        [DUCKDB_TYPE_TIMESTAMP_MS] = "TIMESTAMP_MS",
        [DUCKDB_TYPE_TIMESTAMP_NS] = "TIMESTAMP_NS",
        [DUCKDB_TYPE_ENUM] = "ENUM",
        [DUCKDB_TYPE_LIST] = "LIST",
        [DUCKDB_TYPE_STRUCT] = "STRUCT",
        [DUCKDB_TYPE_MAP] = "MAP",
        [DUCKDB_TYPE_UUID] = "UUID",
        [DUCKDB_TYPE_UNION] = "UNION",
        [DUCKDB_TYPE_BIT] = "BIT",
        [DUCKDB_TYPE_TIME_TZ] = "TIMETZ",
        [DUCKDB_TYPE_TIMESTAMP_TZ] = "TIMESTAMPTZ",
        [DUCKDB_TYPE_ARRAY] = "ARRAY",
        [DUCKDB_TYPE_SQLNULL] = "NULL",
    };
    size_t index = (size_t)type;
    return index < COUNT_OF(NAMES) && NAMES[index] != NULL ? NAMES[index] : "another type";
}

static void reader_init_enum(reader *r, duckdb_logical_type type) {
    r->kind = DUCK_TEXT;
    r->type = duckdb_enum_internal_type(type);
    r->name_count = duckdb_enum_dictionary_size(type);
    r->names = mem_zalloc(r->name_count * sizeof *r->names);
    for (uint32_t n = 0; n < r->name_count; n++) {
        char *text = duckdb_enum_dictionary_value(type, n);
        r->names[n] = mem_strdup(text);
        duckdb_free(text);
    }
}

static void reader_init(reader *r, duckdb_logical_type type) {
    r->type = r->logical = duckdb_get_type_id(type);
    r->kind = DUCK_OTHER;
    switch (r->type) {
    case DUCKDB_TYPE_TINYINT:
    case DUCKDB_TYPE_SMALLINT:
    case DUCKDB_TYPE_INTEGER:
    case DUCKDB_TYPE_BIGINT:
    case DUCKDB_TYPE_UTINYINT:
    case DUCKDB_TYPE_USMALLINT:
    case DUCKDB_TYPE_UINTEGER:
    case DUCKDB_TYPE_UBIGINT:
    case DUCKDB_TYPE_HUGEINT:
    case DUCKDB_TYPE_UHUGEINT:
        r->kind = DUCK_INTEGER;
        break;
    case DUCKDB_TYPE_DECIMAL:
        r->kind = DUCK_DECIMAL;
        r->type = duckdb_decimal_internal_type(type);
        r->scale = duckdb_decimal_scale(type);
        break;
    case DUCKDB_TYPE_FLOAT:
    case DUCKDB_TYPE_DOUBLE:
        r->kind = DUCK_REAL;
        break;
    case DUCKDB_TYPE_VARCHAR:
        r->kind = DUCK_TEXT;
        break;
    case DUCKDB_TYPE_ENUM:
        reader_init_enum(r, type);
        break;
    case DUCKDB_TYPE_DATE:
        r->kind = DUCK_TIME;
        r->unit_ns = NS_PER_DAY;
        break;
    case DUCKDB_TYPE_TIMESTAMP_S:
        r->kind = DUCK_TIME;
        r->unit_ns = NS_PER_SECOND;
        break;
    case DUCKDB_TYPE_TIMESTAMP_MS:
        r->kind = DUCK_TIME;
        r->unit_ns = NS_PER_MS;
        break;
    case DUCKDB_TYPE_TIMESTAMP:
    case DUCKDB_TYPE_TIMESTAMP_TZ:
        r->kind = DUCK_TIME;
        r->unit_ns = NS_PER_US;
        break;
    case DUCKDB_TYPE_TIMESTAMP_NS:
        r->kind = DUCK_TIME;
        r->unit_ns = 1;
        break;
    case DUCKDB_TYPE_LIST:
        r->kind = DUCK_LIST;
        break;
    case DUCKDB_TYPE_ARRAY:
        r->kind = DUCK_LIST;
        r->array_size = duckdb_array_type_array_size(type);
        break;
    case DUCKDB_TYPE_SQLNULL:
        r->kind = DUCK_NULL;
        break;
    default:
        break;
    }
}

static void reader_deinit(reader *r) {
    for (uint32_t n = 0; n < r->name_count; n++) {
        free(r->names[n]);
    }
    free(r->names);
}

static void column_init(duck_result *r, idx_t index) {
    duck_column *column = &r->columns[index];
    duckdb_logical_type type = duckdb_column_logical_type(&r->run.result, index);
    reader_init(&r->readers[index], type);
    column->name = duckdb_column_name(&r->run.result, index);
    column->kind = r->readers[index].kind;
    column->sql_type = type_name(r->readers[index].logical);
    if (column->kind == DUCK_LIST) {
        duckdb_logical_type child = r->readers[index].array_size > 0
                                        ? duckdb_array_type_child_type(type)
                                        : duckdb_list_type_child_type(type);
        reader_init(&r->elements[index], child);
        column->element = r->elements[index].kind;
        r->names[index] = mem_printf("%s[]", type_name(r->elements[index].logical));
        column->sql_type = r->names[index];
        duckdb_destroy_logical_type(&child);
    }
    duckdb_destroy_logical_type(&type);
}

static void columns_init(duck_result *r) {
    r->column_count = duckdb_column_count(&r->run.result);
    r->columns = mem_zalloc(r->column_count * sizeof *r->columns);
    r->readers = mem_zalloc(r->column_count * sizeof *r->readers);
    r->elements = mem_zalloc(r->column_count * sizeof *r->elements);
    r->vectors = mem_zalloc(r->column_count * sizeof *r->vectors);
    r->children = mem_zalloc(r->column_count * sizeof *r->children);
    r->names = mem_zalloc(r->column_count * sizeof *r->names);
    for (idx_t n = 0; n < r->column_count; n++) {
        column_init(r, n);
    }
}

static void columns_deinit(duck_result *r) {
    for (idx_t n = 0; n < r->column_count; n++) {
        reader_deinit(&r->readers[n]);
        reader_deinit(&r->elements[n]);
        free(r->names[n]);
    }
    free(r->columns);
    free(r->readers);
    free(r->elements);
    free(r->vectors);
    free(r->children);
    free(r->names);
}

/* --- start and end --- */

tape_status duck_statement_start(duck_statement *st, const tape_value *params, size_t param_count,
                                 duck_result **out, tape_error *error) {
    *out = NULL;
    tape_status status = duck_statement_bind(st, params, param_count, error);
    if (status != TAPE_OK) {
        return status;
    }
    duck_result *r = mem_zalloc(sizeof *r);
    r->statement = st;
    atomic_store(&st->session->interrupted, false);
    status = duck_execution_start(&r->run, st, error);
    if (status == TAPE_CANCELLED && !atomic_load(&st->session->interrupted)) {
        duck_execution_end(&r->run);
        status = duck_statement_find_reason(st, error);
    }
    if (status != TAPE_OK) {
        duck_result_close(&r);
    }
    *out = r;
    return status;
}

tape_status duck_session_start(duck_session *s, const char *sql, duck_result **out,
                               tape_error *error) {
    duck_statement *st;
    *out = NULL;
    tape_status status = duck_statement_prepare(s, sql, &st, error);
    if (status != TAPE_OK) {
        return status;
    }
    status = duck_statement_start(st, NULL, 0, out, error);
    if (status != TAPE_OK) {
        duck_statement_close(&st);
    } else {
        (*out)->owned = true;
    }
    return status;
}

void duck_result_close(duck_result **handle) {
    duck_result *r = *handle;
    *handle = NULL;
    if (r == NULL) {
        return;
    }
    duckdb_destroy_data_chunk(&r->chunk);
    duck_execution_end(&r->run);
    DUCK_TAKE_OVER(&r->statement->session->after); /* from functions that ran for it */
    duck_forget_progress(r->statement->session);
    duckdb_destroy_arrow_options(&r->arrow);
    columns_deinit(r);
    if (r->owned) {
        duck_statement_close(&r->statement);
    }
    free(r);
}

/* The next chunk with rows in it, or NULL in r->chunk at the end. */
static tape_status next_chunk(duck_result *r, tape_error *error) {
    do {
        duckdb_destroy_data_chunk(&r->chunk);
        r->chunk = duckdb_stream_fetch_chunk(r->run.result);
        if (r->chunk == NULL) {
            const char *text = duckdb_result_error(&r->run.result);
            tape_status status = text == NULL ? TAPE_OK : duck_fail(error, text);
            if (status == TAPE_CANCELLED && !atomic_load(&r->statement->session->interrupted)) {
                status = duck_statement_find_reason(r->statement, error);
            }
            return status;
        }
    } while (duckdb_data_chunk_get_size(r->chunk) == 0);
    return TAPE_OK;
}

/* --- Arrow --- */

static tape_status fail_of_data(duckdb_error_data *data, tape_error *error) {
    tape_status status = TAPE_OK;
    if (*data != NULL && duckdb_error_data_has_error(*data)) {
        status = duck_fail(error, duckdb_error_data_message(*data));
    }
    duckdb_destroy_error_data(data);
    return status;
}

static void arrow_options(duck_result *r) {
    if (r->arrow == NULL) {
        duckdb_connection_get_arrow_options(r->statement->session->connection, &r->arrow);
    }
}

tape_status duck_result_arrow_schema(duck_result *r, struct ArrowSchema *out, tape_error *error) {
    idx_t count = duckdb_column_count(&r->run.result);
    duckdb_logical_type *types = mem_zalloc(count * sizeof *types);
    const char **names = mem_zalloc(count * sizeof *names);
    for (idx_t n = 0; n < count; n++) {
        types[n] = duckdb_column_logical_type(&r->run.result, n);
        names[n] = duckdb_column_name(&r->run.result, n);
    }
    memset(out, 0, sizeof *out);
    arrow_options(r);
    duckdb_error_data data = duckdb_to_arrow_schema(r->arrow, types, names, count, out);
    tape_status status = fail_of_data(&data, error);
    for (idx_t n = 0; n < count; n++) {
        duckdb_destroy_logical_type(&types[n]);
    }
    free(types);
    free(names);
    return status;
}

tape_status duck_result_arrow_next(duck_result *r, struct ArrowArray *out, tape_error *error) {
    memset(out, 0, sizeof *out);
    tape_status status = next_chunk(r, error);
    if (status != TAPE_OK || r->chunk == NULL) {
        return status;
    }
    arrow_options(r);
    duckdb_error_data data = duckdb_data_chunk_to_arrow(r->arrow, r->chunk, out);
    return fail_of_data(&data, error);
}

/* --- values --- */

size_t duck_result_columns(duck_result *r, const duck_column **out) {
    if (r->columns == NULL) {
        columns_init(r);
    }
    *out = r->columns;
    return r->column_count;
}

static vector vector_of(duckdb_vector from) {
    return (vector){.data = duckdb_vector_get_data(from),
                    .validity = duckdb_vector_get_validity(from)};
}

tape_status duck_result_next(duck_result *r, size_t *rows, tape_error *error) {
    *rows = 0;
    if (r->columns == NULL) {
        columns_init(r);
    }
    tape_status status = next_chunk(r, error);
    if (status != TAPE_OK || r->chunk == NULL) {
        return status;
    }
    for (idx_t n = 0; n < r->column_count; n++) {
        duckdb_vector from = duckdb_data_chunk_get_vector(r->chunk, n);
        r->vectors[n] = vector_of(from);
        if (r->columns[n].kind == DUCK_LIST) {
            r->children[n] =
                vector_of(r->readers[n].array_size > 0 ? duckdb_array_vector_get_child(from)
                                                       : duckdb_list_vector_get_child(from));
        }
    }
    *rows = duckdb_data_chunk_get_size(r->chunk);
    return TAPE_OK;
}

static duck_int128 wide(uint64_t lower, int64_t upper) {
    return (duck_int128)upper * ((duck_int128)1 << 64) + lower;
}

static void read_integer(duckdb_type type, const void *data, uint64_t row, duck_value *out) {
    switch (type) {
    case DUCKDB_TYPE_TINYINT:
        out->integer = ((const int8_t *)data)[row];
        break;
    case DUCKDB_TYPE_SMALLINT:
        out->integer = ((const int16_t *)data)[row];
        break;
    case DUCKDB_TYPE_INTEGER:
    case DUCKDB_TYPE_DATE:
        out->integer = ((const int32_t *)data)[row];
        break;
    case DUCKDB_TYPE_UTINYINT:
        out->integer = ((const uint8_t *)data)[row];
        break;
    case DUCKDB_TYPE_USMALLINT:
        out->integer = ((const uint16_t *)data)[row];
        break;
    case DUCKDB_TYPE_UINTEGER:
        out->integer = ((const uint32_t *)data)[row];
        break;
    case DUCKDB_TYPE_UBIGINT:
        out->integer = ((const uint64_t *)data)[row];
        break;
    case DUCKDB_TYPE_HUGEINT: {
        duckdb_hugeint v = ((const duckdb_hugeint *)data)[row];
        out->integer = wide(v.lower, v.upper);
        break;
    }
    case DUCKDB_TYPE_UHUGEINT: {
        duckdb_uhugeint v = ((const duckdb_uhugeint *)data)[row];
        if (v.upper > INT64_MAX) {
            out->kind = DUCK_REAL;
            out->real = (double)v.upper * 0x1p64 + (double)v.lower;
        } else {
            out->integer = wide(v.lower, (int64_t)v.upper);
        }
        break;
    }
    default: /* BIGINT and the timestamps */
        out->integer = ((const int64_t *)data)[row];
        break;
    }
}

static void read_text(const reader *r, const void *data, uint64_t row, duck_value *out) {
    if (r->logical == DUCKDB_TYPE_ENUM) {
        read_integer(r->type, data, row, out);
        uint64_t index = (uint64_t)out->integer;
        out->text = index < r->name_count ? r->names[index] : "";
        out->size = strlen(out->text);
        return;
    }
    duckdb_string_t *text = &((duckdb_string_t *)(uintptr_t)data)[row];
    out->text = duckdb_string_t_data(text);
    out->size = duckdb_string_t_length(*text);
}

static void read_time(const reader *r, const void *data, uint64_t row, duck_value *out) {
    read_integer(r->type, data, row, out);
    out->unit_ns = r->unit_ns;
    int64_t edge = r->type == DUCKDB_TYPE_DATE ? INT32_MAX : INT64_MAX;
    out->infinite = out->integer == edge || out->integer == -edge;
}

static void read_value(const reader *r, const vector *v, uint64_t row, duck_value *out) {
    *out = (duck_value){.kind = r->kind, .scale = r->scale};
    if (v->validity != NULL && (v->validity[row / 64] >> (row % 64) & 1) == 0) {
        out->kind = DUCK_NULL;
        return;
    }
    switch (r->kind) {
    case DUCK_INTEGER:
    case DUCK_DECIMAL:
        read_integer(r->type, v->data, row, out);
        break;
    case DUCK_REAL:
        out->real = r->type == DUCKDB_TYPE_FLOAT ? (double)((const float *)v->data)[row]
                                                 : ((const double *)v->data)[row];
        break;
    case DUCK_TEXT:
        read_text(r, v->data, row, out);
        break;
    case DUCK_TIME:
        read_time(r, v->data, row, out);
        break;
    case DUCK_LIST:
        if (r->array_size > 0) {
            out->first = row * r->array_size;
            out->size = r->array_size;
        } else {
            out->first = ((const duckdb_list_entry *)v->data)[row].offset;
            out->size = ((const duckdb_list_entry *)v->data)[row].length;
        }
        break;
    case DUCK_NULL:
    case DUCK_OTHER:
        break;
    }
}

void duck_result_value(const duck_result *r, size_t column, size_t row, duck_value *out) {
    read_value(&r->readers[column], &r->vectors[column], row, out);
}

void duck_result_element(const duck_result *r, size_t column, uint64_t index, duck_value *out) {
    read_value(&r->elements[column], &r->children[column], index, out);
}

/* --- Parquet out --- */

static void take_count(void *context, const char *text) {
    *(uint64_t *)context = strtoull(text, NULL, 10);
}

tape_status duck_session_write_parquet(duck_session *s, struct ArrowArrayStream *stream,
                                       const char *path, uint64_t *rows, tape_error *error) {
    if (duckdb_arrow_scan(s->connection, "tape_stream", (duckdb_arrow_stream)stream) !=
        DuckDBSuccess) {
        return error_set(error, TAPE_SQL, "DuckDB does not take the result's columns");
    }
    char *quoted = duck_quote(path);
    char *sql =
        mem_printf("COPY (SELECT * FROM tape_stream) TO %s "
                   "(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, USE_TMP_FILE false)",
                   quoted);
    tape_status status = duck_session_each(s, sql, take_count, rows, error);
    free(sql);
    free(quoted);
    return status;
}
