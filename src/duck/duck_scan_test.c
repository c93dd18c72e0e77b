/* Duck: what tape_scan and the functions over superseded rows show. */
#include "duck/duck_testing.h"

#include "base/base_testing.h"

#define TRADES 260000u
#define ORDERS 130000u
#define ORDER_KEYS 1000u

/* --- trades: each made from its seq, and the same in SQL --- */

static void apply_trade(fixture *t, uint64_t n) {
    tape_trade trade = {.side = (uint8_t)(n % 3),
                        .position_effect = (uint8_t)(n % 4),
                        .price = (double)n / 8,
                        .volume = -(double)n};
    (void)snprintf(trade.trade_id, sizeof trade.trade_id, "t%llu", (unsigned long long)n);
    (void)snprintf(trade.order_id, sizeof trade.order_id, "a-long-order-%llu",
                   (unsigned long long)n * 7);
    if (n % 5 != 0) {
        (void)snprintf(trade.user_id, sizeof trade.user_id, "user-of-more-than-12-%u",
                       (unsigned)(n % 500));
    }
    (void)snprintf(trade.instrument_id, sizeof trade.instrument_id, "IF%u", (unsigned)(n % 20));
    top_apply(t, TAPE_TABLE_TRADES, &trade, (int64_t)n * 1000000);
}

#define TRADES_MODEL                                                                               \
    "(SELECT i AS seq, make_timestamp_ns(i * 1000000) AS ts, 't' || i AS trade_id, "               \
    "'a-long-order-' || i * 7 AS order_id, "                                                       \
    "CASE WHEN i % 5 <> 0 THEN 'user-of-more-than-12-' || i % 500 END AS user_id, "                \
    "'IF' || i % 20 AS instrument_id, [NULL, 'buy', 'sell'][i % 3 + 1] AS side, "                  \
    "['none', 'open', 'close', 'close_today'][i % 4 + 1] AS position_effect, i / 8 AS price, "     \
    "-i::DOUBLE AS volume FROM range(1, 260001) r(i))"

static fixture trades;
static fixture orders;

static int make_trades(void **state) {
    (void)state;
    top_open(&trades);
    for (uint64_t n = 1; n <= TRADES; n++) {
        apply_trade(&trades, n);
    }
    return 0;
}

static void duck_scan_gives_every_field_as_it_was_appended(void **state) {
    (void)state;
    duck_session_see(trades.session, 0, TRADES);
    check_answer(trades.session,
                 "SELECT count(*) FROM tape_scan('trades', 'all') t "
                 "JOIN " TRADES_MODEL " m ON t.seq = m.seq WHERE t.ts = m.ts "
                 "AND t.trade_id = m.trade_id AND t.order_id = m.order_id "
                 "AND t.counter_order_id IS NULL AND t.user_id IS NOT DISTINCT FROM m.user_id "
                 "AND t.instrument_id = m.instrument_id AND t.side IS NOT DISTINCT FROM m.side "
                 "AND t.position_effect = m.position_effect AND t.price = m.price "
                 "AND t.volume = m.volume",
                 "260000");
    check_answer(trades.session, "SELECT count(*) FROM tape_scan('trades', 'all')", "260000");
    check_answer(trades.session, "SELECT count(DISTINCT user_id) FROM tape_scan('trades', 'all')",
                 "400");
}

static void duck_scan_keeps_seq_order_in_a_plain_select(void **state) {
    (void)state;
    duck_session_see(trades.session, 0, TRADES);
    check_answer(trades.session,
                 "SELECT bool_and(seq = n) FROM (SELECT seq, row_number() OVER () AS n FROM "
                 "(SELECT seq FROM tape_scan('trades', 'all')))",
                 "true");
}

static void duck_scan_shows_what_is_after_one_seq_and_up_to_another(void **state) {
    (void)state;
    static const uint64_t edges[] = {0,      1,      2047,   2048,   2049,      40959,
                                     40960,  122879, 122880, 122881, 200000,    245760,
                                     245761, 259999, TRADES, 300000, UINT64_MAX};
    uint64_t seed = 7;
    for (size_t n = 0; n < 120; n++) {
        uint64_t after = edges[random_below(&seed, COUNT_OF(edges))];
        uint64_t seq = edges[random_below(&seed, COUNT_OF(edges))];
        uint64_t end = seq < TRADES ? seq : TRADES;
        uint64_t rows = after < end ? end - after : 0;
        duck_session_see(trades.session, after, seq);
        char *expected = rows == 0
                             ? mem_strdup("0 0 0")
                             : mem_printf("%llu %llu %llu", (unsigned long long)rows,
                                          (unsigned long long)after + 1, (unsigned long long)end);
        check_answer(trades.session,
                     "SELECT count(*) || ' ' || coalesce(min(seq), 0) || ' ' || "
                     "coalesce(max(seq), 0) FROM tape_scan('trades', 'all')",
                     expected);
        char *sum = mem_printf(
            "%.0f", rows == 0 ? 0.0 : -((double)after + 1 + (double)end) / 2 * (double)rows);
        check_answer(trades.session,
                     "SELECT coalesce(sum(volume), 0)::HUGEINT FROM tape_scan('trades', 'all')",
                     sum);
        free(sum);
        free(expected);
    }
}

