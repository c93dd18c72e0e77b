/* What the store writes and takes up for what it is given, beside RocksDB with leveled compaction:
 * the same records, memtables, table files and least level of the same size on both sides.
 *
 *   random   orders loaded and compacted, then versions of random ones, the old versions dropped
 *   ticks    records whose keys rise with time: numbers
 *   trades   the same: text
 *
 * Write amplification: bytes written to table files, from the stores' own counters, by the bytes of
 * the records put (tape: structs; RocksDB: keys and structs). Logs are left out on both sides. What
 * the kernel counted for the process less the threads that write the logs is told beside it.
 *
 * Space amplification: what table files take on disk by the bytes of the records that live. At
 * rest: when all is flushed and no compaction is wanted; steady: when tape has also done what it
 * leaves for idle times, which counts as written, too; peak: of looks every 50 ms from the first
 * put to then. The shape of the levels follows from how many memtables the data would fill: both
 * are small here, and the shape is that of 6 GB with the default memtable of 128 MiB. */
#include "orders.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANDOM_KEYS 3000000u
#define RANDOM_PUTS 3000000u
#define PACKED_KEYS 1000000u
#define PACKED_PUTS 1500000u
#define TICKS_PUTS 3000000u
#define TRADES_PUTS 1500000u
#define MEMTABLE_BYTES BENCH_MIB(8)
#define TABLE_BYTES BENCH_MIB(8)
#define LEVEL_BYTES BENCH_MIB(32)
#define LONG_FACTOR 4u /* BENCH_LONG=1: so much more of everything */
#define RETAIN_BYTES BENCH_MIB(64)
#define APPEND_TIMEOUT_NS (300 * BENCH_SECOND_NS)
#define LOOK_PAUSE_NS (BENCH_SECOND_NS / 20)
#define LOADED_BATCH 500u
#define CHECKS 10000u
#define PACED_RATE 100000u
#define PACED_SECONDS 10u
#define PACED_PAUSE_NS (BENCH_SECOND_NS / 1000)

typedef enum kind { RANDOM_ORDERS, TICKS, TRADES } kind;

typedef struct workload {
    const char *name;
    const char *what;
    kind kind;
    bool lz4;
    bool paced;    /* waits until tape is idle, and then goes on at PACED_RATE */
    uint64_t keys; /* loaded beforehand */
    uint64_t puts; /* that are measured */
    uint64_t memtable_bytes, table_bytes, level_bytes;
    uint32_t *versions; /* RANDOM_ORDERS: by number, what the last put gave */
} workload;

/* --- records: the same on both sides --- */

typedef union any_record {
    tape_order order;
    tape_tick tick;
    tape_trade trade;
} any_record;

typedef struct made {
    any_record record;
    uint16_t table;
    uint32_t size_bytes;
    size_t key_bytes; /* RocksDB's */
    char key[40];
} made;

static bench_ticks_set *ticks;

static void make_order(made *m, uint64_t number, uint64_t version) {
    m->table = TAPE_TABLE_ORDERS;
    m->size_bytes = sizeof m->record.order;
    m->key_bytes = ORDERS_KEY_BYTES;
    orders_make(&m->record.order, number, version);
    memcpy(m->key, m->record.order.order_id, sizeof m->key);
}

static void make_tick(made *m, uint64_t number) {
    m->table = TAPE_TABLE_TICKS;
    m->size_bytes = sizeof m->record.tick;
    m->key_bytes = PEER_KEY_BYTES;
    m->record.tick = ticks->ticks[number % BENCH_TICKS_DISTINCT];
    peer_key((uint8_t *)m->key, number + 1);
}

static void make_trade(made *m, uint64_t number) {
    tape_order order;
    tape_trade *trade = &m->record.trade;
    orders_make(&order, number, 0);
    m->table = TAPE_TABLE_TRADES;
    m->size_bytes = sizeof *trade;
    m->key_bytes = ORDERS_KEY_BYTES;
    *trade = (tape_trade){.ts = order.ts,
                          .side = order.side,
                          .position_effect = order.position_effect,
                          .price = order.price,
                          .volume = order.volume};
    orders_key_make(trade->trade_id, number);
    orders_key_make(trade->order_id, number / 2);
    orders_key_make(trade->counter_order_id, number / 2 + 1);
    memcpy(trade->user_id, order.user_id, sizeof trade->user_id);
    memcpy(trade->instrument_id, order.instrument_id, sizeof trade->instrument_id);
    memcpy(m->key, trade->trade_id, sizeof m->key);
}

