/* columns: the hot rows of every table as column chunks in memory. A cursor over the journal.
 *
 * One writer (columns_apply); any number of readers, without locks but for opening and closing a
 * pin: a reader with a pin sees rows with seq <= S, and for an entity table's latest view those not
 * superseded at S. What the archive has taken over leaves memory (columns_drop) as soon as no pin
 * needs it. README.md has layout and invariants. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include "record/record.h"

typedef struct columns columns;

typedef struct columns_options {
    uint64_t bytes_max;
    /* Records up to here are in the archive: rows begin after it. */
    uint64_t base_seq;
    /* The seq of the version of an entity table's key that was the newest at seq `at`, which is the
     * base at the time of the call; 0 when there was none. Called on the writer's thread, once per
     * key and base at most. NULL: there is no archive. An error stops columns_apply, and the call
     * may be made again. */
    tape_status (*archived)(void *context, const tape_table_info *table, slice key, uint64_t at,
                            uint64_t *seq, tape_error *error);
    void *archived_context;
} columns_options;

tape_status columns_create(columns **out, const columns_options *options,
                           tape_error *error) TAPE_CHECKED;
void columns_close(columns **c); /* no pin may be open */

/* Adds records in seq order, all after columns_seq; those that an earlier call already added are
 * passed over. Seqs may be missing among them. One thread at a time. BUSY when bytes_max is
 * reached, with the reason as text: nothing of this call's remaining records is added, and it may
 * be called again once rows have been dropped. */
tape_status columns_apply(columns *c, const record_view *records, size_t count,
                          tape_error *error) TAPE_CHECKED;
/* There is nothing more to add up to `seq`, the last record of an append: what was left out of it
 * is gone. For filling columns from what is kept of a journal that no longer has it. */
void columns_settle(columns *c, uint64_t seq);
/* Every record up to here is visible. Always the last record of an append. */
uint64_t columns_seq(const columns *c);
/* Records up to here may have been dropped. Never falls. */
uint64_t columns_base(const columns *c);
/* Records of the table after the base, every version. */
uint64_t columns_rows(const columns *c, uint16_t table);
uint64_t columns_bytes(const columns *c);

/* The archive has every record up to `seq` (the last of an append, not above columns_seq), and
 * readers who start from here on take them from there: the base moves there, and memory is freed
 * by whole chunks, as soon as no pin needs them. Any thread, one at a time. */
void columns_drop(columns *c, uint64_t seq);

/* While it is open every row after its base stays, and the texts readers were handed with it. Any
 * thread. */
typedef struct columns_pin columns_pin;
columns_pin *columns_pin_open(columns *c);
uint64_t columns_pin_base(const columns_pin *pin);
void columns_pin_close(columns_pin **pin); /* NULL-safe */

/* --- rows of the archive whose place newer versions have taken --- */

/* Of an entity table: the archived row `seq` was superseded by the version at seq `by`. What the
 * archive wrote down about itself, in rising order of `by`, before the first columns_apply; from
 * then on the writer notes by itself what it supersedes. NO_MEMORY. */
tape_status columns_supersede(columns *c, uint16_t table, uint64_t seq, uint64_t by,
                              tape_error *error) TAPE_CHECKED;
/* Which of archived rows, given by their seqs, were not superseded at `at` (which columns_seq has
 * reached): newest[i]. Any thread, with a pin, without locks. */
void columns_archived_newest(const columns *c, uint16_t table, const uint64_t *seqs, uint32_t count,
                             uint64_t at, bool *newest);
/* What superseded archived row `seq`, as far as it happened at or before `at`: 0: nothing. As
 * above. */
uint64_t columns_superseded_by(const columns *c, uint16_t table, uint64_t seq, uint64_t at);
typedef struct columns_superseded {
    uint64_t seq, by;
} columns_superseded;
/* The pairs with from < by <= to, in the order of `by`, into `out` (room for `max`), from the
 * `skip`-th on; returns how many. Any thread, no pin needed. */
size_t columns_superseded_read(const columns *c, uint16_t table, uint64_t from, uint64_t to,
                               uint64_t skip, columns_superseded *out, size_t max);
/* The archive's files tell of every pair with by <= `by` by themselves, and no reader looks at
 * older files: what was superseded stays marked, by what is forgotten. Any thread. */
void columns_superseded_forget(columns *c, uint16_t table, uint64_t by);

/* --- scans: any thread, beside the writer, with a pin --- */

/* Rows per chunk: what Parquet and DuckDB call a row group. Rows are numbered from when the columns
 * were made; row r of a table stands in chunk r / COLUMNS_CHUNK_ROWS; a run of rows handed to the
 * functions below stays within one chunk. */
#define COLUMNS_CHUNK_ROWS 122880u

