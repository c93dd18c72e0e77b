/* The exchange against a naive one: a list of orders searched from end to end, accounts in plain
 * integers. Both get the same commands; after every event the records must tell what the model
 * expects, and the numbered invariants of exchange.c must hold in the exchange and in what its
 * records add up to. */
#include "sim/sim_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define USERS_MAX 64
#define INSTRUMENTS_MAX 4

/* --- the naive exchange --------------------------------------------------------------------------
 */

typedef struct model_order {
    uint64_t number;
    sim_order_request request;
    int64_t filled;
    bool resting;
} model_order;

typedef struct model_leg {
    int64_t volume, cost;
} model_leg;

typedef struct model {
    uint32_t users, instruments;
    sim_instrument instrument[INSTRUMENTS_MAX];
    model_order *orders; /* resting ones, oldest first, and gaps */
    size_t order_count, order_capacity;
    int64_t balance[USERS_MAX + 2];
    model_leg legs[USERS_MAX][INSTRUMENTS_MAX][2];
    int64_t traded_lots; /* by the model's own count */
} model;

typedef struct model_fill {
    uint64_t maker;
    int64_t price, lots;
} model_fill;

typedef struct model_outcome {
    bool rejected, cancelled;
    size_t fill_count;
    model_fill fills[SIM_ORDER_LOTS_MAX];
} model_outcome;

static bool opens(const sim_order_request *r) {
    return r->effect == TAPE_POSITION_EFFECT_OPEN;
}

static model_leg *model_leg_of(model *m, const sim_order_request *r) {
    bool is_long = opens(r) == (r->side == SIM_BUY);
    return &m->legs[r->user][r->instrument][is_long ? SIM_LONG : SIM_SHORT];
}

static int64_t model_frozen(const model *m, uint32_t user) {
    int64_t sum = 0;
    for (size_t i = 0; i < m->order_count; i++) {
        const model_order *o = &m->orders[i];
        const sim_instrument *in = &m->instrument[o->request.instrument];
        if (o->resting && o->request.user == user && opens(&o->request)) {
            sum += (o->request.volume - o->filled) *
                   (o->request.price * in->margin_units + in->maker_fee);
        }
    }
    return sum;
}

static int64_t model_margin(const model *m, uint32_t user) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < m->instruments; i++) {
        for (int leg = 0; leg < 2; leg++) {
            sum += m->legs[user][i][leg].cost * m->instrument[i].margin_units;
        }
    }
    return sum;
}

/* The resting order of a side next in turn: best price, then oldest; NULL when there is none. */
static model_order *model_next(model *m, uint32_t instrument, int side) {
    model_order *best = NULL;
    for (size_t i = 0; i < m->order_count; i++) {
        model_order *o = &m->orders[i];
        if (!o->resting || o->request.instrument != instrument || o->request.side != side) {
            continue;
        }
        if (best == NULL || (side == SIM_BUY ? o->request.price > best->request.price
                                             : o->request.price < best->request.price)) {
            best = o;
        }
    }
    return best;
}

static bool model_rejects(model *m, const sim_order_request *r) {
    const sim_instrument *in = &m->instrument[r->instrument];
    bool market = r->type == TAPE_ORDER_TYPE_MARKET;
    if (r->volume < 1 || r->volume > 128) {
        return true;
    }
    if (!market && (r->price < in->low || r->price > in->high)) {
        return true;
    }
    if (!opens(r)) {
        int64_t closing = 0;
        for (size_t i = 0; i < m->order_count; i++) {
            const model_order *o = &m->orders[i];
            if (o->resting && o->request.user == r->user && !opens(&o->request) &&
                o->request.instrument == r->instrument && o->request.side == r->side) {
                closing += o->request.volume - o->filled;
            }
        }
        return r->volume > model_leg_of(m, r)->volume - closing;
    }
    int64_t worst = market ? (r->side == SIM_BUY ? in->high : 0) : r->price;
    const model_order *bid = model_next(m, r->instrument, SIM_BUY);
    if (r->side == SIM_SELL && bid != NULL && bid->request.price > worst) {
        worst = bid->request.price;
    }
    int64_t available = m->balance[r->user] - model_margin(m, r->user) - model_frozen(m, r->user);
    return r->volume * (worst * in->margin_units + in->taker_fee) > available;
}

