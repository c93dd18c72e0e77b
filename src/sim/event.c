/* The records of one event, in the order they are appended: the order as accepted (or rejected),
 * per fill the trade, the resting order and the incoming one, a cancelled remainder, then once each
 * the accounts and positions the event changed, a tick and a depth record.
 *
 * A tick is due when the event traded or changed the best price or its volume on either side; its
 * volume and turnover are what was traded since the instrument's last tick, so that they add up. A
 * depth record is due when at least SIM_DEPTH_EVENTS events of the instrument happened since the
 * last one and the ten best levels differ from it. */
#include "sim/sim_internal.h"

void sim_event_begin(sim_exchange *x, int64_t ts) {
    sim_event *event = &x->event;
    event->ts = ts;
    event->number++;
    event->count = 0;
    event->bytes_used = 0;
    event->touched_count = 0;
    event->reject = SIM_REJECT_NONE;
}

static void *event_add(sim_event *event, uint16_t table, uint32_t size) {
    ASSERT(event->count < SIM_EVENT_RECORDS_MAX);
    ASSERT(size <= SIM_EVENT_BYTES_MAX - event->bytes_used);
    void *record = &event->bytes[event->bytes_used];
    event->bytes_used += size;
    event->records[event->count++] =
        (tape_record){.table = table, .size_bytes = size, .data = record};
    return memset(record, 0, size);
}

static size_t put_text(char *out, const char *text) {
    size_t length = strlen(text);
    memcpy(out, text, length);
    return length;
}

/* Decimal digits, at least `width`. */
static size_t put_number(char *out, uint64_t number, size_t width) {
    char digits[24];
    size_t count = 0;
    while (number != 0 || count < width) {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = digits[count - 1 - i];
    }
    return count;
}

/* "s7-o00000001", "s7-t00000001". Digits enough that ids sort by age up to a hundred million. */
static void put_id(const sim_exchange *x, char kind, uint64_t number, char out[40]) {
    size_t length = put_text(out, x->id_prefix);
    out[length++] = kind;
    put_number(out + length, number, 8);
}

void sim_account_id(const sim_exchange *x, uint32_t account, char out[32]) {
    memset(out, 0, 32);
    size_t length = put_text(out, x->user_prefix);
    if (account == sim_house(x)) {
        put_text(out + length, "house");
    } else if (account == sim_clearing(x)) {
        put_text(out + length, "clearing");
    } else {
        put_number(out + length, account + 1, 4);
    }
}

static double money(int64_t units) {
    return (double)units / SIM_UNITS_PER_MONEY;
}

void sim_event_order(sim_exchange *x, const sim_order *order, tape_order_status status) {
    const sim_instrument *i = &x->markets[order->instrument].instrument;
    tape_order *record = event_add(&x->event, TAPE_TABLE_ORDERS, sizeof *record);
    record->ts = x->event.ts;
    put_id(x, 'o', order->number, record->order_id);
    sim_account_id(x, order->user, record->user_id);
    memcpy(record->instrument_id, i->id, sizeof record->instrument_id);
    record->side = order->side == SIM_BUY ? TAPE_SIDE_BUY : TAPE_SIDE_SELL;
    record->position_effect = order->effect;
    record->order_type = order->type;
    record->price = (double)order->price * i->price_tick;
    record->volume = (double)order->volume;
    record->filled_volume = (double)order->filled;
    record->status = (uint8_t)status;
}

void sim_event_trade(sim_exchange *x, const sim_order *taker, const sim_order *maker,
                     int64_t lots) {
    const sim_instrument *i = &x->markets[taker->instrument].instrument;
    tape_trade *record = event_add(&x->event, TAPE_TABLE_TRADES, sizeof *record);
    record->ts = x->event.ts;
    put_id(x, 't', x->trades, record->trade_id);
    put_id(x, 'o', taker->number, record->order_id);
    put_id(x, 'o', maker->number, record->counter_order_id);
    sim_account_id(x, taker->user, record->user_id);
    memcpy(record->instrument_id, i->id, sizeof record->instrument_id);
    record->side = taker->side == SIM_BUY ? TAPE_SIDE_BUY : TAPE_SIDE_SELL;
    record->position_effect = taker->effect;
    record->price = (double)maker->price * i->price_tick;
    record->volume = (double)lots;
}

void sim_event_instrument(sim_exchange *x, const sim_instrument *instrument) {
    tape_instrument *record = event_add(&x->event, TAPE_TABLE_INSTRUMENTS, sizeof *record);
    record->ts = x->event.ts;
    memcpy(record->instrument_id, instrument->id, sizeof record->instrument_id);
    record->price_tick = instrument->price_tick;
    record->volume_multiplier = instrument->multiplier;
    record->margin_rate = instrument->margin_rate;
    record->status = TAPE_INSTRUMENT_STATUS_TRADING;
}

void sim_event_account(sim_exchange *x, uint32_t index) {
    const sim_account *account = &x->accounts[index];
    ASSERT(sim_available(account) >= 0); /* X4 */
    tape_account *record = event_add(&x->event, TAPE_TABLE_ACCOUNTS, sizeof *record);
    record->ts = x->event.ts;
    sim_account_id(x, index, record->user_id);
    record->balance = money(account->balance);
    record->available = money(sim_available(account));
    record->frozen = money(account->frozen);
    record->margin = money(account->margin);
}

