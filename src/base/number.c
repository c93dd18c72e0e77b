/* number.c: doubles as decimal text, both ways, whatever the locale of the program.
 *
 * Exactness. An integer below 2^53 and a power of ten up to 10^22 are doubles without error, so
 * their quotient or product, rounded once, is the double nearest to the decimal they stand for.
 * Both ways have a short path that rests on this and a long one through the C library.
 *
 * Form. Plain digits from 0.000001 up to 17 digits before the point, else d.ddde+XX. Zero with a
 * sign is "-0.0", because readers of JSON take "-0" for an integer. All of it is valid JSON, but
 * for nan, inf and -inf.
 *
 * Threads: no state but a constant locale. */
#include "base/base.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define DIGITS_MAX 17       /* enough for every double */
#define PLAIN_DIGITS_MAX 17 /* before the point, without an exponent */
#define PLAIN_ZEROS_MAX 5   /* after the point, before the first digit */
#define SHORT_MAX 1e15      /* decimals of 15 digits survive a double */
#define EXACT_MAX (UINT64_C(1) << 53)
#define NUMBER_TEXT_MAX 512 /* longer text is not a number anyone wrote */

static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                              1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                              1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define TENS_MAX ((int)COUNT_OF(tens) - 1)

static locale_t plain_locale;
static pthread_once_t plain_locale_once = PTHREAD_ONCE_INIT;

static void make_plain_locale(void) {
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    ASSERT(plain_locale != (locale_t)0);
}

static locale_t get_plain_locale(void) {
    (void)pthread_once(&plain_locale_once, make_plain_locale);
    return plain_locale;
}

/* --- writing
 * --------------------------------------------------------------------------------------- */

size_t number_format_u64(uint64_t value, char *out) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

/* A number as 0.DIGITS * 10^point, without trailing zeros. */
typedef struct decimal {
    char digits[DIGITS_MAX + 8];
    int count;
    int point;
} decimal;

static void decimal_trim(decimal *d) {
    while (d->count > 1 && d->digits[d->count - 1] == '0') {
        d->count--;
    }
}

static char *put(char *out, const char *text, int size) {
    memcpy(out, text, (size_t)size);
    return out + size;
}

static char *put_zeros(char *out, int count) {
    memset(out, '0', (size_t)count);
    return out + count;
}

static char *lay_out(const decimal *d, char *out) {
    if (d->point > PLAIN_DIGITS_MAX || d->point < -PLAIN_ZEROS_MAX) {
        int exponent = d->point - 1;
        *out++ = d->digits[0];
        if (d->count > 1) {
            *out++ = '.';
            out = put(out, d->digits + 1, d->count - 1);
        }
        *out++ = 'e';
        *out++ = exponent < 0 ? '-' : '+';
        return out + number_format_u64((uint64_t)abs(exponent), out);
    }
    if (d->point <= 0) {
        out = put(out, "0.", 2);
        out = put_zeros(out, -d->point);
        return put(out, d->digits, d->count);
    }
    if (d->point >= d->count) {
        out = put(out, d->digits, d->count);
        return put_zeros(out, d->point - d->count);
    }
    out = put(out, d->digits, d->point);
    *out++ = '.';
    return put(out, d->digits + d->point, d->count - d->point);
}

/* Numbers of up to 15 digits, by trying how many decimals they have. The product may be off by one
 * unit in the last place, which is less than a half, so rounding finds the only candidate. */
static bool short_decimal(double value, decimal *d) {
    for (int decimals = 0; decimals <= TENS_MAX; decimals++) {
        double scaled = value * tens[decimals];
        if (scaled >= SHORT_MAX) {
            return false;
        }
        uint64_t rounded = (uint64_t)(scaled + 0.5);
        if ((double)rounded / tens[decimals] == value) {
            d->count = (int)number_format_u64(rounded, d->digits);
            d->point = d->count - decimals;
            decimal_trim(d);
            return true;
        }
    }
    return false;
}

static double decimal_value(const decimal *d) {
    char text[48];
    (void)snprintf(text, sizeof text, "%.*se%d", d->count, d->digits, d->point - d->count);
    return strtod_l(text, NULL, get_plain_locale());
}

/* The decimal one unit of its last digit up. */
static void decimal_increment(decimal *d) {
    int i = d->count - 1;
    while (i >= 0 && d->digits[i] == '9') {
        d->digits[i--] = '0';
    }
    if (i >= 0) {
        d->digits[i]++;
        return;
    }
    d->digits[0] = '1';
    d->point++;
}

/* The nearest decimal of `count` digits. */
static void decimal_nearest(double value, int count, decimal *d) {
    char text[48];
    (void)snprintf(text, sizeof text, "%.*e", count - 1, value);
    char *exponent = strchr(text, 'e');
    d->count = 0;
    for (const char *at = text; at < exponent; at++) {
        if (*at >= '0' && *at <= '9') {
            d->digits[d->count++] = *at;
        }
    }
    d->point = (int)strtol(exponent + 1, NULL, 10) + 1;
}

