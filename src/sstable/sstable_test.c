/* What was written is read: gets, figures, parts of a file. */
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

static void assert_sound(sstable *t, const fixture *f) {
    uint64_t records = 0;
    assert_int_equal(sstable_verify(t, fail_on_damage, NULL, &records), 0);
    assert_int_equal(records, f->count);
}

static void assert_reads_like(sstable *t, const fixture *f, slice key, uint64_t at,
                              sstable_scratch *scratch) {
    uint64_t hash[2];
    record_view got;
    sstable_outcome outcome = SSTABLE_FILTERED;
    tape_error error;
    record_key_hash(key, hash);
    sstable_prefetch(t, hash);
    if (sstable_get(t, key, hash, at, scratch, &got, &outcome, &error) != TAPE_OK) {
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
    static const uint16_t tables[] = {TAPE_TABLE_ORDERS, TAPE_TABLE_POSITIONS, TAPE_TABLE_ACCOUNTS,
                                      TAPE_TABLE_TICKS};
    sstable_scratch scratch = {0};
    for (uint64_t number = 1; number <= 12; number++) {
        fixture f = {0};
        uint64_t keys = 10 + 60 * (number % 4);
        fixture_fill(&f, number, tables[number / 3 % 4], 400 + 100 * number, keys, 1000);
        sstable_info info = fixture_write(&f, &w->place, number, fixture_codecs[number % 3]);
        sstable *t = open_table(w, &info);
        uint64_t random = number + 100;
        for (size_t i = 0; i < f.count; i++) {
            const fixture_entry *e = &f.entries[i];
            assert_reads_like(t, &f, fixture_key(e), e->view.seq, &scratch);
            assert_reads_like(t, &f, fixture_key(e), e->view.seq - 1, &scratch);
            assert_reads_like(t, &f, fixture_key(e),
                              990 + fixture_random(&random) % (2 * f.count + 20), &scratch);
        }
        sstable_close(&t);
        assert_null(t);
        fixture_deinit(&f);
    }
    buffer_deinit(&scratch);
}

static void sstable_get_of_absent_keys_finds_nothing(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 7, TAPE_TABLE_ORDERS, 2000, 300, 1);
    sstable_scratch scratch = {0};
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        sstable_info info = fixture_write(&f, &w->place, c + 1, fixture_codecs[c]);
        sstable *t = open_table(w, &info);
        for (unsigned i = 0; i < 3000; i++) {
            uint8_t key[40] = {(uint8_t)(i % 4)}; /* table ids that are there, and that are not */
            size_t size = 1 + (size_t)snprintf((char *)key + 1, sizeof key - 1, "2024080%u-%06ux",
                                               6 + i % 4, i);
            assert_reads_like(t, &f, (slice){key, size}, UINT64_MAX, &scratch);
            assert_reads_like(t, &f, (slice){key, i % size}, UINT64_MAX, &scratch);
        }
        sstable_close(&t);
    }
    buffer_deinit(&scratch);
    fixture_deinit(&f);
}

static void sstable_footer_tells_what_is_inside(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 5, TAPE_TABLE_ACCOUNTS, 900, 30, 500);
    sstable_info info = fixture_write(&f, &w->place, 8, SSTABLE_LZ4);
    uint64_t keys = 0;
    uint64_t max_seq = 0;
    int64_t min_ts = INT64_MAX;
    int64_t max_ts = INT64_MIN;
    for (size_t i = 0; i < f.count; i++) {
        const record_view *v = &f.entries[i].view;
        keys += i == 0 ||
                slice_compare(fixture_key(&f.entries[i]), fixture_key(&f.entries[i - 1])) != 0;
        min_ts = v->ts < min_ts ? v->ts : min_ts;
        max_ts = v->ts > max_ts ? v->ts : max_ts;
        max_seq = v->seq > max_seq ? v->seq : max_seq;
    }
    assert_true(max_seq > 1400); /* seqs have gaps: other tables' records */
    sstable *t = open_table(w, &info);
    const sstable_info *facts = sstable_facts(t);
    assert_memory_equal(facts, &info, sizeof info);
    assert_int_equal(facts->number, 8);
    assert_int_equal(facts->table, TAPE_TABLE_ACCOUNTS);
    assert_int_equal(facts->codec, SSTABLE_LZ4);
    assert_int_equal(facts->entries, 900);
    assert_int_equal(facts->keys, keys);
    assert_int_equal(facts->payload_bytes, 900 * sizeof(tape_account));
    assert_int_equal(facts->min_seq, 500);
    assert_int_equal(facts->max_seq, max_seq);
    assert_int_equal(facts->min_ts, min_ts);
    assert_int_equal(facts->max_ts, max_ts);
    assert_int_equal(facts->min_append_ts, 500 * 100 + 5);
    assert_int_equal(facts->max_append_ts, (int64_t)max_seq * 100 + 5);
    assert_int_equal(facts->first_seq, f.entries[0].view.seq);
    assert_int_equal(facts->last_seq, f.entries[f.count - 1].view.seq);
    slice min_key = {facts->min_key, facts->min_key_size};
    slice max_key = {facts->max_key, facts->max_key_size};
    assert_int_equal(slice_compare(min_key, fixture_key(&f.entries[0])), 0);
    assert_int_equal(slice_compare(max_key, fixture_key(&f.entries[f.count - 1])), 0);
    sstable_close(&t);
    fixture_deinit(&f);
}

