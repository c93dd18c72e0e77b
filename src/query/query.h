/* query: SQL over the columns at one seq, import of files, Parquet output. The DuckDB seam itself
 * is duck/; this module owns sessions, admission of statements, macros and error wording. */
#ifndef QUERY_H
#define QUERY_H

#include "archive/archive.h"
#include "columns/columns.h"

#include <tape/tape.h>

typedef struct query query;

typedef struct query_options {
    columns *columns;
    archive *archive;        /* what the columns no longer have; NULL: nothing */
    const char *archive_dir; /* of `archive`: whose files statements read */
    const char *temp_dir;    /* DuckDB spills here; created by the caller */
    uint64_t memory_bytes;
    int threads;          /* 0: one per core */
    uint32_t running_max; /* statements at once; 0: four per core */
    uint64_t cache_bytes; /* for results; 0: none */
    /* Reads the newest version of a key with seq <= `at` from the store, as store_get does: how
     * statements that ask for one key are answered. NULL: by DuckDB. Any thread. */
    tape_status (*get)(void *context, const tape_table_info *table, slice key, uint64_t at,
                       void *payload, uint16_t *version, tape_error *error);
    /* Returns once the columns have reached `seq`: asked before a statement reads tables otherwise.
     * NULL: they have. Any thread. */
    tape_status (*reach)(void *context, uint64_t seq, int64_t deadline_ns, tape_error *error);
    /* Fills the row of tape_status(); may be NULL. Any thread. */
    void (*stats)(void *context, tape_stats *out);
    void *context; /* of these three */
} query_options;

/* Opens DuckDB lazily at the first statement, so that opening a store stays cheap. */
tape_status query_open(query **out, const query_options *options, tape_error *error) TAPE_CHECKED;
/* No stream may be open. */
void query_close(query **q);

/* One admitted statement over records with seq <= `seq`. Of the options, `at` and `level` do not
 * count. Concurrent calls are fine; each gets its own session, or waits for one. The stream
 * keeps its session until released. */
tape_status query_run(query *q, const char *sql, uint64_t seq, const tape_query_options *options,
                      struct ArrowArrayStream *out, tape_error *error) TAPE_CHECKED;

/* As tape_add_function and tape_add_aggregate. */
tape_status query_add_function(query *q, const tape_function *function,
                               tape_error *error) TAPE_CHECKED;
tape_status query_add_aggregate(query *q, const tape_aggregate *aggregate,
                                tape_error *error) TAPE_CHECKED;

typedef struct query_stats {
    uint64_t statements, from_store, from_cache;
    uint64_t running, waiting;
} query_stats;
void query_stats_read(query *q, query_stats *out);

#endif
