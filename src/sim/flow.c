/* The order flow: what a crowd of traders would send, from a seed.
 *
 * Each instrument has a hidden fair price that wanders around its reference with changing
 * volatility and a rare jump. Orders come at exponentially distributed gaps. Most rest near the
 * fair price, closer ones more often; some take what the book offers on the side that the fair
 * price has moved to; a few are nonsense and get rejected. Users with an opposite position mostly
 * close it. Cancels grow with the number of resting orders, so that the book stays bounded.
 *
 * Invariants
 *  1 The next command depends on the seed and on the exchange's state alone. Integers only.
 *  2 A command's ts is later than the one before. */
#include "sim/sim_internal.h"

#include <stdlib.h>

#define GAP_MEAN_NS INT64_C(10000000) /* between commands */
#define LIVE_TARGET 600 /* resting orders per instrument at which half the commands cancel */
#define CANCEL_ODDS_MAX (2 * LIVE_TARGET * 9 / 10) /* of 2 * LIVE_TARGET: never all commands */
#define LIVE_BASE 30                               /* below this only resting orders are sent */
#define FAIR_SCALE 256                             /* fair prices count in 1/256 tick */
#define REVERSION 65536 /* commands in which the fair price forgets a move */

void sim_flow_init(sim_flow *flow, const sim_exchange *x, uint64_t seed) {
    *flow = (sim_flow){
        .instruments = x->options.instruments,
        .users = x->options.users,
        .ts = SIM_START_TS,
    };
    sim_random_init(&flow->random, seed);
    flow->beliefs = mem_alloc(flow->instruments * sizeof *flow->beliefs);
    for (uint32_t i = 0; i < flow->instruments; i++) {
        flow->weight_sum += 1 + sim_random_below(&flow->random, 16);
        flow->beliefs[i] = (sim_belief){
            .fair = x->markets[i].instrument.reference * FAIR_SCALE,
            .volatility = 128,
            .weight_end = flow->weight_sum,
        };
    }
}

void sim_flow_deinit(sim_flow *flow) {
    free(flow->beliefs);
    *flow = (sim_flow){0};
}

/* One in `n`. */
static bool one_in(sim_flow *flow, uint32_t n) {
    return sim_random_below(&flow->random, n) == 0;
}

static int64_t below(sim_flow *flow, uint32_t n) {
    return (int64_t)sim_random_below(&flow->random, n);
}

