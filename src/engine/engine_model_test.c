/* The engine against a trivial model of it: random operations, crashes and faults. Every world is
 * one life of a store that follows from its seed (engine_model_testing.h).
 *
 * TAPE_TEST_SEED=n runs the world of that seed alone (TAPE_TEST_WORLDS=m: so many from it on),
 * TAPE_TEST_TRACE=1 tells every step. TAPE_TEST_SCALE=full runs millions of steps
 * from a seed drawn anew, which is printed. */
#include "engine/engine_model_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STEPS 500
#define STEPS_OF_LONG_WORLDS 8000

static void live(uint64_t seed, bool may_be_long) {
    world *w = mem_zalloc(sizeof *w);
    world_create(w, seed);
    uint64_t steps = may_be_long && seed % 40 == 0 ? STEPS_OF_LONG_WORLDS : STEPS;
    while (w->step < steps) {
        world_step(w);
    }
    model_check_all(w);
    model_lie(w);
    world_end(w);
    free(w);
}

static void print_coverage(void) {
    const coverage *c = &covered;
    print_message("%" PRIu64 " steps in %" PRIu64 " worlds, %" PRIu64 " records; %" PRIu64
                  " process crashes, %" PRIu64 " power losses, %" PRIu64
                  " of them at some step on the disk, %" PRIu64 " reopens\n",
                  c->steps, c->worlds, c->records, c->crashes, c->power_losses, c->crashes_at,
                  c->reopens);
    print_message("%" PRIu64 " I/O errors, %" PRIu64 " full disks (%" PRIu64
                  " appends refused), flips: %" PRIu64 " open, %" PRIu64 " closed, %" PRIu64
                  " found, %" PRIu64 " refused; lies: %" PRIu64 ", %" PRIu64 " refused, %" PRIu64
                  " harmless\n",
                  c->io_faults, c->disk_full, c->refused_appends, c->flips_open, c->flips_closed,
                  c->flips_found, c->flips_refused, c->lies, c->lies_refused, c->lies_harmless);
    print_message("%" PRIu64 " gets, %" PRIu64 " of many, %" PRIu64 " views, %" PRIu64
                  " scans (%" PRIu64 " rows), %" PRIu64 " too old; %" PRIu64
                  " checkpoints, %" PRIu64 " compactions (%" PRIu64 " cancelled, %" PRIu64
                  " beats)\n",
                  c->gets, c->many, c->views, c->scans, c->scan_rows, c->too_old, c->flushes,
                  c->compactions, c->cancelled, c->within);
    print_message("%" PRIu64 " looks at the columns; files seen by level:", c->columns);
    for (size_t i = 0; i < COUNT_OF(c->level_files); i++) {
        print_message(" %" PRIu64, c->level_files[i]);
    }
    print_message("; at most %" PRIu64 " at once\n", c->most_files);
}

static void engine_agrees_with_a_trivial_model(void **state) {
    (void)state;
    const char *seed_text = getenv("TAPE_TEST_SEED");
    const char *scale = getenv("TAPE_TEST_SCALE");
    bool full = scale != NULL && strcmp(scale, "full") == 0;
    if (seed_text != NULL) {
        const char *worlds_text = getenv("TAPE_TEST_WORLDS");
        uint64_t seed = strtoull(seed_text, NULL, 10);
        uint64_t count = worlds_text == NULL ? 1 : strtoull(worlds_text, NULL, 10);
        for (uint64_t i = 0; i < count; i++) {
            live(seed + i, true);
        }
        print_coverage();
        return;
    }
    uint64_t first = 1;
    uint64_t worlds = 60;
    if (full) {
        first = (uint64_t)time(NULL) * 10000;
        worlds = 3000;
    }
    print_message("worlds from seed %" PRIu64 "\n", first);
    for (uint64_t i = 0; i < worlds; i++) {
        live(first + i, full);
    }
    print_coverage();
    const coverage *c = &covered;
    assert_true(c->crashes > 0 && c->power_losses > 0 && c->crashes_at > 0 && c->reopens > 0);
    assert_true(c->io_faults > 0 && c->disk_full > 0 && c->refused_appends > 0);
    assert_true(c->flips_open > 0 && c->flips_closed > 0 && c->flips_found > 0);
    assert_true(c->lies > 0 && c->lies_refused > 0 && c->lies_harmless > 0);
    assert_true(c->too_old > 0 && c->compactions > 0 && c->cancelled > 0 && c->within > 0);
    for (size_t i = 0; i < COUNT_OF(c->level_files); i++) {
        assert_true(c->level_files[i] > 0);
    }
}

static void log_nothing(void *context, log_level level, const char *line) {
    (void)context;
    (void)level;
    (void)line;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engine_agrees_with_a_trivial_model),
    };
    log_set(LOG_ERROR, log_nothing, NULL);
    return cmocka_run_group_tests_name("engine_model", tests, NULL, NULL);
}