static void duck_scan_of_a_kept_plan_shows_the_seq_of_its_run(void **state) {
    (void)state;
    duck_statement *st;
    tape_error error;
    assert_int_equal(duck_statement_prepare(trades.session,
                                            "SELECT max(seq) FROM tape_scan('trades', 'all')", &st,
                                            &error),
                     TAPE_OK);
    for (uint64_t seq = 1; seq < TRADES; seq = seq * 3 + 1) {
        duck_result *r;
        duck_value v;
        size_t rows;
        duck_session_see(trades.session, 0, seq);
        assert_int_equal(duck_statement_start(st, NULL, 0, &r, &error), TAPE_OK);
        assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
        duck_result_value(r, 0, 0, &v);
        assert_true((uint64_t)v.integer == seq);
        duck_result_close(&r);
    }
    duck_statement_close(&st);
}

/* --- hints --- */

static void check_hint(const columns_hint *hint, const char *where, uint64_t least) {
    char *sql = mem_printf("SELECT count(*) || ' ' || coalesce(sum(price), 0) || ' ' || "
                           "coalesce(max(trade_id), '') FROM tape_scan('trades', 'all') WHERE %s",
                           where);
    buffer without = {0};
    tape_error error;
    duck_session_see(trades.session, 0, TRADES);
    assert_int_equal(duck_session_each(trades.session, sql, join_text, &without, &error), TAPE_OK);
    buffer_append(&without, "", 1);
    duck_session_hint(trades.session, TAPE_TABLE_TRADES, hint);
    check_answer(trades.session, sql, (const char *)without.data);
    /* The scan itself gives less than everything. */
    char *less = mem_printf("SELECT count(*) < %llu FROM tape_scan('trades', 'all')",
                            (unsigned long long)TRADES - least);
    check_answer(trades.session, less, "true");
    duck_session_hint(trades.session, TAPE_TABLE_TRADES, NULL);
    check_answer(trades.session, "SELECT count(*) FROM tape_scan('trades', 'all')", "260000");
    free(less);
    free(sql);
    buffer_deinit(&without);
}

static void duck_scan_tells_how_far_it_is(void **state) {
    (void)state;
    struct ArrowArray batch;
    duck_result *r;
    tape_error error;
    double share = 0;
    duck_session_see(trades.session, 0, TRADES);
    assert_true(duck_session_progress(trades.session) <= 0);
    assert_int_equal(duck_session_start(trades.session,
                                        "SELECT seq FROM tape_scan('trades', 'all')", &r, &error),
                     TAPE_OK);
    for (;;) {
        assert_int_equal(duck_result_arrow_next(r, &batch, &error), TAPE_OK);
        if (batch.release == NULL) {
            break;
        }
        batch.release(&batch);
        double now = duck_session_progress(trades.session);
        assert_true(now > 0 && now >= share && now <= 1);
        share = now;
    }
    assert_true(share == 1);
    duck_result_close(&r);
    assert_true(duck_session_progress(trades.session) <= 0);
}

static void duck_scan_leaves_out_what_a_hint_is_not_after(void **state) {
    (void)state;
    static const char *const instruments[] = {"IF7", "absent"};
    static const columns_bound price = {.field = 9, .min = 2000, .max = 2500};
    assert_string_equal(record_table(TAPE_TABLE_TRADES)->fields[9].name, "price");
    check_hint(
        &(columns_hint){.ts_min = 1000 * INT64_C(1000000), .ts_max = 1500 * INT64_C(1000000)},
        "ts BETWEEN TIMESTAMP_NS '1970-01-01 00:00:01' AND "
        "TIMESTAMP_NS '1970-01-01 00:00:01.5'",
        TRADES / 2);
    check_hint(&(columns_hint){.ts_min = INT64_MIN,
                               .ts_max = INT64_MAX,
                               .instruments = instruments,
                               .instrument_count = 2},
               "instrument_id IN ('IF7', 'absent')", TRADES / 2);
    check_hint(
        &(columns_hint){
            .ts_min = INT64_MIN, .ts_max = INT64_MAX, .bounds = &price, .bound_count = 1},
        "price BETWEEN 2000 AND 2500", TRADES / 2);
    check_hint(&(columns_hint){.ts_min = 5, .ts_max = 4}, "false", TRADES / 2);
}