/* Records of other schema versions have other sizes; one may be larger than a block. */
static void sstable_holds_records_of_any_size(void **state) {
    world *w = *state;
    const uint32_t sizes[] = {16,   160,  24,   3900, 4000, 4048, 4056, 4064,   4072,  4080,  4096,
                              5000, 9000, 160,  160,  24,   8192, 160,  100000, 160,   16384, 20000,
                              16,   16,   1000, 16,   500,  2000, 16,   16368,  16360, 24,    16};
    fixture f = {0};
    sstable_scratch scratch = {0};
    uint64_t payload_bytes = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        tape_tick tick = {.seq = i + 1, .ts = 5};
        fixture_add(&f, TAPE_TABLE_TICKS, &tick, sizes[i], (uint16_t)(sizes[i] > 96 ? 9 : 1));
        payload_bytes += sizes[i];
    }
    fixture_sort(&f);
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        sstable_info info = fixture_write(&f, &w->place, c + 1, fixture_codecs[c]);
        assert_int_equal(info.payload_bytes, payload_bytes);
        sstable *t = open_table(w, &info);
        for (size_t i = 0; i < f.count; i++) {
            assert_reads_like(t, &f, fixture_key(&f.entries[i]), UINT64_MAX, &scratch);
        }
        assert_sound(t, &f);
        sstable_close(&t);
    }
    buffer_deinit(&scratch);
    fixture_deinit(&f);
}

/* Old and new versions of a schema, mixed by key, do not cost a page each. */
static void sstable_records_of_several_versions_share_pages(void **state) {
    world *w = *state;
    fixture f = {0};
    sstable_scratch scratch = {0};
    uint64_t random = 3;
    for (uint64_t seq = 1; seq <= 3000; seq++) {
        tape_order order = {.seq = seq};
        uint64_t r = fixture_random(&random);
        (void)snprintf(order.order_id, sizeof order.order_id, "%u", (unsigned)(r >> 40));
        uint32_t size = (uint32_t)sizeof order + (uint32_t)(r % 3) / 2 * 16;
        fixture_add(&f, TAPE_TABLE_ORDERS, &order, size, (uint16_t)(1 + r % 3));
    }
    fixture_sort(&f);
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        sstable_info info = fixture_write(&f, &w->place, c + 1, fixture_codecs[c]);
        assert_true(info.size_bytes < 2 * info.payload_bytes);
        sstable *t = open_table(w, &info);
        assert_true(t->index.blocks > f.count / 3);
        for (size_t i = 0; i < f.count; i++) {
            assert_reads_like(t, &f, fixture_key(&f.entries[i]), UINT64_MAX, &scratch);
        }
        for (uint64_t i = 0; c == 0 && i < t->index.blocks; i++) {
            const sstable_index_place *place = &t->index.places[i];
            uint64_t used = sizeof(sstable_block) + (place[1].first_entry - place->first_entry) *
                                                        sstable_stride(place->payload_bytes);
            uint64_t offset = sstable_block_offset(place);
            assert_int_equal(offset / SSTABLE_PAGE_BYTES, (offset + used - 1) / SSTABLE_PAGE_BYTES);
        }
        assert_sound(t, &f);
        sstable_close(&t);
    }
    buffer_deinit(&scratch);
    fixture_deinit(&f);
}

