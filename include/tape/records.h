/* tape/records.h: the records of tape, as C structs, and their description at run time.
 *
 * Generated from src/record/catalog.def by catalog_gen: change that, not this.
 *
 * A record in the journal is one of these structs, byte for byte: little-endian, without
 * padding, read in place. For all of them:
 *
 * - `seq` is given by tape when the record is appended; what the caller put there is
 *   ignored. `ts` is the event's time in nanoseconds since 1970 (UTC); 0 asks for the time
 *   of the append.
 * - A struct of zero bytes holds every field's default. Fill what you have; only key fields
 *   must be there.
 * - Identifiers are UTF-8 text without control characters in arrays of fixed size, the rest
 *   of the array zero. Text as long as the array has no NUL after it: print it with %.*s.
 *   Empty means absent.
 * - Prices, volumes and money are IEEE doubles; NaN and infinities are refused.
 * - Enumerations are one byte. Reserved bytes are zero.
 *
 * Layouts only grow: a later version may add fields at the end, and nothing else changes. */
#ifndef TAPE_RECORDS_H
#define TAPE_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include <tape/error.h>

#ifdef __cplusplus
extern "C" {
#define TAPE_LAYOUT(condition) static_assert(condition, "a record's layout")
#else
#define TAPE_LAYOUT(condition) _Static_assert(condition, "a record's layout")
#endif

/* Table ids. */
#define TAPE_TABLE_ORDERS 1
#define TAPE_TABLE_TRADES 2
#define TAPE_TABLE_ACCOUNTS 3
#define TAPE_TABLE_POSITIONS 4
#define TAPE_TABLE_INSTRUMENTS 5
#define TAPE_TABLE_TICKS 6
#define TAPE_TABLE_DEPTH 7
#define TAPE_TABLE_COUNT 7

/* The largest struct, in bytes. */
#define TAPE_RECORD_BYTES_MAX 352

/* Which side an order or the trade's user is on. */
typedef enum tape_side {
    TAPE_SIDE_ABSENT = 0, /* null */
    TAPE_SIDE_BUY = 1,    /* "buy" */
    TAPE_SIDE_SELL = 2,   /* "sell" */
} tape_side;

/* Whether a position is opened or closed; none where the market does not ask. */
typedef enum tape_position_effect {
    TAPE_POSITION_EFFECT_NONE = 0,        /* "none" */
    TAPE_POSITION_EFFECT_OPEN = 1,        /* "open" */
    TAPE_POSITION_EFFECT_CLOSE = 2,       /* "close" */
    TAPE_POSITION_EFFECT_CLOSE_TODAY = 3, /* "close_today" */
} tape_position_effect;

/* How an order is priced. */
typedef enum tape_order_type {
    TAPE_ORDER_TYPE_LIMIT = 0,  /* "limit" */
    TAPE_ORDER_TYPE_MARKET = 1, /* "market" */
} tape_order_type;

/* What has become of an order. */
typedef enum tape_order_status {
    TAPE_ORDER_STATUS_ACCEPTED = 0,  /* "accepted" */
    TAPE_ORDER_STATUS_PARTIAL = 1,   /* "partial" */
    TAPE_ORDER_STATUS_FILLED = 2,    /* "filled" */
    TAPE_ORDER_STATUS_CANCELLED = 3, /* "cancelled" */
    TAPE_ORDER_STATUS_REJECTED = 4,  /* "rejected" */
} tape_order_status;

/* Whether an instrument can be traded. */
typedef enum tape_instrument_status {
    TAPE_INSTRUMENT_STATUS_TRADING = 0, /* "trading" */
    TAPE_INSTRUMENT_STATUS_HALTED = 1,  /* "halted" */
    TAPE_INSTRUMENT_STATUS_CLOSED = 2,  /* "closed" */
    TAPE_INSTRUMENT_STATUS_EXPIRED = 3, /* "expired" */
} tape_instrument_status;

/* orders: One record per change of an order; the newest is its state. */
typedef struct tape_order {
    uint64_t seq;            /* sequence number, given by tape */
    int64_t ts;              /* event time; 0 means when appended */
    char order_id[40];       /* key: the order */
    char user_id[32];        /* who sent it */
    char instrument_id[16];  /* what is traded */
    uint8_t side;            /* enum tape_side: buy or sell */
    uint8_t position_effect; /* enum tape_position_effect: opens or closes a position */
    uint8_t order_type;      /* enum tape_order_type: how it is priced */
    uint8_t reserved1[5];    /* zero */
    double price;            /* limit price; 0 for a market order */
    double volume;           /* quantity ordered */
    double filled_volume;    /* of it, quantity traded so far */
    uint8_t status;          /* enum tape_order_status: what has become of it */
    uint8_t reserved2[7];    /* zero */
} tape_order;
#define TAPE_ORDERS_VERSION 1
TAPE_LAYOUT(offsetof(tape_order, seq) == 0);
TAPE_LAYOUT(offsetof(tape_order, ts) == 8);
TAPE_LAYOUT(offsetof(tape_order, order_id) == 16);
TAPE_LAYOUT(offsetof(tape_order, user_id) == 56);
TAPE_LAYOUT(offsetof(tape_order, instrument_id) == 88);
TAPE_LAYOUT(offsetof(tape_order, side) == 104);
TAPE_LAYOUT(offsetof(tape_order, position_effect) == 105);
TAPE_LAYOUT(offsetof(tape_order, order_type) == 106);
TAPE_LAYOUT(offsetof(tape_order, reserved1) == 107);
TAPE_LAYOUT(offsetof(tape_order, price) == 112);
TAPE_LAYOUT(offsetof(tape_order, volume) == 120);
TAPE_LAYOUT(offsetof(tape_order, filled_volume) == 128);
TAPE_LAYOUT(offsetof(tape_order, status) == 136);
TAPE_LAYOUT(offsetof(tape_order, reserved2) == 137);
TAPE_LAYOUT(sizeof(tape_order) == 144);

/* trades: One record per trade, or per side of it where both sides are told. */
typedef struct tape_trade {
    uint64_t seq;              /* sequence number, given by tape */
    int64_t ts;                /* event time; 0 means when appended */
    char trade_id[40];         /* key: the trade */
    char order_id[40];         /* the user's order */
    char counter_order_id[40]; /* the order on the other side */
    char user_id[32];          /* whose trade it is */
    char instrument_id[16];    /* what was traded */
    uint8_t side;              /* enum tape_side: of the user, or of the aggressor */
    uint8_t position_effect;   /* enum tape_position_effect: opened or closed a position */
    uint8_t reserved1[6];      /* zero */
    double price;              /* price per unit */
    double volume;             /* quantity traded */
} tape_trade;
#define TAPE_TRADES_VERSION 1
TAPE_LAYOUT(offsetof(tape_trade, seq) == 0);
TAPE_LAYOUT(offsetof(tape_trade, ts) == 8);
TAPE_LAYOUT(offsetof(tape_trade, trade_id) == 16);
TAPE_LAYOUT(offsetof(tape_trade, order_id) == 56);
TAPE_LAYOUT(offsetof(tape_trade, counter_order_id) == 96);
TAPE_LAYOUT(offsetof(tape_trade, user_id) == 136);
TAPE_LAYOUT(offsetof(tape_trade, instrument_id) == 168);
TAPE_LAYOUT(offsetof(tape_trade, side) == 184);
TAPE_LAYOUT(offsetof(tape_trade, position_effect) == 185);
TAPE_LAYOUT(offsetof(tape_trade, reserved1) == 186);
TAPE_LAYOUT(offsetof(tape_trade, price) == 192);
TAPE_LAYOUT(offsetof(tape_trade, volume) == 200);
TAPE_LAYOUT(sizeof(tape_trade) == 208);

/* accounts: One record per change of a user's money; the newest is the account's state. */
typedef struct tape_account {
    uint64_t seq;     /* sequence number, given by tape */
    int64_t ts;       /* event time; 0 means when appended */
    char user_id[32]; /* key: whose account it is */
    double balance;   /* all of the user's money */
    double available; /* free for further orders */
    double frozen;    /* held for orders not yet filled */
    double margin;    /* held for open positions */
} tape_account;
#define TAPE_ACCOUNTS_VERSION 1
TAPE_LAYOUT(offsetof(tape_account, seq) == 0);
TAPE_LAYOUT(offsetof(tape_account, ts) == 8);
TAPE_LAYOUT(offsetof(tape_account, user_id) == 16);
TAPE_LAYOUT(offsetof(tape_account, balance) == 48);
TAPE_LAYOUT(offsetof(tape_account, available) == 56);
TAPE_LAYOUT(offsetof(tape_account, frozen) == 64);
TAPE_LAYOUT(offsetof(tape_account, margin) == 72);
TAPE_LAYOUT(sizeof(tape_account) == 80);

/* positions: One record per change of a user's position in an instrument. */
typedef struct tape_position {
    uint64_t seq;           /* sequence number, given by tape */
    int64_t ts;             /* event time; 0 means when appended */
    char user_id[32];       /* key: whose position it is */
    char instrument_id[16]; /* key: in what */
    double long_volume;     /* quantity held long */
    double long_price;      /* its average opening price */
    double short_volume;    /* quantity held short */
    double short_price;     /* its average opening price */
} tape_position;
#define TAPE_POSITIONS_VERSION 1
TAPE_LAYOUT(offsetof(tape_position, seq) == 0);
TAPE_LAYOUT(offsetof(tape_position, ts) == 8);
TAPE_LAYOUT(offsetof(tape_position, user_id) == 16);
TAPE_LAYOUT(offsetof(tape_position, instrument_id) == 48);
TAPE_LAYOUT(offsetof(tape_position, long_volume) == 64);
TAPE_LAYOUT(offsetof(tape_position, long_price) == 72);
TAPE_LAYOUT(offsetof(tape_position, short_volume) == 80);
TAPE_LAYOUT(offsetof(tape_position, short_price) == 88);
TAPE_LAYOUT(sizeof(tape_position) == 96);

/* instruments: One record per change of what can be traded; the newest is its state. */
typedef struct tape_instrument {
    uint64_t seq;             /* sequence number, given by tape */
    int64_t ts;               /* event time; 0 means when appended */
    char instrument_id[16];   /* key: the instrument */
    double price_tick;        /* smallest step of a price */
    double volume_multiplier; /* units in one lot: turnover = price * volume * this */
    double margin_rate;       /* share of a position's value held as margin */
    uint8_t status;           /* enum tape_instrument_status: whether it can be traded */
    uint8_t reserved1[7];     /* zero */
} tape_instrument;
#define TAPE_INSTRUMENTS_VERSION 1
TAPE_LAYOUT(offsetof(tape_instrument, seq) == 0);
TAPE_LAYOUT(offsetof(tape_instrument, ts) == 8);
TAPE_LAYOUT(offsetof(tape_instrument, instrument_id) == 16);
TAPE_LAYOUT(offsetof(tape_instrument, price_tick) == 32);
TAPE_LAYOUT(offsetof(tape_instrument, volume_multiplier) == 40);
TAPE_LAYOUT(offsetof(tape_instrument, margin_rate) == 48);
TAPE_LAYOUT(offsetof(tape_instrument, status) == 56);
TAPE_LAYOUT(offsetof(tape_instrument, reserved1) == 57);
TAPE_LAYOUT(sizeof(tape_instrument) == 64);

/* ticks: One record per top-of-book quote or market snapshot of an instrument. */
typedef struct tape_tick {
    uint64_t seq;           /* key: sequence number, given by tape */
    int64_t ts;             /* event time; 0 means when appended */
    char instrument_id[16]; /* the instrument */
    double last_price;      /* price of the last trade */
    double volume;          /* quantity traded */
    double turnover;        /* money traded */
    double open_interest;   /* contracts open */
    double bid_price;       /* best price bid */
    double bid_volume;      /* quantity at it */
    double ask_price;       /* best price asked */
    double ask_volume;      /* quantity at it */
} tape_tick;
#define TAPE_TICKS_VERSION 1
TAPE_LAYOUT(offsetof(tape_tick, seq) == 0);
TAPE_LAYOUT(offsetof(tape_tick, ts) == 8);
TAPE_LAYOUT(offsetof(tape_tick, instrument_id) == 16);
TAPE_LAYOUT(offsetof(tape_tick, last_price) == 32);
TAPE_LAYOUT(offsetof(tape_tick, volume) == 40);
TAPE_LAYOUT(offsetof(tape_tick, turnover) == 48);
TAPE_LAYOUT(offsetof(tape_tick, open_interest) == 56);
TAPE_LAYOUT(offsetof(tape_tick, bid_price) == 64);
TAPE_LAYOUT(offsetof(tape_tick, bid_volume) == 72);
TAPE_LAYOUT(offsetof(tape_tick, ask_price) == 80);
TAPE_LAYOUT(offsetof(tape_tick, ask_volume) == 88);
TAPE_LAYOUT(sizeof(tape_tick) == 96);

/* depth: One record per picture of the order book's best ten levels, best first. */
typedef struct tape_depth {
    uint64_t seq;           /* key: sequence number, given by tape */
    int64_t ts;             /* event time; 0 means when appended */
    char instrument_id[16]; /* the instrument */
    double bid_price[10];   /* prices bid, highest first; 0: no such level */
    double bid_volume[10];  /* quantities at them */
    double ask_price[10];   /* prices asked, lowest first; 0: no such level */
    double ask_volume[10];  /* quantities at them */
} tape_depth;
#define TAPE_DEPTH_VERSION 1
TAPE_LAYOUT(offsetof(tape_depth, seq) == 0);
TAPE_LAYOUT(offsetof(tape_depth, ts) == 8);
TAPE_LAYOUT(offsetof(tape_depth, instrument_id) == 16);
TAPE_LAYOUT(offsetof(tape_depth, bid_price) == 32);
TAPE_LAYOUT(offsetof(tape_depth, bid_volume) == 112);
TAPE_LAYOUT(offsetof(tape_depth, ask_price) == 192);
TAPE_LAYOUT(offsetof(tape_depth, ask_volume) == 272);
TAPE_LAYOUT(sizeof(tape_depth) == 352);

/* --- the catalogue at run time ---------------------------------------------------------------
 * For loops over tables and fields. Everything is constant and lives as long as the program. */

typedef enum tape_field_kind {
    TAPE_FIELD_U64 = 1,  /* uint64_t */
    TAPE_FIELD_TIME = 2, /* int64_t, nanoseconds since 1970, UTC */
    TAPE_FIELD_F64 = 3,  /* double */
    TAPE_FIELD_ENUM = 4, /* uint8_t, one of enum_names */
    TAPE_FIELD_ID = 5,   /* char[size_bytes], UTF-8, NUL-padded */
} tape_field_kind;

typedef struct tape_field_info {
    const char *name; /* of the column, "order_id" */
    const char *doc;  /* what it means, in a few words */
    tape_field_kind kind;
    uint32_t offset;               /* in the struct, in bytes */
    uint32_t size_bytes;           /* of one element */
    uint32_t count;                /* elements: 1, or those of an array */
    uint16_t since_version;        /* version of the table that introduced it */
    uint8_t is_key;                /* 1: part of the key */
    uint8_t enum_count;            /* values are 0 .. enum_count - 1; 0 for other kinds */
    const char *const *enum_names; /* by value; NULL for the value that means absent */
} tape_field_info;

typedef enum tape_table_kind {
    TAPE_KIND_EVENT = 1,  /* each record stands for itself; the table is its own history */
    TAPE_KIND_ENTITY = 2, /* a record is a version of its key; the table shows the newest */
} tape_table_kind;

typedef struct tape_table_info {
    uint16_t id; /* TAPE_TABLE_... */
    uint16_t version;
    tape_table_kind kind;
    const char *name; /* "orders" */
    const char *doc;
    uint32_t size_bytes; /* of the struct */
    uint32_t field_count;
    const tape_field_info *fields; /* in column order, seq and ts first; reserved bytes left out */
    uint32_t key_count;
    const uint32_t *key_fields; /* indexes into `fields`, in key order */
} tape_table_info;

/* The table of an id (1 .. TAPE_TABLE_COUNT) or a name ("orders"); NULL when there is none. */
TAPE_API const tape_table_info *tape_table(uint16_t id);
TAPE_API const tape_table_info *tape_table_named(const char *name);

#undef TAPE_LAYOUT

#ifdef __cplusplus
}
#endif
#endif
