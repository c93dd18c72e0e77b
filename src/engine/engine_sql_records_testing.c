/* Random records that look like an exchange's: most of what happens near each other in time is of
 * the same few instruments and the same day, keys come again, some records are late. See
 * engine_sql_testing.h. */
#include "engine/engine_sql_testing.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define START_NS INT64_C(1722821400000000000) /* 2024-08-05T01:30:00Z */
#define DAY_NS (86400 * NS_PER_SECOND)

static const char *const instruments[] = {
    "IF2601",    "IC2603", "rb2605",           "BTCUSDT", "a",
    "600536.SH", "it's",   "sixteen-bytes-in", "NULL",    "\xe6\xb2\xaa\xe6\xb7\xb1"};
static const char *const users[] = {
    "u1",   "u2",          "u3", "u10", "u_%", "alice", "bob", "a-user-of-thirty-two-characters-",
    "x\"y", "\xe7\x94\xa8"};

void sql_market_init(sql_market *m, uint64_t seed) {
    *m = (sql_market){.random = seed, .now_ns = START_NS, .last_ns = START_NS};
    m->day_ns = NS_PER_SECOND * (int64_t)(1800 + random_below(&m->random, 20000));
    m->extremes = random_below(&m->random, 4) == 0;
    m->doubles_trades = random_below(&m->random, 2) == 0;
}

static size_t below(sql_market *m, size_t limit) {
    return random_below(&m->random, limit);
}

static bool chance(sql_market *m, unsigned percent) {
    return below(m, 100) < percent;
}

/* --- fields --- */

static void set_text(char *to, size_t size, const char *text) {
    size_t length = strlen(text);
    memset(to, 0, size);
    memcpy(to, text, length < size ? length : size);
}

static void set_instrument(sql_market *m, char *to, bool key) {
    size_t n = chance(m, 85) ? m->busy[below(m, 2)] : below(m, COUNT_OF(instruments));
    set_text(to, 16, !key && chance(m, 4) ? "" : instruments[n]);
}

static void set_user(sql_market *m, char *to, bool key) {
    set_text(to, 32, !key && chance(m, 6) ? "" : users[below(m, COUNT_OF(users))]);
}

static void set_order(char *to, uint64_t n) {
    char text[64];
    (void)snprintf(text, sizeof text,
                   n % 17 == 0 ? "an-order-that-fills-its-field-%010" PRIu64 : "o%" PRIu64, n);
    set_text(to, 40, text);
}

/* One of those there are, a recent one as a rule. */
static uint64_t old_order(sql_market *m) {
    uint64_t recent = m->next_order < 40 ? m->next_order : 40;
    return chance(m, 70) ? m->next_order - 1 - below(m, (size_t)recent)
                         : below(m, (size_t)m->next_order);
}

/* Eighths, so that products with whole volumes, and their sums, are exact. */
static double price(sql_market *m) {
    return chance(m, 3) ? 0 : (double)(int64_t)below(m, 40000) / 8 - (chance(m, 3) ? 600 : 0);
}

static double volume(sql_market *m) {
    return (double)below(m, chance(m, 80) ? 8 : 129);
}

static double wild(sql_market *m) {
    static const double odd[] = {
        -0.0, 0,       DBL_MAX,    -DBL_MAX,           DBL_MIN, 5e-324, -5e-324, DBL_EPSILON,
        0.1,  1.0 / 3, 1e15 + 0.3, 9007199254740993.0, -1};
    if (chance(m, 60)) {
        return chance(m, 50) ? odd[below(m, COUNT_OF(odd))] : (double)below(m, 1000) / 100;
    }
    double value;
    do {
        uint64_t bits = random_next(&m->random);
        memcpy(&value, &bits, sizeof value);
    } while (!isfinite(value));
    return value;
}

