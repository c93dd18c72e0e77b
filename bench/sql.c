/* SQL over hot columns beside DuckDB's own tables in the same process, two threads each, and the
 * ingest that precedes it: rows through the C interfaces until queries see them.
 *
 * BENCH_ROWS trades (10 M), a tenth as many orders and ticks, all made from one seed. Every query
 * must give the same answer on both sides. */
#include "duck_native.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 10000000u
#define THREADS 2
#define SLICES 10u
#define BATCH 1000u
#define ROUNDS 7
#define INSTRUMENTS 100u
#define USERS 10000u
#define START_TS INT64_C(1723075200000000000)
#define TRADE_GAP_NS INT64_C(1000000)
#define SQL_PRICE_OVER "3950"

static uint64_t rows;
static uint64_t order_count;
static uint64_t tick_count;
static uint64_t duck_seq = 1;

/* --- the market --- */

static double prices[INSTRUMENTS]; /* each walks */

static double walk(uint64_t *seed, unsigned instrument) {
    double step = (double)(bench_random(seed) % 11) * 0.2 - 1.0;
    double back = (3900 + instrument - prices[instrument]) * 0.001;
    prices[instrument] = round((prices[instrument] + step + back) * 5) / 5;
    return prices[instrument];
}

static void make_trade(uint64_t *seed, uint64_t number, tape_trade *t) {
    uint64_t r = bench_random(seed);
    unsigned instrument = (unsigned)(r % INSTRUMENTS);
    *t = (tape_trade){
        .ts = START_TS + (int64_t)number * TRADE_GAP_NS,
        .side = (r >> 20 & 1) != 0 ? TAPE_SIDE_BUY : TAPE_SIDE_SELL,
        .position_effect =
            (r >> 21 & 1) != 0 ? TAPE_POSITION_EFFECT_OPEN : TAPE_POSITION_EFFECT_CLOSE,
        .price = walk(seed, instrument),
        .volume = (double)(r >> 22 & 31) + 1,
    };
    (void)snprintf(t->trade_id, sizeof t->trade_id, "T%015" PRIu64, number);
    (void)snprintf(t->order_id, sizeof t->order_id, "O%015" PRIu64,
                   bench_random(seed) % order_count);
    (void)snprintf(t->counter_order_id, sizeof t->counter_order_id, "O%015" PRIu64,
                   bench_random(seed) % order_count);
    (void)snprintf(t->user_id, sizeof t->user_id, "user-%05u", (unsigned)(r >> 32) % USERS);
    (void)snprintf(t->instrument_id, sizeof t->instrument_id, "IF%04u", instrument);
}

static void make_order(uint64_t *seed, uint64_t number, tape_order *o) {
    uint64_t r = bench_random(seed);
    *o = (tape_order){
        .ts = START_TS + (int64_t)(number * (rows / order_count)) * TRADE_GAP_NS,
        .side = (r >> 20 & 1) != 0 ? TAPE_SIDE_BUY : TAPE_SIDE_SELL,
        .price = 3900,
        .volume = (double)(r >> 22 & 31) + 1,
    };
    (void)snprintf(o->order_id, sizeof o->order_id, "O%015" PRIu64, number);
    (void)snprintf(o->user_id, sizeof o->user_id, "user-%05u", (unsigned)(r >> 32) % USERS);
    (void)snprintf(o->instrument_id, sizeof o->instrument_id, "IF%04u",
                   (unsigned)(r % INSTRUMENTS));
}

static void make_tick(uint64_t *seed, uint64_t number, tape_tick *k) {
    unsigned instrument = (unsigned)(bench_random(seed) % INSTRUMENTS);
    double price = walk(seed, instrument);
    *k = (tape_tick){
        .ts = START_TS + (int64_t)(number * (rows / tick_count)) * TRADE_GAP_NS,
        .last_price = price,
        .volume = 1,
        .bid_price = price - 0.2,
        .bid_volume = 5,
        .ask_price = price + 0.2,
        .ask_volume = 5,
    };
    (void)snprintf(k->instrument_id, sizeof k->instrument_id, "IF%04u", instrument);
}

/* --- ingest --- */

static void tape_append_rows(tape *db, uint16_t table, const void *data, size_t size_bytes,
                             size_t count) {
    static tape_record records[BATCH];
    tape_error error;
    for (size_t i = 0; i < count; i += BATCH) {
        size_t take = count - i < BATCH ? count - i : BATCH;
        for (size_t k = 0; k < take; k++) {
            records[k] = (tape_record){table, 0, (uint32_t)size_bytes,
                                       (const uint8_t *)data + (i + k) * size_bytes};
        }
        bench_check(tape_append(db, records, take, NULL, NULL, &error), &error);
    }
}

static void wait_visible(tape *db) {
    tape_error error;
    tape_stats stats = {.size_bytes = sizeof stats};
    bench_check(tape_stats_read(db, true, &stats, &error), &error);
    BENCH_CHECK(stats.queryable == stats.written);
}

