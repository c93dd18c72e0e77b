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
    return sstable_block_damaged(t, block, sstable_block_offset(&t->index.places[block]),
                                 "it does not hold what the index says", error);
}

/* A block's place as the index has it, within the file. */
typedef struct block_place {
    uint64_t offset;
    uint64_t size;
    uint64_t stride;
    uint64_t raw_bytes; /* of the entries: their number times the stride */
    uint32_t count;
    uint32_t payload_bytes;
    uint16_t version;
} block_place;

static bool block_locate(const sstable *t, uint64_t block, block_place *out) {
    const sstable_index_place *at = &t->index.places[block];
    const sstable_index_place *next = at + 1;
    uint64_t offset = sstable_block_offset(at);
    uint64_t end = sstable_block_offset(next);
    uint32_t count = next->first_entry - at->first_entry;
    uint64_t stride = sstable_stride(at->payload_bytes);
    *out = (block_place){offset, end - offset,      stride,     count * stride,
                         count,  at->payload_bytes, at->version};
    return end <= t->data_bytes && offset < end && next->first_entry > at->first_entry &&
           at->payload_bytes >= t->payload_min && at->payload_bytes <= SSTABLE_PAYLOAD_BYTES_MAX;
}

/* Whether the block ends where its `stored_bytes` say: at once, or with the page. */
static bool span_fits(const sstable *t, const block_place *place, uint32_t stored_bytes) {
    uint64_t span = sstable_block_span(stored_bytes);
    if (t->info.codec == SSTABLE_PLAIN && place->size > span) {
        span = ALIGN_UP(place->offset + span, SSTABLE_PAGE_BYTES) - place->offset;
    }
    return place->size == span;
}

/* What the header says, and the index. */
static const char *header_problem(const sstable *t, const block_place *place,
                                  const sstable_block *header) {
    uint16_t codec = t->info.codec;
    uint32_t room = sstable_block_room(codec, place->offset);
    bool large = place->count == 1 && room == sstable_block_room(codec, 0);
    if (header->payload_bytes != place->payload_bytes || header->version != place->version ||
        header->entries != place->count || !span_fits(t, place, header->stored_bytes)) {
        return "its header does not fit the index";
    }
    if ((place->raw_bytes > room && !large) || header->stored_bytes > place->raw_bytes ||
        (codec == SSTABLE_PLAIN && header->stored_bytes != place->raw_bytes)) {
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
                                uint32_t stored_bytes, sstable_scratch *scratch,
                                tape_error *error) {
    const uint8_t *packed = t->data + place->offset + sizeof(sstable_block);
    sstable_codec codec = (sstable_codec)t->info.codec;
    if (sstable_unpack_may_yield(codec, packed, stored_bytes, place->raw_bytes)) {
        scratch->size = 0;
        buffer_reserve(scratch, place->raw_bytes);
        if (sstable_unpack(codec, packed, stored_bytes, scratch->data, place->raw_bytes)) {
            scratch->size = place->raw_bytes;
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
        return sstable_block_damaged(t, block, sstable_block_offset(&t->index.places[block]),
                                     "the index does not say where it lies", error);
    }
    const uint8_t *data = t->data + place.offset;
    *out = (sstable_block_view){
        .entries = data + sizeof(sstable_block),
        .offset = place.offset,
        .count = place.count,
        .stride = (uint32_t)place.stride,
        .payload_bytes = place.payload_bytes,
        .version = place.version,
    };
    bool check = again || !was_checked(t, block);
    if (!check && t->info.codec == SSTABLE_PLAIN &&
        place.raw_bytes <= place.size - sizeof(sstable_block)) {
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
    if (header.stored_bytes < place.raw_bytes) {
        tape_status status = block_unpack(t, block, &place, header.stored_bytes, scratch, error);
        if (status != TAPE_OK) {
            return status;
        }
        out->entries = scratch->data;
    }
    if (check) {
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
        const uint8_t *payload = sstable_block_payload(block, middle);
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

/* So many guesses are made before the rest is halved: where seqs lie evenly the first is right, or
 * next to it. */
#define GUESSES 4

uint32_t sstable_block_find_seq(const sstable_block_view *block, uint64_t before, uint64_t last,
                                uint64_t seq) {
    uint32_t low = 0;
    uint32_t high = block->count;
    for (int guesses = 0; low < high && seq > before && seq <= last; guesses++) {
        uint64_t range = last - before; /* of the seqs that stand in [low, high) */
        uint32_t middle = low + (high - low) / 2;
        if (guesses < GUESSES && range <= UINT32_MAX) {
            uint64_t guess = ((seq - before) * (high - low) - 1) / range;
            middle = low + (uint32_t)guess;
        }
        uint64_t found = load_u64(sstable_block_payload(block, middle));
        if (found == seq) {
            return middle;
        }
        if (found < seq) {
            low = middle + 1;
            before = found;
        } else {
            high = middle;
            last = found - 1;
        }
    }
    return block->count;
}
