/* Columns: records into rows. The records of one table are taken apart together, one field after
 * the other: each loop is short, and what it will need from far memory can be asked for ahead.
 *
 * A row is there once t->rows counts it. Until then its place in every array, and what it put into
 * the text heaps, may be written again (C5). */
#include "columns/columns_internal.h"

#include <stdlib.h>

/* What is being added: rows [at, at + count) of a chunk. */
typedef struct run {
    columns *columns;
    column_table *table;
    chunk *chunk;
    uint32_t at;
    uint32_t count;
    const record_view *const *views;
    const uint8_t *payloads[COLUMNS_WINDOW_RECORDS];
} run;

static void add_words(const run *r, uint32_t f) {
    const column *col = &r->table->columns[f];
    uint32_t offset = col->field->offset;
    uint64_t *to = (uint64_t *)r->chunk->arrays[f] + (size_t)r->at * col->words;
    if (col->words > 1) {
        for (uint32_t i = 0; i < r->count; i++) {
            memcpy(to + (size_t)i * col->words, r->payloads[i] + offset, col->row_bytes);
        }
        return;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        to[i] = load_u64(r->payloads[i] + offset);
    }
}

static void add_bytes(const run *r, uint32_t f) {
    uint32_t offset = r->table->columns[f].field->offset;
    uint8_t *to = (uint8_t *)r->chunk->arrays[f] + r->at;
    for (uint32_t i = 0; i < r->count; i++) {
        to[i] = r->payloads[i][offset];
    }
}

static void zone_add_instrument(chunk *k, uint64_t hash) {
    uint32_t bit = zone_bit(hash);
    _Atomic uint64_t *word = &k->instruments[bit / 64];
    uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);
    if ((bits >> (bit % 64) & 1) == 0) {
        atomic_store_explicit(word, bits | UINT64_C(1) << (bit % 64), memory_order_relaxed);
    }
}

static bool id_equal(const uint8_t *a, const uint8_t *b, uint32_t width) {
    uint64_t differ = 0;
    for (uint32_t at = 0; at < width; at += 8) {
        differ |= load_u64(a + at) ^ load_u64(b + at);
    }
    return differ == 0;
}

/* Returns how many rows got their code. */
static uint32_t add_codes(const run *r, uint32_t f, tape_status *status) {
    const column *col = &r->table->columns[f];
    dictionary *d = col->dictionary;
    uint32_t offset = col->field->offset, width = col->field->size_bytes;
    uint32_t *to = (uint32_t *)r->chunk->arrays[f] + r->at;
    uint64_t hashes[COLUMNS_WINDOW_RECORDS];
    uint8_t sizes[COLUMNS_WINDOW_RECORDS];
    bool same[COLUMNS_WINDOW_RECORDS];
    same[0] = false;
    for (uint32_t i = 0; i < r->count; i++) {
        const uint8_t *id = r->payloads[i] + offset;
        if (i > 0 && id_equal(id, r->payloads[i - 1] + offset, width)) {
            same[i] = true;
            continue;
        }
        same[i] = false;
        uint32_t size = id_size((const char *)id, width);
        sizes[i] = (uint8_t)size;
        hashes[i] = hash_end(id_hash(HASH_START, (const char *)id, size));
        dictionary_prefetch(d, hashes[i]);
    }
    bool zone = f == r->table->instrument_field;
    for (uint32_t i = 0; i < r->count; i++) {
        if (same[i]) {
            to[i] = to[i - 1];
            continue;
        }
        *status = dictionary_code(r->columns, d, (const char *)r->payloads[i] + offset, sizes[i],
                                  hashes[i], &to[i]);
        if (*status != TAPE_OK) {
            return i;
        }
        if (zone) {
            zone_add_instrument(r->chunk, hashes[i]);
        }
    }
    return r->count;
}

