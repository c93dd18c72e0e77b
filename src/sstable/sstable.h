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

/* What a table's footer says of it, and the manifest repeats. All records are of one table of the
 * catalogue. */
typedef struct sstable_info {
    uint64_t number;
    uint64_t size_bytes;
    uint16_t table; /* the catalogue's id */
    uint16_t codec; /* sstable_codec */
    uint64_t entries;
    uint64_t keys;          /* different ones */
    uint64_t payload_bytes; /* of the records, before packing */
    uint64_t content_xxh3;  /* XXH3-64 of everything before the footer */
    uint64_t min_seq, max_seq;
    int64_t min_ts, max_ts;               /* of the records' event times */
    int64_t min_append_ts, max_append_ts; /* of the records' append times */
    /* The first entry is (min_key, first_seq), the last (max_key, last_seq). */
    uint64_t first_seq, last_seq;
    uint32_t min_key_size, max_key_size;
    uint8_t min_key[RECORD_KEY_BYTES_MAX], max_key[RECORD_KEY_BYTES_MAX];
} sstable_info;

typedef enum sstable_codec {
    SSTABLE_PLAIN = 0, /* blocks are read in place */
    SSTABLE_LZ4 = 1,
    SSTABLE_ZSTD = 2,
} sstable_codec;

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
                                uint16_t table, sstable_codec codec,
                                tape_error *error) TAPE_CHECKED;
/* In the order of T1, records of the writer's table. */
tape_status sstable_writer_add(sstable_writer *w, const record_view *record,
                               tape_error *error) TAPE_CHECKED;
/* About how long the file would be if it were finished now. */
uint64_t sstable_writer_bytes(const sstable_writer *w);
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

typedef enum sstable_outcome {
    SSTABLE_FOUND,
    SSTABLE_OUT_OF_RANGE,   /* not in the table's range of keys or seqs */
    SSTABLE_FILTERED,       /* the filter says that the key is not there */
    SSTABLE_NOT_YET,        /* the key is there, but no version with seq <= at */
    SSTABLE_FALSE_POSITIVE, /* the filter let it pass, yet the key is not there */
    SSTABLE_ABSENT,         /* the file has no filter, and the key is not there */
} sstable_outcome;

/* Room for one unpacked block; belongs to one thread. Zero-initialised; grows as needed. */
typedef buffer sstable_scratch;

/* The newest version of the key with seq <= at; `hash` is record_key_hash, not looked at in tables
 * whose key is the seq: their files have no filter. `out->payload` points into the file, valid
 * until the table is closed, or into `scratch`, until that is used again. OK with an outcome;
 * CORRUPT. */
tape_status sstable_get(sstable *t, slice key, const uint64_t hash[2], uint64_t at,
                        sstable_scratch *scratch, record_view *out, sstable_outcome *outcome,
                        tape_error *error) TAPE_CHECKED;
/* Brings the key's line of the filter into the cache; for many gets one after the other. Where
 * there is no filter it does no harm. */
void sstable_prefetch(const sstable *t, const uint64_t hash[2]);

/* The entries of one block; private. */
typedef struct sstable_block_view {
    const uint8_t *entries; /* unpacked */
    uint64_t offset;        /* of the block */
    uint32_t count;
    uint32_t stride;        /* from entry to entry */
    uint32_t payload_bytes; /* of each entry */
    uint16_t version;
} sstable_block_view;

/* A place among the entries; one thread's. `record` is the entry there while `valid`; its payload
 * is good until the cursor leaves the block and at most until the table is closed. */
typedef struct sstable_cursor {
    bool valid;
    record_view record;
    sstable *table; /* what follows is private */
    uint64_t block;
    sstable_block_view view; /* entries NULL: no block is loaded */
    uint32_t entry;
    uint32_t steps;   /* blocks passed one after the other since the last seek */
    uint64_t fetched; /* where the bytes that were asked for ahead end, in the cursor's direction */
    sstable_scratch scratch;
} sstable_cursor;
void sstable_cursor_init(sstable_cursor *c, sstable *t);
void sstable_cursor_deinit(sstable_cursor *c);
/* To the first entry at or after (key, seq) in the order of T1; `key` may be a bound (record.h).
 * Seq UINT64_MAX stands before every version of the key, 0 behind them. CORRUPT: the place is not
 * valid, and the cursor can be sought elsewhere. */
tape_status sstable_cursor_seek(sstable_cursor *c, slice key, uint64_t seq,
                                tape_error *error) TAPE_CHECKED;
/* To the last entry before (key, seq). */
tape_status sstable_cursor_seek_before(sstable_cursor *c, slice key, uint64_t seq,
                                       tape_error *error) TAPE_CHECKED;
/* From a valid place; directions may change. */
tape_status sstable_cursor_next(sstable_cursor *c, tape_error *error) TAPE_CHECKED;
tape_status sstable_cursor_prev(sstable_cursor *c, tape_error *error) TAPE_CHECKED;

/* Keys that cut the table into about `parts` pieces of like size, for sharing work: writes up to
 * parts - 1 of them, rising, and returns how many. Each is the first key of a piece. */
size_t sstable_split_keys(sstable *t, size_t parts, uint8_t keys[][RECORD_KEY_BYTES_MAX],
                          size_t *sizes);

/* Reads every byte again and checks checksums, order, index, filter and the footer's figures. Calls
 * `damage` per finding and goes on; returns their number. *records counts those that are sound. */
uint64_t sstable_verify(sstable *t, void (*damage)(void *context, const tape_error *finding),
                        void *context, uint64_t *records);

/* Reads the file from the device, past the page cache where the system allows, and compares it with
 * info->content_xxh3 and the footer. `beat` is called about every MiB with the bytes read since the
 * last call; false ends the scrub with CANCELLED. CORRUPT: sstable_verify tells where. */
tape_status sstable_scrub(const sstable_place *place, const sstable_info *info,
                          bool (*beat)(void *context, uint64_t bytes), void *context,
                          tape_error *error) TAPE_CHECKED;

#endif
