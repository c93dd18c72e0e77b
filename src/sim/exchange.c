/* The exchange: accounts and margin around a price-time-priority matching engine. Pure: commands
 * in, the records of one event out (event.c makes them), nothing else.
 *
 * Rules
 *  - An order is rejected when its volume is not 1 to SIM_ORDER_LOTS_MAX lots, its limit price lies
 *    outside the price limits, it closes more than its user holds on that side and is not closing
 *    already, or the user's available money does not cover margin and fees at the worst price it
 * can trade at.
 *  - An accepted order trades with the other side's orders, best price first, oldest first at a
 * price, at the resting order's price, as far as its limit allows. What is left of a limit order
 * rests; what is left of a market order is cancelled.
 *  - Nobody trades with himself: when the order next in turn is of the same user, what is left of
 * the incoming order is cancelled.
 *  - Opening takes margin (margin_rate of the position's cost); closing gives back the closed
 * part's share of it and settles the profit or loss, in money, with the clearing account. Both
 * sides of a trade pay a fee per lot to the house; whoever came later pays the taker's.
 *
 * Invariants, at the end of every event
 *  X1 Money is conserved: the balances of users, house and clearing account add up to what they
 * were. X2 Clearing: balance = its initial fund + (short cost - long cost of all positions) in
 * money. X3 margin of a user = sum over positions of (long cost + short cost) * margin_units;
 * frozen = sum over resting opening orders of lots left * reserve. X4 available = balance - margin
 * - frozen >= 0 for every user, and balance >= 0 for house and clearing. Opening is checked
 * beforehand. Closing cannot break it, because prices stay within limits that are closer than the
 * margin: see sim_instrument_init. The clearing account's fund is as large as all deposits, and no
 * open interest that they can margin loses more than that. X5 Lots held long = lots held short =
 * open interest, per instrument. X6 filled <= volume for every order; fills are counted once in a
 * trade and once in each order. X7 The book is not crossed. */
#include "sim/sim_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* --- instruments -------------------------------------------------------------------------------
 */

/* Prices and rates are fractions with a power of two below, so that their doubles are exact. */
typedef struct instrument_template {
    int64_t tick_eighths; /* price_tick * 8 */
    int64_t multiplier;
    int64_t margin_32nds; /* margin_rate * 32 */
    int64_t reference_ticks;
} instrument_template;

static const instrument_template TEMPLATES[] = {
    {2, 50, 4, 19200},  /* 0.25 around 4800, an index future */
    {8, 10, 4, 3600},   /* 1 around 3600, steel */
    {4, 100, 4, 3900},  /* 0.5 around 1950, gold */
    {16, 5, 5, 36000},  /* 2 around 72000, copper */
    {1, 1000, 4, 6240}, /* 0.125 around 780, crude */
};

void sim_instrument_init(sim_instrument *instrument, uint32_t index) {
    const instrument_template *t = &TEMPLATES[index % COUNT_OF(TEMPLATES)];
    *instrument = (sim_instrument){
        .price_tick = (double)t->tick_eighths / 8,
        .multiplier = (double)t->multiplier,
        .margin_rate = (double)t->margin_32nds / 32,
        .reference = t->reference_ticks + 16 * (int64_t)(index / COUNT_OF(TEMPLATES)),
        .tick_units = t->tick_eighths * t->multiplier * (SIM_UNITS_PER_MONEY / 8),
        .margin_units =
            t->tick_eighths * t->multiplier * (SIM_UNITS_PER_MONEY / 8) * t->margin_32nds / 32,
    };
    sim_instrument *i = instrument;
    if (index == 0) {
        snprintf(i->id, sizeof i->id, "SIM");
    } else {
        snprintf(i->id, sizeof i->id, "SIM%02u", index);
    }
    i->low = i->reference - i->reference / 20;
    i->high = i->reference + i->reference / 20;
    i->taker_fee = (i->reference * i->tick_units) >> 14;
    i->maker_fee = (i->reference * i->tick_units) >> 16;
    /* X4: whatever price from low to high a lot was opened at, the margin it gives back covers the
     * largest loss of closing it and the fee. */
    int64_t loss = (i->high - i->low) * i->tick_units;
    ASSERT(i->margin_units < i->tick_units);
    ASSERT(i->high * i->margin_units >= loss + i->taker_fee);
    ASSERT(i->low * i->margin_units >= loss + i->taker_fee);
}

