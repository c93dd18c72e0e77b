/* What the files of this module share. README.md says how the parts work together. */
#ifndef MEMTABLE_INTERNAL_H
#define MEMTABLE_INTERNAL_H

#include "memtable/memtable.h"

_Static_assert(sizeof(void *) == 8, "addresses are packed into words of 64 bits");

/* Where addresses share a word with something else: they have at most 48 bits. */
#define ADDRESS_MASK ((UINT64_C(1) << 48) - 1)

/* How the writer stores what readers may be loading, and how they load it. A test defines
 * MEMTABLE_STEP as a function of its own, which then runs before each of these stores and loads, as
 * if the other side had gone on just there. */
#ifdef MEMTABLE_STEP
void MEMTABLE_STEP(void);
#else
#define MEMTABLE_STEP() ((void)0)
#endif
#define LOAD_ACQUIRE(at) (MEMTABLE_STEP(), atomic_load_explicit((at), memory_order_acquire))
#define STORE_RELEASE(at, value)                                                                   \
    (MEMTABLE_STEP(), atomic_store_explicit((at), (value), memory_order_release))

/* --- memory.c: runs of memory that are freed all at once --- */

typedef struct memory_block memory_block;
/* Zero-initialised it is empty; nothing is taken before the first run. One thread. */
typedef struct memory {
    memory_block *head;
    uint64_t used_bytes;     /* handed out, and what was left over at the ends of blocks */
    uint64_t reserved_bytes; /* taken from the system */
    uint64_t reserved_max;   /* 0: no limit */
    memtable_stock *stock;   /* NULL: none */
} memory;
/* Not zero-filled. `align` is a power of two up to 64. NULL when memory is exhausted. */
void *memory_take(memory *m, size_t size, size_t align);
/* Gives the run back that was taken last, unless another was taken since. */
void memory_give_back(memory *m, const void *run, size_t size);
void memory_deinit(memory *m);

/* --- versions.c: entries, and the versions of one key from the newest to the oldest --- */

/* One version of one record. */
typedef struct memtable_entry {
    uint64_t seq;
    int64_t append_ts;
    _Atomic(struct memtable_entry *) newer; /* the next version of the key; NULL: none yet */
    const struct memtable_entry *older;     /* NULL in a key's first version */
    uint64_t jump; /* an address, the entry's rank << 48, the rank there << 56: see versions.c */
    uint32_t size; /* of the payload */
    uint16_t version;
    uint8_t flags;
    uint8_t table;
    uint8_t payload[];
} memtable_entry;
#define ENTRY_ALIGN 16u
_Static_assert(offsetof(memtable_entry, payload) % ENTRY_ALIGN == 0, "payloads are aligned");

/* Sets what ties a filled entry to the version before it (NULL: none). */
void versions_link(memtable_entry *e, const memtable_entry *newest);
/* The newest version with seq <= at, from `newest` on back; NULL when all are later. */
const memtable_entry *versions_at(const memtable_entry *newest, uint64_t at);

static inline int entry_compare_key(slice key, const memtable_entry *e) {
    return record_key_compare(record_table(e->table), key, e->payload);
}

static inline void entry_prefetch(const memtable_entry *e) {
    for (size_t at = 0; at < 3 * (size_t)CACHE_LINE_BYTES; at += CACHE_LINE_BYTES) {
        __builtin_prefetch((const uint8_t *)e + at);
    }
}

static inline void entry_view(const memtable_entry *e, record_view *out) {
    *out = (record_view){
        .table = record_table(e->table),
        .payload = e->payload,
        .size = e->size,
        .version = e->version,
        .flags = e->flags,
        .seq = e->seq,
        .ts = (int64_t)load_u64(e->payload + 8),
        .append_ts = e->append_ts,
    };
}

/* --- hash_index.c: key -> newest version --- */

typedef struct index_directory index_directory;
typedef struct hash_index {
    _Atomic(index_directory *) directory; /* NULL: no key yet */
    memory *memory;
    uint32_t line_mask; /* lines of a page - 1 */
} hash_index;
/* Where a key's entry is, or would go: good until the next insert. */
typedef struct index_place {
    _Atomic uint64_t *slot;
    uint64_t beside; /* what the slot holds besides the address */
} index_place;

void hash_index_init(hash_index *x, memory *m, uint64_t bytes_expected);
/* `hash` is the first of record_key_hash. */
memtable_entry *hash_index_find(const hash_index *x, slice key, uint64_t hash);
/* What a find looks at first, and then, once that is there, what it looks at next. */
void hash_index_prefetch(const hash_index *x, uint64_t hash);
void hash_index_prefetch_entry(const hash_index *x, uint64_t hash);
/* The writer's: makes sure that there is a place for the key. *found is its newest version or NULL.
 * False when memory is exhausted. */