static void make(made *m, const workload *w, uint64_t number, uint64_t version) {
    if (w->kind == RANDOM_ORDERS) {
        make_order(m, number, version);
    } else if (w->kind == TICKS) {
        make_tick(m, number);
    } else {
        make_trade(m, number);
    }
}

/* --- the two sides --- */

typedef struct side {
    tape *db; /* one of the two */
    rocks *r;
    char files[1024]; /* where the table files are */
    const char *suffix;
} side;

static tape_open_options tape_options(const workload *w) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.memtable_bytes = w->memtable_bytes;
    options.table_bytes = w->table_bytes;
    options.retain_bytes = RETAIN_BYTES;
    options.background_cpu = 2;
    options.keep_ns[TAPE_TABLE_ORDERS] = 1;
    options.pack = TAPE_PACK_LZ4;
    options.pack_level = w->lz4 ? 1 : 0;
    return options;
}

static const char *tape_settings(const workload *w) {
    static char text[256];
    (void)snprintf(text, sizeof text,
                   "memtable %llu MiB, files %llu MiB, base level %llu MiB, old versions of orders "
                   "dropped, compaction may take both cores, %s",
                   (unsigned long long)w->memtable_bytes >> 20,
                   (unsigned long long)w->table_bytes >> 20,
                   (unsigned long long)w->level_bytes >> 20,
                   w->lz4 ? "LZ4 from level 1 on" : "no compression");
    return text;
}

static rocks_levels levels_of(const workload *w) {
    return (rocks_levels){.memtable_bytes = w->memtable_bytes,
                          .table_bytes = w->table_bytes,
                          .level_bytes = w->level_bytes,
                          .lz4 = w->lz4};
}

static void side_put(const side *s, const made *m, size_t count) {
    if (s->db == NULL) {
        for (size_t i = 0; i < count; i++) {
            rocks_put_key(s->r, m[i].key, m[i].key_bytes, &m[i].record, m[i].size_bytes);
        }
        return;
    }
    static const tape_append_options options = {sizeof options, TAPE_WRITTEN, 0, APPEND_TIMEOUT_NS};
    tape_record records[LOADED_BATCH];
    tape_error error;
    for (size_t i = 0; i < count; i++) {
        records[i] = (tape_record){m[i].table, 0, m[i].size_bytes, &m[i].record};
    }
    bench_check(tape_append(s->db, records, count, &options, NULL, &error), &error);
}

static void side_flush(const side *s) {
    tape_error error;
    if (s->db != NULL) {
        bench_check(tape_checkpoint(s->db, &error), &error);
    } else {
        rocks_flush(s->r);
    }
}

static void side_rest(const side *s) {
    if (s->db != NULL) {
        bench_store_rest(s->db);
    } else {
        rocks_rest(s->r);
    }
}

static void side_compact(const side *s) {
    tape_error error;
    if (s->db != NULL) {
        bench_check(tape_compact(s->db, NULL, &error), &error);
    } else {
        rocks_compact(s->r);
    }
    side_rest(s);
}

/* The record is there as it was put last. */
static void side_verify(const side *s, const workload *w, uint64_t number) {
    made wanted;
    any_record out;
    make(&wanted, w, number, w->versions == NULL ? 0 : w->versions[number]);
    if (s->db != NULL) {
        char text[48];
        const char *key = wanted.key;
        if (w->kind == TICKS) {
            (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number + 1);
            key = text;
        }
        tape_error error;
        bench_check(tape_get(s->db, wanted.table, &key, 1, 0, &out, &error), &error);
        wanted.record.order.seq = out.order.seq; /* every struct begins with it */
    } else {
        BENCH_CHECK(rocks_get(s->r, wanted.key, wanted.key_bytes, &out, wanted.size_bytes));
    }
    BENCH_CHECK(memcmp(&out, &wanted.record, wanted.size_bytes) == 0);
}

/* --- what was written --- */

