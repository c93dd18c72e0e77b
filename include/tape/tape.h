/* tape/tape.h: embed tape, the record of an exchange.
 *
 *     tape *db;
 *     tape_error error;
 *     if (tape_open("/data/market", NULL, &db, &error) != TAPE_OK) { puts(error.text); ... }
 *     tape_trade trade = {.trade_id = "t1", .instrument_id = "IF2601", .side = TAPE_SIDE_BUY,
 *                         .price = 3900.2, .volume = 1};
 *     tape_record record = TAPE_RECORD(TRADES, &trade);
 *     tape_append_result done;
 *     if (tape_append(db, &record, 1, NULL, &done, &error) != TAPE_OK) { ... }
 *     tape_close(&db, NULL);
 *
 * Conventions. Everything is thread-safe unless its comment says otherwise. Options structs start
 * with their own size: initialise them with their *_init and change what you need; NULL means the
 * defaults. Durations end in _ns, sizes in _bytes; a negative timeout waits without limit. Handles
 * are opaque; *_close(&handle) sets the handle to NULL and accepts NULL. `error` may be NULL.
 *
 * Levels. `written`: in the live window; survives a crash of the process. `durable`: on disk;
 * survives power loss. `committed`: durable on the required set of nodes; on a single node the same
 * as durable. Every acknowledgement and every read says which level it means.
 */
#ifndef TAPE_TAPE_H
#define TAPE_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tape/error.h>
#include <tape/records.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tape tape;

typedef enum tape_level { TAPE_WRITTEN = 1, TAPE_DURABLE = 2, TAPE_COMMITTED = 3 } tape_level;

/* The library's version, "0.1.0". */
TAPE_API const char *tape_version(void);

/* --- stores --- */

/* Fixed when the store is made. */
typedef struct tape_create_options {
    size_t size_bytes;
    uint64_t segment_bytes; /* of the journal; a power of two, 4 MiB to 1 GiB; default 64 MiB */
} tape_create_options;
TAPE_API void tape_create_options_init(tape_create_options *options);

/* Makes a new store in `dir`, which is absent or empty. EXISTS when it is not empty. */
TAPE_API tape_status tape_create(const char *dir, const tape_create_options *options,
                                 tape_error *error) TAPE_CHECKED;

typedef enum tape_pack { TAPE_PACK_NONE = 0, TAPE_PACK_LZ4 = 1, TAPE_PACK_ZSTD = 2 } tape_pack;

typedef enum tape_archive_codec {
    TAPE_ARCHIVE_ZSTD = 0,
    TAPE_ARCHIVE_SNAPPY = 1
} tape_archive_codec;

typedef struct tape_open_options {
    size_t size_bytes;
    uint64_t window_bytes;   /* live window: a power of two from 8 MiB; default 256 MiB, less where
                                shared memory is small */
    uint64_t memtable_bytes; /* default 128 MiB */
    uint64_t columns_bytes_max;  /* memory for hot columns; rows go to the archive when half of it
                                    is in use; default 2 GiB */
    uint64_t query_memory_bytes; /* memory for running queries; default 2 GiB */
    uint64_t retain_bytes;       /* journal kept on disk past the checkpoint; default: all of it */
    int journal_cpu;             /* core the journal writer is bound to; -1 (default): none */
    int query_threads;           /* default 0: one per core */
    bool read_only;              /* appends are refused and no live window is made; recovery and
                                    maintenance still write */
    /* Point reads (tape_get, views, scans). By table id (TAPE_TABLE_...): an event table's records
     * expire this long after their append; of an entity table, versions may go this long after the
     * append of a newer one (the newest always stays). 0 (default): everything is kept. SQL keeps
     * what it has seen; events that expire before SQL is in use, or in the time between an archive
     * and the next opening, are gone for it too, so archive before they expire. */
    int64_t keep_ns[TAPE_TABLE_COUNT + 1];
    uint64_t table_bytes; /* size of table files below level 0; default 64 MiB */
    double upper_share;   /* what lies above a table's last level goes into it when it takes this
                             share of its bytes: more room spent, less rewritten; default 0.3 */
    int pack_level;       /* table files from this level on are packed; default 0: none */
    tape_pack pack;       /* how; default TAPE_PACK_LZ4 */
    uint32_t mapped_files_max; /* table files kept mapped; default 32768 */
    double background_cpu;     /* cores that compaction may take while nothing presses, 0.05 to 8;
                                  default 0.25. More when level 0 has fallen behind. */
    uint64_t scrub_bytes_per_second; /* reading table files again, looking for rot; default 4 MiB,
                                        0: never */
    uint64_t reserve_bytes; /* appends are refused with NO_SPACE while the disk has less free
                               than this, so that what was accepted can always be written;
                               default (UINT64_MAX) 64 MiB and two segments, 0: never */
    /* SQL: history as Parquet files under DIR/archive, by table and day. */
    bool archive_by_hand;          /* only tape_archive archives; when the hot columns are full SQL
                                      falls behind with NO_MEMORY; default false */
    int archive_threads;           /* that write Parquet; default 1 */
    uint64_t archive_memory_bytes; /* for sorting; default 1 GiB */
    tape_archive_codec archive_codec; /* default zstd */
    int64_t day_begins_ns; /* a day begins this long before midnight UTC, 0 (default) to 23 h: 8 h
                              for midnight in Shanghai, 11 h for its night session */
    /* By table id: archived rows (of entity tables: superseded versions) may go this long after
     * their day. 0 (default): never. */
    int64_t archive_keep_ns[TAPE_TABLE_COUNT + 1];
    uint32_t queries_max;        /* statements that run at once, others wait for their turn;
                                    default 0: four per core */
    uint64_t result_cache_bytes; /* results kept for statements that come again while what they
                                    read has not changed; default 64 MiB, 0: none */
} tape_open_options;
TAPE_API void tape_open_options_init(tape_open_options *options);

