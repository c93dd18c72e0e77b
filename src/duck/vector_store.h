/* duck, private: vectors that show the columns' memory without a copy; see vector_store.c. */
#ifndef VECTOR_STORE_H
#define VECTOR_STORE_H

#include "duck/duck_internal.h"

/* DuckDB's vectors have this many rows. */
#define VECTOR_STORE_ROWS 2048u
/* What is kept costs about 45 KB per field and chunk, which itself has nearly a megabyte. */
#define VECTOR_STORE_RUNS_MAX 2048u

typedef struct vector_run vector_run; /* the vectors of one field of one chunk */

vector_store *vector_store_create(duckdb_database database); /* NULL: there can be none */
void vector_store_close(vector_store **v);                   /* NULL-safe; no run may be held */

/* The run of the chunk of `row`, whose rows are all published; the caller has a pin of the columns.
 * NULL: there is none, copy. Let go of it before the pin is closed. */
vector_run *vector_store_hold(vector_store *v, const columns *c, const tape_table_info *table,
                              uint32_t field, uint64_t row);
void vector_store_let_go(vector_store *v, vector_run **held); /* NULL-safe */
/* The vector of `row` and those after it. */
duckdb_vector vector_run_vector(const vector_run *run, uint64_t row);

/* Scans of the table begin at `row` or later from here on, but for the odd one. */
void vector_store_forget(vector_store *v, uint16_t table, uint64_t row);

#endif
