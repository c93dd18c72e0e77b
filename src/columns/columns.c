/* Columns: the writer's side. Rows are taken apart into arrays, one per field; see README.md.
 *
 * Invariants
 *  C1 Rows of a table stand in seq order; what is published never changes but for `superseded`.
 *  C2 `superseded` of a row changes once, from UINT64_MAX to the seq of the next version of its
 * key, and does so before that version is published. A reader at S < that seq takes both values
 * alike. C3 `published` of every table is stored (release) before `seq`, so that a reader who loads
 * seq (acquire) finds every row up to it. C4 seq is the last record of an append: an append becomes
 * visible as a whole. C5 Memory for a row is had before any of it is written; a row is never half
 * there. Threads: one writer at a time; readers use what is published. */
#include "columns/columns_internal.h"

#include <stdlib.h>

#define NEWEST_SLOTS_FIRST 256u
/* Row numbers fit the u32 of a newest_slot, and chunk numbers the page directory. */
#define TABLE_ROWS_MAX ((uint64_t)UINT32_MAX - COLUMNS_CHUNK_ROWS)
_Static_assert(TABLE_ROWS_MAX / COLUMNS_CHUNK_ROWS <
                   (uint64_t)COLUMNS_CHUNK_PAGES * COLUMNS_CHUNKS_PER_PAGE,
               "every row has a place in the directory");

/* --- making and freeing --- */

static tape_status column_init(columns *c, column *col, const tape_field_info *field) {
    col->field = field;
    switch (field->kind) {
    case TAPE_FIELD_U64:
    case TAPE_FIELD_TIME:
    case TAPE_FIELD_F64:
        ASSERT(field->size_bytes == 8);
        col->kind = COLUMN_WORDS;
        col->words = field->count;
        col->row_bytes = 8 * field->count;
        return TAPE_OK;
    case TAPE_FIELD_ENUM:
        col->kind = COLUMN_BYTE;
        col->row_bytes = 1;
        return TAPE_OK;
    case TAPE_FIELD_ID:
        break;
    }
    ASSERT(field->kind == TAPE_FIELD_ID);
    col->row_bytes = sizeof(uint32_t);
    if (field->size_bytes > COLUMNS_DICTIONARY_ID_BYTES_MAX) {
        ASSERT(field->size_bytes <= COLUMNS_TEXT_ID_BYTES_MAX);
        col->kind = COLUMN_TEXT;
        return TAPE_OK;
    }
    col->kind = COLUMN_CODE;
    for (uint32_t d = 0; d < c->dictionary_count; d++) {
        if (strcmp(c->dictionaries[d].name, field->name) == 0) {
            col->dictionary = &c->dictionaries[d];
            return TAPE_OK;
        }
    }
    ASSERT(c->dictionary_count < COUNT_OF(c->dictionaries));
    col->dictionary = &c->dictionaries[c->dictionary_count++];
    return dictionary_init(col->dictionary, field->name);
}

static tape_status table_create(columns *c, const tape_table_info *info) {
    ASSERT(info->field_count >= 2 && info->field_count <= COLUMNS_FIELDS_MAX);
    ASSERT(info->size_bytes <= TAPE_RECORD_BYTES_MAX);
    column_table *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return TAPE_NO_MEMORY;
    }
    c->tables[info->id] = t;
    t->info = info;
    for (uint32_t f = 0; f < info->field_count; f++) {
        tape_status status = column_init(c, &t->columns[f], &info->fields[f]);
        if (status != TAPE_OK) {
            return status;
        }
        t->row_bytes += t->columns[f].row_bytes;
    }
    t->row_bytes += info->kind == TAPE_KIND_ENTITY ? (uint32_t)sizeof(uint64_t) : 0;
    t->row_bytes += info->version > 1 ? 1 : 0;
    return TAPE_OK;
}

static void chunk_free(chunk *k) {
    for (uint32_t f = 0; f < COLUMNS_FIELDS_MAX; f++) {
        free(k->arrays[f]);
        if (k->heaps[f] != NULL) {
            for (uint32_t b = 0; b < COLUMNS_TEXT_BLOCKS; b++) {
                free(k->heaps[f]->blocks[b]);
            }
            free(k->heaps[f]);
        }
    }
    free(k->superseded);
    free(k->versions);
    free(k);
}

static void table_free(column_table *t) {
    if (t == NULL) {
        return;
    }
    for (uint32_t p = 0; p < COLUMNS_CHUNK_PAGES && t->pages[p] != NULL; p++) {
        for (uint32_t k = 0; k < COLUMNS_CHUNKS_PER_PAGE && t->pages[p][k] != NULL; k++) {
            chunk_free(t->pages[p][k]);
        }
        free(t->pages[p]);
    }
    free(t->newest);
    free(t);
}

