/* duck_native: DuckDB in this process, with tables of its own or over Parquet, as the peer of SQL.
 * The same rows, columns and types as tape's SQL shows them. */
#ifndef DUCK_NATIVE_H
#define DUCK_NATIVE_H

#include "answer.h"

typedef struct duck_native duck_native;

#define DUCK_NATIVE_SETTINGS_MEMORY                                                                \
    "tables in memory, filled by its appender, orders with a PRIMARY KEY, statements prepared, "   \
    "2 threads"
#define DUCK_NATIVE_SETTINGS_FILE                                                                  \
    "tables in its own file, filled by its appender, orders with a PRIMARY KEY, statements "       \
    "prepared, 2 threads"
#define DUCK_NATIVE_SETTINGS_PARQUET                                                               \
    "read_parquet over one file per table that it wrote itself by COPY with its defaults "         \
    "(snappy, "                                                                                    \
    "row groups of 122,880), rows as they came; 2 threads"

/* `path` of its file, NULL: in memory. Without tables. */
duck_native *duck_native_open(const char *path, int threads);
/* trades, orders (indexed by order_id) and ticks. */
void duck_native_create_tables(duck_native *d);
/* Adds records of a table, an array of its struct, with seqs from `first_seq` on. Data chunks, the
 * fastest way the C interface has. */
void duck_native_append(duck_native *d, uint16_t table, const void *rows, size_t count,
                        uint64_t first_seq);
/* Makes what was appended visible to queries. */
void duck_native_flush(duck_native *d, uint16_t table);
/* Writes a table as one Parquet file, with DuckDB's defaults. */
void duck_native_write_parquet(duck_native *d, uint16_t table, const char *path);
/* Makes the table a view of that file. */
void duck_native_read_parquet(duck_native *d, uint16_t table, const char *path);
/* Runs a statement, prepared at its first time, to its end. `param` is the text for $1, NULL: none.
 * Returns the ns it took. May run beside one thread that appends. */
int64_t duck_native_query(duck_native *d, const char *sql, const char *param, answer *out);
void duck_native_close(duck_native **d); /* NULL-safe */

#endif
