/* How soon SQL sees what was appended: with nothing else going on, while 100 k trades/s come in one
 * by one, and while besides everything is archived again and again.
 *
 * By itself: from an append's acknowledgement until the watermark `queryable`, looked at every
 * 20 us, has reached it. Lag: the age of the oldest record that is written and not queryable, as
 * the store tells it, looked at every millisecond. Answer: a query that is asked right after an
 * append waits for it; counted is each one that does not show it, timed is the append and the
 * query. Arrivals have their times beforehand; the appending thread spins between them. */
#include "market.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RATE 100000u
#define GAP_NS (BENCH_SECOND_NS / RATE)
#define ROUNDS 5
#define POOL 65536u
#define IDLE_APPENDS 40u
#define POLL_NS 20000
#define SAMPLE_NS (BENCH_SECOND_NS / 1000)

static tape_trade *pool;

typedef struct fresh {
    tape *db;
    bench_histogram *visible, *lag, *answered;
    bench_series visible_p99, lag_p99, answered_p99, missed;
    /* of a round */
    uint64_t count, next;
    _Atomic uint64_t last_seq; /* acknowledged */
    _Atomic bool done;
    bool archiving;
} fresh;

static uint64_t append_one(fresh *f) {
    tape_error error;
    tape_append_result result;
    tape_record record = TAPE_RECORD(TRADES, &pool[f->next++ % POOL]);
    bench_check(tape_append(f->db, &record, 1, NULL, &result, &error), &error);
    atomic_store_explicit(&f->last_seq, result.last_seq, memory_order_release);
    return result.last_seq;
}

static uint64_t query_last_seq(tape *db) {
    tape_error error;
    tape_query_options options;
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_query_options_init(&options);
    options.no_cache = true;
    bench_check(tape_query(db, "SELECT max(seq) FROM trades", &options, &stream, &error), &error);
    if (stream.get_next(&stream, &array) != 0 || array.release == NULL || array.length != 1) {
        bench_fail("a query gave no row: %s", stream.get_last_error(&stream));
    }
    const struct ArrowArray *column = array.children[0];
    uint64_t value = ((const uint64_t *)column->buffers[1])[column->offset];
    array.release(&array);
    stream.release(&stream);
    return value;
}

/* --- watching --- */

static void watch_visible(fresh *f, uint64_t seq, bench_histogram *h) {
    int64_t start_ns = bench_now_ns();
    while (bench_store_stats(f->db).queryable < seq) {
        bench_sleep_ns(POLL_NS);
    }
    bench_add(h, (uint64_t)(bench_now_ns() - start_ns));
}

static void watch_lag(fresh *f, bench_histogram *h) {
    bench_add(h, (uint64_t)bench_store_stats(f->db).columns_lag_ns);
}

static bool misses(fresh *f, uint64_t seq, int64_t since_ns, bench_histogram *h) {
    bool missed = query_last_seq(f->db) < seq;
    bench_add(h, (uint64_t)(bench_now_ns() - since_ns));
    return missed;
}

typedef struct round_figures {
    bench_histogram *visible, *lag, *answered;
    uint64_t missed;
} round_figures;

static round_figures round_begin(void) {
    return (round_figures){.visible = bench_histogram_create(1),
                           .lag = bench_histogram_create(1),
                           .answered = bench_histogram_create(1)};
}

static void round_end(fresh *f, round_figures *r) {
    bench_histogram_merge(f->visible, r->visible);
    bench_histogram_merge(f->lag, r->lag);
    bench_histogram_merge(f->answered, r->answered);
    bench_push(&f->visible_p99, bench_quantile(r->visible, 0.99));
    bench_push(&f->lag_p99, bench_quantile(r->lag, 0.99));
    bench_push(&f->answered_p99, bench_quantile(r->answered, 0.99));
    bench_push(&f->missed, (double)r->missed);
    free(r->visible);
    free(r->lag);
    free(r->answered);
}

/* The store has been quiet for a while before each append. */
static void idle_round(fresh *f) {
    round_figures r = round_begin();
    for (uint64_t i = 0; i < bench_scaled(IDLE_APPENDS, 5); i++) {
        bench_sleep_ns(BENCH_SECOND_NS / 50);
        watch_visible(f, append_one(f), r.visible);
        bench_sleep_ns(BENCH_SECOND_NS / 50);
        watch_lag(f, r.lag);
        int64_t start_ns = bench_now_ns();
        r.missed += misses(f, append_one(f), start_ns, r.answered);
    }
    round_end(f, &r);
}

