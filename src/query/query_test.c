/* Query: answers, snapshots, admission, ends. */
#include "query/query.h"
#include "query/testing.h"

#include "os/os.h"

#include <errno.h>

#define MS INT64_C(1000000)

/* --- answers --- */

static void query_answers_as_computed_by_hand(void **state) {
    (void)state;
    market m = market_open();
    market_fill(&m);
    market_check(&m, "SELECT count(*), sum(volume), min(price), max(price) FROM trades",
                 "3|6|3900|3950.5\n");
    market_check(&m,
                 "SELECT instrument_id, sum(price * volume) / sum(volume) FROM trades "
                 "GROUP BY ALL ORDER BY 1",
                 "IF2601|3901.5\nIF2602|3950.5\n");
    market_check(&m,
                 "FROM trades SELECT seq, epoch_ns(ts), trade_id, order_id, user_id, side, "
                 "position_effect ORDER BY seq",
                 "1|1723161255342000000|t1|NULL|u1|buy|none\n"
                 "2|1723161265342000000|t2|NULL|NULL|sell|none\n"
                 "3|1723161325342000000|a-trade-id-of-more-than-twelve-bytes|NULL|u1|NULL|none\n");
    market_check(
        &m, "SELECT trade_id FROM trades WHERE trade_id = 'a-trade-id-of-more-than-twelve-bytes'",
        "a-trade-id-of-more-than-twelve-bytes\n");
    market_check(&m, "SELECT count(*) FROM trades WHERE side IS NULL", "1\n");
    market_check(&m, "SELECT bid_price, bid_price[2] FROM depth",
                 "[3900,3899.8,0,0,0,0,0,0,0,0]|3899.8\n");
    market_check(&m,
                 "SELECT t.trade_id, k.last_price FROM trades t ASOF JOIN ticks k "
                 "ON t.instrument_id = k.instrument_id AND t.ts >= k.ts",
                 "t2|3901\n");
    market_check(&m,
                 "SELECT trade_id FROM trades QUALIFY row_number() OVER "
                 "(PARTITION BY instrument_id ORDER BY price DESC) = 1 ORDER BY 1",
                 "a-trade-id-of-more-than-twelve-bytes\nt2\n");
    market_check(&m,
                 "SELECT time_bucket(INTERVAL 1 MINUTE, ts) = TIMESTAMP '2024-08-08 23:54:00' "
                 "FROM trades ORDER BY seq",
                 "true\ntrue\nfalse\n");
    market_check(&m,
                 "PIVOT trades ON side IN ('buy', 'sell') USING sum(volume) GROUP BY instrument_id "
                 "ORDER BY 1",
                 "IF2601|1|3\nIF2602|NULL|NULL\n");
    market_check(&m,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4) "
                 "SELECT sum(i)::BIGINT FROM n",
                 "10\n");
    market_check(&m, "VALUES (1), (2)", "1\n2\n");
    market_check(&m, "SELECT 1;", "1\n");
    market_check(&m, "SELECT * FROM trades LIMIT 0", "");
    market_check(
        &m, "SELECT written, queryable, rows_trades, sync_method, owner_pid FROM tape_status()",
        "7|6|5|fdatasync|123\n");
    market_close(&m);
}

