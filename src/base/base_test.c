#include "base/base.h"

#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t crc_bit_by_bit(const uint8_t *p, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

static void crc32c_of_check_string_is_the_published_value(void **state) {
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
}

static void crc32c_equals_the_definition_at_every_size_and_alignment(void **state) {
    (void)state;
    uint8_t bytes[4096 + 16];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        random = random * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(random >> 24);
    }
    for (size_t size = 0; size <= 4096; size += size < 200 ? 1 : 61) {
        size_t shift = size % 16;
        uint32_t want = crc_bit_by_bit(bytes + shift, size);
        assert_int_equal(crc32c(0, bytes + shift, size), want);
        assert_int_equal(crc32c_software(0, bytes + shift, size), want);
    }
}

static void crc32c_in_pieces_equals_crc32c_at_once(void **state) {
    (void)state;
    uint8_t bytes[2000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    for (size_t cut = 0; cut <= sizeof bytes; cut += 37) {
        uint32_t first = crc32c(0, bytes, cut);
        assert_int_equal(crc32c(first, bytes + cut, sizeof bytes - cut),
                         crc32c(0, bytes, sizeof bytes));
    }
    uint32_t state_of = crc32c_step(CRC32C_START, load_u64(bytes));
    assert_int_equal(crc32c_end(crc32c_step(state_of, load_u64(bytes + 8))), crc32c(0, bytes, 16));
}

static void arena_gives_aligned_memory_that_does_not_overlap(void **state) {
    (void)state;
    arena a;
    arena_init(&a, 1024);
    uint8_t *previous = NULL;
    size_t previous_size = 0;
    for (size_t i = 1; i < 3000; i += 7) {
        size_t align = (size_t)1 << (i % 7);
        uint8_t *p = arena_alloc(&a, i, align);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        memset(p, (int)(i & 0xff), i);
        if (previous != NULL) {
            assert_int_equal(previous[previous_size - 1], (previous_size & 0xff));
        }
        previous = p;
        previous_size = i;
    }
    assert_null(arena_alloc(&a, SIZE_MAX - 8, 8));
    arena_deinit(&a);
    assert_int_equal(a.used_bytes, 0);
}

static void errors_are_one_line_and_keep_file_and_errno(void **state) {
    (void)state;
    tape_error error;
    assert_int_equal(error_set_errno(&error, ENOSPC, "a\nb", "write"), TAPE_NO_SPACE);
    assert_int_equal(error.os_errno, ENOSPC);
    assert_string_equal(error.file, "a\nb");
    assert_null(strchr(error.text, '\n'));
    error_prefix(&error, "row %d", 7);
    assert_int_equal(strncmp(error.text, "row 7: cannot write", 19), 0);
    assert_int_equal(error_set(NULL, TAPE_BUSY, "x"), TAPE_BUSY);
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(error_set(&error, TAPE_INVALID, "%s", longer), TAPE_INVALID);
    error_prefix(&error, "%s", longer);
    assert_true(strlen(error.text) < sizeof error.text);
}

static void every_status_has_a_name_and_a_text(void **state) {
    (void)state;
    assert_string_equal(tape_status_name(TAPE_LOCKED), "LOCKED");
    assert_string_equal(tape_status_name((tape_status)999), "UNKNOWN");
    assert_string_equal(tape_status_text(TAPE_OK), "done");
}

static void buffers_grow_and_keep_their_bytes(void **state) {
    (void)state;
    buffer b = {0};
    for (int i = 0; i < 1000; i++) {
        buffer_printf(&b, "%04d", i);
    }
    assert_int_equal(b.size, 4000);
    assert_memory_equal(b.data + 4 * 567, "0567", 4);
    buffer_deinit(&b);
    assert_null(b.data);
}

static void slices_order_bytewise_shorter_first(void **state) {
    (void)state;
    slice ab = {(const uint8_t *)"ab", 2};
    slice abc = {(const uint8_t *)"abc", 3};
    slice b = {(const uint8_t *)"b", 1};
    slice none = {NULL, 0};
    assert_true(slice_compare(ab, abc) < 0);
    assert_true(slice_compare(b, abc) > 0);
    assert_int_equal(slice_compare(abc, abc), 0);
    assert_true(slice_compare(none, b) < 0);
}

static void deadlines_lie_ahead_and_negative_means_never(void **state) {
    (void)state;
    assert_true(clock_deadline_ns(-1) == INT64_MAX);
    assert_true(clock_deadline_ns(INT64_MAX) == INT64_MAX);
    int64_t now = clock_monotonic_ns();
    assert_true(clock_deadline_ns(NS_PER_SECOND) >= now + NS_PER_SECOND);
}

static void stamps_stay_close_to_the_real_clock(void **state) {
    (void)state;
    int64_t end = clock_monotonic_ns() + 60000000;
    uint64_t looks = 0;
    for (; clock_monotonic_ns() < end; looks++) {
        int64_t before = clock_realtime_ns();
        int64_t stamp = clock_stamp_ns();
        int64_t after = clock_realtime_ns();
        /* A tenth of a second apart would mean a wrong scale; the machine may pause in between. */
        assert_true(stamp > before - 100000000 && stamp < after + 100000000);
    }
    assert_true(looks > 10);
}

static void log_sink_count(void *context, log_level level, const char *line) {
    assert_int_equal(level, LOG_WARN);
    assert_string_equal(line, "n=3");
    ++*(int *)context;
}

static void log_reaches_the_sink_from_the_chosen_level_on(void **state) {
    (void)state;
    int count = 0;
    log_set(LOG_WARN, log_sink_count, &count);
    log_line(LOG_INFO, "n=%d", 2);
    log_line(LOG_WARN, "n=%d", 3);
    log_set(LOG_WARN, NULL, NULL);
    assert_int_equal(count, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_of_check_string_is_the_published_value),
        cmocka_unit_test(crc32c_equals_the_definition_at_every_size_and_alignment),
        cmocka_unit_test(crc32c_in_pieces_equals_crc32c_at_once),
        cmocka_unit_test(arena_gives_aligned_memory_that_does_not_overlap),
        cmocka_unit_test(errors_are_one_line_and_keep_file_and_errno),
        cmocka_unit_test(every_status_has_a_name_and_a_text),
        cmocka_unit_test(buffers_grow_and_keep_their_bytes),
        cmocka_unit_test(slices_order_bytewise_shorter_first),
        cmocka_unit_test(deadlines_lie_ahead_and_negative_means_never),
        cmocka_unit_test(stamps_stay_close_to_the_real_clock),
        cmocka_unit_test(log_reaches_the_sink_from_the_chosen_level_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
