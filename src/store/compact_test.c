#include "store/store_fixture.h"

#include "os/os_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NO_BEAT ((store_beat){0})
#define LAST (STORE_LEVELS - 1)

typedef struct world {
    os_sim *sim;
    os_disk *disk;
    model model;
    store *store;
    store_options options;
    uint64_t applied;
} world;

static void open_store(world *w) {
    tape_error error;
    if (store_open(&w->store, &w->options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static int set_up(void **state) {
    world *w = mem_zalloc(sizeof *w);
    w->sim = os_sim_create(1);
    w->disk = os_sim_process_start(w->sim);
    w->model = (model){.keys = 200, .random = 42};
    w->options = (store_options){.disk = w->disk,
                                 .dir = "store",
                                 .store_id = fixture_store_id,
                                 .memtable_bytes = KIB(24),
                                 .table_bytes = KIB(16)};
    open_store(w);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    store_close(&w->store);
    model_deinit(&w->model);
    os_sim_destroy(&w->sim);
    free(w);
    return 0;
}

/* Applies `count` records, and what is full goes to disk. */
static void apply(world *w, uint64_t count) {
    tape_error error;
    for (uint64_t i = 0; i < count; i++) {
        model_add(&w->model);
        w->applied++;
        tape_status status = model_apply(&w->model, w->store, w->applied, w->applied, &error);
        assert_int_equal(status, TAPE_OK);
        if (store_wants_flush(w->store)) {
            assert_int_equal(store_flush(w->store, w->applied, false, &error), TAPE_OK);
        }
    }
}

static void flush(world *w) {
    tape_error error;
    assert_int_equal(store_flush(w->store, w->applied, true, &error), TAPE_OK);
}

static bool compact(world *w) {
    tape_error error;
    bool worked = false;
    if (store_compact(w->store, NO_BEAT, &worked, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return worked;
}

static void compact_all(world *w, uint16_t table) {
    tape_error error;
    if (store_compact_range(w->store, table, NULL, NO_BEAT, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void reopen(world *w) {
    store_close(&w->store);
    open_store(w);
    tape_error error;
    uint64_t flushed = store_flushed_seq(w->store);
    if (flushed < w->applied) {
        assert_int_equal(model_apply(&w->model, w->store, flushed + 1, w->applied, &error),
                         TAPE_OK);
    }
}

static void fail_on_damage(void *context, const tape_error *finding) {
    (void)context;
    fail_msg("%s", finding->text);
}

static void count_table(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)is_dir;
    (void)size;
    *(uint64_t *)context += strstr(name, ".sst") != NULL;
}

/* Model and store agree, the levels are in order, nothing is left over on disk. */
static void assert_sound(world *w) {
    for (uint32_t key = 0; key < w->model.keys; key++) {
        assert_true(model_agrees(&w->model, w->store, key, UINT64_MAX));
        assert_true(
            model_agrees(&w->model, w->store, key, model_random(&w->model, w->applied + 2)));
    }
    assert_int_equal(store_verify(w->store, fail_on_damage, NULL, NULL, NULL, NULL), TAPE_OK);
    assert_true(manifest_levels_sound(&w->store->manifest, NULL, NULL));
    uint64_t on_disk = 0;
    store_stats stats;
    store_stats_read(w->store, &stats);
    assert_int_equal(os_dir_list(w->disk, "store", count_table, &on_disk, NULL), TAPE_OK);
    assert_int_equal(on_disk, stats.table_files);
}

static store_stats stats_of(world *w) {
    store_stats stats;
    store_stats_read(w->store, &stats);
    return stats;
}

/* --- */

static void compaction_keeps_every_version(void **state) {
    world *w = *state;
    for (int round = 0; round < 30; round++) {
        apply(w, 400);
        while (compact(w)) {
        }
        assert_true(stats_of(w).level_files[0] < 4 * 4);
        assert_true(store_compaction_score(w->store) < 1);
    }
    store_stats stats = stats_of(w);
    assert_true(stats.level_files[6] > 4);
    assert_true(stats.compact_written_bytes > 0 && stats.compactions > 0);
    assert_int_equal(stats.dropped_records, 0);
    assert_sound(w);
    flush(w);
    compact_all(w, 0);
    stats = stats_of(w);
    assert_int_equal(stats.level_files[6], stats.table_files);
    assert_int_equal(stats.table_entries, w->applied);
    assert_true(stats.space_amplification == 1);
    assert_sound(w);
    reopen(w);
    assert_sound(w);
}

static void compaction_of_ordered_keys_only_moves_files(void **state) {
    world *w = *state;
    const tape_table_info *table = record_table(TAPE_TABLE_TICKS);
    for (uint64_t seq = 1; seq <= 6000; seq++) {
        tape_tick tick = {.seq = seq, .ts = 1, .last_price = (double)seq};
        record_view view = {.table = table,
                            .payload = &tick,
                            .size = sizeof tick,
                            .version = 1,
                            .seq = seq,
                            .append_ts = (int64_t)seq,
                            .ts = 1};
        assert_int_equal(store_apply(w->store, &view, 1, NULL), TAPE_OK);
        if (store_wants_flush(w->store)) {
            assert_int_equal(store_flush(w->store, seq, false, NULL), TAPE_OK);
            while (compact(w)) {
            }
        }
    }
    store_stats stats = stats_of(w);
    assert_int_equal(stats.compact_written_bytes, 0);
    assert_true(stats.compact_moves > 8);
    assert_true(stats.level_files[0] < 4);
    for (uint64_t seq = 1; seq <= 6000; seq += 7) {
        tape_tick tick = {.seq = seq};
        uint8_t key[RECORD_KEY_BYTES_MAX];
        slice encoded = {key, record_key(table, &tick, key)};
        assert_int_equal(fixture_get(w->store, table, encoded, UINT64_MAX, &tick, NULL, NULL),
                         TAPE_OK);
        assert_true(tick.last_price == (double)seq);
    }
}

/* Every tick a flush of its own: without overlap nothing would ever be merged. */
static void small_files_side_by_side_become_few(void **state) {
    world *w = *state;
    w->options.table_bytes = MIB(1);
    reopen(w);
    const tape_table_info *table = record_table(TAPE_TABLE_TICKS);
    for (uint64_t seq = 1; seq <= 300; seq++) {
        tape_tick tick = {.seq = seq, .ts = 1, .last_price = (double)seq};
        record_view view = {.table = table,
                            .payload = &tick,
                            .size = sizeof tick,
                            .version = 1,
                            .seq = seq,
                            .append_ts = (int64_t)seq,
                            .ts = 1};
        assert_int_equal(store_apply(w->store, &view, 1, NULL), TAPE_OK);
        assert_int_equal(store_flush(w->store, seq, true, NULL), TAPE_OK);
        while (compact(w)) {
        }
    }
    store_stats stats = stats_of(w);
    assert_true(stats.table_files < 16);
    assert_true(stats.compact_written_bytes < 12 * stats.flush_written_bytes);
    compact_all(w, 0);
    assert_true(stats_of(w).table_files < 8);
    assert_int_equal(stats_of(w).table_entries, 300);
    assert_int_equal(store_verify(w->store, fail_on_damage, NULL, NULL, NULL, NULL), TAPE_OK);
}

static void settling_brings_everything_down(void **state) {
    world *w = *state;
    apply(w, 60);
    flush(w);
    bool worked = true;
    assert_false(compact(w));
    while (worked) {
        assert_int_equal(store_settle(w->store, NO_BEAT, &worked, NULL), TAPE_OK);
    }
    store_stats stats = stats_of(w);
    assert_int_equal(stats.level_files[6], stats.table_files);
    assert_sound(w);
}

/* Stops after a number of beats. */
typedef struct beat_count {
    uint64_t left;
    uint64_t beats;
    uint64_t done;
    uint64_t total;
} beat_count;

static bool count_beat(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    beat_count *b = context;
    assert_true(bytes > 0 && done >= b->done && done <= total);
    b->beats++;
    b->done = done;
    b->total = total;
    return b->left-- > 0;
}

static bool count_shared_beat(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)bytes;
    beat_count *b = context;
    assert_true(done <= total);
    return b->left-- > 0;
}

static void compaction_stopped_at_any_beat_keeps_what_it_did(void **state) {
    world *w = *state;
    w->options.table_bytes = KIB(128);
    reopen(w);
    w->model.orders_only = true;
    w->model.keys = 4000;
    apply(w, 6000);
    flush(w);
    compact_all(w, 0);
    apply(w, 4000);
    flush(w);
    for (uint64_t left = 0;; left++) {
        beat_count count = {.left = left};
        store_beat beat = {count_beat, &count};
        tape_error error;
        tape_status status = store_compact_range(w->store, 0, NULL, beat, &error);
        assert_sound(w);
        if (status == TAPE_OK) {
            assert_true(count.beats > 2);
            break;
        }
        assert_int_equal(status, TAPE_CANCELLED);
        assert_int_equal(count.beats, left + 1);
    }
    assert_int_equal(stats_of(w).table_entries, w->applied);
}

/* While a compaction goes on step by step, its steps are visible on disk: what they need beyond
 * the files themselves is small. */
typedef struct room {
    store *store;
    uint64_t most;
} room;

static bool note_room(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)bytes;
    (void)done;
    (void)total;
    room *r = context;
    store_stats stats;
    store_stats_read(r->store, &stats);
    r->most = stats.table_bytes > r->most ? stats.table_bytes : r->most;
    return true;
}

static void compaction_needs_little_room(void **state) {
    world *w = *state;
    w->options.table_bytes = KIB(512);
    w->options.memtable_bytes = MIB(1);
    reopen(w);
    w->model.orders_only = true;
    w->model.keys = 400000;
    apply(w, 40000);
    flush(w);
    compact_all(w, 0);
    uint64_t last = stats_of(w).table_bytes;
    apply(w, 8000);
    flush(w);
    uint64_t both = stats_of(w).table_bytes;
    room r = {.store = w->store};
    assert_int_equal(store_compact_range(w->store, 0, NULL, (store_beat){note_room, &r}, NULL),
                     TAPE_OK);
    assert_true(r.most > last);
    assert_true(r.most <= both + (both - last) + 4 * KIB(512));
    assert_true(stats_of(w).table_bytes <= both + KIB(16));
}

/* Several threads at one group: the same records, each once, whatever the order of their edits. */
static void compaction_may_be_shared_by_threads(void **state) {
    world *w = *state;
    w->options.compact_threads = 3;
    w->options.memtable_bytes = KIB(256);
    w->model.orders_only = true;
    w->model.keys = 4000;
    reopen(w);
    for (int round = 0; round < 6; round++) {
        apply(w, 3000);
        flush(w);
        compact_all(w, 0);
        store_stats stats = stats_of(w);
        assert_int_equal(stats.level_files[6], stats.table_files);
        assert_int_equal(stats.table_entries, w->applied);
        assert_true(round < 2 || stats.table_files > 12);
        assert_sound(w);
    }
    for (uint64_t left = 0; left < 12; left++) {
        apply(w, 500);
        flush(w);
        beat_count count = {.left = left};
        tape_status status =
            store_compact_range(w->store, 0, NULL, (store_beat){count_shared_beat, &count}, NULL);
        assert_true(status == TAPE_OK || status == TAPE_CANCELLED);
        assert_sound(w);
    }
    reopen(w);
    assert_sound(w);
}

static void compaction_of_a_range_leaves_other_keys_where_they_are(void **state) {
    world *w = *state;
    apply(w, 3000);
    flush(w);
    const char *part = "user-1";
    record_key_bounds bounds;
    const tape_table_info *accounts = record_table(TAPE_TABLE_ACCOUNTS);
    assert_int_equal(record_key_range(accounts, NULL, 0, part, "user-3", NULL, &bounds, NULL),
                     TAPE_OK);
    assert_int_equal(store_compact_range(w->store, TAPE_TABLE_ACCOUNTS, &bounds, NO_BEAT, NULL),
                     TAPE_OK);
    store_version *v = version_pin(w->store);
    assert_true(v->files->trees[TAPE_TABLE_ACCOUNTS].levels[6].count > 0);
    assert_int_equal(v->files->trees[TAPE_TABLE_ORDERS].levels[6].count, 0);
    version_unpin(v);
    assert_sound(w);
    /* Now everything is in the last level, and a range touches only its own files. */
    compact_all(w, 0);
    uint64_t before = stats_of(w).compact_written_bytes;
    assert_int_equal(store_compact_range(w->store, TAPE_TABLE_ACCOUNTS, &bounds, NO_BEAT, NULL),
                     TAPE_OK);
    assert_int_equal(stats_of(w).compact_written_bytes, before);
    assert_sound(w);
}

static void packed_levels_are_read_like_others(void **state) {
    world *w = *state;
    for (uint16_t codec = SSTABLE_LZ4; codec <= SSTABLE_ZSTD; codec++) {
        w->options.pack_level = 6;
        w->options.pack_codec = codec;
        reopen(w);
        apply(w, 3000);
        flush(w);
        uint64_t before = stats_of(w).table_bytes;
        compact_all(w, 0);
        store_stats stats = stats_of(w);
        assert_true(stats.table_bytes < before / 2);
        store_version *v = version_pin(w->store);
        const table_level *level = &v->files->trees[TAPE_TABLE_ORDERS].levels[6];
        for (size_t i = 0; i < level->count; i++) {
            assert_int_equal(level->files[i]->info.codec, codec);
        }
        version_unpin(v);
        assert_sound(w);
    }
    w->options.pack_level = 0;
    reopen(w);
    assert_sound(w);
    compact_all(w, 0);
    assert_sound(w);
}

/* --- dropping --- */

static void old_versions_go_and_the_newest_stays(void **state) {
    world *w = *state;
    for (uint16_t t = 1; t < STORE_TABLES; t++) {
        w->options.keep_ns[t] = record_table(t)->kind == TAPE_KIND_ENTITY ? 1 : 0;
    }
    reopen(w);
    apply(w, 5000);
    flush(w);
    compact_all(w, 0);
    assert_true(stats_of(w).dropped_records > 2000);
    uint64_t too_old = 0;
    for (uint32_t key = 0; key < w->model.keys; key++) {
        assert_true(model_agrees(&w->model, w->store, key, UINT64_MAX));
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        uint8_t out[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8)));
        size_t size = 0;
        const tape_table_info *table = model_key(key, bytes, &size);
        tape_error error;
        tape_status status =
            fixture_get(w->store, table, (slice){bytes, size}, 100, out, NULL, &error);
        assert_int_equal(status == TAPE_TOO_OLD, table->kind == TAPE_KIND_ENTITY);
        too_old += status == TAPE_TOO_OLD;
    }
    assert_true(too_old > 0);
    store_pin *pin = NULL;
    tape_error error;
    assert_int_equal(store_pin_open(w->store, 100, &pin, &error), TAPE_TOO_OLD);
    assert_non_null(strstr(error.text, "seq 100"));
    reopen(w);
    assert_int_equal(store_pin_open(w->store, 100, &pin, &error), TAPE_TOO_OLD);
    assert_int_equal(store_pin_open(w->store, UINT64_MAX, &pin, &error), TAPE_OK);
    store_pin_close(&pin);
}

/* What one compaction dropped is not forgotten when a later one drops less. */
static void history_never_falls(void **state) {
    world *w = *state;
    const uint16_t t = TAPE_TABLE_ORDERS;
    w->options.keep_ns[t] = 1;
    w->model.orders_only = true;
    reopen(w);
    apply(w, 3000);
    flush(w);
    compact_all(w, 0);
    store_version *v = version_pin(w->store);
    uint64_t before = v->files->trees[t].history_seq;
    version_unpin(v);
    assert_true(before > 0);
    pthread_mutex_lock(&w->store->lock);
    manifest_change lower = {.history_table = t, .history_seq = before - 1};
    file_set *set = file_set_apply(version_current(w->store)->files, &lower);
    assert_int_equal(set->trees[t].history_seq, before);
    file_set_release(w->store, set);
    pthread_mutex_unlock(&w->store->lock);
}

static bool stop_after(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    unsigned *beats = context;
    (void)bytes;
    (void)done;
    (void)total;
    return (*beats)-- > 0;
}

/* In a level, too: of two files with versions of one key the first is the newer one. */
static void stopped_compaction_leaves_no_older_version_above_a_newer_one(void **state) {
    world *w = *state;
    w->model.keys = 12; /* three keys: the versions of each fill many files */
    w->model.orders_only = true;
    w->options.upper_share = 50;
    reopen(w);
    apply(w, 3000);
    flush(w);
    compact_all(w, 0);
    for (int i = 0; i < 4; i++) {
        apply(w, 500);
        flush(w);
    }
    while (compact(w)) {
    }
    store_stats stats = stats_of(w);
    assert_true(stats.level_files[LAST - 1] >= 3 && stats.level_files[LAST] >= 3);
    tape_status status = TAPE_CANCELLED;
    unsigned stops = 0;
    for (; status == TAPE_CANCELLED; stops++) {
        unsigned beats = 4 + stops; /* what is given up is begun again: one must get through */
        status = store_compact_range(w->store, 0, NULL, (store_beat){stop_after, &beats}, NULL);
        for (uint32_t key = 0; key < w->model.keys; key += 4) {
            for (uint64_t at = w->applied; at > 100; at -= 100) {
                assert_true(model_agrees(&w->model, w->store, key, at));
            }
        }
    }
    assert_int_equal(status, TAPE_OK);
    assert_true(stops > 3);
}

/* Who compares the store with the journal must not take them for lost, whatever keep_ns says by
 * then. */
static void what_was_dropped_of_events_is_known_when_more_is_kept(void **state) {
    world *w = *state;
    uint16_t t = TAPE_TABLE_TRADES;
    w->options.keep_ns[t] = 1;
    reopen(w);
    apply(w, 2000);
    flush(w);
    compact_all(w, 0);
    assert_true(stats_of(w).dropped_records > 400);
    w->options.keep_ns[t] = 0;
    reopen(w);
    apply(w, 50);
    flush(w);
    for (uint64_t seq = 1; seq <= w->applied; seq++) {
        record_view view = model_view(&w->model, seq);
        uint8_t key[RECORD_KEY_BYTES_MAX];
        uint8_t got[TAPE_RECORD_BYTES_MAX];
        size_t size = record_key(view.table, view.payload, key);
        if (view.table->id == t) {
            assert_int_equal(store_may_lack(w->store, &view), seq <= 2000);
            tape_status status =
                fixture_get(w->store, view.table, (slice){key, size}, seq, got, NULL, NULL);
            assert_int_equal(status, seq <= 2000 ? TAPE_NOT_FOUND : TAPE_OK);
        }
    }
}

static void a_pin_keeps_what_it_shows(void **state) {
    world *w = *state;
    for (uint16_t t = 1; t < STORE_TABLES; t++) {
        w->options.keep_ns[t] = record_table(t)->kind == TAPE_KIND_ENTITY ? 1 : 0;
    }
    reopen(w);
    apply(w, 60);
    store_pin *pin = NULL;
    assert_int_equal(store_pin_open(w->store, 40, &pin, NULL), TAPE_OK);
    apply(w, 5000);
    flush(w);
    compact_all(w, 0);
    for (uint32_t key = 0; key < w->model.keys; key++) {
        assert_true(model_agrees(&w->model, w->store, key, 40));
    }
    uint64_t kept = stats_of(w).table_entries;
    store_pin_close(&pin);
    compact_all(w, 0);
    assert_true(stats_of(w).table_entries < kept);
    for (uint32_t key = 0; key < w->model.keys; key++) {
        assert_true(model_agrees(&w->model, w->store, key, UINT64_MAX));
    }
}

static void expired_events_are_not_seen_and_their_files_go(void **state) {
    world *w = *state;
    w->options.keep_ns[TAPE_TABLE_TRADES] = 1000;
    reopen(w);
    apply(w, 3000); /* append times are 3 * seq: they expired long ago */
    for (uint32_t key = 0; key < w->model.keys; key++) {
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        uint8_t out[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8)));
        size_t size = 0;
        const tape_table_info *table = model_key(key, bytes, &size);
        const model_record *want = model_get(&w->model, key, UINT64_MAX);
        if (table->id != TAPE_TABLE_TRADES || want == NULL) {
            continue;
        }
        assert_int_equal(
            fixture_get(w->store, table, (slice){bytes, size}, UINT64_MAX, out, NULL, NULL),
            TAPE_NOT_FOUND);
        /* Seen from the time before it expired, it is there, unless it went already. */
        store_moment then = {UINT64_MAX, (int64_t)w->applied * 3};
        bool due = load_u64(want->payload) > store_flushed_seq(w->store) &&
                   load_u64(want->payload) * 3 > w->applied * 3 - 1000;
        if (due) {
            assert_int_equal(
                store_get(w->store, &then, table, (slice){bytes, size}, out, NULL, NULL), TAPE_OK);
        }
    }
    flush(w);
    store_version *v = version_pin(w->store);
    size_t files = v->files->trees[TAPE_TABLE_TRADES].levels[0].count;
    version_unpin(v);
    assert_int_equal(files, 0);
    assert_true(stats_of(w).dropped_records > 500);
}

/* --- damage --- */

static void a_damaged_input_stops_its_table_only(void **state) {
    world *w = *state;
    apply(w, 3000);
    flush(w);
    store_version *v = version_pin(w->store);
    char *path =
        sstable_path("store", v->files->trees[TAPE_TABLE_ORDERS].levels[0].files[0]->info.number);
    version_unpin(v);
    reopen(w); /* nothing has been looked at */
    assert_int_equal(os_sim_flip_bit(w->sim, path, 700, 1), TAPE_OK);
    log_set(LOG_ERROR, NULL, NULL);
    tape_error error;
    assert_int_equal(store_compact_range(w->store, TAPE_TABLE_ORDERS, NULL, NO_BEAT, &error),
                     TAPE_CORRUPT);
    assert_non_null(strstr(error.text, path));
    bool worked = true;
    while (worked) {
        assert_int_equal(store_compact(w->store, NO_BEAT, &worked, &error), TAPE_OK);
    }
    compact_all(w, TAPE_TABLE_ACCOUNTS);
    uint64_t refused = 0;
    for (uint32_t key = 0; key < w->model.keys; key++) {
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        uint8_t out[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8)));
        size_t size = 0;
        const tape_table_info *table = model_key(key, bytes, &size);
        tape_status status =
            fixture_get(w->store, table, (slice){bytes, size}, UINT64_MAX, out, NULL, &error);
        refused += status == TAPE_CORRUPT;
        assert_true(status == TAPE_CORRUPT || model_agrees(&w->model, w->store, key, UINT64_MAX));
    }
    assert_true(stats_of(w).damaged_reads >= refused);
    /* The scrubber finds it, too. */
    tape_status status = TAPE_OK;
    for (int i = 0; i < 100 && status == TAPE_OK; i++) {
        status = store_scrub(w->store, NO_BEAT, &worked, &error);
    }
    assert_int_equal(status, TAPE_CORRUPT);
    assert_int_equal(stats_of(w).scrub_findings, 1);
    log_set(LOG_WARN, NULL, NULL);
    free(path);
}