static uint32_t pick_instrument(sim_flow *flow) {
    uint32_t at = sim_random_below(&flow->random, flow->weight_sum);
    uint32_t low = 0, high = flow->instruments - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (at < flow->beliefs[middle].weight_end) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* A step of the fair price: the sum of four uniform numbers is close enough to a normal one. */
static void wander(sim_flow *flow, const sim_instrument *instrument, sim_belief *belief) {
    uint64_t bits = sim_random_next(&flow->random);
    int64_t noise = -2 * 65535;
    for (int i = 0; i < 4; i++) {
        noise += (int64_t)(bits >> (16 * i) & 0xffff);
    }
    belief->fair += noise * belief->volatility / 65536;
    belief->fair += (instrument->reference * FAIR_SCALE - belief->fair) / REVERSION;
    if (one_in(flow, 512)) {
        belief->volatility = 48 + below(flow, 256);
    }
    if (one_in(flow, 16384)) {
        belief->fair += (below(flow, 61) - 30) * FAIR_SCALE;
    }
    const int64_t lowest = (instrument->low + 50) * FAIR_SCALE;
    const int64_t highest = (instrument->high - 50) * FAIR_SCALE;
    belief->fair = belief->fair < lowest ? lowest : belief->fair;
    belief->fair = belief->fair > highest ? highest : belief->fair;
}

static int64_t distance(int64_t a, int64_t b) {
    return a > b ? a - b : b - a;
}

/* Of two resting orders the one farther from the fair price. */
static sim_handle pick_victim(sim_flow *flow, const sim_book *book, int64_t fair) {
    uint32_t slot = SIM_NO_SLOT;
    for (int i = 0; i < 2; i++) {
        uint32_t other = book->live[sim_random_below(&flow->random, book->live_count)];
        const sim_order *orders = book->pool->orders;
        if (slot == SIM_NO_SLOT ||
            distance(orders[other].price, fair) > distance(orders[slot].price, fair)) {
            slot = other;
        }
    }
    return (sim_handle){.slot = slot, .number = book->pool->orders[slot].number};
}

/* Ticks away from the touch: halving odds within a random scale. */
static int64_t offset(sim_flow *flow) {
    int64_t scale = one_in(flow, 4) ? 16 : 5;
    int64_t ticks = 0;
    while (ticks < 64 && one_in(flow, 2)) {
        ticks += 1 + below(flow, (uint32_t)scale);
    }
    return ticks;
}

static int64_t lots(sim_flow *flow) {
    int64_t n = 1;
    while (n < 10 && !one_in(flow, 3)) {
        n++;
    }
    return one_in(flow, 64) ? n * 10 : n;
}

/* A price on the order's own side of the book. */
static int64_t passive_price(sim_flow *flow, const sim_book *book, int side, int64_t fair) {
    int64_t facing = book->best[1 - side];
    int64_t price = fair;
    if (side == SIM_BUY) {
        price = facing != SIM_NO_PRICE && facing <= price ? facing - 1 : price;
        return price - offset(flow);
    }
    price = facing != SIM_NO_PRICE && facing >= price ? facing + 1 : price + 1;
    return price + offset(flow);
}

/* Takes liquidity: towards the fair price where it has left the book's prices behind. */
static void aggressive(sim_flow *flow, const sim_book *book, int64_t fair, sim_order_request *out) {
    int64_t bid = book->best[SIM_BUY], ask = book->best[SIM_SELL];
    if (ask != SIM_NO_PRICE && ask <= fair) {
        out->side = SIM_BUY;
    } else if (bid != SIM_NO_PRICE && bid > fair) {
        out->side = SIM_SELL;
    }
    if (one_in(flow, 3)) {
        out->type = TAPE_ORDER_TYPE_MARKET;
        out->price = 0;
        return;
    }
    int64_t facing = book->best[1 - out->side];
    int64_t through = below(flow, 3);
    out->price =
        facing == SIM_NO_PRICE ? fair : facing + (out->side == SIM_BUY ? through : -through);
}

static int64_t within_limits(const sim_instrument *instrument, int64_t price) {
    price = price < instrument->low ? instrument->low : price;
    return price > instrument->high ? instrument->high : price;
}

static void pick_effect(sim_flow *flow, const sim_exchange *x, sim_order_request *out) {
    const sim_leg *leg = &sim_position_of(x, out->user, out->instrument)->leg[1 - out->side];
    int64_t closable = leg->volume - leg->closing;
    out->effect = TAPE_POSITION_EFFECT_OPEN;
    if (closable > 0 && !one_in(flow, 4)) {
        out->effect = TAPE_POSITION_EFFECT_CLOSE;
        out->volume = out->volume > closable ? closable : out->volume;
    }
}

static void make_order(sim_flow *flow, const sim_exchange *x, uint32_t index,
                       sim_order_request *out) {
    const sim_market *market = &x->markets[index];
    const sim_instrument *instrument = &market->instrument;
    int64_t fair = flow->beliefs[index].fair / FAIR_SCALE;
    *out = (sim_order_request){
        .user = sim_random_below(&flow->random, flow->users),
        .instrument = index,
        .side = one_in(flow, 2) ? SIM_BUY : SIM_SELL,
        .type = TAPE_ORDER_TYPE_LIMIT,
        .volume = lots(flow),
    };
    bool base = market->book.live_count < LIVE_BASE;
    if (!base && one_in(flow, 5)) {
        aggressive(flow, &market->book, fair, out);
    } else {
        out->price = passive_price(flow, &market->book, out->side, fair);
    }
    if (out->type == TAPE_ORDER_TYPE_LIMIT) {
        out->price = within_limits(instrument, out->price);
    }
    pick_effect(flow, x, out);
    if (!base && one_in(flow, 1000)) { /* nonsense */
        out->type = TAPE_ORDER_TYPE_LIMIT;
        out->price = one_in(flow, 2) ? instrument->high + 1 + below(flow, 100) : out->price;
        out->volume = one_in(flow, 2) ? SIM_ORDER_LOTS_MAX + 1 + below(flow, 1000) : out->volume;
        out->effect = one_in(flow, 2) ? TAPE_POSITION_EFFECT_CLOSE : out->effect;
    }
}

void sim_flow_next(sim_flow *flow, const sim_exchange *x, sim_command *out) {
    flow->ts += 1 + sim_random_exponential(&flow->random, GAP_MEAN_NS);
    *out = (sim_command){.ts = flow->ts};
    uint32_t index = pick_instrument(flow);
    sim_belief *belief = &flow->beliefs[index];
    const sim_market *market = &x->markets[index];
    wander(flow, &market->instrument, belief);
    uint32_t live = market->book.live_count;
    uint32_t odds = live < CANCEL_ODDS_MAX ? live : CANCEL_ODDS_MAX;
    if (live > LIVE_BASE && sim_random_below(&flow->random, 2 * LIVE_TARGET) < odds) {
        out->cancel = true;
        out->handle = pick_victim(flow, &market->book, belief->fair / FAIR_SCALE);
        return;
    }
    make_order(flow, x, index, &out->request);
}