static void model_settle(model *m, const sim_order_request *r, int64_t price, int64_t count,
                         int64_t fee) {
    model_leg *leg = model_leg_of(m, r);
    if (opens(r)) {
        leg->volume += count;
        leg->cost += price * count;
    } else {
        int64_t cost = leg->cost * count / leg->volume;
        int64_t gain = r->side == SIM_SELL ? price * count - cost : cost - price * count;
        gain *= m->instrument[r->instrument].tick_units;
        leg->volume -= count;
        leg->cost -= cost;
        m->balance[r->user] += gain;
        m->balance[m->users + 1] -= gain;
    }
    m->balance[r->user] -= fee * count;
    m->balance[m->users] += fee * count;
}

static void model_rest(model *m, uint64_t number, const sim_order_request *r, int64_t filled) {
    size_t kept = 0;
    if (m->order_count == m->order_capacity) {
        for (size_t i = 0; i < m->order_count; i++) {
            if (m->orders[i].resting) {
                m->orders[kept++] = m->orders[i];
            }
        }
        m->order_count = kept;
        if (kept > m->order_capacity / 2) {
            m->order_capacity *= 2;
            m->orders = mem_realloc(m->orders, m->order_capacity * sizeof *m->orders);
        }
    }
    m->orders[m->order_count++] = (model_order){number, *r, filled, true};
}

static void model_submit(model *m, uint64_t number, const sim_order_request *r,
                         model_outcome *out) {
    *out = (model_outcome){.rejected = model_rejects(m, r)};
    if (out->rejected) {
        return;
    }
    const sim_instrument *in = &m->instrument[r->instrument];
    bool market = r->type == TAPE_ORDER_TYPE_MARKET;
    int64_t left = r->volume;
    bool own = false;
    while (left > 0 && !own) {
        model_order *maker = model_next(m, r->instrument, 1 - r->side);
        if (maker == NULL || (!market && (r->side == SIM_BUY ? maker->request.price > r->price
                                                             : maker->request.price < r->price))) {
            break;
        }
        own = maker->request.user == r->user;
        if (own) {
            break;
        }
        int64_t maker_left = maker->request.volume - maker->filled;
        int64_t count = left < maker_left ? left : maker_left;
        out->fills[out->fill_count++] = (model_fill){maker->number, maker->request.price, count};
        maker->filled += count;
        maker->resting = maker->filled < maker->request.volume;
        left -= count;
        m->traded_lots += count;
        model_settle(m, &maker->request, maker->request.price, count, in->maker_fee);
        model_settle(m, r, maker->request.price, count, in->taker_fee);
    }
    out->cancelled = left > 0 && (market || own);
    if (left > 0 && !out->cancelled) {
        model_rest(m, number, r, r->volume - left);
    }
}

static bool model_cancel(model *m, uint64_t number) {
    for (size_t i = 0; i < m->order_count; i++) {
        if (m->orders[i].number == number && m->orders[i].resting) {
            m->orders[i].resting = false;
            return true;
        }
    }
    return false;
}

/* --- what the records add up to -------------------------------------------------------------- */

typedef struct tally {
    double *filled; /* by order number */
    double *volume;
    uint8_t *status;
    uint64_t orders, capacity;
    double filled_sum, traded_sum, tick_sum;
    double balance[USERS_MAX + 2];
    double bid[INSTRUMENTS_MAX], ask[INSTRUMENTS_MAX];
} tally;

static uint64_t number_of(const char *id) {
    const char *at = strrchr(id, 'o') != NULL ? strrchr(id, 'o') : strrchr(id, 't');
    return strtoull(at + 1, NULL, 10);
}

static uint32_t account_of(const sim_exchange *x, const char *user_id) {
    const char *at = strchr(user_id, '-') + 1;
    if (strcmp(at, "house") == 0) {
        return sim_house(x);
    }
    if (strcmp(at, "clearing") == 0) {
        return sim_clearing(x);
    }
    return (uint32_t)strtoul(at, NULL, 10) - 1;
}

