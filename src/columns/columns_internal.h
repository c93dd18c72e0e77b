/* columns, private: the layout of chunks, dictionaries, the index of newest versions, the map of
 * superseded archived rows. The invariants that are cited here (C.., K.., P.., N.., S.., D..) stand
 * in README.md. */
#ifndef COLUMNS_INTERNAL_H
#define COLUMNS_INTERNAL_H

#include "columns/columns.h"

#include <pthread.h>

/* Identifiers of up to this many bytes name what repeats (users, instruments) and are kept once, in
 * a dictionary per field name; longer ones are unique, or nearly so (orders, trades), and kept in
 * place. */
#define COLUMNS_DICTIONARY_ID_BYTES_MAX 32u

/* Memory of a chunk that is fresh from the system is accounted in steps of this many rows: the
 * system hands out the pages of its arrays as rows reach them. */
#define COLUMNS_STEP_ROWS 2048u
_Static_assert(COLUMNS_CHUNK_ROWS % COLUMNS_STEP_ROWS == 0, "a chunk is whole steps");

/* Records are taken apart this many at a time, column by column. */
#define COLUMNS_WINDOW_RECORDS 128u

/* --- text kept in place: a u32 per row, (offset << 6 | size), into blocks of the chunk --- */
#define COLUMNS_TEXT_SIZE_BITS 6u
#define COLUMNS_TEXT_SIZE_MAX ((1u << COLUMNS_TEXT_SIZE_BITS) - 1)
#define COLUMNS_TEXT_BLOCK_BYTES 65536u
/* A block is left when less than one identifier's room remains. */
#define COLUMNS_TEXT_BLOCKS 80u
_Static_assert((uint64_t)COLUMNS_TEXT_BLOCKS *COLUMNS_TEXT_BLOCK_BYTES <=
                   UINT64_C(1) << (32 - COLUMNS_TEXT_SIZE_BITS),
               "an offset fits beside the size");
#define COLUMNS_TEXT_ID_BYTES_MAX 40u
_Static_assert((uint64_t)COLUMNS_TEXT_BLOCKS *(COLUMNS_TEXT_BLOCK_BYTES -
                                               COLUMNS_TEXT_ID_BYTES_MAX) >=
                   (uint64_t)COLUMNS_CHUNK_ROWS * COLUMNS_TEXT_ID_BYTES_MAX,
               "a chunk's texts fit its blocks");

typedef struct text_heap {
    char *blocks[COLUMNS_TEXT_BLOCKS];
    uint32_t used; /* offset of the next text; writer only */
} text_heap;

/* --- dictionary: text to code for the writer, code to text for everyone --- */
#define DICTIONARY_BLOCK_ENTRIES 4096u
#define DICTIONARY_BLOCKS 65536u

typedef struct dictionary_slot {
    uint32_t code_plus_1; /* 0: empty */
    uint32_t hash;
} dictionary_slot;

typedef struct dictionary {
    const char *name; /* of the fields it serves */
    columns_text **blocks;
    _Atomic uint32_t count;
    dictionary_slot *slots; /* open addressing; writer only */
    uint32_t slot_count;    /* a power of two, or 0 */
    arena texts;
} dictionary;

tape_status dictionary_init(dictionary *d, const char *name);
void dictionary_deinit(dictionary *d);
/* The code of an identifier (padded with NULs to whole words), adding it if need be; `hash` is its
 * id_hash. BUSY, NO_MEMORY: nothing has changed. */
tape_status dictionary_code(columns *c, dictionary *d, const char *id, uint32_t size, uint64_t hash,
                            uint32_t *code);
static inline void dictionary_prefetch(const dictionary *d, uint64_t hash) {
    if (d->slot_count != 0) {
        __builtin_prefetch(&d->slots[(uint32_t)hash & (d->slot_count - 1)]);
    }
}
static inline const columns_text *dictionary_text(const dictionary *d, uint32_t code) {
    return &d->blocks[code / DICTIONARY_BLOCK_ENTRIES][code % DICTIONARY_BLOCK_ENTRIES];
}

/* --- tables --- */
typedef enum column_kind {
    COLUMN_WORDS, /* `words` values of 8 bytes per row: u64, time, double, arrays of doubles */
    COLUMN_BYTE,  /* u8 */
    COLUMN_CODE,  /* u32 into `dictionary` */
    COLUMN_TEXT,  /* u32 into the chunk's heap */
} column_kind;

