/* Duck: the table function tape_scan(table, mode) over the hot columns.
 *
 * Invariants
 *  T1 What a scan shows is fixed when it is initialised, not when it is bound: a bound plan may be
 *     kept and run again at a later seq.
 *  T2 The rows [first, end) are dealt out in morsels by one atomic counter, so each is scanned once
 *     whatever the number of threads. A morsel never crosses a chunk of the columns, so a chunk
 *     that the hint is not after is left out by whole morsels.
 *  T3 A call that returns no row ends a thread's scan, so calls go on until they have one or the
 *     morsels are used up.
 * Threads: one scan_local each; scan_global is shared. */
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

typedef enum scan_mode { SCAN_ALL, SCAN_NEWEST, SCAN_SUPERSEDED } scan_mode;

typedef struct scan_bind {
    const columns *columns;
    const tape_table_info *table;
    duck_session *session;
    scan_mode mode;
} scan_bind;

/* What an output column is, when it is no field of the table's. */
#define OUTPUT_NONE UINT32_MAX
#define OUTPUT_SUPERSEDED_BY (UINT32_MAX - 1)

typedef struct scan_global {
    const scan_bind *bind;
    const columns_hint *hint;
    uint64_t seq;
    uint64_t first, end; /* rows */
    uint64_t morsel_first;
    _Atomic uint64_t morsels; /* dealt out */
    idx_t output_count;
    uint32_t outputs[]; /* fields, or OUTPUT_... */
} scan_global;

