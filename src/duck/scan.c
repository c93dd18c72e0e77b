/* Duck: the table function tape_scan(table, mode) over the hot columns.
 *
 * Invariants
 *  T1 What a scan shows is fixed when it is initialised, not when it is bound: a bound plan may be
 *     kept and run again at a later seq.
 *  T2 The rows [first, end) are dealt out in morsels by one atomic counter, so each is scanned once
 *     whatever the number of threads. A morsel never crosses a chunk of the columns, so a chunk
 *     that the hint is not after is left out by whole morsels.
 *     Vectors end where those of the vector store do, so that whole ones can be shown from there.
 *  T3 A call that returns no row ends a thread's scan, so calls go on until they have one or the
 *     morsels are used up.
 * Threads: one scan_local each; scan_global is shared. */
#include "duck/scan.h"

#include <stdlib.h>

_Static_assert(sizeof(columns_text) == sizeof(duckdb_string_t), "text goes to DuckDB as it is");
_Static_assert(offsetof(columns_text, inlined) == offsetof(duckdb_string_t, value.inlined.inlined),
               "text goes to DuckDB as it is");
_Static_assert(offsetof(columns_text, pointer) == offsetof(duckdb_string_t, value.pointer.ptr),
               "text goes to DuckDB as it is");

_Static_assert(SCAN_VECTOR_ROWS <= COLUMNS_FILTER_ROWS_MAX, "a vector's rows are filtered at once");
#define MORSEL_ROWS (COLUMNS_CHUNK_ROWS / 3)
_Static_assert(MORSEL_ROWS % SCAN_VECTOR_ROWS == 0, "a morsel is whole vectors");

typedef enum scan_mode { SCAN_ALL, SCAN_NEWEST, SCAN_SUPERSEDED } scan_mode;

typedef struct scan_bind {
    vector_store *vectors;
    const columns *columns;
    const tape_table_info *table;
    duck_session *session;
    scan_mode mode;
} scan_bind;

typedef enum output_kind { OUTPUT_NONE, OUTPUT_FIELD, OUTPUT_SUPERSEDED_BY } output_kind;

typedef struct scan_output {
    output_kind kind;
    scan_field field; /* OUTPUT_FIELD */
} scan_output;

typedef struct scan_global {
    const scan_bind *bind;
    const columns_hint *hint;
    columns_filter *filter; /* the hint, when rows can be told apart by it */
    uint64_t seq;
    uint64_t first, end; /* rows */
    uint64_t morsel_first;
    _Atomic uint64_t morsels; /* dealt out */
    idx_t output_count;
    scan_output outputs[];
} scan_global;

/* The run that an output column shows its rows from, of the chunk it was asked for last. */
typedef struct scan_run_held {
    uint64_t chunk_plus_1; /* 0: never asked */
    vector_run *run;
} scan_run_held;

typedef struct scan_local {
    uint64_t row;
    uint64_t end;
    uint64_t superseded_by[SCAN_VECTOR_ROWS];
    uint32_t selected[SCAN_VECTOR_ROWS];
    scan_scratch scratch;
    vector_store *vectors;
    idx_t output_count;
    scan_run_held held[]; /* by output */
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

/* A parameter's text, NULL when it is NULL, which DuckDB would not survive being asked for. */
static char *bound_text(duckdb_bind_info info, idx_t index) {
    duckdb_value value = duckdb_bind_get_parameter(info, index);
    char *text = duckdb_is_null_value(value) ? NULL : duckdb_get_varchar(value);
    duckdb_destroy_value(&value);
    return text;
}

const tape_table_info *duck_bound_table(duckdb_bind_info info, const char *function) {
    char *name = bound_text(info, 0);
    const tape_table_info *table = name == NULL ? NULL : record_table_named(name);
    if (table == NULL) {
        bind_fail(info, function, "there is no such table");
    }
    duckdb_free(name);
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

static void scan_bind_free(void *data) {
    DUCK_TAKE_OVER(data);
    free(data);
}

static void scan_bind_run(duckdb_bind_info info) {
    duck *d = duckdb_bind_get_extra_info(info);
    char *text = bound_text(info, 1);
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
    bind->vectors = d->vectors;
    bind->columns = d->columns;
    bind->table = table;
    bind->session = duck_bound_session(d, info);
    bind->mode = mode;
    ASSERT(bind->session != NULL);
    DUCK_HAND_ON(bind);
    duckdb_bind_set_bind_data(info, bind, scan_bind_free);
    duckdb_bind_set_cardinality(info, columns_rows(d->columns, table->id), false);
out:
    duckdb_free(text);
}

/* --- init --- */

static void output_init(scan_output *o, const scan_bind *bind, idx_t column) {
    uint32_t fields = bind->table->field_count;
    if (column < fields) {
        o->kind = OUTPUT_FIELD;
        scan_field_init(&o->field, bind->columns, bind->table, (uint32_t)column);
    } else if (bind->mode == SCAN_SUPERSEDED && column == fields) {
        o->kind = OUTPUT_SUPERSEDED_BY;
    }
}

static void scan_global_free(void *data) {
    scan_global *g = data;
    DUCK_TAKE_OVER(&g->end);
    columns_filter_free(&g->filter);
    for (idx_t n = 0; n < g->output_count; n++) {
        scan_field_deinit(&g->outputs[n].field);
    }
    free(g);
}

static void scan_init_run(duckdb_init_info info) {
    scan_bind *bind = duckdb_init_get_bind_data(info);
    DUCK_TAKE_OVER(bind);
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
    atomic_fetch_add_explicit(&s->scan_rows, g->end - g->first, memory_order_relaxed);
    g->morsel_first = g->first - g->first % MORSEL_ROWS;
    g->output_count = outputs;
    for (idx_t n = 0; n < outputs; n++) {
        output_init(&g->outputs[n], bind, duckdb_init_get_column_index(info, n));
    }
    if (bind->vectors != NULL) {
        uint64_t base = columns_row_after(bind->columns, table, columns_base(bind->columns));
        vector_store_forget(bind->vectors, table, base);
    }
    g->filter = columns_filter_make(bind->columns, table, g->hint);
    DUCK_HAND_ON(g);
    duckdb_init_set_init_data(info, g, scan_global_free);
    duckdb_init_set_max_threads(info, (g->end - g->first) / MORSEL_ROWS + 1);
}

static void scan_local_free(void *data) {
    scan_local *local = data;
    DUCK_TAKE_OVER(local);
    for (idx_t n = 0; n < local->output_count; n++) {
        vector_store_let_go(local->vectors, &local->held[n].run);
    }
    free(local);
}

static void scan_local_init_run(duckdb_init_info info) {
    scan_bind *bind = duckdb_init_get_bind_data(info);
    DUCK_TAKE_OVER(bind);
    idx_t outputs = duckdb_init_get_column_count(info);
    scan_local *local = mem_zalloc(sizeof *local + outputs * sizeof local->held[0]);
    local->vectors = bind->vectors;
    local->output_count = outputs;
    DUCK_HAND_ON(local);
    duckdb_init_set_init_data(info, local, scan_local_free);
}

/* --- scan --- */

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
        atomic_fetch_add_explicit(&g->bind->session->scanned_rows, local->end - local->row,
                                  memory_order_relaxed);
        if (columns_chunk_wanted(g->bind->columns, g->bind->table->id, local->row, g->hint)) {
            return true;
        }
    }
}

