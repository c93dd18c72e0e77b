/* For the module's tests: a trivial model of a store, and records for both. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "store/store_internal.h"

extern const uint8_t fixture_store_id[16];

/* Every record there ever was: number `seq` is records[seq - 1]. A record's key is one of `keys`.
 */
typedef struct model_record {
    uint32_t key;
    uint16_t table;
    _Alignas(8) uint8_t payload[TAPE_RECORD_BYTES_MAX];
} model_record;

typedef struct model {
    model_record *records;
    uint64_t count;
    uint64_t capacity;
    uint32_t keys;
    uint64_t random;
    bool orders_only; /* else keys of four tables */
} model;

uint64_t fixture_random(uint64_t *state);
/* Random numbers of the model's own. */
uint64_t model_random(model *m, uint64_t below);
/* Adds the record that comes next; the same seed gives the same records. */
void model_add(model *m);
/* The record that the key has at `at`, or NULL. */
const model_record *model_get(const model *m, uint32_t key, uint64_t at);
record_view model_view(const model *m, uint64_t seq);
void model_deinit(model *m);

/* The table and the encoded key of key number `key`. */
const tape_table_info *model_key(uint32_t key, uint8_t out[RECORD_KEY_BYTES_MAX], size_t *size);

/* Applies records first_seq .. last_seq of the model in one call. */
tape_status model_apply(const model *m, store *s, uint64_t first_seq, uint64_t last_seq,
                        tape_error *error);
/* store_get at a seq, now. */
tape_status fixture_get(store *s, const tape_table_info *table, slice key, uint64_t at, void *out,
                        uint16_t *version, tape_error *error);
/* Whether store and model agree on a key at a seq; says on stderr when not. */
bool model_agrees(const model *m, store *s, uint32_t key, uint64_t at);

#endif
