/* sstable_index.c: from a (key, seq) to the block that would hold it.
 *
 * A static tree in the file. Its leaves, level 0, are the blocks, each known by the (key, seq) of
 * its last entry; SSTABLE_NODE_FANOUT of one level make a node, and each node is one child in the
 * level above, known by its last leaf. The top level is one node.
 *
 * What a search compares is not keys but discriminators: the eight bytes (zeros where the key ends)
 * that follow a prefix, as one big-endian number. A node's prefix is what the key before its first
 * child (the file's least key for the first node) and its last child's key have in common. Whoever
 * gets to the node seeks a key between the two, which begins with the prefix too, so that the
 * prefix need not be compared. Equal discriminators are told apart by key and seq.
 *
 * Format: discriminators of level 0, of level 1, ... (u64 each); prefix sizes of the nodes in the
 *         same order (u8 each), zeros up to a multiple of 8; struct sstable_index_place for each
 *         block and one more; struct sstable_index_last for each block; the keys these name; zeros
 *         up to a multiple of 8.
 *
 * Invariants
 *  T5 A search stays within the index whatever its bytes say; what the check at first use
 *     guarantees beyond that is only that it finds the right block. */
#include "sstable/sstable_internal.h"

static uint64_t nodes_of(uint64_t count) {
    return (count + SSTABLE_NODE_FANOUT - 1) / SSTABLE_NODE_FANOUT;
}

/* Counts of each level; returns how many levels there are. */
static uint32_t level_counts(uint64_t blocks, uint64_t counts[SSTABLE_LEVELS_MAX],
                             uint64_t *discriminators, uint64_t *nodes) {
    uint32_t levels = 0;
    *discriminators = 0;
    *nodes = 0;
    for (uint64_t count = blocks;; count = nodes_of(count)) {
        ASSERT(levels < SSTABLE_LEVELS_MAX);
        counts[levels++] = count;
        *discriminators += count;
        *nodes += nodes_of(count);
        if (count <= SSTABLE_NODE_FANOUT) {
            return levels;
        }
    }
}

static uint64_t tree_bytes(uint64_t discriminators, uint64_t nodes) {
    return discriminators * sizeof(uint64_t) + ALIGN_UP(nodes, sizeof(uint64_t));
}

uint64_t sstable_index_fixed_bytes(uint64_t blocks) {
    uint64_t counts[SSTABLE_LEVELS_MAX];
    uint64_t discriminators;
    uint64_t nodes;
    (void)level_counts(blocks, counts, &discriminators, &nodes);
    return tree_bytes(discriminators, nodes) + (blocks + 1) * sizeof(sstable_index_place) +
           blocks * sizeof(sstable_index_last);
}

void sstable_index_lay_out(sstable_index *index, const uint8_t *at, uint64_t bytes, uint64_t blocks,
                           slice min_key) {
    uint64_t counts[SSTABLE_LEVELS_MAX];
    uint64_t discriminators;
    uint64_t nodes;
    ASSERT((uintptr_t)at % sizeof(uint64_t) == 0);
    *index = (sstable_index){.blocks = blocks, .min_key = min_key};
    index->level_count = level_counts(blocks, counts, &discriminators, &nodes);
    const uint8_t *prefixes = at + discriminators * sizeof(uint64_t);
    const uint8_t *places = at + tree_bytes(discriminators, nodes);
    for (uint32_t i = 0; i < index->level_count; i++) {
        index->levels[i] = (sstable_level){(const uint64_t *)(const void *)at, prefixes, counts[i]};
        at += counts[i] * sizeof(uint64_t);
        prefixes += nodes_of(counts[i]);
    }
    const uint8_t *lasts = places + (blocks + 1) * sizeof(sstable_index_place);
    index->places = (const sstable_index_place *)(const void *)places;
    index->lasts = (const sstable_index_last *)(const void *)lasts;
    index->keys = lasts + blocks * sizeof(sstable_index_last);
    index->keys_bytes = bytes - sstable_index_fixed_bytes(blocks);
}

slice sstable_index_key(const sstable_index *index, uint64_t block) {
    ASSERT(block < index->blocks);
    const sstable_index_last *last = &index->lasts[block];
    if (last->key_offset > index->keys_bytes ||
        last->key_size > index->keys_bytes - last->key_offset ||
        last->key_size > RECORD_KEY_BYTES_MAX) {
        return (slice){0};
    }
    return (slice){index->keys + last->key_offset, last->key_size};
}

/* --- the tree --- */

/* The last block of what a discriminator stands for. */
static uint64_t block_of(const sstable_index *index, uint32_t level, uint64_t at) {
    uint64_t end = (at + 1) << (SSTABLE_NODE_BITS * level);
    return (end < index->blocks ? end : index->blocks) - 1;
}

