#include "cli/result_fixture.h"

#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

static int begin(void **state) {
    (void)state;
    fixture_begin();
    return 0;
}

static int end(void **state) {
    (void)state;
    fixture_end();
    return 0;
}

static void expect(fixture_stream *s, result_format format, int width, const char *wanted) {
    result_options options = {.format = format, .width = width};
    tape_status status;
    tape_error error = {0};
    char *text = fixture_write(s, &options, NULL, &status, &error);
    assert_string_equal(text, wanted);
    assert_int_equal(status, TAPE_OK);
    assert_int_equal(s->released, s->count + 1);
    free(text);
}

static const char all_json[] =
    "{\"int\":-9223372036854775808,\"bool\":true,\"text\":\"a,\",\"binary\":\"YSw=\",\"view\":"
    "\"one\","
    "\"decimal\":-0.05,\"time\":\"1969-12-31T23:59:59.999999999Z\",\"interval\":\"1 year 2 months "
    "3 "
    "days 00:00:01.500\",\"fixed\":\"YWI=\",\"list\":[0,1],\"large list\":[0,1],\"pair\":[0,1],"
    "\"struct\":{\"x\":0.5,\"y\":true},\"map\":{\"0\":0,\"1\":1},\"enum\":\"large\",\"sparse\":10,"
    "\"dense\":10}\n"
    "{\"int\":-1,\"bool\":false,\"text\":\"\",\"binary\":\"\",\"view\":\"\",\"decimal\":12345.67,"
    "\"time\":\"1970-01-01T00:00:00.000000000Z\",\"interval\":\"00:00:00\",\"fixed\":\"Y2Q=\","
    "\"list\":[],\"large list\":[],\"pair\":[2,3],\"struct\":{\"x\":1.5,\"y\":false},\"map\":{},"
    "\"enum\":\"small\",\"sparse\":\"\",\"dense\":\"\"}\n"
    "{\"int\":null,\"bool\":null,\"text\":null,\"binary\":null,\"view\":null,\"decimal\":null,"
    "\"time\":null,\"interval\":null,\"fixed\":null,\"list\":null,\"large "
    "list\":null,\"pair\":null,"
    "\"struct\":null,\"map\":null,\"enum\":null,\"sparse\":null,\"dense\":null}\n"
    "{\"int\":9223372036854775807,\"bool\":true,\"text\":\"\xc3\xa9z\",\"binary\":\"w6l6\","
    "\"view\":\"bytes and more\",\"decimal\":1.00,\"time\":\"2024-08-08T23:54:15.342000000Z\","
    "\"interval\":\"-1 month -00:00:00.000000001\",\"fixed\":\"Z2g=\",\"list\":[2,3,4],"
    "\"large list\":[2,3,4],\"pair\":[6,7],\"struct\":{\"x\":3.5,\"y\":true},"
    "\"map\":{\"2\":2,\"3\":3,\"4\":4},\"enum\":\"large\",\"sparse\":13,\"dense\":13}\n";

static void json_has_every_layout(void **state) {
    (void)state;
    fixture_stream s = {
        .schema = fixture_all_schema(), .batches = {fixture_all_plain()}, .count = 1};
    expect(&s, RESULT_JSON, 0, all_json);
}

static void json_of_sliced_arrays_is_the_same(void **state) {
    (void)state;
    fixture_stream s = {
        .schema = fixture_all_schema(), .batches = {fixture_all_sliced()}, .count = 1};
    expect(&s, RESULT_JSON, 0, all_json);
}

static void a_batch_that_is_itself_a_slice_shows_its_rows_only(void **state) {
    (void)state;
    fixture_stream s = {
        .schema = fixture_all_schema(), .batches = {fixture_all_sliced()}, .count = 1};
    s.batches[0]->offset = 3;
    s.batches[0]->length = 1;
    expect(&s, RESULT_JSON, 0, strstr(all_json, "{\"int\":9223372036854775807"));
}

/* Two columns, two batches: what the writers do between values. */
static fixture_stream two_batches(void) {
    static const int64_t numbers[] = {1, -20, 300};
    static const int32_t offsets[] = {0, 3, 3, 14};
    static const char bytes[] = "a\"bline1\nline2";
    static const uint8_t valid[] = {0x5};
    const void *number[2] = {NULL, numbers};
    const void *text[3] = {valid, offsets, bytes};
    const void *none[1] = {NULL};
    struct ArrowSchema *columns[2] = {fixture_schema("l", "n", 0, NULL),
                                      fixture_schema("u", "the text", 0, NULL)};
    struct ArrowArray *arrays[2] = {fixture_array(3, 0, 2, number, 0, NULL),
                                    fixture_array(3, 0, 3, text, 0, NULL)};
    fixture_stream s = {.schema = fixture_schema("+s", "", 2, columns), .count = 2};
    s.batches[0] = fixture_array(2, 0, 1, none, 2, arrays);
    s.batches[1] = fixture_array(1, 2, 1, none, 2, arrays);
    return s;
}

