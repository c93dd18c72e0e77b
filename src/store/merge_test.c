#include "store/layout_testing.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The records of one table in the order of a merge, and a merge over all places where they lie. */
typedef struct world {
    layout *layout;
    const tape_table_info *table;
    layout_record **records;
    size_t count;
    store_version *version;
    merge *merge;
} world;

static void add_everything(world *w) {
    const table_tree *tree = &w->version->files->trees[w->table->id];
    merge_add_memtable(w->merge, w->version->active);
    for (size_t i = w->version->waiting_count; i > 0; i--) {
        merge_add_memtable(w->merge, w->version->waiting[i - 1]);
    }
    for (size_t i = tree->levels[0].count; i > 0; i--) {
        merge_add_files(w->merge, &tree->levels[0].files[i - 1], 1);
    }
    for (size_t level = 1; level < STORE_LEVELS; level++) {
        merge_add_files(w->merge, tree->levels[level].files, tree->levels[level].count);
    }
}

static void open_world(world *w, layout *l, uint16_t table) {
    *w = (world){.layout = l, .table = record_table(table)};
    w->records = mem_alloc((l->count + 1) * sizeof(layout_record *));
    for (size_t i = 0; i < l->count; i++) {
        if (l->sorted[i]->view.table == w->table && l->sorted[i]->places != 0) {
            w->records[w->count++] = l->sorted[i];
        }
    }
    w->version = version_pin(l->store);
    w->merge = merge_create(l->store, w->table);
    add_everything(w);
}

static void close_world(world *w) {
    merge_destroy(&w->merge);
    version_unpin(w->version);
    free(w->records);
}

static void check_record(const world *w, size_t at, bool found, const record_view *got) {
    if (at >= w->count) { /* also below the first */
        assert_false(found);
        return;
    }
    assert_true(found);
    assert_int_equal(got->seq, w->records[at]->view.seq);
    assert_true(layout_equal(got, &w->records[at]->view));
}

/* The index of what a seek finds; SIZE_MAX below the first. */
static size_t place_of(const world *w, slice key, uint64_t seq, bool backward) {
    size_t at = 0;
    while (
        at < w->count && !layout_before(key, seq, w->records[at]) &&
        !(slice_compare(key, layout_key(w->records[at])) == 0 && seq == w->records[at]->view.seq)) {
        at++;
    }
    return backward ? at - 1 : at;
}

static void merge_gives_every_record_once_in_order(void **state) {
    (void)state;
    size_t given = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        layout *l = layout_create(seed, 0, 1200, 1 + seed * 9, NULL);
        layout_spread(l, 1 + random_below(&l->random, 1200));
        for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
            world w;
            open_world(&w, l, table);
            for (int backward = 0; backward < 2; backward++) {
                uint8_t beyond = (uint8_t)(table + 1);
                record_view got;
                bool found = false;
                assert_int_equal(merge_seek(w.merge, backward ? (slice){&beyond, 1} : (slice){0},
                                            UINT64_MAX, backward, &got, &found, NULL),
                                 TAPE_OK);
                for (size_t i = 0; i < w.count; i++) {
                    check_record(&w, backward ? w.count - 1 - i : i, found, &got);
                    assert_int_equal(merge_next(w.merge, &got, &found, NULL), TAPE_OK);
                }
                assert_false(found);
                assert_int_equal(merge_next(w.merge, &got, &found, NULL), TAPE_OK);
                assert_false(found);
                given += w.count;
            }
            close_world(&w);
        }
        layout_destroy(&l);
    }
    assert_true(given > 10000);
}

