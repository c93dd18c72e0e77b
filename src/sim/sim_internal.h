/* sim_internal.h: the parts of sim, for its own files and tests.
 *
 *     flow      a seeded stream of commands (orders and cancels)      flow.c
 *     exchange  accounts, margin, matching; a command in, one event   exchange.c, event.c
 *     book      price levels and queues of one instrument             book.c
 *     sim_run   drives the two into a store, one append per event     sim.c
 *
 * Everything but sim.c is a pure function of its arguments: no clock, no I/O, no floating point in
 * a decision. Prices are counted in ticks of the instrument, volumes in lots, and money in units of
 * 1/256, all in 64-bit integers; doubles appear only in the records, and every one of them but the
 * average prices of positions is exact. */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "base/base.h"
#include "sim/sim.h"

#define SIM_UNITS_PER_MONEY 256 /* money counts in units of 1/256 */
#define SIM_ORDER_LOTS_MAX 128  /* larger orders are rejected; bounds the fills of an event */
#define SIM_DEPTH_EVENTS 16     /* a depth record at most every so many events of an instrument */
#define SIM_DEPTH_LEVELS 10     /* levels of a depth record */
#define SIM_INSTRUMENTS_MAX 1000
#define SIM_USERS_MAX 1000000
#define SIM_POSITIONS_MAX (1u << 24) /* users times instruments */
#define SIM_ORDERS_MAX UINT64_C(100000000000000)
#define SIM_DEPOSIT_UNITS (INT64_C(10000000) * SIM_UNITS_PER_MONEY) /* what a user starts with */
#define SIM_START_TS INT64_C(1704159000000000000)                   /* 2024-01-02T01:30:00Z */
#define SIM_NO_SLOT UINT32_MAX
#define SIM_NO_PRICE INT64_C(-1)

/* A side, and the leg of a position that opening on that side makes. */
enum { SIM_BUY = 0, SIM_SELL = 1 };
enum { SIM_LONG = SIM_BUY, SIM_SHORT = SIM_SELL };

/* --- random numbers: the same on every machine -------------------------------------------------
 */

typedef struct sim_random {
    uint64_t state[4];
} sim_random;
void sim_random_init(sim_random *r, uint64_t seed);
uint64_t sim_random_next(sim_random *r);
/* 0 .. n - 1; n from 1 to 2^32 - 1. */
uint32_t sim_random_below(sim_random *r, uint32_t n);
/* Exponentially distributed, with this mean (below 2^40). */
int64_t sim_random_exponential(sim_random *r, int64_t mean);

/* --- book ------------------------------------------------------------------------------------ */

typedef struct sim_order {
    uint64_t number; /* from 1, in order of arrival; 0: the slot is free */
    uint32_t user;
    uint32_t instrument;
    int64_t price;  /* ticks; 0 for a market order */
    int64_t volume; /* lots */
    int64_t filled;
    int64_t reserve; /* money units frozen per lot while it rests */
    uint8_t side;    /* SIM_BUY, SIM_SELL */
    uint8_t effect;  /* tape_position_effect: OPEN or CLOSE */
    uint8_t type;    /* tape_order_type */
    uint32_t before; /* neighbours in the queue of its price; `after` links free slots too */
    uint32_t after;
    uint32_t live_index; /* in its book's `live` */
} sim_order;

/* Slots for resting orders; a finished order's slot is used again. */
typedef struct sim_pool {
    sim_order *orders;
    uint32_t used; /* slots ever used */
    uint32_t capacity;
    uint32_t free_slot;
} sim_pool;

typedef struct sim_level {
    uint32_t first; /* the oldest order at this price */
    uint32_t last;
    int64_t volume; /* lots, of all orders */
} sim_level;

typedef struct sim_book {
    sim_pool *pool;
    int64_t low, high;     /* price limits, ticks */
    sim_level *levels;     /* one per price from low to high */
    uint64_t *occupied[2]; /* per side, a bit per price */
    int64_t best[2];       /* SIM_NO_PRICE: that side is empty */
    uint32_t *live;        /* slots of all resting orders, in no meaningful order */
    uint32_t live_count;
    uint32_t live_capacity;
} sim_book;

