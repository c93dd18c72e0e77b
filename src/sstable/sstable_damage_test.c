/* What a damaged table does: it is refused by name, and never answers wrongly. */
#include "sstable/sstable_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FUZZ_ROUNDS 100000

/* A table in memory, its index as written, and its records. */
typedef struct world {
    char *dir;
    sstable_place place;
    fixture f;
    sstable_info info;
    char *path;
    uint8_t *data;
    size_t size;
    sstable_index_entry *index;
    uint64_t blocks;
    uint64_t filter_offset;
    uint64_t index_offset;
} world;

static void world_make(world *w, size_t count, uint64_t number, uint64_t seed) {
    *w = (world){.dir = fixture_dir_make()};
    w->place = (sstable_place){os_disk_linux(), w->dir, fixture_store_id};
    fixture_fill(&w->f, seed, count, count / 4 + 1, 10);
    w->info = fixture_write(&w->f, &w->place, number);
    w->path = sstable_path(w->dir, number);
    char *data = NULL;
    assert_int_equal(os_read_small(os_disk_linux(), w->path, &data, &w->size, NULL), TAPE_OK);
    w->data = (uint8_t *)data;
    sstable *t = NULL;
    assert_int_equal(
        sstable_attach(&t, w->data, w->size, w->path, fixture_store_id, number, NULL, NULL),
        TAPE_OK);
    w->blocks = t->blocks;
    w->filter_offset = t->data_bytes;
    w->index_offset = t->index_offset;
    w->index = mem_alloc(t->blocks * sizeof *w->index);
    for (uint64_t i = 0; i < t->blocks; i++) {
        w->index[i] = sstable_index_at(t, i);
    }
    sstable_close(&t);
}

static void world_free(world *w) {
    free(w->index);
    free(w->data);
    free(w->path);
    fixture_deinit(&w->f);
    fixture_dir_remove(&w->dir);
}

