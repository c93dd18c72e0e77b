/* Results: kept while what they read has not changed, and not a moment longer. */
#include "query/testing.h"

#include "archive/archive.h"
#include "os/os.h"

static market open_keeping(uint64_t cache_bytes) {
    market m = market_open();
    query_close(&m.query);
    m.cache_bytes = cache_bytes;
    market_open_query(&m, MIB(256), true);
    market_fill(&m);
    return m;
}

static uint64_t from_cache(market *m) {
    query_stats stats;
    query_stats_read(m->query, &stats);
    return stats.from_cache;
}

/* Asks, and tells whether the answer was kept. */
static bool kept_at(market *m, const char *sql, uint64_t seq, const char *want) {
    uint64_t before = from_cache(m);
    market_check_at(m, sql, seq, want);
    return from_cache(m) > before;
}

static bool kept(market *m, const char *sql, const char *want) {
    return kept_at(m, sql, columns_seq(m->columns), want);
}

static void results_are_kept_until_their_tables_change(void **state) {
    (void)state;
    market m = open_keeping(MIB(1));
    const char *trades = "SELECT count(*), max(price) FROM trades";
    const char *orders = "SELECT count(*), max(filled_volume) FROM orders";
    const char *both = "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM orders)";
    assert_false(kept(&m, trades, "3|3950.5\n"));
    assert_true(kept(&m, trades, "3|3950.5\n"));
    assert_false(kept(&m, orders, "2|10\n"));
    assert_false(kept(&m, both, "5\n"));
    assert_true(kept(&m, both, "5\n"));
    /* A text of its own is a statement of its own. */
    assert_false(kept(&m, "SELECT count(*),  max(price) FROM trades", "3|3950.5\n"));
    market_add_trade(&m, "t4", "u1", "IF2601", TAPE_SIDE_BUY, 4000, 1, MARKET_T0);
    assert_true(kept(&m, orders, "2|10\n"));
    assert_false(kept(&m, trades, "4|4000\n"));
    assert_true(kept(&m, trades, "4|4000\n"));
    assert_false(kept(&m, both, "6\n"));
    market_add_order(&m, "o2", 3, TAPE_ORDER_STATUS_PARTIAL);
    assert_true(kept(&m, trades, "4|4000\n"));
    assert_false(kept(&m, both, "6\n"));
    assert_true(kept(&m, both, "6\n"));
    market_close(&m);
}

static void results_are_good_at_seqs_with_the_same_rows(void **state) {
    (void)state;
    market m = open_keeping(MIB(1));
    const char *sql = "SELECT count(*) FROM trades";
    assert_false(kept_at(&m, sql, 5, "3\n"));
    assert_true(kept_at(&m, sql, 3, "3\n"));
    assert_true(kept_at(&m, sql, 12, "3\n"));
    assert_false(kept_at(&m, sql, 2, "2\n"));
    assert_true(kept_at(&m, sql, 2, "2\n"));
    assert_false(kept_at(&m, sql, 12, "3\n"));
    market_close(&m);
}

static void results_stay_when_new_rows_are_not_asked_for(void **state) {
    (void)state;
    market m = open_keeping(MIB(1));
    const char *instrument = "SELECT count(*) FROM trades WHERE instrument_id = 'IF2602'";
    const char *past = "SELECT count(*) FROM trades WHERE ts < TIMESTAMP '2024-08-08 23:54:20'";
    const char *seqs = "SELECT count(*) FROM trades WHERE seq <= 2";
    const char *entity = "SELECT count(*) FROM orders WHERE instrument_id = 'IF2602'";
    assert_false(kept(&m, instrument, "1\n"));
    assert_false(kept(&m, past, "1\n"));
    assert_false(kept(&m, seqs, "2\n"));
    assert_false(kept(&m, entity, "0\n"));
    market_add_trade(&m, "t4", "u1", "IF2601", TAPE_SIDE_BUY, 4000, 1, MARKET_T0 * 2);
    market_add_order(&m, "o9", 3, TAPE_ORDER_STATUS_PARTIAL);
    assert_true(kept(&m, instrument, "1\n"));
    assert_true(kept(&m, past, "1\n"));
    assert_true(kept(&m, seqs, "2\n"));
    /* A new version may take the place of an old one, whatever it is. */
    assert_false(kept(&m, entity, "0\n"));
    market_add_trade(&m, "t5", "u1", "IF2602", TAPE_SIDE_BUY, 4000, 1, MARKET_T0);
    assert_false(kept(&m, instrument, "2\n"));
    assert_false(kept(&m, past, "2\n"));
    assert_true(kept(&m, seqs, "2\n"));
    market_close(&m);
}