typedef struct column {
    const tape_field_info *field;
    column_kind kind;
    uint32_t words;
    uint32_t row_bytes;
    uint32_t offset; /* of its array in a chunk's block */
    dictionary *dictionary;
} column;

#define COLUMNS_FIELDS_MAX 32u
#define COLUMNS_FIELD_NONE UINT32_MAX

/* Which instruments a chunk may have rows of: bits by their hashes. */
#define COLUMNS_ZONE_BITS 4096u

typedef struct chunk {
    void *arrays[COLUMNS_FIELDS_MAX];     /* COLUMNS_CHUNK_ROWS rows each, all in `block` */
    text_heap *heaps[COLUMNS_FIELDS_MAX]; /* COLUMN_TEXT only */
    _Atomic uint64_t *superseded;         /* entity tables: seq of the next version of the key */
    /* What each row was written at; NULL as long as that is the table's version for all. */
    _Atomic(uint8_t *) versions;
    void *block;
    uint64_t bytes; /* that are accounted for */
    bool used;      /* it has been full before: all of its memory is there and accounted for */
    struct chunk *next;
    /* The smallest and largest of its rows; they grow before the rows are published. */
    _Atomic int64_t ts_min, ts_max;
    _Atomic uint64_t instruments[COLUMNS_ZONE_BITS / 64];
} chunk;

/* Where a chunk stands. Entries outlive their chunks, so that a reader may look at `last_seq`
 * without knowing whether the chunk is still there. */
typedef struct chunk_entry {
    chunk *chunk;
    _Atomic uint64_t last_seq; /* of its rows; UINT64_MAX as long as it is not full */
} chunk_entry;

/* The directory is a ring of pages of entries. */
#define COLUMNS_CHUNKS_PER_PAGE 256u
#define COLUMNS_CHUNK_PAGES 256u
/* At most half of what a newest_slot can tell apart, and far less than the ring. */
#define COLUMNS_LIVE_ROWS_MAX (UINT64_C(1) << 31)
_Static_assert(COLUMNS_LIVE_ROWS_MAX / COLUMNS_CHUNK_ROWS <
                   (uint64_t)COLUMNS_CHUNK_PAGES * COLUMNS_CHUNKS_PER_PAGE / 2,
               "every row has a place in the directory");

/* Entity tables: key to the row of its newest version. Open addressing in shards by hash, so that
 * growing never takes long; writer only. */
#define NEWEST_SHARD_BITS 10u
#define NEWEST_SHARDS (1u << NEWEST_SHARD_BITS)
typedef struct newest_slot {
    uint32_t hash; /* 0: empty */
    uint32_t row;  /* its low half; rows before the table's live_first are dead */
} newest_slot;
typedef struct newest_shard {
    newest_slot *slots;
    uint32_t slot_count; /* a power of two, or 0 */
    uint32_t taken;      /* dead ones included */
} newest_shard;

/* --- archived rows whose place newer versions have taken (superseded.c) --- */
#define SUPERSEDED_SHARD_BITS 8u
#define SUPERSEDED_SHARDS (1u << SUPERSEDED_SHARD_BITS)

/* Memory that readers may still be looking at: freed when no pin is left that was opened before it
 * was retired. */
typedef struct retired {
    struct retired *next;
    uint64_t pin_number;
    uint64_t bytes;
} retired;

typedef struct superseded_entry {
    _Atomic uint64_t seq; /* 0: empty */
    _Atomic uint64_t by;
} superseded_entry;
typedef struct superseded_table {
    retired retired;
    uint64_t mask;
    superseded_entry entries[];
} superseded_table;

#define SUPERSEDED_PAGE_BITS 32768u /* seqs told by one page of bits */
#define SUPERSEDED_GROUP_PAGES 8192u
typedef struct superseded_page {
    _Atomic uint64_t words[SUPERSEDED_PAGE_BITS / 64];
} superseded_page;
typedef struct superseded_group {
    _Atomic(superseded_page *) pages[SUPERSEDED_GROUP_PAGES];
} superseded_group;
typedef struct superseded_root {
    retired retired;
    uint64_t count;
    _Atomic(superseded_group *) groups[];
} superseded_root;

