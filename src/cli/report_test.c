#include "cli/cli_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

bool cli_stopped(void) {
    return false;
}

/* A command whose errors are kept. */
typedef struct spoken {
    cli c;
    char *text;
    size_t size;
} spoken;

static void begin(spoken *s, const char *where) {
    *s = (spoken){.c = {.where = where, .out = fopen("/dev/null", "w")}};
    s->c.err = open_memstream(&s->text, &s->size);
    assert_non_null(s->c.err);
    assert_non_null(s->c.out);
}

static void expect(spoken *s, const char *wanted) {
    (void)fclose(s->c.err);
    (void)fclose(s->c.out);
    assert_string_equal(s->text, wanted);
    free(s->text);
}

static void an_error_is_one_line_that_says_where(void **state) {
    (void)state;
    spoken s;
    begin(&s, NULL);
    assert_int_equal(cli_fail_text(&s.c, TAPE_SQL, "two\nlines"), EXIT_FAILED);
    expect(&s, "tape: SQL: two lines\n");
    begin(&s, "a.sql line 3");
    assert_int_equal(cli_fail_text(&s.c, TAPE_SQL, "no %s", "such"), EXIT_FAILED);
    expect(&s, "tape: SQL: a.sql line 3: no such\n");
}

static void an_error_of_the_owner_is_told_where(void **state) {
    (void)state;
    static const char *const passed[][2] = {
        {"tape: SQL: no: such\n", "tape: SQL: a.sql line 3: no: such\n"},
        {"tape: SQL:", "tape: SQL:"},
        {"tape: ", "tape: "},
        {"tape: SQL", "tape: SQL"},
        {"other: SQL: x\n", "other: SQL: x\n"},
        {"", ""},
    };
    for (size_t i = 0; i < COUNT_OF(passed); i++) {
        spoken s;
        begin(&s, "a.sql line 3");
        cli_pass_error(&s.c, passed[i][0], strlen(passed[i][0]));
        expect(&s, passed[i][1]);
        begin(&s, NULL);
        cli_pass_error(&s.c, passed[i][0], strlen(passed[i][0]));
        expect(&s, passed[i][0]);
    }
}

static void a_bar_fills_with_its_share(void **state) {
    (void)state;
    char bar[48];
    assert_string_equal(progress_bar(0, bar), "[                              ]   0 %");
    assert_string_equal(progress_bar(0.5, bar), "[###############               ]  50 %");
    assert_string_equal(progress_bar(1, bar), "[##############################] 100 %");
    assert_string_equal(progress_bar(-1, bar), "[                              ]   0 %");
    assert_string_equal(progress_bar(7, bar), "[##############################] 100 %");
    assert_string_equal(progress_bar(0.0 / 0.0, bar), "[                              ]   0 %");
}

static void progress_does_not_wait_for_a_reader(void **state) {
    (void)state;
    int ends[2];
    char bytes[4096] = {0};
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], bytes, sizeof bytes) > 0) {
    }
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0); /* a write would wait from here on */
    cli c = {.err = fdopen(ends[1], "w"), .err_terminal = true};
    assert_non_null(c.err);
    progress line;
    progress_start(&line, &c);
    progress_show(&line, "half of it");
    assert_false(line.shown);
    while (read(ends[0], bytes, sizeof bytes) > 0) {
    }
    progress_show(&line, "half of it");
    assert_true(line.shown);
    progress_end(&line);
    ssize_t got = read(ends[0], bytes, sizeof bytes - 1);
    assert_true(got > 0);
    bytes[got] = '\0';
    assert_string_equal(bytes, "\rhalf of it\x1b[K\r\x1b[K");
    (void)fclose(c.err);
    (void)close(ends[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_is_one_line_that_says_where),
        cmocka_unit_test(an_error_of_the_owner_is_told_where),
        cmocka_unit_test(a_bar_fills_with_its_share),
        cmocka_unit_test(progress_does_not_wait_for_a_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
