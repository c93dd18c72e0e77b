/* Sessions: turns, ends, progress, functions of the user's, reopening. */
#include "query/query_internal.h"
#include "query/testing.h"

#include <errno.h>

#define MS INT64_C(1000000)
/* It knows how far it is from its scan, and goes on for ever after that. */
#define ENDLESS                                                                                    \
    "WITH RECURSIVE n(i) AS (SELECT count(*) FROM trades UNION ALL SELECT i + 1 FROM n) "          \
    "SELECT count(*) FROM n"

static market open_with(uint32_t running_max) {
    market m = market_open();
    query_close(&m.query);
    m.running_max = running_max;
    market_open_query(&m, MIB(256), true);
    market_fill(&m);
    return m;
}

static query_stats stats_of(market *m) {
    query_stats stats;
    query_stats_read(m->query, &stats);
    return stats;
}

/* --- turns --- */

typedef struct asker {
    market *market;
    _Atomic int *order; /* counts those that had their turn */
    int turn;           /* of this one */
    bool right;
} asker;

static void ask(void *argument) {
    asker *a = argument;
    struct ArrowArrayStream stream;
    tape_error error;
    if (market_run(a->market, "SELECT count(*) FROM trades", 12, NULL, &stream, &error) ==
        TAPE_OK) {
        a->turn = atomic_fetch_add(a->order, 1);
        char *text = testing_text(&stream, NULL);
        a->right = strcmp(text, "3\n") == 0;
        free(text);
    }
}

static void wait_for(market *m, uint64_t waiting) {
    while (stats_of(m).waiting != waiting) {
        os_sleep_ns(MS);
    }
}

static void sessions_wait_for_their_turn_in_order(void **state) {
    (void)state;
    market m = open_with(1);
    struct ArrowArrayStream first;
    tape_error error;
    asker askers[5];
    os_thread *threads[5];
    _Atomic int order = 0;
    assert_int_equal(
        market_run(&m, "SELECT i FROM range(1000000000) t(i)", 12, NULL, &first, &error), TAPE_OK);
    for (size_t n = 0; n < COUNT_OF(askers); n++) {
        askers[n] = (asker){.market = &m, .order = &order};
        assert_int_equal(os_thread_start(&threads[n], "asker", -1, ask, &askers[n], &error),
                         TAPE_OK);
        wait_for(&m, n + 1);
    }
    assert_int_equal(stats_of(&m).running, 1);
    assert_int_equal(atomic_load(&order), 0);
    first.release(&first);
    for (size_t n = 0; n < COUNT_OF(askers); n++) {
        os_thread_join(&threads[n]);
    }
    for (size_t n = 0; n < COUNT_OF(askers); n++) {
        assert_true(askers[n].right);
        assert_int_equal(askers[n].turn, n);
    }
    assert_int_equal(stats_of(&m).running, 0);
    market_close(&m);
}

static bool always(void *context) {
    (void)context;
    return true;
}

static void sessions_stop_waiting_when_told_or_too_late(void **state) {
    (void)state;
    market m = open_with(2);
    struct ArrowArrayStream held[2];
    struct ArrowArrayStream stream;
    tape_error error;
    for (int n = 0; n < 2; n++) {
        assert_int_equal(
            market_run(&m, "SELECT i FROM range(1000000000) t(i)", 12, NULL, &held[n], &error),
            TAPE_OK);
    }
    tape_query_options late = {.timeout_ns = 20 * MS};
    assert_int_equal(market_run(&m, "SELECT 2", 12, &late, &stream, &error), TAPE_TIMEOUT);
    assert_non_null(strstr(error.text, "turn within 20 ms"));
    tape_query_options told = {.timeout_ns = -1, .cancelled = always};
    assert_int_equal(market_run(&m, "SELECT 2", 12, &told, &stream, &error), TAPE_CANCELLED);
    assert_int_equal(stats_of(&m).waiting, 0);
    held[0].release(&held[0]);
    market_check(&m, "SELECT 2", "2\n");
    held[1].release(&held[1]);
    market_close(&m);
}