typedef struct written {
    uint64_t flush_bytes, compact_bytes; /* as the store counts them */
    uint64_t kernel_bytes;               /* by the process */
    uint64_t kernel_log_bytes;           /* of them, by threads that write logs */
    int64_t stall_ns;
    uint64_t dropped; /* tape: versions */
} written;

static uint64_t io_written(const char *path) {
    char line[128];
    unsigned long long bytes = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "write_bytes: %llu", &bytes);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return bytes;
}

/* tape's log has threads of its own, which live as long as the store; RocksDB's is written by the
 * thread that puts. */
static bool writes_log(const char *thread, bool of_tape) {
    char path[300];
    char name[32] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%s/comm", thread);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        (void)fscanf(file, "%31s", name);
        (void)fclose(file);
    }
    return of_tape ? strcmp(name, "tape-journal") == 0 || strcmp(name, "tape-segments") == 0
                   : atol(thread) == (long)getpid();
}

static uint64_t log_written(bool of_tape) {
    uint64_t bytes = 0;
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *entry;
    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] != '.' && writes_log(entry->d_name, of_tape)) {
            char path[300];
            (void)snprintf(path, sizeof path, "/proc/self/task/%s/io", entry->d_name);
            bytes += io_written(path);
        }
    }
    if (tasks != NULL) {
        (void)closedir(tasks);
    }
    return bytes;
}

static written written_so_far(const side *s) {
    written out = {.kernel_bytes = io_written("/proc/self/io"),
                   .kernel_log_bytes = log_written(s->db != NULL)};
    if (s->db != NULL) {
        tape_stats stats = bench_store_stats(s->db);
        out.flush_bytes = stats.flush_written_bytes;
        out.compact_bytes = stats.compact_written_bytes;
        out.stall_ns = stats.stall_ns;
        out.dropped = stats.dropped_records;
    } else {
        rocks_counters counters = rocks_counters_read(s->r);
        out.flush_bytes = counters.flush_written_bytes;
        out.compact_bytes = counters.compact_written_bytes;
        out.stall_ns = counters.stall_ns;
    }
    return out;
}

static written written_since(const side *s, const written *before) {
    written now = written_so_far(s);
    return (written){.flush_bytes = now.flush_bytes - before->flush_bytes,
                     .compact_bytes = now.compact_bytes - before->compact_bytes,
                     .kernel_bytes = now.kernel_bytes - before->kernel_bytes,
                     .kernel_log_bytes = now.kernel_log_bytes - before->kernel_log_bytes,
                     .stall_ns = now.stall_ns - before->stall_ns,
                     .dropped = now.dropped - before->dropped};
}

/* --- what is taken up --- */

typedef struct looker {
    pthread_t thread;
    const side *side;
    _Atomic uint64_t live_bytes; /* of records; 0: not yet of interest */
    _Atomic bool done;
    double peak;
    uint64_t looks;
} looker;

static void *look(void *argument) {
    looker *l = argument;
    while (!atomic_load(&l->done)) {
        /* Records grow in number; those read before the files are never too many. */
        uint64_t live = atomic_load(&l->live_bytes);
        double share =
            live == 0 ? 0
                      : (double)bench_disk_bytes(l->side->files, l->side->suffix) / (double)live;
        l->peak = share > l->peak ? share : l->peak;
        l->looks++;
        bench_sleep_ns(LOOK_PAUSE_NS);
    }
    return NULL;
}

static void look_start(looker *l, const side *s) {
    *l = (looker){.side = s};
    if (pthread_create(&l->thread, NULL, look, l) != 0) {
        bench_fail("a thread could not be started");
    }
}

static void look_stop(looker *l) {
    atomic_store(&l->done, true);
    (void)pthread_join(l->thread, NULL);
    BENCH_CHECK(l->looks > 0);
}

/* --- one side of a workload --- */

typedef struct result {
    bench_series write, kernel, rest, steady, peak, rate, paced_write, paced_peak;
    written bytes;
    double put_bytes;
    double rest_seconds; /* from the last put to rest */
    double paced_rate;   /* that was kept up */
} result;

static uint64_t record_bytes(const workload *w) {
    return w->kind == RANDOM_ORDERS ? sizeof(tape_order)
           : w->kind == TICKS       ? sizeof(tape_tick)
                                    : sizeof(tape_trade);
}

