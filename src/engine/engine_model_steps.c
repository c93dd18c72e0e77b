/* What happens to a store that is well: appends, waits, flushes, compactions, time. See
 * engine_model_testing.h. */
#include "engine/engine_model_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 40

/* --- appends --- */

typedef struct batch {
    size_t count;
    tape_record records[BATCH_MAX];
    char parts[BATCH_MAX][2][41];
    uint64_t nonces[BATCH_MAX];
    _Alignas(8) uint8_t bytes[BATCH_MAX][TAPE_RECORD_BYTES_MAX];
} batch;

/* Few keys, so that versions pile up, but for trades: those come in order of time, mostly. Some
 * fill their field, some are the beginning of others. */
static void new_key(world *w, uint16_t table, char parts[2][41]) {
    static const char *const users[] = {"u", "u1", "u10", "u2", "a-user-of-thirty-two-characters-"};
    size_t n = world_random(w, 40);
    memset(parts, 0, 2 * sizeof *parts);
    switch (table) {
    case TAPE_TABLE_ORDERS:
        (void)snprintf(parts[0], sizeof parts[0],
                       n < 4 ? "an-order-that-fills-its-field-%010zu" : "o%zu", n);
        break;
    case TAPE_TABLE_TRADES:
        if (world_chance(w, 75)) {
            (void)snprintf(parts[0], sizeof parts[0], "t%010" PRIu64, w->trade_number++);
        } else {
            (void)snprintf(parts[0], sizeof parts[0], "r%zu", world_random(w, 200));
        }
        break;
    case TAPE_TABLE_ACCOUNTS:
    case TAPE_TABLE_POSITIONS:
        (void)snprintf(parts[0], sizeof parts[0], "%s", users[n % COUNT_OF(users)]);
        if (table == TAPE_TABLE_POSITIONS) {
            (void)snprintf(parts[1], sizeof parts[1], "I%zu", n / 5);
        }
        break;
    default:
        (void)snprintf(parts[0], sizeof parts[0], "I%zu", n % 6);
        break;
    }
}

static void fill_batch(world *w, batch *b, size_t count, bool mostly_trades) {
    b->count = count;
    uint16_t table = (uint16_t)(1 + world_random(w, TAPE_TABLE_COUNT));
    for (size_t i = 0; i < count; i++) {
        if (world_chance(w, 60)) {
            table = (uint16_t)(1 + world_random(w, TAPE_TABLE_COUNT));
        }
        if (mostly_trades && world_chance(w, 70)) {
            table = TAPE_TABLE_TRADES;
        }
        new_key(w, table, b->parts[i]);
        if (mostly_trades && table == TAPE_TABLE_TRADES && world_chance(w, 50)) {
            model_random_key(w, table, b->parts[i]);
        }
        b->nonces[i] = random_next(&w->random);
        oracle_fill(table, (const char(*)[41])b->parts[i], b->nonces[i], b->bytes[i]);
        b->records[i] = (tape_record){table, 0, record_table(table)->size_bytes, b->bytes[i]};
    }
}

/* Which of the batch a TAPE_UNIQUE append must take. False when the oracle cannot say. */
static bool unique_of(const world *w, const batch *b, bool *taken) {
    for (size_t i = 0; i < b->count; i++) {
        taken[i] = true;
        if (b->records[i].table != TAPE_TABLE_TRADES) {
            continue;
        }
        verdict v = model_is_there(w, TAPE_TABLE_TRADES, (const char(*)[41])b->parts[i]);
        if (v == MAYBE) {
            return false;
        }
        taken[i] = v == HIDDEN;
        for (size_t k = 0; k < i; k++) {
            taken[i] = taken[i] && (b->records[k].table != TAPE_TABLE_TRADES ||
                                    strcmp(b->parts[k][0], b->parts[i][0]) != 0);
        }
    }
    return true;
}

/* What the append said, against what it should have done; then the oracle has it too. */
static void appended(world *w, const batch *b, const bool *taken, tape_status status,
                     tape_level level, const tape_append_result *result) {
    size_t count = 0;
    size_t last = 0;
    for (size_t i = 0; i < b->count; i++) {
        count += taken[i];
        last = taken[i] ? i : last;
    }
    if (result->first_seq == 0) {
        if (status == TAPE_OK && count > 0) {
            world_fail(w, "append: %zu records should have been taken", count);
        }
        return;
    }
    if (result->first_seq != w->o.count + 1 || result->last_seq != w->o.count + count ||
        result->duplicates != b->count - count) {
        world_fail(w,
                   "append of %zu after %" PRIu64 ": %" PRIu64 " .. %" PRIu64 ", %" PRIu64
                   " duplicates",
                   count, w->o.count, result->first_seq, result->last_seq, result->duplicates);
    }
    for (size_t i = 0; i < b->count; i++) {
        if (taken[i]) {
            oracle_add(&w->o, b->records[i].table, (const char(*)[41])b->parts[i], b->nonces[i],
                       w->now_ns, i == last);
        }
    }
    if (status == TAPE_OK && level >= TAPE_DURABLE) {
        w->durable = w->o.count;
    }
    if (!os_sim_crash_reached(w->sim)) {
        w->written = w->o.count;
    }
}

