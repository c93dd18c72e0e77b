/* What memory tape takes to load, archive and answer: a process in which there is nothing but tape
 * at its defaults. 10 M trades, with BENCH_LONG=1 100 M, and the orders and ticks of market.h, as
 * fast as they are taken; then everything is archived and each statement runs once. */
#include "sql_cases.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS UINT64_C(10000000)
#define ROWS_LONG UINT64_C(100000000)
#define RETAIN_BYTES BENCH_GIB(1)
#define SAMPLE_NS (BENCH_SECOND_NS / 20)

/* A line of /proc/self/status, in GiB. */
static double status_gib(const char *name) {
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    BENCH_CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') {
            kib = strtod(line + strlen(name) + 1, NULL);
        }
    }
    (void)fclose(file);
    return kib / (1 << 20);
}

typedef struct work {
    tape *db;
    uint64_t rows;
    _Atomic bool done;
    double own_gib; /* most of it that is not a mapped file, which the kernel may take back */
    int64_t load_ns, archive_ns;
} work;

static void load_and_archive(work *w) {
    tape_error error;
    sql_wait_visible(w->db); /* SQL is in use before the first record that expires by key */
    int64_t start_ns = bench_now_ns();
    sql_generate(w->rows, SQL_PART_ALL, sql_to_tape, w->db);
    sql_wait_visible(w->db);
    w->load_ns = bench_now_ns() - start_ns;
    start_ns = bench_now_ns();
    bench_check(tape_archive(w->db, NULL, &error), &error);
    w->archive_ns = bench_now_ns() - start_ns;
    tape_stats stats = bench_store_stats(w->db);
    BENCH_CHECK(stats.archived == stats.written);
    BENCH_CHECK(stats.rows[TAPE_TABLE_TRADES] == w->rows);
}

static void print_times(const work *w) {
    bench_series rate = {0};
    uint64_t records = w->rows + w->rows / 5 + w->rows / 5;
    bench_push(&rate, (double)records * 1e9 / (double)(w->load_ns + w->archive_ns));
    bench_row row = {
        .threads = 1,
        .batch = SQL_BATCH,
        .unit = "rows/s",
        .row = "sql_memory_load",
        .metric = "rows appended, visible and archived",
        .tape_settings = "defaults, but: journal kept: 1 GiB; trades and ticks by key for 1 s",
        .tape = &rate,
        .explains = "made by the appending thread, too",
    };
    bench_print(&row);
}

static void worker(void *context, int thread) {
    work *w = context;
    if (thread == 1) {
        while (!atomic_load(&w->done)) {
            double gib = status_gib("RssAnon") + status_gib("RssShmem");
            w->own_gib = gib > w->own_gib ? gib : w->own_gib;
            bench_sleep_ns(SAMPLE_NS);
        }
        return;
    }
    load_and_archive(w);
    print_times(w);
    sql_setup s = {.prefix = "sql_memory",
                   .details = ", once",
                   .rows = w->rows,
                   .db = w->db,
                   .tape_settings = "everything archived, result cache off"};
    sql_measure_alone(&s);
    atomic_store(&w->done, true);
}

static void print_memory(const work *w) {
    bench_series peak = {0};
    bench_series own = {0};
    char explains[128];
    bench_push(&peak, status_gib("VmHWM"));
    bench_push(&own, w->own_gib);
    (void)snprintf(explains, sizeof explains,
                   "%.0f M trades: the process from its start to its end", (double)w->rows / 1e6);
    bench_row row = {
        .threads = 1,
        .batch = SQL_BATCH,
        .unit = "GiB",
        .row = "sql_memory_peak",
        .metric = "peak resident memory: load, archive, queries",
        .tape = &peak,
        .goal = BENCH_AT_MOST,
        .target = 8,
        .explains = explains,
    };
    bench_print(&row);
    row.row = "sql_memory_peak_own";
    row.metric = "of it, without mapped files";
    row.tape = &own;
    row.goal = BENCH_NO_GOAL;
    row.explains = "the live window is in it";
    bench_print(&row);
}

int main(void) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.retain_bytes = RETAIN_BYTES;
    options.keep_ns[TAPE_TABLE_TRADES] = BENCH_SECOND_NS; /* so that the disk has room */
    options.keep_ns[TAPE_TABLE_TICKS] = BENCH_SECOND_NS;
    work w = {.rows = market_rows(ROWS, ROWS_LONG)};
    w.db = bench_store_open("memory.tape", &options);
    (void)bench_parallel(2, worker, &w);
    print_memory(&w);
    bench_store_close(&w.db, "memory.tape");
    return 0;
}