static void duck_append_rows(duck_native *duck, uint16_t table, const void *data, size_t size_bytes,
                             size_t count) {
    for (size_t i = 0; i < count; i += BATCH) {
        size_t take = count - i < BATCH ? count - i : BATCH;
        duck_native_append(duck, table, (const uint8_t *)data + i * size_bytes, take, duck_seq);
        duck_native_flush(duck, table);
        duck_seq += take;
    }
}

static void load_trades(tape *db, duck_native *duck) {
    uint64_t seed = 5;
    size_t slice = rows / SLICES;
    tape_trade *trades = bench_alloc(slice * sizeof *trades);
    bench_series with_tape = {0};
    bench_series with_duck = {0};
    for (uint64_t s = 0; s < SLICES; s++) {
        for (size_t i = 0; i < slice; i++) {
            make_trade(&seed, s * slice + i, &trades[i]);
        }
        int64_t start_ns = bench_now_ns();
        tape_append_rows(db, TAPE_TABLE_TRADES, trades, sizeof *trades, slice);
        wait_visible(db);
        bench_push(&with_tape, (double)slice * 1e9 / (double)(bench_now_ns() - start_ns));
        bench_store_settle(db);
        start_ns = bench_now_ns();
        duck_append_rows(duck, TAPE_TABLE_TRADES, trades, sizeof *trades, slice);
        bench_push(&with_duck, (double)slice * 1e9 / (double)(bench_now_ns() - start_ns));
    }
    free(trades);
    bench_row row = {
        .threads = 1,
        .batch = BATCH,
        .unit = "rows/s",
        .row = "sql_ingest",
        .metric = "trades through the C interface until SQL sees them",
        .peer = "DuckDB appender",
        .peer_settings = "data chunks of 1,000 rows, each flushed; tables in memory: nothing is "
                         "stored",
        .tape = &with_tape,
        .beside = &with_duck,
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_LEAST,
        .target = 3,
        .explains = "tape: journal and store are written, too",
    };
    bench_print(&row);
}

static void load_others(tape *db, duck_native *duck) {
    uint64_t seed = 6;
    tape_order *orders = bench_alloc(order_count * sizeof *orders);
    for (uint64_t i = 0; i < order_count; i++) {
        make_order(&seed, i, &orders[i]);
    }
    tape_append_rows(db, TAPE_TABLE_ORDERS, orders, sizeof *orders, order_count);
    duck_append_rows(duck, TAPE_TABLE_ORDERS, orders, sizeof *orders, order_count);
    free(orders);
    tape_tick *ticks = bench_alloc(tick_count * sizeof *ticks);
    for (uint64_t i = 0; i < tick_count; i++) {
        make_tick(&seed, i, &ticks[i]);
    }
    tape_append_rows(db, TAPE_TABLE_TICKS, ticks, sizeof *ticks, tick_count);
    duck_append_rows(duck, TAPE_TABLE_TICKS, ticks, sizeof *ticks, tick_count);
    free(ticks);
    wait_visible(db);
    bench_store_settle(db);
}

/* --- queries --- */

/* Runs a query to its end. Returns the last column of the first row as a number. */
static double tape_query_all(tape *db, const char *sql, uint64_t *row_count) {
    tape_error error;
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    double value = 0;
    *row_count = 0;
    bench_check(tape_query(db, sql, NULL, &stream, &error), &error);
    BENCH_CHECK(stream.get_schema(&stream, &schema) == 0);
    const char *format = schema.children[schema.n_children - 1]->format;
    for (;;) {
        struct ArrowArray array;
        if (stream.get_next(&stream, &array) != 0) {
            bench_fail("%s: %s", sql, stream.get_last_error(&stream));
        }
        if (array.release == NULL) {
            break;
        }
        if (*row_count == 0 && array.length > 0) {
            const struct ArrowArray *column = array.children[array.n_children - 1];
            const void *data = column->buffers[1];
            if (strcmp(format, "g") == 0) {
                value = ((const double *)data)[column->offset];
            } else if (strcmp(format, "l") == 0 || strcmp(format, "L") == 0) {
                value = (double)((const int64_t *)data)[column->offset];
            } else {
                bench_fail("%s: the last column is of type %s", sql, format);
            }
        }
        *row_count += (uint64_t)array.length;
        array.release(&array);
    }
    schema.release(&schema);
    stream.release(&stream);
    return value;
}

typedef struct query_case {
    const char *row;
    const char *metric;
    const char *sql;
    uint32_t scanned_bytes; /* per row, of the columns the query reads; 0: not a scan row */
    double rows_per_second; /* the absolute target, 0: none */
} query_case;

