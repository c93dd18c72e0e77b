#include "base/base_testing.h"
#include "format/format.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define SALT UINT64_C(0x0123456789abcdef)

static void frame_written_is_read_back_at_its_position_only(void **state) {
    (void)state;
    uint8_t frame[4096];
    for (size_t size = 0; size <= 400; size++) {
        uint8_t payload[400];
        memset(payload, (int)size, sizeof payload);
        uint64_t span =
            frame_write(frame, SALT, 64 * size, 7, 2, FRAME_MORE, 123456789, payload, size);
        assert_int_equal(span % FRAME_ALIGN, 0);
        assert_true(span >= size + FRAME_HEADER_BYTES);
        frame_header header;
        assert_int_equal(frame_read(frame, span, SALT, 64 * size, &header, NULL, NULL),
                         FRAME_VALID);
        assert_int_equal(header.size_bytes, size + FRAME_HEADER_BYTES);
        assert_int_equal(header.type, 7);
        assert_int_equal(header.version, 2);
        assert_int_equal(header.flags, FRAME_MORE);
        assert_int_equal(header.append_ts, 123456789);
        assert_int_equal(frame_read(frame, span, SALT, 64 * size + 32, &header, NULL, NULL),
                         FRAME_BAD_CRC);
        assert_int_equal(frame_read(frame, span, SALT + 1, 64 * size, &header, NULL, NULL),
                         FRAME_BAD_CRC);
        if (span > FRAME_ALIGN) {
            assert_int_equal(frame_read(frame, span - 1, SALT, 64 * size, &header, NULL, NULL),
                             FRAME_TRUNCATED);
        }
    }
}

