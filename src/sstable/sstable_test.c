#include "sstable/sstable_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct world {
    char *dir;
    sstable_place place;
} world;

static int set_up(void **state) {
    world *w = mem_zalloc(sizeof *w);
    w->dir = fixture_dir_make();
    w->place = (sstable_place){os_disk_linux(), w->dir, fixture_store_id};
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    fixture_dir_remove(&w->dir);
    free(w);
    return 0;
}

static sstable *open_table(const world *w, const sstable_info *info) {
    sstable *t = NULL;
    tape_error error;
    tape_status status = sstable_open(&t, &w->place, info->number, info, OS_MAP_RANDOM, &error);
    if (status != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return t;
}

static void fail_on_damage(void *context, const tape_error *finding) {
    (void)context;
    fail_msg("%s", finding->text);
}

static void assert_reads_like(sstable *t, const fixture *f, slice key, uint64_t at) {
    sstable_key hashed = sstable_key_of(key);
    record_view got;
    sstable_outcome outcome = SSTABLE_FILTERED;
    tape_error error;
    if (sstable_get(t, &hashed, at, &got, &outcome, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    const fixture_entry *want = fixture_get(f, key, at);
    assert_int_equal(outcome == SSTABLE_FOUND, want != NULL);
    if (want != NULL) {
        assert_true(fixture_equal(&got, want));
    } else if (at >= sstable_facts(t)->min_seq && fixture_get(f, key, UINT64_MAX) != NULL) {
        assert_int_equal(outcome, SSTABLE_NOT_YET);
    } else {
        assert_int_not_equal(outcome, SSTABLE_NOT_YET);
    }
}

static void sstable_get_finds_each_version_at_its_time(void **state) {
    world *w = *state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        fixture f = {0};
        fixture_fill(&f, seed, 400 * seed, 40 * seed, 1000);
        sstable_info info = fixture_write(&f, &w->place, seed);
        sstable *t = open_table(w, &info);
        uint64_t random = seed + 100;
        for (size_t i = 0; i < f.count; i++) {
            const fixture_entry *e = &f.entries[i];
            assert_reads_like(t, &f, fixture_key(e), e->view.seq);
            assert_reads_like(t, &f, fixture_key(e), e->view.seq - 1);
            assert_reads_like(t, &f, fixture_key(e),
                              990 + fixture_random(&random) % (f.count + 20));
        }
        sstable_close(&t);
        assert_null(t);
        fixture_deinit(&f);
    }
}

static void sstable_get_of_absent_keys_finds_nothing(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 7, 2000, 300, 1);
    sstable_info info = fixture_write(&f, &w->place, 1);
    sstable *t = open_table(w, &info);
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t key[40] = {(uint8_t)(i % 8)}; /* table ids that there are, and that there are not */
        size_t size = 1 + (size_t)snprintf((char *)key + 1, sizeof key - 1, "order-%ux", i);
        assert_reads_like(t, &f, (slice){key, size}, UINT64_MAX);
        assert_reads_like(t, &f, (slice){key, i % 3}, UINT64_MAX);
    }
    sstable_close(&t);
    fixture_deinit(&f);
}

static void sstable_iterates_over_everything_in_order(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 21, 3000, 50, 77);
    sstable_info info = fixture_write(&f, &w->place, 3);
    sstable *t = open_table(w, &info);
    sstable_iterator it;
    sstable_iterate(t, &it);
    size_t count = 0;
    for (;; count++) {
        record_view got;
        bool found = false;
        assert_int_equal(sstable_next(&it, &got, &found, NULL), TAPE_OK);
        if (!found) {
            break;
        }
        assert_true(fixture_equal(&got, &f.entries[count]));
    }
    assert_int_equal(count, f.count);
    uint64_t records = 0;
    assert_int_equal(sstable_verify(t, fail_on_damage, NULL, &records), 0);
    assert_int_equal(records, f.count);
    sstable_close(&t);
    fixture_deinit(&f);
}

static void sstable_footer_tells_what_is_inside(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 5, 900, 30, 500);
    sstable_info info = fixture_write(&f, &w->place, 8);
    uint64_t keys = 0;
    int64_t min_ts = INT64_MAX;
    int64_t max_ts = INT64_MIN;
    for (size_t i = 0; i < f.count; i++) {
        keys += i == 0 ||
                slice_compare(fixture_key(&f.entries[i]), fixture_key(&f.entries[i - 1])) != 0;
        min_ts = f.entries[i].view.ts < min_ts ? f.entries[i].view.ts : min_ts;
        max_ts = f.entries[i].view.ts > max_ts ? f.entries[i].view.ts : max_ts;
    }
    sstable *t = open_table(w, &info);
    const sstable_info *facts = sstable_facts(t);
    assert_memory_equal(facts, &info, sizeof info);
    assert_int_equal(facts->number, 8);
    assert_int_equal(facts->entries, 900);
    assert_int_equal(facts->keys, keys);
    assert_int_equal(facts->min_seq, 500);
    assert_int_equal(facts->max_seq, 1399);
    assert_int_equal(facts->min_ts, min_ts);
    assert_int_equal(facts->max_ts, max_ts);
    slice min_key = {facts->min_key, facts->min_key_size};
    slice max_key = {facts->max_key, facts->max_key_size};
    assert_int_equal(slice_compare(min_key, fixture_key(&f.entries[0])), 0);
    assert_int_equal(slice_compare(max_key, fixture_key(&f.entries[f.count - 1])), 0);
    sstable_close(&t);
    fixture_deinit(&f);
}

