/* skiplist.c: an ordered list with shortcuts, one writer, readers without locks.
 *
 * Threads: the writer fills an entry and its tower before it stores the first link to it with
 * release; readers follow links with acquire, so whoever reaches an entry sees all of it. Links of
 * higher levels are set after lower ones: a reader that misses a shortcut only takes a longer way.
 * Entries are never unlinked, so a position once reached stays good. */
#include "memtable/memtable_internal.h"

static const skiplist_link *tower_of_head(const skiplist *list) {
    return list->head + SKIPLIST_HEIGHT_MAX;
}

static const skiplist_link *tower_of(const memtable_entry *entry) {
    return (const skiplist_link *)entry;
}

static memtable_entry *tower_next(const skiplist_link *tower, int level) {
    return atomic_load_explicit(&tower[-1 - level], memory_order_acquire);
}

void skiplist_init(skiplist *list) {
    for (int level = 0; level < SKIPLIST_HEIGHT_MAX; level++) {
        atomic_init(&list->head[level], NULL);
    }
    atomic_init(&list->height, 1);
    /* Every table draws the same heights: a run can be repeated exactly. */
    list->random = UINT64_C(0x9e3779b97f4a7c15);
}

/* One more level with a chance of 1 in 4. */
static int draw_height(skiplist *list) {
    uint64_t r = list->random;
    r ^= r << 13;
    r ^= r >> 7;
    r ^= r << 17;
    list->random = r;
    int height = 1;
    while (height < SKIPLIST_HEIGHT_MAX && (r & 3) == 0) {
        height++;
        r >>= 2;
    }
    return height;
}

memtable_entry *skiplist_allocate(skiplist *list, arena *memory, size_t bytes, int *height) {
    *height = draw_height(list);
    size_t tower_bytes = (size_t)*height * sizeof(skiplist_link);
    uint8_t *node = arena_alloc(memory, tower_bytes + bytes, _Alignof(memtable_entry));
    return node == NULL ? NULL : (memtable_entry *)(node + tower_bytes);
}

/* Walks from the head to the last tower before (key, seq) on every level; keeps them in `before`
 * when it is not NULL. Returns the entry after it on the lowest level. */
static memtable_entry *descend(const skiplist *list, slice key, uint64_t seq,
                               const skiplist_link **before) {
    const skiplist_link *tower = tower_of_head(list);
    int level = atomic_load_explicit(&list->height, memory_order_relaxed) - 1;
    memtable_entry *known_after = NULL; /* compared on the level above: no need to do it again */
    for (;;) {
        memtable_entry *next = tower_next(tower, level);
        if (next != NULL && next != known_after && entry_compare(key, seq, next) > 0) {
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

void skiplist_link_entry(skiplist *list, memtable_entry *entry, int height) {
    const skiplist_link *before[SKIPLIST_HEIGHT_MAX];
    int levels = atomic_load_explicit(&list->height, memory_order_relaxed);
    const memtable_entry *after = descend(list, entry_key(entry), entry->seq, before);
    ASSERT(after == NULL || entry_compare(entry_key(entry), entry->seq, after) != 0); /* M2 */
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

const memtable_entry *skiplist_seek(const skiplist *list, slice key, uint64_t seq) {
    return descend(list, key, seq, NULL);
}

const memtable_entry *skiplist_seek_before(const skiplist *list, slice key, uint64_t seq) {
    const skiplist_link *before[SKIPLIST_HEIGHT_MAX];
    (void)descend(list, key, seq, before);
    return before[0] == tower_of_head(list) ? NULL : (const memtable_entry *)before[0];
}

const memtable_entry *skiplist_next(const memtable_entry *entry) {
    return tower_next(tower_of(entry), 0);
}
