/* manifest: which table files are the store's, and up to which seq they hold everything. Private to
 * store/. docs/format/manifest.md is the document to implement from.
 *
 * Format: the journal's frames (format.h), type FRAME_MANIFEST, version 1, flags and append_ts 0,
 * each at its byte offset in the file as position, with the store's salt. The first frame's payload
 * is a manifest_head; every other's is a manifest_edit followed by its items.
 *
 * Invariants
 *  N1 An edit is written only when everything it names is durable, and it counts only when it is
 *     durable itself; the next is written only then. So at most the last edit is in doubt.
 *  N2 Everything before head.base_bytes was durable before the file got its name.
 *  N3 Edits are numbered without gaps; a table's records follow those of the table before without
 *     gaps in seq, and flushed_seq is the last of them.
 *  N4 Nothing in the file is ever overwritten. When the end of it is in doubt (a torn edit found, a
 *     write that failed), the next edit goes to a whole new file that replaces it by rename.
 *
 * What an invalid frame means, decided by manifest_read:
 *   where                                   what follows            verdict
 *   before base_bytes                       anything                rot (N2): CORRUPT
 *   at or after base_bytes                  a valid frame anywhere  rot (N1): CORRUPT
 *   at or after base_bytes                  no valid frame          the edit in doubt (N1): cut
 *
 * Rot in the very last edit looks like the edit in doubt. The state then falls back to the edit
 * before: flushed_seq falls, and whoever opens the store must hold the journal from there on, or
 * refuse. Nothing on disk is removed or changed by loading, so that a refusal loses nothing.
 *
 * Threads: one at a time. Failure: after FAILED (a sync failed) it must be closed and loaded again.
 */
#ifndef MANIFEST_H
#define MANIFEST_H

#include "sstable/sstable.h"

#define MANIFEST_NAME "MANIFEST"
#define MANIFEST_TEMPORARY_NAME "MANIFEST.tmp"
#define MANIFEST_MAGIC UINT64_C(0x31464e4d45504154) /* "TAPEMNF1" */
#define MANIFEST_FORMAT_VERSION 1u

typedef struct manifest_head {
    uint64_t magic;
    uint32_t format_version;
    uint32_t reserved; /* 0 */
    uint8_t store_id[16];
    uint64_t base_bytes; /* length of the file when it was put in place */
    uint64_t first_edit; /* number of the first edit in the file */
} manifest_head;
_Static_assert(sizeof(manifest_head) == 48, "manifest head");

typedef struct manifest_edit {
    uint64_t number;
    uint64_t flushed_seq; /* after this edit */
    uint32_t item_count;
    uint32_t reserved; /* 0 */
} manifest_edit;
_Static_assert(sizeof(manifest_edit) == 24, "manifest edit");

enum manifest_item_kind { MANIFEST_ADD_TABLE = 1 };
typedef struct manifest_item {
    uint32_t kind;
    uint32_t size_bytes; /* of the item with this header; a multiple of 8 */
} manifest_item;
_Static_assert(sizeof(manifest_item) == 8, "manifest item");

/* Follows the item's header. Bytes of a key beyond its size are 0. */
typedef struct manifest_table {
    uint64_t number;
    uint64_t size_bytes;
    uint64_t entries;
    uint64_t keys;
    uint64_t content_xxh3;
    uint64_t min_seq;
    uint64_t max_seq;
    int64_t min_ts;
    int64_t max_ts;
    uint32_t min_key_size;
    uint32_t max_key_size;
    uint8_t min_key[RECORD_KEY_BYTES_MAX];
    uint8_t max_key[RECORD_KEY_BYTES_MAX];
} manifest_table;
_Static_assert(sizeof(manifest_table) == 208, "manifest table");

typedef struct manifest {
    sstable_place place;
    char *path;
    uint64_t salt;
    os_file *file; /* open for appending; NULL until the first edit */
    uint64_t end;  /* of the last edit that counts */
    uint64_t base_bytes;
    uint64_t next_edit;
    uint64_t flushed_seq;
    uint64_t cut_bytes;   /* found after `end` when it was loaded */
    bool present;         /* there is a file */
    bool doubtful;        /* N4: `end` is not where the file ends */
    sstable_info *tables; /* oldest first */
    size_t table_count;
    size_t table_capacity;
} manifest;

/* Reads the file; a missing one is an empty store. Writes nothing. CORRUPT, NEWER. `place` is kept.
 */
tape_status manifest_load(manifest *m, const sstable_place *place, tape_error *error) TAPE_CHECKED;
void manifest_deinit(manifest *m);
/* The same with the bytes of the file at hand, of which none are changed or kept. */
tape_status manifest_read(manifest *m, const sstable_place *place, const uint8_t *data, size_t size,
                          tape_error *error) TAPE_CHECKED;

/* Makes the end of the file certain (N4): writes a new file when there is none or its end is in
 * doubt. */
tape_status manifest_settle(manifest *m, tape_error *error) TAPE_CHECKED;

/* Adds a table whose file is durable. When this returns OK, the edit is durable. */
tape_status manifest_add_table(manifest *m, const sstable_info *table,
                               tape_error *error) TAPE_CHECKED;

#endif
