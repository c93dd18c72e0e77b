/* memtable: the newest records of the store, in memory, ordered by (encoded key, seq descending).
 *
 * Filled once, read while it is filled, written out as table files, destroyed as a whole. What
 * finds entries and keeps the order is behind this interface; nothing outside the module knows it.
 *
 * Invariants
 *  M1 Entries come out in key order (memcmp, shorter first) and, within a key, newest seq first.
 *  M2 Every (key, seq) is there at most once, and each insert has a higher seq than the one before.
 *  M3 An entry never changes or moves once it can be found; it is gone only with the table.
 *  M4 An insert allocates nothing but a run of the table's own memory.
 *
 * Threads: one thread at a time inserts; any number read meanwhile, without locks. A reader that
 * started before an insert ended may or may not see it: readers ask for a seq they know is there.
 * Failure: only memory can run out; the table stays as it was. */
#ifndef MEMTABLE_H
#define MEMTABLE_H

#include "record/record.h"

typedef struct memtable memtable;

/* Takes next to no memory until the first insert. It may grow beyond `bytes_expected`, only less
 * efficiently. */
memtable *memtable_create(uint64_t bytes_expected);
void memtable_destroy(memtable **m);

/* Memory that memtables hand on to each other, up to `bytes_max` while nobody uses it: fresh pages
 * from the system are slow. Any thread; it must outlive the memtables that share it. */
typedef struct memtable_stock memtable_stock;
memtable_stock *memtable_stock_create(uint64_t bytes_max);
void memtable_stock_destroy(memtable_stock **stock);  /* NULL-safe */
uint64_t memtable_stock_bytes(memtable_stock *stock); /* at hand now */
/* Before the first insert. */
void memtable_share(memtable *m, memtable_stock *stock);

/* Copies the record; `key` is its record_key, `hash` that key's. False when memory is exhausted. */
bool memtable_insert(memtable *m, slice key, const uint64_t hash[2],
                     const record_view *record) TAPE_CHECKED;

/* The newest version of the key with seq <= at. `out->payload` is valid as long as the table. */
bool memtable_get(const memtable *m, slice key, const uint64_t hash[2], uint64_t at,
                  record_view *out);
/* Brings what memtable_get looks at first into the cache; for many gets one after the other. */
void memtable_prefetch(const memtable *m, const uint64_t hash[2]);

/* A place among the entries, of every table. `record` is the entry there while `valid`; its payload
 * is good as long as the memtable. Entries inserted after the cursor was opened may or may not come
 * out, in their place. A cursor belongs to one thread. */
typedef struct memtable_cursor {
    bool valid;
    record_view record;
    /* the structure's own follows */
} memtable_cursor;
memtable_cursor *memtable_cursor_open(const memtable *m);
void memtable_cursor_close(memtable_cursor **c); /* NULL-safe */
/* To the first entry at or after (key, seq) in the order of M1; `key` may be a bound. Seq
 * UINT64_MAX stands before every version of the key, 0 behind them. */
void memtable_cursor_seek(memtable_cursor *c, slice key, uint64_t seq);
/* To the last entry before (key, seq). */
void memtable_cursor_seek_before(memtable_cursor *c, slice key, uint64_t seq);
/* From a valid place; directions may change. */
void memtable_cursor_next(memtable_cursor *c);
void memtable_cursor_prev(memtable_cursor *c);

/* Any thread. Seqs are 0 while the table is empty. */
uint64_t memtable_entries(const memtable *m);
uint64_t memtable_bytes(const memtable *m); /* in use, order and index included */
uint64_t memtable_min_seq(const memtable *m);
uint64_t memtable_max_seq(const memtable *m);

#endif