static void merge_seek_finds_the_neighbour_of_any_place(void **state) {
    (void)state;
    for (uint64_t seed = 21; seed <= 24; seed++) {
        layout *l = layout_create(seed, 0, 1200, 60, NULL);
        layout_spread(l, 1200);
        for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
            world w;
            open_world(&w, l, table);
            bool backward = false;
            for (int round = 0; round < 300; round++) {
                uint8_t bytes[RECORD_KEY_BYTES_MAX];
                slice key = {bytes, layout_random_bound(l, w.table, bytes)};
                static const uint64_t ends[] = {0, 1, UINT64_MAX};
                uint64_t seq = random_below(&l->random, 3) == 0 ? ends[random_below(&l->random, 3)]
                                                                : random_below(&l->random, 1300);
                /* Mostly the way it goes: then sources that are there already stay. */
                backward = random_below(&l->random, 5) == 0 ? !backward : backward;
                record_view got;
                bool found = false;
                assert_int_equal(merge_seek(w.merge, key, seq, backward, &got, &found, NULL),
                                 TAPE_OK);
                size_t at = place_of(&w, key, seq, backward);
                check_record(&w, at, found, &got);
                for (size_t i = random_below(&l->random, 20); i > 0 && at < w.count; i--) {
                    at = backward ? at - 1 : at + 1;
                    assert_int_equal(merge_next(w.merge, &got, &found, NULL), TAPE_OK);
                    check_record(&w, at, found, &got);
                }
            }
            close_world(&w);
        }
        layout_destroy(&l);
    }
}

/* Keys of one width whose beginnings change again and again, in sources that take turns. */
static void merge_orders_keys_whatever_they_share(void **state) {
    (void)state;
    enum { COUNT = 4000, SOURCES = 7 };
    const tape_table_info *table = record_table(TAPE_TABLE_ORDERS);
    layout *l = layout_create(31, 0, 0, 1, NULL);
    for (int round = 0; round < 8; round++) {
        memtable *tables[SOURCES];
        merge *m = merge_create(l->store, table);
        size_t shared = (size_t)round * 5;
        for (size_t i = 0; i < SOURCES; i++) {
            tables[i] = memtable_create(0);
        }
        for (uint64_t seq = 1; seq <= COUNT; seq++) {
            tape_order order = {.seq = seq};
            uint8_t key[RECORD_KEY_BYTES_MAX];
            uint64_t hash[2];
            memset(order.order_id, 'x', shared);
            uint64_t number = random_next(&l->random) >> random_below(&l->random, 64);
            (void)snprintf(order.order_id + shared, sizeof order.order_id - shared, "%llx",
                           (unsigned long long)number);
            record_view view = {
                .table = table, .payload = &order, .size = sizeof order, .version = 1, .seq = seq};
            slice encoded = {key, record_key(table, &order, key)};
            record_key_hash(encoded, hash);
            memtable *to = tables[random_below(&l->random, SOURCES)];
            assert_true(memtable_insert(to, encoded, hash, &view));
        }
        for (size_t i = 0; i < SOURCES; i++) {
            merge_add_memtable(m, tables[i]);
        }
        for (int backward = 0; backward < 2; backward++) {
            uint8_t last[RECORD_KEY_BYTES_MAX];
            slice before = {last, 0};
            uint64_t last_seq = 0;
            uint8_t high = TAPE_TABLE_ORDERS + 1;
            record_view got;
            bool found = false;
            size_t count = 0;
            assert_int_equal(merge_seek(m, backward ? (slice){&high, 1} : (slice){0}, 0, backward,
                                        &got, &found, NULL),
                             TAPE_OK);
            while (found) {
                int order = before.size == 0 ? 0 : record_key_compare(table, before, got.payload);
                assert_true(count == 0 || (backward ? order > 0 : order < 0) ||
                            (order == 0 && (got.seq > last_seq) == (backward != 0)));
                before.size = record_key(table, got.payload, last);
                last_seq = got.seq;
                count++;
                assert_int_equal(merge_next(m, &got, &found, NULL), TAPE_OK);
            }
            assert_int_equal(count, COUNT);
        }
        merge_destroy(&m);
        for (size_t i = 0; i < SOURCES; i++) {
            memtable_destroy(&tables[i]);
        }
    }
    layout_destroy(&l);
}