static void sessions_run_side_by_side(void **state) {
    (void)state;
    market m = open_with(8);
    struct ArrowArrayStream streams[8];
    tape_error error;
    for (size_t n = 0; n < COUNT_OF(streams); n++) {
        assert_int_equal(
            market_run(&m, "SELECT count(*) FROM trades", n % 3 + 1, NULL, &streams[n], &error),
            TAPE_OK);
    }
    assert_int_equal(stats_of(&m).running, 8);
    for (size_t n = 0; n < COUNT_OF(streams); n++) {
        char *text = testing_text(&streams[n], NULL);
        assert_int_equal(text[0], '1' + (int)(n % 3));
        free(text);
    }
    market_close(&m);
}

/* --- reaching the columns --- */

typedef struct gate {
    _Atomic int calls;
    _Atomic bool open;
    uint64_t asked;
} gate;

static tape_status reach(void *context, uint64_t seq, int64_t deadline_ns, tape_error *error) {
    gate *g = context;
    atomic_fetch_add(&g->calls, 1);
    g->asked = seq;
    while (!atomic_load(&g->open)) {
        if (clock_monotonic_ns() >= deadline_ns) {
            return error_set(error, TAPE_TIMEOUT, "the columns did not get there in time");
        }
        os_sleep_ns(MS);
    }
    return TAPE_OK;
}

static void sessions_reach_the_seq_before_they_read(void **state) {
    (void)state;
    market m = market_open();
    gate g = {.open = true};
    tape_error error;
    struct ArrowArrayStream stream;
    market_fill(&m);
    query_close(&m.query);
    const query_options options = {.columns = m.columns,
                                   .memory_bytes = MIB(256),
                                   .threads = 1,
                                   .cache_bytes = MIB(1),
                                   .reach = reach,
                                   .context = &g};
    assert_int_equal(query_open(&m.query, &options, &error), TAPE_OK);
    market_check_at(&m, "SELECT 1", 12, "1\n");
    assert_int_equal(g.calls, 0);
    market_check_at(&m, "SELECT count(*) FROM trades", 11, "3\n");
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.asked, 11);
    market_check_at(&m, "SELECT count(*) FROM trades", 12, "3\n");
    assert_int_equal(g.calls, 2);
    atomic_store(&g.open, false);
    tape_query_options late = {.timeout_ns = 20 * MS};
    assert_int_equal(market_run(&m, "SELECT count(*) FROM ticks", 12, &late, &stream, &error),
                     TAPE_TIMEOUT);
    tape_query_options told = {.timeout_ns = -1, .cancelled = always};
    assert_int_equal(market_run(&m, "SELECT count(*) FROM ticks", 12, &told, &stream, &error),
                     TAPE_CANCELLED);
    atomic_store(&g.open, true);
    market_check_at(&m, "SELECT count(*) FROM ticks", 12, "1\n");
    market_close(&m);
}

/* --- progress --- */

typedef struct told {
    _Atomic int times;
    _Atomic bool wrong;
} told;

static void tell(void *context, double share) {
    told *t = context;
    atomic_fetch_add(&t->times, 1);
    if (!(share >= 0 && share <= 1)) {
        atomic_store(&t->wrong, true);
    }
}

static bool when_told_often(void *context) {
    return atomic_load(&((told *)context)->times) >= 3;
}

static void sessions_tell_how_far_they_are(void **state) {
    (void)state;
    market m = open_with(0);
    told t = {0};
    struct ArrowArrayStream stream;
    tape_error error;
    tape_query_options options = {.timeout_ns = -1,
                                  .cancelled = when_told_often,
                                  .cancel_context = &t,
                                  .progress = tell,
                                  .progress_context = &t};
    assert_int_equal(market_run(&m, ENDLESS, 12, &options, &stream, &error), TAPE_CANCELLED);
    int times = atomic_load(&t.times);
    assert_true(times >= 3);
    assert_false(atomic_load(&t.wrong));
    market_check(&m, "SELECT 1", "1\n");
    assert_int_equal(atomic_load(&t.times), times);
    market_close(&m);
}

/* --- prepared statements --- */

