/* The statements, and the loop that measures them: see sql_cases.h. */
#include "sql_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 7
#define ROUNDS_LEAST 3
#define STATEMENT_NS (30 * BENCH_SECOND_NS) /* beyond, the rounds that must be are enough */
#define SLOW_PEER_NS (4 * BENCH_SECOND_NS)  /* per statement; a slower peer gets fewer rounds */
#define SLICE 100000u

typedef struct sql_case {
    const char *row, *metric;
    const char *sql;
    const char *postgres_sql; /* NULL: the same */
    uint32_t scanned_bytes;   /* per row, of the columns that are read; 0: not a row of its own */
    double rows_per_second;   /* tape's absolute target; 0: none */
} sql_case;

static const sql_case cases[] = {
    {"scan", "scan of four columns",
     "SELECT max(seq), max(ts), sum(price), sum(volume), sum(price * volume) FROM trades", NULL, 32,
     0},
    {"sum", "count and sum", "SELECT count(*), sum(volume) FROM trades", NULL, 0, 100e6},
    {"count", "count of all rows", "SELECT count(*) FROM trades", NULL, 0, 0},
    {"count_text", "count of an instrument",
     "SELECT count(*) FROM trades WHERE instrument_id = '" MARKET_BUSY "'", NULL, 0, 0},
    {"filter", "filtered sum",
     "SELECT sum(volume), count(*) FROM trades WHERE price > " MARKET_PRICE_MIDDLE
     " AND volume < " MARKET_VOLUME_MOST,
     NULL, 0, 0},
    {"group", "group by instrument",
     "SELECT instrument_id, count(*), avg(price), sum(volume) FROM trades GROUP BY instrument_id "
     "ORDER BY instrument_id",
     NULL, 0, 0},
    {"ohlc", "OHLC by minute and instrument",
     "SELECT instrument_id, time_bucket(INTERVAL 1 MINUTE, ts) AS minute, "
     "arg_min(price, seq) AS open, max(price) AS high, min(price) AS low, "
     "arg_max(price, seq) AS close, sum(volume) AS volume FROM trades GROUP BY ALL "
     "ORDER BY instrument_id, minute",
     "SELECT b.instrument_id, b.minute, o.price, b.high, b.low, c.price, b.volume FROM (SELECT "
     "instrument_id, date_bin('1 minute', ts, '2000-01-01') AS minute, min(seq) AS first, "
     "max(seq) AS last, max(price) AS high, min(price) AS low, sum(volume) AS volume FROM trades "
     "GROUP BY 1, 2) b JOIN trades o ON o.seq = b.first JOIN trades c ON c.seq = b.last "
     "ORDER BY 1, 2",
     0, 0},
    {"join", "hash join of trades and orders",
     "SELECT o.side, count(*), sum(t.volume) FROM trades t JOIN orders o USING (order_id) "
     "GROUP BY o.side ORDER BY o.side",
     NULL, 0, 10e6},
    {"asof", "ASOF join of trades and ticks",
     "SELECT count(*), sum(t.price - k.last_price) FROM trades t ASOF JOIN ticks k "
     "ON t.instrument_id = k.instrument_id AND t.ts >= k.ts",
     "SELECT count(*), sum(t.price - k.last_price) FROM trades t CROSS JOIN LATERAL (SELECT "
     "last_price FROM ticks WHERE instrument_id = t.instrument_id AND ts <= t.ts "
     "ORDER BY ts DESC LIMIT 1) k",
     0, 0},
};

/* --- one statement --- */

typedef struct peer_series {
    bench_series peer, tape; /* the rounds in which both took part */
    int64_t spent_ns;
} peer_series;

/* A peer's turn: whether it still takes part. The first time only warms up, unless that was slow
 * already. */
static void peer_push(peer_series *s, int round, double tape_ms, int64_t elapsed_ns) {
    s->spent_ns += elapsed_ns;
    if (round >= 0 || s->spent_ns >= SLOW_PEER_NS) {
        bench_push(&s->peer, (double)elapsed_ns / 1e6);
        bench_push(&s->tape, tape_ms);
    }
}

