/* The exchange's rules, one scenario each. model_test.c proves the rest under random commands. */
#include "sim/sim_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define OPEN TAPE_POSITION_EFFECT_OPEN
#define CLOSE TAPE_POSITION_EFFECT_CLOSE
#define LIMIT TAPE_ORDER_TYPE_LIMIT
#define MARKET TAPE_ORDER_TYPE_MARKET
#define REFERENCE 19200 /* of instrument 0, ticks */

static sim_exchange *x;
static int64_t now;

static int setup_with(uint32_t users, int64_t deposit) {
    x = mem_alloc(sizeof *x);
    sim_exchange_init(x, &(sim_exchange_options){7, 2, users, deposit});
    now = SIM_START_TS;
    while (sim_exchange_open(x, now)) {
    }
    return 0;
}

static int setup(void **state) {
    (void)state;
    return setup_with(8, SIM_DEPOSIT_UNITS);
}

static int setup_many_users(void **state) {
    (void)state;
    return setup_with(SIM_ORDER_LOTS_MAX + 8, SIM_DEPOSIT_UNITS);
}

static int teardown(void **state) {
    (void)state;
    sim_exchange_deinit(x);
    free(x);
    return 0;
}

static sim_handle send(uint32_t user, int side, int effect, int64_t price, int64_t volume) {
    sim_order_request r = {.user = user,
                           .side = (uint8_t)side,
                           .effect = (uint8_t)effect,
                           .type = price == 0 ? MARKET : LIMIT,
                           .price = price,
                           .volume = volume};
    return sim_exchange_submit(x, &r, ++now);
}

/* The n-th record of a table in the last event; NULL when there are fewer. */
static const void *nth(uint16_t table, size_t n) {
    for (size_t i = 0; i < x->event.count; i++) {
        if (x->event.records[i].table == table && n-- == 0) {
            return x->event.records[i].data;
        }
    }
    return NULL;
}

static size_t count_of(uint16_t table) {
    size_t count = 0;
    while (nth(table, count) != NULL) {
        count++;
    }
    return count;
}

static tape_order_status last_status(void) {
    const tape_order *order = nth(TAPE_TABLE_ORDERS, count_of(TAPE_TABLE_ORDERS) - 1);
    return (tape_order_status)order->status;
}

static void exchange_fills_best_price_first_then_oldest_first(void **state) {
    (void)state;
    send(1, SIM_SELL, OPEN, REFERENCE + 2, 3); /* order 1 */
    send(2, SIM_SELL, OPEN, REFERENCE + 1, 3);
    send(3, SIM_SELL, OPEN, REFERENCE + 1, 3);
    send(4, SIM_SELL, OPEN, REFERENCE + 2, 3);
    send(5, SIM_BUY, OPEN, REFERENCE + 2, 10);
    const char *makers[] = {"s7-o00000002", "s7-o00000003", "s7-o00000001", "s7-o00000004"};
    const double volumes[] = {3, 3, 3, 1};
    const double prices[] = {4800.25, 4800.25, 4800.5, 4800.5};
    assert_int_equal(count_of(TAPE_TABLE_TRADES), 4);
    for (size_t i = 0; i < 4; i++) {
        const tape_trade *trade = nth(TAPE_TABLE_TRADES, i);
        assert_string_equal(trade->counter_order_id, makers[i]);
        assert_string_equal(trade->order_id, "s7-o00000005");
        assert_string_equal(trade->user_id, "u7-0006");
        assert_string_equal(trade->instrument_id, "SIM");
        assert_int_equal(trade->side, TAPE_SIDE_BUY);
        assert_true(trade->volume == volumes[i] && trade->price == prices[i]);
    }
    assert_int_equal(last_status(), TAPE_ORDER_STATUS_FILLED);
}

static void exchange_partial_fill_keeps_its_place_in_the_queue(void **state) {
    (void)state;
    send(1, SIM_BUY, OPEN, REFERENCE, 5);
    send(2, SIM_BUY, OPEN, REFERENCE, 5);
    send(3, SIM_SELL, OPEN, REFERENCE, 2);
    send(3, SIM_SELL, OPEN, REFERENCE, 2);
    const tape_trade *trade = nth(TAPE_TABLE_TRADES, 0);
    assert_string_equal(trade->counter_order_id, "s7-o00000001");
    assert_int_equal(count_of(TAPE_TABLE_TRADES), 1);
}