/* Any finite positive number: the fewest digits that read back. The nearest decimal is the only
 * candidate of its length, but at a power of two, where the doubles below are closer than those
 * above and a decimal above may read back that is not the nearest. */
static void any_decimal(double value, decimal *d) {
    int unused;
    bool power_of_two = frexp(value, &unused) == 0.5;
    locale_t before = uselocale(get_plain_locale());
    for (int count = value < DBL_MIN ? 1 : DBL_DIG; count <= DIGITS_MAX; count++) {
        decimal_nearest(value, count, d);
        if (decimal_value(d) == value) {
            break;
        }
        if (power_of_two) {
            decimal_increment(d);
            if (decimal_value(d) == value) {
                break;
            }
        }
    }
    (void)uselocale(before);
    decimal_trim(d);
}

size_t number_format_f64(double value, char out[32]) {
    char *at = out;
    if (isnan(value)) {
        memcpy(out, "nan", 4);
        return 3;
    }
    if (signbit(value)) {
        *at++ = '-';
        value = -value;
    }
    if (isinf(value)) {
        at = put(at, "inf", 3);
    } else if (value == 0) {
        at = at > out ? put(at, "0.0", 3) : put(at, "0", 1);
    } else {
        decimal d;
        if (!short_decimal(value, &d)) {
            any_decimal(value, &d);
        }
        at = lay_out(&d, at);
    }
    *at = '\0';
    return (size_t)(at - out);
}

/* --- reading
 * --------------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool number_parse_u64(const char *text, size_t size, uint64_t *out) {
    uint64_t value = 0;
    if (size == 0) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (!is_digit(text[i]) || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

static bool word_is(const char *text, size_t size, const char *word) {
    return strlen(word) == size && strncasecmp(text, word, size) == 0;
}

static bool parse_special(const char *text, size_t size, bool negative, double *out) {
    if (word_is(text, size, "nan")) {
        *out = NAN;
        return true;
    }
    if (word_is(text, size, "inf") || word_is(text, size, "infinity")) {
        *out = negative ? -HUGE_VAL : HUGE_VAL;
        return true;
    }
    return false;
}

static bool parse_long(const char *text, size_t size, double *out) {
    char copy[NUMBER_TEXT_MAX + 1];
    if (size > NUMBER_TEXT_MAX) {
        return false;
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    *out = strtod_l(copy, NULL, get_plain_locale());
    return isfinite(*out);
}

/* What a number is made of: mantissa * 10^exponent, if the digits fit (`exact`). */
typedef struct parts {
    uint64_t mantissa;
    int exponent;
    bool exact;
} parts;

#define EXPONENT_LIMIT 100000 /* far beyond any double; keeps sums in range */

/* The exponent after 'e'; returns the end, or NULL when there are no digits. */
static const char *scan_exponent(const char *at, const char *end, int *exponent) {
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) {
        at++;
    }
    if (at == end || !is_digit(*at)) {
        return NULL;
    }
    int value = 0;
    for (; at < end && is_digit(*at); at++) {
        value = value < EXPONENT_LIMIT ? value * 10 + (*at - '0') : value;
    }
    *exponent += negative ? -value : value;
    return at;
}

/* Checks the form of an unsigned number that is all of `text`. */
static bool scan(const char *text, size_t size, parts *p) {
    const char *at = text;
    const char *end = text + size;
    size_t digits = 0;
    bool fraction = false;
    *p = (parts){.exact = true};
    for (; at < end && (is_digit(*at) || (*at == '.' && !fraction)); at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        digits++;
        p->exact = p->exact && p->mantissa < EXACT_MAX / 10;
        if (p->exact) {
            p->mantissa = p->mantissa * 10 + (uint64_t)(*at - '0');
            p->exponent -= fraction;
        }
    }
    if (digits == 0) {
        return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at = scan_exponent(at + 1, end, &p->exponent);
    }
    return at == end;
}

bool number_parse_f64(const char *text, size_t size, double *out) {
    bool negative = size > 0 && text[0] == '-';
    bool sign = negative || (size > 0 && text[0] == '+');
    const char *number = text + sign;
    size_t length = size - sign;
    parts p;
    double value;
    if (!scan(number, length, &p)) {
        return parse_special(number, length, negative, out);
    }
    if (p.exact && p.exponent >= -TENS_MAX && p.exponent <= TENS_MAX) {
        value = (double)p.mantissa;
        value = p.exponent < 0 ? value / tens[-p.exponent] : value * tens[p.exponent];
    } else if (!parse_long(number, length, &value)) {
        return false;
    }
    *out = negative ? -value : value;
    return true;
}
