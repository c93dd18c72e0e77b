#include "base/base_testing.h"
#include "store/manifest.h"

#include "format/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FUZZ_ROUNDS 100000

static const uint8_t store_id[16] = {16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1};

typedef struct world {
    char *dir;
    char *path;
    sstable_place place;
} world;

static int set_up(void **state) {
    const char *parent = getenv("TMPDIR");
    world *w = mem_zalloc(sizeof *w);
    w->dir = mem_printf("%s/tape-test-XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    w->path = mem_printf("%s/%s", w->dir, MANIFEST_NAME);
    w->place = (sstable_place){os_disk_linux(), w->dir, store_id};
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    (void)!os_remove(os_disk_linux(), w->path, NULL);
    assert_int_equal(os_dir_remove(os_disk_linux(), w->dir, NULL), TAPE_OK);
    free(w->path);
    free(w->dir);
    free(w);
    return 0;
}

/* Table `number` holds seqs 10 * number - 9 .. 10 * number. */
static sstable_info made_up_table(uint64_t number) {
    sstable_info info = {
        .number = number,
        .size_bytes = 4096 * number,
        .entries = 10,
        .keys = 7,
        .content_xxh3 = number * UINT64_C(0x123456789abcdef1),
        .min_seq = 10 * number - 9,
        .max_seq = 10 * number,
        .min_ts = -5,
        .max_ts = (int64_t)number,
        .min_key_size = 3,
        .max_key_size = 4,
        .min_key = {1, 'a', 'b'},
        .max_key = {2, 'x', 'y', 'z'},
    };
    return info;
}

static void assert_holds(const manifest *m, uint64_t tables) {
    assert_int_equal(m->table_count, tables);
    assert_int_equal(m->flushed_seq, 10 * tables);
    for (uint64_t i = 0; i < tables; i++) {
        sstable_info want = made_up_table(i + 1);
        assert_memory_equal(&m->tables[i], &want, sizeof want);
    }
}

static void add_tables(const world *w, uint64_t from, uint64_t to) {
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    for (uint64_t number = from; number <= to; number++) {
        sstable_info info = made_up_table(number);
        assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
        assert_int_equal(manifest_add_table(&m, &info, NULL), TAPE_OK);
    }
    assert_holds(&m, to);
    manifest_deinit(&m);
}

static uint8_t *read_file(const world *w, size_t *size) {
    char *data = NULL;
    assert_int_equal(os_read_small(os_disk_linux(), w->path, &data, size, NULL), TAPE_OK);
    return (uint8_t *)data;
}

static void write_file(const world *w, const uint8_t *data, size_t size) {
    assert_int_equal(os_write_small(os_disk_linux(), w->path, data, size, NULL), TAPE_OK);
}

/* The offset of the frame that starts as number `index` (0: the head), or the end. */
static size_t frame_offset(const uint8_t *data, size_t size, unsigned index) {
    size_t at = 0;
    while (index > 0 && at < size) {
        at += frame_span(load_u32(data + at));
        index--;
    }
    return at;
}

static void manifest_missing_is_an_empty_store(void **state) {
    world *w = *state;
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_false(m.present);
    assert_holds(&m, 0);
    manifest_deinit(&m);
}

static void manifest_edits_are_there_after_loading(void **state) {
    world *w = *state;
    add_tables(w, 1, 3);
    add_tables(w, 4, 4);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_true(m.present);
    assert_false(m.doubtful);
    assert_int_equal(m.cut_bytes, 0);
    assert_holds(&m, 4);
    manifest_deinit(&m);
}

static void manifest_cut_anywhere_in_its_last_edit_falls_back_to_the_one_before(void **state) {
    world *w = *state;
    add_tables(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    size_t last = frame_offset(data, size, 3);
    assert_true(last < size && frame_offset(data, size, 4) == size);
    for (size_t cut = last; cut <= size; cut++) {
        manifest m;
        tape_error error;
        assert_int_equal(manifest_read(&m, &w->place, data, cut, &error), TAPE_OK);
        assert_holds(&m, cut == size ? 3 : 2);
        assert_int_equal(m.doubtful, cut != last && cut != size);
        assert_int_equal(m.cut_bytes, cut == size ? 0 : cut - last);
        manifest_deinit(&m);
    }
    free(data);
}

static void manifest_after_a_cut_goes_on_in_a_file_without_it(void **state) {
    world *w = *state;
    add_tables(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    write_file(w, data, size - 40);
    free(data);
    add_tables(w, 3, 5);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_false(m.doubtful);
    assert_holds(&m, 5);
    manifest_deinit(&m);
}

/* Each byte, each time with the edit hit being the last and not. */
static void manifest_flipped_bytes_are_refused_or_fall_back_by_one_edit(void **state) {
    world *w = *state;
    add_tables(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    size_t last = frame_offset(data, size, 3);
    for (size_t at = 0; at < size; at++) {
        data[at] = (uint8_t)(data[at] ^ (1u << at % 8));
        manifest m;
        tape_error error;
        tape_status status = manifest_read(&m, &w->place, data, size, &error);
        if (at >= last) {
            assert_int_equal(status, TAPE_OK);
            assert_holds(&m, 2);
            assert_int_equal(m.cut_bytes, size - last);
            manifest_deinit(&m);
        } else {
            assert_int_equal(status, TAPE_CORRUPT);
            assert_string_equal(error.file, w->path);
            assert_non_null(strstr(error.text, "MANIFEST"));
            assert_true(error.offset < last);
        }
        data[at] = (uint8_t)(data[at] ^ (1u << at % 8));
    }
    free(data);
}

static void manifest_written_as_a_whole_is_refused_when_any_byte_is_flipped(void **state) {
    world *w = *state;
    add_tables(w, 1, 3);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    m.doubtful = true;
    assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
    manifest_deinit(&m);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    for (size_t at = 0; at < size; at++) {
        data[at] ^= 0x10;
        assert_int_equal(manifest_read(&m, &w->place, data, size, NULL), TAPE_CORRUPT);
        data[at] ^= 0x10;
    }
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(manifest_read(&m, &w->place, data, cut, NULL), TAPE_CORRUPT);
    }
    assert_int_equal(manifest_read(&m, &w->place, data, size, NULL), TAPE_OK);
    assert_holds(&m, 3);
    manifest_deinit(&m);
    free(data);
}

static void manifest_error_says_expected_and_actual(void **state) {
    world *w = *state;
    add_tables(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    size_t second = frame_offset(data, size, 2);
    data[second + 60] ^= 1;
    manifest m;
    tape_error error;
    assert_int_equal(manifest_read(&m, &w->place, data, size, &error), TAPE_CORRUPT);
    assert_int_equal(error.offset, second);
    assert_non_null(strstr(error.text, "checksum expected 0x"));
    assert_non_null(strstr(error.text, "actual 0x"));
    assert_non_null(strstr(error.text, "a valid frame follows it"));
    free(data);
}

static void manifest_that_grows_is_replaced_by_a_shorter_one(void **state) {
    world *w = *state;
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
    uint64_t replaced = 0;
    const uint64_t tables = 3000;
    for (uint64_t number = 1; number <= tables; number++) {
        uint64_t before = m.base_bytes;
        assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
        replaced += m.base_bytes != before;
        sstable_info info = made_up_table(number);
        assert_int_equal(manifest_add_table(&m, &info, NULL), TAPE_OK);
    }
    assert_true(replaced >= 1 && replaced < 5);
    manifest_deinit(&m);
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_holds(&m, tables);
    manifest_deinit(&m);
}

typedef enum mistake {
    MAGIC,
    STORE_ID,
    VERSION,
    HEAD_SIZE,
    EDIT_NUMBER,
    FLUSHED_SEQ,
    ITEM_COUNT,
    ITEM_KIND,
    ITEM_SIZE,
    TABLE_SEQ,
    TABLE_NUMBER,
    TABLE_KEY_SIZE,
    FRAME_TYPE,
    MISTAKES,
} mistake;

/* Bytes with right checksums that make no sense, as a bug would write them. */
static void manifest_refuses_edits_that_make_no_sense(void **state) {
    world *w = *state;
    add_tables(w, 1, 2);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    uint8_t *copy = mem_alloc(size);
    size_t second = frame_offset(data, size, 2);
    for (int i = 0; i < MISTAKES; i++) {
        memcpy(copy, data, size);
        manifest_head *head = (manifest_head *)(copy + FRAME_HEADER_BYTES);
        manifest_edit *edit = (manifest_edit *)(copy + second + FRAME_HEADER_BYTES);
        manifest_item *item = (manifest_item *)(edit + 1);
        manifest_table *table = (manifest_table *)(item + 1);
        uint32_t head_size = load_u32(copy);
        uint16_t type = FRAME_MANIFEST;
        head->magic += i == MAGIC;
        head->store_id[3] = (uint8_t)(head->store_id[3] + (i == STORE_ID));
        head->format_version += i == VERSION;
        head_size -= i == HEAD_SIZE ? 8 : 0;
        edit->number += i == EDIT_NUMBER;
        edit->flushed_seq += i == FLUSHED_SEQ;
        edit->item_count += i == ITEM_COUNT;
        item->kind += i == ITEM_KIND ? 8 : 0;
        item->size_bytes -= i == ITEM_SIZE ? 8 : 0;
        table->min_seq += i == TABLE_SEQ;
        table->number -= i == TABLE_NUMBER;
        table->max_key_size += i == TABLE_KEY_SIZE ? RECORD_KEY_BYTES_MAX : 0;
        type = (uint16_t)(i == FRAME_TYPE ? FRAME_HEARTBEAT : type);
        (void)frame_write(copy, format_salt(store_id), 0, FRAME_MANIFEST, 1, 0, 0,
                          copy + FRAME_HEADER_BYTES, head_size - FRAME_HEADER_BYTES);
        (void)frame_write(copy + second, format_salt(store_id), second, type, 1, 0, 0,
                          copy + second + FRAME_HEADER_BYTES,
                          load_u32(copy + second) - FRAME_HEADER_BYTES);
        manifest m;
        tape_error error = {0};
        tape_status status = manifest_read(&m, &w->place, copy, size, &error);
        tape_status want = i == VERSION || i == ITEM_KIND ? TAPE_NEWER : TAPE_CORRUPT;
        assert_int_equal(status, want);
        assert_int_equal(error.offset, i <= HEAD_SIZE ? 0 : second);
    }
    free(copy);
    free(data);
}

static void manifest_of_another_store_is_called_that(void **state) {
    world *w = *state;
    add_tables(w, 1, 2);
    const uint8_t stranger[16] = {1};
    sstable_place place = {os_disk_linux(), w->dir, stranger};
    manifest m;
    tape_error error;
    assert_int_equal(manifest_load(&m, &place, &error), TAPE_CORRUPT);
    assert_non_null(strstr(error.text, "another store"));
}

static void manifest_golden_file_is_written_byte_for_byte(void **state) {
    world *w = *state;
    add_tables(w, 1, 2);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    m.doubtful = true;
    assert_int_equal(manifest_settle(&m, NULL), TAPE_OK); /* a file that begins with two tables */
    manifest_deinit(&m);
    add_tables(w, 3, 4);
    size_t size = 0;
    size_t golden_size = 0;
    char *golden = NULL;
    uint8_t *data = read_file(w, &size);
    const char *golden_path = GOLDEN_DIR "/manifest_v1.bin";
    if (getenv("TAPE_GOLDEN_WRITE") != NULL) {
        assert_int_equal(os_write_small(os_disk_linux(), golden_path, data, size, NULL), TAPE_OK);
    }
    assert_int_equal(os_read_small(os_disk_linux(), golden_path, &golden, &golden_size, NULL),
                     TAPE_OK);
    assert_int_equal(size, golden_size);
    assert_memory_equal(data, golden, size);
    assert_int_equal(manifest_read(&m, &w->place, (uint8_t *)golden, golden_size, NULL), TAPE_OK);
    assert_holds(&m, 4);
    manifest_deinit(&m);
    free(golden);
    free(data);
}

/* Half of the rounds give the frames right checksums again, where their sizes still lead to them.
 */
static void manifest_reader_survives_mutated_bytes(void **state) {
    world *w = *state;
    add_tables(w, 1, 4);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    uint64_t seed = 77;
    uint64_t loaded = 0;
    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        size_t length = random_next(&seed) % 8 == 0 ? random_next(&seed) % (size + 1) : size;
        uint8_t *copy = mem_alloc(length);
        memcpy(copy, data, length);
        for (uint64_t i = 0, n = 1 + random_next(&seed) % 4; i < n && length > 0; i++) {
            uint64_t r = random_next(&seed);
            copy[r % length] =
                (uint8_t)(r >> 32 & 1 ? r >> 40 : copy[r % length] ^ 1u << (r >> 40) % 8);
        }
        for (size_t at = 0; random_next(&seed) % 2 == 0 && at + FRAME_HEADER_BYTES <= length;) {
            uint32_t bytes = load_u32(copy + at);
            if (bytes < FRAME_HEADER_BYTES || bytes > length || frame_span(bytes) > length - at) {
                break;
            }
            at += frame_write(copy + at, format_salt(store_id), at, FRAME_MANIFEST, 1, 0, 0,
                              copy + at + FRAME_HEADER_BYTES, bytes - FRAME_HEADER_BYTES);
        }
        manifest m;
        tape_error error;
        if (manifest_read(&m, &w->place, copy, length, &error) == TAPE_OK) {
            loaded++;
            assert_int_equal(m.flushed_seq,
                             m.table_count == 0 ? 0 : m.tables[m.table_count - 1].max_seq);
            manifest_deinit(&m);
        }
        free(copy);
    }
    print_message("%llu of %d mutated manifests loaded\n", (unsigned long long)loaded, FUZZ_ROUNDS);
    assert_true(loaded > FUZZ_ROUNDS / 100);
    free(data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(manifest_missing_is_an_empty_store),
        TEST(manifest_edits_are_there_after_loading),
        TEST(manifest_cut_anywhere_in_its_last_edit_falls_back_to_the_one_before),
        TEST(manifest_after_a_cut_goes_on_in_a_file_without_it),
        TEST(manifest_flipped_bytes_are_refused_or_fall_back_by_one_edit),
        TEST(manifest_written_as_a_whole_is_refused_when_any_byte_is_flipped),
        TEST(manifest_error_says_expected_and_actual),
        TEST(manifest_that_grows_is_replaced_by_a_shorter_one),
        TEST(manifest_refuses_edits_that_make_no_sense),
        TEST(manifest_of_another_store_is_called_that),
        TEST(manifest_golden_file_is_written_byte_for_byte),
        TEST(manifest_reader_survives_mutated_bytes),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
