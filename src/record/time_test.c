#include "record_testing.h"

#include <time.h>

static void check_time(const char *text, int64_t wanted) {
    int64_t ns = 42;
    if (!record_parse_time(text, strlen(text), &ns) || ns != wanted) {
        fail_msg("\"%s\" became %lld, not %lld", text, (long long)ns, (long long)wanted);
    }
}

static void record_format_time_of_known_times_is_known_text(void **state) {
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } known[] = {
        {0, "1970-01-01T00:00:00.000000000Z"},
        {-1, "1969-12-31T23:59:59.999999999Z"},
        {1723161255342000000, "2024-08-08T23:54:15.342000000Z"},
        {951782400000000000, "2000-02-29T00:00:00.000000000Z"},
        {951868799999999999, "2000-02-29T23:59:59.999999999Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
        {INT64_MIN, "1677-09-21T00:12:43.145224192Z"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        char text[40];
        assert_int_equal(record_format_time(known[i].ns, text), 30);
        assert_string_equal(text, known[i].text);
        check_time(known[i].text, known[i].ns);
    }
}

static void record_format_time_of_every_day_agrees_with_the_c_library(void **state) {
    (void)state;
    const int64_t day = 86400 * NS_PER_SECOND;
    for (int64_t days = INT64_MIN / day; days <= INT64_MAX / day; days++) {
        char text[40];
        char wanted[64];
        time_t seconds = (time_t)(days * 86400);
        struct tm parts;
        assert_non_null(gmtime_r(&seconds, &parts));
        assert_int_not_equal(
            strftime(wanted, sizeof wanted, "%Y-%m-%dT%H:%M:%S.000000000Z", &parts), 0);
        (void)record_format_time(days * day, text);
        assert_string_equal(text, wanted);
        check_time(text, days * day);
        text[10] = '\0';
        check_time(text, days * day);
    }
}

static void record_times_survive_the_way_through_text(void **state) {
    (void)state;
    uint64_t seed = 41;
    for (int round = 0; round < 300000; round++) {
        char text[40];
        int64_t ns = (int64_t)random_next(&seed);
        (void)record_format_time(ns, text);
        check_time(text, ns);
        (void)snprintf(text, sizeof text, "%lld", (long long)ns);
        check_time(text, ns);
    }
}

static void record_parse_time_reads_its_forms(void **state) {
    (void)state;
    const int64_t base = 1723161255000000000; /* 2024-08-08T23:54:15Z */
    check_time("2024-08-08T23:54:15Z", base);
    check_time("2024-08-08t23:54:15z", base);
    check_time("2024-08-08 23:54:15", base);
    check_time("2024-08-08T23:54:15", base);
    check_time("2024-08-08 23:54:15Z", base);
    check_time("2024-08-08 23:54:15.3", base + 300000000);
    check_time("2024-08-08 23:54:15.342", base + 342000000);
    check_time("2024-08-08 23:54:15.000000001Z", base + 1);
    check_time("2024-08-08 23:54:15.123456789000Z", base + 123456789);
    check_time("2024-08-09T07:54:15+08:00", base);
    check_time("2024-08-08T19:54:15-04:00", base);
    check_time("2024-08-08T23:54:15.5+00:00", base + 500000000);
    check_time("2024-08-09T23:53:15+23:59", base);
    check_time("2024-08-08", base - base % (86400 * NS_PER_SECOND));
    check_time("0", 0);
    check_time("-1", -1);
    check_time("1723161255342000000", 1723161255342000000);
    check_time("9223372036854775807", INT64_MAX);
    check_time("-9223372036854775808", INT64_MIN);
    check_time("2262-04-12T00:47:16.854775807+01:00", INT64_MAX);
    check_time("1677-09-20T23:12:43.145224192-01:00", INT64_MIN);
}

static void record_parse_time_refuses_the_rest(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "now",
        "-",
        "+1",
        "1.5",
        "1 ",
        "0x10",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999",
        "2024-13-01",
        "2024-00-01",
        "2024-02-30",
        "2023-02-29",
        "1900-02-29",
        "2024-04-31",
        "2024-01-00",
        "2024-01-32",
        "2024-1-1",
        "24-01-01",
        "2024/01/01",
        "2024-01-01T",
        "2024-01-01 ",
        "2024-01-01Z",
        "2024-01-01T24:00:00",
        "2024-01-01T23:60:00",
        "2024-01-01T23:59:60",
        "2024-01-01T23:59",
        "2024-01-01T235900",
        "2024-01-01T23:59:00.",
        "2024-01-01T23:59:00.Z",
        "2024-01-01T23:59:00,5",
        "2024-01-01T23:59:00.1234567891",
        "2024-01-01T23:59:00+24:00",
        "2024-01-01T23:59:00+01:60",
        "2024-01-01T23:59:00+0100",
        "2024-01-01T23:59:00+1:00",
        "2024-01-01T23:59:00ZZ",
        "2024-01-01T23:59:00Z ",
        " 2024-01-01T23:59:00Z",
        "2024-01-01T23:59:00 Z",
        "2024-01-01X23:59:00",
        "2262-04-11T23:47:16.854775808Z",
        "1677-09-21T00:12:43.145224191Z",
        "1677-09-20",
        "2262-04-12",
        "9999-12-31",
        "0000-01-01",
        "2262-04-11T23:47:16.854775807-00:01",
        "-2024-01-01",
        "2024-01--1",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t ns;
        if (record_parse_time(bad[i], strlen(bad[i]), &ns)) {
            fail_msg("\"%s\" was taken for %lld", bad[i], (long long)ns);
        }
    }
    int64_t ns;
    assert_false(record_parse_time("2024-01-01\0", 11, &ns));
}