static void sstable_keeps_append_times_of_the_whole_range(void **state) {
    world *w = *state;
    static const int64_t times[] = {0, 1, INT64_MAX - 1, INT64_MAX};
    fixture f = {0};
    sstable_scratch scratch = {0};
    fixture_fill(&f, 5, TAPE_TABLE_ORDERS, 40, 40, 1);
    for (size_t i = 0; i < f.count; i++) {
        f.entries[i].view.append_ts = times[i % COUNT_OF(times)];
    }
    sstable_info info = fixture_write(&f, &w->place, 1, SSTABLE_PLAIN);
    assert_int_equal(info.min_append_ts, 0);
    assert_int_equal(info.max_append_ts, INT64_MAX);
    sstable *t = open_table(w, &info);
    for (size_t i = 0; i < f.count; i++) {
        assert_reads_like(t, &f, fixture_key(&f.entries[i]), f.entries[i].view.seq, &scratch);
    }
    assert_sound(t, &f);
    sstable_close(&t);
    buffer_deinit(&scratch);
    fixture_deinit(&f);
}

static void sstable_versions_of_one_key_may_fill_many_blocks(void **state) {
    world *w = *state;
    fixture f = {0};
    sstable_scratch scratch = {0};
    for (uint64_t seq = 1; seq <= 5000; seq++) {
        tape_account account = {.seq = seq, .user_id = "only", .balance = (double)seq};
        (void)snprintf(account.user_id, sizeof account.user_id, "%s",
                       seq % 50 == 0 ? "few" : "many");
        fixture_add(&f, TAPE_TABLE_ACCOUNTS, &account, sizeof account, 1);
    }
    fixture_sort(&f);
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        sstable_info info = fixture_write(&f, &w->place, c + 1, fixture_codecs[c]);
        assert_int_equal(info.keys, 2);
        sstable *t = open_table(w, &info);
        assert_true(c > 0 || t->index.level_count == 2);
        for (uint64_t at = 0; at <= 5001; at += 1 + at % 7) {
            assert_reads_like(t, &f, fixture_key(&f.entries[0]), at, &scratch);
            assert_reads_like(t, &f, fixture_key(&f.entries[f.count - 1]), at, &scratch);
        }
        sstable_close(&t);
    }
    buffer_deinit(&scratch);
    fixture_deinit(&f);
}

/* Finds by discriminators what comparing keys finds, whatever keys have in common. */
static void sstable_index_finds_the_block_that_comparing_finds(void **state) {
    world *w = *state;
    uint64_t random = 77;
    size_t levels[4] = {0};
    for (uint64_t round = 1; round <= 24; round++) {
        /* Records of 2500 bytes: each has a block of its own. */
        fixture f = {0};
        size_t count = 1 + fixture_random(&random) % (round % 3 == 0 ? 64 : 600);
        count += round >= 23 ? 4096 : 0;
        unsigned shape = (unsigned)(round % 6);
        for (uint64_t seq = 1; seq <= count; seq++) {
            tape_order order = {.seq = seq};
            unsigned r = (unsigned)(fixture_random(&random) % 100000);
            static const char *const shapes[] = {"%u",          "a-long-prefix-%06u",    "%u/%u/%u",
                                                 "%.0u%.0ub%u", "x%uyyyyyyyyyyyyyyyy%u", "same"};
            (void)snprintf(order.order_id, sizeof order.order_id, shapes[shape], r % 100000, r % 10,
                           r % 3 + 1);
            fixture_add(&f, TAPE_TABLE_ORDERS, &order, 2500, 2);
        }
        fixture_sort(&f);
        sstable_info info = fixture_write(&f, &w->place, round, SSTABLE_PLAIN);
        sstable *t = open_table(w, &info);
        assert_int_equal(t->index.blocks, count);
        assert_int_equal(sstable_index_check(t, false, NULL), TAPE_OK);
        levels[t->index.level_count]++;
        for (size_t i = 0; i < 2000; i++) {
            size_t at = fixture_random(&random) % count;
            slice key = fixture_key(&f.entries[at]);
            uint64_t seq = f.entries[at].view.seq + fixture_random(&random) % 3 - 1;
            uint8_t other[RECORD_KEY_BYTES_MAX];
            if (i % 2 == 0) { /* a key that is not there, with this one's beginning */
                memcpy(other, key.data, key.size);
                other[1 + fixture_random(&random) % (key.size - 1)]++;
                key.data = other;
            }
            if (slice_compare(key, t->index.min_key) < 0 ||
                sstable_compare((slice){info.max_key, info.max_key_size}, info.last_seq, key, seq) <
                    0) {
                continue;
            }
            size_t wanted = 0;
            while (sstable_compare(fixture_key(&f.entries[wanted]), f.entries[wanted].view.seq, key,
                                   seq) < 0) {
                wanted++;
            }
            assert_int_equal(sstable_index_find(&t->index, key, seq), wanted);
        }
        sstable_close(&t);
        fixture_deinit(&f);
    }
    assert_true(levels[1] > 0 && levels[2] > 0 && levels[3] > 0);
}

