/* columns: the hot rows of every table as column chunks in memory. A cursor over the journal.
 *
 * One writer (columns_apply); any number of readers, without locks: a reader pins nothing but a
 * seq, sees rows with seq <= S, and for an entity table's latest view those not superseded at S.
 * Rows are never moved or freed before columns_close. README.md has layout and invariants. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include "record/record.h"

typedef struct columns columns;

tape_status columns_create(columns **out, uint64_t bytes_max, tape_error *error) TAPE_CHECKED;
void columns_close(columns **c);

/* Adds records in seq order, all after columns_seq; those that an earlier call already added are
 * passed over. Seqs may be missing among them. One thread at a time. NO_MEMORY at bytes_max:
 * nothing of this call's remaining records is added, and the columns stay usable as far as they
 * are. */
tape_status columns_apply(columns *c, const record_view *records, size_t count,
                          tape_error *error) TAPE_CHECKED;
/* There is nothing more to add up to `seq`, the last record of an append: what was left out of it
 * is gone. For filling columns from what is kept of a journal that no longer has it. */
void columns_settle(columns *c, uint64_t seq);
/* Every record up to here is visible. Always the last record of an append. */
uint64_t columns_seq(const columns *c);
uint64_t columns_rows(const columns *c, uint16_t table); /* records of the table, every version */
uint64_t columns_bytes(const columns *c);

/* --- scans: any thread, beside the writer --- */

/* Rows per chunk: what Parquet and DuckDB call a row group. Row r of a table stands in chunk
 * r / COLUMNS_CHUNK_ROWS; a run of rows handed to the functions below stays within one chunk. */
#define COLUMNS_CHUNK_ROWS 122880u

/* Text as readers get it: 16 bytes, up to 12 of text in place, longer text by its first four bytes
 * and a pointer that is good until columns_close. Unused bytes are zero. */
#define COLUMNS_TEXT_INLINE_BYTES 12u
typedef union columns_text {
    struct {
        uint32_t size;
        char inlined[COLUMNS_TEXT_INLINE_BYTES];
    };
    struct {
        uint32_t size_too; /* the same size */
        char prefix[4];
        const char *pointer; /* the whole text */
    };
} columns_text;
_Static_assert(sizeof(columns_text) == 16, "text as readers get it");

/* Fills `out` from `size` bytes that stay where they are. */
void columns_text_set(columns_text *out, const char *data, uint32_t size);

/* How many rows of `table`, counted from the first, have a seq <= `seq`. */
uint64_t columns_rows_at(const columns *c, uint16_t table, uint64_t seq);

/* Of rows [first, first + count) of an entity table, those that are the newest of their key at
 * `seq`: their distances from `first` go to `selected`, how many there are is returned. The rows
 * must be among columns_rows_at(c, table, seq). */
uint32_t columns_newest(const columns *c, uint16_t table, uint64_t first, uint32_t count,
                        uint64_t seq, uint32_t *selected);

/* Copies one field of rows into `out`, an array of `count` elements: uint64_t (U64), int64_t
 * (TIME), double (F64; `count` of the field per row), uint8_t (ENUM), columns_text (ID). The rows
 * are `first`
 * + selected[i], or [first, first + count) when `selected` is NULL. Values that are absent are
 * zero. */
void columns_read(const columns *c, uint16_t table, uint32_t field, uint64_t first,
                  const uint32_t *selected, uint32_t count, void *out);

/* Whether every row of the run was written by a version of the table that has the field; if not,
 * present[i] tells it of each row (see record_field_present for values that are absent). */
bool columns_present(const columns *c, uint16_t table, uint32_t field, uint64_t first,
                     const uint32_t *selected, uint32_t count, bool *present);

#endif