static void append_batch(world *w, const batch *b, bool unique) {
    bool taken[BATCH_MAX];
    tape_append_result result = {0};
    tape_append_options options;
    tape_error error = {0};
    tape_append_options_init(&options);
    options.level = world_chance(w, 75)   ? TAPE_WRITTEN
                    : world_chance(w, 70) ? TAPE_DURABLE
                                          : TAPE_COMMITTED;
    for (size_t i = 0; i < b->count; i++) {
        taken[i] = true;
    }
    if (unique) {
        options.flags = TAPE_UNIQUE;
        if (!model_settle(w) || !unique_of(w, b, taken)) {
            return;
        }
    }
    world_trace(w, "append %zu%s at level %d", b->count, unique ? " unique" : "",
                (int)options.level);
    tape_status status = tape_append(w->db, b->records, b->count, &options, &result, &error);
    appended(w, b, taken, status, options.level, &result);
    covered.refused_appends += status == TAPE_NO_SPACE;
    (void)world_ok(w, status, &error, "append");
}

void model_append(world *w) {
    static batch b;
    size_t count = 1 + world_random(w, world_chance(w, 85) ? 6 : 35);
    fill_batch(w, &b, count, false);
    append_batch(w, &b, false);
}

static void append_unique(world *w) {
    static batch b;
    fill_batch(w, &b, 1 + world_random(w, 12), true);
    append_batch(w, &b, true);
}

/* An append that is wrong, anywhere in it: nothing of it is there. */
static void append_wrong(world *w) {
    static batch b;
    tape_error error = {0};
    tape_append_result result;
    tape_record many[200];
    world_trace(w, "append a wrong one");
    fill_batch(w, &b, 1 + world_random(w, 6), false);
    tape_status status;
    if (world_chance(w, 50)) {
        size_t at = world_random(w, b.count);
        memset(b.bytes[at] + 16, 0xff, 8); /* the first key field or a text: not UTF-8 */
        status = tape_append(w->db, b.records, b.count, NULL, &result, &error);
        if (status == TAPE_INVALID) {
            status = TAPE_OK;
        } else if (status == TAPE_OK) {
            world_fail(w, "a wrong record was taken");
        }
    } else {
        for (size_t i = 0; i < COUNT_OF(many); i++) {
            many[i] = b.records[0];
        }
        status = tape_append(w->db, many, COUNT_OF(many), NULL, &result, &error);
        if (status == TAPE_TOO_LARGE) {
            status = TAPE_OK;
        } else if (status == TAPE_OK) {
            world_fail(w, "too large an append was taken");
        }
    }
    (void)world_ok(w, status, &error, "wrong append");
    if (journal_seq(w->db->journal, TAPE_WRITTEN) != w->o.count) {
        world_fail(w, "a refused append left something");
    }
}

static void wait_durable(world *w) {
    tape_error error = {0};
    world_trace(w, "wait");
    uint64_t seq = w->o.count == 0 ? 0 : w->o.count - world_random(w, 3) % w->o.count;
    tape_status status = tape_wait(w->db, seq, TAPE_DURABLE, NS_PER_SECOND, &error);
    if (world_ok(w, status, &error, "wait") && seq > w->durable) {
        w->durable = seq;
    }
}

/* --- reads --- */

static void read_now(world *w) {
    world_trace(w, "get");
    model_get(w, NULL,
              world_chance(w, 60) || w->o.count == 0 ? 0 : 1 + world_random(w, w->o.count + 3));
}

static void read_many(world *w) {
    world_trace(w, "get_many");
    model_get_many(w, NULL,
                   world_chance(w, 60) || w->o.count == 0 ? 0 : 1 + world_random(w, w->o.count));
}

