/* What the sources of sstable/ share: the layout of a table file and how it is read in place.
 *
 * Format (little-endian; docs/format/sstable.md is the full document)
 * File:    blocks, filter, tags, index, footer, without gaps.
 * Block:   struct sstable_block, then its entries at equal distances (the stride), perhaps packed,
 *          zeros up to a multiple of SSTABLE_BLOCK_ALIGN. Payloads of a block have one version and
 *          one size. A plain block does not cross a multiple of SSTABLE_PAGE_BYTES, unless it is
 *          one entry that is larger and starts there; where the next would, zeros fill the page.
 * Entry:   u64 append time << 1 | RECORD_MORE, payload, zeros up to the stride, a multiple of 8.
 *          The key is not stored: it is read from the payload.
 * Filter:  lines of 64 bytes. A key sets SSTABLE_FILTER_PROBES bits of one line.
 * Tags:    one byte per entry, of its key's hash; zeros up to a multiple of 64.
 *          Filter and tags are empty where the key is the seq: see sstable_keyed_by_seq.
 * Index:   a static tree over the (key, seq) of each block's last entry: see sstable_index.c.
 * Footer:  struct sstable_footer, the last SSTABLE_FOOTER_BYTES. */
#ifndef SSTABLE_INTERNAL_H
#define SSTABLE_INTERNAL_H

#include "sstable/sstable.h"

#define SSTABLE_MAGIC UINT64_C(0x3154535345504154) /* "TAPESST1" */
#define SSTABLE_FORMAT_VERSION 2u
#define SSTABLE_PAGE_BYTES 4096u
#define SSTABLE_BLOCK_ALIGN 64u
#define SSTABLE_FOOTER_BYTES 512u
#define SSTABLE_FILTER_LINE_BYTES 64u
#define SSTABLE_FILTER_BITS_PER_KEY 12u
#define SSTABLE_FILTER_PROBES 7u
#define SSTABLE_TAGS_ALIGN 64u
#define SSTABLE_PAYLOAD_BYTES_MIN 16u /* seq and ts */
#define SSTABLE_PAYLOAD_BYTES_MAX MIB(64)
#define SSTABLE_ENTRY_BYTES 8u /* before the payload */
#define SSTABLE_ENTRY_ALIGN 8u
#define SSTABLE_KEY_TEXT_BYTES 300
/* Entries of a packed file's block before they are packed, but for one entry that is larger. */
#define SSTABLE_PACKED_BYTES ((uint32_t)KIB(16))
#define SSTABLE_SINGLE_BYTES ((uint32_t)(SSTABLE_PAYLOAD_BYTES_MAX + SSTABLE_ENTRY_BYTES))

typedef struct sstable_block {
    uint32_t crc32c;        /* sstable_checksum of what follows, up to the next block */
    uint32_t stored_bytes;  /* of the entries as stored; packed when less than they have */
    uint32_t payload_bytes; /* of each entry */
    uint16_t version;       /* of the payloads' schema */
    uint16_t entries;
} sstable_block;
_Static_assert(sizeof(sstable_block) == 16, "block header");

/* One per block, and one behind the last that says where the blocks and the entries end; its other
 * fields are 0. */
typedef struct sstable_index_place {
    uint32_t start;         /* in units of SSTABLE_BLOCK_ALIGN */
    uint32_t first_entry;   /* entries before the block */
    uint32_t payload_bytes; /* of each entry of the block */
    uint16_t version;
    uint16_t reserved;
} sstable_index_place;
_Static_assert(sizeof(sstable_index_place) == 16, "index place");

/* The last entry of a block. */
typedef struct sstable_index_last {
    uint64_t seq;
    uint32_t key_offset; /* from the start of the index's keys */
    uint32_t key_size;
} sstable_index_last;
_Static_assert(sizeof(sstable_index_last) == 16, "index last");

typedef struct sstable_footer {
    uint64_t magic;
    uint32_t format_version;
    uint32_t crc32c; /* sstable_checksum of the footer with crc32c zero */
    uint8_t store_id[16];
    uint64_t number;
    uint64_t size_bytes; /* of the file */
    uint16_t table;
    uint16_t codec;
    uint32_t reserved;
    uint64_t entries;
    uint64_t keys;
    uint64_t payload_bytes;
    uint64_t blocks;
    uint64_t filter_offset; /* where the blocks end */
    uint64_t filter_bytes;
    uint64_t tags_offset;
    uint64_t tags_bytes;
    uint64_t index_offset;
    uint64_t index_bytes;
    uint32_t filter_crc32c; /* sstable_checksum of each part */
    uint32_t tags_crc32c;
    uint32_t index_crc32c;
    uint32_t reserved2;
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
    uint8_t reserved3[SSTABLE_FOOTER_BYTES - 360];
} sstable_footer;
_Static_assert(sizeof(sstable_footer) == SSTABLE_FOOTER_BYTES, "footer");
_Static_assert(offsetof(sstable_footer, min_key) == 232, "footer");

