/* Columns: the readers' side. Everything here looks only at published rows, so it needs no lock. */
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

static const column_table *table_of(const columns *c, uint16_t id) {
    ASSERT(id >= 1 && id <= TAPE_TABLE_COUNT && c->tables[id] != NULL);
    return c->tables[id];
}

static uint64_t row_seq(const column_table *t, uint64_t row) {
    return ((const uint64_t *)table_chunk(t, row)->arrays[0])[row % COLUMNS_CHUNK_ROWS];
}

uint64_t columns_rows_at(const columns *c, uint16_t table_id, uint64_t seq) {
    const column_table *t = table_of(c, table_id);
    uint64_t high = atomic_load_explicit(&t->published, memory_order_acquire);
    if (high == 0 || row_seq(t, high - 1) <= seq) {
        return high;
    }
    uint64_t low = 0;
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

bool columns_present(const columns *c, uint16_t table_id, uint32_t field, uint64_t first,
                     const uint32_t *selected, uint32_t count, bool *present) {
    uint32_t at;
    const column_table *t = table_of(c, table_id);
    const chunk *k = run_chunk(t, first, &at);
    uint16_t since = t->columns[field].field->since_version;
    if (since <= 1 || k->versions == NULL) {
        return true;
    }
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        present[i] = k->versions[at + (selected == NULL ? i : selected[i])] >= since;
        all = all && present[i];
    }
    return all;
}
