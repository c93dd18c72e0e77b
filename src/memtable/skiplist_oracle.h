/* skiplist_oracle: a table of records in the order of a memtable, kept as a skip list. Simple
 * enough to be believed: the tests compare the memtable with it, and the benchmark measures beside
 * it. Not part of the library.
 *
 * Threads: one inserts; any number read meanwhile, without locks.
 * Failure: memory that runs out ends the process. */
#ifndef SKIPLIST_ORACLE_H
#define SKIPLIST_ORACLE_H

#include "record/record.h"

/* One version of one record; its encoded key and its payload follow. */
typedef struct skiplist_entry {
    uint64_t seq;
    int64_t append_ts;
    const tape_table_info *table;
    uint32_t size; /* of the payload */
    uint16_t version;
    uint8_t flags;
    uint8_t key_size;
    uint8_t bytes[];
} skiplist_entry;

typedef struct skiplist skiplist;
skiplist *skiplist_create(void);
void skiplist_destroy(skiplist **list);
/* (key, seq) must not be there yet. */
void skiplist_insert(skiplist *list, slice key, const record_view *record);
/* The newest version of the key with seq <= at, or NULL. */
const skiplist_entry *skiplist_get(const skiplist *list, slice key, uint64_t at);
/* The first entry at or after (key, seq), and the last before it; NULL when there is none. */
const skiplist_entry *skiplist_seek(const skiplist *list, slice key, uint64_t seq);
const skiplist_entry *skiplist_seek_before(const skiplist *list, slice key, uint64_t seq);
const skiplist_entry *skiplist_next(const skiplist_entry *entry);
const skiplist_entry *skiplist_prev(const skiplist *list, const skiplist_entry *entry);
slice skiplist_key(const skiplist_entry *entry);
void skiplist_view(const skiplist_entry *entry, record_view *out);
uint64_t skiplist_bytes(const skiplist *list);

#endif
