#include "store/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MEMTABLE_BYTES KIB(24)

typedef struct world {
    char *parent;
    char *dir;
    model model;
    store *store;
} world;

static store_options options_of(const world *w) {
    return (store_options){.disk = os_disk_linux(),
                           .dir = w->dir,
                           .store_id = fixture_store_id,
                           .memtable_bytes = MEMTABLE_BYTES};
}

static void open_store(world *w) {
    store_options options = options_of(w);
    tape_error error;
    if (store_open(&w->store, &options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

/* What the engine does after opening: replay what the files do not hold. */
static void reopen_and_replay(world *w, uint64_t applied) {
    store_close(&w->store);
    open_store(w);
    uint64_t flushed = store_flushed_seq(w->store);
    assert_int_equal(store_applied_seq(w->store), flushed);
    assert_true(flushed <= applied);
    for (uint64_t seq = flushed + 1; seq <= applied; seq++) {
        tape_error error;
        tape_status status = model_apply(&w->model, w->store, seq, seq, &error);
        if (status == TAPE_BUSY) {
            assert_int_equal(store_flush(w->store, applied, false, NULL), TAPE_OK);
            status = model_apply(&w->model, w->store, seq, seq, &error);
        }
        assert_int_equal(status, TAPE_OK);
    }
    assert_int_equal(store_applied_seq(w->store), applied);
}

static void make_records(world *w, uint64_t count) {
    while (w->model.count < count) {
        model_add(&w->model);
    }
}

static int set_up(void **state) {
    const char *parent = getenv("TMPDIR");
    world *w = mem_zalloc(sizeof *w);
    w->parent = mem_printf("%s/tape-test-XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(w->parent));
    w->dir = mem_printf("%s/store", w->parent);
    w->model = (model){.keys = 100, .random = 42};
    open_store(w);
    *state = w;
    return 0;
}

static void remove_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)is_dir;
    (void)size;
    char *path = mem_printf("%s/%s", (const char *)context, name);
    assert_int_equal(os_remove(os_disk_linux(), path, NULL), TAPE_OK);
    free(path);
}

static int tear_down(void **state) {
    world *w = *state;
    store_close(&w->store);
    model_deinit(&w->model);
    assert_int_equal(os_dir_list(os_disk_linux(), w->dir, remove_visit, w->dir, NULL), TAPE_OK);
    assert_int_equal(os_dir_remove(os_disk_linux(), w->dir, NULL), TAPE_OK);
    assert_int_equal(os_dir_remove(os_disk_linux(), w->parent, NULL), TAPE_OK);
    free(w->dir);
    free(w->parent);
    free(w);
    return 0;
}

static void count_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)is_dir;
    (void)size;
    *(size_t *)context += strstr(name, SSTABLE_SUFFIX) != NULL || strstr(name, ".tmp") != NULL;
}

static size_t table_files(const world *w) {
    size_t count = 0;
    assert_int_equal(os_dir_list(os_disk_linux(), w->dir, count_visit, &count, NULL), TAPE_OK);
    return count;
}

static void fail_on_damage(void *context, const tape_error *finding) {
    (void)context;
    fail_msg("%s", finding->text);
}

static void assert_verifies(store *s, uint64_t files, uint64_t records) {
    uint64_t got_files = 0;
    uint64_t got_records = 0;
    assert_int_equal(store_verify(s, fail_on_damage, NULL, &got_files, &got_records, NULL),
                     TAPE_OK);
    assert_int_equal(got_files, files);
    assert_int_equal(got_records, records);
}

static void assert_agrees_everywhere(world *w, uint64_t applied) {
    for (uint32_t key = 0; key < w->model.keys; key++) {
        for (int i = 0; i < 6; i++) {
            assert_true(
                model_agrees(&w->model, w->store, key, model_random(&w->model, applied + 10)));
        }
        assert_true(model_agrees(&w->model, w->store, key, UINT64_MAX));
        assert_true(model_agrees(&w->model, w->store, key, 0));
    }
}

