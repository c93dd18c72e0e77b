/* Duck: the table functions tape_scan and tape_status.
 *
 * Invariants
 *  T1 What a scan shows is fixed when it is initialised, not when it is bound: a bound plan may be
 * kept and run again at a later seq. T2 The rows [0, rows) are dealt out in morsels by one atomic
 * counter, so each is scanned once whatever the number of threads. A morsel never crosses a chunk
 * of the columns. T3 A call that returns no row ends a thread's scan, so calls go on until they
 * have one or the morsels are used up. Threads: one scan_local each; scan_global is shared. */
#include "duck/duck_internal.h"

#include <stdlib.h>

_Static_assert(sizeof(columns_text) == sizeof(duckdb_string_t), "text goes to DuckDB as it is");
_Static_assert(offsetof(columns_text, inlined) == offsetof(duckdb_string_t, value.inlined.inlined),
               "text goes to DuckDB as it is");
_Static_assert(offsetof(columns_text, pointer) == offsetof(duckdb_string_t, value.pointer.ptr),
               "text goes to DuckDB as it is");

#define VECTOR_ROWS 2048u
#define MORSEL_ROWS (COLUMNS_CHUNK_ROWS / 3)
_Static_assert(MORSEL_ROWS % VECTOR_ROWS == 0, "a morsel is whole vectors");

typedef struct scan_bind {
    const columns *columns;
    const tape_table_info *table;
    duck_session *session;
    bool newest;
} scan_bind;

typedef struct scan_global {
    const scan_bind *bind;
    uint64_t seq;
    uint64_t rows;
    _Atomic uint64_t next;
    idx_t output_count;
    uint32_t fields[]; /* by output column; UINT32_MAX: none of ours */
} scan_global;

typedef struct scan_local {
    uint64_t row;
    uint64_t end;
    uint32_t selected[VECTOR_ROWS];
    bool present[VECTOR_ROWS];
    uint8_t bytes[VECTOR_ROWS];
} scan_local;

/* --- bind --- */

static duckdb_logical_type field_type(const tape_field_info *field) {
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return duckdb_create_logical_type(DUCKDB_TYPE_UBIGINT);
    case TAPE_FIELD_TIME:
        return duckdb_create_logical_type(DUCKDB_TYPE_TIMESTAMP_NS);
    case TAPE_FIELD_F64:
        break;
    case TAPE_FIELD_ENUM:
    case TAPE_FIELD_ID:
        return duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    }
    duckdb_logical_type scalar = duckdb_create_logical_type(DUCKDB_TYPE_DOUBLE);
    if (field->count == 1) {
        return scalar;
    }
    duckdb_logical_type array = duckdb_create_array_type(scalar, field->count);
    duckdb_destroy_logical_type(&scalar);
    return array;
}

static void scan_bind_run(duckdb_bind_info info) {
    duck *d = duckdb_bind_get_extra_info(info);
    duckdb_value table_value = duckdb_bind_get_parameter(info, 0);
    duckdb_value newest_value = duckdb_bind_get_parameter(info, 1);
    char *name = duckdb_get_varchar(table_value);
    const tape_table_info *table = name == NULL ? NULL : record_table_named(name);
    duckdb_client_context context;
    duckdb_table_function_get_client_context(info, &context);
    duck_session *session = duck_find_session(d, duckdb_client_context_get_connection_id(context));
    duckdb_destroy_client_context(&context);
    if (table == NULL || session == NULL) {
        duckdb_bind_set_error(info, "tape_scan: there is no such table");
        goto out;
    }
    for (uint32_t f = 0; f < table->field_count; f++) {
        duckdb_logical_type type = field_type(&table->fields[f]);
        duckdb_bind_add_result_column(info, table->fields[f].name, type);
        duckdb_destroy_logical_type(&type);
    }
    scan_bind *bind = mem_zalloc(sizeof *bind);
    bind->columns = d->columns;
    bind->table = table;
    bind->session = session;
    bind->newest = duckdb_get_bool(newest_value) && table->kind == TAPE_KIND_ENTITY;
    duckdb_bind_set_bind_data(info, bind, free);
    duckdb_bind_set_cardinality(info, columns_rows(d->columns, table->id), false);
out:
    duckdb_free(name);
    duckdb_destroy_value(&table_value);
    duckdb_destroy_value(&newest_value);
}

