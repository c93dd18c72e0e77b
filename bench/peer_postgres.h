/* peer_postgres: a PostgreSQL of its own, in a temporary directory, on a UNIX socket, run as an
 * unprivileged user and ended with this program.
 *
 * The same rows and columns as tape's SQL shows them; columns of eight bytes come first, so that
 * none is padded, and enumerations are PostgreSQL's. */
#ifndef PEER_POSTGRES_H
#define PEER_POSTGRES_H

#include "answer.h"

typedef struct postgres postgres;

/* NULL when there is no PostgreSQL to measure: `missing` says why. */
postgres *postgres_open(int threads, char *missing, size_t missing_bytes);
const char *postgres_settings(const postgres *p);
/* Fills a table that is made for it: begin, rows as often as needed, end. */
void postgres_load_begin(postgres *p, uint16_t table);
void postgres_load(postgres *p, uint16_t table, const void *rows, size_t count, uint64_t first_seq);
void postgres_load_end(postgres *p, uint16_t table);
/* Indexes and statistics; when all tables are loaded. */
void postgres_settle(postgres *p);
/* Adds rows as one transaction on a connection of its own: may run beside postgres_query. */
void postgres_append(postgres *p, uint16_t table, const void *rows, size_t count,
                     uint64_t first_seq);
/* The table without its indexes. */
uint64_t postgres_heap_bytes(postgres *p, uint16_t table);
/* Runs a statement, prepared at its first time, to its end. `param` is the text for $1, NULL: none.
 * Returns the ns it took; -1 when that would be more than POSTGRES_SECONDS_MAX. */
#define POSTGRES_SECONDS_MAX 180
int64_t postgres_query(postgres *p, const char *sql, const char *param, answer *out);
void postgres_close(postgres **p); /* NULL-safe */

#endif
