/* Append acknowledged as `durable`: one thread, 64 threads, a pipeline of 64, batches. Beside the
 * device itself (write and fdatasync of a file that is written already), RocksDB with sync, LMDB.
 *
 * All files are on the file system of TMPDIR. Subjects take turns in short rounds. */
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 11
#define MANY 64
#define BATCH 64u
#define LARGE_BATCH 1000u
#define RAW_BYTES BENCH_MIB(64)
#define LMDB_BYTES BENCH_GIB(4)

static bench_ticks_set *ticks;
static const void *values[BENCH_TICKS_DISTINCT];
static tape_append_options durable;

typedef struct subject subject;
struct subject {
    void *handle;
    void (*body)(subject *s, int thread); /* what one thread does in a round */
    int threads;
    uint64_t calls; /* per thread and round */
    uint32_t batch;
    uint64_t next[MANY];
    bench_histogram *times[MANY]; /* of calls, ns */
    bench_histogram *round;       /* all threads */
    bench_histogram *all;         /* all rounds */
    bench_series rate;            /* records/s */
    bench_series p50, p99;
};

static void append(subject *s, const tape_append_options *options, uint64_t at, uint32_t count,
                   tape_append_result *result) {
    tape_error error;
    tape_status status = tape_append(s->handle, &ticks->records[at % BENCH_TICKS_DISTINCT], count,
                                     options, result, &error);
    bench_check(status, &error);
}

/* --- bodies --- */

static void tape_body(subject *s, int thread) {
    for (uint64_t i = 0; i < s->calls; i++) {
        int64_t start = bench_now_ns();
        append(s, &durable, i * s->batch % (BENCH_TICKS_DISTINCT - s->batch), s->batch, NULL);
        bench_add(s->times[thread], (uint64_t)(bench_now_ns() - start));
    }
}

/* Each append waits for the one `MANY` before it; the last ones are waited for, too. */
static void tape_pipeline_body(subject *s, int thread) {
    uint64_t seqs[MANY] = {0};
    int64_t starts[MANY] = {0};
    for (uint64_t i = 0; i < s->calls + MANY; i++) {
        uint64_t *seq = &seqs[i % MANY];
        if (*seq != 0) {
            tape_error error;
            bench_check(tape_wait(s->handle, *seq, TAPE_DURABLE, -1, &error), &error);
            bench_add(s->times[thread], (uint64_t)(bench_now_ns() - starts[i % MANY]));
            *seq = 0;
        }
        if (i < s->calls) {
            tape_append_result result;
            starts[i % MANY] = bench_now_ns();
            append(s, NULL, i, 1, &result);
            *seq = result.last_seq;
        }
    }
}

static void raw_body(subject *s, int thread) {
    for (uint64_t i = 0; i < s->calls; i++) {
        int64_t start = bench_now_ns();
        raw_append_sync(s->handle, &ticks->ticks[i % BENCH_TICKS_DISTINCT], LIMIT_FRAME_BYTES);
        bench_add(s->times[thread], (uint64_t)(bench_now_ns() - start));
    }
}

static uint64_t next_key(subject *s, int thread, uint32_t count) {
    uint64_t first = (uint64_t)thread << 40 | s->next[thread];
    s->next[thread] += count;
    return first;
}

static void rocks_body(subject *s, int thread) {
    for (uint64_t i = 0; i < s->calls; i++) {
        int64_t start = bench_now_ns();
        if (s->batch == 1) {
            uint8_t key[PEER_KEY_BYTES];
            peer_key(key, next_key(s, thread, 1));
            rocks_put(s->handle, key, values[i % BENCH_TICKS_DISTINCT], PEER_VALUE_BYTES, true);
        } else {
            rocks_put_batch(s->handle, thread, next_key(s, thread, s->batch), values, s->batch,
                            true);
        }
        bench_add(s->times[thread], (uint64_t)(bench_now_ns() - start));
    }
}

static void lmdb_body(subject *s, int thread) {
    static uint64_t next; /* of all runs: keys only rise */
    for (uint64_t i = 0; i < s->calls; i++) {
        int64_t start = bench_now_ns();
        lmdb_put_batch(s->handle, next, values, s->batch);
        next += s->batch;
        bench_add(s->times[thread], (uint64_t)(bench_now_ns() - start));
    }
}

/* --- rounds --- */

static void subject_worker(void *context, int thread) {
    subject *s = context;
    s->body(s, thread);
}

static void subject_round(subject *s, bool counts) {
    int64_t wall_ns = bench_parallel(s->threads, subject_worker, s);
    bench_histogram_reset(s->round);
    for (int i = 0; i < s->threads; i++) {
        bench_histogram_merge(s->round, s->times[i]);
        bench_histogram_reset(s->times[i]);
    }
    if (counts) {
        double records = (double)s->calls * s->threads * s->batch;
        bench_histogram_merge(s->all, s->round);
        bench_push(&s->rate, records * 1e9 / (double)wall_ns);
        bench_push(&s->p50, bench_quantile(s->round, 0.5));
        bench_push(&s->p99, bench_quantile(s->round, 0.99));
    }
}

