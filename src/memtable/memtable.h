/* memtable: the newest records of the store, in memory, ordered by (encoded key, seq descending).
 *
 * Filled once, read while it is filled, written out as an SSTable, destroyed as a whole. What keeps
 * the order is behind memtable_internal.h; nothing outside the module knows that it is a skip list.
 *
 * Invariants
 *  M1 Entries come out in key order (memcmp, shorter first) and, within a key, newest seq first.
 *  M2 Every (key, seq) is there at most once, and each insert has a higher seq than the one before.
 *  M3 An entry never changes or moves once it can be found; it is gone only with the table.
 *  M4 An insert allocates nothing but a run of the table's arena.
 *
 * Threads: one thread at a time inserts; any number read meanwhile, without locks. A reader that
 * started before an insert ended may or may not see it: readers ask for a seq they know is there.
 * Failure: only memory can run out; the table stays as it was. */
#ifndef MEMTABLE_H
#define MEMTABLE_H

#include "record/record.h"

typedef struct memtable memtable;

memtable *memtable_create(void); /* takes next to no memory until the first insert */
void memtable_destroy(memtable **m);

/* Copies key and record. False when memory is exhausted. */
bool memtable_insert(memtable *m, slice key, const record_view *record) TAPE_CHECKED;

/* The newest version of the key with seq <= at. `out->payload` is valid as long as the table. */
bool memtable_get(const memtable *m, slice key, uint64_t at, record_view *out);

/* Everything in order. `key` and `record` are of the current entry, valid as long as the table. */
typedef struct memtable_iterator {
    const void *position; /* private */
    slice key;
    record_view record;
} memtable_iterator;
/* False: there is no first, no next. Entries inserted meanwhile may or may not come out. */
bool memtable_first(const memtable *m, memtable_iterator *it);
bool memtable_next(memtable_iterator *it);

/* Any thread. Seqs are 0 while the table is empty. */
uint64_t memtable_entries(const memtable *m);
uint64_t memtable_bytes(const memtable *m); /* of the arena, in use */
uint64_t memtable_min_seq(const memtable *m);
uint64_t memtable_max_seq(const memtable *m);

#endif
