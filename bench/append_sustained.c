/* How long the longest append takes while the store is loaded for a long time.
 *
 * First the sustained rate: appends as fast as they are taken, long enough that the live window is
 * full, that the kernel's write-back has begun, and that the disk and the store's cursor set the
 * pace; what is counted then is the rate at which records become durable and applied. Then appends
 * at 80 % of that rate, each timed from when it was due (no coordinated omission): 20 seconds by
 * default, or as long as the disk has room for; 10 minutes with BENCH_LONG=1, where ticks expire
 * from the store after a while, so that the disk has room.
 *
 * The device's part in a pause is told by the p99.9 of raw syncs, taken before and after. */
#include "peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SHORT_SECONDS 20
#define LONG_SECONDS 600
#define WARM_SECONDS 20
#define PROBE_SECONDS 10
#define SHARE 0.8
#define RAW_SYNCS 2000
#define RETAIN_BYTES BENCH_GIB(1)
#define LONG_KEEP_SECONDS 30
/* A tick in table files; and what the rest of the store takes. */
#define DISK_BYTES_PER_RECORD 160u
#define DISK_BYTES_BESIDES BENCH_GIB(8)
#define BURST 32u

static bench_ticks_set *ticks;
static uint64_t next_tick;

static void append_one(tape *db) {
    tape_error error;
    tape_status status =
        tape_append(db, &ticks->records[next_tick++ % BENCH_TICKS_DISTINCT], 1, NULL, NULL, &error);
    bench_check(status, &error);
}

typedef struct rates {
    double written, durable, applied;
} rates;

/* As fast as it goes, for a while: records per second at each mark. */
static rates flood(tape *db, int64_t duration_ns) {
    tape_stats before = bench_store_stats(db);
    int64_t start_ns = bench_now_ns();
    int64_t now_ns = start_ns;
    while (now_ns - start_ns < duration_ns) {
        for (int i = 0; i < 1000; i++) {
            append_one(db);
        }
        now_ns = bench_now_ns();
    }
    tape_stats after = bench_store_stats(db);
    double seconds = (double)(now_ns - start_ns) / 1e9;
    return (rates){.written = (double)(after.written - before.written) / seconds,
                   .durable = (double)(after.durable - before.durable) / seconds,
                   .applied = (double)(after.applied - before.applied) / seconds};
}

/* At a fixed rate; groups of BURST are due at once where single arrivals would be closer together
 * than the clock is precise. */
static void steady(tape *db, double rate, int64_t duration_ns, bench_histogram *h) {
    double ticks_per_burst = BURST * 1e9 / rate / bench_ns_per_tick();
    uint64_t bursts = (uint64_t)((double)duration_ns / 1e9 * rate / BURST);
    uint64_t begin = bench_ticks();
    for (uint64_t i = 0; i < bursts; i++) {
        uint64_t due = begin + (uint64_t)((double)i * ticks_per_burst);
        while (bench_ticks() < due) {
        }
        for (uint32_t k = 0; k < BURST; k++) {
            append_one(db);
            bench_add(h, bench_ticks() - due);
        }
    }
}

static void raw_syncs(raw_file *raw, bench_histogram *h) {
    for (uint64_t i = 0; i < bench_scaled(RAW_SYNCS, 100); i++) {
        int64_t start_ns = bench_now_ns();
        raw_append_sync(raw, ticks, LIMIT_FRAME_BYTES);
        bench_add(h, (uint64_t)(bench_now_ns() - start_ns));
    }
}

static int64_t seconds_ns(uint64_t seconds) {
    return (int64_t)(bench_scaled(seconds * 1000, 500) * 1000000);
}

/* For how long the disk can take records at that rate. */
static int64_t fitting_ns(double rate) {
    uint64_t free_bytes = bench_free_bytes();
    if (free_bytes < 2 * DISK_BYTES_BESIDES) {
        bench_fail("%" PRIu64 " bytes are free in TMPDIR: too few", free_bytes);
    }
    return (int64_t)((double)(free_bytes - DISK_BYTES_BESIDES) / DISK_BYTES_PER_RECORD / rate *
                     1e9);
}

