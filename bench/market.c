/* The generated market: see market.h. */
#include "market.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_TRADES 10000000u
#define OPENING_NS (INT64_C(9) * 3600 * BENCH_SECOND_NS)
#define DAY_NS (INT64_C(24) * 3600 * BENCH_SECOND_NS)
#define TRADE_GAP_US 2160u /* 6 hours by 10 M */
#define TRADES_PER_ORDER 10u
#define TRADES_PER_TICK 5u
#define USERS 20000u
#define ORDERS_LOOKED_BACK 5000u

typedef struct product {
    char name[4];
    double price, step;
} product;

/* Each in five months. */
static const product products[] = {
    {"IF", 3400, 0.2}, {"rb", 3300, 1}, {"IM", 5000, 0.2}, {"m", 2900, 1},    {"TA", 5600, 2},
    {"IC", 4700, 0.2}, {"i", 780, 0.5}, {"cu", 71000, 10}, {"au", 560, 0.02}, {"sc", 560, 0.1},
};
static const char *const months[] = {"2409", "2410", "2412", "2501", "2503"};

static const product *product_of(unsigned instrument) {
    return &products[instrument % BENCH_COUNT_OF(products)];
}

static void instrument_name(unsigned instrument, char out[16]) {
    (void)snprintf(out, 16, "%s%s", product_of(instrument)->name,
                   months[instrument / BENCH_COUNT_OF(products)]);
}

/* --- numbers of an order that its trades share --- */

typedef struct who {
    unsigned instrument, user;
    uint64_t bits;
} who;

static who who_of(uint64_t order) {
    uint64_t seed = order * 2 + 1;
    uint64_t r = bench_random(&seed);
    double u = (double)(r & 0xffffff) / (double)0x1000000;
    return (who){.instrument = (unsigned)(u * u * MARKET_INSTRUMENTS),
                 .user = (unsigned)(r >> 24 & 0xffffffff) % USERS,
                 .bits = bench_random(&seed)};
}

static double volume_of(uint64_t r) {
    return (double)((1 + (r & 7)) * (1 + (r >> 3 & 3)) - (r >> 5 & 1));
}

/* A few steps up or down, at times only towards where the product started. */
static double walk(double *at, const product *p, uint64_t r) {
    double steps = (double)(r % 7) - 3;
    bool away = steps > 0 ? *at > 0 : *at < 0;
    *at += (r >> 8 & 15) == 0 && away ? 0 : steps;
    return (double)(int64_t)((p->price + *at * p->step) * 100 + 0.5) / 100; /* as decimals go */
}

/* "YYYYMMDD-" and twelve digits. */
void market_order_id(uint64_t number, char id[40]) {
    unsigned day = (unsigned)(number / (DAY_TRADES / TRADES_PER_ORDER));
    (void)snprintf(id, 40, "202408%02u-%012llu", 8 + day, (unsigned long long)number);
}

static int64_t time_of(uint64_t trade, int64_t us) {
    return MARKET_START_TS + (int64_t)(trade / DAY_TRADES) * DAY_NS + OPENING_NS + us * 1000;
}

/* --- rows --- */

uint64_t market_rows(uint64_t usual, uint64_t usual_long) {
    const char *text = getenv("BENCH_ROWS");
    uint64_t rows = text != NULL   ? strtoull(text, NULL, 10)
                    : bench_long() ? bench_scaled(usual_long, MARKET_UNIT)
                                   : bench_scaled(usual, MARKET_UNIT);
    rows = rows / MARKET_UNIT * MARKET_UNIT;
    return rows > MARKET_UNIT ? rows : MARKET_UNIT;
}

market *market_create(uint64_t trades) {
    BENCH_CHECK(trades > 0 && trades % MARKET_UNIT == 0);
    market *m = bench_alloc(sizeof *m);
    *m = (market){.trades = trades,
                  .orders = trades / TRADES_PER_ORDER,
                  .ticks = trades / TRADES_PER_TICK,
                  .trade_seed = 5,
                  .tick_seed = 6};
    return m;
}

