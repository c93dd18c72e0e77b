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
#define STORE_TABLES (TAPE_TABLE_COUNT + 1) /* by catalogue id; 0 is not used */

/* A table file that some version names. It is opened when first read and removed when the manifest
 * no longer lists it and no version names it. */
typedef struct table_file {
    sstable_info info;
    _Atomic(sstable *) opened; /* NULL: not yet, or beyond mapped_max */
    uint64_t references;       /* file sets and others that name it; under the store's lock */
    bool removed;              /* the manifest does not list it any more; under the lock */
    struct table_file *next;   /* in store.garbage */
} table_file;

/* One table's files. Level 0: rising, disjoint seqs, the newest last. Below: by key, disjoint in
 * (key, seq). */
typedef struct table_level {
    size_t count;
    table_file **files;
} table_level;
typedef struct table_tree {
    table_level levels[STORE_LEVELS];
    uint64_t history_seq; /* retention.c, R2 */
} table_tree;

/* All table files of a version. Shared by versions, never changed. */
typedef struct file_set {
    uint64_t references; /* versions that name it; under the store's lock */
    table_tree trees[STORE_TABLES];
} file_set;

/* What a reader reads: the active memtable, the waiting ones (oldest first) and the table files.
 * Does not change while it is current or pinned. See version.c. */
typedef struct store_version {
    _Atomic uint64_t pins;
    memtable *active;
    memtable *waiting[STORE_WAITING_MAX];
    size_t waiting_count;
    file_set *files;
    struct store_version *next; /* in store.retired or store.spare */
} store_version;

/* An open pin; a list under the lock. */
struct store_pin {
    store *store;
    store_moment moment;
    struct store_pin *next;
};

struct store {
    os_disk *disk;
    char *dir;
    uint8_t store_id[16];
    sstable_place place;
    store_options options; /* defaults filled in; its pointers are those above */

    _Atomic uint64_t applied_seq;
    _Atomic uint64_t flushed_seq;
    _Atomic(store_version *) current;

    pthread_mutex_t lock;   /* whoever changes `current` or inserts into the active memtable */
    store_version *retired; /* not current any more, perhaps pinned */
    store_version *spare;   /* neither: reused for the next version */
    table_file *garbage;    /* nobody names them: to be closed and removed from disk */
    store_pin *pins;
    uint64_t pin_count;
    uint64_t pending_history; /* of any table: retention.c, R3 */

    memtable_stock *stock; /* memory for the next memtable, from those that are done */

    pthread_mutex_t open_lock; /* opening of table files */
    _Atomic uint64_t mapped_files;

    pthread_mutex_t flush_lock;    /* one flush at a time */
    pthread_mutex_t compact_lock;  /* one compaction at a time; taken before the others */
    pthread_mutex_t manifest_lock; /* guards what follows; taken within the two above */
    manifest manifest;
    bool orphans_removed;
    uint64_t *leftovers; /* files that were finished and given up, still to be removed */
    size_t leftover_count;
    _Atomic bool failed; /* a sync failed: no more writes until the store is opened again */

    pthread_mutex_t scrub_lock;
    uint64_t scrub_number; /* the last file scrubbed */

    _Atomic bool table_damaged[STORE_TABLES]; /* a compaction met damage: no more of them */

    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t gets;
    _Atomic uint64_t bloom_negatives;
    _Atomic uint64_t bloom_false_positives;
    _Atomic uint64_t damaged_reads;
    _Alignas(CACHE_LINE_BYTES) struct {
        _Atomic uint64_t flushed_payload_bytes, flush_written_bytes;
        _Atomic uint64_t compact_read_bytes, compact_written_bytes, compactions, compact_moves;
        _Atomic uint64_t dropped_records;
        _Atomic int64_t compact_ns, stall_ns, stalled_since_ns;
        _Atomic uint64_t scrubbed_bytes, scrubbed_files, scrub_findings;
    } counters;
};

/* --- version.c --- */
/* The current version; it stays as it is until it is unpinned. Any thread, no lock. */
store_version *version_pin(store *s);
/* The same to read a table at `wanted`: *at is the seq up to which it shows. TOO_OLD. */
tape_status version_pin_at(store *s, uint64_t wanted, const tape_table_info *table,
                           store_version **out, uint64_t *at, tape_error *error) TAPE_CHECKED;
void version_unpin(store_version *v);
/* The current version, for whoever holds `lock`. */
store_version *version_current(store *s);
/* Makes a version current that is made of these. Takes over one reference to `files`. Holding
 * `lock`. */
void version_publish(store *s, memtable *active, memtable *const *waiting, size_t waiting_count,
                     file_set *files);
/* Frees what only versions named that nobody can read any more. Holding `lock`. */
void version_sweep(store *s);
/* Frees every version; nobody may be reading. Closes the tables. */
void version_free_all(store *s);

/* --- files.c --- */
/* A file set of what the manifest lists. */
file_set *file_set_load(const manifest *m);
/* `old` with the changes of an edit; files that both have are shared. Holding `lock`. */
file_set *file_set_apply(const file_set *old, const manifest_change *change);
/* Gives a reference back; files named no more that were removed go to store.garbage. Holding
 * `lock`.
 */
