/* Point reads and the store's insert: orders by order_id, a million of them, beside RocksDB and
 * LMDB holding the same keys and the same 144 bytes.
 *
 *   in memory       the newest million in memtables
 *   cached          in table files, all pages in memory
 *   cold            in table files that the kernel has forgotten: reads from the disk per get
 *   while writing   one thread gets, another appends 100 k/s */
#include "orders.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEYS 1000000u
#define GETS 100000u
#define MANY 64u
#define COLD_STRIDE 100u
#define ROUNDS 7
#define INSERT_ROUNDS 3
#define MEMTABLE_BYTES BENCH_GIB(1)

static orders_set *set;

enum { TAPE, ROCKS, LMDB, SUBJECTS };

/* --- getting --- */

static void get_one(int subject, void *handle, size_t at) {
    tape_order out;
    const char *wanted = set->keys[at];
    if (subject == TAPE) {
        tape_error error;
        tape_status status = tape_get(handle, TAPE_TABLE_ORDERS, &wanted, 1, 0, &out, &error);
        bench_check(status, &error);
    } else if (subject == ROCKS) {
        BENCH_CHECK(rocks_get(handle, wanted, ORDERS_KEY_BYTES, &out, sizeof out));
    } else {
        BENCH_CHECK(lmdb_get(handle, wanted, ORDERS_KEY_BYTES, &out, sizeof out));
    }
    BENCH_CHECK(memcmp(out.order_id, wanted, sizeof out.order_id) == 0);
}

static void get_many(int subject, void *handle, const char *const *wanted) {
    static tape_order out[MANY];
    if (subject == TAPE) {
        tape_error error;
        bool found[MANY];
        tape_status status =
            tape_get_many(handle, TAPE_TABLE_ORDERS, wanted, 1, MANY, 0, out, found, &error);
        bench_check(status, &error);
        for (size_t i = 0; i < MANY; i++) {
            BENCH_CHECK(found[i]);
        }
    } else if (subject == ROCKS) {
        rocks_get_many(handle, wanted, ORDERS_KEY_BYTES, MANY, out, sizeof *out);
    } else {
        lmdb_get_many(handle, wanted, ORDERS_KEY_BYTES, MANY, out, sizeof *out);
    }
    for (size_t i = 0; i < MANY; i++) {
        BENCH_CHECK(memcmp(out[i].order_id, wanted[i], sizeof out[i].order_id) == 0);
    }
}

/* Random keys, `group` at a time. */
static void get_round(int subject, void *handle, uint32_t group, bench_histogram *h) {
    uint64_t seed = 11;
    uint64_t timer = bench_timer_ticks();
    uint64_t gets = bench_scaled(GETS, 1000) / group;
    for (uint64_t i = 0; i < gets; i++) {
        size_t at[MANY];
        const char *wanted[MANY];
        for (uint32_t k = 0; k < group; k++) {
            at[k] = bench_random(&seed) % set->count;
            wanted[k] = set->keys[at[k]];
        }
        uint64_t start = bench_ticks();
        if (group == 1) {
            get_one(subject, handle, at[0]);
        } else {
            get_many(subject, handle, wanted);
        }
        bench_add(h, bench_elapsed(start, timer));
    }
}

typedef struct turns {
    bench_series p50[SUBJECTS]; /* per key */
    bench_histogram *spreads[SUBJECTS];
} turns;

static turns take_turns(void *const *handles, uint32_t group) {
    turns t = {0};
    double ns_per_unit = bench_ns_per_tick() / group;
    bench_histogram *h = bench_histogram_create(ns_per_unit);
    for (int s = 0; s < SUBJECTS; s++) {
        t.spreads[s] = bench_histogram_create(ns_per_unit);
    }
    for (int round = -1; round < ROUNDS; round++) {
        for (int s = 0; s < SUBJECTS; s++) {
            bench_histogram_reset(h);
            get_round(s, handles[s], group, h);
            if (round >= 0) {
                bench_histogram_merge(t.spreads[s], h);
                bench_push(&t.p50[s], bench_quantile(h, 0.5));
            }
        }
    }
    free(h);
    return t;
}

static void turns_free(turns *t) {
    for (int s = 0; s < SUBJECTS; s++) {
        free(t->spreads[s]);
    }
}

static void print_get(const char *name, const char *metric, uint32_t group, int peer,
                      const turns *t, double target) {
    static const char *const settings[SUBJECTS] = {
        [LMDB] = "one read transaction, renewed for each call"};
    bench_row row = {
        .threads = 1,
        .batch = (int)group,
        .unit = group == 1 ? "ns" : "ns per key",
        .row = name,
        .metric = metric,
        .peer = peer == ROCKS ? "RocksDB" : "LMDB",
        .peer_settings = peer == ROCKS ? rocks_settings(ROCKS_POINT) : settings[peer],
        .tape = &t->p50[TAPE],
        .beside = &t->p50[peer],
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = target == 0 ? BENCH_NO_GOAL : BENCH_AT_MOST,
        .target = target,
        .explains = group == 1 ? NULL
                    : peer == ROCKS
                        ? "64 random keys at once; RocksDB: its batched MultiGet of one family"
                        : "64 random keys at once; LMDB: gets in one transaction",
        .tape_spread = t->spreads[TAPE],
        .peer_spread = t->spreads[peer],
    };
    bench_print(&row);
}