static void tally_order(tally *t, const tape_order *o) {
    uint64_t number = number_of(o->order_id);
    if (number >= t->capacity) {
        t->capacity = 2 * number;
        t->filled = mem_realloc(t->filled, t->capacity * sizeof *t->filled);
        t->volume = mem_realloc(t->volume, t->capacity * sizeof *t->volume);
        t->status = mem_realloc(t->status, t->capacity * sizeof *t->status);
    }
    if (number > t->orders) {
        assert_int_equal(number, t->orders + 1); /* every order once, none left out */
        t->orders = number;
        t->filled[number] = 0;
        t->volume[number] = o->volume;
    } else {
        assert_true(t->status[number] == TAPE_ORDER_STATUS_ACCEPTED ||
                    t->status[number] == TAPE_ORDER_STATUS_PARTIAL); /* nothing after the end */
    }
    assert_true(o->volume == t->volume[number]);
    assert_true(o->filled_volume >= t->filled[number]);
    assert_true(o->filled_volume <= o->volume); /* X6 */
    assert_true((o->status == TAPE_ORDER_STATUS_FILLED) ==
                (o->filled_volume == o->volume && o->status != TAPE_ORDER_STATUS_REJECTED));
    t->filled_sum += o->filled_volume - t->filled[number];
    t->filled[number] = o->filled_volume;
    t->status[number] = o->status;
}

static void tally_depth(const tape_depth *d) {
    for (int i = 0; i + 1 < 10; i++) {
        assert_true(d->bid_price[i + 1] == 0 || d->bid_price[i + 1] < d->bid_price[i]);
        assert_true(d->ask_price[i + 1] == 0 || d->ask_price[i + 1] > d->ask_price[i]);
    }
    for (int i = 0; i < 10; i++) {
        assert_true((d->bid_price[i] == 0) == (d->bid_volume[i] == 0));
        assert_true((d->ask_price[i] == 0) == (d->ask_volume[i] == 0));
    }
    assert_true(d->bid_price[0] == 0 || d->ask_price[0] == 0 ||
                d->bid_price[0] < d->ask_price[0]); /* X7 */
}

static void tally_event(tally *t, const sim_exchange *x) {
    for (size_t i = 0; i < x->event.count; i++) {
        const tape_record *r = &x->event.records[i];
        switch (r->table) {
        case TAPE_TABLE_ORDERS:
            tally_order(t, r->data);
            break;
        case TAPE_TABLE_TRADES:
            t->traded_sum += ((const tape_trade *)r->data)->volume;
            break;
        case TAPE_TABLE_ACCOUNTS: {
            const tape_account *a = r->data;
            assert_true(a->available == a->balance - a->margin - a->frozen);
            assert_true(a->available >= 0 && a->margin >= 0 && a->frozen >= 0); /* X4 */
            t->balance[account_of(x, a->user_id)] = a->balance;
            break;
        }
        case TAPE_TABLE_TICKS: {
            const tape_tick *k = r->data;
            t->tick_sum += k->volume;
            assert_true(k->bid_price == 0 || k->ask_price == 0 || k->bid_price < k->ask_price);
            break;
        }
        case TAPE_TABLE_DEPTH:
            tally_depth(r->data);
            break;
        default:
            break;
        }
    }
}

/* --- both side by side ----------------------------------------------------------------------- */

typedef struct world {
    sim_exchange *x;
    model m;
    tally t;
    int64_t total; /* money units, for ever */
    sim_random random;
    int64_t ts;
    sim_handle handles[64]; /* of recent orders */
} world;

static void check_sums(world *w) {
    double balances = 0;
    int64_t units = 0;
    for (uint32_t i = 0; i < w->m.users + 2; i++) {
        balances += w->t.balance[i];
        units += w->x->accounts[i].balance;
    }
    assert_true(balances * SIM_UNITS_PER_MONEY == (double)w->total); /* X1, as SQL would sum it */
    assert_int_equal(units, w->total);
    assert_true(2 * w->t.traded_sum == w->t.filled_sum);
    assert_true(w->t.tick_sum == w->t.traded_sum);
}

static void world_init(world *w, uint32_t users, uint32_t instruments, int64_t deposit,
                       uint64_t seed) {
    *w = (world){.x = mem_alloc(sizeof *w->x), .ts = SIM_START_TS};
    sim_exchange_init(w->x, &(sim_exchange_options){seed, instruments, users, deposit});
    w->m = (model){.users = users, .instruments = instruments, .order_capacity = 64};
    w->m.orders = mem_alloc(w->m.order_capacity * sizeof *w->m.orders);
    for (uint32_t i = 0; i < instruments; i++) {
        sim_instrument_init(&w->m.instrument[i], i);
    }
    w->total = 2 * (int64_t)users * deposit;
    sim_random_init(&w->random, seed);
    w->t.capacity = 1024;
    w->t.filled = mem_alloc(w->t.capacity * sizeof *w->t.filled);
    w->t.volume = mem_alloc(w->t.capacity * sizeof *w->t.volume);
    w->t.status = mem_alloc(w->t.capacity * sizeof *w->t.status);
    while (sim_exchange_open(w->x, w->ts)) {
        tally_event(&w->t, w->x);
        check_sums(w); /* conserved while the accounts are opened, too */
    }
    for (uint32_t i = 0; i < users; i++) {
        w->m.balance[i] = deposit;
    }
    w->m.balance[users + 1] = w->total / 2;
}

