/* engine's own: the handle and what its files share. */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "engine/engine.h"

/* A thread of the store's own, and what wakes it. */
typedef struct worker {
    os_thread *thread;
    _Atomic uint32_t word; /* futex: changes when there may be work, or it is to stop */
} worker;

struct tape {
    os_disk *disk;
    char *dir;
    tape_open_options options;
    uint64_t reserve_bytes; /* options.reserve_bytes, settled */
    os_lock *lock;
    int64_t opened_ns;
    bool background; /* threads of its own; without, whoever waits does the work */
    journal_recovery recovery;

    journal *journal;
    store *store;
    cursor store_cursor;

    /* SQL comes up at the first statement, the columns when one needs them. */
    pthread_mutex_t columns_mutex; /* for bringing them up */
    _Atomic bool query_live;       /* columns exist and query is open */
    _Atomic bool columns_live;     /* the columns' cursor is open */
    columns *columns;
    cursor columns_cursor;
    query *query;
    _Atomic uint64_t rebuilt_seq;   /* up to here the columns come from what the store keeps */
    _Atomic int64_t columns_lag_ns; /* how old the last record was when it became queryable */

    archive *archive;
    bool archive_attached;         /* guarded by columns_mutex */
    pthread_mutex_t archive_mutex; /* one take at a time */
    pthread_mutex_t pin_mutex;     /* guards archive_pin */
    store_pin *archive_pin;        /* at the archive's seq, or NULL while it is empty */
    pthread_mutex_t archive_failure_mutex;
    tape_error archive_failure;      /* guarded by it */
    _Atomic uint32_t archive_failed; /* the status in it: the last take failed; or 0 */

    pthread_mutex_t unique_mutex; /* one TAPE_UNIQUE append at a time */
    buffer unique_scratch;        /* guarded by it */

    pthread_mutex_t flush_mutex; /* one store_flush at a time; guards what follows */
    bool keep_journal;           /* the columns are being built from it: nothing is removed */
    tape_error flush_failure;
    _Atomic uint32_t flush_failed; /* the status in it: the last flush failed; or 0 */

    /* Calls of tape_compact that run or wait: the background leaves compaction to them. */
    _Atomic uint32_t compact_requests;

    os_thread *follower;
    worker flusher;
    worker compactor;
    worker scrubber;
    worker archiver;
    _Atomic uint32_t stop;

    void (*on_close)(void *);
    void *on_close_context;
};

/* Options of a caller built against another version of the header: as many bytes as both know, over
 * the defaults in `to`. `given` starts with its size and may be NULL. */
static inline void options_take(void *to, size_t to_size, const void *given) {
    if (given != NULL) {
        size_t size = 0;
        memcpy(&size, given, sizeof size);
        memcpy(to, given, size < to_size ? size : to_size);
    }
}

/* tape_create and tape_open on any disk and without limits on sizes, for tests on the simulated
 * one. */
tape_status engine_create(os_disk *disk, const char *dir, uint64_t segment_bytes,
                          tape_error *error) TAPE_CHECKED;
tape_status engine_open(os_disk *disk, const char *dir, const tape_open_options *options,
                        bool background, tape **out, tape_error *error) TAPE_CHECKED;

/* --- background.c --- */
tape_status engine_start(tape *db, tape_error *error) TAPE_CHECKED;
void engine_stop(tape *db);
/* Takes everything down in order and frees the handle. What is half open is fine. */
tape_status engine_destroy(tape *db, tape_error *error);
static inline bool engine_stopping(const tape *db) {
    return atomic_load_explicit(&db->stop, memory_order_acquire) != 0;
}
void engine_wake(worker *w);
/* Waits until the deadline or the end, or, unless `whole`, until `word` of the worker has changed.
 */
void engine_rest(const tape *db, worker *w, uint32_t word, int64_t until_ns, bool whole);
/* Room in the memtables for the store's cursor: OK when it will come, or why it will not. */
tape_status engine_relieve(tape *db, tape_error *error) TAPE_CHECKED;

/* --- history.c --- */
/* Opens the archive, and pins the store where it ends. */
tape_status engine_archive_open(tape *db, const uint8_t *store_id, tape_error *error) TAPE_CHECKED;
void engine_archive_close(tape *db);
/* Brings the store to the archive's seq, and pins it there: once, before the columns are filled. */
tape_status engine_archive_pin(tape *db, tape_error *error) TAPE_CHECKED;
/* Archives every record up to `seq`, the last of an append, committed and in the columns, and drops
 * the hot rows. */
tape_status engine_archive(tape *db, uint64_t seq, archive_beat beat,
                           tape_error *error) TAPE_CHECKED;
/* False once the store is being closed; the context is the handle. */
bool engine_archive_beat(void *db, uint64_t done, uint64_t total);
/* Room in the columns for their cursor: OK when it will come, or why it will not. */
tape_status engine_relieve_columns(tape *db, tape_error *error) TAPE_CHECKED;
void engine_run_archiver(void *db);

/* --- upkeep.c --- */
void engine_run_compactor(void *db);
void engine_run_scrubber(void *db);

tape_status engine_append(tape *db, const tape_record *records, size_t count,
                          const tape_append_options *options, tape_append_result *result,
                          tape_error *error) TAPE_CHECKED;
tape_status engine_append_unique(tape *db, const tape_record *records, size_t count,
                                 const tape_append_options *options, tape_append_result *result,
                                 tape_error *error) TAPE_CHECKED;
/* Brings the columns up, and to `seq`. */
tape_status engine_columns_reach(tape *db, uint64_t seq, int64_t deadline_ns,
                                 tape_error *error) TAPE_CHECKED;

#endif
