/* SQL over hot columns beside DuckDB's own tables in the same process, Polars' data frames in a
 * process of their own and PostgreSQL over a socket, two threads each; and the ingest that precedes
 * it: rows through the C interfaces until queries see them.
 *
 * 10 M trades (BENCH_LONG=1: as many as memory holds, at most 100 M; BENCH_ROWS: so many),
 * with the orders and ticks of market.h. Every answer must be the same from all of them. tape's
 * result cache is off. */
#include "sql_cases.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS UINT64_C(10000000)
#define ROWS_LONG UINT64_C(100000000)
#define ROW_BYTES 150u /* of a trade with its share of the others, in memory */
#define HOLDERS 3u     /* tape, DuckDB and Polars; PostgreSQL has a quarter of the memory */
#define SLICES 10u
#define COLUMNS_BYTES BENCH_GIB(16)
#define DUCK_TARGET 0.9
#define POSTGRES_ROW_BYTES 320u

/* --- ingest --- */

static void load_trades(tape *db, duck_native *duck, uint64_t rows) {
    market *m = market_create(rows);
    size_t slice = rows / SLICES;
    tape_trade *trades = bench_alloc(slice * sizeof *trades);
    bench_series with_tape = {0};
    bench_series with_duck = {0};
    for (uint64_t s = 0; s < SLICES; s++) {
        market_trades(m, trades, slice);
        int64_t start_ns = bench_now_ns();
        sql_append(db, TAPE_TABLE_TRADES, trades, slice);
        sql_wait_visible(db);
        bench_push(&with_tape, (double)slice * 1e9 / (double)(bench_now_ns() - start_ns));
        bench_store_settle(db);
        start_ns = bench_now_ns();
        for (uint64_t i = 0; i < slice; i += SQL_BATCH) {
            duck_native_append(duck, TAPE_TABLE_TRADES, trades + i, SQL_BATCH, s * slice + i + 1);
            duck_native_flush(duck, TAPE_TABLE_TRADES);
        }
        bench_push(&with_duck, (double)slice * 1e9 / (double)(bench_now_ns() - start_ns));
    }
    free(trades);
    free(m);
    bench_row row = {
        .threads = 1,
        .batch = SQL_BATCH,
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

/* --- one order by its key --- */

#define POINT_SQL "SELECT * FROM orders WHERE order_id = $1"
#define POINT_ROUNDS 5
#define POINT_TAPE 20000u
#define POINT_DUCK 1000u
#define POINT_POSTGRES 4000u
#define POINT_COMPARED 100u
#define FILLED_COLUMN 10u /* of orders: filled_volume */

static const char point_postgres_sql[] =
    "SELECT seq, ts, order_id, user_id, instrument_id, side, position_effect, order_type, price, "
    "volume, filled_volume, status FROM orders WHERE order_id = $1";

typedef enum point_of { POINT_OF_TAPE, POINT_OF_DUCK, POINT_OF_POSTGRES } point_of;

/* Looks up an order, whose every version but the newest would show by its filled volume. */
static int64_t point_one(const sql_setup *s, const market *m, point_of whose, uint64_t number,
                         answer *out) {
    char key[40];
    tape_order order;
    int64_t elapsed_ns = 0;
    market_order_id(number, key);
    market_orders(m, number, 1, &order, 1);
    if (whose == POINT_OF_TAPE) {
        tape_value param = {.type = TAPE_TYPE_TEXT, .text = {key, strlen(key)}};
        elapsed_ns = answer_by_tape(s->db, POINT_SQL, &param, 1, out);
    } else if (whose == POINT_OF_DUCK) {
        elapsed_ns = duck_native_query(s->duck, POINT_SQL, key, out);
    } else {
        elapsed_ns = postgres_query(s->postgres, point_postgres_sql, key, out);
    }
    if (out->rows != 1 || out->sums[FILLED_COLUMN] != order.filled_volume) {
        bench_fail("order %s: %llu rows, filled %g, expected %g", key,
                   (unsigned long long)out->rows, out->sums[FILLED_COLUMN], order.filled_volume);
    }
    return elapsed_ns;
}

typedef struct point_figures {
    bench_histogram *round, *all;
    bench_series p50, p99;
} point_figures;

static void point_round(const sql_setup *s, const market *m, point_of whose, uint64_t count,
                        point_figures *f, bool counts) {
    static uint64_t seed = 21;
    answer out;
    bench_histogram_reset(f->round);
    for (uint64_t i = 0; i < count; i++) {
        bench_add(f->round,
                  (uint64_t)point_one(s, m, whose, bench_random(&seed) % m->orders, &out));
    }
    if (counts) {
        bench_histogram_merge(f->all, f->round);
        bench_push(&f->p50, bench_quantile(f->round, 0.5));
        bench_push(&f->p99, bench_quantile(f->round, 0.99));
    }
}

static void point_compare(const sql_setup *s, const market *m) {
    uint64_t seed = 22;
    for (uint64_t i = 0; i < POINT_COMPARED; i++) {
        uint64_t number = bench_random(&seed) % m->orders;
        answer mine;
        answer theirs;
        (void)point_one(s, m, POINT_OF_TAPE, number, &mine);
        (void)point_one(s, m, POINT_OF_DUCK, number, &theirs);
        answer_compare(POINT_SQL, "tape", &mine, "DuckDB", &theirs);
        if (s->postgres != NULL) {
            (void)point_one(s, m, POINT_OF_POSTGRES, number, &theirs);
            answer_compare(POINT_SQL, "tape", &mine, "PostgreSQL", &theirs);
        }
    }
}

static void point_print(const sql_setup *s, const point_figures f[3], bool p99) {
    const char *quantile = p99 ? "p99" : "p50";
    char name[64];
    char metric[128];
    (void)snprintf(metric, sizeof metric, "one order by its key, %s", quantile);
    (void)snprintf(name, sizeof name, "sql_point_%s", quantile);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = name,
        .metric = metric,
        .tape_settings = s->tape_settings,
        .tape = p99 ? &f[0].p99 : &f[0].p50,
        .tape_spread = f[0].all,
        .goal = p99 ? BENCH_AT_MOST : BENCH_NO_GOAL,
        .target = 1e6,
        .explains = POINT_SQL,
    };
    bench_print(&row);
    (void)snprintf(name, sizeof name, "sql_point_%s_duckdb", quantile);
    row.peer = s->duck_name;
    row.peer_settings = s->duck_settings;
    row.beside = p99 ? &f[1].p99 : &f[1].p50;
    row.peer_spread = f[1].all;
    row.ratio = BENCH_PEER_BY_TAPE;
    row.goal = p99 ? BENCH_AT_LEAST : BENCH_NO_GOAL;
    row.target = 20;
    row.explains = "in process, by the index of the primary key";
    bench_print(&row);
    (void)snprintf(name, sizeof name, "sql_point_%s_postgres", quantile);
    row.peer = "PostgreSQL";
    row.peer_settings = NULL;
    if (s->postgres == NULL) {
        sql_print_missing(&row, "PostgreSQL", s->postgres_missing);
        return;
    }
    row.peer_settings = postgres_settings(s->postgres);
    row.beside = p99 ? &f[2].p99 : &f[2].p50;
    row.peer_spread = f[2].all;
    row.target = 2;
    row.explains = "tape in process, PostgreSQL over its socket";
    bench_print(&row);
}

static void measure_point(const sql_setup *s) {
    market *m = market_create(s->rows);
    point_figures f[3];
    for (size_t i = 0; i < BENCH_COUNT_OF(f); i++) {
        f[i] =
            (point_figures){.round = bench_histogram_create(1), .all = bench_histogram_create(1)};
    }
    point_compare(s, m);
    for (int round = -1; round < POINT_ROUNDS; round++) {
        bool counts = round >= 0;
        point_round(s, m, POINT_OF_TAPE, bench_scaled(POINT_TAPE, 1000), &f[0], counts);
        point_round(s, m, POINT_OF_DUCK, bench_scaled(POINT_DUCK, 200), &f[1], counts);
        if (s->postgres != NULL) {
            point_round(s, m, POINT_OF_POSTGRES, bench_scaled(POINT_POSTGRES, 200), &f[2], counts);
        }
    }
    point_print(s, f, false);
    point_print(s, f, true);
    for (size_t i = 0; i < BENCH_COUNT_OF(f); i++) {
        free(f[i].round);
        free(f[i].all);
    }
    free(m);
}

/* --- queries while rows come in --- */

#define MIXED_GAP_NS (BENCH_SECOND_NS / 100) /* a batch of 1,000: 100 k/s */
#define MIXED_POOL 100u                      /* batches; they come again and again */
#define MIXED_ROUNDS 5
#define MIXED_POINTS 100u
#define MIXED_EXPLAINS                                                                             \
    "count and sum, filtered sum, group by instrument, 100 orders by key; nothing of it is kept "  \
    "from before"

#define MIXED_FILTER_SQL                                                                           \
    "SELECT sum(volume), count(*) FROM trades WHERE price > " MARKET_PRICE_MIDDLE                  \
    " AND volume < " MARKET_VOLUME_MOST
#define MIXED_GROUP_SQL                                                                            \
    "SELECT instrument_id, count(*), avg(price), sum(volume) FROM trades GROUP BY instrument_id "  \
    "ORDER BY instrument_id"

static const char *const mixed_sql[] = {"SELECT count(*), sum(volume) FROM trades",
                                        MIXED_FILTER_SQL, MIXED_GROUP_SQL};

typedef struct mixed {
    const sql_setup *s;
    const market *m;
    const tape_trade *pool;
    point_of whose;
    uint64_t rows; /* of trades before */
    _Atomic uint64_t appended;
    _Atomic bool done;
    double mix_ms;
    bench_histogram *late; /* from the time a batch was due until it was acknowledged */
    bool with_appends;
} mixed;

static void mixed_append(mixed *x, uint64_t batch) {
    const tape_trade *rows = x->pool + batch % MIXED_POOL * SQL_BATCH;
    uint64_t seq = UINT64_C(1) << 40; /* larger than any; peers need not have tape's */
    seq += x->rows + batch * SQL_BATCH;
    if (x->whose == POINT_OF_TAPE) {
        sql_append(x->s->db, TAPE_TABLE_TRADES, rows, SQL_BATCH);
    } else if (x->whose == POINT_OF_DUCK) {
        duck_native_append(x->s->duck, TAPE_TABLE_TRADES, rows, SQL_BATCH, seq);
        duck_native_flush(x->s->duck, TAPE_TABLE_TRADES);
    } else {
        postgres_append(x->s->postgres, TAPE_TABLE_TRADES, rows, SQL_BATCH, seq);
    }
}

static void mixed_appending(mixed *x) {
    int64_t begin_ns = bench_now_ns();
    for (uint64_t batch = 0; x->with_appends && !atomic_load(&x->done); batch++) {
        int64_t due_ns = begin_ns + (int64_t)batch * MIXED_GAP_NS;
        int64_t early_ns = due_ns - bench_now_ns();
        if (early_ns > 0) {
            bench_sleep_ns(early_ns);
        }
        mixed_append(x, batch);
        bench_add(x->late, (uint64_t)(bench_now_ns() - due_ns));
        (void)atomic_fetch_add(&x->appended, SQL_BATCH);
    }
}

static void mixed_query(mixed *x, const char *sql, answer *out) {
    if (x->whose == POINT_OF_TAPE) {
        (void)answer_by_tape(x->s->db, sql, NULL, 0, out);
    } else if (x->whose == POINT_OF_DUCK) {
        (void)duck_native_query(x->s->duck, sql, NULL, out);
    } else {
        (void)postgres_query(x->s->postgres, sql, NULL, out);
    }
}

static void mixed_worker(void *context, int thread) {
    static uint64_t seed = 23;
    mixed *x = context;
    answer out;
    if (thread == 0) {
        mixed_appending(x);
        return;
    }
    bench_sleep_ns(BENCH_SECOND_NS / 20);
    int64_t start_ns = bench_now_ns();
    for (size_t i = 0; i < BENCH_COUNT_OF(mixed_sql); i++) {
        uint64_t before = x->rows + atomic_load(&x->appended);
        mixed_query(x, mixed_sql[i], &out);
        if (i == 0 && out.sums[0] < (double)before) {
            bench_fail("%s: %.0f rows, but %llu were acknowledged", mixed_sql[i], out.sums[0],
                       (unsigned long long)before);
        }
    }
    for (size_t i = 0; i < MIXED_POINTS; i++) {
        (void)point_one(x->s, x->m, x->whose, bench_random(&seed) % x->m->orders, &out);
    }
    x->mix_ms = (double)(bench_now_ns() - start_ns) / 1e6;
    atomic_store(&x->done, true);
}

static void mixed_print(const sql_setup *s, const bench_series series[3], bool with_appends,
                        bench_histogram *const late[3]) {
    char name[64];
    bench_row row = {
        .threads = SQL_THREADS,
        .batch = SQL_BATCH,
        .unit = "ms",
        .row = with_appends ? "sql_mixed" : "sql_mixed_alone",
        .metric = with_appends ? "a mix of queries while 100 k trades/s come in"
                               : "a mix of queries, nothing comes in",
        .peer = s->duck_name,
        .peer_settings = s->duck_settings,
        .tape_settings = s->tape_settings,
        .tape = &series[0],
        .beside = &series[1],
        .ratio = BENCH_PEER_BY_TAPE,
        .goal = BENCH_AT_LEAST,
        .target = DUCK_TARGET,
        .explains = MIXED_EXPLAINS,
        .tape_spread = with_appends ? late[0] : NULL,
        .peer_spread = with_appends ? late[1] : NULL,
    };
    if (with_appends) {
        row.explains = MIXED_EXPLAINS "; latencies are of the batches that come in, from the time "
                                      "each was due until it was acknowledged";
    }
    bench_print(&row);
    (void)snprintf(name, sizeof name, "%s_postgres", row.row);
    row.row = name;
    row.peer = "PostgreSQL";
    row.goal = BENCH_NO_GOAL;
    if (s->postgres == NULL) {
        sql_print_missing(&row, "PostgreSQL", s->postgres_missing);
        return;
    }
    row.peer_settings = postgres_settings(s->postgres);
    row.beside = &series[2];
    row.peer_spread = with_appends ? late[2] : NULL;
    bench_print(&row);
}

static void measure_mixed(const sql_setup *s, bool with_appends) {
    static uint64_t appended[3];
    market *m = market_create(s->rows);
    tape_trade *pool = bench_alloc(MIXED_POOL * SQL_BATCH * sizeof *pool);
    bench_series series[3] = {0};
    bench_histogram *late[3];
    market_trades(m, pool, MIXED_POOL * SQL_BATCH);
    for (int whose = 0; whose < 3; whose++) {
        late[whose] = bench_histogram_create(1);
    }
    for (int round = -1; round < MIXED_ROUNDS; round++) {
        for (int whose = 0; whose < (s->postgres == NULL ? 2 : 3); whose++) {
            mixed x = {.s = s,
                       .m = m,
                       .pool = pool,
                       .whose = (point_of)whose,
                       .rows = s->rows + appended[whose],
                       .late = late[whose],
                       .with_appends = with_appends};
            (void)bench_parallel(2, mixed_worker, &x);
            appended[whose] += x.appended;
            if (round >= 0) {
                bench_push(&series[whose], x.mix_ms);
            } else {
                bench_histogram_reset(late[whose]);
            }
        }
    }
    mixed_print(s, series, with_appends, late);
    for (int whose = 0; whose < 3; whose++) {
        free(late[whose]);
    }
    free(pool);
    free(m);
}

/* --- setting up --- */

static uint64_t rows_that_fit(void) {
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t fit = memory / 2 / (HOLDERS * ROW_BYTES);
    return fit < ROWS_LONG ? fit : ROWS_LONG;
}

static void open_polars(sql_setup *s) {
    s->polars = polars_open(SQL_THREADS, s->polars_missing, sizeof s->polars_missing);
    if (s->polars == NULL) {
        return;
    }
    static const uint16_t tables[] = {TAPE_TABLE_TRADES, TAPE_TABLE_ORDERS, TAPE_TABLE_TICKS};
    for (size_t i = 0; i < BENCH_COUNT_OF(tables); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s.parquet", tape_table(tables[i])->name);
        const char *path = bench_path(name);
        duck_native_write_parquet(s->duck, tables[i], path);
        polars_read(s->polars, tape_table(tables[i])->name, path, true);
        bench_remove(path);
    }
}

static void open_postgres(sql_setup *s) {
    uint64_t needed = s->rows * POSTGRES_ROW_BYTES;
    if (bench_free_bytes() < needed) {
        (void)snprintf(s->postgres_missing, sizeof s->postgres_missing,
                       "its tables need %.0f GB of disk", (double)needed / 1e9);
        return;
    }
    s->postgres = postgres_open(SQL_THREADS, s->postgres_missing, sizeof s->postgres_missing);
    if (s->postgres != NULL) {
        sql_fill_postgres(s->postgres, s->rows);
    }
}

int main(void) {
    sql_setup s = {
        .prefix = "sql",
        .details = "",
        .rows = market_rows(ROWS, rows_that_fit()),
        .tape_settings = "hot columns, 2 threads, result cache off",
        .duck_name = "DuckDB",
        .duck_settings = DUCK_NATIVE_SETTINGS_MEMORY,
        .duck_target = DUCK_TARGET,
        .polars_name = "Polars in memory",
        .polars_settings = POLARS_SETTINGS_MEMORY,
    };
    tape_open_options options;
    tape_open_options_init(&options);
    options.query_threads = SQL_THREADS;
    options.columns_bytes_max = COLUMNS_BYTES;
    options.archive_by_hand = true;
    s.db = bench_store_open("sql.tape", &options);
    s.duck = duck_native_open(NULL, SQL_THREADS);
    duck_native_create_tables(s.duck);
    bench_print_fact("SQL rows", "%llu trades, %llu versions of %llu orders, %llu ticks",
                     (unsigned long long)s.rows, (unsigned long long)s.rows / 5,
                     (unsigned long long)s.rows / 10, (unsigned long long)s.rows / 5);
    load_trades(s.db, s.duck, s.rows);
    sql_generate(s.rows, SQL_PART_OTHERS, sql_to_tape, s.db);
    sql_generate(s.rows, SQL_PART_OTHERS, sql_to_duck, s.duck);
    sql_wait_visible(s.db);
    bench_store_rest(s.db);
    bench_print_fact("hot columns", "%.2f GB", (double)bench_store_stats(s.db).columns_bytes / 1e9);
    open_polars(&s);
    open_postgres(&s);
    sql_measure(&s);
    polars_close(&s.polars);
    measure_point(&s);
    measure_mixed(&s, false);
    measure_mixed(&s, true);
    postgres_close(&s.postgres);
    duck_native_close(&s.duck);
    bench_store_close(&s.db, "sql.tape");
    return 0;
}