static void frame_with_any_bit_flipped_is_invalid(void **state) {
    (void)state;
    uint8_t frame[256];
    uint8_t payload[77];
    memset(payload, 0xa5, sizeof payload);
    uint64_t span = frame_write(frame, SALT, 4096, 3, 1, 0, -5, payload, sizeof payload);
    for (size_t bit = 0; bit < span * 8; bit++) {
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        frame_header header;
        assert_int_not_equal(frame_read(frame, span, SALT, 4096, &header, NULL, NULL), FRAME_VALID);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void frame_verdicts_tell_what_is_wrong(void **state) {
    (void)state;
    uint8_t frame[64] = {0};
    frame_header header;
    assert_int_equal(frame_read(frame, 64, SALT, 0, &header, NULL, NULL), FRAME_ZERO);
    assert_int_equal(frame_read(frame, 4, SALT, 0, &header, NULL, NULL), FRAME_TRUNCATED);
    store_u32(frame, 5);
    assert_int_equal(frame_read(frame, 64, SALT, 0, &header, NULL, NULL), FRAME_BAD_SIZE);
    store_u32(frame, UINT32_MAX);
    assert_int_equal(frame_read(frame, 64, SALT, 0, &header, NULL, NULL), FRAME_BAD_SIZE);
    store_u32(frame, 40);
    uint32_t expected = 1;
    uint32_t actual = 1;
    assert_int_equal(frame_read(frame, 64, SALT, 0, &header, &expected, &actual), FRAME_BAD_CRC);
    assert_int_equal(expected, 0);
    assert_int_not_equal(actual, 0);
    uint8_t payload[8] = {1};
    (void)frame_write(frame, SALT, 0, 1, 1, 0, 0, payload, sizeof payload);
    assert_int_equal(load_u32(frame), 32);
    (void)frame_write(frame, SALT, 0, 1, 1, 0, 0, payload, 7);
    frame[31] = 1;
    assert_int_equal(frame_read(frame, 64, SALT, 0, &header, NULL, NULL), FRAME_BAD_PADDING);
}

/* Mutations of good frames and plain noise: never a crash, never a frame that was not written. */
static void frame_decoder_survives_fuzzed_input(void **state) {
    (void)state;
    uint64_t inputs = 500000;
    const char *scale = getenv("TAPE_TEST_SCALE");
    if (scale != NULL && strcmp(scale, "full") == 0) {
        inputs = 10000000;
    }
    uint64_t random = 88172645463325252u;
    uint8_t good[512];
    uint8_t payload[400];
    memset(payload, 0x3c, sizeof payload);
    uint64_t accepted = 0;
    for (uint64_t i = 0; i < inputs; i++) {
        size_t size = (size_t)(random_next(&random) % sizeof payload);
        uint64_t span = frame_write(good, SALT, 0, 2, 1, 0, 1, payload, size);
        uint64_t flips = random_next(&random) % 4;
        bool changed = false;
        for (uint64_t f = 0; f < flips; f++) {
            /* Half of the damage goes to the header, where the decisions are. */
            uint64_t r = random_next(&random);
            size_t at = (size_t)((r >> 16) % ((r & 1) != 0 ? FRAME_HEADER_BYTES : span));
            uint8_t old = good[at];
            good[at] = (uint8_t)(r >> 40);
            changed = changed || good[at] != old;
        }
        size_t available = (size_t)(random_next(&random) % (span + 1));
        available = i % 2 == 0 ? (size_t)span : available;
        frame_header header;
        uint8_t *exact =
            malloc(available == 0 ? 1 : available); /* so that a sanitizer sees overreads */
        assert_non_null(exact);
        memcpy(exact, good, available);
        bool valid = frame_read(exact, available, SALT, 0, &header, NULL, NULL) == FRAME_VALID;
        free(exact);
        if (valid) {
            accepted++;
            assert_int_equal(available, span);
            if (changed) { /* later damage may have undone the earlier */
                uint8_t again[512];
                (void)frame_write(again, SALT, 0, 2, 1, 0, 1, payload, size);
                assert_memory_equal(again, good, span);
            }
        }
    }
    assert_true(accepted > inputs / 16);
}

static void segment_header_is_checked_field_by_field(void **state) {
    (void)state;
    uint8_t id[16] = {1, 2, 3};
    segment_header header = {.index = 5, .body_bytes = MIB(1), .first_seq = 77};
    memcpy(header.store_id, id, sizeof id);
    segment_header_seal(&header);
    tape_error error;
    assert_int_equal(segment_header_check(&header, id, 5, "f", &error), TAPE_OK);
    assert_int_equal(segment_header_check(&header, id, 6, "f", &error), TAPE_CORRUPT);
    assert_string_equal(error.file, "f");
    uint8_t other[16] = {9};
    assert_int_equal(segment_header_check(&header, other, 5, "f", &error), TAPE_CORRUPT);
    segment_header newer = header;
    segment_header_seal(&newer);
    for (size_t i = 0; i < sizeof header; i++) {
        segment_header damaged = header;
        ((uint8_t *)&damaged)[i] ^= 0x10;
        assert_int_equal(segment_header_check(&damaged, id, 5, "f", &error), TAPE_CORRUPT);
        assert_true(error.offset <= sizeof header);
    }
}

static void chain_depends_on_every_byte_and_on_the_one_before(void **state) {
    (void)state;
    uint8_t zero[16] = {0};
    uint8_t a[16];
    uint8_t b[16];
    chain *c = chain_create();
    chain_start(c, zero);
    chain_add(c, "hello ", 6);
    chain_add(c, "world", 5);
    chain_finish(c, a);
    chain_start(c, zero);
    chain_add(c, "hello world", 11);
    chain_finish(c, b);
    assert_memory_equal(a, b, 16);
    chain_start(c, a);
    chain_add(c, "hello world", 11);
    chain_finish(c, b);
    assert_memory_not_equal(a, b, 16);
    chain_destroy(&c);
}

/* The first bytes of a journal made of fixed values; written once, read forever. */
static size_t golden_build(uint8_t *out, size_t capacity) {
    memset(out, 0, capacity);
    segment_header header = {.index = 3,
                             .body_bytes = MIB(64),
                             .first_seq = 42,
                             .epoch = 2,
                             .durable_position = 3 * MIB(64),
                             .append_ts = 1700000000000000000};
    for (size_t i = 0; i < 16; i++) {
        header.store_id[i] = (uint8_t)i;
        header.chain[i] = (uint8_t)(0xf0 + i);
    }
    segment_header_seal(&header);
    memcpy(out, &header, sizeof header);
    uint64_t salt = format_salt(header.store_id);
    uint64_t position = 3 * MIB(64);
    uint8_t record[96];
    for (size_t i = 0; i < sizeof record; i++) {
        record[i] = (uint8_t)(i * 3);
    }
    store_u64(record, 42);
    size_t at = sizeof header;
    size_t start = at;
    at +=
        frame_write(out + at, salt, position, 6, 1, 0, 1700000000000000001, record, sizeof record);
    frame_commit commit = {.last_seq = 42, .durable_position = position, .epoch = 2};
    chain *c = chain_create();
    chain_start(c, header.chain);
    chain_add(c, out + start, at - start);
    chain_finish(c, commit.chain);
    chain_destroy(&c);
    at += frame_write(out + at, salt, position + (at - start), FRAME_COMMIT, 1, 0,
                      1700000000000000002, &commit, sizeof commit);
    ASSERT(at <= capacity);
    return at;
}

static void golden_journal_bytes_do_not_change(void **state) {
    (void)state;
    uint8_t built[1024];
    uint8_t stored[1024];
    size_t size = golden_build(built, sizeof built);
    const char *path = GOLDEN_DIR "/journal_v1.bin";
    if (getenv("TAPE_GOLDEN_WRITE") != NULL) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(built, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
    }
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t got = fread(stored, 1, sizeof stored, file);
    (void)fclose(file);
    assert_int_equal(got, size);
    assert_memory_equal(stored, built, size);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_written_is_read_back_at_its_position_only),
        cmocka_unit_test(frame_with_any_bit_flipped_is_invalid),
        cmocka_unit_test(frame_verdicts_tell_what_is_wrong),
        cmocka_unit_test(frame_decoder_survives_fuzzed_input),
        cmocka_unit_test(segment_header_is_checked_field_by_field),
        cmocka_unit_test(chain_depends_on_every_byte_and_on_the_one_before),
        cmocka_unit_test(golden_journal_bytes_do_not_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
