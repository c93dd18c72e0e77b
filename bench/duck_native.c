/* DuckDB with tables of its own: see duck_native.h. */
#include "duck_native.h"

/* Its declarations leave parameter lists empty. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <duckdb.h>
#pragma GCC diagnostic pop

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16
#define STATEMENTS_MAX 32

typedef struct statement {
    const char *sql;
    duckdb_prepared_statement prepared;
} statement;

struct duck_native {
    duckdb_database database;
    duckdb_connection connection, reading;
    duckdb_appender appenders[TAPE_TABLE_COUNT + 1];
    duckdb_data_chunk chunks[TAPE_TABLE_COUNT + 1];
    statement statements[STATEMENTS_MAX];
};

static void run(duck_native *d, const char *sql) {
    duckdb_result result;
    if (duckdb_query(d->connection, sql, &result) != DuckDBSuccess) {
        bench_fail("DuckDB: %s", duckdb_result_error(&result));
    }
    duckdb_destroy_result(&result);
}

static const char *sql_type(const tape_field_info *field) {
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return "UBIGINT";
    case TAPE_FIELD_TIME:
        return "TIMESTAMP_NS";
    case TAPE_FIELD_F64:
        return "DOUBLE";
    default:
        return "VARCHAR";
    }
}

static duckdb_type c_type(const tape_field_info *field) {
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return DUCKDB_TYPE_UBIGINT;
    case TAPE_FIELD_TIME:
        return DUCKDB_TYPE_TIMESTAMP_NS;
    case TAPE_FIELD_F64:
        return DUCKDB_TYPE_DOUBLE;
    default:
        return DUCKDB_TYPE_VARCHAR;
    }
}

static void create_table(duck_native *d, const tape_table_info *table) {
    char sql[1024];
    int used = snprintf(sql, sizeof sql, "CREATE TABLE %s (", table->name);
    duckdb_logical_type types[COLUMNS_MAX];
    BENCH_CHECK(table->field_count <= COLUMNS_MAX);
    for (uint32_t i = 0; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        BENCH_CHECK(field->count == 1);
        bool is_key = table->id == TAPE_TABLE_ORDERS && strcmp(field->name, "order_id") == 0;
        used += snprintf(sql + used, sizeof sql - (size_t)used, "%s%s %s%s", i == 0 ? "" : ", ",
                         field->name, sql_type(field), is_key ? " PRIMARY KEY" : "");
        types[i] = duckdb_create_logical_type(c_type(field));
    }
    (void)snprintf(sql + used, sizeof sql - (size_t)used, ")");
    run(d, sql);
    d->chunks[table->id] = duckdb_create_data_chunk(types, table->field_count);
    for (uint32_t i = 0; i < table->field_count; i++) {
        duckdb_destroy_logical_type(&types[i]);
    }
    if (duckdb_appender_create(d->connection, NULL, table->name, &d->appenders[table->id]) !=
        DuckDBSuccess) {
        bench_fail("DuckDB gives no appender for %s", table->name);
    }
}

duck_native *duck_native_open(const char *path, int threads) {
    duck_native *d = bench_alloc(sizeof *d);
    char sql[64];
    if (duckdb_open(path, &d->database) != DuckDBSuccess ||
        duckdb_connect(d->database, &d->connection) != DuckDBSuccess ||
        duckdb_connect(d->database, &d->reading) != DuckDBSuccess) {
        bench_fail("DuckDB does not open");
    }
    (void)snprintf(sql, sizeof sql, "SET threads = %d", threads);
    run(d, sql);
    bench_print_fact("DuckDB", "%s", duckdb_library_version());
    return d;
}

void duck_native_create_tables(duck_native *d) {
    create_table(d, tape_table(TAPE_TABLE_TRADES));
    create_table(d, tape_table(TAPE_TABLE_ORDERS));
    create_table(d, tape_table(TAPE_TABLE_TICKS));
}

static void fill_column(duckdb_vector vector, const tape_field_info *field, const uint8_t *rows,
                        size_t stride, size_t count) {
    uint64_t *words = duckdb_vector_get_data(vector);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = rows + i * stride + field->offset;
        if (field->kind == TAPE_FIELD_ID) {
            duckdb_vector_assign_string_element_len(vector, i, (const char *)at,
                                                    strnlen((const char *)at, field->size_bytes));
        } else if (field->kind == TAPE_FIELD_ENUM) {
            const char *name = field->enum_names[*at];
            BENCH_CHECK(name != NULL);
            duckdb_vector_assign_string_element(vector, i, name);
        } else {
            memcpy(&words[i], at, sizeof words[i]);
        }
    }
}

void duck_native_append(duck_native *d, uint16_t table_id, const void *rows, size_t count,
                        uint64_t first_seq) {
    const tape_table_info *table = tape_table(table_id);
    duckdb_data_chunk chunk = d->chunks[table_id];
    size_t chunk_rows = duckdb_vector_size();
    const uint8_t *from = rows;
    while (count > 0) {
        size_t take = count < chunk_rows ? count : chunk_rows;
        duckdb_data_chunk_reset(chunk);
        for (uint32_t i = 0; i < table->field_count; i++) {
            duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, i);
            if (i == 0) {
                uint64_t *seqs = duckdb_vector_get_data(vector);
                for (size_t k = 0; k < take; k++) {
                    seqs[k] = first_seq + k;
                }
            } else {
                fill_column(vector, &table->fields[i], from, table->size_bytes, take);
            }
        }
        duckdb_data_chunk_set_size(chunk, take);
        if (duckdb_append_data_chunk(d->appenders[table_id], chunk) != DuckDBSuccess) {
            bench_fail("DuckDB: %s", duckdb_appender_error(d->appenders[table_id]));
        }
        from += take * table->size_bytes;
        first_seq += take;
        count -= take;
    }
}

void duck_native_flush(duck_native *d, uint16_t table) {
    if (duckdb_appender_flush(d->appenders[table]) != DuckDBSuccess) {
        bench_fail("DuckDB: %s", duckdb_appender_error(d->appenders[table]));
    }
}

void duck_native_write_parquet(duck_native *d, uint16_t table, const char *path) {
    char sql[1024];
    (void)snprintf(sql, sizeof sql, "COPY %s TO '%s' (FORMAT parquet)", tape_table(table)->name,
                   path);
    run(d, sql);
}

void duck_native_read_parquet(duck_native *d, uint16_t table, const char *path) {
    char sql[1024];
    (void)snprintf(sql, sizeof sql, "CREATE VIEW %s AS FROM read_parquet('%s')",
                   tape_table(table)->name, path);
    run(d, sql);
}

/* --- queries --- */

