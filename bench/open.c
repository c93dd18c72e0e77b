/* How long a store takes to open, and to give its first answer, as it grows: 1 and 5 GB of table
 * files (with BENCH_LONG=1 also 20), as far as the disk has room, and always the same tail of the
 * journal that no table file has yet.
 *
 * Before each opening another process appends the tail, waits until it is durable and ends without
 * closing: what is timed is a recovery. The first get asks for a record in the oldest table file
 * and must wait until the tail is applied. Warm: files are in memory; cold: the kernel has
 * forgotten every page of them.
 *
 * Table files are small here (of memtables of 16 MiB), so that there are many. */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZES_MAX 3
#define TAIL_RECORDS 100000u /* 12.8 MB of journal */
#define FILL_BATCH 500u
#define FILL_MEMTABLE_BYTES BENCH_MIB(16)
#define TAIL_MEMTABLE_BYTES BENCH_GIB(1) /* so that nothing of the tail is flushed before */
#define RETAIN_BYTES BENCH_MIB(64)
/* Kept free: journal, tails, and what compaction writes before it removes. */
#define DISK_BYTES_BESIDES BENCH_GIB(3)
#define ROUNDS 5
#define FILL_STEP 100000u

static bench_ticks_set *ticks;

typedef struct sample {
    uint64_t bytes, files; /* table files */
    uint64_t tail;         /* records recovered */
    bench_series open[2];  /* by whether cold */
    bench_series answer[2];
} sample;

static tape_open_options options_of(uint64_t memtable_bytes) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.memtable_bytes = memtable_bytes;
    options.table_bytes = FILL_MEMTABLE_BYTES;
    options.retain_bytes = RETAIN_BYTES;
    return options;
}

static tape *open_store(const char *dir, uint64_t memtable_bytes) {
    tape_open_options options = options_of(memtable_bytes);
    tape_error error;
    tape *db = NULL;
    bench_check(tape_open(dir, &options, &db, &error), &error);
    return db;
}

static void append_ticks(tape *db, uint64_t count, tape_append_result *last) {
    tape_error error;
    for (uint64_t i = 0; i < count; i += FILL_BATCH) {
        const tape_record *records = &ticks->records[i % (BENCH_TICKS_DISTINCT - FILL_BATCH)];
        bench_check(tape_append(db, records, FILL_BATCH, NULL, last, &error), &error);
    }
}

/* --- the tail: by a process that ends without closing --- */

static int tail_main(const char *dir) {
    tape_error error;
    tape_append_result last;
    tape *db = open_store(dir, TAIL_MEMTABLE_BYTES);
    append_ticks(db, TAIL_RECORDS, &last);
    bench_check(tape_wait(db, last.last_seq, TAPE_DURABLE, -1, &error), &error);
    _exit(0); /* neither closes the store nor runs what removes the directory */
}