static void exchange_rest_of_a_limit_order_waits_and_is_cancelled_once(void **state) {
    (void)state;
    send(1, SIM_SELL, OPEN, REFERENCE, 2);
    sim_handle handle = send(2, SIM_BUY, OPEN, REFERENCE, 5);
    assert_true(handle.slot != SIM_NO_SLOT);
    assert_int_equal(last_status(), TAPE_ORDER_STATUS_PARTIAL);
    assert_true(sim_exchange_cancel(x, handle, ++now));
    const tape_order *order = nth(TAPE_TABLE_ORDERS, 0);
    assert_int_equal(order->status, TAPE_ORDER_STATUS_CANCELLED);
    assert_true(order->filled_volume == 2 && order->volume == 5);
    const tape_account *account = nth(TAPE_TABLE_ACCOUNTS, 0);
    assert_string_equal(account->user_id, "u7-0003");
    assert_true(account->frozen == 0 && account->margin > 0);
    assert_false(sim_exchange_cancel(x, handle, ++now));
    assert_int_equal(x->event.count, 0);
    assert_int_equal(x->cancels, 1);
}

static void exchange_cancel_of_a_slot_used_again_does_nothing(void **state) {
    (void)state;
    sim_handle first = send(1, SIM_BUY, OPEN, REFERENCE, 1);
    assert_true(sim_exchange_cancel(x, first, ++now));
    sim_handle second = send(2, SIM_BUY, OPEN, REFERENCE, 1);
    assert_int_equal(second.slot, first.slot);
    assert_false(sim_exchange_cancel(x, first, ++now));
    assert_true(sim_exchange_cancel(x, second, ++now));
    assert_false(sim_exchange_cancel(x, (sim_handle){.slot = SIM_NO_SLOT, .number = 1}, ++now));
    assert_false(sim_exchange_cancel(x, (sim_handle){.slot = 0, .number = 0}, ++now));
}

static void exchange_rest_of_a_market_order_is_cancelled(void **state) {
    (void)state;
    send(1, SIM_SELL, OPEN, REFERENCE + 9, 2);
    assert_int_equal(send(2, SIM_BUY, OPEN, 0, 5).slot, SIM_NO_SLOT);
    assert_int_equal(last_status(), TAPE_ORDER_STATUS_CANCELLED);
    const tape_order *order = nth(TAPE_TABLE_ORDERS, count_of(TAPE_TABLE_ORDERS) - 1);
    assert_true(order->filled_volume == 2 && order->price == 0);
    assert_int_equal(order->order_type, TAPE_ORDER_TYPE_MARKET);
    send(2, SIM_BUY, OPEN, 0, 5); /* nobody is there */
    assert_int_equal(count_of(TAPE_TABLE_ORDERS), 2);
    assert_int_equal(last_status(), TAPE_ORDER_STATUS_CANCELLED);
}

static void exchange_cancels_what_would_trade_with_its_own_user(void **state) {
    (void)state;
    send(1, SIM_SELL, OPEN, REFERENCE, 2);
    send(2, SIM_SELL, OPEN, REFERENCE, 2);
    send(3, SIM_SELL, OPEN, REFERENCE, 2);
    assert_int_equal(send(2, SIM_BUY, OPEN, REFERENCE, 6).slot, SIM_NO_SLOT);
    assert_int_equal(count_of(TAPE_TABLE_TRADES), 1); /* with user 1, who is first */
    assert_int_equal(last_status(), TAPE_ORDER_STATUS_CANCELLED);
    assert_int_equal(sim_book_volume(&x->markets[0].book, REFERENCE), 4);
}

static void exchange_rejects_and_says_why(void **state) {
    (void)state;
    const sim_instrument *in = &x->markets[0].instrument;
    const struct {
        int side, effect;
        int64_t price, volume;
        sim_reject reject;
    } cases[] = {
        {SIM_BUY, OPEN, REFERENCE, 0, SIM_REJECT_VOLUME},
        {SIM_BUY, OPEN, REFERENCE, -1, SIM_REJECT_VOLUME},
        {SIM_BUY, OPEN, REFERENCE, SIM_ORDER_LOTS_MAX + 1, SIM_REJECT_VOLUME},
        {SIM_BUY, OPEN, in->low - 1, 1, SIM_REJECT_PRICE},
        {SIM_SELL, OPEN, in->high + 1, 1, SIM_REJECT_PRICE},
        {SIM_BUY, CLOSE, REFERENCE, 1, SIM_REJECT_POSITION},
        {SIM_SELL, CLOSE, REFERENCE, 1, SIM_REJECT_POSITION},
        {SIM_BUY, OPEN, in->low, 1, SIM_REJECT_NONE},
        {SIM_BUY, OPEN, in->low, SIM_ORDER_LOTS_MAX, SIM_REJECT_NONE},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        send(1, cases[i].side, cases[i].effect, cases[i].price, cases[i].volume);
        assert_int_equal(x->event.reject, cases[i].reject);
        const tape_order *order = nth(TAPE_TABLE_ORDERS, 0);
        bool rejected = cases[i].reject != SIM_REJECT_NONE;
        assert_int_equal(order->status == TAPE_ORDER_STATUS_REJECTED, rejected);
        assert_true(!rejected || x->event.count == 1); /* nothing else happened */
    }
    assert_int_equal(x->rejects, 7);
    assert_int_equal(x->orders, COUNT_OF(cases)); /* every order has a number */
}

