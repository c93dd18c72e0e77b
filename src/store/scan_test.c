#include "store/layout_testing.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static bool model_expired(const layout *l, const store_scan_options *o, const layout_record *r) {
    int64_t keep_ns = l->store->options.keep_ns[o->table->id];
    return o->table->kind == TAPE_KIND_EVENT && keep_ns > 0 &&
           r->view.append_ts <= o->moment.now_ns - keep_ns;
}

/* Whether the version is so old that those before it need not be kept. */
static bool model_outdates(const layout *l, const store_scan_options *o, const layout_record *r) {
    int64_t keep_ns = l->store->options.keep_ns[o->table->id];
    return o->table->kind == TAPE_KIND_ENTITY && keep_ns > 0 &&
           r->view.append_ts <= o->moment.now_ns - keep_ns;
}

/* What a scan shows of records up to `last`, the slow way. */
static size_t model_scan(const layout *l, const store_scan_options *o, uint64_t last,
                         const layout_record **out) {
    slice low = {o->bounds.low_bytes, o->bounds.low_size};
    slice high = {o->bounds.high_bytes, o->bounds.high_size};
    const layout_record *shown = NULL;
    size_t count = 0;
    for (size_t i = 0; i < l->count; i++) {
        const layout_record *r = l->sorted[i];
        if (r->view.table != o->table || r->view.seq > o->moment.at || r->view.seq > last ||
            slice_compare(layout_key(r), low) < 0 || slice_compare(layout_key(r), high) >= 0 ||
            model_expired(l, o, r)) {
            continue;
        }
        bool same = shown != NULL && slice_compare(layout_key(r), layout_key(shown)) == 0;
        if (!same || (o->versions && !model_outdates(l, o, shown))) {
            out[count++] = r;
        }
        shown = r;
    }
    for (size_t i = 0; o->backward && i < count / 2; i++) {
        const layout_record *r = out[i];
        out[i] = out[count - 1 - i];
        out[count - 1 - i] = r;
    }
    return count;
}

