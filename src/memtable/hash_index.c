/* hash_index.c: key -> newest version, by an extendible hash table.
 *
 * A directory of 2^bits pages; the first bits of a key's hash say which page is its. A page is
 * lines of eight slots, a cache line each; the last bits of the hash say in which line to look
 * first. A slot is the address of the key's newest entry and, in the bits that an address leaves
 * over, some of the hash, so that other keys' entries are rarely looked at. Lines fill from the
 * left; a key whose line is full goes to the next one. Nothing is ever taken out: an empty slot
 * ends a search.
 *
 *   slot   63..48 first 16 bits of the hash | 47..4 address | 3..2 next 2 bits of the hash |
 *          1..0 lines away from the key's first, or 3 for more
 *
 * A full page is split in two by the next bit of the hash, all of which is in the slots but for the
 * few that say "more"; the directory doubles when a page needs more bits than it has. The work of
 * one insert is bounded by a page and the directory, and pages get full at different loads, so that
 * splits come evenly.
 *
 * Invariants
 *  H1 A page, once it is replaced in the directory, does not change.
 *  H2 A page has an empty slot.
 *
 * Threads: one writer; readers follow directory, page and slot with acquire. One that holds a
 * replaced page sees what was there when it was replaced, that is, when the reader was under way
 * already. Replaced pages and directories stay until the table is destroyed: they add up to at most
 * as many as there are. */
#include "memtable/memtable_internal.h"

#define LINE_SLOTS 8u
#define LINES_LOG2_MIN 3u
#define LINES_LOG2_MAX 9u
/* One page for that many bytes of records. */
#define PAGE_SHARE 1024u
#define TAG_MASK (UINT64_C(0xffff) << 48 | UINT64_C(3) << 2)
#define AWAY_MASK UINT64_C(3)
#define SLOT_ADDRESS_MASK (ADDRESS_MASK & ~(uint64_t)(ENTRY_ALIGN - 1))
#define TAG_BITS 18u
#define DEPTH_MAX 40u

typedef struct index_page {
    uint32_t used;
    uint32_t used_max; /* split from here on */
    uint32_t depth;    /* bits of the hash that all keys of the page share */
    uint32_t pad[13];
    _Atomic uint64_t slots[];
} index_page;
_Static_assert(offsetof(index_page, slots) == CACHE_LINE_BYTES, "slots start at a line");

struct index_directory {
    uint32_t bits;
    _Atomic(index_page *) pages[];
};

void hash_index_init(hash_index *x, memory *m, uint64_t bytes_expected) {
    uint32_t lines_log2 = LINES_LOG2_MIN;
    while (lines_log2 < LINES_LOG2_MAX &&
           ((uint64_t)CACHE_LINE_BYTES << lines_log2) < bytes_expected / PAGE_SHARE) {
        lines_log2++;
    }
    *x = (hash_index){.memory = m, .line_mask = (1u << lines_log2) - 1};
}

static uint64_t first_bits(uint64_t hash, uint32_t bits) {
    return hash >> 1 >> (63 - bits);
}

static uint64_t tag_of(uint64_t hash) {
    return (hash & UINT64_C(0xffff) << 48) | (hash >> 46 & 3) << 2;
}

static memtable_entry *entry_of(uint64_t slot) {
    return (memtable_entry *)(uintptr_t)(slot & SLOT_ADDRESS_MASK);
}

static index_page *page_of(const hash_index *x, uint64_t hash) {
    const index_directory *d = LOAD_ACQUIRE(&x->directory);
    if (d == NULL) {
        return NULL;
    }
    return LOAD_ACQUIRE(&d->pages[first_bits(hash, d->bits)]);
}