tape_status columns_create_for(columns **out, const tape_table_info *const *tables,
                               uint64_t bytes_max, tape_error *error) {
    tape_status status = TAPE_OK;
    columns *c = calloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL) {
        return error_set(error, TAPE_NO_MEMORY, "no memory for the hot columns");
    }
    c->bytes_max = bytes_max;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT && status == TAPE_OK; id++) {
        if (tables[id - 1] != NULL) {
            ASSERT(tables[id - 1]->id == id);
            status = table_create(c, tables[id - 1]);
        }
    }
    if (status != TAPE_OK) {
        columns_close(&c);
        return error_set(error, status, "no memory for the hot columns");
    }
    *out = c;
    return TAPE_OK;
}

tape_status columns_create(columns **out, uint64_t bytes_max, tape_error *error) {
    const tape_table_info *tables[TAPE_TABLE_COUNT];
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        tables[id - 1] = record_table(id);
    }
    return columns_create_for(out, tables, bytes_max, error);
}

void columns_close(columns **columns_handle) {
    columns *c = *columns_handle;
    *columns_handle = NULL;
    if (c == NULL) {
        return;
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        table_free(c->tables[id]);
    }
    for (uint32_t d = 0; d < c->dictionary_count; d++) {
        dictionary_deinit(&c->dictionaries[d]);
    }
    free(c);
}

/* --- memory --- */

static bool take(columns *c, uint64_t bytes) {
    if (bytes > c->bytes_max || c->bytes > c->bytes_max - bytes) {
        return false;
    }
    c->bytes += bytes;
    return true;
}

static bool chunk_fill(const column_table *t, chunk *k) {
    for (uint32_t f = 0; f < t->info->field_count; f++) {
        const column *col = &t->columns[f];
        k->arrays[f] = malloc((size_t)COLUMNS_CHUNK_ROWS * col->row_bytes);
        if (k->arrays[f] == NULL) {
            return false;
        }
        if (col->kind == COLUMN_TEXT) {
            k->heaps[f] = calloc(1, sizeof *k->heaps[f]);
            if (k->heaps[f] == NULL) {
                return false;
            }
        }
    }
    if (t->info->kind == TAPE_KIND_ENTITY) {
        k->superseded = malloc((size_t)COLUMNS_CHUNK_ROWS * sizeof *k->superseded);
        if (k->superseded == NULL) {
            return false;
        }
    }
    if (t->info->version > 1) {
        k->versions = malloc(COLUMNS_CHUNK_ROWS);
        return k->versions != NULL;
    }
    return true;
}

static bool chunk_add(column_table *t, uint64_t index) {
    chunk ***page = &t->pages[index / COLUMNS_CHUNKS_PER_PAGE];
    if (*page == NULL) {
        *page = calloc(COLUMNS_CHUNKS_PER_PAGE, sizeof **page);
        if (*page == NULL) {
            return false;
        }
    }
    chunk *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return false;
    }
    if (!chunk_fill(t, k)) {
        chunk_free(k);
        return false;
    }
    (*page)[index % COLUMNS_CHUNKS_PER_PAGE] = k;
    return true;
}

/* Room for rows [rows, rows + COLUMNS_STEP_ROWS). */
static bool reserve_step(columns *c, column_table *t) {
    uint64_t bytes = (uint64_t)COLUMNS_STEP_ROWS * t->row_bytes;
    if (t->rows >= TABLE_ROWS_MAX || !take(c, bytes)) {
        return false;
    }
    if (t->rows % COLUMNS_CHUNK_ROWS == 0 && !chunk_add(t, t->rows / COLUMNS_CHUNK_ROWS)) {
        c->bytes -= bytes;
        return false;
    }
    t->rows_reserved = t->rows + COLUMNS_STEP_ROWS;
    return true;
}

/* Room for one more text of any size in the heap. */
static bool reserve_text(columns *c, text_heap *heap) {
    uint32_t in_block = heap->used % COLUMNS_TEXT_BLOCK_BYTES;
    uint32_t block = heap->used / COLUMNS_TEXT_BLOCK_BYTES;
    if (COLUMNS_TEXT_BLOCK_BYTES - in_block < COLUMNS_TEXT_ID_BYTES_MAX) {
        block++;
        heap->used = block * COLUMNS_TEXT_BLOCK_BYTES;
    }
    if (heap->blocks[block] != NULL) {
        return true;
    }
    if (!take(c, COLUMNS_TEXT_BLOCK_BYTES)) {
        return false;
    }
    heap->blocks[block] = malloc(COLUMNS_TEXT_BLOCK_BYTES);
    if (heap->blocks[block] == NULL) {
        c->bytes -= COLUMNS_TEXT_BLOCK_BYTES;
        return false;
    }
    return true;
}

