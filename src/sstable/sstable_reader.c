/* sstable_reader.c: point reads and iteration over a mapped table.
 *
 * Invariants
 *  T4 The footer is checked when the table is opened; filter, index and each block when they are
 * first used. What was found sound is remembered, so that a hot read does not pay again; what was
 * found damaged is not, so that every use of it fails. T5 No read leaves the mapping, whatever the
 * bytes say: counts, offsets and sizes are bounded at each use, not only when the checksum is
 * verified. */
#include "sstable/sstable_internal.h"

#include "format/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RESTORE_HINT "restore the file from a snapshot or a backup"

/* --- opening --- */

static tape_status footer_damaged(const char *path, uint64_t offset, const char *what,
                                  tape_error *error) {
    return error_set_file(error, TAPE_CORRUPT, path, offset,
                          "%s: the footer at offset %" PRIu64 " is damaged: %s; " RESTORE_HINT,
                          path, offset, what);
}

static bool footer_sums(const sstable_footer *footer, uint64_t salt, uint64_t offset,
                        uint32_t *actual) {
    sstable_footer copy = *footer;
    copy.crc32c = 0;
    *actual = sstable_checksum(salt, footer->number, offset, &copy, sizeof copy);
    return *actual == footer->crc32c;
}

/* Whose footer it is, and that all of it arrived. */
static tape_status footer_check(const sstable_footer *footer, const char *path, uint64_t offset,
                                const uint8_t store_id[16], tape_error *error) {
    if (footer->magic != SSTABLE_MAGIC) {
        return error_set_file(
            error, TAPE_CORRUPT, path, offset,
            "%s: not a table file, or its end is missing: magic expected 0x%016" PRIx64
            ", actual 0x%016" PRIx64 "; " RESTORE_HINT,
            path, SSTABLE_MAGIC, footer->magic);
    }
    uint32_t actual = 0;
    if (!footer_sums(footer, format_salt(store_id), offset, &actual)) {
        uint32_t foreign = 0;
        if (footer_sums(footer, format_salt(footer->store_id), offset, &foreign)) {
            return error_set_file(error, TAPE_CORRUPT, path, offset,
                                  "%s: the table belongs to another store; " RESTORE_HINT, path);
        }
        return error_set_file(error, TAPE_CORRUPT, path, offset,
                              "%s: the footer at offset %" PRIu64
                              " is damaged: checksum expected 0x%08x, actual 0x%08x; " RESTORE_HINT,
                              path, offset, footer->crc32c, actual);
    }
    if (footer->format_version > SSTABLE_FORMAT_VERSION) {
        return error_set_file(
            error, TAPE_NEWER, path, offset,
            "%s: table format %u, this version of tape reads up to %u; use a newer one", path,
            footer->format_version, SSTABLE_FORMAT_VERSION);
    }
    return TAPE_OK;
}

/* That the parts lie one after the other and fill the file (T5). */
static bool footer_adds_up(const sstable_footer *f, uint64_t size) {
    uint64_t footer_offset = size - SSTABLE_FOOTER_BYTES;
    return f->format_version > 0 && f->size_bytes == size && f->filter_offset <= footer_offset &&
           f->filter_offset >= SSTABLE_PAGE_BYTES && f->filter_offset % SSTABLE_PAGE_BYTES == 0 &&
           f->filter_bytes >= SSTABLE_FILTER_LINE_BYTES &&
           f->filter_bytes % SSTABLE_FILTER_LINE_BYTES == 0 &&
           f->filter_bytes <= footer_offset - f->filter_offset &&
           f->index_offset == f->filter_offset + f->filter_bytes &&
           f->index_bytes == footer_offset - f->index_offset && f->blocks > 0 &&
           f->blocks <= f->filter_offset / SSTABLE_PAGE_BYTES &&
           f->blocks <= f->index_bytes / sizeof(sstable_index_entry) && f->keys > 0 &&
           f->keys <= f->entries && f->min_seq > 0 && f->min_seq <= f->max_seq &&
           f->min_ts <= f->max_ts && f->min_key_size > 0 &&
           f->min_key_size <= RECORD_KEY_BYTES_MAX && f->max_key_size > 0 &&
           f->max_key_size <= RECORD_KEY_BYTES_MAX;
}

static bool info_equal(const sstable_info *a, const sstable_info *b) {
    return a->number == b->number && a->size_bytes == b->size_bytes && a->entries == b->entries &&
           a->keys == b->keys && a->content_xxh3 == b->content_xxh3 && a->min_seq == b->min_seq &&
           a->max_seq == b->max_seq && a->min_ts == b->min_ts && a->max_ts == b->max_ts &&
           a->min_key_size == b->min_key_size && a->max_key_size == b->max_key_size &&
           memcmp(a->min_key, b->min_key, a->min_key_size) == 0 &&
           memcmp(a->max_key, b->max_key, a->max_key_size) == 0;
}

