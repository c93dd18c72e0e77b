#include "cli/rows.h"

#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs of rows of one table, one after the other; then, when set, a failure. */
typedef struct runs {
    const void *rows[3];
    size_t counts[3];
    size_t count;
    size_t next;
    tape_status fail_with;
} runs;

static tape_status next_run(void *context, const void **rows, size_t *count, tape_error *error) {
    runs *r = context;
    *count = 0;
    if (r->next == r->count) {
        return r->fail_with == TAPE_OK ? TAPE_OK : error_set(error, r->fail_with, "it broke");
    }
    *rows = r->rows[r->next];
    *count = r->counts[r->next++];
    return TAPE_OK;
}

static char *print(uint16_t table, runs *r, result_format format, tape_status *status,
                   tape_error *error) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct ArrowArrayStream stream;
    rows_source source = {tape_table(table), next_run, r};
    result_options options = {.format = format};
    rows_stream(&source, &stream);
    *status = result_write(&stream, &options, out, NULL, error);
    (void)fclose(out);
    return text;
}

static void every_kind_of_field_comes_out_as_in_json_of_the_record(void **state) {
    (void)state;
    tape_order orders[3];
    memset(orders, 0, sizeof orders);
    orders[0] = (tape_order){.seq = 7,
                             .ts = INT64_C(1700000000123456789),
                             .order_id = "o,1",
                             .user_id = "alice",
                             .instrument_id = "IF2601",
                             .side = TAPE_SIDE_SELL,
                             .price = 3900.2,
                             .volume = 2};
    orders[1] = (tape_order){.seq = UINT64_MAX, .ts = -1, .price = 0.1};
    memset(orders[1].order_id, 'x', sizeof orders[1].order_id); /* no NUL */
    orders[2] = (tape_order){.seq = 9, .order_id = "\xc3\xa9"};
    runs r = {.rows = {orders, orders + 2}, .counts = {2, 1}, .count = 2};
    tape_status status;
    tape_error error = {0};
    char *text = print(TAPE_TABLE_ORDERS, &r, RESULT_JSON, &status, &error);
    assert_int_equal(status, TAPE_OK);
    char wanted[4096] = "";
    for (size_t i = 0; i < 3; i++) {
        size_t at = strlen(wanted);
        at += tape_record_to_json(TAPE_TABLE_ORDERS, &orders[i], false, wanted + at,
                                  sizeof wanted - at);
        memcpy(wanted + at, "\n", 2);
    }
    assert_string_equal(text, wanted);
    free(text);
}

static void arrays_are_lists_and_absent_text_is_null(void **state) {
    (void)state;
    tape_depth depth = {.seq = 1, .instrument_id = ""};
    for (size_t i = 0; i < 10; i++) {
        depth.bid_price[i] = (double)i + 0.5;
    }
    runs r = {.rows = {&depth}, .counts = {1}, .count = 1};
    tape_status status;
    tape_error error = {0};
    char *text = print(TAPE_TABLE_DEPTH, &r, RESULT_JSON, &status, &error);
    assert_int_equal(status, TAPE_OK);
    assert_non_null(strstr(text, "\"instrument_id\":null"));
    assert_non_null(strstr(text, "\"bid_price\":[0.5,1.5,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5]"));
    free(text);
}

static void no_rows_are_a_header_alone(void **state) {
    (void)state;
    runs r = {0};
    tape_status status;
    tape_error error = {0};
    char *text = print(TAPE_TABLE_ACCOUNTS, &r, RESULT_CSV, &status, &error);
    assert_int_equal(status, TAPE_OK);
    assert_string_equal(text, "seq,ts,user_id,balance,available,frozen,margin\n");
    free(text);
}

static void a_failure_ends_the_rows_with_its_words(void **state) {
    (void)state;
    tape_account account = {.seq = 1, .user_id = "u"};
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        runs r = {.rows = {&account},
                  .counts = {1},
                  .count = 1,
                  .fail_with = cancelled ? TAPE_CANCELLED : TAPE_CORRUPT};
        tape_status status;
        tape_error error = {0};
        char *text = print(TAPE_TABLE_ACCOUNTS, &r, RESULT_JSON, &status, &error);
        assert_int_not_equal(status, TAPE_OK);
        assert_int_equal(status == TAPE_CANCELLED, cancelled);
        assert_string_equal(error.text, "it broke");
        assert_non_null(strstr(text, "\"user_id\":\"u\""));
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_field_comes_out_as_in_json_of_the_record),
        cmocka_unit_test(arrays_are_lists_and_absent_text_is_null),
        cmocka_unit_test(no_rows_are_a_header_alone),
        cmocka_unit_test(a_failure_ends_the_rows_with_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
