/* memtable.c: entries, their memory and the table's figures. The order is skiplist.c's. */
#include "memtable/memtable_internal.h"

#include <stdlib.h>

#define ARENA_BLOCK_BYTES MIB(1)

struct memtable {
    skiplist list;
    arena memory;
    _Atomic uint64_t entries;
    _Atomic uint64_t bytes;
    _Atomic uint64_t min_seq;
    _Atomic uint64_t max_seq;
};

memtable *memtable_create(uint64_t bytes_expected) {
    (void)bytes_expected;
    memtable *m = mem_zalloc(sizeof *m);
    skiplist_init(&m->list);
    arena_init(&m->memory, ARENA_BLOCK_BYTES);
    return m;
}

void memtable_destroy(memtable **m) {
    if (*m != NULL) {
        arena_deinit(&(*m)->memory);
        free(*m);
        *m = NULL;
    }
}

bool memtable_insert(memtable *m, slice key, const uint64_t hash[2], const record_view *record) {
    (void)hash;
    ASSERT(key.size > 0 && key.size <= RECORD_KEY_BYTES_MAX);
    ASSERT(record->seq > memtable_max_seq(m)); /* M2 */
    ASSERT(record->flags <= UINT8_MAX);
    size_t payload_at = offsetof(memtable_entry, bytes) + ALIGN_UP(key.size, ENTRY_ALIGN);
    int height = 0;
    memtable_entry *e = skiplist_allocate(&m->list, &m->memory, payload_at + record->size, &height);
    if (e == NULL) {
        return false;
    }
    e->seq = record->seq;
    e->append_ts = record->append_ts;
    e->size = record->size;
    e->version = record->version;
    e->flags = (uint8_t)record->flags;
    e->key_size = (uint8_t)key.size;
    memcpy(e->bytes, key.data, key.size);
    memcpy((uint8_t *)e + payload_at, record->payload, record->size);
    skiplist_link_entry(&m->list, e, height);

    if (memtable_min_seq(m) == 0) {
        atomic_store_explicit(&m->min_seq, record->seq, memory_order_relaxed);
    }
    atomic_store_explicit(&m->max_seq, record->seq, memory_order_relaxed);
    atomic_store_explicit(&m->bytes, m->memory.used_bytes, memory_order_relaxed);
    atomic_store_explicit(&m->entries, memtable_entries(m) + 1, memory_order_relaxed);
    return true;
}

static void entry_view(const memtable_entry *e, record_view *out) {
    const uint8_t *payload = entry_payload(e);
    *out = (record_view){
        .table = record_table(e->bytes[0]),
        .payload = payload,
        .size = e->size,
        .version = e->version,
        .flags = e->flags,
        .seq = e->seq,
        .ts = (int64_t)load_u64(payload + 8),
        .append_ts = e->append_ts,
    };
}

bool memtable_get(const memtable *m, slice key, const uint64_t hash[2], uint64_t at,
                  record_view *out) {
    (void)hash;
    const memtable_entry *e = skiplist_seek(&m->list, key, at);
    if (e == NULL || slice_compare(entry_key(e), key) != 0) {
        return false;
    }
    entry_view(e, out);
    return true;
}

void memtable_prefetch(const memtable *m, const uint64_t hash[2]) {
    (void)m;
    (void)hash;
}

typedef struct cursor {
    memtable_cursor shown;
    const memtable *table;
    const memtable_entry *at;
} cursor;

static void cursor_set(memtable_cursor *shown, const memtable_entry *e) {
    ((cursor *)shown)->at = e;
    shown->valid = e != NULL;
    if (e != NULL) {
        entry_view(e, &shown->record);
    }
}

memtable_cursor *memtable_cursor_open(const memtable *m) {
    cursor *c = mem_zalloc(sizeof *c);
    c->table = m;
    return &c->shown;
}

void memtable_cursor_close(memtable_cursor **c) {
    free(*c);
    *c = NULL;
}

void memtable_cursor_seek(memtable_cursor *c, slice key, uint64_t seq) {
    cursor_set(c, skiplist_seek(&((cursor *)c)->table->list, key, seq));
}

void memtable_cursor_seek_before(memtable_cursor *c, slice key, uint64_t seq) {
    cursor_set(c, skiplist_seek_before(&((cursor *)c)->table->list, key, seq));
}

void memtable_cursor_next(memtable_cursor *c) {
    ASSERT(c->valid);
    cursor_set(c, skiplist_next(((cursor *)c)->at));
}

void memtable_cursor_prev(memtable_cursor *c) {
    ASSERT(c->valid);
    const memtable_entry *e = ((cursor *)c)->at;
    cursor_set(c, skiplist_seek_before(&((cursor *)c)->table->list, entry_key(e), e->seq));
}

uint64_t memtable_entries(const memtable *m) {
    return atomic_load_explicit(&m->entries, memory_order_relaxed);
}

uint64_t memtable_bytes(const memtable *m) {
    return atomic_load_explicit(&m->bytes, memory_order_relaxed);
}

uint64_t memtable_min_seq(const memtable *m) {
    return atomic_load_explicit(&m->min_seq, memory_order_relaxed);
}

uint64_t memtable_max_seq(const memtable *m) {
    return atomic_load_explicit(&m->max_seq, memory_order_relaxed);
}