static sstable_info footer_info(const sstable_footer *f) {
    sstable_info info = {
        .number = f->number,
        .size_bytes = f->size_bytes,
        .entries = f->entries,
        .keys = f->keys,
        .content_xxh3 = f->content_xxh3,
        .min_seq = f->min_seq,
        .max_seq = f->max_seq,
        .min_ts = f->min_ts,
        .max_ts = f->max_ts,
        .min_key_size = f->min_key_size,
        .max_key_size = f->max_key_size,
    };
    memcpy(info.min_key, f->min_key, sizeof info.min_key);
    memcpy(info.max_key, f->max_key, sizeof info.max_key);
    return info;
}

static tape_status footer_read(const uint8_t *data, uint64_t size, const char *path,
                               const uint8_t store_id[16], uint64_t number,
                               const sstable_info *expected, sstable_footer *out,
                               tape_error *error) {
    if (size < SSTABLE_FOOTER_BYTES) {
        return error_set_file(error, TAPE_CORRUPT, path, 0,
                              "%s: %" PRIu64 " bytes are too few for a table; " RESTORE_HINT, path,
                              size);
    }
    uint64_t offset = size - SSTABLE_FOOTER_BYTES;
    memcpy(out, data + offset, sizeof *out);
    tape_status status = footer_check(out, path, offset, store_id, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (!footer_adds_up(out, size)) {
        return footer_damaged(path, offset, "its figures do not fit the file", error);
    }
    sstable_info info = footer_info(out);
    if (info.number != number) {
        return error_set_file(error, TAPE_CORRUPT, path, offset,
                              "%s: the file holds table %" PRIu64 ", expected %" PRIu64
                              "; " RESTORE_HINT,
                              path, info.number, number);
    }
    if (expected != NULL && !info_equal(&info, expected)) {
        return error_set_file(
            error, TAPE_CORRUPT, path, offset,
            "%s: not the table that the manifest lists: content expected 0x%016" PRIx64
            ", actual 0x%016" PRIx64 ", entries expected %" PRIu64 ", actual %" PRIu64
            "; " RESTORE_HINT,
            path, expected->content_xxh3, info.content_xxh3, expected->entries, info.entries);
    }
    return TAPE_OK;
}

tape_status sstable_attach(sstable **out, const uint8_t *data, uint64_t size, const char *path,
                           const uint8_t store_id[16], uint64_t number,
                           const sstable_info *expected, tape_error *error) {
    sstable_footer footer;
    tape_status status = footer_read(data, size, path, store_id, number, expected, &footer, error);
    if (status != TAPE_OK) {
        return status;
    }
    sstable *t = mem_zalloc(sizeof *t);
    t->info = footer_info(&footer);
    t->path = mem_strdup(path);
    t->data = data;
    t->salt = format_salt(store_id);
    t->blocks = footer.blocks;
    t->data_bytes = footer.filter_offset;
    t->filter_lines = footer.filter_bytes / SSTABLE_FILTER_LINE_BYTES;
    t->index_offset = footer.index_offset;
    t->index_bytes = footer.index_bytes;
    t->index_keys_bytes = footer.index_bytes - footer.blocks * sizeof(sstable_index_entry);
    t->filter_crc32c = footer.filter_crc32c;
    t->index_crc32c = footer.index_crc32c;
    t->blocks_checked = mem_zalloc((t->blocks + 63) / 64 * sizeof *t->blocks_checked);
    *out = t;
    return TAPE_OK;
}

static tape_status open_failed(const char *path, tape_status status, tape_error *error) {
    if (status != TAPE_NOT_FOUND) {
        return status;
    }
    return error_set_file(error, TAPE_CORRUPT, path, TAPE_NO_OFFSET,
                          "%s: the table file is missing; " RESTORE_HINT, path);
}

tape_status sstable_open(sstable **out, const sstable_place *place, uint64_t number,
                         const sstable_info *expected, int advice, tape_error *error) {
    char *path = sstable_path(place->dir, number);
    os_file *file = NULL;
    os_map map = {0};
    sstable *t = NULL;
    uint64_t size = 0;
    tape_status status = os_file_open(place->disk, path, OS_READ, &file, error);
    if (status != TAPE_OK) {
        status = open_failed(path, status, error);
        goto out;
    }
    status = os_file_size(file, &size, error);
    if (status != TAPE_OK) {
        goto out;
    }
    if (size < SSTABLE_FOOTER_BYTES || (expected != NULL && size != expected->size_bytes)) {
        status = error_set_file(
            error, TAPE_CORRUPT, path, size,
            "%s: the file has %" PRIu64 " bytes, expected %" PRIu64 "; " RESTORE_HINT, path, size,
            expected != NULL ? expected->size_bytes : SSTABLE_FOOTER_BYTES);
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

/* --- filter and index --- */

static bool was_checked(const sstable *t, uint32_t part) {
    return (atomic_load_explicit(&t->checked, memory_order_relaxed) & part) != 0;
}

static void note_checked(sstable *t, uint32_t part) {
    atomic_fetch_or_explicit(&t->checked, part, memory_order_relaxed);
}

static tape_status part_check(sstable *t, const char *part, uint64_t offset, uint64_t size,
                              uint32_t expected, tape_error *error) {
    uint32_t actual = sstable_checksum(t->salt, t->info.number, offset, t->data + offset, size);
    if (actual == expected) {
        return TAPE_OK;
    }
    return error_set_file(
        error, TAPE_CORRUPT, t->path, offset,
        "%s: the %s at offset %" PRIu64
        " is damaged: checksum expected 0x%08x, actual 0x%08x; no key of this file can "
        "be looked up; " RESTORE_HINT,
        t->path, part, offset, expected, actual);
}

tape_status sstable_filter_check(sstable *t, bool again, tape_error *error) {
    if (!again && was_checked(t, SSTABLE_CHECKED_FILTER)) {
        return TAPE_OK;
    }
    tape_status status =
        part_check(t, "filter", t->data_bytes, t->filter_lines * SSTABLE_FILTER_LINE_BYTES,
                   t->filter_crc32c, error);
    if (status == TAPE_OK) {
        note_checked(t, SSTABLE_CHECKED_FILTER);
    }
    return status;
}

sstable_index_entry sstable_index_at(const sstable *t, uint64_t block) {
    ASSERT(block < t->blocks);
    sstable_index_entry e;
    memcpy(&e, t->data + t->index_offset + block * sizeof e, sizeof e);
    return e;
}

/* Empty when it does not lie within the index. */
slice sstable_index_key(const sstable *t, const sstable_index_entry *e) {
    if (e->key_offset > t->index_keys_bytes || e->key_size > t->index_keys_bytes - e->key_offset ||
        e->key_size > RECORD_KEY_BYTES_MAX) {
        return (slice){0};
    }
    const uint8_t *keys = t->data + t->index_offset + t->blocks * sizeof *e;
    return (slice){keys + e->key_offset, e->key_size};
}

/* Whether entry `block` follows `before` (NULL: is the first) in the file and in key order. */
static bool index_follows(const sstable *t, const sstable_index_entry *before,
                          const sstable_index_entry *e) {
    slice key = sstable_index_key(t, e);
    if (key.size == 0 || e->page_count == 0) {
        return false;
    }
    if (before == NULL) {
        return e->first_page == 0;
    }
    return e->first_page == (uint64_t)before->first_page + before->page_count &&
           sstable_compare(sstable_index_key(t, before), before->last_seq, key, e->last_seq) < 0;
}

tape_status sstable_index_check(sstable *t, bool again, tape_error *error) {
    if (!again && was_checked(t, SSTABLE_CHECKED_INDEX)) {
        return TAPE_OK;
    }
    tape_status status =
        part_check(t, "index", t->index_offset, t->index_bytes, t->index_crc32c, error);
    if (status != TAPE_OK) {
        return status;
    }
    sstable_index_entry before = {0};
    for (uint64_t i = 0; i < t->blocks; i++) {
        sstable_index_entry e = sstable_index_at(t, i);
        if (!index_follows(t, i == 0 ? NULL : &before, &e)) {
            return error_set_file(error, TAPE_CORRUPT, t->path, t->index_offset + i * sizeof e,
                                  "%s: entry %" PRIu64 " of the index at offset %" PRIu64
                                  " does not follow the one before; " RESTORE_HINT,
                                  t->path, i, t->index_offset);
        }
        before = e;
    }
    if (((uint64_t)before.first_page + before.page_count) * SSTABLE_PAGE_BYTES != t->data_bytes) {
        return error_set_file(error, TAPE_CORRUPT, t->path, t->index_offset,
                              "%s: the index at offset %" PRIu64
                              " does not cover the blocks; " RESTORE_HINT,
                              t->path, t->index_offset);
    }
    note_checked(t, SSTABLE_CHECKED_INDEX);
    return TAPE_OK;
}

/* The first block whose last entry is at or after (key, seq); t->blocks when there is none. */
static uint64_t index_seek(const sstable *t, slice key, uint64_t seq) {
    uint64_t low = 0;
    uint64_t high = t->blocks;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        sstable_index_entry e = sstable_index_at(t, middle);
        if (sstable_compare(sstable_index_key(t, &e), e.last_seq, key, seq) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* --- blocks --- */

static tape_status block_damaged(const sstable *t, uint64_t block, uint64_t offset,
                                 const char *what, tape_error *error) {
    char after[SSTABLE_KEY_TEXT_BYTES] = "the start";
    char up_to[SSTABLE_KEY_TEXT_BYTES];
    if (block > 0) {
        sstable_index_entry before = sstable_index_at(t, block - 1);
        sstable_key_text(sstable_index_key(t, &before), after);
    }
    sstable_index_entry e = sstable_index_at(t, block);
    sstable_key_text(sstable_index_key(t, &e), up_to);
    return error_set_file(
        error, TAPE_CORRUPT, t->path, offset,
        "%s: the block at offset %" PRIu64
        " is damaged: %s; keys from %.100s to %.100s cannot be read; " RESTORE_HINT,
        t->path, offset, what, after, up_to);
}

/* Finds the block's bytes and that its header stays within them (T5). */
static bool block_bounds(const sstable *t, const sstable_index_entry *e, sstable_block_view *out) {
    uint64_t offset = (uint64_t)e->first_page * SSTABLE_PAGE_BYTES;
    uint64_t size = (uint64_t)e->page_count * SSTABLE_PAGE_BYTES;
    if (size == 0 || size > UINT32_MAX || offset > t->data_bytes || size > t->data_bytes - offset) {
        return false;
    }
    sstable_block header;
    memcpy(&header, t->data + offset, sizeof header);
    *out = (sstable_block_view){
        .offset = offset, .data = t->data + offset, .size = (uint32_t)size, .count = header.count};
    return header.size_bytes == size && header.count > 0 &&
           header.count <= (size - sizeof header) / (sizeof(uint16_t) + sizeof(sstable_entry));
}

bool sstable_block_entry(const sstable_block_view *block, uint32_t entry, record_view *out) {
    ASSERT(entry < block->count);
    uint16_t at = 0;
    memcpy(&at, block->data + sizeof(sstable_block) + entry * sizeof at, sizeof at);
    if (at % SSTABLE_ENTRY_ALIGN != 0 ||
        at < sizeof(sstable_block) + block->count * sizeof(uint16_t) ||
        at > block->size - sizeof(sstable_entry)) {
        return false;
    }
    sstable_entry e;
    memcpy(&e, block->data + at, sizeof e);
    uint32_t size = e.size_more & ~SSTABLE_ENTRY_MORE;
    const tape_table_info *table = record_table(e.table);
    if (table == NULL || size > block->size - at - sizeof e || size < sstable_payload_min(table)) {
        return false;
    }
    const uint8_t *payload = block->data + at + sizeof e;
    *out = (record_view){
        .table = table,
        .payload = payload,
        .size = size,
        .version = e.version,
        .flags = (uint16_t)((e.size_more & SSTABLE_ENTRY_MORE) != 0 ? RECORD_MORE : 0),
        .seq = load_u64(payload),
        .ts = (int64_t)load_u64(payload + 8),
        .append_ts = e.append_ts,
    };
    return true;
}

static tape_status block_check(sstable *t, uint64_t block, const sstable_block_view *view,
                               tape_error *error) {
    uint32_t expected = load_u32(view->data);
    uint32_t actual = sstable_checksum(t->salt, t->info.number, view->offset,
                                       view->data + sizeof expected, view->size - sizeof expected);
    if (actual != expected) {
        char what[64];
        (void)snprintf(what, sizeof what, "checksum expected 0x%08x, actual 0x%08x", expected,
                       actual);
        return block_damaged(t, block, view->offset, what, error);
    }
    record_view record;
    for (uint32_t i = 0; i < view->count; i++) {
        if (!sstable_block_entry(view, i, &record)) {
            return block_damaged(t, block, view->offset, "an entry does not lie within it", error);
        }
    }
    return TAPE_OK;
}

tape_status sstable_block_load(sstable *t, uint64_t block, bool again, sstable_block_view *out,
                               tape_error *error) {
    sstable_index_entry e = sstable_index_at(t, block);
    if (!block_bounds(t, &e, out)) {
        return block_damaged(t, block, (uint64_t)e.first_page * SSTABLE_PAGE_BYTES,
                             "its header does not fit the index", error);
    }
    _Atomic uint64_t *word = &t->blocks_checked[block / 64];
    uint64_t bit = UINT64_C(1) << block % 64;
    if (!again && (atomic_load_explicit(word, memory_order_relaxed) & bit) != 0) {
        return TAPE_OK;
    }
    tape_status status = block_check(t, block, out, error);
    if (status == TAPE_OK) {
        atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    }
    return status;
}

/* --- reading --- */

static tape_status entry_damaged(sstable *t, uint64_t block, const sstable_block_view *view,
                                 tape_error *error) {
    return block_damaged(t, block, view->offset, "it changed since it was checked", error);
}

/* The first entry of the block at or after (key, seq), or view->count; whether its key is the same.
 */
static tape_status block_seek(sstable *t, uint64_t block, const sstable_block_view *view, slice key,
                              uint64_t seq, uint32_t *at, bool *same_key, record_view *out,
                              tape_error *error) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    uint32_t low = 0;
    uint32_t high = view->count;
    *same_key = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        record_view record;
        if (!sstable_block_entry(view, middle, &record)) {
            return entry_damaged(t, block, view, error);
        }
        slice found = {bytes, record_key(record.table, record.payload, bytes)};
        if (sstable_compare(found, record.seq, key, seq) < 0) {
            low = middle + 1;
        } else {
            high = middle;
            *same_key = slice_compare(found, key) == 0;
            *out = record;
        }
    }
    *at = low;
    return TAPE_OK;
}

/* Why a key that passed the filter has no version with seq <= at: see what stands just before the
 * place where it would be. */
static tape_status outcome_of_miss(sstable *t, slice key, uint64_t block,
                                   const sstable_block_view *view, uint32_t at,
                                   sstable_outcome *outcome, tape_error *error) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    slice before = {0};
    if (at > 0) {
        record_view record;
        if (!sstable_block_entry(view, at - 1, &record)) {
            return entry_damaged(t, block, view, error);
        }
        before = (slice){bytes, record_key(record.table, record.payload, bytes)};
    } else if (block > 0) {
        sstable_index_entry e = sstable_index_at(t, block - 1);
        before = sstable_index_key(t, &e);
    }
    *outcome = slice_compare(before, key) == 0 ? SSTABLE_NOT_YET : SSTABLE_FALSE_POSITIVE;
    return TAPE_OK;
}

static bool in_range(const sstable_info *info, slice key, uint64_t at) {
    return at >= info->min_seq &&
           slice_compare(key, (slice){info->min_key, info->min_key_size}) >= 0 &&
           slice_compare(key, (slice){info->max_key, info->max_key_size}) <= 0;
}

tape_status sstable_get(sstable *t, const sstable_key *key, uint64_t at, record_view *out,
                        sstable_outcome *outcome, tape_error *error) {
    if (!in_range(&t->info, key->encoded, at)) {
        *outcome = SSTABLE_OUT_OF_RANGE;
        return TAPE_OK;
    }
    tape_status status = sstable_filter_check(t, false, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (!sstable_filter_holds(t->data + t->data_bytes, t->filter_lines, key->hash)) {
        *outcome = SSTABLE_FILTERED;
        return TAPE_OK;
    }
    status = sstable_index_check(t, false, error);
    if (status != TAPE_OK) {
        return status;
    }
    uint64_t block = index_seek(t, key->encoded, at);
    sstable_block_view view = {0};
    uint32_t entry = 0;
    bool same_key = false;
    if (block < t->blocks) {
        status = sstable_block_load(t, block, false, &view, error);
        if (status == TAPE_OK) {
            status = block_seek(t, block, &view, key->encoded, at, &entry, &same_key, out, error);
        }
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (same_key) {
        *outcome = SSTABLE_FOUND;
        return TAPE_OK;
    }
    return outcome_of_miss(t, key->encoded, block, &view, entry, outcome, error);
}

void sstable_iterate(sstable *t, sstable_iterator *it) {
    *it = (sstable_iterator){.table = t};
}

tape_status sstable_next(sstable_iterator *it, record_view *out, bool *found, tape_error *error) {
    sstable *t = it->table;
    tape_status status = sstable_index_check(t, false, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (it->block == t->blocks) {
        *found = false;
        return TAPE_OK;
    }
    sstable_block_view view;
    status = sstable_block_load(t, it->block, false, &view, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (it->entry >= view.count || !sstable_block_entry(&view, it->entry, out)) {
        return entry_damaged(t, it->block, &view, error);
    }
    *found = true;
    if (++it->entry == view.count) {
        it->block++;
        it->entry = 0;
    }
    return TAPE_OK;
}
