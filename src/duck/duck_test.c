/* Duck: sessions, values, errors, what is closed to the outside. */
#include "duck/duck.h"

#include "os/os.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static duck *open_duck(const char *const *paths, size_t path_count) {
    const duck_options options = {
        .memory_bytes = MIB(256), .threads = 2, .paths = paths, .path_count = path_count};
    duck *d;
    tape_error error;
    if (duck_open(&d, &options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return d;
}

static duck_session *open_session(duck *d) {
    duck_session *s;
    tape_error error;
    assert_int_equal(duck_session_open(d, &s, &error), TAPE_OK);
    return s;
}

static duck_result *start(duck_session *s, const char *sql) {
    duck_result *r;
    tape_error error;
    if (duck_session_start(s, sql, &r, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    return r;
}

static const struct {
    const char *sql;
    duck_kind kind;
    int64_t integer; /* or scale, unit_ns, size: see below */
    int64_t detail;
    double real;
    const char *text, *type;
} VALUES[] = {
    {"(-5)::TINYINT", DUCK_INTEGER, -5, 0, 0, NULL, "TINYINT"},
    {"300::SMALLINT", DUCK_INTEGER, 300, 0, 0, NULL, "SMALLINT"},
    {"(-70000)::INTEGER", DUCK_INTEGER, -70000, 0, 0, NULL, "INTEGER"},
    {"5000000000::BIGINT", DUCK_INTEGER, 5000000000, 0, 0, NULL, "BIGINT"},
    {"200::UTINYINT", DUCK_INTEGER, 200, 0, 0, NULL, "UTINYINT"},
    {"60000::USMALLINT", DUCK_INTEGER, 60000, 0, 0, NULL, "USMALLINT"},
    {"4000000000::UINTEGER", DUCK_INTEGER, 4000000000, 0, 0, NULL, "UINTEGER"},
    {"9000000000::UBIGINT", DUCK_INTEGER, 9000000000, 0, 0, NULL, "UBIGINT"},
    {"(-9)::HUGEINT", DUCK_INTEGER, -9, 0, 0, NULL, "HUGEINT"},
    {"9::UHUGEINT", DUCK_INTEGER, 9, 0, 0, NULL, "UHUGEINT"},
    {"1.25::DECIMAL(4,2)", DUCK_DECIMAL, 125, 2, 0, NULL, "DECIMAL"},
    {"-1.25::DECIMAL(9,3)", DUCK_DECIMAL, -1250, 3, 0, NULL, "DECIMAL"},
    {"1.25::DECIMAL(18,4)", DUCK_DECIMAL, 12500, 4, 0, NULL, "DECIMAL"},
    {"-1.25::DECIMAL(38,5)", DUCK_DECIMAL, -125000, 5, 0, NULL, "DECIMAL"},
    {"1.5::FLOAT", DUCK_REAL, 0, 0, 1.5, NULL, "FLOAT"},
    {"1e300::DOUBLE", DUCK_REAL, 0, 0, 1e300, NULL, "DOUBLE"},
    {"'short'", DUCK_TEXT, 0, 0, 0, "short", "VARCHAR"},
    {"'longer than twelve bytes'", DUCK_TEXT, 0, 0, 0, "longer than twelve bytes", "VARCHAR"},
    {"'b'::ENUM('a', 'b')", DUCK_TEXT, 0, 0, 0, "b", "ENUM"},
    {"DATE '1970-01-03'", DUCK_TIME, 2, 86400 * NS_PER_SECOND, 0, NULL, "DATE"},
    {"TIMESTAMP_S '1970-01-01 00:00:09'", DUCK_TIME, 9, NS_PER_SECOND, 0, NULL, "TIMESTAMP_S"},
    {"TIMESTAMP_MS '1970-01-01 00:00:00.009'", DUCK_TIME, 9, 1000000, 0, NULL, "TIMESTAMP_MS"},
    {"TIMESTAMP '1969-12-31 23:59:59.999999'", DUCK_TIME, -1, 1000, 0, NULL, "TIMESTAMP"},
    {"TIMESTAMPTZ '1970-01-01 01:00:00+01'", DUCK_TIME, 0, 1000, 0, NULL, "TIMESTAMPTZ"},
    {"TIMESTAMP_NS '1970-01-01 00:00:00.000000007'", DUCK_TIME, 7, 1, 0, NULL, "TIMESTAMP_NS"},
    {"[1, 2, 3]", DUCK_LIST, 0, 3, 0, NULL, "INTEGER[]"},
    {"array_value(1.5::FLOAT, 2)", DUCK_LIST, 0, 2, 0, NULL, "FLOAT[]"},
    {"true", DUCK_OTHER, 0, 0, 0, NULL, "BOOLEAN"},
    {"INTERVAL 1 DAY", DUCK_OTHER, 0, 0, 0, NULL, "INTERVAL"},
    {"{'a': 1}", DUCK_OTHER, 0, 0, 0, NULL, "STRUCT"},
};

static void duck_values_have_kind_and_content(void **state) {
    (void)state;
    duck *d = open_duck(NULL, 0);
    duck_session *s = open_session(d);
    for (size_t n = 0; n < COUNT_OF(VALUES); n++) {
        char *sql = mem_printf("SELECT %s AS v UNION ALL SELECT NULL", VALUES[n].sql);
        tape_error error;
        size_t rows;
        duck_value v;
        const duck_column *column;
        duck_result *r = start(s, sql);
        assert_int_equal(duck_result_columns(r, &column), 1);
        assert_string_equal(column->name, "v");
        assert_string_equal(column->sql_type, VALUES[n].type);
        assert_int_equal(column->kind, VALUES[n].kind);
        assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
        duck_result_value(r, 0, 0, &v);
        assert_int_equal(v.kind, VALUES[n].kind);
        assert_true((int64_t)v.integer == VALUES[n].integer || v.kind == DUCK_TEXT);
        assert_true(v.real == VALUES[n].real);
        if (v.kind == DUCK_DECIMAL) {
            assert_int_equal(v.scale, VALUES[n].detail);
        } else if (v.kind == DUCK_TIME) {
            assert_true(v.unit_ns == VALUES[n].detail && !v.infinite);
        } else if (v.kind == DUCK_LIST) {
            duck_value element;
            assert_int_equal(v.size, VALUES[n].detail);
            duck_result_element(r, 0, v.first + 1, &element);
            assert_true(element.integer == 2 || element.real == 2);
        } else if (v.kind == DUCK_TEXT) {
            assert_int_equal(v.size, strlen(VALUES[n].text));
            assert_memory_equal(v.text, VALUES[n].text, v.size);
        }
        if (rows == 1) {
            assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
            duck_result_value(r, 0, 0, &v);
        } else {
            duck_result_value(r, 0, 1, &v);
        }
        assert_int_equal(v.kind, DUCK_NULL);
        duck_result_close(&r);
        free(sql);
    }
    duck_session_close(&s);
    duck_close(&d);
}

static void duck_errors_are_one_line_with_a_status(void **state) {
    (void)state;
    static const struct {
        const char *message, *text;
        tape_status status;
    } cases[] = {
        {"Parser Error: bad\n\nLINE 1: x\n        ^", "Parser Error: bad", TAPE_SQL},
        {"Binder Error: no\nmaybe:  \t\"a\"\n\nLINE 12: x",
         "Binder Error: no maybe: \"a\" (line 12)", TAPE_SQL},
        {"Parser Error: deep. Use \"SET x TO y\" to dig", "Parser Error: deep.", TAPE_SQL},
        {"Permission Error: no", "Permission Error: no", TAPE_FORBIDDEN},
        {"INTERRUPT Error: Interrupted!", "INTERRUPT Error: Interrupted!", TAPE_CANCELLED},
        {"INTERNAL Error: oh", "INTERNAL Error: oh", TAPE_FAILED},
        {"Out of Memory Error: full\n\nDo this",
         "Out of Memory Error: full: make the statement "
         "smaller or allow queries more memory",
         TAPE_NO_MEMORY},
        {"", "DuckDB failed without saying why", TAPE_SQL},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        tape_error error;
        assert_int_equal(duck_fail(&error, cases[n].message), cases[n].status);
        assert_string_equal(error.text, cases[n].text);
        assert_int_equal(duck_fail(NULL, cases[n].message), cases[n].status);
    }
}

static void take_count(void *context, const char *text) {
    (void)text;
    (*(size_t *)context)++;
}

static void duck_reaches_no_file_but_those_named(void **state) {
    (void)state;
    char path[] = "/tmp/tape-duck-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    (void)fputs("a\n1\n", file);
    assert_int_equal(fclose(file), 0);
    const char *const paths[] = {path};
    duck *named = open_duck(paths, 1);
    duck *closed = open_duck(NULL, 0);
    char *sql = mem_printf("SELECT * FROM read_csv('%s')", path);
    tape_error error;
    size_t rows = 0;
    duck_session *s = open_session(named);
    assert_int_equal(duck_session_each(s, sql, take_count, &rows, &error), TAPE_OK);
    assert_int_equal(rows, 1);
    assert_int_equal(duck_session_run(s, "SELECT * FROM read_csv('/etc/passwd')", &error),
                     TAPE_FORBIDDEN);
    assert_int_equal(duck_session_run(s, "SET enable_external_access = true", &error), TAPE_SQL);
    assert_int_equal(duck_session_run(s, "SET allowed_paths = ['/etc/passwd']", &error), TAPE_SQL);
    duck_session_close(&s);
    s = open_session(closed);
    assert_int_equal(duck_session_run(s, sql, &error), TAPE_FORBIDDEN);
    assert_int_equal(duck_session_run(s, "COPY (SELECT 1) TO '/tmp/tape-evil.csv'", &error),
                     TAPE_FORBIDDEN);
    assert_int_equal(duck_session_run(s, "INSTALL httpfs", &error), TAPE_FORBIDDEN);
    assert_int_not_equal(duck_session_run(s, "LOAD httpfs", &error), TAPE_OK);
    duck_session_close(&s);
    duck_close(&named);
    duck_close(&closed);
    free(sql);
    assert_int_equal(os_remove(os_disk_linux(), path, &error), TAPE_OK);
}

static void duck_parses_without_running(void **state) {
    (void)state;
    duck *d = open_duck(NULL, 0);
    duck_session *s = open_session(d);
    tape_error error;
    char *tree;
    assert_int_equal(duck_session_parse(s, "SELECT a FROM b", 15, &tree, &error), TAPE_OK);
    assert_non_null(strstr(tree, "\"table_name\":\"b\""));
    free(tree);
    assert_int_equal(duck_session_parse(s, "CREATE TABLE x(a INT)", 21, &tree, &error), TAPE_OK);
    assert_non_null(strstr(tree, "\"error\":true"));
    free(tree);
    assert_int_equal(duck_session_run(s, "SELECT * FROM x", &error), TAPE_SQL);
    assert_int_equal(duck_session_parse(s, "\xff", 1, &tree, &error), TAPE_SQL);
    duck_session_close(&s);
    duck_close(&d);
}

static void duck_arrow_arrays_outlive_the_database(void **state) {
    (void)state;
    duck *d = open_duck(NULL, 0);
    duck_session *s = open_session(d);
    duck_result *r = start(s, "SELECT 'a text of more than twelve bytes ' || i FROM range(3) t(i)");
    struct ArrowArray array;
    tape_error error;
    assert_int_equal(duck_result_arrow_next(r, &array, &error), TAPE_OK);
    duck_result_close(&r);
    duck_session_close(&s);
    duck_close(&d);
    const int32_t *offsets = array.children[0]->buffers[1];
    const char *text = array.children[0]->buffers[2];
    assert_int_equal(array.length, 3);
    assert_memory_equal(text + offsets[2], "a text of more than twelve bytes 2", 34);
    array.release(&array);
}

static void duck_quotes_text(void **state) {
    (void)state;
    char *quoted = duck_quote("it's 'so'");
    assert_string_equal(quoted, "'it''s ''so'''");
    free(quoted);
}

typedef struct interrupter {
    duck_session *session;
    _Atomic bool done;
} interrupter;

static void interrupt_until_done(void *argument) {
    interrupter *i = argument;
    while (!atomic_load(&i->done)) {
        duck_session_interrupt(i->session);
        (void)duck_session_progress(i->session);
        os_sleep_ns(1000000);
    }
}

static void duck_interrupt_ends_a_statement_and_not_the_session(void **state) {
    (void)state;
    duck *d = open_duck(NULL, 0);
    interrupter i = {.session = open_session(d)};
    os_thread *thread;
    tape_error error;
    duck_result *r;
    assert_int_equal(os_thread_start(&thread, "interrupter", -1, interrupt_until_done, &i, &error),
                     TAPE_OK);
    assert_int_equal(duck_session_start(i.session,
                                        "SELECT count(*) FROM range(1000000000000) t(i) "
                                        "WHERE hash(i) = 5",
                                        &r, &error),
                     TAPE_CANCELLED);
    assert_null(r);
    atomic_store(&i.done, true);
    os_thread_join(&thread);
    r = start(i.session, "SELECT 1");
    duck_result_close(&r);
    duck_session_close(&i.session);
    duck_close(&d);
}

/* Statements for whose joins DuckDB 1.5 keeps state from run to run, and their answers. */
static const struct {
    const char *sql;
    int64_t rows;
} JOINS[] = {
    {"SELECT count(*) FROM range(5000) a(i) ASOF JOIN range(10, 5000, 10) b(j) ON a.i >= b.j",
     4990},
    {"SELECT count(*) FROM range(3000) a(i) AsOf LEFT JOIN range(10, 5000, 10) b(j) ON a.i >= b.j",
     3000},
    {"SELECT count(*) FROM range(3000) a(i) JOIN range(3000) b(j) ON a.i < b.j AND a.i + 3 > b.j",
     5997},
    {"SELECT count(*) FROM range(3000) a(i), range(3000) b(j) WHERE a.i BETWEEN b.j AND b.j + 1",
     5999},
};

static void duck_statement_with_any_join_runs_again(void **state) {
    (void)state;
    duck *d = open_duck(NULL, 0);
    duck_session *s = open_session(d);
    for (size_t n = 0; n < COUNT_OF(JOINS); n++) {
        duck_statement *statement;
        tape_error error;
        assert_int_equal(duck_statement_prepare(s, JOINS[n].sql, &statement, &error), TAPE_OK);
        for (int run = 0; run < 3; run++) {
            duck_result *r;
            duck_value v;
            size_t rows;
            if (duck_statement_start(statement, NULL, 0, &r, &error) != TAPE_OK) {
                fail_msg("%s: %s", JOINS[n].sql, error.text);
            }
            assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
            duck_result_value(r, 0, 0, &v);
            assert_int_equal(v.integer, JOINS[n].rows);
            duck_result_close(&r);
        }
        duck_statement_close(&statement);
    }
    duck_session_close(&s);
    duck_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duck_values_have_kind_and_content),
        cmocka_unit_test(duck_errors_are_one_line_with_a_status),
        cmocka_unit_test(duck_reaches_no_file_but_those_named),
        cmocka_unit_test(duck_parses_without_running),
        cmocka_unit_test(duck_arrow_arrays_outlive_the_database),
        cmocka_unit_test(duck_quotes_text),
        cmocka_unit_test(duck_interrupt_ends_a_statement_and_not_the_session),
        cmocka_unit_test(duck_statement_with_any_join_runs_again),
    };
    return cmocka_run_group_tests_name("duck", tests, NULL, NULL);
}
