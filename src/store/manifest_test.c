#include "base/base_testing.h"
#include "store/manifest_testing.h"
#include "store/store_internal.h"

#include "format/format.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MOVING_FRAME 3u /* of write_moving_edit's file */

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
    w->place = (sstable_place){os_disk_linux(), w->dir, fixture_store_id};
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

static void assert_holds(const manifest *m, uint64_t files) {
    assert_int_equal(m->entry_count, files);
    assert_int_equal(m->flushed_seq, 10 * files);
    assert_int_equal(m->next_number, files + 1);
    for (uint64_t i = 0; i < files; i++) {
        manifest_entry want = flushed_file(i + 1);
        assert_true(same_file(&m->entries[i], &want));
    }
}

static void add_flushed_file(manifest *m) {
    manifest_entry file = flushed_file(m->next_number++);
    commit_change(
        m, &(manifest_change){.flushed_seq = file.info.max_seq, .added = &file, .added_count = 1});
}

/* The file: head, an edit without items, then one edit per file. */
#define FIRST_FILE_FRAME 2u
static void add_files(const world *w, uint64_t from, uint64_t to) {
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_int_equal(m.next_number, from);
    while (m.next_number <= to) {
        add_flushed_file(&m);
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
    add_files(w, 1, 3);
    add_files(w, 4, 4);
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
    add_files(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    size_t last = frame_offset(data, size, FIRST_FILE_FRAME + 2);
    assert_true(last < size && frame_offset(data, size, FIRST_FILE_FRAME + 3) == size);
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
    add_files(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    write_file(w, data, size - 40);
    free(data);
    add_files(w, 3, 5);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_false(m.doubtful);
    assert_holds(&m, 5);
    manifest_deinit(&m);
}

/* Every bit, each time with the edit hit being the last and not. */
static void manifest_flipped_bits_are_refused_or_fall_back_by_one_edit(void **state) {
    world *w = *state;
    add_files(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    size_t last = frame_offset(data, size, FIRST_FILE_FRAME + 2);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        data[bit / 8] = (uint8_t)(data[bit / 8] ^ (1u << bit % 8));
        manifest m;
        tape_error error;
        tape_status status = manifest_read(&m, &w->place, data, size, &error);
        if (bit / 8 >= last) {
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
        data[bit / 8] = (uint8_t)(data[bit / 8] ^ (1u << bit % 8));
    }
    free(data);
}

static void manifest_written_as_a_whole_is_refused_when_any_byte_is_flipped(void **state) {
    world *w = *state;
    add_files(w, 1, 3);
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
    add_files(w, 1, 3);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    size_t second = frame_offset(data, size, FIRST_FILE_FRAME + 1);
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
    (void)state;
    os_sim *sim = os_sim_create(2);
    sstable_place place;
    start_machine(sim, &place);
    manifest m;
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    uint64_t replaced = 0;
    const uint64_t files = 3000;
    for (uint64_t number = 1; number <= files; number++) {
        uint64_t before = m.end;
        manifest_entry file = flushed_file(m.next_number++);
        uint64_t old = number - 10; /* ten are kept */
        commit_change(&m, &(manifest_change){.flushed_seq = file.info.max_seq,
                                             .removed = &old,
                                             .removed_count = number > 10,
                                             .added = &file,
                                             .added_count = 1});
        replaced += m.end < before;
        assert_true(m.end < KIB(272));
    }
    assert_true(replaced == 3);
    manifest_deinit(&m);
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    assert_int_equal(m.entry_count, 10);
    for (uint64_t i = 0; i < 10; i++) {
        manifest_entry want = flushed_file(files - 9 + i);
        assert_true(same_file(&m.entries[i], &want));
    }
    manifest_deinit(&m);
    os_sim_destroy(&sim);
}

static void manifest_is_not_written_anew_because_it_lists_more(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(2);
    sstable_place place;
    start_machine(sim, &place);
    manifest m;
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
    uint64_t base = m.base_bytes;
    while (m.next_number <= 1500) {
        add_flushed_file(&m);
    }
    assert_int_equal(m.base_bytes, base);
    manifest_deinit(&m);
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    assert_holds(&m, 1500);
    manifest_deinit(&m);
    os_sim_destroy(&sim);
}

/* --- edits that remove, move and forget --- */

static void assert_moved(const manifest *m) {
    manifest_entry want[] = {slot_file(1, 1, 1, 1, 1, 10), slot_file(3, 1, 0, 2, 21, 30),
                             slot_file(5, 1, 1, 2, 12, 20)};
    assert_int_equal(m->entry_count, COUNT_OF(want));
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        assert_true(same_file(&m->entries[i], &want[i]));
    }
    assert_int_equal(m->flushed_seq, 31);
    assert_int_equal(m->next_number, 6);
    for (uint16_t table = 0; table <= TAPE_TABLE_COUNT; table++) {
        assert_int_equal(m->history_seq[table], table == TAPE_TABLE_ORDERS ? 7 : 0);
    }
}

static void manifest_edit_removes_moves_adds_and_forgets(void **state) {
    world *w = *state;
    write_moving_edit(&w->place);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_moved(&m);
    m.doubtful = true; /* the same from a file written as a whole */
    assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
    manifest_deinit(&m);
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_moved(&m);
    assert_int_equal(m.end, m.base_bytes);
    manifest_deinit(&m);
}

static void manifest_without_files_keeps_seqs_and_the_next_number(void **state) {
    world *w = *state;
    write_moving_edit(&w->place);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    uint64_t removed[] = {1, 3, 5};
    m.next_number = 9;
    commit_change(&m,
                  &(manifest_change){.flushed_seq = 500, .removed = removed, .removed_count = 3});
    for (int rewritten = 0; rewritten < 2; rewritten++) {
        manifest_deinit(&m);
        assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
        assert_int_equal(m.entry_count, 0);
        assert_int_equal(m.flushed_seq, 500);
        assert_int_equal(m.next_number, 9);
        assert_int_equal(m.history_seq[TAPE_TABLE_ORDERS], 7);
        m.doubtful = true;
        assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
    }
    manifest_deinit(&m);
}

static void manifest_history_below_the_present_one_changes_nothing(void **state) {
    world *w = *state;
    write_moving_edit(&w->place);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    commit_change(&m, &(manifest_change){.flushed_seq = 31, .history_table = 1, .history_seq = 6});
    assert_moved(&m);
    manifest_deinit(&m);
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    assert_moved(&m);
    manifest_deinit(&m);
}

/* --- what makes no sense --- */

typedef enum mistake {
    MAGIC,
    STORE_ID,
    VERSION,
    VERSION_ZERO,
    HEAD_FRAME_VERSION,
    HEAD_SIZE,
    FRAME_TYPE,
    FRAME_VERSION,
    FRAME_VERSION_NEWER,
    FRAME_FLAGS,
    FRAME_TIME,
    EDIT_NUMBER,
    EDIT_FLUSHED_FALLS,
    EDIT_NEXT_NUMBER_FALLS,
    ITEM_COUNT_MORE,
    ITEM_COUNT_LESS,
    ITEM_KIND,
    ITEM_KIND_ZERO,
    ITEM_SIZE,
    HISTORY_TABLE,
    HISTORY_TABLE_NEWER,
    REMOVE_UNKNOWN,
    REMOVE_TWICE,
    REMOVE_AFTER_ADD,
    ADD_LISTED,
    ADD_ANOTHERS,
    ADD_TWICE,
    ADD_NUMBER_ZERO,
    ADD_NUMBER_BEYOND,
    ADD_LEVEL,
    ADD_TABLE_ZERO,
    ADD_TABLE_NEWER,
    ADD_CODEC_NEWER,
    ADD_SIZE_ZERO,
    ADD_ENTRIES_ZERO,
    ADD_ENTRIES_MANY,
    ADD_KEYS_ZERO,
    ADD_KEYS_MANY,
    ADD_SEQ_ZERO,
    ADD_SEQ_TURNED,
    ADD_SEQ_BEYOND,
    ADD_TS_TURNED,
    ADD_APPEND_TS_TURNED,
    ADD_FIRST_SEQ,
    ADD_LAST_SEQ,
    ADD_MIN_KEY_SIZE,
    ADD_MAX_KEY_SIZE,
    ADD_KEY_EMPTY,
    ADD_KEY_TABLE,
    ADD_KEY_TAIL,
    ADD_KEYS_TURNED,
    ADD_ONE_PLACE,
    OVERLAP,
    MISTAKES,
} mistake;

static const struct {
    tape_status status;
    const char *says;
} mistake_answers[MISTAKES] = {
    [MAGIC] = {TAPE_CORRUPT, "not a manifest's head"},
    [STORE_ID] = {TAPE_CORRUPT, "not a manifest's head"},
    [VERSION] = {TAPE_NEWER, "manifest format 3"},
    [VERSION_ZERO] = {TAPE_CORRUPT, "the head's version"},
    [HEAD_FRAME_VERSION] = {TAPE_CORRUPT, "the head's version"},
    [HEAD_SIZE] = {TAPE_CORRUPT, "the head is too short"},
    [FRAME_TYPE] = {TAPE_CORRUPT, "not a manifest's"},
    [FRAME_VERSION] = {TAPE_CORRUPT, "wrong version"},
    [FRAME_VERSION_NEWER] = {TAPE_NEWER, "version 3"},
    [FRAME_FLAGS] = {TAPE_CORRUPT, "flags"},
    [FRAME_TIME] = {TAPE_CORRUPT, "time"},
    [EDIT_NUMBER] = {TAPE_CORRUPT, "edit number expected 3, actual 4"},
    [EDIT_FLUSHED_FALLS] = {TAPE_CORRUPT, "falls from 30 to 29"},
    [EDIT_NEXT_NUMBER_FALLS] = {TAPE_CORRUPT, "number from 4 to 3"},
    [ITEM_COUNT_MORE] = {TAPE_CORRUPT, "within an item"},
    [ITEM_COUNT_LESS] = {TAPE_CORRUPT, "longer than its items"},
    [ITEM_KIND] = {TAPE_NEWER, "an item of kind 9"},
    [ITEM_KIND_ZERO] = {TAPE_NEWER, "an item of kind 0"},
    [ITEM_SIZE] = {TAPE_CORRUPT, "wrong size"},
    [HISTORY_TABLE] = {TAPE_CORRUPT, "table 0"},
    [HISTORY_TABLE_NEWER] = {TAPE_NEWER, "table 8"},
    [REMOVE_UNKNOWN] = {TAPE_CORRUPT, "removes file 4, which is not listed"},
    [REMOVE_TWICE] = {TAPE_CORRUPT, "removes file 2, which is not listed"},
    [REMOVE_AFTER_ADD] = {TAPE_CORRUPT, "after it added one"},
    [ADD_LISTED] = {TAPE_CORRUPT, "adds file 1, but it is listed"},
    [ADD_ANOTHERS] = {TAPE_CORRUPT, "adds file 2, but its number was another file's"},
    [ADD_TWICE] = {TAPE_CORRUPT, "adds file 5, but it is listed"},
    [ADD_NUMBER_ZERO] = {TAPE_CORRUPT, "its number is 0"},
    [ADD_NUMBER_BEYOND] = {TAPE_CORRUPT, "not below the next"},
    [ADD_LEVEL] = {TAPE_CORRUPT, "no such level"},
    [ADD_TABLE_ZERO] = {TAPE_CORRUPT, "of no table"},
    [ADD_TABLE_NEWER] = {TAPE_NEWER, "table 8"},
    [ADD_CODEC_NEWER] = {TAPE_NEWER, "codec 3"},
    [ADD_SIZE_ZERO] = {TAPE_CORRUPT, "its counts"},
    [ADD_ENTRIES_ZERO] = {TAPE_CORRUPT, "its counts"},
    [ADD_ENTRIES_MANY] = {TAPE_CORRUPT, "its counts"},
    [ADD_KEYS_ZERO] = {TAPE_CORRUPT, "its counts"},
    [ADD_KEYS_MANY] = {TAPE_CORRUPT, "its counts"},
    [ADD_SEQ_ZERO] = {TAPE_CORRUPT, "its range of seq"},
    [ADD_SEQ_TURNED] = {TAPE_CORRUPT, "its range of seq"},
    [ADD_SEQ_BEYOND] = {TAPE_CORRUPT, "its range of seq"},
    [ADD_TS_TURNED] = {TAPE_CORRUPT, "its range of time"},
    [ADD_APPEND_TS_TURNED] = {TAPE_CORRUPT, "its range of time"},
    [ADD_FIRST_SEQ] = {TAPE_CORRUPT, "its first record"},
    [ADD_LAST_SEQ] = {TAPE_CORRUPT, "its first record"},
    [ADD_MIN_KEY_SIZE] = {TAPE_CORRUPT, "a key"},
    [ADD_MAX_KEY_SIZE] = {TAPE_CORRUPT, "a key"},
    [ADD_KEY_EMPTY] = {TAPE_CORRUPT, "a key"},
    [ADD_KEY_TABLE] = {TAPE_CORRUPT, "a key"},
    [ADD_KEY_TAIL] = {TAPE_CORRUPT, "a key"},
    [ADD_KEYS_TURNED] = {TAPE_CORRUPT, "its first record"},
    [ADD_ONE_PLACE] = {TAPE_CORRUPT, "its first record"},
    [OVERLAP] = {TAPE_CORRUPT, "files 1 and 5 of table 1 overlap at level 1"},
};

static void make_head_mistake(mistake i, uint8_t *head_frame) {
    manifest_head *head = (manifest_head *)(head_frame + FRAME_HEADER_BYTES);
    head->magic += i == MAGIC;
    head->store_id[3] = (uint8_t)(head->store_id[3] + (i == STORE_ID));
    head->format_version += i == VERSION;
    head->format_version *= i != VERSION_ZERO;
    uint32_t size = load_u32(head_frame) - FRAME_HEADER_BYTES - (i == HEAD_SIZE ? 8 : 0);
    (void)frame_write(head_frame, format_salt(fixture_store_id), 0, FRAME_MANIFEST,
                      i == HEAD_FRAME_VERSION ? 1 : 2, 0, 0, head, size);
}

/* The items of the moving edit. */
typedef struct moving_edit {
    manifest_edit edit;
    manifest_item history_item;
    uint64_t history[2];
    struct {
        manifest_item item;
        uint64_t number;
    } remove[2];
    struct {
        manifest_item item;
        manifest_table table;
    } add[2];
} moving_edit;

static void make_edit_mistake(mistake i, moving_edit *e) {
    manifest_table *t = &e->add[0].table; /* file 5 */
    e->edit.number += i == EDIT_NUMBER;
    e->edit.flushed_seq -= i == EDIT_FLUSHED_FALLS ? 2 : 0;
    e->edit.next_number -= i == EDIT_NEXT_NUMBER_FALLS ? 3 : 0;
    e->edit.item_count += i == ITEM_COUNT_MORE;
    e->edit.item_count -= i == ITEM_COUNT_LESS;
    e->add[1].item.kind += i == ITEM_KIND ? 8 : 0;
    e->add[1].item.kind *= i != ITEM_KIND_ZERO;
    e->add[1].item.size_bytes -= i == ITEM_SIZE ? 8 : 0;
    e->history[0] = i == HISTORY_TABLE         ? 0
                    : i == HISTORY_TABLE_NEWER ? TAPE_TABLE_COUNT + 1
                                               : e->history[0];
    e->remove[1].number = i == REMOVE_UNKNOWN ? 4
                          : i == REMOVE_TWICE ? 2
                          : i == ADD_LISTED   ? 3
                                              : e->remove[1].number;
    t->number = i == ADD_ANOTHERS        ? 2
                : i == ADD_NUMBER_ZERO   ? 0
                : i == ADD_NUMBER_BEYOND ? 6
                                         : t->number;
    if (i == ADD_TWICE) {
        e->add[1] = e->add[0];
    }
    t->level += i == ADD_LEVEL ? MANIFEST_LEVELS : 0;
    t->table = i == ADD_TABLE_ZERO ? 0 : i == ADD_TABLE_NEWER ? TAPE_TABLE_COUNT + 1 : t->table;
    t->codec = i == ADD_CODEC_NEWER ? SSTABLE_ZSTD + 1 : t->codec;
    t->size_bytes *= i != ADD_SIZE_ZERO;
    t->entries = i == ADD_ENTRIES_ZERO ? 0 : i == ADD_ENTRIES_MANY ? 10 : t->entries;
    t->keys = i == ADD_KEYS_ZERO ? 0 : i == ADD_KEYS_MANY ? 10 : t->keys;
    t->min_seq = i == ADD_SEQ_ZERO ? 0 : i == ADD_SEQ_TURNED ? 21 : t->min_seq;
    t->max_seq = i == ADD_SEQ_BEYOND ? 32 : t->max_seq;
    t->min_ts = i == ADD_TS_TURNED ? t->max_ts + 1 : t->min_ts;
    t->min_append_ts = i == ADD_APPEND_TS_TURNED ? t->max_append_ts + 1 : t->min_append_ts;
    t->first_seq = i == ADD_FIRST_SEQ ? 21 : t->first_seq;
    t->last_seq = i == ADD_LAST_SEQ ? 11 : t->last_seq;
    t->min_key_size = i == ADD_MIN_KEY_SIZE ? RECORD_KEY_BYTES_MAX + 1
                      : i == ADD_KEY_EMPTY  ? 0
                                            : t->min_key_size;
    t->max_key_size = i == ADD_MAX_KEY_SIZE ? RECORD_KEY_BYTES_MAX + 1 : t->max_key_size;
    t->min_key[0] = (uint8_t)(t->min_key[0] + (i == ADD_KEY_TABLE));
    t->max_key[RECORD_KEY_BYTES_MAX - 1] = i == ADD_KEY_TAIL;
    t->min_key[1] = i == ADD_KEYS_TURNED ? 255 : t->min_key[1];
    if (i == ADD_ONE_PLACE) { /* nine records, of which the first is the last */
        memcpy(t->max_key, t->min_key, sizeof t->max_key);
        t->max_key_size = t->min_key_size;
        t->last_seq = t->first_seq;
    }
    if (i == REMOVE_AFTER_ADD) { /* the first removal behind everything */
        uint8_t removal[sizeof e->remove[0]];
        memcpy(removal, &e->remove[0], sizeof removal);
        memmove(&e->remove[0], &e->remove[1], sizeof *e - offsetof(moving_edit, remove[1]));
        memcpy((uint8_t *)(e + 1) - sizeof removal, removal, sizeof removal);
    }
    if (i == OVERLAP) { /* the keys begin where those of file 1 do */
        memcpy(t->min_key, e->add[1].table.min_key, sizeof t->min_key);
    }
}

/* Bytes with right checksums that make no sense, as a bug would write them. */
static void manifest_refuses_edits_that_make_no_sense(void **state) {
    world *w = *state;
    write_moving_edit(&w->place);
    size_t size = 0;
    uint8_t *data = read_file(w, &size);
    uint8_t *copy = mem_alloc(size);
    size_t at = frame_offset(data, size, MOVING_FRAME);
    assert_int_equal(load_u32(data + at), FRAME_HEADER_BYTES + sizeof(moving_edit));
    for (mistake i = 0; i <= MISTAKES; i++) { /* the last one is none */
        memcpy(copy, data, size);
        make_head_mistake(i, copy);
        moving_edit edit;
        memcpy(&edit, copy + at + FRAME_HEADER_BYTES, sizeof edit);
        make_edit_mistake(i, &edit);
        (void)frame_write(copy + at, format_salt(fixture_store_id), at,
                          i == FRAME_TYPE ? FRAME_HEARTBEAT : FRAME_MANIFEST,
                          i == FRAME_VERSION         ? 1
                          : i == FRAME_VERSION_NEWER ? 3
                                                     : 2,
                          i == FRAME_FLAGS, i == FRAME_TIME, &edit, sizeof edit);
        manifest m;
        tape_error error = {0};
        tape_status status = manifest_read(&m, &w->place, copy, size, &error);
        if (i == MISTAKES) {
            assert_int_equal(status, TAPE_OK);
            assert_moved(&m);
            manifest_deinit(&m);
            continue;
        }
        if (status != mistake_answers[i].status ||
            strstr(error.text, mistake_answers[i].says) == NULL) {
            fail_msg("mistake %d: %s \"%s\"", i, tape_status_name(status), error.text);
        }
        assert_string_equal(error.file, w->path);
        assert_int_equal(error.offset, i <= HEAD_SIZE ? 0 : at);
        assert_non_null(strstr(error.text, w->path));
    }
    free(copy);
    free(data);
}

static void manifest_of_another_store_is_called_that(void **state) {
    world *w = *state;
    add_files(w, 1, 2);
    const uint8_t stranger[16] = {1};
    sstable_place place = {os_disk_linux(), w->dir, stranger};
    manifest m;
    tape_error error;
    assert_int_equal(manifest_load(&m, &place, &error), TAPE_CORRUPT);
    assert_non_null(strstr(error.text, "another store"));
}

static void manifest_never_lists_a_number_again(void **state) {
    world *w = *state;
    write_moving_edit(&w->place);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    uint64_t offset = m.end;
    manifest_entry again = slot_file(2, 1, 0, 2, 11, 20); /* edit 3 removed it */
    commit_change(&m, &(manifest_change){.flushed_seq = 31, .added = &again, .added_count = 1});
    manifest_deinit(&m);
    tape_error error;
    assert_int_equal(manifest_load(&m, &w->place, &error), TAPE_CORRUPT);
    assert_int_equal(error.offset, offset);
    assert_non_null(strstr(error.text, "file 2, but its number was another file's"));
}

static void manifest_refuses_files_that_overlap_and_says_which(void **state) {
    world *w = *state;
    write_moving_edit(&w->place);
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    uint64_t offset = m.end;
    manifest_entry files[] = {slot_file(6, 1, 0, 9, 30, 31), slot_file(7, 2, 0, 9, 30, 31)};
    m.next_number = 9;
    commit_change(&m, &(manifest_change){.flushed_seq = 32, .added = files, .added_count = 2});
    commit_change(&m, &(manifest_change){.flushed_seq = 33});
    manifest_deinit(&m);
    tape_error error;
    assert_int_equal(manifest_load(&m, &w->place, &error), TAPE_CORRUPT);
    assert_int_equal(error.offset, offset);
    assert_non_null(strstr(error.text, "files 3 and 6 of table 1 overlap at level 0"));
}

/* --- N5 --- */

static bool sound(const manifest_entry *a, const manifest_entry *b) {
    manifest_entry both[] = {*a, *b};
    manifest m = {.entries = both, .entry_count = 2};
    const manifest_entry *one = NULL;
    const manifest_entry *other = NULL;
    bool result = manifest_levels_sound(&m, &one, &other);
    assert_true(result == manifest_levels_sound(&m, NULL, NULL));
    if (!result) {
        assert_true((one == &both[0] && other == &both[1]) ||
                    (one == &both[1] && other == &both[0]));
    }
    both[0] = *b;
    both[1] = *a;
    assert_true(manifest_levels_sound(&m, NULL, NULL) == result);
    return result;
}

static void levels_hold_disjoint_seqs_at_the_top_and_disjoint_places_below(void **state) {
    (void)state;
    manifest_entry a = slot_file(1, 1, 0, 5, 10, 20);
    manifest_entry b = slot_file(2, 1, 0, 5, 21, 30);
    assert_true(sound(&a, &b)); /* level 0: seqs count, keys do not */
    b.info.min_seq = 20;
    assert_false(sound(&a, &b));
    b.level = 1;
    assert_true(sound(&a, &b));
    a.level = 1; /* below: keys count, seqs do not */
    assert_false(sound(&a, &b));
    a = slot_file(1, 1, 1, 4, 10, 20);
    assert_true(sound(&a, &b));
    a.info.table = 2; /* each table for itself */
    memcpy(a.info.min_key, b.info.min_key, sizeof a.info.min_key);
    memcpy(a.info.max_key, b.info.max_key, sizeof a.info.max_key);
    assert_true(sound(&a, &b));
    a.info.table = 1;
    assert_false(sound(&a, &b));

    /* One key's versions in two files: 20 .. 15 in the first, 14 .. 10 in the second. */
    a = slot_file(1, 1, 3, 5, 10, 20);
    b = slot_file(2, 1, 3, 6, 1, 30);
    memcpy(a.info.max_key, b.info.min_key, sizeof a.info.max_key);
    a.info.max_key_size = b.info.min_key_size;
    a.info.last_seq = 15;
    b.info.first_seq = 14;
    assert_true(sound(&a, &b));
    b.info.first_seq = 15;
    assert_false(sound(&a, &b));
    b.info.first_seq = 16;
    assert_false(sound(&a, &b));
}

static void levels_of_many_files_are_sound_until_two_overlap(void **state) {
    (void)state;
    enum { FILES = 2000 };
    manifest_entry *files = mem_zalloc(FILES * sizeof *files);
    uint64_t seed = 5;
    for (uint32_t i = 0; i < FILES; i++) { /* slots in no order */
        files[i] = slot_file(i + 1, (uint16_t)(1 + i % 7), i / 7 % MANIFEST_LEVELS,
                             i * 1237 % FILES, 10 * i + 1, 10 * i + 10);
    }
    manifest m = {.entries = files, .entry_count = FILES};
    assert_true(manifest_levels_sound(&m, NULL, NULL));
    for (int round = 0; round < 200; round++) {
        size_t i = random_below(&seed, FILES);
        size_t j = random_below(&seed, FILES);
        if (i == j) {
            continue;
        }
        manifest_entry keep = files[j];
        uint64_t number = files[j].info.number;
        files[j] = files[i];
        files[j].info.number = number;
        const manifest_entry *one = NULL;
        const manifest_entry *other = NULL;
        assert_false(manifest_levels_sound(&m, &one, &other));
        assert_true((one == &files[i] && other == &files[j]) ||
                    (one == &files[j] && other == &files[i]));
        files[j] = keep;
    }
    free(files);
}

/* --- golden files --- */

static void manifest_golden_file_is_written_byte_for_byte(void **state) {
    world *w = *state;
    manifest m;
    assert_int_equal(manifest_load(&m, &w->place, NULL), TAPE_OK);
    add_flushed_file(&m);
    add_flushed_file(&m);
    commit_change(&m, &(manifest_change){.flushed_seq = 20,
                                         .history_table = TAPE_TABLE_POSITIONS,
                                         .history_seq = 4});
    m.doubtful = true; /* a file that begins with two files and a history, then two edits */
    assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
    add_flushed_file(&m);
    uint64_t removed[] = {1, 3};
    manifest_entry moved = flushed_file(3);
    moved.level = 1;
    m.next_number = 6;
    commit_change(&m, &(manifest_change){.flushed_seq = 33,
                                         .removed = removed,
                                         .removed_count = 2,
                                         .added = &moved,
                                         .added_count = 1,
                                         .history_table = TAPE_TABLE_ACCOUNTS,
                                         .history_seq = 21});
    manifest_deinit(&m);
    size_t size = 0;
    size_t golden_size = 0;
    char *golden = NULL;
    uint8_t *data = read_file(w, &size);
    const char *golden_path = GOLDEN_DIR "/manifest_v2.bin";
    if (getenv("TAPE_GOLDEN_WRITE") != NULL) {
        assert_int_equal(os_write_small(os_disk_linux(), golden_path, data, size, NULL), TAPE_OK);
    }
    assert_int_equal(os_read_small(os_disk_linux(), golden_path, &golden, &golden_size, NULL),
                     TAPE_OK);
    assert_int_equal(size, golden_size);
    assert_memory_equal(data, golden, size);
    assert_int_equal(manifest_read(&m, &w->place, (uint8_t *)golden, golden_size, NULL), TAPE_OK);
    assert_int_equal(m.entry_count, 2);
    manifest_entry second = flushed_file(2);
    assert_true(same_file(&m.entries[0], &second));
    assert_true(same_file(&m.entries[1], &moved));
    assert_int_equal(m.flushed_seq, 33);
    assert_int_equal(m.next_number, 6);
    assert_int_equal(m.history_seq[TAPE_TABLE_POSITIONS], 4);
    assert_int_equal(m.history_seq[TAPE_TABLE_ACCOUNTS], 21);
    manifest_deinit(&m);
    free(golden);
    free(data);
}

static void manifest_of_format_1_is_refused_with_what_to_do(void **state) {
    world *w = *state;
    size_t size = 0;
    char *old = NULL;
    assert_int_equal(
        os_read_small(os_disk_linux(), GOLDEN_DIR "/manifest_v1.bin", &old, &size, NULL), TAPE_OK);
    manifest m;
    tape_error error;
    assert_int_equal(manifest_read(&m, &w->place, (uint8_t *)old, size, &error), TAPE_TOO_OLD);
    assert_int_equal(error.offset, 0);
    char *want = mem_printf("%s: manifest format 1, made by an earlier version of tape; remove the "
                            "directory %s: the journal builds it again when it has been kept from "
                            "seq 1 on",
                            w->path, w->dir);
    assert_string_equal(error.text, want);
    free(want);
    free(old);
}

/* --- programmers' errors --- */

/* Whether committing ends the process. */
static bool commit_aborts(const manifest_change *change, bool doubtful) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        (void)signal(SIGABRT, SIG_DFL);
        os_sim *sim = os_sim_create(1);
        sstable_place place;
        start_machine(sim, &place);
        write_moving_edit(&place);
        manifest m;
        tape_status status = manifest_load(&m, &place, NULL);
        m.doubtful = doubtful;
        status = status == TAPE_OK ? manifest_commit(&m, change, NULL) : status;
        _exit(status == TAPE_OK ? 0 : 1);
    }
    int result = 0;
    assert_int_equal(waitpid(pid, &result, 0), pid);
    assert_true(WIFSIGNALED(result) || WEXITSTATUS(result) == 0);
    return WIFSIGNALED(result) && WTERMSIG(result) == SIGABRT;
}

static void manifest_commit_ends_the_process_before_it_writes_nonsense(void **state) {
    (void)state;
    manifest_entry right = slot_file(4, 1, 2, 7, 1, 31);
    manifest_entry twice[] = {right, right};
    manifest_entry beyond = slot_file(6, 1, 2, 7, 1, 31);
    manifest_entry listed = slot_file(3, 1, 0, 2, 21, 30);
    manifest_entry changed = slot_file(3, 1, 1, 2, 21, 29);
    manifest_entry unflushed = slot_file(4, 1, 2, 7, 1, 32);
    uint64_t three[] = {3, 3};
    uint64_t unknown = 2;
    assert_false(commit_aborts(
        &(manifest_change){.flushed_seq = 31, .added = &right, .added_count = 1}, false));
    assert_false(commit_aborts(&(manifest_change){.flushed_seq = 31,
                                                  .removed = three,
                                                  .removed_count = 1,
                                                  .added = &listed,
                                                  .added_count = 1},
                               false));
    const manifest_change wrong[] = {
        {.flushed_seq = 30},
        {.flushed_seq = 31, .added = twice, .added_count = 2},
        {.flushed_seq = 31, .added = &beyond, .added_count = 1},
        {.flushed_seq = 31, .added = &listed, .added_count = 1},
        {.flushed_seq = 31, .added = &unflushed, .added_count = 1},
        {.flushed_seq = 31, .removed = &unknown, .removed_count = 1},
        {.flushed_seq = 31, .removed = three, .removed_count = 2},
        {.flushed_seq = 31,
         .removed = three,
         .removed_count = 1,
         .added = &changed,
         .added_count = 1},
        {.flushed_seq = 31, .history_table = TAPE_TABLE_COUNT + 1, .history_seq = 3},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_true(commit_aborts(&wrong[i], false));
    }
    assert_true(commit_aborts(&(manifest_change){.flushed_seq = 31}, true));
}

/* --- leftovers --- */

static void leftovers_are_removed_and_their_numbers_not_used_again(void **state) {
    (void)state;
    static const char *const leftovers[] = {"00000002.sst", "00000004.sst", "00000017.sst.tmp",
                                            MANIFEST_TEMPORARY_NAME};
    static const char *const others[] = {"00000001.sst", "00000003.sst", "00000005.sst",
                                         "0000009.sst",  "00000099.txt", "notes"};
    os_sim *sim = os_sim_create(4);
    sstable_place place;
    start_machine(sim, &place);
    write_moving_edit(&place);
    for (size_t i = 0; i < COUNT_OF(leftovers) + COUNT_OF(others); i++) {
        const char *name = i < COUNT_OF(leftovers) ? leftovers[i] : others[i - COUNT_OF(leftovers)];
        char *path = mem_printf("/store/%s", name);
        assert_int_equal(os_sim_write_raw(sim, path, 0, "x", 1), TAPE_OK);
        free(path);
    }
    store_listing listing;
    assert_int_equal(directory_list(place.disk, place.dir, &listing, NULL), TAPE_OK);
    assert_int_equal(listing.tables, 5);
    assert_int_equal(listing.greatest_number, 17);
    manifest m;
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    assert_int_equal(m.next_number, 6);
    log_set(LOG_ERROR, NULL, NULL);
    assert_int_equal(directory_remove_orphans(&m, NULL), TAPE_OK);
    log_set(LOG_INFO, NULL, NULL);
    assert_int_equal(m.next_number, 18);
    for (size_t i = 0; i < COUNT_OF(leftovers) + COUNT_OF(others); i++) {
        bool gone = i < COUNT_OF(leftovers);
        char *path = mem_printf("/store/%s", gone ? leftovers[i] : others[i - COUNT_OF(leftovers)]);
        uint64_t size = 0;
        assert_int_equal(os_sim_file_size(sim, path, OS_SIM_CACHED, &size),
                         gone ? TAPE_NOT_FOUND : TAPE_OK);
        free(path);
    }
    assert_int_equal(directory_remove_orphans(&m, NULL), TAPE_OK); /* nothing is left to do */
    assert_int_equal(m.next_number, 18);
    manifest_deinit(&m);
    os_sim_destroy(&sim);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(manifest_missing_is_an_empty_store),
        TEST(manifest_edits_are_there_after_loading),
        TEST(manifest_cut_anywhere_in_its_last_edit_falls_back_to_the_one_before),
        TEST(manifest_after_a_cut_goes_on_in_a_file_without_it),
        TEST(manifest_flipped_bits_are_refused_or_fall_back_by_one_edit),
        TEST(manifest_written_as_a_whole_is_refused_when_any_byte_is_flipped),
        TEST(manifest_error_says_expected_and_actual),
        cmocka_unit_test(manifest_that_grows_is_replaced_by_a_shorter_one),
        cmocka_unit_test(manifest_is_not_written_anew_because_it_lists_more),
        TEST(manifest_edit_removes_moves_adds_and_forgets),
        TEST(manifest_without_files_keeps_seqs_and_the_next_number),
        TEST(manifest_history_below_the_present_one_changes_nothing),
        TEST(manifest_refuses_edits_that_make_no_sense),
        TEST(manifest_of_another_store_is_called_that),
        TEST(manifest_never_lists_a_number_again),
        TEST(manifest_refuses_files_that_overlap_and_says_which),
        cmocka_unit_test(levels_hold_disjoint_seqs_at_the_top_and_disjoint_places_below),
        cmocka_unit_test(levels_of_many_files_are_sound_until_two_overlap),
        TEST(manifest_golden_file_is_written_byte_for_byte),
        TEST(manifest_of_format_1_is_refused_with_what_to_do),
        cmocka_unit_test(manifest_commit_ends_the_process_before_it_writes_nonsense),
        cmocka_unit_test(leftovers_are_removed_and_their_numbers_not_used_again),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
