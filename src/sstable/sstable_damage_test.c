/* What a damaged table does: it is refused by name, and never answers wrongly. */
#include "sstable/sstable_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FUZZ_ROUNDS 22500

/* A table in memory, where its parts are as written, and its records. */
typedef struct world {
    char *dir;
    sstable_place place;
    fixture f;
    sstable_info info;
    char *path;
    uint8_t *data;
    size_t size;
    sstable_index_place *places; /* blocks + 1 */
    uint64_t blocks;
    sstable_footer *footer; /* in data */
    sstable_scratch scratch;
} world;

static void world_make(world *w, uint16_t table, size_t count, uint64_t number, uint64_t seed,
                       sstable_codec codec) {
    *w = (world){.dir = fixture_dir_make()};
    w->place = (sstable_place){os_disk_linux(), w->dir, fixture_store_id};
    fixture_fill(&w->f, seed, table, count, count / 4 + 1, 10);
    w->info = fixture_write(&w->f, &w->place, number, codec);
    w->path = sstable_path(w->dir, number);
    char *data = NULL;
    assert_int_equal(os_read_small(os_disk_linux(), w->path, &data, &w->size, NULL), TAPE_OK);
    w->data = (uint8_t *)data;
    w->footer = (sstable_footer *)(void *)(w->data + w->size - sizeof *w->footer);
    sstable *t = NULL;
    assert_int_equal(
        sstable_attach(&t, w->data, w->size, w->path, fixture_store_id, number, NULL, NULL),
        TAPE_OK);
    w->blocks = t->index.blocks;
    w->places = mem_alloc((w->blocks + 1) * sizeof *w->places);
    memcpy(w->places, t->index.places, (w->blocks + 1) * sizeof *w->places);
    sstable_close(&t);
}

