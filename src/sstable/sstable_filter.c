/* sstable_filter.c: which keys a table may hold. A Bloom filter whose bits for one key lie in one
 * cache line, so that asking costs one miss of the cache.
 *
 * Of a key's XXH3-128 hash the low half picks the line, by multiplication instead of division, and
 * the high half gives SSTABLE_FILTER_PROBES times nine bits, each the number of a bit in the line.
 * Lines fill unevenly; SSTABLE_FILTER_BITS_PER_KEY leaves room for it (about 0.5 % false
 * positives). */
#include "sstable/sstable_internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LINE_BITS (SSTABLE_FILTER_LINE_BYTES * 8u)

sstable_key sstable_key_of(slice encoded) {
    XXH128_hash_t hash = XXH3_128bits(encoded.data, encoded.size);
    return (sstable_key){.encoded = encoded, .hash = {hash.low64, hash.high64}};
}

uint64_t sstable_filter_lines(uint64_t keys) {
    uint64_t lines = (keys * SSTABLE_FILTER_BITS_PER_KEY + LINE_BITS - 1) / LINE_BITS;
    return lines == 0 ? 1 : lines;
}

static uint64_t line_of(uint64_t lines, uint64_t hash) {
    return (uint64_t)(((unsigned __int128)hash * lines) >> 64);
}

void sstable_filter_add(uint8_t *filter, uint64_t lines, const uint64_t hash[2]) {
    uint8_t *line = filter + line_of(lines, hash[0]) * SSTABLE_FILTER_LINE_BYTES;
    uint64_t bits = hash[1];
    for (unsigned i = 0; i < SSTABLE_FILTER_PROBES; i++, bits >>= 9) {
        unsigned bit = bits & (LINE_BITS - 1);
        line[bit / 8] = (uint8_t)(line[bit / 8] | 1u << bit % 8);
    }
}

bool sstable_filter_holds(const uint8_t *filter, uint64_t lines, const uint64_t hash[2]) {
    const uint8_t *line = filter + line_of(lines, hash[0]) * SSTABLE_FILTER_LINE_BYTES;
    uint64_t bits = hash[1];
    for (unsigned i = 0; i < SSTABLE_FILTER_PROBES; i++, bits >>= 9) {
        unsigned bit = bits & (LINE_BITS - 1);
        if ((line[bit / 8] >> bit % 8 & 1) == 0) {
            return false;
        }
    }
    return true;
}
