/* peer_polars: Polars in a child process (node runs polars.cjs), which reads Parquet and answers
 * the questions of sql_cases.h, each under its row's name. Times are taken in the child. */
#ifndef PEER_POLARS_H
#define PEER_POLARS_H

#include "answer.h"

typedef struct polars polars;

#define POLARS_SETTINGS_MEMORY                                                                     \
    "in a process of its own (node), data frames in memory, lazy queries, the faster of its two "  \
    "engines by query, 2 threads; times without the way to the process"
#define POLARS_SETTINGS_PARQUET                                                                    \
    "in a process of its own (node), scanParquet over the files that DuckDB wrote, lazy queries, " \
    "the faster of its two engines by query, 2 threads; times without the way to the process"

/* NULL when there is no Polars to measure: `missing` says why. */
polars *polars_open(int threads, char *missing, size_t missing_bytes);
/* Gives a table's Parquet file: read into memory now, or scanned by each query. */
void polars_read(polars *p, const char *table, const char *path, bool into_memory);
/* Returns the ns it took; -1 when the process has ended: memory was short, and it is the one that
 * the kernel is asked to take first. */
int64_t polars_query(polars *p, const char *row, answer *out);
void polars_close(polars **p); /* NULL-safe */

#endif