static store_scan *open_scan(layout *l, const store_scan_options *o) {
    store_scan *scan = NULL;
    tape_error error;
    if (store_scan_open(l->store, o, &scan, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return scan;
}

/* Reads rows and compares; returns how many there were. */
static size_t check_rows(store_scan *scan, const layout_record *const *want, size_t count) {
    for (size_t i = 0; i < count; i++) {
        record_view got;
        bool found = false;
        tape_error error;
        if (store_scan_next(scan, &got, &found, &error) != TAPE_OK) {
            fail_msg("%s", error.text);
        }
        assert_true(found);
        assert_int_equal(got.seq, want[i]->view.seq);
        assert_true(layout_equal(&got, &want[i]->view));
    }
    return count;
}

static void check_end(store_scan *scan) {
    for (int again = 0; again < 2; again++) {
        record_view got;
        bool found = true;
        assert_int_equal(store_scan_next(scan, &got, &found, NULL), TAPE_OK);
        assert_false(found);
    }
}

static size_t check_scan(layout *l, const store_scan_options *o, uint64_t last) {
    const layout_record **want = mem_alloc((l->count + 1) * sizeof(layout_record *));
    size_t count = model_scan(l, o, last, want);
    store_scan *scan = open_scan(l, o);
    check_rows(scan, want, count);
    check_end(scan);
    store_scan_close(&scan);
    free(want);
    return count;
}

static record_key_bounds all_keys(const tape_table_info *table) {
    record_key_bounds bounds;
    assert_int_equal(record_key_range(table, NULL, 0, NULL, NULL, NULL, &bounds, NULL), TAPE_OK);
    return bounds;
}

static store_scan_options random_wish(layout *l, uint16_t table, uint64_t last) {
    store_scan_options o = {.table = record_table(table),
                            .backward = random_below(&l->random, 2) == 0,
                            .versions = random_below(&l->random, 2) == 0};
    o.moment.at =
        random_below(&l->random, 2) == 0 ? UINT64_MAX : random_below(&l->random, last + last / 4);
    o.moment.now_ns = (int64_t)(10 * (last / 2 + random_below(&l->random, last)));
    o.bounds = all_keys(o.table);
    if (random_below(&l->random, 4) > 0) {
        o.bounds.low_size = layout_random_bound(l, o.table, o.bounds.low_bytes);
    }
    if (random_below(&l->random, 4) > 0) {
        o.bounds.high_size = layout_random_bound(l, o.table, o.bounds.high_bytes);
        o.bounds.high_size += o.bounds.high_size == 0;
    }
    return o;
}

static void scan_shows_the_rows_of_its_moment(void **state) {
    (void)state;
    size_t rows = 0;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        store_options options = {.mapped_max = seed % 4 == 0 ? 3 : 0};
        if (seed % 2 == 0) {
            options.keep_ns[TAPE_TABLE_TRADES] = 5000;
            options.keep_ns[TAPE_TABLE_TICKS] = 3000;
            options.keep_ns[TAPE_TABLE_ORDERS] = 4000;
            options.keep_ns[TAPE_TABLE_POSITIONS] = 1;
        }
        layout *l = layout_create(seed, 0, 1500, 1 + seed * seed, &options);
        uint64_t last = 1 + random_below(&l->random, 1500);
        layout_spread(l, last);
        for (int round = 0; round < 140; round++) {
            store_scan_options o = random_wish(l, (uint16_t)(1 + round % TAPE_TABLE_COUNT), last);
            rows += check_scan(l, &o, last);
        }
        layout_destroy(&l);
    }
    assert_true(rows > 30000);
}

/* So many that versions are passed over by seeks, in both directions and from every moment. */
static void scan_passes_over_any_number_of_versions(void **state) {
    (void)state;
    for (uint64_t seed = 31; seed <= 36; seed++) {
        uint16_t table = seed % 2 == 0 ? TAPE_TABLE_ORDERS : TAPE_TABLE_TRADES;
        store_options options = {0};
        options.keep_ns[TAPE_TABLE_TRADES] = 4000;
        options.keep_ns[TAPE_TABLE_ORDERS] = seed % 4 == 0 ? 3000 : 0;
        layout *l = layout_create(seed, table, 1500, seed % 3 == 0 ? 40 : 3, &options);
        layout_spread(l, 1500);
        for (uint64_t at = 0; at <= 1600; at += 1 + random_below(&l->random, 100)) {
            for (unsigned kind = 0; kind < 4; kind++) {
                store_scan_options o = {.table = record_table(table),
                                        .backward = (kind & 1) != 0,
                                        .versions = (kind & 2) != 0,
                                        .moment = {at, 10000}};
                o.bounds = all_keys(o.table);
                check_scan(l, &o, 1500);
            }
        }
        layout_destroy(&l);
    }
}

/* Everything lies elsewhere halfway through, and there is more: the scan shows what it would have,
 * and what was replaced is let go. */
static void scan_goes_on_in_the_present_version(void **state) {
    (void)state;
    enum { COUNT = 16000, LAST = 14000 };
    for (unsigned kind = 0; kind < 4; kind++) {
        store_scan_options o = {.table = record_table(TAPE_TABLE_POSITIONS),
                                .backward = (kind & 1) != 0,
                                .versions = (kind & 2) != 0,
                                .moment = {.at = UINT64_MAX}};
        layout *l = layout_create(41 + kind, TAPE_TABLE_POSITIONS, COUNT, 3000, NULL);
        const layout_record **want = mem_alloc(COUNT * sizeof(layout_record *));
        o.bounds = all_keys(o.table);
        layout_spread(l, LAST);
        size_t count = model_scan(l, &o, LAST, want);
        assert_true(count > 9000);

        store_scan *scan = open_scan(l, &o);
        store_version *first = version_pin(l->store);
        version_unpin(first);
        size_t at = check_rows(scan, want, 1000);
        layout_spread(l, COUNT);
        at += check_rows(scan, want + at, 3000);
        assert_true(!o.versions || atomic_load(&first->pins) == 1);
        at += check_rows(scan, want + at, 200);
        assert_int_equal(atomic_load(&first->pins), 0);
        for (size_t rest = count - at; rest > 0; rest = count - at) {
            at += check_rows(scan, want + at, rest < 5000 ? rest : 5000);
            layout_spread(l, COUNT);
        }
        check_end(scan);
        store_scan_close(&scan);
        free(want);
        layout_destroy(&l);
    }
}

static void scan_below_versions_that_were_let_go_is_refused(void **state) {
    (void)state;
    enum { COUNT = 12000 };
    layout *l = layout_create(51, TAPE_TABLE_ACCOUNTS, COUNT, 20000, NULL);
    store_scan_options o = {
        .table = record_table(TAPE_TABLE_ACCOUNTS), .versions = true, .moment = {.at = 9999}};
    store_scan *scan = NULL;
    tape_error error;
    record_view got;
    bool found = true;
    o.bounds = all_keys(o.table);

    l->history_seq[TAPE_TABLE_ACCOUNTS] = 10000;
    layout_spread(l, COUNT);
    assert_int_equal(store_scan_open(l->store, &o, &scan, &error), TAPE_TOO_OLD);
    assert_int_equal(error.status, TAPE_TOO_OLD);
    assert_non_null(strstr(error.text, "accounts"));
    assert_non_null(strstr(error.text, "10000"));
    assert_null(scan);

    /* At the seq itself nothing is missing; it is refused when more goes while it is read. */
    o.moment.at = 10000;
    scan = open_scan(l, &o);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(store_scan_next(scan, &got, &found, NULL), TAPE_OK);
        assert_true(found);
    }
    l->history_seq[TAPE_TABLE_ACCOUNTS] = 10001;
    layout_spread(l, COUNT);
    tape_status status = TAPE_OK;
    size_t rows = 100;
    for (; status == TAPE_OK && found; rows++) {
        status = store_scan_next(scan, &got, &found, &error);
    }
    assert_int_equal(status, TAPE_TOO_OLD);
    assert_false(found);
    assert_true(rows > 3000 && rows < 4200);
    memset(&error, 0, sizeof error);
    assert_int_equal(store_scan_next(scan, &got, &found, &error), TAPE_TOO_OLD);
    assert_non_null(strstr(error.text, "10001"));
    store_scan_close(&scan);

    /* Everything that was applied can always be had. */
    o.moment.at = UINT64_MAX;
    check_scan(l, &o, COUNT);
    layout_destroy(&l);
}