/* Of a record put, as the side is given it. */
static uint64_t put_bytes(const side *s, const workload *w) {
    uint64_t key_bytes = w->kind == TICKS ? PEER_KEY_BYTES : ORDERS_KEY_BYTES;
    return record_bytes(w) + (s->db != NULL ? 0 : key_bytes);
}

static void load(const side *s, const workload *w) {
    static made batch[LOADED_BATCH];
    for (uint64_t i = 0; i < w->keys; i += LOADED_BATCH) {
        for (uint64_t k = 0; k < LOADED_BATCH; k++) {
            make(&batch[k], w, i + k, 0);
        }
        side_put(s, batch, LOADED_BATCH);
    }
    side_compact(s);
}

static void put_next(const side *s, workload *w, uint64_t number) {
    static uint64_t seed = 41;
    made m;
    if (w->kind == RANDOM_ORDERS) {
        number = bench_random(&seed) % w->keys;
        make(&m, w, number, ++w->versions[number]);
    } else {
        make(&m, w, number, 0);
    }
    side_put(s, &m, 1);
}

static void put_all(const side *s, workload *w, looker *l) {
    uint64_t each = put_bytes(s, w);
    for (uint64_t i = 0; i < w->puts; i++) {
        put_next(s, w, i);
        /* Of a growing store the beginning, which is all in memory, tells nothing. */
        if (w->kind != RANDOM_ORDERS && i > w->puts / 4 && i % 1024 == 0) {
            atomic_store(&l->live_bytes, i * each);
        }
    }
    if (s->db != NULL) {
        bench_store_applied(s->db);
    }
}

/* What is due is put, then the thread sleeps for a millisecond. */
static void put_paced(const side *s, workload *w, uint64_t count) {
    int64_t begin_ns = bench_now_ns();
    for (uint64_t i = 0; i < count;) {
        uint64_t due = (uint64_t)((bench_now_ns() - begin_ns) / (BENCH_SECOND_NS / PACED_RATE));
        for (; i < due && i < count; i++) {
            put_next(s, w, i);
        }
        bench_sleep_ns(PACED_PAUSE_NS);
    }
}

static void verify(const side *s, const workload *w) {
    uint64_t seed = 43;
    uint64_t numbers = w->kind == RANDOM_ORDERS ? w->keys : w->puts;
    for (uint64_t i = 0; i < CHECKS; i++) {
        side_verify(s, w, bench_random(&seed) % numbers);
    }
}

/* On at a fixed rate: random overwrite only. */
static void measure_paced(const side *s, workload *w, result *out) {
    looker l;
    uint64_t puts = bench_scaled(PACED_RATE * PACED_SECONDS, CHECKS);
    written before = written_so_far(s);
    look_start(&l, s);
    atomic_store(&l.live_bytes, w->keys * put_bytes(s, w));
    int64_t start_ns = bench_now_ns();
    put_paced(s, w, puts);
    out->paced_rate = (double)puts * 1e9 / (double)(bench_now_ns() - start_ns);
    side_flush(s);
    side_rest(s);
    look_stop(&l);
    written bytes = written_since(s, &before);
    verify(s, w);
    bench_push(&out->paced_write, (double)(bytes.flush_bytes + bytes.compact_bytes) /
                                      (double)(puts * put_bytes(s, w)));
    bench_push(&out->paced_peak, l.peak);
}