/* Those of rows [first, first + run) that the mode and the hint ask for: how many, and which when
 * not all. */
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
    if (g->filter != NULL && count > 0) {
        count = columns_filter_rows(g->filter, first, count < run, local->selected, count);
    }
    *selected = count == run ? NULL : local->selected;
    return count;
}

/* Where rows can be shown from as they stand: a whole vector of a chunk that is all published. */
static const vector_run *run_of(const scan_global *g, scan_local *local, idx_t n,
                                const scan_rows *rows) {
    uint64_t chunk = rows->first / COLUMNS_CHUNK_ROWS;
    bool whole = rows->selected == NULL && rows->count == SCAN_VECTOR_ROWS &&
                 rows->first % SCAN_VECTOR_ROWS == 0;
    if (!whole || local->vectors == NULL || !g->outputs[n].field.plain ||
        (chunk + 1) * COLUMNS_CHUNK_ROWS > g->end) {
        return NULL;
    }
    scan_run_held *held = &local->held[n];
    if (held->chunk_plus_1 != chunk + 1) {
        vector_store_let_go(local->vectors, &held->run);
        held->chunk_plus_1 = chunk + 1;
        held->run = vector_store_hold(local->vectors, g->bind->columns, g->bind->table,
                                      g->outputs[n].field.index, rows->first);
    }
    return held->run;
}

static void fill_output(const scan_global *g, scan_local *local, idx_t n, const scan_rows *rows,
                        duckdb_vector vector) {
    const scan_output *o = &g->outputs[n];
    if (o->kind == OUTPUT_FIELD) {
        scan_field_fill(&o->field, rows, run_of(g, local, n, rows), &local->scratch, vector);
    } else if (o->kind == OUTPUT_SUPERSEDED_BY) {
        uint64_t *to = duckdb_vector_get_data(vector);
        for (uint32_t i = 0; i < rows->count; i++) {
            to[i] = local->superseded_by[rows->selected == NULL ? i : rows->selected[i]];
        }
    }
}

static void scan_run(duckdb_function_info info, duckdb_data_chunk output) {
    scan_global *g = duckdb_function_get_init_data(info);
    scan_local *local = duckdb_function_get_local_init_data(info);
    scan_rows rows = {0};
    DUCK_TAKE_OVER(g);
    DUCK_TAKE_OVER(local);
    while (rows.count == 0) {
        if (local->row == local->end && !next_morsel(g, local)) {
            break;
        }
        uint64_t left = local->end - local->row;
        uint32_t run = SCAN_VECTOR_ROWS - (uint32_t)(local->row % SCAN_VECTOR_ROWS);
        run = left < run ? (uint32_t)left : run;
        rows.first = local->row;
        rows.count = select_rows(g, local, rows.first, run, &rows.selected);
        local->row += run;
    }
    for (idx_t n = 0; rows.count > 0 && n < g->output_count; n++) {
        fill_output(g, local, n, &rows, duckdb_data_chunk_get_vector(output, n));
    }
    duckdb_data_chunk_set_size(output, rows.count);
    DUCK_HAND_ON(local);
    DUCK_HAND_ON(&g->end); /* for who frees it, not for others who scan beside this thread */
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