/* By one key and by many, from wherever the records are. */
static void measure_memory(void *const *handles) {
    turns one = take_turns(handles, 1);
    print_get("get_memory_rocksdb", "get from memtables, 1 M keys, p50", 1, ROCKS, &one, 0.25);
    turns_free(&one);
    turns many = take_turns(handles, MANY);
    print_get("get_many_memory_rocksdb", "get of 64 from memtables, 1 M keys, p50", MANY, ROCKS,
              &many, 0);
    turns_free(&many);
}

static void measure_cached(void *const *handles) {
    turns one = take_turns(handles, 1);
    print_get("get_cached_rocksdb", "get from table files, cached, p50", 1, ROCKS, &one, 0.5);
    print_get("get_cached_lmdb", "get from table files, cached, p50", 1, LMDB, &one, 2);
    turns_free(&one);
    turns many = take_turns(handles, MANY);
    print_get("get_many_cached_rocksdb", "get of 64 from table files, cached, p50", MANY, ROCKS,
              &many, 0);
    print_get("get_many_cached_lmdb", "get of 64 from table files, cached, p50", MANY, LMDB, &many,
              0);
    turns_free(&many);
}

/* --- while writing --- */

#define WRITE_RATE 100000u
#define WRITE_PAUSE_NS (BENCH_SECOND_NS / 1000)
#define WRITE_ROUNDS 5
#define WRITE_ROUND_NS (BENCH_SECOND_NS / 2)

typedef struct loaded {
    int subject;
    void *handle;
    uint64_t gets, puts;
    int64_t get_ns, put_ns;
    _Atomic bool done;
} loaded;

static void write_one(loaded *l, uint64_t *seed) {
    tape_order o;
    uint64_t version = l->puts++;
    orders_make(&o, bench_random(seed) % set->count, version);
    if (l->subject == TAPE) {
        tape_error error;
        tape_record record = TAPE_RECORD(ORDERS, &o);
        bench_check(tape_append(l->handle, &record, 1, NULL, NULL, &error), &error);
    } else {
        rocks_put_key(l->handle, o.order_id, ORDERS_KEY_BYTES, &o, sizeof o);
    }
}

/* Versions of random keys: what is due is put, then the thread sleeps for a millisecond. */
static void write_until_done(loaded *l) {
    uint64_t seed = 23;
    int64_t begin_ns = bench_now_ns();
    while (!atomic_load_explicit(&l->done, memory_order_relaxed)) {
        uint64_t due = (uint64_t)((bench_now_ns() - begin_ns) / (BENCH_SECOND_NS / WRITE_RATE));
        while (l->puts < due && !atomic_load_explicit(&l->done, memory_order_relaxed)) {
            write_one(l, &seed);
        }
        bench_sleep_ns(WRITE_PAUSE_NS);
    }
    l->put_ns = bench_now_ns() - begin_ns;
}

static void loaded_worker(void *context, int thread) {
    loaded *l = context;
    if (thread == 1) {
        write_until_done(l);
        return;
    }
    uint64_t seed = 13;
    int64_t begin_ns = bench_now_ns();
    for (; l->get_ns < WRITE_ROUND_NS; l->get_ns = bench_now_ns() - begin_ns) {
        for (int i = 0; i < 100; i++) {
            get_one(l->subject, l->handle, bench_random(&seed) % set->count);
        }
        l->gets += 100;
    }
    atomic_store(&l->done, true);
}

/* Gets per second, alone or beside a writer; *put_rate is what the writer kept up. */
static double get_rate(int subject, void *handle, bool writing, double *put_rate) {
    loaded l = {.subject = subject, .handle = handle};
    (void)bench_parallel(writing ? 2 : 1, loaded_worker, &l);
    if (writing) {
        *put_rate = (double)l.puts * 1e9 / (double)l.put_ns;
    }
    return (double)l.gets * 1e9 / (double)l.get_ns;
}

