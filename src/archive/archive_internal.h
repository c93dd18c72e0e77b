/* archive's own: the handle, what readers see, and what its files share.
 *
 * Locks, outermost first: write_lock (one take, merge or expiry at a time), lock (moments only). */
#ifndef ARCHIVE_INTERNAL_H
#define ARCHIVE_INTERNAL_H

#include "archive/archive.h"
#include "archive/manifest.h"

#include <stdlib.h>

#define ARCHIVE_DAY_NS (INT64_C(86400) * NS_PER_SECOND)
#define ARCHIVE_ROW_GROUP_ROWS 122880u /* what COLUMNS_CHUNK_ROWS is too */
#define ARCHIVE_FILE_ROWS_DEFAULT MIB(16)
#define ARCHIVE_SEQ_FIELD_ID 1
/* The field id of superseded_by in Parquet; those of the catalogue's fields count from 1. */
#define ARCHIVE_BY_FIELD_ID 1000

typedef struct archive_file {
    archive_file_info info;
    char *path;
    char *literal; /* the path as SQL writes it */
    uint64_t refs; /* versions that list it; guarded by archive.lock */
    bool unlisted; /* no manifest lists it any more: goes with the last reference */
} archive_file;

/* A set of files, as readers see it: never changes. */
typedef struct archive_version {
    uint64_t number;
    uint64_t seq;
    uint64_t history_seq[TAPE_TABLE_COUNT + 1];
    archive_file **files; /* by table, kind, day, number */
    size_t file_count;
    size_t first[TAPE_TABLE_COUNT + 2]; /* the files of table t: [first[t], first[t + 1]) */
    uint64_t refs;                      /* guarded by archive.lock, as are the links */
    struct archive_version *older, *newer;
} archive_version;

struct archive_view {
    archive *a;
    archive_version *version;
};

/* Pairs up to `by` may be forgotten once no version below `version` is read. */
typedef struct archive_forget {
    uint16_t table;
    uint64_t by;
    uint64_t version;
} archive_forget;

struct archive {
    os_disk *disk;
    char *dir, *manifest_path, *tmp_dir, *temp_dir;
    uint8_t store_id[16];
    archive_options options; /* its texts are those above; defaults filled in */

    columns *_Atomic columns; /* set once */

    pthread_mutex_t write_lock; /* guards what follows */
    duck *duck;
    uint64_t next_number;
    /* The manifest on disk is the one of `current`, durable, and nothing else lies around. */
    bool settled;

    pthread_mutex_t lock; /* guards what follows */
    archive_version *current;
    archive_version *oldest;
    archive_forget *forgets;
    size_t forget_count;

    _Atomic uint64_t seq;
    _Atomic uint64_t takes, merges, expired_files, taken_rows, scrubbed_files, scrub_findings;
    _Atomic int64_t take_ns, merge_ns;

    pthread_mutex_t scrub_lock;
    uint64_t scrub_number; /* guarded by it: the file read last */
};

/* --- version.c: what readers see --- */
archive_file *archive_file_make(const archive *a, const archive_file_info *info);
void archive_file_free(archive_file *f);
/* Takes `files` over, whose order it changes; counts a reference on each. */
archive_version *archive_version_make(archive_file **files, size_t count);
/* Makes it the one that is read from now on. */
void archive_version_publish(archive *a, archive_version *v);
archive_version *archive_version_hold(archive *a);
void archive_version_release(archive *a, archive_version *v);
/* Forgets pairs of superseded rows when no reader needs them any more; see archive_forget. */
void archive_forget_later(archive *a, uint16_t table, uint64_t by);

/* --- paths.c --- */
/* The directory of a table's day, or of its superseded pairs; caller frees. */
char *archive_day_dir(const archive *a, const archive_file_info *f);
/* What lies between the archive's directory and that one: "table=orders"; caller frees. */
char *archive_table_dir(const archive *a, const archive_file_info *f);
char *archive_file_path(const archive *a, const archive_file_info *f);
char *archive_tmp_path(const archive *a, uint64_t number);
void archive_day_text(int32_t day, char out[16]);
int32_t archive_day_of(const archive *a, int64_t ts);
/* The times of a day; both included. */
void archive_day_range(const archive *a, int32_t day, int64_t *from, int64_t *to);
/* Makes a directory unless it is there. */
tape_status archive_make_dir(const archive *a, const char *path, tape_error *error) TAPE_CHECKED;
/* Removes files of ours that no version lists. */
tape_status archive_sweep(archive *a, tape_error *error) TAPE_CHECKED;