static void world_free(world *w) {
    buffer_deinit(&w->scratch);
    free(w->places);
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

static void reseal(const world *w, uint8_t *data) {
    fixture_reseal(data, w->size, w->info.number, w->places, w->blocks);
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
static uint64_t get_all(world *w, sstable *t, tape_error *error) {
    uint64_t refused = 0;
    for (size_t i = 0; i < w->f.count; i++) {
        const fixture_entry *e = &w->f.entries[i];
        uint64_t hash[2];
        record_view got;
        sstable_outcome outcome = SSTABLE_FILTERED;
        record_key_hash(fixture_key(e), hash);
        if (sstable_get(t, fixture_key(e), hash, e->view.seq, &w->scratch, &got, &outcome, error) !=
            TAPE_OK) {
            refused++;
            continue;
        }
        assert_int_equal(outcome, SSTABLE_FOUND);
        assert_true(fixture_equal(&got, e));
    }
    return refused;
}

static void assert_text(const tape_error *error, const char *word) {
    if (strstr(error->text, word) == NULL) {
        fail_msg("\"%s\" is not in: %s", word, error->text);
    }
}

static void assert_names(const world *w, const tape_error *error, uint64_t offset,
                         const char *word) {
    assert_int_equal(error->status, TAPE_CORRUPT);
    assert_string_equal(error->file, w->path);
    assert_int_equal(error->offset, offset);
    assert_text(error, w->path);
    assert_text(error, word);
}

static void sstable_each_flipped_byte_is_found_and_never_read(void **state) {
    (void)state;
    for (size_t c = 0; c <= COUNT_OF(fixture_codecs); c++) {
        world w;
        if (c < COUNT_OF(fixture_codecs)) {
            world_make(&w, TAPE_TABLE_ORDERS, 60, 5, 3, fixture_codecs[c]);
        } else {
            world_make(&w, TAPE_TABLE_TICKS, 60, 5, 3, SSTABLE_PLAIN);
        }
        assert_true(w.size < 16384);
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
}

static void sstable_damaged_block_is_refused_and_the_others_are_read(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT_OF(fixture_codecs); c++) {
        world w;
        world_make(&w, TAPE_TABLE_POSITIONS, c == 0 ? 600 : 3000, 5, 4, fixture_codecs[c]);
        assert_true(w.blocks > 4);
        for (uint64_t block = 0; block < w.blocks; block += 1 + w.blocks / 10) {
            uint64_t offset = sstable_block_offset(&w.places[block]);
            uint32_t count = w.places[block + 1].first_entry - w.places[block].first_entry;
            w.data[offset + 100] ^= 4;
            sstable *t = NULL;
            tape_error error;
            assert_int_equal(attach(&w, w.data, w.size, &t, &error), TAPE_OK);
            assert_int_equal(get_all(&w, t, &error), count);
            assert_names(&w, &error, offset, "checksum expected 0x");
            assert_text(&error, "actual 0x");
            assert_text(&error, "keys from positions 'user-");
            assert_int_equal(get_all(&w, t, &error), count); /* it stays refused */
            findings found = {0};
            uint64_t records = 0;
            assert_int_equal(sstable_verify(t, note_finding, &found, &records), 1);
            assert_int_equal(records, w.f.count - count);
            assert_names(&w, &found.first, offset, "the block at offset");
            sstable_close(&t);
            w.data[offset + 100] ^= 4;
        }
        world_free(&w);
    }
}

static void sstable_misdirected_block_is_refused(void **state) {
    (void)state;
    world w;
    world other;
    world_make(&w, TAPE_TABLE_ORDERS, 600, 5, 4, SSTABLE_PLAIN);
    world_make(&other, TAPE_TABLE_ORDERS, 600, 6, 4, SSTABLE_PLAIN); /* the same records */
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

static void sstable_damaged_filter_tags_or_index_refuse_gets_of_the_table(void **state) {
    (void)state;
    world w;
    world_make(&w, TAPE_TABLE_ACCOUNTS, 600, 5, 4, SSTABLE_PLAIN);
    const uint64_t offsets[] = {w.footer->filter_offset, w.footer->tags_offset,
                                w.footer->index_offset};
    const char *words[] = {"the filter at offset", "the tags at offset", "the index at offset"};
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
        /* Going through needs the index alone. */
        sstable_cursor c;
        sstable_cursor_init(&c, t);
        tape_status status = sstable_cursor_seek(&c, (slice){0}, UINT64_MAX, &error);
        assert_int_equal(status, i == 2 ? TAPE_CORRUPT : TAPE_OK);
        assert_int_equal(c.valid, i != 2);
        sstable_cursor_deinit(&c);
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
    assert_text(&error, word);
    assert_text(&error, ".sst");
}

static void write_file(const world *w, uint64_t number, const void *data, size_t size) {
    char *path = sstable_path(w->dir, number);
    assert_int_equal(os_write_small(os_disk_linux(), path, data, size, NULL), TAPE_OK);
    free(path);
}

static void sstable_open_refuses_a_file_that_is_not_the_one_expected(void **state) {
    (void)state;
    world w;
    world_make(&w, TAPE_TABLE_ORDERS, 300, 5, 4, SSTABLE_PLAIN);
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

    w.footer->format_version = 3;
    write_file(&w, 10, w.data, w.size);
    refuse(&w, fixture_store_id, 10, NULL, TAPE_CORRUPT, "checksum"); /* rot, not a newer tape */
    reseal(&w, w.data);
    write_file(&w, 5, w.data, w.size);
    refuse(&w, fixture_store_id, 5, NULL, TAPE_NEWER, "format 3");
    w.footer->format_version = SSTABLE_FORMAT_VERSION;
    w.footer->table = TAPE_TABLE_COUNT + 1;
    reseal(&w, w.data);
    write_file(&w, 5, w.data, w.size);
    refuse(&w, fixture_store_id, 5, NULL, TAPE_NEWER, "records of table 8");
    world_free(&w);
}

/* Checksums are right, the figures cannot be. */
static void sstable_open_refuses_figures_that_contradict_each_other(void **state) {
    (void)state;
    for (int i = 0;; i++) {
        world w;
        world_make(&w, TAPE_TABLE_ORDERS, 300, 5, 4, SSTABLE_PLAIN);
        sstable_footer *f = w.footer;
        const char *word = NULL;
        switch (i) {
#define CASE(number, text, change)                                                                 \
    case number:                                                                                   \
        word = text;                                                                               \
        change;                                                                                    \
        break
            CASE(0, "the size of the file", f->size_bytes += 64);
            CASE(1, "a key", f->table = TAPE_TABLE_TRADES);
            CASE(2, "the codec", f->codec = 3);
            CASE(3, "the size of the tags", f->entries = 384);
            CASE(4, "the number of entries or keys", f->entries = UINT64_C(1) << 32);
            CASE(5, "the number of entries or keys", f->keys = 0);
            CASE(6, "the number of entries or keys", f->keys = f->entries + 1);
            CASE(7, "the size of the filter", f->keys += 200);
            CASE(8, "the size of the payloads", f->payload_bytes = 10 * f->entries);
            CASE(9, "the size of the payloads", f->payload_bytes = UINT64_MAX);
            CASE(10, "the number of blocks", f->blocks = 0);
            CASE(11, "the number of blocks", f->blocks = UINT64_C(1) << 60);
            CASE(12, "the end of the blocks", f->filter_offset += 8);
            CASE(13, "the end of the blocks", f->filter_offset = UINT64_MAX - 4095);
            CASE(14, "the size of the filter", f->filter_bytes += 64);
            CASE(15, "the size of the tags", f->tags_offset -= 64);
            CASE(16, "the size of the tags", f->tags_bytes += 64);
            CASE(17, "the size of the index", f->index_offset += 8);
            CASE(18, "the size of the index", f->index_bytes -= 8);
            CASE(19, "the range of seqs", f->min_seq = 0);
            CASE(20, "the range of seqs", f->max_seq = f->min_seq - 1);
            CASE(21, "the range of seqs", f->first_seq = f->min_seq - 1);
            CASE(22, "the range of seqs", f->last_seq = f->max_seq + 1);
            CASE(23, "the range of times", f->min_ts = f->max_ts + 1);
            CASE(24, "the range of times", f->max_append_ts = f->min_append_ts - 1);
            CASE(25, "a key", f->min_key_size = 0);
            CASE(26, "a key", f->max_key_size = 65);
            CASE(27, "a key", f->max_key[60] = 1);
            CASE(28, "a key", f->min_key[0] = TAPE_TABLE_TRADES);
            CASE(29, "the range of keys", f->min_key[1] = 'z');
            CASE(30, "the range of keys", f->keys = 1);
            CASE(31, "what is reserved", f->reserved = 1);
            CASE(32, "what is reserved", f->reserved2 = 1);
            CASE(33, "what is reserved", f->reserved3[sizeof f->reserved3 - 1] = 1);
            CASE(34, "the number of blocks", f->blocks = 1 + f->filter_offset / 64);
            CASE(35, "the range of times", f->min_append_ts = -1);
#undef CASE
        default:
            world_free(&w);
            return;
        }
        reseal(&w, w.data);
        write_file(&w, 5, w.data, w.size);
        refuse(&w, fixture_store_id, 5, NULL, TAPE_CORRUPT, word);
        refuse(&w, fixture_store_id, 5, NULL, TAPE_CORRUPT, "the footer at offset");
        world_free(&w);
    }
}

/* A bug of the writer would have right checksums: verify compares the parts with each other. */
typedef struct contradiction {
    const char *word;
    void (*make)(uint8_t *data, sstable_footer *f, const sstable_index *index);
} contradiction;

static uint8_t *entry_at(uint8_t *data, const sstable_index *index, uint32_t entry) {
    return data + sizeof(sstable_block) +
           entry * (size_t)sstable_stride(index->places[0].payload_bytes);
}

#define MAKE(name) static void name(uint8_t *data, sstable_footer *f, const sstable_index *index)
#define UNUSED (void)data, (void)f, (void)index

MAKE(more_entries) {
    UNUSED;
    f->entries++;
    f->tags_bytes = ALIGN_UP(f->entries, SSTABLE_TAGS_ALIGN);
}
MAKE(fewer_keys) {
    UNUSED;
    f->keys--;
}
MAKE(lesser_seq) {
    UNUSED;
    f->min_seq--;
}
MAKE(later_ts) {
    UNUSED;
    f->max_ts++;
}
MAKE(earlier_append) {
    UNUSED;
    f->min_append_ts--;
}
MAKE(more_payload) {
    UNUSED;
    f->payload_bytes++;
}
MAKE(other_first_seq) {
    UNUSED;
    f->first_seq = f->first_seq == f->min_seq ? f->max_seq : f->min_seq;
}
MAKE(other_first_key) {
    UNUSED;
    f->min_key[f->min_key_size - 1]--;
}
MAKE(other_last_key) {
    UNUSED;
    f->max_key[f->max_key_size - 1]++;
}
MAKE(other_index_seq) {
    UNUSED;
    ((sstable_index_last *)(uintptr_t)index->lasts)[1].seq ^= 1;
}
MAKE(other_index_key) {
    UNUSED;
    ((uint8_t *)(uintptr_t)index->keys)[3] = 'A';
}
MAKE(other_discriminator) {
    UNUSED;
    ((uint64_t *)(uintptr_t)index->levels[0].discriminators)[2]++;
}
MAKE(other_prefix) {
    UNUSED;
    ((uint8_t *)(uintptr_t)index->levels[0].prefixes)[0]--;
}
MAKE(other_place) {
    UNUSED;
    ((sstable_index_place *)(uintptr_t)index->places)[2].start = UINT32_MAX;
}
MAKE(other_count) {
    UNUSED;
    ((sstable_index_place *)(uintptr_t)index->places)[2].first_entry++;
}
MAKE(other_size) {
    UNUSED;
    ((sstable_index_place *)(uintptr_t)index->places)[2].payload_bytes--;
}
MAKE(other_version) {
    UNUSED;
    ((sstable_index_place *)(uintptr_t)index->places)[2].version++;
}
MAKE(small_size) {
    UNUSED;
    ((sstable_index_place *)(uintptr_t)index->places)[2].payload_bytes = 55;
}
MAKE(odd_place) {
    UNUSED;
    ((sstable_index_place *)(uintptr_t)index->places)[2].reserved = 1;
}
MAKE(odd_end) {
    UNUSED;
    ((sstable_index_place *)(uintptr_t)index->places)[index->blocks].version = 1;
}
MAKE(empty_filter) {
    UNUSED;
    memset(data + f->filter_offset, 0, f->filter_bytes);
}
MAKE(other_tag) {
    UNUSED;
    data[f->tags_offset + 77]++;
}
MAKE(swapped_entries) {
    UNUSED;
    uint8_t kept[4096];
    size_t stride = sstable_stride(index->places[0].payload_bytes);
    memcpy(kept, entry_at(data, index, 3), stride);
    memcpy(entry_at(data, index, 3), entry_at(data, index, 4), stride);
    memcpy(entry_at(data, index, 4), kept, stride);
    uint8_t *tags = data + f->tags_offset;
    uint8_t tag = tags[3];
    tags[3] = tags[4];
    tags[4] = tag;
}
MAKE(later_entry) {
    UNUSED;
    entry_at(data, index, 5)[7] = 0x7f;
}
MAKE(more_stored) {
    UNUSED;
    ((sstable_block *)(void *)data)->stored_bytes += 8;
}
MAKE(bytes_behind_the_key) {
    UNUSED;
    tape_order *order = (void *)(entry_at(data, index, 5) + SSTABLE_ENTRY_BYTES);
    order->order_id[39] = 'x';
}
MAKE(other_content) {
    UNUSED;
    f->content_xxh3++;
}

static void sstable_verify_finds_parts_that_contradict_each_other(void **state) {
    (void)state;
    static const contradiction cases[] = {
        {"the end of block", more_entries},
        {"keys: the footer says", fewer_keys},
        {"least seq: the footer says", lesser_seq},
        {"greatest ts: the footer says", later_ts},
        {"least append time: the footer says", earlier_append},
        {"payload bytes: the footer says", more_payload},
        {"first seq: the footer says", other_first_seq},
        {"range of keys", other_first_key},
        {"contradicts itself: the key of block", other_last_key},
        {"not the last of its block", other_index_seq},
        {"contradicts itself: the ", other_index_key},
        {"contradicts itself: the discriminators", other_discriminator},
        {"contradicts itself: the discriminators", other_prefix},
        {"contradicts itself: the place of block", other_place},
        {"its header does not fit the index", other_count},
        {"its header does not fit the index", other_size},
        {"its header does not fit the index", other_version},
        {"the index does not say where it lies", small_size},
        {"contradicts itself: the place of block 2", odd_place},
        {"contradicts itself: the end of block", odd_end},
        {"the filter lacks orders '2024080", empty_filter},
        {"the tag of orders '2024080", other_tag},
        {"out of order", swapped_entries},
        {"greatest append time: the footer says", later_entry},
        {"its sizes cannot be right", more_stored},
        {"has no proper key", bytes_behind_the_key},
        {"content hash", other_content},
    };
    world w;
    world_make(&w, TAPE_TABLE_ORDERS, 300, 5, 4, SSTABLE_PLAIN);
    uint8_t *copy = mem_alloc(w.size);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memcpy(copy, w.data, w.size);
        sstable_footer *footer = (void *)(copy + w.size - sizeof *footer);
        sstable_index index;
        sstable_index_lay_out(&index, copy + footer->index_offset, footer->index_bytes, w.blocks,
                              (slice){0});
        cases[i].make(copy, footer, &index);
        reseal(&w, copy);
        sstable *t = NULL;
        tape_error error;
        if (sstable_attach(&t, copy, w.size, w.path, fixture_store_id, 5, NULL, &error) !=
            TAPE_OK) {
            fail_msg("%s: %s", cases[i].word, error.text);
        }
        findings found = {0};
        uint64_t records = 0;
        if (sstable_verify(t, note_finding, &found, &records) == 0) {
            fail_msg("not found: %s", cases[i].word);
        }
        assert_text(&found.first, cases[i].word);
        assert_text(&found.first, w.path);
        sstable_close(&t);
    }
    free(copy);
    world_free(&w);
}

/* --- packed blocks --- */

static void sstable_packed_sizes_are_doubted_before_room_is_made(void **state) {
    (void)state;
    for (size_t c = 1; c < COUNT_OF(fixture_codecs); c++) {
        world w;
        world_make(&w, TAPE_TABLE_TICKS, 1, 5, 4, fixture_codecs[c]);
        assert_int_equal(w.blocks, 1);
        /* One entry may be large: of 104 bytes make 64 MiB, in header and index alike. */
        sstable_block *block = (void *)w.data;
        sstable_index index;
        sstable_index_lay_out(&index, w.data + w.footer->index_offset, w.footer->index_bytes, 1,
                              (slice){0});
        assert_true(block->stored_bytes < sstable_stride(block->payload_bytes));
        uint32_t claimed = (uint32_t)MIB(64);
        block->payload_bytes = claimed;
        ((sstable_index_place *)(uintptr_t)index.places)[0].payload_bytes = claimed;
        reseal(&w, w.data);
        sstable *t = NULL;
        tape_error error;
        assert_int_equal(attach(&w, w.data, w.size, &t, &error), TAPE_OK);
        assert_int_equal(get_all(&w, t, &error), 1);
        assert_names(&w, &error, 0, "it cannot be unpacked");
        assert_int_equal(w.scratch.capacity, 0);
        sstable_close(&t);

        /* Beyond what any entry may have, not even that is asked. */
        block->payload_bytes = claimed + 1;
        ((sstable_index_place *)(uintptr_t)index.places)[0].payload_bytes = claimed + 1;
        reseal(&w, w.data);
        assert_int_equal(attach(&w, w.data, w.size, &t, &error), TAPE_OK);
        assert_int_equal(get_all(&w, t, &error), 1);
        assert_names(&w, &error, 0, "the index does not say where it lies");
        sstable_close(&t);
        world_free(&w);
    }
}

/* Packed bytes that are not what was packed, under right checksums. */
static void sstable_packed_bytes_that_do_not_unpack_are_refused(void **state) {
    (void)state;
    for (size_t c = 1; c < COUNT_OF(fixture_codecs); c++) {
        world w;
        world_make(&w, TAPE_TABLE_ACCOUNTS, 2000, 5, 4, fixture_codecs[c]);
        uint64_t at = sstable_block_offset(&w.places[1]);
        uint32_t count = w.places[2].first_entry - w.places[1].first_entry;
        sstable_block *block = (void *)(w.data + at);
        const sstable_block good = *block;
        for (int i = 0; i < 4; i++) {
            const char *word = "its header does not fit the index";
            if (i == 0) {
                block->stored_bytes += 64;
            } else if (i == 1) {
                block->entries++;
            } else if (i == 2) {
                block->payload_bytes += 8;
            } else {
                memset(w.data + at + sizeof *block, 0xff, 40);
                word = "it cannot be unpacked";
            }
            reseal(&w, w.data);
            sstable *t = NULL;
            tape_error error;
            assert_int_equal(attach(&w, w.data, w.size, &t, &error), TAPE_OK);
            assert_int_equal(get_all(&w, t, &error), count);
            assert_names(&w, &error, at, word);
            sstable_close(&t);
            *block = good;
        }
        world_free(&w);
    }
}

/* --- any bytes --- */

/* Changes bytes, preferring those that steer: headers, the index, the footer. */
static void mutate(const world *w, uint8_t *data, uint64_t *random) {
    uint64_t changes = 1 + fixture_random(random) % 6;
    uint64_t index_offset = w->footer->index_offset;
    for (uint64_t i = 0; i < changes; i++) {
        uint64_t at = 0;
        switch (fixture_random(random) % 5) {
        case 0:
            at = sstable_block_offset(&w->places[fixture_random(random) % w->blocks]) +
                 fixture_random(random) % 64;
            break;
        case 1:
            at = index_offset + fixture_random(random) % (w->size - index_offset);
            break;
        case 2:
            at = w->size - SSTABLE_FOOTER_BYTES + fixture_random(random) % 360;
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

static void touch(const record_view *record) {
    (void)crc32c(0, record->payload, record->size);
}

/* Every way of reading, for its effect on the reader alone. */
static void read_everything(world *w, sstable *t, uint64_t *random) {
    tape_error error;
    for (size_t i = 0; i < 4; i++) {
        const fixture_entry *e = &w->f.entries[fixture_random(random) % w->f.count];
        uint64_t hash[2];
        record_view got;
        sstable_outcome outcome;
        record_key_hash(fixture_key(e), hash);
        sstable_prefetch(t, hash);
        if (sstable_get(t, fixture_key(e), hash, e->view.seq, &w->scratch, &got, &outcome,
                        &error) == TAPE_OK &&
            outcome == SSTABLE_FOUND) {
            touch(&got);
        }
    }
    sstable_cursor c;
    sstable_cursor_init(&c, t);
    tape_status status = sstable_cursor_seek(&c, (slice){0}, UINT64_MAX, &error);
    for (uint64_t i = 0; status == TAPE_OK && c.valid && i < 2 * w->f.count; i++) {
        touch(&c.record);
        status = sstable_cursor_next(&c, &error);
    }
    const fixture_entry *e = &w->f.entries[fixture_random(random) % w->f.count];
    status = sstable_cursor_seek_before(&c, fixture_key(e), e->view.seq, &error);
    while (status == TAPE_OK && c.valid) {
        touch(&c.record);
        status = sstable_cursor_prev(&c, &error);
    }
    sstable_cursor_deinit(&c);
    static uint8_t keys[4][RECORD_KEY_BYTES_MAX];
    size_t sizes[4];
    (void)sstable_split_keys(t, 4, keys, sizes);
    findings ignored = {0};
    uint64_t records = 0;
    (void)sstable_verify(t, note_finding, &ignored, &records);
}

/* Half of the rounds have right checksums, so that what is behind them is reached; in some the
 * parts count as checked, so that every use must bound what it reads. */
static void sstable_reader_survives_mutated_bytes(void **state) {
    (void)state;
    const char *scale = getenv("TAPE_TEST_SCALE");
    uint64_t rounds = scale != NULL && strcmp(scale, "full") == 0 ? 50 * FUZZ_ROUNDS : FUZZ_ROUNDS;
    static const struct {
        uint16_t table;
        sstable_codec codec;
        size_t count;
    } tables[] = {{TAPE_TABLE_ORDERS, SSTABLE_PLAIN, 60},
                  {TAPE_TABLE_POSITIONS, SSTABLE_LZ4, 300},
                  {TAPE_TABLE_POSITIONS, SSTABLE_ZSTD, 300},
                  {TAPE_TABLE_TICKS, SSTABLE_PLAIN, 100}};
    for (size_t c = 0; c < COUNT_OF(tables); c++) {
        world w;
        world_make(&w, tables[c].table, tables[c].count, 5, 9, tables[c].codec);
        uint64_t seed = 20240808 + c;
        uint64_t opened = 0;
        uint8_t *copy = mem_alloc(w.size);
        for (uint64_t round = 0; round < rounds; round++) {
            memcpy(copy, w.data, w.size);
            mutate(&w, copy, &seed);
            if (fixture_random(&seed) % 2 == 0) {
                reseal(&w, copy);
            }
            uint64_t size = w.size;
            if (fixture_random(&seed) % 16 == 0) {
                size = fixture_random(&seed) % (w.size + 1);
            }
            sstable *t = NULL;
            tape_error error;
            if (sstable_attach(&t, copy, size, w.path, fixture_store_id, 5, NULL, &error) ==
                TAPE_OK) {
                opened++;
                if (round % 4 == 0) {
                    t->checked =
                        SSTABLE_CHECKED_FILTER | SSTABLE_CHECKED_TAGS | SSTABLE_CHECKED_INDEX;
                    memset((void *)t->blocks_checked, 0xff, (t->index.blocks + 63) / 64 * 8);
                }
                read_everything(&w, t, &seed);
            }
            sstable_close(&t);
        }
        print_message("%llu of %llu mutated tables opened\n", (unsigned long long)opened,
                      (unsigned long long)rounds);
        assert_true(opened > rounds / 4);
        free(copy);
        world_free(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sstable_each_flipped_byte_is_found_and_never_read),
        cmocka_unit_test(sstable_damaged_block_is_refused_and_the_others_are_read),
        cmocka_unit_test(sstable_misdirected_block_is_refused),
        cmocka_unit_test(sstable_damaged_filter_tags_or_index_refuse_gets_of_the_table),
        cmocka_unit_test(sstable_open_refuses_a_file_that_is_not_the_one_expected),
        cmocka_unit_test(sstable_open_refuses_figures_that_contradict_each_other),
        cmocka_unit_test(sstable_verify_finds_parts_that_contradict_each_other),
        cmocka_unit_test(sstable_packed_sizes_are_doubted_before_room_is_made),
        cmocka_unit_test(sstable_packed_bytes_that_do_not_unpack_are_refused),
        cmocka_unit_test(sstable_reader_survives_mutated_bytes),
    };
    return cmocka_run_group_tests_name("sstable_damage", tests, NULL, NULL);
}
