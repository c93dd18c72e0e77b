/* Columns: rows that fail a hint are passed over before anybody copies them.
 *
 * A run of rows gets a mask of bytes, one per row, that each part of the hint narrows; loops
 * without branches over arrays, which compilers turn into vector instructions. */
#include "columns/columns_internal.h"

#include <stdlib.h>

/* Codes are compared one by one up to this many; beyond, a bitmap of all codes is asked. */
#define CODES_COMPARED 4u

struct columns_filter {
    const column_table *table;
    int64_t ts_min;
    uint64_t ts_span; /* ts_max - ts_min; all ones: any ts */
    uint32_t instrument_field;
    size_t code_count; /* of instruments that are wanted, as far as rows have them */
    uint32_t codes[CODES_COMPARED];
    uint32_t map_codes; /* codes the map tells of */
    uint8_t *map;       /* by code; NULL: codes are compared */
    bool by_instrument;
    size_t bound_count;
    columns_bound bounds[];
};

/* --- making --- */

static bool text_is_one_of(const columns_text *text, const char *const *names, size_t count) {
    const char *data = text->size <= COLUMNS_TEXT_INLINE_BYTES ? text->inlined : text->pointer;
    for (size_t n = 0; n < count; n++) {
        if (strlen(names[n]) == text->size && memcmp(names[n], data, text->size) == 0) {
            return true;
        }
    }
    return false;
}

/* Rows that are published have codes the dictionary knows by now: D3. */
static void find_codes(columns_filter *f, const columns *c, const columns_hint *hint) {
    const column_table *t = f->table;
    uint32_t all = columns_code_count(c, t->info->id, t->instrument_field);
    f->by_instrument = true;
    f->instrument_field = t->instrument_field;
    f->map = mem_zalloc(all + 1u);
    f->map_codes = all;
    for (uint32_t code = 0; code < all; code++) {
        const columns_text *text = columns_code_text(c, t->info->id, t->instrument_field, code);
        if (text_is_one_of(text, hint->instruments, hint->instrument_count)) {
            f->map[code] = 1;
            if (f->code_count < CODES_COMPARED) {
                f->codes[f->code_count] = code;
            }
            f->code_count++;
        }
    }
    if (f->code_count <= CODES_COMPARED) {
        free(f->map);
        f->map = NULL;
    }
}

columns_filter *columns_filter_make(const columns *c, uint16_t table, const columns_hint *hint) {
    const column_table *t = table_of(c, table);
    if (hint == NULL) {
        return NULL;
    }
    bool by_ts = hint->ts_min != INT64_MIN || hint->ts_max != INT64_MAX;
    bool by_instrument = hint->instruments != NULL && t->instrument_field != COLUMNS_FIELD_NONE;
    if (!by_ts && !by_instrument && hint->bound_count == 0) {
        return NULL;
    }
    columns_filter *f = mem_zalloc(sizeof *f + hint->bound_count * sizeof f->bounds[0]);
    f->table = t;
    f->ts_min = hint->ts_min;
    f->ts_span = hint->ts_max < hint->ts_min ? 0 : (uint64_t)hint->ts_max - (uint64_t)hint->ts_min;
    if (by_instrument) {
        find_codes(f, c, hint);
    }
    for (size_t n = 0; n < hint->bound_count; n++) {
        const columns_bound *b = &hint->bounds[n];
        ASSERT(b->field < t->info->field_count && t->columns[b->field].kind == COLUMN_WORDS &&
               t->columns[b->field].words == 1 &&
               t->columns[b->field].field->kind == TAPE_FIELD_F64);
        f->bounds[f->bound_count++] = *b;
    }
    return f;
}

void columns_filter_free(columns_filter **handle) {
    columns_filter *f = *handle;
    *handle = NULL;
    if (f != NULL) {
        free(f->map);
        free(f);
    }
}

/* --- the parts of a hint, each over a run of rows --- */

static void mask_ts(const int64_t *ts, int64_t min, uint64_t span, uint32_t rows, uint8_t *mask) {
    for (uint32_t i = 0; i < rows; i++) {
        mask[i] = (uint8_t)(mask[i] & (((uint64_t)ts[i] - (uint64_t)min) <= span));
    }
}

static void mask_bound(const double *values, double min, double max, uint32_t rows, uint8_t *mask) {
    for (uint32_t i = 0; i < rows; i++) {
        mask[i] = (uint8_t)(mask[i] & ((values[i] >= min) & (values[i] <= max)));
    }
}

static void mask_one_code(const uint32_t *codes, uint32_t code, uint32_t rows, uint8_t *mask) {
    for (uint32_t i = 0; i < rows; i++) {
        mask[i] = (uint8_t)(mask[i] & (codes[i] == code));
    }
}

static void mask_codes(const columns_filter *f, const uint32_t *codes, uint32_t rows,
                       uint8_t *mask) {
    if (f->map != NULL) {
        for (uint32_t i = 0; i < rows; i++) {
            mask[i] = (uint8_t)(mask[i] & (codes[i] < f->map_codes ? f->map[codes[i]] : 0));
        }
    } else if (f->code_count == 1) {
        mask_one_code(codes, f->codes[0], rows, mask);
    } else {
        for (uint32_t i = 0; i < rows; i++) {
            uint8_t found = 0;
            for (size_t n = 0; n < f->code_count; n++) {
                found |= (uint8_t)(codes[i] == f->codes[n]);
            }
            mask[i] &= found;
        }
    }
}

uint32_t columns_filter_rows(const columns_filter *f, uint64_t first, bool among,
                             uint32_t *selected, uint32_t count) {
    uint8_t mask[COLUMNS_FILTER_ROWS_MAX];
    if (count == 0) {
        return 0;
    }
    const chunk *k = table_chunk(f->table, first);
    uint64_t at = first % COLUMNS_CHUNK_ROWS;
    uint32_t rows = among ? selected[count - 1] + 1 : count;
    ASSERT(rows <= COLUMNS_FILTER_ROWS_MAX && at + rows <= COLUMNS_CHUNK_ROWS);
    memset(mask, 1, rows);
    if (f->ts_span != UINT64_MAX) {
        mask_ts((const int64_t *)k->arrays[1] + at, f->ts_min, f->ts_span, rows, mask);
    }
    if (f->by_instrument) {
        mask_codes(f, (const uint32_t *)k->arrays[f->instrument_field] + at, rows, mask);
    }
    for (size_t n = 0; n < f->bound_count; n++) {
        const columns_bound *b = &f->bounds[n];
        mask_bound((const double *)k->arrays[b->field] + at, b->min, b->max, rows, mask);
    }
    uint32_t found = 0;
    if (among) {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t row = selected[i];
            selected[found] = row;
            found += mask[row];
        }
        return found;
    }
    for (uint32_t i = 0; i < rows; i++) {
        found += mask[i];
    }
    if (found >= rows - rows / 8) {
        return rows; /* the few that fail cost less than telling them apart */
    }
    found = 0;
    for (uint32_t i = 0; i < rows; i++) {
        selected[found] = i;
        found += mask[i];
    }
    return found;
}