static void sstable_filter_lets_less_than_one_in_a_hundred_pass(void **state) {
    (void)state;
    static const uint64_t counts[] = {10, 1000, 30000, 200000};
    for (size_t c = 0; c < COUNT_OF(counts); c++) {
        uint64_t lines = sstable_filter_lines(counts[c]);
        uint8_t *filter = mem_zalloc(lines * SSTABLE_FILTER_LINE_BYTES);
        uint64_t hash[2];
        char key[32] = "\1";
        for (uint64_t i = 0; i < counts[c]; i++) {
            int size = snprintf(key + 1, sizeof key - 1, "%llu", (unsigned long long)i);
            record_key_hash((slice){(uint8_t *)key, (size_t)size + 1}, hash);
            sstable_filter_add(filter, lines, hash);
        }
        uint64_t passed = 0;
        const uint64_t asked = 300000;
        for (uint64_t i = 0; i < counts[c] + asked; i++) {
            int size = snprintf(key + 1, sizeof key - 1, "%llu", (unsigned long long)i);
            record_key_hash((slice){(uint8_t *)key, (size_t)size + 1}, hash);
            bool holds = sstable_filter_holds(filter, lines, hash);
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

/* --- tables whose key is the seq --- */

static void get_seq(sstable *t, const uint8_t *key, size_t size, uint64_t at,
                    sstable_outcome wanted) {
    sstable_scratch scratch = {0};
    const uint64_t no_hash[2] = {0};
    record_view got;
    sstable_outcome outcome = SSTABLE_FILTERED;
    assert_int_equal(
        sstable_get(t, (slice){key, size}, no_hash, at, &scratch, &got, &outcome, NULL), TAPE_OK);
    assert_int_equal(outcome, wanted);
    buffer_deinit(&scratch);
}

static void sstable_of_seqs_finds_them_without_filter_and_tags(void **state) {
    world *w = *state;
    fixture f = {0};
    uint64_t seqs[600];
    uint64_t random = 5;
    uint64_t seq = UINT64_C(0x00fffffe00);
    for (size_t i = 0; i < COUNT_OF(seqs); i++) {
        tape_tick tick = {.seq = seq, .ts = 5};
        fixture_add(&f, TAPE_TABLE_TICKS, &tick, sizeof tick, 1);
        seqs[i] = seq;
        seq += 2 + fixture_random(&random) % (i % 100 == 99 ? UINT64_C(1) << 40 : 5);
    }
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        sstable_info info = fixture_write(&f, &w->place, c + 1, fixture_codecs[c]);
        sstable *t = open_table(w, &info);
        uint8_t key[RECORD_KEY_BYTES_MAX] = {0};
        assert_int_equal(t->filter_lines, 0);
        assert_int_equal(t->tags_bytes, 0);
        assert_sound(t, &f);
        for (size_t i = 0; i < COUNT_OF(seqs); i++) {
            sstable_outcome above = i + 1 < COUNT_OF(seqs) ? SSTABLE_ABSENT : SSTABLE_OUT_OF_RANGE;
            tape_tick tick = {.seq = seqs[i]};
            assert_int_equal(record_key(record_table(TAPE_TABLE_TICKS), &tick, key), 9);
            get_seq(t, key, 9, seqs[i], SSTABLE_FOUND);
            get_seq(t, key, 9, seqs[i] - 1, i == 0 ? SSTABLE_OUT_OF_RANGE : SSTABLE_NOT_YET);
            get_seq(t, key, 8, UINT64_MAX,
                    seqs[i] >> 8 == seqs[0] >> 8 ? SSTABLE_OUT_OF_RANGE : SSTABLE_ABSENT);
            get_seq(t, key, 10, UINT64_MAX, above);
            tick.seq++;
            (void)record_key(record_table(TAPE_TABLE_TICKS), &tick, key);
            get_seq(t, key, 9, UINT64_MAX, above);
        }
        sstable_close(&t);
    }
    fixture_deinit(&f);
}

/* Whatever the seqs' distances, and with bounds that are not theirs. */
static void sstable_block_find_seq_finds_what_is_there(void **state) {
    (void)state;
    uint64_t random = 9;
    for (unsigned round = 0; round < 400; round++) {
        uint64_t entries[3 * 200]; /* append time, seq, ts */
        uint32_t count = 1 + (uint32_t)(fixture_random(&random) % 200);
        sstable_block_view view = {
            .entries = (const uint8_t *)entries, .count = count, .stride = 24, .payload_bytes = 16};
        uint64_t before = fixture_random(&random) % 1000;
        uint64_t seq = before;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t range = UINT64_C(1) << fixture_random(&random) % (1 + round % 50);
            seq += 1 + fixture_random(&random) % range;
            entries[3 * i + 1] = seq;
        }
        for (uint32_t i = 0; i < count; i++) {
            uint64_t wanted = entries[3 * i + 1];
            assert_int_equal(sstable_block_find_seq(&view, before, seq, wanted), i);
            if (i + 1 == count || entries[3 * i + 4] > wanted + 1) {
                assert_int_equal(sstable_block_find_seq(&view, before, seq, wanted + 1), count);
            }
        }
        assert_int_equal(sstable_block_find_seq(&view, before, seq, before), count);
        assert_int_equal(sstable_block_find_seq(&view, before, seq, UINT64_MAX), count);
        for (int i = 0; i < 50; i++) {
            uint64_t wrong = fixture_random(&random) >> round % 60;
            uint32_t got = sstable_block_find_seq(&view, wrong, fixture_random(&random), seq);
            assert_true(got == count || got == count - 1);
        }
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
    fixture_fill(&f, 5, TAPE_TABLE_TICKS, 9000, 100, 1);
    sstable_writer *writer = NULL;
    assert_int_equal(
        sstable_writer_open(&writer, &w->place, 1, TAPE_TABLE_TICKS, SSTABLE_ZSTD, NULL), TAPE_OK);
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(sstable_writer_add(writer, &f.entries[i].view, NULL), TAPE_OK);
    }
    assert_int_equal(count_files(w), 1);
    sstable_writer_abandon(&writer);
    assert_null(writer);
    assert_int_equal(count_files(w), 0);
    sstable_writer_abandon(&writer);
    (void)fixture_write(&f, &w->place, 1, SSTABLE_PLAIN);
    assert_int_equal(count_files(w), 1);
    fixture_deinit(&f);
}

static void sstable_writer_bytes_is_about_the_size_of_the_file(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 5, TAPE_TABLE_ORDERS, 20000, 9000, 1);
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        sstable_writer *writer = NULL;
        sstable_info info;
        uint64_t before = 0;
        assert_int_equal(sstable_writer_open(&writer, &w->place, c + 1, TAPE_TABLE_ORDERS,
                                             fixture_codecs[c], NULL),
                         TAPE_OK);
        for (size_t i = 0; i < f.count; i++) {
            assert_int_equal(sstable_writer_add(writer, &f.entries[i].view, NULL), TAPE_OK);
            if (i % 1000 == 0) {
                assert_true(sstable_writer_bytes(writer) > before);
                before = sstable_writer_bytes(writer);
            }
        }
        uint64_t about = sstable_writer_bytes(writer);
        assert_int_equal(sstable_writer_finish(&writer, &info, NULL), TAPE_OK);
        assert_true(about > info.size_bytes - 20000 && about < info.size_bytes + 20000);
    }
    fixture_deinit(&f);
}