static bool reserve_newest(columns *c, column_table *t) {
    /* At most 7 of 10 slots are taken, so that probing stays short. */
    if ((uint64_t)t->newest_count * 10 < (uint64_t)t->newest_slots * 7) {
        return true;
    }
    uint32_t count = t->newest_slots == 0 ? NEWEST_SLOTS_FIRST : t->newest_slots * 2;
    uint64_t more = (uint64_t)(count - t->newest_slots) * sizeof *t->newest;
    if (count == 0 || !take(c, more)) {
        return false;
    }
    newest_slot *slots = calloc(count, sizeof *slots);
    if (slots == NULL) {
        c->bytes -= more;
        return false;
    }
    for (uint32_t s = 0; s < t->newest_slots; s++) {
        if (t->newest[s].row_plus_1 != 0) {
            uint32_t at = t->newest[s].hash & (count - 1);
            while (slots[at].row_plus_1 != 0) {
                at = (at + 1) & (count - 1);
            }
            slots[at] = t->newest[s];
        }
    }
    free(t->newest);
    t->newest = slots;
    t->newest_slots = count;
    return true;
}

/* --- adding a row --- */

/* The code of an identifier of `col`; most rows repeat the one before. */
static bool column_code(columns *c, column *col, const char *id, uint32_t *code) {
    if (!col->last_known || memcmp(id, col->last, col->field->size_bytes) != 0) {
        uint32_t size = id_size(id, col->field->size_bytes);
        if (!dictionary_code(col->dictionary, id, size, &col->last_code, &c->bytes, c->bytes_max)) {
            return false;
        }
        memcpy(col->last, id, col->field->size_bytes);
        col->last_known = true;
    }
    *code = col->last_code;
    return true;
}

/* Everything the row needs, so that writing it cannot fail (C5). */
static bool reserve_row(columns *c, column_table *t, const uint8_t *payload, uint32_t *codes) {
    if (t->rows == t->rows_reserved && !reserve_step(c, t)) {
        return false;
    }
    const chunk *k = table_chunk(t, t->rows);
    for (uint32_t f = 0; f < t->info->field_count; f++) {
        column *col = &t->columns[f];
        const char *id = (const char *)payload + col->field->offset;
        if (col->kind == COLUMN_CODE && !column_code(c, col, id, &codes[f])) {
            return false;
        }
        if (col->kind == COLUMN_TEXT && !reserve_text(c, k->heaps[f])) {
            return false;
        }
    }
    return t->info->kind != TAPE_KIND_ENTITY || reserve_newest(c, t);
}

static uint32_t heap_put(text_heap *heap, const char *id, uint32_t size) {
    uint32_t offset = heap->used;
    char *to = heap->blocks[offset / COLUMNS_TEXT_BLOCK_BYTES] + offset % COLUMNS_TEXT_BLOCK_BYTES;
    memcpy(to, id, size);
    heap->used = offset + size;
    return offset << COLUMNS_TEXT_SIZE_BITS | size;
}

static uint32_t key_hash(const column_table *t, const uint8_t *payload, const uint32_t *codes) {
    uint64_t h = 0;
    for (uint32_t n = 0; n < t->info->key_count; n++) {
        uint32_t f = t->info->key_fields[n];
        const column *col = &t->columns[f];
        const char *id = (const char *)payload + col->field->offset;
        if (col->kind == COLUMN_CODE) {
            h = hash_mix(h, codes[f]);
        } else if (col->kind == COLUMN_TEXT) {
            h = hash_text(h, id, id_size(id, col->field->size_bytes));
        } else {
            h = hash_mix(h, load_u64(id));
        }
    }
    return (uint32_t)(h ^ (h >> 32));
}

static bool key_is(const column_table *t, uint64_t row, const uint8_t *payload,
                   const uint32_t *codes) {
    const chunk *k = table_chunk(t, row);
    uint64_t at = row % COLUMNS_CHUNK_ROWS;
    for (uint32_t n = 0; n < t->info->key_count; n++) {
        uint32_t f = t->info->key_fields[n];
        const column *col = &t->columns[f];
        const char *id = (const char *)payload + col->field->offset;
        if (col->kind == COLUMN_CODE) {
            if (((const uint32_t *)k->arrays[f])[at] != codes[f]) {
                return false;
            }
        } else if (col->kind == COLUMN_TEXT) {
            uint32_t size;
            uint32_t packed = ((const uint32_t *)k->arrays[f])[at];
            const char *text = heap_text(k->heaps[f], packed, &size);
            if (size != id_size(id, col->field->size_bytes) || memcmp(text, id, size) != 0) {
                return false;
            }
        } else if (((const uint64_t *)k->arrays[f])[at] != load_u64(id)) {
            return false;
        }
    }
    return true;
}