/* --- the index in memory: pointers into the file, or into what a writer gathers --- */
#define SSTABLE_NODE_BITS 6u
#define SSTABLE_NODE_FANOUT (1u << SSTABLE_NODE_BITS)
#define SSTABLE_LEVELS_MAX 8u
typedef struct sstable_level {
    const uint64_t *discriminators;
    const uint8_t *prefixes; /* one per node */
    uint64_t count;          /* of discriminators */
} sstable_level;
typedef struct sstable_index {
    uint64_t blocks;
    const sstable_index_place *places;
    uint32_t level_count;
    sstable_level levels[SSTABLE_LEVELS_MAX]; /* 0: one discriminator per block */
    const sstable_index_last *lasts;
    const uint8_t *keys;
    uint64_t keys_bytes;
    slice min_key; /* of the file */
} sstable_index;

struct sstable {
    sstable_info info;
    sstable_index index;
    const tape_table_info *table;
    uint32_t payload_min; /* sstable_payload_min */
    bool keyed_by_seq;    /* sstable_keyed_by_seq */
    const uint8_t *data;
    const uint8_t *filter;
    const uint8_t *tags;
    uint64_t filter_lines;
    uint64_t data_bytes; /* of the blocks: the filter starts there */
    uint64_t salt;
    _Atomic uint32_t checked;         /* SSTABLE_CHECKED_*: what was found sound since opening */
    _Atomic uint64_t *blocks_checked; /* one bit per block */
    uint64_t tags_offset;
    uint64_t tags_bytes;
    uint64_t index_offset;
    uint64_t index_bytes;
    uint32_t filter_crc32c;
    uint32_t tags_crc32c;
    uint32_t index_crc32c;
    os_map map; /* nothing is mapped when the bytes are the caller's: see sstable_attach */
    char *path;
};
enum { SSTABLE_CHECKED_FILTER = 1, SSTABLE_CHECKED_TAGS = 2, SSTABLE_CHECKED_INDEX = 4 };

#define SSTABLE_RESTORE_HINT "restore the file from a snapshot or a backup"

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
/* Whether the key is the seq and nothing else. Such files have neither filter nor tags: seqs lie so
 * close that where one stands is computed. */
bool sstable_keyed_by_seq(const tape_table_info *table);
/* Counts the next record in; its key is info->max_key already, `another_key` if the one before it
 * has another. */
void sstable_info_note(sstable_info *info, const record_view *record, bool another_key);
/* From the start of an entry to that of the next. */
static inline uint64_t sstable_stride(uint32_t payload_bytes) {
    return ALIGN_UP((uint64_t)SSTABLE_ENTRY_BYTES + payload_bytes, SSTABLE_ENTRY_ALIGN);
}
static inline uint64_t sstable_block_offset(const sstable_index_place *place) {
    return (uint64_t)place->start * SSTABLE_BLOCK_ALIGN;
}
/* The entries that fit into a block at `offset`, in bytes. */
static inline uint32_t sstable_block_room(uint16_t codec, uint64_t offset) {
    return codec == SSTABLE_PLAIN ? SSTABLE_PAGE_BYTES - (uint32_t)(offset % SSTABLE_PAGE_BYTES +
                                                                    sizeof(sstable_block))
                                  : SSTABLE_PACKED_BYTES;
}
/* The least size of a block: its header, `stored_bytes`, zeros. */
static inline uint64_t sstable_block_span(uint64_t stored_bytes) {
    return ALIGN_UP(sizeof(sstable_block) + stored_bytes, SSTABLE_BLOCK_ALIGN);
}

/* --- sstable_footer.c --- */
void sstable_footer_seal(sstable_footer *footer, const sstable_info *info,
                         const uint8_t store_id[16], uint64_t salt);
/* Reads the footer of a file of `size` bytes and checks it: whose it is, that it is whole, that its
 * figures fit each other and the file, and `expected` (nullable). */
tape_status sstable_footer_read(const uint8_t bytes[SSTABLE_FOOTER_BYTES], uint64_t size,
                                const char *path, const uint8_t store_id[16], uint64_t number,
                                const sstable_info *expected, sstable_footer *out,
                                tape_error *error) TAPE_CHECKED;
sstable_info sstable_footer_info(const sstable_footer *f);
/* A file's state before it is read: missing, or of another size than `expected` says. */
tape_status sstable_file_open(const sstable_place *place, const char *path, unsigned flags,
                              const sstable_info *expected, os_file **out, uint64_t *size,
                              tape_error *error) TAPE_CHECKED;

/* --- sstable_filter.c --- */
uint64_t sstable_filter_lines(uint64_t keys);
/* The sizes of a file's filter and tags. */
uint64_t sstable_filter_bytes(const tape_table_info *table, uint64_t keys);
uint64_t sstable_tags_bytes(const tape_table_info *table, uint64_t entries);
void sstable_filter_add(uint8_t *filter, uint64_t lines, const uint64_t hash[2]);
bool sstable_filter_holds(const uint8_t *filter, uint64_t lines, const uint64_t hash[2]);
static inline uint64_t sstable_filter_line(uint64_t lines, const uint64_t hash[2]) {
    return (uint64_t)(((unsigned __int128)hash[0] * lines) >> 64);
}
/* A byte of the hash that the filter does not use. */
static inline uint8_t sstable_tag(const uint64_t hash[2]) {
    return (uint8_t)hash[0];
}

