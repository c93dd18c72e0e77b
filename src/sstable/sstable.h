/* sstable: immutable files of records in key order. Written once, renamed into place, read by mmap,
 * removed as a whole. docs/format/sstable.md is the document to implement from; README.md the why.
 *
 * Invariants
 *  T1 Entries stand in the order (encoded key, seq descending) and no (key, seq) comes twice.
 *  T2 Every byte of a file is covered by a checksum that also covers the store, the file's number
 *     and the byte's place, so that bytes which are whole but belong elsewhere are noticed.
 *  T3 A file has its final name only when all of it is durable; it never changes afterwards.
 *  T4 What is used of a file has been checked since the file was opened; a damaged part is refused
 *     with file, offset and key range, and what does not need it is still read.
 *
 * Threads: a writer belongs to one thread. An open table may be read by any number of threads.
 * Failure: CORRUPT for damage, NEWER for a later format; a writer that fails leaves no file behind.
 */
#ifndef SSTABLE_H
#define SSTABLE_H

#include "os/os.h"
#include "record/record.h"

/* What a table's footer says of it, and the manifest repeats. */
typedef struct sstable_info {
    uint64_t number;
    uint64_t size_bytes;
    uint64_t entries;
    uint64_t keys;         /* different ones */
    uint64_t content_xxh3; /* XXH3-64 of everything before the footer */
    uint64_t min_seq, max_seq;
    int64_t min_ts, max_ts; /* of the records' event times */
    uint32_t min_key_size, max_key_size;
    uint8_t min_key[RECORD_KEY_BYTES_MAX], max_key[RECORD_KEY_BYTES_MAX];
} sstable_info;

/* Where tables live and whose they are. The strings and bytes stay the caller's. */
typedef struct sstable_place {
    os_disk *disk;
    const char *dir;
    const uint8_t *store_id; /* 16 bytes */
} sstable_place;

#define SSTABLE_SUFFIX ".sst"
#define SSTABLE_TEMPORARY_SUFFIX ".sst.tmp"
/* "DIR/00000012.sst"; the caller frees. */
char *sstable_path(const char *dir, uint64_t number);

/* --- writing --- */
typedef struct sstable_writer sstable_writer;

tape_status sstable_writer_open(sstable_writer **out, const sstable_place *place, uint64_t number,
                                tape_error *error) TAPE_CHECKED;
/* In the order of T1; `key` is record_key of the payload. */
tape_status sstable_writer_add(sstable_writer *w, slice key, const record_view *record,
                               tape_error *error) TAPE_CHECKED;
/* Makes the file durable under its final name (T3). At least one record was added. Closes the
 * writer in any case. FAILED when a sync failed: what is on the disk is then unknown. */
tape_status sstable_writer_finish(sstable_writer **w, sstable_info *out,
                                  tape_error *error) TAPE_CHECKED;
/* Gives up and removes what was written. NULL-safe. */
void sstable_writer_abandon(sstable_writer **w);

/* --- reading --- */
typedef struct sstable sstable;

/* Maps the file and checks its footer against `expected` (NULL: takes any table of that number).
 * CORRUPT when the file is missing, has another size, or is not the one expected. `advice` as for
 * os_file_map: OS_MAP_RANDOM for sstable_get, OS_MAP_SEQUENTIAL for reading it all. */
tape_status sstable_open(sstable **out, const sstable_place *place, uint64_t number,
                         const sstable_info *expected, int advice, tape_error *error) TAPE_CHECKED;
void sstable_close(sstable **t);
const sstable_info *sstable_facts(const sstable *t);

/* A key with its hash, which is the same for all tables. */
typedef struct sstable_key {
    slice encoded;
    uint64_t hash[2];
} sstable_key;
sstable_key sstable_key_of(slice encoded);

typedef enum sstable_outcome {
    SSTABLE_FOUND,
    SSTABLE_OUT_OF_RANGE,   /* not in the table's range of keys or seqs */
    SSTABLE_FILTERED,       /* the filter says that the key is not there */
    SSTABLE_NOT_YET,        /* the key is there, but no version with seq <= at */
    SSTABLE_FALSE_POSITIVE, /* the filter let it pass, yet the key is not there */
} sstable_outcome;

/* The newest version of the key with seq <= at. `out->payload` points into the file and is valid
 * until the table is closed. OK with an outcome; CORRUPT. */
tape_status sstable_get(sstable *t, const sstable_key *key, uint64_t at, record_view *out,
                        sstable_outcome *outcome, tape_error *error) TAPE_CHECKED;

/* Everything in order. */
typedef struct sstable_iterator {
    sstable *table;
    uint64_t block; /* private */
    uint32_t entry; /* private */
} sstable_iterator;
void sstable_iterate(sstable *t, sstable_iterator *it);
/* *found false: the end. */
tape_status sstable_next(sstable_iterator *it, record_view *out, bool *found,
                         tape_error *error) TAPE_CHECKED;

/* Reads every byte again and checks checksums, order, index, filter and the footer's figures. Calls
 * `damage` per finding and goes on; returns their number. *records counts those that are sound. */
uint64_t sstable_verify(sstable *t, void (*damage)(void *context, const tape_error *finding),
                        void *context, uint64_t *records);

#endif
