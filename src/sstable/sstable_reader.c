/* sstable_reader.c: opening a table, checking its parts at first use, and point reads.
 *
 * A get that finds its key in memory costs four misses of the cache: the key's line of the filter,
 * the index (the end of its tree), the block's tags, and the entry, whose lines are fetched
 * together. Only the last lies in memory that no other get touches. Where the key is the seq there
 * are no filter and no tags: the place of the entry is guessed from the seqs in the index.
 *
 * Invariants
 *  T4 The footer is checked when the table is opened; filter, tags, index and each block when they
 *     are first used. What was found sound is remembered, so that a hot read does not pay again;
 *     what was found damaged is not, so that every use of it fails.
 *  T5 No read leaves the mapping, whatever the bytes say. */
#include "sstable/sstable_internal.h"

#include "format/format.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- opening --- */

tape_status sstable_attach(sstable **out, const uint8_t *data, uint64_t size, const char *path,
                           const uint8_t store_id[16], uint64_t number,
                           const sstable_info *expected, tape_error *error) {
    sstable_footer footer;
    if (size < sizeof footer) {
        return error_set_file(error, TAPE_CORRUPT, path, 0,
                              "%s: the file has %" PRIu64
                              " bytes, too few for a table; " SSTABLE_RESTORE_HINT,
                              path, size);
    }
    tape_status status = sstable_footer_read(data + size - sizeof footer, size, path, store_id,
                                             number, expected, &footer, error);
    if (status != TAPE_OK) {
        return status;
    }
    sstable *t = mem_zalloc(sizeof *t);
    t->info = sstable_footer_info(&footer);
    t->table = record_table(footer.table);
    t->payload_min = sstable_payload_min(t->table);
    t->keyed_by_seq = sstable_keyed_by_seq(t->table);
    t->path = mem_strdup(path);
    t->data = data;
    t->salt = format_salt(store_id);
    t->data_bytes = footer.filter_offset;
    t->filter = data + footer.filter_offset;
    t->filter_lines = footer.filter_bytes / SSTABLE_FILTER_LINE_BYTES;
    t->filter_crc32c = footer.filter_crc32c;
    t->tags = data + footer.tags_offset;
    t->tags_offset = footer.tags_offset;
    t->tags_bytes = footer.tags_bytes;
    t->tags_crc32c = footer.tags_crc32c;
    t->index_offset = footer.index_offset;
    t->index_bytes = footer.index_bytes;
    t->index_crc32c = footer.index_crc32c;
    sstable_index_lay_out(&t->index, data + footer.index_offset, footer.index_bytes, footer.blocks,
                          (slice){t->info.min_key, t->info.min_key_size});
    t->blocks_checked = mem_zalloc((footer.blocks + 63) / 64 * sizeof *t->blocks_checked);
    *out = t;
    return TAPE_OK;
}

tape_status sstable_open(sstable **out, const sstable_place *place, uint64_t number,
                         const sstable_info *expected, int advice, tape_error *error) {
    char *path = sstable_path(place->dir, number);
    os_file *file = NULL;
    os_map map = {0};
    sstable *t = NULL;
    uint64_t size = 0;
    tape_status status = sstable_file_open(place, path, OS_READ, expected, &file, &size, error);
    if (status != TAPE_OK) {
        goto out;
    }
    status = os_file_map(file, size, advice, &map, error);
    if (status != TAPE_OK) {
        goto out;
    }
    status = sstable_attach(&t, map.data, size, path, place->store_id, number, expected, error);
    if (status != TAPE_OK) {
        os_unmap(&map);
        goto out;
    }
    t->map = map;
    *out = t;
out:
    os_file_close(&file);
    free(path);
    return status;
}

void sstable_close(sstable **table) {
    sstable *t = *table;
    if (t == NULL) {
        return;
    }
    if (t->map.data != NULL) {
        os_unmap(&t->map);
    }
    free(t->blocks_checked);
    free(t->path);
    free(t);
    *table = NULL;
}

const sstable_info *sstable_facts(const sstable *t) {
    return &t->info;
}

/* --- the parts, when first used --- */

static bool was_checked(const sstable *t, uint32_t part) {
    return (atomic_load_explicit(&t->checked, memory_order_relaxed) & part) != 0;
}

