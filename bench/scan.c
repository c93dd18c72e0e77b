/* Scans in key order: a million orders put in random order, forward and backward, all of them and
 * ranges of 100 at random places, beside RocksDB's iterators and LMDB's cursors.
 *
 *   memory       all in one memtable
 *   files        three table files of level 0 that overlap, cached: a merge
 *   compacted    after a compaction of everything, cached
 *
 * A row is read where the scan shows it: eight bytes of each go into a sum that depends on their
 * order and must come out as computed from what was put. Each scan is opened for itself, at the
 * newest state. */
#include "orders.h"

#include <stdio.h>
#include <stdlib.h>

#define ROWS 1000000u
#define RANGES 2000u
#define RANGE_ROWS 100u
#define ROWS_AT_ONCE 4096u
#define ROUNDS 5
#define PARTS 3u /* fewer than set off a compaction of level 0 */
#define MEMTABLE_BYTES BENCH_GIB(1)

enum { TAPE, ROCKS, LMDB, SUBJECTS };

static orders_set *set;

/* --- scanning --- */

static void scan_tape(tape *db, const char *key, bool backward, uint64_t rows, peer_tally *tally) {
    tape_error error;
    tape_view *view = NULL;
    tape_scan *scan = NULL;
    tape_scan_options options;
    tape_scan_options_init(&options);
    options.table = TAPE_TABLE_ORDERS;
    options.backward = backward;
    if (backward) {
        options.to = key;
    } else {
        options.from = key;
    }
    bench_check(tape_view_open(db, 0, TAPE_WRITTEN, &view, &error), &error);
    bench_check(tape_scan_open(view, &options, &scan, &error), &error);
    while (rows > 0) {
        const void *records = NULL;
        size_t count = 0;
        size_t wanted = rows < ROWS_AT_ONCE ? (size_t)rows : ROWS_AT_ONCE;
        bench_check(tape_scan_next(scan, wanted, &records, &count, &error), &error);
        if (count == 0) {
            break;
        }
        for (size_t i = 0; i < count; i++) {
            peer_count(tally, (const tape_order *)records + i);
        }
        rows -= count;
    }
    tape_scan_close(&scan);
    tape_view_close(&view);
}

/* Rows from number `first` on, or backward from number `first` - 1 down. UINT64_MAX: from the end.
 * tape's upper bound is exclusive, the peers' start is not. */
static void scan_one(int subject, void *handle, uint64_t first, bool backward, uint64_t rows,
                     peer_tally *tally) {
    bool from_end = first == UINT64_MAX;
    if (subject == TAPE) {
        scan_tape(handle, from_end ? NULL : set->keys[first], backward, rows, tally);
        return;
    }
    const char *key = from_end ? NULL : set->keys[backward ? first - 1 : first];
    if (subject == ROCKS) {
        rocks_scan(handle, key, ORDERS_KEY_BYTES, backward, rows, tally);
    } else {
        lmdb_scan(handle, key, ORDERS_KEY_BYTES, backward, rows, tally);
    }
}

static peer_tally tally_make(void) {
    return (peer_tally){.offset = offsetof(tape_order, price)};
}

/* What a scan must meet. */
static peer_tally expect(uint64_t first, bool backward, uint64_t rows) {
    peer_tally tally = tally_make();
    for (uint64_t i = 0; i < rows; i++) {
        peer_count(&tally, &set->orders[backward ? first - 1 - i : first + i]);
    }
    return tally;
}

/* All rows; returns rows per second. */
static double scan_full(int subject, void *handle, bool backward) {
    static peer_tally expected[2];
    if (expected[backward].rows == 0) {
        expected[backward] = expect(backward ? set->count : 0, backward, set->count);
    }
    peer_tally tally = tally_make();
    int64_t start_ns = bench_now_ns();
    scan_one(subject, handle, UINT64_MAX, backward, UINT64_MAX, &tally);
    double rate = (double)tally.rows * 1e9 / (double)(bench_now_ns() - start_ns);
    BENCH_CHECK(tally.rows == set->count && tally.sum == expected[backward].sum);
    return rate;
}

/* Ranges at random places; each from its opening to its end. */
static double scan_ranges(int subject, void *handle, bool backward, bench_histogram *h) {
    uint64_t seed = 29;
    uint64_t ranges = bench_scaled(RANGES, 100);
    uint64_t timer = bench_timer_ticks();
    uint64_t total = 0;
    for (uint64_t i = 0; i < ranges; i++) {
        uint64_t first = bench_random(&seed) % (set->count - 2 * RANGE_ROWS) + RANGE_ROWS;
        peer_tally tally = tally_make();
        uint64_t start = bench_ticks();
        scan_one(subject, handle, first, backward, RANGE_ROWS, &tally);
        uint64_t elapsed = bench_elapsed(start, timer);
        bench_add(h, elapsed);
        total += elapsed;
        peer_tally expected = expect(first, backward, RANGE_ROWS);
        BENCH_CHECK(tally.rows == RANGE_ROWS && tally.sum == expected.sum);
    }
    return (double)(ranges * RANGE_ROWS) * 1e9 / ((double)total * bench_ns_per_tick());
}

/* --- rows --- */

typedef struct scans {
    bench_series rates[SUBJECTS];
    bench_histogram *spreads[SUBJECTS];
} scans;

/* In idle times tape would tidy up the files that are to be scanned: a flush of something else
 * tells it that these are none. */
