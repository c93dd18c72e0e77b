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

struct duck_native {
    duckdb_database database;
    duckdb_connection connection;
    duckdb_appender appenders[TAPE_TABLE_COUNT + 1];
    duckdb_data_chunk chunks[TAPE_TABLE_COUNT + 1];
};

const char *duck_native_settings(void) {
    return "tables in memory, created and filled by its appender, 2 threads";
}

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
        used += snprintf(sql + used, sizeof sql - (size_t)used, "%s%s %s", i == 0 ? "" : ", ",
                         field->name, sql_type(field));
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

duck_native *duck_native_open(int threads) {
    duck_native *d = bench_alloc(sizeof *d);
    char sql[64];
    if (duckdb_open(NULL, &d->database) != DuckDBSuccess ||
        duckdb_connect(d->database, &d->connection) != DuckDBSuccess) {
        bench_fail("DuckDB does not open");
    }
    (void)snprintf(sql, sizeof sql, "SET threads = %d", threads);
    run(d, sql);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (id == TAPE_TABLE_TRADES || id == TAPE_TABLE_ORDERS || id == TAPE_TABLE_TICKS) {
            create_table(d, tape_table(id));
        }
    }
    bench_print_fact("DuckDB", "%s", duckdb_library_version());
    return d;
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

double duck_native_query(duck_native *d, const char *sql, uint64_t *rows) {
    duckdb_result result;
    if (duckdb_query(d->connection, sql, &result) != DuckDBSuccess) {
        bench_fail("DuckDB: %s", duckdb_result_error(&result));
    }
    *rows = duckdb_row_count(&result);
    double value = duckdb_value_double(&result, duckdb_column_count(&result) - 1, 0);
    duckdb_destroy_result(&result);
    return value;
}

void duck_native_close(duck_native **handle) {
    duck_native *d = *handle;
    for (size_t id = 0; id <= TAPE_TABLE_COUNT; id++) {
        if (d->appenders[id] != NULL) {
            (void)duckdb_appender_destroy(&d->appenders[id]);
            duckdb_destroy_data_chunk(&d->chunks[id]);
        }
    }
    duckdb_disconnect(&d->connection);
    duckdb_close(&d->database);
    free(d);
    *handle = NULL;
}