static void results_belong_to_parameters(void **state) {
    (void)state;
    market m = open_keeping(MIB(1));
    const char *sql = "SELECT $1 || count(*) FROM trades";
    const char *const texts[] = {"a", "b", "a", "ab"};
    const char *const want[] = {"a3\n", "b3\n", "a3\n", "ab3\n"};
    for (size_t n = 0; n < COUNT_OF(texts); n++) {
        tape_value value = {.type = TAPE_TYPE_TEXT, .text = {texts[n], strlen(texts[n])}};
        tape_query_options options = {.timeout_ns = -1, .params = &value, .param_count = 1};
        struct ArrowArrayStream stream;
        tape_error error;
        uint64_t before = from_cache(&m);
        assert_int_equal(market_run(&m, sql, 12, &options, &stream, &error), TAPE_OK);
        char *text = testing_text(&stream, NULL);
        assert_string_equal(text, want[n]);
        free(text);
        assert_int_equal(from_cache(&m) - before, n == 2);
    }
    market_close(&m);
}

static void results_are_not_kept_of_what_may_change(void **state) {
    (void)state;
    market m = open_keeping(MIB(1));
    static const char *const statements[] = {
        "SELECT random() < 2",
        "SELECT now() > TIMESTAMP '2000-01-01'",
        "SELECT written > 0 FROM tape_status()",
        "SELECT count(*) > 0 FROM duckdb_functions()",
    };
    for (size_t n = 0; n < COUNT_OF(statements); n++) {
        assert_false(kept(&m, statements[n], "true\n"));
        assert_false(kept(&m, statements[n], "true\n"));
    }
    /* On demand neither. */
    tape_query_options options = {.timeout_ns = -1, .no_cache = true};
    for (int n = 0; n < 2; n++) {
        struct ArrowArrayStream stream;
        tape_error error;
        assert_int_equal(market_run(&m, "SELECT 1", 12, &options, &stream, &error), TAPE_OK);
        free(testing_text(&stream, NULL));
    }
    assert_int_equal(from_cache(&m), 0);
    market_close(&m);
}

static void results_of_all_types_are_kept_as_they_are(void **state) {
    (void)state;
    static const char *const statements[] = {
        "SELECT * FROM depth",
        "SELECT * FROM orders_history",
        "SELECT * FROM trades WHERE false",
        "SELECT NULL::VARCHAR, '', 'text', true, NULL::BOOLEAN, 1::TINYINT::INT, 1.5",
        "SELECT i, 'row ' || i FROM range(5000) t(i)",
    };
    market m = open_keeping(MIB(8));
    for (size_t n = 0; n < COUNT_OF(statements); n++) {
        char *first = market_answer_at(&m, statements[n], 12);
        assert_true(kept(&m, statements[n], first));
        free(first);
    }
    market_close(&m);
}

static void results_nest(void **state) {
    (void)state;
    const char *sql = "SELECT [i, i + 1] AS l, {'a': i, 'b': [{'c': 'x' || i}]} AS s, "
                      "MAP {'k': i} AS m FROM range(100) t(i)";
    market m = open_keeping(MIB(8));
    struct ArrowArrayStream stream;
    struct ArrowArray arrays[2];
    tape_error error;
    for (int n = 0; n < 2; n++) {
        assert_int_equal(market_run(&m, sql, 12, NULL, &stream, &error), TAPE_OK);
        assert_int_equal(stream.get_next(&stream, &arrays[n]), 0);
        struct ArrowArray end;
        assert_int_equal(stream.get_next(&stream, &end), 0);
        assert_null(end.release);
        struct ArrowSchema schema;
        assert_int_equal(stream.get_schema(&stream, &schema), 0);
        assert_string_equal(schema.children[1]->children[1]->children[0]->children[0]->name, "c");
        schema.release(&schema);
        stream.release(&stream);
    }
    assert_int_equal(from_cache(&m), 1);
    market_close(&m);
    for (int n = 0; n < 2; n++) {
        const struct ArrowArray *list = arrays[n].children[0];
        assert_int_equal(((const int64_t *)list->children[0]->buffers[1])[199], 100);
        arrays[n].release(&arrays[n]);
    }
}

static void results_take_no_more_than_they_may(void **state) {
    (void)state;
    market m = open_keeping(KIB(256));
    char *sql[40];
    for (int n = 0; n < 40; n++) {
        sql[n] = mem_printf("SELECT %d, i FROM range(2000) t(i)", n);
        free(market_answer_at(&m, sql[n], 12));
    }
    char *want = market_answer_at(&m, sql[39], 12);
    assert_int_equal(from_cache(&m), 1);
    free(want);
    /* The first ones had to go. */
    free(market_answer_at(&m, sql[0], 12));
    assert_int_equal(from_cache(&m), 1);
    /* What is large is not kept at all. */
    free(market_answer_at(&m, "SELECT i FROM range(20000) t(i)", 12));
    free(market_answer_at(&m, "SELECT i FROM range(20000) t(i)", 12));
    assert_int_equal(from_cache(&m), 1);
    for (int n = 0; n < 40; n++) {
        free(sql[n]);
    }
    market_close(&m);
}