static void query_gives_tables_their_documented_types(void **state) {
    (void)state;
    market m = market_open();
    market_check(
        &m, "SELECT column_name, column_type FROM (DESCRIBE orders)",
        "seq|UBIGINT\nts|TIMESTAMP_NS\norder_id|VARCHAR\nuser_id|VARCHAR\n"
        "instrument_id|VARCHAR\nside|VARCHAR\nposition_effect|VARCHAR\norder_type|VARCHAR\n"
        "price|DOUBLE\nvolume|DOUBLE\nfilled_volume|DOUBLE\nstatus|VARCHAR\n");
    market_check(
        &m, "SELECT column_name, column_type FROM (DESCRIBE depth) WHERE column_name <> 'seq'",
        "ts|TIMESTAMP_NS\ninstrument_id|VARCHAR\nbid_price|DOUBLE[10]\nbid_volume|DOUBLE[10]\n"
        "ask_price|DOUBLE[10]\nask_volume|DOUBLE[10]\n");
    market_check(&m, "SELECT name FROM (SHOW TABLES)",
                 "accounts\naccounts_history\ndepth\ninstruments\ninstruments_history\norders\n"
                 "orders_history\npositions\npositions_history\nticks\ntrades\n");
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    tape_error error;
    assert_int_equal(
        market_run(&m, "SELECT t.seq, t.ts, trade_id, side, price, bid_price FROM trades t, depth",
                   0, NULL, &stream, &error),
        TAPE_OK);
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    const char *const want[] = {"L", "tsn:", "u", "u", "g", "+w:10"};
    assert_int_equal(schema.n_children, COUNT_OF(want));
    for (size_t n = 0; n < COUNT_OF(want); n++) {
        assert_string_equal(schema.children[n]->format, want[n]);
    }
    schema.release(&schema);
    stream.release(&stream);
    market_close(&m);
}

static void query_entities_show_the_newest_and_history_every_version(void **state) {
    (void)state;
    market m = market_open();
    market_fill(&m);
    const char *newest = "SELECT order_id, status, filled_volume FROM orders ORDER BY order_id";
    const char *history = "SELECT count(*), count(DISTINCT order_id) FROM orders_history";
    market_check_at(&m, newest, 3, "");
    market_check_at(&m, newest, 4, "o1|accepted|0\n");
    market_check_at(&m, newest, 5, "o1|accepted|0\no2|accepted|0\n");
    market_check_at(&m, newest, 6, "o1|partial|4\no2|accepted|0\n");
    market_check_at(&m, newest, 7, "o1|filled|10\no2|accepted|0\n");
    market_check_at(&m, newest, 12, "o1|filled|10\no2|accepted|0\n");
    market_check_at(&m, history, 3, "0|0\n");
    market_check_at(&m, history, 6, "3|2\n");
    market_check_at(&m, history, 12, "4|2\n");
    market_check_at(&m, "SELECT count(*) FROM trades", 2, "2\n");
    market_check_at(&m, "SELECT count(*) FROM trades", 0, "0\n");
    market_close(&m);
}

static void query_compares_ts_with_now(void **state) {
    (void)state;
    market m = market_open();
    market_fill(&m);
    market_check(&m, "SELECT count(*) FROM trades WHERE ts > now() - INTERVAL 100 YEAR", "3\n");
    market_check(&m, "SELECT count(*) FROM trades WHERE ts > now() - INTERVAL 1 HOUR", "0\n");
    market_check(&m, "SELECT count(*) FROM trades WHERE ts < current_timestamp", "3\n");
    market_check(&m,
                 "SELECT count(*) FROM trades WHERE ts BETWEEN now() - INTERVAL 100 YEAR AND now()",
                 "3\n");
    market_check(&m, "SELECT count(*) FROM trades WHERE ts >= TIMESTAMP '2024-08-08 23:54:25.342'",
                 "2\n");
    market_check(&m, "SELECT count(*) FROM trades WHERE ts > '2024-08-08 23:54:15.341999999'",
                 "3\n");
    market_close(&m);
}