static void scrub_reads_every_file_in_turn(void **state) {
    world *w = *state;
    apply(w, 3000);
    flush(w);
    store_stats stats = stats_of(w);
    bool worked = false;
    for (uint64_t i = 0; i < 2 * stats.table_files; i++) {
        assert_int_equal(store_scrub(w->store, NO_BEAT, &worked, NULL), TAPE_OK);
        assert_true(worked);
    }
    store_stats after = stats_of(w);
    assert_int_equal(after.scrubbed_files, 2 * stats.table_files);
    assert_int_equal(after.scrubbed_bytes, 2 * stats.table_bytes);
    assert_int_equal(after.scrub_findings, 0);
}

/* --- a mapping for each use --- */

static void a_store_that_may_map_little_reads_all_the_same(void **state) {
    world *w = *state;
    w->options.mapped_max = 2;
    reopen(w);
    apply(w, 4000);
    flush(w);
    compact_all(w, 0);
    apply(w, 500);
    flush(w);
    assert_sound(w);
    assert_true(stats_of(w).mapped_files <= 2);
    assert_true(stats_of(w).table_files > 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(compaction_keeps_every_version),
        TEST(compaction_of_ordered_keys_only_moves_files),
        TEST(small_files_side_by_side_become_few),
        TEST(settling_brings_everything_down),
        TEST(compaction_stopped_at_any_beat_keeps_what_it_did),
        TEST(compaction_needs_little_room),
        TEST(compaction_may_be_shared_by_threads),
        TEST(compaction_of_a_range_leaves_other_keys_where_they_are),
        TEST(packed_levels_are_read_like_others),
        TEST(old_versions_go_and_the_newest_stays),
        TEST(history_never_falls),
        TEST(stopped_compaction_leaves_no_older_version_above_a_newer_one),
        TEST(what_was_dropped_of_events_is_known_when_more_is_kept),
        TEST(a_pin_keeps_what_it_shows),
        TEST(expired_events_are_not_seen_and_their_files_go),
        TEST(a_damaged_input_stops_its_table_only),
        TEST(scrub_reads_every_file_in_turn),
        TEST(a_store_that_may_map_little_reads_all_the_same),
    };
    log_set(LOG_WARN, NULL, NULL);
    return cmocka_run_group_tests_name("compact", tests, NULL, NULL);
}