/* The key's newest entry, or NULL and the empty slot where it would go. */
static inline memtable_entry *search(const hash_index *x, index_page *page, slice key,
                                     uint64_t hash, index_place *place) {
    uint64_t tag = tag_of(hash);
    for (uint64_t away = 0;; away++) {
        _Atomic uint64_t *line = page->slots + ((hash + away) & x->line_mask) * LINE_SLOTS;
        for (uint32_t i = 0; i < LINE_SLOTS; i++) {
            uint64_t slot = LOAD_ACQUIRE(&line[i]);
            memtable_entry *e = entry_of(slot);
            if (slot == 0) {
                *place = (index_place){&line[i], tag | (away < AWAY_MASK ? away : AWAY_MASK)};
                return NULL;
            }
            if (((slot ^ tag) & TAG_MASK) != 0) {
                continue;
            }
            entry_prefetch(e);
            if (e->table == key.data[0] && entry_compare_key(key, e) == 0) {
                *place = (index_place){&line[i], slot & ~SLOT_ADDRESS_MASK};
                return e;
            }
        }
    }
}

memtable_entry *hash_index_find(const hash_index *x, slice key, uint64_t hash) {
    index_page *page = page_of(x, hash);
    index_place place;
    return page == NULL ? NULL : search(x, page, key, hash, &place);
}

void hash_index_prefetch(const hash_index *x, uint64_t hash) {
    const index_page *page = page_of(x, hash);
    if (page != NULL) {
        __builtin_prefetch(page->slots + (hash & x->line_mask) * LINE_SLOTS);
    }
}

void hash_index_prefetch_entry(const hash_index *x, uint64_t hash) {
    const index_page *page = page_of(x, hash);
    if (page == NULL) {
        return;
    }
    const _Atomic uint64_t *line = page->slots + (hash & x->line_mask) * LINE_SLOTS;
    for (uint32_t i = 0; i < LINE_SLOTS; i++) {
        uint64_t slot = LOAD_ACQUIRE(&line[i]);
        if (slot != 0 && ((slot ^ tag_of(hash)) & TAG_MASK) == 0) {
            entry_prefetch(entry_of(slot));
        }
    }
}

/* --- growing --- */

static uint32_t page_slots(const hash_index *x) {
    return (x->line_mask + 1) * LINE_SLOTS;
}

static size_t page_bytes(const hash_index *x) {
    return sizeof(index_page) + page_slots(x) * sizeof(uint64_t);
}

/* Takes `count` pages, empty, in one run. */
static uint8_t *pages_take(hash_index *x, size_t count) {
    size_t size = count * page_bytes(x);
    uint8_t *pages = memory_take(x->memory, size, CACHE_LINE_BYTES);
    if (pages != NULL) {
        memset(pages, 0, size);
    }
    return pages;
}

/* `hash` is that of any key of the page. Pages get full at 5/8 to 13/16 of their slots, each at its
 * own. */
static index_page *page_init(const hash_index *x, uint8_t *at, uint32_t depth, uint64_t hash) {
    index_page *page = (index_page *)at;
    uint64_t mixed = (first_bits(hash, depth) + 1) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t slots = page_slots(x);
    page->used_max = slots / 8 * 5 + slots * 3 / 16 * (uint32_t)(mixed >> 58) / 64;
    page->depth = depth;
    return page;
}

static size_t directory_bytes(uint32_t bits) {
    return sizeof(index_directory) + (sizeof(index_page *) << bits);
}

static index_directory *directory_create(hash_index *x, uint32_t bits) {
    index_directory *d = memory_take(x->memory, directory_bytes(bits), _Alignof(index_directory));
    if (d != NULL) {
        d->bits = bits;
    }
    return d;
}

static bool create_first(hash_index *x) {
    index_directory *d = directory_create(x, 0);
    uint8_t *page = d == NULL ? NULL : pages_take(x, 1);
    if (page == NULL) {
        memory_give_back(x->memory, d, d == NULL ? 0 : directory_bytes(0));
        return false;
    }
    atomic_init(&d->pages[0], page_init(x, page, 0, 0));
    STORE_RELEASE(&x->directory, d);
    return true;
}

static uint64_t entry_hash(const memtable_entry *e) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    uint64_t hash[2];
    record_key_hash((slice){bytes, record_key(record_table(e->table), e->payload, bytes)}, hash);
    return hash[0];
}

/* Enough of the hash of a slot in `line` of a page of `depth`: the bit after the page's, and the
 * last ones, which say the line. */
