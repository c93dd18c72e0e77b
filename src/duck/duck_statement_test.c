/* Duck: statements that are prepared once, their values, and what becomes of them over many runs.
 */
#include "duck/duck_testing.h"

static fixture top;

static int open_top(void **state) {
    (void)state;
    top_open(&top);
    for (uint64_t n = 1; n <= 50000; n++) {
        tape_tick tick = {.last_price = (double)n};
        (void)snprintf(tick.instrument_id, sizeof tick.instrument_id, "IF%u", (unsigned)(n % 10));
        top_apply(&top, TAPE_TABLE_TICKS, &tick, (int64_t)n * 1000);
    }
    return 0;
}

static int close_top(void **state) {
    (void)state;
    top_close(&top);
    return 0;
}

static duck_statement *prepare(const char *sql) {
    duck_statement *st;
    tape_error error;
    if (duck_statement_prepare(top.session, sql, &st, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    return st;
}

/* Runs a statement and gives its first value; the rest of its rows are read and counted. */
static uint64_t run(duck_statement *st, const tape_value *params, size_t count, duck_value *first) {
    duck_result *r;
    tape_error error;
    uint64_t total = 0;
    size_t rows;
    if (duck_statement_start(st, params, count, &r, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    do {
        assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
        if (total == 0 && rows > 0 && first != NULL) {
            duck_result_value(r, 0, 0, first);
            assert_true(first->kind != DUCK_TEXT || first->size <= 12);
        }
        total += rows;
    } while (rows > 0);
    duck_result_close(&r);
    return total;
}

#define INT(v)                                                                                     \
    { .type = TAPE_TYPE_INT64, .int64 = (v) }
#define TEXT(v)                                                                                    \
    {                                                                                              \
        .type = TAPE_TYPE_TEXT, .text = {(v), sizeof(v) - 1 }                                      \
    }

static void duck_statement_takes_values_of_every_type(void **state) {
    (void)state;
    static const struct {
        tape_value value;
        const char *type, *text;
    } cases[] = {
        {{.type = TAPE_TYPE_BOOL, .boolean = true}, "BOOLEAN", "true"},
        {INT(INT64_MIN), "BIGINT", "-9223372036854775808"},
        {{.type = TAPE_TYPE_UINT64, .uint64 = UINT64_MAX}, "UBIGINT", "18446744073709551615"},
        {{.type = TAPE_TYPE_DOUBLE, .real = 0.1}, "DOUBLE", "0.1"},
        {TEXT("a text of more than twelve bytes, 'quoted'"), "VARCHAR",
         "a text of more than twelve bytes, 'quoted'"},
        {TEXT(""), "VARCHAR", ""},
        {{.type = TAPE_TYPE_TIME, .int64 = 1723075200000000007},
         "TIMESTAMP_NS",
         "2024-08-08 00:00:00.000000007"},
        {{.type = TAPE_TYPE_INT64, .is_null = true}, "\"NULL\"", "none"},
    };
    duck_statement *st = prepare("SELECT typeof($1) || ' ' || coalesce($1::VARCHAR, 'none') FROM "
                                 "tape_scan('ticks', 'all') LIMIT 1");
    assert_int_equal(duck_statement_params(st), 1);
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        duck_result *r;
        duck_value v;
        tape_error error;
        size_t rows;
        if (duck_statement_start(st, &cases[n].value, 1, &r, &error) != TAPE_OK) {
            fail_msg("%s: %s", cases[n].type, error.text);
        }
        assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
        duck_result_value(r, 0, 0, &v);
        char *expected = mem_printf("%s %s", cases[n].type, cases[n].text);
        char *got = mem_printf("%.*s", (int)v.size, v.text);
        assert_string_equal(got, expected);
        free(got);
        free(expected);
        duck_result_close(&r);
    }
    duck_statement_close(&st);
}

static void duck_statement_answers_each_run_by_its_values(void **state) {
    (void)state;
    duck_statement *st = prepare("SELECT count(*), max(last_price) FROM tape_scan('ticks', 'all') "
                                 "WHERE instrument_id = $1 AND ts <= $2 AND last_price > $3");
    for (int64_t n = 0; n < 30; n++) {
        char name[4] = {'I', 'F', (char)('0' + n % 10), '\0'};
        const tape_value params[] = {{.type = TAPE_TYPE_TEXT, .text = {name, 3}},
                                     {.type = TAPE_TYPE_TIME, .int64 = 1000 * (n + 1) * 1000},
                                     {.type = TAPE_TYPE_DOUBLE, .real = 0}};
        duck_value v;
        assert_int_equal(run(st, params, 3, &v), 1);
        assert_true((int64_t)v.integer == (n + 1) * 100);
    }
    duck_statement_close(&st);
}

static void duck_statement_says_how_many_values_it_takes(void **state) {
    (void)state;
    duck_statement *st = prepare("SELECT $1 + $2::BIGINT");
    const tape_value params[] = {INT(1), INT(2), INT(3)};
    duck_result *r;
    duck_value v;
    tape_error error;
    assert_int_equal(duck_statement_params(st), 2);
    assert_int_equal(duck_statement_start(st, NULL, 0, &r, &error), TAPE_SQL);
    assert_non_null(strstr(error.text, "no values"));
    assert_int_equal(duck_statement_start(st, params, 3, &r, &error), TAPE_SQL);
    assert_string_equal(error.text, "the statement has 2 parameters, not 3");
    assert_null(r);
    const tape_value strange[] = {{.type = (tape_type)99}, INT(2)};
    assert_int_equal(duck_statement_start(st, strange, 2, &r, &error), TAPE_INVALID);
    const tape_value broken[] = {INT(1), TEXT("\xff")};
    assert_int_not_equal(duck_statement_start(st, broken, 2, &r, &error), TAPE_OK);
    assert_int_equal(run(st, params, 2, &v), 1);
    assert_true(v.integer == 3);
    duck_statement_close(&st);
    assert_int_equal(duck_session_start(top.session, "SELECT $1", &r, &error), TAPE_SQL);
    assert_non_null(strstr(error.text, "no values"));
    assert_int_equal(duck_statement_prepare(top.session, "SELECT nothing", &st, &error), TAPE_SQL);
    assert_null(st);
}

/* What the planner of DuckDB 1.5 has an operator of its own for. Some of them must not run twice
 * from one plan; each run here has to give what the first gave. */
static const char *const SURVEY[] = {
    "SELECT sum(seq) FROM tape_scan('ticks', 'all')",
    "SELECT seq % 7, median(seq), list(seq ORDER BY seq)[2], string_agg(seq::VARCHAR, ',' ORDER BY "
    "seq)[1:9] FROM tape_scan('ticks', 'all') GROUP BY 1 ORDER BY 1",
    "SELECT seq, sum(seq) OVER (PARTITION BY seq % 3 ORDER BY seq), first_value(seq) OVER (ORDER "
    "BY "
    "seq ROWS BETWEEN 3 PRECEDING AND 2 FOLLOWING) FROM tape_scan('ticks', 'all') ORDER BY seq "
    "LIMIT 10",
    "SELECT row_number() OVER (), seq FROM tape_scan('ticks', 'all') LIMIT 5 OFFSET 10",
    "SELECT seq FROM tape_scan('ticks', 'all') QUALIFY row_number() OVER (PARTITION BY "
    "instrument_id ORDER BY seq DESC) = 1 ORDER BY seq",
    "SELECT seq FROM tape_scan('ticks', 'all') ORDER BY seq % 100 DESC, seq LIMIT 10 OFFSET 40000",
    "SELECT seq FROM tape_scan('ticks', 'all') ORDER BY seq DESC",
    "SELECT DISTINCT ON (instrument_id) instrument_id, seq FROM tape_scan('ticks', 'all') "
    "ORDER BY 1, 2",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT (n * 3) % 101 FROM r) SELECT sum(n) FROM r",
    "WITH c AS MATERIALIZED (SELECT seq FROM tape_scan('ticks', 'all')) SELECT (SELECT sum(seq) "
    "FROM c), (SELECT max(seq) FROM c)",
    "SELECT count(*) FROM tape_scan('ticks', 'all') a JOIN tape_scan('ticks', 'all') b USING (seq)",
    "SELECT count(*) FROM tape_scan('ticks', 'all') a FULL JOIN range(3000, 80000) b(j) "
    "ON a.seq = b.j",
    "SELECT count(*) FROM tape_scan('ticks', 'all') a ANTI JOIN range(300, 8000) b(j) ON seq = j",
    "SELECT count(*) FROM tape_scan('ticks', 'all') POSITIONAL JOIN range(3000)",
    "SELECT count(*) FROM range(500) a(i) JOIN range(500) b(j) ON a.i < b.j",
    "SELECT count(*) FROM range(500) a(i) LEFT JOIN range(500) b(j) ON a.i <> b.j AND i + j = 7",
    "SELECT count(*) FROM range(500) a(i) FULL JOIN range(700) b(j) ON abs(i - j) = 7 OR i = j",
    "SELECT count(*) FROM tape_scan('ticks', 'all') a WHERE EXISTS (FROM range(100) b(j) WHERE "
    "j = seq)",
    "SELECT sum((SELECT max(j) FROM range(100) b(j) WHERE j < i AND j > i - 10)) FROM range(500) "
    "a(i)",
    "SELECT count(*) FROM (SELECT seq FROM tape_scan('ticks', 'all') EXCEPT SELECT * FROM "
    "range(300))",
    "SELECT seq % 3, seq % 2, count(DISTINCT seq), grouping(seq % 3) FROM tape_scan('ticks', "
    "'all') "
    "GROUP BY ROLLUP (1, 2) ORDER BY ALL",
    "SELECT * FROM (PIVOT (SELECT seq % 3 AS g, seq % 4 AS h, seq FROM tape_scan('ticks', 'all')) "
    "ON h IN (0, 1, 2, 3) USING sum(seq)) ORDER BY ALL",
    "SELECT unnest([1, 2, 3]), seq FROM tape_scan('ticks', 'all') LIMIT 7",
    "SELECT count(*) FROM tape_scan('ticks', 'all') USING SAMPLE 100 ROWS",
    "SELECT count(*) FROM tape_scan('ticks', 'all') a ASOF JOIN range(1, 50000, 10) b(j) "
    "ON a.seq >= b.j",
    "SELECT count(*) FROM tape_scan('ticks', 'all') a ASOF LEFT JOIN tape_scan('ticks', 'all') b "
    "ON a.instrument_id = b.instrument_id AND a.ts > b.ts",
    "SELECT count(*) FROM range(3000) a(i) JOIN range(3000) b(j) ON i < j AND i + 3 > j",
    "SELECT count(*) FROM range(3000) a(i), range(3000) b(j) WHERE i BETWEEN j AND j + 1",
    "SELECT time_bucket(INTERVAL 1 MICROSECOND, ts), arg_min(last_price, seq) FROM "
    "tape_scan('ticks', 'all') GROUP BY 1 ORDER BY 1 LIMIT 3",
    "DESCRIBE SELECT 1 AS a",
    "SUMMARIZE SELECT seq FROM tape_scan('ticks', 'all')",
    "EXPLAIN SELECT 1",
};

static void take(buffer *to, duck_result *r) {
    tape_error error;
    size_t rows;
    const duck_column *shape;
    size_t count = duck_result_columns(r, &shape);
    for (;;) {
        if (duck_result_next(r, &rows, &error) != TAPE_OK) {
            fail_msg("%s", error.text);
        }
        for (size_t row = 0; row < rows; row++) {
            for (size_t column = 0; column < count; column++) {
                duck_value v;
                duck_result_value(r, column, row, &v);
                int64_t low = (int64_t)v.integer;
                buffer_append(to, &v.kind, sizeof v.kind);
                buffer_append(to, &low, sizeof low);
                buffer_append(to, &v.real, sizeof v.real);
                buffer_append(to, v.text, v.kind == DUCK_TEXT ? v.size : 0);
            }
        }
        if (rows == 0) {
            return;
        }
    }
}

static void duck_statement_of_any_form_gives_the_same_each_run(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(SURVEY); n++) {
        duck_statement *st = prepare(SURVEY[n]);
        buffer first = {0};
        for (int round = 0; round < 3; round++) {
            buffer again = {0};
            duck_result *r;
            tape_error error;
            if (duck_statement_start(st, NULL, 0, &r, &error) != TAPE_OK) {
                fail_msg("run %d of %s: %s", round, SURVEY[n], error.text);
            }
            take(round == 0 ? &first : &again, r);
            duck_result_close(&r);
            if (round > 0 &&
                (first.size != again.size || memcmp(first.data, again.data, first.size) != 0)) {
                fail_msg("run %d of %s differs", round, SURVEY[n]);
            }
            buffer_deinit(&again);
        }
        assert_true(first.size > 0);
        buffer_deinit(&first);
        duck_statement_close(&st);
    }
}

static void duck_statement_runs_again_after_a_result_that_was_left(void **state) {
    (void)state;
    duck_statement *st = prepare("SELECT seq FROM tape_scan('ticks', 'all') WHERE seq > $1");
    const tape_value param = INT(10);
    for (int round = 0; round < 20; round++) {
        duck_result *r;
        tape_error error;
        size_t rows;
        assert_int_equal(duck_statement_start(st, &param, 1, &r, &error), TAPE_OK);
        if (round % 2 == 0) {
            assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
            assert_true(rows > 0);
        }
        duck_result_close(&r);
    }
    assert_int_equal(run(st, &param, 1, NULL), 49990);
    duck_statement_close(&st);
}

/* A run that fails on one of several threads says why, for the values it was given. */
static void duck_statement_tells_why_a_run_failed(void **state) {
    (void)state;
    static const char *const sqls[] = {
        "SELECT sum(CASE WHEN seq > 40000 THEN ($1 || seq)::BIGINT ELSE 1 END) FROM "
        "tape_scan('ticks', 'all')",
        "SELECT CASE WHEN seq > 40000 THEN ($1 || seq)::BIGINT ELSE 1 END FROM "
        "tape_scan('ticks', 'all')",
        "SELECT CASE WHEN a.seq > 40000 THEN ($1 || a.seq)::BIGINT ELSE 1 END FROM "
        "tape_scan('ticks', 'all') a ASOF JOIN range(1, 50000, 100) b(j) ON a.seq >= b.j"};
    for (size_t n = 0; n < COUNT_OF(sqls); n++) {
        duck_statement *st = prepare(sqls[n]);
        for (int round = 0; round < 60; round++) {
            const tape_value bad = TEXT("not-a-number-");
            const tape_value good = TEXT("0");
            duck_result *r;
            tape_error error;
            size_t rows = 1;
            tape_status status = duck_statement_start(st, &bad, 1, &r, &error);
            while (status == TAPE_OK && rows > 0) {
                status = duck_result_next(r, &rows, &error);
            }
            duck_result_close(&r);
            assert_int_equal(status, TAPE_SQL);
            if (strstr(error.text, "not-a-number-4") == NULL) {
                fail_msg("%s", error.text);
            }
            if (round % 20 == 0) {
                assert_true(run(st, &good, 1, NULL) > 0);
            }
        }
        duck_statement_close(&st);
    }
}

/* A parameter that is used more than once: DuckDB plans anew for its value only where something is
 * scanned. Were one of the statements that are let in not planned so, the database would end. */
static void duck_statement_with_a_parameter_used_twice_is_planned_for_its_value(void **state) {
    (void)state;
    static const char *const taken[] = {
        "SELECT typeof($1), $1::VARCHAR FROM tape_scan('ticks', 'all') LIMIT 1",
        "SELECT typeof($1), $1::VARCHAR FROM range(3)",
        "WITH c AS (FROM range(3)) SELECT typeof($1), $1::VARCHAR FROM c",
        "SELECT typeof($1), (SELECT $1::VARCHAR FROM range(1))",
        "SELECT typeof($1), $2::VARCHAR",
        "SELECT list_slice([1, 2, 3], $1, $2)",
    };
    static const char *const refused[] = {
        "SELECT typeof($1), $1::VARCHAR",
        "SELECT typeof($name) WHERE $name::VARCHAR > 'a'",
        "WITH c AS (SELECT typeof($1), $1::VARCHAR) FROM c",
        "SELECT list_slice($1, $2, $1)",
        "SELECT typeof($1), $1::VARCHAR FROM (VALUES (1), (2)) v(x)",
    };
    const tape_value params[] = {TEXT("1"), TEXT("2")};
    tape_error error;
    char *tree;
    for (size_t n = 0; n < COUNT_OF(taken); n++) {
        assert_int_equal(duck_session_parse(top.session, taken[n], strlen(taken[n]), &tree, &error),
                         TAPE_OK);
        free(tree);
        duck_statement *st = prepare(taken[n]);
        for (int round = 0; round < 2; round++) {
            duck_result *r;
            size_t rows;
            tape_status status =
                duck_statement_start(st, params, duck_statement_params(st), &r, &error);
            if (status == TAPE_OK) {
                status = duck_result_next(r, &rows, &error);
            }
            if (status != TAPE_OK) {
                fail_msg("%s: %s", taken[n], error.text);
            }
            duck_result_close(&r);
        }
        duck_statement_close(&st);
    }
    for (size_t n = 0; n < COUNT_OF(refused); n++) {
        assert_int_equal(
            duck_session_parse(top.session, refused[n], strlen(refused[n]), &tree, &error),
            TAPE_SQL);
        assert_non_null(strstr(error.text, "more than once"));
        assert_null(tree);
    }
}

static void duck_statement_reads_the_variables_of_its_session(void **state) {
    (void)state;
    tape_error error;
    duck_session *other;
    assert_int_equal(duck_session_open(top.duck, &other, &error), TAPE_OK);
    assert_int_equal(
        duck_session_set(top.session, "t", "SELECT seq FROM tape_scan('ticks', 'all')", &error),
        TAPE_OK);
    assert_int_equal(duck_session_set(other, "t", "SELECT 'it''s' AS seq", &error), TAPE_OK);
    const char *sql = "CREATE VIEW ticks_view AS FROM query(getvariable('t'))";
    assert_int_equal(duck_session_run(top.session, sql, &error), TAPE_OK);
    duck_statement *st = prepare("SELECT count(*) FROM ticks_view WHERE seq <= $1");
    check_answer(other, "SELECT seq FROM ticks_view", "it's");
    for (int64_t n = 0; n < 50000; n += 7777) {
        const tape_value param = INT(n);
        duck_value v;
        assert_int_equal(run(st, &param, 1, &v), 1);
        assert_true(v.integer == n);
    }
    duck_statement_close(&st);
    duck_session_close(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duck_statement_takes_values_of_every_type),
        cmocka_unit_test(duck_statement_answers_each_run_by_its_values),
        cmocka_unit_test(duck_statement_says_how_many_values_it_takes),
        cmocka_unit_test(duck_statement_of_any_form_gives_the_same_each_run),
        cmocka_unit_test(duck_statement_runs_again_after_a_result_that_was_left),
        cmocka_unit_test(duck_statement_tells_why_a_run_failed),
        cmocka_unit_test(duck_statement_with_a_parameter_used_twice_is_planned_for_its_value),
        cmocka_unit_test(duck_statement_reads_the_variables_of_its_session),
    };
    return cmocka_run_group_tests_name("duck statements", tests, open_top, close_top);
}