static bool takes_part(const peer_series *s) {
    return s->peer.count == 0 || s->spent_ns < SLOW_PEER_NS;
}

static void print_absolute(const sql_setup *s, const sql_case *c, const bench_series *tape_ms) {
    char name[64];
    char metric[128];
    bench_series figures = {0};
    (void)snprintf(metric, sizeof metric, "%s%s", c->metric, s->details);
    bench_row row = {
        .threads = SQL_THREADS,
        .batch = 1,
        .row = name,
        .metric = metric,
        .tape_settings = s->tape_settings,
        .tape = &figures,
        .goal = BENCH_AT_LEAST,
    };
    for (size_t i = 0; i < tape_ms->count; i++) {
        double seconds = tape_ms->values[i] / 1e3;
        bench_push(&figures, c->scanned_bytes > 0
                                 ? (double)s->rows * c->scanned_bytes / seconds / 1e9
                                 : (double)s->rows / seconds);
    }
    if (c->scanned_bytes > 0) {
        (void)snprintf(name, sizeof name, "%s_%s_bandwidth", s->prefix, c->row);
        row.unit = "GB/s";
        row.target = 1;
        row.explains = "of the columns that are read, as values of 8 bytes";
        bench_print(&row);
    } else if (c->rows_per_second > 0) {
        (void)snprintf(name, sizeof name, "%s_%s_rate", s->prefix, c->row);
        row.unit = "rows/s";
        row.target = c->rows_per_second;
        bench_print(&row);
    }
}

void sql_print_missing(const bench_row *row, const char *peer, const char *missing) {
    bench_row without = *row;
    char who[128];
    char why[SQL_MISSING_BYTES + 64];
    (void)snprintf(who, sizeof who, "%s: missing", peer);
    (void)snprintf(why, sizeof why, "%s was not measured: %s", peer, missing);
    without.peer = who;
    without.peer_settings = NULL;
    without.beside = NULL;
    without.peer_spread = NULL;
    without.ratio = BENCH_NO_RATIO;
    without.goal = BENCH_NO_GOAL;
    without.explains = why;
    bench_print(&without);
}

typedef struct turns {
    bench_series tape_ms, duck_ms;
    peer_series polars, postgres;
    bool postgres_late; /* it gives no answer in time */
} turns;

static void polars_turn(sql_setup *s, const sql_case *c, int round, double tape_ms, turns *t,
                        const answer *theirs) {
    answer others;
    if (s->polars == NULL || !takes_part(&t->polars)) {
        return;
    }
    int64_t elapsed_ns = polars_query(s->polars, c->row, &others);
    if (elapsed_ns < 0) {
        polars_close(&s->polars);
        (void)snprintf(s->polars_missing, sizeof s->polars_missing,
                       "its process ended while it answered: %s", c->metric);
        return;
    }
    peer_push(&t->polars, round, tape_ms, elapsed_ns);
    answer_compare(c->sql, "Polars", &others, "DuckDB", theirs);
}

static void postgres_turn(const sql_setup *s, const sql_case *c, int round, double tape_ms,
                          turns *t, const answer *theirs) {
    answer others;
    const char *sql = c->postgres_sql == NULL ? c->sql : c->postgres_sql;
    if (s->postgres == NULL || t->postgres_late || !takes_part(&t->postgres)) {
        return;
    }
    int64_t elapsed_ns = postgres_query(s->postgres, sql, NULL, &others);
    if (elapsed_ns < 0) {
        t->postgres_late = true;
        return;
    }
    peer_push(&t->postgres, round, tape_ms, elapsed_ns);
    answer_compare(sql, "PostgreSQL", &others, "DuckDB", theirs);
}