static subject *subject_create(void *handle, void (*body)(subject *, int), int threads,
                               uint64_t calls, uint32_t batch) {
    static uint64_t keys_used;
    subject *s = bench_alloc(sizeof *s);
    s->handle = handle;
    s->body = body;
    s->threads = threads;
    s->calls = bench_scaled(calls, 4);
    s->batch = batch;
    s->round = bench_histogram_create(1);
    s->all = bench_histogram_create(1);
    keys_used += UINT64_C(1) << 32; /* no two subjects write the same keys */
    for (int i = 0; i < threads; i++) {
        s->times[i] = bench_histogram_create(1);
        s->next[i] = keys_used;
    }
    return s;
}

static void subject_destroy(subject *s) {
    for (int i = 0; i < s->threads; i++) {
        free(s->times[i]);
    }
    free(s->round);
    free(s->all);
    free(s);
}

static void take_turns(subject *const *subjects, size_t count) {
    for (int round = -1; round < ROUNDS; round++) {
        for (size_t i = 0; i < count; i++) {
            subject_round(subjects[i], round >= 0);
        }
    }
}

/* --- the rows --- */

static const char raw_settings[] = "pwrite of 128 B and fdatasync, rising offsets in a file of 64 "
                                   "MiB that is filled with zeros and synced before";

static void one_thread(tape *db, raw_file *raw, rocks *rdb, lmdb *ldb) {
    enum { TAPE, RAW, ROCKS, LMDB, COUNT };
    subject *s[COUNT] = {
        subject_create(db, tape_body, 1, 600, 1),
        subject_create(raw, raw_body, 1, 600, 1),
        subject_create(rdb, rocks_body, 1, 300, 1),
        subject_create(ldb, lmdb_body, 1, 200, 1),
    };
    take_turns(s, COUNT);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = "durable_raw_p50",
        .metric = "append `durable`, 128 B, 1 thread, p50",
        .peer = "raw fdatasync",
        .peer_settings = raw_settings,
        .tape = &s[TAPE]->p50,
        .beside = &s[RAW]->p50,
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_MOST,
        .target = 1.10,
        .tape_spread = s[TAPE]->all,
        .peer_spread = s[RAW]->all,
    };
    bench_print(&row);
    row.row = "durable_raw_p99";
    row.metric = "append `durable`, 128 B, 1 thread, p99";
    row.tape = &s[TAPE]->p99;
    row.beside = &s[RAW]->p99;
    row.target = 1.25;
    bench_print(&row);
    row = (bench_row){
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = "durable_rocksdb",
        .metric = "append `durable`, 128 B, 1 thread, p50",
        .peer = "RocksDB",
        .peer_settings = rocks_settings(ROCKS_SYNC),
        .tape = &s[TAPE]->p50,
        .beside = &s[ROCKS]->p50,
        .ratio = BENCH_PEER_BY_TAPE,
        .tape_spread = s[TAPE]->all,
        .peer_spread = s[ROCKS]->all,
    };
    bench_print(&row);
    row.row = "durable_lmdb";
    row.peer = "LMDB";
    row.peer_settings = lmdb_settings(LMDB_SYNC);
    row.beside = &s[LMDB]->p50;
    row.peer_spread = s[LMDB]->all;
    bench_print(&row);
    for (int i = 0; i < COUNT; i++) {
        subject_destroy(s[i]);
    }
}

static void many_at_once(tape *db, rocks *rdb) {
    enum { THREADS, PIPELINE, ROCKS, COUNT };
    subject *s[COUNT] = {
        subject_create(db, tape_body, MANY, 100, 1),
        subject_create(db, tape_pipeline_body, 1, 20000, 1),
        subject_create(rdb, rocks_body, MANY, 50, 1),
    };
    take_turns(s, COUNT);
    bench_row row = {
        .threads = MANY,
        .batch = 1,
        .unit = "records/s",
        .row = "durable_64_threads_rocksdb",
        .metric = "append `durable`, 128 B, 64 threads",
        .peer = "RocksDB, 64 threads",
        .peer_settings = rocks_settings(ROCKS_SYNC),
        .tape = &s[THREADS]->rate,
        .beside = &s[ROCKS]->rate,
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_LEAST,
        .target = 3,
        .tape_spread = s[THREADS]->all,
        .peer_spread = s[ROCKS]->all,
    };
    bench_print(&row);
    row.threads = 1;
    row.row = "durable_pipeline_rocksdb";
    row.metric = "append `durable`, 128 B, 1 thread with 64 in flight";
    row.tape_settings = "append `written`, wait for `durable` of the 64th before";
    row.tape = &s[PIPELINE]->rate;
    row.tape_spread = s[PIPELINE]->all;
    bench_print(&row);
    for (int i = 0; i < COUNT; i++) {
        subject_destroy(s[i]);
    }
}

