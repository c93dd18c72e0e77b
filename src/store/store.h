/* store: point reads, scans and versions. A cursor over the journal that keeps every record by key:
 * memtables, then immutable table files in seven levels, listed in a manifest. One caller at a time
 * applies; flush, compaction and scrub may run beside it; readers take no lock.
 *
 * Order is (encoded key, seq descending). A read sees a moment: records with seq <= at, without
 * what has expired by then.
 *
 * Opening changes nothing on disk but to make an empty store where none is, and opens no table
 * file: each is opened when first needed. If the manifest's last edit is not whole,
 * store_flushed_seq is that of the edit before: the caller must hold the journal from there on, and
 * refuse to go on otherwise. Leftovers are removed by the first flush.
 *
 * Failure: CORRUPT and NEWER name the file. A flush or compaction that meets a full disk or a
 * failed write changes nothing and may be tried again; after FAILED (a sync failed) every one fails
 * until the store is opened again. Damage met by a read is returned to that call and counted; other
 * keys go on being read. */
#ifndef STORE_H
#define STORE_H

#include "os/os.h"
#include "record/record.h"

typedef struct store store;

#define STORE_LEVELS 7

typedef struct store_options {
    os_disk *disk;
    const char *dir;          /* DIR/store; created when absent */
    const uint8_t *store_id;  /* 16 bytes */
    uint64_t memtable_bytes;  /* switch to a new memtable at this size; 0: 128 MiB */
    uint64_t table_bytes;     /* size of a table file below level 0; 0: 64 MiB */
    double upper_share;       /* files above a table's last level are merged into it when they take
                                 this share of it; 0: 0.3 */
    uint32_t pack_level;      /* levels from here on are packed with pack_codec; 0: none */
    uint16_t pack_codec;      /* an sstable_codec */
    uint32_t compact_threads; /* that share a compaction on demand; 0: one */
    uint32_t mapped_max;      /* table files kept mapped; beyond, one is mapped for each use;
                                 0: 32768 */
    /* By table id. Event tables: how long records stay after their append. Entity tables: how long
     * versions stay after the append of a newer one. 0: forever. */
    int64_t keep_ns[TAPE_TABLE_COUNT + 1];
    bool read_only; /* never write (for verify of somebody else's files) */
} store_options;

tape_status store_open(store **out, const store_options *options, tape_error *error) TAPE_CHECKED;
void store_close(store **s);

/* Everything up to this seq is in table files listed by the durable manifest: replay starts after
 * it. */
uint64_t store_flushed_seq(const store *s);
/* Everything up to this seq is visible to reads. */
uint64_t store_applied_seq(const store *s);

/* Adds records, consecutive in seq after store_applied_seq; they become visible together. One
 * caller at a time. When the active memtable is full it is switched; BUSY, with nothing added, when
 * two full ones already wait to be flushed. */
tape_status store_apply(store *s, const record_view *records, size_t count,
                        tape_error *error) TAPE_CHECKED;

/* --- to disk --- */

/* Flush: writes waiting memtables whose records are all at or below `committed_seq` as table files
 * and journals them in the manifest; `all` also writes the active memtable, so that everything
 * applied and committed reaches disk (a memtable that has more stays until the rest can follow).
 * Flushes wait for each other; may run beside everything else. */
tape_status store_flush(store *s, uint64_t committed_seq, bool all, tape_error *error) TAPE_CHECKED;
/* Whether a full memtable waits. */
bool store_wants_flush(const store *s);

/* How whoever lends a thread to compaction or scrub keeps it in bounds: called after every piece of
 * work with the bytes read and written since the last call; may sleep. `done` and `total` are the
 * bytes of input of the whole request. False stops the work at the next step: CANCELLED. */
typedef struct store_beat {
    bool (*beat)(void *context, uint64_t bytes, uint64_t done, uint64_t total);
    void *context;
} store_beat;

/* How much a compaction is wanted: below 1 not at all; the higher, the more level 0 has gathered or
 * a level outgrown its size. */
double store_compaction_score(store *s);
/* Does the most wanted compaction, if one is wanted. One at a time; others wait. */
tape_status store_compact(store *s, store_beat beat, bool *worked, tape_error *error) TAPE_CHECKED;
/* The same for idle times: also brings down what lies above the last level if it is more than a
 * tenth of it. */
tape_status store_settle(store *s, store_beat beat, bool *worked, tape_error *error) TAPE_CHECKED;
/* Brings every flushed record of `table` (0: of all) with keys in the bounds (NULL: all keys) into
 * the last level, dropping what need not be kept. */
tape_status store_compact_range(store *s, uint16_t table, const record_key_bounds *bounds,
                                store_beat beat, tape_error *error) TAPE_CHECKED;