typedef struct scan_local {
    uint64_t row;
    uint64_t end;
    uint64_t superseded_by[VECTOR_ROWS];
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

void duck_bind_column(duckdb_bind_info info, const char *name, duckdb_type id) {
    duckdb_logical_type type = duckdb_create_logical_type(id);
    duckdb_bind_add_result_column(info, name, type);
    duckdb_destroy_logical_type(&type);
}

static void bind_fail(duckdb_bind_info info, const char *function, const char *text) {
    char *line = mem_printf("%s: %s", function, text);
    duckdb_bind_set_error(info, line);
    free(line);
}

const tape_table_info *duck_bound_table(duckdb_bind_info info, const char *function) {
    duckdb_value value = duckdb_bind_get_parameter(info, 0);
    char *name = duckdb_get_varchar(value);
    const tape_table_info *table = name == NULL ? NULL : record_table_named(name);
    if (table == NULL) {
        bind_fail(info, function, "there is no such table");
    }
    duckdb_free(name);
    duckdb_destroy_value(&value);
    return table;
}

static bool mode_from_text(const char *text, const tape_table_info *table, scan_mode *mode) {
    bool entity = table->kind == TAPE_KIND_ENTITY;
    if (strcmp(text, "all") == 0) {
        *mode = SCAN_ALL;
        return true;
    }
    if (strcmp(text, "newest") == 0) {
        *mode = SCAN_NEWEST;
        return entity;
    }
    *mode = SCAN_SUPERSEDED;
    return strcmp(text, "superseded") == 0 && entity;
}

static void scan_bind_run(duckdb_bind_info info) {
    duck *d = duckdb_bind_get_extra_info(info);
    duckdb_value value = duckdb_bind_get_parameter(info, 1);
    char *text = duckdb_get_varchar(value);
    const tape_table_info *table = duck_bound_table(info, "tape_scan");
    scan_mode mode = SCAN_ALL;
    if (table == NULL) {
        goto out;
    }
    if (text == NULL || !mode_from_text(text, table, &mode)) {
        bind_fail(info, "tape_scan", "the table has no such rows");
        goto out;
    }
    for (uint32_t f = 0; f < table->field_count; f++) {
        duckdb_logical_type type = field_type(&table->fields[f]);
        duckdb_bind_add_result_column(info, table->fields[f].name, type);
        duckdb_destroy_logical_type(&type);
    }
    if (mode == SCAN_SUPERSEDED) {
        duck_bind_column(info, "superseded_by", DUCKDB_TYPE_UBIGINT);
    }
    scan_bind *bind = mem_zalloc(sizeof *bind);
    bind->columns = d->columns;
    bind->table = table;
    bind->session = duck_bound_session(d, info);
    bind->mode = mode;
    ASSERT(bind->session != NULL);
    duckdb_bind_set_bind_data(info, bind, free);
    duckdb_bind_set_cardinality(info, columns_rows(d->columns, table->id), false);
out:
    duckdb_free(text);
    duckdb_destroy_value(&value);
}

/* --- init --- */

static uint32_t output_of(const scan_bind *bind, idx_t column) {
    if (column < bind->table->field_count) {
        return (uint32_t)column;
    }
    bool by = bind->mode == SCAN_SUPERSEDED && column == bind->table->field_count;
    return by ? OUTPUT_SUPERSEDED_BY : OUTPUT_NONE;
}

static void scan_init_run(duckdb_init_info info) {
    const scan_bind *bind = duckdb_init_get_bind_data(info);
    duck_session *s = bind->session;
    uint16_t table = bind->table->id;
    idx_t outputs = duckdb_init_get_column_count(info);
    scan_global *g = mem_zalloc(sizeof *g + outputs * sizeof g->outputs[0]);
    g->bind = bind;
    g->hint = atomic_load_explicit(&s->hints[table], memory_order_acquire);
    g->seq = atomic_load_explicit(&s->seq, memory_order_acquire);
    uint64_t after = atomic_load_explicit(&s->after, memory_order_relaxed);
    g->first = columns_row_after(bind->columns, table, after);
    g->end = columns_row_after(bind->columns, table, g->seq);
    if (g->end < g->first) {
        g->end = g->first;
    }
    g->morsel_first = g->first - g->first % MORSEL_ROWS;
    g->output_count = outputs;
    for (idx_t n = 0; n < outputs; n++) {
        g->outputs[n] = output_of(bind, duckdb_init_get_column_index(info, n));
    }
    duckdb_init_set_init_data(info, g, free);
    duckdb_init_set_max_threads(info, (g->end - g->first) / MORSEL_ROWS + 1);
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

/* The next morsel with rows that the hint may be after. */
static bool next_morsel(scan_global *g, scan_local *local) {
    for (;;) {
        uint64_t n = atomic_fetch_add_explicit(&g->morsels, 1, memory_order_relaxed);
        uint64_t morsel = g->morsel_first + n * MORSEL_ROWS;
        if (morsel >= g->end) {
            return false;
        }
        local->row = morsel < g->first ? g->first : morsel;
        local->end = g->end - morsel < MORSEL_ROWS ? g->end : morsel + MORSEL_ROWS;
        if (columns_chunk_wanted(g->bind->columns, g->bind->table->id, local->row, g->hint)) {
            return true;
        }
    }
}

/* Those of rows [first, first + run) that the mode asks for: how many, and which when not all. */
static uint32_t select_rows(const scan_global *g, scan_local *local, uint64_t first, uint32_t run,
                            const uint32_t **selected) {
    const columns *c = g->bind->columns;
    uint16_t table = g->bind->table->id;
    uint32_t count = run;
    if (g->bind->mode == SCAN_NEWEST) {
        count = columns_newest(c, table, first, run, g->seq, local->selected);
    } else if (g->bind->mode == SCAN_SUPERSEDED) {
        columns_read_superseded(c, table, first, NULL, run, g->seq, local->superseded_by);
        count = 0;
        for (uint32_t i = 0; i < run; i++) {
            local->selected[count] = i;
            count += local->superseded_by[i] != UINT64_MAX;
        }
    }
    *selected = count == run ? NULL : local->selected;
    return count;
}

static void fill_output(const scan_global *g, scan_local *local, idx_t n, uint64_t first,
                        const uint32_t *selected, uint32_t count, duckdb_vector vector) {
    if (g->outputs[n] < OUTPUT_SUPERSEDED_BY) {
        fill_vector(g, local, g->outputs[n], first, selected, count, vector);
    } else if (g->outputs[n] == OUTPUT_SUPERSEDED_BY) {
        uint64_t *to = duckdb_vector_get_data(vector);
        for (uint32_t i = 0; i < count; i++) {
            to[i] = local->superseded_by[selected == NULL ? i : selected[i]];
        }
    }
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
        count = select_rows(g, local, first, run, &selected);
        local->row += run;
    }
    for (idx_t n = 0; count > 0 && n < g->output_count; n++) {
        fill_output(g, local, n, first, selected, count, duckdb_data_chunk_get_vector(output, n));
    }
    duckdb_data_chunk_set_size(output, count);
}

/* --- registration --- */

bool duck_register_scan(duck *d, duckdb_connection connection) {
    duckdb_table_function f = duckdb_create_table_function();
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_table_function_set_name(f, "tape_scan");
    duckdb_table_function_add_parameter(f, text);
    duckdb_table_function_add_parameter(f, text);
    duckdb_table_function_set_extra_info(f, d, NULL);
    duckdb_table_function_set_bind(f, scan_bind_run);
    duckdb_table_function_set_init(f, scan_init_run);
    duckdb_table_function_set_local_init(f, scan_local_init_run);
    duckdb_table_function_set_function(f, scan_run);
    duckdb_table_function_supports_projection_pushdown(f, true);
    bool done = duckdb_register_table_function(connection, f) == DuckDBSuccess;
    duckdb_destroy_logical_type(&text);
    duckdb_destroy_table_function(&f);
    return done;
}