static void world_deinit(world *w) {
    sim_exchange_deinit(w->x);
    free(w->x);
    free(w->m.orders);
    free(w->t.filled);
    free(w->t.volume);
    free(w->t.status);
}

/* Invariants X2 to X5 and X7 and equality with the model. */
static void check_state(world *w) {
    const sim_exchange *x = w->x;
    model *m = &w->m;
    int64_t clearing = w->total / 2;
    for (uint32_t i = 0; i < m->instruments; i++) {
        const sim_market *market = &x->markets[i];
        int64_t held[2] = {0, 0};
        for (uint32_t user = 0; user < m->users; user++) {
            for (int leg = 0; leg < 2; leg++) {
                const sim_leg *l = &sim_position_of(x, user, i)->leg[leg];
                assert_int_equal(l->volume, m->legs[user][i][leg].volume);
                assert_int_equal(l->cost, m->legs[user][i][leg].cost);
                assert_true(0 <= l->closing && l->closing <= l->volume);
                held[leg] += l->volume;
                clearing += (leg == SIM_SHORT ? l->cost : -l->cost) * market->instrument.tick_units;
            }
        }
        assert_int_equal(held[SIM_LONG], held[SIM_SHORT]); /* X5 */
        assert_int_equal(held[SIM_LONG], market->open_interest);
        int64_t bid = market->book.best[SIM_BUY], ask = market->book.best[SIM_SELL];
        assert_true(bid == SIM_NO_PRICE || ask == SIM_NO_PRICE || bid < ask); /* X7 */
    }
    assert_int_equal(x->accounts[sim_clearing(x)].balance, clearing); /* X2 */
    for (uint32_t i = 0; i < m->users + 2; i++) {
        assert_int_equal(x->accounts[i].balance, m->balance[i]);
        assert_true(sim_available(&x->accounts[i]) >= 0); /* X4 */
    }
    for (uint32_t i = 0; i < m->users; i++) {
        assert_int_equal(x->accounts[i].margin, model_margin(m, i)); /* X3 */
        assert_int_equal(x->accounts[i].frozen, model_frozen(m, i));
    }
}

/* B1 to B3: levels, queues, bitmaps and live lists tell the same. */
static void check_book(const sim_book *book) {
    uint32_t found = 0;
    int64_t best[2] = {SIM_NO_PRICE, SIM_NO_PRICE};
    for (int64_t price = book->low; price <= book->high; price++) {
        const sim_level *level = &book->levels[price - book->low];
        uint64_t bit = (uint64_t)(price - book->low);
        int64_t volume = 0;
        uint64_t last_number = 0;
        int side = -1;
        for (uint32_t slot = level->first; slot != SIM_NO_SLOT;
             slot = book->pool->orders[slot].after) {
            const sim_order *o = &book->pool->orders[slot];
            assert_true(o->number > last_number);
            assert_int_equal(o->price, price);
            assert_int_equal(book->live[o->live_index], slot);
            assert_true(side == -1 || side == o->side);
            last_number = o->number;
            side = o->side;
            volume += o->volume - o->filled;
            found++;
        }
        assert_int_equal(level->volume, volume);
        for (int s = 0; s < 2; s++) {
            assert_int_equal(book->occupied[s][bit / 64] >> bit % 64 & 1, side == s);
        }
        if (side == SIM_BUY || (side == SIM_SELL && best[SIM_SELL] == SIM_NO_PRICE)) {
            best[side] = price;
        }
    }
    assert_int_equal(found, book->live_count);
    assert_int_equal(book->best[SIM_BUY], best[SIM_BUY]);
    assert_int_equal(book->best[SIM_SELL], best[SIM_SELL]);
}

