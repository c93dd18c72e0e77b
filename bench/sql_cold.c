/* SQL over the archive: the same statements as sql.c when every row is in Parquet files and none in
 * the hot columns, beside DuckDB and Polars over Parquet that DuckDB wrote with its defaults from
 * the same rows, and PostgreSQL; what the files take on disk; how fast rows are archived.
 *
 * 10 M trades, with BENCH_LONG=1 100 M, archived by days of 10 M. All files are in the page cache:
 * cold means archived. */
#include "sql_cases.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROWS UINT64_C(10000000)
#define ROWS_LONG UINT64_C(100000000)
#define ROWS_IN_MEMORY UINT64_C(20000000) /* beyond, DuckDB has its tables in a file */
#define DAY_ROWS UINT64_C(10000000)
#define RETAIN_BYTES BENCH_GIB(1)
#define COLUMNS_BYTES BENCH_GIB(8)
#define POSTGRES_ROW_BYTES 320u
#define FILES_MAX_DEPTH 16

static const uint16_t tables[] = {TAPE_TABLE_TRADES, TAPE_TABLE_ORDERS, TAPE_TABLE_TICKS};

/* --- sizes --- */

static uint64_t tree_bytes_sum;

static int tree_visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)ftw;
    size_t length = strlen(path);
    if (type == FTW_F && length > 8 && strcmp(path + length - 8, ".parquet") == 0) {
        tree_bytes_sum += (uint64_t)st->st_size;
    }
    return 0;
}

/* Of all Parquet files below. */
static uint64_t tree_bytes(const char *path) {
    tree_bytes_sum = 0;
    if (nftw(path, tree_visit, FILES_MAX_DEPTH, FTW_PHYS) != 0) {
        bench_fail("%s cannot be listed", path);
    }
    BENCH_CHECK(tree_bytes_sum > 0);
    return tree_bytes_sum;
}

static void print_sizes(const sql_setup *s, const char *duck_trades) {
    const double rows = (double)s->rows;
    bench_series mine = {0};
    bench_series ducks = {0};
    bench_series heap = {0};
    bench_push(&mine, (double)tree_bytes(bench_path("cold.tape/archive/table=trades")) / rows);
    bench_push(&ducks, (double)tree_bytes(duck_trades) / rows);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "bytes per row",
        .row = "sql_cold_bytes",
        .metric = "trades on disk",
        .peer = s->duck_name,
        .peer_settings = s->duck_settings,
        .tape_settings = s->tape_settings,
        .tape = &mine,
        .beside = &ducks,
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_MOST,
        .target = 0.75,
    };
    bench_print(&row);
    row.row = "sql_cold_bytes_postgres";
    row.peer = "PostgreSQL heap";
    if (s->postgres == NULL) {
        sql_print_missing(&row, "PostgreSQL", s->postgres_missing);
        return;
    }
    bench_push(&heap, (double)postgres_heap_bytes(s->postgres, TAPE_TABLE_TRADES) / rows);
    row.peer_settings = postgres_settings(s->postgres);
    row.beside = &heap;
    row.ratio = BENCH_PEER_BY_TAPE;
    row.goal = BENCH_AT_LEAST;
    row.target = 8;
    row.explains = "pg_relation_size: the table without its indexes";
    bench_print(&row);
}

/* --- filling tape by days --- */

typedef struct filling {
    tape *db;
    uint64_t waiting;      /* rows not archived yet */
    bench_series archived; /* rows/s */
} filling;

static void archive_now(filling *f) {
    tape_error error;
    sql_wait_visible(f->db);
    bench_store_settle(f->db); /* its memtables are written: what is timed is the archive */
    int64_t start_ns = bench_now_ns();
    bench_check(tape_archive(f->db, NULL, &error), &error);
    bench_push(&f->archived, (double)f->waiting * 1e9 / (double)(bench_now_ns() - start_ns));
    f->waiting = 0;
}

static void fill(void *context, uint16_t table, const void *rows, size_t count,
                 uint64_t first_seq) {
    filling *f = context;
    (void)first_seq;
    sql_append(f->db, table, rows, count);
    f->waiting += count;
    if (f->waiting >= DAY_ROWS) {
        archive_now(f);
    }
}

