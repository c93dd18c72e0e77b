/* memtable_testing: what the tests of this module share: records whose keys have the shapes that
 * are hard for some part of it, and the calls with their hashes. */
#ifndef MEMTABLE_TESTING_H
#define MEMTABLE_TESTING_H

#include "base/base_testing.h"
#include "memtable/memtable_internal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct sample {
    union {
        uint8_t bytes[TAPE_RECORD_BYTES_MAX];
        uint64_t align;
        tape_order order;
        tape_trade trade;
        tape_account account;
        tape_position position;
        tape_instrument instrument;
        tape_tick tick;
        tape_depth depth;
    } record;
    uint8_t key_bytes[RECORD_KEY_BYTES_MAX];
    size_t key_size;
    uint64_t hash[2];
    record_view view;
} sample;

typedef enum sample_shape {
    SAMPLE_RISING,   /* order ids with a number that rises */
    SAMPLE_NUMBERED, /* with any number below `keys` */
    SAMPLE_LATE,     /* order ids of which some come late */
    SAMPLE_GATEWAYS, /* several rising numbers, behind long names that begin alike */
    SAMPLE_PREFIXES, /* trade ids of a and b: many are the beginning of others */
    SAMPLE_VERSIONS, /* few accounts */
    SAMPLE_PAIRS,    /* user and instrument, users being the beginning of others */
    SAMPLE_SHORT,    /* instruments */
    SAMPLE_TICKS,    /* seq is the key */
    SAMPLE_DEPTH,
    SAMPLE_MIXED, /* any of those */
    SAMPLE_SHAPES
} sample_shape;

static inline slice sample_key(const sample *s) {
    return (slice){s->key_bytes, s->key_size};
}

/* Letters a and b as the bits of `n` say, 1 to `most` of them. */
static inline void sample_letters(uint64_t n, char *out, size_t most) {
    size_t length = 1 + n % most;
    for (size_t i = 0; i < length; i++) {
        out[i] = (n >> (8 + i % 40) & 1) != 0 ? 'a' : 'b';
    }
}

static inline const tape_table_info *sample_fill(sample *s, sample_shape shape, uint64_t n,
                                                 uint64_t seq) {
    static const char *const gateways[] = {"SHANGHAI", "SHENZHEN", "SHENYANG"};
    tape_order *order = &s->record.order;
    switch (shape) {
    case SAMPLE_RISING:
        (void)snprintf(order->order_id, sizeof order->order_id, "20240808-%012llu",
                       (unsigned long long)seq);
        return record_table(TAPE_TABLE_ORDERS);
    case SAMPLE_NUMBERED:
        (void)snprintf(order->order_id, sizeof order->order_id, "20240808-%012llu",
                       (unsigned long long)n);
        return record_table(TAPE_TABLE_ORDERS);
    case SAMPLE_LATE:
        (void)snprintf(order->order_id, sizeof order->order_id, "20240808-%012llu-%llu",
                       (unsigned long long)(n % 4 == 0 && seq > n % 300 ? seq - n % 300 : seq),
                       (unsigned long long)(n % 4 == 0 ? seq : 0));
        return record_table(TAPE_TABLE_ORDERS);
    case SAMPLE_GATEWAYS:
        (void)snprintf(order->order_id, sizeof order->order_id, "GW-%s-20240808-%08llu",
                       gateways[n % 3], (unsigned long long)seq);
        return record_table(TAPE_TABLE_ORDERS);
    case SAMPLE_PREFIXES:
        sample_letters(n * UINT64_C(0x9e3779b97f4a7c15) >> 8, s->record.trade.trade_id, 40);
        return record_table(TAPE_TABLE_TRADES);
    case SAMPLE_VERSIONS:
        (void)snprintf(s->record.account.user_id, sizeof s->record.account.user_id, "user-%llu",
                       (unsigned long long)(n % 3));
        return record_table(TAPE_TABLE_ACCOUNTS);
    case SAMPLE_PAIRS:
        sample_letters(n % 61 * 977, s->record.position.user_id, 32);
        (void)snprintf(s->record.position.instrument_id, sizeof s->record.position.instrument_id,
                       "IF%llu", (unsigned long long)(n / 61));
        return record_table(TAPE_TABLE_POSITIONS);
    case SAMPLE_SHORT:
        sample_letters(n * 7919, s->record.instrument.instrument_id, 16);
        return record_table(TAPE_TABLE_INSTRUMENTS);
    case SAMPLE_TICKS:
        return record_table(TAPE_TABLE_TICKS);
    default:
        return record_table(TAPE_TABLE_DEPTH);
    }
}

/* The record of that shape and number, at `seq`. */
static inline void sample_make(sample *s, sample_shape shape, uint64_t n, uint64_t seq) {
    memset(s, 0, sizeof *s);
    const tape_table_info *table = sample_fill(s, shape, n, seq);
    s->record.order.seq = seq;
    s->record.order.ts = (int64_t)(seq * 10);
    uint64_t last = seq * UINT64_C(0x9e3779b97f4a7c15); /* every payload is another's */
    memcpy(s->record.bytes + table->size_bytes - sizeof last, &last, sizeof last);
    s->key_size = record_key(table, &s->record, s->key_bytes);
    record_key_hash(sample_key(s), s->hash);
    s->view = (record_view){.table = table,
                            .payload = &s->record,
                            .size = table->size_bytes,
                            .version = (uint16_t)(1 + seq % 3),
                            .flags = seq % 2 == 0 ? RECORD_MORE : 0,
                            .seq = seq,
                            .ts = s->record.order.ts,
                            .append_ts = (int64_t)seq + 7};
}

/* Any of `keys` keys of the shape. */
static inline void sample_random(sample *s, sample_shape shape, uint64_t keys, uint64_t *seed,
                                 uint64_t seq) {
    sample_shape one =
        shape == SAMPLE_MIXED ? (sample_shape)random_below(seed, SAMPLE_MIXED) : shape;
    sample_make(s, one, random_next(seed) % keys, seq);
}

static inline bool sample_insert(memtable *m, const sample *s) {
    return memtable_insert(m, sample_key(s), s->hash, &s->view);
}

static inline bool sample_get(const memtable *m, const sample *s, uint64_t at, record_view *out) {
    return memtable_get(m, sample_key(s), s->hash, at, out);
}

static inline bool view_equal(const record_view *a, const record_view *b) {
    return a->table == b->table && a->seq == b->seq && a->ts == b->ts &&
           a->append_ts == b->append_ts && a->version == b->version && a->flags == b->flags &&
           a->size == b->size && memcmp(a->payload, b->payload, a->size) == 0;
}

#endif