static void view_open(world *w) {
    for (size_t i = 0; i < MODEL_VIEWS; i++) {
        if (w->views[i].view == NULL) {
            world_trace(w, "view %zu", i);
            uint64_t back = world_random(w, 100);
            uint64_t at = world_chance(w, 70) || w->o.count <= back ? 0 : w->o.count - back;
            (void)model_view_open(w, &w->views[i], at,
                                  (tape_level)(TAPE_WRITTEN + world_random(w, 3)));
            return;
        }
    }
    size_t i = world_random(w, MODEL_VIEWS);
    world_trace(w, "close view %zu", i);
    model_view_close(w, i);
}

static void view_read(world *w) {
    size_t i = world_random(w, MODEL_VIEWS);
    if (w->views[i].view == NULL) {
        view_open(w);
        return;
    }
    switch (world_random(w, 4)) {
    case 0:
        world_trace(w, "get in view %zu", i);
        model_get(w, &w->views[i], 0);
        break;
    case 1:
        world_trace(w, "get_many in view %zu", i);
        model_get_many(w, &w->views[i], 0);
        break;
    default:
        model_scan_open(w, i);
        break;
    }
}

static void scan_step(world *w) {
    model_scan *s = &w->scans[world_random(w, MODEL_SCANS)];
    if (s->scan == NULL) {
        view_read(w);
        return;
    }
    world_trace(w, "scan goes on");
    size_t rows = world_chance(w, 60) ? 1 + world_random(w, 30) : SIZE_MAX;
    model_scan_step(w, s, rows, world_chance(w, 10));
}

static void stats(world *w) {
    tape_stats s = {.size_bytes = sizeof s};
    tape_error error = {0};
    world_trace(w, "stats");
    if (!world_ok(w, tape_stats_read(w->db, false, &s, &error), &error, "stats")) {
        return;
    }
    uint64_t files = 0;
    uint64_t views = 0;
    for (size_t i = 0; i < COUNT_OF(s.level_files); i++) {
        files += s.level_files[i];
        covered.level_files[i] += s.level_files[i];
    }
    for (size_t i = 0; i < MODEL_VIEWS; i++) {
        views += w->views[i].view != NULL;
    }
    covered.most_files = files > covered.most_files ? files : covered.most_files;
    bool right = s.written == w->o.count && s.durable <= s.written && s.committed <= s.durable &&
                 s.applied <= s.written && s.durable >= w->durable && files == s.table_files &&
                 s.views == views && (files == 0 || s.space_amplification >= 1);
    if (!right) {
        world_fail(w,
                   "figures that do not agree: written %" PRIu64 " of %" PRIu64 ", durable %" PRIu64
                   ", applied %" PRIu64 ", %" PRIu64 " of %" PRIu64 " files, %" PRIu64
                   " of %" PRIu64 " views, space %g",
                   s.written, w->o.count, s.durable, s.applied, files, s.table_files, s.views,
                   views, s.space_amplification);
    }
}

/* Brings up columns and SQL, which from then on follow: they have every record, whatever expired
 * for point reads, unless the journal was trimmed before. */
static void look_at_columns(world *w) {
    tape_stats s = {.size_bytes = sizeof s};
    tape_error error = {0};
    uint64_t counts[TAPE_TABLE_COUNT + 1] = {0};
    if (!model_settle(w)) {
        return;
    }
    world_trace(w, "columns");
    if (!world_ok(w, tape_stats_read(w->db, true, &s, &error), &error, "columns")) {
        return;
    }
    for (uint64_t seq = 1; seq <= w->o.count; seq++) {
        counts[w->o.records[seq - 1].table]++;
    }
    for (uint16_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        if (s.rows[t] > counts[t] || (s.rows[t] < counts[t] && (!w->trimmed || !w->retention))) {
            world_fail(w, "columns of %s: %" PRIu64 " rows of %" PRIu64, record_table(t)->name,
                       s.rows[t], counts[t]);
        }
    }
    if (s.queryable != w->o.count) {
        world_fail(w, "columns: up to %" PRIu64 " of %" PRIu64, s.queryable, w->o.count);
    }
    covered.columns++;
}

/* --- to disk --- */

static void checkpoint(world *w) {
    tape_error error = {0};
    world_trace(w, "checkpoint");
    uint64_t all = w->o.count;
    if (world_ok(w, tape_checkpoint(w->db, &error), &error, "checkpoint")) {
        w->durable = all;
        covered.flushes++;
        if (store_flushed_seq(w->db->store) < all) {
            world_fail(w, "checkpoint: flushed up to %" PRIu64 " of %" PRIu64,
                       store_flushed_seq(w->db->store), all);
        }
    }
}