static void exchange_freezes_margin_and_rejects_what_it_does_not_cover(void **state) {
    (void)state;
    const sim_instrument *in = &x->markets[0].instrument;
    int64_t per_lot = REFERENCE * in->margin_units + in->taker_fee;
    int64_t lots = SIM_DEPOSIT_UNITS / per_lot; /* that the deposit covers */
    int64_t sent = 0;
    while (sent + SIM_ORDER_LOTS_MAX <= lots) {
        send(1, SIM_BUY, OPEN, REFERENCE, SIM_ORDER_LOTS_MAX);
        assert_int_equal(x->event.reject, SIM_REJECT_NONE);
        sent += SIM_ORDER_LOTS_MAX;
    }
    int64_t reserve = REFERENCE * in->margin_units + in->maker_fee;
    assert_int_equal(x->accounts[1].frozen, sent * reserve);
    int64_t fit = sim_available(&x->accounts[1]) / per_lot;
    assert_in_range(fit, 1, SIM_ORDER_LOTS_MAX - 1);
    send(1, SIM_BUY, OPEN, REFERENCE, fit + 1);
    assert_int_equal(x->event.reject, SIM_REJECT_MARGIN);
    send(1, SIM_BUY, OPEN, REFERENCE, fit);
    assert_int_equal(x->event.reject, SIM_REJECT_NONE);
    assert_true(sim_available(&x->accounts[1]) < per_lot);
    send(1, SIM_SELL, OPEN, REFERENCE + 5, 2); /* selling needs margin, too */
    assert_int_equal(x->event.reject, SIM_REJECT_MARGIN);
}

static void exchange_settles_profit_loss_and_fees_to_the_last_unit(void **state) {
    (void)state;
    const sim_instrument *in = &x->markets[0].instrument;
    send(1, SIM_SELL, OPEN, REFERENCE, 4);       /* user 1 short, maker */
    send(2, SIM_BUY, OPEN, REFERENCE, 4);        /* user 2 long, taker */
    send(3, SIM_BUY, OPEN, REFERENCE + 10, 3);   /* waits */
    send(2, SIM_SELL, CLOSE, REFERENCE + 10, 3); /* user 2 earns 10 ticks on 3 lots */
    int64_t gain = 10 * 3 * in->tick_units;
    assert_int_equal(x->accounts[2].balance, SIM_DEPOSIT_UNITS + gain - 7 * in->taker_fee);
    assert_int_equal(x->accounts[2].margin, 1 * REFERENCE * in->margin_units);
    assert_int_equal(x->accounts[sim_clearing(x)].balance, 8 * SIM_DEPOSIT_UNITS - gain);
    send(4, SIM_SELL, OPEN, REFERENCE + 20, 4);
    send(1, SIM_BUY, CLOSE, REFERENCE + 20, 4); /* user 1 loses 20 ticks on 4 lots */
    int64_t loss = 20 * 4 * in->tick_units;
    assert_int_equal(x->accounts[1].balance,
                     SIM_DEPOSIT_UNITS - loss - 4 * in->maker_fee - 4 * in->taker_fee);
    assert_int_equal(x->accounts[1].margin, 0);
    const sim_position *position = sim_position_of(x, 1, 0);
    assert_int_equal(position->leg[SIM_SHORT].volume, 0);
    assert_int_equal(position->leg[SIM_SHORT].cost, 0);
    int64_t fees = 11 * in->maker_fee + 11 * in->taker_fee; /* 11 lots traded, two sides */
    assert_int_equal(x->accounts[sim_house(x)].balance, fees);
    assert_int_equal(x->markets[0].open_interest, 4);
}