/* Room for one more text of any size in the heap. */
static tape_status reserve_text(columns *c, chunk *k, text_heap *heap) {
    uint32_t in_block = heap->used % COLUMNS_TEXT_BLOCK_BYTES;
    uint32_t block = heap->used / COLUMNS_TEXT_BLOCK_BYTES;
    if (COLUMNS_TEXT_BLOCK_BYTES - in_block < COLUMNS_TEXT_ID_BYTES_MAX) {
        block++;
        heap->used = block * COLUMNS_TEXT_BLOCK_BYTES;
    }
    if (heap->blocks[block] != NULL) {
        return TAPE_OK;
    }
    tape_status status = memory_reserve(c, COLUMNS_TEXT_BLOCK_BYTES);
    if (status != TAPE_OK) {
        return status;
    }
    heap->blocks[block] = malloc(COLUMNS_TEXT_BLOCK_BYTES);
    if (heap->blocks[block] == NULL) {
        memory_give(c, COLUMNS_TEXT_BLOCK_BYTES);
        return TAPE_NO_MEMORY;
    }
    k->bytes += COLUMNS_TEXT_BLOCK_BYTES;
    return TAPE_OK;
}

/* Returns how many rows got their text. */
static uint32_t add_texts(const run *r, uint32_t f, tape_status *status) {
    const tape_field_info *field = r->table->columns[f].field;
    uint32_t offset = field->offset, width = field->size_bytes;
    uint32_t *to = (uint32_t *)r->chunk->arrays[f] + r->at;
    text_heap *heap = r->chunk->heaps[f];
    for (uint32_t i = 0; i < r->count;) {
        *status = reserve_text(r->columns, r->chunk, heap);
        if (*status != TAPE_OK) {
            return i;
        }
        uint32_t in_block = heap->used % COLUMNS_TEXT_BLOCK_BYTES;
        uint32_t base = heap->used - in_block;
        char *block = heap->blocks[heap->used / COLUMNS_TEXT_BLOCK_BYTES];
        for (; i < r->count && COLUMNS_TEXT_BLOCK_BYTES - in_block >= COLUMNS_TEXT_ID_BYTES_MAX;
             i++) {
            const char *id = (const char *)r->payloads[i] + offset;
            uint32_t size = id_size(id, width);
            /* Its padding goes along: there is room, and nothing in it yet. */
            if (width == COLUMNS_TEXT_ID_BYTES_MAX) {
                memcpy(block + in_block, id, COLUMNS_TEXT_ID_BYTES_MAX);
            } else {
                memcpy(block + in_block, id, width);
            }
            to[i] = (base + in_block) << COLUMNS_TEXT_SIZE_BITS | size;
            in_block += size;
        }
        heap->used = base + in_block;
    }
    return r->count;
}

static void add_seq_and_ts(const run *r) {
    uint64_t *seqs = (uint64_t *)r->chunk->arrays[0] + r->at;
    int64_t *times = (int64_t *)r->chunk->arrays[1] + r->at;
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (uint32_t i = 0; i < r->count; i++) {
        int64_t ts = r->views[i]->ts;
        seqs[i] = r->views[i]->seq;
        times[i] = ts;
        least = ts < least ? ts : least;
        most = ts > most ? ts : most;
    }
    if (least < atomic_load_explicit(&r->chunk->ts_min, memory_order_relaxed)) {
        atomic_store_explicit(&r->chunk->ts_min, least, memory_order_relaxed);
    }
    if (most > atomic_load_explicit(&r->chunk->ts_max, memory_order_relaxed)) {
        atomic_store_explicit(&r->chunk->ts_max, most, memory_order_relaxed);
    }
}

static tape_status versions_create(columns *c, const column_table *t, chunk *k) {
    tape_status status = memory_reserve(c, COLUMNS_CHUNK_ROWS);
    if (status != TAPE_OK) {
        return status;
    }
    uint8_t *versions = malloc(COLUMNS_CHUNK_ROWS);
    if (versions == NULL) {
        memory_give(c, COLUMNS_CHUNK_ROWS);
        return TAPE_NO_MEMORY;
    }
    memset(versions, (int)t->info->version, COLUMNS_CHUNK_ROWS);
    k->bytes += COLUMNS_CHUNK_ROWS;
    atomic_store_explicit(&k->versions, versions, memory_order_release);
    return TAPE_OK;
}