static void query_macros_give_their_answers(void **state) {
    (void)state;
    market m = market_open();
    market_fill(&m);
    market_check(&m, "SELECT epoch_ns(ts), * EXCLUDE (ts) FROM ohlc('IF2601', INTERVAL 1 MINUTE)",
                 "1723161240000000000|IF2601|3900|3902|3900|3902|4|2\n");
    market_check(&m, "SELECT open, close, trades FROM ohlc('IF2601', '10 seconds')",
                 "3900|3900|1\n3902|3902|1\n");
    market_check(&m, "SELECT vwap, volume FROM vwap('IF2601', INTERVAL 1 HOUR)", "3901.5|4\n");
    market_check(&m,
                 "SELECT trades, volume, turnover, buy_volume, sell_volume "
                 "FROM market_stats('IF2601', INTERVAL 1 HOUR)",
                 "2|4|15606|1|3\n");
    market_check(&m, "SELECT trade_id FROM user_trades('u1')",
                 "t1\na-trade-id-of-more-than-twelve-bytes\n");
    market_check(&m, "SELECT balance, open_pnl, equity FROM account_pnl('u1')", "1000|7200|8200\n");
    market_check(&m, "SELECT trade_id FROM latest('trades')",
                 "t2\na-trade-id-of-more-than-twelve-bytes\n");
    market_check(&m, "SELECT last_price FROM latest(ticks)", "3901\n");
    market_close(&m);
}

static void query_names_what_is_wrong_in_one_line(void **state) {
    (void)state;
    static const struct {
        const char *sql;
        const char *word;
    } cases[] = {
        {"SELEC 1", "SELEC"},
        {"SELECT\n1,\nnothing", "line 3"},
        {"SELECT nothing FROM trades", "nothing"},
        {"SELECT * FROM nowhere", "nowhere"},
        {"SELECT 'x'::DOUBLE", "x"},
        {"SELECT $1", "parameters"},
        {"SELECT ?", "parameters"},
        {"", "empty"},
        {"  -- nothing\n/* at /* all */ */ ", "empty"},
        {";", "empty"},
    };
    market m = market_open();
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        struct ArrowArrayStream stream;
        tape_error error;
        assert_int_equal(market_run(&m, cases[n].sql, 0, NULL, &stream, &error), TAPE_SQL);
        assert_null(stream.release);
        if (strstr(error.text, cases[n].word) == NULL || strchr(error.text, '\n') != NULL) {
            fail_msg("%s: %s", cases[n].sql, error.text);
        }
    }
    market_check(&m, "SELECT 1", "1\n");
    market_close(&m);
}

static void query_errors_of_running_statements_come_from_the_stream(void **state) {
    (void)state;
    market m = market_open();
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_error error;
    assert_int_equal(market_run(&m,
                                "SELECT CASE WHEN i = 900000 THEN error('stop here') ELSE i END "
                                "FROM range(1000000) t(i)",
                                0, NULL, &stream, &error),
                     TAPE_OK);
    int64_t rows = 0;
    int failure;
    while ((failure = stream.get_next(&stream, &array)) == 0 && array.release != NULL) {
        rows += array.length;
        array.release(&array);
    }
    assert_int_equal(failure, EIO);
    assert_true(rows > 0 && rows < 900001);
    assert_non_null(strstr(stream.get_last_error(&stream), "stop here"));
    assert_int_equal(stream.get_next(&stream, &array), EIO);
    stream.release(&stream);
    assert_null(stream.release);
    market_check(&m, "SELECT 1", "1\n");
    market_close(&m);
}

/* --- early ends --- */

static void query_stops_at_its_deadline(void **state) {
    (void)state;
    static const char *const endless[] = {
        "SELECT count(*) FROM range(1000000000000) t(i) WHERE hash(i) = 5",
        "SELECT i FROM range(1000000000000) t(i) ORDER BY hash(i)",
        "SELECT count(*) FROM range(10000000) a, range(10000000) b",
    };
    market m = market_open();
    tape_query_options options = {.timeout_ns = 50 * MS};
    tape_error error;
    struct ArrowArrayStream stream;
    for (size_t n = 0; n < COUNT_OF(endless); n++) {
        assert_int_equal(market_run(&m, endless[n], 0, &options, &stream, &error), TAPE_TIMEOUT);
        assert_null(stream.release);
        market_check(&m, "SELECT 1", "1\n");
    }
    /* While rows are read, if there is time for any. */
    tape_status status =
        market_run(&m, "SELECT i FROM range(1000000000000) t(i)", 0, &options, &stream, &error);
    if (status == TAPE_OK) {
        struct ArrowArray array;
        int failure;
        while ((failure = stream.get_next(&stream, &array)) == 0) {
            array.release(&array);
        }
        assert_int_equal(failure, ETIMEDOUT);
        assert_non_null(strstr(stream.get_last_error(&stream), "50 ms"));
        stream.release(&stream);
    } else {
        assert_int_equal(status, TAPE_TIMEOUT);
    }
    options.timeout_ns = 60 * NS_PER_SECOND;
    assert_int_equal(market_run(&m, "SELECT 5", 0, &options, &stream, &error), TAPE_OK);
    char *text = testing_text(&stream, NULL);
    assert_string_equal(text, "5\n");
    free(text);
    market_close(&m);
}