/* The trades of the event are the fills the model made, in its order. */
static void check_fills(const world *w, const sim_order_request *r, const model_outcome *expected) {
    size_t fills = 0;
    const sim_instrument *in = &w->m.instrument[r->instrument];
    const tape_order *last = NULL;
    for (size_t i = 0; i < w->x->event.count; i++) {
        const tape_record *record = &w->x->event.records[i];
        if (record->table == TAPE_TABLE_ORDERS) {
            const tape_order *o = record->data;
            last = number_of(o->order_id) == w->x->orders ? o : last;
        } else if (record->table == TAPE_TABLE_TRADES) {
            const tape_trade *t = record->data;
            assert_true(fills < expected->fill_count);
            const model_fill *f = &expected->fills[fills++];
            assert_int_equal(number_of(t->counter_order_id), f->maker);
            assert_int_equal(number_of(t->order_id), w->x->orders);
            assert_true(t->price == (double)f->price * in->price_tick);
            assert_true(t->volume == (double)f->lots);
            assert_int_equal(t->side, r->side == SIM_BUY ? TAPE_SIDE_BUY : TAPE_SIDE_SELL);
            assert_int_equal(account_of(w->x, t->user_id), r->user);
        }
    }
    assert_int_equal(fills, expected->fill_count);
    assert_non_null(last);
    assert_int_equal(last->status == TAPE_ORDER_STATUS_REJECTED, expected->rejected);
    assert_int_equal(last->status == TAPE_ORDER_STATUS_CANCELLED, expected->cancelled);
}

static void world_submit(world *w, const sim_order_request *request) {
    model_outcome expected;
    sim_handle handle = sim_exchange_submit(w->x, request, ++w->ts);
    model_submit(&w->m, handle.number, request, &expected);
    w->handles[handle.number % COUNT_OF(w->handles)] = handle;
    check_fills(w, request, &expected);
    tally_event(&w->t, w->x);
    check_sums(w);
    check_state(w);
}

static void world_cancel(world *w, sim_handle handle) {
    bool done = sim_exchange_cancel(w->x, handle, ++w->ts);
    assert_int_equal(done, model_cancel(&w->m, handle.number));
    assert_int_equal(done, w->x->event.count > 0);
    tally_event(&w->t, w->x);
    check_sums(w);
    check_state(w);
}

/* Anything at all, right and wrong, in a narrow range of prices so that much of it meets. */
static void random_step(world *w) {
    sim_random *r = &w->random;
    uint32_t index = sim_random_below(r, w->m.instruments);
    const sim_market *market = &w->x->markets[index];
    const sim_instrument *in = &market->instrument;
    if (sim_random_below(r, 3) == 0 && market->book.live_count > 0) {
        uint32_t slot = market->book.live[sim_random_below(r, market->book.live_count)];
        sim_handle handle = {slot, w->x->pool.orders[slot].number};
        if (sim_random_below(r, 4) == 0) { /* perhaps long gone, and the slot taken again */
            handle = w->handles[sim_random_below(r, COUNT_OF(w->handles))];
        }
        world_cancel(w, handle);
        return;
    }
    bool wide = sim_random_below(r, 10) == 0;
    sim_order_request request = {
        .user = sim_random_below(r, w->m.users),
        .instrument = index,
        .side = (uint8_t)sim_random_below(r, 2),
        .effect =
            sim_random_below(r, 2) == 0 ? TAPE_POSITION_EFFECT_OPEN : TAPE_POSITION_EFFECT_CLOSE,
        .type = sim_random_below(r, 6) == 0 ? TAPE_ORDER_TYPE_MARKET : TAPE_ORDER_TYPE_LIMIT,
        .price =
            wide ? in->low - 2 + (int64_t)sim_random_below(r, (uint32_t)(in->high - in->low) + 5)
                 : in->reference - 8 + (int64_t)sim_random_below(r, 17),
        .volume = sim_random_below(r, 50) == 0 ? (int64_t)sim_random_below(r, 200)
                                               : 1 + (int64_t)sim_random_below(r, 12),
    };
    world_submit(w, &request);
}

static uint32_t scale(uint32_t count) {
    const char *text = getenv("TAPE_TEST_SCALE");
    return text != NULL && strcmp(text, "full") == 0 ? 20 * count : count;
}