/* Reads the next table file again from the device, checking all of it; *worked false when there is
 * none. Damage is counted, logged, and returned as CORRUPT. */
tape_status store_scrub(store *s, store_beat beat, bool *worked, tape_error *error) TAPE_CHECKED;

/* --- reads: any thread --- */

typedef struct store_moment {
    uint64_t at;    /* seq; what is beyond store_applied_seq is not seen */
    int64_t now_ns; /* clock_realtime_ns: what expires by then is not seen */
} store_moment;

/* A moment whose reads give the same answer however long it is kept: nothing that it shows is
 * dropped. TOO_OLD when versions that it would show were dropped before. */
typedef struct store_pin store_pin;
tape_status store_pin_open(store *s, uint64_t at, store_pin **out, tape_error *error) TAPE_CHECKED;
const store_moment *store_pin_moment(const store_pin *pin);
void store_pin_close(store_pin **pin); /* NULL-safe */

/* The newest version of the key at the moment. Copies the payload, brought to the current schema
 * version, to `out` (table->size_bytes). NOT_FOUND when absent; TOO_OLD for entity tables at a seq
 * before dropped versions. `version` may be NULL (the schema version it was written with). */
tape_status store_get(store *s, const store_moment *moment, const tape_table_info *table, slice key,
                      void *out, uint16_t *version, tape_error *error) TAPE_CHECKED;
/* The same for many keys of a table, all at one state of the store: found[i] tells of keys[i],
 * whose payload goes to out + i * table->size_bytes. */
tape_status store_get_many(store *s, const store_moment *moment, const tape_table_info *table,
                           const slice *keys, size_t count, void *out, bool *found,
                           tape_error *error) TAPE_CHECKED;

/* Rows in key order. */
typedef struct store_scan_options {
    const tape_table_info *table;
    record_key_bounds bounds;
    store_moment moment;
    bool backward; /* from the highest key down */
    bool versions; /* every version that keep_ns keeps, newest first (backward: oldest first), not
                      the newest alone */
} store_scan_options;
typedef struct store_scan store_scan;
tape_status store_scan_open(store *s, const store_scan_options *options, store_scan **out,
                            tape_error *error) TAPE_CHECKED;
/* The next record as it was written, its payload good until the next call; *found false: the end.
 * One thread at a time. After an error the scan is over. What a scan holds is let go every few
 * thousand rows, so a slow reader keeps neither memory nor files from being freed. */
tape_status store_scan_next(store_scan *scan, record_view *out, bool *found,
                            tape_error *error) TAPE_CHECKED;
void store_scan_close(store_scan **scan); /* NULL-safe */

/* Every record of the table files (not the memtables), in seq order, each once, for rebuilding
 * other state. `visit` returns false to stop. Takes 32 bytes of memory per record, and what packed
 * files hold besides. */
tape_status store_visit_flushed(store *s, bool (*visit)(void *context, const record_view *record),
                                void *context, tape_error *error) TAPE_CHECKED;
/* Whether a record of the journal need not be in the store any more: it expired, or a version that
 * it preceded was old enough for it to be dropped. */
bool store_may_lack(store *s, const record_view *record);

/* --- figures --- */

typedef struct store_stats {
    uint64_t applied_seq, flushed_seq;
    uint64_t memtable_bytes; /* active and waiting */
    uint64_t table_files, table_bytes, table_entries;
    uint64_t level_files[STORE_LEVELS], level_bytes[STORE_LEVELS];
    uint64_t mapped_files;
    uint64_t gets, bloom_negatives, bloom_false_positives;
    uint64_t pins;
    /* since opened */
    uint64_t flushed_payload_bytes; /* structs of records that were flushed */
    uint64_t flush_written_bytes;   /* table files made by flushes */
    uint64_t compact_read_bytes, compact_written_bytes;
    uint64_t compactions,
        compact_moves;        /* moves: files that changed level without being rewritten */
    uint64_t dropped_records; /* expired, or versions nobody needs */
    int64_t compact_ns;       /* time spent compacting */
    int64_t stall_ns;         /* time in which store_apply answered BUSY */
    double score;             /* store_compaction_score */
    /* Bytes of table files by bytes of those in the last level of each table: 1 when all is there.
     */
    double space_amplification;
    uint64_t scrubbed_bytes, scrubbed_files, scrub_findings;
    uint64_t damaged_reads;
} store_stats;
void store_stats_read(store *s, store_stats *out);

/* Reads every byte of manifest and table files and checks every checksum, order, the levels and the
 * manifest's own figures. Calls `damage` per finding and goes on; `files` and `records` count what
 * was read. */
tape_status store_verify(store *s, void (*damage)(void *context, const tape_error *finding),
                         void *context, uint64_t *files, uint64_t *records,
                         tape_error *error) TAPE_CHECKED;

#endif
