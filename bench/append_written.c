/* Append acknowledged as `written`: one record per call by one, two and four threads, and batches.
 *
 * Runs in bursts that the live window holds with room to spare, and lets the background catch up
 * after each: what is measured is the append, not the disk's throughput (append_sustained measures
 * that). The background (journal writer, the store's cursor) works during the bursts as ever.
 *
 * Three ways of timing, since the clock may advance in steps of 10 ns and the processor works on
 * several records at once:
 *   alone   groups of 64 between two readings of the clock, a fence after each append: what one
 *           append takes from call to return
 *   run     groups of 64 without fences: what appends cost one after the other
 *   single  a reading before and after each append: the percentiles */
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>

#define GROUP 64u
#define BATCH 64u
#define THREADS_MAX 4
#define ROUNDS 11
#define RING_BYTES BENCH_MIB(256)
#define LMDB_BYTES BENCH_GIB(4)

enum { TAPE, LIMIT, ROCKS, LMDB, SUBJECTS };

static bench_ticks_set *ticks;

/* --- the loops. `append` is always inlined, so that each subject has a loop of its own. --- */

typedef struct lane { /* of one thread */
    void *subject;
    int thread;
    uint64_t next; /* number of the next record */
    bench_histogram *times;
} lane;
typedef void (*append_call)(lane *l);

BENCH_INLINE void run_calls(lane *l, uint64_t calls, uint32_t group, bool fenced,
                            append_call append) {
    uint64_t overhead = bench_group_overhead(group, fenced);
    for (uint64_t done = 0; done < calls; done += group) {
        uint64_t start = bench_ticks();
        for (uint32_t i = 0; i < group; i++) {
            append(l);
            if (fenced) {
                bench_fence();
            }
        }
        bench_add(l->times, bench_elapsed(start, overhead));
    }
}

/* --- tape --- */

BENCH_INLINE void tape_one(lane *l) {
    tape_error error;
    tape_status status = tape_append(l->subject, &ticks->records[l->next++ % BENCH_TICKS_DISTINCT],
                                     1, NULL, NULL, &error);
    if (__builtin_expect(status != TAPE_OK, 0)) {
        bench_check(status, &error);
    }
}

BENCH_INLINE void tape_batch(lane *l) {
    tape_error error;
    uint64_t at = l->next % BENCH_TICKS_DISTINCT;
    l->next += BATCH;
    tape_status status = tape_append(l->subject, &ticks->records[at], BATCH, NULL, NULL, &error);
    if (__builtin_expect(status != TAPE_OK, 0)) {
        bench_check(status, &error);
    }
}

static void tape_one_alone(lane *l, uint64_t calls) {
    run_calls(l, calls, GROUP, true, tape_one);
}
static void tape_one_run(lane *l, uint64_t calls) {
    run_calls(l, calls, GROUP, false, tape_one);
}
static void tape_one_single(lane *l, uint64_t calls) {
    run_calls(l, calls, 1, false, tape_one);
}
static void tape_batch_single(lane *l, uint64_t calls) {
    run_calls(l, calls, 1, false, tape_batch);
}

/* --- RocksDB, LMDB --- */

static const void *values[BENCH_TICKS_DISTINCT];

BENCH_INLINE void rocks_one(lane *l) {
    uint8_t key[PEER_KEY_BYTES];
    peer_key(key, l->next * THREADS_MAX + (uint64_t)l->thread);
    rocks_put(l->subject, key, values[l->next++ % BENCH_TICKS_DISTINCT], PEER_VALUE_BYTES, false);
}
BENCH_INLINE void rocks_batch(lane *l) {
    rocks_put_batch(l->subject, l->thread, l->next, &values[l->next % BENCH_TICKS_DISTINCT], BATCH,
                    false);
    l->next += BATCH;
}
BENCH_INLINE void lmdb_one(lane *l) {
    lmdb_put_batch(l->subject, l->next, &values[l->next % BENCH_TICKS_DISTINCT], 1);
    l->next++;
}
BENCH_INLINE void lmdb_batch(lane *l) {
    lmdb_put_batch(l->subject, l->next, &values[l->next % BENCH_TICKS_DISTINCT], BATCH);
    l->next += BATCH;
}

