/* Point reads and the store's insert: orders by order_id, a million of them, beside RocksDB and
 * LMDB holding the same keys and the same 144 bytes.
 *
 *   in memory   the newest million in memtables
 *   cached      in table files, all pages in memory
 *   cold        in table files that the kernel has forgotten: reads from the disk per get */
#include "peers.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEYS 1000000u
#define GETS 100000u
#define COLD_STRIDE 100u
#define BATCH 500u
#define ROUNDS 7
#define INSERT_ROUNDS 3
#define MEMTABLE_BYTES BENCH_GIB(1)

static uint64_t key_count;
static char (*keys)[40];
static size_t *order; /* in which keys are put */
static tape_order *orders;
static bench_histogram *spreads[3];

static void make_orders(void) {
    uint64_t seed = 7;
    keys = bench_alloc(key_count * sizeof *keys);
    order = bench_alloc(key_count * sizeof *order);
    orders = bench_alloc(key_count * sizeof *orders);
    for (size_t i = 0; i < key_count; i++) {
        tape_order *o = &orders[i];
        (void)snprintf(keys[i], sizeof keys[i], "20240808-%012llu", (unsigned long long)i);
        memcpy(o->order_id, keys[i], sizeof o->order_id);
        (void)snprintf(o->user_id, sizeof o->user_id, "user-%05u",
                       (unsigned)(bench_random(&seed) % 10000));
        (void)snprintf(o->instrument_id, sizeof o->instrument_id, "IF%04u",
                       (unsigned)(bench_random(&seed) % 100));
        o->ts = INT64_C(1700000000000000000) + (int64_t)i;
        o->side = TAPE_SIDE_BUY;
        o->price = 3900 + (double)(bench_random(&seed) % 1000);
        o->volume = 1;
        order[i] = i;
    }
    for (size_t i = key_count - 1; i > 0; i--) {
        size_t j = bench_random(&seed) % (i + 1);
        size_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

/* --- filling; ns per record --- */

static double fill_tape(tape *db) {
    tape_record records[BATCH];
    tape_error error;
    int64_t start_ns = bench_now_ns();
    for (size_t i = 0; i < key_count; i += BATCH) {
        for (size_t k = 0; k < BATCH; k++) {
            records[k] = (tape_record)TAPE_RECORD(ORDERS, &orders[order[i + k]]);
        }
        bench_check(tape_append(db, records, BATCH, NULL, NULL, &error), &error);
    }
    for (;;) {
        tape_stats stats = {.size_bytes = sizeof stats};
        bench_check(tape_stats_read(db, false, &stats, &error), &error);
        if (stats.applied >= stats.written) {
            break;
        }
        bench_sleep_ns(BENCH_SECOND_NS / 5000);
    }
    return (double)(bench_now_ns() - start_ns) / (double)key_count;
}

static double fill_rocks(rocks *r) {
    int64_t start_ns = bench_now_ns();
    for (size_t i = 0; i < key_count; i++) {
        const char *key = keys[order[i]];
        rocks_put_no_log(r, key, strlen(key), &orders[order[i]], sizeof *orders);
    }
    return (double)(bench_now_ns() - start_ns) / (double)key_count;
}

static void fill_lmdb(lmdb *l) {
    for (size_t i = 0; i < key_count; i += BATCH) {
        lmdb_put_keys(l, (const char(*)[40])keys, order, orders, sizeof *orders, i, BATCH);
    }
}

/* --- getting --- */

enum { TAPE, ROCKS, LMDB, SUBJECTS };

static void get_one(int subject, void *handle, size_t at) {
    tape_order out;
    if (subject == TAPE) {
        tape_error error;
        const char *key[] = {keys[at]};
        tape_status status = tape_get(handle, TAPE_TABLE_ORDERS, key, 1, 0, &out, &error);
        bench_check(status, &error);
    } else if (subject == ROCKS) {
        BENCH_CHECK(rocks_get(handle, keys[at], strlen(keys[at]), &out, sizeof out));
    } else {
        BENCH_CHECK(lmdb_get(handle, keys[at], strlen(keys[at]), &out, sizeof out));
    }
    BENCH_CHECK(memcmp(out.order_id, keys[at], sizeof out.order_id) == 0);
}

static void get_round(int subject, void *handle, bench_histogram *h) {
    uint64_t seed = 11;
    uint64_t timer = bench_timer_ticks();
    uint64_t gets = bench_scaled(GETS, 1000);
    for (uint64_t i = 0; i < gets; i++) {
        size_t at = bench_random(&seed) % key_count;
        uint64_t start = bench_ticks();
        get_one(subject, handle, at);
        bench_add(h, bench_elapsed(start, timer));
    }
}

static void take_turns(void *const *handles, bench_series *p50) {
    bench_histogram *h = bench_histogram_create(bench_ns_per_tick());
    for (int s = 0; s < SUBJECTS; s++) {
        bench_histogram_reset(spreads[s]);
        p50[s].count = 0;
    }
    for (int round = -1; round < ROUNDS; round++) {
        for (int s = 0; s < SUBJECTS; s++) {
            bench_histogram_reset(h);
            get_round(s, handles[s], h);
            if (round >= 0) {
                bench_histogram_merge(spreads[s], h);
                bench_push(&p50[s], bench_quantile(h, 0.5));
            }
        }
    }
    free(h);
}

static void print_get(const char *name, const char *metric, int peer, const bench_series *p50,
                      bench_goal goal, double target) {
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = name,
        .metric = metric,
        .peer = peer == ROCKS ? "RocksDB" : "LMDB",
        .peer_settings = peer == ROCKS ? rocks_settings(ROCKS_POINT)
                                       : "one read transaction, renewed for each get",
        .tape = &p50[TAPE],
        .beside = &p50[peer],
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = goal,
        .target = target,
        .tape_spread = spreads[TAPE],
        .peer_spread = spreads[peer],
    };
    bench_print(&row);
}

/* --- cold --- */

typedef struct file_choice {
    char path[1024];
    uint64_t size_bytes;
} file_choice;

static file_choice largest;

static int larger_visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)ftw;
    if (type == FTW_F && (uint64_t)st->st_size > largest.size_bytes) {
        (void)snprintf(largest.path, sizeof largest.path, "%s", path);
        largest.size_bytes = (uint64_t)st->st_size;
    }
    return 0;
}