bool sql_field_is_wild(const tape_field_info *field) {
    static const char *const names[] = {"margin",        "short_price",   "turnover",
                                        "open_interest", "filled_volume", "margin_rate",
                                        "ask_volume"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(field->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* --- time --- */

/* Mostly a little later than before; often the same, sometimes days too late. */
static int64_t next_time(sql_market *m) {
    static const int64_t far[] = {
        1,   -1,          INT64_MIN + 2, INT64_MAX - 2, -DAY_NS * 40000, DAY_NS * 40000 + 1,
        999, DAY_NS * 365};
    if (m->extremes && below(m, 250) == 0) {
        return far[below(m, COUNT_OF(far))];
    }
    if (chance(m, 20)) {
        return m->last_ns;
    }
    if (chance(m, 4)) {
        uint64_t late = chance(m, 85) ? 600 * NS_PER_SECOND : 2 * DAY_NS;
        return m->now_ns - (int64_t)(random_next(&m->random) % late);
    }
    int64_t step = chance(m, 50) ? (int64_t)below(m, 4000) * 1000000
                                 : (int64_t)(random_next(&m->random) % UINT64_C(20000000000));
    m->now_ns += chance(m, 30) ? step / 1000000 * 1000000 : step;
    int64_t into = (m->now_ns - START_NS) % DAY_NS;
    if (into > m->day_ns) {
        m->now_ns += DAY_NS - into;
    }
    m->last_ns = m->now_ns;
    return m->now_ns;
}

/* --- records --- */

static void make_order(sql_market *m, tape_order *o) {
    uint64_t n = m->next_order > 0 && chance(m, 65) ? old_order(m) : m->next_order++;
    set_order(o->order_id, n);
    set_text(o->user_id, sizeof o->user_id, users[n % COUNT_OF(users)]);
    if (chance(m, 5)) {
        set_user(m, o->user_id, false);
    }
    set_instrument(m, o->instrument_id, false);
    o->side = (uint8_t)below(m, 3);
    o->position_effect = (uint8_t)below(m, 4);
    o->order_type = (uint8_t)below(m, 2);
    o->price = price(m);
    o->volume = volume(m);
    o->filled_volume = wild(m);
    o->status = (uint8_t)below(m, 5);
}

static void make_trade(sql_market *m, tape_trade *t) {
    uint64_t n = m->next_trade;
    if (m->doubles_trades && n > 0 && chance(m, 20)) {
        n = below(m, (size_t)n);
    } else {
        m->next_trade++;
    }
    char text[48];
    (void)snprintf(text, sizeof text, "t%08" PRIu64, n);
    set_text(t->trade_id, sizeof t->trade_id, text);
    if (m->next_order > 0 && chance(m, 92)) {
        set_order(t->order_id, old_order(m));
        set_order(t->counter_order_id, old_order(m));
    }
    set_user(m, t->user_id, false);
    set_instrument(m, t->instrument_id, false);
    t->side = (uint8_t)below(m, 3);
    t->position_effect = (uint8_t)below(m, 4);
    t->price = price(m);
    t->volume = volume(m);
}

static void make_tick(sql_market *m, tape_tick *t) {
    set_instrument(m, t->instrument_id, false);
    t->last_price = price(m);
    t->volume = volume(m);
    t->turnover = wild(m);
    t->open_interest = wild(m);
    t->bid_price = price(m);
    t->bid_volume = volume(m);
    t->ask_price = price(m);
    t->ask_volume = wild(m);
}

static void make_depth(sql_market *m, tape_depth *d) {
    size_t levels = below(m, 11);
    set_instrument(m, d->instrument_id, false);
    for (size_t i = 0; i < levels; i++) {
        d->bid_price[i] = price(m);
        d->bid_volume[i] = volume(m);
        d->ask_price[i] = price(m);
        d->ask_volume[i] = wild(m);
    }
}

static void make_other(sql_market *m, uint16_t table, sql_struct *s) {
    switch (table) {
    case TAPE_TABLE_ACCOUNTS:
        set_user(m, s->account.user_id, true);
        s->account.balance = price(m) * 16;
        s->account.available = volume(m);
        s->account.frozen = price(m);
        s->account.margin = wild(m);
        break;
    case TAPE_TABLE_POSITIONS:
        set_user(m, s->position.user_id, true);
        set_instrument(m, s->position.instrument_id, true);
        s->position.long_volume = volume(m);
        s->position.long_price = price(m);
        s->position.short_volume = volume(m);
        s->position.short_price = wild(m);
        break;
    default:
        set_instrument(m, s->instrument.instrument_id, true);
        s->instrument.price_tick = 0.125;
        s->instrument.volume_multiplier = volume(m);
        s->instrument.margin_rate = wild(m);
        s->instrument.status = (uint8_t)below(m, 4);
        break;
    }
}

static uint16_t pick_table(sql_market *m) {
    static const uint8_t often[] = {TAPE_TABLE_ORDERS,    TAPE_TABLE_ORDERS,    TAPE_TABLE_ORDERS,
                                    TAPE_TABLE_ORDERS,    TAPE_TABLE_TRADES,    TAPE_TABLE_TRADES,
                                    TAPE_TABLE_TRADES,    TAPE_TABLE_TRADES,    TAPE_TABLE_ACCOUNTS,
                                    TAPE_TABLE_POSITIONS, TAPE_TABLE_POSITIONS, TAPE_TABLE_TICKS,
                                    TAPE_TABLE_TICKS,     TAPE_TABLE_TICKS,     TAPE_TABLE_DEPTH};
    return chance(m, 2) ? TAPE_TABLE_INSTRUMENTS : often[below(m, COUNT_OF(often))];
}

void sql_market_next(sql_market *m, sql_records *to, size_t count) {
    if (to->count + count > to->capacity) {
        to->capacity = 2 * (to->count + count);
        to->all = mem_realloc(to->all, to->capacity * sizeof *to->all);
    }
    if (below(m, 6) == 0) {
        m->busy[below(m, 2)] = below(m, COUNT_OF(instruments));
    }
    for (size_t i = 0; i < count; i++) {
        sql_record *r = &to->all[to->count++];
        *r = (sql_record){.table = pick_table(m)};
        switch (r->table) {
        case TAPE_TABLE_ORDERS:
            make_order(m, &r->data.order);
            break;
        case TAPE_TABLE_TRADES:
            make_trade(m, &r->data.trade);
            break;
        case TAPE_TABLE_TICKS:
            make_tick(m, &r->data.tick);
            break;
        case TAPE_TABLE_DEPTH:
            make_depth(m, &r->data.depth);
            break;
        default:
            make_other(m, r->table, &r->data);
            break;
        }
        r->data.order.seq = to->count; /* seq and ts are the first fields of every struct */
        r->data.order.ts = next_time(m);
    }
}

void sql_records_deinit(sql_records *records) {
    free(records->all);
    *records = (sql_records){0};
}