/* Text as readers get it: 16 bytes, up to 12 of text in place, longer text by its first four bytes
 * and a pointer that is good as long as the pin it was read with (the text of a code: until
 * columns_close). Unused bytes are zero. */
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

/* The number of the first row of `table` with a seq above `seq` (at or after the pin's base). */
uint64_t columns_row_after(const columns *c, uint16_t table, uint64_t seq);

/* A number that is wanted from `min` to `max`, both included. */
typedef struct columns_bound {
    uint32_t field; /* one of kind F64, not an array */
    double min, max;
} columns_bound;

/* What a reader wants of a table: rows that fail any of this are of no use to it, though it may get
 * some. */
typedef struct columns_hint {
    int64_t ts_min, ts_max;         /* both included; INT64_MIN, INT64_MAX: any */
    const char *const *instruments; /* NULL: any; only for tables with an instrument_id */
    size_t instrument_count;
    const columns_bound *bounds;
    size_t bound_count;
} columns_hint;
/* Whether the chunk of row `row` may have a row the hint is after, going by the smallest and
 * largest values in it. `hint` may be NULL. */
bool columns_chunk_wanted(const columns *c, uint16_t table, uint64_t row, const columns_hint *hint);

/* The archive is about to take the rows up to `seq`: what supersedes them at a later seq is told by
 * columns_archived_newest too from when this returns. If the archive does not get that far it may
 * be called again, with any seq; a seq that is dropped has been handed over. Any thread, one at a
 * time, beside the writer. NO_MEMORY. */
tape_status columns_hand_over(columns *c, uint64_t seq, tape_error *error) TAPE_CHECKED;

/* Of rows [first, first + count) of an entity table, those that are the newest of their key at
 * `seq`: their distances from `first` go to `selected`, how many there are is returned. The rows
 * must be before columns_row_after(c, table, seq). */
uint32_t columns_newest(const columns *c, uint16_t table, uint64_t first, uint32_t count,
                        uint64_t seq, uint32_t *selected);

/* Copies one field of rows into `out`, an array of `count` elements: uint64_t (U64), int64_t
 * (TIME), double (F64; `count` of the field per row), uint8_t (ENUM), columns_text (ID). The rows
 * are `first`
 * + selected[i], or [first, first + count) when `selected` is NULL. Values that are absent are
 * zero. */
void columns_read(const columns *c, uint16_t table, uint32_t field, uint64_t first,
                  const uint32_t *selected, uint32_t count, void *out);

/* Fields whose texts stand in a dictionary: the codes of rows, and the text of a code, which stays
 * where it is until columns_close. Codes count from 0 without gaps. */
bool columns_coded(const columns *c, uint16_t table, uint32_t field);
void columns_codes(const columns *c, uint16_t table, uint32_t field, uint64_t first,
                   const uint32_t *selected, uint32_t count, uint32_t *out);
uint32_t columns_code_count(const columns *c, uint16_t table, uint32_t field);
const columns_text *columns_code_text(const columns *c, uint16_t table, uint32_t field,
                                      uint32_t code);
/* What superseded each of the rows, as far as it happened at or before `at`; UINT64_MAX: nothing.
 */
void columns_read_superseded(const columns *c, uint16_t table, uint64_t first,
                             const uint32_t *selected, uint32_t count, uint64_t at, uint64_t *out);

/* Where the values of row `first` and of those after it in its chunk stand, for fields of eight
 * bytes a row (U64, TIME, F64 that are no array); NULL for others. They stay as long as the pin;
 * only those of published rows may be read. */
const void *columns_words(const columns *c, uint16_t table, uint32_t field, uint64_t first);

/* Whether every row of the run was written by a version of the table that has the field; if not,
 * present[i] tells it of each row (see record_field_present for values that are absent). */
bool columns_present(const columns *c, uint16_t table, uint32_t field, uint64_t first,
                     const uint32_t *selected, uint32_t count, bool *present);

/* A hint made ready for looking at rows, as far as it tells rows apart. NULL: it does not, or
 * `hint` is NULL. For rows that were published when it was made. */
typedef struct columns_filter columns_filter;
columns_filter *columns_filter_make(const columns *c, uint16_t table, const columns_hint *hint);
void columns_filter_free(columns_filter **filter); /* NULL-safe */
/* Of rows [first, first + count), or of first + selected[i] for i < count if `among`, those the
 * hint is after: their distances from `first` go to `selected`, how many there are is returned.
 * Runs of which nearly all pass may be returned whole. At most COLUMNS_FILTER_ROWS_MAX rows from
 * the first to the last. */
#define COLUMNS_FILTER_ROWS_MAX 2048u
uint32_t columns_filter_rows(const columns_filter *filter, uint64_t first, bool among,
                             uint32_t *selected, uint32_t count);

#endif