static void measure(const side *s, workload *w, result *out) {
    looker l;
    uint64_t put_total = w->puts * put_bytes(s, w);
    uint64_t live = w->kind == RANDOM_ORDERS ? w->keys * put_bytes(s, w) : put_total;
    if (w->kind == RANDOM_ORDERS) {
        memset(w->versions, 0, w->keys * sizeof *w->versions);
        load(s, w);
    }
    written before = written_so_far(s);
    look_start(&l, s);
    atomic_store(&l.live_bytes, w->kind == RANDOM_ORDERS ? live : 0);
    int64_t start_ns = bench_now_ns();
    put_all(s, w, &l);
    int64_t end_ns = bench_now_ns();
    atomic_store(&l.live_bytes, live);
    side_flush(s);
    side_rest(s);
    out->rest_seconds = (double)(bench_now_ns() - end_ns) / 1e9;
    bench_push(&out->rest, (double)bench_disk_bytes(s->files, s->suffix) / (double)live);
    if (w->paced && s->db != NULL) {
        bench_store_idle(s->db);
    }
    look_stop(&l);
    out->bytes = written_since(s, &before);
    out->put_bytes = (double)put_total;
    verify(s, w);
    uint64_t tables = out->bytes.flush_bytes + out->bytes.compact_bytes;
    uint64_t kernel = out->bytes.kernel_bytes - out->bytes.kernel_log_bytes;
    bench_push(&out->write, (double)tables / (double)put_total);
    bench_push(&out->kernel, (double)kernel / (double)put_total);
    bench_push(&out->steady, (double)bench_disk_bytes(s->files, s->suffix) / (double)live);
    bench_push(&out->peak, l.peak);
    bench_push(&out->rate, (double)w->puts * 1e9 / (double)(end_ns - start_ns));
    if (w->paced) {
        measure_paced(s, w, out);
    }
}

static void measure_tape(workload *w, result *out) {
    tape_open_options options = tape_options(w);
    side s = {.db = bench_store_open("amplification.tape", &options), .suffix = ""};
    (void)snprintf(s.files, sizeof s.files, "%s/store", bench_path("amplification.tape"));
    measure(&s, w, out);
    bench_store_close(&s.db, "amplification.tape");
}

static void measure_rocks(workload *w, result *out) {
    const char *path = bench_path("amplification.rocksdb");
    rocks_levels levels = levels_of(w);
    side s = {.r = rocks_open_levels(path, &levels), .suffix = ".sst"};
    (void)snprintf(s.files, sizeof s.files, "%s", path);
    measure(&s, w, out);
    rocks_close(&s.r);
    bench_remove(path);
}

/* --- rows --- */

typedef struct amplification_row {
    const char *name, *metric, *unit;
    const bench_series *tape, *rocks;
    bench_ratio ratio;
    bench_goal goal;
    double target;
    const char *explains;
} amplification_row;

static void print_row(const workload *w, const amplification_row *what) {
    char name[64];
    char metric[128];
    rocks_levels levels = levels_of(w);
    (void)snprintf(name, sizeof name, "amplification_%s_%s", w->name, what->name);
    (void)snprintf(metric, sizeof metric, "%s, %s", what->metric, w->what);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = what->unit,
        .row = name,
        .metric = metric,
        .peer = "RocksDB, leveled",
        .tape_settings = tape_settings(w),
        .peer_settings = rocks_levels_settings(&levels),
        .tape = what->tape,
        .beside = what->rocks,
        .ratio = what->ratio,
        .goal = what->goal,
        .target = what->target,
        .explains = what->explains,
    };
    bench_print(&row);
}

static void describe(char *text, size_t size, const workload *w, const result *r) {
    const result *t = &r[0];
    const result *p = &r[1];
    double record = (double)record_bytes(w);
    int used =
        w->kind == RANDOM_ORDERS
            ? snprintf(text, size, "%.1f M orders (%.0f MB) overwritten %.1f M times",
                       (double)w->keys / 1e6, (double)w->keys * record / 1e6, (double)w->puts / 1e6)
            : snprintf(text, size, "%.1f M records (%.0f MB)", (double)w->puts / 1e6,
                       (double)w->puts * record / 1e6);
    (void)snprintf(text + used, size - (size_t)used,
                   "; tape: flushed %.2f and compacted %.2f bytes per byte put, stalled %.1f s, at "
                   "rest %.1f s after the last put; RocksDB: %.2f, %.2f, %.1f s, %.1f s",
                   (double)t->bytes.flush_bytes / t->put_bytes,
                   (double)t->bytes.compact_bytes / t->put_bytes, (double)t->bytes.stall_ns / 1e9,
                   t->rest_seconds, (double)p->bytes.flush_bytes / p->put_bytes,
                   (double)p->bytes.compact_bytes / p->put_bytes, (double)p->bytes.stall_ns / 1e9,
                   p->rest_seconds);
}

