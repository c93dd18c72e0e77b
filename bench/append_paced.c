/* Appends that arrive at a fixed rate, 100 k per second: latency and background CPU.
 *
 * Arrivals have their times beforehand, 10 us apart; a latency counts from the time an append was
 * due, so that a pause shows in every append it delays (no coordinated omission). The appending
 * thread spins between arrivals.
 *
 * Latencies are taken twice: with the appending thread bound to a core that takes no interrupts of
 * the disk, as one would deploy it, and free: then it meets about one completion of the disk per
 * sync.
 *
 * Background CPU is told twice, too: for ticks, which compaction need not rewrite, and for versions
 * of orders at random keys, which it must; then until what the appends left to compact is done. */
#include "orders.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RATE 100000u
#define GAP_NS (BENCH_SECOND_NS / RATE)
#define ROUNDS 5
#define ORDERS_LIVE 1000000u
#define ORDERS_SECONDS 20u
#define ORDERS_LONG_SECONDS 120u
#define ORDERS_MEMTABLE_BYTES BENCH_MIB(32)
#define ORDERS_RETAIN_BYTES BENCH_GIB(1)

static bench_ticks_set *ticks;

typedef struct pace {
    void *handle;
    void (*append)(struct pace *p, uint64_t number);
    int cpu;        /* that the thread is bound to; -1: none */
    uint64_t count; /* appends per round */
    uint64_t next;
    bench_histogram *round, *all;
    bench_series p50, p99, background_cpu;
    int64_t own_ns, wall_ns; /* the appending thread's CPU time, and all time, of the last round */
    _Atomic uint64_t last_seq; /* acknowledged; for those who look at freshness */
} pace;

static void pace_tape(pace *p, uint64_t number) {
    tape_error error;
    tape_append_result result;
    tape_status status = tape_append(p->handle, &ticks->records[number % BENCH_TICKS_DISTINCT], 1,
                                     NULL, &result, &error);
    bench_check(status, &error);
    atomic_store_explicit(&p->last_seq, result.last_seq, memory_order_release);
}

static void pace_rocks(pace *p, uint64_t number) {
    uint8_t key[PEER_KEY_BYTES];
    peer_key(key, number);
    rocks_put(p->handle, key, &ticks->ticks[number % BENCH_TICKS_DISTINCT], PEER_VALUE_BYTES,
              false);
}

/* Nothing at all: what the machine itself does to a thread that waits for its time. */
static void pace_nothing(pace *p, uint64_t number) {
    atomic_store_explicit(&p->last_seq, number, memory_order_release);
}

static void pace_worker(void *context, int thread) {
    (void)thread;
    pace *p = context;
    bench_bind(p->cpu);
    double ns_per_tick = bench_ns_per_tick();
    int64_t process_ns = bench_process_cpu_ns();
    int64_t own_ns = bench_thread_cpu_ns();
    int64_t begin_ns = bench_now_ns();
    uint64_t begin = bench_ticks();
    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t due = begin + (uint64_t)((double)i * (double)GAP_NS / ns_per_tick);
        while (bench_ticks() < due) {
        }
        p->append(p, p->next++);
        bench_add(p->round, bench_ticks() - due);
    }
    p->wall_ns = bench_now_ns() - begin_ns;
    p->own_ns = bench_thread_cpu_ns() - own_ns;
    process_ns = bench_process_cpu_ns() - process_ns;
    bench_push(&p->background_cpu, (double)(process_ns - p->own_ns) * 100 / (double)p->wall_ns);
}

static pace pace_make(void *handle, void (*append)(pace *, uint64_t), int cpu) {
    return (pace){.handle = handle,
                  .append = append,
                  .cpu = cpu,
                  .count = bench_scaled(3 * RATE / 2, RATE / 5),
                  .round = bench_histogram_create(bench_ns_per_tick()),
                  .all = bench_histogram_create(bench_ns_per_tick())};
}

static void pace_round(pace *p, bool counts) {
    bench_histogram_reset(p->round);
    (void)bench_parallel(1, pace_worker, p);
    if (counts) {
        bench_histogram_merge(p->all, p->round);
        bench_push(&p->p50, bench_quantile(p->round, 0.5));
        bench_push(&p->p99, bench_quantile(p->round, 0.99));
    } else {
        p->background_cpu.count = 0;
    }
}

/* --- queries --- */

static uint64_t first_number(struct ArrowArrayStream *stream) {
    struct ArrowArray array;
    uint64_t value = 0;
    if (stream->get_next(stream, &array) != 0 || array.release == NULL || array.length != 1) {
        bench_fail("a query gave no row: %s", stream->get_last_error(stream));
    }
    value = ((const uint64_t *)array.children[0]->buffers[1])[array.children[0]->offset];
    array.release(&array);
    stream->release(stream);
    return value;
}

static uint64_t query_last_seq(tape *db) {
    tape_error error;
    struct ArrowArrayStream stream;
    bench_check(tape_query(db, "SELECT max(seq) FROM ticks", NULL, &stream, &error), &error);
    return first_number(&stream);
}

/* --- the rows --- */