static void take_turns(sql_setup *s, const sql_case *c, turns *t) {
    int64_t enough_ns = bench_now_ns() + STATEMENT_NS;
    for (int round = -1; round < ROUNDS; round++) {
        if (round >= ROUNDS_LEAST && bench_now_ns() > enough_ns) {
            break;
        }
        answer mine;
        answer theirs;
        double tape_ms = (double)answer_by_tape(s->db, c->sql, NULL, 0, &mine) / 1e6;
        int64_t elapsed_ns = duck_native_query(s->duck, c->sql, NULL, &theirs);
        if (round >= 0) {
            bench_push(&t->tape_ms, tape_ms);
            bench_push(&t->duck_ms, (double)elapsed_ns / 1e6);
        }
        answer_compare(c->sql, "tape", &mine, "DuckDB", &theirs);
        polars_turn(s, c, round, tape_ms, t, &theirs);
        postgres_turn(s, c, round, tape_ms, t, &theirs);
    }
}

/* The rows of the peers but DuckDB; `row` has what they share. */
static void print_others(const sql_setup *s, const sql_case *c, const turns *t, bench_row row) {
    char name[64];
    row.row = name;
    (void)snprintf(name, sizeof name, "%s_%s_polars", s->prefix, c->row);
    row.peer = s->polars_name;
    row.peer_settings = s->polars_settings;
    row.tape = s->polars == NULL ? &t->tape_ms : &t->polars.tape;
    row.beside = &t->polars.peer;
    row.goal = s->polars_target > 0 ? BENCH_AT_LEAST : BENCH_NO_GOAL;
    row.target = s->polars_target;
    row.explains = NULL;
    if (s->polars != NULL) {
        bench_print(&row);
    } else {
        sql_print_missing(&row, s->polars_name, s->polars_missing);
    }
    (void)snprintf(name, sizeof name, "%s_%s_postgres", s->prefix, c->row);
    row.tape = &t->tape_ms;
    row.goal = BENCH_NO_GOAL;
    if (s->postgres == NULL || t->postgres_late) {
        char late[64];
        (void)snprintf(late, sizeof late, "it takes more than %d s", POSTGRES_SECONDS_MAX);
        sql_print_missing(&row, "PostgreSQL", t->postgres_late ? late : s->postgres_missing);
        return;
    }
    row.peer = "PostgreSQL";
    row.peer_settings = postgres_settings(s->postgres);
    row.tape = &t->postgres.tape;
    row.beside = &t->postgres.peer;
    row.explains = c->postgres_sql;
    bench_print(&row);
}

static void measure(sql_setup *s, const sql_case *c) {
    turns t = {0};
    char name[64];
    char metric[128];
    take_turns(s, c, &t);
    (void)snprintf(name, sizeof name, "%s_%s", s->prefix, c->row);
    (void)snprintf(metric, sizeof metric, "%s%s", c->metric, s->details);
    bench_row row = {
        .threads = SQL_THREADS,
        .batch = 1,
        .unit = "ms",
        .row = name,
        .metric = metric,
        .peer = s->duck_name,
        .peer_settings = s->duck_settings,
        .tape_settings = s->tape_settings,
        .tape = &t.tape_ms,
        .beside = &t.duck_ms,
        .ratio = BENCH_PEER_BY_TAPE,
        .goal = BENCH_AT_LEAST,
        .target = strcmp(c->row, "asof") == 0 ? 1 : s->duck_target,
        .explains = c->sql,
    };
    bench_print(&row);
    print_others(s, c, &t, row);
    print_absolute(s, c, &t.tape_ms);
}

void sql_measure(sql_setup *s) {
    for (size_t i = 0; i < BENCH_COUNT_OF(cases); i++) {
        measure(s, &cases[i]);
    }
}

void sql_measure_alone(const sql_setup *s) {
    for (size_t i = 0; i < BENCH_COUNT_OF(cases); i++) {
        char name[64];
        char metric[128];
        bench_series tape_ms = {0};
        answer mine;
        bench_push(&tape_ms, (double)answer_by_tape(s->db, cases[i].sql, NULL, 0, &mine) / 1e6);
        (void)snprintf(name, sizeof name, "%s_%s", s->prefix, cases[i].row);
        (void)snprintf(metric, sizeof metric, "%s%s", cases[i].metric, s->details);
        bench_row row = {
            .threads = SQL_THREADS,
            .batch = 1,
            .unit = "ms",
            .row = name,
            .metric = metric,
            .tape_settings = s->tape_settings,
            .tape = &tape_ms,
        };
        bench_print(&row);
    }
}

