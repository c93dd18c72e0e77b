/* columns, tests: records made from numbers, and what the tests of this module share. */
#ifndef COLUMNS_TESTING_H
#define COLUMNS_TESTING_H

#include "base/base_testing.h"
#include "columns/columns_internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define VECTOR 2048u

static inline record_view view_of(uint16_t table, const void *payload, uint64_t seq, int64_t ts) {
    const tape_table_info *info = record_table(table);
    return (record_view){.table = info,
                         .payload = payload,
                         .size = info->size_bytes,
                         .version = info->version,
                         .seq = seq,
                         .ts = ts};
}

static inline columns *open_columns(uint64_t bytes_max) {
    columns *c;
    tape_error error;
    if (columns_create(&c, &(columns_options){.bytes_max = bytes_max}, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return c;
}

static inline void apply(columns *c, const record_view *views, size_t count) {
    tape_error error;
    if (columns_apply(c, views, count, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

/* What the archive and the engine do with the columns when rows up to `seq` are archived. */
static inline void take_over(columns *c, uint64_t seq) {
    tape_error error;
    if (columns_hand_over(c, seq, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    columns_drop(c, seq);
}

/* An identifier of `size` bytes: the prefix, then the last digits of `n`. */
static inline void put_id(char *to, size_t width, const char *prefix, uint64_t n, size_t size) {
    memset(to, 0, width);
    size_t head = strlen(prefix) < size ? strlen(prefix) : size;
    memcpy(to, prefix, head);
    for (size_t at = size; at > head; at--, n /= 10) {
        to[at - 1] = (char)('0' + n % 10);
    }
}

/* Trade n, made from n alone. Its identifiers have every length from 0 to the widest. */
static inline tape_trade trade_of(uint64_t n) {
    tape_trade t = {.seq = n, .ts = (int64_t)n * 1000 - 5};
    put_id(t.trade_id, sizeof t.trade_id, "t", n, 1 + n % sizeof t.trade_id);
    put_id(t.order_id, sizeof t.order_id, "o", n * 7, n % (sizeof t.order_id + 1));
    put_id(t.counter_order_id, sizeof t.counter_order_id, "c", n * 11, (n / 3) % 41);
    put_id(t.user_id, sizeof t.user_id, "u", n % 977, (n % 977) % 33);
    put_id(t.instrument_id, sizeof t.instrument_id, "i", n % 13, 1 + n % 13);
    t.side = (uint8_t)(n % 3);
    t.position_effect = (uint8_t)(n % 4);
    t.price = (double)n / 8;
    t.volume = -(double)n;
    return t;
}

/* Trades first .. first + count - 1, each at the seq of its number. */
static inline tape_status try_trades(columns *c, uint64_t first, uint64_t count,
                                     tape_error *error) {
    tape_trade trades[256];
    record_view views[256];
    tape_status status = TAPE_OK;
    for (uint64_t n = 0; n < count && status == TAPE_OK;) {
        size_t batch = 0;
        for (; batch < COUNT_OF(views) && n < count; batch++, n++) {
            trades[batch] = trade_of(first + n);
            views[batch] = view_of(TAPE_TABLE_TRADES, &trades[batch], first + n, trades[batch].ts);
        }
        status = columns_apply(c, views, batch, error);
    }
    return status;
}

static inline void apply_trades(columns *c, uint64_t first, uint64_t count) {
    tape_error error;
    if (try_trades(c, first, count, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static inline void text_equal(const columns_text *text, const char *id, uint32_t width) {
    uint32_t size = id_size(id, width);
    assert_int_equal(text->size, size);
    if (size <= COLUMNS_TEXT_INLINE_BYTES) {
        char padded[COLUMNS_TEXT_INLINE_BYTES] = {0};
        memcpy(padded, id, size);
        assert_memory_equal(text->inlined, padded, sizeof padded);
    } else {
        assert_memory_equal(text->prefix, id, sizeof text->prefix);
        assert_memory_equal(text->pointer, id, size);
    }
}

/* Reads a run of trades field by field and compares it with trade_of, whose number is the seq: the
 * run's first row has `number`. */
static inline void check_trades(const columns *c, uint64_t first, uint64_t number,
                                const uint32_t *selected, uint32_t count) {
    static columns_text texts[VECTOR];
    static uint64_t words[VECTOR];
    static uint8_t bytes[VECTOR];
    static bool present[VECTOR];
    const tape_table_info *info = record_table(TAPE_TABLE_TRADES);
    for (uint32_t f = 0; f < info->field_count; f++) {
        const tape_field_info *field = &info->fields[f];
        void *out = field->kind == TAPE_FIELD_ID     ? (void *)texts
                    : field->kind == TAPE_FIELD_ENUM ? (void *)bytes
                                                     : (void *)words;
        columns_read(c, TAPE_TABLE_TRADES, f, first, selected, count, out);
        assert_true(columns_present(c, TAPE_TABLE_TRADES, f, first, selected, count, present));
        for (uint32_t i = 0; i < count; i++) {
            tape_trade want = trade_of(number + (selected == NULL ? i : selected[i]));
            const char *from = (const char *)&want + field->offset;
            if (field->kind == TAPE_FIELD_ID) {
                text_equal(&texts[i], from, field->size_bytes);
            } else if (field->kind == TAPE_FIELD_ENUM) {
                assert_int_equal(bytes[i], *from);
            } else {
                assert_memory_equal(&words[i], from, 8);
            }
        }
    }
}

/* The trades from the one after `seq` on, whose seqs are their numbers without gaps: a run at every
 * `stride`-th. */
static inline void check_trades_after(const columns *c, uint64_t seq, uint64_t stride) {
    uint64_t last = columns_seq(c);
    uint64_t first = columns_row_after(c, TAPE_TABLE_TRADES, seq);
    assert_int_equal(columns_row_after(c, TAPE_TABLE_TRADES, last) - first, last - seq);
    for (uint64_t n = seq; n < last; n += stride) {
        uint64_t row = first + (n - seq);
        uint64_t run = COLUMNS_CHUNK_ROWS - row % COLUMNS_CHUNK_ROWS;
        run = run < VECTOR ? run : VECTOR;
        check_trades(c, row, n + 1, NULL, (uint32_t)(run < last - n ? run : last - n));
    }
}

/* Makes row numbers begin at those of chunk `first`, as if as many had come and gone. Before the
 * first row. */
static inline void start_rows_at(columns *c, uint64_t first) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        column_table *t = c->tables[id];
        t->rows = t->rows_reserved = t->live_first = t->handed_row = first * COLUMNS_CHUNK_ROWS;
        atomic_store(&t->first_chunk, first);
        atomic_store(&t->published, t->rows);
        atomic_store(&t->base_row, t->rows);
    }
}

static inline uint64_t chunk_bytes_held(const column_table *t, const chunk *k, uint64_t rows) {
    uint64_t bytes = rows * t->row_bytes;
    for (uint32_t f = 0; f < COLUMNS_FIELDS_MAX; f++) {
        for (uint32_t b = 0; k->heaps[f] != NULL && b < COLUMNS_TEXT_BLOCKS; b++) {
            bytes += k->heaps[f]->blocks[b] == NULL ? 0 : COLUMNS_TEXT_BLOCK_BYTES;
        }
    }
    return bytes + (atomic_load(&k->versions) == NULL ? 0 : COLUMNS_CHUNK_ROWS);
}

static inline uint64_t map_bytes_held(const superseded_map *map) {
    uint64_t bytes = map->pair_capacity * sizeof *map->pairs;
    for (uint32_t s = 0; s < SUPERSEDED_SHARDS; s++) {
        const superseded_table *t = atomic_load(&map->shards[s]);
        bytes += t == NULL ? 0 : sizeof *t + (t->mask + 1) * sizeof t->entries[0];
    }
    const superseded_root *root = atomic_load(&map->root);
    bytes += root == NULL ? 0 : sizeof *root + root->count * sizeof root->groups[0];
    for (uint64_t g = 0; root != NULL && g < root->count; g++) {
        const superseded_group *group = atomic_load(&root->groups[g]);
        bytes += group == NULL ? 0 : sizeof *group;
        for (uint32_t p = 0; group != NULL && p < SUPERSEDED_GROUP_PAGES; p++) {
            bytes += atomic_load(&group->pages[p]) == NULL ? 0 : sizeof(superseded_page);
        }
    }
    return bytes;
}

/* What columns_bytes has to be, by looking at everything; nobody else may be at the columns. */
static inline uint64_t bytes_held(const columns *c) {
    uint64_t bytes = 0;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const column_table *t = c->tables[id];
        uint64_t first = atomic_load(&t->first_chunk);
        uint64_t end = (t->rows_reserved + COLUMNS_CHUNK_ROWS - 1) / COLUMNS_CHUNK_ROWS;
        for (uint64_t k = first; k < end; k++) {
            uint64_t rows = t->rows_reserved - k * COLUMNS_CHUNK_ROWS;
            rows = rows < COLUMNS_CHUNK_ROWS ? rows : COLUMNS_CHUNK_ROWS;
            bytes += chunk_bytes_held(t, table_entry(t, k)->chunk, rows);
        }
        for (uint32_t s = 0; t->newest != NULL && s < NEWEST_SHARDS; s++) {
            bytes += t->newest[s].slot_count * sizeof(newest_slot);
        }
        bytes += t->map == NULL ? 0 : map_bytes_held(t->map);
    }
    for (uint32_t n = 0; n < c->dictionary_count; n++) {
        const dictionary *d = &c->dictionaries[n];
        bytes += d->slot_count * sizeof(dictionary_slot) + d->texts.used_bytes;
        for (uint32_t b = 0; b < DICTIONARY_BLOCKS && d->blocks[b] != NULL; b++) {
            bytes += DICTIONARY_BLOCK_ENTRIES * sizeof(columns_text);
        }
    }
    for (const retired *r = c->retired; r != NULL; r = r->next) {
        bytes += r->bytes;
    }
    return bytes;
}

/* The same of the stock. */
static inline uint64_t stock_held(const columns *c) {
    uint64_t bytes = 0;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const column_table *t = c->tables[id];
        for (const chunk *k = t->stock; k != NULL; k = k->next) {
            bytes += chunk_bytes_held(t, k, COLUMNS_CHUNK_ROWS);
        }
    }
    return bytes;
}

#endif