void market_trades(market *m, tape_trade *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t number = m->next_trade++;
        uint64_t r = bench_random(&m->trade_seed);
        uint64_t other = bench_random(&m->trade_seed);
        uint64_t newest = number / TRADES_PER_ORDER;
        uint64_t back = newest < ORDERS_LOOKED_BACK ? newest + 1 : ORDERS_LOOKED_BACK;
        uint64_t order = newest - r % back;
        uint64_t counter = newest - other % back;
        who w = who_of(order);
        const product *p = product_of(w.instrument);
        m->trade_us = number % DAY_TRADES == 0
                          ? 0
                          : m->trade_us + 1 + (int64_t)(r >> 32) % (2 * TRADE_GAP_US - 1);
        out[i] = (tape_trade){
            .ts = time_of(number, m->trade_us),
            .side = w.bits & 1 ? TAPE_SIDE_BUY : TAPE_SIDE_SELL,
            .position_effect = w.bits & 2 ? TAPE_POSITION_EFFECT_OPEN : TAPE_POSITION_EFFECT_CLOSE,
            .price = walk(&m->trade_prices[w.instrument], p, other >> 24),
            .volume = volume_of(other >> 48),
        };
        market_order_id(order, out[i].order_id);
        market_order_id(counter, out[i].counter_order_id);
        (void)snprintf(out[i].trade_id, sizeof out[i].trade_id, "T%015llu",
                       (unsigned long long)number);
        (void)snprintf(out[i].user_id, sizeof out[i].user_id, "user-%05u", w.user);
        instrument_name(w.instrument, out[i].instrument_id);
    }
}

void market_ticks(market *m, tape_tick *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t number = m->next_tick++;
        uint64_t trade = number * TRADES_PER_TICK;
        uint64_t r = bench_random(&m->tick_seed);
        double u = (double)(r >> 40) / (double)0x1000000;
        unsigned instrument = (unsigned)(u * MARKET_INSTRUMENTS);
        const product *p = product_of(instrument);
        double price = walk(&m->tick_prices[instrument], p, bench_random(&m->tick_seed));
        m->tick_us = trade % DAY_TRADES == 0
                         ? 0
                         : m->tick_us + 1 + (int64_t)(r % (2 * TRADE_GAP_US * TRADES_PER_TICK - 1));
        out[i] = (tape_tick){
            .ts = time_of(trade, m->tick_us),
            .last_price = price,
            .volume = (double)trade,
            .turnover = price * (double)trade,
            .open_interest = 120000 + (double)(r >> 8 & 1023),
            .bid_price = price - p->step,
            .bid_volume = (double)(r >> 20 & 63) + 1,
            .ask_price = price + p->step,
            .ask_volume = (double)(r >> 28 & 63) + 1,
        };
        instrument_name(instrument, out[i].instrument_id);
    }
}

void market_orders(const market *m, uint64_t first, unsigned version, tape_order *out,
                   size_t count) {
    BENCH_CHECK(first + count <= m->orders && version < 2);
    for (size_t i = 0; i < count; i++) {
        uint64_t number = first + i;
        uint64_t trade = number * TRADES_PER_ORDER;
        who w = who_of(number);
        const product *p = product_of(w.instrument);
        double volume = volume_of(w.bits >> 8) * 10;
        double away = (double)(w.bits >> 16 & 63) - 32;
        out[i] = (tape_order){
            .ts = time_of(trade, (int64_t)(trade % DAY_TRADES + version * 1000) * TRADE_GAP_US),
            .side = w.bits & 1 ? TAPE_SIDE_BUY : TAPE_SIDE_SELL,
            .position_effect = w.bits & 2 ? TAPE_POSITION_EFFECT_OPEN : TAPE_POSITION_EFFECT_CLOSE,
            .price = p->price + away * p->step,
            .volume = volume,
            .filled_volume = version == 0 ? 0 : volume,
            .status = version == 0 ? TAPE_ORDER_STATUS_ACCEPTED : TAPE_ORDER_STATUS_FILLED,
        };
        market_order_id(number, out[i].order_id);
        (void)snprintf(out[i].user_id, sizeof out[i].user_id, "user-%05u", w.user);
        instrument_name(w.instrument, out[i].instrument_id);
    }
}
