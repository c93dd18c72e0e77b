/* Orders by key: see orders.h. */
#include "orders.h"

#include <stdlib.h>
#include <string.h>

static const char first_key[] = "20240808-000000000000";

void orders_key_make(orders_key key, uint64_t number) {
    memset(key, 0, sizeof(orders_key));
    memcpy(key, first_key, ORDERS_KEY_BYTES);
    for (char *at = key + ORDERS_KEY_BYTES - 1; number > 0; at--, number /= 10) {
        *at = (char)('0' + number % 10);
    }
}

/* Digits at the end of a text. */
static void put_number(char *last, uint64_t number, int digits) {
    for (int i = 0; i < digits; i++, number /= 10) {
        *last-- = (char)('0' + number % 10);
    }
}

void orders_make(tape_order *out, uint64_t number, uint64_t version) {
    uint64_t seed = number;
    uint64_t who = bench_random(&seed);
    seed += version;
    uint64_t what = bench_random(&seed);
    *out = (tape_order){
        .ts = INT64_C(1700000000000000000) + (int64_t)(number + version),
        .user_id = "user-00000",
        .instrument_id = "IF0000",
        .side = who & 1 ? TAPE_SIDE_BUY : TAPE_SIDE_SELL,
        .position_effect = TAPE_POSITION_EFFECT_OPEN,
        .price = 3000 + (double)(what % 10000) * 0.2,
        .volume = (double)(version + 1),
    };
    orders_key_make(out->order_id, number);
    put_number(out->user_id + 9, who >> 8, 5);
    put_number(out->instrument_id + 5, who >> 40, 2);
}

orders_set *orders_create(uint64_t count) {
    orders_set *set = bench_alloc(sizeof *set);
    BENCH_CHECK(count > 0 && count % ORDERS_BATCH == 0);
    *set = (orders_set){.count = count,
                        .keys = bench_alloc(count * sizeof *set->keys),
                        .orders = bench_alloc(count * sizeof *set->orders),
                        .order = bench_alloc(count * sizeof *set->order)};
    uint64_t seed = 7;
    for (size_t i = 0; i < count; i++) {
        orders_make(&set->orders[i], i, 0);
        memcpy(set->keys[i], set->orders[i].order_id, sizeof(orders_key));
        size_t j = bench_random(&seed) % (i + 1);
        set->order[i] = set->order[j];
        set->order[j] = i;
    }
    return set;
}

void orders_free(orders_set **set) {
    free((*set)->keys);
    free((*set)->orders);
    free((*set)->order);
    free(*set);
    *set = NULL;
}

void orders_put_tape(tape *db, const orders_set *set, uint64_t first, uint64_t count) {
    tape_record records[ORDERS_BATCH];
    tape_error error;
    for (uint64_t i = first; i < first + count; i += ORDERS_BATCH) {
        for (size_t k = 0; k < ORDERS_BATCH; k++) {
            records[k] = (tape_record)TAPE_RECORD(ORDERS, &set->orders[set->order[i + k]]);
        }
        bench_check(tape_append(db, records, ORDERS_BATCH, NULL, NULL, &error), &error);
    }
    bench_store_applied(db);
}

void orders_put_rocks(rocks *r, const orders_set *set, uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; i++) {
        size_t at = set->order[i];
        rocks_put_no_log(r, set->keys[at], ORDERS_KEY_BYTES, &set->orders[at], sizeof(tape_order));
    }
}

void orders_put_lmdb(lmdb *l, const orders_set *set, uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; i += ORDERS_BATCH) {
        lmdb_put_keys(l, (const char(*)[40])set->keys, set->order, set->orders, sizeof(tape_order),
                      i, ORDERS_BATCH);
    }
}