static tape_status part_check(sstable *t, uint32_t part, bool again, tape_error *error) {
    static const char *const names[] = {
        [SSTABLE_CHECKED_FILTER] = "filter",
        [SSTABLE_CHECKED_TAGS] = "tags",
        [SSTABLE_CHECKED_INDEX] = "index",
    };
    uint64_t offset = t->data_bytes;
    uint64_t size = t->filter_lines * SSTABLE_FILTER_LINE_BYTES;
    uint32_t expected = t->filter_crc32c;
    if (!again && was_checked(t, part)) {
        return TAPE_OK;
    }
    if (part == SSTABLE_CHECKED_TAGS) {
        offset = t->tags_offset;
        size = t->tags_bytes;
        expected = t->tags_crc32c;
    } else if (part == SSTABLE_CHECKED_INDEX) {
        offset = t->index_offset;
        size = t->index_bytes;
        expected = t->index_crc32c;
    }
    if (t->map.data != NULL) {
        os_map_fetch(&t->map, offset, size);
    }
    uint32_t actual = sstable_checksum(t->salt, t->info.number, offset, t->data + offset, size);
    if (actual != expected) {
        return error_set_file(error, TAPE_CORRUPT, t->path, offset,
                              "%s: the %s at offset %" PRIu64
                              " is damaged: checksum expected 0x%08x, actual 0x%08x; no key of "
                              "this file can be looked up; " SSTABLE_RESTORE_HINT,
                              t->path, names[part], offset, expected, actual);
    }
    if (part != SSTABLE_CHECKED_INDEX) { /* more is to be seen there */
        atomic_fetch_or_explicit(&t->checked, part, memory_order_relaxed);
    }
    return TAPE_OK;
}

tape_status sstable_filter_check(sstable *t, bool again, tape_error *error) {
    return part_check(t, SSTABLE_CHECKED_FILTER, again, error);
}

tape_status sstable_tags_check(sstable *t, bool again, tape_error *error) {
    return part_check(t, SSTABLE_CHECKED_TAGS, again, error);
}

static tape_status index_damaged(const sstable *t, const char *what, uint64_t which,
                                 tape_error *error) {
    return error_set_file(error, TAPE_CORRUPT, t->path, t->index_offset,
                          "%s: the index at offset %" PRIu64 " contradicts itself: %s %" PRIu64
                          "; no key of this file can be looked up; " SSTABLE_RESTORE_HINT,
                          t->path, t->index_offset, what, which);
}

/* Blocks follow each other without gaps, each with one entry or more, up to the footer's figures.
 */
static tape_status places_check(const sstable *t, tape_error *error) {
    const sstable_index_place *places = t->index.places;
    if (places[0].start != 0 || places[0].first_entry != 0) {
        return index_damaged(t, "the place of block", 0, error);
    }
    for (uint64_t i = 0; i < t->index.blocks; i++) {
        if (places[i + 1].start <= places[i].start ||
            places[i + 1].first_entry <= places[i].first_entry || places[i].reserved != 0) {
            return index_damaged(t, "the place of block", i, error);
        }
    }
    const sstable_index_place *end = &places[t->index.blocks];
    if (sstable_block_offset(end) != t->data_bytes || end->first_entry != t->info.entries ||
        end->payload_bytes != 0 || end->version != 0 || end->reserved != 0) {
        return index_damaged(t, "the end of block", t->index.blocks - 1, error);
    }
    return TAPE_OK;
}

/* (key, seq) rise within the footer's range, and the keys lie one after the other. */
static tape_status lasts_check(const sstable *t, tape_error *error) {
    const sstable_index *index = &t->index;
    const sstable_info *info = &t->info;
    slice before = index->min_key;
    uint64_t seq_before = info->first_seq;
    uint64_t keys_bytes = 0;
    for (uint64_t i = 0; i < index->blocks; i++) {
        const sstable_index_last *last = &index->lasts[i];
        slice key = sstable_index_key(index, i);
        int order = sstable_compare(before, seq_before, key, last->seq);
        /* The first block may have but one entry, the least of all. */
        if (key.size == 0 || order > 0 || (order == 0 && i > 0) || last->key_offset != keys_bytes) {
            return index_damaged(t, "the key of block", i, error);
        }
        before = key;
        seq_before = last->seq;
        keys_bytes += key.size;
    }
    slice max_key = {info->max_key, info->max_key_size};
    if (sstable_compare(before, seq_before, max_key, info->last_seq) != 0 ||
        ALIGN_UP(keys_bytes, SSTABLE_ENTRY_ALIGN) !=
            ALIGN_UP(index->keys_bytes, SSTABLE_ENTRY_ALIGN)) {
        return index_damaged(t, "the key of block", index->blocks - 1, error);
    }
    return TAPE_OK;
}

