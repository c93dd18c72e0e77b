/* Import, private: from files to records.
 *
 * bytes (unpacked) -> lines -> rows of CSV or JSON -> records        without `select`
 * DuckDB's result -> values -> records                               with it, and for Parquet */
#ifndef IMPORT_INTERNAL_H
#define IMPORT_INTERNAL_H

#include "duck/duck.h"
#include "os/os.h"

#include <tape/tape.h>

/* The longest row of text; beyond it a quote was probably not closed. */
#define IMPORT_ROW_BYTES_MAX MIB(1)
#define IMPORT_COLUMNS_MAX 256u

/* --- files --- */
typedef enum import_kind { IMPORT_CSV, IMPORT_JSON, IMPORT_PARQUET } import_kind;
typedef enum import_packing { IMPORT_PLAIN, IMPORT_GZIP, IMPORT_ZSTD } import_packing;

typedef struct import_file {
    char *path;
    import_kind kind;
    import_packing packing;
    char delimiter; /* CSV */
    uint64_t size_bytes;
} import_file;

/* Tells kind and packing by the name, and that the file is there and can be read. */
tape_status import_file_init(import_file *file, const char *path, tape_error *error) TAPE_CHECKED;

/* --- unpacked bytes --- */
typedef struct byte_source byte_source;

tape_status byte_source_open(byte_source **out, const import_file *file,
                             tape_error *error) TAPE_CHECKED;
void byte_source_close(byte_source **source);
/* Up to `size` bytes; *got 0: the end. INVALID when packed data is damaged or ends early. */
tape_status byte_source_read(byte_source *source, void *data, size_t size, size_t *got,
                             tape_error *error) TAPE_CHECKED;
/* Bytes of the file that were used so far. */
uint64_t byte_source_position(const byte_source *source);

/* --- rows of text --- */
typedef struct row_source row_source;

/* A row that cannot become a record. `line` and `header` are as in tape_import_reject. */
typedef struct row_problem {
    char column[64];
    char value[128];
    char reason[256];
    const char *line;
    const char *header;
} row_problem;

typedef enum row_outcome {
    ROW_GOOD,
    ROW_BAD, /* *problem tells */
    ROW_END,
    ROW_FAIL, /* *error tells */
} row_outcome;

/* Opens a CSV or JSON-lines file; of a CSV it reads the header. */
tape_status row_source_open(row_source **out, const import_file *file, const tape_table_info *table,
                            tape_error *error) TAPE_CHECKED;
void row_source_close(row_source **source);
/* The next row; `record` NULL passes it over. */
row_outcome row_source_next(row_source *source, void *record, row_problem *problem,
                            tape_error *error) TAPE_CHECKED;
uint64_t row_source_position(const row_source *source);

/* --- rows of values --- */
typedef struct value_source value_source;

/* Over a result, which stays the caller's. INVALID when a column is not of the table, or its type
 * cannot become the field's. `what` says where the columns come from, for errors. */
tape_status value_source_open(value_source **out, duck_result *result, const char *what,
                              const tape_table_info *table, tape_error *error) TAPE_CHECKED;
void value_source_close(value_source **source);
row_outcome value_source_next(value_source *source, void *record, row_problem *problem,
                              tape_error *error) TAPE_CHECKED;

/* --- what both say --- */

/* Finds the field of a column, refusing `seq`, unknown and repeated names, and at the end missing
 * keys. `seen` has one flag per field. */
tape_status import_column(const tape_table_info *table, const char *what, const char *name,
                          size_t size, bool *seen, const tape_field_info **out,
                          tape_error *error) TAPE_CHECKED;
tape_status import_columns_end(const tape_table_info *table, const char *what, const bool *seen,
                               tape_error *error) TAPE_CHECKED;

/* Appends a cell of CSV, quoted if need be, and the comma before it unless it is the first. */
void csv_append(buffer *out, bool first, const char *text, size_t size);

void problem_set(row_problem *problem, const char *column, const char *value, size_t value_size,
                 const char *reason);
/* From what record/ says about a field: "TABLE.FIELD is VALUE: reason". */
void problem_from_error(row_problem *problem, const tape_table_info *table,
                        const tape_error *error);
/* record_validate, as a problem. */
row_outcome import_validate(const tape_table_info *table, const void *record, row_problem *problem);

#endif