/* Of a run of one record, or of records of the table's version. */
static tape_status add_version(const run *r) {
    const tape_table_info *info = r->table->info;
    uint16_t version = r->views[0]->version;
    uint8_t *versions = atomic_load_explicit(&r->chunk->versions, memory_order_relaxed);
    if (info->version == 1 || (versions == NULL && version >= info->version)) {
        return TAPE_OK;
    }
    if (versions == NULL) {
        tape_status status = versions_create(r->columns, r->table, r->chunk);
        if (status != TAPE_OK) {
            return status;
        }
        versions = atomic_load_explicit(&r->chunk->versions, memory_order_relaxed);
    }
    memset(versions + r->at, version < info->version ? version : info->version, r->count);
    return TAPE_OK;
}

/* Lets go of the texts of rows that did not come about; `texts` has how many were written, by
 * field. */
static void cut_texts(const run *r, const uint32_t *texts) {
    for (uint32_t f = 2; f < r->table->info->field_count; f++) {
        if (r->chunk->heaps[f] != NULL && texts[f] > r->count) {
            uint32_t packed = ((const uint32_t *)r->chunk->arrays[f])[r->at + r->count];
            r->chunk->heaps[f]->used = packed >> COLUMNS_TEXT_SIZE_BITS;
        }
    }
}

/* Cuts the run's count to what it got done. */
static void run_add(run *r, tape_status *status, tape_error *error) {
    column_table *t = r->table;
    uint32_t texts[COLUMNS_FIELDS_MAX] = {0};
    *status = add_version(r);
    if (*status != TAPE_OK) {
        r->count = 0;
        return;
    }
    add_seq_and_ts(r);
    for (uint32_t f = 2; f < t->info->field_count && r->count > 0; f++) {
        tape_status failed = TAPE_OK;
        switch (t->columns[f].kind) {
        case COLUMN_WORDS:
            add_words(r, f);
            break;
        case COLUMN_BYTE:
            add_bytes(r, f);
            break;
        case COLUMN_CODE:
            r->count = add_codes(r, f, &failed);
            break;
        case COLUMN_TEXT:
            r->count = texts[f] = add_texts(r, f, &failed);
            break;
        }
        *status = failed != TAPE_OK ? failed : *status;
    }
    if (t->info->kind == TAPE_KIND_ENTITY && r->count > 0) {
        tape_status failed = TAPE_OK;
        r->count = newest_add(r->columns, t, r->payloads, r->count, &failed, error);
        *status = failed != TAPE_OK ? failed : *status;
    }
    cut_texts(r, texts);
}

static bool current(const column_table *t, const record_view *view) {
    return view->version == t->info->version && view->size == t->info->size_bytes;
}

uint32_t rows_add(columns *c, column_table *t, const record_view *const *views, uint32_t count,
                  tape_status *status, tape_error *error) {
    _Alignas(8) uint8_t upgraded[TAPE_RECORD_BYTES_MAX];
    uint32_t done = 0;
    *status = TAPE_OK;
    while (done < count && *status == TAPE_OK) {
        if (t->rows == t->rows_reserved) {
            *status = chunk_reserve(c, t);
            if (*status != TAPE_OK) {
                break;
            }
        }
        uint32_t room = (uint32_t)(t->rows_reserved - t->rows);
        uint32_t most = count - done < room ? count - done : room;
        run r = {.columns = c, .table = t, .chunk = table_chunk(t, t->rows)};
        r.at = (uint32_t)(t->rows % COLUMNS_CHUNK_ROWS);
        r.views = views + done;
        if (current(t, views[done])) {
            for (; r.count < most && current(t, r.views[r.count]); r.count++) {
                r.payloads[r.count] = r.views[r.count]->payload;
            }
        } else {
            const record_view *view = views[done];
            record_upgrade(t->info, view->version, view->payload, view->size, upgraded);
            r.payloads[0] = upgraded;
            r.count = 1;
        }
        run_add(&r, status, error);
        done += r.count;
        t->rows += r.count;
        if (r.count > 0) {
            t->added_seq = views[done - 1]->seq;
            if (t->rows % COLUMNS_CHUNK_ROWS == 0) {
                atomic_store_explicit(&table_entry(t, t->rows / COLUMNS_CHUNK_ROWS - 1)->last_seq,
                                      t->added_seq, memory_order_relaxed);
            }
        }
    }
    return done;
}
