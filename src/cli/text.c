/* Numbers, times and strings as text.
 *
 * Purpose: the forms the outer contract promises: the shortest decimal that reads back exactly,
 * RFC 3339 with nine decimals, JSON strings, CSV cells.
 * Invariants: (X1) strtod of text_f64's output is the same double, bit for bit, NaN payloads aside;
 * (X2) every byte of a text goes through: nothing is dropped, what must not stand as it is, is
 * escaped.
 * Threads: no state. Needs LC_NUMERIC "C", which a program that does not set it has. */
#include "cli/result_internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static size_t digits_of(uint64_t value, char out[20]) {
    size_t n = 0;
    do {
        out[19 - n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return n;
}

void text_u64(buffer *out, uint64_t value) {
    char digits[20];
    size_t n = digits_of(value, digits);
    buffer_append(out, digits + 20 - n, n);
}

void text_i64(buffer *out, int64_t value) {
    if (value < 0) {
        buffer_append(out, "-", 1);
    }
    text_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* A positive number as digits, the point after `point` of them: plain from 0.000001 up to 17 digits
 * before the point, else with an exponent, as records are written. */
static void append_digits(buffer *out, const char *digits, int count, int point) {
    static const char zeros[] = "00000000000000000";
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    if (point > 17 || point < -5) {
        buffer_append(out, digits, 1);
        buffer_append(out, ".", count > 1);
        buffer_append(out, digits + 1, (size_t)count - 1);
        buffer_printf(out, "e%+d", point - 1);
    } else if (point <= 0) {
        buffer_append(out, "0.", 2);
        buffer_append(out, zeros, (size_t)-point);
        buffer_append(out, digits, (size_t)count);
    } else {
        int whole = count < point ? count : point;
        buffer_append(out, digits, (size_t)whole);
        buffer_append(out, zeros, (size_t)(point - whole));
        buffer_append(out, ".", count > point);
        buffer_append(out, digits + whole, (size_t)(count - whole));
    }
}

/* An integer below 2^53 over a power of ten up to 10^22 divides with one correct rounding, as
 * strtod does: if the quotient is the value, those digits read back as it. The first power that
 * does has the fewest digits. Finds numbers of up to 15 digits. */
static bool append_short(buffer *out, double size) {
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    for (int decimals = 0; decimals < (int)COUNT_OF(tens); decimals++) {
        double scaled = size * tens[decimals] + 0.5;
        if (scaled >= 1e15) {
            return false;
        }
        uint64_t rounded = (uint64_t)scaled;
        if ((double)rounded / tens[decimals] == size) {
            char digits[20];
            size_t n = digits_of(rounded, digits);
            append_digits(out, digits + 20 - n, (int)n, (int)n - decimals);
            return true;
        }
    }
    return false;
}

/* Splits the text of %e into digits and the place of the point, and appends it. */
static void append_scientific(buffer *out, const char *text) {
    char digits[32];
    int count = 0;
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at != '.') {
            digits[count++] = *at;
        }
    }
    append_digits(out, digits, count, (int)strtol(at + 1, NULL, 10) + 1);
}

/* Appends what is not a sign and digits; else the sign alone. */
static bool append_special(buffer *out, double value) {
    if (isnan(value)) {
        buffer_append_text(out, "nan");
        return true;
    }
    buffer_append(out, "-", signbit(value) != 0);
    if (isinf(value)) {
        buffer_append_text(out, "inf");
    } else if (value == 0) {
        /* Readers of JSON take "-0" for an integer. */
        buffer_append_text(out, signbit(value) != 0 ? "0.0" : "0");
    }
    return isinf(value) || value == 0;
}

void text_f64(buffer *out, double value) {
    if (append_special(out, value) || append_short(out, fabs(value))) {
        return;
    }
    char text[32];
    for (int precision = fabs(value) < DBL_MIN ? 0 : DBL_DIG - 1; precision <= 16; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, fabs(value));
        if (strtod(text, NULL) == fabs(value)) {
            break;
        }
    }
    append_scientific(out, text);
}

void text_f32(buffer *out, float value) {
    if (append_special(out, (double)value)) {
        return;
    }
    char text[32];
    for (int precision = fabsf(value) < FLT_MIN ? 0 : FLT_DIG - 1; precision <= 8; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, (double)fabsf(value));
        if (strtof(text, NULL) == fabsf(value)) {
            break;
        }
    }
    append_scientific(out, text);
}

void text_decimal(buffer *out, __int128 value, int scale) {
    unsigned __int128 rest =
        value < 0 ? (unsigned __int128)0 - (unsigned __int128)value : (unsigned __int128)value;
    char digits[64];
    int n = 0;
    while (rest != 0 || n <= scale) {
        digits[n++] = (char)('0' + (int)(rest % 10));
        rest /= 10;
    }
    if (value < 0) {
        buffer_append(out, "-", 1);
    }
    while (n > 0) {
        if (n == scale) {
            buffer_append(out, ".", 1);
        }
        buffer_append(out, &digits[--n], 1);
    }
}

/* Year, month and day of a day number (0 is 1970-01-01) in the proleptic Gregorian calendar. Counts
 * from 1 March of year 0 in cycles of 400 years, so that leap days come last. */