static void rocks_one_alone(lane *l, uint64_t calls) {
    run_calls(l, calls, GROUP, true, rocks_one);
}
static void rocks_one_run(lane *l, uint64_t calls) {
    run_calls(l, calls, GROUP, false, rocks_one);
}
static void rocks_one_single(lane *l, uint64_t calls) {
    run_calls(l, calls, 1, false, rocks_one);
}
static void rocks_batch_single(lane *l, uint64_t calls) {
    run_calls(l, calls, 1, false, rocks_batch);
}
static void lmdb_one_alone(lane *l, uint64_t calls) {
    run_calls(l, calls, GROUP, true, lmdb_one);
}
static void lmdb_one_run(lane *l, uint64_t calls) {
    run_calls(l, calls, GROUP, false, lmdb_one);
}
static void lmdb_one_single(lane *l, uint64_t calls) {
    run_calls(l, calls, 1, false, lmdb_one);
}
static void lmdb_batch_single(lane *l, uint64_t calls) {
    run_calls(l, calls, 1, false, lmdb_batch);
}
static void limit_alone(lane *l, uint64_t calls) {
    limit_run(l->subject, calls, GROUP, true, l->times);
}
static void limit_runs(lane *l, uint64_t calls) {
    limit_run(l->subject, calls, GROUP, false, l->times);
}
static void limit_single(lane *l, uint64_t calls) {
    limit_run(l->subject, calls, 1, false, l->times);
}
static void limit_batch(lane *l, uint64_t calls) {
    limit_run(l->subject, calls * BATCH, BATCH, false, l->times);
}

/* --- a run of one subject by some threads --- */

typedef struct run {
    void (*body)(lane *l, uint64_t calls);
    lane lanes[THREADS_MAX];
    uint64_t calls; /* per thread */
    bench_histogram *all;
} run;

static void run_worker(void *context, int thread) {
    run *r = context;
    r->body(&r->lanes[thread], r->calls);
}

static void run_init(run *r, void (*body)(lane *, uint64_t), void *const *subjects, int threads,
                     uint64_t calls) {
    *r = (run){.body = body, .calls = calls, .all = bench_histogram_create(bench_ns_per_tick())};
    for (int i = 0; i < threads; i++) {
        r->lanes[i] = (lane){.subject = subjects[i],
                             .thread = i,
                             .times = bench_histogram_create(bench_ns_per_tick())};
    }
}

/* One round: the times of all threads in the first lane's histogram; returns the wall time. */
static int64_t run_round(run *r, int threads) {
    for (int i = 0; i < threads; i++) {
        bench_histogram_reset(r->lanes[i].times);
    }
    int64_t wall_ns = bench_parallel(threads, run_worker, r);
    for (int i = 1; i < threads; i++) {
        bench_histogram_merge(r->lanes[0].times, r->lanes[i].times);
    }
    bench_histogram_merge(r->all, r->lanes[0].times);
    return wall_ns;
}

static void run_deinit(run *r) {
    for (int i = 0; i < THREADS_MAX; i++) {
        free(r->lanes[i].times);
    }
    free(r->all);
}

static double round_ns(const run *r, double q, double per) {
    return bench_quantile(r->lanes[0].times, q) / per;
}

/* --- one thread, one record per call --- */

typedef struct one_thread_figures {
    bench_series alone[SUBJECTS]; /* p50 of groups, per record */
    bench_series run[SUBJECTS];
    bench_series p50[SUBJECTS]; /* single */
    bench_series p99[SUBJECTS];
    const bench_histogram *all[SUBJECTS];
} one_thread_figures;

static void print_one_thread(const one_thread_figures *f) {
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = "written_limit_alone",
        .metric = "append `written`, 128 B, 1 thread, p50, call to return",
        .peer = "memcpy + CRC-32C",
        .peer_settings = LIMIT_SETTINGS,
        .tape = &f->alone[TAPE],
        .beside = &f->alone[LIMIT],
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_MOST,
        .target = 3,
        .explains = "each finished before the next begins",
        .tape_spread = f->all[TAPE],
        .peer_spread = f->all[LIMIT],
    };
    bench_print(&row);
    row.row = "written_limit_run";
    row.metric = "append `written`, 128 B, 1 thread, p50, one after the other";
    row.tape = &f->run[TAPE];
    row.beside = &f->run[LIMIT];
    row.explains = "the processor works on several records at once where nothing orders them";
    row.tape_spread = NULL;
    row.peer_spread = NULL;
    bench_print(&row);
    row = (bench_row){
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = "written_rocksdb_p50",
        .metric = "append `written`, 128 B, 1 thread, p50",
        .peer = "RocksDB",
        .peer_settings = rocks_settings(ROCKS_APPEND),
        .tape = &f->p50[TAPE],
        .beside = &f->p50[ROCKS],
        .ratio = BENCH_PEER_BY_TAPE,
        .goal = BENCH_AT_LEAST,
        .target = 10,
        .tape_spread = f->all[TAPE],
        .peer_spread = f->all[ROCKS],
    };
    bench_print(&row);
    row.row = "written_rocksdb_p99";
    row.metric = "append `written`, 128 B, 1 thread, p99";
    row.tape = &f->p99[TAPE];
    row.beside = &f->p99[ROCKS];
    row.target = 5;
    bench_print(&row);
    row.row = "written_lmdb_p50";
    row.metric = "append `written`, 128 B, 1 thread, p50";
    row.peer = "LMDB";
    row.peer_settings = lmdb_settings(LMDB_NO_SYNC);
    row.tape = &f->p50[TAPE];
    row.beside = &f->p50[LMDB];
    row.peer_spread = f->all[LMDB];
    row.goal = BENCH_NO_GOAL;
    bench_print(&row);
}

