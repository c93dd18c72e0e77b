#include "cli/shell.h"

#include <setjmp.h>
#include <cmocka.h>
#include <limits.h>

static void a_semicolon_in_quotes_or_comments_ends_nothing(void **state) {
    (void)state;
    static const char *const statements[] = {
        "SELECT 1;",
        "SELECT ';', \";\", 'it''s;', \"a\"\";\";",
        "SELECT -- not here;\n 1;",
        "SELECT /* ; /* ; */ ; */ 1;",
        "SELECT $$;$$, $x$ ; $$ ; $x$;",
        "SELECT E'\\';';",
        "SELECT name'\\';",
        "SELECT $1;",
        "SELECT a$b$;",
        "SELECT \xc3\xa9;",
        ";",
    };
    for (size_t i = 0; i < COUNT_OF(statements); i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "%s SELECT 2;", statements[i]);
        assert_int_equal(sql_statement_length(text), strlen(statements[i]));
    }
}

static void an_unfinished_statement_has_no_end(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "SELECT 1",
        "SELECT ';",
        "SELECT \";",
        "SELECT /* ;",
        "SELECT $a$ ; $b$",
        "SELECT /* /* */ ;",
        "-- ;",
        "SELECT E'\\';",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_int_equal(sql_statement_length(texts[i]), 0);
    }
}

static void comments_and_spaces_are_blank(void **state) {
    (void)state;
    assert_true(sql_is_blank(""));
    assert_true(sql_is_blank(" \n\t; ;"));
    assert_true(sql_is_blank("-- nothing\n /* at all */ ;"));
    assert_false(sql_is_blank("-- something\n 1"));
    assert_false(sql_is_blank("/* open"));
    assert_false(sql_is_blank("'"));
}

static void a_statement_begins_after_what_is_blank(void **state) {
    (void)state;
    assert_int_equal(sql_first_line("SELECT 1;"), 1);
    assert_int_equal(sql_first_line("\n\n SELECT\n 1;"), 3);
    assert_int_equal(sql_first_line("-- one\n/* two\n three */ ;\nSELECT 1"), 4);
    assert_int_equal(sql_first_line("\n/* open \n"), 1);
}

static void parameters_are_counted(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int count;
    } cases[] = {
        {"SELECT 1", 0},
        {"SELECT $1", 1},
        {"SELECT $3, $1", 3},
        {"SELECT ?, ?", 2},
        {"SELECT '$1', \"?\"", 0},
        {"SELECT 1 -- $2 ?\n", 0},
        {"SELECT $$ $4 $$", 0},
        {"SELECT a$1", 0},
        {"SELECT $x$ ? $x$, $2", 2},
        {"SELECT $99999999999999999999", INT_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(sql_param_count(cases[i].text), cases[i].count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_semicolon_in_quotes_or_comments_ends_nothing),
        cmocka_unit_test(an_unfinished_statement_has_no_end),
        cmocka_unit_test(comments_and_spaces_are_blank),
        cmocka_unit_test(a_statement_begins_after_what_is_blank),
        cmocka_unit_test(parameters_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
