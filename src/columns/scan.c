/* Columns: the readers' side. Everything here looks only at published rows that
 * a pin keeps, so it needs no lock. */
#include "columns/columns_internal.h"

void columns_text_set(columns_text *out, const char *data, uint32_t size) {
    memset(out, 0, sizeof *out);
    out->size = size;
    if (size <= COLUMNS_TEXT_INLINE_BYTES) {
        memcpy(out->inlined, data, size);
    } else {
        memcpy(out->prefix, data, sizeof out->prefix);
        out->pointer = data;
    }
}

/* P3: a chunk whose last_seq is above `seq`, which is no smaller than the base of a pin of the
 * caller's, stays; only there are rows looked at. */
uint64_t table_row_after(const column_table *t, uint64_t seq) {
    uint64_t published = atomic_load_explicit(&t->published, memory_order_acquire);
    uint64_t low = atomic_load_explicit(&t->first_chunk, memory_order_acquire);
    uint64_t high = (published + COLUMNS_CHUNK_ROWS - 1) / COLUMNS_CHUNK_ROWS;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (atomic_load_explicit(&table_entry(t, middle)->last_seq, memory_order_relaxed) <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low *= COLUMNS_CHUNK_ROWS;
    high = low + COLUMNS_CHUNK_ROWS < published ? low + COLUMNS_CHUNK_ROWS : published;
    if (low >= published || row_seq(t, high - 1) <= seq) {
        return low >= published ? published : high;
    }
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (row_seq(t, middle) <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t columns_row_after(const columns *c, uint16_t table_id, uint64_t seq) {
    return table_row_after(table_of(c, table_id), seq);
}

/* The chunk that holds a run of rows, and where the run starts in it. */
static const chunk *run_chunk(const column_table *t, uint64_t first, uint32_t *at) {
    *at = (uint32_t)(first % COLUMNS_CHUNK_ROWS);
    return table_chunk(t, first);
}

uint32_t columns_newest(const columns *c, uint16_t table_id, uint64_t first, uint32_t count,
                        uint64_t seq, uint32_t *selected) {
    uint32_t at;
    const chunk *k = run_chunk(table_of(c, table_id), first, &at);
    ASSERT(at + count <= COLUMNS_CHUNK_ROWS && k->superseded != NULL);
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        selected[found] = i;
        found += atomic_load_explicit(&k->superseded[at + i], memory_order_relaxed) > seq;
    }
    return found;
}

static uint32_t load_at_most_3(const char *data, uint32_t size) {
    uint32_t v = 0;
    memcpy(&v, data, size);
    return v;
}

/* As columns_text_set, without a call of memcpy and without reading past the text. */
static inline void text_load(columns_text *out, const char *data, uint32_t size) {
    uint64_t low = 0;
    uint32_t high = 0;
    if (size > COLUMNS_TEXT_INLINE_BYTES) {
        out->size = size;
        memcpy(out->prefix, data, sizeof out->prefix);
        out->pointer = data;
        return;
    }
    if (size >= 8) {
        low = load_u64(data);
        uint64_t last = load_u32(data + size - 4);
        high = (uint32_t)(last >> (8 * (12 - size)));
    } else if (size >= 4) {
        uint64_t last = load_u32(data + size - 4);
        low = load_u32(data) | (last >> (8 * (8 - size))) << 32;
    } else if (size > 0) {
        low = load_at_most_3(data, size);
    }
    out->size = size;
    memcpy(out->inlined, &low, sizeof low);
    memcpy(out->inlined + sizeof low, &high, sizeof high);
}

static void read_words(const uint64_t *from, uint32_t words, const uint32_t *selected,
                       uint32_t count, uint64_t *out) {
    if (selected == NULL) {
        memcpy(out, from, (size_t)count * words * sizeof *out);
    } else if (words == 1) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = from[selected[i]];
        }
    } else {
        for (uint32_t i = 0; i < count; i++) {
            memcpy(out + (size_t)i * words, from + (size_t)selected[i] * words,
                   words * sizeof *out);
        }
    }
}

static void read_codes(const dictionary *d, const uint32_t *from, const uint32_t *selected,
                       uint32_t count, columns_text *out) {
    if (selected == NULL &&
        atomic_load_explicit(&d->count, memory_order_relaxed) <= DICTIONARY_BLOCK_ENTRIES) {
        const columns_text *texts = d->blocks[0];
        for (uint32_t i = 0; i < count; i++) {
            out[i] = texts[from[i]];
        }
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = *dictionary_text(d, from[selected == NULL ? i : selected[i]]);
    }
}

static void read_texts(const text_heap *heap, const uint32_t *from, const uint32_t *selected,
                       uint32_t count, columns_text *out) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t packed = from[selected == NULL ? i : selected[i]];
        uint32_t size;
        const char *data = heap_text(heap, packed, &size);
        text_load(&out[i], data, size);
    }
}