static bool when_told(void *context) {
    return atomic_load((_Atomic bool *)context);
}

static void query_stops_a_stream_when_its_caller_says_so(void **state) {
    (void)state;
    market m = market_open();
    _Atomic bool told = false;
    tape_query_options options = {
        .timeout_ns = -1, .cancelled = when_told, .cancel_context = &told};
    tape_error error;
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    int failure;
    assert_int_equal(
        market_run(&m, "SELECT i FROM range(1000000000000) t(i)", 0, &options, &stream, &error),
        TAPE_OK);
    for (int n = 0; (failure = stream.get_next(&stream, &array)) == 0; n++) {
        atomic_store(&told, n > 10);
        array.release(&array);
    }
    assert_int_equal(failure, ECANCELED);
    stream.release(&stream);
    market_check(&m, "SELECT 1", "1\n");
    market_close(&m);
}

static bool always(void *context) {
    atomic_fetch_add((_Atomic int *)context, 1);
    return true;
}

static void query_stops_when_its_caller_says_so(void **state) {
    (void)state;
    market m = market_open();
    _Atomic int asked = 0;
    tape_query_options options = {.timeout_ns = -1, .cancelled = always, .cancel_context = &asked};
    tape_error error;
    struct ArrowArrayStream stream;
    assert_int_equal(market_run(&m,
                                "SELECT count(*) FROM range(1000000000000) t(i) WHERE hash(i) = 5",
                                0, &options, &stream, &error),
                     TAPE_CANCELLED);
    assert_true(asked > 0);
    market_check(&m, "SELECT 1", "1\n");
    market_close(&m);
}

static void query_streams_can_be_left_unread(void **state) {
    (void)state;
    market m = market_open();
    market_fill(&m);
    for (int n = 0; n < 20; n++) {
        struct ArrowArrayStream stream;
        struct ArrowArray array;
        tape_error error;
        assert_int_equal(
            market_run(&m, "SELECT i FROM range(1000000000000) t(i)", 12, NULL, &stream, &error),
            TAPE_OK);
        if (n % 2 == 0) {
            assert_int_equal(stream.get_next(&stream, &array), 0);
            array.release(&array);
        }
        stream.release(&stream);
    }
    market_check(&m, "SELECT count(*) FROM trades", "3\n");
    market_close(&m);
}

static void query_memory_is_bounded_and_spills(void **state) {
    (void)state;
    const char *sort = "SELECT count(*) FROM (SELECT i, row_number() OVER (ORDER BY hash(i)) "
                       "FROM range(2000000) t(i))";
    market m = market_open();
    query_close(&m.query);
    market_open_query(&m, MIB(40), false);
    struct ArrowArrayStream stream;
    tape_error error;
    assert_int_equal(market_run(&m, sort, 0, NULL, &stream, &error), TAPE_NO_MEMORY);
    market_check(&m, "SELECT 1", "1\n");
    query_close(&m.query);
    market_open_query(&m, MIB(40), true);
    market_check(&m, sort, "2000000\n");
    market_close(&m);
}

/* --- many rows, many threads --- */