/* Reads of 4 KiB at random places of the largest table file, past the page cache. */
static void raw_reads(const char *dir, uint64_t count, bench_histogram *h) {
    char store_dir[1024];
    (void)snprintf(store_dir, sizeof store_dir, "%s/store", dir);
    (void)nftw(store_dir, larger_visit, 16, FTW_PHYS);
    int fd = open(largest.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    BENCH_CHECK(fd >= 0);
    void *block = bench_alloc(4096);
    uint64_t seed = 17;
    for (uint64_t i = 0; i < count; i++) {
        off_t at = (off_t)(bench_random(&seed) % (largest.size_bytes / 4096) * 4096);
        uint64_t start = bench_ticks();
        BENCH_CHECK(pread(fd, block, 4096, at) == 4096);
        bench_add(h, bench_elapsed(start, bench_timer_ticks()));
    }
    free(block);
    (void)close(fd);
}

/* Keys that are far enough apart to lie in different blocks, each once. The first gets, which are
 * not counted, bring in index and filter. */
static void cold(const char *dir, const tape_open_options *options) {
    tape_error error;
    tape *db = NULL;
    bench_series reads = {0};
    bench_series tape_p99 = {0};
    bench_series raw_p99 = {0};
    bench_histogram *h = bench_histogram_create(bench_ns_per_tick());
    bench_histogram *raw = bench_histogram_create(bench_ns_per_tick());
    bench_forget(dir);
    bench_check(tape_open(dir, options, &db, &error), &error);
    bench_store_settle(db);
    uint64_t gets = key_count / COLD_STRIDE / 2;
    struct rusage before = {0};
    struct rusage after;
    for (uint64_t i = 0; i < 2 * gets; i++) {
        if (i == gets) {
            bench_histogram_reset(h);
            (void)getrusage(RUSAGE_THREAD, &before);
        }
        /* Multiplied by a number that shares no factor with the count: each key once. */
        size_t at = i * 7919 % (2 * gets) * COLD_STRIDE;
        uint64_t start = bench_ticks();
        get_one(TAPE, db, at);
        bench_add(h, bench_elapsed(start, bench_timer_ticks()));
    }
    (void)getrusage(RUSAGE_THREAD, &after);
    bench_push(&reads, (double)(after.ru_majflt - before.ru_majflt) / (double)gets);
    bench_check(tape_close(&db, &error), &error);
    raw_reads(dir, gets, raw);
    bench_push(&tape_p99, bench_quantile(h, 0.99));
    bench_push(&raw_p99, bench_quantile(raw, 0.99));
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "reads per get",
        .row = "get_cold_reads",
        .metric = "get from table files, cold",
        .tape = &reads,
        .goal = BENCH_AT_MOST,
        .target = 1.1,
        .explains = "major page faults per get, index and filter present",
    };
    bench_print(&row);
    row.row = "get_cold_p99";
    row.metric = "get from table files, cold, p99";
    row.unit = "ns";
    row.tape = &tape_p99;
    row.target = 100000;
    row.explains = NULL;
    bench_print(&row);
    row.row = "get_cold_raw";
    row.peer = "raw read";
    row.peer_settings = "pread of 4 KiB at random places of a table file, O_DIRECT";
    row.beside = &raw_p99;
    row.ratio = BENCH_TAPE_BY_PEER;
    row.goal = BENCH_NO_GOAL;
    row.tape_spread = h;
    row.peer_spread = raw;
    bench_print(&row);
    free(h);
    free(raw);
}

