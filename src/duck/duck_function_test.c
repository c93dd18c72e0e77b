/* Duck: scalar functions and aggregates of the user's. */
#include "duck/duck_testing.h"

static fixture top;

static int open_top(void **state) {
    (void)state;
    top_open(&top);
    for (uint64_t n = 1; n <= 30000; n++) {
        tape_tick tick = {.last_price = (double)n};
        (void)snprintf(tick.instrument_id, sizeof tick.instrument_id, "a-longer-IF%u",
                       (unsigned)(n % 10));
        top_apply(&top, TAPE_TABLE_TICKS, &tick, (int64_t)n * 1000);
    }
    return 0;
}

static int close_top(void **state) {
    (void)state;
    top_close(&top);
    return 0;
}

static void add(const tape_function *f) {
    tape_error error;
    if (duck_add_function(top.duck, f, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void add_aggregate(const tape_aggregate *g) {
    tape_error error;
    if (duck_add_aggregate(top.duck, g, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static bool valid(const tape_vector *v, size_t row) {
    return v->valid == NULL || (v->valid[row / 64] >> (row % 64) & 1) != 0;
}

/* --- every type in and out --- */

/* Gives its argument back. */
static tape_status echo(void *context, const tape_vector *arguments, size_t rows,
                        tape_results *results, tape_error *error) {
    (void)context;
    (void)error;
    const tape_vector *v = &arguments[0];
    size_t bytes = v->type == TAPE_TYPE_BOOL ? sizeof(bool) : sizeof(uint64_t);
    if (v->type == TAPE_TYPE_TEXT) {
        const tape_text *texts = v->values;
        assert_null(tape_results_values(results));
        for (size_t i = 0; i < rows; i++) {
            tape_results_set_text(results, i, texts[i].data, texts[i].size_bytes);
        }
    } else {
        memcpy(tape_results_values(results), v->values, rows * bytes);
    }
    return TAPE_OK;
}

static const tape_type TYPES[] = {TAPE_TYPE_BOOL,   TAPE_TYPE_INT64, TAPE_TYPE_UINT64,
                                  TAPE_TYPE_DOUBLE, TAPE_TYPE_TEXT,  TAPE_TYPE_TIME};
#define ECHO(name_, n, type)                                                                       \
    {                                                                                              \
        .size_bytes = sizeof(tape_function), .name = (name_), .arguments = &TYPES[n],              \
        .argument_count = 1, .result = (type), .call = echo                                        \
    }
static const tape_function ECHOES[] = {
    ECHO("echo_bool", 0, TAPE_TYPE_BOOL),   ECHO("echo_int", 1, TAPE_TYPE_INT64),
    ECHO("echo_uint", 2, TAPE_TYPE_UINT64), ECHO("echo_double", 3, TAPE_TYPE_DOUBLE),
    ECHO("echo_text", 4, TAPE_TYPE_TEXT),   ECHO("echo_time", 5, TAPE_TYPE_TIME)};

static void duck_function_takes_and_gives_every_type(void **state) {
    (void)state;
    static const char *const checks[] = {
        "SELECT count(*) FROM (SELECT CASE WHEN i % 3 <> 0 THEN i % 2 = 0 END AS x FROM "
        "range(9000) "
        "t(i)) WHERE echo_bool(x) IS NOT DISTINCT FROM x",
        "SELECT count(*) FROM (SELECT CASE WHEN i % 3 <> 0 THEN i - 4000 END AS x FROM range(9000) "
        "t(i)) WHERE echo_int(x) IS NOT DISTINCT FROM x",
        "SELECT count(*) FROM (SELECT CASE WHEN i % 3 <> 0 THEN 18446744073709551615 - i::UBIGINT "
        "END AS x FROM "
        "range(9000) t(i)) WHERE echo_uint(x) IS NOT DISTINCT FROM x",
        "SELECT count(*) FROM (SELECT CASE WHEN i % 3 <> 0 THEN i / 7 END AS x FROM range(9000) "
        "t(i)) WHERE echo_double(x) IS NOT DISTINCT FROM x",
        "SELECT count(*) FROM (SELECT CASE WHEN i % 3 <> 0 THEN repeat('é', i % 40) END AS x FROM "
        "range(9000) t(i)) WHERE echo_text(x) IS NOT DISTINCT FROM x",
        "SELECT count(*) FROM (SELECT CASE WHEN i % 3 <> 0 THEN make_timestamp_ns(i) END AS x FROM "
        "range(9000) t(i)) WHERE echo_time(x) IS NOT DISTINCT FROM x",
    };
    for (size_t n = 0; n < COUNT_OF(ECHOES); n++) {
        add(&ECHOES[n]);
        check_answer(top.session, checks[n], "9000");
    }
    check_answer(top.session,
                 "SELECT count(*) FROM tape_scan('ticks', 'all') WHERE echo_text(instrument_id) = "
                 "instrument_id AND echo_time(ts) = ts AND echo_uint(seq) = seq",
                 "30000");
    check_answer(top.session, "SELECT echo_text('constant'), echo_int(NULL)", "constant");
    check_answer(top.session, "SELECT echo_int(NULL) IS NULL", "true");
    check_answer(top.session, "SELECT typeof(echo_time(now()::TIMESTAMP))", "TIMESTAMP_NS");
    /* What casts implicitly is taken, what does not is refused. */
    check_answer(top.session, "SELECT echo_double(1::SMALLINT)", "1.0");
    check_refused(top.session, "SELECT echo_int([1])", TAPE_SQL, "echo_int");
}

/* --- NULL, errors, names --- */

static tape_status or_none(void *context, const tape_vector *arguments, size_t rows,
                           tape_results *results, tape_error *error) {
    (void)context;
    (void)error;
    const tape_text *texts = arguments[0].values;
    for (size_t i = 0; i < rows; i++) {
        if (!valid(&arguments[0], i)) {
            tape_results_set_text(results, i, "none", 4);
        } else if (texts[i].size_bytes == 0) {
            tape_results_set_null(results, i);
        } else {
            tape_results_set_text(results, i, texts[i].data, texts[i].size_bytes);
        }
    }
    return TAPE_OK;
}

static void duck_function_sees_nulls_when_it_asks_for_them(void **state) {
    (void)state;
    static const tape_function f = {.size_bytes = sizeof f,
                                    .name = "or_none",
                                    .arguments = &TYPES[4],
                                    .argument_count = 1,
                                    .result = TAPE_TYPE_TEXT,
                                    .takes_null = true,
                                    .call = or_none};
    add(&f);
    check_answer(top.session, "SELECT or_none(x) FROM (VALUES ('a'), (NULL), ('b')) v(x)",
                 "a|none|b");
    check_answer(top.session, "SELECT or_none(NULL)", "none");
    check_answer(top.session, "SELECT or_none('') IS NULL", "true");
}

static tape_status divide(void *context, const tape_vector *arguments, size_t rows,
                          tape_results *results, tape_error *error) {
    const int64_t *a = arguments[0].values;
    const int64_t *b = arguments[1].values;
    int64_t *out = tape_results_values(results);
    for (size_t i = 0; i < rows; i++) {
        if (!valid(&arguments[0], i) || !valid(&arguments[1], i)) {
            continue;
        }
        if (b[i] == 0) {
            error->status = TAPE_INVALID;
            (void)snprintf(error->text, sizeof error->text, "division of %lld by zero%s",
                           (long long)a[i], (const char *)context);
            return TAPE_INVALID;
        }
        out[i] = a[i] / b[i];
    }
    return TAPE_OK;
}

static const tape_type TWO_INTS[] = {TAPE_TYPE_INT64, TAPE_TYPE_INT64};

static void duck_function_that_fails_ends_the_statement_with_its_text(void **state) {
    (void)state;
    static const tape_function f = {.size_bytes = sizeof f,
                                    .name = "divide_ints",
                                    .arguments = TWO_INTS,
                                    .argument_count = 2,
                                    .result = TAPE_TYPE_INT64,
                                    .call = divide,
                                    .context = (void *)(uintptr_t) ", sadly"};
    add(&f);
    check_answer(top.session, "SELECT divide_ints(7, 2)", "3");
    check_refused(top.session, "SELECT divide_ints(7, 0)", TAPE_SQL,
                  "divide_ints: division of 7 by zero, sadly");
    check_refused(top.session,
                  "SELECT sum(divide_ints(8, seq::BIGINT - 29000)) FROM tape_scan('ticks', 'all')",
                  TAPE_SQL, "division of 8 by zero");
    check_answer(top.session,
                 "SELECT count(*) FROM (SELECT divide_ints(i, nullif(i % 5, 0)) AS x FROM "
                 "range(5000) t(i)) WHERE x IS NULL",
                 "1000");
}

static tape_status broken_text(void *context, const tape_vector *arguments, size_t rows,
                               tape_results *results, tape_error *error) {
    (void)arguments;
    (void)error;
    for (size_t i = 0; i < rows; i++) {
        tape_results_set_text(results, i, context, strlen(context));
    }
    return TAPE_OK;
}

static void duck_function_gives_text_in_utf8_or_fails(void **state) {
    (void)state;
    static const char *const texts[] = {"\xff", "abcdefgh\xc3", "\xed\xa0\x80", "\xc0\x80",
                                        "\xf4\x90\x80\x80"};
    static const char *const names[] = {"broken_0", "broken_1", "broken_2", "broken_3", "broken_4"};
    static tape_function fs[COUNT_OF(texts)];
    for (size_t n = 0; n < COUNT_OF(texts); n++) {
        fs[n] = (tape_function){.size_bytes = sizeof fs[n],
                                .name = names[n],
                                .result = TAPE_TYPE_TEXT,
                                .call = broken_text,
                                .context = (void *)(uintptr_t)texts[n]};
        add(&fs[n]);
        char *sql = mem_printf("SELECT %s()", fs[n].name);
        check_refused(top.session, sql, TAPE_SQL, "not valid UTF-8");
        free(sql);
    }
    static const tape_function good = {.size_bytes = sizeof good,
                                       .name = "good_text",
                                       .result = TAPE_TYPE_TEXT,
                                       .call = broken_text,
                                       .context = "tschüß 字 \xf0\x9f\x98\x80"};
    add(&good);
    check_answer(top.session, "SELECT good_text()", "tschüß 字 \xf0\x9f\x98\x80");
    check_answer(top.session, "SELECT length(good_text())", "10");
}

static void duck_function_has_a_name_that_is_free_and_can_be_called(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tape_status status;
    } cases[] = {
        {"sum", TAPE_EXISTS},      {"abs", TAPE_EXISTS},         {"tape_scan", TAPE_EXISTS},
        {"range", TAPE_EXISTS},    {"tape_newest", TAPE_EXISTS}, {"echo_int", TAPE_EXISTS},
        {"list_sum", TAPE_EXISTS}, {"", TAPE_INVALID},           {"Upper", TAPE_INVALID},
        {"1st", TAPE_INVALID},     {"a b", TAPE_INVALID},        {"a\"b", TAPE_INVALID},
        {"select", TAPE_INVALID},  {"case", TAPE_INVALID},       {"coalesce", TAPE_INVALID},
        {"between", TAPE_INVALID},
    };
    tape_error error;
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        tape_function f = ECHOES[1];
        tape_aggregate g = {.size_bytes = sizeof g, .name = cases[n].name};
        f.name = cases[n].name;
        tape_status got = duck_add_function(top.duck, &f, &error);
        if (got != cases[n].status) {
            fail_msg("%s: %s", cases[n].name, tape_status_name(got));
        }
        assert_int_equal(duck_add_aggregate(top.duck, &g, &error), TAPE_INVALID);
    }
    tape_function f = ECHOES[1];
    tape_type strange = (tape_type)77;
    f.name = "fine";
    f.result = strange;
    assert_int_equal(duck_add_function(top.duck, &f, &error), TAPE_INVALID);
    f = ECHOES[1];
    f.name = "fine";
    f.arguments = &strange;
    assert_int_equal(duck_add_function(top.duck, &f, &error), TAPE_INVALID);
    f.arguments = TYPES;
    f.argument_count = 65;
    assert_int_equal(duck_add_function(top.duck, &f, &error), TAPE_INVALID);
    f = ECHOES[1];
    f.name = "fine";
    f.call = NULL;
    assert_int_equal(duck_add_function(top.duck, &f, &error), TAPE_INVALID);
    check_refused(top.session, "SELECT fine(1)", TAPE_SQL, "does not exist");
}

static tape_status count_up(void *context, const tape_vector *arguments, size_t rows,
                            tape_results *results, tape_error *error) {
    (void)arguments;
    (void)error;
    _Atomic int64_t *next = context;
    int64_t *out = tape_results_values(results);
    for (size_t i = 0; i < rows; i++) {
        out[i] = atomic_fetch_add(next, 1);
    }
    return TAPE_OK;
}

static void duck_function_that_changes_is_called_for_every_row(void **state) {
    (void)state;
    static _Atomic int64_t next;
    static const tape_function f = {.size_bytes = sizeof f,
                                    .name = "count_up",
                                    .result = TAPE_TYPE_INT64,
                                    .changes = true,
                                    .call = count_up,
                                    .context = &next};
    add(&f);
    check_answer(top.session, "SELECT count(DISTINCT count_up()) FROM range(5000)", "5000");
    assert_int_equal(next, 5000);
}

static void duck_functions_are_added_while_statements_run(void **state) {
    (void)state;
    static const char *const names[] = {"late_0", "late_1", "late_2", "late_3"};
    static tape_function late[COUNT_OF(names)];
    duck_statement *st;
    duck_result *r;
    tape_error error;
    size_t rows;
    assert_int_equal(duck_statement_prepare(top.session,
                                            "SELECT seq FROM tape_scan('ticks', 'all') WHERE seq > "
                                            "$1",
                                            &st, &error),
                     TAPE_OK);
    const tape_value zero = {.type = TAPE_TYPE_INT64, .int64 = 0};
    for (size_t n = 0; n < COUNT_OF(late); n++) {
        uint64_t total = 0;
        assert_int_equal(duck_statement_start(st, &zero, 1, &r, &error), TAPE_OK);
        assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
        total += rows;
        late[n] = ECHOES[1];
        late[n].name = names[n];
        add(&late[n]);
        while (rows > 0) {
            assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
            total += rows;
        }
        assert_int_equal(total, 30000);
        duck_result_close(&r);
        char *sql = mem_printf("SELECT late_%zu(%zu)", n, n);
        char *expected = mem_printf("%zu", n);
        check_answer(top.session, sql, expected);
        free(expected);
        free(sql);
    }
    duck_statement_close(&st);
    /* Nothing else has opened with it. */
    check_refused(top.session, "SET enable_external_access = true", TAPE_SQL, "");
    check_refused(top.session, "SELECT * FROM read_csv('/etc/passwd')", TAPE_FORBIDDEN, "");
}

/* --- aggregates --- */

/* Sums in memory of its own, to see that it is freed. */
typedef struct sum_state {
    int64_t *sum;
} sum_state;
static _Atomic int64_t sums_live;

static tape_status sum_update(void *context, const tape_vector *arguments, size_t rows,
                              void **states, tape_error *error) {
    (void)context;
    const int64_t *values = arguments[0].values;
    assert_null(arguments[0].valid);
    for (size_t i = 0; i < rows; i++) {
        sum_state *s = states[i];
        assert_int_equal((uintptr_t)s % 8, 0);
        if (s->sum == NULL) {
            s->sum = mem_zalloc(sizeof *s->sum);
            atomic_fetch_add(&sums_live, 1);
        }
        *s->sum += values[i];
        if (values[i] == -1) {
            error->status = TAPE_INVALID;
            (void)snprintf(error->text, sizeof error->text, "no -1, please");
            return TAPE_INVALID;
        }
    }
    return TAPE_OK;
}

static tape_status sum_combine(void *context, void **sources, void **targets, size_t count,
                               tape_error *error) {
    (void)context;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        sum_state *from = sources[i];
        sum_state *to = targets[i];
        if (to->sum == NULL) {
            to->sum = from->sum;
            from->sum = NULL;
        } else if (from->sum != NULL) {
            *to->sum += *from->sum;
        }
    }
    return TAPE_OK;
}

static tape_status sum_finish(void *context, void **states, size_t count, tape_results *results,
                              tape_error *error) {
    (void)context;
    (void)error;
    int64_t *out = tape_results_values(results);
    for (size_t i = 0; i < count; i++) {
        const sum_state *s = states[i];
        if (s->sum == NULL) {
            tape_results_set_null(results, i);
        } else {
            out[i] = *s->sum;
        }
    }
    return TAPE_OK;
}

static void sum_destroy(void *context, void **states, size_t count) {
    (void)context;
    for (size_t i = 0; i < count; i++) {
        sum_state *s = states[i];
        atomic_fetch_sub(&sums_live, s->sum != NULL);
        free(s->sum);
        s->sum = NULL;
    }
}

static const tape_aggregate OWN_SUM = {.size_bytes = sizeof OWN_SUM,
                                       .name = "own_sum",
                                       .arguments = &TYPES[1],
                                       .argument_count = 1,
                                       .result = TAPE_TYPE_INT64,
                                       .state_bytes = sizeof(sum_state),
                                       .update = sum_update,
                                       .combine = sum_combine,
                                       .finish = sum_finish,
                                       .destroy = sum_destroy};

static void duck_aggregate_agrees_with_duckdb_s_own_in_every_form(void **state) {
    (void)state;
    static const char *const forms[] = {
        "SELECT %s(i) FROM range(1000000) t(i)",
        "SELECT i %% 5 AS g, %s(nullif(i, 3)) FROM range(300000) t(i) GROUP BY g",
        "SELECT i %% 100000 AS g, %s(i) FROM range(300000) t(i) GROUP BY g",
        "SELECT (i %% 5)::UTINYINT AS g, %s(i) FROM range(100000) t(i) GROUP BY g",
        "SELECT 'text' || i %% 50 AS g, %s(i) FROM range(100000) t(i) GROUP BY g",
        "SELECT %s(DISTINCT i %% 10) FROM range(1000) t(i)",
        "SELECT i %% 3 AS g, %s(DISTINCT i %% 10), %s(i) FROM range(1000) t(i) GROUP BY g",
        "SELECT %s(i) FILTER (i %% 2 = 0) FROM range(1000) t(i)",
        "SELECT i %% 3 AS g, i %% 2 AS h, %s(i) FROM range(1000) t(i) GROUP BY CUBE (g, h)",
        "SELECT %s(i) FROM range(0) t(i)",
        "SELECT %s(NULL::BIGINT)",
        "SELECT %s(x) FROM (VALUES (NULL::BIGINT), (NULL)) v(x)",
        "SELECT (SELECT %s(j) FROM range(10) u(j) WHERE j < i) FROM range(50) t(i)",
        "SELECT %s((last_price / 2)::BIGINT), instrument_id FROM tape_scan('ticks', 'all') GROUP "
        "BY "
        "instrument_id",
        "SELECT list_aggregate([i, i + 1, NULL], '%s') FROM range(3000) t(i)",
    };
    tape_error error;
    add_aggregate(&OWN_SUM);
    assert_int_equal(duck_add_aggregate(top.duck, &OWN_SUM, &error), TAPE_EXISTS);
    for (size_t n = 0; n < COUNT_OF(forms); n++) {
        char *mine = mem_printf(forms[n], "own_sum", "own_sum");
        char *theirs = mem_printf(forms[n], "sum", "sum");
        char *sql = mem_printf("SELECT count(*) FROM ((%s) EXCEPT ALL (%s))", mine, theirs);
        check_answer(top.session, sql, "0");
        char *reverse = mem_printf("SELECT count(*) FROM ((%s) EXCEPT ALL (%s))", theirs, mine);
        check_answer(top.session, reverse, "0");
        free(reverse);
        free(sql);
        free(theirs);
        free(mine);
    }
    check_refused(top.session, "SELECT own_sum(i) FROM range(-1000, 1000) t(i)", TAPE_SQL,
                  "own_sum: no -1, please");
    assert_int_equal(sums_live, 0);
}

/* Text in, text out, no destructor, NULLs welcome. */
static tape_status longest_update(void *context, const tape_vector *arguments, size_t rows,
                                  void **states, tape_error *error) {
    (void)context;
    (void)error;
    const tape_text *texts = arguments[0].values;
    for (size_t i = 0; i < rows; i++) {
        uint64_t *s = states[i];
        s[0] += !valid(&arguments[0], i);
        if (valid(&arguments[0], i) && texts[i].size_bytes > s[1]) {
            s[1] = texts[i].size_bytes;
        }
    }
    return TAPE_OK;
}

static tape_status longest_combine(void *context, void **sources, void **targets, size_t count,
                                   tape_error *error) {
    (void)context;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        const uint64_t *from = sources[i];
        uint64_t *to = targets[i];
        to[0] += from[0];
        to[1] = from[1] > to[1] ? from[1] : to[1];
    }
    return TAPE_OK;
}

static tape_status longest_finish(void *context, void **states, size_t count, tape_results *results,
                                  tape_error *error) {
    (void)context;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        const uint64_t *s = states[i];
        char text[64];
        int size = snprintf(text, sizeof text, "%llu without, the longest has %llu",
                            (unsigned long long)s[0], (unsigned long long)s[1]);
        tape_results_set_text(results, i, text, (size_t)size);
    }
    return TAPE_OK;
}

static void duck_aggregate_of_text_copies_its_results(void **state) {
    (void)state;
    static const tape_aggregate g = {.size_bytes = sizeof g,
                                     .name = "longest",
                                     .arguments = &TYPES[4],
                                     .argument_count = 1,
                                     .result = TAPE_TYPE_TEXT,
                                     .takes_null = true,
                                     .state_bytes = 16,
                                     .update = longest_update,
                                     .combine = longest_combine,
                                     .finish = longest_finish};
    add_aggregate(&g);
    check_answer(top.session,
                 "SELECT longest(CASE WHEN i % 4 <> 0 THEN repeat('x', i % 100) END) FROM "
                 "range(40000) t(i)",
                 "10000 without, the longest has 99");
    check_answer(top.session, "SELECT longest(x) FROM (VALUES ('a'), (NULL)) v(x)",
                 "1 without, the longest has 1");
    check_answer(top.session,
                 "SELECT count(DISTINCT l) FROM (SELECT longest(repeat('y', (i % 30000 % "
                 "700)::BIGINT)) AS l FROM range(60000) t(i) GROUP BY i % 30000)",
                 "700");
}

static void duck_aggregate_is_refused_where_duckdb_would_not_hold_its_states(void **state) {
    (void)state;
    static const char *const refused[] = {
        "SELECT own_sum(i) OVER () FROM range(10) t(i)",
        "SELECT own_sum(i) OVER (ORDER BY i) FROM range(10) t(i)",
        "SELECT OWN_SUM(i ORDER BY i DESC) FROM range(10) t(i)",
        "SELECT main.\"own_sum\"(i ORDER BY i) FROM range(10) t(i)",
        "SELECT own_sum((SELECT max(i ORDER BY i))) OVER w FROM t WINDOW w AS (PARTITION BY i)",
        "WITH c AS (SELECT own_sum(i) EXPORT_STATE FROM range(10) t(i)) FROM c",
        "SELECT own_sum(i), own_sum(i ORDER BY i) FROM range(10) t(i)",
    };
    static const char *const taken[] = {
        "SELECT own_sum(i) FROM range(10) t(i) ORDER BY own_sum(i)",
        "SELECT own_sum((SELECT max(i ORDER BY i))), sum(i ORDER BY i) FROM range(10) t(i)",
        "SELECT sum(own_sum) OVER (ORDER BY own_sum) FROM (SELECT own_sum(i) AS own_sum FROM t)",
        "SELECT '\"class\":\"WINDOW\",\"function_name\":\"own_sum\"' FROM range(10) t(i)",
        "SELECT own_sum(DISTINCT i) FILTER (i > 3) FROM range(10) t(i)",
    };
    tape_error error;
    char *tree;
    for (size_t n = 0; n < COUNT_OF(refused); n++) {
        tape_status got =
            duck_session_parse(top.session, refused[n], strlen(refused[n]), &tree, &error);
        if (got != TAPE_SQL || strstr(error.text, "own_sum cannot be called") == NULL) {
            fail_msg("%s: %s %s", refused[n], tape_status_name(got), error.text);
        }
    }
    for (size_t n = 0; n < COUNT_OF(taken); n++) {
        if (duck_session_parse(top.session, taken[n], strlen(taken[n]), &tree, &error) != TAPE_OK) {
            fail_msg("%s: %s", taken[n], error.text);
        }
        free(tree);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duck_function_takes_and_gives_every_type),
        cmocka_unit_test(duck_function_sees_nulls_when_it_asks_for_them),
        cmocka_unit_test(duck_function_that_fails_ends_the_statement_with_its_text),
        cmocka_unit_test(duck_function_gives_text_in_utf8_or_fails),
        cmocka_unit_test(duck_function_has_a_name_that_is_free_and_can_be_called),
        cmocka_unit_test(duck_function_that_changes_is_called_for_every_row),
        cmocka_unit_test(duck_functions_are_added_while_statements_run),
        cmocka_unit_test(duck_aggregate_agrees_with_duckdb_s_own_in_every_form),
        cmocka_unit_test(duck_aggregate_of_text_copies_its_results),
        cmocka_unit_test(duck_aggregate_is_refused_where_duckdb_would_not_hold_its_states),
    };
    return cmocka_run_group_tests_name("duck functions", tests, open_top, close_top);
}