static void store_get_at_seq_shows_the_version_of_its_time(void **state) {
    world *w = *state;
    make_records(w, 2000);
    for (uint64_t seq = 1; seq <= 2000; seq += 50) {
        tape_error error;
        assert_int_equal(model_apply(&w->model, w->store, seq, seq + 49, &error), TAPE_OK);
        assert_int_equal(store_applied_seq(w->store), seq + 49);
        if (store_wants_flush(w->store)) {
            assert_int_equal(store_flush(w->store, seq + 49, false, &error), TAPE_OK);
            assert_false(store_wants_flush(w->store));
        }
    }
    store_stats stats;
    store_stats_read(w->store, &stats);
    assert_true(stats.table_files > 3);
    assert_agrees_everywhere(w, 2000);
    reopen_and_replay(w, 2000);
    assert_agrees_everywhere(w, 2000);
}

static void store_records_keyed_by_seq_are_found(void **state) {
    world *w = *state;
    const tape_table_info *table = record_table(TAPE_TABLE_TICKS);
    for (uint64_t seq = 1; seq <= 300; seq++) {
        tape_tick tick = {.seq = seq, .ts = 1, .last_price = (double)seq};
        record_view view = {.table = table,
                            .payload = &tick,
                            .size = sizeof tick,
                            .version = 1,
                            .seq = seq,
                            .ts = 1};
        assert_int_equal(store_apply(w->store, &view, 1, NULL), TAPE_OK);
        if (seq % 100 == 0) {
            assert_int_equal(store_flush(w->store, seq, seq < 300, NULL), TAPE_OK);
        }
    }
    for (uint64_t seq = 0; seq <= 301; seq++) {
        tape_tick tick = {.seq = seq};
        uint8_t key[RECORD_KEY_BYTES_MAX];
        size_t size = record_key(table, &tick, key);
        tape_status status =
            fixture_get(w->store, table, (slice){key, size}, UINT64_MAX, &tick, NULL, NULL);
        assert_int_equal(status, seq >= 1 && seq <= 300 ? TAPE_OK : TAPE_NOT_FOUND);
        assert_true(status != TAPE_OK || tick.last_price == (double)seq);
    }
}

/* A record of a later version is cut to what we know, one of an earlier gets defaults. */
static void store_get_brings_records_to_the_current_version(void **state) {
    world *w = *state;
    const tape_table_info *table = record_table(TAPE_TABLE_ACCOUNTS);
    struct {
        tape_account account;
        double more[4];
    } later = {.account = {.seq = 1, .user_id = "later", .margin = 5}, .more = {1, 2, 3, 4}};
    tape_account sooner = {.seq = 2, .user_id = "sooner", .balance = 7, .margin = 9};
    record_view views[] = {
        {.table = table, .payload = &later, .size = sizeof later, .version = 7, .seq = 1},
        {.table = table,
         .payload = &sooner,
         .size = offsetof(tape_account, margin),
         .version = 1,
         .seq = 2},
    };
    assert_int_equal(store_apply(w->store, views, 2, NULL), TAPE_OK);
    for (int flushed = 0; flushed < 2; flushed++) {
        tape_account got;
        uint16_t version = 0;
        uint8_t key[RECORD_KEY_BYTES_MAX];
        size_t size = record_key(table, &later, key);
        assert_int_equal(fixture_get(w->store, table, (slice){key, size}, 2, &got, &version, NULL),
                         TAPE_OK);
        assert_int_equal(version, 7);
        assert_memory_equal(&got, &later.account, sizeof got);
        size = record_key(table, &sooner, key);
        assert_int_equal(fixture_get(w->store, table, (slice){key, size}, 2, &got, &version, NULL),
                         TAPE_OK);
        assert_int_equal(version, 1);
        assert_true(got.balance == 7 && got.margin == 0);
        assert_int_equal(store_flush(w->store, 2, true, NULL), TAPE_OK);
    }
    assert_int_equal(store_flushed_seq(w->store), 2);
}

static void store_apply_is_busy_when_two_full_memtables_wait(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    make_records(w, 2000);
    tape_error error;
    uint64_t seq = 1;
    while (model_apply(&w->model, w->store, seq, seq, &error) == TAPE_OK) {
        seq++;
        assert_true(seq < 2000);
    }
    assert_int_equal(error.status, TAPE_BUSY);
    assert_int_equal(store_applied_seq(w->store), seq - 1);
    store_stats stats;
    store_stats_read(w->store, &stats);
    assert_true(stats.memtable_bytes >= 3 * MEMTABLE_BYTES);
    assert_true(stats.memtable_bytes < 4 * MEMTABLE_BYTES);
    assert_int_equal(stats.table_files, 0);
    assert_int_equal(store_flush(w->store, seq, false, &error), TAPE_OK);
    store_stats_read(w->store, &stats);
    assert_int_equal(stats.table_files, 2);
    assert_true(stats.memtable_bytes < 2 * MEMTABLE_BYTES);
    assert_int_equal(model_apply(&w->model, w->store, seq, seq, &error), TAPE_OK);
    assert_agrees_everywhere(w, seq);
}