static void csv_has_a_header_and_quotes(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    expect(&s, RESULT_CSV, 0, "n,the text\n1,\"a\"\"b\"\n-20,\n300,\"line1\nline2\"\n");
}

static void a_table_is_aligned_and_counts_its_rows(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    expect(&s, RESULT_TABLE, 0,
           "   n | the text\n"
           "-----+----------\n"
           "   1 | a\"b\n"
           " -20 | NULL\n"
           " 300 | line1\n"
           "     | line2\n"
           "(3 rows)\n");
}

static void a_table_without_rows_has_a_header(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    s.count = 0;
    expect(&s, RESULT_TABLE, 0, " n | the text\n---+----------\n(0 rows)\n");
}

static void lines_have_a_value_each(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    expect(&s, RESULT_LINE, 0,
           "       n = 1\n"
           "the text = a\"b\n"
           "\n"
           "       n = -20\n"
           "the text = NULL\n"
           "\n"
           "       n = 300\n"
           "the text = line1\n"
           "           line2\n");
}

static void a_table_fits_its_terminal(void **state) {
    (void)state;
    static const int32_t offsets[] = {0, 30};
    static const char bytes[] = "\xc3\xa9\xe4\xb8\xad"
                                "3456789012345678901234567";
    const void *text[3] = {NULL, offsets, bytes};
    const void *none[1] = {NULL};
    struct ArrowSchema *columns[3] = {fixture_schema("u", "a", 0, NULL),
                                      fixture_schema("u", "b", 0, NULL),
                                      fixture_schema("u", "c", 0, NULL)};
    struct ArrowArray *array = fixture_array(1, 0, 3, text, 0, NULL);
    struct ArrowArray *arrays[3] = {array, array, array};
    fixture_stream s = {.schema = fixture_schema("+s", "", 3, columns), .count = 1};
    s.batches[0] = fixture_array(1, 0, 1, none, 3, arrays);
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
    expect(&s, RESULT_TABLE, 31,
           " a       | b       | c\n"
           "---------+---------+---------\n"
           " \xc3\xa9\xe4\xb8\xad"
           "345\xe2\x80\xa6 | \xc3\xa9\xe4\xb8\xad"
           "345\xe2\x80\xa6 | "
           "\xc3\xa9\xe4\xb8\xad"
           "345\xe2\x80\xa6\n"
           "(1 row)\n");
    expect(&s, RESULT_TABLE, 18,
           " a      | b\n"
           "--------+--------\n"
           " \xc3\xa9\xe4\xb8\xad"
           "34\xe2\x80\xa6 | \xc3\xa9\xe4\xb8\xad"
           "34\xe2\x80\xa6\n"
           "(1 row; 1 column not shown: use a wider terminal or --format csv)\n");
    assert_non_null(setlocale(LC_CTYPE, "C"));
}

static void a_terminal_gets_no_control_characters(void **state) {
    (void)state;
    static const int32_t offsets[] = {0, 8};
    const void *text[3] = {NULL, offsets, "\x1b[31m\x07\xc2\x9b"};
    const void *none[1] = {NULL};
    struct ArrowSchema *column = fixture_schema("u", "a", 0, NULL);
    struct ArrowArray *array = fixture_array(1, 0, 3, text, 0, NULL);
    fixture_stream s = {.schema = fixture_schema("+s", "", 1, &column), .count = 1};
    s.batches[0] = fixture_array(1, 0, 1, none, 1, &array);
    expect(&s, RESULT_TABLE, 0, " a\n--------------------\n \\x1b[31m\\x07\\u009b\n(1 row)\n");
}

static void json_makes_repeated_names_different(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    struct ArrowSchema *columns[2] = {fixture_schema("l", "x", 0, NULL),
                                      fixture_schema("u", "x", 0, NULL)};
    s.schema = fixture_schema("+s", "", 2, columns);
    s.count = 1;
    expect(&s, RESULT_JSON, 0, "{\"x\":1,\"x_1\":\"a\\\"b\"}\n{\"x\":-20,\"x_1\":null}\n");
}

static void json_has_null_for_what_is_no_number(void **state) {
    (void)state;
    static const double numbers[] = {0.0 / 0.0, 1.0 / 0.0, -0.0};
    const void *buffers[2] = {NULL, numbers};
    const void *none[1] = {NULL};
    struct ArrowSchema *column = fixture_schema("g", "x", 0, NULL);
    struct ArrowArray *array = fixture_array(3, 0, 2, buffers, 0, NULL);
    fixture_stream s = {.schema = fixture_schema("+s", "", 1, &column), .count = 1};
    s.batches[0] = fixture_array(3, 0, 1, none, 1, &array);
    expect(&s, RESULT_JSON, 0, "{\"x\":null}\n{\"x\":null}\n{\"x\":-0.0}\n");
    s.batches[0] = fixture_array(3, 0, 1, none, 1, &array);
    static const int64_t endless[] = {INT64_MAX, -INT64_MAX, 0};
    array->buffers[1] = endless;
    column->format = "tsu:UTC";
    expect(&s, RESULT_JSON, 0,
           "{\"x\":\"infinity\"}\n{\"x\":\"-infinity\"}\n"
           "{\"x\":\"1970-01-01T00:00:00.000000000Z\"}\n");
}

