/* memtable.c: inserts, gets and figures of a table. */
#include "memtable/memtable_internal.h"

#include <stdlib.h>

memtable *memtable_create(uint64_t bytes_expected) {
    memtable *m = mem_zalloc(sizeof *m);
    hash_index_init(&m->index, &m->memory, bytes_expected);
    order_pool_init(&m->pool, &m->memory, bytes_expected);
    for (size_t i = 0; i < COUNT_OF(m->orders); i++) {
        m->orders[i].pool = &m->pool;
    }
    return m;
}

void memtable_share(memtable *m, memtable_stock *stock) {
    ASSERT(m->memory.head == NULL);
    m->memory.stock = stock;
}

void memtable_destroy(memtable **m) {
    if (*m != NULL) {
        memory_deinit(&(*m)->memory);
        free(*m);
        *m = NULL;
    }
}

static memtable_entry *entry_create(memtable *m, const record_view *record) {
    size_t size = sizeof(memtable_entry) + record->size;
    memtable_entry *e = memory_take(&m->memory, ALIGN_UP(size, ENTRY_ALIGN), ENTRY_ALIGN);
    if (e == NULL) {
        return NULL;
    }
    e->seq = record->seq;
    e->append_ts = record->append_ts;
    atomic_init(&e->newer, NULL);
    e->size = record->size;
    e->version = record->version;
    e->flags = (uint8_t)record->flags;
    e->table = (uint8_t)record->table->id;
    memcpy(e->payload, record->payload, record->size);
    return e;
}

static void figures_update(memtable *m, uint64_t seq) {
    if (memtable_min_seq(m) == 0) {
        atomic_store_explicit(&m->min_seq, seq, memory_order_relaxed);
    }
    atomic_store_explicit(&m->max_seq, seq, memory_order_relaxed);
    atomic_store_explicit(&m->bytes, m->memory.used_bytes, memory_order_relaxed);
    atomic_store_explicit(&m->entries, memtable_entries(m) + 1, memory_order_relaxed);
}

bool memtable_insert(memtable *m, slice key, const uint64_t hash[2], const record_view *record) {
    ASSERT(key.size > 0 && key.size <= RECORD_KEY_BYTES_MAX);
    ASSERT(key.data[0] == record->table->id && record->table->id <= TAPE_TABLE_COUNT);
    ASSERT(record->seq > memtable_max_seq(m)); /* M2 */
    ASSERT(record->flags <= UINT8_MAX);
    key_order *order = &m->orders[record->table->id];
    index_place place;
    order_place in_order;
    memtable_entry *newest;
    hash_index_prefetch(&m->index, hash[0]);
    /* A key is as likely to be known as the one before it. If not, its leaf is fetched as well: to
     * wait for two lines at once takes half as long. */
    bool found_place = order->adding;
    if (found_place) {
        key_order_find(order, key, &in_order);
    }
    memtable_entry *e = entry_create(m, record);
    if (e == NULL) {
        return false;
    }
    if (!hash_index_reserve(&m->index, key, hash[0], &place, &newest)) {
        memory_give_back(&m->memory, e, ALIGN_UP(sizeof *e + e->size, ENTRY_ALIGN));
        return false;
    }
    versions_link(e, newest);
    order->adding = newest == NULL;
    if (newest == NULL && !found_place) {
        key_order_find(order, key, &in_order);
    }
    /* Readers find the entry from here on. */
    if (newest == NULL && !key_order_insert(order, &in_order, e)) {
        memory_give_back(&m->memory, e, ALIGN_UP(sizeof *e + e->size, ENTRY_ALIGN));
        return false;
    }
    hash_index_put(&m->index, &place, hash[0], e, newest == NULL);
    if (newest != NULL) {
        STORE_RELEASE(&newest->newer, e);
    }
    figures_update(m, record->seq);
    return true;
}

bool memtable_get(const memtable *m, slice key, const uint64_t hash[2], uint64_t at,
                  record_view *out) {
    ASSERT(key.size > 0);
    const memtable_entry *e = versions_at(hash_index_find(&m->index, key, hash[0]), at);
    if (e == NULL) {
        return false;
    }
    entry_view(e, out);
    return true;
}

void memtable_prefetch(const memtable *m, const uint64_t hash[2]) {
    hash_index_prefetch(&m->index, hash[0]);
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
