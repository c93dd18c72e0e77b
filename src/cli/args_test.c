#include "cli/cli_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

bool cli_stopped(void) {
    return false;
}

static const cli_verb verb = {
    .name = "take",
    .synopsis = "DIR [FILE]",
    .words_min = 1,
    .words_max = 2,
    .options =
        {
            {"from", 0, "SEQ", ""},
            {"format", 0, "FORMAT", ""},
            {"output", 'o', "FILE", ""},
            {"follow", 'f', NULL, ""},
            {"level", 0, "LEVEL", ""},
            {"param", 0, "VALUE", "", true},
        },
};

typedef struct parsed {
    cli c;
    cli_args args;
    int status;
    char *errors;
    size_t errors_size;
    char *copies[16];
    int copied;
} parsed;

/* Parses words separated by '|'. */
static parsed *parse(const char *line) {
    parsed *p = mem_zalloc(sizeof *p);
    char *argv[16];
    char *copy = mem_strdup(line);
    char *rest = copy;
    for (char *word; line[0] != '\0' && (word = strsep(&rest, "|")) != NULL;) {
        p->copies[p->copied] = argv[p->copied] = mem_strdup(word);
        p->copied++;
    }
    free(copy);
    p->c.err = open_memstream(&p->errors, &p->errors_size);
    p->c.out = fopen("/dev/null", "w");
    assert_non_null(p->c.err);
    assert_non_null(p->c.out);
    p->status = args_parse(&p->c, &verb, p->copied, argv, &p->args);
    static char *kept[16];
    memcpy(kept, argv, sizeof kept);
    p->args.words = kept;
    (void)fflush(p->c.err);
    return p;
}

static void done(parsed *p) {
    (void)fclose(p->c.err);
    (void)fclose(p->c.out);
    free(p->errors);
    for (int i = 0; i < p->copied; i++) {
        free(p->copies[i]);
    }
    free(p);
}

static void options_stand_anywhere(void **state) {
    (void)state;
    static const char *const lines[] = {
        "--from|7|db|x.csv|--follow|-o|y",
        "db|--from=7|x.csv|-f|-oy",
        "db|x.csv|--from|7|--output=y|--follow",
        "--fro|7|--out|y|--fol|--|db|x.csv",
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        parsed *p = parse(lines[i]);
        assert_int_equal(p->status, EXIT_DONE);
        assert_int_equal(p->args.count, 2);
        assert_string_equal(p->args.words[0], "db");
        assert_string_equal(p->args.words[1], "x.csv");
        assert_string_equal(args_value(&p->args, "from"), "7");
        assert_string_equal(args_value(&p->args, "output"), "y");
        assert_string_equal(args_value(&p->args, "follow"), "");
        assert_null(args_value(&p->args, "format"));
        done(p);
    }
}

static void the_last_of_an_option_counts(void **state) {
    (void)state;
    parsed *p = parse("db|--from|1|--from|2");
    assert_string_equal(args_value(&p->args, "from"), "2");
    done(p);
}

static void words_that_only_look_like_options_are_words(void **state) {
    (void)state;
    parsed *p = parse("db|-- a comment\nSELECT 1");
    assert_int_equal(p->status, EXIT_DONE);
    assert_string_equal(p->args.words[1], "-- a comment\nSELECT 1");
    done(p);
    p = parse("db|-");
    assert_string_equal(p->args.words[1], "-");
    done(p);
    p = parse("--|--from|--follow");
    assert_int_equal(p->args.count, 2);
    assert_null(args_value(&p->args, "from"));
    done(p);
}

static void wrong_words_are_told_in_one_line(void **state) {
    (void)state;
    static const struct {
        const char *line, *told;
    } cases[] = {
        {"", "tape: USAGE: too few arguments: tape take DIR [FILE]\n"},
        {"a|b|c", "tape: USAGE: 'c' is one argument too many: tape take DIR [FILE]\n"},
        {"db|--formta|csv", "tape: USAGE: take has no option --formta: did you mean --format?\n"},
        {"db|--zzzzzz", "tape: USAGE: take has no option --zzzzzz: see `tape help take`\n"},
        {"db|-x", "tape: USAGE: take has no option -x: see `tape help take`\n"},
        {"db|--fo|x", "tape: USAGE: --fo may be several options of take: write it out\n"},
        {"db|--from", "tape: USAGE: --from needs a value: --from SEQ\n"},
        {"db|--follow=yes", "tape: USAGE: --follow takes no value\n"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        parsed *p = parse(cases[i].line);
        assert_int_equal(p->status, EXIT_USAGE);
        assert_string_equal(p->errors, cases[i].told);
        done(p);
    }
}

static void help_is_asked_for_in_place_of_all_else(void **state) {
    (void)state;
    parsed *p = parse("--help|--bogus");
    assert_int_equal(p->status, EXIT_DONE);
    assert_true(p->args.help);
    done(p);
}

static void values_are_read_whole_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},    {"18446744073709551615", true, UINT64_MAX},
        {"", false, 0},    {"18446744073709551616", false, 0},
        {"-1", false, 0},  {"+1", false, 0},
        {"1.5", false, 0}, {"12x", false, 0},
        {" 1", false, 0},  {"0x10", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        parsed *p = parse("db");
        uint64_t value = 99;
        args_set(&p->args, "from", cases[i].text);
        assert_int_equal(args_u64(&p->c, &p->args, "from", &value), cases[i].ok);
        assert_int_equal(value, cases[i].ok ? cases[i].value : 99);
        (void)fflush(p->c.err);
        assert_int_equal(p->errors_size > 0, !cases[i].ok);
        done(p);
    }
    parsed *p = parse("db|--level|durable|--format|json");
    tape_level level = TAPE_WRITTEN;
    result_format format = RESULT_CSV;
    assert_true(args_level(&p->c, &p->args, "level", &level));
    assert_int_equal(level, TAPE_DURABLE);
    assert_true(args_format(&p->c, &p->args, &format));
    assert_int_equal(format, RESULT_JSON);
    args_set(&p->args, "level", "safe");
    assert_false(args_level(&p->c, &p->args, "level", &level));
    double seconds = 0;
    args_set(&p->args, "from", "inf");
    assert_false(args_f64(&p->c, &p->args, "from", &seconds));
    args_set(&p->args, "from", "1e-3");
    assert_true(args_f64(&p->c, &p->args, "from", &seconds));
    assert_float_equal(seconds, 0.001, 0);
    done(p);
}

