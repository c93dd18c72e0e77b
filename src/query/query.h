/* query: SQL over the columns at one seq, import of files, Parquet output. The DuckDB seam itself
 * is duck/; this module owns sessions, admission of statements, macros and error wording. */
#ifndef QUERY_H
#define QUERY_H

#include "columns/columns.h"

#include <tape/tape.h>

typedef struct query query;

typedef struct query_options {
    columns *columns;
    const char *temp_dir; /* DuckDB spills here; created by the caller */
    uint64_t memory_bytes;
    int threads; /* 0: one per core */
    /* Fills the row of tape_status(); may be NULL. Any thread. */
    void (*stats)(void *context, tape_stats *out);
    void *stats_context;
} query_options;

/* Opens DuckDB lazily at the first statement, so that opening a store stays cheap. */
tape_status query_open(query **out, const query_options *options, tape_error *error) TAPE_CHECKED;
/* No stream may be open. */
void query_close(query **q);

/* One admitted statement over records with seq <= `seq` (which columns_seq has reached). Of the
 * options, those count that end it early: timeout_ns, cancelled. Concurrent calls are fine; each
 * gets its own session. The stream keeps its session until released. */
tape_status query_run(query *q, const char *sql, uint64_t seq, const tape_query_options *options,
                      struct ArrowArrayStream *out, tape_error *error) TAPE_CHECKED;

#endif