/* --- init --- */

static void scan_init_run(duckdb_init_info info) {
    const scan_bind *bind = duckdb_init_get_bind_data(info);
    idx_t outputs = duckdb_init_get_column_count(info);
    scan_global *g = mem_zalloc(sizeof *g + outputs * sizeof g->fields[0]);
    g->bind = bind;
    g->seq = atomic_load_explicit(&bind->session->seq, memory_order_acquire);
    g->rows = columns_rows_at(bind->columns, bind->table->id, g->seq);
    g->output_count = outputs;
    for (idx_t n = 0; n < outputs; n++) {
        idx_t field = duckdb_init_get_column_index(info, n);
        g->fields[n] = field < bind->table->field_count ? (uint32_t)field : UINT32_MAX;
    }
    duckdb_init_set_init_data(info, g, free);
    duckdb_init_set_max_threads(info, g->rows / MORSEL_ROWS + 1);
}

static void scan_local_init_run(duckdb_init_info info) {
    duckdb_init_set_init_data(info, mem_zalloc(sizeof(scan_local)), free);
}

/* --- scan --- */

static void set_null(duckdb_vector vector, uint64_t **validity, uint32_t row) {
    if (*validity == NULL) {
        duckdb_vector_ensure_validity_writable(vector);
        *validity = duckdb_vector_get_validity(vector);
    }
    duckdb_validity_set_row_invalid(*validity, row);
}

static void fill_enum(scan_local *local, const tape_field_info *field, uint32_t count,
                      columns_text *out, duckdb_vector vector, uint64_t **validity) {
    columns_text names[UINT8_MAX + 1];
    for (uint32_t v = 0; v < field->enum_count; v++) {
        const char *name = field->enum_names[v] == NULL ? "" : field->enum_names[v];
        columns_text_set(&names[v], name, (uint32_t)strlen(name));
    }
    for (uint32_t i = 0; i < count; i++) {
        uint8_t value = local->bytes[i];
        /* A value beyond ours was written by a newer version that knows its name. */
        if (value >= field->enum_count || field->enum_names[value] == NULL) {
            set_null(vector, validity, i);
            out[i] = (columns_text){.size = 0};
        } else {
            out[i] = names[value];
        }
    }
}

static void fill_vector(const scan_global *g, scan_local *local, uint32_t field_index,
                        uint64_t first, const uint32_t *selected, uint32_t count,
                        duckdb_vector vector) {
    const columns *c = g->bind->columns;
    uint16_t table = g->bind->table->id;
    const tape_field_info *field = &g->bind->table->fields[field_index];
    uint64_t *validity = NULL;
    void *data = duckdb_vector_get_data(vector);
    if (field->count > 1) {
        data = duckdb_vector_get_data(duckdb_array_vector_get_child(vector));
    }
    if (field->kind == TAPE_FIELD_ENUM) {
        columns_read(c, table, field_index, first, selected, count, local->bytes);
        fill_enum(local, field, count, data, vector, &validity);
    } else {
        columns_read(c, table, field_index, first, selected, count, data);
    }
    if (field->kind == TAPE_FIELD_ID && !field->is_key) {
        for (uint32_t i = 0; i < count; i++) {
            if (((const columns_text *)data)[i].size == 0) {
                set_null(vector, &validity, i);
            }
        }
    }
    if (!columns_present(c, table, field_index, first, selected, count, local->present)) {
        for (uint32_t i = 0; i < count; i++) {
            if (!local->present[i]) {
                set_null(vector, &validity, i);
            }
        }
    }
}

static bool next_morsel(scan_global *g, scan_local *local) {
    uint64_t first = atomic_fetch_add_explicit(&g->next, MORSEL_ROWS, memory_order_relaxed);
    if (first >= g->rows) {
        return false;
    }
    local->row = first;
    local->end = g->rows - first < MORSEL_ROWS ? g->rows : first + MORSEL_ROWS;
    return true;
}