/* Answers are compared by their last column: a double or an integer. */
static const query_case cases[] = {
    {"sql_sum", "count and sum", "SELECT count(*), sum(volume) FROM trades", 0, 100e6},
    {"sql_filter", "filtered scan",
     "SELECT sum(volume) AS v, count(*) AS n FROM trades WHERE price > " SQL_PRICE_OVER
     " AND volume < 20",
     16, 0},
    {"sql_group", "group by instrument",
     "SELECT instrument_id, count(*), avg(price), sum(volume) FROM trades GROUP BY instrument_id "
     "ORDER BY instrument_id",
     0, 0},
    {"sql_ohlc", "OHLC by minute and instrument",
     "SELECT instrument_id, time_bucket(INTERVAL 1 MINUTE, ts) AS minute, "
     "arg_min(price, seq) AS open, max(price) AS high, min(price) AS low, "
     "arg_max(price, seq) AS close, sum(volume) AS volume FROM trades GROUP BY ALL "
     "ORDER BY instrument_id, minute",
     0, 0},
    {"sql_join", "hash join trades and orders",
     "SELECT o.side, count(*), sum(t.volume) FROM trades t JOIN orders o USING (order_id) "
     "GROUP BY o.side ORDER BY o.side",
     0, 10e6},
    {"sql_asof", "ASOF join trades and ticks",
     "SELECT count(*), sum(t.price - k.last_price) FROM trades t ASOF JOIN ticks k "
     "ON t.instrument_id = k.instrument_id AND t.ts >= k.ts",
     0, 0},
};

static void measure(tape *db, duck_native *duck, const query_case *c) {
    bench_series with_tape = {0};
    bench_series with_duck = {0};
    bench_series rate = {0};
    bench_series bandwidth = {0};
    for (int round = -1; round < ROUNDS; round++) {
        uint64_t tape_rows = 0;
        uint64_t duck_rows = 0;
        int64_t start_ns = bench_now_ns();
        double mine = tape_query_all(db, c->sql, &tape_rows);
        double tape_ms = (double)(bench_now_ns() - start_ns) / 1e6;
        start_ns = bench_now_ns();
        double theirs = duck_native_query(duck, c->sql, &duck_rows);
        double duck_ms = (double)(bench_now_ns() - start_ns) / 1e6;
        if (tape_rows != duck_rows || fabs(mine - theirs) > fabs(theirs) * 1e-9 + 1e-6) {
            bench_fail("%s: tape answers %" PRIu64 " rows, %.17g; DuckDB %" PRIu64 ", %.17g",
                       c->sql, tape_rows, mine, duck_rows, theirs);
        }
        if (round >= 0) {
            bench_push(&with_tape, tape_ms);
            bench_push(&with_duck, duck_ms);
            bench_push(&rate, (double)rows / tape_ms * 1e3);
            bench_push(&bandwidth, (double)rows * c->scanned_bytes / tape_ms / 1e6);
        }
    }
    char name[64];
    bench_row row = {
        .threads = THREADS,
        .batch = 1,
        .unit = "ms",
        .row = c->row,
        .metric = c->metric,
        .peer = "DuckDB",
        .peer_settings = duck_native_settings(),
        .tape_settings = "hot columns, 2 threads",
        .tape = &with_tape,
        .beside = &with_duck,
        .ratio = BENCH_PEER_BY_TAPE,
        .goal = BENCH_AT_LEAST,
        .target = 0.9,
        .explains = c->sql,
    };
    bench_print(&row);
    row.row = name;
    row.peer = NULL;
    row.peer_settings = NULL;
    row.beside = NULL;
    row.ratio = BENCH_NO_RATIO;
    row.explains = NULL;
    if (c->rows_per_second > 0) {
        (void)snprintf(name, sizeof name, "%s_rate", c->row);
        row.unit = "rows/s";
        row.tape = &rate;
        row.target = c->rows_per_second;
        bench_print(&row);
    }
    if (c->scanned_bytes > 0) {
        (void)snprintf(name, sizeof name, "%s_bandwidth", c->row);
        row.unit = "GB/s";
        row.tape = &bandwidth;
        row.target = 1;
        row.explains = "of the two columns that are read";
        bench_print(&row);
    }
}

int main(void) {
    const char *text = getenv("BENCH_ROWS");
    rows = text == NULL ? bench_scaled(ROWS, 100000) : strtoull(text, NULL, 10);
    rows = rows / (SLICES * BATCH) * (SLICES * BATCH);
    BENCH_CHECK(rows > 0);
    order_count = rows / 10;
    tick_count = rows / 10;
    for (unsigned i = 0; i < INSTRUMENTS; i++) {
        prices[i] = 3900 + i;
    }
    tape_open_options options;
    tape_open_options_init(&options);
    options.query_threads = THREADS;
    options.columns_bytes_max = BENCH_GIB(16);
    tape *db = bench_store_open("sql.tape", &options);
    duck_native *duck = duck_native_open(THREADS);
    bench_print_fact("SQL rows", "%" PRIu64 " trades, %" PRIu64 " orders, %" PRIu64 " ticks", rows,
                     order_count, tick_count);
    load_trades(db, duck);
    load_others(db, duck);
    for (size_t i = 0; i < BENCH_COUNT_OF(cases); i++) {
        measure(db, duck, &cases[i]);
    }
    duck_native_close(&duck);
    bench_store_close(&db, "sql.tape");
    return 0;
}