/* --- sstable_index.c --- */
/* Bytes of an index of `blocks` blocks, without the keys and what pads them. */
uint64_t sstable_index_fixed_bytes(uint64_t blocks);
/* Where the parts of an index lie that starts at `at`. */
void sstable_index_lay_out(sstable_index *index, const uint8_t *at, uint64_t bytes, uint64_t blocks,
                           slice min_key);
/* Writes the tree of `index`, whose lasts and keys are there, to its place at `at`. */
void sstable_index_fill(const sstable_index *index, uint8_t *at);
/* The discriminators a node must have; returns the size of its prefix. */
uint8_t sstable_index_node(const sstable_index *index, uint32_t level, uint64_t node,
                           uint64_t out[SSTABLE_NODE_FANOUT], size_t *count);
/* The key of a block's last entry; empty when it does not lie within the index. */
slice sstable_index_key(const sstable_index *index, uint64_t block);
/* The first block whose last entry is at or after (key, seq), which is neither before the file's
 * first key nor behind its last entry. */
uint64_t sstable_index_find(const sstable_index *index, slice key, uint64_t seq);

/* --- sstable_codec.c --- */
typedef struct sstable_packer sstable_packer;
sstable_packer *sstable_packer_create(sstable_codec codec);
void sstable_packer_destroy(sstable_packer **p);
/* The size of what it wrote to `out`, less than `size`; 0 when packing is not worth it. */
size_t sstable_pack(sstable_packer *p, const void *data, size_t size, void *out);
/* Whether `size` packed bytes may hold `raw_bytes`: asked before room is made for them. */
bool sstable_unpack_may_yield(sstable_codec codec, const void *data, size_t size, size_t raw_bytes);
/* False when the bytes are not exactly `raw_bytes` packed. */
bool sstable_unpack(sstable_codec codec, const void *data, size_t size, void *out,
                    size_t raw_bytes);

/* --- sstable_block.c --- */
/* A block, checked: its checksum when `again` or not yet checked. Packed entries are unpacked into
 * `scratch`. CORRUPT names offset, checksums and key range. */
tape_status sstable_block_load(sstable *t, uint64_t block, bool again, sstable_scratch *scratch,
                               sstable_block_view *out, tape_error *error) TAPE_CHECKED;
static inline const uint8_t *sstable_block_payload(const sstable_block_view *block,
                                                   uint32_t entry) {
    ASSERT(entry < block->count);
    return block->entries + (size_t)entry * block->stride + SSTABLE_ENTRY_BYTES;
}
static inline void sstable_block_entry(const sstable *t, const sstable_block_view *block,
                                       uint32_t entry, record_view *out) {
    const uint8_t *payload = sstable_block_payload(block, entry);
    uint64_t header = load_u64(payload - SSTABLE_ENTRY_BYTES);
    *out = (record_view){
        .table = t->table,
        .payload = payload,
        .size = block->payload_bytes,
        .version = block->version,
        .flags = (uint16_t)(header & RECORD_MORE),
        .seq = load_u64(payload),
        .ts = (int64_t)load_u64(payload + 8),
        .append_ts = (int64_t)(header >> 1),
    };
}
/* The first of the entries [from, count) at or after (key, seq); count when there is none. */
uint32_t sstable_block_seek(const sstable *t, const sstable_block_view *block, uint32_t from,
                            slice key, uint64_t seq);
/* Where the entry of `seq` stands in a block whose entries' seqs rise, the last of which is `last`,
 * all of them above `before`; count when it is not there. */
uint32_t sstable_block_find_seq(const sstable_block_view *block, uint64_t before, uint64_t last,
                                uint64_t seq);
tape_status sstable_block_damaged(const sstable *t, uint64_t block, uint64_t offset,
                                  const char *what, tape_error *error);
/* For a block that was found sound and yet contradicts the index, or changed since. */
tape_status sstable_block_changed(const sstable *t, uint64_t block, tape_error *error);

/* --- sstable_reader.c --- */
/* Opens a table over bytes that stay the caller's; `data` is aligned to 8. */
tape_status sstable_attach(sstable **out, const uint8_t *data, uint64_t size, const char *path,
                           const uint8_t store_id[16], uint64_t number,
                           const sstable_info *expected, tape_error *error) TAPE_CHECKED;
/* Each part when it is first used, or `again`. */
tape_status sstable_index_check(sstable *t, bool again, tape_error *error) TAPE_CHECKED;
tape_status sstable_filter_check(sstable *t, bool again, tape_error *error) TAPE_CHECKED;
tape_status sstable_tags_check(sstable *t, bool again, tape_error *error) TAPE_CHECKED;

#endif
