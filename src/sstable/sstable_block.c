/* sstable_block.c: one block: where it lies, whether it is sound, its entries.
 *
 * Invariants
 *  T4 A block is checked when it is first used. What was found sound is remembered; what was found
 *     damaged is not, so that every use of it fails.
 *  T5 No read leaves the mapping or the room for unpacked entries, whatever the bytes say: counts,
 *     offsets and sizes are bounded at each use, not only when the checksum is verified. */
#include "sstable/sstable_internal.h"

#include <inttypes.h>
#include <stdio.h>

tape_status sstable_block_damaged(const sstable *t, uint64_t block, uint64_t offset,
                                  const char *what, tape_error *error) {
    char from[SSTABLE_KEY_TEXT_BYTES];
    char up_to[SSTABLE_KEY_TEXT_BYTES];
    slice low = t->index.min_key;
    if (block > 0) {
        low = sstable_index_key(&t->index, block - 1);
    }
    sstable_key_text(low, from);
    sstable_key_text(sstable_index_key(&t->index, block), up_to);
    return error_set_file(error, TAPE_CORRUPT, t->path, offset,
                          "%s: the block at offset %" PRIu64 " is damaged: %s; keys from %.100s to "
                          "%.100s cannot be read; " SSTABLE_RESTORE_HINT,
                          t->path, offset, what, from, up_to);
}

tape_status sstable_block_changed(const sstable *t, uint64_t block, tape_error *error) {
    return sstable_block_damaged(t, block, t->index.places[block].offset,
                                 "it does not hold what the index says", error);
}

/* A block's place as the index has it, within the file. */
typedef struct block_place {
    uint64_t offset;
    uint64_t size;
    uint32_t count;
    uint32_t stride;
} block_place;

static bool block_locate(const sstable *t, uint64_t block, block_place *out) {
    const sstable_index_place *at = &t->index.places[block];
    const sstable_index_place *next = at + 1;
    uint64_t offset = at->offset;
    uint64_t end = next->offset;
    if (end > t->data_bytes || offset >= end || offset % SSTABLE_PACKED_ALIGN != 0 ||
        end - offset > UINT32_MAX || next->first_entry <= at->first_entry) {
        return false;
    }
    *out = (block_place){offset, end - offset, next->first_entry - at->first_entry, at->stride};
    return out->stride >= sizeof(sstable_entry) + t->payload_min &&
           out->stride <= SSTABLE_SINGLE_BYTES && out->stride % SSTABLE_ENTRY_ALIGN == 0;
}

/* What the header says, and the index. */
static const char *header_problem(const sstable *t, const block_place *place,
                                  const sstable_block *header) {
    uint64_t most = t->info.codec == SSTABLE_PLAIN ? SSTABLE_PLAIN_BYTES : SSTABLE_PACKED_BYTES;
    if (place->count == 1 && place->stride > most) {
        most = place->stride;
    }
    if (header->stride != place->stride ||
        header->raw_bytes != (uint64_t)place->count * place->stride ||
        sstable_block_span(t->info.codec, header->stored_bytes) != place->size) {
        return "its header does not fit the index";
    }
    if (header->raw_bytes > most || header->stored_bytes > header->raw_bytes ||
        (t->info.codec == SSTABLE_PLAIN && header->stored_bytes != header->raw_bytes)) {
        return "its sizes cannot be right";
    }
    return NULL;
}

static tape_status block_sum(const sstable *t, uint64_t block, const block_place *place,
                             tape_error *error) {
    const uint8_t *data = t->data + place->offset;
    uint32_t expected = load_u32(data);
    uint32_t actual = sstable_checksum(t->salt, t->info.number, place->offset,
                                       data + sizeof expected, place->size - sizeof expected);
    if (actual == expected) {
        return TAPE_OK;
    }
    char what[64];
    (void)snprintf(what, sizeof what, "checksum expected 0x%08x, actual 0x%08x", expected, actual);
    return sstable_block_damaged(t, block, place->offset, what, error);
}

static tape_status block_unpack(const sstable *t, uint64_t block, const block_place *place,
                                const sstable_block *header, sstable_scratch *scratch,
                                tape_error *error) {
    const uint8_t *packed = t->data + place->offset + sizeof *header;
    sstable_codec codec = (sstable_codec)t->info.codec;
    if (sstable_unpack_may_yield(codec, packed, header->stored_bytes, header->raw_bytes)) {
        scratch->size = 0;
        buffer_reserve(scratch, header->raw_bytes);
        if (sstable_unpack(codec, packed, header->stored_bytes, scratch->data, header->raw_bytes)) {
            scratch->size = header->raw_bytes;
            return TAPE_OK;
        }
    }
    return sstable_block_damaged(t, block, place->offset, "it cannot be unpacked", error);
}

static bool was_checked(const sstable *t, uint64_t block) {
    uint64_t bits = atomic_load_explicit(&t->blocks_checked[block / 64], memory_order_relaxed);
    return (bits >> block % 64 & 1) != 0;
}

tape_status sstable_block_load(sstable *t, uint64_t block, bool again, sstable_scratch *scratch,
                               sstable_block_view *out, tape_error *error) {
    ASSERT(block < t->index.blocks);
    block_place place;
    if (UNLIKELY(!block_locate(t, block, &place))) {
        return sstable_block_damaged(t, block, t->index.places[block].offset,
                                     "the index does not say where it lies", error);
    }
    const uint8_t *data = t->data + place.offset;
    *out =
        (sstable_block_view){place.offset, data + sizeof(sstable_block), place.count, place.stride};
    bool check = again || !was_checked(t, block);
    if (!check && t->info.codec == SSTABLE_PLAIN &&
        (uint64_t)place.count * place.stride <= place.size - sizeof(sstable_block)) {
        return TAPE_OK;
    }
    if (check) {
        tape_status status = block_sum(t, block, &place, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    sstable_block header;
    memcpy(&header, data, sizeof header);
    const char *problem = header_problem(t, &place, &header);
    if (problem != NULL) {
        return sstable_block_damaged(t, block, place.offset, problem, error);
    }
    if (header.stored_bytes < header.raw_bytes) {
        tape_status status = block_unpack(t, block, &place, &header, scratch, error);
        if (status != TAPE_OK) {
            return status;
        }
        out->entries = scratch->data;
    }
    if (check) {
        record_view record;
        for (uint32_t i = 0; i < out->count; i++) {
            if (!sstable_block_entry(t, out, i, &record)) {
                return sstable_block_damaged(t, block, place.offset,
                                             "an entry does not lie within its place", error);
            }
        }
        atomic_fetch_or_explicit(&t->blocks_checked[block / 64], UINT64_C(1) << block % 64,
                                 memory_order_relaxed);
    }
    return TAPE_OK;
}

uint32_t sstable_block_seek(const sstable *t, const sstable_block_view *block, uint32_t from,
                            slice key, uint64_t seq) {
    uint32_t low = from;
    uint32_t high = block->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const uint8_t *payload =
            block->entries + (size_t)middle * block->stride + sizeof(sstable_entry);
        int order = record_key_compare(t->table, key, payload);
        uint64_t found = load_u64(payload);
        if (order > 0 || (order == 0 && found > seq)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