static int close_trades(void **state) {
    (void)state;
    top_close(&trades);
    return 0;
}

/* --- orders: versions of keys --- */

static int make_orders(void **state) {
    (void)state;
    uint64_t seed = 3;
    top_open(&orders);
    for (uint64_t n = 1; n <= ORDERS; n++) {
        tape_order order = {.side = TAPE_SIDE_BUY, .price = (double)n, .volume = 1};
        (void)snprintf(order.order_id, sizeof order.order_id, "o%u",
                       (unsigned)random_below(&seed, ORDER_KEYS));
        (void)snprintf(order.user_id, sizeof order.user_id, "u%u", (unsigned)(n % 3));
        (void)snprintf(order.instrument_id, sizeof order.instrument_id, "i%u", (unsigned)(n % 9));
        top_apply(&orders, TAPE_TABLE_ORDERS, &order, (int64_t)n);
    }
    return 0;
}

static int close_orders(void **state) {
    (void)state;
    top_close(&orders);
    return 0;
}

static void duck_scan_modes_part_the_versions_at_every_seq(void **state) {
    (void)state;
    static const uint64_t seqs[] = {1, 2, 500, 2048, 40961, 122880, 122881, 129999, ORDERS};
    duck_session *s = orders.session;
    for (size_t n = 0; n < COUNT_OF(seqs); n++) {
        duck_session_see(s, 0, seqs[n]);
        check_answer(s,
                     "SELECT count(*) FROM (SELECT order_id, seq, price FROM "
                     "tape_scan('orders', 'newest') EXCEPT SELECT order_id, max(seq), "
                     "arg_max(price, seq) FROM tape_scan('orders', 'all') GROUP BY order_id)",
                     "0");
        check_answer(s,
                     "SELECT (SELECT count(*) FROM tape_scan('orders', 'newest')) = "
                     "(SELECT count(DISTINCT order_id) FROM tape_scan('orders', 'all'))",
                     "true");
        check_answer(s,
                     "SELECT count(*) FROM (SELECT seq, superseded_by, price FROM "
                     "tape_scan('orders', 'superseded') EXCEPT SELECT seq, lead(seq) OVER "
                     "(PARTITION BY order_id ORDER BY seq), price FROM tape_scan('orders', 'all'))",
                     "0");
        check_answer(s,
                     "SELECT (SELECT count(*) FROM tape_scan('orders', 'newest')) + "
                     "(SELECT count(superseded_by) FROM tape_scan('orders', 'superseded')) = "
                     "(SELECT count(*) FROM tape_scan('orders', 'all'))",
                     "true");
    }
}

static void duck_scan_of_some_versions_takes_hints(void **state) {
    (void)state;
    static const char *const instruments[] = {"i4"};
    const columns_hint hint = {
        .ts_min = 1000, .ts_max = 120000, .instruments = instruments, .instrument_count = 1};
    static const char *const sqls[] = {
        "SELECT count(*) || ' ' || sum(price) FROM tape_scan('orders', 'newest') WHERE "
        "epoch_ns(ts) BETWEEN 1000 AND 120000 AND instrument_id = 'i4'",
        "SELECT count(*) || ' ' || sum(superseded_by) FROM tape_scan('orders', 'superseded') WHERE "
        "epoch_ns(ts) BETWEEN 1000 AND 120000 AND instrument_id = 'i4'"};
    duck_session_see(orders.session, 0, ORDERS);
    for (size_t n = 0; n < COUNT_OF(sqls); n++) {
        buffer b = {0};
        tape_error error;
        assert_int_equal(duck_session_each(orders.session, sqls[n], join_text, &b, &error),
                         TAPE_OK);
        buffer_append(&b, "", 1);
        duck_session_hint(orders.session, TAPE_TABLE_ORDERS, &hint);
        check_answer(orders.session, sqls[n], (const char *)b.data);
        duck_session_hint(orders.session, TAPE_TABLE_ORDERS, NULL);
        buffer_deinit(&b);
    }
}