static void scan_run(duckdb_function_info info, duckdb_data_chunk output) {
    scan_global *g = duckdb_function_get_init_data(info);
    scan_local *local = duckdb_function_get_local_init_data(info);
    uint32_t count = 0;
    uint64_t first = 0;
    const uint32_t *selected = NULL;
    while (count == 0) {
        if (local->row == local->end && !next_morsel(g, local)) {
            break;
        }
        uint64_t left = local->end - local->row;
        uint32_t run = left < VECTOR_ROWS ? (uint32_t)left : VECTOR_ROWS;
        first = local->row;
        count = run;
        selected = NULL;
        if (g->bind->newest) {
            count = columns_newest(g->bind->columns, g->bind->table->id, first, run, g->seq,
                                   local->selected);
            selected = count == run ? NULL : local->selected;
        }
        local->row += run;
    }
    for (idx_t n = 0; count > 0 && n < g->output_count; n++) {
        if (g->fields[n] != UINT32_MAX) {
            fill_vector(g, local, g->fields[n], first, selected, count,
                        duckdb_data_chunk_get_vector(output, n));
        }
    }
    duckdb_data_chunk_set_size(output, count);
}

/* --- tape_status --- */

typedef struct status_column {
    const char *name;
    size_t offset;
    duckdb_type type;
} status_column;

#define U64(name)                                                                                  \
    { #name, offsetof(tape_stats, name), DUCKDB_TYPE_UBIGINT }
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
    {"sync_floor_ns", offsetof(tape_stats, sync_floor_ns), DUCKDB_TYPE_BIGINT},
    {"sync_method", offsetof(tape_stats, sync_method), DUCKDB_TYPE_VARCHAR},
    U64(busy),
    U64(syncs),
    U64(recovered_records),
    U64(recovered_from_window),
    U64(cut_bytes),
    {"recovery_ns", offsetof(tape_stats, recovery_ns), DUCKDB_TYPE_BIGINT},
    {"owner_pid", offsetof(tape_stats, owner_pid), DUCKDB_TYPE_BIGINT},
};
#undef U64

static void add_column(duckdb_bind_info info, const char *name, duckdb_type id) {
    duckdb_logical_type type = duckdb_create_logical_type(id);
    duckdb_bind_add_result_column(info, name, type);
    duckdb_destroy_logical_type(&type);
}

static void status_bind_run(duckdb_bind_info info) {
    for (size_t n = 0; n < COUNT_OF(STATUS); n++) {
        add_column(info, STATUS[n].name, STATUS[n].type);
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        char *name = mem_printf("rows_%s", record_table(id)->name);
        add_column(info, name, DUCKDB_TYPE_UBIGINT);
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

/* --- registration --- */

static bool register_scan(duck *d, duckdb_connection connection) {
    duckdb_table_function f = duckdb_create_table_function();
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_logical_type boolean = duckdb_create_logical_type(DUCKDB_TYPE_BOOLEAN);
    duckdb_table_function_set_name(f, "tape_scan");
    duckdb_table_function_add_parameter(f, text);
    duckdb_table_function_add_parameter(f, boolean);
    duckdb_table_function_set_extra_info(f, d, NULL);
    duckdb_table_function_set_bind(f, scan_bind_run);
    duckdb_table_function_set_init(f, scan_init_run);
    duckdb_table_function_set_local_init(f, scan_local_init_run);
    duckdb_table_function_set_function(f, scan_run);
    duckdb_table_function_supports_projection_pushdown(f, true);
    bool done = duckdb_register_table_function(connection, f) == DuckDBSuccess;
    duckdb_destroy_logical_type(&text);
    duckdb_destroy_logical_type(&boolean);
    duckdb_destroy_table_function(&f);
    return done;
}

static bool register_status(duck *d, duckdb_connection connection) {
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

tape_status duck_register_functions(duck *d, duckdb_connection connection, tape_error *error) {
    if ((d->columns != NULL && !register_scan(d, connection)) ||
        (d->stats != NULL && !register_status(d, connection))) {
        return error_set(error, TAPE_FAILED, "this DuckDB does not take tape's table functions");
    }
    return TAPE_OK;
}