static void one_thread(tape *db, rocks *rdb, lmdb *ldb, limit *lim) {
    enum { ALONE, RUN, SINGLE, WAYS };
    static one_thread_figures figures;
    run runs[SUBJECTS][WAYS];
    void *const subjects[SUBJECTS] = {db, lim, rdb, ldb};
    void (*const bodies[SUBJECTS][WAYS])(lane *, uint64_t) = {
        {tape_one_alone, tape_one_run, tape_one_single},
        {limit_alone, limit_runs, limit_single},
        {rocks_one_alone, rocks_one_run, rocks_one_single},
        {lmdb_one_alone, lmdb_one_run, lmdb_one_single},
    };
    for (int s = 0; s < SUBJECTS; s++) {
        uint64_t calls =
            s == TAPE || s == LIMIT ? bench_scaled(1 << 18, 4096) : bench_scaled(1 << 13, 1024);
        for (int way = 0; way < WAYS; way++) {
            run_init(&runs[s][way], bodies[s][way], &subjects[s], 1, calls);
        }
        figures.all[s] = runs[s][SINGLE].all;
    }
    for (int round = -1; round < ROUNDS; round++) {
        for (int s = 0; s < SUBJECTS; s++) {
            uint64_t next = runs[s][WAYS - 1].lanes[0].next;
            for (int way = 0; way < WAYS; way++) {
                runs[s][way].lanes[0].next = next;
                (void)run_round(&runs[s][way], 1);
                next = runs[s][way].lanes[0].next;
                if (s == TAPE) {
                    bench_store_settle(db);
                }
                if (round < 0) { /* warms up */
                    bench_histogram_reset(runs[s][way].all);
                }
            }
            if (round >= 0) {
                bench_push(&figures.alone[s], round_ns(&runs[s][ALONE], 0.5, GROUP));
                bench_push(&figures.run[s], round_ns(&runs[s][RUN], 0.5, GROUP));
                bench_push(&figures.p50[s], round_ns(&runs[s][SINGLE], 0.5, 1));
                bench_push(&figures.p99[s], round_ns(&runs[s][SINGLE], 0.99, 1));
            }
        }
    }
    print_one_thread(&figures);
    for (int s = 0; s < SUBJECTS; s++) {
        for (int way = 0; way < WAYS; way++) {
            run_deinit(&runs[s][way]);
        }
    }
}

/* --- batches --- */

static void batches(tape *db, rocks *rdb, lmdb *ldb, limit *lim) {
    run runs[SUBJECTS];
    void *const subjects[SUBJECTS] = {db, lim, rdb, ldb};
    void (*const bodies[SUBJECTS])(lane *, uint64_t) = {tape_batch_single, limit_batch,
                                                        rocks_batch_single, lmdb_batch_single};
    const char *const rows[SUBJECTS] = {"", "written_batch_limit", "written_batch_rocksdb",
                                        "written_batch_lmdb"};
    const char *const peers[SUBJECTS] = {"", "memcpy + CRC-32C", "RocksDB", "LMDB"};
    const char *const settings[SUBJECTS] = {"", LIMIT_SETTINGS, rocks_settings(ROCKS_APPEND),
                                            lmdb_settings(LMDB_NO_SYNC)};
    bench_series cost[SUBJECTS] = {0};
    for (int s = 0; s < SUBJECTS; s++) {
        uint64_t calls =
            s == TAPE || s == LIMIT ? bench_scaled(1 << 12, 64) : bench_scaled(1 << 9, 16);
        run_init(&runs[s], bodies[s], &subjects[s], 1, calls);
        runs[s].lanes[0].next = UINT64_C(1) << 32; /* keys after those of the other runs */
    }
    for (int round = -1; round < ROUNDS; round++) {
        for (int s = 0; s < SUBJECTS; s++) {
            (void)run_round(&runs[s], 1);
            if (s == TAPE) {
                bench_store_settle(db);
            }
            if (round >= 0) {
                bench_push(&cost[s], round_ns(&runs[s], 0.5, BATCH));
            } else {
                bench_histogram_reset(runs[s].all);
            }
        }
    }
    for (int s = LIMIT; s < SUBJECTS; s++) {
        bench_row row = {
            .threads = 1,
            .batch = BATCH,
            .unit = "ns per record",
            .row = rows[s],
            .metric = "append `written`, batches of 64, 1 thread, p50",
            .peer = peers[s],
            .peer_settings = settings[s],
            .tape = &cost[TAPE],
            .beside = &cost[s],
            .ratio = s == LIMIT ? BENCH_TAPE_BY_PEER : BENCH_PEER_BY_TAPE,
            .tape_spread = runs[TAPE].all,
            .peer_spread = runs[s].all,
            .explains = "percentiles are of whole batches",
        };
        bench_print(&row);
    }
    for (int s = 0; s < SUBJECTS; s++) {
        run_deinit(&runs[s]);
    }
}