void sim_book_init(sim_book *book, sim_pool *pool, int64_t low, int64_t high);
void sim_book_deinit(sim_book *book);
/* Copies the order to the end of the queue of its price; returns its slot. */
uint32_t sim_book_add(sim_book *book, const sim_order *order);
/* Takes the order in `slot` out and frees the slot. */
void sim_book_remove(sim_book *book, uint32_t slot);
/* Lots taken from a resting order that stays. */
void sim_book_reduce(sim_book *book, uint32_t slot, int64_t lots);
/* The order next in turn on a side, SIM_NO_SLOT when there is none. */
uint32_t sim_book_first(const sim_book *book, int side);
/* The next occupied price behind `price` on a side, SIM_NO_PRICE at the end. */
int64_t sim_book_behind(const sim_book *book, int side, int64_t price);
/* Lots at a price. */
int64_t sim_book_volume(const sim_book *book, int64_t price);

/* --- exchange -------------------------------------------------------------------------------- */

typedef struct sim_instrument {
    char id[16];
    double price_tick;
    double multiplier;
    double margin_rate;
    int64_t reference;    /* price the limits are set around, ticks */
    int64_t low, high;    /* price limits, ticks */
    int64_t tick_units;   /* money units that one tick of one lot is worth */
    int64_t margin_units; /* money units of margin per tick of price and lot */
    int64_t taker_fee;    /* money units per lot */
    int64_t maker_fee;
} sim_instrument;

/* The instrument of an index, from 0. The same for every seed. */
void sim_instrument_init(sim_instrument *instrument, uint32_t index);

typedef struct sim_account {
    int64_t balance, margin, frozen;        /* money units */
    uint64_t touched_event;                 /* the last event that touched it */
    bool account_changed, position_changed; /* in that event */
} sim_account;

typedef struct sim_leg {
    int64_t volume;  /* lots */
    int64_t cost;    /* sum of opening prices, tick lots */
    int64_t closing; /* lots that resting orders are to close */
} sim_leg;

typedef struct sim_position {
    sim_leg leg[2]; /* SIM_LONG, SIM_SHORT */
} sim_position;

typedef struct sim_market {
    sim_instrument instrument;
    sim_book book;
    int64_t last_price; /* ticks; the reference before the first trade */
    int64_t open_interest;
    int64_t tick_volume, tick_value;     /* traded since the last tick: lots, tick lots */
    int64_t top_price[2], top_volume[2]; /* of the last tick */
    uint32_t depth_events;               /* events since the last depth record */
    tape_depth depth;                    /* the last depth record */
} sim_market;

typedef enum sim_reject {
    SIM_REJECT_NONE = 0,
    SIM_REJECT_VOLUME,   /* not from 1 to SIM_ORDER_LOTS_MAX lots */
    SIM_REJECT_PRICE,    /* outside the price limits */
    SIM_REJECT_POSITION, /* closes more than is held and not being closed already */
    SIM_REJECT_MARGIN,   /* available money does not cover margin and fees */
} sim_reject;

/* accepted; per fill a trade and both orders; cancelled; account and position of everyone in it;
 * house and clearing; tick; depth. */
#define SIM_EVENT_RECORDS_MAX                                                                      \
    (1 + 3 * SIM_ORDER_LOTS_MAX + 1 + 2 * (SIM_ORDER_LOTS_MAX + 1) + 2 + 2)
#define SIM_EVENT_BYTES_MAX                                                                        \
    (SIM_ORDER_LOTS_MAX * (sizeof(tape_trade) + 2 * sizeof(tape_order)) +                          \
     (SIM_ORDER_LOTS_MAX + 3) * (sizeof(tape_account) + sizeof(tape_position)) +                   \
     2 * sizeof(tape_order) + sizeof(tape_tick) + sizeof(tape_depth))
#define SIM_FRAME_BYTES 64
_Static_assert(SIM_EVENT_BYTES_MAX + SIM_EVENT_RECORDS_MAX * SIM_FRAME_BYTES <=
                   TAPE_APPEND_BYTES_MAX,
               "an event fits into one append");

/* The records of one event, to be appended as one. */
typedef struct sim_event {
    int64_t ts;
    uint64_t number;
    size_t count;
    size_t bytes_used;
    tape_record records[SIM_EVENT_RECORDS_MAX];
    _Alignas(8) uint8_t bytes[SIM_EVENT_BYTES_MAX];
    uint32_t touched[SIM_ORDER_LOTS_MAX + 3]; /* accounts, in the order they were touched */
    uint32_t touched_count;
    sim_reject reject;
} sim_event;