static void run_random(uint32_t users, uint32_t instruments, int64_t deposit, uint64_t seed,
                       uint32_t steps, world *w) {
    world_init(w, users, instruments, deposit, seed);
    for (uint32_t i = 0; i < steps; i++) {
        random_step(w);
        if (i % 256 == 0) {
            for (uint32_t k = 0; k < instruments; k++) {
                check_book(&w->x->markets[k].book);
            }
        }
    }
    assert_int_equal(w->m.traded_lots, (int64_t)w->t.traded_sum);
}

static void exchange_agrees_with_a_naive_one_when_money_is_plenty(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        world w;
        run_random(5, 2, SIM_DEPOSIT_UNITS, seed, scale(10000), &w);
        assert_true(w.x->trades > 1000 && w.x->cancels > 1000);
        world_deinit(&w);
    }
}

static void exchange_agrees_with_a_naive_one_when_money_is_short(void **state) {
    (void)state;
    for (uint64_t seed = 11; seed <= 14; seed++) {
        world w;
        run_random(8, 3, SIM_DEPOSIT_UNITS / 20, seed, scale(10000), &w);
        assert_true(w.x->trades > 500 && w.x->rejects > 1000);
        world_deinit(&w);
    }
}

static void exchange_agrees_with_a_naive_one_when_two_users_meet_themselves(void **state) {
    (void)state;
    world w;
    run_random(2, 1, SIM_DEPOSIT_UNITS, 21, scale(10000), &w);
    assert_true(w.x->trades > 500);
    world_deinit(&w);
}

static void exchange_agrees_with_a_naive_one_under_the_order_flow(void **state) {
    (void)state;
    world w;
    world_init(&w, 40, 4, SIM_DEPOSIT_UNITS, 31);
    sim_flow flow;
    sim_flow_init(&flow, w.x, 31);
    for (uint32_t i = 0; i < scale(20000); i++) {
        sim_command command;
        sim_flow_next(&flow, w.x, &command);
        w.ts = command.ts - 1;
        if (command.cancel) {
            world_cancel(&w, command.handle);
        } else {
            world_submit(&w, &command.request);
        }
    }
    for (uint32_t k = 0; k < 4; k++) {
        check_book(&w.x->markets[k].book);
    }
    assert_true(w.x->trades > 1000 && w.x->cancels > 1000 && w.x->rejects > 0);
    sim_flow_deinit(&flow);
    world_deinit(&w);
}

/* Prices run from limit to limit, so that everyone loses as much as can be lost. */
static void exchange_never_overdraws_an_account_when_prices_run(void **state) {
    (void)state;
    world w;
    world_init(&w, 8, 2, SIM_DEPOSIT_UNITS / 10, 41);
    for (uint32_t i = 0; i < scale(20000); i++) {
        sim_random *r = &w.random;
        uint32_t index = sim_random_below(r, 2);
        const sim_instrument *in = &w.x->markets[index].instrument;
        bool high = i / 1000 % 2 == 0;
        sim_order_request request = {
            .user = sim_random_below(r, 8),
            .instrument = index,
            .side = (uint8_t)sim_random_below(r, 2),
            .effect = sim_random_below(r, 2) == 0 ? TAPE_POSITION_EFFECT_OPEN
                                                  : TAPE_POSITION_EFFECT_CLOSE,
            .type = TAPE_ORDER_TYPE_LIMIT,
            .price = (high ? in->high : in->low + 2) - (int64_t)sim_random_below(r, 3),
            .volume = 1 + (int64_t)sim_random_below(r, 12),
        };
        world_submit(&w, &request);
        const sim_book *book = &w.x->markets[index].book;
        if (book->live_count > 40) {
            uint32_t slot = book->live[sim_random_below(r, book->live_count)];
            world_cancel(&w, (sim_handle){slot, w.x->pool.orders[slot].number});
        }
    }
    assert_true(w.x->trades > 1000);
    world_deinit(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchange_agrees_with_a_naive_one_when_money_is_plenty),
        cmocka_unit_test(exchange_agrees_with_a_naive_one_when_money_is_short),
        cmocka_unit_test(exchange_agrees_with_a_naive_one_when_two_users_meet_themselves),
        cmocka_unit_test(exchange_agrees_with_a_naive_one_under_the_order_flow),
        cmocka_unit_test(exchange_never_overdraws_an_account_when_prices_run),
    };
    return cmocka_run_group_tests_name("sim_model", tests, NULL, NULL);
}