/* Whatever is read is written and read back the same. */
static void record_parse_time_of_mutated_text_is_refused_or_means_one_time(void **state) {
    (void)state;
    static const char *const starts[] = {"2024-08-08T23:54:15.342000000Z",
                                         "2024-08-09T07:54:15+08:00", "2024-08-08 23:54:15",
                                         "1723161255342000000", "2024-02-29"};
    static const char alphabet[] = "0123456789-+:.TZ tz\0\x80";
    uint64_t seed = 42;
    size_t read = 0;
    for (int round = 0; round < 100000; round++) {
        char text[64];
        char again[40];
        const char *start = starts[random_below(&seed, COUNT_OF(starts))];
        size_t size = strlen(start);
        memcpy(text, start, size);
        for (size_t changes = 1 + random_below(&seed, 3); changes > 0; changes--) {
            char c = alphabet[random_below(&seed, sizeof alphabet - 1)];
            size_t at = random_below(&seed, size);
            switch (random_below(&seed, 4)) {
            case 0:
                size = at + 1;
                break;
            case 1:
                memmove(text + at + 1, text + at, size - at);
                size++;
                text[at] = c;
                break;
            default:
                text[at] = c;
                break;
            }
        }
        /* A copy of exactly this size, so that a sanitizer sees a read beyond it. */
        char *exact = malloc(size);
        assert_non_null(exact);
        memcpy(exact, text, size);
        int64_t ns;
        bool ok = record_parse_time(exact, size, &ns);
        free(exact);
        if (ok) {
            int64_t back;
            read++;
            assert_true(record_parse_time(again, record_format_time(ns, again), &back));
            assert_true(back == ns);
        }
    }
    assert_in_range(read, 1000, 90000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_format_time_of_known_times_is_known_text),
        cmocka_unit_test(record_format_time_of_every_day_agrees_with_the_c_library),
        cmocka_unit_test(record_times_survive_the_way_through_text),
        cmocka_unit_test(record_parse_time_reads_its_forms),
        cmocka_unit_test(record_parse_time_refuses_the_rest),
        cmocka_unit_test(record_parse_time_of_mutated_text_is_refused_or_means_one_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
