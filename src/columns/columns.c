/* Columns: making them, and the cursor: records in, a published seq out. Rows are taken apart into
 * arrays, one per field (rows.c); memory and pins are in memory.c; README.md has the invariants.
 *
 * Threads: one writer at a time, under the apply mutex; readers use what is published. */
#include "columns/columns_internal.h"

#include <stdlib.h>

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
    ASSERT(field->kind == TAPE_FIELD_ID && field->size_bytes % 8 == 0);
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
    t->instrument_field = COLUMNS_FIELD_NONE;
    for (uint32_t f = 0; f < info->field_count; f++) {
        tape_status status = column_init(c, &t->columns[f], &info->fields[f]);
        if (status != TAPE_OK) {
            return status;
        }
        t->columns[f].offset = (uint32_t)t->block_bytes;
        t->row_bytes += t->columns[f].row_bytes;
        t->block_bytes += (size_t)COLUMNS_CHUNK_ROWS * t->columns[f].row_bytes;
        ASSERT(t->block_bytes <= UINT32_MAX / 2);
        if (t->columns[f].kind == COLUMN_CODE &&
            strcmp(info->fields[f].name, "instrument_id") == 0) {
            t->instrument_field = f;
        }
    }
    if (info->kind == TAPE_KIND_ENTITY) {
        t->superseded_offset = (uint32_t)t->block_bytes;
        t->row_bytes += (uint32_t)sizeof(uint64_t);
        t->block_bytes += (size_t)COLUMNS_CHUNK_ROWS * sizeof(uint64_t);
        tape_status status = newest_create(t);
        return status == TAPE_OK ? superseded_create(t) : status;
    }
    return TAPE_OK;
}

static void table_free(column_table *t) {
    if (t == NULL) {
        return;
    }
    table_chunks_free(t);
    newest_free(t);
    superseded_free(t);
    free(t);
}

/* Rows begin after the base. */
static void start_after(columns *c, uint64_t base) {
    atomic_store_explicit(&c->base, base, memory_order_relaxed);
    atomic_store_explicit(&c->seq, base, memory_order_relaxed);
    c->handed_seq = base;
    atomic_store_explicit(&c->handed_done, base, memory_order_relaxed);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (c->tables[id] != NULL) {
            c->tables[id]->added_seq = base;
        }
    }
}

tape_status columns_create_for(columns **out, const tape_table_info *const *tables,
                               const columns_options *options, tape_error *error) {
    tape_status status = TAPE_OK;
    columns *c = calloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL) {
        return error_set(error, TAPE_NO_MEMORY, "no memory for the hot columns");
    }
    c->options = *options;
    (void)pthread_mutex_init(&c->apply_mutex, NULL);
    (void)pthread_mutex_init(&c->superseded_mutex, NULL);
    (void)pthread_mutex_init(&c->pin_mutex, NULL);
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
    start_after(c, options->base_seq);
    *out = c;
    return TAPE_OK;
}

tape_status columns_create(columns **out, const columns_options *options, tape_error *error) {
    const tape_table_info *tables[TAPE_TABLE_COUNT];
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        tables[id - 1] = record_table(id);
    }
    return columns_create_for(out, tables, options, error);
}

void columns_close(columns **columns_handle) {
    columns *c = *columns_handle;
    *columns_handle = NULL;
    if (c == NULL) {
        return;
    }
    ASSERT(c->pin_oldest == NULL);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        table_free(c->tables[id]);
    }
    for (uint32_t d = 0; d < c->dictionary_count; d++) {
        dictionary_deinit(&c->dictionaries[d]);
    }
    while (c->retired != NULL) {
        retired *next = c->retired->next;
        free(c->retired);
        c->retired = next;
    }
    (void)pthread_mutex_destroy(&c->pin_mutex);
    (void)pthread_mutex_destroy(&c->superseded_mutex);
    (void)pthread_mutex_destroy(&c->apply_mutex);
    free(c);
}

/* --- the cursor --- */

/* The rows of appends that are there as a whole, then how far that is (C3, C4). */
static void publish(columns *c, uint64_t seq) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        column_table *t = c->tables[id];
        if (t == NULL) {
            continue;
        }
        uint64_t published = atomic_load_explicit(&t->published, memory_order_relaxed);
        uint64_t rows = t->rows;
        while (rows > published && row_seq(t, rows - 1) > seq) {
            rows--;
        }
        atomic_store_explicit(&t->published, rows, memory_order_release);
    }
    atomic_store_explicit(&c->seq, seq, memory_order_release);
}

/* While rows are added, those after the base of this pin stay: what the index of newest versions
 * may look at (N1). It is as old as the oldest of the readers' pins, so that what they keep is told
 * about as long as they do. */