/* What the store's files cost meanwhile, and whether they held anything up. */
static void print_files(const tape_stats *before, const tape_stats *after, double seconds) {
    char explains[256];
    double flushed = (double)(after->flushed_bytes - before->flushed_bytes);
    double wrote = (double)(after->flush_written_bytes - before->flush_written_bytes);
    double compacted = (double)(after->compact_written_bytes - before->compact_written_bytes);
    (void)snprintf(
        explains, sizeof explains,
        "%.1f GB of ticks flushed in %.0f s; compaction rewrote %.2f GB and moved %" PRIu64
        " files; %" PRIu64 " table files at the end",
        flushed / 1e9, seconds, compacted / 1e9, after->compact_moves - before->compact_moves,
        after->table_files);
    if (flushed == 0) {
        bench_say("nothing was flushed: no figures of the store's files");
        return;
    }
    bench_series amplification = {0};
    bench_series stalled = {0};
    bench_push(&amplification, (wrote + compacted) / flushed);
    bench_push(&stalled, (double)(after->stall_ns - before->stall_ns) / 1e7 / seconds);
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "x",
        .row = "sustained_write_amplification",
        .metric = "write amplification under sustained load, ticks",
        .tape_settings = "journal kept: 1 GiB",
        .tape = &amplification,
        .goal = BENCH_AT_MOST,
        .target = 1.2,
        .explains = explains,
    };
    bench_print(&row);
    row.row = "sustained_stall";
    row.metric = "time in which full memtables waited for the disk";
    row.unit = "% of the time";
    row.tape = &stalled;
    row.goal = BENCH_NO_GOAL;
    row.explains = "the window takes appends meanwhile";
    bench_print(&row);
}

static void print_rows(double sustained, double fill, double seconds, const bench_histogram *h,
                       const bench_histogram *raw, uint64_t busy) {
    static char explains[160];
    (void)snprintf(explains, sizeof explains,
                   "%.0f s at %.2f M/s (80 %%); into an empty window %.1f M/s; refused for want of "
                   "room: %" PRIu64,
                   seconds, sustained * SHARE / 1e6, fill / 1e6, busy);
    bench_series rate = {0};
    bench_series longest = {0};
    bench_series raw_tail = {0};
    bench_push(&rate, sustained);
    bench_push(&longest, (double)h->max * h->ns_per_unit);
    bench_push(&raw_tail, bench_quantile(raw, 0.999));
    bench_row row = {
        .threads = 1,
        .batch = 1,
        .unit = "records/s",
        .row = "sustained_rate",
        .metric = "append `written`, 128 B, 1 thread, sustained",
        .tape_settings = "journal kept: 1 GiB",
        .tape = &rate,
        .explains = "durable and applied as fast as appended",
    };
    bench_print(&row);
    row = (bench_row){
        .threads = 1,
        .batch = 1,
        .unit = "ns",
        .row = "sustained_longest",
        .metric = "longest append `written` at 80 % of the sustained rate",
        .peer = "raw fdatasync p99.9",
        .peer_settings = "pwrite of 128 B and fdatasync in a file that is written already, before "
                         "and after",
        .tape_settings =
            bench_long() ? "journal kept: 1 GiB, ticks kept: 30 s" : "journal kept: 1 GiB",
        .tape = &longest,
        .beside = &raw_tail,
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = BENCH_AT_MOST,
        .target = 20,
        .explains = explains,
        .tape_spread = h,
        .peer_spread = raw,
    };
    bench_print(&row);
}

int main(void) {
    ticks = bench_ticks_create(1);
    tape_open_options options;
    tape_open_options_init(&options);
    options.retain_bytes = RETAIN_BYTES;
    if (bench_long()) {
        options.keep_ns[TAPE_TABLE_TICKS] = LONG_KEEP_SECONDS * BENCH_SECOND_NS;
    }
    tape *db = bench_store_open("sustained.tape", &options);
    raw_file *raw = raw_create(bench_path("sustained.raw"), BENCH_MIB(64));
    bench_histogram *raw_times = bench_histogram_create(1);
    bench_histogram *times = bench_histogram_create(bench_ns_per_tick());
    bench_sleep_ns(BENCH_SECOND_NS);
    raw_syncs(raw, raw_times);

    rates filling = flood(db, BENCH_SECOND_NS / 10);
    (void)flood(db, seconds_ns(WARM_SECONDS));
    rates full = flood(db, seconds_ns(PROBE_SECONDS));
    double sustained = full.durable < full.applied ? full.durable : full.applied;
    bench_say("written %.2f M/s into an empty window; then written %.2f, durable %.2f, applied "
              "%.2f M/s",
              filling.written / 1e6, full.written / 1e6, full.durable / 1e6, full.applied / 1e6);
    bench_store_settle(db);

    int64_t duration_ns = seconds_ns(bench_long() ? LONG_SECONDS : SHORT_SECONDS);
    int64_t fits_ns = fitting_ns(sustained * SHARE);
    if (fits_ns < duration_ns && !bench_long()) {
        bench_say("the disk has room for %.0f s of this", (double)fits_ns / 1e9);
        duration_ns = fits_ns;
    }
    double seconds = (double)duration_ns / 1e9;
    tape_stats before = bench_store_stats(db);
    steady(db, sustained * SHARE, duration_ns, times);
    tape_stats after = bench_store_stats(db);
    raw_syncs(raw, raw_times);
    print_rows(sustained, filling.written, seconds, times, raw_times, after.busy - before.busy);
    print_files(&before, &after, seconds);
    raw_close(&raw);
    bench_store_close(&db, "sustained.tape");
    return 0;
}