/* --- edit.c: one change of the set of files --- */
typedef struct archive_watch archive_watch;
typedef struct archive_edit {
    archive *a;
    duck_session *session; /* sees S = archive_seq, or what a take sets */
    columns_pin *pin;
    archive_watch *watch;
    archive_version *base;
    uint64_t seq; /* the archive's afterwards */
    uint64_t history_seq[TAPE_TABLE_COUNT + 1];
    archive_file **added;
    size_t added_count, added_capacity;
    archive_file **removed; /* of base */
    size_t removed_count, removed_capacity;
} archive_edit;

/* With the write lock held. `sql`: a session is needed. */
tape_status archive_edit_begin(archive_edit *e, archive *a, bool sql, archive_beat beat,
                               tape_error *error) TAPE_CHECKED;
void archive_edit_remove(archive_edit *e, archive_file *f);
/* Makes the change durable and shows it. */
tape_status archive_edit_commit(archive_edit *e, tape_error *error) TAPE_CHECKED;
/* Lets go of everything; files that no commit listed are removed. */
void archive_edit_end(archive_edit *e);
/* How far the work is, for the beat: rows done, and those that the next statement deals with. */
void archive_watch_step(archive_edit *e, uint64_t done, uint64_t next, uint64_t total);
/* CANCELLED when the beat said so. */
tape_status archive_watch_check(const archive_edit *e, tape_error *error) TAPE_CHECKED;

/* --- write.c: one file --- */
/* Writes the rows of `select` (which gives the columns of `info`'s table and kind in order) as one
 * file, or as several by seq when there are more than `max`; info has table, kind, day and schema
 * version. `expected`: how many rows there are; FAILED when it turns out otherwise. */
tape_status archive_write_rows(archive_edit *e, const archive_file_info *info, const char *select,
                               uint64_t expected, uint64_t max, tape_error *error) TAPE_CHECKED;
/* Size and hash of a file's bytes. */
tape_status archive_hash_file(const archive *a, const char *path, uint64_t *size, uint64_t *xxh3,
                              bool (*go_on)(void *context, uint64_t bytes), void *context,
                              tape_error *error) TAPE_CHECKED;
/* Runs a statement that gives one row of `count` integers; NULL counts as 0. */
tape_status archive_run_integers(duck_session *s, const char *sql, int64_t *out, size_t count,
                                 tape_error *error) TAPE_CHECKED;

/* --- select.c --- */
/* The table's columns as a file of `schema_version` has them, those it lacks as NULL. */
void archive_put_columns(buffer *sql, const tape_table_info *table, uint16_t schema_version);
/* read_parquet([...], ...) of files. */
void archive_put_files(buffer *sql, archive_file *const *files, size_t count);
/* " WHERE ts ..." for times from `from` to `to`, both included; nothing when that is all times. */
void archive_put_ts_range(buffer *sql, int64_t from, int64_t to);
const tape_field_info *archive_instrument_field(const tape_table_info *table);
/* A BIGINT out of the column ts, whatever its value. epoch_ns refuses the two times at the ends,
 * which DuckDB takes for infinite. */
#define ARCHIVE_TS_NS                                                                              \
    "CASE WHEN isfinite(ts) THEN epoch_ns(ts) WHEN ts < make_timestamp_ns(0) "                     \
    "THEN -9223372036854775807 ELSE 9223372036854775807 END"
static inline void buffer_end(buffer *b) {
    buffer_append(b, "", 1);
}

/* --- merge.c --- */
/* With the write lock held: puts files of one table and day together, and superseded rows of its
 * current files into past ones. */
tape_status archive_merge_files(archive_edit *e, uint16_t table, archive_file *const *files,
                                size_t count, tape_error *error) TAPE_CHECKED;

#endif
