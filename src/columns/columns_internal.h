/* columns, private: the layout of chunks, dictionaries and the index of newest versions. */
#ifndef COLUMNS_INTERNAL_H
#define COLUMNS_INTERNAL_H

#include "columns/columns.h"

/* Identifiers of up to this many bytes name what repeats (users, instruments) and are kept once, in
 * a dictionary per field name; longer ones are unique, or nearly so (orders, trades), and kept in
 * place. */
#define COLUMNS_DICTIONARY_ID_BYTES_MAX 32u

/* Memory is accounted in steps of this many rows: the system hands out the pages of a chunk's
 * arrays as rows reach them. */
#define COLUMNS_STEP_ROWS 2048u
_Static_assert(COLUMNS_CHUNK_ROWS % COLUMNS_STEP_ROWS == 0, "a chunk is whole steps");

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
    uint32_t count;
    dictionary_slot *slots; /* open addressing; writer only */
    uint32_t slot_count;    /* a power of two, or 0 */
    arena texts;
} dictionary;

tape_status dictionary_init(dictionary *d, const char *name);
void dictionary_deinit(dictionary *d);
/* The code of a text, adding it if need be. False when memory ends; `*bytes` grows by what was
 * taken and must not pass `bytes_max`. */
bool dictionary_code(dictionary *d, const char *text, uint32_t size, uint32_t *code,
                     uint64_t *bytes, uint64_t bytes_max);
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
    dictionary *dictionary;
    /* Writer only: the last identifier seen and its code; most rows repeat it. */
    char last[COLUMNS_DICTIONARY_ID_BYTES_MAX];
    uint32_t last_code;
    bool last_known;
} column;

#define COLUMNS_FIELDS_MAX 32u

typedef struct chunk {
    void *arrays[COLUMNS_FIELDS_MAX];     /* COLUMNS_CHUNK_ROWS rows each */
    text_heap *heaps[COLUMNS_FIELDS_MAX]; /* COLUMN_TEXT only */
    _Atomic uint64_t *superseded;         /* entity tables: seq of the next version of the key */
    uint8_t *versions; /* tables with more than one version: what the row was written at */
} chunk;

/* Entity tables: key to the row of its newest version. Open addressing; writer only. */
typedef struct newest_slot {
    uint32_t row_plus_1; /* 0: empty */
    uint32_t hash;
} newest_slot;

#define COLUMNS_CHUNKS_PER_PAGE 256u
#define COLUMNS_CHUNK_PAGES 256u

typedef struct column_table {
    const tape_table_info *info;
    column columns[COLUMNS_FIELDS_MAX];
    uint32_t row_bytes; /* of all arrays */
    chunk **pages[COLUMNS_CHUNK_PAGES];
    uint64_t rows;              /* writer's count */
    uint64_t rows_reserved;     /* rows that memory is accounted for */
    _Atomic uint64_t published; /* rows that readers may look at */
    newest_slot *newest;
    uint32_t newest_slots; /* a power of two, or 0 */
    uint32_t newest_count;
} column_table;

struct columns {
    uint64_t bytes_max;
    column_table *tables[TAPE_TABLE_COUNT + 1];
    dictionary dictionaries[COLUMNS_FIELDS_MAX];
    uint32_t dictionary_count;
    uint64_t added_seq; /* writer only: last record added, published or not */
    uint64_t bytes;     /* writer's figure */
    _Atomic uint64_t published_bytes;
    _Atomic uint64_t seq;
};

static inline chunk *table_chunk(const column_table *t, uint64_t row) {
    uint64_t index = row / COLUMNS_CHUNK_ROWS;
    return t->pages[index / COLUMNS_CHUNKS_PER_PAGE][index % COLUMNS_CHUNKS_PER_PAGE];
}

/* columns_create for a catalogue other than the built-in one: `tables` has TAPE_TABLE_COUNT
 * entries, by id - 1, NULL for none. */
tape_status columns_create_for(columns **out, const tape_table_info *const *tables,
                               uint64_t bytes_max, tape_error *error) TAPE_CHECKED;

/* The bytes of an identifier before its NUL padding. */
static inline uint32_t id_size(const char *id, uint32_t width) {
    const char *end = memchr(id, 0, width);
    return end == NULL ? width : (uint32_t)(end - id);
}

/* A hash of short text. */
static inline uint64_t hash_mix(uint64_t h, uint64_t word) {
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}
static inline uint64_t hash_text(uint64_t h, const char *text, uint32_t size) {
    uint32_t at = 0;
    h = hash_mix(h, size);
    for (; size - at >= 8; at += 8) {
        h = hash_mix(h, load_u64(text + at));
    }
    uint64_t tail = 0;
    memcpy(&tail, text + at, size - at);
    h = hash_mix(h, tail);
    return h ^ (h >> 32);
}

/* The text at (offset << 6 | size) of a heap. */
static inline const char *heap_text(const text_heap *heap, uint32_t packed, uint32_t *size) {
    uint32_t offset = packed >> COLUMNS_TEXT_SIZE_BITS;
    *size = packed & COLUMNS_TEXT_SIZE_MAX;
    return heap->blocks[offset / COLUMNS_TEXT_BLOCK_BYTES] + offset % COLUMNS_TEXT_BLOCK_BYTES;
}

#endif
