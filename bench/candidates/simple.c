/* The memtable itself, and the skip list that its tests believe, as candidates. */
#include "candidate.h"

#include "memtable/skiplist_oracle.h"

#include <stdlib.h>

static void *table_create(uint64_t bytes_expected) {
    return memtable_create(bytes_expected);
}

static void table_destroy(void *table) {
    memtable *m = table;
    memtable_destroy(&m);
}

static void table_insert(void *table, slice key, const uint64_t hash[2],
                         const record_view *record) {
    bool inserted = memtable_insert(table, key, hash, record);
    ASSERT(inserted);
}

static bool table_get(const void *table, slice key, const uint64_t hash[2], uint64_t at,
                      record_view *out) {
    return memtable_get(table, key, hash, at, out);
}

static void table_scan(const void *table, slice from, uint64_t limit, candidate_visit visit,
                       void *context) {
    memtable_cursor *c = memtable_cursor_open(table);
    for (memtable_cursor_seek(c, from, UINT64_MAX); c->valid && limit > 0; limit--) {
        visit(context, &c->record);
        memtable_cursor_next(c);
    }
    memtable_cursor_close(&c);
}

static uint64_t table_bytes(const void *table) {
    return memtable_bytes(table);
}

const candidate candidate_memtable = {"memtable", table_create, table_destroy, table_insert,
                                      table_get,  table_scan,   table_bytes};

static void *list_create(uint64_t bytes_expected) {
    (void)bytes_expected;
    return skiplist_create();
}

static void list_destroy(void *table) {
    skiplist *list = table;
    skiplist_destroy(&list);
}

static void list_insert(void *table, slice key, const uint64_t hash[2], const record_view *record) {
    (void)hash;
    skiplist_insert(table, key, record);
}

static bool list_get(const void *table, slice key, const uint64_t hash[2], uint64_t at,
                     record_view *out) {
    (void)hash;
    const skiplist_entry *e = skiplist_get(table, key, at);
    if (e != NULL) {
        skiplist_view(e, out);
    }
    return e != NULL;
}

static void list_scan(const void *table, slice from, uint64_t limit, candidate_visit visit,
                      void *context) {
    const skiplist_entry *e = skiplist_seek(table, from, UINT64_MAX);
    for (; e != NULL && limit > 0; limit--) {
        record_view view;
        skiplist_view(e, &view);
        visit(context, &view);
        e = skiplist_next(e);
    }
}

static uint64_t list_bytes(const void *table) {
    return skiplist_bytes(table);
}

const candidate candidate_skiplist = {"skip list", list_create, list_destroy, list_insert,
                                      list_get,    list_scan,   list_bytes};