static tape_status attach(const world *w, const uint8_t *data, size_t size, sstable **t,
                          tape_error *error) {
    return sstable_attach(t, data, size, w->path, fixture_store_id, w->info.number, &w->info,
                          error);
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

/* Looks every record up. Each answer is right or CORRUPT; returns how many were CORRUPT. */
static uint64_t get_all(const world *w, sstable *t, tape_error *error) {
    uint64_t refused = 0;
    for (size_t i = 0; i < w->f.count; i++) {
        const fixture_entry *e = &w->f.entries[i];
        sstable_key key = sstable_key_of(fixture_key(e));
        record_view got;
        sstable_outcome outcome = SSTABLE_FILTERED;
        if (sstable_get(t, &key, e->view.seq, &got, &outcome, error) != TAPE_OK) {
            refused++;
            continue;
        }
        assert_int_equal(outcome, SSTABLE_FOUND);
        assert_true(fixture_equal(&got, e));
    }
    return refused;
}

static void assert_names(const world *w, const tape_error *error, uint64_t offset,
                         const char *word) {
    assert_int_equal(error->status, TAPE_CORRUPT);
    assert_string_equal(error->file, w->path);
    assert_int_equal(error->offset, offset);
    assert_non_null(strstr(error->text, w->path));
    if (strstr(error->text, word) == NULL) {
        fail_msg("\"%s\" is not in: %s", word, error->text);
    }
}

static void sstable_each_flipped_byte_is_found_and_never_read(void **state) {
    (void)state;
    world w;
    world_make(&w, 24, 5, 3);
    assert_true(w.blocks >= 1 && w.size < 16384);
    for (size_t at = 0; at < w.size; at++) {
        uint8_t good = w.data[at];
        w.data[at] = (uint8_t)(good ^ (1u << at % 8));
        sstable *t = NULL;
        tape_error error;
        tape_status status = attach(&w, w.data, w.size, &t, &error);
        if (at >= w.size - SSTABLE_FOOTER_BYTES) {
            assert_int_equal(status, TAPE_CORRUPT);
        } else {
            assert_int_equal(status, TAPE_OK);
            assert_true(get_all(&w, t, &error) > 0);
            findings found = {0};
            uint64_t records = 0;
            assert_true(sstable_verify(t, note_finding, &found, &records) > 0);
            assert_string_equal(found.first.file, w.path);
            assert_int_equal(found.first.status, TAPE_CORRUPT);
        }
        sstable_close(&t);
        w.data[at] = good;
    }
    world_free(&w);
}

static void sstable_damaged_block_is_refused_and_the_others_are_read(void **state) {
    (void)state;
    world w;
    world_make(&w, 600, 5, 4);
    assert_true(w.blocks > 4);
    for (uint64_t block = 0; block < w.blocks; block++) {
        uint64_t offset = (uint64_t)w.index[block].first_page * SSTABLE_PAGE_BYTES;
        w.data[offset + 100] ^= 4;
        sstable *t = NULL;
        tape_error error;
        assert_int_equal(attach(&w, w.data, w.size, &t, &error), TAPE_OK);
        sstable_block header;
        memcpy(&header, w.data + offset, sizeof header);
        assert_int_equal(get_all(&w, t, &error), header.count);
        assert_names(&w, &error, offset, "checksum expected 0x");
        assert_non_null(strstr(error.text, "actual 0x"));
        assert_non_null(strstr(error.text, "keys from"));
        assert_int_equal(get_all(&w, t, &error), header.count); /* it stays refused */
        findings found = {0};
        uint64_t records = 0;
        assert_int_equal(sstable_verify(t, note_finding, &found, &records), 1);
        assert_int_equal(records, w.f.count - header.count);
        assert_names(&w, &found.first, offset, "the block at offset");
        sstable_close(&t);
        w.data[offset + 100] ^= 4;
    }
    world_free(&w);
}

static void sstable_misdirected_block_is_refused(void **state) {
    (void)state;
    world w;
    world other;
    world_make(&w, 600, 5, 4);
    world_make(&other, 600, 6, 4); /* the same records in a table of another number */
    sstable *t = NULL;
    tape_error error;
    /* The block from elsewhere in the file, then the very same block of the other table. */
    const uint8_t *strangers[] = {w.data + 2 * SSTABLE_PAGE_BYTES, other.data + SSTABLE_PAGE_BYTES};
    uint8_t good[SSTABLE_PAGE_BYTES];
    memcpy(good, w.data + SSTABLE_PAGE_BYTES, sizeof good);
    for (size_t i = 0; i < COUNT_OF(strangers); i++) {
        memcpy(w.data + SSTABLE_PAGE_BYTES, strangers[i], SSTABLE_PAGE_BYTES);
        assert_int_equal(attach(&w, w.data, w.size, &t, &error), TAPE_OK);
        assert_true(get_all(&w, t, &error) > 0);
        assert_names(&w, &error, SSTABLE_PAGE_BYTES, "checksum expected");
        sstable_close(&t);
        memcpy(w.data + SSTABLE_PAGE_BYTES, good, sizeof good);
    }
    world_free(&other);
    world_free(&w);
}

static void sstable_damaged_filter_or_index_refuses_all_of_the_table(void **state) {
    (void)state;
    world w;
    world_make(&w, 600, 5, 4);
    const uint64_t offsets[] = {w.filter_offset, w.index_offset};
    const char *words[] = {"the filter at offset", "the index at offset"};
    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        w.data[offsets[i] + 9] ^= 32;
        sstable *t = NULL;
        tape_error error;
        assert_int_equal(attach(&w, w.data, w.size, &t, &error), TAPE_OK);
        assert_int_equal(get_all(&w, t, &error), w.f.count);
        assert_names(&w, &error, offsets[i], words[i]);
        findings found = {0};
        uint64_t records = 0;
        assert_int_equal(sstable_verify(t, note_finding, &found, &records), 1);
        assert_names(&w, &found.first, offsets[i], words[i]);
        sstable_close(&t);
        w.data[offsets[i] + 9] ^= 32;
    }
    world_free(&w);
}

static void refuse(const world *w, const uint8_t *store_id, uint64_t number,
                   const sstable_info *expected, tape_status status, const char *word) {
    sstable *t = NULL;
    tape_error error = {0};
    sstable_place place = {os_disk_linux(), w->dir, store_id};
    assert_int_equal(sstable_open(&t, &place, number, expected, OS_MAP_RANDOM, &error), status);
    assert_null(t);
    assert_int_equal(error.status, status);
    if (strstr(error.text, word) == NULL) {
        fail_msg("\"%s\" is not in: %s", word, error.text);
    }
    assert_non_null(strstr(error.text, ".sst"));
}

