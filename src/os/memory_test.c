#include "os/os.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void memory_is_zero_and_starts_where_its_pages_do(void **state) {
    (void)state;
    static const size_t sizes[] = {4096, 5 * 4096, OS_HUGE_PAGE_BYTES, 3 * OS_HUGE_PAGE_BYTES};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t *memory = os_memory_map(sizes[i]);
        assert_non_null(memory);
        size_t align = sizes[i] % OS_HUGE_PAGE_BYTES == 0 ? OS_HUGE_PAGE_BYTES : 4096;
        assert_int_equal((uintptr_t)memory % align, 0);
        for (size_t at = 0; at < sizes[i]; at += 1024) {
            assert_int_equal(memory[at], 0);
        }
        memory[0] = 1;
        memory[sizes[i] - 1] = 1;
        os_memory_unmap(memory, sizes[i]);
    }
    os_memory_unmap(NULL, 4096);
}

static void memory_that_nobody_has_is_not_given(void **state) {
    (void)state;
    assert_null(os_memory_map(SIZE_MAX / 2 / OS_HUGE_PAGE_BYTES * OS_HUGE_PAGE_BYTES));
    assert_null(os_memory_map(SIZE_MAX / OS_HUGE_PAGE_BYTES * OS_HUGE_PAGE_BYTES));
    assert_null(os_memory_map(SIZE_MAX / 2 / 4096 * 4096));
}

static void pieces_do_not_overlap_and_neighbours_outlive_each_other(void **state) {
    (void)state;
    uint8_t *pieces[16];
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        pieces[i] = os_memory_map(OS_HUGE_PAGE_BYTES);
        assert_non_null(pieces[i]);
        memset(pieces[i], (int)i + 1, 4096);
        memset(pieces[i] + OS_HUGE_PAGE_BYTES - 4096, (int)i + 1, 4096);
    }
    for (size_t i = 0; i < COUNT_OF(pieces); i += 2) {
        os_memory_unmap(pieces[i], OS_HUGE_PAGE_BYTES);
    }
    for (size_t i = 1; i < COUNT_OF(pieces); i += 2) {
        assert_int_equal(pieces[i][0], i + 1);
        assert_int_equal(pieces[i][OS_HUGE_PAGE_BYTES - 1], i + 1);
        os_memory_unmap(pieces[i], OS_HUGE_PAGE_BYTES);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zero_and_starts_where_its_pages_do),
        cmocka_unit_test(memory_that_nobody_has_is_not_given),
        cmocka_unit_test(pieces_do_not_overlap_and_neighbours_outlive_each_other),
    };
    return cmocka_run_group_tests_name("os memory", tests, NULL, NULL);
}