/* Records of later schema versions may be larger than a block. */
static void sstable_holds_records_larger_than_a_block(void **state) {
    world *w = *state;
    fixture f = {0};
    const uint32_t sizes[] = {16,   160,  3900, 4000, 4048, 4056, 4064,   4072, 4080,
                              4096, 5000, 9000, 160,  160,  8192, 100000, 160};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        tape_tick tick = {.seq = i + 1, .ts = 5};
        fixture_add(&f, TAPE_TABLE_TICKS, &tick, sizes[i], (uint16_t)(sizes[i] > 96 ? 9 : 1));
    }
    fixture_sort(&f);
    sstable_info info = fixture_write(&f, &w->place, 1);
    sstable *t = open_table(w, &info);
    for (size_t i = 0; i < f.count; i++) {
        assert_reads_like(t, &f, fixture_key(&f.entries[i]), UINT64_MAX);
    }
    uint64_t records = 0;
    assert_int_equal(sstable_verify(t, fail_on_damage, NULL, &records), 0);
    assert_int_equal(records, f.count);
    sstable_close(&t);
    fixture_deinit(&f);
}

static void sstable_versions_of_one_key_may_fill_many_blocks(void **state) {
    world *w = *state;
    fixture f = {0};
    for (uint64_t seq = 1; seq <= 500; seq++) {
        tape_account account = {.seq = seq, .user_id = "only", .balance = (double)seq};
        fixture_add(&f, TAPE_TABLE_ACCOUNTS, &account, sizeof account, 1);
    }
    fixture_sort(&f);
    sstable_info info = fixture_write(&f, &w->place, 1);
    assert_int_equal(info.keys, 1);
    sstable *t = open_table(w, &info);
    for (uint64_t at = 0; at <= 501; at++) {
        assert_reads_like(t, &f, fixture_key(&f.entries[0]), at);
    }
    sstable_close(&t);
    fixture_deinit(&f);
}

static void sstable_filter_lets_less_than_one_in_a_hundred_pass(void **state) {
    (void)state;
    static const uint64_t counts[] = {10, 1000, 30000, 200000};
    for (size_t c = 0; c < COUNT_OF(counts); c++) {
        uint64_t lines = sstable_filter_lines(counts[c]);
        uint8_t *filter = mem_zalloc(lines * SSTABLE_FILTER_LINE_BYTES);
        char key[32] = "\1";
        for (uint64_t i = 0; i < counts[c]; i++) {
            int size = snprintf(key + 1, sizeof key - 1, "%llu", (unsigned long long)i);
            sstable_key k = sstable_key_of((slice){(uint8_t *)key, (size_t)size + 1});
            sstable_filter_add(filter, lines, k.hash);
        }
        uint64_t passed = 0;
        const uint64_t asked = 300000;
        for (uint64_t i = 0; i < counts[c] + asked; i++) {
            int size = snprintf(key + 1, sizeof key - 1, "%llu", (unsigned long long)i);
            sstable_key k = sstable_key_of((slice){(uint8_t *)key, (size_t)size + 1});
            bool holds = sstable_filter_holds(filter, lines, k.hash);
            if (i < counts[c]) {
                assert_true(holds);
            } else {
                passed += holds;
            }
        }
        print_message("filter of %llu keys, %.1f bits each: %.3f %% false positives\n",
                      (unsigned long long)counts[c], (double)(lines * 512) / (double)counts[c],
                      100.0 * (double)passed / (double)asked);
        assert_true(passed * 100 <= asked);
        free(filter);
    }
}

/* Of table 1: finished and temporary. */
static size_t count_files(const world *w) {
    size_t count = 0;
    os_stat stat;
    char *path = sstable_path(w->dir, 1);
    count += os_path_stat(w->place.disk, path, &stat, NULL) == TAPE_OK;
    char *temporary = mem_printf("%s.tmp", path);
    count += os_path_stat(w->place.disk, temporary, &stat, NULL) == TAPE_OK;
    free(temporary);
    free(path);
    return count;
}

