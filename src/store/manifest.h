/* manifest: which table files are the store's, at which level, and up to which seq they hold
 * everything. Private to store/. docs/format/manifest.md is the document to implement from.
 *
 * Format: the journal's frames (format.h), type FRAME_MANIFEST, version 2, flags and append_ts 0,
 * each at its byte offset in the file as position, with the store's salt. The first frame's payload
 * is a manifest_head; every other's is a manifest_edit followed by its items.
 *
 * Invariants
 *  N1 An edit is written only when everything it names is durable, and it counts only when it is
 *     durable itself; the next is written only then. So at most the last edit is in doubt.
 *  N2 Everything before head.base_bytes was durable before the file got its name.
 *  N3 Edits are numbered without gaps; flushed_seq and next_number never fall; a file's number is
 *     below next_number and was never another file's; no record of a file lies beyond flushed_seq.
 *  N4 Nothing in the file is ever overwritten. When the end of it is in doubt (a torn edit found, a
 *     write that failed), the next edit goes to a whole new file that replaces it by rename.
 *  N5 After every edit: the files of a table at level 0 have disjoint ranges of seq, those of each
 *     level below disjoint ranges of (key, seq).
 *  N6 The file is at most about twice as long as one that states what it holds, plus 256 KiB: it is
 *     replaced by that one when it has grown beyond. So opening takes time by the number of table
 *     files there are, not by what has been.
 *
 * What an invalid frame means, decided by manifest_read:
 *   where                                   what follows            verdict
 *   before base_bytes                       anything                rot (N2): CORRUPT
 *   at or after base_bytes                  a valid frame anywhere  rot (N1): CORRUPT
 *   at or after base_bytes                  no valid frame          the edit in doubt (N1): cut
 *
 * Rot in the very last edit looks like the edit in doubt. The state then falls back to the edit
 * before. If that brought records, flushed_seq falls, and whoever opens the store must hold the
 * journal from there on, or refuse. If it was a compaction's, the files it removed may be gone:
 * reading finds them missing and says so. Nothing on disk is removed or changed by loading, so that
 * a refusal loses nothing.
 *
 * Threads: one at a time. Failure: after FAILED (a sync failed) it must be closed and loaded again.
 */
#ifndef MANIFEST_H
#define MANIFEST_H

#include "sstable/sstable.h"

#define MANIFEST_NAME "MANIFEST"
#define MANIFEST_TEMPORARY_NAME "MANIFEST.tmp"
#define MANIFEST_MAGIC UINT64_C(0x31464e4d45504154) /* "TAPEMNF1" */
#define MANIFEST_FORMAT_VERSION 2u
#define MANIFEST_LEVELS 7u

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
    uint64_t next_number; /* file numbers from here on are free */
    uint32_t item_count;
    uint32_t reserved; /* 0 */
} manifest_edit;
_Static_assert(sizeof(manifest_edit) == 32, "manifest edit");

/* Removals of an edit come before its additions, so that a file that changes level is removed and
 * added in one. */
enum manifest_item_kind {
    MANIFEST_ADD_TABLE = 1,    /* a manifest_table follows */
    MANIFEST_REMOVE_TABLE = 2, /* u64 number follows */
    MANIFEST_HISTORY = 3,      /* u64 table id, u64 history seq follow: never falls */
};
typedef struct manifest_item {
    uint32_t kind;
    uint32_t size_bytes; /* of the item with this header; a multiple of 8 */
} manifest_item;
_Static_assert(sizeof(manifest_item) == 8, "manifest item");

/* Follows the item's header. Bytes of a key beyond its size are 0. */
typedef struct manifest_table {
    uint64_t number;
    uint64_t size_bytes;
    uint32_t level;
    uint16_t table;
    uint16_t codec;
    uint64_t entries;
    uint64_t keys;
    uint64_t payload_bytes;
    uint64_t content_xxh3;
    uint64_t min_seq;
    uint64_t max_seq;
    int64_t min_ts;
    int64_t max_ts;
    int64_t min_append_ts;
    int64_t max_append_ts;
    uint64_t first_seq;
    uint64_t last_seq;
    uint32_t min_key_size;
    uint32_t max_key_size;
    uint8_t min_key[RECORD_KEY_BYTES_MAX];
    uint8_t max_key[RECORD_KEY_BYTES_MAX];
} manifest_table;
_Static_assert(sizeof(manifest_table) == 256, "manifest table");

/* A file and its level. */
typedef struct manifest_entry {
    sstable_info info;
    uint32_t level;
} manifest_entry;

/* What one edit changes. */
typedef struct manifest_change {
    uint64_t flushed_seq;    /* after it; at least the present one */
    const uint64_t *removed; /* numbers of files that are listed */
    size_t removed_count;
    const manifest_entry *added;
    size_t added_count;
    uint16_t history_table; /* 0: unchanged */
    uint64_t history_seq;   /* not above the present one: unchanged */
} manifest_change;

typedef struct manifest {
    sstable_place place;
    char *path;
    uint64_t salt;
    os_file *file; /* open for appending; NULL until the first edit */
    uint64_t end;  /* of the last edit that counts */
    uint64_t base_bytes;
    uint64_t next_edit;
    uint64_t next_number; /* the next file's; whoever makes one takes it and adds one */
    uint64_t flushed_seq;
    uint64_t history_seq[TAPE_TABLE_COUNT + 1]; /* by table id */
    uint64_t cut_bytes;                         /* found after `end` when it was loaded */
    bool present;                               /* there is a file */
    bool doubtful;                              /* N4: `end` is not where the file ends */
    manifest_entry *entries;                    /* by number */
    size_t entry_count;
    size_t entry_capacity;
} manifest;

/* Reads the file; a missing one is an empty store. Writes nothing. CORRUPT; NEWER; TOO_OLD for a
 * format that is not read any more. `place` is kept. */
tape_status manifest_load(manifest *m, const sstable_place *place, tape_error *error) TAPE_CHECKED;
void manifest_deinit(manifest *m);
/* The same with the bytes of the file at hand, of which none are changed or kept. */
tape_status manifest_read(manifest *m, const sstable_place *place, const uint8_t *data, size_t size,
                          tape_error *error) TAPE_CHECKED;

/* Makes the end of the file certain (N4) and its length bounded (N6): writes a new file when there
 * is none, its end is in doubt, or it has grown too long. */
tape_status manifest_settle(manifest *m, tape_error *error) TAPE_CHECKED;

/* Journals a change all of whose files are durable. When this returns OK, the edit is durable and
 * part of the state; otherwise the state is as before, but the edit may count after a crash, so
 * neither the files it adds nor those it removes may be touched before manifest_settle returned OK.
 */
tape_status manifest_commit(manifest *m, const manifest_change *change,
                            tape_error *error) TAPE_CHECKED;

/* N5, of the whole state, in O(n log n): checked by loading, not by committing. False: *one and
 * *other (may be NULL) are two files that overlap in a level. */
bool manifest_levels_sound(const manifest *m, const manifest_entry **one,
                           const manifest_entry **other);

#endif
