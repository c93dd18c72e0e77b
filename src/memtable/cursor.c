/* cursor.c: a place among the entries of every table.
 *
 * A cursor copies one leaf of a table's keys at a time and holds nothing that the writer might want
 * back, so it may stay open for as long as the memtable. From the copy it goes on by the keys at
 * the leaf's bounds, which stay bounds whatever is inserted. Within a key it follows the versions.
 *
 * Threads: one; beside the writer and other cursors. */
#include "memtable/memtable_internal.h"

#include <stdlib.h>

/* Keys whose entries are brought into the cache ahead. */
#define AHEAD_KEYS 8u

typedef struct cursor {
    memtable_cursor shown;
    const memtable *table;
    const key_order *order; /* that `run` is of */
    const memtable_entry *entry;
    uint32_t at; /* the entry's key in `run` */
    order_run run;
    order_pair pairs[]; /* of `run` */
} cursor;

memtable_cursor *memtable_cursor_open(const memtable *m) {
    size_t keys = m->pool.node_keys;
    cursor *c = mem_alloc(sizeof *c + 2 * keys * sizeof c->pairs[0]);
    *c = (cursor){.table = m, .run = {.pairs = c->pairs, .scratch = c->pairs + keys}};
    return &c->shown;
}

void memtable_cursor_close(memtable_cursor **c) {
    free(*c);
    *c = NULL;
}

static void show(cursor *c, const memtable_entry *e) {
    c->entry = e;
    c->shown.valid = e != NULL;
    if (e != NULL) {
        entry_view(e, &c->shown.record);
    }
}

static slice key_of(const memtable_entry *e, uint8_t bytes[RECORD_KEY_BYTES_MAX]) {
    return (slice){bytes, record_key(record_table(e->table), e->payload, bytes)};
}

/* The newest version of the key whose first version this is. */
static const memtable_entry *newest_of(const cursor *c, const memtable_entry *first) {
    if (atomic_load_explicit(&first->newer, memory_order_acquire) == NULL) {
        return first;
    }
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    uint64_t hash[2];
    slice key = key_of(first, bytes);
    record_key_hash(key, hash);
    const memtable_entry *e = hash_index_find(&c->table->index, key, hash[0]);
    ASSERT(e != NULL); /* a newer version is in the index before it is linked */
    return e;
}

/* Ids that stand for no table are behind all. */
static const key_order *order_of(const cursor *c, unsigned table) {
    return table >= 1 && table <= TAPE_TABLE_COUNT ? &c->table->orders[table] : NULL;
}

static unsigned table_of(const cursor *c) {
    return (unsigned)(c->order - c->table->orders);
}

static bool load(cursor *c, unsigned table, slice key, bool before) {
    c->order = order_of(c, table);
    return c->order != NULL && key_order_read(c->order, key, before, &c->run);
}

static void prefetch_from(const cursor *c, uint32_t from, uint32_t end) {
    for (uint32_t i = from; i < end && i < c->run.count; i++) {
        entry_prefetch(c->run.pairs[i].entry);
    }
}

/* To the first key of the first table from `table` on that has one. */
static void show_first_from(cursor *c, unsigned table) {
    for (; table <= TAPE_TABLE_COUNT; table++) {
        uint8_t bound = (uint8_t)table;
        if (load(c, table, (slice){&bound, 1}, false)) {
            c->at = 0;
            prefetch_from(c, 1, AHEAD_KEYS);
            show(c, newest_of(c, c->run.pairs[0].entry));
            return;
        }
    }
    show(c, NULL);
}

/* To the last key of the last table before `table` that has one. */
static void show_last_before(cursor *c, unsigned table) {
    for (; table > 1; table--) {
        uint8_t bound = (uint8_t)table;
        if (load(c, table - 1, (slice){&bound, 1}, false)) {
            c->at = c->run.count - 1;
            show(c, c->run.pairs[c->at].entry);
            return;
        }
    }
    show(c, NULL);
}

/* To the newest version of the key at `at`, or of the next one behind the run. */
static void show_key(cursor *c, uint32_t at) {
    while (at >= c->run.count) {
        if (c->run.high == NULL) {
            show_first_from(c, table_of(c) + 1);
            return;
        }
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        slice key = key_of(c->run.high, bytes);
        (void)key_order_read(c->order, key, false, &c->run);
        at = order_run_seek(&c->run, key);
        prefetch_from(c, at, at + AHEAD_KEYS);
    }
    c->at = at;
    prefetch_from(c, at + AHEAD_KEYS, at + AHEAD_KEYS + 1);
    show(c, newest_of(c, c->run.pairs[at].entry));
}

/* To the first version of the key before the one at `at`. */
static void show_key_before(cursor *c, uint32_t at) {
    while (at == 0) {
        if (c->run.low == NULL) {
            show_last_before(c, table_of(c));
            return;
        }
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        slice key = key_of(c->run.low, bytes);
        (void)key_order_read(c->order, key, true, &c->run);
        at = order_run_seek(&c->run, key);
    }
    c->at = at - 1;
    if (at > AHEAD_KEYS) {
        prefetch_from(c, at - 1 - AHEAD_KEYS, at - AHEAD_KEYS);
    }
    show(c, c->run.pairs[at - 1].entry);
}

void memtable_cursor_seek(memtable_cursor *shown, slice key, uint64_t seq) {
    cursor *c = (cursor *)shown;
    unsigned table = key.size == 0 || key.data[0] == 0 ? 1 : key.data[0];
    if (key.size == 0 || !load(c, table, key, false)) {
        show_first_from(c, key.size == 0 || key.data[0] != table ? table : table + 1);
        return;
    }
    uint32_t at = order_run_seek(&c->run, key);
    if (at < c->run.count && entry_compare_key(key, c->run.pairs[at].entry) == 0) {
        const memtable_entry *e = versions_at(newest_of(c, c->run.pairs[at].entry), seq);
        if (e != NULL) {
            c->at = at;
            show(c, e);
            return;
        }
        at++;
    }
    show_key(c, at);
}

void memtable_cursor_seek_before(memtable_cursor *shown, slice key, uint64_t seq) {
    cursor *c = (cursor *)shown;
    unsigned table = key.size == 0 ? 0 : key.data[0];
    if (!load(c, table, key, false)) {
        show_last_before(c, table <= TAPE_TABLE_COUNT ? table : TAPE_TABLE_COUNT + 1);
        return;
    }
    uint32_t at = order_run_seek(&c->run, key);
    if (at < c->run.count && entry_compare_key(key, c->run.pairs[at].entry) == 0) {
        const memtable_entry *first = c->run.pairs[at].entry;
        const memtable_entry *e = versions_at(newest_of(c, first), seq);
        /* The version next after that with seq <= seq; all are later: the first. */
        e = e == NULL ? first : atomic_load_explicit(&e->newer, memory_order_acquire);
        if (e != NULL) {
            c->at = at;
            show(c, e);
            return;
        }
    }
    show_key_before(c, at);
}

void memtable_cursor_next(memtable_cursor *shown) {
    cursor *c = (cursor *)shown;
    ASSERT(shown->valid);
    if (c->entry->older != NULL) {
        show(c, c->entry->older);
    } else {
        show_key(c, c->at + 1);
    }
}

void memtable_cursor_prev(memtable_cursor *shown) {
    cursor *c = (cursor *)shown;
    ASSERT(shown->valid);
    const memtable_entry *newer = atomic_load_explicit(&c->entry->newer, memory_order_acquire);
    if (newer != NULL) {
        show(c, newer);
    } else {
        show_key_before(c, c->at);
    }
}
