/* archive: history as Parquet files that any engine reads, one directory per table and day, listed
 * in a manifest of its own. A cursor over the journal: it holds every record with seq <=
 * archive_seq, but for what retention let go.
 *
 * Rows come from the hot columns (archive_take). A file holds rows of one table, one day and one
 * kind:
 *   rows        of an event table
 *   current     of an entity table: versions that were the newest of their key when written; what
 *               has superseded them since is told by the `superseded` files and by the columns
 *   past        of an entity table: versions with what superseded them, column `superseded_by`
 *   superseded  of an entity table: pairs (seq, superseded_by) for rows of `current` files
 * A file is written, made durable, checked by reading it again, and only then listed; what is not
 * listed is removed at the next chance; what a view lists stays until the view is closed.
 * README.md has formats and invariants.
 *
 * Failure: a take, merge or expiry that fails changes nothing and may be tried again. CORRUPT names
 * the file. */
#ifndef ARCHIVE_H
#define ARCHIVE_H

#include "columns/columns.h"
#include "duck/duck.h"
#include "os/os.h"

typedef struct archive archive;

typedef enum archive_kind {
    ARCHIVE_ROWS = 1,
    ARCHIVE_CURRENT = 2,
    ARCHIVE_PAST = 3,
    ARCHIVE_SUPERSEDED = 4,
} archive_kind;

typedef enum archive_codec { ARCHIVE_ZSTD = 0, ARCHIVE_SNAPPY = 1 } archive_codec;

typedef struct archive_options {
    os_disk *disk;
    const char *dir;         /* DIR/archive; made by the first take */
    const uint8_t *store_id; /* 16 bytes */
    const char *temp_dir; /* DuckDB spills into TEMP_DIR/archive, made when needed; NULL: nowhere */
    uint64_t memory_bytes; /* for sorting; 0: 1 GiB */
    int threads;           /* for writing; 0: one */
    archive_codec codec;
    /* A day begins this long before midnight UTC: 8 hours make a day that begins at midnight in
     * Shanghai, 11 one that begins with Shanghai's night session. Only names depend on it. */
    int64_t day_begins_ns;
    /* A day's rows in more than one file when there are more; a take makes smaller ones, of rows
     * that can be sorted in memory_bytes. 0: 16 Mi */
    uint64_t file_rows_max;
    /* By table id: rows (of entity tables: superseded versions) whose day ended this long ago may
     * go, by whole files. 0: forever. */
    int64_t keep_ns[TAPE_TABLE_COUNT + 1];
} archive_options;

/* Reads the manifest; opens nothing else. A directory without one is an empty archive. */
tape_status archive_open(archive **out, const archive_options *options,
                         tape_error *error) TAPE_CHECKED;
void archive_close(archive **a); /* NULL-safe; no view may be open */

/* Every record up to here has been archived. The last seq of an append; 0: nothing. Any thread. */
uint64_t archive_seq(const archive *a);

/* --- writing: one call at a time (others wait), beside any number of views --- */

/* How whoever lends a thread keeps it in bounds; false stops the work: CANCELLED. `done` of `total`
 * rows (of a scrub: bytes of the file). May be NULL. */
typedef struct archive_beat {
    bool (*beat)(void *context, uint64_t done, uint64_t total);
    void *context;
} archive_beat;

/* Rows come from `c` from now on, which was made with archive_seq as its base and outlives the
 * archive; tells it what the archive knows of superseded rows. Once, before the calls below and
 * before the first columns_apply. */
tape_status archive_attach(archive *a, columns *c, tape_error *error) TAPE_CHECKED;
/* Takes the rows after archive_seq up to `seq` (the last of an append, not above columns_seq and
 * committed) over from the columns: files, then the manifest. Leaves it to the caller to let the
 * columns drop them. */
tape_status archive_take(archive *a, uint64_t seq, archive_beat beat,
                         tape_error *error) TAPE_CHECKED;
/* Puts files of a day together if a table has a day with many small ones, or superseded pairs into
 * the files they speak of: the most wanted one. *worked false: nothing to do. */
tape_status archive_merge(archive *a, archive_beat beat, bool *worked,
                          tape_error *error) TAPE_CHECKED;
/* The same for all files of one day (days since 1970), wanted or not, table by table: when one
 * fails, those before it are done. */
tape_status archive_merge_day(archive *a, int32_t day, archive_beat beat,
                              tape_error *error) TAPE_CHECKED;
/* Lets go what keep_ns no longer asks for, going by `now_ns`. */
tape_status archive_expire(archive *a, int64_t now_ns, tape_error *error) TAPE_CHECKED;
/* "2024-08-08" to days since 1970. INVALID. */
tape_status archive_day_from_text(const char *text, int32_t *day, tape_error *error) TAPE_CHECKED;

/* --- reading: any thread --- */

/* A list of files that stays as it is, and the files with it. */
typedef struct archive_view archive_view;
archive_view *archive_view_open(archive *a);
void archive_view_close(archive_view **view); /* NULL-safe */
/* The archive's seq when it was opened. */
uint64_t archive_view_seq(const archive_view *view);
/* A number that differs between views whose files differ. */
uint64_t archive_view_version(const archive_view *view);
/* Entity tables: versions superseded at or before this seq may be gone; event tables: rows up to
 * this seq may be. */
uint64_t archive_view_history_seq(const archive_view *view, uint16_t table);

/* What of a table to read. */
typedef enum archive_rows {
    ARCHIVE_NEWEST,  /* entity tables: the newest of each key at S */
    ARCHIVE_VERSIONS /* everything with seq <= S */
} archive_rows;

typedef struct archive_pruning {
    uint64_t files, files_pruned; /* of those with rows the query could see */
    uint64_t rows, rows_pruned;
} archive_pruning;

/* Appends SELECTs to `sql` that together give the table's archived rows at `seq`, joined by " UNION
 * ALL ", with the catalogue's columns in order; nothing when no file has any that the hint is after
 * (then false is returned). They call tape_newest. `hint` may be NULL. `pruning` may be NULL; what
 * is found is added to it. Any value of `seq`. */
bool archive_view_sql(const archive_view *view, const tape_table_info *table, archive_rows rows,
                      uint64_t seq, const columns_hint *hint, buffer *sql,
                      archive_pruning *pruning);

/* --- figures and checks --- */

typedef struct archive_stats {
    uint64_t seq;
    uint64_t files, bytes;
    uint64_t rows[TAPE_TABLE_COUNT + 1];
    uint64_t takes, merges, expired_files; /* since opened */
    uint64_t taken_rows;
    int64_t take_ns, merge_ns;
    uint64_t scrubbed_files, scrub_findings;
} archive_stats;
void archive_stats_read(archive *a, archive_stats *out);

/* Reads every byte of every file and checks size, checksum, and (on a real disk) what the Parquet
 * itself says of its rows against the manifest. Calls `damage` per finding and goes on; adds to
 * `files`, `records`. CORRUPT when there was any. */
tape_status archive_verify(archive *a, void (*damage)(void *context, const tape_error *finding),
                           void *context, uint64_t *files, uint64_t *records,
                           tape_error *error) TAPE_CHECKED;
/* Checks the next file's bytes; after the last the first. *worked false when there is none. CORRUPT
 * names the file; it is counted and logged. */
tape_status archive_scrub(archive *a, archive_beat beat, bool *worked,
                          tape_error *error) TAPE_CHECKED;

#endif
