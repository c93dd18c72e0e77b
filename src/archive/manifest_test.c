/* The manifest's bytes: what was written is read back, everything else is refused by name. */
#include "archive/manifest.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECKSUM_OFFSET 12u

static void sample(archive_manifest *m) {
    static archive_file_info files[5];
    *m = (archive_manifest){
        .store_id = "0123456789abcde",
        .seq = 5000,
        .next_number = 20,
        .history_seq = {[TAPE_TABLE_ORDERS] = 900, [TAPE_TABLE_DEPTH] = 5000},
        .files = files,
        .file_count = COUNT_OF(files),
    };
    files[0] = (archive_file_info){.number = 1,
                                   .table = TAPE_TABLE_TRADES,
                                   .kind = ARCHIVE_ROWS,
                                   .instrument_count = 2,
                                   .schema_version = 1,
                                   .day = 19943,
                                   .rows = 1000,
                                   .size_bytes = 123456,
                                   .content_xxh3 = UINT64_C(0x0123456789abcdef),
                                   .min_seq = 1,
                                   .max_seq = 4999,
                                   .min_ts = -5,
                                   .max_ts = INT64_MAX,
                                   .instruments = {"IF2409", "cu2410"}};
    files[1] = (archive_file_info){.number = 2,
                                   .table = TAPE_TABLE_ORDERS,
                                   .kind = ARCHIVE_CURRENT,
                                   .instrument_count = ARCHIVE_INSTRUMENT_RANGE,
                                   .schema_version = 1,
                                   .day = -1,
                                   .rows = 1,
                                   .size_bytes = 1,
                                   .min_seq = 5000,
                                   .max_seq = 5000,
                                   .min_ts = INT64_MIN,
                                   .max_ts = INT64_MIN,
                                   .instruments = {"0123456789abcdef", "zz"}};
    files[2] = files[1];
    files[2].number = 7;
    files[2].kind = ARCHIVE_PAST;
    files[2].instrument_count = 0;
    files[2].min_seq = 4;
    files[2].min_by = 5;
    files[2].max_by = 5000;
    memset(files[2].instruments, 0, sizeof files[2].instruments);
    files[3] = files[2];
    files[3].number = 8;
    files[3].kind = ARCHIVE_SUPERSEDED;
    files[3].day = 0;
    files[3].min_ts = 0;
    files[3].max_ts = 0;
    files[4] = files[0];
    files[4].number = 19;
    files[4].instrument_count = 1;
    memset(files[4].instruments[1], 0, ARCHIVE_INSTRUMENT_BYTES);
}

static tape_status decode(const buffer *b, archive_manifest *m, tape_error *error) {
    return archive_manifest_decode(b->data, b->size, "MANIFEST", m, error);
}

static void assert_same(const archive_manifest *a, const archive_manifest *b) {
    assert_memory_equal(a->store_id, b->store_id, sizeof a->store_id);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->next_number, b->next_number);
    assert_memory_equal(a->history_seq, b->history_seq, sizeof a->history_seq);
    assert_int_equal(a->file_count, b->file_count);
    for (size_t i = 0; i < a->file_count; i++) {
        const archive_file_info *x = &a->files[i];
        const archive_file_info *y = &b->files[i];
        assert_int_equal(x->number, y->number);
        assert_int_equal(x->table, y->table);
        assert_int_equal(x->kind, y->kind);
        assert_int_equal(x->schema_version, y->schema_version);
        assert_int_equal(x->day, y->day);
        assert_int_equal(x->rows, y->rows);
        assert_int_equal(x->size_bytes, y->size_bytes);
        assert_int_equal(x->content_xxh3, y->content_xxh3);
        assert_int_equal(x->min_seq, y->min_seq);
        assert_int_equal(x->max_seq, y->max_seq);
        assert_int_equal(x->min_ts, y->min_ts);
        assert_int_equal(x->max_ts, y->max_ts);
        assert_int_equal(x->min_by, y->min_by);
        assert_int_equal(x->max_by, y->max_by);
        assert_int_equal(x->instrument_count, y->instrument_count);
        assert_memory_equal(x->instruments, y->instruments, sizeof x->instruments);
    }
}

