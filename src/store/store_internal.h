/* What the sources of store/ share. See README.md for the whole. */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "memtable/memtable.h"
#include "sstable/sstable.h"
#include "store/manifest.h"
#include "store/store.h"

#include <pthread.h>

/* Full memtables that may wait for a flush, besides the active one. */
#define STORE_WAITING_MAX 2

/* The table files of a version, oldest first. Shared by versions, never changed. */
typedef struct table_set {
    uint64_t references; /* versions that name it; under the store's lock */
    size_t count;
    sstable *tables[];
} table_set;

/* What a reader reads: the active memtable, the waiting ones (oldest first) and the table files.
 * Does not change while it is current or pinned. See version.c. */
typedef struct store_version {
    _Atomic uint64_t pins;
    memtable *active;
    memtable *waiting[STORE_WAITING_MAX];
    size_t waiting_count;
    table_set *set;
    struct store_version *next; /* in store.retired or store.spare */
} store_version;

struct store {
    os_disk *disk;
    char *dir;
    uint8_t store_id[16];
    sstable_place place;
    uint64_t memtable_bytes;
    bool read_only;

    _Atomic uint64_t applied_seq;
    _Atomic uint64_t flushed_seq;
    _Atomic(store_version *) current;

    pthread_mutex_t lock;   /* whoever changes `current` or inserts into the active memtable */
    store_version *retired; /* not current any more, perhaps pinned */
    store_version *spare;   /* neither: reused for the next version */

    pthread_mutex_t flush_lock; /* one flush at a time; guards what follows */
    manifest manifest;
    uint64_t next_number;
    bool orphans_removed;
    bool failed; /* a sync failed: no more writes until the store is opened again */

    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t gets;
    _Atomic uint64_t bloom_negatives;
    _Atomic uint64_t bloom_false_positives;
};

/* --- version.c --- */
/* The current version; it stays as it is until it is unpinned. Any thread, no lock. */
store_version *version_pin(store *s);
void version_unpin(store_version *v);
/* The current version, for whoever holds `lock`. */
store_version *version_current(store *s);
/* Makes a version current that is made of these. Takes over one reference to `set`. Holding `lock`.
 */
void version_publish(store *s, memtable *active, memtable *const *waiting, size_t waiting_count,
                     table_set *set);
/* Frees what only versions named that nobody can read any more. Holding `lock`. */
void version_sweep(store *s);
/* Frees every version; nobody may be reading. Closes the tables. */
void version_free_all(store *s);
table_set *table_set_create(sstable *const *tables, size_t count);

/* --- flush.c --- */
/* Starts a new active memtable; there is room for one more waiting. Holding `lock`. */
void store_switch_memtable(store *s);

/* --- directory.c --- */
typedef struct store_listing {
    uint64_t tables;          /* files named as a table */
    uint64_t greatest_number; /* in a table's name, finished or temporary */
} store_listing;
tape_status directory_list(os_disk *disk, const char *dir, store_listing *out,
                           tape_error *error) TAPE_CHECKED;
/* Removes tables that `m` does not list, and temporary files. */
tape_status directory_remove_orphans(const manifest *m, tape_error *error) TAPE_CHECKED;
/* Makes the directory when it is absent, and its entry in the parent durable. */
tape_status directory_make(os_disk *disk, const char *dir, tape_error *error) TAPE_CHECKED;

#endif
