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

void text_u64(buffer *out, uint64_t value) {
    char digits[20];
    buffer_append(out, digits, number_format_u64(value, digits));
}

void text_i64(buffer *out, int64_t value) {
    if (value < 0) {
        buffer_append(out, "-", 1);
    }
    text_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void text_f64(buffer *out, double value) {
    char text[32];
    buffer_append(out, text, number_format_f64(value, text));
}

/* The shortest decimal that reads back as the float has at most nine digits, so as a double it is
 * written with the same ones. */
void text_f32(buffer *out, float value) {
    char text[32];
    double decimal = (double)value;
    for (int precision = fabsf(value) < FLT_MIN ? 0 : FLT_DIG - 1; precision <= 8; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, (double)value);
        if (strtof(text, NULL) == value) {
            decimal = strtod(text, NULL);
            break;
        }
    }
    text_f64(out, decimal);
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