static void while_writing(void *const *handles, const char *name, const char *where) {
    bench_series alone[SUBJECTS] = {0};
    bench_series beside[SUBJECTS] = {0};
    bench_series kept = {0};
    bench_series puts[SUBJECTS] = {0};
    for (int round = -1; round < WRITE_ROUNDS; round++) {
        for (int s = TAPE; s <= ROCKS; s++) {
            double put_rate = 0;
            double quiet = get_rate(s, handles[s], false, NULL);
            double busy = get_rate(s, handles[s], true, &put_rate);
            if (s == TAPE) {
                bench_store_settle(handles[TAPE]);
            }
            if (round >= 0) {
                bench_push(&alone[s], quiet);
                bench_push(&beside[s], busy);
                bench_push(&puts[s], put_rate);
                if (s == ROCKS) {
                    bench_push(&kept, busy / quiet);
                }
            }
        }
    }
    char row_name[64];
    char metric[128];
    char explains[160];
    (void)snprintf(row_name, sizeof row_name, "get_while_writing_%s", name);
    (void)snprintf(metric, sizeof metric, "gets from %s while 100 k/s are appended", where);
    (void)snprintf(explains, sizeof explains,
                   "versions of random keys, 1 thread each; appended: %.0f k/s",
                   bench_median(&puts[TAPE]) / 1e3);
    bench_row row = {
        .threads = 2,
        .batch = 1,
        .unit = "gets/s",
        .row = row_name,
        .metric = metric,
        .peer = "tape, nothing appended",
        .tape = &beside[TAPE],
        .beside = &alone[TAPE],
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_LEAST,
        .target = 0.9,
        .explains = explains,
    };
    bench_print(&row);
    (void)snprintf(row_name, sizeof row_name, "get_while_writing_%s_rocksdb", name);
    (void)snprintf(explains, sizeof explains,
                   "RocksDB: log on, sync off; put: %.0f k/s; keeps %.2f of its rate without the "
                   "writer",
                   bench_median(&puts[ROCKS]) / 1e3, bench_median(&kept));
    row.peer = "RocksDB";
    row.peer_settings = rocks_settings(ROCKS_POINT);
    row.beside = &beside[ROCKS];
    row.goal = BENCH_NO_GOAL;
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
    uint64_t gets = set->count / COLD_STRIDE / 2;
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

/* --- filling --- */

static double insert_tape(tape *db) {
    int64_t start_ns = bench_now_ns();
    orders_put_tape(db, set, 0, set->count);
    return (double)(bench_now_ns() - start_ns) / (double)set->count;
}

static double insert_rocks(rocks *r) {
    int64_t start_ns = bench_now_ns();
    orders_put_rocks(r, set, 0, set->count);
    return (double)(bench_now_ns() - start_ns) / (double)set->count;
}

/* Measured on the second filling: memory that a process has had before, as in one that runs for
 * longer than a memtable takes to fill. */
static void insert(const tape_open_options *options) {
    bench_series with_tape = {0};
    bench_series with_rocks = {0};
    for (int round = 0; round < INSERT_ROUNDS; round++) {
        tape *db = bench_store_open("insert.tape", options);
        tape_error error;
        (void)insert_tape(db);
        bench_check(tape_checkpoint(db, &error), &error);
        bench_sleep_ns(BENCH_SECOND_NS / 2);
        bench_push(&with_tape, insert_tape(db));
        bench_store_close(&db, "insert.tape");
        rocks *r = rocks_open(bench_path("insert.rocksdb"), ROCKS_POINT);
        (void)insert_rocks(r);
        rocks_flush(r);
        bench_push(&with_rocks, insert_rocks(r));
        rocks_close(&r);
        bench_remove(bench_path("insert.rocksdb"));
    }
    bench_row row = {
        .threads = 1,
        .batch = ORDERS_BATCH,
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
        .explains =
            "into the second memtable; tape: from the append of all to all applied, journal "
            "included",
    };
    bench_print(&row);
}

typedef struct filled {
    tape *db;
    rocks *r;
} filled;

static filled fill(const tape_open_options *options) {
    filled f = {.db = bench_store_open("get.tape", options),
                .r = rocks_open(bench_path("get.rocksdb"), ROCKS_POINT)};
    orders_put_tape(f.db, set, 0, set->count);
    orders_put_rocks(f.r, set, 0, set->count);
    return f;
}

static void flush(filled *f) {
    tape_error error;
    bench_check(tape_checkpoint(f->db, &error), &error);
    rocks_flush(f->r);
}

static void point_reads(const tape_open_options *options) {
    tape_error error;
    filled f = fill(options);
    lmdb *l = lmdb_open(bench_path("get.lmdb"), LMDB_NO_SYNC, BENCH_GIB(2));
    orders_put_lmdb(l, set, 0, set->count);
    void *const handles[SUBJECTS] = {f.db, f.r, l};
    measure_memory(handles);
    flush(&f);
    measure_cached(handles);
    rocks_close(&f.r);
    lmdb_close(&l);
    bench_check(tape_close(&f.db, &error), &error);
    cold(bench_path("get.tape"), options);
    bench_remove(bench_path("get.tape"));
    bench_remove(bench_path("get.rocksdb"));
    bench_remove(bench_path("get.lmdb"));
}

static void loaded_reads(const tape_open_options *options) {
    filled f = fill(options);
    void *const handles[SUBJECTS] = {f.db, f.r, NULL};
    while_writing(handles, "memory", "memtables");
    flush(&f);
    while_writing(handles, "cached", "table files, cached,");
    rocks_close(&f.r);
    bench_store_close(&f.db, "get.tape");
    bench_remove(bench_path("get.rocksdb"));
}

int main(void) {
    set = orders_create(bench_scaled(KEYS, 20000) / ORDERS_BATCH * ORDERS_BATCH);
    tape_open_options options;
    tape_open_options_init(&options);
    options.memtable_bytes = MEMTABLE_BYTES;
    insert(&options);
    point_reads(&options);
    loaded_reads(&options);
    return 0;
}