/* As the background does it: what is committed of what is full. */
static void flush(world *w) {
    tape_error error = {0};
    world_trace(w, "flush");
    if (model_settle(w)) {
        uint64_t committed = journal_seq(w->db->journal, TAPE_COMMITTED);
        tape_status status = store_flush(w->db->store, committed, world_chance(w, 30), &error);
        (void)world_ok(w, status, &error, "flush");
    }
}

/* The background compacts nothing while the disk is short of half the reserve. */
static bool disk_is_low(const world *w) {
    uint64_t free_bytes = 0;
    return w->options.reserve_bytes > 0 &&
           os_free_bytes(w->disk, "/", &free_bytes, NULL) == TAPE_OK &&
           free_bytes < w->options.reserve_bytes / 2;
}

static bool interrupt(world *w, uint64_t done, uint64_t total) {
    if (done > total) {
        world_fail(w, "compaction: %" PRIu64 " of %" PRIu64 " bytes", done, total);
    }
    covered.within++;
    w->compacted_bytes = done;
    if (!w->within) {
        w->within = true;
        for (size_t steps = world_random(w, 4); steps > 0; steps--) {
            model_step_within(w);
        }
        w->within = false;
    }
    w->cancelled = (w->cancels && world_chance(w, 10)) || disk_is_low(w);
    return !w->cancelled;
}

static bool beat(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)bytes;
    return interrupt(context, done, total);
}

static bool progress(void *context, uint64_t done, uint64_t total) {
    return interrupt(context, done, total);
}

static bool compacted(world *w, tape_status status, const tape_error *error) {
    if (status == TAPE_CANCELLED && w->cancelled) {
        covered.cancelled++;
        return false;
    }
    if (!world_ok(w, status, error, "compaction")) {
        return false;
    }
    covered.compactions++;
    return true;
}

/* As the background does it: what is most wanted, if anything is. */
static void compact_wanted(world *w) {
    tape_error error = {0};
    bool worked = false;
    if (disk_is_low(w)) {
        return;
    }
    w->cancels = world_chance(w, 20);
    w->cancelled = false;
    double score = store_compaction_score(w->db->store);
    world_trace(w, "compact what is wanted (%.1f)", score);
    tape_status status = store_compact(w->db->store, (store_beat){beat, w}, &worked, &error);
    if (compacted(w, status, &error) && !worked && score >= 1) {
        world_fail(w, "a compaction was wanted (%g), and none was done", score);
    }
}

/* As the background does it in idle times. */
static void settle(world *w) {
    tape_error error = {0};
    bool worked = false;
    if (w->towering || disk_is_low(w)) {
        return;
    }
    w->cancels = world_chance(w, 20);
    w->cancelled = false;
    world_trace(w, "settle");
    tape_status status = store_settle(w->db->store, (store_beat){beat, w}, &worked, &error);
    (void)compacted(w, status, &error);
}

static void compact_range(world *w) {
    tape_error error = {0};
    tape_compact_options options;
    model_bounds b;
    if (w->towering && world_chance(w, 90)) {
        return;
    }
    w->cancels = world_chance(w, 20);
    w->cancelled = false;
    tape_compact_options_init(&options);
    if (world_chance(w, 60)) {
        options.table = (uint16_t)(1 + world_random(w, TAPE_TABLE_COUNT));
        model_random_bounds(w, options.table, &b);
        if (world_chance(w, 60)) {
            options.key = b.options.key;
            options.key_count = b.options.key_count;
            options.from = b.options.from;
            options.to = b.options.to;
            options.prefix = b.options.prefix;
        }
    }
    options.progress = world_chance(w, 80) ? progress : NULL;
    options.context = w;
    world_trace(w, "compact %s", options.table == 0 ? "all" : record_table(options.table)->name);
    uint64_t all = w->o.count;
    if (!compacted(w, tape_compact(w->db, &options, &error), &error)) {
        return;
    }
    w->durable = all > w->durable ? all : w->durable;
    store_stats s;
    store_stats_read(w->db->store, &s);
    for (size_t level = 0; options.table == 0 && all == w->o.count && level < 6; level++) {
        if (s.level_files[level] != 0) {
            world_fail(w, "%" PRIu64 " files at level %zu after a full compaction",
                       s.level_files[level], level);
        }
    }
}

static bool scrub_beat(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)bytes;
    (void)interrupt(context, done, total);
    return true;
}

static void scrub(world *w) {
    tape_error error = {0};
    bool worked = false;
    world_trace(w, "scrub");
    tape_status status = store_scrub(w->db->store, (store_beat){scrub_beat, w}, &worked, &error);
    (void)world_ok(w, status, &error, "scrub");
}