bool hash_index_reserve(hash_index *x, slice key, uint64_t hash, index_place *place,
                        memtable_entry **found);
/* Puts the entry there: readers find it from now on. */
void hash_index_put(hash_index *x, const index_place *place, uint64_t hash, memtable_entry *e,
                    bool first);

/* --- key_order.c: the keys of one table, each by its first version, in order --- */

typedef struct order_node order_node;
/* Eight bytes of an entry's key, in an order-preserving word, beside the entry. */
typedef struct order_pair {
    uint64_t word;
    const memtable_entry *entry;
} order_pair;

typedef struct order_nodes {
    order_node *first;
    uint32_t count;
} order_nodes;
typedef struct order_child order_child;
/* What the orders of all tables share: memory for nodes, and room for the writer to work in. */
typedef struct order_pool {
    memory *memory;
    uint32_t node_keys; /* room in a node */
    order_nodes free_leaves, free_inner;
    order_pair *pairs, *scratch; /* node_keys + 1 each */
    order_child *children;
} order_pool;
void order_pool_init(order_pool *p, memory *m, uint64_t bytes_expected);

/* A key, or a bound, with zeros behind it: words may be read up to its greatest size. */
typedef struct order_key {
    uint8_t bytes[RECORD_KEY_BYTES_MAX + sizeof(uint64_t)];
    size_t size;
} order_key;

/* A tree this high has more keys than there are addresses. */
#define ORDER_LEVELS_MAX 16u
/* From the root to a leaf. */
typedef struct order_path {
    uint32_t height; /* the root's level */
    struct {
        order_node *node;
        uint32_t at;           /* the child taken */
    } steps[ORDER_LEVELS_MAX]; /* by level */
} order_path;

typedef struct key_order {
    _Atomic(order_node *) root; /* NULL: no key yet */
    order_pool *pool;
    /* The writer's: */
    bool adding;      /* the last insert was of a key that was not there */
    order_node *last; /* the leaf of the greatest keys */
    order_key greatest;
} key_order;
/* Where the writer adds a key. */
typedef struct order_place {
    order_key key;
    bool greatest;   /* of all keys: it goes into the last leaf */
    order_path path; /* otherwise, to the leaf */
} order_place;

/* The writer's: finds the place for a key that is not there, good until the next insert, and brings
 * it into the cache. */
void key_order_find(const key_order *o, slice key, order_place *place);
/* The writer's: adds the key. False, with nothing added, when memory is exhausted. */
bool key_order_insert(key_order *o, order_place *place, const memtable_entry *first);

/* A reader's copy of one leaf, neighbouring keys, and a place among them. */
typedef struct order_run {
    const memtable_entry *low;  /* the leaf's keys are >= its key; NULL: there is no leaf before */
    const memtable_entry *high; /* and < its; NULL: there is no leaf behind */
    /* The leaf's sorted part and its tail, by now sorted too; of each, how many keys there are and
     * how many stand before the place. */
    order_pair *parts[2];
    uint32_t counts[2];
    uint32_t at[2];
    uint32_t skip; /* bytes that all keys share */
    _Atomic uint64_t prefix[RECORD_KEY_BYTES_MAX / 8];
    order_pair *scratch; /* node_keys */
    order_pair *pairs;   /* node_keys */
} order_run;
/* Copies the leaf in whose range the key falls; with `before`, that in whose range the keys just
 * before it fall. False when there is no key at all. Any thread. */
bool key_order_read(const key_order *o, slice key, bool before, order_run *run);
/* Before the first key >= `key`. */
void order_run_seek(order_run *run, slice key);
/* The entry behind the place, the one behind that, and the one before the place; NULL at the ends.
 */
const memtable_entry *order_run_next(const order_run *run);
const memtable_entry *order_run_after_next(const order_run *run);
const memtable_entry *order_run_prev(const order_run *run);
/* One on, one back; not at the ends. */
void order_run_forward(order_run *run);
void order_run_back(order_run *run);

/* --- order_sort.c --- */
/* Sorts by key, where words are of the same bytes of all keys. `scratch` has room for as many. True
 * when words alone did not decide. */
bool order_sort(order_pair *pairs, size_t count, order_pair *scratch);

/* --- the table --- */

struct memtable {
    hash_index index;
    key_order orders[TAPE_TABLE_COUNT + 1]; /* by catalogue id */
    order_pool pool;
    uint8_t apart[CACHE_LINE_BYTES]; /* readers' lines above, the writer's below */
    memory memory;
    _Atomic uint64_t entries;
    _Atomic uint64_t bytes;
    _Atomic uint64_t min_seq;
    _Atomic uint64_t max_seq;
};

#endif
