/* duck_native: DuckDB with tables of its own, in this process, as the peer of SQL over hot columns.
 * The same rows, columns and types as tape's SQL shows them. */
#ifndef DUCK_NATIVE_H
#define DUCK_NATIVE_H

#include "bench.h"

typedef struct duck_native duck_native;

duck_native *duck_native_open(int threads);
const char *duck_native_settings(void);
/* Adds records of a table, an array of its struct, with seqs from `first_seq` on. Data chunks, the
 * fastest way the C interface has. */
void duck_native_append(duck_native *d, uint16_t table, const void *rows, size_t count,
                        uint64_t first_seq);
/* Makes what was appended visible to queries. */
void duck_native_flush(duck_native *d, uint16_t table);
/* Runs a query to its end. Returns the last column of the first row as a number. */
double duck_native_query(duck_native *d, const char *sql, uint64_t *rows);
void duck_native_close(duck_native **d);

#endif