static void merge_takes_equal_records_from_the_source_added_first(void **state) {
    (void)state;
    layout *l = layout_create(41, 0, 300, 20, NULL);
    layout_record *chosen[300];
    table_file files[4];
    table_file *one[4];
    const tape_table_info *table = record_table(TAPE_TABLE_ACCOUNTS);
    /* The same records in four files; each file's say in the last field which one it is. */
    for (size_t f = 0; f < 4; f++) {
        size_t count = 0;
        for (size_t i = 0; i < l->count; i++) {
            if (l->sorted[i]->view.table == table && (f != 2 || i % 2 == 0)) {
                store_u64(l->sorted[i]->payload + table->size_bytes - 8, f);
                chosen[count++] = l->sorted[i];
            }
        }
        files[f] = (table_file){.info = layout_write(l, chosen, count, SSTABLE_PLAIN)};
        one[f] = &files[f];
    }
    static const size_t order[] = {2, 0, 3, 1};
    merge *m = merge_create(l->store, table);
    for (size_t i = 0; i < 4; i++) {
        merge_add_files(m, &one[order[i]], 1);
    }
    for (int backward = 0; backward < 2; backward++) {
        uint8_t high = TAPE_TABLE_ACCOUNTS + 1;
        size_t given = 0;
        size_t first = 0;
        record_view got;
        bool found = false;
        assert_int_equal(merge_seek(m, backward ? (slice){&high, 1} : (slice){0}, 0, backward, &got,
                                    &found, NULL),
                         TAPE_OK);
        for (; found; given++) {
            const uint8_t *payload = got.payload;
            uint64_t from = load_u64(payload + table->size_bytes - 8);
            assert_true(from == 2 || from == 0);
            first += from == 2;
            assert_int_equal(merge_next(m, &got, &found, NULL), TAPE_OK);
        }
        assert_int_equal(given, files[0].info.entries);
        assert_int_equal(first, files[2].info.entries);
    }
    merge_destroy(&m);
    for (size_t f = 0; f < 4; f++) {
        sstable *t = atomic_load(&files[f].opened);
        sstable_close(&t);
    }
    layout_destroy(&l);
}

/* Damage in the middle file of a level: what lies before and behind it is still given. */
static void merge_ends_with_the_error_of_a_source(void **state) {
    (void)state;
    layout *l = layout_create(51, 0, 600, 500, NULL);
    layout_record *chosen[600];
    size_t count = 0;
    const tape_table_info *table = record_table(TAPE_TABLE_TRADES);
    for (size_t i = 0; i < l->count; i++) {
        if (l->sorted[i]->view.table == table) {
            chosen[count++] = l->sorted[i];
        }
    }
    size_t third = count / 3;
    table_file files[3] = {
        {.info = layout_write(l, chosen, third, SSTABLE_PLAIN)},
        {.info = layout_write(l, chosen + third, third, SSTABLE_PLAIN)},
        {.info = layout_write(l, chosen + 2 * third, count - 2 * third, SSTABLE_PLAIN)},
    };
    table_file *level[] = {&files[0], &files[1], &files[2]};
    char *path = sstable_path("/store", files[1].info.number);
    assert_int_equal(os_sim_flip_bit(l->sim, path, 200, 3), TAPE_OK);

    merge *m = merge_create(l->store, table);
    merge_add_files(m, level, 3);
    for (int backward = 0; backward < 2; backward++) {
        uint8_t high = TAPE_TABLE_TRADES + 1;
        record_view got;
        bool found = false;
        tape_error error;
        tape_status status = merge_seek(m, backward ? (slice){&high, 1} : (slice){0}, 0, backward,
                                        &got, &found, &error);
        size_t given = 0;
        for (; status == TAPE_OK && found; given++) {
            size_t at = backward ? count - 1 - given : given;
            assert_true(layout_equal(&got, &chosen[at]->view));
            status = merge_next(m, &got, &found, &error);
        }
        assert_int_equal(status, TAPE_CORRUPT);
        assert_string_equal(error.file, path);
        assert_true(given >= (backward ? count - 2 * third : third));
        /* It can be sought elsewhere. */
        const layout_record *other = chosen[backward ? 0 : count - 1];
        assert_int_equal(
            merge_seek(m, layout_key(other), other->view.seq, false, &got, &found, NULL), TAPE_OK);
        assert_true(found && layout_equal(&got, &other->view));
    }
    merge_destroy(&m);
    for (size_t f = 0; f < 3; f++) {
        sstable *t = atomic_load(&files[f].opened);
        sstable_close(&t);
    }
    free(path);
    layout_destroy(&l);
}