static void print_latency(const pace *bound, const pace *unbound, const pace *rocks_pace,
                          const pace *nothing) {
    static const char with_core[] = "from the time it was due; the thread bound to a core that "
                                    "takes no interrupts of the disk";
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = "paced_written_p99",
        .metric = "append `written`, 128 B, at 100 k/s, p99",
        .tape = &bound->p99,
        .goal = BENCH_AT_MOST,
        .target = 10000,
        .tape_spread = bound->all,
        .explains = with_core,
    };
    bench_print(&row);
    row.row = "paced_written_nothing_p99";
    row.peer = "a loop that appends nothing";
    row.beside = &nothing->p99;
    row.peer_spread = nothing->all;
    row.ratio = BENCH_TAPE_BY_PEER;
    row.goal = BENCH_NO_GOAL;
    bench_print(&row);
    row.row = "paced_written_rocksdb_p99";
    row.peer = "RocksDB";
    row.peer_settings = rocks_settings(ROCKS_APPEND);
    row.beside = &rocks_pace->p99;
    row.peer_spread = rocks_pace->all;
    row.ratio = BENCH_PEER_BY_TAPE;
    row.goal = BENCH_AT_LEAST;
    row.target = 5;
    bench_print(&row);
    row = (bench_row){
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = "paced_written_unbound_p99",
        .metric = "append `written`, 128 B, at 100 k/s, p99, thread not bound",
        .tape = &unbound->p99,
        .tape_spread = unbound->all,
        .explains = "from the time it was due; the disk's interrupts share the core at times",
    };
    bench_print(&row);
}

static void print_cpu(const pace *p, const char *name, const char *metric) {
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "% of a core",
        .row = name,
        .metric = metric,
        .tape = &p->background_cpu,
        .goal = BENCH_AT_MOST,
        .target = 10,
        .explains = "CPU time of the process less the appending thread's",
    };
    bench_print(&row);
}

/* --- what compaction costs --- */

/* A version of a random order. */
static void pace_order(pace *p, uint64_t number) {
    static uint64_t seed = 31;
    tape_error error;
    tape_order order;
    orders_make(&order, bench_random(&seed) % ORDERS_LIVE, number + 1);
    tape_record record = TAPE_RECORD(ORDERS, &order);
    bench_check(tape_append(p->handle, &record, 1, NULL, NULL, &error), &error);
}

static void print_compacting(const bench_series *cpu, const tape_stats *before,
                             const tape_stats *after, uint64_t versions) {
    char explains[256];
    (void)snprintf(explains, sizeof explains,
                   "1 M orders live, %.1f M versions put, old ones dropped: %.2f GB flushed, "
                   "%llu compactions (%.2f GB); their CPU time after the last append is "
                   "counted",
                   (double)versions / 1e6,
                   (double)(after->flush_written_bytes - before->flush_written_bytes) / 1e9,
                   (unsigned long long)(after->compactions - before->compactions),
                   (double)(after->compact_written_bytes - before->compact_written_bytes) / 1e9);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "% of a core",
        .row = "background_cpu_compacting",
        .metric = "background CPU at 100 k appends/s, orders at random keys, compacted",
        .tape_settings = "memtable 32 MiB, keep_ns of orders 1, journal kept: 1 GiB",
        .tape = cpu,
        .explains = explains,
    };
    bench_print(&row);
}

static void cpu_compacting(int cpu) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.memtable_bytes = ORDERS_MEMTABLE_BYTES;
    options.retain_bytes = ORDERS_RETAIN_BYTES;
    options.keep_ns[TAPE_TABLE_ORDERS] = 1;
    tape_error error;
    tape *db = bench_store_open("compacting.tape", &options);
    orders_set *set = orders_create(ORDERS_LIVE);
    orders_put_tape(db, set, 0, set->count);
    orders_free(&set);
    bench_check(tape_compact(db, NULL, &error), &error);
    bench_store_rest(db);

    bench_series share = {0};
    tape_stats before = bench_store_stats(db);
    pace p = pace_make(db, pace_order, cpu);
    p.count = bench_scaled(RATE * (bench_long() ? ORDERS_LONG_SECONDS : ORDERS_SECONDS), RATE);
    int64_t process_ns = bench_process_cpu_ns();
    int64_t main_ns = bench_thread_cpu_ns();
    (void)bench_parallel(1, pace_worker, &p);
    bench_store_rest(db);
    main_ns = bench_thread_cpu_ns() - main_ns;
    process_ns = bench_process_cpu_ns() - process_ns;
    tape_stats after = bench_store_stats(db);
    bench_push(&share, (double)(process_ns - main_ns - p.own_ns) * 100 / (double)p.wall_ns);
    print_compacting(&share, &before, &after, p.count);
    free(p.round);
    free(p.all);
    bench_store_close(&db, "compacting.tape");
}

int main(void) {
    ticks = bench_ticks_create(1);
    tape *db = bench_store_open("paced.tape", NULL);
    rocks *rdb = rocks_open(bench_path("paced.rocksdb"), ROCKS_APPEND);
    bench_sleep_ns(BENCH_SECOND_NS);
    int cpu = bench_quiet_cpu();
    pace bound = pace_make(db, pace_tape, cpu);
    pace unbound = pace_make(db, pace_tape, -1);
    pace with_rocks = pace_make(rdb, pace_rocks, cpu);
    pace with_nothing = pace_make(NULL, pace_nothing, cpu);
    for (int round = -1; round < ROUNDS; round++) {
        pace_round(&bound, round >= 0);
        bench_store_settle(db);
        pace_round(&with_rocks, round >= 0);
        pace_round(&with_nothing, round >= 0);
        pace_round(&unbound, round >= 0);
        bench_store_settle(db);
    }
    print_latency(&bound, &unbound, &with_rocks, &with_nothing);
    print_cpu(&bound, "background_cpu", "background CPU at 100 k appends/s");
    rocks_close(&rdb);

    (void)query_last_seq(db); /* from here on columns are kept up */
    pace with_columns = pace_make(db, pace_tape, cpu);
    for (int round = -1; round < ROUNDS; round++) {
        pace_round(&with_columns, round >= 0);
    }
    print_cpu(&with_columns, "background_cpu_columns",
              "background CPU at 100 k appends/s, SQL in use");
    bench_store_close(&db, "paced.tape");
    cpu_compacting(cpu);
    return 0;
}