/* --- several threads --- */

static void many_threads(tape *db, limit *const *limits, int threads) {
    rocks_use use = threads == 2 ? ROCKS_APPEND_TWO : ROCKS_APPEND_MANY;
    rocks *rdb = rocks_open(bench_path("many.rocksdb"), use);
    run runs[ROCKS + 1];
    void *subjects[ROCKS + 1][THREADS_MAX];
    void (*const bodies[ROCKS + 1])(lane *, uint64_t) = {tape_one_single, limit_runs,
                                                         rocks_one_single};
    bench_series rate[ROCKS + 1] = {0};
    for (int s = 0; s <= ROCKS; s++) {
        for (int i = 0; i < threads; i++) {
            subjects[s][i] = s == TAPE ? (void *)db : s == LIMIT ? (void *)limits[i] : (void *)rdb;
        }
        uint64_t calls = (s == ROCKS ? bench_scaled(1 << 14, 1024) : bench_scaled(1 << 18, 4096)) /
                         (uint64_t)threads;
        run_init(&runs[s], bodies[s], subjects[s], threads, calls);
        for (int i = 0; i < threads; i++) {
            runs[s].lanes[i].next = (UINT64_C(2) + (uint64_t)threads) << 32;
        }
    }
    for (int round = -1; round < ROUNDS; round++) {
        for (int s = 0; s <= ROCKS; s++) {
            int64_t wall_ns = run_round(&runs[s], threads);
            if (s == TAPE) {
                bench_store_settle(db);
            }
            if (round >= 0) {
                bench_push(&rate[s], (double)runs[s].calls * threads * 1e9 / (double)wall_ns);
            } else {
                bench_histogram_reset(runs[s].all);
            }
        }
    }
    char metric[96];
    (void)snprintf(metric, sizeof metric, "append `written`, 128 B, %d threads", threads);
    for (int s = LIMIT; s <= ROCKS; s++) {
        char name[64];
        (void)snprintf(name, sizeof name, "written_%d_threads_%s", threads,
                       s == LIMIT ? "limit" : "rocksdb");
        bench_row row = {
            .threads = threads,
            .batch = 1,
            .unit = "records/s",
            .row = name,
            .metric = metric,
            .peer = s == LIMIT ? "memcpy + CRC-32C" : "RocksDB",
            .peer_settings =
                s == LIMIT ? LIMIT_SETTINGS ", one ring per thread" : rocks_settings(use),
            .tape = &rate[TAPE],
            .beside = &rate[s],
            .ratio = BENCH_TAPE_BY_PEER,
            .tape_spread = runs[TAPE].all,
            .peer_spread = s == LIMIT ? NULL : runs[s].all,
            .explains = "each append timed alone",
        };
        bench_print(&row);
    }
    for (int s = 0; s <= ROCKS; s++) {
        run_deinit(&runs[s]);
    }
    rocks_close(&rdb);
    bench_remove(bench_path("many.rocksdb"));
}

int main(void) {
    (void)bench_group_overhead(GROUP, true); /* calibrates, before there are threads */
    bench_print_fact("clock step", "%.1f ns", bench_clock_step_ns());
    ticks = bench_ticks_create(1);
    for (size_t i = 0; i < BENCH_TICKS_DISTINCT; i++) {
        values[i] = &ticks->ticks[i];
    }
    tape *db = bench_store_open("written.tape", NULL);
    rocks *one = rocks_open(bench_path("written.rocksdb"), ROCKS_APPEND);
    lmdb *ldb = lmdb_open(bench_path("written.lmdb"), LMDB_NO_SYNC, LMDB_BYTES);
    limit *limits[THREADS_MAX];
    for (int i = 0; i < THREADS_MAX; i++) {
        limits[i] = limit_create(RING_BYTES);
    }
    bench_sleep_ns(BENCH_SECOND_NS); /* the window is prefaulted in the background */
    one_thread(db, one, ldb, limits[0]);
    batches(db, one, ldb, limits[0]);
    rocks_close(&one);
    lmdb_close(&ldb);
    many_threads(db, limits, 2);
    many_threads(db, limits, 4);
    bench_store_close(&db, "written.tape");
    for (int i = 0; i < THREADS_MAX; i++) {
        limit_destroy(&limits[i]);
    }
    free(ticks);
    return 0;
}