static void sessions_run_statements_again_with_other_values(void **state) {
    (void)state;
    market m = open_with(1);
    for (int n = 0; n < 200; n++) {
        tape_value value = {.type = TAPE_TYPE_DOUBLE, .real = 3900 + n % 3};
        tape_query_options options = {.timeout_ns = -1, .params = &value, .param_count = 1};
        struct ArrowArrayStream stream;
        tape_error error;
        assert_int_equal(market_run(&m, "SELECT count(*) FROM trades WHERE price > $1",
                                    (uint64_t)(n % 12), &options, &stream, &error),
                         TAPE_OK);
        char *text = testing_text(&stream, NULL);
        int rows = n % 12 > 3 ? 3 : n % 12;
        int want = rows - (rows >= 1) - (rows >= 2 && n % 3 == 2);
        assert_int_equal(text[0], '0' + want);
        free(text);
        /* More statements than a session keeps. */
        char *sql = mem_printf("SELECT %d + count(*) FROM trades", n % 50);
        char *sum = mem_printf("%d\n", n % 50 + 3);
        market_check(&m, sql, sum);
        free(sql);
        free(sum);
    }
    market_close(&m);
}

static void sessions_clock_stands_still_within_a_statement(void **state) {
    (void)state;
    market m = open_with(1);
    tape_trade trade = {.trade_id = "now", .price = 1};
    for (int n = 0; n < 5; n++) {
        int64_t now = clock_realtime_ns();
        testing_add(m.columns, TAPE_TABLE_TRADES, &trade, now - NS_PER_SECOND, false);
        testing_add(m.columns, TAPE_TABLE_TRADES, &trade, now - 7200 * NS_PER_SECOND, false);
        char *want = mem_printf("%d\n", n + 1);
        market_check(&m, "SELECT count(*) FROM trades WHERE ts > now() - INTERVAL 1 HOUR", want);
        market_check(&m,
                     "SELECT count(*) FROM trades WHERE ts BETWEEN now() - INTERVAL 1 HOUR "
                     "AND current_timestamp",
                     want);
        free(want);
    }
    market_check(&m, "SELECT now() = current_timestamp, now() = get_current_timestamp()",
                 "true|true\n");
    market_close(&m);
}

/* --- functions of the user's --- */

static tape_status twice(void *context, const tape_vector *arguments, size_t rows, tape_results *to,
                         tape_error *error) {
    double *out = tape_results_values(to);
    const double *in = arguments[0].values;
    (void)context;
    (void)error;
    for (size_t n = 0; n < rows; n++) {
        out[n] = 2 * in[n];
    }
    return TAPE_OK;
}

static tape_status add_up(void *context, const tape_vector *arguments, size_t rows, void **states,
                          tape_error *error) {
    (void)context;
    (void)error;
    for (size_t n = 0; n < rows; n++) {
        *(double *)states[n] += ((const double *)arguments[0].values)[n];
    }
    return TAPE_OK;
}

static tape_status add_states(void *context, void **sources, void **targets, size_t count,
                              tape_error *error) {
    (void)context;
    (void)error;
    for (size_t n = 0; n < count; n++) {
        *(double *)targets[n] += *(const double *)sources[n];
    }
    return TAPE_OK;
}

static tape_status give_sums(void *context, void **states, size_t count, tape_results *to,
                             tape_error *error) {
    double *out = tape_results_values(to);
    (void)context;
    (void)error;
    for (size_t n = 0; n < count; n++) {
        out[n] = *(const double *)states[n];
    }
    return TAPE_OK;
}