static void write_file(const world *w, uint64_t number, const void *data, size_t size) {
    char *path = sstable_path(w->dir, number);
    assert_int_equal(os_write_small(os_disk_linux(), path, data, size, NULL), TAPE_OK);
    free(path);
}

static void sstable_open_refuses_a_file_that_is_not_the_one_expected(void **state) {
    (void)state;
    world w;
    world_make(&w, 300, 5, 4);
    const uint8_t stranger[16] = {9};
    sstable_info other = w.info;
    other.content_xxh3++;
    refuse(&w, fixture_store_id, 6, NULL, TAPE_CORRUPT, "missing");
    refuse(&w, stranger, 5, NULL, TAPE_CORRUPT, "another store");
    refuse(&w, fixture_store_id, 5, &other, TAPE_CORRUPT, "not the table that the manifest lists");
    other = w.info;
    other.size_bytes += 4096;
    refuse(&w, fixture_store_id, 5, &other, TAPE_CORRUPT, "bytes, expected");
    write_file(&w, 7, w.data, w.size);
    refuse(&w, fixture_store_id, 7, NULL, TAPE_CORRUPT, "holds table 5, expected 7");
    write_file(&w, 8, w.data, 100);
    refuse(&w, fixture_store_id, 8, NULL, TAPE_CORRUPT, "has 100 bytes");
    write_file(&w, 9, w.data, w.size - 512);
    refuse(&w, fixture_store_id, 9, NULL, TAPE_CORRUPT, "not a table file");

    sstable_footer *footer = (sstable_footer *)(w.data + w.size - sizeof *footer);
    footer->format_version = 2;
    write_file(&w, 10, w.data, w.size);
    refuse(&w, fixture_store_id, 10, NULL, TAPE_CORRUPT, "checksum"); /* rot, not a newer tape */
    fixture_reseal(w.data, w.size, 5, w.index, w.blocks);
    write_file(&w, 5, w.data, w.size);
    refuse(&w, fixture_store_id, 5, NULL, TAPE_NEWER, "format 2");
    world_free(&w);
}

/* A bug of the writer would have right checksums: verify compares the parts with each other. */
static void sstable_verify_finds_parts_that_contradict_each_other(void **state) {
    (void)state;
    world w;
    world_make(&w, 300, 5, 4);
    uint8_t *copy = mem_alloc(w.size);
    enum {
        FOOTER_ENTRIES,
        FOOTER_SEQ,
        FOOTER_TS,
        FOOTER_KEY,
        INDEX_SEQ,
        FILTER,
        ORDER,
        CONTENT,
        CASES
    };
    const char *words[CASES] = {
        "entries: the footer says",  "least seq",        "greatest ts",  "range of keys",
        "not the last of its block", "the filter lacks", "out of order", "content hash"};
    for (int i = 0; i < CASES; i++) {
        memcpy(copy, w.data, w.size);
        sstable_footer *footer = (sstable_footer *)(copy + w.size - sizeof *footer);
        sstable_index_entry *index = (sstable_index_entry *)(copy + w.index_offset);
        switch (i) {
        case FOOTER_ENTRIES:
            footer->entries++;
            break;
        case FOOTER_SEQ:
            footer->min_seq--;
            break;
        case FOOTER_TS:
            footer->max_ts++;
            break;
        case FOOTER_KEY:
            footer->max_key_size++;
            break;
        case INDEX_SEQ:
            index[1].last_seq ^= 1;
            break;
        case FILTER:
            memset(copy + w.filter_offset, 0, w.index_offset - w.filter_offset);
            break;
        case ORDER: { /* the places of two entries change */
            uint16_t *offsets = (uint16_t *)(copy + sizeof(sstable_block));
            uint16_t first = offsets[0];
            offsets[0] = offsets[1];
            offsets[1] = first;
            break;
        }
        default:
            footer->content_xxh3++;
            break;
        }
        fixture_reseal(copy, w.size, 5, w.index, w.blocks);
        sstable *t = NULL;
        assert_int_equal(sstable_attach(&t, copy, w.size, w.path, fixture_store_id, 5, NULL, NULL),
                         TAPE_OK);
        findings found = {0};
        uint64_t records = 0;
        assert_true(sstable_verify(t, note_finding, &found, &records) > 0);
        if (strstr(found.first.text, words[i]) == NULL) {
            fail_msg("\"%s\" is not in: %s", words[i], found.first.text);
        }
        sstable_close(&t);
    }
    free(copy);
    world_free(&w);
}