static void duck_scan_refuses_tables_and_modes_that_are_not(void **state) {
    (void)state;
    duck_session *s = orders.session;
    check_refused(s, "FROM tape_scan('nothing', 'all')", TAPE_SQL, "no such table");
    check_refused(s, "FROM tape_scan(NULL, 'all')", TAPE_SQL, "no such table");
    check_refused(s, "FROM tape_scan('orders', 'other')", TAPE_SQL, "no such rows");
    check_refused(s, "FROM tape_scan('orders', NULL)", TAPE_SQL, "no such rows");
    check_refused(s, "FROM tape_scan('trades', 'newest')", TAPE_SQL, "no such rows");
    check_refused(s, "FROM tape_scan('trades', 'superseded')", TAPE_SQL, "no such rows");
    check_refused(s, "FROM tape_superseded('trades')", TAPE_SQL, "superseded");
    check_refused(s, "SELECT tape_newest('trades', seq) FROM tape_scan('trades', 'all')", TAPE_SQL,
                  "");
    check_refused(s, "SELECT tape_newest(order_id, seq) FROM tape_scan('orders', 'all')", TAPE_SQL,
                  "the first argument");
}

/* --- arrays and absent values --- */

static void duck_scan_gives_depth_as_arrays(void **state) {
    (void)state;
    fixture t;
    top_open(&t);
    for (uint64_t n = 1; n <= 3000; n++) {
        tape_depth d = {.instrument_id = "IF2601"};
        for (size_t level = 0; level < 10; level++) {
            d.bid_price[level] = (double)(n * 100 + level);
        }
        top_apply(&t, TAPE_TABLE_DEPTH, &d, (int64_t)n);
    }
    check_answer(t.session,
                 "SELECT count(*) FROM tape_scan('depth', 'all') WHERE bid_price[1] = seq * 100 "
                 "AND bid_price[10] = seq * 100 + 9 AND ask_price[5] = 0",
                 "3000");
    check_answer(t.session, "SELECT DISTINCT typeof(bid_price) FROM tape_scan('depth', 'all')",
                 "DOUBLE[10]");
    top_close(&t);
}

/* --- archived rows --- */

static columns *columns_with_pairs(void) {
    columns *c;
    tape_error error;
    const columns_options options = {.bytes_max = GIB(1), .base_seq = 20000};
    assert_int_equal(columns_create(&c, &options, &error), TAPE_OK);
    /* Row i was superseded by row 2 i, up to row 10,000. */
    for (uint64_t seq = 1; seq <= 10000; seq++) {
        assert_int_equal(columns_supersede(c, TAPE_TABLE_ORDERS, seq, seq * 2, &error), TAPE_OK);
    }
    return c;
}

static void duck_functions_tell_of_archived_rows_at_the_session_s_seq(void **state) {
    (void)state;
    columns *c = columns_with_pairs();
    duck *d;
    duck_session *s;
    duck_statement *st;
    tape_error error;
    const duck_options options = {.memory_bytes = MIB(256), .threads = 2, .columns = c};
    assert_int_equal(duck_open(&d, &options, &error), TAPE_OK);
    assert_int_equal(duck_session_open(d, &s, &error), TAPE_OK);
    assert_int_equal(duck_statement_prepare(s,
                                            "SELECT count(*) FROM range(1, 20001) r(i) WHERE "
                                            "tape_newest('orders', i::UBIGINT)",
                                            &st, &error),
                     TAPE_OK);
    static const uint64_t seqs[] = {0, 1, 2, 3, 5000, 19999, 20000};
    for (size_t n = 0; n < COUNT_OF(seqs); n++) {
        uint64_t gone = seqs[n] / 2;
        duck_session_see(s, 0, seqs[n]);
        duck_result *r;
        duck_value v;
        size_t rows;
        assert_int_equal(duck_statement_start(st, NULL, 0, &r, &error), TAPE_OK);
        assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
        duck_result_value(r, 0, 0, &v);
        assert_true((uint64_t)v.integer == 20000 - gone);
        duck_result_close(&r);
        char *expected = mem_printf("%llu %llu", (unsigned long long)gone,
                                    (unsigned long long)(gone * (gone + 1)));
        check_answer(s,
                     "SELECT count(b) || ' ' || coalesce(sum(b), 0) FROM (SELECT "
                     "tape_superseded_by('orders', i::UBIGINT) b FROM range(1, 20001) r(i))",
                     expected);
        check_answer(s,
                     "SELECT count(*) || ' ' || coalesce(sum(superseded_by), 0) FROM "
                     "tape_superseded('orders')",
                     expected);
        free(expected);
    }
    duck_session_see(s, 19000, 19003);
    check_answer(s, "SELECT seq || ' ' || superseded_by FROM tape_superseded('orders')",
                 "9501 19002");
    check_answer(s, "SELECT superseded_by FROM tape_superseded('orders')", "19002");
    check_answer(s, "SELECT count(*) FROM tape_superseded('accounts')", "0");
    check_answer(s,
                 "SELECT tape_newest('orders', i) IS NULL AND tape_superseded_by('orders', i) IS "
                 "NULL FROM (VALUES (NULL::UBIGINT), (NULL)) v(i)",
                 "true|true");
    duck_statement_close(&st);
    duck_session_close(&s);
    duck_close(&d);
    columns_close(&c);
}