static void exchange_averages_prices_over_a_position(void **state) {
    (void)state;
    send(1, SIM_SELL, OPEN, REFERENCE, 1);
    send(2, SIM_BUY, OPEN, REFERENCE, 1);
    send(1, SIM_SELL, OPEN, REFERENCE + 8, 3);
    send(2, SIM_BUY, OPEN, REFERENCE + 8, 3);
    const tape_position *taker = nth(TAPE_TABLE_POSITIONS, 1);
    assert_string_equal(taker->user_id, "u7-0003");
    assert_true(taker->long_volume == 4 && taker->short_volume == 0);
    assert_true(taker->long_price == 4801.5 && taker->short_price == 0);
}

static void exchange_close_orders_cannot_promise_a_lot_twice(void **state) {
    (void)state;
    send(1, SIM_SELL, OPEN, REFERENCE, 5);
    send(2, SIM_BUY, OPEN, REFERENCE, 5);
    sim_handle handle = send(2, SIM_SELL, CLOSE, REFERENCE + 3, 4);
    assert_int_equal(x->event.reject, SIM_REJECT_NONE);
    send(2, SIM_SELL, CLOSE, REFERENCE + 3, 2);
    assert_int_equal(x->event.reject, SIM_REJECT_POSITION);
    assert_true(sim_exchange_cancel(x, handle, ++now));
    send(2, SIM_SELL, CLOSE, REFERENCE + 3, 5);
    assert_int_equal(x->event.reject, SIM_REJECT_NONE);
}

static void exchange_largest_event_fits_into_one_append(void **state) {
    (void)state;
    for (uint32_t i = 0; i < SIM_ORDER_LOTS_MAX; i++) {
        send(i, SIM_SELL, OPEN, REFERENCE + i % 12, 1);
    }
    send(SIM_ORDER_LOTS_MAX, SIM_BUY, OPEN, REFERENCE + 20, SIM_ORDER_LOTS_MAX);
    assert_int_equal(count_of(TAPE_TABLE_TRADES), SIM_ORDER_LOTS_MAX);
    assert_int_equal(count_of(TAPE_TABLE_ORDERS), 1 + 2 * SIM_ORDER_LOTS_MAX);
    assert_int_equal(count_of(TAPE_TABLE_ACCOUNTS), SIM_ORDER_LOTS_MAX + 1 + 1);
    assert_int_equal(count_of(TAPE_TABLE_POSITIONS), SIM_ORDER_LOTS_MAX + 1);
    assert_true(x->event.bytes_used + x->event.count * SIM_FRAME_BYTES <= TAPE_APPEND_BYTES_MAX);
}

static void exchange_tick_tells_what_traded_since_the_last_one(void **state) {
    (void)state;
    send(1, SIM_SELL, OPEN, REFERENCE + 4, 5);
    const tape_tick *tick = nth(TAPE_TABLE_TICKS, 0);
    assert_true(tick->last_price == 4800 && tick->volume == 0);
    assert_true(tick->bid_price == 0 && tick->ask_price == 4801 && tick->ask_volume == 5);
    send(1, SIM_SELL, OPEN, REFERENCE + 5, 5); /* behind the best price */
    assert_null(nth(TAPE_TABLE_TICKS, 0));
    send(2, SIM_BUY, OPEN, REFERENCE + 4, 3);
    tick = nth(TAPE_TABLE_TICKS, 0);
    assert_true(tick->last_price == 4801 && tick->volume == 3 && tick->ask_volume == 2);
    assert_true(tick->turnover == 3 * 4801.0 * 50 && tick->open_interest == 3);
    send(2, SIM_BUY, OPEN, REFERENCE + 3, 3);
    tick = nth(TAPE_TABLE_TICKS, 0);
    assert_true(tick->volume == 0 && tick->turnover == 0 && tick->bid_price == 4800.75);
}

static void exchange_depth_comes_at_most_every_so_many_events(void **state) {
    (void)state;
    size_t depths = 0;
    for (int i = 0; i < 10 * SIM_DEPTH_EVENTS; i++) {
        send(1, i % 2, OPEN, i % 2 == SIM_BUY ? REFERENCE - i % 24 : REFERENCE + 1 + i % 24, 1);
        depths += count_of(TAPE_TABLE_DEPTH);
    }
    assert_int_equal(depths, 10);
    for (int i = 0; i < 2 * SIM_DEPTH_EVENTS; i++) { /* beyond the ten best levels: no news */
        send(1, SIM_BUY, OPEN, REFERENCE - 500, 1);
        assert_null(nth(TAPE_TABLE_DEPTH, 0));
    }
    send(1, SIM_BUY, OPEN, REFERENCE, 1);
    const tape_depth *depth = nth(TAPE_TABLE_DEPTH, 0);
    assert_non_null(depth);
    assert_true(depth->bid_price[0] == 4800 && depth->bid_price[9] != 0);
}