static tape_status write_error(fixture_stream *s, result_format format, char **text,
                               tape_error *error) {
    result_options options = {.format = format};
    tape_status status;
    *text = fixture_write(s, &options, NULL, &status, error);
    return status;
}

static void an_error_of_the_stream_comes_through_with_its_code(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    tape_error error = {0};
    char *text;
    s.fail_with = ETIMEDOUT;
    s.fail_text = "too slow";
    assert_int_equal(write_error(&s, RESULT_TABLE, &text, &error), TAPE_TIMEOUT);
    assert_string_equal(error.text, "too slow");
    assert_int_equal(s.released, 3);
    assert_null(strstr(text, "rows)")); /* it is not whole */
    free(text);
    s.fail_with = EIO;
    assert_int_equal(write_error(&s, RESULT_CSV, &text, &error), TAPE_SQL);
    free(text);
}

static void a_type_that_cannot_be_written_is_refused_by_name(void **state) {
    (void)state;
    static const char *const formats[] = {"?", "+r", "d:10", "d:50,2,256", "tsx:", "+us:a", "w:x"};
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        struct ArrowSchema *column = fixture_schema(formats[i], "odd one", 0, NULL);
        fixture_stream s = {.schema = fixture_schema("+s", "", 1, &column)};
        tape_error error = {0};
        char *text;
        assert_int_equal(write_error(&s, RESULT_JSON, &text, &error), TAPE_INVALID);
        assert_non_null(strstr(error.text, "odd one"));
        assert_string_equal(text, "");
        free(text);
    }
}

static void a_type_nested_too_deep_is_refused(void **state) {
    (void)state;
    struct ArrowSchema *inner = fixture_schema("i", "x", 0, NULL);
    for (int depth = 1; depth < 200; depth++) {
        inner = fixture_schema("+l", "x", 1, &inner);
    }
    fixture_stream s = {.schema = fixture_schema("+s", "", 1, &inner)};
    tape_error error = {0};
    char *text;
    assert_int_equal(write_error(&s, RESULT_JSON, &text, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "nested"));
    free(text);
}

static void an_array_that_does_not_fit_its_schema_is_refused(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    tape_error error = {0};
    char *text;
    s.batches[0]->children[1]->n_buffers = 2;
    assert_int_equal(write_error(&s, RESULT_CSV, &text, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "the text"));
    assert_int_equal(s.released, 2);
    free(text);
}

static void a_full_disk_is_told(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    struct ArrowArrayStream stream = fixture_open(&s);
    result_options options = {.format = RESULT_CSV};
    tape_error error = {0};
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(result_write(&stream, &options, full, NULL, &error), TAPE_NO_SPACE);
    assert_int_equal(error.os_errno, ENOSPC);
    assert_int_equal(s.released, 3);
    (void)fclose(full);
}

static bool after_one(void *context) {
    return ++*(int *)context > 1;
}

static void a_result_can_be_stopped_between_batches(void **state) {
    (void)state;
    fixture_stream s = two_batches();
    struct ArrowArrayStream stream = fixture_open(&s);
    int asked = 0;
    result_options options = {.format = RESULT_CSV, .stop = after_one, .stop_context = &asked};
    uint64_t rows = 0;
    tape_error error = {0};
    FILE *out = fopen("/dev/null", "w");
    assert_non_null(out);
    assert_int_equal(result_write(&stream, &options, out, &rows, &error), TAPE_CANCELLED);
    assert_int_equal(rows, 2);
    (void)fclose(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_every_layout),
        cmocka_unit_test(json_of_sliced_arrays_is_the_same),
        cmocka_unit_test(a_batch_that_is_itself_a_slice_shows_its_rows_only),
        cmocka_unit_test(csv_has_a_header_and_quotes),
        cmocka_unit_test(a_table_is_aligned_and_counts_its_rows),
        cmocka_unit_test(a_table_without_rows_has_a_header),
        cmocka_unit_test(lines_have_a_value_each),
        cmocka_unit_test(a_table_fits_its_terminal),
        cmocka_unit_test(a_terminal_gets_no_control_characters),
        cmocka_unit_test(json_makes_repeated_names_different),
        cmocka_unit_test(json_has_null_for_what_is_no_number),
        cmocka_unit_test(an_error_of_the_stream_comes_through_with_its_code),
        cmocka_unit_test(a_type_that_cannot_be_written_is_refused_by_name),
        cmocka_unit_test(a_type_nested_too_deep_is_refused),
        cmocka_unit_test(an_array_that_does_not_fit_its_schema_is_refused),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(a_result_can_be_stopped_between_batches),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