static void batches(tape *db, rocks *rdb, lmdb *ldb, uint32_t batch) {
    enum { TAPE, ROCKS, LMDB, COUNT };
    subject *s[COUNT] = {
        subject_create(db, tape_body, 1, batch == BATCH ? 300 : 100, batch),
        subject_create(rdb, rocks_body, 1, batch == BATCH ? 150 : 20, batch),
        subject_create(ldb, lmdb_body, 1, batch == BATCH ? 150 : 20, batch),
    };
    take_turns(s, COUNT);
    char metric[96];
    char names[COUNT][48];
    static const char *const peers[COUNT] = {"absolute", "rocksdb", "lmdb"};
    (void)snprintf(metric, sizeof metric, "append `durable`, batches of %u, 1 thread", batch);
    for (int i = TAPE; i < COUNT; i++) {
        (void)snprintf(names[i], sizeof names[i], "durable_batch_%u_%s", batch, peers[i]);
        bench_row row = {
            .threads = 1,
            .batch = (int)batch,
            .unit = "records/s",
            .row = names[i],
            .metric = metric,
            .peer = i == TAPE    ? NULL
                    : i == ROCKS ? "RocksDB"
                                 : "LMDB",
            .peer_settings = i == TAPE    ? NULL
                             : i == ROCKS ? rocks_settings(ROCKS_SYNC)
                                          : lmdb_settings(LMDB_SYNC),
            .tape = &s[TAPE]->rate,
            .beside = i == TAPE ? NULL : &s[i]->rate,
            .ratio = i == TAPE ? BENCH_NO_RATIO : BENCH_TAPE_BY_PEER,
            /* A batch of 64 per sync is bound by the device: 64 in the time of one sync. */
            .goal = i == TAPE && batch == LARGE_BATCH ? BENCH_AT_LEAST : BENCH_NO_GOAL,
            .target = 1e6,
            .tape_spread = s[TAPE]->all,
            .peer_spread = i == TAPE ? NULL : s[i]->all,
            .explains = "percentiles are of whole batches",
        };
        bench_print(&row);
    }
    for (int i = 0; i < COUNT; i++) {
        subject_destroy(s[i]);
    }
}

static void many_batches(tape *db, rocks *rdb) {
    enum { TAPE, ROCKS, COUNT };
    subject *s[COUNT] = {
        subject_create(db, tape_body, MANY, 30, BATCH),
        subject_create(rdb, rocks_body, MANY, 10, BATCH),
    };
    take_turns(s, COUNT);
    bench_row row = {
        .threads = MANY,
        .batch = BATCH,
        .unit = "records/s",
        .row = "durable_64_threads_batch_64",
        .metric = "append `durable`, batches of 64, 64 threads",
        .tape = &s[TAPE]->rate,
        .goal = BENCH_AT_LEAST,
        .target = 1e6,
        .tape_spread = s[TAPE]->all,
        .explains = "percentiles are of whole batches",
    };
    bench_print(&row);
    row.row = "durable_64_threads_batch_64_rocksdb";
    row.peer = "RocksDB, 64 threads";
    row.peer_settings = rocks_settings(ROCKS_SYNC);
    row.beside = &s[ROCKS]->rate;
    row.ratio = BENCH_TAPE_BY_PEER;
    row.goal = BENCH_NO_GOAL;
    row.peer_spread = s[ROCKS]->all;
    bench_print(&row);
    for (int i = 0; i < COUNT; i++) {
        subject_destroy(s[i]);
    }
}

int main(void) {
    ticks = bench_ticks_create(1);
    for (size_t i = 0; i < BENCH_TICKS_DISTINCT; i++) {
        values[i] = &ticks->ticks[i];
    }
    tape_append_options_init(&durable);
    durable.level = TAPE_DURABLE;
    tape *db = bench_store_open("durable.tape", NULL);
    raw_file *raw = raw_create(bench_path("durable.raw"), RAW_BYTES);
    rocks *rdb = rocks_open(bench_path("durable.rocksdb"), ROCKS_SYNC);
    lmdb *ldb = lmdb_open(bench_path("durable.lmdb"), LMDB_SYNC, LMDB_BYTES);
    tape_stats stats = {.size_bytes = sizeof stats};
    tape_error error;
    bench_check(tape_stats_read(db, false, &stats, &error), &error);
    bench_print_fact("sync floor", "%.1f us by %s", (double)stats.sync_floor_ns / 1e3,
                     stats.sync_method);
    peers_print_versions();
    one_thread(db, raw, rdb, ldb);
    many_at_once(db, rdb);
    batches(db, rdb, ldb, BATCH);
    batches(db, rdb, ldb, LARGE_BATCH);
    many_batches(db, rdb);
    raw_close(&raw);
    rocks_close(&rdb);
    lmdb_close(&ldb);
    bench_store_close(&db, "durable.tape");
    free(ticks);
    return 0;
}
