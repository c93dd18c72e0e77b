#include "cli/shell.h"

#include <setjmp.h>
#include <cmocka.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_semicolon_in_quotes_or_comments_ends_nothing),
        cmocka_unit_test(an_unfinished_statement_has_no_end),
        cmocka_unit_test(comments_and_spaces_are_blank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