static void sstable_abandoned_leaves_no_file(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 5, 9000, 100, 1);
    sstable_writer *writer = NULL;
    assert_int_equal(sstable_writer_open(&writer, &w->place, 1, NULL), TAPE_OK);
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(
            sstable_writer_add(writer, fixture_key(&f.entries[i]), &f.entries[i].view, NULL),
            TAPE_OK);
    }
    assert_int_equal(count_files(w), 1);
    sstable_writer_abandon(&writer);
    assert_null(writer);
    assert_int_equal(count_files(w), 0);
    sstable_writer_abandon(&writer);
    (void)fixture_write(&f, &w->place, 1);
    assert_int_equal(count_files(w), 1);
    fixture_deinit(&f);
}

static void sstable_key_texts_read_well(void **state) {
    (void)state;
    char text[SSTABLE_KEY_TEXT_BYTES];
    uint8_t key[RECORD_KEY_BYTES_MAX];
    tape_position position = {.seq = 1, .user_id = "u\n1", .instrument_id = "IF2601"};
    slice k = {key, record_key(record_table(TAPE_TABLE_POSITIONS), &position, key)};
    sstable_key_text(k, text);
    assert_string_equal(text, "positions 'u\\x0a1 IF2601'");
    tape_tick tick = {.seq = 123456789012};
    k.size = record_key(record_table(TAPE_TABLE_TICKS), &tick, key);
    sstable_key_text(k, text);
    assert_string_equal(text, "ticks 123456789012");
    sstable_key_text((slice){0}, text);
    assert_string_equal(text, "an unreadable key");
    uint8_t wild[RECORD_KEY_BYTES_MAX];
    memset(wild, 2, sizeof wild);
    sstable_key_text((slice){wild, sizeof wild}, text);
    assert_true(strlen(text) < SSTABLE_KEY_TEXT_BYTES);
}

/* The same bytes as ever: whoever changes the format changes its version. `TAPE_GOLDEN_WRITE=1`
 * makes the file. */
static void sstable_golden_file_is_written_byte_for_byte(void **state) {
    world *w = *state;
    fixture f = {0};
    for (uint64_t seq = 1; seq <= 60; seq++) {
        if (seq % 3 == 0) {
            tape_tick tick = {.seq = seq, .ts = (int64_t)seq * 1000, .instrument_id = "IF2601"};
            tick.last_price = 3900.2;
            fixture_add(&f, TAPE_TABLE_TICKS, &tick, 96, 1);
        } else {
            tape_account account = {.seq = seq, .ts = -(int64_t)seq, .balance = (double)seq};
            (void)snprintf(account.user_id, sizeof account.user_id, "user%u", (unsigned)(seq % 7));
            fixture_add(&f, TAPE_TABLE_ACCOUNTS, &account, 80, 1);
        }
    }
    tape_depth depth = {.seq = 61, .ts = 7, .instrument_id = "IF2601"};
    fixture_add(&f, TAPE_TABLE_DEPTH, &depth, 6000, 2);
    fixture_sort(&f);
    sstable_info info = fixture_write(&f, &w->place, 42);
    char *path = sstable_path(w->dir, 42);
    char *data = NULL;
    char *golden = NULL;
    size_t size = 0;
    size_t golden_size = 0;
    assert_int_equal(os_read_small(os_disk_linux(), path, &data, &size, NULL), TAPE_OK);
    const char *golden_path = GOLDEN_DIR "/sstable_v1.bin";
    if (getenv("TAPE_GOLDEN_WRITE") != NULL) {
        assert_int_equal(os_write_small(os_disk_linux(), golden_path, data, size, NULL), TAPE_OK);
    }
    assert_int_equal(os_read_small(os_disk_linux(), golden_path, &golden, &golden_size, NULL),
                     TAPE_OK);
    assert_int_equal(size, golden_size);
    assert_memory_equal(data, golden, size);

    /* And the golden one is read. */
    sstable *t = NULL;
    assert_int_equal(sstable_attach(&t, (uint8_t *)golden, golden_size, golden_path,
                                    fixture_store_id, 42, &info, NULL),
                     TAPE_OK);
    for (size_t i = 0; i < f.count; i++) {
        assert_reads_like(t, &f, fixture_key(&f.entries[i]), f.entries[i].view.seq);
    }
    sstable_close(&t);
    free(golden);
    free(data);
    free(path);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sstable_get_finds_each_version_at_its_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sstable_get_of_absent_keys_finds_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sstable_iterates_over_everything_in_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sstable_footer_tells_what_is_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sstable_holds_records_larger_than_a_block, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sstable_versions_of_one_key_may_fill_many_blocks, set_up,
                                        tear_down),
        cmocka_unit_test(sstable_filter_lets_less_than_one_in_a_hundred_pass),
        cmocka_unit_test_setup_teardown(sstable_abandoned_leaves_no_file, set_up, tear_down),
        cmocka_unit_test(sstable_key_texts_read_well),
        cmocka_unit_test_setup_teardown(sstable_golden_file_is_written_byte_for_byte, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("sstable", tests, NULL, NULL);
}
