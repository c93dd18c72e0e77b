/* For the module's tests: records to write, and a model to compare with. */
#ifndef SSTABLE_FIXTURE_H
#define SSTABLE_FIXTURE_H

#include "sstable/sstable_internal.h"

typedef struct fixture_entry {
    record_view view; /* payload is the entry's own */
    uint8_t key_bytes[RECORD_KEY_BYTES_MAX];
    size_t key_size;
} fixture_entry;

typedef struct fixture {
    fixture_entry *entries; /* in the order of a table file */
    size_t count;
    size_t capacity;
} fixture;

extern const uint8_t fixture_store_id[16];

extern const sstable_codec fixture_codecs[3];

uint64_t fixture_random(uint64_t *state);
/* `count` records of a table (TAPE_TABLE_ORDERS, POSITIONS, ACCOUNTS or TICKS) with rising seqs
 * from first_seq on, not every one; `keys` is about how many different keys a table with versions
 * gets. */
void fixture_fill(fixture *f, uint64_t seed, uint16_t table, size_t count, uint64_t keys,
                  uint64_t first_seq);
/* Adds one record of `size` bytes made of a struct of the table (zeros follow it). */
void fixture_add(fixture *f, uint16_t table, const void *record, uint32_t size, uint16_t version);
void fixture_sort(fixture *f);
void fixture_deinit(fixture *f);
static inline slice fixture_key(const fixture_entry *e) {
    return (slice){e->key_bytes, e->key_size};
}

/* The newest version of the key at `at`, or NULL. */
const fixture_entry *fixture_get(const fixture *f, slice key, uint64_t at);
bool fixture_equal(const record_view *got, const fixture_entry *want);

/* Writes the entries as table `number`; asserts that it works. */
sstable_info fixture_write(const fixture *f, const sstable_place *place, uint64_t number,
                           sstable_codec codec);
/* Computes every checksum anew after bytes of a table were changed; `blocks` blocks lie between
 * `places`. */
void fixture_reseal(uint8_t *data, uint64_t size, uint64_t number,
                    const sstable_index_place *places, uint64_t blocks);

/* A directory of the machine's own, removed with what is in it. */
char *fixture_dir_make(void);
void fixture_dir_remove(char **dir);

#endif
