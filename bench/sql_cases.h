/* sql_cases: the statements that SQL is measured by, and how: tape and its peers in turn, over the
 * generated market, each answer compared with DuckDB's. */
#ifndef SQL_CASES_H
#define SQL_CASES_H

#include "duck_native.h"
#include "market.h"
#include "peer_polars.h"
#include "peer_postgres.h"

#define SQL_THREADS 2
#define SQL_MISSING_BYTES 512

/* Who takes part. */
typedef struct sql_setup {
    const char *prefix;  /* of the rows' names: "sql" */
    const char *details; /* ", hot": after what is measured */
    uint64_t rows;       /* of trades */
    const char *tape_settings;
    tape *db;
    duck_native *duck;
    const char *duck_name, *duck_settings;
    double duck_target;
    polars *polars; /* NULL: polars_missing says why */
    const char *polars_name, *polars_settings;
    double polars_target; /* 0: none */
    postgres *postgres;   /* NULL: postgres_missing says why */
    char polars_missing[SQL_MISSING_BYTES], postgres_missing[SQL_MISSING_BYTES];
} sql_setup;

/* All the statements: prints rows. A Polars that ends is missing from then on. */
void sql_measure(sql_setup *s);
/* The statements on tape alone, once each; prints rows with what they took, named by prefix. */
void sql_measure_alone(const sql_setup *s);

/* A row for a peer that is not there. `row` has tape's side. */
void sql_print_missing(const bench_row *row, const char *peer, const char *missing);

/* --- filling --- */

#define SQL_BATCH 1000u /* rows per call: what MARKET_UNIT is a multiple of */
/* Appends rows of a table, an array of its struct. */
void sql_append(tape *db, uint16_t table, const void *rows, size_t count);
/* Waits until everything appended is visible to SQL. */
void sql_wait_visible(tape *db);
/* A sink for sql_generate: rows of a table and the seq of the first. */
typedef void (*sql_sink)(void *context, uint16_t table, const void *rows, size_t count,
                         uint64_t first_seq);
/* Makes the rows of the market in the order in which they get their seqs: trades (unless left
 * out), both versions of each order, ticks. */
typedef enum sql_part { SQL_PART_TRADES = 1, SQL_PART_OTHERS = 2, SQL_PART_ALL = 3 } sql_part;
void sql_generate(uint64_t trades, sql_part part, sql_sink sink, void *context);
/* Sinks: a tape, a duck_native, a postgres. The peers get the newest version of each order. */
void sql_to_tape(void *db, uint16_t table, const void *rows, size_t count, uint64_t first_seq);
void sql_to_duck(void *duck, uint16_t table, const void *rows, size_t count, uint64_t first_seq);
/* Fills a whole postgres. */
void sql_fill_postgres(postgres *p, uint64_t trades);

#endif
