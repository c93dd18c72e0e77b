/* The layout of a table file, and what the module's sources share. See docs/format/sstable.md.
 *
 * File:    data blocks | filter | index | footer; nothing between them.
 * Block:   starts and ends at a multiple of SSTABLE_PAGE_BYTES. One page, or as many as its only
 *          record needs. struct sstable_block, u16 offsets[count] (of entries, from the block's
 *          start), zeros up to a multiple of 8, entries, zeros.
 * Entry:   struct sstable_entry, payload, zeros up to a multiple of 8. The key is not stored:
 *          record_key makes it from the payload.
 * Filter:  lines of 64 bytes. A key sets SSTABLE_FILTER_PROBES bits of one line.
 * Index:   struct sstable_index_entry per block, then the keys they name, zeros up to a multiple
 *          of 8.
 * Footer:  struct sstable_footer, the last SSTABLE_FOOTER_BYTES. */
#ifndef SSTABLE_INTERNAL_H
#define SSTABLE_INTERNAL_H

#include "sstable/sstable.h"

#define SSTABLE_MAGIC UINT64_C(0x3154535345504154) /* "TAPESST1" */
#define SSTABLE_FORMAT_VERSION 1u
#define SSTABLE_PAGE_BYTES 4096u
#define SSTABLE_FOOTER_BYTES 512u
#define SSTABLE_FILTER_LINE_BYTES 64u
#define SSTABLE_FILTER_BITS_PER_KEY 12u
#define SSTABLE_FILTER_PROBES 7u
#define SSTABLE_PAYLOAD_BYTES_MIN 16u /* seq and ts */
#define SSTABLE_PAYLOAD_BYTES_MAX MIB(64)
#define SSTABLE_ENTRY_ALIGN 8u
#define SSTABLE_KEY_TEXT_BYTES 300

typedef struct sstable_block {
    uint32_t crc32c;     /* sstable_checksum of bytes 4 .. size_bytes */
    uint32_t size_bytes; /* of the whole block */
    uint32_t count;      /* entries */
    uint32_t used_bytes; /* up to the end of the last entry */
} sstable_block;
_Static_assert(sizeof(sstable_block) == 16, "block header");

#define SSTABLE_ENTRY_MORE 0x80000000u /* RECORD_MORE */
typedef struct sstable_entry {
    uint16_t table;
    uint16_t version;
    uint32_t size_more; /* payload bytes, and SSTABLE_ENTRY_MORE */
    int64_t append_ts;
} sstable_entry;
_Static_assert(sizeof(sstable_entry) == 16, "entry header");

typedef struct sstable_index_entry {
    uint64_t last_seq;   /* of the block's last entry */
    uint32_t first_page; /* the block starts at first_page * SSTABLE_PAGE_BYTES */
    uint32_t page_count;
    uint32_t key_offset; /* of the key of the block's last entry, from the first index key */
    uint32_t key_size;
} sstable_index_entry;
_Static_assert(sizeof(sstable_index_entry) == 24, "index entry");

typedef struct sstable_footer {
    uint64_t magic;
    uint32_t format_version;
    uint32_t crc32c; /* sstable_checksum of the footer with crc32c zero */
    uint8_t store_id[16];
    uint64_t number;
    uint64_t size_bytes; /* of the file */
    uint64_t entries;
    uint64_t keys;
    uint64_t blocks;
    uint64_t filter_offset; /* where the blocks end */
    uint64_t filter_bytes;
    uint64_t index_offset;
    uint64_t index_bytes;
    uint32_t filter_crc32c; /* sstable_checksum of the filter */
    uint32_t index_crc32c;  /* sstable_checksum of the index */
    uint64_t content_xxh3;
    uint64_t min_seq;
    uint64_t max_seq;
    int64_t min_ts;
    int64_t max_ts;
    uint32_t min_key_size;
    uint32_t max_key_size;
    uint8_t min_key[RECORD_KEY_BYTES_MAX];
    uint8_t max_key[RECORD_KEY_BYTES_MAX];
    uint8_t reserved[SSTABLE_FOOTER_BYTES - 288];
} sstable_footer;
_Static_assert(sizeof(sstable_footer) == SSTABLE_FOOTER_BYTES, "footer");
_Static_assert(offsetof(sstable_footer, min_key) == 160, "footer");

struct sstable {
    sstable_info info;
    os_map map; /* nothing is mapped when the bytes are the caller's: see sstable_attach */
    char *path;
    const uint8_t *data;
    uint64_t salt;
    uint64_t blocks;
    uint64_t data_bytes; /* of the blocks: the filter starts there */
    uint64_t filter_lines;
    uint64_t index_offset;
    uint64_t index_bytes;
    uint64_t index_keys_bytes;
    uint32_t filter_crc32c;
    uint32_t index_crc32c;
    _Atomic uint32_t checked;         /* SSTABLE_CHECKED_*: what was found sound since opening */
    _Atomic uint64_t *blocks_checked; /* one bit per block */
};
enum { SSTABLE_CHECKED_FILTER = 1, SSTABLE_CHECKED_INDEX = 2 };

/* --- sstable_format.c --- */
/* CRC-32C over salt, file number and offset (as u64 each), then the bytes. */
uint32_t sstable_checksum(uint64_t salt, uint64_t number, uint64_t offset, const void *data,
                          size_t size);
/* Like slice_compare on keys; with equal keys the higher seq comes first. */
int sstable_compare(slice key_a, uint64_t seq_a, slice key_b, uint64_t seq_b);
/* The key as a person would write it, for error texts: "orders 'a-1'". */
void sstable_key_text(slice key, char out[SSTABLE_KEY_TEXT_BYTES]);
/* The bytes a payload of the table needs so that seq, ts and key can be read. */
uint32_t sstable_payload_min(const tape_table_info *table);

/* --- sstable_filter.c --- */
uint64_t sstable_filter_lines(uint64_t keys);
void sstable_filter_add(uint8_t *filter, uint64_t lines, const uint64_t hash[2]);
bool sstable_filter_holds(const uint8_t *filter, uint64_t lines, const uint64_t hash[2]);

/* --- sstable_reader.c --- */
/* Opens a table over bytes that stay the caller's; `data` is aligned to 8. */
tape_status sstable_attach(sstable **out, const uint8_t *data, uint64_t size, const char *path,
                           const uint8_t store_id[16], uint64_t number,
                           const sstable_info *expected, tape_error *error) TAPE_CHECKED;
typedef struct sstable_block_view {
    uint64_t offset;
    const uint8_t *data;
    uint32_t size;
    uint32_t count;
} sstable_block_view;
/* The block of an index entry, checked: its checksum when `again` or not yet checked, its entries'
 * places with it. CORRUPT names offset, checksums and key range. */
tape_status sstable_block_load(sstable *t, uint64_t block, bool again, sstable_block_view *out,
                               tape_error *error) TAPE_CHECKED;
/* False when the entry does not lie within the block. */
bool sstable_block_entry(const sstable_block_view *block, uint32_t entry, record_view *out);
tape_status sstable_index_check(sstable *t, bool again, tape_error *error) TAPE_CHECKED;
tape_status sstable_filter_check(sstable *t, bool again, tape_error *error) TAPE_CHECKED;
sstable_index_entry sstable_index_at(const sstable *t, uint64_t block);
slice sstable_index_key(const sstable *t, const sstable_index_entry *e);

#endif