static void manifest_reads_back_what_was_written(void **state) {
    (void)state;
    archive_manifest m;
    archive_manifest back;
    tape_error error;
    buffer b = {0};
    sample(&m);
    archive_manifest_encode(&m, &b);
    if (decode(&b, &back, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_same(&m, &back);
    free(back.files);
    buffer_deinit(&b);
    m.file_count = 0;
    archive_manifest_encode(&m, &b);
    assert_int_equal(decode(&b, &back, &error), TAPE_OK);
    assert_int_equal(back.file_count, 0);
    free(back.files);
    buffer_deinit(&b);
}

static void every_truncation_and_every_flipped_bit_is_refused(void **state) {
    (void)state;
    archive_manifest m;
    archive_manifest back;
    tape_error error;
    buffer b = {0};
    sample(&m);
    archive_manifest_encode(&m, &b);
    for (size_t size = 0; size < b.size; size++) {
        /* A block of its own, so that a read beyond its end is noticed. */
        uint8_t *cut = mem_alloc(size + 1);
        memcpy(cut, b.data, size);
        uint8_t *exact = size == 0 ? cut : mem_realloc(cut, size);
        assert_int_equal(archive_manifest_decode(exact, size, "MANIFEST", &back, &error),
                         TAPE_CORRUPT);
        assert_null(back.files);
        assert_string_equal(error.file, "MANIFEST");
        free(exact);
    }
    for (size_t bit = 0; bit < 8 * b.size; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(decode(&b, &back, &error), TAPE_CORRUPT);
        b.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    buffer_append(&b, "", 1);
    assert_int_equal(decode(&b, &back, &error), TAPE_CORRUPT);
    buffer_deinit(&b);
}

static void seal(buffer *b) {
    uint32_t crc = crc32c(0, b->data, CHECKSUM_OFFSET);
    store_u32(b->data + CHECKSUM_OFFSET,
              crc32c(crc, b->data + CHECKSUM_OFFSET + 4, b->size - CHECKSUM_OFFSET - 4));
}

/* With the checksum put right, a value that is not allowed is found out by itself, or is another
 * value that is allowed; nothing crashes. */
static void values_with_a_right_checksum_are_still_checked(void **state) {
    (void)state;
    archive_manifest m;
    archive_manifest back;
    tape_error error;
    buffer b = {0};
    uint64_t random = 1;
    size_t refused = 0;
    sample(&m);
    for (int round = 0; round < 20000; round++) {
        b.size = 0;
        archive_manifest_encode(&m, &b);
        for (int i = 0; i < 1 + round % 3; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            size_t at = 8 + (size_t)((random >> 33) % (b.size - 8));
            b.data[at] = round % 2 == 0 ? (uint8_t)(random >> 25) : (uint8_t) - (random >> 25 & 1);
        }
        if (round % 7 == 0) {
            b.size -= (size_t)((random >> 40) % b.size) % (b.size - 16);
            store_u64(b.data + 16, b.size);
        }
        seal(&b);
        uint8_t *exact = mem_alloc(b.size);
        memcpy(exact, b.data, b.size);
        tape_status status = archive_manifest_decode(exact, b.size, "M", &back, &error);
        assert_true(status == TAPE_OK || status == TAPE_CORRUPT || status == TAPE_NEWER);
        if (status == TAPE_OK) { /* what is accepted can be written again */
            buffer again = {0};
            archive_manifest_encode(&back, &again);
            buffer_deinit(&again);
            free(back.files);
        }
        refused += status != TAPE_OK;
        free(exact);
    }
    assert_in_range(refused, 5000, 19999);
    buffer_deinit(&b);
}

static void expect_damage(const archive_manifest *m, const char *what) {
    buffer b = {0};
    archive_manifest back;
    tape_error error;
    archive_manifest_encode(m, &b);
    assert_int_equal(decode(&b, &back, &error), TAPE_CORRUPT);
    if (strstr(error.text, what) == NULL) {
        fail_msg("expected \"%s\" in: %s", what, error.text);
    }
    buffer_deinit(&b);
}

static void what_cannot_be_is_named(void **state) {
    (void)state;
    archive_manifest m;
#define EXPECT(change, what)                                                                       \
    sample(&m);                                                                                    \
    change;                                                                                        \
    expect_damage(&m, what)
    EXPECT(m.files[0].number = 0, "number is 0");
    EXPECT(m.files[4].number = 20, "below the next");
    EXPECT(m.files[1].number = 1, "not in order");
    EXPECT(m.files[0].kind = ARCHIVE_CURRENT, "kind is not one of its table's");
    EXPECT(m.files[1].kind = ARCHIVE_ROWS, "kind is not one of its table's");
    EXPECT(m.files[0].schema_version = 0, "schema version is 0");
    EXPECT(m.files[0].max_seq = 5001, "range of seq");
    EXPECT(m.files[0].min_seq = 0, "range of seq");
    EXPECT(m.files[0].rows = 0, "counts of rows");
    EXPECT(m.files[0].rows = 5000, "counts of rows");
    EXPECT(m.files[0].size_bytes = 0, "counts of rows or bytes");
    EXPECT(m.files[0].min_ts = INT64_MAX; m.files[0].max_ts = 0, "range of time");
    EXPECT(m.files[0].min_by = 3, "range of superseded_by");
    EXPECT(m.files[2].min_by = 4, "range of superseded_by");
    EXPECT(m.files[2].max_by = 5001, "range of superseded_by");
    EXPECT(m.files[3].day = 1, "pairs have a day");
    EXPECT(memcpy(m.files[0].instruments[1], "AA", 2), "not in order");
    EXPECT(memcpy(m.files[0].instruments[0], m.files[0].instruments[1], 16), "not in order");
    EXPECT(memset(m.files[0].instruments[0], 0, 16), "no text");
    EXPECT(m.history_seq[1] = 5001, "history begins after");
    EXPECT(m.next_number = 0, "impossible");
#undef EXPECT
}

static void expect_newer(const archive_manifest *m, size_t at, const char *bytes, size_t size) {
    buffer b = {0};
    archive_manifest back;
    tape_error error;
    archive_manifest_encode(m, &b);
    memcpy(b.data + at, bytes, size);
    seal(&b);
    assert_int_equal(decode(&b, &back, &error), TAPE_NEWER);
    assert_non_null(strstr(error.text, "newer version of tape"));
    buffer_deinit(&b);
}

static void what_a_later_version_wrote_is_newer(void **state) {
    (void)state;
    archive_manifest m;
    sample(&m);
    size_t first = 64 + 8 * TAPE_TABLE_COUNT;
    expect_newer(&m, 8, "\2", 1);                            /* the format */
    expect_newer(&m, 56, (char[]){TAPE_TABLE_COUNT + 1}, 1); /* the tables */
    expect_newer(&m, first + 8, (char[]){TAPE_TABLE_COUNT + 1}, 1);
    expect_newer(&m, first + 10, "\5", 1); /* the kind */
    expect_newer(&m, first + 12, "\2", 1); /* the schema version */
}

static void golden_manifest_is_read_forever(void **state) {
    (void)state;
    archive_manifest m;
    archive_manifest back;
    tape_error error;
    buffer b = {0};
    uint8_t golden[4096];
    sample(&m);
    archive_manifest_encode(&m, &b);
    const char *path = GOLDEN_DIR "/archive_manifest_v1.bin";
    if (getenv("TAPE_GOLDEN_WRITE") != NULL) {
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(b.data, 1, b.size, out), b.size);
        assert_int_equal(fclose(out), 0);
    }
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t size = fread(golden, 1, sizeof golden, in);
    assert_int_equal(fclose(in), 0);
    if (archive_manifest_decode(golden, size, path, &back, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_same(&m, &back);
    free(back.files);
    assert_int_equal(size, b.size);
    assert_memory_equal(golden, b.data, size);
    buffer_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifest_reads_back_what_was_written),
        cmocka_unit_test(every_truncation_and_every_flipped_bit_is_refused),
        cmocka_unit_test(values_with_a_right_checksum_are_still_checked),
        cmocka_unit_test(what_cannot_be_is_named),
        cmocka_unit_test(what_a_later_version_wrote_is_newer),
        cmocka_unit_test(golden_manifest_is_read_forever),
    };
    return cmocka_run_group_tests_name("archive_manifest", tests, NULL, NULL);
}
