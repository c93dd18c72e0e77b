/* skiplist_oracle.c: an ordered list with shortcuts, one writer, readers without locks.
 *
 * In front of each entry lies its tower: the next entry of level l at link [-1 - l]. The head is a
 * tower without an entry.
 *
 * Threads: the writer fills an entry and its tower before it stores the first link to it with
 * release; readers follow links with acquire, so whoever reaches an entry sees all of it. Links of
 * higher levels are set after lower ones: a reader that misses a shortcut only takes a longer way.
 * Entries are never unlinked. */
#include "memtable/skiplist_oracle.h"

#include <stdlib.h>

/* 4^HEIGHT_MAX entries are found in about as many steps as a balanced tree would take. */
#define HEIGHT_MAX 12
#define PAYLOAD_ALIGN 8u

typedef _Atomic(skiplist_entry *) skiplist_link;

struct skiplist {
    skiplist_link head[HEIGHT_MAX];
    _Atomic int height; /* levels in use, at least 1 */
    uint64_t random;
    arena memory;
};

static const skiplist_link *tower_of_head(const skiplist *list) {
    return list->head + HEIGHT_MAX;
}

static const skiplist_link *tower_of(const skiplist_entry *entry) {
    return (const skiplist_link *)entry;
}

static skiplist_entry *tower_next(const skiplist_link *tower, int level) {
    return atomic_load_explicit(&tower[-1 - level], memory_order_acquire);
}

skiplist *skiplist_create(void) {
    skiplist *list = mem_zalloc(sizeof *list);
    atomic_init(&list->height, 1);
    list->random = UINT64_C(0x9e3779b97f4a7c15); /* every list draws the same heights */
    arena_init(&list->memory, MIB(1));
    return list;
}

void skiplist_destroy(skiplist **list) {
    if (*list != NULL) {
        arena_deinit(&(*list)->memory);
        free(*list);
        *list = NULL;
    }
}

slice skiplist_key(const skiplist_entry *entry) {
    return (slice){entry->bytes, entry->key_size};
}

static const uint8_t *payload_of(const skiplist_entry *entry) {
    return entry->bytes + ALIGN_UP(entry->key_size, PAYLOAD_ALIGN);
}

void skiplist_view(const skiplist_entry *entry, record_view *out) {
    const uint8_t *payload = payload_of(entry);
    *out = (record_view){
        .table = entry->table,
        .payload = payload,
        .size = entry->size,
        .version = entry->version,
        .flags = entry->flags,
        .seq = entry->seq,
        .ts = (int64_t)load_u64(payload + 8),
        .append_ts = entry->append_ts,
    };
}

/* Below 0: (key, seq) stands before the entry; 0: it is the entry's; above 0: after it. */
static int compare(slice key, uint64_t seq, const skiplist_entry *entry) {
    int order = slice_compare(key, skiplist_key(entry));
    if (order != 0) {
        return order;
    }
    return (seq < entry->seq) - (seq > entry->seq);
}

/* One more level with a chance of 1 in 4. */
static int draw_height(skiplist *list) {
    uint64_t r = list->random;
    r ^= r << 13;
    r ^= r >> 7;
    r ^= r << 17;
    list->random = r;
    int height = 1;
    while (height < HEIGHT_MAX && (r & 3) == 0) {
        height++;
        r >>= 2;
    }
    return height;
}

/* Walks from the head to the last tower before (key, seq) on every level; keeps them in `before`
 * when it is not NULL. Returns the entry after it on the lowest level. */
static skiplist_entry *descend(const skiplist *list, slice key, uint64_t seq,
                               const skiplist_link **before) {
    const skiplist_link *tower = tower_of_head(list);
    int level = atomic_load_explicit(&list->height, memory_order_relaxed) - 1;
    skiplist_entry *known_after = NULL; /* compared on the level above: no need to do it again */
    for (;;) {
        skiplist_entry *next = tower_next(tower, level);
        if (next != NULL && next != known_after && compare(key, seq, next) > 0) {
            tower = tower_of(next);
            continue;
        }
        if (before != NULL) {
            before[level] = tower;
        }
        if (level == 0) {
            return next;
        }
        known_after = next;
        level--;
    }
}

static void link_entry(skiplist *list, skiplist_entry *entry, int height) {
    const skiplist_link *before[HEIGHT_MAX];
    int levels = atomic_load_explicit(&list->height, memory_order_relaxed);
    const skiplist_entry *after = descend(list, skiplist_key(entry), entry->seq, before);
    ASSERT(after == NULL || compare(skiplist_key(entry), entry->seq, after) != 0);
    for (int level = levels; level < height; level++) {
        before[level] = tower_of_head(list);
    }
    skiplist_link *tower = (skiplist_link *)entry;
    for (int level = 0; level < height; level++) {
        atomic_init(&tower[-1 - level], tower_next(before[level], level));
    }
    for (int level = 0; level < height; level++) {
        skiplist_link *link = (skiplist_link *)&before[level][-1 - level];
        atomic_store_explicit(link, entry, memory_order_release);
    }
    if (height > levels) {
        /* A reader that sees the greater height before the links finds empty levels: harmless. */
        atomic_store_explicit(&list->height, height, memory_order_relaxed);
    }
}

void skiplist_insert(skiplist *list, slice key, const record_view *record) {
    int height = draw_height(list);
    size_t tower_bytes = (size_t)height * sizeof(skiplist_link);
    size_t payload_at = sizeof(skiplist_entry) + ALIGN_UP(key.size, PAYLOAD_ALIGN);
    uint8_t *memory = arena_alloc(&list->memory, tower_bytes + payload_at + record->size,
                                  _Alignof(skiplist_entry));
    ASSERT(memory != NULL && key.size <= UINT8_MAX);
    skiplist_entry *entry = (skiplist_entry *)(memory + tower_bytes);
    *entry = (skiplist_entry){.seq = record->seq,
                              .append_ts = record->append_ts,
                              .table = record->table,
                              .size = record->size,
                              .version = record->version,
                              .flags = (uint8_t)record->flags,
                              .key_size = (uint8_t)key.size};
    memcpy(entry->bytes, key.data, key.size);
    memcpy((uint8_t *)entry + payload_at, record->payload, record->size);
    link_entry(list, entry, height);
}

const skiplist_entry *skiplist_seek(const skiplist *list, slice key, uint64_t seq) {
    return descend(list, key, seq, NULL);
}

const skiplist_entry *skiplist_seek_before(const skiplist *list, slice key, uint64_t seq) {
    const skiplist_link *before[HEIGHT_MAX];
    (void)descend(list, key, seq, before);
    return before[0] == tower_of_head(list) ? NULL : (const skiplist_entry *)before[0];
}

const skiplist_entry *skiplist_get(const skiplist *list, slice key, uint64_t at) {
    const skiplist_entry *entry = skiplist_seek(list, key, at);
    return entry != NULL && slice_compare(skiplist_key(entry), key) == 0 ? entry : NULL;
}

const skiplist_entry *skiplist_next(const skiplist_entry *entry) {
    return tower_next(tower_of(entry), 0);
}

const skiplist_entry *skiplist_prev(const skiplist *list, const skiplist_entry *entry) {
    return skiplist_seek_before(list, skiplist_key(entry), entry->seq);
}

uint64_t skiplist_bytes(const skiplist *list) {
    return list->memory.used_bytes;
}