/* What a merge has left behind may be closed and freed: a compaction replaces its input file by
 * file.
 */
static void merge_lets_go_of_files_that_it_has_passed(void **state) {
    (void)state;
    layout *l = layout_create(71, TAPE_TABLE_ORDERS, 300, 100, NULL);
    for (int backward = 0; backward < 2; backward++) {
        table_file *files[3];
        for (size_t i = 0; i < 3; i++) {
            files[i] = mem_zalloc(sizeof *files[i]);
            files[i]->info = layout_write(l, l->sorted + 100 * i, 100, SSTABLE_PLAIN);
        }
        merge *m = merge_create(l->store, record_table(TAPE_TABLE_ORDERS));
        merge_add_files(m, files, 3);
        uint8_t high = TAPE_TABLE_ORDERS + 1;
        record_view got;
        bool found = false;
        assert_int_equal(merge_seek(m, backward ? (slice){&high, 1} : (slice){0}, 0, backward, &got,
                                    &found, NULL),
                         TAPE_OK);
        for (size_t i = 1; i <= 300; i++) {
            assert_true(found);
            assert_int_equal(merge_next(m, &got, &found, NULL), TAPE_OK);
            if (i % 100 == 0) {
                size_t passed = backward ? 3 - i / 100 : i / 100 - 1;
                sstable *t = atomic_load(&files[passed]->opened);
                sstable_close(&t);
                memset(files[passed], 0xff, sizeof *files[passed]);
                free(files[passed]);
            }
        }
        assert_false(found);
        merge_destroy(&m);
    }
    atomic_store(&l->store->mapped_files, 0);
    layout_destroy(&l);
}

static void merge_of_nothing_gives_nothing(void **state) {
    (void)state;
    layout *l = layout_create(61, 0, 200, 20, NULL);
    merge *m = merge_create(l->store, record_table(TAPE_TABLE_ORDERS));
    record_view got;
    bool found = true;
    assert_int_equal(merge_seek(m, (slice){0}, 0, false, &got, &found, NULL), TAPE_OK);
    assert_false(found);
    merge_destroy(&m);

    /* A memtable that holds other tables' records only. */
    memtable *others = memtable_create(0);
    for (size_t i = 0; i < l->count; i++) {
        uint64_t hash[2];
        record_key_hash(layout_key(&l->records[i]), hash);
        if (l->records[i].view.table->id != TAPE_TABLE_ACCOUNTS) {
            assert_true(
                memtable_insert(others, layout_key(&l->records[i]), hash, &l->records[i].view));
        }
    }
    m = merge_create(l->store, record_table(TAPE_TABLE_ACCOUNTS));
    merge_add_memtable(m, others);
    merge_add_files(m, NULL, 0);
    for (int backward = 0; backward < 2; backward++) {
        uint8_t key = (uint8_t)(backward ? 255 : 0);
        found = true;
        assert_int_equal(merge_seek(m, (slice){&key, 1}, 0, backward, &got, &found, NULL), TAPE_OK);
        assert_false(found);
    }
    merge_destroy(&m);
    memtable_destroy(&others);
    layout_destroy(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_gives_every_record_once_in_order),
        cmocka_unit_test(merge_seek_finds_the_neighbour_of_any_place),
        cmocka_unit_test(merge_orders_keys_whatever_they_share),
        cmocka_unit_test(merge_takes_equal_records_from_the_source_added_first),
        cmocka_unit_test(merge_ends_with_the_error_of_a_source),
        cmocka_unit_test(merge_lets_go_of_files_that_it_has_passed),
        cmocka_unit_test(merge_of_nothing_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