static void append_tail(const char *program, const char *dir) {
    pid_t child = fork();
    if (child == 0) {
        (void)execl(program, program, "tail", dir, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 0) {
        bench_fail("the process that appends the tail failed: %s", strerror(errno));
    }
}

/* --- opening --- */

static void first_get(tape *db) {
    tape_error error;
    tape_tick out;
    const char *key = "1";
    bench_check(tape_get(db, TAPE_TABLE_TICKS, &key, 1, 0, &out, &error), &error);
    BENCH_CHECK(out.seq == 1 && out.last_price == ticks->ticks[0].last_price);
}

static void open_once(const char *program, const char *dir, bool cold, bool counts, sample *s) {
    append_tail(program, dir);
    if (cold) {
        bench_forget(dir);
    }
    tape_error error;
    int64_t start_ns = bench_now_ns();
    tape *db = open_store(dir, TAIL_MEMTABLE_BYTES);
    int64_t opened_ns = bench_now_ns();
    first_get(db);
    int64_t answered_ns = bench_now_ns();
    tape_stats stats = bench_store_stats(db);
    if (stats.recovered_records < TAIL_RECORDS || stats.applied < stats.written) {
        bench_fail("the tail was not recovered: %" PRIu64 " of %u records", stats.recovered_records,
                   TAIL_RECORDS);
    }
    bench_check(tape_close(&db, &error), &error);
    if (counts) {
        s->tail = stats.recovered_records;
        bench_push(&s->open[cold], (double)(opened_ns - start_ns));
        bench_push(&s->answer[cold], (double)(answered_ns - start_ns));
    }
}

static void grow(const char *dir, uint64_t bytes, sample *s) {
    tape_error error;
    tape *db = open_store(dir, FILL_MEMTABLE_BYTES);
    while (bench_store_stats(db).store_bytes < bytes) {
        append_ticks(db, FILL_STEP, NULL);
        bench_store_applied(db);
    }
    bench_check(tape_checkpoint(db, &error), &error);
    bench_store_rest(db);
    tape_stats stats = bench_store_stats(db);
    s->bytes = stats.store_bytes;
    s->files = stats.table_files;
    bench_say("%.2f GB in %" PRIu64 " table files", (double)s->bytes / 1e9, s->files);
    bench_check(tape_close(&db, &error), &error);
}

/* --- rows --- */

static void print_one(const sample *s, const sample *first, const sample *last, bool cold,
                      bool answer) {
    char name[64];
    char metric[128];
    char peer[64];
    char explains[256];
    (void)snprintf(name, sizeof name, "%s_%s", answer ? "open_get" : "open",
                   cold ? "cold" : "warm");
    if (s != last) {
        size_t used = strlen(name);
        (void)snprintf(name + used, sizeof name - used, "_%.0fgb", (double)s->bytes / 1e9);
    }
    (void)snprintf(metric, sizeof metric, "open%s of %.2g GB, %s, after a crash",
                   answer ? " and first get" : "", (double)s->bytes / 1e9, cold ? "cold" : "warm");
    (void)snprintf(peer, sizeof peer, "tape, %.2g GB", (double)first->bytes / 1e9);
    (void)snprintf(explains, sizeof explains,
                   "%" PRIu64 " and %" PRIu64 " table files; recovers %" PRIu64
                   " records from the journal",
                   s->files, first->files, s->tail);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = name,
        .metric = metric,
        .peer = peer,
        .tape_settings = "memtable 16 MiB while filled, journal kept: 64 MiB",
        .tape = answer ? &s->answer[cold] : &s->open[cold],
        .beside = answer ? &first->answer[cold] : &first->open[cold],
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = answer ? BENCH_NO_GOAL : BENCH_AT_MOST,
        .target = 1.25,
        .explains = explains,
    };
    bench_print(&row);
    if (answer && cold && s == last) {
        row = (bench_row){
            .threads = 1,
            .batch = 1,
            .unit = "ns",
            .row = "open_recovery",
            .metric = "recovery, cold, until the first answer",
            .tape = &s->answer[cold],
            .goal = BENCH_AT_MOST,
            .target = 10e9,
            .explains = "with the largest store",
        };
        bench_print(&row);
    }
}

static void print_rows(const sample *samples, size_t count) {
    for (size_t i = 1; i < count; i++) {
        for (int cold = 0; cold < 2; cold++) {
            print_one(&samples[i], &samples[0], &samples[count - 1], cold != 0, false);
            print_one(&samples[i], &samples[0], &samples[count - 1], cold != 0, true);
        }
    }
}

/* What there is room for, smallest first. */
static size_t sizes_make(uint64_t *sizes) {
    static const uint64_t wanted[SIZES_MAX] = {1000000000, 5000000000, 20000000000};
    size_t count = bench_long() ? SIZES_MAX : SIZES_MAX - 1;
    uint64_t free_bytes = bench_free_bytes();
    for (size_t i = 0; i < count; i++) {
        sizes[i] = bench_scaled(wanted[i], 20000000 * (i + 1));
        if (free_bytes < DISK_BYTES_BESIDES || sizes[i] > free_bytes - DISK_BYTES_BESIDES) {
            bench_say("the disk has no room for %.0f GB", (double)sizes[i] / 1e9);
            count = i;
        }
    }
    if (count < 2) {
        bench_fail("%" PRIu64 " bytes are free in TMPDIR: too few to compare two sizes",
                   free_bytes);
    }
    return count;
}

int main(int argc, char **argv) {
    ticks = bench_ticks_create(1);
    if (argc == 3 && strcmp(argv[1], "tail") == 0) {
        return tail_main(argv[2]);
    }
    static sample samples[SIZES_MAX];
    uint64_t sizes[SIZES_MAX];
    size_t count = sizes_make(sizes);
    tape_error error;
    const char *dir = bench_path("open.tape");
    bench_check(tape_create(dir, NULL, &error), &error);
    for (size_t i = 0; i < count; i++) {
        grow(dir, sizes[i], &samples[i]);
        for (int round = -1; round < ROUNDS; round++) {
            open_once("/proc/self/exe", dir, false, round >= 0, &samples[i]);
            open_once("/proc/self/exe", dir, true, round >= 0, &samples[i]);
        }
    }
    print_rows(samples, count);
    bench_remove(dir);
    return 0;
}