static void store_flush_writes_nothing_beyond_the_committed_seq(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    make_records(w, 100);
    tape_error error;
    assert_int_equal(model_apply(&w->model, w->store, 1, 60, &error), TAPE_OK);
    assert_int_equal(store_flush(w->store, 0, true, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(w->store), 0);
    assert_int_equal(table_files(w), 0);
    assert_int_equal(store_flush(w->store, 60, false, &error), TAPE_OK); /* nothing is full */
    assert_int_equal(table_files(w), 0);

    assert_int_equal(store_flush(w->store, 25, true, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(w->store), 25);
    assert_int_equal(model_apply(&w->model, w->store, 61, 100, &error), TAPE_OK);
    assert_agrees_everywhere(w, 100);
    assert_int_equal(store_flush(w->store, 40, true, &error), TAPE_OK);
    assert_int_equal(store_flush(w->store, 40, true, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(w->store), 40);
    assert_int_equal(table_files(w), 2);
    assert_verifies(w->store, 3, 40);
    reopen_and_replay(w, 100);
    assert_agrees_everywhere(w, 100);
    assert_int_equal(store_flush(w->store, UINT64_MAX, true, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(w->store), 100);
    store_stats stats;
    store_stats_read(w->store, &stats);
    assert_int_equal(stats.memtable_bytes, 0);
    assert_int_equal(stats.table_entries, 100);
    assert_agrees_everywhere(w, 100);
}

/* A full memtable with uncommitted records waits; with `all` its committed part is written. */
static void store_full_memtable_waits_for_its_records_to_be_committed(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    make_records(w, 1000);
    tape_error error;
    uint64_t applied = 0;
    while (!store_wants_flush(w->store)) {
        applied++;
        assert_int_equal(model_apply(&w->model, w->store, applied, applied, &error), TAPE_OK);
    }
    uint64_t full = applied - 1; /* seqs of the memtable that waits */
    assert_int_equal(store_flush(w->store, full - 1, false, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(w->store), 0);
    assert_int_equal(store_flush(w->store, full - 1, true, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(w->store), full - 1);
    assert_true(store_wants_flush(w->store));
    assert_int_equal(store_flush(w->store, full, false, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(w->store), full);
    assert_false(store_wants_flush(w->store));
    assert_agrees_everywhere(w, applied);
    assert_verifies(w->store, 3, full);
}

static void store_agrees_with_a_model_whatever_happens(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        void *inner = NULL;
        set_up(&inner);
        world *w = inner;
        w->model.random = seed * 7919;
        w->model.keys = seed % 2 == 0 ? 20 : 700;
        uint64_t applied = 0;
        print_message("seed %llu\n", (unsigned long long)seed);
        for (int step = 0; step < 700; step++) {
            uint64_t action = model_random(&w->model, 100);
            tape_error error = {0};
            if (action < 45) {
                uint64_t count = 1 + model_random(&w->model, 40);
                make_records(w, applied + count);
                tape_status status =
                    model_apply(&w->model, w->store, applied + 1, applied + count, &error);
                assert_true(status == TAPE_OK || status == TAPE_BUSY);
                applied += status == TAPE_OK ? count : 0;
            } else if (action < 90) {
                uint32_t key = (uint32_t)model_random(&w->model, w->model.keys);
                assert_true(
                    model_agrees(&w->model, w->store, key, model_random(&w->model, applied + 3)));
            } else if (action < 96) {
                uint64_t flushed = store_flushed_seq(w->store);
                uint64_t committed = flushed + model_random(&w->model, applied - flushed + 5);
                bool all = model_random(&w->model, 3) == 0;
                assert_int_equal(store_flush(w->store, committed, all, &error), TAPE_OK);
                uint64_t reached = committed < applied ? committed : applied;
                assert_true(store_flushed_seq(w->store) >= flushed);
                assert_true(all ? store_flushed_seq(w->store) ==
                                      (reached > flushed ? reached : flushed)
                                : store_flushed_seq(w->store) <= committed);
            } else if (action < 98) {
                reopen_and_replay(w, applied);
            } else {
                assert_int_equal(store_verify(w->store, fail_on_damage, NULL, NULL, NULL, NULL),
                                 TAPE_OK);
            }
            assert_int_equal(store_applied_seq(w->store), applied);
        }
        assert_agrees_everywhere(w, applied);
        tear_down(&inner);
    }
}

typedef struct visit_count {
    const model *model;
    uint8_t *seen;
    uint64_t count;
    uint64_t stop_at;
} visit_count;

static bool visit_record(void *context, const record_view *record) {
    visit_count *v = context;
    record_view want = model_view(v->model, record->seq);
    assert_int_equal(v->seen[record->seq], 0);
    v->seen[record->seq] = 1;
    v->count++;
    assert_ptr_equal(record->table, want.table);
    assert_int_equal(record->ts, want.ts);
    assert_int_equal(record->append_ts, want.append_ts);
    assert_int_equal(record->flags, want.flags);
    assert_int_equal(record->size, want.size);
    assert_memory_equal(record->payload, want.payload, want.size);
    return v->count != v->stop_at;
}

static void store_visit_gives_each_flushed_record_once(void **state) {
    world *w = *state;
    make_records(w, 500);
    for (uint64_t seq = 1; seq <= 500; seq += 100) {
        assert_int_equal(model_apply(&w->model, w->store, seq, seq + 99, NULL), TAPE_OK);
        assert_int_equal(store_flush(w->store, seq + 79, true, NULL), TAPE_OK);
    }
    visit_count v = {.model = &w->model, .seen = mem_zalloc(501)};
    assert_int_equal(store_visit_flushed(w->store, visit_record, &v, NULL), TAPE_OK);
    assert_int_equal(v.count, 480);
    assert_int_equal(v.seen[480], 1);
    memset(v.seen, 0, 501);
    v.count = 0;
    v.stop_at = 150;
    assert_int_equal(store_visit_flushed(w->store, visit_record, &v, NULL), TAPE_OK);
    assert_int_equal(v.count, 150);
    free(v.seen);
}

static void store_with_many_small_tables_works(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    const uint64_t tables = 400;
    make_records(w, 3 * tables);
    for (uint64_t i = 0; i < tables; i++) {
        assert_int_equal(model_apply(&w->model, w->store, 3 * i + 1, 3 * i + 3, NULL), TAPE_OK);
        assert_int_equal(store_flush(w->store, UINT64_MAX, true, NULL), TAPE_OK);
    }
    assert_agrees_everywhere(w, 3 * tables);
    reopen_and_replay(w, 3 * tables);
    assert_agrees_everywhere(w, 3 * tables);
    assert_verifies(w->store, tables + 1, 3 * tables);
    store_stats stats;
    store_stats_read(w->store, &stats);
    assert_int_equal(stats.table_files, tables);
    assert_int_equal(stats.table_entries, 3 * tables);
    assert_int_equal(stats.gets, w->model.keys * 8);
    assert_true(stats.bloom_negatives > 0);
    assert_true(stats.bloom_false_positives * 100 <= stats.bloom_negatives);
}

static void put_file(const world *w, const char *name, const void *data, size_t size) {
    char *path = mem_printf("%s/%s", w->dir, name);
    assert_int_equal(os_write_small(os_disk_linux(), path, data, size, NULL), TAPE_OK);
    free(path);
}

static bool file_is_there(const world *w, const char *name) {
    char *path = mem_printf("%s/%s", w->dir, name);
    os_stat stat;
    tape_status status = os_path_stat(os_disk_linux(), path, &stat, NULL);
    free(path);
    return status == TAPE_OK;
}

static void store_orphans_stay_until_the_first_flush_and_never_lend_their_number(void **state) {
    world *w = *state;
    make_records(w, 20);
    assert_int_equal(model_apply(&w->model, w->store, 1, 10, NULL), TAPE_OK);
    assert_int_equal(store_flush(w->store, 10, true, NULL), TAPE_OK);
    put_file(w, "00000007.sst", "orphan", 6);
    put_file(w, "00000009.sst.tmp", "torn", 4);
    put_file(w, "MANIFEST.tmp", "torn", 4);
    put_file(w, "notes.txt", "mine", 4);
    reopen_and_replay(w, 20);
    assert_true(file_is_there(w, "00000007.sst"));
    assert_true(file_is_there(w, "00000009.sst.tmp"));
    assert_int_equal(store_flush(w->store, 20, true, NULL), TAPE_OK);
    assert_true(file_is_there(w, "00000001.sst"));
    assert_true(file_is_there(w, "00000010.sst"));
    assert_true(file_is_there(w, "notes.txt"));
    assert_false(file_is_there(w, "00000007.sst"));
    assert_false(file_is_there(w, "00000009.sst.tmp"));
    assert_false(file_is_there(w, "MANIFEST.tmp"));
    assert_agrees_everywhere(w, 20);
}

static void store_read_only_reads_applies_and_never_writes(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    make_records(w, 3000);
    assert_int_equal(model_apply(&w->model, w->store, 1, 50, NULL), TAPE_OK);
    assert_int_equal(store_flush(w->store, 50, true, NULL), TAPE_OK);
    put_file(w, "00000007.sst", "orphan", 6);
    store_options options = options_of(w);
    options.read_only = true;
    store *reader = NULL;
    tape_error error;
    assert_int_equal(store_open(&reader, &options, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(reader), 50);
    /* More than three memtables, though nothing may be flushed. */
    assert_int_equal(model_apply(&w->model, reader, 51, 3000, &error), TAPE_OK);
    for (uint32_t key = 0; key < w->model.keys; key++) {
        assert_true(model_agrees(&w->model, reader, key, UINT64_MAX));
    }
    assert_int_equal(store_flush(reader, 3000, true, &error), TAPE_FORBIDDEN);
    assert_true(file_is_there(w, "00000007.sst"));
    assert_verifies(reader, 2, 50);
    store_close(&reader);

    char *nowhere = mem_printf("%s/nowhere", w->parent);
    options.dir = nowhere;
    assert_int_equal(store_open(&reader, &options, &error), TAPE_OK);
    assert_int_equal(store_flushed_seq(reader), 0);
    os_stat stat;
    assert_int_equal(os_path_stat(os_disk_linux(), nowhere, &stat, NULL), TAPE_NOT_FOUND);
    store_close(&reader);
    free(nowhere);
}

static void refuse_open(world *w, const char *file, const char *word) {
    store_options options = options_of(w);
    store *s = NULL;
    tape_error error;
    assert_int_equal(store_open(&s, &options, &error), TAPE_CORRUPT);
    assert_null(s);
    assert_non_null(strstr(error.file, file));
    assert_non_null(strstr(error.text, file));
    if (strstr(error.text, word) == NULL) {
        fail_msg("\"%s\" is not in: %s", word, error.text);
    }
}

static void store_open_refuses_missing_and_foreign_files_by_name(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    make_records(w, 60);
    for (uint64_t seq = 1; seq <= 60; seq += 20) {
        assert_int_equal(model_apply(&w->model, w->store, seq, seq + 19, NULL), TAPE_OK);
        assert_int_equal(store_flush(w->store, seq + 19, true, NULL), TAPE_OK);
    }
    store_close(&w->store);
    char *second = sstable_path(w->dir, 2);
    char *third = sstable_path(w->dir, 3);
    char *saved = mem_printf("%s/saved", w->dir);
    char *table = NULL;
    size_t size = 0;
    assert_int_equal(os_read_small(os_disk_linux(), second, &table, &size, NULL), TAPE_OK);

    assert_int_equal(os_rename(os_disk_linux(), second, saved, NULL), TAPE_OK);
    refuse_open(w, "00000002.sst", "missing");
    put_file(w, "00000002.sst", table, size - 1);
    refuse_open(w, "00000002.sst", "bytes, expected");
    assert_int_equal(os_rename(os_disk_linux(), third, second, NULL), TAPE_OK);
    refuse_open(w, "00000003.sst", "missing");
    assert_int_equal(os_rename(os_disk_linux(), second, third, NULL), TAPE_OK);
    assert_int_equal(os_rename(os_disk_linux(), saved, second, NULL), TAPE_OK);

    char *manifest_path = mem_printf("%s/MANIFEST", w->dir);
    assert_int_equal(os_rename(os_disk_linux(), manifest_path, saved, NULL), TAPE_OK);
    refuse_open(w, "MANIFEST", "missing, but 3 table files are there");
    assert_int_equal(os_rename(os_disk_linux(), saved, manifest_path, NULL), TAPE_OK);
    reopen_and_replay(w, 60);
    assert_agrees_everywhere(w, 60);
    free(manifest_path);
    free(table);
    free(saved);
    free(second);
    free(third);
}

typedef struct findings {
    uint64_t count;
    tape_error first;
} findings;

static void note_finding(void *context, const tape_error *finding) {
    findings *f = context;
    if (f->count++ == 0) {
        f->first = *finding;
    }
}

static void flip(const world *w, const char *name, uint64_t offset) {
    char *path = mem_printf("%s/%s", w->dir, name);
    os_file *file = NULL;
    uint8_t byte = 0;
    size_t got = 0;
    assert_int_equal(os_file_open(os_disk_linux(), path, OS_WRITE, &file, NULL), TAPE_OK);
    assert_int_equal(os_file_read(file, offset, &byte, 1, &got, NULL), TAPE_OK);
    assert_int_equal(got, 1);
    byte ^= 1;
    assert_int_equal(os_file_write(file, offset, &byte, 1, NULL), TAPE_OK);
    os_file_close(&file);
    free(path);
}

static void store_verify_names_each_damage_and_goes_on(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    make_records(w, 60);
    for (uint64_t seq = 1; seq <= 60; seq += 20) {
        assert_int_equal(model_apply(&w->model, w->store, seq, seq + 19, NULL), TAPE_OK);
        assert_int_equal(store_flush(w->store, seq + 19, true, NULL), TAPE_OK);
    }
    assert_verifies(w->store, 4, 60);
    flip(w, "00000001.sst", 300);
    flip(w, "00000003.sst", 300);
    findings found = {0};
    tape_error error;
    uint64_t records = 0;
    assert_int_equal(store_verify(w->store, note_finding, &found, NULL, &records, &error),
                     TAPE_CORRUPT);
    assert_int_equal(found.count, 2);
    assert_non_null(strstr(found.first.file, "00000001.sst"));
    assert_int_equal(records, 20);
    flip(w, "00000001.sst", 300);
    flip(w, "00000003.sst", 300);
    flip(w, "MANIFEST", 200);
    found = (findings){0};
    assert_int_equal(store_verify(w->store, note_finding, &found, NULL, &records, &error),
                     TAPE_CORRUPT);
    assert_int_equal(found.count, 1);
    assert_non_null(strstr(found.first.file, "MANIFEST"));
    flip(w, "MANIFEST", 200);
    char *third = sstable_path(w->dir, 3);
    assert_agrees_everywhere(w, 60);
    assert_int_equal(os_remove(os_disk_linux(), third, NULL), TAPE_OK);
    free(third);
    found = (findings){0};
    assert_int_equal(store_verify(w->store, note_finding, &found, NULL, &records, &error),
                     TAPE_CORRUPT);
    assert_int_equal(found.count, 1);
    assert_non_null(strstr(found.first.text, "missing"));
    /* What is mapped goes on being read. */
    assert_agrees_everywhere(w, 60);
}

/* Rot in the last edit cannot be told from a torn one: the store falls back, says so by its flushed
 * seq, and keeps the file that the edit named. verify of a running store knows better. */
static void store_rot_in_the_last_edit_falls_back_and_removes_nothing(void **state) {
    world *w = *state;
    w->model.orders_only = true;
    make_records(w, 40);
    assert_int_equal(model_apply(&w->model, w->store, 1, 20, NULL), TAPE_OK);
    assert_int_equal(store_flush(w->store, 20, true, NULL), TAPE_OK);
    uint64_t end = w->store->manifest.end;
    assert_int_equal(model_apply(&w->model, w->store, 21, 40, NULL), TAPE_OK);
    assert_int_equal(store_flush(w->store, 40, true, NULL), TAPE_OK);
    flip(w, "MANIFEST", end + 50);
    findings found = {0};
    assert_int_equal(store_verify(w->store, note_finding, &found, NULL, NULL, NULL), TAPE_CORRUPT);
    assert_non_null(strstr(found.first.text, "expected seq 40"));
    log_set(LOG_ERROR, NULL, NULL);
    store_close(&w->store);
    open_store(w);
    assert_int_equal(store_flushed_seq(w->store), 20);
    assert_true(file_is_there(w, "00000002.sst"));
    store_close(&w->store);
    open_store(w);
    assert_true(file_is_there(w, "00000002.sst"));
    reopen_and_replay(w, 40);
    assert_agrees_everywhere(w, 40);
    assert_int_equal(store_flush(w->store, 40, true, NULL), TAPE_OK);
    assert_false(file_is_there(w, "00000002.sst"));
    assert_true(file_is_there(w, "00000003.sst"));
    log_set(LOG_INFO, NULL, NULL);
    reopen_and_replay(w, 40);
    assert_agrees_everywhere(w, 40);
    assert_verifies(w->store, 3, 40);
}

/* --- everything at once --- */

#define RACE_KEYS 500u
#define RACE_RECORDS 10000u

typedef struct race {
    store *store;
    _Atomic bool stop;
    _Atomic uint64_t reads;
    _Atomic uint64_t wrong;
    _Atomic uint64_t flushes;
} race;

/* Key k has its versions at seqs k + 1, k + 1 + RACE_KEYS, ... */
static record_view race_record(uint64_t seq, tape_order *order) {
    *order = (tape_order){.seq = seq, .ts = (int64_t)seq, .volume = (double)seq};
    (void)snprintf(order->order_id, sizeof order->order_id, "o%u",
                   (unsigned)((seq - 1) % RACE_KEYS));
    return (record_view){.table = record_table(TAPE_TABLE_ORDERS),
                         .payload = order,
                         .size = sizeof *order,
                         .version = 1,
                         .seq = seq,
                         .ts = order->ts};
}

static void race_read(void *argument) {
    race *r = argument;
    uint64_t random = 77;
    while (!atomic_load(&r->stop)) {
        uint64_t at = store_applied_seq(r->store);
        if (at < RACE_KEYS) {
            continue;
        }
        /* A version of some key, read at a seq before the next version of it. */
        uint64_t seq = 1 + fixture_random(&random) % at;
        uint64_t last = seq + fixture_random(&random) % RACE_KEYS;
        tape_order want;
        tape_order got;
        uint8_t key[RECORD_KEY_BYTES_MAX];
        record_view view = race_record(seq, &want);
        size_t size = record_key(view.table, &want, key);
        tape_status status = fixture_get(r->store, view.table, (slice){key, size},
                                         last < at ? last : at, &got, NULL, NULL);
        atomic_fetch_add(&r->wrong, status != TAPE_OK || memcmp(&got, &want, sizeof got) != 0);
        atomic_fetch_add(&r->reads, 1);
    }
}

/* The newest of a key is no older than what was applied before and no newer than what is applied
 * after: nothing of a batch shows before all of it. */
static void race_read_newest(void *argument) {
    race *r = argument;
    uint64_t random = 78;
    while (!atomic_load(&r->stop)) {
        uint64_t before = store_applied_seq(r->store);
        if (before < RACE_KEYS) {
            continue;
        }
        uint64_t least = before - fixture_random(&random) % RACE_KEYS;
        tape_order want;
        tape_order got = {0};
        uint8_t key[RECORD_KEY_BYTES_MAX];
        record_view view = race_record(least, &want);
        size_t size = record_key(view.table, &want, key);
        tape_status status =
            fixture_get(r->store, view.table, (slice){key, size}, UINT64_MAX, &got, NULL, NULL);
        uint64_t after = store_applied_seq(r->store);
        atomic_fetch_add(&r->wrong, status != TAPE_OK || got.seq < least || got.seq > after);
        atomic_fetch_add(&r->reads, 1);
    }
}

static void race_flush(void *argument) {
    race *r = argument;
    tape_error error;
    for (uint64_t i = 0; !atomic_load(&r->stop); i++) {
        uint64_t applied = store_applied_seq(r->store);
        uint64_t committed = applied - applied % 64;
        atomic_fetch_add(&r->wrong,
                         store_flush(r->store, committed, i % 16 == 0, &error) != TAPE_OK);
        atomic_fetch_add(&r->flushes, 1);
        os_yield();
    }
}

static void race_look(void *argument) {
    race *r = argument;
    while (!atomic_load(&r->stop)) {
        store_stats stats;
        store_stats_read(r->store, &stats);
        atomic_fetch_add(&r->wrong, stats.flushed_seq > store_applied_seq(r->store));
        findings found = {0};
        (void)!store_verify(r->store, note_finding, &found, NULL, NULL, NULL);
        atomic_fetch_add(&r->wrong, found.count);
        (void)store_wants_flush(r->store);
        os_sleep_ns(1000000);
    }
}

static void store_readers_are_right_while_records_are_applied_and_flushed(void **state) {
    world *w = *state;
    race r = {.store = w->store};
    os_thread *threads[4];
    void (*const runs[])(void *) = {race_read, race_read_newest, race_flush, race_look};
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(os_thread_start(&threads[i], "race", -1, runs[i], &r, NULL), TAPE_OK);
    }
    uint64_t seq = 0;
    while (seq < RACE_RECORDS || atomic_load(&r.reads) < 1000) {
        tape_order orders[16];
        record_view views[16];
        for (size_t i = 0; i < COUNT_OF(views); i++) {
            views[i] = race_record(seq + i + 1, &orders[i]);
        }
        tape_status status = store_apply(w->store, views, COUNT_OF(views), NULL);
        assert_true(status == TAPE_OK || status == TAPE_BUSY);
        if (status == TAPE_OK) {
            seq += COUNT_OF(views);
        } else {
            os_yield();
        }
    }
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        os_thread_join(&threads[i]);
    }
    print_message("%llu reads, %llu flushes\n", (unsigned long long)atomic_load(&r.reads),
                  (unsigned long long)atomic_load(&r.flushes));
    assert_int_equal(atomic_load(&r.wrong), 0);
    assert_true(store_flushed_seq(w->store) > 0);
}

/* Pins as fast as versions are replaced: a pinned one does not change, and nothing of it is freed.
 */
static void race_pin(void *argument) {
    race *r = argument;
    while (!atomic_load(&r->stop)) {
        store_version *v = version_pin(r->store);
        const memtable *active = v->active;
        const file_set *files = v->files;
        uint64_t wrong = memtable_entries(active) != 1 || v->waiting_count != 0 ||
                         files->trees[TAPE_TABLE_ORDERS].levels[0].count != 0;
        for (int i = 0; i < 20; i++) {
            cpu_pause();
        }
        wrong += v->active != active || v->files != files || memtable_max_seq(active) == 0;
        version_unpin(v);
        atomic_fetch_add(&r->wrong, wrong);
        atomic_fetch_add(&r->reads, 1);
    }
}

static void publish_fresh(store *s, uint64_t seq) {
    tape_order order;
    record_view view = race_record(seq, &order);
    uint8_t key[RECORD_KEY_BYTES_MAX];
    size_t size = record_key(view.table, &order, key);
    uint64_t hash[2];
    memtable *fresh = memtable_create(MIB(1));
    record_key_hash((slice){key, size}, hash);
    assert_true(memtable_insert(fresh, (slice){key, size}, hash, &view));
    pthread_mutex_lock(&s->lock);
    file_set *files = version_current(s)->files;
    files->references++;
    version_publish(s, fresh, NULL, 0, files);
    pthread_mutex_unlock(&s->lock);
}

static void store_pinned_version_never_changes(void **state) {
    world *w = *state;
    race r = {.store = w->store};
    os_thread *threads[2];
    publish_fresh(w->store, 1);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(os_thread_start(&threads[i], "pin", -1, race_pin, &r, NULL), TAPE_OK);
    }
    for (uint64_t seq = 2; seq < 4000 || atomic_load(&r.reads) < 4000; seq++) {
        publish_fresh(w->store, seq);
    }
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(atomic_load(&r.wrong), 0);
    size_t versions = 0;
    for (store_version *v = w->store->spare; v != NULL; v = v->next) {
        versions++;
    }
    assert_true(versions < 8); /* they are used again, not piled up */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(store_get_at_seq_shows_the_version_of_its_time),
        TEST(store_records_keyed_by_seq_are_found),
        TEST(store_get_brings_records_to_the_current_version),
        TEST(store_apply_is_busy_when_two_full_memtables_wait),
        TEST(store_flush_writes_nothing_beyond_the_committed_seq),
        TEST(store_full_memtable_waits_for_its_records_to_be_committed),
        cmocka_unit_test(store_agrees_with_a_model_whatever_happens),
        TEST(store_visit_gives_each_flushed_record_once),
        TEST(store_with_many_small_tables_works),
        TEST(store_orphans_stay_until_the_first_flush_and_never_lend_their_number),
        TEST(store_read_only_reads_applies_and_never_writes),
        TEST(store_open_refuses_missing_and_foreign_files_by_name),
        TEST(store_verify_names_each_damage_and_goes_on),
        TEST(store_rot_in_the_last_edit_falls_back_and_removes_nothing),
        TEST(store_pinned_version_never_changes),
        TEST(store_readers_are_right_while_records_are_applied_and_flushed),
    };
    log_set(LOG_WARN, NULL, NULL);
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