static uint64_t slot_hash(uint64_t slot, uint64_t line, uint32_t depth) {
    uint64_t away = slot & AWAY_MASK;
    if (away == AWAY_MASK || depth >= TAG_BITS) {
        return entry_hash(entry_of(slot));
    }
    return (slot & UINT64_C(0xffff) << 48) | (slot >> 2 & 3) << 46 | ((line - away) & UINT32_MAX);
}

static void page_add(const hash_index *x, index_page *page, uint64_t hash, uint64_t slot) {
    for (uint64_t away = 0;; away++) {
        _Atomic uint64_t *line = page->slots + ((hash + away) & x->line_mask) * LINE_SLOTS;
        for (uint32_t i = 0; i < LINE_SLOTS; i++) {
            if (atomic_load_explicit(&line[i], memory_order_relaxed) == 0) {
                uint64_t kept = slot & ~AWAY_MASK;
                atomic_store_explicit(&line[i], kept | (away < AWAY_MASK ? away : AWAY_MASK),
                                      memory_order_relaxed);
                page->used++;
                return;
            }
        }
    }
}

/* Twice as many pages, each named twice. */
static bool directory_double(hash_index *x) {
    const index_directory *old = atomic_load_explicit(&x->directory, memory_order_relaxed);
    index_directory *d = directory_create(x, old->bits + 1);
    if (d == NULL) {
        return false;
    }
    for (uint64_t i = 0; i < UINT64_C(1) << d->bits; i++) {
        atomic_init(&d->pages[i], atomic_load_explicit(&old->pages[i / 2], memory_order_relaxed));
    }
    STORE_RELEASE(&x->directory, d);
    return true;
}

static bool page_split(hash_index *x, const index_page *page, uint64_t hash) {
    index_directory *d = atomic_load_explicit(&x->directory, memory_order_relaxed);
    uint32_t depth = page->depth;
    if (depth == DEPTH_MAX || (depth == d->bits && !directory_double(x))) {
        return false;
    }
    d = atomic_load_explicit(&x->directory, memory_order_relaxed);
    uint8_t *taken = pages_take(x, 2);
    if (taken == NULL) {
        return false;
    }
    uint64_t split_bit = UINT64_C(1) << (63 - depth);
    index_page *halves[2] = {page_init(x, taken, depth + 1, hash & ~split_bit),
                             page_init(x, taken + page_bytes(x), depth + 1, hash | split_bit)};
    for (uint64_t at = 0; at < page_slots(x); at++) {
        uint64_t slot = atomic_load_explicit(&page->slots[at], memory_order_relaxed);
        if (slot != 0) {
            uint64_t of_slot = slot_hash(slot, at / LINE_SLOTS, depth);
            page_add(x, halves[(of_slot & split_bit) != 0], of_slot, slot);
        }
    }
    uint32_t below = d->bits - depth; /* at least 1 */
    uint64_t first = first_bits(hash, depth) << below;
    for (uint64_t i = 0; i < UINT64_C(1) << below; i++) {
        STORE_RELEASE(&d->pages[first + i], halves[i >> (below - 1)]);
    }
    return true;
}

bool hash_index_reserve(hash_index *x, slice key, uint64_t hash, index_place *place,
                        memtable_entry **found) {
    if (atomic_load_explicit(&x->directory, memory_order_relaxed) == NULL && !create_first(x)) {
        return false;
    }
    for (;;) {
        index_page *page = page_of(x, hash);
        *found = search(x, page, key, hash, place);
        if (*found != NULL || page->used < page->used_max) {
            return true;
        }
        if (!page_split(x, page, hash)) {
            return page->used + 1 < page_slots(x); /* H2 */
        }
    }
}

void hash_index_put(hash_index *x, const index_place *place, uint64_t hash, memtable_entry *e,
                    bool first) {
    ASSERT(((uintptr_t)e & ~SLOT_ADDRESS_MASK) == 0);
    if (first) {
        page_of(x, hash)->used++;
    }
    STORE_RELEASE(place->slot, (uintptr_t)e | place->beside);
}