static uint64_t discriminator_of(const uint8_t padded[RECORD_KEY_BYTES_MAX + 8], uint8_t prefix) {
    return __builtin_bswap64(load_u64(padded + prefix));
}

static void pad_key(slice key, uint8_t padded[RECORD_KEY_BYTES_MAX + 8]) {
    ASSERT(key.size <= RECORD_KEY_BYTES_MAX);
    memset(padded, 0, RECORD_KEY_BYTES_MAX + 8);
    memcpy(padded, key.data, key.size);
}

uint8_t sstable_index_node(const sstable_index *index, uint32_t level, uint64_t node,
                           uint64_t out[SSTABLE_NODE_FANOUT], size_t *count) {
    const sstable_level *l = &index->levels[level];
    uint64_t first = node * SSTABLE_NODE_FANOUT;
    ASSERT(first < l->count);
    uint64_t left = l->count - first;
    *count = left < SSTABLE_NODE_FANOUT ? (size_t)left : SSTABLE_NODE_FANOUT;
    slice low = index->min_key;
    if (first > 0) {
        low = sstable_index_key(index, block_of(index, level, first - 1));
    }
    slice high = sstable_index_key(index, block_of(index, level, first + *count - 1));
    uint8_t prefix = 0;
    while (prefix < low.size && prefix < high.size && low.data[prefix] == high.data[prefix]) {
        prefix++;
    }
    for (size_t i = 0; i < *count; i++) {
        uint8_t padded[RECORD_KEY_BYTES_MAX + 8];
        pad_key(sstable_index_key(index, block_of(index, level, first + i)), padded);
        out[i] = discriminator_of(padded, prefix);
    }
    return prefix;
}

void sstable_index_fill(const sstable_index *index, uint8_t *at) {
    uint64_t counts[SSTABLE_LEVELS_MAX];
    uint64_t discriminators;
    uint64_t nodes;
    uint32_t levels = level_counts(index->blocks, counts, &discriminators, &nodes);
    uint8_t *prefixes = at + discriminators * sizeof(uint64_t);
    memset(prefixes, 0, ALIGN_UP(nodes, sizeof(uint64_t)));
    for (uint32_t level = 0; level < levels; level++) {
        for (uint64_t node = 0; node < nodes_of(counts[level]); node++) {
            uint64_t out[SSTABLE_NODE_FANOUT];
            size_t count;
            *prefixes++ = sstable_index_node(index, level, node, out, &count);
            memcpy(at, out, count * sizeof *out);
            at += count * sizeof *out;
        }
    }
}

/* --- searching --- */

/* The first of `count` (1 or more) that is not less than `wanted`. No branch depends on them. */
static inline size_t lower_bound(const uint64_t *values, size_t count, uint64_t wanted) {
    const uint64_t *base = values;
    while (count > 1) {
        size_t half = count / 2;
        base += half & (0 - (size_t)(base[half - 1] < wanted));
        count -= half;
    }
    return (size_t)(base - values) + (*base < wanted);
}

/* Of the equal discriminators from `at` on in [at, end), the first that is not before (key, seq).
 */
static uint64_t resolve(const sstable_index *index, uint32_t level, uint64_t at, uint64_t end,
                        uint64_t wanted, slice key, uint64_t seq) {
    const uint64_t *values = index->levels[level].discriminators;
    uint64_t high = at;
    while (high < end && values[high] == wanted) {
        high++;
    }
    while (at < high) {
        uint64_t middle = at + (high - at) / 2;
        uint64_t block = block_of(index, level, middle);
        if (sstable_compare(sstable_index_key(index, block), index->lasts[block].seq, key, seq) <
            0) {
            at = middle + 1;
        } else {
            high = middle;
        }
    }
    return at;
}

uint64_t sstable_index_find(const sstable_index *index, slice key, uint64_t seq) {
    uint8_t padded[RECORD_KEY_BYTES_MAX + 8];
    pad_key(key, padded);
    uint64_t node = 0;
    for (uint32_t level = index->level_count; level-- > 0;) {
        const sstable_level *l = &index->levels[level];
        uint64_t first = node * SSTABLE_NODE_FANOUT;
        uint64_t left = l->count - first;
        size_t count = left < SSTABLE_NODE_FANOUT ? (size_t)left : SSTABLE_NODE_FANOUT;
        uint8_t prefix = l->prefixes[node];
        if (UNLIKELY(prefix > RECORD_KEY_BYTES_MAX)) {
            prefix = RECORD_KEY_BYTES_MAX;
        }
        uint64_t wanted = discriminator_of(padded, prefix);
        node = first + lower_bound(l->discriminators + first, count, wanted);
        if (node < first + count && l->discriminators[node] == wanted) {
            node = resolve(index, level, node, first + count, wanted, key, seq);
        }
        if (UNLIKELY(node == first + count)) {
            node--; /* the index changed since it was checked */
        }
    }
    return node;
}
