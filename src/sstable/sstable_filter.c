/* sstable_filter.c: which keys a table may hold. A Bloom filter whose bits for one key lie in one
 * cache line, so that asking costs one miss of the cache.
 *
 * Of a key's XXH3-128 hash the low half picks the line, by multiplication instead of division, and
 * the high half gives SSTABLE_FILTER_PROBES times nine bits, each the number of a bit in the line.
 * Lines fill unevenly; SSTABLE_FILTER_BITS_PER_KEY leaves room for it (about 0.5 % false
 * positives). */
#include "sstable/sstable_internal.h"

#define LINE_BITS (SSTABLE_FILTER_LINE_BYTES * 8u)

uint64_t sstable_filter_lines(uint64_t keys) {
    uint64_t lines = (keys * SSTABLE_FILTER_BITS_PER_KEY + LINE_BITS - 1) / LINE_BITS;
    return lines == 0 ? 1 : lines;
}

uint64_t sstable_filter_bytes(const tape_table_info *table, uint64_t keys) {
    return sstable_keyed_by_seq(table) ? 0 : sstable_filter_lines(keys) * SSTABLE_FILTER_LINE_BYTES;
}

uint64_t sstable_tags_bytes(const tape_table_info *table, uint64_t entries) {
    return sstable_keyed_by_seq(table) ? 0 : ALIGN_UP(entries, SSTABLE_TAGS_ALIGN);
}

void sstable_filter_add(uint8_t *filter, uint64_t lines, const uint64_t hash[2]) {
    uint8_t *line = filter + sstable_filter_line(lines, hash) * SSTABLE_FILTER_LINE_BYTES;
    uint64_t bits = hash[1];
    for (unsigned i = 0; i < SSTABLE_FILTER_PROBES; i++, bits >>= 9) {
        unsigned bit = bits & (LINE_BITS - 1);
        line[bit / 8] = (uint8_t)(line[bit / 8] | 1u << bit % 8);
    }
}

bool sstable_filter_holds(const uint8_t *filter, uint64_t lines, const uint64_t hash[2]) {
    const uint8_t *line = filter + sstable_filter_line(lines, hash) * SSTABLE_FILTER_LINE_BYTES;
    uint64_t bits = hash[1];
    for (unsigned i = 0; i < SSTABLE_FILTER_PROBES; i++, bits >>= 9) {
        unsigned bit = bits & (LINE_BITS - 1);
        if ((line[bit / 8] >> bit % 8 & 1) == 0) {
            return false;
        }
    }
    return true;
}