static void sstable_packed_files_are_smaller(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 5, TAPE_TABLE_ORDERS, 20000, 9000, 1);
    uint64_t sizes[3];
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        sizes[c] = fixture_write(&f, &w->place, c + 1, fixture_codecs[c]).size_bytes;
    }
    assert_true(sizes[SSTABLE_LZ4] * 3 < sizes[SSTABLE_PLAIN]);
    assert_true(sizes[SSTABLE_ZSTD] < sizes[SSTABLE_LZ4]);
    fixture_deinit(&f);
}

/* Bytes that do not get smaller are stored as they are, and read in place. */
static void sstable_stores_raw_what_does_not_shrink(void **state) {
    world *w = *state;
    fixture f = {0};
    sstable_scratch scratch = {0};
    uint64_t random = 5;
    for (uint64_t seq = 1; seq <= 1000; seq++) {
        uint8_t record[sizeof(tape_depth)];
        for (size_t i = 0; i < sizeof record; i += 8) {
            store_u64(record + i, fixture_random(&random));
        }
        store_u64(record, seq);
        fixture_add(&f, TAPE_TABLE_DEPTH, record, sizeof record, 1);
    }
    fixture_sort(&f);
    for (size_t c = 1; c < COUNT_OF(fixture_codecs); c++) {
        sstable_info info = fixture_write(&f, &w->place, c, fixture_codecs[c]);
        assert_true(info.size_bytes > info.payload_bytes);
        sstable *t = open_table(w, &info);
        for (size_t i = 0; i < f.count; i++) {
            assert_reads_like(t, &f, fixture_key(&f.entries[i]), UINT64_MAX, &scratch);
        }
        assert_int_equal(scratch.capacity, 0);
        assert_sound(t, &f);
        sstable_close(&t);
    }
    fixture_deinit(&f);
}

