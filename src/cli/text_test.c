#include "cli/result_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static buffer out;

static const char *text(void) {
    buffer_append(&out, "", 1);
    out.size = 0;
    return (const char *)out.data;
}

static const char *f64(double value) {
    text_f64(&out, value);
    return text();
}

static const char *f32(float value) {
    text_f32(&out, value);
    return text();
}

static void numbers_are_the_shortest_that_read_back(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0.0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {61837.63, "61837.63"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {100, "100"},
        {1e15, "1000000000000000"},
        {9007199254740993.0, "9007199254740992"},
        {1e16, "10000000000000000"},
        {12345678901234567890.0, "1.2345678901234567e+19"},
        {1e300, "1e+300"},
        {0.000001, "0.000001"},
        {1e-7, "1e-7"},
        {5e-324, "5e-324"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {-INFINITY, "-inf"},
        {INFINITY, "inf"},
        {NAN, "nan"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_string_equal(f64(cases[i].value), cases[i].text);
    }
    assert_string_equal(f32(0.1f), "0.1");
    assert_string_equal(f32(16777216.0f), "16777216");
    assert_string_equal(f32(FLT_MAX), "3.4028235e+38");
}

static void every_double_reads_back(void **state) {
    (void)state;
    uint64_t random = 7;
    for (int i = 0; i < 200000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double value;
        memcpy(&value, &random, sizeof value);
        if (i % 2 == 0) { /* prices, too, not only numbers from everywhere */
            value = (double)(random >> 40) / (i % 4 == 0 ? 100 : 1e4);
        }
        if (isfinite(value)) {
            double again = strtod(f64(value), NULL);
            assert_memory_equal(&again, &value, sizeof value);
        }
    }
}

static const char *decimal(__int128 value, int scale) {
    text_decimal(&out, value, scale);
    return text();
}

static void decimals_keep_their_scale_and_every_digit(void **state) {
    (void)state;
    __int128 most = (__int128)(((unsigned __int128)1 << 127) - 1);
    assert_string_equal(decimal(0, 0), "0");
    assert_string_equal(decimal(0, 2), "0.00");
    assert_string_equal(decimal(-5, 2), "-0.05");
    assert_string_equal(decimal(123456, 3), "123.456");
    assert_string_equal(decimal(most, 0), "170141183460469231731687303715884105727");
    assert_string_equal(decimal(-most - 1, 38), "-1.70141183460469231731687303715884105728");
}

static const char *when(text_style style, int64_t seconds, uint32_t ns, bool utc) {
    text_timestamp(&out, style, seconds, ns, utc);
    return text();
}

static void times_are_rfc_3339_with_nine_decimals(void **state) {
    (void)state;
    assert_string_equal(when(TEXT_JSON, 1723161255, 342000000, false),
                        "2024-08-08T23:54:15.342000000Z");
    assert_string_equal(when(TEXT_CSV, -1, 500000000, true), "1969-12-31T23:59:59.500000000Z");
    assert_string_equal(when(TEXT_TABLE, 1723161255, 342000000, false), "2024-08-08 23:54:15.342");
    assert_string_equal(when(TEXT_TABLE, 1723161255, 0, true), "2024-08-08 23:54:15+00");
    assert_string_equal(when(TEXT_TABLE, 951782400, 1, false), "2000-02-29 00:00:00.000000001");
    assert_string_equal(when(TEXT_CSV, INT64_C(-62167219201), 0, false),
                        "-0001-12-31T23:59:59.000000000Z");
}

static void dates_run_through_the_whole_calendar(void **state) {
    (void)state;
    int64_t day = -719528; /* 0000-01-01 */
    for (int year = 0; year <= 2400; year++) {
        char first[32];
        (void)snprintf(first, sizeof first, "%04d-01-01", year);
        text_date(&out, day);
        assert_string_equal(text(), first);
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        (void)snprintf(first, sizeof first, "%04d-%s", year, leap ? "02-29" : "03-01");
        text_date(&out, day + 59);
        assert_string_equal(text(), first);
        day += 365 + leap;
    }
}

static const char *interval(int64_t months, int64_t days, int64_t ns) {
    text_interval(&out, months, days, ns);
    return text();
}

static void intervals_leave_out_what_is_zero(void **state) {
    (void)state;
    assert_string_equal(interval(14, 3, INT64_C(14706500000000)),
                        "1 year 2 months 3 days 04:05:06.500");
    assert_string_equal(interval(0, 0, 0), "00:00:00");
    assert_string_equal(interval(0, 1, 0), "1 day");
    assert_string_equal(interval(-13, 0, -1), "-1 year -1 month -00:00:00.000000001");
}

static void json_strings_escape_what_json_does_not_allow(void **state) {
    (void)state;
    text_json_string(&out, "a\"b\\c\n\r\t\x01\xc3\xa9", 11);
    assert_string_equal(text(), "\"a\\\"b\\\\c\\n\\r\\t\\u0001\xc3\xa9\"");
    text_json_string(&out, "a\0b", 3);
    assert_string_equal(text(), "\"a\\u0000b\"");
}

static const char *cell(const char *value) {
    text_csv_cell(&out, value, strlen(value));
    return text();
}

static void csv_cells_are_quoted_only_when_they_have_to_be(void **state) {
    (void)state;
    assert_string_equal(cell("plain text"), "plain text");
    assert_string_equal(cell(""), "\"\"");
    assert_string_equal(cell("a,b"), "\"a,b\"");
    assert_string_equal(cell("say \"hi\""), "\"say \"\"hi\"\"\"");
    assert_string_equal(cell("two\nlines"), "\"two\nlines\"");
    assert_string_equal(cell("\r"), "\"\r\"");
    assert_string_equal(cell(" lead"), "\" lead\"");
}

static void base64_pads_to_four(void **state) {
    (void)state;
    static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="};
    for (size_t size = 0; size < COUNT_OF(texts); size++) {
        text_base64(&out, (const uint8_t *)"foob", size);
        assert_string_equal(text(), texts[size]);
    }
}

static int deinit(void **state) {
    (void)state;
    buffer_deinit(&out);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_the_shortest_that_read_back),
        cmocka_unit_test(every_double_reads_back),
        cmocka_unit_test(decimals_keep_their_scale_and_every_digit),
        cmocka_unit_test(times_are_rfc_3339_with_nine_decimals),
        cmocka_unit_test(dates_run_through_the_whole_calendar),
        cmocka_unit_test(intervals_leave_out_what_is_zero),
        cmocka_unit_test(json_strings_escape_what_json_does_not_allow),
        cmocka_unit_test(csv_cells_are_quoted_only_when_they_have_to_be),
        cmocka_unit_test(base64_pads_to_four),
    };
    return cmocka_run_group_tests(tests, NULL, deinit);
}