static void results_outlive_their_going(void **state) {
    (void)state;
    market m = open_keeping(KIB(64));
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_error error;
    free(market_answer_at(&m, "SELECT i FROM range(500) t(i)", 12));
    assert_int_equal(market_run(&m, "SELECT i FROM range(500) t(i)", 12, NULL, &stream, &error),
                     TAPE_OK);
    assert_int_equal(from_cache(&m), 1);
    for (int n = 0; n < 100; n++) {
        char *sql = mem_printf("SELECT i + %d FROM range(500) t(i)", n);
        free(market_answer_at(&m, sql, 12));
        free(sql);
    }
    assert_int_equal(stream.get_next(&stream, &array), 0);
    stream.release(&stream);
    market_close(&m);
    assert_int_equal(((const int64_t *)array.children[0]->buffers[1])[499], 499);
    array.release(&array);
}

static void results_of_streams_left_unread_are_not_kept(void **state) {
    (void)state;
    market m = open_keeping(MIB(1));
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_error error;
    const char *sql = "SELECT i FROM range(5000) t(i)";
    assert_int_equal(market_run(&m, sql, 12, NULL, &stream, &error), TAPE_OK);
    assert_int_equal(stream.get_next(&stream, &array), 0);
    array.release(&array);
    stream.release(&stream);
    free(market_answer_at(&m, sql, 12));
    assert_int_equal(from_cache(&m), 0);
    market_close(&m);
}

/* --- beside an archive --- */

static void results_stay_when_rows_move_to_the_archive(void **state) {
    (void)state;
    market m = market_open();
    tape_error error;
    archive *a;
    const uint8_t store_id[16] = {1};
    char *dir = testing_path(m.dir, "archive");
    char *temp = testing_path(m.dir, "temp");
    query_close(&m.query);
    const archive_options history = {
        .disk = os_disk_linux(), .dir = dir, .store_id = store_id, .temp_dir = temp};
    assert_int_equal(archive_open(&a, &history, &error), TAPE_OK);
    assert_int_equal(archive_attach(a, m.columns, &error), TAPE_OK);
    const query_options options = {.columns = m.columns,
                                   .archive = a,
                                   .archive_dir = dir,
                                   .memory_bytes = MIB(256),
                                   .threads = 2,
                                   .cache_bytes = MIB(1)};
    assert_int_equal(query_open(&m.query, &options, &error), TAPE_OK);
    for (int n = 0; n < 10; n++) {
        market_add_trade(&m, "t", "u", n % 2 == 0 ? "A" : "B", TAPE_SIDE_BUY, n, 1,
                         MARKET_T0 + n * 86400 * NS_PER_SECOND);
    }
    const char *sql = "SELECT count(*), sum(price) FROM trades";
    const char *one = "SELECT count(*), sum(price) FROM trades WHERE ts < TIMESTAMP '2024-08-10'";
    assert_false(kept(&m, sql, "10|45\n"));
    assert_int_equal(archive_take(a, 10, (archive_beat){0}, &error), TAPE_OK);
    assert_true(kept(&m, sql, "10|45\n"));
    columns_drop(m.columns, 10);
    assert_true(kept(&m, sql, "10|45\n"));
    assert_int_equal(columns_base(m.columns), 10);
    market_add_trade(&m, "t", "u", "A", TAPE_SIDE_BUY, 100, 1, MARKET_T0);
    assert_false(kept(&m, sql, "11|145\n"));
    assert_true(kept(&m, sql, "11|145\n"));
    assert_false(kept(&m, one, "3|101\n"));
    /* Before the columns' base nobody can tell what lies between. */
    assert_false(kept_at(&m, sql, 5, "5|10\n"));
    assert_false(kept_at(&m, sql, 5, "5|10\n"));
    char *text = market_answer_at(
        &m, "EXPLAIN SELECT count(*) FROM trades WHERE ts < TIMESTAMP '2024-08-10'", 11);
    if (strstr(text, "trades: 1 hot rows, 2 of 10 Parquet files (2 of 10 rows; 8 files pruned); "
                     "only ts <= 2024-08-09T23:59:59.999999999Z") == NULL) {
        fail_msg("%s", text);
    }
    free(text);
    text = market_answer_at(&m, "EXPLAIN SELECT count(*) FROM trades WHERE seq > 10", 11);
    assert_non_null(strstr(text, "trades: 1 hot rows, 0 of 0 Parquet files"));
    free(text);
    query_close(&m.query);
    archive_close(&a);
    columns_close(&m.columns);
    char *remove = mem_printf("rm -rf '%s'", m.dir);
    assert_int_equal(system(remove), 0);
    free(remove);
    free(dir);
    free(temp);
    free(m.dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_kept_until_their_tables_change),
        cmocka_unit_test(results_are_good_at_seqs_with_the_same_rows),
        cmocka_unit_test(results_stay_when_new_rows_are_not_asked_for),
        cmocka_unit_test(results_belong_to_parameters),
        cmocka_unit_test(results_are_not_kept_of_what_may_change),
        cmocka_unit_test(results_of_all_types_are_kept_as_they_are),
        cmocka_unit_test(results_nest),
        cmocka_unit_test(results_take_no_more_than_they_may),
        cmocka_unit_test(results_outlive_their_going),
        cmocka_unit_test(results_of_streams_left_unread_are_not_kept),
        cmocka_unit_test(results_stay_when_rows_move_to_the_archive),
    };
    return cmocka_run_group_tests_name("query_results", tests, NULL, NULL);
}