static void sessions_know_functions_after_duckdb_is_opened_anew(void **state) {
    (void)state;
    market m = market_open();
    query_close(&m.query);
    m.cache_bytes = MIB(1);
    market_open_query(&m, MIB(256), true);
    market_fill(&m);
    tape_error error;
    const tape_type number = TAPE_TYPE_DOUBLE;
    const tape_function scalar = {.size_bytes = sizeof scalar,
                                  .name = "twice",
                                  .arguments = &number,
                                  .argument_count = 1,
                                  .result = TAPE_TYPE_DOUBLE,
                                  .call = twice};
    tape_function changing = scalar;
    changing.name = "changing";
    changing.changes = true;
    const tape_aggregate sum = {.size_bytes = sizeof sum,
                                .name = "add_up",
                                .arguments = &number,
                                .argument_count = 1,
                                .result = TAPE_TYPE_DOUBLE,
                                .state_bytes = sizeof(double),
                                .update = add_up,
                                .combine = add_states,
                                .finish = give_sums};
    const char *sql = "SELECT add_up(twice(price)) FROM trades";
    /* Before the first statement, and after. */
    assert_int_equal(query_add_function(m.query, &scalar, &error), TAPE_OK);
    market_check(&m, "SELECT twice(4)", "8\n");
    assert_int_equal(query_add_aggregate(m.query, &sum, &error), TAPE_OK);
    assert_int_equal(query_add_function(m.query, &changing, &error), TAPE_OK);
    assert_int_equal(query_add_function(m.query, &scalar, &error), TAPE_EXISTS);
    market_check(&m, sql, "23505\n");
    market_check(&m, sql, "23505\n");
    assert_int_equal(stats_of(&m).from_cache, 1);
    market_check(&m, "SELECT changing(4)", "8\n");
    market_check(&m, "SELECT changing(4)", "8\n");
    assert_int_equal(stats_of(&m).from_cache, 1);
    /* As when DuckDB has declared itself broken. */
    (void)pthread_mutex_lock(&m.query->mutex);
    m.query->broken = true;
    (void)pthread_mutex_unlock(&m.query->mutex);
    market_check(&m, "SELECT twice(5)", "10\n");
    assert_false(m.query->broken);
    market_check(&m, "SELECT add_up(twice(price)), count(*) FROM trades", "23505|3\n");
    market_close(&m);
}

/* --- latest --- */

static void sessions_macro_latest_takes_every_table(void **state) {
    (void)state;
    market m = open_with(0);
    tape_account account = {.user_id = "u2", .balance = 7};
    tape_position position = {.user_id = "u1", .instrument_id = "IF2602", .long_volume = 9};
    tape_tick tick = {.instrument_id = "IF2601", .last_price = 5000};
    testing_add(m.columns, TAPE_TABLE_ACCOUNTS, &account, 1, false);
    testing_add(m.columns, TAPE_TABLE_POSITIONS, &position, 1, false);
    testing_add(m.columns, TAPE_TABLE_TICKS, &tick, 1, false);
    account.balance = 8;
    testing_add(m.columns, TAPE_TABLE_ACCOUNTS, &account, 2, false);
    market_check(&m, "SELECT seq FROM latest('trades')", "2\n3\n");
    market_check(&m, "SELECT seq FROM latest('ticks')", "15\n");
    market_check(&m, "SELECT seq FROM latest('depth')", "12\n");
    market_check(&m, "SELECT order_id, seq FROM latest('orders')", "o1|7\no2|5\n");
    market_check(&m, "SELECT user_id, balance FROM latest('accounts')", "u1|1000\nu2|8\n");
    market_check(&m, "SELECT instrument_id, long_volume FROM latest('positions')",
                 "IF2601|2\nIF2602|9\n");
    market_check(&m, "SELECT instrument_id FROM latest('instruments')", "IF2601\n");
    market_check(&m, "SELECT order_id, seq FROM latest('orders_history')", "o1|7\no2|5\n");
    market_check(&m, "SELECT seq FROM latest(TICKS)", "15\n");
    market_check(&m, "SELECT seq FROM latest('ti' || 'cks')", "15\n");
    market_check_at(&m, "SELECT seq FROM latest('ticks')", 12, "11\n");
    struct ArrowArrayStream stream;
    tape_error error;
    assert_int_equal(market_run(&m, "FROM latest('nothing')", 12, NULL, &stream, &error), TAPE_SQL);
    assert_non_null(strstr(error.text, "no table of that name"));
    market_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_wait_for_their_turn_in_order),
        cmocka_unit_test(sessions_stop_waiting_when_told_or_too_late),
        cmocka_unit_test(sessions_run_side_by_side),
        cmocka_unit_test(sessions_reach_the_seq_before_they_read),
        cmocka_unit_test(sessions_tell_how_far_they_are),
        cmocka_unit_test(sessions_run_statements_again_with_other_values),
        cmocka_unit_test(sessions_clock_stands_still_within_a_statement),
        cmocka_unit_test(sessions_know_functions_after_duckdb_is_opened_anew),
        cmocka_unit_test(sessions_macro_latest_takes_every_table),
    };
    return cmocka_run_group_tests_name("query_session", tests, NULL, NULL);
}