static void writer_begin(columns *c) {
    pthread_mutex_lock(&c->apply_mutex);
    pin_add_oldest(c, &c->writer_pin);
    if (c->writer_pin.base != c->live_seq) {
        c->live_seq = c->writer_pin.base;
        for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
            if (c->tables[id] != NULL) {
                c->tables[id]->live_first = table_row_after(c->tables[id], c->live_seq);
            }
        }
    }
}

static void writer_end(columns *c) {
    pin_remove(&c->writer_pin);
    pthread_mutex_unlock(&c->apply_mutex);
}

static tape_status apply_fail(const columns *c, tape_status status, uint64_t seq,
                              tape_error *error) {
    if (status == TAPE_NO_MEMORY) {
        return error_set(error, status, "no memory for seq %llu in the hot columns",
                         (unsigned long long)seq);
    }
    if (status != TAPE_BUSY) {
        return status; /* as c->options.archived said it */
    }
    return error_set(error, status,
                     "the hot columns hold %llu of at most %llu bytes and have no room for seq "
                     "%llu and later: archive older rows, or open the store with a larger "
                     "columns_bytes_max",
                     (unsigned long long)columns_bytes(c), (unsigned long long)c->options.bytes_max,
                     (unsigned long long)seq);
}

/* Adds at most COLUMNS_WINDOW_RECORDS records, table by table, and moves *seq to the last append
 * that is there as a whole. A table that fails does not stop the others from having later rows
 * already: they wait, unpublished, for what is missing. */
static tape_status apply_window(columns *c, const record_view *records, size_t count, uint64_t *seq,
                                tape_error *error) {
    const record_view *views[TAPE_TABLE_COUNT + 1][COLUMNS_WINDOW_RECORDS];
    uint32_t counts[TAPE_TABLE_COUNT + 1] = {0};
    tape_status status = TAPE_OK;
    uint64_t failed_seq = UINT64_MAX;
    for (size_t n = 0; n < count; n++) {
        uint16_t id = records[n].table->id;
        /* Each record is read field by field later on: ask for all of it now. */
        for (uint32_t at = 0; at < records[n].size; at += CACHE_LINE_BYTES) {
            __builtin_prefetch((const uint8_t *)records[n].payload + at);
        }
        ASSERT(c->tables[id] != NULL);
        if (records[n].seq > c->tables[id]->added_seq) {
            views[id][counts[id]++] = &records[n];
        }
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        while (counts[id] > 0 && views[id][counts[id] - 1]->seq > failed_seq) {
            counts[id]--;
        }
        if (counts[id] == 0) {
            continue;
        }
        tape_status table_status = TAPE_OK;
        uint32_t added = rows_add(c, c->tables[id], views[id], counts[id], &table_status, error);
        if (added < counts[id]) {
            status = table_status;
            failed_seq = views[id][added]->seq;
        }
    }
    for (size_t n = 0; n < count && records[n].seq < failed_seq; n++) {
        if ((records[n].flags & RECORD_MORE) == 0 && records[n].seq > *seq) {
            *seq = records[n].seq;
        }
    }
    return status == TAPE_OK ? TAPE_OK : apply_fail(c, status, failed_seq, error);
}

tape_status columns_apply(columns *c, const record_view *records, size_t count, tape_error *error) {
    tape_status status = TAPE_OK;
    writer_begin(c);
    uint64_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);
    for (size_t n = 0; n < count && status == TAPE_OK; n += COLUMNS_WINDOW_RECORDS) {
        size_t window = count - n < COLUMNS_WINDOW_RECORDS ? count - n : COLUMNS_WINDOW_RECORDS;
        status = apply_window(c, records + n, window, &seq, error);
    }
    publish(c, seq);
    writer_end(c);
    return status;
}

void columns_settle(columns *c, uint64_t seq) {
    writer_begin(c);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (c->tables[id] != NULL) {
            ASSERT(seq >= c->tables[id]->added_seq);
            c->tables[id]->added_seq = seq;
        }
    }
    publish(c, seq);
    writer_end(c);
}

uint64_t columns_seq(const columns *c) {
    return atomic_load_explicit(&c->seq, memory_order_acquire);
}

uint64_t columns_base(const columns *c) {
    return atomic_load_explicit(&c->base, memory_order_acquire);
}

uint64_t columns_rows(const columns *c, uint16_t table_id) {
    const column_table *t = table_of(c, table_id);
    uint64_t base_row = atomic_load_explicit(&t->base_row, memory_order_acquire);
    return atomic_load_explicit(&t->published, memory_order_acquire) - base_row;
}