/* Targets are for files that are not packed. */
static void print_all(const workload *w, const result *r) {
    static char explains[512];
    bool random = w->kind == RANDOM_ORDERS;
    bench_goal at_most = w->lz4 ? BENCH_NO_GOAL : BENCH_AT_MOST;
    describe(explains, sizeof explains, w, r);
    char paced[96];
    (void)snprintf(paced, sizeof paced, "kept up by tape: %.0f k/s, by RocksDB: %.0f k/s",
                   r[0].paced_rate / 1e3, r[1].paced_rate / 1e3);
    const amplification_row rows[] = {
        {"write", "write amplification", "x", &r[0].write, &r[1].write,
         random ? BENCH_TAPE_BY_PEER : BENCH_NO_RATIO, at_most, random ? 0.6 : 1.2, explains},
        {"kernel", "write amplification as the kernel counts", "x", &r[0].kernel, &r[1].kernel,
         BENCH_TAPE_BY_PEER, BENCH_NO_GOAL, 0, "bytes written by all threads but those of the log"},
        {"rest", "space amplification at rest", "x", &r[0].rest, &r[1].rest, BENCH_NO_RATIO,
         BENCH_NO_GOAL, 0, NULL},
        {"space", "space amplification, steady", "x", &r[0].steady, &r[1].steady, BENCH_NO_RATIO,
         at_most, 1.13, w->paced ? "tape: after 16 s in which nothing was put" : NULL},
        {"peak", "space amplification, peak", "x", &r[0].peak, &r[1].peak, BENCH_NO_RATIO, at_most,
         1.25, "each side as fast as it takes records"},
        {"paced_write", "write amplification at 100 k/s", "x", &r[0].paced_write, &r[1].paced_write,
         BENCH_TAPE_BY_PEER, BENCH_AT_MOST, 0.6, paced},
        {"paced_peak", "space amplification, peak at 100 k/s", "x", &r[0].paced_peak,
         &r[1].paced_peak, BENCH_NO_RATIO, BENCH_AT_MOST, 1.25, paced},
        {"rate", "put", "records/s", &r[0].rate, &r[1].rate, BENCH_TAPE_BY_PEER, BENCH_NO_GOAL, 0,
         "log on, not synced, one at a time, to the last one in a memtable"},
    };
    for (size_t i = 0; i < BENCH_COUNT_OF(rows); i++) {
        bool only_paced = rows[i].tape == &r[0].rest || rows[i].tape == &r[0].paced_write ||
                          rows[i].tape == &r[0].paced_peak;
        if (w->paced || !only_paced) {
            print_row(w, &rows[i]);
        }
    }
}

static void run(workload *w) {
    uint64_t factor = bench_long() ? LONG_FACTOR : 1;
    result r[2] = {0};
    w->keys = bench_scaled(w->keys * factor, LOADED_BATCH) / LOADED_BATCH * LOADED_BATCH;
    w->puts = bench_scaled(w->puts * factor, CHECKS);
    w->memtable_bytes = MEMTABLE_BYTES * factor;
    w->table_bytes = TABLE_BYTES * factor;
    w->level_bytes = LEVEL_BYTES * factor;
    w->versions = w->kind == RANDOM_ORDERS ? bench_alloc(w->keys * sizeof *w->versions) : NULL;
    bench_say("%s", w->what);
    measure_tape(w, &r[0]);
    measure_rocks(w, &r[1]);
    print_all(w, r);
    free(w->versions);
}

int main(void) {
    ticks = bench_ticks_create(1);
    workload workloads[] = {
        {.name = "random",
         .what = "random overwrite",
         .kind = RANDOM_ORDERS,
         .paced = true,
         .keys = RANDOM_KEYS,
         .puts = RANDOM_PUTS},
        {.name = "random_lz4",
         .what = "random overwrite, LZ4",
         .kind = RANDOM_ORDERS,
         .lz4 = true,
         .keys = PACKED_KEYS,
         .puts = PACKED_PUTS},
        {.name = "ticks", .what = "time-ordered ticks", .kind = TICKS, .puts = TICKS_PUTS},
        {.name = "trades", .what = "time-ordered trades", .kind = TRADES, .puts = TRADES_PUTS},
    };
    for (size_t i = 0; i < BENCH_COUNT_OF(workloads); i++) {
        run(&workloads[i]);
    }
    return 0;
}
