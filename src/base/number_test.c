#include "base/base.h"
#include "base/base_testing.h"

#include <math.h>
#include <setjmp.h>
#include <cmocka.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

/* A JSON number, by its grammar. */
static bool is_json_number(const char *at) {
    at += *at == '-';
    if (*at == '0') {
        at++;
    } else {
        size_t digits = strspn(at, "0123456789");
        if (digits == 0) {
            return false;
        }
        at += digits;
    }
    if (*at == '.') {
        size_t digits = strspn(++at, "0123456789");
        if (digits == 0) {
            return false;
        }
        at += digits;
    }
    if (*at == 'e') {
        at++;
        at += *at == '-' || *at == '+';
        size_t digits = strspn(at, "0123456789");
        if (digits == 0) {
            return false;
        }
        at += digits;
    }
    return *at == '\0';
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void check_reads_back(double value) {
    char text[32];
    double back;
    size_t length = number_format_f64(value, text);
    assert_int_equal(length, strlen(text));
    if (!is_json_number(text) || bits_of(strtod(text, NULL)) != bits_of(value) ||
        !number_parse_f64(text, length, &back) || bits_of(back) != bits_of(value)) {
        fail_msg("%a became \"%s\"", value, text);
    }
}

/* Significant digits of a number's text. */
static size_t digit_count(const char *text) {
    char digits[64];
    size_t count = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text >= '0' && *text <= '9' && (count > 0 || *text != '0')) {
            digits[count++] = *text;
        }
    }
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    return count;
}

/* The fewest digits with which the C library finds its way back. At a power of two there may be
 * shorter ones than the nearest. */
static void check_shortest(double value) {
    char text[32];
    char other[48];
    int precision = 1;
    int unused;
    (void)number_format_f64(value, text);
    do {
        (void)snprintf(other, sizeof other, "%.*e", precision - 1, value);
    } while (strtod(other, NULL) != value && precision++ < 17);
    size_t ours = digit_count(text);
    size_t theirs = digit_count(other);
    bool power_of_two = fabs(frexp(value, &unused)) == 0.5;
    if (power_of_two ? ours > theirs : ours != theirs) {
        fail_msg("%a became \"%s\", and \"%s\" is as good", value, text, other);
    }
}