static void scan_that_meets_damage_says_so_and_is_over(void **state) {
    (void)state;
    layout *l = layout_create(61, TAPE_TABLE_ORDERS, 400, 1000, NULL);
    sstable_info info = layout_write(l, l->sorted, 400, SSTABLE_PLAIN);
    char *path = sstable_path("/store", info.number);
    assert_int_equal(os_sim_flip_bit(l->sim, path, info.size_bytes / 2, 1), TAPE_OK);
    layout_publish(l, memtable_create(0), NULL, 0, &(manifest_entry){info, 3}, 1, 400);
    for (int backward = 0; backward < 2; backward++) {
        store_scan_options o = {.table = record_table(TAPE_TABLE_ORDERS),
                                .backward = backward != 0,
                                .versions = true,
                                .moment = {.at = UINT64_MAX}};
        store_scan *scan = NULL;
        record_view got;
        bool found = true;
        size_t rows = 0;
        tape_status status = TAPE_OK;
        o.bounds = all_keys(o.table);
        scan = open_scan(l, &o);
        for (; status == TAPE_OK && found; rows++) {
            status = store_scan_next(scan, &got, &found, NULL);
        }
        assert_true(rows > 50 && rows < 350);
        assert_int_equal(status, TAPE_CORRUPT);
        tape_error error = {0};
        assert_int_equal(store_scan_next(scan, &got, &found, &error), TAPE_CORRUPT);
        assert_string_equal(error.file, path);
        assert_false(found);
        store_scan_close(&scan);
        assert_int_equal(atomic_load(&l->store->damaged_reads), backward + 1);
        /* What does not need the damaged part is still read. */
        memcpy(o.bounds.high_bytes, l->sorted[20]->key, l->sorted[20]->key_size);
        o.bounds.high_size = l->sorted[20]->key_size;
        check_scan(l, &o, 400);
    }
    free(path);
    layout_destroy(&l);
}