typedef struct superseded_map {
    _Atomic(superseded_root *) root; /* bits: seqs that have been superseded */
    _Atomic(superseded_table *) shards[SUPERSEDED_SHARDS];
    uint32_t counts[SUPERSEDED_SHARDS];
    _Atomic uint64_t last_by;  /* no pair has a later `by` */
    columns_superseded *pairs; /* the same in the order of `by` */
    uint64_t pair_count, pair_capacity;
} superseded_map;

typedef struct column_table {
    const tape_table_info *info;
    column columns[COLUMNS_FIELDS_MAX];
    uint32_t instrument_field; /* COLUMNS_FIELD_NONE: the table has none */
    uint32_t row_bytes;        /* of all arrays */
    uint32_t superseded_offset;
    size_t block_bytes;
    chunk_entry *pages[COLUMNS_CHUNK_PAGES];
    _Atomic uint64_t first_chunk; /* all before it have been freed */
    chunk *stock;                 /* under the pin mutex */
    uint64_t rows;                /* writer's count */
    uint64_t rows_reserved;       /* rows that memory is accounted for */
    uint64_t added_seq;           /* writer only: of the last row, published or not */
    uint64_t live_first;          /* writer only: first row after the base of the writer's pin */
    uint64_t handed_row;          /* writer only: first row after the columns' handed_seq */
    _Atomic uint64_t published;   /* rows that readers may look at */
    _Atomic uint64_t base_row;    /* first row after the base */
    newest_shard *newest;
    uint32_t newest_sweep; /* next shard to sweep */
    superseded_map *map;   /* entity tables */
} column_table;

struct columns_pin {
    columns *columns;
    struct columns_pin *older, *newer;
    uint64_t base;
    uint64_t number; /* rises from older to newer */
};

struct columns {
    columns_options options;
    column_table *tables[TAPE_TABLE_COUNT + 1];
    dictionary dictionaries[COLUMNS_FIELDS_MAX];
    uint32_t dictionary_count;

    pthread_mutex_t apply_mutex;  /* whoever adds rows; taken first */
    uint64_t handed_seq;          /* under it */
    _Atomic uint64_t handed_done; /* as far as columns_hand_over succeeded */
    columns_pin writer_pin;       /* open while rows are added */
    uint64_t live_seq;            /* under it: what the tables' live_first follow from */

    pthread_mutex_t superseded_mutex; /* whoever changes a map or reads its pairs; taken second */

    pthread_mutex_t pin_mutex; /* pins, what they hold, and memory; taken last */
    columns_pin *pin_oldest, *pin_newest;
    uint64_t pin_number;
    retired *retired; /* latest first */
    uint64_t stock_bytes;
    _Atomic uint64_t bytes; /* without the stock */

    _Atomic uint64_t base;
    _Atomic uint64_t seq;
};

static inline chunk_entry *table_entry(const column_table *t, uint64_t index) {
    return &t->pages[index / COLUMNS_CHUNKS_PER_PAGE % COLUMNS_CHUNK_PAGES]
                    [index % COLUMNS_CHUNKS_PER_PAGE];
}
static inline chunk *table_chunk(const column_table *t, uint64_t row) {
    return table_entry(t, row / COLUMNS_CHUNK_ROWS)->chunk;
}
static inline uint64_t row_seq(const column_table *t, uint64_t row) {
    return ((const uint64_t *)table_chunk(t, row)->arrays[0])[row % COLUMNS_CHUNK_ROWS];
}
static inline column_table *table_of(const columns *c, uint16_t id) {
    ASSERT(id >= 1 && id <= TAPE_TABLE_COUNT && c->tables[id] != NULL);
    return c->tables[id];
}
/* The first published row with a seq above `seq`: see columns_row_after. */
uint64_t table_row_after(const column_table *t, uint64_t seq);

/* columns_create for a catalogue other than the built-in one: `tables` has TAPE_TABLE_COUNT
 * entries, by id - 1, NULL for none. */
tape_status columns_create_for(columns **out, const tape_table_info *const *tables,
                               const columns_options *options, tape_error *error) TAPE_CHECKED;

/* --- memory.c: what is taken, kept, pinned and given back --- */