static void number_format_f64_of_known_numbers_is_known_text(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } known[] = {
        {0, "0"},
        {-0.0, "-0.0"},
        {1, "1"},
        {-1, "-1"},
        {100, "100"},
        {61837.63, "61837.63"},
        {0.02, "0.02"},
        {-0.02, "-0.02"},
        {0.1 + 0.2, "0.30000000000000004"},
        {3900.2, "3900.2"},
        {1e15, "1000000000000000"},
        {999999999999999, "999999999999999"},
        {123456789.123456, "123456789.123456"},
        {9007199254740993.0, "9007199254740992"},
        {1e16, "10000000000000000"},
        {99999999999999984, "99999999999999980"},
        {1e17, "1e+17"},
        {1e20, "1e+20"},
        {-1.5e300, "-1.5e+300"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {0.000001, "0.000001"},
        {0.0000001, "1e-7"},
        {1.5e-8, "1.5e-8"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {2.2250738585072011e-308, "2.225073858507201e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {0x1p-44, "5.684341886080802e-14"},
        {0x1p-1074 * 3, "1.5e-323"},
        {(double)INFINITY, "inf"},
        {(double)-INFINITY, "-inf"},
        {(double)NAN, "nan"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        char text[32];
        assert_int_equal(number_format_f64(known[i].value, text), strlen(known[i].text));
        assert_string_equal(text, known[i].text);
    }
}

static void number_format_f64_of_random_bit_patterns_reads_back(void **state) {
    (void)state;
    uint64_t seed = 31;
    for (int round = 0; round < 600000;) {
        uint64_t bits = random_next(&seed);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) {
            continue;
        }
        check_reads_back(value);
        if (round % 16 == 0) {
            check_shortest(value);
        }
        round++;
    }
}

static void number_format_f64_of_random_decimals_is_the_decimal(void **state) {
    (void)state;
    uint64_t seed = 32;
    for (int round = 0; round < 600000; round++) {
        /* Up to 9 digits before the point and 6 behind it, the last of those not 0. */
        char wanted[24];
        char text[32];
        size_t size = 0;
        size_t whole = 1 + random_below(&seed, 9);
        size_t decimals = random_below(&seed, 7);
        for (size_t i = 0; i < whole; i++) {
            bool leading = i == 0 && whole > 1;
            wanted[size++] =
                (char)(leading ? '1' + random_below(&seed, 9) : '0' + random_below(&seed, 10));
        }
        if (decimals > 0) {
            wanted[size++] = '.';
        }
        for (size_t i = 0; i < decimals; i++) {
            bool last = i + 1 == decimals;
            wanted[size++] =
                (char)(last ? '1' + random_below(&seed, 9) : '0' + random_below(&seed, 10));
        }
        wanted[size] = '\0';
        double value = strtod(wanted, NULL);
        double back;
        (void)number_format_f64(value, text);
        assert_string_equal(text, wanted);
        assert_true(number_parse_f64(wanted, size, &back));
        assert_true(back == value);
    }
}

static void number_format_f64_at_powers_of_two_and_their_neighbours_reads_back(void **state) {
    (void)state;
    for (int exponent = -1074; exponent < 1024; exponent++) {
        double value = ldexp(1.0, exponent);
        check_reads_back(value);
        check_shortest(value);
        check_reads_back(nextafter(value, 0));
        check_shortest(nextafter(value, 0));
        check_reads_back(nextafter(value, 1e300));
        check_shortest(nextafter(value, 1e300));
    }
    for (int exponent = -300; exponent < 300; exponent++) {
        check_reads_back(pow(10, exponent));
        check_shortest(pow(10, exponent));
    }
}

static void number_parse_f64_agrees_with_the_c_library(void **state) {
    (void)state;
    uint64_t seed = 33;
    for (int round = 0; round < 300000; round++) {
        char text[80];
        size_t size = 0;
        size_t digits = 1 + random_below(&seed, 24);
        size_t point = random_below(&seed, 26);
        static const char signs[] = {'-', '+'};
        if (random_below(&seed, 3) == 0) {
            text[size++] = signs[random_below(&seed, 2)];
        }
        for (size_t i = 0; i < digits; i++) {
            if (i == point) {
                text[size++] = '.';
            }
            text[size++] = (char)('0' + random_below(&seed, 10));
        }
        if (random_below(&seed, 2) == 0) {
            size +=
                (size_t)snprintf(text + size, sizeof text - size, "%c%d",
                                 "eE"[random_below(&seed, 2)], (int)random_below(&seed, 620) - 310);
        }
        text[size] = '\0';
        double ours;
        double theirs = strtod(text, NULL);
        assert_int_equal(number_parse_f64(text, size, &ours), isfinite(theirs));
        if (isfinite(theirs) && bits_of(ours) != bits_of(theirs)) {
            fail_msg("\"%s\" became %a, not %a", text, ours, theirs);
        }
    }
}

static void number_parse_f64_reads_whole_numbers_only(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",     " ",     "1 ",       " 1",    "1,5",    "1.2.3",  "0x10",
        "1e",   "1e+",   "e5",       ".",     "-",      "+",      "--1",
        "+-1",  "1_000", "one",      "1d",    "1f",     "infi",   "nanx",
        "1e5 ", "1.e",   "\xd9\xa1", "1e400", "-1e400", "nan(1)", "1e99999999999999999999",
    };
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"1", 1},
        {"+1", 1},
        {"-1", -1},
        {".5", 0.5},
        {"5.", 5},
        {"00012", 12},
        {"1e3", 1000},
        {"1E-3", 0.001},
        {"0e999999999999", 0},
        {"1e-400", 0},
        {"61837.63000000", 61837.63},
        {"0.02000000", 0.02},
        {"18446744073709551616", 18446744073709551616.0},
        {"9007199254740993", 9007199254740992.0},
        {"179769313486231580793728971405303415079934132710037826936173778980444968292764750946649",
         1.7976931348623158e86},
    };
    double value;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (number_parse_f64(bad[i], strlen(bad[i]), &value)) {
            fail_msg("\"%s\" was taken for %g", bad[i], value);
        }
    }
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(number_parse_f64(good[i].text, strlen(good[i].text), &value));
        assert_true(value == good[i].value);
    }
    assert_false(number_parse_f64("1\0", 2, &value));
    static char zeros[700];
    memset(zeros, '0', sizeof zeros);
    assert_true(number_parse_f64(zeros, 500, &value));
    assert_true(number_parse_f64("-0.0", 4, &value) && signbit(value));
    assert_true(number_parse_f64("NaN", 3, &value) && isnan(value));
    assert_true(number_parse_f64("-Infinity", 9, &value) && value < 0 && isinf(value));
    assert_true(number_parse_f64("+inf", 4, &value) && value > 0 && isinf(value));
}

static void number_parse_u64_reads_digits_up_to_the_largest(void **state) {
    (void)state;
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "18446744073709551616", "1e3", "99999999999999999999", "0x1"};
    uint64_t value;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(number_parse_u64(bad[i], strlen(bad[i]), &value));
    }
    assert_true(number_parse_u64("18446744073709551615", 20, &value));
    assert_true(value == UINT64_MAX);
    assert_true(number_parse_u64("007", 3, &value));
    assert_int_equal(value, 7);
    char text[20];
    assert_int_equal(number_format_u64(UINT64_MAX, text), 20);
    assert_memory_equal(text, "18446744073709551615", 20);
    assert_int_equal(number_format_u64(0, text), 1);
    assert_memory_equal(text, "0", 1);
}

/* Both long paths, in a locale whose decimal point is a comma, where the machine has one. */
static void numbers_do_not_depend_on_the_locale(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    char text[32];
    double value;
    const char *set = NULL;
    for (size_t i = 0; i < COUNT_OF(names) && set == NULL; i++) {
        set = setlocale(LC_ALL, names[i]);
    }
    if (set == NULL) {
        skip();
    }
    (void)number_format_f64(0.1 + 0.2, text);
    bool read = number_parse_f64("0.30000000000000004", 19, &value);
    (void)setlocale(LC_ALL, "C");
    assert_string_equal(text, "0.30000000000000004");
    assert_true(read && value == 0.1 + 0.2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_format_f64_of_known_numbers_is_known_text),
        cmocka_unit_test(number_format_f64_of_random_bit_patterns_reads_back),
        cmocka_unit_test(number_format_f64_of_random_decimals_is_the_decimal),
        cmocka_unit_test(number_format_f64_at_powers_of_two_and_their_neighbours_reads_back),
        cmocka_unit_test(number_parse_f64_agrees_with_the_c_library),
        cmocka_unit_test(number_parse_f64_reads_whole_numbers_only),
        cmocka_unit_test(number_parse_u64_reads_digits_up_to_the_largest),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