static void scan_opens_only_the_files_within_its_bounds(void **state) {
    (void)state;
    layout *l = layout_create(71, TAPE_TABLE_TICKS, 1000, 1, NULL);
    manifest_entry entries[10];
    for (size_t i = 0; i < 10; i++) {
        entries[i] = (manifest_entry){layout_write(l, l->sorted + 100 * i, 100, SSTABLE_PLAIN),
                                      i < 5 ? 0 : 4};
    }
    layout_publish(l, memtable_create(0), NULL, 0, entries, 10, 1000);
    for (int backward = 0; backward < 2; backward++) {
        store_scan_options o = {.table = record_table(TAPE_TABLE_TICKS),
                                .backward = backward != 0,
                                .moment = {.at = UINT64_MAX}};
        assert_int_equal(record_key_range(o.table, NULL, 0, "401", "601", NULL, &o.bounds, NULL),
                         TAPE_OK);
        assert_int_equal(check_scan(l, &o, 1000), 200);
        assert_int_equal(atomic_load(&l->store->mapped_files), 2);
        assert_int_equal(record_key_range(o.table, NULL, 0, "500", "499", NULL, &o.bounds, NULL),
                         TAPE_OK);
        assert_int_equal(check_scan(l, &o, 1000), 0);
    }
    layout_destroy(&l);
}

/* --- beside writers --- */

typedef struct race {
    layout *layout;
    _Atomic bool stop;
    _Atomic uint64_t moved; /* flushes and compactions that did something */
} race;

static void race_apply(void *argument) {
    race *r = argument;
    layout *l = r->layout;
    uint64_t random = 5;
    record_view views[64];
    while (store_applied_seq(l->store) < l->count) {
        uint64_t applied = store_applied_seq(l->store);
        size_t count = 1 + random_below(&random, COUNT_OF(views));
        count = count < l->count - applied ? count : l->count - applied;
        for (size_t i = 0; i < count; i++) {
            views[i] = l->records[applied + i].view;
        }
        tape_status status = store_apply(l->store, views, count, NULL);
        ASSERT(status == TAPE_OK || status == TAPE_BUSY);
        os_yield();
    }
    atomic_store(&r->stop, true);
}

static bool race_beat(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)context;
    (void)bytes;
    ASSERT(done <= total);
    os_yield();
    return true;
}

static void race_move(void *argument) {
    race *r = argument;
    store *s = r->layout->store;
    for (uint64_t i = 0; !atomic_load(&r->stop); i++) {
        bool worked = false;
        uint64_t flushed = store_flushed_seq(s);
        ASSERT(store_flush(s, store_applied_seq(s), i % 4 == 0, NULL) == TAPE_OK);
        ASSERT(store_compact(s, (store_beat){race_beat, NULL}, &worked, NULL) == TAPE_OK);
        atomic_fetch_add(&r->moved, worked + (store_flushed_seq(s) > flushed));
        os_yield();
    }
}

static void scan_is_right_while_records_are_applied_flushed_and_compacted(void **state) {
    (void)state;
    store_options options = {.memtable_bytes = KIB(32), .table_bytes = KIB(16), .mapped_max = 20};
    race r = {.layout = layout_create(81, 0, 12000, 200, &options)};
    layout *l = r.layout;
    os_thread *threads[2] = {NULL, NULL};
    assert_int_equal(os_thread_start(&threads[0], "apply", -1, race_apply, &r, NULL), TAPE_OK);
    assert_int_equal(os_thread_start(&threads[1], "move", -1, race_move, &r, NULL), TAPE_OK);
    size_t rows = 0;
    size_t scans = 0;
    for (; !atomic_load(&r.stop) || scans < 200; scans++) {
        uint64_t applied = store_applied_seq(l->store);
        store_scan_options o =
            random_wish(l, (uint16_t)(1 + scans % TAPE_TABLE_COUNT), 1 + applied);
        o.moment.at = o.moment.at < applied ? o.moment.at : applied;
        rows += check_scan(l, &o, applied);
    }
    os_thread_join(&threads[0]);
    os_thread_join(&threads[1]);
    print_message("%zu scans, %zu rows, %llu flushes and compactions\n", scans, rows,
                  (unsigned long long)atomic_load(&r.moved));
    assert_true(rows > 1000 && atomic_load(&r.moved) > 10);
    layout_destroy(&r.layout);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_shows_the_rows_of_its_moment),
        cmocka_unit_test(scan_passes_over_any_number_of_versions),
        cmocka_unit_test(scan_goes_on_in_the_present_version),
        cmocka_unit_test(scan_below_versions_that_were_let_go_is_refused),
        cmocka_unit_test(scan_that_meets_damage_says_so_and_is_over),
        cmocka_unit_test(scan_opens_only_the_files_within_its_bounds),
        cmocka_unit_test(scan_is_right_while_records_are_applied_flushed_and_compacted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
