/* The order flow: the same for a seed everywhere, bounded, and lively enough to be worth recording.
 */
#include "sim/sim_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct run {
    sim_exchange *x;
    sim_flow flow;
    uint64_t hash; /* of all bytes of all events, and where events end */
    uint64_t records;
    uint64_t by_table[TAPE_TABLE_COUNT + 1];
} run;

static void run_count(run *r) {
    const sim_event *event = &r->x->event;
    uint32_t crc = crc32c(0, event->bytes, event->bytes_used);
    r->hash = (r->hash ^ crc ^ (uint64_t)event->count << 32) * UINT64_C(0x9e3779b97f4a7c15);
    r->hash ^= r->hash >> 29;
    r->records += event->count;
    for (size_t i = 0; i < event->count; i++) {
        r->by_table[event->records[i].table]++;
    }
}

static void run_init(run *r, uint64_t seed, uint32_t instruments, uint32_t users) {
    *r = (run){.x = mem_alloc(sizeof *r->x)};
    sim_exchange_init(r->x, &(sim_exchange_options){seed, instruments, users, SIM_DEPOSIT_UNITS});
    sim_flow_init(&r->flow, r->x, seed);
    while (sim_exchange_open(r->x, SIM_START_TS)) {
        run_count(r);
    }
}

static void run_step(run *r) {
    sim_command command;
    sim_flow_next(&r->flow, r->x, &command);
    if (command.cancel) {
        assert_true(sim_exchange_cancel(r->x, command.handle, command.ts));
    } else {
        sim_exchange_submit(r->x, &command.request, command.ts);
    }
    run_count(r);
}

static void run_deinit(run *r) {
    sim_flow_deinit(&r->flow);
    sim_exchange_deinit(r->x);
    free(r->x);
}

static void flow_same_seed_gives_the_same_bytes(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        run a, b, other;
        run_init(&a, seed, 4, 100);
        run_init(&b, seed, 4, 100);
        run_init(&other, seed + 1, 4, 100);
        for (int i = 0; i < 20000; i++) {
            run_step(&a);
            run_step(&b);
            run_step(&other);
            assert_true(a.hash == b.hash);
        }
        assert_true(a.hash != other.hash);
        run_deinit(&a);
        run_deinit(&b);
        run_deinit(&other);
    }
}

/* What a released version made of a seed stays: people compare runs across machines and versions.
 */
static void flow_of_seed_1_is_the_golden_one(void **state) {
    (void)state;
    run r;
    run_init(&r, 1, 4, 100);
    for (int i = 0; i < 50000; i++) {
        run_step(&r);
    }
    assert_int_equal(r.records, 167715);
    assert_true(r.hash == UINT64_C(0x0d5cddd915b4392f));
    run_deinit(&r);
}

static void flow_keeps_the_book_bounded_and_two_sided(void **state) {
    (void)state;
    run r;
    run_init(&r, 5, 3, 50);
    for (int i = 0; i < 200000; i++) {
        run_step(&r);
        if (i > 10000 && i % 1000 == 0) {
            for (uint32_t k = 0; k < 3; k++) {
                const sim_book *book = &r.x->markets[k].book;
                assert_in_range(book->live_count, 20, 1200);
                assert_true(book->best[SIM_BUY] != SIM_NO_PRICE);
                assert_true(book->best[SIM_SELL] != SIM_NO_PRICE);
            }
        }
    }
    assert_true(r.x->pool.used < 4096); /* slots of finished orders are used again */
    run_deinit(&r);
}

static void flow_does_everything_an_exchange_sees(void **state) {
    (void)state;
    run r;
    run_init(&r, 6, 4, 100);
    while (r.x->orders < 100000) {
        run_step(&r);
    }
    assert_in_range(r.x->trades, 15000, 60000);
    assert_in_range(r.x->cancels, 30000, 90000);
    assert_in_range(r.x->rejects, 50, 2000);
    for (int table = 1; table <= TAPE_TABLE_COUNT; table++) {
        assert_true(r.by_table[table] > 0);
    }
    assert_true(r.by_table[TAPE_TABLE_DEPTH] < r.x->orders / 4);
    assert_true(r.records < 10 * r.x->orders);
    run_deinit(&r);
}

static void flow_time_rises(void **state) {
    (void)state;
    run r;
    run_init(&r, 8, 2, 10);
    int64_t last = SIM_START_TS;
    for (int i = 0; i < 50000; i++) {
        run_step(&r);
        assert_true(r.x->event.ts > last);
        last = r.x->event.ts;
    }
    assert_in_range((last - SIM_START_TS) / 50000, 9800000, 10200000); /* 10 ms on average */
    run_deinit(&r);
}

static void flow_runs_with_extreme_sizes(void **state) {
    (void)state;
    const uint32_t sizes[][2] = {{1, 2}, {SIM_INSTRUMENTS_MAX, 2}, {1, 100000}, {300, 1000}};
    for (size_t k = 0; k < COUNT_OF(sizes); k++) {
        run r;
        run_init(&r, UINT64_MAX, sizes[k][0], sizes[k][1]);
        assert_int_equal(r.by_table[TAPE_TABLE_INSTRUMENTS], sizes[k][0]);
        for (int i = 0; i < 20000; i++) {
            run_step(&r);
        }
        run_deinit(&r);
    }
}

static void random_numbers_are_the_published_ones(void **state) {
    (void)state;
    /* xoshiro256** from the state 1, 2, 3, 4. */
    sim_random r = {.state = {1, 2, 3, 4}};
    assert_true(sim_random_next(&r) == 11520);
    assert_true(sim_random_next(&r) == 0);
    assert_true(sim_random_next(&r) == 1509978240);
    assert_true(sim_random_next(&r) == UINT64_C(1215971899390074240));
}

static void random_numbers_spread_as_they_should(void **state) {
    (void)state;
    sim_random r;
    sim_random_init(&r, 99);
    uint32_t bins[10] = {0};
    int64_t sum = 0;
    uint32_t above = 0;
    for (int i = 0; i < 1000000; i++) {
        bins[sim_random_below(&r, 10)]++;
        int64_t gap = sim_random_exponential(&r, 1000000);
        assert_true(gap >= 0);
        sum += gap;
        above += gap > 2000000;
    }
    for (int i = 0; i < 10; i++) {
        assert_in_range(bins[i], 98500, 101500);
    }
    assert_in_range(sum / 1000000, 997000, 1003000);
    assert_in_range(above, 134300, 136300); /* e^-2 of a million */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flow_same_seed_gives_the_same_bytes),
        cmocka_unit_test(flow_of_seed_1_is_the_golden_one),
        cmocka_unit_test(flow_keeps_the_book_bounded_and_two_sided),
        cmocka_unit_test(flow_does_everything_an_exchange_sees),
        cmocka_unit_test(flow_time_rises),
        cmocka_unit_test(flow_runs_with_extreme_sizes),
        cmocka_unit_test(random_numbers_are_the_published_ones),
        cmocka_unit_test(random_numbers_spread_as_they_should),
    };
    return cmocka_run_group_tests_name("sim_flow", tests, NULL, NULL);
}