/* Makes the row being written the newest of its key, and tells the one before (C2). */
static void supersede(column_table *t, const uint8_t *payload, const uint32_t *codes,
                      uint64_t seq) {
    uint32_t hash = key_hash(t, payload, codes);
    uint32_t at = hash & (t->newest_slots - 1);
    while (t->newest[at].row_plus_1 != 0) {
        uint64_t row = t->newest[at].row_plus_1 - 1;
        if (t->newest[at].hash == hash && key_is(t, row, payload, codes)) {
            atomic_store_explicit(&table_chunk(t, row)->superseded[row % COLUMNS_CHUNK_ROWS], seq,
                                  memory_order_relaxed);
            t->newest[at].row_plus_1 = (uint32_t)t->rows + 1;
            return;
        }
        at = (at + 1) & (t->newest_slots - 1);
    }
    t->newest[at] = (newest_slot){.row_plus_1 = (uint32_t)t->rows + 1, .hash = hash};
    t->newest_count++;
}

static void write_row(column_table *t, const record_view *view, const uint8_t *payload,
                      const uint32_t *codes) {
    chunk *k = table_chunk(t, t->rows);
    uint64_t at = t->rows % COLUMNS_CHUNK_ROWS;
    ((uint64_t *)k->arrays[0])[at] = view->seq;
    ((int64_t *)k->arrays[1])[at] = view->ts;
    for (uint32_t f = 2; f < t->info->field_count; f++) {
        const column *col = &t->columns[f];
        const uint8_t *from = payload + col->field->offset;
        switch (col->kind) {
        case COLUMN_WORDS:
            if (col->words == 1) {
                ((uint64_t *)k->arrays[f])[at] = load_u64(from);
            } else {
                memcpy((uint64_t *)k->arrays[f] + at * col->words, from, col->row_bytes);
            }
            break;
        case COLUMN_BYTE:
            ((uint8_t *)k->arrays[f])[at] = *from;
            break;
        case COLUMN_CODE:
            ((uint32_t *)k->arrays[f])[at] = codes[f];
            break;
        case COLUMN_TEXT:
            ((uint32_t *)k->arrays[f])[at] =
                heap_put(k->heaps[f], (const char *)from,
                         id_size((const char *)from, col->field->size_bytes));
            break;
        }
    }
    if (k->versions != NULL) {
        k->versions[at] = (uint8_t)(view->version > UINT8_MAX ? UINT8_MAX : view->version);
    }
    if (k->superseded != NULL) {
        atomic_init(&k->superseded[at], UINT64_MAX);
        supersede(t, payload, codes, view->seq);
    }
    t->rows++;
}

/* --- the cursor --- */

static void publish(columns *c, uint64_t seq) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (c->tables[id] != NULL) {
            atomic_store_explicit(&c->tables[id]->published, c->tables[id]->rows,
                                  memory_order_release);
        }
    }
    atomic_store_explicit(&c->published_bytes, c->bytes, memory_order_relaxed);
    atomic_store_explicit(&c->seq, seq, memory_order_release);
}

tape_status columns_apply(columns *c, const record_view *records, size_t count, tape_error *error) {
    _Alignas(8) uint8_t upgraded[TAPE_RECORD_BYTES_MAX];
    uint32_t codes[COLUMNS_FIELDS_MAX];
    tape_status status = TAPE_OK;
    uint64_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);
    for (size_t n = 0; n < count; n++) {
        const record_view *view = &records[n];
        if (view->seq > c->added_seq) {
            column_table *t = c->tables[view->table->id];
            ASSERT(t != NULL);
            const uint8_t *payload = view->payload;
            if (view->version != t->info->version || view->size != t->info->size_bytes) {
                record_upgrade(t->info, view->version, view->payload, view->size, upgraded);
                payload = upgraded;
            }
            if (!reserve_row(c, t, payload, codes)) {
                status =
                    error_set(error, TAPE_NO_MEMORY,
                              "the hot columns hold %llu of at most %llu bytes and have no room "
                              "for seq %llu and later: open the store with a larger "
                              "columns_bytes_max",
                              (unsigned long long)c->bytes, (unsigned long long)c->bytes_max,
                              (unsigned long long)view->seq);
                break;
            }
            write_row(t, view, payload, codes);
            c->added_seq = view->seq;
        }
        if ((view->flags & RECORD_MORE) == 0) {
            seq = c->added_seq;
        }
    }
    publish(c, seq);
    return status;
}

void columns_settle(columns *c, uint64_t seq) {
    ASSERT(seq >= c->added_seq);
    c->added_seq = seq;
    publish(c, seq);
}

uint64_t columns_seq(const columns *c) {
    return atomic_load_explicit(&c->seq, memory_order_acquire);
}

uint64_t columns_rows(const columns *c, uint16_t table_id) {
    return columns_rows_at(c, table_id, columns_seq(c));
}

uint64_t columns_bytes(const columns *c) {
    return atomic_load_explicit(&c->published_bytes, memory_order_relaxed);
}
