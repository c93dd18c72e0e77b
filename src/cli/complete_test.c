#include "cli/complete.h"

#include <setjmp.h>
#include <cmocka.h>

static const char *const commands[] = {".mode", ".param", ".read", ".schema", ".tables", ".timer"};

static completions at(const char *line, bool begins) {
    completions c;
    complete_line(&c, line, begins, commands, COUNT_OF(commands));
    return c;
}

static bool has(const completions *c, const char *word) {
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(complete_word(c, i), word) == 0) {
            return true;
        }
    }
    return false;
}

static void expect_insert(const char *line, const char *wanted) {
    completions c = at(line, true);
    assert_string_equal(c.insert, wanted);
    completions_deinit(&c);
}

static void the_only_word_is_inserted_with_a_space(void **state) {
    (void)state;
    expect_insert("SELECT trade_i", "trade_id ");
    expect_insert("SELECT * FROM instrum", "instruments");
    expect_insert("SELECT * FROM tick", "ticks ");
    expect_insert("FROM oh", "ohlc(");
    expect_insert("FROM tape_s", "tape_status() ");
    expect_insert("SELECT TRADE_I", "trade_id ");
    expect_insert("SELECT nothing_begins_so", "");
}

static void keywords_come_in_the_case_typed(void **state) {
    (void)state;
    expect_insert("sel", "select ");
    expect_insert("SEL", "SELECT ");
    expect_insert("SELECT 1 qual", "qualify ");
    completions c = at("SELECT 1 FROM trades ", true);
    assert_false(has(&c, "WHERE"));
    completions_deinit(&c);
}

static void what_several_agree_on_is_inserted(void **state) {
    (void)state;
    completions c = at("SELECT order_t", true);
    assert_string_equal(c.insert, "order_type ");
    completions_deinit(&c);
    c = at("SELECT bid", true);
    assert_string_equal(c.insert, "bid_");
    assert_int_equal(c.count, 2);
    completions_deinit(&c);
    c = at("SELECT bid_", true);
    assert_string_equal(c.insert, "");
    assert_true(has(&c, "bid_price") && has(&c, "bid_volume"));
    completions_deinit(&c);
}

static void tables_follow_from_and_join_and_quotes(void **state) {
    (void)state;
    static const char *const lines[] = {"FROM ", "SELECT 1\nfrom  ", "FROM orders JOIN ",
                                        "FROM latest('"};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        completions c = at(lines[i], true);
        assert_true(has(&c, "trades") && has(&c, "orders_history"));
        assert_false(has(&c, "trades_history"));
        assert_false(has(&c, "price"));
        assert_int_equal(has(&c, "vwap("), lines[i][strlen(lines[i]) - 1] != '\'');
        completions_deinit(&c);
    }
}

static void a_dot_is_followed_by_columns(void **state) {
    (void)state;
    completions c = at("SELECT t.", true);
    assert_true(has(&c, "price") && has(&c, "balance"));
    assert_false(has(&c, "trades"));
    completions_deinit(&c);
    c = at("SELECT accounts.", true);
    assert_true(has(&c, "balance"));
    assert_false(has(&c, "price"));
    completions_deinit(&c);
    expect_insert("SELECT accounts_history.bal", "balance ");
}

static void commands_and_what_follows_them(void **state) {
    (void)state;
    expect_insert(".s", ".schema ");
    expect_insert(".t", "");
    expect_insert(".schema acc", "accounts");
    expect_insert(".schema ticks more", "");
    expect_insert(".mode l", "line ");
    expect_insert(".timer of", "off ");
    expect_insert(".param s", "set ");
    expect_insert(".nonsense x", "");
    completions c = at(".read dir/na", true);
    assert_true(c.files);
    assert_string_equal(c.prefix, "dir/na");
    completions_deinit(&c);
    c = at(".5 + pri", false); /* within a statement */
    assert_string_equal(c.insert, "price");
    completions_deinit(&c);
}

static void long_lines_are_taken(void **state) {
    (void)state;
    char line[4096];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    completions c = at(line, true);
    assert_int_equal(c.count, 0);
    completions_deinit(&c);
    line[0] = '.';
    c = at(line, true);
    assert_int_equal(c.count, 0);
    completions_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_only_word_is_inserted_with_a_space),
        cmocka_unit_test(keywords_come_in_the_case_typed),
        cmocka_unit_test(what_several_agree_on_is_inserted),
        cmocka_unit_test(tables_follow_from_and_join_and_quotes),
        cmocka_unit_test(a_dot_is_followed_by_columns),
        cmocka_unit_test(commands_and_what_follows_them),
        cmocka_unit_test(long_lines_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