static void fill_tape(sql_setup *s) {
    filling f = {.db = s->db};
    sql_generate(s->rows, SQL_PART_ALL, fill, &f);
    if (f.waiting > 0) {
        archive_now(&f);
    }
    tape_stats stats = bench_store_stats(s->db);
    BENCH_CHECK(stats.archived == stats.written);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "rows/s",
        .row = "sql_cold_archive",
        .metric = "rows from the columns to the archive",
        .tape_settings = "one thread sorts and writes",
        .tape = &f.archived,
        .explains = "tape_archive from its call to its return: sorted, written, synced, read back "
                    "and listed; trades first, then with orders (two versions each) and ticks",
    };
    bench_print(&row);
    bench_print_fact("archive", "%llu files, %.2f GB, %llu rows",
                     (unsigned long long)stats.archive_files, (double)stats.archive_bytes / 1e9,
                     (unsigned long long)stats.archived);
}

/* --- the peers --- */

/* DuckDB's Parquet, from tables of its own, which are gone afterwards. */
static void write_peers_parquet(sql_setup *s, const char *const paths[]) {
    const char *path = s->rows > ROWS_IN_MEMORY ? bench_path("cold.duckdb") : NULL;
    duck_native *d = duck_native_open(path, SQL_THREADS);
    duck_native_create_tables(d);
    sql_generate(s->rows, SQL_PART_ALL, sql_to_duck, d);
    for (size_t i = 0; i < BENCH_COUNT_OF(tables); i++) {
        duck_native_write_parquet(d, tables[i], paths[i]);
    }
    duck_native_close(&d);
    if (path != NULL) {
        bench_remove(path);
    }
}

static void open_peers(sql_setup *s, const char *const paths[]) {
    s->duck = duck_native_open(NULL, SQL_THREADS);
    s->polars = polars_open(SQL_THREADS, s->polars_missing, sizeof s->polars_missing);
    for (size_t i = 0; i < BENCH_COUNT_OF(tables); i++) {
        duck_native_read_parquet(s->duck, tables[i], paths[i]);
        if (s->polars != NULL) {
            polars_read(s->polars, tape_table(tables[i])->name, paths[i], false);
        }
    }
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
        .prefix = "sql_cold",
        .details = "",
        .rows = market_rows(ROWS, ROWS_LONG),
        .tape_settings = "archived as it does by itself (zstd), 2 threads, result cache off",
        .duck_name = "DuckDB's Parquet",
        .duck_settings = DUCK_NATIVE_SETTINGS_PARQUET,
        .duck_target = 1,
        .polars_name = "Polars over Parquet",
        .polars_settings = POLARS_SETTINGS_PARQUET,
        .polars_target = 2,
    };
    tape_open_options options;
    tape_open_options_init(&options);
    options.query_threads = SQL_THREADS;
    options.columns_bytes_max = COLUMNS_BYTES;
    options.archive_by_hand = true;
    options.retain_bytes = RETAIN_BYTES;
    if (s.rows > ROWS_IN_MEMORY) { /* so that the disk has room for the peers */
        options.keep_ns[TAPE_TABLE_TRADES] = 1;
        options.keep_ns[TAPE_TABLE_TICKS] = 1;
    }
    s.db = bench_store_open("cold.tape", &options);
    bench_print_fact("SQL rows, archived", "%llu trades, %llu versions of %llu orders, %llu ticks",
                     (unsigned long long)s.rows, (unsigned long long)s.rows / 5,
                     (unsigned long long)s.rows / 10, (unsigned long long)s.rows / 5);
    fill_tape(&s);
    const char *const paths[] = {bench_path("trades.parquet"), bench_path("orders.parquet"),
                                 bench_path("ticks.parquet")};
    write_peers_parquet(&s, paths);
    bench_store_rest(s.db);
    open_peers(&s, paths);
    print_sizes(&s, paths[0]);
    sql_measure(&s);
    polars_close(&s.polars);
    postgres_close(&s.postgres);
    duck_native_close(&s.duck);
    bench_store_close(&s.db, "cold.tape");
    return 0;
}