static void sstable_split_keys_cut_pieces_of_like_size(void **state) {
    world *w = *state;
    fixture f = {0};
    fixture_fill(&f, 5, TAPE_TABLE_ORDERS, 20000, 9000, 1);
    sstable_info info = fixture_write(&f, &w->place, 1, SSTABLE_PLAIN);
    sstable *t = open_table(w, &info);
    static uint8_t keys[8][RECORD_KEY_BYTES_MAX];
    size_t sizes[8];
    for (size_t parts = 1; parts <= 8; parts++) {
        size_t found = sstable_split_keys(t, parts, keys, sizes);
        assert_int_equal(found, parts - 1);
        size_t from = 0;
        for (size_t i = 0; i <= found; i++) {
            size_t to = f.count;
            if (i < found) {
                slice key = {keys[i], sizes[i]};
                for (to = from; slice_compare(fixture_key(&f.entries[to]), key) < 0; to++) {
                }
                assert_int_equal(slice_compare(fixture_key(&f.entries[to]), key), 0);
            }
            assert_true(to - from > f.count / parts * 9 / 10 &&
                        to - from < f.count / parts * 11 / 10);
            from = to;
        }
    }
    sstable_close(&t);
    fixture_deinit(&f);

    /* One key cannot be cut. */
    fixture_fill(&f, 5, TAPE_TABLE_ACCOUNTS, 2000, 1, 1);
    info = fixture_write(&f, &w->place, 2, SSTABLE_PLAIN);
    t = open_table(w, &info);
    assert_int_equal(sstable_split_keys(t, 8, keys, sizes), 0);
    sstable_close(&t);
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

/* --- golden files --- */

static void golden_fill(fixture *f, uint16_t table) {
    if (table == TAPE_TABLE_TICKS) {
        fixture_fill(f, 8, table, 100, 9, 1);
        return;
    }
    for (uint64_t seq = 1; seq <= 60; seq++) {
        tape_account account = {.seq = seq, .ts = -(int64_t)seq, .balance = (double)seq};
        (void)snprintf(account.user_id, sizeof account.user_id, "user%u", (unsigned)(seq % 7));
        uint32_t size = seq % 20 == 0 ? 120 : sizeof account;
        fixture_add(f, TAPE_TABLE_ACCOUNTS, &account, size, (uint16_t)(size == 120 ? 2 : 1));
    }
    tape_account large = {.seq = 61, .ts = 7, .user_id = "user3"};
    fixture_add(f, TAPE_TABLE_ACCOUNTS, &large, 5000, 3);
    fixture_sort(f);
}

static void read_file(const char *path, char **data, size_t *size) {
    tape_error error;
    if (os_read_small(os_disk_linux(), path, data, size, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

/* The same bytes as ever: whoever changes the format changes its version. Of packed files only what
 * they hold: another version of the library may pack otherwise. `TAPE_GOLDEN_WRITE=1` makes them.
 */
static void sstable_golden_files_are_read_and_written(void **state) {
    world *w = *state;
    static const struct {
        const char *name;
        uint16_t table;
        sstable_codec codec;
    } files[] = {{"plain", TAPE_TABLE_ACCOUNTS, SSTABLE_PLAIN},
                 {"lz4", TAPE_TABLE_ACCOUNTS, SSTABLE_LZ4},
                 {"zstd", TAPE_TABLE_ACCOUNTS, SSTABLE_ZSTD},
                 {"by_seq", TAPE_TABLE_TICKS, SSTABLE_PLAIN}};
    sstable_scratch scratch = {0};
    for (size_t c = 0; c < COUNT_OF(files); c++) {
        uint64_t number = 42 + c;
        fixture f = {0};
        golden_fill(&f, files[c].table);
        sstable_info info = fixture_write(&f, &w->place, number, files[c].codec);
        char *path = sstable_path(w->dir, number);
        char *golden_path = mem_printf(GOLDEN_DIR "/sstable_v2_%s.bin", files[c].name);
        char *data = NULL;
        char *golden = NULL;
        size_t size = 0;
        size_t golden_size = 0;
        read_file(path, &data, &size);
        if (getenv("TAPE_GOLDEN_WRITE") != NULL) {
            assert_int_equal(os_write_small(os_disk_linux(), golden_path, data, size, NULL),
                             TAPE_OK);
        }
        read_file(golden_path, &golden, &golden_size);
        if (files[c].codec == SSTABLE_PLAIN) {
            assert_int_equal(size, golden_size);
            assert_memory_equal(data, golden, size);
        }
        sstable *t = NULL;
        assert_int_equal(sstable_attach(&t, (uint8_t *)golden, golden_size, golden_path,
                                        fixture_store_id, number, NULL, NULL),
                         TAPE_OK);
        assert_int_equal(t->info.entries, info.entries);
        for (size_t i = 0; i < f.count; i++) {
            assert_reads_like(t, &f, fixture_key(&f.entries[i]), f.entries[i].view.seq, &scratch);
        }
        assert_sound(t, &f);
        sstable_close(&t);
        free(golden);
        free(data);
        free(golden_path);
        free(path);
        fixture_deinit(&f);
    }
    buffer_deinit(&scratch);
}

static void sstable_of_format_1_is_refused_by_name(void **state) {
    (void)state;
    char *golden = NULL;
    size_t size = 0;
    read_file(GOLDEN_DIR "/sstable_v1.bin", &golden, &size);
    sstable *t = NULL;
    tape_error error;
    assert_int_equal(sstable_attach(&t, (uint8_t *)golden, size, "store/00000042.sst",
                                    fixture_store_id, 42, NULL, &error),
                     TAPE_CORRUPT);
    assert_non_null(strstr(error.text, "store/00000042.sst: table format 1, made by an earlier"));
    assert_non_null(strstr(error.text, "the journal builds it again"));
    free(golden);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_WORLD(sstable_get_finds_each_version_at_its_time),
        IN_WORLD(sstable_get_of_absent_keys_finds_nothing),
        IN_WORLD(sstable_footer_tells_what_is_inside),
        IN_WORLD(sstable_holds_records_of_any_size),
        IN_WORLD(sstable_records_of_several_versions_share_pages),
        IN_WORLD(sstable_keeps_append_times_of_the_whole_range),
        IN_WORLD(sstable_versions_of_one_key_may_fill_many_blocks),
        IN_WORLD(sstable_index_finds_the_block_that_comparing_finds),
        cmocka_unit_test(sstable_filter_lets_less_than_one_in_a_hundred_pass),
        IN_WORLD(sstable_of_seqs_finds_them_without_filter_and_tags),
        cmocka_unit_test(sstable_block_find_seq_finds_what_is_there),
        IN_WORLD(sstable_abandoned_leaves_no_file),
        IN_WORLD(sstable_writer_bytes_is_about_the_size_of_the_file),
        IN_WORLD(sstable_packed_files_are_smaller),
        IN_WORLD(sstable_stores_raw_what_does_not_shrink),
        IN_WORLD(sstable_split_keys_cut_pieces_of_like_size),
        cmocka_unit_test(sstable_key_texts_read_well),
        IN_WORLD(sstable_golden_files_are_read_and_written),
        cmocka_unit_test(sstable_of_format_1_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("sstable", tests, NULL, NULL);
}
