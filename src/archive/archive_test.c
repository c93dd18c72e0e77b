/* An archive, opened, filled, read and kept: each promise of archive.h by itself. */
#include "archive/archive_testing.h"

#include <stdio.h>
#include <unistd.h>

static int setup(void **state) {
    world *w = mem_zalloc(sizeof *w);
    world_init(w, 1);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    world_deinit(w);
    free(w);
    return 0;
}

static void take_moves_rows_into_files_and_every_row_is_read_once(void **state) {
    world *w = *state;
    world_open_ok(w);
    world_append_many(w, 0, 400);
    assert_true(world_check_now(w) >= 400);
    world_take_ok(w);
    assert_true(world_check_now(w) >= 400);
    world_append_many(w, 0, 300);
    world_view v = world_view_open(w);
    for (uint64_t seq = 0; seq <= 700; seq += 35) {
        (void)world_check(w, &v, seq, NULL);
    }
    world_view_close(&v);
    world_take_ok(w);
    assert_true(world_check_now(w) >= 700);
    archive_stats stats;
    archive_stats_read(w->a, &stats);
    assert_int_equal(stats.seq, 700);
    assert_int_equal(stats.takes, 2);
    assert_int_equal(stats.taken_rows, 700);
    uint64_t rows = 0;
    for (uint16_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        rows += stats.rows[t];
    }
    assert_int_equal(rows, 700);
    assert_true(stats.files > 10 && stats.bytes > 10000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(take_moves_rows_into_files_and_every_row_is_read_once),
    };
    return cmocka_run_group_tests_name("archive", tests, NULL, NULL);
}