static tape_status tree_check(const sstable *t, tape_error *error) {
    const sstable_index *index = &t->index;
    for (uint32_t level = 0; level < index->level_count; level++) {
        const sstable_level *l = &index->levels[level];
        for (uint64_t first = 0; first < l->count; first += SSTABLE_NODE_FANOUT) {
            uint64_t wanted[SSTABLE_NODE_FANOUT];
            size_t count;
            uint64_t node = first / SSTABLE_NODE_FANOUT;
            uint8_t prefix = sstable_index_node(index, level, node, wanted, &count);
            if (prefix != l->prefixes[node] ||
                memcmp(wanted, l->discriminators + first, count * sizeof *wanted) != 0) {
                return index_damaged(t, "the discriminators of node", node, error);
            }
        }
    }
    return TAPE_OK;
}

tape_status sstable_index_check(sstable *t, bool again, tape_error *error) {
    if (!again && LIKELY(was_checked(t, SSTABLE_CHECKED_INDEX))) {
        return TAPE_OK;
    }
    tape_status status = part_check(t, SSTABLE_CHECKED_INDEX, again, error);
    if (status == TAPE_OK) {
        status = places_check(t, error);
    }
    if (status == TAPE_OK) {
        status = lasts_check(t, error);
    }
    if (status == TAPE_OK) {
        status = tree_check(t, error);
    }
    if (status == TAPE_OK) {
        atomic_fetch_or_explicit(&t->checked, SSTABLE_CHECKED_INDEX, memory_order_relaxed);
    }
    return status;
}

/* --- point reads --- */

static bool in_range(const sstable_info *info, slice key, uint64_t at) {
    return at >= info->min_seq &&
           slice_compare(key, (slice){info->min_key, info->min_key_size}) >= 0 &&
           slice_compare(key, (slice){info->max_key, info->max_key_size}) <= 0;
}

void sstable_prefetch(const sstable *t, const uint64_t hash[2]) {
    __builtin_prefetch(t->filter +
                       sstable_filter_line(t->filter_lines, hash) * SSTABLE_FILTER_LINE_BYTES);
}

/* The first of the tags [from, count) that equals `tag`; count when there is none. May read, not
 * use, up to seven bytes more: the index follows the tags. */
static inline uint32_t tag_find(const uint8_t *tags, uint32_t from, uint32_t count, uint8_t tag) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t pattern = ones * tag;
    for (uint32_t i = from; i < count; i += 8) {
        uint64_t x = load_u64(tags + i) ^ pattern;
        uint64_t zero = (x - ones) & ~x & (ones << 7); /* its lowest bit is right */
        if (zero != 0) {
            uint32_t at = i + (uint32_t)__builtin_ctzll(zero) / 8;
            return at < count ? at : count;
        }
    }
    return count;
}

static inline void prefetch_entry(const sstable_block_view *view, uint32_t entry) {
    const uint8_t *at = view->entries + (size_t)entry * view->stride;
    for (uint32_t i = 0; i < view->stride && i < 4 * CACHE_LINE_BYTES; i += CACHE_LINE_BYTES) {
        __builtin_prefetch(at + i);
    }
}

/* Why a key that passed the filter has no version with seq <= at in `block`, its newer ones not
 * standing there. */
static sstable_outcome outcome_of_miss(const sstable *t, slice key, uint64_t block) {
    bool newer = block > 0 && slice_compare(sstable_index_key(&t->index, block - 1), key) == 0;
    return newer ? SSTABLE_NOT_YET : SSTABLE_FALSE_POSITIVE;
}

/* The key's newest version with seq <= at, if it is not before `block`, the first that may hold it.
 */