/* --- life ------------------------------------------------------------------------------------ */

void sim_exchange_init(sim_exchange *x, const sim_exchange_options *options) {
    ASSERT(options->instruments > 0 && options->instruments <= SIM_INSTRUMENTS_MAX);
    ASSERT(options->users > 0 && options->users <= SIM_USERS_MAX);
    ASSERT((uint64_t)options->users * options->instruments <= SIM_POSITIONS_MAX);
    ASSERT(options->deposit >= 0 && options->deposit <= SIM_DEPOSIT_UNITS);
    memset(x, 0, offsetof(sim_exchange, event));
    x->event.number = 0;
    x->options = *options;
    x->pool.free_slot = SIM_NO_SLOT;
    snprintf(x->id_prefix, sizeof x->id_prefix, "s%llu-", (unsigned long long)options->seed);
    snprintf(x->user_prefix, sizeof x->user_prefix, "u%llu-", (unsigned long long)options->seed);
    x->accounts = mem_zalloc(((size_t)options->users + 2) * sizeof *x->accounts);
    x->positions = mem_zalloc((size_t)options->users * options->instruments * sizeof *x->positions);
    x->markets = mem_zalloc(options->instruments * sizeof *x->markets);
    for (uint32_t i = 0; i < options->instruments; i++) {
        sim_market *market = &x->markets[i];
        sim_instrument_init(&market->instrument, i);
        sim_book_init(&market->book, &x->pool, market->instrument.low, market->instrument.high);
        market->last_price = market->instrument.reference;
        market->top_price[SIM_BUY] = SIM_NO_PRICE;
        market->top_price[SIM_SELL] = SIM_NO_PRICE;
    }
}

void sim_exchange_deinit(sim_exchange *x) {
    for (uint32_t i = 0; i < x->options.instruments; i++) {
        sim_book_deinit(&x->markets[i].book);
    }
    free(x->markets);
    free(x->accounts);
    free(x->positions);
    free(x->pool.orders);
    memset(x, 0, offsetof(sim_exchange, event));
}

#define OPEN_PER_EVENT 256
_Static_assert(OPEN_PER_EVENT + 2 <= SIM_EVENT_RECORDS_MAX, "opening events fit");
_Static_assert((OPEN_PER_EVENT + 2) * sizeof(tape_account) <= SIM_EVENT_BYTES_MAX, "they fit");

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* The clearing account starts with all the money there is and pays the deposits out of it, so that
 * X1 holds from the first event on. */
bool sim_exchange_open(sim_exchange *x, int64_t ts) {
    const sim_exchange_options *o = &x->options;
    if (x->users_opened == o->users) {
        return false;
    }
    bool first = x->instruments_listed == 0;
    sim_event_begin(x, ts);
    if (x->instruments_listed < o->instruments) {
        uint32_t end =
            x->instruments_listed + smaller(OPEN_PER_EVENT, o->instruments - x->instruments_listed);
        for (; x->instruments_listed < end; x->instruments_listed++) {
            sim_event_instrument(x, &x->markets[x->instruments_listed].instrument);
        }
        if (first) {
            x->accounts[sim_clearing(x)].balance = 2 * (int64_t)o->users * o->deposit;
            sim_event_account(x, sim_house(x));
            sim_event_account(x, sim_clearing(x));
        }
        return true;
    }
    uint32_t end = x->users_opened + smaller(OPEN_PER_EVENT, o->users - x->users_opened);
    for (; x->users_opened < end; x->users_opened++) {
        x->accounts[x->users_opened].balance = o->deposit;
        x->accounts[sim_clearing(x)].balance -= o->deposit;
        sim_event_account(x, x->users_opened);
    }
    sim_event_account(x, sim_clearing(x));
    return true;
}

/* --- orders ---------------------------------------------------------------------------------- */

