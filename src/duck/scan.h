/* duck, private to the scan of hot columns: how rows become vectors. */
#ifndef SCAN_H
#define SCAN_H

#include "duck/vector_store.h"

/* DuckDB's vectors have this many rows. */
#define SCAN_VECTOR_ROWS VECTOR_STORE_ROWS

/* The names of an enumeration, by value. */
typedef struct scan_names {
    columns_text texts[UINT8_MAX + 1];
    bool absent[UINT8_MAX + 1];
} scan_names;

/* A field that a scan puts out. */
typedef struct scan_field {
    const columns *columns;
    const tape_field_info *info;
    uint16_t table;
    uint32_t index;
    scan_names *names; /* enumerations only */
    bool may_be_empty; /* an identifier that is NULL in rows where it is empty */
    bool plain;        /* eight bytes a row, which DuckDB can take as they stand */
} scan_field;

/* Rows `first` + selected[i], or [first, first + count) when `selected` is NULL. */
typedef struct scan_rows {
    uint64_t first;
    const uint32_t *selected;
    uint32_t count;
} scan_rows;

typedef struct scan_scratch {
    bool present[SCAN_VECTOR_ROWS];
    uint8_t bytes[SCAN_VECTOR_ROWS];
} scan_scratch;

void scan_field_init(scan_field *f, const columns *c, const tape_table_info *table, uint32_t index);
void scan_field_deinit(scan_field *f);
/* Fills `vector` with the field of some rows: with their memory as it is when `run` is not NULL,
 * which then is the run of their chunk, and they are a whole vector of it. */
void scan_field_fill(const scan_field *f, const scan_rows *rows, const vector_run *run,
                     scan_scratch *scratch, duckdb_vector vector);

#endif