static duckdb_prepared_statement prepare(duck_native *d, const char *sql) {
    duckdb_prepared_statement prepared = NULL;
    if (duckdb_prepare(d->reading, sql, &prepared) != DuckDBSuccess) {
        bench_fail("DuckDB: %s", duckdb_prepare_error(prepared));
    }
    return prepared;
}

static duckdb_prepared_statement prepared_for(duck_native *d, const char *sql) {
    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        statement *s = &d->statements[i];
        if (s->sql == sql) {
            return s->prepared;
        }
        if (s->sql == NULL) {
            s->prepared = prepare(d, sql);
            s->sql = sql;
            return s->prepared;
        }
    }
    bench_fail("more than %d statements", STATEMENTS_MAX);
}

static void add_value(answer *a, uint32_t to, duckdb_type type, void *data, idx_t i) {
    switch (type) {
    case DUCKDB_TYPE_BIGINT:
        answer_add(a, to, (double)((int64_t *)data)[i]);
        break;
    case DUCKDB_TYPE_UBIGINT:
        answer_add(a, to, (double)((uint64_t *)data)[i]);
        break;
    case DUCKDB_TYPE_DOUBLE:
        answer_add(a, to, ((double *)data)[i]);
        break;
    case DUCKDB_TYPE_TIMESTAMP:
        answer_add_time(a, to, ((int64_t *)data)[i] * 1000);
        break;
    case DUCKDB_TYPE_TIMESTAMP_NS:
        answer_add_time(a, to, ((int64_t *)data)[i]);
        break;
    case DUCKDB_TYPE_VARCHAR: {
        duckdb_string_t *text = &((duckdb_string_t *)data)[i];
        answer_add_text(a, to, duckdb_string_t_data(text), duckdb_string_t_length(*text));
        break;
    }
    default:
        bench_fail("DuckDB gives a column of type %d", (int)type);
    }
}

static void read_result(duckdb_result *result, answer *out) {
    *out = (answer){.columns = (uint32_t)duckdb_column_count(result)};
    BENCH_CHECK(out->columns <= ANSWER_COLUMNS_MAX);
    duckdb_data_chunk chunk;
    while ((chunk = duckdb_fetch_chunk(*result)) != NULL) {
        idx_t rows = duckdb_data_chunk_get_size(chunk);
        out->rows += rows;
        for (uint32_t c = 0; c < out->columns; c++) {
            duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, c);
            uint64_t *valid = duckdb_vector_get_validity(vector);
            void *data = duckdb_vector_get_data(vector);
            for (idx_t i = 0; i < rows; i++) {
                if (valid == NULL || duckdb_validity_row_is_valid(valid, i)) {
                    add_value(out, c, duckdb_column_type(result, c), data, i);
                }
            }
        }
        duckdb_destroy_data_chunk(&chunk);
    }
}

int64_t duck_native_query(duck_native *d, const char *sql, const char *param, answer *out) {
    /* Version 1.5 fails, and its database with it, when it runs a prepared ASOF join again. */
    bool once = strstr(sql, " ASOF ") != NULL;
    duckdb_prepared_statement prepared = once ? NULL : prepared_for(d, sql);
    duckdb_result result;
    int64_t start_ns = bench_now_ns();
    if (once) {
        prepared = prepare(d, sql);
    }
    if (param != NULL && duckdb_bind_varchar(prepared, 1, param) != DuckDBSuccess) {
        bench_fail("DuckDB: %s", duckdb_prepare_error(prepared));
    }
    if (duckdb_execute_prepared(prepared, &result) != DuckDBSuccess) {
        bench_fail("DuckDB: %s", duckdb_result_error(&result));
    }
    int64_t elapsed_ns = bench_now_ns() - start_ns;
    read_result(&result, out);
    duckdb_destroy_result(&result);
    if (once) {
        duckdb_destroy_prepare(&prepared);
    }
    return elapsed_ns;
}

void duck_native_close(duck_native **handle) {
    duck_native *d = *handle;
    if (d == NULL) {
        return;
    }
    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        if (d->statements[i].sql != NULL) {
            duckdb_destroy_prepare(&d->statements[i].prepared);
        }
    }
    for (size_t id = 0; id <= TAPE_TABLE_COUNT; id++) {
        if (d->appenders[id] != NULL) {
            (void)duckdb_appender_destroy(&d->appenders[id]);
            duckdb_destroy_data_chunk(&d->chunks[id]);
        }
    }
    duckdb_disconnect(&d->reading);
    duckdb_disconnect(&d->connection);
    duckdb_close(&d->database);
    free(d);
    *handle = NULL;
}
