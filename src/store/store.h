/* store: point reads. A cursor over the journal that keeps every record by key: memtable, then
 * immutable SSTables listed in a manifest. One caller at a time applies; a flush may run beside it;
 * readers take no lock.
 *
 * Key order is (encoded key, seq descending); a snapshot is a seq.
 *
 * Opening changes nothing on disk but to make an empty store where none is. If the manifest's last
 * edit is not whole, store_flushed_seq is that of the edit before: the caller must hold the journal
 * from there on, and refuse to go on otherwise. Leftovers are removed by the first flush.
 *
 * Failure: CORRUPT and NEWER name the file. A flush that meets a full disk or a failed write
 * changes nothing and may be tried again; after FAILED (a sync failed) every flush fails until the
 * store is opened again. Damage met by store_get is returned to that call; other keys go on being
 * read. */
#ifndef STORE_H
#define STORE_H

#include "os/os.h"
#include "record/record.h"

typedef struct store store;

typedef struct store_options {
    os_disk *disk;
    const char *dir;         /* DIR/store; created when absent */
    const uint8_t *store_id; /* 16 bytes */
    uint64_t memtable_bytes; /* switch to a new memtable at this size; 0: 128 MiB */
    bool read_only;          /* never write (for verify of somebody else's files) */
} store_options;

tape_status store_open(store **out, const store_options *options, tape_error *error) TAPE_CHECKED;
void store_close(store **s);

/* Everything up to this seq is in SSTables listed by the durable manifest: replay starts after it.
 */
uint64_t store_flushed_seq(const store *s);
/* Everything up to this seq is visible to store_get. */
uint64_t store_applied_seq(const store *s);

/* Adds records, consecutive in seq after store_applied_seq; they become visible together. One
 * caller at a time. When the active memtable is full it is switched; BUSY, with nothing added, when
 * two full ones already wait to be flushed. */
tape_status store_apply(store *s, const record_view *records, size_t count,
                        tape_error *error) TAPE_CHECKED;

/* Flush: writes waiting memtables whose records are all at or below `committed_seq` as SSTables and
 * journals them in the manifest; `all` also writes the active memtable, so that everything applied
 * and committed reaches disk (a memtable that has more stays until the rest can follow). Flushes
 * wait for each other; may run beside store_apply and readers. */
tape_status store_flush(store *s, uint64_t committed_seq, bool all, tape_error *error) TAPE_CHECKED;
/* Whether a full memtable waits. */
bool store_wants_flush(const store *s);

/* The newest version of the key with seq <= at, as far as applied. Copies the payload, brought to
 * the current schema version, to `out` (table->size_bytes). NOT_FOUND when absent; `version` may be
 * NULL (the schema version it was written with). Any thread. */
tape_status store_get(store *s, const tape_table_info *table, const uint8_t *key, size_t key_size,
                      uint64_t at, void *out, uint16_t *version, tape_error *error) TAPE_CHECKED;

/* Every version of every key of the SSTables (not the memtables), in file and key order, for
 * rebuilding other state. `visit` returns false to stop. */
tape_status store_visit_flushed(store *s, bool (*visit)(void *context, const record_view *record),
                                void *context, tape_error *error) TAPE_CHECKED;

typedef struct store_stats {
    uint64_t applied_seq, flushed_seq;
    uint64_t memtable_bytes; /* active and waiting */
    uint64_t table_files, table_bytes, table_entries;
    uint64_t gets, bloom_negatives, bloom_false_positives;
} store_stats;
void store_stats_read(store *s, store_stats *out);

/* Reads every byte of manifest and SSTables and checks every checksum, order and the manifest's own
 * figures. Calls `damage` per finding and goes on; `files` and `records` count what was read. */
tape_status store_verify(store *s, void (*damage)(void *context, const tape_error *finding),
                         void *context, uint64_t *files, uint64_t *records,
                         tape_error *error) TAPE_CHECKED;

#endif
