/* time.c: times as text. Nanoseconds since 1970, UTC, without leap seconds, as 64 bits hold them:
 * 1677-09-21T00:12:43.145224192 to 2262-04-11T23:47:16.854775807. */
#include "record_internal.h"

#define SECONDS_PER_DAY 86400
#define NS_PER_DAY (SECONDS_PER_DAY * NS_PER_SECOND)

/* Days are counted from 1 March of the year 0, so that a leap day is the last of its year: 400
 * years have 146,097 days, and a month's start within the year is (153 m + 2) / 5 with m = 0 for
 * March. */
#define DAYS_TO_1970 719468
#define DAYS_PER_400_YEARS 146097

typedef struct date {
    unsigned year, month, day;
} date;

static int64_t days_since_1970(date d) {
    unsigned month = d.month > 2 ? d.month - 3 : d.month + 9;
    unsigned year = d.month > 2 ? d.year : d.year - 1;
    unsigned days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + d.day - 1;
    return (int64_t)days - DAYS_TO_1970;
}

/* For days in the range of a time, which are all after the year 0. */
static date date_of_days(int64_t days_from_1970) {
    unsigned days = (unsigned)(days_from_1970 + DAYS_TO_1970);
    unsigned cycle = days / DAYS_PER_400_YEARS;
    unsigned in_cycle = days % DAYS_PER_400_YEARS;
    /* Without the leap days up to it: one each 1,461 days, but for those of 36,524. */
    unsigned year = (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    unsigned in_year = in_cycle - (year * 365 + year / 4 - year / 100);
    unsigned month = (5 * in_year + 2) / 153;
    date d = {.year = cycle * 400 + year,
              .month = month < 10 ? month + 3 : month - 9,
              .day = in_year - (153 * month + 2) / 5 + 1};
    d.year += d.month <= 2;
    return d;
}

static unsigned days_in_month(unsigned year, unsigned month) {
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Writes `value` with leading zeros. */
static char *put_digits(char *out, unsigned value, int width) {
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + width;
}

size_t record_format_time(int64_t ns, char out[40]) {
    int64_t days = ns / NS_PER_DAY;
    int64_t rest = ns % NS_PER_DAY;
    if (rest < 0) {
        days--;
        rest += NS_PER_DAY;
    }
    date d = date_of_days(days);
    unsigned second = (unsigned)(rest / NS_PER_SECOND);
    char *at = put_digits(out, d.year, 4);
    *at++ = '-';
    at = put_digits(at, d.month, 2);
    *at++ = '-';
    at = put_digits(at, d.day, 2);
    *at++ = 'T';
    at = put_digits(at, second / 3600, 2);
    *at++ = ':';
    at = put_digits(at, second / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, second % 60, 2);
    *at++ = '.';
    at = put_digits(at, (unsigned)(rest % NS_PER_SECOND), 9);
    *at++ = 'Z';
    *at = '\0';
    return (size_t)(at - out);
}

/* --- reading
 * --------------------------------------------------------------------------------------- */

typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

static bool take(cursor *c, char wanted) {
    if (c->at < c->end && *c->at == wanted) {
        c->at++;
        return true;
    }
    return false;
}

/* Exactly `width` digits, with a value from `least` to `most`. */
static bool take_digits(cursor *c, int width, unsigned least, unsigned most, unsigned *out) {
    unsigned value = 0;
    if (c->end - c->at < width) {
        return false;
    }
    for (int i = 0; i < width; i++) {
        unsigned digit = (unsigned)(unsigned char)c->at[i] - '0';
        if (digit > 9) {
            return false;
        }
        value = value * 10 + digit;
    }
    c->at += width;
    *out = value;
    return value >= least && value <= most;
}

static bool take_date(cursor *c, int64_t *days) {
    date d;
    if (!take_digits(c, 4, 1600, 2400, &d.year) || !take(c, '-') ||
        !take_digits(c, 2, 1, 12, &d.month) || !take(c, '-') ||
        !take_digits(c, 2, 1, days_in_month(d.year, d.month), &d.day)) {
        return false;
    }
    *days = days_since_1970(d);
    return true;
}

/* The digits after the point: one or more; those beyond the ninth must be zeros. */
static bool take_fraction(cursor *c, int64_t *ns) {
    int64_t unit = NS_PER_SECOND;
    const char *start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        unit /= 10;
        if (unit == 0 && *c->at != '0') {
            return false;
        }
        *ns += unit * (*c->at - '0');
    }
    return c->at > start;
}

static bool take_clock(cursor *c, int64_t *ns) {
    unsigned hour, minute, second;
    if (!take_digits(c, 2, 0, 23, &hour) || !take(c, ':') || !take_digits(c, 2, 0, 59, &minute) ||
        !take(c, ':') || !take_digits(c, 2, 0, 59, &second)) {
        return false;
    }
    *ns = (int64_t)(hour * 3600 + minute * 60 + second) * NS_PER_SECOND;
    return !take(c, '.') || take_fraction(c, ns);
}

/* Z, +hh:mm, -hh:mm or nothing, as what is to be subtracted. */
static bool take_offset(cursor *c, int64_t *ns) {
    unsigned hours, minutes;
    *ns = 0;
    if (c->at == c->end || take(c, 'Z') || take(c, 'z')) {
        return true;
    }
    bool west = take(c, '-');
    if ((!west && !take(c, '+')) || !take_digits(c, 2, 0, 23, &hours) || !take(c, ':') ||
        !take_digits(c, 2, 0, 59, &minutes)) {
        return false;
    }
    *ns = (int64_t)(hours * 3600 + minutes * 60) * NS_PER_SECOND;
    *ns = west ? -*ns : *ns;
    return true;
}

/* An integer with an optional '-'. */
static bool parse_integer(const char *text, size_t size, int64_t *out) {
    uint64_t value;
    bool negative = size > 0 && text[0] == '-';
    if (!number_parse_u64(text + negative, size - negative, &value) ||
        value > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *out = (int64_t)(negative ? -value : value);
    return true;
}

bool record_parse_time(const char *text, size_t size, int64_t *out) {
    cursor c = {text, text + size};
    int64_t days;
    int64_t clock = 0;
    int64_t offset = 0;
    if (parse_integer(text, size, out)) {
        return true;
    }
    if (!take_date(&c, &days)) {
        return false;
    }
    if (c.at < c.end) {
        if (!(take(&c, 'T') || take(&c, 't') || take(&c, ' ')) || !take_clock(&c, &clock) ||
            !take_offset(&c, &offset)) {
            return false;
        }
    }
    /* Wider than 64 bits, because days * ns may overflow where the clock brings it back. */
    __int128 ns = (__int128)days * NS_PER_DAY + clock - offset;
    if (c.at != c.end || ns < INT64_MIN || ns > INT64_MAX) {
        return false;
    }
    *out = (int64_t)ns;
    return true;
}
