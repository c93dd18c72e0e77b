/* What memtable.c asks of the structure that keeps the order: skiplist.c. Another structure takes
 * its place by offering these functions over the same entries. */
#ifndef MEMTABLE_INTERNAL_H
#define MEMTABLE_INTERNAL_H

#include "memtable/memtable.h"

/* One version of one record; the encoded key and the payload follow, see entry_key, entry_payload.
 */
typedef struct memtable_entry {
    uint64_t seq;
    int64_t append_ts;
    uint32_t size; /* of the payload */
    uint16_t version;
    uint8_t flags;
    uint8_t key_size;
    uint8_t bytes[];
} memtable_entry;

/* The payload starts at a multiple of 8, as a record's struct wants. */
#define ENTRY_ALIGN 8u
_Static_assert(offsetof(memtable_entry, bytes) % ENTRY_ALIGN == 0, "the key starts aligned");

static inline slice entry_key(const memtable_entry *e) {
    return (slice){e->bytes, e->key_size};
}

static inline const uint8_t *entry_payload(const memtable_entry *e) {
    return e->bytes + ALIGN_UP(e->key_size, ENTRY_ALIGN);
}

/* Below 0: (key, seq) stands before the entry; 0: it is the entry's; above 0: after it. */
static inline int entry_compare(slice key, uint64_t seq, const memtable_entry *e) {
    int order = slice_compare(key, entry_key(e));
    if (order != 0) {
        return order;
    }
    return (seq < e->seq) - (seq > e->seq);
}

/* 4^SKIPLIST_HEIGHT_MAX entries are found in about as many steps as a balanced tree would take. */
#define SKIPLIST_HEIGHT_MAX 12
/* In front of each entry lies its tower: the next entry of level l at link [-1 - l]. The head is a
 * tower without an entry. */
typedef _Atomic(memtable_entry *) skiplist_link;

typedef struct skiplist {
    skiplist_link head[SKIPLIST_HEIGHT_MAX];
    _Atomic int height; /* levels in use, at least 1 */
    uint64_t random;
} skiplist;

void skiplist_init(skiplist *list);
/* Room for an entry of `bytes`, whose fields the caller then fills. NULL when memory is exhausted.
 */
memtable_entry *skiplist_allocate(skiplist *list, arena *memory, size_t bytes, int *height);
/* Makes a filled entry visible to readers. Its (key, seq) must not be there yet. */
void skiplist_link_entry(skiplist *list, memtable_entry *entry, int height);
/* The first entry at or after (key, seq) in the order; NULL when there is none. */
const memtable_entry *skiplist_seek(const skiplist *list, slice key, uint64_t seq);
/* The last entry before (key, seq); NULL when there is none. */
const memtable_entry *skiplist_seek_before(const skiplist *list, slice key, uint64_t seq);
const memtable_entry *skiplist_next(const memtable_entry *entry);

#endif