typedef struct sim_exchange_options {
    uint64_t seed; /* part of every identifier */
    uint32_t instruments;
    uint32_t users;
    int64_t deposit; /* money units each user starts with */
} sim_exchange_options;

typedef struct sim_exchange {
    sim_exchange_options options;
    sim_market *markets;
    sim_account *accounts;   /* users, then the house, then the clearing account */
    sim_position *positions; /* by user, then instrument */
    sim_pool pool;
    uint64_t orders, trades, cancels, rejects; /* so far */
    uint32_t instruments_listed, users_opened;
    char id_prefix[24];   /* "s7-" */
    char user_prefix[24]; /* "u7-" */
    sim_event event;      /* what the last call did */
} sim_exchange;

/* Names an order for a cancel. slot SIM_NO_SLOT: it does not rest. */
typedef struct sim_handle {
    uint32_t slot;
    uint64_t number;
} sim_handle;

typedef struct sim_order_request {
    uint32_t user;
    uint32_t instrument;
    uint8_t side;   /* SIM_BUY, SIM_SELL */
    uint8_t effect; /* tape_position_effect: OPEN or CLOSE */
    uint8_t type;   /* tape_order_type */
    int64_t price;  /* ticks; ignored for a market order */
    int64_t volume; /* lots */
} sim_order_request;

void sim_exchange_init(sim_exchange *x, const sim_exchange_options *options);
void sim_exchange_deinit(sim_exchange *x);
/* The next event of opening: instruments are listed, accounts get their money. False: all is open.
 * To be called until then, before the first order. */
bool sim_exchange_open(sim_exchange *x, int64_t ts);
sim_handle sim_exchange_submit(sim_exchange *x, const sim_order_request *request, int64_t ts);
/* False, and an event without records, when the order does not rest any more. */
bool sim_exchange_cancel(sim_exchange *x, sim_handle handle, int64_t ts);

static inline int64_t sim_available(const sim_account *account) {
    return account->balance - account->margin - account->frozen;
}
static inline sim_position *sim_position_of(const sim_exchange *x, uint32_t user,
                                            uint32_t instrument) {
    return &x->positions[(size_t)user * x->options.instruments + instrument];
}
/* The user_id of an account; `out` has 32 bytes and is NUL-padded. */
void sim_account_id(const sim_exchange *x, uint32_t account, char out[32]);
static inline uint32_t sim_house(const sim_exchange *x) {
    return x->options.users;
}
static inline uint32_t sim_clearing(const sim_exchange *x) {
    return x->options.users + 1;
}

/* --- making an event's records (event.c) ---------------------------------------------------------
 */

void sim_event_begin(sim_exchange *x, int64_t ts);
/* Remember that the event changed these. */
void sim_event_touch_account(sim_exchange *x, uint32_t account);
void sim_event_touch_position(sim_exchange *x, uint32_t user);
void sim_event_order(sim_exchange *x, const sim_order *order, tape_order_status status);
void sim_event_trade(sim_exchange *x, const sim_order *taker, const sim_order *maker, int64_t lots);
void sim_event_instrument(sim_exchange *x, const sim_instrument *instrument);
void sim_event_account(sim_exchange *x, uint32_t account);
/* The records of everything touched, a tick and a depth record if they are due. */
void sim_event_end(sim_exchange *x, uint32_t instrument);

/* --- flow ------------------------------------------------------------------------------------ */

typedef struct sim_command {
    int64_t ts;
    bool cancel;
    sim_order_request request; /* unless `cancel` */
    sim_handle handle;         /* of the order to cancel */
} sim_command;

/* What the order flow believes about an instrument. */
typedef struct sim_belief {
    int64_t fair;        /* price the flow is drawn to, 1/256 tick */
    int64_t volatility;  /* scale of its steps, 1/256 tick */
    uint32_t weight_end; /* running sum of weights */
} sim_belief;

typedef struct sim_flow {
    sim_random random;
    sim_belief *beliefs;
    uint32_t instruments, users;
    uint32_t weight_sum;
    int64_t ts;
} sim_flow;

void sim_flow_init(sim_flow *flow, const sim_exchange *x, uint64_t seed);
void sim_flow_deinit(sim_flow *flow);
void sim_flow_next(sim_flow *flow, const sim_exchange *x, sim_command *out);

#endif
