#include "cli/params.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

static void expect(const char *word, const char *wanted) {
    tape_value value;
    tape_error error;
    buffer text = {0};
    assert_int_equal(param_parse(word, &value, &error), TAPE_OK);
    param_print(&text, &value);
    buffer_append(&text, "", 1);
    assert_string_equal((const char *)text.data, wanted);
    buffer_deinit(&text);
}

static void a_word_is_what_it_looks_like(void **state) {
    (void)state;
    expect("0", "BIGINT 0");
    expect("-42", "BIGINT -42");
    expect("9223372036854775807", "BIGINT 9223372036854775807");
    expect("-9223372036854775808", "BIGINT -9223372036854775808");
    expect("9223372036854775808", "UBIGINT 9223372036854775808");
    expect("18446744073709551615", "UBIGINT 18446744073709551615");
    expect("3900.2", "DOUBLE 3900.2");
    expect("-1e-7", "DOUBLE -1e-7");
    expect("2E3", "DOUBLE 2000");
    expect("true", "BOOLEAN true");
    expect("FALSE", "BOOLEAN false");
    expect("null", "NULL");
    expect("2024-08-08T23:54:15.342Z", "TIMESTAMP_NS '2024-08-08T23:54:15.342000000Z'");
    expect("2024-08-08 23:54:15", "TIMESTAMP_NS '2024-08-08T23:54:15.000000000Z'");
    expect("IF2601", "VARCHAR 'IF2601'");
    expect("", "VARCHAR ''");
    expect("it's", "VARCHAR 'it''s'");
}

static void what_is_nearly_a_number_is_text(void **state) {
    (void)state;
    static const char *const words[] = {"000001", "+1",        "1.",         ".5",  "1e",  "0x10",
                                        "1_000",  "1 ",        "-",          "--1", "inf", "nan",
                                        "1.2.3",  "600536.SH", "2024-08-08", "a:b"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        tape_value value;
        tape_error error;
        assert_int_equal(param_parse(words[i], &value, &error), TAPE_OK);
        assert_int_equal(value.type, TAPE_TYPE_TEXT);
        assert_int_equal(value.text.size_bytes, strlen(words[i]));
        assert_ptr_equal(value.text.data, words[i]);
    }
}

static void a_type_before_the_value_settles_it(void **state) {
    (void)state;
    expect("text:600536", "VARCHAR '600536'");
    expect("text:", "VARCHAR ''");
    expect("text:text:x", "VARCHAR 'text:x'");
    expect("text:NULL", "VARCHAR 'NULL'");
    expect("int:007", "BIGINT 7");
    expect("uint:7", "UBIGINT 7");
    expect("double:7", "DOUBLE 7");
    expect("double:inf", "DOUBLE inf");
    expect("bool:True", "BOOLEAN true");
    expect("time:2024-08-08T23:54:15Z", "TIMESTAMP_NS '2024-08-08T23:54:15.000000000Z'");
    expect("time:1", "TIMESTAMP_NS '1970-01-01T00:00:00.000000001Z'");
    expect("time:2024-08-08", "TIMESTAMP_NS '2024-08-08T00:00:00.000000000Z'");
    expect("time:-1", "TIMESTAMP_NS '1969-12-31T23:59:59.999999999Z'");
    expect("Text:x", "VARCHAR 'Text:x'");
    expect("other:x", "VARCHAR 'other:x'");
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    static const char *const words[] = {"int:x",
                                        "int:9223372036854775808",
                                        "uint:-1",
                                        "uint:",
                                        "double:x",
                                        "double:",
                                        "bool:1",
                                        "time:yesterday",
                                        "int:1.5",
                                        "1e999",
                                        "18446744073709551616",
                                        "-9223372036854775809"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        tape_value value;
        tape_error error = {0};
        assert_int_equal(param_parse(words[i], &value, &error), TAPE_INVALID);
        const char *colon = strchr(words[i], ':');
        assert_non_null(strstr(error.text, colon == NULL ? words[i] : colon + 1));
    }
}

static void quotes_in_the_shell_make_text(void **state) {
    (void)state;
    static const struct {
        const char *typed, *word;
    } cases[] = {{"7", "7"},         {"'7'", "text:7"},  {"'it''s'", "text:it's"},
                 {"''", "text:"},    {"'", "'"},         {"'open", "'open"},
                 {"''''", "text:'"}, {"a 'b'", "a 'b'"}, {"'a' 'b'", "text:a' 'b"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *word = param_word(cases[i].typed);
        assert_string_equal(word, cases[i].word);
        free(word);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_is_what_it_looks_like),
        cmocka_unit_test(what_is_nearly_a_number_is_text),
        cmocka_unit_test(a_type_before_the_value_settles_it),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(quotes_in_the_shell_make_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