static void exchange_opens_accounts_out_of_the_clearing_account(void **state) {
    (void)state;
    sim_exchange *other = mem_alloc(sizeof *other);
    sim_exchange_init(other, &(sim_exchange_options){3, 600, 600, SIM_DEPOSIT_UNITS});
    size_t events = 0, instruments = 0, users = 0;
    while (sim_exchange_open(other, SIM_START_TS)) {
        events++;
        int64_t sum = 0;
        for (uint32_t i = 0; i < 602; i++) {
            sum += other->accounts[i].balance;
        }
        assert_int_equal(sum, 1200 * SIM_DEPOSIT_UNITS);
        for (size_t i = 0; i < other->event.count; i++) {
            instruments += other->event.records[i].table == TAPE_TABLE_INSTRUMENTS;
            const tape_account *account = other->event.records[i].data;
            users += other->event.records[i].table == TAPE_TABLE_ACCOUNTS &&
                     account->user_id[3] >= '0' && account->user_id[3] <= '9';
        }
    }
    assert_int_equal(instruments, 600);
    assert_int_equal(users, 600);
    assert_int_equal(events, 6);
    sim_exchange_deinit(other);
    free(other);
}

static void exchange_identifiers_fit_their_fields(void **state) {
    (void)state;
    sim_exchange *other = mem_alloc(sizeof *other);
    sim_exchange_init(other, &(sim_exchange_options){UINT64_MAX, 1, 2, SIM_DEPOSIT_UNITS});
    while (sim_exchange_open(other, SIM_START_TS)) {
    }
    other->orders = SIM_ORDERS_MAX - 1; /* the last order a run can have */
    sim_order_request r = {.side = SIM_BUY, .effect = OPEN, .price = REFERENCE, .volume = 1};
    sim_exchange_submit(other, &r, SIM_START_TS + 1);
    const tape_order *order = other->event.records[0].data;
    assert_string_equal(order->order_id, "s18446744073709551615-o100000000000000");
    assert_string_equal(order->user_id, "u18446744073709551615-0001");
    sim_exchange_deinit(other);
    free(other);
}

static void instrument_parameters_are_exact(void **state) {
    (void)state;
    for (uint32_t i = 0; i < SIM_INSTRUMENTS_MAX; i++) {
        sim_instrument in;
        sim_instrument_init(&in, i);
        assert_true(in.price_tick * in.multiplier * SIM_UNITS_PER_MONEY == (double)in.tick_units);
        assert_true((double)in.tick_units * in.margin_rate == (double)in.margin_units);
        assert_true(0 < in.maker_fee && in.maker_fee <= in.taker_fee);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(exchange_fills_best_price_first_then_oldest_first),
        TEST(exchange_partial_fill_keeps_its_place_in_the_queue),
        TEST(exchange_rest_of_a_limit_order_waits_and_is_cancelled_once),
        TEST(exchange_cancel_of_a_slot_used_again_does_nothing),
        TEST(exchange_rest_of_a_market_order_is_cancelled),
        TEST(exchange_cancels_what_would_trade_with_its_own_user),
        TEST(exchange_rejects_and_says_why),
        TEST(exchange_freezes_margin_and_rejects_what_it_does_not_cover),
        TEST(exchange_settles_profit_loss_and_fees_to_the_last_unit),
        TEST(exchange_averages_prices_over_a_position),
        TEST(exchange_close_orders_cannot_promise_a_lot_twice),
        cmocka_unit_test_setup_teardown(exchange_largest_event_fits_into_one_append,
                                        setup_many_users, teardown),
        TEST(exchange_tick_tells_what_traded_since_the_last_one),
        TEST(exchange_depth_comes_at_most_every_so_many_events),
        cmocka_unit_test(exchange_opens_accounts_out_of_the_clearing_account),
        cmocka_unit_test(exchange_identifiers_fit_their_fields),
        cmocka_unit_test(instrument_parameters_are_exact),
    };
    return cmocka_run_group_tests_name("sim_exchange", tests, NULL, NULL);
}