static void append_paced(fresh *f) {
    double ns_per_tick = bench_ns_per_tick();
    uint64_t begin = bench_ticks();
    for (uint64_t i = 0; i < f->count; i++) {
        uint64_t due = begin + (uint64_t)((double)i * (double)GAP_NS / ns_per_tick);
        while (bench_ticks() < due) {
        }
        (void)append_one(f);
    }
    atomic_store(&f->done, true);
}

static void watch_load(fresh *f) {
    round_figures r = round_begin();
    for (uint64_t i = 0; !atomic_load(&f->done); i++) {
        int64_t start_ns = bench_now_ns();
        uint64_t seq = atomic_load_explicit(&f->last_seq, memory_order_acquire);
        if (i % 16 == 0) {
            r.missed += misses(f, seq, start_ns, r.answered);
        } else if (i % 4 == 0) {
            watch_visible(f, seq, r.visible);
        } else {
            watch_lag(f, r.lag);
        }
        bench_sleep_ns(SAMPLE_NS);
    }
    round_end(f, &r);
}

static void archive_always(fresh *f) {
    tape_error error;
    while (f->archiving && !atomic_load(&f->done)) {
        bench_check(tape_archive(f->db, NULL, &error), &error);
    }
}

static void load_worker(void *context, int thread) {
    if (thread == 0) {
        append_paced(context);
    } else if (thread == 1) {
        watch_load(context);
    } else {
        archive_always(context);
    }
}

static void load_round(fresh *f) {
    f->count = bench_scaled(2 * RATE, RATE / 2);
    atomic_store(&f->done, false);
    (void)bench_parallel(f->archiving ? 3 : 2, load_worker, f);
}

/* --- the rows --- */

static void print_one(const char *name, const char *when, const char *row_end, const char *what,
                      const bench_series *series, const bench_histogram *spread, bool goal,
                      const char *explains) {
    char row_name[64];
    char metric[128];
    (void)snprintf(row_name, sizeof row_name, "freshness_%s%s", name, row_end);
    (void)snprintf(metric, sizeof metric, "%s, %s%s", what, when, spread != NULL ? ", p99" : "");
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = spread != NULL ? "ns" : "queries",
        .row = row_name,
        .metric = metric,
        .tape = series,
        .goal = goal ? BENCH_AT_MOST : BENCH_NO_GOAL,
        .target = spread != NULL ? 10e6 : 0,
        .tape_spread = spread,
        .explains = explains,
    };
    bench_print(&row);
}

static void print_fresh(const fresh *f, const char *name, const char *when) {
    print_one(name, when, "", "append to visible by itself", &f->visible_p99, f->visible, true,
              "from the acknowledgement until the watermark has passed it");
    print_one(name, when, "_lag", "age of the oldest record not yet visible", &f->lag_p99, f->lag,
              true, "looked at every millisecond");
    print_one(name, when, "_answer", "append, then its query's answer", &f->answered_p99,
              f->answered, false, "the query waits until it sees the append");
    print_one(name, when, "_missed", "queries that did not show an earlier append", &f->missed,
              NULL, true, NULL);
}

static void measure(tape *db, const char *name, const char *when, void (*round_run)(fresh *),
                    bool archiving) {
    fresh f = {.db = db,
               .archiving = archiving,
               .visible = bench_histogram_create(1),
               .lag = bench_histogram_create(1),
               .answered = bench_histogram_create(1)};
    (void)append_one(&f);
    for (int round = 0; round < ROUNDS; round++) {
        round_run(&f);
    }
    print_fresh(&f, name, when);
    free(f.visible);
    free(f.lag);
    free(f.answered);
}

int main(void) {
    market *m = market_create(POOL / MARKET_UNIT * MARKET_UNIT + MARKET_UNIT);
    pool = bench_alloc(POOL * sizeof *pool);
    market_trades(m, pool, POOL);
    tape *db = bench_store_open("fresh.tape", NULL);
    (void)query_last_seq(db); /* from here on columns are kept up */
    measure(db, "idle", "idle", idle_round, false);
    measure(db, "load", "at 100 k/s", load_round, false);
    measure(db, "archiving", "at 100 k/s, archiving", load_round, true);
    bench_store_close(&db, "fresh.tape");
    free(pool);
    free(m);
    return 0;
}
