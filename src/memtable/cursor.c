/* cursor.c: a place among the entries of every table.
 *
 * A cursor copies one leaf of a table's keys at a time and holds nothing that the writer might want
 * back, so it may stay open for as long as the memtable. From the copy it goes on by the keys at
 * the leaf's bounds, which stay bounds whatever is inserted. Within a key it follows the versions.
 *
 * Threads: one; beside the writer and other cursors. */
#include "memtable/memtable_internal.h"

#include <stdlib.h>

typedef struct cursor {
    memtable_cursor shown;
    const memtable *table;
    const key_order *order;      /* that `run` is of */
    const memtable_entry *entry; /* its key is the one behind the place in `run` */
    order_run run;
    /* Of the key behind that one, if it has several versions: its first, and the key's hash. */
    const memtable_entry *ahead;
    uint64_t ahead_hash;
    bool ahead_asked;   /* for its newest version */
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
        if (e->older != NULL) {
            entry_prefetch(e->older);
        }
    }
}

static slice key_of(const memtable_entry *e, uint8_t bytes[RECORD_KEY_BYTES_MAX]) {
    return (slice){bytes, record_key(record_table(e->table), e->payload, bytes)};
}

static bool has_newer(const memtable_entry *e) {
    return LOAD_ACQUIRE(&e->newer) != NULL;
}

/* The newest version of the key whose first version this is. */
static const memtable_entry *newest_of(const cursor *c, const memtable_entry *first) {
    if (!has_newer(first)) {
        return first;
    }
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    slice key = key_of(first, bytes);
    uint64_t hash[2] = {c->ahead_hash, 0};
    if (first != c->ahead) {
        record_key_hash(key, hash);
    }
    const memtable_entry *e = hash_index_find(&c->table->index, key, hash[0]);
    ASSERT(e != NULL); /* a newer version is in the index before it is linked */
    return e;
}

/* Begins to bring in what the key behind the one shown will take. */
static void look_ahead(cursor *c) {
    c->ahead = order_run_after_next(&c->run);
    if (c->ahead == NULL || !has_newer(c->ahead)) {
        c->ahead = NULL;
        return;
    }
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    uint64_t hash[2];
    record_key_hash(key_of(c->ahead, bytes), hash);
    c->ahead_hash = hash[0];
    c->ahead_asked = false;
    hash_index_prefetch(&c->table->index, hash[0]);
}

/* NULL where no table has the id. */
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

/* To the first key of the first table from `table` on that has one. */
static void show_first_from(cursor *c, unsigned table) {
    for (; table <= TAPE_TABLE_COUNT; table++) {
        uint8_t bound = (uint8_t)table;
        if (load(c, table, (slice){&bound, 1}, false)) {
            order_run_seek(&c->run, (slice){&bound, 1});
            show(c, newest_of(c, order_run_next(&c->run)));
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
            order_run_seek(&c->run, (slice){&bound, 1});
            order_run_back(&c->run);
            show(c, order_run_next(&c->run));
            return;
        }
    }
    show(c, NULL);
}

/* To the newest version of the key behind the place in the run, which may lie behind the run. */
static void show_key(cursor *c) {
    const memtable_entry *first = order_run_next(&c->run);
    while (first == NULL) {
        if (c->run.high == NULL) {
            show_first_from(c, table_of(c) + 1);
            return;
        }
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        slice key = key_of(c->run.high, bytes);
        (void)key_order_read(c->order, key, false, &c->run);
        order_run_seek(&c->run, key);
        first = order_run_next(&c->run);
    }
    show(c, newest_of(c, first));
    look_ahead(c);
}

/* To the first version of the key before the place in the run, which may lie before the run. */
static void show_key_before(cursor *c) {
    const memtable_entry *first = order_run_prev(&c->run);
    while (first == NULL) {
        if (c->run.low == NULL) {
            show_last_before(c, table_of(c));
            return;
        }
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        slice key = key_of(c->run.low, bytes);
        (void)key_order_read(c->order, key, true, &c->run);
        order_run_seek(&c->run, key);
        first = order_run_prev(&c->run);
    }
    order_run_back(&c->run);
    show(c, first);
}

/* Goes to the key in its table. False: the table has none; `first` is its entry if it is there,
 * else NULL. */
static bool find(cursor *c, unsigned table, slice key, const memtable_entry **first) {
    if (!load(c, table, key, false)) {
        return false;
    }
    order_run_seek(&c->run, key);
    const memtable_entry *e = order_run_next(&c->run);
    *first = e != NULL && entry_compare_key(key, e) == 0 ? e : NULL;
    return true;
}

void memtable_cursor_seek(memtable_cursor *shown, slice key, uint64_t seq) {
    cursor *c = (cursor *)shown;
    unsigned table = key.size == 0 ? 0 : key.data[0];
    const memtable_entry *first;
    if (!find(c, table, key, &first)) {
        show_first_from(c, table + 1);
        return;
    }
    if (first != NULL) {
        const memtable_entry *e = versions_at(newest_of(c, first), seq);
        if (e != NULL) {
            show(c, e);
            return;
        }
        order_run_forward(&c->run);
    }
    show_key(c);
}

void memtable_cursor_seek_before(memtable_cursor *shown, slice key, uint64_t seq) {
    cursor *c = (cursor *)shown;
    unsigned table = key.size == 0 ? 0 : key.data[0];
    const memtable_entry *first;
    if (!find(c, table, key, &first)) {
        show_last_before(c, table <= TAPE_TABLE_COUNT ? table : TAPE_TABLE_COUNT + 1);
        return;
    }
    if (first != NULL) {
        const memtable_entry *e = versions_at(newest_of(c, first), seq);
        /* Next after the newest with seq <= `seq`; where all are later, the first. */
        e = e == NULL ? first : LOAD_ACQUIRE(&e->newer);
        if (e != NULL) {
            show(c, e);
            return;
        }
    }
    show_key_before(c);
}

void memtable_cursor_next(memtable_cursor *shown) {
    cursor *c = (cursor *)shown;
    ASSERT(shown->valid);
    if (c->entry->older != NULL) {
        if (c->ahead != NULL && !c->ahead_asked) {
            c->ahead_asked = true;
            hash_index_prefetch_entry(&c->table->index, c->ahead_hash);
        }
        show(c, c->entry->older);
    } else {
        order_run_forward(&c->run);
        show_key(c);
    }
}

void memtable_cursor_prev(memtable_cursor *shown) {
    cursor *c = (cursor *)shown;
    ASSERT(shown->valid);
    const memtable_entry *newer = LOAD_ACQUIRE(&c->entry->newer);
    if (newer != NULL) {
        show(c, newer);
    } else {
        show_key_before(c);
    }
}
