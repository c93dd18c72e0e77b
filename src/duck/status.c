/* Duck: the table function tape_status(): the figures of the store as one row.
 *
 * Threads: any; the figures are read by the caller's function, once per scan. */
#include "duck/duck_internal.h"

#include <stdlib.h>

typedef struct status_column {
    const char *name;
    size_t offset;
    duckdb_type type;
} status_column;

#define U64(name)                                                                                  \
    { #name, offsetof(tape_stats, name), DUCKDB_TYPE_UBIGINT }
#define F64(name)                                                                                  \
    { #name, offsetof(tape_stats, name), DUCKDB_TYPE_DOUBLE }
#define I64(name)                                                                                  \
    { #name, offsetof(tape_stats, name), DUCKDB_TYPE_BIGINT }
static const status_column STATUS[] = {
    U64(written),
    U64(durable),
    U64(committed),
    U64(applied),
    U64(queryable),
    U64(archived),
    U64(oldest),
    U64(epoch),
    U64(journal_bytes),
    U64(store_bytes),
    U64(archive_bytes),
    U64(window_bytes),
    U64(memtable_bytes),
    U64(columns_bytes),
    I64(sync_floor_ns),
    {"sync_method", offsetof(tape_stats, sync_method), DUCKDB_TYPE_VARCHAR},
    U64(busy),
    U64(syncs),
    U64(recovered_records),
    U64(recovered_from_window),
    U64(cut_bytes),
    I64(recovery_ns),
    I64(owner_pid),
    U64(columns_lag),
    I64(columns_lag_ns),
    U64(archive_files),
    U64(archive_takes),
    U64(archive_merges),
    U64(archive_expired_files),
    U64(archive_findings),
    I64(archive_ns),
    U64(queries),
    U64(queries_from_store),
    U64(queries_from_cache),
    U64(queries_running),
    U64(queries_waiting),
    U64(table_files),
    U64(mapped_files),
    F64(space_amplification),
    F64(write_amplification),
    F64(compaction_score),
    U64(flushed_bytes),
    U64(flush_written_bytes),
    U64(compact_read_bytes),
    U64(compact_written_bytes),
    U64(compactions),
    U64(compact_moves),
    U64(dropped_records),
    I64(compact_ns),
    I64(stall_ns),
    U64(scrubbed_bytes),
    U64(scrub_findings),
    U64(damaged_reads),
    U64(views),
    U64(gets),
    U64(filter_negatives),
    U64(filter_false_positives),
};
#undef U64
#undef I64
#undef F64

static void status_bind_run(duckdb_bind_info info) {
    for (size_t n = 0; n < COUNT_OF(STATUS); n++) {
        duck_bind_column(info, STATUS[n].name, STATUS[n].type);
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        char *name = mem_printf("rows_%s", record_table(id)->name);
        duck_bind_column(info, name, DUCKDB_TYPE_UBIGINT);
        free(name);
    }
    duckdb_bind_set_cardinality(info, 1, true);
}

static void status_init_run(duckdb_init_info info) {
    duckdb_init_set_init_data(info, mem_zalloc(sizeof(bool)), free);
}

static void status_run(duckdb_function_info info, duckdb_data_chunk output) {
    const duck *d = duckdb_function_get_extra_info(info);
    bool *done = duckdb_function_get_init_data(info);
    if (*done) {
        duckdb_data_chunk_set_size(output, 0);
        return;
    }
    *done = true;
    tape_stats stats = {.size_bytes = sizeof stats};
    d->stats(d->stats_context, &stats);
    for (size_t n = 0; n < COUNT_OF(STATUS); n++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(output, n);
        const char *from = (const char *)&stats + STATUS[n].offset;
        if (STATUS[n].type == DUCKDB_TYPE_VARCHAR) {
            duckdb_vector_assign_string_element(vector, 0, from);
        } else {
            memcpy(duckdb_vector_get_data(vector), from, sizeof(uint64_t));
        }
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(output, COUNT_OF(STATUS) + id - 1u);
        memcpy(duckdb_vector_get_data(vector), &stats.rows[id], sizeof(uint64_t));
    }
    duckdb_data_chunk_set_size(output, 1);
}

bool duck_register_status(duck *d, duckdb_connection connection) {
    duckdb_table_function f = duckdb_create_table_function();
    duckdb_table_function_set_name(f, "tape_status");
    duckdb_table_function_set_extra_info(f, d, NULL);
    duckdb_table_function_set_bind(f, status_bind_run);
    duckdb_table_function_set_init(f, status_init_run);
    duckdb_table_function_set_function(f, status_run);
    bool done = duckdb_register_table_function(connection, f) == DuckDBSuccess;
    duckdb_destroy_table_function(&f);
    return done;
}