static void civil_of(int64_t day, int64_t *year, int *month, int *day_of_month) {
    day += 719468;
    int64_t cycle = (day >= 0 ? day : day - 146096) / 146097;
    int64_t in_cycle = day - cycle * 146097;
    int64_t year_in_cycle =
        (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    int64_t in_year = in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
    int64_t shifted = (5 * in_year + 2) / 153;
    *day_of_month = (int)(in_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = year_in_cycle + cycle * 400 + (*month <= 2);
}

void text_date(buffer *out, int64_t day) {
    int64_t year = 0;
    int month = 0;
    int day_of_month = 0;
    civil_of(day, &year, &month, &day_of_month);
    char text[40];
    int n = snprintf(text, sizeof text, "%s%04lld-%02d-%02d", year < 0 ? "-" : "",
                     (long long)(year < 0 ? -year : year), month, day_of_month);
    buffer_append(out, text, (size_t)n);
}

/* Nine decimals, or for people none, three, six or nine, as many as there is something in. */
static void append_fraction(buffer *out, text_style style, uint32_t ns) {
    char text[16];
    int n = snprintf(text, sizeof text, ".%09u", ns);
    if (style == TEXT_TABLE) {
        n = ns == 0 ? 0 : ns % 1000000 == 0 ? 4 : ns % 1000 == 0 ? 7 : 10;
    }
    buffer_append(out, text, (size_t)n);
}

void text_time_of_day(buffer *out, text_style style, int64_t seconds, uint32_t ns) {
    char text[40];
    int n = snprintf(text, sizeof text, "%02lld:%02d:%02d", (long long)(seconds / 3600),
                     (int)(seconds / 60 % 60), (int)(seconds % 60));
    buffer_append(out, text, (size_t)n);
    append_fraction(out, style, ns);
}

void text_timestamp(buffer *out, text_style style, int64_t seconds, uint32_t ns, bool utc) {
    int64_t day = (seconds >= 0 ? seconds : seconds - 86399) / 86400;
    text_date(out, day);
    buffer_append(out, style == TEXT_TABLE ? " " : "T", 1);
    text_time_of_day(out, style, seconds - day * 86400, ns);
    if (style != TEXT_TABLE) {
        buffer_append(out, "Z", 1);
    } else if (utc) {
        buffer_append_text(out, "+00");
    }
}

static void append_part(buffer *out, int64_t value, const char *unit) {
    if (value != 0) {
        buffer_printf(out, "%s%lld %s%s", out->size == 0 ? "" : " ", (long long)value, unit,
                      value == 1 || value == -1 ? "" : "s");
    }
}

void text_interval(buffer *out, int64_t months, int64_t days, int64_t ns) {
    buffer text = {0};
    append_part(&text, months / 12, "year");
    append_part(&text, months % 12, "month");
    append_part(&text, days, "day");
    if (ns != 0 || text.size == 0) {
        uint64_t size = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
        buffer_printf(&text, "%s%s", text.size == 0 ? "" : " ", ns < 0 ? "-" : "");
        text_time_of_day(&text, TEXT_TABLE, (int64_t)(size / 1000000000u),
                         (uint32_t)(size % 1000000000u));
    }
    buffer_append(out, text.data, text.size);
    buffer_deinit(&text);
}

void text_json_string(buffer *out, const void *text, size_t size) {
    const uint8_t *bytes = text;
    size_t kept = 0;
    buffer_append(out, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        uint8_t c = bytes[i];
        if (LIKELY(c >= 0x20 && c != '"' && c != '\\')) {
            continue;
        }
        buffer_append(out, bytes + kept, i - kept);
        kept = i + 1;
        switch (c) {
        case '"':
            buffer_append(out, "\\\"", 2);
            break;
        case '\\':
            buffer_append(out, "\\\\", 2);
            break;
        case '\n':
            buffer_append(out, "\\n", 2);
            break;
        case '\r':
            buffer_append(out, "\\r", 2);
            break;
        case '\t':
            buffer_append(out, "\\t", 2);
            break;
        default:
            buffer_printf(out, "\\u%04x", c);
        }
    }
    buffer_append(out, bytes + kept, size - kept);
    buffer_append(out, "\"", 1);
}

void text_base64(buffer *out, const uint8_t *data, size_t size) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t word = (uint32_t)data[i] << 16;
        word |= i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0;
        word |= i + 2 < size ? (uint32_t)data[i + 2] : 0;
        char four[4] = {alphabet[word >> 18], alphabet[word >> 12 & 63],
                        i + 1 < size ? alphabet[word >> 6 & 63] : '=',
                        i + 2 < size ? alphabet[word & 63] : '='};
        buffer_append(out, four, 4);
    }
}

void text_csv_cell(buffer *out, const void *text, size_t size) {
    const char *bytes = text;
    bool quote = size == 0;
    for (size_t i = 0; i < size && !quote; i++) {
        quote = bytes[i] == '"' || bytes[i] == ',' || bytes[i] == '\n' || bytes[i] == '\r';
    }
    /* Readers that trim would lose spaces at the ends. */
    if (!quote && bytes[0] != ' ' && bytes[size - 1] != ' ') {
        buffer_append(out, bytes, size);
        return;
    }
    buffer_append(out, "\"", 1);
    size_t kept = 0;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '"') {
            buffer_append(out, bytes + kept, i + 1 - kept);
            kept = i;
        }
    }
    buffer_append(out, bytes + kept, size - kept);
    buffer_append(out, "\"", 1);
}
