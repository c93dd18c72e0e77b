/* Duck: how rows of the columns become DuckDB's vectors.
 *
 * Text goes to DuckDB flat, sixteen bytes a row that point to where the columns keep what is
 * longer: a dictionary vector that comes through the C interface has no known size, and DuckDB
 * hashes and compares its texts once per row as well, more slowly. */
#include "duck/scan.h"

#include <stdlib.h>

/* Dictionaries up to this size are looked through for the empty text when a scan begins. */
#define CODES_LOOKED_AT 1024u

/* Whether no row of a coded field has the empty text, when that is soon told. */
static bool never_empty(const scan_field *f) {
    if (!columns_coded(f->columns, f->table, f->index)) {
        return false;
    }
    uint32_t codes = columns_code_count(f->columns, f->table, f->index);
    bool empty = codes > CODES_LOOKED_AT;
    for (uint32_t code = 0; !empty && code < codes; code++) {
        empty = columns_code_text(f->columns, f->table, f->index, code)->size == 0;
    }
    return !empty;
}

void scan_field_init(scan_field *f, const columns *c, const tape_table_info *table,
                     uint32_t index) {
    const tape_field_info *info = &table->fields[index];
    *f = (scan_field){.columns = c, .info = info, .table = table->id, .index = index};
    f->plain = info->count == 1 && (info->kind == TAPE_FIELD_U64 || info->kind == TAPE_FIELD_TIME ||
                                    info->kind == TAPE_FIELD_F64);
    f->may_be_empty = info->kind == TAPE_FIELD_ID && !info->is_key && !never_empty(f);
    if (info->kind != TAPE_FIELD_ENUM) {
        return;
    }
    f->names = mem_zalloc(sizeof *f->names);
    for (uint32_t v = 0; v < COUNT_OF(f->names->texts); v++) {
        /* A value beyond ours was written by a newer version that knows its name. */
        const char *name = v < info->enum_count ? info->enum_names[v] : NULL;
        f->names->absent[v] = name == NULL;
        if (name != NULL) {
            columns_text_set(&f->names->texts[v], name, (uint32_t)strlen(name));
        }
    }
}

void scan_field_deinit(scan_field *f) {
    free(f->names);
}

static uint64_t *writable_validity(duckdb_vector vector) {
    duckdb_vector_ensure_validity_writable(vector);
    return duckdb_vector_get_validity(vector);
}

static void fill_names(const scan_names *names, const uint8_t *values, uint32_t count,
                       duckdb_vector vector) {
    columns_text *out = duckdb_vector_get_data(vector);
    bool absent = false;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = names->texts[values[i]];
        absent |= names->absent[values[i]];
    }
    uint64_t *validity = absent ? writable_validity(vector) : NULL;
    for (uint32_t i = 0; absent && i < count; i++) {
        if (names->absent[values[i]]) {
            duckdb_validity_set_row_invalid(validity, i);
        }
    }
}

/* Identifiers that are no keys are NULL when empty. */
static void set_empty_null(uint32_t count, duckdb_vector vector) {
    const columns_text *texts = duckdb_vector_get_data(vector);
    uint32_t empty = 0;
    for (uint32_t i = 0; i < count; i++) {
        empty += texts[i].size == 0;
    }
    uint64_t *validity = empty > 0 ? writable_validity(vector) : NULL;
    for (uint32_t i = 0; empty > 0 && i < count; i++) {
        if (texts[i].size == 0) {
            duckdb_validity_set_row_invalid(validity, i);
        }
    }
}

static void set_absent_null(const bool *present, uint32_t count, duckdb_vector vector) {
    uint64_t *validity = writable_validity(vector);
    for (uint32_t i = 0; i < count; i++) {
        if (!present[i]) {
            duckdb_validity_set_row_invalid(validity, i);
        }
    }
}

static void copy_values(const scan_field *f, const scan_rows *rows, scan_scratch *scratch,
                        duckdb_vector vector) {
    void *out = scratch->bytes;
    if (f->info->count > 1) {
        out = duckdb_vector_get_data(duckdb_array_vector_get_child(vector));
    } else if (f->info->kind != TAPE_FIELD_ENUM) {
        out = duckdb_vector_get_data(vector);
    }
    columns_read(f->columns, f->table, f->index, rows->first, rows->selected, rows->count, out);
    if (f->info->kind == TAPE_FIELD_ENUM) {
        fill_names(f->names, scratch->bytes, rows->count, vector);
    } else if (f->may_be_empty) {
        set_empty_null(rows->count, vector);
    }
}

void scan_field_fill(const scan_field *f, const scan_rows *rows, const vector_run *run,
                     scan_scratch *scratch, duckdb_vector vector) {
    bool all = columns_present(f->columns, f->table, f->index, rows->first, rows->selected,
                               rows->count, scratch->present);
    if (run != NULL && all) {
        duckdb_vector_reference_vector(vector, vector_run_vector(run, rows->first));
        return;
    }
    copy_values(f, rows, scratch, vector);
    if (!all) {
        set_absent_null(scratch->present, rows->count, vector);
    }
}