static void stay_awake(tape *db) {
    static bench_ticks_set *ticks;
    ticks = ticks == NULL ? bench_ticks_create(1) : ticks;
    tape_error error;
    bench_check(tape_append(db, ticks->records, 1, NULL, NULL, &error), &error);
    bench_check(tape_checkpoint(db, &error), &error);
}

static void measure(void *const *handles, bool awake, bool ranges, bool backward, scans *s) {
    for (int round = -1; round < ROUNDS; round++) {
        if (awake) {
            stay_awake(handles[TAPE]);
        }
        for (int k = 0; k < SUBJECTS; k++) {
            if (handles[k] == NULL) {
                continue;
            }
            double rate = ranges ? scan_ranges(k, handles[k], backward, s->spreads[k])
                                 : scan_full(k, handles[k], backward);
            if (round >= 0) {
                bench_push(&s->rates[k], rate);
            } else {
                bench_histogram_reset(s->spreads[k]);
            }
        }
    }
}

static void print_scans(const scans *s, int peer, const char *state, const char *where, bool ranges,
                        bool backward, const char *explains) {
    char name[64];
    char metric[128];
    const char *way = backward ? "backward" : "forward";
    (void)snprintf(name, sizeof name, "scan_%s_%s_%s_%s", state, ranges ? "range" : "full", way,
                   peer == ROCKS ? "rocksdb" : "lmdb");
    (void)snprintf(metric, sizeof metric, "scan of %s, %s, %s",
                   ranges ? "100 rows at a random place" : "1 M rows", way, where);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "rows/s",
        .row = name,
        .metric = metric,
        .peer = peer == ROCKS ? "RocksDB" : "LMDB",
        .peer_settings = peer == ROCKS
                             ? rocks_settings(ROCKS_SCAN)
                             : "a cursor of one read transaction, both renewed for each scan",
        .tape = &s->rates[TAPE],
        .beside = &s->rates[peer],
        .ratio = BENCH_TAPE_BY_PEER,
        .explains = explains,
        .tape_spread = ranges ? s->spreads[TAPE] : NULL,
        .peer_spread = ranges ? s->spreads[peer] : NULL,
    };
    bench_print(&row);
}

static void all_scans(void *const *handles, bool awake, const char *state, const char *where,
                      const char *explains) {
    for (int ranges = 0; ranges < 2; ranges++) {
        for (int backward = 0; backward < 2; backward++) {
            scans s = {0};
            for (int k = 0; k < SUBJECTS; k++) {
                s.spreads[k] = bench_histogram_create(bench_ns_per_tick());
            }
            measure(handles, awake, ranges != 0, backward != 0, &s);
            for (int peer = ROCKS; peer <= LMDB; peer++) {
                if (handles[peer] != NULL) {
                    print_scans(&s, peer, state, where, ranges != 0, backward != 0, explains);
                }
            }
            for (int k = 0; k < SUBJECTS; k++) {
                free(s.spreads[k]);
            }
        }
    }
}

/* --- the states --- */

static void memory(const tape_open_options *options) {
    tape *db = bench_store_open("scan.tape", options);
    rocks *r = rocks_open(bench_path("scan.rocksdb"), ROCKS_SCAN);
    orders_put_tape(db, set, 0, set->count);
    orders_put_rocks(r, set, 0, set->count);
    void *const handles[SUBJECTS] = {db, r, NULL};
    all_scans(handles, false, "memory", "in a memtable", NULL);
    rocks_close(&r);
    bench_store_close(&db, "scan.tape");
    bench_remove(bench_path("scan.rocksdb"));
}

static void files(const tape_open_options *options) {
    tape_error error;
    tape *db = bench_store_open("scan.tape", options);
    rocks *r = rocks_open(bench_path("scan.rocksdb"), ROCKS_SCAN);
    uint64_t part = set->count / PARTS;
    for (uint64_t first = 0; first < set->count; first += part) {
        orders_put_tape(db, set, first, part);
        bench_check(tape_checkpoint(db, &error), &error);
        orders_put_rocks(r, set, first, part);
        rocks_flush(r);
    }
    BENCH_CHECK(bench_store_stats(db).level_files[0] == PARTS);
    void *handles[SUBJECTS] = {db, r, NULL};
    uint64_t level_bytes = bench_store_stats(db).level_bytes[0];
    all_scans(handles, true, "files", "three files of level 0",
              "each file with a third of the keys, at random: a merge, on both sides");
    BENCH_CHECK(bench_store_stats(db).level_bytes[0] >= level_bytes);

    bench_check(tape_compact(db, NULL, &error), &error);
    rocks_compact(r);
    BENCH_CHECK(bench_store_stats(db).level_files[0] == 0);
    lmdb *l = lmdb_open(bench_path("scan.lmdb"), LMDB_NO_SYNC, BENCH_GIB(2));
    orders_put_lmdb(l, set, 0, set->count);
    handles[LMDB] = l;
    all_scans(handles, false, "compacted", "compacted", "latencies are of whole ranges");
    lmdb_close(&l);
    rocks_close(&r);
    bench_store_close(&db, "scan.tape");
    bench_remove(bench_path("scan.rocksdb"));
}

int main(void) {
    uint64_t step = PARTS * ORDERS_BATCH;
    set = orders_create(bench_scaled(ROWS, 24000) / step * step);
    tape_open_options options;
    tape_open_options_init(&options);
    options.memtable_bytes = MEMTABLE_BYTES;
    memory(&options);
    files(&options);
    return 0;
}