#define TICKS (10 * COLUMNS_CHUNK_ROWS + 777)

static void query_scans_each_row_once_whatever_the_threads(void **state) {
    (void)state;
    market m = market_open();
    for (uint64_t n = 1; n <= TICKS; n++) {
        tape_tick tick = {.last_price = (double)(n % 1000), .volume = 1};
        (void)snprintf(tick.instrument_id, sizeof tick.instrument_id, "I%llu",
                       (unsigned long long)(n % 50));
        testing_add(m.columns, TAPE_TABLE_TICKS, &tick, (int64_t)n, false);
    }
    const uint64_t at[] = {
        0, 1, 2047, 2048, 2049, COLUMNS_CHUNK_ROWS, COLUMNS_CHUNK_ROWS + 1, TICKS - 1, TICKS};
    for (size_t n = 0; n < COUNT_OF(at); n++) {
        uint64_t sum = at[n] * (at[n] + 1) / 2;
        char *want = mem_printf("%llu|%llu|%llu|%llu\n", (unsigned long long)at[n],
                                (unsigned long long)at[n], (unsigned long long)sum,
                                (unsigned long long)at[n]);
        market_check_at(&m,
                        "SELECT count(*), sum(volume)::BIGINT, sum(seq)::BIGINT, "
                        "(SELECT count(*) FROM (SELECT DISTINCT seq FROM ticks)) FROM ticks",
                        at[n], at[n] == 0 ? "0|NULL|NULL|0\n" : want);
        free(want);
    }
    market_check(
        &m,
        "SELECT count(*), min(n), max(n) FROM (SELECT instrument_id, count(*) AS n FROM ticks "
        "GROUP BY ALL)",
        "50|24591|24592\n");
    /* Rows without ORDER BY come in seq order. */
    market_check(&m,
                 "SELECT count(*) FROM (SELECT seq, lag(seq) OVER () AS before FROM ticks) "
                 "WHERE seq <> before + 1",
                 "0\n");
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_error error;
    uint64_t next = 1;
    assert_int_equal(market_run(&m, "SELECT seq FROM ticks", TICKS - 5, NULL, &stream, &error),
                     TAPE_OK);
    while (stream.get_next(&stream, &array) == 0 && array.release != NULL) {
        const uint64_t *seqs = array.children[0]->buffers[1];
        for (int64_t n = 0; n < array.length; n++) {
            assert_true(seqs[n] == next);
            next++;
        }
        array.release(&array);
    }
    assert_int_equal(next, TICKS - 5 + 1);
    stream.release(&stream);
    market_close(&m);
}

#define ACCOUNTS 20
#define ROUNDS 30000

static void write_transfers(void *argument) {
    market *m = argument;
    double balance[ACCOUNTS] = {0};
    uint64_t random = 5;
    for (int n = 0; n < ROUNDS; n++) {
        uint64_t from = testing_random(&random) % ACCOUNTS;
        const uint64_t who[2] = {from,
                                 (from + 1 + testing_random(&random) % (ACCOUNTS - 1)) % ACCOUNTS};
        double amount = (double)(testing_random(&random) % 100);
        balance[who[0]] -= amount;
        balance[who[1]] += amount;
        for (int p = 0; p < 2; p++) {
            tape_account account = {.balance = balance[who[p]]};
            (void)snprintf(account.user_id, sizeof account.user_id, "user%02llu",
                           (unsigned long long)who[p]);
            testing_add(m->columns, TAPE_TABLE_ACCOUNTS, &account, n, p == 0);
        }
    }
}

typedef struct asker {
    market *market;
    unsigned wrong;
    unsigned asked;
} asker;

