/* For the tests of merges and scans: a store whose records were put at random places by hand, and
 * the same records sorted. */
#ifndef LAYOUT_TESTING_H
#define LAYOUT_TESTING_H

#include "base/base_testing.h"
#include "os/os_sim.h"
#include "store/store_internal.h"

typedef struct layout_record {
    record_view view; /* its payload is `payload` */
    size_t key_size;
    uint8_t key[RECORD_KEY_BYTES_MAX];
    uint32_t places; /* a bit for each place where it lies */
    _Alignas(8) uint8_t payload[TAPE_RECORD_BYTES_MAX];
} layout_record;

typedef struct layout {
    os_sim *sim;
    store *store;
    uint64_t random;
    layout_record *records; /* number `seq` is records[seq - 1]; append times are 10 * seq */
    size_t count;
    layout_record **sorted; /* by key, the newest first */
    uint64_t next_number;
    uint64_t history_seq[STORE_TABLES]; /* of versions that are published from now on */
} layout;

/* `count` records of one table (0: of all), with about `keys` keys for each table whose keys are
 * texts; nothing lies anywhere yet. `options` may be NULL; its disk and names are the layout's own.
 */
layout *layout_create(uint64_t seed, uint16_t table, size_t count, size_t keys,
                      const store_options *options);
void layout_destroy(layout **l);

/* Lays the records up to `last` out anew: a part in memtables, the rest in files of every level, as
 * flushes and compactions may leave them, some at two levels. Makes that the present version. */
void layout_spread(layout *l, uint64_t last);
/* Writes records as one table file; asserts that it works. */
sstable_info layout_write(layout *l, layout_record *const *records, size_t count,
                          sstable_codec codec);
/* Makes a version of these the present one, and takes them over. Records up to `applied` can be
 * seen. */
void layout_publish(layout *l, memtable *active, memtable *const *waiting, size_t waiting_count,
                    const manifest_entry *entries, size_t entry_count, uint64_t applied);

static inline slice layout_key(const layout_record *r) {
    return (slice){r->key, r->key_size};
}
/* Whether (key, seq) stands before the record. */
static inline bool layout_before(slice key, uint64_t seq, const layout_record *r) {
    int order = slice_compare(key, layout_key(r));
    return order < 0 || (order == 0 && seq > r->view.seq);
}
/* A key, a beginning of one, or something near. */
size_t layout_random_bound(layout *l, const tape_table_info *table,
                           uint8_t out[RECORD_KEY_BYTES_MAX]);
bool layout_equal(const record_view *got, const record_view *want);

#endif