static void an_unknown_table_names_the_nearest(void **state) {
    (void)state;
    parsed *p = parse("db");
    assert_non_null(args_table(&p->c, "trades"));
    assert_null(args_table(&p->c, "tradse"));
    assert_null(args_table(&p->c, "nonsense"));
    (void)fflush(p->c.err);
    assert_string_equal(p->errors,
                        "tape: USAGE: there is no table 'tradse': did you mean trades?\n"
                        "tape: USAGE: there is no table 'nonsense': there are orders, trades, "
                        "accounts, positions, instruments, ticks and depth\n");
    done(p);
}

static void an_error_is_one_line_whatever_its_text(void **state) {
    (void)state;
    parsed *p = parse("db");
    assert_int_equal(cli_fail_text(&p->c, TAPE_SQL, "one\ntwo\tthree"), EXIT_FAILED);
    assert_int_equal(cli_fail_text(&p->c, TAPE_USAGE, "wrong"), EXIT_USAGE);
    (void)fflush(p->c.err);
    assert_string_equal(p->errors, "tape: SQL: one two three\ntape: USAGE: wrong\n");
    done(p);
}

static void digits_are_grouped(void **state) {
    (void)state;
    char text[32];
    assert_string_equal(group_digits(0, text), "0");
    assert_string_equal(group_digits(999, text), "999");
    assert_string_equal(group_digits(1000, text), "1,000");
    assert_string_equal(group_digits(UINT64_MAX, text), "18,446,744,073,709,551,615");
}

static void an_option_that_repeats_keeps_all_its_values(void **state) {
    (void)state;
    parsed *p = parse("db|--param|1|--param=two words|x.csv|--par|-3|--level=durable");
    assert_int_equal(p->status, EXIT_DONE);
    assert_int_equal(p->args.repeat_count, 3);
    assert_string_equal(p->args.repeats[0], "1");
    assert_string_equal(p->args.repeats[1], "two words");
    assert_string_equal(p->args.repeats[2], "-3");
    assert_string_equal(args_value(&p->args, "param"), "-3");
    assert_string_equal(args_value(&p->args, "level"), "durable");
    done(p);
    assert_true(args_takes(&verb, "param"));
    assert_false(args_takes(&verb, "params"));
}

static void an_option_repeats_only_so_often(void **state) {
    (void)state;
    static char word[] = "--param=x";
    static char dir[] = "db";
    char *argv[CLI_REPEATS_MAX + 2] = {dir};
    cli c = {.err = fopen("/dev/null", "w"), .out = fopen("/dev/null", "w")};
    cli_args args;
    for (int i = 1; i < CLI_REPEATS_MAX + 2; i++) {
        argv[i] = word;
    }
    assert_int_equal(args_parse(&c, &verb, CLI_REPEATS_MAX + 1, argv, &args), EXIT_DONE);
    for (int i = 0; i < CLI_REPEATS_MAX + 2; i++) {
        argv[i] = i == 0 ? dir : word;
    }
    assert_int_equal(args_parse(&c, &verb, CLI_REPEATS_MAX + 2, argv, &args), EXIT_USAGE);
    (void)fclose(c.err);
    (void)fclose(c.out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(the_last_of_an_option_counts),
        cmocka_unit_test(words_that_only_look_like_options_are_words),
        cmocka_unit_test(wrong_words_are_told_in_one_line),
        cmocka_unit_test(help_is_asked_for_in_place_of_all_else),
        cmocka_unit_test(values_are_read_whole_or_refused),
        cmocka_unit_test(an_unknown_table_names_the_nearest),
        cmocka_unit_test(an_error_is_one_line_whatever_its_text),
        cmocka_unit_test(digits_are_grouped),
        cmocka_unit_test(an_option_that_repeats_keeps_all_its_values),
        cmocka_unit_test(an_option_repeats_only_so_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