/* The leg of the position that the order changes: opening adds to its own side, closing takes from
 * the other. */
static int leg_of(const sim_order *order) {
    return order->effect == TAPE_POSITION_EFFECT_OPEN ? order->side : 1 - order->side;
}

/* The worst price, in margin, that an order can trade at. */
static int64_t worst_price(const sim_market *market, const sim_order *order) {
    if (order->side == SIM_BUY) {
        return order->type == TAPE_ORDER_TYPE_MARKET ? market->instrument.high : order->price;
    }
    int64_t best = market->book.best[SIM_BUY];
    return best > order->price ? best : order->price;
}

static sim_reject admit(const sim_exchange *x, const sim_market *market, const sim_order *order) {
    const sim_instrument *i = &market->instrument;
    if (order->volume < 1 || order->volume > SIM_ORDER_LOTS_MAX) {
        return SIM_REJECT_VOLUME;
    }
    if (order->type == TAPE_ORDER_TYPE_LIMIT && (order->price < i->low || order->price > i->high)) {
        return SIM_REJECT_PRICE;
    }
    if (order->effect == TAPE_POSITION_EFFECT_CLOSE) {
        const sim_leg *leg =
            &sim_position_of(x, order->user, order->instrument)->leg[leg_of(order)];
        return order->volume <= leg->volume - leg->closing ? SIM_REJECT_NONE : SIM_REJECT_POSITION;
    }
    int64_t need = order->volume * (worst_price(market, order) * i->margin_units + i->taker_fee);
    return need <= sim_available(&x->accounts[order->user]) ? SIM_REJECT_NONE : SIM_REJECT_MARGIN;
}

/* One side of a fill: position, margin, profit or loss, fee. */
static void settle(sim_exchange *x, const sim_order *order, int64_t price, int64_t lots,
                   int64_t fee) {
    sim_market *market = &x->markets[order->instrument];
    const sim_instrument *i = &market->instrument;
    sim_account *account = &x->accounts[order->user];
    sim_leg *leg = &sim_position_of(x, order->user, order->instrument)->leg[leg_of(order)];
    int sign = leg_of(order) == SIM_LONG ? 1 : -1;
    int64_t value = price * lots;
    if (order->effect == TAPE_POSITION_EFFECT_OPEN) {
        leg->volume += lots;
        leg->cost += value;
        account->margin += value * i->margin_units;
        market->open_interest += sign > 0 ? lots : 0;
    } else {
        /* Rounded down: the average price of what stays and of what goes remain between the lowest
         * and the highest price the lots were opened at, which X4 rests on. */
        int64_t cost = leg->cost * lots / leg->volume;
        int64_t profit = sign * (value - cost) * i->tick_units;
        leg->volume -= lots;
        leg->cost -= cost;
        account->margin -= cost * i->margin_units;
        account->balance += profit;
        x->accounts[sim_clearing(x)].balance -= profit;
        market->open_interest -= sign > 0 ? lots : 0;
        if (profit != 0) {
            sim_event_touch_account(x, sim_clearing(x));
        }
    }
    account->balance -= fee * lots;
    x->accounts[sim_house(x)].balance += fee * lots;
    sim_event_touch_account(x, order->user);
    sim_event_touch_position(x, order->user);
    sim_event_touch_account(x, sim_house(x));
}

/* What a resting order holds back for `lots` of it: money to open, lots to close. */
static void hold(sim_exchange *x, const sim_order *order, int64_t lots) {
    if (order->effect == TAPE_POSITION_EFFECT_OPEN) {
        x->accounts[order->user].frozen += lots * order->reserve;
        sim_event_touch_account(x, order->user);
    } else {
        sim_position_of(x, order->user, order->instrument)->leg[leg_of(order)].closing += lots;
    }
}

static tape_order_status status_of(const sim_order *order) {
    return order->filled == order->volume ? TAPE_ORDER_STATUS_FILLED : TAPE_ORDER_STATUS_PARTIAL;
}

