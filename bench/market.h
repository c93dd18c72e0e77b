/* market: the trades, orders and ticks that SQL is measured on, the same in every run and for every
 * peer.
 *
 * A trading day has 10 M trades from 09:00 to 15:00 in 50 instruments, a few of which have most of
 * them; 20,000 users; an order for ten trades, which trades meet soon after it was sent; a tick for
 * five trades. Times are whole microseconds, so that peers without nanoseconds keep them; ticks
 * rise strictly, so that every ASOF join has one answer. An order has two versions: accepted, then
 * filled. Rows are made in order, by one thread. */
#ifndef MARKET_H
#define MARKET_H

#include "bench.h"

#define MARKET_START_TS INT64_C(1723075200000000000) /* 2024-08-08 */
#define MARKET_INSTRUMENTS 50u
#define MARKET_BUSY "IF2409"       /* an instrument with a seventh of the trades */
#define MARKET_PRICE_MIDDLE "3400" /* about half of the trades are above it */
#define MARKET_VOLUME_MOST "20"    /* nine of ten trades have less */

typedef struct market {
    uint64_t trades, orders, ticks; /* how many there are */
    uint64_t trade_seed, tick_seed;
    int64_t trade_us, tick_us; /* since the day's opening */
    uint64_t next_trade, next_tick;
    double trade_prices[MARKET_INSTRUMENTS], tick_prices[MARKET_INSTRUMENTS]; /* in steps */
} market;

/* `trades` is a multiple of MARKET_UNIT. */
#define MARKET_UNIT 10000u
market *market_create(uint64_t trades);
/* How many trades a program is to make: BENCH_ROWS, or `usual` (scaled), or `usual_long` with
 * BENCH_LONG=1. */
uint64_t market_rows(uint64_t usual, uint64_t usual_long);
/* The next rows. */
void market_trades(market *m, tape_trade *out, size_t count);
void market_ticks(market *m, tape_tick *out, size_t count);
/* Version 0 or 1 of orders from `first` on. */
void market_orders(const market *m, uint64_t first, unsigned version, tape_order *out,
                   size_t count);
void market_order_id(uint64_t number, char id[40]);

#endif