/* Changes bytes, preferring those that steer: headers, offsets, the index, the footer. */
static void mutate(const world *w, uint8_t *data, uint64_t *random) {
    uint64_t changes = 1 + fixture_random(random) % 6;
    for (uint64_t i = 0; i < changes; i++) {
        uint64_t at = 0;
        switch (fixture_random(random) % 5) {
        case 0:
            at = fixture_random(random) % w->blocks * SSTABLE_PAGE_BYTES +
                 fixture_random(random) % 64;
            break;
        case 1:
            at = w->index_offset + fixture_random(random) % (w->size - w->index_offset);
            break;
        case 2:
            at = w->size - SSTABLE_FOOTER_BYTES + fixture_random(random) % 288;
            break;
        default:
            at = fixture_random(random) % w->size;
            break;
        }
        static const uint8_t edges[] = {0, 1, 7, 8, 0x7f, 0x80, 0xfe, 0xff};
        uint64_t r = fixture_random(random);
        data[at] = (uint8_t)(r % 3 == 0   ? edges[r / 3 % sizeof edges]
                             : r % 3 == 1 ? data[at] ^ (1u << r / 3 % 8)
                                          : r >> 8);
    }
}

/* Every way of reading, for its effect on the reader alone. */
static void read_everything(const world *w, sstable *t, uint64_t *random) {
    tape_error error;
    for (size_t i = 0; i < 4; i++) {
        const fixture_entry *e = &w->f.entries[fixture_random(random) % w->f.count];
        sstable_key key = sstable_key_of(fixture_key(e));
        record_view got;
        sstable_outcome outcome;
        if (sstable_get(t, &key, e->view.seq, &got, &outcome, &error) == TAPE_OK &&
            outcome == SSTABLE_FOUND) {
            (void)crc32c(0, got.payload, got.size);
        }
    }
    sstable_iterator it;
    sstable_iterate(t, &it);
    record_view got;
    bool found = true;
    while (sstable_next(&it, &got, &found, &error) == TAPE_OK && found) {
        (void)crc32c(0, got.payload, got.size);
    }
    findings ignored = {0};
    uint64_t records = 0;
    (void)sstable_verify(t, note_finding, &ignored, &records);
}

/* Half of the rounds have right checksums, so that what is behind them is reached. */
static void sstable_reader_survives_mutated_bytes(void **state) {
    (void)state;
    world w;
    world_make(&w, 60, 5, 9);
    uint64_t seed = 20240808;
    uint64_t opened = 0;
    uint8_t *copy = mem_alloc(w.size);
    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        memcpy(copy, w.data, w.size);
        mutate(&w, copy, &seed);
        bool resealed = fixture_random(&seed) % 2 == 0;
        if (resealed) {
            fixture_reseal(copy, w.size, 5, w.index, w.blocks);
        }
        uint64_t size = w.size;
        if (fixture_random(&seed) % 16 == 0) {
            size = fixture_random(&seed) % (w.size + 1);
        }
        sstable *t = NULL;
        tape_error error;
        if (sstable_attach(&t, copy, size, w.path, fixture_store_id, 5, NULL, &error) == TAPE_OK) {
            opened++;
            read_everything(&w, t, &seed);
        }
        sstable_close(&t);
    }
    print_message("%llu of %d mutated tables opened\n", (unsigned long long)opened, FUZZ_ROUNDS);
    assert_true(opened > FUZZ_ROUNDS / 4);
    free(copy);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sstable_each_flipped_byte_is_found_and_never_read),
        cmocka_unit_test(sstable_damaged_block_is_refused_and_the_others_are_read),
        cmocka_unit_test(sstable_misdirected_block_is_refused),
        cmocka_unit_test(sstable_damaged_filter_or_index_refuses_all_of_the_table),
        cmocka_unit_test(sstable_open_refuses_a_file_that_is_not_the_one_expected),
        cmocka_unit_test(sstable_verify_finds_parts_that_contradict_each_other),
        cmocka_unit_test(sstable_reader_survives_mutated_bytes),
    };
    return cmocka_run_group_tests_name("sstable_damage", tests, NULL, NULL);
}