/* Money is conserved at every seq, now and when asked again later. */
static void ask_transfers(void *argument) {
    asker *a = argument;
    uint64_t first = 0;
    for (uint64_t seq = 0; seq < 2 * ROUNDS; a->asked++) {
        seq = columns_seq(a->market->columns);
        first = first == 0 ? seq : first;
        const uint64_t at[] = {seq, first};
        for (size_t n = 0; n < COUNT_OF(at); n++) {
            struct ArrowArrayStream stream;
            tape_error error;
            if (market_run(
                    a->market,
                    "SELECT coalesce(sum(balance), 0), (SELECT count(*) FROM accounts_history), "
                    "(SELECT coalesce(max(seq), 0) FROM accounts) FROM accounts",
                    at[n], NULL, &stream, &error) != TAPE_OK) {
                a->wrong++;
                continue;
            }
            char *want =
                mem_printf("0|%llu|%llu\n", (unsigned long long)at[n], (unsigned long long)at[n]);
            char *got = testing_text(&stream, NULL);
            a->wrong += strcmp(got, want) != 0;
            free(got);
            free(want);
        }
    }
}

static void query_snapshots_hold_while_the_writer_goes_on(void **state) {
    (void)state;
    market m = market_open();
    asker askers[2] = {{.market = &m}, {.market = &m}};
    os_thread *threads[3];
    tape_error error;
    assert_int_equal(os_thread_start(&threads[0], "writer", -1, write_transfers, &m, &error),
                     TAPE_OK);
    for (size_t n = 0; n < 2; n++) {
        assert_int_equal(
            os_thread_start(&threads[n + 1], "asker", -1, ask_transfers, &askers[n], &error),
            TAPE_OK);
    }
    for (size_t n = 0; n < COUNT_OF(threads); n++) {
        os_thread_join(&threads[n]);
    }
    for (size_t n = 0; n < COUNT_OF(askers); n++) {
        assert_int_equal(askers[n].wrong, 0);
        assert_true(askers[n].asked > 0);
    }
    market_close(&m);
}

static void query_open_streams_do_not_see_later_rows(void **state) {
    (void)state;
    market m = market_open();
    market_fill(&m);
    struct ArrowArrayStream streams[3];
    tape_error error;
    const char *sql = "SELECT count(*) FROM trades, range(1) UNION ALL SELECT count(*) FROM orders";
    for (size_t n = 0; n < COUNT_OF(streams); n++) {
        assert_int_equal(market_run(&m, sql, 2 + 2 * n, NULL, &streams[n], &error), TAPE_OK);
    }
    for (int n = 0; n < 5000; n++) {
        market_add_trade(&m, "x", "u1", "IF2601", TAPE_SIDE_BUY, 1, 1, MARKET_T0);
        market_add_order(&m, "o3", n, TAPE_ORDER_STATUS_PARTIAL);
    }
    const char *const want[] = {"2\n0\n", "3\n1\n", "3\n2\n"};
    for (size_t n = COUNT_OF(streams); n-- > 0;) {
        char *text = testing_text(&streams[n], NULL);
        assert_string_equal(text, want[n]);
        free(text);
    }
    market_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_answers_as_computed_by_hand),
        cmocka_unit_test(query_gives_tables_their_documented_types),
        cmocka_unit_test(query_entities_show_the_newest_and_history_every_version),
        cmocka_unit_test(query_compares_ts_with_now),
        cmocka_unit_test(query_macros_give_their_answers),
        cmocka_unit_test(query_names_what_is_wrong_in_one_line),
        cmocka_unit_test(query_errors_of_running_statements_come_from_the_stream),
        cmocka_unit_test(query_stops_at_its_deadline),
        cmocka_unit_test(query_stops_when_its_caller_says_so),
        cmocka_unit_test(query_stops_a_stream_when_its_caller_says_so),
        cmocka_unit_test(query_streams_can_be_left_unread),
        cmocka_unit_test(query_memory_is_bounded_and_spills),
        cmocka_unit_test(query_scans_each_row_once_whatever_the_threads),
        cmocka_unit_test(query_snapshots_hold_while_the_writer_goes_on),
        cmocka_unit_test(query_open_streams_do_not_see_later_rows),
    };
    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