static tape_status get_in_block(sstable *t, uint64_t block, slice key, uint8_t tag, uint64_t at,
                                sstable_scratch *scratch, record_view *out,
                                sstable_outcome *outcome, tape_error *error) {
    const sstable_index_place *place = &t->index.places[block];
    uint32_t first = place[0].first_entry;
    uint32_t count = place[1].first_entry - first;
    if (UNLIKELY(first > t->info.entries || count > t->info.entries - first)) {
        return sstable_block_changed(t, block, error);
    }
    const uint8_t *tags = t->tags + first;
    uint32_t i = tag_find(tags, 0, count, tag);
    if (i == count) {
        *outcome = outcome_of_miss(t, key, block);
        return TAPE_OK;
    }
    sstable_block_view view;
    tape_status status = sstable_block_load(t, block, false, scratch, &view, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (UNLIKELY(view.count != count)) {
        return sstable_block_changed(t, block, error);
    }
    for (; i < count; i = tag_find(tags, i + 1, count, tag)) {
        prefetch_entry(&view, i);
        sstable_block_entry(t, &view, i, out);
        if (record_key_compare(t->table, key, out->payload) != 0) {
            continue;
        }
        *outcome = SSTABLE_FOUND;
        if (LIKELY(out->seq <= at)) {
            return TAPE_OK;
        }
        i = sstable_block_seek(t, &view, i + 1, key, at);
        if (i < count) {
            sstable_block_entry(t, &view, i, out);
        }
        if (i == count || record_key_compare(t->table, key, out->payload) != 0) {
            *outcome = SSTABLE_NOT_YET;
        }
        return TAPE_OK;
    }
    *outcome = outcome_of_miss(t, key, block);
    return TAPE_OK;
}

/* Of a table whose key is the seq, `key` in its range. */
static tape_status get_by_seq(sstable *t, slice key, uint64_t at, sstable_scratch *scratch,
                              record_view *out, sstable_outcome *outcome, tape_error *error) {
    tape_status status = sstable_index_check(t, false, error);
    *outcome = SSTABLE_ABSENT;
    if (status != TAPE_OK || key.size != 1 + sizeof(uint64_t)) {
        return status; /* the beginning of a key, perhaps */
    }
    const sstable_index_last *lasts = t->index.lasts;
    uint64_t seq = __builtin_bswap64(load_u64(key.data + 1));
    uint64_t block = sstable_index_find(&t->index, key, UINT64_MAX);
    sstable_block_view view;
    status = sstable_block_load(t, block, false, scratch, &view, error);
    if (status != TAPE_OK) {
        return status;
    }
    uint64_t before = block == 0 ? t->info.first_seq - 1 : lasts[block - 1].seq;
    uint32_t entry = sstable_block_find_seq(&view, before, lasts[block].seq, seq);
    if (entry < view.count) {
        sstable_block_entry(t, &view, entry, out);
        *outcome = seq <= at ? SSTABLE_FOUND : SSTABLE_NOT_YET;
    }
    return TAPE_OK;
}

tape_status sstable_get(sstable *t, slice key, const uint64_t hash[2], uint64_t at,
                        sstable_scratch *scratch, record_view *out, sstable_outcome *outcome,
                        tape_error *error) {
    const sstable_info *info = &t->info;
    if (!in_range(info, key, at)) {
        *outcome = SSTABLE_OUT_OF_RANGE;
        return TAPE_OK;
    }
    if (t->keyed_by_seq) {
        return get_by_seq(t, key, at, scratch, out, outcome, error);
    }
    sstable_prefetch(t, hash);
    uint32_t all = SSTABLE_CHECKED_FILTER | SSTABLE_CHECKED_TAGS | SSTABLE_CHECKED_INDEX;
    if (UNLIKELY((atomic_load_explicit(&t->checked, memory_order_relaxed) & all) != all)) {
        tape_status status = sstable_filter_check(t, false, error);
        if (status == TAPE_OK) {
            status = sstable_tags_check(t, false, error);
        }
        if (status == TAPE_OK) {
            status = sstable_index_check(t, false, error);
        }
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (!sstable_filter_holds(t->filter, t->filter_lines, hash)) {
        *outcome = SSTABLE_FILTERED;
        return TAPE_OK;
    }
    slice max_key = {info->max_key, info->max_key_size};
    if (at < info->last_seq && slice_compare(key, max_key) == 0) {
        *outcome = SSTABLE_NOT_YET; /* behind the last entry, which is a newer version */
        return TAPE_OK;
    }
    uint64_t block = sstable_index_find(&t->index, key, at);
    return get_in_block(t, block, key, sstable_tag(hash), at, scratch, out, outcome, error);
}

size_t sstable_split_keys(sstable *t, size_t parts, uint8_t keys[][RECORD_KEY_BYTES_MAX],
                          size_t *sizes) {
    if (sstable_index_check(t, false, NULL) != TAPE_OK) {
        return 0; /* whoever reads the table is told why */
    }
    size_t found = 0;
    slice before = t->index.min_key;
    for (size_t i = 1; i < parts; i++) {
        uint64_t end = (uint64_t)((unsigned __int128)t->index.blocks * i / parts);
        if (end == 0) {
            continue;
        }
        slice key = sstable_index_key(&t->index, end - 1);
        if (slice_compare(before, key) < 0) {
            memcpy(keys[found], key.data, key.size);
            sizes[found++] = key.size;
            before = (slice){keys[found - 1], key.size};
        }
    }
    return found;
}