void columns_read(const columns *c, uint16_t table_id, uint32_t field, uint64_t first,
                  const uint32_t *selected, uint32_t count, void *out) {
    uint32_t at;
    const column_table *t = table_of(c, table_id);
    const chunk *k = run_chunk(t, first, &at);
    ASSERT(field < t->info->field_count && at + count <= COLUMNS_CHUNK_ROWS);
    const column *col = &t->columns[field];
    switch (col->kind) {
    case COLUMN_WORDS:
        read_words((const uint64_t *)k->arrays[field] + (size_t)at * col->words, col->words,
                   selected, count, out);
        break;
    case COLUMN_BYTE: {
        const uint8_t *from = (const uint8_t *)k->arrays[field] + at;
        for (uint32_t i = 0; i < count; i++) {
            ((uint8_t *)out)[i] = from[selected == NULL ? i : selected[i]];
        }
        break;
    }
    case COLUMN_CODE:
        read_codes(col->dictionary, (const uint32_t *)k->arrays[field] + at, selected, count, out);
        break;
    case COLUMN_TEXT:
        read_texts(k->heaps[field], (const uint32_t *)k->arrays[field] + at, selected, count, out);
        break;
    }
}

const void *columns_words(const columns *c, uint16_t table_id, uint32_t field, uint64_t first) {
    uint32_t at;
    const column_table *t = table_of(c, table_id);
    const chunk *k = run_chunk(t, first, &at);
    ASSERT(field < t->info->field_count);
    const column *col = &t->columns[field];
    bool plain = col->kind == COLUMN_WORDS && col->words == 1;
    return plain ? (const uint64_t *)k->arrays[field] + at : NULL;
}

bool columns_present(const columns *c, uint16_t table_id, uint32_t field, uint64_t first,
                     const uint32_t *selected, uint32_t count, bool *present) {
    uint32_t at;
    const column_table *t = table_of(c, table_id);
    const chunk *k = run_chunk(t, first, &at);
    uint16_t since = t->columns[field].field->since_version;
    const uint8_t *versions = atomic_load_explicit(&k->versions, memory_order_acquire);
    if (since <= 1 || versions == NULL) {
        return true;
    }
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        present[i] = versions[at + (selected == NULL ? i : selected[i])] >= since;
        all = all && present[i];
    }
    return all;
}

/* --- hints --- */

/* Whether the chunk may have rows of the instrument. */
static bool chunk_has_instrument(const chunk *k, uint32_t width, const char *instrument) {
    char id[COLUMNS_DICTIONARY_ID_BYTES_MAX] = {0};
    size_t size = strlen(instrument);
    if (size > width) {
        return false;
    }
    memcpy(id, instrument, size);
    uint32_t bit = zone_bit(hash_end(id_hash(HASH_START, id, (uint32_t)size)));
    return (atomic_load_explicit(&k->instruments[bit / 64], memory_order_relaxed) >> (bit % 64) &
            1) != 0;
}

bool columns_chunk_wanted(const columns *c, uint16_t table_id, uint64_t row,
                          const columns_hint *hint) {
    const column_table *t = table_of(c, table_id);
    const chunk *k = table_chunk(t, row);
    if (hint == NULL) {
        return true;
    }
    if (atomic_load_explicit(&k->ts_max, memory_order_relaxed) < hint->ts_min ||
        atomic_load_explicit(&k->ts_min, memory_order_relaxed) > hint->ts_max) {
        return false;
    }
    if (hint->instruments == NULL || t->instrument_field == COLUMNS_FIELD_NONE) {
        return true;
    }
    uint32_t width = t->columns[t->instrument_field].field->size_bytes;
    for (size_t n = 0; n < hint->instrument_count; n++) {
        if (chunk_has_instrument(k, width, hint->instruments[n])) {
            return true;
        }
    }
    return false;
}

/* --- codes --- */

static const column *column_of(const columns *c, uint16_t table_id, uint32_t field) {
    const column_table *t = table_of(c, table_id);
    ASSERT(field < t->info->field_count);
    return &t->columns[field];
}

bool columns_coded(const columns *c, uint16_t table_id, uint32_t field) {
    return column_of(c, table_id, field)->kind == COLUMN_CODE;
}

void columns_codes(const columns *c, uint16_t table_id, uint32_t field, uint64_t first,
                   const uint32_t *selected, uint32_t count, uint32_t *out) {
    uint32_t at;
    const chunk *k = run_chunk(table_of(c, table_id), first, &at);
    ASSERT(columns_coded(c, table_id, field) && at + count <= COLUMNS_CHUNK_ROWS);
    const uint32_t *from = (const uint32_t *)k->arrays[field] + at;
    if (selected == NULL) {
        memcpy(out, from, count * sizeof *out);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = from[selected[i]];
    }
}

uint32_t columns_code_count(const columns *c, uint16_t table_id, uint32_t field) {
    ASSERT(columns_coded(c, table_id, field));
    return atomic_load_explicit(&column_of(c, table_id, field)->dictionary->count,
                                memory_order_acquire);
}

const columns_text *columns_code_text(const columns *c, uint16_t table_id, uint32_t field,
                                      uint32_t code) {
    ASSERT(code < columns_code_count(c, table_id, field));
    return dictionary_text(column_of(c, table_id, field)->dictionary, code);
}

void columns_read_superseded(const columns *c, uint16_t table_id, uint64_t first,
                             const uint32_t *selected, uint32_t count, uint64_t seq,
                             uint64_t *out) {
    uint32_t at;
    const chunk *k = run_chunk(table_of(c, table_id), first, &at);
    ASSERT(k->superseded != NULL && at + count <= COLUMNS_CHUNK_ROWS);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t by = atomic_load_explicit(
            &k->superseded[at + (selected == NULL ? i : selected[i])], memory_order_relaxed);
        out[i] = by <= seq ? by : UINT64_MAX;
    }
}
