/* What the tests of this module share: columns to ask about, and answers as text. */
#ifndef QUERY_TESTING_H
#define QUERY_TESTING_H

#include "query/query.h"

#include <tape/tape.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Adds one record with the next seq; `more` when the next belongs to the same append. */
void testing_add(columns *c, uint16_t table, const void *record, int64_t ts, bool more);

/* The rows of a stream, cells joined by '|' and rows ended by '\n', NULL as "NULL". Fails the test
 * on an error unless `failed` is given: then it gets the errno value. Releases the stream. Caller
 * frees. */
char *testing_text(struct ArrowArrayStream *stream, int *failed);

/* A new empty directory, and its removal with all files in it. */
char *testing_dir(void);
void testing_dir_remove(char *dir);
/* DIR/NAME; caller frees. */
char *testing_path(const char *dir, const char *name);
void testing_write(const char *path, const void *data, size_t size);
void testing_write_gzip(const char *path, const void *data, size_t size);
void testing_write_zstd(const char *path, const void *data, size_t size);
char *testing_read(const char *path, size_t *size);

uint64_t testing_random(uint64_t *state);

/* --- a small exchange --- */

#define MARKET_T0 INT64_C(1723161255342000000) /* 2024-08-08T23:54:15.342Z */

typedef struct market {
    columns *columns;
    query *query;
    char *dir;
    uint64_t cache_bytes;
    uint32_t running_max;
    /* As query_options.get, of this market. */
    tape_status (*get)(void *context, const tape_table_info *table, slice key, uint64_t at,
                       void *payload, uint16_t *version, tape_error *error);
    void *context;
} market;

market market_open(void);
/* The query engine alone, over the columns there are; close the one before. */
void market_open_query(market *m, uint64_t memory_bytes, bool spill);
void market_close(market *m);
void market_add_trade(market *m, const char *id, const char *user, const char *instrument,
                      tape_side side, double price, double volume, int64_t ts);
void market_add_order(market *m, const char *id, double filled, tape_order_status status);
/* A record of each table: seq 1..12. */
void market_fill(market *m);

tape_status market_run(market *m, const char *sql, uint64_t seq, const tape_query_options *options,
                       struct ArrowArrayStream *out, tape_error *error);
/* As testing_text; fails the test when the statement does. Caller frees. */
char *market_answer_at(market *m, const char *sql, uint64_t seq);
void market_check_at(market *m, const char *sql, uint64_t seq, const char *want);
/* At the newest seq. */
void market_check(market *m, const char *sql, const char *want);

#endif