/* --- insert --- */

static void insert(const tape_open_options *options) {
    bench_series with_tape = {0};
    bench_series with_rocks = {0};
    for (int round = 0; round < INSERT_ROUNDS; round++) {
        tape *db = bench_store_open("insert.tape", options);
        bench_sleep_ns(BENCH_SECOND_NS / 2);
        bench_push(&with_tape, fill_tape(db));
        bench_store_close(&db, "insert.tape");
        rocks *r = rocks_open(bench_path("insert.rocksdb"), ROCKS_POINT);
        bench_push(&with_rocks, fill_rocks(r));
        rocks_close(&r);
        bench_remove(bench_path("insert.rocksdb"));
    }
    bench_row row = {
        .threads = 1,
        .batch = BATCH,
        .unit = "ns per record",
        .row = "insert_rocksdb",
        .metric = "insert of 1 M orders into the store",
        .peer = "RocksDB, log off",
        .peer_settings = rocks_settings(ROCKS_POINT),
        .tape = &with_tape,
        .beside = &with_rocks,
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_MOST,
        .target = 0.2,
        .explains = "tape: from the append of all to all applied, journal included",
    };
    bench_print(&row);
}

int main(void) {
    key_count = bench_scaled(KEYS, 20000) / BATCH * BATCH;
    make_orders();
    tape_open_options options;
    tape_open_options_init(&options);
    options.memtable_bytes = MEMTABLE_BYTES;
    insert(&options);
    for (int s = 0; s < SUBJECTS; s++) {
        spreads[s] = bench_histogram_create(bench_ns_per_tick());
    }
    tape *db = bench_store_open("get.tape", &options);
    rocks *r = rocks_open(bench_path("get.rocksdb"), ROCKS_POINT);
    lmdb *l = lmdb_open(bench_path("get.lmdb"), LMDB_NO_SYNC, BENCH_GIB(2));
    (void)fill_tape(db);
    (void)fill_rocks(r);
    fill_lmdb(l);
    void *const handles[SUBJECTS] = {db, r, l};
    bench_series p50[SUBJECTS] = {0};

    take_turns(handles, p50);
    print_get("get_memory_rocksdb", "get from memtables, 1 M keys, p50", ROCKS, p50, BENCH_AT_MOST,
              0.25);
    tape_error error;
    bench_check(tape_checkpoint(db, &error), &error);
    rocks_flush(r);
    take_turns(handles, p50);
    print_get("get_cached_rocksdb", "get from table files, cached, p50", ROCKS, p50, BENCH_AT_MOST,
              0.5);
    print_get("get_cached_lmdb", "get from table files, cached, p50", LMDB, p50, BENCH_AT_MOST, 2);

    rocks_close(&r);
    lmdb_close(&l);
    bench_check(tape_close(&db, &error), &error);
    cold(bench_path("get.tape"), &options);
    bench_remove(bench_path("get.tape"));
    return 0;
}