static void find_filters(void *context, const char *text) {
    (void)text;
    (*(size_t *)context)++;
}

static void duck_newest_lets_other_filters_reach_parquet(void **state) {
    (void)state;
    char dir[] = "/tmp/tape-duck-XXXXXX";
    assert_non_null(mkdtemp(dir));
    columns *c = columns_with_pairs();
    const char *const directories[] = {dir};
    const duck_options options = {.memory_bytes = MIB(256),
                                  .threads = 2,
                                  .columns = c,
                                  .directories = directories,
                                  .directory_count = 1};
    duck *d;
    duck_session *s;
    duck_result *r;
    tape_error error;
    size_t count = 0;
    assert_int_equal(duck_open(&d, &options, &error), TAPE_OK);
    assert_int_equal(duck_session_open(d, &s, &error), TAPE_OK);
    char *write = mem_printf("COPY (SELECT i::UBIGINT AS seq, i * 0.5 AS price, 'x' || i AS "
                             "order_id FROM range(1, 20001) r(i)) TO '%s/x.parquet'",
                             dir);
    assert_int_equal(duck_session_run(s, write, &error), TAPE_OK);
    duck_session_see(s, 0, 10000);
    char *sql = mem_printf("SELECT sum(price) FROM read_parquet(['%s/x.parquet']) "
                           "WHERE tape_newest('orders', seq) AND price > 2000",
                           dir);
    check_answer(s, sql, "93753750.0");
    /* Projection and both filters stand in the scan: nothing is above it but the sum. */
    char *explain = mem_printf("EXPLAIN (FORMAT json) %s", sql);
    assert_int_equal(duck_session_start(s, explain, &r, &error), TAPE_OK);
    size_t rows;
    duck_value v;
    assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
    duck_result_value(r, 1, 0, &v);
    char *plan = mem_printf("%.*s", (int)v.size, v.text);
    if (strstr(plan, "\"Projections\": \"price\"") == NULL || strstr(plan, "price>2000") == NULL ||
        strstr(plan, "\"name\": \"FILTER\"") != NULL) {
        fail_msg("%s", plan);
    }
    free(plan);
    duck_result_close(&r);
    /* Outside the directory nothing is written. */
    assert_int_equal(duck_session_each(s, "COPY (SELECT 1) TO '/tmp/tape-duck-evil.csv'",
                                       find_filters, &count, &error),
                     TAPE_FORBIDDEN);
    duck_session_close(&s);
    duck_close(&d);
    columns_close(&c);
    char *path = mem_printf("%s/x.parquet", dir);
    assert_int_equal(os_remove(os_disk_linux(), path, &error), TAPE_OK);
    assert_int_equal(rmdir(dir), 0);
    free(path);
    free(explain);
    free(sql);
    free(write);
}

int main(void) {
    const struct CMUnitTest of_trades[] = {
        cmocka_unit_test(duck_scan_gives_every_field_as_it_was_appended),
        cmocka_unit_test(duck_scan_keeps_seq_order_in_a_plain_select),
        cmocka_unit_test(duck_scan_shows_what_is_after_one_seq_and_up_to_another),
        cmocka_unit_test(duck_scan_of_a_kept_plan_shows_the_seq_of_its_run),
        cmocka_unit_test(duck_scan_tells_how_far_it_is),
        cmocka_unit_test(duck_scan_leaves_out_what_a_hint_is_not_after),
    };
    const struct CMUnitTest of_orders[] = {
        cmocka_unit_test(duck_scan_modes_part_the_versions_at_every_seq),
        cmocka_unit_test(duck_scan_of_some_versions_takes_hints),
        cmocka_unit_test(duck_scan_refuses_tables_and_modes_that_are_not),
    };
    const struct CMUnitTest others[] = {
        cmocka_unit_test(duck_scan_gives_depth_as_arrays),
        cmocka_unit_test(duck_functions_tell_of_archived_rows_at_the_session_s_seq),
        cmocka_unit_test(duck_newest_lets_other_filters_reach_parquet),
    };
    return cmocka_run_group_tests_name("trades", of_trades, make_trades, close_trades) +
           cmocka_run_group_tests_name("orders", of_orders, make_orders, close_orders) +
           cmocka_run_group_tests_name("others", others, NULL, NULL);
}