static void verify(world *w) {
    bool found = false;
    model_verify(w, &found);
}

static void visit(world *w) {
    world_trace(w, "visit");
    model_visit(w);
}

static void let_time_pass(world *w) {
    world_trace(w, "time passes");
    w->now_ns += (int64_t)world_random(w, world_chance(w, 80) ? 100000000 : 100000000000);
}

/* --- options --- */

static uint64_t between(world *w, uint64_t low, uint64_t high) {
    return low + random_next(&w->random) % (high - low + 1);
}

void model_random_options(world *w) {
    tape_open_options *o = &w->options;
    for (size_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        if (o->keep_ns[t] != 0 && w->now_ns - o->keep_ns[t] > w->gone_ns[t]) {
            w->gone_ns[t] = w->now_ns - o->keep_ns[t];
        }
    }
    tape_open_options_init(o);
    o->window_bytes = MODEL_WINDOW;
    o->memtable_bytes = between(w, KIB(4), KIB(48));
    o->table_bytes = between(w, KIB(2), KIB(24));
    o->upper_share = 0.01 * (double)between(w, 1, 100);
    if (w->towering) {
        o->upper_share = 30;
        o->memtable_bytes = between(w, KIB(4), KIB(12));
    }
    o->retain_bytes = w->trimmed && world_chance(w, 70) ? 0 : UINT64_MAX;
    static const uint64_t reserves[] = {0, KIB(256), MIB(1)};
    o->reserve_bytes = reserves[world_random(w, COUNT_OF(reserves))];
    o->mapped_files_max = world_chance(w, 60) ? 32768 : (uint32_t)between(w, 1, 6);
    if (world_chance(w, 40)) {
        o->pack_level = (int)between(w, 1, 6);
        o->pack = world_chance(w, 50) ? TAPE_PACK_LZ4 : TAPE_PACK_ZSTD;
    }
    for (size_t t = 1; w->retention && t <= TAPE_TABLE_COUNT; t++) {
        static const int64_t keeps[] = {0, 0, 1, 2000000, 50000000, 1000000000, 36000000000000};
        o->keep_ns[t] = keeps[world_random(w, COUNT_OF(keeps))];
    }
}

/* --- one step --- */

typedef struct happening {
    unsigned weight;
    bool within; /* may happen inside a compaction */
    void (*happen)(world *w);
} happening;

static const happening happenings[] = {
    {300, true, model_append},
    {40, true, append_unique},
    {10, true, append_wrong},
    {50, true, wait_durable},
    {120, true, read_now},
    {30, true, read_many},
    {50, true, view_open},
    {90, true, view_read},
    {70, true, scan_step},
    {10, true, stats},
    {40, true, let_time_pass},
    {30, true, checkpoint},
    {20, true, flush},
    {80, false, compact_wanted},
    {10, false, compact_range},
    {5, false, settle},
    {6, false, scrub},
    {3, false, verify},
    {1, false, look_at_columns},
    {3, true, visit},
    {6, false, model_reopen},
    {1, false, model_read_only},
    {4, false, model_process_crash},
    {4, false, model_power_loss},
    {8, false, model_crash_at},
    {6, false, model_io_fault},
    {4, false, model_disk_full},
    {3, false, model_flip_open},
    {3, false, model_flip_closed},
    {3, false, model_check_all},
};

/* What happens inside a fault: nothing that ends a process or sets another fault. */
static bool is_plain(const happening *h) {
    return h->within || h->happen == compact_wanted || h->happen == compact_range ||
           h->happen == settle || h->happen == scrub || h->happen == verify;
}

static void one_of(world *w, bool within, bool plain) {
    unsigned sum = 0;
    for (size_t i = 0; i < COUNT_OF(happenings); i++) {
        const happening *h = &happenings[i];
        sum += (!within || h->within) && (!plain || is_plain(h)) ? h->weight : 0;
    }
    size_t pick = world_random(w, sum);
    for (size_t i = 0; i < COUNT_OF(happenings); i++) {
        const happening *h = &happenings[i];
        size_t weight = (!within || h->within) && (!plain || is_plain(h)) ? h->weight : 0;
        if (pick < weight) {
            h->happen(w);
            return;
        }
        pick -= weight;
    }
}

void model_step_within(world *w) {
    one_of(w, true, true);
}

void world_step(world *w) {
    w->step++;
    covered.steps++;
    w->trace[w->step % MODEL_TRACE][0] = '\0';
    w->now_ns += 1 + (int64_t)world_random(w, 2000000);
    one_of(w, false, w->faulty);
}