void file_set_release(store *s, file_set *set);
/* Closes garbage and removes its files from disk. Not holding `lock`. */
void files_collect(store *s);
/* The current file set, kept until it is given back, without what else a version keeps. NULL-safe;
 * sets *files to NULL. */
file_set *files_hold(store *s);
void files_release(store *s, file_set **files);
/* The same for one file, of a set that is held. */
void file_hold(store *s, table_file *f);
void file_release(store *s, table_file *f);
/* The table, open. Beyond mapped_max it is one that table_done closes. */
tape_status table_acquire(store *s, table_file *f, sstable **out, tape_error *error) TAPE_CHECKED;
void table_done(table_file *f, sstable **t);
/* The first file of a level below 0 that does not end before (key, seq): `count` when none. */
size_t level_seek(const table_level *level, slice key, uint64_t seq);
/* Bytes of a level. */
uint64_t level_bytes(const table_level *level);

/* --- merge.c: records of several sources in one order --- */
/* A source: a memtable, one table file, or the files of a level below 0 one after the other. */
typedef struct merge merge;
/* An empty merge over records of one table. */
merge *merge_create(store *s, const tape_table_info *table);
void merge_destroy(merge **m);
/* All are added before the first seek. Of several sources that hold the same (key, seq) the one
 * added first gives the record; the others' are passed over. Memtables and `files`, the array too,
 * stay the caller's and must last until the merge has given the last record or is destroyed; a file
 * may go when the merge has passed it, if there is no seek afterwards. */
void merge_add_memtable(merge *m, const memtable *table);
void merge_add_files(merge *m, table_file *const *files, size_t count); /* disjoint, by key */
/* To the first record at or after (key, seq); with `backward`, to the last before (key, seq), and
 * merge_next then goes down. *found false: there is none. */
tape_status merge_seek(merge *m, slice key, uint64_t seq, bool backward, record_view *out,
                       bool *found, tape_error *error) TAPE_CHECKED;
/* `out` is good until the next call. */
tape_status merge_next(merge *m, record_view *out, bool *found, tape_error *error) TAPE_CHECKED;

/* --- retention.c --- */
/* What may be dropped just now: see there. */
typedef struct store_horizon {
    uint64_t seq;                    /* of the oldest pin, or UINT64_MAX */
    int64_t cutoff_ns[STORE_TABLES]; /* append times up to here have expired; INT64_MIN: none */
} store_horizon;
store_horizon store_horizon_now(store *s, int64_t now_ns);
/* Which records of one table may be left out of what is written. They come in key order, newest
 * first. */
typedef struct drop_filter {
    const tape_table_info *table;
    int64_t cutoff_ns;
    uint64_t horizon_seq;
    uint64_t history_seq; /* R2: for the edit that makes it so; 0: nothing that a read could miss */
    uint64_t dropped;
    uint64_t newer_seq; /* of the record before */
    int64_t newer_append_ts;
    size_t key_size;
    uint8_t key[RECORD_KEY_BYTES_MAX];
} drop_filter;
void drop_init(drop_filter *d, const tape_table_info *table, const store_horizon *horizon);
bool drop_record(drop_filter *d, const record_view *record);
/* R3: announces that versions of entities are about to go. False when a pin shows them. */
bool store_history_begin(store *s, uint64_t seq);
/* Whether an event record is gone at the moment. */
bool store_expired(const store *s, const tape_table_info *table, int64_t append_ts, int64_t now_ns);
/* Whether a version of an entity is so old that the one before it may be dropped. */
bool store_outdates(const store *s, const tape_table_info *table, int64_t append_ts,
                    int64_t now_ns);

/* --- flush.c --- */
/* An empty memtable of the store's. */
memtable *store_create_memtable(store *s);
/* Starts a new active memtable; there is room for one more waiting. Holding `lock`. */
void store_switch_memtable(store *s);
/* Before any write: refuses after a failed sync, makes the manifest's end certain, removes
 * leftovers once. */
tape_status store_prepare(store *s, tape_error *error) TAPE_CHECKED;
/* Journals a change of the file set and, once that is durable, publishes it. A failed sync is
 * remembered. `gone`: the waiting memtable that the change replaces, or NULL. */
tape_status store_commit(store *s, const manifest_change *change, const memtable *gone,
                         tape_error *error) TAPE_CHECKED;
/* The number of the next table file. */
uint64_t store_take_number(store *s);
/* Removes finished files that no edit names, as soon as that is certain. */
void store_discard(store *s, const manifest_entry *entries, size_t count);

/* --- directory.c --- */
typedef struct store_listing {
    uint64_t tables;          /* files named as a table */
    uint64_t greatest_number; /* in a table's name, finished or temporary */
} store_listing;
tape_status directory_list(os_disk *disk, const char *dir, store_listing *out,
                           tape_error *error) TAPE_CHECKED;
/* Whether every file that `m` lists is there with its size. CORRUPT names one that is not. */
tape_status directory_check(const manifest *m, tape_error *error) TAPE_CHECKED;
/* Removes tables that `m` does not list, and temporary files; nobody may be making one. Raises
 * m->next_number beyond every number that a name has: those are taken even when removing fails. */
tape_status directory_remove_orphans(manifest *m, tape_error *error) TAPE_CHECKED;
/* Makes the directory when it is absent, and its entry in the parent durable. */
tape_status directory_make(os_disk *disk, const char *dir, tape_error *error) TAPE_CHECKED;

#endif