/* BUSY when it would pass bytes_max even with the stock freed. */
tape_status memory_reserve(columns *c, uint64_t bytes);
void memory_add(columns *c, uint64_t bytes); /* whatever the limit */
void memory_give(columns *c, uint64_t bytes);
/* Room for rows [rows, rows + at least one). BUSY, NO_MEMORY. */
tape_status chunk_reserve(columns *c, column_table *t);
void table_chunks_free(column_table *t);
void pin_add(columns *c, columns_pin *pin);
/* A pin as old as the oldest there is: it keeps everything that is kept so far. */
void pin_add_oldest(columns *c, columns_pin *pin);
void pin_remove(columns_pin *pin);
/* Frees `r` (the first member of what it is part of) once no reader can be looking at it. */
void memory_retire(columns *c, retired *r, uint64_t bytes);

/* --- rows.c: records into rows --- */

/* Adds records of one table in seq order; returns how many, with *status saying why not more. */
uint32_t rows_add(columns *c, column_table *t, const record_view *const *views, uint32_t count,
                  tape_status *status, tape_error *error);

/* --- newest.c: the index of newest versions --- */
tape_status newest_create(column_table *t);
void newest_free(column_table *t);
/* Makes rows [t->rows, t->rows + count), whose columns have been written from `payloads`, the
 * newest of their keys, and tells those before; returns how many, with *status saying why not more.
 */
uint32_t newest_add(columns *c, column_table *t, const uint8_t *const *payloads, uint32_t count,
                    tape_status *status, tape_error *error);
/* Takes dead slots out of the next shard. Once per step of rows, so that no slot stays long enough
 * for the low half of its row to be mistaken for a later row. */
void newest_sweep(column_table *t);

/* --- superseded.c --- */
tape_status superseded_create(column_table *t);
void superseded_free(column_table *t);
/* Notes that archived row `seq` was superseded by `by`, which is above all that have been noted. */
tape_status superseded_note(columns *c, superseded_map *map, uint64_t seq, uint64_t by);

/* --- identifiers --- */

/* The bytes of an identifier before its NUL padding; `width` is whole words. */
static inline uint32_t id_size(const char *id, uint32_t width) {
    uint32_t at = 0;
    while (at < width && id[at + 7] != 0) {
        at += 8;
    }
    if (at == width) {
        return width;
    }
    uint64_t word = load_u64(id + at);
    return word == 0 ? at : at + 8 - (uint32_t)__builtin_clzll(word) / 8;
}

static inline uint64_t hash_mix(uint64_t h, uint64_t word) {
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}
static inline uint64_t hash_end(uint64_t h) {
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ (h >> 32);
}
/* Of an identifier of `size` bytes that is padded with NULs to whole words. */
static inline uint64_t id_hash(uint64_t h, const char *id, uint32_t size) {
    for (uint32_t at = 0; at < size; at += 8) {
        h = hash_mix(h, load_u64(id + at));
    }
    return h;
}
#define HASH_START UINT64_C(0x2545f4914f6cdd1d)

/* Whether two runs of bytes are the same: texts are too short for a call. */
static inline bool bytes_equal(const char *a, const char *b, uint32_t size) {
    if (size >= 8) {
        uint64_t differ = load_u64(a + size - 8) ^ load_u64(b + size - 8);
        for (uint32_t at = 0; at + 8 < size; at += 8) {
            differ |= load_u64(a + at) ^ load_u64(b + at);
        }
        return differ == 0;
    }
    if (size >= 4) {
        return load_u32(a) == load_u32(b) && load_u32(a + size - 4) == load_u32(b + size - 4);
    }
    return size == 0 || (a[0] == b[0] && a[size / 2] == b[size / 2] && a[size - 1] == b[size - 1]);
}

/* Which bit of a chunk's `instruments` stands for the identifier with this id_hash. */
static inline uint32_t zone_bit(uint64_t hash) {
    return (uint32_t)(hash >> 40) % COLUMNS_ZONE_BITS;
}

/* The text at (offset << 6 | size) of a heap. */
static inline const char *heap_text(const text_heap *heap, uint32_t packed, uint32_t *size) {
    uint32_t offset = packed >> COLUMNS_TEXT_SIZE_BITS;
    *size = packed & COLUMNS_TEXT_SIZE_MAX;
    return heap->blocks[offset / COLUMNS_TEXT_BLOCK_BYTES] + offset % COLUMNS_TEXT_BLOCK_BYTES;
}

#endif