/* --- filling --- */

void sql_append(tape *db, uint16_t table, const void *rows, size_t count) {
    static tape_record records[SQL_BATCH];
    size_t size_bytes = tape_table(table)->size_bytes;
    tape_error error;
    for (size_t i = 0; i < count; i += SQL_BATCH) {
        size_t take = count - i < SQL_BATCH ? count - i : SQL_BATCH;
        for (size_t k = 0; k < take; k++) {
            records[k] = (tape_record){table, 0, (uint32_t)size_bytes,
                                       (const uint8_t *)rows + (i + k) * size_bytes};
        }
        bench_check(tape_append(db, records, take, NULL, NULL, &error), &error);
    }
}

void sql_wait_visible(tape *db) {
    tape_error error;
    tape_stats stats = {.size_bytes = sizeof stats};
    bench_check(tape_stats_read(db, true, &stats, &error), &error);
    BENCH_CHECK(stats.queryable == stats.written);
}

void sql_generate(uint64_t trades, sql_part part, sql_sink sink, void *context) {
    market *m = market_create(trades);
    tape_trade *trade = bench_alloc(SLICE * sizeof *trade);
    tape_order *order = bench_alloc(SLICE * sizeof *order);
    tape_tick *tick = bench_alloc(SLICE * sizeof *tick);
    uint64_t seq = 1;
    for (uint64_t i = 0; i < m->trades && (part & SQL_PART_TRADES) != 0; i += SLICE) {
        size_t take = m->trades - i < SLICE ? m->trades - i : SLICE;
        market_trades(m, trade, take);
        sink(context, TAPE_TABLE_TRADES, trade, take, seq + i);
    }
    seq += m->trades;
    for (unsigned version = 0; version < 2 && (part & SQL_PART_OTHERS) != 0; version++) {
        for (uint64_t i = 0; i < m->orders; i += SLICE) {
            size_t take = m->orders - i < SLICE ? m->orders - i : SLICE;
            market_orders(m, i, version, order, take);
            sink(context, TAPE_TABLE_ORDERS, order, take, seq + version * m->orders + i);
        }
    }
    seq += 2 * m->orders;
    for (uint64_t i = 0; i < m->ticks && (part & SQL_PART_OTHERS) != 0; i += SLICE) {
        size_t take = m->ticks - i < SLICE ? m->ticks - i : SLICE;
        market_ticks(m, tick, take);
        sink(context, TAPE_TABLE_TICKS, tick, take, seq + i);
    }
    free(trade);
    free(order);
    free(tick);
    free(m);
}

/* What peers get: they keep an order's newest version only. */
static bool is_old(uint16_t table, const void *rows) {
    return table == TAPE_TABLE_ORDERS &&
           ((const tape_order *)rows)->status == TAPE_ORDER_STATUS_ACCEPTED;
}

void sql_to_tape(void *db, uint16_t table, const void *rows, size_t count, uint64_t first_seq) {
    (void)first_seq;
    sql_append(db, table, rows, count);
}

void sql_to_duck(void *duck, uint16_t table, const void *rows, size_t count, uint64_t first_seq) {
    if (!is_old(table, rows)) {
        duck_native_append(duck, table, rows, count, first_seq);
        duck_native_flush(duck, table);
    }
}

typedef struct filling {
    postgres *p;
    uint16_t table; /* that is being filled; 0: none */
} filling;

static void to_postgres(void *context, uint16_t table, const void *rows, size_t count,
                        uint64_t first_seq) {
    filling *f = context;
    if (is_old(table, rows)) {
        return;
    }
    if (f->table != table) {
        if (f->table != 0) {
            postgres_load_end(f->p, f->table);
        }
        postgres_load_begin(f->p, table);
        f->table = table;
    }
    postgres_load(f->p, table, rows, count, first_seq);
}

void sql_fill_postgres(postgres *p, uint64_t trades) {
    filling f = {.p = p};
    sql_generate(trades, SQL_PART_ALL, to_postgres, &f);
    postgres_load_end(p, f.table);
    postgres_settle(p);
}