/* Opens and recovers. One process owns a store at a time: LOCKED names the other's pid. NO_STORE,
 * NEWER, CORRUPT (file, offset, expected, actual) say what is wrong with it. */
TAPE_API tape_status tape_open(const char *dir, const tape_open_options *options, tape **out,
                               tape_error *error) TAPE_CHECKED;

/* Makes everything durable and closes. No other call may be running. The handle is gone in any
 * case; the status tells whether the last records became durable. */
TAPE_API tape_status tape_close(tape **db, tape_error *error);

/* --- append --- */

/* One record to append: a struct of <tape/records.h>. `seq` in it is ignored; `ts` 0 means now. */
typedef struct tape_record {
    uint16_t table;      /* TAPE_TABLE_... */
    uint16_t version;    /* 0: the current one */
    uint32_t size_bytes; /* sizeof the struct */
    const void *data;
} tape_record;
#define TAPE_RECORD(TABLE, pointer)                                                                \
    { TAPE_TABLE_##TABLE, 0, sizeof *(pointer), (pointer) }

/* Leave out records of event tables whose key is there already (or twice in this append). */
#define TAPE_UNIQUE 1u

typedef struct tape_append_options {
    size_t size_bytes;
    tape_level level;   /* what to wait for; default TAPE_WRITTEN */
    uint32_t flags;     /* TAPE_UNIQUE */
    int64_t timeout_ns; /* for room in the window and for the level; default 5 s */
} tape_append_options;
TAPE_API void tape_append_options_init(tape_append_options *options);

typedef struct tape_append_result {
    uint64_t first_seq; /* 0 when every record was a duplicate */
    uint64_t last_seq;
    uint64_t duplicates;
} tape_append_result;

/* The largest append, in bytes of its frames (64 B each and the structs); TOO_LARGE beyond. */
#define TAPE_APPEND_BYTES_MAX (1u << 20)

/* Appends `count` records as one atomic unit: they become visible, durable and committed together,
 * with consecutive sequence numbers. INVALID names record, field and value, and nothing is
 * appended. BUSY: the window stayed full until the timeout; nothing is appended. NO_SPACE: the disk
 * is short of reserve_bytes; nothing is appended until there is more. TIMEOUT: the
 * records are written, but the level was not reached in time; *result is filled. FAILED: a disk
 * write or sync failed; reopen the store. Several threads may append at once. Allocates nothing,
 * makes no system call at level TAPE_WRITTEN unless the window is full. `result` may be NULL. */
TAPE_API tape_status tape_append(tape *db, const tape_record *records, size_t count,
                                 const tape_append_options *options, tape_append_result *result,
                                 tape_error *error) TAPE_CHECKED;

/* Waits until `seq` has reached the level. TIMEOUT, FAILED. */
TAPE_API tape_status tape_wait(tape *db, uint64_t seq, tape_level level, int64_t timeout_ns,
                               tape_error *error) TAPE_CHECKED;

/* --- point reads --- */

/* The newest version of a key with seq <= `at` (0: everything at TAPE_WRITTEN). `key` has one text
 * per key field. Copies the struct to `out` (tape_table(table)->size_bytes). NOT_FOUND. */
TAPE_API tape_status tape_get(tape *db, uint16_t table, const char *const *key, size_t key_count,
                              uint64_t at, void *out, tape_error *error) TAPE_CHECKED;

/* The same for `count` keys, all at one seq: keys[i * key_count ...] are the parts of key i, whose
 * struct goes to the i-th place of the array `out` when found[i] is set. */
TAPE_API tape_status tape_get_many(tape *db, uint16_t table, const char *const *keys,
                                   size_t key_count, size_t count, uint64_t at, void *out,
                                   bool *found, tape_error *error) TAPE_CHECKED;

/* --- views and scans --- */

/* A view pins one seq: all its reads see exactly the records with seq <= S, whatever is appended,
 * flushed, compacted or expires meanwhile. It costs nothing to keep but that old versions which
 * keep_ns would let go stay for as long. Views must be closed before tape_close. */
typedef struct tape_view tape_view;

/* `at` 0: everything at `level`. TOO_OLD: versions that the view would show were let go before. */
TAPE_API tape_status tape_view_open(tape *db, uint64_t at, tape_level level, tape_view **out,
                                    tape_error *error) TAPE_CHECKED;
TAPE_API uint64_t tape_view_seq(const tape_view *view);
/* As tape_get and tape_get_many. */
TAPE_API tape_status tape_view_get(tape_view *view, uint16_t table, const char *const *key,
                                   size_t key_count, void *out, tape_error *error) TAPE_CHECKED;
TAPE_API tape_status tape_view_get_many(tape_view *view, uint16_t table, const char *const *keys,
                                        size_t key_count, size_t count, void *out, bool *found,
                                        tape_error *error) TAPE_CHECKED;
TAPE_API void tape_view_close(tape_view **view);

/* Which rows, in the order of their keys: text by bytes, numbers by value, the first key field
 * first. */
typedef struct tape_scan_options {
    size_t size_bytes;
    uint16_t table;
    const char *const *key; /* the first `key_count` key fields are these; default none */
    size_t key_count;
    /* Of the next key field; NULL (default) leaves it open. */
    const char *from;   /* from here on */
    const char *to;     /* up to, not including */
    const char *prefix; /* begins with; not together with from and to */
    bool backward;      /* the highest key first */
    bool versions;      /* every version of each key that keep_ns keeps, newest first (backward:
                           oldest first) */
} tape_scan_options;
TAPE_API void tape_scan_options_init(tape_scan_options *options);

/* A scan reads a view, which must stay open as long. INVALID names what is wrong with the bounds.
 */
typedef struct tape_scan tape_scan;
TAPE_API tape_status tape_scan_open(tape_view *view, const tape_scan_options *options,
                                    tape_scan **out, tape_error *error) TAPE_CHECKED;
/* The next rows: an array of the table's struct, `*count` of them up to `max` (at most 4096 come at
 * once); 0: the end. The array is good until the next call. One thread at a time. */
TAPE_API tape_status tape_scan_next(tape_scan *scan, size_t max, const void **records,
                                    size_t *count, tape_error *error) TAPE_CHECKED;
TAPE_API void tape_scan_close(tape_scan **scan);

/* --- SQL --- */

/* The Arrow C data and stream interfaces, as published by Apache Arrow. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4
struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};
struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif
#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif

/* Values of statements' parameters, and what functions of your own work on. */
typedef enum tape_type {
    TAPE_TYPE_BOOL = 1, /* BOOLEAN */
    TAPE_TYPE_INT64,    /* BIGINT */
    TAPE_TYPE_UINT64,   /* UBIGINT */
    TAPE_TYPE_DOUBLE,   /* DOUBLE */
    TAPE_TYPE_TEXT,     /* VARCHAR, UTF-8 */
    TAPE_TYPE_TIME,     /* TIMESTAMP_NS: ns since 1970, UTC */
} tape_type;

typedef struct tape_text {
    const char *data; /* not terminated */
    size_t size_bytes;
} tape_text;

typedef struct tape_value {
    tape_type type;
    bool is_null;
    union {
        bool boolean;
        int64_t int64; /* TAPE_TYPE_INT64 and TAPE_TYPE_TIME */
        uint64_t uint64;
        double real;
        tape_text text;
    };
} tape_value;

typedef struct tape_query_options {
    size_t size_bytes;
    uint64_t at;        /* see records with seq <= at; 0 (default): everything at `level` */
    tape_level level;   /* default TAPE_WRITTEN */
    int64_t timeout_ns; /* for the statement's execution and its turn; default: none */
    /* Asked about 20 times a second while the statement runs, by another thread: true stops it with
     * CANCELLED. Default: NULL. It is not called once the stream is released. */
    bool (*cancelled)(void *context);
    void *cancel_context;
    /* Values for $1, $2, ...; used during the call only. Default: none. */
    const tape_value *params;
    size_t param_count;
    /* Told, by the thread that reads the stream's first batch or by another, what share of the
     * statement is done, 0 to 1; about 10 times a second. Default: NULL. */
    void (*progress)(void *context, double share);
    void *progress_context;
    bool no_cache; /* run it even if its result is kept from before; default false */
} tape_query_options;
TAPE_API void tape_query_options_init(tape_query_options *options);

/* Runs one read-only statement in DuckDB's dialect. Every table shows exactly the records with
 * seq <= S for one S fixed at the start. Statements are prepared once and kept by their text, so
 * use parameters for what changes. SQL (text is DuckDB's, in one line), FORBIDDEN, NO_MEMORY,
 * TIMEOUT, TOO_OLD (versions at that seq were let go). The stream is the caller's: release it
 * (before tape_close). One thread at a time. */
TAPE_API tape_status tape_query(tape *db, const char *sql, const tape_query_options *options,
                                struct ArrowArrayStream *out, tape_error *error) TAPE_CHECKED;

/* --- functions of your own in SQL --- */

/* Rows of an argument: `values` is an array by type: bool, int64_t (INT64, TIME), uint64_t, double,
 * tape_text. Bit i % 64 of valid[i / 64] tells that value i is not NULL; `valid` NULL: none is. */
typedef struct tape_vector {
    tape_type type;
    const void *values;
    const uint64_t *valid;
} tape_vector;

/* Where results go. Every row is set once, in any order. Text is copied. */
typedef struct tape_results tape_results;
TAPE_API void tape_results_set_null(tape_results *results, size_t row);
/* For BOOL, INT64, UINT64, DOUBLE, TIME: the array to write to; rows left alone are undefined. */
TAPE_API void *tape_results_values(tape_results *results);
TAPE_API void tape_results_set_text(tape_results *results, size_t row, const char *data,
                                    size_t size_bytes);

/* A function of rows: result[i] = f(arguments[0][i], ...). A row with a NULL among its arguments is
 * NULL and its result ignored, unless `takes_null`. Called by several threads at once. A status
 * other than OK stops the statement with the error's text. */
typedef struct tape_function {
    size_t size_bytes;
    const char *name; /* letters, digits, _; lower case */
    const tape_type *arguments;
    size_t argument_count;
    tape_type result;
    bool takes_null;
    bool changes; /* may give another result for the same arguments */
    tape_status (*call)(void *context, const tape_vector *arguments, size_t rows,
                        tape_results *results, tape_error *error);
    void *context;
} tape_function;

/* An aggregate. A state is `state_bytes` of memory, zeroed, aligned to 8. update adds row i to
 * states[i]; combine adds each source to its target and may empty the source; finish gives the
 * result of states[i] to row i; destroy (may be NULL) frees what a state holds. NULL arguments are
 * left out unless `takes_null`. Called by several threads at once, each state by one at a time. In
 * statements it works with GROUP BY, DISTINCT and FILTER, not with OVER nor with ORDER BY among its
 * arguments. */
typedef struct tape_aggregate {
    size_t size_bytes;
    const char *name;
    const tape_type *arguments;
    size_t argument_count;
    tape_type result;
    bool takes_null;
    size_t state_bytes;
    tape_status (*update)(void *context, const tape_vector *arguments, size_t rows, void **states,
                          tape_error *error);
    tape_status (*combine)(void *context, void **sources, void **targets, size_t count,
                           tape_error *error);
    tape_status (*finish)(void *context, void **states, size_t count, tape_results *results,
                          tape_error *error);
    void (*destroy)(void *context, void **states, size_t count);
    void *context;
} tape_aggregate;

/* Makes a function known to statements that start from then on, as long as the store is open. The
 * struct and what it points to stay the caller's until tape_close. EXISTS: there is a function of
 * that name; INVALID. */
TAPE_API tape_status tape_add_function(tape *db, const tape_function *function,
                                       tape_error *error) TAPE_CHECKED;
TAPE_API tape_status tape_add_aggregate(tape *db, const tape_aggregate *aggregate,
                                        tape_error *error) TAPE_CHECKED;

/* Writes a stream as one Parquet file (replacing it) and releases the stream. *rows may be NULL. */
TAPE_API tape_status tape_write_parquet(struct ArrowArrayStream *stream, const char *path,
                                        uint64_t *rows, tape_error *error) TAPE_CHECKED;

/* --- import --- */

/* Reads files as records of a table, in order. CSV, JSON lines, Parquet, each also .gz or .zst; the
 * kind is told by the name. Needs no store. One thread at a time. */
typedef struct tape_import tape_import;

typedef struct tape_import_options {
    size_t size_bytes;
    uint16_t table;
    const char *const *paths;
    size_t path_count;
    const char *select; /* NULL, or a SELECT over the relation `input` */
    uint64_t skip;      /* rows to leave out at the start */
} tape_import_options;
TAPE_API void tape_import_options_init(tape_import_options *options);

/* A row that cannot become a record. */
typedef struct tape_import_reject {
    uint64_t row; /* from 1, a header not counted; with `select`, the row of its result */
    char column[64];
    char value[128]; /* shortened when long */
    char reason[256];
    const char *line;   /* the row as CSV text; valid until the next call */
    const char *header; /* the names of the line's columns as CSV text; valid as long */
} tape_import_reject;

/* INVALID: a column that the table does not have, or a statement that is not one SELECT. */
TAPE_API tape_status tape_import_open(const tape_import_options *options, tape_import **out,
                                      tape_error *error) TAPE_CHECKED;
/* The next run of good rows: an array of the table's struct, `*count` of them up to `max`, and the
 * number of the first in `*first_row`. `*count` 0 means the end, or, when reject->row is not 0, one
 * bad row, after which the next call goes on. The array is valid until the next call. */
TAPE_API tape_status tape_import_next(tape_import *import, size_t max, const void **records,
                                      size_t *count, uint64_t *first_row,
                                      tape_import_reject *reject, tape_error *error) TAPE_CHECKED;
/* Share of the input read so far, 0 to 1, or -1 when unknown. Any thread. */
TAPE_API double tape_import_progress(tape_import *import);
TAPE_API void tape_import_close(tape_import **import);

/* --- records as text --- */

/* A record as one JSON object (see CONTRACT's forms) into `out`; returns the length it has (without
 * the NUL), which may be larger than size - 1: then call again with more. `with_table` adds
 * "table". */
TAPE_API size_t tape_record_to_json(uint16_t table, const void *record, bool with_table, char *out,
                                    size_t size);
/* The reverse. Missing fields take defaults. INVALID names field and value. */
TAPE_API tape_status tape_record_from_json(uint16_t table, const char *text, size_t size, void *out,
                                           tape_error *error) TAPE_CHECKED;

/* --- operation --- */

/* Makes the store's files hold every record committed so far and removes journal that nothing
 * needs. */
TAPE_API tape_status tape_checkpoint(tape *db, tape_error *error) TAPE_CHECKED;

typedef struct tape_compact_options {
    size_t size_bytes;
    uint16_t table; /* default 0: every table */
    /* Keys, as in tape_scan_options; only with a table. */
    const char *const *key;
    size_t key_count;
    const char *from, *to, *prefix;
    /* Told now and then how many bytes of how many are done; false stops with CANCELLED. Default
     * NULL. */
    bool (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes);
    void *context;
} tape_compact_options;
TAPE_API void tape_compact_options_init(tape_compact_options *options);

/* Checkpoints, then brings the table files (of the keys given) into their last level and drops what
 * need not be kept: gets then look at one file, and no room is wasted. Appends and reads go on. */
TAPE_API tape_status tape_compact(tape *db, const tape_compact_options *options,
                                  tape_error *error) TAPE_CHECKED;

typedef struct tape_archive_options {
    size_t size_bytes;
    /* "2024-08-08": afterwards puts all files of that day together, for good. Default NULL. */
    const char *date;
    /* Told now and then how many rows of how many are done; false stops with CANCELLED. Default
     * NULL. */
    bool (*progress)(void *context, uint64_t done_rows, uint64_t total_rows);
    void *context;
} tape_archive_options;
TAPE_API void tape_archive_options_init(tape_archive_options *options);

/* Archives every record written so far: waits until it is committed, writes Parquet files, lets the
 * hot columns go. Appends and queries go on. */
TAPE_API tape_status tape_archive(tape *db, const tape_archive_options *options,
                                  tape_error *error) TAPE_CHECKED;

typedef struct tape_stats {
    size_t size_bytes; /* set by the caller */
    uint64_t written, durable, committed, applied, queryable, archived, oldest; /* seq */
    uint64_t epoch;
    uint64_t rows[TAPE_TABLE_COUNT + 1]; /* records per table id, as far as `queryable` */
    uint64_t journal_bytes, store_bytes, archive_bytes;   /* on disk */
    uint64_t window_bytes, memtable_bytes, columns_bytes; /* in memory */
    int64_t sync_floor_ns; /* the device's: median of one raw sync of a written file */
    char sync_method[16];  /* "fdatasync", "O_DSYNC", "O_DIRECT" */
    uint64_t busy;         /* appends refused because the window was full */
    uint64_t syncs;        /* group commits since opened */
    uint64_t recovered_records, recovered_from_window, cut_bytes; /* by the last open */
    int64_t recovery_ns;
    int64_t owner_pid;
    /* The store's table files. Counters are since the store was opened. */
    uint64_t table_files, mapped_files;
    uint64_t level_files[7], level_bytes[7];
    double space_amplification; /* bytes of table files by those of each table's last level */
    double write_amplification; /* bytes written to table files by bytes of records flushed */
    double compaction_score;    /* below 1: nothing to do */
    uint64_t flushed_bytes;     /* of records */
    uint64_t flush_written_bytes, compact_read_bytes, compact_written_bytes;
    uint64_t compactions, compact_moves, dropped_records;
    int64_t compact_ns; /* time spent on compaction */
    int64_t stall_ns;   /* time in which memtables were full and waited for the disk */
    uint64_t scrubbed_bytes, scrub_findings, damaged_reads;
    uint64_t views; /* open now */
    uint64_t gets, filter_negatives, filter_false_positives;
    /* SQL and the archive. Counters are since the store was opened. */
    uint64_t columns_lag;   /* records written and not yet queryable */
    int64_t columns_lag_ns; /* how long after its append the newest queryable one became so; 0: it
                               was there when the store was opened */
    uint64_t archive_files;
    uint64_t archive_takes, archive_merges, archive_expired_files, archive_findings;
    int64_t archive_ns; /* time spent archiving and merging */
    uint64_t queries, queries_from_store, queries_from_cache;
    uint64_t queries_running, queries_waiting;
} tape_stats;
/* `wait_queryable` is for callers who want `queryable` and `rows` to have reached `written`. */
TAPE_API tape_status tape_stats_read(tape *db, bool wait_queryable, tape_stats *out,
                                     tape_error *error) TAPE_CHECKED;

/* Reads every byte, checks every checksum, cross-checks journal and store. Calls `damage` once per
 * finding and goes on. CORRUPT when there was any. `records` and `files` may be NULL. */
TAPE_API tape_status tape_verify(tape *db, void (*damage)(void *context, const tape_error *finding),
                                 void *context, uint64_t *records, uint64_t *files,
                                 tape_error *error) TAPE_CHECKED;
/* The same for a store that does not open. */
TAPE_API tape_status tape_verify_dir(const char *dir,
                                     void (*damage)(void *context, const tape_error *finding),
                                     void *context, uint64_t *records, uint64_t *files,
                                     tape_error *error) TAPE_CHECKED;

/* --- verbs for other processes --- */

/* The owner of a store answers requests on DIR/control.sock. `handler` gets the request's words and
 * three descriptors of the asking process (stdin, stdout, stderr; the owner closes them), and
 * returns the exit status. It runs on a thread of the store's, one per request. */
typedef int (*tape_control_handler)(void *context, tape *db, int argc, char **argv,
                                    const int fds[3]);
TAPE_API tape_status tape_control_serve(tape *db, tape_control_handler handler, void *context,
                                        tape_error *error) TAPE_CHECKED;
/* Asks the owner of `dir`. NOT_FOUND when nobody answers there. */
TAPE_API tape_status tape_control_call(const char *dir, int argc, char *const *argv,
                                       const int fds[3], int *exit_status,
                                       tape_error *error) TAPE_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