static void fill(sim_exchange *x, sim_order *taker, uint32_t maker_slot) {
    sim_market *market = &x->markets[taker->instrument];
    sim_order maker = x->pool.orders[maker_slot];
    int64_t maker_left = maker.volume - maker.filled;
    int64_t lots = taker->volume - taker->filled;
    if (lots >= maker_left) {
        lots = maker_left;
        sim_book_remove(&market->book, maker_slot);
    } else {
        sim_book_reduce(&market->book, maker_slot, lots);
    }
    maker.filled += lots;
    taker->filled += lots;
    hold(x, &maker, -lots);
    settle(x, &maker, maker.price, lots, market->instrument.maker_fee);
    settle(x, taker, maker.price, lots, market->instrument.taker_fee);
    market->last_price = maker.price;
    market->tick_volume += lots;
    market->tick_value += maker.price * lots;
    x->trades++;
    sim_event_trade(x, taker, &maker, lots);
    sim_event_order(x, &maker, status_of(&maker));
    sim_event_order(x, taker, status_of(taker));
}

/* Trades the order as far as it goes; false when it met an order of its own user. */
static bool match(sim_exchange *x, sim_order *taker) {
    const sim_book *book = &x->markets[taker->instrument].book;
    while (taker->filled < taker->volume) {
        uint32_t slot = sim_book_first(book, 1 - taker->side);
        if (slot == SIM_NO_SLOT) {
            break;
        }
        const sim_order *maker = &x->pool.orders[slot];
        if (taker->type == TAPE_ORDER_TYPE_LIMIT &&
            (taker->side == SIM_BUY ? maker->price > taker->price : maker->price < taker->price)) {
            break;
        }
        if (maker->user == taker->user) {
            return false;
        }
        fill(x, taker, slot);
    }
    return true;
}

sim_handle sim_exchange_submit(sim_exchange *x, const sim_order_request *request, int64_t ts) {
    ASSERT(x->users_opened == x->options.users);
    ASSERT(request->user < x->options.users && request->instrument < x->options.instruments);
    ASSERT(request->side <= SIM_SELL && (request->effect == TAPE_POSITION_EFFECT_OPEN ||
                                         request->effect == TAPE_POSITION_EFFECT_CLOSE));
    sim_market *market = &x->markets[request->instrument];
    sim_order order = {
        .number = ++x->orders,
        .user = request->user,
        .instrument = request->instrument,
        .price = request->type == TAPE_ORDER_TYPE_MARKET ? 0 : request->price,
        .volume = request->volume,
        .side = request->side,
        .effect = request->effect,
        .type = request->type,
    };
    sim_handle handle = {.slot = SIM_NO_SLOT, .number = order.number};
    sim_event_begin(x, ts);
    x->event.reject = admit(x, market, &order);
    if (x->event.reject != SIM_REJECT_NONE) {
        x->rejects++;
        sim_event_order(x, &order, TAPE_ORDER_STATUS_REJECTED);
        return handle;
    }
    sim_event_order(x, &order, TAPE_ORDER_STATUS_ACCEPTED);
    bool may_rest = match(x, &order) && order.type == TAPE_ORDER_TYPE_LIMIT;
    int64_t left = order.volume - order.filled;
    if (left > 0 && may_rest) {
        order.reserve =
            order.price * market->instrument.margin_units + market->instrument.maker_fee;
        hold(x, &order, left);
        handle.slot = sim_book_add(&market->book, &order);
    } else if (left > 0) {
        sim_event_order(x, &order, TAPE_ORDER_STATUS_CANCELLED);
    }
    sim_event_end(x, order.instrument);
    return handle;
}

bool sim_exchange_cancel(sim_exchange *x, sim_handle handle, int64_t ts) {
    sim_event_begin(x, ts);
    if (handle.number == 0 || handle.slot >= x->pool.used ||
        x->pool.orders[handle.slot].number != handle.number) {
        return false;
    }
    sim_order order = x->pool.orders[handle.slot];
    sim_book_remove(&x->markets[order.instrument].book, handle.slot);
    hold(x, &order, order.filled - order.volume);
    x->cancels++;
    sim_event_order(x, &order, TAPE_ORDER_STATUS_CANCELLED);
    sim_event_end(x, order.instrument);
    return true;
}