static void event_position(sim_exchange *x, uint32_t user, uint32_t instrument) {
    const sim_instrument *i = &x->markets[instrument].instrument;
    const sim_leg *leg = sim_position_of(x, user, instrument)->leg;
    tape_position *record = event_add(&x->event, TAPE_TABLE_POSITIONS, sizeof *record);
    record->ts = x->event.ts;
    sim_account_id(x, user, record->user_id);
    memcpy(record->instrument_id, i->id, sizeof record->instrument_id);
    double price[2];
    for (int side = 0; side < 2; side++) {
        double cost = (double)leg[side].cost * i->price_tick;
        price[side] = leg[side].volume == 0 ? 0 : cost / (double)leg[side].volume;
    }
    record->long_volume = (double)leg[SIM_LONG].volume;
    record->long_price = price[SIM_LONG];
    record->short_volume = (double)leg[SIM_SHORT].volume;
    record->short_price = price[SIM_SHORT];
}

static sim_account *touch(sim_exchange *x, uint32_t index) {
    sim_account *account = &x->accounts[index];
    if (account->touched_event != x->event.number) {
        ASSERT(x->event.touched_count < COUNT_OF(x->event.touched));
        account->touched_event = x->event.number;
        account->account_changed = false;
        account->position_changed = false;
        x->event.touched[x->event.touched_count++] = index;
    }
    return account;
}

void sim_event_touch_account(sim_exchange *x, uint32_t account) {
    touch(x, account)->account_changed = true;
}

void sim_event_touch_position(sim_exchange *x, uint32_t user) {
    touch(x, user)->position_changed = true;
}

/* --- quotes ---------------------------------------------------------------------------------- */

static double quote_price(const sim_market *market, int side) {
    return market->top_price[side] == SIM_NO_PRICE
               ? 0
               : (double)market->top_price[side] * market->instrument.price_tick;
}

static void tick_if_due(sim_exchange *x, sim_market *market) {
    bool due = market->tick_volume != 0;
    for (int side = 0; side < 2; side++) {
        int64_t price = market->book.best[side];
        int64_t volume = price == SIM_NO_PRICE ? 0 : sim_book_volume(&market->book, price);
        due = due || price != market->top_price[side] || volume != market->top_volume[side];
        market->top_price[side] = price;
        market->top_volume[side] = volume;
    }
    if (!due) {
        return;
    }
    const sim_instrument *i = &market->instrument;
    tape_tick *record = event_add(&x->event, TAPE_TABLE_TICKS, sizeof *record);
    record->ts = x->event.ts;
    memcpy(record->instrument_id, i->id, sizeof record->instrument_id);
    record->last_price = (double)market->last_price * i->price_tick;
    record->volume = (double)market->tick_volume;
    record->turnover = money(market->tick_value * i->tick_units);
    record->open_interest = (double)market->open_interest;
    record->bid_price = quote_price(market, SIM_BUY);
    record->bid_volume = (double)market->top_volume[SIM_BUY];
    record->ask_price = quote_price(market, SIM_SELL);
    record->ask_volume = (double)market->top_volume[SIM_SELL];
    market->tick_volume = 0;
    market->tick_value = 0;
}

static void depth_side(const sim_market *market, int side, double price[SIM_DEPTH_LEVELS],
                       double volume[SIM_DEPTH_LEVELS]) {
    int64_t at = market->book.best[side];
    for (int level = 0; level < SIM_DEPTH_LEVELS && at != SIM_NO_PRICE; level++) {
        price[level] = (double)at * market->instrument.price_tick;
        volume[level] = (double)sim_book_volume(&market->book, at);
        at = sim_book_behind(&market->book, side, at);
    }
}

static void depth_if_due(sim_exchange *x, sim_market *market) {
    if (++market->depth_events < SIM_DEPTH_EVENTS) {
        return;
    }
    tape_depth depth = {.ts = x->event.ts};
    memcpy(depth.instrument_id, market->instrument.id, sizeof depth.instrument_id);
    depth_side(market, SIM_BUY, depth.bid_price, depth.bid_volume);
    depth_side(market, SIM_SELL, depth.ask_price, depth.ask_volume);
    const size_t from = offsetof(tape_depth, bid_price); /* the levels, not seq and ts */
    if (memcmp((const uint8_t *)&depth + from, (const uint8_t *)&market->depth + from,
               sizeof depth - from) == 0) {
        return;
    }
    market->depth_events = 0;
    market->depth = depth;
    memcpy(event_add(&x->event, TAPE_TABLE_DEPTH, sizeof depth), &depth, sizeof depth);
}

void sim_event_end(sim_exchange *x, uint32_t instrument) {
    for (uint32_t i = 0; i < x->event.touched_count; i++) {
        uint32_t index = x->event.touched[i];
        if (x->accounts[index].account_changed) {
            sim_event_account(x, index);
        }
        if (x->accounts[index].position_changed) {
            event_position(x, index, instrument);
        }
    }
    tick_if_due(x, &x->markets[instrument]);
    depth_if_due(x, &x->markets[instrument]);
}
