/* orders: records with text keys, for the programs that read, scan and overwrite by key.
 *
 * The n-th order has the key "20240808-" and twelve digits, so keys rise with n. What it holds
 * follows from n and its version, so that any answer can be checked. Peers store the same key and
 * the same 144 bytes of struct. */
#ifndef ORDERS_H
#define ORDERS_H

#include "peers.h"

#define ORDERS_KEY_BYTES 21u
typedef char orders_key[40];

void orders_key_make(orders_key key, uint64_t number);
void orders_make(tape_order *out, uint64_t number, uint64_t version);

/* The first `count` orders, and all their numbers in a random order. */
typedef struct orders_set {
    uint64_t count;
    orders_key *keys;
    tape_order *orders;
    size_t *order;
} orders_set;
orders_set *orders_create(uint64_t count);
void orders_free(orders_set **set);

/* Put the orders numbered order[first], order[first + 1]...; `first` and `count` are multiples of
 * ORDERS_BATCH. tape's are in the store when this returns. */
#define ORDERS_BATCH 500u
void orders_put_tape(tape *db, const orders_set *set, uint64_t first, uint64_t count);
void orders_put_rocks(rocks *r, const orders_set *set, uint64_t first, uint64_t count);
void orders_put_lmdb(lmdb *l, const orders_set *set, uint64_t first, uint64_t count);

#endif
